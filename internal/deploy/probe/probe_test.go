package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func none(string) string { return "" }

func at(addresses ...string) (list []deploy.Instance) {
	for i, a := range addresses {
		list = append(list, deploy.Instance{Name: "shop-staging-r2-" + strconv.Itoa(i), Address: a})
	}
	return list
}

func httpServer(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	shop := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			fmt.Fprintf(w, "version 2 of %s for %s by %s, %s", r.Host, r.Header.Get("X-Who"), r.Method, r.URL.RawQuery)
		case "/moved":
			http.Redirect(w, r, "http://192.0.2.1/elsewhere", http.StatusFound)
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", maxBody)+"end")
		case "/slow":
			<-r.Context().Done()
		default:
			http.Error(w, "no such page", http.StatusNotFound)
		}
	})
	dead := nobody(t)
	h := func(path string, set ...func(*plan.HTTPCheck)) plan.Check {
		c := plan.Check{Name: "page", HTTP: &plan.HTTPCheck{Path: path}}
		for _, s := range set {
			s(c.HTTP)
		}
		return c
	}
	for _, test := range []struct {
		name  string
		check plan.Check
		at    []deploy.Instance
		ok    bool
		says  []string
	}{
		{"a page", h("/healthz"), at(shop), true, []string{"page: 1 instance passes"}},
		{"two instances", h("/healthz"), at(shop, shop), true, []string{"2 instances pass"}},
		{"its text", h("/healthz?deep=1", func(c *plan.HTTPCheck) {
			c.Body, c.Method, c.Header = `version 2 of shop\.example for me by POST, deep=1`, "POST", map[string]string{"X-Who": "me", "Host": "shop.example"}
		}), at(shop), true, nil},
		{"another text", h("/healthz", func(c *plan.HTTPCheck) { c.Body = "version 3" }), at(shop), false, []string{"does not match version 3", `"version 2 of`}},
		{"a text beyond what is read", h("/large", func(c *plan.HTTPCheck) { c.Body = "end" }), at(shop), false, []string{"does not match end"}},
		{"a bad pattern", h("/healthz", func(c *plan.HTTPCheck) { c.Body = "(" }), at(shop), false, []string{"body: error parsing regexp"}},
		{"no such page", h("gone"), at(shop), false, []string{"GET gone: the status is 404 Not Found"}},
		{"a redirect is an answer", h("/moved"), at(shop), true, nil},
		{"another status", h("/moved", func(c *plan.HTTPCheck) { c.Status = 200 }), at(shop), false, []string{"the status is 302 Found, not 200"}},
		{"nobody listens", h("/healthz"), at(shop, dead), false, []string{"1 of 2 instances do not pass: shop-staging-r2-1: GET /healthz:", "connection refused"}},
		{"no answer", h("/slow"), at(shop), false, []string{"no answer in time"}},
		{"no instance", h("/healthz"), nil, false, []string{"there is no instance to ask"}},
		{"no address", h("/healthz"), at(""), false, []string{"it has no address"}},
		{"nothing asked", plan.Check{Name: "empty"}, at(shop), false, []string{"empty: the check asks nothing"}},
		{"tcp", plan.Check{Name: "port", TCP: true}, at(shop), true, nil},
		{"tcp, closed", plan.Check{Name: "port", TCP: true}, at(dead), false, []string{"connection refused"}},
		{"a command", plan.Check{Name: "script", Command: `test "$FAIRLEAD_ADDRESS" = ` + shop + ` && test "$KEY" = "a b" && test -e here`}, at(shop), true, nil},
		{"a command that fails", plan.Check{Name: "script", Command: `echo checked; echo "it is broken" >&2; exit 3`}, at(""), false, []string{`exited with 3: "it is broken"`}},
		{"a command that is killed", plan.Check{Name: "script", Command: `kill -9 $$`}, at(shop), false, []string{"exited with 137"}},
		{"too many requests", plan.Check{Name: "load", Load: &plan.LoadCheck{Path: "/", Rate: 1e6, For: time.Second}}, at(shop), false, []string{"1 to 10000 requests a second, not 1000000"}},
		{"no time", plan.Check{Name: "load", Load: &plan.LoadCheck{Path: "/", Rate: 1}}, at(shop), false, []string{"lasts at most"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "here"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if strings.Contains(test.name, "no answer") {
				var stop func()
				ctx, stop = context.WithTimeout(ctx, 100*time.Millisecond)
				defer stop()
			}
			e := New(none).Check(ctx, test.check, test.at, map[string]string{"KEY": "a b"}, dir)
			if e.OK != test.ok {
				t.Errorf("ok is %v, want %v: %s", e.OK, test.ok, e.Text)
			}
			for _, w := range test.says {
				if !strings.Contains(e.Text, w) {
					t.Errorf("it says %q, which lacks %q", e.Text, w)
				}
			}
		})
	}
}

