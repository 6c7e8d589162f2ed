package engine

import (
	"context"
	"maps"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Lending is what is made for one attempt at a job and for nothing else: the
// addresses of databases.
type Lending struct {
	// Names are the variables that commands of the job get.
	Names []string
	// Lend makes it, when the first command is about to run, and says how it is
	// taken back at the end of the attempt.
	Lend func(ctx context.Context) (env map[string]string, back func() error, err error)
}

// seedVar is the variable of the run's seed.
const seedVar = "FAIRLEAD_SEED"

// loan is what an attempt at a job was lent.
type loan struct {
	once sync.Once
	env  map[string]string
	back func() error
	err  error
}

// give gives a command the variables that are the job's own. To reuse they are
// what tells one run from another: what uses one by its name is not known. A
// command in a container gets nothing that was lent, for it cannot reach the
// loopback address of this machine.
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
	if _, declared := c.Env[seedVar]; t.req.Seed != "" && !declared {
		set(seedVar, t.req.Seed)
	}
	if t.req.Lending == nil || c.Container != nil || t.plan.Place.Container != nil {
		return nil
	}
	l := t.req.Lending(t.plan)
	if l == nil {
		return nil
	}
	if t.onPaper() {
		for _, name := range l.Names {
			set(name, "") // nothing was made yet, and is not if all is known
		}
		return nil
	}
	t.lent.once.Do(func() { t.lent.env, t.lent.back, t.lent.err = l.Lend(t.ctx) })
	if t.lent.err != nil {
		return t.lent.err
	}
	for _, name := range l.Names {
		set(name, t.lent.env[name])
	}
	return nil
}

// takeBack ends the job's loan. That it cannot be is nobody's fault: what is
// left is swept by whoever comes next.
func (j *job) takeBack() {
	if j.lent.back != nil {
		_ = j.lent.back()
		j.lent.back = nil
	}
}
