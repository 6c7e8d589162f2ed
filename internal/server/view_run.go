package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// What a run's page shows at most.
const (
	openFailures = 5   // failures with the lines around their first error
	around       = 20  // lines before and after it
	maxShown     = 400 // bytes of a line there
	maxNotes     = 50
	maxBad       = 50 // failed tests
	maxSummary   = 16 << 10
	maxPlays     = 20 // buttons of jobs that wait for a person
)

// repositoryOf is where the verbs of a run are decided: its name on the server,
// or what git calls it when it never came through the server.
func repositoryOf(h *store.RunHead) string {
	if h.Origin != nil {
		return h.Origin.Repository
	}
	return h.Repository
}

// run is the view of one run.
func (v *views) run(ctx context.Context, id string) (RunView, error) {
	head, r, err := v.fold(ctx, id)
	if err != nil {
		return RunView{}, err
	}
	now := v.now()
	view := RunView{RunRow: rowOf(&head, now), Cancelled: r.CancelledBy, Jobs: []JobRow{}}
	view.Root = r.Planned.Root
	for _, id := range r.Order {
		view.Jobs = append(view.Jobs, v.job(r, r.Jobs[id]))
	}
	view.Critical = critical(view.Jobs)
	for _, job := range view.Critical.Jobs {
		view.Jobs[slices.IndexFunc(view.Jobs, func(j JobRow) bool { return j.ID == job })].Critical = true
	}
	for i := range view.Jobs {
		if j := &view.Jobs[i]; len(j.Children) == 0 {
			view.Count.add(j.State)
			view.Reuse.add(j.Reuse)
		}
	}
	v.gather(&view, r)
	if err := v.failures(ctx, &view, r); err != nil {
		return RunView{}, err
	}
	if v.faults != nil {
		if view.Explained, err = v.faults.Explain(ctx, r); err != nil {
			return RunView{}, err
		}
		if len(view.Explained.Troubles) == 0 {
			view.Explained = nil
		}
	}
	view.Sentence, view.Blame = sentence(&view), blame(&view)
	view.Acts = acts(&view, r)
	view.timeline, view.graph = newTimeline(&view, now), newGraph(view.Jobs)
	return view, nil
}

// fold reads a run that has been planned.
func (v *views) fold(ctx context.Context, id string) (store.RunHead, *record.Run, error) {
	head, err := v.runs.Head(ctx, id)
	if err != nil {
		return head, nil, err
	}
	r, err := v.runs.Run(ctx, id)
	if err == nil && r.Planned == nil {
		err = missing("run")
	}
	return head, r, err
}

func (c *Count) add(s State) {
	c.Jobs++
	if s.Live() {
		return
	}
	c.Done++
	switch plan.Verdict(s) {
	case plan.Success:
		c.Succeeded++
	case plan.Skipped:
		c.Skipped++
	case plan.Cancelled:
		c.Cancelled++
	default:
		c.Failed++
	}
}

func (x *ReuseSum) add(y ReuseSum) {
	x.Steps, x.Reused, x.Saved = x.Steps+y.Steps, x.Reused+y.Reused, x.Saved+y.Saved
}

// job is a job as a row.
func (v *views) job(r *record.Run, j *record.JobRun) JobRow {
	now := v.now()
	row := JobRow{
		ID: j.ID, Name: cmp.Or(j.Name, j.ID), Stage: j.Stage, Needs: j.Needs, Parent: j.Parent, Children: j.Children, State: jobState(r, j), Why: j.Why, At: j.At,
		Attempt: j.Attempt, Place: j.Started.Place, Queued: j.Queued, Begun: j.Begun, Ended: j.Ended,
	}
	row.Waits = j.Waits
	if row.State == Queued {
		row.Until = j.Until
	}
	row.Allowed = j.Verdict.Bad() && j.Result != "" && !j.Result.Bad()
	end := j.Ended
	if end.IsZero() {
		end = r.Ended
	}
	row.Seconds = elapsed(j.Begun, end, now)
	if !j.Queued.IsZero() {
		until := j.Begun
		if until.IsZero() {
			until = end
		}
		row.Waited = elapsed(j.Queued, until, now)
	}
	for i, s := range j.Steps {
		step := stepRow(r, j, s)
		if step.Seconds == 0 && s.Ended.IsZero() {
			step.Seconds = elapsed(s.Begun, r.Ended, now)
		}
		// What a step that has not ended printed goes up to the next one, or on.
		if s.Finished == nil && i+1 < len(j.Steps) {
			step.To = j.Steps[i+1].Start.Line
		}
		row.Steps = append(row.Steps, step)
		if asks(s) {
			row.Reuse.Steps++
			if from := s.Finished.Reuse; from.From != nil {
				row.Reuse.Reused++
				row.Reuse.Saved += from.Saved.Seconds()
			}
		}
	}
	return row
}

