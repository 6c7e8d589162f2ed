package threats_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// steal is a pipeline that a fork sends.
const steal = `name: CI
on: [push, pull_request, pull_request_target]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo "stolen $VALUE"; echo "$VALUE" | base64; echo ${{ secrets.VALUE }} | rev
        env: {VALUE: "${{ secrets.VALUE }}"}
`

// fork puts a commit into the repository as a pull request's that is on no branch of it.
func (s *site) fork(n int, files map[string]string) (sha string) {
	s.Helper()
	s.git("switch", "-q", "--detach")
	sha = s.commit("from a fork", files)
	s.git("update-ref", fmt.Sprintf("refs/pull/%d/head", n), sha)
	s.git("switch", "-q", "main")
	return sha
}

func forkAsksForSecrets(t *testing.T) {
	s := newSite(t, nil)
	sha := s.fork(7, map[string]string{".github/workflows/ci.yml": steal})
	settled := s.settled(s.hook("pull_request", hookKey, pulled(7, sha, "topic", "A gift")))
	if len(settled.Runs) == 0 {
		t.Fatalf("no run: %s", settled.Why)
	}
	for _, run := range settled.Runs {
		h, err := s.store.Head(t.Context(), run)
		if err != nil || h.Origin.Trust != record.Untrusted {
			t.Errorf("run %s: %+v, %v", run, h.Origin, err)
		}
		if h.Event == "pull_request" && (!h.Origin.Approval || !h.Waiting()) {
			t.Errorf("run %s of the fork's own files does not wait", run)
		}
	}
	dev := s.account("grace", "team/app", access.Developer)
	run := settled.Runs[0]
	if a := s.call("POST", "/api/v1/runs/"+run+"/approve", "{}", as(dev)); a.code != http.StatusForbidden {
		t.Errorf("a developer approves: %d", a.code)
	}
	if a := s.call("GET", "/runs/"+run, "", as(s.admin)); !strings.Contains(a.body, "with the secrets that its files name") {
		t.Error("the button does not say what is given")
	}
	// A payload that says that it is no fork is not believed: the commit is on no branch.
	lie := pulled(7, sha, "topic", "No fork at all")
	lie["pull_request"].(object)["head"].(object)["repo"] = repositoryOf("team/app")
	for _, run := range s.settled(s.hook("pull_request", hookKey, lie)).Runs {
		if h, err := s.store.Head(t.Context(), run); err != nil || h.Origin.Trust != record.Untrusted {
			t.Errorf("the lie: %+v, %v", h.Origin, err)
		}
	}
	// As a push of the main branch it is none either.
	for _, run := range s.settled(s.hook("push", hookKey, pushed("refs/heads/main", sha, "mine"))).Runs {
		if h, err := s.store.Head(t.Context(), run); err != nil || h.Origin.Trust == record.Protected {
			t.Errorf("a push of it: %+v, %v", h.Origin, err)
		}
	}
	// Approved, it gets the secret, and prints it in vain.
	if a := s.call("POST", "/api/v1/runs/"+run+"/approve", "{}", as(s.admin)); a.code/100 != 2 {
		t.Fatalf("approve: %d %s", a.code, a.body)
	}
	if got := s.printed(s.ended(run)); !strings.Contains(got, "stolen ***") || strings.Contains(got, valueKey) {
		t.Errorf("printed is:\n%s", got)
	}
}

func hostileNames(t *testing.T) {
	const file = `name: CI
on: [push, pull_request]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          printf '%s\n' "$REF" "$MESSAGE"
          ls
        env: {REF: "${{ github.ref_name }}", MESSAGE: "${{ github.event.head_commit.message }}"}
`
	s := newSite(t, map[string]string{".github/workflows/ci.yml": file})
	pwned := filepath.Join(t.TempDir(), "pwned")
	branch := "x\";touch${IFS}" + pwned + ";\"$(touch${IFS}" + pwned + ")`touch${IFS}" + pwned + "`"
	s.git("switch", "-q", "-c", branch)
	message := "$(touch " + pwned + ")\n::error::`touch " + pwned + "` <script>canary(1)</script> @everyone"
	sha := s.commit(message, nil)
	settled := s.settled(s.hook("push", hookKey, pushed("refs/heads/"+branch, sha, message)))
	if len(settled.Runs) != 1 {
		t.Fatalf("%+v", settled)
	}
	r := s.ended(settled.Runs[0])
	if got := s.printed(r); r.Verdict != plan.Success || !strings.Contains(got, branch) {
		t.Errorf("%s: %s\n%s", r.Verdict, r.Why, got)
	}
	if _, err := os.Stat(pwned); err == nil {
		t.Error("the name of a branch, or a message, was run")
	}
	for _, path := range []string{"/runs", "/runs/" + r.ID, "/runs/" + r.ID + "/log/build", "/runs?branch=" + url.QueryEscape(branch)} {
		if a := s.call("GET", path, "", as(s.admin)); a.code != 200 || strings.Contains(a.body, "<script>canary") {
			t.Errorf("%s: %d", path, a.code)
		}
	}
}

