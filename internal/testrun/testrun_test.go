package testrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

func TestShardOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		env   string
		want  string // "2 of 4", "" for none, or a part of the error after "!"
		first string
	}{
		{"", "", ""},
		{"CI_NODE_INDEX=2 CI_NODE_TOTAL=4", "2 of 4", ""},
		{"CI_NODE_INDEX=2 CI_NODE_TOTAL=4 GITHUB_ACTIONS=true", "3 of 4", ""},
		{"CI_NODE_INDEX=2", "", ""},
		{"SYSTEM_JOBPOSITIONINPHASE=1 SYSTEM_TOTALJOBSINPHASE=3", "1 of 3", ""},
		{"CIRCLE_NODE_INDEX=0 CIRCLE_NODE_TOTAL=2", "1 of 2", ""},
		{"BUILDKITE_PARALLEL_JOB=1 BUILDKITE_PARALLEL_JOB_COUNT=2", "2 of 2", ""},
		{"CI_NODE_INDEX=0 CI_NODE_TOTAL=4", "!shards are counted from 1 to 4", ""},
		{"CI_NODE_INDEX=x CI_NODE_TOTAL=4", "!CI_NODE_INDEX=\"x\" is no number", ""},
		{"CIRCLE_NODE_INDEX=2 CIRCLE_NODE_TOTAL=2", "!counted from 0 to 1", ""},
		{"CIRCLE_NODE_INDEX=2 CIRCLE_NODE_TOTAL=99999999", "!there are 1 to", ""},
	} {
		env := map[string]string{}
		for _, kv := range strings.Fields(test.env) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
		s, ok, err := ShardOf(func(name string) string { return env[name] })
		if want, bad := strings.CutPrefix(test.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", test.env, err, want)
			}
			continue
		}
		if err != nil || ok != (test.want != "") || ok && s.String() != test.want {
			t.Errorf("%s: %v %v %v, want %q", test.env, s, ok, err, test.want)
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.txt", "a.txt", true}, {"*.txt", "x/a.txt", false}, {"**/*.txt", "x/y/a.txt", true}, {"**/*.txt", "a.txt", true},
		{"x/", "x/y/z", true}, {"./x", "x/y", true}, {"x", "xy", false}, {".", "a", true}, {"x/**/z", "x/z", true}, {"x/**/z", "x/a/b/z", true}, {"x/**/z", "x/a/b", false},
		{"**/**/**/a", "b/c/d", false},
	} {
		if got := glob(test.pattern, test.name); got != test.want {
			t.Errorf("glob(%q, %q) is %v", test.pattern, test.name, got)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	runner, _ := suite.RunnerNamed("go")
	rest, patterns := Packages(strings.Fields("go test -race ./a/... -run X ./b -args ./c"))
	if got := strings.Join(rest, " "); got != "go test -race -run X -args ./c" || !slices.Equal(patterns, []string{"./a/...", "./b"}) {
		t.Errorf("%q %q", rest, patterns)
	}
	w := &Work{Runner: runner, Words: strings.Fields("go test {} -json -o r-{n}.txt")}
	got := fmt.Sprint(w.Commands([]suite.Item{{Name: "p/a"}, {Name: "p/b"}}, 7))
	if got != "[[go test p/a p/b -json -o r-7.txt]]" {
		t.Error(got)
	}
	for command, want := range map[string]string{
		"go test ./a":           "go test -v -run ^TestX$ ./a",
		"go test -json -run Y":  "go test -json -run Y",
		"make test":             "make test",
		"go test -v --run=TX .": "go test -v --run=TX .",
	} {
		if got := strings.Join(Named(strings.Fields(command), "TestX"), " "); got != want {
			t.Errorf("%s: %s", command, got)
		}
	}
	if got := strings.Join(Named([]string{"go", "test"}, "pkg.TestX/a_b"), " "); got != "go test -v -run ^TestX$/^a_b$" {
		t.Error(got)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	runner, _ := suite.RunnerNamed("go")
	w := &Work{Runner: runner, Listed: suite.Listing{Found: []suite.Found{{Name: "p/a", Tests: []string{"TestA", "TestB"}}, {Name: "p/b", Tests: []string{"TestC"}}, {Name: "p/new"}}}}
	times := NewTimes(runner, w.Listed)
	for _, factor := range []float64{1, 3} {
		_ = times.Report(func(each func(record.TestResult) error) error {
			for _, r := range []record.TestResult{
				{Suite: "p/a", Name: "TestA", Status: record.TestPassed, Seconds: 2 * factor},
				{Suite: "p/a", Groups: []string{"TestA"}, Name: "sub", Status: record.TestPassed, Seconds: 1.9 * factor}, // in that of TestA
				{Suite: "p/a", Name: "TestB", Status: record.TestPassed, Seconds: 1 * factor},
				{Suite: "p/b", Name: "TestC", Status: record.TestFailed, Seconds: 0},
				{Suite: "p/gone", Name: "TestD", Status: record.TestPassed, Seconds: 100},
			} {
				if err := each(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.Fill(times, 2, false)
	if a, b, c := w.Items[0], w.Items[1], w.Items[2]; a.Seconds != 6 || b.Seconds == 0 || b.Seconds > .01 || !b.First || c.Seconds != 0 || a.First {
		t.Errorf("%+v", w.Items)
	}
	if said := w.Said(); len(said) != 1 || !strings.HasPrefix(said[0], "2 of 10 known times") {
		t.Errorf("%q", said)
	}
	w.Fill(times, 2, true)
	if len(w.Items) != 4 {
		t.Errorf("p/a is not cut: %+v", w.Items)
	}
	if bad, good := times.Chance("p/b", ""), times.Chance("p/a", ""); bad <= good || good <= 0 || times.Chance("p/b", "TestC") != 0 {
		t.Errorf("chances %v, %v", bad, good)
	}
	rows := NewTimes(runner, w.Listed)
	rows.Rows([]Known{
		{Row: suite.Row{ID: suite.ID{Key: "1"}, Title: "p/a › TestA › sub", Seconds: 2}, Chance: .5},
		{Row: suite.Row{ID: suite.ID{Key: "2"}, Title: "p/b › TestC", Seconds: 3}, Chance: .25, Early: true},
		{Row: suite.Row{ID: suite.ID{Key: "3"}, Title: "p/b › TestD", Seconds: 1}, Chance: .5},
	})
	if rows.Seconds("p/a", "TestA") != 2 || rows.Seconds("p/b", "") != 4 || !rows.failed["p/b"] || rows.Chance("p/b", "") != .625 || rows.Chance("p/b", "TestC") != .25 {
		t.Errorf("%+v", rows)
	}
}

// past is a ledger of one repository.
type past struct {
	suite.Ledger
	rows []suite.Row
	grid map[string][]suite.Result // by key, newest first
}

func (p past) Tests(_ context.Context, q suite.Query) ([]suite.Row, int, error) {
	return p.rows[min(q.After, len(p.rows)):], len(p.rows), nil
}

func (p past) Grid(_ context.Context, ids []suite.ID, _ string, _ int) ([][]suite.Result, error) {
	grid := make([][]suite.Result, len(ids))
	for i, id := range ids {
		grid[i] = p.grid[id.Key]
	}
	return grid, nil
}

// TestRows: what failed lately is likely to fail, unless it is in quarantine.
func TestRows(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := past{grid: map[string][]suite.Result{}}
	for _, key := range []string{"bad", "before", "good", "muted"} {
		r := suite.Row{ID: suite.ID{Key: key}, Title: key, Last: now}
		for run := 30; run > 0; run-- {
			how := suite.Passed
			if key == "bad" && run%3 == 0 || key == "muted" || key == "before" && run == 27 {
				how = suite.Failed
			}
			p.grid[key] = append(p.grid[key], suite.Result{Run: strconv.Itoa(run), Outcome: how, Seconds: 1})
		}
		if key == "muted" {
			r.State, r.Failed = record.TestQuarantined, now
		}
		p.rows = append(p.rows, r)
	}
	rows, err := Rows(t.Context(), p, "r")
	if err != nil || len(rows) != 4 {
		t.Fatal(rows, err)
	}
	bad, before, good, muted := rows[0], rows[1], rows[2], rows[3]
	if !bad.Early || !before.Early || good.Early || muted.Early || bad.Chance <= before.Chance || before.Chance <= good.Chance || good.Chance <= 0 || muted.Chance != 0 {
		t.Errorf("%+v", rows)
	}
}

// played answers commands as it is told.
func played(do func(c Command, out io.Writer) int) Exec {
	return func(_ context.Context, c Command, out io.Writer) (executor.Result, error) {
		return executor.Result{Exit: do(c, out)}, nil
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	runner, _ := suite.RunnerNamed("go")
	var ran []string
	exec := played(func(c Command, out io.Writer) int {
		ran = c.Argv
		fmt.Fprint(out, "TestA\nTestB\nok  \tp/a\t0.1s\n")
		return 0
	})
	l, err := Listing(t.Context(), runner, exec, "/src", nil, []string{"./a"})
	if err != nil || len(l.Found) != 1 || len(l.Found[0].Tests) != 2 || ran[len(ran)-1] != "./a" || slices.Contains(ran, "./...") {
		t.Errorf("%+v %v %q", l, err, ran)
	}
	if _, err := Listing(t.Context(), runner, played(func(_ Command, out io.Writer) int { fmt.Fprint(out, "go: no modules\n"); return 1 }), "/src", nil, nil); err == nil || !strings.Contains(err.Error(), "go: no modules") {
		t.Error(err)
	}
	files, _ := suite.RunnerNamed("files")
	tree := fstest.MapFS{"a/x_test.sh": {}, ".git/y_test.sh": {}, "node_modules/z_test.sh": {}, "b.sh": {}}
	if l, err := Listing(t.Context(), files, nil, "/src", tree, []string{"**/*_test.sh"}); err != nil || len(l.Found) != 1 || l.Found[0].Name != "a/x_test.sh" {
		t.Errorf("%+v %v", l, err)
	}
	if _, err := Listing(t.Context(), files, nil, "/src", tree, nil); err == nil {
		t.Error("no pattern means all files")
	}
	if _, err := Listing(t.Context(), files, nil, "/src", tree, []string{"[a"}); err == nil {
		t.Error("a bad pattern is one")
	}
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestLost loses a shard: what it had is handed out again, and no more when that kills
// whoever takes it.
func TestLost(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s := &Splits{Shelf: InDirectory(t.TempDir()), Now: c.Now}
	items := []suite.Item{{Name: "deadly", Seconds: 9}, {Name: "b", Seconds: 2}}
	if _, err := s.Open(t.Context(), Opening{Name: "q", Shards: 2, Items: items}); err != nil {
		t.Fatal(err)
	}
	next := func(shard string) Turn {
		t.Helper()
		turn, err := s.Next(t.Context(), "", "q", shard, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return turn
	}
	for i := range 3 {
		if turn := next(fmt.Sprint("victim", i)); turn.Batch == nil || turn.Batch.Items[0].Name != "deadly" {
			t.Fatalf("%d: %+v", i, turn)
		}
		c.wait(50 * time.Second)
		if err := s.Alive(t.Context(), "", "q", fmt.Sprint("victim", i)); err != nil {
			t.Fatal(err)
		}
		c.wait(50 * time.Second)
		if turn := next("good"); len(turn.Lost) != 0 {
			t.Fatalf("a shard that was heard of is lost: %+v", turn)
		}
		c.wait(70 * time.Second)
		if err := s.Alive(t.Context(), "", "q", "good"); err != nil {
			t.Fatal(err)
		}
	}
	turn := next("good")
	if len(turn.Lost) != 1 || !slices.Equal(turn.Deadly, []string{"deadly"}) || turn.Over {
		t.Errorf("%+v", turn)
	}
	if counted, err := s.Done(t.Context(), "", "q", Report{Shard: "victim2", Batch: 1}); err != nil || counted {
		t.Errorf("a batch of a lost shard counts: %v", err)
	}
	if _, err := s.Done(t.Context(), "", "q", Report{Shard: "good", Batch: turn.Batch.ID}); err != nil {
		t.Fatal(err)
	}
	if turn := next("late"); !turn.Over || turn.Batch != nil || len(turn.Deadly) != 1 {
		t.Errorf("%+v", turn)
	}
	x, err := s.Look(t.Context(), "", "q")
	if err != nil || x.Ended.IsZero() || len(x.Gone) != 3 {
		t.Errorf("%+v %v", x, err)
	}
}

// TestShelf has many shards pull at once from a directory: each item is done once.
func TestShelf(t *testing.T) {
	t.Parallel()
	root, dir := t.TempDir(), t.TempDir()
	var items []suite.Item
	var listed suite.Listing
	for i := range 40 {
		name := fmt.Sprintf("t%02d", i)
		items = append(items, suite.Item{Name: name, Seconds: float64(i)})
		listed.Found = append(listed.Found, suite.Found{Name: name})
	}
	files, _ := suite.RunnerNamed("files")
	var mu sync.Mutex
	done := map[string]int{}
	exec := played(func(c Command, _ io.Writer) int {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range c.Argv[1:] {
			done[name]++
		}
		return 0
	})
	var runs []*Runs
	for range 8 {
		runs = append(runs, &Runs{Work: &Work{Runner: files, Root: root, Words: []string{"run"}, Listed: listed}, Exec: exec, Out: io.Discard, Say: t.Logf, Results: &Results{}})
	}
	open := Opening{Repository: "r", Name: "q", Shards: 8, Start: .1, Items: items}
	var shards sync.WaitGroup
	for i, r := range runs {
		shards.Go(func() {
			s := &Splits{Shelf: InDirectory(dir), Now: time.Now}
			if _, err := s.Open(t.Context(), open); err != nil {
				t.Error(err)
				return
			}
			if _, err := r.Pull(t.Context(), s.Queue("r", "q", 0), fmt.Sprint(i), false); err != nil {
				t.Error(err)
			}
		})
	}
	shards.Wait()
	for _, item := range items {
		if done[item.Name] != 1 {
			t.Errorf("%s was done %d times", item.Name, done[item.Name])
		}
	}
	s := &Splits{Shelf: InDirectory(dir), Now: time.Now}
	x, err := s.Look(t.Context(), "r", "q")
	if err != nil || !x.Queue.Over() {
		t.Fatalf("%+v %v", x, err)
	}
	if p := x.Picture(time.Now()); p.Done != 40 || len(p.Planned) != 8 || p.Bound == 0 {
		t.Errorf("%+v", p)
	}
	open.Items = items[1:]
	if _, err := s.Open(t.Context(), open); !errors.Is(err, ErrOtherTests) {
		t.Error(err)
	}
}

// TestJUnit reads back what was written.
func TestJUnit(t *testing.T) {
	t.Parallel()
	results := []record.TestResult{
		{Suite: "a<b>", Name: "one \"&'\x00\x1b", Status: record.TestPassed, Seconds: 1.5},
		{Suite: "a<b>", Name: "two", Status: record.TestFailed, Message: "]]>\nwas 1", Stack: "at x"},
		{Suite: "c", Name: "flaky", Status: record.TestFailed, Attempt: 1, Message: "first"},
		{Suite: "c", Name: "flaky", Status: record.TestPassed, Attempt: 2},
		{Suite: "c", Name: "left out", Status: record.TestSkipped},
		{Suite: "c", Name: "broke", Status: record.TestError},
	}
	var text strings.Builder
	if err := WriteJUnit(&text, results); err != nil {
		t.Fatal(err)
	}
	sum, err := harvest.Read(strings.NewReader(text.String()), "x.xml", nil)
	if err != nil || sum.Passed != 2 || sum.Failed != 2 || sum.Skipped != 1 || sum.Flaky != 1 || len(sum.Salvaged) > 0 {
		t.Errorf("%+v %v\n%s", sum, err, text.String())
	}
}

func TestTry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		test, out string
		exit      int
		want      string
	}{
		"passes":         {"TestA", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nok  \tp\t0.1s\n", 0, "passed"},
		"fails":          {"TestA", "=== RUN   TestA\n    a_test.go:3: odd\n--- FAIL: TestA (0.00s)\nFAIL\nFAIL\tp\t0.1s\n", 1, "failed"},
		"another fails":  {"TestA", "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n--- FAIL: TestB (0.00s)\nFAIL\nFAIL\tp\t0.1s\n", 1, "passed"},
		"is not there":   {"TestA", "testing: warning: no tests to run\nPASS\nok  \tp\t0.1s [no tests to run]\n", 0, "cannot"},
		"does not build": {"TestA", "# p\n./a.go:3:1: syntax error: odd\nFAIL\tp [build failed]\nFAIL\n", 1, "cannot"},
		"is skipped":     {"TestA", "=== RUN   TestA\n--- SKIP: TestA (0.00s)\nPASS\nok  \tp\t0.1s\n", 0, "cannot"},
		"says 125":       {"", "", 125, "cannot"},
		"exit code":      {"", "odd\n", 3, "failed"},
		"not found":      {"", "sh: gone: not found\n", 127, "cannot"},
		"all well":       {"", "", 0, "passed"},
		"no report":      {"login", "1 failing\n", 1, "failed"},
	} {
		exec := played(func(_ Command, out io.Writer) int { fmt.Fprint(out, test.out); return test.exit })
		a, err := Try(t.Context(), exec, Command{Dir: t.TempDir()}, test.test, io.Discard)
		if err != nil || !strings.HasPrefix(a.Sentence(), test.want) {
			t.Errorf("%s: %s (%s) %v, want %s", name, a.Sentence(), a.Why, err, test.want)
		}
	}
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	n := 0
	var mu sync.Mutex
	r := &Repeat{Test: "", Count: suite.Repeat{Times: 50}, Command: Command{Dir: t.TempDir()}, Out: io.Discard, Show: func(int, Attempt, *suite.Repeat) {},
		Exec: played(func(c Command, _ io.Writer) int {
			mu.Lock()
			defer mu.Unlock()
			if _, err := os.Stat(c.Env["TMPDIR"]); err != nil {
				t.Error("there is no temporary directory of its own")
			}
			n++
			return n % 4 / 3
		})}
	count, results, err := r.Run(t.Context())
	if err != nil || count.Answer() != suite.RepeatFlaky || len(results) != count.Runs || n != count.Runs {
		t.Errorf("%+v %d %v", count, n, err)
	}
	r.Exec = played(func(Command, io.Writer) int { return 127 })
	if _, _, err := r.Run(t.Context()); !errors.Is(err, ErrNoTest) {
		t.Error(err)
	}
}

func TestWalkedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	report := filepath.Join(dir, "junit.xml")
	write := func(text string) {
		if err := os.WriteFile(report, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`<testsuite name="s"><testcase classname="s" name="old"/></testsuite>`)
	files, _ := suite.RunnerNamed("files")
	r := &Runs{Work: &Work{Runner: files, Root: dir, Words: []string{"run"}}, Out: io.Discard, Results: &Results{}, Exec: played(func(Command, io.Writer) int {
		write(`<testsuite name="s"><testcase classname="s" name="new" time="2"/></testsuite>`)
		if err := os.Chtimes(report, time.Time{}, time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		return 0
	})}
	if _, err := r.Run(t.Context(), []suite.Item{{Name: "s"}}, 1); err != nil {
		t.Fatal(err)
	}
	if all, _, _ := r.Results.All(); len(all) != 1 || all[0].Name != "new" {
		t.Errorf("%+v", all)
	}
}
