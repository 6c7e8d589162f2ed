package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// screen is a terminal as far as Fairlead uses one. It fails the test when it is
// sent anything else.
type screen struct {
	t          testing.TB
	cols, rows int
	lines      [][]rune // scrollback and screen; the last rows of them are the screen
	x, y       int      // y counts lines
	pending    bool     // the last column was written: the next letter wraps
	nowrap     bool
	hidden     bool
	rest       []byte
	most       int // the most rows that were drawn again in one frame
}

func newScreen(t testing.TB, cols, rows int) *screen {
	return &screen{t: t, cols: cols, rows: rows, lines: [][]rune{nil}}
}

func (s *screen) line() *[]rune {
	for len(s.lines) <= s.y {
		s.lines = append(s.lines, nil)
	}
	return &s.lines[s.y]
}

func (s *screen) top() int { return max(len(s.lines)-s.rows, 0) }

func (s *screen) put(r rune) {
	w := runeWidth(r)
	if w == 0 {
		return
	}
	if s.pending || s.x+w > s.cols {
		if s.nowrap {
			s.x = s.cols - w
		} else {
			s.y, s.x = s.y+1, 0
		}
		s.pending = false
	}
	l := s.line()
	for len(*l) < s.x+w {
		*l = append(*l, ' ')
	}
	(*l)[s.x] = r
	if w == 2 {
		(*l)[s.x+1] = 0
	}
	s.x += w
	if s.x >= s.cols {
		s.x, s.pending = s.cols-1, true
	}
}

func (s *screen) Write(p []byte) (int, error) {
	in := append(s.rest, p...)
	s.rest = nil
	for len(in) > 0 {
		switch c := in[0]; {
		case c == '\n': // the line discipline has put \r in front
			s.y, s.pending = s.y+1, false
			s.line()
			in = in[1:]
		case c == '\r':
			s.x, s.pending = 0, false
			in = in[1:]
		case c == 0x1b:
			n := s.sequence(in)
			if n == 0 {
				s.rest = append(s.rest, in...)
				return len(p), nil
			}
			in = in[n:]
		case c < 0x20:
			s.t.Errorf("the terminal was sent control character %#x", c)
			in = in[1:]
		default:
			if !utf8.FullRune(in) {
				s.rest = append(s.rest, in...)
				return len(p), nil
			}
			r, n := utf8.DecodeRune(in)
			s.put(r)
			in = in[n:]
		}
	}
	return len(p), nil
}

// sequence obeys an escape sequence; 0 when it is not there as a whole.
func (s *screen) sequence(in []byte) int {
	if len(in) < 3 {
		return 0
	}
	for i := 2; i < len(in); i++ {
		if in[i] < 0x40 {
			continue
		}
		switch text := string(in[2 : i+1]); {
		case in[1] != '[':
			s.t.Errorf("the terminal was sent %q", in[:i+1])
		case text == "?25l", text == "?25h":
			s.hidden = text == "?25l"
		case text == "?7l", text == "?7h":
			s.nowrap = text == "?7l"
		case text == "J":
			*s.line() = (*s.line())[:min(s.x, len(*s.line()))]
			s.lines = s.lines[:s.y+1]
		case in[i] == 'A':
			n := 0
			fmt.Sscanf(text, "%dA", &n)
			s.most = max(s.most, n)
			s.y, s.pending = max(s.y-n, s.top()), false
		case in[i] == 'm':
		default:
			s.t.Errorf("the terminal was sent %q", in[:i+1])
		}
		return i + 1
	}
	return 0
}

// String is everything that was ever shown and stands.
func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		text := strings.ReplaceAll(string(l), "\x00", "")
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// application is an App with the real pieces, in directories of the test.
func application(t testing.TB) *App {
	t.Helper()
	data, cache := t.TempDir(), t.TempDir()
	return &App{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Getenv: func(name string) string { return map[string]string{"TERM": "xterm"}[name] },
		Open: func(ctx context.Context, w Wiring) (*Tools, error) {
			s, err := sqlite.Open(ctx, data, sqlite.Options{})
			if err != nil {
				return nil, err
			}
			return &Tools{Runs: s, Close: s.Close, Launcher: &launch.Launcher{
				Dialects: []dialect.Dialect{github.New(github.Config{})}, Executor: host.New(host.Options{}), Store: s,
				Slots: &workspace.Slots{Dir: cache}, Data: data, Idle: func() float64 { return 4 }, Grace: time.Minute,
			}}, nil
		},
	}
}

// repository is a directory with one workflow.
func repository(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, ".github", "workflows", "ci.yml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("git", "init", "-q", dir)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	return dir
}

