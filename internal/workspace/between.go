package workspace

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Between is a commit on the way from one to another.
type Between struct {
	SHA     string
	Subject string
	Files   []string // that differ from the commit before: slash paths; of a rename both
}

// Between lists the commits that lead from good to bad, oldest first, bad being the last:
// of merges only what was merged into, for that is where each commit was tested. They are
// at most most, or that is an error. An error that wraps fs.ErrNotExist says
// that one of them is not known here; when good is not before bad, that is an error, too.
func (t *Tree) Between(ctx context.Context, good, bad string, most int) ([]Between, error) {
	if t.repo == nil {
		return nil, fmt.Errorf("%s is not a git repository: %w", t.root, fs.ErrNotExist)
	}
	from, err := t.resolveHere(ctx, good)
	if err != nil {
		return nil, err
	}
	to, err := t.resolveHere(ctx, bad)
	if err != nil {
		return nil, err
	}
	g := git{dir: t.root}
	if err := g.run(ctx, "merge-base", "--is-ancestor", from, to); exitCode(err) == 1 {
		return nil, fmt.Errorf("%s is not in the history of %s", good, bad)
	} else if err != nil {
		return nil, fmt.Errorf("look for %s before %s: %w", good, bad, err)
	}
	out, err := g.output(ctx, "log", "--first-parent", "-m", "--reverse", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--no-show-signature",
		"--max-count="+strconv.Itoa(most+1), "--name-only", "-z", "--format="+commitMark+"%H %s", "--end-of-options", from+".."+to)
	if err != nil {
		return nil, fmt.Errorf("list the commits from %s to %s: %w", good, bad, err)
	}
	list := parseBetween(out)
	if len(list) > most {
		return nil, fmt.Errorf("there are more than %d commits from %s to %s", most, good, bad)
	}
	return list, nil
}

// commitMark begins the line of a commit. No path begins so: it would be absolute.
const commitMark = "//"

// parseBetween reads what git says of commits: a head and names, a zero after each.
func parseBetween(out []byte) (list []Between) {
	for part := range bytes.SplitSeq(out, []byte{0}) {
		text := strings.TrimPrefix(string(part), "\n")
		head, ok := strings.CutPrefix(text, commitMark)
		switch {
		case ok:
			sha, subject, _ := strings.Cut(head, " ")
			list = append(list, Between{SHA: sha, Subject: subject})
		case text != "" && len(list) > 0:
			list[len(list)-1].Files = append(list[len(list)-1].Files, text)
		}
	}
	return list
}

// Height is how many commits led to one, it included: of merges only what was merged into.
func (t *Tree) Height(ctx context.Context, commit string) (int, error) {
	if t.repo == nil {
		return 0, fmt.Errorf("%s is not a git repository: %w", t.root, fs.ErrNotExist)
	}
	sha, err := t.resolveHere(ctx, commit)
	if err != nil {
		return 0, err
	}
	g := git{dir: t.root}
	out, err := g.output(ctx, "rev-list", "--count", "--first-parent", "--end-of-options", sha)
	if err != nil {
		return 0, fmt.Errorf("count the commits that led to %s: %w", commit, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}
