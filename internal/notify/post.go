package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/secret"
)

// Limits of what is sent and answered.
const (
	MaxTarget = 8 << 10 // bytes of a target
	maxAnswer = 4 << 10 // that are read of an answer
)

// ParseURL reads an absolute http or https URL with a host. The error holds
// nothing of it, as it may be a secret.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case len(s) > MaxTarget:
		return nil, fmt.Errorf("the address is longer than %d bytes", MaxTarget)
	case err != nil, strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F }):
		return nil, errors.New("the address is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the address does not begin with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("the address has no host")
	}
	return u, nil
}

// Post sends a body to a target that is a URL, and judges the answer: 2xx is
// well; what the request itself is to blame for is an [ErrRefused]; anything else may be
// tried again. Redirects are not followed: a message goes where its target
// says, nowhere else. Guarding against addresses that nobody should be able to reach is the
// client's task.
//
// The error names the host, and of the rest of the URL and of hide nothing, even if the
// answer repeats it.
func Post(ctx context.Context, client *http.Client, target *url.URL, header http.Header, body []byte, hide ...string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send to %s: the request cannot be made: %w", target.Host, ErrRefused)
	}
	for name, values := range header {
		req.Header[name] = values // as they are: CloudEvents writes its own in lower case
	}
	req.Header.Set("User-Agent", "fairlead")
	var m secret.Masker
	m.Add(Parts(target)...)
	m.Add(hide...)
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		// What net/http says begins with the URL.
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return &Fault{Text: "send to " + target.Host + ": " + m.String(err.Error()), Err: err}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	why := fmt.Sprintf("send to %s: it answered %d %s", target.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	if text := Clean(m.String(string(answer)), 200); text != "" {
		why += ": " + text
	}
	if lasting(resp.StatusCode) {
		return fmt.Errorf("%s: %w", why, ErrRefused)
	}
	return errors.New(why)
}

// lasting reports whether the same request will be answered so again.
func lasting(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusConflict, http.StatusLocked:
		return false
	}
	return status/100 == 3 || status/100 == 4
}

// Parts are the parts of a URL that may be secrets: all but scheme and host. Short ones
// are not among them: they would be found everywhere.
func Parts(u *url.URL) []string {
	const short = 6
	var parts []string
	add := func(s string) {
		if len(s) >= short {
			parts = append(parts, s)
		}
	}
	add(u.Path)
	add(u.RawQuery)
	for p := range strings.SplitSeq(u.Path, "/") {
		add(p)
	}
	for _, values := range u.Query() {
		for _, v := range values {
			add(v)
		}
	}
	add(u.Fragment)
	if password, ok := u.User.Password(); ok {
		parts = append(parts, password)
	}
	add(u.User.Username())
	return parts
}

// Fault is an error whose text was cleared of secrets. The error that it stands for can be asked
// for what it is ([errors.Is]), not for its text.
type Fault struct {
	Text string
	Err  error
}

func (f *Fault) Error() string { return f.Text }

// Is reports whether the error that f stands for is target.
func (f *Fault) Is(target error) bool { return errors.Is(f.Err, target) }