func secretIsPrinted(t *testing.T) {
	s := newSite(t, map[string]string{".github/workflows/ci.yml": strings.Replace(steal, ", pull_request_target", "", 1)})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	got := s.printed(r)
	reversed := []byte(valueKey)
	slices.Reverse(reversed)
	if !strings.Contains(got, "stolen ***") || strings.Contains(got, valueKey) || strings.Contains(got, "Y2FuYXJ5") {
		t.Errorf("printed is:\n%s", got)
	}
	// What is scrambled nobody can mask: that is why forks get none.
	if !strings.Contains(got, string(reversed)) {
		t.Errorf("the test does not do what it says:\n%s", got)
	}
	for _, path := range []string{"/runs/" + r.ID, "/runs/" + r.ID + "/log/build", "/api/v1/runs/" + r.ID + "/events", "/api/v1/runs/" + r.ID + "/raw/build"} {
		if a := s.call("GET", path, "", as(s.admin)); a.code != 200 || strings.Contains(a.body, valueKey) {
			t.Errorf("%s: %d shows it", path, a.code)
		}
	}
}

// keep is a pipeline that keeps its secret in files, and uses them.
const keep = `name: CI
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir out; echo "token = $VALUE" > out/settings; printf 'x\000%s' "$VALUE" > out/core; echo fine > out/readme
        env: {VALUE: "${{ secrets.VALUE }}"}
      - uses: actions/upload-artifact@v4
        with: {name: out, path: out}
  use:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
        with: {name: out}
      - run: test "$(cat settings)" = "token = $VALUE"
        env: {VALUE: "${{ secrets.VALUE }}"}
`

func secretIsKept(t *testing.T) {
	s := newSite(t, map[string]string{".github/workflows/ci.yml": keep})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	if r.Verdict != plan.Success { // a job of the run has what was kept, and not what is shown
		t.Fatalf("%s: %s\n%s", r.Verdict, r.Why, s.printed(r))
	}
	a := s.call("GET", "/api/v1/runs/"+r.ID+"/artifacts/out", "", as(s.admin))
	z, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatalf("%d: %v", a.code, err)
	}
	for name, want := range map[string]string{"settings": "token = ***\n", "core": "x\x00" + valueKey, "readme": "fine\n"} {
		if got, err := fs.ReadFile(z, name); err != nil || string(got) != want {
			t.Errorf("%s is given as %q, %v", name, got, err)
		}
	}
	for _, path := range []string{"/runs/" + r.ID, "/api/v1/runs/" + r.ID + "/artifacts"} {
		if a := s.call("GET", path, "", as(s.admin)); !strings.Contains(a.body, "texts with secrets masked: 1; binary files that hold secrets: 1") {
			t.Errorf("%s does not say so: %s", path, a.body)
		}
	}
}

