package harvest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
)

// amount is a count in JSON as tools write it: a number, now and then one with
// a fraction or in quotes; null, and what is none, is no count.
type amount struct {
	n  int64
	ok bool
}

func (t *amount) UnmarshalJSON(b []byte) error {
	t.n, t.ok = wholeOK(bytes.Trim(b, `"`))
	return nil
}

func isIstanbul(s *sniff) bool { return s.key("statementMap") }

// istanbulFile is what Istanbul says of one file: where its statements,
// functions and branches are, and how often each was run.
type istanbulFile struct {
	Path         string                    `json:"path"`
	Data         *istanbulFile             `json:"data"`
	StatementMap map[string]istanbulPlace  `json:"statementMap"`
	FnMap        map[string]istanbulPlace  `json:"fnMap"`
	BranchMap    map[string]istanbulBranch `json:"branchMap"`
	S            map[string]amount         `json:"s"`
	F            map[string]amount         `json:"f"`
	B            map[string][]amount       `json:"b"`
}

type istanbulPlace struct {
	Start istanbulPoint  `json:"start"`
	Loc   *istanbulPlace `json:"loc"`
	Skip  bool           `json:"skip"`
}

type istanbulPoint struct {
	Line amount `json:"line"`
}

type istanbulBranch struct {
	Loc       istanbulPlace   `json:"loc"`
	Locations []istanbulPlace `json:"locations"`
	Skip      bool            `json:"skip"`
}

// readIstanbul reads coverage-final.json: an object with a file under each
// key. A line holds code where a statement, a function or a branch begins, and
// has the largest count of those; it is partial if it was run and a branch
// that begins on it was not taken.
func readIstanbul(c *covering) error {
	j := c.json()
	return j.object(func(key string) error {
		var f istanbulFile
		odd, err := j.value(&f)
		if err != nil {
			return err
		}
		if odd != "" {
			c.warn(j.at(), "%s: %s", clip(key, 200), odd)
		}
		if f.Data != nil {
			f = *f.Data
		}
		return c.add(cmp.Or(f.Path, key), f.lines())
	})
}

func (f *istanbulFile) lines() []coverage.Line {
	counts, branches := map[int64]int64{}, map[int64]lcovBranches{}
	see := func(p istanbulPlace, n amount) bool {
		if p.Loc != nil {
			p = *p.Loc
		}
		if line := p.Start.Line; line.ok && !p.Skip {
			counts[line.n] = max(counts[line.n], n.n)
			return true
		}
		return false
	}
	for id, s := range f.StatementMap {
		see(s, f.S[id])
	}
	for id, fn := range f.FnMap {
		if !fn.Skip {
			see(fn, f.F[id])
		}
	}
	for id, b := range f.BranchMap {
		if b.Skip {
			continue
		}
		for i, place := range b.Locations {
			var n amount
			if i < len(f.B[id]) {
				n = f.B[id][i]
			}
			if !place.Start.Line.ok && !place.Skip {
				place = b.Loc // an else that is not written has no place
			}
			if see(place, n) {
				sum := branches[place.Start.Line.n]
				sum.count++
				if n.n > 0 {
					sum.taken++
				}
				branches[place.Start.Line.n] = sum
			}
		}
	}
	lines := make([]coverage.Line, 0, len(counts))
	for n, hits := range counts {
		b := branches[n]
		lines = append(lines, counted(n, hits, b.taken, b.count))
	}
	return lines
}

// counted is [coverage.Counted] for a number that came from outside: one that
// is none gives a line that the report leaves out.
func counted(number, hits int64, taken, branches int) coverage.Line {
	if number < 1 || number > coverage.MaxLine {
		number = 0
	}
	return coverage.Counted(int(number), hits, taken, branches)
}

func isCoveragePy(s *sniff) bool {
	return s.key("executed_lines") || s.key("meta", "branch_coverage") || s.key("meta", "show_contexts")
}

