// Package reuse proves, from outside and with the real binary, that a step is
// reused when it would do the same again, and never otherwise.
//
// A [scene] is a small repository with a workflow. Its acts each change
// something (a file, the environment, the machine), run it, and say which of
// its steps must have been reused, which must have run, and which may not be
// reused and why. Steps whose name begins with "look" are declared to be run
// always: they print what the steps before them have left, so that what was
// restored is seen by somebody.
//
// Beside the scenes: the paths that are traced are compared with those that
// strace shows; random builds under random changes are compared with clean,
// unwatched runs of the same; processes are killed, bytes flipped, disks
// filled, and many runs share a cache.
//
// FAIRLEAD_LONG=1 makes the random tests long; FAIRLEAD_SEED=n repeats one.
package reuse

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

const (
	workflow = ".github/workflows/ci.yml"
	project  = "fairlead.yaml"
	// looking declares the steps that are never reused.
	looking = "    - { match: '*/look*', never: true }\n"
)

// scene is a repository and what happens to it.
type scene struct {
	name  string
	flow  string // the workflow
	steps string // or the steps of its only job, a, as a YAML list
	rules string // further entries of reuse.steps in fairlead.yaml
	files map[string]string
	env   []string // of Fairlead
	args  []string // after run
	needs []string // commands
	set   func(s *stage)
	acts  []act
}

// act is one run, and what comes of it.
type act struct {
	name string
	do   func(s *stage) // before the run
	args []string       // besides those of the scene
	env  []string       // of Fairlead, from now on
	exit int
	// want has a word for each step that could be reused, in their order:
	// reused, ran, or barred for one that ran and cannot be reused. Steps that
	// look are left out. With several jobs it is "a: ran; b: reused reused".
	// "reused?" is for a step that could be reused and need not be: when it
	// runs, that is told and no error. "ran|barred" is for either.
	want string
	why  string   // in the reasons why steps ran or are barred
	log  string   // of job a, whole but for space around it; "" for any
	logs []string // in the log of any job
	then func(s *stage, r *result)
}

// places bounds how many scenes are played at a time.
var places = make(chan struct{}, 4)

// play plays scenes, side by side.
func play(t *testing.T, scenes []scene) {
	t.Parallel()
	watched(t)
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			sc.play(t)
		})
	}
}

// watched skips the test, loudly, where steps cannot be watched.
func watched(t testing.TB) {
	t.Helper()
	if _, err := trace.Probe(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: %v", err)
	}
}

// stage is where a scene is played.
type stage struct {
	*binary.Place
	t    testing.TB
	args []string // of the scene
}

// newStage makes the repository.
func newStage(t testing.TB, flow, rules string, files map[string]string) *stage {
	t.Helper()
	all := map[string]string{workflow: flow, project: "reuse:\n  steps:\n" + looking + rules}
	maps.Copy(all, files)
	p := binary.NewPlace(t, all)
	p.Env = append(p.Env, "PATH="+machinePath())
	return &stage{Place: p, t: t}
}

// job is the workflow of a job that has these steps.
func job(steps string) string {
	return "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n" + indent(steps, "      ")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.Trim(text, "\n"), "\n", "\n"+by) + "\n"
}

func (sc *scene) play(t *testing.T) {
	binary.Need(t, append(sc.needs, "bash")...)
	flow := sc.flow
	if flow == "" {
		flow = job(sc.steps)
	}
	s := newStage(t, flow, sc.rules, sc.files)
	s.Env, s.args = append(s.Env, sc.env...), sc.args
	if sc.set != nil {
		sc.set(s)
	}
	for i, a := range sc.acts {
		name := fmt.Sprintf("act %d", i+1)
		if a.name != "" {
			name += ", " + a.name
		}
		if a.do != nil {
			a.do(s)
		}
		s.Env = append(s.Env, a.env...)
		r := s.perform(a.args...)
		a.judge(t, s, r, name)
		if t.Failed() {
			return // what comes after builds on it
		}
	}
}

func (a *act) judge(t *testing.T, s *stage, r *result, name string) {
	t.Helper()
	bad := func(format string, args ...any) { t.Errorf(name+": "+format, args...) }
	if r.out.Exit != a.exit {
		bad("exit code %d, want %d", r.out.Exit, a.exit)
	}
	if got := r.words(); !alike(got, a.want) {
		bad("steps are\n  %s, want\n  %s", got, a.want)
	} else if strings.Contains(a.want, "?") && got != strings.ReplaceAll(a.want, "?", "") {
		t.Logf("%s: UNNECESSARY MISS: %s", name, r.reasons())
	}
	if why := r.reasons(); !strings.Contains(why, a.why) {
		bad("reasons do not say %q", a.why)
	}
	if a.log != "" || a.logs != nil {
		one, all := s.logs("last", "a"), ""
		if a.logs != nil {
			all = s.logs("last")
		}
		if a.log != "" && strings.TrimSpace(one) != strings.TrimSpace(a.log) {
			bad("the log is\n%s\nwant\n%s", one, a.log)
		}
		for _, want := range a.logs {
			if !strings.Contains(all, want) {
				bad("%q is not in the log\n%s", want, all)
			}
		}
	}
	if a.then != nil {
		a.then(s, r)
	}
	if t.Failed() {
		t.Logf("%s: reasons:\n%s\n%s", name, r.reasons(), r.brief())
	}
}

