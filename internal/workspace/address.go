package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Address is the address of a repository, taken apart.
type Address struct {
	Scheme string // "https", "http", "ssh"; "" for a path
	Host   string // with its port, if it has one
	Path   string // on this machine; "" for elsewhere
}

var (
	sshUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	scpForm = regexp.MustCompile(`^(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)?([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):([^-:/][^:]*|/[^:]*)$`)
	hostOf  = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
)

// ParseAddress reads the forms of addresses that a server fetches from:
// https://host/path, http://host/path, ssh://user@host/path, user@host:path and paths.
// None can be taken for an option, none names a program, and none holds a password.
func ParseAddress(s string) (Address, error) {
	switch {
	case s == "":
		return Address{}, errors.New("it is empty")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == 0xfffd }):
		return Address{}, errors.New("it holds blanks, control characters or backslashes")
	case s[0] == '-':
		return Address{}, errors.New("it begins with a dash")
	case s[0] == '/':
		return Address{Path: s}, nil
	case strings.Contains(s, "::"):
		if u, err := url.Parse(s); err != nil || !strings.HasPrefix(u.Host, "[") {
			return Address{}, errors.New("it names a remote helper")
		}
	}
	if !strings.Contains(s, "://") {
		m := scpForm.FindStringSubmatch(s)
		if m == nil {
			return Address{}, errors.New("it is neither an address nor an absolute path")
		}
		return Address{Scheme: "ssh", Host: strings.ToLower(m[2])}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return Address{}, errors.New("it cannot be read")
	}
	password := false
	if u.User != nil {
		_, password = u.User.Password()
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh":
		return Address{}, fmt.Errorf("the protocol %.20q is not used", u.Scheme)
	case !hostOf.MatchString(u.Host):
		return Address{}, errors.New("it has no proper host")
	case password || u.User != nil && u.Scheme != "ssh":
		return Address{}, errors.New("it holds credentials; keep them as a secret of the repository")
	case u.User != nil && !sshUser.MatchString(u.User.Username()):
		return Address{}, errors.New("it has no proper user")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return Address{}, errors.New("it has a query or a fragment")
	case strings.Trim(u.Path, "/") == "":
		return Address{}, errors.New("it names no repository")
	}
	return Address{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// ValidRef reports whether a name may be a branch, a tag, a commit or a full ref
// (git-check-ref-format(1)). None that may can be taken for an option.
func ValidRef(s string) bool { return validRef(s) }

// IsCommit reports whether a word is a full commit's name.
func IsCommit(s string) bool { return isSHA(s) }

// Lookup finds the addresses that the name of a host means; an address means itself.
func Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	return addrs, err
}
