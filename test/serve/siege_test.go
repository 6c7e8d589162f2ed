package serve_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/postgres"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// A siege is a team whose processes are killed at random instants, over and
// over, while hooks come in, runs go on and people are told. Afterwards the
// record is read, and what must hold whatever happened is checked.
//
// What the jobs did is seen from outside, too: each step says when it begins, and
// holds a lock that the kernel gives back when the step dies, so that two that
// live at once are found out.
type siege struct {
	t       *testing.T
	random  *rand.Rand
	place   *binary.Place
	seats   []*team // the servers
	workers map[string]*binary.Process
	pg      *storetest.PostgresServer
	told    *listener

	// By whoever feeds, until he has ended.
	accepted map[string]string // commit by delivery
	sent     map[string]bool   // commits of all deliveries that were tried

	blows []string
}

// siegePlan is what is besieged.
type siegePlan struct {
	servers  int
	workers  int
	postgres bool
	blows    int           // how many processes are killed
	every    time.Duration // the longest pause between two of them
	hooks    int           // deliveries
}

const siegeLines = 40

// siegeFlow has two jobs of two steps; each step reads a file that every commit
// changes, so that none is reused.
const siegeFlow = `name: CI
on:
  push:
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: $OUTSIDE/work one 1
      - run: $OUTSIDE/work one 2
  two:
    needs: one
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: $OUTSIDE/work two 1
`

// siegeSteps are its steps, as they call themselves.
var siegeSteps = []string{"one 1", "one 2", "two 1"}

// work is what a step does: it takes the lock of its job's run, marks its
// beginning, prints its lines and ends. The lock is on a file that stays open in
// this process alone.
const work = `#!/bin/bash
set -eu
exec 9>>"$OUTSIDE/locks/$(cat word.txt)-$1"
flock -n 9 || echo "$(cat word.txt) $1 $2" >>"$OUTSIDE/two"
echo "$(cat word.txt) $1 $2 $(date +%s%N)" >>"$OUTSIDE/begun"
echo "begin $1 $2"
for i in $(seq LINES); do echo "line $i of $1 $2"; done
sleep 0.1 9>&-
echo "end $1 $2"
`

func newSiege(t *testing.T, seed uint64, plan siegePlan) *siege {
	binary.Need(t, "bash", "git", "flock")
	s := &siege{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), workers: map[string]*binary.Process{}, told: newListener(t),
		accepted: map[string]string{}, sent: map[string]bool{},
	}
	s.place = binary.NewPlace(t, map[string]string{".github/workflows/ci.yml": siegeFlow, "word.txt": "w0\n"})
	if err := os.MkdirAll(filepath.Join(s.place.Outside, "locks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.place.Outside, "work"), []byte(strings.ReplaceAll(work, "LINES", strconv.Itoa(siegeLines))), 0o755); err != nil {
		t.Fatal(err)
	}
	if plan.postgres {
		pg, err := storetest.StartPostgres()
		if err != nil {
			storetest.Postgres(t) // skips, or fails where it must not be missing
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pg.Remove() })
		s.pg = pg
		s.place.Env = append(s.place.Env, "FAIRLEAD_DATABASE="+pg.URL)
	}
	args := []string{}
	if plan.workers > 0 {
		args = append(args, "--jobs", "0")
	}
	first := newTeamAt(t, s.place, args...)
	s.seats = append(s.seats, first)
	for len(s.seats) < plan.servers {
		other := &team{Place: s.place, t: t, listen: "127.0.0.1:0", args: args}
		other.serve()
		t.Cleanup(other.end)
		s.seats = append(s.seats, other)
	}
	first.tell("board", s.told.URL)
	for i := range plan.workers {
		name := fmt.Sprint("w", i+1)
		s.workers[name] = first.hire(name, "--jobs", "2")
	}
	return s
}

// tell has a channel told of every run that has ended.
func (s *team) tell(name, url string) {
	s.t.Helper()
	s.must("secret", "set", "$BOARD", "--from-file", s.file("board", url))
	s.must("notify", "set", name, "webhook", "--on", "finished", "--secret", "$BOARD")
}

func (s *team) file(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.Outside, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// listener is somebody who is told, and counts how often of what.
type listener struct {
	*httptest.Server
	mu    sync.Mutex
	heard map[string]int // by run
	odd   []string
}

func newListener(t *testing.T) *listener {
	l := &listener{heard: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var event struct{ CustomData struct{ Run string } }
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := json.Unmarshal(body, &event); err != nil || event.CustomData.Run == "" {
			l.odd = append(l.odd, string(body))
			return
		}
		l.heard[event.CustomData.Run]++
	}))
	t.Cleanup(l.Close)
	return l
}

