package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	const ok = `{"status":"success","data":`
	answers := map[string]string{
		"scalar":   ok + `{"resultType":"scalar","result":[1.5,"42"]}}`,
		"one":      ok + `{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}`,
		"none":     ok + `{"resultType":"vector","result":[]}}`,
		"nan":      ok + `{"resultType":"vector","result":[{"value":[1.5,"NaN"]}]}}`,
		"infinite": ok + `{"resultType":"vector","result":[{"value":[1.5,"+Inf"]}]}}`,
		"two":      ok + `{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"2"]}]}}`,
		"text":     ok + `{"resultType":"string","result":[1,"1"]}}`,
		"broken":   ok + `{"resultType":"vector","result":[{"value":[1,2]}]}}`,
		"bad":      `{"status":"error","errorType":"bad_data","error":"parse error: unexpected end of input"}`,
		"warned":   `{"status":"success","warnings":["remote read: timeout"],"data":{"resultType":"vector","result":[]}}`,
		"page":     `<html>sign in</html>`,
		"series":   ok + `{"resultType":"matrix","result":[{"values":[[1,"1"],[2,"NaN"],[3,"3"]]}]}}`,
		"many":     ok + `{"resultType":"matrix","result":[{"values":[]},{"values":[]}]}}`,
		"nothing":  ok + `{"resultType":"matrix","result":[]}}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.FormValue("query")
		switch {
		case q == "large":
			_, _ = io.WriteString(w, strings.Repeat(" ", maxAnswer+1))
		case q == "slow":
			<-r.Context().Done()
		case q == "moved":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case q == "who" && r.Header.Get("Authorization") != "Bearer s3cret":
			w.WriteHeader(http.StatusUnauthorized)
		case q == "who":
			_, _ = io.WriteString(w, answers["scalar"])
		case r.URL.RawQuery != "" || r.Method != http.MethodPost:
			w.WriteHeader(http.StatusTeapot)
		default:
			_, _ = io.WriteString(w, answers[q])
		}
	}))
	t.Cleanup(s.Close)
	secrets := func(server string) func(string) string {
		return func(name string) string { return map[string]string{VarServer: server, VarToken: "s3cret"}[name] }
	}
	for _, test := range []struct {
		query, server string
		env           func(string) string
		value         float64
		ok            bool
		says          string
	}{
		{query: "scalar", value: 42, ok: true},
		{query: "one", value: .25, ok: true},
		{query: "none"}, {query: "nan"}, {query: "infinite"},
		{query: "two", says: "has 2 values and should have one"},
		{query: "text", says: "gives a string, not a number"},
		{query: "broken", says: "a value is no string"},
		{query: "bad", says: `bad_data: "parse error: unexpected end of input"`},
		{query: "warned", says: "remote read: timeout"},
		{query: "page", says: `not Prometheus's: "<html>sign in</html>"`},
		{query: "moved", says: "302"},
		{query: "large", says: "more than 8 MB"},
		{query: "slow", says: "no answer in time"},
		{query: "who", says: "401"},
		{query: "who", env: secrets(s.URL), value: 42, ok: true},
		{query: "who", env: secrets("http://another.example"), says: "401"},
		{query: "who", env: secrets(s.URL + "/tenant"), says: "401"},
		{query: "one", server: "prometheus:9090", says: "its address is not http"},
		{query: "one", server: "http://me:s3cret@127.0.0.1:1", says: "holds more than a host"},
		{query: "one", server: "http://127.0.0.1:1", says: "connection refused"},
	} {
		t.Run(test.query+test.says, func(t *testing.T) {
			t.Parallel()
			p, server := New(none), s.URL
			if test.env != nil {
				p = New(test.env)
			}
			if test.server != "" {
				server = test.server
			}
			ctx := t.Context()
			if test.query == "slow" {
				var stop func()
				ctx, stop = context.WithTimeout(ctx, 50*time.Millisecond)
				defer stop()
			}
			v, ok, err := p.Query(ctx, server, test.query)
			if (test.says == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "s3cret")) {
				t.Fatalf("error %v, want %q", err, test.says)
			}
			if err == nil && (ok != test.ok || ok && v != test.value) {
				t.Errorf("%v, %v; want %v, %v", v, ok, test.value, test.ok)
			}
		})
	}
	p, now := New(none), time.Unix(1_800_000_000, 0)
	if v, err := p.Series(t.Context(), s.URL, "series", now, now, time.Second); err != nil || fmt.Sprint(v) != "[1 3]" {
		t.Errorf("series: %v, %v", v, err)
	}
	if v, err := p.Series(t.Context(), s.URL, "nothing", now, now, time.Second); err != nil || len(v) > 0 {
		t.Errorf("no series: %v, %v", v, err)
	}
	for q, says := range map[string]string{"many": "has 2 series", "one": "is a vector, not a series"} {
		if _, err := p.Series(t.Context(), s.URL, q, now, now, time.Second); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("series %s: %v", q, err)
		}
	}
	if _, err := p.Series(t.Context(), s.URL, "series", now, now.Add(24*time.Hour), time.Second); err == nil {
		t.Error("a series of 86,400 values was asked for")
	}
	if _, err := p.Series(t.Context(), s.URL, "series", now, now.Add(-time.Second), time.Second); err == nil {
		t.Error("a series was asked for that ends before it begins")
	}
}

