// Command bench times whole commands: Fairlead beside act, the best-known
// tool that runs GitHub workflows locally, on the same workloads, in turns,
// in one session, and Fairlead with reuse beside itself without. It prints
// medians and the ratio; nothing here is a test, because a machine's mood is
// not a property of the code.
//
//	go run ./bench                 all workloads, five rounds
//	go run ./bench -only t1 -runs 20
//	go run ./bench -only reuse     what watching costs and reuse saves
//	go run ./bench -act ""         without the peer
//	go run ./bench -mono DIR       only make the monorepo, to look at
//	go run ./bench serve           the server: hooks, queue, pages, logs, workers
//	go run ./bench -only dag serve
//	go run ./bench front           the front proxy beside nginx and haproxy
//
// Act is built from its module (about two minutes, once), and what bundles is
// fetched with npm, once. The peer of the monorepo is Ninja, when it is on PATH.
// The workloads are made on the spot, in -dir: one in memory leaves the disk
// out, but nothing below /dev/shm is reused. -files names a directory of real
// workflows for lint.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const act = "github.com/nektos/act@v0.2.89"

// workload is one thing to time.
type workload struct {
	name  string
	what  string
	bar   string // what we promise
	make  func(dir string) error
	ours  []string
	peer  bool     // act can do it too
	rival []string // the command of another tool that does the same, if it is on PATH
	warm  int      // rounds that are not counted, beside the first
	bytes int64
	runs  int // 0: as asked
	exit  int // the exit code that is expected
}

func main() {
	runs := flag.Int("runs", 5, "rounds")
	only := flag.String("only", "", "only workloads whose names have this prefix")
	peer := flag.String("act", "build", "path of act; empty: leave it out")
	files := flag.String("files", os.Getenv("FAIRLEAD_CORPUS"), "directory with real workflows in github/, for lint")
	tree := flag.String("mono", "", "only make the monorepo, in this directory")
	packages := flag.Int("packages", 1000, "packages of the monorepo")
	sources := flag.Int("sources", 20, "source files of each of its packages")
	program := flag.String("fairlead", "", "the program to measure; empty: build it")
	dir := flag.String("dir", os.TempDir(), "where to make the workloads")
	large := flag.Bool("large", false, "with the step of 200,000 inputs, too, which takes minutes to make")
	markdown := flag.Bool("markdown", false, "print a table in Markdown")
	lines := flag.Bool("emit", false, "only print lines, as a step of the server's bench")
	flag.Parse()
	if *lines {
		fail(emit())
		return
	}
	if flag.Arg(0) == "serve" {
		b := serving{only: *only, markdown: *markdown}
		fail(b.run(*program, *dir))
		return
	}
	if flag.Arg(0) == "front" {
		b := fronting{rows: serving{only: *only, markdown: *markdown}}
		if flag.NArg() > 1 {
			fail(b.role(flag.Args()[1:]))
			return
		}
		fail(b.run(*dir))
		return
	}
	mono := monorepo{packages: *packages, files: *sources}
	if *tree != "" {
		fail(repository(*tree, mono.write))
		return
	}
	b := benchmark{runs: *runs, only: *only, peer: *peer, files: *files, program: *program, dir: *dir, large: *large, mono: mono, out: &table{markdown: *markdown}}
	fail(b.run())
}

// fail ends the program if there is an error.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// benchmark is one run of this program.
type benchmark struct {
	runs                            int
	only, peer, files, program, dir string
	large                           bool
	mono                            monorepo
	out                             *table
}

