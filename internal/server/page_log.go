package server

import (
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	chunk      = 500 // lines that a browser lays out together
	listedHits = 200 // of a search, without scripts
	mostRail   = 400 // jobs in the list beside
)

// appendLine appends a line of a log as HTML.
func appendLine(dst []byte, l *LogLine, href, prefix string, selected bool, hide bool) []byte {
	m, text := noMark, l.Text
	if c := firstByte(text); c == ':' || c == '#' || c == 's' || c == 0x1b {
		m, text = markOf(text)
	}
	dst = append(dst, `<div class="l`...)
	switch m {
	case isError:
		dst = append(dst, " bad"...)
	case isWarning:
		dst = append(dst, " warn"...)
	case foldBegins:
		dst = append(dst, " head"...)
	}
	if selected {
		dst = append(dst, " sel"...)
	}
	dst = append(dst, `" id="`...)
	dst = append(dst, prefix...)
	dst = append(dst, 'L')
	dst = strconv.AppendInt(dst, l.N, 10)
	dst = append(dst, `" data-t="`...)
	dst = l.Time.AppendFormat(dst, "15:04:05.000")
	dst = append(dst, `"><a href="`...)
	dst = append(dst, href...)
	dst = append(dst, "#L"...)
	dst = strconv.AppendInt(dst, l.N, 10)
	dst = append(dst, `">`...)
	dst = strconv.AppendInt(dst, l.N, 10)
	dst = append(dst, "</a><span>"...)
	if !hide {
		dst = appendANSI(dst, text)
	}
	if l.Cut {
		dst = append(dst, `<i class="cut"> … the raw log has the rest of this line</i>`...)
	}
	return append(dst, "</span></div>\n"...)
}

func firstByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// logLines are the lines of a view, one after another.
func logLines(v LogView) template.HTML {
	var dst []byte
	for i := range v.Part {
		l := &v.Part[i]
		dst = appendLine(dst, l, "", "", v.At > 0 && l.N >= v.At && l.N <= v.To, false)
	}
	return template.HTML(dst) //nolint:gosec // made by appendLine, which escapes
}

// excerptHTML are the lines around the first error of a failure.
func excerptHTML(f Failure, run string) template.HTML {
	var dst []byte
	href := template.HTMLEscapeString(logPath(run, f.Job))
	for i := range f.Lines {
		l := &f.Lines[i]
		// Ids are of the page: several logs may be on it.
		at := href + "?at=" + strconv.FormatInt(l.N, 10)
		dst = appendLine(dst, l, at, "x"+strconv.Itoa(f.No)+"-", l.N == f.First, false)
	}
	return template.HTML(dst) //nolint:gosec // as above
}

// logBody is a whole log: each step a part that can be folded, groups inside it,
// lines in chunks that a browser need not lay out before they are seen.
func logBody(v LogView) template.HTML {
	b := &bodyWriter{view: &v, calm: plan.Verdict(v.Job.State) == plan.Success || v.Job.State.Live(), inChunk: -1}
	steps := map[string]*StepRow{}
	for i := range v.Job.Steps {
		steps[v.Job.Steps[i].Key] = &v.Job.Steps[i]
	}
	b.dst = make([]byte, 0, 160*len(v.Part))
	b.selected = v.At
	step, begun := "", false
	for i := range v.Part {
		l := &v.Part[i]
		if !begun || l.Step != step {
			begun, step = true, l.Step
			b.beginStep(l, steps[step])
		}
		switch m, title := markOf(l.Text); m {
		case foldBegins:
			b.beginFold(l, title)
			continue
		case foldEnds:
			if b.folds > 0 {
				b.endFold()
				if title != "" {
					b.line(l)
				}
				continue
			}
		}
		b.line(l)
	}
	b.endStep()
	return template.HTML(b.dst) //nolint:gosec // as above
}

// bodyWriter writes the parts of a log.
type bodyWriter struct {
	view     *LogView
	dst      []byte
	calm     bool // all steps are open
	selected int64
	inChunk  int // lines in the open chunk; -1: none is
	folds    int
	inStep   bool
	open     bool // what is inside of the step is
}

func (b *bodyWriter) line(l *LogLine) {
	if b.inChunk == chunk {
		b.endChunk()
	}
	if b.inChunk < 0 {
		b.dst = append(b.dst, `<div class="lines">`...)
		b.inChunk = 0
	}
	b.inChunk++
	b.dst = appendLine(b.dst, l, "", "", b.selected > 0 && l.N >= b.selected && l.N <= b.view.To, false)
}

func (b *bodyWriter) endChunk() {
	if b.inChunk >= 0 {
		b.dst = append(b.dst, "</div>"...)
	}
	b.inChunk = -1
}

