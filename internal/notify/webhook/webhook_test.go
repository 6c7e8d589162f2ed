package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/notifytest"
)

const key = "a-key-that-signs-webhooks"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestWebhook(t *testing.T) {
	notifytest.Run(t, notifytest.Suite{
		Open: func(t *testing.T) (notify.Channel, notifytest.Far) {
			far := notifytest.HTTP(t)
			far.To = func(address string) string { return address + "/events/p4th-s3cr3t?token=query-s3cr3t " + key }
			far.Hidden = []string{key, "p4th-s3cr3t", "query-s3cr3t"}
			return Channel{Client: far.Client(), Source: "https://fairlead.example.org", Now: func() time.Time { return noon }}, far
		},
		Bad: []string{
			"https://example.org short", "https://example.org whsec_no-base64-here!!", "https://example.org " + key + " more",
			"https://example.org whsec_" + base64.StdEncoding.EncodeToString([]byte("short")),
		},
		Harmless: shaped,
	})
}

// shaped checks an event as what CloudEvents and CDEvents prescribe: which fields
// there are, which there must be, and that header and body say the same.
func shaped(got string) error {
	head, body, _ := strings.Cut(got, "\n\n")
	header := map[string]string{}
	for line := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		header[strings.ToLower(name)] = value
	}
	var e struct {
		Context, Subject map[string]any
		CustomData       map[string]any
		CustomDataType   string `json:"customDataContentType"`
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return err
	}
	if err := fields("context", e.Context, []string{"specversion", "id", "source", "type", "timestamp"}, []string{"chainId", "schemaUri", "links"}); err != nil {
		return err
	}
	if err := fields("subject", e.Subject, []string{"id", "source", "content"}, []string{"type"}); err != nil {
		return err
	}
	if e.Context["specversion"] != "0.5.1" || header["ce-specversion"] != "1.0" {
		return fmt.Errorf("versions %v and %s", e.Context["specversion"], header["ce-specversion"])
	}
	kind := e.Context["type"].(string)
	content, _ := e.Subject["content"].(map[string]any)
	switch {
	case regexp.MustCompile(`^dev\.cdevents\.pipelinerun\.(queued|started)\.0\.3\.0$`).MatchString(kind):
		if err := fields("content", content, nil, []string{"pipelineName", "uri"}); err != nil {
			return err
		}
	case kind == "dev.cdevents.pipelinerun.finished.0.3.0":
		if err := fields("content", content, nil, []string{"pipelineName", "uri", "outcome", "errors"}); err != nil {
			return err
		}
	case regexp.MustCompile(`^dev\.cdeventsx\.[a-zA-Z0-9]+-[a-zA-Z]+\.[a-zA-Z]+\.[0-9]\.[0-9]\.[0-9]$`).MatchString(kind):
		if !regexp.MustCompile(`^[a-zA-Z0-9]+-[a-zA-Z]+$`).MatchString(fmt.Sprint(e.Subject["type"])) {
			return fmt.Errorf("subject of type %v", e.Subject["type"])
		}
	default:
		return fmt.Errorf("type %s", kind)
	}
	if o, ok := content["outcome"]; ok && !slices.Contains([]any{"success", "failure", "cancel", "error"}, o) {
		return fmt.Errorf("outcome %v", o)
	}
	if uri, ok := content["uri"].(string); ok && !strings.HasPrefix(uri, "http") {
		return fmt.Errorf("uri %q", uri)
	}
	for name, want := range map[string]any{
		"ce-id": e.Context["id"], "ce-source": e.Context["source"], "ce-type": kind,
		"ce-subject": e.Subject["id"], "webhook-id": e.Context["id"],
	} {
		got, err := url.PathUnescape(header[name])
		if unescaped, _ := url.PathUnescape(fmt.Sprint(want)); err != nil || got != want && got != unescaped {
			return fmt.Errorf("header %s is %q, the body says %v", name, header[name], want)
		}
	}
	for name, value := range header {
		if strings.HasPrefix(name, "ce-") && strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
			return fmt.Errorf("header %s: %q", name, value)
		}
	}
	if _, err := url.Parse(e.Context["source"].(string)); err != nil {
		return fmt.Errorf("source is no URI reference: %w", err)
	}
	if stamp, err := time.Parse(time.RFC3339, fmt.Sprint(e.Context["timestamp"])); err != nil || header["ce-time"] != stamp.Format(time.RFC3339Nano) {
		return fmt.Errorf("ce-time %s, timestamp %v", header["ce-time"], e.Context["timestamp"])
	}
	return nil
}

