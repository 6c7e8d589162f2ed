package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Decide changes the state of a test as a person wants it: quarantine, or release from
// it. The error is a [*UsageError] when the person may not, or the wish makes no sense.
// The decision is an event; it holds from then on, for runs that are planned later. What
// acted makes of it, if it is not nil, is written in the same transaction: who did it is
// known as surely as that it was done.
func (t *Tests) Decide(ctx context.Context, id suite.ID, d suite.Decision, acted func(*record.TestJudged) *record.Acted) (*record.TestJudged, error) {
	if err := t.Learn(ctx); err != nil {
		var held *store.HeldError
		if !errors.As(err, &held) {
			return nil, err
		}
	}
	known, err := t.Ledger.Known(ctx, []suite.ID{id})
	if err != nil {
		return nil, err
	}
	var test suite.Test
	if state, ok := known[id]; !ok {
		return nil, &plan.UsageError{Message: fmt.Sprintf("no test %s of %s is known", id.Key, id.Repository)}
	} else if err := test.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("read what is known of test %s: %w", id.Key, err)
	}
	row, ward, policy, err := t.ward(ctx, id, &test)
	if err != nil {
		return nil, err
	}
	j, err := suite.Decide(&test, d, ward, policy, time.Now())
	if err != nil {
		return nil, &plan.UsageError{Message: err.Error()}
	}
	j.Repository, j.Key, j.Variant, j.Title = id.Repository, id.Key, id.Variant, row.Title
	name := path.Join(id.Repository, cmp.Or(id.Variant, "-"), id.Key)
	was, err := t.Store.Register(ctx, wardKind, name)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	events := []record.Event{{Body: j}}
	if acted != nil {
		events = append(events, record.Event{Body: acted(j)})
	}
	if _, err := t.Store.Change(ctx, []record.Register{{Kind: wardKind, ID: name, Version: was.Version, Body: text}}, events...); err != nil {
		if errors.Is(err, record.ErrConflict) {
			return nil, &plan.UsageError{Message: "somebody else has just decided about this test", Hint: "look at it again"}
		}
		return nil, fmt.Errorf("decide about a test: %w", err)
	}
	var held *store.HeldError
	if err := t.Learn(ctx); err != nil && !errors.As(err, &held) {
		return nil, err
	}
	return j, nil
}

// ward is what of its project matters for a test, and its row.
func (t *Tests) ward(ctx context.Context, id suite.ID, test *suite.Test) (row suite.Row, w suite.Ward, p suite.Policy, err error) {
	l := &lessons{Tests: t, classes: map[string]*class{}, runs: map[string]*taught{}}
	results, err := t.Ledger.Results(ctx, id, "", 1)
	if err != nil {
		return row, w, p, err
	}
	run := &taught{repository: id.Repository}
	if len(results) > 0 {
		if last, err := l.run(ctx, results[0].Run); err != nil {
			return row, w, p, err
		} else if last != nil {
			run = last
		}
	}
	peers, err := l.class(ctx, run)
	if err != nil {
		return row, w, p, err
	}
	if row, err = t.row(ctx, id); err != nil {
		return row, w, p, err
	}
	w = peers.ward
	w.Owner = cmp.Or(strings.Join(run.owners.Of(row.File), " "), row.Owner)
	if state, _ := test.State(); state == record.TestQuarantined {
		w.Quarantined--
	}
	return row, w, run.policy, nil
}

// obey takes down what a person decided.
func (l *lessons) obey(ctx context.Context, e record.Event, j *record.TestJudged) error {
	id := suite.ID{Repository: j.Repository, Key: j.Key, Variant: j.Variant}
	if err := l.enrol(ctx, []suite.ID{id}); err != nil {
		return err
	}
	p := l.pupils[id]
	row, err := l.row(ctx, id)
	if err != nil {
		return err
	}
	if p.row.Title == "" {
		p.row = row
	}
	peers, err := l.class(ctx, &taught{repository: id.Repository})
	if err != nil {
		return err
	}
	decided := *j
	l.judge(peers, p, id, &decided, e.Time)
	return l.add(p, peers.prior.Of(&p.test), row.Owner, suite.Result{})
}
