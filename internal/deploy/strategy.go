package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// What holds when fairlead.yaml does not say it.
const (
	DefaultDeadline = 5 * time.Minute  // of one move
	DefaultKeepOld  = 10 * time.Minute // how long the old release is kept as the way back
	DefaultHold     = time.Minute      // after a canary's step, if nothing is analyzed
)

// Limits of a strategy.
const (
	maxSteps     = 20
	maxInstances = 10_000
	maxMoves     = 2_000
	maxTime      = 30 * 24 * time.Hour
)

// DefaultAnalysis is how a canary is judged when the service does not say it and the
// driver sees the requests.
func DefaultAnalysis() plan.Analysis {
	return plan.Analysis{For: 5 * time.Minute, Every: 10 * time.Second, Alpha: 0.01, Tolerance: 1.5, Errors: 0.05}
}

// defaultSteps are those of a canary.
var defaultSteps = [...]int{5, 25, 50, 100}

// Compile makes the list of moves by which a service goes from the release that is in
// an environment to another one. With from false there is none yet: then nothing is
// split or kept.
//
// Problems are the user's. One of severity Error says that the strategy cannot be
// had there, because the driver cannot do it or because it contradicts itself; it
// is never replaced by another one. The rollout is not to be used then.
func Compile(svc *project.Service, env *project.DeployEnvironment, caps Capabilities, from bool) (plan.Rollout, []plan.Problem) {
	c := compiler{svc: svc, env: env, caps: caps, from: from, n: svc.In(env.Name), within: cmp.Or(svc.Strategy.Deadline, DefaultDeadline)}
	c.r = plan.Rollout{Service: svc.Name, Environment: env.Name, Driver: svc.Driver(), Strategy: c.strategy()}
	if caps.Instances {
		c.r.Instances = c.n
	}
	c.check()
	if plan.Errors(c.problems) {
		return c.r, c.problems
	}
	// A proposal comes before the gate: it is what people agree to.
	if caps.Propose {
		c.add(plan.Move{Key: "propose", Kind: plan.MovePropose})
	}
	if g := env.Gate; !empty(&g) {
		c.add(plan.Move{Key: "gate", Kind: plan.MoveGate, Gate: &g})
	}
	c.migrate("expand")
	switch {
	case !caps.Instances && caps.Split && from:
		c.ramp() // a flag: there are no instances, but there are shares
	case !caps.Instances && caps.Split:
		c.shift(100)
	case !caps.Instances:
		c.add(plan.Move{Key: "apply", Kind: plan.MoveUp})
		c.verify("verify")
	case !from:
		c.up(c.n)
		c.verify("verify")
		c.shift(100)
	default:
		switch c.r.Strategy {
		case project.Rolling:
			c.rolling()
		case project.BlueGreen:
			c.up(c.n)
			c.verify("verify")
			c.byHand()
			c.shift(100)
		case project.Canary:
			c.ramp()
		case project.Recreate:
			c.byHand()
			c.add(plan.Move{Key: "down-0", Kind: plan.MoveDown})
			c.up(c.n)
			c.verify("verify")
			c.shift(100)
		}
	}
	if d := svc.Strategy.Bake; d > 0 {
		c.hold("bake", d)
	}
	if caps.Instances {
		retire := plan.Move{Key: "retire", Kind: plan.MoveRetire}
		if from && caps.Beside && c.r.Strategy != project.Rolling && c.r.Strategy != project.Recreate {
			retire.For = cmp.Or(svc.Strategy.KeepOld, DefaultKeepOld)
		}
		c.add(retire)
	}
	c.migrate("contract")
	if len(c.r.Moves) > maxMoves {
		c.problem("moves", fmt.Sprintf("the strategy has %d moves, more than %d", len(c.r.Moves), maxMoves), "take larger batches")
	}
	return c.r, c.problems
}

// Direct is the list of moves of a way back to a release that was there before, and
// of putting right what has drifted: no gate, no migration, no small steps, but
// never a request to what is not healthy.
func Direct(svc *project.Service, env *project.DeployEnvironment, caps Capabilities) plan.Rollout {
	c := compiler{svc: svc, env: env, caps: caps, from: true, n: svc.In(env.Name), within: cmp.Or(svc.Strategy.Deadline, DefaultDeadline)}
	c.r = plan.Rollout{Service: svc.Name, Environment: env.Name, Driver: svc.Driver(), Strategy: "direct"}
	switch {
	case caps.Instances:
		c.r.Instances = c.n
		if !caps.Beside {
			c.add(plan.Move{Key: "down-0", Kind: plan.MoveDown})
		}
		c.up(c.n)
		c.verify("verify")
		c.shift(100)
		c.add(plan.Move{Key: "retire", Kind: plan.MoveRetire})
	case caps.Split:
		c.shift(100)
	default:
		c.add(plan.Move{Key: "apply", Kind: plan.MoveUp})
		c.verify("verify")
	}
	return c.r
}

