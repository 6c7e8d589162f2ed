package engine

import (
	"fmt"
	"maps"

	"github.com/fairlead-dev/fairlead/internal/plan"
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
