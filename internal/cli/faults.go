package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Faults knows why runs failed, and what fails in a repository, here or on a server;
// package insight says what its methods promise. A server knows itself who asks, and when.
type Faults interface {
	Explain(ctx context.Context, r *record.Run) (*insight.Explanation, error)
	Overview(ctx context.Context, repository string, days int, now time.Time) (*insight.Overview, error)
	Cluster(ctx context.Context, repository, id string, now time.Time) (*insight.ClusterView, error)
	Issues(ctx context.Context, repository string) ([]insight.Issue, error)
	Try(ctx context.Context, repository string, i insight.Issue) (insight.Trial, error)
	SetIssue(ctx context.Context, by insight.By, repository string, i insight.Issue) error
	RemoveIssue(ctx context.Context, by insight.By, repository, name string) error
}

// faults does something with what is known of failures of a repository.
func (g *global) faults(ctx context.Context, p *site, dir string, do func(f Faults, repository string) error) error {
	from, err := g.archive(ctx, p)
	if err != nil {
		return err
	}
	repository := p.repo
	switch {
	case repository != "":
	case p.url != "":
		repository, err = repositoryAt(ctx, "", dir)
	default:
		repository, err = repositoryHere(ctx, dir)
	}
	if err == nil {
		err = refused(do(from.faults(), repository))
	}
	return errors.Join(err, from.Close())
}

// repositoryHere is what runs of this machine call the repository that dir lies in.
func repositoryHere(ctx context.Context, dir string) (string, error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	return facts.Repository, err
}

// refused says what cannot be done as it was said.
func refused(err error) error {
	var no *insight.RefusedError
	if errors.As(err, &no) {
		return &launch.UsageError{Message: no.Message, Hint: no.Hint}
	}
	return err
}

// explained says why a run failed; nil when nobody knows.
func (o *looked) explained(ctx context.Context) (*insight.Explanation, error) {
	if !o.run.Verdict.Bad() {
		return nil, nil
	}
	x, err := o.faults().Explain(ctx, o.run)
	if err != nil || x == nil || len(x.Troubles) == 0 {
		return nil, err
	}
	return x, nil
}

// showTroubles writes why a run failed: what is new first.
func showTroubles(w io.Writer, x *insight.Explanation, title func(string), st style, cols int) {
	if x == nil {
		return
	}
	title(upper(x.Sentence()))
	for i := range x.Troubles {
		writeTrouble(w, &x.Troubles[i], true, st, cols)
	}
	if x.More > 0 {
		fmt.Fprintln(w, "  "+st.dim(fmt.Sprintf("%s and %d more", st.ellipsis(), x.More)))
	}
}

// maxFacts is how many facts of a failure are shown.
const maxFacts = 3

// writeTrouble writes what is known of a failure; named with what failed.
func writeTrouble(w io.Writer, t *insight.Trouble, named bool, st style, cols int) {
	paint := st.yellow
	switch {
	case t.New:
		paint = st.red
	case t.Blame == fault.Broken, t.Blame == fault.Nobody:
		paint = st.dim
	}
	head := "  " + paint(pad(string(t.Blame), 14)) + "  "
	if named {
		what := t.Test
		if what == "" {
			what = t.Job + " " + st.into() + " " + t.Name
		}
		head += shown(what)
		if t.At.File != "" {
			head += st.dim(at(plan.Source{File: shown(t.At.File), Line: t.At.Line}))
		}
		fmt.Fprintln(w, clip(head, cols, st.ellipsis()))
		head = "  "
	}
	plainly := func(s string) string { return s }
	indent := strings.Repeat(" ", 18)
	if named {
		fmt.Fprintln(w, clip(indent+shown(t.Title), cols, st.ellipsis()))
		wrap(w, indent, shown(t.Why), cols, st.dim)
	} else {
		fmt.Fprintln(w, clip(head+shown(t.Title), cols, st.ellipsis()))
		wrap(w, indent, shown(t.Why), cols, plainly)
	}
	if t.Seen != "" && !strings.HasPrefix(t.Why, t.Seen) {
		wrap(w, indent, shown(t.Seen), cols, st.dim)
	}
	if t.Innocent {
		wrap(w, indent, "it cannot come from your change: "+shown(t.Innocence), cols, st.green)
	}
	if t.Muted {
		wrap(w, indent, "it is in quarantine: its failure does not count", cols, st.dim)
	}
	for _, k := range t.Known {
		text := "known issue: " + k.Name
		if k.Note != "" {
			text += ": " + k.Note
		}
		wrap(w, indent, shown(strings.TrimSpace(text+" "+k.Link)), cols, st.cyan)
	}
	if named {
		return
	}
	n := 0
	for _, f := range t.Evidence {
		if f.Say != t.Why && n < maxFacts {
			n++
			wrap(w, indent, fmt.Sprintf("%s: %s", f.For, shown(f.Say)), cols, st.dim)
		}
	}
	if !t.Innocent && t.Innocence != "" {
		wrap(w, indent, "that it is not your change is not proven: "+shown(t.Innocence), cols, st.dim)
	}
	for _, l := range t.Fresh {
		fmt.Fprintln(w, clip(indent+st.dim("not in run "+t.Green+", which was green: ")+shown(l.Text), cols, st.ellipsis()))
	}
}

