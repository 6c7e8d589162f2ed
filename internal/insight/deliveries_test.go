package insight

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// TestDeliveries follows a record: a release that goes out, one that is taken back with an incident, and a
// repository that whoever asks may not see.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(hours float64) time.Time { return now.Add(-time.Duration(hours * float64(time.Hour))) }
	say := func(ago float64, b record.Body) {
		t.Helper()
		if _, err := db.Append(t.Context(), record.Event{Time: at(ago), Body: b}); err != nil {
			t.Fatal(err)
		}
	}
	move := func(ago float64, repository, id string, state record.RolloutState, move string) {
		t.Helper()
		say(ago, &record.RolloutMoved{Rollout: id, Repository: repository, Service: "shop", Environment: "production", Release: "sha256:" + id, Version: id, Begun: at(ago), State: state, Move: move,
			Commits: []record.Commit{{SHA: id, Time: at(ago + 2), Subject: "change " + id}}})
	}
	d := &Deliveries{Log: db}
	move(50, "team/app", "r1", record.RolloutRunning, "up")
	move(49, "team/app", "r1", record.RolloutDone, "")
	move(20, "team/secret", "r9", record.RolloutDone, "")
	sees := func(repository string) bool { return repository == "team/app" }
	v, err := d.Numbers(t.Context(), DeliveryAsk{Days: 28}, now, sees)
	if err != nil {
		t.Fatal(err)
	}
	if v.Environment != "production" || len(v.Services) != 1 || v.Numbers[0].N != 1 || v.Numbers[1].Value != 3*3600 || len(v.Numbers[0].Weeks) != 4 {
		t.Errorf("%+v", v)
	}

	// The record grows, and so does the answer.
	say(5, &record.FlagChanged{Repository: "team/app", Environment: "production", Flag: "new-cart", Act: "set", By: "ada", Why: "try it"})
	move(4, "team/app", "r2", record.RolloutRunning, "shift-5")
	incident := record.Incident{ID: "i1", Repository: "team/app", Title: "carts are empty", Service: "shop", Environment: "production", Rollout: "r2", Opened: at(3.5), OpenedBy: "rollback"}
	say(3.5, &record.IncidentChanged{Incident: incident, What: "opened", Text: "5 % fail"})
	move(3, "team/app", "r2", record.RolloutRolledBack, "")
	if v, err = d.Numbers(t.Context(), DeliveryAsk{Days: 28, Of: measure.ChangeFail}, now, sees); err != nil {
		t.Fatal(err)
	}
	if len(v.Open) != 1 || v.Numbers[2].Count != 1 || v.Numbers[2].N != 2 || len(v.Deployments) != 1 || v.Deployments[0].Rollout != "r2" {
		t.Errorf("%+v", v)
	}
	incident.Resolved, incident.ResolvedBy = at(3), "ada"
	say(2.9, &record.IncidentChanged{Incident: incident, What: "resolved", By: "ada"})
	s, err := d.Incident(t.Context(), "i1", now)
	if err != nil || s == nil {
		t.Fatalf("%v, %v", s, err)
	}
	var told []string
	for _, m := range s.Timeline {
		told = append(told, m.What)
	}
	want := "flag new-cart: set | rollout r2 of r2: running, shift-5 | opened by rollback | rollout r2 of r2: rolled-back | resolved by ada"
	if got := strings.Join(told, " | "); got != want {
		t.Errorf("the timeline is\n%s, want\n%s", got, want)
	}
	if s.Cause == nil || s.Cause.Rollout != "r2" || !s.Timeline[1].Cause || s.Timeline[0].Cause {
		t.Errorf("the cause is %+v", s.Cause)
	}
	if s, err := d.Incident(t.Context(), "i2", now); s != nil || err != nil {
		t.Errorf("an incident that there is not: %+v, %v", s, err)
	}
	if list, open, err := d.Gauges(t.Context(), now); err != nil || len(list) != 5 || open != 0 {
		t.Errorf("gauges %+v, %d, %v", list, open, err)
	}
}
