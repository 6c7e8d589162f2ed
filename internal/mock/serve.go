package mock

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say how a server behaves beyond its stubs.
type Options struct {
	// Proxy is the base URL of who is asked when no stub fits; "" for nobody.
	Proxy string
	// Contract checks what is asked and answered; nil checks nothing. Without
	// a stub that fits, its examples answer when Examples is set.
	Contract *Contract
	Examples bool
	// Seed makes the random parts of answers the same each time.
	Seed uint64
	Now  func() time.Time
	// Tell is told of each request when it was answered; it may be nil.
	Tell func(Entry)
}

// Entry is a request in the journal, and what became of it.
type Entry struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	Target string    `json:"target"`
	Status int       `json:"status,omitempty"` // 0 when the connection was ended instead
	// By is what answered: a stub, "proxy", "example"; "" for a request that
	// nothing fits.
	By string `json:"by,omitempty"`
	// Nearest are the stubs that came closest to a request that nothing fits.
	Nearest []Near `json:"nearest,omitempty"`
	// Violations are what the contract forbids of it, or of its answer.
	Violations []string `json:"violations,omitempty"`
}

// Near is a stub that nearly fits.
type Near struct {
	Stub  string   `json:"stub"`
	Unmet []string `json:"unmet"` // why it does not
	Met   int      `json:"met"`   // conditions that hold
}

// Limits of the journal.
const (
	maxEntries = 10_000
	maxNearest = 3
)

// admin is where the server answers for itself.
const admin = "/__fairlead/"

// Server answers requests by stubs.
type Server struct {
	stubs     []Stub // in the order in which they are asked
	o         Options
	transport http.RoundTripper

	mu       sync.Mutex
	states   map[string]string
	turns    []int // answers given so far, by stub
	random   *rand.Rand
	journal  []Entry
	requests int
	astray   int // that nothing fits
	broken   int // with violations
}

// New makes a server of stubs.
func New(stubs []Stub, o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, transport: outward()}
	for _, late := range []bool{true, false} {
		for i := range stubs {
			if late {
				i = len(stubs) - 1 - i
			}
			if stubs[i].late == late {
				s.stubs = append(s.stubs, stubs[i])
			}
		}
	}
	slices.SortStableFunc(s.stubs, func(a, b Stub) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Rank, a.Rank))
	})
	s.Reset()
	return s
}

// outward is how other servers are reached: with their answers as they were
// meant, and not packed.
func outward() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	return t
}

// Reset forgets states, turns and the journal.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states, s.turns, s.journal = map[string]string{}, make([]int, len(s.stubs)), nil
	s.requests, s.astray, s.broken = 0, 0, 0
	s.random = rand.New(rand.NewPCG(s.o.Seed, 0x6661_6972))
}

// Ports are those of imposters, sorted.
func (s *Server) Ports() []int {
	var ports []int
	for _, stub := range s.stubs {
		if stub.Port != 0 {
			ports = append(ports, stub.Port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Tally is how many requests came, how many of them nothing fits, and how many
// break the contract.
type Tally struct {
	Requests   int `json:"requests"`
	Unmatched  int `json:"unmatched"`
	Violations int `json:"violations"`
}

// Tally counts requests since the beginning or the last Reset.
func (s *Server) Tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Tally{s.requests, s.astray, s.broken}
}

// Journal are the last requests, the oldest first.
func (s *Server) Journal() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journal)
}

func (s *Server) note(e Entry) {
	s.mu.Lock()
	s.requests++
	if e.By == "" {
		s.astray++
	}
	if len(e.Violations) > 0 {
		s.broken++
	}
	if len(s.journal) == maxEntries {
		s.journal = slices.Delete(s.journal, 0, maxEntries/10)
	}
	s.journal = append(s.journal, e)
	s.mu.Unlock()
	if s.o.Tell != nil {
		s.o.Tell(e)
	}
}

// Handler answers what comes to a port. Port 0 is the server's own: every stub
// may answer there; at another, those of that imposter and those of none.
func (s *Server) Handler(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, admin) {
			s.administer(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
		if err != nil {
			code := http.StatusBadRequest
			if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
				code = http.StatusRequestEntityTooLarge
			}
			http.Error(w, "the request's body cannot be read: "+err.Error(), code)
			return
		}
		s.answer(w, r, request(r, body), port)
	})
}

