package testrun

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Command is a process that is to be run.
type Command struct {
	Argv  []string
	Dir   string            // absolute
	Env   map[string]string // beside what this process has
	Path  []string          // directories in front of PATH
	Step  bool              // it is a step's: of this process's variables it has those that steps have
	Watch *trace.Spec       // not nil: what it reads is wanted
}

// Exec runs a command to its end on this machine, standard output and error joined.
// That it failed is no error; that it could not be started is.
type Exec func(ctx context.Context, c Command, out io.Writer) (executor.Result, error)

const (
	// maxListed is how many bytes the listing of tests may have.
	maxListed = 256 << 20
	// maxWalked is how many files of a tree are looked at for tests.
	maxWalked = 1_000_000
	// titled is what stands between the parts of a test's title.
	titled = " › "
	// insert stands in a command for the tests that it is to run, and number for the
	// number of the batch.
	insert, number = "{}", "{n}"
)

// Work is what there is to share out, and how its parts are run.
type Work struct {
	Runner suite.Runner
	Root   string   // absolute: what names of files are relative to, and where commands run
	Words  []string // the user's command
	Listed suite.Listing
	Items  []suite.Item
	Times  *Times
}

// Listing says which tests there are, by asking the runner, or by the names of files.
// Patterns limit what it looks at, in its own words: packages of Go, paths of pytest;
// of files, they are globs in which ** stands for directories. The error says why
// nothing could be listed.
func Listing(ctx context.Context, r suite.Runner, exec Exec, root string, tree fs.FS, patterns []string) (suite.Listing, error) {
	if len(r.List) == 0 {
		names, err := walk(tree, r, patterns)
		if err != nil {
			return suite.Listing{}, err
		}
		return r.Read([]byte(strings.Join(names, "\n")), root), nil
	}
	argv := slices.Clone(r.List)
	if len(patterns) > 0 {
		if r.Name == "go" {
			argv = argv[:len(argv)-1] // the patterns take the place of ./...
		}
		argv = append(argv, patterns...)
	}
	out := &bounded{left: maxListed}
	res, err := exec(ctx, Command{Argv: argv, Dir: root}, out)
	if err != nil {
		return suite.Listing{}, fmt.Errorf("list tests: %w", err)
	}
	l := r.Read(out.Bytes(), root)
	if out.cut {
		l.Problems = append(l.Problems, fmt.Sprintf("the listing is longer than %d bytes: the rest is left out", maxListed))
	}
	if len(l.Found) == 0 && res.Exit != 0 {
		return l, fmt.Errorf("list tests: `%s` ended with exit code %d: %s", strings.Join(argv, " "), res.Exit, lastLine(out.Bytes()))
	}
	return l, nil
}

// Packages takes the packages out of a command of go test: what is to be listed. What is
// no pattern of packages for certain (it begins with a dot, or holds ...) stays.
func Packages(words []string) (rest, patterns []string) {
	at := slices.Index(words, "test") + 1
	if at == 0 || slices.Contains(words, insert) {
		return words, nil
	}
	rest = slices.Clone(words[:at])
	for i, w := range words[at:] {
		if w == "-args" {
			return append(rest, words[at+i:]...), patterns
		}
		if w == "." || strings.HasPrefix(w, "./") || strings.HasPrefix(w, "../") || !strings.HasPrefix(w, "-") && strings.Contains(w, "...") {
			patterns = append(patterns, w)
			continue
		}
		rest = append(rest, w)
	}
	return rest, patterns
}

// walk lists the files that are tests by their names or by globs.
func walk(tree fs.FS, r suite.Runner, patterns []string) (names []string, err error) {
	if len(patterns) == 0 && len(r.Files) == 0 {
		return nil, fmt.Errorf("list tests: it is not said which files are tests: name them, as in 'test/**/*_test.sh'")
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("list tests: %q is no pattern: %w", p, err)
		}
	}
	seen := 0
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil // what may not be read holds no tests of ours
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		if seen++; seen > maxWalked {
			return fmt.Errorf("there are more than %d files", maxWalked)
		}
		if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return glob(p, name) }) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list tests: %w", err)
	}
	return names, nil
}

