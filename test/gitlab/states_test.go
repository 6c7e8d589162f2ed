// Package gitlab runs pipelines of GitLab's language on the real engine, with
// jobs that only pretend to run, to see which of them begin.
package gitlab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// pretend is the dialect with sessions whose steps are commands that name
// their job.
type pretend struct{ *gitlab.Dialect }

func (pretend) Open(context.Context, *plan.Scope) (dialect.Session, error) { return session{}, nil }

type session struct{}

func (session) Setup(context.Context, *plan.Scope) (dialect.Setup, error) {
	return dialect.Setup{}, nil
}

func (session) Resolve(_ context.Context, st *plan.Step, s *plan.Scope) (*plan.Act, error) {
	return &plan.Act{Name: st.Name, Command: &plan.Command{Argv: []string{s.Job.Name, st.ID}}}, nil
}

func (session) Listen(*plan.Step, *plan.Act, *plan.Scope) (dialect.Listener, error) {
	return listener{}, nil
}

func (session) Do(context.Context, *plan.Builtin, *plan.Scope, io.Writer) (plan.Effects, error) {
	return plan.Effects{}, nil
}
func (session) Close() error { return nil }

type listener struct{}

func (listener) Env() map[string]string                   { return nil }
func (listener) Line(line []byte) ([]byte, *plan.Effects) { return line, nil }
func (listener) Close() (plan.Effects, error)             { return plan.Effects{}, nil }

// machine ends jobs as it was told: by the name of the job, the exit codes of
// its attempts, the last for all further ones.
type machine struct {
	exits map[string][]int
	mu    sync.Mutex
	tried map[string]int
}

func (*machine) Name() string                     { return "pretend" }
func (*machine) Class(*plan.Place) executor.Class { return executor.Class{Name: "pretend"} }
func (*machine) Fits(*plan.Place) *plan.Problem   { return nil }
func (m *machine) Open(context.Context, executor.Spec) (executor.Room, error) {
	return room{m}, nil
}

type room struct{ *machine }

func (room) Dirs() plan.Dirs { return plan.Dirs{} }
func (room) Close() error    { return nil }
func (r room) Run(_ context.Context, c *plan.Command, _ *trace.Spec, _ io.Writer) (executor.Result, error) {
	if c.Argv[1] != "script" {
		return executor.Result{}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := c.Argv[0]
	exits := r.exits[name]
	n := r.tried[name]
	r.tried[name]++
	if len(exits) == 0 {
		return executor.Result{}, nil
	}
	return executor.Result{Exit: exits[min(n, len(exits)-1)]}, nil
}

// memory is a record with leases.
type memory struct {
	mu     sync.Mutex
	events []record.Event
	leases map[string]string
}

func (m *memory) Append(_ context.Context, events ...record.Event) ([]record.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	return lease{m, name}, nil
}

func (m *memory) Held(_ context.Context, name string) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, held := m.leases[name]
	return h, held, nil
}

type lease struct {
	m    *memory
	name string
}

func (l lease) Release() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.leases, l.name)
	return nil
}
func (lease) Lost() <-chan struct{} { return nil }

type log struct{ lines int64 }

