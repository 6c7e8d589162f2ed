package serve_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// browser is a person who looks at a team's server.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

func browse(t *testing.T, url string) *browser {
	t.Helper()
	var program string
	for _, name := range []string{os.Getenv("FAIRLEAD_CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(name); name != "" && err == nil {
			program = name
			break
		}
	}
	if program == "" && os.Getenv("CI") != "" {
		t.Fatal("there is no Chromium: install it, or set FAIRLEAD_CHROMIUM to its path")
	}
	if program == "" {
		t.Skip("SKIPPED: there is no Chromium; install it, or set FAIRLEAD_CHROMIUM to its path")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1360, 900))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(leave)
	ctx, cancel := context.WithTimeout(ctx, binary.Limit) // a browser that hangs says nothing
	t.Cleanup(cancel)
	return &browser{t, ctx, url}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(address string) {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.url + address
	}
	b.do(chromedp.Navigate(address))
}

func (b *browser) text(expression string) string {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true, on whatever page that is then.
func (b *browser) until(expression string) {
	b.t.Helper()
	for range 20 {
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(30*time.Second)))
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "context") && !strings.Contains(err.Error(), "navigated") { // the page went away under it
			b.t.Fatalf("never: %s: %v\n%.1500s", expression, err, b.text("location.href + '\\n' + document.body.innerText"))
		}
	}
	b.t.Fatalf("never: %s: the page goes away again and again", expression)
}

// press clicks the button whose words begin like this.
func (b *browser) press(words string) {
	b.t.Helper()
	find := `[...document.querySelectorAll("main button")].find(e => e.innerText.trim().startsWith("` + words + `"))`
	b.until(`!!` + find)
	b.text(`(() => { ` + find + `.click(); return "" })()`)
}

// shoot saves what the page looks like, where FAIRLEAD_SHOTS says.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("FAIRLEAD_SHOTS")
	if dir == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "story-"+name+".png"), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

const story = `name: CI
on: [push, pull_request]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Build
        run: i=0; until [ -e "$OUTSIDE/go" ]; do i=$((i+1)); echo "built $i parts"; sleep 0.1; done; echo "all is built"
      - name: Test
        run: |
          echo "=== RUN TestSum"
          if [ ! -e "$OUTSIDE/mended" ]; then echo "sum_test.go:7: 2+2 is 5"; echo "::error file=sum_test.go,line=7::2+2 is 5"; exit 1; fi
          echo "the sum is right, says $(cat word.txt)"
`

// TestBrowserStory is a team's day: the first admin comes in, a push starts a run, it is watched
// as it goes on, fails, is read at its error, searched, gone on with from the step
// that failed; a fork's run is approved.
func TestBrowserStory(t *testing.T) {
	t.Parallel()
	s := newTeamOf(t, story)
	b := browse(t, s.url)

	// The link that the server printed makes the first account.
	_, first, _ := strings.Cut(s.srv.Printed(), "makes one here:\n")
	first, _, _ = strings.Cut(strings.TrimSpace(first), "\n")
	b.open(first)
	b.until(`document.querySelector("[name=secret]").value !== ""`)
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "root"), chromedp.SendKeys(chromedp.CSS(`input[name=password]`), "correct horse battery"))
	b.press("Make the account")
	b.until(`!document.querySelector("[name=password]") && !!document.querySelector("main")`)

	// A hook starts a run, which appears without anybody's doing.
	b.open("/runs")
	b.text(`(() => { window.here = "yes"; return "" })()`)
	if status, body := s.push("1", nothing, s.Git("rev-parse", "HEAD"), hookSecret); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	b.until(`window.here === "yes" && !!document.querySelector('main a[href="/runs/1"]')`)
	b.shoot("runs")

	// Its log is watched as it grows.
	b.open("/runs/1")
	b.until(`!!document.querySelector('main a[href^="/runs/1/log/build"]')`)
	b.open("/runs/1/log/build")
	b.until(`document.querySelector(".log")?.innerText.includes("built 2 parts")`)
	b.text(`(() => { window.here = "yes"; return "" })()`)
	b.until(`document.querySelector(".log").innerText.match(/built 1\d parts/) !== null`)
	b.shoot("live")
	if err := os.WriteFile(filepath.Join(s.Outside, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.until(`window.here === "yes" && document.querySelector(".log").innerText.includes("2+2 is 5") && document.querySelector("[data-live=head] h1").innerText.includes("Failed")`)

	// The run opens at its error, and leads to the line.
	b.open("/runs/1")
	b.until(`document.querySelector("article.failure .excerpt")?.innerText.includes("2+2 is 5")`)
	if got := b.text(`document.querySelector("article.failure h3").innerText`); !strings.Contains(got, "Test") {
		t.Errorf("the failure is of %q", got)
	}
	b.shoot("failed")
	b.text(`(() => { document.querySelector("article.failure h3 a").click(); return "" })()`)
	b.until(`location.pathname === "/runs/1/log/build" && location.hash.startsWith("#L") && document.querySelector(location.hash)?.classList.contains("sel")`)

	// A search counts truly.
	b.do(chromedp.SendKeys(chromedp.CSS(`#q`), "TestSum"))
	b.until(`document.querySelector("[data-count]").textContent === "1 of 1"`)

	// What was wrong is mended, and the run goes on from the step that failed.
	if err := os.WriteFile(filepath.Join(s.Outside, "mended"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.open("/runs/1")
	b.press("Go on from “Test”")
	b.until(`location.pathname === "/runs/2" && document.querySelector("h1").innerText.includes("Succeeded")`)
	if log := s.must("logs", "2"); !strings.Contains(log, "the sum is right, says first") || strings.Contains(log, "all is built") {
		t.Errorf("it did not go on from where it was:\n%s", log)
	}
	b.shoot("goes-on")

	// A fork's run waits until somebody has read the change.
	s.Git("checkout", "-q", "--detach")
	s.Write(map[string]string{"word.txt": "a fork\n"})
	s.Commit("a gift")
	sha := s.Git("rev-parse", "HEAD")
	s.Git("update-ref", "refs/pull/17/head", sha)
	s.Git("checkout", "-q", "main")
	if status, body := s.pull("2", sha); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	b.open("/runs")
	b.until(`!!document.querySelector('main a[href="/runs/3"]')`)
	b.open("/runs/3")
	b.until(`document.querySelector("main").innerText.includes("with the secrets that its files name")`)
	b.shoot("waits")
	b.press("Approve")
	b.until(`location.pathname === "/runs/3" && document.querySelector("h1").innerText.includes("Succeeded")`)
	if log := s.must("logs", "3"); !strings.Contains(log, "says a fork") {
		t.Errorf("it is not the fork's commit:\n%s", log)
	}
}
