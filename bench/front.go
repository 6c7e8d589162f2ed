package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/front"
)

// fronting measures the front proxy: `go run ./bench front`. What a request costs it
// in processor time stands beside what it costs nginx and haproxy, if they are
// installed, each in turn before the same instance under the same load of wrk. Then a service is
// moved from instance to instance under load, and each old one is killed as soon
// as it is drained. Proxy, instances and load are processes of their own, on the same
// machine.
type fronting struct {
	rows serving
	self string // this program, which plays the proxy and the instances
	tmp  string
}

const (
	cpuRounds  = 3
	cpuTime    = 5 * time.Second
	cpuClients = 64
	switches   = 12
	bodySize   = 1024
)

// role is what the program does as a child of itself.
func (b *fronting) role(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "instance":
		return playInstance(args[1])
	case len(args) == 2 && args[0] == "proxy":
		return playProxy(args[1])
	}
	return fmt.Errorf("front: unknown arguments %q", args)
}

func (b *fronting) run(dir string) error {
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.tmp, err = os.MkdirTemp(dir, "fairlead-front-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.tmp)
	before := load()
	for _, t := range []servingTrial{{"cpu", b.cpu}, {"switches", b.switches}} {
		if !strings.HasPrefix(t.name, b.rows.only) {
			continue
		}
		if err := t.run(); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	fmt.Printf("\n%d processors; processes that want one: %s before, %s after, over a minute each\n", runtime.NumCPU(), before, load())
	return nil
}

// playInstance answers at a free port, which it prints, until it is killed.
func playInstance(name string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), bodySize)
	mux := http.NewServeMux()
	mux.HandleFunc("/body", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	mux.HandleFunc("/name", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, name)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(w, name)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	fmt.Println(l.Addr())
	return http.Serve(l, mux)
}

// playProxy is a front that is told on its standard input what to do, a line each, and
// says when it has: "apply" and a table, "drain" and an instance.
func playProxy(dir string) error {
	f, err := front.Open(dir, front.Options{})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { fail(f.Serve(l)) }()
	fmt.Println(l.Addr())
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		switch verb {
		case "apply":
			var t front.Table
			if err = json.Unmarshal([]byte(rest), &t); err == nil {
				err = f.Apply(ctx, t)
			}
		case "drain":
			var cut int
			if cut, err = f.Drain(ctx, rest); err == nil && cut > 0 {
				err = fmt.Errorf("%d requests were cut off", cut)
			}
		}
		stop()
		fmt.Println("done", err)
	}
}

// child is a process of the bench that has an address.
type child struct {
	cmd  *exec.Cmd
	addr string
	in   io.Writer
	out  *bufio.Reader
}

func (b *fronting) start(args ...string) (*child, error) {
	c := &child{cmd: exec.Command(b.self, append([]string{"front"}, args...)...)}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	line, err := c.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s does not start: %w", args[0], errors.Join(err, c.cmd.Wait()))
	}
	c.addr = strings.TrimSpace(line)
	return c, nil
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// tell has the proxy do something.
func (c *child) tell(verb, what string) error {
	if _, err := fmt.Fprintf(c.in, "%s %s\n", verb, what); err != nil {
		return err
	}
	line, err := c.out.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != "done <nil>" {
		err = fmt.Errorf("%s: %s", verb, line)
	}
	return err
}

func (c *child) apply(backends ...front.Backend) error {
	table, err := json.Marshal(front.Table{Routes: []front.Route{{Service: "bench", Backends: backends}}})
	if err != nil {
		return err
	}
	return c.tell("apply", string(table))
}

