package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cron"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

const (
	// lateAtMost is how late a start by the clock may be. What was missed for longer, while
	// nobody served, is not made up for.
	lateAtMost = time.Hour
	// maxLines is how many times the pipelines of one repository may name.
	maxLines = 1000
	// pollLook is how often it is looked which repositories are to be polled.
	pollLook = 5 * time.Second
	// pollers is how many repositories are polled at a time.
	pollers = 4
	// maxPushes is how many changed refs of one look become requests. The others follow.
	maxPushes = 100
)

// scheduled is a dialect whose pipelines may want to be started by the clock.
type scheduled interface {
	// Schedules are lines of cron, "minute hour day month weekday", after "CRON_TZ=zone "
	// where the zone is not UTC.
	Schedules(p *plan.Pipeline) []string
}

// clock is what the pipelines of a default branch want, kept as a register so that they
// are compiled once for each of its commits.
type clock struct {
	SHA    string    `json:"sha"`
	Lines  []alarm   `json:"lines,omitempty"`
	Chains bool      `json:"chains,omitempty"` // some follow the end of others
	Looked time.Time `json:"looked"`           // what was to be started up to then has been asked for
}

// alarm is a time at which a pipeline is started.
type alarm struct {
	File string `json:"file"`
	Line string `json:"line"`
}

// due reports whether the alarm goes off after a time and not after another. What is
// no time never does.
func (a alarm) due(after, until time.Time) bool {
	next, err := cron.Next(a.Line, after)
	return err == nil && !next.IsZero() && !next.After(until)
}

// clock is what the default branch of a repository wants, as our copy has it.
func (d *Desk) clock(ctx context.Context, repo *Repository) (clock, error) {
	c, _, err := d.readClock(ctx, repo)
	return c, err
}

func (d *Desk) readClock(ctx context.Context, repo *Repository) (c clock, version int64, err error) {
	if version, err = d.read(ctx, clockKind, repo.Name, &c); err != nil {
		return c, 0, err
	}
	m, err := d.mirror(ctx, repo)
	if err != nil {
		return c, 0, err
	}
	main := func() (string, error) {
		return m.Here(ctx, "refs/heads/"+cmp.Or(repo.DefaultBranch, m.DefaultBranch()))
	}
	sha, err := main()
	if errors.Is(err, workspace.ErrUnknownRef) { // it was never fetched
		if err = m.Fetch(ctx); err == nil {
			sha, err = main()
		}
		if errors.Is(err, workspace.ErrUnknownRef) {
			return c, version, nil // there is no commit yet
		}
	}
	if err != nil {
		return c, 0, err
	}
	if c.SHA == sha {
		return c, version, nil
	}
	next, err := d.readTimes(ctx, m, sha)
	if err != nil {
		return c, 0, err
	}
	// A line counts from when it is known.
	if next.Looked = c.Looked; c.Looked.IsZero() {
		next.Looked = time.Now().UTC().Truncate(time.Minute)
	}
	switch _, err = d.Store.Change(ctx, []record.Register{register(clockKind, repo.Name, version, next)}); {
	case errors.Is(err, record.ErrConflict):
		return d.readClock(ctx, repo) // another desk has just done the same
	case err != nil:
		return c, 0, fmt.Errorf("write down the times of %s: %w", repo.Name, err)
	}
	return next, version + 1, nil
}

// readTimes compiles a commit for what it says of times.
func (d *Desk) readTimes(ctx context.Context, m *workspace.Mirror, sha string) (c clock, err error) {
	c.SHA = sha
	dir, err := m.Checkout(ctx, sha)
	if err != nil {
		return c, err
	}
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return c, err
	}
	defer tree.Close()
	for _, dialect := range d.Dialects {
		pipelines, _, err := dialect.Compile(ctx, tree.FS(), nil)
		if err != nil {
			return c, fmt.Errorf("read the %s pipelines: %w", dialect.Name(), err)
		}
		times, _ := dialect.(scheduled)
		for i := range pipelines {
			p := &pipelines[i]
			c.Chains = c.Chains || slices.Contains(p.Events, "workflow_run")
			if times == nil {
				continue
			}
			for _, line := range times.Schedules(p) {
				if len(c.Lines) < maxLines {
					c.Lines = append(c.Lines, alarm{File: p.File, Line: line})
				}
			}
		}
	}
	return c, nil
}

