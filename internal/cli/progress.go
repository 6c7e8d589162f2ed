package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Progress is how runs are shown while they go on. The engine tells a [stage]
// of everything that happens; the stage keeps the fold of its run, for the
// final block, and passes the news on to the one display of the process:
//
//	plain  a line for a line, for pipes, files and CI logs
//	tty    live rows at the bottom of a terminal
//	quiet  what failed, and nothing else
//	json   a line of JSON for everything
//
// What is shown (a display) and how much of it (verbosity) are two things.
type display interface {
	// event shows a fact; the stage's fold knows it already.
	event(s *stage, e record.Event)
	// line shows a line of a job's log. text is valid only during the call.
	line(s *stage, job, step string, n int64, text []byte)
	// close shows what is still to be shown; the display draws no more.
	close()
}

// progress serialises what several runs and their jobs tell the display.
type progress struct {
	mu      sync.Mutex
	display display
}

func (p *progress) close() {
	p.mu.Lock()
	d := p.display
	p.mu.Unlock()
	d.close() // may wait for a goroutine that wants the lock
}

// stage is one run on the display.
type stage struct {
	*progress
	pipeline *plan.Pipeline
	several  bool // runs share the display: jobs are shown with their pipeline
	run      *record.Run
	tail     func(run, job string, from, to int64, n int) []string
	logPath  func(run, job string) string
}

var _ engine.Observer = (*stage)(nil)

// begun is told the run's identity before its first event.
func (s *stage) begun(run string, p *plan.Pipeline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipeline = p; s.run == nil || s.run.ID != run { // else it goes on
		s.run = record.NewRun(run)
	}
}

// Event implements [engine.Observer].
func (s *stage) Event(e record.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.run = record.NewRun(e.Run)
	}
	s.run.Apply(e)
	s.display.event(s, e)
}

// Line implements [engine.Observer].
func (s *stage) Line(job, step string, n int64, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.display.line(s, job, step, n, text)
}

// label is what a job is called on the display.
func (s *stage) label(job string) string {
	if s.several && s.pipeline != nil {
		return shown(stem(s.pipeline.File) + "/" + job)
	}
	return shown(job)
}

// stem is the name of a file without directory and extension.
func stem(file string) string {
	base := path.Base(file)
	return strings.TrimSuffix(base, path.Ext(base))
}

// titleOf is what a pipeline is called: its name, or that of its file.
func titleOf(name, file string) string {
	if name == "" || name == file {
		return shown(path.Base(file))
	}
	return shown(name)
}

// A step's failure, and how a job ended, in the words of all displays.

// failed says what a step that ended badly has to say for itself.
func (s *stage) failed(job string, step *record.StepRun, st style, cols, tail int) string {
	var b strings.Builder
	writeFailure(&b, failureOf(s.run, s.run.Job(job), step, s.tail, tail), s.label(job), st, cols)
	return b.String()
}

// inner reports whether a step's failure is told by a step inside it.
func inner(j *record.JobRun, key string) bool {
	for _, s := range j.Steps {
		if strings.HasPrefix(s.Key, key+".") && s.Finished != nil && s.Finished.Conclusion.Bad() && s.Start.Phase == plan.Main {
			return true
		}
	}
	return false
}

// ended is the line of a job that has ended. Times stand in front, so that they
// stand in one column whatever the jobs are called.
func (s *stage) ended(j *record.JobRun, st style) string {
	took := duration(j.Ended.Sub(j.Begun))
	never := j.Verdict == plan.Skipped || j.Verdict == plan.Cancelled && j.Started.Place == ""
	if never {
		took = ""
	}
	text := st.glyph(j.Verdict) + " " + st.dim(flush(took, timeColumns)) + "  " + s.label(j.ID)
	if never {
		text += "  " + st.dim(string(j.Verdict))
	}
	if j.Why != "" {
		text += st.dim(": " + clip(shown(j.Why), maxWhy, st.ellipsis()))
	}
	if j.Verdict.Bad() && !j.Result.Bad() {
		text += "  " + st.dim("(allowed to fail)")
	}
	if x := sumsOf(j); x.Reused > 0 {
		text += "  " + st.dim(x.jobText())
	}
	return text
}

// maxWhy and maxName are how much is shown of a reason and of a step's name where
// the whole stands elsewhere.
const (
	maxWhy  = 160
	maxName = 60
)

// timeColumns is how wide the column of times is.
const timeColumns = 6

// passing reports whether the job only stands for others.
func passing(j *record.JobRun) bool { return len(j.Children) > 0 }

