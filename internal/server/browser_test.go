package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// browser is a tab of a headless Chromium that is signed in to a scene's server.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

// chromium finds the browser. Tests that need one are left out where there is none, but
// not where everything is to be tested.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FAIRLEAD_CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(name); name != "" && err == nil {
			return name
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("there is no Chromium: install it, or set FAIRLEAD_CHROMIUM to its path")
	}
	t.Skip("SKIPPED: there is no Chromium; install it, or set FAIRLEAD_CHROMIUM to its path")
	return ""
}

// browse opens a browser on a scene and signs in.
func browse(t *testing.T, sc *scene) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1360, 900))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(leave)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // a browser that hangs says nothing
	t.Cleanup(cancel)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(sc.s)
	web.Listener.Close()
	web.Listener = l
	web.Start()
	t.Cleanup(web.Close)
	b := &browser{t: t, ctx: ctx, url: web.URL}
	b.open("/sign-in?back=%2Fruns")
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "root"), chromedp.SendKeys(chromedp.CSS(`input[name=password]`), "correct horse battery"))
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(`main form button`))); err != nil {
		t.Fatal(err)
	}
	if at := eval[string](b, "location.pathname"); at != "/runs" {
		t.Fatalf("signing in leads to %s", at)
	}
	return b
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
}

// eval is the value of an expression in the page.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression in the page is true, on whatever page that is then.
func (b *browser) until(expression string) {
	b.t.Helper()
	for range 20 {
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(30*time.Second)))
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "context") && !strings.Contains(err.Error(), "navigated") { // the page went away under it
			b.t.Fatalf("never: %s: %v\n%.600s", expression, err, eval[string](b, "document.body.innerText"))
		}
	}
	b.t.Fatalf("never: %s: the page goes away again and again", expression)
}

func (b *browser) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
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
	if err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// TestShots takes pictures of the pages, for people to look at.
func TestShots(t *testing.T) {
	if os.Getenv("FAIRLEAD_SHOTS") == "" {
		t.Skip("set FAIRLEAD_SHOTS to a directory to have pictures taken")
	}
	sc := newScene(t)
	sc.still()
	failing := sc.story()
	sc.people()
	running, w := sc.tellRunning(noon.Add(-50 * time.Second))
	defer w.Close()
	b := browse(t, sc)
	paths := pagePaths(failing)
	paths["running"], paths["join"] = "/runs/"+running.id, "/join?first=1#secret"
	stages := sc.tellStages(noon.Add(-10 * time.Minute))
	plays := sc.tellStages(noon.Add(-20 * time.Minute))
	if _, err := sc.store.Append(t.Context(), record.Event{Time: noon, Run: plays, Job: "later", Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}}, record.Event{Time: noon, Run: plays, Body: &record.RunFinished{Verdict: plan.Success}}); err != nil {
		t.Fatal(err)
	}
	paths["plays"] = "/runs/" + plays
	maps.Copy(paths, sc.tellCoverage())
	maps.Copy(paths, sc.tellDeployments())
	maps.Copy(paths, sc.tellReleases())
	paths["stages"], paths["nested"] = "/runs/"+stages, "/runs/"+stages+"/log/compile"
	paths["troubles"] = "/runs/" + sc.troubles()
	only := os.Getenv("FAIRLEAD_SHOTS_OF")
	for name, path := range paths {
		if only != "" && !strings.Contains(" "+only+" ", " "+name+" ") {
			continue
		}
		for mode, media := range map[string]string{"light": "light", "dark": "dark"} {
			b.media(media)
			height := int64(1300)
			if name == "run" || name == "test" {
				height = 2600
			}
			b.do(chromedp.EmulateViewport(1360, height))
			b.open(path)
			b.shoot(name + "-" + mode)
		}
		b.media("light")
		b.do(chromedp.EmulateViewport(420, 1400))
		b.open(path)
		b.shoot(name + "-narrow")
	}
}

func (b *browser) media(scheme string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
		b.t.Fatal(fmt.Errorf("colour scheme: %w", err))
	}
}

