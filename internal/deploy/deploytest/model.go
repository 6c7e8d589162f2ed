package deploytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Fault is what is wrong with a release.
type Fault string

// The faults.
const (
	Crashes Fault = "crashes" // its instances end as soon as they are started
	Hangs   Fault = "hangs"   // they never become ready
	Errs    Fault = "errs"    // a fifth of its requests fails
	Checked Fault = "checked" // its checks fail
	Refused Fault = "refused" // the target will not have it
)

// State is all that there is of a modelled target. It is plain data, so that it can outlive the process
// that acts on it.
type State struct {
	Fence     int64
	Open      bool // requests have been let in
	Revisions map[int]*Kept
	Applied   int            // by a driver without instances: the revision that is there
	Release   string         // of Applied
	Half      int            // the one whose apply was begun and has not ended
	Applies   map[int]int    // how often each was
	Migrated  map[string]int // how often each migration was run, by release and command
	Begun     map[string]int // how often each was begun
	Counts    map[int]deploy.Requests
	Counted   time.Time
	Wrong     []string // what must never be, and was
}

// Kept is what there is of a revision.
type Kept struct {
	Release string
	Started []time.Time // of each instance
	Percent int
	Dead    bool // its instances were killed
	Env     map[string]string
}

// Model is a driver whose target is a [State]. Before and after each change of it, it asks Point
// whether the process dies there; it watches that requests always meet a ready instance; and it is the world
// outside, too ([Model.Outside]), whose migrations it counts.
type Model struct {
	Caps   deploy.Capabilities
	Boot   time.Duration    // until an instance is ready
	Faults map[string]Fault // by the release's ID
	Rate   float64          // requests a second
	Outage bool             // there may be times without an instance: recreate
	Known  bool             // what became of an apply that was broken off can be found out
	// Point is asked before and after each change; an error is the death of the process: nothing more happens.
	Point func(what string) error
	// Keep is told the state after each change; nil: nobody.
	Keep func(s *State)

	mu    *sync.Mutex // shared by all models of the same State
	state *State
}

// NewModel is a model of an empty target, or of the one that another model has.
func NewModel(of *Model) *Model {
	m := &Model{mu: new(sync.Mutex), state: &State{}}
	if of != nil {
		m.mu, m.state = of.mu, of.state
		m.Caps, m.Boot, m.Faults, m.Rate, m.Outage, m.Known, m.Keep = of.Caps, of.Boot, of.Faults, of.Rate, of.Outage, of.Known, of.Keep
	}
	m.state.fill()
	return m
}

// Load replaces the state, by what Keep was told in another process.
func (m *Model) Load(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.state = s
	m.state.fill()
}

func (s *State) fill() {
	if s.Revisions == nil {
		s.Revisions = map[int]*Kept{}
	}
	if s.Migrated == nil {
		s.Migrated, s.Begun, s.Applies, s.Counts = map[string]int{}, map[string]int{}, map[int]int{}, map[int]deploy.Requests{}
	}
}

// State is a copy of what there is.
func (m *Model) State() (s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := json.Marshal(m.state)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		panic("deploytest: a state that is no JSON: " + err.Error())
	}
	return s
}

// Kill ends all instances of a revision.
func (m *Model) Kill(number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.state.Revisions[number]; k != nil {
		k.Dead = true
	}
}

// Forget loses all shares, as a proxy does that comes back without its state.
func (m *Model) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.state.Revisions {
		k.Percent = 0
	}
}

// Allow lets requests meet no ready instance from now on: whatever happens is not the rollout's doing.
func (m *Model) Allow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Outage = true
}

func (m *Model) point(what string) error {
	if m.Point == nil {
		return nil
	}
	return m.Point(what)
}

