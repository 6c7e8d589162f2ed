package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Deliveries says how delivery goes; package insight says what its methods promise.
type Deliveries interface {
	Numbers(ctx context.Context, ask insight.DeliveryAsk, now time.Time, may func(repository string) bool) (*insight.DeliveryView, error)
	Incident(ctx context.Context, id string, now time.Time) (*insight.IncidentStory, error)
	Gauges(ctx context.Context, now time.Time) ([]measure.Number, int, error)
}

// Incidents takes what people and alerts say of incidents; package launch says what its methods
// promise.
type Incidents interface {
	Incident(ctx context.Context, id string) (record.Incident, error)
	List(ctx context.Context, repository string, open bool) ([]record.Incident, error)
	Open(ctx context.Context, by launch.By, draft record.Incident, text string) (record.Incident, error)
	Note(ctx context.Context, by launch.By, id, text string) error
	Link(ctx context.Context, by launch.By, id, rollout, run, text string) error
	Resolve(ctx context.Context, by launch.By, id, text string, at time.Time) error
	Alert(ctx context.Context, by launch.By, repository string, alerts []launch.Alert) (launch.Alerted, error)
}

const (
	// maxWindow is how many days numbers of delivery are counted over at most, and usualWindow if nothing is said.
	maxWindow, usualWindow = 365, 28
	// maxAlertBody is the size of the largest notification of Alertmanager, in bytes.
	maxAlertBody = 1 << 20
	// maxIncidentRows is how many incidents a list has.
	maxIncidentRows = 500
)

// deliveryRoutes are the rows of the numbers of delivery, and of incidents.
func (s *Server) deliveryRoutes() []route {
	to := func(said string) func(*request, any) (string, string) {
		return func(r *request, _ any) (string, string) {
			return "/incident/" + escapePath(r.PathValue("incident")), said
		}
	}
	return []route{
		{Method: "GET", Path: "/delivery", Verb: access.SeeRuns, Somewhere: true, Template: "delivery", Do: view(s.delivery), Says: "How delivery goes: frequency, lead time, failures, recovery and rework, with what they are made from.",
			Query: []param{{Name: "days", Says: "back from now, 28 if nothing is said", Kind: "integer"}, {Name: "environment", Says: "production if nothing is said; * for all"}, {Name: "repository", Says: "only of this one"},
				{Name: "service", Says: "only of this one"}, {Name: "team", Says: "only of this one"}, {Name: "of", Says: "list the deployments behind this number: lead-time"}}},
		{Method: "GET", Path: "/incidents", Verb: access.SeeRuns, Somewhere: true, Template: "incidents", Do: view(s.incidents), Says: "Incidents, the newest first.",
			Query: []param{{Name: "repository", Says: "only of this one"}, {Name: "open", Says: "only those that are not resolved", Kind: "boolean"}}},
		{Method: "POST", Path: "/incidents/{repository...}", Verb: access.SetIncidents, Object: inPath, Form: "/incidents/{repository...}", Do: act(s.openIncident), Status: http.StatusCreated, Says: "Open an incident of a repository.",
			Then: func(_ *request, answer any) (string, string) {
				i, _ := answer.(record.Incident)
				return "/incident/" + escapePath(i.ID), "The incident is open."
			}},
		{Method: "GET", Path: "/incident/{incident}", Verb: access.SeeRuns, Object: s.incidentObject, Template: "incident", Do: view(s.incident), Says: "An incident with all that happened around it."},
		{Method: "POST", Path: "/incident/{incident}/note", Verb: access.SetIncidents, Object: s.incidentObject, Form: "/incident/{incident}/note", Do: act(s.noteIncident), Then: to("The note was added."), Says: "Add a note to an incident."},
		{Method: "POST", Path: "/incident/{incident}/link", Verb: access.SetIncidents, Object: s.incidentObject, Form: "/incident/{incident}/link", Do: act(s.linkIncident), Then: to("The deployment was linked."), Says: "Say which deployment caused an incident."},
		{Method: "POST", Path: "/incident/{incident}/resolve", Verb: access.SetIncidents, Object: s.incidentObject, Form: "/incident/{incident}/resolve", Do: act(s.resolveIncident), Then: to("The incident is resolved."), Says: "Resolve an incident."},
		{Method: "POST", Path: "/alerts/{repository...}", Verb: access.SetIncidents, Object: inPath, Faces: apiOnly, MaxBody: maxAlertBody, Do: stream(s.alerts),
			Says: "A notification of Alertmanager: alerts that fire open incidents, alerts that are over resolve them."},
	}
}

