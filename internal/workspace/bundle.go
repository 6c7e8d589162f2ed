package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxHave is how many commits are named, at most, that the other side of a bundle has.
	maxHave = 1000
	// maxBundle bounds what is taken from a server as one bundle.
	maxBundle = 64 << 30
	// bundled is where the commits are kept that came in bundles.
	bundled = asideRefs + "bundled/"
)

// Head is the commit that the tree was checked out at. An error that wraps
// fs.ErrNotExist says that there is none.
func (t *Tree) Head(ctx context.Context) (sha string, err error) {
	if t.repo == nil {
		return "", fmt.Errorf("%s is no git repository: %w", t.root, fs.ErrNotExist)
	}
	if _, sha, err = t.repo.head(ctx); err == nil && sha == "" {
		err = fmt.Errorf("%s has no commit yet: %w", t.root, fs.ErrNotExist)
	}
	return sha, err
}

// Bundle writes the tree's commit, with the branches and tags that are known here, as
// a git bundle that [Mirror.Unbundle] takes. It leaves out what those have who have
// certain commits; names of commits that are not known here are of no use, and no harm.
func (t *Tree) Bundle(ctx context.Context, w io.Writer, have []string) error {
	sha, err := t.Head(ctx)
	if err != nil {
		return fmt.Errorf("make a bundle: %w", err)
	}
	g := git{dir: t.root, env: gitSettings([][2]string{{"protocol.allow", "never"}, {"gc.auto", "0"}})}
	known, err := g.known(ctx, have)
	if err != nil {
		return fmt.Errorf("make a bundle: %w", err)
	}
	args := []string{"bundle", "create", "--quiet", "-", "HEAD", "--remotes", "--tags"}
	for _, commit := range known {
		if commit != sha { // a bundle of nothing cannot be made
			args = append(args, "^"+commit)
		}
	}
	if err := g.stream(ctx, w, args...); err != nil {
		return fmt.Errorf("make a bundle of %s: %w", sha, err)
	}
	return nil
}

// known are those of the commits that are in the repository.
func (g git) known(ctx context.Context, commits []string) (known []string, err error) {
	var ask strings.Builder
	for _, c := range commits[:min(len(commits), maxHave)] {
		if isSHA(c) {
			ask.WriteString(c + "\n")
		}
	}
	if ask.Len() == 0 {
		return nil, nil
	}
	out, err := g.pipe(ctx, strings.NewReader(ask.String()), "cat-file", "--batch-check")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if name, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, "commit ") {
			known = append(known, name)
		}
	}
	return known, nil
}

// stream runs git and writes what it prints to w.
func (g git) stream(ctx context.Context, w io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(gitEnviron(os.Environ()), g.env...)
	said := &limited{max: maxGitStderr, drop: true}
	cmd.Stdout, cmd.Stderr = w, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = gitGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &gitError{args: args, stderr: said.String(), err: err}
	}
	return nil
}

// Tips are the newest commits that are here, at most a thousand: what need not be in a
// bundle.
func (m *Mirror) Tips(ctx context.Context) ([]string, error) {
	if !isDir(m.path()) {
		return nil, nil
	}
	out, err := m.here().output(ctx, "for-each-ref", "--sort=-committerdate", fmt.Sprintf("--count=%d", maxHave), "--format=%(objectname) %(*objectname)")
	if err != nil {
		return nil, fmt.Errorf("list what is here: %w", err)
	}
	var tips []string
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) > 0 {
			tips = append(tips, words[len(words)-1]) // of an annotated tag its commit
		}
	}
	slices.Sort(tips)
	return slices.Compact(tips), nil
}

// Unbundle takes a bundle of a commit into the mirror, which is made if there is none. Nobody
// is talked to. Afterwards the commit is here, or the error says why not.
func (m *Mirror) Unbundle(ctx context.Context, r io.Reader, sha string) error {
	if !isSHA(sha) {
		return fmt.Errorf("take a bundle: %w", ErrUnknownRef)
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(m.Dir, ".bundle-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	n, err := io.Copy(file, io.LimitReader(r, maxBundle+1))
	if err == nil && n > maxBundle {
		err = fmt.Errorf("it has more than %d bytes", int64(maxBundle))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("take a bundle of %s: %w", sha, err)
	}
	err = m.locked(ctx, func() error {
		if err := m.begun(ctx, len(sha)); err != nil {
			return err
		}
		g := m.here()
		g.env = gitSettings([][2]string{{"protocol.allow", "never"}, {"protocol.file.allow", "always"}, {"core.hooksPath", "/dev/null"}, {"gc.auto", "0"}})
		fetch := []string{"fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--", file.Name(), "+HEAD:" + bundled + sha}
		if err := g.run(ctx, append(fetch, "+refs/remotes/origin/*:refs/heads/*", "+refs/tags/*:refs/tags/*")...); err != nil {
			// A branch a/b may be in the way of one named a, which is gone over there.
			if err := g.run(ctx, fetch...); err != nil {
				return err
			}
		}
		return m.repack(ctx)
	})
	if err == nil && !m.Has(ctx, sha) {
		err = fmt.Errorf("it does not hold it: %w", ErrUnknownRef)
	}
	if err != nil {
		return fmt.Errorf("take a bundle of %s: %w", sha, err)
	}
	return nil
}

// begun makes an empty mirror if there is none, for names of a length. The caller holds the lock.
func (m *Mirror) begun(ctx context.Context, name int) error {
	if isDir(filepath.Join(m.path(), "objects")) {
		return nil
	}
	next, err := os.MkdirTemp(m.Dir, ".next-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	args := []string{"init", "--quiet", "--bare", "--template=", "--initial-branch=main"}
	if name == 64 {
		args = append(args, "--object-format=sha256")
	}
	if err := (git{dir: next, env: m.here().env}).run(ctx, append(args, "--", next)...); err != nil {
		return err
	}
	return os.Rename(next, m.path())
}
