// Package rollout brings environments from one release to another, move by move, and
// back.
//
// What is to be done is a list ([plan.Rollout]); how far it has come is one row
// ([record.Rollout]), and there is no other truth. A [Mover] that takes a rollout on
// does the same over and over:
//
//	┌─► read the row ─► observe the world ─► make it as the move under way
//	│                                        wants it to be ─► is it so? ──┐
//	│                                              no: wait, look again ◄──┤
//	└──── the next move, in one transaction with its event ◄── yes ────────┘
//
// It may be killed between any two of these. Whoever takes the rollout on after it
// raises the fence, so that drivers refuse what a slow predecessor may still say, and
// begins at "read the row". Doing a move again is harmless: it says how the world is to
// be, and everything that is made has a name that follows from service, environment and
// revision. The few acts of which that is not true (a migration, an apply that a driver cannot
// repeat) are written down before they are begun; one that is found begun is asked about, and when
// nobody can know, a person is.
//
// The way back is the same loop with the sign turned: all requests to the revision that is
// healthy now, without gates and small steps, then what is left of the other one goes. It is
// open from every move up to a migration that frees data of what only the old
// release needed.
package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// The kinds of the registers.
const (
	ReleaseKind  = "release"
	RolloutKind  = "rollout"
	TrackKind    = "track"
	IncidentKind = "incident"
)

// The verbs of the audit trail.
const (
	Deploy  = access.MoveDeploy
	Approve = access.ApproveDeploy
)

// Store is what a Mover needs of the store.
type Store interface {
	store.Log
	store.Registers
	store.Leases
	// Watch waits until the record goes beyond seq and returns the newest Seq.
	Watch(ctx context.Context, seq int64) (int64, error)
	// AfterKinds yields the events after seq that are of these kinds, in order.
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
}

// Projects knows the files of repositories.
type Projects interface {
	// Environment is an entry of the section environments, for a preview that of the pattern
	// it is made from. The error is a [*plan.UsageError] when there is none.
	Environment(ctx context.Context, repository, name string) (*project.DeployEnvironment, error)
	// Tree is a directory with the files of a commit, to be left unchanged; "" when the service needs none.
	Tree(ctx context.Context, repository, commit string) (string, error)
}

// Artifacts opens the bytes of releases; a [blob.Store] does.
type Artifacts interface {
	Open(ctx context.Context, d blob.Digest) (io.ReadCloser, error)
}

// Secrets opens secrets that environments name.
type Secrets interface {
	// Open gives the values of secrets. The error names one that does not exist, never a value.
	Open(ctx context.Context, repository, environment string, names []string) (map[string]string, error)
}

// Flags brings back the state of flags that is part of a release.
type Flags interface {
	Restore(ctx context.Context, repository, environment, digest string) error
}

// Mover moves rollouts. Fields are set before the first call and left alone; its methods may
// be called from several goroutines, and by several processes with the same store.
type Mover struct {
	Store     Store
	Drivers   map[string]deploy.Driver // by name
	Outside   deploy.Outside
	Projects  Projects
	Artifacts Artifacts
	Secrets   Secrets // nil: no service has any
	Flags     Flags   // nil: the state of flags is left as it is
	// Holder is how the process calls itself where somebody asks who moves a rollout.
	Holder string
	// Log is told what is being done, a line at a time, without secrets. nil: nobody.
	Log func(rollout, line string)
	// Pace is how long the Mover waits at least before it looks again; the wait doubles up to
	// a second, and to five where only time passes. 0 is 5 ms.
	Pace time.Duration
}

// Make puts a release into the record, computes its ID, and returns it as it is there: a release that was
// made before is not made again.
func (m *Mover) Make(ctx context.Context, by launch.By, r record.Release) (*record.Release, error) {
	var spec project.Service
	switch err := json.Unmarshal(r.Spec, &spec); {
	case err != nil:
		return nil, fmt.Errorf("make a release of %s: its specification: %w", r.Service, err)
	case r.Repository == "" || r.Service == "":
		return nil, &plan.UsageError{Message: "a release is one of a service of a repository, and one of them is missing"}
	}
	id, err := ReleaseID(r)
	if err != nil {
		return nil, err
	}
	r.ID, r.By, r.Made = id, by.Name, time.Now().UTC()
	if r.Version == "" {
		r.Version = r.Commit[:min(12, len(r.Commit))]
	}
	old, err := m.Release(ctx, id)
	if err != nil || old != nil {
		return old, err
	}
	_, err = m.Store.Change(ctx, []record.Register{register(ReleaseKind, id, 0, &r)}, record.Event{Body: &record.ReleaseMade{Release: r}})
	switch {
	case errors.Is(err, record.ErrConflict): // somebody made it meanwhile
		return m.Release(ctx, id)
	case err != nil:
		return nil, fmt.Errorf("make release %s of %s: %w", r.Version, r.Service, err)
	}
	return &r, nil
}

