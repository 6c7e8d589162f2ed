package crew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// asked has a job done in the background.
func (sc *scene) asked(soft context.Context, run, job string, labels ...string) <-chan plan.Verdict {
	done := make(chan plan.Verdict, 1)
	go func() { done <- sc.own(soft, run, job, labels...) }()
	return done
}

// TestJobElsewhere takes jobs to the workers whose labels match.
func TestJobElsewhere(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		h := sc.start()
		var given []*Task
		seen := func(t *Task) { given = append(given, t) }
		one := sc.hire("one", &doing{steps: 2, each: time.Second, seen: seen}, nil, "ubuntu-*", "x64")
		two := sc.hire("two", &doing{steps: 1, each: time.Second}, nil, "gpu", "ubuntu-*")
		settle(time.Second)
		for _, tt := range []struct {
			labels []string
			want   bool
		}{{nil, true}, {[]string{"Ubuntu-latest"}, true}, {[]string{"ubuntu-latest", "x64"}, true}, {[]string{"gpu", "x64"}, false}, {[]string{"windows"}, false}} {
			if got := h.Fits(&plan.Place{Labels: tt.labels}); got != tt.want {
				t.Errorf("%v fits: %t", tt.labels, got)
			}
		}
		if h.Fits(&plan.Place{Container: &plan.Container{Image: "alpine"}}) {
			t.Error("a worker without containers takes one")
		}
		if v := <-sc.asked(t.Context(), "1", "build", "x64"); v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		if v := <-sc.asked(t.Context(), "1", "gpu/test", "gpu"); v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		for job, steps := range map[string]int{"build": 2, "gpu/test": 1} {
			if err := sc.check("1", job, steps); err != nil {
				t.Error(err)
			}
		}
		r, err := h.Store.Run(t.Context(), "1")
		if err != nil || r.Jobs["build"].Started.Place != engine.PlaceOf("one") || r.Jobs["gpu/test"].Started.Place != engine.PlaceOf("two") {
			t.Errorf("places %q and %q", r.Jobs["build"].Started.Place, r.Jobs["gpu/test"].Started.Place)
		}
		if len(given) != 1 || len(given[0].Assignment.Context.Secrets) != 1 || given[0].Assignment.Context.Secrets["NAMED"] != "s3cret" {
			t.Errorf("given %d jobs, the first with %v", len(given), given[0].Assignment.Context.Secrets)
		}
		for _, r := range sc.mem.registers {
			if bytes.Contains(r.Body, []byte("s3cret")) {
				t.Errorf("a secret is stored: %s", r.Body)
			}
		}
		for _, w := range []*hired{one, two} {
			if err := w.leave(); err != nil {
				t.Error(err)
			}
		}
		if list, err := h.Workers(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("left are %+v (%v)", list, err)
		}
		if h.Fits(&plan.Place{}) {
			t.Error("nobody is there, and takes jobs")
		}
	})
}

// TestLostWorker: what a worker had that is not heard of is done by another one, once,
// and nothing is taken from the first one any more.
func TestLostWorker(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		h := sc.start()
		var ref Ref
		first := sc.hire("first", &doing{steps: 3, each: time.Second, hold: make(chan struct{}), seen: func(t *Task) { ref = t.Ref }}, nil)
		done := sc.asked(t.Context(), "1", "build")
		settle(10 * time.Second)
		old := first.session
		first.die()
		second := sc.hire("second", &doing{steps: 3, each: time.Second}, nil)
		before := time.Now()
		if v := <-done; v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		if took := time.Since(before); took < DefaultLease/2 || took > 2*DefaultLease {
			t.Errorf("it was given to somebody else after %s, and a lease is %s", took, DefaultLease)
		}
		if err := sc.check("1", "build", 3); err != nil {
			t.Error(err)
		}
		if log := sc.lines("1", "build"); len(log) != 18 || log[0] != "d1 0" || log[9] != "d2 0" {
			t.Errorf("log %q", log)
		}
		// The first one comes back.
		if _, err := h.Say(t.Context(), "token of first", old, ref, 0, nil); !errors.Is(err, ErrFenced) && !errors.Is(err, ErrNotYours) {
			t.Errorf("it may say: %v", err)
		}
		<-first.gone
		if err := second.leave(); err != nil {
			t.Error(err)
		}
		if list, err := h.Workers(t.Context()); err != nil || len(list) != 1 || list[0].State != "lost" || list[0].Name != "first" {
			t.Errorf("workers %+v (%v)", list, err)
		}
	})
}