// watchClock starts what the clock starts, each minute.
func (d *Desk) watchClock(ctx context.Context) {
	for ctx.Err() == nil {
		repos, err := d.Repositories(ctx)
		d.complain("look at the clock", err)
		now := time.Now()
		for i := range repos {
			if err := d.alarm(ctx, &repos[i], now); err != nil {
				d.complain("look at the clock for "+repos[i].Name, err)
			}
		}
		pause(ctx, time.Until(now.Truncate(time.Minute).Add(time.Minute)))
	}
}

// alarm asks for what a repository wants started by now. Of several desks one does.
func (d *Desk) alarm(ctx context.Context, repo *Repository, now time.Time) error {
	if repo.Paused {
		return nil
	}
	c, version, err := d.readClock(ctx, repo)
	if err != nil || len(c.Lines) == 0 {
		return err
	}
	until := now.UTC().Truncate(time.Minute)
	after := c.Looked
	if first := until.Add(-lateAtMost); after.Before(first) {
		after = first
	}
	if !until.After(after) {
		return nil
	}
	var events []record.Event
	for _, a := range c.Lines {
		if !a.due(after, until) {
			continue
		}
		line := a.Line
		if zoned, ok := strings.CutPrefix(line, "CRON_TZ="); ok {
			_, line, _ = strings.Cut(zoned, " ")
		}
		events = append(events, record.Event{Body: &record.RunRequested{
			Repository: repo.Name, By: "the clock", Cause: "schedule", Workflow: a.File,
			Change: &plan.Change{Event: "schedule", Actor: "schedule", Payload: map[string]any{"schedule": line}},
		}})
	}
	if len(events) == 0 {
		return nil // what was not due will not be due again
	}
	c.Looked = until
	_, err = d.Store.Change(ctx, []record.Register{register(clockKind, repo.Name, version, c)}, events...)
	if errors.Is(err, record.ErrConflict) {
		return nil
	}
	return err
}

// seen are the refs of a repository when it was polled last.
type seen struct {
	At   time.Time         `json:"at"`
	Refs map[string]string `json:"refs"`
}

// poll looks at the refs of repositories that want it.
func (d *Desk) poll(ctx context.Context) {
	failed := map[string]time.Time{}
	var mu sync.Mutex
	for ctx.Err() == nil {
		repos, err := d.Repositories(ctx)
		d.complain("poll", err)
		places := make(chan struct{}, pollers)
		var looks sync.WaitGroup
		for i := range repos {
			repo := &repos[i]
			mu.Lock()
			late := time.Since(failed[repo.Name]) < max(repo.Poll, again)
			mu.Unlock()
			if repo.Poll == 0 || repo.Paused || late {
				continue
			}
			places <- struct{}{}
			looks.Go(func() {
				defer func() { <-places }()
				if err := d.look(ctx, repo, time.Now()); err != nil {
					d.complain("poll "+repo.Name, err)
					mu.Lock()
					failed[repo.Name] = time.Now()
					mu.Unlock()
				}
			})
		}
		looks.Wait()
		pause(ctx, pollLook)
	}
}

// look asks for runs of the branches and tags of a repository that are new or elsewhere than
// before. The first look only remembers them. Of several desks one asks.
func (d *Desk) look(ctx context.Context, repo *Repository, now time.Time) error {
	var was seen
	version, err := d.read(ctx, seenKind, repo.Name, &was)
	if err != nil || version > 0 && now.Sub(was.At) < repo.Poll {
		return err
	}
	m, err := d.mirror(ctx, repo)
	if err != nil {
		return err
	}
	refs, err := m.Refs(ctx)
	if err != nil {
		return err
	}
	is := seen{At: now.UTC(), Refs: refs}
	var events []record.Event
	if version > 0 {
		for _, ref := range sortedKeys(refs) {
			sha, before := refs[ref], was.Refs[ref]
			if sha == before {
				continue
			}
			if len(events) == maxPushes { // these next time
				if refs[ref] = before; before == "" {
					delete(refs, ref)
				}
				is.At = time.Time{}
				continue
			}
			if before == "" {
				before = strings.Repeat("0", len(sha))
			}
			events = append(events, record.Event{Body: &record.RunRequested{
				Repository: repo.Name, By: "polling", Cause: "poll",
				Change: &plan.Change{Event: "push", Ref: ref, SHA: sha, Before: before, Actor: "polling"},
			}})
		}
	}
	_, err = d.Store.Change(ctx, []record.Register{register(seenKind, repo.Name, version, is)}, events...)
	if errors.Is(err, record.ErrConflict) {
		return nil
	}
	return err
}
