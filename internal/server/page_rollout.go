package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// storyPage and storyPages bound how much of the record is looked through for what happened to a rollout.
	storyPage, storyPages = 1000, 5
	// shownStory is how many of those things its page has.
	shownStory = 100
)

// RolloutRow is a rollout in a list.
type RolloutRow struct {
	ID          string              `json:"id"`
	Service     string              `json:"service"`
	Environment string              `json:"environment"`
	Number      int                 `json:"number"`
	Release     string              `json:"release,omitempty"`
	Version     string              `json:"version"`
	Strategy    string              `json:"strategy"`
	State       record.RolloutState `json:"state"`
	Back        bool                `json:"back"`
	Reason      string              `json:"reason,omitempty"`
	By          string              `json:"by"`
	Begun       time.Time           `json:"begun"`
	Ended       time.Time           `json:"ended,omitzero"`
}

// Mark is how its state is shown.
func (r RolloutRow) Mark() rolloutMark { return rolloutMarkOf(r.State, r.Back) }

func rolloutRow(r *record.Rollout) RolloutRow {
	return RolloutRow{ID: r.ID, Service: r.Service, Environment: r.Environment, Number: r.Number, Release: r.To, Version: r.Version, Strategy: r.Plan.Strategy,
		State: r.State, Back: r.Back, Reason: r.Reason, By: r.By, Begun: r.Begun, Ended: r.Ended}
}

// rolloutMark is how a state is shown: the class of its colour, its glyph, and a word.
type rolloutMark struct{ Class, Glyph, Word string }

func rolloutMarkOf(s record.RolloutState, back bool) rolloutMark {
	switch s {
	case record.RolloutRunning:
		if back {
			return rolloutMark{"error", "running", "Going back"}
		}
		return rolloutMark{"running", "running", "Under way"}
	case record.RolloutWaiting:
		return rolloutMark{"waiting", "queued", "Waiting"}
	case record.RolloutPaused:
		return rolloutMark{"waiting", "skipped", "Paused"}
	case record.RolloutAttention:
		return rolloutMark{"error", "error", "Needs attention"}
	case record.RolloutDone:
		return rolloutMark{"success", "success", "Done"}
	case record.RolloutRolledBack:
		return rolloutMark{"failure", "kept", "Rolled back"}
	case record.RolloutAborted:
		return rolloutMark{"cancelled", "cancelled", "Aborted"}
	case record.RolloutSuperseded:
		return rolloutMark{"skipped", "skipped", "Superseded"}
	}
	return rolloutMark{"failure", "failure", "Failed"}
}

// RolloutView is one rollout.
type RolloutView struct {
	Rollout  record.Rollout  `json:"rollout"`
	Moves    []MoveRow       `json:"moves"`
	Author   string          `json:"author,omitempty"` // of the release's commit
	Commit   string          `json:"commit,omitempty"`
	FromName string          `json:"from_version,omitempty"`
	Missing  int             `json:"missing"` // approvals
	Share    []SharePoint    `json:"share"`   // of the requests that went to the new release, over time
	Story    []RolloutMoment `json:"story"`   // the newest first
	Partial  bool            `json:"partial"` // the record says more than was looked at
	Rejected string          `json:"rejected,omitempty"`
	Incident string          `json:"incident,omitempty"`
	now      time.Time
}

// MoveRow is a move of a rollout.
type MoveRow struct {
	Key      string           `json:"key"`
	Kind     plan.MoveKind    `json:"kind"`
	Says     string           `json:"says"`
	State    State            `json:"state"` // "success", "running", "pending", "error", "skipped"
	Note     string           `json:"note,omitempty"`
	Evidence *record.Evidence `json:"evidence,omitempty"`
}

// SharePoint is a share of the requests from a moment on.
type SharePoint struct {
	Time    time.Time `json:"time"`
	Percent int       `json:"percent"`
}

// RolloutMoment is something that happened to a rollout.
type RolloutMoment struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
	By   string    `json:"by,omitempty"`
}

// Mark is how its state is shown.
func (v RolloutView) Mark() rolloutMark { return rolloutMarkOf(v.Rollout.State, v.Rollout.Back) }

