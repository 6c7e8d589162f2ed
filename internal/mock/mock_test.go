package mock_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/mock"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// parse reads one file of stubs, of which nothing may be wrong.
func parse(t *testing.T, text string) []mock.Stub {
	t.Helper()
	stubs, problems := mock.Parse("stubs.json", []byte(text), nil)
	for _, p := range problems {
		if p.Severity == plan.Error {
			t.Fatalf("%s", p)
		}
	}
	return stubs
}

func serve(t *testing.T, stubs []mock.Stub, o mock.Options) (*mock.Server, string) {
	t.Helper()
	m := mock.New(stubs, o)
	s := httptest.NewServer(m.Handler(0))
	t.Cleanup(s.Close)
	return m, s.URL
}

// ask sends "METHOD /target", header lines and, after an empty line, a body.
func ask(t *testing.T, base, text string) (int, string, http.Header) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r, err := http.NewRequest(method, base+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ": ")
		r.Header.Add(k, v)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, "broken: " + err.Error(), res.Header
	}
	return res.StatusCode, string(b), res.Header
}

func TestWireMockMatching(t *testing.T) {
	t.Parallel()
	for request, cases := range map[string]map[string]bool{
		`{"method":"GET","url":"/a?b=1"}`:   {"GET /a?b=1": true, "GET /a": false, "POST /a?b=1": false},
		`{"url":"/a"}`:                      {"DELETE /a": true, "GET /b": false},
		`{"method":"ANY","urlPath":"/a b"}`: {"GET /a%20b?x=y": true},
		`{"urlPattern":"/a/[0-9]+"}`:        {"GET /a/12": true, "GET /a/12x": false, "GET /a/1?x": false},
		`{"urlPathPattern":"/a/(?!b).*"}`:   {"GET /a/c": true, "GET /a/b": false},
		`{"urlPathTemplate":"/u/{id}/x","pathParameters":{"id":{"matches":"\\d+"}}}`:                            {"GET /u/7/x": true, "GET /u/q/x": false, "GET /u//x": false, "GET /u/7": false},
		`{"queryParameters":{"q":{"contains":"ell"}}}`:                                                          {"GET /?q=hello": true, "GET /?q=x": false, "GET /": false},
		`{"queryParameters":{"q":{"absent":true}}}`:                                                             {"GET /?q=": false, "GET /": true},
		`{"queryParameters":{"q":{"hasExactly":[{"equalTo":"1"},{"equalTo":"2"}]}}}`:                            {"GET /?q=2&q=1": true, "GET /?q=1": false, "GET /?q=1&q=2&q=3": false},
		`{"queryParameters":{"q":{"includes":[{"equalTo":"1"}]}}}`:                                              {"GET /?q=2&q=1": true, "GET /?q=2": false},
		`{"headers":{"Accept":{"equalTo":"Text/Plain","caseInsensitive":true}}}`:                                {"GET /\nAccept: text/plain": true, "GET /\nAccept: x": false},
		`{"headers":{"X":{"doesNotMatch":"a.*"}}}`:                                                              {"GET /\nX: b": true, "GET /\nX: ab": false, "GET /": true},
		`{"headers":{"X":{"or":[{"equalTo":"a"},{"absent":true}]}}}`:                                            {"GET /\nX: a": true, "GET /": true, "GET /\nX: b": false},
		`{"headers":{"X":{"and":[{"contains":"a"},{"contains":"b"}]}}}`:                                         {"GET /\nX: ab": true, "GET /\nX: a": false},
		`{"headers":{"X":{"not":{"contains":"a"}}}}`:                                                            {"GET /\nX: b": true, "GET /\nX: a": false},
		`{"cookies":{"s":{"equalTo":"1"}}}`:                                                                     {"GET /\nCookie: t=2; s=1": true, "GET /\nCookie: t=2": false},
		`{"basicAuth":{"username":"ada","password":"x"}}`:                                                       {"GET /\nAuthorization: Basic YWRhOng=": true, "GET /": false},
		`{"formParameters":{"a":{"equalTo":"1"}}}`:                                                              {"POST /\nContent-Type: application/x-www-form-urlencoded\n\nb=2&a=1": true, "POST /\n\na=2": false},
		`{"bodyPatterns":[{"equalToJson":{"a":[1,2]}}]}`:                                                        {"POST /\n\n{ \"a\": [1, 2] }": true, "POST /\n\n{\"a\":[2,1]}": false, "POST /\n\n{\"a\":[1,2],\"b\":1}": false},
		`{"bodyPatterns":[{"equalToJson":"{\"a\":[1,2]}","ignoreArrayOrder":true,"ignoreExtraElements":true}]}`: {"POST /\n\n{\"a\":[2,1],\"b\":1}": true, "POST /\n\n{\"a\":[2]}": false},
		`{"bodyPatterns":[{"equalToJson":{"a":"${json-unit.any-string}","b":"${json-unit.regex}[a-z]+"}}]}`:     {"POST /\n\n{\"a\":\"x\",\"b\":\"y\"}": true, "POST /\n\n{\"a\":1,\"b\":\"y\"}": false, "POST /\n\n{\"a\":\"x\",\"b\":\"7\"}": false},
		`{"bodyPatterns":[{"matchesJsonPath":"$.a[?(@.n == 'x')]"}]}`:                                           {"POST /\n\n{\"a\":[{\"n\":\"x\"}]}": true, "POST /\n\n{\"a\":[{\"n\":\"y\"}]}": false, "POST /\n\nno": false},
		`{"bodyPatterns":[{"matchesJsonPath":{"expression":"$.a","contains":"el"}}]}`:                           {"POST /\n\n{\"a\":\"hello\"}": true, "POST /\n\n{\"a\":\"x\"}": false},
		`{"bodyPatterns":[{"contains":"a"},{"matches":"(?s).*b"}]}`:                                             {"POST /\n\nxa\nb": true, "POST /\n\nxb": false},
		`{"bodyPatterns":[{"binaryEqualTo":"AAE="}]}`:                                                           {"POST /\n\n\x00\x01": true, "POST /\n\n\x00": false},
	} {
		_, base := serve(t, parse(t, `{"request":`+request+`,"response":{"status":204}}`), mock.Options{})
		for asked, want := range cases {
			if code, body, _ := ask(t, base, asked); (code == 204) != want || !want && code != 404 {
				t.Errorf("%s\n%q: got %d, want a match: %v\n%s", request, asked, code, want, body)
			}
		}
	}
}

