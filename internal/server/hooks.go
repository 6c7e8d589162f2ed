package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// hookSecret is the name in the vault of what a repository's code host signs with.
	hookSecret = "$HOOK"
	// bigHook is the size from which deliveries are read few at a time, so that
	// many of the largest do not fill the memory.
	bigHook  = 1 << 20
	bigHooks = 16
	// A repository's deliveries: far more than any code host makes.
	hookEvery = time.Second / 2000
	hookBurst = 10_000
	// hookWithin is how long a delivery may take to be written down.
	hookWithin = 10 * time.Second
)

// Delivered is the answer to a code host.
type Delivered struct {
	Seq int64 `json:"seq,omitempty"` // of the event that holds it
	// Duplicate says that it had been delivered before: nothing happens again.
	// That is no error: a host that did not hear our answer asks once more, and some
	// give up on an address that answers with errors.
	Duplicate bool `json:"duplicate,omitempty"`
}

// hookRoutes are what machines ask that have no account: code hosts, and whoever
// watches over the server.
func (s *Server) hookRoutes() []route {
	rows := []route{
		{Method: "POST", Path: "/hooks/{repository...}", Open: "a code host proves itself by its signature", Faces: rootOnly, MaxBody: forge.MaxBody, Do: stream(s.hook),
			Says: "A delivery of a code host.", Status: http.StatusAccepted},
		{Method: "GET", Path: "/healthz", Open: "it says only that the process answers", Faces: rootOnly, Do: stream(s.healthy)},
		{Method: "GET", Path: "/readyz", Open: "it says only whether the record can be read", Faces: rootOnly, Do: stream(s.ready)},
	}
	if s.Issuer == nil {
		return rows
	}
	return append(rows,
		route{Method: "GET", Path: access.DiscoveryPath, Open: "whoever is shown a job's ID token asks here who signed it", Faces: rootOnly, Do: stream(s.discovery),
			Says: "What the issuer of ID tokens is (OpenID Connect Discovery)."},
		route{Method: "GET", Path: access.IssuerKeysPath, Open: "whoever is shown a job's ID token checks it with these public keys", Faces: rootOnly, Do: stream(s.issuerKeys),
			Says: "The public keys of ID tokens, as a JSON Web Key Set."})
}

// discovery says what the issuer of ID tokens is.
func (s *Server) discovery(w http.ResponseWriter, _ *request) error {
	return public(w, s.Issuer.Discover())
}

// issuerKeys are what ID tokens are checked with.
func (s *Server) issuerKeys(w http.ResponseWriter, r *request) error {
	keys, err := s.Issuer.Keys(r.Context())
	if err != nil {
		return err
	}
	return public(w, keys)
}

// public answers with what everybody may keep for a while.
func public(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	return json.NewEncoder(w).Encode(v)
}

// errForged is the answer to all deliveries that are not believed, whatever is
// wrong with them: nobody learns here which repositories there are.
var errForged = &Problem{Status: http.StatusUnauthorized, Code: "signature", Message: "the delivery is not signed as this address expects it", Hint: "set the hook's secret to that of the repository here"}

// hook takes a delivery: it is believed, then written down, then answered. What
// it means is found out afterwards, by the desk.
func (s *Server) hook(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readWithin+hookWithin)
	defer cancel()
	name := r.PathValue("repository")
	if r.ContentLength < 0 || r.ContentLength > bigHook {
		select {
		case s.hooks.big <- struct{}{}:
			defer func() { <-s.hooks.big }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	body, err := readBody(r.Body, r.ContentLength)
	if err != nil {
		return err
	}
	d := forge.Received(r.Header, body)
	if err := s.verify(ctx, name, d); err != nil {
		if errors.Is(err, forge.ErrForged) {
			s.Log.LogAttrs(ctx, slog.LevelWarn, "delivery refused", slog.String("request", r.ID), slog.String("repository", name), slog.String("from", r.Who.From))
			return errForged
		}
		return err
	}
	if wait := s.hooks.rates.take(name, s.Now()); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		return problem(http.StatusTooManyRequests, "too_many", "", "%s delivers more than %d times a second", name, time.Second/hookEvery)
	}
	d.Header = d.Kept() // not what proved it
	seq, fresh, err := s.Desk.Deliver(ctx, name, d, r.Who.From)
	if err != nil {
		return err
	}
	if !fresh {
		writeJSON(w, http.StatusOK, Delivered{Seq: seq, Duplicate: true})
		return nil
	}
	writeJSON(w, http.StatusAccepted, Delivered{Seq: seq})
	return nil
}

// verify finds out whether a delivery comes from somebody who knows the
// repository's secret. The error is a forge.ErrForged as well when there is no such
// repository, after the same work.
func (s *Server) verify(ctx context.Context, name string, d *forge.Delivery) error {
	if s.Desk == nil || s.Vault == nil {
		return lacking("repositories")
	}
	repo, err := s.Desk.Repository(ctx, name)
	var use *plan.UsageError
	known := err == nil
	if err != nil && !errors.As(err, &use) && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	host := s.Forges[repo.Forge]
	var secret string
	if known && host != nil {
		if secret, _, err = s.Vault.Internal(ctx, name, hookSecret); err != nil {
			return err
		}
	}
	if secret == "" { // nobody knows this one
		for _, other := range s.Forges {
			_ = other.Verify(d, []byte(rand.Text()))
			break
		}
		return forge.ErrForged
	}
	return host.Verify(d, []byte(secret))
}

// readBody reads a body into one piece of memory when its size is known.
func readBody(r io.Reader, size int64) ([]byte, error) {
	if size < 0 || size > forge.MaxBody {
		return io.ReadAll(r)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(r, body)
	return body, err
}

// healthy says that the process answers.
func (s *Server) healthy(w http.ResponseWriter, _ *request) error {
	writeJSON(w, http.StatusOK, json.RawMessage(`{"status":"ok"}`))
	return nil
}

// ready says whether requests are of use: the record can be read, and the
// server does not stop.
func (s *Server) ready(w http.ResponseWriter, r *request) error {
	r.API = true
	if s.life.Err() != nil || s.leaving.Load() {
		return problem(http.StatusServiceUnavailable, "stopping", "", "the server is stopping")
	}
	if s.Feed != nil {
		ctx, cancel := context.WithTimeout(r.Context(), hookWithin)
		defer cancel()
		if _, err := s.Feed.Watch(ctx, -1); err != nil {
			s.Log.LogAttrs(ctx, slog.LevelError, "not ready", slog.Any("error", err))
			return problem(http.StatusServiceUnavailable, "record", "", "the record cannot be read")
		}
	}
	writeJSON(w, http.StatusOK, json.RawMessage(`{"status":"ready"}`))
	return nil
}
