package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// rerunCommand is `fairlead rerun`.
func (g *global) rerunCommand() *cobra.Command {
	var o watching
	var s secrets
	var again launch.Again
	var at site
	var repeated repeating
	var dir string
	var taken []string
	c := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Run again: all, only what failed, on from a step, or one test many times",
		Long: `Begin a new run with the plan of an old one: all of it, only the jobs that did
not succeed and those that need them, or on from a step.

With --from the job goes on in the very workspace that its failed step left:
mend what was wrong there (fairlead shell), and do not wait for all that came
before it again. Without a STEP it goes on from the one that failed.

With --test one test that failed is run again and again, in the workspace that its
job left: until it is clear whether it is stable, flaky or broken, or --times. What was seen is
remembered. With a command after -- that is how the test is run; without a RUN it is run
here.

With --server the run is a server's, and runs there again.

RUN is a number, or counted back: last or -1, -2 …`,
		Example: `  fairlead rerun last --failed
  fairlead rerun 12 --from test        on from the step of test that failed
  fairlead rerun 12 --from test/3
  fairlead rerun last --test TestLogin --times 200
  fairlead rerun --test TestLogin --stress -- go test ./internal/auth`,
		Args: func(cmd *cobra.Command, a []string) error {
			if n := cmd.ArgsLenAtDash(); repeated.test != "" {
				if n >= 0 {
					a = a[:n]
				}
				return args("[RUN]")(cmd, a)
			}
			return args("RUN")(cmd, a)
		},
		ValidArgsFunction: g.completeRuns,
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVar(&again.Failed, "failed", false, "keep what succeeded, run the rest")
	f.BoolVar(&again.NoReuse, "no-reuse", false, "run every step, and watch none")
	f.StringArrayVar(&again.Play, "play", nil, "keep what succeeded and let this manual `job` run")
	f.StringVar(&again.From, "from", "", "keep what succeeded and go on from this `JOB[/STEP]`")
	s.flags(c)
	f.StringVar(&g.wiring.Mirror, "mirror", "", "fetch actions from this base `URL` instead of their code host")
	f.BoolVar(&g.wiring.Offline, "offline", false, "fetch nothing")
	f.StringArrayVar(&taken, "label", nil, "this machine takes jobs that run on this label, or not (`NAME=yes|no`)")
	o.flags(c)
	repeated.flags(c)
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) (err error) {
		if repeated.test != "" {
			return g.repeat(cmd, &repeated, &at, a, dir)
		}
		if err := repeated.only(cmd); err != nil {
			return err
		}
		if at.url != "" {
			if err := unfit(cmd, "no-reuse", "secret", "secret-file", "mirror", "offline", "label", "shell-on-failure"); err != nil {
				return err
			}
			return g.rerunThere(cmd.Context(), &at, a[0], dir, again.Again)
		}
		g.lines = o.progress == "json"
		if again.Secrets, err = s.values(g); err != nil {
			return err
		}
		if g.wiring.Labels, err = labels(taken); err != nil {
			return err
		}
		ctx, abort, done := interruptible(cmd.Context())
		defer done()
		run, err := g.openAgain(ctx, a[0], dir)
		if err != nil {
			return err
		}
		defer run.Close()
		if again.From != "" {
			if _, _, err := launch.FindStep(run.run, again.From); err != nil {
				return suggestJob(run.run, again.From, err)
			}
		}
		return o.show(ctx, g, run.Tools, abort, []start{{pipeline: run.run.Planned.Pipeline, run: func(ctx context.Context, w launch.Watcher) (launch.Result, error) {
			return run.Rerun(ctx, run.id, again, w)
		}}})
	}
	return c
}

// repeat is rerun --test.
func (g *global) repeat(cmd *cobra.Command, o *repeating, at *site, a []string, dir string) error {
	if at.url != "" {
		return usage("leave --server out: a test is run again on this machine", "--test and --server do not go together")
	}
	if err := unfit(cmd, "failed", "no-reuse", "play", "from", "secret", "secret-file", "mirror", "offline", "label", "shell-on-failure"); err != nil {
		return usage("leave it out", "that is for the whole run, and not for one --test")
	}
	var command []string
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		a, command = a[:n], a[n:]
	}
	name := ""
	if len(a) > 0 {
		name = a[0]
	}
	ctx, _, done := interruptible(cmd.Context())
	defer done()
	return o.repeat(ctx, g, name, dir, command)
}

// rerunThere has a server repeat one of its runs.
func (g *global) rerunThere(ctx context.Context, at *site, name, dir string, again record.Again) error {
	run, err := g.look(ctx, at, name, dir)
	if err != nil {
		return err
	}
	defer run.Close()
	if again.From != "" {
		if _, _, err := launch.FindStep(run.run, again.From); err != nil {
			return suggestJob(run.run, again.From, err)
		}
	}
	id, err := run.archive.(far).Rerun(ctx, run.id, again)
	if err != nil {
		return err
	}
	if g.json() {
		return writeJSON(g.Stdout, struct {
			Run string `json:"run"`
		}{id})
	}
	fmt.Fprintln(g.Stdout, id)
	fmt.Fprintf(g.Stderr, "run %s repeats run %s; `fairlead logs -f %s` follows it\n", id, run.id, id)
	return nil
}

// openAgain is openRun with the wiring that the run was given: its local actions,
// and whether it worked in place.
func (g *global) openAgain(ctx context.Context, name, dir string) (*opened, error) {
	run, err := g.openRun(ctx, name, dir)
	if err != nil {
		return nil, err
	}
	s := run.run.Planned.Settings
	if len(s.Actions) == 0 && !s.InPlace {
		return run, nil
	}
	if err := run.Close(); err != nil {
		return nil, err
	}
	g.wiring.Actions, g.wiring.InPlace = s.Actions, s.InPlace
	return g.openRun(ctx, run.id, dir)
}

// cancelCommand is `fairlead cancel`.
func (g *global) cancelCommand() *cobra.Command {
	var dir string
	var at site
	c := &cobra.Command{
		Use:   "cancel RUN [JOB]",
		Short: "Cancel a run that goes on, or one job of it",
		Long: `Ask whoever runs a run, in another terminal or on a server, to cancel it or one
job of it. Steps that always run still do.`,
		Example:           "  fairlead cancel last\n  fairlead cancel 12 e2e",
		Args:              args("RUN", "[JOB]"),
		ValidArgsFunction: g.completeJobs,
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx := cmd.Context()
		run, err := g.look(ctx, &at, a[0], dir)
		if err != nil {
			return err
		}
		defer run.Close()
		job := ""
		if len(a) > 1 {
			j, err := launch.FindJob(run.run, a[1])
			if err != nil {
				return suggestJob(run.run, a[1], err)
			}
			job = j.ID
		}
		if run.run.Verdict != "" {
			return usage("`fairlead rerun "+run.id+"` begins a new one", "run %s has ended (%s)", run.id, run.run.Verdict)
		}
		switch from := run.archive.(type) {
		case far:
			err = from.Cancel(ctx, run.id, job)
		case near:
			err = from.Cancel(ctx, run.id, job, g.who())
		}
		if err != nil {
			return err
		}
		what := "run " + run.id
		if job != "" {
			what = "job " + shown(job) + " of " + what
		}
		fmt.Fprintf(g.Stderr, "asked %s to cancel; `fairlead logs -f %s` follows its end\n", what, run.id)
		return nil
	}
	return c
}

// who is the person at the keyboard.
func (g *global) who() string {
	name := g.Getenv("USER")
	if name == "" {
		name = "somebody"
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