// onTerminal runs a command line on a terminal of that size.
func onTerminal(t *testing.T, app *App, cols, rows int, args ...string) (*screen, int) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("SKIPPED: no terminals here: %v", err)
	}
	defer master.Close()
	if err := pty.Setsize(slave, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}); err != nil {
		t.Fatal(err)
	}
	app.Stdout, app.Stderr = slave, slave
	s := newScreen(t, cols, rows)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := io.Copy(s, master)
		if err != nil && !strings.Contains(err.Error(), syscall.EIO.Error()) { // EIO: the other end is closed
			t.Error(err)
		}
	})
	code := app.Main(t.Context(), args)
	slave.Close()
	wg.Wait()
	if s.hidden || s.nowrap {
		t.Errorf("the terminal is left without cursor (%v) or wrapping (%v)", s.hidden, s.nowrap)
	}
	return s, code
}

const manyJobs = `
name: CI
on: push
jobs:
  cells:
    strategy:
      fail-fast: false
      matrix: { n: [1, 2, 3, 4, 5, 6] }
    runs-on: ubuntu-latest
    steps:
      - name: Work 日本語
        run: |
          for i in 1 2 3 4 5 6 7 8; do printf '\033[31mline %s of cell ${{ matrix.n }} \033[2J\033]0;x\007 日本語 and much more text than fits\n' $i; sleep 0.03; done
          if [ ${{ matrix.n }} = 3 ]; then echo "boom: it broke"; exit 3; fi
  after:
    needs: cells
    runs-on: ubuntu-latest
    steps: [{run: echo after}]
`

// TestTerminal runs many jobs on terminals of several sizes. What stands in the
// end is each job once, what failed, and nothing of the rows that were live.
func TestTerminal(t *testing.T) {
	t.Parallel()
	dir := repository(t, manyJobs)
	for _, size := range [][2]int{{100, 30}, {80, 24}, {40, 12}, {20, 5}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s, code := onTerminal(t, application(t), size[0], size[1], "run", "-C", dir)
			text := s.String()
			if code != ExitFailed {
				t.Errorf("exit code %d", code)
			}
			for n := range 6 {
				mark := "✓"
				if n == 2 {
					mark = "✗"
				}
				count := 0
				for line := range strings.Lines(text) {
					if strings.HasPrefix(line, mark+"  ") && strings.Contains(line, fmt.Sprintf("cells/%d", n+1)) {
						count++
					}
				}
				if count != 1 {
					t.Errorf("job cells/%d stands there %d times", n+1, count)
				}
			}
			for _, want := range []string{"run 1 failed", "boom: it broke", "rerun 1 --from", "skipped"} {
				if flat := strings.ReplaceAll(text, "\n", ""); !strings.Contains(text, want) && !strings.Contains(flat, want) && size[0] >= 40 {
					t.Errorf("%q is not there", want)
				}
			}
			for _, bad := range []string{"⠋", "⠹", "running", "line 3 of"} {
				if strings.Contains(text, bad) {
					t.Errorf("%q of the live rows is still there", bad)
				}
			}
			if s.most > min(size[1], maxRows+2) {
				t.Errorf("%d rows were drawn again", s.most)
			}
			if t.Failed() {
				t.Logf("the screen:\n%s", text)
			}
		})
	}
}

// TestTerminalThatChangesItsSize draws frames at one width and goes on at
// another, on a terminal that wraps what is there again.
func TestTerminalThatChangesItsSize(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 60, 20)
	now := time.Unix(1000, 0)
	cols := 60
	d := &tty{out: crlf{s}, size: func() (int, int) { return cols, 20 }, now: func() time.Time { return now }, began: now}
	st := &stage{progress: &progress{display: d}, run: record.NewRun("1")}
	tell := func(job, step string, b record.Body) {
		st.Event(record.Event{Run: "1", Job: job, Step: step, Body: b, Time: now})
	}
	tell("", "", &record.RunPlanned{Pipeline: &plan.Pipeline{Jobs: []plan.Job{{ID: "a"}, {ID: "b"}}}})
	for _, job := range []string{"a", "b"} {
		tell(job, "", &record.JobStarted{Place: "host"})
		tell(job, "1", &record.StepStarted{Name: "A step with quite a long name, longer than the terminal"})
		st.Line(job, "1", 0, []byte("a line that is long enough to fill what is left of the row"))
	}
	d.write("before")
	d.draw()
	cols = 25
	s.rewrap(25)
	d.draw()
	d.draw()
	tell("a", "1", &record.StepFinished{Name: "x", Outcome: plan.Success, Conclusion: plan.Success})
	tell("a", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	d.draw()
	cols = 70
	s.rewrap(70)
	d.draw()
	tell("b", "", &record.JobFinished{Verdict: plan.Cancelled, Result: plan.Cancelled, Why: "enough"})
	d.close()
	if got, want := s.String(), "before\n✓   0.0s  a\n⊘   0.0s  b: enough\n"; got != want {
		t.Errorf("what stands in the end:\n%swant:\n%s", got, want)
	}
}

// crlf does what a terminal's line discipline does.
type crlf struct{ w io.Writer }

