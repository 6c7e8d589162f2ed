package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/crew"
)

// The endpoint of workers. What is said here is between Fairleads (package crew
// says what it means), so it is not part of the documented API. Who speaks is the token's
// worker and nobody else: nothing in a message can make it another one.

// Crew is what workers ask for. token is the name of the token that was shown.
type Crew interface {
	Join(ctx context.Context, token string, j crew.Joining) (crew.Joined, error)
	Poll(ctx context.Context, token string, p crew.Polling) (crew.Polled, error)
	Say(ctx context.Context, token, session string, ref crew.Ref, from int64, entries []byte) (crew.Heard, error)
	Missing(ctx context.Context, token, session string, ref crew.Ref, digests []blob.Digest) ([]blob.Digest, error)
	Put(ctx context.Context, token, session string, ref crew.Ref, d blob.Digest, r io.Reader) error
	Blob(ctx context.Context, token, session string, ref crew.Ref, d blob.Digest) (io.ReadCloser, error)
	Bundle(ctx context.Context, token, session string, ref crew.Ref, have []string, to io.Writer) error
	Leave(ctx context.Context, token, session string) error
}

// sessionHeader says which process of a worker speaks.
const sessionHeader = "Fairlead-Session"

// workerRoutes are the rows that workers call.
func (s *Server) workerRoutes() []route {
	rows := []route{
		{Method: "POST", Path: "/work/join", Do: act(work(s, func(c Crew, r *request, in *crew.Joining) (crew.Joined, error) {
			return c.Join(r.Context(), r.Who.Name, *in)
		}))},
		{Method: "POST", Path: "/work/poll", Do: act(work(s, func(c Crew, r *request, in *crew.Polling) (crew.Polled, error) {
			return c.Poll(r.Context(), r.Who.Name, *in)
		}))},
		{Method: "POST", Path: "/work/leave", Do: act(work(s, func(c Crew, r *request, _ *nothing) (nothing, error) {
			return nothing{}, c.Leave(r.Context(), r.Who.Name, r.Header.Get(sessionHeader))
		}))},
		{Method: "POST", Path: "/work/missing", Do: act(work(s, func(c Crew, r *request, in *Digests) (Digests, error) {
			ref, err := r.ref()
			if err != nil {
				return Digests{}, err
			}
			missing, err := c.Missing(r.Context(), r.Who.Name, r.Header.Get(sessionHeader), ref, in.Digests)
			return Digests{missing}, err
		}))},
		{Method: "POST", Path: "/work/say", MaxBody: crew.MaxSaid, Do: stream(s.workSay)},
		{Method: "PUT", Path: "/work/blobs/{digest}", MaxBody: crew.MaxBlob, Do: stream(s.workPut)},
		{Method: "GET", Path: "/work/blobs/{digest}", Do: stream(s.workBlob)},
		{Method: "POST", Path: "/work/bundle", Do: stream(s.workBundle)},
	}
	for i := range rows {
		rows[i].Verb, rows[i].Faces, rows[i].Untimed = access.Work, apiOnly, true
	}
	return rows
}

// Digests names blobs.
type Digests struct {
	Digests []blob.Digest `json:"digests"`
}

// work is an act of a worker.
func work[I, O any](s *Server, do func(c Crew, r *request, in *I) (O, error)) func(*request, *I) (O, error) {
	return func(r *request, in *I) (out O, err error) {
		if s.Crew == nil {
			return out, lacking("workers")
		}
		out, err = do(s.Crew, r, in)
		return out, refusal(err)
	}
}

// refusals are the answers to workers that are refused, by the errors of package crew.
// The client knows them by their codes.
var refusals = [...]struct {
	err    error
	status int
	code   string
}{
	{crew.ErrFenced, http.StatusConflict, "fenced"},
	{crew.ErrNotYours, http.StatusForbidden, "not_yours"},
	{crew.ErrNotYet, http.StatusServiceUnavailable, "not_yet"},
	{crew.ErrSession, http.StatusGone, "session"},
	{crew.ErrUnsound, http.StatusUnprocessableEntity, "unsound"},
}

