package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// CoverageOf is what a run covered, with what lies in one directory of it.
type CoverageOf struct {
	*insight.Covered
	Path  string         `json:"path,omitempty"`
	Nodes []insight.Node `json:"nodes"`
}

// RemoteReports hands in reports to a server and asks what they say.
type RemoteReports interface {
	Report(ctx context.Context, h insight.Handed, f insight.ReportFileOf) (insight.Taken, error)
	// Coverage is that of a run or, with none, of the newest run of a branch.
	Coverage(ctx context.Context, repository, run, branch, path string) (CoverageOf, error)
	Patch(ctx context.Context, run, base string) (*insight.Patched, error)
}

// coverageCommand is `fairlead coverage`.
func (g *global) coverageCommand() *cobra.Command {
	var at site
	var dir, run, base, branch, format string
	var patch bool
	c := &cobra.Command{
		Use:   "coverage [PATH]",
		Short: "Say what the tests covered: the project, or a change",
		Long: `Say which share of the lines the tests of a run ran: of the project, of parts of the
tests, of components (fairlead.yaml names them), of directories and files. Without
--run it is the newest run with coverage here.

With --patch it says how much of the run's change is covered, and which of its lines
are not. The change is what came since the base: of a pull request its base, of a
branch the default branch, else the commit before; --base names another.

It only tells: its exit code does not depend on how much is covered.`,
		Example: `  fairlead coverage
  fairlead coverage internal/store
  fairlead coverage --patch
  fairlead coverage --run 12 --patch --base v1.2 --format json
  fairlead coverage --server https://ci.example.org --repo team/app`,
		Args: args("[PATH]"),
	}
	f := c.Flags()
	f.StringVar(&run, "run", "", "of this `run`: a number, or counted back: last, -2 …")
	f.StringVar(&branch, "branch", "", "of the newest run of this `branch`")
	f.BoolVar(&patch, "patch", false, "of the run's change")
	f.StringVar(&base, "base", "", "what the change is compared with: a `branch`, a tag or a commit")
	f.StringVar(&format, "format", "", "text or json; as --output")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	at.repoFlag(c)
	_ = c.RegisterFlagCompletionFunc("run", g.completeRuns)
	c.RunE = func(cmd *cobra.Command, a []string) (err error) {
		ctx := cmd.Context()
		if format != "" {
			if err := oneOf("format", format, "text", "json"); err != nil {
				return err
			}
			g.output = format
		}
		if base != "" {
			patch = true
		}
		from, err := g.archive(ctx, &at)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.Close()) }()
		id := ""
		if run != "" {
			if id, err = g.runID(ctx, from, run, dir); err != nil {
				return err
			}
		}
		below := ""
		if len(a) == 1 {
			below = strings.Trim(a[0], "/")
		}
		filter := store.RunFilter{Branch: branch, Repository: at.repo}
		if id == "" {
			err = from.here(ctx, &filter, dir)
		} else {
			var h store.RunHead
			h, err = from.Head(ctx, id)
			filter.Repository = h.Repository
		}
		if err != nil {
			return err
		}
		if id == "" || !patch {
			sum, err := coverageOf(ctx, from, &filter, id, below)
			if err != nil {
				return untold(err)
			}
			if id = sum.Run; !patch {
				return g.showCoverage(&sum)
			}
		}
		p, err := patchOf(ctx, from, id, base)
		if err != nil {
			return untold(err)
		}
		return g.showPatch(p)
	}
	return c
}

// untold puts the errors of questions about coverage into words.
func untold(err error) error {
	switch {
	case errors.Is(err, insight.ErrNoCoverage):
		return usage("have a step write a report of coverage (it is found by itself), or hand one in with `fairlead report`", "%v", err)
	case errors.Is(err, insight.ErrNoHistory):
		return usage("ask in a clone that has the commit, or name another --base", "%v", err)
	}
	return err
}

func coverageOf(ctx context.Context, from archive, f *store.RunFilter, run, below string) (of CoverageOf, err error) {
	if there, ok := from.(far); ok {
		return there.Coverage(ctx, f.Repository, run, f.Branch, below)
	}
	tools := from.(near)
	if run != "" {
		of.Covered, err = tools.Launcher.Coverage.Of(ctx, run)
	} else {
		of.Covered, err = tools.Launcher.Coverage.Newest(ctx, *f)
	}
	if err != nil {
		return of, err
	}
	lines, err := tools.Launcher.Coverage.Lines(ctx, of.Covered)
	if err != nil {
		return of, err
	}
	of.Path = below
	if one := lines.File(below); one != nil {
		of.Nodes = []insight.Node{{Name: below, Path: below, Carried: one.Carried != "", Totals: one.Totals()}}
	} else {
		of.Nodes = insight.Within(lines, below)
	}
	if len(of.Nodes) == 0 && below != "" {
		return of, usage("name one as the tree has it", "run %s says nothing of %s", of.Run, below)
	}
	return of, nil
}

func patchOf(ctx context.Context, from archive, run, base string) (*insight.Patched, error) {
	if there, ok := from.(far); ok {
		return there.Patch(ctx, run, base)
	}
	return from.(near).Launcher.Coverage.Patch(ctx, run, base)
}

