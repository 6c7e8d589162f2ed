package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/front"
)

// Ports that instances get: below those that the kernel gives to outgoing connections,
// so that none is taken between two starts.
const (
	firstPort = 20000
	lastPort  = 29999
)

// tendEvery is how often a host looks after its logs, its sockets, and releases that
// nobody uses.
const tendEvery = 2 * time.Second

// holdTime is how long a request waits while no instance is ready.
const holdTime = 30 * time.Second

// Options say how a host is made.
type Options struct {
	Dir     string
	Version string
	// Program is the command that becomes the host after this one, when nothing else is
	// asked for: argv.
	Program []string
	Log     *slog.Logger // what an operator should know; nil: nothing is said
	Sockets *front.Sockets
	// Successor says that another process is the host still, and ends now.
	Successor bool

	disk files // of tests
}

// Host keeps what the documents ask for. Its methods may be called at any time from
// any goroutine.
type Host struct {
	dir      string
	options  Options
	log      *slog.Logger
	releases *releases
	prober   *http.Client
	born     time.Time
	lock     *os.File
	alone    chan struct{} // closed when no other process is the host any more
	end      chan struct{} // closed when the host is to end
	ended    sync.Once

	mu        sync.Mutex
	state     *state
	damage    string
	frozen    bool // the host ends, or another process takes over: nothing is changed, and nothing started
	over      bool // it does end: who waits is told so
	starting  int  // processes that are being started
	instances map[string]*instance
	gates     map[string]*gate // by address
	port      int
	limits    string
	news      chan struct{} // closed when something has changed
}

// gate is an address at which requests come in.
type gate struct {
	address string
	secure  bool
	front   *front.Front
	open    bool // it listens
}

