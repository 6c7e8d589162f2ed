package harvest

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
)

func isCobertura(s *sniff) bool {
	return s.root == "coverage" && ((s.attr("line-rate") != "" || s.attr("lines-valid") != "" || s.attr("branch-rate") != "") || s.holds("packages", "sources"))
}

// readCobertura reads the format that most tools can write. A line stands in
// its class and again in its method, which is looked at only where the class
// has none; a file is in several classes. Where a condition has two outcomes
// of which one was seen, the line is partial.
//
//	<class filename="a.py"><lines><line number="3" hits="1" branch="true" condition-coverage="50% (1/2)"/>
func readCobertura(c *covering) error {
	var sources []string
	var file string
	var lines, ofMethods []coverage.Line
	inMethods := false
	// The line that is open, of which the conditions may be children.
	var last *coverage.Line
	taken, branches, summed := 0, 0, false
	at := int64(0) // where the class began
	flush := func() error {
		if len(lines) == 0 {
			lines = ofMethods
		}
		name := file
		if name == "" && len(lines) > 0 {
			c.warn(at, "a class with %d lines and without a file", len(lines))
		}
		if name != "" && len(sources) == 1 && !anchored(coverage.Clean(name)) && anchored(coverage.Clean(sources[0])) {
			name = path.Join(coverage.Clean(sources[0]), coverage.Clean(name))
		}
		err := c.add(name, lines)
		file, lines, ofMethods, inMethods = "", nil, nil, false
		return err
	}
	err := c.elements(func(e element) error {
		switch e.name {
		case "class":
			file, at = e.str("filename"), e.line
		case "methods":
			inMethods = true
		case "line":
			n, ok := wholeOK(e.str("number"))
			hits, okHits := wholeOK(e.str("hits"))
			if !ok || !okHits {
				c.warn(e.line, "a line without a number or hits")
				return nil
			}
			taken, branches, summed = condition(e.str("condition-coverage"))
			to := &lines
			if inMethods {
				to = &ofMethods
			}
			*to = append(*to, counted(n, hits, taken, branches))
			last = &(*to)[len(*to)-1]
		case "statement": // of scoverage, which puts its own into this format
			ofMethods = append(ofMethods, counted(e.num("line"), e.num("invocation-count"), 0, 0))
		case "condition":
			if !summed && last != nil {
				t, b, _ := condition(e.str("coverage"))
				taken, branches = taken+t, branches+b
				*last = coverage.Counted(int(last.Number), int64(last.Hits), taken, branches)
			}
		}
		return nil
	}, func(name, text string) error {
		switch name {
		case "source":
			if text != "" {
				sources = append(sources, text)
			}
		case "methods":
			inMethods = false
		case "line":
			last = nil
		case "class":
			return flush()
		}
		return nil
	})
	if ferr := flush(); ferr != nil {
		return ferr
	}
	return err
}

// anchored says whether a clean path is absolute, on whatever system.
func anchored(name string) bool {
	return path.IsAbs(name) || len(name) > 1 && name[1] == ':'
}

// condition reads "50% (1/2)", and "50%" as one of two. The last result says
// whether it was there.
func condition(s string) (taken, branches int, ok bool) {
	if s == "" {
		return 0, 0, false
	}
	if _, pair, ok := strings.Cut(s, "("); ok {
		a, b, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(pair), ")"), "/")
		taken, okA := wholeOK(strings.TrimSpace(a))
		branches, okB := wholeOK(strings.TrimSpace(b))
		if okA && okB && taken >= 0 && taken <= branches && branches <= math.MaxUint16 {
			return int(taken), int(branches), true
		}
	}
	switch percent := whole(strings.TrimSuffix(strings.TrimSpace(s), "%")); {
	case percent <= 0:
		return 0, 2, true
	case percent >= 100:
		return 2, 2, true
	}
	return 1, 2, true
}

func isJacoco(s *sniff) bool {
	return s.root == "report" && (s.holds("package", "group", "sessioninfo", "sourcefile") ||
		s.holds("counter") || strings.Contains(s.text, "JACOCO"))
}