// longLog is a run whose job printed 200,000 lines; every 104th holds the word
// needle.
func (sc *scene) longLog() (run string, needles int) {
	t := sc.tell(noon.Add(-time.Minute), &plan.Pipeline{Dialect: "github", Name: "CI", File: "ci.yml", Jobs: []plan.Job{{ID: "test", Name: "test"}}},
		plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("b", 40)}, &record.Origin{Repository: "team/app", Trust: record.Protected}, "")
	t.say("", "", &record.RunStarted{Host: "here"})
	t.say("test", "", &record.JobStarted{Attempt: 1, Place: "host"})
	lines := make([][2]string, 200_000)
	for i := range lines {
		lines[i] = [2]string{"1", fmt.Sprintf("\x1b[2m%06d\x1b[0m \x1b[32mok\x1b[0m  github.com/team/app/internal/part%02d  0.%03ds", i+1, i%97, i%1000)}
		if i%104 == 0 {
			lines[i][1] += " a needle in it"
			needles++
		}
	}
	t.step("test", "1", "go test ./...", 0, int64(len(lines)), 40*time.Second, plan.Success)
	t.say("test", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	t.say("", "", &record.RunFinished{Verdict: plan.Success})
	t.log("test", lines, true)
	return t.write(), needles
}

// watchPolicy counts what the browser refused because of the content policy, on
// every page that is opened from now on.
func (b *browser) watchPolicy() {
	b.t.Helper()
	source := `addEventListener("securitypolicyviolation", (e) => sessionStorage.setItem("refused", (sessionStorage.getItem("refused") || "") + e.violatedDirective + " " + e.blockedURI + "; "));
		addEventListener("error", (e) => sessionStorage.setItem("refused", (sessionStorage.getItem("refused") || "") + e.message + "; "));`
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source}); err != nil {
		b.t.Fatal(err)
	}
}

// refused is what the browser did not let the pages do.
func (b *browser) refused() string {
	return eval[string](b, `sessionStorage.getItem("refused") || ""`)
}

// TestBrowser goes through the pages by keyboard, as somebody does whose run
// failed.
func TestBrowser(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	failing := sc.story()
	sc.people()
	b := browse(t, sc)
	b.watchPolicy()
	b.open("/runs")

	// j and k go through the runs, Enter opens one.
	b.keys("jjjk")
	if n := eval[int](b, `[...document.querySelectorAll("[data-row]")].indexOf(document.querySelector("[data-row].at"))`); n != 1 {
		t.Errorf("jjjk leads to row %d", n)
	}
	b.keys("j")
	b.keys(kb.Enter)
	b.until(`location.pathname === "/runs/` + failing + `" && document.readyState === "complete"`)
	if h := eval[string](b, `document.querySelector("h1").innerText`); h != "Failed in test (1.26) after 42s" {
		t.Errorf("the headline is %q", h)
	}

	// e goes to the error, which is open already; r to the buttons, and presses none.
	b.keys("e")
	b.until(`document.activeElement.matches("[data-error]")`)
	if !eval[bool](b, `[...document.querySelectorAll(".excerpt .l.sel")].some((l) => l.innerText.includes("FAIL: TestSparseIndex"))`) {
		t.Error("the first error is not among the lines")
	}
	b.keys("r")
	if got := eval[string](b, `document.activeElement.innerText`); got != "Re-run 2 failed jobs" {
		t.Errorf("r leads to %q", got)
	}
	if asked := sc.desk.acts(); asked != 0 {
		t.Errorf("a key acted %d times", asked)
	}
	b.keys(kb.Enter)
	b.until(`location.pathname !== "/runs/` + failing + `"`)
	if sc.desk.acts() != 1 {
		t.Errorf("the desk was asked %d times", sc.desk.acts())
	}

	// ? shows the keys, Escape hides them.
	b.open("/runs/" + failing + "/log/test/1.26")
	b.keys("?")
	b.until(`document.getElementById("keys").open`)
	b.keys(kb.Escape)
	b.until(`!document.getElementById("keys").open`)

	// e leads to the failing step, a click on a number to a link for it.
	b.keys("e")
	b.until(`location.hash === "#L2"`)
	b.do(chromedp.Click(chromedp.CSS(`#L43 > a`)))
	b.until(`location.hash === "#L43" && document.getElementById("L43").classList.contains("sel")`)
	b.keys("t")
	b.until(`document.querySelector(".log").classList.contains("stamps")`)

	// Whatever was opened, the browser had nothing to refuse.
	for _, path := range pagePaths(failing) {
		b.open(path)
		if got := eval[int](b, `document.querySelectorAll("h1").length`); got != 1 {
			t.Errorf("%s has %d h1", path, got)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("%s is %d pixels too wide", path, wide)
		}
	}
	b.do(chromedp.EmulateViewport(400, 800))
	for _, path := range pagePaths(failing) {
		b.open(path)
		if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("%s is %d pixels too wide for a telephone", path, wide)
		}
	}
	if got := b.refused(); got != "" {
		t.Errorf("the browser refused: %s", got)
	}
}

