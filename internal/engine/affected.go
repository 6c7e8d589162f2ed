package engine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

const (
	// maxUnitList is how many bytes the listing of a step's tests may have.
	maxUnitList = 64 << 20
	// maxUnitsTold is how many of the tests that were left out are named.
	maxUnitsTold = 20
)

// parts is the tests of a step, each unit a process of its own, and what came of them
// together.
type parts struct {
	*suite.Parts
	root    string // where the command runs
	choices []suite.Candidate
	sum     stepWork
	unseen  bool // nobody watched some of it
	sure    bool // of the worst unit so far, tests failed and nothing else did
}

// affected runs the tests of a step unit by unit, and leaves out those that have passed
// with the very same bytes before their eyes. It reports false when that cannot be done
// for certain: then the step runs as it is written.
func (t *thread) affected(ctx context.Context, s *plan.Step, act *plan.Act, a *asked, scope *plan.Scope, tests *trial) (w stepWork, done bool) {
	if !t.req.Tests.Affected || act.Command == nil || a == nil || a.verify != nil {
		return w, false
	}
	all := func(why error) (stepWork, bool) {
		t.say(s.Key, fmt.Sprintf("all tests run: %v", why))
		return stepWork{}, false
	}
	taken, err := suite.PartsOf(act.Command.Script)
	switch {
	case err != nil:
		return all(err)
	case taken == nil:
		return w, false
	}
	p := &parts{Parts: taken, root: cmp.Or(act.Command.Dir, t.base.Dirs.Workspace), sure: true}
	units, err := t.units(ctx, act, p)
	if err != nil {
		return all(err)
	}
	p.sum.tests = tests
	if p.Before != "" {
		first, ok := part(act.Command, taken, strings.TrimSuffix(taken.Set+taken.Before, "\n"))
		if !ok {
			return all(errApart)
		}
		w = t.work(ctx, s, first, a, scope, tests)
		if t.exit(w.beside, nil); w.failed() || w.err != nil || w.result.Stopped || ctx.Err() != nil {
			w.apart, w.beside = true, nil
			return w, true
		}
		p.add(&w, true)
	}
	for _, unit := range units {
		one, ok := part(act.Command, taken, taken.Set+taken.Unit(unit, p.root))
		if !ok || taken.Unit(unit, p.root) == "" {
			return all(errApart) // before anything has run: all are written in the same way
		}
		if t.unit(ctx, s, act, one, unit, p, scope); ctx.Err() != nil || p.sum.err != nil || p.sum.result.Stopped {
			break
		}
	}
	t.told(s.Key, p)
	p.sum.apart = true
	return p.sum, true
}

// errApart is why a script cannot be taken apart that its dialect has written anew.
var errApart = fmt.Errorf("the script is written in a way that is hard to take apart")

// units lists what there is to run.
func (t *thread) units(ctx context.Context, act *plan.Act, p *parts) ([]string, error) {
	list, ok := part(act.Command, p.Parts, p.Set+p.List())
	if !ok {
		return nil, errApart
	}
	out := &limited{left: maxUnitList}
	res, err := t.room.Run(ctx, list.Command, nil, out)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its tests cannot be listed: %w", err)
	case res.Exit != 0 || out.left < 0:
		return nil, fmt.Errorf("its tests cannot be listed: %s ended with exit code %d", p.List(), res.Exit)
	}
	return p.Units(out.Bytes(), p.root)
}

// limited keeps what is written, up to a limit; left is below zero when there was more.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left >= 0 {
		l.Buffer.Write(b)
	}
	return len(b), nil
}

// part is an act with another script in the place of its own.
func part(c *plan.Command, p *suite.Parts, script string) (*plan.Act, bool) {
	old := c.Script
	if p.Before == "" && p.Set == "" {
		old = p.Line() // a dialect may have put more around each line
	}
	only := rewritten(c, strings.TrimRight(old, "\n"), script)
	if only == nil {
		return nil, false
	}
	only.Script = script
	return &plan.Act{Command: only}, true
}

// unit runs one unit, unless it need not be run.
func (t *thread) unit(ctx context.Context, s *plan.Step, act, one *plan.Act, unit string, p *parts, scope *plan.Scope) {
	one.Name, one.Masks = act.Name, act.Masks
	a := t.inquire(s, one, "/"+unit)
	c := suite.Candidate{Name: unit}
	switch {
	case a.found != nil:
		c.Passed, c.Seconds = a.found.Writer.Run, a.found.Took.Seconds()
		p.choices = append(p.choices, c)
		return
	case a.verify != nil:
		c.Why = "it is run to see whether it does the same again"
	case a.told.Miss != nil:
		c.Why = a.told.Miss.Why
	}
	begun := time.Now()
	w := t.work(ctx, s, one, a, scope, p.sum.tests)
	c.Seconds = time.Since(begun).Seconds()
	p.choices = append(p.choices, c)
	if !w.failed() && w.err == nil && !w.result.Stopped && w.result.Signal == "" && a.verify == nil {
		t.keepUnit(s, one, a, unit, &w)
	}
	t.exit(w.beside, w.result.Observation)
	sure := true
	if w.result.Exit != 0 {
		_, err := t.ending(one, &w)
		sure = err == nil
	}
	p.add(&w, sure)
}