// push pushes a run of somebody's machine with names that they chose.
func (s *site) push(job, artifact, test string, as func(*http.Request)) answer {
	s.Helper()
	at := time.Now().UTC()
	event := func(job, step string, b record.Body) object {
		return object{"time": at, "run": "1", "job": job, "step": step, "kind": record.Event{Body: b}.Kind(), "body": b}
	}
	events := []object{
		event("", "", &record.RunPlanned{Number: 1, Attempt: 1, Change: &plan.Change{Event: "push", Ref: "refs/heads/" + job, SHA: strings.Repeat("a", 40)}, Pipeline: &plan.Pipeline{Name: test, File: artifact, Jobs: []plan.Job{{ID: job, Name: test}}}}),
		event("", "", &record.RunStarted{Host: test}),
		event(job, "", &record.JobStarted{Attempt: 1}),
		event(job, "1", &record.StepStarted{Name: test}),
		event(job, "1", &record.StepFinished{Outcome: plan.Failure, Conclusion: plan.Failure, Why: test, Line: 1}),
		event(job, "", &record.TestsReported{Source: test, Failed: 1, Bad: []record.TestResult{{Suite: test, Name: test, Message: test, File: test}}}),
		event(job, "", &record.ArtifactSaved{Artifact: plan.Artifact{Name: artifact, Digest: "sha256:" + strings.Repeat("0", 64), Size: 3}}),
		event(job, "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure, Why: test}),
		event("", "", &record.RunFinished{Verdict: plan.Failure, Why: test}),
	}
	body, err := json.Marshal(object{"repository": "team/app", "events": events})
	if err != nil {
		s.Fatal(err)
	}
	return s.call("POST", "/api/v1/runs/push", string(body), as)
}

func namesThatLeadElsewhere(t *testing.T) {
	s := newSite(t, nil)
	before := s.files()
	for i, name := range []string{"../../../../outside", "/etc/outside", `..\..\outside`, "a/../../outside", "outside\x00", "con", strings.Repeat("../", 60) + "outside", "%2e%2e%2foutside", ".", ".."} {
		a := s.push(name, name, fmt.Sprint("test ", i), as(s.admin))
		var to struct{ Run string }
		if a.code/100 != 2 {
			continue // it is refused
		}
		if err := json.Unmarshal([]byte(a.body), &to); err != nil {
			t.Fatal(err)
		}
		escaped := strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
		s.call("PUT", "/api/v1/runs/"+to.Run+"/log/"+escaped, `{"n":1,"time":"2026-01-01T00:00:00Z","text":"x"}`+"\n", as(s.admin), header("Content-Type", "application/x-ndjson"))
		if a := s.call("GET", "/api/v1/runs/"+to.Run+"/artifacts/"+escaped, "", as(s.admin)); a.code == 200 {
			t.Errorf("%q is given out: %s", name, a.body)
		}
	}
	for _, file := range s.files() {
		if !slices.Contains(before, file) && (strings.Contains(filepath.Base(file), "..") || !strings.HasPrefix(file, s.data) && strings.Contains(file, "outside")) {
			t.Errorf("%s was written", file)
		}
	}
	for _, outside := range []string{"/etc/outside", filepath.Join(s.data, "..", "outside"), filepath.Join(filepath.Dir(s.data), "..", "outside")} {
		if _, err := os.Lstat(outside); err == nil {
			t.Errorf("%s was written", outside)
		}
	}
}

// files are all that the test's directory holds.
func (s *site) files() (all []string) {
	s.Helper()
	err := filepath.WalkDir(filepath.Dir(s.data), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return nil // what goes away meanwhile is no finding
	})
	if err != nil {
		s.Fatal(err)
	}
	return all
}

func bombs(t *testing.T) {
	s := newSite(t, nil)
	deep := strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19)
	if a := s.hook("push", hookKey, `{"ref":`+deep+`}`); a.code/100 == 2 && len(s.settled(a).Runs) > 0 {
		t.Errorf("a deep hook: %d", a.code)
	}
	for _, path := range []string{"/api/v1/runs", "/api/v1/runs/push", "/api/v1/repositories"} {
		if a := s.call("POST", path, deep, as(s.admin)); a.code/100 != 4 {
			t.Errorf("%s: %d", path, a.code)
		}
	}
	// What says that it is compressed is not unfolded.
	if a := s.call("POST", "/api/v1/runs", "\x1f\x8b\x08\x00", as(s.admin), header("Content-Encoding", "gzip")); a.code/100 != 4 {
		t.Errorf("compressed: %d", a.code)
	}
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for i := range 40 {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), i)
	}
	sha := s.commit("a bomb", map[string]string{
		".github/workflows/laughs.yml": laughs.String() + peaceful,
		".github/workflows/matrix.yml": "on: push\njobs:\n  a:\n    runs-on: x\n    strategy:\n      matrix: {a: [" + strings.Repeat("1,", 99) + "1], b: [" + strings.Repeat("1,", 99) + "1], c: [" + strings.Repeat("1,", 99) + "1]}\n    steps: [{run: echo}]\n",
	})
	settled := s.settled(s.hook("push", hookKey, pushed("refs/heads/main", sha, "m")))
	if len(settled.Problems) == 0 {
		t.Errorf("nobody is told: %+v", settled)
	}
	for _, run := range settled.Runs {
		s.ended(run)
	}
}