// TestBrowserLongLog finds its way in 200,000 lines, and makes a page of only those
// that are seen.
func TestBrowserLongLog(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	run, needles := sc.longLog()
	b := browse(t, sc)
	b.watchPolicy()
	path := "/runs/" + run + "/log/test"
	b.open(path + "#L150000")
	b.until(`document.getElementById("L150000")?.classList.contains("sel")`)
	if y := eval[float64](b, `(() => { const r = document.getElementById("L150000").getBoundingClientRect(), w = document.querySelector("[data-window]").getBoundingClientRect(); return r.top >= w.top && r.bottom <= w.bottom ? 1 : 0 })()`); y != 1 {
		t.Error("line 150,000 is not in sight")
	}
	if n := eval[int](b, `document.getElementsByTagName("*").length`); n > 4000 {
		t.Errorf("the page has %d elements", n)
	}

	// The counts are those of the whole log.
	b.keys("/")
	b.until(`document.activeElement.id === "q"`)
	// The protocol sends the character even where the page has dealt with the key.
	eval[string](b, `document.activeElement.value = ""`)
	b.keys("needle")
	want := thousands(int64(needles))
	b.until(`document.querySelector("[data-count]").textContent.endsWith(" of ` + want + `")`)
	b.keys(kb.Escape)
	first := eval[string](b, `document.querySelector("[data-count]").textContent`)
	b.keys("n")
	b.until(`document.querySelector("[data-count]").textContent !== "` + first + `" && document.querySelector(".l.sel.hit")?.innerText.includes("needle")`)
	b.keys("N")
	b.until(`document.querySelector("[data-count]").textContent === "` + first + `"`)
	b.shoot("long")

	// A pattern; and one that is none.
	b.do(chromedp.Click(chromedp.CSS(`[data-regex]`)))
	eval[string](b, `(() => { const q = document.getElementById("q"); q.value = "n[e]{2}dl(e|f) in it$"; q.dispatchEvent(new Event("input")); return "" })()`)
	b.until(`document.querySelector("[data-count]").textContent.endsWith(" of ` + want + `")`)
	eval[string](b, `(() => { const q = document.getElementById("q"); q.value = "n(eedle"; q.dispatchEvent(new Event("input")); return "" })()`)
	b.until(`document.querySelector("[data-count]").textContent.startsWith("it is no pattern")`)
	b.do(chromedp.Click(chromedp.CSS(`[data-regex]`)))
	eval[string](b, `(() => { const q = document.getElementById("q"); q.value = ""; q.dispatchEvent(new Event("input")); return "" })()`)

	// The end, the top, and a step between.
	b.keys("G")
	b.until(`!!document.getElementById("L200000")`)
	b.keys("g")
	b.until(`!!document.getElementById("L1")`)
	b.do(chromedp.Click(chromedp.CSS(`#L3 > a`)))
	b.until(`location.hash === "#L3"`)
	if got := b.refused(); got != "" {
		t.Errorf("the browser refused: %s", got)
	}
}

// TestBrowserFollow watches a log grow, and the run end.
func TestBrowserFollow(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	tell, w := sc.tellRunning(time.Now().Add(-time.Minute))
	lease, err := sc.store.Lease(t.Context(), store.RunLease(tell.id), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release() })
	b := browse(t, sc)
	b.watchPolicy()
	b.open("/runs/" + tell.id + "/log/test")
	b.until(`!!document.getElementById("L3")`)
	say := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			if _, err := w.Line("1", time.Now(), fmt.Appendf(nil, "line %d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// Who does not follow is told, and not moved.
	say(4, 1207)
	b.until(`document.querySelector(".pill")?.textContent === "1,204 new lines"`)
	b.until(`!!document.getElementById("L1207")`)
	if at := eval[float64](b, `scrollY`); at != 0 {
		t.Errorf("the page moved to %f", at)
	}
	// Who follows sees the end, through the change to a window.
	b.keys("f")
	b.until(`document.querySelector("[data-follow]").getAttribute("aria-pressed") === "true" && !document.querySelector(".pill")`)
	say(1208, 30_000)
	b.until(`!!document.querySelector("[data-window]") && !!document.getElementById("L30000")`)
	// The run ends, and the page says so.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tell.at = time.Now()
	tell.say("test", "1", &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success, Line: 30_000})
	tell.say("test", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	tell.say("", "", &record.RunFinished{Verdict: plan.Success})
	tell.write()
	b.until(`document.getElementById("status").textContent === "test: Succeeded"`)
	b.until(`document.querySelector("[data-live=rail] .state").innerText === "Succeeded"`)
	if got := b.refused(); got != "" {
		t.Errorf("the browser refused: %s", got)
	}
}
