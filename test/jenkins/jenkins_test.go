// Package jenkins_test runs pipelines of Jenkins with the real engine, on this
// host.
package jenkins_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// copying is checkout for tests: a copy of the tree.
type copying struct{}

func (copying) Copy(_ context.Context, s *plan.Scope, dst string) error {
	return os.CopyFS(dst, os.DirFS(s.Root))
}

// push is the change that the tests answer to.
func push() *plan.Change {
	return &plan.Change{
		Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Repository: "octo/demo", Server: "https://example.org", DefaultBranch: "main", Actor: "mona",
	}
}

// memory is a record in memory.
type memory struct {
	mu     sync.Mutex
	events []record.Event
	// stop, when it returns true for an event, refuses it and all that follow:
	// the process is killed there.
	stop   func(e record.Event) bool
	killed bool
}

func (m *memory) Append(_ context.Context, events ...record.Event) ([]record.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		if m.killed || m.stop != nil && m.stop(e) {
			m.killed = true
			return nil, io.ErrClosedPipe
		}
		e.Seq = int64(len(m.events) + 1)
		m.events = append(m.events, e)
	}
	return events, nil
}

func (m *memory) fold() *record.Run {
	r := record.NewRun("1")
	for _, e := range m.events {
		r.Apply(e)
	}
	return r
}