// asks reports whether a step that has ended is one that reuse was asked about.
func asks(s *record.StepRun) bool {
	return s.Finished != nil && s.Finished.Reuse != nil && (s.Finished.Reuse.Key != "" || s.Finished.Reuse.From != nil)
}

func stepRow(r *record.Run, j *record.JobRun, s *record.StepRun) StepRow {
	row := StepRow{
		Key: s.Key, Name: cmp.Or(s.Start.Name, s.Key), Phase: s.Start.Phase, State: stepState(r, s), At: s.Start.At, Begun: s.Begun, Ended: s.Ended,
		Seconds: s.Duration().Seconds(), From: s.Start.Line + 1, Script: s.Start.Script,
	}
	if f := s.Finished; f != nil {
		row.Outcome, row.Why, row.To = State(f.Outcome), f.Why, f.Line
		if f.Reuse != nil && f.Reuse.From != nil {
			row.Reused, row.Saved = f.Reuse.From.Run, f.Reuse.Saved.Seconds()
		}
	}
	return row
}

// gather collects what the steps of a run left: remarks, summaries, tests, files.
func (v *views) gather(view *RunView, r *record.Run) {
	var tests TestsView
	var any bool
	for _, id := range r.Order {
		j := r.Jobs[id]
		for _, s := range j.Steps {
			if s.Finished != nil {
				for _, a := range s.Finished.Effects.Notes {
					if len(view.Notes) == maxNotes {
						view.MoreNotes++
						continue
					}
					view.Notes = append(view.Notes, Note{Annotation: a, Job: id, Step: s.Key})
				}
			}
			if len(s.Summary) > 0 {
				text := strings.ToValidUTF8(string(s.Summary[:min(len(s.Summary), maxSummary)]), "�")
				view.Summaries = append(view.Summaries, Summary{Job: id, Step: s.Key, Name: cmp.Or(s.Start.Name, s.Key), Text: text})
			}
		}
		for _, t := range j.Tests {
			any = true
			tests.Passed, tests.Failed, tests.Skipped, tests.Seconds = tests.Passed+t.Passed, tests.Failed+t.Failed, tests.Skipped+t.Skipped, tests.Seconds+t.Seconds
			if t.Unread != "" {
				tests.Unread = append(tests.Unread, t.Source+": "+t.Unread)
			}
			for _, bad := range t.Bad {
				if len(tests.Bad) < maxBad {
					tests.Bad = append(tests.Bad, TestRow{TestResult: bad, Job: id})
				}
			}
		}
		for _, a := range j.Artifacts {
			row := ArtifactRow{Artifact: a.Artifact, Job: id, URL: artifactURL(view.ID, id, a.Name), Remark: a.Remark()}
			row.Digest, row.Size = a.Given()
			view.Artifacts = append(view.Artifacts, row)
		}
		for _, m := range j.Materials {
			if !slices.ContainsFunc(view.Materials, func(o record.Material) bool { return o == m }) {
				view.Materials = append(view.Materials, m)
			}
		}
	}
	if tests.More = max(0, tests.Failed-len(tests.Bad)); any {
		view.Tests = &tests
	}
	slices.SortStableFunc(view.Notes, func(a, b Note) int { return cmp.Compare(severity(a.Level), severity(b.Level)) })
}

// severity orders remarks, the worst first.
func severity(l plan.Level) int {
	switch l {
	case plan.ErrorLevel:
		return 0
	case plan.WarningLevel:
		return 1
	}
	return 2
}

