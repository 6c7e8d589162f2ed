package crew

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// held finds the task of an attempt that a worker has.
func (h *Hands) held(ctx context.Context, w *hand, ref Ref) (*given, error) {
	h.mu.Lock()
	t := h.given[ref.id()]
	var doc assignmentDoc
	if t != nil {
		doc = t.doc
	}
	h.mu.Unlock()
	if t == nil {
		var err error
		if doc, _, err = h.assignment(ctx, ref.Run, ref.Job); err != nil {
			return nil, err
		}
	}
	switch {
	case doc.Worker != "" && doc.Worker != w.name:
		return nil, ErrNotYours
	case doc.State != assignmentHeld || doc.Worker != w.name || doc.Attempt != ref.Attempt:
		return nil, ErrFenced
	case t == nil:
		return nil, ErrNotYet
	}
	return t, nil
}

// Say takes what a worker says of a job, from an entry on.
func (h *Hands) Say(ctx context.Context, token, session string, ref Ref, from int64, entries []byte) (Heard, error) {
	w, err := h.worker(token, session)
	if err != nil {
		return Heard{}, err
	}
	if len(entries) > MaxSaid || from < 0 {
		return Heard{}, fmt.Errorf("%w: too much at once", ErrUnsound)
	}
	t, err := h.held(ctx, w, ref)
	if errors.Is(err, ErrFenced) {
		// Perhaps it has said all, and did not hear that it was heard.
		doc, _, rerr := h.assignment(ctx, ref.Run, ref.Job)
		if rerr == nil && (doc.State == assignmentEnded || doc.State == assignmentSettled) && doc.Worker == w.name && doc.Attempt == ref.Attempt {
			return Heard{Next: doc.Said, Done: true}, nil
		}
	}
	if err != nil {
		return Heard{}, err
	}
	t.io.Lock()
	defer t.io.Unlock()
	h.mu.Lock()
	mine := t.doc.State == assignmentHeld && t.doc.Worker == w.name && t.doc.Attempt == ref.Attempt && !t.ended
	said, left := t.said, t.left
	h.mu.Unlock()
	switch {
	case left:
		return Heard{}, ErrNotYet
	case !mine:
		return Heard{}, ErrFenced
	case from > said:
		return Heard{Next: said}, nil
	}
	return h.hear(ctx, t, w, from, entries)
}

// hear writes down what was said. The caller holds io.
func (h *Hands) hear(ctx context.Context, t *given, w *hand, at int64, entries []byte) (Heard, error) {
	h.mu.Lock()
	said, skew := t.said, w.skew
	h.mu.Unlock()
	var events []record.Event
	var over *ending
	for len(entries) > 0 {
		entry, rest, err := unframe(entries)
		if err != nil {
			return Heard{}, err
		}
		entries = rest
		if at++; at <= said {
			continue
		}
		if over != nil {
			return Heard{}, fmt.Errorf("%w: something after the end", ErrUnsound)
		}
		switch body := entry[1:]; entry[0] {
		case entryLines:
			err = h.print(t, skew, body)
		case entryEvents:
			var more []record.Event
			if more, err = readEvents(body, t.run, t.job); err == nil {
				err = h.vet(ctx, t, w, skew, more)
			}
			events = append(events, more...)
		case entryArtifact:
			err = h.adopt(ctx, t, body)
		case entryCache:
			err = h.adoptCache(ctx, t, body)
		case entryEnd:
			var e ending
			e, err = readEnd(body)
			over = &e
		default:
			err = fmt.Errorf("%w: an entry of kind %q", ErrUnsound, entry[0])
		}
		if err != nil {
			return Heard{}, err
		}
	}
	if len(events) > 0 || over != nil {
		if t.dirty {
			// Lines are never behind the events that speak of them.
			if err := t.log.Sync(); err != nil {
				return Heard{}, fmt.Errorf("write the log of job %s of run %s: %w", t.job, t.run, err)
			}
			t.dirty = false
		}
		doc := t.doc
		doc.Said = max(at, said)
		if over != nil && over.Lost == "" {
			stored := over.Ended
			stored.Confided = nil
			doc.State, doc.Ended = assignmentEnded, &stored
			t.confided = over.Confided
		}
		if _, err := h.write(ctx, t, doc, events...); err != nil {
			if errors.Is(err, record.ErrConflict) {
				return Heard{}, fmt.Errorf("%w: another server deals with it", ErrFenced)
			}
			return Heard{}, fmt.Errorf("write what worker %s said: %w", w.name, err)
		}
	}
	h.mu.Lock()
	t.said = max(t.said, at)
	next := t.said
	h.mu.Unlock()
	switch {
	case over != nil && over.Lost != "":
		// io is ours: it is taken back once we are done.
		go func() {
			h.complain("give a job to somebody else", h.lose(context.WithoutCancel(ctx), t, func() bool { return true }, over.Lost))
		}()
	case over != nil:
		h.close(t)
	}
	return Heard{Next: next, Done: over != nil}, nil
}

// print adds lines to a log. Those that it has are passed over.
func (h *Hands) print(t *given, skew time.Duration, lines []byte) error {
	now := time.Now()
	return eachLine(lines, func(n int64, step string, at time.Time, text []byte) error {
		have := t.log.Lines()
		if n < have {
			return nil
		}
		if n-have > maxGap {
			return fmt.Errorf("%w: line %d of a log of %d", ErrUnsound, n, have)
		}
		for ; have < n; have++ {
			if _, err := t.log.Line("", now, []byte("(this line was lost when the server went down)")); err != nil {
				return fmt.Errorf("write the log: %w", err)
			}
		}
		if at = at.Add(skew); at.After(now) {
			at = now
		}
		t.dirty = true
		if _, err := t.log.Line(step, at, text); err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
		return nil
	})
}

