package insight

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Patched is how much of a change its run's tests covered.
type Patched struct {
	Covered *Covered `json:"coverage"`
	Base    string   `json:"base"` // the commit compared with
	// Why says how the base was chosen, and that a tree has changed since.
	Why   string                `json:"why"`
	Patch coverage.Patch        `json:"patch"`
	Files []coverage.MarkedFile `json:"files"`
	More  int                   `json:"more,omitempty"` // lines of the diff that are left out, beyond [MaxMarked]
	// Change is how the whole project's coverage differs from that of the base, when
	// that is known; its Files are those that the change does not touch.
	Change *coverage.Change `json:"change,omitempty"`
	Before string           `json:"before,omitempty"` // the run that Change compares with
}

// MaxMarked is how many lines of a diff are marked, and aroundLines how many of them
// stand around each change.
const (
	MaxMarked   = 20_000
	aroundLines = 3
)

// ErrNoHistory is the error of a question that only a git repository can answer, where
// there is none.
var ErrNoHistory = errors.New("there is no git history here that knows the commit")

// Patch is how much of a run's change was covered. The base is a branch, a tag or a
// commit: the change is what came since the histories parted. "" is the base of the
// pull request, the default branch or, on that, the commit before. The error is an
// [ErrNoCoverage], or [ErrNoHistory] when the commits are not here.
func (c *Coverage) Patch(ctx context.Context, run, base string) (*Patched, error) {
	sum, err := c.Of(ctx, run)
	if err != nil {
		return nil, err
	}
	h, err := c.Runs.Head(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", run, err)
	}
	change, err := c.change(ctx, run)
	if err != nil {
		return nil, err
	}
	past := c.past(ctx, &h)
	if past.Dir == "" {
		return nil, fmt.Errorf("the change of run %s: %w", run, ErrNoHistory)
	}
	p := &Patched{Covered: sum}
	if p.Base, p.Why, err = baseOf(ctx, past, &h, change, base); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the change of run %s: %w (%w)", run, ErrNoHistory, err)
		}
		return nil, err
	}
	to := h.SHA
	if h.Dirty {
		to, p.Why = "", p.Why+"; the run was of uncommitted changes: they are shown as they are now"
	}
	text, err := past.Diff(ctx, p.Base, to, aroundLines)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the change of run %s: %w", run, ErrNoHistory)
	}
	if err != nil {
		return nil, err
	}
	diff, err := coverage.ParseDiff(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the change of run %s: %w", run, err)
	}
	lines, err := c.Lines(ctx, sum)
	if err != nil {
		return nil, fmt.Errorf("read the coverage of run %s: %w", run, err)
	}
	p.Patch, p.Files = lines.Patch(diff), lines.Mark(diff)
	p.More = cutLines(p.Files)
	return p, c.compare(ctx, p, &h, lines, diff)
}

// cutLines leaves out the lines of a diff beyond [MaxMarked], and counts them.
func cutLines(files []coverage.MarkedFile) (more int) {
	left := MaxMarked
	for i := range files {
		for j := range files[i].Hunks {
			h := &files[i].Hunks[j]
			if n := len(h.Lines) - left; n > 0 {
				more += n
				h.Lines = h.Lines[:left]
			}
			left -= len(h.Lines)
		}
		files[i].Hunks = slices.DeleteFunc(files[i].Hunks, func(h coverage.MarkedHunk) bool { return len(h.Lines) == 0 })
	}
	return more
}

// compare compares with the coverage of the base, if a run of it is in the trend.
func (c *Coverage) compare(ctx context.Context, p *Patched, h *store.RunHead, lines *coverage.Report, diff *coverage.Diff) error {
	points, err := c.Trend(ctx, p.Covered.Repository, maxPoints)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if point.Commit != p.Base || point.Run == h.ID {
			continue
		}
		before, err := c.Of(ctx, point.Run)
		if err != nil || before.Dirty {
			continue // its blobs are gone
		}
		old, err := c.Lines(ctx, before)
		if err != nil {
			continue
		}
		change := lines.Compare(old, diff)
		change.Files = slices.DeleteFunc(change.Files, func(f coverage.FileChange) bool { return !f.Indirect })
		change.Files = change.Files[:min(len(change.Files), maxListed)]
		p.Change, p.Before = &change, point.Run
		return nil
	}
	return ctx.Err()
}

