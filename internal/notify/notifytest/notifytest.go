// Package notifytest says what every channel must do, as tests.
//
// A child brings its channel and a [Far], the other side as the child's test
// plays it; for channels that speak HTTP there is [HTTP]. The suite sends a message of each edge
// and compares what arrived with golden files, sends what hostile people write, and lets the
// other side refuse, be busy, gossip, hang and be away.
package notifytest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// update says whether golden files are written instead of compared: go test -update.
var update = flag.Bool("update", false, "write the golden files instead of comparing them")

// Mood is how the other side behaves.
type Mood int

// The moods.
const (
	Friendly Mood = iota
	Refusing      // for good
	Busy          // for now
	Gossip        // refuses, repeats the target's secrets, and does not stop talking
	Silent        // takes the message and never answers
)

// Far is the other side of a channel.
type Far interface {
	// Target is an address of it that works.
	Target() string
	// Secrets are the parts of the target that may be in no error.
	Secrets() []string
	// Play sets its mood.
	Play(Mood)
	// Got is what arrived last, as text for a golden file: the same for the same message.
	Got() string
	// Arrived gets a value when a message has arrived, or is about to, while the mood is Silent.
	Arrived() <-chan struct{}
	// Close takes it away.
	Close()
}

// Suite is what a child brings.
type Suite struct {
	Open func(t *testing.T) (notify.Channel, Far)
	// Bad are targets that Check refuses.
	Bad []string
	// Vague says that the channel cannot tell a refusal for good from one for now.
	Vague bool
	// Harmless says what a hostile text did to what arrived.
	Harmless func(got string) error
}

// Run runs the suite. Golden files are in the child's testdata, one an edge.
func Run(t *testing.T, s Suite) {
	t.Parallel()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s Suite)
	}{
		{"Edges", edges}, {"Hostile", hostile}, {"Refused", refused}, {"Silent", silent},
		{"Away", away}, {"Targets", targets}, {"Many", many},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, s)
		})
	}
}

// At is when the samples happened.
var at = time.Date(2026, 11, 23, 9, 41, 7, 0, time.UTC)

// Samples are a message of each edge.
func Samples() []notify.Message {
	m := notify.Message{
		Repository: "team/app", Pipeline: "CI", File: ".github/workflows/ci.yml", Branch: "main",
		Run: "4711", Number: 128, Attempt: 1, URL: "https://fairlead.example.org/runs/4711",
		SHA: "4711abcdef0123456789abcdef0123456789abcd", Title: "Weigh the anchor <before> sailing & \"steer\"",
		Actor: "ada", At: at,
	}
	var all []notify.Message
	add := func(edge notify.Edge, change func(*notify.Message)) {
		n := m
		n.Edge = edge
		change(&n)
		all = append(all, n)
	}
	add(notify.Queued, func(n *notify.Message) {})
	add(notify.Approval, func(n *notify.Message) { n.Branch, n.Change = "patch-1", "12" })
	add(notify.Started, func(n *notify.Message) { n.At = at.Add(time.Second) })
	add(notify.Finished, func(n *notify.Message) { n.Verdict, n.Took = plan.Success, 83*time.Second })
	broken := func(n *notify.Message) {
		n.Verdict, n.Why, n.Took = plan.Failure, "test failed", 83*time.Second
		n.Failed = []string{"test (1.26, linux)", "lint"}
		n.Since = at
	}
	add(notify.Broke, broken)
	add(notify.Still, func(n *notify.Message) { broken(n); n.At = at.Add(24 * time.Hour) })
	add(notify.Fixed, func(n *notify.Message) {
		n.Verdict, n.Took, n.Since, n.At, n.Attempt = plan.Success, 80*time.Second, at, at.Add(27*time.Hour), 2
	})
	all = append(all, notify.Message{Edge: notify.Test, Actor: "ada", At: at})
	return all
}

// Hostile are messages of people who want to be more than text.
func Hostile() []notify.Message {
	var all []notify.Message
	for _, text := range []string{
		"<!channel> <!here> <@U123> <https://evil.example|click>",
		"@everyone @channel @all @here",
		"[click](https://evil.example) **bold** `code` # heading ![](https://evil.example/x.png)",
		"<at>everyone</at> <script>alert(1)</script><img src=x onerror=alert(1)>",
		"x\r\nBcc: victim@example.org\r\n\r\n.\r\nRCPT TO:<victim@example.org>\r\n",
		"\x1b[31mred\x1b[0m \u202egnirts\u202c \u200bnothing\x00 \xff\xfe",
		"{{.Secret}} ${{ secrets.X }} %s%n \\u0000 \"},{\"a\":\"",
		"=?utf-8?q?=0D=0ABcc:_victim=40example.org?=",
		strings.Repeat("long ", 2000),
		strings.Repeat("&", 3000),
		strings.Repeat("🛥", 3000),
		"",
	} {
		for _, m := range []notify.Message{Samples()[4], Samples()[1]} {
			m.Repository, m.Pipeline, m.Branch, m.Change = text, text, text, m.Change+text
			m.Why, m.Title, m.Actor, m.SHA = text, text, text, text
			m.Failed = []string{text, text}
			m.URL = "javascript:alert(1)//" + text
			all = append(all, m)
		}
	}
	return all
}

