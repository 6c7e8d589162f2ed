// Package crash kills the real Fairlead at random instants and looks at what
// is left: whether the record keeps its invariants, whether any process of the
// run is still there, and whether the run, resumed, ends as if nothing had
// happened, doing nothing twice that it knew to be done.
//
// A few rounds are run by default, 200 when $FAIRLEAD_LONG is set. A round
// that fails says its seed.
package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

// flow has jobs side by side and one after another. Every step says when it
// begins and ends, outside of the workspace; what it leaves inside, in the
// environment and in outputs is asked for by later steps.
const flow = `
on: push
jobs:
  first:
    runs-on: ubuntu-latest
    outputs: { said: "${{ steps.two.outputs.said }}" }
    steps:
      - run: |
          $OUTSIDE/mark first.1 begin
          echo one > one; echo "SET=by-one" >> "$GITHUB_ENV"
          sleep 0.05; $OUTSIDE/mark first.1 end
      - id: two
        run: |
          $OUTSIDE/mark first.2 begin
          test "$SET" = by-one; echo "said=hello" >> "$GITHUB_OUTPUT"
          sleep 0.05; $OUTSIDE/mark first.2 end
      - run: |
          $OUTSIDE/mark first.3 begin
          test "$(cat one)" = one; test "${{ steps.two.outputs.said }}" = hello
          sleep 0.05; $OUTSIDE/mark first.3 end
  beside:
    runs-on: ubuntu-latest
    strategy: { matrix: { cell: [a, b] }, fail-fast: false }
    steps:
      - run: $OUTSIDE/mark beside-${{ matrix.cell }}.1 begin; echo x > file; sleep 0.1; $OUTSIDE/mark beside-${{ matrix.cell }}.1 end
      - run: $OUTSIDE/mark beside-${{ matrix.cell }}.2 begin; test -s file; sleep 0.1; $OUTSIDE/mark beside-${{ matrix.cell }}.2 end
  last:
    needs: [first, beside]
    runs-on: ubuntu-latest
    steps:
      - run: $OUTSIDE/mark last.1 begin; test "${{ needs.first.outputs.said }}" = hello; sleep 0.05; $OUTSIDE/mark last.1 end
      - run: $OUTSIDE/mark last.2 begin; sleep 0.05; $OUTSIDE/mark last.2 end
      - run: exit ${{ vars.END }}
`

// stepMarks are the steps of flow that leave marks, by job and key.
var stepMarks = map[[2]string]string{
	{"first", "1"}: "first.1", {"first", "2"}: "first.2", {"first", "3"}: "first.3",
	{"beside/a", "1"}: "beside-a.1", {"beside/a", "2"}: "beside-a.2",
	{"beside/b", "1"}: "beside-b.1", {"beside/b", "2"}: "beside-b.2",
	{"last", "1"}: "last.1", {"last", "2"}: "last.2",
}

// newPlace makes the repository, and the program that marks: one line, in one
// write.
func newPlace(t *testing.T, flow string) *binary.Place {
	t.Helper()
	binary.Need(t, "bash", "git")
	p := binary.NewPlace(t, map[string]string{".github/workflows/ci.yml": flow})
	mark := "#!/bin/sh\necho \"$1 $2\" >> " + filepath.Join(p.Outside, "marks") + "\n"
	if err := os.WriteFile(filepath.Join(p.Outside, "mark"), []byte(mark), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKill(t *testing.T) {
	t.Parallel()
	whole := newPlace(t, flow)
	begun := time.Now()
	if out := whole.Run("run", "--var", "END=0"); out.Exit != 0 {
		t.Fatal(out)
	}
	length := time.Since(begun)
	rounds := 20
	if binary.Long() {
		rounds = 200
	}
	base := rand.Uint64()
	places := make(chan struct{}, 2)
	var midway atomic.Int64
	t.Run("rounds", func(t *testing.T) {
		for i := range rounds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				seed := base + uint64(i)
				t.Logf("seed %d", seed)
				if round(t, rand.New(rand.NewPCG(seed, 0)), length) {
					midway.Add(1)
				}
			})
		}
	})
	t.Logf("%d of %d rounds were killed between two steps that both had to be right", midway.Load(), rounds)
	if midway.Load() == 0 {
		t.Error("no round was killed with some steps done and some not: nothing was shown")
	}
}

// round kills a run once to three times and resumes it to its end. It reports
// whether a run was resumed of which some steps were known to be done.
func round(t *testing.T, random *rand.Rand, length time.Duration) (midway bool) {
	p := newPlace(t, flow)
	want := random.IntN(2)
	args := []string{"run", "--var", fmt.Sprintf("END=%d", want)}
	known := map[string]int{} // how often a step that is known to be done was done
	for kills := 1 + random.IntN(3); kills > 0; kills-- {
		r := p.Start(args...)
		time.Sleep(time.Duration(random.Int64N(int64(length)))) // the instant of the crash
		r.Signal(syscall.SIGKILL)
		out := r.Wait()
		gone(t, p)
		run, events := inspect(t, p)
		if run == nil {
			continue // killed before anything was accepted
		}
		again(t, p, known)
		if run.Verdict != "" {
			ended(t, p, run, want, known)
			return midway
		}
		if shown := p.Run("runs", "--status", "interrupted", "--output", "json"); !strings.Contains(shown.Stdout, `"interrupted"`) {
			t.Errorf("the run is not shown as interrupted: %s\nafter %s", shown, out)
		}
		finished(run, p, known)
		midway = midway || len(known) > 0
		args = []string{"run", "--resume", run.ID}
		if t.Failed() {
			dump(t, events)
			return midway
		}
	}
	out := p.Run(args...)
	if out.Exit != want {
		t.Errorf("exit code %d, want %d\n%s", out.Exit, want, out)
	}
	run, events := inspect(t, p)
	if run == nil {
		t.Fatalf("no run is known after %s", out)
	}
	again(t, p, known)
	ended(t, p, run, want, known)
	gone(t, p)
	if t.Failed() {
		dump(t, events)
		t.Logf("%s\nmarks:\n%s", out, p.Mark("marks"))
	}
	return midway
}

