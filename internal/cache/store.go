package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// The directory of a cache:
//
//	steps/a/bcdef….local   a shelf: the newest records of one key in one scope
//	steps/a/.lock          held while a shelf of the directory is changed
//	condemned/abcdef…      why a key may not be reused
//	facts/…                digests of files, see facts.go
//	habits                 what watching was worth, see habit.go
//
// The sixteen directories are few because making a file or a directory is what
// costs most of keeping a record.
//
// A shelf is read with three system calls, without a lock, and is only ever
// replaced as a whole, so that a reader and a crash see the old one or the new
// one. Nothing is forced to the disk: what a power failure damages is a miss.

// keptRecords is how many records of a key and scope are kept, keptBytes how
// big they may be together; the newest stays whatever its size.
const (
	keptRecords = 8
	keptBytes   = 64 << 20
)

// Options are for [Open].
type Options struct {
	Dir   string     // of records, facts and habits; made when first written
	Blobs blob.Store // for outputs and logs
}

// Cache keeps records, facts and habits in a directory. Its methods may be
// called by many goroutines, and many processes may use one directory.
type Cache struct {
	dir    string
	blobs  blob.Store
	facts  *Facts
	habits habits
	reads  sync.Pool // of *shelf

	seen memory // what look-ups have seen; see view.go
}

// Open returns the cache in a directory. It reads nothing yet.
func Open(o Options) (*Cache, error) {
	if o.Dir == "" {
		return nil, errors.New("cache: no directory was given")
	}
	c := &Cache{dir: o.Dir, blobs: o.Blobs, facts: newFacts(filepath.Join(o.Dir, "facts"), time.Now)}
	c.habits.path = filepath.Join(o.Dir, "habits")
	return c, nil
}

// Flush writes facts and habits, if they have changed: what [Cache.Close] does
// at the end, for those who go on for long.
func (c *Cache) Flush() error {
	if err := errors.Join(c.facts.save(), c.habits.save(time.Now())); err != nil {
		return fmt.Errorf("cache: save what was learned: %w", err)
	}
	return nil
}

// Close saves facts and habits, if they have changed. The cache is not used
// afterwards.
func (c *Cache) Close() error {
	err := c.Flush()
	c.facts.close()
	return err
}

// Blobs is where outputs and logs are.
func (c *Cache) Blobs() blob.Store { return c.blobs }

// Records are the records of a key in the order of scopes, and newest first,
// at most eight of each. Errors tell of those that could not be read.
func (c *Cache) Records(ctx context.Context, k Key, read []Scope) (records []*Record, problems []error) {
	for r, err := range c.Each(ctx, k, read) {
		if err != nil {
			problems = append(problems, err)
			continue
		}
		records = append(records, r)
	}
	return records, problems
}

// Each yields what [Cache.Records] returns one by one, and reads each when it
// is asked for: when the first one fits, the others cost nothing. An error
// stands for a record that could not be read; others may follow.
func (c *Cache) Each(ctx context.Context, k Key, read []Scope) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for i, scope := range read {
			if slices.Contains(read[:i], scope) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !c.eachOf(k, scope, yield) {
				return
			}
		}
	}
}

func (c *Cache) eachOf(k Key, scope Scope, yield func(*Record, error) bool) bool {
	path, err := c.shelfPath(k, scope)
	if err != nil {
		return yield(nil, err)
	}
	return c.allOf(path, yield)
}

// Add keeps a record. One with the same inputs in the same scope is replaced;
// of a key and scope the newest eight are kept. The error tells what is wrong
// with the record, or that it could not be written, as on a full disk.
func (c *Cache) Add(ctx context.Context, r *Record) error {
	if err := c.add(ctx, r); err != nil {
		return fmt.Errorf("cache: keep step %s of job %s: %w", r.Writer.Step, r.Writer.Job, err)
	}
	return nil
}

