package harvest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
)

// whole reads a whole number as tools write it: "12", "1e+20", "-1", "1.0".
// What is none is 0; what is too large is the largest.
func whole(s string) int64 {
	n, _ := wholeOK(s)
	return n
}

// wholeOK is whole, and whether it was one.
func wholeOK[T string | []byte](s T) (int64, bool) {
	if n, ok := decimal(s); ok {
		return n, true
	}
	f, err := strconv.ParseFloat(string(bytes.TrimSpace([]byte(s))), 64)
	switch {
	case math.IsNaN(f) || err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, false
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	case f <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(f), true
}

// decimal reads what nearly every number of a report is.
func decimal[T string | []byte](s T) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

func isGoCover(s *sniff) bool {
	first := s.beginning(1)
	if len(first) == 0 {
		return false
	}
	if mode, ok := strings.CutPrefix(first[0], "mode: "); ok {
		return slices.Contains([]string{"set", "count", "atomic"}, strings.TrimSpace(mode))
	}
	_, _, ok := goBlock([]byte(first[0]))
	return ok
}

// block is a stretch of Go code without a branch in it.
type block struct {
	line, column, endLine, endColumn int32
}

// goBlock reads "a.go:1.2,3.4 5 6": file, where the block begins and ends, how
// many statements are in it, how often it was run.
func goBlock(s []byte) (file []byte, b goBlockRun, ok bool) {
	i := bytes.LastIndexByte(s, ':')
	if i < 1 {
		return nil, b, false
	}
	file, s = s[:i], s[i+1:]
	var n [6]int64
	for i, end := range []byte{'.', ',', '.', ' ', ' ', 0} {
		field := s
		if end != 0 {
			at := bytes.IndexByte(s, end)
			if at < 0 {
				return nil, b, false
			}
			field, s = s[:at], s[at+1:]
		}
		if n[i], ok = decimal(field); !ok || i < 4 && n[i] > coverage.MaxLine {
			return nil, b, false
		}
	}
	b.block = block{int32(n[0]), int32(n[1]), int32(n[2]), int32(n[3])}
	b.runs = int32(min(n[5], math.MaxInt32))
	return file, b, true
}

// goBlockRun is a block and how often it was run.
type goBlockRun struct {
	block
	runs int32
}

// readGoCover reads what go test -coverprofile writes, and several of them put
// together, in which the same block comes more than once. A line is of all the
// blocks that touch it, except for the one that only closes on it with a
// bracket in the first column; if some of those were run and some were not, it
// is partial.
func readGoCover(c *covering) error {
	files := map[string]map[block]int32{}
	var of map[block]int32
	var last []byte
	blocks := 0
	for {
		line, err := c.line()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.salvage(err.Error())
			}
			break
		}
		if line = bytes.TrimSpace(line); len(line) == 0 || bytes.HasPrefix(line, []byte("mode: ")) {
			continue
		}
		file, b, ok := goBlock(line)
		if !ok || b.endLine < b.line {
			if !bytes.HasSuffix(line, []byte("%")) { // go tool cover -func
				c.warn(c.number, "it is no block: %.100q", line)
			}
			continue
		}
		if of == nil || !bytes.Equal(file, last) {
			if of = files[string(file)]; of == nil {
				of = map[block]int32{}
				files[string(file)] = of
			}
			last = append(last[:0], file...)
		}
		was, known := of[b.block]
		if !known {
			if blocks++; blocks > coverage.MaxLines {
				c.salvage("it has more blocks than are kept")
				break
			}
		}
		if !known || b.runs > was {
			of[b.block] = b.runs
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := c.add(name, c.goLines(files[name])); err != nil {
			return err
		}
	}
	return nil
}

// goLines are the lines of a file's blocks.
func (c *covering) goLines(blocks map[block]int32) []coverage.Line {
	var run, not []coverage.Line
	for b, n := range blocks {
		end := b.endLine
		if b.endColumn <= 2 && end > b.line {
			end--
		}
		l := coverage.Counted(0, int64(n), 0, 0)
		if n > 0 {
			run = c.span(run, 0, int64(b.line), int64(end), l)
		} else {
			not = c.span(not, 0, int64(b.line), int64(end), l)
		}
	}
	missed := map[int32]bool{}
	for _, l := range not {
		missed[l.Number] = true
	}
	for i := range run {
		if missed[run[i].Number] {
			run[i].State = coverage.Partial
		}
	}
	// All that were run on a line agree on its state now.
	return append(run, not...)
}

func isLcov(s *sniff) bool {
	return slices.ContainsFunc(s.beginning(100), func(l string) bool {
		return strings.HasPrefix(strings.TrimLeft(l, " \t"), "SF:")
	})
}

// lcovBranches counts the branches of a line.
type lcovBranches struct {
	line         int32
	taken, count int
}

