package serve_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// hire starts a worker of the team, with directories of its own.
func (s *team) hire(name string, more ...string) *binary.Process {
	s.t.Helper()
	token := filepath.Join(s.Outside, "token-of-"+name)
	if _, err := os.Stat(token); err != nil {
		if err := os.WriteFile(token, []byte(s.must("token", "create", name, "--worker")), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	dir := filepath.Join(filepath.Dir(s.Data), name)
	at := s.On(s.t, "FAIRLEAD_DATA="+filepath.Join(dir, "data"), "FAIRLEAD_CACHE="+filepath.Join(dir, "cache"))
	w := at.Start(append([]string{"worker", "--server", s.url, "--token-file", token, "--name", name}, more...)...)
	w.AwaitText("joined")
	return w
}

// drained lets a worker finish and leave.
func (s *team) drained(w *binary.Process) {
	s.t.Helper()
	w.Signal(syscall.SIGTERM)
	if out := w.Wait(); out.Exit != 0 || !strings.Contains(out.Stderr, "left") {
		s.t.Error(out)
	}
}

// times is how often the job "hold" was begun.
func (s *team) times() int { return strings.Count(s.Mark("held"), "\n") }

// TestWorker kills a worker with a job under way, then the server with the same job under
// way at the worker's next process: the job is begun once more, goes on without the
// server, and the run ends as if nothing had been.
func TestWorker(t *testing.T) {
	t.Parallel()
	s := newTeam(t, "--jobs", "0")
	w := s.hire("w1")
	sha := s.Git("rev-parse", "HEAD")
	if status, body := s.push("1", nothing, sha, hookSecret); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	s.AwaitFile("held")
	w.Signal(syscall.SIGKILL)
	w.Wait()
	w = s.hire("w1")
	binary.Await(t, "the job to be begun again", func() bool { return s.times() == 2 })
	s.srv.Signal(syscall.SIGKILL)
	s.srv.Wait()
	s.release() // the job ends while nobody serves
	w.AwaitText("ask the server")
	s.serve()
	all := s.await(1)
	if len(all) != 1 || all[0].Verdict != "success" {
		t.Fatalf("runs %+v", all)
	}
	if n := s.times(); n != 2 {
		t.Errorf("the job was begun %d times", n)
	}
	log := s.must("logs", all[0].ID)
	for _, want := range []string{"build | first", "build | the secret is ***", "hold | first"} {
		if strings.Count(log, want+"\n") != 1 {
			t.Errorf("the log has not one line %q:\n%s", want, log)
		}
	}
	// What was done on a worker is reused there, and its log is here all the same.
	if status, body := s.push("2", strings.Repeat("1", 40), sha, hookSecret); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	all = s.await(2)
	if why := s.must("why", all[0].ID); !strings.Contains(why, "reused") {
		t.Errorf("nothing of the same again was reused:\n%s", why)
	}
	if log := s.must("logs", all[0].ID); strings.Count(log, "build | first\n") != 1 || strings.Contains(log, "evicted") {
		t.Errorf("the log of what was reused:\n%s", log)
	}
	s.drained(w)
	s.keepsNone(filepath.Join(filepath.Dir(s.Data), "w1"))
	s.keepsNone(s.Data)
}

// TestStoppedServer: a server that is told to end lets a worker's job end, too.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	s := newTeam(t, "--jobs", "0", "--stop", "1m")
	w := s.hire("w1")
	if status, body := s.push("1", nothing, s.Git("rev-parse", "HEAD"), hookSecret); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	s.AwaitFile("held")
	s.srv.Signal(syscall.SIGTERM)
	s.release()
	if out := s.srv.Wait(); out.Exit != 0 {
		t.Error(out)
	}
	if runs := s.must("runs", "--all"); !strings.Contains(runs, "ok") {
		t.Errorf("the run did not end:\n%s", runs)
	}
	s.serve()
	s.drained(w)
}

// TestLabels: a server gives a worker what fits it, and does the rest itself.
func TestLabels(t *testing.T) {
	t.Parallel()
	s := newTeam(t)
	s.Write(map[string]string{".github/workflows/ci.yml": `on: push
jobs:
  here:
    runs-on: ubuntu-latest
    steps:
      - run: echo "in $FAIRLEAD_CACHE"
  there:
    needs: here
    runs-on: [gpu]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/cache@v4
        with: {key: deps-1, path: deps}
      - run: cat word.txt; echo made > made.txt; mkdir -p deps; echo cached > deps/one
      - uses: actions/upload-artifact@v4
        with: {name: made, path: made.txt}
  back:
    needs: there
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
        with: {name: made}
      - uses: actions/cache/restore@v4
        with: {key: deps-1, path: deps}
      - run: cat made.txt deps/one
`})
	s.Commit("labels")
	bad := filepath.Join(s.Outside, "bad-token")
	forged := "flw_" + strings.Repeat("x", 59)
	if err := os.WriteFile(bad, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--token-file", bad}, {}} {
		out := s.Run(append([]string{"worker", "--server", s.url, "--name", "x", "--data", filepath.Join(s.Outside, "x")}, args...)...)
		if out.Exit == 0 || strings.Contains(out.All(), forged) || !strings.Contains(out.Stderr, "token") {
			t.Errorf("a worker without a token: %s", out)
		}
	}
	w := s.hire("gpu1", "--labels", "gpu", "--jobs", "1")
	if status, body := s.push("1", nothing, s.Git("rev-parse", "HEAD"), hookSecret); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	all := s.await(1)
	if all[0].Verdict != "success" {
		t.Fatalf("%+v\n%s", all, s.must("logs", all[0].ID))
	}
	if log := s.must("logs", all[0].ID); !strings.Contains(log, "there | first") || !strings.Contains(log, "back | made\nback | cached") {
		t.Errorf("the log:\n%s", log)
	}
	var run struct {
		Jobs []struct{ ID, Place string }
	}
	s.get("/api/v1/runs/"+all[0].ID, &run)
	for _, j := range run.Jobs {
		if want := map[string]string{"here": "host", "there": "worker gpu1", "back": "host"}[j.ID]; j.Place != "" && j.Place != want {
			t.Errorf("job %s ran at %q, want %q", j.ID, j.Place, want)
		}
	}
	res, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), `fairlead_workers{state="joined"} 1`+"\n") {
		t.Errorf("metrics (%v):\n%s", err, b)
	}
	s.drained(w)
}

// keepsNone makes sure that no file below a directory holds a secret.
func (s *team) keepsNone(dir string) {
	s.t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err == nil && (bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte(hookSecret))) {
			s.t.Errorf("%s holds a secret", name)
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}
