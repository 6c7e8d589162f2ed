package launch

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Errand is one job of somebody else's run, to be done on this machine.
type Errand struct {
	engine.Assignment
	Tree   *workspace.Tree // the run's, as it is here
	Record engine.Record   // takes the job's events
	Log    engine.Log
}

// Do does one job of somebody else's run, with this machine's workspaces and its
// own memory of what steps have done. See [engine.Engine.Do].
func (l *Launcher) Do(soft, hard context.Context, e Errand) (engine.Ended, error) {
	c := *e.Context
	c.Root = e.Tree.Root()
	e.Context = &c
	d, err := l.dialect(c.Pipeline.Dialect)
	if err != nil {
		// Another version of the server's knows languages that this one does not.
		return engine.Ended{Verdict: plan.Fault, Why: err.Error(), At: e.Plan.Source}, nil
	}
	s := start{id: e.Run, number: c.Number, attempt: c.Attempt, dialect: d, tree: e.Tree, pipeline: c.Pipeline, change: c.Change, secrets: c.Secrets}
	masker := new(secret.Masker)
	masker.Add(slices.Collect(maps.Values(c.Secrets))...)
	dirs := &opener{Launcher: l, of: s, slots: map[string]*workspace.Slot{}}
	req := engine.Request{
		Masker: masker, Record: e.Record, Observer: unobserved{},
		Log:  func(string) (engine.Log, error) { return e.Log, nil },
		Open: dirs.open, Kept: dirs.kept,
	}
	var room int64
	if e.Reuse != nil {
		s.settings.Verify = e.Reuse.Verify
		if req.Reuse, room, err = l.reuse(&s); err != nil {
			return engine.Ended{}, fmt.Errorf("do job %s of run %s: %w", e.Job, e.Run, err)
		}
		if req.Reuse != nil {
			req.Reuse.Scopes = e.Reuse.Scopes
		}
	}
	ended, err := l.engine(d).Do(soft, hard, req, e.Assignment)
	if req.Reuse != nil {
		l.settleCache(hard, room)
	}
	l.tidy(hard)
	return ended, err
}

// unobserved is a run that nobody watches here.
type unobserved struct{}

func (unobserved) Event(record.Event)                 {}
func (unobserved) Line(string, string, int64, []byte) {}
