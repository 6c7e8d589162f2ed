package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/front"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// Host moves a target on one host that room supervise keeps, wherever that is: what the
// drivers process and ssh have in common.
type Host struct{ Client *supervise.Client }

// HostCapabilities are those of a target on hosts.
func HostCapabilities() Capabilities {
	return Capabilities{Instances: true, Beside: true, Split: true, Counts: true, Drift: true}
}

// document is the target as the host knows it.
func document(t *Target) supervise.Target {
	return supervise.Target{Name: t.Name(), Repository: t.Repository, Service: t.Service, Environment: t.Environment, Fence: t.Fence}
}

// order says how a revision is to be on a host, with n instances there. In hosts, prefix
// and files of certificates {{service}} and {{environment}} stand for those of the target, so
// that one host can have several environments.
func order(t *Target, r *Revision, p *project.Process, n int) supervise.Order {
	o := supervise.Order{Target: document(t), Instances: n}
	fill := func(text string) string {
		return strings.NewReplacer("{{service}}", t.Service, "{{environment}}", t.Environment).Replace(text)
	}
	var hosts []string
	for _, host := range p.Hosts {
		hosts = append(hosts, fill(host))
	}
	o.Revision = supervise.Revision{Number: r.Number, Release: r.Release.ID, Env: r.Env, Rollout: t.Rollout,
		Run:   supervise.Run{Command: p.Command, Ready: p.Ready, Stop: p.Stop, Drain: p.Drain, User: p.User, Memory: p.Memory, Systemd: p.Systemd},
		Route: supervise.Route{Listen: p.Listen, Hosts: hosts, Prefix: fill(p.Prefix), TLSCert: fill(p.TLSCert), TLSKey: fill(p.TLSKey), Sticky: p.Sticky}}
	if a := r.Release.Artifact; a.Kind != "" && a.Kind != "none" {
		o.Revision.Artifact = supervise.Artifact{Kind: a.Kind, Name: a.Name, Digest: a.Digest, Size: a.Size}
	}
	return o
}

