package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/front"
)

// Order is how a revision of a target is to be from now on. Of the target only what
// names it is read, and the fence; of the revision everything but Instances and Percent.
type Order struct {
	Target    Target   `json:"target"`
	Revision  Revision `json:"revision"`
	Instances int      `json:"instances"`
}

// claimTarget is the target in a state that is being made, for somebody with a fence.
func claimTarget(next *state, who *Target) (*Target, error) {
	if who.Fence < 1 {
		return nil, fmt.Errorf("%w: whoever changes something has a fence above 0", ErrRefused)
	}
	t := next.target(who.Name)
	if t == nil {
		if len(next.Targets) >= maxTargets {
			next.Targets = slices.DeleteFunc(next.Targets, func(t Target) bool { return len(t.Revisions) == 0 })
		}
		if len(next.Targets) >= maxTargets {
			return nil, fmt.Errorf("%w: there are %d targets on this host; remove one", ErrRefused, maxTargets)
		}
		next.Targets = append(next.Targets, Target{Name: who.Name, Repository: who.Repository, Service: who.Service, Environment: who.Environment})
		t = &next.Targets[len(next.Targets)-1]
	}
	if t.Repository != who.Repository || t.Service != who.Service || t.Environment != who.Environment {
		return nil, fmt.Errorf("%w: %s is the service %s of %s in %s here already; name the service or the environment otherwise", ErrRefused, t.Name, t.Service, t.Repository, t.Environment)
	}
	if who.Fence < t.Fence {
		return nil, fmt.Errorf("%w: the fence is %d, and that of the last change %d", ErrFenced, who.Fence, t.Fence)
	}
	t.Fence = who.Fence
	return t, nil
}

// Ensure brings about that a revision has so many instances, and returns when they were
// started, and those beyond have ended. The error is [ErrNoRelease] if the
// release's bytes are not here.
func (h *Host) Ensure(ctx context.Context, o Order) error {
	if err := refusal(check(&o.Target, &o.Revision, o.Instances)); err != nil {
		return err
	}
	if o.Instances > 0 {
		if err := h.have(o.Revision.Artifact); err != nil {
			return err
		}
		if err := h.mayRun(&o.Revision); err != nil {
			return err
		}
	}
	if err := h.order(&o); err != nil {
		return err
	}
	return h.await(ctx, func() bool {
		t := h.state.target(o.Target.Name)
		r := t.revision(o.Revision.Number)
		if r == nil || r.Instances != o.Instances {
			return true // somebody has changed it since
		}
		print, there := h.print(r), 0
		for _, in := range h.of(t.Name) {
			if in.number != r.Number {
				continue
			}
			if in.index >= o.Instances || in.print != print || in.seen.Leaving {
				return false
			}
			select {
			case <-in.begun:
				there++
			default:
				return false
			}
		}
		return there == o.Instances
	})
}

// have makes sure that a release is here as it was brought.
func (h *Host) have(a Artifact) error {
	changed, err := h.releases.differences(a, false)
	if err != nil || len(changed) == 0 {
		return err
	}
	remove, err := h.releases.discard(a.dir())
	if err == nil {
		err = remove()
	}
	if err != nil {
		return fmt.Errorf("remove a release that was changed: %w", err)
	}
	return fmt.Errorf("%w: %s", ErrNoRelease, a.Digest)
}

