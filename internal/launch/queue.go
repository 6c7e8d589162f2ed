package launch

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Waiting is a run in the queue.
type Waiting struct {
	Run        string    `json:"run"`
	Repository string    `json:"repository"`
	Name       string    `json:"name"`
	Since      time.Time `json:"since"`
	Why        string    `json:"why"` // "2 runs of team/app are under way, its limit", "waits for approval"
}

// Queue is what waits, in the order in which it will have its turn, and what runs.
type Queue struct {
	Waiting []Waiting `json:"waiting"`
	Running []Waiting `json:"running"`
}

// Metrics are the numbers of the queue.
type Metrics struct {
	Waiting, Running int
	Oldest           time.Duration // how long the first that waits for a place has
}

const (
	// maxWaiting is how many unfinished runs a desk knows at a time.
	maxWaiting = 10_000
	// lookEvery is how often the queue looks for what nobody tells: that whoever ran a
	// run is gone, that a place of a repository is free.
	lookEvery = 2 * time.Second
	// startTries is how often it is tried to start a run.
	startTries = 4
	startPause = 2 * time.Second // doubles with every try
)

// queue is the desk's view of what is unfinished. It follows the record and can be made
// of it anew at any time.
type queue struct {
	mu   sync.Mutex
	runs map[string]*unfinished
	wake chan struct{} // holds one token: something has changed
}

// unfinished is a run that has not ended.
type unfinished struct {
	run, repo, name string
	key, sha        string
	request         int64
	priority        int
	since           time.Time
	approval        bool // it waits for one
	under           bool // it was started, here or elsewhere
	mine            bool // it goes on here
	elsewhere       bool // it was seen to go on at another desk
	told            bool // that there is a newer one, which is for it to act on
	tries           int
	next            time.Time
	why             string // it could not be started
}

// turn is what decides whose turn it is.
type turn struct {
	Run, Repo string
	Priority  int
	Since     time.Time
	Resume    bool // it was begun before, and whoever ran it is gone
	Blocked   string
}

// order puts runs into the order of their turns: what was begun goes first, then what has the
// higher priority; then it is the turn of the repository with the fewest runs under
// way, counting those that are before it in the queue; then of who waits longest.
// Those that are blocked come last. It is a pure function.
func order(waiting []turn, running map[string]int) []turn {
	less := func(a, b turn) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(len(a.Run), len(b.Run)), strings.Compare(a.Run, b.Run))
	}
	sorted := slices.SortedFunc(slices.Values(waiting), less)
	rank := func(t turn) (int, int) {
		switch {
		case t.Blocked != "":
			return 2, -t.Priority
		case t.Resume:
			return 0, 0
		}
		return 1, -t.Priority
	}
	class := map[[2]int]map[string][]turn{} // first come first, by repository
	var ranks [][2]int
	for _, t := range sorted {
		a, b := rank(t)
		k := [2]int{a, b}
		if class[k] == nil {
			class[k] = map[string][]turn{}
			ranks = append(ranks, k)
		}
		class[k][t.Repo] = append(class[k][t.Repo], t)
	}
	slices.SortFunc(ranks, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], cmp.Compare(a[1], b[1])) })
	taken := map[string]int{}
	out := make([]turn, 0, len(waiting))
	for _, k := range ranks {
		repos := class[k]
		names := sortedKeys(repos)
		for len(names) > 0 {
			next := slices.MinFunc(names, func(a, b string) int {
				return cmp.Or(cmp.Compare(running[a]+taken[a], running[b]+taken[b]), less(repos[a][0], repos[b][0]))
			})
			out = append(out, repos[next][0])
			taken[next]++
			if repos[next] = repos[next][1:]; len(repos[next]) == 0 {
				names = slices.DeleteFunc(names, func(n string) bool { return n == next })
			}
		}
	}
	return out
}

// overtaken are the runs that a newer commit of the same branch or change has made
// pointless, and by which run: old, those that wait, and late, those under way that have not been
// told.
func overtaken(runs map[string]*unfinished) (old, late map[string]string) {
	newest := map[string]*unfinished{}
	for _, u := range runs {
		if u.key == "" {
			continue
		}
		k := u.repo + "\x00" + u.key
		if n := newest[k]; n == nil || u.request > n.request {
			newest[k] = u
		}
	}
	old, late = map[string]string{}, map[string]string{}
	for _, u := range runs {
		if u.key == "" || u.mine && !u.under || u.under && u.told {
			continue
		}
		into := old
		if u.under {
			into = late
		}
		if n := newest[u.repo+"\x00"+u.key]; n.request > u.request && n.sha != u.sha {
			into[u.run] = n.run
		}
	}
	return old, late
}

