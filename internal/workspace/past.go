package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Past answers what a repository holds at its commits, whatever lies in its working
// tree: any directory of a repository, or a bare one. It asks git and talks to
// nobody. Errors wrap fs.ErrNotExist when the commit or the file is not there.
type Past struct{ Dir string }

// maxDiff is the size in bytes of the largest diff that is given out.
const maxDiff = 64 << 20

// maxShown is the size in bytes of the largest file that is.
const maxShown = 16 << 20

func (p Past) git() git {
	return git{dir: p.Dir, env: gitSettings([][2]string{{"protocol.allow", "never"}, {"core.hooksPath", "/dev/null"}, {"core.quotePath", "false"}})}
}

// Commit is the commit that a branch, a tag or a (short) commit means. Of a name
// that is none here, but a branch of the remote, it is that.
func (p Past) Commit(ctx context.Context, ref string) (string, error) {
	if !plainWord(ref) || strings.HasPrefix(ref, "-") {
		return "", fmt.Errorf("commit %.80q: %w", ref, fs.ErrNotExist)
	}
	var err error
	for _, name := range []string{ref, "refs/remotes/origin/" + ref} {
		var out []byte
		if out, err = p.git().output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}"); err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	return "", p.absent(ctx, "commit "+ref, err)
}

// Before is the first parent of a commit or, of the first commit of a history, the
// empty tree: what it is compared with.
func (p Past) Before(ctx context.Context, commit string) (string, error) {
	if !isSHA(commit) {
		return "", fmt.Errorf("commit %.80q: %w", commit, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "rev-list", "--parents", "--max-count=1", commit)
	if err != nil {
		return "", p.absent(ctx, "commit "+commit, err)
	}
	if ids := strings.Fields(string(out)); len(ids) > 1 {
		return ids[1], nil
	}
	return (&repository{hash: len(commit) / 2}).emptyTree(), nil
}

// Files are the files of a commit: slash paths, sorted by git.
func (p Past) Files(ctx context.Context, commit string) ([]string, error) {
	if !isSHA(commit) {
		return nil, fmt.Errorf("list commit %.80q: %w", commit, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
	if err != nil {
		return nil, p.absent(ctx, "list commit "+commit, err)
	}
	return fields(out), nil
}

// Present are the files of the working tree: those that git knows, and those that
// it does not know and is not told to ignore.
func (p Past) Present(ctx context.Context) ([]string, error) {
	out, err := p.git().output(ctx, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, p.absent(ctx, "list the working tree", err)
	}
	return fields(out), nil
}

func fields(out []byte) []string {
	out = bytes.TrimSuffix(out, []byte{0})
	if len(out) == 0 {
		return nil
	}
	return strings.Split(string(out), "\x00")
}

// Fork is where the histories of two commits parted: the newest commit that both
// have.
func (p Past) Fork(ctx context.Context, a, b string) (string, error) {
	if !isSHA(a) || !isSHA(b) {
		return "", fmt.Errorf("compare %.80q with %.80q: %w", a, b, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "merge-base", a, b)
	if err != nil {
		return "", p.absent(ctx, "compare "+a+" with "+b, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Diff is what changed between two commits, as a unified diff with renames and so
// many lines around each change; with no second commit, between the commit and the
// working tree.
func (p Past) Diff(ctx context.Context, from, to string, around int) ([]byte, error) {
	if !isSHA(from) || to != "" && !isSHA(to) {
		return nil, fmt.Errorf("compare %.80q with %.80q: %w", from, to, fs.ErrNotExist)
	}
	args := []string{"diff", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--src-prefix=a/", "--dst-prefix=b/", fmt.Sprintf("--unified=%d", around), from}
	if to != "" {
		args = append(args, to)
	}
	out, err := p.git().output(ctx, append(args, "--")...)
	if err != nil {
		return nil, p.absent(ctx, "compare commits", err)
	}
	if len(out) > maxDiff {
		return nil, fmt.Errorf("compare commits: the difference is larger than %d MiB", maxDiff>>20)
	}
	return out, nil
}

// File is a file as a commit has it.
func (p Past) File(ctx context.Context, commit, name string) ([]byte, error) {
	if !isSHA(commit) || !fs.ValidPath(name) {
		return nil, fmt.Errorf("read %.80q: %w", name, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "cat-file", "blob", commit+":"+name)
	if err != nil {
		return nil, p.absent(ctx, "read "+name, err)
	}
	if len(out) > maxShown {
		return nil, fmt.Errorf("read %s: it is larger than %d MiB", name, maxShown>>20)
	}
	return out, nil
}

// absent is the error of a git that found nothing, or failed.
func (p Past) absent(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code := exitCode(err); code == 1 || code == 128 || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", doing, fs.ErrNotExist)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Past is what the mirror holds.
func (m *Mirror) Past() Past { return Past{Dir: m.path()} }