// commits are n commits on branches of their own, which differ in one word.
func (s *siege) commits(n int) (shas []string) {
	for i := range n {
		s.place.Git("checkout", "-q", "-b", fmt.Sprint("b", i+1), "main")
		s.place.Write(map[string]string{"word.txt": fmt.Sprintf("w%d\n", i+1)})
		s.place.Commit("next")
		shas = append(shas, s.place.Git("rev-parse", "HEAD"))
	}
	s.place.Git("checkout", "-q", "main")
	return shas
}

// feed delivers a hook for each commit to a server by chance: again, as code hosts
// do, when it was not answered, and sometimes when it was.
func (s *siege) feed(hosts []*team, random *rand.Rand, shas []string, pause time.Duration) {
	for i, sha := range shas {
		id := fmt.Sprint("d", i+1)
		s.sent[sha] = true
		for range 3 {
			status, _ := hosts[random.IntN(len(hosts))].deliver("push", id, hookSecret, object{
				"ref": fmt.Sprint("refs/heads/b", i+1), "before": nothing, "after": sha,
				"head_commit": object{"id": sha, "message": "a change"}, "repository": repository(1, "team/app"),
				"pusher": object{"login": "ada"}, "sender": object{"login": "ada"}, "commits": []any{},
			})
			answered := status == http.StatusAccepted || status == http.StatusOK
			if answered {
				s.accepted[id] = sha
			}
			time.Sleep(time.Duration(random.Int64N(int64(pause)))) // hooks come when they like
			if answered && random.IntN(4) > 0 {
				break
			}
		}
	}
}

