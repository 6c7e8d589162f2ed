package builtin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// client is a job's client of the service: it sends what the real clients
// were seen to send.
type client struct {
	t     testing.TB
	base  string
	token string
	run   string
	job   string
}

func (m *machine) client(s *plan.Scope) *client {
	m.t.Helper()
	env, stop, err := m.set.Serve(m.t.Context(), s)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(stop)
	return newClient(m.t, env)
}

func newClient(t testing.TB, env map[string]string) *client {
	t.Helper()
	c := &client{t: t, base: strings.TrimSuffix(env["ACTIONS_RESULTS_URL"], "/"), token: env["ACTIONS_RUNTIME_TOKEN"]}
	parts := strings.Split(c.token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token %q is no JWT", c.token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Scp string }
	if err := json.Unmarshal(data, &claims); err != nil {
		t.Fatal(err)
	}
	ids := strings.Split(claims.Scp, ":") // as the client does
	if len(ids) != 3 || ids[0] != "Actions.Results" {
		t.Fatalf("the claim scp is %q", claims.Scp)
	}
	c.run, c.job = ids[1], ids[2]
	return c
}

// send sends one request and returns the status and the body.
func (c *client) send(method, url string, body []byte, header ...string) (int, string) {
	c.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = c.base + url
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" && !strings.Contains(url, "sig=") {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// call makes a Twirp call that must be answered with the status.
func (c *client) call(method string, want int, request string) map[string]any {
	c.t.Helper()
	request = strings.NewReplacer("$RUN", c.run, "$JOB", c.job).Replace(request)
	status, body := c.send("POST", "/twirp/github.actions.results.api.v1."+method, []byte(request), "Content-Type", "application/json")
	if status != want {
		c.t.Fatalf("%s %s: %d %s, want %d", method, request, status, body, want)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		c.t.Fatalf("%s: %q: %v", method, body, err)
	}
	return v
}

// must sends a request that must be answered with the status.
func (c *client) must(want int, method, url string, body []byte, header ...string) string {
	c.t.Helper()
	status, answer := c.send(method, url, body, header...)
	if status != want {
		c.t.Fatalf("%s %s: %d %s, want %d", method, url, status, answer, want)
	}
	return answer
}

const ids = `"workflow_run_backend_id":"$RUN","workflow_job_run_backend_id":"$JOB"`

// TestCacheServiceV2 is what @actions/cache 6.3 sends.
func TestCacheServiceV2(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := m.client(m.scope())
	const v = `"version":"d154375546ba"`
	if got := c.call("CacheService/GetCacheEntryDownloadURL", 200, `{"key":"k-1","restore_keys":["k-"],`+v+`}`); got["ok"] != false {
		t.Errorf("a miss: %v", got)
	}
	got := c.call("CacheService/CreateCacheEntry", 200, `{"key":"k-1",`+v+`}`)
	if got["ok"] != true {
		t.Fatalf("create: %v", got)
	}
	c.call("CacheService/FinalizeCacheEntryUpload", 412, `{"key":"k-1","size_bytes":"5",`+v+`}`)
	c.must(201, "PUT", got["signed_upload_url"].(string), []byte("bytes"), "x-ms-blob-type", "BlockBlob", "x-ms-version", "2026-02-06")
	got = c.call("CacheService/FinalizeCacheEntryUpload", 200, `{"key":"k-1","size_bytes":"5",`+v+`}`)
	if id, ok := got["entry_id"].(string); got["ok"] != true || !ok || id == "" {
		t.Errorf("finalize: %v", got)
	}
	if got := c.call("CacheService/CreateCacheEntry", 200, `{"key":"k-1",`+v+`}`); got["ok"] != false {
		t.Errorf("create again: %v", got)
	}
	got = c.call("CacheService/GetCacheEntryDownloadURL", 200, `{"key":"k-2","restore_keys":["k-"],`+v+`}`)
	if got["matched_key"] != "k-1" {
		t.Fatalf("a hit: %v", got)
	}
	from := got["signed_download_url"].(string)
	if body := c.must(200, "GET", from, nil); body != "bytes" {
		t.Errorf("downloaded %q", body)
	}
	if body := c.must(206, "GET", from, nil, "Range", "bytes=1-3"); body != "yte" {
		t.Errorf("a range: %q", body)
	}
	if body := c.must(206, "GET", from, nil, "x-ms-range", "bytes=2-"); body != "tes" {
		t.Errorf("an open range: %q", body)
	}
	if body := c.must(200, "HEAD", from, nil); body != "" {
		t.Errorf("the head: %q", body)
	}
	// Another branch sees it only if it is the default one.
	topic := m.client(m.scope(func(s *plan.Scope) { s.Change.Ref = "refs/heads/topic" }))
	if got := topic.call("CacheService/GetCacheEntryDownloadURL", 200, `{"key":"k-1",`+v+`}`); got["ok"] != true {
		t.Errorf("from a topic branch: %v", got)
	}
	other := m.client(m.scope(func(s *plan.Scope) { s.Change.Repository = "octo/dog" }))
	if got := other.call("CacheService/GetCacheEntryDownloadURL", 200, `{"key":"k-1",`+v+`}`); got["ok"] != false {
		t.Errorf("from another repository: %v", got)
	}
}

// TestArtifactService is what @actions/artifact 6.2 sends.
func TestArtifactService(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := m.client(m.scope())
	got := c.call("ArtifactService/CreateArtifact", 200, `{`+ids+`,"name":"out","version":7,"mime_type":"text/plain","expires_at":"2027-01-02T03:04:05.678Z"}`)
	up := got["signed_upload_url"].(string)
	parts := []string{"one, ", "two, ", "three"}
	list := `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><BlockList>`
	for i := range parts {
		list += "<Latest>" + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "b%d", i)) + "</Latest>"
	}
	for _, i := range []int{2, 0, 1, 0} { // in any order, and once more
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "b%d", i))
		c.must(201, "PUT", up+"&comp=block&blockid="+url.QueryEscape(id), []byte(parts[i]))
	}
	c.must(400, "PUT", up+"&comp=blocklist", []byte(list+"<Latest>bm9uZQ==</Latest></BlockList>"))
	c.must(400, "PUT", up+"&comp=blocklist", []byte(list))
	c.must(201, "PUT", up+"&comp=blocklist", []byte(list+"</BlockList>"), "x-ms-blob-content-type", "text/plain")
	c.must(409, "PUT", up+"&comp=block&blockid=bGF0ZQ==", []byte("late"))
	whole := strings.Join(parts, "")
	digest := blob.Of([]byte(whole))
	got = c.call("ArtifactService/FinalizeArtifact", 200, fmt.Sprintf(`{`+ids+`,"name":"out","size":"%d","hash":"%s"}`, len(whole), digest))
	id := got["artifact_id"].(string)
	want := []plan.Artifact{{Name: "out", Digest: string(digest), Size: int64(len(whole))}}
	if got := m.set.Uploaded(m.scope()); !slices.Equal(got, want) {
		t.Errorf("uploaded %v, want %v", got, want)
	}
	if got := m.set.Uploaded(m.scope()); len(got) > 0 {
		t.Errorf("asked again: %v", got)
	}

	c.call("ArtifactService/CreateArtifact", 409, `{`+ids+`,"name":"out","version":7}`)
	got = c.call("ArtifactService/ListArtifacts", 200, `{`+ids+`}`)
	item := got["artifacts"].([]any)[0].(map[string]any)
	if item["database_id"] != id || item["name"] != "out" || item["size"] != fmt.Sprint(len(whole)) || item["digest"] != string(digest) {
		t.Errorf("listed %v", item)
	}
	for filter, want := range map[string]int{`"name_filter":"out"`: 1, `"name_filter":"in"`: 0, `"id_filter":"` + id + `"`: 1, `"id_filter":"7"`: 0} {
		got := c.call("ArtifactService/ListArtifacts", 200, `{`+ids+`,`+filter+`}`)
		if n := len(got["artifacts"].([]any)); n != want {
			t.Errorf("%s lists %d", filter, n)
		}
	}
	got = c.call("ArtifactService/GetSignedArtifactURL", 200, `{`+ids+`,"name":"out"}`)
	resp, err := http.Get(got["signed_url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != whole || err != nil {
		t.Errorf("downloaded %q, %v", body, err)
	}
	if h := resp.Header; h.Get("Content-Type") != "text/plain" || !strings.Contains(h.Get("Content-Disposition"), "filename*=UTF-8''out") {
		t.Errorf("headers %v", h)
	}
	// The built-in reads it too.
	r := m.ok(m.run("actions/download-artifact", map[string]string{"name": "out"}, m.scope()))
	if got := list2(t, m.path("ws")); got != "out="+whole {
		t.Errorf("the built-in downloaded %s: %s", got, r.log)
	}
	c.call("ArtifactService/DeleteArtifact", 200, `{`+ids+`,"name":"out"}`)
	c.call("ArtifactService/GetSignedArtifactURL", 404, `{`+ids+`,"name":"out"}`)
	c.call("ArtifactService/DeleteArtifact", 404, `{`+ids+`,"name":"out"}`)
}

