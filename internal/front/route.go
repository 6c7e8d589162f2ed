package front

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// compiled is a table made ready for requests. Nothing of it changes.
type compiled struct {
	exact   map[string][]*route // by host; each list has the longest path first
	below   map[string][]*route // by ".example.com", for *.example.com
	any     []*route
	trusted []netip.Prefix
}

// route is a Route whose backends are the front's.
type route struct {
	Route
	prefix  string // Path without a slash at its end
	service *service
	targets []target // with a weight
	total   uint64   // of the weights
	shares  []share  // the releases with a weight, by name
	others  []target // without one: for Force
}

type target struct {
	*backend
	weight uint64
}

type share struct {
	release string
	weight  uint64
	seed    uint64 // of the release's name
}

// service is what the routes of a service have in common, from table to table.
type service struct {
	name    string
	turn    atomic.Uint64 // requests that chose by weight
	paused  atomic.Bool
	waiting atomic.Int64
	refused atomic.Uint64
	gone    []ReleaseCount // of instances that are no more; under Front.mu
}

func (f *Front) service(name string) *service {
	s := f.services[name]
	if s == nil {
		s = &service{name: name}
		f.services[name] = s
	}
	return s
}

// adopt makes the table the one that requests are led by. Whoever calls it has
// f.mu, or the front to itself.
func (f *Front) adopt(t Table) {
	c := &compiled{exact: map[string][]*route{}, below: map[string][]*route{}}
	for _, network := range t.Trusted {
		if prefix, err := netip.ParsePrefix(network); err == nil { // Check has seen to it
			c.trusted = append(c.trusted, prefix.Masked())
		}
	}
	weights := map[*backend]int{}
	known := map[string]*backend{}
	for _, b := range f.backends {
		if b.listed {
			known[b.name] = b
			b.listed = false
		}
	}
	for _, r := range t.Routes {
		ready := &route{Route: r, prefix: clean(r.Path), service: f.service(r.Service)}
		for _, listed := range r.Backends {
			b := known[listed.Name]
			if b == nil || b.address != listed.Address || b.release != listed.Release || b.service != ready.service {
				b = newBackend(listed, ready.service)
				f.backends, known[listed.Name] = append(f.backends, b), b
			}
			b.listed = true
			weights[b] = max(weights[b], listed.Weight)
			ready.add(target{b, uint64(listed.Weight)})
		}
		slices.SortFunc(ready.shares, func(a, b share) int { return cmp.Compare(a.release, b.release) })
		for _, host := range r.hosts() {
			host = strings.ToLower(host)
			switch below, wild := strings.CutPrefix(host, "*"); {
			case host == "":
				c.any = append(c.any, ready)
			case wild:
				c.below[below] = append(c.below[below], ready)
			default:
				c.exact[host] = append(c.exact[host], ready)
			}
		}
	}
	longestFirst(c.any)
	for _, list := range c.exact {
		longestFirst(list)
	}
	for _, list := range c.below {
		longestFirst(list)
	}
	f.certs.adopt(t)
	// Those with a weight are in use before requests look for them; one that was
	// drained and still has none stays drained.
	for b, weight := range weights {
		if weight > 0 {
			b.open()
		}
	}
	f.table = t
	f.live.Store(c)
	for _, b := range f.backends {
		if !b.listed {
			b.close()
		}
	}
	f.forget()
	f.wake()
}