func (b *bodyWriter) beginStep(l *LogLine, s *StepRow) {
	b.endStep()
	b.inStep, b.open = true, true
	name := l.Step
	state := State("")
	if s != nil {
		name, state = s.Name, s.State
		inside := b.selected >= s.From && b.selected <= max(s.To, s.From)
		outcome := plan.Verdict(s.Outcome)
		b.open = b.calm || state.Live() || outcome.Bad() || plan.Verdict(state).Bad() || inside && b.selected > 0
	}
	if name == "" {
		name = "Before the first step"
	}
	b.dst = append(b.dst, `<details class="logstep"`...)
	if b.open {
		b.dst = append(b.dst, ` open`...)
	}
	b.dst = append(b.dst, `><summary>`...)
	if state != "" {
		b.dst = append(b.dst, `<span class="s-`+string(glyphClass(state))+`"><svg class="i" aria-hidden="true"><use href="#g-`+glyph(state)+`"/></svg><span class="visually-hidden">`+template.HTMLEscapeString(words(state))+`</span></span>`...)
	}
	b.dst = append(b.dst, `<span>`+template.HTMLEscapeString(name)+`</span>`...)
	if s != nil {
		said := duration(s.Seconds)
		if s.Reused != "" {
			said = "reused"
		}
		b.dst = append(b.dst, `<span class="d">`+said+`</span>`...)
	}
	b.dst = append(b.dst, "</summary>"...)
}

// glyphClass is a state that the style sheet knows.
func glyphClass(s State) State {
	if s.Live() || slices.Contains([]State{"success", "failure", "error", "timeout", "cancelled", "skipped"}, s) {
		return s
	}
	return Pending
}

func (b *bodyWriter) endStep() {
	for b.folds > 0 {
		b.endFold()
	}
	b.endChunk()
	if b.inStep {
		b.dst = append(b.dst, "</details>"...)
	}
	b.inStep = false
}

// beginFold begins a group. Those of a step that went well are closed.
func (b *bodyWriter) beginFold(l *LogLine, title string) {
	for b.folds > 0 { // groups of runners do not nest
		b.endFold()
	}
	b.endChunk()
	b.folds++
	b.dst = append(b.dst, `<details class="fold"`...)
	if !b.calm && b.open || b.view.Job.State.Live() {
		b.dst = append(b.dst, ` open`...)
	}
	b.dst = append(b.dst, ` id="L`...)
	b.dst = strconv.AppendInt(b.dst, l.N, 10)
	b.dst = append(b.dst, `"><summary>`...)
	if strings.TrimSpace(title) == "" {
		title = "Group"
	}
	b.dst = appendANSI(b.dst, title)
	b.dst = append(b.dst, "</summary>"...)
}

func (b *bodyWriter) endFold() {
	b.endChunk()
	b.dst = append(b.dst, "</details>"...)
	b.folds--
}

// rail is the list of jobs beside what is read.
type rail struct {
	Rows    []railJob
	Current string
	More    int
}

type railJob struct {
	JobRow
	Href  string
	Child bool
	Head  string // the stage that begins here
	Note  string
	Tree  []*stepNode
}

func newRail(run string, jobs []JobRow, current string) (r rail) {
	r.Current = current
	jobs = staged(jobs)
	crowded := len(jobs) > mostRail
	if crowded { // those that one looks for come first
		slices.SortStableFunc(jobs, func(a, b JobRow) int { return urgency(a.State) - urgency(b.State) })
		r.More = len(jobs) - mostRail
		jobs = jobs[:mostRail]
	}
	for i, j := range jobs {
		row := railJob{JobRow: j, Href: logPath(run, j.ID), Child: j.Parent != ""}
		if len(j.Children) > 0 {
			row.Href = "#" + "job-" + j.ID
		}
		if j.State != "success" && j.State != Running {
			row.Note = j.Why
		}
		if !crowded {
			row.Head = stageOf(jobs, i)
		}
		if j.ID == current {
			done := slices.DeleteFunc(slices.Clone(j.Steps), func(s StepRow) bool { return s.State == State(plan.Skipped) })
			row.Tree = stepTree(run, j.ID, done)
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// nested has the jobs that another one became follow it.
func nested(jobs []JobRow) []JobRow {
	byID := make(map[string]int, len(jobs))
	for i := range jobs {
		byID[jobs[i].ID] = i
	}
	out := make([]JobRow, 0, len(jobs))
	done := make([]bool, len(jobs))
	var put func(i int)
	put = func(i int) {
		if done[i] {
			return
		}
		done[i] = true
		out = append(out, jobs[i])
		for _, id := range jobs[i].Children {
			if k, ok := byID[id]; ok {
				put(k)
			}
		}
	}
	for i := range jobs {
		if _, known := byID[jobs[i].Parent]; jobs[i].Parent == "" || !known {
			put(i)
		}
	}
	for i := range jobs { // of a record that makes no sense
		put(i)
	}
	return out
}

// urgency orders states by how soon one wants to see them.
func urgency(s State) int {
	switch {
	case plan.Verdict(s).Bad():
		return 0
	case s.Live():
		return 1
	case s == State(plan.Cancelled):
		return 2
	}
	return 3
}

func jobsOf(v RunView) rail { return newRail(v.ID, v.Jobs, "") }

func logOf(v LogView) rail { return newRail(v.Run.ID, v.Jobs, v.Job.ID) }
