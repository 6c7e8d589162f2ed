package launch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// TestQuarantinedRun has a run fail for a test, and then, when that is in quarantine, not.
func TestQuarantinedRun(t *testing.T) {
	t.Parallel()
	work, data := t.TempDir(), t.TempDir()
	db, err := sqlite.Open(t.Context(), data, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := disk.OpenRelaxed(filepath.Join(data, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	tests := &insight.Tests{Store: db, Runs: db, Ledger: db, Blobs: blobs, Log: func(doing string, err error) { t.Errorf("%s: %v", doing, err) }}
	here := host.New(host.Options{})
	t.Cleanup(func() { _ = here.Close() })
	for name, text := range map[string]string{
		".github/workflows/ci.yml": "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ./go test -json\n",
		"go": `#!/bin/sh
echo '{"Action":"run","Package":"p","Test":"TestA"}'
echo '{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no\n"}'
echo '{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.1}'
echo '{"Action":"fail","Package":"p","Elapsed":0.1}'
exit 1
`,
	} {
		name = filepath.Join(work, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	l := &Launcher{
		Dialects: []dialect.Dialect{github.New(github.Config{})}, Executor: here, Store: db, Results: blobs, Tests: tests,
		Slots: &workspace.Slots{Dir: filepath.Join(data, "slots")}, Data: data, Idle: func() float64 { return 2 }, Version: "test", Grace: time.Second,
	}
	run := func() Result {
		t.Helper()
		p, err := l.Prepare(t.Context(), Order{Dir: work})
		if err != nil || len(p.Chosen) != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
		r, err := l.Run(t.Context(), p, p.Chosen[0], Watcher{Observer: unobserved{}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := run()
	if first.Verdict != plan.Failure {
		t.Fatalf("%+v", first)
	}
	h, err := db.Head(t.Context(), first.Run)
	if err != nil {
		t.Fatal(err)
	}
	rows, total, err := db.Tests(t.Context(), suite.Query{Repository: h.Repository})
	if err != nil || total != 1 || rows[0].Title != "p › TestA" || rows[0].Failures != 1 {
		t.Fatalf("%s: %+v, %v", h.Repository, rows, err)
	}
	if _, err := tests.Decide(t.Context(), rows[0].ID, suite.Decision{To: record.TestQuarantined, By: "ann", Why: "it fails", Owner: "@team"}, nil); err != nil {
		t.Fatal(err)
	}
	second := run()
	if second.Verdict != plan.Success {
		t.Errorf("%+v", second)
	}
	r, err := db.Run(t.Context(), second.Run)
	if err != nil || len(r.Planned.Settings.Muted) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	j := r.Jobs["test"]
	if said := j.Tests; len(said) != 1 || said[0].Failed != 1 || said[0].Muted != 1 {
		t.Errorf("%+v", said)
	}
	if results, err := db.Results(t.Context(), rows[0].ID, "", 10); err != nil || len(results) != 2 || results[0].Outcome != suite.Failed || results[0].Fault == 0 {
		t.Errorf("%+v, %v", results, err)
	}
}
