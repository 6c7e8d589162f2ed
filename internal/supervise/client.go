package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks a host. Its errors wrap those that the host answers with.
type Client struct{ http *http.Client }

// maxAnswer is the largest answer that is read, in bytes.
const maxAnswer = 64 << 20

// Dial makes a client that reaches the host by a function: over SSH, for one.
func Dial(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:    4,
		IdleConnTimeout: 10 * time.Second,
	}}}
}

// Local makes a client of the host of a directory on this machine.
func Local(dir string) *Client {
	return Dial(func(ctx context.Context) (net.Conn, error) {
		name, done, err := socketFile(dir)
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", name)
	})
}

// Socket is the path of the socket of a directory's host.
func Socket(dir string) string { return strings.TrimSuffix(dir, "/") + "/control/socket" }

// Close ends the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// answerError is an error that a host has answered with.
type answerError struct {
	text string
	kind error
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.kind }

// endingTries is how often somebody is asked who ends, before that is an error: its
// successor takes over in the meantime.
const endingTries = 50

// ask sends a request with a body of JSON and reads the answer. While one host follows
// on another it asks again.
func (c *Client) ask(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := c.once(ctx, method, path, bytes.NewReader(data), into)
		if !errors.Is(err, ErrEnding) || try == endingTries {
			return err
		}
		c.Close() // the next connection may be the successor's
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, body io.Reader, into any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	} else {
		err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into)
	}
	if err != nil {
		return fmt.Errorf("read the host's answer: %w", err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the host: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f); err != nil || f.Error == "" {
		f.Error = "the host answered with " + resp.Status
	}
	return nil, &answerError{f.Error, kinds()[resp.Header.Get(kindHeader)]}
}

// Status is [Host.Status].
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Target is [Host.Target].
func (c *Client) Target(ctx context.Context, name string) (s Seen, err error) {
	return s, c.ask(ctx, http.MethodGet, "/v1/targets/"+url.PathEscape(name), nil, &s)
}

// Counts is [Host.Counts].
func (c *Client) Counts(ctx context.Context, name string) (t Traffic, err error) {
	return t, c.ask(ctx, http.MethodGet, "/v1/targets/"+url.PathEscape(name)+"/counts", nil, &t)
}

// Check is [Host.Check].
func (c *Client) Check(ctx context.Context, o Order) (all []Trouble, err error) {
	return all, c.ask(ctx, http.MethodPost, "/v1/check", o, &all)
}

// Drift is [Host.Drift].
func (c *Client) Drift(ctx context.Context, o Order) (all []Difference, err error) {
	return all, c.ask(ctx, http.MethodPost, "/v1/drift", o, &all)
}

// Ensure is [Host.Ensure].
func (c *Client) Ensure(ctx context.Context, o Order) error {
	return c.ask(ctx, http.MethodPost, "/v1/ensure", o, nil)
}

// Shift is [Host.Shift].
func (c *Client) Shift(ctx context.Context, who Target, shares []Share) error {
	return c.ask(ctx, http.MethodPost, "/v1/shift", changeRequest{Target: who, Shares: shares}, nil)
}

// Remove is [Host.Remove].
func (c *Client) Remove(ctx context.Context, who Target, number int) error {
	return c.ask(ctx, http.MethodPost, "/v1/remove", changeRequest{Target: who, Number: number}, nil)
}

// Put is [Host.Put].
func (c *Client) Put(ctx context.Context, a Artifact, from io.Reader) error {
	q := url.Values{"kind": {a.Kind}, "name": {a.Name}, "digest": {a.Digest}, "size": {strconv.FormatInt(a.Size, 10)}}
	return c.once(ctx, http.MethodPut, "/v1/releases?"+q.Encode(), from, nil)
}

// Logs is [Host.Logs]; who calls it closes the reader.
func (c *Client) Logs(ctx context.Context, instance string, last int64) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, fmt.Sprintf("/v1/logs/%s?last=%d", url.PathEscape(instance), last), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Upgrade is [Host.Upgrade].
func (c *Client) Upgrade(ctx context.Context, program []string) error {
	return c.once(ctx, http.MethodPost, "/v1/upgrade", strings.NewReader(asText(upgradeRequest{Program: program})), nil)
}

// Stop is [Host.Stop].
func (c *Client) Stop(ctx context.Context, instances bool) error {
	return c.once(ctx, http.MethodPost, "/v1/stop?instances="+strconv.FormatBool(instances), nil, nil)
}