// Queue is what waits and what runs, on all desks.
func (d *Desk) Queue(ctx context.Context) (q Queue, err error) {
	heads, err := d.Runs.Runs(ctx, store.RunFilter{Unfinished: true, Limit: maxWaiting})
	if err != nil {
		return q, fmt.Errorf("read the queue: %w", err)
	}
	repos, err := d.byName(ctx)
	if err != nil {
		return q, err
	}
	running := map[string]int{}
	all := map[string]*unfinished{}
	var waiting []turn
	for _, h := range heads {
		if h.Origin == nil || h.Origin.Pushed {
			continue
		}
		u := d.unfinished(&h)
		all[u.run] = u
		switch {
		case h.Alive:
			running[u.repo]++
			q.Running = append(q.Running, Waiting{Run: u.run, Repository: u.repo, Name: u.name, Since: h.Started})
			continue
		case u.approval:
			approved, err := d.approved(ctx, u.run)
			if err != nil {
				return q, fmt.Errorf("read the queue: %w", err)
			}
			u.approval = !approved
		}
		d.queue.mu.Lock()
		if own := d.queue.runs[u.run]; own != nil {
			u.why, u.mine = own.why, own.mine
		}
		d.queue.mu.Unlock()
		waiting = append(waiting, u.turn(repos))
	}
	for _, t := range order(waiting, running) {
		u := all[t.Run]
		why := t.Blocked
		if r := repos[t.Repo]; why == "" && r.Limit > 0 && running[t.Repo] >= r.Limit {
			why = fmt.Sprintf("%s of %s under way, its limit", areRuns(running[t.Repo]), t.Repo)
		}
		q.Waiting = append(q.Waiting, Waiting{Run: t.Run, Repository: t.Repo, Name: u.name, Since: t.Since,
			Why: cmp.Or(why, u.why, "its turn comes")})
	}
	slices.SortFunc(q.Running, func(a, b Waiting) int { return a.Since.Compare(b.Since) })
	return q, nil
}

func areRuns(n int) string {
	if n == 1 {
		return "1 run is"
	}
	return fmt.Sprintf("%d runs are", n)
}

// Metrics are the numbers of the queue as this desk, which serves, sees them.
func (d *Desk) Metrics() (m Metrics) {
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	for _, u := range d.queue.runs {
		switch {
		case u.mine, u.under && u.elsewhere:
			m.Running++
		default:
			m.Waiting++
			if !u.approval {
				m.Oldest = max(m.Oldest, time.Since(u.since))
			}
		}
	}
	return m
}

// unfinished is what the queue has to know of a run.
func (d *Desk) unfinished(h *store.RunHead) *unfinished {
	return &unfinished{
		run: h.ID, repo: h.Origin.Repository, name: cmp.Or(h.Name, h.File), key: h.Origin.Key, sha: h.SHA, request: h.Origin.Request,
		priority: h.Origin.Priority, since: h.Begun, approval: h.Waiting() && h.Origin.Approval,
		under: !h.Started.IsZero(), elsewhere: h.Alive,
	}
}

// turn says what keeps a run from its turn, if anything does.
func (u *unfinished) turn(repos map[string]Repository) turn {
	t := turn{Run: u.run, Repo: u.repo, Priority: u.priority, Since: u.since, Resume: u.under}
	r, known := repos[u.repo]
	switch {
	case u.under: // it goes on, or ends for want of its repository
	case !known:
		t.Blocked = "the repository was removed"
	case u.approval:
		t.Blocked = "waits for approval by a maintainer"
	case r.Paused:
		t.Blocked = "the repository is paused"
	}
	return t
}

func (d *Desk) byName(ctx context.Context) (map[string]Repository, error) {
	all, err := d.Repositories(ctx)
	m := make(map[string]Repository, len(all))
	for _, r := range all {
		m[r.Name] = r
	}
	return m, err
}

// poke wakes the dispatcher.
func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// edit changes what is known of a run, if it is known.
func (q *queue) edit(run string, change func(u *unfinished)) {
	q.mu.Lock()
	if u := q.runs[run]; u != nil {
		change(u)
	}
	q.mu.Unlock()
	q.poke()
}

func (q *queue) drop(run string) {
	q.mu.Lock()
	delete(q.runs, run)
	q.mu.Unlock()
	q.poke()
}

// load makes the queue from the record.
func (d *Desk) load(ctx context.Context) error {
	heads, err := d.Runs.Runs(ctx, store.RunFilter{Unfinished: true, Limit: maxWaiting})
	if err != nil {
		return fmt.Errorf("read the queue: %w", err)
	}
	for _, h := range heads {
		if h.Origin == nil || h.Origin.Pushed {
			continue
		}
		u := d.unfinished(&h)
		if u.approval {
			approved, err := d.approved(ctx, u.run)
			if err != nil {
				return fmt.Errorf("read the queue: %w", err)
			}
			u.approval = !approved
		}
		d.queue.mu.Lock()
		if d.queue.runs[u.run] == nil {
			d.queue.runs[u.run] = u
		}
		d.queue.mu.Unlock()
	}
	return nil
}