// TestWorkerStartedAnew: a worker that is started again says at once that its job is nobody's.
func TestWorkerStartedAnew(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		first := sc.hire("one", &doing{steps: 3, each: time.Second, hold: make(chan struct{})}, nil)
		done := sc.asked(t.Context(), "1", "build")
		settle(10 * time.Second)
		first.die()
		<-first.gone
		before := time.Now()
		var prior *record.JobRun
		again := sc.hire("one", &doing{steps: 3, each: time.Second, seen: func(t *Task) { prior = t.Assignment.Prior }}, nil)
		if v := <-done; v != plan.Success || time.Since(before) > DefaultLease/3 {
			t.Errorf("ended in %s after %s", v, time.Since(before))
		}
		if prior == nil || prior.State != record.Running || len(prior.Steps) != 3 {
			t.Errorf("it is told of what was done: %+v", prior)
		}
		if err := sc.check("1", "build", 3); err != nil {
			t.Error(err)
		}
		if err := again.leave(); err != nil {
			t.Error(err)
		}
	})
}

// TestServerStartedAnew: the job goes on while nobody serves, and its end is told to
// whoever serves next.
func TestServerStartedAnew(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]time.Duration{"while it works": time.Second, "after its end": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, sc *scene) {
				sc.start()
				w := sc.hire("one", &doing{steps: 5, each: 3 * time.Second}, nil)
				done := sc.asked(t.Context(), "1", "build")
				settle(7 * time.Second)
				sc.kill()
				settle(down)
				sc.start()
				if v := <-done; v != plan.Success {
					t.Errorf("ended in %s", v)
				}
				if err := sc.check("1", "build", 5); err != nil {
					t.Error(err)
				}
				if sc.doers != 1 {
					t.Errorf("it was done %d times", sc.doers)
				}
				if err := w.leave(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCutLine: a cut shorter than two thirds of a lease is as if it had not been; a longer one
// ends the job here, before the server gives it to somebody else.
func TestCutLine(t *testing.T) {
	t.Parallel()
	for _, long := range []time.Duration{DefaultLease / 3, 2 * DefaultLease} {
		t.Run(long.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, sc *scene) {
				sc.only = true
				sc.start()
				w := sc.hire("one", &doing{steps: 20, each: 10 * time.Second}, nil)
				done := sc.asked(t.Context(), "1", "build")
				settle(15 * time.Second)
				w.wire.set(true)
				settle(long)
				w.wire.set(false)
				if v := <-done; v != plan.Success {
					t.Errorf("ended in %s", v)
				}
				if err := sc.check("1", "build", 20); err != nil {
					t.Error(err)
				}
				if want := 1 + int(long/DefaultLease)/2; sc.doers != want {
					t.Errorf("it was done %d times, and a cut of %s is %d", sc.doers, long, want)
				}
				if err := w.leave(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestStop: whoever cancels a job does so wherever it is.
func TestStop(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		w := sc.hire("one", &doing{steps: 1, each: time.Hour}, nil)
		soft, stop := context.WithCancelCause(t.Context())
		under, waiting := sc.asked(soft, "1", "build"), sc.asked(soft, "1", "third")
		other := sc.asked(soft, "1", "second")
		settle(5 * time.Second)
		before := time.Now()
		stop(engine.Cancel("cancelled by ada"))
		for _, done := range []<-chan plan.Verdict{under, waiting, other} {
			if v := <-done; v != plan.Cancelled {
				t.Errorf("ended in %s", v)
			}
		}
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, e := range sc.mem.all() {
			if b, ok := e.Body.(*record.JobFinished); ok && b.Why != "cancelled by ada" {
				t.Errorf("job %s ended: %q", e.Job, b.Why)
			}
		}
		if err := w.leave(); err != nil {
			t.Error(err)
		}
	})
}

// TestPauseAndDrain: a paused worker takes nothing, a draining one finishes and leaves.
func TestPauseAndDrain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		h := sc.start()
		w := sc.hire("one", &doing{steps: 1, each: 20 * time.Second}, nil)
		settle(time.Second)
		set := func(state string) {
			t.Helper()
			if err := h.SetWorker(t.Context(), launch.By{Name: "ada", Via: "session"}, "one", state); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		set("paused")
		done := sc.asked(t.Context(), "1", "build", "gpu")
		settle(2 * time.Minute)
		if d := h.Demand(); len(d) != 1 || d[0].Jobs != 1 || d[0].Fit != 1 || d[0].Free != 2 || d[0].Oldest < time.Minute || !slices.Equal(d[0].Labels, []string{"gpu"}) {
			t.Errorf("demand %+v", d)
		}
		if h.Runs() != 2 {
			t.Errorf("%d further runs", h.Runs())
		}
		set("joined")
		list, err := h.Workers(t.Context())
		if err != nil || len(list) != 1 || !slices.Equal(list[0].Jobs, []string{"1/build"}) || list[0].Version != "test" || list[0].Places != 2 {
			t.Errorf("workers %+v (%v)", list, err)
		}
		set("draining")
		left := sc.asked(t.Context(), "1", "second")
		if v := <-done; v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		<-w.gone
		if w.err != nil {
			t.Error(w.err)
		}
		if v := <-left; v != "nobody" {
			t.Errorf("a job for which nobody is left: %s", v)
		}
		var acts []string
		for _, e := range sc.mem.all() {
			if b, ok := e.Body.(*record.Acted); ok {
				acts = append(acts, b.Detail["state"])
			}
		}
		if got := strings.Join(acts, " "); got != "paused joined draining" {
			t.Errorf("the trail has %q", got)
		}
		var use *plan.UsageError
		if err := h.SetWorker(t.Context(), launch.By{}, "one", "paused"); !errors.As(err, &use) {
			t.Errorf("a worker that left: %v", err)
		}
	})
}

// TestFullDisk: a worker that cannot keep what its job says gives it up, and another one
// does it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		one := sc.hire("one", &doing{steps: 3, each: time.Second, seen: func(t *Task) {
			s := t.Record.(*spool)
			time.AfterFunc(1500*time.Millisecond, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.err = errors.New("no space left on device")
			})
		}}, nil, "a")
		done := sc.asked(t.Context(), "1", "build", "a")
		settle(10 * time.Second)
		if len(one.under) != 0 {
			t.Errorf("it still has %v", one.under)
		}
		if err := one.leave(); err != nil {
			t.Error(err)
		}
		if v := <-done; v != "nobody" {
			t.Errorf("ended in %s", v)
		}
	})
}

