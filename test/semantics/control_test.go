package semantics

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// What ends a job before its last step: limits, failures of others, people.

func TestTimeLimits(t *testing.T) {
	check(t, []probe{
		{name: "a job's limit ends the job", exit: 124,
			flow: `
on: push
jobs:
  slow:
    runs-on: ubuntu-latest
    timeout-minutes: 0.02
    steps:
      - run: echo begun > $OUTSIDE/begun; sleep 100; echo done > $OUTSIDE/done
      - run: echo next > $OUTSIDE/next
      - run: echo always > $OUTSIDE/always
        if: always()
`,
			marks: map[string]string{"begun": "begun\n", "done": "", "next": "", "always": "always\n"}},
		{name: "a job's limit may come from a matrix", exit: 124,
			flow: `
on: push
jobs:
  slow:
    runs-on: ubuntu-latest
    strategy: { matrix: { limit: [0.02] } }
    timeout-minutes: ${{ matrix.limit }}
    steps:
      - run: sleep 100
`},
		{name: "a step's limit ends the step", exit: 124,
			flow: `
on: push
jobs:
  slow:
    runs-on: ubuntu-latest
    steps:
      - run: sleep 100
        timeout-minutes: 0.01
      - run: echo next > $OUTSIDE/next
      - run: echo failed > $OUTSIDE/failed
        if: failure()
`,
			marks: map[string]string{"next": "", "failed": "failed\n"}},
		{name: "a step that may fail may run out of time", exit: 0,
			flow: `
on: push
jobs:
  slow:
    runs-on: ubuntu-latest
    steps:
      - id: slow
        run: sleep 100
        timeout-minutes: 0.01
        continue-on-error: true
      - run: echo ${{ steps.slow.outcome }} ${{ steps.slow.conclusion }} > $OUTSIDE/next
`,
			marks: map[string]string{"next": "failure success\n"}},
		{name: "a limit ends what ignores a polite request", exit: 124,
			flow: `
on: push
jobs:
  deaf:
    runs-on: ubuntu-latest
    steps:
      - run: |
          trap '' TERM INT
          sh -c 'trap "" TERM INT; echo $$ > $OUTSIDE/pid; while :; do sleep 1; done'
        timeout-minutes: 0.01
`,
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) { gone(t, p, "pid") }},
	})
}

// gone checks that the process whose ID is in a mark does not live.
func gone(t *testing.T, p *binary.Place, mark string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(p.Mark(mark)))
	if err != nil {
		t.Fatalf("no process ID in mark %s: %v", mark, err)
	}
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
}

