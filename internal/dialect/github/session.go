package github

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/protocol"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// session is one job while it runs.
type session struct {
	d   *Dialect
	job *protocol.Job

	mu       sync.Mutex
	actions  map[string]*action // that were brought, by key
	uses     map[string]*use    // by key of the main step
	programs map[string]bool    // that were found on PATH
	service  map[string]string  // for JavaScript actions; nil until asked for
	stop     func()
}

// use is an action in use by a step: what its pre and post steps need again.
type use struct {
	action *action
	layers []layer           // composite actions around it, for a pre step, which runs before them
	inputs map[string]string // as the main step had them; nil before it
}

// layer is a composite action that something is inside of.
type layer struct {
	action *action
	step   *plan.Step
}

// Open implements [dialect.Dialect].
func (d *Dialect) Open(_ context.Context, s *plan.Scope) (dialect.Session, error) {
	return &session{
		d:        d,
		job:      protocol.NewJob(protocol.Options{Temp: s.Dirs.Temp, Workspace: s.Dirs.Workspace, Debug: s.Context != nil && s.Debug, CRLF: onWindows(s)}),
		actions:  map[string]*action{},
		uses:     map[string]*use{},
		programs: map[string]bool{},
	}, nil
}

// Close implements [dialect.Session].
func (n *session) Close() error {
	n.mu.Lock()
	stop := n.stop
	n.stop = nil
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	return n.job.Close()
}

// Setup implements [dialect.Session]. It brings every action of another
// repository that the job names, directly or inside composite actions, so
// that one that is missing fails the job before it has done anything.
func (n *session) Setup(ctx context.Context, s *plan.Scope) (dialect.Setup, error) {
	var out dialect.Setup
	if s.Context != nil && s.Change != nil && s.Dirs.Temp != "" {
		event, err := n.d.eventFile(s.Context, s.Dirs)
		if err != nil {
			return out, err
		}
		out.Files = append(out.Files, event)
	}
	k := setup{session: n, ctx: ctx, s: s, out: &out, seen: map[string]bool{}}
	file, _ := (&evaluator{s: s}).ofJob(valueFile).(string)
	err := k.steps(s.Job.Steps, home(file), nil)
	return out, err
}

// setup looks through a job's steps for the actions they use.
type setup struct {
	*session
	ctx  context.Context
	s    *plan.Scope
	out  *dialect.Setup
	seen map[string]bool // materials
}

func (k *setup) steps(steps []plan.Step, home string, layers []layer) error {
	for i := range steps {
		st := &steps[i]
		if err := k.steps(st.Parallel, home, layers); err != nil {
			return err
		}
		if st.Use == nil || len(layers) >= maxLayers {
			continue
		}
		if _, ok := k.builtin(st.Use.Ref); ok || strings.HasPrefix(st.Use.Ref, dockerScheme) {
			continue
		}
		ref, err := actionRef(st.Use.Ref, home)
		if err != nil {
			return wrong(st.Use.Source, "action", err.Error(), "write owner/name@ref, owner/name/path@ref or ./path")
		}
		a, err := k.load(k.ctx, ref, k.s, st.Use.Source)
		if err != nil {
			if ref.repository == "" {
				continue // the workspace may yet be filled; if not, the step says so
			}
			return err
		}
		if name := ref.key(); ref.repository != "" && !k.seen[name] {
			k.seen[name] = true
			m := record.Material{Name: name, Commit: a.commit}
			if a.commit == "" {
				m.Local = a.root
			} else if k.s.Context != nil && k.s.Change != nil {
				page, _, _ := servers(k.s.Change.Server)
				m.URL = page + "/" + ref.repository
			}
			k.out.Materials = append(k.out.Materials, m)
		}
		switch {
		case a.composite():
			inner := append(layers[:len(layers):len(layers)], layer{a, st})
			if err := k.steps(a.steps(st.Key), a.home(), inner); err != nil && ref.repository != "" {
				return err
			}
		case (a.yml.Runs.Pre.Given() || a.yml.Runs.PreEntrypoint.Given()) && ref.repository != "":
			pre := *st
			pre.Key, pre.Of, pre.Phase = st.Key+".pre", st.Key, plan.Pre
			pre.ID, pre.Name = "", "Pre "+strings.TrimPrefix(st.Name, "Run ")
			pre.If = jobCondition(a.yml.Runs.PreIf, st.Source)
			pre.Background = false
			k.uses[st.Key] = &use{action: a, layers: layers}
			k.out.Before = append(k.out.Before, pre)
		}
	}
	return nil
}

// Listen implements [dialect.Session].
func (n *session) Listen(step *plan.Step, act *plan.Act, s *plan.Scope) (dialect.Listener, error) {
	var o protocol.ListenOptions
	switch {
	case act.Command != nil:
		o.Env = act.Command.Env
	case act.Builtin != nil:
		o.Env = act.Builtin.Env
	}
	l, err := n.job.Listen(o)
	if err == nil && step.Use != nil && act.Command != nil && n.d.cfg.Builtins != nil {
		l = uploading{l, func() []plan.Artifact { return n.d.cfg.Builtins.Uploaded(s) }}
	}
	return l, err
}

// uploading adds what a JavaScript action has uploaded by itself, through the
// results service, to what it said.
type uploading struct {
	dialect.Listener
	uploaded func() []plan.Artifact
}

func (u uploading) Close() (plan.Effects, error) {
	fx, err := u.Listener.Close()
	fx.Artifacts = append(fx.Artifacts, u.uploaded()...)
	return fx, err
}

// postSuffix tells the post step of a built-in from its main one.
const postSuffix = ":post"

// Do implements [dialect.Session].
func (n *session) Do(ctx context.Context, b *plan.Builtin, s *plan.Scope, log io.Writer) (plan.Effects, error) {
	if n.d.cfg.Builtins == nil {
		return plan.Effects{}, fmt.Errorf("github: there is no built-in %q", b.Name)
	}
	name, post := strings.CutSuffix(b.Name, postSuffix)
	return n.d.cfg.Builtins.Run(ctx, builtin.Call{Name: name, Post: post, Inputs: b.Inputs, Env: b.Env, State: s.State, Scope: s}, log)
}

// builtin finds the built-in for a uses:, unless a local directory stands for
// the action.
func (n *session) builtin(uses string) (*builtin.Action, bool) {
	if n.d.cfg.Builtins == nil {
		return nil, false
	}
	a, ok := n.d.cfg.Builtins.Lookup(uses)
	if !ok {
		return nil, false
	}
	if ref, err := remoteRef(uses); err == nil {
		if _, _, local := n.d.override(ref); local {
			return nil, false
		}
	}
	return a, true
}

// serviceEnv are the variables that only JavaScript actions get: where the
// results service listens.
func (n *session) serviceEnv(ctx context.Context, s *plan.Scope) (map[string]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.service != nil || n.d.cfg.Service == nil {
		return n.service, nil
	}
	env, stop, err := n.d.cfg.Service(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("start the results service: %w", err)
	}
	n.service, n.stop = env, stop
	return env, nil
}