// rolloutOf is the rollout that the path names.
func (s *Server) rolloutOf(r *request) (*record.Rollout, error) {
	if s.Mover == nil {
		return nil, lacking("deployments")
	}
	return s.rolloutNamed(r.Context(), r.PathValue("rollout"))
}

// rolloutNamed is a rollout; the error says that there is none as it does of everything.
func (s *Server) rolloutNamed(ctx context.Context, id string) (*record.Rollout, error) {
	row, err := s.Mover.Rollout(ctx, id)
	if use := new(plan.UsageError); errors.As(err, &use) {
		return nil, missing("rollout")
	}
	return row, err
}

// rolloutObject is what the verbs of a rollout are done to: its repository, and its environment.
func (s *Server) rolloutObject(r *request) (access.Object, error) {
	row, err := s.rolloutOf(r)
	if err != nil {
		return access.Object{}, err
	}
	return access.Object{Repository: row.Repository, Environment: row.Environment}, nil
}

// rolloutSeen is the same for who only looks: whoever sees the repository.
func (s *Server) rolloutSeen(r *request) (access.Object, error) {
	o, err := s.rolloutObject(r)
	return access.Object{Repository: o.Repository}, err
}

func (s *Server) rollout(r *request) (v RolloutView, err error) {
	row, err := s.rolloutOf(r)
	if err != nil {
		return v, err
	}
	ctx := r.Context()
	v = RolloutView{Rollout: *row, Moves: moveRows(row), Share: []SharePoint{}, Story: []RolloutMoment{}, now: s.Now().UTC()}
	v.Rollout.Judged = nil // the judge's own words
	release, err := s.Mover.Release(ctx, row.To)
	if err != nil {
		return v, err
	}
	if release != nil {
		v.Author, v.Commit = release.Author, release.Commit
	}
	from, err := s.Mover.Release(ctx, row.From)
	if err != nil {
		return v, err
	}
	if from != nil {
		v.FromName = from.Version
	}
	v.Missing = rollout.Missing(row, v.Author)
	t, err := s.Mover.Track(ctx, row.Repository, row.Service, row.Environment)
	if err != nil {
		return v, err
	}
	if x, is := t.Rejected[row.To]; is {
		v.Rejected = x.Why
	}
	return v, s.rolloutStory(ctx, &v)
}

// rolloutStory looks through the record for what happened.
func (s *Server) rolloutStory(ctx context.Context, v *RolloutView) error {
	var found []record.Event
	f := store.EventFilter{Kinds: []record.Kind{"rollout.moved"}, Limit: storyPage}
	for range storyPages {
		page, err := s.Runs.Events(ctx, f)
		if err != nil {
			return err
		}
		v.Partial = len(page) == storyPage
		for _, e := range page {
			if b, ok := e.Body.(*record.RolloutMoved); ok && b.Rollout == v.Rollout.ID {
				found = append(found, e)
				if b.Step == 0 && b.State == record.RolloutRunning && e.Time.Sub(b.Begun) < time.Second {
					v.Partial = false
				}
			}
			if e.Time.Before(v.Rollout.Begun.Add(-time.Minute)) {
				v.Partial = false
			}
			f.Before = e.Seq
		}
		if !v.Partial {
			break
		}
	}
	slices.SortStableFunc(found, func(a, b record.Event) int { return int(a.Seq - b.Seq) })
	v.tell(found)
	return nil
}

// tell makes the story, and the share over time, of the events of a rollout in their order.
func (v *RolloutView) tell(events []record.Event) {
	var before *record.RolloutMoved
	for _, e := range events {
		b, ok := e.Body.(*record.RolloutMoved)
		if !ok {
			continue
		}
		if p := shareAt(&v.Rollout.Plan, b); len(v.Share) == 0 || v.Share[len(v.Share)-1].Percent != p {
			v.Share = append(v.Share, SharePoint{e.Time, p})
		}
		if before == nil || before.State != b.State || before.Back != b.Back || before.Step != b.Step || before.Reason != b.Reason {
			v.Story = append(v.Story, RolloutMoment{Time: e.Time, What: momentWords(before, b), Why: b.Reason, By: b.By})
		}
		before = b
	}
	slices.Reverse(v.Story)
	v.Story = v.Story[:min(len(v.Story), shownStory)]
}

