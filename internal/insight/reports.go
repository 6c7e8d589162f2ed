package insight

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Archive is what answers are made from: runs and their events.
type Archive interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
}

// Reports takes in reports that another CI system's runs left. They become a run of
// their own, whose one job is called [ReportJob]: so whatever is learned from runs is
// learned from them, and every page shows them. Its fields are set once.
type Reports struct {
	Store interface {
		store.Registers
		NewRun(ctx context.Context, repository, pipeline string) (id string, number int, err error)
	}
	Runs    Archive
	Blobs   blob.Store
	Version string // Fairlead's own
}

// ReportJob is the job that reports handed in belong to, and ReportFile the pipeline
// that their runs are of.
const (
	ReportJob  = "reports"
	ReportFile = "reports"
)

// reportRun is the kind of the registers that say which run is another system's: by
// repository and a digest of what that system calls it.
const reportRun = "report-run"

// Limits of what is handed in at once.
const (
	MaxReports  = 1000
	maxRunName  = 2000
	maxReportID = 500
)

// Handed says whose reports are handed in.
type Handed struct {
	Repository    string // owner/name
	Commit        string // that they are of
	Branch        string
	DefaultBranch string // "" when it is not known
	// Run is a run of ours that they belong to, or what the system that they come
	// from calls its run: its address, its number. What is handed in under the same
	// name later is added. "" makes a run of their own.
	Run     string
	Flag    string // what part of the tests coverage is of
	Variant string // what tells environments apart, of results of tests
	By      string
	Root    string         // directory of the tree, if there is one
	Origin  *record.Origin // of a server's
	Acted   *record.Acted  // for the audit trail; nil: there is none
}

// ReportFileOf is one report: its name, for people, and its bytes.
type ReportFileOf struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// Taken is what came of reports.
type Taken struct {
	Run     string   `json:"run"`           // that they became, or belong to; "" when none could be read
	New     bool     `json:"new,omitempty"` // the run is of their own
	Reports []Report `json:"reports"`
}

// Read is how many of the reports could be read.
func (t *Taken) Read() (n int) {
	for i := range t.Reports {
		if t.Reports[i].Unread == "" {
			n++
		}
	}
	return n
}

// Report is what one report says, in a line.
type Report struct {
	Source   string       `json:"source"`
	Kind     harvest.Kind `json:"kind"` // tests, coverage, load, findings
	Format   string       `json:"format,omitempty"`
	Says     string       `json:"says,omitempty"`
	Salvaged []string     `json:"salvaged,omitempty"` // what was wrong with it, with lines
	Unread   string       `json:"unread,omitempty"`   // why it could not be read
	Failed   bool         `json:"failed,omitempty"`   // tests failed, or thresholds were not kept
}

