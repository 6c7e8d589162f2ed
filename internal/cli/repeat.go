package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// repeating are the flags of `fairlead rerun --test`.
type repeating struct {
	test    string
	job     string
	times   int
	limit   float64
	stress  bool
	verbose bool
}

// maxTimes is how often a test is run at most.
const maxTimes = 100_000

func (o *repeating) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.test, "test", "", "run this `test` of it again and again, in the workspace that its job left, to see whether it can be trusted")
	f.IntVar(&o.times, "times", 100, "with --test: at most so many `times`; it ends earlier when it is clear")
	f.Float64Var(&o.limit, "limit", .01, "with --test: the `share` of failures that is too much")
	f.StringVar(&o.job, "job", "", "with --test: the `job` whose test it is, where several ran it")
	f.BoolVar(&o.stress, "stress", false, "with --test: under load, with more copies at once than there are processors")
	f.BoolVar(&o.verbose, "show-output", false, "with --test: show what the test prints")
}

// only refuses the flags of --test without it.
func (o *repeating) only(c *cobra.Command) error {
	for _, name := range []string{"times", "limit", "job", "stress", "show-output"} {
		if c.Flags().Changed(name) {
			return usage("name the test with --test", "--%s is for a test that is run again", name)
		}
	}
	return nil
}

// repeated is a test that is to be run again.
type repeated struct {
	command testrun.Command
	id      record.TestResult // as its report names it; without a Name when there is none
	job     string
	variant string
}

// repeat runs a test again and again: of a run, or, with a command and no run, here.
func (o *repeating) repeat(ctx context.Context, g *global, name, dir string, command []string) (err error) {
	switch {
	case o.times < 1 || o.times > maxTimes:
		return usage("", "--times is from 1 to %d", maxTimes)
	case !(o.limit > 0 && o.limit < 1):
		return usage("", "--limit is more than 0 and less than 1")
	}
	var r repeated
	var run *opened
	if name == "" && len(command) > 0 {
		at, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		r.command = testrun.Command{Argv: testrun.Named(command, o.test), Dir: at, Env: testrun.Fresh(g.Getenv)}
	} else {
		if name == "" {
			name = "last"
		}
		if run, err = g.openRun(ctx, name, dir); err != nil {
			return err
		}
		defer run.Close()
		if r, err = o.of(run.run, g); err != nil {
			return err
		}
		in, err := run.Enter(ctx, run.run, r.job)
		if err != nil {
			var use *plan.UsageError
			if errors.As(err, &use) {
				use.Hint = "put the command that runs the test after --, and leave out the run: it is run here then"
			}
			return err
		}
		defer func() { err = errors.Join(err, in.Leave()) }()
		if err := o.step(&r, in, run.run.Job(r.job), command); err != nil {
			return err
		}
	}
	return o.count(ctx, g, &r, run)
}

// of finds the test in a run.
func (o *repeating) of(run *record.Run, g *global) (r repeated, err error) {
	jobs := run.Order
	if o.job != "" {
		j, err := launch.FindJob(run, o.job)
		if err != nil {
			return r, suggestJob(run, o.job, err)
		}
		jobs = []string{j.ID}
	}
	var found []repeated
	for _, id := range jobs {
		for _, report := range run.Jobs[id].Tests {
			for i := range report.Bad {
				if testrun.Means(&report.Bad[i], o.test) {
					found = append(found, repeated{id: report.Bad[i], job: id, variant: report.Variant})
				}
			}
		}
	}
	if len(found) == 0 {
		return r, usage("`fairlead show "+run.ID+"` lists those that did; with -- and a command any test can be run again here", "no test %q failed in run %s", o.test, run.ID)
	}
	for _, f := range found[1:] {
		if f.job != found[0].job {
			return r, usage("say which with --job", "test %q failed in jobs %s and %s", o.test, found[0].job, f.job)
		}
	}
	return found[0], nil
}

