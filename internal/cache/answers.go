package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Reading is a step that uses a path.
type Reading struct {
	Writer Writer       // of the step's newest record
	Uses   []record.Use // of the path, or of all below it, each once, sorted
	Path   string       // the first that matched, as the step saw it
	Paths  int          // how many matched
	Last   time.Time    // when the step last ran
}

// Readers are the steps that use a path, by their newest records, sorted by
// repository, pipeline, job and step. The path is absolute, or relative to
// whatever workspace a step had; a directory stands for all below it. Records
// that cannot be read are left out.
func (c *Cache) Readers(ctx context.Context, name string) ([]Reading, error) {
	name = path.Clean(name)
	var mu sync.Mutex
	var found []Reading
	err := c.newest(ctx, func(head) bool { return true }, func(h head, inputs columns) error {
		want := name
		if !path.IsAbs(want) {
			want = path.Join(h.dirs.Workspace, want)
		}
		r := Reading{Writer: h.writer, Last: h.writer.Time}
		var uses [record.UseKind + 1]bool
		last := ""
		err := inputs.scan(func(at []byte, use record.Use) bool {
			if len(at) < len(want) || string(at[:len(want)]) != want {
				return string(at) < want // rows are in order
			}
			if len(at) > len(want) && want != "/" && at[len(want)] != '/' {
				return true
			}
			if last != string(at) {
				last = string(at)
				if r.Paths++; r.Paths == 1 {
					r.Path = last
				}
			}
			uses[min(use, record.UseKind)] = true
			return true
		})
		if err != nil || r.Paths == 0 {
			return err
		}
		for use, used := range uses {
			if used {
				r.Uses = append(r.Uses, record.Use(use))
			}
		}
		mu.Lock()
		found = append(found, r)
		mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cache: readers of %s: %w", name, err)
	}
	slices.SortFunc(found, func(a, b Reading) int { return byStep(&a.Writer, &b.Writer) })
	return found, nil
}

// Changed is a path that a change touches. A directory that a change makes or
// removes is one of its own, beside the files in it.
type Changed struct {
	Path           string // slash path in the workspace
	Added, Removed bool   // else it is changed
}

// Touched is a step, and what decides that a change would make it run.
type Touched struct {
	Writer Writer        // of the step's newest record
	Path   string        // of the change; "" when the step is not touched
	Use    record.Use    // of the path, of a directory that it is in ([record.UseListed]), or of one that it makes ([record.UseAbsent])
	Took   time.Duration // when it ran
}

// Affected are the steps of a repository, "" for all, that a change touches,
// by their newest records: those that use a path of it, that looked in vain
// for one that is added, or that listed a directory where one is added or
// removed. With each comes the first of the paths that touches it. The rest
// are the steps that are known and would be reused. Both are sorted by
// pipeline, job and step.
func (c *Cache) Affected(ctx context.Context, repository string, changed []Changed) (touched, rest []Touched, err error) {
	asked := questions(changed)
	var mu sync.Mutex
	mine := func(h head) bool { return repository == "" || h.writer.Repository == repository }
	err = c.newest(ctx, mine, func(h head, inputs columns) error {
		t := Touched{Writer: h.writer, Took: h.took}
		first := len(changed)
		dir := h.dirs.Workspace
		err := inputs.scan(func(at []byte, use record.Use) bool {
			if dir == "" {
				return false
			}
			if len(at) < len(dir) || string(at[:len(dir)]) != dir {
				return string(at) < dir
			}
			inside := at[len(dir):]
			switch {
			case len(inside) == 0:
				inside = []byte(".")
			case inside[0] != '/':
				return true
			default:
				inside = inside[1:]
			}
			if i, ok := asked[question{string(inside), kindOfUse(use)}]; ok && i < first {
				first, t.Path, t.Use = i, changed[i].Path, use
			}
			return true
		})
		if err != nil {
			return err
		}
		mu.Lock()
		if first < len(changed) {
			touched = append(touched, t)
		} else {
			rest = append(rest, t)
		}
		mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cache: find the steps that a change touches: %w", err)
	}
	order := func(a, b Touched) int { return byStep(&a.Writer, &b.Writer) }
	slices.SortFunc(touched, order)
	slices.SortFunc(rest, order)
	return touched, rest, nil
}

// question is a path and a way of using it that a change would be noticed by.
type question struct {
	path string
	use  record.Use // UseAbsent, UseListed, or UseContent for all other uses
}

func kindOfUse(u record.Use) record.Use {
	if u == record.UseAbsent || u == record.UseListed {
		return u
	}
	return record.UseContent
}

// questions are all by which changes would be noticed, each with the first of
// the changes.
func questions(changed []Changed) map[question]int {
	asked := make(map[question]int, 2*len(changed))
	ask := func(p string, use record.Use, i int) {
		if _, ok := asked[question{p, use}]; !ok {
			asked[question{p, use}] = i
		}
	}
	for i, ch := range changed {
		p := path.Clean(strings.TrimPrefix(ch.Path, "/"))
		ask(p, record.UseContent, i)
		if ch.Added || ch.Removed {
			ask(path.Dir(p), record.UseListed, i)
		}
		if !ch.Removed {
			for ; p != "."; p = path.Dir(p) {
				ask(p, record.UseAbsent, i)
			}
		}
	}
	return asked
}

// stepOf is what a step is known by from run to run.
type stepOf struct{ repository, pipeline, job, step string }

func byStep(a, b *Writer) int {
	return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Pipeline, b.Pipeline),
		cmp.Compare(a.Job, b.Job), cmp.Compare(a.Step, b.Step))
}

// newest calls each with the newest record of every step whose head is wanted,
// from several goroutines. What cannot be read is left out, and then an older
// record of the step does not stand in for it.
func (c *Cache) newest(ctx context.Context, want func(head) bool, each func(head, columns) error) error {
	type place struct {
		path string
		sum  [32]byte
		time time.Time
	}
	var mu sync.Mutex
	at := map[stepOf]place{}
	err := c.visit(ctx, func(path string, s *shelf, err error) {
		if err != nil {
			return
		}
		for i, e := range s.entries {
			h, err := s.head(i)
			if err != nil || !want(h) {
				continue
			}
			w := &h.writer
			step := stepOf{w.Repository, w.Pipeline, w.Job, w.Step}
			mu.Lock()
			if known, ok := at[step]; !ok || w.Time.After(known.time) {
				at[step] = place{path, e.sum, w.Time}
			}
			mu.Unlock()
		}
	})
	if err != nil {
		return err
	}
	places := make([]place, 0, len(at))
	for _, p := range at {
		places = append(places, p)
	}
	var failed error
	err = inParallel(ctx, len(places), func(i int) {
		err := c.scanRecord(places[i].path, places[i].sum, each)
		if err != nil && !errors.Is(err, errDamaged) {
			mu.Lock()
			failed = firstError(failed, err)
			mu.Unlock()
		}
	})
	return firstError(failed, err)
}

// scanRecord hands over the inputs of a record, unless it is gone.
func (c *Cache) scanRecord(path string, sum [32]byte, each func(head, columns) error) error {
	s, err := c.openShelf(path)
	if err != nil {
		return nil // it was there a moment ago
	}
	defer s.close()
	i := slices.IndexFunc(s.entries, func(e entry) bool { return e.sum == sum })
	if i < 0 {
		return nil
	}
	b, err := s.body(i)
	if err != nil {
		return err
	}
	h, rest, err := decodeWhole(b)
	if err != nil {
		return err
	}
	inputs, err := splitTable(rest)
	if err == nil {
		err = each(h, inputs)
	}
	if errors.Is(err, errTable) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}