// momentWords says what an event is about.
func momentWords(before, b *record.RolloutMoved) string {
	switch {
	case before == nil:
		return "begun"
	case b.State.Ended() && before.State != b.State:
		return strings.ToLower(rolloutMarkOf(b.State, b.Back).Word)
	case b.Back && !before.Back:
		return "turned back"
	case b.Step != before.Step:
		return "at " + b.Move
	}
	return strings.ToLower(rolloutMarkOf(b.State, b.Back).Word)
}

// shareAt is the share of the requests that goes to the new release, by how far a rollout has come.
func shareAt(p *plan.Rollout, b *record.RolloutMoved) (percent int) {
	switch b.State {
	case record.RolloutDone:
		return 100
	case record.RolloutRolledBack, record.RolloutAborted:
		return 0
	}
	for _, mv := range p.Moves[:min(b.Step, len(p.Moves))] {
		if mv.Kind == plan.MoveShift {
			percent = mv.Percent
		}
	}
	return percent
}

// moveRows are the moves, and how each stands.
func moveRows(r *record.Rollout) []MoveRow {
	rows := []MoveRow{}
	for i := range r.Plan.Moves {
		mv := &r.Plan.Moves[i]
		row := MoveRow{Key: mv.Key, Kind: mv.Kind, Says: moveWords(mv), State: Pending}
		if e, ok := r.Evidence[mv.Key]; ok {
			row.Evidence = &e
		}
		switch {
		case i < r.Step || r.State == record.RolloutDone:
			row.State = "success"
			if row.Evidence != nil && !row.Evidence.OK {
				row.State = "error"
			}
		case i == r.Step && r.State == record.RolloutAttention:
			row.State, row.Note = "error", r.Reason
		case i == r.Step && (r.Back || r.State == record.RolloutFailed || r.State == record.RolloutRolledBack):
			row.State, row.Note = "failure", r.Reason
		case r.State.Ended() || r.Back:
			row.State = "skipped"
		case i == r.Step && r.State == record.RolloutRunning:
			row.State, row.Note = Running, r.Reason
		case i == r.Step:
			row.State, row.Note = Waiting, r.Reason
		}
		rows = append(rows, row)
	}
	return rows
}

// moveWords says what a move brings about.
func moveWords(mv *plan.Move) string {
	switch mv.Kind {
	case plan.MoveReset:
		return "Put back what a rollout left that was broken off"
	case plan.MoveGate:
		return "Gate: " + strings.Join(gateWords(mv.Gate), ", ")
	case plan.MovePropose:
		return "Ask the driver what it would change"
	case plan.MoveMigrate:
		if m := mv.Migration; m != nil {
			return "Migrate data: " + m.Phase
		}
		return "Migrate data"
	case plan.MoveUp:
		if mv.Instances > 0 {
			return "Start " + plural(int64(mv.Instances), "instance") + " of the new release"
		}
		return "Apply the new release"
	case plan.MoveDown:
		return fmt.Sprintf("Leave %s of the old release", plural(int64(mv.Instances), "instance"))
	case plan.MoveVerify:
		names := make([]string, len(mv.Checks))
		for i := range mv.Checks {
			names[i] = mv.Checks[i].Name
		}
		return "Check the new release: " + strings.Join(names, ", ")
	case plan.MoveShift:
		return fmt.Sprintf("Send %d %% of the requests to the new release", mv.Percent)
	case plan.MoveAnalyze:
		if mv.Analysis != nil {
			return "Compare with the old release for " + spanWords(mv.Analysis.For)
		}
		return "Compare with the old release"
	case plan.MoveHold:
		if mv.For == 0 {
			return "Hold until a person promotes it"
		}
		return "Hold for " + spanWords(mv.For)
	case plan.MoveRetire:
		return "Keep the old release for " + spanWords(mv.For) + " as the way back, then remove it"
	}
	return string(mv.Kind)
}

