package forge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// API speaks to a host's HTTP interface for a child. It bounds time, size and
// number of tries, follows redirects as [Redirect] says whatever the client
// would do, and sees to it that no error holds the token.
type API struct {
	Client *http.Client
	Name   string      // of the host, for people: "GitHub"
	Base   string      // "https://api.github.com"; paths are appended
	Header http.Header // of every request: who we are
	Token  string      // is in Header in some form; it is kept out of errors
}

// Call is one request.
type Call struct {
	What   string // "set the status of 4711abc", for errors
	Method string
	Path   string // below the base, escaped: "/repos/a/b"; or a whole URL of the same host
	Query  url.Values
	In     any // sent as JSON; nil: nothing
	// Body is sent instead of In: Size bytes of the media type Type. It is opened
	// once a try.
	Body func() (io.ReadCloser, error)
	Size int64
	Type string
	Out  any // the answer, read from JSON; nil: not looked at
}

// Bounds of calls.
const (
	tries      = 3
	tryTime    = 30 * time.Second
	uploadTime = 15 * time.Minute
	longest    = 20 * time.Second // that a call waits for its next try
	maxMessage = 400              // bytes of what a host says of an error
	maxPages   = 100
)

// CallError says what a host answered that was no success.
type CallError struct {
	Host    string // "GitHub (api.github.com)"
	What    string
	Code    int    // HTTP status
	Message string // the host's own words, on one line
	// After is how long the host wants to be left alone; 0: it does not say.
	After time.Duration
}

func (e *CallError) Error() string {
	s := fmt.Sprintf("%s: %s: %d %s", e.What, e.Host, e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		s += ": " + e.Message
	}
	switch {
	case e.After > 0:
		s += fmt.Sprintf(" (it wants to be asked again in %s)", e.After.Round(time.Second))
	case e.Code == http.StatusUnauthorized:
		s += " (the token is wrong or has expired: set a new one)"
	case e.Code == http.StatusForbidden:
		s += " (the token may not do this: give it the right)"
	case e.Code == http.StatusNotFound:
		s += " (it is not there, or the token may not see it)"
	}
	return s
}

// Temporary reports whether trying again later may help.
func (e *CallError) Temporary() bool {
	return e.After > 0 || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout || e.Code >= 500 && e.Code != http.StatusNotImplemented
}

// Temporary reports whether trying again later may help after an error of a
// forge, and how long to wait at least.
func Temporary(err error) (yes bool, after time.Duration) {
	var call *CallError
	switch {
	case err == nil, errors.Is(err, ErrUnsupported), errors.Is(err, ErrGuarded), errors.Is(err, ErrTooLong), errors.Is(err, errGiven):
		return false, 0
	case errors.As(err, &call):
		return call.Temporary(), call.After
	}
	return true, 0 // the network
}

// errGiven marks errors in what was given to a forge: no host was asked.
var errGiven = errors.New("cannot be asked for")

// Given is an error in what was given to a forge, such as a name of a repository
// that is none. Trying again does not help.
func Given(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errGiven, fmt.Sprintf(format, args...))
}

