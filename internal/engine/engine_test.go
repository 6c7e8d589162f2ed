package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// toy is a dialect of a few words: enough to say what the engine must do.
//
//	conditions: always, failure, cancelled, true, false
//	texts:      literal, or needs.JOB.OUTPUT, steps.ID.OUTPUT, jobs.JOB.OUTPUT, inputs.NAME, env.NAME
//	scripts:    see toyRoom
type toy struct{ opened func(job string) }

func (toy) Name() string          { return "toy" }
func (toy) Describe(*plan.Change) {}
func (toy) Inputs(*plan.Pipeline, map[string]string) (map[string]any, []plan.Problem) {
	return nil, nil
}

func (toy) Eval(e plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	if as == dialect.Condition {
		status := s.Status
		if s.Group != nil && status == plan.Success {
			status = s.Group.Status
		}
		switch e.Text {
		case "always", "true":
			return true, nil
		case "false":
			return false, nil
		case "failure":
			return status.Bad(), nil
		case "cancelled":
			return status == plan.Cancelled, nil
		}
		return nil, &dialect.ProblemError{Problem: plan.Problem{Source: e.Source, Rule: "toy", Message: "cannot read " + e.Text}}
	}
	parts := strings.SplitN(e.Text, ".", 3)
	switch {
	case len(parts) == 3 && parts[0] == "needs":
		return s.Needs[parts[1]].Outputs[parts[2]], nil
	case len(parts) == 3 && parts[0] == "jobs":
		return s.Jobs[parts[1]].Outputs[parts[2]], nil
	case len(parts) == 3 && parts[0] == "steps":
		return s.Steps[parts[1]].Outputs[parts[2]], nil
	case len(parts) == 2 && parts[0] == "inputs":
		return fmt.Sprint(s.Group.Inputs[parts[1]]), nil
	case len(parts) == 2 && parts[0] == "env":
		return s.Env[parts[1]], nil
	}
	return e.Text, nil
}

func (toy) Compile(context.Context, fs.FS, *plan.Change) ([]plan.Pipeline, []plan.Problem, error) {
	return nil, nil, errors.New("not asked")
}

// Expand makes one job for each word in Data["cells"], or the jobs given.
func (toy) Expand(_ context.Context, j *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	x := &plan.Expansion{FailFast: j.Deferred.Data["failfast"] == true}
	if n, ok := j.Deferred.Data["max"].(int); ok {
		x.MaxParallel = n
	}
	if jobs, ok := j.Deferred.Data["jobs"].([]plan.Job); ok {
		for _, c := range jobs {
			c.ID = j.ID + "/" + c.ID
			x.Jobs = append(x.Jobs, c)
		}
		x.Outputs, _ = j.Deferred.Data["outputs"].([]plan.Binding)
		return x, nil
	}
	for _, cell := range strings.Fields(j.Deferred.Data["cells"].(string)) {
		c := *j
		c.ID, c.Deferred, c.Needs, c.If = j.ID+"/"+cell, nil, nil, plan.Expr{}
		c.Steps = []plan.Step{{Key: "1", Name: cell, Run: &plan.Script{Text: plan.Expr{Text: cell}}}}
		x.Jobs = append(x.Jobs, c)
	}
	return x, nil
}

func (d toy) Open(_ context.Context, s *plan.Scope) (dialect.Session, error) {
	if d.opened != nil {
		d.opened(s.Job.ID)
	}
	return toySession{}, nil
}

type toySession struct{}

func (toySession) Setup(context.Context, *plan.Scope) (dialect.Setup, error) {
	return dialect.Setup{}, nil
}
func (toySession) Close() error { return nil }

// Resolve: Data may hold "post" (a script for a post step), "group" (steps),
// "continue", "timeout" and "script", the text of what runs.
func (toySession) Resolve(_ context.Context, st *plan.Step, s *plan.Scope) (*plan.Act, error) {
	a := &plan.Act{Name: st.Name, ContinueOnError: st.Data["continue"] == true}
	a.Timeout, _ = st.Data["timeout"].(time.Duration)
	if post, ok := st.Data["post"].(string); ok {
		a.Post = &plan.Step{Key: st.Key + ".post", Of: st.Key, Name: "post " + st.Name, Phase: plan.Post,
			If: plan.Expr{Text: "always"}, Run: &plan.Script{Text: plan.Expr{Text: post}}}
	}
	if steps, ok := st.Data["group"].([]plan.Step); ok {
		a.Group = &plan.Group{Steps: steps, Inputs: map[string]any{"x": "in"}}
		a.Group.Outputs, _ = st.Data["outputs"].([]plan.Binding)
		return a, nil
	}
	if names, ok := st.Data["reports"].(string); ok {
		a.Builtin = &plan.Builtin{Name: "junit", Inputs: map[string]string{"reports": names}}
		return a, nil
	}
	a.Command = &plan.Command{Argv: strings.Fields(st.Run.Text.Text), Env: maps.Clone(s.Env)}
	if text, ok := st.Data["script"].(string); ok {
		a.Command.Script, a.Command.Files = text, []plan.File{{Path: "/script", Body: []byte(text)}}
	}
	if st.Phase == plan.Post {
		a.Command.Argv = append(a.Command.Argv, s.State["saved"])
	}
	return a, nil
}

