package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// tty is the display of terminals: what has ended scrolls up and stays in the
// scrollback; below it stand a row for each job that runs and a line that
// sums up. Only these are ever drawn again, and they are gone at the end. There is
// no alternate screen and no raw mode: a terminal that is left by kill -9 is
// usable.
//
// A frame is one write. It goes up over the rows of the last frame, clears,
// writes what is new for ever, and draws the rows again, each cut to the
// width of the terminal, with automatic wrapping switched off meanwhile, so
// that a width wrongly guessed costs a letter and not a line.
type tty struct {
	out     io.Writer
	size    func() (columns, rows int)
	style   style
	verbose int
	now     func() time.Time

	began   time.Time
	above   strings.Builder // to be written for ever with the next frame
	rows    []*row          // of running jobs, oldest first
	byJob   map[lineKey]*row
	known   int // jobs that have not ended, but for those that stand for others
	done    int
	bad     int
	skipped int
	reused  int // of the done ones, as a whole
	streak  streak
	note    string // what is going on beside the jobs: "cancelling"
	drawn   []int  // widths of the rows on the screen
	frame   int
	scratch []byte
	stop    func()
	total   int            // lines that stand above
	told    map[string]int // failures that stand there: at which of the lines they ended
}

// row is a job that runs.
type row struct {
	label string
	began time.Time
	steps []rowStep
	last  []byte // its last line, as printed
}

type rowStep struct{ key, name string }

const (
	framesPerSecond = 12
	maxRows         = 12  // running jobs that are shown
	keptLine        = 512 // bytes of a job's last line
	aboveAt         = 32 << 10
)

// start begins to draw.
func (t *tty) start(lock sync.Locker) {
	t.began = t.now()
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(time.Second / framesPerSecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				lock.Lock()
				if t.streak.old(t.now()) {
					t.endStreak()
				}
				t.draw()
				lock.Unlock()
			}
		}
	}()
	t.stop = func() { close(done); <-gone }
}

func (t *tty) close() {
	if t.stop != nil {
		t.stop()
	}
	t.endStreak()
	t.finish()
}

// endStreak lets the jobs that were reused one after the other stand above.
func (t *tty) endStreak() {
	for _, l := range t.streak.take(t.style) {
		t.put(l)
	}
}

func (t *tty) row(s *stage, job string) *row {
	k := lineKey{s, job}
	r := t.byJob[k]
	if r == nil {
		r = &row{label: s.label(job), began: t.now()}
		if t.byJob == nil {
			t.byJob = map[lineKey]*row{}
		}
		t.byJob[k] = r
		t.rows = append(t.rows, r)
	}
	return r
}

func (t *tty) event(s *stage, e record.Event) {
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		t.known += len(b.Pipeline.Jobs)
	case *record.RunStarted:
		if b.Resume {
			t.known += tallyOf(s.run).Open
		}
	case *record.JobExpanded:
		t.known += len(b.Jobs) - 1
	case *record.JobStarted:
		t.row(s, e.Job).began = t.now()
	case *record.StepStarted:
		r := t.row(s, e.Job)
		r.steps = append(r.steps, rowStep{e.Step, shown(b.Name)})
		r.last = r.last[:0]
		if t.verbose > 0 {
			t.write("  " + t.style.cyan(s.label(e.Job)) + t.style.dim(" | ") + t.style.bold("▸ "+shown(b.Name)))
		}
	case *record.StepFinished:
		t.stepFinished(s, e, b)
	case *record.JobFinished:
		t.jobFinished(s, e)
	case *record.CancelRequested:
		if e.Job == "" {
			t.note = "cancelling"
		}
		t.endStreak()
		text := t.style.yellow(cancelText(e.Job, b)) + "\n" // as long as it is: it says what to do
		t.above.WriteString(text)
		t.total++
	}
}