func (b *benchmark) run() error {
	tmp, err := os.MkdirTemp(b.dir, "fairlead-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ours, err := measured(b.program, tmp)
	if err != nil {
		return err
	}
	left := func(name string) bool { return !strings.HasPrefix(name, b.only) }
	list := slices.DeleteFunc(workloads(b.files, b.mono), func(w workload) bool { return left(w.name) })
	if b.peer == "build" && slices.ContainsFunc(list, func(w workload) bool { return w.peer }) {
		if b.peer, err = buildAct(); err != nil {
			return err
		}
	}
	before := load()
	b.out.row("workload", "what", "fairlead", "compared with", "ratio", "memory", "bar")
	for _, w := range list {
		if err := b.time(w, ours, tmp); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for _, t := range trials(tmp, b.large) {
		if left(t.name) {
			continue
		}
		if err := try(t, ours, tmp, b.runs, b.out); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d processors; processes that want one: %s before, %s after, over a minute each\n", runtime.NumCPU(), before, load())
	return nil
}

// measured is the path of the program to measure: the one that was named, or one
// that is built into dir.
func measured(program, dir string) (string, error) {
	if program != "" {
		return filepath.Abs(program)
	}
	program = filepath.Join(dir, "fairlead")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/fairlead").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fairlead: %v\n%s", err, out)
	}
	return program, nil
}

// time times a workload, and the peer's or rival's way to do it, in turns.
func (b *benchmark) time(w workload, ours, tmp string) error {
	dir := filepath.Join(tmp, w.name)
	if err := repository(dir, w.make); err != nil {
		return err
	}
	mine := command{exit: w.exit, argv: append([]string{ours}, w.ours...), dir: dir, env: append(os.Environ(), "XDG_STATE_HOME="+tmp+"/state", "XDG_CACHE_HOME="+tmp+"/cache")}
	theirs := command{argv: []string{b.peer, "push", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "--action-cache-path", tmp + "/act"}, dir: dir,
		env: append(os.Environ(), "ACT_DISABLE_VERSION_CHECK=1", "XDG_CACHE_HOME="+tmp+"/actcache")}
	name, both := "act", w.peer && b.peer != ""
	if len(w.rival) > 0 {
		if path, err := exec.LookPath(w.rival[0]); err == nil {
			name, both = w.rival[0], true
			// What it leaves in its tree is not to be in ours.
			theirs = command{argv: append([]string{path}, w.rival[1:]...), dir: dir + "-" + name, env: os.Environ()}
			if err := repository(theirs.dir, w.make); err != nil {
				return err
			}
		}
	}
	rounds := b.runs
	if w.runs > 0 {
		rounds = w.runs
	}
	var took, other []time.Duration
	var memory int64
	for i := range 1 + w.warm + rounds { // the first round warms up
		a, err := mine.time()
		if err != nil {
			return err
		}
		memory = max(memory, a.rss)
		var t spent
		if both {
			if t, err = theirs.time(); err != nil {
				return err
			}
		}
		if i > w.warm || rounds == 1 {
			took, other = append(took, a.wall), append(other, t.wall)
		}
	}
	b.out.row(w.name, w.what, show(w, median(took)), showIf(both, w, name, median(other)), ratio(both, took, other), fmt.Sprintf("%d MB", memory>>20), w.bar)
	return nil
}

// table is what is printed, row by row. The first one is the heading.
type table struct{ markdown, begun bool }

func (t *table) row(name, what, ours, theirs, ratio, memory, bar string) {
	if !t.markdown {
		fmt.Printf("%-21s %-48s %10s %22s %11s %7s  %s\n", name, what, ours, theirs, ratio, memory, bar)
		return
	}
	// The name is for -only: readers of a page have no use for it.
	fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", what, ours, theirs, ratio, memory, bar)
	if !t.begun {
		fmt.Println("|---|--:|--:|--:|--:|--:|")
	}
	t.begun = true
}

// load is how many processes wanted a processor in the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// command is one command to time.
type command struct {
	argv []string
	dir  string
	env  []string
	exit int
}

// spent is what a command took: on the wall, and of processors, with all its
// descendants.
type spent struct {
	wall, cpu time.Duration
	rss       int64 // bytes, of its largest process
}

func (c command) time() (took spent, err error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var out bytes.Buffer
	cmd.Stderr = &out
	begin := time.Now()
	err = cmd.Run()
	took.wall = time.Since(begin)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.exit {
		return took, fmt.Errorf("%s: %w\n%s", strings.Join(c.argv, " "), err, tail(out.Bytes(), 2000))
	}
	took.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		took.rss = usage.Maxrss << 10
	}
	return took, nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func show(w workload, d time.Duration) string {
	if w.bytes > 0 {
		return fmt.Sprintf("%.0f MB/s", float64(w.bytes)/1e6/d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1e3)
}

func showIf(ok bool, w workload, name string, d time.Duration) string {
	if !ok {
		return "-"
	}
	return name + " " + show(w, d)
}

// ratio is how many times faster we are.
func ratio(ok bool, a, b []time.Duration) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.1fx", median(b).Seconds()/median(a).Seconds())
}

func buildAct() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "fairlead-bench")
	bin := filepath.Join(dir, "act")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	fmt.Fprintln(os.Stderr, "bench: building act, once")
	cmd := exec.Command("go", "install", act)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build act: %v\n%s", err, out)
	}
	return bin, nil
}

