// Package webhook tells other systems, as they agreed to be told: a CloudEvent
// (version 1.0, the binary mode of its HTTP binding) whose body is a CDEvent
// (version 0.5).
//
// The vocabulary of CDEvents has runs that are queued, started and finished; the
// other edges are custom events of it, dev.cdeventsx.fairlead-branch.broke and so on, with
// the same content. The event's customData holds Fairlead's own facts.
//
// The target is a URL, optionally followed by white space and a secret with which the
// request is signed as the Standard Webhooks specification says: the header
// webhook-signature is "v1," and the base64 of an HMAC-SHA256 of the webhook-id, the
// webhook-timestamp and the body with dots between. A secret that begins with
// whsec_ is base64. The webhook-id is the same when a message is sent again, so
// that the receiver can tell.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Versions of CDEvents, of the events that it has, and of those that are ours.
const (
	specVersion   = "0.5.1"
	eventVersion  = "0.3.0"
	customVersion = "0.1.0"
)

// Channel is the way to any system that takes CloudEvents.
type Channel struct {
	Client *http.Client // says which addresses may be reached
	// Source is who speaks: the server's URL, or "" for none.
	Source string
	// Now is the clock that signatures are made by; nil: the machine's.
	Now func() time.Time
}

// Name implements [notify.Channel].
func (Channel) Name() string { return "webhook" }

// Check implements [notify.Channel].
func (Channel) Check(target string) error {
	_, _, err := parse(target)
	return err
}

// parse takes a target apart. key is nil when nothing is to be signed.
func parse(target string) (u *url.URL, key []byte, err error) {
	fields := strings.Fields(target)
	if len(fields) == 0 || len(fields) > 2 {
		return nil, nil, errors.New("the target is not a URL, optionally followed by a space and a secret for signing")
	}
	if u, err = notify.ParseURL(fields[0]); err != nil || len(fields) == 1 {
		return u, nil, err
	}
	encoded, ok := strings.CutPrefix(fields[1], "whsec_")
	if !ok {
		key = []byte(fields[1])
	} else if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return nil, nil, errors.New("what follows whsec_ in the secret for signing is not base64")
	}
	if strings.ContainsFunc(fields[1], unicode.IsControl) {
		return nil, nil, errors.New("the secret for signing holds control characters")
	}
	if len(key) < minKey {
		return nil, nil, fmt.Errorf("the secret for signing is shorter than %d bytes", minKey)
	}
	return u, key, nil
}

// minKey is how long a secret has to be that is worth signing with, in bytes.
const minKey = 16

// Send implements [notify.Channel].
func (c Channel) Send(ctx context.Context, target string, m *notify.Message) error {
	u, key, err := parse(target)
	if err != nil {
		return fmt.Errorf("send to webhook: %w: %w", err, notify.ErrRefused)
	}
	e := c.event(m)
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("send to webhook: %w", err)
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	header := e.header()
	sign(header, e.Context.ID, now(), key, body)
	return notify.Post(ctx, c.Client, u, header, body, strings.Fields(target)[1:]...)
}

// event is a CDEvent.
type event struct {
	Context        eventContext `json:"context"`
	Subject        subject      `json:"subject"`
	CustomData     facts        `json:"customData"`
	CustomDataType string       `json:"customDataContentType"`
}

