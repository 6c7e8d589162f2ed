package workspace

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sources brings other repositories: actions, called workflows, whatever a
// pipeline names by owner/name and ref. Several processes may share a directory:
//
//	DIR/<owner>/<name>/objects.git    what was fetched
//	DIR/<owner>/<name>/lock           held while fetching
//	DIR/<owner>/<name>/refs/<ref>     which commit a branch or tag was, and when
//	DIR/<owner>/<name>/<commit>       the files, never changed again
//
// Files are written by git's plumbing without the account's configuration:
// no hooks, no filters, no submodules; nothing that a repository holds is run.
type Sources struct {
	Dir    string
	Server string // "" for https://github.com

	// Mirror is asked instead of Server: an address or a directory below which
	// repositories are found as owner/name or owner/name.git.
	Mirror string

	// Local names directories that are used as they are: "owner/name" or
	// "owner/name@ref" -> directory.
	Local map[string]string

	Offline bool   // only what is here already
	Token   string // for Server, over https

	// Fresh is how long what a branch or tag pointed to is believed before it
	// is asked for again; 0 for ten minutes, negative for never.
	Fresh time.Duration
}

const defaultFresh = 10 * time.Minute

// Errors of sources. ErrUnknownRepository and ErrUnknownRef wrap fs.ErrNotExist.
var (
	ErrOffline           = errors.New("not here yet, and going online is off; run once without --offline, or name a directory for it")
	ErrUnknownRepository = fmt.Errorf("no such repository, or it is private; check the name, or give a token (it is sent over https only) or a mirror that may read it: %w", fs.ErrNotExist)
	ErrUnknownRef        = fmt.Errorf("the repository has no such branch, tag or commit; check the ref: %w", fs.ErrNotExist)
	ErrUnreachable       = errors.New("the server cannot be reached; check the network, or use a mirror or --offline")
)

// repositoryName is what a repository may be called. Neither part begins with a
// dash or a dot, so that a name is no option and no way up.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}$`)

// Fetch gives the directory with the files of a repository at a ref, and the
// commit that the ref is ("" for a local directory without git). The files are
// shared and not to be written to. A full commit is fetched once and never
// asked for again.
func (s *Sources) Fetch(ctx context.Context, repository, ref string) (dir, commit string, err error) {
	dir, commit, err = s.fetch(ctx, repository, ref)
	if err != nil {
		return "", "", fmt.Errorf("fetch %s@%s: %w", printable(repository), printable(ref), err)
	}
	return dir, commit, nil
}

// printable is a word of the user's for an error message.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func (s *Sources) fetch(ctx context.Context, repository, ref string) (dir, commit string, err error) {
	if err := validSource(repository, ref); err != nil {
		return "", "", err
	}
	if dir, ok := s.local(repository, ref); ok {
		return s.fetchLocal(ctx, dir)
	}
	home := filepath.Join(s.Dir, filepath.FromSlash(strings.ToLower(repository)))
	if isSHA(ref) {
		if dir := filepath.Join(home, ref); isDir(dir) {
			return dir, ref, nil
		}
	} else if commit, ok := s.believed(home, ref); ok {
		if dir := filepath.Join(home, commit); isDir(dir) {
			return dir, commit, nil
		}
	}
	if s.Offline {
		return "", "", ErrOffline
	}
	if err := os.MkdirAll(filepath.Join(home, "refs"), 0o755); err != nil {
		return "", "", err
	}
	lock, err := lockWait(ctx, filepath.Join(home, "lock"))
	if err != nil {
		return "", "", err
	}
	defer unlockFile(lock)

	address, env, err := s.address(repository)
	if err != nil {
		return "", "", err
	}
	commit = ref
	if !isSHA(ref) {
		// Another process may have asked while we waited.
		var ok bool
		if commit, ok = s.believed(home, ref); !ok {
			g := git{dir: home, env: env}
			if commit, err = remoteRef(ctx, g, address, ref); err != nil {
				return "", "", refError(err)
			}
		}
	}
	dir = filepath.Join(home, commit)
	if !isDir(dir) {
		if err := s.bring(ctx, home, address, env, ref, commit); err != nil {
			return "", "", err
		}
	}
	if !isSHA(ref) {
		note, err := json.Marshal(pin{Ref: ref, Commit: commit, At: time.Now()})
		if err != nil {
			return "", "", err
		}
		if err := replaceFile(pinPath(home, ref), note); err != nil {
			return "", "", err
		}
	}
	return dir, commit, nil
}

func validSource(repository, ref string) error {
	if !repositoryName.MatchString(repository) || strings.Contains(repository, "..") || strings.HasSuffix(repository, "/.") {
		return fmt.Errorf("%q is not a repository's name (owner/name): %w", repository, fs.ErrNotExist)
	}
	if !validRef(ref) {
		return fmt.Errorf("%q is not a branch, tag or commit: %w", ref, fs.ErrNotExist)
	}
	return nil
}

