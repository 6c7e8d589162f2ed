package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// retry runs the failed tests of a step again, as often as the project says. The step
// is well when each of them has passed, which the report shows; every attempt is kept. What
// cannot be told for certain (how to run these tests alone, whether they were run at
// all) leaves the step as it was.
func (t *thread) retry(ctx context.Context, s *plan.Step, act *plan.Act, a *asked, scope *plan.Scope, first stepWork) stepWork {
	w := first
	for n := 1; n <= t.req.Tests.Retry && ctx.Err() == nil; n++ {
		tests := w.tests
		if !w.failed() || act.Command == nil || w.result.Stopped || w.result.Signal != "" || tests.lost ||
			len(tests.failing) == 0 || tests.quarantined(time.Now()) {
			break
		}
		end, err := t.ending(act, &w)
		if err != nil {
			t.say(s.Key, fmt.Sprintf("%s, and cannot be run again: it is not certain that nothing else failed: %v", tests.count(), err))
			break
		}
		command := again(act.Command, end, slices.Collect(maps.Values(tests.failing)))
		if command == nil {
			t.say(s.Key, fmt.Sprintf("%s, and cannot be run again: it is not known how to run %s with these tests alone", tests.count(), end.Program))
			break
		}
		t.say(s.Key, fmt.Sprintf("%s: they are run again (%d of %d)", tests.count(), n, t.req.Tests.Retry))
		t.exit(w.beside, nil)
		tests.attempt++
		only := *act
		only.Command = command
		w = t.work(ctx, s, &only, a, scope, tests)
		w.tries, w.seen = n, first.result.Observation
		w.said = append(slices.Clone(first.said), w.said...)
		if w.err == nil && w.result.Exit == 0 && len(tests.failing) > 0 {
			// It did not run them.
			w.result.Exit = first.result.Exit
			t.say(s.Key, fmt.Sprintf("%s, and did not run again", tests.count()))
			break
		}
	}
	return w
}

// say adds a line of Fairlead's own to what a step prints.
func (t *thread) say(step, text string) {
	line := []byte("fairlead: " + text)
	if n, err := t.log.Line(step, time.Now(), line); err == nil { // a log that is lost is found out elsewhere
		t.req.Observer.Line(t.plan.ID, step, n, line)
	}
}

// count is how many tests failed, for people.
func (t *trial) count() string {
	if len(t.failing) == 1 {
		return "1 test failed"
	}
	return fmt.Sprintf("%d tests failed", len(t.failing))
}

// again is the command that runs the failed tests alone; nil when that is not known. The
// rest of its script is run again, too: what comes before the tests made what they need.
func again(c *plan.Command, end *suite.Ending, failed []record.TestResult) *plan.Command {
	line, more := end.Line(), end.Again(failed)
	if more == "" {
		return nil
	}
	return rewritten(c, line, more)
}

// rewritten is a command with another text in the place of one of its script's; nil when
// it is not certain where that stands.
func rewritten(c *plan.Command, old, text string) *plan.Command {
	changed := 0
	replace := func(in string) string {
		at := strings.LastIndex(in, old) // before it a script may show what it is about to run
		if at < 0 {
			return in
		}
		changed++
		return in[:at] + text + in[at+len(old):]
	}
	only := *c
	only.Script = replace(c.Script)
	if changed == 0 {
		return nil // it is written over several lines
	}
	changed = 0
	only.Files = slices.Clone(c.Files)
	for i, f := range only.Files {
		only.Files[i].Body = []byte(replace(string(bytes.Clone(f.Body))))
	}
	only.Argv = slices.Clone(c.Argv)
	for i, arg := range only.Argv {
		only.Argv[i] = replace(arg)
	}
	if changed != 1 {
		return nil
	}
	return &only
}
