package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the files of a certificate are looked at, at most.
const lookEvery = time.Second

// certificates has those of the table, by host as its routes name them.
type certificates struct {
	log    *slog.Logger
	byHost atomic.Pointer[map[string]*certificate]
}

// certificate is one that is read again when its files change.
type certificate struct {
	TLS
	mu     sync.Mutex
	looked time.Time
	stamp  string // of the files, when they were read
	now    *tls.Certificate
}

func newCertificates(log *slog.Logger) *certificates {
	c := &certificates{log: log}
	c.byHost.Store(&map[string]*certificate{})
	return c
}

// adopt makes the certificates those of the table. One that it had before is kept
// with what was read of it.
func (c *certificates) adopt(t Table) {
	had := map[TLS]*certificate{}
	for _, cert := range *c.byHost.Load() {
		had[cert.TLS] = cert
	}
	next := map[string]*certificate{}
	for _, r := range t.Routes {
		if r.TLS == nil {
			continue
		}
		if had[*r.TLS] == nil {
			had[*r.TLS] = &certificate{TLS: *r.TLS}
		}
		for _, host := range r.hosts() {
			next[strings.ToLower(host)] = had[*r.TLS]
		}
	}
	c.byHost.Store(&next)
}

var errNoCertificate = errors.New("no route has a certificate for this name")

// get is the certificate for a handshake.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	known := *c.byHost.Load()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	found := known[name]
	for rest := name; found == nil; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			break
		}
		found, rest = known["*"+rest[dot:]], rest[dot+1:]
	}
	if found == nil {
		found = known[""]
	}
	if found == nil {
		return nil, fmt.Errorf("%q: %w", name, errNoCertificate)
	}
	return found.get(c.log)
}

func (c *certificate) get(log *slog.Logger) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil && time.Since(c.looked) < lookEvery {
		return c.now, nil
	}
	c.looked = time.Now()
	stamp := stampOf(c.Cert) + stampOf(c.Key)
	if c.now != nil && stamp == c.stamp {
		return c.now, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		// The two files may be in the midst of being replaced.
		log.Warn("a certificate cannot be read", "file", c.Cert, "error", err, "used", c.now != nil)
		if c.now == nil {
			return nil, fmt.Errorf("read the certificate: %w", err)
		}
		return c.now, nil
	}
	c.now, c.stamp = &pair, stamp
	return c.now, nil
}

// stampOf is what changes when the file does.
func stampOf(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%d %d ", info.Size(), info.ModTime().UnixNano())
}
