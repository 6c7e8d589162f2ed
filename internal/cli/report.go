package cli

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// failure is a step, or a job without one, that ended badly: what failed,
// where, why, and the lines that show it.
type failure struct {
	Job   string            `json:"job"`
	Step  string            `json:"step,omitempty"` // its key
	Name  string            `json:"name,omitempty"` // the step's
	At    plan.Source       `json:"at,omitzero"`
	Kind  plan.Verdict      `json:"verdict"`
	Why   string            `json:"why,omitempty"`
	Title string            `json:"title,omitempty"` // what went wrong, when that is known better
	Hint  string            `json:"hint,omitempty"`
	Line  int64             `json:"line,omitempty"` // of the job's log, the first of Lines
	Lines []string          `json:"lines,omitempty"`
	More  int64             `json:"-"` // lines of the step that come before Lines
	Notes []plan.Annotation `json:"annotations,omitempty"`
}

// defaultTail is how many last lines of a failed step are shown when nobody
// knows better ones.
const defaultTail = 10

// failureOf is the failure of a step. With a tail, its last lines are shown
// instead of those that a diagnosis chose.
func failureOf(r *record.Run, j *record.JobRun, s *record.StepRun, read func(run, job string, from, to int64, n int) []string, tail int) failure {
	fin := s.Finished
	f := failure{Job: j.ID, Step: s.Key, Name: s.Start.Name, At: s.Start.At, Kind: fin.Conclusion, Why: fin.Why}
	for _, n := range fin.Effects.Notes {
		if n.Level == plan.ErrorLevel {
			f.Notes = append(f.Notes, n)
		}
	}
	if d := fin.Fault; d != nil {
		f.Hint, f.Line = d.Hint, d.Line
		if !d.At.IsZero() && d.Cause == "" { // the place of a cause is in its lines
			f.At = d.At
		}
		if d.Title != "" && d.Title != fin.Why {
			f.Title = d.Title
		}
		if tail == 0 {
			f.Lines = d.Lines
		}
	}
	if len(f.Lines) == 0 && fin.Line > s.Start.Line && read != nil {
		n := max(tail, defaultTail)
		f.Lines = read(r.ID, j.ID, s.Start.Line, fin.Line, n)
		f.Line = max(fin.Line-int64(len(f.Lines)), s.Start.Line)
		if f.Line > s.Start.Line {
			f.More = f.Line - s.Start.Line
		}
	}
	if tail == 0 && !slices.ContainsFunc(f.Lines, func(l string) bool { return !strings.HasPrefix(l, "{") }) {
		if said := failedTests(s); len(said) > 0 { // a stream for programs: people are told what it says
			f.Lines, f.More = said, 0
		}
	}
	return f
}

// failedTests are the tests that failed in a step, a line each, the first few.
func failedTests(s *record.StepRun) (lines []string) {
	more := 0
	for _, t := range s.Tests {
		for i := range t.Bad {
			if len(lines) == defaultTail {
				more++
				continue
			}
			b := &t.Bad[i]
			message, _, _ := strings.Cut(b.Message, "\n")
			lines = append(lines, strings.Trim(b.Title()+" "+b.Params, " ")+": "+cmp.Or(message, b.Status))
		}
	}
	if more > 0 {
		lines = append(lines, plural(more, "more test"))
	}
	return lines
}

// failures are all that ended badly in a run, in order of ending.
func failures(r *record.Run, read func(run, job string, from, to int64, n int) []string) (list []failure) {
	type timed struct {
		at time.Time
		f  failure
	}
	var all []timed
	for _, id := range r.Order {
		j := r.Jobs[id]
		if passing(j) || !j.Result.Bad() && j.Verdict != "" { // well, or allowed to fail
			continue
		}
		found := false
		for _, s := range j.Steps {
			if s.Finished != nil && s.Finished.Conclusion.Bad() && !inner(j, s.Key) {
				all = append(all, timed{s.Ended, failureOf(r, j, s, read, 0)})
				found = true
			}
		}
		if !found && j.Verdict.Bad() {
			all = append(all, timed{j.Ended, failure{Job: j.ID, At: j.At, Kind: j.Verdict, Why: j.Why}})
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return a.at.Compare(b.at) })
	for _, t := range all {
		list = append(list, t.f)
	}
	return list
}

