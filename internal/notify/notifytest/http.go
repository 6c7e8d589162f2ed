package notifytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// HTTPFar is a server that takes messages over HTTP.
type HTTPFar struct {
	*httptest.Server
	// To makes the target of the server's address; without it the target is the
	// address and a path that is a secret.
	To func(address string) string
	// Hidden are the secrets of the target that To makes.
	Hidden []string

	arrived chan struct{}
	stop    chan struct{}
	once    sync.Once

	mu   sync.Mutex
	mood Mood
	last string
}

const hook = "/hooks/T0-s3cr3t-of-the-hook/B9-another"

// HTTP starts one.
func HTTP(t *testing.T) *HTTPFar {
	f := &HTTPFar{arrived: make(chan struct{}, 100), stop: make(chan struct{})}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// Target implements [Far].
func (f *HTTPFar) Target() string {
	if f.To != nil {
		return f.To(f.URL)
	}
	return f.URL + hook
}

// Secrets implements [Far].
func (f *HTTPFar) Secrets() []string {
	if f.To != nil {
		return f.Hidden
	}
	return []string{"T0-s3cr3t-of-the-hook", "B9-another"}
}

// Play implements [Far].
func (f *HTTPFar) Play(m Mood) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mood = m
}

// Got implements [Far].
func (f *HTTPFar) Got() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Arrived implements [Far].
func (f *HTTPFar) Arrived() <-chan struct{} { return f.arrived }

// Close implements [Far].
func (f *HTTPFar) Close() {
	f.once.Do(func() {
		close(f.stop)
		f.Server.Close()
	})
}

// ServeHTTP plays the server.
func (f *HTTPFar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	f.mu.Lock()
	mood := f.mood
	f.last = show(r, body)
	f.mu.Unlock()
	switch mood {
	case Friendly:
		fmt.Fprint(w, "{}")
	case Refusing:
		http.Error(w, "no_service", http.StatusNotFound)
	case Busy:
		http.Error(w, "later", http.StatusServiceUnavailable)
	case Gossip:
		w.WriteHeader(http.StatusForbidden)
		said := "no: \x1b[31m" + r.URL.String() + " " + url.QueryEscape(r.URL.String()) + " " + strings.Join(f.Secrets(), " ") + "\n"
		for range 1000 {
			if _, err := io.WriteString(w, strings.Repeat(said, 10)); err != nil {
				return
			}
		}
	case Silent:
		f.arrived <- struct{}{}
		select {
		case <-f.stop:
		case <-r.Context().Done():
		}
	}
}

// show is a request as text: what the sender chose, without its way here.
func show(r *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, strings.ReplaceAll(r.URL.Path, hook, "/HOOK"))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name != "Accept-Encoding" && name != "Content-Length" {
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
	}
	b.WriteByte('\n')
	var indented bytes.Buffer
	if json.Indent(&indented, body, "", "  ") == nil {
		body = indented.Bytes()
	}
	b.Write(body)
	return strings.TrimSuffix(b.String(), "\n") + "\n"
}

// Body is the JSON body of what [HTTPFar.Got] shows.
func Body(got string, into any) error {
	_, body, _ := strings.Cut(got, "\n\n")
	return json.Unmarshal([]byte(body), into)
}