// readCoveragePy reads the JSON of coverage.py. A line from which a jump was
// not taken is partial.
func readCoveragePy(c *covering) error {
	j := c.json()
	return j.object(func(key string) error {
		if key != "files" {
			return j.skip()
		}
		return j.object(func(name string) error {
			var f struct {
				Executed []amount    `json:"executed_lines"`
				Missing  []amount    `json:"missing_lines"`
				Taken    [][2]amount `json:"executed_branches"`
				Not      [][2]amount `json:"missing_branches"`
			}
			odd, err := j.value(&f)
			if err != nil {
				return err
			}
			if odd != "" {
				c.warn(j.at(), "%s: %s", clip(name, 200), odd)
			}
			branches := map[int64]lcovBranches{}
			for i, jumps := range [][][2]amount{f.Taken, f.Not} {
				for _, jump := range jumps {
					b := branches[jump[0].n]
					b.count++
					b.taken += 1 - i
					branches[jump[0].n] = b
				}
			}
			var lines []coverage.Line
			for _, n := range f.Executed {
				b := branches[n.n]
				lines = append(lines, counted(n.n, 1, b.taken, b.count))
			}
			for _, n := range f.Missing {
				lines = append(lines, counted(n.n, 0, 0, branches[n.n].count))
			}
			return c.add(name, lines)
		})
	})
}

func isLLVM(s *sniff) bool {
	return s.key("data", "files") && (s.key("segments") || s.key("branches") || s.key("expansions"))
}

// readLLVM reads what llvm-cov exports. A file is cut into segments: from the
// place where one begins, the code was run so often, until the next begins.
func readLLVM(c *covering) error {
	j := c.json()
	return j.object(func(key string) error {
		if key != "data" {
			return j.skip()
		}
		return j.array(func() error {
			return j.object(func(key string) error {
				if key != "files" {
					return j.skip()
				}
				return j.array(func() error {
					var f struct {
						Filename string
						Segments []llvmSegment
						Branches [][]amount
					}
					odd, err := j.value(&f)
					if err != nil {
						return err
					}
					if odd != "" {
						c.warn(j.at(), "%s: %s", clip(f.Filename, 200), odd)
					}
					return c.add(f.Filename, c.llvmLines(f.Segments, f.Branches))
				})
			})
		})
	})
}

// llvmSegment is [line, column, count, has a count, begins a region, is a gap].
type llvmSegment struct {
	line, count         int64
	counts, enters, gap bool
}

func (s *llvmSegment) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	truth := func(i int) bool { return i < len(parts) && (string(parts[i]) == "true" || string(parts[i]) == "1") }
	if len(parts) > 2 {
		s.line, s.count = whole(string(parts[0])), whole(string(parts[2]))
	}
	s.counts, s.enters, s.gap = truth(3), truth(4), truth(5)
	return nil
}

// llvmLines are the lines that segments cover, with the counts that llvm-cov
// itself shows: the largest of the regions that begin on a line, or of the one
// that goes on over it.
func (c *covering) llvmLines(segments []llvmSegment, branches [][]amount) []coverage.Line {
	at := map[int64]lcovBranches{}
	for _, b := range branches {
		if len(b) > 5 {
			sum := at[b[0].n]
			for _, n := range b[4:6] {
				sum.count++
				if n.n > 0 {
					sum.taken++
				}
			}
			at[b[0].n] = sum
		}
	}
	var lines []coverage.Line
	var over llvmSegment // the one that goes on from lines before
	for i := 0; i < len(segments); {
		number := segments[i].line
		entered, hits, mapped := false, int64(0), over.counts
		if mapped {
			hits = over.count
		}
		skipped := segments[i].enters && !segments[i].counts
		for ; i < len(segments) && segments[i].line == number; i++ {
			s := segments[i]
			if s.enters && s.counts && !s.gap {
				hits, entered = max(hits, s.count), true
			}
			over = s
		}
		if entered || mapped && !skipped {
			lines = append(lines, counted(number, hits, at[number].taken, at[number].count))
		}
		// The lines until the next segment are all of the last one.
		if i < len(segments) && over.counts && segments[i].line > number+1 {
			lines = c.span(lines, 0, number+1, segments[i].line-1, coverage.Counted(0, over.count, 0, 0))
		}
	}
	return lines
}

