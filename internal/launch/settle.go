package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Limits of settling.
const (
	// settleTries is how often it is tried to settle a request when a repository
	// cannot be had, absentTries when it has no such commit: what a code host
	// tells of may take a moment to be there.
	settleTries = 8
	absentTries = 4
	// maxCompared is the most files of a change that are listed; with more, every
	// path filter matches.
	maxCompared = 3000
	// maxWhys is how many pipelines are named of which none was started.
	maxWhys = 5
	maxTold = 200 // problems that are kept of a request
)

// wanted is one thing to start pipelines for. A request may want several.
type wanted struct {
	change   *plan.Change
	fetch    string // the ref, or the commit, that leads to the commit; "" for the default branch
	headURL  string // of a fork that no ref of the repository leads to
	isChange bool   // about a pull or merge request
	fork     bool   // as the host says
	number   string
	title    string
	workflow string
	priority int
	cause    string
	follows  record.Trust   // of a workflow_run
	upstream *store.RunHead // whose job asked for it; nil: none did
}

// unstarted says why nothing was started, for good.
type unstarted struct {
	why      string
	fault    bool
	problems []plan.Problem
}

func (u *unstarted) Error() string { return u.why }

// settle brings a request to its end: the runs that it starts are planned, in one
// transaction with the word that it is settled. It may be tried again after any error, by
// whoever: the first to be done wins.
func (d *Desk) settle(ctx context.Context, seq int64, body record.Body) error {
	r, err := d.Store.Register(ctx, requestKind, strconv.FormatInt(seq, 10))
	if err != nil || r.Version > 0 {
		return err
	}
	var name string
	switch b := body.(type) {
	case *record.HookReceived:
		name = b.Repository
	case *record.RunRequested:
		name = b.Repository
	}
	settled := &record.RequestSettled{Request: seq}
	var events []record.Event
	repo, err := d.Repository(ctx, name)
	if err == nil {
		events, err = d.start(ctx, seq, &repo, body, settled)
	}
	var nothing *unstarted
	var usage *plan.UsageError
	switch {
	case errors.As(err, &nothing):
		settled.Why, settled.Fault = nothing.why, nothing.fault
		settled.Problems = append(settled.Problems, nothing.problems...)
	case errors.As(err, &usage):
		settled.Why = usage.Error()
	case err != nil:
		return err
	}
	if len(settled.Problems) > maxTold {
		settled.Problems = settled.Problems[:maxTold]
	}
	return d.conclude(ctx, settled, events)
}

// conclude writes down what a request came to, once.
func (d *Desk) conclude(ctx context.Context, settled *record.RequestSettled, events []record.Event) error {
	done := register(requestKind, strconv.FormatInt(settled.Request, 10), 0, settled)
	done.Expires = time.Now().Add(keepSettled)
	_, err := d.Store.Change(ctx, []record.Register{done}, append(events, record.Event{Body: settled})...)
	if errors.Is(err, record.ErrConflict) {
		return nil // another desk was faster, and its runs are the ones
	}
	if err != nil {
		return fmt.Errorf("write down what request %d came to: %w", settled.Request, err)
	}
	return nil
}

// start plans the runs that a request starts.
func (d *Desk) start(ctx context.Context, seq int64, repo *Repository, body record.Body, settled *record.RequestSettled) (events []record.Event, err error) {
	if repo.Paused {
		return nil, &unstarted{why: "the repository is paused"}
	}
	want, err := d.wants(ctx, repo, body)
	if err != nil {
		return nil, err
	}
	var whys []string
	for _, w := range want {
		more, err := d.plans(ctx, seq, repo, w, settled)
		var nothing *unstarted
		if errors.As(err, &nothing) && len(want) > 1 && !nothing.fault {
			whys = append(whys, nothing.why)
			settled.Problems = append(settled.Problems, nothing.problems...)
			continue
		}
		if err != nil {
			return nil, err
		}
		events = append(events, more...)
	}
	for _, e := range events {
		settled.Runs = append(settled.Runs, e.Run)
	}
	if len(events) == 0 {
		settled.Why = strings.Join(slices.Compact(whys), "; ")
	}
	return events, nil
}