// readJacoco reads JaCoCo's report. It counts instructions and branches of a
// line, not how often it was run; as in its own pages a line of which some
// instruction or branch was missed is partial.
func readJacoco(c *covering) error {
	var pkg, file string
	var lines []coverage.Line
	flush := func() error {
		name := file
		if name != "" {
			name = path.Join(pkg, name)
		}
		err := c.add(name, lines)
		file, lines = "", nil
		return err
	}
	err := c.elements(func(e element) error {
		switch e.name {
		case "package":
			pkg = e.str("name")
		case "sourcefile":
			file = e.str("name")
		case "line":
			covered, missed := e.num("ci"), e.num("mi")
			taken, not := e.num("cb"), e.num("mb")
			n, ok := wholeOK(e.str("nr"))
			if !ok || min(covered, missed, taken, not) < 0 || max(taken, not) > math.MaxUint16 {
				c.warn(e.line, "a line without a number, or with counts that are none")
				return nil
			}
			if covered+missed+taken+not == 0 {
				return nil // nothing was compiled into it
			}
			l := counted(n, min(covered+taken, 1), int(taken), int(taken+not))
			if l.State == coverage.Hit && missed > 0 {
				l.State = coverage.Partial
			}
			lines = append(lines, l)
		}
		return nil
	}, func(name, _ string) error {
		if name == "sourcefile" {
			return flush()
		}
		return nil
	})
	if ferr := flush(); ferr != nil {
		return ferr
	}
	return err
}

func isClover(s *sniff) bool {
	return s.root == "coverage" && (s.attr("clover") != "" || s.attr("generated") != "" && s.attr("line-rate") == "" || s.holds("project"))
}

