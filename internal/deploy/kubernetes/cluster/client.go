// Package cluster is a small client of the Kubernetes interface: it finds out
// how to speak to a cluster, and reads, applies, follows and deletes things of
// any kind.
//
// What it changes, it changes by server-side apply: the server merges what is
// declared with what others have set, remembers who set which field, and refuses to let
// one take a field from another unasked. All that is done over HTTP with the
// standard library alone.
package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// Limits of a conversation.
const (
	maxAnswer   = 64 << 20 // bytes of one answer
	pageSize    = 500      // things of one page of a list
	maxListed   = 50_000   // things of one list
	maxAttempts = 6        // of one request
	maxPause    = 30 * time.Second
	answerTime  = 60 * time.Second // until the head of an answer is there
)

// Client speaks to one cluster. It is safe for several goroutines.
type Client struct {
	Config   *Config
	http     *http.Client
	identity *identity

	mu    sync.Mutex
	kinds map[string]map[string]Resource // by group and version, then kind
}

// New makes a client. Nothing is sent yet.
func New(c *Config) *Client {
	i := &identity{config: c}
	secure := c.tls.Clone()
	if c.user.Exec != nil && len(secure.Certificates) == 0 {
		secure.GetClientCertificate = i.present
	}
	proxy := http.ProxyFromEnvironment
	if c.proxy != nil {
		proxy = http.ProxyURL(c.proxy)
	}
	return &Client{
		Config:   c,
		identity: i,
		kinds:    map[string]map[string]Resource{},
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 proxy,
				DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
				TLSClientConfig:       secure,
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: answerTime,
				ForceAttemptHTTP2:     true,
				MaxIdleConnsPerHost:   8,
				IdleConnTimeout:       90 * time.Second,
			},
			// An API server sends nobody elsewhere; a token would go with it.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one question to the server.
type request struct {
	method      string
	path        string
	query       url.Values
	contentType string
	body        []byte
	accept      string
}

// Error is a server's answer that is no success.
type Error struct {
	Method, Path string
	Code         int    // of HTTP
	Reason       string // Kubernetes' own word: NotFound, Conflict, Invalid …
	Message      string
	Causes       []Cause
	after        time.Duration // the server wants to be asked again then
	said         bool          // it did say when
}

// Cause is one of the things that a server found wrong.
type Cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Field   string `json:"field"` // spec.template.spec.containers[0].image
}

// Error is the server's message, and what was asked where it does not say so.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s %s: the cluster answers %d %s", e.Method, e.Path, e.Code, cmp.Or(e.Reason, http.StatusText(e.Code)))
	}
	return e.Message
}

// Reason is Kubernetes' own word for what an error of the server's is about; "" for
// other errors.
func Reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// NotFound reports whether the error says that a thing is not there.
func NotFound(err error) bool { return code(err) == http.StatusNotFound }

// Gone reports whether the error says that the server has forgotten the state that
// the question was about.
func Gone(err error) bool { return code(err) == http.StatusGone }

func code(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Claim is a field that somebody else holds.
type Claim struct{ Field, Manager string }

// Claims are the fields that kept an Apply from taking effect, and who set them last;
// none when the error is another.
func Claims(err error) []Claim {
	var e *Error
	if !errors.As(err, &e) || e.Code != http.StatusConflict {
		return nil
	}
	var list []Claim
	for _, c := range e.Causes {
		if c.Reason != "FieldManagerConflict" {
			continue
		}
		// conflict with "kubectl" with subresource "scale" using apps/v1
		manager := c.Message
		if parts := strings.SplitN(c.Message, `"`, 3); len(parts) == 3 {
			manager = parts[1]
		}
		list = append(list, Claim{Field: strings.TrimPrefix(c.Field, "."), Manager: manager})
	}
	return list
}

// do asks and reads the whole answer. Every question may be asked twice: what changes
// something is an apply, a deletion of what is named, or a test-and-set.
func (c *Client) do(ctx context.Context, r request) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		data, err := c.once(ctx, r)
		if err == nil {
			return data, nil
		}
		wait, again := c.again(ctx, err, attempt)
		if !again {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// again says whether a question that failed so is asked once more, and when.
func (c *Client) again(ctx context.Context, err error, attempt int) (time.Duration, bool) {
	if attempt >= maxAttempts || ctx.Err() != nil {
		return 0, false
	}
	// From 0.1 s on, twice as long each time, and not all at once.
	pause := 100 * time.Millisecond << (attempt - 1)
	pause += rand.N(pause / 2)
	var e *Error
	if errors.As(err, &e) {
		switch {
		case e.Code == http.StatusUnauthorized && attempt == 1:
			return 0, c.identity.refused()
		case e.Code == http.StatusTooManyRequests || e.Code == http.StatusServiceUnavailable || e.Code == http.StatusBadGateway || e.Code == http.StatusGatewayTimeout:
			return min(max(pause, e.after), maxPause), true
		case e.Code == http.StatusInternalServerError:
			return min(max(pause, e.after), maxPause), e.said
		}
		return 0, false
	}
	var connection *url.Error
	if !errors.As(err, &connection) {
		return 0, false
	}
	var certificate *tls.CertificateVerificationError
	return pause, !errors.As(err, &certificate)
}

func (c *Client) once(ctx context.Context, r request) ([]byte, error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, &url.Error{Op: r.method, URL: r.path, Err: err}
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", r.method, r.path, maxAnswer)
	}
	return data, nil
}

// send asks, and hands back an answer that is a success. The caller closes its body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	address := c.Config.Server + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	q, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if len(r.body) == 0 {
		q.Body, q.GetBody, q.ContentLength = nil, nil, 0
	}
	if err := c.identity.sign(ctx, q.Header); err != nil {
		return nil, err
	}
	q.Header.Set("Accept", cmp.Or(r.accept, "application/json"))
	q.Header.Set("User-Agent", Manager)
	if r.contentType != "" {
		q.Header.Set("Content-Type", r.contentType)
	}
	answer, err := c.http.Do(q)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what came of it has to do
	e := failure(answer.StatusCode, data)
	e.Method, e.Path = r.method, r.path
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		e.after, e.said = time.Duration(seconds)*time.Second, true
	}
	return nil, e
}

