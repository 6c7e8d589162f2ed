package launch

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

var eve = By{Name: "eve", Via: "command line"}

func incidents(t *testing.T) (*Incidents, *sqlite.Store) {
	db, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &Incidents{Store: db}, db
}

func TestIncidentOfAPerson(t *testing.T) {
	t.Parallel()
	n, db := incidents(t)
	i, err := n.Open(t.Context(), eve, record.Incident{Repository: "team/app", Title: " carts are empty ", Service: "shop", Environment: "production", Runbook: "https://example.org/carts", OpenedBy: "rollback"}, "since the morning")
	if err != nil {
		t.Fatal(err)
	}
	if i.Title != "carts are empty" || i.Severity != "major" || i.OpenedBy != "eve" || i.Opened.IsZero() {
		t.Errorf("opened %+v", i)
	}
	for _, err := range []error{
		n.Note(t.Context(), eve, i.ID, "the cache is cold"),
		n.Link(t.Context(), eve, i.ID, "r42", "", ""),
		n.Link(t.Context(), eve, i.ID, "r42", "", ""), // nothing changes
		n.Resolve(t.Context(), eve, i.ID, "taken back", time.Time{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := n.Incident(t.Context(), i.ID)
	if err != nil || got.Rollout != "r42" || got.Resolved.IsZero() || got.ResolvedBy != "eve" {
		t.Errorf("%+v, %v", got, err)
	}
	var whats []string
	acts := 0
	for e, err := range db.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch b := e.Body.(type) {
		case *record.IncidentChanged:
			whats = append(whats, b.What+" "+b.Text)
		case *record.Acted:
			if acts++; b.By != "eve" || b.Verb != "incidents.set" || b.Object != "team/app" {
				t.Errorf("the trail has %+v", b)
			}
		}
	}
	if want := []string{"opened since the morning", "noted the cache is cold", "linked ", "resolved taken back"}; !reflect.DeepEqual(whats, want) || acts != 4 {
		t.Errorf("%q and %d acts, want %q", whats, acts, want)
	}
	if list, err := n.List(t.Context(), "team/app", true); err != nil || len(list) != 0 {
		t.Errorf("open are %v, %v", list, err)
	}
	if list, err := n.List(t.Context(), "", false); err != nil || len(list) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
}

func TestIncidentsThatCannotBe(t *testing.T) {
	t.Parallel()
	n, _ := incidents(t)
	good := record.Incident{Repository: "team/app", Title: "down"}
	open := func(set func(*record.Incident)) error {
		draft := good
		set(&draft)
		_, err := n.Open(t.Context(), eve, draft, "")
		return err
	}
	i, err := n.Open(t.Context(), eve, good, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Resolve(t.Context(), eve, i.ID, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	for says, err := range map[string]error{
		"of a repository":           open(func(i *record.Incident) { i.Repository = "" }),
		"has a title":               open(func(i *record.Incident) { i.Title = " " }),
		"no severity":               open(func(i *record.Incident) { i.Severity = "awful" }),
		"cannot be the title":       open(func(i *record.Incident) { i.Title = strings.Repeat("x", 201) }),
		"cannot be the service":     open(func(i *record.Incident) { i.Service = "a\nb" }),
		"cannot be the environment": open(func(i *record.Incident) { i.Environment = "\xff" }),
		"cannot be a runbook":       open(func(i *record.Incident) { i.Runbook = "javascript:alert(1)" }),
		"yet to come":               open(func(i *record.Incident) { i.Began = time.Now().Add(time.Hour) }),
		"there is no incident":      n.Note(t.Context(), eve, "20260101-none", "x"),
		"nothing in the note":       n.Note(t.Context(), eve, i.ID, " \n"),
		"at most 10000 bytes":       n.Note(t.Context(), eve, i.ID, strings.Repeat("x", 10_001)),
		"not by both":               n.Link(t.Context(), eve, i.ID, "r1", "2", ""),
		"was resolved by eve":       n.Resolve(t.Context(), eve, i.ID, "", time.Time{}),
	} {
		var no *plan.UsageError
		if !errors.As(err, &no) || !strings.Contains(no.Message, says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// TestIncidentsMeet: notes of many at a time are all taken, each once.
func TestIncidentsMeet(t *testing.T) {
	t.Parallel()
	n, db := incidents(t)
	i, err := n.Open(t.Context(), eve, record.Incident{Repository: "team/app", Title: "down"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := n.Note(t.Context(), eve, i.ID, "me, too"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	notes := 0
	for e := range db.After(t.Context(), 0) {
		if b, ok := e.Body.(*record.IncidentChanged); ok && b.What == "noted" {
			notes++
		}
	}
	if notes != 4 {
		t.Errorf("%d notes", notes)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	n, _ := incidents(t)
	bot := By{Name: "alertmanager", Via: "token alerts"}
	begun := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	fires := Alert{Status: "firing", Fingerprint: "c0ffee", StartsAt: begun,
		Labels:      map[string]string{"alertname": "HighErrorRate", "severity": "critical", "service": "shop", "env": "production"},
		Annotations: map[string]string{"summary": "5 % of requests\nfail", "runbook_url": "https://example.org/errors", "description": "since ten"}}
	over := fires
	over.Status, over.EndsAt = "resolved", begun.Add(20*time.Minute)
	send := func(alerts ...Alert) Alerted {
		t.Helper()
		out, err := n.Alert(t.Context(), bot, "team/app", alerts)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := send(over); out.Ignored != 1 || out.Opened != nil {
		t.Errorf("an alert ended that nobody knew of: %+v", out)
	}
	first := send(fires, fires)
	if len(first.Opened) != 1 || !reflect.DeepEqual(first.Known, first.Opened) {
		t.Fatalf("the same alert twice: %+v", first)
	}
	other := fires
	other.Fingerprint = ""
	if out := send(fires, other); len(out.Opened) != 1 || len(out.Known) != 1 {
		t.Errorf("an alert without a fingerprint: %+v", out)
	}
	i, err := n.Incident(t.Context(), first.Opened[0])
	if err != nil || i.Title != "5 % of requests fail" || i.Severity != "critical" || i.Service != "shop" || i.Environment != "production" || !i.Began.Equal(begun) || i.OpenedBy != "alert HighErrorRate" || i.Runbook != "https://example.org/errors" {
		t.Errorf("%+v, %v", i, err)
	}
	if out := send(over); !reflect.DeepEqual(out.Resolved, first.Opened) {
		t.Errorf("it ends: %+v", out)
	}
	if i, _ = n.Incident(t.Context(), i.ID); !i.Resolved.Equal(begun.Add(20*time.Minute)) || i.ResolvedBy != "alert HighErrorRate" {
		t.Errorf("resolved: %+v", i)
	}
	again := send(fires)
	if len(again.Opened) != 1 || again.Opened[0] == i.ID {
		t.Fatalf("it fires once more: %+v", again)
	}
	// A person resolves; the alert that ends later changes nothing, and the next one opens another.
	if err := n.Resolve(t.Context(), eve, again.Opened[0], "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if out := send(over); out.Ignored != 1 {
		t.Errorf("resolved by a person, then by the alert: %+v", out)
	}
	// Another repository's alert of the same name is another.
	if out, err := n.Alert(t.Context(), bot, "team/mail", []Alert{fires}); err != nil || len(out.Opened) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := n.Alert(t.Context(), bot, "team/app", make([]Alert, 101)); err == nil {
		t.Error("101 alerts were taken at once")
	}
	hostile := Alert{Status: "firing", Labels: map[string]string{"alertname": "a\x00\u202e" + strings.Repeat("é", 1000), "severity": strings.Repeat("x", 1e5)}, Annotations: map[string]string{"runbook_url": "javascript:alert(1)", "description": strings.Repeat("é", 20_000)}}
	if out := send(hostile); len(out.Opened) != 1 {
		t.Errorf("a hostile alert: %+v", out)
	} else if i, _ := n.Incident(t.Context(), out.Opened[0]); i.Runbook != "" || len([]rune(i.Title)) > 200 {
		t.Errorf("a hostile alert: %+v", i)
	}
}