func list2(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	for name, content := range depottest.List(t, dir) {
		all = append(all, name+"="+content)
	}
	return strings.Join(all, " ")
}

// TestCacheServiceV1 is what @actions/cache 3.2 sends.
func TestCacheServiceV1(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := m.client(m.scope())
	const api = "/_apis/artifactcache/"
	c.must(204, "GET", api+"cache?keys=k-1%2Ck-&version=v", nil)
	var reserved struct{ CacheID int64 }
	body := c.must(201, "POST", api+"caches", []byte(`{"key": "k-1", "version": "v", "cacheSize": 10}`))
	if err := json.Unmarshal([]byte(body), &reserved); err != nil || reserved.CacheID == 0 {
		t.Fatalf("reserved %s, %v", body, err)
	}
	at := fmt.Sprint(api, "caches/", reserved.CacheID)
	c.must(204, "PATCH", at, []byte("world"), "Content-Range", "bytes 5-9/*")
	c.must(400, "POST", at, []byte(`{"size": 10}`)) // the beginning is missing
	c.must(400, "PATCH", at, []byte("hel"), "Content-Range", "bytes 0-4/*")
	c.must(400, "PATCH", at, []byte("hello"), "Content-Range", "bytes -1-4/*")
	c.must(400, "PATCH", at, []byte("hello"), "Content-Range", "bytes 0-99999999999999/*")
	c.must(204, "PATCH", at, []byte("hello"), "Content-Range", "bytes 0-4/*")
	c.must(400, "POST", at, []byte(`{"size": 9}`))
	c.must(204, "POST", at, []byte(`{"size": 10}`))
	c.must(404, "POST", at, []byte(`{"size": 10}`))
	c.must(409, "POST", api+"caches", []byte(`{"key": "k-1", "version": "v"}`))
	c.must(400, "POST", api+"caches", []byte(`{"key": "a,b", "version": "v"}`))
	var found struct{ CacheKey, ArchiveLocation string }
	body = c.must(200, "GET", api+"cache?keys=k-2%2Ck-&version=v", nil)
	if err := json.Unmarshal([]byte(body), &found); err != nil || found.CacheKey != "k-1" {
		t.Fatalf("found %s, %v", body, err)
	}
	c.token = "" // the client downloads without it
	if got := c.must(200, "GET", found.ArchiveLocation, nil); got != "helloworld" {
		t.Errorf("downloaded %q", got)
	}
}