func isGcovJSON(s *sniff) bool {
	return s.key("gcovr/format_version") || s.key("gcc_version") || s.key("files", "line_number")
}

// readGcovJSON reads the JSON of gcov, and that of gcovr, which is made of it.
func readGcovJSON(c *covering) error {
	j := c.json()
	return j.object(func(key string) error {
		if key != "files" {
			return j.skip()
		}
		return j.array(func() error {
			var f struct {
				File     string
				Filename string
				Lines    []struct {
					Number   amount `json:"line_number"`
					Count    amount
					Part     bool `json:"unexecuted_block"`
					Noncode  bool `json:"gcovr/noncode"`
					Excluded bool `json:"gcovr/excluded"`
					Branches []struct {
						Count amount
						Throw bool
					}
				}
			}
			odd, err := j.value(&f)
			if err != nil {
				return err
			}
			if odd != "" {
				c.warn(j.at(), "%s: %s", clip(f.File, 200), odd)
			}
			lines := make([]coverage.Line, 0, len(f.Lines))
			for _, l := range f.Lines {
				taken, branches := 0, 0
				for _, b := range l.Branches {
					if b.Throw {
						continue
					}
					branches++
					if b.Count.n > 0 {
						taken++
					}
				}
				if l.Noncode || l.Excluded {
					continue
				}
				line := counted(l.Number.n, l.Count.n, taken, branches)
				if l.Part && line.State == coverage.Hit {
					line.State = coverage.Partial
				}
				lines = append(lines, line)
			}
			return c.add(cmp.Or(f.File, f.Filename), lines)
		})
	})
}

func isCoveralls(s *sniff) bool { return s.key("source_files") }

// readCoveralls reads what is sent to Coveralls: for each file the counts of
// its lines, null where there is no code, and its branches in fours: line,
// block, branch, count.
func readCoveralls(c *covering) error {
	j := c.json()
	return j.object(func(key string) error {
		if key != "source_files" {
			return j.skip()
		}
		return j.array(func() error {
			var f struct {
				Name     string
				Coverage []amount
				Branches []amount
			}
			odd, err := j.value(&f)
			if err != nil {
				return err
			}
			if odd != "" {
				c.warn(j.at(), "%s: %s", clip(f.Name, 200), odd)
			}
			branches := map[int64]lcovBranches{}
			for b := range slices.Chunk(f.Branches, 4) {
				if len(b) == 4 {
					sum := branches[b[0].n]
					sum.count++
					if b[3].n > 0 {
						sum.taken++
					}
					branches[b[0].n] = sum
				}
			}
			return c.add(f.Name, listed(f.Coverage, 1, branches))
		})
	})
}

// listed are the lines of a list of counts, of which the first is that of the
// line first.
func listed(counts []amount, first int, branches map[int64]lcovBranches) []coverage.Line {
	var lines []coverage.Line
	for i, n := range counts {
		if n.ok {
			b := branches[int64(i+first)]
			lines = append(lines, counted(int64(i+first), n.n, b.taken, b.count))
		}
	}
	return lines
}

func isSimpleCov(s *sniff) bool {
	return s.key("coverage") || s.key("covered_percent") || s.key("files", "covered_strength")
}