func (toySession) Listen(*plan.Step, *plan.Act, *plan.Scope) (dialect.Listener, error) {
	return &toyListener{}, nil
}

// Do names the reports that the built-in is given.
func (toySession) Do(_ context.Context, b *plan.Builtin, _ *plan.Scope, _ io.Writer) (plan.Effects, error) {
	return plan.Effects{Reports: strings.Fields(b.Inputs["reports"])}, nil
}

// toyListener reads "set NAME=VALUE", "out NAME=VALUE", "state NAME=VALUE", "mask VALUE".
type toyListener struct{}

func (*toyListener) Env() map[string]string { return nil }
func (*toyListener) Line(line []byte) ([]byte, *plan.Effects) {
	word, rest, _ := strings.Cut(string(line), " ")
	name, value, _ := strings.Cut(rest, "=")
	set := []plan.Setting{{Name: name, Value: value}}
	switch word {
	case "set":
		return nil, &plan.Effects{Env: set}
	case "out":
		return nil, &plan.Effects{Outputs: set}
	case "state":
		return nil, &plan.Effects{State: set}
	case "mask":
		return nil, &plan.Effects{Masks: []string{rest}}
	}
	return line, nil
}
func (*toyListener) Close() (plan.Effects, error) { return plan.Effects{}, nil }

// toyRoom runs scripts of one word and its argument:
//
//	ok             ends well                fail N       ends with exit code N
//	say WORDS      prints them              env NAME     prints its value
//	block          waits to be cancelled    broken       cannot be started
//	meet N         ends when N of them run at the same time
//	flaky          fails the first time  go, make    print what the executor says
type toyRoom struct{ x *toyExecutor }

type toyExecutor struct {
	mu      sync.Mutex
	running int
	peak    int
	met     chan struct{}
	tried   map[string]int
	ran     []string // scripts, in order of their start
	hook    func(script string)
	said    []string  // at its first attempt, and further ones
	dirs    plan.Dirs // of its rooms
}

func (x *toyExecutor) Name() string                     { return "toy" }
func (x *toyExecutor) Class(*plan.Place) executor.Class { return executor.Class{Name: "toy"} }

func (x *toyExecutor) Fits(p *plan.Place) *plan.Problem {
	if slices.Contains(p.Labels, "windows") {
		return &plan.Problem{Severity: plan.Warning, Rule: "runs-on", Message: "this is not windows"}
	}
	return nil
}
func (x *toyExecutor) Open(_ context.Context, s executor.Spec) (executor.Room, error) {
	return toyRoom{x}, nil
}
func (r toyRoom) Dirs() plan.Dirs { return r.x.dirs }
func (toyRoom) Close() error      { return nil }

func (r toyRoom) Run(ctx context.Context, c *plan.Command, _ *trace.Spec, out io.Writer) (executor.Result, error) {
	x := r.x
	script := strings.Join(c.Argv, " ")
	key := script
	if len(c.Files) > 0 {
		script = string(c.Files[0].Body)
	}
	x.mu.Lock()
	x.ran = append(x.ran, script)
	x.running++
	x.peak = max(x.peak, x.running)
	x.tried[key]++
	tried := x.tried[key]
	met := x.met
	if c.Argv[0] == "meet" && x.running == int(c.Argv[1][0]-'0') {
		close(x.met)
	}
	x.mu.Unlock()
	if x.hook != nil {
		x.hook(script)
	}
	defer func() {
		x.mu.Lock()
		x.running--
		x.mu.Unlock()
	}()
	switch c.Argv[0] {
	case "fail":
		return executor.Result{Exit: int(c.Argv[1][0] - '0')}, nil
	case "say", "set", "out", "state", "mask":
		fmt.Fprintln(out, strings.TrimPrefix(script, "say "))
	case "env":
		fmt.Fprintf(out, "%s=%s\n", c.Argv[1], c.Env[c.Argv[1]])
	case "block":
		<-ctx.Done()
		return executor.Result{Exit: 143, Signal: "terminated", Stopped: true}, nil
	case "meet":
		select {
		case <-met:
		case <-ctx.Done():
			return executor.Result{Exit: 143, Stopped: true}, nil
		}
	case "flaky":
		if tried == 1 {
			return executor.Result{Exit: 1}, nil
		}
	case "go", "make":
		said := x.said[min(tried, len(x.said))-1]
		_, err := io.WriteString(out, said)
		return executor.Result{Exit: min(strings.Count(said, `"fail"`), 1)}, err
	case "broken":
		return executor.Result{}, errors.New("no such interpreter")
	}
	return executor.Result{}, nil
}

