// Package probe asks the world outside whether a release is sound: its instances, by HTTP, gRPC,
// TCP, a command or a load of requests, and Prometheus.
//
// A probe asks once and says what it found, in words that a person understands without the
// log: whom it asked what, what came, and what should have come. How often it is asked, and
// from when on an answer counts, is the rollout's business.
//
// Whatever answers may be broken or hostile: what is read is bounded, nothing is followed
// elsewhere, and nothing waits longer than its context. Commands run in a process group of
// their own, and with them die the processes that they have started.
//
// A load is offered at a constant rate, whether answers come or not, and each request's time
// counts from when it was due. A server that stops for a second is so seen with all the requests
// that came in that second, and not with the one that happened to wait.
package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of a check.
const (
	// patience is how long a question waits whose context has no end, and is the longest that one request does.
	patience = 10 * time.Second
	// maxBody is how much of an answer is read.
	maxBody = 1 << 20
	// atOnce is how many instances are asked at a time.
	atOnce = 16
	// maxSaid is how much is repeated of what somebody said, in bytes.
	maxSaid = 200
)

// Probe implements [deploy.Outside]. It holds connections; make one with [New] and keep it.
type Probe struct {
	// Env looks up the variables that hold what Prometheus wants to see: see [Probe.Query].
	env     func(string) string
	plain   *http.Client // no connection is kept: each check meets the instance as a new client does
	h2c     *http.Client
	h2      *http.Client
	metrics *http.Client
}

var _ deploy.Outside = (*Probe)(nil)

// New is a probe that finds variables by env: os.Getenv.
func New(env func(string) string) *Probe {
	here := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	dial := (&net.Dialer{Timeout: patience}).DialContext
	var clear, sealed http.Protocols
	clear.SetUnencryptedHTTP2(true)
	sealed.SetHTTP2(true)
	// A check does not ask who answers, which is known by the address, and sends no secret; instances have
	// certificates of the name that the world knows.
	anyone := &tls.Config{InsecureSkipVerify: true} //nolint:gosec
	return &Probe{
		env:     env,
		plain:   &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: anyone}, CheckRedirect: here},
		h2c:     &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, Protocols: &clear}, CheckRedirect: here},
		h2:      &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, Protocols: &sealed, TLSClientConfig: anyone}, CheckRedirect: here},
		metrics: &http.Client{Transport: &http.Transport{DialContext: dial, Proxy: http.ProxyFromEnvironment, MaxIdleConns: 4, IdleConnTimeout: time.Minute}, CheckRedirect: here},
	}
}

// Check asks each of the instances once. What a command printed may be in the answer:
// whoever shows it masks it.
func (p *Probe) Check(ctx context.Context, c plan.Check, at []deploy.Instance, env map[string]string, dir string) record.Evidence {
	ask, err := p.question(c, env, dir)
	switch {
	case err != nil:
		return evidence(false, "%s: %v", c.Name, err)
	case len(at) == 0:
		return evidence(false, "%s: there is no instance to ask", c.Name)
	case c.Load != nil:
		return p.load(ctx, c, at)
	}
	said := make([]error, len(at))
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range at {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if at[i].Address == "" && c.Command == "" {
				said[i] = errors.New("it has no address")
				return
			}
			said[i] = ask(ctx, at[i].Address)
		})
	}
	all.Wait()
	good := 0
	var bad []string
	for i, err := range said {
		if err == nil {
			good++
			continue
		}
		const most = 3
		if len(bad) < most {
			bad = append(bad, fmt.Sprintf("%s: %v", cmp.Or(at[i].Name, at[i].Address), err))
		}
	}
	if len(bad) == 0 {
		return evidence(true, "%s: %s", c.Name, instances(good, "passes", "pass"))
	}
	slices.Sort(bad)
	text := strings.Join(bad, "; ")
	if more := len(at) - good - len(bad); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return evidence(false, "%s: %d of %s: %s", c.Name, len(at)-good, instances(len(at), "does not pass", "do not pass"), text)
}

func evidence(ok bool, format string, args ...any) record.Evidence {
	return record.Evidence{OK: ok, Text: fmt.Sprintf(format, args...), Time: time.Now().UTC()}
}

func instances(n int, one, many string) string {
	if n == 1 {
		return "1 instance " + one
	}
	return fmt.Sprintf("%d instances %s", n, many)
}

// question is what a check asks one instance; nil of a load.
func (p *Probe) question(c plan.Check, env map[string]string, dir string) (func(ctx context.Context, address string) error, error) {
	switch {
	case c.HTTP != nil:
		return p.http(c.HTTP)
	case c.GRPC != nil:
		return func(ctx context.Context, address string) error { return p.grpc(ctx, address, c.GRPC.Service) }, nil
	case c.TCP:
		return tcp, nil
	case c.Command != "":
		return func(ctx context.Context, address string) error { return p.command(ctx, c.Command, address, env, dir) }, nil
	case c.Load != nil:
		return nil, loadable(c.Load)
	}
	return nil, errors.New("the check asks nothing")
}

func tcp(ctx context.Context, address string) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p *Probe) http(c *plan.HTTPCheck) (func(ctx context.Context, address string) error, error) {
	var wanted *regexp.Regexp
	if c.Body != "" {
		var err error
		if wanted, err = regexp.Compile(c.Body); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	method := cmp.Or(c.Method, http.MethodGet)
	return func(ctx context.Context, address string) error {
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		r, err := request(ctx, method, address, c.Path, c.Header)
		if err != nil {
			return err
		}
		answer, err := p.plain.Do(r)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, c.Path, unwrapped(err))
		}
		defer func() { _ = answer.Body.Close() }()
		if want := c.Status; want != 0 && answer.StatusCode != want {
			return fmt.Errorf("%s %s: the status is %s, not %d", method, c.Path, status(answer), want)
		} else if want == 0 && (answer.StatusCode < 200 || answer.StatusCode > 399) {
			return fmt.Errorf("%s %s: the status is %s", method, c.Path, status(answer))
		}
		if wanted == nil {
			return nil
		}
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
		if err != nil {
			return fmt.Errorf("%s %s: read the answer: %w", method, c.Path, err)
		}
		if !wanted.Match(body) {
			return fmt.Errorf("%s %s: the answer does not match %s: %s", method, c.Path, c.Body, clip(body))
		}
		return nil
	}, nil
}

// request is one to an instance; the path may have a query.
func request(ctx context.Context, method, address, path string, header map[string]string) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %q: %w", path, err)
	}
	r.Header.Set("User-Agent", "fairlead-check")
	for name, value := range header {
		if strings.EqualFold(name, "Host") {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	return r, nil
}

func status(r *http.Response) string {
	return cmp.Or(strings.TrimSpace(r.Status), fmt.Sprint(r.StatusCode))
}

// unwrapped is the error without the method and address that net/http puts before it.
func unwrapped(err error) error {
	var u interface{ Unwrap() error }
	if errors.As(err, &u) && u.Unwrap() != nil && strings.Contains(err.Error(), "://") {
		err = u.Unwrap()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// clip is the beginning of what somebody said, on one line.
func clip(said []byte) string {
	said = bytes.TrimSpace(said)
	more := len(said) > maxSaid
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(said[:min(len(said), maxSaid)]), "?")), " ")
	if more {
		text += "…"
	}
	if text == "" {
		return "it is empty"
	}
	return fmt.Sprintf("%q", text)
}