// mayRun refuses what could not be started on this host.
func (h *Host) mayRun(r *Revision) error {
	if r.Run.User != "" {
		if _, err := credential(r.Run.User); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if r.Run.Systemd && !systemdRuns() {
		return fmt.Errorf("%w: systemd does not run on this host; leave out systemd: true", ErrRefused)
	}
	return nil
}

// order writes an order into the document and begins to bring it about.
func (h *Host) order(o *Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen {
		return ErrEnding
	}
	next := h.state.clone()
	t, err := claimTarget(next, &o.Target)
	if err != nil {
		return err
	}
	r := o.Revision
	r.Instances, r.Percent = o.Instances, 0
	was := t.revision(r.Number)
	if was != nil {
		if was.Release != r.Release {
			return fmt.Errorf("%w: revision %d of %s is release %.19s, and not %.19s; a revision does not change", ErrRefused, r.Number, t.Name, was.Release, r.Release)
		}
		r.Percent = was.Percent
		if r.Rollout == "" || was.Rollout != "" {
			r.Rollout = was.Rollout
		}
		*was = r
	} else {
		if len(t.Revisions) >= maxRevisions {
			return fmt.Errorf("%w: %s has %d revisions; remove old ones", ErrRefused, t.Name, maxRevisions)
		}
		t.Revisions = append(t.Revisions, r)
	}
	if err := h.routable(next, t, &r); err != nil {
		return err
	}
	if o.Instances > 0 && !h.releases.use(r.Artifact) {
		return fmt.Errorf("%w: %s", ErrNoRelease, r.Artifact.Digest)
	}
	if !reflect.DeepEqual(next.target(t.Name), h.state.target(t.Name)) {
		if err := h.save(next); err != nil {
			return fmt.Errorf("write the state: %w", err)
		}
	}
	h.reconcile(h.state.target(o.Target.Name))
	return nil
}

// routable refuses a revision whose route could not be led if it had all requests, and
// opens its gate. Whoever calls it has mu.
func (h *Host) routable(next *state, t *Target, r *Revision) error {
	if err := h.tables(forced(next, t.Name, r.Number))[r.Route.listen()].Check(); err != nil {
		return fmt.Errorf("%w: its requests cannot be led to it: %w", ErrRefused, err)
	}
	if r.Route.TLSCert != "" {
		for _, name := range []string{r.Route.TLSCert, r.Route.TLSKey} {
			f, err := os.Open(name)
			if err != nil {
				return fmt.Errorf("%w: the certificate cannot be read: %w", ErrRefused, err)
			}
			f.Close()
		}
	}
	_, err := h.gate(r.Route.listen(), r.Route.TLSCert != "")
	return err
}

// Shift sets the shares of a target's revisions; those that are not named get nothing.
// It returns when the next request goes by them.
func (h *Host) Shift(_ context.Context, who Target, shares []Share) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen {
		return ErrEnding
	}
	next := h.state.clone()
	t, err := claimTarget(next, &who)
	if err != nil {
		return err
	}
	sum, named := 0, map[int]int{}
	for _, s := range shares {
		if _, twice := named[s.Number]; twice || s.Percent < 0 || s.Percent > 100 {
			return fmt.Errorf("%w: %d %% for revision %d", ErrRefused, s.Percent, s.Number)
		}
		named[s.Number] = s.Percent
		sum += s.Percent
		r := t.revision(s.Number)
		switch {
		case r == nil:
			return fmt.Errorf("%w: there is no revision %d of %s", ErrRefused, s.Number, t.Name)
		case s.Percent > 0 && r.Percent == 0 && !slices.ContainsFunc(h.of(t.Name), func(in *instance) bool { return in.number == s.Number && in.seen.Ready }):
			return fmt.Errorf("%w: revision %d of %s", ErrNotReady, s.Number, t.Name)
		}
	}
	if sum != 100 && sum != 0 {
		return fmt.Errorf("%w: the shares are %d %% together", ErrRefused, sum)
	}
	for i := range t.Revisions {
		t.Revisions[i].Percent = named[t.Revisions[i].Number]
	}
	if !reflect.DeepEqual(next.target(t.Name), h.state.target(t.Name)) {
		if err := h.save(next); err != nil {
			return fmt.Errorf("write the state: %w", err)
		}
	}
	h.route()
	h.changed("")
	return nil
}

// Remove takes a revision away and returns when nothing of it is left.
func (h *Host) Remove(ctx context.Context, who Target, number int) error {
	if !plainName(who.Name) {
		return fmt.Errorf("%w: %.80q cannot be the name of a target", ErrRefused, who.Name)
	}
	if err := h.dismiss(&who, number); err != nil {
		return err
	}
	err := h.await(ctx, func() bool {
		return !slices.ContainsFunc(h.of(who.Name), func(in *instance) bool { return in.number == number })
	})
	if err != nil {
		return err
	}
	return h.sweep()
}

// sweep removes the releases that nothing uses any more.
func (h *Host) sweep() error {
	h.mu.Lock()
	var remove []func() error
	var err error
	if !h.frozen {
		remove, err = h.releases.sweep(h.used())
	}
	h.mu.Unlock()
	for _, gone := range remove {
		err = errors.Join(err, gone())
	}
	return err
}