// memory is a record in memory, with leases.
type memory struct {
	mu     sync.Mutex
	events []record.Event
	leases map[string]string
	fail   error
}

func (m *memory) Append(_ context.Context, events ...record.Event) ([]record.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	events = slices.Clone(events)
	for i := range events {
		events[i].Seq = int64(len(m.events) + 1)
		events[i].Time = time.Unix(events[i].Seq, 0)
		m.events = append(m.events, events[i])
	}
	return events, nil
}

func (m *memory) Lease(_ context.Context, name, holder string) (store.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, held := m.leases[name]; held {
		return nil, &store.HeldError{Name: name, Holder: h}
	}
	m.leases[name] = holder
	return memoryLease{m, name}, nil
}

func (m *memory) Held(_ context.Context, name string) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, held := m.leases[name]
	return h, held, nil
}

type memoryLease struct {
	m    *memory
	name string
}

func (l memoryLease) Release() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.leases, l.name)
	return nil
}

func (l memoryLease) Lost() <-chan struct{} { return nil }

type memoryLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *memoryLog) Line(_ string, _ time.Time, text []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(text))
	return int64(len(l.lines) - 1), nil
}
func (l *memoryLog) Lines() int64 { l.mu.Lock(); defer l.mu.Unlock(); return int64(len(l.lines)) }
func (l *memoryLog) Flush() error { return nil }
func (l *memoryLog) Close() error { return nil }
func (l *memoryLog) Text(_ string, from, to int64) (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for _, line := range l.lines[from:to] {
		text.WriteString(line + "\n")
	}
	return io.NopCloser(strings.NewReader(text.String())), nil
}

type nowhere struct{}

func (nowhere) Dirs() plan.Dirs { return plan.Dirs{} }
func (nowhere) Notes() []string { return nil }
func (nowhere) Keep() error     { return nil }
func (nowhere) Release() error  { return nil }

type deaf struct{}

func (deaf) Event(record.Event)                 {}
func (deaf) Line(string, string, int64, []byte) {}

// bench is everything a run of the toy dialect needs.
type bench struct {
	*testing.T
	engine  *Engine
	rec     *memory
	exec    *toyExecutor
	logs    map[string]*memoryLog
	mu      sync.Mutex
	run     *record.Run
	request Request
	why     string
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, rec: &memory{leases: map[string]string{}}, logs: map[string]*memoryLog{},
		exec: &toyExecutor{met: make(chan struct{}), tried: map[string]int{}}}
	b.engine = &Engine{Dialect: toy{}, Executor: b.exec, Leases: b.rec,
		Idle: func() float64 { return 8 }, Grace: time.Minute}
	return b
}

func (b *bench) log(job string) (Log, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.logs[job] == nil {
		b.logs[job] = &memoryLog{}
	}
	return b.logs[job], nil
}

// do runs the jobs and returns how the run ended.
func (b *bench) do(ctx context.Context, id string, jobs ...plan.Job) plan.Verdict {
	b.Helper()
	p := &plan.Pipeline{Name: "toy", Jobs: jobs}
	if c := b.request.Context; c != nil {
		p.Concurrency, p.AutoCancel = c.Pipeline.Concurrency, c.Pipeline.AutoCancel
	}
	change := &plan.Change{Repository: "o/r"}
	req := b.request
	req.Context = &plan.Context{Pipeline: p, Change: change, RunID: id, Attempt: 1}
	req.Record = b.rec
	req.Planned = &record.RunPlanned{Pipeline: p, Change: change}
	if req.Masker == nil {
		req.Masker = new(secret.Masker)
	}
	req.Observer = deaf{}
	req.Log = b.log
	if req.Open == nil {
		req.Open = func(context.Context, Opening) (Workspace, error) { return nowhere{}, nil }
	}
	verdict, why, err := b.engine.Run(ctx, req)
	if err != nil {
		b.Fatal(err)
	}
	b.why = why
	b.run = b.fold(id)
	return verdict
}