// wants says what a request is about.
func (d *Desk) wants(ctx context.Context, repo *Repository, body record.Body) ([]wanted, error) {
	switch b := body.(type) {
	case *record.HookReceived:
		host := d.Forges[b.Forge]
		if host == nil {
			return nil, &unstarted{why: fmt.Sprintf("this server does not know the code host %q any more", b.Forge), fault: true}
		}
		h, err := host.Parse(&forge.Delivery{Header: b.Header, Body: b.Body})
		if err != nil {
			return nil, &unstarted{why: "the delivery cannot be read: " + err.Error()}
		}
		var all []wanted
		for _, one := range append([]*forge.Hook{h}, h.Also...) {
			all = append(all, ofHook(one)...)
		}
		if len(all) == 0 {
			return nil, &unstarted{why: nothingIn(h)}
		}
		if h.Kind == forge.Push && repo.Poll > 0 && !replayed(b) {
			return d.unseen(ctx, repo, all)
		}
		return all, nil
	case *record.RunRequested:
		w := wanted{change: clone(b.Change), fetch: b.Change.Ref, workflow: b.Workflow, priority: b.Priority, cause: b.Cause}
		if b.Change.SHA != "" {
			w.fetch = b.Change.SHA
		}
		switch b.Cause {
		case "poll":
			return d.unseen(ctx, repo, []wanted{w})
		case "workflow_run":
			if err := d.following(ctx, &w); err != nil {
				return nil, err
			}
		case causePipeline:
			if err := d.upstream(ctx, &w); err != nil {
				return nil, err
			}
		}
		return []wanted{w}, nil
	}
	return nil, &unstarted{why: "nothing is known of such requests"}
}

// ofHook is what a hook is about.
func ofHook(h *forge.Hook) []wanted {
	if h.Change == nil || h.Deleted {
		return nil
	}
	w := wanted{change: clone(h.Change), title: h.Title, fetch: h.Fetch, cause: "hook"}
	switch h.Kind {
	case forge.Push, forge.Released, forge.Dispatch:
		if w.fetch == "" {
			w.fetch = h.Change.Ref
		}
		return []wanted{w}
	case forge.Change, forge.Closed:
		w.isChange, w.fork, w.number, w.headURL = true, h.Fork, h.Number, h.HeadURL
		if w.fetch == "" && w.headURL == "" {
			w.fetch = "refs/heads/" + w.change.HeadRef
		}
		if w.change.Event != "pull_request" {
			return []wanted{w}
		}
		// Hosts tell once, and two kinds of workflows listen.
		target := w
		target.change = clone(h.Change)
		target.change.Event = "pull_request_target"
		return []wanted{w, target}
	}
	return nil
}

func nothingIn(h *forge.Hook) string {
	switch {
	case h.Deleted && h.Change != nil:
		return h.Change.Ref + " was deleted, which starts nothing"
	case h.Kind == forge.Ping:
		return "the code host tried its hook out"
	}
	return fmt.Sprintf("nothing is started by %q", h.Event)
}

// unseen leaves out pushes of which there are runs: where both hooks and polling
// tell of a push, the second to do so is late.
func (d *Desk) unseen(ctx context.Context, repo *Repository, all []wanted) ([]wanted, error) {
	var left []wanted
	for _, w := range all {
		heads, err := d.Runs.Runs(ctx, store.RunFilter{Origin: repo.Name, Branch: w.change.Ref})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(heads, func(h store.RunHead) bool {
			return h.SHA == w.change.SHA && h.Event == "push" && h.Ref == w.change.Ref
		}) {
			left = append(left, w)
		}
	}
	if len(left) == 0 {
		return nil, &unstarted{why: "this push has its runs already"}
	}
	return left, nil
}