func TestServiceRefuses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := m.client(m.scope())
	other := m.client(m.scope(func(s *plan.Scope) { s.RunID = "2" }))
	created := c.call("ArtifactService/CreateArtifact", 200, `{`+ids+`,"name":"out","version":4}`)
	up := created["signed_upload_url"].(string)

	for name, token := range map[string]string{
		"none": "", "nonsense": "abc", "no signature": strings.Join(strings.Split(c.token, ".")[:2], ".") + ".",
		"another's claims":  strings.Split(c.token, ".")[0] + "." + strings.Split(other.token, ".")[1] + "." + strings.Split(c.token, ".")[2],
		"the signature cut": c.token[:len(c.token)-2], "unsigned": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(c.token, ".")[1] + ".",
	} {
		bad := *c
		bad.token = token
		for _, path := range []string{"/twirp/github.actions.results.api.v1.ArtifactService/ListArtifacts", "/_apis/artifactcache/caches", "/_apis/artifactcache/caches/1"} {
			if status, body := bad.send("POST", path, []byte(`{}`)); status != 401 {
				t.Errorf("token %s: %s: %d %s", name, path, status, body)
			}
		}
	}
	other.call("ArtifactService/ListArtifacts", 403, `{"workflow_run_backend_id":"1"}`)
	other.call("ArtifactService/FinalizeArtifact", 404, `{`+ids+`,"name":"out","size":"0"}`)
	c.must(404, "POST", "/twirp/github.actions.results.api.v1.ArtifactService/MigrateArtifact", []byte(`{}`))
	c.must(404, "GET", "/", nil)
	for _, name := range []string{"", "..", "a/b", strings.Repeat("n", 300)} {
		c.call("ArtifactService/CreateArtifact", 400, fmt.Sprintf(`{`+ids+`,"name":%q}`, name))
	}

	// A signed URL is good for what it was signed for.
	tampered := func(change func(*url.URL, url.Values)) string {
		u, err := url.Parse(up)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		change(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, bad := range map[string]string{
		"no signature":      tampered(func(_ *url.URL, q url.Values) { q.Del("sig") }),
		"another signature": tampered(func(_ *url.URL, q url.Values) { q.Set("sig", strings.Repeat("0", 64)) }),
		"another upload":    tampered(func(u *url.URL, _ url.Values) { u.Path = "/uploads/" + strings.Repeat("0", 32) }),
		"another job":       tampered(func(_ *url.URL, q url.Values) { q.Set("grant", strings.Repeat("0", 32)) }),
	} {
		if status, body := c.send("PUT", bad, []byte("x")); status != 403 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	c.must(400, "PUT", up+"&comp=page", []byte("x"))
	c.must(400, "PUT", up+"&comp=block", []byte("x"))
	c.must(201, "PUT", up, []byte("hello"))
	c.call("ArtifactService/FinalizeArtifact", 400, `{`+ids+`,"name":"out","size":"6"}`)
	c.call("ArtifactService/CreateArtifact", 200, `{`+ids+`,"name":"out","version":4}`)
	c.must(403, "PUT", up, []byte("again")) // its place was taken
	again := c.call("ArtifactService/CreateArtifact", 200, `{`+ids+`,"name":"out","version":4}`)
	c.must(201, "PUT", again["signed_upload_url"].(string), []byte("hello"))
	c.call("ArtifactService/FinalizeArtifact", 400, `{`+ids+`,"name":"out","size":"5","hash":"sha256:`+strings.Repeat("0", 64)+`"}`)

	if status, body := c.send("POST", "/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry", bytes.Repeat([]byte(" "), maxServiceBody+1)); status != 400 {
		t.Errorf("a long request: %d %s", status, body)
	}
	big := fmt.Sprintf(`{"key":"k","version":"v","restore_keys":[%s"x"]}`, strings.Repeat(`"x",`, maxCacheKeys))
	c.call("CacheService/GetCacheEntryDownloadURL", 400, big)
}

func TestServiceEndsWithTheJob(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	env, stop, err := m.set.Serve(t.Context(), m.scope())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, env)
	up := c.call("ArtifactService/CreateArtifact", 200, `{`+ids+`,"name":"out"}`)["signed_upload_url"].(string)
	c.must(201, "PUT", up+"&comp=block&blockid=YQ==", []byte("x"))
	stop()
	c.call("ArtifactService/ListArtifacts", 401, `{`+ids+`}`)
	c.must(403, "PUT", up+"&comp=block&blockid=Yg==", []byte("x"))
	left := 0
	err = filepath.WalkDir(m.path("index/uploads"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left++
		}
		return err
	})
	if err != nil || left > 0 {
		t.Errorf("%d files of unfinished uploads are left, %v", left, err)
	}
}

