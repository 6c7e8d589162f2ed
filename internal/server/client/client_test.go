package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/server/client"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// scene is a server on loopback, and a client of its admin.
type scene struct {
	*client.Client
	t     *testing.T
	store *sqlite.Store
	blobs blob.Store
	data  string
	url   string
	token string
	// cut, when positive, is after how many bytes of an answer the connection is
	// cut, once.
	cut atomic.Int64
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ctx := t.Context()
	sc := &scene{t: t, data: t.TempDir()}
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
	gate := access.New(access.Options{Registers: sc.store})
	launcher := &launch.Launcher{Data: sc.data}
	s, err := server.New(server.Config{
		Desk: desk{}, Runs: sc.store, Feed: sc.store, Gate: gate, Vault: &secret.Vault{Registers: sc.store, Keys: keys},
		Pushes: sc.store, LogPath: launcher.LogPath, Logs: launcher, Blobs: sc.blobs, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := sc.cut.Swap(0); n > 0 {
			w = &cutting{ResponseWriter: w, left: n}
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	t.Cleanup(s.Close)
	sc.url = h.URL
	first, _, err := gate.FirstLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	session, err := gate.UseFirst(ctx, first, "root", "correct horse battery", "")
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := gate.Session(ctx, session.Cookie, "")
	if err != nil {
		t.Fatal(err)
	}
	if sc.token, _, err = gate.IssueToken(ctx, p, access.TokenSpec{Name: "t"}); err != nil {
		t.Fatal(err)
	}
	if sc.Client, err = client.New(h.URL, sc.token); err != nil {
		t.Fatal(err)
	}
	return sc
}

// cutting hangs up in the middle of an answer.
type cutting struct {
	http.ResponseWriter
	left int64
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		_, _ = c.ResponseWriter.Write(p[:max(0, int64(len(p))+c.left)])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// desk is what the client's acts come to.
type desk struct{ server.Desk }

func (desk) Repository(_ context.Context, name string) (launch.Repository, error) {
	if name != "team/app" {
		return launch.Repository{}, &plan.UsageError{Message: "there is no repository " + name, Hint: "add it"}
	}
	return launch.Repository{Name: name, URL: "https://code.example.org/" + name}, nil
}

func (desk) Cancel(_ context.Context, by launch.By, run, job string) error {
	return &plan.UsageError{Message: fmt.Sprintf("%s cannot cancel job %q of run %s", by.Name, job, run), Hint: "it has ended"}
}

func (desk) Repeat(_ context.Context, _ launch.By, run string, a record.Again) (string, error) {
	return run + "-" + a.From, nil
}

func (sc *scene) run(more ...record.Event) string {
	sc.t.Helper()
	id, number, err := sc.store.NewRun(sc.t.Context(), "team/app", "ci.yml")
	if err != nil {
		sc.t.Fatal(err)
	}
	events := []record.Event{
		{Run: id, Body: &record.RunPlanned{Number: number, Attempt: 1, Origin: &record.Origin{Repository: "team/app"}, Change: &plan.Change{Event: "push", SHA: "4711"}, Pipeline: &plan.Pipeline{Name: "CI", File: "ci.yml", Jobs: []plan.Job{{ID: "test", Name: "test"}}}}},
		{Run: id, Body: &record.RunStarted{Host: "here"}},
		{Run: id, Job: "test", Body: &record.JobStarted{Attempt: 1}},
		{Run: id, Job: "test", Step: "0", Body: &record.StepStarted{Name: "make"}},
	}
	for _, e := range more {
		e.Run = id
		events = append(events, e)
	}
	if _, err := sc.store.Append(sc.t.Context(), events...); err != nil {
		sc.t.Fatal(err)
	}
	return id
}

var ended = []record.Event{
	{Job: "test", Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}},
	{Body: &record.RunFinished{Verdict: plan.Success}},
}

func (sc *scene) log(run string) *logs.Writer {
	sc.t.Helper()
	name := launch.LogPath(sc.data, run, "test")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		sc.t.Fatal(err)
	}
	w, err := logs.Create(name)
	if err != nil {
		sc.t.Fatal(err)
	}
	return w
}

// TestLogIsFollowed to its end, over cuts, each line once.
func TestLogIsFollowed(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run()
	w := sc.log(run)
	const lines = 500
	for i := range lines / 2 {
		if _, err := w.Line("0", time.Now(), fmt.Appendf(nil, "line %d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	sc.cut.Store(10_000)
	var got int64
	err := sc.Log(t.Context(), run, "test", client.LogAsk{Follow: true}, func(l server.LogLine) error {
		if got++; l.N != got || l.Text != fmt.Sprintf("line %d", got) || l.Step != "0" {
			return fmt.Errorf("line %d is %+v", got, l)
		}
		if got == lines/2 { // the rest comes while it is followed, over another cut
			sc.cut.Store(0)
			for i := range lines / 2 {
				if _, err := w.Line("0", time.Now(), fmt.Appendf(nil, "line %d", lines/2+i+1)); err != nil {
					return err
				}
			}
			if err := w.Close(); err != nil {
				return err
			}
			events := append([]record.Event(nil), ended...)
			for i := range events {
				events[i].Run = run
			}
			_, err := sc.store.Append(context.Background(), events...)
			return err
		}
		return nil
	})
	if err != nil || got != lines {
		t.Errorf("%d lines, %v", got, err)
	}
	stop := errors.New("enough")
	if err := sc.Log(t.Context(), run, "test", client.LogAsk{From: 3}, func(l server.LogLine) error {
		if l.N != 3 {
			t.Errorf("from 3: %+v", l)
		}
		return stop
	}); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

// TestWatchGoesOn over cuts.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run(ended...)
	sc.cut.Store(300)
	var kinds []record.Kind
	done := errors.New("all seen")
	err := sc.Watch(t.Context(), []string{"run/" + run}, 0, func(n server.Notice) error {
		if kinds = append(kinds, n.Kind); n.Kind == "run.finished" {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) || fmt.Sprint(kinds) != "[run.planned run.started job.started step.started job.finished run.finished]" {
		t.Errorf("%v %v", kinds, err)
	}
}

// TestPush pushes a run from one machine, over a cut, and again.
func TestPush(t *testing.T) {
	t.Parallel()
	sc, here := newScene(t), newScene(t)
	d, size, err := here.blobs.Put(t.Context(), strings.NewReader("built"))
	if err != nil {
		t.Fatal(err)
	}
	run := here.run(append([]record.Event{{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "out/bin", Digest: string(d), Size: size}}}}, ended...)...)
	w := here.log(run)
	if _, err := w.Line("0", time.Unix(1700000000, 0), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var events []record.Event
	for e, err := range here.store.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Run == run {
			events = append(events, e)
		}
	}
	broken := errors.New("the disk is gone")
	p := client.Pushing{Repository: "team/app", Events: events,
		Log: func(context.Context, string) (*logs.Reader, error) {
			return logs.Open(launch.LogPath(here.data, run, "test"))
		},
		Blob: func(context.Context, blob.Digest) (io.ReadCloser, error) { return nil, broken },
	}
	if _, err := sc.Push(t.Context(), p); !errors.Is(err, broken) {
		t.Fatalf("a push that breaks off: %v", err)
	}
	p.Log = func(context.Context, string) (*logs.Reader, error) {
		return nil, errors.New("it is there already")
	}
	p.Blob = here.blobs.Open
	id, err := sc.Push(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sc.Push(t.Context(), p); err != nil || again != id {
		t.Errorf("again: %s %v", again, err)
	}
	r, err := sc.Run(t.Context(), id)
	if err != nil || r.Verdict != plan.Success || len(r.Jobs["test"].Steps) != 1 {
		t.Errorf("the run there: %+v %v", r, err)
	}
	var text string
	if err := sc.Log(t.Context(), id, "test", client.LogAsk{}, func(l server.LogLine) error { text += l.Text; return nil }); err != nil || text != "hello" {
		t.Errorf("the log there: %q %v", text, err)
	}
	kept, err := sc.Artifacts(t.Context(), id)
	if err != nil || len(kept) != 1 {
		t.Fatalf("%+v %v", kept, err)
	}
	var out bytes.Buffer
	if err := sc.Download(t.Context(), id, kept[0], &out); err != nil || out.String() != "built" {
		t.Errorf("the artifact there: %q %v", out.String(), err)
	}
	kept[0].Digest = string(blob.Of([]byte("another")))
	if err := sc.Download(t.Context(), id, kept[0], io.Discard); err == nil {
		t.Error("a download of other bytes is taken for good")
	}
}

// TestErrors are the server's words.
func TestErrors(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run(ended...)
	var e *client.Error
	if err := sc.Cancel(t.Context(), run, "test"); !errors.As(err, &e) || e.Status != 422 || e.Hint != "it has ended" || e.Message != `root cannot cancel job "test" of run `+run {
		t.Errorf("%+v", err)
	}
	if _, err := sc.Repository(t.Context(), "none/a"); !errors.As(err, &e) || e.Hint != "add it" {
		t.Errorf("%v", err)
	}
	if next, err := sc.Rerun(t.Context(), run, record.Again{From: "test/0"}); err != nil || next != run+"-test/0" {
		t.Errorf("%s %v", next, err)
	}
	nobody, err := client.New(sc.url, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Queue(t.Context()); !errors.As(err, &e) || e.Status != 401 {
		t.Errorf("%v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	lost, err := client.New(other.URL, sc.token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lost.Queue(t.Context()); !errors.As(err, &e) || !strings.Contains(e.Hint, "Fairlead") {
		t.Errorf("%v", err)
	}
}

// TestTokenStaysHere: no answer of a server makes the client show its token to
// another one, and no error tells it.
func TestTokenStaysHere(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(thief.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+r.URL.Path, status)
		}))
		t.Cleanup(s.Close)
		c, err := client.New(s.URL, "flt_canary")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Queue(t.Context())
		var e *client.Error
		if !errors.As(err, &e) || e.Hint != "use the address "+thief.URL || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d: %v", status, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the other server was asked %d times", n)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := client.New(gone.URL, "flt_canary")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Queue(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a server that is gone: %v", err)
	}
	for _, address := range []string{"", "ci.example.org", "ftp://x", "https://u:canary@ci.example.org", "https://ci.example.org/path", "https://ci.example.org?x", "https://", "https://x/%zz"} {
		if _, err := client.New(address, "t"); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := client.New("https://x", "a\r\nX-Evil: b"); err == nil {
		t.Error("a token with a header in it")
	}
}

// TestPathsOfNames: no name leaves its place in the path.
func TestPathsOfNames(t *testing.T) {
	t.Parallel()
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.EscapedPath()+"?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "a b?x=y#z", "a;b", "ü%2f"} {
		_ = c.RemoveRepository(t.Context(), name)
		if u, err := url.Parse(got[len(got)-1]); err != nil || u.Path != "/api/v1/repositories/"+name || u.RawQuery != "" {
			t.Errorf("%q: %s", name, got[len(got)-1])
		}
	}
}
