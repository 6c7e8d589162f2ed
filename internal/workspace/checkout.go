package workspace

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Difference is a file in which a tree differs from a commit. One that is
// neither added nor removed holds something else, or has become something else.
type Difference struct {
	Path           string // slash path below the root; for a submodule its directory
	Added, Removed bool
}

// Changed lists the files in which the tree differs from base: committed,
// uncommitted, and untracked but not ignored; slash paths, sorted. The
// comparison is with the commit where the histories of base and HEAD parted.
// base is a commit or a branch, here or at the remote. known is false when
// there is nothing to compare with: no git, no base, no such commit.
func (t *Tree) Changed(ctx context.Context, base string) (files []string, known bool, err error) {
	if base == "" {
		return nil, false, nil
	}
	all, known, err := t.Differences(ctx, base)
	for _, d := range all {
		files = append(files, d.Path)
	}
	return files, known, err
}

// Differences is [Tree.Changed] with what became of each file. An empty base
// is HEAD: what is not committed.
func (t *Tree) Differences(ctx context.Context, base string) (all []Difference, known bool, err error) {
	if t.repo == nil || base != "" && strings.Trim(base, "0") == "" {
		return nil, false, nil
	}
	all, err = t.differences(ctx, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("changes since %s: %w", cmp.Or(base, "HEAD"), err)
	}
	return all, true, nil
}

func (t *Tree) differences(ctx context.Context, base string) ([]Difference, error) {
	g := git{dir: t.root}
	var at string
	var err error
	if base == "" {
		if _, at, err = t.repo.head(ctx); err != nil {
			return nil, err
		}
		at = cmp.Or(at, t.repo.emptyTree()) // no commit yet
	} else {
		if at, err = t.resolveHere(ctx, base); err != nil {
			return nil, err
		}
		if out, err := g.output(ctx, "merge-base", at, "HEAD"); err == nil {
			at = strings.TrimSpace(string(out))
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	out, err := g.output(ctx, "diff", "--name-status", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", at, "--")
	if err != nil {
		return nil, err
	}
	var all []Difference
	for words := strings.Split(string(out), "\x00"); len(words) >= 2; words = words[2:] {
		all = append(all, Difference{Path: words[1], Added: words[0] == "A", Removed: words[0] == "D"})
	}
	snap, err := t.snapshot(ctx, factsRun)
	if err != nil {
		return nil, err
	}
	for _, path := range snap.strange {
		all = append(all, Difference{Path: path, Added: true})
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	// A path that git says is gone and that is there untracked is neither.
	merged := all[:0]
	for _, d := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].Path == d.Path {
			merged[last].Added = merged[last].Added && d.Added
			merged[last].Removed = merged[last].Removed && d.Removed
			continue
		}
		merged = append(merged, d)
	}
	return merged, nil
}

// emptyTree is the name of the tree without files, which git always knows.
func (r *repository) emptyTree() string {
	if r.hash == sha256.Size {
		return fmt.Sprintf("%x", sha256.Sum256([]byte("tree 0\x00")))
	}
	return fmt.Sprintf("%x", sha1.Sum([]byte("tree 0\x00")))
}

// Resolve is the commit that a branch, a tag or a (short) commit means: in the
// repository, or, when it is not known there, at its remote. An error that wraps
// fs.ErrNotExist says that neither knows it.
func (t *Tree) Resolve(ctx context.Context, ref string) (commit string, err error) {
	at, err := t.resolveHere(ctx, ref)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return at, err
	}
	unknown := fmt.Errorf("ref %s: %w", ref, fs.ErrNotExist)
	if t.repo == nil || !plainWord(ref) {
		return "", unknown
	}
	cfg, err := t.repo.config(ctx)
	if err != nil {
		return "", err
	}
	remote, _, ok := t.repo.remoteOf(cfg, "")
	if !ok {
		return "", unknown
	}
	if isSHA(ref) {
		return ref, nil // only fetching it can tell
	}
	at, err = remoteRef(ctx, git{dir: t.root, env: network}, remote, ref)
	if err != nil {
		return "", fmt.Errorf("ref %s: %w", ref, err)
	}
	return at, nil
}

// resolveHere resolves a ref in the repository alone.
func (t *Tree) resolveHere(ctx context.Context, ref string) (string, error) {
	unknown := fmt.Errorf("ref %s: %w", ref, fs.ErrNotExist)
	if t.repo == nil || !plainWord(ref) {
		return "", unknown
	}
	tries := []string{ref}
	if !isSHA(ref) {
		if cfg, err := t.repo.config(ctx); err == nil {
			if remote, _, ok := t.repo.remoteOf(cfg, ""); ok {
				tries = append(tries, "refs/remotes/"+remote+"/"+strings.TrimPrefix(ref, "refs/heads/"))
			}
		}
	}
	for _, r := range tries {
		c, err := t.repo.commit(ctx, r)
		if err == nil {
			return c.SHA, nil
		}
		if !errors.Is(err, ErrNoCommit) {
			return "", err
		}
	}
	return "", unknown
}

// remoteRef asks a remote what a branch or a tag is; a tag wins.
func remoteRef(ctx context.Context, g git, remote, ref string) (string, error) {
	asked := []string{ref}
	if ref == "HEAD" {
		asked = []string{"HEAD"}
	} else if !strings.HasPrefix(ref, "refs/") {
		asked = []string{"refs/tags/" + ref + "^{}", "refs/tags/" + ref, "refs/heads/" + ref}
	} else if strings.HasPrefix(ref, "refs/tags/") {
		asked = []string{ref + "^{}", ref}
	}
	out, err := g.output(ctx, append([]string{"ls-remote", "--quiet", "--", remote}, asked...)...)
	if err != nil {
		return "", err
	}
	at := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && isSHA(sha) {
			at[name] = sha
		}
	}
	for _, name := range asked {
		if sha := at[name]; sha != "" {
			return sha, nil
		}
	}
	return "", fs.ErrNotExist
}