func (t *tty) stepFinished(s *stage, e record.Event, b *record.StepFinished) {
	r := t.row(s, e.Job)
	for i := range r.steps {
		if r.steps[i].key == e.Step {
			r.steps = append(r.steps[:i], r.steps[i+1:]...)
			break
		}
	}
	j := s.run.Job(e.Job)
	step := j.Step(e.Step)
	cols, _ := t.size()
	switch {
	case differs(b):
		t.write(t.style.red(t.style.pick("≠ ", "!= ")) + s.label(e.Job) + t.style.dim(" "+t.style.into()+" ") + shown(b.Name) + "  " + t.style.red(differsText(b)))
	case b.Conclusion.Bad() && !inner(j, e.Step):
		t.endStreak()
		text := s.failed(e.Job, step, t.style, cols-1, 0)
		t.above.WriteString(text)
		t.total += strings.Count(text, "\n")
		if t.told == nil {
			t.told = map[string]int{}
		}
		t.told[toldKey(s.run.ID, e.Job, e.Step)] = t.total
	case b.Outcome.Bad() && !b.Conclusion.Bad():
		t.write(t.style.yellow("! ") + s.label(e.Job) + t.style.dim(" "+t.style.into()+" ") + shown(b.Name) + t.style.dim("  "+shown(b.Why)+" ("+tolerated(b)+")"))
	case t.verbose > 0 && b.Outcome != plan.Skipped:
		took := duration(step.Duration())
		if reused(b) {
			took = savedText(b.Reuse.Saved)
		}
		t.write("  " + t.style.cyan(s.label(e.Job)) + t.style.dim(" | ") + t.style.glyph(b.Conclusion) + " " + shown(b.Name) + t.style.dim("  "+took))
	}
}

func toldKey(run, job, step string) string { return run + "\x00" + job + "\x00" + step }

// sight is how many lines up a person still sees.
const sight = 15

// insight reports whether the lines of a failure still stand before the
// reader's eyes, so that they need not be shown again.
func (t *tty) insight(run string, f failure) bool {
	at, ok := t.told[toldKey(run, f.Job, f.Step)]
	return ok && t.total-at < sight
}

func (t *tty) jobFinished(s *stage, e record.Event) {
	k := lineKey{s, e.Job}
	if r := t.byJob[k]; r != nil {
		delete(t.byJob, k)
		for i := range t.rows {
			if t.rows[i] == r {
				t.rows = append(t.rows[:i], t.rows[i+1:]...)
				break
			}
		}
	}
	j := s.run.Job(e.Job)
	if passing(j) {
		return
	}
	t.known--
	switch {
	case j.Result.Bad():
		t.bad++
	case j.Verdict == plan.Skipped:
		t.skipped++
	default:
		t.done++
	}
	if whole(j) {
		t.reused++
		t.streak.add(s, j, t.now())
		return
	}
	t.write(s.ended(j, t.style))
}

// write lets a line stand above the rows for ever.
func (t *tty) write(line string) {
	t.endStreak()
	t.put(line)
}

func (t *tty) put(line string) {
	cols, _ := t.size()
	t.above.WriteString(clip(line, cols-1, t.style.ellipsis()))
	t.above.WriteByte('\n')
	t.total++
	if t.above.Len() > aboveAt {
		t.draw()
	}
}

func (t *tty) line(s *stage, job, step string, _ int64, text []byte) {
	if t.verbose > 0 {
		t.scratch = sanitize(t.scratch[:0], text, t.style.colour)
		t.write("  " + t.style.cyan(s.label(job)) + t.style.dim(" | ") + string(t.scratch))
		return
	}
	r := t.byJob[lineKey{s, job}]
	if r == nil || blank(text) {
		return
	}
	r.last = append(r.last[:0], text[:min(len(text), keptLine)]...)
}

func blank(text []byte) bool {
	for _, c := range text {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

// up goes to the beginning of the rows that are on the screen. When the terminal
// has become narrower, it has wrapped them.
func (t *tty) up(b *strings.Builder, cols int) {
	if len(t.drawn) == 0 {
		return
	}
	lines := 0
	for _, w := range t.drawn {
		lines += max(1, (w+cols-1)/cols)
	}
	b.WriteByte('\r')
	if lines > 1 {
		b.WriteString("\x1b[" + strconv.Itoa(lines-1) + "A")
	}
	b.WriteString("\x1b[J")
	t.drawn = t.drawn[:0]
}

// draw draws a frame.
func (t *tty) draw() {
	cols, rows := t.size()
	var b strings.Builder
	b.WriteString("\x1b[?25l\x1b[?7l")
	t.up(&b, cols)
	if t.above.Len() > 0 {
		b.WriteString("\x1b[?7h") // what stays may wrap
		b.WriteString(t.above.String())
		b.WriteString("\x1b[?7l")
		t.above.Reset()
	}
	for i, l := range t.live(cols, rows) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l)
		t.drawn = append(t.drawn, width(l))
	}
	b.WriteString("\x1b[?7h\x1b[?25h")
	_, _ = io.WriteString(t.out, b.String())
	t.frame++
}