func (l *log) Line(string, time.Time, []byte) (int64, error) { l.lines++; return l.lines - 1, nil }
func (l *log) Lines() int64                                  { return l.lines }
func (*log) Flush() error                                    { return nil }
func (*log) Close() error                                    { return nil }
func (*log) Text(string, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

type nowhere struct{}

func (nowhere) Dirs() plan.Dirs { return plan.Dirs{} }
func (nowhere) Notes() []string { return nil }
func (nowhere) Keep() error     { return nil }
func (nowhere) Release() error  { return nil }

type deaf struct{}

func (deaf) Event(record.Event)                 {}
func (deaf) Line(string, string, int64, []byte) {}

// simulate runs a pipeline. ends are "JOB=EXIT" or "JOB=EXIT,EXIT" for its
// attempts; play are the manual jobs that a person asks for. The answer is
// "job=verdict", in the order of their names, and the run's own.
func simulate(t *testing.T, files map[string]string, ends, play string) string {
	t.Helper()
	run, verdict := simulated(t, files, ends, play)
	var out []string
	for _, id := range slices.Sorted(maps.Keys(run.Jobs)) {
		if j := run.Jobs[id]; len(j.Children) == 0 {
			mark := ""
			if j.Result == plan.Success && j.Verdict.Bad() {
				mark = "!" // with a warning
			}
			out = append(out, fmt.Sprintf("%s=%s%s", id, short[j.Verdict], mark))
		}
	}
	return strings.Join(out, " ") + " | " + string(verdict)
}

// simulated is the record of such a run.
func simulated(t *testing.T, files map[string]string, ends, play string) (*record.Run, plan.Verdict) {
	t.Helper()
	tree := fstest.MapFS{}
	for name, body := range files {
		tree[name] = &fstest.MapFile{Data: []byte(body)}
	}
	change := &plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), DefaultBranch: "main", Repository: "group/project", Server: "https://gitlab.example", Actor: "me"}
	d := pretend{gitlab.New(gitlab.Config{})}
	pipelines, problems, err := d.Compile(t.Context(), tree, change)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("problem: %s", p)
	}
	m := &machine{exits: map[string][]int{}, tried: map[string]int{}}
	for _, word := range strings.Fields(ends) {
		name, codes, _ := strings.Cut(word, "=")
		for code := range strings.SplitSeq(codes, ",") {
			n, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			m.exits[name] = append(m.exits[name], n)
		}
	}
	rec := &memory{leases: map[string]string{}}
	e := &engine.Engine{Dialect: d, Executor: m, Leases: rec, Idle: func() float64 { return 8 }, Grace: time.Minute}
	verdict, _, err := e.Run(t.Context(), engine.Request{
		Context: &plan.Context{Pipeline: &pipelines[0], Change: change, RunID: "1", Attempt: 1, Play: strings.Fields(play)},
		Record:  rec, Planned: &record.RunPlanned{Pipeline: &pipelines[0], Change: change},
		Masker: new(secret.Masker), Observer: deaf{}, Log: func(string) (engine.Log, error) { return &log{}, nil },
		Open: func(context.Context, engine.Opening) (engine.Workspace, error) { return nowhere{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	run := record.NewRun("1")
	for _, e := range rec.events {
		run.Apply(e)
	}
	return run, verdict
}

var short = map[plan.Verdict]string{plan.Success: "ok", plan.Failure: "failed", plan.Skipped: "-", plan.Fault: "error", plan.Cancelled: "cancelled", plan.Timeout: "timeout"}

// job writes a job: its name, its stage, and further lines.
func job(name, stage string, lines ...string) string {
	text := name + ":\n  script: x\n  stage: " + stage + "\n"
	for _, l := range lines {
		text += "  " + l + "\n"
	}
	return text
}

func TestStates(t *testing.T) {
	t.Parallel()
	build, test, deploy := job("build", "build"), job("test", "test"), job("deploy", "deploy")
	with := func(name, stage string, lines ...string) string { return job(name, stage, lines...) }
	const block = "allow_failure: false"
	dag := func(name, stage, needs string, lines ...string) string {
		return job(name, stage, append([]string{"needs: [" + needs + "]"}, lines...)...)
	}
	for name, c := range map[string]struct{ yaml, ends, play, want string }{
		// stages
		"all is well":                           {build + test + deploy, "", "", "build=ok deploy=ok test=ok | success"},
		"a failure skips what comes after":      {build + test + deploy, "build=1", "", "build=failed deploy=- test=- | failure"},
		"a failure in the middle":               {build + test + deploy, "test=1", "", "build=ok deploy=- test=failed | failure"},
		"one of two fails":                      {job("a", "build") + job("b", "build") + test, "b=1", "", "a=ok b=failed test=- | failure"},
		"may fail":                              {with("build", "build", "allow_failure: true") + test, "build=1", "", "build=failed! test=ok | success"},
		"may fail with this code":               {with("build", "build", "allow_failure: {exit_codes: [3, 4]}") + test, "build=4", "", "build=failed! test=ok | success"},
		"may not fail with that code":           {with("build", "build", "allow_failure: {exit_codes: 3}") + test, "build=4", "", "build=failed test=- | failure"},
		"on_failure without one":                {build + with("test", "test", "when: on_failure") + deploy, "", "", "build=ok deploy=ok test=- | success"},
		"on_failure with one":                   {build + with("test", "test", "when: on_failure") + deploy, "build=1", "", "build=failed deploy=- test=ok | failure"},
		"on_failure in the first stage":         {with("build", "build", "when: on_failure") + test, "", "", "build=- test=ok | success"},
		"on_failure after one that may fail":    {with("build", "build", "allow_failure: true") + with("test", "test", "when: on_failure"), "build=1", "", "build=failed! test=- | success"},
		"on_failure looks at all stages before": {build + test + with("deploy", "deploy", "when: on_failure"), "build=1", "", "build=failed deploy=ok test=- | failure"},
		"always after a failure":                {build + test + with("deploy", "deploy", "when: always"), "build=1", "", "build=failed deploy=ok test=- | failure"},
		"always after success":                  {build + with("deploy", "deploy", "when: always"), "", "", "build=ok deploy=ok | success"},
		"always after nothing but skipped":      {with("build", "build", "when: on_failure") + with("test", "test", "when: always"), "", "", "build=- test=ok | success"},
		".pre and .post":                        {job("last", ".post") + test + job("first", ".pre"), "", "", "first=ok last=ok test=ok | success"},
		".pre fails":                            {with("last", ".post", "when: always") + test + job("first", ".pre"), "first=1", "", "first=failed last=ok test=- | failure"},
		// manual, by stages
		"manual is optional":                       {build + with("test", "test", "when: manual") + deploy, "", "", "build=ok deploy=ok test=- | success"},
		"manual was asked for":                     {build + with("test", "test", "when: manual") + deploy, "", "test", "build=ok deploy=ok test=ok | success"},
		"manual was asked for and fails":           {build + with("test", "test", "when: manual") + deploy, "test=1", "test", "build=ok deploy=ok test=failed! | success"},
		"manual blocks":                            {build + with("test", "test", "when: manual", block) + deploy, "", "", "build=ok deploy=- test=- | success"},
		"manual blocks until asked for":            {build + with("test", "test", "when: manual", block) + deploy, "", "test", "build=ok deploy=ok test=ok | success"},
		"manual blocks, is asked for and fails":    {build + with("test", "test", "when: manual", block) + deploy, "test=1", "test", "build=ok deploy=- test=failed | failure"},
		"manual blocks always, too":                {build + with("test", "test", "when: manual", block) + with("deploy", "deploy", "when: always"), "", "", "build=ok deploy=- test=- | success"},
		"manual blocks on_failure, too":            {build + with("test", "test", "when: manual", block) + with("deploy", "deploy", "when: on_failure"), "", "", "build=ok deploy=- test=- | success"},
		"manual that has nothing to do blocks not": {build + with("test", "test", "when: manual", block) + with("deploy", "deploy", "when: on_failure"), "build=1", "", "build=failed deploy=ok test=- | failure"},
		"manual that has nothing to do and always": {build + with("test", "test", "when: manual", block) + with("deploy", "deploy", "when: always"), "build=1", "", "build=failed deploy=ok test=- | failure"},
		"asked for after a failure":                {build + with("test", "test", "when: manual"), "build=1", "test", "build=failed test=- | failure"},
		"optional manual and on_failure":           {build + with("test", "test", "when: manual") + with("deploy", "deploy", "when: on_failure"), "", "", "build=ok deploy=- test=- | success"},
		"optional manual and always":               {build + with("test", "test", "when: manual") + with("deploy", "deploy", "when: always"), "", "", "build=ok deploy=ok test=- | success"},
		"a stage of optional manual jobs alone":    {with("build", "build", "when: manual") + test, "", "", "build=- test=ok | success"},
		"behind two that block":                    {with("a", "build", "when: manual", block) + with("b", "test", "when: manual", block) + deploy, "", "a", "a=ok b=- deploy=- | success"},
		"manual by rules blocks":                   {with("a", "build", "rules: [{when: manual}]") + test, "", "", "a=- test=- | success"},
		"manual by rules may fail":                 {with("a", "build", "rules: [{when: manual, allow_failure: true}]") + test, "", "", "a=- test=ok | success"},
		"manual by the job, rules let it in":       {with("a", "build", "when: manual", "rules: [{if: $CI}]") + test, "", "", "a=- test=ok | success"},
		// needs
		"needs nothing":                            {build + dag("deploy", "deploy", ""), "build=1", "", "build=failed deploy=ok | failure"},
		"needs one of two":                         {job("a", "build") + job("b", "build") + dag("t", "test", "a"), "b=1", "", "a=ok b=failed t=ok | failure"},
		"a need fails":                             {job("a", "build") + dag("t", "test", "a") + dag("d", "deploy", "t"), "a=1", "", "a=failed d=- t=- | failure"},
		"a need may fail":                          {with("a", "build", "allow_failure: true") + dag("t", "test", "a"), "a=1", "", "a=failed! t=ok | success"},
		"a need was skipped":                       {build + with("t", "test", "when: on_failure") + dag("d", "deploy", "t"), "", "", "build=ok d=- t=- | success"},
		"a need was skipped and always":            {build + with("t", "test", "when: on_failure") + dag("d", "deploy", "t", "when: always"), "", "", "build=ok d=ok t=- | success"},
		"one need skipped, one well":               {build + with("t", "test", "when: on_failure") + dag("d", "deploy", "t, build"), "", "", "build=ok d=- t=- | success"},
		"one need skipped, one failed, on_failure": {job("a", "build") + job("b", "build", "allow_failure: true") + dag("t", "test", "b", "when: on_failure") + dag("d", "deploy", "a, t", "when: on_failure"), "a=1", "", "a=failed b=ok d=- t=- | failure"},
		"on_failure of a need":                     {job("a", "build") + dag("r", "test", "a", "when: on_failure"), "a=1", "", "a=failed r=ok | failure"},
		"on_failure of a need that is well":        {job("a", "build") + dag("r", "test", "a", "when: on_failure"), "", "", "a=ok r=- | success"},
		"on_failure that needs nothing":            {dag("r", "test", "", "when: on_failure") + build, "build=1", "", "build=failed r=- | failure"},
		"always of a need that fails":              {job("a", "build") + dag("r", "test", "a", "when: always"), "a=1", "", "a=failed r=ok | failure"},
		"needs in its own stage":                   {job("a", "test") + dag("b", "test", "a") + deploy, "", "", "a=ok b=ok deploy=ok | success"},
		"a stage waits for jobs with needs":        {job("a", "build") + dag("b", "test", "a") + deploy, "b=1", "", "a=ok b=failed deploy=- | failure"},
		"a need that is optional and not there":    {job("a", "build", "rules: [{when: never}]") + "t:\n  script: x\n  needs: [{job: a, optional: true}]\n", "", "", "t=ok | success"},
		"a need that is optional and there":        {job("a", "build") + "t:\n  script: x\n  needs: [{job: a, optional: true}]\n", "a=1", "", "a=failed t=- | failure"},
		"optional and another":                     {job("a", "build", "rules: [{when: never}]") + job("b", "build") + "t:\n  script: x\n  needs: [b, {job: a, optional: true}]\n", "b=1", "", "b=failed t=- | failure"},
		"needs cells":                              {job("a", "build", "parallel: 2") + dag("t", "test", "a"), "a_1=0", "", "a 1-2=ok a 2-2=ok t=ok | success"},
		"needs one cell":                           {job("a", "build", "parallel: {matrix: [{OS: [linux, mac]}]}") + "t:\n  script: x\n  needs:\n    - job: a\n      parallel: {matrix: [{OS: mac}]}\n", "", "", "a: [linux]=ok a: [mac]=ok t=ok | success"},
		// manual, by needs
		"needs an optional manual job":             {build + with("m", "test", "when: manual") + dag("d", "deploy", "m"), "", "", "build=ok d=- m=- | success"},
		"needs an optional manual job, asked for":  {build + with("m", "test", "when: manual") + dag("d", "deploy", "m"), "", "m", "build=ok d=ok m=ok | success"},
		"needs an optional manual job, always":     {build + with("m", "test", "when: manual") + dag("d", "deploy", "m", "when: always"), "", "", "build=ok d=ok m=- | success"},
		"needs an optional manual job, on_failure": {build + with("m", "test", "when: manual") + dag("d", "deploy", "m", "when: on_failure"), "", "", "build=ok d=- m=- | success"},
		"needs it and one that is well":            {build + with("m", "test", "when: manual") + dag("d", "deploy", "m, build"), "", "", "build=ok d=- m=- | success"},
		"needs an optional manual job that fails":  {build + with("m", "test", "when: manual") + dag("d", "deploy", "m"), "m=1", "m", "build=ok d=ok m=failed! | success"},
		"needs a blocking job":                     {build + with("m", "test", "when: manual", block) + dag("d", "deploy", "m"), "", "", "build=ok d=- m=- | success"},
		"needs a blocking job, asked for":          {build + with("m", "test", "when: manual", block) + dag("d", "deploy", "m"), "", "m", "build=ok d=ok m=ok | success"},
		"needs a blocking job, always":             {build + with("m", "test", "when: manual", block) + dag("d", "deploy", "m", "when: always"), "", "", "build=ok d=- m=- | success"},
		"needs a blocking job, on_failure":         {build + with("m", "test", "when: manual", block) + dag("d", "deploy", "m", "when: on_failure"), "", "", "build=ok d=- m=- | success"},
		"needs a blocking job with nothing to do":  {build + with("m", "test", "when: manual", block) + dag("d", "deploy", "m", "when: always"), "build=1", "", "build=failed d=ok m=- | failure"},
		"needs one behind a blocking job":          {with("m", "build", "when: manual", block) + dag("a", "test", "m") + dag("d", "deploy", "a", "when: always"), "", "", "a=- d=- m=- | success"},
		"needs one past a blocking job":            {with("m", "build", "when: manual", block) + job("a", "build") + dag("d", "deploy", "a"), "", "", "a=ok d=ok m=- | success"},
		"a chain of manual jobs":                   {dag("m", "build", "", "when: manual") + dag("n", "test", "m", "when: manual") + dag("d", "deploy", "n"), "", "m", "d=- m=ok n=- | success"},
		"a chain of manual jobs, all asked for":    {dag("m", "build", "", "when: manual") + dag("n", "test", "m", "when: manual") + dag("d", "deploy", "n"), "", "m n", "d=ok m=ok n=ok | success"},
		"a manual job whose need fails":            {job("a", "build") + dag("m", "test", "a", "when: manual"), "a=1", "m", "a=failed m=- | failure"},
		// retry, delay
		"tried again":                      {with("build", "build", "retry: 1") + test, "build=1,0", "", "build=ok test=ok | success"},
		"tried again in vain":              {with("build", "build", "retry: 2") + test, "build=1", "", "build=failed test=- | failure"},
		"not tried again for this":         {with("build", "build", "retry: {max: 2, when: runner_system_failure}") + test, "build=1,0", "", "build=failed test=- | failure"},
		"tried again for this code":        {with("build", "build", "retry: {max: 1, exit_codes: 7}") + test, "build=7,0", "", "build=ok test=ok | success"},
		"not tried again for that code":    {with("build", "build", "retry: {max: 1, exit_codes: 7}") + test, "build=6,0", "", "build=failed test=- | failure"},
		"tried again, may fail":            {with("build", "build", "retry: 1", "allow_failure: true") + test, "build=1", "", "build=failed! test=ok | success"},
		"delayed":                          {build + with("test", "test", "when: delayed", "start_in: 0.01 seconds") + deploy, "", "", "build=ok deploy=ok test=ok | success"},
		"delayed after a failure":          {build + with("test", "test", "when: delayed", "start_in: 1 day") + deploy, "build=1", "", "build=failed deploy=- test=- | failure"},
		"delayed by needs after a failure": {build + dag("test", "test", "build", "when: delayed", "start_in: 1 day"), "build=1", "", "build=failed test=- | failure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := simulate(t, map[string]string{".gitlab-ci.yml": c.yaml}, c.ends, c.play); got != c.want {
				t.Errorf("%s\nends %s, play %s\n got %s\nwant %s", c.yaml, c.ends, c.play, got, c.want)
			}
		})
	}
}

// TestWhoWaits looks for the jobs that a person may ask for: those that would begin.
func TestWhoWaits(t *testing.T) {
	t.Parallel()
	build, manual := job("build", "build"), job("m", "test", "when: manual")
	for name, c := range map[string]struct{ yaml, ends, play, want string }{
		"manual":                     {build + manual, "", "", "m"},
		"asked for":                  {build + manual, "", "m", ""},
		"after a failure":            {build + manual, "build=1", "", ""},
		"on_failure without one":     {build + job("f", "test", "when: on_failure"), "", "", ""},
		"two, one behind the other":  {manual + job("n", "deploy", "when: manual", "needs: [m]"), "", "", "m"},
		"two, the first asked for":   {manual + job("n", "deploy", "when: manual", "needs: [m]"), "", "m", "n"},
		"what needs a blocking one":  {job("m", "test", "when: manual", "allow_failure: false") + job("d", "deploy"), "", "", "m"},
		"two of one stage":           {manual + job("n", "test", "when: manual"), "", "", "m n"},
		"in a stage after a failure": {build + job("d", "deploy", "when: manual", "needs: []"), "build=1", "", "d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, _ := simulated(t, map[string]string{".gitlab-ci.yml": c.yaml}, c.ends, c.play)
			var waits []string
			for _, id := range slices.Sorted(maps.Keys(run.Jobs)) {
				if run.Jobs[id].Waits {
					waits = append(waits, id)
				}
			}
			if got := strings.Join(waits, " "); got != c.want {
				t.Errorf("%q wait for a person, not %q", got, c.want)
			}
		})
	}
}

