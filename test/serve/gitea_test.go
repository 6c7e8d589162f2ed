package serve_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/gitea"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// giteaFlow waits in its first run, so that a pending status can be seen, and
// fails where the word is broken. It marks which commits were given the secret.
const giteaFlow = `name: CI
on:
  push:
    branches: [main]
    tags: ['v*']
  pull_request:
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${GIVEN:-nothing}" > "$OUTSIDE/given-$(cat word.txt)"
        env:
          GIVEN: ${{ secrets.CANARY }}
      - run: until [ -e "$OUTSIDE/go" ]; do sleep 0.05; done
      - run: echo "the word is $(cat word.txt)"; test "$(cat word.txt)" != broken
`

// account is a person at Gitea, or a program.
type account struct{ name, token string }

const giteaPassword = "of-everybody-in-this-test"

// host is a Gitea of the test's own, and what it delivers.
type host struct {
	t      *testing.T
	url    string
	target string // where deliveries go in the end

	mu   sync.Mutex
	sent []sent
}

// sent is a delivery and its answer.
type sent struct {
	header http.Header
	body   []byte
	status int
	answer string
}

// TestGitea takes a team's day through a real Gitea: pushes, a pull request, one from
// a fork, a tag, a release, and a hook that is delivered again.
//
// It is skipped unless FAIRLEAD_GITEA is the path of a Gitea. Where none is installed,
// build one from its module (7 minutes of a processor), in an empty directory:
//
//	go mod init gitea-build
//	go mod edit -require=code.gitea.io/gitea@v1.26.0
//	go mod download code.gitea.io/gitea@v1.26.0
//	sed -n '/^replace /p' "$(go env GOMODCACHE)/code.gitea.io/gitea@v1.26.0/go.mod" >> go.mod
//	GOFLAGS=-mod=mod go build -tags 'sqlite sqlite_unlock_notify' -o gitea code.gitea.io/gitea
//
//	FAIRLEAD_GITEA=$PWD/gitea go test -run TestGitea ./test/serve    # in Fairlead's repository
//
// Such a Gitea reads its templates in the module cache, which the test finds by itself.
func TestGitea(t *testing.T) {
	t.Parallel()
	program := os.Getenv("FAIRLEAD_GITEA")
	if program == "" {
		t.Skip("SKIPPED: FAIRLEAD_GITEA is not set to the path of a Gitea; the test's comment says how to build one")
	}
	p := binary.NewPlace(t, map[string]string{".github/workflows/ci.yml": giteaFlow, "word.txt": "first\n"})
	h, ada := startGitea(t, program)
	robot, eve := h.join(ada, "robot", "write:repository", "write:issue", "read:user"), h.join(ada, "eve", "all")
	h.must(ada, "POST", "/orgs", object{"username": "team"}, nil)
	// It is public: git is given tokens over https only, and this Gitea speaks http.
	h.must(ada, "POST", "/orgs/team/repos", object{"name": "app", "default_branch": "main"}, nil)
	h.must(ada, "PUT", "/repos/team/app/collaborators/robot", object{"permission": "write"}, nil)

	s := newServer(t, p, map[string]string{"$HOOK": hookSecret, "$TOKEN": robot.token, "CANARY": canary})
	s.must("repo", "add", "team/app", h.url+"/team/app.git", "--forge", "gitea")
	h.target = s.url + "/hooks/team/app"
	relay := httptest.NewServer(http.HandlerFunc(h.relay))
	t.Cleanup(relay.Close)
	var hook struct{ ID int64 }
	h.must(ada, "POST", "/repos/team/app/hooks", object{
		"type": "gitea", "active": true, "events": []string{"push", "pull_request"},
		"config": object{"url": relay.URL, "content_type": "json", "secret": hookSecret},
	}, &hook)

	// A push: pending, then as the run ends.
	first := h.push(p, ada, "team/app", "first", "main")
	h.awaitStatus(ada, first, "pending")
	s.release()
	h.awaitStatus(ada, first, "success")
	if got := s.of(first); len(got) != 1 || got[0].Trust != "protected" || got[0].Event != "push" {
		t.Errorf("runs of the push: %+v", got)
	}
	if given := strings.TrimSpace(p.Mark("given-first")); given != canary {
		t.Errorf("the push was given %q", given)
	}
	h.checkStatuses(ada, first, s, "pending", "success")

	// A pull request: one comment, and the same again after a further push.
	broken := h.push(p, ada, "team/app", "broken", "change")
	change := h.open(ada, "change")
	h.awaitStatus(ada, broken, "failure")
	said := h.awaitComment(ada, change, broken, "failure")
	mended := h.push(p, ada, "team/app", "mended", "change")
	h.awaitStatus(ada, mended, "success")
	if again := h.awaitComment(ada, change, mended, "success"); again.ID != said.ID || again.User.Login != robot.name {
		t.Errorf("first comment %d, then %d by %s", said.ID, again.ID, again.User.Login)
	}

	// A pull request from a fork does nothing until a maintainer has approved it.
	h.must(eve, "POST", "/repos/team/app/forks", object{}, nil)
	gift := h.push(p, eve, "eve/app", "gift", "gift")
	given := h.open(eve, "eve:gift")
	h.awaitStatus(ada, gift, "pending")
	h.awaitComment(ada, given, gift, "waits for approval")
	waiting := s.of(gift)
	if len(waiting) != 1 || waiting[0].Trust != "untrusted" || waiting[0].Verdict != "" || p.Mark("given-gift") != "" {
		t.Fatalf("runs of the fork: %+v; it was given %q", waiting, p.Mark("given-gift"))
	}
	s.must("approve", waiting[0].ID)
	h.awaitStatus(ada, gift, "success")
	h.awaitComment(ada, given, gift, "success")

	// Where forks run at once they have no secrets.
	s.must("repo", "add", "team/app", h.url+"/team/app.git", "--forge", "gitea", "--forks", "run", "--change")
	second := h.push(p, eve, "eve/app", "second", "gift")
	h.awaitStatus(ada, second, "success")
	if got := strings.TrimSpace(p.Mark("given-second")); got != "nothing" {
		t.Errorf("a fork that nobody approved was given %q", got)
	}

	// A tag, and what is released at it.
	p.Git("tag", "v1.0.0", first)
	h.git(p, ada).Git("push", "-q", h.url+"/team/app.git", "v1.0.0")
	binary.Await(t, "the tag's run", func() bool {
		return slices.ContainsFunc(s.of(first), func(r run) bool {
			return r.Ref == "refs/tags/v1.0.0" && r.Verdict == "success" && r.Trust == "protected"
		})
	})
	h.releases(ada, robot, first)

	// The same delivery again is no second run.
	n := len(s.await(1))
	h.again(s, ada, hook.ID, n)
}

