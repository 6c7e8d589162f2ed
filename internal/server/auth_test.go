package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestEveryRouteForEveryRole walks the table of addresses with everybody there is.
// What the table of verbs does not allow is not done, shown or even admitted
// to exist.
func TestEveryRouteForEveryRole(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	sc.writeLog(run, "hello")
	sc.tellTests()
	deployed := sc.tellDeployments()
	requested, err := sc.store.Append(t.Context(), record.Event{Body: &record.HookReceived{Repository: "team/app", Delivery: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	type caller struct {
		name string
		as   func(*http.Request)
		who  *access.Principal
	}
	callers := []caller{{name: "nobody", as: func(*http.Request) {}, who: &access.Principal{}}}
	person := func(name, repository string, role access.Role) {
		session1 := sc.account(name, repository, role)
		p, _, err := sc.gate.Session(t.Context(), session1.Cookie, "")
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, caller{name, session(session1), p})
	}
	person("viewer", "team/app", access.Viewer)
	person("developer", "team/app", access.Developer)
	person("maintainer", "team/app", access.Maintainer)
	person("stranger", "team/other", access.Maintainer)
	person("admin", "", access.Admin)
	for _, spec := range []access.TokenSpec{{Name: "all"}, {Name: "narrow", Verbs: []access.Verb{access.SeeRuns}}, {Name: "elsewhere", Grants: []access.Grant{{Repository: "team/other", Role: access.Admin}}}, {Name: "worker", Worker: true}} {
		plain := sc.token(spec)
		p, err := sc.gate.Token(t.Context(), plain, "")
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, caller{"token " + spec.Name, bearer(plain), p})
	}
	path := strings.NewReplacer("{run}", run, "{job...}", "test", "{name...}", "thing", "{name}", "NAME", "{repository...}", "team/app",
		"{worker}", "w1", "{route}", "team", "{token}", "none", "{account}", "none", "{seq}", fmt.Sprint(requested[0].Seq), "{digest}", strings.Repeat("0", 64), "{$}", "", "{file...}", "none.css", "{cluster}", "none", "{incident}", "none", "{key}", flakyTest,
		"{rollout}", strings.TrimPrefix(deployed["done"], "/rollout/"), "{release}", strings.TrimPrefix(deployed["deployedrelease"], "/release/"))
	bodies := map[string]map[string]string{ // by method and path
		"POST /runs": {"repository": "team/app"}, "POST /runs/push": {"repository": "team/app"},
		"POST /secrets": {"repository": "team/app", "name": "N", "value": "v"}, "PUT /secrets/{name}": {"repository": "team/app", "value": "v"}, "DELETE /secrets/{name}": {"repository": "team/app"},
		"PUT /repositories/{repository...}": {"url": "https://code.example.org/team/app.git", "forge": "played"},
	}
	for _, a := range addresses(sc.s.rows) {
		if a.Row.Verb == "" || a.Row.Path == "/events" || a.Row.Path == "/sign-out-everywhere" || a.Row.Verb == access.Work {
			continue // open, tested elsewhere, or of workers
		}
		target := path.Replace(a.Pattern)
		if strings.Contains(target, "{") {
			t.Errorf("%s: the test knows no example of it", a.Pattern)
		}
		fields := bodies[a.Row.Method+" "+a.Row.Path]
		body, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		values := url.Values{}
		for name, value := range fields {
			values.Set(name, value)
		}
		object := access.Object{Repository: "team/app"}
		if a.Row.Object == nil && !a.Row.Somewhere {
			object = access.Object{}
		}
		if a.Method == "GET" && a.Row.Path == "/secrets" || strings.Contains(a.Row.Path, "{key}") {
			target += "?repository=team/app"
		}
		for _, c := range callers {
			want := access.Decide(c.who, a.Row.Verb, object)
			if a.Row.Somewhere && a.Method == "GET" && a.Row.Path != "/secrets" {
				want = access.Anywhere(c.who, a.Row.Verb)
			}
			before := sc.desk.acts()
			var w *httptest.ResponseRecorder
			switch {
			case a.Method == "GET":
				w = sc.call(a.Method, target, "", c.as)
			case a.API:
				w = sc.call(a.Method, target, string(body), c.as)
			default:
				w = sc.call(a.Method, target, "", form(values), c.as)
			}
			refused := w.Code == 401 || w.Code == 403 || w.Code == 404 || w.Code == 303 && strings.HasPrefix(w.Header().Get("Location"), "/sign-in?")
			// Whose token it is decides the gate, which has tests of its own.
			told := strings.Contains(w.Body.String(), "you may not:") && !strings.Contains(a.Row.Path, "{token}")
			at := fmt.Sprintf("%s %s by %s: %d %.200s", a.Method, target, c.name, w.Code, w.Body.String())
			switch {
			case want.Allowed && (w.Code == 401 || w.Code == 303 && refused || w.Code == 403 && told):
				t.Errorf("refused: %s", at)
			case !want.Allowed && !refused:
				t.Errorf("not refused: %s", at)
			case !want.Allowed && sc.desk.acts() != before:
				t.Errorf("refused, and done: %s", at)
			case w.Code >= 500 && w.Code != 501:
				t.Errorf("failed: %s", at)
			}
		}
	}
}

// TestLists shows everybody only what they may see.
func TestLists(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	viewer := sc.account("viewer", "team/app", access.Viewer)
	sc.run("team/app", nil)
	sc.run("team/other", nil)
	for path, want := range map[string]string{"/api/v1/runs": "team/app", "/api/v1/repositories": "team/app", "/api/v1/queue": "team/app"} {
		w := sc.call("GET", path, "", session(viewer))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "team/other") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := sc.call("GET", "/api/v1/repositories/team/none", "", session(sc.admin)); w.Code != 404 || !strings.Contains(w.Body.String(), "there is no repository team/none") {
		t.Errorf("a repository that is not there, for an admin: %d %s", w.Code, w.Body)
	}
	unseen := sc.call("GET", "/api/v1/repositories/team/other", "", session(viewer))
	absent := sc.call("GET", "/api/v1/repositories/team/none", "", session(viewer))
	if unseen.Code != 404 || unseen.Body.String() != absent.Body.String() {
		t.Errorf("a repository that may not be seen: %d %s; one that is not there: %d %s", unseen.Code, unseen.Body, absent.Code, absent.Body)
	}
}

// TestForgedRequests sends acts from where no page of ours is.
func TestForgedRequests(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	without := func(s access.Session) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "fairlead-session", Value: s.Cookie}) }
	}
	other := sc.account("dev", "", access.Admin)
	for name, test := range map[string]struct {
		options []func(*http.Request)
		want    int
	}{
		"our page":              {[]func(*http.Request){session(sc.admin)}, 204},
		"our page, by origin":   {[]func(*http.Request){session(sc.admin), header("Sec-Fetch-Site", ""), header("Origin", "http://example.com")}, 204},
		"a form of ours":        {[]func(*http.Request){without(sc.admin), form(url.Values{"csrf": {sc.admin.CSRF}, "back": {"/runs"}}), header("Origin", "http://example.com")}, 303},
		"no token":              {[]func(*http.Request){without(sc.admin)}, 403},
		"token of another":      {[]func(*http.Request){without(sc.admin), header("X-CSRF-Token", other.CSRF)}, 403},
		"another site":          {[]func(*http.Request){session(sc.admin), header("Sec-Fetch-Site", "cross-site")}, 403},
		"a neighbouring host":   {[]func(*http.Request){session(sc.admin), header("Sec-Fetch-Site", "same-site")}, 403},
		"another origin":        {[]func(*http.Request){session(sc.admin), header("Origin", "https://evil.example.net")}, 403},
		"a sandboxed frame":     {[]func(*http.Request){session(sc.admin), header("Origin", "null")}, 403},
		"another port":          {[]func(*http.Request){session(sc.admin), header("Origin", "http://example.com:81")}, 403},
		"typed":                 {[]func(*http.Request){session(sc.admin), header("Sec-Fetch-Site", "none")}, 403},
		"a token needs no CSRF": {[]func(*http.Request){bearer(sc.token(access.TokenSpec{Name: "t"})), header("Origin", "https://evil.example.net")}, 204},
	} {
		path := "/api/v1/runs/" + run + "/cancel"
		if name == "a form of ours" {
			path = "/runs/" + run + "/cancel"
		}
		before := sc.desk.acts()
		w := sc.call("POST", path, "{}", test.options...)
		if w.Code != test.want || (sc.desk.acts() > before) != (test.want < 400) {
			t.Errorf("%s: %d %s, and %d acts", name, w.Code, w.Body, sc.desk.acts()-before)
		}
	}
	// A stream may not be opened from elsewhere either, nor may somebody be signed in.
	if w := sc.call("GET", "/api/v1/events?topic=runs", "", session(sc.admin), header("Sec-Fetch-Site", "cross-site")); w.Code != 403 {
		t.Errorf("a stream for another site: %d", w.Code)
	}
	if w := sc.call("POST", "/sign-in", "", form(url.Values{"name": {"root"}, "password": {"correct horse battery"}}), header("Origin", "https://evil.example.net")); w.Code != 403 {
		t.Errorf("signed in by another site: %d", w.Code)
	}
}