// failuresCommand is `fairlead failures`.
func (g *global) failuresCommand() *cobra.Command {
	var dir string
	var where site
	var days int
	c := &cobra.Command{
		Use:   "failures [TROUBLE]",
		Short: "Say what fails in a repository, and how often",
		Long: `Say what fails in a repository: failures that are one trouble are counted together,
whichever runs, branches and jobs they are of. Of one trouble, named as the list names
it, say where it was seen and what it said.`,
		Example: `  fairlead failures
  fairlead failures --days 7
  fairlead failures 3f0c5a91d2b4e678
  fairlead failures --server https://ci.example.org --repo team/app`,
		Args: args("[TROUBLE]"),
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.Flags().IntVar(&days, "days", 30, "only what was seen in so many `days`")
	where.flags(c)
	where.repoFlag(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if days < 1 || days > 60 {
			return usage("it is a number from 1 to 60", "--days cannot be %d", days)
		}
		return g.faults(cmd.Context(), &where, dir, func(f Faults, repository string) error {
			if len(a) == 1 {
				v, err := f.Cluster(cmd.Context(), repository, a[0], time.Now())
				if err != nil {
					return err
				}
				if v == nil {
					return usage("`fairlead failures` lists them", "nothing that fails in %s is called %q", repository, a[0])
				}
				return g.showCluster(v)
			}
			o, err := f.Overview(cmd.Context(), repository, days, time.Now())
			if err != nil {
				return err
			}
			var cells [][]string
			for _, k := range o.Clusters {
				known := ""
				if len(k.Known) > 0 {
					known = "known: " + k.Known[0].Name
				}
				cells = append(cells, []string{k.ID, fmt.Sprint(k.Lately), ago(time.Since(k.Last)), clip(shown(cmp.Or(k.Example, k.Title)), 72, "…"), shown(known)})
			}
			return g.rows(o, fmt.Sprintf("nothing has failed in %s in %d days", repository, days), []string{"trouble", "failures", "last", "what it says", ""}, cells)
		})
	}
	return c
}

// showCluster writes what is known of a trouble.
func (g *global) showCluster(v *insight.ClusterView) error {
	if g.json() {
		return writeJSON(g.Stdout, v)
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	put := func(text string) { fmt.Fprintln(g.Stdout, clip(text, cols, st.ellipsis())) }
	put(st.bold(shown(v.Title)))
	put("  " + shown(v.Seen))
	for _, k := range v.Known {
		put("  known issue: " + shown(k.Name) + st.dim("  "+shown(k.Note)+" "+shown(k.Link)))
	}
	fmt.Fprintln(g.Stdout)
	var cells [][]string
	for _, f := range v.Failures {
		what := f.Job
		if f.Test != "" {
			what = f.Test
		} else if f.Step != "" {
			what += " " + st.into() + " " + f.Step
		}
		cells = append(cells, []string{"run " + f.Run, ago(time.Since(f.Time)), shown(f.Branch), shown(what), shown(f.Title)})
	}
	table(g.Stdout, cells, nil, st, cols)
	return nil
}

// knownIssueCommand is `fairlead known-issue`.
func (g *global) knownIssueCommand() *cobra.Command {
	var dir string
	var where site
	by := insight.By{Name: me(), Via: commandLine}
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
		where.flags(c)
		where.repoFlag(c)
		return c
	}
	list := flags(&cobra.Command{Use: "list", Short: "List the known issues of a repository", Example: "  fairlead known-issue list", Args: args()})
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.faults(cmd.Context(), &where, dir, func(f Faults, repository string) error {
			issues, err := f.Issues(cmd.Context(), repository)
			if err != nil {
				return err
			}
			var cells [][]string
			for _, i := range issues {
				from := "set by " + i.By
				if i.At.File != "" {
					from = i.At.String()
				}
				cells = append(cells, []string{shown(i.Name), shown(i.Pattern), cmp.Or(string(i.Blame), "left open"), fmt.Sprint(i.Recent), shown(from)})
			}
			return g.rows(issues, "no known issues of "+repository+": `fairlead known-issue set` makes one", []string{"name", "pattern", "verdict", "recognises", ""}, cells)
		})
	}
	var i insight.Issue
	var verdict, until string
	draft := func(c *cobra.Command) {
		f := c.Flags()
		f.StringVar(&i.Job, "job", "", "only in `jobs` of this name, with * for anything")
		f.StringVar(&i.Step, "step", "", "only in `steps` of this name")
		f.StringVar(&i.Test, "test", "", "only in `tests` of this name")
		f.StringVar(&i.Branch, "branch", "", "only on `branches` of this name")
	}
	set := flags(&cobra.Command{
		Use:   "set NAME PATTERN",
		Short: "Set a known issue, or change the one of that name",
		Long: `Set a known issue, or change the one of that name: failures of which a line looks like
PATTERN, a regular expression (RE2), are shown with its name, note and verdict. What counts
and what does not stays as it is. A verdict is "your change", flaky, infrastructure or
"already broken".

They may stand in fairlead.yaml as well, under known-issues.`,
		Example: `  fairlead known-issue set 'the registry is slow' 'ETIMEDOUT .*registry' --verdict infrastructure --link https://example.com/issues/12
  fairlead known-issue set 'order of the queue' 'two jobs began at once' --test '*queue*' --verdict flaky --until 2026-12-24`,
		Args: args("NAME", "PATTERN"),
	})
	draft(set)
	set.Flags().StringVar(&i.Note, "note", "", "`text` that people are told")
	set.Flags().StringVar(&i.Link, "link", "", "`address` where it is worked on")
	set.Flags().StringVar(&verdict, "verdict", "", "whose `fault` it is")
	set.Flags().StringVar(&until, "until", "", "`day` from which it no longer counts, such as 2026-12-24")
	set.RunE = func(cmd *cobra.Command, a []string) error {
		i.Name, i.Pattern, i.Blame = a[0], a[1], fault.Blame(verdict)
		if until != "" {
			var err error
			if i.Until, err = time.Parse(time.DateOnly, until); err != nil {
				return usage("write it like 2026-12-24", "--until cannot be %q", until)
			}
		}
		return g.faults(cmd.Context(), &where, dir, func(f Faults, repository string) error {
			return f.SetIssue(cmd.Context(), by, repository, i)
		})
	}
	remove := flags(&cobra.Command{Use: "remove NAME", Short: "Remove a known issue that was set", Example: "  fairlead known-issue remove 'the registry is slow'", Args: args("NAME")})
	remove.RunE = func(cmd *cobra.Command, a []string) error {
		return g.faults(cmd.Context(), &where, dir, func(f Faults, repository string) error {
			return f.RemoveIssue(cmd.Context(), by, repository, a[0])
		})
	}
	try := flags(&cobra.Command{
		Use: "try PATTERN", Short: "Say which of the last failures a pattern recognises",
		Example: "  fairlead known-issue try 'ETIMEDOUT .*registry'\n  fairlead known-issue try 'two jobs' --test '*queue*'", Args: args("PATTERN"),
	})
	draft(try)
	try.RunE = func(cmd *cobra.Command, a []string) error {
		i.Pattern = a[0]
		return g.faults(cmd.Context(), &where, dir, func(f Faults, repository string) error {
			t, err := f.Try(cmd.Context(), repository, i)
			if err != nil {
				return err
			}
			if t.Problem != "" {
				return usage(t.Hint, "%s", t.Problem)
			}
			st := g.style(g.Stdout)
			var cells [][]string
			for _, h := range t.Shown {
				cells = append(cells, []string{"run " + h.Run, shown(h.Branch), shown(cmp.Or(h.Test, h.Job)), shown(h.Before) + st.bold(shown(h.Match)) + shown(h.After)})
			}
			if !g.json() {
				fmt.Fprintf(g.Stderr, "it recognises %d of the last %s\n", t.Hits, plural(t.Of, "failure"))
				table(g.Stdout, cells, nil, st, columns(g.Stdout))
				return nil
			}
			return writeJSON(g.Stdout, t)
		})
	}
	return verbs("known-issue", "Troubles that the team knows",
		`Troubles that the team knows: failures that look like one are shown with its name, its
note and its verdict, in runs that were and that will be.`, list, set, remove, try)
}
