package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// emptyCarts is the incident of the story.
const emptyCarts = "20260228-carts7"

// tellDelivery fills the record with a month of deployments of two services, one of which was taken back.
func (sc *scene) tellDelivery() {
	sc.t.Helper()
	var events []record.Event
	say := func(at time.Time, b record.Body) { events = append(events, record.Event{Time: at, Body: b}) }
	for s, service := range []string{"shop", "mail"} {
		for i := range 14 {
			if s == 1 && i%3 > 0 {
				continue
			}
			id, at := fmt.Sprintf("%s-%d", service, i), noon.AddDate(0, 0, -27+2*i).Add(time.Duration(i*37%60)*time.Minute)
			release := record.Release{ID: "sha256:" + id, Repository: "team/app", Service: service, Version: fmt.Sprintf("v1.%d.0", i), Spec: json.RawMessage(fmt.Sprintf(`{"team":%q}`, []string{"Carts", "Platform"}[s]))}
			say(at.Add(-time.Hour), &record.ReleaseMade{Release: release})
			move := func(after time.Duration, state record.RolloutState, move string, back bool, reason string) {
				say(at.Add(after), &record.RolloutMoved{Rollout: id, Repository: "team/app", Service: service, Environment: "production", Number: i, Release: release.ID, Version: release.Version, Begun: at, State: state, Move: move, Back: back, Reason: reason,
					Commits: []record.Commit{{SHA: fmt.Sprintf("%040x", i*31+s), Time: at.Add(-time.Duration(3+i*5%17) * time.Hour), Subject: "Change number " + fmt.Sprint(i)}}})
			}
			move(0, record.RolloutRunning, "up", false, "")
			move(2*time.Minute, record.RolloutRunning, "shift-5", false, "")
			if id == "shop-12" {
				why := "5.1 % of 160 requests of the new release failed, 1 % of 1,440 of the old one"
				move(10*time.Minute, record.RolloutRunning, "shift-5", true, why)
				in := record.Incident{ID: emptyCarts, Repository: "team/app", Title: "Carts are empty after signing in", Severity: "critical", Service: service, Environment: "production", Rollout: id,
					Runbook: "https://wiki.example.org/runbooks/carts", Opened: at.Add(10 * time.Minute), OpenedBy: "rollback"}
				say(in.Opened.Add(-3*time.Hour), &record.FlagChanged{Repository: "team/app", Environment: "production", Flag: "new-cart", Act: "share", By: "grace", Why: "ten percent of the users"})
				say(in.Opened, &record.IncidentChanged{Incident: in, What: "opened", Text: why, By: "rollback"})
				move(11*time.Minute, record.RolloutRolledBack, "", true, why)
				say(in.Opened.Add(9*time.Minute), &record.IncidentChanged{Incident: in, What: "noted", By: "ada", Text: "The session cookie has a new name;\nold sessions have no cart."})
				in.Resolved, in.ResolvedBy = at.Add(40*time.Minute), "ada"
				say(in.Resolved, &record.IncidentChanged{Incident: in, What: "resolved", By: "ada", Text: "taken back, and sessions are read under both names"})
				body, err := json.Marshal(in)
				if err != nil {
					sc.t.Fatal(err)
				}
				if _, err := sc.store.Change(sc.t.Context(), []record.Register{{Kind: launch.IncidentKind, ID: in.ID, Body: body}}); err != nil {
					sc.t.Fatal(err)
				}
				continue
			}
			move(15*time.Minute, record.RolloutDone, "", false, "")
		}
	}
	if _, err := sc.store.Append(sc.t.Context(), events...); err != nil {
		sc.t.Fatal(err)
	}
}

