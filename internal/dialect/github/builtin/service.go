package builtin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Service is the loopback service that the real clients of GitHub's cache and
// artifact services call, from within JavaScript actions. It is an
// http.Handler. It speaks:
//
//   - the results service: Twirp calls in JSON for caches (version 2) and
//     artifacts (version 4), see results.go;
//   - as much of Azure's block blobs as the clients use, behind signed URLs
//     that the results service gives out, see upload.go;
//   - the older cache service, _apis/artifactcache, see results.go too;
//   - the address of OIDC tokens, which says why there are none, or asks Config.Identity.
//
// Each job has a token of its own, which says which run's artifacts and which
// refs' caches it may use. It has the shape that the clients take apart: a
// JWT with the claim scp.
type Service struct {
	set    *Set
	url    string // http://127.0.0.1:12345
	key    []byte // signs tokens and URLs
	spool  string // directory of uploads that are not finished
	mux    *http.ServeMux
	server *http.Server

	mu      sync.Mutex
	grants  map[string]*grant  // by the token's ID
	uploads map[string]*upload // by ID
}

// grant is what the holder of one job's token may do.
type grant struct {
	id       string
	run, job string // job as the clients see it: a hash, for they split IDs at colons
	name     string // plan.Job.ID
	began    time.Time
	cache    depot.Scope
	plan     *plan.Job
}

// Limits of the service.
const (
	maxServiceBody   = 1 << 20   // of a call
	maxServiceHeader = 64 << 10  // of all headers together
	maxBlock         = 512 << 20 // one part of an upload
	maxBlocks        = 50_000    // as Azure's
	maxUpload        = 32 << 30
	maxOpenUploads   = 1000 // of one job
	headerTimeout    = 20 * time.Second
	idleTimeout      = 2 * time.Minute
	staleSpool       = 24 * time.Hour
)

// errNoService is the error of a Set that may not listen.
var errNoService = errors.New("builtin: the service for JavaScript actions is switched off")

// Service starts the service when it is first asked for.
func (s *Set) Service(context.Context) (*Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service != nil {
		return s.service, nil
	}
	if s.cfg.Listen == nil {
		return nil, errNoService
	}
	l, err := s.cfg.Listen()
	if err != nil {
		return nil, fmt.Errorf("builtin: start the service for JavaScript actions: %w", err)
	}
	v, err := s.newService("http://" + l.Addr().String())
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("builtin: start the service for JavaScript actions: %w", err)
	}
	v.server = &http.Server{
		Handler: v, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxServiceHeader,
		ErrorLog: log.New(io.Discard, "", 0), // it would tell of clients that went away
	}
	go v.server.Serve(l) // ends with close
	s.service = v
	return v, nil
}

// Serve gives one job access to the service: the variables that its
// JavaScript actions need, and a function that takes the access away. Nobody
// listens until it is called for the first time.
func (s *Set) Serve(ctx context.Context, scope *plan.Scope) (env map[string]string, stop func(), err error) {
	v, err := s.Service(ctx)
	if err != nil {
		return nil, nil, err
	}
	env, stop = v.Env(scope)
	return env, stop, nil
}

func (s *Set) newService(url string) (*Service, error) {
	parent := filepath.Join(s.cfg.Index, "uploads")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	// Processes that were killed leave their unfinished uploads behind.
	if old, err := os.ReadDir(parent); err == nil {
		for _, e := range old {
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleSpool {
				os.RemoveAll(filepath.Join(parent, e.Name())) // the next service tries again
			}
		}
	}
	spool, err := os.MkdirTemp(parent, "service-*")
	if err != nil {
		return nil, err
	}
	v := &Service{
		set: s, url: url, key: make([]byte, sha256.Size), spool: spool,
		mux: http.NewServeMux(), grants: map[string]*grant{}, uploads: map[string]*upload{},
	}
	rand.Read(v.key) // never fails
	v.routes()
	return v, nil
}

func (v *Service) close() error {
	var err error
	if v.server != nil {
		err = v.server.Close()
	}
	return errors.Join(err, os.RemoveAll(v.spool))
}

