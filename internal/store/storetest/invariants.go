package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// CheckLog checks what holds for every log: Seqs count up by one, and no
// event lacks a time or a body. The first event may have any Seq, so that a
// part of a log can be checked.
func CheckLog(events []record.Event) error {
	var errs []error
	for i, e := range events {
		if i > 0 && e.Seq != events[i-1].Seq+1 {
			errs = append(errs, fmt.Errorf("event %d follows event %d", e.Seq, events[i-1].Seq))
		}
		if e.Time.IsZero() {
			errs = append(errs, fmt.Errorf("event %d has no time", e.Seq))
		}
		if e.Body == nil {
			errs = append(errs, fmt.Errorf("event %d has no body", e.Seq))
		}
	}
	return errors.Join(errs...)
}

// CheckRun checks what holds for the events of every run, at any instant and
// whatever killed whoever ran it:
//
//   - a run begins with RunPlanned, and there is one;
//   - nothing else happens before it is RunStarted, nor after RunFinished,
//     unless it is started again with Resume; there is one RunFinished for
//     each start at most;
//   - a job starts at most once for each attempt and finishes at most once
//     for each start of the run, and nothing of it happens afterwards;
//   - a step happens in a job that has started; it finishes only after it
//     started, or else was skipped, or could not be started, for a reason
//     given; it does not start twice in one attempt of its job unless the
//     run was resumed;
//   - a job that finished well has no step that still runs;
//   - a run's verdict is not better than the result of its worst job.
//
// CancelRequested and ChangeCompared may come at any time after RunPlanned.
func CheckRun(events []record.Event) error {
	c := checker{jobs: map[string]*jobState{}}
	for _, e := range events {
		c.check(e)
	}
	return errors.Join(c.errs...)
}

type checker struct {
	errs     []error
	planned  bool
	running  bool
	started  int // how many times
	finished bool
	jobs     map[string]*jobState
}

type jobState struct {
	started  bool
	attempt  int
	starts   int  // of the run, when it last started
	away     bool // a worker does it: it goes on while the run has no owner
	finished bool
	expanded bool
	result   plan.Verdict
	steps    map[string]stepState
}

type stepState int

const (
	stepRunning stepState = iota + 1
	stepDone
)

func (c *checker) fail(e record.Event, format string, args ...any) {
	where := fmt.Sprintf("event %d, %s", e.Seq, e.Kind())
	for _, part := range []string{e.Job, e.Step} {
		if part != "" {
			where += " " + part
		}
	}
	c.errs = append(c.errs, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (c *checker) check(e record.Event) {
	if !c.planned {
		if _, ok := e.Body.(*record.RunPlanned); !ok {
			c.fail(e, "the run has not been planned")
		}
		c.planned = true
	} else if _, ok := e.Body.(*record.RunPlanned); ok {
		c.fail(e, "the run was planned before")
	}
	switch b := e.Body.(type) {
	case *record.RunPlanned, *record.CancelRequested, *record.ChangeCompared:
		return
	case *record.RunStarted:
		if c.started > 0 && !b.Resume {
			c.fail(e, "the run was started before, and this does not resume it")
		}
		c.started++
		c.running, c.finished = true, false
		for _, j := range c.jobs {
			// What was under way when the last owner died begins anew, unless a
			// worker went on with it.
			for key, s := range j.steps {
				if s == stepRunning && !j.away {
					delete(j.steps, key)
				}
			}
		}
		return
	case *record.RunFinished:
		c.checkFinish(e, b)
		c.running, c.finished = false, true
		return
	}
	switch {
	case c.finished:
		c.fail(e, "the run has finished")
	case !c.running:
		c.fail(e, "the run has not started")
	}
	if e.Job == "" {
		c.fail(e, "the event names no job")
		return
	}
	j := c.jobs[e.Job]
	if j == nil {
		j = &jobState{steps: map[string]stepState{}}
		c.jobs[e.Job] = j
	}
	c.checkJob(e, j)
}

func (c *checker) checkFinish(e record.Event, b *record.RunFinished) {
	if c.finished {
		c.fail(e, "the run has finished before")
	}
	if b.Verdict == "" {
		c.fail(e, "no verdict")
	}
	worst := plan.Verdict("")
	for _, j := range c.jobs {
		if j.finished {
			worst = plan.Worse(worst, j.result)
		}
	}
	if worst.Bad() && !b.Verdict.Bad() && b.Verdict != plan.Cancelled {
		c.fail(e, "the verdict is %s, but a job ended in %s", b.Verdict, worst)
	}
	if b.Verdict == plan.Success {
		for id, j := range c.jobs {
			if (j.started || j.expanded) && !j.finished {
				c.fail(e, "job %s has not finished", id)
			}
		}
	}
}

func (c *checker) checkJob(e record.Event, j *jobState) {
	if j.finished {
		// A resumed run may repeat a job that did not end well.
		_, starts := e.Body.(*record.JobStarted)
		_, queues := e.Body.(*record.JobQueued)
		_, expands := e.Body.(*record.JobExpanded)
		_, finishes := e.Body.(*record.JobFinished)
		if !(starts || queues || expands || finishes) || j.starts == c.started {
			c.fail(e, "the job has finished")
			return
		}
		*j = jobState{steps: map[string]stepState{}, attempt: j.attempt}
	}
	j.starts = c.started
	switch b := e.Body.(type) {
	case *record.JobStarted:
		if j.started && b.Attempt <= j.attempt && len(j.steps) > 0 && !b.GoesOn && c.started == 1 {
			c.fail(e, "attempt %d was started before", b.Attempt)
		}
		if b.Attempt != j.attempt && !b.GoesOn {
			clear(j.steps)
		}
		j.started, j.attempt, j.away = true, b.Attempt, strings.HasPrefix(b.Place, "worker ")
	case *record.JobQueued:
		if j.started { // whoever did it is lost, and it waits for somebody else
			*j = jobState{steps: map[string]stepState{}, starts: c.started}
		}
	case *record.JobExpanded:
		j.expanded = true
	case *record.JobFinished:
		if b.Verdict == "" || b.Result == "" {
			c.fail(e, "no verdict")
		}
		if b.Verdict == plan.Success {
			for key, s := range j.steps {
				if s == stepRunning {
					c.fail(e, "step %s still runs", key)
				}
			}
		}
		j.finished, j.result = true, b.Result
	case *record.StepStarted:
		c.needStep(e, j)
		if j.steps[e.Step] != 0 && c.started == 1 {
			c.fail(e, "the step was started before")
		}
		j.steps[e.Step] = stepRunning
	case *record.StepFinished:
		c.needStep(e, j)
		switch j.steps[e.Step] {
		case 0:
			if b.Outcome != plan.Skipped && b.Outcome != plan.Cancelled && b.Why == "" && b.Fault == nil {
				c.fail(e, "the step ended in %s without having started, for no reason given", b.Outcome)
			}
		case stepDone:
			c.fail(e, "the step has finished before")
		}
		if b.Outcome == "" || b.Conclusion == "" {
			c.fail(e, "no verdict")
		}
		j.steps[e.Step] = stepDone
	}
}

func (c *checker) needStep(e record.Event, j *jobState) {
	if e.Step == "" {
		c.fail(e, "the event names no step")
	}
	if !j.started {
		c.fail(e, "its job has not started")
	}
}
