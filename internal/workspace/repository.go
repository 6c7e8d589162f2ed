package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// repository is the .git of a working tree, read without starting git
// (gitrepository-layout(5)).
type repository struct {
	work   string // the working tree
	git    string // HEAD and index of this working tree
	common string // refs, objects and configuration; shared by linked worktrees
	bare   bool
	local  settings // of the repository alone
	hash   int      // bytes of an object's name
	tables bool     // refs are in the reftable format, which only git reads

	once sync.Once
	full settings // with those of the machine and the account
	err  error

	last atomic.Pointer[CommitInfo] // read: several ask for the same one in a row
}

// openRepository looks for .git in a directory. Without one the error is
// fs.ErrNotExist.
func openRepository(work string) (*repository, error) {
	dot := filepath.Join(work, ".git")
	st, err := os.Stat(dot)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "not a directory") {
			return nil, fs.ErrNotExist
		}
		return nil, err
	}
	r := &repository{work: work, git: dot, hash: 20}
	if !st.IsDir() {
		// A gitfile: a linked worktree, a submodule, a separate git directory.
		text, err := readLimited(dot, maxRefBytes)
		if err != nil {
			return nil, err
		}
		to, ok := strings.CutPrefix(strings.TrimRight(string(text), "\r\n"), "gitdir: ")
		if !ok {
			return nil, fmt.Errorf("%s is neither a directory nor a gitfile: %w", dot, fs.ErrNotExist)
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(work, to)
		}
		r.git = filepath.Clean(to)
	}
	r.common = r.git
	if text, err := readLimited(filepath.Join(r.git, "commondir"), maxRefBytes); err == nil {
		to := strings.TrimRight(string(text), "\r\n")
		if !filepath.IsAbs(to) {
			to = filepath.Join(r.git, to)
		}
		r.common = filepath.Clean(to)
	}
	// A .git without these is no repository for git either, which then walks on up.
	if _, err := os.Lstat(filepath.Join(r.git, "HEAD")); err != nil {
		return nil, fmt.Errorf("%s: %w", r.git, fs.ErrNotExist)
	}
	if _, err := os.Stat(filepath.Join(r.common, "objects")); err != nil {
		return nil, fmt.Errorf("%s: %w", r.common, fs.ErrNotExist)
	}
	text, err := readLimited(filepath.Join(r.common, "config"), maxConfigBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if r.local, err = parseConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(r.common, "config"), err)
	}
	if r.local.truth("extensions", "worktreeconfig") {
		if text, err := readLimited(filepath.Join(r.git, "config.worktree"), maxConfigBytes); err == nil {
			own, err := parseConfig(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(r.git, "config.worktree"), err)
			}
			r.local = append(r.local, own...)
		}
	}
	if v, _ := r.local.get("extensions", "", "objectformat"); v == "sha256" {
		r.hash = 32
	}
	if v, _ := r.local.get("extensions", "", "refstorage"); v == "reftable" {
		r.tables = true
	}
	// core.bare is the main repository's word; linked worktrees do not heed it.
	r.bare = r.git == r.common && r.local.truth("core", "bare")
	return r, nil
}

// config is the configuration with that of the machine and the account.
func (r *repository) config(ctx context.Context) (settings, error) {
	r.once.Do(func() { r.full, r.err = r.readConfig(ctx) })
	return r.full, r.err
}

func (r *repository) readConfig(ctx context.Context) (settings, error) {
	var all settings
	for _, f := range append(userConfigFiles(), filepath.Join(r.common, "config")) {
		s, err := readConfig(f, 0)
		if errors.Is(err, errConditional) {
			return askConfig(ctx, r.work)
		}
		if err != nil {
			return nil, fmt.Errorf("git configuration: %w", err)
		}
		all = append(all, s...)
	}
	if r.local.truth("extensions", "worktreeconfig") {
		s, err := readConfig(filepath.Join(r.git, "config.worktree"), 0)
		if err != nil {
			return nil, fmt.Errorf("git configuration: %w", err)
		}
		all = append(all, s...)
	}
	return all, nil
}

// askConfig lets git read the configuration, conditions and all.
func askConfig(ctx context.Context, dir string) (settings, error) {
	out, err := git{dir: dir}.output(ctx, "config", "--list", "--null", "--includes")
	if err != nil {
		return nil, fmt.Errorf("git configuration: %w", err)
	}
	var all settings
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		name, value, ok := strings.Cut(line, "\n")
		if !ok {
			value = "true"
		}
		section, key, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		sub := ""
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			sub, key = key[:i], key[i+1:]
		}
		all = append(all, setting{section, sub, key, value})
	}
	return all, nil
}

// head is where HEAD points: a branch that may not be born yet (ref set, sha
// empty), or a commit alone (ref empty).
func (r *repository) head(ctx context.Context) (ref, sha string, err error) {
	if r.tables {
		out, err := git{dir: r.work}.output(ctx, "symbolic-ref", "--quiet", "HEAD")
		if err == nil {
			ref = strings.TrimSpace(string(out))
		}
		out, err = git{dir: r.work}.output(ctx, "rev-parse", "--verify", "--quiet", "HEAD")
		if err == nil {
			sha = strings.TrimSpace(string(out))
		}
		return ref, sha, nil
	}
	text, err := readLimited(filepath.Join(r.git, "HEAD"), maxRefBytes)
	if err != nil {
		return "", "", fmt.Errorf("read HEAD: %w", err)
	}
	line := strings.TrimRight(string(text), " \t\r\n")
	if to, ok := strings.CutPrefix(line, "ref:"); ok {
		ref = strings.TrimSpace(to)
		if !validRef(ref) {
			return "", "", fmt.Errorf("read HEAD: bad ref %q", ref)
		}
		sha, err = r.resolve(ctx, ref)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // no commit yet
		}
		return ref, sha, err
	}
	if !isSHA(line) {
		return "", "", fmt.Errorf("read HEAD: neither a ref nor a commit: %q", line)
	}
	return "", line, nil
}

