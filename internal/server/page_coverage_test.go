package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// project is a git repository with two commits on main and one on a branch.
func (sc *scene) project() (dir string, commits [3]string) {
	sc.t.Helper()
	dir = sc.t.TempDir()
	git := func(args ...string) string {
		c := exec.Command("git", args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=ada", "GIT_COMMITTER_EMAIL=ada@example.org",
			"GIT_AUTHOR_DATE=2026-03-01T12:00:00Z", "GIT_COMMITTER_DATE=2026-03-01T12:00:00Z")
		out, err := c.CombinedOutput()
		if err != nil {
			sc.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			sc.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			sc.t.Fatal(err)
		}
	}
	git("init", "-qb", "main", ".")
	write("cart/cart.go", "package cart\n\nfunc Total(n int) int {\n\tif n < 0 {\n\t\treturn 0\n\t}\n\treturn 2 * n\n}\n")
	write("cart/prices.csv", "a,1\n")
	write("store/store.go", "package store\n\nfunc Open() {\n}\n")
	write("fairlead.yaml", "coverage:\n  components:\n    shop: [\"cart/**\"]\n")
	for i, edit := range []func(){
		func() {},
		func() { write("store/store.go", "package store\n\nfunc Open() {\n\tprintln(1)\n}\n") },
		func() {
			git("checkout", "-qb", "faster")
			write("cart/cart.go", "package cart\n\nfunc Total(n int) int {\n\tif n < 0 || n > 9 {\n\t\treturn 0\n\t}\n\treturn 3 * n\n}\n\nfunc Half(n int) int {\n\treturn n / 2\n}\n")
		},
	} {
		edit()
		git("add", "-A")
		git("commit", "-qm", "commit")
		commits[i] = git("rev-parse", "HEAD")
	}
	return dir, commits
}

// keepLines keeps a report of coverage as a step leaves it.
func (sc *scene) keepLines(files map[string][]coverage.Line) *record.CoverageReported {
	sc.t.Helper()
	var r coverage.Report
	for name, lines := range files {
		if err := r.Add(name, lines); err != nil {
			sc.t.Fatal(err)
		}
	}
	var text bytes.Buffer
	if err := coverage.Encode(&text, &r); err != nil {
		sc.t.Fatal(err)
	}
	digest, _, err := sc.blobs.Put(sc.t.Context(), &text)
	if err != nil {
		sc.t.Fatal(err)
	}
	t := r.Totals()
	return &record.CoverageReported{Source: "cover.out", Format: "go-cover", Files: t.Files, Hit: t.Hit, Partial: t.Partial, Miss: t.Miss, Report: string(digest)}
}

