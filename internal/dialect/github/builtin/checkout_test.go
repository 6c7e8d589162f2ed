package builtin

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// fakeTrees writes down what it is asked for, and leaves a file "who".
type fakeTrees struct {
	mu    sync.Mutex
	calls []string
	refs  map[string]string // ref -> commit
	err   error
}

func (f *fakeTrees) note(dst, format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	f.calls = append(f.calls, text)
	if f.err != nil || dst == "" {
		return f.err
	}
	return os.WriteFile(filepath.Join(dst, "who"), []byte(text), 0o644)
}

func (f *fakeTrees) Copy(_ context.Context, _ *plan.Scope, dst string) error {
	return f.note(dst, "copy to %s", filepath.Base(dst))
}

func (f *fakeTrees) Resolve(_ context.Context, _ *plan.Scope, ref string) (string, error) {
	if commit, ok := f.refs[ref]; ok {
		return commit, nil
	}
	return "", fmt.Errorf("no %s: %w", ref, fs.ErrNotExist)
}

func (f *fakeTrees) Switch(_ context.Context, _ *plan.Scope, commit, dst string, o TreeOptions) error {
	return f.note(dst, "switch %s to %.3s depth %d", filepath.Base(dst), commit, o.Depth)
}

func (f *fakeTrees) Clone(_ context.Context, r Remote, dst string, o TreeOptions) (string, error) {
	return strings.Repeat("c", 40), f.note(dst, "clone %s %s %q to %s %+v", r.Server, r.Repository, r.Ref, filepath.Base(dst), o)
}

func (f *fakeTrees) Submodules(_ context.Context, _ *plan.Scope, dir string, recursive bool) error {
	return f.note("", "submodules of %s, recursive %v", filepath.Base(dir), recursive)
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	own, other := strings.Repeat("a", 40), strings.Repeat("b", 40)
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		change func(*plan.Scope)
		files  map[string]string // in the workspace before
		err    error             // of git

		calls, log, fail string
		gone             string // a file of the workspace that must not be there afterwards
		ref, commit      string
	}{
		{name: "plain", log: "your tree as it is: aaaaaaaaaaaa", ref: "refs/heads/main", commit: own},
		{name: "dirty", change: func(s *plan.Scope) { s.Change.Dirty = true }, log: "with uncommitted changes", ref: "refs/heads/main", commit: own},
		{name: "no commit", change: func(s *plan.Scope) { s.Change.SHA = strings.Repeat("0", 40) }, log: "no commit yet", ref: "refs/heads/main", commit: strings.Repeat("0", 40)},
		{name: "own repository by name", inputs: map[string]string{"repository": "Octo/Cat"}, log: "as it is", ref: "refs/heads/main", commit: own},
		{name: "own branch", inputs: map[string]string{"ref": "main"}, log: "as it is", ref: "main", commit: own},
		{name: "own commit", inputs: map[string]string{"ref": own}, log: "as it is", ref: own, commit: own},
		{name: "head of the pull request", inputs: map[string]string{"ref": "topic"},
			change: func(s *plan.Scope) { s.Change.Ref, s.Change.HeadRef = "refs/pull/1/merge", "topic" }, log: "as it is", ref: "topic", commit: own},
		{name: "another name for the same commit", inputs: map[string]string{"ref": "same"}, log: "as it is", ref: "same", commit: own},
		{name: "another ref", inputs: map[string]string{"ref": "v1", "fetch-depth": "0"}, files: map[string]string{"keep": ""}, calls: "switch ws to bbb depth 0", log: "Checked out v1 (bbbbbbbbbbbb)", ref: "v1", commit: other},
		{name: "another ref in a directory", inputs: map[string]string{"ref": "v1", "path": "old"}, files: map[string]string{"old/stale": ""}, calls: "switch old to bbb depth 1", gone: "old/stale", ref: "v1", commit: other},
		{name: "unknown ref", inputs: map[string]string{"ref": "nope"}, fail: "no branch, tag or commit nope in octo/cat"},
		{name: "in a directory", inputs: map[string]string{"path": "sub/src"}, files: map[string]string{"sub/src/stale": "", "sub/keep": ""}, calls: "copy to src", gone: "sub/src/stale", log: "is in sub/src", ref: "refs/heads/main", commit: own},
		{name: "absolute path inside", inputs: map[string]string{"path": "WS/x"}, calls: "copy to x", ref: "refs/heads/main", commit: own},
		{name: "outside", inputs: map[string]string{"path": "../x"}, fail: "not in the workspace"},
		{name: "outside, sly", inputs: map[string]string{"path": "a/../../wsx"}, fail: "not in the workspace"},
		{name: "outside through a link", inputs: map[string]string{"path": "link/x"}, files: map[string]string{"link": "-> ../home"}, fail: "cannot be made in the workspace"},
		{name: "a link as the path", inputs: map[string]string{"path": "link"}, files: map[string]string{"link": "-> ../home"}, calls: "copy to link", ref: "refs/heads/main", commit: own},
		{name: "another repository", inputs: map[string]string{"repository": "a/b", "path": "b", "ref": "v2", "submodules": "recursive", "lfs": "true", "sparse-checkout": "x\n y ", "fetch-tags": "true"},
			calls: `clone https://github.com a/b "v2" to b {Depth:1 Tags:true Submodules:true Recursive:true LFS:true Sparse:[x y] NoCone:false}`, log: "Checked out a/b at cccccccccccc", ref: "v2", commit: strings.Repeat("c", 40)},
		{name: "another repository over the tree", inputs: map[string]string{"repository": "a/b"}, files: map[string]string{"mine": ""}, calls: `clone https://github.com a/b "" to ws {Depth:1 Tags:false Submodules:false Recursive:false LFS:false Sparse:[] NoCone:false}`, gone: "mine", commit: strings.Repeat("c", 40)},
		{name: "another server", inputs: map[string]string{"repository": "a/b", "path": "b", "github-server-url": "https://ghe.example.com/"}, calls: `clone https://ghe.example.com a/b "" to b {Depth:1 Tags:false Submodules:false Recursive:false LFS:false Sparse:[] NoCone:false}`, commit: strings.Repeat("c", 40)},
		{name: "no such repository", inputs: map[string]string{"repository": "a/b", "path": "b", "ref": "v9"}, err: fs.ErrNotExist, calls: "*", fail: "a/b at v9 was not found"},
		{name: "not a repository", inputs: map[string]string{"repository": "--upload-pack=x"}, fail: "must be owner/name"},
		{name: "submodules there", inputs: map[string]string{"submodules": "true"}, files: map[string]string{".gitmodules": "[submodule \"m\"]\n\tpath = mod\n", "mod/x": ""}, ref: "refs/heads/main", commit: own},
		{name: "submodules missing", inputs: map[string]string{"submodules": "true"}, files: map[string]string{".gitmodules": "[submodule \"m\"]\n\tpath = mod\n\turl=x\n", "mod/": ""}, calls: "submodules of ws, recursive false", log: "Filled submodules: mod", ref: "refs/heads/main", commit: own},
		{name: "shallow", inputs: map[string]string{"fetch-depth": "0"}, files: map[string]string{".git/shallow": "x"}, log: "--unshallow", ref: "refs/heads/main", commit: own},
		{name: "keys", inputs: map[string]string{"ssh-key": "x"}, log: `"ssh-key" is not used`, ref: "refs/heads/main", commit: own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.trees.refs = map[string]string{"v1": other, "same": own}
			m.trees.err = tt.err
			depottest.Plant(t, m.path("ws"), tt.files)
			s := m.scope()
			if tt.change != nil {
				tt.change(s)
			}
			if p, ok := strings.CutPrefix(tt.inputs["path"], "WS"); ok {
				tt.inputs["path"] = m.path("ws") + p
			}
			r := m.run("actions/checkout", tt.inputs, s)
			if !strings.Contains(r.Fail, tt.fail) || tt.fail == "" && r.Fail != "" {
				t.Fatalf("failed with %q, want %q", r.Fail, tt.fail)
			}
			if !strings.Contains(r.log, tt.log) {
				t.Errorf("log %q, want %q", r.log, tt.log)
			}
			if got := strings.Join(m.trees.calls, "; "); got != tt.calls && tt.calls != "*" {
				t.Errorf("git was asked: %s\nwant %s", got, tt.calls)
			}
			if r.output("ref") != tt.ref || r.output("commit") != tt.commit {
				t.Errorf("outputs %v", r.Outputs)
			}
			if tt.gone != "" {
				if _, err := os.Lstat(m.path("ws", tt.gone)); err == nil {
					t.Errorf("%s is still there", tt.gone)
				}
			}
			if outside := depottest.List(t, m.path("home")); len(outside) > 0 {
				t.Errorf("outside the workspace: %v", outside)
			}
		})
	}
}

