package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

func TestVariant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"test", nil, ""},
		{"", nil, ""},
		{"test (windows, 22)", nil, "windows, 22"},
		{"test: [windows, 22]", nil, "windows, 22"},
		{"test (22, 3)", map[string]any{"matrix": map[string]any{"node": 22.0, "shard": 3.0}}, "22"},
		{"test (1, 4)", map[string]any{"matrix": map[string]any{"node_index": "1", "Node-Total": "4"}}, ""},
		{"release / test (arm)", nil, "arm"},
		{"odd)", nil, ""},
	} {
		if got := variant(&plan.Job{Name: c.name, Values: c.values}); got != c.want {
			t.Errorf("%q: %q", c.name, got)
		}
	}
}

// blobs keeps blobs in memory.
type blobs struct {
	mu  sync.Mutex
	all map[blob.Digest][]byte
}

func (b *blobs) Put(_ context.Context, r io.Reader) (blob.Digest, int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return "", 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[blob.Digest][]byte{}
	}
	b.all[blob.Of(data)] = data
	return blob.Of(data), int64(len(data)), nil
}

func (b *blobs) Open(_ context.Context, d blob.Digest) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return io.NopCloser(bytes.NewReader(b.all[d])), nil
}

func (b *blobs) Missing(_ context.Context, digests []blob.Digest) (missing []blob.Digest, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range digests {
		if b.all[d] == nil {
			missing = append(missing, d)
		}
	}
	return missing, nil
}

// goFails is a go test of which two tests in a test fail, and one passes.
const goFails = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"output","Package":"p","Test":"TestA/one","Output":"    a_test.go:7: hunter2 is wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA/one","Elapsed":0.1}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0.2}
{"Action":"fail","Package":"p","Elapsed":0.3}
`

func TestQuarantine(t *testing.T) {
	t.Parallel()
	one := record.TestResult{Suite: "p", Groups: []string{"TestA"}, Name: "one"}
	other := record.TestResult{Suite: "p", Name: "TestB"}
	soon := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name  string
		muted []record.Mute
		runs  string
		want  plan.Verdict
		count int
	}{
		{"none", nil, "go test -json", plan.Failure, 0},
		{"another", []record.Mute{{Key: other.Key(), Until: soon}}, "go test -json", plan.Failure, 0},
		{"the one that failed", []record.Mute{{Key: one.Key(), Until: soon}}, "go test -json", plan.Success, 2},
		{"of another variant", []record.Mute{{Key: one.Key(), Variant: "windows", Until: soon}}, "go test -json", plan.Failure, 0},
		{"lapsed", []record.Mute{{Key: one.Key(), Until: time.Now().Add(-time.Second)}}, "go test -json", plan.Failure, 0},
		{"in what is not known to be a runner", []record.Mute{{Key: one.Key(), Until: soon}}, "make check", plan.Failure, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := &blobs{}
			masker := new(secret.Masker)
			masker.Add("hunter2")
			b := newBench(t)
			b.exec.said = []string{goFails}
			b.request.Tests, b.request.Masker = Tests{Blobs: kept, Muted: c.muted}, masker
			job := plan.Job{ID: "test", Name: "test", Steps: steps(c.runs)}
			job.Steps[0].Data = map[string]any{"script": c.runs}
			got := b.do(t.Context(), "1", job)
			run := b.fold("1").Job("test")
			if got != c.want || len(run.Tests) != 1 {
				t.Fatalf("%s, %+v: %s", got, run.Tests, run.Why)
			}
			report := run.Tests[0]
			if report.Failed != 2 || report.Passed != 1 || report.Muted != c.count {
				t.Errorf("%+v", report)
			}
			step := run.Steps[0].Finished
			if step.Outcome != plan.Failure || (c.want == plan.Success) != strings.Contains(step.Why, "in quarantine") {
				t.Errorf("%+v", step)
			}
			var names []string
			err := harvest.ReadKept(bytes.NewReader(kept.all[blob.Digest(report.Results)]), func(r record.TestResult) error {
				names = append(names, r.Title()+" "+r.Status)
				if strings.Contains(r.Message+r.Output, "hunter2") {
					t.Errorf("a secret was kept: %+v", r)
				}
				return nil
			})
			if want := "p › TestA › one failed, p › TestA failed, p › TestB passed"; err != nil || strings.Join(names, ", ") != want {
				t.Errorf("kept %q, %v", names, err)
			}
		})
	}
}

// goAgain is another attempt at what failed in goFails.
const goAgain = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one","Elapsed":0.1}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.3}
`