func (b *bench) fold(id string) *record.Run {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	r := record.NewRun(id)
	for _, e := range b.rec.events {
		r.Apply(e)
	}
	return r
}

// verdicts is "job=verdict" of every job that is not made of others.
func (b *bench) verdicts() string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(b.run.Jobs)) {
		if j := b.run.Jobs[id]; len(j.Children) == 0 {
			out = append(out, id+"="+string(j.Verdict))
		}
	}
	return strings.Join(out, " ")
}

func steps(scripts ...string) []plan.Step {
	var list []plan.Step
	for i, s := range scripts {
		cond, script, ok := strings.Cut(s, ": ")
		if !ok {
			cond, script = "", s
		}
		list = append(list, plan.Step{Key: fmt.Sprint(i + 1), ID: "s" + fmt.Sprint(i+1), Name: script,
			If: plan.Expr{Text: cond}, Run: &plan.Script{Text: plan.Expr{Text: script}}})
	}
	return list
}

func matrix(id, cells string, data map[string]any) plan.Job {
	if data == nil {
		data = map[string]any{}
	}
	data["cells"] = cells
	return plan.Job{ID: id, Deferred: &plan.Deferred{Kind: "matrix", Data: data}}
}

// cell scripts are words: dots stand for blanks.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		jobs    []plan.Job
		verdict plan.Verdict
		jobsEnd string
	}{
		{"one job", []plan.Job{{ID: "a", Steps: steps("ok")}}, plan.Success, "a=success"},
		{"a failure skips what needs it", []plan.Job{
			{ID: "a", Steps: steps("fail 2")},
			{ID: "b", Needs: []string{"a"}, Steps: steps("ok")},
			{ID: "c", Needs: []string{"b"}, Steps: steps("ok")},
		}, plan.Failure, "a=failure b=skipped c=skipped"},
		{"always runs in spite of a failed need", []plan.Job{
			{ID: "a", Steps: steps("fail 2")},
			{ID: "b", Needs: []string{"a"}, If: plan.Expr{Text: "always"}, Steps: steps("ok")},
		}, plan.Failure, "a=failure b=success"},
		{"failure() sees the ancestors behind a job that ran", []plan.Job{
			{ID: "a", Steps: steps("fail 2")},
			{ID: "b", Needs: []string{"a"}, If: plan.Expr{Text: "always"}, Steps: steps("ok")},
			{ID: "c", Needs: []string{"b"}, If: plan.Expr{Text: "failure"}, Steps: steps("ok")},
			{ID: "d", Needs: []string{"b"}, Steps: steps("ok")},
		}, plan.Failure, "a=failure b=success c=success d=skipped"},
		{"a skipped need skips", []plan.Job{
			{ID: "a", If: plan.Expr{Text: "false"}, Steps: steps("ok")},
			{ID: "b", Needs: []string{"a"}, Steps: steps("ok")},
		}, plan.Success, "a=skipped b=skipped"},
		{"continue-on-error of a job lets dependents run", []plan.Job{
			{ID: "a", ContinueOnError: true, Steps: steps("fail 2")},
			{ID: "b", Needs: []string{"a"}, Steps: steps("ok")},
		}, plan.Success, "a=failure b=success"},
		{"what cannot be started is our error", []plan.Job{{ID: "a", Steps: steps("broken")}}, plan.Fault, "a=error"},
		{"a step after a failure runs only when it asks to", []plan.Job{
			{ID: "a", Steps: steps("fail 1", "say no", "failure: say yes", "always: ok")}}, plan.Failure, "a=failure"},
		{"a matrix is as bad as its worst cell", []plan.Job{matrix("m", "ok broken", nil)}, plan.Fault, "m/broken=error m/ok=success"},
		{"a machine that is not there", []plan.Job{{ID: "w", Place: plan.Place{Labels: []string{"windows"}}, Steps: steps("ok")}, {ID: "x", Steps: steps("ok")}},
			plan.Success, "w=skipped x=success"},
		{"only machines that are not there", []plan.Job{{ID: "w", Place: plan.Place{Labels: []string{"windows"}}, Steps: steps("ok")}},
			plan.Fault, "w=skipped"},
		{"an expression that cannot be read", []plan.Job{{ID: "a", If: plan.Expr{Text: "garble"}, Steps: steps("ok")}}, plan.Failure, "a=failure"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if got := b.do(t.Context(), "1", tt.jobs...); got != tt.verdict {
				t.Errorf("verdict %s (%s), want %s", got, b.why, tt.verdict)
			}
			if got := b.verdicts(); got != tt.jobsEnd {
				t.Errorf("jobs ended\n %s, want\n %s", got, tt.jobsEnd)
			}
		})
	}
}

