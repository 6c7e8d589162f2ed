//go:build unix

package host

import (
	"fmt"
	"regexp"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Class is this machine: the system, its kernel's generation, and about how
// many cores there are, since tools choose their parallelism by it.
func (x *Executor) Class(*plan.Place) executor.Class {
	x.classify.Do(func() {
		base := inherit(x.opts.Env(), x.opts.Inherit)
		for _, e := range base.entries {
			x.class.Environ = append(x.class.Environ, e.text)
		}
		x.class.Environ = append(x.class.Environ, "PATH="+base.path)
		var u unix.Utsname
		_ = unix.Uname(&u) // fails only for a bad pointer
		generation := unix.ByteSliceToString(u.Release[:])
		for i, c := range generation {
			if c == '.' {
				generation = generation[:i]
				break
			}
		}
		cores := 1
		for cores < runtime.NumCPU() {
			cores *= 2
		}
		x.class.Name = fmt.Sprintf("%s/%s %s, up to %d cores, user %d", runtime.GOOS, runtime.GOARCH, generation, cores, unix.Getuid())
	})
	return x.class
}

// gains are programs that need privileges their caller does not have. They do
// not work in a process that must not gain any, which is what watching costs
// who is not root.
var gains = regexp.MustCompile(`(^|[^A-Za-z0-9_./-])(/usr/bin/)?(sudo|su|doas|pkexec|newuidmap|ping)([^A-Za-z0-9_.-]|$)`)

// tracer is who watches a command; nil when nobody can, and why.
func (x *Executor) tracer(c *plan.Command, watch *trace.Spec) (*trace.Tracer, string) {
	x.probe.Do(func() { x.ability, x.unable = trace.Probe() })
	switch {
	case x.unable != nil:
		return nil, x.unable.Error()
	case x.ability.NoNewPrivs && gains.MatchString(c.Script):
		return nil, "it gains privileges, which a watched process of an ordinary user cannot"
	}
	t, err := trace.New(*watch, x.ability.Mechanism)
	if err != nil {
		return nil, err.Error()
	}
	return t, ""
}

// unwatched is the observation of a command that nobody could watch.
func unwatched(why string) *record.Observation {
	return &record.Observation{Barred: []record.Bar{{Kind: record.BarNotWatched, Detail: why}}}
}
