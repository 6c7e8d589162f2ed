package engine

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxCauseText is how many bytes of a log are looked through for a cause; of a
	// longer one, the last lines are.
	maxCauseText = 64 << 20
	// causeLine is how many bytes of a line are looked at.
	causeLine = 4 << 10
	// maxCause is how many bytes of a causal line are recorded.
	maxCause = 500
	// maxEarlier is how many steps of a job are remembered for those that come after.
	maxEarlier = 200
)

// explain adds to a diagnosis the line of the log from which the others follow, and
// what tells the failure apart from others.
func (t *thread) explain(fin *record.StepFinished, s *plan.Step, w *stepWork) {
	d := fin.Fault
	if d == nil || w.tail == nil {
		return
	}
	var ran []string
	if o := w.result.Observation; o != nil {
		ran = o.Programs
	}
	c, found := fault.FirstCause(t.printed(s.Key, w), ran)
	if !found || c.Sure <= fault.Consequence {
		c.Rule, c.Text, c.Sure = d.Rule, d.Title, 0
	} else {
		d.Cause, d.CauseLine = strings.ToValidUTF8(c.Text[:min(len(c.Text), maxCause)], ""), c.Line
	}
	if c.Sure == fault.Located && d.At.IsZero() {
		d.At = c.At
		if file, err := filepath.Rel(t.base.Dirs.Workspace, d.At.File); err == nil && within(d.At.File, t.base.Dirs.Workspace) {
			d.At.File = filepath.ToSlash(file)
		}
	}
	d.Print = fmt.Sprintf("%016x", c.Print())
}

// printed is what a step printed: all of it where its lines are those of the log one
// after another, else the last.
func (t *thread) printed(key string, w *stepWork) iter.Seq[fault.Line] {
	from, to := w.begun, t.log.Lines()
	text := io.ReadCloser(nil)
	if to-from == w.lines {
		text, _ = t.log.Text(key, from, to) // when it cannot be read, the tail is there
	}
	return func(yield func(fault.Line) bool) {
		if text == nil {
			for _, l := range w.tail.lines() {
				if !yield(l) {
					return
				}
			}
			return
		}
		defer text.Close()
		r := bufio.NewReaderSize(io.LimitReader(text, maxCauseText), 64<<10)
		for n := from; ; n++ {
			line, more, err := r.ReadLine()
			if err != nil {
				return
			}
			seen := strings.ToValidUTF8(string(line[:min(len(line), causeLine)]), "�")
			for more && err == nil {
				_, more, err = r.ReadLine()
			}
			if !yield(fault.Line{N: n, Text: seen}) {
				return
			}
		}
	}
}

// ranBefore is a step that ran in a job's workspace.
type ranBefore struct {
	key  string
	seen *record.Observation // nil: not all is known of it
}

// remember keeps what a step did in mind for those after it.
func (j *job) remember(key string, seen *record.Observation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.earlier) == maxEarlier {
		j.earlier[0] = ranBefore{key: j.earlier[0].key} // enough for nothing to be certain any more
		return
	}
	j.earlier = append(j.earlier, ranBefore{key, seen})
}

// rememberWork does so for a step that was worked on. One that stands for others is
// none itself.
func (t *thread) rememberWork(s *plan.Step, act *plan.Act, w *stepWork) {
	switch {
	case act.Command != nil:
		seen := w.result.Observation
		if w.tries > 0 || w.beside != nil && t.inside.Load() > 0 {
			seen = nil
		}
		t.remember(s.Key, seen)
	case act.Builtin != nil && !act.Builtin.Aloof:
		t.remember(s.Key, nil)
	}
}

// observed is what a step did when it ran that is reused now.
func observed(rec *cache.Record) *record.Observation {
	return &record.Observation{
		Mechanism: rec.Mechanism, Inputs: rec.Inputs, Outputs: rec.Outputs, Programs: rec.Programs, Peers: rec.Peers, Calls: rec.Calls, Overhead: rec.Overhead,
	}
}

// keepEarlier keeps the Observations of the steps before this one, of which it is
// going to be asked whether they brought a change to its tests, or what a file that was
// kept is made of. Each is written once, however many steps come after it.
func (t *thread) keepEarlier() (list []record.Earlier) {
	t.mu.Lock()
	before := t.earlier[:len(t.earlier):len(t.earlier)]
	t.mu.Unlock()
	for i := range before {
		seen := before[i].seen
		t.mu.Lock()
		kept, known := t.kept[seen]
		t.mu.Unlock()
		if !known {
			kept = t.keepSeen(seen)
			t.mu.Lock()
			if t.kept == nil {
				t.kept = map[*record.Observation]string{}
			}
			t.kept[seen] = kept
			t.mu.Unlock()
		}
		list = append(list, record.Earlier{Step: before[i].key, Kept: kept})
	}
	return list
}
