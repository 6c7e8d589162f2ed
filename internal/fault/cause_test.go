package fault

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// injected is the log of a fault that we made in a small project: what the
// tools printed, between lines of other steps.
type injected struct {
	name, file string
	ran        []string
	cause      string // the line that a person would point at
	at         string // file:line, "" when the log names no place
	log        []Line
}

// goTestWord is what go test -v writes behind "===".
var goTestWord = regexp.MustCompile(`^(?:RUN|PAUSE|CONT|NAME) `)

// recorded reads testdata/causes: "=== name", what ran, the exit code, the
// cause and its place, "---", the log.
func recorded(t testing.TB) []injected {
	files, err := filepath.Glob("testdata/causes/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/causes: %v, %v", files, err)
	}
	var out []injected
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := false
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			line := sc.Text()
			if name, ok := strings.CutPrefix(line, "=== "); ok && !goTestWord.MatchString(name) {
				out, in = append(out, injected{name: name, file: filepath.Base(file)}), false
				continue
			}
			e := &out[len(out)-1]
			if in {
				e.log = append(e.log, Line{N: int64(len(e.log)), Text: line})
				continue
			}
			switch key, value, _ := strings.Cut(line, " "); key {
			case "ran":
				e.ran = strings.Fields(value)
			case "cause":
				e.cause = value
			case "at":
				e.at = value
			case "---":
				in = true
			}
		}
	}
	return out
}

func all(lines []Line) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for _, l := range lines {
			if !yield(l) {
				return
			}
		}
	}
}

// place is file:line of a cause, as far as the tool named it.
func place(c Cause) string {
	if c.At.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s:%d", strings.TrimPrefix(c.At.File, "/w/"), c.At.Line)
}

// TestInjected looks for the causes of faults that we made.
func TestInjected(t *testing.T) {
	t.Parallel()
	faults := recorded(t)
	score := func(ran func(injected) []string, tell bool) (right, placed, places int) {
		for _, f := range faults {
			if f.cause == "" {
				continue
			}
			got, _ := FirstCause(all(f.log), ran(f))
			ok := strings.TrimSpace(got.Text) == strings.TrimSpace(unstamped(plain(f.cause)))
			if ok {
				right++
			} else if tell {
				t.Logf("%s: %s: %q (%s), not %q", f.file, f.name, got.Text, got.Rule, f.cause)
			}
			if f.at != "" {
				places++
				if want, _, _ := strings.Cut(f.at, "|"); strings.HasPrefix(place(got)+":", strings.TrimPrefix(want, "/w/")+":") || strings.HasSuffix(f.at, "|"+place(got)) {
					placed++
				} else if tell {
					t.Logf("%s: %s: at %s, not %s", f.file, f.name, place(got), f.at)
				}
			}
		}
		return right, placed, places
	}
	n := 0
	trivial := 0
	for _, f := range faults {
		if f.cause == "" {
			continue
		}
		n++
		for _, l := range f.log { // the first line with a word like "error"
			if complaint().MatchString(l.Text) {
				if l.Text == f.cause {
					trivial++
				}
				break
			}
		}
	}
	right, placed, places := score(func(f injected) []string { return f.ran }, true)
	blind, _, _ := score(func(injected) []string { return nil }, false)
	misled, _, _ := score(func(injected) []string { return []string{"/bin/sh"} }, false)
	t.Logf("top-1: %d of %d, without knowing what ran %d, told that nothing but sh did %d; places: %d of %d; first line with a word of complaint: %d", right, n, blind, misled, placed, places, trivial)
	if right < n || blind < n || misled < n*9/10 || placed < places {
		t.Errorf("it was better")
	}
}

// TestCorpusLogs looks for the causes in logs of a large project, whose own
// tool says which lines are errors.
func TestCorpusLogs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: 127,000 lines are read")
	}
	dir := filepath.Join(os.Getenv("FAIRLEAD_CORPUS"), "testreports", "ci-logs")
	if os.Getenv("FAIRLEAD_CORPUS") == "" {
		dir = "../../../shared/corpus/testreports/ci-logs"
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log.gz"))
	if len(logs) == 0 {
		t.Skipf("SKIPPED: no logs in %s", dir)
	}
	right, lines := 0, 0
	for _, name := range logs {
		var oracle struct {
			Errors []struct {
				Linenumber int64
				Line       string
			}
		}
		b, err := os.ReadFile(strings.TrimSuffix(name, ".log.gz") + ".oracle.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &oracle); err != nil {
			t.Fatal(err)
		}
		log := unpacked(t, name)
		lines += len(log)
		got, _ := FirstCause(all(log), nil)
		ok := false
		for _, e := range oracle.Errors {
			// Its line numbers and ours may differ by a few: returns count as
			// ends of lines there.
			ok = ok || e.Linenumber-got.Line <= 5 && got.Line-e.Linenumber <= 5 && strings.Contains(e.Line, cut(got.Text, 100))
		}
		if ok {
			right++
		} else {
			t.Logf("%s: line %d, %q (%s)", filepath.Base(name), got.Line, got.Text, got.Rule)
		}
	}
	t.Logf("top-1: %d of %d logs, %d lines", right, len(logs), lines)
	if right < len(logs)*9/11 {
		t.Errorf("it was better")
	}
}

func unpacked(t testing.TB, name string) []Line {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var log []Line
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		log = append(log, Line{N: int64(len(log)), Text: sc.Text()})
	}
	return log
}

func FuzzCause(f *testing.F) {
	for _, e := range recorded(f) {
		var b strings.Builder
		for _, l := range e.log {
			b.WriteString(l.Text + "\n")
		}
		f.Add(b.String())
	}
	f.Fuzz(func(t *testing.T, log string) {
		var lines []Line
		for i, line := range strings.Split(log, "\n") {
			lines = append(lines, Line{N: int64(i), Text: line})
		}
		c, ok := FirstCause(all(lines), []string{"go"})
		if ok && (c.Text == "" || c.Rule == "" || c.Sure == 0 || c.Line < 0 || c.Line >= int64(len(lines)) || c.At.Line < 0) {
			t.Errorf("%+v", c)
		}
	})
}

func BenchmarkCause(b *testing.B) {
	var log []Line
	for n := range 20_000 {
		log = append(log, Line{N: int64(n), Text: "[" + strconv.Itoa(n) + "/20000] compiled src/module_" + strconv.Itoa(n) + ".c: no errors, 0 warnings, not cached, 12 ms"})
	}
	log = append(log, Line{N: 20_000, Text: "src/x.c:5:3: error: no"})
	for b.Loop() {
		FirstCause(all(log), nil)
	}
	b.ReportMetric(float64(b.N*len(log))/b.Elapsed().Seconds(), "lines/s")
}
