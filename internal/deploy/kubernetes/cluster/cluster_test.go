package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// double stands for an API server: its answers are written down in the tests.
type double struct {
	*testing.T
	*httptest.Server
	asked atomic.Int64
}

const coreKinds = `{"resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list"]},{"name":"namespaces","kind":"Namespace","namespaced":false},{"name":"pods/log","kind":"Pod","namespaced":true}]}`

func serve(t *testing.T, answer func(d *double, w http.ResponseWriter, r *http.Request)) (*double, *Client) {
	t.Helper()
	d := &double{T: t}
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1" {
			_, _ = io.WriteString(w, coreKinds)
			return
		}
		d.asked.Add(1)
		answer(d, w, r)
	}))
	t.Cleanup(d.Close)
	c, err := Find(Place{Kubeconfig: d.kubeconfig("token: s3cret"), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	client := New(c)
	t.Cleanup(client.Close)
	return d, client
}

// authority is the double's certificate.
func (d *double) authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw})
}

// kubeconfig writes one for the double, with a user.
func (d *double) kubeconfig(user string) string {
	d.Helper()
	file := filepath.Join(d.TempDir(), "config")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: shop}}]
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {%s}}]
`, d.URL, base64.StdEncoding.EncodeToString(d.authority()), user)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
	return file
}

func status(w http.ResponseWriter, code int, reason, message, details string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if details == "" {
		details = "{}"
	}
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d,"details":%s}`, reason, message, code, details)
}

var configMap = object.Kind{Version: "v1", Kind: "ConfigMap"}

func resource(t *testing.T, c *Client) Resource {
	t.Helper()
	r, err := c.Resource(t.Context(), configMap)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGet(t *testing.T) {
	t.Parallel()
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer s3cret" {
			d.Errorf("we are %q", got)
		}
		if r.URL.Path != "/api/v1/namespaces/shop/configmaps/a%2Fb" && r.URL.EscapedPath() != "/api/v1/namespaces/shop/configmaps/a%2Fb" {
			status(w, 404, "NotFound", `configmaps "x" not found`, "")
			return
		}
		_, _ = io.WriteString(w, `{"kind":"ConfigMap","metadata":{"name":"a/b","generation":9007199254740993}}`)
	})
	o, err := c.Get(t.Context(), resource(t, c), "shop", "a/b")
	if err != nil || o.Int(0, "metadata", "generation") != 9007199254740993 {
		t.Errorf("got %v, %v", o, err)
	}
	_, err = c.Get(t.Context(), resource(t, c), "shop", "x")
	if !NotFound(err) || Reason(err) != "NotFound" || err.Error() != `read ConfigMap x: configmaps "x" not found` {
		t.Errorf("got %v", err)
	}
	if _, err := c.Resource(t.Context(), object.Kind{Group: "example.com", Version: "v1", Kind: "Thing"}); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("a kind that there is not: %v", err)
	}
}

func TestTriesAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fail  func(w http.ResponseWriter)
		times int64 // it fails
		asked int64
		ok    bool
	}{
		{"too many requests", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			status(w, 429, "TooManyRequests", "later", "")
		}, 3, 4, true},
		{"unavailable", func(w http.ResponseWriter) { status(w, 503, "ServiceUnavailable", "", "") }, 1, 2, true},
		{"a gateway's page", func(w http.ResponseWriter) { http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway) }, 1, 2, true},
		{"cut off", func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }, 1, 2, true},
		{"an error", func(w http.ResponseWriter) { status(w, 500, "InternalError", "broken", "") }, 1, 1, false},
		{"an error that passes", func(w http.ResponseWriter) {
			status(w, 500, "ServerTimeout", "busy", `{"retryAfterSeconds":0}`)
			// Without a time to wait it is not asked again.
		}, 1, 1, false},
		{"forbidden", func(w http.ResponseWriter) { status(w, 403, "Forbidden", "you cannot", "") }, 1, 1, false},
		{"for ever", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			status(w, 429, "TooManyRequests", "later", "")
		}, 1000, maxAttempts, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, client := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
				if d.asked.Load() <= c.times {
					c.fail(w)
					return
				}
				_, _ = io.WriteString(w, `{"kind":"ConfigMap"}`)
			})
			_, err := client.Get(t.Context(), resource(t, client), "shop", "a")
			if (err == nil) != c.ok || d.asked.Load() != c.asked {
				t.Errorf("asked %d times, %v", d.asked.Load(), err)
			}
		})
	}
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3600")
		status(w, 429, "TooManyRequests", "later", "")
		cancel()
	})
	if _, err := c.Get(ctx, resource(t, c), "shop", "a"); err == nil {
		t.Error("no error")
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := r.URL.Query()
		if r.Method != http.MethodPatch || r.Header.Get("Content-Type") != "application/apply-patch+yaml" || q.Get("fieldManager") != "fairlead" || q.Get("dryRun") != "All" || q.Get("fieldValidation") != "Strict" {
			d.Errorf("asked %s %s with %q", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		if strings.Contains(string(body), "managedFields") || strings.Contains(string(body), "status") {
			d.Errorf("sent %s", body)
		}
		if q.Get("force") == "true" {
			_, _ = w.Write(body)
			return
		}
		status(w, 409, "Conflict", "Apply failed with 2 conflicts", `{"causes":[
			{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\" with subresource \"scale\" using apps/v1","field":".spec.replicas"},
			{"reason":"FieldManagerConflict","message":"conflict with \"helm\"","field":".data.a"}]}`)
	})
	o := object.Object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a", "namespace": "shop", "managedFields": []any{}}, "status": map[string]any{}}
	_, err := c.Apply(t.Context(), resource(t, c), o, Apply{Dry: true})
	if got := fmt.Sprint(Claims(err)); got != "[{spec.replicas kubectl} {data.a helm}]" || Reason(err) != "Conflict" {
		t.Errorf("got %s of %v", got, err)
	}
	if _, err := c.Apply(t.Context(), resource(t, c), o, Apply{Dry: true, Force: true}); err != nil {
		t.Error(err)
	}
	if o.At("metadata", "managedFields") == nil {
		t.Error("the caller's thing was changed")
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	var expired atomic.Bool
	d, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") == "" || r.URL.Query().Get("labelSelector") != "app=web" {
			d.Errorf("asked %s", r.URL)
		}
		switch r.URL.Query().Get("continue") {
		case "":
			_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"7","continue":"more"},"items":[{"metadata":{"name":"a"}}]}`)
		case "more":
			if expired.CompareAndSwap(false, true) {
				status(w, 410, "Expired", "the continue parameter is too old", "")
				return
			}
			_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"b"}}]}`)
		}
	})
	list, version, err := c.List(t.Context(), resource(t, c), Query{Namespace: "shop", Labels: "app=web"})
	if err != nil || len(list) != 2 || version != "7" || list[1].Ref().Key() != "ConfigMap//b" {
		t.Errorf("got %v, %s, %v", list, version, err)
	}
	if d.asked.Load() != 4 {
		t.Errorf("asked %d times", d.asked.Load())
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	var lists, watches atomic.Int64
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"items":[{"metadata":{"name":"a","uid":"%[1]d"}}]}`, lists.Add(1))
			return
		}
		event := func(text string) {
			fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
		}
		switch watches.Add(1) {
		case 1: // a slow one: in pieces, and with a line that says nothing
			event(`{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"9"}}}`)
			_, _ = io.WriteString(w, `{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap",`)
			w.(http.Flusher).Flush()
			event(`"metadata":{"name":"b"}}}`)
			event(`{"type":"DELETED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}}`)
			event(`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}`)
		case 2: // refused outright
			status(w, 410, "Expired", "too old resource version", "")
		case 3: // cut off
			event(`{"type":"MODIFIED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","uid":"m"}}}`)
			panic(http.ErrAbortHandler)
		default:
			status(w, 403, "Forbidden", "no more", "")
		}
	})
	var seen []string
	var failed error
	for all, err := range c.Follow(t.Context(), resource(t, c), Query{Namespace: "shop"}) {
		if err != nil {
			failed = err
			break
		}
		var names []string
		for _, key := range []string{"a", "b"} {
			if o, ok := all["ConfigMap//"+key]; ok {
				names = append(names, key+o.Text("metadata", "uid"))
			}
		}
		seen = append(seen, strings.Join(names, " "))
	}
	if got, want := strings.Join(seen, ", "), "a1, a1 b, b, a2, a3, am, a4"; got != want {
		t.Errorf("seen %q, want %q", got, want)
	}
	if Reason(failed) != "Forbidden" {
		t.Errorf("ended with %v", failed)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			_, _ = io.WriteString(w, `{"items":[]}`)
			return
		}
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	var last error
	for _, err := range c.Follow(ctx, resource(t, c), Query{}) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v", last)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		var o object.Object
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.Text("propagationPolicy") != "Foreground" {
			d.Errorf("asked %v, %v", o, err)
		}
		switch r.URL.Path {
		case "/api/v1/namespaces/shop/configmaps/gone":
			status(w, 404, "NotFound", "", "")
		case "/api/v1/namespaces/shop/configmaps/other":
			if o.Text("preconditions", "uid") != "7" {
				d.Errorf("asked %v", o)
			}
			status(w, 409, "Conflict", "the UID in the precondition (7) does not match", "")
		default:
			status(w, 403, "Forbidden", "you cannot", "")
		}
	})
	r := resource(t, c)
	for name, ok := range map[string]bool{"gone": true, "other": true, "kept": false} {
		if err := c.Delete(t.Context(), r, "shop", name, "7", Foreground); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersHaveAnEnd(t *testing.T) {
	t.Parallel()
	_, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"type":"ADDED","object":"`)
		for range maxEvent >> 16 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, "\"}\n")
	})
	for _, err := range c.Watch(t.Context(), resource(t, c), Query{}, "1") {
		if err == nil || !strings.Contains(err.Error(), "an event has more than") {
			t.Errorf("got %v", err)
		}
	}
}

func TestNoRedirect(t *testing.T) {
	t.Parallel()
	d, c := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
	})
	if _, err := c.Get(t.Context(), resource(t, c), "shop", "a"); err == nil || d.asked.Load() != 1 {
		t.Errorf("asked %d times, %v", d.asked.Load(), err)
	}
}

func TestUntrusted(t *testing.T) {
	t.Parallel()
	d, _ := serve(t, func(*double, http.ResponseWriter, *http.Request) {})
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %q}}]\n", d.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := Find(Place{Kubeconfig: file, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := New(config).Version(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if time.Since(began) > 20*time.Second {
		t.Error("it was asked again and again")
	}
}
