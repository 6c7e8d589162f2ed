package access

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// TooMany says that somebody has to wait before another try.
type TooMany struct {
	After time.Duration // at least that long
}

func (e *TooMany) Error() string {
	return fmt.Sprintf("too many failed attempts: try again in %s", e.After.Round(time.Second))
}

const (
	// throttleKeys is how many names and addresses are remembered.
	throttleKeys = 1 << 14
	// throttleSample is how many of them are looked at to make room for one.
	throttleSample = 64
	// throttleForget is how long a key has to be quiet to be forgotten.
	throttleForget = time.Hour
)

// slope says how the wait grows: nothing for the first free failures, then first,
// and twice as long for each one more, up to longest.
type slope struct {
	free           int
	first, longest time.Duration
}

// An address is slowed sooner and longer than a name: a stranger who fails on
// purpose must not keep the owner of the name out. The machine's own address is
// treated like a name: it may be that of a proxy, and so everybody's.
var (
	perAddress = slope{free: 5, first: time.Second, longest: 15 * time.Minute}
	perName    = slope{free: 10, first: time.Second, longest: time.Minute}
)

func (s slope) wait(failures int) time.Duration {
	if failures < s.free {
		return 0
	}
	return min(s.first<<min(failures-s.free, 20), s.longest)
}

// throttle slows down who guesses. It remembers in memory only: a restart forgives,
// and every server of several counts for itself.
type throttle struct {
	mu   sync.Mutex
	seen map[string]*failures
}

type failures struct {
	n     int
	last  time.Time
	until time.Time // no attempt before
}

// attempt is a try that was let through.
type attempt struct {
	t    *throttle
	keys [2]string
}

// begin lets a try through, or says how long to wait. A try counts as failed from
// its beginning, so that a thousand at once do not slip through while the first
// is looked at.
func (t *throttle) begin(now time.Time, name, from string) (attempt, error) {
	a := attempt{t: t, keys: [2]string{"name " + name, "from " + addressKey(from)}}
	slopes := [2]slope{perName, perAddress}
	if loopback(from) {
		slopes[1] = perName
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var wait time.Duration
	for _, k := range a.keys {
		if f := t.seen[k]; f != nil {
			wait = max(wait, f.until.Sub(now))
		}
	}
	if wait > 0 {
		return attempt{}, &TooMany{After: wait}
	}
	for i, k := range a.keys {
		f := t.seen[k]
		if f == nil {
			t.room(now)
			f = new(failures)
			t.seen[k] = f
		}
		if now.Sub(f.last) > throttleForget {
			f.n = 0
		}
		f.n++
		f.last, f.until = now, now.Add(slopes[i].wait(f.n))
	}
	return a, nil
}

// succeeded takes the try back. The name's earlier failures are forgiven with it,
// the address's are not: whoever owns one account could else go on guessing for
// others.
func (a attempt) succeeded() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	delete(a.t.seen, a.keys[0])
	if f := a.t.seen[a.keys[1]]; f != nil {
		f.until = time.Time{}
		if f.n--; f.n <= 0 {
			delete(a.t.seen, a.keys[1])
		}
	}
}

// room makes room for one more key: of some that it happens to look at, those
// that have been quiet go, or else the one that has failed least.
func (t *throttle) room(now time.Time) {
	if t.seen == nil {
		t.seen = map[string]*failures{}
	}
	if len(t.seen) < throttleKeys {
		return
	}
	least, at, looked := "", (*failures)(nil), 0
	for k, f := range t.seen { // in random order
		if now.Sub(f.last) > throttleForget {
			delete(t.seen, k)
		} else if at == nil || f.n < at.n || f.n == at.n && f.last.Before(at.last) {
			least, at = k, f
		}
		if looked++; looked == throttleSample {
			break
		}
	}
	if len(t.seen) >= throttleKeys {
		delete(t.seen, least)
	}
}

// loopback reports whether an address is the machine's own.
func loopback(from string) bool {
	addr, err := netip.ParseAddr(host(from))
	return err == nil && addr.Unmap().IsLoopback()
}

// addressKey is what an address is remembered by: without its port, and for
// IPv6 the network that one customer usually has.
func addressKey(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		ap, err := netip.ParseAddrPort(from)
		if err != nil {
			return from[:min(len(from), 64)]
		}
		addr = ap.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64) // 64 bits fit
		return p.String()
	}
	return addr.String()
}
