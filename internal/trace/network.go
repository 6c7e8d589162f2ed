package trace

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// addresses are what the step bound and what it talked to. Which of the two
// came first does not matter: a client that waits for its server asks before
// the server is there, and nobody else can be there when the server comes.
type addresses struct {
	bound map[endpoint]bool
	tried map[endpoint]bool
	// chosen are the networks in which the step asked for a port of the
	// kernel's choice. Which port that became is not told; it is one that
	// was free then (taken), out of the range that the kernel chooses from.
	chosen      map[string]bool
	taken       map[string]map[uint16]bool
	first, last uint16          // the range
	unix        map[string]bool // abstract names that were bound
	peers       map[string]bool
}

// endpoint is a port at an address; the address is the unspecified one for a
// server that listens at all.
type endpoint struct {
	network string
	netip.AddrPort
}

// maxTable is how much of the kernel's table of sockets is read.
const maxTable = 16 << 20

func (l *ledger) bind(network, address string) {
	if l.lost {
		return
	}
	a := &l.addresses
	if network == "unix" {
		if strings.HasPrefix(address, "@") {
			put(&a.unix, address)
		} else {
			l.mknod(address, 0)
		}
		return
	}
	e, ok := endpointOf(network, address)
	if !ok {
		return
	}
	if e.Port() == 0 || network == "udp" { // a client's port is the kernel's choice, too
		put(&a.chosen, network)
		a.snapshot(network)
	}
	if e.Port() != 0 && len(a.bound) < maxPeers {
		put(&a.bound, e)
	}
}

func (l *ledger) connect(network, address string) {
	if l.lost {
		return
	}
	a := &l.addresses
	switch network {
	case "netlink": // asks the kernel, as reading /proc does
		return
	case "unix":
		l.connectUnix(address)
		return
	}
	e, ok := endpointOf(network, address)
	if !ok {
		name := strings.TrimSpace(network + " " + address)
		l.peer(name)
		l.bar(record.BarNetwork, name)
		return
	}
	switch {
	case e.Port() == 0: // nobody is there: a question about routes
		return
	case a.tried[e]:
		return
	case network == "udp" && e.Port() == 53 && direct(e.Addr()):
		// Go's and others' resolvers connect a socket to this port to learn
		// which of several addresses is near, and send nothing. They can
		// only be answered when somebody listens.
		if a.snapshot(network); !a.taken[network][53] {
			return
		}
	}
	if len(a.tried) >= maxPeers {
		l.lose("more than %d addresses", maxPeers)
		return
	}
	put(&a.tried, e)
}

// direct reports whether an address is this machine's own, without rules by
// which containers redirect others of the loopback network.
func direct(a netip.Addr) bool {
	return a == netip.IPv6Loopback() || a == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// endpointOf reads "host:port". The unspecified address means the loopback
// one to a client, and any to a server: it is kept.
func endpointOf(network, address string) (endpoint, bool) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return endpoint{}, false
	}
	return endpoint{network, netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())}, true
}

func put[K comparable](m *map[K]bool, k K) {
	if *m == nil {
		*m = map[K]bool{}
	}
	(*m)[k] = true
}

func (l *ledger) peer(name string) {
	if len(l.addresses.peers) >= maxPeers {
		if !l.addresses.peers[name] {
			l.lose("more than %d addresses", maxPeers)
		}
		return
	}
	put(&l.addresses.peers, name)
}

func (l *ledger) connectUnix(address string) {
	if strings.HasPrefix(address, "@") {
		if a := &l.addresses; !a.tried[endpoint{network: address}] && len(a.tried) < maxPeers {
			put(&a.tried, endpoint{network: address})
		}
		return
	}
	w := l.resolve(address, true)
	n := w.node
	switch {
	case n == nil:
		return // nobody is there
	case n.marks&void != 0:
		return
	case l.own(n):
		return
	case n.was.Kind != record.Other:
		l.useFound(n)
		return
	}
	what, harmless := server(n.path)
	name := "unix " + n.path
	if harmless {
		l.peer(name)
		return
	}
	if what != "" {
		name += " (" + what + ")"
	}
	l.peer(name)
	l.bar(record.BarSocket, name)
}