type eventContext struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	ChainID     string    `json:"chainId"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Timestamp   time.Time `json:"timestamp"`
}

type subject struct {
	ID      string  `json:"id"`
	Source  string  `json:"source"`
	Type    string  `json:"type,omitempty"` // custom events have one
	Content content `json:"content"`
}

type content struct {
	PipelineName string `json:"pipelineName,omitempty"`
	URI          string `json:"uri,omitempty"`
	Outcome      string `json:"outcome,omitempty"`
	Errors       string `json:"errors,omitempty"`
}

// facts are Fairlead's own words, for those who know them.
type facts struct {
	Edge       notify.Edge  `json:"edge"`
	Repository string       `json:"repository,omitempty"`
	File       string       `json:"file,omitempty"`
	Branch     string       `json:"branch,omitempty"`
	Change     string       `json:"change,omitempty"`
	Run        string       `json:"run,omitempty"`
	Number     int          `json:"number,omitempty"`
	Attempt    int          `json:"attempt,omitempty"`
	Verdict    plan.Verdict `json:"verdict,omitempty"`
	SHA        string       `json:"sha,omitempty"`
	Title      string       `json:"title,omitempty"`
	Actor      string       `json:"actor,omitempty"`
	Failed     []string     `json:"failed,omitempty"`
	Since      time.Time    `json:"since,omitzero"`
	Seconds    float64      `json:"seconds,omitempty"` // that the run took
}

// event is a message as a CDEvent.
func (c Channel) event(m *notify.Message) event {
	source := strings.TrimSuffix(c.Source, "/") + "/" + escapePath(m.Repository)
	e := event{
		Context: eventContext{
			SpecVersion: specVersion, ID: m.ID(), ChainID: m.Thread(), Source: source,
			Timestamp: m.At.UTC(),
		},
		Subject:        subject{ID: strings.ToValidUTF8(m.Run, "\uFFFD"), Source: source},
		CustomDataType: "application/json",
		CustomData: facts{
			m.Edge, m.Repository, m.File, m.Branch, m.Change, m.Run, m.Number, m.Attempt, m.Verdict,
			m.SHA, m.Title, m.Actor, m.Failed, m.Since.UTC(), m.Took.Seconds(),
		},
	}
	if m.Since.IsZero() {
		e.CustomData.Since = time.Time{}
	}
	if m.Run == "" {
		e.Subject.ID = m.ID()
	}
	e.Subject.Content = content{PipelineName: m.Pipeline, URI: m.Link()}
	switch m.Edge {
	case notify.Queued, notify.Started, notify.Finished:
		e.Context.Type = "dev.cdevents.pipelinerun." + string(m.Edge) + "." + eventVersion
	default:
		// Runs wait and channels are tried out; what breaks is a branch.
		kind, predicate := "branch", ""
		switch m.Edge {
		case notify.Still:
			predicate = "stillbroken"
		case notify.Approval:
			kind, predicate = "pipelinerun", "waiting"
		case notify.Test:
			kind, predicate = "channel", "tested"
		default:
			predicate = string(m.Edge)
		}
		if kind == "branch" && m.Branch != "" {
			e.Subject.ID = strings.ToValidUTF8(m.Branch, "\uFFFD")
		}
		e.Subject.Type = "fairlead-" + kind
		e.Context.Type = "dev.cdeventsx.fairlead-" + kind + "." + predicate + "." + customVersion
	}
	if m.Verdict != "" {
		e.Subject.Content.Outcome = outcome(m.Verdict)
	}
	if m.Verdict.Bad() {
		e.Subject.Content.Errors = m.Why
		if m.Why == "" && len(m.Failed) > 0 {
			e.Subject.Content.Errors = "failed: " + strings.Join(m.Failed, ", ")
		}
	}
	return e
}

// outcome is a verdict in the words of CDEvents.
func outcome(v plan.Verdict) string {
	switch v {
	case plan.Success, plan.Skipped:
		return "success"
	case plan.Cancelled:
		return "cancel"
	case plan.Failure:
		return "failure"
	}
	return "error" // our machine, or it took too long
}

// escapePath is a repository's name as a path of a URI reference.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// header is the event as CloudEvents puts it into header fields, which hold
// ASCII: anything else is percent-encoded.
func (e event) header() http.Header {
	return http.Header{
		"Content-Type":   {"application/cdevents+json; charset=utf-8"},
		"ce-specversion": {"1.0"},
		"ce-id":          {e.Context.ID},
		"ce-source":      {encode(e.Context.Source)},
		"ce-type":        {e.Context.Type},
		"ce-subject":     {encode(e.Subject.ID)},
		"ce-time":        {e.Context.Timestamp.Format(time.RFC3339Nano)},
	}
}

// encode is a string as a header field's value (section 3.1.3.2 of CloudEvents'
// HTTP binding).
func encode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7F || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// sign adds the delivery's identity and, with a key, its signature.
func sign(header http.Header, id string, at time.Time, key, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	header["webhook-id"] = []string{id}
	header["webhook-timestamp"] = []string{stamp}
	if key != nil {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		header["webhook-signature"] = []string{"v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
	}
}