func TestFailFastCancelsRunningSiblings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	started := make(chan struct{})
	b.exec.hook = func(script string) {
		switch script {
		case "block":
			close(started)
		case "broken":
			<-started
		}
	}
	b.do(t.Context(), "1", matrix("m", "block broken", map[string]any{"failfast": true}))
	if got, want := b.verdicts(), "m/block=cancelled m/broken=error"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if why := b.run.Jobs["m/block"].Why; !strings.Contains(why, "m/broken ended in error (fail-fast)") {
		t.Errorf("why: %s", why)
	}
}

func TestFailureEndsThePipeline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.request.Context = &plan.Context{Pipeline: &plan.Pipeline{AutoCancel: plan.AutoCancel{OnFailure: true}}}
	started := make(chan struct{})
	b.exec.hook = func(script string) {
		switch script {
		case "block":
			close(started)
		case "broken":
			<-started
		}
	}
	v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("block")}, plan.Job{ID: "b", Steps: steps("broken")}, plan.Job{ID: "c", Needs: []string{"a"}, Steps: steps("ok")})
	if got := b.verdicts(); v != plan.Fault || got != "a=cancelled b=error c=cancelled" || !strings.Contains(b.why, "b ended in error, which ends the pipeline") {
		t.Errorf("%s: %s (%s)", v, got, b.why)
	}
}

// TestOvertaken: what a newer commit's run cancels, by what the pipeline says and what has begun.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says  plan.Redundancy
		first bool // the job that has begun may be interrupted
		want  string
	}{
		"nothing is said":        {plan.KeepGoing, true, "a=success b=success c=success"},
		"conservative":           {plan.Conservative, true, "a=cancelled b=cancelled c=success"},
		"conservative, too late": {plan.Conservative, false, "a=success b=success c=success"},
		"those that may":         {plan.Selective, true, "a=cancelled b=cancelled c=success"},
		"those that may, later":  {plan.Selective, false, "a=success b=cancelled c=success"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.request.Context = &plan.Context{Pipeline: &plan.Pipeline{AutoCancel: plan.AutoCancel{OnNewer: c.says}}}
			cancels := make(chan record.Event)
			b.request.Cancels = cancels
			b.exec.hook = func(script string) {
				if script != "meet 1" {
					return
				}
				e := record.Event{Run: "1", Body: &record.CancelRequested{By: "run 2", Newer: "2"}}
				for range 2 { // the second is taken when the first has been acted on
					cancels <- e
				}
			}
			first, second := plan.Job{ID: "a", Steps: steps("meet 1"), Interruptible: c.first}, plan.Job{ID: "b", Needs: []string{"a"}, Steps: steps("ok"), Interruptible: true}
			b.do(t.Context(), "1", first, second, plan.Job{ID: "c", Steps: steps("ok"), Needs: []string{"a"}, If: plan.Expr{Text: "always"}})
			if got := b.verdicts(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestMaxParallel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if v := b.do(t.Context(), "1", matrix("m", "ok1 ok2 ok3 ok4 ok5", map[string]any{"max": 1})); v != plan.Success {
		t.Fatal(v)
	}
	if b.exec.peak != 1 {
		t.Errorf("%d ran at once", b.exec.peak)
	}
}

// TestSleepersDoNotHoldOthersUp: jobs that only wait leave their cores to
// others; six of them meet on a machine of any size.
func TestSleepersDoNotHoldOthersUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var jobs []plan.Job
	for i := range 6 {
		jobs = append(jobs, plan.Job{ID: fmt.Sprint("j", i), Steps: steps("meet 6")})
	}
	if v := b.do(t.Context(), "1", jobs...); v != plan.Success {
		t.Error(v, b.why)
	}
}

func TestParallelLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.request.Parallel = 1
	b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("ok")}, plan.Job{ID: "b", Steps: steps("ok")}, plan.Job{ID: "c", Steps: steps("ok")})
	if b.exec.peak != 1 {
		t.Errorf("%d ran at once", b.exec.peak)
	}
}