// ReleaseID is the ID that a release has: the digest of all that makes it what it is. What it
// is called and where it comes from does not.
func ReleaseID(r record.Release) (string, error) {
	r.ID, r.Version, r.Commit, r.Ref, r.Author, r.Run, r.By, r.Made, r.Height = "", "", "", "", "", "", "", time.Time{}, 0
	text, err := json.Marshal(&r) // maps are written in the order of their keys
	if err != nil {
		return "", fmt.Errorf("compute the ID of a release of %s: %w", r.Service, err)
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Release is a release; nil for none.
func (m *Mover) Release(ctx context.Context, id string) (*record.Release, error) {
	r := new(record.Release)
	version, err := m.read(ctx, ReleaseKind, id, r)
	if version == 0 || err != nil {
		return nil, err
	}
	return r, nil
}

// Rollout is a rollout. The error is a [*plan.UsageError] when there is none.
func (m *Mover) Rollout(ctx context.Context, id string) (*record.Rollout, error) {
	row, _, err := m.row(ctx, id)
	return row, err
}

func (m *Mover) row(ctx context.Context, id string) (*record.Rollout, int64, error) {
	r := new(record.Rollout)
	version, err := m.read(ctx, RolloutKind, id, r)
	if err == nil && version == 0 {
		err = &plan.UsageError{Message: fmt.Sprintf("there is no rollout %.80q", id), Hint: "the list of rollouts has their IDs"}
	}
	return r, version, err
}

// Track is a service in an environment as it holds now; its Number is 0 when it was never there.
func (m *Mover) Track(ctx context.Context, repository, service, environment string) (*record.Track, error) {
	t, _, err := m.track(ctx, repository, service, environment)
	return t, err
}

func (m *Mover) track(ctx context.Context, repository, service, environment string) (*record.Track, int64, error) {
	t := &record.Track{Repository: repository, Service: service, Environment: environment}
	version, err := m.read(ctx, TrackKind, TrackID(repository, environment, service), t)
	return t, version, err
}

// Tracks are all services in all environments of a repository, or with "" of all repositories.
func (m *Mover) Tracks(ctx context.Context, repository string) ([]record.Track, error) {
	prefix := ""
	if repository != "" {
		prefix = repository + "\n"
	}
	return list[record.Track](ctx, m, TrackKind, prefix)
}

// Rollouts are those of a service in an environment, the newest first.
func (m *Mover) Rollouts(ctx context.Context, repository, service, environment string) ([]record.Rollout, error) {
	all, err := list[record.Rollout](ctx, m, RolloutKind, rolloutPrefix(repository, service, environment))
	slices.SortFunc(all, func(a, b record.Rollout) int { return b.Number - a.Number })
	return all, err
}

// Releases are those of a service, the newest first.
func (m *Mover) Releases(ctx context.Context, repository, service string) ([]record.Release, error) {
	all, err := list[record.Release](ctx, m, ReleaseKind, "")
	all = slices.DeleteFunc(all, func(r record.Release) bool { return r.Repository != repository || r.Service != service })
	slices.SortFunc(all, func(a, b record.Release) int { return b.Made.Compare(a.Made) })
	return all, err
}

// TrackID is the ID of a track's register.
func TrackID(repository, environment, service string) string {
	return repository + "\n" + environment + "\n" + service
}

// RolloutID is the ID of the rollout with that number: it follows from what it moves, so that the one
// that brought a revision is found by the revision's number.
func RolloutID(repository, service, environment string, number int) string {
	return fmt.Sprintf("%s%d", rolloutPrefix(repository, service, environment), number)
}

func rolloutPrefix(repository, service, environment string) string {
	sum := sha256.Sum256([]byte(TrackID(repository, environment, service)))
	return fmt.Sprintf("%s-%s-%s-", slug(service), slug(environment), hex.EncodeToString(sum[:3]))
}

// slug is what of a name may stand in a URL.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}

// leaseOf is the lease of whoever acts on a service in an environment.
func leaseOf(repository, service, environment string) string {
	return "rollout/" + TrackID(repository, environment, service)
}

// Serve moves all rollouts that have not ended, and keeps looking after what is deployed (see
// [Mover.Tend]), until ctx ends. Several processes may serve: each rollout is moved by one of them.
func (m *Mover) Serve(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { m.tend(ctx) })
	var mu sync.Mutex
	under := map[string]bool{}
	take := func(t *record.Track) {
		mu.Lock()
		defer mu.Unlock()
		if t.Rollout == "" || under[t.Rollout] {
			return
		}
		under[t.Rollout] = true
		running.Go(func() {
			m.persist(ctx, t.Rollout)
			mu.Lock()
			defer mu.Unlock()
			delete(under, t.Rollout)
		})
	}
	seq, err := m.Store.Watch(ctx, -1)
	if err != nil {
		return m.ended(ctx, err)
	}
	all, err := m.Tracks(ctx, "")
	if err != nil {
		return m.ended(ctx, err)
	}
	for i := range all {
		take(&all[i])
	}
	for {
		newest, err := m.Store.Watch(ctx, seq)
		if err != nil {
			return m.ended(ctx, err)
		}
		begun := map[[3]string]bool{}
		for e, err := range m.Store.AfterKinds(ctx, seq, "rollout.moved") {
			if err != nil {
				return m.ended(ctx, err)
			}
			if b, ok := e.Body.(*record.RolloutMoved); ok && !b.State.Ended() {
				begun[[3]string{b.Repository, b.Service, b.Environment}] = true
			}
		}
		for k := range begun {
			t, err := m.Track(ctx, k[0], k[1], k[2])
			if err != nil {
				return m.ended(ctx, err)
			}
			take(t)
		}
		seq = newest
	}
}

// ended is the error with which a loop ends: none when it was told to.
func (m *Mover) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("move rollouts: %w", err)
}