func (s *Server) delivery(r *request) (insight.DeliveryView, error) {
	if s.Deliveries == nil {
		return insight.DeliveryView{}, lacking("numbers of delivery")
	}
	days, err := r.whole("days", usualWindow, maxWindow)
	if err != nil {
		return insight.DeliveryView{}, err
	}
	q := r.URL.Query()
	ask := insight.DeliveryAsk{Days: int(max(days, 1)), Environment: q.Get("environment"), Repository: q.Get("repository"), Service: q.Get("service"), Team: q.Get("team"), Of: q.Get("of")}
	v, err := s.Deliveries.Numbers(r.Context(), ask, s.Now(), r.seesRuns)
	if err != nil {
		return insight.DeliveryView{}, err
	}
	return *v, nil
}

// seesRuns reports whether whoever asks may see what happens in a repository.
func (r *request) seesRuns(repository string) bool {
	return r.May(access.SeeRuns, access.Object{Repository: repository})
}

// IncidentsView lists incidents.
type IncidentsView struct {
	Incidents  []record.Incident `json:"incidents"`
	More       int               `json:"more,omitempty"` // that are not shown
	Repository string            `json:"repository,omitempty"`
	Open       bool              `json:"open,omitempty"`
	// Repositories are those of which one may open some.
	Repositories []string `json:"repositories"`
}

func (s *Server) incidents(r *request) (v IncidentsView, err error) {
	if s.Incidents == nil {
		return v, lacking("incidents")
	}
	q := r.URL.Query()
	v.Repository, v.Open = q.Get("repository"), q.Get("open") == "true" || q.Get("open") == "1"
	v.Incidents, v.Repositories = []record.Incident{}, []string{}
	list, err := s.Incidents.List(r.Context(), v.Repository, v.Open)
	if err != nil {
		return v, err
	}
	for _, i := range list {
		switch {
		case !r.seesRuns(i.Repository):
		case len(v.Incidents) < maxIncidentRows:
			v.Incidents = append(v.Incidents, i)
		default:
			v.More++
		}
	}
	if s.Desk != nil {
		repos, err := s.Desk.Repositories(r.Context())
		if err != nil {
			return v, err
		}
		for _, repo := range repos {
			if r.May(access.SetIncidents, access.Object{Repository: repo.Name}) {
				v.Repositories = append(v.Repositories, repo.Name)
			}
		}
	}
	return v, nil
}

// incidentObject is the repository of the incident that a path names.
func (s *Server) incidentObject(r *request) (access.Object, error) {
	if s.Incidents == nil {
		return access.Object{}, lacking("incidents")
	}
	i, err := s.Incidents.Incident(r.Context(), r.PathValue("incident"))
	if err != nil {
		return access.Object{}, cmp.Or(notThere(err), err)
	}
	return access.Object{Repository: i.Repository}, nil
}

// notThere is the answer to who asks for an incident that there is not; nil for another error.
func notThere(err error) error {
	if refused(err) == err {
		return nil
	}
	return missing("incident")
}

func (s *Server) incident(r *request) (insight.IncidentStory, error) {
	if s.Deliveries == nil {
		return insight.IncidentStory{}, lacking("numbers of delivery")
	}
	v, err := s.Deliveries.Incident(r.Context(), r.PathValue("incident"), s.Now())
	if err != nil || v == nil {
		return insight.IncidentStory{}, cmp.Or(err, error(missing("incident")))
	}
	return *v, nil
}

// OpeningIncident is an incident as it is opened.
type OpeningIncident struct {
	Title       string `json:"title"`
	Severity    string `json:"severity,omitempty"` // critical, major (if nothing is said), minor
	Service     string `json:"service,omitempty"`
	Environment string `json:"environment,omitempty"`
	Rollout     string `json:"rollout,omitempty"` // the deployment that caused it
	Run         string `json:"run,omitempty"`     // or the run that deployed
	Runbook     string `json:"runbook,omitempty"`
	Began       string `json:"began,omitempty"` // RFC 3339
	Text        string `json:"text,omitempty"`
}

// instant reads a time that may be missing.
func instant(what, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04"} { // as browsers write it, in UTC
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, problem(http.StatusUnprocessableEntity, "unusable", "write it like 2026-11-02T09:30:00Z", "%s cannot be %.40q", what, text)
}