// readLcov reads a tracefile: records of one file each, from SF to
// end_of_record.
//
//	SF:src/a.c
//	DA:12,3             line 12 was run three times
//	BRDA:12,0,1,-       a branch at line 12: taken so often, "-" for never reached
//	end_of_record
//
// What else there is (test names, functions, sums) says nothing of lines.
func readLcov(c *covering) error {
	var file string
	var lines []coverage.Line
	var branches []lcovBranches
	flush := func() error {
		if file == "" {
			lines, branches = lines[:0], branches[:0]
			return nil
		}
		// The report keeps the slice; this one is used again.
		err := c.add(file, slices.Clone(lcovLines(lines, branches)))
		file, lines, branches = "", lines[:0], branches[:0]
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			open := file != "" && len(lines) > 0
			if ferr := flush(); ferr != nil {
				return ferr
			}
			switch {
			case !errors.Is(err, io.EOF):
				return err
			case open:
				c.warn(c.number, "it ends in the middle of a record")
			}
			return nil
		}
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			line = bytes.TrimSpace(line)
		}
		switch {
		case bytes.HasPrefix(line, []byte("DA:")):
			number, rest, _ := bytes.Cut(line[3:], []byte{','})
			count, _, _ := bytes.Cut(rest, []byte{','})
			n, ok := wholeOK(number)
			hits, okHits := wholeOK(count)
			if !ok || !okHits || n < 0 || n > coverage.MaxLine {
				c.warn(c.number, "it is no count of a line: %.100q", line)
				continue
			}
			// A negative count is one that overflowed while tests ran beside
			// each other: the tool that made it calls it an error.
			if hits < 0 {
				c.warn(c.number, "the count is negative, which is taken for 0: %.100q", line)
			}
			lines = append(lines, coverage.Line{Number: int32(n), Hits: int32(min(max(hits, 0), math.MaxInt32)), State: coverage.Miss})
		case bytes.HasPrefix(line, []byte("BRDA:")):
			number, rest, _ := bytes.Cut(line[5:], []byte{','})
			n, ok := decimal(number)
			taken := rest[bytes.LastIndexByte(rest, ',')+1:]
			times, okTimes := wholeOK(taken)
			if !ok || n > coverage.MaxLine || bytes.Count(rest, []byte{','}) < 2 || !okTimes && string(taken) != "-" {
				c.warn(c.number, "it is no branch: %.100q", line)
				continue
			}
			if rest[0] == 'e' {
				continue // an exception's way out, which every call in C++ has
			}
			if len(branches) == 0 || branches[len(branches)-1].line != int32(n) {
				branches = append(branches, lcovBranches{line: int32(n)})
			}
			b := &branches[len(branches)-1]
			b.count++
			if times > 0 {
				b.taken++
			}
		case bytes.HasPrefix(line, []byte("SF:")):
			if err := flush(); err != nil {
				return err
			}
			file = string(bytes.TrimSpace(line[3:]))
		case bytes.Equal(line, []byte("end_of_record")):
			if err := flush(); err != nil {
				return err
			}
		}
		if len(lines) > coverage.MaxLines {
			return coverage.ErrFull
		}
	}
}

// lcovLines joins the counts of lines with those of branches; lines of which
// only branches are known are lines too.
func lcovLines(lines []coverage.Line, branches []lcovBranches) []coverage.Line {
	if len(branches) == 0 {
		for i, l := range lines {
			lines[i] = coverage.Counted(int(l.Number), int64(l.Hits), 0, 0)
		}
		return lines
	}
	at := make(map[int32]lcovBranches, len(branches))
	for _, b := range branches {
		sum := at[b.line]
		at[b.line] = lcovBranches{b.line, sum.taken + b.taken, sum.count + b.count}
	}
	for i, l := range lines {
		b := at[l.Number]
		lines[i] = coverage.Counted(int(l.Number), int64(l.Hits), b.taken, b.count)
	}
	for _, l := range lines {
		delete(at, l.Number)
	}
	for n, b := range at {
		lines = append(lines, coverage.Counted(int(n), 0, b.taken, b.count))
	}
	return lines
}

func isGcov(s *sniff) bool {
	for _, l := range s.beginning(1) {
		_, number, rest, ok := gcovLine([]byte(l))
		return ok && number == 0 && bytes.HasPrefix(rest, []byte("Source:"))
	}
	return false
}

// gcovLine reads "count:number:text".
func gcovLine(s []byte) (count []byte, number int64, text []byte, ok bool) {
	count, rest, ok1 := bytes.Cut(s, []byte{':'})
	field, text, ok2 := bytes.Cut(rest, []byte{':'})
	number, ok3 := decimal(bytes.TrimSpace(field))
	return bytes.TrimSpace(count), number, text, ok1 && ok2 && ok3 && number <= coverage.MaxLine
}

