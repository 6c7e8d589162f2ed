package host

import (
	"runtime"
	"sync"
	"time"
)

// Meter measures how much of this machine is idle, so that more jobs can be
// let in while those that run merely wait. The zero value is ready.
//
// An idle core must have been idle for a while and be idle now. "A while" are
// the kernel's counters over the last window; they are exact but late. "Now"
// is the number of tasks that want to run at this instant; it is prompt but
// jumps. The lower of the two is told: letting a job in too late costs a few
// milliseconds, letting in too many slows all of them. Within a container,
// what its CPU quota leaves is told if that is less.
type Meter struct {
	mu     sync.Mutex
	source load // nil until the first call
	last   sample
	idle   float64 // over the window that ended with last; meaningless before the second sample
	warm   bool
}

// window is the least time between two readings of the counters. They count
// in hundredths of a second.
const window = 50 * time.Millisecond

// sample is a reading of what grows while a machine works.
type sample struct {
	at   time.Time
	idle time.Duration // summed over the cores
	used time.Duration // of the quota, summed over the cores
}

// load is where a system tells of its load.
type load interface {
	sample() (sample, bool)
	// quota is how many cores may be used: those of the machine, or fewer.
	quota() (cores float64, limited bool)
	// free is the number of cores of the machine that nobody wants at this
	// instant, the caller not counted.
	free() (float64, bool)
}

// Idle is the number of idle cores, from 0 to as many as there are. It reads a
// few small files, and may be called every few milliseconds.
func (m *Meter) Idle() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.source == nil {
		m.source = newLoad()
	}
	cores := float64(runtime.NumCPU())
	quota, limited := m.source.quota()
	m.measure(quota, limited)
	idle := cores
	if limited {
		idle = min(idle, quota)
	}
	if m.warm {
		idle = min(idle, m.idle)
	}
	if n, ok := m.source.free(); ok {
		idle = min(idle, n)
	}
	return max(idle, 0)
}

func (m *Meter) measure(quota float64, limited bool) {
	if !m.last.at.IsZero() && time.Since(m.last.at) < window {
		return
	}
	s, ok := m.source.sample()
	if !ok {
		return
	}
	if !m.last.at.IsZero() {
		over := s.at.Sub(m.last.at).Seconds()
		m.idle = (s.idle - m.last.idle).Seconds() / over
		if limited {
			m.idle = min(m.idle, quota-(s.used-m.last.used).Seconds()/over)
		}
		m.warm = true
	}
	m.last = s
}
