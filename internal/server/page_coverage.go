package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	maxReport    = 256 << 20 // bytes of a report that is handed in, as they are sent
	maxUnpacked  = 4 << 30   // bytes of it when it was packed
	trendPoints  = 100       // of a page
	healthHours  = 48        // of a page, when nothing else is asked for
	maxPathAsked = 4096
)

// coverageRoutes are the rows about reports and what they say of coverage.
func (s *Server) coverageRoutes() []route {
	return []route{
		{Method: "GET", Path: "/coverage/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "coverage", Do: view(s.pageCoverage),
			Says: "What the tests of a repository cover: its newest run with coverage, or one that is named.", Query: []param{
				{Name: "branch", Says: "the newest run of this one; else of the default branch"}, {Name: "run", Says: "this run"}, {Name: "path", Says: "a directory or a file of the tree"},
			}},
		{Method: "GET", Path: "/runs/{run}/coverage", Verb: access.SeeRuns, Object: s.runObject, Template: "patch", Do: view(s.pagePatch),
			Says: "How much of a run's change its tests covered: the diff, with its lines marked.", Query: []param{{Name: "base", Says: "what the change is compared with: a branch, a tag or a commit"}}},
		{Method: "GET", Path: "/reports/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "reports", Do: view(s.pageReports),
			Says: "How reports could be read lately: by hours, and each that could not.", Query: []param{{Name: "hours", Says: "of the last so many hours", Kind: "integer"}}},
		{Method: "POST", Path: "/reports/{repository...}", Verb: access.PushRun, Object: inPath, MaxBody: maxReport, Untimed: true, Faces: apiOnly, Do: view(s.takeReport),
			Says: "Hand in a report of another CI system's run: of tests, coverage, load or findings, in any format that is known, plain or packed by gzip.", Query: []param{
				{Name: "name", Says: "the report's file"}, {Name: "commit", Says: "that the tests were run on, all 40 digits"}, {Name: "branch", Says: "that it is on"},
				{Name: "run", Says: "a run of this server, or what the other system calls its run: what has the same is one run here"},
				{Name: "flag", Says: "what part of the tests coverage is of"}, {Name: "variant", Says: "what tells environments of tests apart"},
			}},
	}
}

// CoverageView is what the tests of a repository cover.
type CoverageView struct {
	Repository string           `json:"repository"`
	Branch     string           `json:"branch,omitempty"` // that was asked for
	Coverage   *insight.Covered `json:"coverage,omitempty"`
	Trend      []insight.Point  `json:"trend"` // of the default branch, oldest first
	Path       string           `json:"path,omitempty"`
	Nodes      []insight.Node   `json:"nodes,omitempty"`  // what is directly in the directory
	Source     *insight.Source  `json:"source,omitempty"` // of a file
	Here       coverage.Totals  `json:"here"`             // of the directory or file
	Gone       string           `json:"gone,omitempty"`   // why a file's text cannot be shown

	line *trendLine
}

// Line is the trend as it is drawn, for the template.
func (v CoverageView) Line() *trendLine { return v.line }

// chosen are the runs of the repository that a path names.
func (s *Server) chosen(r *request) (f store.RunFilter, err error) {
	name := r.PathValue("repository")
	probe, err := s.Runs.Runs(r.Context(), store.RunFilter{Origin: name, Limit: 1})
	if err != nil {
		return f, err
	}
	if len(probe) == 0 { // what the command line ran here has no repository of the server's
		return store.RunFilter{Repository: name}, nil
	}
	return store.RunFilter{Origin: name}, nil
}

func (s *Server) pageCoverage(r *request) (v CoverageView, err error) {
	if s.Coverage == nil {
		return v, lacking("coverage")
	}
	q := r.URL.Query()
	v.Repository, v.Branch, v.Path = r.PathValue("repository"), q.Get("branch"), strings.Trim(q.Get("path"), "/")
	if len(v.Path) > maxPathAsked {
		return v, missing("file")
	}
	if strings.HasPrefix(q.Get("path"), "/") {
		v.Path = "/" + v.Path
	}
	f, err := s.chosen(r)
	if err != nil {
		return v, err
	}
	if v.Trend, err = s.Coverage.Trend(r.Context(), v.Repository, trendPoints); err != nil {
		return v, err
	}
	if run := q.Get("run"); run != "" {
		h, err := s.Runs.Head(r.Context(), run)
		if err != nil {
			return v, err
		}
		if repositoryOf(&h) != v.Repository {
			return v, missing("run")
		}
		v.Coverage, err = s.Coverage.Of(r.Context(), run)
		if err != nil && !errors.Is(err, insight.ErrNoCoverage) {
			return v, err
		}
	} else {
		f.Branch = v.Branch
		if v.Coverage, err = s.Coverage.Latest(r.Context(), f); err != nil && !errors.Is(err, insight.ErrNoCoverage) {
			return v, err
		}
	}
	if v.line = newTrendLine(v.Trend, &v); v.Trend == nil {
		v.Trend = []insight.Point{}
	}
	if v.Coverage == nil {
		return v, nil
	}
	return v, s.within(r, &v)
}

