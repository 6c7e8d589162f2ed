package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// room is what one job has of the daemon: a network, the services, the job's
// own container, and those of commands that have one for themselves.
type room struct {
	x       *Executor
	d       *daemon
	spec    executor.Spec
	network string   // its name; "" when the job has none of its own
	box     *box     // the job's; nil when its steps run elsewhere
	keep    *keeping // nil unless its services are to outlive us

	mu       sync.Mutex
	closed   bool
	services []*service
	boxes    map[*box]struct{} // of commands that run
	run      sync.WaitGroup    // commands with a container of their own
	images   []record.Material
}

var _ executor.Located = (*room)(nil)

// open makes the network, starts the services, and the job's container beside
// them.
func (r *room) open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	place := &r.spec.Place
	if len(place.Services) > 0 {
		r.network = containerName(r.spec.Run, r.spec.Job, "")
		opts := client.NetworkCreateOptions{Driver: "bridge", Labels: r.x.owner.labels(r.spec.Run, r.spec.Job)}
		if _, err := r.d.NetworkCreate(ctx, r.network, opts); err != nil {
			r.network = ""
			return fmt.Errorf("make a network for the job's services: %w", plain(err))
		}
	}
	// The first that fails cancels the other, whose own error says no more.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var served, started error
	wg.Go(func() {
		if served = r.serve(ctx); served != nil {
			cancel(served)
		}
	})
	if place.Container != nil {
		wg.Go(func() {
			if r.box, started = r.start(ctx, place.Container, "", false, nil); started != nil {
				cancel(started)
			}
		})
	}
	wg.Wait()
	if served != nil || started != nil {
		return context.Cause(ctx)
	}
	if r.box != nil {
		r.note(r.box.image)
	}
	return nil
}

// note remembers an image as one of those that the room is made of.
func (r *room) note(i *image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := record.Material{Name: i.name, Digest: i.id}
	if i.digest != "" {
		m.URL = "docker://" + i.digest
	}
	if !slices.Contains(r.images, m) {
		r.images = append(r.images, m)
	}
}

// Dirs are the job's own: they are at the same paths inside.
func (r *room) Dirs() plan.Dirs { return r.spec.Dirs }

// Images are those of the job and its services, and of the commands so far.
func (r *room) Images() []record.Material {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.images)
}

// Altered says what earlier commands changed of the job's container, or may
// have changed.
func (r *room) Altered() string {
	if r.box == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.box.altered
}

// Run runs a command in the job's container, or in one of its own.
func (r *room) Run(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (executor.Result, error) {
	if ctx.Err() != nil {
		return executor.Result{Exit: 128 + int(syscall.SIGTERM), Signal: "SIGTERM", Stopped: true}, nil
	}
	if c.Container != nil {
		return r.runApart(ctx, c, watch, out)
	}
	if r.box == nil {
		return executor.Result{}, errors.New("docker: run: the job has no container")
	}
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return executor.Result{}, errors.New("docker: run: the room is closed")
	}
	res, err := r.box.run(ctx, c, watch, out)
	if err != nil {
		return res, fmt.Errorf("docker: run: %w", err)
	}
	return res, nil
}

// runApart runs a command in a container that is made for it.
func (r *room) runApart(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (executor.Result, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return executor.Result{}, errors.New("docker: run: the room is closed")
	}
	r.run.Add(1)
	r.mu.Unlock()
	defer r.run.Done()

	b, err := r.start(ctx, c.Container, "step", len(c.Argv) == 0, out)
	if ctx.Err() != nil {
		if b != nil {
			err = b.close()
		} else {
			err = nil
		}
		return executor.Result{Exit: 128 + int(syscall.SIGTERM), Signal: "SIGTERM", Stopped: true}, err
	}
	if err != nil {
		return executor.Result{}, fmt.Errorf("docker: %w", err)
	}
	r.mu.Lock()
	if r.boxes == nil {
		r.boxes = map[*box]struct{}{}
	}
	r.boxes[b] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.boxes, b)
		r.mu.Unlock()
	}()
	r.note(b.image)
	own := *c
	if len(own.Argv) == 0 {
		own.Argv = b.command(c.Container)
	}
	res, err := b.run(ctx, &own, watch, out)
	res.LeftOver = 0 // it goes with its container
	if cerr := b.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return res, fmt.Errorf("docker: run: %w", err)
	}
	return res, nil
}