// plain is the display of pipes and files. Inside another CI system it uses
// that system's folds, one for a step. As these cannot be interleaved, one job at
// a time then has the floor; those that run beside it are shown from their
// logs when they have ended.
//
// That a step begins is shown a moment later: by then it is known whether it was
// reused, and whether all of its job was, which then is one line, or a part of
// one.
type plain struct {
	out     io.Writer
	style   style
	verbose int
	now     func() time.Time
	folds   *folds
	read    func(path string, from, to int64, fn func(at time.Time, text []byte)) error

	began    time.Time
	buf      []byte
	stamp    []byte // the time of the lines that come now
	prefix   map[lineKey][]byte
	floor    lineKey   // the job that has it, when there are folds
	open     string    // the step whose fold is open, its key
	waiting  []lineKey // jobs that have ended without having had the floor
	held     []*held   // jobs whose next steps are not shown yet, oldest first
	streak   streak
	flushing func() // stops the goroutine that flushes
}

// held are the beginnings and ends of steps of a job that are not shown yet.
type held struct {
	lineKey
	events []record.Event
	since  time.Time
}

// heldFor is how long the beginning of a step is held back.
const heldFor = 100 * time.Millisecond

type lineKey struct {
	s   *stage
	job string
}

// folds are the marks by which another CI system folds parts of a log.
type folds struct {
	begin, end func(id, title string, at time.Time) string
}

// foldsOf are the folds of the CI system that the environment tells of.
func foldsOf(getenv func(string) string) *folds {
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		return &folds{
			begin: func(_, title string, _ time.Time) string { return "::group::" + title + "\n" },
			end:   func(string, string, time.Time) string { return "::endgroup::\n" },
		}
	case getenv("GITLAB_CI") != "":
		mark := func(what, id string, at time.Time) string {
			return "\x1b[0Ksection_" + what + ":" + strconv.FormatInt(at.Unix(), 10) + ":" + id + "\r\x1b[0K"
		}
		return &folds{
			begin: func(id, title string, at time.Time) string { return mark("start", id, at) + title + "\n" },
			end:   func(id, _ string, at time.Time) string { return mark("end", id, at) + "\n" },
		}
	}
	return nil
}

// flushEvery is how long a line may wait for others to be written with, and how
// exact its time is.
const flushEvery = 50 * time.Millisecond

// flushAt is how many bytes are written without waiting.
const flushAt = 64 << 10

// start begins to flush from time to time.
func (p *plain) start(lock sync.Locker) {
	p.began = p.now()
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				lock.Lock()
				p.tick()
				p.age(p.now())
				p.flush()
				lock.Unlock()
			}
		}
	}()
	p.flushing = func() { close(done); <-gone }
}

func (p *plain) flush() {
	if len(p.buf) > 0 {
		_, _ = p.out.Write(p.buf) // who reads us may have gone; the run goes on
		p.buf = p.buf[:0]
	}
}

func (p *plain) close() {
	if p.flushing != nil {
		p.flushing()
	}
	for len(p.held) > 0 {
		p.release(p.held[0])
	}
	for _, k := range p.waiting { // only if the job with the floor never ended
		p.again(k)
	}
	p.endStreak()
	p.flush()
}

// age shows what has been held back for long enough.
func (p *plain) age(now time.Time) {
	for len(p.held) > 0 && now.Sub(p.held[0].since) >= heldFor {
		p.release(p.held[0])
	}
	if p.streak.old(now) {
		p.endStreak()
	}
}

// holds is what is held back of a job, if anything is.
func (p *plain) holds(k lineKey) *held {
	for _, h := range p.held {
		if h.lineKey == k {
			return h
		}
	}
	return nil
}

// hold holds an event of a step back.
func (p *plain) hold(k lineKey, e record.Event) {
	h := p.holds(k)
	if h == nil {
		h = &held{lineKey: k, since: p.now()}
		p.held = append(p.held, h)
	}
	h.events = append(h.events, e)
}

// drop forgets what is held back of a job.
func (p *plain) drop(h *held) {
	p.held = slices.DeleteFunc(p.held, func(x *held) bool { return x == h })
}

// release shows what is held back of a job.
func (p *plain) release(h *held) {
	if h == nil {
		return
	}
	p.drop(h)
	for _, e := range h.events {
		switch b := e.Body.(type) {
		case *record.StepStarted:
			p.started(h.s, e, b)
		case *record.StepFinished:
			p.finished(h.s, e, b)
		}
	}
}

// endStreak shows the jobs that were reused one after the other.
func (p *plain) endStreak() {
	for _, l := range p.streak.take(p.style) {
		p.buf = append(append(p.buf, l...), '\n')
	}
}