// Code is the HTTP status that a host answered, when that is what the error is;
// else 0.
func Code(err error) int {
	var e *CallError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Do makes a call. What the host refuses for now is tried again, up to three
// times, where that cannot do anything twice.
func (a *API) Do(ctx context.Context, c *Call) (http.Header, error) {
	for try := 1; ; try++ {
		header, err := a.try(ctx, c)
		if err == nil || try == tries || !again(c, err) {
			return header, a.clean(c, err)
		}
		wait := time.Duration(1<<(try-1))*time.Second + rand.N(500*time.Millisecond)
		if _, after := Temporary(err); after > 0 {
			wait = after
		}
		if wait > longest {
			return nil, a.clean(c, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, a.clean(c, err)
		case <-timer.C:
		}
	}
}

// again reports whether a call that failed may be made again at once: it was
// not carried out, or doing it twice is the same as once.
func again(c *Call, err error) bool {
	yes, _ := Temporary(err)
	if !yes || errors.Is(err, context.Canceled) {
		return false
	}
	switch code := Code(err); {
	case c.Method == http.MethodGet || c.Method == http.MethodHead || c.Method == http.MethodPut:
		return true
	case code == 0: // it may or may not have arrived
		return false
	default:
		return code == http.StatusTooManyRequests || code == http.StatusForbidden || code == http.StatusServiceUnavailable
	}
}

func (a *API) try(ctx context.Context, c *Call) (http.Header, error) {
	limit := tryTime
	if c.Body != nil {
		limit = uploadTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := a.request(ctx, c)
	if err != nil {
		return nil, err
	}
	client := *a.Client
	client.CheckRedirect = Redirect
	client.Jar = nil
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(&bounded{ReadCloser: res.Body, left: maxAnswer})
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return res.Header, a.refused(c, res, body)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if c.Out == nil {
		return res.Header, nil
	}
	if err := json.Unmarshal(body, c.Out); err != nil {
		// A page for people instead of an answer: a sign-in, a proxy.
		return nil, &CallError{Host: a.host(), What: c.What, Code: res.StatusCode, Message: "the answer is not the JSON that was expected; is the API's address right?"}
	}
	return res.Header, nil
}

func (a *API) request(ctx context.Context, c *Call) (*http.Request, error) {
	base, err := url.Parse(a.Base)
	if err != nil || webAddress(a.Base) == "" || base.User != nil || base.RawQuery != "" {
		return nil, Given("the API's address is not one of http or https without a name, password or query in it")
	}
	address := strings.TrimSuffix(a.Base, "/") + c.Path
	if strings.Contains(c.Path, "://") && c.Path[0] != '/' {
		address = c.Path
	}
	u, err := url.Parse(address)
	if err != nil || !sameHost(base, u) || u.User != nil {
		return nil, Given("%s points to another host than %s", a.Name, base.Host)
	}
	if c.Query != nil {
		u.RawQuery = c.Query.Encode()
	}
	var body io.Reader
	kind := ""
	switch {
	case c.Body != nil:
		file, err := c.Body()
		if err != nil {
			return nil, Given("open what is to be uploaded: %v", err)
		}
		body, kind = file, c.Type
	case c.In != nil:
		text, err := json.Marshal(c.In)
		if err != nil {
			return nil, Given("%v", err)
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), body)
	if err != nil {
		return nil, Given("%v", err)
	}
	if c.Body != nil {
		req.ContentLength = c.Size
		if c.Size == 0 {
			req.Body.Close()
			req.Body = http.NoBody
		}
	}
	req.Header = a.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", "Fairlead")
	return req, nil
}

func (a *API) host() string {
	if u, err := url.Parse(a.Base); err == nil && u.Host != "" {
		return a.Name + " (" + u.Host + ")"
	}
	return a.Name
}

func (a *API) refused(c *Call, res *http.Response, body []byte) error {
	return &CallError{Host: a.host(), What: c.What, Code: res.StatusCode, Message: message(body), After: after(res)}
}

// message is what a host says of an error, in whichever of the usual forms.
func message(body []byte) string {
	var o Object
	if json.Unmarshal(body, &o) != nil {
		return "" // a page for people
	}
	var said []string
	say := func(s string) {
		if s != "" {
			said = append(said, s)
		}
	}
	say(cmp.Or(o.Text("message"), o.Text("error", "message"), o.Text("error_description"), o.Text("error")))
	for _, e := range o.List("errors") { // GitHub, Bitbucket Data Center
		say(cmp.Or(e.Text("message"), strings.TrimSpace(e.Text("field")+" "+e.Text("code"))))
	}
	for _, s := range o.Texts("errors") {
		say(s)
	}
	fields := o.Object("message") // GitLab
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		say(fmt.Sprintf("%s %v", field, fields[field]))
	}
	return line(strings.Join(said, "; "), maxMessage)
}

// after is how long a host wants to be left alone: Retry-After in seconds or as
// a date (RFC 9110, 10.2.3), or the reset of a limit that is used up.
func after(res *http.Response) time.Duration {
	const most = 24 * time.Hour
	limited := res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusForbidden
	if !limited {
		return 0
	}
	if s := res.Header.Get("Retry-After"); s != "" {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			return min(max(time.Duration(min(n, int(most/time.Second)))*time.Second, time.Millisecond), most)
		}
		if at, err := http.ParseTime(s); err == nil {
			return min(max(time.Until(at), time.Millisecond), most)
		}
	}
	for _, prefix := range []string{"X-Ratelimit-", "Ratelimit-"} {
		reset, err := strconv.ParseInt(res.Header.Get(prefix+"Reset"), 10, 64)
		if res.Header.Get(prefix+"Remaining") == "0" && err == nil && reset > 0 && reset < 1<<40 {
			return min(max(time.Until(time.Unix(reset, 0)), time.Millisecond), most)
		}
	}
	return 0
}

// clean says what was being done, and takes the token out of whatever says it.
func (a *API) clean(c *Call, err error) error {
	if err == nil {
		return nil
	}
	var call *CallError
	if errors.As(err, &call) {
		call.Message = a.hide(call.Message)
		return call
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text holds the URL
	}
	return &cleaned{text: a.hide(fmt.Sprintf("%s: %s: %v", c.What, a.host(), err)), err: err}
}

// hide takes the token out of a text, as it is and as it was sent.
func (a *API) hide(s string) string {
	_, sent, _ := strings.Cut(a.Header.Get("Authorization"), " ")
	for _, secret := range []string{a.Token, sent} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}

type cleaned struct {
	text string
	err  error
}

func (e *cleaned) Error() string { return e.text }
func (e *cleaned) Unwrap() error { return e.err }

// Page is one step through a list of several pages: it makes a call for page
// n, counted from 1, and says whether there may be another.
type Page func(n int) (more bool, err error)

// Pages goes through a list, and not without an end.
func Pages(page Page) error {
	for n := 1; n <= maxPages; n++ {
		more, err := page(n)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Escape is the name of a repository as a part of a path: its parts escaped
// one by one.
func Escape(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// Locate takes the repository's URL apart: the address of the host's pages,
// "https://git.example.com", and the path there, "team/app". Both are "" when
// it is not one of https, http or ssh. Of an ssh address it is guessed that the pages
// are at the same name.
func (r *Remote) Locate() (host, name string) {
	s := r.URL
	if before, after, ok := strings.Cut(s, ":"); ok && !strings.HasPrefix(after, "//") && !strings.HasPrefix(after, ":") && !strings.Contains(before, "/") {
		s = "ssh://" + before + "/" + strings.TrimPrefix(after, "/") // git@host:path
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", ""
	}
	name = strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	switch u.Scheme {
	case "https", "http":
		return u.Scheme + "://" + u.Host, name
	case "ssh":
		host := strings.ToLower(u.Hostname())
		switch host {
		case "ssh.github.com", "altssh.gitlab.com", "altssh.bitbucket.org", "ssh.dev.azure.com":
			_, host, _ = strings.Cut(host, ".")
		}
		return "https://" + host, name
	}
	return "", ""
}

// Address is where the host's API is: at API, or at the address of the host's
// pages, with the suffix that its paths begin with ("/api/v4"); or at
// public, when neither is known.
func (r *Remote) Address(suffix, public string) string {
	base := strings.TrimSuffix(r.API, "/")
	if host, _ := r.Locate(); base == "" {
		base = host
	}
	if base == "" {
		return public
	}
	return strings.TrimSuffix(base, suffix) + suffix
}

// Check says what is wrong with where something is to be written to, and finds
// the repository's name when only its URL is known.
func (r *Remote) Check() error {
	if r.Repository == "" {
		_, r.Repository = r.Locate()
	}
	if err := checkRepository(r.Repository); err != nil {
		return Given("%v", err)
	}
	if r.Token == "" {
		return Given("%s has no token: set the repository's token", r.Repository)
	}
	return nil
}

// maxMarker bounds a comment's marker.
const maxMarker = 100

// Check says what is wrong with a comment.
func (c *Comment) Check() error {
	if err := checkNumber(c.Number); err != nil {
		return Given("%v", err)
	}
	if c.Marker == "" || len(c.Marker) > maxMarker || strings.Contains(c.Marker, "--") ||
		strings.ContainsFunc(c.Marker, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":._/-", r)
		}) {
		return Given("%.80q cannot mark a comment", c.Marker)
	}
	return nil
}

// Marked is the text of the comment with its marker where readers do not see it,
// at most so many bytes.
func (c *Comment) Marked(format string, most int) string {
	return Cut(fmt.Sprintf(format, c.Marker)+"\n"+c.Body, most)
}

// HTMLMarker is how most hosts hide a marker: as a comment of HTML.
const HTMLMarker = "<!-- %s -->"

// Holds reports whether a text begins with the marker in that format.
func (c *Comment) Holds(format, text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text, "\ufeff \r\n"), fmt.Sprintf(format, c.Marker))
}