func (v *Service) routes() {
	const twirp = "POST /twirp/github.actions.results.api.v1."
	for name, call := range map[string]twirpCall{
		"CacheService/GetCacheEntryDownloadURL": v.getCacheEntryDownloadURL,
		"CacheService/CreateCacheEntry":         v.createCacheEntry,
		"CacheService/FinalizeCacheEntryUpload": v.finalizeCacheEntryUpload,
		"ArtifactService/CreateArtifact":        v.createArtifact,
		"ArtifactService/FinalizeArtifact":      v.finalizeArtifact,
		"ArtifactService/ListArtifacts":         v.listArtifacts,
		"ArtifactService/GetSignedArtifactURL":  v.getSignedArtifactURL,
		"ArtifactService/DeleteArtifact":        v.deleteArtifact,
	} {
		v.mux.HandleFunc(twirp+name, v.twirp(call))
	}
	v.mux.HandleFunc("GET /_apis/artifactcache/cache", v.authorized(v.v1Find))
	v.mux.HandleFunc("POST /_apis/artifactcache/caches", v.authorized(v.v1Reserve))
	v.mux.HandleFunc("PATCH /_apis/artifactcache/caches/{id}", v.authorized(v.v1Upload))
	v.mux.HandleFunc("POST /_apis/artifactcache/caches/{id}", v.authorized(v.v1Commit))
	v.mux.HandleFunc("PUT /uploads/{id}", v.put)
	v.mux.HandleFunc("GET /blobs/{digest}/{name}", v.get)
	v.mux.HandleFunc("GET /oidc/token", v.authorized(v.idToken))
	v.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "not_found", "Fairlead's service for actions knows no "+r.Method+" "+r.URL.Path)
	})
}

