package project

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// Release is the section release: what a release is, and where it goes. What its
// texts mean is package release's word, which checks them.
type Release struct {
	From       string // "commits" or "labels"; "" is "commits"
	Words      []ReleaseWord
	Scheme     string // "semver" or of the calendar; "" is "semver"
	Tag        string // "" is "v{version}", of a component "NAME/v{version}"
	First      string
	Paths      []string // of the files that count
	Changelog  string   // path of the file that is kept and committed; "" for none
	Artifacts  []ReleaseArtifact
	Components []ReleaseComponent // none: the repository is one
	Branches   []ReleaseBranch    // none: the default branch
	Remote     string             // "" is the branch's own
	Host       ReleaseHost
	Source     plan.Source
}

// ReleaseWord says what a type of commits, or a label, asks for.
type ReleaseWord struct{ Word, Bump, Section string }

// ReleaseComponent is a part of the repository with versions of its own.
type ReleaseComponent struct {
	Name, Tag, First, Changelog string
	Paths                       []string
	Artifacts                   []ReleaseArtifact
	Source                      plan.Source
}

// ReleaseArtifact is files of a release: of the tree, perhaps after a command that makes
// them, or what a run kept.
type ReleaseArtifact struct {
	Files    []string // patterns of files of the tree
	Command  string   // run by sh at the root before Files are looked for
	Artifact string   // name, with * for anything, of what a run of the commit kept
	Pipeline string   // of that run: file or name; "" for any
	Source   plan.Source
}

// ReleaseBranch is a branch that is released from.
type ReleaseBranch struct {
	Name string // with * for anything
	Pre  string // releases from it are pre-releases of this channel; "" for none
}

// ReleaseHost is the code host that is told of releases. What is not given is found from
// the remote's address.
type ReleaseHost struct {
	Forge      string // "github" …
	API        string
	Repository string
	Token      string // the variable that holds the token, with its $; "" for the host's usual
	Release    string // "publish", "draft" or "none"; "" is "publish"
}

// Limits of the section.
const (
	maxReleased        = 200
	maxReleaseBranches = 50
	maxMeanings        = 100
)

func releases() kind[Release] {
	return placed(func(r *Release) *plan.Source { return &r.Source }, mapping("keys of release",
		at("from", func(r *Release) *string { return &r.From }, choice("commits", "labels"), "What says how much a change changes: the messages of commits (Conventional Commits 1.0.0), or the labels of pull and merge requests.").or("commits"),
		at("words", func(r *Release) *[]ReleaseWord { return &r.Words }, releaseWords(), "What types of commits, or labels, ask for, instead of the usual ones."),
		at("scheme", func(r *Release) *string { return &r.Scheme }, checked("semver, or parts of the calendar", "YYYY.0M.MICRO", func(text string) error { _, err := release.ParseScheme(text); return err }), "How versions are made: by Semantic Versioning 2.0.0, or of YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D and MICRO, which counts the releases of a date.").or("semver"),
		at("tag", func(r *Release) *string { return &r.Tag }, tagPattern(), "The name of a version's tag.").or("v{version}"),
		at("first", func(r *Release) *string { return &r.First }, plain("a version", "1.0.0"), "The version of the first release.").or("0.1.0"),
		at("paths", func(r *Release) *[]string { return &r.Paths }, releasePaths(), "The files that count: commits that touch none of them are in no release."),
		at("changelog", func(r *Release) *string { return &r.Changelog }, releaseFile("CHANGELOG.md"), "A file that notes are put into and that is committed before the tag is made. What people wrote there under Unreleased becomes part of the notes. Without it no commit is made."),
		at("artifacts", func(r *Release) *[]ReleaseArtifact { return &r.Artifacts }, releaseArtifacts(), "The files of a release."),
		at("components", func(r *Release) *[]ReleaseComponent { return &r.Components }, releaseComponents(), "Parts of the repository with versions of their own."),
		at("branches", func(r *Release) *[]ReleaseBranch { return &r.Branches }, releaseBranches(), "The branches that are released from. Without it, the default branch."),
		at("remote", func(r *Release) *string { return &r.Remote }, plain("a remote of git, or none", "origin"), "Where tags are pushed to: git's name of it, or none. Without it, where the branch is pushed to."),
		at("host", func(r *Release) *ReleaseHost { return &r.Host }, releaseHost(), "The code host at which a release is made. What is not given is found from the remote's address."),
	).holds(constraint[Release]{
		schema: `{"if": {"required": ["components"]}, "then": {"properties": {"paths": false, "tag": false, "artifacts": false, "changelog": false, "first": false}}}`,
		check: func(r *reader, n *yaml.Node, t *Release) {
			if len(t.Components) == 0 {
				return
			}
			for _, name := range []string{"paths", "tag", "artifacts", "changelog", "first"} {
				if k := keyOf(n, name); k != nil {
					r.report(k, name+" belongs to a component when there are components", "move it into the component that it is for")
				}
			}
			seen := map[string]bool{}
			for _, c := range t.Components {
				if seen[c.Name] {
					r.add(c.Source, fmt.Sprintf("two components are called %s", quote(c.Name)), "give one of them another name")
				}
				seen[c.Name] = true
			}
		},
	}))
}

