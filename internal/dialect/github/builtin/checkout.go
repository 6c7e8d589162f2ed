package builtin

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Trees is what checkout asks of those who know git. Directories are
// absolute; dst is empty or does not exist, except where a method says
// otherwise. An error that wraps fs.ErrNotExist means that there is no such
// repository, branch, tag or commit; other errors are failures of the machine
// or the network.
type Trees interface {
	// Copy makes dst a copy of the tree that the job's workspace was made
	// from, as it was then: with its .git and with uncommitted changes.
	Copy(ctx context.Context, s *plan.Scope, dst string) error

	// Resolve is the commit that a branch, tag or (short) commit means in
	// the user's repository, which is asked first and its remote only if the
	// name is not known there.
	Resolve(ctx context.Context, s *plan.Scope, ref string) (commit string, err error)

	// Switch makes dst a working tree of the user's repository at a commit
	// that Resolve returned. If dst is a working tree already, it is switched:
	// its changes and untracked files are gone afterwards.
	Switch(ctx context.Context, s *plan.Scope, commit, dst string, o TreeOptions) error

	// Clone makes dst a working tree of another repository.
	Clone(ctx context.Context, r Remote, dst string, o TreeOptions) (commit string, err error)

	// Submodules fills the submodules of the working tree in dir.
	Submodules(ctx context.Context, s *plan.Scope, dir string, recursive bool) error
}

// Remote is a repository elsewhere.
type Remote struct {
	Server     string // "https://github.com"
	Repository string // owner/name
	Ref        string // branch, tag or commit; "" for the default branch
	Token      string // "" for the user's own credentials
}

