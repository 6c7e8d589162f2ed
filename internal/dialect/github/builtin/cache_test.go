package builtin

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
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
		depottest.Plant(t, m.path("ws"), files)
		depottest.Plant(t, m.path("ws"), map[string]string{"src/main.go": "not cached", "pkg/x/node_modules/c/left": "out"})
		depottest.Plant(t, m.path("home"), home)
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
	if got := depottest.List(t, m.path("ws")); !maps.Equal(got, files) {
		t.Errorf("the workspace has %v\nwant %v", got, files)
	}
	if got := depottest.List(t, m.path("home")); !maps.Equal(got, home) {
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
	if got := depottest.List(t, m.path("temp/ws2")); !maps.Equal(got, files) || main.output("cache-hit") != "true" {
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
			if files := depottest.List(t, m.path("ws")); len(files) > 0 {
				t.Errorf("looking up restored %v", files)
			}
			r2 := m.ok(m.run("actions/cache/restore", inputs, m.scope(in)))
			for _, r := range []result{r, r2} {
				if r.output("cache-hit") != tt.hit {
					t.Errorf("cache-hit is %q, want %q", r.output("cache-hit"), tt.hit)
				}
			}
			if got := depottest.List(t, m.path("ws"))["f"]; got != tt.matched {
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
	depottest.Plant(t, m.path("ws"), map[string]string{"a": "", "b": ""})
	m.ok(m.run("actions/cache/save", map[string]string{"path": "a", "key": "k"}, m.scope()))
	if r := m.ok(m.run("actions/cache/restore", map[string]string{"path": "b", "key": "k"}, m.scope())); r.output("cache-hit") != "" {
		t.Errorf("hit: %s", r.log)
	}
}

func TestCacheOfAbsolutePathsMovesWithTheWorkspace(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	depottest.Plant(t, m.path("ws"), map[string]string{"a/b": "text"})
	depottest.Plant(t, m.path("temp/ws2"), map[string]string{"other": ""})
	m.ok(m.run("actions/cache/save", map[string]string{"path": m.path("ws/a"), "key": "k"}, m.scope()))
	s := m.scope(func(s *plan.Scope) { s.Dirs.Workspace = m.path("temp/ws2") })
	if r := m.ok(m.run("actions/cache/restore", map[string]string{"path": m.path("temp/ws2/a"), "key": "k"}, s)); r.output("cache-hit") != "true" {
		t.Errorf("a miss: %s", r.log)
	}
	if got := depottest.List(t, m.path("temp/ws2")); got["a/b"] != "text" {
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
	depottest.Plant(t, m.path("ws"), map[string]string{"f": "precious"})
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
		depottest.Plant(t, m.path(dir), map[string]string{"f": fmt.Sprint(i)})
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
	if got := depottest.List(t, m.path("ws"))["f"]; len(winners) != 1 || winners[0] != got {
		t.Errorf("winners %v, restored %q", winners, got)
	}
}
