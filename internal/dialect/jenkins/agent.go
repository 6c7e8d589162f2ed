package jenkins

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// nodes hands out workspaces. All nodes are this machine; what tells them
// apart is their workspace. The first label that is asked for gets the
// workspace of the job, where the tree already is, and gets it again when it
// is free again: as on a Jenkins whose agents are sticky. Another label, or the
// same while it is in use, gets a directory of its own below the job's
// temporary directory, so that a pipeline that forgets to stash fails here as
// it does there.
type nodes struct {
	home  string // "" when the tree is in none of them
	apart string // where the others are
	all   []*node
}

// node is a node while a block runs in it, or one that is free.
type node struct {
	dir     string
	label   string
	busy    bool
	fetched bool // the tree is in it
}

func (n *node) labels() string {
	if n.label == "" {
		return "built-in"
	}
	return "built-in " + n.label
}

// take is a node for the label, free or new.
func (s *nodes) take(label string) *node {
	for _, n := range s.all {
		if !n.busy && n.label == label {
			n.busy = true
			return n
		}
	}
	n := &node{label: label, busy: true}
	if len(s.all) == 0 && s.home != "" {
		n.dir = s.home
	} else {
		n.dir = filepath.Join(s.apart, fmt.Sprintf("workspace@%d", len(s.all)+1))
	}
	s.all = append(s.all, n)
	return n
}

// inNode runs body in a node. checkout says that the tree is to be in it.
func (b *build) inNode(c *groovy.Call, f *frame, label, workspace string, checkout bool, body func(t *groovy.Thread, f *frame) error) error {
	n := b.nodes.take(label)
	defer func() { n.busy = false }()
	g := f.inner()
	g.node, g.dir, g.checks = n, n.dir, false
	f.sayf("Running on built-in in %s", n.dir)
	if workspace != "" {
		at := *n
		at.dir = g.at(workspace)
		g.node, g.dir = &at, at.dir
	}
	f.say("[Pipeline] {")
	defer f.say("[Pipeline] }")
	inner := *c
	inner.Thread = g.within(c.Thread)
	switch {
	case checkout:
		g.say("[Pipeline] checkout")
		if err := b.checkout(&inner, g, b.subdir); err != nil {
			return err
		}
	case g.dir == b.nodes.home && !n.fetched && b.neverFetches():
		// Jenkins gives an empty directory to who does not ask for the tree.
		if _, err := b.builtin(&inner, g, "deleteDir", "empty the workspace", map[string]string{}); err != nil {
			return err
		}
		n.fetched = true
	}
	return body(inner.Thread, g)
}

// neverFetches reports whether nothing in the Jenkinsfile asks for the tree:
// then the pipeline must not find it.
func (b *build) neverFetches() bool {
	text := b.script.Source()
	return !strings.Contains(text, "scm") || strings.Contains(text, "skipDefaultCheckout") && !strings.Contains(text, "checkout")
}

// checkout puts the tree of the run into the node, or a directory in it.
func (b *build) checkout(c *groovy.Call, f *frame, subdir string) error {
	b.settled = true
	f.checks = true
	dir := f.at(subdir)
	if dir == b.nodes.home {
		f.sayf("The workspace holds your tree as it is (%s)", b.scope.Change.SHA)
		f.node.fetched = true
		return nil
	}
	if subdir == "" && f.dir == f.node.dir {
		if f.node.fetched {
			f.sayf("The workspace holds your tree as it is (%s)", b.scope.Change.SHA)
			return nil
		}
		f.node.fetched = true
	}
	g := f.inner()
	g.dir = dir
	_, err := b.builtin(c, g, "checkout", "checkout", map[string]string{})
	return err
}

