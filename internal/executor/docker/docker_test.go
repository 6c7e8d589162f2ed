package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/executor/executortest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// testImage is a static busybox and nothing else.
const testImage = "fairlead-test/busybox:2"

// engine is what the tests need once: a client, the image, the agent.
type engine struct {
	client *client.Client
	agent  string
	err    error // why there is none
}

var prepare = sync.OnceValue(func() *engine {
	e := &engine{}
	if e.client, e.err = client.New(client.FromEnv); e.err != nil {
		return e
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, e.err = e.client.Info(ctx, client.InfoOptions{}); e.err != nil {
		return e
	}
	if e.err = importBusybox(ctx, e.client); e.err != nil {
		return e
	}
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

// importBusybox makes an image of this machine's static busybox.
func importBusybox(ctx context.Context, c *client.Client) error {
	if _, err := c.ImageInspect(ctx, testImage); err == nil {
		return nil
	}
	var box string
	for _, name := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		if _, err := os.Stat(name); err == nil {
			box = name
		}
	}
	if box == "" {
		return errors.New("there is no busybox to make an image of (package busybox-static)")
	}
	body, err := os.ReadFile(box)
	if err != nil {
		return err
	}
	list, err := exec.CommandContext(ctx, box, "--list").Output()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		err = errors.Join(err, w.WriteHeader(h))
		_, werr := w.Write(body)
		err = errors.Join(err, werr)
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "tmp/", "usr/", "usr/bin/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\nother:x:1234:1234::/tmp:/bin/sh\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nother:x:1234:\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, body)
	for name := range strings.FieldsSeq(string(list)) {
		if name != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, nil)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	r, err := c.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, testImage, client.ImageImportOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
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
