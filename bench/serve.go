package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// serving measures the server, as a whole command where it can: `go run ./bench
// serve`. Code hosts, readers and workers are played over the loopback interface,
// on the same machine; so the figures hold their share of the processors, too.
type serving struct {
	fairlead, tmp, only string
	markdown, begun     bool
}

// trials are the parts, in the order of the table.
func (b *serving) trials() []servingTrial {
	return []servingTrial{
		{"idle", b.idle}, {"hooks", b.hooks}, {"queue", b.queue}, {"pages", b.pages}, {"log1g", b.largeLog},
		{"events", b.events}, {"dag", b.dag}, {"workers", b.workers}, {"viewers", b.viewers}, {"tests", b.tests}, {"flags", b.flags},
	}
}

type servingTrial struct {
	name string
	run  func() error
}

func (b *serving) run(program, dir string) error {
	tmp, err := os.MkdirTemp(dir, "fairlead-serve-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b.tmp = tmp
	if b.fairlead, err = measured(program, tmp); err != nil {
		return err
	}
	before := load()
	for _, t := range b.trials() {
		if !strings.HasPrefix(t.name, b.only) {
			continue
		}
		if err := t.run(); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	fmt.Printf("\n%d processors; processes that want one: %s before, %s after, over a minute each\n", runtime.NumCPU(), before, load())
	return nil
}

// row prints what was measured beside what is promised.
func (b *serving) row(what, measured, bar string) {
	if !b.markdown {
		fmt.Printf("%-72s %28s  %s\n", what, measured, bar)
		return
	}
	if !b.begun {
		fmt.Println("| what | measured | bar |\n|---|--:|--:|")
	}
	b.begun = true
	fmt.Printf("| %s | %s | %s |\n", what, measured, bar)
}

// host is a server, and what a code host knows of it.
type host struct {
	b          *serving
	data, repo string
	url        string
	env        []string
	cmd        *exec.Cmd
	client     *http.Client
	delivery   atomic.Int64
}

const hookKey = "what hooks are signed with"

// site makes the directories of a server, and the repository that it serves.
func (b *serving) site(name string, files map[string]string) (*host, error) {
	dir := filepath.Join(b.tmp, name)
	h := &host{b: b, data: filepath.Join(dir, "data"), repo: filepath.Join(dir, "repo"),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}, Timeout: time.Minute}}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h.env = append(os.Environ(), "FAIRLEAD_DATA="+h.data, "FAIRLEAD_CACHE="+filepath.Join(dir, "cache"), "FAIRLEAD_NO_INPUT=true", "BENCH="+self)
	err = repository(h.repo, func(dir string) error {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, ".github", "workflows", name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return os.WriteFile(filepath.Join(dir, "word.txt"), []byte("first\n"), 0o644)
	})
	return h, err
}

func (h *host) fairlead(input string, args ...string) (string, error) {
	cmd := exec.Command(h.b.fairlead, args...)
	cmd.Env, cmd.Stdin = h.env, strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("fairlead %s: %w\n%s", args[0], err, errs.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// serve starts the server and waits until it answers.
func (h *host) serve(args ...string) error {
	h.cmd = exec.Command(h.b.fairlead, append([]string{"serve", "--listen", "127.0.0.1:0", "--public", "--loopback-addresses", "--stop", "1s"}, args...)...)
	h.cmd.Env = h.env
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var errs bytes.Buffer
	h.cmd.Stderr = &errs
	if err := h.cmd.Start(); err != nil {
		return err
	}
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if at, ok := strings.CutPrefix(scan.Text(), "Fairlead serves at "); ok {
			h.url = at
			go func() { _, _ = io.Copy(io.Discard, out) }() // the rest is for people
			return nil
		}
	}
	return fmt.Errorf("the server has ended: %v\n%s", h.cmd.Wait(), errs.Bytes())
}

// stop ends the server.
func (h *host) stop() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	_ = h.cmd.Wait() // how it ends is not measured
}

// adopt makes the repository known to the server.
func (h *host) adopt() error {
	_, err := h.fairlead(hookKey, "secret", "set", "$HOOK", "--repo", "team/app")
	if err == nil {
		_, err = h.fairlead("", "repo", "add", "team/app", h.repo, "--forge", "gitea")
	}
	return err
}