// tellCoverage fills the record with runs that reported coverage: two of main and one of
// a branch, which ran but some of the tests. It returns the addresses of the pages about
// it.
func (sc *scene) tellCoverage() map[string]string {
	sc.t.Helper()
	dir, commits := sc.project()
	sc.s.Coverage.Past = func(context.Context, string) workspace.Past { return workspace.Past{Dir: dir} }
	line := coverage.Counted
	p := &plan.Pipeline{Dialect: "github", Name: "CI", File: ".github/workflows/ci.yml", Jobs: []plan.Job{{ID: "unit", Name: "unit"}, {ID: "e2e", Name: "e2e"}}}
	cart := []coverage.Line{line(3, 4, 0, 0), line(4, 4, 1, 2), line(5, 0, 0, 0), line(7, 4, 0, 0)}
	shop := []coverage.Line{line(3, 2, 0, 0)}
	run := ""
	for i, commit := range commits {
		t := sc.tell(noon.Add(-time.Duration(3-i)*time.Hour), p, plan.Change{Event: "push", Ref: "refs/heads/" + []string{"main", "main", "faster"}[i], SHA: commit, Actor: "ada"},
			&record.Origin{Repository: "team/app", Trust: record.Protected, Title: "Half of a cart"}, "")
		t.say("", "", &record.RunStarted{Host: "ci-1"})
		for _, job := range []string{"unit", "e2e"} {
			if job == "e2e" && i == 2 {
				continue
			}
			t.say(job, "", &record.JobStarted{Attempt: 1, Workspace: "/ws/1", Place: "host"})
			t.say(job, "1", &record.StepStarted{Name: "test"})
			files := map[string][]coverage.Line{"example.org/app/store/store.go": shop}
			if job == "unit" {
				files = map[string][]coverage.Line{"example.org/app/cart/cart.go": cart}
				if i == 2 {
					files["example.org/app/cart/cart.go"] = append(cart[:4:4], line(10, 0, 0, 0), line(11, 0, 0, 0))
					files["example.org/app/gen/gen.go"] = shop
				}
			}
			t.say(job, "1", sc.keepLines(files))
			if i == 1 && job == "unit" {
				t.say(job, "1", &record.TestsReported{Source: "junit.xml", Format: "junit", Passed: 3, Salvaged: []string{"line 12: the file ends in the middle of <testcase>"}})
				t.say(job, "1", &record.FindingsReported{Source: "lint.sarif", Unread: "read findings lint.sarif: it is empty"})
			}
			fin := &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success}
			if job == "unit" {
				fin.Watched = &record.Watched{Mechanism: "seccomp", Kept: sc.keepRead("/ws/1/cart/prices.csv", "/ws/1/store/store.go", "/ws/1/cart/cart.go", "/etc/hosts")}
			}
			t.say(job, "1", fin)
			t.say(job, "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
		}
		t.wait(time.Minute).say("", "", &record.RunFinished{Verdict: plan.Success})
		run = t.write()
		// As the server's reader of the record does, run by run.
		if err := sc.s.Coverage.Learn(sc.t.Context()); err != nil {
			sc.t.Fatal(err)
		}
	}
	return map[string]string{
		"coverage": "/coverage/team/app", "coverage-run": "/coverage/team/app?run=" + run, "coverage-dir": "/coverage/team/app?path=cart", "coverage-file": "/coverage/team/app?path=cart/cart.go&run=" + run,
		"coverage-none": "/coverage/team/other", "patch": "/runs/" + run + "/coverage", "patch-base": "/runs/" + run + "/coverage?base=nothing", "reports": "/reports/team/app", "reports-none": "/reports/team/other", "measured": "/runs/" + run,
	}
}

// keepRead keeps that a step read these files.
func (sc *scene) keepRead(paths ...string) string {
	o := &record.Observation{Mechanism: "seccomp"}
	for _, p := range paths {
		o.Inputs = append(o.Inputs, record.Input{Path: p, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular}})
	}
	return sc.keepSeen(o)
}

