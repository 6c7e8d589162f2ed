package crew

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// The kinds of entries, each the first byte of one.
const (
	entryLines    = 'L' // number of the first line; then lines: step, time, text
	entryEvents   = 'E' // events as JSON
	entryArtifact = 'A' // an artifact, as a depot has it, as JSON
	entryCache    = 'C' // a cache, likewise
	entryEnd      = 'F' // an ending as JSON
)

// ending is how a worker's attempt at a job ended.
type ending struct {
	engine.Ended
	// Lost says that it is not known how the job ended, and why; "" else.
	Lost string `json:"lost,omitempty"`
}

// told is an event as a worker tells it.
type toldEvent struct {
	Time time.Time       `json:"time"`
	Step string          `json:"step,omitempty"`
	Kind record.Kind     `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// workersKinds are the events that a worker may tell of a job.
func workersKind(k record.Kind) bool {
	switch k {
	case "job.started", "material", "step.started", "step.finished", "tests.reported", "coverage.reported", "load.reported", "findings.reported", "artifact.saved":
		return true
	}
	return false
}

// appendLine appends a line to the lines of an entry.
func appendLine(b []byte, step string, at time.Time, text []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(step)))
	b = append(b, step...)
	b = binary.AppendVarint(b, at.UnixMicro())
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// beginLines begins an entry of lines.
func beginLines(b []byte, first int64) []byte {
	return binary.AppendUvarint(append(b, entryLines), uint64(first))
}

// eachLine calls fn with the lines of an entry, without its first byte. The text is valid
// only during the call.
func eachLine(b []byte, fn func(n int64, step string, at time.Time, text []byte) error) error {
	first, k := binary.Uvarint(b)
	if k <= 0 || first > 1<<48 {
		return fmt.Errorf("%w: lines without a number", ErrUnsound)
	}
	b = b[k:]
	step := ""
	for n := int64(first); len(b) > 0; n++ {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > logs.MaxStep || size > uint64(len(b)-k) {
			return fmt.Errorf("%w: a line's step", ErrUnsound)
		}
		if name := b[k : k+int(size)]; string(name) != step {
			step = string(name)
		}
		b = b[k+int(size):]
		at, k := binary.Varint(b)
		if k <= 0 {
			return fmt.Errorf("%w: a line's time", ErrUnsound)
		}
		b = b[k:]
		size, k = binary.Uvarint(b)
		if k <= 0 || size > logs.MaxLine || size > uint64(len(b)-k) {
			return fmt.Errorf("%w: a line's text", ErrUnsound)
		}
		if err := fn(n, step, time.UnixMicro(at).UTC(), b[k:k+int(size)]); err != nil {
			return err
		}
		b = b[k+int(size):]
	}
	return nil
}

// eventsEntry makes an entry of events.
func eventsEntry(events []record.Event) ([]byte, error) {
	list := make([]toldEvent, len(events))
	for i, e := range events {
		body, err := json.Marshal(e.Body)
		if err != nil {
			return nil, fmt.Errorf("write event %s: %w", e.Kind(), err)
		}
		list[i] = toldEvent{e.Time, e.Step, e.Kind(), body}
	}
	data, err := json.Marshal(list)
	if err == nil && len(data)+1 > maxEntry {
		err = fmt.Errorf("the events take %d bytes, and may take %d", len(data), maxEntry-1)
	}
	return append([]byte{entryEvents}, data...), err
}

// readEvents reads an entry of events, without its first byte. Run and job are not theirs
// to say.
func readEvents(b []byte, run, job string) ([]record.Event, error) {
	var list []toldEvent
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsound, err)
	}
	events := make([]record.Event, len(list))
	for i, e := range list {
		if !workersKind(e.Kind) || len(e.Step) > logs.MaxStep {
			return nil, fmt.Errorf("%w: an event %.40q", ErrUnsound, e.Kind)
		}
		body, err := record.Decode(e.Kind, e.Body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsound, err)
		}
		events[i] = record.Event{Time: e.Time, Run: run, Job: job, Step: e.Step, Body: body}
	}
	return events, nil
}

// readEnd reads an entry that is an end, without its first byte.
func readEnd(b []byte) (e ending, err error) {
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("%w: %w", ErrUnsound, err)
	}
	switch e.Verdict {
	case plan.Success, plan.Failure, plan.Fault, plan.Timeout, plan.Cancelled, plan.Skipped:
		return e, nil
	}
	if e.Lost == "" {
		return e, fmt.Errorf("%w: a job does not end in %.20q", ErrUnsound, e.Verdict)
	}
	return e, nil
}

// frame appends an entry to those that are said at once.
func frame(b, entry []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(entry))), entry...)
}

// unframe takes the first entry off.
func unframe(b []byte) (entry, rest []byte, err error) {
	size, k := binary.Uvarint(b)
	if k <= 0 || size == 0 || size > maxEntry || size > uint64(len(b)-k) {
		return nil, nil, fmt.Errorf("%w: an entry is cut off, or too long", ErrUnsound)
	}
	return b[k : k+int(size)], b[k+int(size):], nil
}