// TestToldTwice: a worker that is told to end at once gives its jobs back at once.
func TestToldTwice(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		one := sc.hire("one", &doing{steps: 1, each: time.Hour}, nil)
		done := sc.asked(t.Context(), "1", "build")
		settle(5 * time.Second)
		two := sc.hire("two", &doing{steps: 1, each: time.Second}, nil)
		before := time.Now()
		one.drain()
		settle(time.Second)
		close(one.abort)
		if v := <-done; v != plan.Success || time.Since(before) > 10*time.Second {
			t.Errorf("ended in %s after %s", v, time.Since(before))
		}
		if <-one.gone; one.err != nil {
			t.Error(one.err)
		}
		if err := sc.check("1", "build", 1); err != nil {
			t.Error(err)
		}
		if err := two.leave(); err != nil {
			t.Error(err)
		}
	})
}

// TestLastWorker: a job whose last worker is lost is the server's, unless that does none.
func TestLastWorker(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		w := sc.hire("one", &doing{steps: 1, each: time.Hour}, nil)
		settle(time.Second)
		done := sc.asked(t.Context(), "1", "build")
		settle(5 * time.Second)
		w.die()
		if v := <-done; v != "nobody" {
			t.Errorf("ended in %s", v)
		}
	})
}

// TestUnlucky: a job that loses worker after worker is not given to another one.
func TestUnlucky(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.only = true
		sc.start()
		done := sc.asked(t.Context(), "1", "build")
		for i := range maxLosses {
			w := sc.hire(fmt.Sprint("w", i), &doing{steps: 1, each: time.Hour}, nil)
			settle(5 * time.Second)
			w.die()
			<-w.gone
			settle(2 * DefaultLease)
		}
		if v := <-done; v != plan.Fault {
			t.Errorf("ended in %s", v)
		}
	})
}

