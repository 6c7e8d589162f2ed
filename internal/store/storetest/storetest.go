// Package storetest says what every store must do, as tests.
//
// A child's test is one call of [Run], given how to open a store in a
// directory. Part of the promise is about other processes and about their
// death, so the suite starts the test binary again, as a child process that
// runs the same test and finds out from its environment that it has a part to
// play: to append until it is killed, say.
//
// [CheckLog] and [CheckRun] are the invariants of the record itself. Tests of
// other rooms use them too: whatever was killed, whenever it was killed, what
// is left satisfies them.
package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Opener opens the store of a directory. The suite closes what it opens, when
// it is an io.Closer.
type Opener func(t *testing.T, dir string) store.Store

// The child process learns its part from these variables.
const (
	partVar = "FAIRLEAD_STORETEST_PART"
	dirVar  = "FAIRLEAD_STORETEST_DIR"
)

// Kills is how many times the crash test kills a writer.
const (
	Kills      = 12
	killsShort = 4
)

// Run runs the suite. It must be called by a test that is not a subtest, and
// that does nothing before it.
func Run(t *testing.T, open Opener) {
	if part := os.Getenv(partVar); part != "" {
		play(t, part, open)
		return
	}
	t.Parallel()
	top := t.Name()
	for _, c := range []struct {
		name string
		test func(*testing.T, conformance)
	}{
		{"order", testOrder},
		{"bodies", testBodies},
		{"events are not changed", testUnchanged},
		{"times", testTimes},
		{"refusals", testRefusals},
		{"reading while appending", testReadWhileAppending},
		{"marks", testMarks},
		{"cancelled", testCancelled},
		{"many writers", testManyWriters},
		{"many processes", testManyProcesses},
		{"reopen", testReopen},
		{"leases", testLeases},
		{"leases of processes", testLeasesOfProcesses},
		{"registers", testRegisters},
		{"register names", testRegisterNames},
		{"registers that expire", testExpiry},
		{"changes", testChanges},
		{"once", testOnce},
		{"counting", testCounting},
		{"refused changes", testRefusedChanges},
		{"new runs", testNewRuns},
		{"runs", testRuns},
		{"waiting runs", testWaiting},
		{"one run", testRun},
		{"choosing events", testEvents},
		{"watching", testWatch},
		{"closed", testClosed},
		{"ledger", testLedger},
		{"ledger queries", testLedgerQueries},
		{"history", testHistory},
		{"kill a learner", testLedgerKill},
		{"kill", testKill},
		{"kill while opening", testKillOpening},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, conformance{open: open, dir: t.TempDir(), top: top})
		})
	}
}

type conformance struct {
	open Opener
	dir  string
	top  string // name of the test that called Run
}

// store opens the store and closes it when the test ends.
func (s conformance) store(t *testing.T) store.Store {
	t.Helper()
	st := s.open(t, s.dir)
	t.Cleanup(func() { closeStore(t, st) })
	return st
}

func closeStore(t *testing.T, st store.Store) {
	t.Helper()
	if c, ok := st.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// Event is an event of a run for tests, which can be told from others by n.
func Event(run string, n int) record.Event {
	return record.Event{Run: run, Job: "build", Step: strconv.Itoa(n), Body: &record.StepStarted{Name: "step", Line: int64(n)}}
}

// All reads the log after seq.
func All(t *testing.T, st store.Log, seq int64) []record.Event {
	t.Helper()
	var events []record.Event
	for e, err := range st.After(t.Context(), seq) {
		if err != nil {
			t.Fatalf("after %d: %v", seq, err)
		}
		events = append(events, e)
	}
	return events
}

func add(t *testing.T, st store.Log, events ...record.Event) []record.Event {
	t.Helper()
	out, err := st.Append(t.Context(), events...)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return out
}

func testOrder(t *testing.T, s conformance) {
	st := s.store(t)
	if got := All(t, st, 0); len(got) != 0 {
		t.Fatalf("a new store has %d events", len(got))
	}
	var want []record.Event
	for n := range 1500 { // more than a store would read at once
		if n%3 == 0 {
			want = append(want, add(t, st, Event("1", n), Event("2", n))...)
		} else {
			want = append(want, add(t, st, Event("", n))...)
		}
	}
	got := All(t, st, 0)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read %d events that differ from the %d appended", len(got), len(want))
	}
	if got[0].Seq != 1 {
		t.Errorf("the first event is %d", got[0].Seq)
	}
	var many []record.Event // more than a store would write at once, of several runs
	for n := range 333 {
		many = append(many, Event([]string{"1", "", "2"}[n%3], n))
	}
	want = append(want, add(t, st, many...)...)
	if got = All(t, st, 0); !reflect.DeepEqual(got, want) {
		t.Fatalf("after an append of %d events: read %d that differ from the %d appended", len(many), len(got), len(want))
	}
	if err := CheckLog(got); err != nil {
		t.Error(err)
	}
	if tail := All(t, st, 700); !reflect.DeepEqual(tail, want[700:]) {
		t.Errorf("after 700: %d events that differ from the last %d", len(tail), len(want)-700)
	}
	if rest := All(t, st, int64(len(want))); len(rest) != 0 {
		t.Errorf("after the newest: %d events", len(rest))
	}
}

