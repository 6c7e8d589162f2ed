package insight

import (
	"context"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Innocence says whether the failure of a step can come from the change that its run
// was of, see [suite.Innocent]. The run is as the record has it; blobs hold what its
// steps were seen to do. What is not known, or cannot be read any more, leaves nothing
// proven, and Why says so.
func Innocence(ctx context.Context, blobs blob.Store, run *record.Run, job, step string) suite.Innocence {
	j := run.Jobs[job]
	if j == nil || j.Step(step) == nil || run.Planned == nil {
		return suite.Innocence{Why: "there is no such step in the record"}
	}
	for _, id := range run.Order {
		if o := run.Jobs[id]; o != j && o.State == record.Finished && len(o.Outputs) > 0 && o.Ended.Before(j.Step(step).Begun) {
			return suite.Innocence{Why: "job " + o.Name + " handed on outputs, which may be made of the change"}
		}
	}
	scene := suite.Scene{Root: j.Started.Workspace, Changed: changed(run), Pipelines: recipes(run.Planned)}
	seen := func(digest string) *record.Observation {
		d, err := blob.Parse(digest)
		if err != nil {
			return nil
		}
		r, err := blobs.Open(ctx, d)
		if err != nil {
			return nil
		}
		defer r.Close()
		o, err := harvest.ReadObservation(r)
		if err != nil {
			return nil
		}
		return o
	}
	before := map[string]string{} // what is kept of earlier steps, "" for too little
	if fin := j.Step(step).Finished; fin != nil && fin.Watched != nil {
		scene.Step = seen(fin.Watched.Kept)
		for _, e := range fin.Watched.Earlier {
			before[e.Step] = e.Kept
		}
	}
	if scene.Step == nil || len(scene.Changed) == 0 {
		return suite.Innocent(scene) // which says why not
	}
	own, after := j.Step(step), false
	for _, s := range j.Steps {
		if s == own {
			scene.Pipelines = append(scene.Pipelines, s.Start.At.File)
			after = true
			continue
		}
		if after {
			if s.Begun.Before(own.Ended) && s.Start.Script != "" {
				return suite.Innocence{Why: "step " + s.Start.Name + " ran at the same time"}
			}
			continue
		}
		scene.Pipelines = append(scene.Pipelines, s.Start.At.File)
		if strings.HasPrefix(step, s.Key+".") {
			continue // it is made of this one and others
		}
		kept, counts := before[s.Key]
		if s.Finished != nil && s.Finished.Outcome == plan.Skipped || !counts && s.Start.Script == "" {
			continue // what runs no command and is not counted leaves the workspace alone
		}
		if s.Finished != nil {
			if fx := &s.Finished.Effects; len(fx.Env)+len(fx.Path)+len(fx.Outputs) > 0 {
				scene.Told = append(scene.Told, len(scene.Earlier))
			}
		}
		scene.Earlier = append(scene.Earlier, seen(kept))
	}
	return suite.Innocent(scene)
}

// changed are the files that a run's change touches; none when that is not known.
// Where it is not known what became of a file, it is taken for a new one, which more
// can depend on.
func changed(run *record.Run) (files []suite.Changed) {
	if c := run.Compared; c != nil {
		for _, f := range c.Files {
			files = append(files, suite.Changed{Path: f.Path, Made: f.Made})
		}
		return files
	}
	if c := run.Planned.Change; c != nil && c.FilesKnown {
		for _, path := range c.Files {
			files = append(files, suite.Changed{Path: path, Made: true})
		}
	}
	return files
}

// recipes are the files of the tree that say what a run does.
func recipes(p *record.RunPlanned) []string {
	files := []string{project.Name}
	if p.Pipeline != nil {
		files = append(files, p.Pipeline.File)
		for _, t := range p.Pipeline.Texts {
			if t.Commit == "" {
				files = append(files, t.Path)
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