// step is how the test is run where its job ran it.
func (o *repeating) step(r *repeated, in *launch.Entered, j *record.JobRun, command []string) error {
	var c *plan.Command
	only := ""
	for _, s := range j.Steps {
		if of := in.Commands[s.Key]; of != nil {
			if script, ok := testrun.Only(of.Script, cmp.Or(of.Dir, in.Dirs.Workspace), []record.TestResult{r.id}); ok {
				c, only = of, script
			}
		}
	}
	if c == nil {
		c, _ = stood(&in.Kept, j, "")
	}
	switch {
	case c == nil:
		return usage("put the command that runs it after --", "job %s ran no command", j.ID)
	case len(command) > 0:
		r.command.Argv = testrun.Named(command, o.test)
	case only == "":
		return usage("put the command that runs it after --: it is run in the workspace of the job", "it is not known how to run test %q alone", o.test)
	default:
		shell := []string{"sh", "-e", "-c"}
		if len(c.Argv) > 0 && strings.HasSuffix(c.Argv[0], "bash") {
			shell = []string{"bash", "-e", "-o", "pipefail", "-c"}
		}
		r.command.Argv = append(shell, only)
	}
	r.command.Dir, r.command.Path, r.command.Step = c.Dir, c.Path, true
	if r.command.Dir == "" {
		r.command.Dir = in.Dirs.Workspace
	}
	r.command.Env = maps.Clone(c.Env)
	if r.command.Env == nil {
		r.command.Env = map[string]string{}
	}
	if home := in.Dirs.Home; home != "" && r.command.Env["HOME"] == "" {
		r.command.Env["HOME"] = home
	}
	for k, v := range testrun.Fresh(func(name string) string { return r.command.Env[name] }) {
		r.command.Env[k] = v
	}
	return nil
}

// count runs the test until it is clear what it is worth, and says so.
func (o *repeating) count(ctx context.Context, g *global, r *repeated, run *opened) error {
	rep := &testrun.Repeat{
		Test: o.test, Command: r.command, Stress: o.stress, Exec: g.Command, Out: io.Discard,
		Count: suite.Repeat{Limit: o.limit, Times: o.times},
	}
	if o.verbose {
		rep.Out = &lines{to: g.Stderr}
	}
	_, isTerminal := terminal(g.Stderr)
	rep.Show = func(n int, a testrun.Attempt, c *suite.Repeat) {
		text := fmt.Sprintf("%d: %s; %s", c.Runs, a.Sentence(), c)
		switch {
		case isTerminal && !o.verbose:
			fmt.Fprintf(g.Stderr, "\r\x1b[K%s", clip(shown(text), columns(g.Stderr)-1, "…"))
		case a.Outcome.Bad() || c.Runs <= 5 || c.Runs%10 == 0:
			fmt.Fprintln(g.Stderr, shown(text))
		}
		if a.Outcome.Bad() && c.Failures == 1 && a.Why != "" {
			if isTerminal {
				fmt.Fprintln(g.Stderr)
			}
			fmt.Fprintf(g.Stderr, "   %s\n", clip(shown(firstLineOf(a.Why)), maxListed*4, "…"))
		}
	}
	count, results, err := rep.Run(ctx)
	if isTerminal && !o.verbose {
		fmt.Fprintln(g.Stderr)
	}
	switch {
	case errors.Is(err, testrun.ErrNoTest):
		return usage("see what it prints with --show-output", "%v", err)
	case err != nil && count.Runs == 0:
		return err
	case err != nil && ctx.Err() == nil:
		return err
	}
	if err := o.teach(context.WithoutCancel(ctx), g, r, run, results); err != nil {
		fmt.Fprintf(g.Stderr, "fairlead: what was seen is not remembered: %v\n", err)
	}
	return o.say(g, &count, ctx.Err() != nil)
}

func firstLineOf(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// teach has the record know what was seen.
func (o *repeating) teach(ctx context.Context, g *global, r *repeated, run *opened, results []record.TestResult) error {
	if run == nil || r.id.Name == "" || len(results) == 0 {
		return nil
	}
	report, err := testrun.Taught(ctx, run.Launcher.Results, r.id, results, r.variant, o.stress)
	if err != nil {
		return err
	}
	if _, err := run.Store.Append(ctx, record.Event{Run: run.id, Body: report}); err != nil {
		return err
	}
	return run.Tests.Learn(ctx)
}

// say says what the test is worth.
func (o *repeating) say(g *global, c *suite.Repeat, stopped bool) error {
	answer := c.Answer()
	if g.json() {
		low, high := c.Interval()
		err := writeJSON(g.Stdout, struct {
			Test     string             `json:"test"`
			Answer   suite.RepeatAnswer `json:"answer"`
			Runs     int                `json:"runs"`
			Failures int                `json:"failures"`
			Low      float64            `json:"low"`
			High     float64            `json:"high"`
			Stress   bool               `json:"stress,omitempty"`
		}{o.test, answer, c.Runs, c.Failures, low, high, o.stress})
		if err != nil {
			return err
		}
	} else {
		load := ""
		if o.stress {
			load = " under load"
		}
		fmt.Fprintf(g.Stdout, "%s: %s%s. It %s\n", shown(o.test), answer, load, c)
	}
	switch {
	case stopped:
		return exit(ExitInterrupted)
	case answer == suite.RepeatStable, answer == suite.RepeatOpen && c.Failures == 0:
		return nil
	}
	return exit(ExitFailed)
}