// dismiss takes a revision out of the document.
func (h *Host) dismiss(who *Target, number int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen {
		return ErrEnding
	}
	next := h.state.clone()
	t, err := claimTarget(next, who)
	if err != nil {
		return err
	}
	t.Revisions = slices.DeleteFunc(t.Revisions, func(r Revision) bool { return r.Number == number })
	if !reflect.DeepEqual(next.target(t.Name), h.state.target(t.Name)) {
		if err := h.save(next); err != nil {
			return fmt.Errorf("write the state: %w", err)
		}
	}
	h.reconcile(h.state.target(who.Name))
	return nil
}

// Check looks whether a revision could be run here, and changes nothing.
func (h *Host) Check(_ context.Context, o Order) []Trouble {
	all := check(&o.Target, &o.Revision, o.Instances)
	if len(all) > 0 {
		return all
	}
	if err := h.mayRun(&o.Revision); err != nil {
		all = append(all, Trouble{Rule: "host", Message: told(err), Hint: "change the service in fairlead.yaml, or the host"})
	}
	// A tar is on the disk once, while it is read.
	if changed, err := h.releases.differences(o.Revision.Artifact, false); err == nil && len(changed) > 0 {
		if t := room(h.releases.dir, o.Revision.Artifact.Size); t != nil {
			all = append(all, *t)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.state.clone()
	if o.Target.Fence < 1 {
		o.Target.Fence = 1
		if t := next.target(o.Target.Name); t != nil {
			o.Target.Fence = max(t.Fence, 1)
		}
	}
	t, err := claimTarget(next, &o.Target)
	if err != nil {
		return append(all, Trouble{Rule: "target", Message: told(err), Hint: "deploy it from the repository that it belongs to, or name it otherwise"})
	}
	if r := t.revision(o.Revision.Number); r == nil {
		t.Revisions = append(t.Revisions, o.Revision)
	}
	if err := h.tables(forced(next, t.Name, o.Revision.Number))[o.Revision.Route.listen()].Check(); err != nil {
		all = append(all, Trouble{Rule: "route", Message: "its requests cannot be led to it: " + err.Error(), Hint: "give services hosts or paths of their own, or another address"})
	}
	return append(all, h.listenable(&o.Revision.Route)...)
}

// forced is a state in which a revision has all requests of its target.
func forced(s *state, target string, number int) *state {
	c := s.clone()
	t := c.target(target)
	for i := range t.Revisions {
		t.Revisions[i].Percent = 0
		if t.Revisions[i].Number == number {
			t.Revisions[i].Percent = 100
		}
	}
	return c
}

// listenable looks whether the front could take requests as a route says. Whoever calls
// it has mu.
func (h *Host) listenable(r *Route) (all []Trouble) {
	for _, name := range []string{r.TLSCert, r.TLSKey} {
		if name == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			all = append(all, Trouble{Rule: "tls", Message: "the certificate cannot be read: " + err.Error(), Hint: "name files that the host may read"})
			continue
		}
		f.Close()
	}
	if g := h.gates[r.listen()]; g != nil && g.open {
		if g.secure != (r.TLSCert != "") {
			all = append(all, Trouble{Rule: "listen", Message: r.listen() + " is served with TLS for one target and without for another", Hint: "use two addresses"})
		}
		return all
	}
	l, err := net.Listen("tcp", r.listen())
	if err != nil {
		return append(all, Trouble{Rule: "listen", Message: fmt.Sprintf("the front cannot listen at %s: %v", r.listen(), err), Hint: "end what listens there, or say another address with listen"})
	}
	l.Close()
	return all
}

// told is an error for people, without the words that programs know it by.
func told(err error) string {
	s := err.Error()
	for _, known := range []error{ErrRefused, ErrFenced} {
		s = strings.TrimPrefix(s, known.Error()+": ")
	}
	return s
}

// Put unpacks the bytes of a release, if they are not here.
func (h *Host) Put(ctx context.Context, a Artifact, from io.Reader) error {
	return h.releases.put(ctx, a, from)
}

// Target says what there is of a target: nothing of one that was never heard of.
func (h *Host) Target(name string) Seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.see(name)
}