func TestChildren(t *testing.T) {
	t.Parallel()
	const child = "a:\n  script: x\n  stage: build\nb:\n  script: x\n  stage: test\nm:\n  script: x\n  stage: test\n  when: manual\nd:\n  script: x\n  stage: deploy\n"
	const blocks = "a:\n  script: x\n  stage: build\nm:\n  script: x\n  stage: test\n  when: manual\n  allow_failure: false\nd:\n  script: x\n  stage: deploy\n"
	after := job("after", "deploy")
	for name, c := range map[string]struct{ yaml, child, ends, play, want string }{
		"depends":                {"t:\n  trigger: {include: child.yml, strategy: depend}\n" + after, child, "", "", "after=ok t/a=ok t/b=ok t/d=ok t/m=- | success"},
		"depends and fails":      {"t:\n  trigger: {include: child.yml, strategy: depend}\n" + after, child, "b=1", "", "after=- t/a=ok t/b=failed t/d=- t/m=- | failure"},
		"depends and may fail":   {"t:\n  trigger: {include: child.yml, strategy: depend}\n  allow_failure: true\n" + after, child, "b=1", "", "after=ok t/a=ok t/b=failed t/d=- t/m=- | success"},
		"on its own and fails":   {"t:\n  trigger: {include: child.yml}\n" + after, child, "b=1", "", "after=ok t=ok t (child)/a=ok t (child)/b=failed t (child)/d=- t (child)/m=- | success"},
		"manual in a child":      {"t:\n  trigger: {include: child.yml, strategy: depend}\n" + after, child, "", "t/m", "after=ok t/a=ok t/b=ok t/d=ok t/m=ok | success"},
		"blocking in a child":    {"t:\n  trigger: {include: child.yml, strategy: depend}\n", blocks, "", "", "t/a=ok t/d=- t/m=- | success"},
		"blocking and asked for": {"t:\n  trigger: {include: child.yml, strategy: depend}\n", blocks, "", "t/m", "t/a=ok t/d=ok t/m=ok | success"},
		"manual trigger":         {"t:\n  trigger: {include: child.yml}\n  when: manual\n" + after, child, "", "", "after=ok t=- t (child)=- | success"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := simulate(t, map[string]string{".gitlab-ci.yml": c.yaml, "child.yml": c.child}, c.ends, c.play); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}
