package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Projects brings repositories from wherever they are said to be: a path below
// a code host, with as many groups as it takes, a directory of this machine,
// or an address. What was fetched is kept as by [Sources].
type Projects struct {
	Dir     string // see Sources
	Server  string // of names that are no addresses: https://gitlab.com
	Mirror  string // see Sources
	Offline bool
	Token   string // for Server
}

// scpLike is git's short way to write an ssh address: git@host:group/name.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9_.-]+@)?([A-Za-z0-9_.-]+):([^/].*)$`)

// Fetch gives the directory with the files of a repository at a ref, and the
// commit that the ref is ("" for a directory without git). The files are shared
// and not to be written to. A directory of this machine is given as it is, unless
// it is a clone that has the ref at another commit than the one checked out.
func (p *Projects) Fetch(ctx context.Context, where, ref string) (dir, commit string, err error) {
	if isPath(where) {
		dir, commit, err = p.fetchPath(ctx, where, ref)
		if err != nil {
			return "", "", fmt.Errorf("fetch %s: %w", printable(where), err)
		}
		return dir, commit, nil
	}
	s, name, err := p.source(where)
	if err != nil {
		return "", "", err
	}
	dir, commit, err = s.fetch(ctx, name, ref)
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("fetch %s@%s: %w", printable(where), printable(ref), err)
	}
	return dir, commit, err
}

// Tags are the names of a repository's tags; none for a directory without git.
func (p *Projects) Tags(ctx context.Context, where string) (tags []string, err error) {
	g, address := git{dir: p.Dir}, where
	if isPath(where) {
		if address, err = filepath.Abs(where); err != nil {
			return nil, err
		}
		if _, err := openRepository(address); err != nil {
			return nil, nil //nolint:nilerr // it has none
		}
		g = git{dir: address, env: gitSettings(localOnly)}
	} else {
		s, name, err := p.source(where)
		if err != nil {
			return nil, err
		}
		if p.Offline {
			return nil, fmt.Errorf("list the tags of %s: %w", printable(where), ErrOffline)
		}
		if address, g.env, err = s.address(name); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(p.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	out, err := g.output(ctx, "ls-remote", "--quiet", "--tags", "--refs", "--", address)
	if err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", printable(where), refError(err))
	}
	for line := range strings.Lines(string(out)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "\trefs/tags/"); ok {
			tags = append(tags, name)
		}
	}
	return tags, nil
}

func isPath(where string) bool {
	return filepath.IsAbs(where) || strings.HasPrefix(where, "./") || strings.HasPrefix(where, "../")
}

// localOnly lets git read directories of this machine, whoever owns them, and nothing else.
var localOnly = [][2]string{{"protocol.allow", "never"}, {"protocol.file.allow", "always"}, {"safe.directory", "*"}}

// fetchPath is Fetch for a directory of this machine.
func (p *Projects) fetchPath(ctx context.Context, where, ref string) (dir, commit string, err error) {
	dir, commit, err = new(Sources).fetchLocal(ctx, where)
	if err != nil || commit == "" || ref == "HEAD" || !validRef(ref) {
		return dir, commit, err
	}
	g := git{dir: dir, env: gitSettings(localOnly)}
	at := ref
	if !isSHA(ref) {
		if at, err = remoteRef(ctx, g, dir, ref); err != nil {
			return dir, commit, nil //nolint:nilerr // it has no such ref: it stands for whatever is asked for
		}
	}
	if at == commit || g.run(ctx, "cat-file", "-e", at+"^{commit}") != nil {
		return dir, commit, nil
	}
	sum := sha256.Sum256([]byte(dir))
	home := filepath.Join(p.Dir, hex.EncodeToString(sum[:8]))
	files := filepath.Join(home, at)
	if isDir(files) {
		return files, at, nil
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", "", err
	}
	lock, err := lockWait(ctx, filepath.Join(home, "lock"))
	if err != nil {
		return "", "", err
	}
	defer unlockFile(lock)
	if isDir(files) {
		return files, at, nil
	}
	return files, at, new(Sources).bring(ctx, home, dir, g.env, ref, at)
}

// source tells who has a repository, and its name there.
func (p *Projects) source(where string) (s *Sources, repository string, err error) {
	server, mirror, token, at := cmp.Or(p.Server, defaultServer), p.Mirror, p.Token, where
	if m := scpLike.FindStringSubmatch(where); m != nil && !strings.Contains(where, "://") {
		at = "ssh://" + m[1] + m[2] + "/" + m[3]
	}
	if scheme, rest, ok := strings.Cut(at, "://"); ok {
		host, name, _ := strings.Cut(rest, "/")
		if scheme == "file" {
			host, name = "", strings.TrimPrefix(rest, "/")
		}
		server, at = scheme+"://"+host, name
		if !strings.EqualFold(server, strings.TrimSuffix(p.Server, "/")) {
			mirror, token = "", ""
		}
	}
	groups, name := cutLast(strings.Trim(at, "/"))
	above, owner := cutLast(groups)
	if owner == "" || strings.Contains(at, "..") {
		return nil, "", fmt.Errorf("fetch %s: it is not a repository's path (group/name): %w", printable(where), fs.ErrNotExist)
	}
	s = &Sources{Dir: p.Dir, Server: server, Mirror: mirror, Offline: p.Offline, Token: token}
	if above != "" {
		s.Server += "/" + above
		if s.Mirror != "" {
			s.Mirror += "/" + above
		}
	}
	sum := sha256.Sum256([]byte(s.Server))
	s.Dir = filepath.Join(p.Dir, hex.EncodeToString(sum[:8]))
	return s, owner + "/" + name, nil
}

func cutLast(path string) (above, last string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
