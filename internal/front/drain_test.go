package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestDrainWaitsForRequestsAndUpgrades(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan bool, 1), make(chan bool)
	old := instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			echo(w)
			return
		}
		begun <- true
		<-finish
		_, _ = io.WriteString(w, "whole")
	})
	f := opened(t, one(old))
	addr := serving(t, f)
	socket := dial(t, addr)
	in := upgraded(t, socket)
	answer := make(chan string, 1)
	go func() {
		_, body, _ := get(t, addr)
		answer <- body
	}()
	<-begun
	apply(t, f, one(instance(t, "v2-0", 1, named("v2"))))
	drained := make(chan error, 1)
	go func() {
		cut, err := f.Drain(t.Context(), "v1-0")
		drained <- errors.Join(err, lost(cut))
	}()
	finish <- true
	if body := <-answer; body != "whole" {
		t.Errorf("the request that was under way got %q", body)
	}
	fmt.Fprintln(socket, "still here")
	if got := line(t, in); got != "still here" {
		t.Errorf("the upgraded connection said %q", got)
	}
	select {
	case err := <-drained:
		t.Fatalf("Drain returned with a connection under way: %v", err)
	default:
	}
	socket.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if _, body, _ := get(t, addr); body != "v2" {
		t.Errorf("%s answered", body)
	}
}

func lost(n int) error {
	if n > 0 {
		return fmt.Errorf("%d requests were cut off", n)
	}
	return nil
}

// echo changes to a protocol that says everything again.
func echo(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

// upgraded asks for an upgrade, and reads the consent.
func upgraded(t *testing.T, c net.Conn) *bufio.Reader {
	t.Helper()
	fmt.Fprint(c, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(c)
	if got := line(t, in); got != "HTTP/1.1 101 Switching Protocols" {
		t.Fatal(got)
	}
	for line(t, in) != "" {
	}
	return in
}

func TestDrainCutsWhatIsLeft(t *testing.T) {
	t.Parallel()
	begun := make(chan bool, 2)
	f := opened(t, one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			echo(w)
			return
		}
		begun <- true
		<-r.Context().Done()
	})))
	addr := serving(t, f)
	socket := dial(t, addr)
	in := upgraded(t, socket)
	status := make(chan int, 1)
	go func() {
		code, _, _ := get(t, addr)
		status <- code
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if cut, err := f.Drain(ctx, "v1-0"); cut != 2 || err != nil {
		t.Errorf("%d were cut off, %v", cut, err)
	}
	if code := <-status; code != http.StatusBadGateway {
		t.Errorf("the request that was cut off got %d", code)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("the upgraded connection said %q", rest)
	}
	if cut, err := f.Drain(t.Context(), "v1-0"); cut != 0 || err != nil {
		t.Errorf("once more: %d, %v", cut, err)
	}
	if cut, err := f.Drain(t.Context(), "unknown"); cut != 0 || err != nil {
		t.Errorf("an unknown one: %d, %v", cut, err)
	}
}

func TestDrainOfOneThatIsPutBackIntoUse(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan bool, 1), make(chan bool)
	a := instance(t, "v1-0", 1, func(http.ResponseWriter, *http.Request) {
		begun <- true
		<-finish
	})
	f := opened(t, one(a))
	addr := serving(t, f)
	answered := make(chan bool)
	go func() {
		get(t, addr)
		close(answered)
	}()
	<-begun
	drained := make(chan error, 1)
	go func() {
		_, err := f.Drain(t.Context(), "v1-0")
		drained <- err
	}()
	f.mu.Lock()
	b := f.backends[0]
	f.mu.Unlock()
	await(t, b.closed.Load)
	apply(t, f, one(a))
	if err := <-drained; !errors.Is(err, errReopened) {
		t.Errorf("%v", err)
	}
	close(finish)
	<-answered
}

