// Package serve_test looks at `fairlead serve` from outside, as a code host, a
// browser and kill(1) do.
package serve_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

const (
	hookSecret = "what-hooks-are-signed-with"
	canary     = "canary-5f1e9c0d7ab2"
	nothing    = "0000000000000000000000000000000000000000" // before a branch's first push
)

// team is a server and the repository that it serves.
type team struct {
	*binary.Place
	t   *testing.T
	srv *binary.Process
	url string
	// listen is where the server is, each time; args are further flags of it.
	listen string
	args   []string
}

const workflow = `name: CI
on:
  push:
  workflow_dispatch:
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cat word.txt
      - run: echo "the secret is $GIVEN"
        env:
          GIVEN: ${{ secrets.CANARY }}
  hold:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo $$ >> "$OUTSIDE/held"; while [ ! -e "$OUTSIDE/go" ]; do sleep 0.05; done; cat word.txt
`

func newTeam(t *testing.T, args ...string) *team { return newTeamOf(t, workflow, args...) }

// newTeamOf is a team whose pipeline is that text. args are further flags of
// its server.
func newTeamOf(t *testing.T, pipeline string, args ...string) *team {
	return newTeamAt(t, binary.NewPlace(t, map[string]string{".github/workflows/ci.yml": pipeline, "word.txt": "first\n"}), args...)
}

// newTeamAt is a team whose repository is there.
func newTeamAt(t *testing.T, p *binary.Place, args ...string) *team {
	s := newServer(t, p, map[string]string{"$HOOK": hookSecret, "CANARY": canary}, args...)
	s.must("repo", "add", "team/app", p.Root, "--forge", "gitea")
	return s
}

// newServer is a server that has secrets for team/app, and no such repository yet.
func newServer(t *testing.T, p *binary.Place, secrets map[string]string, args ...string) *team {
	s := &team{Place: p, t: t, listen: "127.0.0.1:0", args: args}
	s.serve()
	t.Cleanup(s.end)
	for name, value := range secrets {
		file := filepath.Join(p.Outside, "secret-of-"+strings.Trim(name, "$"))
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		s.must("secret", "set", name, "--repo", "team/app", "--from-file", file)
	}
	return s
}

func (s *team) must(args ...string) string {
	s.t.Helper()
	out := s.Run(args...)
	if out.Exit != 0 {
		s.t.Fatal(out)
	}
	return out.Stdout
}

// serve starts the server, and waits until it answers.
func (s *team) serve() {
	s.t.Helper()
	binary.Await(s.t, "the server's port to be free", func() bool {
		s.srv = s.Start(append([]string{"serve", "--listen", s.listen, "--loopback-addresses", "--public", "--stop", "100ms", "--runs", "2"}, s.args...)...)
		s.srv.AwaitText("Fairlead serves at ", "address already in use")
		if s.srv.Said("address already in use") { // some connection has it, until it ends
			s.srv.Wait()
			return false
		}
		return true
	})
	_, rest, _ := strings.Cut(s.srv.Printed(), "Fairlead serves at ")
	s.url, _, _ = strings.Cut(rest, "\n")
	s.listen = strings.TrimPrefix(s.url, "http://") // the same when it is started again
}

func (s *team) end() {
	s.srv.Signal(syscall.SIGTERM)
	if out := s.srv.Wait(); s.t.Failed() {
		s.t.Logf("%s\n%s\n%s", out, s.Run("runs", "--all"), s.Run("audit", "log"))
	}
}

type object = map[string]any

func repository(id int, name string) object {
	owner, short, _ := strings.Cut(name, "/")
	return object{"id": id, "full_name": name, "name": short, "default_branch": "main", "html_url": "http://forge.invalid/" + name, "clone_url": "http://forge.invalid/" + name + ".git", "owner": object{"login": owner}}
}

// push tells the server of a push, as Gitea does.
func (s *team) push(delivery, before, after, key string) (status int, body string) {
	s.t.Helper()
	return s.deliver("push", delivery, key, object{
		"ref": "refs/heads/main", "before": before, "after": after,
		"head_commit": object{"id": after, "message": "a change"}, "repository": repository(1, "team/app"),
		"pusher": object{"login": "ada"}, "sender": object{"login": "ada"}, "commits": []any{},
	})
}

// pull tells the server of a pull request that a fork sends.
func (s *team) pull(delivery, sha string) (status int, body string) {
	s.t.Helper()
	return s.deliver("pull_request", delivery, hookSecret, object{
		"action": "opened", "number": 17, "repository": repository(1, "team/app"), "sender": object{"login": "eve"},
		"pull_request": object{
			"id": 99, "number": 17, "state": "open", "title": "A gift", "user": object{"login": "eve"},
			"head": object{"label": "gift", "ref": "gift", "sha": sha, "repo_id": 2, "repo": repository(2, "eve/app")},
			"base": object{"label": "main", "ref": "main", "sha": sha, "repo_id": 1, "repo": repository(1, "team/app")},
		},
	})
}

