package front

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// instance is a server that says its name.
func instance(t *testing.T, name string) Backend {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", name, body)
	}))
	t.Cleanup(s.Close)
	release, _, _ := strings.Cut(name, "-")
	return Backend{Name: name, Release: release, Address: s.Listener.Addr().String(), Weight: 1}
}

func open(t *testing.T) *Front {
	t.Helper()
	f, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = f.Shutdown(ctx)
	})
	return f
}

func TestSmoke(t *testing.T) {
	f := open(t)
	a, b := instance(t, "v1-0"), instance(t, "v2-0")
	a.Weight = 9
	if err := f.Apply(t.Context(), Table{Routes: []Route{{Service: "shop", Backends: []Backend{a, b}}}}); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(f)
	defer s.Close()
	seen := map[string]int{}
	for range 100 {
		resp, err := http.Post(s.URL+"/x", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		seen[string(body)]++
	}
	t.Log(seen)
	if n, err := f.Drain(t.Context(), "v1-0"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	t.Logf("%+v", f.Counts())
}
