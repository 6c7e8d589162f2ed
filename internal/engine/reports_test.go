package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// TestReports reads reports of all kinds that a step has left: one file a test is one
// report, paths are those below the workspace, secrets are masked.
func TestReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"allure-results/1-result.json": `{"uuid":"1","name":"a","fullName":"s.a","status":"passed","labels":[]}`,
		"allure-results/2-result.json": `{"uuid":"2","name":"b","fullName":"s.b","status":"failed","labels":[],"statusDetails":{"message":"no"}}`,
		"junit.xml":                    `<testsuite name="` + dir + `/t/a.js"><testcase name="x" file="` + dir + `/t/a.js"/></testsuite>`,
		"cover.out":                    "mode: set\nexample.org/a/a.go:1.1,1.9 1 1\nexample.org/a/a.go:2.1,2.9 1 0\n",
		"coverage/.resultset.json":     `{"RSpec":{"coverage":{"/w/a.rb":{"lines":[1,0,null]}},"timestamp":1}}`,
		"lint.sarif":                   `{"version":"2.1.0","$schema":"sarif","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"ruleId":"r","level":"error","message":{"text":"hunter2"}}]}]}`,
		"out/x.strange":                `<testsuite name="s"><testcase name="named"/></testsuite>`,
		"out/y.strange":                "nothing",
		"other.txt":                    "nothing",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	masker := new(secret.Masker)
	masker.Add("hunter2")
	kept := &blobs{}
	j := &job{
		req: &Request{Masker: masker, Tests: Tests{Blobs: kept, Reports: []string{"out/*.strange"}}}, plan: &plan.Job{},
		base: &plan.Scope{Dirs: plan.Dirs{Workspace: dir}}, hard: t.Context(), reported: map[string]time.Time{},
	}
	tests := j.trial()
	bodies := j.read(root, j.lately(root, time.Now().Add(-time.Hour)), tests)
	bodies = append(tests.close(), bodies...)
	got := map[string]record.Body{}
	for _, b := range bodies {
		switch b := b.(type) {
		case *record.TestsReported:
			got[b.Source] = b
		case *record.CoverageReported:
			got[b.Source] = b
		case *record.FindingsReported:
			got[b.Source] = b
		}
	}
	if len(got) != 7 || len(bodies) != 7 {
		t.Errorf("%d reports: %v", len(bodies), got)
	}
	if r, ok := got["allure-results/"].(*record.TestsReported); !ok || r.Passed != 1 || r.Failed != 1 || len(r.Bad) != 1 || r.Results == "" {
		t.Errorf("one file a test: %+v", r)
	} else {
		n := 0
		if err := harvest.ReadKept(bytes.NewReader(kept.all[blob.Digest(r.Results)]), func(record.TestResult) error { n++; return nil }); err != nil || n != 2 {
			t.Errorf("%d results are kept, %v", n, err)
		}
	}
	if r, ok := got["junit.xml"].(*record.TestsReported); ok {
		err := harvest.ReadKept(bytes.NewReader(kept.all[blob.Digest(r.Results)]), func(r record.TestResult) error {
			if strings.Contains(r.File+r.Suite, dir) {
				t.Errorf("the test is where it was on this machine: %+v", r)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"cover.out", "coverage/.resultset.json"} {
		r, ok := got[name].(*record.CoverageReported)
		if !ok || r.Hit != 1 || r.Miss != 1 {
			t.Errorf("%s: %+v", name, got[name])
			continue
		}
		if lines, err := coverage.Decode(bytes.NewReader(kept.all[blob.Digest(r.Report)])); err != nil || lines.Totals().Lines() != 2 {
			t.Errorf("the lines of %s: %v", name, err)
		}
	}
	if r, ok := got["lint.sarif"].(*record.FindingsReported); !ok || len(r.Findings) != 1 || r.Findings[0].Message != "***" {
		t.Errorf("findings: %+v", got["lint.sarif"])
	}
	if r, ok := got["out/x.strange"].(*record.TestsReported); !ok || r.Passed != 1 {
		t.Errorf("the one that is named: %+v", got["out/x.strange"])
	}
	if r, ok := got["out/y.strange"].(*record.TestsReported); !ok || r.Unread == "" || !tests.lost {
		t.Errorf("the one that is named and is none: %+v", got["out/y.strange"])
	}
	if again := j.read(root, j.lately(root, time.Now().Add(-time.Hour)), j.trial()); len(again) != 0 {
		t.Errorf("they are read again: %+v", again)
	}
}