// textLog is a log in memory.
type textLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *textLog) Line(step string, _ time.Time, text []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, step+"| "+string(text))
	return int64(len(l.lines) - 1), nil
}
func (l *textLog) Lines() int64 { l.mu.Lock(); defer l.mu.Unlock(); return int64(len(l.lines)) }
func (l *textLog) Flush() error { return nil }
func (l *textLog) Close() error { return nil }
func (l *textLog) Text(string, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}
func (l *textLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// here is a workspace that stays.
type here struct{ dirs plan.Dirs }

func (h here) Dirs() plan.Dirs { return h.dirs }
func (here) Notes() []string   { return nil }
func (here) Keep() error       { return nil }
func (here) Release() error    { return nil }

type deaf struct{}

func (deaf) Event(record.Event)                 {}
func (deaf) Line(string, string, int64, []byte) {}

// job is a pipeline with the real engine on this host.
type job struct {
	t       *testing.T
	engine  *engine.Engine
	context *plan.Context
	dirs    plan.Dirs
	rec     *memory
	log     *textLog
}

// machine is this host, for all tests: of two executors in one process each
// would take what the other's steps leave behind for its own.
var machine = sync.OnceValue(func() *host.Executor { return host.New(host.Options{}) })

func newJob(t *testing.T, files ...string) *job {
	t.Helper()
	dir := t.TempDir()
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	d := jenkins.New(jenkins.Config{Builtins: builtin.New(builtin.Config{Depot: depot.New(blobs, filepath.Join(dir, "index")), Trees: copying{}})})
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	pipelines, problems, err := d.Compile(t.Context(), tree, push())
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	j := &job{t: t, rec: &memory{}, log: &textLog{}}
	j.engine = &engine.Engine{Dialect: d, Executor: machine(), Idle: func() float64 { return 8 }, Grace: time.Minute}
	j.dirs = plan.Dirs{Workspace: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "temp"), Tools: filepath.Join(dir, "tools")}
	for _, d := range []string{j.dirs.Workspace, j.dirs.Temp, j.dirs.Tools} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(j.dirs.Workspace, files[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "tree")
	if err := os.CopyFS(root, os.DirFS(j.dirs.Workspace)); err != nil {
		t.Fatal(err)
	}
	j.context = &plan.Context{Pipeline: &pipelines[0], Change: push(), Root: root, RunID: "1", Number: 1, Attempt: 1, Secrets: map[string]string{}}
	return j
}

func (j *job) run(ctx context.Context, prior *record.Run) plan.Verdict {
	j.t.Helper()
	req := engine.Request{
		Context: j.context, Record: j.rec, Masker: new(secret.Masker), Observer: deaf{}, Prior: prior,
		Open: func(context.Context, engine.Opening) (engine.Workspace, error) { return here{j.dirs}, nil },
		Log:  func(string) (engine.Log, error) { return j.log, nil },
	}
	for _, v := range j.context.Secrets {
		req.Masker.Add(v)
	}
	if prior == nil {
		req.Planned = &record.RunPlanned{Pipeline: j.context.Pipeline, Change: j.context.Change}
	}
	verdict, _, err := j.engine.Run(ctx, req)
	if err != nil && !j.rec.killed {
		j.t.Fatal(err)
	}
	return verdict
}

// steps is "key=verdict" of every step that ended.
func (j *job) steps() string {
	var out []string
	for _, e := range j.rec.events {
		if f, ok := e.Body.(*record.StepFinished); ok {
			out = append(out, fmt.Sprintf("%s=%s", e.Step, f.Outcome))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestEngine(t *testing.T) {
	t.Parallel()
	j := newJob(t, "Jenkinsfile", `
pipeline {
  agent any
  environment { GREETING = 'hello' }
  stages {
    stage('Build') {
      steps {
        sh 'echo "$GREETING from the shell" && mkdir -p out && echo jar > out/app.jar'
        archiveArtifacts artifacts: 'out/*.jar'
        stash name: 'app', includes: 'out/**'
      }
    }
    stage('Test') {
      parallel {
        stage('unit') { steps { sh 'echo unit' } }
        stage('style') { agent any
          steps { unstash 'app'; sh 'cat out/app.jar' } }
      }
    }
    stage('Value') {
      steps {
        script {
          def v = sh(script: 'echo 42; echo noise >&2', returnStdout: true).trim()
          def s = sh(script: 'exit 3', returnStatus: true)
          echo "v is ${v}, status ${s}"
          if (fileExists('out/app.jar')) { writeFile file: 'note.txt', text: "made ${v}" }
          echo readFile('note.txt')
        }
      }
    }
  }
  post {
    always { sh 'echo bye' }
    success { echo 'all good' }
  }
}
`)
	if v := j.run(t.Context(), nil); v != plan.Success {
		t.Errorf("verdict %s", v)
	}
	log := j.log.text()
	for _, want := range []string{"hello from the shell", "| + cat out/app.jar", "v is 42, status 3", "made 42", "all good", "bye", "Finished: SUCCESS", "1.build.sh| "} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log", want)
		}
	}
	got := j.steps()
	for _, want := range []string{"1=success", "1.build=success", "1.build.sh=success", "1.test=success", "1.value.sh-2=failure", "1.declarative-post-actions.sh=success"} {
		if !strings.Contains(" "+got+" ", " "+want+" ") {
			t.Errorf("no %q in the steps: %s", want, got)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// TestResume kills the run after each of its events in turn: it goes on, ends
// as it would have, and runs no script twice that had ended.
func TestResume(t *testing.T) {
	t.Parallel()
	const text = `
def seen = []
pipeline {
  agent any
  stages {
    stage('one') { steps { script { seen << sh(script: 'echo a >> ran; echo A', returnStdout: true).trim() } } }
    stage('two') { steps { script { seen << sh(script: 'echo b >> ran; echo B', returnStdout: true).trim(); env.LATER = 'later' } } }
    stage('three') { steps { sh 'echo c >> ran'; echo "seen ${seen} ${env.LATER}" } }
  }
}
`
	whole := newJob(t, "Jenkinsfile", text)
	if v := whole.run(t.Context(), nil); v != plan.Success {
		t.Fatalf("verdict %s\n%s", v, whole.log.text())
	}
	for cut := 3; cut < len(whole.rec.events); cut++ {
		j := newJob(t, "Jenkinsfile", text)
		j.rec.stop = func(record.Event) bool { return len(j.rec.events) >= cut }
		j.run(t.Context(), nil)
		j.rec.stop, j.rec.killed = nil, false
		ended := map[string]bool{}
		for _, e := range j.rec.events {
			if _, ok := e.Body.(*record.StepFinished); ok {
				ended[e.Step] = true
			}
		}
		v := j.run(t.Context(), j.rec.fold())
		ran, _ := os.ReadFile(filepath.Join(j.dirs.Workspace, "ran"))
		log := j.log.text()
		if v != plan.Success || !strings.Contains(log, "seen [A, B] later") {
			t.Errorf("cut after %d: %s, ran %q\n%s", cut, v, ran, log)
		}
		for letter, key := range map[string]string{"a": "1.one.sh", "b": "1.two.sh", "c": "1.three.sh"} {
			if n := strings.Count(string(ran), letter); ended[key] && n != 1 {
				t.Errorf("cut after %d: %s had ended and ran %d times", cut, key, n)
			}
		}
	}
}

// TestCancel ends a run while a script runs: post still tidies up.
func TestCancel(t *testing.T) {
	t.Parallel()
	j := newJob(t, "Jenkinsfile", `
pipeline {
  agent any
  stages {
    stage('long') {
      steps { sh 'echo begun > begun; exec sleep 1000' }
      post { aborted { sh 'echo tidied > tidied' } }
    }
    stage('never') { steps { sh 'echo never > never' } }
  }
  post { always { sh 'echo last > last' } }
}
`)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(j.dirs.Workspace, "begun")); err == nil {
				cancel(engine.Cancel("somebody wanted it"))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	v := j.run(ctx, nil)
	if v != plan.Cancelled {
		t.Errorf("verdict %s", v)
	}
	for name, want := range map[string]bool{"tidied": true, "last": true, "never": false} {
		if _, err := os.Stat(filepath.Join(j.dirs.Workspace, name)); (err == nil) != want {
			t.Errorf("%s: there is %v, want %v", name, err == nil, want)
		}
	}
	if t.Failed() {
		t.Log(j.log.text())
	}
}