// startGitea starts a Gitea with one account, ada's, and ends it with the test.
func startGitea(t *testing.T, program string) (*host, account) {
	t.Helper()
	dir := t.TempDir()
	port := freePort(t)
	h := &host{t: t, url: "http://127.0.0.1:" + port}
	config := filepath.Join(dir, "app.ini")
	ini := []string{
		"I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true", // in a container of CI the test may be root
		"WORK_PATH = " + dir,
		"[server]", "HTTP_ADDR = 127.0.0.1", "HTTP_PORT = " + port, "ROOT_URL = " + h.url + "/", "DISABLE_SSH = true", "OFFLINE_MODE = true",
		"[database]", "DB_TYPE = sqlite3", "PATH = " + filepath.Join(dir, "gitea.db"),
		"[repository]", "ROOT = " + filepath.Join(dir, "repositories"),
		"[security]", "INSTALL_LOCK = true", "PASSWORD_COMPLEXITY = off",
		"[webhook]", "ALLOWED_HOST_LIST = *",
		"[actions]", "ENABLED = false", // the workflows are ours to run
		"[indexer]", "ISSUE_INDEXER_TYPE = db",
		"[log]", "MODE = console", "LEVEL = warn",
	}
	if static := giteaFiles(t, program); static != "" {
		ini = slices.Insert(ini, slices.Index(ini, "[server]")+1, "STATIC_ROOT_PATH = "+static)
	}
	if err := os.WriteFile(config, []byte(strings.Join(ini, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) *exec.Cmd {
		c := exec.Command(program, append(args, "--config", config)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+dir, "GITEA_WORK_DIR="+dir, "GIT_CONFIG_NOSYSTEM=1")
		return c
	}
	log := filepath.Join(dir, "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	web := run("web")
	web.Stdout, web.Stderr, web.SysProcAttr = out, out, &syscall.SysProcAttr{Setpgid: true}
	if err := web.Start(); err != nil {
		t.Fatalf("start Gitea: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = web.Wait() // it is ended by a signal
	}()
	t.Cleanup(func() {
		_ = web.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-web.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		_ = out.Close()
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("Gitea said:\n%s", text[max(0, len(text)-8000):])
		}
	})
	binary.Await(t, "Gitea to answer", func() bool {
		select {
		case <-ended:
			t.Fatal("Gitea ended")
		default:
		}
		res, err := http.Get(h.url + "/api/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if text, err := run("admin", "user", "create", "--admin", "--username", "ada", "--password", giteaPassword, "--email", "ada@example.com", "--must-change-password=false").CombinedOutput(); err != nil {
		t.Fatalf("make the admin: %v\n%s", err, text)
	}
	return h, h.token("ada", "all")
}

// giteaFiles is where a Gitea that was built from its module finds its templates; "" for one
// that has them in it.
func giteaFiles(t *testing.T, program string) string {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatalf("FAIRLEAD_GITEA: %v", err)
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatalf("ask where the module cache is: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(cache)), filepath.FromSlash(info.Main.Path)+"@"+info.Main.Version)
	if _, err := os.Stat(filepath.Join(dir, "templates")); err != nil {
		return ""
	}
	return dir
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// relay stands between Gitea and the server.
func (h *host) relay(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Errorf("read a delivery: %v", err)
	}
	d := h.hand(r.Header, body)
	w.WriteHeader(d.status)
	_, _ = io.WriteString(w, d.answer)
}

// hand hands a delivery on, and keeps it and its answer.
func (h *host) hand(header http.Header, body []byte) sent {
	d := sent{header: header.Clone(), body: body, status: http.StatusBadGateway}
	req, err := http.NewRequest(http.MethodPost, h.target, bytes.NewReader(body))
	if err != nil {
		h.t.Error(err)
		return d
	}
	req.Header = d.header
	if res, err := http.DefaultClient.Do(req); err == nil {
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		d.status, d.answer = res.StatusCode, string(text)
	} else {
		d.answer = err.Error()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, d)
	return d
}

func (h *host) deliveries() []sent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

// ask asks Gitea's API.
func (h *host) ask(authorization, method, path string, in, out any) (status int, answer string) {
	h.t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			h.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+"/api/v1"+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode/100 == 2 && out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			h.t.Fatalf("%s %s: %v\n%s", method, path, err, text)
		}
	}
	return res.StatusCode, string(text)
}

// must asks as an account, and takes no refusal.
func (h *host) must(as account, method, path string, in, out any) {
	h.t.Helper()
	if status, answer := h.ask("token "+as.token, method, path, in, out); status/100 != 2 {
		h.t.Fatalf("%s %s as %s: %d\n%s", method, path, as.name, status, answer)
	}
}

func basic(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// join makes an account with a token that may do so much.
func (h *host) join(admin account, name string, scopes ...string) account {
	h.t.Helper()
	h.must(admin, "POST", "/admin/users", object{"username": name, "email": name + "@example.com", "password": giteaPassword, "must_change_password": false}, nil)
	return h.token(name, scopes...)
}

func (h *host) token(name string, scopes ...string) account {
	h.t.Helper()
	var made struct{ SHA1 string }
	if status, answer := h.ask(basic(name, giteaPassword), "POST", "/users/"+name+"/tokens", object{"name": "test", "scopes": scopes}, &made); status/100 != 2 {
		h.t.Fatalf("make a token for %s: %d\n%s", name, status, answer)
	}
	return account{name, made.SHA1}
}

// git is the place as somebody uses it who may push.
func (h *host) git(p *binary.Place, as account) *binary.Place {
	return p.On(h.t, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: "+basic(as.name, as.token))
}

// push commits a word and pushes it to a branch.
func (h *host) push(p *binary.Place, as account, repository, word, branch string) (sha string) {
	h.t.Helper()
	p.Write(map[string]string{"word.txt": word + "\n"})
	p.Commit(word)
	h.git(p, as).Git("push", "-q", h.url+"/"+repository+".git", "HEAD:refs/heads/"+branch)
	return p.Git("rev-parse", "HEAD")
}

// open opens a pull request.
func (h *host) open(as account, head string) (number int) {
	h.t.Helper()
	var made struct{ Number int }
	h.must(as, "POST", "/repos/team/app/pulls", object{"head": head, "base": "main", "title": "About " + head}, &made)
	return made.Number
}

// status is what Gitea shows of a commit.
type status struct {
	ID      int64
	State   string `json:"status"`
	Context string
	URL     string `json:"target_url"`
}

// statuses are all that were ever set, the oldest first.
func (h *host) statuses(as account, sha string) (all []status) {
	h.t.Helper()
	h.must(as, "GET", "/repos/team/app/statuses/"+sha+"?limit=50", nil, &all)
	slices.SortFunc(all, func(a, b status) int { return int(a.ID - b.ID) })
	return all
}

func (h *host) awaitStatus(as account, sha, want string) {
	h.t.Helper()
	binary.Await(h.t, fmt.Sprintf("commit %.12s to be %s at Gitea", sha, want), func() bool {
		all := h.statuses(as, sha)
		return len(all) > 0 && all[len(all)-1].State == want
	})
}

// checkStatuses looks at which states a commit went through, and where they lead.
func (h *host) checkStatuses(as account, sha string, s *team, want ...string) {
	h.t.Helper()
	var states []string
	for _, st := range h.statuses(as, sha) {
		states = append(states, st.State)
		if st.Context != "fairlead/CI" || !strings.HasPrefix(st.URL, s.url+"/runs/") {
			h.t.Errorf("status %+v", st)
		}
	}
	if got := slices.Compact(states); !slices.Equal(got, want) {
		h.t.Errorf("states of commit %.12s: %q, not %q", sha, got, want)
	}
}

type remark struct {
	ID   int64
	Body string
	User struct{ Login string }
}

// awaitComment waits until a change has a comment that says this of a commit, and
// finds no second one beside it.
func (h *host) awaitComment(as account, number int, sha, words string) (one remark) {
	h.t.Helper()
	binary.Await(h.t, fmt.Sprintf("%q of %.7s to be said on #%d", words, sha, number), func() bool {
		var all []remark
		h.must(as, "GET", fmt.Sprintf("/repos/team/app/issues/%d/comments", number), nil, &all)
		if len(all) > 1 {
			h.t.Fatalf("comments on #%d: %+v", number, all)
		}
		if len(all) == 1 {
			one = all[0]
		}
		return strings.Contains(one.Body, sha[:7]) && strings.Contains(one.Body, words)
	})
	return one
}

// of are the runs of a commit.
func (s *team) of(sha string) []run {
	s.t.Helper()
	return slices.DeleteFunc(s.runs(), func(r run) bool { return r.SHA != sha })
}

// releases makes a release with a file, twice: the second time nothing is left to do. No
// verb does so yet; it is the server's own forge that is asked.
func (h *host) releases(as, robot account, sha string) {
	h.t.Helper()
	const text = "what is given to people"
	g := gitea.New(gitea.Options{Client: http.DefaultClient})
	for range 2 {
		page, err := g.Release(h.t.Context(), &forge.Remote{URL: h.url + "/team/app.git", Repository: "team/app", Token: robot.token}, &forge.Release{
			Tag: "v1.0.0", SHA: sha, Title: "The first", Notes: "It is there.",
			Assets: []forge.Asset{{
				Name: "app.txt", Size: int64(len(text)), Type: "text/plain",
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
			}},
		})
		if err != nil || !strings.Contains(page, "/team/app/releases/tag/v1.0.0") {
			h.t.Fatalf("release: %q, %v", page, err)
		}
	}
	var all []struct {
		Tag    string `json:"tag_name"`
		Draft  bool
		Assets []struct {
			Name string
			Size int
		}
	}
	h.must(as, "GET", "/repos/team/app/releases", nil, &all)
	if len(all) != 1 || all[0].Tag != "v1.0.0" || all[0].Draft || len(all[0].Assets) != 1 || all[0].Assets[0].Name != "app.txt" || all[0].Assets[0].Size != len(text) {
		h.t.Errorf("releases %+v", all)
	}
}

// again delivers the first push again: as it was, and by the button on Gitea's page.
func (h *host) again(s *team, as account, hook int64, runs int) {
	h.t.Helper()
	all := h.deliveries()
	for _, d := range all {
		if d.status != http.StatusAccepted {
			h.t.Errorf("%s %s: %d %s", d.header.Get("X-Gitea-Event"), d.header.Get("X-Gitea-Delivery"), d.status, d.answer)
		}
	}
	first := all[0]
	duplicate := func(d sent) {
		h.t.Helper()
		if d.status != http.StatusOK || !strings.Contains(d.answer, `"duplicate":true`) {
			h.t.Errorf("a delivery again, as %s: %d %s", d.header.Get("X-Gitea-Delivery"), d.status, d.answer)
		}
	}
	duplicate(h.hand(first.header, first.body))

	// Gitea's button delivers the same words under another ID.
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	press := func(path string, form url.Values) {
		res, err := browser.PostForm(h.url+path, form)
		if err != nil {
			h.t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			h.t.Fatalf("POST %s: %d", path, res.StatusCode)
		}
	}
	press("/user/login", url.Values{"user_name": {as.name}, "password": {giteaPassword}})
	press(fmt.Sprintf("/team/app/settings/hooks/%d/replay/%s", hook, first.header.Get("X-Gitea-Delivery")), nil)
	var replayed sent
	binary.Await(h.t, "the delivery to be replayed", func() bool {
		last := h.deliveries()
		replayed = last[len(last)-1]
		return len(last) == len(all)+2
	})
	if !bytes.Equal(replayed.body, first.body) || replayed.header.Get("X-Gitea-Delivery") == first.header.Get("X-Gitea-Delivery") {
		h.t.Errorf("replayed as %s:\n%s", replayed.header.Get("X-Gitea-Delivery"), replayed.body)
	}
	duplicate(replayed)
	if got := s.await(runs); len(got) != runs {
		h.t.Errorf("%d runs, and %d after a delivery was repeated", runs, len(got))
	}
}
