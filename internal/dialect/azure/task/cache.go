package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// State that the main step of Cache leaves for its post step.
const (
	stateKey = "CACHE_KEY"
	stateHit = "CACHE_HIT"
)

// maxKey is how long a key may be.
const maxKey = 4096

// fingerprint is a key whose segments are resolved: files by what is in them,
// others as they are.
func (c *call) fingerprint(key string) (string, error) {
	var out []string
	for segment := range strings.SplitSeq(key, "|") {
		segment = strings.TrimSpace(segment)
		switch {
		case segment == "":
			continue
		case len(segment) > 1 && segment[0] == '"' && segment[len(segment)-1] == '"':
			out = append(out, segment[1:len(segment)-1])
		case pathy(segment):
			digest, err := c.digest(segment)
			if err != nil {
				return "", err
			}
			out = append(out, digest)
		default:
			out = append(out, segment)
		}
	}
	text := strings.Join(out, "|")
	if len(text) > maxKey {
		return "", failf("Cache: the key is longer than %d bytes", maxKey)
	}
	return text, nil
}

// pathy reports whether a segment of a key names files.
func pathy(segment string) bool {
	return !strings.ContainsAny(segment, "\x00\"<>") && strings.ContainsAny(segment, "./\\") && !strings.HasSuffix(segment, ".")
}

// digest is that of the files which a segment names.
func (c *call) digest(segment string) (string, error) {
	patterns := strings.Split(segment, ",")
	for i := range patterns {
		patterns[i] = strings.TrimSpace(patterns[i])
	}
	list, err := c.find(c.Scope.Dirs.Workspace, patterns, depot.Search{})
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", failf("Cache: no file matches %s, which is a part of the key; put it in double quotes if it is no file", segment)
	}
	slices.SortFunc(list, func(a, b depot.Found) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, f := range list {
		rel, err := filepath.Rel(c.Scope.Dirs.Workspace, f.Path)
		if err != nil {
			rel = f.Path
		}
		fmt.Fprintf(h, "%s\x00%d\x00", filepath.ToSlash(rel), f.Info.Size())
		in, err := os.Open(f.Path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, in)
		_ = in.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// cachePaths are the directories that are kept, and the version that keeps
// apart what would not fit.
func (c *call) cachePaths() (depot.Patterns, string) {
	lines := c.lines("path")
	home := c.Scope.Dirs.Home
	if home == "" {
		home = c.Env["HOME"]
	}
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	absolute := func(p string) string {
		if p == "~" || strings.HasPrefix(p, "~/") {
			return filepath.Join(home, p[1:])
		}
		return c.path(p)
	}
	version := []string{"fairlead azure 1", runtime.GOOS}
	for _, line := range lines {
		rel := absolute(line)
		for name, dir := range map[string]string{"sources": c.Scope.Dirs.Workspace, "work": c.Work, "temp": c.Scope.Dirs.Temp} {
			if r, err := filepath.Rel(dir, absolute(line)); err == nil && filepath.IsLocal(r) && (name != "temp" || !depot.Within(c.Work, absolute(line))) {
				rel = "<" + name + ">/" + r
			}
		}
		version = append(version, rel)
	}
	return depot.ParsePatterns(lines, absolute), depot.Hash(version...)
}

// cacheScope is what the job may see of the caches: its own branch, the one it
// is to be merged into, and the default branch.
func cacheScope(s *plan.Scope) depot.Scope {
	scope := depot.Scope{Repository: s.Change.Repository, Run: s.RunID}
	if s.Job != nil {
		scope.Job = s.Job.ID
	}
	full := func(name string) string {
		if name == "" || strings.HasPrefix(name, "refs/") {
			return name
		}
		return "refs/heads/" + name
	}
	for _, ref := range []string{s.Change.Ref, full(s.Change.BaseRef), full(s.Change.DefaultBranch)} {
		if ref != "" && !slices.Contains(scope.Refs, ref) {
			scope.Refs = append(scope.Refs, ref)
		}
	}
	if len(scope.Refs) == 0 {
		scope.Refs = []string{"HEAD"} // a tree without a branch
	}
	return scope
}

func restoreCache(ctx context.Context, c *call) error {
	store := c.set.cfg.Depot
	if store == nil {
		c.warn("there is no place for caches here; the job goes on without")
		return nil
	}
	key, err := c.fingerprint(c.input("key"))
	if err != nil {
		return err
	}
	keys := []string{key}
	for _, line := range c.lines("restoreKeys") {
		k, err := c.fingerprint(line)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	c.state(stateKey, key)
	paths, version := c.cachePaths()
	entry, err := store.FindCache(ctx, cacheScope(c.Scope), version, keys)
	if err != nil {
		return err
	}
	if entry != nil && entry.Key != key && len(keys) == 1 {
		entry = nil // without restoreKeys only the key itself counts
	}
	hit := "false"
	if entry != nil {
		n, err := store.Unpack(ctx, entry.Digest, paths.Roots())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.warn("the cache %s could not be restored: %v", entry.Key, err)
		default:
			hit = "inexact"
			if entry.Key == key {
				hit = "true"
			}
			c.say("Cache restored: %s (%d entries, %d bytes)", entry.Key, n.Entries, n.Bytes)
		}
	} else {
		c.say("There is no cache for %s", key)
	}
	if name := c.input("cacheHitVar"); name != "" {
		c.variable(name, hit)
	}
	c.state(stateHit, hit)
	return nil
}

func saveCache(ctx context.Context, c *call) error {
	store, key := c.set.cfg.Depot, c.State[stateKey]
	if store == nil || key == "" {
		return nil
	}
	if c.State[stateHit] == "true" {
		c.say("The cache %s is kept as it is", key)
		return nil
	}
	paths, version := c.cachePaths()
	list, err := paths.Glob(depot.Search{Descend: true, Links: true})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		c.warn("there is nothing to keep at %s", strings.Join(c.lines("path"), ", "))
		return nil
	}
	digest, size, in, err := store.Pack(ctx, paths.Roots(), list, paths.Excluded)
	if err != nil {
		return err
	}
	if err := store.AddCache(ctx, cacheScope(c.Scope), version, key, digest, size, true); err != nil {
		return err
	}
	c.say("Cache saved: %s (%d entries, %d bytes)", key, in.Entries, size)
	return nil
}
