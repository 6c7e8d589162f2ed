package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func testContext() context.Context { return context.Background() }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// playFront is a front that starts its successor when it is told to on its
// standard input, and ends when it is sent SIGTERM, or when its parent is gone.
func playFront() {
	fail := func(err error) {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	sockets, err := Inherit()
	if err != nil {
		fail(err)
	}
	l, err := sockets.Listen("web", os.Getenv("FRONT_TEST_ADDR"))
	if err != nil {
		fail(err)
	}
	f, err := Open(os.Getenv("FRONT_TEST_DIR"), Options{})
	if err != nil {
		fail(err)
	}
	f.linger = 15 * time.Second // a busy machine does not let clients speak for seconds
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		if err := f.Serve(l); err != nil {
			fail(err)
		}
	}()
	fmt.Println("ready", os.Getpid())
	go func() {
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err != nil {
			os.Exit(0)
		}
		files, env, err := sockets.Handover()
		if err != nil {
			fail(err)
		}
		next := exec.Command(os.Args[0])
		next.Env, next.ExtraFiles = append(os.Environ(), env...), files
		next.Stdin, next.Stdout, next.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := next.Start(); err != nil {
			fail(err)
		}
		for _, file := range files {
			file.Close()
		}
	}()
	select {
	case <-term:
	case <-time.After(2 * time.Minute): // the test is gone
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cut, err := f.Shutdown(ctx)
	if err != nil {
		fail(err)
	}
	fmt.Println("ended", cut)
}

// TestHandover has a front replaced twenty times by a new process while it is used.
func TestHandover(t *testing.T) {
	t.Parallel()
	const times = 20
	dir := t.TempDir()
	f, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, Table{Routes: []Route{
		{Service: "shop", Backends: []Backend{instance(t, "v1-0", 1, named("v1"))}},
		{Service: "echo", Path: "/echo", Backends: []Backend{backendAt("e-0", startEcho(t), 1)}},
	}})
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(os.Args[0])
	first.Env = append(os.Environ(), "FRONT_TEST_ROLE=front", "FRONT_TEST_DIR="+dir, "FRONT_TEST_ADDR="+addr)
	// The pipes are those of all the processes, one after another.
	in, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer orders.Close()
	out, words, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	first.Stdin, first.Stdout, first.Stderr = in, words, os.Stderr
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	words.Close()
	said := bufio.NewReader(out)
	ready := func() int {
		word, pid, _ := strings.Cut(line(t, said), " ")
		n, err := strconv.Atoi(pid)
		if word != "ready" || err != nil {
			t.Fatalf("the front says %q", word+" "+pid)
		}
		return n
	}
	pid := ready()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })

	end := make(chan struct{})
	var wait sync.WaitGroup
	var answered atomic.Int64
	for _, request := range []func() error{
		func() error { return kept(addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1<<30, end) },
		func() error {
			return kept(addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1<<30, end)
		},
		func() error { return kept(addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1, end) },
		func() error { return conversation(addr) },
	} {
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
	for range times {
		fmt.Fprintln(orders, "hand over")
		next := ready()
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if got := line(t, said); got != "ended 0" {
			t.Fatalf("the old front says %q", got)
		}
		if pid == first.Process.Pid {
			if err := first.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		pid = next
		had := answered.Load()
		await(t, func() bool { return answered.Load() > had+10 || t.Failed() })
	}
	close(end)
	wait.Wait()
	t.Logf("%d connections over %d hand-overs", answered.Load(), times)
}

// startEcho is the address of a server that upgrades every connection.
func startEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					text, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if text == "\r\n" {
						break
					}
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(c, in)
			}()
		}
	}()
	return l.Addr().String()
}

func TestSockets(t *testing.T) {
	t.Parallel()
	s := &Sockets{}
	path := filepath.Join(t.TempDir(), "socket")
	unix, err := s.Listen("local", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen("web", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "a:b", "a b"} {
		if _, err := s.Listen(bad, "127.0.0.1:0"); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	files, env, err := s.Handover()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		file.Close()
	}
	if got := strings.Join(env, " "); len(files) != 2 || got != "LISTEN_PID= LISTEN_FDS=2 LISTEN_FDNAMES=local:web" {
		t.Errorf("%d files, %s", len(files), got)
	}
	unix.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's path belongs to the next process: %v", err)
	}
}

// TestInheritRefuses is not parallel: it sets the environment.
func TestInheritRefuses(t *testing.T) {
	for _, tt := range []struct{ pid, fds, want string }{
		{"", "", ""},
		{"1", "2", ""}, // for another process
		{"", "many", "LISTEN_FDS"},
		{"", "-1", "LISTEN_FDS"},
		{"", "100000", "LISTEN_FDS"},
		{strconv.Itoa(os.Getpid()), "0", ""},
	} {
		t.Setenv("LISTEN_PID", tt.pid)
		t.Setenv("LISTEN_FDS", tt.fds)
		s, err := Inherit()
		if tt.want == "" && (err != nil || len(s.inherited) > 0) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v", tt, err)
		}
		if os.Getenv("LISTEN_FDS") != "" {
			t.Error("children would inherit it")
		}
	}
}
