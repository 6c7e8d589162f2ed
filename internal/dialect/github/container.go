package github

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Where an action in a container finds what GitHub shows it. The directories
// are at their own paths there, too, so what the environment names is right.
const (
	insideWorkspace = "/github/workspace"
	insideWorkflow  = "/github/workflow"
	insideHome      = "/github/home"
	homeName        = "_github_home" // below the temporary directory
)

const dockerScheme = "docker://"

// boxed reports whether the job's steps run in a container.
func boxed(s *plan.Scope) bool { return s.Job != nil && s.Job.Place.Container != nil }

// cleared is the entrypoint of a container that has none: a job's container
// runs what it is told, whatever its image is for.
func cleared() []string { return []string{""} }

// dockerAction is an action that is an image.
type dockerAction struct {
	image  string // "" when it is built
	build  *plan.Build
	runs   *workflow.Runs // nil for docker://image
	inputs map[string]string
}

// image makes a command of a step that is nothing but an image.
func (r *resolving) image(act *plan.Act) error {
	given, err := r.e.bindings(r.step.Use.With)
	if err != nil {
		return err
	}
	inputs := make(map[string]string, len(given))
	for _, g := range given {
		inputs[g.Name] = g.Value
	}
	return r.contain(act, dockerAction{image: strings.TrimPrefix(r.step.Use.Ref, dockerScheme), inputs: inputs}, phaseMain)
}

// docker makes a command of an action that runs in a container.
func (r *resolving) docker(act *plan.Act, a *action, inputs map[string]string, p phase) error {
	d := dockerAction{runs: &a.yml.Runs, inputs: inputs}
	text := a.yml.Runs.Image.Text
	if name, ok := strings.CutPrefix(text, dockerScheme); ok {
		d.image = name
		return r.contain(act, d, p)
	}
	file, problem := a.file(a.yml.Runs.Image)
	if problem != nil {
		return &dialect.ProblemError{Problem: *problem}
	}
	d.build = &plan.Build{Dir: filepath.Dir(file), File: filepath.Base(file)}
	return r.contain(act, d, p)
}

// contain makes the command that runs an action's container.
func (r *resolving) contain(act *plan.Act, d dockerAction, p phase) error {
	// The cache and artifact services are on this machine's own address, which
	// is another inside.
	env := r.e.environment()
	for name, v := range d.inputs {
		env[inputName(name)] = v
	}
	for name, v := range r.s.State {
		env["STATE_"+name] = v
	}
	env["GITHUB_WORKSPACE"], env["HOME"] = insideWorkspace, insideHome
	c := &plan.Container{
		Image: d.image, Build: d.build, Source: r.step.Use.Source,
		Volumes: []string{
			r.s.Dirs.Workspace + ":" + insideWorkspace,
			filepath.Join(r.s.Dirs.Temp, homeName) + ":" + insideHome,
			path.Dir(eventPath(r.s.Dirs)) + ":" + insideWorkflow,
		},
	}
	entrypoint, err := r.runsIn(c, d, env, p)
	if err != nil {
		return err
	}
	// GitHub takes it for one word; other runners split it, and actions that
	// are written for them say "sh -c".
	c.Entrypoint = plan.Words(entrypoint)
	act.Command = &plan.Command{
		Env: env, Dir: insideWorkspace, Container: c,
		Script: r.step.Use.Ref + withText(d.inputs), Volatile: volatile,
	}
	return nil
}

// runsIn reads what the step and the action say of the container's command,
// and adds the action's own variables to env.
func (r *resolving) runsIn(c *plan.Container, d dockerAction, env map[string]string, p phase) (entrypoint string, err error) {
	given := func(name string) (string, bool) {
		for k, v := range d.inputs {
			if strings.EqualFold(k, name) && v != "" {
				return v, true
			}
		}
		return "", false
	}
	inner := *r.s
	inner.Group = &plan.GroupScope{Inputs: anyValues(d.inputs), Status: r.s.Status, Parent: r.s.Group}
	if r.s.Group != nil {
		inner.Group.Values = r.s.Group.Values
	}
	e := &evaluator{s: &inner, d: r.d, self: r.e.self, env: r.e.env}
	if d.runs != nil {
		own, err := e.bindings(pairs(d.runs.Env))
		if err != nil {
			return "", err
		}
		for _, b := range own {
			if _, over := env[b.Name]; !over { // the workflow's win
				env[b.Name] = b.Value
			}
		}
	}
	if args, ok := given("args"); ok {
		c.Command = plan.Words(args)
	} else if d.runs != nil {
		for _, s := range d.runs.Args {
			v, err := e.text(s)
			if err != nil {
				return "", err
			}
			c.Command = append(c.Command, v)
		}
	}
	if v, ok := given("entrypoint"); ok && p == phaseMain {
		return v, nil
	}
	if d.runs == nil {
		return "", nil
	}
	switch p {
	case phasePre:
		return d.runs.PreEntrypoint.Text, nil
	case phasePost:
		return d.runs.PostEntrypoint.Text, nil
	}
	return d.runs.Entrypoint.Text, nil
}

// justDockerfile is the action of a directory that holds a Dockerfile and no
// action.yml.
func justDockerfile(name string, at plan.Source) *workflow.Action {
	return &workflow.Action{Runs: workflow.Runs{Using: workflow.Str{Text: "docker"}, Image: workflow.Str{Text: name}, Source: at}, Source: at}
}

// placed are the job context's properties about containers. While the job is on
// paper its services have no ports yet.
func (e *evaluator) placed(out *expression.Object) {
	s := e.s
	if s.Job == nil || len(s.Job.Place.Services) == 0 {
		return
	}
	if s.Paper {
		e.err = cmp.Or(e.err, fmt.Errorf("the job's services: %w", dialect.ErrPaper))
		return
	}
	services, network := expression.NewObject(), ""
	for _, name := range sortedKeys(s.Beside) {
		b := s.Beside[name]
		ports := expression.NewObject()
		for _, inside := range sortedKeys(b.Ports) {
			ports.Set(inside, b.Ports[inside])
		}
		network = b.Network
		services.Set(name, map[string]any{"id": b.ID, "network": b.Network, "ports": ports})
	}
	out.Set("services", services)
	if boxed(s) {
		out.Set("container", map[string]any{"network": network})
	}
}
