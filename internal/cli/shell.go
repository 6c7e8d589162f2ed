package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// shellCommand is `fairlead shell`.
func (g *global) shellCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "shell RUN [JOB[/STEP]] [-- COMMAND...]",
		Short: "Open a shell where a failed step stood",
		Long: `Open a shell in the workspace that a job which did not succeed has left, in the
directory and with the environment of one of its steps: the one named, or else
the one that failed. With a COMMAND, run that instead of a shell.

What is changed there stays: fairlead rerun RUN --from JOB goes on from it.
Values of secrets are not kept; variables that held one hold *** instead.

The shell of a step that ran in a container is in a new one of the same image,
with the same directories: what steps changed outside of these is not there.`,
		Example: `  fairlead shell last test
  fairlead shell 12 test/3 -- go test -run TestFoo ./...`,
		ValidArgsFunction: g.completeJobs,
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		var command []string
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			a, command = a[:n], a[n:]
		}
		if err := args("RUN", "[JOB[/STEP]]")(cmd, a); err != nil {
			return err
		}
		run, err := g.openRun(cmd.Context(), a[0], dir)
		if err != nil {
			return err
		}
		defer run.Close()
		var job, step string
		if len(a) > 1 {
			if job, step, err = launch.FindStep(run.run, a[1]); err != nil {
				return suggestJob(run.run, a[1], err)
			}
		} else {
			list := failures(run.run, nil)
			if len(list) == 0 {
				return usage("name the job: fairlead shell "+run.id+" JOB", "nothing failed in run %s", run.id)
			}
			job, step = list[0].Job, list[0].Step
		}
		return g.shellIn(cmd.Context(), run.Tools, run.run, job, step, command...)
	}
	return c
}

// shellIn opens a shell, or runs a command, where a step stood.
func (g *global) shellIn(ctx context.Context, tools *Tools, r *record.Run, job, step string, command ...string) (err error) {
	in, err := tools.Enter(ctx, r, job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Leave()) }()
	c, key := stood(&in.Kept, r.Job(job), step)
	if c == nil {
		return usage("name a step that ran a command: fairlead shell "+r.ID+" "+job+"/STEP", "step %s of job %s ran no command", step, job)
	}

	name := key
	st := g.style(g.Stderr)
	enter := *c
	enter.Files = nil
	enter.Env = make(map[string]string, len(c.Env)+2)
	var hidden []string
	for k, v := range c.Env {
		enter.Env[k] = v
		if strings.Contains(v, "***") {
			hidden = append(hidden, k)
		}
	}
	if home := in.Dirs.Home; home != "" && enter.Env["HOME"] == "" {
		enter.Env["HOME"] = home
	}
	if len(command) > 0 {
		enter.Argv = command
		code, err := g.inTerminal(ctx, in.Dirs, &enter)
		if err == nil && code != 0 {
			return exit(code)
		}
		return err
	}
	shell := "sh"
	if len(c.Argv) > 0 && filepath.Base(c.Argv[0]) == "bash" {
		shell = "bash"
	}
	enter.Argv = []string{shell}
	if shell == "bash" {
		enter.Argv = append(enter.Argv, "--norc", "--noprofile")
	}
	enter.Env["PS1"] = fmt.Sprintf("(%s %s/%s) \\W \\$ ", r.ID, shown(job), name)
	if g.asks() {
		fmt.Fprintf(g.Stderr, "%s\n", st.dim("in "+shown(c.Dir)+", as step "+name+" of job "+shown(job)+"; it ran:"))
		for l := range strings.SplitSeq(strings.TrimRight(c.Script, "\n"), "\n") {
			fmt.Fprintf(g.Stderr, "  %s\n", st.cyan("$ ")+string(sanitize(nil, []byte(l), false)))
		}
		if len(hidden) > 0 {
			slices.Sort(hidden)
			fmt.Fprintf(g.Stderr, "%s\n", st.yellow("these held secrets, whose values are not kept: "+shown(strings.Join(hidden, ", "))))
		}
	}
	_, err = g.inTerminal(ctx, in.Dirs, &enter) // how a person leaves a shell tells nothing
	if g.asks() {
		fmt.Fprintf(g.Stderr, "%s\n", st.dim("what you changed stays: fairlead rerun "+r.ID+" --from "+quoted(job+"/"+topKey(key))+" goes on from it"))
	}
	return err
}

// inTerminal runs a command on our terminal. Interrupts from the keyboard are
// meant for it, and not for us.
func (g *global) inTerminal(ctx context.Context, dirs plan.Dirs, c *plan.Command) (int, error) {
	unheard := make(chan os.Signal, 1)
	signal.Notify(unheard, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(unheard)
	return g.Shell(ctx, dirs, c)
}

// stood finds the command of a step: its own, that of a step inside it, or, when
// it ran none, that of the last step of the job that ran one.
func stood(k *launch.Kept, j *record.JobRun, step string) (*plan.Command, string) {
	if c := k.Commands[step]; c != nil {
		return c, step
	}
	var found *plan.Command
	key := ""
	for _, s := range j.Steps {
		c := k.Commands[s.Key]
		if c == nil {
			continue
		}
		if found == nil || step == "" || strings.HasPrefix(s.Key, step+".") {
			found, key = c, s.Key
		}
		if s.Key == step {
			break
		}
	}
	return found, key
}

// topKey is the key of the job's own step that a step is part of.
func topKey(key string) string {
	top, _, _ := strings.Cut(key, ".")
	return top
}
