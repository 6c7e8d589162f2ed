package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Machine runs jobs on a host and in containers on it, as their places say:
// a job without a container of its own on the host, with its services beside
// it; any other in its container; and a command that has a container there,
// wherever its job is.
type Machine struct {
	Host, Containers Executor
}

var _ Executor = Machine{}

// Name is that of the host: a Machine is where it is.
func (m Machine) Name() string { return m.Host.Name() }

// bare is a place without containers: what the host is asked about.
func bare(p *plan.Place) *plan.Place {
	if p == nil {
		return nil
	}
	without := *p
	without.Container, without.Services = nil, nil
	return &without
}

func contained(p *plan.Place) bool { return p != nil && (p.Container != nil || len(p.Services) > 0) }

// Fits asks the host whether it is such a machine, and then who has the
// containers, if there are any.
func (m Machine) Fits(place *plan.Place) *plan.Problem {
	if p := m.Host.Fits(bare(place)); p != nil || !contained(place) {
		return p
	}
	return m.Containers.Fits(place)
}

// Class is that of the container, or of the host.
func (m Machine) Class(place *plan.Place) Class {
	if place != nil && place.Container != nil {
		return m.Containers.Class(place)
	}
	return m.Host.Class(bare(place))
}

// Open opens a room in which both kinds of commands can be run.
func (m Machine) Open(ctx context.Context, spec Spec) (Room, error) {
	r := &twofold{m: m, spec: spec}
	if contained(&spec.Place) {
		if p := m.Host.Fits(bare(&spec.Place)); p != nil {
			return nil, errors.New(p.String())
		}
		var err error
		if r.containers, err = m.Containers.Open(ctx, spec); err != nil || spec.Place.Container != nil {
			return r.only(err)
		}
	}
	plain := spec
	plain.Place = *bare(&spec.Place)
	var err error
	if r.host, err = m.Host.Open(ctx, plain); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// only is the room of a job that is in a container itself.
func (r *twofold) only(err error) (Room, error) {
	if err != nil {
		return nil, err
	}
	return r.containers, nil
}

// twofold is a room of the host with containers beside it, which are opened
// when the first command wants one.
type twofold struct {
	m    Machine
	spec Spec
	host Room

	mu         sync.Mutex
	closed     bool
	containers Room // nil until it is wanted
}

var _ Located = (*twofold)(nil)

// Dirs are the same on both sides.
func (r *twofold) Dirs() plan.Dirs { return r.host.Dirs() }

// Run runs the command on the host, or in its container.
func (r *twofold) Run(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (Result, error) {
	if c.Container == nil {
		return r.host.Run(ctx, c, watch, out)
	}
	room, err := r.beside(ctx)
	if err != nil {
		return Result{}, err
	}
	return room.Run(ctx, c, watch, out)
}

func (r *twofold) beside(ctx context.Context) (Room, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("the room is closed")
	}
	if r.containers == nil {
		spec := r.spec
		spec.Place = *bare(&spec.Place)
		room, err := r.m.Containers.Open(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("a container for the command: %w", err)
		}
		r.containers = room
	}
	return r.containers, nil
}

// located is what the containers know of themselves; nil when there are none.
func (r *twofold) located() Located {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, _ := r.containers.(Located)
	return l
}

// Beside are the services of the job.
func (r *twofold) Beside() map[string]plan.Beside {
	if l := r.located(); l != nil {
		return l.Beside()
	}
	return nil
}

// Images are those of the services, and of the commands so far.
func (r *twofold) Images() []record.Material {
	if l := r.located(); l != nil {
		return l.Images()
	}
	return nil
}

// Altered is "": the host is what it is, and each container its command's own.
func (r *twofold) Altered() string { return "" }

// Close closes both.
func (r *twofold) Close() error {
	r.mu.Lock()
	r.closed = true
	containers := r.containers
	r.mu.Unlock()
	var errs []error
	if r.host != nil {
		errs = append(errs, r.host.Close())
	}
	if containers != nil {
		errs = append(errs, containers.Close())
	}
	return errors.Join(errs...)
}

var _ Keeper = Machine{}

// keeper is who has the containers, if services can be kept there.
func (m Machine) keeper() (Keeper, error) {
	if k, ok := m.Containers.(Keeper); ok {
		return k, nil
	}
	return nil, &EngineError{errors.New("services cannot be kept up here")}
}

// Keep keeps services in containers.
func (m Machine) Keep(ctx context.Context, word string, spec Spec) ([]Kept, error) {
	k, err := m.keeper()
	if err != nil {
		return nil, err
	}
	return k.Keep(ctx, word, spec)
}

// Kept are those in containers.
func (m Machine) Kept(ctx context.Context, word string) ([]Kept, error) {
	k, err := m.keeper()
	if err != nil {
		return nil, err
	}
	return k.Kept(ctx, word)
}

// Drop drops those in containers.
func (m Machine) Drop(ctx context.Context, word string) error {
	k, err := m.keeper()
	if err != nil {
		return err
	}
	return k.Drop(ctx, word)
}
