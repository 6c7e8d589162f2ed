package project

import (
	"strings"
	"unicode"
)

// Jenkins is the section jenkins: what a Jenkinsfile takes from the
// installation that it is written for.
type Jenkins struct {
	Libraries []JenkinsLibrary
	Steps     []JenkinsStep
	Tools     []JenkinsTool
	Agents    []JenkinsAgent
	Nodes     []JenkinsNode
	Throttle  []JenkinsThrottle
	Jobs      []JenkinsJob
}

// JenkinsJob is the Jenkinsfile of a job that others build.
type JenkinsJob struct {
	Name string
	File string // of the tree
}

// JenkinsThrottle is how many blocks of throttle with a category may run at a time.
type JenkinsThrottle struct {
	Category string
	Most     int
}

// JenkinsLibrary is where a shared library comes from: a directory of the tree
// or another repository.
type JenkinsLibrary struct {
	Name       string
	Path       string // of the tree, or absolute
	Repository string // owner/name
	Ref        string // when the Jenkinsfile names none
	// Implicit is a library that every Jenkinsfile has without asking.
	Implicit bool
}

// JenkinsStep stands for a step that only a plug-in knows.
type JenkinsStep struct {
	Name   string
	Script string // for the shell; the arguments are in its environment
}

// JenkinsTool is an installed tool.
type JenkinsTool struct {
	Type, Name string
	Home       string // the directory above its bin
}

// JenkinsAgent is a type of agent that stands for this machine.
type JenkinsAgent struct {
	Name    string
	Options []string
}

// JenkinsNode is what the environment of a node holds.
type JenkinsNode struct {
	Label     string
	Variables []JenkinsVariable
}

// JenkinsVariable is a variable of a node's environment.
type JenkinsVariable struct{ Name, Value string }

// maxJenkins bounds each list of the section.
const maxJenkins = 500

func jenkins() kind[Jenkins] {
	return mapping("keys of jenkins",
		at("libraries", func(j *Jenkins) *[]JenkinsLibrary { return &j.Libraries }, list("libraries", maxJenkins, jenkinsLibrary()),
			"Where shared libraries (`@Library`, `library`) come from. The `vars` and `src` directories of the tree itself need no entry."),
		at("steps", func(j *Jenkins) *[]JenkinsStep { return &j.Steps }, list("steps", maxJenkins, jenkinsStep()),
			"Scripts that stand for steps that only plug-ins know. An argument `url` is the variable `ARG_URL`, one without a name `ARG`."),
		at("tools", func(j *Jenkins) *[]JenkinsTool { return &j.Tools }, list("tools", maxJenkins, jenkinsTool()),
			"Where the tools of `tools { }` and `tool` are installed. One that is not named here is taken from PATH."),
		at("agents", func(j *Jenkins) *[]JenkinsAgent { return &j.Agents }, list("agents", maxJenkins, jenkinsAgent()),
			"Types of agents of plug-ins that stand for this machine."),
		at("nodes", func(j *Jenkins) *[]JenkinsNode { return &j.Nodes }, list("nodes", maxJenkins, jenkinsNode()),
			"Variables that the nodes with a label have in their environment."),
		at("jobs", func(j *Jenkins) *[]JenkinsJob { return &j.Jobs }, list("jobs", maxJenkins, jenkinsJob()),
			"Which Jenkinsfile of the tree a job has that `build` names. Without an entry it is the one that is called like the job: `Jenkinsfile.deploy` is `deploy`."),
		at("throttle", func(j *Jenkins) *[]JenkinsThrottle { return &j.Throttle }, list("categories", maxJenkins, jenkinsThrottle()),
			"How many blocks of `throttle([…])` with a category run at a time, of all runs of the repository. One that is not named here holds nothing back."),
	)
}

