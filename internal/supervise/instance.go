package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How instances are looked at and started again.
const (
	probeFirst = 25 * time.Millisecond // between two looks until it is ready for the first time
	probeEvery = time.Second           // from then on
	probeTime  = 3 * time.Second       // for an answer
	probeFails = 3                     // in a row until it is no longer ready
	weighEvery = time.Second           // between two looks at its memory
	failTries  = 3                     // starts in a row after which it counts as failed
	steadyTime = 10 * time.Second      // ready for so long, it is started again at once
	backoffMin = 200 * time.Millisecond
	backoffMax = 30 * time.Second
)

// instance is one copy of a revision. Its goroutine, and nobody else, starts and ends
// its processes; what others look at is under Host.mu.
type instance struct {
	h             *Host
	target        string
	service       string // for its environment
	environment   string
	name          string
	number, index int
	rev           Revision
	print         string

	leave context.Context    // ends when it is to go
	quit  context.CancelFunc // ends leave
	begun chan struct{}      // closed when its first start was tried

	// Under Host.mu.
	seen    SeenInstance
	port    int
	id      identity
	serving bool // it was ready since its process was started
	tries   int  // ends in a row, none after it had been ready for long
	misses  int  // probes in a row that failed
}

// running is what is written down of an instance's process, in run/<name>: not more
// than a hint, which a later host believes if such a process is there.
type running struct {
	identity
	Port     int       `json:"port"`
	Print    string    `json:"print"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	Ready    bool      `json:"ready"`
}

func (h *Host) runFile(name string) string { return filepath.Join(h.dir, "run", name) }

// note writes down what runs of the instance. Whoever calls it has Host.mu.
func (in *instance) note() {
	data, err := json.Marshal(running{identity: in.id, Port: in.port, Print: in.print, Started: in.seen.Started, Restarts: in.seen.Restarts, Ready: in.seen.Ready})
	name := in.h.runFile(in.name)
	if err == nil {
		err = os.WriteFile(name+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		in.h.log.Warn("what runs could not be written down", "instance", in.name, "error", err)
	}
}

// live is the instance's whole life, from its first process to the end of its last.
func (in *instance) live(p *process) {
	h := in.h
	defer h.left(in)
	first := true
	for {
		if p == nil {
			if !h.mayStart(in.leave) {
				return
			}
			var err error
			if p, err = in.start(); err != nil {
				in.stopped(err.Error())
			}
			h.hasStarted()
		}
		if first {
			close(in.begun)
			first = false
		}
		if p != nil {
			if left := in.watch(p); left {
				in.finish(p)
				return
			}
			p.kill() // what it has left behind
			p.cage.remove()
			why := p.how
			if line := lastLine(h.logFile(in.name)); line != "" {
				why += ": " + line
			}
			in.stopped(why)
			p = nil
		}
		again := time.NewTimer(in.pause())
		select {
		case <-again.C:
		case <-in.leave.Done():
			again.Stop()
			return
		}
	}
}

// mayStart waits until a process may be started, and counts it; false if the instance
// is to leave before.
func (h *Host) mayStart(leave context.Context) bool {
	may := false
	err := h.await(leave, func() bool {
		if may = !h.frozen; may {
			h.starting++
		}
		return may
	})
	return err == nil && may
}

func (h *Host) hasStarted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting--
	h.changed("")
}

// pause is how long it is waited before the next start.
func (in *instance) pause() time.Duration {
	in.h.mu.Lock()
	defer in.h.mu.Unlock()
	if in.tries <= 1 {
		return 0 // it ran well until now
	}
	return min(backoffMin<<min(in.tries-2, 10), backoffMax)
}

// stopped says that no process runs, and why.
func (in *instance) stopped(why string) {
	in.h.mu.Lock()
	defer in.h.mu.Unlock()
	if in.serving && time.Since(in.seen.Started) > steadyTime {
		in.tries = 0
	}
	in.tries++
	in.id = identity{}
	in.serving = false
	in.seen.PID, in.seen.Ready, in.seen.Memory = 0, false, 0
	in.seen.Why = why
	in.seen.Failed = in.tries >= failTries
	in.seen.Restarts++
	in.h.log.Warn("instance ended", "instance", in.name, "why", why)
	in.h.changed(in.target)
}

// start begins a process.
func (in *instance) start() (*process, error) {
	h := in.h
	port, err := h.takePort(in)
	if err != nil {
		return nil, err
	}
	log, err := h.openLog(in.name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := command{dir: h.releases.files(in.rev.Artifact), env: in.environ(port), user: in.rev.Run.User, log: log}
	for _, word := range in.rev.Run.Command {
		c.argv = append(c.argv, strings.NewReplacer("${PORT}", strconv.Itoa(port), "$PORT", strconv.Itoa(port)).Replace(word))
	}
	c.cage, err = newCage(in.name, in.rev.Run.Memory)
	h.caged(err)
	begin := start
	if in.rev.Run.Systemd {
		begin = func(c command) (*process, error) { return h.startUnit(in, c) }
	}
	p, err := begin(c)
	if err != nil {
		c.cage.remove()
		return nil, fmt.Errorf("start %s: %w", in.rev.Run.Command[0], err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	in.id = p.identity
	in.serving = false
	in.seen.PID, in.seen.Started = p.PID, time.Now().UTC()
	if in.seen.Why == "" {
		in.seen.Why = "it is starting"
	}
	in.note()
	h.changed("")
	return p, nil
}

// environ is what the instance finds in its environment: little of ours, since what it
// needs is part of its release.
func (in *instance) environ(port int) map[string]string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"} {
		if v := os.Getenv(name); v != "" && (name != "HOME" || in.rev.Run.User == "") {
			env[name] = v
		}
	}
	maps.Copy(env, in.rev.Env)
	env["PORT"] = strconv.Itoa(port)
	env["FAIRLEAD_SERVICE"], env["FAIRLEAD_ENVIRONMENT"] = in.service, in.environment
	env["FAIRLEAD_RELEASE"], env["FAIRLEAD_REVISION"] = in.rev.Release, strconv.Itoa(in.number)
	env["FAIRLEAD_ROLLOUT"] = in.rev.Rollout
	env[hostVar], env[instanceVar], env[printVar] = in.h.dir, in.name, in.print
	return env
}

// watch looks at a process until it ends, or the instance is to leave.
func (in *instance) watch(p *process) (left bool) {
	ctx, cancel := context.WithCancel(in.leave)
	defer cancel()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	probe := time.NewTimer(0)
	defer probe.Stop()
	weigh := time.NewTicker(weighEvery)
	defer weigh.Stop()
	for {
		select {
		case <-ctx.Done():
			return in.leave.Err() != nil
		case <-probe.C:
			err := in.probe(ctx)
			if ctx.Err() == nil {
				probe.Reset(in.probed(err))
			}
		case <-weigh.C:
			if limit := in.rev.Run.Memory; limit > 0 {
				if n := memoryOf(p.PID); n > limit {
					p.kill()
					<-p.ended
					p.how = fmt.Sprintf("it used %s of memory, more than its limit of %s, and was ended", bytesText(n), bytesText(limit))
				}
			}
		}
	}
}

// probe asks whether the instance is ready.
func (in *instance) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	in.h.mu.Lock()
	address := in.address()
	in.h.mu.Unlock()
	if in.rev.Run.Ready == "" {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("its port is not open: %w", plainly(err))
		}
		return c.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+in.rev.Run.Ready, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "fairlead-host")
	if len(in.rev.Route.Hosts) > 0 && !strings.HasPrefix(in.rev.Route.Hosts[0], "*") {
		req.Host = in.rev.Route.Hosts[0]
	}
	resp, err := in.h.prober.Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", in.rev.Run.Ready, plainly(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("GET %s is answered with %s", in.rev.Run.Ready, resp.Status)
	}
	return nil
}

// plainly is an error of the network without the words around it.
func plainly(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return op.Err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s", probeTime)
	}
	return err
}

// newProber asks instances, each time on a connection of its own.
func newProber() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 1 << 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// probed takes what a probe found, and says when the next is due.
func (in *instance) probed(err error) time.Duration {
	in.h.mu.Lock()
	defer in.h.mu.Unlock()
	was := in.seen.Ready
	switch {
	case err == nil:
		in.seen.Ready, in.seen.Failed, in.seen.Why = true, false, ""
		in.serving = true
		in.misses = 0
	case in.serving:
		if in.misses++; in.misses >= probeFails {
			in.seen.Ready, in.seen.Why = false, err.Error()
		}
	default:
		in.seen.Why = err.Error()
	}
	if was != in.seen.Ready {
		in.note()
		in.h.changed(in.target)
	}
	if in.serving {
		return probeEvery
	}
	return probeFirst
}

// finish lets the requests of an instance end, and then the instance itself. Nothing
// leads to it any more.
func (in *instance) finish(p *process) {
	h := in.h
	<-h.alone // requests may be under way to it in the process before this one
	drain := in.rev.Run.Drain
	if drain == 0 {
		drain = DefaultDrain
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	for _, g := range h.fronts() {
		if cut, err := g.Drain(ctx, in.name); cut > 0 {
			h.log.Warn("requests did not end in time and were cut off", "instance", in.name, "requests", cut, "error", err)
		}
	}
	cancel()
	stop := in.rev.Run.Stop
	if stop == 0 {
		stop = DefaultStop
	}
	p.end(stop)
}

// address is where the instance listens. Whoever calls it has Host.mu.
func (in *instance) address() string {
	if in.port == 0 {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(in.port))
}
