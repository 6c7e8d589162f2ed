package task

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
)

const checkoutName = "checkout"

// checkoutTask is the step of that name. The workspace holds the user's tree
// before the first step, so that the usual checkout has nothing to do.
func checkoutTask() *Task { return &Task{Name: checkoutName, do: checkout} }

// self reports whether the pipeline's own repository is meant.
func (c *call) self() bool { return strings.EqualFold(c.input("checkout"), "self") }

// idle reports whether a checkout leaves everything as it is.
func (c *call) idle() bool {
	switch strings.ToLower(c.input("checkout")) {
	case "none":
		return true
	case "self":
		return !c.Many && c.atHome() && !c.submodules()
	}
	return false
}

func (c *call) submodules() bool {
	v := strings.ToLower(c.input("submodules"))
	return v == "true" || v == "recursive"
}

// atHome reports whether the checkout is to be where the sources are anyway.
func (c *call) atHome() bool {
	p := strings.Trim(path.Clean(strings.ReplaceAll(c.input("path"), `\`, "/")), "/")
	return p == "" || p == "." || p == "s"
}

// place is where a checkout goes.
func (c *call) place(name string) string {
	p := strings.Trim(path.Clean("/"+strings.ReplaceAll(c.input("path"), `\`, "/")), "/")
	workspace := c.Scope.Dirs.Workspace
	switch {
	case p == "" && c.Many:
		return filepath.Join(workspace, path.Base(name))
	case p == "" || p == "s":
		return workspace
	}
	if rest, ok := strings.CutPrefix(p, "s/"); ok {
		return filepath.Join(workspace, filepath.FromSlash(rest))
	}
	return filepath.Join(c.Work, filepath.FromSlash(p))
}

func checkout(ctx context.Context, c *call) error {
	alias := c.input("checkout")
	if strings.EqualFold(alias, "none") {
		c.say("Nothing is checked out; the tree is there all the same")
		return nil
	}
	change := c.Scope.Change
	name, ref, server := change.Repository, "", change.Server
	if !c.self() {
		r, ok := c.Remotes[alias]
		switch {
		case ok:
			name, ref = r["name"], r["ref"]
		case strings.HasPrefix(alias, "git://") || strings.HasPrefix(alias, "github://"):
			_, rest, _ := strings.Cut(alias, "://")
			name, ref, _ = strings.Cut(rest, "@")
		default:
			return failf("checkout: the repository %.80q is not named in resources:", alias)
		}
		if r["type"] == "github" || strings.HasPrefix(alias, "github://") {
			server = "https://github.com"
		}
	}
	dst := c.place(name)
	if c.self() && dst == c.Scope.Dirs.Workspace {
		c.say("The workspace holds your tree as it is")
		return c.complete(ctx, dst)
	}
	trees := c.set.cfg.Trees
	if trees == nil {
		return lacking{"checkout: " + name + " cannot be checked out here: there is no git", ""}
	}
	prepare := c.clear
	if dst == c.Scope.Dirs.Workspace {
		prepare = empty
	}
	if err := prepare(dst); err != nil {
		return err
	}
	if c.self() {
		if err := trees.Copy(ctx, c.Scope, dst); err != nil {
			return err
		}
		c.say("Your tree as it is is in %s", dst)
		c.variable("Build.Repository.LocalPath", dst)
		return c.complete(ctx, dst)
	}
	depth, _ := strconv.Atoi(c.input("fetchDepth"))
	commit, err := trees.Clone(ctx, strings.TrimSuffix(server, "/"), name, ref, dst, depth)
	if errors.Is(err, fs.ErrNotExist) {
		return failf("checkout: %s was not found: %v", name, err)
	}
	if err != nil {
		return err
	}
	c.say("Checked out %s at %s in %s", name, commit[:min(len(commit), 12)], dst)
	return c.complete(ctx, dst)
}

func (c *call) complete(ctx context.Context, dir string) error {
	if !c.submodules() || c.set.cfg.Trees == nil {
		return nil
	}
	return c.set.cfg.Trees.Submodules(ctx, c.Scope, dir, strings.EqualFold(c.input("submodules"), "recursive"))
}

// clear makes an empty directory, in the sources or beside them. A symbolic
// link on the way must not lead out.
func (c *call) clear(dst string) error {
	base := c.Scope.Dirs.Workspace
	if !depot.Within(base, dst) {
		base = c.Work
		if err := os.MkdirAll(base, 0o755); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(base, dst)
	if err == nil {
		err = root.RemoveAll(rel)
	}
	if err == nil {
		err = root.MkdirAll(rel, 0o755)
	}
	return err
}