// gateWords say what a gate waits for.
func gateWords(g *plan.DeployGate) (list []string) {
	if g == nil {
		return []string{"open"}
	}
	if n := g.Approvals; n > 0 || len(g.Approvers) > 0 {
		text := plural(int64(max(n, 1)), "approval")
		if len(g.Approvers) > 0 {
			text += " of " + strings.Join(g.Approvers, ", ")
		}
		list = append(list, text)
	}
	if g.NotAuthor {
		list = append(list, "not of the author")
	}
	if g.Wait > 0 {
		list = append(list, "waits "+spanWords(g.Wait))
	}
	if g.After != "" {
		text := "after " + g.After
		if g.Soak > 0 {
			text += " has had it for " + spanWords(g.Soak)
		}
		list = append(list, text)
	}
	if n := len(g.Freezes); n > 0 {
		list = append(list, plural(int64(n), "window"))
	}
	if len(list) == 0 {
		list = []string{"open"}
	}
	return list
}

// spanWords is a time as people write it.
func spanWords(d time.Duration) string {
	text := d.String()
	text = strings.TrimSuffix(text, "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	if text == "" {
		return "0s"
	}
	return text
}

// sharePlot is the share over time as a line of steps, in a box of 100 × 100.
type sharePlot struct {
	Line, Area string
	Title      string
	From, To   string
}

// Plot draws the share over time; nil before any request has moved.
func (v RolloutView) Plot() *sharePlot {
	if len(v.Share) < 2 {
		return nil
	}
	from, to := v.Share[0].Time, v.now
	if !v.Rollout.Ended.IsZero() {
		to = v.Rollout.Ended
	}
	if last := v.Share[len(v.Share)-1].Time; to.Before(last) {
		to = last
	}
	all := max(to.Sub(from).Seconds(), 1e-3)
	var line strings.Builder
	words := make([]string, len(v.Share))
	for i, p := range v.Share {
		x, y := clamp(100*p.Time.Sub(from).Seconds()/all, 0, 100), 100-clamp(float64(p.Percent), 0, 100)
		if i == 0 {
			fmt.Fprintf(&line, "M%.2f %.1f", x, y)
		} else {
			fmt.Fprintf(&line, "H%.2fV%.1f", x, y)
		}
		words[i] = fmt.Sprintf("%d %% at %s", p.Percent, p.Time.UTC().Format("15:04:05"))
	}
	line.WriteString("H100")
	return &sharePlot{Line: line.String(), Area: line.String() + "V100H0Z", Title: "Share of the requests that went to " + v.Rollout.Version + ": " + strings.Join(words, ", "),
		From: from.UTC().Format("2 Jan 15:04:05"), To: to.UTC().Format("2 Jan 15:04:05 UTC")}
}

// Facts are what the moves have measured, the newest last.
func (v RolloutView) Facts() (list []record.Fact) {
	for _, m := range v.Moves {
		if m.Evidence != nil {
			list = append(list, m.Evidence.Facts...)
		}
	}
	return list
}

// Can reports whether a button is of use as the rollout stands.
func (v RolloutView) Can(what string) bool {
	r := &v.Rollout
	if r.State.Ended() {
		return what == "rollback" && r.State == record.RolloutDone
	}
	switch what {
	case "approve", "override":
		return v.Missing > 0 || what == "override" && r.State == record.RolloutWaiting && !r.Back
	case "pause":
		return !r.Back && r.Paused == "" && r.State != record.RolloutAttention
	case "resume":
		return r.Paused != ""
	case "promote":
		if r.Back || r.Paused != "" || r.Step >= len(r.Plan.Moves) {
			return false
		}
		k := r.Plan.Moves[r.Step].Kind
		return k == plan.MoveHold || k == plan.MoveRetire || k == plan.MoveAnalyze
	case "abort", "rollback":
		return !r.Back && (what == "abort" || r.From != "")
	case "settle":
		return r.State == record.RolloutAttention
	}
	return false
}

func sortedKeys(m map[string]string) []string {
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(m))))
}

func cmpText(a, b string) int { return strings.Compare(a, b) }

// number is a measured number for people: three digits that count.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