// inAgent runs body where a declarative agent says.
func (b *build) inAgent(c *groovy.Call, f *frame, a *declarative.Agent, where *groovy.Closure, checkout bool, body func(t *groovy.Thread, f *frame) error) error {
	if a == nil || a.Type == "none" {
		return body(f.within(c.Thread), f)
	}
	text := func(name string) (string, error) {
		e := a.Get(name)
		if e == nil {
			return "", nil
		}
		return b.evalText(c.Thread, f, where, e)
	}
	label, err := text("label")
	if err != nil {
		return err
	}
	workspace, err := text("customWorkspace")
	if err != nil {
		return err
	}
	value := ""
	if a.Value != nil {
		if value, err = b.evalText(c.Thread, f, where, a.Value); err != nil {
			return err
		}
	}
	kind := a.Type
	if _, declared := b.said().Agents[kind]; declared {
		kind = ""
	}
	switch kind {
	case "any":
	case "label", "node":
		if value != "" {
			label = value
		}
	case "docker", "dockerfile":
		box, err := b.container(a, value, text)
		if err != nil {
			return err
		}
		reuse, err := text("reuseNode")
		if err != nil {
			return err
		}
		inside := func(t *groovy.Thread, f *frame) error {
			g := f.inner()
			g.place = box
			return body(g.within(t), g)
		}
		if reuse == "true" && f.node != nil {
			return inside(f.within(c.Thread), f)
		}
		f.say("[Pipeline] node")
		return b.inNode(c, f, label, workspace, checkout, inside)
	case "kubernetes":
		return &dialect.ProblemError{Lacking: true, Problem: plan.Problem{Source: a.Source, Severity: plan.Error, Rule: "agent",
			Message: "the stage asks for a pod of Kubernetes, which there is not here",
			Hint:    "use agent { docker { image '…' } }, or name the agent's type in fairlead.yaml (jenkins: agents) to run it on this machine"}}
	default: // of a plug-in, declared to stand for this machine
		if label == "" {
			label = a.Type
		}
	}
	f.say("[Pipeline] node")
	return b.inNode(c, f, label, workspace, checkout, body)
}

// container is what a docker or dockerfile agent runs commands in.
func (b *build) container(a *declarative.Agent, image string, text func(string) (string, error)) (*plan.Container, error) {
	box := &plan.Container{Source: a.Source}
	get := func(name string) string {
		v, err := text(name)
		if err != nil && image == "" {
			return ""
		}
		return v
	}
	for _, name := range []string{"image", "args", "alwaysPull", "registryUrl", "registryCredentialsId", "filename", "dir", "additionalBuildArgs"} {
		if _, err := text(name); err != nil {
			return nil, err
		}
	}
	box.Options = get("args")
	if get("alwaysPull") == "true" {
		box.Pull = plan.PullAlways
	}
	if id := get("registryCredentialsId"); id != "" {
		name := secretName(id)
		box.Username, box.Password = plan.Expr{Text: name + "_USR", Source: a.Source}, plan.Expr{Text: name + "_PSW", Source: a.Source}
	}
	if a.Type == "docker" {
		if box.Image = image; image == "" {
			box.Image = get("image")
		}
		if registry := get("registryUrl"); registry != "" {
			box.Image = inRegistry(registry, box.Image)
		}
		return box, nil
	}
	dir := filepath.Join(b.scope.Dirs.Workspace, filepath.FromSlash(get("dir")))
	box.Build = &plan.Build{Dir: dir, File: get("filename"), Options: get("additionalBuildArgs")}
	return box, nil
}

// inRegistry is an image's name in a registry that is given by its URL.
func inRegistry(url, image string) string {
	host := strings.TrimSuffix(url, "/")
	for _, scheme := range []string{"https://", "http://"} {
		host = strings.TrimPrefix(host, scheme)
	}
	host, _, _ = strings.Cut(host, "/")
	if host == "" || strings.HasPrefix(image, host+"/") || host == "index.docker.io" || host == "docker.io" || host == "registry-1.docker.io" {
		return image
	}
	return host + "/" + image
}

// needNode is the error of a step that needs a node and has none.
func (b *build) needNode(t *groovy.Thread, f *frame, what string) error {
	if f.node != nil {
		return nil
	}
	if b.ran {
		return t.Throw(missingContext, "Required context class hudson.FilePath is missing\n"+
			"Attempted to execute a step that requires a node context while ‘agent none’ was specified. "+
			"Be sure to specify your own ‘node { ... }’ blocks when using ‘agent none’.")
	}
	return t.Throw(missingContext, "Required context class hudson.FilePath is missing\nPerhaps you forgot to surround the %s step with a step that provides this, such as: node", what)
}