// alter is one atomic change of the state, between two points.
func (m *Model) alter(ctx context.Context, fence int64, what string, do func(s *State)) error {
	if err := m.point("before " + what); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	s := m.state
	if fence < s.Fence {
		defer m.mu.Unlock()
		return fmt.Errorf("%s with fence %d after %d: %w", what, fence, s.Fence, deploy.ErrFenced)
	}
	s.Fence = fence
	m.count()
	do(s)
	m.audit(what)
	if m.Keep != nil {
		m.Keep(s)
	}
	m.mu.Unlock()
	return m.point("after " + what)
}

// audit looks for what must never be.
func (m *Model) audit(what string) {
	s := m.state
	if !m.Caps.Instances || m.Outage || !s.Open {
		return
	}
	sum := 0
	for _, n := range slices.Sorted(maps.Keys(s.Revisions)) {
		k := s.Revisions[n]
		sum += k.Percent
		if k.Percent > 0 && m.ready(k) == 0 {
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s: %d %% of the requests go to revision %d, which has no ready instance", what, k.Percent, n))
		}
	}
	if sum != 100 {
		s.Wrong = append(s.Wrong, fmt.Sprintf("%s: %d %% of the requests go anywhere", what, sum))
	}
}

func (m *Model) ready(k *Kept) (n int) {
	for _, at := range k.Started {
		if m.isReady(k, at) {
			n++
		}
	}
	return n
}

func (m *Model) isReady(k *Kept, started time.Time) bool {
	f := m.Faults[k.Release]
	return !k.Dead && f != Crashes && f != Hangs && time.Since(started) >= m.Boot
}

// Capabilities are Caps.
func (m *Model) Capabilities(*deploy.Target) deploy.Capabilities { return m.Caps }

// Check refuses releases that are at fault so.
func (m *Model) Check(_ context.Context, _ *deploy.Target, r *deploy.Revision) ([]plan.Problem, error) {
	if m.Faults[r.Release.ID] == Refused {
		return []plan.Problem{{Severity: plan.Error, Rule: "model", Message: "the target will not have it", Hint: "deploy another release"}}, nil
	}
	return nil, nil
}

// Observe says what there is.
func (m *Model) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	if err := m.point("observe"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.audit("while time passed")
	w := &deploy.World{Fence: m.state.Fence}
	if !m.Caps.Instances {
		if n := m.state.Applied; n != 0 {
			w.Revisions = []deploy.Seen{{Number: n, Percent: 100}}
		}
		return w, ctx.Err()
	}
	for _, n := range slices.Sorted(maps.Keys(m.state.Revisions)) {
		k := m.state.Revisions[n]
		seen := deploy.Seen{Number: n, Release: k.Release, Percent: k.Percent}
		for i, at := range k.Started {
			name := fmt.Sprintf("%s-%d", t.RevisionName(n), i)
			in := deploy.Instance{Name: name, Address: name, Started: at, Ready: m.isReady(k, at)}
			switch {
			case k.Dead || m.Faults[k.Release] == Crashes && time.Since(at) >= m.Boot:
				in.Failed, in.Why = true, "exit status 3"
			case !in.Ready:
				in.Why = "it does not answer yet"
			}
			seen.Instances = append(seen.Instances, in)
		}
		w.Revisions = append(w.Revisions, seen)
	}
	return w, ctx.Err()
}

// Ensure starts and ends instances one after the other; without instances it applies the revision.
func (m *Model) Ensure(ctx context.Context, t *deploy.Target, r *deploy.Revision, n int) error {
	if m.Faults[r.Release.ID] == Refused {
		return fmt.Errorf("release %s: %w", r.Release.Version, deploy.ErrRefused)
	}
	if !m.Caps.Instances {
		return m.apply(ctx, t, r)
	}
	for {
		m.mu.Lock()
		k := m.state.Revisions[r.Number]
		have := 0
		if k != nil {
			have = len(k.Started)
			if k.Dead && n > 0 {
				have = 0
			}
		}
		done := k != nil && have == n
		m.mu.Unlock()
		if done {
			return m.alter(ctx, t.Fence, "leave "+t.RevisionName(r.Number), func(*State) {})
		}
		err := m.alter(ctx, t.Fence, fmt.Sprintf("bring %s from %d to %d instances", t.RevisionName(r.Number), have, n), func(s *State) {
			k := s.Revisions[r.Number]
			if k == nil {
				k = &Kept{Release: r.Release.ID, Env: maps.Clone(r.Env)}
				s.Revisions[r.Number] = k
			}
			if k.Dead {
				k.Dead, k.Started = false, nil
			}
			switch {
			case len(k.Started) < n:
				k.Started = append(k.Started, time.Now())
			case len(k.Started) > n:
				k.Started = k.Started[:len(k.Started)-1]
			}
		})
		if err != nil {
			return err
		}
	}
}