// finish takes the rows away.
func (t *tty) finish() {
	cols, _ := t.size()
	var b strings.Builder
	t.up(&b, cols)
	b.WriteString(t.above.String())
	t.above.Reset()
	_, _ = io.WriteString(t.out, b.String())
}

// live are the rows of a frame.
func (t *tty) live(cols, rows int) []string {
	room := min(maxRows, max(rows-2, 1))
	show, more := t.rows, 0
	if len(show) > room {
		show, more = show[:room-1], len(show)-room+1
	}
	labels := 0
	for _, r := range show {
		labels = max(labels, width(r.label))
	}
	labels = min(labels, max(cols*2/5, 10))
	lines := make([]string, 0, len(show)+2)
	for _, r := range show {
		lines = append(lines, t.rowLine(r, cols-1, labels))
	}
	if more > 0 {
		text := strings.Repeat(" ", timeColumns+4) + t.style.ellipsis() + " and " + strconv.Itoa(more) + " more"
		lines = append(lines, t.style.dim(clip(text, cols-1, t.style.ellipsis())))
	}
	return append(lines, t.sum(cols-1))
}

// rowLine is the row of one job: glyph, time, job, step, last line; from the
// right, what does not fit goes.
func (t *tty) rowLine(r *row, cols, labels int) string {
	text := t.style.blue(t.style.spinner(t.frame)) + " " + t.style.dim(flush(duration(t.now().Sub(r.began)), timeColumns)) +
		"  " + pad(clip(r.label, labels, t.style.ellipsis()), labels)
	room := cols - width(text)
	switch {
	case room < 6:
		return clip(text, cols, t.style.ellipsis())
	case len(r.steps) == 0:
		return text + t.style.dim("  "+clip("setting up", room-2, t.style.ellipsis()))
	}
	step := r.steps[len(r.steps)-1].name
	if len(r.last) == 0 || room < 24 {
		return text + "  " + clip(step, room-2, t.style.ellipsis())
	}
	step = clip(step, max(room*2/5, 12), t.style.ellipsis())
	text += "  " + step
	room -= 2 + width(step)
	if room < 12 {
		return text
	}
	t.scratch = sanitize(t.scratch[:0], r.last, false)
	return text + t.style.dim("  "+t.style.bar()+" "+clip(strings.TrimSpace(string(t.scratch)), room-4, t.style.ellipsis()))
}

// sum is the last line of a frame.
func (t *tty) sum(cols int) string {
	text := "  " + t.style.bold(flush(duration(t.now().Sub(t.began)), timeColumns)) + " "
	gap := " "
	put := func(s string) {
		text += gap + s
		gap = t.style.dim(" " + t.style.dot() + " ")
	}
	add := func(n int, what string, paint func(string) string) {
		if n > 0 {
			put(paint(strconv.Itoa(n) + " " + what))
		}
	}
	plainly := func(s string) string { return s }
	if t.note != "" {
		put(t.style.yellow(t.note))
	}
	add(len(t.rows), "running", plainly)
	add(t.known-len(t.rows), "waiting", plainly)
	ok := "ok"
	if t.reused > 0 {
		ok = fmt.Sprintf("ok (%d reused)", t.reused)
	}
	add(t.done, ok, t.style.green)
	add(t.bad, "failed", t.style.red)
	add(t.skipped, "skipped", t.style.dim)
	return clip(text, cols, t.style.ellipsis())
}

// tolerated says why a step that failed hurts nobody else.
func tolerated(b *record.StepFinished) string {
	if b.Muted {
		return "quarantined tests"
	}
	return "continue-on-error"
}
