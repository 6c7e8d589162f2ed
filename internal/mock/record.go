package mock

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Recorder is a server that passes everything on to another one, and writes
// what went by as WireMock's mappings: a file for each kind of request, with
// bodies that are no text, or long, beside it.
//
// What looks like a secret is masked in what is written: headers, parameters
// of the query and members of JSON bodies by their names. The client gets the
// true answer.
type Recorder struct {
	target    *url.URL
	dir       *os.Root
	transport http.RoundTripper
	tell      func(Recorded)

	mu   sync.Mutex
	seen map[string]*recording // by the digest of what tells requests apart
}

// Recorded tells of a request that went by.
type Recorded struct {
	Method, Target string // masked
	Status         int
	File           string // that it was written to; "" for one like it that is there
	Why            string // it was not written
}

// maxInline is how long a text may be to stand in the mapping itself.
const maxInline = 64 << 10

// maxTimes is how many different answers to the same request are kept.
const maxTimes = 100

// NewRecorder makes a recorder that passes requests on to target and writes
// to a directory, which is made if it is not there. tell is told of each request and
// may be nil.
func NewRecorder(target, dir string, tell func(Recorded)) (*Recorder, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the target must be an http or https address")
	}
	for _, d := range []string{"mappings", "__files"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(Recorded) {}
	}
	return &Recorder{target: u, dir: root, transport: outward(), tell: tell, seen: map[string]*recording{}}, nil
}

// Close ends the recorder.
func (rec *Recorder) Close() error { return rec.dir.Close() }

// recording is the answers to one kind of request.
type recording struct {
	name    string
	request mappedRequest
	answers []mappedResponse
	digests []string
}

// The words of a mapping that is written.
type (
	mapping struct {
		Name     string         `json:"name"`
		Scenario string         `json:"scenarioName,omitempty"`
		Required string         `json:"requiredScenarioState,omitempty"`
		New      string         `json:"newScenarioState,omitempty"`
		Request  mappedRequest  `json:"request"`
		Response mappedResponse `json:"response"`
	}
	mappedRequest struct {
		Method  string                    `json:"method"`
		Path    string                    `json:"urlPath"`
		Query   map[string]map[string]any `json:"queryParameters,omitempty"`
		Headers map[string]map[string]any `json:"headers,omitempty"`
		Body    []map[string]any          `json:"bodyPatterns,omitempty"`
	}
	mappedResponse struct {
		Status  int                 `json:"status"`
		Headers map[string][]string `json:"headers,omitempty"`
		JSON    json.RawMessage     `json:"jsonBody,omitempty"`
		Body    string              `json:"body,omitempty"`
		File    string              `json:"bodyFileName,omitempty"`

		beside []byte // what goes into File
	}
)

// passing is what a request was before it was passed on.
type passing struct {
	url  *url.URL
	body []byte // nil when it is too long
}

type passingKey struct{}

// ServeHTTP passes a request on and writes it down.
func (rec *Recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		http.Error(w, "the request's body cannot be read", http.StatusBadRequest)
		return
	}
	var rest io.Reader = bytes.NewReader(body)
	asked := *r.URL
	kept := &passing{url: &asked, body: body}
	if len(body) > MaxBody {
		rest, kept.body = io.MultiReader(rest, r.Body), nil
	}
	length := r.ContentLength
	r = r.WithContext(context.WithValue(r.Context(), passingKey{}, kept))
	r.Body, r.ContentLength = io.NopCloser(rest), length
	(&httputil.ReverseProxy{
		Transport: rec.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(rec.target)
			p.Out.Host = rec.target.Host
			p.Out.Header.Del("Accept-Encoding") // the transport asks for itself, and unpacks
		},
		ModifyResponse: rec.answered,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			rec.tell(Recorded{Method: r.Method, Target: maskTarget(r.URL), Status: http.StatusBadGateway, Why: "the target does not answer: " + plainError(err)})
			refuse(w, http.StatusBadGateway, "the target does not answer", []string{plainError(err)})
		},
	}).ServeHTTP(w, r)
}

