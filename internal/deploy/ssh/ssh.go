// Package ssh deploys services as processes of other machines.
//
// On each of the machines runs a host, room supervise, just as on this one; the driver
// reaches its Unix socket through an SSH connection, and nothing listens there that did not
// before. A machine needs sshd and nothing else: if no host answers, the driver brings this
// very program there, under its digest, and starts it.
//
// What is said of a target is said to its machines one after another. Each has a front of
// its own, which shares requests out among its own instances, so a share holds when it
// holds on every machine; and every machine that a revision is on has the same number of its
// instances.
package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxMachines is how many machines a service may have.
const maxMachines = 100

// Options of a driver.
type Options struct {
	// Program is the file of this program, which is brought to machines that have no
	// host, and Args make it one; "--dir DIRECTORY" is added.
	Program string
	Args    []string
}

// Driver is a [deploy.Driver] and [deploy.Counter].
type Driver struct {
	options Options

	mu       sync.Mutex
	machines map[address]*machine
}

// New makes a driver.
func New(o Options) *Driver { return &Driver{options: o, machines: map[address]*machine{}} }

// Close ends the connections. What was deployed stays.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		m.close()
	}
	clear(d.machines)
	return nil
}

// section is where and how the service runs.
func section(s *project.Service) (*project.SSH, error) {
	if s == nil || s.SSH == nil {
		return nil, fmt.Errorf("%w: the service does not say on which machines it runs", deploy.ErrRefused)
	}
	if n := len(s.SSH.Machines); n == 0 || n > maxMachines {
		return nil, fmt.Errorf("%w: the service names %d machines; it may have 1 to %d", deploy.ErrRefused, n, maxMachines)
	}
	return s.SSH, nil
}

// each is how many instances a machine has, of n on m machines.
func each(n, m int) int { return (n + m - 1) / m }

// machine is the one of an address, whether it is connected or not.
func (d *Driver) machine(s *project.SSH, at string) (*machine, error) {
	a, err := parse(s, at)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[a]
	if m == nil {
		m = &machine{address: a, options: d.options, tunnels: map[string]*tunnel{}}
		d.machines[a] = m
	}
	return m, nil
}

