package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func delivery(id string) func(*http.Request) { return header("X-Github-Delivery", id) }

// TestHook believes before it writes, and writes before it answers.
func TestHook(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	const body = `{"ref":"refs/heads/main"}`
	signed := header("X-Hub-Signature-256", signature(body))
	w := sc.call("POST", "/hooks/team/app", body, signed, delivery("1"), header("X-Github-Event", "push"), header("Cookie", "x=y"), header("X-Gitlab-Token", "t"))
	var answer Delivered
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusAccepted || answer.Seq == 0 {
		t.Fatalf("a good one: %d %s", w.Code, w.Body)
	}
	got := sc.events("hook.received")
	if len(got) != 1 || got[0].Seq != answer.Seq {
		t.Fatalf("%d events, answer %+v", len(got), answer)
	}
	e := got[0].Body.(*record.HookReceived)
	if string(e.Body) != body || e.Header["X-Github-Event"] != "push" || e.From != "192.0.2.1" {
		t.Errorf("what was written: %+v", e)
	}
	for _, secret := range []string{"X-Hub-Signature-256", "Cookie", "X-Gitlab-Token", "Authorization"} {
		if _, kept := e.Header[secret]; kept {
			t.Errorf("%s was kept", secret)
		}
	}

	// The same again: a host that did not hear our answer.
	if w := sc.call("POST", "/hooks/team/app", body, signed, delivery("1")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"duplicate":true`) {
		t.Errorf("a replay: %d %s", w.Code, w.Body)
	}
	refused := map[string]*httptest.ResponseRecorder{
		"forged":             sc.call("POST", "/hooks/team/app", body, header("X-Hub-Signature-256", signature("another")), delivery("2")),
		"altered":            sc.call("POST", "/hooks/team/app", body+" ", signed, delivery("3")),
		"not signed":         sc.call("POST", "/hooks/team/app", body, delivery("4")),
		"unknown repository": sc.call("POST", "/hooks/team/none", body, signed, delivery("5")),
		"no secret there":    sc.call("POST", "/hooks/x", body, signed, delivery("6")),
	}
	for name, w := range refused {
		if w.Code != http.StatusUnauthorized || w.Body.String() != refused["forged"].Body.String() {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if n := len(sc.events("hook.received")); n != 1 {
		t.Errorf("%d events after what was refused", n)
	}
}

// TestHookTooLarge stops reading in time, whatever the length was said to be.
func TestHookTooLarge(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	for _, length := range []int64{forge.MaxBody + 1, -1} {
		r := httptest.NewRequest("POST", "/hooks/team/app", &endless{})
		r.ContentLength = length
		w := httptest.NewRecorder()
		sc.s.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("length %d: %d %s", length, w.Code, w.Body)
		}
	}
	if n := len(sc.events("hook.received")); n != 0 {
		t.Errorf("%d events", n)
	}
}

// endless has more bytes than anybody takes.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.n > 2*forge.MaxBody {
		return 0, io.ErrUnexpectedEOF
	}
	e.n += int64(len(p))
	clear(p)
	return len(p), nil
}

// TestHookStorm: what was accepted is there, each once.
func TestHookStorm(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	h := httptest.NewServer(sc.s)
	defer h.Close()
	const deliveries, senders = 1000, 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer client.CloseIdleConnections()
	ids := make(chan int)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for id := range ids {
				body := fmt.Sprintf(`{"n":%d}`, id)
				for range 2 { // every host says everything twice
					r, err := http.NewRequestWithContext(t.Context(), "POST", h.URL+"/hooks/team/app", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("X-Hub-Signature-256", signature(body))
					r.Header.Set("X-Github-Delivery", fmt.Sprint(id))
					res, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					if res.StatusCode/100 != 2 {
						t.Errorf("delivery %d: %s", id, res.Status)
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}
		})
	}
	for id := range deliveries {
		ids <- id
	}
	close(ids)
	wg.Wait()
	seen := map[string]int{}
	for _, e := range sc.events("hook.received") {
		seen[e.Body.(*record.HookReceived).Delivery]++
	}
	for id := range deliveries {
		if seen[fmt.Sprint(id)] != 1 {
			t.Errorf("delivery %d is there %d times", id, seen[fmt.Sprint(id)])
		}
	}
}

func BenchmarkHook(b *testing.B) {
	sc := newSceneB(b)
	body := `{"ref":"refs/heads/main","payload":"` + strings.Repeat("x", 8<<10) + `"}`
	sig := signature(body)
	var n int
	for b.Loop() {
		n++
		w := sc.call("POST", "/hooks/team/app", body, header("X-Hub-Signature-256", sig), delivery(fmt.Sprint(n)))
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// TestSlowClients are given up, and hold nobody up.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.s.reading, sc.s.writing = 50*time.Millisecond, 50*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- sc.s.Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// A body that never comes.
	fmt.Fprintf(c, "POST /hooks/team/app HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
	if _, err := io.ReadAll(c); err != nil { // until the server hangs up
		t.Errorf("a slow body: %v", err)
	}
	// A push that comes to a halt.
	halted, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer halted.Close()
	fmt.Fprintf(halted, "POST /api/v1/runs/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{", sc.token(access.TokenSpec{Name: "p"}))
	if _, err := io.ReadAll(halted); err != nil {
		t.Errorf("a push that comes to a halt: %v", err)
	}
	// A reader who does not read.
	d, size, err := sc.blobs.Put(t.Context(), io.LimitReader(zeros{}, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	run := sc.run("team/app", nil, record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "big", Digest: string(d), Size: size}}})
	lazy, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer lazy.Close()
	fmt.Fprintf(lazy, "GET /api/v1/runs/%s/artifacts/big HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", run, sc.token(access.TokenSpec{Name: "t"}))
	sc.log.await(t, "/artifacts/big") // the server's log tells of a request when it is over
	cancel()
	if err := <-served; err != nil {
		t.Errorf("stop: %v", err)
	}
	if w := sc.call("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready after the stop: %d", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPanic answers all the same, and the next request, too.
func TestPanic(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.s.Runs = nil
	w := sc.call("GET", "/api/v1/requests", "", session(sc.admin))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"request":"`) || strings.Contains(w.Body.String(), "nil pointer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(sc.log.String(), "request panicked") {
		t.Error("the log does not tell")
	}
	if w := sc.call("GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("then: %d", w.Code)
	}
}

