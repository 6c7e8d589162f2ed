// Package notify tells people and systems what happened: it turns the record
// into messages, and messages into what each channel takes.
//
// People are told on edges only: a branch's pipeline broke, is still broken a
// day later, was fixed; a run waits for an approval. [Fold] is the state machine
// that finds the edges, a pure function of events; [Plan] says who is told, by
// [Route]s; [Channel] is the door to where messages go. Who sends is launch's
// outbox: an [Envelope] is an event before it is sent, so none is sent twice
// silently or lost.
//
// Everything in a message that somebody else wrote (titles, branches, names of
// jobs) is shown as it is and nothing more: it mentions nobody, links nowhere and
// formats nothing.
//
// Children: webhook (CloudEvents and CDEvents), slack, teams, smtp, shoutrrr.
// What every child must do is written down in notifytest.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Channel is a kind of place that messages go to. Where exactly is a target: an
// address that often is a secret itself (who knows the URL of a chat's incoming
// webhook can write there), so it comes from the vault and is in no error.
type Channel interface {
	// Name is its short name: "slack".
	Name() string
	// Check says what is wrong with a target, without sending anything.
	Check(target string) error
	// Send sends one message, within [Patience]. The error is for the record: it
	// never holds the target's secrets. ErrRefused, wrapped, says that trying again
	// is useless.
	Send(ctx context.Context, target string, m *Message) error
}

// ErrRefused says that a message was refused for good: the target is wrong, or
// is no more.
var ErrRefused = errors.New("refused")

// Patience is how long one sending may take.
const Patience = 30 * time.Second

// Edge is what a message is about.
type Edge string

// The edges.
const (
	Broke    Edge = "broke"
	Still    Edge = "still broken" // daily
	Fixed    Edge = "fixed"
	Approval Edge = "waits for approval"
	Queued   Edge = "queued"   // for systems: every run of the server
	Started  Edge = "started"  // for systems, as well
	Finished Edge = "finished" // for systems, as well
	Test     Edge = "test"     // somebody tries the channel out
)

// Edges are all edges, in the order of a run's life.
func Edges() []Edge {
	return []Edge{Queued, Approval, Started, Finished, Broke, Still, Fixed, Test}
}

// ForPeople reports whether people are told of the edge unless they say otherwise.
func (e Edge) ForPeople() bool {
	return e == Broke || e == Still || e == Fixed || e == Approval
}

// Message is what is told, in facts; each channel finds its own words and form.
type Message struct {
	Edge       Edge          `json:"edge"`
	Repository string        `json:"repository"`
	Pipeline   string        `json:"pipeline"` // its name
	File       string        `json:"file,omitempty"`
	Branch     string        `json:"branch,omitempty"`
	Change     string        `json:"change,omitempty"` // number of the pull or merge request; "" for none
	Run        string        `json:"run,omitempty"`
	Number     int           `json:"number,omitempty"` // of the run among those of its pipeline
	Attempt    int           `json:"attempt,omitempty"`
	URL        string        `json:"url,omitempty"` // of the run's page; set by who sends
	Verdict    plan.Verdict  `json:"verdict,omitempty"`
	Why        string        `json:"why,omitempty"`
	SHA        string        `json:"sha,omitempty"`
	Title      string        `json:"title,omitempty"` // of the commit or change
	Actor      string        `json:"actor,omitempty"`
	Failed     []string      `json:"failed,omitempty"` // the failed jobs, the first few
	Since      time.Time     `json:"since,omitzero"`   // when it broke
	At         time.Time     `json:"at"`
	Took       time.Duration `json:"took,omitempty"`
}

// ID is the message's identity, 32 hexadecimal digits: the same for the same edge
// of the same run, whoever finds it and however often it is sent.
func (m *Message) ID() string {
	at := ""
	if m.Edge == Still || m.Edge == Test {
		at = strconv.FormatInt(m.At.Unix(), 10) // there are several of a run
	}
	return digest(string(m.Edge), m.Repository, m.File, m.Pipeline, m.Branch, m.Change, m.Run, at)
}

// Thread is the same for messages that belong together: those from when a branch
// broke until it was fixed, or those of one run.
func (m *Message) Thread() string {
	if !m.Since.IsZero() {
		return digest("thread", m.Repository, m.File, m.Pipeline, m.Branch, strconv.FormatInt(m.Since.Unix(), 10))
	}
	return digest("thread", m.Repository, m.Run)
}

// digest is of texts that cannot be mistaken for others with other borders.
func digest(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}
