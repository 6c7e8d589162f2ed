package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Labels of what is kept for a person's work. It has no labelOwner: no process
// owns it, and reap, which looks for that, never sees it.
const (
	labelKeep    = "dev.fairlead.keep"    // digest of the word
	labelService = "dev.fairlead.service" // its name
	labelMeaning = "dev.fairlead.meaning" // digest of what it was made from
	labelImage   = "dev.fairlead.image"   // as the user wrote it
)

var _ executor.Keeper = (*Executor)(nil)

// keeping is what a room is for whose services are kept.
type keeping struct{ word string } // digest

func keepingOf(word string) *keeping {
	sum := sha256.Sum256([]byte("fairlead keep\x00" + word))
	return &keeping{hex.EncodeToString(sum[:10])}
}

// name is that of a service's container, or with "" of the network: the same
// each time, so that the engine itself refuses a second one.
func (k *keeping) name(service string) string {
	name := "fairlead-env-" + k.word
	if service == "" {
		return name
	}
	sum := sha256.Sum256([]byte(service)) // tells names apart that differ in what is cleaned away
	return cleanName(name+"-"+service) + "-" + hex.EncodeToString(sum[:4])
}

func (k *keeping) filter() client.Filters {
	return client.Filters{}.Add("label", labelKeep+"="+k.word)
}

// meaningOf is a digest of what a service is made from; where that is written is
// no part of it.
func meaningOf(c plan.Container) (string, error) {
	c.Source, c.Username.Source, c.Password.Source = plan.Source{}, plan.Source{}, plan.Source{}
	c.Private = slices.Clone(c.Private)
	for i := range c.Private {
		c.Private[i].Value.Source = plan.Source{}
	}
	text, err := json.Marshal(c)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:10]), err
}

// Keep implements [executor.Keeper]. A service that was left half made, or has
// stopped, is started.
func (x *Executor) Keep(ctx context.Context, word string, spec executor.Spec) ([]executor.Kept, error) {
	spec.Place.Container = nil
	d, err := x.engine(ctx)
	if err != nil {
		return nil, fmt.Errorf("docker: keep services: %w", &executor.EngineError{Err: err})
	}
	if p := x.Fits(&spec.Place); p != nil {
		return nil, fmt.Errorf("docker: keep services: %s", p)
	}
	k := keepingOf(word)
	r := &room{x: x, d: d, spec: spec, keep: k, network: k.name("")}
	if err := r.keepNetwork(ctx); err != nil {
		return nil, fmt.Errorf("docker: keep services: make their network: %w", plain(err))
	}
	if err := r.serve(ctx); err != nil {
		return nil, fmt.Errorf("docker: keep services: %w", err)
	}
	kept, err := d.kept(ctx, k, spec.Place.Services)
	if err != nil {
		return nil, fmt.Errorf("docker: keep services: %w", err)
	}
	return kept, nil
}

// keepNetwork makes the network of the services, if it is not there.
func (r *room) keepNetwork(ctx context.Context) error {
	there, err := r.d.NetworkList(ctx, client.NetworkListOptions{Filters: r.keep.filter()})
	if err != nil || len(there.Items) > 0 {
		return err
	}
	_, err = r.d.NetworkCreate(ctx, r.network, client.NetworkCreateOptions{Driver: "bridge", Labels: map[string]string{labelKeep: r.keep.word}})
	return err
}

// takeUp finds the container of a service that is kept, and starts it if it does
// not run; nil when there is none.
func (r *room) takeUp(ctx context.Context, name string) (*service, error) {
	list, err := r.d.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.keep.filter().Add("label", labelService+"="+name)})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	c := list.Items[0]
	if c.State != container.StateRunning {
		if _, err := r.d.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
			return nil, fmt.Errorf("start it again: %w", plain(err))
		}
	}
	return &service{name: name, id: c.ID}, nil
}