func TestCancelStillRunsAlwaysAndPost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	b.exec.hook = func(script string) {
		if script == "block" {
			cancel(Cancel("enough"))
		}
	}
	list := steps("state saved=kept", "block", "say never", "always: say always", "cancelled: say cancelled", "failure: say failure")
	list[0].Data = map[string]any{"post": "say post"}
	v := b.do(ctx, "1", plan.Job{ID: "a", Steps: list}, plan.Job{ID: "b", Needs: []string{"a"}, Steps: steps("ok")},
		plan.Job{ID: "c", Needs: []string{"a"}, If: plan.Expr{Text: "always"}, Steps: steps("ok")})
	if v != plan.Cancelled || b.why != "enough" {
		t.Errorf("%s (%s)", v, b.why)
	}
	if got, want := b.exec.ran, []string{"state saved=kept", "block", "say always", "say cancelled", "say post kept"}; !slices.Equal(got[:len(want)], want) {
		t.Errorf("ran %q, want %q", got, want)
	}
	if got, want := b.verdicts(), "a=cancelled b=cancelled c=cancelled"; got != want && got != "a=cancelled b=cancelled c=success" {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestJobTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.do(t.Context(), "1", plan.Job{ID: "a", Timeout: 20 * time.Millisecond, Steps: steps("block", "ok", "always: say bye")})
	if v != plan.Timeout {
		t.Errorf("%s, want timeout", v)
	}
	if want := []string{"block", "say bye"}; !slices.Equal(b.exec.ran, want) {
		t.Errorf("ran %q, want %q", b.exec.ran, want)
	}
	if why := b.run.Jobs["a"].Why; !strings.Contains(why, "limit of 20ms") {
		t.Error(why)
	}
}

func TestStepTimeoutAndContinueOnError(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	list := steps("block", "say after")
	list[0].Data = map[string]any{"timeout": 10 * time.Millisecond, "continue": true}
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: list}); v != plan.Success {
		t.Errorf("%s (%s)", v, b.why)
	}
	if s := b.run.Jobs["a"].Step("1").Finished; s.Outcome != plan.Timeout || s.Conclusion != plan.Success {
		t.Errorf("outcome %s, conclusion %s", s.Outcome, s.Conclusion)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.request.Retry = 2
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("flaky")}); v != plan.Success {
		t.Errorf("%s (%s)", v, b.why)
	}
	if n := b.run.Jobs["a"].Attempt; n != 2 {
		t.Errorf("attempt %d, want 2", n)
	}
}

func TestEnvironmentOutputsAndGroups(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	inner := steps("out y=inner", "set FROM=group", "fail 1", "failure: say in group")
	for i := range inner {
		inner[i].Key = "2." + inner[i].Key
	}
	list := append(steps("set A=1"), plan.Step{Key: "2", ID: "g", Name: "group",
		Data: map[string]any{"group": inner, "continue": true, "outputs": []plan.Binding{{Name: "z", Value: plan.Expr{Text: "steps.s1.y"}}}}})
	list = append(list, plan.Step{Key: "3", Name: "env", Run: &plan.Script{Text: plan.Expr{Text: "env FROM"}}},
		plan.Step{Key: "4", Name: "env", Run: &plan.Script{Text: plan.Expr{Text: "env A"}}})
	v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: list, Outputs: []plan.Binding{{Name: "o", Value: plan.Expr{Text: "steps.g.z"}}}},
		plan.Job{ID: "b", Needs: []string{"a"}, Steps: steps("ok"), Outputs: []plan.Binding{{Name: "p", Value: plan.Expr{Text: "needs.a.o"}}}})
	if v != plan.Success {
		t.Errorf("%s (%s)", v, b.why)
	}
	if got := b.run.Jobs["b"].Outputs["p"]; got != "inner" {
		t.Errorf("output %q", got)
	}
	if got, want := b.logs["a"].lines, []string{"in group", "FROM=group", "A=1"}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestSecretsStayOutOfTheRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	list := steps("mask hunter2-hunter2", "say my hunter2-hunter2 here", "out pw=hunter2-hunter2", "set PW=hunter2-hunter2", "fail 1")
	list[0].Name = "tell"
	b.do(t.Context(), "1", plan.Job{ID: "a", Steps: list, Outputs: []plan.Binding{{Name: "pw", Value: plan.Expr{Text: "steps.s3.pw"}}}})
	for _, e := range b.rec.events {
		if s := fmt.Sprintf("%+v", e.Body); strings.Contains(s, "hunter2") {
			t.Errorf("%s holds the secret: %s", e.Kind(), s)
		}
	}
	if got := b.logs["a"].lines[0]; got != "my *** here" {
		t.Errorf("log %q", got)
	}
}