func send(t *testing.T, c notify.Channel, f Far, m notify.Message) error {
	t.Helper()
	return c.Send(t.Context(), f.Target(), &m)
}

func edges(t *testing.T, s Suite) {
	c, far := s.Open(t)
	for _, m := range Samples() {
		if err := send(t, c, far, m); err != nil {
			t.Errorf("%s: %v", m.Edge, err)
			continue
		}
		got := far.Got()
		name := filepath.Join("testdata", strings.ReplaceAll(string(m.Edge), " ", "-")+".golden")
		if *update {
			if err := errors.Join(os.MkdirAll("testdata", 0o777), os.WriteFile(name, []byte(got), 0o666)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("%v; go test -update writes it", err)
		} else if got != string(want) {
			t.Errorf("%s differs from %s (go test -update writes it):\n%s", m.Edge, name, got)
		}
		if err := send(t, c, far, m); err != nil || far.Got() != got {
			t.Errorf("%s: sent again it is another message, or %v", m.Edge, err)
		}
	}
}

func hostile(t *testing.T, s Suite) {
	c, far := s.Open(t)
	for _, m := range Hostile() {
		if err := send(t, c, far, m); err != nil {
			t.Errorf("%.60q: %v", m.Title, err)
			continue
		}
		got := far.Got()
		for _, bad := range []string{"\x1b", "\x00", "\"javascript:"} {
			if strings.Contains(got, bad) {
				t.Errorf("%.60q: %q arrived", m.Title, bad)
			}
		}
		if err := s.Harmless(got); err != nil {
			t.Errorf("%.60q: %v in\n%.3000s", m.Title, err, got)
		}
	}
}

// discreet says what an error tells of a target.
func discreet(far Far, err error) error {
	for _, secret := range far.Secrets() {
		if strings.Contains(fmt.Sprintf("%v %+v %q", err, err, err), secret) {
			return fmt.Errorf("the error holds %q", secret)
		}
	}
	if n := len(err.Error()); n > 1000 {
		return fmt.Errorf("the error is %d bytes long", n)
	}
	return nil
}

func refused(t *testing.T, s Suite) {
	c, far := s.Open(t)
	for _, test := range []struct {
		mood Mood
		name string
		good bool // for good
	}{{Refusing, "refusing", true}, {Busy, "busy", false}, {Gossip, "gossip", true}} {
		far.Play(test.mood)
		err := send(t, c, far, Samples()[4])
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		if errors.Is(err, notify.ErrRefused) != test.good && !s.Vague {
			t.Errorf("%s: errors.Is(%v, ErrRefused) = %v", test.name, err, !test.good)
		}
		if why := discreet(far, err); why != nil {
			t.Errorf("%s: %v: %v", test.name, why, err)
		}
	}
	far.Play(Friendly)
	if err := send(t, c, far, Samples()[4]); err != nil {
		t.Errorf("friendly again: %v", err)
	}
}

func silent(t *testing.T, s Suite) {
	c, far := s.Open(t)
	far.Play(Silent)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		m := Samples()[4]
		done <- c.Send(ctx, far.Target(), &m)
	}()
	<-far.Arrived()
	cancel()
	err := <-done
	if err == nil || errors.Is(err, notify.ErrRefused) {
		t.Fatalf("interrupted: %v", err)
	}
	if why := discreet(far, err); why != nil {
		t.Errorf("%v: %v", why, err)
	}
}

func away(t *testing.T, s Suite) {
	c, far := s.Open(t)
	far.Close()
	err := send(t, c, far, Samples()[4])
	if err == nil || errors.Is(err, notify.ErrRefused) {
		t.Fatalf("nobody is there: %v", err)
	}
	if why := discreet(far, err); why != nil {
		t.Errorf("%v: %v", why, err)
	}
}

func targets(t *testing.T, s Suite) {
	c, far := s.Open(t)
	if err := c.Check(far.Target()); err != nil {
		t.Errorf("Check of a good target: %v", err)
	}
	bad := append([]string{
		"", " ", "no address", "ftp://host/path", "file:///etc/passwd", "javascript:alert(1)", "https://", "http:///path",
		"://", "%zz", strings.Repeat("x", 1<<20), "https://host/" + strings.Repeat("x", 1<<16),
		"gopher://" + strings.Join(far.Secrets(), "/"), far.Target() + "\x00\n", "\x7f" + far.Target(),
	}, s.Bad...)
	for _, target := range bad {
		err := c.Check(target)
		if err == nil {
			t.Errorf("Check(%.80q) = nil", target)
			continue
		}
		if why := discreet(far, err); why != nil {
			t.Errorf("Check(%.80q): %v: %v", target, why, err)
		}
		m := Samples()[4]
		if err = c.Send(t.Context(), target, &m); !errors.Is(err, notify.ErrRefused) {
			t.Errorf("Send to %.80q: %v is no ErrRefused", target, err)
		} else if why := discreet(far, err); why != nil {
			t.Errorf("Send to %.80q: %v: %v", target, why, err)
		}
	}
}

func many(t *testing.T, s Suite) {
	c, far := s.Open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, m := range Samples() {
				if err := c.Send(t.Context(), far.Target(), &m); err != nil {
					t.Errorf("%s: %v", m.Edge, err)
				}
			}
		})
	}
	wg.Wait()
}