func releaseWords() kind[[]ReleaseWord] {
	return list("words", maxMeanings, mapping("keys of a word",
		at("word", func(w *ReleaseWord) *string { return &w.Word }, plain("a type, or a label", "docs"), "The type of commits, or the label, in any case of letters.").required(),
		at("bump", func(w *ReleaseWord) *string { return &w.Bump }, choice("none", "patch", "minor", "major"), "Which number of the version it raises.").required(),
		at("section", func(w *ReleaseWord) *string { return &w.Section }, plain("a heading", "Documentation"), "Where it stands in the notes. Without it, nowhere."),
	))
}

func releasePaths() kind[[]string] {
	return list("paths", maxSteps, treePattern("api/**"))
}

func releaseArtifacts() kind[[]ReleaseArtifact] {
	return list("artifacts", maxSteps, placed(func(a *ReleaseArtifact) *plan.Source { return &a.Source }, mapping("keys of an artifact",
		at("files", func(a *ReleaseArtifact) *[]string { return &a.Files }, list("patterns", maxSteps, treePattern("dist/*.tar.gz")), "Files of the tree, with `*`, `?` and `**`. Those that git ignores count, too."),
		at("command", func(a *ReleaseArtifact) *string { return &a.Command }, plain("a command", "make dist"), "What makes the files, run by sh at the root of the tree when a release is published. It is watched, so that the provenance says what it read. It is given `VERSION` and `TAG`."),
		at("artifact", func(a *ReleaseArtifact) *string { return &a.Artifact }, plain("a name, with * for anything", "dist-*"), "Artifacts that a successful run of this commit kept: the same bytes that were tested."),
		at("pipeline", func(a *ReleaseArtifact) *string { return &a.Pipeline }, plain("a pipeline", "ci.yml"), "The pipeline of that run: its file or its name."),
	).holds(constraint[ReleaseArtifact]{
		schema: `{"if": {"required": ["artifact"]}, "then": {"properties": {"command": false, "files": false}}}`,
		check: func(r *reader, n *yaml.Node, a *ReleaseArtifact) {
			switch {
			case len(a.Files) > 0 == (a.Artifact != ""):
				r.report(n, "an artifact is either files of the tree or what a run kept", "write files: [dist/*], or artifact: dist")
			case a.Command != "" && a.Artifact != "":
				r.report(keyOf(n, "command"), "a command makes files, and here are none", "write files: and what it makes")
			case a.Pipeline != "" && a.Artifact == "":
				r.report(keyOf(n, "pipeline"), "a pipeline is looked for when an artifact of it is wanted", "write artifact: and its name")
			}
		},
	}, constraint[ReleaseArtifact]{
		schema: `{"if": {"properties": {"artifact": false}}, "then": {"required": ["files"], "properties": {"pipeline": false}}}`,
		check:  func(*reader, *yaml.Node, *ReleaseArtifact) {}, // the one above has said it
	})))
}

func releaseComponents() kind[[]ReleaseComponent] {
	return list("components", maxReleased, placed(func(c *ReleaseComponent) *plan.Source { return &c.Source }, mapping("keys of a component",
		at("name", func(c *ReleaseComponent) *string { return &c.Name }, componentName(), "Its name.").required(),
		at("paths", func(c *ReleaseComponent) *[]string { return &c.Paths }, releasePaths(), "The files that it is made of. Without it, the directory of its name."),
		at("tag", func(c *ReleaseComponent) *string { return &c.Tag }, tagPattern(), "The name of a version's tag.").or("NAME/v{version}"),
		at("first", func(c *ReleaseComponent) *string { return &c.First }, plain("a version", "1.0.0"), "The version of its first release.").or("0.1.0"),
		at("changelog", func(c *ReleaseComponent) *string { return &c.Changelog }, releaseFile("api/CHANGELOG.md"), "A file that its notes are put into."),
		at("artifacts", func(c *ReleaseComponent) *[]ReleaseArtifact { return &c.Artifacts }, releaseArtifacts(), "The files of its releases."),
	)))
}