func TestCheckoutInPlaceReplacesNothing(t *testing.T) {
	t.Parallel()
	for _, inputs := range []map[string]string{
		{"path": "src"}, {"ref": "v1"}, {"repository": "a/b"}, {"repository": "a/b", "path": "src"},
	} {
		m := newMachine(t, func(c *Config) { c.InPlace = true })
		m.trees.refs = map[string]string{"v1": strings.Repeat("b", 40)}
		depottest.Plant(t, m.path("ws"), map[string]string{"src/mine": "precious"})
		r := m.run("actions/checkout", inputs, m.scope())
		if !strings.Contains(r.Fail, "would be replaced") || len(m.trees.calls) > 0 {
			t.Errorf("%v: failed with %q, git was asked %v", inputs, r.Fail, m.trees.calls)
		}
		if got := depottest.List(t, m.path("ws")); got["src/mine"] != "precious" {
			t.Errorf("%v: the tree is %v", inputs, got)
		}
	}
	m := newMachine(t, func(c *Config) { c.InPlace = true })
	depottest.Plant(t, m.path("ws"), map[string]string{"mine": ""})
	m.ok(m.run("actions/checkout", nil, m.scope()))
	m.ok(m.run("actions/checkout", map[string]string{"repository": "a/b", "path": "new"}, m.scope()))
}

func TestCheckoutWithoutGit(t *testing.T) {
	t.Parallel()
	m := newMachine(t, func(c *Config) { c.Trees = nil })
	m.ok(m.run("actions/checkout", map[string]string{"submodules": "true"}, m.scope()))
	for _, inputs := range []map[string]string{{"ref": "v1"}, {"path": "x"}, {"repository": "a/b"}} {
		if r := m.run("actions/checkout", inputs, m.scope()); !strings.Contains(r.Fail, "no git") {
			t.Errorf("%v: %q", inputs, r.Fail)
		}
	}
}
