// Package client asks a Fairlead server what its API offers: it is what the verbs
// of the command line use when they are about a server.
//
// The types are the server's own, and so are the words of its errors ([Error]). A
// client keeps to the address that it was given: it follows no redirect, so its
// token goes nowhere else. Reads that break off (a log that is followed, a
// stream of notices) go on where they were.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxAnswer is the size of the largest answer that is read into memory.
	maxAnswer = 64 << 20
	// maxLine is that of the longest line of a stream.
	maxLine = 16 << 20
	// answerWithin is how long a server may take to begin to answer.
	answerWithin = 60 * time.Second
	// tries is how often in a row a stream may break without anything new.
	tries = 10
)

// Client asks one server. It may be used by many goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New makes a client of the server at an address like https://ci.example.org. The
// token is one from the server's page Tokens; "" asks as nobody.
func New(address, token string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("the server's address is not like https://ci.example.org")
	}
	if u.User != nil {
		return nil, errors.New("the server's address holds a name or a password: give the token by --token-file or FAIRLEAD_TOKEN")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the token is none: it holds blanks or other characters that no token has")
	}
	return &Client{
		base: &url.URL{Scheme: u.Scheme, Host: u.Host}, token: token,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
				TLSHandshakeTimeout:   15 * time.Second,
				ResponseHeaderTimeout: answerWithin,
				MaxIdleConnsPerHost:   4,
				IdleConnTimeout:       90 * time.Second,
				ForceAttemptHTTP2:     true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Error is what a server says when it does not do what it was asked.
type Error struct {
	Status  int
	Code    string // stable: "not_found"
	Message string
	Hint    string
	Request string // ID in the server's log, when it is the server's fault
}

func (e *Error) Error() string {
	s := e.Message
	if e.Request != "" {
		s += fmt.Sprintf(" (request %s in the server's log)", e.Request)
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// send sends a request and returns the answer when it is a good one. Its body is the
// caller's to close.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, media string, body io.Reader, options ...func(*http.Request)) (*http.Response, error) {
	// The path is escaped by whoever made it.
	to, err := c.base.Parse("/api/v1" + path)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	to.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", media)
	}
	for _, o := range options {
		o(r)
	}
	res, err := c.http.Do(r)
	if err != nil {
		var wrapped *url.Error // holds the whole address, of no use to anybody
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("ask %s: %w", c.base.Host, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.refused(res)
}

// refused is the error of an answer that is not a good one.
func (c *Client) refused(res *http.Response) error {
	e := &Error{Status: res.StatusCode}
	if to := res.Header.Get("Location"); to != "" && res.StatusCode/100 == 3 {
		e.Code, e.Message = "redirect", fmt.Sprintf("%s wants to be asked at another address", c.base.Host)
		if u, err := c.base.Parse(to); err == nil {
			e.Hint = "use the address " + u.Scheme + "://" + u.Host
		}
		return e
	}
	var body struct {
		Error struct{ Code, Message, Hint, Request string }
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media == "application/json" {
		// What cannot be read is told below by its status.
		_ = json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&body)
	}
	e.Code, e.Message, e.Hint, e.Request = body.Error.Code, body.Error.Message, body.Error.Hint, body.Error.Request
	if e.Message == "" {
		e.Code, e.Message, e.Hint = "status", fmt.Sprintf("%s answered %s", c.base.Host, res.Status), "is there a Fairlead server at this address?"
	}
	return e
}

// ask sends in as JSON, unless it is nil, and reads the answer into out, unless
// that is nil.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the server: %w", err)
		}
		body = bytes.NewReader(data)
	}
	res, err := c.send(ctx, method, path, query, "application/json", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil || res.StatusCode == http.StatusNoContent {
		_, err := io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection can be used again
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "application/json" {
		return &Error{Status: res.StatusCode, Code: "media", Message: fmt.Sprintf("%s did not answer with JSON", c.base.Host), Hint: "is there a Fairlead server at this address?"}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base.Host, err)
	}
	return nil
}

// get reads a view.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (v T, err error) {
	return v, c.ask(ctx, http.MethodGet, path, query, nil, &v)
}

// post does an act that has an answer.
func post[T any](ctx context.Context, c *Client, path string, in any) (v T, err error) {
	return v, c.ask(ctx, http.MethodPost, path, nil, in, &v)
}

// escape writes a name, which may hold slashes, as a part of a path.
func escape(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// only is a query of those parameters that have a value.
func only(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// passing reports whether an error may be gone when one tries again.
func passing(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status == http.StatusTooManyRequests || e.Status >= 500 && e.Status != http.StatusNotImplemented
	}
	return true
}

// pause waits before the n-th try, or until ctx ends.
func pause(ctx context.Context, n int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(time.Duration(1<<min(n, 10))*100*time.Millisecond, 10*time.Second)):
		return nil
	}
}
