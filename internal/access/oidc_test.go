package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const redirect = "http://127.0.0.1:1/oidc/finish"

// identityServer is a real OIDC provider, in this process, that can be made to
// misbehave.
type identityServer struct {
	*storage.Storage // signs until rotated
	url              string
	users            users

	mu       sync.Mutex
	rotated  *storage.Storage // signs then
	nonce    string           // "" for the right one
	audience []string         // beside the client; none for the usual
	party    string           // the client that tokens are made for; "" for the right one
	lifetime time.Duration    // of ID tokens; 0 for the usual
	groups   []string
	subject  string // that the user info tells of; "" for the right one
}

type users map[string]*storage.User

func (u users) GetUserByID(id string) *storage.User { return u[id] }
func (u users) ExampleClientID() string             { return "service" }
func (u users) GetUserByUsername(name string) *storage.User {
	for _, user := range u {
		if user.Username == name {
			return user
		}
	}
	return nil
}

func newIdentityServer(t *testing.T) *identityServer {
	t.Helper()
	s := &identityServer{users: users{
		"id1": {ID: "id1", Username: "Ada.Lovelace", Password: "pw", FirstName: "Ada", LastName: "Lovelace\r\nX", Email: "ada@example.org", EmailVerified: true},
		"id2": {ID: "id2", Username: "root", Password: "pw", FirstName: "Eve", LastName: "<b>"},
		"id3": {ID: "id3", Username: "../..", Password: "pw"},
	}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	s.url = server.URL
	s.Storage = storage.NewStorageWithClients(s.users, map[string]*storage.Client{
		"fairlead": storage.WebClient("fairlead", "client secret", redirect),
	})
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte("test")), CryptoKeyId: "key", CodeMethodS256: true, AuthMethodPost: true,
		SupportedScopes: []string{"openid", "profile", "email"},
	}, s, op.StaticIssuer(server.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	handler = provider
	return s
}

func (s *identityServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *identityServer) signer() *storage.Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rotated != nil {
		return s.rotated
	}
	return s.Storage
}

func (s *identityServer) SigningKey(ctx context.Context) (op.SigningKey, error) {
	return s.signer().SigningKey(ctx)
}

func (s *identityServer) KeySet(ctx context.Context) ([]op.Key, error) { return s.signer().KeySet(ctx) }

// request is an authorization request of which the answer lies.
type request struct {
	*storage.AuthRequest
	audience []string
	party    string
}

func (r request) GetAudience() []string { return r.audience }
func (r request) GetClientID() string   { return cmp.Or(r.party, r.AuthRequest.GetClientID()) }

func (s *identityServer) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	r, err := s.Storage.AuthRequestByCode(ctx, code)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := *r.(*storage.AuthRequest)
	if s.nonce != "" {
		found.Nonce = s.nonce
	}
	if s.audience != nil || s.party != "" {
		return request{&found, s.audience, s.party}, nil
	}
	return &found, nil
}

type client struct {
	op.Client
	lifetime time.Duration
	id       string
}

func (c client) IDTokenLifetime() time.Duration { return c.lifetime }
func (c client) GetID() string                  { return cmp.Or(c.id, c.Client.GetID()) }

func (s *identityServer) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (s.lifetime != 0 || s.party != "") {
		c = client{c, cmp.Or(s.lifetime, time.Hour), s.party}
	}
	return c, err
}

func (s *identityServer) SetUserinfoFromToken(ctx context.Context, info *zitadel.UserInfo, token, subject, origin string) error {
	err := s.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups != nil {
		info.AppendClaims("groups", s.groups)
	}
	if s.subject != "" {
		info.Subject = s.subject
	}
	return err
}

// visit is what a browser does between Begin and Finish: it signs the user in and
// comes back with the query.
func (s *identityServer) visit(t *testing.T, authURL, user string) url.Values {
	t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	follow := func(address string) *url.URL {
		t.Helper()
		resp, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			t.Fatalf("%s: %s", address, resp.Status)
		}
		return to
	}
	id := follow(authURL).Query().Get("authRequestID")
	if err := s.CheckUsernamePassword(user, "pw", id); err != nil {
		t.Fatal(err)
	}
	back := follow(s.url + "/authorize/callback?id=" + url.QueryEscape(id))
	if !strings.HasPrefix(back.String(), redirect+"?") {
		t.Fatalf("the provider leads to %s", back)
	}
	return back.Query()
}