// local finds the directory that was named for a repository; one named with the
// ref comes first. Owners and names ignore case, refs do not.
func (s *Sources) local(repository, ref string) (string, bool) {
	for key, dir := range s.Local {
		if name, at, ok := strings.Cut(key, "@"); ok && at == ref && strings.EqualFold(name, repository) {
			return dir, true
		}
	}
	for key, dir := range s.Local {
		if strings.EqualFold(key, repository) {
			return dir, true
		}
	}
	return "", false
}

func (s *Sources) fetchLocal(ctx context.Context, dir string) (string, string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	if !isDir(abs) {
		return "", "", fmt.Errorf("the directory named for it, %s, is not there: %w", dir, fs.ErrNotExist)
	}
	r, err := openRepository(abs)
	if err != nil {
		return abs, "", nil
	}
	_, sha, err := r.head(ctx)
	return abs, sha, err
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// pin remembers which commit a branch or tag was.
type pin struct {
	Ref    string    `json:"ref"`
	Commit string    `json:"commit"`
	At     time.Time `json:"at"`
}

func pinPath(home, ref string) string { return filepath.Join(home, "refs", slug(ref)) }

// believed is the commit of a branch or tag, if it was asked for lately; offline
// any answer is good.
func (s *Sources) believed(home, ref string) (string, bool) {
	data, err := readLimited(pinPath(home, ref), maxRefBytes)
	var p pin
	if err != nil || json.Unmarshal(data, &p) != nil || p.Ref != ref || !isSHA(p.Commit) {
		return "", false
	}
	return p.Commit, s.Offline || time.Since(p.At) < cmp.Or(s.Fresh, defaultFresh)
}

// lockWait locks a file, waiting for whoever has it.
func lockWait(ctx context.Context, path string) (*os.File, error) {
	const between = 50 * time.Millisecond // flock cannot be cancelled
	for {
		f, err := lockFile(path, false)
		if !errors.Is(err, errBusy) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(between):
		}
	}
}

// address is where a repository is, and the environment to reach it: only
// protocols that run no program, and the token where it belongs.
func (s *Sources) address(repository string) (string, []string, error) {
	base := strings.TrimSuffix(cmp.Or(s.Mirror, s.Server, defaultServer), "/")
	scheme, _, isURL := strings.Cut(base, "://")
	settings := [][2]string{{"protocol.allow", "never"}}
	if !isURL { // a directory
		dir, err := filepath.Abs(base)
		if err != nil {
			return "", nil, err
		}
		for _, at := range []string{filepath.Join(dir, repository), filepath.Join(dir, repository+".git")} {
			if isDir(at) {
				// Whoever owns the mirror: it was named by the user.
				settings = append(settings, [2]string{"protocol.file.allow", "always"}, [2]string{"safe.directory", "*"})
				return at, gitSettings(settings), nil
			}
		}
		return "", nil, fmt.Errorf("the mirror %s has no directory for it: %w", s.Mirror, ErrUnknownRepository)
	}
	u, err := url.Parse(base)
	if err != nil || !slices.Contains([]string{"https", "http", "ssh", "file"}, scheme) {
		return "", nil, fmt.Errorf("%s is not the address of a code host: use https://, ssh:// or a directory", withoutCredentials(base))
	}
	settings = append(settings, [2]string{"protocol." + scheme + ".allow", "always"})
	if s.Token != "" && s.Mirror == "" && scheme == "https" {
		word := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + s.Token))
		settings = append(settings, [2]string{"http." + scheme + "://" + u.Host + "/.extraheader", "Authorization: Basic " + word})
	}
	return base + "/" + repository, gitSettings(settings), nil
}

