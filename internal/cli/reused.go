package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// What was reused of a run, in the words of all displays and verbs. Only steps
// that run commands count: a built-in is done each time, and a step that is made
// of others is told of by them.

// asks reports whether a step that has ended is one that reuse was asked about.
func asks(s *record.StepRun) bool {
	return s.Finished != nil && s.Finished.Reuse != nil && (s.Finished.Reuse.Key != "" || s.Finished.Reuse.From != nil)
}

// reused reports whether the results of another run stand for a step's.
func reused(f *record.StepFinished) bool {
	return f != nil && f.Reuse != nil && f.Reuse.From != nil
}

// differs reports whether a step was verified and did something else.
func differs(f *record.StepFinished) bool {
	return f != nil && f.Reuse != nil && f.Reuse.Verified && len(f.Reuse.Differs) > 0
}

// sums are what reuse came to, in a job or in a run.
type sums struct {
	Steps    int // that reuse was asked about
	Reused   int
	Saved    time.Duration
	Verified int
	Differ   int // of the verified ones

	off       int    // steps that are not watched for a while
	unwatched int    // steps that could not be watched
	unable    string // why not, the first of them
}

func (x *sums) add(s *record.StepRun) {
	if !asks(s) {
		return
	}
	x.Steps++
	u := s.Finished.Reuse
	switch {
	case u.From != nil:
		x.Reused++
		x.Saved += u.Saved
		return
	case u.Verified:
		x.Verified++
		if differs(s.Finished) {
			x.Differ++
		}
	}
	for _, b := range u.Barred {
		switch b.Kind {
		case record.BarOff:
			x.off++
		case record.BarNotWatched:
			if x.unwatched++; x.unable == "" {
				x.unable = b.Detail
			}
		}
	}
}

func sumsOf(j *record.JobRun) (x sums) {
	for _, s := range j.Steps {
		x.add(s)
	}
	return x
}

func runSums(r *record.Run) (x sums) {
	for _, id := range r.Order {
		for _, s := range r.Jobs[id].Steps {
			x.add(s)
		}
	}
	return x
}

// whole reports whether a job was reused as a whole: it had commands to run, and
// ran none.
func whole(j *record.JobRun) bool {
	if j.Verdict != plan.Success {
		return false
	}
	x := sumsOf(j)
	return x.Reused > 0 && x.Reused == x.Steps
}

// savedText is "reused, 3.1s saved".
func savedText(saved time.Duration) string {
	if saved <= 0 {
		return "reused"
	}
	return "reused, " + span(saved) + " saved"
}

// text is "18 of 20 reused, 3m12s saved"; "" when nothing was reused.
func (x *sums) text(noun string) string {
	if x.Reused == 0 {
		return ""
	}
	n := thousands(int64(x.Reused)) + " of " + thousands(int64(x.Steps))
	if x.Reused == x.Steps && x.Steps > 2 {
		n = "all " + thousands(int64(x.Steps))
	}
	if noun != "" {
		if n += " " + noun; x.Steps != 1 {
			n += "s"
		}
	}
	return n + " " + savedText(x.Saved)
}

// jobText is the mark of a job of which something was reused.
func (x *sums) jobText() string {
	if x.Reused == x.Steps && x.Reused > 0 {
		return savedText(x.Saved)
	}
	return x.text("step")
}

// fields are the lines about reuse in the final block of a run: none when there
// is nothing to say. What differs comes last, with the names.
func (x *sums) fields(r *record.Run, st style, field func(name, text string)) {
	var parts []string
	if text := x.text(""); text != "" {
		parts = append(parts, text)
	}
	if x.Verified > 0 {
		text := fmt.Sprintf("%d verified", x.Verified)
		switch {
		case x.Differ > 0:
			text += ", " + st.red(fmt.Sprintf("%d did not do the same", x.Differ))
		case x.Verified == 1:
			text += ": it did the same"
		default:
			text += ": all did the same"
		}
		parts = append(parts, text)
	}
	if len(parts) > 0 {
		field("steps", strings.Join(parts, st.dim(" "+st.dot()+" ")))
	}
	switch {
	case x.unwatched > 0 && x.unwatched+x.off == x.Steps:
		field("reuse", st.yellow("nothing can be reused here: ")+shown(or(x.unable, "steps cannot be watched")))
	case x.unwatched > 0:
		field("reuse", fmt.Sprintf("%s could not be watched", plural(x.unwatched, "step"))+st.dim(": "+shown(or(x.unable, "nobody knows why"))))
	}
	if x.off > 0 {
		field("reuse", fmt.Sprintf("%s not watched for a while", plural(x.off, "step"))+st.dim(": watching cost more than it saved "+st.dot()+" fairlead why "+r.ID))
	}
	if x.Differ > 0 {
		writeDiffering(r, st, field)
	}
}

const (
	maxDiffering   = 10 // steps that are named
	maxDifferences = 4  // of each
)

