package workspace

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Mirror is a server's copy of somebody else's repository. Several processes may
// share its directory:
//
//	DIR/mirror.git        all branches and tags, and what else was asked for
//	DIR/lock              held while it is changed
//	DIR/trees/<commit>    a working tree of its own, never changed again
//
// Nothing that the repository holds is run, neither hooks nor filters, and submodules
// are left alone. What git is given of secrets is in its environment. Objects are never
// dropped: working trees, and the slots made of them, borrow them.
type Mirror struct {
	Dir   string // absolute
	URL   string // see ParseAddress
	Token string // for https; "" for none
	// Insecure lets the token be sent over http, too, where anybody on the way can read it.
	Insecure bool
	// Allowed says whether the server may talk to an address; nil: to any.
	Allowed func(scheme string, a netip.Addr) error
	// Timeout is how long talking to the other side may take at a time; 0: ten minutes.
	Timeout time.Duration
}

const (
	defaultFetchTime = 10 * time.Minute
	// asideRefs is where refs of the other side are kept that are neither branches nor tags.
	asideRefs = "refs/fairlead/"
	maxRefs   = 100_000 // of a repository, when they are listed
	// manyPacks is how many packs a mirror may have before they are made one.
	manyPacks = 40
)

// ErrRefused says that a repository's address may not be talked to.
var ErrRefused = errors.New("the address may not be used")

// reach is the environment of a git that talks to an address: by its protocol alone, to
// the addresses that were found allowed, without redirects, and with the token where
// it belongs.
func (m *Mirror) reach(ctx context.Context, address, token string) ([]string, error) {
	a, err := ParseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	set := [][2]string{{"protocol.allow", "never"}, {"credential.helper", ""}, {"http.followRedirects", "false"}, {"gc.auto", "0"}, {"maintenance.auto", "false"}, {"core.hooksPath", "/dev/null"}}
	if a.Path != "" {
		return gitSettings(append(set, [2]string{"protocol.file.allow", "always"})), nil
	}
	set = append(set, [2]string{"protocol." + a.Scheme + ".allow", "always"})
	u := url.URL{Scheme: a.Scheme, Host: a.Host}
	if m.Allowed != nil {
		addrs, err := Lookup(ctx, u.Hostname())
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, u.Hostname(), err)
		}
		var pinned []string
		for _, addr := range addrs {
			if err := m.Allowed(a.Scheme, addr); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrRefused, u.Hostname(), err)
			}
			if addr = addr.Unmap().WithZone(""); addr.Is6() {
				pinned = append(pinned, "["+addr.String()+"]")
			} else {
				pinned = append(pinned, addr.String())
			}
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil && a.Scheme != "ssh" {
			// What the name means when git looks it up may be something else.
			port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[a.Scheme])
			set = append(set, [2]string{"http.curloptResolve", u.Hostname() + ":" + port + ":" + strings.Join(pinned, ",")})
		}
	}
	if token != "" && (a.Scheme == "https" || a.Scheme == "http" && m.Insecure) {
		name, word, named := strings.Cut(token, ":")
		if !named {
			name, word = "x-access-token", token
		}
		basic := base64.StdEncoding.EncodeToString([]byte(name + ":" + word))
		set = append(set, [2]string{"http." + u.String() + "/.extraheader", "Authorization: Basic " + basic})
	}
	return gitSettings(set), nil
}

// ErrWithheld says that a repository was not to be read, and that its token was not
// sent because its address is http.
var ErrWithheld = errors.New("its token is not sent over http, where anybody on the way can read it: use https, or allow it with `fairlead repo add --change --insecure-token`")

// fetchError is [fetchError] that says so when a token was withheld.
func (m *Mirror) fetchError(err error, token string) error {
	err = fetchError(err)
	if token != "" && !m.Insecure && strings.HasPrefix(strings.ToLower(m.URL), "http://") && errors.Is(err, ErrUnknownRepository) {
		return fmt.Errorf("%w (%w)", ErrWithheld, err)
	}
	return err
}

func (m *Mirror) path() string { return filepath.Join(m.Dir, "mirror.git") }

// here is a git that talks to nobody.
func (m *Mirror) here() git {
	return git{dir: m.path(), env: gitSettings([][2]string{{"protocol.allow", "never"}, {"core.hooksPath", "/dev/null"}, {"gc.auto", "0"}})}
}

