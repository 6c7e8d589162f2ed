package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Places finds what rollouts need of a working tree: environments, and the files of a
// commit.
type Places struct {
	// Root is a directory of the tree: whatever it is called there is its repository.
	Root string
	// Dir is where commits are checked out that are not those of the tree.
	Dir string
}

// Environment is an entry of the section environments. That of a preview has the name of
// its pattern, a dash, and what it is a preview of.
func (p *Places) Environment(ctx context.Context, repository, name string) (*project.DeployEnvironment, error) {
	tree, err := p.tree(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return environmentIn(tree.FS(), name)
}

// environmentIn is the environment of that name in the fairlead.yaml of a tree.
func environmentIn(files fs.FS, name string) (*project.DeployEnvironment, error) {
	f, problems, err := project.Read(files)
	if err != nil {
		return nil, err
	}
	if p := worst(problems); p != nil {
		return nil, &plan.UsageError{Message: p.String(), Hint: "`fairlead lint` shows all that is wrong with the file"}
	}
	return environmentOf(f, name)
}

// environmentOf is the environment of that name.
func environmentOf(f *project.File, name string) (*project.DeployEnvironment, error) {
	var names []string
	for i := range f.Environments {
		e := &f.Environments[i]
		if e.Name == name && !e.Preview {
			return e, nil
		}
		if of, ok := strings.CutPrefix(name, e.Name+"-"); ok && of != "" && e.Preview {
			made := *e
			made.Name = name
			return &made, nil
		}
		if e.Preview {
			names = append(names, e.Name+"-NUMBER")
		} else {
			names = append(names, e.Name)
		}
	}
	hint := "the environments are " + strings.Join(names, ", ")
	if near := plan.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	if len(names) == 0 {
		hint = "add environments: [{name: " + name + "}] to fairlead.yaml"
	}
	return nil, &plan.UsageError{Message: fmt.Sprintf("there is no environment %.60q", name), Hint: hint}
}

// worst is a problem that forbids to act on a file; nil for none.
func worst(problems []plan.Problem) *plan.Problem {
	if i := slices.IndexFunc(problems, func(p plan.Problem) bool { return p.Severity == plan.Error }); i >= 0 {
		return &problems[i]
	}
	return nil
}

// Tree is a directory with the files of a commit: the tree itself when that is what it is at.
func (p *Places) Tree(ctx context.Context, repository, commit string) (string, error) {
	tree, err := p.tree(ctx, repository)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	head, err := tree.Head(ctx)
	if commit == "" || err == nil && head == commit || !tree.HasGit() {
		return tree.Root(), nil
	}
	if err != nil {
		return "", err
	}
	dest := filepath.Join(p.Dir, strings.ReplaceAll(repository, "/", "+"), commit)
	if _, err := os.Stat(dest); err == nil {
		return dest, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the files of %s: %w", commit, err)
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o700); err != nil {
		return "", fmt.Errorf("check out %s: %w", commit, err)
	}
	// Whole or not at all: a half of it would be taken for the commit by whoever comes next.
	half, err := os.MkdirTemp(filepath.Dir(dest), "half-")
	if err != nil {
		return "", fmt.Errorf("check out %s: %w", commit, err)
	}
	defer os.RemoveAll(half)
	if err := tree.CheckoutRef(ctx, commit, half, workspace.CheckoutOptions{}); err != nil {
		return "", err
	}
	if err := os.Rename(half, dest); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("check out %s: %w", commit, err)
	}
	return dest, nil
}

// tree opens the tree, which has to be that of the repository.
func (p *Places) tree(ctx context.Context, repository string) (*workspace.Tree, error) {
	tree, err := workspace.Open(ctx, p.Root)
	if err != nil {
		return nil, err
	}
	facts, err := tree.Facts(ctx)
	switch {
	case err != nil:
		return nil, errors.Join(err, tree.Close())
	case facts.Repository != repository:
		return nil, errors.Join(&plan.UsageError{Message: fmt.Sprintf("this is a tree of %s, and not of %s", facts.Repository, repository), Hint: "go to a clone of " + repository}, tree.Close())
	}
	return tree, nil
}

// RepositoryPlaces are those of a server's repositories: what counts is the default branch as it
// is now, and not what a change says that wants to be deployed.
type RepositoryPlaces struct{ Desk *Desk }

// Environment is an entry of the section environments on the default branch.
func (p RepositoryPlaces) Environment(ctx context.Context, repository, name string) (*project.DeployEnvironment, error) {
	dir, err := p.Tree(ctx, repository, "")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the files of %s: %w", repository, err)
	}
	defer root.Close()
	return environmentIn(root.FS(), name)
}

// Tree is a directory with the files of a commit, "" being the newest of the default branch.
func (p RepositoryPlaces) Tree(ctx context.Context, repository, commit string) (string, error) {
	repo, err := p.Desk.Repository(ctx, repository)
	if err != nil {
		return "", err
	}
	m, err := p.Desk.mirror(ctx, &repo)
	if err != nil {
		return "", err
	}
	if commit == "" {
		// Our copy is fetched whenever something is pushed: asking the host each time would be
		// asked of it for each service that is looked after.
		branch := "refs/heads/" + m.DefaultBranch()
		if commit, err = m.Here(ctx, branch); err != nil {
			commit, _, err = m.Commit(ctx, branch)
		}
		if err != nil {
			return "", fmt.Errorf("find the newest commit of %s: %w", repository, err)
		}
	}
	return m.Checkout(ctx, commit)
}