// failure reads a Status: what Kubernetes answers when it does not do something.
func failure(code int, data []byte) *Error {
	var s struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
		Reason  string `json:"reason"`
		Code    int    `json:"code"`
		Details struct {
			Causes            []Cause `json:"causes"`
			RetryAfterSeconds int     `json:"retryAfterSeconds"`
		} `json:"details"`
	}
	if json.Unmarshal(data, &s) != nil || s.Kind != "Status" {
		// Something in between answered.
		return &Error{Code: code}
	}
	return &Error{
		Code: cmp.Or(code, s.Code), Reason: s.Reason, Message: s.Message, Causes: s.Details.Causes,
		after: time.Duration(s.Details.RetryAfterSeconds) * time.Second, said: s.Details.RetryAfterSeconds > 0,
	}
}

// Resource is a kind as the server serves it.
type Resource struct {
	object.Kind
	Plural     string // the last part of its path: deployments
	Namespaced bool
	Verbs      []string
}

// Can reports whether the server offers a verb for the kind: "list", "delete".
func (r Resource) Can(verb string) bool { return slices.Contains(r.Verbs, verb) }

// path is where things of the kind are.
func (r Resource) path(namespace, name string) string {
	var b strings.Builder
	if r.Group == "" {
		b.WriteString("/api/" + url.PathEscape(r.Version))
	} else {
		b.WriteString("/apis/" + url.PathEscape(r.Group) + "/" + url.PathEscape(r.Version))
	}
	if r.Namespaced && namespace != "" {
		b.WriteString("/namespaces/" + url.PathEscape(namespace))
	}
	b.WriteString("/" + r.Plural)
	if name != "" {
		b.WriteString("/" + url.PathEscape(name))
	}
	return b.String()
}

// ErrUnknownKind says that the server has no such kind.
var ErrUnknownKind = errors.New("the cluster does not know this kind")

// Resource asks the server how it serves a kind. The error wraps [ErrUnknownKind]
// when it does not.
func (c *Client) Resource(ctx context.Context, k object.Kind) (Resource, error) {
	known, err := c.group(ctx, k.Group, k.Version, false)
	if err != nil {
		return Resource{}, err
	}
	r, ok := known[k.Kind]
	if !ok {
		// A definition may have come since.
		if known, err = c.group(ctx, k.Group, k.Version, true); err != nil {
			return Resource{}, err
		}
		if r, ok = known[k.Kind]; !ok {
			return Resource{}, fmt.Errorf("%s: %w", k, ErrUnknownKind)
		}
	}
	return r, nil
}

// group lists the kinds of a group in one version; none when the server has no such group.
func (c *Client) group(ctx context.Context, group, version string, anew bool) (map[string]Resource, error) {
	if version == "" || strings.Contains(version, "/") {
		return nil, nil
	}
	key := group + "/" + version
	c.mu.Lock()
	known, ok := c.kinds[key]
	c.mu.Unlock()
	if ok && !anew {
		return known, nil
	}
	path := "/apis/" + url.PathEscape(group) + "/" + url.PathEscape(version)
	if group == "" {
		path = "/api/" + url.PathEscape(version)
	}
	data, err := c.do(ctx, request{method: http.MethodGet, path: path})
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the cluster for its kinds of %s: %w", strings.TrimPrefix(key, "/"), err)
	}
	var list struct {
		Resources []struct {
			Name       string   `json:"name"`
			Kind       string   `json:"kind"`
			Namespaced bool     `json:"namespaced"`
			Verbs      []string `json:"verbs"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("ask the cluster for its kinds of %s: %w", strings.TrimPrefix(key, "/"), err)
	}
	known = map[string]Resource{}
	for _, r := range list.Resources {
		if strings.Contains(r.Name, "/") {
			continue // a part of a thing, such as its scale
		}
		known[r.Kind] = Resource{Kind: object.Kind{Group: group, Version: version, Kind: r.Kind}, Plural: r.Name, Namespaced: r.Namespaced, Verbs: r.Verbs}
	}
	c.mu.Lock()
	c.kinds[key] = known
	c.mu.Unlock()
	return known, nil
}

// Version is what the server calls itself: v1.34.4.
func (c *Client) Version(ctx context.Context) (string, error) {
	data, err := c.do(ctx, request{method: http.MethodGet, path: "/version"})
	if err != nil {
		return "", fmt.Errorf("ask the cluster for its version: %w", err)
	}
	o, err := object.Parse(data)
	if err != nil {
		return "", fmt.Errorf("ask the cluster for its version: %w", err)
	}
	return o.Text("gitVersion"), nil
}