// persist moves a rollout until it has ended, however often that is broken off.
func (m *Mover) persist(ctx context.Context, id string) {
	wait := defaultPace
	for {
		err := m.Move(ctx, id)
		if err == nil || ctx.Err() != nil {
			return
		}
		if _, ok := errors.AsType[*plan.UsageError](err); ok {
			m.say(id, err.Error()) // there is no such rollout any more
			return
		}
		// Held by another process, or by the one that moves what this rollout has superseded and has not noticed yet.
		if _, held := errors.AsType[*store.HeldError](err); held {
			wait = min(2*wait, time.Second)
		} else {
			m.say(id, "it is tried again: "+err.Error())
			wait = min(2*max(wait, time.Second), time.Minute)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func (m *Mover) say(id, line string) {
	if m.Log != nil {
		m.Log(id, line)
	}
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// register is a change of a register.
func register(kind, id string, version int64, body any) record.Register {
	text, err := json.Marshal(body)
	if err != nil {
		panic("rollout: a register that is no JSON: " + err.Error()) // they are structs of strings, numbers and JSON
	}
	return record.Register{Kind: kind, ID: id, Version: version, Body: text}
}

// read decodes a register into body, and gives its version: 0 when there is none.
func (m *Mover) read(ctx context.Context, kind, id string, body any) (int64, error) {
	r, err := m.Store.Register(ctx, kind, id)
	if err == nil && r.Version > 0 {
		err = json.Unmarshal(r.Body, body)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s %.100q: %w", kind, id, err)
	}
	return r.Version, nil
}

func list[T any](ctx context.Context, m *Mover, kind, prefix string) ([]T, error) {
	registers, err := m.Store.Registers(ctx, kind, prefix)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	all := make([]T, len(registers))
	for i, r := range registers {
		if err := json.Unmarshal(r.Body, &all[i]); err != nil {
			return nil, fmt.Errorf("read %s %.100q: %w", kind, r.ID, err)
		}
	}
	return all, nil
}