// readSimpleCov reads SimpleCov's result sets (suites, each with a coverage),
// the coverage.json of its JSON formatter, old and new, and Codecov's own
// JSON, which looks like the latter.
//
//	{"RSpec": {"coverage": {"/app/a.rb": {"lines": [1, null, 0], "branches": …}}}}
//	{"coverage": {"/app/a.rb": [1, null, 0]}}
func readSimpleCov(c *covering) error {
	j := c.json()
	meta := false
	return j.object(func(key string) error {
		switch key {
		case "meta":
			meta = true
			return j.skip()
		case "coverage":
			return c.simpleCovFiles(j, !meta)
		case "files":
			return j.array(func() error {
				var f struct {
					Filename string
					Coverage json.RawMessage
				}
				if _, err := j.value(&f); err != nil {
					return err
				}
				return c.simpleCovFile(j, f.Filename, f.Coverage, false)
			})
		}
		return j.object(func(key string) error {
			if key != "coverage" {
				return j.skip()
			}
			return c.simpleCovFiles(j, false)
		})
	})
}

// simpleCovFiles reads an object with a file under each key.
func (c *covering) simpleCovFiles(j *jsonStream, codecov bool) error {
	return j.object(func(name string) error {
		var raw json.RawMessage
		if _, err := j.value(&raw); err != nil {
			return err
		}
		return c.simpleCovFile(j, name, raw, codecov)
	})
}

// simpleCovFile reads a list of counts, or an object with "lines" and
// "branches", or one with a count under each line's number. In Codecov's list
// the first entry is of no line.
func (c *covering) simpleCovFile(j *jsonStream, name string, raw json.RawMessage, codecov bool) error {
	if len(raw) > 0 && raw[0] == '[' {
		var counts []amount
		if err := json.Unmarshal(raw, &counts); err != nil {
			c.warn(j.at(), "%s: %v", clip(name, 200), err)
		}
		first := 1
		if codecov {
			first = 0
		}
		return c.add(name, listed(counts, first, nil))
	}
	var f map[string]json.RawMessage
	if err := json.Unmarshal(raw, &f); err != nil {
		c.warn(j.at(), "%s: %v", clip(name, 200), err)
		return nil
	}
	if f["lines"] != nil {
		var counts []amount
		if err := json.Unmarshal(f["lines"], &counts); err != nil {
			c.warn(j.at(), "%s: %v", clip(name, 200), err)
		}
		return c.add(name, listed(counts, 1, simpleCovBranches(f["branches"])))
	}
	lines := make([]coverage.Line, 0, len(f))
	for _, number := range slices.Sorted(maps.Keys(f)) {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			continue
		}
		count := strings.Trim(string(f[number]), `"`)
		a, b, pair := strings.Cut(count, "/")
		hits, ok := wholeOK(a)
		switch {
		case !ok: // null
		case pair:
			branches := int(min(max(whole(b), 0), math.MaxUint16))
			lines = append(lines, counted(n, hits, int(min(hits, math.MaxUint16)), branches))
		default:
			lines = append(lines, counted(n, hits, 0, 0))
		}
	}
	return c.add(name, lines)
}

// simpleCovBranches reads {"[:if, 0, 12, 4, 14, 7]": {"[:then, …]": 1, …}}, in
// which the third of the numbers is the line, and the list of its JSON
// formatter.
func simpleCovBranches(raw json.RawMessage) map[int64]lcovBranches {
	sums := map[int64]lcovBranches{}
	add := func(line, n amount) {
		b := sums[line.n]
		b.count++
		if n.n > 0 {
			b.taken++
		}
		sums[line.n] = b
	}
	var conditions map[string]map[string]amount
	if json.Unmarshal(raw, &conditions) == nil {
		for place, arms := range conditions {
			fields := strings.Split(strings.Trim(place, "[]"), ",")
			if len(fields) < 3 {
				continue
			}
			line, ok := wholeOK(strings.TrimSpace(fields[2]))
			for _, n := range arms {
				add(amount{line, ok}, n)
			}
		}
		return sums
	}
	var list []struct {
		Line   amount `json:"report_line"`
		Start  amount `json:"start_line"`
		Count  amount `json:"coverage"`
		Inline bool
	}
	if json.Unmarshal(raw, &list) == nil {
		for _, b := range list {
			if !b.Line.ok {
				b.Line = b.Start
			}
			add(b.Line, b.Count)
		}
	}
	return sums
}
