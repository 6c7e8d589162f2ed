package docker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestKeep: services stay under their word when their executor has gone, are not made
// twice, and say when they are declared otherwise.
func TestKeep(t *testing.T) {
	t.Parallel()
	word := t.TempDir()
	services := map[string]plan.Container{
		"a/b": {Image: testImage, Command: []string{"sh", "-c", "echo hello > /tmp/x; while :; do nc -l -p 80 < /tmp/x; done"}, Ports: []string{"80", "53/udp"}, Options: "--label dev.fairlead.owner=1 --publish-all"},
		"a-b": {Image: testImage, Command: []string{"sleep", "1000"}},
	}
	spec := executor.Spec{Run: "env", Place: plan.Place{Services: services}}
	first := open(t, options(t))
	t.Cleanup(func() {
		x := docker.New(options(t)) // the test's context has ended
		if err := errors.Join(x.Drop(context.WithoutCancel(t.Context()), word), x.Close()); err != nil {
			t.Error(err)
		}
	})
	kept, err := first.Keep(t.Context(), word, spec)
	if err != nil || len(kept) != 2 || kept[1].Name != "a/b" || kept[1].State != "running" || kept[1].Ports["80"] == "" || kept[1].Ports["53/udp"] == "" || len(kept[0].Ports) != 0 {
		t.Fatalf("%+v, %v", kept, err)
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+kept[1].Ports["80"])
	if err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(c); string(said) != "hello\n" {
		t.Errorf("%q, %v", said, err)
	}
	if err := errors.Join(c.Close(), first.Close()); err != nil {
		t.Error(err)
	}

	second := open(t, options(t)) // which looks for what others have left
	other := services["a-b"]
	other.Env = map[string]string{"X": "1"}
	services["a-b"] = other
	again, err := second.Keep(t.Context(), word, spec)
	if err != nil || len(again) != 2 || again[1].Ports["80"] != kept[1].Ports["80"] || !again[0].Outdated || again[1].Outdated {
		t.Errorf("%+v, %v", again, err)
	}
	if none, err := second.Kept(t.Context(), word+"x"); err != nil || len(none) != 0 {
		t.Errorf("another's: %+v, %v", none, err)
	}
	if err := errors.Join(second.Drop(t.Context(), word), second.Drop(t.Context(), word)); err != nil {
		t.Error(err)
	}
	if none, err := second.Kept(t.Context(), word); err != nil || len(none) != 0 {
		t.Errorf("dropped: %+v, %v", none, err)
	}

	spec.Place.Services = map[string]plan.Container{"bad": {Image: testImage, Command: []string{"sh", "-c", "echo no luck; exit 3"}}}
	if _, err := second.Keep(t.Context(), word, spec); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("%v", err)
	}
}

// TestKeepWithoutEngine: who asks is told that nobody answers.
func TestKeepWithoutEngine(t *testing.T) {
	t.Parallel()
	x := open(t, docker.Options{Getenv: func(name string) string {
		return map[string]string{"DOCKER_HOST": "unix://" + filepath.Join(t.TempDir(), "none")}[name]
	}})
	_, err := x.Keep(t.Context(), "w", executor.Spec{})
	_, kept := x.Kept(t.Context(), "w")
	for _, err := range []error{err, kept, x.Drop(t.Context(), "w")} {
		if lost := new(executor.EngineError); !errors.As(err, &lost) {
			t.Errorf("%v", err)
		}
	}
}

// TestRoute: a command finds a port of our loopback address at its own, whoever it is,
// and without any network; others do not.
func TestRoute(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
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
				text, _ := io.ReadAll(c) // until it has said all
				_, _ = c.Write([]byte("heard " + string(text)))
			}()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	for _, o := range []string{"", "--user 1234", "--network none", "--network host"} {
		r := room(t, x, in(plan.Container{Options: o}))
		ask := func() *plan.Command { return r.sh("echo hello | nc 127.0.0.1 " + strconv.Itoa(port)) }
		said := func(c *plan.Command) (string, int) {
			var b strings.Builder
			res, err := r.Run(t.Context(), c, nil, &b)
			if err != nil {
				t.Fatalf("%s: %v", o, err)
			}
			return b.String(), res.Exit
		}
		if o != "--network host" {
			if text, exit := said(ask()); exit == 0 {
				t.Errorf("%s: without being asked: %q", o, text)
			}
		}
		for range 2 {
			c := ask()
			c.Loopback = []int{port}
			if text, exit := said(c); exit != 0 || text != "heard hello\n" {
				t.Errorf("%s: %q, %d", o, text, exit)
			}
		}
	}
}
