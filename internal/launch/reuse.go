package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// policy is what a project declares about reuse, in the cache's words.
func policy(f *project.File) *cache.Policy {
	p := &cache.Policy{Zones: f.Reuse.Zones}
	for _, s := range f.Reuse.Steps {
		p.Rules = append(p.Rules, cache.MatchedRule{Match: s.Match, Rule: cache.Rule{
			Never: s.Never, Network: cache.Network(s.Network), MaxAge: s.MaxAge, Zones: s.Zones,
		}})
	}
	return p
}

// reuse is what lets the steps of a run be reused, and how many bytes their
// outputs may take; nil when they shall not.
func (l *Launcher) reuse(s *start) (*engine.Reuse, int64, error) {
	if l.Cache == nil || s.settings.NoReuse {
		return nil, 0, nil
	}
	file, problems, err := project.Read(s.tree.FS())
	if err != nil {
		return nil, 0, fmt.Errorf("read the project's file: %w", err)
	}
	if plan.Errors(problems) {
		// It was whole when the run was planned; a run without reuse is right
		// in any case.
		return nil, 0, nil
	}
	r := &engine.Reuse{
		Cache: l.Cache, Policy: policy(file), Scopes: scopes(s.origin, s.change), Version: l.Version,
		Repository: s.change.Repository, Root: s.tree.Root(), Verify: s.settings.Verify,
	}
	if !s.settings.InPlace {
		r.Tree = func(ctx context.Context) (cache.Tree, error) { return s.tree.Paper(ctx, s.id) }
		r.Places = func() []plan.Dirs { return l.Slots.Places(s.tree) }
	}
	return r, cacheSize(file), nil
}

func cacheSize(f *project.File) int64 { return cmp.Or(f.Reuse.Size, project.DefaultSize) }

// CacheSize is how many bytes the outputs of steps may take, by the tree's
// fairlead.yaml or by default.
func CacheSize(tree fs.FS) (int64, error) {
	file, problems, err := project.Read(tree)
	if err != nil {
		return 0, fmt.Errorf("read the project's file: %w", err)
	}
	if plan.Errors(problems) {
		file = new(project.File)
	}
	return cacheSize(file), nil
}

// Collected is what CollectCache removed.
type Collected struct {
	Files   blob.Collected `json:"files"`
	Records int            `json:"records"` // dropped, because files of theirs are gone
}

// CollectCache removes the outputs of steps that were not used for longest, if
// there are more than limit bytes, and the records that referred to them.
func (l *Launcher) CollectCache(ctx context.Context, limit int64) (c Collected, err error) {
	if c.Files, err = l.Outputs.Collect(ctx, nil, limit); err != nil || c.Files.Removed.Blobs == 0 {
		return c, err
	}
	checked, err := l.Cache.Check(ctx)
	c.Records = checked.Damaged + checked.Lacking
	return c, err
}

// settleCache keeps what was learned in a run, and what is kept within its
// limit. A failure to do so is nobody's: the next run tries again.
func (l *Launcher) settleCache(ctx context.Context, limit int64) {
	_ = l.Cache.Flush()
	if u, err := l.Outputs.Usage(ctx); err == nil && u.Bytes > limit {
		_, _ = l.CollectCache(ctx, limit)
	}
}

// claim is an opening in the words of slots.
func claim(want engine.Opening, run string) workspace.Claim {
	paper, _ := want.Tree.(*workspace.Paper)
	return workspace.Claim{Job: want.Job, Run: run, At: want.At, Paper: paper}
}

// elsewhere tells the engine of openings that can be had otherwise.
func elsewhere(err error) error {
	if errors.Is(err, workspace.ErrTaken) || errors.Is(err, workspace.ErrMoved) {
		return fmt.Errorf("%w: %w", engine.ErrElsewhere, err)
	}
	return err
}

// jobLog is a job's log while it is written.
type jobLog struct {
	*logs.Writer
	path string
}

// Text implements [engine.Log]. It reads as much as the caller does.
func (l jobLog) Text(step string, from, to int64) (io.ReadCloser, error) {
	r, err := logs.Open(l.path)
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	go func() {
		var line []byte
		err := r.Read(from, func(x logs.Line) bool {
			if x.N >= to {
				return false
			}
			if x.Step != step {
				return true
			}
			line = append(append(line[:0], x.Text...), '\n')
			_, err := in.Write(line)
			return err == nil
		})
		in.CloseWithError(errors.Join(err, r.Close()))
	}()
	return out, nil
}

// OpenLog opens the log of a job of a run. That of a job that was reused as a
// whole is written when it is first asked for: until then it is in the cache.
// The error is an fs.ErrNotExist when the job has no log.
func (l *Launcher) OpenLog(ctx context.Context, run string, j *record.JobRun) (*logs.Reader, error) {
	path := l.LogPath(run, j.ID)
	r, err := logs.Open(path)
	if !errors.Is(err, fs.ErrNotExist) || l.Cache == nil || j.State != record.Finished || !slices.ContainsFunc(j.Steps, printedBefore) {
		return r, err
	}
	if werr := l.writeLog(ctx, path, j); werr != nil {
		return nil, fmt.Errorf("bring the log of job %s from the cache: %w", j.ID, werr)
	}
	return logs.Open(path)
}

// printedBefore reports whether what a step printed is in the cache.
func printedBefore(s *record.StepRun) bool {
	return s.Finished != nil && s.Finished.Reuse != nil && s.Finished.Reuse.Log != ""
}

// writeLog makes the log of a reused job from what its steps printed when they
// ran.
func (l *Launcher) writeLog(ctx context.Context, path string, j *record.JobRun) error {
	// A run of which all was reused has no directory yet.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Dir(path)), "log-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	whole := filepath.Join(dir, "log")
	w, err := logs.Create(whole)
	if err != nil {
		return err
	}
	for _, s := range j.Steps {
		if !printedBefore(s) {
			continue
		}
		if err := l.reprint(ctx, w, s); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.Rename(whole, path)
}

// printer takes lines of a log.
type printer interface {
	Line(step string, at time.Time, text []byte) (int64, error)
}

func (l *Launcher) reprint(ctx context.Context, w printer, s *record.StepRun) error {
	line := func(text []byte) error {
		_, err := w.Line(s.Key, s.Ended, text)
		return err
	}
	err := l.Cache.Printed(ctx, blob.Digest(s.Finished.Reuse.Log), line)
	if !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	// The lines keep their numbers.
	gone := "(what this step printed has been evicted from the cache)"
	if from := s.Finished.Reuse.From; from != nil {
		gone = fmt.Sprintf("(what this step printed has been evicted from the cache: fairlead logs %s %s)", from.Run, from.Job)
	}
	for range s.Finished.Reuse.Lines {
		if err := line([]byte(gone)); err != nil {
			return err
		}
		gone = ""
	}
	return nil
}
