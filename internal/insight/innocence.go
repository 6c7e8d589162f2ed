package insight

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Innocence says whether what failed in a step of a run can come from the files that a
// change touches (see [ChangedBy]), by what the step and those before it in its workspace
// were seen to do: see [suite.Innocent]. What is not known, or cannot be read any more,
// leaves nothing proven, and Why says so.
func Innocence(ctx context.Context, blobs blob.Store, r *record.Run, j *record.JobRun, s *record.StepRun, changed []suite.Changed) suite.Innocence {
	unproven := func(why string) suite.Innocence { return suite.Innocence{Why: why} }
	fin := s.Finished
	switch {
	case fin == nil || fin.Watched == nil || fin.Watched.Kept == "" || blobs == nil:
		return unproven("nobody watched what it read")
	case len(changed) == 0:
		return unproven("it is not known which files the change touches")
	case fin.Reuse != nil && slices.ContainsFunc(fin.Reuse.Barred, func(b record.Bar) bool { return b.Kind == record.BarHazard }):
		return unproven("a step at the same time touched the same files")
	}
	for _, need := range neededBy(r, j) {
		if n := r.Jobs[need]; n != nil && len(n.Outputs) > 0 {
			return unproven("it was given outputs of job " + need + ", which may be made of the change")
		}
	}
	scene := suite.Scene{Root: j.Started.Workspace, Changed: changed, Pipelines: recipes(r.Planned.Pipeline, changed)}
	kept := map[string]string{} // what is kept of earlier steps, "" for too little
	for _, e := range fin.Watched.Earlier {
		kept[e.Step] = e.Kept
	}
	after := false
	for _, o := range j.Steps {
		digest, counts := kept[o.Key]
		switch {
		case o == s:
			after = true
			continue
		case strings.HasPrefix(s.Key, o.Key+"."): // it is made of this one and others
			continue
		case o.Finished != nil && o.Finished.Outcome == plan.Skipped, !counts && o.Start.Script == "":
			continue // what runs no command and is not counted leaves the workspace alone
		case after && !o.Begun.Before(s.Ended):
			continue
		case after:
			return unproven("step " + o.Start.Name + " ran at the same time")
		}
		if o.Finished == nil || sets(&o.Finished.Effects) {
			scene.Told = append(scene.Told, len(scene.Earlier))
		}
		scene.Earlier = append(scene.Earlier, watched(ctx, blobs, digest))
	}
	if scene.Step = watched(ctx, blobs, fin.Watched.Kept); scene.Step == nil {
		return unproven("what it read is no longer kept")
	}
	return suite.Innocent(scene)
}

// ChangedBy are the files that a run's change touches; none when that is not known.
// Where it is not known what became of a file, it is taken for a new one, on which more
// can hang.
func ChangedBy(r *record.Run) (files []suite.Changed) {
	if c := r.Compared; c != nil {
		for _, f := range c.Files {
			files = append(files, suite.Changed{Path: f.Path, Made: f.Made})
		}
	} else if c := r.Planned.Change; c != nil && c.FilesKnown {
		for _, name := range c.Files {
			files = append(files, suite.Changed{Path: name, Made: true})
		}
	}
	return files
}

// sets reports whether a step left later ones something beside files.
func sets(fx *plan.Effects) bool {
	return len(fx.Env)+len(fx.Path)+len(fx.Outputs)+len(fx.State) > 0
}

// neededBy are the jobs that a job was given something of: those that it needs, or that
// one needs which became it.
func neededBy(r *record.Run, j *record.JobRun) []string {
	needs := slices.Clone(j.Needs)
	for range r.Order { // a damaged record may go in a circle
		if j = r.Jobs[j.Parent]; j == nil {
			break
		}
		needs = append(needs, j.Needs...)
	}
	return needs
}

// recipes are the files that say what the steps of a pipeline do: those that it was read
// from, and of the change those that look as if they did.
func recipes(p *plan.Pipeline, changed []suite.Changed) []string {
	files := []string{project.Name, p.File}
	for _, t := range p.Texts {
		if t.Commit == "" {
			files = append(files, t.Path)
		}
	}
	for i := range p.Jobs {
		files = append(files, p.Jobs[i].Source.File)
		for k := range p.Jobs[i].Steps {
			files = append(files, p.Jobs[i].Steps[k].Source.File)
		}
	}
	for _, c := range changed {
		base := path.Base(c.Path)
		yaml := strings.HasSuffix(base, ".yml") || strings.HasSuffix(base, ".yaml")
		if strings.HasPrefix(c.Path, ".github/") || strings.HasPrefix(c.Path, ".gitlab") || strings.HasPrefix(base, "action.y") || strings.Contains(base, "azure-pipelines") ||
			strings.Contains(base, "Jenkinsfile") || strings.HasSuffix(base, ".groovy") || yaml && p.Dialect != "github" { // other languages include files of any name
			files = append(files, c.Path)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// watched is what is kept of a step, nil when that is not all, or gone.
func watched(ctx context.Context, blobs blob.Store, digest string) *record.Observation {
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
