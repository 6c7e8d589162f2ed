package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/fixture"
	"github.com/fairlead-dev/fairlead/internal/fixture/sqlite"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// declaredDatabase is a database whose command leaves a mark when it is run.
func declaredDatabase(mark string) string {
	return fmt.Sprintf("databases:\n  - name: app\n    kind: sqlite\n    env: APP_DB\n    command: echo \"$PATH\" >> %s\n    inputs: [fairlead.yaml]\n", mark)
}

// TestForkGetsNoDatabases: what a change from outside declares is neither made nor run
// until somebody has approved the run, whatever files count.
func TestForkGetsNoDatabases(t *testing.T) {
	t.Parallel()
	const flow = "name: PR\non: pull_request\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo \"db=${APP_DB:+given}.\" > $OUT\n"
	for _, forks := range []string{ForksApprove, ForksRun} {
		t.Run("forks "+forks, func(t *testing.T) {
			t.Parallel()
			out, mark, theirs := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
			s := set(t, map[string]string{".github/workflows/pr.yml": strings.ReplaceAll(flow, "$OUT", out), "fairlead.yaml": declaredDatabase(mark)})
			pool := &fixture.Pool{Dir: filepath.Join(s.data, "databases"), Kinds: []fixture.Kind{sqlite.Kind{}}}
			t.Cleanup(func() { _ = pool.Close() })
			s.desk.Databases = &Databases{Pool: pool, Getenv: func(string) string { return "" }}
			s.change(func(r *Repository) { r.Forks = forks })
			sha := s.fork("17", map[string]string{"fairlead.yaml": declaredDatabase(theirs)})
			b := s.settle(s.deliver(s.pull("17", sha, true)))
			if len(b.Runs) != 1 {
				t.Fatalf("%+v", b)
			}
			told := false
			for _, p := range b.Problems {
				told = told || p.Rule == "databases" && p.Severity == plan.Warning && p.Line == 2
			}
			s.serve(s.desk)
			if forks == ForksApprove {
				if told {
					t.Errorf("it is refused before anybody was asked: %v", b.Problems)
				}
				if err := s.desk.Approve(t.Context(), ada, b.Runs[0]); err != nil {
					t.Fatal(err)
				}
			} else if !told {
				t.Errorf("nobody is told: %v", b.Problems)
			}
			if r := s.ended(b.Runs[0]); r.Verdict != plan.Success {
				t.Fatalf("%s %s", r.Verdict, r.Why)
			}
			said, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			_, ran := os.Stat(theirs)
			if approved := forks == ForksApprove; approved != (string(said) == "db=given.\n") || approved != (ran == nil) {
				t.Errorf("%q, the command of the change: %v", said, ran)
			}
			if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the command of the base: %v", err)
			}
			if forks == ForksRun {
				log := logText(t, s.desk.LogPath(b.Runs[0], "job"))
				if !strings.Contains(log, unlent) {
					t.Errorf("the job does not say why: %s", log)
				}
			}
		})
	}
}

