package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// scene is a repository, a code host that is played, and a desk.
type scene struct {
	testing.TB
	work  string // the repository "team/app"
	store *sqlite.Store
	desk  *Desk
	forge *playedForge
	chat  *playedChannel
	vault vault
	repo  Repository
	data  string
	here  *host.Executor
	n     int // deliveries
}

var ada = By{Name: "ada", Via: "session"}

const pushCI = "name: CI\non: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo built\n"

// set builds a scene; files are those of the first commit.
func set(t *testing.T, files map[string]string) *scene {
	t.Helper()
	return build(t, files)
}

// stage is a scene for a benchmark.
func stage(b *testing.B) *scene {
	b.Helper()
	return build(b, map[string]string{".github/workflows/ci.yml": pushCI})
}

func build(t testing.TB, files map[string]string) *scene {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed; these tests make real repositories")
	}
	dir := t.TempDir()
	s := &scene{TB: t, work: filepath.Join(dir, "app"), data: filepath.Join(dir, "data"), forge: &playedForge{}, chat: &playedChannel{}, vault: vault{}}
	if err := os.Mkdir(s.work, 0o755); err != nil {
		t.Fatal(err)
	}
	s.git("init", "-q", "-b", "main")
	s.commit("first", files)
	db, err := sqlite.Open(t.Context(), s.data, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s.store = db
	s.here = host.New(host.Options{})
	t.Cleanup(func() { _ = s.here.Close() })
	s.desk = s.open(db)
	s.repo = Repository{Name: "team/app", URL: s.work, Forge: "played"}
	if err := s.desk.SetRepository(t.Context(), ada, s.repo, true); err != nil {
		t.Fatal(err)
	}
	return s
}

// open makes a desk over the scene's record, as another process would.
func (s *scene) open(db Store) *Desk {
	return &Desk{
		Launcher: &Launcher{
			Dialects: []dialect.Dialect{github.New(github.Config{})}, Executor: s.here, Store: db,
			Slots: &workspace.Slots{Dir: filepath.Join(s.data, "slots")}, Data: s.data,
			Idle: func() float64 { return 2 }, Version: "test", Grace: time.Second,
		},
		Runs: s.store, Forges: map[string]forge.Forge{"played": s.forge}, Channels: map[string]notify.Channel{"chat": s.chat},
		Vault: s.vault, Dir: filepath.Join(s.data, "repos"), URL: "https://ci.example.org",
		Log: func(doing string, err error) { s.Logf("%s: %v", doing, err) },
	}
}

// change stores another form of the repository.
func (s *scene) change(edit func(r *Repository)) {
	s.Helper()
	edit(&s.repo)
	if err := s.desk.SetRepository(s.Context(), ada, s.repo, false); err != nil {
		s.Fatal(err)
	}
}

// serve lets the desk serve until the returned function is called, or the test ends.
func (s *scene) serve(d *Desk) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(stop)
	return stop
}