func longestFirst(list []*route) {
	slices.SortStableFunc(list, func(a, b *route) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
}

func (r *route) add(t target) {
	if t.weight == 0 {
		r.others = append(r.others, t)
		return
	}
	r.targets = append(r.targets, t)
	r.total += t.weight
	i := slices.IndexFunc(r.shares, func(s share) bool { return s.release == t.release })
	if i < 0 {
		r.shares = append(r.shares, share{release: t.release, seed: hash(0, t.release)})
		i = len(r.shares) - 1
	}
	r.shares[i].weight += t.weight
}

// find is the route for a request, nil if there is none. The host is normal
// (hostOf), the path clean.
func (c *compiled) find(host, path string) *route {
	if len(c.exact) > 0 {
		if r := longest(c.exact[host], path); r != nil {
			return r
		}
	}
	if len(c.below) > 0 {
		for rest := host; ; {
			dot := strings.IndexByte(rest, '.')
			if dot < 0 {
				break
			}
			if r := longest(c.below[rest[dot:]], path); r != nil && dot > 0 {
				return r
			}
			rest = rest[dot+1:]
		}
	}
	return longest(c.any, path)
}

func longest(list []*route, path string) *route {
	for _, r := range list {
		if n := len(r.prefix); n == 0 || strings.HasPrefix(path, r.prefix) && (len(path) == n || path[n] == '/') {
			return r
		}
	}
	return nil
}

// hostOf is the host of a request's Host field without its port, in lower case;
// ok is false if it is none.
func hostOf(field string) (host string, ok bool) {
	host = field
	if i := strings.LastIndexByte(field, ':'); i >= 0 && !strings.HasSuffix(field, "]") {
		port := field[i+1:]
		if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
			return "", false
		}
		host = field[:i]
		if strings.IndexByte(host, ':') >= 0 && host[0] != '[' {
			return "", false
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return "", field == "" // HTTP/1.0 has none
	}
	if !validHost(host) {
		return "", false
	}
	return strings.ToLower(host), true
}

// clean is the path as an application will understand it: without empty
// segments, . and .., so that nothing leads past a route. A path without any of
// them is returned as it is; that of all paths is "".
func clean(p string) string {
	if p == "" || p == "/" {
		return ""
	}
	if p[0] == '/' && !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return strings.TrimSuffix(p, "/")
	}
	if p = path.Clean("/" + p); p == "/" {
		return ""
	}
	return p
}

// golden is 2^64 divided by the golden ratio. Its multiples, modulo 2^64, are
// spread more evenly than those of any other number, however many are taken: so
// each backend's requests come at even distances, and its share is kept to within one or
// two requests at any moment, with one counter and no lock.
const golden = 0x9E3779B97F4A7C15

// wish is what a request asks of the choice.
type wish struct {
	forced string   // this release, whatever its weight; "": none
	user   string   // who is to stay at a release; "": nobody
	not    *backend // tried already
}

// choose is the backend for a request; nil if none may take it.
func (r *route) choose(w wish, clock int64) *backend {
	targets, total := r.targets, r.total
	if w.forced != "" {
		targets, total = r.release(w.forced)
	} else if w.user != "" && len(r.shares) > 1 {
		targets, total = r.release(r.home(w.user))
		if b := pick(targets, total, r.service.turn.Add(1), w.not, clock); b != nil {
			return b
		}
		targets, total = r.targets, r.total
	}
	if total == 0 {
		return nil
	}
	return pick(targets, total, r.service.turn.Add(1), w.not, clock)
}

// release are the backends of a release, those without a weight if none has one.
func (r *route) release(name string) (list []target, total uint64) {
	for _, t := range r.targets {
		if t.release == name {
			list, total = append(list, t), total+t.weight
		}
	}
	if total > 0 {
		return list, total
	}
	for _, t := range r.others {
		if t.release == name {
			list, total = append(list, target{t.backend, 1}), total+1
		}
	}
	return list, total
}

// pick is the backend whose turn it is. One that takes no requests is passed
// over, and so is one that refuses connections, as long as there are others.
func pick(targets []target, total, turn uint64, not *backend, clock int64) *backend {
	if total == 0 {
		return nil
	}
	point, _ := bits.Mul64(turn*golden, total)
	for _, t := range targets {
		if point < t.weight {
			if t.backend != not && t.outUntil.Load() <= clock && !t.closed.Load() {
				return t.backend
			}
			break
		}
		point -= t.weight
	}
	var usable, best []target
	var of uint64
	for _, t := range targets {
		if t.backend != not && !t.closed.Load() {
			usable = append(usable, t)
			if t.outUntil.Load() <= clock {
				best = append(best, t)
			}
		}
	}
	if len(best) > 0 {
		usable = best
	}
	for _, t := range usable {
		of += t.weight
	}
	point, _ = bits.Mul64(turn*golden, of)
	for _, t := range usable {
		if point < t.weight {
			return t.backend
		}
		point -= t.weight
	}
	return nil
}