func TestRetryOfTests(t *testing.T) {
	t.Parallel()
	nothing := `{"Action":"pass","Package":"p","Elapsed":0.3}` + "\n"
	for _, c := range []struct {
		name          string
		retry         int
		said          []string
		want          plan.Verdict
		ran           int
		passed, flaky int
		kept          int
	}{
		{"none", 0, []string{goFails, goAgain}, plan.Failure, 1, 1, 0, 3},
		{"it passes", 2, []string{goFails, goAgain}, plan.Success, 2, 3, 2, 5},
		{"it passes at last", 2, []string{goFails, goFails, goAgain}, plan.Success, 3, 3, 2, 8},
		{"it never passes", 2, []string{goFails}, plan.Failure, 3, 1, 0, 9},
		{"it does not run again", 2, []string{goFails, nothing}, plan.Failure, 2, 1, 0, 3},
		{"all is well", 2, []string{goAgain}, plan.Success, 1, 2, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := &blobs{}
			b := newBench(t)
			b.exec.said = c.said
			b.request.Tests = Tests{Blobs: kept, Retry: c.retry}
			job := plan.Job{ID: "test", Name: "test", Steps: steps("go test -json")}
			job.Steps[0].Data = map[string]any{"script": "go test -json"}
			got := b.do(t.Context(), "1", job)
			run := b.fold("1").Job("test")
			if got != c.want || len(run.Tests) != 1 || len(b.exec.ran) != c.ran {
				t.Fatalf("%s, %+v, ran %q: %s", got, run.Tests, b.exec.ran, run.Why)
			}
			report, attempts := run.Tests[0], 0
			if report.Passed != c.passed || report.Flaky != c.flaky || report.Failed+report.Passed != 3 && c.name != "all is well" || len(report.Bad) != report.Failed-report.Failed/2 {
				t.Errorf("%+v", report)
			}
			n := 0
			err := harvest.ReadKept(bytes.NewReader(kept.all[blob.Digest(report.Results)]), func(r record.TestResult) error {
				n++
				attempts = max(attempts, r.Attempt)
				return nil
			})
			if err != nil || n != c.kept || c.kept > 3 && attempts != c.ran {
				t.Errorf("%d results are kept, of %d attempts; %v", n, attempts, err)
			}
			for i, ran := range b.exec.ran {
				if more := strings.Contains(ran, "-run '^(TestA)$'"); more != (i > 0) {
					t.Errorf("attempt %d ran %q", i+1, ran)
				}
			}
		})
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	failed := []record.TestResult{{Suite: "p", Groups: []string{"TestB"}, Name: "a case"}, {Suite: "p", Name: "TestA"}, {Suite: "p", Name: "TestB"}}
	for _, c := range []struct{ script, body, want string }{
		{"go test ./...", "set -e\ngo test ./...\n", "set -e\ngo test ./... -run '^(TestA|TestB)$'\n"},
		{"make\ngo test ./...", "make\necho '$ go test ./...'\ngo test ./...\n", "make\necho '$ go test ./...'\ngo test ./... -run '^(TestA|TestB)$'\n"},
		{"npx jest --ci", "npx jest --ci", "npx jest --ci --onlyFailures"},
		{"go test ./...", "something else", ""},
		{"go test ./... -args x", "go test ./... -args x", ""},
		{"go test \\\n./...", "go test \\\n./...", ""},
	} {
		end, err := suite.EndOf(c.script, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := again(&plan.Command{Script: c.script, Argv: []string{"sh", "/x"}, Files: []plan.File{{Path: "/x", Body: []byte(c.body)}}}, end, failed)
		switch {
		case c.want == "" && got != nil:
			t.Errorf("%q: got %q", c.script, got.Files[0].Body)
		case c.want != "" && (got == nil || string(got.Files[0].Body) != c.want):
			t.Errorf("%q: got %+v, want %q", c.script, got, c.want)
		}
	}
}

func TestInputs(t *testing.T) {
	t.Parallel()
	digest := func(workspace string, edit func(*plan.Command, *record.Observation)) string {
		c := &plan.Command{Script: "test " + workspace, Env: map[string]string{"HERE": workspace, "RUN": "1", "X": "y"}}
		o := &record.Observation{Mechanism: "seccomp", Inputs: []record.Input{
			{Path: workspace + "/a", Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: [32]byte{1}}},
			{Path: "/tmp/x/made-up-" + workspace[len(workspace)-1:], Use: record.UseAbsent},
		}}
		edit(c, o)
		b := &plan.Scope{Dirs: plan.Dirs{Workspace: workspace, Temp: workspace + ".tmp"}}
		t := &thread{job: &job{base: b}}
		return t.inputs(&asked{class: executor.Class{Name: "host"}, vars: map[string]string{"RUN": ""}, rule: cache.Rule{}}, c, o)
	}
	same := func(*plan.Command, *record.Observation) {}
	base := digest("/w/1", same)
	if len(base) != 64 || digest("/w/2", same) != base {
		t.Error("the digest hangs on the place")
	}
	for name, edit := range map[string]func(*plan.Command, *record.Observation){
		"a run's own number":  func(c *plan.Command, _ *record.Observation) { c.Env["RUN"] = "2" },
		"a network":           func(_ *plan.Command, o *record.Observation) { o.Barred = []record.Bar{{Kind: record.BarNetwork}} },
		"what it made":        func(_ *plan.Command, o *record.Observation) { o.Inputs[1].Path, o.Inputs[1].Own = "/w/1/made", true },
		"the time of a file":  func(_ *plan.Command, o *record.Observation) { o.Inputs[0].MTime = 9 },
		"programs' arguments": func(_ *plan.Command, o *record.Observation) { o.Argv = []byte("x") },
	} {
		if digest("/w/1", edit) != base {
			t.Errorf("%s is of the digest", name)
		}
	}
	for name, edit := range map[string]func(*plan.Command, *record.Observation){
		"the script":      func(c *plan.Command, _ *record.Observation) { c.Script = "other" },
		"the environment": func(c *plan.Command, _ *record.Observation) { c.Env["X"] = "z" },
		"a file":          func(_ *plan.Command, o *record.Observation) { o.Inputs[0].Digest[1] = 1 },
		"a name":          func(_ *plan.Command, o *record.Observation) { o.Inputs[0].Path = "/w/1/b" },
		"how it is used":  func(_ *plan.Command, o *record.Observation) { o.Inputs[0].Use = record.UseListed },
	} {
		if digest("/w/1", edit) == base {
			t.Errorf("%s is not of the digest", name)
		}
	}
	if got := digest("/w/1", func(_ *plan.Command, o *record.Observation) { o.Barred = []record.Bar{{Kind: record.BarLost}} }); got != "" {
		t.Errorf("of what was not seen whole: %q", got)
	}
}