func endlessPatterns(t *testing.T) {
	matcher, err := json.Marshal(object{"problemMatcher": []object{{"owner": "slow", "pattern": []object{{"regexp": "^(a+)+(b+)+(c+)+$", "message": 1}}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, map[string]string{"matcher.json": string(matcher), ".github/workflows/ci.yml": `name: CI
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "::add-matcher::$PWD/matcher.json"
          head -c 60000 /dev/zero | tr '\0' a; echo '!'
`})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	if took := r.Ended.Sub(r.Started); r.Verdict != plan.Success || took > 30*time.Second {
		t.Errorf("%s after %s: %s", r.Verdict, took, r.Why)
	}
	run := r.ID
	// Whoever searches gives a text or a pattern of Go's, and waits for neither.
	if a := s.call("GET", "/api/v1/runs/"+run+"/log/build?q="+url.QueryEscape("(a+)+$"), "", as(s.admin)); a.code != 200 {
		t.Errorf("search: %d %s", a.code, a.body)
	}
}

func forgedHooks(t *testing.T) {
	s := newSite(t, nil)
	sha := s.git("rev-parse", "HEAD")
	body := pushed("refs/heads/main", sha, "m")
	none := func(what string, a answer, code int) {
		t.Helper()
		if a.code != code || s.count("hook.received") != 0 {
			t.Errorf("%s: %d %s, and %d deliveries in the record", what, a.code, a.body, s.count("hook.received"))
		}
	}
	none("signed by somebody else", s.hook("push", "guess", body), 401)
	none("signed by nobody", s.hook("push", "", body), 401)
	none("without a signature", s.hook("push", hookKey, body, func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }), 401)
	none("with the weaker signature", s.hook("push", hookKey, body, func(r *http.Request) {
		r.Header.Set("X-Hub-Signature", strings.Replace(r.Header.Get("X-Hub-Signature-256"), "256", "1", 1))
		r.Header.Del("X-Hub-Signature-256")
	}), 401)
	none("to no repository", s.call("POST", "/hooks/team/none", "{}", header("X-GitHub-Event", "push")), 401)
	none("of 100 MB", s.hook("push", hookKey, strings.Repeat(" ", 100<<20)), 413)
	s.settled(s.hook("push", hookKey, body))
	runs := s.count("run.planned")
	s.n-- // the very same once more
	if a := s.hook("push", hookKey, body); a.code != 200 || !strings.Contains(a.body, `"duplicate":true`) {
		t.Errorf("replayed: %d %s", a.code, a.body)
	}
	// With another identity, which no signature covers.
	if a := s.hook("push", hookKey, body); a.code != 200 || !strings.Contains(a.body, `"duplicate":true`) {
		t.Errorf("replayed by another name: %d %s", a.code, a.body)
	}
	if s.count("hook.received") != 1 || s.count("run.planned") != runs {
		t.Errorf("%d deliveries, %d runs", s.count("hook.received"), s.count("run.planned"))
	}
}

func addressesInside(t *testing.T) {
	s := newSite(t, nil)
	asked := make(chan string, 100)
	inside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.String() }))
	defer inside.Close()
	for _, address := range []string{
		inside.URL + "/team/app.git", "http://169.254.169.254/latest/meta-data", "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://10.0.0.1/x", "https://0.0.0.0/x",
		"https://2130706433/x", "https://0x7f.1/x", "https://localhost/x", "ssh://git@127.0.0.1/x", "git@127.0.0.1:x", "https://[fd00::1]/x", "https://100.64.0.1/x",
		"file:///etc/passwd", "gopher://127.0.0.1/x", "ext::sh -c id", "https://root:word@example.org/x", "//example.org/x",
	} {
		body, err := json.Marshal(object{"name": "team/inside", "url": address})
		if err != nil {
			t.Fatal(err)
		}
		if a := s.call("POST", "/api/v1/repositories", string(body), as(s.admin)); a.code != 422 || strings.Contains(a.body, "word") {
			t.Errorf("repository %s: %d %s", address, a.code, a.body)
		}
		if body, err = json.Marshal(object{"name": "team/api", "url": s.work, "forge": "github", "api": address}); err != nil {
			t.Fatal(err)
		}
		if a := s.call("POST", "/api/v1/repositories", string(body), as(s.admin)); a.code != 422 {
			t.Errorf("API %s: %d %s", address, a.code, a.body)
		}
	}
	// A channel's target may be anywhere, and is not reached.
	if err := s.vault.Set(t.Context(), secret.By{Name: "root"}, secret.Scope{}, notify.TargetSecret("x"), []byte(inside.URL+"/canary-of-the-target")); err != nil {
		t.Fatal(err)
	}
	if err := s.desk.SetRoute(t.Context(), launch.By{Name: "root"}, notify.Route{Name: "x", Channel: "webhook", Secret: notify.TargetSecret("x")}); err != nil {
		t.Fatal(err)
	}
	if a := s.call("POST", "/api/v1/routes/x/test", "", as(s.admin)); a.code != 422 || strings.Contains(a.body, "canary-of-the-target") {
		t.Errorf("a message inside: %d %s", a.code, a.body)
	}
	// Who is redirected inside does not get there: a fork's address is that of the repository's host.
	lie := pulled(8, strings.Repeat("b", 40), "topic", "x")
	lie["pull_request"].(object)["head"].(object)["repo"].(object)["clone_url"] = inside.URL + "/eve/app.git"
	s.hook("pull_request", hookKey, lie)
	select {
	case path := <-asked:
		t.Errorf("%s was asked for", path)
	default:
	}
}

