package gitlab

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// A cache of GitLab's is known by its key alone, whatever its paths are: jobs
// that say the same key share it, and the last one to save it wins. Those of
// protected branches are kept apart from the others.

// cacheFormat is the version of all caches: what is in their archives.
const cacheFormat = "gitlab tar 1"

// What the caches of jobs are kept under, by the protection of the ref.
const (
	protectedCaches   = "protected"
	unprotectedCaches = "non_protected"
)

// maxKeyFile is how much of one of cache:key:files is read.
const maxKeyFile = 256 << 20

// cacheScope is what the job sees of the caches.
func (n *session) cacheScope(s *plan.Scope, env *environment, c *cacheSpec) depot.Scope {
	ref := unprotectedCaches
	if !c.Unprotect && env.value("CI_COMMIT_REF_PROTECTED") == "true" {
		ref = protectedCaches
	}
	return depot.Scope{Repository: s.Change.Repository, Refs: []string{ref}, Run: s.RunID, Job: n.spec.ID}
}

// cacheKey is the key of a cache. One that is made of files needs the workspace.
func (n *session) cacheKey(s *plan.Scope, env *environment, c *cacheSpec) (string, error) {
	if len(c.KeyFiles) == 0 {
		return cmp.Or(env.text(c.Key), "default"), nil
	}
	if s.Paper {
		return "", dialect.ErrPaper
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if key, ok := n.keys[c]; ok {
		return key, nil
	}
	key, err := filesKey(s.Dirs.Workspace, c.KeyFiles)
	if err != nil {
		return "", err
	}
	if prefix := env.text(c.Prefix); prefix != "" {
		key = prefix + "-" + key
	}
	if n.keys == nil {
		n.keys = map[*cacheSpec]string{}
	}
	n.keys[c] = key
	return key, nil
}

// filesKey is a digest of what the files hold, "default" when there is none of
// them. GitLab may make it of the commits that last changed them; what they
// hold tells the same apart, and changes that are not committed yet too.
func filesKey(dir string, files []string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("read the files of a cache key: %w", err)
	}
	defer root.Close()
	h, any := sha1.New(), false
	for _, name := range files {
		list := []string{name}
		if strings.ContainsAny(name, "*?[{") {
			patterns := depot.Choose([]string{name}, nil, func(p string) string { return filepath.Join(dir, p) })
			found, err := patterns.Glob(depot.Search{Links: true})
			if err != nil {
				return "", err
			}
			list = list[:0]
			for _, f := range found {
				if rel, err := filepath.Rel(dir, f.Path); err == nil && f.Info.Mode().IsRegular() {
					list = append(list, rel)
				}
			}
			slices.Sort(list)
		}
		for _, name := range list {
			f, err := root.Open(filepath.Clean(name))
			if err != nil {
				continue // one that is not there, or not within the workspace, does not count
			}
			var info fs.FileInfo
			if info, err = f.Stat(); err == nil && info.Mode().IsRegular() {
				fmt.Fprintf(h, "%d:%s", len(name), name)
				_, err = io.Copy(h, io.LimitReader(f, maxKeyFile))
				any = true
			}
			f.Close()
			if err != nil {
				return "", fmt.Errorf("read %s for a cache key: %w", name, err)
			}
		}
	}
	if !any {
		return "default", nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// policyOf says whether a cache is restored and saved.
func policyOf(env *environment, c *cacheSpec) (pull, push bool) {
	switch env.text(c.Policy) {
	case "pull":
		return true, false
	case "push":
		return false, true
	}
	return true, true
}

// wanted are the entries that would do for a cache, the best first.
func (n *session) wanted(ctx context.Context, s *plan.Scope, env *environment, c *cacheSpec) (key string, entry *depot.Cache, err error) {
	key, err = n.cacheKey(s, env, c)
	if err != nil {
		return "", nil, err
	}
	keys := []string{key}
	for _, k := range c.Fallback {
		keys = append(keys, env.text(k))
	}
	if k := env.value("CACHE_FALLBACK_KEY"); k != "" {
		keys = append(keys, k)
	}
	scope := n.cacheScope(s, env, c)
	for _, k := range keys {
		if entry, err = n.d.cfg.Depot.Cache(ctx, scope, cacheFormat, k); entry != nil || err != nil {
			break
		}
	}
	return key, entry, err
}

// nothingToRestore reports whether no cache of the job can be there, so that
// its workspace is not needed for that.
func (n *session) nothingToRestore(ctx context.Context, s *plan.Scope, env *environment) (bool, error) {
	if n.d.cfg.Depot == nil {
		return true, nil
	}
	for i := range n.spec.Cache {
		c := &n.spec.Cache[i]
		if pull, _ := policyOf(env, c); !pull {
			continue
		}
		_, entry, err := n.wanted(ctx, s, env, c)
		if errors.Is(err, dialect.ErrPaper) {
			return false, nil
		}
		if entry != nil || err != nil {
			return false, err
		}
	}
	return true, nil
}

// restoreCaches is the step before the script. That there is no cache, or one
// that is damaged, makes the job slower and not wrong.
func (w *work) restoreCaches(ctx context.Context) error {
	if w.d.cfg.Depot == nil {
		w.warn("caches are not kept here")
		return nil
	}
	for i := range w.spec.Cache {
		c := &w.spec.Cache[i]
		if pull, _ := policyOf(w.env, c); !pull {
			w.say("Not downloading cache %d due to policy", i+1)
			if _, err := w.cacheKey(w.s, w.env, c); err != nil && !errors.Is(err, dialect.ErrPaper) {
				return err
			}
			continue
		}
		key, entry, err := w.wanted(ctx, w.s, w.env, c)
		if err != nil {
			return err
		}
		w.say("Checking cache for %s...", key)
		if entry == nil {
			w.say("There is no cache for it yet.")
			continue
		}
		in, err := w.d.cfg.Depot.Unpack(ctx, entry.Digest, []string{w.s.Dirs.Workspace})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.warn("the cache %s could not be restored: %v", entry.Key, err)
		default:
			w.say("Successfully extracted cache %s: %d files and directories", entry.Key, in.Entries)
		}
	}
	return nil
}

// saveCaches is the step after the script.
func (w *work) saveCaches(ctx context.Context) error {
	if w.d.cfg.Depot == nil {
		return nil
	}
	for i := range w.spec.Cache {
		c := &w.spec.Cache[i]
		if _, push := policyOf(w.env, c); !push {
			w.say("Not uploading cache %d due to policy", i+1)
			continue
		}
		if !ends(c.When, w.s.Status) {
			w.say("Not uploading cache %d: it is saved %s", i+1, strings.ReplaceAll(c.When, "_", " "))
			continue
		}
		if err := w.saveCache(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) saveCache(ctx context.Context, c *cacheSpec) error {
	key, err := w.cacheKey(w.s, w.env, c)
	if err != nil {
		return err
	}
	w.say("Creating cache %s...", key)
	list, err := w.collect(ctx, selection{paths: c.Paths, untracked: c.Untracked})
	if errors.Is(err, depot.ErrTooMany) {
		w.warn("the cache was not saved: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if len(list) == 0 {
		w.say("There is nothing to keep, and the cache stays as it was.")
		return nil
	}
	root, git := w.s.Dirs.Workspace, filepath.Join(w.s.Dirs.Workspace, ".git")
	digest, size, in, err := w.d.cfg.Depot.Pack(ctx, []string{root}, list, func(path string, _ bool) bool { return path == git })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		w.warn("the cache was not saved: %v", err)
		return nil
	}
	if err := w.d.cfg.Depot.AddCache(ctx, w.cacheScope(w.s, w.env, c), cacheFormat, key, digest, size, true); err != nil {
		return err
	}
	w.say("Created cache: %d files and directories", in.Entries)
	return nil
}

// selection says which files of the workspace are kept.
type selection struct {
	paths, exclude []string
	untracked      bool
}

// collect finds the files of a selection, telling of each path what it found.
// What lies outside of the workspace is not kept.
func (w *work) collect(ctx context.Context, want selection) ([]depot.Found, error) {
	var list []depot.Found
	dir := w.s.Dirs.Workspace
	absolute := func(p string) string {
		if filepath.IsAbs(p) {
			return filepath.Clean(p)
		}
		return filepath.Join(dir, p)
	}
	exclude := make([]string, len(want.exclude))
	for i, p := range want.exclude {
		exclude[i] = w.env.text(p)
	}
	for _, p := range want.paths {
		p = w.env.text(p)
		if !depot.Within(dir, absolute(p)) {
			w.warn("%s: lies outside of the project's directory (%s), and is not kept", p, dir)
			continue
		}
		found, err := depot.Choose([]string{p}, exclude, absolute).Glob(depot.Search{Descend: true, Links: true})
		if err != nil {
			return nil, err
		}
		if found = ours(dir, found); len(found) == 0 {
			w.say("WARNING: %s: no matching files. Ensure that the path is relative to the working directory (%s)", p, dir)
		} else {
			w.say("%s: found %d matching files and directories", p, len(found))
		}
		list = append(list, found...)
	}
	if want.untracked {
		found, err := w.untracked(ctx, depot.Choose([]string{"."}, exclude, absolute))
		if err != nil {
			return nil, err
		}
		w.say("untracked: found %d files", len(found))
		list = append(list, found...)
	}
	slices.SortFunc(list, func(a, b depot.Found) int { return comparePaths(a.Path, b.Path) })
	return slices.CompactFunc(list, func(a, b depot.Found) bool { return a.Path == b.Path }), nil
}

// ours leaves those that lie in the workspace and are not git's own.
func ours(dir string, list []depot.Found) []depot.Found {
	git := filepath.Join(dir, ".git")
	return slices.DeleteFunc(list, func(f depot.Found) bool {
		return !depot.Within(dir, f.Path) || depot.Within(git, f.Path)
	})
}

// comparePaths orders paths as a walk meets them: a directory comes right
// before what is in it.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/':
			return 1
		default:
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

// untracked finds the files that were not in the workspace when the job began:
// what git does not know, downloaded artifacts and restored caches included.
func (w *work) untracked(ctx context.Context, all depot.Patterns) ([]depot.Found, error) {
	tree, err := workspace.Open(ctx, w.s.Root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	paper, err := tree.Paper(ctx, w.s.RunID)
	if err != nil {
		return nil, err
	}
	list, err := all.Glob(depot.Search{Descend: true, Links: true})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ours(w.s.Dirs.Workspace, list), func(f depot.Found) bool {
		rel, err := filepath.Rel(w.s.Dirs.Workspace, f.Path)
		if err != nil || f.Info.IsDir() {
			return true
		}
		_, there := paper.Look(filepath.ToSlash(rel))
		return there
	}), nil
}