// on does something with the host of each machine, one after another, until one fails.
func (d *Driver) on(ctx context.Context, t *deploy.Target, do func(m *machine, h deploy.Host, p *project.Process) error) error {
	s, err := section(t.Spec)
	if err != nil {
		return err
	}
	for _, at := range s.Machines {
		m, err := d.machine(s, at)
		if err != nil {
			return err
		}
		h, err := m.host(ctx, t.Log)
		if err == nil {
			err = do(m, h, &s.Process)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// Capabilities says what the driver can do for the target.
func (d *Driver) Capabilities(*deploy.Target) deploy.Capabilities { return deploy.HostCapabilities() }

// Check looks whether the revision could be deployed to every machine.
func (d *Driver) Check(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]plan.Problem, error) {
	s, err := section(r.Spec)
	if err != nil {
		return nil, err
	}
	var all []plan.Problem
	for _, at := range s.Machines {
		some, err := d.checkOn(ctx, t, r, s, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		all = append(all, some...)
	}
	if len(all) > 0 {
		return all, nil
	}
	return deploy.InspectArtifact(ctx, t, r, &s.Process)
}

func (d *Driver) checkOn(ctx context.Context, t *deploy.Target, r *deploy.Revision, s *project.SSH, at string) ([]plan.Problem, error) {
	m, err := d.machine(s, at)
	var h deploy.Host
	if err == nil {
		h, err = m.host(ctx, t.Log)
	}
	if trouble := new(unreachable); errors.As(err, &trouble) {
		return []plan.Problem{{Source: r.Spec.Source, Severity: plan.Error, Rule: trouble.rule, Message: at + ": " + trouble.Error(), Hint: trouble.hint}}, nil
	}
	if err != nil {
		return nil, err
	}
	some, err := h.Check(ctx, t, r, &s.Process, each(r.Spec.In(t.Environment), len(s.Machines)))
	for i := range some {
		some[i].Message = at + ": " + some[i].Message
	}
	return some, err
}

// Observe says what there is on all machines together. An instance's address is one of
// this machine, which leads to it.
func (d *Driver) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	all := new(deploy.World)
	percents := map[int][]int{}
	machines := 0
	err := d.on(ctx, t, func(m *machine, h deploy.Host, _ *project.Process) error {
		w, err := h.Observe(ctx, t)
		if err != nil {
			return err
		}
		machines++
		all.Fence = max(all.Fence, w.Fence)
		at, err := m.lead(w)
		if err != nil {
			return err
		}
		for _, r := range w.Revisions {
			percents[r.Number] = append(percents[r.Number], r.Percent)
			one := all.Revision(r.Number)
			if one == nil {
				all.Revisions = append(all.Revisions, deploy.Seen{Number: r.Number, Release: r.Release})
				one = &all.Revisions[len(all.Revisions)-1]
			}
			for _, in := range r.Instances {
				in.Name += "@" + m.address.host
				in.Address = at[in.Address]
				one.Instances = append(one.Instances, in)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range all.Revisions {
		r := &all.Revisions[i]
		for _, p := range percents[r.Number] {
			r.Percent += p
		}
		r.Percent /= machines
	}
	slices.SortFunc(all.Revisions, func(a, b deploy.Seen) int { return cmp.Compare(a.Number, b.Number) })
	return all, nil
}

// Ensure brings about that there are n instances of the revision, as many on each
// machine as on the others, so that there may be a few more.
func (d *Driver) Ensure(ctx context.Context, t *deploy.Target, r *deploy.Revision, n int) error {
	s, err := section(r.Spec)
	if err != nil {
		return err
	}
	of := *t
	of.Spec = r.Spec
	return d.on(ctx, &of, func(_ *machine, h deploy.Host, p *project.Process) error {
		return h.Ensure(ctx, t, r, p, each(n, len(s.Machines)))
	})
}

// Shift sets the shares of the requests by revision, on one machine after another.
func (d *Driver) Shift(ctx context.Context, t *deploy.Target, shares []deploy.Share) error {
	return d.on(ctx, t, func(_ *machine, h deploy.Host, _ *project.Process) error { return h.Shift(ctx, t, shares) })
}

// Remove takes away what there is of a revision.
func (d *Driver) Remove(ctx context.Context, t *deploy.Target, number int) error {
	return d.on(ctx, t, func(_ *machine, h deploy.Host, _ *project.Process) error { return h.Remove(ctx, t, number) })
}

// Drift compares the revision as declared with what there is on every machine.
func (d *Driver) Drift(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	s, err := section(r.Spec)
	if err != nil {
		return nil, err
	}
	of := *t
	of.Spec = r.Spec
	var all []record.Difference
	err = d.on(ctx, &of, func(m *machine, h deploy.Host, p *project.Process) error {
		some, err := h.Drift(ctx, t, r, p, each(r.Spec.In(t.Environment), len(s.Machines)))
		for i := range some {
			some[i].Resource += "@" + m.address.host
		}
		all = append(all, some...)
		return err
	})
	return all, err
}

// Counts are the requests by revision on all machines, since the last of their hosts was
// started.
func (d *Driver) Counts(ctx context.Context, t *deploy.Target) (*deploy.Traffic, error) {
	all := &deploy.Traffic{Revisions: map[int]deploy.Requests{}}
	err := d.on(ctx, t, func(_ *machine, h deploy.Host, _ *project.Process) error {
		one, err := h.Counts(ctx, t)
		if err != nil {
			return err
		}
		if one.Since.After(all.Since) {
			all.Since = one.Since
		}
		for number, r := range one.Revisions {
			sum := all.Revisions[number]
			sum.Count += r.Count
			sum.Failed += r.Failed
			if n := len(r.Latency) - len(sum.Latency); n > 0 {
				sum.Latency = append(sum.Latency, make([]int64, n)...)
			}
			for i, n := range r.Latency {
				sum.Latency[i] += n
			}
			all.Revisions[number] = sum
		}
		return nil
	})
	return all, err
}
