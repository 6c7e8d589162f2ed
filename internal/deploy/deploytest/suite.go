// Package deploytest says what every driver of room deploy must do.
//
// A driver's own test is an [Open] function that makes a [Place]: a target of its
// kind on the real thing (processes, containers, a cluster), with revisions that
// answer with their number. [Suite] does the rest, and skips what the driver says it
// cannot do. The promise that the rollouts rest on is that doing something again is
// harmless, whoever does it and wherever the one before was when it died; so much
// of the suite does things twice, breaks them off, and goes on with a driver that knows
// nothing of what was done before.
package deploytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Place is a target that is the suite's alone, and nothing is there yet.
type Place struct {
	Driver deploy.Driver
	// Again makes another driver for the same target: what goes on after a crash.
	Again func() deploy.Driver
	// Target has a Spec; the suite copies it and sets the fence.
	Target deploy.Target
	// Revision is a release that becomes ready, as the rollout with that number
	// deploys it. It is a different release for each number.
	Revision func(number int) *deploy.Revision
	// Broken is one that ends as soon as it is started; nil if there is none.
	Broken func(number int) *deploy.Revision
	// Unfit are revisions that Check refuses, by what is wrong with them.
	Unfit map[string]func(number int) *deploy.Revision
	// Get asks the service as its users do and returns the number of the revision
	// that answered; nil if nothing can be asked.
	Get func(ctx context.Context) (number int, err error)
	// Meddle changes what was deployed of a revision behind the driver's back; nil if
	// that cannot be done.
	Meddle func(t *testing.T, number int)
	// Within is how long anything may take, a revision's becoming ready included; 0
	// is a minute.
	Within time.Duration
}

// Open makes a place, and takes it away when the test has ended.
type Open func(t *testing.T) *Place

// Suite tests a driver.
func Suite(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*stage)
	}{
		{"observe empty", (*stage).empty},
		{"capabilities", (*stage).capabilities},
		{"ensure twice", (*stage).twice},
		{"scale", (*stage).scale},
		{"shares", (*stage).shares},
		{"remove", (*stage).remove},
		{"lower fence", (*stage).fence},
		{"crash between calls", (*stage).crash},
		{"broken off", (*stage).brokenOff},
		{"unknown revision", (*stage).unknown},
		{"broken revision", (*stage).broken},
		{"drift", (*stage).drift},
		{"check", (*stage).check},
		{"counts", (*stage).counts},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t)
			if p.Within == 0 {
				p.Within = time.Minute
			}
			if p.Target.Log == nil {
				p.Target.Log = func(string) {}
			}
			s := &stage{T: t, Place: p, driver: p.Driver}
			s.caps = p.Driver.Capabilities(s.at(0))
			c.test(s)
		})
	}
}

// firstFence is that of whoever acts in most tests.
const firstFence = 7

// stage is a test at its place.
type stage struct {
	*testing.T
	*Place
	driver deploy.Driver // the one that goes on
	caps   deploy.Capabilities
}

// at is the target, for whoever has the fence.
func (s *stage) at(fence int64) *deploy.Target {
	t := s.Target
	t.Fence = fence
	t.Rollout = "suite"
	return &t
}

func (s *stage) context() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), s.Within)
	s.Cleanup(cancel)
	return ctx
}

func (s *stage) need(has bool, what string) {
	s.Helper()
	if !has {
		s.Skipf("the driver has no %s: %s", what, s.caps.Why)
	}
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) world() *deploy.World {
	s.Helper()
	w, err := s.driver.Observe(s.context(), s.at(0))
	s.must(err)
	return w
}

func (s *stage) ensure(number, n int) {
	s.Helper()
	s.must(s.driver.Ensure(s.context(), s.at(firstFence), s.Revision(number), n))
}

func (s *stage) shift(shares ...deploy.Share) {
	s.Helper()
	s.must(s.driver.Shift(s.context(), s.at(firstFence), shares))
}