func TestPriorityScenarioAndTemplates(t *testing.T) {
	t.Parallel()
	m, base := serve(t, parse(t, `{"mappings":[
	 {"priority":9,"request":{"urlPattern":".*"},"response":{"status":418,"body":"rest"}},
	 {"request":{"url":"/same"},"response":{"body":"older"}},
	 {"request":{"url":"/same"},"response":{"body":"newer"}},
	 {"scenarioName":"s","requiredScenarioState":"Started","newScenarioState":"second","request":{"url":"/turn"},"response":{"body":"1"}},
	 {"scenarioName":"s","requiredScenarioState":"second","newScenarioState":"Started","request":{"url":"/turn"},"response":{"body":"2"}},
	 {"request":{"urlPathPattern":"/t/.*"},"response":{"status":201,"headers":{"X-Id":"{{request.path.[1]}}","X-Two":["a","b"]},"transformers":["response-template"],
	   "body":"{{request.method}} {{request.query.q}} {{upper request.headers.X}} {{jsonPath request.body '$.n.m'}} {{trim (concat ' a ' 'b ')}} {{randomValue length=4 type='NUMERIC'}}"}},
	 {"request":{"url":"/json"},"response":{"jsonBody":{"z":1,"a":[true]}}}
	]}`), mock.Options{Seed: 7})
	for _, c := range []struct {
		ask  string
		code int
		body string
	}{
		{"GET /same", 200, "newer"}, {"GET /other", 418, "rest"},
		{"GET /turn", 200, "1"}, {"GET /turn", 200, "2"}, {"GET /turn", 200, "1"},
		{"GET /json", 200, `{"z":1,"a":[true]}`},
	} {
		if code, body, _ := ask(t, base, c.ask); code != c.code || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.ask, code, body, c.code, c.body)
		}
	}
	text := "POST /t/42?q=x\nX: y\n\n{\"n\":{\"m\":\"deep\"}}"
	code, first, h := ask(t, base, text)
	if code != 201 || !strings.HasPrefix(first, "POST x Y deep a b ") || h.Get("X-Id") != "42" || len(h.Values("X-Two")) != 2 {
		t.Errorf("template: %d %q %v", code, first, h)
	}
	if got := m.Tally(); got.Requests != 7 || got.Unmatched != 0 {
		t.Errorf("tally %+v", got)
	}
	m.Reset()
	if _, again, _ := ask(t, base, text); again != first {
		t.Errorf("the same seed gave %q and %q", first, again)
	}
}

