package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// runsCommand is `fairlead runs`.
func (g *global) runsCommand() *cobra.Command {
	var f store.RunFilter
	var status, dir string
	var all bool
	var at site
	c := &cobra.Command{
		Use:   "runs",
		Short: "List runs, the newest first",
		Long: `List the runs of the repository in the current directory, the newest first.

A run whose process is gone although it has not ended is shown as interrupted;
` + "`fairlead run --resume RUN`" + ` goes on with it.

With --server they are those of a team's server, of the repository that --repo
names or else the remote of this directory's.`,
		Example: `  fairlead runs
  fairlead runs --status failure --branch main
  fairlead runs --all --limit 5 --output json
  fairlead runs --server https://ci.example.org --repo team/app`,
		Args: args(),
	}
	fl := c.Flags()
	fl.BoolVar(&all, "all", false, "runs of all repositories")
	fl.StringVar(&f.Pipeline, "pipeline", "", "only runs of this `workflow`: its file, file's name or name")
	fl.StringVar(&f.Branch, "branch", "", "only runs of this `branch` or ref")
	fl.StringVar(&status, "status", "", "only runs that ended like this (success, failure, error, timeout, cancelled), or are running, waiting or interrupted")
	fl.StringVar(&f.Before, "before", "", "only runs older than this `run`")
	fl.IntVar(&f.Limit, "limit", 20, "at most so many `runs`")
	fl.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	statuses := []string{"success", "failure", "error", "timeout", "cancelled", "running", "waiting", "interrupted"}
	at.flags(c)
	at.repoFlag(c)
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if status != "" {
			if err := oneOf("status", status, statuses...); err != nil {
				return err
			}
		}
		keep := func(store.RunHead) bool { return true }
		switch status {
		case "running":
			f.Unfinished, keep = true, func(h store.RunHead) bool { return h.Verdict == "" && h.Alive }
		case "waiting":
			f.Unfinished, keep = true, store.RunHead.Waiting
		case "interrupted":
			f.Unfinished, keep = true, store.RunHead.Interrupted
		default:
			f.Verdict = plan.Verdict(status)
		}
		from, err := g.archive(ctx, &at)
		if err != nil {
			return err
		}
		defer from.Close()
		if !all {
			if err := from.here(ctx, &f, dir); err != nil {
				return err
			}
		}
		found, err := from.Heads(ctx, f)
		if err == nil && len(found) == 0 && f.Pipeline != "" {
			// A stem names a file, as it does for run.
			for _, ext := range []string{".yml", ".yaml"} {
				with := f
				with.Pipeline += ext
				if found, err = from.Heads(ctx, with); err != nil || len(found) > 0 {
					break
				}
			}
		}
		if err != nil {
			return err
		}
		list := make([]store.RunHead, 0, len(found))
		for _, h := range found {
			if keep(h) {
				list = append(list, h)
			}
		}
		if g.json() {
			return writeJSON(g.Stdout, headsJSON(list))
		}
		if len(list) == 0 {
			what := "no runs here yet; `fairlead run` begins one, `fairlead runs --all` lists those of other repositories"
			if at.url != "" {
				what = "no such runs there; --repo names a repository as the server calls it, --all lists the runs of all"
			}
			fmt.Fprintln(g.Stderr, what)
			return nil
		}
		g.heads(list, all)
		return nil
	}
	return c
}

// root is the directory of the tree that dir lies in.
func root(ctx context.Context, dir string) (string, error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	return tree.Root(), nil
}

// heads writes a table of runs.
func (g *global) heads(list []store.RunHead, all bool) {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	now := time.Now()
	rows := make([][]string, 0, len(list))
	for _, h := range list {
		state := st.glyph(h.Verdict) + " " + st.verdict(h.Verdict)
		if h.Interrupted() {
			state = st.yellow(st.pick("◌", "?") + " interrupted")
		}
		if h.Waiting() {
			state = st.yellow(st.pick("◷", "?") + " waiting")
		}
		took := ""
		switch {
		case !h.Ended.IsZero():
			took = duration(h.Ended.Sub(h.Begun))
		case h.Alive:
			took = duration(now.Sub(h.Begun))
		}
		what := h.Event
		if h.Branch != "" {
			what += " " + h.Branch
		}
		if len(h.SHA) >= 7 && strings.Trim(h.SHA, "0") != "" {
			what += " " + h.SHA[:7]
		}
		if h.Dirty {
			what += "+"
		}
		row := []string{st.bold(h.ID), state, titleOf(h.Name, h.File), st.dim(shown(what)), took, st.dim(ago(now.Sub(h.Begun)))}
		if all {
			row = append(row, st.dim(shown(h.Repository)))
		}
		if h.Why != "" && h.Verdict != plan.Success {
			row = append(row, st.dim(shown(h.Why)))
		}
		rows = append(rows, row)
	}
	table(g.Stdout, rows, map[int]bool{0: true, 4: true}, st, cols)
}

