package workspace

import (
	"errors"
	"net/url"
	"path"
	"path/filepath"
	"strings"
)

// remoteURL is the address of a repository, taken apart.
type remoteURL struct {
	host  string // without port; "" for a place on this machine
	path  string // "owner/name", without .git
	local string // the directory, for a place on this machine
	clean string // the address without credentials
}

var errRemote = errors.New("not an address of a repository")

// parseRemote reads the forms of gitremote addresses (git-clone(1), "GIT URLS"):
// https://host/owner/name.git, ssh://git@host:22/owner/name, git@host:owner/name,
// file:///path and paths.
func parseRemote(s string) (remoteURL, error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return remoteURL{}, errRemote
	}
	// "helper::address" names a program; what follows may still be an address.
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		scheme = strings.ToLower(scheme)
		if scheme == "file" {
			p := rest
			if u, err := url.PathUnescape(rest); err == nil {
				p = u
			}
			return localRemote(p, s)
		}
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" {
			return remoteURL{}, errRemote
		}
		if scheme == "http" || scheme == "https" || u.User == nil {
			u.User = nil
		} else {
			u.User = url.User(u.User.Username()) // ssh needs the name
		}
		u.RawQuery, u.Fragment, u.ForceQuery = "", "", false
		return hostedRemote(u.Hostname(), u.Path, u.String())
	}
	// host:path, unless a slash comes first: then it is a path.
	colon, slash := strings.IndexByte(s, ':'), strings.IndexByte(s, '/')
	if colon > 0 && (slash < 0 || colon < slash) {
		host, p := s[:colon], s[colon+1:]
		// [host]:path and [host:port]:path
		if end := strings.IndexByte(s, ']'); s[0] == '[' && end > 0 && strings.HasPrefix(s[end+1:], ":") {
			host, p = s[1:end], s[end+2:]
			host, _, _ = strings.Cut(host, ":")
		}
		host = host[strings.LastIndexByte(host, '@')+1:]
		if host == "" || strings.HasPrefix(p, ":") || host[0] == '-' {
			return remoteURL{}, errRemote
		}
		return hostedRemote(host, p, s)
	}
	return localRemote(s, s)
}

func hostedRemote(host, p, clean string) (remoteURL, error) {
	p = strings.Trim(path.Clean("/"+p), "/")
	p = strings.TrimSuffix(p, ".git")
	host = strings.ToLower(host)
	switch host { // the same hosts on the port of https
	case "ssh.github.com":
		host = "github.com"
	case "altssh.gitlab.com":
		host = "gitlab.com"
	case "altssh.bitbucket.org":
		host = "bitbucket.org"
	}
	if p == "" || strings.ContainsAny(host, "/\\ ") {
		return remoteURL{}, errRemote
	}
	return remoteURL{host: host, path: p, clean: clean}, nil
}

func localRemote(dir, clean string) (remoteURL, error) {
	p := strings.TrimSuffix(filepath.ToSlash(filepath.Clean(dir)), "/.git")
	p = strings.TrimSuffix(p, ".git")
	if p == "" || p == "." || p == "/" || strings.Trim(p, "./") == "" {
		return remoteURL{}, errRemote
	}
	return remoteURL{path: strings.Trim(p, "/"), local: dir, clean: clean}, nil
}

// name is the last part of the path: the repository's name.
func (r remoteURL) name() string { return path.Base(r.path) }

// remote is the repository's own remote: that of the current branch, "origin",
// or the only one.
func (r *repository) remote() (remoteURL, bool) {
	_, u, ok := r.remoteOf(r.local, "")
	return u, ok
}

// remoteOf finds the remote of a branch in a configuration.
func (r *repository) remoteOf(cfg settings, branch string) (name string, u remoteURL, ok bool) {
	var names []string
	if n, ok := cfg.get("branch", branch, "remote"); ok && branch != "" {
		names = append(names, n)
	}
	names = append(names, "origin")
	for _, e := range cfg {
		if e.section == "remote" && e.key == "url" {
			names = append(names, e.sub)
		}
	}
	for _, n := range names {
		address, ok := cfg.get("remote", n, "url")
		if !ok {
			continue
		}
		if u, err := parseRemote(insteadOf(cfg, address)); err == nil {
			return n, u, true
		}
	}
	return "", remoteURL{}, false
}

// insteadOf rewrites an address as url.<base>.insteadOf says; the longest
// match wins.
func insteadOf(cfg settings, address string) string {
	best, base := "", ""
	for _, e := range cfg {
		if e.section == "url" && e.key == "insteadof" && len(e.value) > len(best) && strings.HasPrefix(address, e.value) {
			best, base = e.value, e.sub
		}
	}
	if best == "" {
		return address
	}
	return base + address[len(best):]
}