// failures opens what failed at its first error.
func (v *views) failures(ctx context.Context, view *RunView, r *record.Run) error {
	for _, id := range r.Order {
		j := r.Jobs[id]
		if !j.Verdict.Bad() || len(j.Children) > 0 {
			continue
		}
		before := len(view.Failures)
		for _, s := range j.Steps {
			f := s.Finished
			if f == nil || !f.Outcome.Bad() || inner(j, s.Key) {
				continue
			}
			view.Failures = append(view.Failures, Failure{
				Job: id, JobName: cmp.Or(j.Name, id), Step: s.Key, Name: cmp.Or(s.Start.Name, s.Key), State: State(f.Outcome), Exit: f.Exit, Signal: f.Signal, Why: f.Why,
				At: s.Start.At, Seconds: s.Duration().Seconds(), Fault: f.Fault, Allowed: !f.Conclusion.Bad() || !j.Result.Bad(), Again: again(view, r, id),
			})
			if open := &view.Failures[len(view.Failures)-1]; len(view.Failures) <= openFailures {
				if err := v.excerpt(ctx, r.ID, j, s, open); err != nil {
					return err
				}
			}
		}
		if len(view.Failures) == before { // no step of it did
			view.Failures = append(view.Failures, Failure{Job: id, JobName: cmp.Or(j.Name, id), Name: cmp.Or(j.Name, id), State: State(j.Verdict), Why: j.Why, At: j.At, Allowed: !j.Result.Bad(), Again: again(view, r, id)})
		}
	}
	// What was allowed to fail comes last.
	slices.SortStableFunc(view.Failures, func(a, b Failure) int {
		if a.Allowed == b.Allowed {
			return 0
		}
		if a.Allowed {
			return 1
		}
		return -1
	})
	for i := range view.Failures {
		view.Failures[i].No = i + 1
	}
	return nil
}

// inner reports whether a step stands for others inside it that failed themselves.
func inner(j *record.JobRun, key string) bool {
	return slices.ContainsFunc(j.Steps, func(s *record.StepRun) bool {
		return strings.HasPrefix(s.Key, key+".") && s.Finished != nil && s.Finished.Outcome.Bad()
	})
}

// again is the command that repeats a job on a developer's machine; "" when no
// commit says what it would run. A job that came of another is asked for by that one's
// name.
func again(view *RunView, r *record.Run, job string) string {
	for range r.Order { // a damaged record may go in a circle
		j := r.Jobs[job]
		if j == nil || j.Parent == "" {
			break
		}
		job = j.Parent
	}
	if short(view.SHA) == "" || strings.ContainsFunc(job, func(r rune) bool { return r <= ' ' || strings.ContainsRune("'\"`$\\;&|<>(){}*?!#~", r) }) {
		return ""
	}
	return "fairlead run --job " + job
}

// excerpt reads the lines around the first error of a step, or its last ones.
func (v *views) excerpt(ctx context.Context, run string, j *record.JobRun, s *record.StepRun, open *Failure) error {
	if v.logs == nil {
		return nil
	}
	log, err := v.logs.OpenLog(ctx, run, j)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the log of job %s: %w", j.ID, err)
	}
	defer log.Close()
	from, to := s.Start.Line, s.Finished.Line
	first := to - around
	if f := s.Finished.Fault; f != nil {
		at, known := f.Line, len(f.Lines) > 0
		if f.Cause != "" {
			at, known = f.CauseLine, true
		}
		if known && at >= from && at < to {
			open.First = at + 1
			first = at - around
		}
	}
	from, to = max(from, first), min(to, max(first, from)+2*around+1)
	err = log.Read(from, func(l logs.Line) bool {
		if l.N >= to {
			return false
		}
		open.Lines = append(open.Lines, logLine(l, maxShown))
		return true
	})
	var damage *logs.Damage
	if errors.As(err, &damage) {
		err = nil
	}
	if n := len(open.Lines); open.First == 0 && n > 0 {
		// Nobody knows what went wrong: it is where the step says so, or where it ended.
		open.First = open.Lines[n-1].N
		if i := slices.IndexFunc(open.Lines, saysError); i >= 0 {
			open.First = open.Lines[i].N
		}
	}
	return err
}

// saysError reports whether the step itself marked the line as an error.
func saysError(l LogLine) bool {
	m, _ := markOf(l.Text)
	return m == isError || strings.HasPrefix(l.Text, "Error: ")
}

// critical finds the chain of jobs that the run's duration hangs on: back from the
// job that ended last, each time to the need that ended last.
func critical(jobs []JobRow) (c Critical) {
	byID := map[string]*JobRow{}
	var first, last, costs *JobRow
	for i := range jobs {
		j := &jobs[i]
		byID[j.ID] = j
		if len(j.Children) > 0 || j.Seconds <= 0 {
			continue
		}
		if last == nil || end(j).After(end(last)) {
			last = j
		}
		if first == nil || ready(j).Before(ready(first)) {
			first = j
		}
	}
	seen := map[string]bool{}
	for j := last; j != nil && !seen[j.ID]; j = lastNeed(byID, j) {
		seen[j.ID] = true
		c.Jobs = append(c.Jobs, j.ID)
		c.Seconds += j.Seconds
		if costs == nil || j.Seconds > costs.Seconds {
			costs = j
		}
	}
	slices.Reverse(c.Jobs)
	if len(c.Jobs) < 2 {
		return Critical{}
	}
	c.Waited = max(0, end(last).Sub(ready(first)).Seconds()-c.Seconds)
	c.Longest, c.Without = costs.ID, without(jobs, byID, costs, ready(first))
	return c
}