// baseOf is the commit that a run's change is compared with, and why that.
func baseOf(ctx context.Context, past workspace.Past, h *store.RunHead, change *plan.Change, asked string) (base, why string, err error) {
	fork := func(ref, why string) (string, string, error) {
		at, err := past.Commit(ctx, ref)
		if err == nil {
			at, err = past.Fork(ctx, at, h.SHA)
		}
		return at, why, err
	}
	zero := func(sha string) bool { return strings.Trim(sha, "0") == "" }
	switch {
	case asked != "":
		return fork(asked, "since "+asked)
	case change.BaseRef != "":
		return fork(change.BaseRef, "since "+change.BaseRef)
	}
	main := cmp.Or(change.DefaultBranch, "main")
	if h.Branch != main {
		base, why, err = fork(main, "since "+main)
		if err == nil && base != h.SHA {
			return base, why, nil
		}
	}
	switch {
	case h.Dirty:
		return h.SHA, "what is not committed", nil
	case !zero(change.Before) && change.Before != h.SHA:
		if base, why, err = fork(change.Before, "since what the change began from"); err == nil {
			return base, why, nil
		}
	}
	base, err = past.Before(ctx, h.SHA)
	return base, "since the commit before", err
}

// Node is a directory or a file in a tree of coverage.
type Node struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Dir     bool   `json:"dir,omitempty"`
	Carried bool   `json:"carried,omitempty"` // some of it was measured by an earlier run
	coverage.Totals
}

// Within are the directories and files directly in a directory ("" for the root), the
// directories first.
func Within(lines *coverage.Report, dir string) (list []Node) {
	byName := map[string]*Node{}
	for _, f := range lines.Files() {
		rest := f.Path
		if dir != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(f.Path, dir+"/"); !ok {
				continue
			}
		}
		name, _, isDir := strings.Cut(rest, "/")
		if name == "" { // an absolute path, where the tree is not known
			rest = strings.TrimPrefix(rest, "/")
			name, _, isDir = strings.Cut(rest, "/")
			name = "/" + name
		}
		n := byName[name]
		if n == nil {
			n = &Node{Name: name, Path: strings.TrimPrefix(path.Join(dir, name), "//"), Dir: isDir}
			byName[name] = n
		}
		n.Totals, n.Carried = n.Plus(f.Totals()), n.Carried || f.Carried != ""
	}
	for _, n := range byName {
		list = append(list, *n)
	}
	slices.SortFunc(list, func(a, b Node) int {
		if a.Dir != b.Dir {
			return cmp.Compare(b2i(b.Dir), b2i(a.Dir))
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Source is a file as it was, with its lines marked.
type Source struct {
	Path  string       `json:"path"`
	Lines []SourceLine `json:"lines"`
	More  int          `json:"more,omitempty"` // lines beyond [MaxMarked]
}

// SourceLine is a line of a [Source].
type SourceLine struct {
	Number   int            `json:"number"`
	State    coverage.State `json:"state,omitzero"`
	Hits     int            `json:"hits,omitempty"`
	Taken    int            `json:"taken,omitempty"`
	Branches int            `json:"branches,omitempty"`
	Carried  bool           `json:"carried,omitempty"`
	Text     string         `json:"text"`
}

// Said is what is known of a line, without its text.
func Said(l coverage.Line) SourceLine {
	return SourceLine{Number: int(l.Number), State: l.State, Hits: int(l.Hits), Taken: int(l.Taken), Branches: int(l.Branches), Carried: l.Carried}
}

// Source is a file of the tree that a run was of, with its lines marked. The error is
// [ErrNoHistory] when the file's text is not here any more.
func (c *Coverage) Source(ctx context.Context, sum *Covered, lines *coverage.Report, name string) (*Source, error) {
	h, err := c.Runs.Head(ctx, sum.Run)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", sum.Run, err)
	}
	past := c.past(ctx, &h)
	if past.Dir == "" || h.Dirty { // what was in the tree then, nobody kept
		return nil, fmt.Errorf("read %s: %w", name, ErrNoHistory)
	}
	text, err := past.File(ctx, h.SHA, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("read %s: %w", name, ErrNoHistory)
	}
	if err != nil {
		return nil, err
	}
	s := &Source{Path: name}
	f := lines.File(name)
	for line := range strings.Lines(string(text)) {
		if len(s.Lines) == MaxMarked {
			s.More++
			continue
		}
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "\uFFFD")
		said := Said(f.Line(len(s.Lines) + 1))
		said.Text = line[:min(len(line), maxSourceLine)]
		s.Lines = append(s.Lines, said)
	}
	return s, nil
}

// maxSourceLine is how many bytes of a line of source are shown.
const maxSourceLine = 2000