func (s *scene) git(args ...string) string {
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

func (s *scene) commit(message string, files map[string]string) (sha string) {
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

// branch makes a branch from where we are, with one commit, and goes back to main.
func (s *scene) branch(name string, files map[string]string) (sha string) {
	s.Helper()
	s.git("switch", "-q", "-C", name)
	sha = s.commit("on "+name, files)
	s.git("switch", "-q", "main")
	return sha
}

// fork makes change number n, whose commits are on no branch of the repository.
func (s *scene) fork(n string, files map[string]string) (sha string) {
	s.Helper()
	s.git("switch", "-q", "--detach")
	sha = s.commit("from a fork", files)
	s.git("update-ref", "refs/pull/"+n+"/head", sha)
	s.git("switch", "-q", "main")
	return sha
}

// push is the hook of a push.
func (s *scene) push(ref, sha string) forge.Hook {
	return forge.Hook{Kind: forge.Push, Event: "push", Repository: "team/app", Fetch: ref, Change: &plan.Change{
		Event: "push", Ref: ref, SHA: sha, Repository: "team/app", Server: "https://code.example.org", Actor: "ada",
		Before: strings.Repeat("0", 40), DefaultBranch: "main",
	}}
}

// pull is the hook of a pull request into main.
func (s *scene) pull(n, sha string, fork bool) forge.Hook {
	return forge.Hook{Kind: forge.Change, Event: "pull_request", Repository: "team/app", Fork: fork, Number: n, Title: "Change " + n, Fetch: "refs/pull/" + n + "/head",
		Change: &plan.Change{
			Event: "pull_request", Ref: "refs/pull/" + n + "/merge", SHA: sha, BaseRef: "main", HeadRef: "topic", Repository: "team/app", Server: "https://code.example.org", Actor: "eve", DefaultBranch: "main",
			Payload: map[string]any{"action": "opened", "number": n, "pull_request": map[string]any{
				"number": n, "head": map[string]any{"ref": "topic", "sha": sha}, "base": map[string]any{"ref": "main"}}},
		}}
}

func (s *scene) deliver(h forge.Hook) (seq int64) {
	s.Helper()
	s.n++
	body, err := json.Marshal(h)
	if err != nil {
		s.Fatal(err)
	}
	seq, fresh, err := s.desk.Deliver(s.Context(), "team/app", &forge.Delivery{Header: map[string]string{"X-Github-Delivery": strconv.Itoa(s.n)}, Body: body}, "192.0.2.1")
	if err != nil || !fresh {
		s.Fatalf("deliver: %t, %v", fresh, err)
	}
	return seq
}

// settle settles a request at once, without serving.
func (s *scene) settle(seq int64) *record.RequestSettled {
	s.Helper()
	body, err := s.desk.request(s.Context(), seq)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.desk.settle(s.Context(), seq, body); err != nil {
		s.Fatal(err)
	}
	return s.settled(seq)
}

func (s *scene) settled(seq int64) *record.RequestSettled {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	b, err := s.desk.Await(ctx, seq)
	if err != nil {
		s.Fatalf("request %d is not settled: %v", seq, err)
	}
	return b
}

func (s *scene) run(id string) *record.Run {
	s.Helper()
	r, err := s.store.Run(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// ended waits for the end of a run.
func (s *scene) ended(id string) *record.Run {
	s.Helper()
	return s.when("run "+id+" has ended", func() *record.Run {
		if r := s.run(id); r.Verdict != "" {
			return r
		}
		return nil
	})
}

// when waits, event by event, until look gives something. It looks now and then as well:
// not all is told by events.
func (s *scene) when(what string, look func() *record.Run) *record.Run {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	var seq int64
	for {
		if r := look(); r != nil {
			return r
		}
		within, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		newest, err := s.store.Watch(within, seq)
		stop()
		if ctx.Err() != nil {
			s.Fatalf("waiting until %s: %v", what, ctx.Err())
		}
		if err == nil {
			seq = newest
		}
	}
}

func (s *scene) until(what string, holds func() bool) {
	s.Helper()
	s.when(what, func() *record.Run {
		if holds() {
			return new(record.Run)
		}
		return nil
	})
}

// events are all events of a kind, in order.
func (s *scene) events(kind record.Kind) []record.Event {
	s.Helper()
	list, err := s.store.Events(s.Context(), store.EventFilter{Kinds: []record.Kind{kind}, Limit: 10_000})
	if err != nil {
		s.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

// playedForge reads hooks that are JSON, and remembers what it was told.
type playedForge struct {
	mu       sync.Mutex
	statuses []forge.Status
	comments []forge.Comment
	fail     func() error
}

func (f *playedForge) Name() string { return "played" }

func (f *playedForge) Verify(*forge.Delivery, []byte) error { return nil }

func (f *playedForge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	h := new(forge.Hook)
	if err := json.Unmarshal(d.Body, h); err != nil {
		return nil, fmt.Errorf("not a hook: %w", err)
	}
	return h, nil
}

func (f *playedForge) Status(_ context.Context, r *forge.Remote, st *forge.Status) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Token != "word" {
		return errors.New("not with this token")
	}
	if f.fail != nil {
		if err := f.fail(); err != nil {
			return err
		}
	}
	st.Ref = "status of " + st.Context
	f.statuses = append(f.statuses, *st)
	return nil
}

func (f *playedForge) Comment(_ context.Context, _ *forge.Remote, c *forge.Comment) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.comments = append(f.comments, *c)
	return "comment " + c.Number, nil
}

func (f *playedForge) Release(context.Context, *forge.Remote, *forge.Release) (string, error) {
	return "", forge.ErrUnsupported
}

func (f *playedForge) said() (statuses []forge.Status, comments []forge.Comment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.statuses), slices.Clone(f.comments)
}

// playedChannel remembers what it was sent.
type playedChannel struct {
	mu   sync.Mutex
	sent []notify.Message
	fail func() error
}

func (c *playedChannel) Name() string       { return "chat" }
func (c *playedChannel) Check(string) error { return nil }

func (c *playedChannel) Send(_ context.Context, _ string, m *notify.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return err
		}
	}
	c.sent = append(c.sent, *m)
	return nil
}

func (c *playedChannel) all() []notify.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// vault holds secrets by "repository name" and "repository@environment name".
type vault map[string]string

func (v vault) Resolve(_ context.Context, repository, environment string, names []string) (map[string]string, error) {
	values := map[string]string{}
	for _, n := range names {
		for _, scope := range []string{repository, repository + "@" + environment} {
			if value, ok := v[scope+" "+n]; ok && !strings.HasPrefix(n, "$") {
				values[n] = value
			}
		}
	}
	return values, nil
}

func (v vault) List(_ context.Context, repository string) (list []secret.Named, err error) {
	for key := range v {
		scope, name, _ := strings.Cut(key, " ")
		if of, _, _ := strings.Cut(scope, "@"); of == repository {
			list = append(list, secret.Named{Name: name})
		}
	}
	return list, nil
}

func (v vault) Internal(_ context.Context, repository, name string) (string, bool, error) {
	value, ok := v[repository+" "+name]
	return value, ok, nil
}

func writeFile(name string) error { return os.WriteFile(name, nil, 0o600) }

func lines(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}
