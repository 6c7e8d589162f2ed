package deploytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The variables that the web service is told by what to do. It listens at $PORT.
const (
	VersionVar = "WEBAPP_VERSION" // what it answers with
	// FaultVar is what is wrong with it: "crash", "slow-start", "never-ready", "errors" (5 % of
	// the answers are 500), "leak" (each request keeps memory), "latency" (each takes 150 ms longer).
	FaultVar = "WEBAPP_FAULT"
)

// The faults that a version of the web service can have.
const (
	FaultCrash     = "crash"
	FaultSlowStart = "slow-start"
	FaultNever     = "never-ready"
	FaultErrors    = "errors"
	FaultLeak      = "leak"
	FaultLatency   = "latency"
)

// slowStart is how long a version with that fault starts.
const slowStart = 2 * time.Second

// Webapp is a real web service, the way well-behaved ones are: it becomes ready, answers,
// and when it is told to end, ends what is under way and then itself. It returns its
// exit code. Its pages:
//
//	GET  /          its version
//	GET  /healthz   200 when it is ready
//	POST /echo      the body
//	GET  /slow      its version, after a part of it and half a second
//	GET  /ws        an upgraded connection that says each line back
func Webapp() int {
	version, fault := os.Getenv(VersionVar), os.Getenv(FaultVar)
	fmt.Printf("version %s starts at port %s\n", version, os.Getenv("PORT"))
	switch fault {
	case FaultCrash:
		fmt.Println("panic: the configuration is not what this version expects")
		return 3
	case FaultSlowStart:
		time.Sleep(slowStart)
	case FaultNever:
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		<-ended
		return 0
	}
	a := &webapp{version: version, fault: fault}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /{$}", a.page)
	mux.HandleFunc("POST /echo", a.echo)
	mux.HandleFunc("GET /slow", a.slow)
	mux.HandleFunc("GET /ws", a.upgrade)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() {
		<-ended
		done <- server.Shutdown(context.Background())
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		return 1
	}
	<-done
	a.tunnels.Wait()
	return 0
}

type webapp struct {
	version, fault string
	tunnels        sync.WaitGroup

	mu       sync.Mutex
	requests int
	kept     [][]byte
}

// suffer does what is wrong with the version; false if the request has been answered.
func (a *webapp) suffer(w http.ResponseWriter) bool {
	a.mu.Lock()
	a.requests++
	n := a.requests
	if a.fault == FaultLeak {
		page := make([]byte, 1<<20)
		for i := 0; i < len(page); i += 4096 {
			page[i] = 1
		}
		a.kept = append(a.kept, page)
	}
	a.mu.Unlock()
	switch {
	case a.fault == FaultErrors && n%20 == 0:
		http.Error(w, "this version fails now and then", http.StatusInternalServerError)
		return false
	case a.fault == FaultLatency:
		time.Sleep(150 * time.Millisecond)
	}
	return true
}

func (a *webapp) page(w http.ResponseWriter, _ *http.Request) {
	if a.suffer(w) {
		_, _ = io.WriteString(w, a.version)
	}
}

func (a *webapp) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if a.suffer(w) {
		_, _ = w.Write(body)
	}
}

func (a *webapp) slow(w http.ResponseWriter, r *http.Request) {
	if !a.suffer(w) {
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.version)+len("wait ")))
	_, _ = io.WriteString(w, "wait ")
	_ = http.NewResponseController(w).Flush()
	time.Sleep(500 * time.Millisecond)
	_, _ = io.WriteString(w, a.version)
}

// upgrade says lines back until the client ends, or says "bye".
func (a *webapp) upgrade(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	a.tunnels.Add(1)
	defer a.tunnels.Done()
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	lines := bufio.NewReader(rw)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, line); err != nil || strings.TrimSpace(line) == "bye" {
			return
		}
	}
}
