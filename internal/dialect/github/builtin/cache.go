package builtin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The limits of GitHub's cache service.
const (
	maxCacheKeys      = 10
	maxCacheKeyLength = 512
)

// State that the main step of actions/cache leaves for its post step.
const (
	stateCacheKey     = "CACHE_KEY"
	stateCacheMatched = "CACHE_RESULT"
)

// scopeOf is what the job may see of the caches. A branch sees its own, those
// of the branch it is to be merged into, and those of the default branch.
func scopeOf(s *plan.Scope) depot.Scope {
	c := s.Change
	scope := depot.Scope{Repository: c.Repository, Run: s.RunID}
	if s.Job != nil {
		scope.Job = s.Job.ID
	}
	for _, ref := range []string{c.Ref, branchRef(c.BaseRef), branchRef(c.DefaultBranch)} {
		if ref != "" && !slices.Contains(scope.Refs, ref) {
			scope.Refs = append(scope.Refs, ref)
		}
	}
	if len(scope.Refs) == 0 {
		scope.Refs = []string{"HEAD"} // a tree without a branch
	}
	return scope
}

func branchRef(name string) string {
	if name == "" || strings.HasPrefix(name, "refs/") {
		return name
	}
	return "refs/heads/" + name
}

// cachePaths are the inputs that say what is cached.
func (c *call) cachePaths() (paths depot.Patterns, version string, err error) {
	cross, err := c.flag("enableCrossOsArchive")
	if err != nil {
		return nil, "", err
	}
	lines := c.lines("path")
	paths = depot.ParsePatterns(lines, c.absolute)
	if len(paths.Roots()) == 0 {
		return nil, "", failf("%s: the input \"path\" names nothing to keep", c.action.Name)
	}
	// The version keeps apart what would not fit: other paths, another
	// format, and as on GitHub another family of systems.
	parts := []string{"fairlead tar 1"}
	for _, line := range lines {
		parts = append(parts, c.portable(line))
	}
	if runtime.GOOS == "windows" && !cross {
		parts = append(parts, "windows")
	}
	return paths, depot.Hash(parts...), nil
}

// portable is a path without what differs from job to job: where the
// directories of the room are.
func (c *call) portable(line string) string {
	d := c.Scope.Dirs
	for n, dir := range []string{d.Workspace, d.Temp, d.Tools, c.home()} {
		before, after, ok := strings.Cut(line, dir)
		if ok && dir != "" && strings.Trim(before, "!") == "" && depot.Within(dir, dir+after) {
			return fmt.Sprintf("%s<%d>%s", before, n, after)
		}
	}
	return line
}

func checkKey(key string) error {
	if len(key) > maxCacheKeyLength {
		return failf("the cache key %.60q… is longer than %d characters", key, maxCacheKeyLength)
	}
	if strings.Contains(key, ",") {
		return failf("the cache key %q has a comma, which keys may not have", key)
	}
	return nil
}

// restoreCache is the main step of actions/cache and actions/cache/restore.
func restoreCache(ctx context.Context, c *call) error {
	key := c.input("key")
	keys := append([]string{key}, c.lines("restore-keys")...)
	if len(keys) > maxCacheKeys {
		return failf("%s: there are %d keys; at most %d are allowed", c.action.Name, len(keys), maxCacheKeys)
	}
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	paths, version, err := c.cachePaths()
	if err != nil {
		return err
	}
	mustHit, err := c.flag("fail-on-cache-miss")
	if err != nil {
		return err
	}
	look, err := c.flag("lookup-only")
	if err != nil {
		return err
	}
	c.state(stateCacheKey, key)
	c.output("cache-primary-key", key)

	entry, err := c.set.depot.FindCache(ctx, scopeOf(c.Scope), version, keys)
	if err != nil {
		return err
	}
	if entry != nil && !look {
		n, err := c.set.depot.Unpack(ctx, entry.Digest, paths.Roots())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			// A cache is a help and no condition: without it the job is
			// slower, not wrong.
			c.warn("the cache %s could not be restored: %v", entry.Key, err)
			entry = nil
		default:
			c.say("Cache restored from key: %s (%d entries, %s)", entry.Key, n.Entries, size(n.Bytes))
		}
	}
	if entry == nil {
		if mustHit {
			return failf("there is no cache for the key %s, and fail-on-cache-miss is set", key)
		}
		c.say("Cache not found for input keys: %s", strings.Join(keys, ", "))
		return nil
	}
	if look {
		c.say("Cache found and can be restored from key: %s", entry.Key)
	}
	c.state(stateCacheMatched, entry.Key)
	c.output("cache-matched-key", entry.Key)
	c.output("cache-hit", strconv.FormatBool(strings.EqualFold(entry.Key, key)))
	return nil
}

// saveMissedCache is the post step of actions/cache.
func saveMissedCache(ctx context.Context, c *call) error {
	key := c.State[stateCacheKey]
	if key == "" {
		key = c.input("key")
	}
	if strings.EqualFold(c.State[stateCacheMatched], key) {
		c.say("Cache hit occurred on the primary key %s, not saving cache.", key)
		return nil
	}
	return c.save(ctx, key)
}

// saveCache is actions/cache/save.
func saveCache(ctx context.Context, c *call) error { return c.save(ctx, c.input("key")) }

// save saves the paths under the key. As with the real action, what goes
// wrong is a warning: the job has done its work by then.
func (c *call) save(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	paths, version, err := c.cachePaths()
	if err != nil {
		return err
	}
	scope := scopeOf(c.Scope)
	taken, err := c.set.depot.Cache(ctx, scope, version, key)
	if err != nil {
		return err
	}
	if taken != nil {
		c.say("A cache with the key %s exists already and is kept as it is.", key)
		return nil
	}
	list, err := paths.Glob(depot.Search{})
	if err != nil {
		c.warn("the cache was not saved: %v", err)
		return nil
	}
	if len(list) == 0 {
		c.warn("nothing of what is to be cached exists (%s), so nothing was saved", strings.Join(c.lines("path"), ", "))
		return nil
	}
	digest, n, in, err := c.set.depot.Pack(ctx, paths.Roots(), list, paths.Excluded)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		c.warn("the cache was not saved: %v", err)
		return nil
	}
	err = c.set.depot.AddCache(ctx, scope, version, key, digest, n, false)
	if errors.Is(err, depot.ErrTaken) {
		c.say("Another job has saved a cache with the key %s meanwhile; that one is kept.", key)
		return nil
	}
	if err != nil {
		return err
	}
	c.say("Cache saved with key: %s (%d entries, %s, %s compressed)", key, in.Entries, size(in.Bytes), size(n))
	return nil
}
