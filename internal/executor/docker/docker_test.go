package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/executor/docker/dockertest"
	"github.com/fairlead-dev/fairlead/internal/executor/executortest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// testImage is a static busybox and nothing else.
const testImage = dockertest.Image

// engine is what the tests need once: a client, the image, the agent.
type engine struct {
	client *client.Client
	agent  string
	err    error // why there is none
}

var prepare = sync.OnceValue(func() *engine {
	e := &engine{}
	if e.client, e.err = dockertest.Engine(); e.err != nil {
		return e
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// Whoever cannot build has it built by somebody else.
	if e.agent = os.Getenv("FAIRLEAD_TEST_AGENT"); e.agent != "" {
		return e
	}
	dir, err := os.MkdirTemp("", "fairlead-agent-")
	if e.err = err; err != nil {
		return e
	}
	e.agent = filepath.Join(dir, "agent")
	build := exec.CommandContext(ctx, "go", "build", "-o", e.agent, "./testdata/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.err = fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return e
})

func TestMain(m *testing.M) {
	code := m.Run()
	if e := prepare(); e.agent != "" && os.Getenv("FAIRLEAD_TEST_AGENT") == "" {
		os.RemoveAll(filepath.Dir(e.agent))
	}
	os.Exit(code)
}

// need is the engine, or the end of the test.
func need(t testing.TB) *engine {
	t.Helper()
	e := prepare()
	if e.err != nil {
		t.Skipf("SKIPPED, no containers here: %v", e.err)
	}
	return e
}

func options(t testing.TB) docker.Options {
	return docker.Options{Agent: need(t).agent, Grace: 300 * time.Millisecond}
}

// boxed opens rooms in the test's image whatever the place says.
type boxed struct {
	*docker.Executor
	change func(*plan.Container)
}

func (b boxed) Open(ctx context.Context, s executor.Spec) (executor.Room, error) {
	if s.Place.Container == nil {
		s.Place.Container = &plan.Container{Image: testImage}
	}
	if b.change != nil {
		b.change(s.Place.Container)
	}
	return b.Executor.Open(ctx, s)
}

func open(t testing.TB, o docker.Options) *docker.Executor {
	x := docker.New(o)
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func TestContract(t *testing.T) {
	t.Parallel()
	need(t)
	executortest.RunIn(t, func(t *testing.T) executor.Executor { return boxed{Executor: open(t, options(t))} }, lives)
}