// add adds what came of a process. Of those that failed the one counts of which it is least
// certain that only tests did.
func (p *parts) add(w *stepWork, sure bool) {
	sum := &p.sum
	bad := func(w *stepWork) bool { return w.err != nil || w.result.Exit != 0 || w.result.Signal != "" }
	seen := w.result.Observation
	if p.unseen = p.unseen || seen == nil; p.unseen {
		seen = nil
	} else if sum.result.Observation != nil {
		seen = joint(sum.result.Observation, seen)
	}
	if bad(w) && (!bad(sum) || p.sure && !sure) || sum.tail == nil {
		sum.result, sum.err, sum.tail, p.sure = w.result, w.err, w.tail, sure
	}
	sum.result.Observation = seen
	sum.result.Stopped = sum.result.Stopped || w.result.Stopped
	sum.fx.Merge(&w.fx)
	sum.said = append(sum.said, w.said...)
	sum.lines += w.lines
	sum.took += w.took
}

// keepUnit remembers that a unit passed. If that cannot be, it runs again next time.
func (t *thread) keepUnit(s *plan.Step, one *plan.Act, a *asked, unit string, w *stepWork) {
	fx := &w.fx
	if a.off || w.result.Observation == nil || len(fx.Env)+len(fx.Path)+len(fx.Outputs)+len(fx.State)+len(fx.Artifacts)+len(fx.Summary) > 0 {
		return // what it said would be missed
	}
	effects, masked := t.masked(*fx)
	r := t.reuse
	pending, _, err := r.Cache.Save(t.ctx, cache.Saving{
		Key: a.key, Dirs: t.base.Dirs, Observation: w.result.Observation, Effects: effects, Masked: masked || len(fx.Masks) > 0,
		Script: one.Command.Script, Vars: a.vars, Secrets: a.secrets, Rule: a.rule,
		Writer: cache.Writer{
			StepRef: record.StepRef{Run: t.base.RunID, Job: t.plan.ID, Step: s.Key, Commit: t.base.Change.SHA},
			Name:    unit, JobName: t.plan.Name, Repository: r.Repository, Root: r.Root, Pipeline: t.base.Pipeline.File,
			Scope: r.Scopes.Write, Time: time.Now(),
		},
	})
	if err == nil && w.beside != nil {
		w.beside.pending = pending
	}
}

// told says what was left out and why the rest ran.
func (t *thread) told(step string, p *parts) {
	chosen := suite.Select(p.choices, "")
	for i, c := range chosen.Run {
		if i == maxUnitsTold {
			t.say(step, fmt.Sprintf("and %d more ran", len(chosen.Run)-i))
			break
		}
		t.say(step, fmt.Sprintf("%s ran: %s", c.Name, c.Because))
	}
	var names []string
	for _, c := range chosen.Skip {
		names = append(names, c.Name)
	}
	line := "tests: " + chosen.String()
	if n := len(names); n > 0 {
		line += ". Left out: " + strings.Join(names[:min(n, maxUnitsTold)], ", ")
		if n > maxUnitsTold {
			line += fmt.Sprintf(" and %d more", n-maxUnitsTold)
		}
	}
	t.say(step, line)
}

// joint is what two processes have touched, one after the other.
func joint(a, b *record.Observation) *record.Observation {
	sum := *b
	if a.Mechanism == "" {
		sum.Mechanism = ""
	}
	sum.Barred = slices.Compact(slices.SortedFunc(slices.Values(slices.Concat(a.Barred, b.Barred)), func(x, y record.Bar) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Detail, y.Detail))
	}))
	made := map[string]bool{}
	for i := range a.Outputs {
		made[a.Outputs[i].Path] = true
	}
	// What the first has left is nothing that the two were given.
	inputs := slices.Clone(a.Inputs)
	for _, in := range b.Inputs {
		if !made[in.Path] {
			inputs = append(inputs, in)
		}
	}
	slices.SortStableFunc(inputs, func(x, y record.Input) int { return cmp.Or(strings.Compare(x.Path, y.Path), cmp.Compare(x.Use, y.Use)) })
	sum.Inputs = slices.CompactFunc(inputs, func(x, y record.Input) bool { return x.Path == y.Path && x.Use == y.Use })
	outputs := slices.Concat(b.Outputs, a.Outputs) // of one path, what was there at the end comes first
	slices.SortStableFunc(outputs, func(x, y record.Output) int { return strings.Compare(x.Path, y.Path) })
	sum.Outputs = slices.CompactFunc(outputs, func(x, y record.Output) bool { return x.Path == y.Path })
	sum.Programs, sum.Peers = joined(a.Programs, b.Programs), joined(a.Peers, b.Peers)
	sum.Argv = slices.Concat(a.Argv, b.Argv)
	sum.Random = a.Random || b.Random
	sum.LeftOver, sum.Calls = a.LeftOver+b.LeftOver, a.Calls+b.Calls
	sum.Overhead, sum.Wall = a.Overhead+b.Overhead, a.Wall+b.Wall
	return &sum
}

func joined(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}