// repository makes a git repository with the workload's files.
func repository(dir string, fill func(dir string) error) error {
	if err := os.MkdirAll(filepath.Join(dir, ".github", "workflows"), 0o755); err != nil {
		return err
	}
	if err := fill(dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"remote", "add", "origin", "https://github.com/example/bench.git"},
		{"add", "-A"},
		{"-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "-q", "-m", "bench"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return nil
}

// workflow writes a workflow file whose jobs part is given.
func workflow(jobs string) func(string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, ".github/workflows/ci.yml"), []byte("name: bench\non: push\njobs:\n"+jobs), 0o644)
	}
}

func job(id, extra string, steps ...string) string {
	s := "  " + id + ":\n    runs-on: ubuntu-latest\n" + extra + "    steps:\n"
	for _, step := range steps {
		s += "      - run: " + step + "\n"
	}
	return s
}

func repeat(n int, f func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(i))
	}
	return b.String()
}

func workloads(files string, mono monorepo) []workload {
	run := []string{"run", "--progress", "quiet"}
	list := []workload{
		{name: "t1", what: "1 trivial step", bar: "40 ms", peer: true, ours: run, make: workflow(job("a", "", `"true"`))},
		{name: "t50steps", what: "50 steps in one job", bar: "130 ms", peer: true, ours: run,
			make: workflow(job("a", "", slices.Repeat([]string{`"true"`}, 50)...))},
		{name: "t50jobs", what: "50 jobs of one step", bar: "350 ms", peer: true, ours: run,
			make: workflow(repeat(50, func(i int) string { return job(fmt.Sprint("j", i), "", `"true"`) }))},
		{name: "chain20", what: "a chain of 20 jobs", bar: "250 ms", peer: true, ours: run,
			make: workflow(repeat(20, func(i int) string {
				needs := ""
				if i > 0 {
					needs = fmt.Sprintf("    needs: j%d\n", i-1)
				}
				return job(fmt.Sprint("j", i), needs, `"true"`)
			}))},
		{name: "par8sleep2", what: "8 parallel jobs of sleep 2", bar: "2300 ms", peer: true, ours: run, runs: 3,
			make: workflow(repeat(8, func(i int) string { return job(fmt.Sprint("j", i), "", "sleep 2") }))},
		{name: "files20000", what: "20,000 files, whole command, one step", bar: "first step after 100 ms", ours: run,
			make: func(dir string) error {
				for i := range 20000 {
					d := filepath.Join(dir, "src", fmt.Sprintf("d%03d", i/100))
					if i%100 == 0 {
						if err := os.MkdirAll(d, 0o755); err != nil {
							return err
						}
					}
					if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("f%05d.txt", i)), bytes.Repeat([]byte(fmt.Sprintln(i)), 100), 0o644); err != nil {
						return err
					}
				}
				return workflow(job("a", "", `"true"`))(dir)
			}},
		{name: "log1g", what: "1 GB of log through a step", bar: "180 MB/s", ours: run, runs: 1, bytes: 1e9,
			make: workflow(job("a", "", `"yes 'time=2026-11-23T10:00:00Z level=info msg=handled path=/v1/items/42 ms=17 status=200' | head -c 1000000000"`))},
		{name: "plan10000", what: "10,000 planned jobs (memory)", bar: "200 MB", ours: []string{"run", "--dry-run", "--progress", "quiet"}, runs: 1,
			make: workflow(repeat(40, func(i int) string {
				cells := make([]string, 250)
				for k := range cells {
					cells[k] = fmt.Sprint(k)
				}
				return job(fmt.Sprint("j", i), "    strategy:\n      matrix:\n        n: ["+strings.Join(cells, ", ")+"]\n", `echo ${{ matrix.n }}`)
			}))},
	}
	list = append(list, workload{name: "mono-unchanged", what: fmt.Sprintf("%d packages × %d files, a job each, unchanged", mono.packages, mono.files),
		bar: "250 ms", ours: run, rival: []string{"ninja", "--quiet"}, warm: 1, make: mono.write})
	if real, _ := filepath.Glob(filepath.Join(files, "github", "*.y*ml")); len(real) > 0 {
		list = append(list, workload{name: "lint338", what: "lint of 338 real files", bar: "300 ms", ours: []string{"lint"}, exit: 3,
			make: func(dir string) error {
				for i := range 338 {
					body, err := os.ReadFile(real[i%len(real)])
					if err != nil {
						return err
					}
					if err := os.WriteFile(filepath.Join(dir, ".github/workflows", fmt.Sprintf("w%03d.yml", i)), body, 0o644); err != nil {
						return err
					}
				}
				return nil
			}})
	}
	return list
}