func TestJournalNamesTheNearest(t *testing.T) {
	t.Parallel()
	var told []mock.Entry
	m, base := serve(t, parse(t, `{"mappings":[
	 {"name":"far","request":{"method":"PUT","url":"/x"},"response":{}},
	 {"name":"near","request":{"method":"POST","url":"/orders","headers":{"X-Tenant":{"equalTo":"acme"}}},"response":{}}]}`),
		mock.Options{Tell: func(e mock.Entry) { told = append(told, e) }})
	code, body, _ := ask(t, base, "POST /orders\nX-Tenant: other")
	if code != 404 || !strings.Contains(body, "near (stubs.json:3:3)") || !strings.Contains(body, `header X-Tenant is "other"; wanted: "acme"`) {
		t.Errorf("%d %s", code, body)
	}
	if j := m.Journal(); len(j) != 1 || j[0].By != "" || j[0].Nearest[0].Met != 2 || len(told) != 1 {
		t.Errorf("journal %+v", j)
	}
	_, body, _ = ask(t, base, "GET /__fairlead/requests")
	var entries []mock.Entry
	if err := json.Unmarshal([]byte(body), &entries); err != nil || len(entries) != 1 {
		t.Errorf("%v: %s", err, body)
	}
	if code, _, _ := ask(t, base, "POST /__fairlead/reset"); code != 204 || m.Tally().Requests != 0 {
		t.Errorf("reset: %d, %+v", code, m.Tally())
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	_, base := serve(t, parse(t, `{"mappings":[
	 {"request":{"url":"/EMPTY_RESPONSE"},"response":{"fault":"EMPTY_RESPONSE"}},
	 {"request":{"url":"/CONNECTION_RESET_BY_PEER"},"response":{"fault":"CONNECTION_RESET_BY_PEER"}},
	 {"request":{"url":"/RANDOM_DATA_THEN_CLOSE"},"response":{"fault":"RANDOM_DATA_THEN_CLOSE"}},
	 {"request":{"url":"/MALFORMED_RESPONSE_CHUNK"},"response":{"fault":"MALFORMED_RESPONSE_CHUNK"}}]}`), mock.Options{})
	raw := func(path string) (string, error) {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		b, err := io.ReadAll(bufio.NewReader(c))
		return string(b), err
	}
	if got, err := raw("EMPTY_RESPONSE"); got != "" || err != nil {
		t.Errorf("empty: %q, %v", got, err)
	}
	if _, err := raw("CONNECTION_RESET_BY_PEER"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
	if got, err := raw("RANDOM_DATA_THEN_CLOSE"); strings.HasPrefix(got, "HTTP") || got == "" || err != nil {
		t.Errorf("garbage: %q, %v", got, err)
	}
	if got, err := raw("MALFORMED_RESPONSE_CHUNK"); !strings.HasPrefix(got, "HTTP/1.1 200") || err != nil {
		t.Errorf("broken: %q, %v", got, err)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	_, base := serve(t, parse(t, `{"request":{},"response":{"body":"slow","fixedDelayMilliseconds":30,"chunkedDribbleDelay":{"numberOfChunks":3,"totalDuration":30}}}`), mock.Options{})
	begin := time.Now()
	if _, body, _ := ask(t, base, "GET /"); body != "slow" || time.Since(begin) < 60*time.Millisecond {
		t.Errorf("%q after %v, and not before 60ms", body, time.Since(begin))
	}
}

func TestHoverfly(t *testing.T) {
	t.Parallel()
	_, base := serve(t, parse(t, `{"data":{"pairs":[
	 {"request":{"path":[{"matcher":"glob","value":"/g*"}]},"response":{"status":200,"body":"glob"}},
	 {"request":{"method":[{"matcher":"exact","value":"GET"}],"path":[{"matcher":"exact","value":"/good"}],"destination":[{"matcher":"exact","value":"x.test"}]},"response":{"status":201,"body":"aGk=","encodedBody":true,"headers":{"X":["1"]}}},
	 {"request":{"path":[{"matcher":"exact","value":"/q"}],"query":{"a":[{"matcher":"regex","value":"^\\d+$"}]}},"response":{"status":200,"templated":true,"body":"{{ Request.QueryParam.a }} {{ Request.Path.[0] }} {{ Request.Body 'jsonpath' '$.k' }}"}},
	 {"request":{"path":[{"matcher":"exact","value":"/json"}],"body":[{"matcher":"jsonPartial","value":"{\"a\":1}"}]},"response":{"status":200,"body":"part"}},
	 {"request":{"path":[{"matcher":"exact","value":"/multi"}],"query":{"v":[{"matcher":"array","value":["1","2"],"config":{"ignoreOrder":true}}]}},"response":{"status":200,"body":"array"}},
	 {"request":{"path":[{"matcher":"exact","value":"/basket"}]},"response":{"status":200,"body":"empty","transitionsState":{"basket":"full"}}},
	 {"request":{"path":[{"matcher":"exact","value":"/basket"}],"requiresState":{"basket":"full"}},"response":{"status":200,"body":"full","removesState":["basket"]}}
	],"globalActions":{"delays":[],"delaysLogNormal":[]}},"meta":{"schemaVersion":"v5.2"}}`), mock.Options{})
	for _, c := range [][2]string{
		{"GET /good", "201 hi"}, {"POST /good", "200 glob"}, {"GET /q?a=12\n\n{\"k\":\"v\"}", "200 12 q v"}, {"GET /q?a=x", "404"},
		{"POST /json\n\n{\"a\":1,\"b\":2}", "200 part"}, {"GET /multi?v=2&v=1", "200 array"}, {"GET /multi?v=2", "404"},
		{"GET /basket", "200 empty"},
	} {
		code, body, _ := ask(t, base, c[0])
		if got := fmt.Sprintf("%d %s", code, body); !strings.HasPrefix(got, c[1]) {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

// A client may take the mock for a proxy, as Hoverfly is one: then it counts whom
// it wants to talk to.
func TestHoverflyAsProxy(t *testing.T) {
	t.Parallel()
	_, base := serve(t, parse(t, `{"data":{"pairs":[
	 {"request":{"destination":[{"matcher":"exact","value":"a.test"}],"scheme":[{"matcher":"exact","value":"http"}]},"response":{"status":200,"body":"a"}},
	 {"request":{"destination":[{"matcher":"glob","value":"*.other.test"}]},"response":{"status":200,"body":"b"}}
	]},"meta":{"schemaVersion":"v5.1"}}`), mock.Options{})
	through, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through), DisableKeepAlives: true}}
	for address, want := range map[string]int{"http://a.test/x": 200, "http://x.other.test/": 200, "http://c.test/": 404} {
		res, err := c.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", address, res.StatusCode, want)
		}
	}
	if code, body, _ := ask(t, base, "GET /x"); code != 200 || body != "a" {
		t.Errorf("directly: %d %s", code, body)
	}
}

func TestMountebank(t *testing.T) {
	t.Parallel()
	m, base := serve(t, parse(t, `{"imposters":[{"port":4545,"protocol":"http","defaultResponse":{"statusCode":400,"headers":{"X-D":"1"}},"stubs":[
	 {"predicates":[{"equals":{"method":"post","path":"/ORDERS","query":{"A":"b"}}}],"responses":[{"is":{"statusCode":201,"body":{"id":1}}}]},
	 {"predicates":[{"and":[{"startsWith":{"path":"/two"}},{"not":{"exists":{"headers":{"X-No":true}}}}]}],"responses":[{"is":{"body":"a"},"repeat":2},{"is":{"body":"b"}}]},
	 {"predicates":[{"or":[{"contains":{"body":"x"}},{"endsWith":{"path":"/or"}}]}],"responses":[{"is":{"body":"or"}}]},
	 {"predicates":[{"matches":{"path":"^/m/\\d+$"},"caseSensitive":true}],"responses":[{"is":{"body":"id ${ID}"},"_behaviors":{"copy":[{"from":"path","into":"${ID}","using":{"method":"regex","selector":"\\d+"}}]}}]},
	 {"predicates":[{"deepEquals":{"query":{"only":"1"}}}],"responses":[{"is":{"body":"deep"}}]},
	 {"predicates":[{"equals":{"body":"v"},"jsonpath":{"selector":"$..k"}}],"responses":[{"is":{"body":"jp"}}]}
	]}]}`), mock.Options{})
	for _, c := range [][2]string{
		{"POST /orders?a=B", `201 {"id":1}`}, {"GET /two", "400 a"}, {"GET /two", "400 a"}, {"GET /two", "400 b"}, {"GET /two\nX-No: 1", "400 "},
		{"GET /x/or", "400 or"}, {"GET /m/77", "400 id 77"}, {"GET /d?only=1", "400 deep"}, {"GET /d?only=1&more=2", "400 "}, {"POST /z\n\n{\"l\":[{\"k\":\"v\"}]}", "400 jp"},
		{"GET /none", "400 "},
	} {
		code, body, h := ask(t, base, c[0])
		if got := fmt.Sprintf("%d %s", code, body); got != c[1] || h.Get("X-D") != "1" {
			t.Errorf("%q: %q, want %q (%v)", c[0], got, c[1], h)
		}
	}
	if got := m.Tally(); got.Unmatched != 3 { // what only the default answers fits nothing
		t.Errorf("tally %+v", got)
	}
	if got := fmt.Sprint(m.Ports()); got != "[4545]" {
		t.Error(got)
	}
}

func TestUnsupportedIsSaidWithItsPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{\"request\":{},\n \"response\":{\"transformers\":[\"mine\"]}}":                                             `f.json:2:30: the transformer "mine" is not supported`,
		"{\"request\":{\"bodyPatterns\":[\n{\"matchesXPath\":\"//a\"}]},\"response\":{}}":                            `f.json:2:2: "matchesXPath" in a matcher is not supported`,
		"{\"request\":{\"customMatcher\":{}},\"response\":{}}":                                                       `f.json:1:13: "customMatcher" in request is not supported`,
		"{\"request\":{},\"response\":{\"transformers\":[\"response-template\"],\"body\":\"{{#each x}}{{/each}}\"}}": `the block {{#each x}} is not supported`,
		"{\"request\":{},\"response\":{\"status\":\"x\"}}":                                                           `status must be a number from 100 to 999, not the text "x"`,
		"{\"request\":{\"urlPattern\":\"(\"},\"response\":{}}":                                                       `the regular expression "("`,
		"{\"request\":{}}": "a mapping needs a response",
		"{\"data\":{\"pairs\":[]},\"meta\":{\"schemaVersion\":\"v4\"}}":                                                                                   `a simulation of version "v4" is not read`,
		"{\"data\":{\"pairs\":[{\"request\":{\"body\":[{\"matcher\":\"xpath\",\"value\":\"/\"}]},\"response\":{}}]},\"meta\":{\"schemaVersion\":\"v5\"}}": `the matcher "xpath" is not supported`,
		"{\"imposters\":[{\"protocol\":\"tcp\",\"stubs\":[]}]}":                                                                                           `the protocol "tcp" is not supported`,
		"{\"imposters\":[{\"protocol\":\"http\",\"stubs\":[{\"predicates\":[{\"inject\":\"x\"}]}]}]}":                                                     `"inject" in a predicate is not supported`,
		"{\"a\":1}":      "neither a WireMock mapping",
		"{\"request\":{": "the file ends in the middle of a value",
		"[1,]":           "this is no JSON",
		strings.Repeat("[", 200) + strings.Repeat("]", 200): "nested deeper than",
	} {
		_, problems := mock.Parse("f.json", []byte(text), nil)
		if len(problems) == 0 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%.80s: %v, want %s", text, problems, want)
		}
	}
	stubs, problems := mock.Parse("f.json", []byte(`[{"request":{"x":1},"response":{}},{"request":{},"response":{}}]`), nil)
	if len(stubs) != 1 || len(problems) != 1 {
		t.Errorf("%d stubs, %v", len(stubs), problems)
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "mappings/sub/a.json", `{"request":{"url":"/a"},"response":{"bodyFileName":"big/body.txt"}}`)
	put(t, dir, "__files/big/body.txt", "from a file")
	put(t, dir, "mappings/escape.json", `{"request":{"url":"/e"},"response":{"bodyFileName":"../../../../etc/passwd"}}`)
	stubs, problems, err := mock.Load(dir)
	if err != nil || len(stubs) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Message, "cannot be read") {
		t.Fatalf("%d stubs, %v, %v", len(stubs), problems, err)
	}
	_, base := serve(t, stubs, mock.Options{})
	if _, body, _ := ask(t, base, "GET /a"); body != "from a file" {
		t.Error(body)
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-secret"
	count := 0
	real := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Api-Key", secret)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: secret, Path: "/"})
		switch r.URL.Path {
		case "/base/counter":
			count++
			fmt.Fprintf(w, "count %d", count)
		case "/base/picture":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte{0x89, 'P', 'N', 'G', 0, 1, 2})
		case "/base/login":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"user":"ada","access_token":%q}`, secret)
		default:
			http.NotFound(w, r)
		}
	}))
	defer real.Close()
	dir := t.TempDir()
	rec, err := mock.NewRecorder(real.URL+"/base/", dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(rec)
	defer proxy.Close()
	requests := []string{
		"GET /counter", "GET /counter", "GET /picture?size=1&token=" + secret, "GET /none",
		"POST /login\nContent-Type: application/json\nAuthorization: Bearer " + secret + "\n\n{\"user\":\"ada\",\"password\":\"" + secret + "\"}",
	}
	var bodies []string
	for _, r := range requests {
		_, body, _ := ask(t, proxy.URL, r)
		bodies = append(bodies, body)
	}
	if !strings.Contains(bodies[4], secret) {
		t.Errorf("the client must get the true answer: %s", bodies[4])
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the secret:\n%s", p, b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	stubs, problems, err := mock.Load(dir)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	m, base := serve(t, stubs, mock.Options{})
	for i, r := range requests {
		want := strings.ReplaceAll(bodies[i], secret, "***")
		if _, body, _ := ask(t, base, r); body != want {
			t.Errorf("%.40q: %q, want %q", r, body, want)
		}
	}
	if got := m.Tally(); got.Unmatched != 0 {
		t.Errorf("%+v %+v", got, m.Journal())
	}
}

const petstore = `
openapi: 3.0.3
info: {title: pets, version: "1"}
servers: [{url: "https://api.example.com/v1"}]
paths:
  /pets/{id}:
    get:
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer}}
      responses:
        "200":
          description: a pet
          content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}
        "404":
          description: none
          content: {application/json: {example: {error: none}}}
  /pets:
    post:
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
      responses: {"201": {description: made}}