// needed are the jobs that a job waited for: those that it needs, and those that
// one it needs became.
func needed(byID map[string]*JobRow, j *JobRow) (list []*JobRow) {
	add := func(id string) {
		if n := byID[id]; n != nil && len(n.Children) == 0 && n.Seconds > 0 {
			list = append(list, n)
		}
	}
	needs := j.Needs
	if p := byID[j.Parent]; p != nil {
		needs = append(slices.Clone(needs), p.Needs...)
	}
	for _, id := range needs {
		add(id)
		if n := byID[id]; n != nil {
			for _, child := range n.Children {
				add(child)
			}
		}
	}
	return list
}

// lastNeed is the one of them that ended last; nil for none.
func lastNeed(byID map[string]*JobRow, j *JobRow) (last *JobRow) {
	for _, n := range needed(byID, j) {
		if last == nil || end(n).After(end(last)) {
			last = n
		}
	}
	return last
}

// without is how many seconds the run would have taken if one of its jobs had taken
// none, and every job had waited as long as it did after what it needs.
func without(jobs []JobRow, byID map[string]*JobRow, gone *JobRow, from time.Time) (all float64) {
	order := make([]*JobRow, 0, len(jobs))
	for i := range jobs {
		if j := &jobs[i]; len(j.Children) == 0 && j.Seconds > 0 {
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(a, b *JobRow) int { return a.Begun.Compare(b.Begun) })
	ends := map[string]time.Time{}
	for _, j := range order {
		var was, is time.Time // when what it needs had ended, and would have
		for _, n := range needed(byID, j) {
			if e, ok := ends[n.ID]; ok && e.After(is) {
				is = e
			}
			if end(n).After(was) {
				was = end(n)
			}
		}
		ends[j.ID] = j.Begun
		if !is.IsZero() {
			ends[j.ID] = is.Add(j.Begun.Sub(was))
		}
		if j != gone {
			ends[j.ID] = ends[j.ID].Add(end(j).Sub(j.Begun))
		}
		all = max(all, ends[j.ID].Sub(from).Seconds())
	}
	return all
}

// ready is when a job could have begun.
func ready(j *JobRow) time.Time {
	if !j.Queued.IsZero() && j.Queued.Before(j.Begun) {
		return j.Queued
	}
	return j.Begun
}

// end is when a job ended, or how far it is.
func end(j *JobRow) time.Time { return j.Begun.Add(time.Duration(j.Seconds * float64(time.Second))) }

// sentence is the headline of a run.
func sentence(v *RunView) string {
	took := duration(v.Seconds)
	switch v.State {
	case Waiting:
		return "Waiting for its turn"
	case Approval:
		return "Waiting for a maintainer’s approval"
	case Interrupted:
		return "Interrupted after " + took + ": whoever ran it is gone"
	case Running:
		if v.Count.Failed > 0 {
			return "Failing in " + failedIn(v) + ", " + plural(int64(v.Count.Jobs-v.Count.Done), "job") + " still to end"
		}
		return fmt.Sprintf("Running for %s: %d of %s done", took, v.Count.Done, plural(int64(v.Count.Jobs), "job"))
	}
	switch v.Verdict {
	case plan.Success:
		if waits := waitingFor(v); waits != "" {
			return "Succeeded in " + took + "; " + waits
		}
		if v.Count.Jobs > 0 && v.Count.Skipped == v.Count.Jobs {
			return "Nothing to do: every job was skipped"
		}
		return "Succeeded in " + took
	case plan.Cancelled:
		if v.Cancelled != "" {
			return "Cancelled by " + v.Cancelled + " after " + took
		}
		return "Cancelled after " + took
	case plan.Skipped:
		return "Skipped"
	case plan.Timeout:
		return "Ran out of time in " + failedIn(v) + " after " + took
	}
	verb := "Failed in "
	if v.Verdict == plan.Fault {
		verb = "Could not be done in "
	}
	if where := failedIn(v); where != "" {
		return verb + where + " after " + took
	}
	if v.Verdict == plan.Fault {
		return "Could not be done"
	}
	return "Failed after " + took
}

// waitingFor says what waits for a person; "" for nothing.
func waitingFor(v *RunView) string {
	n, name := 0, ""
	for i := range v.Jobs {
		if v.Jobs[i].Waits {
			n, name = n+1, v.Jobs[i].Name
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return name + " waits for a person"
	}
	return plural(int64(n), "job") + " wait for a person"
}

// failedIn names the jobs that failed.
func failedIn(v *RunView) string {
	var names []string
	for _, j := range v.Jobs {
		if plan.Verdict(j.State).Bad() && !j.Allowed && len(j.Children) == 0 && !slices.Contains(names, j.Name) {
			names = append(names, j.Name)
		}
	}
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n == 2:
		return names[0] + " and " + names[1]
	default:
		return names[0] + " and " + plural(int64(n-1), "other job")
	}
}

// blame says in a sentence whose fault it is that a run failed.
func blame(v *RunView) string {
	var failure, fault, timeout bool
	for _, f := range v.Failures {
		switch verdict := plan.Verdict(f.State); {
		case f.Allowed:
		case f.Fault != nil && f.Fault.Verdict == plan.Fault, verdict == plan.Fault:
			fault = true
		case verdict == plan.Timeout:
			timeout = true
		default:
			failure = true
		}
	}
	if tests := v.Tests; failure && tests != nil && tests.Failed > 0 {
		return plural(int64(tests.Failed), "test") + " failed of " + thousands(int64(tests.Passed+tests.Failed)) + ": the code or the test has to change."
	}
	switch {
	case failure && fault:
		return "Some of it is the code’s fault, some the machine’s, the network’s or a tool’s."
	case failure:
		return "The code or the pipeline has to change: the same commit would fail again."
	case fault:
		return "Not the code’s fault: a machine, the network or a tool failed. The same commit may pass another time."
	case timeout:
		return "It took longer than it may: either something hangs, or the limit is too small."
	}
	return ""
}

// acts are what can be done with a run, with the consequence in the name.
func acts(v *RunView, r *record.Run) (list []Act) {
	url := "/runs/" + v.ID
	if v.State == Approval {
		list = append(list, Act{Name: "approve", URL: url + "/approve", Verb: string(access.ApproveRun), Loud: true,
			Label: "Approve: lets this fork’s commit " + short(v.SHA) + " run here, with the secrets that its files name"})
	}
	if v.Verdict == "" {
		label := "Cancel this run"
		if n := v.Count.Jobs - v.Count.Done; n > 0 && v.State == Running {
			label += ": " + plural(int64(n), "job") + " will not finish"
		}
		return append(list, Act{Name: "cancel", Label: label, URL: url + "/cancel", Verb: string(access.CancelRun), Danger: true})
	}
	why := ""
	if v.Local {
		why = "It ran on a developer’s machine: repeat it there with “fairlead rerun”."
	}
	rerun := func(label string, fields map[string]string) Act {
		return Act{Name: "rerun", Label: label, URL: url + "/rerun", Verb: string(access.RepeatRun), Fields: fields, Why: why}
	}
	plays := 0
	for i := range v.Jobs {
		j := &v.Jobs[i]
		if !j.Waits || plays == maxPlays {
			continue
		}
		plays++
		a := rerun("Run “"+j.Name+"”: goes on from here, what succeeded is kept", map[string]string{"play": j.ID})
		a.Name, a.Loud = "play", plays == 1
		if v.Local {
			a.Why = "It ran on a developer’s machine: ask for the job there, with “fairlead rerun " + v.ID + " --play”."
		}
		list = append(list, a)
	}
	if failed := v.Count.Failed + v.Count.Cancelled; failed > 0 && failed < v.Count.Jobs {
		a := rerun("Re-run "+plural(int64(failed), "failed job"), map[string]string{"failed": "true"})
		if v.Count.Cancelled > 0 {
			a.Label = "Re-run " + plural(int64(failed), "job") + " that did not succeed"
		}
		a.Loud = true
		list = append(list, a)
	}
	if v.Count.Jobs == 1 {
		list = append(list, rerun("Re-run its job", nil))
	} else {
		list = append(list, rerun("Re-run all "+plural(int64(v.Count.Jobs), "job"), nil))
	}
	for _, f := range v.Failures {
		if j := r.Jobs[f.Job]; f.Step != "" && !f.Allowed && j.Started.Workspace != "" {
			a := rerun("Go on from “"+f.Name+"” in its kept workspace", map[string]string{"from": f.Job + "/" + f.Step})
			a.Name = "goon"
			list = append(list, a)
			break
		}
	}
	if why != "" { // said once
		list = list[:1]
	}
	return list
}

// artifactURL is where a file that was kept can be had.
func artifactURL(run, job, name string) string {
	return apiRoot + "/runs/" + run + "/artifacts/" + escapePath(name) + "?job=" + url.QueryEscape(job)
}