// readGcov reads what gcov writes: the source with counts before each line,
// and after it, if asked for, its branches.
//
//	    #####:    5:    return a;
//	branch  0 taken 1 (fallthrough)
//
// "-" is no code, "#####" and "=====" are code that was not run, and "*"
// behind a count says that a part of the line was not. Lines that lcov or gcovr
// are told to leave out are left out; so are the ways that exceptions take out
// of a line, which every call in C++ has.
func readGcov(c *covering) error {
	var file string
	var lines []coverage.Line
	var excluded exclusion
	out := false // the last line was left out
	for {
		line, err := c.line()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.salvage(err.Error())
			}
			return c.add(file, lines)
		}
		if rest, ok := bytes.CutPrefix(line, []byte("branch ")); ok {
			if len(lines) == 0 || out || bytes.Contains(rest, []byte("(throw)")) {
				continue
			}
			l := &lines[len(lines)-1]
			taken := int(l.Taken)
			if _, how, ok := bytes.Cut(rest, []byte(" taken ")); ok && len(how) > 0 && !bytes.HasPrefix(how, []byte("0")) {
				taken++
			}
			*l = coverage.Counted(int(l.Number), int64(l.Hits), taken, int(l.Branches)+1)
			continue
		}
		count, number, text, ok := gcovLine(line)
		if !ok {
			continue // calls, functions, what gcov says between them
		}
		if number == 0 {
			if name, ok := bytes.CutPrefix(text, []byte("Source:")); ok {
				if err := c.add(file, lines); err != nil {
					return err
				}
				file, lines, excluded = string(name), nil, false
			}
			continue
		}
		if out = excluded.line(text); out {
			continue
		}
		l := coverage.Line{}
		switch number := int(number); {
		case string(count) == "-":
			continue
		case bytes.HasPrefix(count, []byte("#")), bytes.HasPrefix(count, []byte("=")):
			l = coverage.Counted(number, 0, 0, 0)
		default:
			part, some := bytes.CutSuffix(count, []byte("*"))
			l = coverage.Counted(number, gcovCount(part), 0, 0)
			if some && l.State == coverage.Hit {
				l.State = coverage.Partial
			}
		}
		if len(lines) >= coverage.MaxLines {
			return coverage.ErrFull
		}
		lines = append(lines, l)
	}
}

// exclusion says whether the lines that come are to be left out.
type exclusion bool

// line says whether a line is to be left out. Those that begin and end an
// exclusion are.
func (x *exclusion) line(text []byte) bool {
	_, mark, ok := bytes.Cut(text, []byte("COV_EXCL_"))
	if !ok {
		if _, mark, ok = bytes.Cut(text, []byte("COVR_EXCL_")); !ok {
			return bool(*x)
		}
	}
	switch {
	case bytes.HasPrefix(mark, []byte("START")):
		*x = true
	case bytes.HasPrefix(mark, []byte("STOP")), bytes.HasPrefix(mark, []byte("END")):
		*x = false
	default:
		return bool(*x) || bytes.HasPrefix(mark, []byte("LINE"))
	}
	return true
}

// gcovCount reads "12", or "1.2k" as gcov -H prints it.
func gcovCount(s []byte) int64 {
	unit := 1.0
	if n := len(s); n > 0 {
		if i := bytes.IndexByte([]byte("kMGTPEZY"), s[n-1]); i >= 0 {
			s, unit = s[:n-1], math.Pow(1000, float64(i+1))
		}
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || math.IsNaN(f) {
		return 0
	}
	return int64(min(f*unit, math.MaxInt32))
}

func isLuacov(s *sniff) bool {
	l := s.beginning(3)
	return len(l) == 3 && luacovRule([]byte(l[0])) && luacovRule([]byte(l[2]))
}

// luacovRule says whether a line is the one above and below a file's name.
func luacovRule(s []byte) bool { return len(s) > 20 && len(bytes.Trim(s, "=")) == 0 }

// readLuacov reads LuaCov's default report: each file's name between two
// rules, then its text with the counts before it, "**0" for none; at the end a
// summary.
func readLuacov(c *covering) error {
	var file string
	var lines []coverage.Line
	number, width := 0, 0
	var before []byte // the line before this one, when it may be a file's name
	rules := 0        // how many rules were seen of a head
	for {
		line, err := c.line()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.salvage(err.Error())
			}
			return c.add(file, lines)
		}
		switch {
		case luacovRule(line) && rules == 0:
			rules = 1
			continue
		case luacovRule(line) && rules == 1:
			if err := c.add(file, lines); err != nil {
				return err
			}
			file, lines, number, rules = string(before), nil, 0, 0
			if file == "Summary" {
				return nil
			}
			continue
		case rules == 1:
			before = bytes.Clone(line)
			continue
		}
		number++
		field := bytes.TrimLeft(line, " ")
		indent := len(line) - len(field)
		end := bytes.IndexByte(field, ' ')
		if end < 0 {
			end = len(field)
		}
		n, ok := decimal(bytes.TrimLeft(field[:end], "*"))
		// All counts of a report end in the same column; a number further in
		// is of the code.
		if !ok || width > 0 && indent+end != width || number > coverage.MaxLine || len(lines) >= coverage.MaxLines {
			continue
		}
		width = indent + end
		lines = append(lines, coverage.Counted(number, n, 0, 0))
	}
}
