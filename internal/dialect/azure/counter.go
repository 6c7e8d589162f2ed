package azure

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A counter counts across the runs of a pipeline, for each prefix by itself.
// So it is no function of what one run knows: whoever plans a run gives the
// numbers out ([Dialect.Count]), they are part of the run from then on, and
// counter() looks them up.

const (
	maxCounters = 100 // that a run has
	maxPrefix   = 500 // bytes of what a counter counts by
)

// counts finds expressions with a counter. Of those that ask how other jobs
// ended the prefix cannot be known before the run.
var (
	counts = regexp.MustCompile(`(?i)\bcounter\s*\(`)
	asks   = regexp.MustCompile(`(?i)\b(stage)?dependencies\b`)
)

// Count gives out the numbers of the counters that a pipeline's variables name, each
// once, however many jobs see it. They are in c.Counted afterwards.
func (d *Dialect) Count(c *plan.Context, at time.Time, next func(prefix string, seed int) (int, error)) error {
	if c.Pipeline == nil {
		return nil
	}
	var jobs []plan.Job
	for _, j := range c.Pipeline.Jobs {
		jobs = append(jobs, j)
		if j.Deferred != nil && j.Deferred.Kind == deferStage {
			var inner []plan.Job
			if err := decode(j.Deferred.Data["jobs"], &inner); err != nil {
				return fmt.Errorf("azure: read the jobs of stage %s: %w", j.ID, err)
			}
			jobs = append(jobs, inner...)
		}
	}
	counted := &plan.Counted{At: at, Numbers: map[string]int{}}
	var failed error
	give := func(prefix string, seed int) (int, error) {
		if n, known := counted.Numbers[prefix]; known {
			return n, nil
		}
		if len(counted.Numbers) >= maxCounters {
			return 0, &expression.Error{Message: fmt.Sprintf("a run has at most %d counters", maxCounters), Offset: -1}
		}
		n, err := next(prefix, seed)
		if err != nil {
			failed = cmp.Or(failed, err)
			return 0, err
		}
		counted.Numbers[prefix] = n
		return n, nil
	}
	held := *c
	held.Counted = counted
	for i := range jobs {
		e := &evaluator{s: &plan.Scope{Context: &held, Job: &jobs[i], Started: at}, next: give}
		for _, b := range jobs[i].Env {
			if counts.MatchString(b.Value.Text) && !asks.MatchString(b.Value.Text) {
				_, _ = e.value(b.Value) // what is wrong with it fails the job that it is of, see Setup
			}
		}
		if failed != nil {
			return failed
		}
	}
	e := &evaluator{s: &plan.Scope{Context: &held, Started: at}}
	format, _ := strings.CutPrefix(c.Pipeline.RunName.Text, runNamePrefix)
	if rest, revised, err := e.unrevised(format); err != nil {
		return err
	} else if revised {
		n, err := next(revision+" "+rest, 1)
		if err != nil {
			return err
		}
		counted.Numbers[revision] = n
	}
	if len(counted.Numbers) > 0 {
		c.Counted = counted
	}
	return nil
}

// revision is the number that tells apart runs whose names are alike else: $(Rev:r) begins
// with 1 whenever the rest of the name is new.
const revision = "$(Rev:r)"

// unrevised is the name of a run without that number; revised says whether it has one.
func (e *evaluator) unrevised(format string) (rest string, revised bool, err error) {
	format = token.ReplaceAllStringFunc(cmp.Or(format, usualName), func(t string) string {
		if !isRevision(t) {
			return t
		}
		revised = true
		return "#"
	})
	rest, err = e.runName(format)
	return rest, revised, err
}

func isRevision(t string) bool {
	name, _, _ := strings.Cut(t[2:len(t)-1], ":")
	return strings.EqualFold(name, "rev")
}

// counter is how often the pipeline has run with a prefix, from a seed: counter(prefix, seed).
func (e *evaluator) counter(args []any) (any, error) {
	prefix, seed := "", 0
	if len(args) > 0 {
		prefix = expression.String(args[0])
	}
	if len(prefix) > maxPrefix {
		return nil, &expression.Error{Message: fmt.Sprintf("the prefix of a counter has %d bytes; at most %d are counted by", len(prefix), maxPrefix), Offset: -1}
	}
	if len(args) == 2 {
		n, ok := expression.Number(expression.String(args[1]))
		if !ok {
			return nil, &expression.Error{Message: "the seed must be a number", Offset: -1}
		}
		seed = int(n)
	}
	if e.next != nil {
		n, err := e.next(prefix, seed)
		return float64(n), err
	}
	if e.s.Context == nil || e.s.Number == 0 {
		return float64(seed), nil // nothing runs: a file is being read
	}
	if c := e.s.Counted; c != nil {
		if n, known := c.Numbers[prefix]; known {
			return float64(n), nil
		}
	}
	return nil, &expression.Error{Message: fmt.Sprintf("the counter of %q has no number: what it counts by was not known when the run was planned", plan.Clip(prefix)),
		Hint: "use it in a variable, with a prefix that hangs neither on a secret nor on how other jobs ended", Offset: -1}
}
