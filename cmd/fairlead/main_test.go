package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fairlead-dev/fairlead/internal/trace"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fairlead": main})
}

// TestScripts runs the texts in testdata/script: what the command line does, by
// example. Each has a home of its own. `FAIRLEAD_UPDATE=1 go test` writes what
// came out into those that compare.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("FAIRLEAD_UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			home, err := os.MkdirTemp("", "fairlead-home-") // not inside the repository
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(home) })
			caches, err := os.UserCacheDir() // of who runs the tests: nothing is built anew
			if err != nil {
				return err
			}
			e.Setenv("GOCACHE", cmp.Or(os.Getenv("GOCACHE"), filepath.Join(caches, "go-build")))
			for name, value := range map[string]string{
				"HOME": home, "XDG_STATE_HOME": filepath.Join(home, "state"), "XDG_CACHE_HOME": filepath.Join(home, "cache"),
				"USER": "ada", "TERM": "xterm-256color", "GIT_CONFIG_NOSYSTEM": "1",
				"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
				"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
			} {
				e.Setenv(name, value)
			}
			return nil
		},
		// [watch]: steps can be watched on this machine, which reuse takes.
		Condition: func(name string) (bool, error) {
			if name != "watch" {
				return false, fmt.Errorf("there is no condition %q", name)
			}
			_, err := trace.Probe()
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"repo":  repo,
			"norm":  norm,
			"await": await,
			"join":  join, "serving": serving, "token": token, "health": health,
			"gocache":  goCache,
			"codehost": codeHost,
		},
	})
}

// repo makes the current directory a repository with one commit of all that is
// in it.
func repo(ts *testscript.TestScript, _ bool, args []string) {
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A", "--", ":!.tmp"}, {"commit", "-q", "--allow-empty", "-m", "begin"}} {
		if err := ts.Exec("git", args...); err != nil {
			ts.Fatalf("git %s: %v", strings.Join(args, " "), err)
		}
	}
}

// goCache has the script share Go's build cache with whoever tests: to compile the standard
// library anew takes minutes.
func goCache(ts *testscript.TestScript, _ bool, _ []string) {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	ts.Check(err)
	ts.Setenv("GOCACHE", strings.TrimSpace(string(out)))
}

// volatile is what differs from run to run, and what stands for it.
var volatile = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{40}\b`), "SHA"},
	{regexp.MustCompile(`\b(at|main) [0-9a-f]{7}\b`), "$1 SHA"},
	{regexp.MustCompile(`(?m)^ *\d+\.\ds `), "0.0s "},
	{regexp.MustCompile(`([✓✗!○⊘◷+x]) +\d+\.\ds`), "$1   0.0s"},
	{regexp.MustCompile(`\b\d+(\.\ds|ms)\b`), "0.0s"},
	{regexp.MustCompile(`\bnow\b|\b\d+s ago\b`), "AGO"},
	{regexp.MustCompile(`\(AGO\) by \S+`), "(AGO) by USER"},
	{regexp.MustCompile(`"((saved_|overhead_)?seconds)": ?[\d.]+`), `"$1": 0`},
	{regexp.MustCompile(`"(key|log)":( ?)"(sha256:)?[0-9a-f]{64}"`), `"$1":$2"DIGEST"`},
	{regexp.MustCompile(`"(inputs|calls|overhead|saved)":( ?)\d+`), `"$1":${2}0`}, // what a shell reads differs from machine to machine
	{regexp.MustCompile(`"mechanism":( ?)"\w+"`), `"mechanism":$1"MECHANISM"`},
	{regexp.MustCompile(`\bby (seccomp|ptrace): [\d,]+ inputs?\b`), "by MECHANISM: N inputs"},
	{regexp.MustCompile(`\b[\d,]+ system calls?\b`), "N system calls"},
	{regexp.MustCompile(`"seq":\d+`), `"seq":0`},
	{regexp.MustCompile(`"pid":\d+`), `"pid":0`},
	{regexp.MustCompile(`"seed":( ?)"\d+"`), `"seed":$1"SEED"`},
	{regexp.MustCompile(`(workspaces/[\w-]+)-[0-9a-f]{10}/`), "$1-HASH/"},
	{regexp.MustCompile(`"host":"[^"]*"`), `"host":"HOST"`},
	{regexp.MustCompile(`"version":"[^"]*"`), `"version":"VERSION"`},
}

// norm writes what a command printed, or a file, to another file, with
// everything that differs from run to run replaced.
func norm(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: norm stdout|stderr|FILE FILE")
	}
	text := ts.ReadFile(args[0])
	text = strings.ReplaceAll(text, ts.Getenv("WORK"), "$WORK")
	text = strings.ReplaceAll(text, ts.Getenv("HOME"), "$HOME")
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.by)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// await waits until a file exists and is not empty, and with a pattern until it
// matches.
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: await FILE [PATTERN]")
	}
	var want *regexp.Regexp
	if len(args) > 1 {
		want = regexp.MustCompile(args[1])
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && len(text) > 0 && (want == nil || want.Match(text)) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited a minute for %s; it holds:\n%s", args[0], text)
		}
	}
}

// up reads where a server is, from what `fairlead serve --output json` printed.
func up(ts *testscript.TestScript, name string) (u struct{ URL, First string }) {
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &u))
	return u
}

// join makes the first account of a server: ada.
func join(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: join FILE")
	}
	u := up(ts, args[0])
	_, code, _ := strings.Cut(u.First, "#")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(u.URL+"/join", url.Values{"secret": {code}, "name": {"ada"}, "password": {"correct horse battery"}})
	ts.Check(err)
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusSeeOther {
		ts.Fatalf("join: %s (%v)", res.Status, err)
	}
}

// serving has the verbs that follow ask a server.
func serving(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: serving FILE")
	}
	ts.Setenv("FAIRLEAD_SERVER", up(ts, args[0]).URL)
}

// health writes the address of a server's health to a file.
func health(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: health FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs("health"), []byte(up(ts, args[0]).URL+"/healthz"), 0o600))
}

// token has them ask with what is in a file.
func token(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: token FILE")
	}
	ts.Setenv("FAIRLEAD_TOKEN", strings.TrimSpace(ts.ReadFile(args[0])))
}

// TestReferenceIsCurrent compares docs/reference/cli with what the commands say
// of themselves.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	// The test binary is the command when it is called by its name.
	name := filepath.Join(t.TempDir(), "fairlead")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(name, "docs", "--dir", fresh)
	c.Env = []string{"HOME=" + t.TempDir()}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("fairlead docs: %v\n%s", err, out)
	}
	kept := filepath.Join("..", "..", "docs", "reference", "cli")
	want, err := read(fresh)
	if err != nil {
		t.Fatal(err)
	}
	have, err := read(kept)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if have[name] != text {
			t.Errorf("docs/reference/cli/%s is not what the command says; run: go run ./cmd/fairlead docs --dir docs/reference/cli", name)
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("docs/reference/cli/%s is of no command", name)
	}
}

func read(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		texts[filepath.Base(name)] = string(text)
	}
	return texts, nil
}