// writeFailure shows a failure: a headline, then what is known, indented.
func writeFailure(w io.Writer, f failure, label string, st style, cols int) {
	head := st.glyph(f.Kind) + " " + st.bold(label)
	if f.Name != "" {
		head += st.dim(" "+st.into()+" ") + st.bold(clip(shown(f.Name), maxName, st.ellipsis()))
	}
	if f.Why != "" && f.Name != "" {
		head += "  " + st.red(shown(f.Why))
	}
	where := ""
	if !f.At.IsZero() {
		where = f.At.String()
	}
	if where != "" && width(head)+2+width(where) <= cols {
		head, where = head+"  "+st.dim(where), ""
	}
	fmt.Fprintln(w, clip(head, cols, st.ellipsis()))
	if where != "" {
		fmt.Fprintln(w, "  "+st.dim(clip(where, cols-2, st.ellipsis())))
	}
	if f.Name == "" && f.Why != "" {
		wrap(w, "  ", shown(f.Why), cols, st.red)
	}
	if f.Title != "" {
		wrap(w, "  ", shown(f.Title), cols, st.red)
	}
	if f.More > 0 {
		fmt.Fprintln(w, "  "+st.dim(st.bar()+" "+st.ellipsis()+" "+plural(int(f.More), "earlier line")))
	}
	var buf []byte
	for _, l := range f.Lines {
		buf = sanitize(buf[:0], []byte(l), st.colour)
		fmt.Fprintln(w, "  "+st.dim(st.bar())+" "+clip(string(buf), max(cols-4, 1), st.ellipsis()))
	}
	told := strings.Join(f.Lines, "\n")
	for _, n := range f.Notes {
		if !strings.Contains(told, n.Message) && !strings.Contains(f.Title, n.Message) {
			wrap(w, "  ", annotation(n), cols, func(s string) string { return s })
		}
	}
	if f.Hint != "" {
		wrap(w, "  "+st.arrow()+" ", shown(f.Hint), cols, st.cyan)
	}
}

// annotation is a remark as one line.
func annotation(n plan.Annotation) string {
	text := shown(n.Message)
	if n.Title != "" {
		text = shown(n.Title) + ": " + text
	}
	if n.File != "" {
		text = plan.Source{File: shown(n.File), Line: n.Line, Col: n.Col}.String() + ": " + text
	}
	return text
}

// wrap writes a text in lines of at most so many columns, cut between words.
func wrap(w io.Writer, indent, text string, cols int, paint func(string) string) {
	room := max(cols-width(indent), 16)
	next := strings.Repeat(" ", width(indent))
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && width(line)+1+width(word) > room {
			fmt.Fprintln(w, indent+paint(line))
			indent, line = next, ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		fmt.Fprintln(w, indent+paint(line))
	}
}

// tally counts how the jobs and the tests of a run ended.
type tally struct {
	OK        int `json:"ok"`
	Kept      int `json:"kept,omitempty"` // of these, from an earlier run
	Failed    int `json:"failed"`
	Allowed   int `json:"allowed_to_fail,omitempty"`
	Cancelled int `json:"cancelled,omitempty"`
	Skipped   int `json:"skipped"`
	Open      int `json:"unfinished,omitempty"`

	Tests, Passed, Bad, Ignored int `json:"-"`
	Flaky, Muted                int `json:"-"` // of those that passed, and of those that failed
}

func tallyOf(r *record.Run) (t tally) {
	for _, id := range r.Order {
		j := r.Jobs[id]
		for _, x := range j.Tests {
			t.Passed, t.Bad, t.Ignored = t.Passed+x.Passed, t.Bad+x.Failed, t.Ignored+x.Skipped
			t.Flaky, t.Muted = t.Flaky+x.Flaky, t.Muted+x.Muted
		}
		switch {
		case passing(j):
		case j.Verdict == "":
			t.Open++
		case j.Result.Bad():
			t.Failed++
		case j.Verdict.Bad():
			t.Allowed++
		case j.Verdict == plan.Cancelled:
			t.Cancelled++
		case j.Verdict == plan.Skipped:
			t.Skipped++
		default:
			t.OK++
			if strings.HasPrefix(j.Why, "kept from run ") {
				t.Kept++
			}
		}
	}
	t.Tests = t.Passed + t.Bad + t.Ignored
	return t
}

