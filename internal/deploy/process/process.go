// Package process deploys services as processes of this machine.
//
// It only speaks with the host's daemon, room supervise, which does the work and goes on
// when nobody asks it to. A machine without one gets one: if nothing answers at the
// socket of the directory, the driver starts the daemon, in a session of its own, and
// leaves it there.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// startTime is how long a daemon may take until it answers.
const startTime = 15 * time.Second

// Options of a driver.
type Options struct {
	// Directory is that of the host for services that name none.
	Directory string
	// Program starts the daemon of a directory; it is given "--dir DIRECTORY". None: a
	// daemon that is missing is an error.
	Program []string
}

// Driver is a [deploy.Driver] and [deploy.Counter].
type Driver struct {
	options Options

	mu    sync.Mutex // one daemon is started at a time
	hosts map[string]deploy.Host
}

// New makes a driver.
func New(o Options) *Driver { return &Driver{options: o, hosts: map[string]deploy.Host{}} }

// Close lets go of connections. What was deployed stays.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hosts {
		h.Client.Close()
	}
	return nil
}

// section is how the service runs as processes.
func section(s *project.Service) (*project.Process, error) {
	if s == nil || s.Process == nil {
		return nil, fmt.Errorf("%w: the service does not say how it runs as a process", deploy.ErrRefused)
	}
	return s.Process, nil
}

// host is that of the target, started if need be.
func (d *Driver) host(ctx context.Context, t *deploy.Target) (deploy.Host, error) {
	p, err := section(t.Spec)
	if err != nil {
		return deploy.Host{}, err
	}
	dir := p.Directory
	if dir == "" {
		dir = d.options.Directory
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return deploy.Host{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h, known := d.hosts[dir]
	if !known {
		h = deploy.Host{Client: supervise.Local(dir)}
		d.hosts[dir] = h
	}
	_, err = h.Client.Status(ctx)
	if !missing(err) {
		return h, err
	}
	if len(d.options.Program) == 0 {
		return h, fmt.Errorf("no host answers in %s: %w; start it with `fairlead host run --dir %s`", dir, err, dir)
	}
	t.Log("start the host in " + dir)
	return h, d.start(ctx, h, dir)
}

// missing reports whether an error says that nobody listens.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// start begins a daemon and waits until it answers.
func (d *Driver) start(ctx context.Context, h deploy.Host, dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make the host's directory: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "host.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(d.options.Program[0], append(d.options.Program[1:len(d.options.Program):len(d.options.Program)], "--dir", dir)...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the host: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		_, err := h.Client.Status(ctx)
		if !missing(err) {
			return err
		}
		select {
		case how := <-ended:
			// Another may have been started at the same time, and this one refused.
			if _, err := h.Client.Status(ctx); err == nil {
				return nil
			}
			return fmt.Errorf("the host did not come up (%v); its log is %s", how, log.Name())
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the host did not come up within %s; its log is %s", startTime, log.Name())
		}
	}
}

// Capabilities says what the driver can do for the target.
func (d *Driver) Capabilities(*deploy.Target) deploy.Capabilities { return deploy.HostCapabilities() }

// Check looks whether the revision could be deployed, and changes nothing.
func (d *Driver) Check(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]plan.Problem, error) {
	p, err := section(r.Spec)
	if err != nil {
		return nil, err
	}
	h, err := d.host(ctx, t)
	if err != nil {
		return nil, err
	}
	all, err := h.Check(ctx, t, r, p, r.Spec.In(t.Environment))
	if err != nil || len(all) > 0 {
		return all, err
	}
	return deploy.InspectArtifact(ctx, t, r, p)
}

// Observe says what there is.
func (d *Driver) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	h, err := d.host(ctx, t)
	if err != nil {
		return nil, err
	}
	return h.Observe(ctx, t)
}

// Ensure brings about that there are n instances of the revision.
func (d *Driver) Ensure(ctx context.Context, t *deploy.Target, r *deploy.Revision, n int) error {
	p, err := section(r.Spec)
	if err != nil {
		return err
	}
	h, err := d.host(ctx, t)
	if err != nil {
		return err
	}
	return h.Ensure(ctx, t, r, p, n)
}

// Shift sets the shares of the requests by revision.
func (d *Driver) Shift(ctx context.Context, t *deploy.Target, shares []deploy.Share) error {
	h, err := d.host(ctx, t)
	if err != nil {
		return err
	}
	return h.Shift(ctx, t, shares)
}

// Remove takes away what there is of a revision.
func (d *Driver) Remove(ctx context.Context, t *deploy.Target, number int) error {
	h, err := d.host(ctx, t)
	if err != nil {
		return err
	}
	return h.Remove(ctx, t, number)
}

// Drift compares the revision as declared with what there is.
func (d *Driver) Drift(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	p, err := section(r.Spec)
	if err != nil {
		return nil, err
	}
	h, err := d.host(ctx, t)
	if err != nil {
		return nil, err
	}
	return h.Drift(ctx, t, r, p, r.Spec.In(t.Environment))
}

// Counts are the requests by revision, since the daemon runs.
func (d *Driver) Counts(ctx context.Context, t *deploy.Target) (*deploy.Traffic, error) {
	h, err := d.host(ctx, t)
	if err != nil {
		return nil, err
	}
	return h.Counts(ctx, t)
}