func TestBackgroundSteps(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	list := steps("out a=1", "block", "say main", "", "", "env E", "set E=2")
	list[1].Background = true
	list[3] = plan.Step{Key: "4", Name: "cancel", Cancel: "s2"}
	list[4] = plan.Step{Key: "5", Name: "together", Parallel: []plan.Step{
		{Key: "5.1", ID: "p1", Name: "p1", Run: &plan.Script{Text: plan.Expr{Text: "set E=1"}}},
		{Key: "5.2", ID: "p2", Name: "p2", Run: &plan.Script{Text: plan.Expr{Text: "meet 2"}}},
		{Key: "5.3", ID: "p3", Name: "p3", Run: &plan.Script{Text: plan.Expr{Text: "meet 2"}}},
	}}
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: list}); v != plan.Success {
		t.Errorf("%s (%s)", v, b.why)
	}
	if got := b.logs["a"].lines; !slices.Contains(got, "E=1") {
		t.Errorf("what a background step said did not count: %q", got)
	}
	if s := b.run.Jobs["a"].Step("2").Finished; s.Outcome != plan.Cancelled {
		t.Errorf("background step ended in %s", s.Outcome)
	}
}

func TestBackgroundFailureFailsTheJob(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	list := steps("fail 3", "say main")
	list[0].Background = true
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: list}); v != plan.Failure {
		t.Errorf("%s (%s)", v, b.why)
	}
}

func TestCalledPipelinesOutputs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	call := plan.Job{ID: "call", Deferred: &plan.Deferred{Kind: "call", Data: map[string]any{
		"jobs": []plan.Job{
			{ID: "x", Steps: steps("out v=7"), Outputs: []plan.Binding{{Name: "v", Value: plan.Expr{Text: "steps.s1.v"}}}},
			{ID: "y", Needs: []string{"x"}, Steps: steps("ok"), Outputs: []plan.Binding{{Name: "w", Value: plan.Expr{Text: "needs.x.v"}}}},
		},
		"outputs": []plan.Binding{{Name: "result", Value: plan.Expr{Text: "jobs.y.w"}}},
	}}}
	b.do(t.Context(), "1", call, plan.Job{ID: "z", Needs: []string{"call"}, Steps: steps("ok"), Outputs: []plan.Binding{{Name: "r", Value: plan.Expr{Text: "needs.call.result"}}}})
	if got := b.run.Jobs["z"].Outputs["r"]; got != "7" {
		t.Errorf("output %q; %s", got, b.verdicts())
	}
}

func TestConcurrencyGroups(t *testing.T) {
	t.Parallel()
	member := func(id, script string, cancel string) plan.Job {
		return plan.Job{ID: id, Steps: steps(script), Concurrency: &plan.Concurrency{Group: plan.Expr{Text: "G"}, CancelInProgress: plan.Expr{Text: cancel}}}
	}
	t.Run("one at a time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.do(t.Context(), "1", member("a", "ok", ""), member("b", "ok", ""))
		if b.exec.peak != 1 || b.verdicts() != "a=success b=success" {
			t.Errorf("%d at once; %s", b.exec.peak, b.verdicts())
		}
	})
	t.Run("a newer one cancels the running one", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.do(t.Context(), "1", member("a", "block", "true"), member("b", "ok", "true"))
		if got := b.verdicts(); got != "a=cancelled b=success" {
			t.Error(got)
		}
	})
	t.Run("a run waits for another run", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.request.Context = &plan.Context{Pipeline: &plan.Pipeline{Concurrency: &plan.Concurrency{Group: plan.Expr{Text: "deploy"}}}}
		lease, _ := b.rec.Lease(t.Context(), "group\x00o/r\x00deploy", "0")
		go func() {
			for { // until somebody waits in line
				if _, held, _ := b.rec.Held(context.Background(), "group\x00o/r\x00deploy\x00waiting"); held {
					break
				}
				time.Sleep(time.Millisecond)
			}
			_ = lease.Release()
		}()
		if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("ok")}); v != plan.Success {
			t.Error(v, b.why)
		}
	})
}