// apply is not atomic: it may be broken off after it was begun.
func (m *Model) apply(ctx context.Context, t *deploy.Target, r *deploy.Revision) error {
	m.mu.Lock()
	stale := r.Proposal != nil && r.Proposal.Digest != m.digest(r)
	m.mu.Unlock()
	if stale {
		return deploy.ErrStale
	}
	what := "applying " + t.RevisionName(r.Number)
	if err := m.alter(ctx, t.Fence, "begin "+what, func(s *State) { s.Half = r.Number }); err != nil {
		return err
	}
	return m.alter(ctx, t.Fence, "end "+what, func(s *State) {
		s.Half, s.Applied, s.Release = 0, r.Number, r.Release.ID
		s.Applies[r.Number]++
	})
}

func (m *Model) digest(r *deploy.Revision) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d to %s", m.state.Applied, r.Release.ID))
	return hex.EncodeToString(sum[:])
}

// Propose says what an apply would change.
func (m *Model) Propose(_ context.Context, _ *deploy.Target, r *deploy.Revision) (*record.Proposal, error) {
	if err := m.point("propose"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &record.Proposal{Digest: m.digest(r), Summary: fmt.Sprintf("from revision %d to %d", m.state.Applied, r.Number)}, nil
}

// Applied says what became of an apply.
func (m *Model) Applied(_ context.Context, _ *deploy.Target, r *deploy.Revision) (bool, error) {
	if err := m.point("probe"); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.state.Applied == r.Number:
		return true, nil
	case m.state.Half == r.Number && !m.Known:
		return false, fmt.Errorf("revision %d: %w", r.Number, deploy.ErrUnknown)
	}
	return false, nil
}

// Meddle changes what was applied behind everybody's back.
func (m *Model) Meddle(applied int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Applied = applied
}

// Shift sets the shares in one atomic act.
func (m *Model) Shift(ctx context.Context, t *deploy.Target, shares []deploy.Share) error {
	var missing error
	err := m.alter(ctx, t.Fence, fmt.Sprint("shift ", shares), func(s *State) {
		for _, sh := range shares {
			if sh.Percent > 0 && s.Revisions[sh.Number] == nil {
				missing = fmt.Errorf("there is no revision %d", sh.Number)
				return
			}
		}
		for _, k := range s.Revisions {
			k.Percent = 0
		}
		for _, sh := range shares {
			if sh.Percent > 0 {
				s.Revisions[sh.Number].Percent = sh.Percent
				s.Open = true
			}
		}
	})
	return errors.Join(missing, err)
}

// Remove ends instances one after the other, and then forgets the revision.
func (m *Model) Remove(ctx context.Context, t *deploy.Target, number int) error {
	if !m.Caps.Instances {
		return m.alter(ctx, t.Fence, fmt.Sprint("remove revision ", number), func(s *State) {
			if s.Applied == number {
				s.Applied = 0
			}
		})
	}
	for {
		left := -1
		err := m.alter(ctx, t.Fence, "remove some of "+t.RevisionName(number), func(s *State) {
			k := s.Revisions[number]
			if k == nil {
				return
			}
			if left = len(k.Started); left > 0 {
				k.Started = k.Started[:left-1]
				return
			}
			delete(s.Revisions, number)
			if len(s.Revisions) == 0 {
				s.Open = false // it has gone away
			}
		})
		if err != nil || left <= 0 {
			return err
		}
	}
}

