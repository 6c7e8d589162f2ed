package builtin

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// cacheStep does what a workflow does with actions/cache: the main step, the
// work in between, the post step.
func (m *machine) cacheStep(inputs map[string]string, s *plan.Scope, work func()) (main, post result) {
	m.t.Helper()
	main = m.ok(m.run("actions/cache", inputs, s))
	if work != nil {
		work()
	}
	state := map[string]string{}
	for _, st := range main.State {
		state[st.Name] = st.Value
	}
	post = m.ok(m.call(Call{Name: "actions/cache", Post: true, Inputs: inputs, State: state, Scope: s}))
	return main, post
}

// empty removes everything below the directories.
func (m *machine) empty(dirs ...string) {
	m.t.Helper()
	for _, d := range dirs {
		if err := os.RemoveAll(m.path(d)); err != nil {
			m.t.Fatal(err)
		}
		if err := os.Mkdir(m.path(d), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

func TestCacheRoundTrip(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.scope()
	files := map[string]string{
		"node_modules/a/index.js": "a", "node_modules/.bin/a": "-> ../a/index.js", "node_modules/empty/": "",
		"pkg/x/node_modules/b": "b", "single.txt": "one", "link": "-> node_modules", "dangling": "-> /nowhere/at/all",
	}
	home := map[string]string{".cache/go-build/00/x-a": "object", ".cache/go-build/README": "hi"}
	inputs := map[string]string{
		"path": "**/node_modules\n!pkg/x/node_modules/c\nsingle.txt\n~/.cache/go-build\nlink\nnot-there\n# a remark",
		"key":  "deps-1", "restore-keys": "deps-",
	}
	main, post := m.cacheStep(inputs, s, func() {
		plant(t, m.path("ws"), files)
		plant(t, m.path("ws"), map[string]string{"src/main.go": "not cached", "pkg/x/node_modules/c/left": "out"})
		plant(t, m.path("home"), home)
		old := time.Date(2020, 1, 2, 3, 4, 5, 123456789, time.UTC)
		if err := os.Chmod(m.path("ws/node_modules/a/index.js"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"ws/node_modules/a/index.js", "home/.cache/go-build"} {
			if err := os.Chtimes(m.path(p), old, old); err != nil {
				t.Fatal(err)
			}
		}
		// As Go's module cache has them.
		if err := os.Chmod(m.path("ws/node_modules/a"), 0o555); err != nil {
			t.Fatal(err)
		}
	})
	if main.output("cache-hit") != "" || main.output("cache-primary-key") != "deps-1" {
		t.Errorf("outputs of a miss: %v", main.Outputs)
	}
	if !strings.Contains(post.log, "Cache saved with key: deps-1") {
		t.Fatalf("post: %s", post.log)
	}
	if err := os.Chmod(m.path("ws/node_modules/a"), 0o755); err != nil {
		t.Fatal(err)
	}

	m.empty("ws", "home")
	main, post = m.cacheStep(inputs, s, nil)
	if main.output("cache-hit") != "true" || main.output("cache-matched-key") != "deps-1" {
		t.Errorf("outputs of a hit: %v", main.Outputs)
	}
	if !strings.Contains(post.log, "not saving") {
		t.Errorf("post of a hit: %s", post.log)
	}
	delete(files, "dangling")
	if got := list(t, m.path("ws")); !maps.Equal(got, files) {
		t.Errorf("the workspace has %v\nwant %v", got, files)
	}
	if got := list(t, m.path("home")); !maps.Equal(got, home) {
		t.Errorf("the home has %v, want %v", got, home)
	}
	if info, err := os.Stat(m.path("ws/node_modules/a/index.js")); err != nil || info.Mode().Perm() != 0o755 || info.ModTime().Year() != 2020 || info.ModTime().Nanosecond() != 123456789 {
		t.Errorf("mode and time of a file: %v %v, %v", info.Mode(), info.ModTime(), err)
	}
	if info, err := os.Stat(m.path("ws/node_modules/a")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("mode of a directory: %v, %v", info.Mode(), err)
	}
	// Restoring over what is there replaces it, read-only directories too.
	main, _ = m.cacheStep(inputs, s, nil)
	if main.output("cache-hit") != "true" {
		t.Errorf("restored over: %s", main.log)
	}
	if err := os.Chmod(m.path("ws/node_modules/a"), 0o755); err != nil { // for the clean-up
		t.Fatal(err)
	}

	// Another workspace and another home: the names hold neither.
	other := m.scope(func(s *plan.Scope) { s.Dirs.Workspace, s.Dirs.Home = m.path("temp/ws2"), m.path("temp/home2") })
	main, _ = m.cacheStep(inputs, other, nil)
	if got := list(t, m.path("temp/ws2")); !maps.Equal(got, files) || main.output("cache-hit") != "true" {
		t.Errorf("elsewhere: %v, %s", got, main.log)
	}
	if err := os.Chmod(m.path("temp/ws2/node_modules/a"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCacheKeys(t *testing.T) {
	t.Parallel()
	ref := func(ref string) func(*plan.Scope) { return func(s *plan.Scope) { s.Change.Ref = ref } }
	pull := func(s *plan.Scope) { s.Change.Ref, s.Change.BaseRef = "refs/pull/7/merge", "release" }
	foreign := func(s *plan.Scope) { s.Change.Repository = "octo/dog" }
	for _, tt := range []struct {
		name    string
		saved   []string // "ref key", the oldest first
		in      func(*plan.Scope)
		keys    string
		matched string // "ref key"
		hit     string
	}{
		{"nothing", nil, nil, "a", "", ""},
		{"exact", []string{"refs/heads/main a"}, nil, "a", "refs/heads/main a", "true"},
		{"case of letters", []string{"refs/heads/main Linux-a"}, nil, "linux-A Linux-", "refs/heads/main Linux-a", "true"},
		{"exact before newer prefix", []string{"refs/heads/main a", "refs/heads/main a-2"}, nil, "a", "refs/heads/main a", "true"},
		{"the key is a prefix too", []string{"refs/heads/main a-1", "refs/heads/main a-2"}, nil, "a", "refs/heads/main a-2", "false"},
		{"restore keys in order", []string{"refs/heads/main b-1", "refs/heads/main c-1"}, nil, "a b- c-", "refs/heads/main b-1", "false"},
		{"newest", []string{"refs/heads/main b-2", "refs/heads/main b-1"}, nil, "a b-", "refs/heads/main b-1", "false"},
		{"own branch first", []string{"refs/heads/topic b-1", "refs/heads/main b-2"}, ref("refs/heads/topic"), "a b-", "refs/heads/topic b-1", "false"},
		{"then the default branch", []string{"refs/heads/main a"}, ref("refs/heads/topic"), "a", "refs/heads/main a", "true"},
		{"not another branch", []string{"refs/heads/other a"}, ref("refs/heads/topic"), "a", "", ""},
		{"not a branch's on main", []string{"refs/heads/topic a"}, nil, "a", "", ""},
		{"the base of a pull request", []string{"refs/heads/main a", "refs/heads/release a"}, pull, "a", "refs/heads/release a", "true"},
		{"another repository", []string{"refs/heads/main a"}, foreign, "a", "", ""},
		{"immutable", []string{"refs/heads/main a", "refs/heads/main a"}, nil, "a", "refs/heads/main a", "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for i, entry := range tt.saved {
				at, key, _ := strings.Cut(entry, " ")
				text := entry
				if i > 0 && tt.saved[i-1] == entry {
					text = "a second attempt"
				}
				if err := os.WriteFile(m.path("ws/f"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				m.ok(m.run("actions/cache/save", map[string]string{"path": "f", "key": key}, m.scope(ref(at))))
			}
			m.empty("ws")
			keys := strings.Fields(tt.keys)
			in := tt.in
			if in == nil {
				in = ref("refs/heads/main")
			}
			inputs := map[string]string{"path": "f", "key": keys[0], "restore-keys": strings.Join(keys[1:], "\n")}
			look := maps.Clone(inputs)
			look["lookup-only"] = "true"
			r := m.ok(m.run("actions/cache/restore", look, m.scope(in)))
			if files := list(t, m.path("ws")); len(files) > 0 {
				t.Errorf("looking up restored %v", files)
			}
			r2 := m.ok(m.run("actions/cache/restore", inputs, m.scope(in)))
			for _, r := range []result{r, r2} {
				if r.output("cache-hit") != tt.hit {
					t.Errorf("cache-hit is %q, want %q", r.output("cache-hit"), tt.hit)
				}
			}
			if got := list(t, m.path("ws"))["f"]; got != tt.matched {
				t.Errorf("restored %q, want %q", got, tt.matched)
			}
			must := maps.Clone(inputs)
			must["fail-on-cache-miss"] = "true"
			if r := m.run("actions/cache/restore", must, m.scope(in)); (r.Fail != "") != (tt.matched == "") {
				t.Errorf("with fail-on-cache-miss: %q", r.Fail)
			}
		})
	}
}

func TestCacheOfOtherPathsDoesNotFit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	plant(t, m.path("ws"), map[string]string{"a": "", "b": ""})
	m.ok(m.run("actions/cache/save", map[string]string{"path": "a", "key": "k"}, m.scope()))
	if r := m.ok(m.run("actions/cache/restore", map[string]string{"path": "b", "key": "k"}, m.scope())); r.output("cache-hit") != "" {
		t.Errorf("hit: %s", r.log)
	}
}

func TestCacheOfAbsolutePathsMovesWithTheWorkspace(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	plant(t, m.path("ws"), map[string]string{"a/b": "text"})
	plant(t, m.path("temp/ws2"), map[string]string{"other": ""})
	m.ok(m.run("actions/cache/save", map[string]string{"path": m.path("ws/a"), "key": "k"}, m.scope()))
	s := m.scope(func(s *plan.Scope) { s.Dirs.Workspace = m.path("temp/ws2") })
	if r := m.ok(m.run("actions/cache/restore", map[string]string{"path": m.path("temp/ws2/a"), "key": "k"}, s)); r.output("cache-hit") != "true" {
		t.Errorf("a miss: %s", r.log)
	}
	if got := list(t, m.path("temp/ws2")); got["a/b"] != "text" {
		t.Errorf("restored %v", got)
	}
	if r := m.ok(m.run("actions/cache/restore", map[string]string{"path": m.path("wsx/a"), "key": "k"}, m.scope())); r.output("cache-hit") != "" {
		t.Errorf("a path beside the workspace: %s", r.log)
	}
}

func TestCacheOfNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.ok(m.run("actions/cache/save", map[string]string{"path": "nope", "key": "k"}, m.scope()))
	if len(r.Notes) != 1 || !strings.Contains(r.log, "nothing of what is to be cached exists") {
		t.Errorf("%v %s", r.Notes, r.log)
	}
}

// TestDamagedCache: what the disk lost is a miss, and can be saved again.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	plant(t, m.path("ws"), map[string]string{"f": "precious"})
	inputs := map[string]string{"path": "f", "key": "k"}
	m.ok(m.run("actions/cache/save", inputs, m.scope()))
	var file string
	err := filepath.WalkDir(m.path("blobs/sha256"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			file = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := m.ok(m.run("actions/cache/restore", inputs, m.scope()))
	if r.output("cache-hit") != "" || !strings.Contains(r.log, "could not be restored") {
		t.Errorf("a damaged cache: %v %s", r.Outputs, r.log)
	}
	if r := m.ok(m.run("actions/cache/restore", inputs, m.scope())); !strings.Contains(r.log, "Cache not found") {
		t.Errorf("afterwards: %s", r.log)
	}
	if r := m.ok(m.run("actions/cache/save", inputs, m.scope())); !strings.Contains(r.log, "Cache saved") {
		t.Errorf("saved again: %s", r.log)
	}
	if r := m.ok(m.run("actions/cache/restore", inputs, m.scope())); r.output("cache-hit") != "true" {
		t.Errorf("restored again: %s", r.log)
	}
}

func TestCacheIsSavedOnceByMany(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const many = 12
	var wg sync.WaitGroup
	logs := make([]string, many)
	for i := range many {
		dir := fmt.Sprintf("temp/ws%d", i)
		plant(t, m.path(dir), map[string]string{"f": fmt.Sprint(i)})
		s := m.scope(func(s *plan.Scope) { s.Dirs.Workspace = m.path(dir) })
		wg.Go(func() {
			// Every other one is another process, with nothing in common but the disk.
			set := m.set
			if i%2 == 1 {
				set = New(m.set.cfg)
			}
			var log bytes.Buffer
			if _, err := set.Run(t.Context(), Call{Name: "actions/cache/save", Inputs: map[string]string{"path": "f", "key": "k"}, Scope: s}, &log); err != nil {
				t.Error(err)
			}
			logs[i] = log.String()
		})
	}
	wg.Wait()
	var winners []string
	for i, log := range logs {
		if strings.Contains(log, "Cache saved") {
			winners = append(winners, fmt.Sprint(i))
		}
	}
	m.ok(m.run("actions/cache/restore", map[string]string{"path": "f", "key": "k"}, m.scope()))
	if got := list(t, m.path("ws"))["f"]; len(winners) != 1 || winners[0] != got {
		t.Errorf("winners %v, restored %q", winners, got)
	}
}

// TestKilledSaver kills processes while they save caches. Every key that is
// there afterwards must restore as a whole.
func TestKilledSaver(t *testing.T) {
	t.Parallel()
	if os.Getenv("BUILTIN_SAVER") != "" {
		saveForever(t)
		return
	}
	m := newMachine(t)
	const rounds, each = 3, 4
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledSaver$")
		cmd.Env = append(os.Environ(), "BUILTIN_SAVER="+m.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, each)); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // it was killed
	}
	paths := parsePatterns([]string{"f"}, func(p string) string { return m.path("ws", p) })
	_, version, err := (&call{Call: Call{Scope: m.scope()}, set: m.set, action: m.set.actions["actions/cache/save"], in: map[string]string{"path": "f"}}).cachePaths()
	if err != nil {
		t.Fatal(err)
	}
	all, err := entries[cacheEntry](t.Context(), m.set.cacheDir("octo/cat", "refs/heads/main", version))
	if err != nil || len(all) < each {
		t.Fatalf("%d caches, %v", len(all), err)
	}
	for _, e := range all {
		if _, err := m.set.restore(t.Context(), &e, paths.roots()); err != nil {
			t.Errorf("%s: %v", e.Key, err)
		}
		if data, err := os.ReadFile(m.path("ws/f")); err != nil || !strings.HasPrefix(string(data), e.Key+" ") {
			t.Errorf("%s holds %.20q, %v", e.Key, data, err)
		}
	}
}

func saveForever(t *testing.T) {
	m := newMachine(t)
	m.set.cfg.Index = filepath.Join(os.Getenv("BUILTIN_SAVER"), "index")
	cfg := m.set.cfg
	cfg.Blobs = newMachineBlobs(t, filepath.Join(os.Getenv("BUILTIN_SAVER"), "blobs"))
	m.set = New(cfg)
	for i := 0; ; i++ {
		key := fmt.Sprintf("k-%d-%d", os.Getpid(), i)
		if err := os.WriteFile(m.path("ws/f"), []byte(key+strings.Repeat(" padding", 1000)), 0o644); err != nil {
			t.Fatal(err)
		}
		m.ok(m.run("actions/cache/save", map[string]string{"path": "f", "key": key}, m.scope()))
		os.Stdout.WriteString("x")
	}
}

// tarball makes an archive of headers. A size is filled with the letter x.
func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	for name, entries := range map[string][]tar.Header{
		"up":                          {dir("0"), file("0/../outside/f")},
		"up at once":                  {file("../outside/f")},
		"up inside":                   {dir("0"), file("0/a/../../../outside/f")},
		"absolute":                    {file("/outside/f")},
		"absolute below a root":       {file("0//outside/f")},
		"no root":                     {file("f")},
		"a root that is not there":    {file("7/f")},
		"a negative root":             {file("-1/f")},
		"a root in other digits":      {file("00/f")},
		"an empty name":               {file("0/./f")},
		"through a link out":          {dir("0"), link("0/l", "../outside"), file("0/l/f")},
		"through an absolute link":    {dir("0"), link("0/l", "/tmp"), file("0/l/f")},
		"through two links":           {dir("0"), link("0/a", ".."), link("0/b", "a/outside"), file("0/b/f")},
		"a directory through a link":  {dir("0"), link("0/l", "../outside"), dir("0/l/d")},
		"a link through a link":       {dir("0"), link("0/l", "../outside"), link("0/l/m", "x")},
		"a hard link":                 {dir("0"), {Typeflag: tar.TypeLink, Name: "0/h", Linkname: "/etc/passwd"}},
		"a device":                    {dir("0"), {Typeflag: tar.TypeChar, Name: "0/null", Devmajor: 1, Devminor: 3}},
		"a block device":              {{Typeflag: tar.TypeBlock, Name: "0/sda", Devmajor: 8}},
		"a pipe":                      {dir("0"), {Typeflag: tar.TypeFifo, Name: "0/p"}},
		"a long name":                 {file("0/" + strings.Repeat("n/", 3000) + "f")},
		"a file in place of a folder": {dir("0/d"), file("0/d")},
		"a file in place of the root": {dir("1"), file("1/keep"), file("1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			plant(t, top, map[string]string{"outside/": "", "root/": ""})
			roots := []string{filepath.Join(top, "root", "zero"), filepath.Join(top, "root", "one")}
			if _, err := unpack(t.Context(), bytes.NewReader(tarball(t, entries...)), roots); err == nil {
				t.Error("it was unpacked")
			}
			for f := range list(t, top) {
				if f != "outside/" && !strings.HasPrefix(f, "root/") {
					t.Errorf("%s was made", f)
				}
			}
		})
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "not zstd": []byte("PK\x03\x04"), "cut": tarball(t, file("0/f"))[:20],
		"a tail that never ends": append(tarball(t, file("0/f")), tarball(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 4 << 20})...),
	} {
		if _, err := unpack(t.Context(), bytes.NewReader(data), []string{t.TempDir()}); err == nil && name != "nothing" {
			t.Errorf("%s was unpacked", name)
		}
	}
	// A setuid bit is not kept.
	root := t.TempDir()
	h := file("0/f")
	h.Mode = 0o6755
	if _, err := unpack(t.Context(), bytes.NewReader(tarball(t, dir("0"), h)), []string{root}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "f")); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add("0/a", "../x", byte(tar.TypeReg), "0/b", "", byte(tar.TypeSymlink), []byte(nil))
	f.Add("0/l", "..", byte(tar.TypeSymlink), "0/l/f", "", byte(tar.TypeReg), []byte(nil))
	f.Add("1", "/", byte(tar.TypeSymlink), "1/etc", "", byte(tar.TypeDir), []byte("raw"))
	f.Fuzz(func(t *testing.T, name1, link1 string, type1 byte, name2, link2 string, type2 byte, raw []byte) {
		top := t.TempDir()
		roots := []string{filepath.Join(top, "root", "zero"), filepath.Join(top, "root", "one")}
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		for _, h := range []*tar.Header{{Name: name1, Linkname: link1, Typeflag: type1, Mode: 0o777}, {Name: name2, Linkname: link2, Typeflag: type2, Mode: 0o777}} {
			if w.WriteHeader(h) != nil {
				return
			}
		}
		if errors.Join(w.Close(), z.Close()) != nil {
			return
		}
		for _, data := range [][]byte{b.Bytes(), raw} {
			if _, err := unpack(context.Background(), bytes.NewReader(data), roots); err != nil {
				continue
			}
		}
		entries, err := os.ReadDir(top)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "root" {
				t.Errorf("%s was made outside", e.Name())
			}
		}
	})
}