// answered writes down what went by. What cannot be is passed on all the same.
func (rec *Recorder) answered(res *http.Response) error {
	r := res.Request
	kept, ok := r.Context().Value(passingKey{}).(*passing)
	if !ok {
		return errors.New("the request did not come through the recorder")
	}
	say := Recorded{Method: r.Method, Target: maskTarget(kept.url), Status: res.StatusCode}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		say.Why = "it left HTTP for another protocol"
	case kept.body == nil:
		say.Why = fmt.Sprintf("the request has more than %d bytes", MaxBody)
	case strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream"):
		say.Why = "it is a stream of events, which has no end"
	}
	if say.Why == "" {
		body, err := io.ReadAll(io.LimitReader(res.Body, MaxBody+1))
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), failing{err}, res.Body), res.Body}
		switch {
		case err != nil:
			say.Why = "the answer broke off: " + err.Error()
		case len(body) > MaxBody:
			say.Why = fmt.Sprintf("the answer has more than %d bytes", MaxBody)
		default:
			if say.File, err = rec.keep(r, kept.url, kept.body, res, body); err != nil {
				say.Why = "it cannot be written: " + err.Error()
			}
		}
	}
	rec.tell(say)
	return nil
}

// failing is a reader that ends with an error, or with nothing.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// keep adds an answer to what is known of a request, and writes that.
func (rec *Recorder) keep(r *http.Request, target *url.URL, asked []byte, res *http.Response, answer []byte) (string, error) {
	request := requestOf(r, target, asked)
	id := digest(request)
	response := responseOf(res, answer)
	what := digest(struct {
		R mappedResponse
		B []byte
	}{response, response.beside})
	rec.mu.Lock()
	defer rec.mu.Unlock()
	known := rec.seen[id]
	if known == nil {
		known = &recording{name: cmp.Or(slug(r.Method+" "+target.Path), "request") + "-" + id[:8], request: request}
		rec.seen[id] = known
	}
	switch {
	case len(known.digests) > 0 && known.digests[len(known.digests)-1] == what:
		return "", nil // the same again
	case len(known.answers) == maxTimes:
		return "", fmt.Errorf("there are %d answers to it already", maxTimes)
	}
	if response.File != "" {
		response.File = fmt.Sprintf("%s-%d%s", known.name, len(known.answers)+1, response.File)
		if err := rec.write(path.Join("__files", response.File), response.beside); err != nil {
			return "", err
		}
	}
	known.answers, known.digests = append(known.answers, response), append(known.digests, what)
	return known.name, rec.save(known)
}

// save writes the mapping of a recording. Several answers are a scenario, of
// which the last answer stays.
func (rec *Recorder) save(k *recording) error {
	state := func(i int) string {
		if i == 0 {
			return started
		}
		return fmt.Sprintf("%d answered", i)
	}
	var all []mapping
	for i, a := range k.answers {
		m := mapping{Name: k.request.Method + " " + k.request.Path, Request: k.request, Response: a}
		if len(k.answers) > 1 {
			m.Scenario, m.Required = k.name, state(i)
			if i+1 < len(k.answers) {
				m.New = state(i + 1)
			}
		}
		all = append(all, m)
	}
	var doc any = all[0]
	if len(all) > 1 {
		doc = map[string]any{"mappings": all}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return err
	}
	return rec.write(path.Join("mappings", k.name+".json"), b.Bytes())
}

