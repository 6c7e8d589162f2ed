package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain also is the program of the processes that tests kill and replace.
func TestMain(m *testing.M) {
	switch os.Getenv("FRONT_TEST_ROLE") {
	case "writer":
		playWriter()
	case "front":
		playFront()
	default:
		os.Exit(m.Run())
	}
}

// opened is a front with the table, which has ended when the test has.
func opened(t *testing.T, table Table) *Front {
	t.Helper()
	f, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, table)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = f.Shutdown(ctx)
	})
	return f
}

func apply(t *testing.T, f *Front, table Table) {
	t.Helper()
	if err := f.Apply(t.Context(), table); err != nil {
		t.Fatal(err)
	}
}

// serving is the address at which the front serves.
func serving(t *testing.T, f *Front) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = f.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// instance is a backend that answers with the handler. Its release is what its
// name has before the dash.
func instance(t *testing.T, name string, weight int, h http.HandlerFunc) Backend {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	return backendAt(name, s.Listener.Addr().String(), weight)
}

func backendAt(name, address string, weight int) Backend {
	release, _, _ := strings.Cut(name, "-")
	return Backend{Name: name, Release: release, Address: address, Weight: weight}
}

// named answers with the name of the instance.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, name)
	}
}

func instances(t *testing.T, weights map[string]int) (list []Backend) {
	for name, weight := range weights {
		list = append(list, instance(t, name, weight, named(name)))
	}
	return list
}

func one(backends ...Backend) Table {
	return Table{Routes: []Route{{Service: "shop", Backends: backends}}}
}

// raw sends the text over a connection of its own and returns all that comes back.
func raw(t *testing.T, addr, text string) string {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(back)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// get asks for the address, with the fields "Name: value".
func get(t *testing.T, addr string, fields ...string) (status int, body string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Add(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func TestApplyHoldsForTheNextRequest(t *testing.T) {
	t.Parallel()
	a, b := instance(t, "v1-0", 1, named("v1")), instance(t, "v2-0", 1, named("v2"))
	f := opened(t, one(a))
	addr := serving(t, f)
	for i := range 20 {
		want := "v1"
		if i%2 == 1 {
			want = "v2"
			apply(t, f, one(b))
		} else {
			apply(t, f, one(a))
		}
		if _, body, _ := get(t, addr); body != want {
			t.Fatalf("after switch %d: %s, want %s", i, body, want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	f := opened(t, Table{Fence: 7, Routes: []Route{{Service: "shop", Backends: []Backend{backendAt("v1-0", "127.0.0.1:1", 1)}}}})
	if err := f.Apply(t.Context(), Table{Fence: 6}); !errors.Is(err, ErrFenced) {
		t.Errorf("a lower fence: %v", err)
	}
	if err := f.Apply(t.Context(), Table{Fence: 8, Routes: []Route{{Service: ""}}}); err == nil {
		t.Error("a table with faults was taken")
	}
	missing := &TLS{Cert: filepath.Join(t.TempDir(), "cert.pem"), Key: "key.pem"}
	if err := f.Apply(t.Context(), Table{Fence: 8, Routes: []Route{{Service: "shop", TLS: missing}}}); err == nil || !strings.Contains(err.Error(), missing.Cert) {
		t.Errorf("a certificate that is not there: %v", err)
	}
	if got := f.Table(); got.Fence != 7 || len(got.Routes) != 1 {
		t.Errorf("a refused table has changed something: %+v", got)
	}
}

// TestOnlyOneProcessIsTheOwner has two fronts with one directory, as two
// processes have it during a hand-over.
func TestOnlyOneProcessIsTheOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, old, Table{Fence: 1})
	next, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, next, Table{Fence: 2})
	if err := old.Apply(t.Context(), Table{Fence: 1}); !errors.Is(err, ErrFenced) {
		t.Errorf("the old owner wrote: %v", err)
	}
	again, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Table().Fence; got != 2 {
		t.Errorf("the fence is %d", got)
	}
	if _, err := old.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := old.Apply(t.Context(), Table{Fence: 9}); !errors.Is(err, ErrEnded) {
		t.Errorf("a front that has ended took a table: %v", err)
	}
	if _, err := old.Shutdown(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("it ended twice: %v", err)
	}
}

func TestPauseHoldsRequests(t *testing.T) {
	t.Parallel()
	a := instance(t, "v1-0", 1, named("v1"))
	f := opened(t, one(a))
	addr := serving(t, f)
	f.Pause("shop")
	answers := make(chan string, 3)
	for range 3 {
		go func() {
			_, body, _ := get(t, addr)
			answers <- body
		}()
	}
	await(t, func() bool { return f.Counts().Services[0].Waiting == 3 })
	// The instance is replaced while they wait.
	if cut, err := f.Drain(t.Context(), "v1-0"); cut != 0 || err != nil {
		t.Fatal(cut, err)
	}
	apply(t, f, one(instance(t, "v2-0", 1, named("v2"))))
	if n := len(answers); n != 0 {
		t.Fatalf("%d requests did not wait", n)
	}
	f.Resume("shop")
	for range 3 {
		if body := <-answers; body != "v2" {
			t.Errorf("%s answered", body)
		}
	}
}

func TestHoldEnds(t *testing.T) {
	t.Parallel()
	a := instance(t, "v1-0", 0, named("v1"))
	table := one(a)
	f := opened(t, table)
	addr := serving(t, f)
	if status, _, header := get(t, addr); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("without a backend: %d %v", status, header)
	}
	table.Routes[0].Hold = 20 * time.Millisecond
	apply(t, f, table)
	if status, _, _ := get(t, addr); status != http.StatusServiceUnavailable {
		t.Errorf("after the wait: %d", status)
	}
	if s := f.Counts().Services[0]; s.Refused != 2 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	table.Routes[0].Hold = time.Minute
	apply(t, f, table)
	answered := make(chan int)
	go func() {
		status, _, _ := get(t, addr)
		answered <- status
	}()
	await(t, func() bool { return f.Counts().Services[0].Waiting == 1 })
	a.Weight = 1
	apply(t, f, one(a))
	if status := <-answered; status != http.StatusOK {
		t.Errorf("a request that waited for a table got %d", status)
	}
}

// await waits for what other goroutines bring about.
func await(t *testing.T, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not happened")
		}
	}
}

func TestTooManyWait(t *testing.T) {
	t.Parallel()
	f := opened(t, one(instance(t, "v1-0", 1, named("v1"))))
	addr := serving(t, f)
	f.Pause("shop")
	f.mu.Lock()
	f.services["shop"].waiting.Store(maxWaiting)
	f.mu.Unlock()
	if status, _, _ := get(t, addr); status != http.StatusServiceUnavailable {
		t.Errorf("one more than may wait got %d", status)
	}
}

// line reads from the connection up to the end of a line.
func line(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	s, err := in.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", s, err)
	}
	return strings.TrimRight(s, "\r\n")
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	f, err := Open(t.TempDir(), Options{Conns: 1})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, one(instance(t, "v1-0", 1, named("v1"))))
	addr := serving(t, f)
	first := dial(t, addr)
	fmt.Fprint(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := line(t, bufio.NewReader(first)); got != "HTTP/1.1 200 OK" {
		t.Fatal(got)
	}
	second := dial(t, addr)
	fmt.Fprint(second, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	first.Close()
	back, err := io.ReadAll(second)
	if err != nil || !bytes.HasPrefix(back, []byte("HTTP/1.1 200 OK")) {
		t.Errorf("%v\n%s", err, back)
	}
}