// CheckoutOptions say how a tree is checked out. The zero value is the whole tree.
type CheckoutOptions struct {
	Depth      int      // commits of history to fetch, 0 for all; of what is here, all is there
	Tags       bool     // fetch the tags too
	Submodules bool     // fill submodules
	Recursive  bool     // and theirs
	LFS        bool     // replace pointers of git-lfs by their files
	Sparse     []string // only these directories, or, with NoCone, patterns; none for everything
	NoCone     bool
}

// network is the environment of a git that may reach other machines: it never
// asks anything.
var network = []string{"GIT_SSH_COMMAND=ssh -o BatchMode=yes"}

// quiet are options of every git that writes a working tree: nothing that a
// repository brings along is run.
var quiet = []string{"-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"}

// CheckoutRef makes dest a working tree of the repository at a commit, branch
// or tag, with a .git of its own like that of a slot. Whatever was in dest is
// gone. What the repository does not have is fetched from its remote.
func (t *Tree) CheckoutRef(ctx context.Context, ref, dest string, o CheckoutOptions) error {
	if err := t.checkoutRef(ctx, ref, dest, o); err != nil {
		return fmt.Errorf("check out %s: %w", ref, err)
	}
	return nil
}

func (t *Tree) checkoutRef(ctx context.Context, ref, dest string, o CheckoutOptions) error {
	if t.repo == nil {
		return fmt.Errorf("%s is not a git repository: %w", t.root, fs.ErrNotExist)
	}
	commit, err := t.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	dot, err := t.repo.standIn("", false)
	if err != nil {
		return err
	}
	dot.files = slices.DeleteFunc(dot.files, func(f file) bool {
		return f.name == "index" || f.name == "HEAD"
	})
	b := standInBuilder{top: dot}
	b.make("HEAD", []byte(commit+"\n"))
	sortNodes(dot)
	if err := t.mendInto(ctx, dest, &node{perm: 0o755, dirs: []*node{dot}}); err != nil {
		return err
	}
	g := git{dir: dest, env: network}
	if g.run(ctx, "cat-file", "-e", commit+"^{commit}") != nil {
		remote, _, ok := t.repo.remoteOf(t.repo.local, "")
		if !ok {
			return fmt.Errorf("commit %s: %w", commit, fs.ErrNotExist)
		}
		if err := g.run(ctx, append(slices.Clone(quiet), fetchArgs(o, remote, commit)...)...); err != nil {
			return fetchError(err)
		}
	}
	return finishCheckout(ctx, g, commit, o)
}

func fetchArgs(o CheckoutOptions, remote, commit string) []string {
	args := []string{"fetch", "--quiet", "--no-recurse-submodules", "--force"}
	if o.Tags {
		args = append(args, "--tags")
	} else {
		args = append(args, "--no-tags")
	}
	if o.Depth > 0 {
		args = append(args, "--depth="+strconv.Itoa(o.Depth))
	}
	return append(args, "--", remote, commit)
}

// finishCheckout writes the working tree of a repository whose objects are
// there.
func finishCheckout(ctx context.Context, g git, commit string, o CheckoutOptions) error {
	if !o.LFS {
		g.env = append(slices.Clone(g.env), "GIT_LFS_SKIP_SMUDGE=1")
	}
	if len(o.Sparse) > 0 {
		cone := "--cone"
		if o.NoCone {
			cone = "--no-cone"
		}
		args := append(slices.Clone(quiet), "sparse-checkout", "set", cone, "--stdin")
		if _, err := g.pipe(ctx, strings.NewReader(strings.Join(o.Sparse, "\n")+"\n"), args...); err != nil {
			return err
		}
	}
	if err := g.run(ctx, append(slices.Clone(quiet), "checkout", "--quiet", "--force", "--detach", commit, "--")...); err != nil {
		return err
	}
	if o.Submodules || o.Recursive {
		return Submodules(ctx, g.dir, o.Recursive)
	}
	return nil
}

// Submodules fills the submodules of the working tree in dir.
func Submodules(ctx context.Context, dir string, recursive bool) error {
	args := append(slices.Clone(quiet), "-c", "protocol.ext.allow=never", "submodule", "update", "--init", "--force", "--quiet")
	if recursive {
		args = append(args, "--recursive")
	}
	if err := (git{dir: dir, env: network}).run(ctx, args...); err != nil {
		return fmt.Errorf("submodules of %s: %w", dir, err)
	}
	return nil
}

// CopyTo makes dest a copy of the tree as it is now, uncommitted changes and
// all, with a .git like that of a slot. Whatever was in dest is gone.
func (t *Tree) CopyTo(ctx context.Context, dest string) error {
	var skip fileID
	if fd, err := unix.Open(dest, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		skip, _ = idOf(fd) // dest may lie in the tree
		unix.Close(fd)
	}
	snap, err := t.look(ctx, skip)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", dest, err)
	}
	if err := t.mendInto(ctx, dest, snap.top); err != nil {
		return fmt.Errorf("copy to %s: %w", dest, err)
	}
	return nil
}

// mendInto makes a directory that nothing is known of hold n.
func (t *Tree) mendInto(ctx context.Context, dest string, n *node) error {
	if err := os.MkdirAll(filepath.Clean(dest), 0o755); err != nil {
		return err
	}
	fd, err := unix.Open(dest, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dest, err)
	}
	defer unix.Close(fd)
	m, err := t.mender(ctx, nil)
	if err != nil {
		return err
	}
	defer unix.Close(m.source)
	return m.mend(fd, n)
}
