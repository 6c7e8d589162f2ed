package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// Facts is what a tree says of itself: what a code host would tell in an event.
type Facts struct {
	Ref    string // "refs/heads/main"; "refs/tags/v1" when a tagged commit is checked out; "HEAD" for any other commit
	SHA    string // the commit; "" when there is none yet
	Branch string // "main"; "" when no branch is checked out
	Tag    string // a tag of the commit, when no branch is checked out
	Dirty  bool   // the tree is not what the commit says: changed, missing or untracked files

	Remote     string // address of the remote, without credentials; "" for none
	Repository string // "owner/name"; "local/<directory>" when no remote says
	Server     string // "https://github.com"

	DefaultBranch string
	Actor         string // git's user.name, or the account's name

	// Before is the commit that the work began from: the merge base with the
	// upstream or the default branch, or the parent when nothing is ahead of
	// that. "" when there is none.
	Before string

	Commit CommitInfo // that is checked out; zero when there is none yet
}

const defaultServer = "https://github.com"

// Facts reads the tree's facts. For a plain directory only those of the account
// are known.
func (t *Tree) Facts(ctx context.Context) (Facts, error) {
	f, err := t.facts(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("facts of %s: %w", t.root, err)
	}
	return f, nil
}

func (t *Tree) facts(ctx context.Context) (Facts, error) {
	t.shared.forget() // what is asked now is about now
	f := Facts{Server: defaultServer, Repository: "local/" + filepath.Base(t.root), DefaultBranch: "main"}
	if t.repo == nil {
		f.Ref, f.Branch = "refs/heads/main", "main"
		f.Actor = accountName()
		return f, nil
	}
	r := t.repo
	cfg, err := r.config(ctx)
	if err != nil {
		return f, err
	}
	ref, sha, err := r.head(ctx)
	if err != nil {
		return f, err
	}
	f.SHA, f.Ref = sha, ref
	if ref == "" {
		f.Ref = "HEAD"
		if f.Tag = r.tagAt(ctx, sha); f.Tag != "" {
			f.Ref = "refs/tags/" + f.Tag
		}
	}
	f.Branch, _ = strings.CutPrefix(f.Ref, "refs/heads/")
	if f.Branch == f.Ref {
		f.Branch = ""
	}
	f.Actor, _ = cfg.get("user", "", "name")
	if f.Actor == "" {
		f.Actor = accountName()
	}
	remote, u, ok := r.remoteOf(cfg, f.Branch)
	if ok {
		f.Remote = u.clean
		if u.host != "" {
			f.Server, f.Repository = "https://"+u.host, u.path
		}
		if !strings.Contains(f.Repository, "/") {
			f.Repository = "local/" + f.Repository
		}
	}
	f.DefaultBranch = r.defaultBranch(cfg, remote, f.Branch)
	if f.Dirty, err = t.dirty(ctx, sha); err != nil {
		return f, err
	}
	if f.SHA != "" {
		if f.Commit, err = r.commit(ctx, f.SHA); err != nil {
			return f, err
		}
	}
	f.Before, err = r.before(ctx, cfg, remote, &f)
	return f, err
}

// accountName is the name of the account on this machine.
func accountName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), "unknown")
}

// defaultBranch is what the remote's HEAD says, or the usual names.
func (r *repository) defaultBranch(cfg settings, remote, current string) string {
	if remote != "" && !r.tables {
		prefix := "refs/remotes/" + remote + "/"
		if to, _, err := r.loose(prefix + "HEAD"); err == nil {
			if b, ok := strings.CutPrefix(to, prefix); ok && b != "" {
				return b
			}
		}
	}
	names := []string{"main", "master"}
	if n, ok := cfg.get("init", "", "defaultbranch"); ok && n != "" {
		names = slices.Insert(names, 0, n)
	}
	for _, prefix := range []string{"refs/remotes/" + remote + "/", "refs/heads/"} {
		for _, n := range names {
			if _, err := r.resolve(context.Background(), prefix+n); err == nil {
				return n
			}
		}
	}
	return cmp.Or(current, names[0])
}

// dirty reports whether the tree is other than the commit.
func (t *Tree) dirty(ctx context.Context, sha string) (bool, error) {
	snap, err := t.snapshot(ctx, factsRun)
	if err != nil {
		return false, err
	}
	if snap.stand == changed {
		return true, nil
	}
	stand := snap.stand
	for _, s := range snap.staged {
		at := sha
		if s.repo != t.repo {
			if _, at, err = s.repo.head(ctx); err != nil {
				return false, err
			}
		}
		switch {
		case at == "" && !s.empty:
			return true, nil
		case at == "" || s.empty && s.tree == "":
			continue
		case s.tree == "":
			stand = unsure
			continue
		}
		c, err := s.repo.commit(ctx, at)
		if err != nil {
			return false, err
		}
		if c.Tree != s.tree {
			return true, nil
		}
	}
	if stand == same {
		return false, nil
	}
	// Some look touched but may hold the same: git reads them.
	out, err := git{dir: t.root}.output(ctx, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return false, err
	}
	return len(out) > 0, nil
}

// factsRun names the look at the tree that facts share.
const factsRun = "\x00facts"

// before finds what the work began from.
func (r *repository) before(ctx context.Context, cfg settings, remote string, f *Facts) (string, error) {
	if f.SHA == "" {
		return "", nil
	}
	var bases []string
	if merge, ok := cfg.get("branch", f.Branch, "merge"); ok && f.Branch != "" {
		if b, ok := strings.CutPrefix(merge, "refs/heads/"); ok && remote != "" && f.Branch == f.DefaultBranch {
			bases = append(bases, "refs/remotes/"+remote+"/"+b)
		}
	}
	if remote != "" {
		bases = append(bases, "refs/remotes/"+remote+"/"+f.DefaultBranch)
	}
	if f.Branch != f.DefaultBranch {
		bases = append(bases, "refs/heads/"+f.DefaultBranch)
	}
	for _, b := range bases {
		at, err := r.resolve(ctx, b)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if at == f.SHA {
			break // nothing is ahead: the last commit is the work
		}
		out, err := git{dir: r.work}.output(ctx, "merge-base", f.SHA, at)
		if exitCode(err) == 1 {
			continue // histories that never met
		}
		if err != nil {
			return "", fmt.Errorf("merge base with %s: %w", b, err)
		}
		if base := strings.TrimSpace(string(out)); base != f.SHA {
			return base, nil
		}
		break
	}
	if len(f.Commit.Parents) == 0 {
		return "", nil
	}
	return f.Commit.Parents[0], nil
}
