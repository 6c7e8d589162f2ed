//go:build unix

package host

import (
	"runtime"
	"time"
)

// recent is how long a look at the steps' threads counts: a thread that slept
// at one look may have worked a moment ago.
const recent = 60 * time.Millisecond

// look is how many threads of the steps wanted a core at some instant.
type look struct {
	at   time.Time
	busy int
}

// Idle is how many cores the steps that run here leave unused, so that more
// jobs can be let in while those that run merely wait. Where the steps' threads
// can be listed (control groups) only they count: another program's load does
// not keep jobs that sleep from sleeping side by side. Elsewhere it is the
// machine's idle cores, see [Meter]. It may be called every few milliseconds.
func (x *Executor) Idle() float64 {
	x.ready()
	groups, ok := x.yard.(interface{ wanting(atMost int) int })
	if !ok {
		return x.meter.Idle()
	}
	cores := runtime.NumCPU()
	now := look{time.Now(), groups.wanting(2 * cores)}
	x.looking.Lock()
	defer x.looking.Unlock()
	kept := x.looks[:0]
	busy := now.busy
	for _, l := range x.looks {
		if now.at.Sub(l.at) < recent {
			kept = append(kept, l)
			busy = max(busy, l.busy)
		}
	}
	x.looks = append(kept, now)
	return float64(max(0, cores-busy))
}
