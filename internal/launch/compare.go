package launch

import (
	"context"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// maxComparedFiles is how many files of a change are recorded with a run that failed. Of
// a larger change nobody can say that a failure is not its fault.
const maxComparedFiles = 5000

// compare finds out what a run's change does to which files, while the run goes on. It
// has to begin with the run: later its tree may hold something else. The function that it
// returns waits for the answer, which is nil when it is not known.
func compare(ctx context.Context, tree *workspace.Tree, c *plan.Change) func() *record.ChangeCompared {
	base := c.Before
	if c.BaseRef != "" {
		base = c.BaseRef
	}
	if base == "" && !c.Dirty {
		return func() *record.ChangeCompared { return nil }
	}
	found := make(chan *record.ChangeCompared, 1)
	go func() {
		defer close(found)
		all, known, err := tree.Differences(ctx, base)
		if err != nil || !known || len(all) == 0 || len(all) > maxComparedFiles {
			return
		}
		b := &record.ChangeCompared{Base: base, Files: make([]record.ChangedFile, len(all))}
		for i, d := range all {
			b.Files[i] = record.ChangedFile{Path: d.Path, Made: d.Added || d.Removed}
		}
		found <- b
	}()
	return func() *record.ChangeCompared { return <-found }
}

// compared puts what a run's change touches before the end of a run that ended badly.
type compared struct {
	engine.Record
	run    string
	change func() *record.ChangeCompared
}

func (r *compared) Append(ctx context.Context, events ...record.Event) ([]record.Event, error) {
	for _, e := range events {
		b, ok := e.Body.(*record.RunFinished)
		if !ok || !b.Verdict.Bad() {
			continue
		}
		if c := r.change(); c != nil {
			if _, err := r.Record.Append(ctx, record.Event{Run: r.run, Body: c}); err != nil {
				return nil, err
			}
		}
	}
	return r.Record.Append(ctx, events...)
}
