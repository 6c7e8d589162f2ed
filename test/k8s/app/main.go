// The app command is a web service to be deployed by tests. The environment says
// how it behaves: VERSION is what it answers with, START how long it takes to be
// ready, CRASH what it dies of, ERRORS how many of a hundred requests fail.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if text := os.Getenv("CRASH"); text != "" {
		fmt.Fprintln(os.Stderr, text)
		os.Exit(3)
	}
	start, _ := time.ParseDuration(os.Getenv("START"))
	failing, _ := strconv.Atoi(os.Getenv("ERRORS"))
	ready := time.Now().Add(start)
	var leaving atomic.Bool

	mux := http.NewServeMux()
	mux.HandleFunc("GET /up", func(w http.ResponseWriter, r *http.Request) {
		if time.Now().Before(ready) || leaving.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		if rand.IntN(100) < failing {
			http.Error(w, "out of luck", http.StatusInternalServerError)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		if pause, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
			time.Sleep(min(pause, 10*time.Second))
		}
		fmt.Fprintf(w, "%s %s %s", os.Getenv("VERSION"), os.Getenv("GREETING"), body)
	})

	server := &http.Server{Addr: ":8080", Handler: mux}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-end
		// Those who are connected are asked, with their next answer, to come anew, and find
		// another one. To close their connections at once would cut off who is just asking.
		leaving.Store(true)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			log.Print(err)
		}
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-done
}