// strike kills somebody with kill -9, and starts him again.
func (s *siege) strike() {
	names := slices.Sorted(maps.Keys(s.workers))
	victims := len(s.seats) + len(names)
	if s.pg != nil {
		victims++
	}
	switch n := s.random.IntN(victims); {
	case n < len(s.seats):
		seat := s.seats[n]
		s.blows = append(s.blows, fmt.Sprint("server ", n+1))
		seat.srv.Signal(syscall.SIGKILL)
		seat.srv.Wait()
		seat.serve()
	case n < len(s.seats)+len(names):
		name := names[n-len(s.seats)]
		s.blows = append(s.blows, "worker "+name)
		s.workers[name].Signal(syscall.SIGKILL)
		s.workers[name].Wait()
		s.workers[name] = s.seats[0].hire(name, "--jobs", "2")
	default:
		s.blows = append(s.blows, "PostgreSQL")
		if err := errors.Join(s.pg.Crash(), s.pg.Start()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// run is the siege from its beginning to its check.
func (s *siege) run(p siegePlan) {
	s.t.Helper()
	shas := s.commits(p.hooks)
	var feeding sync.WaitGroup
	random := rand.New(rand.NewPCG(s.random.Uint64(), 1))
	var hosts []*team // they know where the servers are, whoever is there
	for _, seat := range s.seats {
		host := *seat
		hosts = append(hosts, &host)
	}
	feeding.Go(func() { s.feed(hosts, random, shas, p.every*time.Duration(p.blows)/time.Duration(p.hooks)) })
	for range p.blows {
		time.Sleep(time.Duration(s.random.Int64N(int64(p.every)))) // the instant of the crash
		s.strike()
	}
	feeding.Wait()
	s.settle()
	for name, w := range s.workers {
		s.seats[0].drained(w)
		delete(s.workers, name)
	}
	for _, seat := range s.seats {
		seat.srv.Signal(syscall.SIGTERM)
		seat.srv.Wait()
	}
	s.check()
	for _, seat := range s.seats {
		seat.serve() // for the cleanup, which ends it and tells what it knows
	}
	s.t.Logf("%d of %d deliveries were accepted; killed: %s", len(s.accepted), len(shas), strings.Join(s.blows, ", "))
}

// settle waits until everything that was accepted has ended, and been told.
func (s *siege) settle() {
	s.t.Helper()
	st := s.open()
	defer st.Close()
	binary.AwaitWithin(s.t, 3*time.Minute, "everything to be settled, ended and told", func() bool {
		hooks, settled, planned, ended, effects, done := 0, 0, 0, 0, 0, 0
		for e, err := range st.After(s.t.Context(), 0) {
			if err != nil {
				return false
			}
			switch e.Body.(type) {
			case *record.HookReceived:
				hooks++
			case *record.RequestSettled:
				settled++
			case *record.RunPlanned:
				planned++
			case *record.RunFinished:
				ended++
			case *record.EffectPlanned:
				effects++
			case *record.EffectDone:
				done++
			}
		}
		return hooks >= len(s.accepted) && settled >= hooks && ended >= planned && effects >= ended && done == effects
	})
}

// opened is the record, and its end.
type opened interface {
	store.Store
	Close() error
}

func (s *siege) open() opened {
	s.t.Helper()
	var st opened
	var err error
	if s.pg != nil {
		st, err = postgres.Open(s.t.Context(), s.pg.URL, postgres.Options{})
	} else {
		st, err = sqlite.Open(s.t.Context(), s.place.Data, sqlite.Options{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// check reads the record when nobody writes it any more.
func (s *siege) check() {
	s.t.Helper()
	st := s.open()
	defer st.Close()
	var all []record.Event
	for e, err := range st.After(s.t.Context(), 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	c := chronicle{runs: map[string][]record.Event{}, hooks: map[string][]int64{}, settled: map[int64][]*record.RequestSettled{}, planned: map[string]int{}, done: map[string][]*record.EffectDone{}}
	for _, e := range all {
		c.add(e)
	}
	if err := storetest.CheckLog(all); err != nil {
		s.t.Error(err)
	}
	s.checkHooks(&c)
	s.checkRuns(&c)
	s.checkEffects(&c)
}

// chronicle is the record, sorted by what it is about.
type chronicle struct {
	runs    map[string][]record.Event
	hooks   map[string][]int64 // by delivery
	settled map[int64][]*record.RequestSettled
	planned map[string]int
	done    map[string][]*record.EffectDone
}

func (c *chronicle) add(e record.Event) {
	switch b := e.Body.(type) {
	case *record.HookReceived:
		c.hooks[b.Delivery] = append(c.hooks[b.Delivery], e.Seq)
	case *record.RequestSettled:
		c.settled[b.Request] = append(c.settled[b.Request], b)
	case *record.EffectPlanned:
		c.planned[b.Key]++
	case *record.EffectDone:
		c.done[b.Key] = append(c.done[b.Key], b)
	default:
		if e.Run != "" {
			c.runs[e.Run] = append(c.runs[e.Run], e)
		}
	}
}

// checkHooks: what was accepted is in the record, once, and was settled once,
// with one run of its commit.
func (s *siege) checkHooks(c *chronicle) {
	s.t.Helper()
	for delivery := range s.accepted {
		if len(c.hooks[delivery]) == 0 {
			s.t.Errorf("delivery %s was accepted, and is lost", delivery)
		}
	}
	for delivery, seqs := range c.hooks {
		if len(seqs) != 1 {
			s.t.Errorf("delivery %s is in the record %d times", delivery, len(seqs))
		}
		for _, seq := range seqs {
			settled := c.settled[seq]
			if len(settled) != 1 || len(settled[0].Runs) != 1 || settled[0].Fault {
				s.t.Errorf("delivery %s was settled with %+v", delivery, settled)
			}
		}
	}
}

// checkRuns: each commit has one run, which keeps the invariants of every run, and
// ended well; each of its steps was begun as often as the record says, never by
// two at once, and its log is whole.
func (s *siege) checkRuns(c *chronicle) {
	s.t.Helper()
	of := map[string]string{} // run by commit
	begun, again := s.begun(), 0
	for id, events := range c.runs {
		if err := storetest.CheckRun(events); err != nil {
			s.t.Errorf("run %s: %v", id, err)
		}
		run := record.NewRun(id)
		for _, e := range events {
			run.Apply(e)
		}
		if run.Verdict != plan.Success {
			s.t.Errorf("run %s ended in %q: %s", id, run.Verdict, run.Why)
		}
		sha := run.Planned.Change.SHA
		if was, twice := of[sha]; twice {
			s.t.Errorf("commit %s has the runs %s and %s", sha, was, id)
		}
		of[sha] = id
		if !s.sent[sha] {
			s.t.Errorf("run %s is of commit %s, which nobody sent", id, sha)
		}
		word := "w" + strings.TrimPrefix(run.Planned.Change.Ref, "refs/heads/b")
		known := s.starts(events)
		again += known["one 1"] + known["one 2"] + known["two 1"] - len(siegeSteps)
		for _, step := range siegeSteps {
			times := begun[word+" "+step]
			if len(times) == 0 {
				s.t.Errorf("run %s succeeded, and its step %s was never begun", id, step)
			}
			if len(times) > known[step] {
				s.t.Errorf("run %s: step %s was begun %d times, and the record tells of %d", id, step, len(times), known[step])
			}
		}
		s.checkLog(id)
	}
	s.t.Logf("%d steps were begun again", again)
	if two := s.place.Mark("two"); two != "" {
		s.t.Errorf("steps of a job that lived at the same time:\n%s", two)
	}
}

// starts is how often the record knows, or takes into account, that a step was
// begun: it started, or whoever had its job is lost.
func (s *siege) starts(events []record.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		switch b := e.Body.(type) {
		case *record.StepStarted:
			if rest, ok := strings.CutPrefix(strings.TrimSpace(b.Script), "$OUTSIDE/work "); ok {
				n[rest]++
			}
		case *record.JobQueued:
			if strings.Contains(b.Why, "attempt") {
				for _, step := range siegeSteps {
					if strings.HasPrefix(step, e.Job) {
						n[step]++
					}
				}
			}
		}
	}
	return n
}

// begun is when each step was begun, as the steps say.
func (s *siege) begun() map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(s.place.Mark("begun")) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		all[line[:at]] = append(all[line[:at]], strings.TrimSpace(line[at:]))
	}
	return all
}

// checkLog: what the last process of each step printed is in the log, whole and in
// order.
func (s *siege) checkLog(run string) {
	s.t.Helper()
	out := s.place.Run("logs", run)
	if out.Exit != 0 {
		s.t.Errorf("%s", out)
		return
	}
	for _, step := range siegeSteps {
		job, _, _ := strings.Cut(step, " ")
		var of, want strings.Builder
		for line := range strings.Lines(out.Stdout) {
			if text, ok := strings.CutPrefix(line, job+" | "); ok {
				of.WriteString(text)
			}
		}
		for i := range siegeLines {
			fmt.Fprintf(&want, "line %d of %s\n", i+1, step)
		}
		fmt.Fprintf(&want, "end %s\n", step)
		if _, last, _ := cutLast(of.String(), "begin "+step+"\n"); !strings.HasPrefix(last, want.String()) {
			s.t.Errorf("the log of step %s of run %s is not whole:\n%s", step, run, of.String())
		}
	}
}

func cutLast(text, sep string) (before, after string, found bool) {
	at := strings.LastIndex(text, sep)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(sep):], true
}

// checkEffects: what was to be told was told; what was told twice, or perhaps not
// at all, the record says so.
func (s *siege) checkEffects(c *chronicle) {
	s.t.Helper()
	for key, n := range c.planned {
		if n != 1 || len(c.done[key]) != 1 {
			s.t.Errorf("effect %s was planned %d times and ended %d times", key, n, len(c.done[key]))
		}
	}
	doubtful := 0
	for key, list := range c.done {
		if c.planned[key] == 0 {
			s.t.Errorf("effect %s was done and never planned", key)
		}
		if list[0].Unknown || list[0].Error != "" || list[0].Tries > 1 {
			doubtful++
		}
	}
	s.told.mu.Lock()
	defer s.told.mu.Unlock()
	if len(s.told.odd) > 0 {
		s.t.Errorf("messages that nobody can read: %q", s.told.odd)
	}
	twice := 0
	for _, n := range s.told.heard {
		twice += n - 1
	}
	if missed := len(c.runs) - len(s.told.heard); missed > doubtful || twice > doubtful {
		s.t.Errorf("of %d runs %d were told, %d more than once, and the record says of %d only that they may be", len(c.runs), len(s.told.heard), twice, doubtful)
	}
}

// TestSiege kills whoever there is at random instants.
func TestSiege(t *testing.T) {
	t.Parallel()
	sieges := map[string]siegePlan{
		"one server":                      {servers: 1, blows: 4, every: time.Second, hooks: 12},
		"a server and its workers":        {servers: 1, workers: 2, blows: 5, every: time.Second, hooks: 12},
		"three servers on one PostgreSQL": {servers: 3, postgres: true, blows: 5, every: time.Second, hooks: 12},
	}
	rounds := 1
	if binary.Long() {
		rounds = 15
	}
	base := rand.Uint64()
	for _, name := range slices.Sorted(maps.Keys(sieges)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range rounds {
				t.Run(fmt.Sprint(i+1), func(t *testing.T) {
					seed := base + uint64(i)
					t.Logf("seed %d", seed)
					newSiege(t, seed, sieges[name]).run(sieges[name])
				})
			}
		})
	}
}