func TestDeliveryPage(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	sc.tellDelivery()
	w := sc.call("GET", "/delivery?format=json&of="+measure.ChangeFail, "", session(sc.admin))
	var v insight.DeliveryView
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if v.Environment != "production" || v.Numbers[0].N != 19 || v.Numbers[2].Count != 1 || len(v.Deployments) != 1 || len(v.Teams) != 2 || len(v.Services) != 2 {
		t.Errorf("%+v", v)
	}
	page := sc.call("GET", "/delivery?of="+measure.ChangeFail, "", session(sc.admin)).Body.String()
	for _, want := range []string{"5.26 %", "1 of 19 deployments", "Wilson", `href="/rollout/shop-12"`, `href="/incident/` + emptyCarts, "<polyline", "by rollback"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// Somebody who sees another repository alone sees none of it.
	eve := sc.account("eve", "team/other", access.Viewer)
	if w := sc.call("GET", "/delivery?format=json", "", session(eve)); strings.Contains(w.Body.String(), "shop") || !strings.Contains(w.Body.String(), "no data") {
		t.Errorf("who may not see team/app sees %s", w.Body)
	}
	for _, path := range []string{"/incident/" + emptyCarts, "/incident/none"} {
		if w := sc.call("GET", path, "", session(eve)); w.Code != 404 && w.Code != 403 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for path, code := range map[string]int{"/delivery?days=x": 400, "/delivery?days=100000": 400, "/delivery?of=%3Cscript%3E&team=%3Cscript%3E": 200, "/incidents": 200, "/incidents?open=true": 200} {
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != code || strings.Contains(w.Body.String(), "<script>alert") || strings.Contains(w.Body.String(), `"<script>"`) {
			t.Errorf("%s: %d, want %d", path, w.Code, code)
		}
	}
	metrics := sc.call("GET", "/metrics", "", session(sc.admin)).Body.String()
	for _, want := range []string{"fairlead_delivery_deployments_per_week 4.75", "fairlead_incidents_open 0", "fairlead_delivery_change_fail_share 0.0526"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// TestIncidentByForms goes through an incident's life as a browser without JavaScript does.
func TestIncidentByForms(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	post := func(path string, fields ...string) *url.URL {
		t.Helper()
		form := url.Values{"csrf": {sc.admin.CSRF}}
		for i := 0; i+1 < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		w := sc.call("POST", path, form.Encode(), session(sc.admin), func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
		if w.Code != http.StatusSeeOther {
			t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
		}
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	at := post("/incidents/team/app", "title", "<b>Carts</b> are empty", "severity", "critical", "service", "shop", "environment", "production", "text", "since ten").Path
	if !strings.HasPrefix(at, "/incident/") {
		t.Fatalf("sent to %s", at)
	}
	post(at+"/note", "text", "it is the <cache>")
	post(at+"/link", "rollout", "r42")
	post(at+"/resolve", "text", "taken back")
	page := sc.call("GET", at, "", session(sc.admin)).Body.String()
	for _, want := range []string{"&lt;b&gt;Carts&lt;/b&gt; are empty", "it is the &lt;cache&gt;", "linked to the deployment that caused it: r42", "resolved by root", "taken back", `href="/rollout/r42"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if w := sc.call("GET", "/incidents?open=true&format=json", "", session(sc.admin)); !strings.Contains(w.Body.String(), `"incidents":[]`) && !strings.Contains(w.Body.String(), `"incidents": []`) {
		t.Errorf("open are %s", w.Body)
	}
}

// TestAlertsOfAlertmanager sends what Alertmanager 0.27 sends, with a token that may do nothing else.
func TestAlertsOfAlertmanager(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	token := sc.token(access.TokenSpec{Name: "alerts", Verbs: []access.Verb{access.SetIncidents}, Expires: time.Hour})
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	body := func(status string) string {
		return fmt.Sprintf(`{"receiver":"fairlead","status":%[1]q,"alerts":[{"status":%[1]q,"labels":{"alertname":"HighErrorRate","severity":"critical","service":"shop","environment":"production"},
			"annotations":{"summary":"5 %% of requests fail"},"startsAt":"2026-03-02T09:00:00.123Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus/graph","fingerprint":"b0ffee"}],
			"groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://alertmanager","version":"4","groupKey":"{}:{}","truncatedAlerts":0}`, status)
	}
	send := func(body string) (launch.Alerted, int) {
		w := sc.call("POST", "/api/v1/alerts/team/app", body, bearer)
		var out launch.Alerted
		_ = json.Unmarshal(w.Body.Bytes(), &out)
		return out, w.Code
	}
	first, code := send(body("firing"))
	if code != 200 || len(first.Opened) != 1 {
		t.Fatalf("%d %+v", code, first)
	}
	if again, _ := send(body("firing")); len(again.Known) != 1 || len(again.Opened) != 0 {
		t.Errorf("again: %+v", again)
	}
	if over, _ := send(body("resolved")); len(over.Resolved) != 1 {
		t.Errorf("over: %+v", over)
	}
	for body, want := range map[string]int{`{"hello":1}`: 422, `{`: 400, `{"version":"3","alerts":[]}`: 422} {
		if _, code := send(body); code != want {
			t.Errorf("%s: %d, want %d", body, code, want)
		}
	}
	if w := sc.call("POST", "/api/v1/alerts/team/app", body("firing")); w.Code != 401 && w.Code != 403 {
		t.Errorf("nobody's alert: %d", w.Code)
	}
	if w := sc.call("GET", "/api/v1/runs", "", bearer); w.Code != 403 {
		t.Errorf("the token of alerts sees runs: %d", w.Code)
	}
}

func TestLongDuration(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "0 s", 59.6: "1 min", 90: "1 min 30 s", 3600: "1 h", 5400: "1 h 30 min", 86400: "1 d", 100000: "1 d 3 h"} {
		if got := longDuration(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
}