// inspect reads the record as it lies there and checks its invariants.
func inspect(t *testing.T, p *binary.Place) (*record.Run, []record.Event) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(p.Data, sqlite.File)); err != nil {
		return nil, nil
	}
	s, err := sqlite.Open(context.Background(), p.Data, sqlite.Options{})
	if err != nil {
		t.Fatalf("the record cannot be opened: %v", err)
	}
	defer s.Close()
	var events []record.Event
	for e, err := range s.After(context.Background(), 0) {
		if err != nil {
			t.Fatalf("the record cannot be read: %v", err)
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil, nil
	}
	if err := storetest.CheckLog(events); err != nil {
		t.Error(err)
	}
	if err := storetest.CheckRun(events); err != nil {
		t.Error(err)
	}
	run := record.NewRun(events[0].Run)
	for _, e := range events {
		run.Apply(e)
	}
	return run, events
}

// count is how often a mark was left.
func count(p *binary.Place, mark string) int {
	return strings.Count(p.Mark("marks"), mark+"\n")
}

// finished notes how often each step was done that the record knows to be.
func finished(run *record.Run, p *binary.Place, known map[string]int) {
	for at, mark := range stepMarks {
		j := run.Jobs[at[0]]
		if j == nil {
			continue
		}
		if s := j.Step(at[1]); s != nil && s.Finished != nil && s.Finished.Outcome == plan.Success {
			known[mark] = count(p, mark+" begin")
		}
	}
}

// again checks that no step was done again that was known to be done.
func again(t *testing.T, p *binary.Place, known map[string]int) {
	t.Helper()
	for mark, n := range known {
		if got := count(p, mark+" begin"); got != n {
			t.Errorf("step %s was known to be done, and was begun %d more times", mark, got-n)
		}
	}
}

// ended checks how the run ended: everything was done, and the verdict is right.
func ended(t *testing.T, p *binary.Place, run *record.Run, want int, known map[string]int) {
	t.Helper()
	again(t, p, known)
	verdict := []plan.Verdict{plan.Success, plan.Failure}[want]
	if run.Verdict != verdict {
		t.Errorf("the run ended in %q (%s), want %s", run.Verdict, run.Why, verdict)
	}
	for _, mark := range stepMarks {
		if count(p, mark+" end") == 0 {
			t.Errorf("step %s was never done to its end", mark)
		}
	}
}

// gone waits until no process of the place is there: what a killed Fairlead
// leaves behind is ended by others, at once but not by it.
func gone(t *testing.T, p *binary.Place) {
	t.Helper()
	mark := []byte("OUTSIDE=" + p.Outside + "\x00")
	binary.Await(t, "the processes of a killed run to end", func() bool {
		files, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(files, func(name string) bool {
			environ, err := os.ReadFile(name)
			return err == nil && bytes.Contains(environ, mark)
		})
	})
}

// dump shows the record of a round that failed.
func dump(t *testing.T, events []record.Event) {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		body, err := json.Marshal(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %s %s %s %.200s\n", e.Seq, e.Kind(), e.Job, e.Step, body)
	}
	t.Logf("the record:\n%s", b.String())
}

func TestSoak(t *testing.T) {
	t.Parallel()
	jobs, each := 1, 200
	if binary.Long() {
		jobs, each = 5, 200
	}
	cells := make([]string, each)
	for i := range cells {
		cells[i] = fmt.Sprint(i)
	}
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for i := range jobs {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: ubuntu-latest\n    strategy: { matrix: { n: [%s] } }\n    steps: [{ run: '$OUTSIDE/mark j%d-${{ matrix.n }} done' }]\n", i, strings.Join(cells, ", "), i)
	}
	p := newPlace(t, b.String())
	out := p.Run("run", "--progress", "quiet")
	if out.Exit != 0 {
		t.Fatal(out)
	}
	lines := strings.Fields(strings.ReplaceAll(p.Mark("marks"), " done", ""))
	slices.Sort(lines)
	if n := len(slices.Compact(lines)); n != jobs*each || len(lines) != n {
		t.Errorf("%d different jobs of %d ran, %d in all", n, jobs*each, len(lines))
	}
	run, _ := inspect(t, p)
	ok := 0
	for _, j := range run.Jobs {
		if len(j.Children) == 0 && j.Verdict == plan.Success {
			ok++
		}
	}
	if ok != jobs*each {
		t.Errorf("%d of %d jobs are known to have ended well", ok, jobs*each)
	}
	gone(t, p)
}
