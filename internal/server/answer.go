package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// request is a call of a row: what came, and what the frame found out about it.
type request struct {
	*http.Request
	// Who asks. Nobody has no name, but is never nil.
	Who *access.Principal
	// CSRF is what the forms of a page carry; "" when there is no session.
	CSRF string
	// Object is what the row's verb is done to.
	Object access.Object
	ID     string // of the request, in the log
	API    bool   // the answer is JSON

	server *Server
	w      http.ResponseWriter
	seq    int64 // of the newest event when the request came; -1: not asked yet
}

// by is who asks, for the record.
func (r *request) by() launch.By {
	return launch.By{Name: r.Who.Name, Via: r.Who.Via, From: r.Who.From}
}

// May says whether who asks may do something.
func (r *request) May(v access.Verb, o access.Object) bool {
	return access.Decide(r.Who, v, o).Allowed
}

// Page is what a template is given: the view, and what all pages show.
type Page struct {
	View any
	// Path and Query are of the page itself.
	Path  string
	Query url.Values
	// Who looks at it; nil for nobody.
	Who *access.Principal
	// CSRF is the value of the field "csrf" of every form.
	CSRF string
	// Seq is the newest event there was before the view was made: a stream that
	// goes on from there (/api/v1/events?after=SEQ) misses nothing.
	Seq int64
	// Flash is what the last act has to say; nil for nothing.
	Flash *Flash
	// Problem is what went wrong; only for the template "error".
	Problem *Problem
	Version string
	Now     time.Time

	request *request
}

// May says whether a button for something on a repository is of use.
func (p *Page) May(verb, repository string) bool {
	return p.request.May(access.Verb(verb), access.Object{Repository: repository})
}

// Flash is said once, on the page after an act.
type Flash struct {
	Text string `json:"text"`
	Bad  bool   `json:"bad,omitempty"`
}