// text is the tally of the jobs in words.
func (t tally) text(st style) string {
	var parts []string
	add := func(n int, what string, paint func(string) string) {
		if n > 0 {
			parts = append(parts, paint(thousands(int64(n))+" "+what))
		}
	}
	ok := "ok"
	if t.Kept > 0 {
		ok += fmt.Sprintf(" (%d kept from before)", t.Kept)
	}
	add(t.OK, ok, st.green)
	add(t.Failed, "failed", st.red)
	add(t.Allowed, "allowed to fail", st.yellow)
	add(t.Cancelled, "cancelled", st.yellow)
	add(t.Skipped, "skipped", st.dim)
	add(t.Open, "not finished", st.blue)
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, st.dim(" "+st.dot()+" "))
}

// testText is the same for the tests.
func (t tally) testText(st style) string {
	part := func(n int, what string, of int, which string) string {
		text := thousands(int64(n)) + " " + what
		if of > 0 {
			text += " (" + thousands(int64(of)) + " " + which + ")"
		}
		return text
	}
	parts := []string{st.green(part(t.Passed, "passed", t.Flaky, "flaky"))}
	if t.Bad > 0 {
		parts = append(parts, st.red(part(t.Bad, "failed", t.Muted, "in quarantine")))
	}
	if t.Ignored > 0 {
		parts = append(parts, st.dim(thousands(int64(t.Ignored))+" skipped"))
	}
	return strings.Join(parts, st.dim(" "+st.dot()+" "))
}

// maxReasons is how many reasons for skipped jobs the final block names.
const maxReasons = 8

// report writes the final block of a run: how it went, what was skipped and
// why, and last what failed, where a reader's eye is, and how to go on.
func report(w io.Writer, r *record.Run, list []failure, st style, cols int) {
	t := tallyOf(r)
	fmt.Fprintln(w)
	head := st.glyph(r.Verdict) + " " + st.bold("run "+r.ID) + " " + st.verdict(r.Verdict)
	if !r.Ended.IsZero() {
		head += " in " + duration(r.Ended.Sub(r.Begun))
	}
	if p := r.Planned; p != nil && p.Pipeline != nil {
		name := titleOf(p.Pipeline.Name, p.Pipeline.File)
		if name != path.Base(p.Pipeline.File) {
			name += " (" + path.Base(p.Pipeline.File) + ")"
		}
		head += st.dim(" " + st.dot() + " " + name)
	}
	field := func(name, text string) {
		fmt.Fprintln(w, clip("  "+st.dim(pad(name, 8))+" "+text, cols, st.ellipsis()))
	}
	fmt.Fprintln(w, clip(head, cols, st.ellipsis()))
	if r.Why != "" && !strings.HasPrefix(r.Why, "no job can run here") {
		field("why", shown(r.Why))
	}
	field("jobs", t.text(st))
	x := runSums(r)
	x.fields(r, st, field)
	if t.Tests > 0 {
		field("tests", t.testText(st))
	}
	for _, id := range r.Order {
		if j := r.Jobs[id]; !passing(j) && j.Verdict.Bad() && !j.Result.Bad() {
			field("allowed", shown(id)+st.dim(": "+shown(j.Why)))
		}
	}
	for i, g := range skips(r) {
		name := ""
		if i == 0 {
			name = "skipped"
		}
		if i == maxReasons {
			field("", st.dim(st.ellipsis()+" fairlead show "+r.ID+" tells all"))
			break
		}
		field(name, g.text(st))
	}
	if n, size := artifacts(r); n > 0 {
		field("saved", plural(n, "artifact")+st.dim(" "+st.dot()+" "+bytesText(size)+" "+st.dot()+" fairlead show "+r.ID))
	}
	if asks := waiting(r); len(asks) > 0 {
		more := ""
		if n := len(asks) - 1; n > 0 {
			more = st.dim(fmt.Sprintf("  and %d more", n))
		}
		field("play", "fairlead rerun "+r.ID+" --play "+quoted(asks[0])+more)
	}
	told := map[string]bool{}
	for i, f := range list {
		key := f.same()
		if told[key] { // cells of a matrix often fail alike
			text := st.glyph(f.Kind) + " " + st.bold(shown(f.Job)) + st.dim("  the same: fairlead logs "+r.ID+" "+quoted(f.target()))
			fmt.Fprintln(w, clip(text, cols, st.ellipsis()))
			continue
		}
		told[key] = true
		fmt.Fprintln(w)
		if i == maxFailures {
			fmt.Fprintf(w, "%s fairlead show %s\n", st.red(fmt.Sprintf("%s and %d more:", st.ellipsis(), len(list)-i)), r.ID)
			break
		}
		writeFailure(w, f, shown(f.Job), st, cols)
		next(w, r.ID, f, true, st)
	}
}