func (c crlf) Write(p []byte) (int, error) {
	if _, err := c.w.Write([]byte(strings.ReplaceAll(strings.ReplaceAll(string(p), "\r\n", "\n"), "\n", "\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// rewrap makes the screen another width, as most terminals do: what is too
// long goes on in the next line, and the cursor stays with its text.
func (s *screen) rewrap(cols int) {
	var lines [][]rune
	y := 0
	for i, l := range s.lines {
		if i == s.y {
			y = len(lines) + s.x/cols
		}
		for len(l) > cols {
			lines = append(lines, l[:cols:cols])
			l = l[cols:]
		}
		lines = append(lines, l)
	}
	s.lines, s.y, s.x, s.cols, s.pending = lines, y, s.x%cols, cols, false
}

// TestTerminalFrame is what a frame looks like.
func TestTerminalFrame(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for cols, want := range map[int]string{
		80: `⠋   2.5s  build            Compile  │ cc -o main main.c
⠋   1.0s  test/1.26-linux  setting up
⠋   0.0s  e2e              Browser
    2.5s  3 running · 7 waiting · 4 ok · 1 failed
`,
		40: `⠋   2.5s  build            Compile
⠋   1.0s  test/1.26-linux  setting up
⠋   0.0s  e2e              Browser
    2.5s  3 running · 7 waiting · 4 ok…
`,
	} {
		s := newScreen(t, cols, 20)
		d := &tty{out: crlf{s}, size: func() (int, int) { return cols, 20 }, now: func() time.Time { return now }, began: now.Add(-2500 * time.Millisecond),
			known: 10, done: 4, bad: 1, rows: []*row{
				{label: "build", began: now.Add(-2500 * time.Millisecond), steps: []rowStep{{"1", "Compile"}}, last: []byte("\x1b[31mcc -o main main.c\x1b[0m")},
				{label: "test/1.26-linux", began: now.Add(-time.Second)},
				{label: "e2e", began: now, steps: []rowStep{{"1", "Set up"}, {"2", "Browser"}}},
			}}
		d.draw()
		if got := s.String(); got != want {
			t.Errorf("%d columns:\n%swant:\n%s", cols, got, want)
		}
	}
}

// BenchmarkPlainLine is what a line of a log costs on its way through the plain
// display: logs of gigabytes go through it.
func BenchmarkPlainLine(b *testing.B) {
	d := &plain{out: io.Discard, now: time.Now, began: time.Now()}
	st := &stage{progress: &progress{display: d}, run: record.NewRun("1")}
	line := []byte("this is a typical log line of a build, about eighty bytes long, nothing special.")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		st.Line("test/1.26-linux", "1", 7, line)
	}
}

// BenchmarkTTYLine is the same for the terminal, which keeps only last lines.
func BenchmarkTTYLine(b *testing.B) {
	d := &tty{out: io.Discard, now: time.Now, began: time.Now(), size: func() (int, int) { return 80, 24 }}
	st := &stage{progress: &progress{display: d}, run: record.NewRun("1")}
	st.Event(record.Event{Run: "1", Job: "test", Body: &record.JobStarted{}})
	line := []byte("this is a typical log line of a build, about eighty bytes long, nothing special.")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		st.Line("test", "1", 7, line)
	}
}

// TestSecretIsAskedForWithoutEcho gives a secret by hand.
func TestSecretIsAskedForWithoutEcho(t *testing.T) {
	t.Parallel()
	dir := repository(t, "on: push\njobs:\n  use:\n    runs-on: ubuntu-latest\n    steps: [{run: 'echo \"it is ${{ secrets.PW }}\"; test \"${{ secrets.PW }}\" = hunter2'}]\n")
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("SKIPPED: no terminals here: %v", err)
	}
	defer master.Close()
	var mu sync.Mutex
	var echoed strings.Builder
	asked := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1024)
		for {
			n, err := master.Read(buf)
			mu.Lock()
			before := echoed.Len()
			echoed.Write(buf[:n])
			if before == 0 && n > 0 {
				close(asked)
			}
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		<-asked
		for range 1000 { // the terminal is told not to echo right after the question
			out, err := exec.Command("stty", "-a", "-F", slave.Name()).CombinedOutput()
			if err != nil || strings.Contains(string(out), "-echo ") {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := master.WriteString("hunter2\n"); err != nil {
			t.Error(err)
		}
	})
	app := application(t)
	var out strings.Builder
	app.Stdin, app.Stdout, app.Stderr = slave, &out, slave
	code := app.Main(t.Context(), []string{"run", "-C", dir, "--secret", "PW", "--progress", "plain"})
	slave.Close()
	wg.Wait()
	if code != ExitOK {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
	if text := echoed.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "secret PW: ") || !strings.Contains(text, "it is ***") {
		t.Errorf("on the terminal stands:\n%s", text)
	}
}