func jenkinsLibrary() kind[JenkinsLibrary] {
	return mapping("keys of a library",
		at("name", func(l *JenkinsLibrary) *string { return &l.Name }, plain("a name", "acme"), "The name that Jenkinsfiles use.").required(),
		at("path", func(l *JenkinsLibrary) *string { return &l.Path }, plain("a directory", "ci/library"), "A directory that holds `vars` and `src`: of the tree, or absolute."),
		at("repository", func(l *JenkinsLibrary) *string { return &l.Repository }, plain("owner/name", "acme/pipeline-library"), "A repository that holds it, as owner/name."),
		at("ref", func(l *JenkinsLibrary) *string { return &l.Ref }, plain("a branch, a tag or a commit", "main"), "What is taken of the repository when the Jenkinsfile does not say."),
		at("implicit", func(l *JenkinsLibrary) *bool { return &l.Implicit }, boolean(), "Every Jenkinsfile has it without asking.").or("false"),
	)
}

func jenkinsStep() kind[JenkinsStep] {
	return mapping("keys of a step",
		at("name", func(s *JenkinsStep) *string { return &s.Name }, plain("a name", "slackSend"), "The name of the step.").required(),
		at("script", func(s *JenkinsStep) *string { return &s.Script }, plain("a script", "./ci/notify.sh"), "What is run for it, by sh; its output is the value of the step.").required(),
	)
}

func jenkinsTool() kind[JenkinsTool] {
	return mapping("keys of a tool",
		at("type", func(t *JenkinsTool) *string { return &t.Type }, plain("a type", "maven"), "The type: maven, jdk, nodejs …").required(),
		at("name", func(t *JenkinsTool) *string { return &t.Name }, plain("a name", "maven-3"), "The name that Jenkinsfiles use.").required(),
		at("home", func(t *JenkinsTool) *string { return &t.Home }, plain("a directory", "/opt/maven"), "The directory it is installed in, above its bin.").required(),
	)
}

func jenkinsAgent() kind[JenkinsAgent] {
	return mapping("keys of an agent",
		at("name", func(a *JenkinsAgent) *string { return &a.Name }, plain("a name", "ecs"), "The name of the type: `agent { ecs { … } }`.").required(),
		at("options", func(a *JenkinsAgent) *[]string { return &a.Options }, list("options", maxJenkins, plain("a name", "label")), "The options of its block."),
	)
}

func jenkinsJob() kind[JenkinsJob] {
	return mapping("keys of a job",
		at("name", func(j *JenkinsJob) *string { return &j.Name }, plain("a name", "acme/deploy"), "The name that Jenkinsfiles use, with its folders.").required(),
		at("file", func(j *JenkinsJob) *string { return &j.File }, plain("a file", "ci/Jenkinsfile.deploy"), "Its Jenkinsfile, from the root of the tree.").required(),
	)
}

func jenkinsThrottle() kind[JenkinsThrottle] {
	return mapping("keys of a category",
		at("category", func(t *JenkinsThrottle) *string { return &t.Category }, plain("a name", "integration"), "The name that Jenkinsfiles use.").required(),
		at("most", func(t *JenkinsThrottle) *int { return &t.Most }, between(1, maxThrottle), "How many may run at a time.").required(),
	)
}

// maxThrottle bounds how many of a category run at a time.
const maxThrottle = 1000

func jenkinsNode() kind[JenkinsNode] {
	return mapping("keys of a node",
		at("label", func(n *JenkinsNode) *string { return &n.Label }, plain("a label", "linux"), "The label, as the Jenkinsfile asks for it.").required(),
		at("variables", func(n *JenkinsNode) *[]JenkinsVariable { return &n.Variables }, list("variables", maxJenkins, mapping("keys of a variable",
			at("name", func(v *JenkinsVariable) *string { return &v.Name }, plain("a name", "REGION"), "Its name.").required(),
			at("value", func(v *JenkinsVariable) *string { return &v.Value }, plain("a text", "eu"), "Its value.").required(),
		)), "What is in the environment of such a node.").required(),
	)
}

// plain is a text that is not empty and fits on lines.
func plain(words, example string) kind[string] {
	s := &schema{words: words, way: "write it as a text, such as " + example, Type: one("string"), MinLength: 1, Examples: []any{example}}
	return scalar(s, func(text string) (string, *fault) {
		switch {
		case strings.TrimSpace(text) == "":
			return "", faulty(text, "is empty")
		case len(text) > 100*maxText:
			return "", faulty(text, "is too long")
		case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
			return "", faulty(text, "holds a control character")
		}
		return text, nil
	})
}