func releaseBranches() kind[[]ReleaseBranch] {
	return list("branches", maxReleaseBranches, mapping("keys of a branch",
		at("name", func(b *ReleaseBranch) *string { return &b.Name }, plain("a branch, with * for anything", "release/*"), "The branch.").required(),
		at("pre", func(b *ReleaseBranch) *string { return &b.Pre }, checked("a channel", "beta", release.CheckPre), "Releases from it are pre-releases: `1.4.0-beta.1`."),
	))
}

func releaseHost() kind[ReleaseHost] {
	return mapping("keys of host",
		at("forge", func(h *ReleaseHost) *string { return &h.Forge }, choice("github", "gitlab", "gitea", "bitbucket", "azure"), "What kind of code host it is."),
		at("api", func(h *ReleaseHost) *string { return &h.API }, link(), "The address of its API."),
		at("repository", func(h *ReleaseHost) *string { return &h.Repository }, plain("a repository", "team/app"), "The repository, as the host calls it."),
		at("token", func(h *ReleaseHost) *string { return &h.Token }, tokenVariable(), "The variable of Fairlead's own environment that holds the token. Without it `GITHUB_TOKEN`, `GITLAB_TOKEN`, `GITEA_TOKEN` or `BITBUCKET_TOKEN`."),
		at("release", func(h *ReleaseHost) *string { return &h.Release }, choice("publish", "draft", "none"), "Whether the release is seen at once, waits for a person, or is not made there at all.").or("publish"),
	)
}

// tagPattern is the name of a tag with {version} in it.
func tagPattern() kind[string] {
	s := &schema{words: "a tag with {version}", way: "write it like v{version} or api/v{version}", Type: one("string"), Pattern: `\{version\}`, Examples: []any{"v{version}"}}
	return scalar(s, func(text string) (string, *fault) {
		if release.TagPattern(text).Check() != nil {
			return "", faulty(text, "cannot be the name of a tag")
		}
		return text, nil
	})
}

// checked is a text that somebody else knows to read.
func checked(words, example string, check func(text string) error) kind[string] {
	s := &schema{words: words, way: "write it as a text, such as " + example, Type: one("string"), MinLength: 1, Examples: []any{example}}
	return scalar(s, func(text string) (string, *fault) {
		if err := check(text); err != nil {
			return "", &fault{message: clip(err.Error())}
		}
		return text, nil
	})
}

// releaseFile is a file of the tree.
func releaseFile(example string) kind[string] {
	s := &schema{words: "a path in the repository", way: "write it with slashes, from the root, such as " + example, Type: one("string"), MinLength: 1, Examples: []any{example}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText || path.Clean(text) != text || text == "." || !inTree(text) {
			return "", faulty(text, "is no path inside of the repository")
		}
		return text, nil
	})
}

// treePattern is a pattern of files of the tree; one after ! leaves out.
func treePattern(example string) kind[string] {
	s := &schema{words: "a pattern of files", way: "write it with slashes, from the root, such as " + example, Type: one("string"), MinLength: 1, Examples: []any{example}}
	return scalar(s, func(text string) (string, *fault) {
		p := strings.TrimPrefix(text, "!")
		if len(text) > maxText || p == "" || !inTree(p) {
			return "", faulty(text, "is no path inside of the repository")
		}
		if err := release.CheckPattern(text); err != nil {
			return "", &fault{message: clip(err.Error())}
		}
		return text, nil
	})
}

func inTree(p string) bool {
	return p[0] != '/' && !strings.Contains(p, `\`) && !slices.Contains(strings.Split(p, "/"), "..") && !slices.Contains(strings.Split(p, "/"), ".git") && !strings.ContainsFunc(p, unicode.IsControl)
}

// componentName is the name of a component, which may be a directory.
func componentName() kind[string] {
	const form = `^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`
	re := regexp.MustCompile(form)
	s := &schema{words: "a name", way: "write a name of letters, digits, . _ - and /, such as api", Type: one("string"), Pattern: form, Examples: []any{"api"}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > 100 || !re.MatchString(text) || strings.Contains(text, "..") {
			return "", faulty(text, "cannot name a component")
		}
		return text, nil
	})
}

// tokenVariable names the variable that holds a token: never the token itself.
func tokenVariable() kind[string] {
	const form = `^\$[A-Za-z_][A-Za-z0-9_]*$`
	re := regexp.MustCompile(form)
	s := &schema{words: "a variable", way: "write the name of a variable after a $, such as $RELEASE_TOKEN; a token does not belong into a file", Type: one("string"), Pattern: form, Examples: []any{"$RELEASE_TOKEN"}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText || !re.MatchString(text) {
			return "", &fault{message: "this is not the name of a variable"} // it may be the token
		}
		return text, nil
	})
}
