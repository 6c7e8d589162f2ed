package testrun

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Attempt is how one run of a test ended.
type Attempt struct {
	Outcome suite.Outcome
	// Able is false when the test could not be run: it is not there, or does not build. Why
	// says so, or how the test failed.
	Able    bool
	Why     string
	Seconds float64
	Result  record.TestResult // what its report says; without a Status when there is none
	Run     executor.Result
}

// cannotRun is the exit code by which a command says that a version cannot be tried, as
// with git bisect.
const cannotRun = 125

// maxWhy is how many bytes of the end of an output are kept.
const maxWhy = 4 << 10

// Named makes a command of a test runner tell of single tests, and, of go test, run the
// test alone if the command names none.
func Named(words []string, test string) []string {
	r, known := suite.Guess(words)
	at := slices.Index(words, "test") + 1
	if !known || r.Name != "go" || at == 0 || slices.Contains(words[:at], "-c") {
		return words
	}
	has := func(flag string) bool {
		return slices.ContainsFunc(words[at:], func(w string) bool {
			w = strings.Replace(w, "--", "-", 1)
			return w == flag || strings.HasPrefix(w, flag+"=")
		})
	}
	var more []string
	if !has("-v") && !has("-json") {
		more = append(more, "-v")
	}
	if name := test[strings.LastIndexAny(test, ". ")+1:]; test != "" && !has("-run") && goTestName.MatchString(name) {
		more = append(more, "-run", "^"+strings.ReplaceAll(name, "/", "$/^")+"$")
	}
	return slices.Insert(slices.Clone(words), at, more...)
}

// goTestName is the name of a test of Go, or of one in it.
var goTestName = regexp.MustCompile(`^(Test|Example|Fuzz)[\pL\pN_]*(/[\w.#=,:+-]+)*$`)

// Fresh is the environment in which runners do not take an earlier result for a new one.
func Fresh(getenv func(string) string) map[string]string {
	flags := getenv("GOFLAGS")
	if strings.Contains(flags, "-count") {
		return map[string]string{}
	}
	return map[string]string{"GOFLAGS": strings.TrimSpace(flags + " -count=1")}
}

// Try runs a command once and looks for the test in what it leaves behind. A test of "" is
// the command itself: its exit code counts. The error is ours.
func Try(ctx context.Context, exec Exec, c Command, test string, out io.Writer) (a Attempt, err error) {
	tree, err := os.OpenRoot(c.Dir)
	if err != nil {
		return a, err
	}
	defer tree.Close()
	since := time.Now()
	before := map[string]time.Time{}
	for _, name := range harvest.Find(tree.FS(), since) {
		if info, err := tree.Stat(name); err == nil {
			before[name] = info.ModTime()
		}
	}
	var found []record.TestResult
	any := false
	take := func(r record.TestResult) error {
		any = true
		if Means(&r, test) && len(found) < maxListedAttempts {
			found = append(found, r)
		}
		return nil
	}
	end := &tail{}
	l := &listener{out: io.MultiWriter(out, end)}
	l.tests.Each = func(r record.TestResult) { _ = take(r) }
	if a.Run, err = exec(ctx, c, l); err != nil {
		return a, err
	}
	l.end()
	a.Seconds = time.Since(since).Seconds()
	if err := ctx.Err(); err != nil {
		return a, err
	}
	for _, name := range harvest.Find(tree.FS(), since) {
		info, err := tree.Stat(name)
		if err != nil || info.ModTime().Equal(before[name]) {
			continue
		}
		if f, err := tree.Open(name); err == nil {
			_, _ = harvest.Read(f, name, take) // what cannot be read tells nothing
			_ = f.Close()
		}
	}
	a.judge(test, found, any, end)
	return a, nil
}

// maxListedAttempts is how many results of one test are looked at.
const maxListedAttempts = 1000

// judge says how the test ended, by its results, or, when there are none, by how the
// command ended.
func (a *Attempt) judge(test string, found []record.TestResult, any bool, end *tail) {
	a.Able = true
	if a.Run.Exit == cannotRun {
		a.Able, a.Why = false, "the command says that it cannot be tried (exit code 125)"
		return
	}
	for i := range found {
		r := &found[i]
		o := suite.Passed
		switch r.Status {
		case record.TestFailed:
			o = suite.Failed
		case record.TestError:
			o = suite.Errored
		case record.TestSkipped:
			o = suite.Skipped
		}
		if o > a.Outcome {
			a.Outcome, a.Result, a.Why = o, *r, r.Message
		}
	}
	switch {
	case a.Outcome == suite.Skipped:
		a.Able, a.Why = false, "the test is skipped"
	case a.Outcome != 0:
		if a.Outcome.Bad() && a.Why == "" {
			a.Why = end.last()
		}
	case test != "" && any && a.Run.Exit == 0:
		a.Able, a.Why = false, "the test is not there: others ran"
	case test != "" && bytes.Contains(end.text, []byte("[no tests to run]")), test != "" && bytes.Contains(end.text, []byte("no tests to run")):
		a.Able, a.Why = false, "the test is not there"
	case bytes.Contains(end.text, []byte("[build failed]")), bytes.Contains(end.text, []byte("[setup failed]")):
		a.Able, a.Why = false, "it does not build: "+end.last()
	case a.Run.Exit == 126 || a.Run.Exit == 127:
		a.Able, a.Why = false, "the command cannot be started: "+end.last()
	case test != "" && any:
		a.Able, a.Why = false, "the test was not run: "+end.last()
	case a.Run.Exit == 0:
		a.Outcome = suite.Passed
	default:
		// Nothing tells of single tests here: the command is the test.
		a.Outcome, a.Why = suite.Failed, end.last()
	}
}

// Means reports whether a result is of the test that a person names: by its title, its
// name, or its suite and name.
func Means(r *record.TestResult, test string) bool {
	if test == "" {
		return false
	}
	name := strings.Join(append(slices.Clone(r.Groups), r.Name), "/")
	return r.Name == test || r.Title() == test || r.Key() == test || name == test || r.Suite+"."+name == test || r.Suite+" "+name == test ||
		r.Suite+"::"+strings.ReplaceAll(name, "/", "::") == test
}

// tail keeps the end of an output.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - maxWhy; over > maxWhy {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// last is the last line that says something of what went wrong.
func (t *tail) last() string {
	text := t.text[max(len(t.text)-maxWhy, 0):]
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if bytes.Contains(line, []byte("error")) || bytes.Contains(line, []byte("panic:")) || errorLine.Match(line) {
			return string(line[:min(len(line), 300)])
		}
	}
	return lastLine(text)
}

// errorLine is how compilers of many languages begin what is wrong: file:line:column.
var errorLine = regexp.MustCompile(`^[^\s:]+\.\w+:\d+:(\d+:)? `)

// Sentence puts an attempt into words.
func (a *Attempt) Sentence() string {
	switch {
	case !a.Able:
		return "cannot be run: " + a.Why
	case a.Outcome == suite.Passed:
		return fmt.Sprintf("passed in %.1f s", a.Seconds)
	}
	return fmt.Sprintf("failed in %.1f s", a.Seconds)
}