func fields(of string, have map[string]any, must, may []string) error {
	for _, name := range must {
		if s, isText := have[name].(string); have[name] == nil || isText && s == "" {
			return fmt.Errorf("%s has no %s", of, name)
		}
	}
	for name := range have {
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			return fmt.Errorf("%s has a field %s", of, name)
		}
	}
	return nil
}

func TestSignature(t *testing.T) {
	t.Parallel()
	raw := []byte("0123456789abcdef\x00\xff")
	for _, test := range []struct {
		name, secret string
		key          []byte
	}{
		{"none", "", nil},
		{"text", key, []byte(key)},
		{"standard", "whsec_" + base64.StdEncoding.EncodeToString(raw), raw},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var header http.Header
			var body []byte
			far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				header = r.Header
				body, _ = io.ReadAll(r.Body)
			}))
			defer far.Close()
			c := Channel{Client: far.Client(), Now: func() time.Time { return noon }}
			m := notifytest.Samples()[3]
			if err := c.Send(t.Context(), far.URL+" "+test.secret, &m); err != nil {
				t.Fatal(err)
			}
			if header.Get("webhook-id") != m.ID() || header.Get("webhook-timestamp") != "1795435200" {
				t.Errorf("webhook-id %q, webhook-timestamp %q", header.Get("webhook-id"), header.Get("webhook-timestamp"))
			}
			want := ""
			if test.key != nil {
				mac := hmac.New(sha256.New, test.key)
				fmt.Fprintf(mac, "%s.%s.%s", m.ID(), header.Get("webhook-timestamp"), body)
				want = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
			}
			if got := header.Get("webhook-signature"); got != want {
				t.Errorf("webhook-signature %q, want %q", got, want)
			}
		})
	}
}

// TestRedirect: what is meant for one address goes to no other.
func TestRedirect(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the message went on to %s", r.URL)
	}))
	defer other.Close()
	far := httptest.NewServer(http.RedirectHandler(other.URL+"/elsewhere", http.StatusTemporaryRedirect))
	defer far.Close()
	m := notifytest.Samples()[3]
	if err := (Channel{Client: far.Client()}).Send(t.Context(), far.URL, &m); !errors.Is(err, notify.ErrRefused) {
		t.Error(err)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("team/app", "4711", "https://fairlead.example.org/runs/4711", int64(0))
	f.Add("a b/ü%", "\x00\xff", "javascript:x", int64(1)<<40)
	f.Fuzz(func(t *testing.T, repository, run, link string, at int64) {
		m := &notify.Message{Edge: notify.Finished, Repository: repository, Run: run, URL: link, At: time.Unix(at%(1<<37), 0)}
		e := Channel{}.event(m)
		if _, err := json.Marshal(e); err != nil && m.At.Year() < 10000 && m.At.Year() >= 0 {
			t.Fatal(err)
		}
		for name, values := range e.header() {
			if strings.ContainsAny(values[0], "\r\n\x00") {
				t.Errorf("%s: %q", name, values[0])
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("https://example.org/x whsec_MDEyMzQ1Njc4OWFiY2RlZg==")
	f.Fuzz(func(t *testing.T, target string) {
		if u, _, err := parse(target); err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			t.Errorf("%q was read as %s", target, u)
		}
	})
}