// Problem is an error as whoever asked shall read it.
type Problem struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`    // stable: "not_found"
	Message string `json:"message"` // what, and why
	Hint    string `json:"hint,omitempty"`
	Request string `json:"request,omitempty"` // ID in the server's log, when it is the server's fault
}

func (p *Problem) Error() string { return p.Message }

// failed is the body of an answer that is a problem.
type failed struct {
	Error *Problem `json:"error"`
}

func problem(status int, code, hint, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// missing is the answer for what is not there, and for what somebody may not
// know to be there: nobody can tell the two apart.
func missing(what string) *Problem {
	return problem(http.StatusNotFound, "not_found", "it does not exist, or you may not see it", "there is no such %s", what)
}

// lacking is the answer when this server was made without a part.
func lacking(what string) *Problem {
	return problem(http.StatusNotImplemented, "not_configured", "", "this server has no %s", what)
}

// problemOf says an error in words for whoever asked. What is the server's
// own fault is not told but logged.
func problemOf(err error) *Problem {
	var (
		p     *Problem
		use   *plan.UsageError
		held  *store.HeldError
		large *http.MaxBytesError
		again *access.TooMany
		deny  *access.DeniedError
		inval *access.InvalidError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &use):
		return &Problem{Status: http.StatusUnprocessableEntity, Code: "unusable", Message: use.Message, Hint: use.Hint}
	case errors.As(err, &large):
		return problem(http.StatusRequestEntityTooLarge, "too_large", "", "the body has more than the %d bytes that are taken here", large.Limit)
	case errors.As(err, &again):
		return problem(http.StatusTooManyRequests, "too_many", "wait, then try again", "%s", again.Error())
	case errors.As(err, &inval):
		return problem(http.StatusUnprocessableEntity, "unusable", "", "%s", inval.Why)
	case errors.As(err, &deny):
		return problem(http.StatusForbidden, "denied", "", "you may not: %s", deny.Why)
	case errors.As(err, &held):
		return problem(http.StatusConflict, "held", "", "%s", held.Error())
	case errors.Is(err, record.ErrConflict):
		return problem(http.StatusConflict, "conflict", "read it again, then change it", "somebody else changed it meanwhile")
	case errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, blob.ErrNotFound), errors.Is(err, access.ErrNoToken), errors.Is(err, access.ErrNoLeaf), errors.Is(err, access.ErrNoAccount):
		return missing("thing")
	case errors.Is(err, blob.ErrFull):
		return problem(http.StatusInsufficientStorage, "full", "the server's operator has to make room", "the server's disk is full")
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusServiceUnavailable, "busy", "try again", "it took too long")
	}
	return problem(http.StatusInternalServerError, "internal", "the server's log says more under this request's ID", "something went wrong in the server")
}

// fail answers with a problem.
func (s *Server) fail(w http.ResponseWriter, r *request, err error) {
	p := *problemOf(err)
	if p.Status >= 500 && p.Status != http.StatusNotImplemented {
		p.Request = r.ID
		level := slog.LevelError
		if r.Context().Err() != nil {
			level = slog.LevelDebug // whoever asked is gone
		}
		s.Log.LogAttrs(r.Context(), level, "request failed", slog.String("request", r.ID), slog.Any("error", err))
	}
	var again *access.TooMany
	if errors.As(err, &again) {
		w.Header().Set("Retry-After", seconds(again.After))
	}
	if r.API || s.html == nil {
		writeJSON(w, p.Status, failed{&p})
		return
	}
	page := s.page(r, nil)
	page.Problem = &p
	s.writePage(w, r, p.Status, "error", page)
}

// page is what a template is given for a view.
func (s *Server) page(r *request, view any) *Page {
	who := r.Who
	if who.Kind == "" {
		who = nil
	}
	return &Page{
		View: view, Path: r.URL.Path, Query: r.URL.Query(), Who: who, CSRF: masked(r.CSRF), Seq: max(r.seq, 0),
		Version: s.Version, Now: s.Now().UTC(), request: r,
	}
}

// writePage renders into memory first: half a page is never sent.
func (s *Server) writePage(w http.ResponseWriter, r *request, status int, template string, p *Page) {
	p.Flash = s.takeFlash(w, r)
	var buf bytes.Buffer
	if err := s.html.Render(&buf, template, p); err != nil {
		s.Log.LogAttrs(r.Context(), slog.LevelError, "page failed", slog.String("request", r.ID), slog.String("template", template), slog.Any("error", err))
		http.Error(w, "This page could not be made. The server's log says more under "+r.ID+".", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	body := uncontrolled(buf.Bytes())
	h.Add("Vary", "Accept-Encoding")
	if r.Method == http.MethodGet && len(body) >= smallPage && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = packed(body)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// smallPage is the size of pages that are not worth packing.
const smallPage = 1400

// packed is a page as gzip. Fast is good enough: a page is sent once.
func packed(page []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(page) / 4)
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = z.Write(page)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // the level is right, and memory does not fail
	}
	return out.Bytes()
}

// maskedBy begins what forms hold instead of the session's token.
const maskedBy = "m."

// masked is a form's token, written otherwise each time. Whoever can have a page made
// that repeats what he chose, and sees how long it gets when packed, must not find out
// piece by piece what else stands in it.
func masked(csrf string) string {
	if csrf == "" {
		return ""
	}
	noise := make([]byte, len(csrf))
	_, _ = rand.Read(noise) // it does not fail
	return maskedBy + base64.RawURLEncoding.EncodeToString(append(noise, xored([]byte(csrf), noise)...))
}

// plain is the token behind what a form or a program gave.
func plain(given string) string {
	text, ok := strings.CutPrefix(given, maskedBy)
	both, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(both)%2 != 0 {
		return given
	}
	return string(xored(both[len(both)/2:], both[:len(both)/2]))
}

func xored(text, noise []byte) []byte {
	out := make([]byte, len(text))
	subtle.XORBytes(out, text, noise)
	return out
}

// uncontrolled puts ? for control characters, in place. There are none in HTML; those
// that somebody wrote into a title would act on the terminal of who looks at its source.
func uncontrolled(page []byte) []byte {
	for i, c := range page {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' && c != '\f' || c == 0x7f {
			page[i] = '?'
		}
	}
	return page
}

// writeJSON answers with JSON, written as one piece.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	if err := enc.Encode(v); err != nil {
		buf.Reset()
		status = http.StatusInternalServerError
		buf.WriteString(`{"error":{"code":"internal","message":"the answer cannot be written as JSON"}}` + "\n")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes())
}
