package suite

import (
	"cmp"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Many small tests, some of medium size, few large ones: that is the pyramid
// of tests. What a test is called, or where it lies, does not make it small.
// What it does makes it so, and that was seen.

// tooLong is how long a test may take that is not large.
const tooLong = 5 * time.Minute

// SizeOf is the size of what an observation is of, and what made it so: no
// other process and no socket is small; others of this machine are medium; to
// reach another machine, or more than five minutes, is large. Shells, language
// runtimes and build tools around a test do not count as other processes. A
// step that was not watched to its end has a size only when what was seen
// makes it large.
func SizeOf(o *record.Observation) (size Size, why string) {
	if o == nil || o.Mechanism == "" {
		return SizeUnknown, "nobody watched it"
	}
	size, why = Small, "no socket and no other process"
	for _, p := range o.Programs {
		if !companion(p) {
			size, why = Medium, "it started "+p
			break
		}
	}
	for _, peer := range o.Peers {
		switch {
		case distance(peer) != here:
			return Large, "it talked to " + peer
		case strings.HasPrefix(peer, "unix ") && !barred(o, record.BarSocket, peer):
			// Who users and groups are is asked of such a socket, and no more.
		case size == Small || strings.HasPrefix(why, "it started"):
			size, why = Medium, "it talked to "+peer
		}
	}
	switch {
	case o.Wall > tooLong:
		return Large, fmt.Sprintf("it took %s", o.Wall.Round(time.Second))
	case barred(o, record.BarLost, "") || barred(o, record.BarNotWatched, ""):
		return SizeUnknown, "it was not watched to its end"
	}
	return size, why
}

// barred reports whether an observation has a bar of a kind; with a detail,
// one that begins with it.
func barred(o *record.Observation, kind, detail string) bool {
	return slices.ContainsFunc(o.Barred, func(b record.Bar) bool { return b.Kind == kind && strings.HasPrefix(b.Detail, detail) })
}

// companion reports whether a program is one that tests are run with: a shell,
// a runtime, a build tool, or the test's own binary.
func companion(program string) bool {
	name := strings.TrimSuffix(path.Base(program), ".exe")
	switch name {
	case "sh", "bash", "dash", "zsh", "busybox", "env", "xargs", "time", "timeout", "nice", "sudo", "tee", "cat", "ls", "mkdir", "rm", "cp", "mv", "ln", "chmod",
		"dirname", "basename", "readlink", "realpath", "uname", "id", "which", "sed", "grep", "awk", "gawk", "mawk", "cut", "tr", "head", "tail", "sort", "date", "sleep",
		"go", "gotestsum", "compile", "link", "asm", "cgo", "cover", "vet", "buildid", "test2json",
		"gcc", "g++", "cc", "c++", "cc1", "cc1plus", "collect2", "as", "ld", "ld.lld", "lld", "clang", "clang++", "make", "gmake", "cmake", "ctest", "ninja", "meson", "ccache",
		"cargo", "rustc", "rustup", "rustdoc", "cargo-nextest", "node", "npm", "npx", "pnpm", "yarn", "bun", "deno", "tsc", "esbuild",
		"java", "javac", "mvn", "gradle", "gradlew", "mvnw", "sbt", "scala", "kotlinc", "jspawnhelper",
		"ruby", "bundle", "rake", "rspec", "php", "phpunit", "composer", "perl", "prove", "dotnet", "testhost", "vstest.console", "msbuild",
		"swift", "xctest", "dart", "flutter", "elixir", "mix", "erl", "beam.smp", "erl_child_setup", "ghc", "stack", "cabal", "lua", "R", "Rscript", "julia", "git":
		return true
	}
	for _, runtime := range []string{"python", "pypy", "pytest", "ruby", "php", "perl", "node", "java", "lua"} {
		if version, ok := strings.CutPrefix(name, runtime); ok && strings.Trim(version, "0123456789.-") == "" {
			return true
		}
	}
	for _, own := range []string{"/go-build", "/target/debug/deps/", "/target/release/deps/", "/node_modules/", "/venv/", "/.venv/", "/pkg/tool/", "/libexec/gcc", "/lib/gcc"} {
		if strings.Contains(program, own) {
			return true
		}
	}
	return strings.HasSuffix(name, ".test") || strings.HasSuffix(name, "_test")
}

func (s Size) String() string {
	switch s {
	case Small:
		return "small"
	case Medium:
		return "medium"
	case Large:
		return "large"
	}
	return "unknown"
}

// Budgets are how long a test of each size may take, in seconds; 0 stands for
// the usual: 1, 10 and 60.
type Budgets struct{ Small, Medium, Large float64 }

// Of is the budget of a size, 0 for none.
func (b Budgets) Of(s Size) float64 {
	switch s {
	case Small:
		return cmp.Or(b.Small, 1)
	case Medium:
		return cmp.Or(b.Medium, 10)
	case Large:
		return cmp.Or(b.Large, 60)
	}
	return 0
}

// Layer is what the tests of one size are together.
type Layer struct {
	Tests   int
	Seconds float64 // to run each once
	Chance  float64 // failures by chance to expect when each is run once
	Over    int     // tests that take longer than their budget
}

// Pyramid is a project's tests by what they do and how they behave. Its lists
// are the worst, as many as were asked for; the numbers are of all.
type Pyramid struct {
	Layers      [Large + 1]Layer // by Size
	Slowest     []Row
	Over        []Row // by how many times longer than its budget it takes
	NeverFailed int   // in so many runs that a useful test might have
	Idle        []Row // that never failed, the slowest first: what they cost may be saved
	NeverRan    []Row // skipped whenever they came
}

// enoughRuns is how many results a test has that is said never to fail.
const enoughRuns = 200

// Stack folds the tests of a project into its pyramid; the lists hold at most
// limit tests.
func Stack(rows iter.Seq[Row], budgets Budgets, limit int) Pyramid {
	var p Pyramid
	slowest := worst{limit: limit, by: func(r *Row) float64 { return r.Seconds }}
	idle := worst{limit: limit, by: slowest.by}
	over := worst{limit: limit, by: func(r *Row) float64 { return r.Seconds / budgets.Of(r.Size) }}
	asleep := worst{limit: limit, by: func(r *Row) float64 { return float64(r.Last.Unix()) }}
	for r := range rows {
		size := r.Size
		if size > Large {
			size = SizeUnknown
		}
		l := &p.Layers[size]
		l.Tests++
		l.Seconds += r.Seconds
		l.Chance += r.Rate
		slowest.add(r)
		if b := budgets.Of(size); b > 0 && r.Seconds > b {
			l.Over++
			over.add(r)
		}
		switch {
		case r.Runs == 0:
			asleep.add(r)
		case r.Runs >= enoughRuns && r.Failures == 0:
			p.NeverFailed++
			idle.add(r)
		}
	}
	p.Slowest, p.Over, p.Idle, p.NeverRan = slowest.list(), over.list(), idle.list(), asleep.list()
	return p
}

// Shape says in words what the tests look like, by their numbers.
func (p *Pyramid) Shape() string {
	small, medium, large := p.Layers[Small].Tests, p.Layers[Medium].Tests, p.Layers[Large].Tests
	known := small + medium + large
	switch {
	case known == 0 || known < p.Layers[SizeUnknown].Tests:
		return "not known: most tests were not watched"
	case small >= medium && medium >= large:
		return "a pyramid: many small tests, few large ones"
	case large >= medium && medium >= small:
		return "a cone on its tip: many large tests, few small ones"
	case medium < small && medium < large:
		return "an hourglass: small tests and large ones, few between"
	}
	return "a barrel: most tests are of medium size"
}

// Dormant reports whether a test was skipped in each of the newest n results;
// of fewer nothing is said.
func Dormant(newest []Result, n int) bool {
	return n > 0 && len(newest) >= n && !slices.ContainsFunc(newest[:n], func(r Result) bool { return r.Outcome != Skipped })
}

// worst keeps the rows with the largest measure, in no more room than twice
// what is asked for.
type worst struct {
	limit int
	by    func(*Row) float64
	rows  []Row
}

func (w *worst) add(r Row) {
	w.rows = append(w.rows, r)
	if len(w.rows) > 2*w.limit+8 {
		w.list()
	}
}

func (w *worst) list() []Row {
	slices.SortStableFunc(w.rows, func(a, b Row) int { return cmp.Or(cmp.Compare(w.by(&b), w.by(&a)), byID(a.ID, b.ID)) })
	w.rows = w.rows[:min(len(w.rows), max(w.limit, 0))]
	return w.rows
}
