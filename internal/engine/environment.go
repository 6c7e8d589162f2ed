package engine

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// give lets a job that names an environment have the secrets of that environment, and
// one that asks for ID tokens have those: they are in the scope of its steps, and in nobody else's. It is done when the
// job begins, as to open a secret may take time.
func (o *owner) give(n *node) error {
	own := map[string]string{}
	if env := n.job.Environment; o.req.Secrets != nil && env != nil && env.Name != "" {
		secrets, err := o.req.Secrets(o.ctx, env.Name)
		if err != nil {
			return fmt.Errorf("open the secrets of environment %s: %w", env.Name, err)
		}
		maps.Copy(own, secrets)
	}
	if o.req.Tokens != nil && len(n.job.Tokens) > 0 {
		tokens, err := o.req.Tokens(o.ctx, n.job)
		if err != nil {
			return err
		}
		maps.Copy(own, tokens)
	}
	if len(own) == 0 {
		return nil
	}
	c := *n.scope.Context
	c.Secrets = maps.Clone(c.Secrets)
	if c.Secrets == nil {
		c.Secrets = map[string]string{}
	}
	maps.Copy(c.Secrets, own)
	s := *n.scope
	s.Context = &c
	n.own = &s
	return nil
}

// seen is the scope of a job that has begun.
func (n *node) seen() *plan.Scope {
	if n.own != nil {
		return n.own
	}
	return n.scope
}

// Protection is what a job waits for before it may deploy.
type Protection struct {
	Why   string // for people: "waits for 2 approvals for prod"
	Until time.Time
	// Refused says why it may not deploy at all; "" if it may.
	Refused string
	// Wait returns when the job may begin. Its error says why it may not.
	Wait func(ctx context.Context) error
}

// protect lets a job wait for what protects its environment, and reports whether it
// has to.
func (o *owner) protect(n *node) bool {
	env := n.job.Environment
	if n.let || o.req.Protect == nil || env == nil || env.Name == "" || n.job.Deferred != nil {
		return false
	}
	n.let = true
	p, err := o.req.Protect(o.ctx, n.job)
	switch {
	case err != nil:
		o.end(n, end{verdict: plan.Fault, why: fmt.Sprintf("find what protects environment %s: %v", env.Name, err), at: env.Source})
		return true
	case p == nil:
		return false
	case p.Refused != "":
		o.end(n, end{verdict: plan.Failure, why: p.Refused, at: env.Source})
		return true
	}
	ctx, cancel := context.WithCancelCause(o.soft)
	n.cancel = cancel
	o.waits++
	o.emit(n.job.ID, &record.JobQueued{Why: p.Why, Until: p.Until})
	go func() {
		defer cancel(nil)
		r := report{node: n, delayed: true}
		if err := p.Wait(ctx); ctx.Err() != nil {
			c := causeOf(ctx)
			r.end = end{verdict: c.verdict, why: c.why}
		} else if err != nil {
			r.end = end{verdict: plan.Fault, why: err.Error(), at: env.Source}
		}
		o.reports <- r
	}()
	return true
}
