package launch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// told is the state of the messages: the fold, and how far it has read.
type told struct {
	Seq  int64       `json:"seq"`
	Fold notify.Fold `json:"fold"`
}

// messages follows the record for what people and systems are told. The state is written down
// in one transaction with what is to be sent because of it.
func (s *sender) messages(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.fold(ctx); err != nil && ctx.Err() == nil {
			s.complain("find what people are to be told", err)
		}
		pause(ctx, again)
	}
}

func (s *sender) fold(ctx context.Context) error {
	var t told
	version, err := s.read(ctx, foldKind, "notify", &t)
	if err != nil {
		return err
	}
	if version == 0 { // nobody is told what happened before he wanted to be
		if t.Seq, err = s.Runs.Watch(ctx, -1); err != nil {
			return err
		}
	}
	wrote, ticked := time.Now(), time.Time{}
	written := t.Seq
	for ctx.Err() == nil {
		var said []notify.Message
		for e := range s.news(ctx, &t.Seq, append(notify.Kinds(), "acted")...) {
			if b, ok := e.Body.(*record.Acted); ok && b.Verb == string(access.SetRepo) && b.Detail["removed"] != "" {
				t.Fold.Forget(b.Object)
			}
			if said = append(said, t.Fold.Apply(e)...); len(said) >= planAtOnce {
				break
			}
		}
		more := len(said) >= planAtOnce
		if now := time.Now(); now.Sub(ticked) >= tickEvery {
			said, ticked = append(said, t.Fold.Tick(now)...), now
		}
		envelopes, err := s.envelopes(ctx, said, t.Seq)
		if err != nil {
			return err
		}
		if len(envelopes) > 0 || version == 0 || t.Seq != written && time.Since(wrote) >= foldEvery {
			if err := s.propose(ctx, envelopes, register(foldKind, "notify", version, t)); err != nil {
				return err
			}
			version++
			wrote, written = time.Now(), t.Seq
		}
		if more {
			continue
		}
		within, cancel := context.WithTimeout(ctx, tickEvery)
		_, err = s.Runs.Watch(within, t.Seq)
		late := within.Err() != nil
		cancel()
		if err != nil && !late {
			return err
		}
	}
	return nil
}

// envelopes say where messages go.
func (s *sender) envelopes(ctx context.Context, said []notify.Message, seq int64) (all []*planned, err error) {
	if len(said) == 0 {
		return nil, nil
	}
	routes, err := s.Routes(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range said {
		m.URL = s.runURL(m.Run)
		for _, e := range notify.Plan(m, routes) {
			all = append(all, &planned{key: e.Key, what: "message", target: e.Channel + " " + e.Route,
				effect: effect{Run: m.Run, Repository: m.Repository, Seq: seq, Envelope: &e}})
		}
	}
	return all, nil
}

// message sends one message.
func (d *Desk) message(ctx context.Context, e *notify.Envelope) error {
	channel := d.Channels[e.Channel]
	if channel == nil {
		return fmt.Errorf("%w: there is no channel %s", errPointless, e.Channel)
	}
	target, ok, err := d.Vault.Internal(ctx, "", e.Secret)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: there is no secret %s, which says where it goes", errPointless, e.Secret)
	}
	return channel.Send(ctx, target, &e.Message)
}

// Routes say who is told of what.
func (d *Desk) Routes(ctx context.Context) ([]notify.Route, error) {
	list, err := d.Store.Registers(ctx, routeKind, "")
	if err != nil {
		return nil, fmt.Errorf("read the routes of messages: %w", err)
	}
	routes := make([]notify.Route, len(list))
	for i, r := range list {
		if err := json.Unmarshal(r.Body, &routes[i]); err != nil {
			return nil, fmt.Errorf("read the route %s: %w", r.ID, err)
		}
	}
	return routes, nil
}

// SetRoute makes a route of messages, or changes the one of that name.
func (d *Desk) SetRoute(ctx context.Context, by By, r notify.Route) error {
	if err := r.Check(sortedKeys(d.Channels)); err != nil {
		return &plan.UsageError{Message: err.Error()}
	}
	if !strings.HasPrefix(r.Secret, "$") {
		return &plan.UsageError{Message: fmt.Sprintf("the target of route %s is in the secret %s, which jobs can name", r.Name, r.Secret), Hint: "begin its name with $"}
	}
	old, err := d.Store.Register(ctx, routeKind, r.Name)
	if err != nil {
		return fmt.Errorf("set route %s: %w", r.Name, err)
	}
	_, err = d.Store.Change(ctx, []record.Register{register(routeKind, r.Name, old.Version, r)},
		by.Acted(access.SetRoutes, "", map[string]string{"route": r.Name, "channel": r.Channel}))
	return d.routed(r.Name, err)
}

