package front

import (
	"cmp"
	"context"
	"maps"
	"math/bits"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// Counts are what came of the requests since Since. They only grow: what came of
// those between two moments is the difference of their counts ([Count.Sub]).
type Counts struct {
	Since    time.Time      `json:"since"` // when this process opened the front
	At       time.Time      `json:"at"`
	Unrouted uint64         `json:"unrouted"` // requests that no route matched
	Services []ServiceCount `json:"services"` // by name
}

// ServiceCount are the counts of a service.
type ServiceCount struct {
	Service string `json:"service"`
	// Refused are requests that no instance got: none may take them (503), the
	// body is too large (413).
	Refused  uint64         `json:"refused"`
	Waiting  int            `json:"waiting"`  // requests held at this moment
	Releases []ReleaseCount `json:"releases"` // by name
}

// ReleaseCount are the counts of all instances of a release, those that are gone,
// too; Instances are those that are left.
type ReleaseCount struct {
	Release string `json:"release"`
	Count
	Instances []InstanceCount `json:"instances"` // by name
}

// InstanceCount are the counts of one instance.
type InstanceCount struct {
	Instance string `json:"instance"`
	Count
}

// Count is what came of requests. A request that is tried again counts where it
// was tried first, as Broken, and where it was tried then.
type Count struct {
	Requests  uint64    `json:"requests"`  // that were given to it
	Status    [5]uint64 `json:"status"`    // answers 1xx (upgrades) to 5xx
	Broken    uint64    `json:"broken"`    // no answer, or one that broke off
	Cancelled uint64    `json:"cancelled"` // given up by the client
	InFlight  int64     `json:"in_flight"` // under way at this moment
	// Latency has, for every answer, the time until its header was there, from
	// when the request was passed on.
	Latency Histogram `json:"latency"`
}

// Errors are the requests that failed through the instance's fault.
func (c Count) Errors() uint64 { return c.Status[4] + c.Broken }

// Sub is what came of the requests since the earlier count was taken.
func (c Count) Sub(earlier Count) Count {
	c.Requests -= earlier.Requests
	for i := range c.Status {
		c.Status[i] -= earlier.Status[i]
	}
	c.Broken -= earlier.Broken
	c.Cancelled -= earlier.Cancelled
	c.Latency = slices.Clone(c.Latency)
	for i, n := range earlier.Latency {
		c.Latency[i] -= n
	}
	return c
}

// Add is what came of the requests of both.
func (c Count) Add(other Count) Count {
	c.Requests += other.Requests
	for i, n := range other.Status {
		c.Status[i] += n
	}
	c.Broken += other.Broken
	c.Cancelled += other.Cancelled
	c.InFlight += other.InFlight
	sum := make(Histogram, max(len(c.Latency), len(other.Latency)))
	copy(sum, c.Latency)
	for i, n := range other.Latency {
		sum[i] += n
	}
	c.Latency = sum
	return c
}

// Histogram counts times in log-linear buckets: eight of equal width for each
// doubling, so that a bucket is at most an eighth wider than what lies in it is
// long. The last bucket that has any is the last of the slice.
type Histogram []uint64

const (
	octave  = 3                               // bits of a bucket within a doubling
	buckets = (32 - octave + 1) * 1 << octave // up to 2^32 µs, more than an hour
)

// Bucket is the bucket of a time.
func Bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 1<<octave {
		return int(us)
	}
	exponent := bits.Len64(us) - octave - 1
	return min(exponent<<octave+int(us>>exponent), buckets-1)
}

// Bounds are the times of a bucket: from the first, included, to the second.
func Bounds(bucket int) (from, to time.Duration) {
	edge := func(i int) time.Duration {
		if i < 1<<octave {
			return time.Duration(i) * time.Microsecond
		}
		exponent := i>>octave - 1
		return time.Duration(i-exponent<<octave) << exponent * time.Microsecond
	}
	return edge(bucket), edge(bucket + 1)
}