// within fills in what is at the path.
func (s *Server) within(r *request, v *CoverageView) error {
	lines, err := s.Coverage.Lines(r.Context(), v.Coverage)
	if err != nil {
		return err
	}
	if f := lines.File(v.Path); f != nil {
		v.Here = f.Totals()
		v.Source, err = s.Coverage.Source(r.Context(), v.Coverage, lines, v.Path)
		if errors.Is(err, insight.ErrNoHistory) {
			v.Gone = "its text is not here: there is no git history that has it"
			v.Source, err = &insight.Source{Path: v.Path}, nil
			for _, l := range f.Lines {
				v.Source.Lines = append(v.Source.Lines, insight.Said(l))
			}
			v.Source.Lines = v.Source.Lines[:min(len(v.Source.Lines), insight.MaxMarked)]
		}
		return err
	}
	v.Nodes = insight.Within(lines, v.Path)
	if len(v.Nodes) == 0 && v.Path != "" {
		return missing("file or directory with coverage")
	}
	for _, n := range v.Nodes {
		v.Here = v.Here.Plus(n.Totals)
	}
	return nil
}

// PatchView is how much of a run's change was covered.
type PatchView struct {
	Run        RunRow           `json:"run"`
	Repository string           `json:"repository"`
	Patched    *insight.Patched `json:"covered,omitempty"`
	// Lacking says why there is nothing of it.
	Lacking string `json:"lacking,omitempty"`
	Base    string `json:"asked,omitempty"`
}

func (s *Server) pagePatch(r *request) (v PatchView, err error) {
	if s.Coverage == nil {
		return v, lacking("coverage")
	}
	h, err := s.Runs.Head(r.Context(), r.PathValue("run"))
	if err != nil {
		return v, err
	}
	v.Run, v.Repository, v.Base = rowOf(&h, s.Now()), repositoryOf(&h), r.URL.Query().Get("base")
	v.Patched, err = s.Coverage.Patch(r.Context(), h.ID, v.Base)
	switch {
	case errors.Is(err, insight.ErrNoCoverage):
		v.Lacking, err = "No step of this run left a report of coverage.", nil
	case errors.Is(err, insight.ErrNoHistory), errors.Is(err, fs.ErrNotExist) && v.Base != "":
		v.Lacking, err = "There is no git history here that knows both the commit and what it is to be compared with.", nil
	}
	return v, err
}

// MeasuredRow is a report of coverage, load or findings that a job left.
type MeasuredRow struct {
	insight.Report
	Job string `json:"job"`
}

// maxMeasured is how many of them a run's page shows.
const maxMeasured = 100

// measured are those of a run, in order.
func (s *Server) measured(ctx context.Context, run string) (list []MeasuredRow, err error) {
	events, err := s.Runs.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"coverage.reported", "load.reported", "findings.reported"}, Limit: maxMeasured})
	for _, e := range slices.Backward(events) {
		if r, ok := insight.ReportOf(e.Body); ok {
			list = append(list, MeasuredRow{r, e.Job})
		}
	}
	return list, err
}

// HealthView is how reports could be read lately.
type HealthView struct {
	insight.Health
	Asked int `json:"hours_asked"`
}

func (s *Server) pageReports(r *request) (v HealthView, err error) {
	hours, err := r.whole("hours", healthHours, insight.MaxHours)
	if err != nil {
		return v, err
	}
	f, err := s.chosen(r)
	if err != nil {
		return v, err
	}
	v.Asked = int(max(hours, 1))
	v.Health, err = insight.HealthOf(r.Context(), s.Runs, f, s.Now(), v.Asked)
	return v, err
}

