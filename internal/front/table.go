package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of a table. What is larger is refused by [Table.Check].
const (
	MaxRoutes   = 4096
	MaxHosts    = 256  // of a route
	MaxBackends = 1024 // of a route
	MaxWeight   = 1000
	maxName     = 253 // bytes of a name, a host, an address
	maxPath     = 1024
	maxWait     = time.Hour // of every time in a route
)

// Times that hold where a route has 0.
const (
	ConnectTime = 2 * time.Second  // for Route.Connect
	AnswerTime  = 60 * time.Second // for Route.Answer
	HoldTime    = 30 * time.Second // for Route.Hold, while its service is paused
)

// Table says where requests go. It is plain data: once it is given to
// [Front.Apply] nobody changes it.
type Table struct {
	// Fence is the number of who wrote it. It rises with every new owner; a table
	// with a lower one than the last is refused.
	Fence  uint64  `json:"fence"`
	Routes []Route `json:"routes,omitempty"`
	// Trusted are the networks ("10.0.0.0/8") of proxies in front of this one,
	// whose X-Forwarded-* and Forwarded fields are believed and continued.
	Trusted []string `json:"trusted,omitempty"`
}

// Route leads requests to the instances of a service. Of the routes that match
// a request, the one with the most precise host wins (exact, then the longest
// "*.x", then any), and of those the one with the longest path.
type Route struct {
	Service string `json:"service"`
	// Hosts are names without a port: "shop.example.com", or "*.example.com" for
	// all names below it. None, or "", is any host.
	Hosts []string `json:"hosts,omitempty"`
	// Path is the beginning of paths, by whole segments: /api is that of /api and
	// /api/x, and not of /apix. "" and "/" are that of all.
	Path string `json:"path,omitempty"`
	// Strip takes Path away before the request is passed on.
	Strip    bool      `json:"strip,omitempty"`
	Backends []Backend `json:"backends,omitempty"`
	Sticky   *Sticky   `json:"sticky,omitempty"`
	// Force is a header field whose value names the release that answers, whatever
	// the weights say: how a release is looked at before it has any. Empty: none.
	Force string `json:"force,omitempty"`
	TLS   *TLS   `json:"tls,omitempty"`

	Connect time.Duration `json:"connect,omitempty"` // until an instance takes a connection; 0: ConnectTime
	Answer  time.Duration `json:"answer,omitempty"`  // from the request's last byte to the answer's header; 0: AnswerTime
	// Hold is how long a request waits when no backend may take it: all weights
	// are 0, or the service is paused. 0: not at all, and HoldTime when paused.
	Hold    time.Duration `json:"hold,omitempty"`
	MaxBody int64         `json:"max_body,omitempty"` // bytes of a request's body; 0: no limit
}

// Backend is one instance. The same one may stand in several routes of its
// service, under the same name with the same release and address.
type Backend struct {
	Name    string `json:"name"`    // of the instance; unique in the table
	Release string `json:"release"` // what it runs
	Address string `json:"address"` // host:port, or the absolute path of a Unix socket
	// Weight is its share of the requests, in relation to those of the others: 0
	// to MaxWeight. An instance with 0 gets only what Force asks for.
	Weight int `json:"weight,omitempty"`
}

// Sticky keeps a user at one release: a user is known by a cookie that we set,
// or by a field that the application's clients send. Users are shared out among
// releases as the weights say. When a release's share grows, those it has stay
// with it, and as few others as possible move.
type Sticky struct {
	Cookie string `json:"cookie,omitempty"` // its name; or
	Header string `json:"header,omitempty"` // the name of the field
}

// TLS are the files of the certificate for a route's hosts, in PEM. They are
// read again when they change; as long as the new ones cannot be read the old
// certificate is used.
type TLS struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Check says what is wrong with the table, one error a fault, joined.
func (t Table) Check() error {
	c := checker{places: map[string]int{}, backends: map[string]listing{}}
	if len(t.Routes) > MaxRoutes {
		return fmt.Errorf("the table has %d routes; at most %d are taken", len(t.Routes), MaxRoutes)
	}
	for _, network := range t.Trusted {
		if _, err := netip.ParsePrefix(network); err != nil {
			c.fault("trusted network %.80q is not written as address/bits", network)
		}
	}
	for i, r := range t.Routes {
		c.at = fmt.Sprintf("route %d (%.80s): ", i+1, r.Service)
		c.route(i, r)
	}
	return errors.Join(c.faults...)
}

// faultLimit is how many faults of a table are told.
const faultLimit = 20

type checker struct {
	at       string
	faults   []error
	places   map[string]int // host and path of a route -> its index
	backends map[string]listing
}

// listing is a backend as the first route that names it has it.
type listing struct {
	Backend
	service string
}

