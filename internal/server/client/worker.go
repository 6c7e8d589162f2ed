package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Master is a worker's way to its server. The client's token is a worker's.
func (c *Client) Master() crew.Master { return master{c} }

type master struct{ c *Client }

// session says which process of the worker speaks.
func session(s string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Fairlead-Session", s) }
}

// about is the query of what is about an attempt.
func about(ref crew.Ref) url.Values {
	return url.Values{"run": {ref.Run}, "job": {ref.Job}, "attempt": {strconv.Itoa(ref.Attempt)}}
}

// word is an error in the words of package crew.
func word(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if known := server.Refused(e.Code); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	switch {
	case e.Code == "unusable":
		return &plan.UsageError{Message: e.Message, Hint: e.Hint}
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden, e.Status == http.StatusNotImplemented, e.Code == "redirect":
		return fmt.Errorf("%w: %w", crew.ErrRefused, err)
	}
	return err
}

// tell sends something to the server, and reads the answer into out, unless
// that is nil.
func (m master) tell(ctx context.Context, path, of string, query url.Values, media string, in []byte, out any) error {
	res, err := m.c.send(ctx, http.MethodPost, "/work"+path, query, media, bytes.NewReader(in), session(of))
	if err != nil {
		return word(err)
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", m.c.base.Host, err)
	}
	return nil
}

// tellJSON is tell for what is JSON.
func (m master) tellJSON(ctx context.Context, path, of string, query url.Values, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	return m.tell(ctx, path, of, query, "application/json", data, out)
}

func (m master) Join(ctx context.Context, j crew.Joining) (a crew.Joined, err error) {
	return a, m.tellJSON(ctx, "/join", "", nil, j, &a)
}

func (m master) Poll(ctx context.Context, p crew.Polling) (a crew.Polled, err error) {
	return a, m.tellJSON(ctx, "/poll", "", nil, p, &a)
}

func (m master) Leave(ctx context.Context, of string) error {
	return m.tellJSON(ctx, "/leave", of, nil, struct{}{}, nil)
}

func (m master) Say(ctx context.Context, of string, ref crew.Ref, from int64, entries []byte) (a crew.Heard, err error) {
	q := about(ref)
	q.Set("from", strconv.FormatInt(from, 10))
	return a, m.tell(ctx, "/say", of, q, "application/octet-stream", entries, &a)
}

func (m master) Missing(ctx context.Context, of string, ref crew.Ref, digests []blob.Digest) ([]blob.Digest, error) {
	var a server.Digests
	return a.Digests, m.tellJSON(ctx, "/missing", of, about(ref), server.Digests{Digests: digests}, &a)
}

func (m master) Put(ctx context.Context, of string, ref crew.Ref, d blob.Digest, r io.Reader) error {
	res, err := m.c.send(ctx, http.MethodPut, "/work/blobs/"+escape(string(d)), about(ref), "application/octet-stream", io.NopCloser(r), session(of)) // it is the caller's to close
	if err != nil {
		return word(err)
	}
	return res.Body.Close()
}

func (m master) Blob(ctx context.Context, of string, ref crew.Ref, d blob.Digest) (io.ReadCloser, error) {
	res, err := m.c.send(ctx, http.MethodGet, "/work/blobs/"+escape(string(d)), about(ref), "", nil, session(of))
	if err != nil {
		return nil, word(err)
	}
	return res.Body, nil
}

func (m master) Bundle(ctx context.Context, of string, ref crew.Ref, have []string) (io.ReadCloser, error) {
	data, err := json.Marshal(map[string][]string{"have": have})
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	res, err := m.c.send(ctx, http.MethodPost, "/work/bundle", about(ref), "application/json", bytes.NewReader(data), session(of))
	if err != nil {
		return nil, word(err)
	}
	return res.Body, nil
}
