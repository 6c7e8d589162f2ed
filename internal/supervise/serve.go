package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
)

// maxOrder is the largest body that an order has, in bytes.
const maxOrder = 8 << 20

// kindHeader says in an answer which of the errors it is.
const kindHeader = "Fairlead-Error"

// kinds are the errors that have a name on the way to a client.
func kinds() map[string]error {
	return map[string]error{"fenced": ErrFenced, "no-release": ErrNoRelease, "refused": ErrRefused, "not-ready": ErrNotReady, "ending": ErrEnding}
}

// changeRequest is the body of what changes a target and is no order.
type changeRequest struct {
	Target Target  `json:"target"`
	Shares []Share `json:"shares,omitempty"`
	Number int     `json:"number,omitempty"`
}

// upgradeRequest is the body of an upgrade.
type upgradeRequest struct {
	Program []string `json:"program,omitempty"`
}

// handler answers what a [Client] asks.
func (h *Host) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, h.Status(), nil) })
	mux.HandleFunc("GET /v1/targets/{name}", func(w http.ResponseWriter, r *http.Request) { reply(w, h.Target(r.PathValue("name")), nil) })
	mux.HandleFunc("GET /v1/targets/{name}/counts", func(w http.ResponseWriter, r *http.Request) { reply(w, h.Counts(r.PathValue("name")), nil) })
	mux.HandleFunc("GET /v1/logs/{instance}", h.serveLogs)
	mux.HandleFunc("POST /v1/check", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if asked(w, r, &o) {
			reply(w, h.Check(r.Context(), o), nil)
		}
	})
	mux.HandleFunc("POST /v1/drift", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if asked(w, r, &o) {
			found, err := h.Drift(r.Context(), o)
			reply(w, found, err)
		}
	})
	mux.HandleFunc("POST /v1/ensure", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if asked(w, r, &o) {
			reply(w, nil, h.Ensure(r.Context(), o))
		}
	})
	mux.HandleFunc("POST /v1/shift", func(w http.ResponseWriter, r *http.Request) {
		var c changeRequest
		if asked(w, r, &c) {
			reply(w, nil, h.Shift(r.Context(), c.Target, c.Shares))
		}
	})
	mux.HandleFunc("POST /v1/remove", func(w http.ResponseWriter, r *http.Request) {
		var c changeRequest
		if asked(w, r, &c) {
			reply(w, nil, h.Remove(r.Context(), c.Target, c.Number))
		}
	})
	mux.HandleFunc("PUT /v1/releases", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		size, err := strconv.ParseInt(q.Get("size"), 10, 64)
		if err != nil {
			reply(w, nil, fmt.Errorf("%w: the size %.40q is no number", ErrRefused, q.Get("size")))
			return
		}
		reply(w, nil, h.Put(r.Context(), Artifact{Kind: q.Get("kind"), Name: q.Get("name"), Digest: q.Get("digest"), Size: size}, r.Body))
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		reply(w, nil, h.Stop(r.URL.Query().Get("instances") == "true"))
	})
	mux.HandleFunc("POST /v1/upgrade", func(w http.ResponseWriter, r *http.Request) {
		var u upgradeRequest
		if asked(w, r, &u) {
			reply(w, nil, h.Upgrade(r.Context(), u.Program))
		}
	})
	return mux
}

func (h *Host) serveLogs(w http.ResponseWriter, r *http.Request) {
	last, err := strconv.ParseInt(r.URL.Query().Get("last"), 10, 64)
	if err != nil || last < 0 {
		last = 64 << 10
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := h.Logs(w, r.PathValue("instance"), last); errors.Is(err, fs.ErrNotExist) {
		reply(w, nil, fmt.Errorf("%w: there is no log of %.80q", ErrRefused, r.PathValue("instance")))
	}
}

// asked reads the body of a request; false if it has been answered that it cannot.
func asked(w http.ResponseWriter, r *http.Request, into any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOrder))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		reply(w, nil, fmt.Errorf("%w: the request cannot be read: %w", ErrRefused, err))
	}
	return err == nil
}

// failure is the body of an answer that is an error.
type failure struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusInternalServerError
		for name, kind := range kinds() {
			if errors.Is(err, kind) {
				w.Header().Set(kindHeader, name)
				status = http.StatusConflict
			}
		}
		w.WriteHeader(status)
		body = failure{Error: err.Error()}
	}
	if body == nil {
		body = struct{}{}
	}
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}
