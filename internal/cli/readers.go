package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// useNames are how a step used a path, for programs and for people.
var useNames = map[record.Use]struct{ word, text string }{
	record.UseContent: {"content", "reads it"},
	record.UseListed:  {"listed", "lists it"},
	record.UseLink:    {"link", "follows it"},
	record.UseExists:  {"exists", "asks whether it is there"},
	record.UseAbsent:  {"absent", "looks for it in vain"},
	record.UseDir:     {"directory", "goes through it"},
	record.UseKind:    {"kind", "replaces it unread"},
}

// useText is what matters most of how a step uses a path: who reads a file has
// also asked for it.
func useText(uses []record.Use) string {
	for _, u := range []record.Use{record.UseContent, record.UseListed, record.UseLink, record.UseExists, record.UseAbsent, record.UseDir, record.UseKind} {
		if slices.Contains(uses, u) {
			return useNames[u].text
		}
	}
	return ""
}

// reading is a step that uses a path.
type reading struct {
	Repository string    `json:"repository"`
	Pipeline   string    `json:"pipeline"`
	Job        string    `json:"job"`
	Step       string    `json:"step"`
	Name       string    `json:"name"`
	Run        string    `json:"run"` // that it last ran in
	Last       time.Time `json:"last"`
	Path       string    `json:"path"` // the first that it uses
	Paths      int       `json:"paths"`
	Uses       []string  `json:"uses"`
}

// readersCommand is `fairlead readers`.
func (g *global) readersCommand() *cobra.Command {
	var dir string
	var all bool
	c := &cobra.Command{
		Use:   "readers PATH",
		Short: "List the steps that read a path",
		Long: `List the steps that read a path when they last ran, listed it, or looked for it
in vain: what a change of it can reach.

PATH is a file, or a directory, which stands for all below it, in the repository or
anywhere on this machine. It need not be there. Only steps that can be reused are
known.`,
		Example: `  fairlead readers go.sum
  fairlead readers internal/api
  fairlead readers /usr/bin/gcc`,
		Args: args("PATH"),
	}
	c.Flags().BoolVar(&all, "all", false, "steps of all repositories")
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx := cmd.Context()
		if a[0] == "" {
			return usage("name a file or a directory", "an empty PATH names nothing")
		}
		name, repository, err := placeIn(ctx, dir, a[0])
		if err != nil {
			return err
		}
		if all {
			repository = ""
		}
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		found, err := tools.Cache.Readers(ctx, name)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(r cache.Reading) bool { return repository != "" && r.Writer.Repository != repository })
		if g.json() {
			return writeJSON(g.Stdout, readingsJSON(found, name))
		}
		if len(found) == 0 {
			known, err := knows(ctx, tools, repository)
			if err == nil && known {
				fmt.Fprintf(g.Stderr, "no step that is known reads %s, lists it or looks for it\n", shown(a[0]))
			} else if err == nil {
				fmt.Fprintln(g.Stderr, unknownYet)
			}
			return err
		}
		g.readings(found, all)
		return nil
	}
	return c
}

func readingsJSON(found []cache.Reading, name string) []reading {
	list := make([]reading, len(found))
	for i, r := range found {
		w := r.Writer
		if at := strings.LastIndex(r.Path, "/"+name); at >= 0 && !filepath.IsAbs(name) {
			r.Path = r.Path[at+1:] // what is in front is the workspace that the step had
		}
		list[i] = reading{
			Repository: w.Repository, Pipeline: w.Pipeline, Job: w.Job, Step: w.Step, Name: w.Name,
			Run: w.Run, Last: r.Last, Path: r.Path, Paths: r.Paths, Uses: []string{},
		}
		for _, u := range r.Uses {
			list[i].Uses = append(list[i].Uses, useNames[u].word)
		}
	}
	return list
}

// readings writes a table of steps that use a path.
func (g *global) readings(found []cache.Reading, all bool) {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	now := time.Now()
	rows := make([][]string, 0, len(found))
	for _, r := range found {
		w, how := r.Writer, useText(r.Uses)
		if r.Paths > 1 {
			how = "uses " + plural(r.Paths, "path") + " of it"
		}
		row := []string{
			st.bold(shown(w.Job + "/" + w.Step)), clip(shown(w.Name), maxListed, st.ellipsis()), how,
			st.dim("run " + w.Run + ", " + ago(now.Sub(r.Last))), st.dim(shown(w.Pipeline)),
		}
		if all {
			row = append(row, st.dim(shown(w.Repository)))
		}
		rows = append(rows, row)
	}
	table(g.Stdout, rows, nil, st, cols)
}

// unknownYet is said where no step is known.
const unknownYet = "nothing is known yet: `fairlead run` makes steps known, those that can be reused"

