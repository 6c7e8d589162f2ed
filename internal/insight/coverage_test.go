package insight

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// scene is a record, and a git repository whose runs it is of.
type scene struct {
	testing.TB
	store    *sqlite.Store
	blobs    *disk.Store
	coverage *Coverage
	reports  *Reports
	dir      string
	at       time.Time
}

func newScene(t testing.TB) *scene {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := disk.OpenRelaxed(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{TB: t, store: db, blobs: blobs, dir: filepath.Join(dir, "tree"), at: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
	s.coverage = &Coverage{Store: db, Runs: db, Blobs: blobs, Log: func(doing string, err error) { t.Errorf("%s: %v", doing, err) }}
	s.reports = &Reports{Store: db, Runs: db, Blobs: blobs, Version: "test"}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-qb", "main", ".")
	return s
}

func (s *scene) git(args ...string) string {
	s.Helper()
	c := exec.Command("git", args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := c.CombinedOutput()
	if err != nil {
		s.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits files: pairs of a name and a text.
func (s *scene) commit(files ...string) string {
	s.Helper()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(s.dir, files[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(files[i+1]), 0o644)); err != nil {
			s.Fatal(err)
		}
	}
	s.git("add", "-A")
	s.git("commit", "-qm", "commit")
	return s.git("rev-parse", "HEAD")
}

// lcov is a report of files: a name, and for each line from 1 on "1" for hit, "0" for
// missed, "." for no code.
func lcov(files ...string) string {
	var b strings.Builder
	for i := 0; i < len(files); i += 2 {
		b.WriteString("TN:\nSF:" + files[i] + "\n")
		for n, c := range files[i+1] {
			if c != '.' {
				b.WriteString("DA:" + strconv.Itoa(n+1) + "," + string(c) + "\n")
			}
		}
		b.WriteString("end_of_record\n")
	}
	return b.String()
}

// handed is a report that is handed in.
func handed(name, text string) ReportFileOf {
	return ReportFileOf{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// run hands in a report of a flag, as one run, and returns it.
func (s *scene) run(branch, commit, flag string, files ...ReportFileOf) string {
	s.Helper()
	taken, err := s.reports.Take(s.Context(), Handed{Repository: "team/app", Commit: commit, Branch: branch, DefaultBranch: "main", Flag: flag, Root: s.dir}, files)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.coverage.Learn(s.Context()); err != nil {
		s.Fatal(err)
	}
	return taken.Run
}

func (s *scene) of(run string) *Covered {
	s.Helper()
	sum, err := s.coverage.Of(s.Context(), run)
	if err != nil {
		s.Fatal(err)
	}
	return sum
}

// TestCoverage follows a project: two parts of its tests, of which one is left out
// later, a branch, components, paths of another machine.
func TestCoverage(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.commit("a.go", "1\n2\n3\n4\n", "lib/b.go", "1\n2\n", "fairlead.yaml", "coverage:\n  components:\n    library: [lib]\n")
	first := s.run("main", one, "unit", handed("u.info", lcov("/home/ci/app/a.go", "1100", "/home/ci/app/vendor/c.go", "1")))
	s.run("main", one, "e2e", handed("e.info", lcov("/home/ci/app/lib/b.go", "11")))

	sum := s.of(first)
	if sum.Lines() != 4 || sum.Hit != 2 || sum.Strange != 1 || !sum.Matched || !sum.Base {
		t.Errorf("the first run: %+v", sum)
	}
	second, err := s.coverage.Latest(t.Context(), store.RunFilter{Repository: "team/app"})
	if err != nil {
		t.Fatal(err)
	}
	// What the first run measured is carried forward to the second, which measured the rest.
	if second.Lines() != 6 || second.Hit != 4 || second.Carried != 4 || len(second.Flags) != 2 || second.Flags[1].From != first {
		t.Errorf("the second run: %+v", second)
	}
	if len(second.Components) != 1 || second.Components[0].Hit != 2 {
		t.Errorf("components: %+v", second.Components)
	}

	// On a branch a line is put before the others, and one is changed.
	s.git("checkout", "-qb", "more")
	two := s.commit("a.go", "0\n1\n2\nthree\n4\n5\n")
	third := s.of(s.run("more", two, "unit", handed("u.info", lcov("src/../a.go", "111010"))))
	if third.Base || third.Carried != 2 || third.Flags[0].Name != "e2e" || third.Flags[0].From == "" {
		t.Errorf("the branch: %+v", third)
	}
	p, err := s.coverage.Patch(t.Context(), third.Run, "")
	if err != nil {
		t.Fatal(err)
	}
	if p.Base != one || p.Patch.Lines() != 3 || p.Patch.Hit != 1 || len(p.Files) != 1 {
		t.Errorf("the patch: base %s, %+v", p.Base, p.Patch)
	}
	if open := p.Patch.Files[0].Open; len(open) != 2 || open[0] != (coverage.Range{From: 4, To: 4}) {
		t.Errorf("what is open of it: %+v", open)
	}
	if p.Change == nil || p.Change.After.Lines() != 8 {
		t.Errorf("against the base: %+v", p.Change)
	}
	if _, err := s.coverage.Patch(t.Context(), third.Run, "nowhere"); !errors.Is(err, ErrNoHistory) {
		t.Errorf("a base that is none: %v", err)
	}
	whole, err := s.coverage.Patch(t.Context(), first, "")
	if err != nil || whole.Patch.Lines() != 4 {
		t.Errorf("the first commit of all: %+v, %v", whole, err)
	}

	points, err := s.coverage.Trend(t.Context(), "team/app", 10)
	if err != nil || len(points) != 2 || points[0].Run != first || points[1].Hit != 4 || len(points[1].Parts) != 2 {
		t.Errorf("the trend: %+v, %v", points, err)
	}
	lines, err := s.coverage.Lines(t.Context(), third)
	if err != nil {
		t.Fatal(err)
	}
	if nodes := Within(lines, ""); len(nodes) != 2 || !nodes[0].Dir || nodes[0].Path != "lib" || !nodes[0].Carried || nodes[1].Path != "a.go" {
		t.Errorf("the tree: %+v", nodes)
	}
	src, err := s.coverage.Source(t.Context(), third, lines, "a.go")
	if err != nil || len(src.Lines) != 6 || src.Lines[3].State != coverage.Miss || src.Lines[3].Text != "three" {
		t.Errorf("the source: %+v, %v", src, err)
	}
	if _, err := s.coverage.Source(t.Context(), third, lines, "../a.go"); err == nil {
		t.Error("a file outside of the tree is shown")
	}
}

// TestCoverageAgain sums up again when more is reported, and after a blob is lost.
func TestCoverageAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	commit := s.commit("a.go", "1\n2\n")
	h := Handed{Repository: "team/app", Commit: commit, Branch: "main", Run: "https://ci.example.org/7", Root: s.dir}
	take := func(flag, lines string) *Covered {
		h.Flag = flag
		taken, err := s.reports.Take(t.Context(), h, []ReportFileOf{handed("x.info", lcov("a.go", lines))})
		if err != nil {
			t.Fatal(err)
		}
		return s.of(taken.Run)
	}
	if sum := take("a", "10"); sum.Hit != 1 || len(sum.Flags) != 1 {
		t.Errorf("at first: %+v", sum)
	}
	if sum := take("b", "01"); sum.Hit != 2 || len(sum.Flags) != 2 {
		t.Errorf("then: %+v", sum)
	}
	if points, err := s.coverage.Trend(t.Context(), "team/app", 10); err != nil || len(points) != 1 || points[0].Hit != 2 {
		t.Errorf("the trend: %+v, %v", points, err)
	}
	if _, err := s.coverage.Of(t.Context(), "99"); !errors.Is(err, ErrNoCoverage) && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a run that there is not: %v", err)
	}
}

// TestUnseen finds what tests read and no line covers.
func TestUnseen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	commit := s.commit("a.go", "1\n", "idle.go", "1\n", "data.csv", "1\n", "other.csv", "1\n")
	o := &record.Observation{Mechanism: "seccomp"}
	for _, name := range []string{"/ws/a.go", "/ws/idle.go", "/ws/data.csv", "/ws/built.o", "/etc/hosts"} {
		o.Inputs = append(o.Inputs, record.Input{Path: name, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular}})
	}
	o.Inputs = append(o.Inputs, record.Input{Path: "/ws/other.csv", Use: record.UseExists, FileState: record.FileState{Kind: record.Regular}})
	var text bytes.Buffer
	if err := harvest.KeepObservation(&text, o); err != nil {
		t.Fatal(err)
	}
	digest, _, err := s.blobs.Put(t.Context(), &text)
	if err != nil {
		t.Fatal(err)
	}
	var lines coverage.Report
	if err := errors.Join(lines.Add("a.go", []coverage.Line{coverage.Counted(1, 1, 0, 0)}), lines.Add("idle.go", []coverage.Line{coverage.Counted(1, 0, 0, 0)})); err != nil {
		t.Fatal(err)
	}
	report, err := keep(t.Context(), s.blobs, &lines)
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := s.store.NewRun(t.Context(), "team/app", "ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	event := func(job, step string, b record.Body) record.Event {
		return record.Event{Run: id, Job: job, Step: step, Body: b}
	}
	_, err = s.store.Append(t.Context(),
		event("", "", &record.RunPlanned{Number: 1, Attempt: 1, Root: s.dir, Change: &plan.Change{SHA: commit, Repository: "team/app", Ref: "refs/heads/main"}, Pipeline: &plan.Pipeline{File: "ci.yml"}}),
		event("test", "", &record.JobStarted{Attempt: 1, Workspace: "/ws", Place: "host"}),
		event("test", "1", &record.StepStarted{Name: "test"}),
		event("test", "1", &record.CoverageReported{Source: "x", Report: report}),
		event("test", "1", &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success, Watched: &record.Watched{Kept: string(digest)}}),
		event("", "", &record.RunFinished{Verdict: plan.Success}))
	if err != nil {
		t.Fatal(err)
	}
	sum := s.of(id)
	if !sum.Watched || strings.Join(sum.Unseen.Data, " ") != "data.csv" || strings.Join(sum.Unseen.Idle, " ") != "idle.go" {
		t.Errorf("%+v", sum.Unseen)
	}
}

// TestTake hands in reports of each kind, and what is none.
func TestTake(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	commit := strings.Repeat("ab", 20)
	h := Handed{Repository: "team/app", Commit: commit, Branch: "main"}
	take := func(h Handed, files ...ReportFileOf) (Taken, error) { return s.reports.Take(t.Context(), h, files) }
	junit := `<testsuite name="s"><testcase classname="T" name="a"/><testcase classname="T" name="b"><failure message="no"/></testcase></testsuite>`
	taken, err := take(h,
		handed("junit.xml", junit), handed("cut.xml", junit[:80]), handed("x.info", lcov("a.go", "10")),
		handed("k6.json", `{"metrics":{"http_reqs":{"count":10,"rate":2},"http_req_duration":{"avg":1}}}`),
		handed("lint.sarif", `{"version":"2.1.0","$schema":"sarif","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"ruleId":"r","level":"error","message":{"text":"m"}}]}]}`),
		handed("no.txt", "nothing"), ReportFileOf{Name: "gone", Open: func() (io.ReadCloser, error) { return nil, os.ErrNotExist }})
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for _, r := range taken.Reports {
		kinds += string(r.Kind) + " "
		if (r.Unread != "") != (r.Source == "no.txt" || r.Source == "gone") {
			t.Errorf("%+v", r)
		}
	}
	if kinds != "tests tests coverage load findings tests tests " || taken.Read() != 5 || !taken.New {
		t.Errorf("%s%+v", kinds, taken)
	}
	run, err := s.store.Run(t.Context(), taken.Run)
	if err != nil {
		t.Fatal(err)
	}
	j := run.Jobs[ReportJob]
	if run.Verdict != plan.Failure || j.Result != plan.Failure || len(j.Tests) != 4 || j.Tests[0].Commit != commit || len(j.Tests[1].Salvaged) == 0 {
		t.Errorf("the run: %+v, its job: %+v", run, j)
	}
	health, err := HealthOf(t.Context(), s.store, store.RunFilter{Repository: "team/app"}, time.Now(), 24)
	if err != nil || health.Read != 4 || health.Salvaged != 1 || health.Unread != 2 || len(health.Bad) != 3 {
		t.Errorf("health: %+v, %v", health, err)
	}
	if none, err := HealthOf(t.Context(), s.store, store.RunFilter{Repository: "team/other"}, time.Now(), 24); err != nil || len(none.Hours) != 24 || none.Read != 0 {
		t.Errorf("health of another: %+v, %v", none, err)
	}

	if taken, err := take(h, handed("no.txt", "nothing")); err != nil || taken.Run != "" || taken.Read() != 0 {
		t.Errorf("nothing that can be read: %+v, %v", taken, err)
	}
	h.Run = taken.Run
	again, err := take(h, handed("ok.xml", strings.ReplaceAll(junit, "failure", "system-out")))
	if err != nil || again.New || again.Run != taken.Run {
		t.Errorf("added: %+v, %v", again, err)
	}
	if run, err = s.store.Run(t.Context(), taken.Run); err != nil || run.Verdict != plan.Failure || len(run.Jobs[ReportJob].Steps) != 2 || run.Jobs[ReportJob].Steps[1].Finished.Outcome != plan.Success {
		t.Errorf("after that: %+v, %v", run, err)
	}
	var bad *BadHand
	for name, h := range map[string]Handed{
		"no commit":     {Repository: "team/app", Commit: "main"},
		"no repository": {Commit: commit},
		"too long":      {Repository: "team/app", Commit: commit, Flag: strings.Repeat("x", 1000)},
	} {
		if _, err := take(h, handed("x", junit)); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := take(Handed{Repository: "team/app", Run: "99"}, handed("x", junit)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a run that there is not: %v", err)
	}
	if _, err := take(Handed{Repository: "team/other", Run: taken.Run}, handed("x", junit)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another repository's run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.reports.Take(ctx, Handed{Repository: "team/app", Commit: commit}, []ReportFileOf{handed("x", junit)}); err == nil {
		t.Error("it was taken although nobody waits")
	}
}

// BenchmarkCoverage sums up a run with a million lines in two thousand files, and
// answers what its page asks when that was done.
func BenchmarkCoverage(b *testing.B) {
	s := newScene(b)
	var files []string
	line := strings.Repeat("1110", 125)
	for i := range 2000 {
		name := "pkg" + strconv.Itoa(i%50) + "/f" + strconv.Itoa(i) + ".go"
		files = append(files, name, line)
	}
	var tree []string
	for i := 0; i < len(files); i += 2 {
		tree = append(tree, files[i], "x\n")
	}
	commit := s.commit(tree...)
	taken, err := s.reports.Take(b.Context(), Handed{Repository: "team/app", Commit: commit, Branch: "main", Root: s.dir}, []ReportFileOf{handed("x.info", lcov(files...))})
	if err != nil {
		b.Fatal(err)
	}
	h, err := s.store.Head(b.Context(), taken.Run)
	if err != nil {
		b.Fatal(err)
	}
	uploads, err := s.coverage.uploads(b.Context(), taken.Run)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sum", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.coverage.sum(b.Context(), &h, uploads); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			sum := s.of(taken.Run)
			lines, err := s.coverage.Lines(b.Context(), sum)
			if err != nil {
				b.Fatal(err)
			}
			if len(Within(lines, "")) != 50 {
				b.Fatal("the tree is not whole")
			}
		}
	})
}
