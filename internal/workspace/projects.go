package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
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
// and not to be written to.
func (p *Projects) Fetch(ctx context.Context, where, ref string) (dir, commit string, err error) {
	if filepath.IsAbs(where) || strings.HasPrefix(where, "./") || strings.HasPrefix(where, "../") {
		if dir, commit, err = new(Sources).fetchLocal(ctx, where); err != nil {
			return "", "", fmt.Errorf("fetch %s: %w", printable(where), err)
		}
		return dir, commit, nil
	}
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
		return "", "", fmt.Errorf("fetch %s: it is not a repository's path (group/name): %w", printable(where), fs.ErrNotExist)
	}
	s := &Sources{Dir: p.Dir, Server: server, Mirror: mirror, Offline: p.Offline, Token: token}
	if above != "" {
		s.Server += "/" + above
		if s.Mirror != "" {
			s.Mirror += "/" + above
		}
	}
	sum := sha256.Sum256([]byte(s.Server))
	s.Dir = filepath.Join(p.Dir, hex.EncodeToString(sum[:8]))
	dir, commit, err = s.fetch(ctx, owner+"/"+name, ref)
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("fetch %s@%s: %w", printable(where), printable(ref), err)
	}
	return dir, commit, err
}

func cutLast(path string) (above, last string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