// TestPathTricks writes paths so that somebody might read them otherwise. They
// lead nowhere, whoever asks.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	for _, path := range []string{
		"//api/v1/accounts", "/api//v1/accounts", "/api/v1/accounts/", "/api/v1/./accounts", "/api/v1/x/../accounts", "/api/v1/%2e%2e/accounts",
		"/api/v1/%61ccounts", "/api/v1/accounts;x", "/api/v1/accounts;.css", "/api/v1/accounts%2f", "/api%2fv1%2faccounts", "/api/v1\\accounts",
		"/api/v1/accounts%00", "/api/v1/accounts%0d%0aX:y", "/static/../api/v1/accounts", "/static/%2e%2e/api/v1/accounts", "/hooks//team/app", "/healthz/../api/v1/accounts",
		"/API/v1/accounts", "/api/v1/unknown", "/unknown", "/api/v2/runs", "/hooks", "/.git/config", "/api/v1/accounts%ff",
	} {
		for _, as := range []func(*http.Request){func(*http.Request) {}, session(sc.admin)} {
			r := httptest.NewRequest("GET", "/", nil)
			u, err := url.ParseRequestURI(path)
			if err != nil {
				continue // net/http does not let it in
			}
			r.URL, r.RequestURI = u, path
			as(r)
			w := httptest.NewRecorder()
			sc.s.ServeHTTP(w, r)
			if w.Code != 404 && w.Code != 405 {
				t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Location"))
			}
		}
	}
	w := sc.call("DELETE", "/api/v1/queue", "", session(sc.admin))
	if w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("a wrong method: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// TestSignIn goes in and out by the pages.
func TestSignIn(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.account("ada", "team/app", access.Viewer)
	planted := &http.Cookie{Name: "fairlead-session", Value: "planted by somebody else"}
	post := func(path string, values url.Values, options ...func(*http.Request)) *httptest.ResponseRecorder {
		return sc.call("POST", path, "", append([]func(*http.Request){form(values), header("Sec-Fetch-Site", "same-origin")}, options...)...)
	}
	w := post("/sign-in", url.Values{"name": {"ada"}, "password": {"wrong, but long"}, "back": {"/runs"}})
	if w.Code != 303 || w.Header().Get("Location") != "/sign-in?back=%2Fruns" {
		t.Fatalf("a wrong password: %d, to %s", w.Code, w.Header().Get("Location"))
	}
	for back, want := range map[string]string{
		"/runs?branch=main": "/runs?branch=main", "": "/", "//evil.example.net": "/", `/\evil.example.net`: "/", "https:evil.example.net": "/", "https://evil.example.net/": "/",
		"/runs\r\nSet-Cookie: x=y": "/", "javascript:alert(1)": "/",
	} {
		w := post("/sign-in", url.Values{"name": {"ada"}, "password": {"a long enough one, ada"}, "back": {back}}, func(r *http.Request) { r.AddCookie(planted) })
		if w.Code != 303 || w.Header().Get("Location") != want || len(w.Header()["Set-Cookie"]) != 1 {
			t.Errorf("back=%q: %d, to %q, cookies %q", back, w.Code, w.Header().Get("Location"), w.Header()["Set-Cookie"])
		}
		c := w.Result().Cookies()[0]
		if c.Value == planted.Value || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
			t.Errorf("the session's cookie is %s", c)
		}
	}
	w = post("/sign-in", url.Values{"name": {"ada"}, "password": {"a long enough one, ada"}})
	cookie := w.Result().Cookies()[0]
	me := func() string {
		return sc.call("GET", "/api/v1/me", "", func(r *http.Request) { r.AddCookie(cookie) }).Body.String()
	}
	if got := me(); !strings.Contains(got, `"name":"ada"`) {
		t.Fatalf("signed in: %s", got)
	}
	if w := sc.call("GET", "/tokens?x=y", ""); w.Code != 303 || w.Header().Get("Location") != "/sign-in?back=%2Ftokens%3Fx%3Dy" {
		t.Errorf("a page for nobody: %d, to %s", w.Code, w.Header().Get("Location"))
	}
	var csrf string
	if _, rest, ok := strings.Cut(me(), `"csrf":"`); ok {
		csrf, _, _ = strings.Cut(rest, `"`)
	}
	w = post("/sign-out", url.Values{"csrf": {csrf}}, func(r *http.Request) { r.AddCookie(cookie) })
	if w.Code != 303 || w.Header().Get("Location") != "/sign-in" {
		t.Fatalf("sign out: %d %s", w.Code, w.Body)
	}
	if got := me(); strings.Contains(got, "ada") {
		t.Errorf("the session goes on after it was ended: %s", got)
	}
}