// glob reports whether a slash path is meant by a pattern, in which ** stands for any
// number of directories. A pattern that is a directory means all below it.
func glob(pattern, name string) bool {
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "./"), "/")
	return pattern == "." || globParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func globParts(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			rest := slices.Clone(pattern[1:])
			for len(rest) > 0 && rest[0] == "**" {
				rest = rest[1:]
			}
			for i := range len(name) + 1 {
				if globParts(rest, name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return true // what is left of the name is below what is meant
}

// bounded keeps the beginning of what is written.
type bounded struct {
	bytes.Buffer
	left int
	cut  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.cut = b.cut || n < len(p)
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// lastLine is the last line of an output that says something.
func lastLine(out []byte) string {
	out = bytes.TrimSpace(out)
	out = bytes.TrimSpace(out[bytes.LastIndexByte(out, '\n')+1:])
	if len(out) == 0 {
		return "it printed nothing"
	}
	return string(out[:min(len(out), 300)])
}

// Fill makes items of what was listed, with the times that are known.
func (w *Work) Fill(t *Times, shards int, cut bool) {
	w.Times = t
	w.Items = w.Listed.Items(t.Seconds)
	for i := range w.Items {
		w.Items[i].First, w.Items[i].Chance = t.failed[w.Items[i].Name], t.Chance(w.Items[i].Name, "")
	}
	if cut && w.Runner.Tests {
		found := make(map[string][]string, len(w.Listed.Found))
		for _, f := range w.Listed.Found {
			found[f.Name] = f.Tests
		}
		w.Items = suite.Cut(w.Items, shards, func(unit string) []suite.Item {
			tests := make([]suite.Item, len(found[unit]))
			for i, name := range found[unit] {
				tests[i] = suite.Item{Name: name, Seconds: t.Seconds(unit, name), Chance: t.Chance(unit, name)}
			}
			return tests
		})
	}
}

// Commands are the command lines that run some of the work, as the user wants it run:
// the tests stand where {} is, or at the end, and {n} is the number of the batch.
func (w *Work) Commands(items []suite.Item, batch int) [][]string {
	words := w.Words
	if len(words) == 0 {
		words = w.Runner.Run
	}
	words = slices.Clone(words)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], number, strconv.Itoa(batch))
	}
	var after []string
	if at := slices.Index(words, insert); at >= 0 {
		words, after = words[:at], words[at+1:]
	}
	lines := w.Runner.Commands(words, items, w.Root)
	for i := range lines {
		lines[i] = append(lines[i], after...)
	}
	return lines
}

// Times are how long the parts of the work took in the past. It is filled from
// reports of tests, or from what is known of them; the same past gives the same times
// everywhere.
type Times struct {
	Stray int // results of no part of the work: their times are of no use
	Known int // results of some part

	place  func(*record.TestResult) (unit, test string, ok bool)
	units  map[string]*mean
	tests  map[[2]string]*mean
	failed map[string]bool       // units, at the last report that has them
	sound  map[[2]string]float64 // the chance that tests pass, and, with test "", units
	order  suite.Order           // of units, learned from reports
}

// mean of what reports say.
type mean struct{ sum, n float64 }

func (m *mean) value() float64 {
	if m == nil || m.n == 0 {
		return 0
	}
	return max(m.sum/m.n, .001) // nought means that nothing is known
}

// NewTimes is made for what a runner has listed.
func NewTimes(r suite.Runner, l suite.Listing) *Times {
	return &Times{place: r.Place(l), units: map[string]*mean{}, tests: map[[2]string]*mean{}, failed: map[string]bool{}, sound: map[[2]string]float64{}}
}

// Seconds that a test of a unit usually takes, or, for test "", the unit; 0 when that
// is not known.
func (t *Times) Seconds(unit, test string) float64 {
	if test == "" {
		return t.units[unit].value()
	}
	return t.tests[[2]string{unit, test}].value()
}

// Chance is how likely a test of a unit is to fail, or, for test "", one of the unit's; 0
// when nothing is known.
func (t *Times) Chance(unit, test string) float64 {
	if sound, ok := t.sound[[2]string{unit, test}]; ok {
		return 1 - sound
	}
	if test != "" || len(t.order.Tests) == 0 {
		return 0
	}
	return t.order.Item(unit).Chance
}

// Report adds what a report says: read gives each of its results. It is that of a run after
// those of the reports before.
func (t *Times) Report(read func(each func(record.TestResult) error) error) error {
	units, err := t.report(read)
	var ran []suite.Ran
	for unit, seconds := range units {
		how := suite.Passed
		if t.failed[unit] {
			how = suite.Failed
		}
		ran = append(ran, suite.Ran{Test: unit, Outcome: how, Seconds: seconds})
	}
	slices.SortFunc(ran, func(a, b suite.Ran) int { return strings.Compare(a.Test, b.Test) })
	t.order.Learn(ran)
	return err
}

// report is Report without what is learned of failures. It returns the seconds of units.
func (t *Times) report(read func(each func(record.TestResult) error) error) (map[string]float64, error) {
	type took struct{ own, inner float64 }
	tests, bad := map[[2]string]*took{}, map[string]bool{}
	err := read(func(r record.TestResult) error {
		if r.Status == record.TestSkipped {
			return nil
		}
		unit, test, ok := t.place(&r)
		if !ok {
			t.Stray++
			return nil
		}
		t.Known++
		key := [2]string{unit, test}
		at := tests[key]
		if at == nil {
			at = &took{}
			tests[key] = at
		}
		// A test that holds others is told beside them, and takes their time.
		if seconds := max(r.Seconds, 0); len(r.Groups) == 0 {
			at.own += seconds
		} else {
			at.inner += seconds
		}
		bad[unit] = bad[unit] || r.Status == record.TestFailed || r.Status == record.TestError
		return nil
	})
	sums := map[string]float64{}
	for key, at := range tests {
		seconds := max(at.own, at.inner)
		sums[key[0]] += seconds
		add(t.tests, key, seconds)
	}
	for unit, seconds := range sums {
		add(t.units, unit, seconds)
		t.failed[unit] = bad[unit]
	}
	return sums, err
}

