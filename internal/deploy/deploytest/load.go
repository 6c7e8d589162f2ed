package deploytest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what many users do at a time with a [Webapp]: pages, forms, slow answers and
// upgraded connections, over connections that are kept. It never asks a second time, so
// every failure is one that a user would have seen.
type Load struct {
	address string
	client  *http.Client
	stop    context.CancelFunc
	all     sync.WaitGroup

	Gets, Posts, Slows, Tunnels atomic.Int64 // that were answered as they should

	mu       sync.Mutex
	failures []string
	versions map[string]int
}

// maxFailures is how many failures are kept.
const maxFailures = 20

// loadTime is how long a user waits for an answer.
const loadTime = 20 * time.Second

// NewLoad begins to ask the service at an address, with so many users of each kind.
func NewLoad(ctx context.Context, address string, users int) *Load {
	ctx, stop := context.WithCancel(ctx)
	l := &Load{address: address, stop: stop, versions: map[string]int{},
		client: &http.Client{Timeout: loadTime, Transport: &http.Transport{MaxIdleConnsPerHost: 4 * users}}}
	for range users {
		l.user(ctx, &l.Gets, l.get)
		l.user(ctx, &l.Posts, l.post)
		l.user(ctx, &l.Slows, l.slow)
		l.user(ctx, &l.Tunnels, l.tunnel)
	}
	return l
}

// user does one thing over and over until the load ends. What is under way then is
// brought to its end.
func (l *Load) user(ctx context.Context, count *atomic.Int64, once func() error) {
	l.all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := once(); err != nil {
				l.fail(err)
			} else {
				count.Add(1)
			}
			select { // a user thinks
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < maxFailures {
		l.failures = append(l.failures, time.Now().Format("05.000 ")+err.Error())
	}
}

func (l *Load) get() error {
	body, err := l.ask(http.MethodGet, "/", nil)
	if err == nil {
		l.mu.Lock()
		l.versions[body]++
		l.mu.Unlock()
	}
	return err
}

func (l *Load) post() error {
	form := strings.Repeat("order ", 200)
	body, err := l.ask(http.MethodPost, "/echo", []byte(form))
	if err == nil && body != form {
		err = fmt.Errorf("POST /echo: %d bytes were sent and %d came back", len(form), len(body))
	}
	return err
}

func (l *Load) slow() error {
	body, err := l.ask(http.MethodGet, "/slow", nil)
	if err == nil && !strings.HasPrefix(body, "wait ") {
		err = fmt.Errorf("GET /slow: %q", body)
	}
	return err
}

func (l *Load) ask(method, path string, form []byte) (string, error) {
	var in io.Reader
	if form != nil {
		// A body that cannot be had again: the client's own library sends it once.
		in = io.MultiReader(bytes.NewReader(form))
	}
	req, err := http.NewRequest(method, "http://"+l.address+path, in)
	if err != nil {
		return "", err
	}
	req.ContentLength = int64(len(form))
	resp, err := l.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w after %q", method, path, err, body)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %.100q", method, path, resp.Status, body)
	}
	return string(body), nil
}

// tunnel is a connection that lives for a second and a half, and must not break.
func (l *Load) tunnel() (err error) {
	c, err := net.DialTimeout("tcp", l.address, loadTime)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	defer c.Close()
	defer func() {
		if err != nil {
			err = fmt.Errorf("upgrade: %w", err)
		}
	}()
	if err := c.SetDeadline(time.Now().Add(loadTime)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n", l.address); err != nil {
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
	for i := range 15 {
		line := fmt.Sprintf("line %d\n", i)
		if i == 14 {
			line = "bye\n"
		}
		if _, err := io.WriteString(c, line); err != nil {
			return err
		}
		if back, err := in.ReadString('\n'); err != nil || back != line {
			return fmt.Errorf("%q came back as %q: %w", line, back, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

// Stop ends the load, and returns the failures when all that was under way has ended.
func (l *Load) Stop() []string {
	l.stop()
	l.all.Wait()
	l.client.CloseIdleConnections()
	return l.Failures()
}

// Failures are those until now.
func (l *Load) Failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

// Versions are how many pages each version has answered.
func (l *Load) Versions() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.versions)
}

// String is how much was done, for the log of a test.
func (l *Load) String() string {
	return fmt.Sprintf("%d pages, %d forms, %d slow answers, %d upgraded connections", l.Gets.Load(), l.Posts.Load(), l.Slows.Load(), l.Tunnels.Load())
}