components:
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties: {id: {type: integer}, name: {type: string, example: Rex}, born: {type: string, format: date}}
`

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "spec.yaml", petstore)
	c, problems, err := mock.LoadContract(filepath.Join(dir, "spec.yaml"))
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	_, base := serve(t, nil, mock.Options{Contract: c, Examples: true})
	for _, w := range [][2]string{
		{"GET /v1/pets/7", `200 {"born":"2026-01-01","id":0,"name":"Rex"}`}, {"GET /pets/7", `200 {"born"`},
		{"GET /pets/7\nPrefer: code=404", `404 {"error":"none"}`}, {"GET /pets/x", "400 fairlead mock: the request breaks the contract"},
		{"POST /pets\nContent-Type: application/json\n\n{\"id\":1,\"name\":\"a\"}", "201 "}, {"POST /pets\nContent-Type: application/json\n\n{\"id\":1}", "400 "},
		{"GET /other", "404 "},
	} {
		code, body, _ := ask(t, base, w[0])
		if got := fmt.Sprintf("%d %s", code, body); !strings.HasPrefix(got, w[1]) {
			t.Errorf("%q: %q, want %q", w[0], got, w[1])
		}
	}
	m, base := serve(t, parse(t, `{"mappings":[{"request":{"urlPattern":"/pets/\\d+"},"response":{"headers":{"Content-Type":"application/json"},"jsonBody":{"id":"no number"}}}]}`), mock.Options{Contract: c})
	if code, _, h := ask(t, base, "GET /pets/1"); code != 200 || h.Get("X-Fairlead-Contract") == "" {
		t.Errorf("%d %v", code, h)
	}
	if j := m.Journal(); m.Tally().Violations != 1 || !strings.HasPrefix(j[0].Violations[0], "answer: ") {
		t.Errorf("%+v", j)
	}
	put(t, dir, "bad.yaml", "openapi: 3.0.3\npaths: []")
	put(t, dir, "ref.yaml", strings.ReplaceAll(petstore, "#/components/schemas/Pet", "http://192.0.2.1/x"))
	for _, name := range []string{"bad.yaml", "ref.yaml"} {
		if _, problems, err := mock.LoadContract(filepath.Join(dir, name)); err != nil || len(problems) != 1 {
			t.Errorf("%s: %v, %v", name, problems, err)
		}
	}
}

func TestProxyOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	real := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL, r.Header.Get("X-Add"), b)
	}))
	defer real.Close()
	_, base := serve(t, parse(t, `{"request":{"urlPathPattern":"/api/.*"},"response":{"proxyBaseUrl":"`+real.URL+`","proxyUrlPrefixToRemove":"/api","additionalProxyRequestHeaders":{"X-Add":"1"}}}`), mock.Options{Proxy: real.URL})
	if _, body, _ := ask(t, base, "POST /api/x?y=1\n\nhi"); body != "POST /x?y=1 1 hi" {
		t.Error(body)
	}
	if _, body, _ := ask(t, base, "PUT /free\n\nbody"); body != "PUT /free  body" {
		t.Error(body)
	}
}

// FuzzParse holds that no file makes a parser fail otherwise than by problems,
// and that what it yields can answer.
func FuzzParse(f *testing.F) {
	f.Add(`{"request":{"urlPathTemplate":"/a/{b}","bodyPatterns":[{"matchesJsonPath":{"expression":"$..a[?(@.b>1)]","equalTo":"1"}}]},"response":{"body":"{{request.path}}","transformers":["response-template"]}}`)
	f.Add(`{"data":{"pairs":[{"request":{"path":[{"matcher":"glob","value":"*"}]},"response":{"templated":true,"body":"{{ Request.Path }}"}}]},"meta":{"schemaVersion":"v5"}}`)
	f.Add(`{"imposters":[{"protocol":"http","port":1,"stubs":[{"predicates":[{"exists":{"query":{"q":true}}}],"responses":[{"is":{"body":"x"},"_behaviors":{"copy":{"from":"path","into":"$","using":{"method":"regex","selector":"."}}}}]}]}]}`)
	f.Add(`{"request":{},"response":{"fault":"EMPTY_RESPONSE"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		stubs, problems := mock.Parse("f.json", []byte(text), nil)
		for _, p := range problems {
			if p.Message == "" || p.Line < 1 {
				t.Fatalf("a problem without words or place: %+v", p)
			}
		}
		if strings.Contains(text, "elay") || strings.Contains(text, "wait") || strings.Contains(text, "http:") || strings.Contains(text, "https:") {
			return // would wait, or ask others
		}
		w := httptest.NewRecorder()
		defer func() {
			if r := recover(); r != nil && r != http.ErrAbortHandler {
				panic(r)
			}
		}()
		mock.New(stubs, mock.Options{}).Handler(0).ServeHTTP(w, httptest.NewRequest("POST", "/a/1?q=2", strings.NewReader(`{"a":[{"b":2}]}`)))
	})
}