// TestResumeFromAnyInstant cuts a finished run's record after every event, as
// a kill would, and resumes: what had finished is not done again, and the run
// ends as it would have.
func TestResumeFromAnyInstant(t *testing.T) {
	t.Parallel()
	jobs := func() []plan.Job {
		list := steps("set A=1", "out v=2", "env A", "ok")
		list[1].Data = map[string]any{"post": "say post"}
		return []plan.Job{
			{ID: "a", Steps: list, Outputs: []plan.Binding{{Name: "v", Value: plan.Expr{Text: "steps.s2.v"}}}},
			matrix("m", "ok say", nil),
			{ID: "z", Needs: []string{"a", "m"}, Steps: steps("ok"), Outputs: []plan.Binding{{Name: "got", Value: plan.Expr{Text: "needs.a.v"}}}},
		}
	}
	whole := newBench(t)
	if v := whole.do(t.Context(), "1", jobs()...); v != plan.Success {
		t.Fatal(v, whole.why)
	}
	for cut := 1; cut < len(whole.rec.events); cut++ {
		b := newBench(t)
		b.rec.events = slices.Clone(whole.rec.events[:cut])
		prior := b.fold("1")
		done := map[string]bool{}
		for _, e := range b.rec.events {
			if f, ok := e.Body.(*record.StepFinished); ok && f.Outcome == plan.Success {
				done[e.Job+" "+e.Step] = true
			}
		}
		b.request.Prior = prior
		if v := b.do(t.Context(), "1", jobs()...); v != plan.Success {
			t.Fatalf("cut after %d events: %s (%s): %s", cut, v, b.why, b.verdicts())
		}
		if got := b.run.Jobs["z"].Outputs["got"]; got != "2" {
			t.Errorf("cut after %d events: output %q", cut, got)
		}
		for _, e := range b.rec.events[cut:] {
			if _, ok := e.Body.(*record.StepStarted); ok && done[e.Job+" "+e.Step] {
				t.Errorf("cut after %d events: step %s of %s was done again", cut, e.Step, e.Job)
			}
		}
		finished := map[string]int{}
		for _, e := range b.rec.events {
			if _, ok := e.Body.(*record.JobFinished); ok {
				finished[e.Job]++
			}
		}
		for job, n := range finished {
			if n != 1 {
				t.Errorf("cut after %d events: job %s finished %d times", cut, job, n)
			}
		}
	}
}

func TestRecordThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec.hook = func(string) {
		b.rec.mu.Lock()
		b.rec.fail = errors.New("disk full")
		b.rec.mu.Unlock()
	}
	p := &plan.Pipeline{Jobs: []plan.Job{{ID: "a", Steps: steps("block", "ok")}}}
	change := &plan.Change{}
	_, _, err := b.engine.Run(t.Context(), Request{Context: &plan.Context{Pipeline: p, Change: change, RunID: "1"}, Record: b.rec, Planned: &record.RunPlanned{Pipeline: p, Change: change},
		Masker: new(secret.Masker), Observer: deaf{}, Log: b.log,
		Open: func(context.Context, Opening) (Workspace, error) {
			go func() { // the step blocks: its start was recorded, nothing after it will be
			}()
			return nowhere{}, nil
		},
		Abort: abortWhen(func() bool { b.rec.mu.Lock(); defer b.rec.mu.Unlock(); return b.rec.fail != nil })})
	if !errors.Is(err, ErrRecord) {
		t.Errorf("error %v", err)
	}
}

func abortWhen(cond func() bool) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		for !cond() {
			time.Sleep(time.Millisecond)
		}
		close(c)
	}()
	return c
}

// TestManyJobs is a soak: a thousand jobs, each needing two of the layer before.
func TestManyJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var jobs []plan.Job
	for i := range 1000 {
		j := plan.Job{ID: fmt.Sprint("j", i), Steps: steps("ok")}
		if i >= 20 {
			j.Needs = []string{fmt.Sprint("j", i-20), fmt.Sprint("j", i-(i%20)-1)}
		}
		jobs = append(jobs, j)
	}
	if v := b.do(t.Context(), "1", jobs...); v != plan.Success {
		t.Error(v, b.why)
	}
	if n := len(b.exec.ran); n != 1000 {
		t.Errorf("%d steps ran", n)
	}
}

// leaver is a workspace that tells when it is given up.
type leaver struct {
	nowhere
	left func()
}

func (l leaver) Keep() error    { l.left(); return nil }
func (l leaver) Release() error { l.left(); return nil }

// TestWorkspaceOutlivesTheJob: whoever resumes the run after a kill finds the
// job finished or its workspace as it was, at every instant.
func TestWorkspaceOutlivesTheJob(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	left := 0
	b.request.Open = func(_ context.Context, o Opening) (Workspace, error) {
		return leaver{left: func() {
			left++
			if b.fold("1").Jobs[o.Job].State != record.Finished {
				t.Errorf("job %s gave its workspace up before its end was a fact", o.Job)
			}
		}}, nil
	}
	b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("ok")}, plan.Job{ID: "b", Steps: steps("fail 1")})
	if left != 2 {
		t.Errorf("%d workspaces were given up, want 2", left)
	}
}