// TestBlueGreen moves a service from instance to instance under load and closes
// each old one, with all its connections, as soon as it is drained.
func TestBlueGreen(t *testing.T) {
	t.Parallel()
	start := func(name string) (Backend, func()) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/", named(name))
		mux.HandleFunc("/echo", func(w http.ResponseWriter, _ *http.Request) { echo(w) })
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			for range 5 {
				time.Sleep(2 * time.Millisecond)
				fmt.Fprintln(w, name)
				w.(http.Flusher).Flush()
			}
		})
		s := &http.Server{Handler: mux}
		go func() { _ = s.Serve(l) }()
		return backendAt(name, l.Addr().String(), 1), func() { s.Close() }
	}
	old, stop := start("v0-0")
	f := opened(t, one(old))
	addr := serving(t, f)
	end := make(chan struct{})
	var wait sync.WaitGroup
	var answered atomic.Int64
	crowd := func(request func() error) {
		for range 3 {
			wait.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
					}
					if err := request(); err != nil {
						t.Error(err)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	for _, text := range []string{
		"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		crowd(func() error { return kept(addr, text, 20, end) })
	}
	crowd(func() error { return conversation(addr) })
	const moves = 12
	for i := range moves {
		next, stopNext := start(fmt.Sprintf("v%d-0", i+1))
		apply(t, f, one(next))
		if cut, err := f.Drain(t.Context(), old.Name); cut > 0 || err != nil {
			t.Errorf("%d were cut off, %v", cut, err)
		}
		stop()
		old, stop = next, stopNext
		had := answered.Load()
		await(t, func() bool { return answered.Load() > had+10 || t.Failed() })
	}
	close(end)
	wait.Wait()
	if cut, err := f.Drain(t.Context(), old.Name); cut > 0 || err != nil {
		t.Errorf("at the end: %d were cut off, %v", cut, err)
	}
	stop()
	counts := f.Counts().Services[0]
	var sum Count
	for _, r := range counts.Releases {
		sum = sum.Add(r.Count)
	}
	if sum.Errors() > 0 || sum.Cancelled > 0 || sum.InFlight > 0 || counts.Refused > 0 {
		sum.Latency = nil
		t.Errorf("%d refused, %+v", counts.Refused, sum)
	}
}

// kept sends the request several times over one connection, until the end, or
// until it is told to connect anew.
func kept(addr, text string, times int, end <-chan struct{}) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	first, _, _ := strings.Cut(text, "\r\n")
	for range times {
		select {
		case <-end:
			return nil
		default:
		}
		if _, err := io.WriteString(c, text); err != nil {
			return fmt.Errorf("%s: %w", first, err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", first, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %s %w", first, resp.Status, body, err)
		}
		if resp.Close {
			return nil
		}
	}
	return nil
}

// conversation upgrades, says a few words, and ends.
func conversation(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprint(c, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade: %v %w", resp, err)
	}
	for _, word := range []string{"early\n", "one\n", "two\n"} {
		if word != "early\n" {
			if _, err := io.WriteString(c, word); err != nil {
				return err
			}
		}
		if back, err := in.ReadString('\n'); back != word {
			return fmt.Errorf("%q came back as %q: %w", word, back, err)
		}
	}
	return nil
}

// TestNothingBeginsAfterADrain has requests come while the backend is drained:
// each of them is either waited for or sent away.
func TestNothingBeginsAfterADrain(t *testing.T) {
	t.Parallel()
	for range 300 {
		b := newBackend(Backend{Name: "v1-0", Address: "127.0.0.1:1"}, &service{})
		var drained atomic.Bool
		var wait sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			wait.Go(func() {
				<-start
				for range 50 {
					if !b.acquire() {
						return
					}
					if drained.Load() {
						t.Error("a request began after the drain")
					}
					b.leave()
				}
			})
		}
		close(start)
		if cut, err := b.drain(t.Context()); cut != 0 || err != nil {
			t.Fatal(cut, err)
		}
		drained.Store(true)
		if b.acquire() {
			t.Fatal("a drained backend takes requests")
		}
		wait.Wait()
		if n := b.inFlight.Load(); n != 0 {
			t.Fatalf("%d requests are under way", n)
		}
	}
}

func TestAnInstanceThatRefusesIsLeftOut(t *testing.T) {
	t.Parallel()
	dead, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	f := opened(t, one(backendAt("v1-0", dead, 1), instance(t, "v1-1", 1, named("alive"))))
	addr := serving(t, f)
	begin := time.Now()
	for i := range 50 {
		if err := kept(addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 1, nil); err != nil {
			t.Fatal(i, err)
		}
	}
	var refused uint64
	for _, b := range f.Counts().Services[0].Releases[0].Instances {
		if b.Instance == "v1-0" {
			refused = b.Broken
		} else if b.Status[1] != 50 {
			t.Errorf("%+v", b)
		}
	}
	if most := uint64(time.Since(begin)/outTime) + 1; refused < 1 || refused > most {
		t.Errorf("the dead instance was tried %d times", refused)
	}
	// The last one is never left out.
	apply(t, f, one(backendAt("v1-0", dead, 1)))
	for range 3 {
		if status, _, _ := get(t, addr); status != http.StatusBadGateway {
			t.Errorf("%d", status)
		}
	}
	if c := f.Counts().Services[0].Releases[0].Count; c.Broken != refused+3 {
		t.Errorf("%+v", c)
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// TestTriesAgain has an instance that closes connections in the midst of requests.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	broken := instance(t, "v1-0", MaxWeight, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	f := opened(t, one(broken, instance(t, "v1-1", 1, named("alive"))))
	addr := serving(t, f)
	for range 5 {
		if status, body, _ := get(t, addr); status != http.StatusOK || body != "alive" {
			t.Errorf("GET: %d %s", status, body)
		}
	}
	if got := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
		t.Errorf("POST, which it may have carried out: %s", got)
	}
}

// TestKeptConnectionThatTheInstanceClosed must cost no request, whatever its method.
func TestKeptConnectionThatTheInstanceClosed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: named("v1")}
	idle := make(chan net.Conn, 8)
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			idle <- c
		}
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	f := opened(t, one(backendAt("v1-0", l.Addr().String(), 1)))
	addr := serving(t, f)
	for range 20 {
		if err := kept(addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 1, nil); err != nil {
			t.Fatal(err)
		}
		(<-idle).Close()
	}
}