func oidcGate(t *testing.T, s *identityServer, change ...func(*OIDC)) *testGate {
	t.Helper()
	o := OIDC{
		Issuer: s.url, ClientID: "fairlead", ClientSecret: "client secret", Redirect: redirect,
		Groups: map[string][]Grant{
			"developers": {{Repository: "team/*", Role: Developer}},
			"owners":     {{Repository: "team/*", Role: Maintainer}, {Repository: "lib/*", Role: Admin}},
		},
	}
	for _, f := range change {
		f(&o)
	}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	return newTestGate(t, Options{OIDC: &o})
}

// sign goes the whole way.
func (g *testGate) sign(s *identityServer, user, back string) (Session, string, error) {
	g.t.Helper()
	authURL, cookie, err := g.Begin(g.t.Context(), back)
	if err != nil {
		return Session{}, "", err
	}
	return g.Finish(g.t.Context(), s.visit(g.t, authURL, user), cookie, here)
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	ctx := t.Context()
	session, back, err := g.sign(s, "Ada.Lovelace", "/runs?branch=main#x")
	if err != nil {
		t.Fatal(err)
	}
	if back != "/runs?branch=main#x" {
		t.Errorf("it leads to %q", back)
	}
	p := g.who(session)
	if p.Name != "ada.lovelace" || p.Kind != Person || len(p.Grants) != 0 {
		t.Errorf("%+v", p)
	}
	a, err := g.Account(ctx, "ada.lovelace")
	if err != nil || a.Full != "Ada Lovelace X" || a.Mail != "ada@example.org" || a.Subject != s.url+" id1" || a.Password {
		t.Errorf("%+v %v", a, err)
	}
	if e := g.store.lastAct(t); e.Via != "oidc" || e.By != "ada.lovelace" || e.Detail["account"] != "made" {
		t.Errorf("recorded: %+v", e)
	}
	// No password opens it.
	_, err = g.SignIn(ctx, "ada.lovelace", "", here)
	want(t, err, ErrCredentials)

	// The groups of today count, at the next sign-in.
	app := Object{Repository: "team/app"}
	for _, test := range []struct {
		groups []string
		role   Role
	}{{[]string{"x", "developers"}, Developer}, {[]string{"owners", "developers"}, Maintainer}, {[]string{"x"}, None}} {
		s.set(func() { s.groups = test.groups })
		session, _, err := g.sign(s, "Ada.Lovelace", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := RoleIn(g.who(session), app); got != test.role {
			t.Errorf("groups %v: %q", test.groups, got)
		}
	}
	if all, err := g.Accounts(ctx); err != nil || len(all) != 1 {
		t.Errorf("%d accounts of one person, %v", len(all), err)
	}

	// What an admin gave stays; an account that he disabled is closed.
	a, _ = g.Account(ctx, a.Name)
	a.Grants = []Grant{{Repository: "own/*", Role: Viewer}}
	if err := g.SetAccount(ctx, Local("root"), a, a.Version); err != nil {
		t.Fatal(err)
	}
	if session, _, err = g.sign(s, "Ada.Lovelace", ""); err != nil || RoleIn(g.who(session), Object{Repository: "own/x"}) != Viewer {
		t.Error("it is gone", err)
	}
	a, _ = g.Account(ctx, a.Name)
	a.Disabled = true
	if err := g.SetAccount(ctx, Local("root"), a, a.Version); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.sign(s, "Ada.Lovelace", "")
	wantAs[*DeniedError](t, err)

	// Removed, somebody is a stranger again.
	if err := g.RemoveAccount(ctx, Local("root"), a.Name); err != nil {
		t.Fatal(err)
	}
	if session, _, err = g.sign(s, "Ada.Lovelace", ""); err != nil || len(g.who(session).Grants) != 0 {
		t.Error("an account that was removed still has roles", err)
	}
}

// TestOIDCTakesOverNobody: whoever calls himself root there is not root here.
func TestOIDCTakesOverNobody(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	g.admin("root")
	for range 2 {
		session, _, err := g.sign(s, "root", "")
		if err != nil {
			t.Fatal(err)
		}
		if p := g.who(session); p.Name != "root-2" || Decide(p, SetAccounts, Object{}).Allowed {
			t.Errorf("%+v", p)
		}
	}
	session, _, err := g.sign(s, "../..", "")
	if err != nil {
		t.Fatal(err)
	}
	if p := g.who(session); p.Name != "user" {
		t.Errorf("%+v", p)
	}
}

func TestOIDCRefuses(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	ctx := t.Context()
	refused := func(what string, err error, in string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", what, err)
		}
		if e := g.store.lastAct(t); e.Denied == "" || e.Via != "oidc" {
			t.Errorf("%s was recorded as %+v", what, e)
		}
	}
	authURL, cookie, err := g.Begin(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	query := s.visit(t, authURL, "root")
	with := func(name, value string) url.Values {
		q := url.Values{}
		for k, v := range query {
			q[k] = v
		}
		q.Set(name, value)
		return q
	}
	_, other, err := g.Begin(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]struct {
		query  url.Values
		cookie string
	}{
		"wrong state":           {with("state", "x"), cookie},
		"no state":              {with("state", ""), cookie},
		"another browser":       {query, other},
		"no cookie":             {query, ""},
		"a cookie of our own":   {query, newSecret()},
		"a longer life":         {query, strings.Replace(cookie, ".1", ".2", 1)},
		"another page":          {query, cookie[:strings.LastIndex(cookie, ".")+1] + base64.RawURLEncoding.EncodeToString([]byte("/x"))},
		"an error of elsewhere": {url.Values{"error": {"access_denied"}}, cookie},
	} {
		_, _, err := g.Finish(ctx, try.query, try.cookie, here)
		refused(what, err, ErrFlow.Error())
	}
	_, _, err = g.Finish(ctx, with("iss", "https://evil.example.com"), cookie, here)
	refused("another issuer", err, ErrFlow.Error())
	_, _, err = g.Finish(ctx, url.Values{"state": query["state"], "error": {"access_denied"}, "error_description": {"no\x1b[31m"}}, cookie, here)
	refused("an error", err, `"access_denied" "no\x1b[31m"`)
	_, _, err = g.Finish(ctx, with("code", "x"), cookie, here)
	refused("a wrong code", err, "exchange the code")

	// After all these the right answer is still good, once.
	if _, _, err := g.Finish(ctx, query, cookie, here); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Finish(ctx, query, cookie, here)
	refused("a replayed code", err, "exchange the code")

	for what, test := range map[string]struct {
		set func()
		in  string
	}{
		"a wrong nonce":     {func() { s.nonce = "other" }, "nonce"},
		"a wrong audience":  {func() { s.party = "grafana" }, "audience"},
		"another party":     {func() { s.party, s.audience = "grafana", []string{"fairlead"} }, "made for another client"},
		"two audiences":     {func() { s.audience = []string{"grafana"} }, ""},
		"an expired token":  {func() { s.lifetime = -time.Hour }, "expired"},
		"two users at once": {func() { s.subject = "id2" }, "two users"},
	} {
		s.set(func() { s.nonce, s.audience, s.party, s.lifetime, s.subject = "", nil, "", 0, ""; test.set() })
		_, _, err := g.sign(s, "Ada.Lovelace", "")
		if what == "two audiences" { // of which the authorized party is us
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		refused(what, err, test.in)
	}
}

func TestOIDCTakesTime(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	var late atomic.Int64
	o := OIDC{Issuer: s.url, ClientID: "fairlead", ClientSecret: "client secret", Redirect: redirect}
	g := newTestGate(t, Options{OIDC: &o, Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) }})
	authURL, cookie, err := g.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	query := s.visit(t, authURL, "root")
	late.Store(int64(oidcLife))
	_, _, err = g.Finish(t.Context(), query, cookie, here)
	want(t, err, ErrFlow)
	// And a token is judged by our clock.
	late.Store(int64(48 * time.Hour))
	if _, _, err = g.sign(s, "root", ""); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
}