// TreeOptions say how a tree is checked out.
type TreeOptions struct {
	Depth      int  // number of commits; 0 for all
	Tags       bool // fetch tags too
	Submodules bool
	Recursive  bool // submodules of submodules
	LFS        bool
	Sparse     []string // only these patterns; none: everything
	NoCone     bool     // the patterns are not directories
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$`)

// checkout is actions/checkout. The workspace holds the user's tree before the
// first step, so that the usual checkout has nothing to do.
func checkout(ctx context.Context, c *call) error {
	o, err := c.treeOptions()
	if err != nil {
		return err
	}
	dst, err := c.checkoutPath()
	if err != nil {
		return err
	}
	for _, name := range []string{"ssh-key", "ssh-known-hosts"} {
		if c.input(name) != "" {
			c.warn("the input %q is not used here: git asks for credentials as it does in your shell", name)
		}
	}
	change := c.Scope.Change
	repository := c.input("repository")
	if repository != "" && !strings.EqualFold(repository, change.Repository) {
		return c.checkoutOther(ctx, repository, dst, o)
	}

	commit, same := change.SHA, c.isOwnRef(c.input("ref"))
	if !same {
		if c.set.cfg.Trees == nil {
			return failf("checkout: the ref %s is not the one this run is of (%s), and there is no git to ask", c.input("ref"), change.Ref)
		}
		commit, err = c.set.cfg.Trees.Resolve(ctx, c.Scope, c.input("ref"))
		if errors.Is(err, fs.ErrNotExist) {
			return failf("checkout: there is no branch, tag or commit %s in %s or its remote", c.input("ref"), change.Repository)
		}
		if err != nil {
			return err
		}
		same = commit == change.SHA
	}
	ref := c.input("ref")
	if ref == "" {
		ref = change.Ref
	}
	what := short(commit)
	switch {
	case same && dst == c.workspace():
		c.say("The workspace holds your tree as it is: %s", c.describe())
	case same:
		if err := c.clearFor(dst); err != nil {
			return err
		}
		if c.set.cfg.Trees == nil {
			return failf("checkout: the tree cannot be put into %s here: there is no git", c.input("path"))
		}
		if err := c.set.cfg.Trees.Copy(ctx, c.Scope, dst); err != nil {
			return err
		}
		c.say("Your tree as it is (%s) is in %s", c.describe(), c.input("path"))
	default:
		if dst != c.workspace() {
			err = c.clearFor(dst)
		} else {
			err = c.mayReplace(dst)
		}
		if err != nil {
			return err
		}
		if err := c.set.cfg.Trees.Switch(ctx, c.Scope, commit, dst, o); err != nil {
			return err
		}
		c.say("Checked out %s (%s), not your tree as it is", ref, what)
	}
	if same {
		if err := c.complete(ctx, dst, o); err != nil {
			return err
		}
	}
	c.output("ref", ref)
	c.output("commit", commit)
	return nil
}

// keepsTree reports whether a checkout leaves the workspace as it is: the
// user's tree, with nothing to complete.
func keepsTree(c *call) bool {
	o, err := c.treeOptions()
	repository := c.input("repository")
	return err == nil && o.Depth > 0 && !o.Submodules && c.input("path") == "" &&
		(repository == "" || strings.EqualFold(repository, c.Scope.Change.Repository)) && c.isOwnRef(c.input("ref"))
}

// checkoutOther checks out a repository that is not the run's own.
func (c *call) checkoutOther(ctx context.Context, repository, dst string, o TreeOptions) error {
	if !repositoryName.MatchString(repository) {
		return failf("checkout: the input \"repository\" must be owner/name, not %.80q", repository)
	}
	if c.set.cfg.Trees == nil {
		return failf("checkout: %s cannot be checked out here: there is no git", repository)
	}
	server := c.input("github-server-url")
	if server == "" {
		server = c.Scope.Change.Server
	}
	if err := c.clearFor(dst); err != nil {
		return err
	}
	remote := Remote{Server: strings.TrimSuffix(server, "/"), Repository: repository, Ref: c.input("ref"), Token: c.input("token")}
	commit, err := c.set.cfg.Trees.Clone(ctx, remote, dst, o)
	if errors.Is(err, fs.ErrNotExist) {
		at := repository
		if remote.Ref != "" {
			at += " at " + remote.Ref
		}
		return failf("checkout: %s was not found: %v", at, err)
	}
	if err != nil {
		return err
	}
	c.say("Checked out %s at %s", repository, short(commit))
	c.output("ref", remote.Ref)
	c.output("commit", commit)
	return nil
}

func (c *call) treeOptions() (o TreeOptions, err error) {
	const most = 1 << 30
	if o.Depth, err = c.number("fetch-depth", 0, most, 1); err != nil {
		return o, err
	}
	if o.Tags, err = c.flag("fetch-tags"); err != nil {
		return o, err
	}
	if o.LFS, err = c.flag("lfs"); err != nil {
		return o, err
	}
	cone, err := c.flag("sparse-checkout-cone-mode")
	if err != nil {
		return o, err
	}
	o.Sparse, o.NoCone = c.lines("sparse-checkout"), !cone
	if strings.EqualFold(c.input("submodules"), "recursive") {
		o.Submodules, o.Recursive = true, true
		return o, nil
	}
	o.Submodules, err = c.flag("submodules")
	return o, err
}

// checkoutPath is where the tree goes: the workspace or a directory in it.
func (c *call) checkoutPath() (string, error) {
	given := c.input("path")
	dst := given
	if !filepath.IsAbs(dst) {
		dst = filepath.Join(c.workspace(), dst)
	}
	dst = filepath.Clean(dst)
	if !depot.Within(c.workspace(), dst) {
		return "", failf("checkout: the path %s is not in the workspace %s", given, c.workspace())
	}
	return dst, nil
}

// isOwnRef reports whether the ref is, by its name alone, the one that the
// run is of.
func (c *call) isOwnRef(ref string) bool {
	change := c.Scope.Change
	if ref == "" || ref == change.Ref || strings.EqualFold(ref, change.SHA) {
		return true
	}
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(change.Ref, prefix); ok && name == ref {
			return true
		}
	}
	// The tree under test is the head of a pull request.
	return change.HeadRef != "" && (ref == change.HeadRef || ref == "refs/heads/"+change.HeadRef)
}

// describe says in a few words what the user's tree is.
func (c *call) describe() string {
	text := short(c.Scope.Change.SHA)
	if c.Scope.Change.Dirty {
		text += " with uncommitted changes"
	}
	return text
}

func short(commit string) string {
	const enough = 12
	if strings.Trim(commit, "0") == "" {
		return "no commit yet"
	}
	return commit[:min(len(commit), enough)]
}

// mayReplace says whether what is in the directory may be thrown away.
func (c *call) mayReplace(dst string) error {
	if !c.set.cfg.InPlace {
		return nil
	}
	entries, err := os.ReadDir(dst)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return failf("checkout: %s would be replaced, and this run works in your own tree; run it without --in-place", dst)
}

// clearFor empties a directory of the workspace for a tree to come. A
// symbolic link on the way must not lead out of the workspace.
func (c *call) clearFor(dst string) error {
	if err := c.mayReplace(dst); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.workspace())
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(c.workspace(), dst)
	if err != nil {
		return err
	}
	if rel != "." {
		err := root.RemoveAll(rel)
		if err == nil {
			err = root.MkdirAll(rel, 0o755)
		}
		if err != nil {
			return failf("checkout: the path %s cannot be made in the workspace: %v", c.input("path"), err)
		}
		return nil
	}
	entries, err := os.ReadDir(dst)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// complete sees to what the user's tree may lack and the inputs ask for.
func (c *call) complete(ctx context.Context, dir string, o TreeOptions) error {
	if o.Depth == 0 {
		if _, err := os.Stat(filepath.Join(dir, ".git", "shallow")); err == nil {
			c.warn("fetch-depth is 0, but your repository is a shallow clone, so the history is cut off; \"git fetch --unshallow\" completes it")
		}
	}
	if !o.Submodules || c.set.cfg.Trees == nil {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, ".gitmodules"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	empty := slices.DeleteFunc(submodulePaths(data), func(path string) bool {
		entries, err := os.ReadDir(filepath.Join(dir, path))
		return err != nil || len(entries) > 0
	})
	if len(empty) == 0 && !o.Recursive {
		return nil
	}
	if err := c.set.cfg.Trees.Submodules(ctx, c.Scope, dir, o.Recursive); err != nil {
		return err
	}
	if len(empty) > 0 {
		c.say("Filled submodules: %s", strings.Join(empty, ", "))
	}
	return nil
}

// submodulePaths reads the paths out of a .gitmodules file.
func submodulePaths(data []byte) []string {
	var paths []string
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(line, "=")
		if path := strings.Trim(strings.TrimSpace(value), `"`); ok && strings.TrimSpace(name) == "path" && filepath.IsLocal(path) {
			paths = append(paths, path)
		}
	}
	return paths
}