// Total is how many times were counted.
func (h Histogram) Total() (n uint64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile is a time that the share q (0 to 1) of those counted did not exceed,
// up to the width of a bucket; 0 if none was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := max(uint64(q*float64(h.Total())+0.5), 1)
	for i, n := range h {
		if n >= rank {
			_, to := Bounds(i)
			return to
		}
		rank -= n
	}
	return 0
}

// tally counts one instance's requests. Each connection of a client has a shard,
// so that processors do not wait for each other to count.
type tally struct{ shards []shard }

type shard struct {
	requests, broken, cancelled atomic.Uint64
	status                      [5]atomic.Uint64
	latency                     [buckets]atomic.Uint64
	_                           [64]byte // keeps shards off each other's cache lines
}

func newTally() *tally { return &tally{shards: make([]shard, shards())} }

// shards is how many a tally has, a power of two.
func shards() int { return 1 << bits.Len(uint(min(runtime.GOMAXPROCS(0), 16)-1)) }

func (t *tally) at(n uint32) *shard { return &t.shards[int(n)&(len(t.shards)-1)] }

func (t *tally) count() (c Count) {
	c.Latency = make(Histogram, buckets)
	for i := range t.shards {
		s := &t.shards[i]
		c.Requests += s.requests.Load()
		c.Broken += s.broken.Load()
		c.Cancelled += s.cancelled.Load()
		for k := range s.status {
			c.Status[k] += s.status[k].Load()
		}
		for k := range s.latency {
			c.Latency[k] += s.latency[k].Load()
		}
	}
	for len(c.Latency) > 0 && c.Latency[len(c.Latency)-1] == 0 {
		c.Latency = c.Latency[:len(c.Latency)-1]
	}
	return c
}

// client is what is known of a client's connection, found out once.
type client struct {
	shard uint32     // where its requests are counted
	ip    netip.Addr // zero if it has none
	addr  string     // the same in words; "unknown" if it has none
	node  string     // as Forwarded has it (RFC 7239, 6)
}

type clientKey struct{}

func clientContext(next *atomic.Uint32) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, clientKey{}, newClient(next.Add(1), c.RemoteAddr().String()))
	}
}

// keptReleases is how many releases of a service are counted of which no instance
// is left.
const keptReleases = 32

// Counts are the counts at this moment.
func (f *Front) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	all := Counts{Since: f.born, At: time.Now(), Unrouted: f.unrouted.Load()}
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		s := f.services[name]
		releases := map[string]*ReleaseCount{}
		of := func(release string) *ReleaseCount {
			if releases[release] == nil {
				releases[release] = &ReleaseCount{Release: release}
			}
			return releases[release]
		}
		for _, g := range s.gone {
			r := of(g.Release)
			r.Count = r.Add(g.Count)
		}
		for _, b := range f.backends {
			if b.service != s {
				continue
			}
			c := b.tally.count()
			c.InFlight = b.inFlight.Load()
			r := of(b.release)
			r.Count = r.Add(c)
			r.Instances = append(r.Instances, InstanceCount{Instance: b.name, Count: c})
		}
		sc := ServiceCount{Service: name, Refused: s.refused.Load(), Waiting: int(s.waiting.Load())}
		for _, release := range slices.Sorted(maps.Keys(releases)) {
			r := releases[release]
			slices.SortFunc(r.Instances, func(a, b InstanceCount) int { return cmp.Compare(a.Instance, b.Instance) })
			sc.Releases = append(sc.Releases, *r)
		}
		all.Services = append(all.Services, sc)
	}
	return all
}

// forget lets go of the instances that are in no table and have nothing under
// way; their counts go to those of their release.
func (f *Front) forget() {
	f.backends = slices.DeleteFunc(f.backends, func(b *backend) bool {
		if b.listed || b.inFlight.Load() > 0 {
			return false
		}
		s := b.service
		i := slices.IndexFunc(s.gone, func(g ReleaseCount) bool { return g.Release == b.release })
		if i < 0 {
			s.gone = append(s.gone, ReleaseCount{Release: b.release})
			i = len(s.gone) - 1
		}
		s.gone[i].Count = s.gone[i].Add(b.tally.count())
		if len(s.gone) > keptReleases {
			s.gone = slices.Delete(s.gone, 0, 1)
		}
		return true
	})
}
