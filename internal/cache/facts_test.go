package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

func sha(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// lookAt is what stat says of a file.
func lookAt(t testing.TB, path string) record.Look {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return trace.LookOf(&st)
}

// clock tells a time that tests set, as an offset from now.
type clock struct{ offset time.Duration }

func (c *clock) now() time.Time { return time.Now().Add(c.offset) }

// later is a clock by which all files have been left alone for long.
func later() *clock { return &clock{10 * time.Minute} }

func write(t testing.TB, path, body string) record.Look {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return lookAt(t, path)
}

func TestDigest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFacts(filepath.Join(dir, "facts"), later().now)
	for _, n := range []int{0, 1, 4096, 128<<10 - 1, 128 << 10, 128<<10 + 1, 1 << 20} {
		body := string(bytes.Repeat([]byte("x"), n))
		path := filepath.Join(dir, fmt.Sprint(n))
		look := write(t, path, body)
		if _, ok := f.Known(path, look); ok {
			t.Errorf("%d bytes are known before they were read", n)
		}
		d, err := f.Digest(path, look)
		if err != nil || d != sha(body) {
			t.Errorf("%d bytes: %x, %v", n, d, err)
		}
		if known, ok := f.Known(path, look); !ok || known != d {
			t.Errorf("%d bytes are not known", n)
		}
	}
}

func TestFactsCountOnlyForTheSameFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := filepath.Join(dir, "facts")
	f := newFacts(store, later().now)
	path := filepath.Join(dir, "file")
	look := write(t, path, "body")
	if _, err := f.Digest(path, look); err != nil {
		t.Fatal(err)
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*Facts{"the same process": f, "another one": newFacts(store, later().now)} {
		if d, ok := f.Known(path, look); !ok || d != sha("body") {
			t.Errorf("%s: not known", name)
		}
		for what, change := range map[string]func(*record.Look){
			"size":  func(l *record.Look) { l.Size++ },
			"mtime": func(l *record.Look) { l.MTime++ },
			"ctime": func(l *record.Look) { l.CTime++ },
			"inode": func(l *record.Look) { l.Ino++ },
			"kind":  func(l *record.Look) { l.Kind = record.Symlink },
		} {
			other := look
			change(&other)
			if _, ok := f.Known(path, other); ok {
				t.Errorf("%s: known although its %s is another", name, what)
			}
		}
		if _, ok := f.Known(path+"x", look); ok {
			t.Errorf("%s: known under another path", name)
		}
	}
}

func TestMoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for name, change := range map[string]func(){
		"removed":  func() { os.Remove(path) },
		"changed":  func() { write(t, path, "more") },
		"replaced": func() { write(t, path+".new", "body"); os.Rename(path+".new", path) },
		"a link":   func() { os.Rename(path, path+".old"); os.Symlink(path+".old", path) },
		"a fifo":   func() { os.Remove(path); unix.Mkfifo(path, 0o600) },
		"a directory": func() {
			os.Remove(path)
			os.Mkdir(path, 0o700)
		},
	} {
		os.RemoveAll(path)
		f := newFacts(filepath.Join(dir, "facts"), later().now)
		look := write(t, path, "body")
		change()
		if d, err := f.Digest(path, look); !errors.Is(err, ErrMoved) {
			t.Errorf("%s: %x, %v", name, d, err)
		}
		if _, ok := f.Known(path, look); ok {
			t.Errorf("%s: known", name)
		}
	}
	f := newFacts(filepath.Join(dir, "facts"), later().now)
	if _, err := f.Digest(dir, lookAt(t, dir)); err == nil || errors.Is(err, ErrMoved) {
		t.Errorf("digest of a directory: %v", err)
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 500_000_000)
	at := func(d time.Duration) int64 { return now.Add(d).UnixNano() }
	whole := func(d time.Duration) int64 { return now.Add(d).Unix() * 1e9 }
	for _, test := range []struct {
		mtime, ctime int64
		want         bool
	}{
		{at(-time.Second), at(-time.Second), true},
		{at(-time.Second), at(-30 * time.Millisecond), true},
		{at(-time.Second), at(-10 * time.Millisecond), false},
		{at(-10 * time.Millisecond), at(-time.Second), false},
		{at(-time.Second), at(time.Hour), false},
		{whole(-time.Second), whole(-time.Second), false}, // a file system of whole seconds
		{whole(-4 * time.Second), whole(-4 * time.Second), true},
		{whole(-4 * time.Second), at(-time.Second), true}, // somebody set the time
	} {
		if got := settled(record.Look{MTime: test.mtime, CTime: test.ctime}, now); got != test.want {
			t.Errorf("%v and %v before now: %v", now.Sub(time.Unix(0, test.mtime)), now.Sub(time.Unix(0, test.ctime)), got)
		}
	}

	// A file that has just been written is read each time.
	dir := t.TempDir()
	c := &clock{-time.Hour}
	f := newFacts(filepath.Join(dir, "facts"), c.now)
	path := filepath.Join(dir, "file")
	look := write(t, path, "body")
	if d, err := f.Digest(path, look); err != nil || d != sha("body") {
		t.Fatal(err)
	}
	if _, ok := f.Known(path, look); ok {
		t.Error("a file that may change unseen is known")
	}
}

func TestFactsOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := filepath.Join(dir, "facts")
	const n, each = 4, 700
	looks := map[string]record.Look{}
	var all []*Facts
	for i := range n {
		f := newFacts(store, later().now)
		for j := range each {
			path := fmt.Sprintf("/home/somebody/project/%d/%d", j%17, i*each+j)
			look := record.Look{Kind: record.Regular, CTime: int64(i*each + j)}
			looks[path] = look
			f.Known(path, look) // it has the old file open
			f.part(path).remember(keyOf(path), fact{ctime: look.CTime, digest: sha(path), day: dayOf(f.now())})
		}
		all = append(all, f)
	}
	for _, f := range all {
		if err := f.save(); err != nil {
			t.Fatal(err)
		}
		f.close()
	}
	f := newFacts(store, later().now)
	defer f.close()
	for path, look := range looks {
		if d, ok := f.Known(path, look); !ok || d != sha(path) {
			t.Fatalf("%s is not known", path)
		}
	}
	if size, err := f.size(); err != nil || size < n*each*rowSize {
		t.Errorf("%d bytes, %v", size, err)
	}
}

// savedPart saves some facts, and returns the file that holds them.
func savedPart(t *testing.T, dir string, c *clock, n int) (file string, path func(i int) string, look func(i int) record.Look) {
	t.Helper()
	path = func(i int) string { return fmt.Sprintf("/w/x/%d", i) }
	look = func(i int) record.Look { return record.Look{Kind: record.Regular, CTime: int64(i), Ino: 1} }
	f := newFacts(dir, c.now)
	for i := range n {
		f.part(path(i)).remember(keyOf(path(i)), fact{ctime: int64(i), ino: 1, digest: sha(path(i)), day: dayOf(c.now())})
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	f.close()
	return f.part(path(0)).path, path, look
}

func TestDamagedFacts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const n = 20
	file, path, look := savedPart(t, dir, later(), n)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known := func(b []byte) int {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFacts(dir, later().now)
		defer f.close()
		count := 0
		for i := range n {
			if d, ok := f.Known(path(i), look(i)); ok {
				count++
				if d != sha(path(i)) {
					t.Errorf("a wrong digest of %s", path(i))
				}
			}
		}
		return count
	}
	if got := known(whole); got != n {
		t.Fatalf("%d of %d are known", got, n)
	}
	for i := 0; i < len(whole); i++ {
		if i > factsHead+fenceSize+4 {
			i += 6 // every byte of the head, some of the rows
		}
		if i >= len(whole) {
			break
		}
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		if got := known(b); got != 0 {
			t.Errorf("byte %d changed: %d are known", i, got)
		}
		if got := known(whole[:i]); got != 0 {
			t.Errorf("cut at %d: %d are known", i, got)
		}
	}
	// What is damaged is replaced at the next time.
	f := newFacts(dir, later().now)
	f.part(path(0)).remember(keyOf(path(0)), fact{ctime: 7, day: dayOf(f.now())})
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	f = newFacts(dir, later().now)
	if _, ok := f.Known(path(0), record.Look{Kind: record.Regular, CTime: 7}); !ok {
		t.Error("not known after it was replaced")
	}
}

// TestAfterPowerFailure: what was written shortly before the facts were saved
// may not have reached the disk when the machine stopped.
func TestAfterPowerFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	saved := time.Now()
	fresh := fact{ctime: saved.Add(-10 * time.Second).UnixNano(), digest: sha("fresh"), day: dayOf(saved)}
	old := fact{ctime: saved.Add(-10 * time.Minute).UnixNano(), digest: sha("old"), day: dayOf(saved)}
	f := newFacts(dir, func() time.Time { return saved })
	f.part("/w/x/fresh").remember(keyOf("/w/x/fresh"), fresh)
	f.part("/w/x/old").remember(keyOf("/w/x/old"), old)
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	knows := func(f *Facts) (fresh, old bool) {
		_, fresh = f.Known("/w/x/fresh", record.Look{Kind: record.Regular, CTime: saved.Add(-10 * time.Second).UnixNano()})
		_, old = f.Known("/w/x/old", record.Look{Kind: record.Regular, CTime: saved.Add(-10 * time.Minute).UnixNano()})
		return fresh, old
	}
	if fresh, old := knows(newFacts(dir, time.Now)); !fresh || !old {
		t.Errorf("before: %v, %v", fresh, old)
	}
	again := newFacts(dir, time.Now)
	again.boot = [16]byte{1}
	if fresh, old := knows(again); fresh || !old {
		t.Errorf("after: %v, %v", fresh, old)
	}
	// Saving again does not make it any better.
	again.part("/w/x/other").remember(keyOf("/w/x/other"), old)
	if err := again.save(); err != nil {
		t.Fatal(err)
	}
	last := newFacts(dir, time.Now)
	last.boot = [16]byte{1}
	if fresh, old := knows(last); fresh || !old {
		t.Errorf("after saving: %v, %v", fresh, old)
	}
}

func TestUnusedFactsGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &clock{}
	_, path, look := savedPart(t, dir, c, 2)
	use := func(days int, i int) bool {
		c.offset = time.Duration(days) * 24 * time.Hour
		f := newFacts(dir, c.now)
		defer f.close()
		_, ok := f.Known(path(i), look(i))
		f.part("/w/x/other").remember(keyOf("/w/x/other"), fact{day: dayOf(c.now())}) // something is saved
		if err := f.part(path(i)).save(); err != nil {                                // without trim, which goes by the times of files
			t.Fatal(err)
		}
		return ok
	}
	for _, day := range []int{5, 20, 40, 60} {
		if !use(day, 0) {
			t.Errorf("on day %d it is gone although it is used", day)
		}
	}
	if use(61, 1) {
		t.Error("what nobody used is still there")
	}
	use(120, 1) // something is saved, and it is not used
	if use(120, 0) {
		t.Error("what nobody used any more is still there")
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFacts(dir, time.Now)
	for name, age := range map[string]time.Duration{"old": 40 * 24 * time.Hour, "x.next-ABC": time.Minute, "y.next-ABC": 2 * time.Hour} {
		write(t, filepath.Join(dir, name), "")
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	// Three parts that are too much together: the one that was saved first goes.
	for i := range 3 {
		name := filepath.Join(dir, fmt.Sprint("big", i))
		write(t, name, "")
		if err := os.Truncate(name, maxFacts*rowSize/2-1); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.trim(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if got := fmt.Sprint(left); got != "[big1 big2 x.next-ABC]" {
		t.Errorf("%s are left", got)
	}
}

func TestDropOldest(t *testing.T) {
	t.Parallel()
	var rows []byte
	for i, day := range []int64{5, 3, 4, 4, 9, 4} {
		rows = (&row{factKey{uint32(i), 0}, fact{day: day}}).append(rows)
	}
	for most, want := range map[int]string{6: "012345", 5: "02345", 3: "024", 2: "04", 1: "4", 9: "012345"} {
		got := ""
		for kept := dropOldest(bytes.Clone(rows), most); len(kept) > 0; kept = kept[rowSize:] {
			got += fmt.Sprint(keyAt(kept).near)
		}
		if got != want {
			t.Errorf("%d kept: %s, want %s", most, got, want)
		}
	}
}

func TestKeysOfPathsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[factKey]string{}
	for i := range 200_000 {
		path := fmt.Sprintf("/home/somebody/src/project/pkg%05d/source_file_%02d.go", i/20, i%20)
		if other, ok := seen[keyOf(path)]; ok {
			t.Fatalf("%s and %s", path, other)
		}
		seen[keyOf(path)] = path
	}
	for path, want := range map[string]string{"/": "/", "/a": "/", "/a/b": "/a", "/a/b/c": "/a/b", "/a/b/c/d": "/a/b"} {
		if got := upTo(path, 2); got != want {
			t.Errorf("%s is in %s, want %s", path, got, want)
		}
	}
}

func TestFactsByManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := newFacts(filepath.Join(dir, "facts"), later().now)
	const n = 50
	looks := make([]record.Look, n)
	for i := range n {
		looks[i] = write(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint("body ", i))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, look := range looks {
				d, err := f.Digest(filepath.Join(dir, fmt.Sprint(i)), look)
				if err != nil || d != sha(fmt.Sprint("body ", i)) {
					t.Errorf("%d: %v", i, err)
				}
				if i%20 == 0 {
					if err := f.save(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzFacts(f *testing.F) {
	dir := f.TempDir()
	facts := newFacts(dir, later().now)
	facts.part("/w/x/0").remember(keyOf("/w/x/0"), fact{ctime: 1, day: dayOf(facts.now())})
	if err := facts.save(); err != nil {
		f.Fatal(err)
	}
	file := facts.part("/w/x/0").path
	b, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		facts := newFacts(dir, later().now)
		facts.Known("/w/x/0", record.Look{Kind: record.Regular, CTime: 1})
		facts.part("/w/x/1").remember(keyOf("/w/x/1"), fact{ctime: 2, day: dayOf(facts.now())})
		if err := facts.save(); err != nil {
			t.Fatal(err)
		}
		facts.close()
		facts = newFacts(dir, later().now)
		if _, ok := facts.Known("/w/x/1", record.Look{Kind: record.Regular, CTime: 2}); !ok {
			t.Error("what was saved is not known")
		}
		facts.close()
	})
}