func hostileArguments(t *testing.T) {
	s := newSite(t, nil)
	pwned := filepath.Join(t.TempDir(), "pwned")
	for _, ref := range []string{"--upload-pack=touch " + pwned, "-oProxyCommand=touch " + pwned, "refs/heads/--exec=x", "main..x", "main\nx", "main^{/x}", "@{-1}", ":/x", "main:secrets", strings.Repeat("a", 5000), "x\x00y"} {
		body, err := json.Marshal(object{"repository": "team/app", "workflow": "ci.yml", "ref": ref})
		if err != nil {
			t.Fatal(err)
		}
		a := s.call("POST", "/api/v1/runs", string(body), as(s.admin))
		var q struct{ Runs []string }
		if a.code/100 != 4 && (json.Unmarshal([]byte(a.body), &q) != nil || len(q.Runs) > 0) {
			t.Errorf("ref %.60q: %d %s", ref, a.code, a.body)
		}
	}
	for _, address := range []string{"--upload-pack=touch " + pwned, "-oProxyCommand=x", "ssh://-oProxyCommand=touch%20" + pwned + "/x", "ext::sh -c touch% " + pwned, "https://example.org/--x\n", "/srv/../etc", "relative/path"} {
		body, err := json.Marshal(object{"name": "team/x", "url": address})
		if err != nil {
			t.Fatal(err)
		}
		if a := s.call("POST", "/api/v1/repositories", string(body), as(s.admin)); a.code != 422 {
			t.Errorf("address %q: %d %s", address, a.code, a.body)
		}
	}
	for _, name := range []string{"-x", "../x", "a/../b", "a//b", ".git", "a\nb", strings.Repeat("a", 300), ""} {
		body, err := json.Marshal(object{"name": name, "url": s.work})
		if err != nil {
			t.Fatal(err)
		}
		if a := s.call("POST", "/api/v1/repositories", string(body), as(s.admin)); a.code != 422 {
			t.Errorf("name %q: %d %s", name, a.code, a.body)
		}
	}
	if _, err := os.Stat(pwned); err == nil {
		t.Error("an argument was run")
	}
}

func printedCommands(t *testing.T) {
	s := newSite(t, map[string]string{".github/workflows/ci.yml": `name: CI
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo '::set-env name=LD_PRELOAD::/tmp/evil.so'
          echo '::set-env name=INJECTED::yes'
          echo '::add-path::/tmp/evil'
          printf '::set-env name=INJECTED%%0ASECOND::yes\r\n'
          echo '##[set-env name=INJECTED]yes'
      - if: always()
        run: test -z "$LD_PRELOAD$INJECTED$SECOND"; case $PATH in */tmp/evil*) exit 1;; esac
`})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	steps := r.Jobs["build"].Steps
	if len(steps) < 2 || steps[len(steps)-1].Finished == nil || steps[len(steps)-1].Finished.Outcome != plan.Success {
		t.Errorf("%s: %s\n%s", r.Verdict, r.Why, s.printed(r))
	}
}

