// Package gitlab runs .gitlab-ci.yml files from end to end: read, compiled,
// run by the engine on this machine, and looked at as the record has it.
package gitlab

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// here is this machine. A process has one: where there are no control groups it
// looks after all orphans among its descendants.
var here *host.Executor

func TestMain(m *testing.M) {
	here = host.New(host.Options{})
	code := m.Run()
	if err := here.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// place is a repository and a Fairlead of its own.
type place struct {
	testing.TB
	dir      string // the repository
	launcher *launch.Launcher
	store    *sqlite.Store
}

// newPlace commits the files to a new repository.
func newPlace(t testing.TB, files map[string]string) *place {
	t.Helper()
	binary.Need(t, "git", "bash")
	top := t.TempDir()
	p := &place{TB: t, dir: filepath.Join(top, "app")}
	p.write(files)
	p.git("init", "-q", "-b", "main")
	p.git("remote", "add", "origin", "https://gitlab.example/team/app.git")
	p.git("add", "-A", "-f")
	p.git("commit", "-q", "-m", "The first commit\n\nwith a description")
	data := filepath.Join(top, "data")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.store, err = sqlite.Open(t.Context(), data, sqlite.Options{})
	must(err)
	blobs, err := disk.Open(filepath.Join(data, "blobs"))
	must(err)
	outputs, err := disk.OpenRelaxed(filepath.Join(top, "cache", "steps", "blobs"))
	must(err)
	steps, err := cache.Open(cache.Options{Dir: filepath.Join(top, "cache", "steps"), Blobs: outputs})
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(steps.Close(), p.store.Close()); err != nil {
			t.Error(err)
		}
	})
	p.launcher = &launch.Launcher{
		Dialects: []dialect.Dialect{gitlab.New(gitlab.Config{Runtime: gitlab.Runtime{Depot: depot.New(blobs, filepath.Join(data, "index"))}})},
		Executor: here, Store: p.store, Cache: steps, Outputs: outputs,
		Slots: &workspace.Slots{Dir: filepath.Join(top, "cache", "workspaces")},
		Data:  data, Idle: here.Idle, Version: "test", Grace: 10 * time.Second,
	}
	return p
}

func (p *place) write(files map[string]string) {
	p.Helper()
	for name, body := range files {
		file := filepath.Join(p.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(body), 0o644)); err != nil {
			p.Fatal(err)
		}
	}
}

func (p *place) git(args ...string) {
	p.Helper()
	c := exec.Command("git", args...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")
	if out, err := c.CombinedOutput(); err != nil {
		p.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// ended is a run that has ended, with what its jobs printed.
type ended struct {
	*record.Run
	mu   sync.Mutex
	logs map[string]*bytes.Buffer
}

// Event implements engine.Observer.
func (*ended) Event(record.Event) {}

// Line implements engine.Observer.
func (e *ended) Line(job, _ string, _ int64, text []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.logs[job] == nil {
		e.logs[job] = &bytes.Buffer{}
	}
	e.logs[job].Write(append(text[:len(text):len(text)], '\n'))
}

func (e *ended) log(job string) string {
	if b := e.logs[job]; b != nil {
		return b.String()
	}
	return ""
}

// results are the verdicts of the jobs that did something or were skipped:
// "build=success test=skipped".
func (e *ended) results() string {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(e.Jobs)) {
		j := e.Jobs[id]
		if len(j.Children) == 0 {
			list = append(list, id+"="+string(j.Verdict))
		}
	}
	return strings.Join(list, " ")
}

// run runs the pipeline.
func (p *place) run(change ...func(*launch.Order)) *ended {
	p.Helper()
	o := launch.Order{Dir: p.dir, Event: "push"}
	for _, f := range change {
		f(&o)
	}
	prepared, err := p.launcher.Prepare(p.Context(), o)
	if err != nil {
		p.Fatal(err)
	}
	defer prepared.Tree.Close()
	for _, problem := range prepared.Problems {
		p.Errorf("problem: %s", problem)
	}
	if len(prepared.Chosen) != 1 {
		p.Fatalf("%d pipelines are to run", len(prepared.Chosen))
	}
	e := &ended{logs: map[string]*bytes.Buffer{}}
	res, err := p.launcher.Run(p.Context(), prepared, prepared.Chosen[0], launch.Watcher{Observer: e})
	return p.finish(e, res, err)
}

// rerun goes on from a run.
func (p *place) rerun(old *ended, a launch.Again) *ended {
	p.Helper()
	e := &ended{logs: map[string]*bytes.Buffer{}}
	res, err := p.launcher.Rerun(p.Context(), old.ID, a, launch.Watcher{Observer: e})
	return p.finish(e, res, err)
}

func (p *place) finish(e *ended, res launch.Result, err error) *ended {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
	for _, problem := range res.Problems {
		p.Errorf("problem: %s", problem)
	}
	if e.Run, err = p.store.Run(p.Context(), res.Run); err != nil {
		p.Fatal(err)
	}
	return e
}

// want fails the test unless the run went as it should.
func (p *place) want(e *ended, verdict plan.Verdict, results string) {
	p.Helper()
	if e.Verdict == verdict && e.results() == results {
		return
	}
	p.Errorf("the run ended in %s: %s\n%s\nwant %s\n%s", e.Verdict, e.Why, e.results(), verdict, results)
	for id := range e.logs {
		p.Logf("--- %s: %s\n%s", id, e.Jobs[id].Why, e.log(id))
	}
}
