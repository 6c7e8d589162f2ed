package forge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// played answers requests one after the other.
type played struct {
	answers []any // an *http.Response or an error
	asked   []string
}

func (p *played) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		p.asked = append(p.asked, r.Method+" "+string(body))
	} else {
		p.asked = append(p.asked, r.Method+" "+r.URL.Path)
	}
	next := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	if err, ok := next.(error); ok {
		return nil, err
	}
	res := *next.(*http.Response)
	res.Request = r
	return &res, nil
}

func answer(code int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func TestTries(t *testing.T) {
	t.Parallel()
	network := errors.New("connection reset")
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, c := range map[string]struct {
			method  string
			answers []any
			tries   int
			ok      bool
			least   time.Duration // that it waited
		}{
			"at once":                  {"POST", []any{answer(200, "{}")}, 1, true, 0},
			"busy, then not":           {"POST", []any{answer(503, ""), answer(503, ""), answer(200, "{}")}, 3, true, 3 * time.Second},
			"busy":                     {"GET", []any{answer(503, "")}, 3, false, 3 * time.Second},
			"as long as it says":       {"POST", []any{answer(429, "", "Retry-After", "15"), answer(200, "{}")}, 2, true, 15 * time.Second},
			"until it says":            {"POST", []any{answer(429, "", "Retry-After", now.Add(12*time.Second).UTC().Format(http.TimeFormat)), answer(200, "{}")}, 2, true, 0},
			"longer than we wait":      {"GET", []any{answer(429, "", "Retry-After", "60")}, 1, false, 0},
			"far too long":             {"GET", []any{answer(429, "", "Retry-After", "99999999999999999999")}, 3, false, 3 * time.Second},
			"a limit used up":          {"GET", []any{answer(403, "", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "99999999999")}, 1, false, 0},
			"forbidden":                {"GET", []any{answer(403, "")}, 1, false, 0},
			"not there":                {"GET", []any{answer(404, "")}, 1, false, 0},
			"broken":                   {"PUT", []any{answer(500, ""), answer(200, "{}")}, 2, true, time.Second},
			"broken, perhaps done":     {"POST", []any{answer(502, "")}, 1, false, 0},
			"changed, perhaps":         {"PATCH", []any{answer(504, "")}, 1, false, 0},
			"network":                  {"GET", []any{network, answer(200, "{}")}, 2, true, time.Second},
			"network, perhaps done":    {"POST", []any{network}, 1, false, 0},
			"a page for people":        {"GET", []any{answer(200, "<html>")}, 1, false, 0},
			"a page instead of a JSON": {"GET", []any{answer(502, "<html>"), answer(200, "{}")}, 2, true, time.Second},
		} {
			p := &played{answers: c.answers}
			a := &API{Client: &http.Client{Transport: p}, Name: "Host", Base: "https://api.example.com", Token: "t0ken"}
			var out map[string]any
			began := time.Now()
			_, err := a.Do(t.Context(), &Call{What: "try", Method: c.method, Path: "/x", Out: &out})
			if (err == nil) != c.ok || len(p.asked) != c.tries || time.Since(began) < c.least || time.Since(began) > 30*time.Second {
				t.Errorf("%s: %d tries in %s, %v", name, len(p.asked), time.Since(began), err)
			}
			if err != nil && (!strings.Contains(err.Error(), "try") || !strings.Contains(err.Error(), "api.example.com")) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Whoever waits can be stopped.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		p := &played{answers: []any{answer(429, "", "Retry-After", "15")}}
		began := time.Now()
		_, err := (&API{Client: &http.Client{Transport: p}, Base: "https://api.example.com"}).Do(ctx, &Call{What: "try", Method: "GET", Path: "/x"})
		if err == nil || time.Since(began) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

func TestCallErrors(t *testing.T) {
	t.Parallel()
	const token = "s3cr3t-t0ken"
	do := func(c *Call, next any, base string) error {
		a := &API{Client: &http.Client{Transport: &played{answers: []any{next}}}, Name: "Host", Base: base, Token: token, Header: http.Header{"Authorization": {"Basic c2VjcmV0"}}}
		c.What = "set it"
		_, err := a.Do(t.Context(), c)
		return err
	}
	post := func() *Call { return &Call{Method: "POST", Path: "/x"} }
	for body, want := range map[string]string{
		`{"message":"Validation Failed","errors":[{"field":"body","code":"too_long"},{"message":"more"}]}`: "Validation Failed; body too_long; more",
		`{"message":{"b":["is bad"],"a":["is worse"]}}`:                                                    "a [is worse]; b [is bad]",
		`{"error":{"message":"no"}}`:                                                                       "no",
		`{"error":"invalid_grant","error_description":"expired"}`:                                          "expired",
		`{"errors":["one","two"]}`:                                                                         "one; two",
		`{"message":"a\nb\u001b[2J"}`:                                                                      ": a",
		"{\"message\":\"you sent " + token + " and c2VjcmV0\"}":                                            "you sent *** and ***",
	} {
		err := do(post(), answer(422, body), "https://api.example.com")
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", body, err)
		}
		if Code(err) != 422 {
			t.Errorf("code %d", Code(err))
		}
	}
	for code, want := range map[int]string{401: "set a new one", 403: "give it the right", 404: "may not see it"} {
		if err := do(post(), answer(code, "<html>"), "https://api.example.com"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "html") {
			t.Errorf("%d: %v", code, err)
		}
	}
	if err := do(post(), &url.Error{Op: "Post", URL: "https://x/" + token, Err: errors.New("refused " + token)}, "https://api.example.com"); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("%v", err)
	}
	for _, base := range []string{"", "api.example.com", "file:///etc", "https://user:pass@api.example.com", "https://api.example.com?x=", "https://"} {
		if err := do(post(), answer(200, "{}"), base); err == nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%q: %v", base, err)
		} else if yes, _ := Temporary(err); yes {
			t.Errorf("%q: may be tried again: %v", base, err)
		}
	}
	for _, path := range []string{"https://evil.example/x", "http://api.example.com/x", "https://api.example.com:8443/x", "https://u@api.example.com/x", ".evil.example/x", "@evil.example/x", ":80/x"} {
		if err := do(&Call{Method: "GET", Path: path}, answer(200, "{}"), "https://api.example.com"); err == nil {
			t.Errorf("%s was asked", path)
		}
	}
	if err := do(&Call{Method: "GET", Path: "https://api.example.com/x?page=2"}, answer(200, "{}"), "https://api.example.com"); err != nil {
		t.Error(err)
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"app.tar.gz", `a"b.txt`, "naïve ✓.txt"} {
		a := &Asset{Name: name, Size: 5, Type: "text/plain", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("bytes")), nil }}
		c := Form(a, "attachment", &Call{})
		for range 2 { // it is opened once a try
			body, err := c.Body()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(body)
			if err != nil || int64(len(text)) != c.Size {
				t.Fatalf("%d bytes, not %d: %v", len(text), c.Size, err)
			}
			_, params, err := mime.ParseMediaType(c.Type)
			if err != nil {
				t.Fatal(err)
			}
			form, err := multipart.NewReader(bytes.NewReader(text), params["boundary"]).ReadForm(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			file := form.File["attachment"][0]
			if file.Filename != name || file.Size != 5 || file.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("%+v", file)
			}
		}
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, host, name string }{
		{"https://git.example.com/team/app.git", "https://git.example.com", "team/app"},
		{"https://user:pass@git.example.com:8443/team/sub/app/", "https://git.example.com:8443", "team/sub/app"},
		{"http://git.example.com/app", "http://git.example.com", "app"},
		{"git@git.example.com:team/app.git", "https://git.example.com", "team/app"},
		{"git@git.example.com:/team/app.git", "https://git.example.com", "team/app"},
		{"ssh://git@git.example.com:2222/team/app", "https://git.example.com", "team/app"},
		{"ssh://git@altssh.gitlab.com:443/team/app", "https://gitlab.com", "team/app"},
		{"file:///srv/git/app", "", ""},
		{"/srv/git/app", "", ""},
		{"", "", ""},
		{"ext::sh -c x", "", ""},
	} {
		if host, name := (&Remote{URL: c.url}).Locate(); host != c.host || name != c.name {
			t.Errorf("%q: %q, %q", c.url, host, name)
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, s := range []string{"https://a/b", "git@a:b/c", "ssh://a:1/b", "::", "[::1]:x", "--upload-pack=x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &Remote{URL: s, Token: "x"}
		host, _ := r.Locate()
		if u, err := url.Parse(host); err != nil || u.User != nil || u.Path != "" {
			t.Errorf("%q is at %q: %v", s, host, err)
		}
		if r.Check() == nil && strings.Contains("/"+Escape(r.Repository)+"/", "/../") {
			t.Errorf("%q is %q", s, r.Repository)
		}
	})
}