// playedIssuer is somebody else who vouches for people.
type playedIssuer struct {
	Gate
	session access.Session
}

func (g playedIssuer) Begin(_ context.Context, back string) (string, string, error) {
	return "https://id.example.org/authorize?back=" + url.QueryEscape(back), "the state", nil
}

func (g playedIssuer) Finish(_ context.Context, q url.Values, cookie, _ string) (access.Session, string, error) {
	if cookie != "the state" || q.Get("code") != "good" {
		return access.Session{}, "", access.ErrFlow
	}
	return g.session, q.Get("back"), nil
}

// TestSignInElsewhere goes there and comes back, in one browser.
func TestSignInElsewhere(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	if w := sc.call("GET", "/sign-in/oidc", ""); w.Code != 404 {
		t.Errorf("without anybody else: %d", w.Code)
	}
	sc.s.OIDC, sc.s.Gate = "Example", playedIssuer{sc.gate, sc.admin}
	w := sc.call("GET", "/sign-in/oidc?back=//evil.example.net", "")
	if w.Code != 303 || w.Header().Get("Location") != "https://id.example.org/authorize?back=%2F" || len(w.Result().Cookies()) != 1 {
		t.Fatalf("there: %d %v", w.Code, w.Header())
	}
	state := w.Result().Cookies()[0]
	with := func(r *http.Request) { r.AddCookie(state) }
	if w := sc.call("GET", "/sign-in/oidc/done?code=good", ""); w.Code != 403 || len(w.Result().Cookies()) != 0 {
		t.Errorf("back in another browser: %d %v", w.Code, w.Result().Cookies())
	}
	if w := sc.call("GET", "/sign-in/oidc/done?code=bad", "", with); w.Code != 403 || strings.Contains(w.Header().Get("Set-Cookie"), sc.admin.Cookie) {
		t.Errorf("back with nothing: %d %v", w.Code, w.Result().Cookies())
	}
	w = sc.call("GET", "/sign-in/oidc/done?code=good&back=https://evil.example.net", "", with)
	cookies := w.Result().Cookies()
	if w.Code != 303 || w.Header().Get("Location") != "/" || len(cookies) != 2 || cookies[0].MaxAge >= 0 || cookies[1].Value != sc.admin.Cookie {
		t.Errorf("back: %d %v", w.Code, w.Header())
	}
}

