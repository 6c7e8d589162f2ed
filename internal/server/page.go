package server

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/insight"
)

// The templates, and the style sheet and scripts beside them, are in the
// binary. A page is made of "layout.html", "parts.html" and a file of its own.
var (
	//go:embed templates/*.html
	templateFiles embed.FS
	//go:embed static
	staticFiles embed.FS
)

// pages makes HTML. Every page is usable as it comes from here, without
// scripts; those only save reloading.
type pages struct {
	byName map[string]*template.Template
	assets *assets
	strips stripCache
	now    func() time.Time
}

// newPages reads the templates.
func newPages() (*pages, error) {
	a, err := newAssets(staticFiles)
	if err != nil {
		return nil, err
	}
	p := &pages{byName: map[string]*template.Template{}, assets: a, now: time.Now}
	shared, err := template.New("").Funcs(p.functions()).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if p.byName[name], err = t.ParseFS(templateFiles, file); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Render writes a page; or, when its query asks for a fragment that the template
// has, only that.
func (p *pages) Render(w io.Writer, name string, page *Page) error {
	t := p.byName[name]
	if t == nil {
		return fmt.Errorf("there is no template %q", name)
	}
	at := "layout.html"
	if f := page.Query.Get("fragment"); f != "" && t.Lookup("fragment-"+f) != nil {
		at = "fragment-" + f
	}
	return t.ExecuteTemplate(w, at, page)
}

// functions are what templates may call. They put things into words; what is asked of
// whom the views have settled.
func (p *pages) functions() template.FuncMap {
	all := template.FuncMap{
		"asset": p.assets.url, "menu": menu, "current": current, "refresh": refresh, "jobsOf": jobsOf, "staged": staged, "stageOf": stageOf, "stepTree": stepTree, "logOf": logOf,
		"glyph": func(s any) string { return glyph(State(fmt.Sprint(s))) }, "word": func(s any) string { return words(State(fmt.Sprint(s))) }, "dur": duration, "short": short, "thousands": thousands, "upper": upper,
		"plural":  func(n any, noun string) string { return plural(toInt(n), noun) },
		"num":     func(n any) string { return thousands(toInt(n)) },
		"size":    size,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"full":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
		"since":   func(t time.Time) string { return ago(p.now().Sub(t)) },
		"unix":    func(s int64) time.Time { return time.Unix(s, 0).UTC() },
		"pct":     func(v float64) string { return fmt.Sprintf("%.2f%%", v) },
		"share":   func(v float64) string { return fmt.Sprintf("%.1f%%", clamp(100*v, 1, 100)) },
		"logPath": logPath,
		"jobHref": func(ref string) string {
			run, job, _ := strings.Cut(ref, "/")
			return logPath(run, job)
		},
		"stepHref":  func(run, job string, s StepRow) string { return stepHref(run, job, &s) },
		"pathOf":    escapePath,
		"here":      withQuery,
		"link":      linkTo,
		"states":    func() []choice { return stateChoices },
		"chosen":    func(a RunsAsk) bool { a.Limit, a.Before = 0, ""; return a != RunsAsk{} },
		"cut":       cutText,
		"grantOf":   grantOf,
		"len64":     func(v any) int64 { return int64(reflect.ValueOf(v).Len()) },
		"lines":     func(f Failure, run string) template.HTML { return excerptHTML(f, run) },
		"logBody":   logBody,
		"logLines":  logLines,
		"hits":      func(v LogView) []int64 { return v.Found.Hits[:min(len(v.Found.Hits), listedHits)] },
		"add":       func(a, b int64) int64 { return a + b },
		"atLeast":   func(a, b int64) int64 { return max(a, b) },
		"windowed":  func(v LogView) bool { return v.Lines > plainLines },
		"timeline":  func(v RunView) *timeline { return v.timeline },
		"graph":     func(v RunView) *graph { return v.graph },
		"joined":    func(list any) string { return joined(list) },
		"actsOf":    func(p *Page, v RunView) actions { return actions{p, v.Acts, v.Repository} },
		"anywhere":  func(p *Page, verb string) bool { return access.Anywhere(p.Who, access.Verb(verb)).Allowed },
		"jobAnchor": func(id string) string { return "job-" + id },
		"percent":   insight.Percent, "covBar": newCovBar, "crumbsOf": crumbsOf, "mark": lineMark, "hourBars": hourBars,
		"covHref":     func(repository, run string) string { return coverageHref(repository, run, "") },
		"said":        func(l insight.SourceLine) string { return lineSaid(l.State, l.Hits, l.Taken, l.Branches) },
		"saidOf":      func(l coverage.MarkedLine) string { return lineSaid(l.State, l.Hits, l.Taken, l.Branches) },
		"kindOf":      kindOf,
		"hourChoices": func() []int { return []int{24, healthHours, 24 * 7} },
		"troubles":    troubles, "blameClass": blameClass, "spark": spark, "sparkSays": sparkSays, "clusterIn": clusterIn, "quoteMeta": regexp.QuoteMeta,
		"blames": func() []fault.Blame {
			return []fault.Blame{fault.Yours, fault.Flaky, fault.Infrastructure, fault.Broken}
		},
		"more":    func(list any, shown int) int64 { return int64(reflect.ValueOf(list).Len() - shown) },
		"lanesOf": lanesOf,
		"flagBar": newFlagBar, "flagWord": flagWord, "flagStates": func() []choice { return flagStates },
		"deployCells": func(row DeploymentRow) template.HTML { return deploymentCells(row, p.now()) }, "shows": func() []choice { return deploymentShows }, "gateWords": gateWords, "deployedForm": deployedForm, "number": number, "newFlag": func() string { return newFlag },
	}
	maps.Copy(all, testFunctions(func() time.Time { return p.now() }))
	maps.Copy(all, deliveryFunctions())
	return all
}

// actions are the buttons of a run, for the template "acts".
type actions struct {
	Page       *Page
	Acts       []Act
	Repository string
}

// grantRow is a grant in a form.
type grantRow struct {
	Roles []access.Role
	Grant access.Grant
}

func grantOf(roles []access.Role, grant any) grantRow {
	g, _ := grant.(access.Grant)
	return grantRow{roles, g}
}

// choice is an option of a list in a form.
type choice struct{ Value, Name string }

var stateChoices = []choice{
	{"unfinished", "not ended"}, {"success", "succeeded"}, {"failure", "failed"}, {"error", "broke"}, {"timeout", "timed out"}, {"cancelled", "cancelled"}, {"skipped", "skipped"},
}

// linkTo is an address of ours with a query: pairs of a name and a value.
func linkTo(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return path + "?" + q.Encode()
}

// menuEntry is an entry of the main menu.
type menuEntry struct{ Path, Name string }

// menu has what who looks at the page may see.
func menu(p *Page) (list []menuEntry) {
	if p.Who == nil {
		return nil
	}
	for _, e := range []struct {
		menuEntry
		verb access.Verb
	}{
		{menuEntry{"/runs", "Runs"}, access.SeeRuns},
		{menuEntry{"/deployments", "Deployments"}, access.SeeRuns},
		{menuEntry{"/tests", "Tests"}, access.SeeRuns},
		{menuEntry{"/queue", "Queue"}, access.SeeQueue},
		{menuEntry{"/failures", "Failures"}, access.SeeRuns},
		{menuEntry{"/repositories", "Repositories"}, access.SeeRepos},
		{menuEntry{"/flags", "Flags"}, access.SeeFlags},
		{menuEntry{"/workers", "Workers"}, access.SeeWorkers},
		{menuEntry{"/secrets", "Secrets"}, access.SeeSecrets},
		{menuEntry{"/tokens", "Tokens"}, access.OwnTokens},
		{menuEntry{"/accounts", "Members"}, access.SeeAccounts},
		{menuEntry{"/audit", "Audit"}, access.SeeAudit},
		{menuEntry{"/settings", "Settings"}, access.SeeSettings},
		{menuEntry{"/delivery", "Delivery"}, access.SeeRuns},
		{menuEntry{"/incidents", "Incidents"}, access.SeeRuns},
	} {
		if access.Anywhere(p.Who, e.verb).Allowed {
			list = append(list, e.menuEntry)
		}
	}
	return list
}

// current reports whether a page belongs to an entry of the menu.
func current(p *Page, path string) bool {
	if path == "/tests" && (strings.HasPrefix(p.Path, "/test/") || strings.HasPrefix(p.Path, "/heatmap/") || strings.HasPrefix(p.Path, "/pyramid/")) {
		return true
	}
	return p.Path == path || strings.HasPrefix(p.Path, path+"/") || path == "/runs" && p.Path == "/" ||
		path == "/deployments" && (strings.HasPrefix(p.Path, "/rollout/") || strings.HasPrefix(p.Path, "/environment/") || strings.HasPrefix(p.Path, "/release/")) ||
		path == "/flags" && strings.HasPrefix(p.Path, "/flag/") ||
		path == "/incidents" && strings.HasPrefix(p.Path, "/incident/") ||
		path == "/failures" && (strings.HasPrefix(p.Path, "/failure/") || strings.HasPrefix(p.Path, "/known-issues/"))
}

// refresh is the address of the page itself.
func refresh(p *Page) string { return withQuery(p) }

// withQuery is the page's own address with some of its parameters changed: pairs of
// a name and a value, "" to leave it out.
func withQuery(p *Page, pairs ...any) string {
	q := url.Values{}
	for name, values := range p.Query {
		if name != "fragment" && name != "format" {
			q[name] = values
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, value := fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1])
		if q.Del(name); value != "" {
			q.Set(name, value)
		}
	}
	path := (&url.URL{Path: p.Path}).EscapedPath()
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// glyph is the drawing that stands for a state.
func glyph(s State) string {
	switch s {
	case Waiting, Queued:
		return "queued"
	case "success", "failure", "error", "timeout", "cancelled", "skipped", Pending, Approval, Running, Interrupted:
		return string(s)
	}
	return "pending"
}

// words is a state for people.
func words(s State) string {
	switch s {
	case "success":
		return "Succeeded"
	case "failure":
		return "Failed"
	case "error":
		return "Broke"
	case "timeout":
		return "Timed out"
	case "":
		return "Unknown"
	case Approval:
		return "To approve"
	}
	return upper(string(s))
}

// upper begins a sentence with a clause. What is no word (a path, a name in quotes)
// stays as it is.
func upper(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if s == "" || s[0] < 'a' || s[0] > 'z' || strings.ContainsAny(first, "./_`\"(") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func toInt(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int32:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// joined lists words with commas.
func joined(list any) string {
	var parts []string
	switch list := list.(type) {
	case []string:
		parts = list
	case []access.Verb:
		for _, v := range list {
			parts = append(parts, string(v))
		}
	}
	return strings.Join(parts, ", ")
}

// logPath is the address of a job's log.
func logPath(run, job string) string {
	return "/runs/" + url.PathEscape(run) + "/log/" + escapePath(job)
}

// stepHref is where a step begins in it.
func stepHref(run, job string, s *StepRow) string {
	return fmt.Sprintf("%s?at=%d#L%d", logPath(run, job), max(s.From, 1), max(s.From, 1))
}

// viewer makes the views of this server.
func (s *Server) viewer() *views {
	v := &views{runs: s.Runs, logs: s.Logs, faults: s.Faults, now: s.Now, branch: s.defaultBranch}
	if p, ok := s.html.(*pages); ok {
		v.kept = &p.strips
	} else {
		v.kept = new(stripCache)
	}
	return v
}

func (s *Server) defaultBranch(ctx context.Context, repository string) string {
	if s.Desk == nil {
		return ""
	}
	r, err := s.Desk.Repository(ctx, repository)
	if err != nil {
		return "" // a run of the command line has none
	}
	return r.DefaultBranch
}

// runObject is what the verbs of a run are done to: its repository.
func (s *Server) runObject(r *request) (access.Object, error) {
	h, err := s.Runs.Head(r.Context(), r.PathValue("run"))
	if err != nil {
		return access.Object{}, err
	}
	return access.Object{Repository: repositoryOf(&h)}, nil
}

// pageRoutes are the rows of the pages about runs, and of what pages are made of.
func (s *Server) pageRoutes() []route {
	lines := func(name, says string) param { return param{Name: name, Says: says, Kind: "integer"} }
	runsQuery := []param{
		{Name: "repository", Says: "only those of this one"}, {Name: "pipeline", Says: "only those of this one: its file or its name"}, {Name: "branch", Says: "a branch, or a whole ref"},
		{Name: "state", Says: "a verdict, or unfinished"}, {Name: "actor", Says: "only those that this one caused"}, {Name: "change", Says: "only those of this pull or merge request"},
		{Name: "before", Says: "only those older than this one"}, lines("limit", "at most so many"),
	}
	whyQuery := []param{{Name: "job", Says: "only this job"}, {Name: "step", Says: "only this step of it"}}
	logQuery := []param{
		lines("from", "the first line, from 1"), lines("n", "at most so many lines"), {Name: "q", Says: "text to look for: the answer has the numbers of the lines that hold it, and no lines"},
		lines("case", "1: upper and lower case differ"), lines("regex", "1: q is a regular expression, as Go has them"), lines("after", "only what is found after this line"), {Name: "step", Says: "only of this step"},
	}
	return []route{
		{Method: "GET", Path: "/{$}", Verb: access.SeeRuns, Somewhere: true, Faces: pageOnly, Template: "runs", Do: view(s.pageRuns)},
		{Method: "GET", Path: "/runs", Verb: access.SeeRuns, Somewhere: true, Template: "runs", Do: view(s.pageRuns),
			Says: "Runs, the newest first.", Query: runsQuery},
		{Method: "GET", Path: "/runs/{run}", Verb: access.SeeRuns, Object: s.runObject, Template: "run", Do: view(s.pageRun),
			Says: "One run: how it stands, its jobs and steps, failures, tests, artifacts."},
		{Method: "GET", Path: "/runs/{run}/why", Verb: access.SeeRuns, Object: s.runObject, Template: "why", Do: view(s.pageWhy),
			Says: "Why the steps of a run ran, were reused, or may not be.", Query: whyQuery},
		{Method: "GET", Path: "/runs/{run}/log/{job...}", Verb: access.SeeRuns, Object: s.runObject, Template: "log", Do: view(s.pageLog),
			Says: "The log of a job: some of its lines, or what a search finds.", Query: logQuery},
		{Method: "GET", Path: "/deliveries", Verb: access.SeeRuns, Somewhere: true, Faces: pageOnly, Template: "deliveries", Do: view(s.requests)},
		{Method: "GET", Path: "/static/{file...}", Open: "the style sheet and scripts of the pages", Faces: rootOnly, Do: stream(s.sendAsset)},
	}
}

func (s *Server) pageRuns(r *request) (RunsView, error) {
	q := r.URL.Query()
	limit, err := r.whole("limit", 0, mostLists)
	if err != nil {
		return RunsView{}, err
	}
	ask := RunsAsk{
		Repository: q.Get("repository"), Pipeline: q.Get("pipeline"), Branch: q.Get("branch"), State: q.Get("state"),
		Actor: q.Get("actor"), Change: q.Get("change"), Before: q.Get("before"), Limit: int(limit),
	}
	if _, err := r.whole("before", 0, 1<<62); err != nil {
		return RunsView{}, err
	}
	return s.viewer().list(r.Context(), ask, func(repository string) bool {
		return r.May(access.SeeRuns, access.Object{Repository: repository})
	})
}

func (s *Server) pageRun(r *request) (RunView, error) {
	v, err := s.viewer().run(r.Context(), r.PathValue("run"))
	if err == nil {
		v.Reports, err = s.measured(r.Context(), v.ID)
	}
	if err != nil || s.Desk == nil || v.State != Waiting && v.State != Approval {
		return v, err
	}
	q, err := s.Desk.Queue(r.Context())
	for _, w := range q.Waiting {
		if w.Run == v.ID {
			v.Queue = w.Why
		}
	}
	return v, err
}

func (s *Server) pageWhy(r *request) (WhyView, error) {
	q := r.URL.Query()
	return s.viewer().why(r.Context(), r.PathValue("run"), q.Get("job"), q.Get("step"))
}

func (s *Server) pageLog(r *request) (LogView, error) {
	q := r.URL.Query()
	ask := LogAsk{Query: q.Get("q"), Case: q.Get("case") == "1", Regexp: q.Get("regex") == "1", Step: q.Get("step"), Whole: !r.API}
	var err error
	for name, n := range map[string]*int64{"from": &ask.From, "at": &ask.At, "to": &ask.To, "after": &ask.After} {
		if *n, err = r.whole(name, 0, 1<<62); err != nil {
			return LogView{}, err
		}
	}
	if ask.N, err = r.whole("n", 0, mostLines); err != nil {
		return LogView{}, err
	}
	switch f := q.Get("fragment"); {
	case r.API:
		ask.N = cmp.Or(ask.N, apiLines)
	case f == "head" || f == "rail": // what is beside the lines
		ask.N = -1
	}
	return s.viewer().log(r.Context(), r.PathValue("run"), r.PathValue("job"), ask)
}

// apiLines is how many lines a program gets that does not say how many it wants.
const apiLines = 1000