func (s *Server) openIncident(r *request, in *OpeningIncident) (record.Incident, error) {
	if s.Incidents == nil {
		return record.Incident{}, lacking("incidents")
	}
	began, err := instant("the beginning", in.Began)
	if err != nil {
		return record.Incident{}, err
	}
	draft := record.Incident{Repository: r.PathValue("repository"), Title: in.Title, Severity: in.Severity, Service: in.Service, Environment: in.Environment, Rollout: in.Rollout, Run: in.Run, Runbook: in.Runbook, Began: began}
	i, err := s.Incidents.Open(r.Context(), r.by(), draft, in.Text)
	return i, refused(err)
}

// NotingIncident is a note.
type NotingIncident struct {
	Text string `json:"text"`
}

func (s *Server) noteIncident(r *request, in *NotingIncident) (nothing, error) {
	return nothing{}, refused(s.Incidents.Note(r.Context(), r.by(), r.PathValue("incident"), in.Text))
}

// LinkingIncident says which deployment caused an incident; both empty: none.
type LinkingIncident struct {
	Rollout string `json:"rollout,omitempty"`
	Run     string `json:"run,omitempty"`
	Text    string `json:"text,omitempty"`
}

func (s *Server) linkIncident(r *request, in *LinkingIncident) (nothing, error) {
	return nothing{}, refused(s.Incidents.Link(r.Context(), r.by(), r.PathValue("incident"), in.Rollout, in.Run, in.Text))
}

// ResolvingIncident ends an incident.
type ResolvingIncident struct {
	Text string `json:"text,omitempty"`
	At   string `json:"at,omitempty"` // RFC 3339, when service was restored; now if nothing is said
}

func (s *Server) resolveIncident(r *request, in *ResolvingIncident) (nothing, error) {
	at, err := instant("the end", in.At)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, refused(s.Incidents.Resolve(r.Context(), r.by(), r.PathValue("incident"), in.Text, at))
}