// TestBruteForce slows who guesses, and says for how long.
func TestBruteForce(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	for range 12 {
		w := sc.call("POST", "/sign-in", "", form(url.Values{"name": {"root"}, "password": {"guess, guess, guess"}}))
		if w.Code == http.StatusTooManyRequests {
			if w.Header().Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
			return
		}
	}
	t.Error("somebody may guess as fast as they like")
}

// TestHeaders are on every answer, whatever it is.
func TestHeaders(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	for _, path := range []string{"/sign-in", "/nowhere", "/api/v1/runs", "/healthz", "/hooks/x", "/api/v1/openapi.json"} {
		h := sc.call("GET", path, "").Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Referrer-Policy") == "" || h.Get("Permissions-Policy") == "" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	if w := sc.call("HEAD", "/api/v1/events?topic=runs", "", session(sc.admin)); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("the head of a stream: %d %s", w.Code, w.Body)
	}
	tls, err := New(Config{Gate: sc.gate, URL: "https://ci.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/sign-in", nil)
	form(url.Values{"name": {"root"}, "password": {"correct horse battery"}})(r)
	tls.ServeHTTP(w, r)
	c := w.Header().Get("Set-Cookie")
	if !strings.HasPrefix(c, "__Host-fairlead-session=") || !strings.Contains(c, "; Secure") || w.Header().Get("Strict-Transport-Security") == "" {
		t.Errorf("with TLS: %q, %v", c, w.Header())
	}
}

// TestFrom believes only proxies that it knows.
func TestFrom(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:80", "198.51.100.7", "192.0.2.1"},
		{"10.0.0.1:80", "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:80", "6.6.6.6, 198.51.100.7, 10.2.0.1", "198.51.100.7"},
		{"10.0.0.1:80", "6.6.6.6, <script>", "10.0.0.1"},
		{"10.0.0.1:80", "", "10.0.0.1"},
		{"[2001:db8::1]:80", "1.2.3.4", "2001:db8::1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.remote
		r.Header.Set("X-Forwarded-For", test.forwarded)
		if got := s.from(r); got != test.want {
			t.Errorf("%v: from %s", test, got)
		}
	}
}

// TestNoSecretsInLogs: what people and machines prove themselves with is not in
// the server's log.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	token := sc.token(access.TokenSpec{Name: "t"})
	sc.call("GET", "/api/v1/runs?token=canary-query", "", bearer(token))
	sc.call("GET", "/api/v1/runs", "", bearer(token+"x"))
	sc.call("GET", "/api/v1/me", "", session(sc.admin))
	sc.call("POST", "/sign-in", "", form(url.Values{"name": {"root"}, "password": {"canary-password"}}))
	sc.call("PUT", "/api/v1/secrets/KEY", `{"value":"canary-secret"}`, bearer(token))
	sc.call("PUT", "/api/v1/secrets/KEY", `{"value":"canary-secret","nonsense":1}`, bearer(token))
	sc.call("POST", "/hooks/team/app", `{"canary-body":1}`, header("X-Hub-Signature-256", signature("x")))
	for _, secret := range []string{token, sc.admin.Cookie, sc.admin.CSRF, "canary", signature("x"), hookKey} {
		if strings.Contains(sc.log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, sc.log)
		}
	}
}
