package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// What main puts in fits.
var (
	_ Desk   = (*launch.Desk)(nil)
	_ Gate   = (*access.Gate)(nil)
	_ Trail  = (*access.Trail)(nil)
	_ Vault  = (*secret.Vault)(nil)
	_ Logs   = (*launch.Launcher)(nil)
	_ Runs   = (*sqlite.Store)(nil)
	_ Feed   = (*sqlite.Store)(nil)
	_ Pushes = (*sqlite.Store)(nil)

	_ Tests = (*insight.Histories)(nil)
	_ Wards = (*insight.Wards)(nil)

	_ Workers = (*crew.Hands)(nil)
	_ Crew    = (*crew.Hands)(nil)
)

// scene is a server over a real record, a real gate and a real vault. Only the
// desk and the code host are played.
type scene struct {
	t     testing.TB
	s     *Server
	store *sqlite.Store
	gate  *access.Gate
	vault *secret.Vault
	blobs blob.Store
	desk  *playedDesk
	hands *crew.Hands
	data  string
	log   *lockedBuffer

	admin access.Session
}

// hookKey is what the code host of team/app signs with.
const hookKey = "the hook's secret 7f3b"

func newScene(t *testing.T) *scene { return newSceneB(t) }

// newSceneB is newScene for benchmarks and fuzzing, too.
func newSceneB(t testing.TB) *scene {
	t.Helper()
	ctx := t.Context()
	sc := &scene{t: t, data: t.TempDir(), log: new(lockedBuffer)}
	var err error
	if sc.store, err = sqlite.Open(ctx, sc.data, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sc.store.Close() })
	if sc.blobs, err = disk.Open(filepath.Join(sc.data, "blobs")); err != nil {
		t.Fatal(err)
	}
	keys, err := secret.OpenKeys(filepath.Join(sc.data, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	sc.vault = &secret.Vault{Registers: sc.store, Keys: keys}
	for _, repo := range []string{"team/app", "team/other"} {
		if err := sc.vault.Set(ctx, secret.By{}, secret.Scope{Repository: repo}, hookSecret, []byte(hookKey)); err != nil {
			t.Fatal(err)
		}
	}
	sc.gate = access.New(access.Options{Registers: sc.store})
	sc.desk = &playedDesk{store: sc.store, repos: map[string]launch.Repository{
		"team/app":   {Name: "team/app", URL: "https://code.example.org/team/app.git", Forge: "played", DefaultBranch: "main"},
		"team/other": {Name: "team/other", URL: "https://code.example.org/team/other.git", Forge: "played", DefaultBranch: "main"},
	}}
	key, err := access.OpenKey(filepath.Join(sc.data, "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	launcher := &launch.Launcher{Data: sc.data}
	sc.hands, err = crew.NewHands(ctx, crew.HandsOptions{
		Store: sc.store, Data: sc.data, Blobs: sc.blobs, Depot: depot.New(sc.blobs, filepath.Join(sc.data, "index")), Trees: playedTrees{}, Only: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	sc.s, err = New(Config{
		Desk: sc.desk, Runs: sc.store, Feed: sc.store, Gate: sc.gate, Trail: access.NewTrail(sc.store, sc.store, key), Vault: sc.vault,
		Pushes: sc.store, LogPath: launcher.LogPath, Logs: launcher, Blobs: sc.blobs,
		Faults: &insight.Faults{Store: sc.store, Runs: sc.store, Ledger: sc.store, Blobs: sc.blobs, Logs: launcher},
		Forges: map[string]forge.Forge{"played": playedForge{}}, Channels: []string{"slack", "webhook"},
		Workers: sc.hands, Crew: sc.hands, Sharing: &Sharing{Registers: sc.store, Ledger: sc.store},
		Coverage: &insight.Coverage{Store: sc.store, Runs: sc.store, Blobs: sc.blobs}, Publications: sc.store, Reports: &insight.Reports{Store: sc.store, Runs: sc.store, Blobs: sc.blobs, Version: "test"},
		Tests:      &insight.Histories{Ledger: sc.store, Record: sc.store, Blobs: sc.blobs},
		Flags:      &launch.Flags{Store: sc.store, Log: sc.store, Dir: filepath.Join(sc.data, "flags")},
		Wards:      &insight.Wards{Tests: &insight.Tests{Store: sc.store, Runs: sc.store, Ledger: sc.store, Blobs: sc.blobs}},
		Deliveries: &insight.Deliveries{Log: sc.store}, Incidents: &launch.Incidents{Store: sc.store},
		Log: slog.New(slog.NewJSONHandler(sc.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	sc.mover()
	t.Cleanup(sc.s.Close)
	first, _, err := sc.gate.FirstLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if sc.admin, err = sc.gate.UseFirst(ctx, first, "root", "correct horse battery", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	return sc
}

// principal is the admin.
func (sc *scene) principal() *access.Principal {
	p, _, err := sc.gate.Session(sc.t.Context(), sc.admin.Cookie, "192.0.2.1")
	if err != nil {
		sc.t.Fatal(err)
	}
	return p
}

// account makes an account with a role in a repository, and signs it in.
func (sc *scene) account(name, repository string, role access.Role) access.Session {
	sc.t.Helper()
	code, err := sc.gate.Invite(sc.t.Context(), sc.principal(), name, []access.Grant{{Repository: repository, Role: role}})
	if err != nil {
		sc.t.Fatal(err)
	}
	session, err := sc.gate.Accept(sc.t.Context(), code, "a long enough one, "+name, "192.0.2.1")
	if err != nil {
		sc.t.Fatal(err)
	}
	return session
}

// token makes a token of the admin's.
func (sc *scene) token(spec access.TokenSpec) string {
	sc.t.Helper()
	plain, _, err := sc.gate.IssueToken(sc.t.Context(), sc.principal(), spec)
	if err != nil {
		sc.t.Fatal(err)
	}
	return plain
}

// call sends one request. Options change it.
func (sc *scene) call(method, path string, body string, options ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(sc.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(r)
	}
	w := httptest.NewRecorder()
	sc.s.ServeHTTP(w, r)
	return w
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// session signs a request in, as a page of ours would.
func session(s access.Session) func(*http.Request) {
	return func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "fairlead-session", Value: s.Cookie})
		r.Header.Set("X-CSRF-Token", s.CSRF)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

func form(values url.Values) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(values.Encode()))
		r.ContentLength = int64(len(values.Encode()))
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// run puts a run of a repository into the record: job "test" with one step, ended.
func (sc *scene) run(repository string, o *record.Origin, more ...record.Event) string {
	sc.t.Helper()
	id, number, err := sc.store.NewRun(sc.t.Context(), repository, "ci.yml")
	if err != nil {
		sc.t.Fatal(err)
	}
	if o == nil {
		o = &record.Origin{Repository: repository, Trust: record.Protected}
	}
	events := []record.Event{
		{Run: id, Body: &record.RunPlanned{
			Number: number, Attempt: 1, Root: "/srv/tree", Version: "test", Origin: o,
			Change:   &plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Repository: repository, DefaultBranch: "main"},
			Pipeline: &plan.Pipeline{Dialect: "github", Name: "CI", File: "ci.yml", Jobs: []plan.Job{{ID: "test", Name: "test"}}},
		}},
		{Run: id, Body: &record.RunStarted{Host: "here", PID: 1}},
		{Run: id, Job: "test", Body: &record.JobStarted{Attempt: 1, Place: "host"}},
		{Run: id, Job: "test", Step: "0", Body: &record.StepStarted{Name: "go test"}},
	}
	for _, e := range more {
		e.Run = id
		events = append(events, e)
	}
	events = append(events,
		record.Event{Run: id, Job: "test", Step: "0", Body: &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success, Line: 3}},
		record.Event{Run: id, Job: "test", Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}},
		record.Event{Run: id, Body: &record.RunFinished{Verdict: plan.Success}})
	if _, err := sc.store.Append(sc.t.Context(), events...); err != nil {
		sc.t.Fatal(err)
	}
	return id
}

// writeLog writes the log of a run's job "test".
func (sc *scene) writeLog(run string, lines ...string) {
	sc.t.Helper()
	name := launch.LogPath(sc.data, run, "test")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		sc.t.Fatal(err)
	}
	w, err := logs.Create(name)
	if err != nil {
		sc.t.Fatal(err)
	}
	for _, l := range lines {
		if _, err := w.Line("0", time.Unix(1700000000, 0), []byte(l)); err != nil {
			sc.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		sc.t.Fatal(err)
	}
}

// events are all events of a kind.
func (sc *scene) events(kind record.Kind) (found []record.Event) {
	sc.t.Helper()
	for e, err := range sc.store.After(sc.t.Context(), 0) {
		if err != nil {
			sc.t.Fatal(err)
		}
		if e.Kind() == kind {
			found = append(found, e)
		}
	}
	return found
}

// playedForge signs as one of the real ones does.
type playedForge struct{ forge.Forge }

func (playedForge) Verify(d *forge.Delivery, key []byte) error {
	want, err := hex.DecodeString(strings.TrimPrefix(d.Header["X-Hub-Signature-256"], "sha256="))
	if err != nil || len(key) == 0 {
		return forge.ErrForged
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(d.Body)
	if !hmac.Equal(mac.Sum(nil), want) {
		return forge.ErrForged
	}
	return nil
}

func signature(body string) string {
	mac := hmac.New(sha256.New, []byte(hookKey))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// playedDesk writes deliveries down as the real one does, and remembers what else it was
// asked for.
type playedDesk struct {
	store *sqlite.Store

	mu    sync.Mutex
	repos map[string]launch.Repository
	asked []string
}

func (d *playedDesk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
}

func (d *playedDesk) acts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

func (d *playedDesk) Deliver(ctx context.Context, repository string, in *forge.Delivery, from string) (int64, bool, error) {
	id := in.Header["X-Github-Delivery"]
	reg := record.Register{Kind: "delivery", ID: repository + "/" + id, Body: json.RawMessage(`{}`)}
	events, err := d.store.Change(ctx, []record.Register{reg}, record.Event{Body: &record.HookReceived{Repository: repository, Forge: "played", Delivery: id, Header: in.Header, Body: in.Body, From: from}})
	if errors.Is(err, record.ErrConflict) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return events[0].Seq, true, nil
}

func (d *playedDesk) Ask(ctx context.Context, by launch.By, w launch.Wish) (int64, error) {
	d.note("ask %s %s", by.Name, w.Repository)
	events, err := d.store.Append(ctx, record.Event{Body: &record.RunRequested{Repository: w.Repository, By: by.Name, Cause: w.Cause, Workflow: w.Workflow}})
	if err != nil {
		return 0, err
	}
	_, err = d.store.Append(ctx, record.Event{Body: &record.RequestSettled{Request: events[0].Seq, Why: "the played desk starts nothing"}})
	return events[0].Seq, err
}

func (d *playedDesk) Await(ctx context.Context, seq int64) (*record.RequestSettled, error) {
	for e, err := range d.store.After(ctx, seq) {
		if err != nil {
			return nil, err
		}
		if b, ok := e.Body.(*record.RequestSettled); ok && b.Request == seq {
			return b, nil
		}
	}
	return nil, context.DeadlineExceeded
}

func (d *playedDesk) Repeat(_ context.Context, by launch.By, run string, a record.Again) (string, error) {
	d.note("repeat %s %s %+v", by.Name, run, a)
	return run + "0", nil
}

func (d *playedDesk) Approve(_ context.Context, by launch.By, run string) error {
	d.note("approve %s %s", by.Name, run)
	return nil
}

func (d *playedDesk) Environments(context.Context, string) ([]record.Environment, error) {
	return []record.Environment{{Repository: "team/app", Name: "production", Approvals: 2, Approvers: []string{"ada", "bob"}, NotAuthor: true, Branches: []string{"main", "release-*"}, Wait: 600}}, nil
}

func (d *playedDesk) SetEnvironment(_ context.Context, by launch.By, e record.Environment) error {
	d.note("environment %s %s %d %v %v %d %t by %s", e.Repository, e.Name, e.Approvals, e.Approvers, e.Branches, e.Wait, e.NotAuthor, by.Name)
	return nil
}

func (d *playedDesk) RemoveEnvironment(_ context.Context, by launch.By, repository, name string) error {
	d.note("remove environment %s %s by %s", repository, name, by.Name)
	return nil
}

func (d *playedDesk) ApproveEnvironment(_ context.Context, by launch.By, run, name, why string) error {
	d.note("approve environment %s %s by %s: %s", run, name, by.Name, why)
	return nil
}

func (d *playedDesk) Cancel(_ context.Context, by launch.By, run, job string) error {
	d.note("cancel %s %s %s", by.Name, run, job)
	return nil
}

func (d *playedDesk) Metrics() launch.Metrics {
	return launch.Metrics{Waiting: 2, Running: 1, Oldest: 90 * time.Second}
}

func (d *playedDesk) Queue(context.Context) (launch.Queue, error) {
	return launch.Queue{Waiting: []launch.Waiting{{Run: "7", Repository: "team/app", Name: "CI", Why: "its turn comes"}, {Run: "8", Repository: "team/other", Name: "CI", Why: "its turn comes"}}}, nil
}

func (d *playedDesk) Repositories(context.Context) (all []launch.Repository, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.repos {
		all = append(all, r)
	}
	return all, nil
}

func (d *playedDesk) Repository(_ context.Context, name string) (launch.Repository, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.repos[name]
	if !ok {
		return r, &plan.UsageError{Message: "there is no repository " + name, Hint: "fairlead repo add"}
	}
	return r, nil
}

func (d *playedDesk) SetRepository(_ context.Context, by launch.By, r launch.Repository, create bool) error {
	d.note("set repository %s %s %v", by.Name, r.Name, create)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.repos[r.Name] = r
	return nil
}

func (d *playedDesk) RemoveRepository(_ context.Context, by launch.By, name string) error {
	d.note("remove repository %s %s", by.Name, name)
	return nil
}

func (d *playedDesk) Routes(context.Context) ([]notify.Route, error) {
	return []notify.Route{{Name: "team", Channel: "slack", Secret: "$ROUTE_TEAM", Branches: []string{"main"}, Edges: []notify.Edge{notify.Broke, notify.Fixed}}}, nil
}

func (d *playedDesk) SetRoute(_ context.Context, by launch.By, r notify.Route) error {
	d.note("%s sets route %s to %s in %s", by.Name, r.Name, r.Channel, r.Secret)
	return nil
}

func (d *playedDesk) RemoveRoute(_ context.Context, by launch.By, name string) error {
	d.note("%s removes route %s", by.Name, name)
	return nil
}

func (d *playedDesk) CheckTarget(channel, target string) error {
	if !strings.HasPrefix(target, "https://") {
		return &plan.UsageError{Message: channel + " cannot send there: the address does not begin with https://"}
	}
	return nil
}

func (d *playedDesk) TestRoute(_ context.Context, by launch.By, name string) error {
	d.note("%s tests route %s", by.Name, name)
	if name != "team" {
		return &plan.UsageError{Message: "the message did not arrive: it answered 404 Not Found"}
	}
	return nil
}

func (d *playedDesk) Replay(_ context.Context, by launch.By, seq int64) (int64, error) {
	d.note("replay %s %d", by.Name, seq)
	return seq + 1, nil
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // closed at the next write; nil while nobody waits
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil {
		close(b.written)
		b.written = nil
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// await waits until the log holds a text.
func (b *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for {
		b.mu.Lock()
		there := strings.Contains(b.buf.String(), text)
		if b.written == nil {
			b.written = make(chan struct{})
		}
		written := b.written
		b.mu.Unlock()
		if there {
			return
		}
		select {
		case <-written:
		case <-t.Context().Done():
			t.Fatalf("the log never held %q", text)
		}
	}
}