func workerAsksForMore(t *testing.T) {
	s := newSite(t, nil)
	run := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0]).ID
	worker := bearer(s.token(access.TokenSpec{Name: "w1", Worker: true}))
	for _, path := range []string{"/runs", "/runs/" + run, "/runs/" + run + "/events", "/runs/" + run + "/raw/build", "/repositories", "/secrets", "/accounts", "/audit", "/settings", "/tokens", "/events?topic=runs"} {
		if a := s.call("GET", "/api/v1"+path, "", worker); a.code != 401 && a.code != 403 && a.code != 404 && !(path == "/runs" && strings.Contains(a.body, `"runs":[]`)) {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	for _, path := range []string{"/runs/" + run + "/cancel", "/runs/" + run + "/rerun", "/runs/" + run + "/approve", "/tokens", "/accounts", "/repositories"} {
		if a := s.call("POST", "/api/v1"+path, "{}", worker); a.code/100 != 4 {
			t.Errorf("POST %s: %d %s", path, a.code, a.body)
		}
	}
	if a := s.call("PUT", "/api/v1/runs/"+run+"/log/build", "{}\n", worker); a.code/100 != 4 {
		t.Errorf("the log of a run that is not its own: %d", a.code)
	}
}

func tokenOfAnother(t *testing.T) {
	s := newSite(t, nil)
	run := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0]).ID
	if err := s.desk.SetRepository(t.Context(), launch.By{Name: "root"}, launch.Repository{Name: "team/other", URL: s.work}, true); err != nil {
		t.Fatal(err)
	}
	other := bearer(s.token(access.TokenSpec{Name: "o", Grants: []access.Grant{{Repository: "team/other", Role: access.Maintainer}}}))
	missing := s.call("GET", "/api/v1/runs/999999", "", other)
	for _, path := range []string{"", "/events", "/raw/build", "/lines/build", "/artifacts", "/log/build"} {
		if a := s.call("GET", "/api/v1/runs/"+run+path, "", other); a.code != 404 || path == "" && a.body != missing.body {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	for _, path := range []string{"/cancel", "/rerun", "/approve"} {
		if a := s.call("POST", "/api/v1/runs/"+run+path, "{}", other); a.code != 404 && a.code != 403 {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	if a := s.call("GET", "/api/v1/runs", "", other); a.code != 200 || !strings.Contains(a.body, `"runs":[]`) {
		t.Errorf("the list: %d %s", a.code, a.body)
	}
	for path, body := range map[string]string{"/runs": `{"repository":"team/app","workflow":"ci.yml"}`, "/runs/push": `{"repository":"team/app","events":[]}`} {
		if a := s.call("POST", "/api/v1"+path, body, other); a.code != 403 && a.code != 404 {
			t.Errorf("POST %s: %d %s", path, a.code, a.body)
		}
	}
	if a := s.call("PUT", "/api/v1/secrets/VALUE", `{"repository":"team/app","value":"x"}`, other); a.code != 403 && a.code != 404 {
		t.Errorf("a secret: %d %s", a.code, a.body)
	}
	if value, _, err := s.vault.Internal(t.Context(), "team/app", "$HOOK"); err != nil || value != hookKey {
		t.Errorf("%v", err)
	}
}

// nasty are texts that want to be more than text.
var nasty = []string{
	`<script>canary(1)</script>`, `"><img src=x onerror=canary(1)>`, `'-canary(1)-'`, `</title><svg/onload=canary(1)>`, `javascript:canary(1)`, `{{canary 1}}`, "\u202etxt.exe",
	"\x1b]8;;javascript:canary(1)\x07x\x1b]8;;\x07", "\x1b]0;title\x07\x1b[2J\x1b[1;1H", "::group::<b onmouseover=canary(1)>", "\r\x1b[K\x08\x08<iframe src=//evil>",
}

// shown reports what of the page would act.
func acting(page string) string {
	for _, bad := range []string{"<script>canary", "<img src=x", "<svg/onload", "<b onmouseover", "<iframe", `href="javascript:`, "\x1b", "\x07", "\x08"} {
		if strings.Contains(page, bad) {
			return bad
		}
	}
	return ""
}

func hostileLog(t *testing.T) {
	var script strings.Builder
	for _, text := range nasty {
		script.WriteString("          printf '%b\\n' '" + strings.NewReplacer("'", `'\''`, "\x1b", `\033`, "\x07", `\007`, "\x08", `\010`, "\r", `\r`).Replace(text) + "'\n")
	}
	s := newSite(t, map[string]string{".github/workflows/ci.yml": "name: CI\non: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - run: |\n" + script.String() + "          exit 1\n"})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	for _, path := range []string{"/runs/" + r.ID, "/runs/" + r.ID + "/log/build", "/runs/" + r.ID + "/log/build?q=canary"} {
		if a := s.call("GET", path, "", as(s.admin)); a.code != 200 || !strings.Contains(a.body, "canary") || acting(a.body) != "" {
			t.Errorf("%s: %d, %q acts", path, a.code, acting(a.body))
		}
	}
	if a := s.call("GET", "/api/v1/runs/"+r.ID+"/raw/build", "", as(s.admin)); !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the raw log: %v", a.header)
	}
}

func scripts(t *testing.T) {
	s := newSite(t, nil)
	for _, text := range nasty {
		a := s.push("build", text, text, as(s.admin))
		if a.code/100 != 2 {
			continue
		}
		var to struct{ Run string }
		if err := json.Unmarshal([]byte(a.body), &to); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/runs", "/runs/" + to.Run, "/runs/" + to.Run + "/why", "/runs/" + to.Run + "/log/build", "/audit"} {
			a := s.call("GET", path, "", as(s.admin))
			policy := a.header.Get("Content-Security-Policy")
			if a.code != 200 || acting(a.body) != "" || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s with %q: %d, %q acts, policy %q", path, text, a.code, acting(a.body), policy)
			}
		}
	}
	if a := s.call("GET", "/runs?branch="+url.QueryEscape(nasty[1]), "", as(s.admin)); acting(a.body) != "" {
		t.Errorf("what is asked for acts: %q", acting(a.body))
	}
}