func testBodies(t *testing.T, s conformance) {
	st := s.store(t)
	big := strings.Repeat("all work and no play makes a plan compressible\n", 100_000)
	events := []record.Event{
		{Run: "7", Body: &record.RunPlanned{
			Number: 3, Attempt: 1, Root: "/src", Change: &plan.Change{Ref: "refs/heads/main", Repository: "o/r"},
			Pipeline: &plan.Pipeline{Name: "CI", File: "ci.yml", Texts: []plan.Text{{Path: "ci.yml", Body: big}}},
		}},
		{Run: "7", Job: "a/b", Step: "1.post", Body: &record.StepFinished{
			Outcome: plan.Failure, Conclusion: plan.Success, Exit: 3, Line: 17,
			Fault: &record.Diagnosis{Rule: "r", Verdict: plan.Fault, Title: "öäü \x00 \u2028", Lines: []string{"a", "b"}},
		}},
		{Job: "'; DROP TABLE events; --", Body: &record.JobQueued{Why: "\n\t\""}},
	}
	want := add(t, st, events...)
	if got := All(t, st, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func testUnchanged(t *testing.T, s conformance) {
	st := s.store(t)
	events := []record.Event{Event("1", 1), Event("1", 2)}
	given := append([]record.Event(nil), events...)
	out := add(t, st, events...)
	if !reflect.DeepEqual(events, given) {
		t.Errorf("the events given have become %+v", events)
	}
	if len(out) != 2 || out[0].Seq != 1 || out[1].Seq != 2 {
		t.Errorf("returned %+v", out)
	}
}

func testTimes(t *testing.T, s conformance) {
	st := s.store(t)
	before := time.Now().Add(-time.Second)
	given := time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.FixedZone("east", 3600))
	set := Event("1", 1)
	set.Time = given
	add(t, st, set, Event("1", 2))
	got := All(t, st, 0)
	if want := time.Date(2031, 5, 6, 6, 8, 9, 123456000, time.UTC); got[0].Time != want {
		t.Errorf("the time set: got %v, want %v", got[0].Time, want)
	}
	if now := got[1].Time; now.Before(before) || now.After(time.Now()) || now.Location() != time.UTC {
		t.Errorf("the time not set: got %v", now)
	}
}

func testRefusals(t *testing.T, s conformance) {
	st := s.store(t)
	if _, err := st.Append(t.Context(), Event("1", 1), record.Event{Run: "1"}); err == nil {
		t.Error("an event without a body was taken")
	}
	for _, run := range []string{"x", "-1", "0", "007", "1 "} {
		if _, err := st.Append(t.Context(), Event(run, 1)); err == nil {
			t.Errorf("an event of run %q was taken", run)
		}
	}
	if _, err := st.Append(t.Context()); err != nil {
		t.Errorf("no events: %v", err)
	}
	if got := All(t, st, 0); len(got) != 0 {
		t.Errorf("the record has %d events of refused transactions", len(got))
	}
}

func testReadWhileAppending(t *testing.T, s conformance) {
	st := s.store(t)
	add(t, st, Event("1", 0))
	seen := 0
	for e, err := range st.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen < 20 {
			add(t, st, Event("1", int(e.Seq)))
		}
		for _, err := range st.After(t.Context(), e.Seq) { // a read inside a read
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != 20 {
		t.Errorf("read %d events, want 20: it ends at the newest", seen)
	}
}

func testMarks(t *testing.T, s conformance) {
	st := s.store(t)
	steps := []struct {
		reader string
		seq    int64
	}{{"statuses", 5}, {"mail", 2}, {"statuses", 9}, {"statuses", 0}, {"mail", 3}}
	want := map[string]int64{"nobody": 0}
	for _, step := range steps {
		if err := st.Mark(t.Context(), step.reader, step.seq); err != nil {
			t.Fatal(err)
		}
		want[step.reader] = step.seq
		for reader, seq := range want {
			if got, err := st.Marked(t.Context(), reader); err != nil || got != seq {
				t.Errorf("marked %s: got %d, %v, want %d", reader, got, err, seq)
			}
		}
	}
}

func testCancelled(t *testing.T, s conformance) {
	st := s.store(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Append(ctx, Event("1", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	if err := st.Mark(ctx, "r", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("mark: %v", err)
	}
	var last error
	for _, err := range st.After(ctx, 0) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("after: %v", last)
	}

	// Cancelled in the middle: what was acknowledged is there, what was
	// refused is not.
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked := map[string]bool{}
	for w := range 8 {
		wg.Go(func() {
			for n := range 40 {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				e := Event(strconv.Itoa(w+1), n)
				_, err := st.Append(ctx, e)
				mu.Lock()
				acked[e.Run+"/"+e.Step] = err == nil
				mu.Unlock()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("append: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, e := range All(t, st, 0) {
		key := e.Run + "/" + e.Step
		if !acked[key] {
			t.Errorf("%s is in the record, but its writer was told that it is not", key)
		}
		delete(acked, key)
	}
	for key, ok := range acked {
		if ok {
			t.Errorf("%s was acknowledged, and is not in the record", key)
		}
	}
}

func testManyWriters(t *testing.T, s conformance) {
	st := s.store(t)
	const writers, each = 64, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				run := strconv.Itoa(w + 1)
				out, err := st.Append(t.Context(), Event(run, 2*n), Event(run, 2*n+1))
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				if out[1].Seq != out[0].Seq+1 {
					t.Errorf("events of one append are %d and %d", out[0].Seq, out[1].Seq)
				}
			}
		})
	}
	wg.Wait()
	checkStreams(t, All(t, st, 0), writers, 2*each)
}

// checkStreams checks that each of the runs 1 to runs has its events, from 0
// on and in order; each of them, when each is not negative.
func checkStreams(t *testing.T, events []record.Event, runs, each int) {
	t.Helper()
	if err := CheckLog(events); err != nil {
		t.Error(err)
	}
	next := map[string]int{}
	for _, e := range events {
		if want := strconv.Itoa(next[e.Run]); e.Step != want {
			t.Fatalf("run %s: event %d is number %s, want %s", e.Run, e.Seq, e.Step, want)
		}
		next[e.Run]++
	}
	for w := 1; w <= runs && each >= 0; w++ {
		if got := next[strconv.Itoa(w)]; got != each {
			t.Errorf("run %d has %d events, want %d", w, got, each)
		}
	}
}

func testReopen(t *testing.T, s conformance) {
	var want []record.Event
	for n := range 4 {
		st := s.open(t, s.dir)
		want = append(want, add(t, st, Event("1", n))...)
		if err := st.Mark(t.Context(), "r", int64(n)); err != nil {
			t.Fatal(err)
		}
		closeStore(t, st)
	}
	st := s.store(t)
	if got := All(t, st, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if seq, err := st.Marked(t.Context(), "r"); err != nil || seq != 3 {
		t.Errorf("marked: %d, %v", seq, err)
	}
}

func testLeases(t *testing.T, s conformance) {
	a, b := s.store(t), s.store(t)
	const name = "run/1/über/../x"
	held := func(who string) {
		t.Helper()
		for _, st := range []store.Store{a, b} {
			holder, ok, err := st.Held(t.Context(), name)
			if err != nil || ok != (who != "") || holder != who {
				t.Errorf("held: %q, %v, %v; want %q", holder, ok, err, who)
			}
		}
	}
	held("")
	lease, err := a.Lease(t.Context(), name, "pid 1")
	if err != nil {
		t.Fatal(err)
	}
	held("pid 1")
	for _, st := range []store.Store{a, b} {
		_, err := st.Lease(t.Context(), name, "pid 2")
		var taken *store.HeldError
		if !errors.As(err, &taken) || taken.Holder != "pid 1" || taken.Name != name {
			t.Errorf("a second lease: %v", err)
		}
	}
	other, err := b.Lease(t.Context(), "run/2", "pid 2")
	if err != nil {
		t.Fatalf("another name: %v", err)
	}
	for range 2 {
		if err := errors.Join(lease.Release(), other.Release()); err != nil {
			t.Fatal(err)
		}
	}
	held("")

	// Fought over, it has one holder at any time.
	var wg sync.WaitGroup
	var holders, wins int
	var mu sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for range 50 {
				lease, err := []store.Store{a, b}[w%2].Lease(t.Context(), name, "w")
				var taken *store.HeldError
				switch {
				case errors.As(err, &taken):
					continue
				case err != nil:
					t.Errorf("lease: %v", err)
					continue
				}
				mu.Lock()
				if holders++; holders != 1 {
					t.Errorf("%d hold the lease", holders)
				}
				wins++
				mu.Unlock()
				if _, ok, err := b.Held(t.Context(), name); !ok || err != nil {
					t.Errorf("a held lease is not: %v", err)
				}
				mu.Lock()
				holders--
				mu.Unlock()
				if err := lease.Release(); err != nil {
					t.Errorf("release: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if wins == 0 {
		t.Error("nobody got the lease")
	}
}

// child is another process with a part to play.
type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

// start starts the test binary with a part.
func (s conformance) start(t *testing.T, part string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+s.top+"$", "-test.count=1", "-test.v=false")
	cmd.Env = append(os.Environ(), partVar+"="+part, dirVar+"="+s.dir)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, out: bufio.NewScanner(pipe)}
	t.Cleanup(func() { c.kill() })
	return c
}

// line is the next line the child prints, "" at its end.
func (c *child) line() string {
	if !c.out.Scan() {
		return ""
	}
	return c.out.Text()
}

// opened waits until the child has opened the store.
func (c *child) opened(t *testing.T) {
	t.Helper()
	for _, want := range []string{"opening", "opened"} {
		if got := c.line(); got != want {
			t.Fatalf("the child says %q, want %q", got, want)
		}
	}
}

// kill kills the child, waits for its death, and returns what it had printed
// and nobody had read.
func (c *child) kill() (rest []string) {
	_ = c.cmd.Process.Kill() // it may have ended
	for c.out.Scan() {
		rest = append(rest, c.out.Text())
	}
	_ = c.cmd.Wait() // it was killed: that is no error
	return rest
}

// play is what a child process does.
func play(t *testing.T, part string, open Opener) {
	name, arg, _ := strings.Cut(part, " ")
	fmt.Println("opening")
	st := open(t, os.Getenv(dirVar))
	fmt.Println("opened")
	switch name {
	case "open": // that is all
	case "append": // 100 events of run arg
		for n := range 100 {
			add(t, st, Event(arg, n))
		}
		closeStore(t, st)
	case "endless": // pairs of events of run arg, numbers from what is there on, and says so
		next := 0
		for _, e := range All(t, st, 0) {
			if e.Run == arg {
				next++
			}
		}
		for ; ; next += 2 {
			r, err := st.Register(t.Context(), "counter", arg)
			if err != nil {
				t.Fatal(err)
			}
			r.Body = json.RawMessage(strconv.Itoa(next + 2))
			out, err := st.Change(t.Context(), []record.Register{r}, Event(arg, next), Event(arg, next+1))
			if err != nil {
				t.Fatal(err)
			}
			if err := st.Mark(t.Context(), "child "+arg, out[1].Seq); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("acked %s %d\n", arg, out[1].Seq)
		}
	case "learn": // what tests taught, endlessly, and says so
		playLearner(t, st)
	case "lease": // holds the lease arg until its standard input ends, which is never
		if _, err := st.Lease(t.Context(), arg, fmt.Sprintf("pid %d", os.Getpid())); err != nil {
			t.Fatal(err)
		}
		fmt.Println("held")
		select {}
	default:
		t.Fatalf("unknown part %q", part)
	}
}

func testManyProcesses(t *testing.T, s conformance) {
	// They open a directory that is not there yet, all at once.
	const processes = 6
	children := make([]*child, processes)
	for i := range children {
		children[i] = s.start(t, fmt.Sprintf("append %d", i+1))
	}
	for i, c := range children {
		for c.out.Scan() { // to its end
		}
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("process %d: %v", i+1, err)
		}
	}
	checkStreams(t, All(t, s.store(t), 0), processes, 100)
}

func testLeasesOfProcesses(t *testing.T, s conformance) {
	st := s.store(t)
	c := s.start(t, "lease run/5")
	c.opened(t)
	if got := c.line(); got != "held" {
		t.Fatalf("the child says %q", got)
	}
	who := fmt.Sprintf("pid %d", c.cmd.Process.Pid)
	if holder, ok, err := st.Held(t.Context(), "run/5"); !ok || holder != who || err != nil {
		t.Errorf("held: %q, %v, %v; want %q", holder, ok, err, who)
	}
	var taken *store.HeldError
	if _, err := st.Lease(t.Context(), "run/5", "me"); !errors.As(err, &taken) {
		t.Errorf("lease: %v", err)
	}
	c.kill()
	if outlives, ok := st.(interface{ LeaseTime() time.Duration }); ok {
		// The store cannot see the death, and waits out what the dead had been given.
		for deadline := time.Now().Add(10*outlives.LeaseTime() + 10*time.Second); time.Now().Before(deadline); {
			if _, held, err := st.Held(t.Context(), "run/5"); err != nil || !held {
				break
			}
			time.Sleep(outlives.LeaseTime() / 20)
		}
	}
	// Otherwise it is free at once.
	if holder, ok, err := st.Held(t.Context(), "run/5"); ok || holder != "" || err != nil {
		t.Errorf("held by the dead: %q, %v, %v", holder, ok, err)
	}
	lease, err := st.Lease(t.Context(), "run/5", "me")
	if err != nil {
		t.Fatalf("lease of the dead: %v", err)
	}
	if err := lease.Release(); err != nil {
		t.Error(err)
	}
}

// testKill kills writing processes at random instants and checks that all
// they were told of is there, whole and in order.
func testKill(t *testing.T, s conformance) {
	kills := Kills
	if testing.Short() {
		kills = killsShort
	}
	acked := map[string]int64{}
	learn := func(lines ...string) {
		for _, l := range lines {
			var run string
			var seq int64
			if n, _ := fmt.Sscanf(l, "acked %s %d", &run, &seq); n == 2 && seq > acked[run] {
				acked[run] = seq
			}
		}
	}
	for range kills {
		pair := []*child{s.start(t, "endless 1"), s.start(t, "endless 2")}
		for _, c := range pair {
			c.opened(t)
		}
		for range rand.IntN(60) { // let it get on, by its own progress
			learn(pair[0].line())
		}
		for _, c := range pair {
			learn(c.kill()...)
		}

		st := s.open(t, s.dir)
		events := All(t, st, 0)
		checkStreams(t, events, 2, -1)
		last := map[string]int64{}
		count := map[string]int{}
		for _, e := range events {
			last[e.Run] = e.Seq
			count[e.Run]++
		}
		for run, seq := range acked {
			if last[run] < seq {
				t.Fatalf("run %s: event %d was acknowledged; the last one there is %d", run, seq, last[run])
			}
			if count[run]%2 != 0 {
				t.Fatalf("run %s has half of a transaction", run)
			}
			if r, err := st.Register(t.Context(), "counter", run); err != nil || string(r.Body) != strconv.Itoa(count[run]) {
				t.Fatalf("run %s has %d events, and the register written with them says %s (%v)", run, count[run], r.Body, err)
			}
			if mark, err := st.Marked(t.Context(), "child "+run); err != nil || mark < seq {
				t.Fatalf("run %s is marked at %d, %v; %d was acknowledged", run, mark, err, seq)
			}
		}
		closeStore(t, st)
	}
	t.Logf("%d kills, %d and %d events acknowledged at most", 2*kills, acked["1"], acked["2"])
}

// testKillOpening kills processes while they make a new store, and opens it.
func testKillOpening(t *testing.T, s conformance) {
	for range killsShort {
		s.dir = t.TempDir()
		children := []*child{s.start(t, "open"), s.start(t, "open")}
		if got := children[0].line(); got != "opening" {
			t.Fatalf("the child says %q", got)
		}
		// The instant is random on purpose: there is nothing to wait for.
		time.Sleep(rand.N(4 * time.Millisecond))
		for _, c := range children {
			c.kill()
		}
		st := s.open(t, s.dir)
		add(t, st, Event("1", 0))
		if got := All(t, st, 0); len(got) != 1 || got[0].Seq != 1 {
			t.Errorf("got %+v", got)
		}
		closeStore(t, st)
	}
}