// Check says what is wrong with a status.
func (s *Status) Check() error {
	if err := CheckSHA("commit", s.SHA); err != nil {
		return Given("%v", err)
	}
	if s.Context == "" || len(s.Context) > maxName {
		return Given("a status has a context of 1 to %d bytes", maxName)
	}
	return nil
}

// Description is the status on one line of at most so many bytes.
func (s *Status) Description(most int) string { return line(s.Title, most) }

// maxAssets bounds the files of a release.
const maxAssets = 1000

// Check says what is wrong with a release.
func (r *Release) Check() error {
	if err := CheckName("tag", r.Tag); err != nil {
		return Given("%v", err)
	}
	if r.SHA != "" {
		if err := CheckSHA("commit", r.SHA); err != nil {
			return Given("%v", err)
		}
	}
	if len(r.Assets) > maxAssets {
		return Given("a release has at most %d files", maxAssets)
	}
	seen := map[string]bool{}
	for _, a := range r.Assets {
		if a.Name == "" || len(a.Name) > maxName || a.Name[0] == '.' || a.Name[0] == '-' || strings.ContainsFunc(a.Name, func(r rune) bool { return odd(r) || r == '/' || r == '\\' }) {
			return Given("%.80q cannot be the name of a release's file", a.Name)
		}
		if seen[a.Name] {
			return Given("two files of the release have the name %q", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// Missing is the release's files that are not yet among those that are there, by
// name and size. A file of the same name and another size is an error: what was
// published is not replaced behind people's backs.
func (r *Release) Missing(there map[string]int64) ([]Asset, error) {
	var missing []Asset
	for _, a := range r.Assets {
		switch size, ok := there[a.Name]; {
		case !ok:
			missing = append(missing, a)
		case size != a.Size:
			return nil, Given("release %s has a file %s of %d bytes already, and this one has %d: remove that one, or give this another name", r.Tag, a.Name, size, a.Size)
		}
	}
	return missing, nil
}

// Form makes a call upload a file as the field of a form (RFC 7578), whose length
// is known before it is read.
func Form(a *Asset, field string, c *Call) *Call {
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	// Neither can fail: a Buffer takes everything.
	_, _ = form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": field, "filename": a.Name})},
		"Content-Type":        {cmp.Or(a.Type, "application/octet-stream")},
	})
	tail := "\r\n--" + form.Boundary() + "--\r\n"
	c.Type, c.Size = form.FormDataContentType(), int64(head.Len())+a.Size+int64(len(tail))
	c.Body = func() (io.ReadCloser, error) {
		file, err := a.Open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head.Bytes()), file, strings.NewReader(tail)), file}, nil
	}
	return c
}

// Number is an ID that a host sends as a JSON number, kept as its digits; a
// text is taken, too.
type Number string

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Number) UnmarshalJSON(text []byte) error {
	var v json.Number
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if _, err := strconv.ParseUint(string(v), 10, 64); v != "" && err != nil {
		return fmt.Errorf("%.40q is not an ID", string(v))
	}
	*n = Number(v)
	return nil
}