// elapsed appends the time since the beginning, in a column of its own.
func (p *plain) elapsed(at time.Time) {
	tenths := int64(at.Sub(p.began) / (100 * time.Millisecond))
	tenths = max(tenths, 0)
	for limit := int64(1000); limit > 10 && tenths/10 < limit/10; limit /= 10 {
		p.buf = append(p.buf, ' ')
	}
	p.buf = strconv.AppendInt(p.buf, tenths/10, 10)
	p.buf = append(p.buf, '.', byte('0'+tenths%10), 's', ' ')
}

func (p *plain) head(s *stage, job string) []byte {
	k := lineKey{s, job}
	h := p.prefix[k]
	if h == nil {
		if p.prefix == nil {
			p.prefix = map[lineKey][]byte{}
		}
		h = []byte(p.style.cyan(s.label(job)) + p.style.dim(" | "))
		p.prefix[k] = h
	}
	return h
}

func (p *plain) line(s *stage, job, step string, _ int64, text []byte) {
	k := lineKey{s, job}
	if len(p.held) > 0 {
		p.release(p.holds(k))
	}
	if p.folds != nil && p.floor != k {
		return // it is read from the log when the job has ended
	}
	if len(p.streak.jobs) > 0 {
		p.endStreak()
	}
	if len(p.stamp) == 0 {
		p.tick()
	}
	p.buf = append(p.buf, p.stamp...)
	p.text(s, job, text)
}

// tick reads the clock: for every line that would be felt.
func (p *plain) tick() {
	buf := p.buf
	p.buf = p.stamp[:0]
	p.elapsed(p.now())
	p.stamp, p.buf = p.buf, buf
}

func (p *plain) write(s *stage, job string, at time.Time, text []byte) {
	p.elapsed(at)
	p.text(s, job, text)
}

func (p *plain) text(s *stage, job string, text []byte) {
	p.buf = append(p.buf, p.head(s, job)...)
	p.buf = sanitize(p.buf, text, p.style.colour)
	p.buf = append(p.buf, '\n')
	if len(p.buf) > flushAt {
		p.flush()
	}
}

// row is a line of ours about a job.
func (p *plain) row(s *stage, job, text string) {
	p.endStreak()
	p.elapsed(p.now())
	p.buf = append(p.buf, p.head(s, job)...)
	p.buf = append(p.buf, text...)
	p.buf = append(p.buf, '\n')
}

func (p *plain) event(s *stage, e record.Event) {
	p.tick()
	k := lineKey{s, e.Job}
	switch b := e.Body.(type) {
	case *record.StepStarted:
		p.hold(k, e)
	case *record.StepFinished:
		if h := p.holds(k); h != nil && !b.Outcome.Bad() {
			p.hold(k, e)
		} else {
			p.release(h)
			p.finished(s, e, b)
		}
	case *record.JobFinished:
		if j := s.run.Job(e.Job); !passing(j) {
			if h := p.holds(k); h != nil && whole(j) && p.verbose == 0 {
				p.drop(h)
			} else {
				p.release(h)
			}
			p.jobFinished(s, j)
		}
	case *record.JobQueued:
		if b.Why != "" {
			p.row(s, e.Job, p.style.dim("waits: "+shown(b.Why)))
		}
	case *record.CancelRequested:
		p.endStreak()
		p.buf = append(p.buf, p.style.yellow(cancelText(e.Job, b))+"\n"...)
	}
}

// cancelText says who cancels what.
func cancelText(job string, b *record.CancelRequested) string {
	what := "the run"
	if job != "" {
		what = "job " + shown(job)
	}
	by := strings.TrimPrefix(shown(b.By), "cancelled by ")
	return "cancelling " + what + " (" + by + "): steps that always run still do; interrupt again to end at once"
}

func (p *plain) started(s *stage, e record.Event, b *record.StepStarted) {
	k := lineKey{s, e.Job}
	j := s.run.Job(e.Job)
	if p.folds != nil && p.floor.s == nil && len(j.Steps) > 0 && j.Steps[0].Key == e.Step {
		p.floor = k
	}
	switch step := j.Step(e.Step); {
	case step != nil && reused(step.Finished):
		if p.folds == nil || p.floor == k {
			p.reused(s, e.Job, step)
		}
		return
	case p.folds == nil, p.floor == k && p.open != "": // inside a step, or beside it
		p.row(s, e.Job, p.style.bold(p.style.pick("▸ ", "> ")+shown(b.Name)))
	case p.floor == k:
		p.begin(k, e.Step, b.Name)
	default:
		return
	}
	p.script(s, e.Job, b)
}