// locked does something while nobody else changes the mirror. It is made when it is
// not there yet.
func (m *Mirror) locked(ctx context.Context, do func() error) error {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	lock, err := lockWait(ctx, filepath.Join(m.Dir, "lock"))
	if err != nil {
		return err
	}
	defer unlockFile(lock)
	return do()
}

// made makes the mirror. The caller holds the lock.
func (m *Mirror) made(ctx context.Context) error {
	if isDir(filepath.Join(m.path(), "objects")) {
		return nil
	}
	env, err := m.reach(ctx, m.URL, m.Token)
	if err != nil {
		return err
	}
	head, object, err := m.head(ctx, env)
	if err != nil {
		return err
	}
	next, err := os.MkdirTemp(m.Dir, ".next-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	init := []string{"init", "--quiet", "--bare", "--template=", "--initial-branch=main"}
	if len(object) == 64 {
		init = append(init, "--object-format=sha256")
	}
	g := git{dir: next, env: m.here().env}
	if err := g.run(ctx, append(init, "--", next)...); err != nil {
		return err
	}
	if head != "" {
		if err := g.run(ctx, "symbolic-ref", "HEAD", head); err != nil {
			return err
		}
	}
	return os.Rename(next, m.path())
}

// head asks the other side for its default branch, a full ref, and the commit of that; "" where
// it says nothing.
func (m *Mirror) head(ctx context.Context, env []string) (ref, sha string, err error) {
	ctx, cancel := m.timeout(ctx)
	defer cancel()
	out, err := (git{dir: m.Dir, env: env}).output(ctx, "ls-remote", "--quiet", "--symref", "--", m.URL, "HEAD")
	if err != nil {
		return "", "", m.fetchError(err, m.Token)
	}
	for line := range strings.Lines(string(out)) {
		what, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if to, ok := strings.CutPrefix(what, "ref: "); ok && name == "HEAD" && validRef(to) {
			ref = to
		} else if isSHA(what) {
			sha = what
		}
	}
	return ref, sha, nil
}

func (m *Mirror) timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(m.Timeout, defaultFetchTime))
}

// Fetch brings all branches and tags as they are now.
func (m *Mirror) Fetch(ctx context.Context) error {
	err := m.fetch(ctx, m.URL, m.Token, "--prune", "+refs/heads/*:refs/heads/*", allTags)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", withoutCredentials(m.URL), err)
	}
	return nil
}

// fetch brings refs or commits from an address; an option may stand before them.
func (m *Mirror) fetch(ctx context.Context, address, token string, what ...string) error {
	return m.locked(ctx, func() error {
		if err := m.made(ctx); err != nil {
			return err
		}
		env, err := m.reach(ctx, address, token)
		if err != nil {
			return err
		}
		ctx, cancel := m.timeout(ctx)
		defer cancel()
		args := []string{"fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"}
		if what[0] == "--prune" {
			args, what = append(args, what[0]), what[1:]
		}
		args = append(append(args, "--", address), what...)
		if err := (git{dir: m.path(), env: env}).run(ctx, args...); err != nil {
			return m.fetchError(err, token)
		}
		if args[len(args)-1] == allTags {
			if err := m.rehead(ctx, env); err != nil {
				return err
			}
		}
		return m.repack(ctx)
	})
}

const allTags = "+refs/tags/*:refs/tags/*"

// rehead finds the default branch anew when the one that was is no more: it was given
// another name, or there was none yet.
func (m *Mirror) rehead(ctx context.Context, env []string) error {
	if _, err := m.resolve(ctx, "HEAD"); err == nil {
		return nil
	}
	head, _, err := m.head(ctx, env)
	if err != nil || head == "" {
		return err
	}
	return m.here().run(ctx, "symbolic-ref", "HEAD", head)
}

// repack makes one pack of many, keeping all objects.
func (m *Mirror) repack(ctx context.Context) error {
	packs, err := filepath.Glob(filepath.Join(globQuote(m.path()), "objects", "pack", "*.pack"))
	if err != nil || len(packs) < manyPacks {
		return err
	}
	return m.here().run(ctx, "repack", "-a", "-d", "--keep-unreachable", "--quiet")
}

// Refs are the branches and tags of the other side as they are now, by their full
// names; of annotated tags the commit. Nothing is fetched.
func (m *Mirror) Refs(ctx context.Context) (map[string]string, error) {
	refs, err := m.refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the refs of %s: %w", withoutCredentials(m.URL), err)
	}
	return refs, nil
}