func forgedRequests(t *testing.T) {
	s := newSite(t, nil)
	run := s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0]
	s.ended(run)
	form := func(v url.Values) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Body, r.ContentLength = http.NoBody, 0
			r.URL.RawQuery = ""
			b := v.Encode()
			r.Body, r.ContentLength = readCloser{strings.NewReader(b)}, int64(len(b))
		}
	}
	planned := s.count("run.planned")
	for name, options := range map[string][]func(*http.Request){
		"a form of another site":    {cookie(s.admin), form(url.Values{}), header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example.net")},
		"with a guessed token":      {cookie(s.admin), form(url.Values{"csrf": {"guess"}})},
		"from a sandboxed frame":    {cookie(s.admin), form(url.Values{"csrf": {s.admin.CSRF}}), header("Origin", "null")},
		"with our token, elsewhere": {cookie(s.admin), form(url.Values{"csrf": {s.admin.CSRF}}), header("Origin", "https://evil.example.net")},
	} {
		if a := s.call("POST", "/runs/"+run+"/rerun", "", options...); a.code != 403 {
			t.Errorf("%s: %d", name, a.code)
		}
	}
	if a := s.call("GET", "/runs/"+run+"/rerun", "", as(s.admin)); a.code != 404 && a.code != 405 {
		t.Errorf("by a link: %d", a.code)
	}
	if got := s.count("run.planned"); got != planned {
		t.Errorf("%d runs were begun", got-planned)
	}
	for _, back := range []string{"//evil.example.net", `/\evil.example.net`, "https://evil.example.net", "https:evil.example.net", "/\t/evil.example.net", "javascript:canary(1)", "\\\\evil"} {
		a := s.call("POST", "/sign-out", "", as(s.admin), form(url.Values{"csrf": {"wrong"}, "back": {back}}))
		if to := a.header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\t")) {
			t.Errorf("back to %q leads to %q", back, to)
		}
		a = s.call("GET", "/sign-in?back="+url.QueryEscape(back), "")
		if strings.Contains(a.body, `href="`+back) || strings.Contains(a.body, `action="`+back) {
			t.Errorf("the page of signing in leads to %q", back)
		}
	}
	if a := s.call("GET", "/runs", "", as(s.admin)); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other sites may read our pages")
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func pathTricks(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{
		"//api/v1/accounts", "/api//v1/accounts", "/api/v1/accounts/", "/static/../api/v1/accounts", "/static/%2e%2e/api/v1/accounts", "/static/..%2fapi/v1/accounts", "/api/v1/accounts;.css", "/api/v1/accounts%00",
		"/healthz/../api/v1/accounts", "/hooks/../api/v1/accounts", "/API/V1/accounts", "/static/%2e%2e%2f%2e%2e%2fetc/passwd", "/static//etc/passwd", "/.git/config", "/record.db", "/debug/pprof/", "/metrics/../api/v1/accounts", "/unknown",
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = path // as it is written
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			continue // nobody takes it
		}
		_ = res.Body.Close()
		if res.StatusCode/100 == 2 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	for _, path := range []string{"/api/v1/accounts", "/api/v1/runs", "/accounts", "/audit", "/runs", "/settings", "/queue"} {
		if a := s.call("GET", path, ""); a.code/100 == 2 {
			t.Errorf("%s for nobody: %d", path, a.code)
		}
		if a := s.call("POST", path, "{}", header("X-HTTP-Method-Override", "GET")); a.code/100 == 2 {
			t.Errorf("POST %s for nobody: %d", path, a.code)
		}
	}
}

func fixedSession(t *testing.T) {
	s := newSite(t, nil)
	planted := http.Cookie{Name: "fairlead-session", Value: strings.Repeat("A", 43)}
	credentials := url.Values{"name": {"root"}, "password": {password}}.Encode()
	a := s.call("POST", "/sign-in", credentials, header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.AddCookie(&planted) })
	var set *http.Cookie
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "fairlead-session" {
			set = c
		}
	}
	if a.code != http.StatusSeeOther || set == nil || set.Value == planted.Value || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode {
		t.Fatalf("%d, %+v", a.code, set)
	}
	if a := s.call("GET", "/api/v1/accounts", "", func(r *http.Request) { r.AddCookie(&planted) }); a.code/100 == 2 {
		t.Error("the planted cookie is a session")
	}
	if a := s.call("GET", "/api/v1/accounts", "", func(r *http.Request) { r.AddCookie(set) }); a.code != 200 {
		t.Errorf("the session that was made: %d", a.code)
	}
	// Signed out it is none, also for who kept it.
	x := s.admin
	s.call("POST", "/sign-out", url.Values{"csrf": {x.CSRF}}.Encode(), cookie(x), header("Content-Type", "application/x-www-form-urlencoded"), header("Sec-Fetch-Site", "same-origin"))
	if a := s.call("GET", "/api/v1/accounts", "", cookie(x)); a.code/100 == 2 {
		t.Error("signed out, the cookie is still a session")
	}
}