// alive reports whether a process runs; one that has ended and was not yet
// waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestSiblings(t *testing.T) {
	check(t, []probe{
		{name: "fail-fast ends running siblings", exit: 1,
			flow: `
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix: { cell: [a, b] }
    steps:
      - run: |
          if [ ${{ matrix.cell }} = a ]; then
            while [ ! -s $OUTSIDE/b ]; do sleep 0.02; done
            exit 1
          fi
          echo begun > $OUTSIDE/b
          sleep 100
          echo done > $OUTSIDE/b
      - run: echo "${{ job.status }}" > $OUTSIDE/late-${{ matrix.cell }}
        if: cancelled()
`,
			marks: map[string]string{"b": "begun\n", "late-b": "cancelled\n", "late-a": ""}},
		{name: "without fail-fast siblings go on", exit: 1,
			flow: `
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      fail-fast: false
      max-parallel: 1
      matrix: { cell: [a, b] }
    steps:
      - run: echo ran >> $OUTSIDE/${{ matrix.cell }}; exit ${{ matrix.cell == 'a' && 1 || 0 }}
`,
			marks: map[string]string{"a": "ran\n", "b": "ran\n"}},
		{name: "max-parallel holds back", exit: 0,
			flow: `
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      max-parallel: 1
      matrix: { cell: [1, 2, 3] }
    steps:
      - run: |
          mkdir $OUTSIDE/alone
          sleep 0.1
          rmdir $OUTSIDE/alone
`},
		{name: "a job that may fail does not fail the run, and dependents see success", exit: 0,
			flow: `
on: push
jobs:
  shaky:
    runs-on: ubuntu-latest
    continue-on-error: true
    steps: [{ run: exit 1 }]
  next:
    needs: shaky
    runs-on: ubuntu-latest
    steps: [{ run: 'echo "${{ needs.shaky.result }}" > $OUTSIDE/next' }]
`,
			marks: map[string]string{"next": "success\n"}},
		{name: "a cell that may fail does not end its siblings", exit: 0,
			flow: `
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    continue-on-error: ${{ matrix.shaky }}
    strategy:
      max-parallel: 1
      matrix:
        include:
          - { cell: a, shaky: true }
          - { cell: b, shaky: false }
    steps:
      - run: echo ran > $OUTSIDE/${{ matrix.cell }}; exit ${{ matrix.cell == 'a' && 1 || 0 }}
`,
			marks: map[string]string{"a": "ran\n", "b": "ran\n"}},
		{name: "jobs of one group never run together", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    concurrency: place
    steps: [{ run: "mkdir $OUTSIDE/alone; sleep 0.3; rmdir $OUTSIDE/alone" }]
  b:
    runs-on: ubuntu-latest
    concurrency: { group: place, cancel-in-progress: false }
    steps: [{ run: "mkdir $OUTSIDE/alone; sleep 0.3; rmdir $OUTSIDE/alone" }]
`},
		{name: "a group keeps every waiting job when its queue is max", exit: 0,
			flow: `
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy: { matrix: { n: [1, 2, 3, 4] } }
    concurrency: { group: place, queue: max }
    steps: [{ run: "mkdir $OUTSIDE/alone; sleep 0.2; rmdir $OUTSIDE/alone; echo ${{ matrix.n }} >> $OUTSIDE/ran" }]
`,
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				if n := strings.Count(p.Mark("ran"), "\n"); n != 4 {
					t.Errorf("%d jobs ran, want 4", n)
				}
			}},
	})
}

const groupFlow = `
on: push
concurrency:
  group: deploy-${{ github.ref }}
  cancel-in-progress: %CANCEL%
jobs:
  only:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "$GITHUB_RUN_NUMBER" >> $OUTSIDE/begun
          while [ ! -e $OUTSIDE/go ]; do sleep 0.05; done
          echo "$GITHUB_RUN_NUMBER" >> $OUTSIDE/done
`

func TestRunsOfOneGroup(t *testing.T) {
	t.Parallel()
	t.Run("wait for each other", func(t *testing.T) {
		t.Parallel()
		pr := probe{flow: strings.ReplaceAll(groupFlow, "%CANCEL%", "false")}
		p := pr.place(t)
		first := p.Start("run")
		p.AwaitFile("begun")
		second := p.Start("run")
		binary.Await(t, "the second run to wait", func() bool {
			return strings.Contains(p.Run("runs", "--all", "--output", "json").Stdout, `"2"`) || strings.Count(p.Run("runs", "--all").Stdout, "\n") >= 2
		})
		if got := p.Mark("begun"); got != "1\n" {
			t.Errorf("begun by %q while the first run holds the group", got)
		}
		if err := os.WriteFile(filepath.Join(p.Outside, "go"), []byte("go"), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, r := range []*binary.Process{first, second} {
			if out := r.Wait(); out.Exit != 0 {
				t.Errorf("run %d: %s", i+1, out)
			}
		}
		if got := p.Mark("done"); got != "1\n2\n" {
			t.Errorf("done by %q, want both in order", got)
		}
	})
	t.Run("only the newest waits", func(t *testing.T) {
		t.Parallel()
		pr := probe{flow: strings.ReplaceAll(groupFlow, "%CANCEL%", "false")}
		p := pr.place(t)
		first := p.Start("run")
		p.AwaitFile("begun")
		second := p.Start("run")
		binary.Await(t, "the second run to begin", func() bool { return p.Run("show", "2").Exit == 0 })
		third := p.Start("run")
		if out := second.Wait(); out.Exit != 130 {
			t.Errorf("the second run was to give way to the third: %s", out)
		}
		if err := os.WriteFile(filepath.Join(p.Outside, "go"), []byte("go"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*binary.Process{first, third} {
			if out := r.Wait(); out.Exit != 0 {
				t.Errorf("%s", out)
			}
		}
		if got := p.Mark("done"); got != "1\n3\n" {
			t.Errorf("done by %q, want the first and the third", got)
		}
	})
	t.Run("cancel who is in progress", func(t *testing.T) {
		t.Parallel()
		pr := probe{flow: strings.ReplaceAll(groupFlow, "%CANCEL%", "${{ github.event_name == 'push' }}")}
		p := pr.place(t)
		first := p.Start("run")
		p.AwaitFile("begun")
		second := p.Start("run")
		if out := first.Wait(); out.Exit != 130 {
			t.Errorf("the first run was to be cancelled: %s", out)
		}
		if err := os.WriteFile(filepath.Join(p.Outside, "go"), []byte("go"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := second.Wait(); out.Exit != 0 {
			t.Errorf("%s", out)
		}
		if got := p.Mark("done"); got != "2\n" {
			t.Errorf("done by %q, want the second run alone", got)
		}
	})
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	pr := probe{exit: 130, flow: `
on: push
jobs:
  long:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo $$ > $OUTSIDE/pid
          echo begun > $OUTSIDE/begun
          sleep 100
          echo done > $OUTSIDE/done
      - run: echo next > $OUTSIDE/next
      - run: echo failed > $OUTSIDE/failed
        if: failure()
      - run: echo "${{ job.status }}" > $OUTSIDE/cancelled
        if: cancelled()
      - run: echo always > $OUTSIDE/always
        if: ${{ always() }}
      - run: echo either > $OUTSIDE/either
        if: success() || failure()
  holds-on:
    runs-on: ubuntu-latest
    steps:
      - run: |
          while [ ! -e $OUTSIDE/cancelled ]; do sleep 0.05; done
          echo went on > $OUTSIDE/went-on
        if: always()
  later:
    needs: long
    runs-on: ubuntu-latest
    steps: [{ run: echo later > $OUTSIDE/later }]
  at-any-rate:
    needs: long
    if: always()
    runs-on: ubuntu-latest
    steps: [{ run: 'echo "${{ needs.long.result }} ${{ job.status }}" > $OUTSIDE/at-any-rate' }]
`,
		marks: map[string]string{"done": "", "next": "", "failed": "", "either": "", "later": "",
			"cancelled": "cancelled\n", "always": "always\n", "went-on": "went on\n", "at-any-rate": "cancelled success\n"}}
	p := pr.place(t)
	r := p.Start("run")
	p.AwaitFile("begun")
	r.Signal(os.Interrupt)
	pr.judge(t, p, r.Wait())
	gone(t, p, "pid")
}

func TestSecondInterruptEndsEverything(t *testing.T) {
	t.Parallel()
	pr := probe{exit: 130, flow: `
on: push
jobs:
  stubborn:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo $$ > $OUTSIDE/pid
          sleep 100
        if: always()
`}
	p := pr.place(t)
	r := p.Start("run")
	p.AwaitFile("pid")
	r.Signal(os.Interrupt)
	r.AwaitText("interrupt again")
	r.Signal(os.Interrupt)
	pr.judge(t, p, r.Wait())
	gone(t, p, "pid")
}

func TestLeftOverProcesses(t *testing.T) {
	check(t, []probe{
		{name: "end with the job at the latest", exit: 0,
			flow: `
on: push
jobs:
  server:
    runs-on: ubuntu-latest
    steps:
      - run: |
          setsid sh -c 'echo $$ > $OUTSIDE/pid; exec sleep 100' < /dev/null > /dev/null 2>&1 &
          while [ ! -s $OUTSIDE/pid ]; do sleep 0.02; done
`,
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) { gone(t, p, "pid") }},
	})
}