// takeReport takes one report in.
func (s *Server) takeReport(r *request) (t insight.Taken, err error) {
	if s.Reports == nil {
		return t, lacking("place for reports")
	}
	name := r.PathValue("repository")
	repo, err := s.Desk.Repository(r.Context(), name)
	if err != nil {
		return t, err
	}
	q := r.URL.Query()
	h := insight.Handed{
		Repository: name, Commit: q.Get("commit"), Branch: q.Get("branch"), DefaultBranch: repo.DefaultBranch, Run: q.Get("run"),
		Flag: q.Get("flag"), Variant: q.Get("variant"), By: r.Who.Name,
		Origin: &record.Origin{Repository: name, Trust: record.Contributor, Pushed: true},
	}
	by := r.by()
	h.Acted = &record.Acted{By: by.Name, Via: by.Via, From: by.From, Verb: string(access.PushRun), Object: name}
	last, err := s.Runs.Runs(r.Context(), store.RunFilter{Origin: name, Limit: 1})
	if err != nil {
		return t, err
	}
	if len(last) > 0 { // it is the repository's own runs that they stand beside
		h.Repository = last[0].Repository
	}
	source := q.Get("name")
	if source == "" {
		source = "report"
	}
	t, err = s.Reports.Take(r.Context(), h, []insight.ReportFileOf{{Name: source, Open: func() (io.ReadCloser, error) { return unpacked(r.Body) }}})
	var bad *insight.BadHand
	switch {
	case errors.As(err, &bad):
		err = problem(http.StatusUnprocessableEntity, "unusable", bad.Hint, "%s", bad.Message)
	case err == nil && t.Run == "":
		err = problem(http.StatusUnprocessableEntity, "unreadable", "docs/reference/test-formats.md and report-formats.md list what is known", "%s", t.Reports[0].Unread)
	}
	return t, err
}

// unpacked is a report as it was before gzip packed it.
func unpacked(from io.Reader) (io.ReadCloser, error) {
	head := make([]byte, 2)
	n, err := io.ReadFull(from, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	from = io.MultiReader(bytes.NewReader(head[:n]), from)
	if n < 2 || head[0] != 0x1f || head[1] != 0x8b {
		return io.NopCloser(from), nil
	}
	z, err := gzip.NewReader(from)
	if err != nil {
		return nil, fmt.Errorf("unpack it: %w", err)
	}
	return &unpacking{z, maxUnpacked}, nil
}

// unpacking ends with an error where a report becomes too large.
type unpacking struct {
	*gzip.Reader
	left int64
}

func (u *unpacking) Read(p []byte) (int, error) {
	if u.left <= 0 {
		return 0, fmt.Errorf("unpacked it is larger than %d GiB", maxUnpacked>>30)
	}
	n, err := u.Reader.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	return n, err
}

// trendLine is a trend as it is drawn: positions are shares of its width and height,
// in percent.
type trendLine struct {
	Points []trendDot
	Ticks  []trendTick
	First  time.Time
	Last   time.Time
}

type trendDot struct {
	insight.Point
	X, Y   float64
	PX, PY float64 // of the point before
	Href   string
	Title  string
	Now    bool // it is the run that is shown
}

type trendTick struct {
	Y     float64
	Label string
}

// newTrendLine is a line through points; nil of fewer than two.
func newTrendLine(points []insight.Point, v *CoverageView) *trendLine {
	if len(points) < 2 {
		return nil
	}
	least, most := 1.0, 0.0
	for _, p := range points {
		if share, ok := p.Ratio(); ok {
			least, most = min(least, share), max(most, share)
		}
	}
	if most < least {
		return nil
	}
	// A small change is to be seen, and a tiny one is not to look like a large one.
	const room = 0.02
	least, most = max(0, least-room), min(1, most+room)
	at := func(share float64) float64 { return 92 - 84*(share-least)/(most-least) }
	t := &trendLine{First: points[0].Time, Last: points[len(points)-1].Time}
	for _, share := range []float64{least, (least + most) / 2, most} {
		t.Ticks = append(t.Ticks, trendTick{at(share), fmt.Sprintf("%.1f %%", 100*share)})
	}
	for i, p := range points {
		share, ok := p.Ratio()
		if !ok {
			continue
		}
		d := trendDot{Point: p, X: 2 + 96*float64(i)/float64(len(points)-1), Y: at(share), Href: coverageHref(v.Repository, p.Run, ""), Now: v.Coverage != nil && v.Coverage.Run == p.Run}
		d.PX, d.PY = d.X, d.Y
		if n := len(t.Points); n > 0 {
			d.PX, d.PY = t.Points[n-1].X, t.Points[n-1].Y
		}
		d.Title = fmt.Sprintf("run %s, %s: %s of %s lines", p.Run, short(p.Commit), insight.Percent(p.Totals), thousands(int64(p.Lines())))
		t.Points = append(t.Points, d)
	}
	return t
}

// coverageHref is the address of a path in what a run covered.
func coverageHref(repository, run, name string) string {
	q := url.Values{}
	if run != "" {
		q.Set("run", run)
	}
	if name != "" {
		q.Set("path", name)
	}
	at := "/coverage/" + escapePath(repository)
	if len(q) == 0 {
		return at
	}
	return at + "?" + q.Encode()
}

// covBar is a share of lines as a bar: widths in percent, and the words for it.
type covBar struct {
	Hit, Partial, Miss float64
	Share, Title       string
	coverage.Totals
}

func newCovBar(t coverage.Totals) covBar {
	b := covBar{Share: insight.Percent(t), Totals: t}
	if n := float64(t.Lines()); n > 0 {
		b.Hit, b.Partial, b.Miss = 100*float64(t.Hit)/n, 100*float64(t.Partial)/n, 100*float64(t.Miss)/n
	}
	b.Title = fmt.Sprintf("%s covered, %s in part, %s missed", thousands(int64(t.Hit)), thousands(int64(t.Partial)), thousands(int64(t.Miss)))
	return b
}

// crumb is a step on the way to a path.
type crumb struct{ Name, Path string }

// crumbsOf are the directories above a path, and it itself.
func crumbsOf(name string) (list []crumb) {
	at := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "/"), "/") {
		if part == "" {
			continue
		}
		if at == "" && strings.HasPrefix(name, "/") {
			part = "/" + part
		}
		at = strings.TrimPrefix(path.Join(at, part), "//")
		list = append(list, crumb{part, at})
	}
	return list
}

