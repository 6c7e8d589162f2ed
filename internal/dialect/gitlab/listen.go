package gitlab

import (
	"bytes"
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// deaf listens to steps that say nothing.
type deaf struct{}

func (deaf) Env() map[string]string                           { return nil }
func (deaf) Line(line []byte) (shown []byte, _ *plan.Effects) { return line, nil }
func (deaf) Close() (plan.Effects, error)                     { return plan.Effects{}, nil }

// listener listens to a script: to the markers of sections, which become folds
// of the log, and to what the coverage expression looks for.
//
//	section_start:1718000000:build[collapsed=true]␍␛[0KBuilding
//	section_end:1718000000:build␍␛[0K
//
// A terminal shows none of the marker: the carriage return and the escape
// sequence erase it, and what follows is the title.
type listener struct {
	cover *coverage
	shown []byte
}

// What folds are called in a log.
const (
	foldBegins = "##[group]"
	foldEnds   = "##[endgroup]"
)

var (
	marker = regexp.MustCompile(`section_(start|end):[0-9]+:([A-Za-z0-9._-]+)(?:\[[^\]\r]*\])?(?:\r|$)`)
	erase  = []byte("\x1b[0K")
)

// Env implements [dialect.Listener].
func (*listener) Env() map[string]string { return nil }

// Pins implements [dialect.Pinner]: a marker is erased as soon as it is printed.
func (*listener) Pins(state []byte) bool {
	return bytes.Contains(state, []byte("section_")) && marker.Match(state)
}

// Line implements [dialect.Listener].
func (l *listener) Line(line []byte) (shown []byte, said *plan.Effects) {
	l.cover.line(line)
	if !bytes.Contains(line, []byte("section_")) {
		return line, nil // nearly always
	}
	all := marker.FindAllSubmatchIndex(line, -1)
	if all == nil {
		return line, nil
	}
	l.shown = l.shown[:0]
	section, from := "", 0
	for _, m := range all {
		l.add(section, line[from:m[0]])
		if section = ""; line[m[2]] == 's' {
			section = string(line[m[4]:m[5]])
		} else {
			l.print(foldEnds)
		}
		from = m[1]
	}
	l.add(section, line[from:])
	return bytes.TrimSuffix(l.shown, []byte("\n")), nil
}

// add shows text that stands beside markers: the title of the section that
// begins, if one does.
func (l *listener) add(section string, text []byte) {
	text = bytes.TrimSpace(bytes.ReplaceAll(text, erase, nil))
	switch {
	case section != "":
		l.print(foldBegins + cmp.Or(string(text), section))
	case len(text) > 0:
		l.print(string(text))
	}
}

func (l *listener) print(text string) {
	l.shown = append(append(l.shown, text...), '\n')
}

// Close implements [dialect.Listener].
func (l *listener) Close() (plan.Effects, error) {
	return l.cover.effects(), nil
}

// coverage looks for the number that coverage: describes. It is that of the
// last line that has one: of the last match, and in it of the last group, the
// first number.
type coverage struct {
	pattern *regexp.Regexp // nil: nothing is looked for

	mu    sync.Mutex
	value string
	told  string
}

// newCoverage reads the expression; one that cannot be read finds nothing,
// which whoever compiled the job has told.
func newCoverage(expr string) *coverage {
	c := &coverage{}
	if expr != "" {
		c.pattern, _ = regexp.Compile(expr)
	}
	return c
}

var decimal = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)

func (c *coverage) line(line []byte) {
	if c.pattern == nil {
		return
	}
	all := c.pattern.FindAllSubmatch(line, -1)
	if len(all) == 0 {
		return
	}
	last := all[len(all)-1]
	number := decimal.Find(last[len(last)-1])
	if number == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = string(number)
}

// outputCoverage is the output of a step that holds what coverage: found.
const outputCoverage = "coverage"

// effects tells of what was found since it was last asked.
func (c *coverage) effects() plan.Effects {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value == "" || c.value == c.told {
		return plan.Effects{}
	}
	c.told = c.value
	percent := c.value
	if f, err := strconv.ParseFloat(c.value, 64); err == nil {
		percent = strings.TrimSuffix(strconv.FormatFloat(f, 'f', 2, 64), ".00")
	}
	return plan.Effects{
		Outputs: []plan.Setting{{Name: outputCoverage, Value: c.value}},
		Notes:   []plan.Annotation{{Level: plan.Notice, Title: "Coverage", Message: "coverage " + percent + " %"}},
	}
}