// TestLeave: a server that is to stop says so to whoever chooses between servers, and goes on to
// answer.
func TestLeave(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.s.Leave()
	if w := sc.call("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "stopping") {
		t.Errorf("it is to stop, and ready: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", "/api/v1/runs", "", session(sc.admin)); w.Code != 200 {
		t.Errorf("it answers %d", w.Code)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	l := &rates{every: time.Second, burst: 3}
	now := time.Unix(1000, 0)
	for i := range 3 {
		if wait := l.take("a", now); wait != 0 {
			t.Errorf("%d: wait %s", i, wait)
		}
	}
	if wait := l.take("a", now); wait != time.Second {
		t.Errorf("one more: wait %s", wait)
	}
	if wait := l.take("b", now); wait != 0 {
		t.Errorf("another: wait %s", wait)
	}
	if wait := l.take("a", now.Add(time.Second)); wait != 0 {
		t.Errorf("later: wait %s", wait)
	}
	for i := range 2 * maxNames {
		l.take(fmt.Sprint(i), now)
	}
	if len(l.names) > maxNames {
		t.Errorf("it remembers %d names", len(l.names))
	}
}

// FuzzInput: whatever is sent, the answer is one of ours, and no panic.
func FuzzInput(f *testing.F) {
	f.Add([]byte(`{"repository":"team/app","inputs":{"a":"b"}}`), false)
	f.Add([]byte(`repository=team/app&inputs.a=b&protected=x&grants.role=admin&poll=5m&limit=3`), true)
	f.Add([]byte(`{"events":[{"kind":"run.planned","body":{}}]}`), false)
	f.Fuzz(func(t *testing.T, body []byte, isForm bool) {
		for _, v := range []any{new(Starting), new(Pushing), new(RepositorySettings), new(NewToken), new(SettingAccount)} {
			r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if isForm {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if err := (&request{Request: r}).decode(v); err != nil {
				if p := problemOf(err); p.Status >= 500 {
					t.Errorf("%v", err)
				}
				continue
			}
			if p, ok := v.(*Pushing); ok {
				_, _ = pushedEvents(p.Events)
			}
		}
	})
}

// FuzzPath: no path leads to a panic, or past the table.
func FuzzPath(f *testing.F) {
	sc := newSceneB(f)
	for _, path := range []string{"/", "/api/v1/runs", "/%2e%2e/x", "/hooks/a/b", "/api/v1/runs/1/log/a/b?from=x", "/events?topic=run/%00", "/api/v1/requests?limit=-1&before=99999999999999999999"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = r.URL.Parse(path); err != nil || r.URL.Host != "x" {
			return
		}
		w := httptest.NewRecorder()
		sc.s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	})
}