// Drift says whether there is another revision than was deployed, or fewer instances.
func (m *Model) Drift(_ context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Caps.Instances {
		if m.state.Applied != r.Number {
			return []record.Difference{{Resource: t.Name(), Field: "revision", Want: fmt.Sprint(r.Number), Have: fmt.Sprint(m.state.Applied)}}, nil
		}
		return nil, nil
	}
	k, want := m.state.Revisions[r.Number], t.Spec.In(t.Environment)
	switch {
	case k == nil:
		return []record.Difference{{Resource: t.RevisionName(r.Number), Want: "there"}}, nil
	case k.Dead || len(k.Started) != want:
		return []record.Difference{{Resource: t.RevisionName(r.Number), Field: "instances", Want: fmt.Sprint(want), Have: fmt.Sprint(m.ready(k))}}, nil
	}
	return nil, nil
}

// count lets the time since the last look bring requests.
func (m *Model) count() {
	s, now := m.state, time.Now()
	if s.Counted.IsZero() {
		s.Counted = now
	}
	d := now.Sub(s.Counted).Seconds()
	s.Counted = now
	for n, k := range s.Revisions {
		c := s.Counts[n]
		more := int64(m.Rate * d * float64(k.Percent) / 100)
		c.Count += more
		if m.Faults[k.Release] == Errs {
			c.Failed += more / 5
		}
		s.Counts[n] = c
	}
}

// Counts are the requests so far.
func (m *Model) Counts(context.Context, *deploy.Target) (*deploy.Traffic, error) {
	if err := m.point("count"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count()
	return &deploy.Traffic{Since: time.Unix(1, 0).UTC(), Revisions: maps.Clone(m.state.Counts)}, nil
}

// Command runs the migrations that a model knows: "migrate NAME" is counted, "probe NAME" says whether that
// has been done, "fail" does.
func (m *Model) Command(ctx context.Context, _, script string, env map[string]string, log func(line string)) (int, error) {
	verb, name, _ := strings.Cut(script, " ")
	key := env["FAIRLEAD_RELEASE"] + " " + name
	switch verb {
	case "migrate":
		if err := m.alter(ctx, m.fence(), "begin to migrate "+name, func(s *State) { s.Begun[key]++ }); err != nil {
			return 0, err
		}
		return 0, m.alter(ctx, m.fence(), "end to migrate "+name, func(s *State) { s.Migrated[key]++ })
	case "probe":
		if err := m.point("probe " + name); err != nil {
			return 0, err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.state.Migrated[key] > 0 {
			return 0, nil
		}
		return 1, nil
	}
	log("it cannot be done")
	return 2, nil
}

func (m *Model) fence() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Fence
}

// Outside is the model as the world outside.
func (m *Model) Outside() deploy.Outside { return outside{m} }

type outside struct{ *Model }

// Check fails for instances of a release that is at fault so.
func (o outside) Check(_ context.Context, c plan.Check, at []deploy.Instance, _ map[string]string, _ string) record.Evidence {
	m := o.Model
	if err := m.point("check " + c.Name); err != nil {
		return record.Evidence{Text: err.Error()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Caps.Instances && m.Faults[m.state.Release] == Checked {
		return record.Evidence{Text: "it answered 500"}
	}
	for _, i := range at {
		for n, k := range m.state.Revisions {
			if strings.Contains(i.Name, fmt.Sprintf("-r%d-", n)) && m.Faults[k.Release] == Checked {
				return record.Evidence{Text: i.Name + " answered 500"}
			}
		}
	}
	return record.Evidence{OK: true, Text: "200"}
}

func (o outside) Query(context.Context, string, string) (float64, bool, error) { return 0, false, nil }

func (o outside) Series(context.Context, string, string, time.Time, time.Time, time.Duration) ([]float64, error) {
	return nil, nil
}
