package threats_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	githubfiles "github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/github"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/webhook"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Canaries: what they are of must never be found where it does not belong.
const (
	hookKey  = "canary-of-the-hook-5be2"
	valueKey = "canary-of-the-value-91c7"
	password = "canary of the password 30fd"
)

// site is a whole server in this process, as main would wire it: a record, a vault,
// a desk that serves, and the pages. Of the outside it may reach nothing private.
type site struct {
	*testing.T
	url   string
	work  string // the repository "team/app"
	data  string
	log   *lines
	store *sqlite.Store
	vault *secret.Vault
	gate  *access.Gate
	desk  *launch.Desk
	admin access.Session
	n     int // deliveries
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const peaceful = "name: CI\non: [push, pull_request]\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo built\n"

// newSite makes a server with the repository team/app, whose first commit is files.
func newSite(t *testing.T, files map[string]string) *site {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed; these tests make real repositories")
	}
	ctx, dir := t.Context(), t.TempDir()
	s := &site{T: t, work: filepath.Join(dir, "app"), data: filepath.Join(dir, "data"), log: new(lines)}
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	try(os.Mkdir(s.work, 0o755))
	s.git("init", "-q", "-b", "main")
	if files == nil {
		files = map[string]string{".github/workflows/ci.yml": peaceful}
	}
	s.commit("first", files)
	var err error
	s.store, err = sqlite.Open(ctx, s.data, sqlite.Options{})
	try(err)
	t.Cleanup(func() { _ = s.store.Close() })
	blobs, err := disk.Open(filepath.Join(s.data, "blobs"))
	try(err)
	keys, err := secret.OpenKeys(filepath.Join(dir, "keys"))
	try(err)
	s.vault = &secret.Vault{Registers: s.store, Keys: keys}
	s.gate = access.New(access.Options{Registers: s.store})
	audit, err := access.OpenKey(filepath.Join(dir, "audit.key"))
	try(err)
	here := host.New(host.Options{})
	t.Cleanup(func() { _ = here.Close() })
	guard := forge.Guard{}
	client := forge.NewClient(forge.ClientOptions{Guard: guard})
	index := filepath.Join(s.data, "index")
	actions := builtin.New(builtin.Config{Blobs: blobs, Index: index})
	t.Cleanup(func() { _ = actions.Close() })
	launcher := &launch.Launcher{
		Dialects: []dialect.Dialect{githubfiles.New(githubfiles.Config{Builtins: actions})}, Executor: here, Store: s.store,
		Conceal: depot.New(blobs, index).Conceal,
		Slots:   &workspace.Slots{Dir: filepath.Join(dir, "slots")}, Data: s.data,
		Idle: func() float64 { return 2 }, Version: "test", Grace: time.Second,
	}
	s.desk = &launch.Desk{
		Launcher: launcher, Runs: s.store, Vault: s.vault, Guard: guard, Dir: filepath.Join(dir, "repositories"), URL: "https://ci.example.org",
		Forges:   map[string]forge.Forge{"github": github.New(github.Options{Client: client})},
		Channels: map[string]notify.Channel{"webhook": &webhook.Channel{Client: client}},
		Log:      func(doing string, err error) { s.log.Write([]byte(doing + ": " + err.Error() + "\n")) }, //nolint:errcheck // a buffer
	}
	web, err := server.New(server.Config{
		Desk: s.desk, Runs: s.store, Feed: s.store, Gate: s.gate, Trail: access.NewTrail(s.store, s.store, audit), Vault: s.vault,
		Pushes: s.store, LogPath: launcher.LogPath, Logs: launcher, Blobs: blobs, Forges: s.desk.Forges, Channels: []string{"webhook"},
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test",
	})
	try(err)
	t.Cleanup(web.Close)
	front := httptest.NewServer(web)
	t.Cleanup(front.Close)
	s.url = front.URL
	first, _, err := s.gate.FirstLink(ctx)
	try(err)
	s.admin, err = s.gate.UseFirst(ctx, first, "root", password, "192.0.2.1")
	try(err)
	by := secret.By{Name: "root"}
	try(s.vault.Set(ctx, by, secret.Scope{Repository: "team/app"}, "$HOOK", []byte(hookKey)))
	try(s.vault.Set(ctx, by, secret.Scope{Repository: "team/app"}, "VALUE", []byte(valueKey)))
	try(s.desk.SetRepository(ctx, launch.By{Name: "root"}, launch.Repository{Name: "team/app", URL: s.work, Forge: "github"}, true))
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.desk.Serve(serving) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) git(args ...string) string {
	s.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = s.work
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) commit(message string, files map[string]string) (sha string) {
	s.Helper()
	for name, body := range files {
		path := filepath.Join(s.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	s.git("add", "-A")
	s.git("commit", "-q", "--allow-empty", "-m", message)
	return s.git("rev-parse", "HEAD")
}

// account makes an account with a role, and signs it in.
func (s *site) account(name, repository string, role access.Role) access.Session {
	s.Helper()
	code, err := s.gate.Invite(s.Context(), access.Local("root"), name, []access.Grant{{Repository: repository, Role: role}})
	if err != nil {
		s.Fatal(err)
	}
	session, err := s.gate.Accept(s.Context(), code, "a long enough one, "+name, "192.0.2.1")
	if err != nil {
		s.Fatal(err)
	}
	return session
}

// token makes a token of the admin's.
func (s *site) token(spec access.TokenSpec) string {
	s.Helper()
	spec.Owner = "root"
	plain, _, err := s.gate.IssueToken(s.Context(), access.Local("root"), spec)
	if err != nil {
		s.Fatal(err)
	}
	return plain
}

// answer is what the server said.
type answer struct {
	code   int
	body   string
	header http.Header
}

// call sends one request, without following where it leads.
func (s *site) call(method, path, body string, options ...func(*http.Request)) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(r)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer{res.StatusCode, string(text), res.Header}
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// as signs a request in, as a page of ours would.
func as(x access.Session) func(*http.Request) {
	return func(r *http.Request) {
		cookie(x)(r)
		r.Header.Set("X-CSRF-Token", x.CSRF)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

// cookie is all that a browser sends by itself.
func cookie(x access.Session) func(*http.Request) {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "fairlead-session", Value: x.Cookie}) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

type object = map[string]any

func repositoryOf(name string) object {
	owner, short, _ := strings.Cut(name, "/")
	return object{"id": len(name), "name": short, "full_name": name, "default_branch": "main", "owner": object{"login": owner},
		"html_url": "https://github.com/" + name, "clone_url": "https://github.com/" + name + ".git"}
}

// hook delivers what GitHub would, signed with a key.
func (s *site) hook(event, key string, body any, options ...func(*http.Request)) answer {
	s.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			s.Fatal(err)
		}
		text = string(b)
	}
	s.n++
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return s.call("POST", "/hooks/team/app", text, append([]func(*http.Request){
		header("X-GitHub-Event", event), header("X-GitHub-Delivery", "delivery-"+hex.EncodeToString([]byte{byte(s.n)})),
		header("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil))),
	}, options...)...)
}

// pushed is the body of a push.
func pushed(ref, sha, message string) object {
	return object{"ref": ref, "before": strings.Repeat("0", 40), "after": sha, "repository": repositoryOf("team/app"), "pusher": object{"name": "ada"}, "sender": object{"login": "ada"},
		"head_commit": object{"id": sha, "message": message}, "commits": []any{}}
}

// pulled is the body of a pull request that a fork sends.
func pulled(n int, sha, head, title string) object {
	return object{"action": "opened", "number": n, "repository": repositoryOf("team/app"), "sender": object{"login": "eve"}, "pull_request": object{
		"number": n, "title": title, "user": object{"login": "eve"}, "draft": false,
		"head": object{"ref": head, "sha": sha, "repo": repositoryOf("eve/app")},
		"base": object{"ref": "main", "sha": sha, "repo": repositoryOf("team/app")},
	}}
}

// settled is what a delivery that was taken came to.
func (s *site) settled(a answer) *record.RequestSettled {
	s.Helper()
	var taken struct{ Seq int64 }
	if a.code != http.StatusAccepted || json.Unmarshal([]byte(a.body), &taken) != nil {
		s.Fatalf("it was not taken: %d %s", a.code, a.body)
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	b, err := s.desk.Await(ctx, taken.Seq)
	if err != nil {
		s.Fatalf("request %d is not settled: %v", taken.Seq, err)
	}
	return b
}

// until waits for the record to go on until something holds of a run.
func (s *site) until(run string, holds func(r *record.Run) bool) *record.Run {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	seq, err := s.store.Watch(ctx, -1)
	for ; err == nil; seq, err = s.store.Watch(ctx, seq) {
		r, err := s.store.Run(ctx, run)
		if err != nil {
			s.Fatal(err)
		}
		if holds(r) {
			return r
		}
	}
	s.Fatalf("run %s: %v", run, err)
	return nil
}

func (s *site) ended(run string) *record.Run {
	s.Helper()
	return s.until(run, func(r *record.Run) bool { return r.Verdict != "" })
}

// printed is all that the jobs of a run printed.
func (s *site) printed(r *record.Run) string {
	s.Helper()
	var b strings.Builder
	for _, id := range r.Order {
		log, err := s.desk.OpenLog(s.Context(), r.ID, r.Jobs[id])
		if err != nil {
			continue
		}
		if err := log.Read(0, func(l logs.Line) bool {
			b.Write(l.Text)
			b.WriteByte('\n')
			return true
		}); err != nil {
			s.Error(err)
		}
		_ = log.Close()
	}
	return b.String()
}

// count is how many events of a kind there are.
func (s *site) count(kind record.Kind) (n int) {
	s.Helper()
	for e, err := range s.store.After(s.Context(), 0) {
		if err != nil {
			s.Fatal(err)
		}
		if e.Kind() == kind {
			n++
		}
	}
	return n
}