func (s *team) deliver(event, delivery, key string, body object) (status int, answer string) {
	s.t.Helper()
	payload, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(payload)
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+"/hooks/team/app", bytes.NewReader(payload))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Gitea-Event", event)
	req.Header.Set("X-Gitea-Delivery", delivery)
	req.Header.Set("X-Gitea-Signature", hex.EncodeToString(mac.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

type run struct {
	ID, State, Verdict, SHA, Trust, Event, Ref string
}

func (s *team) runs() []run {
	s.t.Helper()
	var answer struct{ Runs []run }
	s.get("/api/v1/runs", &answer)
	return answer.Runs
}

func (s *team) get(path string, into any) {
	s.t.Helper()
	res, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v\n%s", path, res.StatusCode, err, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		s.t.Fatalf("GET %s: %v\n%s", path, err, b)
	}
}

// await waits until all runs have ended, and there are at least so many.
func (s *team) await(n int) (all []run) {
	s.t.Helper()
	binary.Await(s.t, fmt.Sprintf("%d runs to end", n), func() bool {
		all = s.runs()
		for _, r := range all {
			if r.Verdict == "" {
				return false
			}
		}
		return len(all) >= n
	})
	return all
}

func (s *team) release() {
	if err := os.WriteFile(filepath.Join(s.Outside, "go"), []byte("go"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestHook takes a push from its delivery to its pages.
func TestHook(t *testing.T) {
	t.Parallel()
	s := newTeam(t)
	sha := s.Git("rev-parse", "HEAD")
	if status, body := s.push("1", nothing, sha, "somebody else's"); status != http.StatusUnauthorized {
		t.Errorf("forged: %d %s", status, body)
	}
	if status, body := s.push("2", nothing, sha, hookSecret); status != http.StatusAccepted {
		t.Fatalf("signed: %d %s", status, body)
	}
	if status, body := s.push("2", nothing, sha, hookSecret); status != http.StatusOK || !strings.Contains(body, `"duplicate":true`) {
		t.Errorf("again: %d %s", status, body)
	}
	s.AwaitFile("held") // the first job is done, the second works
	s.release()
	all := s.await(1)
	if len(all) != 1 || all[0].Verdict != "success" || all[0].SHA != sha || all[0].Trust != "protected" {
		t.Fatalf("runs %+v", all)
	}
	log := s.must("logs", all[0].ID)
	if !strings.Contains(log, "first") || !strings.Contains(log, "the secret is ***") || strings.Contains(log, canary) {
		t.Errorf("the log:\n%s", log)
	}
	for _, page := range []string{"/", "/runs/" + all[0].ID, "/runs/" + all[0].ID + "/why", "/repositories", "/queue"} {
		res, err := http.Get(s.url + page)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode == http.StatusOK && !strings.Contains(string(b), "</html>") || res.StatusCode >= 500 {
			t.Errorf("GET %s: %d\n%s", page, res.StatusCode, b)
		}
		if strings.Contains(string(b), canary) {
			t.Errorf("GET %s shows a secret", page)
		}
	}
	// The second time nothing is done twice.
	if status, body := s.push("3", strings.Repeat("1", 40), sha, hookSecret); status != http.StatusAccepted {
		t.Fatalf("pushed again: %d %s", status, body)
	}
	s.await(2)
	if why := s.must("why", s.runs()[0].ID); !strings.Contains(why, "reused") {
		t.Errorf("nothing of the same again was reused:\n%s", why)
	}
	s.must("repo", "start", "team/app", "--event", "push")
	s.await(3)
	// What lies on the disk holds no secret, and the trail is whole.
	s.must("audit", "checkpoint")
	if out := s.Run("audit", "verify"); out.Exit != 0 {
		t.Error(out)
	}
	err := filepath.WalkDir(s.Data, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err == nil && (bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte(hookSecret))) {
			t.Errorf("%s holds a secret", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestKilledServer kills the server with deliveries under way and a run at
// work: what it had answered becomes runs, once each, and the run goes on.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	s := newTeam(t)
	base := s.Git("rev-parse", "HEAD")
	if status, body := s.push("first", nothing, base, hookSecret); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	s.AwaitFile("held")
	rounds, each := 2, 4
	if binary.Long() {
		rounds, each = 20, 10
	}
	accepted := map[string]bool{base: true}
	for i := range rounds {
		var shas []string
		for j := range each {
			s.Write(map[string]string{"word.txt": fmt.Sprintf("round %d, %d\n", i, j)})
			s.Commit("next")
			shas = append(shas, s.Git("rev-parse", "HEAD"))
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for j, sha := range shas {
			wg.Go(func() {
				if status, _ := s.push(fmt.Sprintf("%d-%d", i, j), base, sha, hookSecret); status == http.StatusAccepted {
					mu.Lock()
					defer mu.Unlock()
					accepted[sha] = true
				}
			})
			if j == each/2 {
				s.srv.Signal(syscall.SIGKILL)
			}
		}
		wg.Wait()
		s.srv.Wait()
		s.serve()
	}
	s.release()
	s.await(1)
	var settled struct {
		Waiting []any `json:"waiting"`
		Running []any `json:"running"`
	}
	binary.Await(t, "everything to be settled", func() bool {
		s.get("/api/v1/queue", &settled)
		got := map[string]bool{}
		for _, r := range s.runs() {
			got[r.SHA] = true
		}
		for sha := range accepted {
			if !got[sha] {
				return false
			}
		}
		return len(settled.Waiting)+len(settled.Running) == 0
	})
	seen := map[string]bool{}
	for _, r := range s.await(len(accepted)) {
		if seen[r.SHA] {
			t.Errorf("commit %s was run twice", r.SHA)
		}
		seen[r.SHA] = true
		if r.SHA == base && r.Verdict != "success" && r.Verdict != "cancelled" {
			t.Errorf("the run that was at work ended in %s", r.Verdict)
		}
	}
}