// Open makes the host of a directory: its front serves again, the instances that still
// run are taken up, those that are missing are started. There is one host of a
// directory at a time.
func Open(o Options) (*Host, error) {
	h := &Host{options: o, log: o.Log, prober: newProber(), born: time.Now().UTC(), alone: make(chan struct{}), end: make(chan struct{}),
		instances: map[string]*instance{}, gates: map[string]*gate{}, news: make(chan struct{}), limits: "by looking"}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.options.disk == nil {
		h.options.disk = disk{}
	}
	if h.options.Sockets == nil {
		h.options.Sockets = new(front.Sockets)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	h.dir = dir
	for name, mode := range map[string]fs.FileMode{"": 0o711, "logs": 0o700, "run": 0o700, "front": 0o700} {
		if err := os.MkdirAll(filepath.Join(h.dir, name), mode); err != nil {
			return nil, fmt.Errorf("make the host's directory: %w", err)
		}
	}
	if err := h.claim(); err != nil {
		return nil, err
	}
	if h.releases, err = openReleases(filepath.Join(h.dir, "releases")); err != nil {
		return nil, fmt.Errorf("open the releases: %w", err)
	}
	st, damage, err := loadState(h.dir)
	if err != nil {
		return nil, err
	}
	if damage != nil {
		h.damage = damage.Error()
		h.log.Warn("a file of the state is damaged, and the generation before it is used", "damage", damage)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := st.clone()
	next.Epoch++
	if err := h.save(next); err != nil {
		return nil, fmt.Errorf("write the state: %w", err)
	}
	h.openGates()
	h.takeUp()
	for i := range h.state.Targets {
		h.reconcile(&h.state.Targets[i])
	}
	return h, nil
}

// claim makes this process the host of the directory, or waits for that as its
// successor.
func (h *Host) claim() error {
	f, err := os.OpenFile(filepath.Join(h.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	h.lock = f
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		close(h.alone)
		return nil
	case !errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	case !h.options.Successor:
		return fmt.Errorf("%w: another process is the host of %s; `fairlead host status` tells of it", ErrRefused, h.dir)
	}
	go func() {
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				close(h.alone)
				return
			}
		}
	}()
	return nil
}

// save makes next the state, on the disk first. Whoever calls it has mu.
func (h *Host) save(next *state) error {
	if h.state != nil {
		next.Generation = h.state.Generation
	}
	next.Generation++
	if err := saveState(h.options.disk, h.dir, next); err != nil {
		return err
	}
	h.state = next
	return nil
}

// changed says that something has, so that who waits looks again; with the name of a
// target, its requests are led anew. Whoever calls it has mu.
func (h *Host) changed(target string) {
	if target != "" && !h.frozen {
		if t := h.state.target(target); t != nil {
			h.route()
		}
	}
	close(h.news)
	h.news = make(chan struct{})
}

// await waits until holds, which is called under mu.
func (h *Host) await(ctx context.Context, holds func() bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !holds() {
		if h.over {
			return ErrEnding
		}
		news := h.news
		h.mu.Unlock()
		select {
		case <-news:
			h.mu.Lock()
		case <-ctx.Done():
			h.mu.Lock()
			return context.Cause(ctx)
		}
	}
	return nil
}

// fronts are those of all gates.
func (h *Host) fronts() []*front.Front {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*front.Front
	for _, address := range slices.Sorted(maps.Keys(h.gates)) {
		all = append(all, h.gates[address].front)
	}
	return all
}

// socketName is what the socket of an address is called when it is handed over:
// "front-8080", "front-127.0.0.1-8080".
func socketName(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if host == "" {
		return "front-" + port
	}
	return "front-" + strings.ReplaceAll(host, ":", ".") + "-" + port
}

// gate is the one of an address, which is opened if need be. Whoever calls it has mu.
func (h *Host) gate(address string, secure bool) (*gate, error) {
	name := socketName(address)
	if name == "" {
		return nil, fmt.Errorf("%w: %.80q is no address to listen at: say :8080, or 127.0.0.1:8080", ErrRefused, address)
	}
	g := h.gates[address]
	if g != nil && g.open && g.secure != secure {
		return nil, fmt.Errorf("%w: %s is served with TLS for one target and without for another: use two addresses", ErrRefused, address)
	}
	if g == nil {
		f, err := front.Open(filepath.Join(h.dir, "front", name), front.Options{Log: h.log})
		if err != nil {
			return nil, err
		}
		g = &gate{address: address, front: f}
		h.gates[address] = g
	}
	if g.open {
		return g, nil
	}
	l, err := h.options.Sockets.Listen(name, address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	g.open, g.secure = true, secure
	serve := g.front.Serve
	if secure {
		serve = g.front.ServeTLS
	}
	go func() {
		if err := serve(l); err != nil {
			h.log.Error("the front has ended", "address", address, "error", err)
		}
	}()
	return g, nil
}

// openGates opens the gates of all revisions. One that cannot be opened is tried again
// later. Whoever calls it has mu.
func (h *Host) openGates() {
	for i := range h.state.Targets {
		for k := range h.state.Targets[i].Revisions {
			r := &h.state.Targets[i].Revisions[k]
			if _, err := h.gate(r.Route.listen(), r.Route.TLSCert != ""); err != nil {
				h.log.Error("an address cannot be listened at", "address", r.Route.listen(), "error", err)
			}
		}
	}
}

// takeUp finds what runs: the instances that were written down, and those that could not be. What no
// document asks for is ended. Whoever calls it has mu.
func (h *Host) takeUp() {
	taken := map[int]bool{} // sessions
	entries, err := os.ReadDir(filepath.Join(h.dir, "run"))
	if err != nil {
		h.log.Error("what ran could not be read", "error", err)
	}
	for _, e := range entries {
		var was running
		if !readJSON(h.runFile(e.Name()), &was) || !was.alive() {
			continue
		}
		if in := h.expected(e.Name(), was.Print); in != nil {
			in.id, in.port = was.identity, was.Port
			in.seen.PID, in.seen.Started, in.seen.Restarts = was.PID, was.Started, was.Restarts
			in.seen.Ready, in.serving = was.Ready, was.Ready
			h.adopt(in)
			taken[was.PID] = true
		}
	}
	for _, s := range strays(h.dir) {
		if taken[s.session] {
			continue
		}
		if s.session == s.PID && h.instances[s.env[instanceVar]] == nil {
			if in := h.expected(s.env[instanceVar], s.env[printVar]); in != nil {
				in.id = s.identity
				in.port, _ = strconv.Atoi(s.env["PORT"])
				in.seen.PID, in.seen.Started = s.PID, time.Now().UTC()
				h.adopt(in)
				taken[s.session] = true
				continue
			}
		}
		h.log.Warn("a process that nothing asks for is ended", "pid", s.PID, "instance", s.env[instanceVar])
		go func() {
			<-h.alone
			s.end()
		}()
	}
	for _, e := range entries {
		if h.instances[e.Name()] == nil {
			_ = os.Remove(h.runFile(e.Name()))
		}
	}
}

// expected is the instance of that name that the documents ask for, as it is to be
// started; nil if they ask for none. Whoever calls it has mu.
func (h *Host) expected(name, print string) *instance {
	for i := range h.state.Targets {
		t := &h.state.Targets[i]
		for k := range t.Revisions {
			r := &t.Revisions[k]
			rest, ok := strings.CutPrefix(name, t.revisionName(r.Number)+"-")
			index, err := strconv.Atoi(rest)
			if !ok || err != nil || index < 0 || index >= r.Instances || strconv.Itoa(index) != rest {
				continue
			}
			in := h.instance(t, r, index)
			in.print = print // reconcile replaces it if that is not what it is to be
			return in
		}
	}
	return nil
}

// adopt lets an instance live on whose process runs. Whoever calls it has mu.
func (h *Host) adopt(in *instance) {
	c, err := newCage(in.name, in.rev.Run.Memory)
	if err != nil {
		c = nil
	}
	h.instances[in.name] = in
	go in.live(adopt(in.id, c))
}

// instance is a new one, which does not live yet.
func (h *Host) instance(t *Target, r *Revision, index int) *instance {
	in := &instance{h: h, target: t.Name, service: t.Service, environment: t.Environment, name: fmt.Sprintf("%s-%d", t.revisionName(r.Number), index),
		number: r.Number, index: index, rev: *r, print: h.print(r), begun: make(chan struct{})}
	in.leave, in.quit = context.WithCancel(context.Background())
	in.seen = SeenInstance{Name: in.name, Why: "it is starting"}
	return in
}

// print is what an instance of a revision is started with, the release's files among it: those
// that were unpacked again are others.
func (h *Host) print(r *Revision) string { return r.print(h.releases.unpacked(r.Artifact)) }

// reconcile brings about what a document asks for, as far as that can be done now: what
// is not wanted leaves, what is missing begins. Whoever calls it has mu.
func (h *Host) reconcile(t *Target) {
	if h.frozen {
		return
	}
	prints := map[int]string{}
	for k := range t.Revisions {
		prints[t.Revisions[k].Number] = h.print(&t.Revisions[k])
	}
	var leaving []*instance
	replaced := map[int]bool{} // one instance of a revision at a time
	for _, in := range h.of(t.Name) {
		replaced[in.number] = replaced[in.number] || in.leave.Err() != nil || in.seen.Leaving || !in.serving
	}
	for _, in := range h.of(t.Name) {
		r := t.revision(in.number)
		other := r != nil && in.print != prints[in.number]
		switch {
		case in.seen.Leaving:
			continue
		case r == nil || in.index >= r.Instances:
		case other && (!replaced[in.number] || !in.serving):
			replaced[in.number] = true
		default:
			continue
		}
		in.seen.Leaving, in.seen.Ready = true, false
		leaving = append(leaving, in)
	}
	for k := range t.Revisions {
		r := &t.Revisions[k]
		for index := range r.Instances {
			in := h.instance(t, r, index)
			if h.instances[in.name] == nil {
				h.instances[in.name] = in
				go in.live(nil)
			}
		}
	}
	h.route()
	for _, in := range leaving {
		in.quit()
	}
	h.changed("")
}

// of are the instances of a target, in the order of their names.
func (h *Host) of(target string) []*instance {
	var all []*instance
	for _, in := range h.instances {
		if in.target == target {
			all = append(all, in)
		}
	}
	slices.SortFunc(all, func(a, b *instance) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.index, b.index))
	})
	return all
}