// table writes rows in columns; those in right are flush right.
func table(w io.Writer, rows [][]string, right map[int]bool, st style, cols int) {
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			if i > 0 {
				b.WriteString("  ")
			}
			gap := strings.Repeat(" ", widths[i]-width(cell))
			if right[i] {
				b.WriteString(gap + cell)
			} else {
				b.WriteString(cell + gap)
			}
		}
		fmt.Fprintln(w, clip(strings.TrimRight(b.String(), " "), cols, st.ellipsis()))
	}
}

type headJSON struct {
	ID         string       `json:"id"`
	Number     int          `json:"number"`
	Attempt    int          `json:"attempt"`
	Of         string       `json:"of,omitempty"`
	Repository string       `json:"repository"`
	Root       string       `json:"root"`
	File       string       `json:"file"`
	Name       string       `json:"name"`
	Event      string       `json:"event"`
	Ref        string       `json:"ref"`
	Branch     string       `json:"branch,omitempty"`
	SHA        string       `json:"sha"`
	Dirty      bool         `json:"dirty,omitempty"`
	Actor      string       `json:"actor,omitempty"`
	Begun      time.Time    `json:"begun"`
	Ended      *time.Time   `json:"ended,omitempty"`
	Verdict    plan.Verdict `json:"verdict,omitempty"`
	Why        string       `json:"why,omitempty"`
	State      string       `json:"state"` // ended, running, waiting, interrupted
}

func headsJSON(list []store.RunHead) []headJSON {
	out := make([]headJSON, 0, len(list))
	for _, h := range list {
		j := headJSON{
			ID: h.ID, Number: h.Number, Attempt: h.Attempt, Of: h.Of, Repository: h.Repository, Root: h.Root, File: h.File,
			Name: h.Name, Event: h.Event, Ref: h.Ref, Branch: h.Branch, SHA: h.SHA, Dirty: h.Dirty, Actor: h.Actor,
			Begun: h.Begun, Verdict: h.Verdict, Why: h.Why, State: "ended",
		}
		switch {
		case !h.Ended.IsZero():
			j.Ended = &h.Ended
		case h.Interrupted():
			j.State = "interrupted"
		case h.Waiting():
			j.State = "waiting"
		default:
			j.State = "running"
		}
		out = append(out, j)
	}
	return out
}

// runID finds the run that a person names: by its number, or counted back from
// the last one of this repository ("last", "-2").
func (g *global) runID(ctx context.Context, from archive, name, dir string) (string, error) {
	back := 1
	switch text, counted := strings.CutPrefix(name, "last~"); {
	case name == "last":
	case counted:
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return "", usage("-1 is the last run, -2 the one before it", "-%s names no run", text)
		}
		back = n
	default:
		id := strings.TrimPrefix(name, "#")
		if _, err := strconv.ParseUint(id, 10, 63); err != nil {
			return "", usage("a run is named by its number, or counted back: last, -2", "%q names no run", name)
		}
		return id, nil
	}
	if dir == "" {
		dir = "."
	}
	f := store.RunFilter{Limit: back}
	if err := from.here(ctx, &f, dir); err != nil {
		return "", err
	}
	list, err := from.Heads(ctx, f)
	if err != nil {
		return "", err
	}
	if len(list) < back {
		return "", usage("`fairlead runs --all` lists those of other repositories", "this repository has %s", plural(len(list), "run"))
	}
	return list[back-1].ID, nil
}

// opened is a run that a verb is about.
type opened struct {
	*Tools
	id  string
	run *record.Run
}

// openRun opens the tools and finds the run. The caller closes the tools.
func (g *global) openRun(ctx context.Context, name, dir string) (*opened, error) {
	tools, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	id, err := g.runID(ctx, near{tools}, name, dir)
	if err == nil {
		var r *record.Run
		if r, err = tools.Store.Run(ctx, id); err == nil {
			return &opened{tools, id, r}, nil
		}
	}
	tools.Close()
	return nil, err
}