// command is the container's own: that of the plan, and else of the image,
// whose command is not for an entrypoint that replaces its own.
func (b *box) command(c *plan.Container) []string {
	entry, command := b.image.entrypoint, b.image.command
	if given := b.entry; given != nil {
		entry, command = given, nil
	}
	if c.Command != nil {
		command = c.Command
	}
	if len(entry) == 1 && entry[0] == "" {
		entry = nil
	}
	return slices.Concat(entry, command)
}

// run runs a command in the container.
func (b *box) run(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (executor.Result, error) {
	own := *c
	own.Container = nil
	for _, value := range c.Env {
		if err := b.open(value); err != nil {
			return executor.Result{}, fmt.Errorf("lend a file to user %d of the container: %w", b.ready.User[0], err)
		}
	}
	if b.set.host.NetworkMode.IsHost() {
		own.Loopback = nil // it is there
	}
	for _, port := range own.Loopback {
		if err := b.route(port); err != nil {
			return executor.Result{}, fmt.Errorf("a way to port %d of this machine: %w", port, err)
		}
	}
	o := &order{Command: own}
	t := b.table()
	if watch != nil {
		o.Watch = t.sight(watch)
	}
	res, err := b.link.run(ctx, o, out)
	if errors.Is(err, errLost) {
		return b.lost(ctx, res)
	}
	if watch != nil {
		res.Observation = t.translate(res.Observation, watch.Inside)
	}
	b.room.mu.Lock()
	defer b.room.mu.Unlock()
	if before := b.altered; before != "" && res.Observation != nil {
		res.Observation.Barred = append(res.Observation.Barred, record.Bar{Kind: record.BarOutside, Detail: before})
	} else {
		b.altered = alters(res.Observation)
	}
	return res, err
}

// open lets a foreign user write a file that was made for a command's eyes: one
// of those by which it talks to its dialect.
func (b *box) open(value string) error {
	if !b.foreign() || !strings.HasPrefix(value, b.room.spec.Dirs.Temp+"/") {
		return nil
	}
	info, err := os.Lstat(value)
	if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
		return nil // it is no such file
	}
	for dir := filepath.Dir(value); below(dir, []string{b.room.spec.Dirs.Temp}); dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err == nil {
			if err := unlock(dir, fs.FileInfoToDirEntry(info)); err != nil {
				return err
			}
		}
	}
	return unlock(value, fs.FileInfoToDirEntry(info))
}

// lost is the end of a command whose container has ended under it.
func (b *box) lost(ctx context.Context, res executor.Result) (executor.Result, error) {
	if ctx.Err() != nil {
		return executor.Result{Exit: 137, Signal: "SIGKILL", Stopped: true}, nil
	}
	b.room.mu.Lock()
	closed := b.room.closed
	b.room.mu.Unlock()
	if closed {
		return executor.Result{Exit: 137, Signal: "SIGKILL", Stopped: true}, nil
	}
	if m := b.set.host.Memory; m > 0 {
		return res, fmt.Errorf("the container of %s has ended: somebody removed it, or it used more than the %d bytes of memory that it may%s", b.image.name, m, b.said.told())
	}
	return res, fmt.Errorf("the container of %s has ended: somebody removed it, or the daemon stopped%s", b.image.name, b.said.told())
}

// Close ends all that runs, and removes the containers and the network.
func (r *room) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		r.run.Wait()
		return nil
	}
	r.closed = true
	boxes := r.boxes
	services := r.services
	r.mu.Unlock()

	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	do := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for b := range boxes {
		do(func() error { return b.link.end(closeTime) }) // who runs the command removes it
	}
	if r.box != nil {
		do(r.box.close)
	}
	for _, s := range services {
		do(func() error { return r.d.remove(s.id) })
	}
	wg.Wait()
	r.run.Wait()
	if r.network != "" {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		if _, err := r.d.NetworkRemove(ctx, r.network, client.NetworkRemoveOptions{}); err != nil {
			errs = append(errs, fmt.Errorf("remove the job's network: %w", plain(err)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("docker: close room: %w", err)
	}
	return nil
}
