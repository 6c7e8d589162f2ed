package launch

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
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
	heard := &hearing{Record: e.Record, run: record.NewRun(e.Run)}
	dirs := &opener{Launcher: l, of: s, slots: map[string]*workspace.Slot{}}
	req := engine.Request{
		Masker: masker, Record: heard, Observer: unobserved{}, Tests: engine.Tests{Blobs: l.Results},
		Log: func(string) (engine.Log, error) {
			heard.printed = true
			return e.Log, nil
		},
		Open: dirs.open, Kept: dirs.kept,
	}
	if e.Lend {
		file, problems, err := project.Read(e.Tree.FS())
		if err != nil {
			return engine.Ended{}, fmt.Errorf("do job %s of run %s: read the project's file: %w", e.Job, e.Run, err)
		}
		if !plan.Errors(problems) {
			req.Lending = l.lending(e.Tree.Root(), file, masker, true)
		}
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
	if !heard.printed && err == nil {
		err = l.printReused(hard, e.Log, heard.run.Job(e.Job))
	}
	if req.Reuse != nil {
		l.settleCache(hard, room)
	}
	l.tidy(hard)
	return ended, err
}

// hearing is a record that remembers what it was told of a job.
type hearing struct {
	engine.Record
	run     *record.Run
	printed bool // its log was opened
}

func (t *hearing) Append(ctx context.Context, events ...record.Event) ([]record.Event, error) {
	events, err := t.Record.Append(ctx, events...)
	if err == nil && !t.printed {
		for _, e := range events {
			t.run.Apply(e)
		}
	}
	return events, err
}

// printReused prints what the steps of a job printed when they ran: it was reused as a
// whole, and whoever asks for its log has not what is here.
func (l *Launcher) printReused(ctx context.Context, w printer, j *record.JobRun) error {
	for _, s := range j.Steps {
		if !printedBefore(s) {
			continue
		}
		if err := l.reprint(ctx, w, s); err != nil {
			return fmt.Errorf("print what step %s had printed: %w", s.Key, err)
		}
	}
	return nil
}

// unobserved is a run that nobody watches here.
type unobserved struct{}

func (unobserved) Event(record.Event)                 {}
func (unobserved) Line(string, string, int64, []byte) {}
