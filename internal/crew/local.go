package crew

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Local does jobs on this machine: it has a copy of each repository, which it
// asks the server for what it lacks of a commit, and gives each job a workspace
// of its own.
type Local struct {
	Launcher *launch.Launcher
	Dir      string // copies of repositories

	mu   sync.Mutex
	used map[string]int // working trees by their commit: jobs that use them
}

// keepCopies is how long working trees are kept that no job uses.
const keepCopies = 7 * 24 * time.Hour

// Do implements [Doer].
func (l *Local) Do(soft, hard context.Context, t *Task) (engine.Ended, error) {
	l.use(t.Commit, 1)
	defer l.use(t.Commit, -1)
	tree, err := l.tree(soft, t)
	if err != nil && soft.Err() != nil {
		return engine.Stopped(soft), nil
	}
	if err != nil {
		return engine.Ended{}, fmt.Errorf("bring the tree: %w", err)
	}
	defer tree.Close()
	return l.Launcher.Do(soft, hard, launch.Errand{Assignment: t.Assignment, Tree: tree, Record: t.Record, Log: t.Log})
}

// use counts who uses a commit's tree.
func (l *Local) use(commit string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = map[string]int{}
	}
	if l.used[commit] += n; l.used[commit] == 0 {
		delete(l.used, commit)
	}
}

// tree is the task's commit as a working tree of ours.
func (l *Local) tree(ctx context.Context, t *Task) (*workspace.Tree, error) {
	sum := sha256.Sum256([]byte(t.Origin))
	m := &workspace.Mirror{Dir: filepath.Join(l.Dir, hex.EncodeToString(sum[:8])), URL: t.Origin}
	if !m.Has(ctx, t.Commit) {
		if err := l.bring(ctx, m, t); err != nil {
			return nil, err
		}
	}
	dir, err := m.Checkout(ctx, t.Commit)
	if err != nil {
		return nil, err
	}
	// What is not removed now is the next time.
	_ = m.Prune(ctx, keepCopies, func(sha string) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.used[sha] > 0
	})
	return workspace.Open(ctx, dir)
}

// bring asks the server for a commit.
func (l *Local) bring(ctx context.Context, m *workspace.Mirror, t *Task) error {
	have, err := m.Tips(ctx)
	if err != nil {
		return err
	}
	body, err := t.Bundle(ctx, have)
	if err != nil {
		return fmt.Errorf("ask the server for commit %s: %w", t.Commit, err)
	}
	return errors.Join(m.Unbundle(ctx, body, t.Commit), body.Close())
}