// showCoverage writes what a run covered.
func (g *global) showCoverage(of *CoverageOf) error {
	if g.json() {
		return writeJSON(g.Stdout, of)
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	out := bufio.NewWriter(g.Stdout)
	fmt.Fprintf(out, "%s of %s covered%s\n", st.bold(insight.Percent(of.Totals)), plural(of.Lines(), "line"),
		st.dim(fmt.Sprintf(", %s in part, %s missed; run %s at %s", thousands(int64(of.Partial)), thousands(int64(of.Miss)), of.Run, of.Commit[:min(7, len(of.Commit))])))
	if of.Carried > 0 {
		wrap(out, "  ", fmt.Sprintf("%s were not measured by this run: carried forward from where they were", plural(of.Carried, "line")), cols, st.yellow)
	}
	if !of.Matched {
		wrap(out, "  ", "paths are as the reports have them: there is no git history here of this commit", cols, st.yellow)
	}
	if of.Strange > 0 {
		wrap(out, "  ", fmt.Sprintf("%s of reports not in the tree, such as %s", plural(of.Strange, "path"), shown(of.Strangers[0])), cols, st.yellow)
	}
	section := func(title string, rows [][]string) {
		if len(rows) > 0 {
			fmt.Fprintf(out, "\n%s\n", st.bold(title))
			table(out, rows, map[int]bool{1: true, 2: true}, st, cols)
		}
	}
	row := func(name string, t coverage.Totals, more string) []string {
		return []string{"  " + shown(name), insight.Percent(t), plural(t.Lines(), "line"), st.dim(more)}
	}
	if of.Path == "" {
		var flags, components [][]string
		for _, f := range of.Flags {
			from := ""
			if f.From != "" {
				from = "carried forward from run " + f.From
			}
			flags = append(flags, row(f.Name, f.Totals, from))
		}
		for _, p := range of.Components {
			components = append(components, row(p.Name, p.Totals, ""))
		}
		section("By part of the tests", flags)
		section("By component", components)
	}
	var nodes [][]string
	for _, n := range of.Nodes {
		name, carried := n.Name, ""
		if n.Dir {
			name += "/"
		}
		if n.Carried {
			carried = "carried forward in part"
		}
		nodes = append(nodes, row(name, n.Totals, carried))
	}
	title := "In " + of.Path
	if of.Path == "" {
		title = "In the project"
	}
	section(title, nodes)
	if of.Path == "" {
		unseen(out, of.Covered, st)
	}
	return out.Flush()
}

// unseen writes the files that tests read and no line covers.
func unseen(w io.Writer, of *insight.Covered, st style) {
	const few = 10
	list := func(title string, names []string) {
		if len(names) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s\n", st.bold(title))
		for _, n := range names[:min(few, len(names))] {
			fmt.Fprintln(w, "  "+shown(n))
		}
		if more := len(names) - few; more > 0 {
			fmt.Fprintln(w, st.dim(fmt.Sprintf("  and %d more: --format json has them", more)))
		}
	}
	list("Your tests read these, and no line of them ran", of.Unseen.Idle)
	list("Your tests read these, and no report knows them", of.Unseen.Data)
}

// showPatch writes how much of a change is covered.
func (g *global) showPatch(p *insight.Patched) error {
	if g.json() {
		return writeJSON(g.Stdout, p)
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	out := bufio.NewWriter(g.Stdout)
	of := fmt.Sprintf(" run %s, %s (%s)", p.Covered.Run, p.Why, p.Base[:min(7, len(p.Base))])
	if p.Patch.Lines() == 0 {
		fmt.Fprintf(out, "%s%s\n", st.bold("no changed line holds code that is measured"), st.dim(";"+of))
	} else {
		fmt.Fprintf(out, "%s of %s covered%s\n", st.bold(insight.Percent(p.Patch.Totals)), plural(p.Patch.Lines(), "changed line"), st.dim(";"+of))
	}
	var rows [][]string
	for _, f := range p.Patch.Files {
		var open []string
		for _, r := range f.Open {
			if r.From == r.To {
				open = append(open, fmt.Sprint(r.From))
			} else {
				open = append(open, fmt.Sprintf("%d-%d", r.From, r.To))
			}
		}
		missing := ""
		if len(open) > 0 {
			missing = st.red("not covered: " + strings.Join(open, ", "))
		}
		rows = append(rows, []string{"  " + shown(f.Path), insight.Percent(f.Totals), plural(f.Lines(), "line"), missing})
	}
	if len(rows) > 0 {
		fmt.Fprintln(out)
		table(out, rows, map[int]bool{1: true, 2: true}, st, cols)
	}
	if n := len(p.Patch.Unknown); n > 0 {
		fmt.Fprintln(out, st.dim(fmt.Sprintf("\n%s no report knows: %s", plural(n, "changed file"), clip(shown(strings.Join(p.Patch.Unknown, ", ")), 200, st.ellipsis()))))
	}
	if p.Covered.Carried > 0 {
		fmt.Fprintln(out, st.yellow(fmt.Sprintf("%s of the project were measured by an earlier run", plural(p.Covered.Carried, "line"))))
	}
	return out.Flush()
}