// gitSettings gives git settings by its environment, where no other process
// sees them as it would among the arguments.
func gitSettings(settings [][2]string) []string {
	env := append(slices.Clone(network), "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)))
	for i, kv := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env
}

// bring fetches a commit and writes its files. The caller holds the lock.
func (s *Sources) bring(ctx context.Context, home, address string, env []string, ref, commit string) error {
	store := filepath.Join(home, "objects.git")
	g := git{dir: home, env: env}
	if !isDir(filepath.Join(store, "objects")) {
		init := []string{"init", "--quiet", "--bare", "--template="}
		if len(commit) == 64 {
			init = append(init, "--object-format=sha256")
		}
		if err := g.run(ctx, append(init, "--", store)...); err != nil {
			return err
		}
	}
	g.dir = store
	if g.run(ctx, "cat-file", "-e", commit+"^{commit}") != nil {
		fetch := func(what ...string) error {
			args := append(slices.Clone(quiet), "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
			return g.run(ctx, append(args, what...)...)
		}
		// Some servers give commits only by the names of refs.
		err := fetch("--depth=1", "--", address, commit)
		if err != nil && !isSHA(ref) {
			err = fetch("--depth=1", "--", address, ref)
		}
		if err != nil && isSHA(ref) && errors.Is(fetchError(err), ErrUnknownRef) {
			err = fetch("--", address, "+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*")
		}
		if err != nil {
			return fetchError(err)
		}
		if g.run(ctx, "cat-file", "-e", commit+"^{commit}") != nil {
			return ErrUnknownRef
		}
	}
	next, err := os.MkdirTemp(home, ".next-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	files := filepath.Join(next, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	// Plumbing runs no hooks, and with no configuration but ours there are no
	// filters either.
	g.env = append(gitSettings([][2]string{{"core.symlinks", "true"}, {"core.attributesFile", "/dev/null"}}),
		"GIT_INDEX_FILE="+filepath.Join(next, "index"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_DIR="+store, "GIT_WORK_TREE="+files)
	g.dir = files
	if err := g.run(ctx, "read-tree", "--end-of-options", commit); err != nil {
		return err
	}
	if err := g.run(ctx, "checkout-index", "--all", "--force", "--quiet"); err != nil {
		return err
	}
	if err := syncTree(files); err != nil {
		return err
	}
	if err := os.Rename(files, filepath.Join(home, commit)); err != nil && !isDir(filepath.Join(home, commit)) {
		return err
	}
	return nil
}

// syncTree makes sure that the files are on the disk: a commit that is there is
// believed for ever.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// Clone makes dest a working tree of another repository at a branch, a tag or a
// commit ("" for the default branch), with a .git and as much history as the
// options say. dest is empty or not there.
func (s *Sources) Clone(ctx context.Context, repository, ref, dest string, o CheckoutOptions) (commit string, err error) {
	commit, err = s.clone(ctx, repository, ref, dest, o)
	if err != nil {
		return "", fmt.Errorf("clone %s: %w", printable(repository), err)
	}
	return commit, nil
}

func (s *Sources) clone(ctx context.Context, repository, ref, dest string, o CheckoutOptions) (string, error) {
	if err := validSource(repository, cmp.Or(ref, "HEAD")); err != nil {
		return "", err
	}
	var address string
	var env []string
	var err error
	if dir, ok := s.local(repository, ref); ok {
		if address, _, err = s.fetchLocal(ctx, dir); err != nil {
			return "", err
		}
		env = gitSettings([][2]string{{"protocol.allow", "never"}, {"protocol.file.allow", "always"}, {"safe.directory", "*"}})
	} else if s.Offline {
		return "", ErrOffline
	} else if address, env, err = s.address(repository); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return "", err
	}
	g := git{dir: dest, env: env}
	commit := ref
	switch {
	case ref == "":
		out, err := g.output(ctx, "ls-remote", "--quiet", "--", address, "HEAD")
		if err != nil {
			return "", refError(err)
		}
		commit, _, _ = strings.Cut(string(out), "\t")
		if !isSHA(commit) {
			return "", ErrUnknownRef
		}
	case !isSHA(ref):
		if commit, err = remoteRef(ctx, g, address, ref); err != nil {
			return "", refError(err)
		}
	}
	init := []string{"init", "--quiet", "--template="}
	if len(commit) == 64 {
		init = append(init, "--object-format=sha256")
	}
	if err := g.run(ctx, init...); err != nil {
		return "", err
	}
	if err := g.run(ctx, "remote", "add", "origin", address); err != nil {
		return "", err
	}
	if err := g.run(ctx, append(slices.Clone(quiet), fetchArgs(o, address, commit)...)...); err != nil {
		return "", fetchError(err)
	}
	if err := finishCheckout(ctx, g, commit, o); err != nil {
		return "", err
	}
	return commit, nil
}

func refError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnknownRef
	}
	return fetchError(err)
}

// fetchError tells from what git said why it could not fetch. git says it in
// words only.
func fetchError(err error) error {
	var g *gitError
	if !errors.As(err, &g) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	said := strings.ToLower(g.stderr)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
	}
	kind := error(nil)
	switch {
	case has("not our ref", "couldn't find remote ref", "unadvertised object", "no such ref"):
		kind = ErrUnknownRef
	case has("could not resolve host", "connection refused", "connection timed out", "network is unreachable", "failed to connect", "no route to host", "connection reset", "couldn't connect"):
		kind = ErrUnreachable
	case has("repository not found", "could not read username", "authentication failed", "does not appear to be a git repository", "does not exist", "returned error: 40", "permission denied", "not found"):
		kind = ErrUnknownRepository
	default:
		return err
	}
	return fmt.Errorf("%w (%w)", kind, err)
}
