package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Patience with services: how long they may take to be healthy, and how often
// they are asked.
const (
	healthTime = 10 * time.Minute
	firstLook  = 20 * time.Millisecond
	lastLook   = 500 * time.Millisecond
)

// How long a service that says nothing of its health has to run before it is said
// to be up: what cannot start ends within that. A person's services have more of
// it, for nobody looks at them again; those of a job are looked for by its steps.
const (
	steadyTime = 250 * time.Millisecond
	steadyKept = time.Second
)

// service is a container that runs beside the job.
type service struct {
	name  string
	id    string
	ports map[string]string // of this machine, by those inside
}

// serve starts the services, and waits until all of them are ready.
func (r *room) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for name, c := range r.spec.Place.Services {
		wg.Go(func() {
			if err := r.startService(ctx, name, &c); err != nil {
				once.Do(func() { first = fmt.Errorf("service %s: %w", name, err); cancel() })
			}
		})
	}
	wg.Wait()
	return first
}

func (r *room) startService(ctx context.Context, name string, c *plan.Container) error {
	set, p := settle(c)
	if p != nil {
		return errors.New(p.String())
	}
	if r.keep != nil {
		s, err := r.takeUp(ctx, name)
		if err != nil {
			return err
		}
		if s != nil {
			return r.await(ctx, s)
		}
	}
	img, err := r.image(ctx, c, set, nil)
	if err != nil {
		return err
	}
	if c.Entrypoint != nil {
		set.config.Entrypoint = c.Entrypoint
	}
	if c.Command != nil {
		set.config.Cmd = c.Command
	}
	set.aliases = slices.Concat([]string{name}, c.Aliases, set.aliases)
	opts, err := r.prepare(c, set, img, name)
	if err != nil {
		return err
	}
	made, err := r.d.ContainerCreate(ctx, opts)
	if err != nil {
		return fmt.Errorf("create a container of %s: %w", img.name, plain(err))
	}
	s := &service{name: name, id: made.ID}
	r.mu.Lock()
	r.services = append(r.services, s)
	r.mu.Unlock()
	r.note(img)
	if _, err := r.d.ContainerStart(ctx, s.id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start a container of %s: %w", img.name, plain(err))
	}
	return r.await(ctx, s)
}

// await waits until a service runs and, if it says how that is asked for, is
// healthy; and finds out the ports that it was given.
func (r *room) await(ctx context.Context, s *service) error {
	limit := time.NewTimer(healthTime)
	defer limit.Stop()
	told, stayed := false, false
	for pause := firstLook; ; pause = min(pause*2, lastLook) {
		if pause == lastLook && !told {
			told = true
			r.tell("waiting for service " + s.name + " to be healthy")
		}
		i, err := r.d.ContainerInspect(ctx, s.id, client.ContainerInspectOptions{})
		if err != nil {
			return plain(err)
		}
		state := i.Container.State
		status := container.NoHealthcheck
		if state != nil && state.Health != nil && state.Health.Status != "" {
			status = state.Health.Status
		}
		switch {
		case state == nil || !state.Running:
			code := 0
			if state != nil {
				code = state.ExitCode
			}
			return fmt.Errorf("it ended with exit code %d%s", code, r.printed(s))
		case status == container.Unhealthy:
			return fmt.Errorf("it is unhealthy%s%s", lastCheck(state.Health), r.printed(s))
		case status == container.NoHealthcheck && !stayed:
			stayed = true
			if err := r.stay(ctx, s); err != nil {
				return err
			}
			continue // and look again: it may have ended meanwhile
		case status == container.NoHealthcheck || status == container.Healthy:
			s.ports = portsOf(i.Container.NetworkSettings)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("it is not healthy after %s%s%s", healthTime, lastCheck(state.Health), r.printed(s))
		case <-time.After(pause):
		}
	}
}

// stay returns when a service has run for a while, or has ended. That it was
// started says only that its first process exists.
func (r *room) stay(ctx context.Context, s *service) error {
	steady := steadyTime
	if r.keep != nil {
		steady = steadyKept
	}
	within, cancel := context.WithTimeout(ctx, steady)
	defer cancel()
	ended := r.d.ContainerWait(within, s.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-ended.Result:
	case <-within.Done():
	case err := <-ended.Error:
		if within.Err() == nil {
			return fmt.Errorf("wait whether it ends: %w", plain(err))
		}
	}
	return ctx.Err()
}

// lastCheck is what the last look at a service's health came to.
func lastCheck(h *container.Health) string {
	if h == nil || len(h.Log) == 0 {
		return ""
	}
	last := h.Log[len(h.Log)-1]
	return fmt.Sprintf(" (the check ended with exit code %d: %s)", last.ExitCode, strings.TrimSpace(last.Output))
}

// printed is the end of what a service printed, for an error.
func (r *room) printed(s *service) string {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	logs, err := r.d.ContainerLogs(ctx, s.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return ""
	}
	defer logs.Close()
	last := &lastLines{}
	_, _ = stdcopy.StdCopy(last, last, io.LimitReader(logs, maxFrame))
	return last.told()
}

// Beside are the services that run beside the job.
func (r *room) Beside() map[string]plan.Beside {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]plan.Beside, len(r.services))
	for _, s := range r.services {
		all[s.name] = plan.Beside{ID: s.id, Network: r.network, Ports: maps.Clone(s.ports)}
	}
	return all
}