// alike reports whether what became of steps is what was wanted.
func alike(got, want string) bool {
	words := strings.Fields(got)
	return slices.EqualFunc(words, strings.Fields(want), func(got, want string) bool {
		may, ok := strings.CutSuffix(want, "?")
		return slices.Contains(strings.Split(may, "|"), got) || ok && got == "ran"
	})
}

// result is what came of a run.
type result struct {
	out  binary.Outcome
	run  string
	jobs map[string][]*step
	said map[string]string // what steps that ran have printed, by job and step
}

// lines are what a step that ran has printed.
func (x *step) lines(r *result, job string) string { return r.said[job+"/"+x.key] }

// step is a step that ended.
type step struct {
	key   string
	name  string
	phase plan.Phase
	fin   *record.StepFinished
}

// numbers are those of a step's key: "3.1" is the first step of the third.
func numbers(key string) (list []int) {
	for part := range strings.SplitSeq(key, ".") {
		n, _ := strconv.Atoi(part) // 0 for what is no number
		list = append(list, n)
	}
	return list
}

// perform runs the workflow.
func (s *stage) perform(args ...string) *result {
	s.t.Helper()
	return s.finish(s.Start(s.command(args...)...))
}

func (s *stage) command(args ...string) []string {
	return slices.Concat([]string{"run", "--progress", "json"}, s.args, args)
}

// finish waits for a run's end and reads what it told.
func (s *stage) finish(p *binary.Process) *result {
	s.t.Helper()
	return s.read(p.Wait())
}