// vet makes sure that events of a worker may become part of the record.
func (h *Hands) vet(ctx context.Context, t *given, w *hand, skew time.Duration, events []record.Event) error {
	now := time.Now()
	for i := range events {
		e := &events[i]
		// By our clock, neither in the future nor before what was there.
		if e.Time = e.Time.Add(skew); e.Time.After(now) || e.Time.IsZero() {
			e.Time = now
		}
		if e.Time.Before(t.last) {
			e.Time = t.last
		}
		t.last = e.Time
		if b, ok := e.Body.(*record.JobStarted); ok {
			b.Place = engine.PlaceOf(w.name)
		}
		for _, digest := range named(e.Body) {
			if err := h.here(ctx, digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// here makes sure that the bytes of a blob are here.
func (h *Hands) here(ctx context.Context, digest string) error {
	d, err := blob.Parse(digest)
	if err != nil {
		return fmt.Errorf("%w: a blob: %w", ErrUnsound, err)
	}
	lacking, err := h.Blobs.Missing(ctx, []blob.Digest{d})
	if err == nil && len(lacking) > 0 {
		err = fmt.Errorf("%w: a blob without its bytes", ErrUnsound)
	}
	if err != nil {
		return fmt.Errorf("look for a blob: %w", err)
	}
	return nil
}

// adopt takes over an artifact.
func (h *Hands) adopt(ctx context.Context, t *given, body []byte) error {
	var a depot.Artifact
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("%w: a blob: %w", ErrUnsound, err)
	}
	a.Run, a.Job = t.run, t.job
	if err := h.here(ctx, string(a.Digest)); err != nil {
		return err
	}
	return h.Depot.Adopt(ctx, a)
}

// caches are those that a job's worker is told of.
func (h *Hands) caches(ctx context.Context, t *given) ([]depot.Cache, error) {
	list, err := h.Depot.Caches(ctx, t.a.Context.Change.Repository)
	return list[:min(len(list), maxCaches)], err
}

// adoptCache takes over a cache. Unless the run is trusted with what all others read, it is
// one of the run's own ref: what a worker says is as good as the jobs that run there.
func (h *Hands) adoptCache(ctx context.Context, t *given, body []byte) error {
	var c depot.Cache
	if err := json.Unmarshal(body, &c); err != nil {
		return fmt.Errorf("%w: a cache: %w", ErrUnsound, err)
	}
	c.Run, c.Job = t.run, t.job
	if err := h.here(ctx, string(c.Digest)); err != nil {
		return err
	}
	change := t.a.Context.Change
	if c.Ref != change.Ref {
		run, err := h.Store.Run(ctx, t.run)
		if err != nil {
			return fmt.Errorf("read run %s: %w", t.run, err)
		}
		if run.Planned == nil || run.Planned.Origin == nil || run.Planned.Origin.Trust != record.Protected || run.Planned.Origin.Change != "" {
			return nil // it stays the worker's
		}
	}
	if now := time.Now(); c.Created.After(now) {
		c.Created = now.UTC() // by our clock, or nobody's would ever be newer
	}
	return h.Depot.AdoptCache(ctx, change.Repository, c)
}

// Missing are those of the digests whose bytes are not here.
func (h *Hands) Missing(ctx context.Context, token, session string, ref Ref, digests []blob.Digest) ([]blob.Digest, error) {
	if _, err := h.heldBy(ctx, token, session, ref); err != nil {
		return nil, err
	}
	return h.Blobs.Missing(ctx, digests)
}

// heldBy is held for whoever shows a token.
func (h *Hands) heldBy(ctx context.Context, token, session string, ref Ref) (*given, error) {
	w, err := h.worker(token, session)
	if err != nil {
		return nil, err
	}
	return h.held(ctx, w, ref)
}

// Put takes the bytes of an artifact.
func (h *Hands) Put(ctx context.Context, token, session string, ref Ref, d blob.Digest, r io.Reader) error {
	if _, err := h.heldBy(ctx, token, session, ref); err != nil {
		return err
	}
	_, _, err := h.Blobs.Put(ctx, proving(io.LimitReader(r, MaxBlob), d))
	return err
}

// Blob opens an artifact of a job's run.
func (h *Hands) Blob(ctx context.Context, token, session string, ref Ref, d blob.Digest) (io.ReadCloser, error) {
	t, err := h.heldBy(ctx, token, session, ref)
	if err != nil {
		return nil, err
	}
	saved, err := h.Depot.Artifacts(ctx, ref.Run)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(saved, func(a depot.Artifact) bool { return a.Digest == d })
	if !known {
		caches, err := h.caches(ctx, t)
		if err != nil {
			return nil, err
		}
		known = slices.ContainsFunc(caches, func(c depot.Cache) bool { return c.Digest == d })
	}
	if !known {
		return nil, blob.ErrNotFound
	}
	return h.Blobs.Open(ctx, d)
}

// Bundle writes the commit of a job's tree.
func (h *Hands) Bundle(ctx context.Context, token, session string, ref Ref, have []string, to io.Writer) error {
	t, err := h.heldBy(ctx, token, session, ref)
	if err != nil {
		return err
	}
	return h.Trees.Bundle(ctx, t.a.Context, have, to)
}
