package server

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// SplitView is how tests of a repository were shared out.
type SplitView struct {
	Repository string           `json:"repository"`
	Queue      *SplitRow        `json:"queue"` // that is looked at; none when there is none
	Runner     string           `json:"runner,omitempty"`
	Lost       []string         `json:"lost,omitempty"`   // shards
	Deadly     []string         `json:"deadly,omitempty"` // items that shards were lost with too often
	Waiting    int              `json:"waiting"`          // items
	Picture    *testrun.Picture `json:"picture"`
	Queues     []SplitRow       `json:"queues"` // the newest first

	planned, happened []lane
	ticks             []tick
	bound             float64 // percent
}

// SplitRow is a queue in a list.
type SplitRow struct {
	Name   string    `json:"name"`
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended,omitzero"`
	Shards int       `json:"shards"`
	Items  int       `json:"items"`
	Done   int       `json:"done"`
	State  State     `json:"state"`
}

// lane is a shard, as it is drawn.
type lane struct {
	Name  string
	Title string
	Lost  bool
	Took  float64 // seconds
	Parts []lanePart
}

// lanePart is a batch of it.
type lanePart struct {
	X, W  float64 // percent
	Class string
	Title string
}

const (
	listedSplits = 30
	// maxLanes is how many shards are drawn, and maxParts how many batches of each.
	maxLanes, maxParts = 64, 400
)

func (s *Server) pageSplit(r *request) (SplitView, error) {
	v := SplitView{Repository: r.PathValue("repository"), Queues: []SplitRow{}}
	if s.Sharing == nil {
		return v, lacking("place for queues of tests")
	}
	all, err := testrun.SplitsOf(r.Context(), s.Sharing.Registers, v.Repository, listedSplits)
	if err != nil {
		return v, err
	}
	for i := range all {
		v.Queues = append(v.Queues, splitRow(&all[i]))
	}
	var x *testrun.Split
	if name := r.URL.Query().Get("queue"); name != "" {
		splits := testrun.Splits{Shelf: testrun.InRecord(s.Sharing.Registers, s.Now), Now: s.Now}
		if x, err = splits.Look(r.Context(), v.Repository, name); errors.Is(err, fs.ErrNotExist) {
			return v, missing("queue")
		} else if err != nil {
			return v, err
		}
	} else if len(all) > 0 {
		x = &all[0]
	}
	if x != nil {
		v.show(x, s.Now())
	}
	return v, nil
}

func splitRow(x *testrun.Split) SplitRow {
	row := SplitRow{Name: x.Name, Begun: x.Begun, Ended: x.Ended, Shards: x.Queue.Shards, Items: len(x.Items), State: Running}
	failed := false
	for _, ran := range x.Ran {
		row.Done += len(ran.Items)
		failed = failed || ran.Failed
	}
	switch {
	case len(x.Queue.Deadly) > 0:
		row.State = "error"
	case failed && !x.Ended.IsZero():
		row.State = "failure"
	case !x.Ended.IsZero():
		row.State = "success"
	}
	return row
}

// show draws a queue as it was at a time.
func (v *SplitView) show(x *testrun.Split, now time.Time) {
	row, p := splitRow(x), x.Picture(now)
	v.Queue, v.Picture, v.Runner, v.Lost, v.Waiting = &row, &p, x.Runner, x.Gone, len(x.Queue.Waiting)
	for _, item := range x.Queue.Deadly {
		v.Deadly = append(v.Deadly, item.Name)
	}
	long := max(p.Plan, p.Took)
	for _, l := range p.Happened {
		for _, part := range l.Parts {
			long = max(long, part.To)
		}
	}
	if long <= 0 || math.IsInf(long, 0) || math.IsNaN(long) {
		return
	}
	step := tickStep(long)
	for s := 0.0; s <= long*1.0001; s += step {
		v.ticks = append(v.ticks, tick{X: 100 * s / long, Label: duration(s), Last: s/long > 0.93})
	}
	v.bound = 100 * p.Bound / long
	v.planned, v.happened = lanes(p.Planned, long, true), lanes(p.Happened, long, false)
}

// lanes draws shards on a time of so many seconds.
func lanes(all []testrun.Lane, long float64, planned bool) (list []lane) {
	for _, l := range all[:min(len(all), maxLanes)] {
		d := lane{Name: l.Shard, Lost: l.Lost, Took: l.Seconds}
		d.Title = fmt.Sprintf("shard %s: %s in batches, %s", l.Shard, plural(items(l), "item"), duration(l.Seconds))
		if planned {
			d.Title = fmt.Sprintf("shard %s: %s, expected to take %s", l.Shard, plural(int64(len(l.Parts)), "item"), duration(l.Seconds))
		}
		if l.Lost {
			d.Title += ", lost"
		}
		for _, part := range l.Parts[:min(len(l.Parts), maxParts)] {
			x := clamp(100*part.From/long, 0, 100)
			p := lanePart{X: x, W: clamp(100*(part.To-part.From)/long-.15, .1, max(100-x, .1)), Class: "b-success", Title: part.Names[0]}
			if n := len(part.Names); n > 1 {
				p.Title = fmt.Sprintf("%s and %d more", part.Names[0], n-1)
			}
			p.Title += ": " + duration(part.To-part.From)
			switch {
			case planned:
				p.Class = "planned"
			case part.Running:
				p.Class = "b-running"
				p.Title += ", under way"
			case part.Failed:
				p.Class = "b-failure"
				p.Title += ", failed"
			}
			if !planned {
				p.Title += ", expected " + duration(part.Planned)
			}
			d.Parts = append(d.Parts, p)
		}
		list = append(list, d)
	}
	return list
}

// items of a shard.
func items(l testrun.Lane) (n int64) {
	for _, p := range l.Parts {
		n += int64(len(p.Names))
	}
	return n
}

// Ticks are for the template: whether there is anything to draw.
func (v SplitView) Ticks() []tick { return v.ticks }

// drawn are lanes, for the template "lanes".
type drawn struct {
	Lanes []lane
	Ticks []tick
	Bound float64
}

func lanesOf(v SplitView, planned bool) drawn {
	if planned {
		return drawn{v.planned, v.ticks, v.bound}
	}
	return drawn{v.happened, v.ticks, v.bound}
}
