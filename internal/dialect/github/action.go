package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxLayers is how deep composite actions may be inside one another; GitHub's
// limit.
const maxLayers = 10

// action is one that was brought and read.
type action struct {
	ref    reference
	root   string // directory of its repository, absolute
	dir    string // its own, absolute
	commit string // "" when it is local
	yml    *workflow.Action
}

func (a *action) composite() bool { return a.yml.Runs.Using.Text == "composite" }

// docker reports whether the action runs in a container of its own.
func (a *action) docker() bool { return a.yml.Runs.Using.Text == "docker" }

// home is the repository that a $/path inside the action means.
func (a *action) home() string {
	if a.ref.repository == "" {
		return ""
	}
	return a.ref.repository + "@" + a.ref.ref
}

// steps are those of a composite action, used by the step with the key.
func (a *action) steps(key string) []plan.Step {
	return steps(a.yml.Runs.Steps, key+".", defaults{})
}

// load brings and reads an action. Those of other repositories are read once
// for a job; those of the workspace each time, for steps may change them.
func (n *session) load(ctx context.Context, ref reference, s *plan.Scope, at plan.Source) (*action, error) {
	key := ref.key()
	if ref.repository != "" {
		n.mu.Lock()
		a := n.actions[key]
		n.mu.Unlock()
		if a != nil {
			return a, nil
		}
	}
	if ref.repository == "" && s.Paper {
		return nil, fmt.Errorf("load action %s: %w", key, dialect.ErrPaper)
	}
	a := &action{ref: ref, root: s.Dirs.Workspace}
	rest := ref.path
	if ref.repository != "" {
		var err error
		if a.root, rest, a.commit, err = n.d.fetch(ctx, ref); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			blame := lacking // the network, or the code host
			if errors.Is(err, fs.ErrNotExist) {
				blame = wrong
			}
			return nil, blame(at, "action", fmt.Sprintf("the action %s cannot be had: %v", key, err),
				"check its name and ref, or give a local copy with --action "+ref.repository+"=DIR")
		}
	}
	rest = cmp.Or(rest, ".")
	root, err := os.OpenRoot(a.root)
	if err != nil {
		return nil, fmt.Errorf("open the repository of action %s: %w", key, err)
	}
	defer root.Close()
	for _, name := range []string{"action.yml", "action.yaml"} {
		file := path.Join(rest, name)
		body, err := dialect.ReadFile(root.FS(), file, maxText)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, wrong(at, "action", fmt.Sprintf("%s of action %s cannot be read: %v", name, key, err), "an action may not lie outside of its repository")
		}
		shown := file
		if ref.repository != "" {
			shown = key + "/" + name
		}
		yml, problems := workflow.ReadAction(shown, body)
		for _, p := range problems {
			if p.Severity == plan.Error {
				return nil, wrong(p.Source, p.Rule, fmt.Sprintf("the action %s has an error: %s", key, p.Message), p.Hint)
			}
		}
		if yml == nil {
			return nil, wrong(at, "action", fmt.Sprintf("%s of action %s cannot be read", name, key), "")
		}
		a.yml, a.dir = yml, filepath.Join(a.root, filepath.FromSlash(rest))
		if ref.repository != "" {
			n.mu.Lock()
			n.actions[key] = a
			n.mu.Unlock()
		}
		return a, nil
	}
	for _, name := range []string{"Dockerfile", "dockerfile"} {
		if _, err := root.Stat(path.Join(rest, name)); err == nil {
			a.yml, a.dir = justDockerfile(name, at), filepath.Join(a.root, filepath.FromSlash(rest))
			return a, nil
		}
	}
	hint := "check the path"
	if ref.repository == "" {
		hint = "the directory must be in the workspace when the step begins: check out the repository first, and check the path"
	}
	return nil, wrong(at, "action", fmt.Sprintf("there is no action.yml or action.yaml in %s", cmp.Or(key, ".")), hint)
}

// jobCondition is the condition of a pre or post step: always, unless the
// action says otherwise.
func jobCondition(s workflow.Str, at plan.Source) plan.Expr {
	text := s.ExprText()
	if strings.TrimSpace(text) == "" {
		text = "always()"
	}
	return plan.Expr{Text: ofJob + text, Source: cmp.Or(s.Source, at)}
}

// ofJob stands in front of a condition whose status functions ask about the
// job even inside a composite action: that of a pre or post step.
const ofJob = "job: "

// inputs are an action's inputs: what the step gives, and the action's
// defaults, which are read where the step stands.
func (e *evaluator) actionInputs(a *action, with []plan.Binding) (map[string]string, error) {
	given, err := e.bindings(with)
	if err != nil {
		return nil, err
	}
	inputs := make(map[string]string, len(given)+len(a.yml.Inputs))
	names := make(map[string]string, len(a.yml.Inputs)) // lower case -> as declared
	for _, in := range a.yml.Inputs {
		names[strings.ToLower(in.Name.Text)] = in.Name.Text
	}
	for _, g := range given {
		inputs[cmp.Or(names[strings.ToLower(g.Name)], g.Name)] = g.Value
	}
	for _, in := range a.yml.Inputs {
		if _, ok := inputs[in.Name.Text]; ok {
			continue
		}
		v, err := e.value(in.Default)
		if err != nil {
			return nil, err
		}
		if !in.Default.HasExpr() {
			v = in.Default.Text
		}
		inputs[in.Name.Text] = expression.String(v)
	}
	return inputs, nil
}

// file finds a file of an action, which must lie inside of its repository.
func (a *action) file(s workflow.Str) (string, *plan.Problem) {
	root, err := os.OpenRoot(a.root)
	if err != nil {
		return "", problemAt(s.Source, "action", fmt.Sprintf("the repository of action %s is gone: %v", a.ref.key(), err), "")
	}
	defer root.Close()
	own, err := filepath.Rel(a.root, a.dir)
	if err != nil {
		own = "."
	}
	name := filepath.Join(own, filepath.FromSlash(s.Text))
	info, err := root.Stat(name)
	switch {
	case err != nil && (!filepath.IsLocal(name) || !errors.Is(err, fs.ErrNotExist)):
		return "", problemAt(s.Source, "action", fmt.Sprintf("%s leads out of the action's repository", s.Text), "an action may only run files of its own")
	case err != nil:
		return "", problemAt(s.Source, "action", fmt.Sprintf("the action %s has no file %s", cmp.Or(a.ref.key(), "."), s.Text),
			"if it is built by a step, that step must come before; if not, the ref may be one that was never released")
	case info.IsDir():
		return "", problemAt(s.Source, "action", fmt.Sprintf("%s of action %s is a directory", s.Text, a.ref.key()), "name a file")
	}
	return filepath.Join(a.root, name), nil
}