// administer answers about the server: its journal, and a fresh start.
func (s *Server) administer(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == admin+"requests":
		w.Header().Set("Content-Type", "application/json")
		all := s.Journal()
		if all == nil {
			all = []Entry{}
		}
		_ = json.NewEncoder(w).Encode(all)
	case r.Method == http.MethodPost && r.URL.Path == admin+"reset":
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "there are GET "+admin+"requests and POST "+admin+"reset", http.StatusNotFound)
	}
}

// request is what a request is matched by.
func request(r *http.Request, body []byte) *Request {
	q := &Request{
		Method: r.Method, Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery,
		Query: r.URL.Query(), Header: r.Header, Body: body, Proxied: r.URL.IsAbs(),
	}
	if r.TLS != nil {
		q.Scheme = "https"
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		_, port, _ := net.SplitHostPort(a.String())
		q.Port, _ = strconv.Atoi(port)
	}
	q.Remote, _, _ = net.SplitHostPort(r.RemoteAddr)
	return q
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, q *Request, port int) {
	e := Entry{Time: s.o.Now(), Method: q.Method, Target: q.target()}
	// The journal is written before the answer, so that who has the answer finds
	// the entry.
	stub, a := s.find(q, port)
	var call *operation
	if s.o.Contract != nil {
		call, e.Violations = s.o.Contract.request(r.Context(), r, q)
	}
	switch {
	case stub == nil || a.defaults && s.o.Proxy != "":
		s.unknown(w, r, q, port, e, call)
		return
	case a.defaults:
		e.Nearest = s.nearest(q, port)
	default:
		e.By = stub.title()
	}
	scope := s.scope(q)
	if !pause(r, a.delay.of(q, scope.random)) {
		s.note(e)
		return
	}
	switch {
	case a.fault != "":
		s.note(e)
		if err := misbehave(w, a.fault, a.status); err != nil {
			panic(http.ErrAbortHandler)
		}
	case a.proxy != "":
		s.note(e)
		s.pass(w, r, q, a)
	default:
		if len(e.Violations) > 0 && a.status/100 != 4 {
			e.Status = http.StatusBadRequest
			s.note(e)
			refuse(w, e.Status, "the request breaks the contract", e.Violations)
			return
		}
		if a.status/100 == 4 {
			e.Violations = nil // the stub is about requests that are wrong
		}
		header, body := a.filled(scope)
		if call != nil {
			e.Violations = append(e.Violations, call.response(r.Context(), a.status, header, body)...)
		}
		e.Status = a.status
		s.note(e)
		if len(e.Violations) > 0 {
			w.Header().Set("X-Fairlead-Contract", "the answer breaks the contract")
		}
		a.write(w, r, header, body)
	}
}

// scope is what templates see.
func (s *Server) scope(q *Request) *scope {
	return &scope{request: q, states: s.statesNow(), now: s.o.Now, random: func(n int) int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.random.IntN(n)
	}}
}

func (s *Server) statesNow() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[string]string, len(s.states))
	for k, v := range s.states {
		now[k] = v
	}
	return now
}

// find is the stub that answers, and its answer; what it changes is changed.
func (s *Server) find(q *Request, port int) (*Stub, *response) {
	for i := range s.stubs {
		stub := &s.stubs[i]
		if stub.Port != 0 && port != 0 && stub.Port != port || allOf(stub.conditions).unmet(q) != "" {
			continue
		}
		if a := s.claim(i); a != nil {
			return stub, a
		}
	}
	return nil, nil
}

// claim takes the next answer of a stub, if the states are those it wants.
func (s *Server) claim(i int) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	stub := &s.stubs[i]
	for name, want := range stub.requires {
		if s.states[name] != want {
			return nil
		}
	}
	for name, value := range stub.sets {
		if value == "" {
			delete(s.states, name)
		} else {
			s.states[name] = value
		}
	}
	all := 0
	for _, a := range stub.responses {
		all += max(a.repeat, 1)
	}
	turn := s.turns[i] % all
	s.turns[i]++
	for k := range stub.responses {
		if turn -= max(stub.responses[k].repeat, 1); turn < 0 {
			return &stub.responses[k]
		}
	}
	return nil
}

