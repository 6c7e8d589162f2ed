package deploy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Side is one of the two revisions that an analysis compares.
type Side struct {
	Number  int    // of the revision; 0: there is none
	Release string // ID
	Version string
}

// Asker asks Prometheus; an [Outside] is one.
type Asker interface {
	Query(ctx context.Context, server, expression string) (value float64, ok bool, err error)
	Series(ctx context.Context, server, expression string, from, to time.Time, every time.Duration) ([]float64, error)
}

// TakeLook gathers what an analysis looks at: the driver's counts, if it has some (c is nil if
// it does not count), and the answers to the queries since the analysis began. That a query could not be
// answered is part of the look; the error says that the driver could not be asked.
func TakeLook(ctx context.Context, a *plan.Analysis, t *Target, c Counter, ask Asker, begun, now time.Time, fresh, old Side) (*Look, error) {
	l := &Look{At: now}
	if c != nil {
		traffic, err := c.Counts(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("count the requests to %s: %w", t.Name(), err)
		}
		n := traffic.Revisions[fresh.Number]
		l.Since, l.New = traffic.Since, &n
		if o, ok := traffic.Revisions[old.Number]; ok && old.Number != 0 {
			l.Old = &o
		}
	}
	for i := range a.Queries {
		q := &a.Queries[i]
		if l.Answers == nil {
			l.Answers = map[string]Answer{}
		}
		var answer Answer
		var err error
		if answer.New, err = asked(ctx, a, q, t, ask, begun, now, fresh); err == nil && old.Number != 0 {
			answer.Old, err = asked(ctx, a, q, t, ask, begun, now, old)
		}
		if err != nil {
			answer.Why = err.Error()
		}
		l.Answers[q.Name] = answer
	}
	return l, ctx.Err()
}

// asked is the answer to a query for one side.
func asked(ctx context.Context, a *plan.Analysis, q *plan.Query, t *Target, ask Asker, begun, now time.Time, side Side) (x Asked, err error) {
	in := func(text string) string { return Expression(text, t, side) }
	if q.Errors != "" {
		var counted bool
		if x.Total, x.OK, err = ask.Query(ctx, a.Prometheus, in(q.Total)); err != nil || !x.OK {
			return x, err
		}
		// A counter that has never counted is not there: no failures yet.
		if x.Failed, counted, err = ask.Query(ctx, a.Prometheus, in(q.Errors)); err != nil || !counted {
			x.Failed = 0
		}
		if err != nil {
			x.OK = false
			return x, err
		}
	}
	if q.Value != "" {
		every := max(a.Every, time.Second)
		if x.Series, err = ask.Series(ctx, a.Prometheus, in(q.Value), begun, now, every); err != nil {
			return x, err
		}
		x.OK = x.OK || len(x.Series) > 0
	}
	return x, nil
}

// Expression is a query's text for one side. What stands in it is quoted as PromQL's strings are, so
// that no name of a release changes what is asked.
func Expression(text string, t *Target, side Side) string {
	quoted := func(s string) string {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	return strings.NewReplacer(
		"{{release}}", quoted(side.Release),
		"{{version}}", quoted(side.Version),
		"{{revision}}", strconv.Itoa(side.Number),
		"{{service}}", quoted(t.Service),
		"{{environment}}", quoted(t.Environment),
	).Replace(text)
}
