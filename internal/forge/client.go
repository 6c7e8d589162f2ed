package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// Guard says which addresses this machine may be made to talk to. Addresses of
// repositories, hooks and code hosts are given by people who may be less trusted
// than the machine: without a guard they could reach what only it can reach, the
// metadata service of a cloud first of all.
//
// The zero Guard allows what is routed on the public Internet.
type Guard struct {
	// Private allows the addresses of private networks (RFC 1918, RFC 4193, carrier-grade NAT).
	Private bool
	// Loopback allows this machine itself.
	Loopback bool
	// Allow are networks that are allowed besides, whatever they are.
	Allow []netip.Prefix
}

// ErrGuarded says that an address may not be talked to.
var ErrGuarded = errors.New("the address is not allowed")

// never are networks that are routed nowhere a code host or a channel could
// be, or are an IPv4 address in disguise. Loopback, link-local, multicast and
// private ones are told by package netip.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, and broadcast
	netip.MustParsePrefix("::/96"),           // IPv4-compatible
	netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64, local
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/32"),       // Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4
	netip.MustParsePrefix("fec0::/10"),       // site-local
}

// metadata are the addresses at which clouds answer a machine with its own
// credentials although they look like a private network's: Private does not allow them.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("fd00:ec2::254"),
}

var (
	shared = netip.MustParsePrefix("100.64.0.0/10") // carrier-grade NAT
	nat64  = netip.MustParsePrefix("64:ff9b::/96")  // an IPv4 address, behind a translator
)

// Check says why the address may not be talked to: the error is an [ErrGuarded].
func (g Guard) Check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return nil
	}
	if nat64.Contains(a) {
		wide := a.As16()
		a = netip.AddrFrom4([4]byte(wide[12:]))
	}
	refuse := func(what string) error { return fmt.Errorf("%w: %s is %s", ErrGuarded, a, what) }
	switch {
	case !a.IsValid():
		return fmt.Errorf("%w: it is none", ErrGuarded)
	case slices.Contains(metadata, a):
		return refuse("a cloud's metadata service")
	case a.IsLoopback():
		if g.Loopback {
			return nil
		}
		return refuse("this machine itself; an administrator can allow it")
	case a.IsPrivate() || shared.Contains(a):
		if g.Private {
			return nil
		}
		return refuse("of a private network; an administrator can allow it")
	case a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsUnspecified(),
		slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(a) }):
		return refuse("no host's on the Internet")
	}
	return nil
}

// ClientOptions says how to make an HTTP client.
type ClientOptions struct {
	Guard Guard
	// Proxy chooses a proxy for a request, as [http.ProxyFromEnvironment] does;
	// nil for none. A proxy is the operator's own and may be at any address;
	// it is then the proxy that looks names up, so that the guard sees only those
	// addresses that are given as numbers.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds a request that says nothing of its own; 0: none. It holds for
	// the whole exchange, uploads included.
	Timeout time.Duration
	// MaxAnswer bounds the body of an answer; 0: 16 MiB.
	MaxAnswer int64
}

// maxAnswer is how much of an answer is read when nobody says otherwise.
const maxAnswer = 16 << 20

// NewClient makes the client through which all requests of the server to
// addresses that it was given should go. It looks at an address when it is
// dialled, after names were looked up, so that no name can change its mind in
// between; it follows redirects as [Redirect] says; and it reads no endless answer.
func NewClient(o ClientOptions) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	proxied := &http.Transport{
		Proxy:                  o.Proxy,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  60 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	guarded := *dialer
	guarded.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %s", ErrGuarded, address)
		}
		return o.Guard.Check(at.Addr())
	}
	direct := proxied.Clone()
	direct.Proxy = nil
	direct.DialContext = guarded.DialContext
	if o.MaxAnswer == 0 {
		o.MaxAnswer = maxAnswer
	}
	return &http.Client{
		Transport:     &guardedTransport{guard: o.Guard, proxy: o.Proxy, direct: direct, proxied: proxied, limit: o.MaxAnswer},
		CheckRedirect: Redirect,
		Timeout:       o.Timeout,
	}
}

type guardedTransport struct {
	guard           Guard
	proxy           func(*http.Request) (*url.URL, error)
	direct, proxied *http.Transport
	limit           int64
}

// RoundTrip implements [http.RoundTripper].
func (t *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	through := t.direct
	if t.proxy != nil {
		switch proxy, err := t.proxy(req); {
		case err != nil:
			closeBody(req)
			return nil, fmt.Errorf("find the proxy: %w", err)
		case proxy != nil:
			if a, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
				if err := t.guard.Check(a); err != nil {
					closeBody(req)
					return nil, err
				}
			}
			through = t.proxied
		}
	}
	res, err := through.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	res.Body = &bounded{ReadCloser: res.Body, left: t.limit}
	return res, nil
}

// CloseIdleConnections closes connections that nobody uses.
func (t *guardedTransport) CloseIdleConnections() {
	t.direct.CloseIdleConnections()
	t.proxied.CloseIdleConnections()
}

// A RoundTripper closes the body also when it fails.
func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// ErrTooLong says that an answer is longer than anybody wants to read.
var ErrTooLong = errors.New("the answer is too long")

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLong
	}
	// One byte more than allowed tells a body of just that length from a longer one.
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLong
	}
	return n, err
}

// maxRedirects is how often a request may be sent on.
const maxRedirects = 5

// Redirect is the rule by which redirects are followed, a [http.Client]'s
// CheckRedirect. What was sent in confidence (header fields, the body) goes to no
// other host than the one it was meant for, nor over an unencrypted
// connection when it began on an encrypted one; and a request that changes
// something does not silently become one that reads.
func Redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > maxRedirects {
		return fmt.Errorf("%s sends requests on without an end", first.URL.Host)
	}
	if req.Method != first.Method {
		return fmt.Errorf("%s has moved to %s and takes no %s here any more: set its new address", first.URL.Host, place(req.URL), first.Method)
	}
	if req.URL.Scheme != "https" && (first.URL.Scheme == "https" || req.URL.Scheme != "http") {
		return fmt.Errorf("%s redirects to %s, which is not encrypted", first.URL.Host, place(req.URL))
	}
	if !slices.ContainsFunc(via, func(r *http.Request) bool { return !sameHost(r.URL, req.URL) }) {
		return nil
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return fmt.Errorf("%s redirects to another host, %s: what was sent is not for it", first.URL.Host, place(req.URL))
	}
	plain := http.Header{}
	for _, name := range []string{"Accept", "User-Agent"} {
		if v := first.Header.Values(name); v != nil {
			plain[name] = v
		}
	}
	req.Header = plain
	req.URL.User = nil
	return nil
}

// place is a URL without what may be secret in it.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host }

func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}