func TestServiceEnv(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first, stop, err := m.set.Serve(t.Context(), m.scope())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	second, stop2, err := m.set.Serve(t.Context(), m.scope())
	if err != nil {
		t.Fatal(err)
	}
	defer stop2()
	if first["ACTIONS_RESULTS_URL"] != second["ACTIONS_RESULTS_URL"] || first["ACTIONS_RUNTIME_TOKEN"] == second["ACTIONS_RUNTIME_TOKEN"] {
		t.Errorf("one service with a token for each job: %v %v", first, second)
	}
	if _, ok := first["GITHUB_SERVER_URL"]; ok {
		t.Error("github.com is replaced")
	}
	if _, ok := first["ACTIONS_ID_TOKEN_REQUEST_URL"]; ok {
		t.Error("OIDC without the permission")
	}
	if _, ok := first["NO_PROXY"]; ok {
		t.Error("NO_PROXY without a proxy")
	}
	m.env["HTTP_PROXY"], m.env["NO_PROXY"] = "http://proxy.example.com:3128", "example.com"
	third, stop3, err := m.set.Serve(t.Context(), m.scope(func(s *plan.Scope) {
		s.Change.Server = "https://git.example.com"
		s.Job.Permissions = map[string]string{"id-token": "write"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop3()
	if u, err := url.Parse(third["GITHUB_SERVER_URL"]); err != nil || !strings.HasSuffix(u.Hostname(), ".localhost") {
		t.Errorf("GITHUB_SERVER_URL is %s", third["GITHUB_SERVER_URL"])
	}
	if third["NO_PROXY"] != "example.com,127.0.0.1,localhost" {
		t.Errorf("NO_PROXY is %s", third["NO_PROXY"])
	}
	c := newClient(t, third)
	if body := c.must(403, "GET", third["ACTIONS_ID_TOKEN_REQUEST_URL"]+"&audience=x", nil); !strings.Contains(body, "OIDC tokens are not available") {
		t.Errorf("OIDC: %s", body)
	}

	silent := newMachine(t, func(c *Config) { c.Listen = nil })
	if _, _, err := silent.set.Serve(t.Context(), silent.scope()); err == nil {
		t.Error("a service without a listener")
	}
}

// TestDamagedDownload: a client never gets the whole of a damaged blob.
func TestDamagedDownload(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 40_000, 200_000} {
		m := newMachine(t)
		c := m.client(m.scope())
		data := bytes.Repeat([]byte("x"), n)
		up := c.call("CacheService/CreateCacheEntry", 200, `{"key":"k","version":"v"}`)["signed_upload_url"].(string)
		c.must(201, "PUT", up, data)
		c.call("CacheService/FinalizeCacheEntryUpload", 200, fmt.Sprintf(`{"key":"k","version":"v","size_bytes":"%d"}`, n))
		from := c.call("CacheService/GetCacheEntryDownloadURL", 200, `{"key":"k","version":"v"}`)["signed_download_url"].(string)
		if got := c.must(200, "GET", from, nil); len(got) != n {
			t.Errorf("%d bytes came as %d", n, len(got))
		}
		if n == 0 {
			continue
		}
		digest := blob.Of(data).Hex()
		file := m.path("blobs/sha256", digest[:2], digest[2:])
		data[n-1] = 'y'
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if status, body := c.send("GET", from, nil); status == 200 {
			t.Errorf("%d damaged bytes came as %d", n, len(body))
		}
	}
}

func FuzzResults(f *testing.F) {
	for _, body := range []string{
		`{"key":"k","version":"v","restore_keys":["a"],"size_bytes":"5"}`, `{"workflow_run_backend_id":"1","name":"x","size":5,"id_filter":"-1"}`,
		`[]`, `null`, `{"name":null,"expires_at":"x"}`, `{"size_bytes":1e99}`, strings.Repeat("[", 20000),
	} {
		f.Add(body, "PUT", "/uploads/x?comp=blocklist&sig=00", "bytes 0-9/*")
	}
	m := newMachine(f)
	v, err := m.set.Service(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	env, stop := v.Env(m.scope())
	f.Cleanup(stop)
	calls := []string{"CacheService/GetCacheEntryDownloadURL", "CacheService/CreateCacheEntry", "CacheService/FinalizeCacheEntryUpload",
		"ArtifactService/CreateArtifact", "ArtifactService/FinalizeArtifact", "ArtifactService/ListArtifacts", "ArtifactService/GetSignedArtifactURL", "ArtifactService/DeleteArtifact"}
	f.Fuzz(func(t *testing.T, body, method, target, header string) {
		for _, call := range calls {
			r := httptest.NewRequest("POST", "/twirp/github.actions.results.api.v1."+call, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+env["ACTIONS_RUNTIME_TOKEN"])
			w := httptest.NewRecorder()
			v.ServeHTTP(w, r)
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %q: %d %s", call, body, w.Code, w.Body)
			}
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return
		}
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Authorization", env["ACTIONS_RUNTIME_TOKEN"])
		r.Header.Set("Content-Range", header)
		r.Header.Set("Range", header)
		w := httptest.NewRecorder()
		v.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	})
}
