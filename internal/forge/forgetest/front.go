package forgetest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Front stands before a fake host: it lets in only who shows the token, fails
// when it is told to, and remembers what was asked.
type Front struct {
	*httptest.Server
	token string

	mu    sync.Mutex
	asked []string // "POST /repos/team/app/statuses/4711"
	fail  []failure
	to    string // where all requests are sent on to
	cut   *cut
}

// cut is a line that breaks.
type cut struct {
	left    int  // requests until then
	carried bool // the request that it breaks in is carried out all the same
	broken  func()
}

type failure struct {
	code   int
	header map[string]string
	body   string
}

// NewFront starts a fake host on this machine that lets in requests whose
// Authorization is the one given.
func NewFront(t testing.TB, authorization string, host http.Handler) *Front {
	f := &Front{token: authorization}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.EscapedPath())
		var now *failure
		if len(f.fail) > 0 {
			now, f.fail = &f.fail[0], f.fail[1:]
		}
		to := f.to
		breaks := f.breaks()
		f.mu.Unlock()
		if breaks != nil {
			if breaks.carried {
				host.ServeHTTP(httptest.NewRecorder(), r)
			}
			breaks.broken()
			panic(http.ErrAbortHandler)
		}
		switch {
		case to != "":
			http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		case now != nil:
			_, _ = io.Copy(io.Discard, r.Body)
			for k, v := range now.header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(now.code)
			_, _ = io.WriteString(w, strings.ReplaceAll(now.body, "AUTHORIZATION", r.Header.Get("Authorization")))
		case r.Header.Get("Authorization") != f.token:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"message":"Bad credentials"}`)
		default:
			host.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// Fail has the next requests answered with failures.
func (f *Front) Fail(times, code int, header map[string]string, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range times {
		f.fail = append(f.fail, failure{code, header, body})
	}
}

// breaks is the cut that the line breaks at now, nil for none. The caller holds mu.
func (f *Front) breaks() *cut {
	if f.cut == nil {
		return nil
	}
	if f.cut.left--; f.cut.left > 0 {
		return nil
	}
	c := f.cut
	f.cut = nil
	return c
}

// Cut breaks the line at the nth request from now, before or after the host has carried it
// out, and calls broken. It returns what says whether that has happened.
func (f *Front) Cut(n int, carried bool, broken func()) (happened func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = &cut{n, carried, broken}
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.cut == nil
	}
}

// SendOn has all requests redirected to the same path at another address.
func (f *Front) SendOn(to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
}

// Asked is what was asked since it was last looked at.
func (f *Front) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}