// left says that nothing of an instance is there any more.
func (h *Host) left(in *instance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in.quit()
	if h.instances[in.name] == in {
		delete(h.instances, in.name)
	}
	if h.frozen { // what is there is the next process's
		h.changed("")
		return
	}
	_ = os.Remove(h.runFile(in.name))
	if t := h.state.target(in.target); t != nil {
		h.reconcile(t)
	}
	h.changed("")
}

// takePort gives an instance its port: the one that it had, if nobody has taken it.
func (h *Host) takePort(in *instance) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := map[int]bool{}
	for _, other := range h.instances {
		if other != in {
			taken[other.port] = true
		}
	}
	free := func(port int) bool {
		if port == 0 || taken[port] {
			return false
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		return l.Close() == nil
	}
	if free(in.port) {
		return in.port, nil
	}
	if h.port == 0 {
		h.port = firstPort + os.Getpid()%(lastPort-firstPort)
	}
	for range lastPort - firstPort + 1 {
		if h.port++; h.port > lastPort {
			h.port = firstPort
		}
		if free(h.port) {
			in.port = h.port
			in.seen.Address = in.address()
			return in.port, nil
		}
	}
	return 0, fmt.Errorf("no port between %d and %d is free", firstPort, lastPort)
}

// caged remembers how limits of memory are kept.
func (h *Host) caged(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limits = "control groups"
	if err != nil {
		h.limits = "by looking, since control groups cannot be had: " + err.Error()
	}
}

