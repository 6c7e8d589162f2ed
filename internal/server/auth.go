package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
)

// policy is the Content-Security-Policy of all answers: our own files only,
// nothing inline, nobody frames us.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// sandbox is that of files that runs made: nothing in them does anything.
const sandbox = "default-src 'none'; sandbox; frame-ancestors 'none'"

// secure sets the header fields that every answer has.
func (s *Server) secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	if s.tls() {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// request is what the frame knows of a request before it asked who sent it.
func (s *Server) request(w http.ResponseWriter, hr *http.Request) *request {
	id, _ := hr.Context().Value(requestKey{}).(string)
	r := &request{
		Request: hr, Who: &access.Principal{From: s.from(hr)}, ID: id, server: s, w: w, seq: -1,
		API: strings.HasPrefix(hr.URL.Path, "/api/") || strings.HasPrefix(hr.URL.Path, "/hooks/") || hr.URL.Query().Get("format") == "json",
	}
	return r
}

// answer is the handler of an address: who asks, may they, what is it they
// want, and only then the row itself.
func (s *Server) answer(a address) http.Handler {
	row := a.Row
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		r := s.request(w, hr)
		r.API = a.API || a.Method == http.MethodGet && r.API
		limit := row.MaxBody
		if limit == 0 {
			limit = maxInput
		}
		hr.Body = http.MaxBytesReader(w, hr.Body, limit)
		if row.Untimed {
			s.untime(w, hr)
		}
		if err := s.admit(r, a); err != nil {
			s.refuse(w, r, a, err)
			return
		}
		if row.Untimed && hr.Method == http.MethodHead {
			return // a stream has no end, and a head no stream
		}
		if row.Do.stream != nil {
			if err := row.Do.stream(w, r); err != nil {
				s.fail(w, r, err)
			}
			return
		}
		if a.Method == http.MethodGet && !r.API && s.Feed != nil {
			if seq, err := s.Feed.Watch(r.Context(), -1); err == nil {
				r.seq = seq
			}
		}
		v, err := row.Do.call(r)
		s.reply(w, r, a, v, err)
	})
}

// reply sends what came of a row: to a program JSON, to a person a page, or the
// way to the next one.
func (s *Server) reply(w http.ResponseWriter, r *request, a address, v any, err error) {
	shown := a.Method == http.MethodGet
	switch {
	case err != nil && (r.API || shown):
		s.fail(w, r, err)
	case shown && !r.API:
		s.writePage(w, r, http.StatusOK, a.Row.Template, s.page(r, v))
	case !r.API:
		s.after(w, r, a.Row, v, err)
	case v == nothing{}:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, cmp.Or(a.Row.Status, http.StatusOK), v)
	}
}

// admit finds who asks, and whether they may.
func (s *Server) admit(r *request, a address) error {
	row := a.Row
	if row.Faces == rootOnly && row.Verb == "" {
		return nil
	}
	bearer, err := s.identify(r)
	if err != nil {
		return err
	}
	unsafe := a.Method != http.MethodGet && a.Method != http.MethodHead
	if !bearer && (unsafe || row.Media == eventStream) {
		// Who signs in or out has no use for the token of the session before.
		if err := s.own(r, unsafe && row.Verb != "" && r.Who.Session != ""); err != nil {
			return err
		}
	}
	if row.Verb == "" {
		return nil
	}
	if row.Somewhere {
		if d := access.Anywhere(r.Who, row.Verb); !d.Allowed {
			return s.deny(r, row, unsafe, d)
		}
		return nil
	}
	if row.Object != nil {
		// Whoever may do it nowhere is told so before anything is looked up.
		if d := access.Anywhere(r.Who, row.Verb); !d.Allowed {
			return s.deny(r, row, unsafe, d)
		}
		o, err := row.Object(r)
		if err != nil {
			return err
		}
		r.Object = o
	}
	if d := access.Decide(r.Who, row.Verb, r.Object); !d.Allowed {
		return s.deny(r, row, unsafe, d)
	}
	return nil
}

// may decides once more, for an act whose object is in its body.
func (r *request) may(v access.Verb, o access.Object) error {
	r.Object = o
	if d := access.Decide(r.Who, v, o); !d.Allowed {
		return r.server.deny(r, &route{Verb: v}, true, d)
	}
	return nil
}

