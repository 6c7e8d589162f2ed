package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// environmentCommand is `fairlead environment`.
func (g *global) environmentCommand() *cobra.Command {
	by := launch.By{Name: me(), Via: commandLine}
	var at site
	environments := func(ctx context.Context, there func(r Remote) error, here func(o *Office) error) error {
		if at.url == "" {
			return g.office(ctx, here)
		}
		remote, err := at.dial(g)
		if err != nil {
			return err
		}
		return there(remote)
	}

	list := &cobra.Command{Use: "list REPOSITORY", Short: "List the protected environments of a repository", Example: `  fairlead environment list team/app`, Args: args("REPOSITORY")}
	list.RunE = func(cmd *cobra.Command, a []string) error {
		show := func(all []record.Environment, err error) error {
			if err != nil {
				return err
			}
			var cells [][]string
			for _, e := range all {
				author := "counts"
				if e.NotAuthor {
					author = "does not count"
				}
				cells = append(cells, []string{e.Name, strconv.Itoa(e.Approvals), cmp.Or(strings.Join(e.Approvers, " "), "whoever may approve runs"), author, cmp.Or(strings.Join(e.Branches, " "), "all"),
					(time.Duration(e.Wait) * time.Second).String()})
			}
			return g.rows(all, "no environment is protected: `fairlead environment protect` does", []string{"environment", "approvals", "of", "the author", "branches", "waits"}, cells)
		}
		return environments(cmd.Context(), func(r Remote) error { return show(r.Environments(cmd.Context(), a[0])) },
			func(o *Office) error { return show(o.Desk.Environments(cmd.Context(), a[0])) })
	}

	var e record.Environment
	var wait time.Duration
	protect := &cobra.Command{
		Use:   "protect REPOSITORY ENVIRONMENT",
		Short: "Say what a job waits for before it deploys to an environment",
		Long: `Say what a job waits for before it deploys to an environment: people who approve it,
a time, or a branch that it has to be of. What was said before is replaced.`,
		Example: `  fairlead environment protect team/app production --approvals 2 --branch main
  fairlead environment protect team/app staging --approver ada --approver bob --not-author --wait 10m`,
		Args: args("REPOSITORY", "ENVIRONMENT"),
	}
	f := protect.Flags()
	f.IntVar(&e.Approvals, "approvals", 0, "how many people have to approve (default 1, if approvers are named)")
	f.StringArrayVar(&e.Approvers, "approver", nil, "`account` that may approve; may be repeated; none: whoever may approve runs")
	f.BoolVar(&e.NotAuthor, "not-author", false, "who made the change cannot approve it")
	f.StringArrayVar(&e.Branches, "branch", nil, "`pattern` of branches and tags that may be deployed; may be repeated; none: all")
	f.DurationVar(&wait, "wait", 0, "how `long` every deployment waits")
	protect.RunE = func(cmd *cobra.Command, a []string) error {
		e.Repository, e.Name, e.Wait = a[0], a[1], int(wait/time.Second)
		return environments(cmd.Context(), func(r Remote) error { return r.SetEnvironment(cmd.Context(), e) },
			func(o *Office) error { return o.Desk.SetEnvironment(cmd.Context(), by, e) })
	}

	remove := &cobra.Command{Use: "open REPOSITORY ENVIRONMENT", Short: "Open an environment to every run", Example: `  fairlead environment open team/app staging`, Args: args("REPOSITORY", "ENVIRONMENT")}
	remove.RunE = func(cmd *cobra.Command, a []string) error {
		return environments(cmd.Context(), func(r Remote) error { return r.RemoveEnvironment(cmd.Context(), a[0], a[1]) },
			func(o *Office) error { return o.Desk.RemoveEnvironment(cmd.Context(), by, a[0], a[1]) })
	}

	var why string
	approve := &cobra.Command{Use: "approve RUN ENVIRONMENT", Short: "Let a run deploy to an environment", Example: `  fairlead environment approve 12 production --why "the release was tested"`, Args: args("RUN", "ENVIRONMENT")}
	approve.Flags().StringVar(&why, "why", "", "`reason`, for the record")
	approve.RunE = func(cmd *cobra.Command, a []string) error {
		err := environments(cmd.Context(), func(r Remote) error { return r.ApproveEnvironment(cmd.Context(), a[0], a[1], why) },
			func(o *Office) error { return o.Desk.ApproveEnvironment(cmd.Context(), by, a[0], a[1], why) })
		if err == nil {
			fmt.Fprintf(g.Stderr, "run %s is approved for %s\n", a[0], a[1])
		}
		return err
	}
	for _, c := range []*cobra.Command{list, protect, remove, approve} {
		at.flags(c)
	}
	return verbs("environment", "What protects the environments that jobs deploy to",
		`What a server's jobs wait for before they deploy: on the server of this machine, or with
--server on another one. The page Environments of a repository does the same.`, list, protect, remove, approve)
}