// TestOIDCKeyRotation: a provider signs with another key from one day to the
// next.
func TestOIDCKeyRotation(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	if _, _, err := g.sign(s, "root", ""); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.rotated = storage.NewStorageWithClients(s.users, nil) })
	if _, _, err := g.sign(s, "root", ""); err != nil {
		t.Error(err)
	}
}

func TestOIDCProviderIsDown(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	s := newIdentityServer(t)
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	g := oidcGate(t, s, func(o *OIDC) {
		o.Client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if !up.Load() {
				return nil, errors.New("no route to host")
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	if _, _, err := g.Begin(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "no route to host") {
		t.Errorf("%v", err)
	}
	up.Store(true)
	if _, _, err := g.sign(s, "root", ""); err != nil {
		t.Error(err)
	}
	if g.OIDCName() != target.Host {
		t.Errorf("it is called %q", g.OIDCName())
	}
	// One that calls itself something else is not the one.
	g = oidcGate(t, s, func(o *OIDC) { o.Issuer = strings.Replace(o.Issuer, "127.0.0.1", "localhost", 1) })
	if _, _, err := g.Begin(t.Context(), "/"); err == nil {
		t.Error("a provider of another name is taken")
	}
	// Without one there is no such sign-in.
	g = newTestGate(t, Options{})
	_, _, err = g.Begin(t.Context(), "/")
	wantAs[*InvalidError](t, err)
	_, _, err = g.Finish(t.Context(), nil, "", here)
	wantAs[*InvalidError](t, err)
	if g.OIDCName() != "" {
		t.Error("it has a name")
	}
}

// TestOIDCEndlessAnswer: a provider's answer is read up to a limit.
func TestOIDCEndlessAnswer(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for r.Context().Err() == nil && sent.Load() < 1<<30 {
			n, err := w.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	g := newTestGate(t, Options{OIDC: &OIDC{Issuer: server.URL, ClientID: "x", Redirect: redirect}})
	if _, _, err := g.Begin(t.Context(), "/"); err == nil {
		t.Error("it was taken")
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOIDCBegin(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	authURL, cookie, err := g.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{"client_id": "fairlead", "response_type": "code", "scope": "openid profile email", "redirect_uri": redirect, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	f, ok := readFlow(cookie)
	if !ok {
		t.Fatalf("%q", cookie)
	}
	values := []string{f.state(), f.nonce(), f.verifier(), cookie}
	slices.Sort(values)
	if len(slices.Compact(values)) != 4 || strings.Contains(authURL, f.verifier()) || strings.Contains(authURL, cookie) {
		t.Error("the address tells what only the browser may know")
	}
	if strings.Contains(authURL, "client secret") {
		t.Error("the client's secret is in the address")
	}
}

func TestOIDCCheck(t *testing.T) {
	t.Parallel()
	good := OIDC{Issuer: "https://id.example.com", ClientID: "x", Redirect: "https://ci.example.com/oidc/finish"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, f := range []func(*OIDC){
		func(o *OIDC) { o.Issuer = "" }, func(o *OIDC) { o.Issuer = "id.example.com" }, func(o *OIDC) { o.Issuer = "file:///etc" },
		func(o *OIDC) { o.Issuer = "https://u:p@id.example.com" }, func(o *OIDC) { o.Redirect = "/oidc" }, func(o *OIDC) { o.ClientID = "" },
		func(o *OIDC) { o.Groups = map[string][]Grant{"x": {{Role: "king"}}} },
	} {
		o := good
		f(&o)
		wantAs[*InvalidError](t, o.Check())
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	var c claims
	if err := json.Unmarshal([]byte(`{"list":["a","b"],"one":"a","object":{"b":1,"a":{}},"realm_access":{"roles":["x"]},"a.b":["dotted"],"a":{"b":["nested"]},"n":7,"mixed":["a",7],"null":null,"empty":""}`), &c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"list": {"a", "b"}, "one": {"a"}, "object": {"a", "b"}, "realm_access.roles": {"x"}, "a.b": {"dotted"}, "n": nil, "none": nil, "one.x": nil, "list.0": nil,
	} {
		got, ok := c.list(name)
		if !reflect.DeepEqual(got, want) || ok != (want != nil) {
			t.Errorf("%s: %v %v", name, got, ok)
		}
	}
	if _, ok := c.text("empty"); ok {
		t.Error("an empty text is one")
	}
	if _, ok := c.text("n"); ok {
		t.Error("a number is a text")
	}
}

func TestLocalPath(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"/", "/runs", "/runs?x=1&y=//z", "/runs/7#L120-L140", "/a%20b", "/r/team/app", "/ä", "/runs?back=https://x"} {
		if got := LocalPath(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	for _, s := range []string{
		"", "runs", "//evil.example.com", "///evil", `/\evil.example.com`, `\\evil`, `/x\y`, "https://evil", "https:evil", "javascript:alert(1)",
		"/\t/evil", "/\n/evil", "\t//evil", " //evil", "/ /evil", "/.//evil", "/x//y", "/%2f/evil", "/%5cevil", "/\x00", "/\x7f", "/%zz", "/\xff",
		"/" + strings.Repeat("x", maxBack),
	} {
		if got := LocalPath(s); got != "/" {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	f.Add("//evil")
	f.Add("/runs?x=1")
	base, err := url.Parse("https://ci.example.com/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := base.Parse(LocalPath(s))
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil {
			t.Errorf("%q leads to %v, %v", s, u, err)
		}
	})
}

// TestLink: an admin says that two are the same person; then they come in either way, and
// the account that was made by itself is nobody's. By anything else nobody is linked.
func TestLink(t *testing.T) {
	t.Parallel()
	s := newIdentityServer(t)
	g := oidcGate(t, s)
	ctx := t.Context()
	admin := g.admin("root")
	stranger, _, err := g.sign(s, "root", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := g.who(stranger).Name; got != "root-2" {
		t.Fatalf("it is %s", got)
	}
	subject := s.url + " id2"
	for _, bad := range []string{"id2", s.url, s.url + " ", "https://elsewhere.example.org id2", s.url + " a\nb", s.url + " " + strings.Repeat("x", 1000)} {
		wantAs[*InvalidError](t, g.Link(ctx, admin, "root", bad))
	}
	// Who is linked may not link.
	wantAs[*DeniedError](t, g.Link(ctx, g.who(stranger), "root", subject))
	want(t, g.Link(ctx, admin, "gone", subject), ErrNoAccount)

	if err := g.Link(ctx, admin, "root", subject); err != nil {
		t.Fatal(err)
	}
	if e := g.store.lastAct(t); e.Verb != string(SetAccounts) || e.Object != "account root" || e.Detail["subject"] != subject || e.Detail["from"] != "root-2" {
		t.Errorf("recorded: %+v", e)
	}
	if _, _, err := g.Session(ctx, stranger.Cookie, here); err == nil {
		t.Error("the session of the account that lost its identity goes on")
	}
	session, _, err := g.sign(s, "root", "")
	if err != nil {
		t.Fatal(err)
	}
	if p := g.who(session); p.Name != "root" || !Decide(p, SetAccounts, Object{}).Allowed {
		t.Errorf("%+v", p)
	}
	if a, err := g.Account(ctx, "root-2"); err != nil || a.Subject != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := g.Account(ctx, "root"); err != nil || a.Subject != subject || !a.Password {
		t.Errorf("%+v, %v", a, err)
	}

	// Nobody again: the sessions end, and whoever comes from there is a stranger.
	if err := g.Link(ctx, admin, "root", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.Session(ctx, session.Cookie, here); err == nil {
		t.Error("a session by the old identity goes on")
	}
	if session, _, err = g.sign(s, "root", ""); err != nil || g.who(session).Name == "root" {
		t.Errorf("%v", err)
	}
}
