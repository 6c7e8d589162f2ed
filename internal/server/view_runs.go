package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	listed    = 50  // runs on a page when nothing else is asked for
	mostLists = 500 // runs on a page
	stripRuns = 30  // runs of a pipeline's strip
	stripsTop = 8   // strips on a page
	// stripRead is how many of a repository's newest runs its strips are made of. Few
	// are read whatever there is: a pipeline that runs seldom has a shorter strip.
	stripRead = 250
	// lookedAt is how many runs are looked at for a page of those that who asks may
	// see.
	lookedAt = 5000
	// stripFor is how long a strip is shown without being read anew.
	stripFor = 5 * time.Second
	maxStrip = 200 // repositories whose strips are kept
)

// list is the view of runs: those that ask chooses and may lets see, the newest
// first.
func (v *views) list(ctx context.Context, ask RunsAsk, may func(repository string) bool) (RunsView, error) {
	view := RunsView{Runs: []RunRow{}, Filter: ask}
	limit := ask.Limit
	if limit == 0 {
		limit = listed
	}
	f := store.RunFilter{Pipeline: ask.Pipeline, Branch: ask.Branch, Change: ask.Change, Actor: ask.Actor, Before: ask.Before, Limit: limit + 1}
	switch ask.State {
	case "":
	case "unfinished":
		f.Unfinished = true
	default:
		f.Verdict = plan.Verdict(ask.State)
	}
	if ask.Repository != "" {
		// What the command line ran here has no repository of the server's.
		probe, err := v.runs.Runs(ctx, store.RunFilter{Origin: ask.Repository, Limit: 1})
		if err != nil {
			return view, err
		}
		if f.Origin = ask.Repository; len(probe) == 0 {
			f.Origin, f.Repository = "", ask.Repository
		}
	}
	now := v.now()
	for read := 0; read < lookedAt; {
		heads, err := v.runs.Runs(ctx, f)
		if err != nil {
			return view, err
		}
		for i := range heads {
			if f.Before = heads[i].ID; !may(repositoryOf(&heads[i])) {
				continue
			}
			if len(view.Runs) == limit {
				view.Next = view.Runs[limit-1].ID
				break
			}
			view.Runs = append(view.Runs, rowOf(&heads[i], now))
		}
		if read += len(heads); view.Next != "" || len(heads) < f.Limit {
			break
		}
		if f.Limit = mostRows; read >= lookedAt { // most are hidden from who asks
			view.Next = f.Before
		}
	}
	var longest float64
	for _, r := range view.Runs {
		longest = max(longest, r.Seconds)
	}
	for i := range view.Runs {
		if r := &view.Runs[i]; longest > 0 {
			r.Share = r.Seconds / longest
		}
	}
	if ask.Before != "" {
		return view, nil
	}
	var err error
	view.Strips, err = v.strips(ctx, view.Runs)
	return view, err
}

// strips are the histories of the pipelines that the runs are of.
func (v *views) strips(ctx context.Context, runs []RunRow) ([]Strip, error) {
	var strips []Strip
	seen := map[[2]string]bool{}
	for i := range runs {
		r := &runs[i]
		key := [2]string{r.Repository, r.File}
		if r.File == "" || seen[key] {
			continue
		}
		if seen[key] = true; len(strips) == stripsTop {
			break
		}
		all, err := v.stripsOf(ctx, r)
		if err != nil {
			return nil, err
		}
		if k := slices.IndexFunc(all, func(s Strip) bool { return s.File == r.File }); k >= 0 && len(all[k].Bars) > 1 {
			strips = append(strips, all[k])
		}
	}
	slices.SortFunc(strips, func(a, b Strip) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Pipeline, b.Pipeline))
	})
	return strips, nil
}

// stripsOf are the histories of the pipelines of a run's repository.
func (v *views) stripsOf(ctx context.Context, r *RunRow) ([]Strip, error) {
	now := v.now()
	if all, ok := v.kept.get(r.Repository, now); ok {
		return all, nil
	}
	branch := v.branch(ctx, r.Repository)
	f := store.RunFilter{Repository: r.Repository, Limit: stripRead}
	if r.server {
		f.Origin, f.Repository = r.Repository, ""
	}
	heads, err := v.runs.Runs(ctx, f)
	if err != nil {
		return nil, err
	}
	var all []Strip
	for i := range heads { // the newest first
		row := rowOf(&heads[i], now)
		if row.Branch != branch && (branch != "" || row.Branch != "main" && row.Branch != "master") || row.Event == "pull_request" {
			continue
		}
		k := slices.IndexFunc(all, func(s Strip) bool { return s.File == row.File })
		if k < 0 {
			k = len(all)
			all = append(all, Strip{Repository: r.Repository, Pipeline: row.Pipeline, File: row.File, Branch: row.Branch})
		}
		if s := &all[k]; len(s.Bars) < stripRuns && s.Branch == row.Branch {
			s.Bars = append(s.Bars, Bar{Run: row.ID, State: row.State, Seconds: row.Seconds})
		}
	}
	for i := range all {
		s := &all[i]
		slices.Reverse(s.Bars)
		var good []float64
		for _, b := range s.Bars {
			if b.State == State(plan.Success) {
				good = append(good, b.Seconds)
			}
		}
		if slices.Sort(good); len(good) > 0 {
			s.Good, s.Median = len(good), good[len(good)/2]
		}
	}
	v.kept.put(r.Repository, all, now)
	return all, nil
}

// stripCache has the strips of repositories that were read a moment ago.
type stripCache struct {
	mu  sync.Mutex
	all map[string]keptStrip
}

type keptStrip struct {
	strips []Strip
	until  time.Time
}

func (c *stripCache) get(key string, now time.Time) ([]Strip, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.all[key]
	return s.strips, ok && now.Before(s.until)
}

func (c *stripCache) put(key string, s []Strip, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxStrip {
		c.all = map[string]keptStrip{}
	}
	c.all[key] = keptStrip{s, now.Add(stripFor)}
}