func logText(t *testing.T, name string) string {
	t.Helper()
	r, err := logs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	if err := r.Read(0, func(l logs.Line) bool {
		fmt.Fprintf(&b, "%s\n", l.Text)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestErrandIsLent: a job of another machine's run gets its databases and its seed here.
func TestErrandIsLent(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI, "fairlead.yaml": declaredDatabase(filepath.Join(t.TempDir(), "mark"))})
	pool := &fixture.Pool{Dir: filepath.Join(s.data, "databases"), Kinds: []fixture.Kind{sqlite.Kind{}}}
	t.Cleanup(func() { _ = pool.Close() })
	l := s.desk.Launcher
	l.Databases = &Databases{Pool: pool, Getenv: func(string) string { return "" }}
	p, err := l.Prepare(t.Context(), Order{Dir: s.work})
	if err != nil || len(p.Chosen) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	defer p.Tree.Close()
	for _, lend := range []bool{true, false} {
		out := filepath.Join(t.TempDir(), "out")
		job := p.Chosen[0].Jobs[0]
		job.Steps = []plan.Step{{Key: "1", Name: "say", Source: job.Steps[0].Source, Data: job.Steps[0].Data, Run: &plan.Script{
			Text: plan.Expr{Text: fmt.Sprintf("echo \"${APP_DB:+given} $(test -e \"$APP_DB\" && echo there) $FAIRLEAD_SEED\" > %s", out), Source: job.Steps[0].Run.Text.Source}}}}
		c := &plan.Context{Pipeline: p.Chosen[0], Change: p.ChangeFor(p.Chosen[0]), RunID: "9", Attempt: 1}
		log, err := logs.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		tree, err := workspace.Open(t.Context(), s.work)
		if err != nil {
			t.Fatal(err)
		}
		ended, err := l.Do(t.Context(), t.Context(), Errand{
			Assignment: engine.Assignment{Run: "9", Job: job.ID, Try: 1, Context: c, Plan: &job, Scope: &plan.Scope{}, Seed: "77", Lend: lend},
			Tree:       tree, Record: discarded{}, Log: jobLog{log, ""},
		})
		if err != nil || ended.Verdict != plan.Success {
			t.Fatalf("%+v, %v", ended, err)
		}
		got, err := os.ReadFile(out)
		if want := map[bool]string{true: "given there 77\n", false: "  77\n"}[lend]; err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(s.data, "databases", "sqlite", "files", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// discarded is a record that nobody reads.
type discarded struct{ engine.Record }

func (discarded) Append(_ context.Context, events ...record.Event) ([]record.Event, error) {
	return events, nil
}

// TestServiceEnv: the variables of services.
func TestServiceEnv(t *testing.T) {
	t.Parallel()
	got := ServiceEnv([]executor.Kept{
		{Name: "my-db.1", Ports: map[string]string{"5432": "3001", "80": "3002", "53/udp": "3003"}},
		{Name: "7z", Ports: map[string]string{"9/sctp": "4000"}},
		{Name: "none"},
	})
	want := map[string]string{
		"MY_DB_1_HOST": "127.0.0.1", "MY_DB_1_PORT": "3002", "MY_DB_1_PORT_80": "3002", "MY_DB_1_PORT_5432": "3001", "MY_DB_1_PORT_53_UDP": "3003",
		"_7Z_HOST": "127.0.0.1", "_7Z_PORT": "4000", "_7Z_PORT_9_SCTP": "4000",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestServices: which services are found, and what is said of the others.
func TestServices(t *testing.T) {
	t.Parallel()
	const head = "on: push\njobs:\n"
	const pg = "  %s:\n    runs-on: ubuntu-latest\n    %s\n    services: {db: {image: \"postgres:%s\"}}\n    steps: [{run: \"true\"}]\n"
	s := set(t, map[string]string{
		".github/workflows/same.yml":  head + fmt.Sprintf(pg, "a", "strategy: {matrix: {v: [1, 2]}}", "16") + fmt.Sprintf(pg, "b", "", "16"),
		".github/workflows/other.yml": head + fmt.Sprintf(pg, "c", "", "15") + fmt.Sprintf(pg, "later", "needs: c\n    strategy: {matrix: {v: \"${{ fromJSON(needs.c.outputs.v) }}\"}}", "15"),
		".github/workflows/wrong.yml": head + "  x: {}\n",
	})
	l := s.desk.Launcher
	for _, tt := range []struct{ pipeline, job, image, note, fails string }{
		{"", "", "", "", "two services are named db"},
		{"same.yml", "", "postgres:16", "", ""},
		{"", "a", "postgres:16", "wrong.yml has errors", ""},
		{"", "c", "postgres:15", "", ""},
		{"other.yml", "", "postgres:15", "job later becomes is known only in a run", ""},
		{"", "later", "", "", "no pipeline here has a job"},
		{"", "nosuch", "", "", "no pipeline here has a job"},
		{"nosuch", "", "", "", "there is no workflow"},
	} {
		got, problems, err := l.Services(t.Context(), ServiceOrder{Dir: s.work, Pipeline: tt.pipeline, Job: tt.job})
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if err != nil || len(problems) > 0 || got.All["db"].Image != tt.image || !strings.Contains(strings.Join(got.Notes, "\n"), tt.note) {
			t.Errorf("%+v: %+v, %v, %v", tt, got, problems, err)
		}
	}
	if _, problems, err := l.Services(t.Context(), ServiceOrder{Dir: s.work, Pipeline: "wrong.yml"}); err != nil || !plan.Errors(problems) {
		t.Errorf("%v, %v", problems, err)
	}
}