// atHome publishes the ports of a service on the loopback address: those that it
// is said to have, and those that its image names.
func atHome(set *settings, img *image) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if set.host.PortBindings == nil {
		set.host.PortBindings = network.PortMap{}
	}
	for port, bound := range set.host.PortBindings {
		for i := range bound {
			bound[i].HostIP = loopback
		}
		set.host.PortBindings[port] = bound
	}
	if set.config.ExposedPorts == nil {
		set.config.ExposedPorts = network.PortSet{}
	}
	for _, text := range img.exposed {
		if port, err := network.ParsePort(text); err == nil {
			set.config.ExposedPorts[port] = struct{}{}
		}
	}
	for port := range set.config.ExposedPorts {
		if len(set.host.PortBindings[port]) == 0 {
			set.host.PortBindings[port] = []network.PortBinding{{HostIP: loopback}}
		}
	}
	set.host.PublishAllPorts = false
}

// label marks a container as a service that is kept.
func (k *keeping) label(labels map[string]string, c *plan.Container, service, image string) error {
	meaning, err := meaningOf(*c)
	if err != nil {
		return err
	}
	delete(labels, labelOwner)
	maps.Copy(labels, map[string]string{labelKeep: k.word, labelService: service, labelMeaning: meaning, labelImage: image})
	return nil
}

// Kept implements [executor.Keeper].
func (x *Executor) Kept(ctx context.Context, word string) ([]executor.Kept, error) {
	d, err := x.engine(ctx)
	if err != nil {
		return nil, fmt.Errorf("docker: list services: %w", &executor.EngineError{Err: err})
	}
	kept, err := d.kept(ctx, keepingOf(word), nil)
	if err != nil {
		return nil, fmt.Errorf("docker: list services: %w", err)
	}
	return kept, nil
}

// kept are the services that are kept; those that are declared otherwise are
// outdated.
func (d *daemon) kept(ctx context.Context, k *keeping, declared map[string]plan.Container) ([]executor.Kept, error) {
	list, err := d.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: k.filter()})
	if err != nil {
		return nil, plain(err)
	}
	all := []executor.Kept{}
	for _, c := range list.Items {
		i, err := d.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if err != nil {
			return nil, plain(err)
		}
		s := executor.Kept{Name: c.Labels[labelService], Image: c.Labels[labelImage], State: stateOf(i.Container.State), Ports: portsOf(i.Container.NetworkSettings)}
		if now, ok := declared[s.Name]; ok {
			meaning, err := meaningOf(now)
			if err != nil {
				return nil, err
			}
			s.Outdated = meaning != c.Labels[labelMeaning]
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b executor.Kept) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// stateOf is a container's state in one word.
func stateOf(s *container.State) string {
	switch {
	case s == nil || !s.Running:
		return "stopped"
	case s.Health == nil || s.Health.Status == "" || s.Health.Status == container.NoHealthcheck:
		return "running"
	}
	return string(s.Health.Status)
}

// portsOf are the ports of this machine, by those inside.
func portsOf(ns *container.NetworkSettings) map[string]string {
	ports := map[string]string{}
	if ns == nil {
		return ports
	}
	for port, bound := range ns.Ports {
		if len(bound) > 0 {
			ports[strings.TrimSuffix(port.String(), "/tcp")] = bound[0].HostPort
		}
	}
	return ports
}

// Drop implements [executor.Keeper].
func (x *Executor) Drop(ctx context.Context, word string) error {
	d, err := x.engine(ctx)
	if err != nil {
		return fmt.Errorf("docker: drop services: %w", &executor.EngineError{Err: err})
	}
	k := keepingOf(word)
	list, err := d.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: k.filter()})
	if err != nil {
		return fmt.Errorf("docker: drop services: %w", plain(err))
	}
	errs := make([]error, len(list.Items))
	var wg sync.WaitGroup
	for i, c := range list.Items {
		wg.Go(func() { errs[i] = d.remove(c.ID) })
	}
	wg.Wait()
	networks, err := d.NetworkList(ctx, client.NetworkListOptions{Filters: k.filter()})
	errs = append(errs, plain(err))
	for _, n := range networks.Items {
		_, err := d.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		errs = append(errs, plain(err))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("docker: drop services: %w", err)
	}
	return nil
}