// maxFailures is how many failures the final block shows.
const maxFailures = 20

// same is what failures have in common that need not be told twice.
func (f failure) same() string {
	return fmt.Sprintf("%q", []string{f.At.String(), f.Name, f.Why, f.Title, f.Hint, strings.Join(f.Lines, "\n")})
}

// target is how the failed step is named to a verb.
func (f failure) target() string {
	if f.Step == "" {
		return f.Job
	}
	return f.Job + "/" + f.Step
}

// next says how to see more of a failure and how to go on; here says that the run's
// workspaces are on this machine.
func next(w io.Writer, run string, f failure, here bool, st style) {
	at := quoted(f.target())
	do := func(what, command string) {
		fmt.Fprintln(w, "  "+st.dim(pad(what, 8))+" fairlead "+command)
	}
	if f.Step != "" {
		do("log", "logs "+run+" "+at)
		if here {
			do("look", "shell "+run+" "+at)
		}
		do("go on", "rerun "+run+" --from "+at)
		return
	}
	do("go on", "rerun "+run+" --failed")
}

// quoted is an argument as a shell wants it.
func quoted(arg string) string {
	if arg != "" && !strings.ContainsFunc(arg, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,=", r))
	}) {
		return arg
	}
	return "'" + strings.ReplaceAll(shown(arg), "'", `'\''`) + "'"
}

// skipped are jobs that were skipped for the same reason.
type skipped struct {
	why  string
	jobs []string
	at   plan.Source
}

// waiting are the jobs that wait for a person to ask for them.
func waiting(r *record.Run) (ids []string) {
	for _, id := range r.Order {
		if r.Jobs[id].Waits {
			ids = append(ids, id)
		}
	}
	return ids
}

// skips groups the skipped jobs of a run by reason.
func skips(r *record.Run) (list []*skipped) {
	by := map[string]*skipped{}
	for _, id := range r.Order {
		j := r.Jobs[id]
		if j.Verdict != plan.Skipped || passing(j) || j.Why == "" {
			continue
		}
		g := by[j.Why]
		if g == nil {
			g = &skipped{why: j.Why, at: j.At}
			by[j.Why] = g
			list = append(list, g)
		}
		g.jobs = append(g.jobs, id)
	}
	return list
}

// maxNames is how many jobs are named before they are counted.
const maxNames = 4

func (g *skipped) text(st style) string {
	names := make([]string, 0, maxNames)
	for i, id := range g.jobs {
		if i == maxNames-1 && len(g.jobs) > maxNames {
			names = append(names, fmt.Sprintf("%d more", len(g.jobs)-i))
			break
		}
		names = append(names, shown(id))
	}
	text := strings.Join(names, ", ") + st.dim(": "+shown(g.why))
	if !g.at.IsZero() {
		text += st.dim(" (" + g.at.String() + ")")
	}
	return text
}

func artifacts(r *record.Run) (n int, size int64) {
	for _, id := range r.Order {
		for _, x := range r.Jobs[id].Artifacts {
			n, size = n+1, size+x.Size
		}
	}
	return n, size
}

// readTail reads the last n lines of a part of a log; nothing, when it cannot be
// read: what is shown of a failure is then shorter.
func readTail(name string, from, to int64, n int) []string {
	var list []string
	_ = readLog(name, max(from, to-int64(n)), to, func(_ time.Time, text []byte) {
		list = append(list, string(text[:min(len(text), maxShownLine)]))
	})
	return list
}

// maxShownLine is how much of a line is kept to be shown again.
const maxShownLine = 4 << 10

// readLog reads lines from..to of a log, which have been written.
func readLog(name string, from, to int64, fn func(at time.Time, text []byte)) error {
	r, err := logs.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.Read(from, func(l logs.Line) bool {
		if l.N >= to {
			return false
		}
		fn(l.Time, l.Text)
		return l.N+1 < to
	})
}