// errSignIn says that nobody in particular asks for what only somebody may.
var errSignIn = &Problem{Status: http.StatusUnauthorized, Code: "sign_in", Message: "this needs a session or a token", Hint: "send a token as Authorization: Bearer …"}

// deny is the answer to what may not be done. What somebody may not even see
// is not there.
func (s *Server) deny(r *request, row *route, unsafe bool, d access.Decision) error {
	if unsafe {
		if err := s.Gate.Denied(r.Context(), r.Who, row.Verb, r.Object.Repository, d.Why); err != nil {
			return err
		}
	}
	if r.Who.Kind == "" {
		return errSignIn
	}
	if r.Object.Repository != "" && access.RoleIn(r.Who, access.Object{Repository: r.Object.Repository}) == access.None {
		return missing("thing")
	}
	return problem(http.StatusForbidden, "denied", "ask somebody who may change accounts", "you may not: %s", d.Why)
}

// refuse answers to who was not admitted: a person who has not signed in is shown
// where.
func (s *Server) refuse(w http.ResponseWriter, r *request, a address, err error) {
	if errors.Is(err, errSignIn) && !r.API {
		back := "/"
		if a.Method == http.MethodGet {
			back = r.URL.RequestURI()
		}
		s.redirect(w, "/sign-in?back="+url.QueryEscape(back))
		return
	}
	if errors.Is(err, errSignIn) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="fairlead"`)
	}
	s.fail(w, r, err)
}

// identify finds who asks: who holds the token, or else the session.
func (s *Server) identify(r *request) (bearer bool, err error) {
	if s.Gate == nil {
		return false, lacking("accounts")
	}
	from := r.Who.From
	if given := r.Header.Get("Authorization"); given != "" {
		plain, ok := cutFold(given, "Bearer ")
		if !ok {
			return false, problem(http.StatusUnauthorized, "sign_in", "send Authorization: Bearer TOKEN", "this way of signing in is not known here")
		}
		p, err := s.Gate.Token(r.Context(), strings.TrimSpace(plain), from)
		if errors.Is(err, access.ErrNoToken) {
			return false, &Problem{Status: http.StatusUnauthorized, Code: "token", Message: "the token is not known, or not any more", Hint: "make another one"}
		}
		if err != nil {
			return false, err
		}
		r.Who = p
		return true, nil
	}
	if c, err := r.Cookie(s.cookieName()); err == nil && c.Value != "" {
		p, csrf, err := s.Gate.Session(r.Context(), c.Value, from)
		if err == nil {
			r.Who, r.CSRF = p, csrf
			return false, nil
		}
		if !errors.Is(err, access.ErrNoSession) {
			return false, err
		}
	}
	p, err := s.Gate.Nobody(r.Context(), from)
	if err != nil {
		return false, err
	}
	r.Who = p
	return false, nil
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// own checks that a request comes from a page of ours, not of another site
// that a person has open too. Browsers say where a request comes from; one that acts
// with a session carries what only our pages know as well.
func (s *Server) own(r *request, session bool) error {
	foreign := problem(http.StatusForbidden, "cross_site", "open the page here, and try again", "the request comes from another site")
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch site {
	case "same-origin", "":
	case "none": // typed by a person
		if r.Method != http.MethodGet {
			return foreign
		}
	default:
		return foreign
	}
	if origin != "" {
		u, err := url.Parse(origin)
		if err != nil || !s.here(u, r.Host) {
			return foreign
		}
	}
	if !session {
		return nil
	}
	c, err := r.Cookie(s.cookieName())
	if err != nil || !s.Gate.CheckCSRF(c.Value, plain(r.csrf())) {
		return problem(http.StatusForbidden, "csrf", "load the page again, and try again", "the form's token is missing or does not fit the session")
	}
	return nil
}

// here reports whether an origin is this server, as the request's host or as it is
// known to people. Behind TLS what came without it may be somebody else's.
func (s *Server) here(u *url.URL, host string) bool {
	if s.url != nil && u.Scheme == s.url.Scheme && u.Host == s.url.Host {
		return true
	}
	return u.Host != "" && u.Host == host && (u.Scheme == "https" || !s.tls())
}

// csrf is what came of the session's CSRF token.
func (r *request) csrf() string {
	if v := r.Header.Get("X-CSRF-Token"); v != "" {
		return v
	}
	if !isForm(r.Request) {
		return ""
	}
	return r.PostFormValue("csrf")
}

// cookieName is that of the session's cookie. The prefix has browsers refuse one
// that a neighbouring host set.
func (s *Server) cookieName() string { return s.cookie("session") }

func (s *Server) cookie(name string) string {
	if s.tls() {
		return "__Host-fairlead-" + name
	}
	return "fairlead-" + name
}

// setCookie sets a cookie, or with an empty value removes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, expires time.Time) {
	c := &http.Cookie{Name: s.cookie(name), Value: value, Path: "/", HttpOnly: true, Secure: s.tls(), SameSite: http.SameSiteLaxMode, Expires: expires}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// redirect sends somebody to another page of ours.
func (s *Server) redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", access.LocalPath(to))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
}

// after sends whoever posted a form to the next page, which says what came of it.
func (s *Server) after(w http.ResponseWriter, r *request, row *route, v any, err error) {
	to, said := r.PostFormValue("back"), ""
	switch {
	case err != nil && problemOf(err).Status >= 500:
		s.fail(w, r, err)
		return
	case err != nil:
		p := problemOf(err)
		said = p.Message
		if p.Hint != "" {
			said += ": " + p.Hint
		}
		if to == "" {
			s.fail(w, r, err)
			return
		}
	case row.Template != "": // what is shown this once
		s.writePage(w, r, http.StatusOK, row.Template, s.page(r, v))
		return
	case row.Then != nil:
		var next string
		if next, said = row.Then(r, v); next != "" {
			to = next
		}
	}
	if said != "" {
		s.setFlash(w, Flash{Text: said, Bad: err != nil})
	}
	s.redirect(w, to)
}

// flashLength is the size of the longest text that is said after an act.
const flashLength = 1 << 10

func (s *Server) setFlash(w http.ResponseWriter, f Flash) {
	if len(f.Text) > flashLength {
		f.Text = strings.ToValidUTF8(f.Text[:flashLength], "") + "…"
	}
	data, err := json.Marshal(f)
	if err != nil {
		return
	}
	s.setCookie(w, "flash", base64.RawURLEncoding.EncodeToString(data), time.Time{})
}

// takeFlash is what is to be said, once.
func (s *Server) takeFlash(w http.ResponseWriter, r *request) *Flash {
	c, err := r.Cookie(s.cookie("flash"))
	if err != nil {
		return nil
	}
	s.setCookie(w, "flash", "", time.Time{})
	data, err := base64.RawURLEncoding.DecodeString(c.Value)
	f := new(Flash)
	if err != nil || json.Unmarshal(data, f) != nil || f.Text == "" || len(f.Text) > 2*flashLength {
		return nil
	}
	return f
}

// SignInView is the page where people sign in.
type SignInView struct {
	Back string `json:"back"`           // where to go then
	OIDC string `json:"oidc,omitempty"` // the name of who else vouches for people; "" for none
}

// JoinView is the page where an account gets its password: the first admin's,
// or that of somebody invited. Its form posts "secret" and "password" and, for
// the first, "name". The secret is in the fragment of the link (see
// [Server.JoinLink]), from where a script brings it; without scripts people
// paste it.
type JoinView struct {
	First bool `json:"first"`
}

// Credentials are what a person signs in with.
type Credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Back     string `json:"back,omitempty"`
}

// Joining gives an account its password.
type Joining struct {
	Secret   string `json:"secret"`
	Name     string `json:"name,omitempty"` // of the first admin
	Password string `json:"password"`
}

const (
	// oidcWithin is how long signing in elsewhere may take.
	oidcWithin = 10 * time.Minute
	wrong      = "the name or the password is wrong"
)

// signRoutes are where people come in and go out. Everybody may come to most of them:
// nobody has a session before.
func (s *Server) signRoutes() []route {
	const open = "who signs in has no session yet"
	home := func(r *request, answer any) (string, string) { return answer.(signed).back, "" }
	return []route{
		{Method: "GET", Path: "/sign-in", Open: open, Faces: pageOnly, Template: "sign-in", Do: view(func(r *request) (SignInView, error) {
			return SignInView{Back: access.LocalPath(r.URL.Query().Get("back")), OIDC: s.OIDC}, nil
		})},
		{Method: "POST", Path: "/sign-in", Open: open, Faces: pageOnly, Form: "/sign-in", Do: act(s.signIn), Then: home},
		{Method: "POST", Path: "/sign-out", Open: "a session that has ended is no reason to be refused", Faces: pageOnly, Form: "/sign-out", Do: act(s.signOut),
			Then: func(*request, any) (string, string) { return "/sign-in", "You are signed out." }},
		{Method: "GET", Path: "/sign-in/oidc", Open: open, Faces: rootOnly, Do: stream(s.beginOIDC)},
		{Method: "GET", Path: "/sign-in/oidc/done", Open: open, Faces: rootOnly, Do: stream(s.finishOIDC)},
		{Method: "GET", Path: "/join", Open: open, Faces: pageOnly, Template: "join", Do: view(func(r *request) (JoinView, error) {
			return JoinView{First: r.URL.Query().Has("first")}, nil
		})},
		{Method: "POST", Path: "/join", Open: open, Faces: pageOnly, Form: "/join", Do: act(s.join), Then: home},
	}
}

// signed is the answer of an act after which somebody has a session.
type signed struct{ back string }

func (s *Server) begin(r *request, session access.Session, back string) signed {
	s.setCookie(r.w, "session", session.Cookie, session.Expires)
	return signed{access.LocalPath(back)}
}

func (s *Server) signIn(r *request, in *Credentials) (signed, error) {
	session, err := s.Gate.SignIn(r.Context(), in.Name, in.Password, r.Who.From)
	if errors.Is(err, access.ErrCredentials) {
		s.setFlash(r.w, Flash{Text: "That did not work: " + wrong + ".", Bad: true})
		return signed{"/sign-in?back=" + url.QueryEscape(access.LocalPath(in.Back))}, nil
	}
	if err != nil {
		return signed{}, err
	}
	return s.begin(r, session, in.Back), nil
}

func (s *Server) signOut(r *request, _ *nothing) (nothing, error) {
	if c, err := r.Cookie(s.cookieName()); err == nil {
		if err := s.Gate.SignOut(r.Context(), c.Value, r.Who.From); err != nil && !errors.Is(err, access.ErrNoSession) {
			return nothing{}, err
		}
	}
	s.setCookie(r.w, "session", "", time.Time{})
	// What the browser kept of our pages goes, too.
	r.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	return nothing{}, nil
}

func (s *Server) join(r *request, in *Joining) (signed, error) {
	var session access.Session
	var err error
	if in.Name != "" {
		session, err = s.Gate.UseFirst(r.Context(), in.Secret, in.Name, in.Password, r.Who.From)
	} else {
		session, err = s.Gate.Accept(r.Context(), in.Secret, in.Password, r.Who.From)
	}
	if err != nil {
		return signed{}, signProblem(err)
	}
	return s.begin(r, session, "/"), nil
}

// signProblem says why somebody could not come in.
func signProblem(err error) error {
	if errors.Is(err, access.ErrNoLink) {
		return problem(http.StatusForbidden, "link", "ask for another one", "this link is not valid, or not any more")
	}
	return err
}

func (s *Server) beginOIDC(w http.ResponseWriter, r *request) error {
	r.API = false
	if s.OIDC == "" {
		return missing("page")
	}
	to, state, err := s.Gate.Begin(r.Context(), access.LocalPath(r.URL.Query().Get("back")))
	if err != nil {
		return err
	}
	s.setCookie(w, "oidc", state, s.Now().Add(oidcWithin))
	w.Header().Set("Location", to) // the only address that is not ours
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (s *Server) finishOIDC(w http.ResponseWriter, r *request) error {
	r.API = false
	if s.OIDC == "" {
		return missing("page")
	}
	c, err := r.Cookie(s.cookie("oidc"))
	if err != nil {
		return problem(http.StatusForbidden, "state", "sign in again, in the same browser", "this is not the browser that began to sign in, or it took too long")
	}
	s.setCookie(w, "oidc", "", time.Time{})
	session, back, err := s.Gate.Finish(r.Context(), r.URL.Query(), c.Value, r.Who.From)
	if err != nil {
		var denied *access.DeniedError
		if errors.As(err, &denied) || errors.Is(err, context.Canceled) {
			return err
		}
		s.Log.Warn("sign-in elsewhere failed", "request", r.ID, "error", err)
		return problem(http.StatusForbidden, "oidc", "try again; the server's log says why", "signing in with %s failed", s.OIDC)
	}
	s.redirect(w, s.begin(r, session, back).back)
	return nil
}
