package trace

import (
	"fmt"
	"strings"
	"testing"
)

func TestLedgerNetwork(t *testing.T) {
	t.Parallel()
	free := func(l *ledger) { // no port is taken, whatever this machine does
		l.addresses.taken = map[string]map[uint16]bool{"tcp": {40001: true}, "udp": {}}
		l.addresses.first, l.addresses.last = 32768, 60999
	}
	for name, c := range map[string]struct {
		do          func(l *ledger)
		bars, peers string
	}{
		"a remote host": {
			func(l *ledger) { l.connect("tcp", "10.0.0.1:443"); l.connect("tcp", "10.0.0.1:443") },
			"network tcp 10.0.0.1:443", "tcp 10.0.0.1:443",
		},
		"a name look-up": {
			func(l *ledger) { l.connect("udp", "10.0.0.2:53") },
			"network udp 10.0.0.2:53 (name look-up)", "udp 10.0.0.2:53",
		},
		"a local resolver of others": {
			func(l *ledger) { l.connect("udp", "127.0.0.53:53") },
			"network udp 127.0.0.53:53 (name look-up)", "udp 127.0.0.53:53",
		},
		"which address is nearer": {
			func(l *ledger) {
				l.connect("udp", "127.0.0.1:53")
				l.connect("udp", "[::1]:53")
				l.connect("udp", "127.0.0.1:0")
			}, "", "",
		},
		"a server of its own": {
			func(l *ledger) {
				l.bind("tcp", "0.0.0.0:8080")
				l.connect("tcp", "127.0.0.1:8080")
				l.connect("tcp", "[::1]:8080")
				l.connect("udp", "127.0.0.1:8080")
			}, "", "",
		},
		"a server that comes later": {
			func(l *ledger) { l.connect("tcp", "127.0.0.1:8080"); l.bind("tcp", "127.0.0.1:8080") }, "", "",
		},
		"a server on another address": {
			func(l *ledger) {
				l.bind("tcp", "127.0.0.1:8080")
				l.connect("tcp", "127.0.0.2:8080")
				l.connect("tcp", "[::1]:8080")
				l.connect("tcp", "0.0.0.0:8080")
				l.connect("tcp", "[::ffff:127.0.0.1]:8080")
			},
			"network tcp 127.0.0.2:8080,network tcp [::1]:8080", "tcp 127.0.0.2:8080,tcp [::1]:8080",
		},
		"somebody's local port": {
			func(l *ledger) { l.connect("tcp", "127.0.0.1:5432"); l.bind("udp", "127.0.0.1:5432") },
			"network tcp 127.0.0.1:5432", "tcp 127.0.0.1:5432",
		},
		"a port of the kernel's choice": {
			func(l *ledger) {
				l.bind("tcp", "127.0.0.1:0")
				l.connect("tcp", "127.0.0.1:40000")
				l.connect("tcp", "127.0.0.1:40001") // was taken before
				l.connect("tcp", "127.0.0.1:3000")  // is never chosen
			},
			"network tcp 127.0.0.1:3000,network tcp 127.0.0.1:40001", "tcp 127.0.0.1:3000,tcp 127.0.0.1:40001",
		},
		"an answer to a client": {
			func(l *ledger) { l.bind("udp", "127.0.0.1:9000"); l.connect("udp", "127.0.0.1:50000") }, "", "",
		},
		"abstract sockets": {
			func(l *ledger) {
				l.bind("unix", "@own")
				l.connect("unix", "@own")
				l.connect("unix", "@/tmp/.X11-unix/X0")
			},
			"socket unix @/tmp/.X11-unix/X0", "unix @/tmp/.X11-unix/X0",
		},
		"others": {
			func(l *ledger) { l.connect("netlink", ""); l.connect("family-40", ""); l.connect("ip", "8.8.8.8:0") },
			"network family-40", "family-40",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(Spec{})
			free(l)
			c.do(l)
			o := l.finish(0)
			var bars []string
			for _, b := range o.Barred {
				bars = append(bars, b.Kind+" "+b.Detail)
			}
			if got := strings.Join(bars, ","); got != c.bars {
				t.Errorf("bars %q, want %q", got, c.bars)
			}
			if got := strings.Join(o.Peers, ","); got != c.peers {
				t.Errorf("peers %q, want %q", got, c.peers)
			}
		})
	}
}

func TestLedgerManyPeers(t *testing.T) {
	t.Parallel()
	l := newLedger(Spec{})
	for i := range 2 * maxPeers {
		l.connect("tcp", fmt.Sprintf("10.0.%d.%d:80", i/256, i%256))
	}
	o := l.finish(0)
	if len(o.Peers) > maxPeers || !strings.Contains(fmt.Sprint(o.Barred), "more than 1000 addresses") {
		t.Errorf("%d peers", len(o.Peers))
	}
}

func TestServerNames(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/var/run/nscd/socket":                       "harmless",
		"/run/systemd/userdb/io.systemd.NameService": "harmless",
		"/run/docker.sock":                           "the Docker daemon",
		"/run/dbus/system_bus_socket":                "D-Bus",
		"/tmp/ssh-abc/agent.1":                       "the SSH agent",
		"/srv/x":                                     "",
	} {
		what, harmless := server(path)
		if harmless {
			what = "harmless"
		}
		if what != want {
			t.Errorf("%s: %q, want %q", path, what, want)
		}
	}
}

func TestLocalPorts(t *testing.T) {
	t.Parallel()
	table := "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A\n   1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07\n x\n\n"
	got := map[uint16]bool{}
	localPorts(strings.NewReader(table), got)
	if len(got) != 2 || !got[8080] || !got[53] {
		t.Error(got)
	}
}
