package access

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// memory is a store for tests: it keeps what a database would, as text.
type memory struct {
	mu        sync.Mutex
	registers map[[2]string]record.Register
	events    []row
	changes   int // transactions so far
}

type row struct {
	seq  int64
	time time.Time
	run  string
	job  string
	kind record.Kind
	body string
}

func newMemory() *memory { return &memory{registers: map[[2]string]record.Register{}} }

func (m *memory) Register(_ context.Context, kind, id string) (record.Register, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.register(kind, id), nil
}

func (m *memory) register(kind, id string) record.Register {
	r, ok := m.registers[[2]string{kind, id}]
	if !ok || !r.Expires.IsZero() && !time.Now().Before(r.Expires) {
		return record.Register{Kind: kind, ID: id}
	}
	r.Body = bytes.Clone(r.Body)
	return r
}

func (m *memory) Registers(_ context.Context, kind, prefix string) (list []record.Register, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.registers {
		if k[0] == kind && strings.HasPrefix(k[1], prefix) {
			if r := m.register(kind, k[1]); r.Version > 0 {
				list = append(list, r)
			}
		}
	}
	slices.SortFunc(list, func(a, b record.Register) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

func (m *memory) Change(_ context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[[2]string]bool{}
	for _, r := range changes {
		k := [2]string{r.Kind, r.ID}
		if seen[k] || r.ID == "" || r.Body != nil && !json.Valid(r.Body) {
			return nil, fmt.Errorf("bad change of %q", k)
		}
		seen[k] = true
		if m.register(r.Kind, r.ID).Version != r.Version {
			return nil, fmt.Errorf("%s %s: %w", r.Kind, r.ID, record.ErrConflict)
		}
	}
	for _, r := range changes {
		k := [2]string{r.Kind, r.ID}
		if r.Body == nil {
			delete(m.registers, k)
			continue
		}
		r.Version++
		r.Changed = time.Now().UTC()
		m.registers[k] = r
	}
	m.changes++
	for _, e := range events {
		body, err := json.Marshal(e.Body)
		if err != nil {
			return nil, err
		}
		at := e.Time
		if at.IsZero() {
			at = time.Now()
		}
		m.events = append(m.events, row{int64(len(m.events) + 1), time.UnixMicro(at.UnixMicro()).UTC(), e.Run, e.Job, e.Kind(), string(body)})
	}
	return events, nil
}

func (m *memory) After(_ context.Context, seq int64) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		m.mu.Lock()
		rows := slices.Clone(m.events)
		m.mu.Unlock()
		for _, r := range rows {
			if r.seq <= seq {
				continue
			}
			e := record.Event{Seq: r.seq, Time: r.time, Run: r.run, Job: r.job}
			body, err := record.Decode(r.kind, []byte(r.body))
			if err == nil {
				e.Body = body
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// copy is a backup.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	for k, r := range m.registers {
		c.registers[k] = r
	}
	c.events = slices.Clone(m.events)
	return c
}

// dump is all that somebody who steals the database has.
func (m *memory) dump() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for k, r := range m.registers {
		fmt.Fprintln(&b, k, string(r.Body))
	}
	for _, e := range m.events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// acts are the acts in the record, in short.
func (m *memory) acts(t *testing.T) (acts []Entry) {
	t.Helper()
	for e, err := range m.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if entry, ok := EntryOf(e); ok {
			acts = append(acts, entry)
		}
	}
	return acts
}

// lastAct is the newest act.
func (m *memory) lastAct(t *testing.T) Entry {
	t.Helper()
	acts := m.acts(t)
	if len(acts) == 0 {
		t.Fatal("nothing was recorded")
	}
	return acts[len(acts)-1]
}