// ServeHTTP implements http.Handler.
func (v *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { v.mux.ServeHTTP(w, r) }

// Env gives a job access: the variables that its JavaScript actions need, and
// a function that takes the access away.
func (v *Service) Env(s *plan.Scope) (env map[string]string, stop func()) {
	g := &grant{id: randomID(), run: s.RunID, began: s.Started, cache: scopeOf(s)}
	if s.Job != nil {
		g.name, g.plan = s.Job.ID, s.Job
	}
	g.job = depot.Hash(g.name)[:32]
	v.mu.Lock()
	v.grants[g.id] = g
	v.mu.Unlock()

	token := v.token(g)
	env = map[string]string{
		"ACTIONS_RUNTIME_URL":      v.url + "/",
		"ACTIONS_RUNTIME_TOKEN":    token,
		"ACTIONS_RESULTS_URL":      v.url + "/",
		"ACTIONS_CACHE_URL":        v.url + "/",
		"ACTIONS_CACHE_SERVICE_V2": "True",
	}
	if s.Job != nil && s.Job.Permissions["id-token"] == "write" {
		env["ACTIONS_ID_TOKEN_REQUEST_URL"] = v.url + "/oidc/token?api-version=1"
		env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = token
	}
	if !knownServer(s.Change.Server) {
		// The clients do nothing for a server that they take for a
		// self-hosted GitHub, unless its name says that it is this machine.
		if _, port, err := net.SplitHostPort(strings.TrimPrefix(v.url, "http://")); err == nil {
			env["GITHUB_SERVER_URL"] = "http://fairlead.localhost:" + port
		}
	}
	maps.Copy(env, v.noProxy(s))
	return env, func() { v.revoke(g) }
}

// knownServer reports whether the clients take the server for GitHub's own.
func knownServer(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return server == "" || host == "github.com" || strings.HasSuffix(host, ".ghe.com") || strings.HasSuffix(host, ".localhost")
}

// noProxy keeps the clients from asking a proxy for an address of this machine.
func (v *Service) noProxy(s *plan.Scope) map[string]string {
	get := func(name string) string {
		if value, ok := s.Env[name]; ok {
			return value
		}
		value, _ := v.set.cfg.LookupEnv(name)
		return value
	}
	if get("http_proxy")+get("HTTP_PROXY")+get("all_proxy")+get("ALL_PROXY") == "" {
		return nil
	}
	list := get("no_proxy")
	if list == "" {
		list = get("NO_PROXY")
	}
	if list != "" {
		list += ","
	}
	list += "127.0.0.1,localhost"
	return map[string]string{"no_proxy": list, "NO_PROXY": list}
}

func (v *Service) revoke(g *grant) {
	v.mu.Lock()
	delete(v.grants, g.id)
	var left []*upload
	for id, u := range v.uploads {
		if u.grant == g {
			delete(v.uploads, id)
			left = append(left, u)
		}
	}
	v.mu.Unlock()
	for _, u := range left {
		u.discard()
	}
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (v *Service) mac(text string) []byte {
	h := hmac.New(sha256.New, v.key)
	io.WriteString(h, text)
	return h.Sum(nil)
}

type claims struct {
	Scope   string `json:"scp"`
	ID      string `json:"jti"`
	Issuer  string `json:"iss"`
	Caches  string `json:"ac"` // what may be done with the caches of which ref; 1: read, 2: write
	Orchest string `json:"orchid"`
}

func (v *Service) token(g *grant) string {
	type access struct {
		Scope      string
		Permission int
	}
	var refs []access
	for i, ref := range g.cache.Refs {
		a := access{ref, 1}
		if i == 0 {
			a.Permission = 3
		}
		refs = append(refs, a)
	}
	ac, errAC := json.Marshal(refs)
	body, errBody := json.Marshal(claims{
		Scope: "Actions.Results:" + g.run + ":" + g.job, ID: g.id, Issuer: "fairlead", Caches: string(ac), Orchest: g.run + "." + g.job,
	})
	if errAC != nil || errBody != nil {
		panic("builtin: strings cannot be marshalled") // they can
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(v.mac(text))
}

// authenticate finds the grant of a request's token, or nil.
func (v *Service) authenticate(r *http.Request) *grant {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	dot := strings.LastIndexByte(token, '.')
	if !strings.EqualFold(scheme, "bearer") || dot < 0 {
		return nil
	}
	sum, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || !hmac.Equal(sum, v.mac(token[:dot])) {
		return nil
	}
	_, payload, _ := strings.Cut(token[:dot], ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	var c claims
	if err != nil || json.Unmarshal(data, &c) != nil {
		return nil
	}
	return v.grant(c.ID)
}

func (v *Service) grant(id string) *grant {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.grants[id]
}

// authorized lets only holders of a job's token through.
func (v *Service) authorized(serve func(http.ResponseWriter, *http.Request, *grant)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g := v.authenticate(r)
		if g == nil {
			problem(w, http.StatusUnauthorized, "unauthenticated", "the token is not that of a job that runs")
			return
		}
		serve(w, r, g)
	}
}

// sign makes a URL that gives access without a token. The values, and nothing
// that the client may add, are signed.
func (v *Service) sign(path string, values url.Values) string {
	values.Set("sig", hex.EncodeToString(v.mac(path+"?"+values.Encode())))
	return v.url + path + "?" + values.Encode()
}

// signed returns the grant of a signed URL, and reports whether the signature
// is right and the job still runs. names are the signed values.
func (v *Service) signed(r *http.Request, names ...string) (*grant, bool) {
	given := r.URL.Query()
	values := url.Values{}
	for _, name := range names {
		values.Set(name, given.Get(name))
	}
	sum, err := hex.DecodeString(given.Get("sig"))
	if err != nil || !hmac.Equal(sum, v.mac(r.URL.EscapedPath()+"?"+values.Encode())) {
		return nil, false
	}
	g := v.grant(given.Get("grant"))
	return g, g != nil
}

// problem answers with an error, in the form of Twirp's.
func problem(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]string{"code": code, "msg": message, "message": message})
}

func answer(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(data) // a client that is gone needs no answer
}

// readJSON reads the body of a request into v.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxServiceBody))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// idToken answers requests for an OIDC token, of jobs that have the permission.
func (v *Service) idToken(w http.ResponseWriter, r *http.Request, g *grant) {
	if v.set.cfg.Identity != nil && g.plan != nil && g.plan.Permissions["id-token"] == "write" {
		token, err := v.set.cfg.Identity(r.Context(), g.run, g.plan, r.URL.Query().Get("audience"))
		if err != nil {
			problem(w, http.StatusForbidden, "permission_denied", err.Error())
			return
		}
		answer(w, http.StatusOK, map[string]any{"value": token})
		return
	}
	problem(w, http.StatusForbidden, "permission_denied",
		"OIDC tokens are not available in a run on this machine: no provider would trust them. Skip the step that logs in, or log in by other means.")
}