func (c *Cache) add(ctx context.Context, r *Record) error {
	path, err := c.shelfPath(r.Key, r.Writer.Scope)
	if err != nil {
		return err
	}
	b, err := encode(r)
	if err != nil {
		return err
	}
	e := entry{size: int64(len(b)), inputs: inputsOf(r), sum: sumOf(b)}
	unlock, err := lockShard(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	entries, bodies, total := []entry{e}, [][]byte{b}, e.size
	old, err := c.openShelf(path)
	if err == nil {
		defer old.close()
		for i, o := range old.entries {
			if o.inputs == e.inputs {
				continue
			}
			if total += o.size; total > keptBytes || len(entries) == keptRecords {
				break
			}
			body, err := old.body(i)
			if err != nil {
				continue // damaged: it is not carried on
			}
			entries, bodies = append(entries, o), append(bodies, body)
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDamaged) {
		return err
	}
	return writeShelf(path, entries, bodies)
}

// Drop removes a record, as when its blobs are gone. Of one that has been
// replaced nothing is left to remove.
func (c *Cache) Drop(r *Record) error {
	path, err := c.shelfPath(r.Key, r.Writer.Scope)
	if err != nil {
		return fmt.Errorf("cache: drop a record: %w", err)
	}
	b, err := encode(r)
	if err != nil {
		return fmt.Errorf("cache: drop a record: %w", err)
	}
	sum := sumOf(b)
	_, err = c.prune(context.Background(), path, func(_ *shelf, e entry, _ int) bool { return e.sum == sum })
	if err != nil {
		return fmt.Errorf("cache: drop a record: %w", err)
	}
	return nil
}

// prune removes those records of a shelf that drop chooses, and the shelf if
// it cannot be read at all.
func (c *Cache) prune(ctx context.Context, path string, drop func(s *shelf, e entry, i int) bool) (dropped int, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	unlock, err := lockShard(ctx, filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer unlock()
	s, err := c.openShelf(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case errors.Is(err, errDamaged):
		return 1, os.Remove(path)
	case err != nil:
		return 0, err
	}
	defer s.close()
	var entries []entry
	var bodies [][]byte
	for i, e := range s.entries {
		if drop(s, e, i) {
			continue
		}
		body, err := s.body(i)
		if err != nil {
			continue
		}
		entries, bodies = append(entries, e), append(bodies, body)
	}
	dropped = len(s.entries) - len(entries)
	switch {
	case dropped == 0:
		return 0, nil
	case len(entries) == 0:
		return dropped, os.Remove(path)
	}
	return dropped, writeShelf(path, entries, bodies)
}

// Condemn keeps a key from being reused, in every scope, until it is pardoned.
func (c *Cache) Condemn(k Key, why string) error {
	if !k.valid() {
		return fmt.Errorf("cache: condemn: %.80q is not a key", string(k))
	}
	if why == "" {
		return fmt.Errorf("cache: condemn %.12s: no reason was given", k)
	}
	dir := filepath.Join(c.dir, "condemned")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cache: condemn %.12s: %w", k, err)
	}
	if err := replaceFile(filepath.Join(dir, string(k)), []byte(why)); err != nil {
		return fmt.Errorf("cache: condemn %.12s: %w", k, err)
	}
	return nil
}

// Condemned says why the key may not be reused, "" when it may. What cannot
// be read condemns.
func (c *Cache) Condemned(k Key) (why string) {
	if !k.valid() {
		return fmt.Sprintf("%.80q is not a key", string(k))
	}
	b, err := readFile(filepath.Join(c.dir, "condemned", string(k)), maxWhy)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return err.Error()
	case len(b) == 0:
		return "it was condemned, and the reason is lost"
	}
	return string(b)
}

const maxWhy = 64 << 10

// Pardon undoes [Cache.Condemn]. A key that was not condemned stays so.
func (c *Cache) Pardon(k Key) error {
	if !k.valid() {
		return fmt.Errorf("cache: pardon: %.80q is not a key", string(k))
	}
	err := os.Remove(filepath.Join(c.dir, "condemned", string(k)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cache: pardon %.12s: %w", k, err)
	}
	return nil
}

// Distrust drops all records that a run wrote, in every scope, and says how
// many they were. When it fails on some, it goes on with the others.
func (c *Cache) Distrust(ctx context.Context, run string) (records int, err error) {
	wrote := func(s *shelf, i int) bool {
		h, err := s.head(i)
		return err == nil && h.writer.Run == run
	}
	var mu sync.Mutex
	var failed []error
	err = c.visit(ctx, func(path string, s *shelf, err error) {
		if err != nil {
			return // damaged: nobody can read it, whoever wrote it
		}
		for i := range s.entries {
			if !wrote(s, i) {
				continue
			}
			n, err := c.prune(ctx, path, func(s *shelf, _ entry, i int) bool { return wrote(s, i) })
			mu.Lock()
			records += n
			if err != nil {
				failed = append(failed, err)
			}
			mu.Unlock()
			return
		}
	})
	if err = errors.Join(append(failed, err)...); err != nil {
		err = fmt.Errorf("cache: distrust run %s: %w", run, err)
	}
	return records, err
}

// All yields every record, the newest of a key and scope first, otherwise in
// no particular order. An error stands for a record that could not be read;
// others may follow.
func (c *Cache) All(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		paths, err := c.shelves()
		if err != nil {
			yield(nil, fmt.Errorf("cache: %w", err))
			return
		}
		for _, path := range paths {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !c.allOf(path, yield) {
				return
			}
		}
	}
}

// allOf are the records of a shelf, the newest first.
func (c *Cache) allOf(path string, yield func(*Record, error) bool) bool {
	s, err := c.openShelf(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(nil, err)
	}
	defer s.close()
	for i := range s.entries {
		if !yield(s.record(i)) {
			return false
		}
	}
	return true
}

// References are the blobs that records refer to: outputs, link targets, logs
// and artifacts. Records that cannot be read refer to nothing. On an error the
// answer is not whole, and nothing may be deleted by it.
func (c *Cache) References(ctx context.Context) (map[blob.Digest]bool, error) {
	var mu sync.Mutex
	all := map[blob.Digest]bool{}
	var failed error
	err := c.visit(ctx, func(path string, s *shelf, err error) {
		if err != nil {
			if !errors.Is(err, errDamaged) {
				mu.Lock()
				failed = firstError(failed, err)
				mu.Unlock()
			}
			return
		}
		for i := range s.entries {
			r, err := s.record(i)
			mu.Lock()
			switch {
			case err == nil:
				for d := range references(r) {
					all[d] = true
				}
			case !errors.Is(err, errDamaged):
				failed = firstError(failed, err)
			}
			mu.Unlock()
		}
	})
	if err = firstError(failed, err); err != nil {
		return all, fmt.Errorf("cache: find the blobs in use: %w", err)
	}
	return all, nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// references yields the blobs of a record; one may come twice.
func references(r *Record) iter.Seq[blob.Digest] {
	return func(yield func(blob.Digest) bool) {
		if r.Log != "" && !yield(r.Log) {
			return
		}
		for i := range r.Outputs {
			o := &r.Outputs[i]
			if (o.Kind == record.Regular || o.Kind == record.Symlink) && !yield(blob.FromSum(o.Digest[:])) {
				return
			}
		}
		for _, a := range r.Effects.Artifacts {
			if d := blob.Digest(a.Digest); d.Valid() && !yield(d) {
				return
			}
		}
	}
}

// Usage is how much is kept.
type Usage struct {
	Records        int
	Bytes          int64 // of records, without their blobs
	Facts          int64 // bytes of remembered digests
	Oldest, Newest time.Time
	Repositories   []RepositoryUsage // the biggest first
}

// RepositoryUsage is how much is kept of one repository.
type RepositoryUsage struct {
	Repository     string
	Records        int
	Bytes          int64
	Oldest, Newest time.Time
}

// Usage says how much is kept. Damaged records do not count.
func (c *Cache) Usage(ctx context.Context) (Usage, error) {
	var mu sync.Mutex
	var u Usage
	by := map[string]*RepositoryUsage{}
	err := c.visit(ctx, func(_ string, s *shelf, err error) {
		if err != nil {
			return
		}
		for i, e := range s.entries {
			h, err := s.head(i)
			if err != nil {
				continue
			}
			mu.Lock()
			r := by[h.writer.Repository]
			if r == nil {
				r = &RepositoryUsage{Repository: h.writer.Repository}
				by[r.Repository] = r
			}
			r.Records++
			r.Bytes += e.size
			r.Oldest, r.Newest = spread(r.Oldest, r.Newest, h.writer.Time)
			mu.Unlock()
		}
	})
	if err != nil {
		return Usage{}, fmt.Errorf("cache: measure: %w", err)
	}
	for _, r := range by {
		u.Records += r.Records
		u.Bytes += r.Bytes
		u.Oldest, u.Newest = spread(u.Oldest, u.Newest, r.Oldest)
		u.Oldest, u.Newest = spread(u.Oldest, u.Newest, r.Newest)
		u.Repositories = append(u.Repositories, *r)
	}
	slices.SortFunc(u.Repositories, func(a, b RepositoryUsage) int {
		if a.Bytes != b.Bytes {
			return int(b.Bytes - a.Bytes)
		}
		return strings.Compare(a.Repository, b.Repository)
	})
	if u.Facts, err = c.facts.size(); err != nil {
		return Usage{}, fmt.Errorf("cache: measure: %w", err)
	}
	return u, nil
}

func spread(oldest, newest, t time.Time) (time.Time, time.Time) {
	if oldest.IsZero() || t.Before(oldest) {
		oldest = t
	}
	if t.After(newest) {
		newest = t
	}
	return oldest, newest
}

// Checked is what [Cache.Check] found.
type Checked struct {
	Records  int     // that are whole
	Damaged  int     // dropped: they cannot be read
	Lacking  int     // dropped: a blob of theirs is gone
	Problems []error // the first hundred
}

const maxProblems = 100

// Check reads every record and drops those that are damaged or lack a blob.
// Blobs are asked for, not read.
func (c *Cache) Check(ctx context.Context) (Checked, error) {
	var mu sync.Mutex
	var found Checked
	var failed error
	note := func(count *int, n int, problem error) {
		mu.Lock()
		*count += n
		if len(found.Problems) < maxProblems {
			found.Problems = append(found.Problems, problem)
		}
		mu.Unlock()
	}
	fail := func(err error) {
		mu.Lock()
		failed = firstError(failed, err)
		mu.Unlock()
	}
	err := c.visit(ctx, func(path string, s *shelf, err error) {
		bad := map[[32]byte]bool{}
		if err == nil {
			for i, e := range s.entries {
				r, err := s.record(i)
				switch {
				case errors.Is(err, errDamaged):
					bad[e.sum] = true
					note(&found.Damaged, 1, err)
					continue
				case err != nil:
					fail(err)
					continue
				}
				missing, err := c.lacking(ctx, r)
				switch {
				case err != nil:
					fail(err)
				case missing != "":
					bad[e.sum] = true
					note(&found.Lacking, 1, fmt.Errorf("step %s of job %s in run %s: blob %s is gone", r.Writer.Step, r.Writer.Job, r.Writer.Run, missing))
				default:
					mu.Lock()
					found.Records++
					mu.Unlock()
				}
			}
		} else if errors.Is(err, errDamaged) {
			note(&found.Damaged, 1, err)
		} else {
			fail(err)
			return
		}
		if err == nil && len(bad) == 0 {
			return
		}
		if _, err := c.prune(ctx, path, func(_ *shelf, e entry, _ int) bool { return bad[e.sum] }); err != nil {
			fail(err)
		}
	})
	if err = firstError(failed, err); err != nil {
		return found, fmt.Errorf("cache: check: %w", err)
	}
	return found, nil
}

// lacking is a blob that the record refers to and that is gone, or "".
func (c *Cache) lacking(ctx context.Context, r *Record) (blob.Digest, error) {
	if c.blobs == nil {
		return "", nil
	}
	missing, err := c.blobs.Missing(ctx, slices.Collect(references(r)))
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return missing[0], nil
}

// shelves lists all shelves.
func (c *Cache) shelves() ([]string, error) {
	top := c.dir + "/steps"
	shards, err := os.ReadDir(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	var all []string
	for _, shard := range shards {
		dir := top + "/" + shard.Name()
		files, err := os.ReadDir(dir)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue
			}
			return nil, fmt.Errorf("list records: %w", err)
		}
		for _, f := range files {
			hex, slug, _ := strings.Cut(f.Name(), ".")
			if Key(shard.Name()+hex).valid() && slug != "" && f.Type().IsRegular() {
				all = append(all, dir+"/"+f.Name())
			}
		}
	}
	return all, nil
}

// visit calls each for every shelf, from several goroutines; with an error for
// one that cannot be opened. The shelf is closed when each has returned.
func (c *Cache) visit(ctx context.Context, each func(path string, s *shelf, err error)) error {
	paths, err := c.shelves()
	if err != nil {
		return err
	}
	return inParallel(ctx, len(paths), func(i int) {
		s, err := c.openShelf(paths[i])
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			defer s.close()
		}
		each(paths[i], s, err)
	})
}

// inParallel calls do for 0 to n-1, from as many goroutines as there are
// processors, until ctx ends.
func inParallel(ctx context.Context, n int, do func(i int)) error {
	workers := min(runtime.GOMAXPROCS(0), n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	var err error
	for i := 0; i < n && err == nil; i++ {
		if err = ctx.Err(); err != nil {
			break // select would choose by chance where somebody waits for work
		}
		select {
		case next <- i:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(next)
	wg.Wait()
	return err
}
