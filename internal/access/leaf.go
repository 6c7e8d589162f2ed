package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// audited are the kinds of events that are somebody's acts. Which they are is
// part of the format of the trail, as is the form of a leaf: a kind that is added
// here makes acts of old events, and every old trail wrong.
var audited = [...]record.Kind{"acted", "run.approved", "run.requested", "cancel.requested"}

// Audited are the kinds of events that the audit trail holds, for whoever
// chooses events from the record.
func Audited() []record.Kind { return slices.Clone(audited[:]) }

// Entry is an act, as the audit trail is shown.
type Entry struct {
	Seq    int64             `json:"seq"`
	Time   time.Time         `json:"time"`
	By     string            `json:"by"`             // "" for a stranger
	Via    string            `json:"via,omitempty"`  // "session", "token deploy", "command line", "schedule"
	From   string            `json:"from,omitempty"` // address
	Verb   string            `json:"verb"`
	Object string            `json:"object,omitempty"` // "account ada", "run 4711", "team/app"
	Denied string            `json:"denied,omitempty"` // why it was not allowed
	Detail map[string]string `json:"detail,omitempty"`
}

// EntryOf is the act that an event tells of; ok is false for events that are
// nobody's act.
func EntryOf(e record.Event) (entry Entry, ok bool) {
	entry = Entry{Seq: e.Seq, Time: e.Time}
	detail := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				if entry.Detail == nil {
					entry.Detail = map[string]string{}
				}
				entry.Detail[pairs[i]] = pairs[i+1]
			}
		}
	}
	run := func(verb Verb, by, why string) {
		entry.Verb, entry.By, entry.Object = string(verb), by, "run "+e.Run
		if e.Job != "" {
			entry.Object += ", job " + e.Job
		}
		detail("why", why)
	}
	switch b := e.Body.(type) {
	case *record.Acted:
		entry.By, entry.Via, entry.From, entry.Verb = b.By, b.Via, b.From, b.Verb
		entry.Object, entry.Denied, entry.Detail = b.Object, b.Denied, b.Detail
	case *record.RunApproved:
		run(ApproveRun, b.By, b.Why)
	case *record.CancelRequested:
		run(CancelRun, b.By, b.Why)
	case *record.RunRequested:
		entry.Verb, entry.By, entry.Via, entry.Object = string(StartRun), b.By, b.Cause, b.Repository
		c := b.Change
		if c == nil {
			c = new(plan.Change)
		}
		detail("workflow", b.Workflow, "event", c.Event, "ref", c.Ref, "sha", c.SHA)
	default:
		return Entry{}, false
	}
	return entry, true
}

// Telling makes entries of events that come newest first. An act and what it brings
// about at once, an approval or a request to cancel, are two events side by side:
// it is told once, as the act.
type Telling struct{ act *record.Event }

// Entry is [EntryOf] for the next event.
func (t *Telling) Entry(e record.Event) (Entry, bool) {
	entry, ok := EntryOf(e)
	if _, isAct := e.Body.(*record.Acted); isAct {
		t.act = &e
		return entry, ok
	}
	if t.act != nil && t.act.Seq == e.Seq+1 {
		act := t.act.Body.(*record.Acted)
		if act.By == entry.By && act.Verb == entry.Verb && act.Denied == "" && (e.Kind() == "run.approved" || e.Kind() == "cancel.requested") {
			return entry, false
		}
	}
	return entry, ok
}

// Leaf is what is hashed of an act; nil for events that are nobody's act.
//
// It is one JSON object without white space, its members sorted by name at every
// depth:
//
//	{"body":{…},"job":"build","kind":"cancel.requested","run":"7","seq":12,"time":1795428308123456,"v":1}
//
// time is in microseconds since 1970; job, run and step are left out when empty.
// body is the event's JSON without those of its own members that are null, false,
// 0, "", [] or {}: so a field that a later Fairlead adds changes no old leaf.
// What no Fairlead reads, such as members that it does not know, is not part of
// it.
func Leaf(e record.Event) ([]byte, error) {
	if e.Body == nil || !slices.Contains(audited[:], e.Kind()) {
		return nil, nil
	}
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("leaf of event %d: %w", e.Seq, err)
	}
	text, err := json.Marshal(e.Body)
	if err != nil {
		return fail(err)
	}
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a number is the text that stands there
	if err := d.Decode(&body); err != nil {
		return fail(err)
	}
	for name, value := range body {
		if zero(value) {
			delete(body, name)
		}
	}
	leaf := map[string]any{"v": 1, "seq": e.Seq, "time": e.Time.UnixMicro(), "kind": e.Kind(), "body": body}
	for name, value := range map[string]string{"run": e.Run, "job": e.Job, "step": e.Step} {
		if value != "" {
			leaf[name] = value
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(leaf); err != nil { // sorts maps
		return fail(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func zero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