// TestNeverGreenUnmuted draws runs of go test, their retries and what is in quarantine, and
// looks whether a step ends well although a test failed last that is in none.
func TestNeverGreenUnmuted(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 7))
	until := time.Now().Add(time.Hour)
	green, muted, retried := 0, 0, 0
	for round := range 300 {
		retry := rng.IntN(3)
		var said []string
		var mutes []record.Mute
		run := []string{"TestA", "TestB", "TestC", "TestD"}
		quiet := map[string]bool{}
		for _, name := range run {
			if rng.IntN(3) == 0 {
				quiet[name] = true
				r := record.TestResult{Suite: "p", Name: name}
				mutes = append(mutes, record.Mute{Key: r.Key(), Until: until})
			}
		}
		for range retry + 1 {
			var out strings.Builder
			bad := false
			var failed []string
			for _, name := range run {
				status := []string{"pass", "pass", "fail", "skip"}[rng.IntN(4)]
				if rng.IntN(20) == 0 {
					continue // it is not run at all
				}
				fmt.Fprintf(&out, `{"Action":"run","Package":"p","Test":%q}`+"\n", name)
				if rng.IntN(30) == 0 {
					bad = true // it takes its package with it
					failed = append(failed, name)
					break
				}
				if status == "fail" {
					fmt.Fprintf(&out, `{"Action":"output","Package":"p","Test":%q,"Output":"    a_test.go:1: no\n"}`+"\n", name)
					bad, failed = true, append(failed, name)
				}
				fmt.Fprintf(&out, `{"Action":%q,"Package":"p","Test":%q,"Elapsed":0.1}`+"\n", status, name)
			}
			if rng.IntN(15) == 0 { // a package that does not build
				out.WriteString(`{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}` + "\n" + `{"Action":"fail","Package":"q","Elapsed":0}` + "\n")
				bad = true
			}
			fmt.Fprintf(&out, `{"Action":%q,"Package":"p","Elapsed":0.3}`+"\n", map[bool]string{true: "fail", false: "pass"}[bad])
			said = append(said, out.String())
			if len(failed) > 0 {
				run = failed
			}
		}
		b := newBench(t)
		b.exec.said = said
		b.request.Tests = Tests{Blobs: &blobs{}, Retry: retry, Muted: mutes}
		job := plan.Job{ID: "test", Name: "test", Steps: steps("go test -json")}
		job.Steps[0].Data = map[string]any{"script": "go test -json"}
		verdict := b.do(t.Context(), "1", job)
		step := b.fold("1").Job("test").Steps[0].Finished
		if verdict != plan.Success {
			continue
		}
		green++
		if step.Muted {
			muted++
		}
		if len(b.exec.ran) > 1 {
			retried++
		}
		// Of attempts that were not made nothing is known: those that were say it.
		seen := map[string]string{}
		for _, text := range said[:len(b.exec.ran)] {
			for name, status := range goStatuses(text) {
				if status != "skip" || seen[name] == "" {
					seen[name] = status
				}
			}
		}
		for name, status := range seen {
			if status == "fail" && !quiet[name] {
				t.Fatalf("round %d: green, and %s failed last: %+v\n%s", round, name, step, strings.Join(said[:len(b.exec.ran)], "---\n"))
			}
		}
	}
	if green < 50 || muted < 10 || retried < 10 {
		t.Errorf("of 300 rounds %d were green, %d for a quarantine, %d after a retry: that tries nothing", green, muted, retried)
	}
}