// reused shows a step that was reused: there is nothing else to show of it.
func (p *plain) reused(s *stage, job string, step *record.StepRun) {
	p.row(s, job, p.style.bold(p.style.pick("▸ ", "> ")+shown(step.Start.Name))+p.style.dim("  ("+savedText(step.Finished.Reuse.Saved)+")"))
}

// script shows what a step runs, to those who asked for more.
func (p *plain) script(s *stage, job string, b *record.StepStarted) {
	if p.verbose == 0 || b.Script == "" {
		return
	}
	for l := range strings.SplitSeq(strings.TrimRight(b.Script, "\n"), "\n") {
		p.row(s, job, p.style.dim("$ "+string(sanitize(nil, []byte(l), false))))
	}
}

// begin opens the fold of a step.
func (p *plain) begin(k lineKey, step, name string) {
	p.endStreak()
	p.open = step
	p.buf = append(p.buf, p.folds.begin(k.fold(step), k.s.label(k.job)+" "+p.style.into()+" "+shown(name), p.now())...)
}

// end closes it.
func (p *plain) end(k lineKey, step string) {
	p.open = ""
	p.buf = append(p.buf, p.folds.end(k.fold(step), "", p.now())...)
}

// fold is a name for the fold of a step that every CI system accepts.
func (k lineKey) fold(step string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, k.s.run.ID+"_"+k.job+"_"+step)
}

func (p *plain) finished(s *stage, e record.Event, b *record.StepFinished) {
	j := s.run.Job(e.Job)
	k := lineKey{s, e.Job}
	if p.folds != nil && p.floor != k {
		return
	}
	if p.folds != nil && p.open == e.Step {
		p.end(k, e.Step)
	}
	p.outcome(s, j, j.Step(e.Step), b)
}

// jobFinished says how a job ended. The floor goes to those that wait for it.
func (p *plain) jobFinished(s *stage, j *record.JobRun) {
	k := lineKey{s, j.ID}
	if p.folds == nil || p.floor == k || p.floor.s == nil && (len(j.Steps) == 0 || whole(j)) {
		p.jobEnded(k)
		if p.floor != k {
			return
		}
		p.floor = lineKey{}
	} else {
		p.waiting = append(p.waiting, k)
	}
	if p.floor.s != nil {
		return
	}
	waiting := p.waiting
	p.waiting = nil
	for _, k := range waiting {
		p.again(k)
	}
}

func (p *plain) jobEnded(k lineKey) {
	delete(p.prefix, k)
	j := k.s.run.Job(k.job)
	if whole(j) {
		p.streak.add(k.s, j, p.now())
		return
	}
	p.endStreak()
	p.buf = append(p.buf, k.s.ended(j, p.style)...)
	p.buf = append(p.buf, '\n')
}

// again shows a job that has ended, from its log.
func (p *plain) again(k lineKey) {
	j := k.s.run.Job(k.job)
	if whole(j) && p.verbose == 0 {
		p.jobEnded(k)
		return
	}
	for _, step := range j.Steps {
		if step.Finished == nil {
			continue
		}
		if reused(step.Finished) {
			p.reused(k.s, k.job, step)
			continue
		}
		if strings.Contains(step.Key, ".") && step.Start.Phase == plan.Main || step.Finished.Outcome == plan.Skipped {
			p.outcome(k.s, j, step, step.Finished)
			continue // its lines are those of the step that it is part of
		}
		p.begin(k, step.Key, step.Start.Name)
		p.script(k.s, k.job, &step.Start)
		_ = p.read(k.s.logPath(k.s.run.ID, k.job), step.Start.Line, step.Finished.Line, func(at time.Time, text []byte) {
			p.write(k.s, k.job, at, text)
		})
		p.end(k, step.Key)
		p.outcome(k.s, j, step, step.Finished)
	}
	p.jobEnded(k)
}

// outcome says how a step ended, if it did not end well.
func (p *plain) outcome(s *stage, j *record.JobRun, step *record.StepRun, b *record.StepFinished) {
	name := shown(b.Name)
	switch {
	case differs(b):
		p.row(s, j.ID, p.style.red(p.style.pick("≠ ", "!= ")+name+": "+differsText(b)))
	case b.Conclusion.Bad() && !inner(j, step.Key):
		p.endStreak()
		p.buf = append(p.buf, s.failed(j.ID, step, p.style, plainColumns, 0)...)
	case b.Outcome.Bad() && !b.Conclusion.Bad():
		p.row(s, j.ID, p.style.yellow("! "+name+": "+shown(b.Why))+p.style.dim(" ("+tolerated(b)+")"))
	case b.Outcome == plan.Cancelled && p.verbose > 0:
		p.row(s, j.ID, p.style.glyph(b.Outcome)+" "+name+p.style.dim(": "+shown(b.Why)))
	case b.Outcome == plan.Skipped && p.verbose > 0:
		p.row(s, j.ID, p.style.dim(p.style.glyph(plan.Skipped)+" "+name+" skipped"))
	}
}

