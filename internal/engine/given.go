package engine

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Lending is what is made for one attempt at a job and for nothing else: the
// addresses of databases.
type Lending struct {
	// Names are the variables that commands of the job get.
	Names []string
	// Refused says why the job gets nothing; "" when it does.
	Refused string
	// Lend makes it, when the first command is about to run. Files that are lent lie in
	// temp, the job's directory for such.
	Lend func(ctx context.Context, temp string) (*Lent, error)
}

// Lent is what was made for an attempt at a job.
type Lent struct {
	Env map[string]string
	// Loopback are the ports of this machine's loopback address that are in Env:
	// commands in containers find them at their own.
	Loopback []int
	// Back takes it back at the end of the attempt.
	Back func() error
}

// seedVar is the variable of the run's seed.
const seedVar = "FAIRLEAD_SEED"

// loan is what an attempt at a job was lent.
type loan struct {
	once sync.Once
	lent *Lent
	err  error
}

// seeded reports whether a command is given the run's seed: it was asked for, for
// all, or the command names it; and it does not have one of its own.
func (t *thread) seeded(c *plan.Command) bool {
	if _, declared := c.Env[seedVar]; t.req.Seed == "" || declared {
		return false
	}
	return t.req.SeedAll || strings.Contains(c.Script, seedVar) ||
		slices.ContainsFunc(c.Argv, func(a string) bool { return strings.Contains(a, seedVar) }) ||
		slices.ContainsFunc(c.Files, func(f plan.File) bool { return bytes.Contains(f.Body, []byte(seedVar)) })
}

// give gives a command the variables that are the job's own. To reuse they are
// what tells one run from another: what uses one by its name is not known.
func (t *thread) give(c *plan.Command) error {
	env, own := c.Env, false
	set := func(name, value string) {
		if !own { // the dialect's map may be that of other commands, too
			env, own = maps.Clone(env), true
			if env == nil {
				env = map[string]string{}
			}
			c.Env = env
		}
		env[name] = value
		c.Volatile = append(c.Volatile[:len(c.Volatile):len(c.Volatile)], name)
	}
	if t.seeded(c) {
		set(seedVar, t.req.Seed)
	}
	if t.req.Lending == nil {
		return nil
	}
	l := t.req.Lending(t.plan)
	if l == nil {
		return nil
	}
	if t.onPaper() {
		for _, name := range l.Names {
			if l.Refused == "" {
				set(name, "") // nothing was made yet, and is not if all is known
			}
		}
		return nil
	}
	t.lent.once.Do(func() {
		if l.Refused != "" {
			t.tell(l.Refused)
			return
		}
		t.lent.lent, t.lent.err = l.Lend(t.ctx, t.base.Dirs.Temp)
	})
	if t.lent.err != nil || t.lent.lent == nil {
		return t.lent.err
	}
	for _, name := range l.Names {
		set(name, t.lent.lent.Env[name])
	}
	c.Loopback = t.lent.lent.Loopback
	return nil
}

// takeBack ends the job's loan. That it cannot be is nobody's fault: what is
// left is swept by whoever comes next.
func (j *job) takeBack() {
	if j.lent.lent != nil {
		_ = j.lent.lent.Back()
		j.lent.lent = nil
	}
}