// RemoveRoute removes a route of messages.
func (d *Desk) RemoveRoute(ctx context.Context, by By, name string) error {
	old, err := d.Store.Register(ctx, routeKind, name)
	if err != nil {
		return fmt.Errorf("remove route %s: %w", name, err)
	}
	if old.Version == 0 {
		return noRoute(name)
	}
	_, err = d.Store.Change(ctx, []record.Register{{Kind: routeKind, ID: name, Version: old.Version}},
		by.Acted(access.SetRoutes, "", map[string]string{"route": name, "removed": "yes"}))
	return d.routed(name, err)
}

// CheckTarget says what is wrong with the target of a channel's messages, without
// sending any. The error holds nothing of it.
func (d *Desk) CheckTarget(channel, target string) error {
	c := d.Channels[channel]
	if c == nil {
		return &plan.UsageError{Message: fmt.Sprintf("there is no channel %.40q", channel), Hint: "there are " + strings.Join(sortedKeys(d.Channels), ", ")}
	}
	if err := c.Check(target); err != nil {
		return &plan.UsageError{Message: fmt.Sprintf("%s cannot send there: %v", channel, err)}
	}
	return nil
}

// TestRoute sends one message the way of a route. A [*plan.UsageError] says what came back
// instead of a confirmation.
func (d *Desk) TestRoute(ctx context.Context, by By, name string) error {
	var r notify.Route
	version, err := d.read(ctx, routeKind, name, &r)
	if err != nil {
		return err
	}
	if version == 0 {
		return noRoute(name)
	}
	if _, err := d.Store.Append(ctx, by.Acted(access.SetRoutes, "", map[string]string{"route": name, "tested": "yes"})); err != nil {
		return fmt.Errorf("test route %s: %w", name, err)
	}
	m := notify.Message{Edge: notify.Test, Title: "A test of the route " + name, Actor: by.Name, URL: d.URL, At: time.Now().UTC()}
	if err := d.message(ctx, &notify.Envelope{Route: name, Channel: r.Channel, Secret: r.Secret, Message: m}); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return &plan.UsageError{Message: fmt.Sprintf("the message did not arrive: %v", err), Hint: "mend the target or what it leads to, and test again"}
	}
	return nil
}

func noRoute(name string) error {
	return &plan.UsageError{Message: fmt.Sprintf("there is no route %.80q", name), Hint: "`fairlead notify list` lists them"}
}

func (d *Desk) routed(name string, err error) error {
	if errors.Is(err, record.ErrConflict) {
		return &plan.UsageError{Message: "route " + name + " was changed by somebody else meanwhile", Hint: "try again"}
	}
	if err != nil {
		return fmt.Errorf("change route %s: %w", name, err)
	}
	return nil
}

// comment keeps the one comment of a change: how its newest commit stands.
func (s *sender) comment(ctx context.Context, host forge.Forge, remote *forge.Remote, p *planned) (string, *record.Register, error) {
	heads, err := s.Runs.Runs(ctx, store.RunFilter{Origin: p.Repository, Change: p.Change, Limit: store.DefaultRuns})
	if err != nil {
		return "", nil, err
	}
	runs, err := s.newest(ctx, heads)
	if err != nil {
		return "", nil, err
	}
	if len(runs) == 0 {
		return "", nil, fmt.Errorf("%w: change %s has no runs", errPointless, p.Change)
	}
	id := p.Repository + "/" + p.Change
	var was kept
	version, err := s.read(ctx, commentKind, id, &was)
	if err != nil {
		return "", nil, err
	}
	ref, err := host.Comment(ctx, remote, &forge.Comment{Number: p.Change, Marker: "fairlead:summary", Body: s.commentBody(ctx, runs), Ref: was.Ref})
	if err != nil || ref == was.Ref {
		return ref, nil, err
	}
	keep := register(commentKind, id, version, kept{ref})
	keep.Expires = time.Now().Add(keepSettled)
	return ref, &keep, nil
}

