package gitlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Runtime is the part of Config that running jobs needs.
type Runtime struct {
	// Depot keeps artifacts and caches; nil: jobs leave each other nothing, and
	// say so.
	Depot *depot.Depot
	// LookPath finds a program on this machine; nil means exec.LookPath.
	LookPath func(program string) (string, error)
	// Upstream finds the newest run of another project in which a job, by its name,
	// went well at a branch or tag, on behalf of a run: its ID, and the job's. The error
	// says why there is none, or why it may not be had. nil: other projects are not
	// known.
	Upstream func(ctx context.Context, on, project, ref, job string) (run, id string, err error)
	// Trigger starts the pipeline of another project, once for each job that asks, and
	// returns its runs, and how they ended if that is waited for. The error says why it cannot be. nil:
	// other projects are not known.
	Trigger func(ctx context.Context, d Downstream) (runs []string, verdict plan.Verdict, err error)
}

// session is one job while it runs.
type session struct {
	d     *Dialect
	spec  *jobSpec
	about []variable // what the commit says of itself
	cover *coverage

	mu  sync.Mutex
	env *environment // as it was last made, for the directories in at
	at  plan.Dirs
	// keys are those of the caches whose keys are made of files, as the files
	// were when they were first looked at: before the script.
	keys map[*cacheSpec]string
}

// Open implements [dialect.Dialect].
func (d *Dialect) Open(ctx context.Context, s *plan.Scope) (dialect.Session, error) {
	spec, err := specOf(s.Job)
	if err != nil {
		return nil, err
	}
	return &session{d: d, spec: spec, about: d.commits.of(ctx, s), cover: newCoverage(spec.Coverage)}, nil
}

// Close implements [dialect.Session].
func (*session) Close() error { return nil }

// environment is the job's variables. Nothing that they are made of changes
// while the job runs.
func (n *session) environment(s *plan.Scope) (*environment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.env == nil || n.at != s.Dirs {
		env, err := environmentOf(s, n.spec, n.about)
		if err != nil {
			return nil, err
		}
		n.env, n.at = env, s.Dirs
	}
	return n.env, nil
}

// stepNotice is the step that tells of what is different here, if anything is.
const stepNotice = "notice"

// Setup implements [dialect.Session].
func (n *session) Setup(_ context.Context, s *plan.Scope) (dialect.Setup, error) {
	for _, name := range slices.Sorted(maps.Keys(n.spec.Secrets)) {
		if _, ok := s.Secrets[name]; !ok {
			return dialect.Setup{}, &dialect.ProblemError{Lacking: true, Problem: plan.Problem{
				Source: n.spec.Secrets[name].Source, Severity: plan.Error, Rule: "secrets",
				Message: fmt.Sprintf("the secret %s is kept by %s, which is not asked from here", name, n.spec.Secrets[name].Provider),
				Hint:    fmt.Sprintf("give it to the run: --secret %s, or fairlead secret set", name),
			}}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.spec.IDTokens)) {
		if _, ok := s.Secrets[name]; !ok {
			return dialect.Setup{}, &dialect.ProblemError{Lacking: true, Problem: plan.Problem{
				Source: n.spec.IDTokens[name].Source, Severity: plan.Error, Rule: "id_tokens",
				Message: fmt.Sprintf("the ID token %s has to be signed by a server whose address others trust, and this run has none", name),
				Hint:    "run it on a server (fairlead serve --url), or give a token to the run: --secret " + name,
			}}
		}
	}
	env, err := n.environment(s)
	if err != nil {
		return dialect.Setup{}, err
	}
	return dialect.Setup{Before: n.before(s, env), Files: env.files, Masks: env.masks}, nil
}

// notices are the ways in which this job is not what it is on GitLab.
func (n *session) notices(s *plan.Scope) []plan.Annotation {
	var list []plan.Annotation
	warn := func(at plan.Source, format string, args ...any) {
		list = append(list, plan.Annotation{Level: plan.WarningLevel, Message: fmt.Sprintf(format, args...), File: at.File, Line: at.Line})
	}
	if n.spec.Image != nil && s.Job.Place.Container == nil {
		warn(n.spec.Image.Source, "the image %s is ignored: the job runs on this machine, with what is installed here", n.spec.Image.Name)
	}
	if len(n.spec.Services) > 0 && len(s.Job.Place.Services) == 0 {
		warn(n.spec.Services[0].Source, "the services are ignored: the job runs on this machine, and has to find them there")
	}
	return list
}

