package project

import (
	"path"
	"strings"
	"unicode"
)

// GitLab is the section gitlab: what a GitLab project's settings say and its
// files cannot.
type GitLab struct {
	// File is the pipeline file, a slash path in the tree; "" for .gitlab-ci.yml.
	File string
	// Mirrors say where the projects are found that are included from.
	Mirrors []GitLabMirror
	// Templates is a directory of the tree with the templates that come with
	// GitLab; "" for none.
	Templates string
	// Variables are the project's CI/CD variables that are no secrets.
	Variables []GitLabVariable
	// Images is what becomes of image: and services:: "" or ImagesUse, or
	// ImagesIgnore.
	Images string
	// TriggeredBy are the projects whose pipelines may start this one's.
	TriggeredBy []string
}

// The values of [GitLab].Images that can be written.
const (
	ImagesUse    = "use"
	ImagesIgnore = "ignore"
)

// GitLabMirror stands for a project of the GitLab server.
type GitLabMirror struct {
	Project string // group/name
	At      string // a directory or an address that git can clone
}

// GitLabVariable is a CI/CD variable of the project.
type GitLabVariable struct {
	Name, Value string
}

// Limits of the section.
const (
	maxMirrors   = 100
	maxVariables = 500
)

func gitlab() kind[GitLab] {
	return mapping("keys of gitlab",
		at("file", func(g *GitLab) *string { return &g.File }, treePath("the path of a file"),
			"The pipeline file, when it is not `.gitlab-ci.yml`: a path from the root of the repository."),
		at("mirrors", func(g *GitLab) *[]GitLabMirror { return &g.Mirrors }, list("projects", maxMirrors, mapping("keys of a mirror",
			at("project", func(m *GitLabMirror) *string { return &m.Project }, line("the path of a project", "write it as include: has it, such as group/ci-templates"),
				"The project, as `include:` names it.").required(),
			at("at", func(m *GitLabMirror) *string { return &m.At }, line("a directory or an address", "write a directory with a clone, or an address that git can clone"),
				"Where it is found: a clone on this machine, or an address that git can clone.").required(),
		)), "Where the projects are found that `include:` takes files and components from."),
		at("templates", func(g *GitLab) *string { return &g.Templates }, treePath("the path of a directory"),
			"A directory of the repository with the templates that `include:template` names."),
		at("variables", func(g *GitLab) *[]GitLabVariable { return &g.Variables }, list("variables", maxVariables, mapping("keys of a variable",
			at("name", func(v *GitLabVariable) *string { return &v.Name }, line("the name of a variable", "write a name, such as DEPLOY_REGION"), "Its name.").required(),
			at("value", func(v *GitLabVariable) *string { return &v.Value }, line("a text", "put numbers and true or false in quotes"), "Its value.").required(),
		)), "CI/CD variables of the project, as its settings on the server have them. They go before those of the pipeline file. Secrets do not belong here."),
		at("triggered-by", func(g *GitLab) *[]string { return &g.TriggeredBy }, list("projects", maxMirrors, line("the path of a project", "write group/name")),
			"The projects of the same server whose pipelines may start this one's with `trigger:project`, from their protected branches."),
		at("images", func(g *GitLab) *string { return &g.Images }, choice(ImagesUse, ImagesIgnore),
			"What becomes of `image` and `services`. `use`: jobs run in containers. `ignore`: jobs run on this machine, with what is installed on it, and say so.").
			or(ImagesUse),
	)
}

// line is a text of one line.
func line(words, way string) kind[string] {
	s := &schema{words: words, way: way, Type: one("string")}
	return scalar(s, func(text string) (string, *fault) {
		switch {
		case len(text) > maxText:
			return "", faulty(text, "is too long")
		case strings.ContainsFunc(text, unicode.IsControl):
			return "", faulty(text, "holds a line break or another control character")
		}
		return text, nil
	})
}

// treePath is a path inside the tree.
func treePath(words string) kind[string] {
	s := &schema{words: words, way: "write it from the root of the repository", Type: one("string"), MinLength: 1}
	return scalar(s, func(text string) (string, *fault) {
		clean := path.Clean(strings.TrimPrefix(text, "/"))
		switch {
		case text == "" || clean == ".":
			return "", faulty(text, "is no path")
		case len(text) > maxText || strings.ContainsFunc(text, unicode.IsControl):
			return "", faulty(text, "is no path that a file could have")
		case clean == ".." || strings.HasPrefix(clean, "../"):
			return "", faulty(text, "leads out of the repository")
		}
		return clean, nil
	})
}