// health is a server of the gRPC health protocol, as one writes it without gRPC's library.
func health(state byte, code string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		if r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("TE") != "trailers" || len(body) < 5 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-5 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if string(body[5:]) == "\n\x04gone" {
			code = "5"
		}
		if code != "0" {
			w.Header().Set("Grpc-Status", code) // trailers only
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, state})
		w.Header().Set("Grpc-Status", "0")
	})
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	start := func(h http.Handler, sealed bool) string {
		s := httptest.NewUnstartedServer(h)
		if sealed {
			s.EnableHTTP2 = true
			s.StartTLS()
		} else {
			var p http.Protocols
			p.SetUnencryptedHTTP2(true)
			s.Config.Protocols = &p
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	for _, test := range []struct {
		name    string
		address string
		service string
		says    string // "": it passes
	}{
		{"serving", start(health(1, "0"), false), "", ""},
		{"serving, by TLS", start(health(1, "0"), true), "shop.Orders", ""},
		{"not serving", start(health(2, "0"), false), "", "the state is NOT_SERVING, not SERVING"},
		{"not serving, by TLS", start(health(2, "0"), true), "", "the state is NOT_SERVING, not SERVING"},
		{"a state of another day", start(health(9, "0"), false), "", "the state is 9"},
		{"unknown service", start(health(1, "0"), false), "gone", "does not know that service"},
		{"no health", start(health(1, "12"), false), "", "does not have grpc.health.v1.Health"},
		{"no gRPC", httpServer(t, func(http.ResponseWriter, *http.Request) {}), "", "gRPC health: "},
		{"nobody", nobody(t), "", "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := New(none).Check(t.Context(), plan.Check{Name: "grpc", GRPC: &plan.GRPCCheck{Service: test.service}}, at(test.address), nil, "")
			if e.OK != (test.says == "") || !strings.Contains(e.Text, test.says) {
				t.Errorf("ok is %v: %s", e.OK, e.Text)
			}
		})
	}
}

func FuzzHealthState(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 6, 18, 2, 'h', 'i', 8, 2})
	f.Add([]byte{0, 0, 0, 0, 2, 10, 200})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, err := healthState(frame); err == nil && len(frame) < 5 {
			t.Error("less than a frame was read")
		}
	})
}

func TestCommand(t *testing.T) {
	t.Parallel()
	run := func(ctx context.Context, script string) (lines []string, exit int, err error) {
		var mu sync.Mutex
		exit, err = New(none).Command(ctx, t.TempDir(), script, map[string]string{"NAME": "$(date)"}, func(line string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, line)
		})
		return lines, exit, err
	}
	lines, exit, err := run(t.Context(), `echo one; echo "$NAME" >&2; printf last; exit 4`)
	if want := []string{"one", "$(date)", "last"}; err != nil || exit != 4 || !slices.Equal(lines, want) {
		t.Errorf("%q, exit %d, %v; want %q", lines, exit, err, want)
	}
	lines, _, err = run(t.Context(), `head -c 100000 /dev/zero | tr '\0' x; echo; echo after; seq 30000`)
	if err != nil || len(lines) != maxLines || len(lines[0]) > maxLine+3 || lines[1] != "after" || !strings.Contains(lines[maxLines-1], "left out") {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	if _, _, err := run(t.Context(), ""); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := run(gone, "exit 0"); err == nil {
		t.Error("a command began after the end")
	}
	if _, err := New(none).Command(t.Context(), filepath.Join(t.TempDir(), "nowhere"), "exit 0", nil, func(string) {}); err == nil {
		t.Error("a command ran in no directory")
	}
}