// resolve gives the object that a full ref name stands for; fs.ErrNotExist if
// there is no such ref.
func (r *repository) resolve(ctx context.Context, ref string) (string, error) {
	if r.tables {
		out, err := git{dir: r.work}.output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", ref)
		if err != nil {
			return "", fs.ErrNotExist
		}
		return strings.TrimSpace(string(out)), nil
	}
	for range maxSymrefDepth {
		to, sha, err := r.loose(ref)
		if errors.Is(err, fs.ErrNotExist) {
			return r.packed(ref)
		}
		if err != nil || sha != "" {
			return sha, err
		}
		ref = to
	}
	return "", fmt.Errorf("ref %s: symbolic refs nested deeper than %d", ref, maxSymrefDepth)
}

// loose reads a ref's own file: either a symbolic ref or an object.
func (r *repository) loose(ref string) (to, sha string, err error) {
	if !validRef(ref) {
		return "", "", fs.ErrNotExist
	}
	for _, base := range []string{r.git, r.common} {
		text, err := readLimited(filepath.Join(base, ref), maxRefBytes)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || err != nil && strings.Contains(err.Error(), "not a directory") {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("read ref: %w", err)
		}
		line := strings.TrimRight(string(text), " \t\r\n")
		if to, ok := strings.CutPrefix(line, "ref:"); ok {
			return strings.TrimSpace(to), "", nil
		}
		if !isSHA(line) {
			return "", "", fmt.Errorf("ref %s holds neither a ref nor an object", ref)
		}
		return "", line, nil
	}
	return "", "", fs.ErrNotExist
}

func (r *repository) packed(ref string) (string, error) {
	text, err := readLimited(filepath.Join(r.common, "packed-refs"), maxPackedRefs)
	if err != nil {
		return "", err
	}
	found := ""
	parsePackedRefs(text, func(name, sha, peeled string) bool {
		if name == ref {
			found = sha
		}
		return found == ""
	})
	if found == "" {
		return "", fs.ErrNotExist
	}
	return found, nil
}

// parsePackedRefs calls yield for each ref of a packed-refs file until it
// returns false. peeled is what an annotated tag points to, where known.
// Lines that are none are passed over.
func parsePackedRefs(text []byte, yield func(name, sha, peeled string) bool) {
	var name, sha string
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		line = bytes.TrimRight(line, "\r")
		if len(line) > 0 && line[0] == '^' {
			if name != "" && isSHA(string(line[1:])) && !yield(name, sha, string(line[1:])) {
				return
			}
			name = ""
			continue
		}
		if name != "" && !yield(name, sha, "") {
			return
		}
		name = ""
		s, n, ok := bytes.Cut(line, []byte(" "))
		if ok && isSHA(string(s)) && validRef(string(n)) {
			sha, name = string(s), string(n)
		}
	}
	if name != "" {
		yield(name, sha, "")
	}
}

// each ref with the prefix ("refs/tags/"), loose over packed, in order of name.
func (r *repository) refs(ctx context.Context, prefix string) (map[string]string, error) {
	all := map[string]string{}
	if r.tables {
		out, err := git{dir: r.work}.output(ctx, "for-each-ref", "--format=%(objectname) %(refname)", "--", prefix)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			if sha, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				all[name] = sha
			}
		}
		return all, nil
	}
	text, err := readLimited(filepath.Join(r.common, "packed-refs"), maxPackedRefs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read packed refs: %w", err)
	}
	parsePackedRefs(text, func(name, sha, peeled string) bool {
		if strings.HasPrefix(name, prefix) {
			if peeled != "" {
				sha = peeled
			}
			all[name] = sha
		}
		return true
	})
	err = filepath.WalkDir(filepath.Join(r.common, prefix), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a ref that went away meanwhile
		}
		name, err := filepath.Rel(r.common, path)
		if err != nil {
			return nil
		}
		if _, sha, err := r.loose(filepath.ToSlash(name)); err == nil && sha != "" {
			all[filepath.ToSlash(name)] = sha
		}
		return nil
	})
	return all, err
}

// tagAt is the tag that names a commit, the last in order of name.
func (r *repository) tagAt(ctx context.Context, sha string) string {
	tags, err := r.refs(ctx, "refs/tags/")
	if err != nil {
		return ""
	}
	names := make([]string, 0, len(tags))
	for n := range tags {
		names = append(names, n)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, n := range names {
		at := tags[n]
		if at != sha {
			// A loose annotated tag names its tag object first.
			if kind, body, err := r.looseObject(at); err == nil && kind == "tag" {
				at = objectField(body, "object")
			}
		}
		if at == sha {
			return strings.TrimPrefix(n, "refs/tags/")
		}
	}
	return ""
}

// isSHA reports whether a word is a full object name, SHA-1 or SHA-256.
func isSHA(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// validRef reports whether a name may be used as a ref (git-check-ref-format(1)),
// and so as a relative path inside .git.
func validRef(s string) bool {
	if s == "" || len(s) > maxRefBytes || s == "@" || s[0] == '/' || s[0] == '-' || strings.HasSuffix(s, ".") ||
		strings.Contains(s, "..") || strings.Contains(s, "@{") {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return false
		}
	}
	return true
}