// knows reports whether any step of the repository, "" for all, is known.
func knows(ctx context.Context, tools *Tools, repository string) (bool, error) {
	u, err := tools.Cache.Usage(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(u.Repositories, func(r cache.RepositoryUsage) bool { return repository == "" || r.Repository == repository }), nil
}

// placeIn is what a person who is in dir means by a path: relative to the root
// of the tree when it lies there, else absolute; and whose tree that is.
func placeIn(ctx context.Context, dir, name string) (path, repository string, err error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return "", "", err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	if err != nil {
		return "", "", err
	}
	// The tree's root is free of links; what is typed may go through some.
	base, err := filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	at := name
	if !filepath.IsAbs(at) {
		at = filepath.Join(base, name)
	}
	if whole, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
		at = filepath.Join(whole, filepath.Base(at))
	}
	if rel, err := filepath.Rel(tree.Root(), at); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), facts.Repository, nil
	}
	return at, facts.Repository, nil
}

// touched is a step that a change makes run.
type touched struct {
	Pipeline string  `json:"pipeline"`
	Job      string  `json:"job"`
	Step     string  `json:"step"`
	Name     string  `json:"name"`
	Seconds  float64 `json:"seconds"` // when it last ran
	Path     string  `json:"path"`
	Use      string  `json:"use"`
}

// affectedCommand is `fairlead affected`.
func (g *global) affectedCommand() *cobra.Command {
	var base, dir string
	c := &cobra.Command{
		Use:   "affected",
		Short: "List the steps that a change would make run",
		Long: `List the steps that a change would make run, before running anything: those that
read a path of it when they last ran, listed its directory, or looked for it.

The change is what differs between the tree as it is and the last commit or, with
--base, the commit where the history of that ref parted from it. Steps that read
what an affected step writes may run, too. Steps that are not known, as they never
ran or cannot be reused, run in any case; they are not listed.`,
		Example: `  fairlead affected
  fairlead affected --base main
  fairlead affected --base main --output json`,
		Args: args(),
	}
	c.Flags().StringVar(&base, "base", "", "compare with this `ref` instead of the last commit")
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	_ = c.RegisterFlagCompletionFunc("base", cobra.NoFileCompletions)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tree, err := workspace.Open(ctx, dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		facts, err := tree.Facts(ctx)
		if err != nil {
			return err
		}
		differences, known, err := tree.Differences(ctx, base)
		switch {
		case err != nil:
			return err
		case !known && base == "":
			return usage("`git init` makes it one", "%s is no git repository: what has changed is not known", tree.Root())
		case !known:
			return usage("name a branch, a tag or a commit of this repository", "--base: nothing is known as %q here", base)
		}
		changed := make([]cache.Changed, len(differences))
		for i, d := range differences {
			changed[i] = cache.Changed{Path: d.Path, Added: d.Added, Removed: d.Removed}
		}
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		found, rest, err := tools.Cache.Affected(ctx, facts.Repository, changed)
		if err != nil {
			return err
		}
		if g.json() {
			return writeJSON(g.Stdout, affectedJSON(changed, found, len(rest)))
		}
		g.touched(changed, found, len(rest))
		return nil
	}
	return c
}

type affectedDocument struct {
	Changed    []string  `json:"changed"`
	Affected   []touched `json:"affected"`
	Unaffected int       `json:"unaffected"`
}

func affectedJSON(changed []cache.Changed, found []cache.Touched, rest int) affectedDocument {
	d := affectedDocument{Changed: []string{}, Affected: []touched{}, Unaffected: rest}
	for _, ch := range changed {
		d.Changed = append(d.Changed, ch.Path)
	}
	for _, t := range found {
		w := t.Writer
		d.Affected = append(d.Affected, touched{w.Pipeline, w.Job, w.Step, w.Name, seconds(t.Took), t.Path, useNames[t.Use].word})
	}
	return d
}

// touched writes a table of steps that a change would make run, and what it
// comes to.
func (g *global) touched(changed []cache.Changed, found []cache.Touched, rest int) {
	if len(changed) == 0 {
		fmt.Fprintln(g.Stderr, "nothing has changed")
		return
	}
	if len(found)+rest == 0 {
		fmt.Fprintln(g.Stderr, unknownYet)
		return
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	rows := make([][]string, 0, len(found))
	var cost time.Duration
	for _, t := range found {
		cost += t.Took
		w, how := t.Writer, "reads"
		switch t.Use {
		case record.UseListed:
			how = "lists the directory of"
		case record.UseAbsent:
			how = "looked for"
		}
		rows = append(rows, []string{
			st.bold(shown(w.Job + "/" + w.Step)), clip(shown(w.Name), maxListed, st.ellipsis()), span(t.Took),
			how + " " + shown(t.Path), st.dim(shown(w.Pipeline)),
		})
	}
	table(g.Stdout, rows, map[int]bool{2: true}, st, cols)
	text := fmt.Sprintf("%s changed: %s of %s would run", plural(len(changed), "path"), thousands(int64(len(found))), plural(len(found)+rest, "known step"))
	if len(found) > 0 {
		text += "; it took " + span(cost) + " the last time"
		if len(found) > 1 {
			text = strings.Replace(text, "; it took", "; together they took", 1)
		}
	}
	fmt.Fprintln(g.Stderr, text)
}