// Resolve implements [dialect.Session].
func (n *session) Resolve(ctx context.Context, step *plan.Step, s *plan.Scope) (*plan.Act, error) {
	env, err := n.environment(s)
	if err != nil {
		return nil, err
	}
	act := &plan.Act{Name: step.Name}
	switch {
	case step.Run != nil:
		if step.ID == stepScript && !s.Paper {
			if err := n.forget(s); err != nil {
				return nil, err
			}
		}
		return act, n.script(act, step, s, env)
	case step.Use == nil:
		return nil, fmt.Errorf("gitlab: step %s has nothing to do", step.Key)
	}
	act.Builtin = &plan.Builtin{Name: step.Use.Ref}
	switch step.Use.Ref {
	case stepNotice:
		act.Builtin.Aloof = true
	case stepTrigger:
		variables, err := json.Marshal(step.Data["variables"])
		if err != nil {
			return nil, fmt.Errorf("gitlab: read the trigger of %s: %w", s.Job.ID, err)
		}
		act.Builtin.Inputs = map[string]string{"variables": string(variables)}
		for _, name := range []string{"project", "branch", "wait"} {
			act.Builtin.Inputs[name] = fmt.Sprint(step.Data[name])
		}
	case stepDownload:
		if act.Builtin.Aloof, err = n.nothingToDownload(s); err != nil {
			return nil, err
		}
	case stepRestore:
		if act.Builtin.Aloof, err = n.nothingToRestore(ctx, s, env); err != nil {
			return nil, err
		}
	}
	return act, nil
}

// Do implements [dialect.Session].
func (n *session) Do(ctx context.Context, b *plan.Builtin, s *plan.Scope, log io.Writer) (plan.Effects, error) {
	env, err := n.environment(s)
	if err != nil {
		return plan.Effects{}, err
	}
	w := &work{session: n, s: s, env: env, log: log}
	switch b.Name {
	case stepNotice:
		for _, note := range n.notices(s) {
			w.warn("%s", note.Message)
			w.fx.Notes[len(w.fx.Notes)-1] = note
		}
	case stepSources:
		err = w.submodules(ctx)
	case stepRestore:
		err = w.restoreCaches(ctx)
	case stepDownload:
		err = w.download(ctx)
	case stepSave:
		err = w.saveCaches(ctx)
	case stepUpload:
		err = w.upload(ctx)
	case stepRelease:
		w.release()
	case stepTrigger:
		err = w.trigger(ctx, b)
	default:
		err = fmt.Errorf("gitlab: there is no built-in %q", b.Name)
	}
	return w.fx, err
}

// work is a step of ours while it is done.
type work struct {
	*session
	s   *plan.Scope
	env *environment
	log io.Writer
	fx  plan.Effects
}

// say writes one line to the log.
func (w *work) say(format string, args ...any) {
	fmt.Fprintln(w.log, oneLine(fmt.Sprintf(format, args...)))
}

// warn writes a line to the log and makes it an annotation.
func (w *work) warn(format string, args ...any) {
	text := oneLine(fmt.Sprintf(format, args...))
	fmt.Fprintln(w.log, "WARNING: "+text)
	w.fx.Notes = append(w.fx.Notes, plan.Annotation{Level: plan.WarningLevel, Message: text})
}

// fail makes the step fail, for a reason of the user's.
func (w *work) fail(format string, args ...any) {
	w.fx.Fail = oneLine(fmt.Sprintf(format, args...))
	fmt.Fprintln(w.log, "ERROR: "+w.fx.Fail)
}

// ends reports whether something that is done at the end of a job is done when
// the job's status is this.
func ends(when string, status plan.Verdict) bool {
	switch when {
	case ifEver:
		return true
	case ifAlways:
		return status != plan.Cancelled
	case ifFailure:
		return status.Bad()
	}
	return status == plan.Success
}

// oneLine is a text without line breaks and other control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// Listen implements [dialect.Session].
func (n *session) Listen(step *plan.Step, _ *plan.Act, _ *plan.Scope) (dialect.Listener, error) {
	if step.Run == nil {
		return deaf{}, nil
	}
	return &listener{cover: n.cover}, nil
}
