package trace

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// world is what a directory holds: paths relative to it.
type world map[string]file

// file is a file of a world.
type file struct {
	kind record.FileKind
	perm uint32
	data string // bytes, or a link's target
	twin string // another name of the same file
}

func text(data string) file               { return file{kind: record.Regular, perm: 0o644, data: data} }
func linkTo(target string) file           { return file{kind: record.Symlink, data: target} }
func dirs(t world, names ...string) world { return addDirs(t, names) }

func addDirs(t world, names []string) world {
	for _, name := range names {
		t[name] = file{kind: record.Directory, perm: 0o755}
	}
	return t
}

// plant makes dir hold t and nothing else.
func plant(t testing.TB, dir string, files world) {
	t.Helper()
	uproot(t, dir)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, path := files[name], filepath.Join(dir, name)
		if f.twin != "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := f.put(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range files {
		if f.twin != "" {
			if err := os.Link(filepath.Join(dir, f.twin), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func uproot(t testing.TB, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o755)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// put makes one file where nothing, or a directory for a directory, is.
func (f file) put(path string) error {
	switch f.kind {
	case record.Directory:
		if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		return unix.Chmod(path, f.perm)
	case record.Symlink:
		return os.Symlink(f.data, path)
	}
	if err := os.WriteFile(path, []byte(f.data), 0o600); err != nil {
		return err
	}
	return unix.Chmod(path, f.perm)
}

// harvestTree is what dir holds.
func harvestTree(t testing.TB, dir string) world {
	t.Helper()
	all := world{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		look, _ := lookAt(path)
		f := file{kind: look.Kind, perm: look.Perm}
		switch look.Kind {
		case record.Regular:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.data = string(b)
		case record.Symlink:
			f.data, f.perm = readlink(path), 0
		}
		rel, _ := filepath.Rel(dir, path)
		all[rel] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// state is what an input of a kind of use should be for a path, as far as
// world says it.
func (t world) state(name string, use record.Use) (record.FileState, bool) {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if t[dir].kind == record.Symlink {
			return record.FileState{}, false // the path leads elsewhere
		}
	}
	f := t[name]
	if f.twin != "" {
		f = t[f.twin]
	}
	s := record.FileState{Kind: f.kind, Perm: f.perm}
	switch use {
	case record.UseAbsent:
		return record.FileState{}, f.kind == record.Nothing
	case record.UseContent, record.UseExists:
		s.Size, s.Digest = int64(len(f.data)), sha256.Sum256([]byte(f.data))
		return s, f.kind == record.Regular
	case record.UseLink:
		s.Perm, s.Digest = 0, sha256.Sum256([]byte(f.data))
		return s, f.kind == record.Symlink
	case record.UseDir:
		return s, f.kind == record.Directory
	case record.UseKind:
		if s.Kind != record.Regular {
			s.Perm = 0
		}
		return s, true
	}
	var entries []record.Entry
	for other, f := range t {
		if other != "." && filepath.Dir(other) == name {
			if f.twin != "" {
				f = t[f.twin]
			}
			entries = append(entries, record.Entry{Name: filepath.Base(other), Kind: f.kind})
		}
	}
	s.Digest = record.Listing(entries)
	return s, f.kind == record.Directory
}

// replay makes of a world what it is after the outputs. Bytes are those of the
// world that the step left.
func (t world) replay(dir string, outputs []record.Output, left world) world {
	after := maps.Clone(t)
	for name, f := range after {
		if f.twin != "" { // outputs are restored as files of their own
			f.data, f.perm, f.kind, f.twin = t[f.twin].data, t[f.twin].perm, t[f.twin].kind, ""
			after[name] = f
		}
	}
	for _, o := range outputs {
		name, _ := filepath.Rel(dir, o.Path)
		if o.Kind == record.Nothing {
			delete(after, name)
			continue
		}
		f := file{kind: o.Kind, perm: o.Perm}
		if o.Kind != record.Directory {
			f.data = left[name].data
		}
		after[name] = f
	}
	return after
}

// actor does as a process does: each call is told to the ledger, and then
// carried out.
type actor struct {
	t   testing.TB
	l   *ledger
	dir string
}

func (a *actor) at(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return a.dir + "/" + name
}

func (a *actor) see(name string) error {
	var st unix.Stat_t
	a.l.see(a.at(name), true)
	return unix.Stat(a.at(name), &st)
}

func (a *actor) lsee(name string) error {
	a.l.see(a.at(name), false)
	_, err := os.Lstat(a.at(name))
	return err
}

func (a *actor) readlink(name string) (string, error) {
	a.l.readlink(a.at(name))
	return os.Readlink(a.at(name))
}

// open opens and hands the file to use, if there is one.
func (a *actor) open(name string, flags int, perm uint32, use func(*os.File)) error {
	a.l.open(a.at(name), flags, true)
	fd, err := unix.Open(a.at(name), flags|unix.O_CLOEXEC|unix.O_NONBLOCK, perm)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if use != nil {
		use(f)
	}
	return nil
}

func (a *actor) read(name string) (data string, err error) {
	err = a.open(name, unix.O_RDONLY, 0, func(f *os.File) {
		b, _ := io.ReadAll(f)
		data = string(b)
	})
	return data, err
}

func (a *actor) list(name string) (names []string, err error) {
	err = a.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0, func(f *os.File) {
		if at, err := filepath.EvalSymlinks(a.at(name)); err == nil {
			a.l.list(at)
		}
		entries, _ := f.ReadDir(-1)
		for _, e := range entries {
			names = append(names, e.Name()+":"+e.Type().String())
		}
		slices.Sort(names)
	})
	return names, err
}

func (a *actor) write(name, data string, flags int) error {
	return a.open(name, flags, 0o644, func(f *os.File) { f.WriteString(data) })
}

// put is how most programs write a file.
func (a *actor) put(name, data string) error {
	return a.write(name, data, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
}

func (a *actor) mkdir(name string) error {
	a.l.mkdir(a.at(name))
	return unix.Mkdir(a.at(name), 0o755)
}

func (a *actor) unlink(name string) error {
	a.l.remove(a.at(name), false)
	return unix.Unlink(a.at(name))
}

func (a *actor) rmdir(name string) error {
	a.l.remove(a.at(name), true)
	return unix.Rmdir(a.at(name))
}

func (a *actor) rename(from, to string) error {
	a.l.rename(a.at(from), a.at(to), 0)
	return unix.Rename(a.at(from), a.at(to))
}

func (a *actor) link(from, to string) error {
	a.l.link(a.at(from), a.at(to), false)
	return os.Link(a.at(from), a.at(to))
}

func (a *actor) symlink(target, name string) error {
	a.l.symlink(target, a.at(name))
	return unix.Symlink(target, a.at(name))
}

func (a *actor) chmod(name string, perm uint32) error {
	a.l.change(a.at(name), true)
	return unix.Chmod(a.at(name), perm)
}

func (a *actor) touch(name string) error {
	a.l.change(a.at(name), true)
	return unix.Utimes(a.at(name), []unix.Timeval{{Sec: 1e9}, {Sec: 1e9}})
}

func (a *actor) truncate(name string, size int64) error {
	a.l.truncate(a.at(name))
	return unix.Truncate(a.at(name), size)
}

// must is for steps of a story that cannot fail.
func (a *actor) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// newActor starts a step over a world.
func newActor(t testing.TB, dir string, s Spec) *actor {
	if s.Inside == nil {
		s.Inside = []string{dir}
	}
	return &actor{t: t, l: newLedger(s), dir: dir}
}

// realTemp is a temporary directory without links on the way.
func realTemp(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// check compares an observation with the truth: that inputs were so before
// the step, and that outputs make of what was before what is there after.
func check(t testing.TB, dir string, before world, o *record.Observation) {
	t.Helper()
	before = maps.Clone(before)
	before["."] = file{kind: record.Directory, perm: 0o755}
	for _, in := range o.Inputs {
		name, _ := filepath.Rel(dir, in.Path)
		if strings.HasPrefix(name, "..") {
			continue
		}
		want, ok := before.state(name, in.Use)
		got := in.FileState
		if got.MTime = 0; !ok || got != want {
			t.Errorf("input %s, use %d: %+v, but before the step it was %+v", name, in.Use, got, before[name])
		}
	}
	delete(before, ".")
	after := harvestTree(t, dir)
	if made := before.replay(dir, o.Outputs, after); !maps.Equal(made, after) {
		t.Errorf("outputs lead to\n%v\nbut the step left\n%v\noutputs: %+v", made, after, o.Outputs)
	}
	if !slices.IsSortedFunc(o.Inputs, func(a, b record.Input) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 || a.Use < b.Use {
			return c
		}
		return 1
	}) {
		t.Error("inputs are not sorted, or one is there twice")
	}
}

// tell writes an observation as lines.
func tell(dir string, o *record.Observation) string {
	var b strings.Builder
	words := map[record.Use]string{
		record.UseAbsent: "absent", record.UseExists: "exists", record.UseContent: "content",
		record.UseListed: "listed", record.UseLink: "link", record.UseDir: "dir", record.UseKind: "kind",
	}
	for _, in := range o.Inputs {
		if in.Path != dir && !strings.HasPrefix(in.Path, dir+"/") {
			continue
		}
		fmt.Fprintf(&b, "%s .%s", words[in.Use], strings.TrimPrefix(in.Path, dir))
		if in.Own {
			b.WriteString(" own")
		}
		b.WriteByte('\n')
	}
	kinds := [...]string{"nothing", "file", "dir", "link", "other"}
	for _, out := range o.Outputs {
		fmt.Fprintf(&b, "out %s .%s", kinds[out.Kind], strings.TrimPrefix(out.Path, dir))
		if out.Made {
			b.WriteString(" made")
		}
		b.WriteByte('\n')
	}
	for _, bar := range o.Barred {
		fmt.Fprintf(&b, "bar %s %s\n", bar.Kind, strings.ReplaceAll(bar.Detail, dir, "."))
	}
	return b.String()
}