// cpu measures what a request costs: processor time of all the proxy's processes,
// divided by the requests that wrk counted.
func (b *fronting) cpu() error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return errors.New("wrk is not installed; it makes the load")
	}
	app, err := b.start("instance", "app")
	if err != nil {
		return err
	}
	defer app.kill()
	type proxy struct {
		name, addr string
		pid        int
	}
	ours, err := b.start("proxy", filepath.Join(b.tmp, "cpu"))
	if err != nil {
		return err
	}
	defer ours.kill()
	if err := ours.apply(front.Backend{Name: "app-0", Release: "app", Address: app.addr, Weight: 1}); err != nil {
		return err
	}
	list := []proxy{{"fairlead", ours.addr, ours.cmd.Process.Pid}}
	for _, peer := range []struct {
		name string
		args func(config string) []string
		text func(addr, app string) string
	}{
		{"nginx", func(config string) []string { return []string{"-c", config, "-p", b.tmp, "-e", "stderr"} }, func(addr, app string) string {
			return "worker_processes 1; daemon off; error_log stderr crit; pid nginx.pid; events {} http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n" +
				"upstream app { server " + app + "; keepalive 128; } server { listen " + addr + "; keepalive_requests 10000000; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; } } }\n"
		}},
		{"haproxy", func(config string) []string { return []string{"-f", config, "-db"} }, func(addr, app string) string {
			return "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend in\n  bind " + addr + "\n  default_backend app\nbackend app\n  http-reuse always\n  server app " + app + "\n"
		}},
	} {
		path, err := exec.LookPath(peer.name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: without", peer.name+", which is not installed")
			continue
		}
		addr, err := freeAddress()
		if err != nil {
			return err
		}
		config := filepath.Join(b.tmp, peer.name+".conf")
		if err := os.WriteFile(config, []byte(peer.text(addr, app.addr)), 0o600); err != nil {
			return err
		}
		cmd := exec.Command(path, peer.args(config)...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}()
		if err := answers(addr); err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		list = append(list, proxy{peer.name, addr, cmd.Process.Pid})
	}
	costs, rates := map[string][]time.Duration{}, map[string][]float64{}
	for range cpuRounds {
		for _, p := range list {
			before, err := processorTime(p.pid)
			if err != nil {
				return err
			}
			requests, err := wrk(p.addr)
			if err != nil {
				return err
			}
			after, err := processorTime(p.pid)
			if err != nil {
				return err
			}
			costs[p.name] = append(costs[p.name], (after-before)/time.Duration(requests))
			rates[p.name] = append(rates[p.name], float64(requests)/cpuTime.Seconds())
		}
	}
	for _, p := range list {
		slices.Sort(costs[p.name])
		slices.Sort(rates[p.name])
		bar := ""
		if p.name == "fairlead" {
			bar = "≤ 55 µs"
		}
		c := costs[p.name]
		b.rows.row(fmt.Sprintf("%s: processor time of a request, %d connections, 1 KB", p.name, cpuClients),
			fmt.Sprintf("%.1f µs (%.1f to %.1f), %.0f/s", us(c[len(c)/2]), us(c[0]), us(c[len(c)-1]), rates[p.name][len(c)/2]), bar)
	}
	return nil
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

var wrkRequests = regexp.MustCompile(`(\d+) requests in `)

func wrk(addr string) (requests int, err error) {
	out, err := exec.Command("wrk", "-t1", "-c"+strconv.Itoa(cpuClients), "-d"+cpuTime.String(), "http://"+addr+"/body").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, fmt.Errorf("requests failed:\n%s", out)
	}
	m := wrkRequests.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk says:\n%s", out)
	}
	return strconv.Atoi(string(m[1]))
}

// processorTime is what the process and its children have used.
func processorTime(pid int) (time.Duration, error) {
	total, err := ticks(pid)
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return 0, err
		}
		more, err := ticks(n)
		if err != nil {
			return 0, err
		}
		total += more
	}
	return time.Duration(total) * 10 * time.Millisecond, nil // USER_HZ is 100
}

