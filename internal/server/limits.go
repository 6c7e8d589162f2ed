package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What is taken from one client.
const (
	maxInput   = 1 << 20          // of an act's body
	maxHeader  = 32 << 10         // all header fields of a request
	readWithin = 30 * time.Second // a request's body has to be here
	// writeWithin is how long a client may take to read what was written at
	// once.
	writeWithin = 30 * time.Second
	idleWithin  = 2 * time.Minute
	// stopWithin is how long requests may go on when the server stops.
	stopWithin = 10 * time.Second
)

// Serve answers on a listener until ctx ends; then it takes no more, tells
// streams to end, and waits a little for what is under way. TLS is what the
// listener makes of it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		// Requests outlive ctx by stopWithin.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.Close()
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err := h.Shutdown(wait)
		if errors.Is(err, context.DeadlineExceeded) {
			err = h.Close() // whoever is still reading was given the time
		}
		stopped <- err
	})
	err := h.Serve(l)
	if stop() { // it ended by itself
		s.Close()
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// Leave has the server answer that it is not ready any more: it is given a little time,
// and will stop then. Whatever else it is asked it does.
func (s *Server) Leave() { s.leaving.Store(true) }

// Close ends all streams. Other requests go on.
func (s *Server) Close() { s.end() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	begun := s.Now()
	id := requestID()
	out := &answering{ResponseWriter: w}
	s.secure(out.Header())
	out.Header().Set("X-Request-Id", id)
	ctx := context.WithValue(hr.Context(), requestKey{}, id)
	hr = hr.WithContext(ctx)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(p)
			}
			s.Log.LogAttrs(ctx, slog.LevelError, "request panicked", slog.String("request", id), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			if out.status != 0 {
				panic(http.ErrAbortHandler) // the client must see that the answer is not whole
			}
			s.fail(out, s.request(out, hr), fmt.Errorf("panic: %v", p))
		}
		// The path alone: a query may hold what a person typed. Headers may hold
		// secrets and are never logged.
		level := slog.LevelInfo
		if out.status < http.StatusBadRequest && strings.HasPrefix(hr.URL.Path, clientRoot) {
			level = slog.LevelDebug // tens of thousands a second
		}
		if !s.Log.Enabled(ctx, level) {
			return
		}
		s.Log.LogAttrs(ctx, level, "request", slog.String("request", id), slog.String("method", hr.Method),
			slog.String("path", hr.URL.Path), slog.Int("status", out.status), slog.Int64("bytes", out.bytes),
			slog.Duration("took", s.Now().Sub(begun)), slog.String("from", s.from(hr)))
	}()
	timed := http.NewResponseController(w)
	// Recorders of tests know no deadlines.
	now := time.Now() // of the system, not of Config.Now
	_ = timed.SetReadDeadline(now.Add(s.reading))
	_ = timed.SetWriteDeadline(now.Add(s.reading + s.writing))
	if trick(hr) {
		s.fail(out, s.request(out, hr), missing("page"))
		return
	}
	if _, pattern := s.mux.Handler(hr); pattern == "" {
		s.nowhere(out, hr)
		return
	}
	s.mux.ServeHTTP(out, hr)
}

// nowhere answers for what no row is: it says nothing but that, whoever asks.
func (s *Server) nowhere(w http.ResponseWriter, hr *http.Request) {
	r := s.request(w, hr)
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := hr.Clone(hr.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(w, r, problem(http.StatusMethodNotAllowed, "method", "", "this address takes %s only", strings.Join(allowed, ", ")))
		return
	}
	s.fail(w, r, missing("page"))
}

// trick reports whether a path is written so that somebody else might read it
// as another one. Nobody who means well writes it so.
func trick(r *http.Request) bool {
	p := r.URL.Path
	if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || len(p) > 1 && strings.HasSuffix(p, "/") {
		return true
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '�' }) {
		return true
	}
	raw := r.URL.EscapedPath()
	if strings.Contains(raw, ";") {
		return true
	}
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] != '%' {
			continue
		}
		b, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
		c := byte(b)
		if err != nil || c == '/' || c == '.' || c == '-' || c == '_' || c == '~' ||
			'0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			return true // nobody has to escape these
		}
	}
	return false
}

// from is the address of who asks.
func (s *Server) from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if !s.proxied(host) {
		return host
	}
	// From the right: what is left of an address that we do not believe, anybody may have
	// written.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		host = hop
		if !s.proxied(hop) {
			break
		}
	}
	return host
}

func (s *Server) proxied(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.Proxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// requestKey is the context key of a request's ID.
type requestKey struct{}

func requestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// answering is a ResponseWriter that knows what was answered.
type answering struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answering) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// patient writes to clients that may be slow but have to read on: each piece has
// its own time.
type patient struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	each time.Duration
}

func (s *Server) patient(w http.ResponseWriter) *patient {
	p := &patient{w: w, ctl: http.NewResponseController(w), each: s.writing}
	_ = p.ctl.SetReadDeadline(time.Time{})
	return p
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.ctl.SetWriteDeadline(time.Now().Add(p.each))
	return p.w.Write(b)
}

// untime lets a request take as long as it likes, if its body keeps coming.
func (s *Server) untime(w http.ResponseWriter, r *http.Request) {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Time{}) // recorders of tests know no deadlines
	_ = ctl.SetWriteDeadline(time.Time{})
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &coming{r.Body, ctl, s.reading}
	}
}

// coming is a body of which each piece has its own time.
type coming struct {
	io.ReadCloser
	ctl  *http.ResponseController
	each time.Duration
}

func (c *coming) Read(p []byte) (int, error) {
	_ = c.ctl.SetReadDeadline(time.Now().Add(c.each))
	n, err := c.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = c.ctl.SetReadDeadline(time.Time{}) // what is done with it may take long
	}
	return n, err
}

// flush sends what was written.
func (p *patient) flush() error {
	_ = p.ctl.SetWriteDeadline(time.Now().Add(p.each))
	return p.ctl.Flush()
}

// rates limits how often something named may be done. It remembers few names
// at a time, and forgets first what was quiet for longest.
type rates struct {
	every time.Duration // one more, that often
	burst int

	mu    sync.Mutex
	names map[string]time.Time // when all of the burst is there again
}

// maxNames is how many names are remembered; what has its whole burst need
// not be.
const maxNames = 10_000

// take reports whether it may be done now, or else when.
func (l *rates) take(name string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.names[name]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if wait = full.Sub(now) - time.Duration(l.burst)*l.every; wait > 0 {
		return wait
	}
	if len(l.names) >= maxNames {
		for other, at := range l.names {
			if !at.After(now) {
				delete(l.names, other)
			}
		}
		if len(l.names) >= maxNames {
			return l.every // so many at once is no good sign
		}
	}
	if l.names == nil {
		l.names = map[string]time.Time{}
	}
	l.names[name] = full
	return 0
}

// seconds is a time for Retry-After.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