// newest are the runs of the newest commit of a change: of each pipeline and event the
// last.
func (s *sender) newest(ctx context.Context, heads []store.RunHead) (runs []*record.Run, err error) {
	sha, request := "", int64(-1)
	for _, h := range heads {
		if h.Origin.Request > request && h.Event != "pull_request_target" {
			sha, request = h.SHA, h.Origin.Request
		}
	}
	have := map[string]bool{}
	for _, h := range heads { // newest first
		key := h.File + "\x00" + h.Event
		if h.SHA != sha && sha != "" || have[key] || len(runs) == maxCommentRuns {
			continue
		}
		have[key] = true
		r, err := s.Store.Run(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b *record.Run) int { return cmp.Compare(a.Planned.Pipeline.File, b.Planned.Pipeline.File) })
	return runs, nil
}

// commentBody is the comment of a change in Markdown. What people wrote (names of jobs and
// steps) is shown as code and means nothing.
func (d *Desk) commentBody(ctx context.Context, runs []*record.Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**Fairlead** at %s\n\n", code(short(runs[0].Planned.Change.SHA)))
	b.WriteString("| pipeline | verdict | took | saved |\n|---|---|---|---|\n")
	for _, r := range runs {
		name := code(cmp.Or(r.Planned.Pipeline.Name, r.Planned.Pipeline.File))
		if u := d.runURL(r.ID); u != "" {
			name = "[" + name + "](" + u + ")"
		}
		took := ""
		if !r.Ended.IsZero() && !r.Started.IsZero() {
			took = seconds(r.Ended.Sub(r.Started))
		}
		saved := ""
		if t := savedBy(r); t > 0 {
			saved = seconds(t)
		}
		verdict := cmp.Or(string(r.Verdict), "under way")
		if r.Verdict == "" && r.Started.IsZero() {
			verdict = "waits"
			if o := r.Planned.Origin; o != nil && o.Approval && r.ApprovedBy == "" {
				verdict = "waits for approval by a maintainer"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, verdict, took, saved)
	}
	d.blame(ctx, &b, runs)
	for _, r := range runs {
		if r.Verdict != "" && r.Verdict != plan.Success && r.Verdict != plan.Skipped {
			fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n%s\n</details>\n", html(verdictLine(r)), summary(r))
		}
	}
	return b.String()
}

// maxBlamed is how many failures a comment tells of, all its runs together.
const maxBlamed = 8

// blame says which failures are new, and of the others why they are known: a line for each.
func (d *Desk) blame(ctx context.Context, b *strings.Builder, runs []*record.Run) {
	if d.Faults == nil {
		return
	}
	var all insight.Explanation
	for _, r := range runs {
		if !r.Verdict.Bad() {
			continue
		}
		x, err := d.Faults.Explain(ctx, r)
		if err != nil {
			d.complain("explain run "+r.ID, err)
			continue
		}
		all.Troubles = append(all.Troubles, x.Troubles...)
		all.New, all.Known, all.More = all.New+x.New, all.Known+x.Known, all.More+x.More
	}
	if len(all.Troubles) == 0 {
		return
	}
	slices.SortStableFunc(all.Troubles, func(x, y insight.Trouble) int {
		switch {
		case x.New == y.New:
			return 0
		case x.New:
			return -1
		}
		return 1
	})
	fmt.Fprintf(b, "\n**%s**\n\n", all.Sentence())
	for i := range all.Troubles {
		t := &all.Troubles[i]
		if i == maxBlamed {
			fmt.Fprintf(b, "- and %d more\n", len(all.Troubles)-i+all.More)
			break
		}
		what := cmp.Or(t.Test, t.Job+" › "+t.Name)
		why := code(t.Why)
		if t.Innocent {
			why = "it cannot come from this change: nothing that it read has changed"
		}
		fmt.Fprintf(b, "- %s: %s %s; %s", t.Blame, code(what), code(t.Title), why)
		if len(t.Known) > 0 {
			fmt.Fprintf(b, "; known issue %s", code(t.Known[0].Name))
		} else if t.Seen != "" && !strings.HasPrefix(t.Why, t.Seen) {
			fmt.Fprintf(b, "; %s", t.Seen)
		}
		b.WriteString("\n")
	}
}

// verdictLine says in one line how a run ended.
func verdictLine(r *record.Run) string {
	name := cmp.Or(r.Planned.Pipeline.Name, r.Planned.Pipeline.File)
	done, bad := 0, 0
	for _, j := range r.Jobs {
		switch {
		case len(j.Children) > 0 || j.State != record.Finished:
		case j.Verdict.Bad():
			bad++
		case j.Verdict == plan.Success:
			done++
		}
	}
	line := fmt.Sprintf("%s: %s", name, r.Verdict)
	switch {
	case bad > 0:
		line += fmt.Sprintf(", %d of %d jobs failed", bad, bad+done)
	case r.Why != "":
		line += ": " + r.Why
	case r.Verdict == plan.Success:
		line += fmt.Sprintf(", %d jobs", done)
	}
	if saved := savedBy(r); saved > 0 {
		line += ", " + seconds(saved) + " saved"
	}
	return line
}

// savedBy is the time that the steps took when they ran that were reused.
func savedBy(r *record.Run) (saved time.Duration) {
	for _, j := range r.Jobs {
		for _, s := range j.Steps {
			if s.Finished != nil && s.Finished.Reuse != nil && s.Finished.Reuse.From != nil {
				saved += s.Finished.Reuse.Saved
			}
		}
	}
	return saved
}

// summary tells of a run that has ended, in Markdown: its jobs, the steps that failed, and the
// way out.
func summary(r *record.Run) string {
	var b strings.Builder
	b.WriteString("| job | verdict | took |\n|---|---|---|\n")
	rows := 0
	for _, id := range r.Order {
		j := r.Jobs[id]
		if len(j.Children) > 0 {
			continue
		}
		if rows++; rows > maxTableJobs {
			continue
		}
		took := ""
		if !j.Ended.IsZero() && !j.Begun.IsZero() {
			took = seconds(j.Ended.Sub(j.Begun))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", code(cmp.Or(j.Name, j.ID)), cmp.Or(string(j.Verdict), string(j.State)), took)
	}
	if rows > maxTableJobs {
		fmt.Fprintf(&b, "\n%d more jobs are not shown.\n", rows-maxTableJobs)
	}
	for _, id := range r.Order {
		for _, s := range r.Jobs[id].Steps {
			if s.Finished == nil || !s.Finished.Conclusion.Bad() {
				continue
			}
			fmt.Fprintf(&b, "\n%s, step %s: %s", code(cmp.Or(r.Jobs[id].Name, id)), code(s.Start.Name), s.Finished.Conclusion)
			if f := s.Finished.Fault; f != nil {
				fmt.Fprintf(&b, ", %s", code(f.Title))
				if f.Hint != "" {
					fmt.Fprintf(&b, "; %s", code(f.Hint))
				}
			} else if s.Finished.Why != "" {
				fmt.Fprintf(&b, ", %s", code(s.Finished.Why))
			}
			b.WriteString("\n")
		}
	}
	if r.Why != "" {
		fmt.Fprintf(&b, "\n%s\n", code(r.Why))
	}
	return b.String()
}

// annotations are the remarks of a run at lines of files: what its steps said, what failed, and
// tests that did.
func annotations(r *record.Run) (all []forge.Annotation) {
	add := func(a forge.Annotation) {
		if a.Path != "" && a.Line > 0 && len(all) < maxAnnotations {
			a.Title, a.Message = clip(a.Title), clip(a.Message)
			all = append(all, a)
		}
	}
	for _, id := range r.Order {
		j := r.Jobs[id]
		for _, s := range j.Steps {
			if s.Finished == nil {
				continue
			}
			if f := s.Finished.Fault; f != nil && s.Finished.Conclusion.Bad() {
				add(forge.Annotation{Path: f.At.File, Line: f.At.Line, Level: "failure", Title: f.Title, Message: cmp.Or(f.Hint, f.Title)})
			}
			for _, a := range s.Finished.Effects.Notes {
				level := string(a.Level)
				if a.Level == plan.ErrorLevel {
					level = "failure"
				}
				add(forge.Annotation{Path: a.File, Line: a.Line, Level: level, Title: a.Title, Message: a.Message})
			}
		}
		for _, t := range j.Tests {
			for _, bad := range t.Bad {
				add(forge.Annotation{Path: bad.File, Line: bad.Line, Level: "failure", Title: bad.Name, Message: cmp.Or(bad.Message, bad.Status)})
			}
		}
	}
	return all
}

// code shows a text of somebody else's in Markdown, on one line of a table, so that
// nothing in it means anything: no link, no mention, no HTML.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '`':
			return '\''
		case r == '|':
			return '¦'
		case unicode.IsControl(r) || !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, clip(s))
	if s = strings.TrimSpace(s); s == "" {
		return "-"
	}
	return "`" + s + "`"
}

// html shows a text of somebody else's in HTML that stands in Markdown.
func html(s string) string {
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'").Replace(strings.Trim(code(s), "`")) + "</code>"
}

// clip bounds a line of somebody else's.
func clip(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, "")
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

func short(sha string) string { return sha[:min(len(sha), 10)] }

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