func ticks(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected: %s", text)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return user + system, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answers waits until somebody listens.
func answers(addr string) error {
	var err error
	for range 200 {
		var c net.Conn
		if c, err = net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// switches moves the service from instance to instance while it is used, and
// kills the old one when it is drained.
func (b *fronting) switches() error {
	proxy, err := b.start("proxy", filepath.Join(b.tmp, "switches"))
	if err != nil {
		return err
	}
	defer proxy.kill()
	old, err := b.start("instance", "v0")
	if err != nil {
		return err
	}
	if err := proxy.apply(front.Backend{Name: "v0", Release: "v0", Address: old.addr, Weight: 1}); err != nil {
		return err
	}
	crowd := &crowd{addr: proxy.addr, end: make(chan struct{})}
	crowd.add("GET", 6, func(c *caller) error { return c.fetch("GET", "/name", "") })
	crowd.add("POST", 6, func(c *caller) error { return c.fetch("POST", "/name", strings.Repeat("x", 300)) })
	crowd.add("slow", 4, func(c *caller) error { return c.fetch("GET", "/slow", "") })
	crowd.add("WebSocket", 4, func(*caller) error { return converse(proxy.addr) })
	var first []time.Duration
	for i := range switches {
		name := fmt.Sprintf("v%d", i+1)
		next, err := b.start("instance", name)
		if err != nil {
			return err
		}
		begin := time.Now()
		seen := make(chan time.Duration, 1)
		go func() { seen <- firstAnswer(proxy.addr, name, begin) }()
		if err := proxy.apply(front.Backend{Name: name, Release: name, Address: next.addr, Weight: 1}); err != nil {
			return err
		}
		first = append(first, <-seen)
		if err := proxy.tell("drain", fmt.Sprintf("v%d", i)); err != nil {
			return err
		}
		old.kill()
		old = next
	}
	close(crowd.end)
	crowd.wait.Wait()
	old.kill()
	for _, k := range crowd.kinds {
		text := fmt.Sprintf("%d of %d failed", k.failed.Load(), k.done.Load()+k.failed.Load())
		if why := k.why.Load(); why != nil {
			text += ": " + *why
		}
		b.rows.row(fmt.Sprintf("%s over %d switches, the old instance killed when drained", k.name, switches), text, "0 failed")
	}
	slices.Sort(first)
	b.rows.row("first answer of the new release after the command, median and longest", fmt.Sprintf("%.1f ms, %.1f ms", us(first[len(first)/2])/1e3, us(first[len(first)-1])/1e3), "≤ 30 ms")
	return nil
}

// crowd are clients that go on until the end.
type crowd struct {
	addr  string
	end   chan struct{}
	wait  sync.WaitGroup
	kinds []*kind
}

type kind struct {
	name         string
	done, failed atomic.Int64
	why          atomic.Pointer[string]
}

func (c *crowd) add(name string, clients int, request func(*caller) error) {
	k := &kind{name: name}
	c.kinds = append(c.kinds, k)
	for range clients {
		c.wait.Go(func() {
			client := &caller{addr: c.addr}
			defer client.hangUp()
			for {
				select {
				case <-c.end:
					return
				default:
				}
				if err := request(client); err != nil {
					text := err.Error()
					k.why.Store(&text)
					k.failed.Add(1)
				} else {
					k.done.Add(1)
				}
			}
		})
	}
}

// caller is a client that keeps its connection, and sends no request twice as a
// general client would by itself: a failure is a failure.
type caller struct {
	addr string
	c    net.Conn
	in   *bufio.Reader
}

func (c *caller) fetch(method, path, body string) (err error) {
	if c.c == nil {
		if c.c, err = net.Dial("tcp", c.addr); err != nil {
			return err
		}
		c.in = bufio.NewReader(c.c)
	}
	defer func() {
		if err != nil {
			c.hangUp()
		}
	}()
	if _, err := fmt.Fprintf(c.c, "%s %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if resp.Close {
		c.hangUp()
	}
	return err
}

func (c *caller) hangUp() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// converse changes to another protocol, says something a few times, and leaves.
func converse(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /echo HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	for i := range 5 {
		word := fmt.Sprintln("word", i)
		if _, err := io.WriteString(c, word); err != nil {
			return err
		}
		if back, err := in.ReadString('\n'); err != nil || back != word {
			return fmt.Errorf("%q came back as %q: %w", word, back, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// firstAnswer is how long after the beginning the release answered.
func firstAnswer(addr, name string, begin time.Time) time.Duration {
	for {
		resp, err := http.Get("http://" + addr + "/name")
		if err != nil {
			continue // the crowd counts failures
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) == name {
			return time.Since(begin)
		}
	}
}