// lineMark is a line's state as a sign beside its number: a shape, so that colour is not
// alone.
func lineMark(s coverage.State) string {
	switch s {
	case coverage.Hit:
		return "✓"
	case coverage.Partial:
		return "◐"
	case coverage.Miss:
		return "✗"
	}
	return ""
}

// lineSaid is a line's state in words.
func lineSaid(s coverage.State, hits, taken, branches int) string {
	switch s {
	case coverage.Hit:
		return fmt.Sprintf("covered, %s", plural(int64(hits), "time"))
	case coverage.Partial:
		if branches > 0 {
			return fmt.Sprintf("covered in part: %d of %d branches", taken, branches)
		}
		return "covered in part"
	case coverage.Miss:
		return "not covered"
	}
	return ""
}

// kindOf is what a diff does to a line, in a word.
func kindOf(kind string) string {
	switch kind {
	case "+":
		return "added"
	case "-":
		return "deleted"
	}
	return "unchanged"
}

// hourBar is an hour of reports as a bar: heights in percent.
type hourBar struct {
	insight.Hour
	X, W                 float64
	ReadY, SalvagedY     float64
	UnreadY              float64
	ReadH, SalvagedH, UH float64
	Title                string
	Any                  bool
}

// hourBars are bars for hours, the tallest of which is all of the height.
func hourBars(h insight.Health) []hourBar {
	most := 1
	for _, hour := range h.Hours {
		most = max(most, hour.Read+hour.Salvaged+hour.Unread)
	}
	bars := make([]hourBar, len(h.Hours))
	for i, hour := range h.Hours {
		high := func(n int) float64 { return 100 * float64(n) / float64(most) }
		b := hourBar{Hour: hour, X: 100 * float64(i) / float64(len(h.Hours)), W: 88 / float64(len(h.Hours)), UH: high(hour.Unread), SalvagedH: high(hour.Salvaged), ReadH: high(hour.Read)}
		b.ReadY = 100 - b.ReadH
		b.SalvagedY = b.ReadY - b.SalvagedH
		b.UnreadY = b.SalvagedY - b.UH
		b.Any = hour.Read+hour.Salvaged+hour.Unread > 0
		b.Title = fmt.Sprintf("%s: %d read, %d in part, %d not read", hour.Begin.Format("2 January 15:04 UTC"), hour.Read, hour.Salvaged, hour.Unread)
		bars[i] = b
	}
	return bars
}