// write puts a file in its place as a whole.
func (rec *Recorder) write(name string, data []byte) error {
	temp := name + ".part"
	if err := rec.dir.WriteFile(temp, data, 0o644); err != nil {
		return err
	}
	return rec.dir.Rename(temp, name)
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Append(nil, v)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// requestOf is what tells the request from others.
func requestOf(r *http.Request, target *url.URL, body []byte) mappedRequest {
	m := mappedRequest{Method: r.Method, Path: target.EscapedPath()}
	for name, values := range target.Query() {
		if m.Query == nil {
			m.Query = map[string]map[string]any{}
		}
		switch {
		case isSecret(name):
			m.Query[name] = map[string]any{"matches": "(?s).+"}
		case len(values) == 1:
			m.Query[name] = map[string]any{"equalTo": values[0]}
		default:
			var all []map[string]any
			for _, v := range values {
				all = append(all, map[string]any{"equalTo": v})
			}
			m.Query[name] = map[string]any{"hasExactly": all}
		}
	}
	if len(body) == 0 {
		return m
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "" {
		m.Headers = map[string]map[string]any{"Content-Type": {"contains": kind}}
	}
	if v, ok := parseJSON(body); ok {
		m.Body = []map[string]any{{"equalToJson": string(mustJSON(masked(v, "${json-unit.any-string}", 0)))}}
		return m
	}
	if kind == "application/x-www-form-urlencoded" {
		if form, err := url.ParseQuery(string(body)); err == nil {
			for name := range form {
				if isSecret(name) {
					return m // which parameters it has is not told apart
				}
			}
		}
	}
	if utf8.Valid(body) && len(body) <= maxInline {
		m.Body = []map[string]any{{"equalTo": string(body)}}
	} else if len(body) <= maxInline {
		m.Body = []map[string]any{{"binaryEqualTo": base64.StdEncoding.EncodeToString(body)}}
	}
	return m
}

// hidden stands where a secret was.
const hidden = "***"

// responseOf is what is written of an answer. File is only the ending of its
// name.
func responseOf(res *http.Response, body []byte) mappedResponse {
	m := mappedResponse{Status: res.StatusCode, Headers: map[string][]string{}}
	for name, values := range res.Header {
		switch {
		case framing(name) || name == "Date":
		case isSecret(name):
			m.Headers[name] = []string{hidden}
		case name == "Set-Cookie":
			for _, c := range res.Cookies() {
				c.Value = hidden
				m.Headers[name] = append(m.Headers[name], c.String())
			}
		case name == "Location":
			m.Headers[name] = []string{maskAddress(values[0])}
		default:
			m.Headers[name] = values
		}
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	isJSON := json.Valid(body)
	switch {
	case len(body) == 0:
		return m
	case isJSON:
		if body = maskedText(body); len(body) <= maxInline {
			m.JSON = body
			return m
		}
	case utf8.Valid(body) && len(body) <= maxInline && !bytes.ContainsRune(body, 0):
		m.Body = string(body)
		return m
	}
	m.beside, m.File = body, ".bin"
	if isJSON {
		m.File = ".json"
	} else if all, err := mime.ExtensionsByType(kind); err == nil && len(all) > 0 {
		slices.Sort(all)
		m.File = all[0]
	}
	return m
}

// isSecret reports whether a header, a parameter or a member of that name
// usually holds a secret.
func isSecret(name string) bool {
	plain := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(name))
	switch plain {
	case "authorization", "proxyauthorization", "cookie", "apikey", "xapikey", "key", "sig", "signature", "pin", "otp", "jwt", "session", "sessionid", "sid", "code":
		return plain != "code"
	}
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token", "apikey", "credential", "privatekey", "accesskey", "authkey"} {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return false
}

// masked is a value in which what looks like a secret is replaced: texts and
// numbers in members of such names.
func masked(v any, by string, depth int) any {
	if depth > maxDepth {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, c := range v {
			if _, text := c.(string); text && isSecret(k) {
				m[k] = by
			} else {
				m[k] = masked(c, by, depth+1)
			}
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, c := range v {
			l[i] = masked(c, by, depth+1)
		}
		return l
	}
	return v
}

// maskedText is [masked] for a JSON text, all else of which stays as it is. One
// that is too deep or too long to look through is hidden as a whole.
func maskedText(text []byte) []byte {
	r := &reader{src: text}
	root := r.parse()
	if root == nil {
		return mustJSON(hidden)
	}
	var out []byte
	last := 0
	var visit func(n *node)
	visit = func(n *node) {
		for _, m := range n.members {
			if m.value.kind == '"' && isSecret(m.name) {
				out = append(append(out, r.src[last:m.value.start]...), mustJSON(hidden)...)
				last = m.value.end
			} else {
				visit(m.value)
			}
		}
		for _, c := range n.items {
			visit(c)
		}
	}
	visit(root)
	return append(out, r.src[last:]...)
}

// maskTarget is the path and the query without secrets.
func maskTarget(u *url.URL) string {
	q := u.Query()
	for name := range q {
		if isSecret(name) {
			q[name] = []string{hidden}
		}
	}
	if len(q) == 0 {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + strings.ReplaceAll(q.Encode(), "%2A%2A%2A", hidden)
}

// maskAddress is a whole address without secrets.
func maskAddress(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return hidden
	}
	path := maskTarget(u)
	if u.Host == "" {
		return path
	}
	return u.Scheme + "://" + u.Host + path
}