func bruteForce(t *testing.T) {
	s := newSite(t, nil)
	refused := 0
	for i := range 40 {
		form := url.Values{"name": {"root"}, "password": {fmt.Sprint("guess ", i)}}.Encode()
		a := s.call("POST", "/sign-in", form, header("Content-Type", "application/x-www-form-urlencoded"), header("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)))
		if a.code == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("of 40 guesses %d were refused unheard", refused)
	}
	if a := s.call("GET", "/api/v1/runs", "", bearer("flt_"+strings.Repeat("A", 40))); a.code != 401 {
		t.Errorf("a guessed token: %d", a.code)
	}
	if strings.Contains(s.log.String(), "guess 1") {
		t.Error("what was typed is in the log")
	}
}

// canariesOnDisk uses every secret there is, then looks for all of them in everything that was written.
func canariesOnDisk(t *testing.T) {
	s := newSite(t, map[string]string{".github/workflows/ci.yml": strings.Replace(steal, "echo ${{ secrets.VALUE }} | rev", "true", 1)})
	token := s.token(access.TokenSpec{Name: "t"})
	r := s.ended(s.settled(s.hook("push", hookKey, pushed("refs/heads/main", s.git("rev-parse", "HEAD"), "m"))).Runs[0])
	if !strings.Contains(s.printed(r), "***") {
		t.Error("the run was given no secret")
	}
	for _, a := range []answer{
		s.call("GET", "/api/v1/runs/"+r.ID, "", bearer(token)),
		s.call("GET", "/api/v1/runs?token="+token, "", bearer(token)),
		s.call("POST", "/api/v1/runs", `{"repository":"team/app","nonsense":"`+valueKey+`"}`, bearer(token)),
		s.call("PUT", "/api/v1/secrets/OTHER", `{"repository":"team/app","value":"`+valueKey+`"}`, bearer(token)),
		s.call("POST", "/sign-in", url.Values{"name": {"root"}, "password": {password}}.Encode(), header("Content-Type", "application/x-www-form-urlencoded")),
		s.call("POST", "/sign-in", url.Values{"name": {password}, "password": {"x"}}.Encode(), header("Content-Type", "application/x-www-form-urlencoded")),
	} {
		if strings.Contains(a.body, valueKey) || strings.Contains(a.body, password) {
			t.Errorf("an answer repeats a secret: %s", a.body)
		}
	}
	canaries := map[string]string{"the hook's secret": hookKey, "a secret's value": valueKey, "a password": password, "a token": token, "a session": s.admin.Cookie}
	for what, canary := range canaries {
		if strings.Contains(s.log.String(), canary) {
			t.Errorf("%s is in the log", what)
		}
	}
	for _, file := range s.files() {
		if !strings.HasPrefix(file, s.data) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for what, canary := range canaries {
			if strings.Contains(string(text), canary) {
				t.Errorf("%s is in %s", what, strings.TrimPrefix(file, s.data))
			}
		}
	}
}

func floods(t *testing.T) {
	s := newSite(t, nil)
	if a := s.call("POST", "/api/v1/runs", `{"repository":"`+strings.Repeat("x", 10<<20)+`"}`, as(s.admin)); a.code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 10 MB: %d", a.code)
	}
	inputs := object{}
	for i := range 200 {
		inputs[fmt.Sprint("i", i)] = "x"
	}
	body, err := json.Marshal(object{"repository": "team/app", "workflow": "ci.yml", "inputs": inputs})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.call("POST", "/api/v1/runs", string(body), as(s.admin)); a.code != 422 {
		t.Errorf("200 inputs: %d %s", a.code, a.body)
	}
	if a := s.call("GET", "/api/v1/runs?limit=1000000", "", as(s.admin)); a.code/100 != 4 && strings.Count(a.body, `"id"`) > 1000 {
		t.Errorf("a million runs: %d", a.code)
	}
	if a := s.call("GET", "/runs/"+strings.Repeat("9", 5000), "", as(s.admin)); a.code != 404 {
		t.Errorf("a long number: %d", a.code)
	}
	if a := s.call("GET", "/runs", "", as(s.admin), header("X-Long", strings.Repeat("x", 2<<20))); a.code/100 == 2 {
		t.Errorf("a header of 2 MB: %d", a.code)
	}
	if a := s.call("GET", "/healthz", ""); a.code != 200 {
		t.Errorf("afterwards it is ill: %d", a.code)
	}
}