func (h *Host) see(name string) Seen {
	seen := Seen{Name: name}
	at := map[int]int{}
	add := func(r SeenRevision) *SeenRevision {
		i, ok := at[r.Number]
		if !ok {
			i = len(seen.Revisions)
			at[r.Number] = i
			seen.Revisions = append(seen.Revisions, r)
		}
		return &seen.Revisions[i]
	}
	if t := h.state.target(name); t != nil {
		seen.Repository, seen.Service, seen.Environment, seen.Fence = t.Repository, t.Service, t.Environment, t.Fence
		for _, r := range t.Revisions {
			add(SeenRevision{Number: r.Number, Release: r.Release, Percent: r.Percent, Want: r.Instances})
		}
	}
	for _, in := range h.of(name) {
		one := in.seen
		one.Address = in.address()
		if one.Leaving {
			one.Why = "its requests end, and then it does"
		}
		if in.id.PID != 0 {
			one.Memory = memoryOf(in.id.PID)
		}
		r := add(SeenRevision{Number: in.number, Release: in.rev.Release})
		r.Instances = append(r.Instances, one)
	}
	return seen
}

// Status says what there is.
func (h *Host) Status() Status {
	h.mu.Lock()
	s := Status{Directory: h.dir, Version: h.options.Version, PID: os.Getpid(), Since: h.born, Limits: h.limits, Damage: h.damage}
	for _, address := range slices.Sorted(maps.Keys(h.gates)) {
		if h.gates[address].open {
			s.Listening = append(s.Listening, address)
		}
	}
	for i := range h.state.Targets {
		if t := h.see(h.state.Targets[i].Name); len(t.Revisions) > 0 {
			s.Targets = append(s.Targets, t)
		}
	}
	h.mu.Unlock()
	stored := h.releases.stored()
	for _, dir := range slices.Sorted(maps.Keys(stored)) {
		s.Releases = append(s.Releases, stored[dir])
	}
	return s
}

// Counts are the requests of a target since this process is the host.
func (h *Host) Counts(name string) Traffic {
	t := Traffic{Since: h.born, Revisions: map[int]front.Count{}}
	for _, f := range h.fronts() {
		for _, s := range f.Counts().Services {
			if s.Service != name {
				continue
			}
			for _, r := range s.Releases {
				var number int
				if _, err := fmt.Sscanf(r.Release, "r%d", &number); err != nil {
					continue
				}
				t.Revisions[number] = sum(t.Revisions[number], r.Count)
			}
		}
	}
	return t
}

// sum are two counts together.
func sum(a, b front.Count) front.Count {
	a.Requests += b.Requests
	for i := range b.Status {
		a.Status[i] += b.Status[i]
	}
	a.Broken += b.Broken
	a.Cancelled += b.Cancelled
	a.InFlight += b.InFlight
	if n := len(b.Latency) - len(a.Latency); n > 0 {
		a.Latency = append(slices.Clone(a.Latency), make(front.Histogram, n)...)
	}
	for i, n := range b.Latency {
		a.Latency[i] += n
	}
	return a
}

// Drift compares what there is with what was ordered, every byte of the release
// included, and changes nothing.
func (h *Host) Drift(_ context.Context, o Order) ([]Difference, error) {
	all, err := h.releases.differences(o.Revision.Artifact, true)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.state.target(o.Target.Name)
	name := o.Target.revisionName(o.Revision.Number)
	tell := func(field, want, have string) {
		if want != have {
			all = append(all, Difference{Resource: name, Field: field, Want: want, Have: have})
		}
	}
	var r *Revision
	if t != nil {
		r = t.revision(o.Revision.Number)
	}
	if r == nil {
		tell("", fmt.Sprintf("%d instances of %.19s", o.Instances, o.Revision.Release), "")
		return all, nil
	}
	tell("release", o.Revision.Release, r.Release)
	tell("instances", fmt.Sprint(o.Instances), fmt.Sprint(r.Instances))
	tell("run", asText(o.Revision.Run), asText(r.Run))
	tell("route", asText(o.Revision.Route), asText(r.Route))
	for _, name := range slices.Sorted(maps.Keys(merged(o.Revision.Env, r.Env))) {
		want, wanted := o.Revision.Env[name]
		have, had := r.Env[name]
		if wanted != had || want != have { // values may be secret, and are not told
			tell("env."+name, presence(wanted, "as declared"), presence(had, "another value"))
		}
	}
	print := h.print(r)
	for _, in := range h.of(t.Name) {
		if in.number == r.Number && in.print != print {
			all = append(all, Difference{Resource: in.name, Want: "started with what the revision says", Have: "started with something else"})
		}
	}
	return all, nil
}

func presence(is bool, text string) string {
	if !is {
		return "not set"
	}
	return text
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}

// asText is a value as it is told to people.
func asText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