// Gone is the list of moves by which a service leaves an environment.
func Gone(svc *project.Service, environment string) plan.Rollout {
	return plan.Rollout{Service: svc.Name, Environment: environment, Driver: svc.Driver(), Strategy: "remove",
		Moves: []plan.Move{{Key: "remove", Kind: plan.MoveRetire, Within: cmp.Or(svc.Strategy.Deadline, DefaultDeadline)}}}
}

// Reset is the move before all others of a rollout that follows one which was broken off.
func Reset(svc *project.Service) plan.Move {
	return plan.Move{Key: "reset", Kind: plan.MoveReset, Within: cmp.Or(svc.Strategy.Deadline, DefaultDeadline)}
}

// compiler is the state of one Compile.
type compiler struct {
	svc      *project.Service
	env      *project.DeployEnvironment
	caps     Capabilities
	from     bool
	n        int // instances
	within   time.Duration
	r        plan.Rollout
	problems []plan.Problem
}

func (c *compiler) problem(rule, message, hint string) {
	src := c.svc.Strategy.Source
	if src == (plan.Source{}) {
		src = c.svc.Source
	}
	c.problems = append(c.problems, plan.Problem{Source: src, Severity: plan.Error, Rule: "strategy-" + rule, Message: message, Hint: hint})
}

// strategy is the one that is named, or that fits the driver.
func (c *compiler) strategy() string {
	switch {
	case c.svc.Strategy.Kind != "":
		return c.svc.Strategy.Kind
	case !c.caps.Instances && c.caps.Split:
		return project.Canary
	case !c.caps.Instances:
		return "apply"
	case !c.caps.Beside:
		return project.Recreate
	case c.caps.Split:
		return project.BlueGreen
	}
	return project.Rolling
}

// check finds what the strategy wants and the driver cannot do.
func (c *compiler) check() {
	s, why := &c.svc.Strategy, c.caps.Why
	if why != "" {
		why = ": " + why
	}
	who := c.r.Driver
	cannot := func(what string, hint string) {
		c.problem("unsupported", fmt.Sprintf("%s cannot be deployed to %s as %s: the driver %s %s%s", c.svc.Name, c.env.Name, c.r.Strategy, who, what, why), hint)
	}
	switch c.r.Strategy {
	case "apply":
	case project.Rolling, project.BlueGreen:
		switch {
		case !c.caps.Instances:
			cannot("runs no instances, it applies a release as a whole", "leave the strategy away")
		case !c.caps.Beside:
			cannot("cannot keep two releases side by side", "use recreate")
		case c.r.Strategy == project.Rolling && !c.caps.Split && c.caps.Steps == 0 && c.from:
			cannot("cannot share requests out between two releases", "use blue-green")
		}
	case project.Canary:
		switch {
		case !c.caps.Instances && !c.caps.Split:
			cannot("runs no instances, it applies a release as a whole", "leave the strategy away")
		case c.caps.Instances && !c.caps.Beside:
			cannot("cannot keep two releases side by side", "use recreate")
		case !c.caps.Split && c.caps.Steps == 0:
			cannot("cannot share requests out between two releases", "use blue-green")
		}
	case project.Recreate:
		if !c.caps.Instances {
			cannot("runs no instances, it applies a release as a whole", "leave the strategy away")
		}
	default:
		c.problem("unknown", fmt.Sprintf("there is no strategy %q", c.r.Strategy), "it is rolling, blue-green, canary or recreate")
	}
	if c.n > maxInstances {
		c.problem("instances", fmt.Sprintf("%d instances are more than %d", c.n, maxInstances), "")
	}
	if s.Batch < 0 || s.Batch > c.n {
		c.problem("batch", fmt.Sprintf("a batch of %d does not fit %d instances", s.Batch, c.n), "")
	}
	for _, d := range []time.Duration{s.Hold, s.Bake, s.KeepOld, s.Deadline} {
		if d < 0 || d > maxTime {
			c.problem("time", fmt.Sprintf("%s is no time that a rollout waits", d), "it is between 0 and 30 days")
		}
	}
	if s.Promote != "" && s.Promote != "by hand" {
		c.problem("promote", fmt.Sprintf("promote is %q", s.Promote), `it is "by hand" or left away`)
	}
	if a := c.svc.Analysis; a != nil && !c.caps.Counts && len(a.Queries) == 0 {
		c.problem("analysis", fmt.Sprintf("nothing counts the requests of %s in %s, so a release cannot be analyzed there", c.svc.Name, c.env.Name), "name queries of Prometheus, or leave the analysis away")
	}
	c.checkSteps()
}

func (c *compiler) checkSteps() {
	steps := c.svc.Strategy.Steps
	if len(steps) > 0 && c.r.Strategy != project.Canary {
		c.problem("steps", fmt.Sprintf("steps are for canary, and the strategy is %s", c.r.Strategy), "")
		return
	}
	if len(steps) > maxSteps {
		c.problem("steps", fmt.Sprintf("%d steps are more than %d", len(steps), maxSteps), "")
		return
	}
	last := 0
	for _, p := range steps {
		switch {
		case p <= last || p > 100:
			c.problem("steps", fmt.Sprintf("the steps are percentages that rise to 100: %d after %d does not", p, last), "")
			return
		case c.caps.Instances && !c.caps.Split && c.caps.Steps > 0 && p*c.n < 100:
			c.problem("steps", fmt.Sprintf("%d %% of %d instances is less than one, and the driver %s shares requests out by instances alone", p, c.n, c.r.Driver),
				fmt.Sprintf("begin with %d or more, or have more instances", (100+c.n-1)/c.n))
			return
		}
		last = p
	}
}