// route leads requests as the documents say, over the instances that can take them.
// Whoever calls it has mu.
func (h *Host) route() {
	tables := h.tables(h.state)
	for address, g := range h.gates {
		t := tables[address]
		t.Fence = h.state.Epoch
		if now := g.front.Table(); reflect.DeepEqual(now.Routes, t.Routes) && now.Fence == t.Fence {
			continue
		}
		if err := g.front.Apply(context.Background(), t); err != nil {
			h.log.Error("requests could not be led anew", "address", address, "error", err)
			h.damage = err.Error()
		}
	}
}

// tables are those of all gates, by address. Whoever calls it has mu.
func (h *Host) tables(s *state) map[string]front.Table {
	tables := map[string]front.Table{}
	for i := range s.Targets {
		t := &s.Targets[i]
		lead := t.leading()
		if lead == nil {
			continue
		}
		r := lead.Route
		route := front.Route{Service: t.Name, Hosts: r.Hosts, Path: r.Prefix, Hold: holdTime, Backends: h.backends(t)}
		switch r.Sticky {
		case "":
		case "cookie":
			route.Sticky = &front.Sticky{Cookie: "fairlead-" + t.Name}
		default:
			route.Sticky = &front.Sticky{Header: r.Sticky}
		}
		if r.TLSCert != "" {
			route.TLS = &front.TLS{Cert: r.TLSCert, Key: r.TLSKey}
		}
		table := tables[r.listen()]
		table.Routes = append(table.Routes, route)
		tables[r.listen()] = table
	}
	return tables
}

// backends are the instances of a target that run, with the shares of their revisions.
// A revision's share goes to its instances that are ready; if none is, to those that
// were, since to be slow is better than to be gone.
func (h *Host) backends(t *Target) []front.Backend {
	var all []front.Backend
	takes := map[int]int{} // revision -> instances that get requests
	strict := map[int]bool{}
	list := h.of(t.Name)
	for _, in := range list {
		strict[in.number] = strict[in.number] || in.seen.Ready
	}
	may := func(in *instance) bool {
		return !in.seen.Leaving && in.serving && (in.seen.Ready || !strict[in.number])
	}
	for _, in := range list {
		if may(in) {
			takes[in.number]++
		}
	}
	for _, in := range list {
		r := t.revision(in.number)
		if in.port == 0 || in.id.PID == 0 || in.seen.Leaving || r == nil {
			continue
		}
		b := front.Backend{Name: in.name, Release: "r" + strconv.Itoa(in.number), Address: in.address()}
		if may(in) && r.Percent > 0 {
			b.Weight = max(int(math.Round(float64(r.Percent)*front.MaxWeight/100/float64(takes[in.number]))), 1)
		}
		all = append(all, b)
	}
	return all
}

// run tends the host until it ends.
func (h *Host) run(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.tick()
		case <-ctx.Done():
			return
		case <-h.end:
			return
		}
	}
}

// tick looks after what nobody waits for.
func (h *Host) tick() {
	known := map[string]bool{}
	h.mu.Lock()
	if h.frozen {
		h.mu.Unlock()
		return
	}
	h.openGates()
	for i := range h.state.Targets {
		h.reconcile(&h.state.Targets[i])
	}
	for name := range h.instances {
		known[name] = true
	}
	h.mu.Unlock()
	if err := errors.Join(h.tend(known), h.sweep()); err != nil {
		h.log.Warn("could not tidy up", "error", err)
	}
}

// used are the directories of the releases that revisions have, or instances still run in.
// Whoever calls it has mu.
func (h *Host) used() map[string]bool {
	used := map[string]bool{}
	for i := range h.state.Targets {
		for k := range h.state.Targets[i].Revisions {
			used[h.state.Targets[i].Revisions[k].Artifact.dir()] = true
		}
	}
	for _, in := range h.instances {
		used[in.rev.Artifact.dir()] = true
	}
	return used
}

// readJSON reads a small file; false if it cannot.
func readJSON(name string, v any) bool {
	data, err := os.ReadFile(name)
	return err == nil && json.Unmarshal(data, v) == nil
}