// ReportOf puts an event of a report into words; ok is false for any other event.
func ReportOf(b record.Body) (r Report, ok bool) {
	switch b := b.(type) {
	case *record.TestsReported:
		r = Report{Source: b.Source, Kind: harvest.KindTests, Format: b.Format, Salvaged: b.Salvaged, Unread: b.Unread, Failed: b.Failed > 0}
		r.Says = fmt.Sprintf("%d passed, %d failed, %d skipped", b.Passed, b.Failed, b.Skipped)
	case *record.CoverageReported:
		r = Report{Source: b.Source, Kind: harvest.KindCoverage, Format: b.Format, Salvaged: b.Salvaged, Unread: b.Unread}
		t := coverage.Totals{Files: b.Files, Hit: b.Hit, Partial: b.Partial, Miss: b.Miss}
		r.Says = fmt.Sprintf("%s of %s in %s", Percent(t), count(t.Lines(), "line"), count(t.Files, "file"))
	case *record.LoadReported:
		r = Report{Source: b.Source, Kind: harvest.KindLoad, Format: b.Format, Salvaged: b.Salvaged, Unread: b.Unread}
		r.Says = fmt.Sprintf("%s, %d failed", count(int(b.Requests), "request"), b.Failed)
		r.Failed = slices.ContainsFunc(b.Thresholds, func(t record.Threshold) bool { return !t.Kept })
	case *record.FindingsReported:
		r = Report{Source: b.Source, Kind: harvest.KindFindings, Format: b.Format, Salvaged: b.Salvaged, Unread: b.Unread}
		n := 0
		for _, level := range b.Levels {
			n += level
		}
		r.Says = count(n, "finding")
	default:
		return r, false
	}
	if r.Unread != "" {
		r.Says = ""
	}
	return r, true
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Percent is a share of lines for people: "81.3 %". It is rounded down, so that 100 %
// is all of them.
func Percent(t coverage.Totals) string {
	share, ok := t.Ratio()
	if !ok {
		return "no lines"
	}
	return fmt.Sprintf("%.1f %%", float64(int(share*1000+1e-9))/10)
}

// BadHand says what is wrong with what was to be handed in.
type BadHand struct{ Message, Hint string }

func (e *BadHand) Error() string { return e.Message }

// Take reads reports and makes them part of the record: all of them in one
// transaction. What cannot be read is part of it too, with why. When none can be read
// there is no run. The error is a [*BadHand] when Handed makes no sense, and a
// [store.ErrNotFound] when it names a run that there is not.
func (r *Reports) Take(ctx context.Context, h Handed, files []ReportFileOf) (Taken, error) {
	if err := h.check(len(files)); err != nil {
		return Taken{}, err
	}
	var taken Taken
	var bodies []record.Body
	for _, f := range files {
		body, err := r.read(ctx, &h, f)
		if err != nil {
			return Taken{}, err
		}
		said, _ := ReportOf(body)
		taken.Reports, bodies = append(taken.Reports, said), append(bodies, body)
	}
	if h.Run == "" && taken.Read() == 0 {
		return taken, nil
	}
	for {
		run, reg, err := r.find(ctx, &h)
		if err != nil {
			return taken, err
		}
		taken.Run, taken.New = run, run == ""
		if err = r.append(ctx, &h, &taken, reg, bodies); !errors.Is(err, record.ErrConflict) {
			return taken, err
		}
		// Somebody began the run of that name at the same time.
	}
}

func (h *Handed) check(files int) error {
	bad := func(hint, format string, args ...any) error { return &BadHand{fmt.Sprintf(format, args...), hint} }
	switch {
	case files == 0:
		return bad("name some", "there are no reports")
	case files > MaxReports:
		return bad("hand them in in several portions, with the same name of the run", "%d reports are more than the %d that are taken at once", files, MaxReports)
	case h.Repository == "":
		return bad("name it", "it is not said which repository the reports are of")
	case len(h.Commit) > maxReportID || len(h.Branch) > maxReportID || len(h.Flag) > maxReportID || len(h.Variant) > maxReportID || len(h.Run) > maxRunName:
		return bad("", "a name is too long")
	case runNumber(h.Run) == 0 && !isCommit(h.Commit):
		return bad("give all 40 digits of the commit that the tests were run on", "%.60q is no commit", h.Commit)
	}
	return nil
}

func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// runNumber is a run's ID as one, 0 if it is none.
func runNumber(run string) (n int64) {
	if _, err := fmt.Sscanf(run, "%d", &n); err != nil || fmt.Sprint(n) != run {
		return 0
	}
	return n
}

// read reads one report, and keeps all that it says.
func (r *Reports) read(ctx context.Context, h *Handed, f ReportFileOf) (record.Body, error) {
	unread := func(err error) record.Body {
		return &record.TestsReported{Source: f.Name, Unread: err.Error(), Commit: h.Commit, Branch: h.Branch}
	}
	file, err := f.Open()
	if err != nil {
		return unread(err), nil
	}
	defer file.Close()
	var results keptResults
	body, lines, err := harvest.Any(file, path.Clean(f.Name), func(t record.TestResult) error {
		harvest.Relative(&t, h.Root)
		return results.add(ctx, r.Blobs, &t)
	})
	digest, closed := results.close(err)
	if err = errors.Join(err, closed); err != nil {
		return nil, fmt.Errorf("keep the results of %s: %w", f.Name, err)
	}
	switch b := body.(type) {
	case *record.TestsReported:
		b.Source, b.Results, b.Variant, b.Commit, b.Branch = f.Name, digest, h.Variant, h.Commit, h.Branch
		for i := range b.Bad {
			harvest.Relative(&b.Bad[i], h.Root)
		}
	case *record.CoverageReported:
		b.Source, b.Flag, b.Commit, b.Branch = f.Name, h.Flag, h.Commit, h.Branch
		if lines != nil {
			if b.Report, err = keep(ctx, r.Blobs, lines); err != nil {
				return nil, fmt.Errorf("keep the coverage of %s: %w", f.Name, err)
			}
		}
	case *record.LoadReported:
		b.Source, b.Commit, b.Branch = f.Name, h.Commit, h.Branch
	case *record.FindingsReported:
		b.Source, b.Commit, b.Branch = f.Name, h.Commit, h.Branch
	}
	return body, nil
}

// keep keeps the lines of a report.
func keep(ctx context.Context, blobs blob.Store, lines *coverage.Report) (string, error) {
	out, in := io.Pipe()
	go func() { in.CloseWithError(coverage.Encode(in, lines)) }()
	digest, _, err := blobs.Put(ctx, out)
	out.CloseWithError(err)
	return string(digest), err
}

// keptResults is the results of a report on their way into a blob.
type keptResults struct {
	in     *io.PipeWriter // nil until there is a result
	keeper *harvest.Keeper
	done   chan struct{} // closed when digest and err are set
	digest blob.Digest
	err    error
}

func (k *keptResults) add(ctx context.Context, blobs blob.Store, t *record.TestResult) (err error) {
	if k.in == nil {
		out, in := io.Pipe()
		k.in, k.done = in, make(chan struct{})
		go func() {
			defer close(k.done)
			k.digest, _, k.err = blobs.Put(ctx, out)
			out.CloseWithError(k.err)
		}()
		if k.keeper, err = harvest.NewKeeper(in); err != nil {
			return err
		}
	}
	return k.keeper.Add(t)
}

func (k *keptResults) close(err error) (string, error) {
	if k.in == nil {
		return "", nil
	}
	if err == nil {
		err = k.keeper.Close()
	}
	_ = k.in.CloseWithError(err) // never fails; nil is the end of the stream
	<-k.done
	return string(k.digest), k.err
}

// find finds the run that reports belong to: "" when there is none yet, and then the
// register that is to name it.
func (r *Reports) find(ctx context.Context, h *Handed) (run string, reg record.Register, err error) {
	if h.Run == "" {
		return "", reg, nil
	}
	if runNumber(h.Run) > 0 {
		head, err := r.Runs.Head(ctx, h.Run)
		if err != nil {
			return "", reg, fmt.Errorf("run %s: %w", h.Run, err)
		}
		if head.Repository != h.Repository && (head.Origin == nil || h.Origin == nil || head.Origin.Repository != h.Origin.Repository) {
			return "", reg, fmt.Errorf("run %s of %s: %w", h.Run, h.Repository, store.ErrNotFound)
		}
		return h.Run, reg, nil
	}
	sum := sha256.Sum256([]byte(h.Run + "\x00" + h.Commit))
	id := h.Repository + "/" + hex.EncodeToString(sum[:16])
	if h.Origin != nil {
		id = h.Origin.Repository + "/" + hex.EncodeToString(sum[:16])
	}
	if reg, err = r.Store.Register(ctx, reportRun, id); err != nil {
		return "", reg, fmt.Errorf("find run %s: %w", h.Run, err)
	}
	if reg.Version > 0 {
		err = json.Unmarshal(reg.Body, &run)
		return run, record.Register{}, err
	}
	return "", record.Register{Kind: reportRun, ID: id}, nil
}

// append makes the reports part of a run.
func (r *Reports) append(ctx context.Context, h *Handed, t *Taken, reg record.Register, bodies []record.Body) (err error) {
	own := plan.Success
	for i := range t.Reports {
		if t.Reports[i].Failed {
			own = plan.Failure
		}
	}
	verdict := own // of all that were handed in
	var events []record.Event
	say := func(job, step string, b record.Body) {
		events = append(events, record.Event{Run: t.Run, Job: job, Step: step, Body: b})
	}
	ours, step := true, 1
	if t.New {
		var planned *record.RunPlanned
		if t.Run, planned, err = r.begin(ctx, h); err != nil {
			return err
		}
		say("", "", planned)
		say("", "", &record.RunStarted{Host: "elsewhere"})
	} else if ours, step, err = r.standing(ctx, t.Run, &verdict); err != nil {
		return err
	}
	key := fmt.Sprint(step)
	say(ReportJob, "", &record.JobStarted{Attempt: 1, Place: "elsewhere", GoesOn: step > 1})
	say(ReportJob, key, &record.StepStarted{Name: names(t.Reports)})
	for _, b := range bodies {
		say(ReportJob, key, b)
	}
	fin := &record.StepFinished{Name: names(t.Reports), Outcome: own, Conclusion: own}
	if own.Bad() {
		fin.Fault = diagnose(bodies)
		fin.Why = fin.Fault.Title
	}
	say(ReportJob, key, fin)
	say(ReportJob, "", &record.JobFinished{Verdict: verdict, Result: verdict})
	if ours {
		say("", "", &record.RunFinished{Verdict: verdict})
	}
	if h.Acted != nil {
		acted := *h.Acted
		acted.Detail = map[string]string{"run": t.Run}
		say("", "", &acted)
	}
	var changes []record.Register
	if reg.Kind != "" {
		if reg.Body, err = json.Marshal(t.Run); err != nil {
			return err
		}
		changes = append(changes, reg)
	}
	if _, err = r.Store.Change(ctx, changes, events...); err != nil {
		return fmt.Errorf("take in reports: %w", err)
	}
	return nil
}

// diagnose says in words what reports say went wrong. Tests that failed tell more
// themselves.
func diagnose(bodies []record.Body) *record.Diagnosis {
	var failed int
	var broken []string
	for _, b := range bodies {
		switch b := b.(type) {
		case *record.TestsReported:
			failed += b.Failed
		case *record.LoadReported:
			for _, t := range b.Thresholds {
				if !t.Kept {
					broken = append(broken, t.Name)
				}
			}
		}
	}
	d := &record.Diagnosis{Rule: "tests-failed", Verdict: plan.Failure, Title: count(failed, "test") + " failed"}
	if len(broken) > 0 && failed == 0 {
		d.Rule, d.Title = "threshold", "a threshold was not kept: "+broken[0]
		if len(broken) > 1 {
			d.Title = count(len(broken), "threshold") + " were not kept: " + strings.Join(broken[:min(len(broken), maxBroken)], ", ")
		}
	}
	return d
}

// maxBroken is how many thresholds that were not kept are named.
const maxBroken = 5

// begin makes a run of reports.
func (r *Reports) begin(ctx context.Context, h *Handed) (string, *record.RunPlanned, error) {
	of := h.Repository
	if h.Origin != nil {
		of = h.Origin.Repository
	}
	id, n, err := r.Store.NewRun(ctx, of, ReportFile)
	if err != nil {
		return "", nil, fmt.Errorf("begin a run: %w", err)
	}
	ref := h.Branch
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	name := "Reports"
	if h.Run != "" {
		name += " of " + h.Run[:min(len(h.Run), 200)]
	}
	return id, &record.RunPlanned{
		Number: n, Attempt: 1, Root: h.Root, Version: r.Version, Origin: h.Origin,
		Change: &plan.Change{Event: "report", Ref: ref, SHA: h.Commit, Repository: h.Repository, DefaultBranch: h.DefaultBranch, Actor: h.By},
		Pipeline: &plan.Pipeline{
			Dialect: "report", Name: name, File: ReportFile, Start: plan.Start{Yes: true, Why: "reports were handed in"},
			Jobs: []plan.Job{{ID: ReportJob, Name: ReportJob}},
		},
	}, nil
}

// standing says of a run that there is whether it is one of reports, and which step is
// the next one of its job. The verdict becomes the worse of its own and the run's.
func (r *Reports) standing(ctx context.Context, run string, verdict *plan.Verdict) (ours bool, step int, err error) {
	events, err := r.Runs.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"run.planned", "run.finished", "step.started"}, Limit: 100_000})
	if err != nil {
		return false, 0, fmt.Errorf("read run %s: %w", run, err)
	}
	step = 1
	for _, e := range slices.Backward(events) {
		switch b := e.Body.(type) {
		case *record.RunPlanned:
			ours = b.Pipeline != nil && b.Pipeline.Dialect == "report"
		case *record.StepStarted:
			if e.Job == ReportJob {
				step++
			}
		case *record.RunFinished:
			if ours && b.Verdict.Bad() {
				*verdict = b.Verdict
			}
		}
	}
	return ours, step, nil
}