// server says who serves a Unix socket, and whether what it answers is
// nothing but what files say that are inputs anyway: who users and groups are.
func server(path string) (what string, harmless bool) {
	path = strings.TrimPrefix(path, "/var")
	for _, s := range [...]struct {
		part     string
		what     string
		harmless bool
	}{
		{"/run/nscd/", "", true},
		{"/run/systemd/userdb/", "", true},
		{"/lib/sss/pipes/", "", true},
		{"/io.systemd.Resolve", "name look-up", false},
		{"docker.sock", "the Docker daemon", false},
		{"podman.sock", "the Podman daemon", false},
		{"containerd.sock", "the containerd daemon", false},
		{"buildkitd.sock", "the BuildKit daemon", false},
		{"/dbus/", "D-Bus", false},
		{"/bus", "D-Bus", false},
		{"/ssh-", "the SSH agent", false},
		{"/S.gpg-agent", "the GnuPG agent", false},
		{"/.X11-unix/", "the X server", false},
		{"/wayland-", "the Wayland server", false},
		{"/systemd/journal/", "the system log", false},
		{"/dev/log", "the system log", false},
		{"/.s.PGSQL.", "PostgreSQL", false},
		{"/mysqld.sock", "MySQL", false},
	} {
		if strings.Contains(path, s.part) {
			return s.what, s.harmless
		}
	}
	return "", false
}

// peers ends the bookkeeping of addresses: those that turned out not to be
// the step's own bar reuse.
func (l *ledger) peers() []string {
	a := &l.addresses
	for e := range a.tried {
		if !e.IsValid() { // an abstract name
			if name := "unix " + e.network; !a.unix[e.network] {
				put(&a.peers, name)
				l.bar(record.BarSocket, name)
			}
			continue
		}
		if a.ours(e) {
			continue
		}
		name := e.network + " " + e.String()
		put(&a.peers, name)
		if e.network == "udp" && e.Port() == 53 {
			name += " (name look-up)"
		}
		l.bar(record.BarNetwork, name)
	}
	return sorted(a.peers)
}

// ours reports whether an address is one that the step itself serves.
func (a *addresses) ours(e endpoint) bool {
	at := func(network string, addr netip.Addr) bool {
		return a.bound[endpoint{network, netip.AddrPortFrom(addr, e.Port())}]
	}
	networks := []string{e.network}
	if e.network == "udp" { // which of its addresses a TCP server is nearest by
		networks = append(networks, "tcp")
	}
	for _, network := range networks {
		if at(network, e.Addr()) {
			return true
		}
		if !e.Addr().IsLoopback() && !e.Addr().IsUnspecified() {
			continue
		}
		if at(network, netip.IPv4Unspecified()) || at(network, netip.IPv6Unspecified()) {
			return true
		}
		if e.Addr().IsUnspecified() && (at(network, netip.AddrFrom4([4]byte{127, 0, 0, 1})) || at(network, netip.IPv6Loopback())) {
			return true
		}
		if a.chosen[network] && a.first <= e.Port() && e.Port() <= a.last && !a.taken[network][e.Port()] {
			return true
		}
	}
	return false
}

// snapshot remembers which ports are taken on this machine, once.
func (a *addresses) snapshot(network string) {
	if a.taken[network] != nil {
		return
	}
	if a.taken == nil {
		a.taken = map[string]map[uint16]bool{}
		a.first, a.last = portRange()
	}
	taken := map[uint16]bool{}
	for _, version := range [...]string{"", "6"} {
		if f, err := os.Open("/proc/net/" + network + version); err == nil {
			localPorts(f, taken)
			f.Close()
		}
	}
	a.taken[network] = taken
}

// localPorts reads the local ports out of the kernel's table of sockets.
func localPorts(r io.Reader, into map[uint16]bool) {
	for lines := bufio.NewScanner(io.LimitReader(r, maxTable)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if p, err := strconv.ParseUint(port, 16, 16); err == nil {
			into[uint16(p)] = true
		}
	}
}

// portRange is where the kernel chooses ports from.
func portRange() (first, last uint16) {
	first, last = 32768, 60999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var f, t uint16
		if n, _ := fmt.Sscan(string(b), &f, &t); n == 2 {
			return f, t
		}
	}
	return first, last
}