// TestWorkspaceIsThere: a job that goes on from a step is for the worker alone that has its
// workspace.
func TestWorkspaceIsThere(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		h := sc.start()
		var from string
		one := sc.hire("one", &doing{steps: 1, each: time.Second}, nil)
		two := sc.hire("two", &doing{steps: 1, each: time.Second, seen: func(t *Task) { from = t.Assignment.From }}, nil)
		settle(time.Second)
		a := assignmentOf("2", "build")
		a.PriorRun, a.From, a.Prior = "1", "3", &record.JobRun{ID: "build", Started: record.JobStarted{Place: engine.PlaceOf("two")}}
		if e, err := h.Do(t.Context(), t.Context(), a); err != nil || e.Verdict != plan.Success || from != "3" {
			t.Errorf("ended in %s, from %q (%v)", e.Verdict, from, err)
		}
		if err := two.leave(); err != nil {
			t.Error(err)
		}
		a.Run, a.Context.RunID = "3", "3"
		if _, err := h.Do(t.Context(), t.Context(), a); err == nil || !strings.Contains(err.Error(), "worker two") {
			t.Errorf("its worker has left: %v", err)
		}
		if err := one.leave(); err != nil {
			t.Error(err)
		}
	})
}

// TestArtifactsTravel from worker to server to another worker.
func TestArtifactsTravel(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		making, using := &doing{steps: 1}, &doing{steps: 1}
		one, two := sc.hire("one", making, nil, "make"), sc.hire("two", using, nil, "use")
		making.save = func(t *Task) error {
			d, n, err := one.Blobs.Put(context.Background(), strings.NewReader("what was made"))
			if err != nil {
				return err
			}
			a := &depot.Artifact{Run: t.Run, Job: t.Job, Name: "made", Digest: d, Size: n, Type: "text/plain"}
			if err := one.Depot.(*depot.Depot).AddArtifact(a, false); err != nil {
				return err
			}
			masked, size, err := one.Blobs.Put(context.Background(), strings.NewReader("what *** made"))
			if err != nil {
				return err
			}
			_, err = t.Record.Append(context.Background(), record.Event{Run: t.Run, Job: t.Job, Body: &record.ArtifactSaved{
				Artifact: plan.Artifact{Name: "made", Digest: string(d), Size: n}, Shown: &record.Shown{Digest: string(masked), Size: size, Masked: 1},
			}})
			return err
		}
		var got string
		using.save = func(t *Task) error {
			a, err := two.Depot.(*depot.Depot).Artifact(t.Run, "made")
			if err != nil || a == nil {
				return fmt.Errorf("there is no artifact: %w", err)
			}
			r, err := two.Blobs.Open(context.Background(), a.Digest)
			if err != nil {
				return err
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			got = a.Type + " " + string(b)
			return err
		}
		if v := <-sc.asked(t.Context(), "1", "a", "make"); v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		if v := <-sc.asked(t.Context(), "1", "b", "use"); v != plan.Success || got != "text/plain what was made" {
			t.Errorf("ended in %s, and had %q", v, got)
		}
		settle(time.Second)
		for _, w := range []*hired{one, two} {
			if a, err := w.Depot.Artifacts(t.Context(), "1"); err != nil || len(a) > 0 {
				t.Errorf("worker %s keeps %+v (%v)", w.name, a, err)
			}
		}
		if a, err := sc.depot.Artifact("1", "made"); err != nil || a == nil || a.Job != "a" {
			t.Errorf("the server has %+v (%v)", a, err)
		}
		if r, err := sc.blobs.Open(t.Context(), blob.Of([]byte("what *** made"))); err != nil {
			t.Errorf("what people are given of it did not come: %v", err)
		} else {
			_ = r.Close()
		}
		for _, w := range []*hired{one, two} {
			if err := w.leave(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCachesTravel from worker to server to another worker: those of the run's own ref, whatever
// the worker says.
func TestCachesTravel(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		sc.start()
		making, using := &doing{steps: 1}, &doing{steps: 1}
		one, two := sc.hire("one", making, nil, "make"), sc.hire("two", using, nil, "use")
		scope := func(ref string, t *Task) depot.Scope {
			return depot.Scope{Repository: "team/app", Refs: []string{ref}, Run: t.Run, Job: t.Job}
		}
		making.save = func(t *Task) error {
			d, n, err := one.Blobs.Put(context.Background(), strings.NewReader("modules"))
			for _, ref := range []string{"refs/heads/main", "refs/heads/release"} {
				err = errors.Join(err, one.Depot.(*depot.Depot).AddCache(context.Background(), scope(ref, t), "v1", "deps", d, n, false))
			}
			return err
		}
		var got string
		using.save = func(t *Task) error {
			c, err := two.Depot.(*depot.Depot).FindCache(context.Background(), scope("refs/heads/main", t), "v1", []string{"de"})
			if err != nil || c == nil {
				return fmt.Errorf("there is no cache: %w", err)
			}
			r, err := two.Blobs.Open(context.Background(), c.Digest)
			if err != nil {
				return err
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			got = string(b)
			return err
		}
		if v := <-sc.asked(t.Context(), "1", "a", "make"); v != plan.Success {
			t.Errorf("ended in %s", v)
		}
		if list, err := sc.depot.Caches(t.Context(), "team/app"); err != nil || len(list) != 1 || list[0].Ref != "refs/heads/main" {
			t.Errorf("the server has %+v (%v)", list, err)
		}
		if v := <-sc.asked(t.Context(), "2", "b", "use"); v != plan.Success || got != "modules" {
			t.Errorf("ended in %s, and had %q", v, got)
		}
		for _, w := range []*hired{one, two} {
			if err := w.leave(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestStrangers may do nothing with what is not theirs.
func TestStrangers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, sc *scene) {
		h := sc.start()
		ctx := t.Context()
		var ref Ref
		one := sc.hire("one", &doing{steps: 1, each: time.Hour, seen: func(t *Task) { ref = t.Ref }}, nil)
		done := sc.asked(ctx, "1", "build")
		settle(5 * time.Second)
		join := func(token, name string) (Joined, error) {
			return h.Join(ctx, token, Joining{Name: name, Labels: []string{"*"}, Places: 1, Protocol: Protocol})
		}
		var use *plan.UsageError
		if _, err := join("another token", "one"); !errors.As(err, &use) {
			t.Errorf("another token takes the name: %v", err)
		}
		for _, bad := range []Joining{
			{Name: "x", Places: 1}, {Name: "../x", Places: 1, Protocol: Protocol}, {Name: "x", Protocol: Protocol},
			{Name: "x", Places: 1, Protocol: Protocol, Labels: []string{"["}}, {Name: "x", Places: 1, Protocol: Protocol, Labels: make([]string, maxLabels+1)},
		} {
			if _, err := h.Join(ctx, "t", bad); !errors.As(err, &use) {
				t.Errorf("%+v joined: %v", bad, err)
			}
		}
		two, err := join("token of two", "two")
		if err != nil {
			t.Fatal(err)
		}
		d := blob.Of([]byte("x"))
		ask := func(token, session string, ref Ref) (errs []error) {
			_, err := h.Say(ctx, token, session, ref, 0, frame(nil, []byte{entryEnd, '{', '}'}))
			errs = append(errs, err)
			_, err = h.Missing(ctx, token, session, ref, []blob.Digest{d})
			errs = append(errs, err, h.Put(ctx, token, session, ref, d, strings.NewReader("x")))
			_, err = h.Blob(ctx, token, session, ref, d)
			return append(errs, err, h.Bundle(ctx, token, session, ref, nil, io.Discard))
		}
		for _, tt := range []struct {
			token, session string
			ref            Ref
			want           error
		}{
			{"token of two", two.Session, ref, ErrNotYours},
			{"token of two", one.session, ref, ErrSession}, // somebody else's session is of no use
			{"token of one", two.Session, ref, ErrSession},
			{"token of one", "", ref, ErrSession},
			{"token of one", one.session, Ref{"1", "build", ref.Attempt + 1}, ErrFenced},
			{"token of one", one.session, Ref{"1", "other", 1}, ErrFenced},
			{"token of one", one.session, Ref{"../..", "", 1}, ErrFenced},
		} {
			for i, err := range ask(tt.token, tt.session, tt.ref) {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s, %s, question %d: %v, want %v", tt.token, tt.ref, i, err, tt.want)
				}
			}
		}
		if _, err := h.Blob(ctx, "token of one", one.session, ref, d); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("a blob of nobody's: %v", err)
		}
		if err := h.Put(ctx, "token of one", one.session, ref, d, strings.NewReader("y")); !errors.Is(err, ErrUnsound) {
			t.Errorf("other bytes than it said: %v", err)
		}
		// What it may not say of its own job.
		said := one.said(ref)
		for name, entry := range map[string][]byte{
			"an end that is none":   append([]byte{entryEnd}, `{"verdict":"splendid"}`...),
			"a run's event":         event(t, "run.finished", &record.RunFinished{Verdict: plan.Success}),
			"an act":                event(t, "acted", &record.Acted{By: "root"}),
			"an artifact not given": event(t, "artifact.saved", &record.ArtifactSaved{Artifact: plan.Artifact{Name: "x", Digest: string(d)}}),
			"no cache":              append([]byte{entryCache}, `{"key":"x","digest":"`+string(d)+`"}`...),
			"no artifact":           append([]byte{entryArtifact}, `{"id":1,"name":"x","digest":"sha256:x"}`...),
			"a line far away":       appendLine(beginLines(nil, 1<<40), "1", time.Now(), []byte("x")),
			"half a line":           beginLines(nil, 0)[:1],
			"something else":        {'?'},
		} {
			if _, err := h.Say(ctx, "token of one", one.session, ref, said, frame(nil, entry)); !errors.Is(err, ErrUnsound) {
				t.Errorf("%s was taken: %v", name, err)
			}
		}
		if _, err := h.Say(ctx, "token of one", one.session, ref, said, make([]byte, MaxSaid+1)); !errors.Is(err, ErrUnsound) {
			t.Errorf("too much was taken: %v", err)
		}
		close(one.abort)
		<-one.gone
		if v := <-done; v != "nobody" { // worker two, who could take it, never asks
			t.Errorf("ended in %s", v)
		}
	})
}

// said is how much the server has of a job.
func (h *hired) said(ref Ref) int64 {
	s := h.wire.sc.server()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given[ref.id()].said
}

func event(t *testing.T, kind record.Kind, b record.Body) []byte {
	t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal([]toldEvent{{Time: time.Now(), Kind: kind, Body: body}})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{entryEvents}, data...)
}
