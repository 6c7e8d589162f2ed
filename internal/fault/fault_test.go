package fault

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// example is one tail of a log in testdata, and what it should be taken for.
type example struct {
	name, file string
	facts      Facts
	want       map[string]string // "want", "title", "line", "lines"
}

// examples reads testdata: "=== name", facts and wishes one a line, "---", and
// the tail, in which ␛ and ␍ stand for escape and carriage return.
func examples(t testing.TB) []example {
	visible := strings.NewReplacer("␛", "\x1b", "␍", "\r")
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	var out []example
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := false // in the tail
		for sc := bufio.NewScanner(f); sc.Scan(); {
			line := sc.Text()
			// "=== RUN" stands in logs of go test.
			if name, ok := strings.CutPrefix(line, "=== "); ok && !strings.HasPrefix(name, "RUN") {
				out, in = append(out, example{name: name, file: file, want: map[string]string{}}), false
				continue
			}
			e := &out[len(out)-1]
			if in {
				e.facts.Tail = append(e.facts.Tail, Line{N: int64(len(e.facts.Tail)), Text: visible.Replace(line)})
				continue
			}
			key, value, _ := strings.Cut(line, " ")
			switch key {
			case "---":
				in = true
			case "exit":
				e.facts.Exit, _ = strconv.Atoi(value)
			case "signal":
				e.facts.Signal = value
			case "err":
				e.facts.Err = value
			case "oom":
				e.facts.OOM = true
			case "timedout":
				e.facts.TimedOut = true
			case "stopped":
				e.facts.Stopped = true
			case "note":
				at, message, _ := strings.Cut(value, " ")
				name, n, _ := strings.Cut(at, ":")
				note := plan.Annotation{Level: plan.ErrorLevel, File: name, Message: message}
				note.Line, _ = strconv.Atoi(n)
				e.facts.Notes = append(e.facts.Notes, plan.Annotation{Level: plan.WarningLevel, Message: "not this"}, note)
			case "want", "title", "line", "lines":
				e.want[key] = value
			default:
				t.Fatalf("%s: %s: unknown word %q", file, e.name, key)
			}
		}
	}
	return out
}

func TestExamples(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, e := range examples(t) {
		d := Diagnose(e.facts)
		shown[d.Rule] = true
		got := map[string]string{
			"want":  fmt.Sprint(d.Verdict, " ", d.Rule),
			"title": d.Title,
			"line":  fmt.Sprint(d.Line),
			"lines": fmt.Sprint(len(d.Lines)),
		}
		if e.want["want"] == "" {
			t.Errorf("%s: %s: nothing is wanted", e.file, e.name)
		}
		for key, want := range e.want {
			if got[key] != want {
				t.Errorf("%s: %s: %s: got %q, want %q", filepath.Base(e.file), e.name, key, got[key], want)
			}
		}
		if len(d.Lines) > maxShown || strings.ContainsAny(d.Title, "\x1b\r\n") || d.Title == "" {
			t.Errorf("%s: %s: %d lines, title %q", e.file, e.name, len(d.Lines), d.Title)
		}
		if len(d.Lines) > 0 && e.facts.Err == "" {
			first := clean(e.facts.Tail)[d.Line].s
			if d.Lines[0] != first {
				t.Errorf("%s: %s: line %d is %q, not %q", e.file, e.name, d.Line, first, d.Lines[0])
			}
		}
	}
	t.Logf("%d examples show %d rules", len(examples(t)), len(shown))
}

// TestTable checks the table itself.
func TestTable(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z][a-z0-9-]+$`)
	for _, r := range rules() {
		if !name.MatchString(r.name) {
			t.Errorf("%q is no name", r.name)
		}
		if r.verdict != plan.Failure && r.verdict != plan.Fault {
			t.Errorf("%s: verdict %q", r.name, r.verdict)
		}
		if r.pattern(); r.unless != nil {
			r.unless()
		}
		if r.title == "" && r.refine == nil {
			t.Errorf("%s has no title", r.name)
		}
		for _, word := range r.needs {
			if word == "" || word != strings.ToLower(word) {
				t.Errorf("%s: the word %q is never found", r.name, word)
			}
		}
	}
	for code, e := range exits {
		if e.name == "" || e.title == "" || e.verdict == "" {
			t.Errorf("exit code %d: %+v", code, e)
		}
	}
}

func TestBoundedInput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("error: ", 1<<20)
	var f Facts
	f.Exit = 1
	for n := range 5000 {
		f.Tail = append(f.Tail, Line{N: int64(n), Text: "noise " + strconv.Itoa(n)})
	}
	f.Tail = append(f.Tail, Line{N: 5000, Text: long}, Line{N: 5001, Text: "\xff\xfe\x1b[\x1b]"})
	d := Diagnose(f)
	if d.Line != 5000 || len(d.Lines[0]) > maxWidth+8 || len([]rune(d.Title)) > maxTitle {
		t.Errorf("line %d, %d bytes, title of %d", d.Line, len(d.Lines[0]), len(d.Title))
	}
	if d := Diagnose(Facts{}); d == nil || d.Verdict != plan.Failure || d.Title == "" {
		t.Errorf("no facts: %+v", d)
	}
}

func FuzzDiagnose(f *testing.F) {
	for _, e := range examples(f) {
		var b strings.Builder
		for _, l := range e.facts.Tail {
			b.WriteString(l.Text + "\n")
		}
		f.Add(e.facts.Exit, e.facts.Signal, b.String())
	}
	f.Fuzz(func(t *testing.T, exit int, signal, log string) {
		facts := Facts{Exit: exit, Signal: signal}
		for i, line := range strings.Split(log, "\n") {
			facts.Tail = append(facts.Tail, Line{N: int64(i), Text: line})
		}
		d := Diagnose(facts)
		if !d.Verdict.Bad() || d.Rule == "" || len(d.Lines) > maxShown || strings.ContainsAny(d.Title, "\x1b\n\r") {
			t.Errorf("%+v", d)
		}
	})
}

// BenchmarkDiagnose judges a long tail that matches little.
func BenchmarkDiagnose(b *testing.B) {
	facts := Facts{Exit: 1}
	for n := range 400 {
		facts.Tail = append(facts.Tail, Line{N: int64(n), Text: fmt.Sprintf("[%d/400] compiled src/module_%d.c: no errors, 0 warnings, not cached, 12 ms", n, n)})
	}
	Diagnose(facts) // the table is made once
	for b.Loop() {
		Diagnose(facts)
	}
}

func BenchmarkTable(b *testing.B) {
	for b.Loop() {
		table()
	}
}