// FuzzAnswer reads whatever a server may answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"value":[1.5,"0.25"]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"scalar","result":[]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"1"],[2]]}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
		defer s.Close()
		p := New(none)
		_, _, _ = p.Query(t.Context(), s.URL, "x")
		_, _ = p.Series(t.Context(), s.URL, "x", time.Unix(0, 0), time.Unix(60, 0), time.Second)
	})
}

// TestRealPrometheus asks a real one, if there is one on this machine.
func TestRealPrometheus(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: there is no prometheus on this machine, so nothing was asked of a real one (Debian: apt install prometheus)")
	}
	shop := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE requests_total counter\nrequests_total{revision=\"2\"} 100\nrequests_total{revision=\"1\"} 900\nrequests_failed_total{revision=\"2\"} 7\n")
	})
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 100ms}\nscrape_configs:\n- job_name: shop\n  static_configs:\n  - targets: [%q]\n", shop)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cmd := exec.CommandContext(t.Context(), path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p, server, begun := New(none), "http://"+address, time.Now()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		v, ok, err := p.Query(ctx, server, `requests_total{revision="2"}`)
		if err == nil && ok {
			if v != 100 {
				t.Fatalf("it says %v", v)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("it did not answer: %v\n%s", err, said.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	for expression, want := range map[string]string{
		`requests_failed_total{revision="1"}`:        "0 false <nil>",
		`sum(requests_total)`:                        "1000 true <nil>",
		`scalar(sum(requests_total))`:                "1000 true <nil>",
		`sum(requests_failed_total{revision="1"})/0`: "0 false <nil>",
	} {
		v, ok, err := p.Query(ctx, server, expression)
		if got := fmt.Sprint(v, ok, err); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
	if v, ok, err := p.Query(ctx, server, `0*sum(requests_total)/0`); ok || err != nil {
		t.Errorf("0/0 is %v, %v, %v", v, ok, err)
	}
	for expression, says := range map[string]string{`requests_total`: "has 2 values", `sum(`: "bad_data", `"text"`: "not a number"} {
		if _, _, err := p.Query(ctx, server, expression); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", expression, err, says)
		}
	}
	for {
		series, err := p.Series(ctx, server, `sum(requests_total)`, begun.Add(-10*time.Second), time.Now(), time.Second)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("series %v: %v", series, err)
		}
		if len(series) > 0 { // a second has begun since it first counted
			if series[0] != 1000 {
				t.Errorf("series %v", series)
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
}
