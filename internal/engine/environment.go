package engine

import (
	"fmt"
	"maps"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// give lets a job that names an environment have the secrets of that environment:
// they are in the scope of its steps, and in nobody else's. It is done when the
// job begins, as to open a secret may take time.
func (o *owner) give(n *node) error {
	env := n.job.Environment
	if o.req.Secrets == nil || env == nil || env.Name == "" {
		return nil
	}
	own, err := o.req.Secrets(o.ctx, env.Name)
	if err != nil {
		return fmt.Errorf("open the secrets of environment %s: %w", env.Name, err)
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