// readClover reads Clover's format, which PHPUnit and Istanbul write too. A
// condition counts how often it was true and how often false; Istanbul, which
// gives conditions a count as well, has its branches there. The line on which
// a method begins is no line of code.
func readClover(c *covering) error {
	var pkg, file string
	var lines []coverage.Line
	flush := func() error {
		err := c.add(file, lines)
		file, lines = "", nil
		return err
	}
	err := c.elements(func(e element) error {
		switch e.name {
		case "package":
			pkg = e.str("name")
		case "file":
			if err := flush(); err != nil {
				return err
			}
			file = e.str("path")
			if file == "" {
				file = e.str("name")
				if pkg != "" && !strings.ContainsAny(file, `/\`) {
					file = path.Join(strings.ReplaceAll(pkg, ".", "/"), file)
				}
			}
		case "line":
			n, ok := wholeOK(e.str("num"))
			if !ok {
				c.warn(e.line, "a line without a number")
				return nil
			}
			if e.str("type") == "method" {
				return nil
			}
			if e.str("type") != "cond" {
				lines = append(lines, counted(n, e.num("count"), 0, 0))
				return nil
			}
			yes, no := e.num("truecount"), e.num("falsecount")
			if e.has("count") {
				// Istanbul: how many branches were taken, and how many not.
				lines = append(lines, counted(n, e.num("count"), int(yes), int(min(yes+no, math.MaxUint16))))
				return nil
			}
			taken := 0
			for _, times := range []int64{yes, no} {
				if times > 0 {
					taken++
				}
			}
			lines = append(lines, counted(n, max(yes, no), taken, 2))
		}
		return nil
	}, func(name, _ string) error {
		switch name {
		case "file":
			return flush()
		case "package":
			pkg = ""
		}
		return nil
	})
	if ferr := flush(); ferr != nil {
		return ferr
	}
	return err
}

func isMono(s *sniff) bool {
	return s.root == "coverage" && s.holds("assembly") && !s.holds("packages", "project")
}

// readMono reads what Mono's profiler writes: the statements of each method.
func readMono(c *covering) error {
	var file string
	var lines []coverage.Line
	flush := func() error {
		err := c.add(file, lines)
		file, lines = "", nil
		return err
	}
	err := c.elements(func(e element) error {
		switch e.name {
		case "method":
			file = e.str("filename")
		case "statement":
			if n := e.num("line"); n != hiddenLine {
				lines = append(lines, counted(n, e.num("counter"), 0, 0))
			}
		}
		return nil
	}, func(name, _ string) error {
		if name == "method" {
			return flush()
		}
		return nil
	})
	if ferr := flush(); ferr != nil {
		return ferr
	}
	return err
}

// numbered gathers lines of files that a report names by a number, for it says
// late what the numbers mean, or comes back to a file again and again.
type numbered struct {
	lines map[string][]coverage.Line
	names map[string]string
}

func newNumbered() *numbered {
	return &numbered{lines: map[string][]coverage.Line{}, names: map[string]string{}}
}

// flush hands over the lines of the files whose names are known.
func (n *numbered) flush(c *covering) error {
	for _, id := range slices.Sorted(maps.Keys(n.lines)) {
		name, ok := n.names[id]
		if !ok {
			c.salvage(fmt.Sprintf("the report has lines of a file %q and does not say which it is", clip(id, 50)))
		}
		if err := c.add(name, n.lines[id]); err != nil {
			return err
		}
		delete(n.lines, id)
	}
	return nil
}

// some hands over lines of a file that are many, if its name is known.
func (n *numbered) some(c *covering, id string) error {
	if len(n.lines[id]) < 1<<16 || n.names[id] == "" {
		return nil
	}
	lines := n.lines[id]
	delete(n.lines, id)
	return c.add(n.names[id], lines)
}

func isOpenCover(s *sniff) bool { return s.root == "CoverageSession" }

// readOpenCover reads the sequence points of .NET: each a statement with its
// lines, how often it was visited (vc), and how many of the branches that lead
// on from it were (bec, bev).
func readOpenCover(c *covering) error {
	files := newNumbered()
	method := "" // the file of the method that is open
	skipped := 0 // how many elements are open that are said to be left out
	var open []bool
	err := c.elements(func(e element) error {
		out := e.has("skippedDueTo")
		open = append(open, out)
		if out {
			skipped++
		}
		switch e.name {
		case "File":
			files.names[e.str("uid")] = e.str("fullPath")
		case "Method":
			method = ""
		case "FileRef":
			method = e.str("uid")
		case "SequencePoint":
			first, ok := wholeOK(e.str("sl"))
			if !ok || skipped > 0 {
				return nil
			}
			last := max(first, e.num("el"))
			id := e.str("fileid")
			if id == "" || id == "0" {
				id = method
			}
			l := coverage.Counted(int(first), e.num("vc"), int(e.num("bev")), int(e.num("bec")))
			files.lines[id] = c.span(files.lines[id], e.line, first, last, l)
			return files.some(c, id)
		}
		return nil
	}, func(name, _ string) error {
		if n := len(open) - 1; n >= 0 {
			if open[n] {
				skipped--
			}
			open = open[:n]
		}
		if name == "Module" {
			return files.flush(c)
		}
		return nil
	})
	if ferr := files.flush(c); ferr != nil {
		return ferr
	}
	return err
}

func isDotCover(s *sniff) bool {
	return s.attr("DotCoverVersion") != "" || s.holds("FileIndices")
}

// readDotCover reads the statements of dotCover's detailed report.
func readDotCover(c *covering) error {
	files := newNumbered()
	err := c.elements(func(e element) error {
		switch e.name {
		case "Root": // of several reports in one, each has its own numbers
			if err := files.flush(c); err != nil {
				return err
			}
			files = newNumbered()
		case "File":
			files.names[e.str("Index")] = e.str("Name")
		case "Statement":
			hits := int64(0)
			if strings.EqualFold(e.str("Covered"), "true") {
				hits = 1
			}
			id := e.str("FileIndex")
			first := e.num("Line")
			files.lines[id] = c.span(files.lines[id], e.line, first, max(first, e.num("EndLine")), coverage.Counted(0, hits, 0, 0))
			return files.some(c, id)
		}
		return nil
	}, nothing)
	if ferr := files.flush(c); ferr != nil {
		return ferr
	}
	return err
}

func isVS(s *sniff) bool {
	return s.holds("results") && s.holds("modules") || s.root == "CoverageDSPriv"
}

// readVS reads what Visual Studio's and dotnet-coverage's own XML says: ranges
// of lines that are covered "yes", "no" or "partial", and after those of a
// module the names of its files. The older form has the same in elements, as
// 0, 2 and 1, and the names at its end.
func readVS(c *covering) error {
	files := newNumbered()
	add := func(at int64, id, covered string, first, last int64) {
		l := coverage.Line{State: coverage.Miss}
		switch covered {
		case "yes", "0":
			l = coverage.Counted(0, 1, 0, 0)
		case "partial", "1":
			l = coverage.Line{Hits: 1, State: coverage.Partial}
		}
		files.lines[id] = c.span(files.lines[id], at, first, max(first, last), l)
	}
	field := map[string]string{} // of the elements that are in the one that is open
	at := int64(0)
	err := c.elements(func(e element) error {
		at = e.line
		switch e.name {
		case "range":
			add(e.line, e.str("source_id"), e.str("covered"), e.num("start_line"), e.num("end_line"))
		case "source_file":
			files.names[e.str("id")] = e.str("path")
		case "Lines", "SourceFileNames":
			clear(field)
		}
		return nil
	}, func(name, text string) error {
		switch name {
		case "LnStart", "LnEnd", "Coverage", "SourceFileID", "SourceFileName":
			field[name] = text
		case "Lines":
			add(at, field["SourceFileID"], field["Coverage"], whole(field["LnStart"]), whole(field["LnEnd"]))
		case "SourceFileNames":
			files.names[field["SourceFileID"]] = field["SourceFileName"]
		case "module":
			err := files.flush(c)
			files = newNumbered()
			return err
		}
		return nil
	})
	if ferr := files.flush(c); ferr != nil {
		return ferr
	}
	return err
}

func isScoverage(s *sniff) bool {
	return s.root == "scoverage" || s.root == "statements" && s.holds("statement")
}

// readScoverage reads the statements of Scala's coverage tool. Several stand
// on a line; those that are branches count as such. What the tool names is
// either in attributes or, in its data file, in elements.
func readScoverage(c *covering) error {
	var class string
	field := map[string]string{} // of the statement that is open
	at := int64(0)
	of, lines := "", []coverage.Line(nil)
	branch := map[int32][2]int{} // taken and all, by line
	flush := func() error {
		for i, l := range lines {
			if b := branch[l.Number]; b[1] > 0 {
				lines[i] = coverage.Counted(int(l.Number), int64(l.Hits), b[0], b[1])
			}
		}
		clear(branch)
		err := c.add(of, lines)
		lines = nil
		return err
	}
	statement := func() error {
		defer clear(field)
		if field["ignored"] == "true" {
			return nil
		}
		name := field["source"]
		if name == "" {
			name = class
		}
		if name != of {
			if err := flush(); err != nil {
				return err
			}
			of = name
		}
		n, ok := wholeOK(field["line"])
		if !ok || n < 1 || n > coverage.MaxLine {
			c.warn(at, "a statement without a line")
			return nil
		}
		hits := max(whole(field["invocation-count"]), whole(field["count"]))
		lines = append(lines, counted(n, hits, 0, 0))
		if field["branch"] == "true" {
			b := branch[int32(n)]
			b[1]++
			if hits > 0 {
				b[0]++
			}
			branch[int32(n)] = b
		}
		return nil
	}
	inside := false
	err := c.elements(func(e element) error {
		switch e.name {
		case "class":
			class = e.str("filename")
		case "statement":
			inside, at = true, e.line
			for _, a := range e.attrs {
				field[a.name] = a.value
			}
		}
		return nil
	}, func(name, text string) error {
		if name == "statement" {
			inside = false
			return statement()
		}
		if inside && len(field) < 50 {
			field[name] = text
		}
		return nil
	})
	if ferr := flush(); ferr != nil {
		return ferr
	}
	return err
}