// until waits for the world to be as wanted. No driver tells of changes, so it looks
// again and again.
func (s *stage) until(what string, holds func(w *deploy.World) bool) *deploy.World {
	s.Helper()
	ctx := s.context()
	for {
		w, err := s.driver.Observe(ctx, s.at(0))
		if err == nil && holds(w) {
			return w
		}
		select {
		case <-ctx.Done():
			s.Fatalf("waited for %s: it is %s (%v)", what, describe(w), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// up brings about that n instances of a revision are ready.
func (s *stage) up(number, n int) *deploy.Seen {
	s.Helper()
	s.ensure(number, n)
	if !s.caps.Instances {
		return s.world().Revision(number)
	}
	return s.until(fmt.Sprintf("%d ready instances of revision %d", n, number), func(w *deploy.World) bool {
		r := w.Revision(number)
		return r != nil && r.Ready() >= n
	}).Revision(number)
}

// serving brings about that a revision has n instances and all requests.
func (s *stage) serving(number, n int) {
	s.Helper()
	s.up(number, n)
	if s.caps.Instances {
		s.shift(deploy.Share{Number: number, Percent: 100})
	}
}

// answers asks the service n times and counts by revision.
func (s *stage) answers(n int) map[int]int {
	s.Helper()
	by := map[int]int{}
	for range n {
		number, err := s.Get(s.context())
		s.must(err)
		by[number]++
	}
	return by
}

// answeredBy says that all requests from now on must be answered by a revision.
func (s *stage) answeredBy(number int) {
	s.Helper()
	if s.Get == nil {
		return
	}
	if by := s.answers(20); by[number] != 20 {
		s.Errorf("revision %d was to answer, and of 20 requests those answered: %v", number, by)
	}
}

func (s *stage) empty() {
	if w := s.world(); len(w.Revisions) != 0 {
		s.Errorf("nothing was deployed, and there is %s", describe(w))
	}
	s.must(s.driver.Remove(s.context(), s.at(firstFence), 1))
	if w := s.world(); len(w.Revisions) != 0 {
		s.Errorf("nothing was deployed and that was removed, and there is %s", describe(w))
	}
}

func (s *stage) capabilities() {
	c := s.caps
	if _, is := s.driver.(deploy.Counter); c.Counts && !is {
		s.Error("it says that it counts, and is no Counter")
	}
	if _, is := s.driver.(deploy.Proposer); c.Propose && !is {
		s.Error("it says that it proposes, and is no Proposer")
	}
	if _, is := s.driver.(deploy.Prober); c.Once && !is {
		s.Error("it says that Ensure is not simply done again, and is no Prober")
	}
	if c.Split && !c.Beside {
		s.Error("requests can be split only between revisions that are there at a time")
	}
	if (!c.Split || !c.Beside) && c.Why == "" {
		s.Error("it cannot do something, and does not say why")
	}
	if again := s.Again().Capabilities(s.at(0)); again != c {
		s.Errorf("another driver says %+v, this one %+v", again, c)
	}
}

func (s *stage) twice() {
	before := s.up(1, 2)
	s.ensure(1, 2)
	s.driver = s.Again()
	s.ensure(1, 2)
	after := s.world().Revision(1)
	if before == nil || after == nil {
		s.Fatalf("revision 1 was ensured, and there is %v, then %v", before, after)
	}
	if after.Release != "" && after.Release != s.Revision(1).Release.ID {
		s.Errorf("release %q was deployed, and %q is there", s.Revision(1).Release.ID, after.Release)
	}
	if s.caps.Instances {
		if a, b := known(before), known(after); !slices.Equal(a, b) {
			s.Errorf("ensured again, the instances %v have become %v", a, b)
		}
	}
}

func (s *stage) scale() {
	s.need(s.caps.Instances, "instances")
	s.serving(1, 1)
	for _, n := range []int{3, 2, 1} {
		s.up(1, n)
		s.until(fmt.Sprintf("%d instances", n), func(w *deploy.World) bool {
			r := w.Revision(1)
			return r != nil && len(r.Instances) == n && r.Ready() == n
		})
		s.answeredBy(1)
	}
	if r := s.world().Revision(1); r.Percent != 100 {
		s.Errorf("the number of instances was changed, and the revision's share with it, to %d %%", r.Percent)
	}
}

func (s *stage) shares() {
	s.need(s.caps.Instances && s.caps.Beside, "two revisions at a time")
	s.serving(1, 2)
	s.answeredBy(1)
	s.up(2, 2)
	if w := s.world(); w.Revision(2).Percent != 0 {
		s.Errorf("a new revision gets requests before it was given any: %s", describe(w))
	}
	s.answeredBy(1)
	if s.caps.Split {
		s.shift(deploy.Share{Number: 1, Percent: 75}, deploy.Share{Number: 2, Percent: 25})
		if w := s.world(); w.Revision(1).Percent != 75 || w.Revision(2).Percent != 25 {
			s.Errorf("shares of 75 and 25 %% were set, and there is %s", describe(w))
		}
		if s.Get != nil {
			// 400 draws of 25 %: beyond these bounds once in a million.
			if by := s.answers(400); by[2] < 57 || by[2] > 146 {
				s.Errorf("a quarter of 400 requests was to go to revision 2: %v", by)
			}
		}
	}
	s.shift(deploy.Share{Number: 2, Percent: 100})
	s.answeredBy(2)
	if w := s.world(); w.Revision(1) == nil || w.Revision(1).Percent != 0 || w.Revision(2).Percent != 100 {
		s.Errorf("all requests were given to revision 2, the other being kept, and there is %s", describe(w))
	}
	s.shift(deploy.Share{Number: 1, Percent: 100})
	s.answeredBy(1)
}

func (s *stage) remove() {
	s.serving(1, 2)
	if s.caps.Beside && s.caps.Instances {
		s.serving(2, 1)
		s.must(s.driver.Remove(s.context(), s.at(firstFence), 1))
		s.until("revision 1 to be gone", func(w *deploy.World) bool { return w.Revision(1) == nil })
		if w := s.world(); w.Revision(2).Ready() != 1 || w.Revision(2).Percent != 100 {
			s.Errorf("revision 1 was removed, and of 2 there is %s", describe(w))
		}
		s.answeredBy(2)
		s.must(s.driver.Remove(s.context(), s.at(firstFence), 1))
		s.driver = s.Again()
		s.must(s.driver.Remove(s.context(), s.at(firstFence), 2))
	} else {
		s.must(s.driver.Remove(s.context(), s.at(firstFence), 1))
	}
	s.until("nothing to be left", func(w *deploy.World) bool { return len(w.Revisions) == 0 })
}

func (s *stage) fence() {
	s.serving(1, 1)
	before := s.world()
	if before.Fence != firstFence {
		s.Errorf("somebody with fence %d has acted, and the target remembers %d", firstFence, before.Fence)
	}
	ctx := s.context()
	for name, err := range map[string]error{
		"Ensure of another": s.Again().Ensure(ctx, s.at(firstFence-1), s.Revision(2), 1),
		"Ensure":            s.Again().Ensure(ctx, s.at(firstFence-1), s.Revision(1), 2),
		"Remove":            s.Again().Remove(ctx, s.at(firstFence-1), 1),
	} {
		if !errors.Is(err, deploy.ErrFenced) {
			s.Errorf("%s with a lower fence: %v", name, err)
		}
	}
	if s.caps.Instances {
		if err := s.Again().Shift(ctx, s.at(firstFence-1), []deploy.Share{{Number: 1, Percent: 100}}); !errors.Is(err, deploy.ErrFenced) {
			s.Errorf("Shift with a lower fence: %v", err)
		}
	}
	if after := s.world(); shape(after) != shape(before) || after.Fence != firstFence {
		s.Errorf("refused acts have changed %s to %s", describe(before), describe(after))
	}
	// A higher one takes over, and shuts out the one before, even if it changes nothing.
	s.must(s.Again().Ensure(ctx, s.at(firstFence+5), s.Revision(1), 1))
	if err := s.driver.Ensure(ctx, s.at(firstFence), s.Revision(1), 1); !errors.Is(err, deploy.ErrFenced) {
		s.Errorf("somebody newer has taken over, and the older one is let in: %v", err)
	}
	if w := s.world(); w.Fence != firstFence+5 {
		s.Errorf("the newest fence is %d, and the target remembers %d", firstFence+5, w.Fence)
	}
	s.answeredBy(1)
}

// crash makes every act of a way from one revision to the next with a driver of its
// own, twice.
func (s *stage) crash() {
	s.need(s.caps.Instances && s.caps.Beside, "two revisions at a time")
	s.serving(1, 2)
	half := []deploy.Share{{Number: 1, Percent: 50}, {Number: 2, Percent: 50}}
	if !s.caps.Split {
		half = []deploy.Share{{Number: 1, Percent: 100}}
	}
	for _, act := range []func(d deploy.Driver) error{
		func(d deploy.Driver) error { return d.Ensure(s.context(), s.at(firstFence), s.Revision(2), 2) },
		func(d deploy.Driver) error { return d.Shift(s.context(), s.at(firstFence), half) },
		func(d deploy.Driver) error {
			return d.Shift(s.context(), s.at(firstFence), []deploy.Share{{Number: 2, Percent: 100}})
		},
		func(d deploy.Driver) error { return d.Ensure(s.context(), s.at(firstFence), s.Revision(1), 1) },
		func(d deploy.Driver) error { return d.Remove(s.context(), s.at(firstFence), 1) },
	} {
		for range 2 {
			s.driver = s.Again()
			s.must(act(s.driver))
			s.until("every revision to be ready", func(w *deploy.World) bool {
				return !slices.ContainsFunc(w.Revisions, func(r deploy.Seen) bool { return r.Ready() < len(r.Instances) })
			})
			if s.Get != nil {
				s.answers(5)
			}
		}
	}
	w := s.until("only revision 2 to be left", func(w *deploy.World) bool { return len(w.Revisions) == 1 })
	if r := w.Revision(2); r == nil || r.Ready() != 2 || len(r.Instances) != 2 || r.Percent != 100 {
		s.Errorf("it was to end on two instances of revision 2, and there is %s", describe(w))
	}
	s.answeredBy(2)
}

// brokenOff ends acts before they have come to their end, and does them again.
func (s *stage) brokenOff() {
	s.serving(1, 2)
	// Other drivers may be far along when the context ends, or not have begun: both
	// must be well.
	for _, after := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(s.Context(), after)
		_ = s.Again().Ensure(ctx, s.at(firstFence), s.Revision(2), 2)
		cancel()
		s.driver = s.Again()
		if s.caps.Beside {
			s.answeredBy(1)
		}
	}
	s.serving(2, 2)
	if !s.caps.Beside || !s.caps.Instances {
		return
	}
	for _, after := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(s.Context(), after)
		_ = s.Again().Remove(ctx, s.at(firstFence), 1)
		cancel()
		s.driver = s.Again()
		s.answeredBy(2)
	}
	s.must(s.driver.Remove(s.context(), s.at(firstFence), 1))
	w := s.until("revision 1 to be gone", func(w *deploy.World) bool { return w.Revision(1) == nil })
	if r := w.Revision(2); r == nil || r.Ready() != 2 || len(r.Instances) != 2 {
		s.Errorf("it was to end on two instances of revision 2, and there is %s", describe(w))
	}
}

func (s *stage) unknown() {
	s.need(s.caps.Instances, "instances")
	s.serving(1, 1)
	before := shape(s.world())
	if err := s.driver.Shift(s.context(), s.at(firstFence), []deploy.Share{{Number: 99, Percent: 100}}); err == nil {
		s.Error("requests were given to a revision that is not there")
	}
	if after := shape(s.world()); after != before {
		s.Errorf("that has changed %s to %s", before, after)
	}
	s.answeredBy(1)
	s.must(s.driver.Remove(s.context(), s.at(firstFence), 99))
}

func (s *stage) broken() {
	s.need(s.Broken != nil && s.caps.Instances, "revision that breaks")
	s.serving(1, 1)
	if err := s.driver.Ensure(s.context(), s.at(firstFence), s.Broken(2), 1); err != nil {
		s.Fatalf("whether it becomes ready is for Observe to tell: %v", err)
	}
	w := s.until("the broken revision to be known as such", func(w *deploy.World) bool {
		r := w.Revision(2)
		return r != nil && len(r.Instances) == 1 && r.Instances[0].Failed
	})
	if in := w.Revision(2).Instances[0]; in.Why == "" || in.Ready {
		s.Errorf("the instance is broken: %+v", in)
	}
	s.answeredBy(1)
	s.must(s.driver.Remove(s.context(), s.at(firstFence), 2))
	s.until("the broken revision to be gone", func(w *deploy.World) bool { return w.Revision(2) == nil })
	s.answeredBy(1)
}

func (s *stage) drift() {
	s.need(s.caps.Drift, "drift")
	s.serving(1, 1)
	found, err := s.driver.Drift(s.context(), s.at(0), s.Revision(1))
	s.must(err)
	if len(found) > 0 {
		s.Fatalf("nothing has drifted, and it found %+v", found)
	}
	if s.Meddle == nil {
		return
	}
	s.Meddle(s.T, 1)
	for range 2 { // to look is not to put right
		if found, err = s.driver.Drift(s.context(), s.at(0), s.Revision(1)); err != nil || len(found) == 0 {
			s.Fatalf("what was deployed has been changed, and it found %+v, %v", found, err)
		}
	}
	if found[0].Resource == "" || found[0].Want == found[0].Have {
		s.Errorf("a difference that tells nothing: %+v", found[0])
	}
	s.up(1, 1)
	if found, err = s.driver.Drift(s.context(), s.at(0), s.Revision(1)); err != nil || len(found) > 0 {
		s.Errorf("it was ensured again, and there still is %+v, %v", found, err)
	}
}

func (s *stage) check() {
	s.serving(1, 1)
	before := shape(s.world())
	problems, err := s.driver.Check(s.context(), s.at(0), s.Revision(2))
	s.must(err)
	if plan.Errors(problems) {
		s.Errorf("a sound revision is refused: %v", problems)
	}
	for name, revision := range s.Unfit {
		problems, err := s.driver.Check(s.context(), s.at(0), revision(3))
		if err != nil || !plan.Errors(problems) {
			s.Errorf("%s: not refused: %v, %v", name, problems, err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Rule == "" || p.Severity == plan.Error && p.Hint == "" {
				s.Errorf("%s: the problem does not say what, why, or what to do: %+v", name, p)
			}
		}
	}
	if after := shape(s.world()); after != before {
		s.Errorf("to check has changed %s to %s", before, after)
	}
}

func (s *stage) counts() {
	s.need(s.caps.Counts && s.Get != nil, "counts")
	counter := s.driver.(deploy.Counter)
	s.serving(1, 1)
	before, err := counter.Counts(s.context(), s.at(0))
	s.must(err)
	s.answers(30)
	after, err := counter.Counts(s.context(), s.at(0))
	s.must(err)
	a, b := before.Revisions[1], after.Revisions[1]
	if !after.Since.Equal(before.Since) || b.Count-a.Count != 30 || b.Failed != a.Failed {
		s.Errorf("30 requests were answered: %+v, before %+v", b, a)
	}
	if n, m := total(b.Latency), total(a.Latency); n-m != 30 {
		s.Errorf("30 durations were to be counted, and %d were", n-m)
	}
	// What there was stays counted when the instances that did it go.
	s.up(1, 2)
	s.answers(10)
	s.ensure(1, 1)
	last, err := counter.Counts(s.context(), s.at(0))
	s.must(err)
	if c := last.Revisions[1]; last.Since.Equal(before.Since) && c.Count-a.Count != 40 {
		s.Errorf("40 requests were answered, by instances that have gone in part, and %d are counted", c.Count-a.Count)
	}
}

func total(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// known are the instances by what stays as long as they are the same ones.
func known(r *deploy.Seen) []string {
	var all []string
	for _, in := range r.Instances {
		all = append(all, fmt.Sprint(in.Name, in.Started.UnixNano()))
	}
	slices.Sort(all)
	return all
}

// shape is what a refused act must not change.
func shape(w *deploy.World) string {
	var all []string
	for _, r := range w.Revisions {
		all = append(all, fmt.Sprintf("revision %d: %d %% %v", r.Number, r.Percent, known(&r)))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// describe is a world for the message of a test that fails.
func describe(w *deploy.World) string {
	if w == nil || len(w.Revisions) == 0 {
		return "nothing"
	}
	var all []string
	for _, r := range w.Revisions {
		all = append(all, fmt.Sprintf("revision %d: %d %% %+v", r.Number, r.Percent, r.Instances))
	}
	return strings.Join(all, "; ")
}