func (h *host) git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", h.repo, "-c", "user.name=bench", "-c", "user.email=bench@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// push delivers a hook of some 8 KB as Gitea does, and returns its name.
func (h *host) push(branch, sha string) (delivery string, err error) {
	delivery = fmt.Sprint("d", h.delivery.Add(1))
	repo := map[string]any{"id": 1, "full_name": "team/app", "name": "app", "default_branch": "main", "html_url": "http://forge.invalid/team/app",
		"clone_url": "http://forge.invalid/team/app.git", "owner": map[string]any{"login": "team"}}
	body, err := json.Marshal(map[string]any{
		"ref": "refs/heads/" + branch, "before": strings.Repeat("0", 40), "after": sha, "repository": repo, "commits": []any{},
		"head_commit": map[string]any{"id": sha, "message": "a change"}, "pusher": map[string]any{"login": "ada"}, "sender": map[string]any{"login": "ada"},
		"padding": delivery + strings.Repeat("x", 7500), // what is told twice counts once, whatever it is called
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest(http.MethodPost, h.url+"/hooks/team/app", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, []byte(hookKey))
	mac.Write(body)
	for name, value := range map[string]string{"Content-Type": "application/json", "X-Gitea-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": hex.EncodeToString(mac.Sum(nil))} {
		req.Header.Set(name, value)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("the hook is answered with %s: %s", res.Status, text)
	}
	return delivery, err
}

// get is an answer, and how long it took to its first and to its last byte.
func (h *host) get(path string) (body []byte, first, whole time.Duration, err error) {
	begin := time.Now()
	res, err := h.client.Get(h.url + path)
	if err != nil {
		return nil, 0, 0, err
	}
	defer res.Body.Close()
	first = time.Since(begin)
	body, err = io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s\n%s", path, res.Status, tail(body, 500))
	}
	return body, first, time.Since(begin), err
}

// record reads the server's record.
func (h *host) record(each func(record.Event)) error {
	st, err := sqlite.Open(context.Background(), h.data, sqlite.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	for e, err := range st.After(context.Background(), 0) {
		if err != nil {
			return err
		}
		each(e)
	}
	return nil
}

// await asks the record until it says so.
func (h *host) await(what string, holds func(record.Event) bool) error {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		done := false
		if err := h.record(func(e record.Event) { done = done || holds(e) }); err != nil || done {
			return err
		}
	}
	return fmt.Errorf("waited five minutes for %s", what)
}

// idle is the memory of a server that has nothing to do, ten seconds after its
// start.
func (b *serving) idle() error {
	h, err := b.site("idle", nil)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := h.serve(); err != nil {
		return err
	}
	took := time.Since(begin)
	defer h.stop()
	if _, _, _, err := h.get("/"); err != nil {
		return err
	}
	time.Sleep(10 * time.Second) // that is the thing to be measured
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return errors.New("the kernel does not say how much memory a process has")
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return err
	}
	b.row("memory of an idle server", fmt.Sprintf("%d MB", kb>>10), "60 MB")
	b.row("from the start of a new server to its first answer", millis(took), "")
	return nil
}