func (m *Mirror) refs(ctx context.Context) (map[string]string, error) {
	env, err := m.reach(ctx, m.URL, m.Token)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := m.timeout(ctx)
	defer cancel()
	out, err := (git{dir: m.Dir, env: env}).output(ctx, "ls-remote", "--quiet", "--heads", "--tags", "--", m.URL)
	if err != nil {
		return nil, m.fetchError(err, m.Token)
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
		name = strings.TrimSuffix(name, "^{}") // it follows the tag's own line
		if !ok || !isSHA(sha) || !validRef(name) {
			continue
		}
		if refs[name] = sha; len(refs) > maxRefs {
			return nil, fmt.Errorf("there are more than %d", maxRefs)
		}
	}
	return refs, nil
}

// Commit finds the commit that a branch, a tag, a full ref or a (short) commit means, and the
// full ref ("" for a commit), and brings it. Refs that are neither branches nor
// tags, such as refs/pull/17/head, are the other side's. An error that wraps fs.ErrNotExist
// says that the repository has no such thing.
func (m *Mirror) Commit(ctx context.Context, ref string) (sha, full string, err error) {
	sha, full, err = m.commit(ctx, ref)
	if err != nil {
		return "", "", fmt.Errorf("find %s in %s: %w", printable(ref), withoutCredentials(m.URL), err)
	}
	return sha, full, nil
}

func (m *Mirror) commit(ctx context.Context, ref string) (sha, full string, err error) {
	if !validRef(ref) {
		return "", "", ErrUnknownRef
	}
	name, others := strings.CutPrefix(ref, "refs/")
	if others = others && !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/"); others {
		if err := m.fetch(ctx, m.URL, m.Token, "+"+ref+":"+asideRefs+name); err != nil {
			return "", "", err
		}
		sha, err := m.resolve(ctx, asideRefs+name)
		return sha, ref, err
	}
	if isSHA(ref) {
		if m.Has(ctx, ref) {
			return ref, "", nil
		}
		if err := m.Fetch(ctx); err != nil || m.Has(ctx, ref) {
			return ref, "", err
		}
		// Some servers give every commit of which the name is known.
		if err := m.fetch(ctx, m.URL, m.Token, ref); err != nil || !m.Has(ctx, ref) {
			return "", "", errors.Join(ErrUnknownRef, err)
		}
		return ref, "", nil
	}
	if err := m.Fetch(ctx); err != nil {
		return "", "", err
	}
	tries := []string{ref}
	if !strings.HasPrefix(ref, "refs/") {
		tries = []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
	for _, full := range tries {
		if sha, err := m.resolve(ctx, full); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return sha, full, err
		}
	}
	if shortSHA.MatchString(ref) {
		sha, err := m.resolve(ctx, ref)
		return sha, "", err
	}
	return "", "", ErrUnknownRef
}

var shortSHA = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// From brings a branch of somebody else's repository, without showing them our token.
func (m *Mirror) From(ctx context.Context, address, ref string) (sha string, err error) {
	if !validRef(ref) || !strings.HasPrefix(ref, "refs/heads/") {
		return "", fmt.Errorf("find %s in a fork: %w", printable(ref), ErrUnknownRef)
	}
	to := asideRefs + "forks/" + slug(address) + "/" + strings.TrimPrefix(ref, "refs/")
	err = m.fetch(ctx, address, "", "+"+ref+":"+to)
	if err == nil {
		sha, err = m.resolve(ctx, to)
	}
	if err != nil {
		return "", fmt.Errorf("find %s in the fork %s: %w", printable(ref), withoutCredentials(address), err)
	}
	return sha, nil
}

