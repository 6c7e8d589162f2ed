package launch

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Incidents are the troubles of what was deployed. One is a register; each change of it is one
// transaction of the register, the event that tells of it ([record.IncidentChanged]), and the leaf
// of the audit trail. They are opened by people, by alerts, and by rollouts that were taken back.
type Incidents struct {
	Store IncidentStore
	Now   func() time.Time // nil: time.Now
}

// IncidentStore is what incidents ask of the store; package store says what its methods promise.
type IncidentStore interface {
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

const (
	// IncidentKind is the kind of the registers of incidents, by ID.
	IncidentKind = "incident"
	// alertKind is that of the alerts that are firing, by repository and fingerprint: a firing.
	alertKind = "alert"
)

// Limits of incidents.
const (
	maxTitle     = 200
	maxNote      = 10_000
	maxRunbook   = 500
	maxAlerts    = 100 // of one notification
	maxChangeTry = 5   // how often a change is tried that met another
	// keepAlert is how long an alert that was never resolved is known.
	keepAlert = 90 * 24 * time.Hour
)

// Severities are those that an incident may have, the worst first.
func Severities() []string { return []string{"critical", "major", "minor"} }

// NewIncidentID is an ID that sorts by the day.
func NewIncidentID(now time.Time) string {
	return now.UTC().Format("20060102") + "-" + strings.ToLower(rand.Text()[:6])
}

func (n *Incidents) now() time.Time {
	if n.Now != nil {
		return n.Now().UTC()
	}
	return time.Now().UTC()
}

// Incident is the one with that ID. The error is a [*plan.UsageError] when there is none.
func (n *Incidents) Incident(ctx context.Context, id string) (record.Incident, error) {
	i, _, err := n.read(ctx, id)
	return i, err
}

func (n *Incidents) read(ctx context.Context, id string) (i record.Incident, version int64, err error) {
	r, err := n.Store.Register(ctx, IncidentKind, id)
	if err == nil && r.Version > 0 {
		err = json.Unmarshal(r.Body, &i)
	}
	switch {
	case err != nil:
		return i, 0, fmt.Errorf("read incident %s: %w", id, err)
	case r.Version == 0:
		return i, 0, &plan.UsageError{Message: fmt.Sprintf("there is no incident %.60q", id), Hint: "`fairlead incident list` lists them"}
	}
	return i, r.Version, nil
}

// List are the incidents of a repository ("" for all), the newest first; those that are not resolved if
// open.
func (n *Incidents) List(ctx context.Context, repository string, open bool) ([]record.Incident, error) {
	rows, err := n.Store.Registers(ctx, IncidentKind, "")
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	list := []record.Incident{}
	for _, r := range rows {
		var i record.Incident
		if err := json.Unmarshal(r.Body, &i); err != nil {
			return nil, fmt.Errorf("read incident %s: %w", r.ID, err)
		}
		if (repository == "" || i.Repository == repository) && (!open || i.Resolved.IsZero()) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b record.Incident) int { return cmp.Or(b.Opened.Compare(a.Opened), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// checked is a draft that can be opened.
func (n *Incidents) checked(by By, in record.Incident) (record.Incident, error) {
	no := func(hint, format string, args ...any) (record.Incident, error) {
		return in, &plan.UsageError{Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	in.Title = strings.TrimSpace(in.Title)
	in.Severity = cmp.Or(in.Severity, "major")
	now := n.now()
	switch {
	case in.Repository == "":
		return no("name the one whose software is in trouble", "an incident is of a repository")
	case in.Title == "":
		return no("say in a few words what does not work", "an incident has a title")
	case !slices.Contains(Severities(), in.Severity):
		return no("it is "+strings.Join(Severities(), ", "), "%.40q is no severity", in.Severity)
	case in.Began.After(now):
		return no("", "it cannot have begun at %s, which is yet to come", in.Began.Format(time.RFC3339))
	}
	for what, text := range map[string]string{"title": in.Title, "service": in.Service, "environment": in.Environment, "rollout": in.Rollout, "run": in.Run} {
		if utf8.RuneCountInString(text) > maxTitle || hasControl(text) || !utf8.ValidString(text) {
			return no(fmt.Sprintf("at most %d characters, on one line", maxTitle), "%.40q cannot be the %s of an incident", text, what)
		}
	}
	if in.Runbook != "" {
		// It becomes a link: only what a browser may follow, or the path of a file.
		u, err := url.Parse(in.Runbook)
		if err != nil || len(in.Runbook) > maxRunbook || hasControl(in.Runbook) || u.Scheme != "" && u.Scheme != "https" && u.Scheme != "http" {
			return no("give an address, or the path of a file", "%.40q cannot be a runbook", in.Runbook)
		}
	}
	in.ID, in.Opened, in.OpenedBy, in.Resolved, in.ResolvedBy = NewIncidentID(now), now, cmp.Or(in.OpenedBy, by.Name), time.Time{}, ""
	return in, nil
}

// Open opens an incident as the draft has it, with what is known of it as text, and returns it.
func (n *Incidents) Open(ctx context.Context, by By, draft record.Incident, text string) (record.Incident, error) {
	draft.OpenedBy = ""
	in, err := n.checked(by, draft)
	if err == nil {
		err = noteable(text, true)
	}
	if err != nil {
		return in, err
	}
	return in, n.write(ctx, by, in, 0, "opened", text)
}

func noteable(text string, may bool) error {
	switch {
	case !may && strings.TrimSpace(text) == "":
		return &plan.UsageError{Message: "there is nothing in the note"}
	case len(text) > maxNote || !utf8.ValidString(text):
		return &plan.UsageError{Message: fmt.Sprintf("a note has at most %d bytes of text", maxNote)}
	}
	return nil
}

// write makes a change of an incident whole: register, event, trail. More registers may change with it.
func (n *Incidents) write(ctx context.Context, by By, i record.Incident, version int64, what, text string, more ...record.Register) error {
	changes := append([]record.Register{register(IncidentKind, i.ID, version, i)}, more...)
	detail := map[string]string{"incident": i.ID, "what": what, "title": i.Title}
	_, err := n.Store.Change(ctx, changes, record.Event{Body: &record.IncidentChanged{Incident: i, What: what, Text: text, By: by.Name}}, by.Acted(access.SetIncidents, i.Repository, detail))
	if err != nil {
		return fmt.Errorf("write down incident %s: %w", i.ID, err)
	}
	return nil
}

// change changes an incident, again when somebody else did so meanwhile. do says what it does;
// "" for nothing.
func (n *Incidents) change(ctx context.Context, by By, id, text string, do func(i *record.Incident) (what string, err error)) error {
	for try := 1; ; try++ {
		i, version, err := n.read(ctx, id)
		if err != nil {
			return err
		}
		what, err := do(&i)
		if what == "" || err != nil {
			return err
		}
		if err = n.write(ctx, by, i, version, what, text); !errors.Is(err, record.ErrConflict) || try == maxChangeTry {
			return err
		}
	}
}

// Note adds a note to an incident.
func (n *Incidents) Note(ctx context.Context, by By, id, text string) error {
	if err := noteable(text, false); err != nil {
		return err
	}
	return n.change(ctx, by, id, text, func(*record.Incident) (string, error) { return "noted", nil })
}

// Link says which deployment caused an incident: a rollout, or a run that deployed. Both empty take the
// link away.
func (n *Incidents) Link(ctx context.Context, by By, id, rollout, run, text string) error {
	switch {
	case rollout != "" && run != "":
		return &plan.UsageError{Message: "an incident is caused by a rollout or by a run, not by both"}
	case len(rollout)+len(run) > maxTitle || hasControl(rollout+run):
		return &plan.UsageError{Message: fmt.Sprintf("%.40q is no deployment", rollout+run)}
	}
	if err := noteable(text, true); err != nil {
		return err
	}
	return n.change(ctx, by, id, text, func(i *record.Incident) (string, error) {
		if i.Rollout == rollout && i.Run == run {
			return "", nil
		}
		i.Rollout, i.Run = rollout, run
		return "linked", nil
	})
}

// began is when the trouble did, as far as that is known.
func began(i *record.Incident) time.Time {
	if !i.Began.IsZero() {
		return i.Began
	}
	return i.Opened
}

// Resolve ends an incident. at is when service was restored; zero: now.
func (n *Incidents) Resolve(ctx context.Context, by By, id, text string, at time.Time) error {
	if err := noteable(text, true); err != nil {
		return err
	}
	return n.change(ctx, by, id, text, func(i *record.Incident) (string, error) {
		when := n.now()
		if !at.IsZero() {
			when = at.UTC()
		}
		switch {
		case !i.Resolved.IsZero():
			return "", &plan.UsageError{Message: fmt.Sprintf("incident %s was resolved by %s at %s", i.ID, i.ResolvedBy, i.Resolved.Format(time.RFC3339))}
		case when.After(n.now()) || when.Before(began(i)):
			return "", &plan.UsageError{Message: fmt.Sprintf("it cannot have been resolved at %s: it began at %s, and what is to come is not known", when.Format(time.RFC3339), began(i).Format(time.RFC3339))}
		}
		i.Resolved, i.ResolvedBy = when, by.Name
		return "resolved", nil
	})
}

// Alert is an alert of Alertmanager, as its webhook sends it.
type Alert struct {
	Status      string            `json:"status"` // "firing", "resolved"
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
	Generator   string            `json:"generatorURL"`
	Fingerprint string            `json:"fingerprint"`
}

// firing is the register of an alert that is firing.
type firing struct {
	Incident string `json:"incident"`
}

// Alerted says what came of the alerts of a notification, by incident.
type Alerted struct {
	Opened   []string `json:"opened,omitempty"`
	Known    []string `json:"known,omitempty"` // it is told of again
	Resolved []string `json:"resolved,omitempty"`
	// Ignored is how many were resolved that nobody knew of.
	Ignored int `json:"ignored,omitempty"`
}

// Alert opens an incident for each alert that fires and resolves it when the alert is. An alert
// is told of again and again, also by several Alertmanagers: its fingerprint makes that one incident. The labels
// service, environment and severity, and the annotations summary, description and runbook_url say of it what an
// incident says.
func (n *Incidents) Alert(ctx context.Context, by By, repository string, alerts []Alert) (Alerted, error) {
	var out Alerted
	if len(alerts) > maxAlerts {
		return out, &plan.UsageError{Message: fmt.Sprintf("a notification has at most %d alerts", maxAlerts), Hint: "set group_by, or max_alerts, in Alertmanager"}
	}
	for i := range alerts {
		if err := n.alert(ctx, by, repository, &alerts[i], &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (n *Incidents) alert(ctx context.Context, by By, repository string, a *Alert, out *Alerted) error {
	key := repository + "\n" + a.print()
	for try := 1; ; try++ {
		r, err := n.Store.Register(ctx, alertKind, key)
		if err != nil {
			return fmt.Errorf("read an alert: %w", err)
		}
		var fires firing
		if r.Version > 0 {
			if err := json.Unmarshal(r.Body, &fires); err != nil {
				return fmt.Errorf("read an alert: %w", err)
			}
		}
		switch {
		case a.Status == "resolved" && r.Version == 0:
			out.Ignored++
			return nil
		case a.Status == "resolved":
			err = n.alertEnds(ctx, by, a, fires.Incident, record.Register{Kind: alertKind, ID: key, Version: r.Version}, out)
		default:
			err = n.alertFires(ctx, by, repository, a, fires.Incident, key, r.Version, out)
		}
		if !errors.Is(err, record.ErrConflict) || try == maxChangeTry {
			return err
		}
	}
}

// alertFires opens an incident, unless the alert has one that is open.
func (n *Incidents) alertFires(ctx context.Context, by By, repository string, a *Alert, known, key string, version int64, out *Alerted) error {
	if known != "" {
		if i, _, err := n.read(ctx, known); err != nil {
			return err
		} else if i.Resolved.IsZero() {
			out.Known = append(out.Known, known)
			return nil
		}
	}
	draft := record.Incident{Repository: repository, Title: line(cmp.Or(a.Annotations["summary"], a.Labels["alertname"], "an alert without a name"), maxTitle), OpenedBy: "alert " + line(a.Labels["alertname"], maxTitle/2)}
	draft.Service, draft.Environment = line(a.Labels["service"], maxTitle), line(cmp.Or(a.Labels["environment"], a.Labels["env"]), maxTitle)
	switch strings.ToLower(a.Labels["severity"]) {
	case "critical", "page", "error":
		draft.Severity = "critical"
	case "warning", "info", "minor", "low", "none":
		draft.Severity = "minor"
	}
	if !a.StartsAt.IsZero() && a.StartsAt.Before(n.now()) {
		draft.Began = a.StartsAt.UTC()
	}
	if u, err := url.Parse(a.Annotations["runbook_url"]); err == nil && (u.Scheme == "https" || u.Scheme == "http") && len(a.Annotations["runbook_url"]) <= maxRunbook {
		draft.Runbook = a.Annotations["runbook_url"]
	}
	i, err := n.checked(by, draft)
	if err != nil {
		return err
	}
	fires := register(alertKind, key, version, firing{Incident: i.ID})
	fires.Expires = n.now().Add(keepAlert)
	text := a.Annotations["description"]
	for len(text) > maxNote || !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text[:min(len(text), maxNote-3)], "?")
	}
	if err := n.write(ctx, by, i, 0, "opened", text, fires); err != nil {
		return err
	}
	out.Opened = append(out.Opened, i.ID)
	return nil
}

// alertEnds resolves the incident of an alert, and forgets the alert.
func (n *Incidents) alertEnds(ctx context.Context, by By, a *Alert, id string, gone record.Register, out *Alerted) error {
	i, version, err := n.read(ctx, id)
	if err != nil {
		return err
	}
	if !i.Resolved.IsZero() { // by a person
		_, err := n.Store.Change(ctx, []record.Register{gone})
		if err != nil {
			return fmt.Errorf("forget an alert: %w", err)
		}
		out.Ignored++
		return nil
	}
	i.Resolved, i.ResolvedBy = n.now(), "alert "+line(a.Labels["alertname"], maxTitle/2)
	if end := a.EndsAt.UTC(); !a.EndsAt.IsZero() && end.Before(i.Resolved) && !end.Before(began(&i)) {
		i.Resolved = end
	}
	if err := n.write(ctx, by, i, version, "resolved", "the alert is over", gone); err != nil {
		return err
	}
	out.Resolved = append(out.Resolved, i.ID)
	return nil
}

// print is what tells the alert from others: what Alertmanager calls it, or its labels.
func (a *Alert) print() string {
	if a.Fingerprint != "" && len(a.Fingerprint) <= 64 && !hasControl(a.Fingerprint) {
		return a.Fingerprint
	}
	text, _ := json.Marshal(a.Labels) // a map's keys are sorted
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// line is the beginning of a text, on one line.
func line(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