// alerts takes a notification of Alertmanager, whose format grows: what is not known of it is passed over.
func (s *Server) alerts(w http.ResponseWriter, r *request) error {
	if s.Incidents == nil {
		return lacking("incidents")
	}
	var in struct {
		Version string         `json:"version"`
		Alerts  []launch.Alert `json:"alerts"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return unreadable(err)
	}
	if in.Version != "4" || in.Alerts == nil {
		return problem(http.StatusUnprocessableEntity, "unusable", "point a webhook_config of Alertmanager here", "the body is no notification of Alertmanager (version 4)")
	}
	out, err := s.Incidents.Alert(r.Context(), r.by(), r.PathValue("repository"), in.Alerts)
	if err != nil {
		return refused(err)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// deliveryMetrics are the numbers of the last four weeks, of production. They name no repository.
func (s *Server) deliveryMetrics(ctx context.Context, m *exposition) error {
	if s.Deliveries == nil {
		return nil
	}
	list, open, err := s.Deliveries.Gauges(ctx, s.Now())
	if err != nil {
		return err
	}
	names := map[string][2]string{
		measure.Frequency: {"fairlead_delivery_deployments_per_week", "Deployments to production a week, over four weeks."}, measure.LeadTime: {"fairlead_delivery_lead_time_seconds", "Median lead time for changes, over four weeks."},
		measure.ChangeFail: {"fairlead_delivery_change_fail_share", "Share of deployments to production that failed, over four weeks."}, measure.Recovery: {"fairlead_delivery_recovery_seconds", "Median time to recover from them."},
		measure.ReworkRate: {"fairlead_delivery_rework_share", "Share of deployments to production that were repair, over four weeks."},
	}
	for _, n := range list {
		m.family(names[n.Key][0], "gauge", names[n.Key][1])
		if n.Known { // no data is no sample
			m.sample(n.Value)
		}
	}
	m.one("fairlead_incidents_open", "gauge", "Incidents that are not resolved.", float64(open))
	return nil
}

// What follows puts the numbers into words and lines for the pages.

// deliveryFunctions are what the templates of delivery call.
func deliveryFunctions() template.FuncMap {
	return template.FuncMap{
		"amount": amount, "amounts": amounts, "trendOf": trendOf, "deploymentHref": deploymentHref, "span": func(d time.Duration) string { return longDuration(d.Seconds()) },
		"recovery": func(j measure.Judged) string {
			if took, ok := j.Recovery(); ok {
				return longDuration(took.Seconds())
			}
			return ""
		},
		"stamp":        func(t time.Time) string { return t.UTC().Format("2 Jan, 15:04:05") },
		"deliveryRows": newDeliveryTable,
		"severityClass": func(severity string) string {
			return map[string]string{"critical": "bad", "major": "warn"}[severity]
		},
		"safeLink": func(link string) bool {
			return strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "http://")
		},
		"severities":  launch.Severities,
		"numberNamed": func(list []insight.DeliveryRow, key string) string { return nameOf(list, key) },
		"lasted": func(i record.Incident) string {
			if i.Resolved.IsZero() {
				return ""
			}
			from := i.Opened
			if !i.Began.IsZero() {
				from = i.Began
			}
			return longDuration(i.Resolved.Sub(from).Seconds())
		},
	}
}

func nameOf(list []insight.DeliveryRow, key string) string {
	for i := range list {
		if list[i].Key == key {
			return list[i].Name
		}
	}
	return key
}

// amount is a value as people read it.
func amount(unit string, v float64) string {
	switch unit {
	case "seconds":
		return longDuration(v)
	case "share":
		return fmt.Sprintf("%.3g %%", 100*v)
	}
	return fmt.Sprintf("%.3g", v)
}

// amounts is a number's value with its unit; "no data" when there is none.
func amounts(n measure.Number) string {
	if !n.Known {
		return "no data"
	}
	if n.Unit == "a week" {
		return amount(n.Unit, n.Value) + " a week"
	}
	return amount(n.Unit, n.Value)
}

// longDuration is a duration in its two largest units.
func longDuration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case d >= day:
		if h := d % day / time.Hour; h > 0 {
			return fmt.Sprintf("%d d %d h", d/day, h)
		}
		return fmt.Sprintf("%d d", d/day)
	case d >= time.Hour:
		if m := d % time.Hour / time.Minute; m > 0 {
			return fmt.Sprintf("%d h %d min", d/time.Hour, m)
		}
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute:
		if s := d % time.Minute / time.Second; s > 0 {
			return fmt.Sprintf("%d min %d s", d/time.Minute, s)
		}
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// trend is a number by weeks as a line in a box of 100 × 100, broken where there is no data.
type trend struct {
	Lines []string // points of polylines
	Dots  []column // each week, for who points at it
	Says  string
}

func trendOf(row insight.DeliveryRow) (t trend) {
	var most float64
	var said []string
	for _, w := range row.Weeks {
		most = max(most, w.Value)
		word := "no data"
		if w.Known {
			word = amount(row.Unit, w.Value)
		}
		said = append(said, word)
	}
	t.Says = row.Name + " by week, the last one now: " + strings.Join(said, ", ")
	if len(row.Weeks) < 2 {
		return t
	}
	var line []string
	end := func() {
		if len(line) == 1 { // a dot
			line = append(line, line[0])
		}
		if len(line) > 0 {
			t.Lines = append(t.Lines, strings.Join(line, " "))
		}
		line = nil
	}
	step := 96 / float64(len(row.Weeks)-1)
	for i, w := range row.Weeks {
		if !w.Known {
			end()
			continue
		}
		y := 92.0
		if most > 0 {
			y = 92 - 84*w.Value/most
		}
		x := 2 + step*float64(i)
		line = append(line, fmt.Sprintf("%.1f,%.1f", x, y))
		t.Dots = append(t.Dots, column{X: x, Y: y, Title: fmt.Sprintf("week from %s: %s of %d", w.From.Format("2 January"), amount(row.Unit, w.Value), w.N)})
	}
	end()
	return t
}

// deploymentHref is the page of what a deployment was.
func deploymentHref(j measure.Judged) string {
	if j.Rollout != "" {
		return "/rollout/" + escapePath(j.Rollout)
	}
	return "/runs/" + escapePath(j.Run)
}

// deliveryTable is a table of services or teams.
type deliveryTable struct {
	Heads []string
	Rows  []deliveryLine
}

type deliveryLine struct {
	Name, Repository, Href string
	Numbers                []measure.Number
	N                      int // deployments
}

// newDeliveryTable is that of a view; by is "service" or "team".
func newDeliveryTable(list []insight.DeliveryOf, v insight.DeliveryView, by string) (t deliveryTable) {
	for i := range v.Numbers {
		t.Heads = append(t.Heads, v.Numbers[i].Name)
	}
	for _, of := range list {
		environment := cmp.Or(v.Environment, "*")
		line := deliveryLine{Name: of.Name, Repository: of.Repository, Numbers: of.Numbers, Href: linkTo("/delivery", "days", fmt.Sprint(v.Days), "environment", environment, "repository", of.Repository, by, of.Name)}
		for i := range of.Numbers {
			if of.Numbers[i].Key == measure.Frequency {
				line.N = of.Numbers[i].N
			}
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}