// names is the reports for people, in few words.
func names(reports []Report) string {
	const few = 3
	var list []string
	for i := range reports[:min(few, len(reports))] {
		list = append(list, path.Base(reports[i].Source))
	}
	text := strings.Join(list, ", ")
	if more := len(reports) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Health is how the reports of a repository could be read lately.
type Health struct {
	Repository string      `json:"repository"`
	Since      time.Time   `json:"since"`
	Hours      []Hour      `json:"hours"` // oldest first, all of them
	Read       int         `json:"read"`
	Salvaged   int         `json:"salvaged"`
	Unread     int         `json:"unread"`
	Bad        []BadReport `json:"bad,omitempty"` // salvaged and unread, newest first, at most [MaxTroubles]
	More       bool        `json:"more,omitempty"`
	Short      bool        `json:"short,omitempty"` // there are older runs in this time that were not looked at
}

// Hour counts the reports of an hour.
type Hour struct {
	Begin    time.Time `json:"begin"`
	Read     int       `json:"read"` // whole
	Salvaged int       `json:"salvaged"`
	Unread   int       `json:"unread"`
}

// BadReport is a report that could not be read, or not all of it.
type BadReport struct {
	Report
	Run  string    `json:"run"`
	Job  string    `json:"job"`
	Step string    `json:"step,omitempty"`
	Time time.Time `json:"time"`
	Name string    `json:"pipeline,omitempty"`
}

// Limits of [HealthOf].
const (
	MaxTroubles = 200
	healthRuns  = 500
	MaxHours    = 14 * 24
)

// reportKinds are the events of reports.
func reportKinds() []record.Kind {
	return []record.Kind{"tests.reported", "coverage.reported", "load.reported", "findings.reported"}
}

// HealthOf says how the reports of a repository's runs could be read in the last
// hours before now. The filter chooses the runs: by Repository or Origin.
func HealthOf(ctx context.Context, runs Archive, f store.RunFilter, now time.Time, hours int) (Health, error) {
	hours = min(max(hours, 1), MaxHours)
	first := now.UTC().Truncate(time.Hour).Add(-time.Duration(hours-1) * time.Hour)
	h := Health{Repository: f.Repository, Since: first, Hours: make([]Hour, hours)}
	for i := range h.Hours {
		h.Hours[i].Begin = first.Add(time.Duration(i) * time.Hour)
	}
	if h.Repository == "" {
		h.Repository = f.Origin
	}
	f.Limit = healthRuns
	list, err := runs.Runs(ctx, f)
	if err != nil {
		return h, fmt.Errorf("list runs: %w", err)
	}
	const outlasts = 24 * time.Hour // a run that began so much earlier may report in this time
	for i := range list {
		head := &list[i]
		if head.Begun.Before(first.Add(-outlasts)) {
			break
		}
		if !head.Ended.IsZero() && head.Ended.Before(first) || !wanted(&f, head) {
			continue
		}
		events, err := runs.Events(ctx, store.EventFilter{Run: head.ID, Kinds: reportKinds(), Limit: 1000})
		if err != nil {
			return h, fmt.Errorf("read run %s: %w", head.ID, err)
		}
		for _, e := range events {
			h.count(head, e)
		}
		h.Short = i == healthRuns-1
	}
	slices.SortStableFunc(h.Bad, func(a, b BadReport) int { return b.Time.Compare(a.Time) })
	return h, nil
}

func (h *Health) count(head *store.RunHead, e record.Event) {
	r, ok := ReportOf(e.Body)
	at := int(e.Time.Sub(h.Since) / time.Hour)
	if !ok || e.Time.Before(h.Since) || at >= len(h.Hours) {
		return
	}
	switch hour := &h.Hours[at]; {
	case r.Unread != "":
		hour.Unread++
		h.Unread++
	case len(r.Salvaged) > 0:
		hour.Salvaged++
		h.Salvaged++
	default:
		hour.Read++
		h.Read++
		return
	}
	if len(h.Bad) == MaxTroubles {
		h.More = true
		return
	}
	h.Bad = append(h.Bad, BadReport{Report: r, Run: head.ID, Job: e.Job, Step: e.Step, Time: e.Time, Name: head.Name})
}