func benchmarkTree(b *testing.B) (*machine, patterns, []found) {
	m := newMachine(b)
	data := bytes.Repeat([]byte("some text that can be compressed, as caches can be\n"), 200)
	for i := range 1000 {
		plant(b, m.path("ws"), map[string]string{fmt.Sprintf("deps/%d/%d/file", i%10, i): string(data)})
	}
	ps := parsePatterns([]string{"deps"}, func(p string) string { return m.path("ws", p) })
	list, err := ps.glob(search{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(1000 * len(data)))
	return m, ps, list
}

func BenchmarkSaveCache(b *testing.B) {
	m, ps, list := benchmarkTree(b)
	for b.Loop() {
		if _, _, _, err := m.set.store(b.Context(), ps, list); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestoreCache(b *testing.B) {
	m, ps, list := benchmarkTree(b)
	d, _, _, err := m.set.store(b.Context(), ps, list)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.set.restore(b.Context(), &cacheEntry{Digest: d}, ps.roots()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFindCache(b *testing.B) {
	m := newMachine(b)
	scope := cacheScope{repository: "octo/cat", refs: []string{"refs/heads/main"}}
	d, n, err := m.set.cfg.Blobs.Put(b.Context(), strings.NewReader("x"))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 200 {
		if err := m.set.addCache(b.Context(), scope, "v", fmt.Sprintf("deps-%d", i), d, n); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if e, err := m.set.findCache(b.Context(), scope, "v", []string{"other", "deps-1"}); err != nil || e == nil {
			b.Fatal(err)
		}
	}
}
