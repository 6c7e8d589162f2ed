package cache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// openCache opens the cache in a new directory.
func openCache(t testing.TB) *Cache {
	t.Helper()
	c, err := Open(Options{Dir: filepath.Join(t.TempDir(), "cache")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// small is a record that differs from others by its number, and has inputs of
// its own.
func small(k Key, scope Scope, number int) *Record {
	r := sample(k, 6)
	r.Writer.Scope = scope
	r.Writer.Run = strconv.Itoa(number)
	r.Writer.Time = r.Writer.Time.Add(time.Duration(number) * time.Second)
	r.Inputs[2].Path += strconv.Itoa(number)
	return r
}

func add(t testing.TB, c *Cache, records ...*Record) {
	t.Helper()
	for _, r := range records {
		if err := c.Add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// runs are the runs that wrote the records of a key.
func runs(t testing.TB, c *Cache, k Key, read ...Scope) string {
	t.Helper()
	records, problems := c.Records(t.Context(), k, read)
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	var all []string
	for _, r := range records {
		all = append(all, r.Writer.Run)
	}
	return strings.Join(all, " ")
}

func TestRecords(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	if got := runs(t, c, k, "local"); got != "" {
		t.Errorf("an empty cache holds %q", got)
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("reading made the directory")
	}
	for i := range 10 {
		add(t, c, small(k, "local", i))
	}
	add(t, c, small(k, "default", 20), small(k, "change/17", 21), small(k, "change=17", 22), small(keyFor(2), "local", 30))
	for _, test := range []struct {
		name string
		read []Scope
		want string
	}{
		{"newest first, eight at most", []Scope{"local"}, "9 8 7 6 5 4 3 2"},
		{"in the order of scopes", []Scope{"change/17", "default"}, "21 20"},
		{"the other way round, each once", []Scope{"default", "change/17", "default"}, "20 21"},
		{"scopes are told apart", []Scope{"change=17"}, "22"},
		{"no scope", nil, ""},
		{"none there", []Scope{"branch/x"}, ""},
	} {
		if got := runs(t, c, k, test.read...); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}

	again := small(k, "local", 5)
	again.Writer.Run = "50"
	again.Inputs[4].MTime++ // of a file that was read: it does not matter
	add(t, c, again)
	if got := runs(t, c, k, "local"); got != "50 9 8 7 6 4 3 2" {
		t.Errorf("with the same inputs again: %q", got)
	}
	r, _ := c.Records(t.Context(), k, []Scope{"local"})
	if !reflect.DeepEqual(r[0], again) {
		t.Errorf("got\n%+v\nwant\n%+v", r[0], again)
	}
}

func TestScopesHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]Scope{}
	long := strings.Repeat("x", 300)
	for _, s := range []Scope{"a", "A", "a/b", "a=b", "a%2fb", "a-b", "..", ".", "../x", "a.b", "a\x00", "é", Scope(long), Scope(long + "y"), Scope(long[:maxSlug]), Scope(long[:maxSlug] + "x")} {
		slug := s.slug()
		if other, ok := seen[slug]; ok {
			t.Errorf("%q and %q are both %q", s, other, slug)
		}
		seen[slug] = s
		if len(slug) > maxSlug || strings.ContainsAny(slug, "./\x00") {
			t.Errorf("%q is %q", s, slug)
		}
	}
}

func TestTimesCountWhereTheyAreCompared(t *testing.T) {
	t.Parallel()
	r := sample(keyFor(1), 2)
	r.Inputs = []record.Input{
		{Path: "/usr/bin/cc", Use: record.UseExists, FileState: record.FileState{Kind: record.Regular, MTime: 1}},
		{Path: r.Dirs.Workspace + "/a", Use: record.UseExists, FileState: record.FileState{Kind: record.Regular, MTime: 1}},
	}
	was := inputsOf(r)
	r.Inputs[1].MTime++
	if inputsOf(r) != was {
		t.Error("the time of a file in the workspace counts")
	}
	r.Inputs[0].MTime++
	if inputsOf(r) == was {
		t.Error("the time of a file outside does not count")
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	one, two := small(k, "local", 1), small(k, "local", 2)
	add(t, c, one, two)
	if err := c.Drop(one); err != nil {
		t.Fatal(err)
	}
	if got := runs(t, c, k, "local"); got != "2" {
		t.Errorf("%q is left", got)
	}
	newer := small(k, "local", 2)
	newer.Writer.Run = "3"
	add(t, c, newer)
	if err := c.Drop(two); err != nil { // it has been replaced
		t.Fatal(err)
	}
	read, _ := c.Records(t.Context(), k, []Scope{"local"})
	if len(read) != 1 || read[0].Writer.Run != "3" {
		t.Fatalf("%v is left", read)
	}
	if err := c.Drop(read[0]); err != nil {
		t.Fatal(err)
	}
	if got := runs(t, c, k, "local"); got != "" {
		t.Errorf("%q is left", got)
	}
	if err := c.Drop(small(keyFor(7), "local", 1)); err != nil {
		t.Errorf("drop what was never there: %v", err)
	}
}

func TestCondemn(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	if why := c.Condemned(k); why != "" {
		t.Errorf("condemned: %q", why)
	}
	if err := c.Pardon(k); err != nil {
		t.Errorf("pardon what was not condemned: %v", err)
	}
	for _, why := range []string{"dist/app.js differs", "it differs again"} {
		if err := c.Condemn(k, why); err != nil {
			t.Fatal(err)
		}
		if got := c.Condemned(k); got != why {
			t.Errorf("condemned for %q, want %q", got, why)
		}
	}
	if why := c.Condemned(keyFor(2)); why != "" {
		t.Errorf("another key is condemned: %q", why)
	}
	if err := c.Pardon(k); err != nil || c.Condemned(k) != "" {
		t.Errorf("after the pardon: %v, %q", err, c.Condemned(k))
	}
	if c.Condemn("../x", "y") == nil || c.Pardon("../x") == nil || c.Condemned("../x") == "" || c.Condemn(k, "") == nil {
		t.Error("nonsense was taken")
	}
}

func TestDistrust(t *testing.T) {
	t.Parallel()
	c := openCache(t)
	for i := range 5 {
		for run := range 4 {
			r := small(keyFor(i), "local", run)
			r.Inputs[2].Path += "x"
			add(t, c, r)
		}
	}
	add(t, c, small(keyFor(1), "default", 2), small(keyFor(9), "default", 2))
	if n, err := c.Distrust(t.Context(), "2"); n != 7 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	for i := range 5 {
		if got := runs(t, c, keyFor(i), "local", "default"); got != "3 1 0" {
			t.Errorf("%q is left of %d", got, i)
		}
	}
	if n, err := c.Distrust(t.Context(), "2"); n != 0 || err != nil {
		t.Errorf("again: %d dropped, %v", n, err)
	}
}

// TestDamagedShelf changes every byte of a shelf: what is read is always what
// was written, the rest is told of.
func TestDamagedShelf(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	want := map[string]*Record{}
	for i := range 3 {
		r := small(k, "local", i)
		want[r.Writer.Run] = r
		add(t, c, r)
	}
	path, err := c.shelfPath(k, "local")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		records, problems := c.Records(t.Context(), k, []Scope{"local"})
		if len(problems) == 0 {
			t.Errorf("%s: nothing was told", what)
		}
		for _, p := range problems {
			if !errors.Is(p, errDamaged) {
				t.Errorf("%s: %v", what, p)
			}
		}
		for _, r := range records {
			if !reflect.DeepEqual(r, want[r.Writer.Run]) {
				t.Errorf("%s: a wrong record: %+v", what, r)
			}
		}
	}
	for i := 0; i < len(whole); i++ {
		if i > len(shelfMagic)+1+3*entrySize+headSumSize {
			i = min(i+22, len(whole)-1) // every byte of the index, some of the records
		}
		b := slices.Clone(whole)
		b[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d", i), b)
		try(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	// The last byte of the first record: the others are still there.
	b := slices.Clone(whole)
	b[len(b)-1] ^= 1
	try("the last byte", b)
	if records, _ := c.Records(t.Context(), k, []Scope{"local"}); len(records) != 2 {
		t.Errorf("%d records of two that are whole", len(records))
	}
	// A new one is added to what is whole.
	add(t, c, small(k, "local", 4))
	if got := runs(t, c, k, "local"); !strings.HasPrefix(got, "4 2 1") {
		t.Errorf("after adding to a damaged shelf: %q", got)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, c, small(k, "local", 5))
	if got := runs(t, c, k, "local"); got != "5" {
		t.Errorf("after adding to nonsense: %q", got)
	}
}

// TestMovedShelf: a record counts only under the key and in the scope that it
// was written for.
func TestMovedShelf(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	add(t, c, small(k, "change/17", 1))
	from, _ := c.shelfPath(k, "change/17")
	for _, to := range []struct {
		key   Key
		scope Scope
	}{{k, "default"}, {Key(string(k[:1]) + string(keyFor(2)[1:])), "change/17"}} {
		path, _ := c.shelfPath(to.key, to.scope)
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		records, problems := c.Records(t.Context(), to.key, []Scope{to.scope})
		if len(records) != 0 || len(problems) != 1 || !errors.Is(problems[0], errDamaged) {
			t.Errorf("%v, %v", records, problems)
		}
	}
	u, err := c.Usage(t.Context())
	if err != nil || u.Records != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

func FuzzShelf(f *testing.F) {
	c := openCache(f)
	k := keyFor(1)
	path, _ := c.shelfPath(k, "local")
	for i := range 3 {
		add(f, c, small(k, "local", i))
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := openCache(t)
		path, _ := c.shelfPath(k, "local")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for r, err := range c.Each(t.Context(), k, []Scope{"local"}) {
			if (r == nil) == (err == nil) {
				t.Errorf("%v, %v", r, err)
			}
		}
		if _, err := c.Usage(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := c.Check(t.Context()); err != nil {
			t.Error(err)
		}
		add(t, c, small(k, "local", 9))
		if r, _ := c.Records(t.Context(), k, []Scope{"local"}); len(r) == 0 || r[0].Writer.Run != "9" {
			t.Error("what was added is not there")
		}
	})
}

func TestBlobsOfRecords(t *testing.T) {
	t.Parallel()
	blobs, err := disk.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(Options{Dir: filepath.Join(t.TempDir(), "cache"), Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	put := func(s string) (blob.Digest, [32]byte) {
		d, _, err := blobs.Put(t.Context(), strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		return d, sha(s)
	}
	log, _ := put("log")
	file, fileSum := put("file")
	link, linkSum := put("target")
	artifact, _ := put("artifact")
	whole := small(keyFor(1), "local", 1)
	whole.Log = log
	whole.Outputs = []record.Output{
		{Path: "/w/dir", FileState: record.FileState{Kind: record.Directory}},
		{Path: "/w/file", FileState: record.FileState{Kind: record.Regular, Digest: fileSum}},
		{Path: "/w/gone", FileState: record.FileState{}},
		{Path: "/w/link", FileState: record.FileState{Kind: record.Symlink, Digest: linkSum}},
	}
	whole.Effects.Artifacts = []plan.Artifact{{Name: "a", Digest: string(artifact)}, {Name: "unknown"}}
	lacking := small(keyFor(1), "local", 2)
	lacking.Writer.Repository = "example/other"
	lacking.Log = blob.Of([]byte("never stored"))
	add(t, c, whole, lacking, small(keyFor(2), "local", 3), small(keyFor(3), "local", 4))

	refs, err := c.References(t.Context())
	want := map[blob.Digest]bool{log: true, file: true, link: true, artifact: true, lacking.Log: true}
	if err != nil || !reflect.DeepEqual(refs, want) {
		t.Errorf("references %v, %v", refs, err)
	}

	u, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Records != 4 || len(u.Repositories) != 2 || u.Repositories[0].Repository != "example/project" || u.Repositories[0].Records != 3 || u.Repositories[1].Records != 1 ||
		!u.Oldest.Equal(whole.Writer.Time) || u.Newest.Sub(u.Oldest) != 3*time.Second || u.Bytes != u.Repositories[0].Bytes+u.Repositories[1].Bytes {
		t.Errorf("%+v", u)
	}

	path, _ := c.shelfPath(keyFor(2), "local")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	path, _ = c.shelfPath(keyFor(3), "local")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, err := range c.All(t.Context()) {
		if err != nil {
			damaged++
		}
	}
	if damaged != 2 {
		t.Errorf("%d errors for two damaged records", damaged)
	}
	found, err := c.Check(t.Context())
	if err != nil || found.Records != 1 || found.Damaged != 2 || found.Lacking != 1 || len(found.Problems) != 3 {
		t.Errorf("%+v, %v", found, err)
	}
	found, err = c.Check(t.Context())
	if err != nil || found.Records != 1 || found.Damaged+found.Lacking+len(found.Problems) != 0 {
		t.Errorf("again: %+v, %v", found, err)
	}
	if got := runs(t, c, keyFor(1), "local"); got != "1" {
		t.Errorf("%q is left", got)
	}
}

func TestNothingIsKept(t *testing.T) {
	t.Parallel()
	c := openCache(t)
	if err := os.WriteFile(c.dir, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	k := keyFor(1)
	c.Note("step", Turn{Watched: true})
	if c.Add(t.Context(), small(k, "local", 1)) == nil || c.Condemn(k, "why") == nil || c.Flush() == nil {
		t.Error("no error")
	}
	if got := runs(t, c, k, "local"); got != "" {
		t.Errorf("%q", got)
	}
	c = openCache(t)
	if c.Add(t.Context(), small("nonsense", "local", 1)) == nil || c.Add(t.Context(), small(k, "", 1)) == nil {
		t.Error("a record that has no place was kept")
	}
	if _, problems := c.Records(t.Context(), "nonsense", []Scope{"local"}); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("a cache without a directory")
	}
	// Somebody has the lock, and we are told to stop.
	unlock, err := lockShard(t.Context(), filepath.Join(c.dir, "steps", string(k[:1])))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Add(ctx, small(k, "local", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	unlock()
	add(t, c, small(k, "local", 1))
	if err := c.visit(ctx, func(string, *shelf, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	c, k := openCache(t), keyFor(1)
	var wg sync.WaitGroup
	for i := range keptRecords {
		wg.Go(func() {
			if err := c.Add(t.Context(), small(k, "local", i)); err != nil {
				t.Error(err)
			}
			for _, err := range c.Each(t.Context(), k, []Scope{"local"}) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := strings.Fields(runs(t, c, k, "local")); len(got) != keptRecords {
		t.Errorf("%d of %d are there: %v", len(got), keptRecords, got)
	}
}

// child starts this program again, as another process that does what is named.
func child(t *testing.T, what, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v=false")
	cmd.Env = append(os.Environ(), "FAIRLEAD_TEST_CHILD="+what, "FAIRLEAD_TEST_DIR="+dir, "FAIRLEAD_TEST_ARGS="+strings.Join(args, " "))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestChild is no test: it is what the other processes do.
func TestChild(t *testing.T) {
	what, dir := os.Getenv("FAIRLEAD_TEST_CHILD"), os.Getenv("FAIRLEAD_TEST_DIR")
	if what == "" {
		t.Skip("only as another process")
	}
	c, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	switch what {
	case "add": // two records under one key
		n, _ := strconv.Atoi(os.Getenv("FAIRLEAD_TEST_ARGS"))
		add(t, c, small(keyFor(1), "local", 2*n), small(keyFor(1), "local", 2*n+1))
	case "add forever": // say what has been added
		for i := 0; ; i++ {
			r := small(keyFor(i%3), "local", i)
			r.Peers = []string{strings.Repeat("x", i*997%200_000)}
			add(t, c, r)
			c.Note("step", Turn{Watched: true})
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			fmt.Println(i)
		}
	case "fill": // a disk of its own, which is soon full
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
			fmt.Println("cannot mount")
			return
		}
		kept := 0
		for i := range 100 {
			r := small(keyFor(i), "local", i)
			r.Peers = []string{strings.Repeat("x", 30_000)}
			if err := c.Add(t.Context(), r); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				break
			}
			kept++
		}
		whole := 0
		for _, err := range c.All(t.Context()) {
			if err != nil {
				t.Error(err)
			}
			whole++
		}
		if kept == 0 || kept == 100 || whole != kept {
			t.Errorf("%d kept, %d whole", kept, whole)
		}
		fmt.Println("done")
	}
}

func TestManyProcesses(t *testing.T) {
	t.Parallel()
	c := openCache(t)
	var all []*exec.Cmd
	for i := range keptRecords / 2 {
		cmd := child(t, "add", c.dir, strconv.Itoa(i))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Fields(runs(t, c, keyFor(1), "local")); len(got) != keptRecords {
		t.Errorf("%d of %d are there: %v", len(got), keptRecords, got)
	}
}

// TestKilled kills a process that adds records, at random instants: what it
// has said to be kept is there, and everything is whole.
func TestKilled(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 12 {
		c := openCache(t)
		cmd := child(t, "add forever", c.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last := -1
		for range rng.IntN(40) {
			if lines.Scan() {
				last, _ = strconv.Atoi(lines.Text())
			}
		}
		for range rng.IntN(50_000) { // somewhere in the middle of the next one
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		cmd.Wait() // it was killed
		there := map[string]bool{}
		for r, err := range c.All(t.Context()) {
			if err != nil {
				t.Errorf("round %d: %v", round, err)
				continue
			}
			there[r.Writer.Run] = true
		}
		for i := last; i >= 0 && i > last-3*keptRecords+3; i-- {
			if !there[strconv.Itoa(i)] {
				t.Errorf("round %d: record %d of %d is gone", round, i, last)
			}
		}
		if h := c.Habit("step"); h.Runs < last+1 {
			t.Errorf("round %d: %d turns were noted of %d", round, h.Runs, last+1)
		}
		add(t, c, small(keyFor(0), "local", 1_000_000)) // what it left behind is in nobody's way
	}
}

func TestAddToFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := child(t, "fill", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	switch {
	case err != nil && len(out) == 0:
		t.Skipf("no file system can be mounted here: %v", err)
	case strings.Contains(string(out), "cannot mount"):
		t.Skip("no file system can be mounted here")
	case err != nil || !strings.Contains(string(out), "done"):
		t.Errorf("%v: %s", err, out)
	}
}