// heed takes an event that concerns the queue.
func (d *Desk) heed(e record.Event) {
	q := &d.queue
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		if b.Origin == nil || b.Origin.Pushed {
			return
		}
		u := &unfinished{
			run: e.Run, repo: b.Origin.Repository, name: cmp.Or(b.Pipeline.Name, b.Pipeline.File), key: b.Origin.Key, sha: b.Change.SHA,
			request: b.Origin.Request, priority: b.Origin.Priority, since: e.Time, approval: b.Origin.Approval,
		}
		q.mu.Lock()
		if q.runs[e.Run] == nil {
			q.runs[e.Run] = u
		}
		q.mu.Unlock()
		q.poke()
	case *record.RunApproved:
		q.edit(e.Run, func(u *unfinished) { u.approval = false })
	case *record.RunStarted:
		q.edit(e.Run, func(u *unfinished) { u.under, u.elsewhere = true, !u.mine })
	case *record.RunFinished:
		q.drop(e.Run)
	}
}

// dispatch gives out the queue until ctx ends. What it has started ends by itself, or is
// left when stop is closed.
func (d *Desk) dispatch(ctx context.Context, runner *Launcher, stop <-chan struct{}) {
	places := cmp.Or(d.Jobs, max(4, 2*runtime.NumCPU()))
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		all := places
		if d.Further != nil {
			all += d.Further()
		}
		if err := d.give(ctx, all, func(u *unfinished) {
			under.Go(func() { d.run(ctx, runner, u, stop) })
		}); err != nil {
			d.complain("give out the queue", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.queue.wake:
		case <-tick.C:
			d.missing(ctx)
		}
	}
}

// missing looks for runs that go on nowhere.
func (d *Desk) missing(ctx context.Context) {
	d.queue.mu.Lock()
	var others []string
	for _, u := range d.queue.runs {
		if u.elsewhere && !u.mine {
			others = append(others, u.run)
		}
	}
	d.queue.mu.Unlock()
	for _, run := range others {
		if _, held, err := d.Store.Held(ctx, store.RunLease(run)); err == nil && !held {
			d.queue.edit(run, func(u *unfinished) { u.elsewhere = false })
		}
	}
}

// tellLate tells runs under way of those that have overtaken them. Pipelines that have
// nothing to say about that are left alone.
func (d *Desk) tellLate(ctx context.Context, late map[string]string) error {
	for run, by := range late {
		r, err := d.Store.Run(ctx, run)
		if err != nil {
			return fmt.Errorf("read run %s: %w", run, err)
		}
		if r.Planned == nil || r.Verdict != "" || r.Planned.Pipeline.AutoCancel.OnNewer == plan.KeepGoing {
			continue
		}
		_, err = d.Store.Append(ctx, record.Event{Run: run, Body: &record.CancelRequested{By: "run " + by, Newer: by}})
		if err != nil {
			return fmt.Errorf("tell run %s of a newer one: %w", run, err)
		}
	}
	return nil
}

// give starts whose turn it is, as many as there are places.
func (d *Desk) give(ctx context.Context, places int, begin func(u *unfinished)) error {
	if ctx.Err() != nil {
		return nil
	}
	repos, err := d.byName(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	running := map[string]int{}
	here := 0
	var waiting []turn
	d.queue.mu.Lock()
	old, late := overtaken(d.queue.runs)
	for run := range late {
		d.queue.runs[run].told = true
	}
	for _, u := range d.queue.runs {
		switch {
		case u.mine:
			running[u.repo]++
			here++
		case u.elsewhere:
			running[u.repo]++
		case old[u.run] == "" && !now.Before(u.next):
			waiting = append(waiting, u.turn(repos))
		}
	}
	d.queue.mu.Unlock()
	for run, by := range old {
		ended, err := d.end(ctx, run, plan.Cancelled, "overtaken by run "+by+", of a newer commit")
		if err != nil {
			return err
		}
		if ended {
			d.queue.drop(run)
		}
	}
	if err := d.tellLate(ctx, late); err != nil {
		return err
	}
	for _, t := range order(waiting, running) {
		if _, known := repos[t.Repo]; !known && !t.Resume {
			if ended, err := d.end(ctx, t.Run, plan.Cancelled, "the repository was removed"); err != nil {
				return err
			} else if ended {
				d.queue.drop(t.Run)
			}
			continue
		}
		if here >= places {
			return nil
		}
		if t.Blocked != "" {
			continue
		}
		if limit := repos[t.Repo].Limit; limit > 0 && running[t.Repo] >= limit {
			continue
		}
		d.queue.mu.Lock()
		u := d.queue.runs[t.Run]
		if u != nil {
			u.mine = true
		}
		d.queue.mu.Unlock()
		if u != nil {
			running[t.Repo]++
			here++
			begin(u)
		}
	}
	return nil
}
