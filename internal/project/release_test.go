package project

import (
	"reflect"
	"strings"
	"testing"
)

func TestRelease(t *testing.T) {
	t.Parallel()
	const text = `release:
  from: labels
  words: [{word: docs, bump: patch, section: Documentation}]
  branches: [{name: main}, {name: next, pre: beta}]
  remote: upstream
  host: {forge: gitea, api: "https://git.example.org", repository: team/app, token: $RELEASE_TOKEN, release: draft}
  components:
    - name: api
      paths: [api/**, "!**/*.md"]
      tag: api/v{version}
      first: 1.0.0
      changelog: api/CHANGELOG.md
      artifacts:
        - {files: [dist/*], command: make dist}
        - {artifact: "dist-*", pipeline: ci.yml}
`
	f, problems := read(t, text)
	want := Release{
		From: "labels", Words: []ReleaseWord{{"docs", "patch", "Documentation"}}, Branches: []ReleaseBranch{{Name: "main"}, {Name: "next", Pre: "beta"}}, Remote: "upstream",
		Host: ReleaseHost{"gitea", "https://git.example.org", "team/app", "$RELEASE_TOKEN", "draft"}, Source: spot(2, 3),
		Components: []ReleaseComponent{{
			Name: "api", Tag: "api/v{version}", First: "1.0.0", Changelog: "api/CHANGELOG.md", Paths: []string{"api/**", "!**/*.md"}, Source: spot(8, 7),
			Artifacts: []ReleaseArtifact{{Files: []string{"dist/*"}, Command: "make dist", Source: spot(14, 11)}, {Artifact: "dist-*", Pipeline: "ci.yml", Source: spot(15, 11)}},
		}},
	}
	if len(problems) > 0 || !reflect.DeepEqual(f.Release, want) {
		t.Errorf("%+v\n%v", f.Release, problems)
	}
	if doc, ok := jsonLike(text); ok {
		if bad := violates(t, parsedSchema(t), doc, ""); bad != "" {
			t.Errorf("the schema refuses it: %s", bad)
		}
	}
}

func TestReleaseProblems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"tag: v1":                                         `1:16: "v1" cannot be the name of a tag`,
		"tag: 'a b{version}'":                             "cannot be the name of a tag",
		"tag: '{version}..'":                              "cannot be the name of a tag",
		"changelog: ../x":                                 "is no path inside of the repository",
		"changelog: .git/config":                          "is no path inside of the repository",
		"paths: ['/etc']":                                 "is no path inside of the repository",
		"paths: ['a[']":                                   "is no pattern",
		"from: tags":                                      "is not commits or labels",
		"host: {token: ghp_0123}":                         "this is not the name of a variable",
		"host: {api: 'ftp://x'}":                          "is no address of a page",
		"artifacts: [{files: [a], artifact: b}]":          "either files of the tree or what a run kept",
		"artifacts: [{}]":                                 "either files of the tree or what a run kept",
		"artifacts: [{artifact: b, command: make}]":       "a command makes files",
		"artifacts: [{files: [a], pipeline: ci.yml}]":     "a pipeline is looked for",
		"components: [{name: a}, {name: a}]":              "two components are called",
		"components: [{name: ../a}]":                      "cannot name a component",
		"{tag: 'v{version}', components: [{name: a}]}":    "tag belongs to a component",
		"scheme: years":                                   "is neither semver",
		"branches: [{name: a, pre: '1'}]":                 "cannot name pre-releases",
		"words: [{word: a, bump: huge}]":                  "is not none or patch or minor or major",
		"branches: [{pre: beta}]":                         "name is missing",
		"components: " + strings.Repeat("[", 200) + "\n#": "",
	} {
		text = "release: {" + text + "}\n"
		if strings.HasPrefix(text, "release: {{") {
			text = "release: " + text[len("release: {"):len(text)-2] + "\n"
		}
		_, problems := read(t, text)
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) || problems[0].Hint == "" || strings.Contains(problems[0].String(), "ghp_") {
			t.Errorf("%s: %v, not %q", text, problems, want)
		}
	}
}