// refusal says an error of package crew as a problem.
func refusal(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return problem(r.status, r.code, "", "%s", err)
		}
	}
	return err
}

// Refused is the error of package crew that an answer's code stands for; nil for none.
func Refused(code string) error {
	for _, r := range refusals {
		if r.code == code {
			return r.err
		}
	}
	return nil
}

// ref is the attempt that a request is about.
func (r *request) ref() (crew.Ref, error) {
	q := r.URL.Query()
	attempt, err := strconv.Atoi(q.Get("attempt"))
	if err != nil || q.Get("run") == "" || q.Get("job") == "" {
		return crew.Ref{}, problem(http.StatusBadRequest, "parameter", "", "the request names no attempt at a job")
	}
	return crew.Ref{Run: q.Get("run"), Job: q.Get("job"), Attempt: attempt}, nil
}

func (s *Server) workSay(w http.ResponseWriter, r *request) error {
	ref, err := r.ref()
	if err != nil {
		return err
	}
	from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		return problem(http.StatusBadRequest, "parameter", "", "from is no number")
	}
	if s.Crew == nil {
		return lacking("workers")
	}
	entries, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	heard, err := s.Crew.Say(r.Context(), r.Who.Name, r.Header.Get(sessionHeader), ref, from, entries)
	if err != nil {
		return refusal(err)
	}
	writeJSON(w, http.StatusOK, heard)
	return nil
}

// workOn is the blob that a request is about, and its attempt.
func (s *Server) workOn(r *request) (ref crew.Ref, d blob.Digest, err error) {
	if s.Crew == nil {
		return ref, d, lacking("workers")
	}
	if d, err = blob.Parse(r.PathValue("digest")); err != nil {
		return ref, d, unreadable(err)
	}
	ref, err = r.ref()
	return ref, d, err
}

func (s *Server) workPut(w http.ResponseWriter, r *request) error {
	ref, d, err := s.workOn(r)
	if err != nil {
		return err
	}
	if err := s.Crew.Put(r.Context(), r.Who.Name, r.Header.Get(sessionHeader), ref, d, r.Body); err != nil {
		return refusal(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) workBlob(w http.ResponseWriter, r *request) error {
	ref, d, err := s.workOn(r)
	if err != nil {
		return err
	}
	body, err := s.Crew.Blob(r.Context(), r.Who.Name, r.Header.Get(sessionHeader), ref, d)
	if err != nil {
		return refusal(err)
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(s.patient(w), body); err != nil {
		panic(http.ErrAbortHandler) // the worker must see that it is not whole
	}
	return nil
}

// workBundle sends a commit. The worker says what it has.
func (s *Server) workBundle(w http.ResponseWriter, r *request) error {
	ref, err := r.ref()
	if err != nil {
		return err
	}
	if s.Crew == nil {
		return lacking("workers")
	}
	var in struct {
		Have []string `json:"have"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return unreadable(err)
	}
	session := r.Header.Get(sessionHeader)
	if _, err := s.Crew.Missing(r.Context(), r.Who.Name, session, ref, nil); err != nil {
		return refusal(err) // as the bundle would be
	}
	// Making one of a large repository takes longer than anybody waits for an answer: it
	// begins here.
	w.Header().Set("Content-Type", "application/octet-stream")
	out := s.patient(w)
	if err := out.flush(); err != nil {
		return err
	}
	if err := s.Crew.Bundle(r.Context(), r.Who.Name, session, ref, in.Have, out); err != nil {
		s.Log.ErrorContext(r.Context(), "bundle failed", "request", r.ID, "worker", r.Who.Name, "error", err)
		panic(http.ErrAbortHandler) // the worker must see that it is not whole
	}
	return nil
}