// unknown answers a request that no stub fits.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request, q *Request, port int, e Entry, call *operation) {
	switch {
	case s.o.Proxy != "":
		e.By = "proxy"
		s.note(e)
		s.pass(w, r, q, &response{proxy: s.o.Proxy})
	case s.o.Examples && call != nil:
		e.By = "example"
		if len(e.Violations) > 0 {
			e.Status = http.StatusBadRequest
			s.note(e)
			refuse(w, e.Status, "the request breaks the contract", e.Violations)
			return
		}
		a, why := call.example(r)
		if a == nil {
			e.By, e.Status = "", http.StatusNotImplemented
			e.Violations = append(e.Violations, why)
			s.note(e)
			refuse(w, e.Status, "the document has no example that answers this", []string{why})
			return
		}
		e.Status = a.status
		s.note(e)
		a.write(w, r, a.header, a.body)
	default:
		e.Status = http.StatusNotFound
		e.Nearest = s.nearest(q, port)
		s.note(e)
		refuse(w, e.Status, "no mapping fits "+q.Method+" "+q.target(), append(e.lines(), e.Violations...))
	}
}

// lines tell of the nearest stubs.
func (e Entry) lines() (lines []string) {
	for _, n := range e.Nearest {
		lines = append(lines, "nearest: "+n.Stub)
		for _, why := range n.Unmet {
			lines = append(lines, "  "+why)
		}
	}
	return lines
}

// refuse says why there is no answer.
func refuse(w http.ResponseWriter, status int, what string, lines []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintf(w, "fairlead mock: %s\n", what)
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

// nearest are the stubs of which the fewest conditions do not hold; among
// these, those of which the most do.
func (s *Server) nearest(q *Request, port int) []Near {
	states := s.statesNow()
	var all []Near
	for i := range s.stubs {
		stub := &s.stubs[i]
		if stub.Port != 0 && port != 0 && stub.Port != port || len(stub.responses) == 1 && stub.responses[0].defaults {
			continue
		}
		n := Near{Stub: stub.title()}
		for _, c := range stub.conditions {
			if why := c.unmet(q); why != "" {
				n.Unmet = append(n.Unmet, why)
			} else {
				n.Met++
			}
		}
		for name, want := range stub.requires {
			if got := states[name]; got != want {
				_, scenario, _ := strings.Cut(name, ":")
				n.Unmet = append(n.Unmet, fmt.Sprintf("state of %q is %q; wanted: %q", scenario, cmp.Or(got, started), cmp.Or(want, started)))
			}
		}
		all = append(all, n)
		if len(all) > 2*maxNearest {
			all = closest(all)
		}
	}
	return closest(all)
}

func closest(all []Near) []Near {
	slices.SortStableFunc(all, func(a, b Near) int {
		return cmp.Or(cmp.Compare(len(a.Unmet), len(b.Unmet)), cmp.Compare(b.Met, a.Met))
	})
	return all[:min(len(all), maxNearest)]
}

// pass asks another server.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, q *Request, a *response) {
	target, err := url.Parse(a.proxy)
	if err != nil {
		refuse(w, http.StatusBadGateway, "the address to pass requests on to cannot be read", nil)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(q.Body))
	r.ContentLength = int64(len(q.Body))
	(&httputil.ReverseProxy{
		Transport: s.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			if rest, ok := strings.CutPrefix(p.Out.URL.Path, a.remove); ok && a.remove != "" {
				p.Out.URL.Path, p.Out.URL.RawPath = rest, ""
			}
			p.SetURL(target)
			p.Out.Host = target.Host
			for _, h := range a.forward {
				p.Out.Header.Set(h.name, h.value)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			refuse(w, http.StatusBadGateway, "the server that requests are passed on to does not answer", []string{plainError(err)})
		},
	}).ServeHTTP(w, r)
}

// plainError is an error of a transport without the address, which may hold a
// password.
func plainError(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}