// goStatuses is how tests of a go test -json ended, and packages that were not built.
func goStatuses(text string) map[string]string {
	began, ended, failed := map[string]bool{}, map[string]string{}, map[string]bool{}
	for line := range strings.Lines(text) {
		var e struct{ Action, Package, Test string }
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		switch {
		case e.Action == "run":
			began[e.Test] = true
		case e.Test == "":
			failed[e.Package] = e.Action == "fail"
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			ended[e.Test] = e.Action
		}
	}
	for name := range began {
		if ended[name] == "" && failed["p"] {
			ended[name] = "fail"
		}
	}
	if failed["q"] {
		ended["q"] = "fail"
	}
	return ended
}

// TestEndingInWrapper has make run the tests: what it was told counts only if it was seen
// to read that.
func TestEndingInWrapper(t *testing.T) {
	t.Parallel()
	const text = "test:\n\tgo test ./...\n"
	dir := t.TempDir()
	file := filepath.Join(dir, "Makefile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*plan.Command, *executor.Result, *record.Observation)
		want string // of the error, "" for none
	}{
		{"all is well", func(*plan.Command, *executor.Result, *record.Observation) {}, ""},
		{"below", func(c *plan.Command, _ *executor.Result, _ *record.Observation) { c.Dir = dir }, ""},
		{"nobody watched", func(_ *plan.Command, r *executor.Result, _ *record.Observation) { r.Observation = nil }, "nobody watched"},
		{"it held something else", func(_ *plan.Command, _ *executor.Result, o *record.Observation) { o.Inputs[0].Digest[0]++ }, "not seen to be read as it is now"},
		{"it was not read", func(_ *plan.Command, _ *executor.Result, o *record.Observation) { o.Inputs = nil }, "not seen to be read"},
		{"the runner did not run", func(_ *plan.Command, _ *executor.Result, o *record.Observation) { o.Argv = []byte("make\x00test\x00") }, "go was not seen to run"},
		{"elsewhere", func(c *plan.Command, _ *executor.Result, _ *record.Observation) { c.Dir = filepath.Dir(dir) }, "outside the workspace"},
		{"another exit code", func(_ *plan.Command, r *executor.Result, _ *record.Observation) { r.Exit = 1 }, "exit code 1 does not say"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := &record.Observation{
				Mechanism: "seccomp", Argv: []byte("make\x00test\x00go\x00test\x00./...\x00"),
				Inputs: []record.Input{{Path: file, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: sha256.Sum256([]byte(text))}}},
			}
			command := &plan.Command{Script: "make test"}
			w := &stepWork{result: executor.Result{Exit: 2, Observation: o}, tail: &tail{}}
			w.tail.add(0, []byte("make: *** [Makefile:2: test] Error 1"))
			c.edit(command, &w.result, o)
			th := &thread{job: &job{base: &plan.Scope{Dirs: plan.Dirs{Workspace: dir}}}}
			end, err := th.ending(&plan.Act{Command: command}, w)
			if c.want == "" && (err != nil || end.Program != "go") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v; want %q", end, err, c.want)
			}
		})
	}
}

// TestDeclaredReports has a built-in name its reports, twice: their results are kept, once.
func TestDeclaredReports(t *testing.T) {
	t.Parallel()
	dir, kept := t.TempDir(), &blobs{}
	if err := os.WriteFile(filepath.Join(dir, "out.xml"), []byte(`<testsuite name="s"><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></testsuite>`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.request.Tests = Tests{Blobs: kept}
	b.exec.dirs.Workspace = dir
	job := plan.Job{ID: "test", Steps: steps("junit", "junit again")}
	for i := range job.Steps {
		job.Steps[i].Data = map[string]any{"reports": "out.xml absent.xml ../out.xml"}
	}
	if got := b.do(t.Context(), "1", job); got != plan.Success {
		t.Fatal(got)
	}
	tests := b.fold("1").Job("test").Tests
	if len(tests) != 1 || tests[0].Source != "out.xml" || tests[0].Passed != 1 || tests[0].Failed != 1 || kept.all[blob.Digest(tests[0].Results)] == nil {
		t.Errorf("%+v", tests)
	}
}