// home is the release that a user belongs to: rendezvous hashing with weights.
// Each release draws a number for the user, and the largest wins; the numbers of a release
// grow with its weight, so a change of weights moves only users who leave a
// release that shrank or come to one that grew.
func (r *route) home(user string) (release string) {
	best := math.Inf(-1)
	for _, s := range r.shares {
		// In (0, 1), and with a logarithm below 0.
		u := (float64(hash(s.seed, user)>>11) + 0.5) / (1 << 53)
		if score := -float64(s.weight) / math.Log(u); score > best {
			best, release = score, s.release
		}
	}
	return release
}

// hash is FNV-1a with a finish that lets every bit of the text change every bit
// of the result. It is the same in every process.
func hash(seed uint64, text string) uint64 {
	h := seed ^ 0xcbf29ce484222325
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// lead finds the route and the backend for the request, and counts it in there.
// It waits while the service is held. Without a backend, the refusal is for the
// client; it is empty if that has left.
func (x *exchange) lead(not *backend) (why refusal, ok bool) {
	f, ctx := x.f, x.r.Context()
	var deadline <-chan time.Time
	for {
		changed := *f.change.Load()
		r := f.live.Load().find(x.host, x.path)
		if r == nil {
			f.unrouted.Add(1)
			return notRouted, false
		}
		x.route = r
		paused := r.service.paused.Load()
		if !paused {
			if b := r.choose(x.wish(not), f.clock()); b != nil {
				if b.acquire() {
					x.b = b
					return why, true
				}
				continue // closed since it was chosen
			}
			if not != nil {
				return notReady, false // there is no other one
			}
		}
		if deadline == nil {
			hold := r.Hold
			if hold == 0 && paused {
				hold = HoldTime
			}
			if hold == 0 || r.service.waiting.Add(1) > maxWaiting {
				if hold > 0 {
					r.service.waiting.Add(-1)
				}
				r.service.refused.Add(1)
				return notReady, false
			}
			defer r.service.waiting.Add(-1)
			timer := time.NewTimer(hold)
			defer timer.Stop()
			deadline = timer.C
		}
		select {
		case <-changed:
		case <-deadline:
			r.service.refused.Add(1)
			return notReady, false
		case <-ctx.Done():
			return why, false
		}
	}
}

// wish is what the request asks of the choice. A user without a cookie gets a
// name, which decides where it belongs before it knows it.
func (x *exchange) wish(not *backend) wish {
	r := x.route
	w := wish{not: not}
	x.cookie = false
	if r.Force != "" {
		if w.forced = x.r.Header.Get(r.Force); w.forced != "" {
			return w
		}
	}
	switch s := r.Sticky; {
	case s == nil || len(r.shares) < 2:
	case s.Header != "":
		w.user = x.r.Header.Get(s.Header)
	default:
		if c, err := x.r.Cookie(s.Cookie); err == nil && c.Value != "" {
			w.user = c.Value
			break
		}
		if x.user == "" {
			x.user = strconv.FormatUint(rand.Uint64(), 36)
		}
		w.user, x.cookie = x.user, true
	}
	return w
}

// newClient is the client at the address, host:port.
func newClient(shard uint32, address string) *client {
	c := &client{shard: shard, addr: "unknown", node: "unknown"}
	if at, err := netip.ParseAddrPort(address); err == nil {
		c.ip = at.Addr().Unmap().WithZone("")
		c.addr = c.ip.String()
		c.node = c.addr
		if c.ip.Is6() {
			c.node = `"[` + c.addr + `]"`
		}
	}
	return c
}
