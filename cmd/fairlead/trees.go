package main

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// defaultServer is the code host that sources are of unless another is named.
const defaultServer = "https://github.com"

// trees is what the built-in checkout asks of those who know git: the user's
// tree, from which a run was started, and other repositories.
type trees struct {
	sources *workspace.Sources

	mu   sync.Mutex
	open map[string]*workspace.Tree // by directory
}

// of is the tree that a job's run was started in.
func (t *trees) of(ctx context.Context, s *plan.Scope) (*workspace.Tree, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tree := t.open[s.Root]; tree != nil {
		return tree, nil
	}
	tree, err := workspace.Open(ctx, s.Root)
	if err != nil {
		return nil, err
	}
	if t.open == nil {
		t.open = map[string]*workspace.Tree{}
	}
	t.open[s.Root] = tree
	return tree, nil
}

// Close frees the trees.
func (t *trees) Close() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tree := range t.open {
		err = errors.Join(err, tree.Close())
	}
	return err
}

// Copy implements builtin.Trees.
func (t *trees) Copy(ctx context.Context, s *plan.Scope, dst string) error {
	tree, err := t.of(ctx, s)
	if err != nil {
		return err
	}
	return tree.CopyTo(ctx, dst)
}

// Resolve implements builtin.Trees.
func (t *trees) Resolve(ctx context.Context, s *plan.Scope, ref string) (string, error) {
	tree, err := t.of(ctx, s)
	if err != nil {
		return "", err
	}
	return tree.Resolve(ctx, ref)
}

// Switch implements builtin.Trees.
func (t *trees) Switch(ctx context.Context, s *plan.Scope, commit, dst string, o builtin.TreeOptions) error {
	tree, err := t.of(ctx, s)
	if err != nil {
		return err
	}
	return tree.CheckoutRef(ctx, commit, dst, workspace.CheckoutOptions(o))
}

// Clone implements builtin.Trees.
func (t *trees) Clone(ctx context.Context, r builtin.Remote, dst string, o builtin.TreeOptions) (string, error) {
	from := *t.sources
	if r.Server != "" && r.Server != cmp.Or(from.Server, defaultServer) {
		from.Server, from.Token = r.Server, "" // our token is for our own server alone
	}
	if r.Token != "" {
		from.Token = r.Token
	}
	return from.Clone(ctx, r.Repository, r.Ref, dst, workspace.CheckoutOptions(o))
}

// Submodules implements builtin.Trees.
func (t *trees) Submodules(ctx context.Context, _ *plan.Scope, dir string, recursive bool) error {
	return workspace.Submodules(ctx, dir, recursive)
}