func (s *stage) read(out binary.Outcome) *result {
	s.t.Helper()
	r := &result{out: out, jobs: map[string][]*step{}, said: map[string]string{}}
	began := map[string]*record.StepStarted{} // by job and step
	for line := range strings.Lines(out.Stdout + "\n" + out.Stderr) {
		var e struct {
			Kind           record.Kind
			Run, Job, Step string
			Text           string
			Body           json.RawMessage
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.Kind == "" {
			continue
		}
		r.run = e.Run
		if e.Kind == "line" {
			r.said[e.Job+"/"+e.Step] += e.Text + "\n"
			continue
		}
		if e.Kind != "step.finished" {
			if b, err := record.Decode(e.Kind, e.Body); err == nil {
				if st, ok := b.(*record.StepStarted); ok {
					began[e.Job+"/"+e.Step] = st
				}
			}
			continue
		}
		b, err := record.Decode(e.Kind, e.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		x := &step{key: e.Step, fin: b.(*record.StepFinished)}
		if st := began[e.Job+"/"+e.Step]; st != nil {
			x.name, x.phase = st.Name, st.Phase
		}
		r.jobs[e.Job] = append(r.jobs[e.Job], x)
	}
	for _, list := range r.jobs { // those that run beside others end in any order
		slices.SortStableFunc(list, func(a, b *step) int {
			if a.phase != b.phase || a.phase != plan.Main {
				return 0
			}
			return slices.Compare(numbers(a.key), numbers(b.key))
		})
	}
	return r
}

// word is what became of a step, "" for one that was never asked about.
func (x *step) word() string {
	u := x.fin.Reuse
	switch {
	case strings.HasPrefix(x.name, "look"), u == nil, u.From == nil && u.Key == "":
		return ""
	case u.From != nil:
		return "reused"
	case len(u.Barred) > 0:
		return "barred"
	}
	return "ran"
}

// words are those of all steps.
func (r *result) words() string {
	var jobs []string
	for _, id := range slices.Sorted(maps.Keys(r.jobs)) {
		var words []string
		for _, x := range r.jobs[id] {
			if w := x.word(); w != "" {
				words = append(words, w)
			}
		}
		if len(words) > 0 {
			jobs = append(jobs, id+": "+strings.Join(words, " "))
		}
	}
	if len(jobs) == 1 {
		return strings.TrimPrefix(jobs[0], "a: ")
	}
	return strings.Join(jobs, "; ")
}

// count is how many steps have become a word.
func (r *result) count(word string) (n int) {
	for _, steps := range r.jobs {
		for _, x := range steps {
			if x.word() == word {
				n++
			}
		}
	}
	return n
}

// reasons are why steps ran and why they may not be reused, a line for each.
func (r *result) reasons() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(r.jobs)) {
		for _, x := range r.jobs[id] {
			if x.word() == "" || x.fin.Reuse.From != nil {
				continue
			}
			u := x.fin.Reuse
			fmt.Fprintf(&b, "%s/%s", id, x.key)
			if m := u.Miss; m != nil {
				fmt.Fprintf(&b, " miss: %s (%s: %s, %s)", m.Why, m.Path, m.Old, m.New)
			}
			for _, bar := range u.Barred {
				fmt.Fprintf(&b, " bar: %s %s (%s)", bar.Kind, bar.Detail, cache.Explain(bar).Why)
			}
			for _, d := range u.Differs {
				fmt.Fprintf(&b, " differs: %s", d)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// brief is the outcome without what is said in reasons already.
func (r *result) brief() string {
	var b strings.Builder
	for line := range strings.Lines(r.out.All()) {
		if !strings.HasPrefix(line, "{") || strings.HasPrefix(line, `{"v":1,"kind":"line"`) || strings.HasPrefix(line, `{"v":1,"kind":"problem"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// logs are the lines that a run, or a job of it, has printed.
func (s *stage) logs(args ...string) string {
	s.t.Helper()
	out := s.Run(append([]string{"logs"}, args...)...)
	if out.Exit != 0 {
		s.t.Errorf("%s", out)
	}
	return out.Stdout
}

// Things to do before a run.

// write writes a file of the repository.
func write(name, body string) func(*stage) {
	return func(s *stage) { s.Write(map[string]string{name: body}) }
}

func remove(names ...string) func(*stage) {
	return func(s *stage) {
		for _, name := range names {
			must(s.t, os.RemoveAll(filepath.Join(s.Root, name)))
		}
	}
}

func chmod(name string, mode os.FileMode) func(*stage) {
	return func(s *stage) { must(s.t, os.Chmod(filepath.Join(s.Root, name), mode)) }
}

func link(target, name string) func(*stage) {
	return func(s *stage) {
		name := filepath.Join(s.Root, name)
		must(s.t, os.RemoveAll(name))
		must(s.t, os.Symlink(target, name))
	}
}

func touch(name string) func(*stage) {
	return func(s *stage) {
		at := time.Now().Add(-time.Duration(len(name)) * time.Hour)
		must(s.t, os.Chtimes(filepath.Join(s.Root, name), at, at))
	}
}

func commit(s *stage) { s.Commit("more") }

// both does one thing after another.
func both(dos ...func(*stage)) func(*stage) {
	return func(s *stage) {
		for _, do := range dos {
			do(s)
		}
	}
}

// tool puts a shell script on the PATH of the scene, in one of the two
// directories that come first there: "first" before "second".
func tool(dir, name, body string) func(*stage) {
	return func(s *stage) {
		file := filepath.Join(s.Outside, dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(s.t, os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	}
}

// tools puts both directories on the PATH.
func tools(s *stage) {
	for _, dir := range []string{"first", "second"} {
		must(s.t, os.MkdirAll(filepath.Join(s.Outside, dir), 0o755))
	}
	s.Env = append(s.Env, fmt.Sprintf("PATH=%s/first:%[1]s/second:%s", s.Outside, machinePath()))
}

// outside makes a directory that is neither the job's nor a temporary one,
// and names it in $FAR.
func outside(s *stage) {
	home, err := os.UserHomeDir()
	must(s.t, err)
	dir, err := os.MkdirTemp(home, ".fairlead-test-")
	if err != nil {
		s.t.Skipf("SKIPPED: no directory can be made outside of the temporary ones: %v", err)
	}
	s.t.(*testing.T).Cleanup(func() { os.RemoveAll(dir) })
	s.args = append(s.args, "--env", "FAR="+dir)
}

// far is the directory that outside has made.
func (s *stage) far() string {
	for _, a := range s.args {
		if dir, ok := strings.CutPrefix(a, "FAR="); ok {
			return dir
		}
	}
	s.t.Fatal("there is no directory outside")
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machinePath is the machine's PATH with the real python3 in front: where that is a
// shim of a version manager, it is a shell script that looks at half the
// machine.
var machinePath = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return os.Getenv("PATH") // there is none: tests that need it are skipped
	}
	return filepath.Dir(strings.TrimSpace(string(out))) + string(filepath.ListSeparator) + os.Getenv("PATH")
})

// seed is where the random numbers of a test begin.
func seed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("FAIRLEAD_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

// run runs a command of the machine.
func run(args ...string) (string, error) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	return string(out), err
}

// sleep lets time pass where passing time is what is tested.
func sleep(milliseconds int) { time.Sleep(time.Duration(milliseconds) * time.Millisecond) }