// resolve is the commit of something that is here.
func (m *Mirror) resolve(ctx context.Context, ref string) (string, error) {
	out, err := m.here().output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if exitCode(err) == 1 || exitCode(err) == 128 {
		return "", ErrUnknownRef
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// Here is the commit that a full ref means, as it was when it was fetched last.
func (m *Mirror) Here(ctx context.Context, ref string) (sha string, err error) {
	if !validRef(ref) || !strings.HasPrefix(ref, "refs/") || !isDir(m.path()) {
		return "", fmt.Errorf("find %s: %w", printable(ref), ErrUnknownRef)
	}
	if sha, err = m.resolve(ctx, ref); err != nil {
		return "", fmt.Errorf("find %s in %s: %w", printable(ref), withoutCredentials(m.URL), err)
	}
	return sha, nil
}

// Has reports whether a commit is here.
func (m *Mirror) Has(ctx context.Context, sha string) bool {
	return isSHA(sha) && isDir(m.path()) && m.here().run(ctx, "cat-file", "-e", sha+"^{commit}") == nil
}

// Contains reports whether a commit is that of a branch or tag, or before it, as they
// were when they were fetched last.
func (m *Mirror) Contains(ctx context.Context, ref, sha string) (bool, error) {
	if !validRef(ref) || !strings.HasPrefix(ref, "refs/") || !isSHA(sha) || !isDir(m.path()) {
		return false, nil
	}
	err := m.here().run(ctx, "merge-base", "--is-ancestor", sha, ref)
	if code := exitCode(err); code == 1 || code == 128 {
		return false, nil
	}
	return err == nil, err
}

// Anywhere reports whether any branch or tag contains a commit, as they were when
// they were fetched last.
func (m *Mirror) Anywhere(ctx context.Context, sha string) (bool, error) {
	if !m.Has(ctx, sha) {
		return false, nil
	}
	out, err := m.here().output(ctx, "for-each-ref", "--count=1", "--contains="+sha, "--format=%(refname)", "refs/heads", "refs/tags")
	return len(bytes.TrimSpace(out)) > 0, err
}

// DefaultBranch is the name of the branch that the repository said was its own, as long as there
// is one of that name; "" before it was fetched.
func (m *Mirror) DefaultBranch() string {
	text, err := readLimited(filepath.Join(m.path(), "HEAD"), maxRefBytes)
	if err != nil {
		return ""
	}
	branch, _ := strings.CutPrefix(strings.TrimSpace(string(text)), "ref: refs/heads/")
	if !validRef(branch) || isSHA(branch) {
		return ""
	}
	return branch
}

// Changed lists the files in which head differs from where its history parted from
// that of base, slash paths, sorted. known is false when there is nothing to compare
// with, or when they are more than most.
func (m *Mirror) Changed(ctx context.Context, base, head string, most int) (files []string, known bool, err error) {
	if !m.Has(ctx, head) || !m.Has(ctx, base) {
		return nil, false, nil
	}
	g := m.here()
	from := base
	if out, err := g.output(ctx, "merge-base", base, head); err == nil {
		from = strings.TrimSpace(string(out))
	} else if exitCode(err) != 1 { // 1: the histories never met
		return nil, false, fmt.Errorf("compare %s with %s: %w", head, base, err)
	}
	out, err := g.output(ctx, "diff-tree", "-r", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--end-of-options", from, head)
	if err != nil {
		return nil, false, fmt.Errorf("compare %s with %s: %w", head, base, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		if len(files) == most {
			return nil, false, nil
		}
		files = append(files, name)
	}
	return files, true, nil
}

// MergeBase is the commit at which two histories parted; "" when they never met.
func (m *Mirror) MergeBase(ctx context.Context, a, b string) (string, error) {
	if !m.Has(ctx, a) || !m.Has(ctx, b) {
		return "", nil
	}
	out, err := m.here().output(ctx, "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// Parent is the first parent of a commit; "" for none.
func (m *Mirror) Parent(ctx context.Context, sha string) (string, error) {
	head, _, err := m.text(ctx, sha)
	return objectField([]byte(head+"\n"), "parent"), err
}

// maxSubject bounds the first line of a commit's message.
const maxSubject = 500

// Subject is the first line of a commit's message.
func (m *Mirror) Subject(ctx context.Context, sha string) (string, error) {
	_, message, err := m.text(ctx, sha)
	line, _, _ := strings.Cut(strings.TrimLeft(message, "\n"), "\n")
	return strings.ToValidUTF8(line[:min(len(line), maxSubject)], ""), err
}

// text is a commit as it is stored: its head and its message.
func (m *Mirror) text(ctx context.Context, sha string) (head, message string, err error) {
	if !isSHA(sha) {
		return "", "", ErrUnknownRef
	}
	out, err := m.here().output(ctx, "cat-file", "commit", sha)
	if err != nil {
		return "", "", fmt.Errorf("read commit %s: %w", sha, err)
	}
	head, message, _ = strings.Cut(string(out), "\n\n")
	return head, message, nil
}

// Checkout gives a working tree of a commit that is here, with a .git of its own. It is
// shared by all who ask for the commit, and not to be written to.
func (m *Mirror) Checkout(ctx context.Context, sha string) (dir string, err error) {
	if !isSHA(sha) {
		return "", fmt.Errorf("check out %s: %w", printable(sha), ErrUnknownRef)
	}
	dir = m.Tree(sha)
	boot := bootID()
	mark := filepath.Join(dir, ".git", "fairlead-boot")
	there := func() bool {
		text, err := readLimited(mark, maxRefBytes)
		now := time.Now()
		return err == nil && string(text) == boot && os.Chtimes(mark, now, now) == nil
	}
	if there() { // without waiting for whoever fetches
		return dir, nil
	}
	err = m.locked(ctx, func() error {
		if there() {
			return nil
		}
		// The machine may have gone down before all of it was on the disk.
		if err := removeTree(dir); err != nil {
			return err
		}
		return m.checkout(ctx, sha, dir, boot)
	})
	if err != nil {
		return "", fmt.Errorf("check out %s of %s: %w", sha, withoutCredentials(m.URL), err)
	}
	return dir, nil
}

// Tree is where the working tree of a commit lies, once it is checked out.
func (m *Mirror) Tree(sha string) string { return filepath.Join(m.Dir, "trees", sha) }

func (m *Mirror) checkout(ctx context.Context, sha, dir, boot string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(dir), ".next-")
	if err != nil {
		return err
	}
	defer func() { _ = removeTree(next) }()
	refs, err := m.here().output(ctx, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return err
	}
	var packed []string
	for line := range strings.Lines(string(refs)) {
		at, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			name = "refs/remotes/origin/" + branch
		}
		packed = append(packed, name+" "+at)
	}
	slices.Sort(packed)
	var list strings.Builder
	list.WriteString("# pack-refs with: sorted\n")
	for _, line := range packed {
		name, at, _ := strings.Cut(line, " ")
		list.WriteString(at + " " + name + "\n")
	}
	config := "[core]\n\trepositoryformatversion = 0\n"
	if len(sha) == 64 {
		config = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n[core]\n"
	}
	config += "\tbare = false\n\tlogallrefupdates = true\n[gc]\n\tauto = 0\n" +
		"[remote \"origin\"]\n\turl = " + quoteConfig(m.URL) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
	dot := filepath.Join(next, ".git")
	for _, sub := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(dot, sub), 0o755); err != nil {
			return err
		}
	}
	if branch := m.DefaultBranch(); branch != "" {
		if err := os.MkdirAll(filepath.Join(dot, "refs/remotes/origin"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dot, "refs/remotes/origin/HEAD"), []byte("ref: refs/remotes/origin/"+branch+"\n"), 0o644); err != nil {
			return err
		}
	}
	for name, body := range map[string]string{
		"HEAD": sha + "\n", "config": config, "packed-refs": list.String(), "fairlead-boot": boot,
		"objects/info/alternates": string(alternate(filepath.Join(m.path(), "objects"))),
	} {
		if err := os.WriteFile(filepath.Join(dot, name), []byte(body), 0o644); err != nil {
			return err
		}
	}
	// Plumbing runs no hooks, and with no configuration but ours there are no filters
	// either.
	g := git{dir: next, env: append(gitSettings([][2]string{{"core.symlinks", "true"}, {"core.attributesFile", "/dev/null"}, {"protocol.allow", "never"}}),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_DIR="+dot, "GIT_WORK_TREE="+next)}
	if err := g.run(ctx, "read-tree", "--end-of-options", sha); err != nil {
		return err
	}
	if err := g.run(ctx, "checkout-index", "--all", "--force", "--quiet", "--index"); err != nil {
		return err
	}
	return os.Rename(next, dir)
}

// Prune removes working trees that nobody asked for since a while ago, but not those
// that are in use.
func (m *Mirror) Prune(ctx context.Context, unused time.Duration, inUse func(sha string) bool) error {
	if !isDir(filepath.Join(m.Dir, "trees")) {
		return nil
	}
	err := m.locked(ctx, func() error {
		list, err := os.ReadDir(filepath.Join(m.Dir, "trees"))
		if err != nil {
			return err
		}
		var errs []error
		for _, e := range list {
			dir := filepath.Join(m.Dir, "trees", e.Name())
			if isSHA(e.Name()) {
				st, err := os.Stat(filepath.Join(dir, ".git", "fairlead-boot"))
				if inUse(e.Name()) || err == nil && time.Since(st.ModTime()) < unused {
					continue
				}
			} // what is not finished while the lock is ours never will be
			errs = append(errs, removeTree(dir))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("remove old working trees: %w", err)
	}
	return nil
}

// removeTree removes a directory that may hold some that cannot be written to.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // removing it will tell
		}
		return nil
	})
	return os.RemoveAll(dir)
}