// TestCommandSeesNoSecrets: what this process has in its environment is not the command's.
func TestCommandSeesNoSecrets(t *testing.T) {
	t.Setenv("FAIRLEAD_TEST_SECRET", "hunter2")
	var lines []string
	if _, err := New(none).Command(t.Context(), "", "env", map[string]string{"GIVEN": "1"}, func(l string) { lines = append(lines, l) }); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(lines, "\n"); strings.Contains(all, "hunter2") || !strings.Contains(all, "GIVEN=1") || !strings.Contains(all, "PATH=") {
		t.Errorf("it sees\n%s", all)
	}
}

// TestCommandDiesWithItsChildren breaks a command off whose child has a child, and waits until all of them are gone.
func TestCommandDiesWithItsChildren(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	var pids []int
	_, err := New(none).Command(ctx, "", `sh -c 'sleep 600 & echo $!; echo $$; wait' & echo $$; wait`, nil, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		pid, _ := strconv.Atoi(line)
		if pids = append(pids, pid); len(pids) == 3 {
			stop()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("a command that was broken off: %v", err)
	}
	for _, pid := range pids {
		for alive(pid) {
			if t.Context().Err() != nil {
				t.Fatalf("process %d still lives", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
	// What a command leaves behind ends with it, too.
	var left int
	if _, err := New(none).Command(t.Context(), "", `sleep 600 >/dev/null 2>&1 & echo $!`, nil, func(line string) { left, _ = strconv.Atoi(line) }); err != nil {
		t.Fatal(err)
	}
	for alive(left) {
		time.Sleep(time.Millisecond)
	}
}

// alive reports whether a process is there and has not ended.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	n := 0
	shop := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		bad := n%10 == 0
		mu.Unlock()
		if bad {
			http.Error(w, "broken", http.StatusInternalServerError)
		}
	})
	check := plan.Check{Name: "load", Load: &plan.LoadCheck{Path: "/", Rate: 400, For: 500 * time.Millisecond, Errors: .1, Latency: time.Minute}}
	e := New(none).Check(t.Context(), check, at(shop, shop), nil, "")
	if !e.OK || !strings.Contains(e.Text, "200 requests at 400 a second, 10 % failed") || len(e.Facts) != 2 || e.Facts[0].New != .1 || e.Facts[1].New <= 0 {
		t.Errorf("%+v", e)
	}
	check.Load.Errors, check.Load.Latency = .05, time.Nanosecond
	e = New(none).Check(t.Context(), check, at(shop), nil, "")
	if e.OK || !strings.Contains(e.Text, "5 % may fail") || !strings.Contains(e.Text, "99 % have to be within 1ns") || !strings.Contains(e.Text, "the first failure: the status is 500") {
		t.Errorf("%+v", e)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if e := New(none).Check(ctx, check, at(shop), nil, ""); e.OK || !strings.Contains(e.Text, "broken off") {
		t.Errorf("%+v", e)
	}
}

// TestLoadLeavesNothingOut lets a server stop: every request that was due meanwhile has waited, not only the
// one that it held.
func TestLoadLeavesNothingOut(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	var once sync.Once
	var waiting sync.WaitGroup
	waiting.Add(100)
	shop := httpServer(t, func(http.ResponseWriter, *http.Request) {
		once.Do(func() { go func() { waiting.Wait(); close(stop) }() }) // until all of them are there
		waiting.Done()
		<-stop
	})
	e := New(none).Check(t.Context(), plan.Check{Name: "load", Load: &plan.LoadCheck{Path: "/", Rate: 200, For: 500 * time.Millisecond, Latency: 100 * time.Millisecond}}, at(shop), nil, "")
	if e.OK || e.Facts[1].New < 400 {
		t.Errorf("100 requests waited until the last had come, half a second, and it says %s", e.Text)
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	var s spans
	if s.quantile(.5) != 0 {
		t.Error("of nothing there is a quantile")
	}
	for i := 1; i <= 1000; i++ {
		s.add(time.Duration(i) * time.Millisecond)
	}
	s.add(0)
	s.add(1000 * time.Hour)
	for q, want := range map[float64]float64{.5: 500, .99: 991} {
		if got := float64(s.quantile(q)) / float64(time.Millisecond); got < want*.99 || got > want*1.04 {
			t.Errorf("quantile %v is %v ms, want about %v", q, got, want)
		}
	}
}