// writeDiffering names the steps that were verified and did something else.
func writeDiffering(r *record.Run, st style, field func(name, text string)) {
	name, n := "differs", 0
	for _, id := range r.Order {
		for _, s := range r.Jobs[id].Steps {
			if !differs(s.Finished) {
				continue
			}
			if n++; n > maxDiffering {
				continue
			}
			list := s.Finished.Reuse.Differs
			for i, d := range list {
				text := st.red(shown(id+"/"+s.Key)+" "+clip(shown(s.Start.Name), maxName, st.ellipsis())) + ": " + shown(d)
				if i == maxDifferences {
					text = st.dim(fmt.Sprintf("%s and %d more", st.ellipsis(), len(list)-i))
				}
				field(name, text)
				if name = ""; i == maxDifferences {
					break
				}
			}
		}
	}
	if n > maxDiffering {
		field("", st.dim(fmt.Sprintf("%s and %d more steps: fairlead why %s", st.ellipsis(), n-maxDiffering, r.ID)))
	}
	field("", st.dim("with the same inputs; they are not reused any more: fairlead why "+r.ID))
}

// differsText is how a display tells of a step that differs when it happens.
func differsText(f *record.StepFinished) string {
	text := "not as before: " + shown(f.Reuse.Differs[0])
	if n := len(f.Reuse.Differs) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// streak are jobs that were reused as a whole, one right after the other, and
// are not shown yet: many are shown as one line.
type streak struct {
	jobs  []lineKey
	saved time.Duration
	since time.Time
}

const (
	maxStreak  = 20                     // jobs that are still shown one by one
	streakHeld = 500 * time.Millisecond // that a job waits for others to be shown with
)

func (k *streak) add(s *stage, j *record.JobRun, now time.Time) {
	if len(k.jobs) == 0 {
		k.since = now
	}
	x := sumsOf(j)
	k.jobs, k.saved = append(k.jobs, lineKey{s, j.ID}), k.saved+x.Saved
}

// old reports whether the jobs have waited long enough.
func (k *streak) old(now time.Time) bool {
	return len(k.jobs) > 0 && now.Sub(k.since) >= streakHeld
}

// take are the lines that stand for the jobs, which are forgotten.
func (k *streak) take(st style) []string {
	if len(k.jobs) == 0 {
		return nil
	}
	jobs, saved := k.jobs, k.saved
	*k = streak{jobs: k.jobs[:0]}
	if len(jobs) > maxStreak {
		return []string{st.glyph(plan.Success) + " " + strings.Repeat(" ", timeColumns) + "  " +
			plural(len(jobs), "job") + "  " + st.dim(savedText(saved))}
	}
	lines := make([]string, len(jobs))
	for i, at := range jobs {
		lines[i] = at.s.ended(at.s.run.Job(at.job), st)
	}
	return lines
}

// reuseJSON is what became of a step's reuse, for programs. Times are in seconds.
type reuseJSON struct {
	Key      string          `json:"key,omitempty"`
	From     *record.StepRef `json:"from,omitempty"`
	Saved    float64         `json:"saved_seconds,omitempty"`
	Miss     *record.Miss    `json:"miss,omitempty"`
	Barred   []record.Bar    `json:"barred,omitempty"`
	Verified bool            `json:"verified,omitempty"`
	Differs  []string        `json:"differs,omitempty"`
}

func reuseOf(f *record.StepFinished) *reuseJSON {
	if f == nil || f.Reuse == nil || f.Reuse.Key == "" && f.Reuse.From == nil {
		return nil
	}
	u := f.Reuse
	return &reuseJSON{
		Key: u.Key, From: u.From, Saved: seconds(u.Saved), Miss: u.Miss, Barred: u.Barred, Verified: u.Verified, Differs: u.Differs,
	}
}

// watchedJSON is what was seen of a step, for programs.
type watchedJSON struct {
	Mechanism string   `json:"mechanism"`
	Inputs    int      `json:"inputs"`
	Outputs   int      `json:"outputs"`
	Peers     []string `json:"peers,omitempty"`
	Calls     int64    `json:"calls"`
	Overhead  float64  `json:"overhead_seconds"`
}

func watchedOf(f *record.StepFinished) *watchedJSON {
	if f == nil || f.Watched == nil || f.Watched.Mechanism == "" {
		return nil
	}
	w := f.Watched
	return &watchedJSON{w.Mechanism, w.Inputs, w.Outputs, w.Peers, w.Calls, seconds(w.Overhead)}
}

// sumsJSON is what reuse came to in a run, for programs.
type sumsJSON struct {
	Steps    int     `json:"steps"` // that reuse was asked about
	Reused   int     `json:"reused"`
	Saved    float64 `json:"saved_seconds"`
	Verified int     `json:"verified,omitempty"`
	Differ   int     `json:"differing,omitempty"`
}

func sumsJSONOf(r *record.Run) *sumsJSON {
	x := runSums(r)
	if x.Steps == 0 {
		return nil
	}
	return &sumsJSON{x.Steps, x.Reused, seconds(x.Saved), x.Verified, x.Differ}
}

// parts reports whether a step stands for others.
func parts(j *record.JobRun, key string) bool {
	return slices.ContainsFunc(j.Steps, func(s *record.StepRun) bool { return strings.HasPrefix(s.Key, key+".") })
}