// following reads, from the record, what a workflow_run follows.
func (d *Desk) following(ctx context.Context, w *wanted) error {
	id := followed(w.change)
	h, err := d.Runs.Head(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && h.Origin == nil {
		return &unstarted{why: "run " + id + ", which it follows, is not known"}
	}
	if err != nil {
		return err
	}
	approved, err := d.approved(ctx, id)
	if err != nil {
		return err
	}
	if w.follows = h.Origin.Trust; !confides(h.Origin, approved) {
		w.follows, w.number = record.Untrusted, h.Origin.Change
	} else if w.follows == record.Untrusted {
		w.follows = record.Contributor
	}
	return nil
}

// approved reports whether a maintainer approved the run.
func (d *Desk) approved(ctx context.Context, run string) (bool, error) {
	r, err := d.Store.Register(ctx, approvalKind, run)
	return r.Version > 0, err
}

// found is a commit in our copy of the repository.
type found struct {
	sha, ref string // the full ref, where one was meant
	place    place
	fallback string // the default branch
	base     string // commit of the target of a change
}

// find brings the commit that something is wanted for, and finds out where it lies.
func (d *Desk) find(ctx context.Context, repo *Repository, m *workspace.Mirror, w *wanted) (f found, err error) {
	sha := w.change.SHA
	fetched := false
	fetch := func() error {
		if fetched {
			return nil
		}
		fetched = true
		return m.Fetch(ctx)
	}
	if w.isChange || m.DefaultBranch() == "" { // the target may have moved on
		if err := fetch(); err != nil {
			return f, err
		}
	}
	if f.fallback = repo.DefaultBranch; f.fallback == "" {
		f.fallback = m.DefaultBranch()
	}
	from := w.fetch
	if from == "" && w.headURL == "" {
		from = "refs/heads/" + f.fallback
	}
	switch {
	case workspace.IsCommit(sha) && m.Has(ctx, sha):
		f.sha = sha
	case w.fetch == "" && w.headURL != "":
		if err := d.sameHost(repo, w.headURL); err != nil {
			return f, err
		}
		if f.sha, err = m.From(ctx, w.headURL, "refs/heads/"+w.change.HeadRef); err != nil {
			return f, err
		}
	default:
		if f.sha, f.ref, err = m.Commit(ctx, from); err != nil {
			return f, err
		}
		fetched = true
	}
	if sha != "" && sha != strings.Repeat("0", len(sha)) && !strings.HasPrefix(f.sha, sha) {
		if f.sha, _, err = m.Commit(ctx, sha); err != nil { // the ref has moved on meanwhile
			return f, err
		}
	}
	ref := w.change.Ref
	if !strings.HasPrefix(ref, "refs/") && f.ref != "" {
		ref = f.ref
	}
	f.ref = ref
	if w.isChange {
		f.ref = "refs/heads/" + w.change.BaseRef
		if f.base, err = m.Here(ctx, f.ref); err != nil {
			return f, err
		}
	}
	for {
		in, err := m.Contains(ctx, f.ref, f.sha)
		if err == nil && in {
			f.place = inRef
			return f, nil
		}
		any, err2 := m.Anywhere(ctx, f.sha)
		if err := errors.Join(err, err2); err != nil {
			return f, err
		}
		if any {
			f.place = inRepository
		}
		if fetched || any && w.isChange {
			return f, nil
		}
		if err := fetch(); err != nil {
			return f, err
		}
	}
}

// sameHost refuses a fork that is said to lie elsewhere than the repository.
func (d *Desk) sameHost(repo *Repository, fork string) error {
	a, err := workspace.ParseAddress(fork)
	ours, err2 := workspace.ParseAddress(repo.URL)
	host := func(h string) string { return (&url.URL{Host: h}).Hostname() }
	if err != nil || err2 != nil || a.Path != "" || host(a.Host) != host(ours.Host) {
		return &unstarted{why: fmt.Sprintf("the fork is said to be at %.200q, which is not where the repository is", withoutUser(fork))}
	}
	return nil
}

// plans makes the runs that one thing starts.
func (d *Desk) plans(ctx context.Context, seq int64, repo *Repository, w wanted, settled *record.RequestSettled) ([]record.Event, error) {
	m, err := d.mirror(ctx, repo)
	if err != nil {
		return nil, err
	}
	f, err := d.find(ctx, repo, m, &w)
	if err != nil {
		return nil, err
	}
	t := judge(repo, circumstances{
		Event: w.change.Event, Ref: f.ref, Fork: w.fork, Change: w.isChange, Place: f.place, Follows: w.follows, Default: f.fallback,
	})
	if t.Refused != "" {
		return nil, &unstarted{why: t.Refused}
	}
	c := w.change
	c.SHA = f.sha
	if !w.isChange {
		c.Ref = f.ref
	}
	// One repository has one name and one host, whoever tells of it: both are in the
	// environment of steps, and what a push did is not done again by hand.
	c.Server, c.Repository = whereabouts(repo)
	if err := d.compare(ctx, m, c, &f, w.isChange); err != nil {
		return nil, err
	}
	o := Order{Workflow: w.workflow, Event: c.Event, Inputs: c.Inputs, Change: c}
	if c.Event == "pull_request_target" {
		c.SHA, c.Ref = f.base, f.ref
	} else if t.Base && w.isChange {
		if o.Files, err = m.Checkout(ctx, f.base); err != nil {
			return nil, err
		}
	}
	if o.Dir, err = m.Checkout(ctx, c.SHA); err != nil {
		return nil, err
	}
	o.Since = func(ctx context.Context, ref string) ([]string, bool, error) { return d.since(ctx, m, ref, c.SHA) }
	sha, ref := c.SHA, c.Ref
	// What the server found out counts, whatever a payload says.
	o.Overrule = func(c *plan.Change) {
		c.SHA, c.DefaultBranch = sha, f.fallback
		if !w.isChange {
			c.Ref = ref
		}
	}
	p, err := d.Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer p.Tree.Close()
	if err := w.permitted(repo, p); err != nil {
		return nil, err
	}
	origin := record.Origin{
		Repository: repo.Name, Request: seq, Trust: t.Trust, Change: w.number, Title: w.title,
		Priority: repo.Priority + w.priority, Approval: t.Approval,
	}
	if origin.Title == "" {
		if origin.Title, err = m.Subject(ctx, c.SHA); err != nil {
			return nil, err
		}
	}
	return d.plan(ctx, p, origin, settled)
}

// compare finds the files that a change touches.
func (d *Desk) compare(ctx context.Context, m *workspace.Mirror, c *plan.Change, f *found, isChange bool) (err error) {
	base := f.base
	if !isChange {
		if c.Event != "push" || strings.HasPrefix(c.Ref, "refs/tags/") {
			return nil
		}
		if base = c.Before; !m.Has(ctx, base) { // a new branch
			if base, err = m.Here(ctx, "refs/heads/"+f.fallback); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if base == "" || base == f.sha || c.Ref == "refs/heads/"+f.fallback {
				if base, err = m.Parent(ctx, f.sha); err != nil {
					return err
				}
			}
		}
	}
	c.Files, c.FilesKnown, err = m.Changed(ctx, base, f.sha, maxCompared)
	return err
}

// since finds the files in which a commit differs from where its history parted from
// another ref's, as that was fetched last.
func (d *Desk) since(ctx context.Context, m *workspace.Mirror, ref, sha string) (files []string, known bool, err error) {
	for _, full := range []string{ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if m.Has(ctx, full) {
			return m.Changed(ctx, full, sha, maxCompared)
		}
		if base, err := m.Here(ctx, full); err == nil {
			return m.Changed(ctx, base, sha, maxCompared)
		}
	}
	return nil, false, ctx.Err()
}

// plan makes the first events of the pipelines that were chosen.
func (d *Desk) plan(ctx context.Context, p *Prepared, origin record.Origin, settled *record.RequestSettled) (events []record.Event, err error) {
	settled.Problems = slices.Concat(settled.Problems, p.Problems, unlentProblems(p.Project, &origin))
	for _, pl := range p.Chosen {
		if plan.Errors(p.ProblemsOf(pl)) {
			continue
		}
		o := origin
		if c := p.ChangeFor(pl); o.Change != "" {
			o.Key = fmt.Sprintf("%s of change %s at %s", pl.File, o.Change, c.Event)
		} else if c.Event == "push" && strings.HasPrefix(c.Ref, "refs/heads/") {
			o.Key = fmt.Sprintf("%s of %s", pl.File, c.Ref)
		}
		e, problems, err := d.Plan(ctx, p, pl, &o)
		if err != nil {
			return nil, err
		}
		settled.Problems = append(settled.Problems, problems...)
		if e.Body != nil {
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return nil, &unstarted{why: unchosen(p)}
	}
	return events, nil
}

// unchosen says why none of the pipelines is run.
func unchosen(p *Prepared) string {
	if len(p.Chosen) > 0 {
		return "there are errors in what would be run"
	}
	if len(p.Pipelines) == 0 {
		return "there are no pipeline files at " + p.Change.SHA
	}
	what := p.Change.Event
	if p.Change.Ref != "" {
		what += " of " + p.Change.Ref
	}
	var whys []string
	for _, pl := range p.Pipelines {
		if len(whys) == maxWhys {
			whys = append(whys, fmt.Sprintf("and %d more", len(p.Pipelines)-maxWhys))
			break
		}
		whys = append(whys, pl.File+": "+pl.Start.Why)
	}
	return "no workflow is started by " + what + " (" + strings.Join(whys, "; ") + ")"
}

// patience says how often a request is tried that failed with an error.
func patience(err error) int {
	switch {
	case errors.Is(err, workspace.ErrRefused):
		return 1
	case errors.Is(err, workspace.ErrUnknownRef):
		return absentTries
	}
	return settleTries
}

// giveUp settles a request that could not be dealt with.
func (d *Desk) giveUp(ctx context.Context, seq int64, err error) error {
	settled := &record.RequestSettled{Request: seq, Why: err.Error(), Fault: !errors.Is(err, workspace.ErrUnknownRef)}
	return d.conclude(ctx, settled, nil)
}

// whereabouts are the address of the host that a repository is on, and its name
// there, as its settings tell.
func whereabouts(repo *Repository) (server, name string) {
	a, err := workspace.ParseAddress(repo.URL)
	if err != nil || a.Host == "" {
		return "https://localhost", repo.Name
	}
	rest := repo.URL // what follows the host
	if _, after, ok := strings.Cut(rest, "://"); ok {
		_, rest, _ = strings.Cut(after, "/")
	} else {
		_, rest, _ = strings.Cut(rest, ":")
	}
	rest = strings.TrimSuffix(strings.Trim(rest, "/"), ".git")
	server = a.Scheme + "://" + a.Host
	if a.Scheme == "ssh" {
		server = "https://" + (&url.URL{Host: a.Host}).Hostname()
	}
	// A host may live below a path of its server; its API does, too.
	if api, err := url.Parse(repo.API); err == nil && api.Host != "" && api.Hostname() == (&url.URL{Host: a.Host}).Hostname() {
		if below, _, ok := strings.Cut(strings.Trim(api.Path, "/"), "api"); ok && below != "" && (strings.HasPrefix(rest, below) || a.Scheme == "ssh") {
			server, rest = api.Scheme+"://"+api.Host+"/"+strings.Trim(below, "/"), strings.TrimPrefix(rest, below)
		}
	}
	return server, cmp.Or(strings.Trim(rest, "/"), repo.Name)
}

// clone copies a change as deep as it is written to.
func clone(c *plan.Change) *plan.Change {
	cc := *c
	return &cc
}