// TestCoveragePages renders the pages about reports and coverage, and compares what
// they say with the story.
func TestCoveragePages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	says := map[string][]string{
		"coverage":      {"60.0 % of the lines are covered", "shop", "cart/", "store/", "e2e", "cart/prices.csv", "The same as a table"},
		"coverage-run":  {"carried forward", "from <a class=\"in\" href=\"/runs/2\">run 2</a>", "example.org/app/gen/gen.go", "cart/prices.csv", "shop"},
		"coverage-dir":  {"In cart", "cart.go"},
		"coverage-file": {"covered in part: 1 of 2 branches", "not covered", "return n / 2"},
		"coverage-none": {"No run has reported coverage"},
		"patch":         {"25.0 % of the changed lines are covered", "10–11", "covered in part", "not covered", "since main", "Files your tests read but no line covers"},
		"patch-base":    {"There is no git history here"},
		"reports":       {"1 report could not be read", "line 12: the file ends in the middle", "lint.sarif", "it is empty"},
		"reports-none":  {"No reports"},
		"measured":      {"Coverage of the change", "go-cover"},
	}
	for name, path := range sc.tellCoverage() {
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != 200 {
			t.Errorf("%s: %d %s\n%s", path, w.Code, w.Body, sc.log)
			continue
		}
		page := w.Body.String()
		for _, wrong := range unfit(page) {
			t.Errorf("%s: %s", path, wrong)
		}
		for _, want := range says[name] {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		if w = sc.call("GET", apiRoot+path, "", session(sc.admin)); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s of the API: %d %s", path, w.Code, w.Body)
		}
	}
	// Another repository's run is not shown under this one's name.
	if w := sc.call("GET", "/coverage/team/other?run=1", "", session(sc.admin)); w.Code != 404 {
		t.Errorf("a run of another repository: %d", w.Code)
	}
	for _, path := range []string{"/coverage/team/app?path=../../etc/passwd", "/coverage/team/app?path=nowhere", "/runs/99/coverage", "/coverage/team/app?run=99"} {
		if w := sc.call("GET", path, "", session(sc.admin)); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestTakeReport hands in reports: plain, packed, of a run that is named, and what is
// none.
func TestTakeReport(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.account("grace", "team/app", access.Developer)
	token := sc.token(access.TokenSpec{Name: "ci", Verbs: []access.Verb{access.PushRun}})
	commit := strings.Repeat("ab", 20)
	junit := `<testsuite name="s"><testcase classname="T" name="a"/><testcase classname="T" name="b"><failure message="no"/></testcase></testsuite>`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("mode: set\nexample.org/a/a.go:1.1,2.2 1 1\n"))
	_ = z.Close()
	send := func(query, body string, want int) (taken insight.Taken) {
		t.Helper()
		w := sc.call("POST", "/api/v1/reports/team/app?"+query, body, bearer(token))
		if w.Code != want {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		if want == 200 {
			if err := json.Unmarshal(w.Body.Bytes(), &taken); err != nil {
				t.Fatal(err)
			}
		}
		return taken
	}
	first := send("name=junit.xml&branch=main&run=https://ci.example.org/7&commit="+commit, junit, 200)
	second := send("name=cover.out.gz&flag=unit&branch=main&run=https://ci.example.org/7&commit="+commit, zipped.String(), 200)
	if !first.New || second.New || first.Run != second.Run {
		t.Errorf("two reports of one run: %+v, %+v", first, second)
	}
	run, err := sc.store.Run(t.Context(), first.Run)
	if err != nil {
		t.Fatal(err)
	}
	if run.Verdict != plan.Failure || len(run.Jobs[insight.ReportJob].Steps) != 2 || run.Planned.Change.SHA != commit || !run.Planned.Origin.Pushed {
		t.Errorf("the run is %+v", run)
	}
	sum, err := sc.s.Coverage.Of(t.Context(), first.Run)
	if err != nil || len(sum.Flags) != 1 || sum.Flags[0].Name != "unit" || sum.Hit != 1 {
		t.Errorf("coverage %+v, %v", sum, err)
	}
	if acts := sc.events("acted"); len(acts) < 2 || acts[len(acts)-1].Body.(*record.Acted).Verb != string(access.PushRun) {
		t.Errorf("the audit trail has %+v", acts)
	}
	send("name=x&commit="+commit, "no report at all", 422)
	send("name=x&commit=main", junit, 422)
	send("name=x&run=99", junit, 404)
	// What is unreadable of a run that is known is part of it.
	if taken := send("name=x.xml&run="+first.Run, "<nothing/>", 200); taken.Reports[0].Unread == "" {
		t.Errorf("%+v", taken)
	}
	if w := sc.call("POST", "/api/v1/reports/team/other?name=x&commit="+commit, junit, bearer(sc.token(access.TokenSpec{Name: "see", Verbs: []access.Verb{access.SeeRuns}}))); w.Code != 403 && w.Code != 404 {
		t.Errorf("a token without the right: %d", w.Code)
	}
}
