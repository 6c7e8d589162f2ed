package cache

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// scene is a cache and a job's directories, in which tests play steps.
type scene struct {
	inPlace bool
	t       testing.TB
	c       *Cache
	dir     string // of all
	blobs   string // directory of the blob store
	dirs    plan.Dirs
	key     Key
	now     time.Time
	// elsewhere is a directory outside of all that a step may write to.
	elsewhere string
}

func newScene(t testing.TB) *scene {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{
		t: t, dir: dir, blobs: filepath.Join(dir, "blobs"), elsewhere: filepath.Join(dir, "elsewhere"),
		dirs: plan.Dirs{Workspace: filepath.Join(dir, "slot", "repo"), Temp: filepath.Join(dir, "slot", "_temp"), Tools: filepath.Join(dir, "tools")},
		key:  Meaning{Dir: dir}.Key(),
		now:  time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	for _, d := range []string{s.dirs.Workspace, s.dirs.Temp, s.elsewhere} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store, err := disk.OpenRelaxed(s.blobs)
	if err != nil {
		t.Fatal(err)
	}
	s.open(store)
	t.Cleanup(func() { // directories that cannot be searched stop TempDir's own
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
			if e != nil && e.IsDir() {
				os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return s
}

func (s *scene) open(store blob.Store) {
	c, err := Open(Options{Dir: filepath.Join(s.dir, "cache"), Blobs: store})
	if err != nil {
		s.t.Fatal(err)
	}
	s.c = c
	s.t.Cleanup(func() { c.Close() })
}

// path is that of a name: in the workspace, or after a prefix "temp:" or
// "out:" in the temporary directory or outside.
func (s *scene) path(name string) string {
	if rest, ok := strings.CutPrefix(name, "temp:"); ok {
		return filepath.Join(s.dirs.Temp, rest)
	}
	if rest, ok := strings.CutPrefix(name, "out:"); ok {
		return filepath.Join(s.elsewhere, rest)
	}
	return filepath.Join(s.dirs.Workspace, name)
}

func (s *scene) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) write(name, body string) {
	s.t.Helper()
	s.ok(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.ok(os.WriteFile(s.path(name), []byte(body), 0o644))
}

func (s *scene) mkdir(name string)        { s.t.Helper(); s.ok(os.MkdirAll(s.path(name), 0o755)) }
func (s *scene) link(target, name string) { s.t.Helper(); s.ok(os.Symlink(target, s.path(name))) }
func (s *scene) remove(name string)       { s.t.Helper(); s.ok(os.RemoveAll(s.path(name))) }
func (s *scene) chmod(name string, perm uint32) {
	s.t.Helper()
	s.ok(os.Chmod(s.path(name), fs.FileMode(perm)))
}

// state is what a path holds.
func state(t testing.TB, path string) record.FileState {
	t.Helper()
	h := onDisk(path)
	f := *h.state()
	switch f.Kind {
	case record.Regular:
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Digest = sha256.Sum256(b)
	case record.Symlink:
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Digest = sha256.Sum256([]byte(target))
	case record.Directory:
		f.Size = 0
	}
	return f
}

// input is a path as a step would be given it now.
func (s *scene) input(use record.Use, name string) record.Input {
	s.t.Helper()
	in := record.Input{Path: s.path(name), Use: use}
	switch use {
	case record.UseAbsent:
	case record.UseListed:
		entries, err := listOnDisk(in.Path)
		s.ok(err)
		in.FileState = record.FileState{Kind: record.Directory, Digest: record.Listing(entries)}
	default:
		in.FileState = state(s.t, in.Path)
	}
	return in
}

func (s *scene) snapshot() map[string]record.FileState {
	all := map[string]record.FileState{}
	for _, top := range []string{s.dirs.Workspace, s.dirs.Temp} {
		err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && path != top {
				all[path] = state(s.t, path)
			}
			return err
		})
		s.ok(err)
	}
	return all
}

// observe plays a step and tells what a tracer would tell of it.
func (s *scene) observe(step func(), inputs ...record.Input) *record.Observation {
	s.t.Helper()
	before := s.snapshot()
	step()
	after := s.snapshot()
	o := &record.Observation{Mechanism: "seccomp", Inputs: inputs, Wall: 3 * time.Second}
	slices.SortFunc(o.Inputs, byPathAndUse)
	for path, now := range after {
		was, there := before[path]
		if now.Kind == record.Directory && was.Kind == record.Directory {
			now.MTime = was.MTime // a directory whose names changed is no output
		}
		if was != now {
			o.Outputs = append(o.Outputs, record.Output{Path: path, FileState: now, Made: !there})
		}
	}
	for path := range before {
		if _, there := after[path]; !there {
			o.Outputs = append(o.Outputs, record.Output{Path: path})
		}
	}
	slices.SortFunc(o.Outputs, func(a, b record.Output) int { return strings.Compare(a.Path, b.Path) })
	for i := range o.Inputs {
		in := &o.Inputs[i]
		_, made := slices.BinarySearchFunc(o.Outputs, in.Path, func(o record.Output, p string) int { return strings.Compare(o.Path, p) })
		in.Own = in.Use == record.UseAbsent && made
	}
	return o
}

func (s *scene) saving(o *record.Observation) Saving {
	s.now = s.now.Add(time.Minute)
	return Saving{
		Key: s.key, Dirs: s.dirs, Observation: o, Script: "make",
		Writer: Writer{StepRef: record.StepRef{Run: "r1", Job: "build", Step: "2"}, Scope: "local", Time: s.now},
	}
}

// keep saves what must be kept.
func (s *scene) keep(saving Saving) *Record {
	s.t.Helper()
	p, bars, err := s.c.Save(s.t.Context(), saving)
	if err != nil || len(bars) > 0 {
		s.t.Fatalf("Save: bars %v, error %v", bars, err)
	}
	s.ok(p.Commit(s.t.Context()))
	return p.Record
}

// view is the job's. What lies outside of its directories really is outside:
// the temporary directory of tests is none of the machine's.
func (s *scene) view(tree Tree) *View {
	v := s.c.NewView(s.dirs, tree)
	v.shared = nil
	return v
}

func (s *scene) query(v *View) Query {
	return Query{Key: s.key, Stable: keyFor(1), Scopes: Local, View: v, Now: s.now.Add(time.Hour), InPlace: s.inPlace}
}

// lookup asks for the step as things are.
func (s *scene) lookup() Answer {
	s.t.Helper()
	return s.c.Lookup(s.t.Context(), s.query(s.view(nil)))
}

func (s *scene) wantHit() *Record {
	s.t.Helper()
	a := s.lookup()
	if a.Record == nil {
		s.t.Fatalf("no hit: %+v", a.Miss)
	}
	return a.Record
}

func (s *scene) wantMiss(why string) *record.Miss {
	s.t.Helper()
	a := s.lookup()
	if a.Record != nil || a.Miss == nil || a.Miss.Why != why {
		s.t.Fatalf("look-up = %v, %+v; want the miss %q", a.Record != nil, a.Miss, why)
	}
	return a.Miss
}

// fullDisk is a blob store that has no room.
type fullDisk struct{ blob.Store }

var errFull = errors.New("no space left on device")

// settle waits until files that were just written are old enough for their
// digests to be remembered: for benchmarks.
func settle() { time.Sleep(2 * settleTime) }