// add appends a move. Every one but a gate has a deadline.
func (c *compiler) add(m plan.Move) {
	if m.Kind != plan.MoveGate {
		m.Within = c.within
	}
	c.r.Moves = append(c.r.Moves, m)
}

func (c *compiler) up(n int) {
	c.add(plan.Move{Key: fmt.Sprintf("up-%d", n), Kind: plan.MoveUp, Instances: n})
}

func (c *compiler) shift(percent int) {
	c.add(plan.Move{Key: fmt.Sprintf("shift-%d", percent), Kind: plan.MoveShift, Percent: percent})
}

func (c *compiler) verify(key string) {
	if len(c.svc.Checks) > 0 {
		c.add(plan.Move{Key: key, Kind: plan.MoveVerify, Checks: c.svc.Checks})
		m := &c.r.Moves[len(c.r.Moves)-1]
		for _, check := range c.svc.Checks {
			m.Within = max(m.Within, check.Within)
			if check.Load != nil {
				m.Within = max(m.Within, check.Load.For+c.within)
			}
		}
	}
}

// hold lets time pass; with none it waits for somebody to promote.
func (c *compiler) hold(key string, d time.Duration) {
	m := plan.Move{Key: key, Kind: plan.MoveHold, For: d}
	for _, check := range c.svc.Checks {
		if check.Load == nil && d > 0 {
			m.Checks = append(m.Checks, check)
		}
	}
	c.add(m)
}

func (c *compiler) byHand() {
	if c.svc.Strategy.Promote == "by hand" {
		c.hold("promote", 0)
	}
}

func (c *compiler) migrate(phase string) {
	i := 0
	for _, m := range c.svc.Migrations {
		if m.Phase == phase {
			i++
			c.add(plan.Move{Key: fmt.Sprintf("migrate-%s-%d", phase, i), Kind: plan.MoveMigrate, Migration: &m})
		}
	}
}

// rolling replaces instances a batch at a time.
func (c *compiler) rolling() {
	batch := cmp.Or(c.svc.Strategy.Batch, max(1, c.n/4))
	there := 0
	for up := min(batch, c.n); ; up = min(up+batch, c.n) {
		c.up(up)
		c.verify(fmt.Sprintf("verify-%d", up))
		if up == c.n {
			c.byHand()
		}
		percent := up * 100 / c.n
		if percent > there { // one instance of many may be less than a percent
			c.shift(percent)
		}
		if up < c.n {
			c.add(plan.Move{Key: fmt.Sprintf("down-%d", c.n-up), Kind: plan.MoveDown, Instances: c.n - up})
		}
		if percent > there {
			c.after(percent, c.svc.Analysis)
		}
		there = percent
		if up == c.n {
			return
		}
	}
}

// ramp sends more and more requests to the new release.
func (c *compiler) ramp() {
	steps := slices.Clone(c.svc.Strategy.Steps)
	if len(steps) == 0 {
		steps = defaultSteps[:]
		if c.caps.Instances && !c.caps.Split { // no share is smaller than an instance
			steps = slices.Compact([]int{(100 + c.n - 1) / c.n, max((100+c.n-1)/c.n, 50), 100})
		}
	}
	if steps[len(steps)-1] != 100 {
		steps = append(steps, 100)
	}
	analysis := c.svc.Analysis
	if analysis == nil && c.caps.Counts {
		a := DefaultAnalysis()
		analysis = &a
	}
	there := 0
	for i, p := range steps {
		if n := (p*c.n + 99) / 100; c.caps.Instances && n > there {
			c.up(n)
			there = n
		}
		if i == 0 && c.caps.Instances {
			c.verify("verify")
		}
		if p == 100 {
			c.byHand()
		}
		c.shift(p)
		c.after(p, analysis)
	}
}

// after is what follows a step that has changed the shares.
func (c *compiler) after(percent int, analysis *plan.Analysis) {
	if analysis != nil && percent < 100 {
		c.add(plan.Move{Key: fmt.Sprintf("analyze-%d", percent), Kind: plan.MoveAnalyze, Analysis: analysis})
	}
	hold := c.svc.Strategy.Hold
	if hold == 0 && c.r.Strategy == project.Canary && analysis == nil {
		hold = DefaultHold
	}
	if hold > 0 && percent < 100 {
		c.hold(fmt.Sprintf("hold-%d", percent), hold)
	}
}

// empty reports whether the gate is always open.
func empty(g *plan.DeployGate) bool {
	return g.Approvals == 0 && len(g.Approvers) == 0 && len(g.Freezes) == 0 && g.Wait == 0 && g.After == ""
}