func add[K comparable](to map[K]*mean, key K, seconds float64) {
	m := to[key]
	if m == nil {
		m = &mean{}
		to[key] = m
	}
	m.sum += seconds
	m.n++
}

// Rows adds what is known of tests: how long each is expected to take, whether it
// failed lately, and how likely it is to fail. Of several variants of a test the slowest
// counts.
func (t *Times) Rows(rows []Known) {
	slowest := map[string]*Known{}
	for i := range rows {
		if r := &rows[i]; slowest[r.Key] == nil || r.Seconds > slowest[r.Key].Seconds {
			slowest[r.Key] = r
		}
	}
	_, _ = t.report(func(each func(record.TestResult) error) error { // which never fails
		for i := range rows {
			r := &rows[i]
			if slowest[r.Key] != r {
				continue
			}
			result := resultOf(&r.Row)
			result.Seconds, result.Status = r.Seconds, record.TestPassed
			if r.Early {
				result.Status = record.TestFailed
			}
			if unit, test, ok := t.place(&result); ok && r.Chance > 0 {
				for _, key := range [][2]string{{unit, test}, {unit, ""}} {
					was, known := t.sound[key]
					if !known {
						was = 1
					}
					t.sound[key] = was * (1 - r.Chance)
				}
			}
			if err := each(result); err != nil {
				return err
			}
		}
		return nil
	})
}

// resultOf is a test of which only the row is known, as a report names it: its title
// tells what it is in. A name that holds the sign between the parts is taken apart at it.
func resultOf(r *suite.Row) record.TestResult {
	parts := strings.Split(r.Title, titled)
	result := record.TestResult{Name: parts[len(parts)-1], File: r.File, Line: r.Line}
	if len(parts) > 1 {
		result.Suite, result.Groups = parts[0], parts[1:len(parts)-1]
	}
	return result
}

// Said is what a person should know of the work before it is shared out.
func (w *Work) Said() (lines []string) {
	for i, p := range w.Listed.Problems {
		if i == maxSaid {
			lines = append(lines, fmt.Sprintf("and %d more problems of the listing", len(w.Listed.Problems)-i))
			break
		}
		lines = append(lines, p)
	}
	if t := w.Times; t != nil && t.Stray > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d known times are of tests that are not here, or are named in another way: they do not count", t.Stray, t.Stray+t.Known))
	}
	return lines
}

// maxSaid is how many problems of a listing are told.
const maxSaid = 5

// rowsAtOnce is how many rows are asked for at once, and maxRows how many of a
// repository are read.
const rowsAtOnce, maxRows = 5_000, 500_000

// Known is what is known of a test that order and shares are made of.
type Known struct {
	suite.Row
	Chance float64 // that it fails and that counts
	Early  bool    // it failed when it last ran, or lately: it is worth to know soon
}

// orderRuns is of how many runs an order is learned, orderTests of how many tests at
// most, and orderAtOnce how many of them are read at once. In larger projects the tests that failed
// when they last ran come first.
const orderRuns, orderTests, orderAtOnce = 40, 20_000, 2_000

// Rows are what is known of all tests of a repository.
func Rows(ctx context.Context, l suite.Ledger, repository string) (all []Known, err error) {
	for len(all) < maxRows {
		rows, total, err := l.Tests(ctx, suite.Query{Repository: repository, Order: "title", Limit: rowsAtOnce, After: len(all)})
		if err != nil {
			return nil, fmt.Errorf("read what is known of the tests of %s: %w", repository, err)
		}
		for _, r := range rows {
			all = append(all, Known{Row: r, Early: !r.Failed.IsZero() && r.Failed.Equal(r.Last) && r.State != record.TestQuarantined})
		}
		if len(rows) == 0 || len(all) >= total {
			break
		}
	}
	if len(all) > orderTests {
		return all, nil
	}
	var order suite.Order
	name := func(k *Known) string { return k.Key + "\x00" + k.Variant }
	for some := range slices.Chunk(all, orderAtOnce) {
		ids, names := make([]suite.ID, len(some)), make([]string, len(some))
		for i := range some {
			ids[i], names[i] = some[i].ID, name(&some[i])
		}
		grid, err := l.Grid(ctx, ids, "", orderRuns)
		if err != nil {
			return nil, fmt.Errorf("read the results of the tests of %s: %w", repository, err)
		}
		for _, run := range suite.Runs(names, grid) {
			order.Learn(run)
		}
	}
	for i := range all {
		if k := &all[i]; k.State != record.TestQuarantined {
			item := order.Item(name(k))
			k.Chance, k.Early = item.Chance, k.Early || item.First
		}
	}
	return all, nil
}