// plainColumns is how wide texts of ours may be where there is no terminal: as
// wide as they are.
const plainColumns = 1 << 16

// quiet is the display of those who only want to know what failed.
type quiet struct {
	out   io.Writer
	style style
	cols  int
}

// quietTail is how many lines of a failed step are shown.
const quietTail = 200

func (q *quiet) event(s *stage, e record.Event) {
	b, ok := e.Body.(*record.StepFinished)
	if !ok || !b.Conclusion.Bad() {
		return
	}
	j := s.run.Job(e.Job)
	if step := j.Step(e.Step); !inner(j, e.Step) {
		_, _ = io.WriteString(q.out, s.failed(e.Job, step, q.style, q.cols, quietTail))
	}
}

func (q *quiet) line(*stage, string, string, int64, []byte) {}
func (q *quiet) close()                                     {}

// jsonSchema is the version of the lines of JSON: it changes when a field
// changes its meaning or goes, not when one is added.
const jsonSchema = 1

// jsonl is the display of programs: a line of JSON for each event and each line of
// a log. Problems and errors are such lines too, see [global.tell].
type jsonl struct{ out *bufio.Writer }

type jsonEvent struct {
	Schema int        `json:"v"`
	Kind   string     `json:"kind"`
	Time   *time.Time `json:"time,omitempty"`
	Seq    int64      `json:"seq,omitempty"`
	Run    string     `json:"run,omitempty"`
	Job    string     `json:"job,omitempty"`
	Step   string     `json:"step,omitempty"`
	Body   any        `json:"body,omitempty"`
	Line   *int64     `json:"line,omitempty"`
	Text   string     `json:"text,omitempty"`
}

func (d *jsonl) event(_ *stage, e record.Event) {
	at := e.Time
	body := any(e.Body)
	if b, ok := body.(*record.RunPlanned); ok {
		body = plannedJSON(b)
	}
	_ = writeLine(d.out, jsonEvent{Schema: jsonSchema, Kind: string(e.Kind()), Time: &at, Seq: e.Seq, Run: e.Run, Job: e.Job, Step: e.Step, Body: body})
	_ = d.out.Flush() // lines of logs may wait for the next fact
}

func (d *jsonl) line(s *stage, job, step string, n int64, text []byte) {
	_ = writeLine(d.out, jsonEvent{Schema: jsonSchema, Kind: "line", Run: s.run.ID, Job: job, Step: step, Line: &n, Text: string(text)})
}

func (d *jsonl) close() { _ = d.out.Flush() }

// writeLine writes a line of JSON.
func writeLine(w io.Writer, e jsonEvent) error {
	line := json.NewEncoder(w)
	line.SetEscapeHTML(false)
	return line.Encode(e)
}

// plannedJSON is the plan of a run without the texts it was made from.
func plannedJSON(b *record.RunPlanned) any {
	type job struct {
		ID    string      `json:"id"`
		Name  string      `json:"name"`
		Needs []string    `json:"needs,omitempty"`
		At    plan.Source `json:"at"`
	}
	v := struct {
		Number   int             `json:"number"`
		Attempt  int             `json:"attempt"`
		Of       string          `json:"of,omitempty"`
		Root     string          `json:"root"`
		File     string          `json:"file"`
		Name     string          `json:"name"`
		Event    string          `json:"event"`
		Ref      string          `json:"ref"`
		SHA      string          `json:"sha"`
		Dirty    bool            `json:"dirty,omitempty"`
		Settings record.Settings `json:"settings"`
		Jobs     []job           `json:"jobs"`
	}{Number: b.Number, Attempt: b.Attempt, Of: b.Of, Root: b.Root, Settings: b.Settings}
	if p := b.Pipeline; p != nil {
		v.File, v.Name = p.File, p.Name
		for _, j := range p.Jobs {
			v.Jobs = append(v.Jobs, job{j.ID, j.Name, j.Needs, j.Source})
		}
	}
	if c := b.Change; c != nil {
		v.Event, v.Ref, v.SHA, v.Dirty = c.Event, c.Ref, c.SHA, c.Dirty
	}
	return v
}