// team is a server at a site, and the site's repository is one that it serves.
func (b *serving) team(name string, files map[string]string, args ...string) (*host, error) {
	h, err := b.site(name, files)
	if err != nil {
		return nil, err
	}
	if err := h.serve(args...); err != nil {
		return nil, err
	}
	if err := h.adopt(); err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

const startsNothing = "on:\n  push:\n    branches: [main]\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: cat word.txt\n"

// hooks come at a steady rate, whether or not the last one was answered. A
// delivery counts as lost when it was answered and the record has it not.
func (b *serving) hooks() error {
	h, err := b.team("hooks", map[string]string{"ci.yml": startsNothing})
	if err != nil {
		return err
	}
	defer h.stop()
	sha, err := h.git("rev-parse", "HEAD")
	if err != nil {
		return err
	}
	accepted := map[string]bool{}
	for _, c := range []struct {
		rate int
		long time.Duration
		bar  string
	}{{200, 20 * time.Second, "99 %: 20 ms"}, {1000, time.Minute, "0 lost"}} {
		took, names, failed := h.storm(c.rate, c.long, sha)
		for _, name := range names {
			accepted[name] = true
		}
		if len(took) == 0 || c.rate == 200 && failed != nil {
			return failed
		}
		if c.rate == 200 {
			b.row("a hook of 8 KB, written down and answered, 200 a second: median / 99 %", millis(median(took))+" / "+millis(quantile(took, 0.99)), c.bar)
			continue
		}
		lost := len(accepted)
		err := h.record(func(e record.Event) {
			if hook, ok := e.Body.(*record.HookReceived); ok && accepted[hook.Delivery] {
				lost--
			}
		})
		if err != nil {
			return err
		}
		sent := c.rate * int(c.long.Seconds())
		b.row("hooks, 1,000 a second for a minute: accepted, lost; 99 %", fmt.Sprintf("%d of %d, %d; %s", len(took), sent, lost, millis(quantile(took, 0.99))), c.bar)
		if failed != nil {
			fmt.Fprintln(os.Stderr, "bench: one that was not accepted:", failed)
		}
	}
	return nil
}

// storm delivers hooks at a rate. Times are from when each was due.
func (h *host) storm(rate int, long time.Duration, sha string) (took []time.Duration, names []string, failed error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	due := make(chan time.Time, rate*int(long/time.Second))
	for range 256 {
		wg.Go(func() {
			for at := range due {
				name, err := h.push("none", sha)
				t := time.Since(at)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					took, names = append(took, t), append(names, name)
				}
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	for i := range cap(due) {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(at))
		due <- at
	}
	close(due)
	wg.Wait()
	return took, names, failed
}

// queue is how long a run waits on a server that has nothing else to do.
func (b *serving) queue() error {
	h, err := b.team("queue", map[string]string{"ci.yml": startsNothing})
	if err != nil {
		return err
	}
	defer h.stop()
	const pushes = 20
	for i := range pushes {
		if err := os.WriteFile(filepath.Join(h.repo, "word.txt"), []byte(fmt.Sprintln("push", i)), 0o644); err != nil {
			return err
		}
		if _, err := h.git("commit", "-q", "-am", "next"); err != nil {
			return err
		}
		sha, err := h.git("rev-parse", "HEAD")
		if err != nil {
			return err
		}
		if _, err := h.push("main", sha); err != nil {
			return err
		}
		if err := h.await("the run's end", func(e record.Event) bool {
			_, ended := e.Body.(*record.RunFinished)
			return ended && e.Run == fmt.Sprint(i+1)
		}); err != nil {
			return err
		}
	}
	var all, queued []time.Duration
	hooks, planned, first := []time.Time{}, map[string]time.Time{}, map[string]bool{}
	err = h.record(func(e record.Event) {
		switch e.Body.(type) {
		case *record.HookReceived:
			hooks = append(hooks, e.Time)
		case *record.RunPlanned:
			planned[e.Run] = e.Time
		case *record.StepStarted:
			if !first[e.Run] {
				first[e.Run] = true
				queued = append(queued, e.Time.Sub(planned[e.Run]))
				all = append(all, e.Time.Sub(hooks[len(hooks)-1]))
			}
		}
	})
	if err != nil || len(all) == 0 {
		return errors.Join(err, fmt.Errorf("%d runs began", len(all)))
	}
	b.row("from the queue to the first step, idle server: median / 95 %", millis(median(queued))+" / "+millis(quantile(queued, 0.95)), "100 ms")
	b.row("from the hook to the first step, fetch and plan included: median / 95 %", millis(median(all))+" / "+millis(quantile(all, 0.95)), "")
	return nil
}

const (
	manyRuns   = 100_000
	testsOfRun = 100 // ten million results in all
	longLines  = 200_000
)

// pages are asked for with many runs in the record. Of the tests of a run the
// record has a sum, and of those that failed a row each; so have these.
func (b *serving) pages() error {
	h, err := b.site("pages", nil)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := fill(h.data); err != nil {
		return err
	}
	b.row("(filling the store with 100,000 runs and 10 million test results)", fmt.Sprintf("%.0f s", time.Since(begin).Seconds()), "")
	begin = time.Now()
	if err := h.serve(); err != nil {
		return err
	}
	defer h.stop()
	b.row("start of a server with them", millis(time.Since(begin)), "")
	last := strconv.Itoa(manyRuns)
	var worst time.Duration
	var at string
	for _, path := range []string{"/", "/runs?limit=100", "/runs?before=50000", "/runs?repository=team%2Fapp7", "/runs?branch=dev&state=failure", "/runs?actor=dev9",
		"/runs/" + last, "/runs/777", "/runs/" + last + "/why", "/repositories", "/runs/777?format=json", "/runs/" + last + "/log/test"} {
		var took []time.Duration
		for range 42 {
			_, _, whole, err := h.get(path)
			if err != nil {
				return err
			}
			took = append(took, whole)
		}
		if p := quantile(took[2:], 0.95); p > worst {
			worst, at = p, path
		}
	}
	b.row("any page with them in the record, 95 %: the slowest is "+at, millis(worst), "100 ms")
	log := "/runs/" + last + "/log/test"
	for _, c := range []struct{ what, path, bar string }{
		{"a log of 200,000 lines: its page, first byte / whole", log, "300 ms"},
		{"the same: 150 lines anywhere", log + "?fragment=lines&from=%d&n=150", "60 ms"},
		{"the same: search for a text", log + "?q=needle&case=1&format=json", "50 ms"},
		{"the same: search, upper and lower case alike", log + "?q=Needle&format=json", "50 ms"},
	} {
		var firsts, wholes []time.Duration
		for i := range 21 {
			path := c.path
			if strings.Contains(path, "%d") {
				path = fmt.Sprintf(path, 1+i*9_900)
			}
			_, first, whole, err := h.get(path)
			if err != nil {
				return err
			}
			firsts, wholes = append(firsts, first), append(wholes, whole)
		}
		b.row(c.what, millis(median(firsts))+" / "+millis(median(wholes)), c.bar)
	}
	return nil
}

// fill writes the record of many runs, and the log of the last.
func fill(data string) error {
	ctx := context.Background()
	st, err := sqlite.Open(ctx, data, sqlite.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	const batch = 500
	for first := 1; first <= manyRuns; first += batch {
		var events []record.Event
		for i := first; i < first+batch; i++ {
			events = append(events, runOf(i)...)
		}
		if _, err := st.Append(ctx, events...); err != nil {
			return err
		}
	}
	newest, err := st.Watch(ctx, -1)
	if err != nil {
		return err
	}
	for _, reader := range []string{"desk", "forge"} {
		if err := st.Mark(ctx, reader, newest); err != nil {
			return err
		}
	}
	name := launch.LogPath(data, strconv.Itoa(manyRuns), "test")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	w, err := logs.Create(name)
	if err != nil {
		return err
	}
	for i := range longLines {
		text := fmt.Appendf(nil, "\x1b[2m%06d\x1b[0m \x1b[32mok\x1b[0m  github.com/team/app/internal/part%02d  0.%03ds", i+1, i%97, i%1000)
		if i%104 == 0 {
			text = append(text, " a needle in it"...)
		}
		if _, err := w.Line("1", time.Now(), text); err != nil {
			return err
		}
	}
	return w.Close()
}

// runOf is the record of run i.
func runOf(i int) []record.Event {
	id, repository := strconv.Itoa(i), fmt.Sprint("team/app", i%200)
	verdict, tests := plan.Success, &record.TestsReported{Source: "go test -json", Passed: testsOfRun, Seconds: 7}
	if i%17 == 0 {
		verdict = plan.Failure
		tests.Passed, tests.Failed = testsOfRun-10, 10
		for k := range tests.Failed {
			tests.Bad = append(tests.Bad, record.TestResult{Suite: "internal/part", Name: fmt.Sprint("Test", k), Status: "failed", Message: "got 1, want 2", File: "part_test.go", Line: k})
		}
	}
	line := int64(0)
	if i == manyRuns {
		line = longLines
	}
	at := time.Now().Add(time.Duration(i-manyRuns) * 5 * time.Minute)
	events := []record.Event{
		{Body: &record.RunPlanned{
			Number: i, Attempt: 1, Origin: &record.Origin{Repository: repository, Trust: record.Contributor, Change: strconv.Itoa(i / 1000), Title: "Make it faster"},
			Change:   &plan.Change{Repository: repository, Event: "push", Ref: "refs/heads/" + []string{"main", "dev"}[i%2], SHA: strings.Repeat("ab", 20), Actor: fmt.Sprint("dev", i%300)},
			Pipeline: &plan.Pipeline{Dialect: "github", File: fmt.Sprint(".github/workflows/", []string{"ci", "lint", "release"}[i%3], ".yml"), Name: "CI", Jobs: []plan.Job{{ID: "test", Name: "test"}}}}},
		{Body: &record.RunStarted{Host: "here"}},
		{Job: "test", Body: &record.JobStarted{Attempt: 1, Place: "host"}},
		{Job: "test", Step: "1", Body: &record.StepStarted{Name: "go test ./...", Script: "go test -json ./..."}},
		{Job: "test", Step: "1", Body: tests},
		{Job: "test", Step: "1", Body: &record.StepFinished{Name: "go test ./...", Outcome: verdict, Conclusion: verdict, Line: line}},
		{Job: "test", Body: &record.JobFinished{Verdict: verdict, Result: verdict}},
		{Body: &record.RunFinished{Verdict: verdict}},
	}
	for k := range events {
		events[k].Run, events[k].Time = id, at.Add(time.Duration(k)*time.Second)
	}
	return events
}

const crewSize, crewJobs = 8, 500

// workers do many small jobs of one run: each worker does one at a time, and all of
// them are on this machine.
func (b *serving) workers() error {
	cells := make([]string, crewJobs/2)
	for i := range cells {
		cells[i] = strconv.Itoa(i)
	}
	matrix := "    runs-on: ubuntu-latest\n    strategy: { matrix: { n: [" + strings.Join(cells, ", ") + "] } }\n    steps: [{ run: 'echo %s ${{ matrix.n }}' }]\n"
	h, err := b.team("workers", map[string]string{"ci.yml": "on: push\njobs:\n  a:\n" + fmt.Sprintf(matrix, "a") + "  b:\n" + fmt.Sprintf(matrix, "b")}, "--jobs", "0")
	if err != nil {
		return err
	}
	defer h.stop()
	token, err := h.fairlead("", "token", "create", "crew", "--worker")
	if err != nil {
		return err
	}
	for i := range crewSize {
		name := fmt.Sprint("w", i+1)
		w := exec.Command(b.fairlead, "worker", "--server", h.url, "--name", name, "--jobs", "1")
		dir := filepath.Join(b.tmp, "crew", name)
		w.Env = append(slices.Clone(h.env), "FAIRLEAD_TOKEN="+token, "FAIRLEAD_DATA="+dir+"/data", "FAIRLEAD_CACHE="+dir+"/cache")
		if err := w.Start(); err != nil {
			return err
		}
		defer func() {
			_ = w.Process.Kill()
			_ = w.Wait()
		}()
	}
	joined := 0
	if err := h.await("the workers", func(e record.Event) bool {
		if seen, ok := e.Body.(*record.WorkerSeen); ok && seen.State == "joined" {
			joined++
		}
		return joined >= crewSize
	}); err != nil {
		return err
	}
	sha, err := h.git("rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if _, err := h.push("main", sha); err != nil {
		return err
	}
	var begun, ended time.Time
	good := 0
	err = h.await("500 jobs", func(e record.Event) bool {
		switch body := e.Body.(type) {
		case *record.RunStarted:
			begun, good = e.Time, 0
		case *record.JobFinished:
			if strings.Contains(e.Job, "/") && body.Verdict == plan.Success {
				good++
			}
		case *record.RunFinished:
			ended = e.Time
			return true
		}
		return false
	})
	if err != nil {
		return err
	}
	b.row("500 queued jobs over 8 workers, all on this machine: done, all in", fmt.Sprintf("%d, %.1f s (%.0f a second)", good, ended.Sub(begun).Seconds(), crewJobs/ended.Sub(begun).Seconds()), "500")
	return nil
}

const viewers, linesEach, emitFor = 50, 50_000, 6 * time.Second

// emit prints lines at a rate, each with the time in microseconds: it is the step
// that viewers watch.
func emit() error {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	const ticks = 50 // a second
	begin := time.Now()
	for i := range int(emitFor.Seconds()) * ticks {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / ticks)))
		for range linesEach / ticks {
			fmt.Fprintf(out, "at=%d level=info msg=handled path=/v1/items/42 status=200\n", time.Now().UnixMicro())
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

var emitted = regexp.MustCompile(`at=(\d{16})`)

// viewers have the page of a log open while it is written: they are told that it
// has grown, and fetch what then is its end, as the page's script does.
func (b *serving) viewers() error {
	h, err := b.team("viewers", map[string]string{"ci.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: $BENCH -emit\n"})
	if err != nil {
		return err
	}
	defer h.stop()
	sha, err := h.git("rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if _, err := h.push("main", sha); err != nil {
		return err
	}
	if err := h.await("the step", func(e record.Event) bool { _, ok := e.Body.(*record.StepStarted); return ok }); err != nil {
		return err
	}
	var mu sync.Mutex
	var lags []time.Duration
	var fetched, ends int64
	var failed error
	var wg sync.WaitGroup
	for range viewers {
		wg.Go(func() {
			mine, lines, err := h.view("1", "a")
			mu.Lock()
			defer mu.Unlock()
			lags = append(lags, mine...)
			failed = errors.Join(failed, err)
			fetched += int64(len(mine))
			if lines == linesEach*int64(emitFor.Seconds()) {
				ends++
			}
		})
	}
	wg.Wait()
	if failed != nil || len(lags) == 0 {
		return errors.Join(failed, fmt.Errorf("%d parts were read", len(lags)))
	}
	var begun, ended time.Time
	if err := h.await("the step's end", func(e record.Event) bool {
		switch e.Body.(type) {
		case *record.StepStarted:
			begun = e.Time
		case *record.StepFinished:
			ended = e.Time
			return true
		}
		return false
	}); err != nil {
		return err
	}
	rate := float64(linesEach) * emitFor.Seconds() / ended.Sub(begun).Seconds()
	b.row("50 live viewers of a log at 50,000 lines a second: lines a second written", fmt.Sprintf("%.0f", rate), "50,000")
	b.row("the same: from print to page, median / 95 %; viewers that saw its end", fmt.Sprintf("%s / %s; %d of %d", millis(median(lags)), millis(quantile(lags, 0.95)), ends, viewers), "50 of 50")
	return nil
}

// view reads a log as its page does, until it is closed.
func (h *host) view(run, job string) (lags []time.Duration, lines int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/api/v1/events?topic="+url.QueryEscape("log/"+run+"/"+job), nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := (&http.Client{Transport: h.client.Transport}).Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	scan := bufio.NewScanner(res.Body)
	for scan.Scan() {
		text, ok := strings.CutPrefix(scan.Text(), "data: ")
		var grown struct {
			Topic  string
			Lines  int64
			Closed bool
		}
		if !ok || json.Unmarshal([]byte(text), &grown) != nil || grown.Topic == "" {
			continue
		}
		lines = grown.Lines
		if lines > 0 {
			part, _, _, err := h.get(fmt.Sprintf("/runs/%s/log/%s?fragment=lines&from=%d&n=150", run, job, max(1, lines-149)))
			if err != nil {
				return lags, lines, err
			}
			all := emitted.FindAllSubmatch(part, -1)
			if len(all) > 0 && !grown.Closed {
				at, err := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64)
				if err != nil {
					return lags, lines, err
				}
				lags = append(lags, time.Since(time.UnixMicro(at)))
			}
		}
		if grown.Closed {
			return lags, lines, nil
		}
	}
	return lags, lines, scan.Err()
}

// quantile is the value below which so much of all lies.
func quantile(d []time.Duration, part float64) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(part*float64(len(d))))]
}

// millis is a duration in milliseconds, for people.
func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1e3)
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1e3)
}