func (c *checker) fault(format string, args ...any) {
	if len(c.faults) < faultLimit {
		c.faults = append(c.faults, fmt.Errorf(c.at+format, args...))
	}
}

func (c *checker) route(i int, r Route) {
	if !plain(r.Service) {
		c.fault("the service has no usable name: it needs 1 to %d printable characters without spaces", maxName)
	}
	if len(r.Hosts) > MaxHosts {
		c.fault("%d hosts; at most %d are taken", len(r.Hosts), MaxHosts)
		return
	}
	if r.Path != "" && r.Path[0] != '/' || len(r.Path) > maxPath || clean(r.Path) != strings.TrimSuffix(r.Path, "/") {
		c.fault("the path %.80q must begin with /, be at most %d bytes long and have no empty segment, . or ..", r.Path, maxPath)
	}
	for _, host := range r.hosts() {
		if host != "" && !validHost(strings.TrimPrefix(host, "*.")) {
			c.fault("host %.80q must be a name such as shop.example.com or *.example.com, without a port", host)
			continue
		}
		place := strings.ToLower(host) + clean(r.Path)
		if j, taken := c.places[place]; taken {
			c.fault("host %q with path %q is that of route %d, too", host, r.Path, j+1)
		}
		c.places[place] = i
	}
	if len(r.Backends) > MaxBackends {
		c.fault("%d backends; at most %d are taken", len(r.Backends), MaxBackends)
		return
	}
	mine := map[string]bool{}
	for _, b := range r.Backends {
		c.backend(r.Service, b)
		if mine[b.Name] {
			c.fault("backend %.80q is named twice", b.Name)
		}
		mine[b.Name] = true
	}
	if s := r.Sticky; s != nil && (s.Cookie == "") == (s.Header == "") {
		c.fault("sticky needs the name of a cookie or that of a header field, and not both")
	} else if s != nil && !token(s.Cookie+s.Header) {
		c.fault("sticky: %.80q is no name of a cookie or header field", s.Cookie+s.Header)
	}
	if r.Force != "" && !token(r.Force) {
		c.fault("force: %.80q is no name of a header field", r.Force)
	}
	for name, d := range map[string]time.Duration{"connect": r.Connect, "answer": r.Answer, "hold": r.Hold} {
		if d < 0 || d > maxWait {
			c.fault("%s: %s is not between 0 and %s", name, d, maxWait)
		}
	}
	if r.MaxBody < 0 {
		c.fault("the limit of a body, %d, is negative", r.MaxBody)
	}
	if r.TLS != nil && (r.TLS.Cert == "" || r.TLS.Key == "") {
		c.fault("tls needs the files of both the certificate and the key")
	}
}

func (c *checker) backend(service string, b Backend) {
	if !plain(b.Name) || !plain(b.Release) {
		c.fault("backend %.80q of release %.80q: both need 1 to %d printable characters without spaces", b.Name, b.Release, maxName)
		return
	}
	if b.Weight < 0 || b.Weight > MaxWeight {
		c.fault("backend %q: weight %d is not between 0 and %d", b.Name, b.Weight, MaxWeight)
	}
	if !validAddress(b.Address) {
		c.fault("backend %q: address %.80q must be host:port or the absolute path of a socket", b.Name, b.Address)
	}
	b.Weight = 0
	mine := listing{b, service}
	if first, known := c.backends[b.Name]; !known {
		c.backends[b.Name] = mine
	} else if first != mine {
		c.fault("backend %q is of service %q, release %q, at %q here, and of service %q, release %q, at %q in another route", b.Name, service, b.Release, b.Address, first.service, first.Release, first.Address)
	}
}

// certificates checks that all certificates of the table can be used.
func (t Table) certificates() error {
	var faults []error
	for i, r := range t.Routes {
		if r.TLS == nil {
			continue
		}
		if _, err := tls.LoadX509KeyPair(r.TLS.Cert, r.TLS.Key); err != nil {
			faults = append(faults, fmt.Errorf("route %d (%s): read the certificate %s: %w", i+1, r.Service, r.TLS.Cert, err))
		}
	}
	return errors.Join(faults...)
}

// hosts are those of the route; "" if it takes any.
func (r Route) hosts() []string {
	if len(r.Hosts) == 0 {
		return []string{""}
	}
	return r.Hosts
}

func validAddress(address string) bool {
	if filepath.IsAbs(address) {
		return len(address) < 108 // what the kernel takes
	}
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && number > 0 && host != "" && plain(address)
}

// validHost reports whether the name may stand in a table, and in a request.
func validHost(host string) bool {
	if host == "" || len(host) > maxName || host[0] == '.' {
		return false
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && host[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

func plain(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// token reports whether the name is one of RFC 9110, 5.6.2.
func token(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}
