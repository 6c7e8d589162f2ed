package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/term"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Shell gives a person a shell, or whatever c.Argv is, in a new container like
// that of a command, with the same directories, on this process's own
// terminal. What steps changed of their container is not there; what they
// changed in the directories is. The exit code comes back as the int.
func (x *Executor) Shell(ctx context.Context, dirs plan.Dirs, c *plan.Command) (_ int, err error) {
	if c.Container == nil {
		return 0, errors.New("the command ran in no container")
	}
	if p := x.Fits(&plan.Place{Container: c.Container}); p != nil {
		return 0, errors.New(p.String())
	}
	d, err := x.engine(ctx)
	if err != nil {
		return 0, err
	}
	set, p := settle(c.Container)
	if p != nil {
		return 0, errors.New(p.String())
	}
	r := &room{x: x, d: d, spec: executor.Spec{Run: "shell", Dirs: dirs}}
	img, err := r.image(ctx, c.Container, set, os.Stderr)
	if err != nil {
		return 0, err
	}
	tty := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	set.config.Entrypoint, set.config.Cmd = c.Argv, nil
	set.config.WorkingDir = c.Dir
	set.config.Tty, set.config.OpenStdin, set.config.StdinOnce = tty, true, true
	set.config.AttachStdin, set.config.AttachStdout, set.config.AttachStderr = true, true, true
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		set.config.Env = append(set.config.Env, name+"="+c.Env[name])
	}
	if len(c.Path) > 0 && c.Env["PATH"] == "" {
		set.config.Env = append(set.config.Env, "PATH="+strings.Join(append(slices.Clone(c.Path), pathOf(img.env)), ":"))
	}
	set.host.AutoRemove = true
	opts, err := r.prepare(c.Container, set, img, "")
	if err != nil {
		return 0, err
	}
	for _, dir := range jobDirs(dirs) {
		set.host.Mounts = append(set.host.Mounts, mount.Mount{Type: mount.TypeBind, Source: dir, Target: dir})
	}
	made, err := d.ContainerCreate(ctx, opts)
	if err != nil {
		return 0, fmt.Errorf("create a container of %s: %w", img.name, plain(err))
	}
	defer func() { err = errors.Join(err, d.remove(made.ID)) }()
	at, err := d.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, plain(err)
	}
	defer at.Close()
	ended := d.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := d.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return 0, fmt.Errorf("start a container of %s: %w", img.name, plain(err))
	}
	if tty {
		restore, err := d.terminal(ctx, made.ID)
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	go func() {
		// It ends when the person does; the container does not wait for it.
		_, _ = io.Copy(at.Conn, os.Stdin)
		_ = at.CloseWrite()
	}()
	if tty {
		_, err = io.Copy(os.Stdout, at.Reader)
	} else {
		_, err = stdcopy.StdCopy(os.Stdout, os.Stderr, at.Reader)
	}
	if err != nil {
		return 0, fmt.Errorf("the shell's terminal: %w", err)
	}
	select {
	case end := <-ended.Result:
		return int(end.StatusCode), nil
	case err := <-ended.Error:
		return 0, plain(err)
	}
}

// pathOf is the PATH in an image's environment.
func pathOf(env []string) string {
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			return path
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// sizeEvery is how often the terminal's size is looked at. There is a signal
// for it, but not on every system.
const sizeEvery = 250 * time.Millisecond

// terminal passes our terminal on: what is typed, as it is typed, and its
// size. restore gives it back.
func (d *daemon) terminal(ctx context.Context, id string) (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(sizeEvery)
		defer tick.Stop()
		width, height := 0, 0
		for {
			if w, h, err := term.GetSize(fd); err == nil && (w != width || h != height) {
				width, height = w, h
				// A size that is not taken makes lines break elsewhere, no more.
				_, _ = d.ContainerResize(ctx, id, client.ContainerResizeOptions{Width: uint(w), Height: uint(h)})
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		_ = term.Restore(fd, before)
	}, nil
}