// hostError is what a host said, in the words of this room.
func hostError(err error) error {
	switch {
	case errors.Is(err, supervise.ErrFenced):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case errors.Is(err, supervise.ErrRefused):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// problems are what a host has to say against a revision.
func problems(at plan.Source, all []supervise.Trouble) (list []plan.Problem) {
	for _, t := range all {
		list = append(list, plan.Problem{Source: at, Severity: plan.Error, Rule: t.Rule, Message: t.Message, Hint: t.Hint})
	}
	return list
}

// InspectArtifact reads the artifact of a revision, and says why no host could run it.
func InspectArtifact(ctx context.Context, t *Target, r *Revision, p *project.Process) ([]plan.Problem, error) {
	a := order(t, r, p, 1).Revision.Artifact
	if a.Kind == "" {
		return nil, nil
	}
	if a.Kind != supervise.KindFile && a.Kind != supervise.KindTree || r.Open == nil {
		return problems(r.Spec.Source, []supervise.Trouble{{Rule: "artifact", Message: fmt.Sprintf("an artifact of kind %q cannot be run as processes", a.Kind), Hint: "say the path of a file or a directory: artifact: {path: …}"}}), nil
	}
	in, err := r.Open(ctx)
	if err != nil {
		return problems(r.Spec.Source, []supervise.Trouble{unreadable(err)}), ctx.Err()
	}
	defer in.Close()
	program := ""
	if len(p.Command) > 0 {
		program = p.Command[0]
	}
	_, troubles, err := supervise.Inspect(a, program, in)
	if err != nil { // the reader knows the digest, too
		troubles = append(troubles, unreadable(err))
	}
	return problems(r.Spec.Source, troubles), ctx.Err()
}

func unreadable(err error) supervise.Trouble {
	return supervise.Trouble{Rule: "artifact", Message: "the artifact cannot be read: " + err.Error(), Hint: "make the release anew"}
}

// Check is [Driver].Check for n instances on this host; the artifact itself is looked at by
// [InspectArtifact].
func (h Host) Check(ctx context.Context, t *Target, r *Revision, p *project.Process, n int) ([]plan.Problem, error) {
	all, err := h.Client.Check(ctx, order(t, r, p, n))
	return problems(r.Spec.Source, all), hostError(err)
}

// Observe is [Driver].Observe.
func (h Host) Observe(ctx context.Context, t *Target) (*World, error) {
	seen, err := h.Client.Target(ctx, t.Name())
	if err != nil {
		return nil, hostError(err)
	}
	w := &World{Fence: seen.Fence}
	if seen.Repository != "" && seen.Repository != t.Repository {
		return &World{}, nil // another's
	}
	for _, r := range seen.Revisions {
		one := Seen{Number: r.Number, Release: r.Release, Percent: r.Percent}
		for _, in := range r.Instances {
			one.Instances = append(one.Instances, Instance{Name: in.Name, Address: in.Address, Ready: in.Ready, Failed: in.Failed, Why: in.Why,
				Started: in.Started, Restarts: in.Restarts, Memory: in.Memory})
		}
		w.Revisions = append(w.Revisions, one)
	}
	return w, nil
}

// Ensure is [Driver].Ensure for n instances on this host.
func (h Host) Ensure(ctx context.Context, t *Target, r *Revision, p *project.Process, n int) error {
	o := order(t, r, p, n)
	const tries = 3 // somebody may remove the release between Put and Ensure
	for try := 1; ; try++ {
		err := h.Client.Ensure(ctx, o)
		if !errors.Is(err, supervise.ErrNoRelease) || try == tries {
			return hostError(err)
		}
		if r.Open == nil {
			return fmt.Errorf("%w: the bytes of release %s are not there to be brought to the host", ErrRefused, r.Release.Version)
		}
		t.Log(fmt.Sprintf("bring %s (%d bytes) to the host", o.Revision.Artifact.Digest, o.Revision.Artifact.Size))
		if err := h.put(ctx, o.Revision.Artifact, r); err != nil {
			return hostError(err)
		}
	}
}

func (h Host) put(ctx context.Context, a supervise.Artifact, r *Revision) error {
	in, err := r.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the artifact: %w", err)
	}
	defer in.Close()
	return h.Client.Put(ctx, a, in)
}

// Shift is [Driver].Shift.
func (h Host) Shift(ctx context.Context, t *Target, shares []Share) error {
	list := make([]supervise.Share, len(shares))
	for i, s := range shares {
		list[i] = supervise.Share(s)
	}
	return hostError(h.Client.Shift(ctx, document(t), list))
}

// Remove is [Driver].Remove.
func (h Host) Remove(ctx context.Context, t *Target, number int) error {
	return hostError(h.Client.Remove(ctx, document(t), number))
}

// Drift is [Driver].Drift, with n instances as what is declared for this host.
func (h Host) Drift(ctx context.Context, t *Target, r *Revision, p *project.Process, n int) ([]record.Difference, error) {
	found, err := h.Client.Drift(ctx, order(t, r, p, n))
	if err != nil {
		return nil, hostError(err)
	}
	var all []record.Difference
	for _, d := range found {
		all = append(all, record.Difference{Resource: d.Resource, Field: d.Field, Want: d.Want, Have: d.Have})
	}
	return all, nil
}

// Counts is [Counter].Counts.
func (h Host) Counts(ctx context.Context, t *Target) (*Traffic, error) {
	counted, err := h.Client.Counts(ctx, t.Name())
	if err != nil {
		return nil, hostError(err)
	}
	traffic := &Traffic{Since: counted.Since, Revisions: map[int]Requests{}}
	for number, c := range counted.Revisions {
		traffic.Revisions[number] = FrontRequests(c)
	}
	return traffic, nil
}

// FrontRequests are a front's counts in the words of this room.
func FrontRequests(c front.Count) Requests {
	r := Requests{Count: int64(c.Requests), Failed: int64(c.Errors())}
	for i, n := range c.Latency {
		if n == 0 {
			continue
		}
		from, to := front.Bounds(i)
		b := bucket(from + (to-from)/2)
		for len(r.Latency) <= b {
			r.Latency = append(r.Latency, 0)
		}
		r.Latency[b] += int64(n)
	}
	return r
}

// bucket is the one of [Requests].Latency that counts a duration.
func bucket(d time.Duration) int {
	i := 0
	for Bound(i) <= d && i < maxBucket {
		i++
	}
	return i
}

// maxBucket is that of durations of 15 minutes and more.
const maxBucket = 4 * 23
