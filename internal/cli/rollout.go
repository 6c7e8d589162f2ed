package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func (g *global) rolloutCommand() *cobra.Command {
	return verbs("rollout", "What is on its way to environments, and what people say to it",
		`What is on its way to environments: look at it, let it go on, hold it, take it back.
Whoever moves it, in this process or another one or on a server, sees it at once.`,
		g.rolloutListCommand(), g.rolloutShowCommand(), g.rolloutReleasesCommand(), g.rolloutMoveCommand(),
		g.rolloutSay("approve", "Let a rollout go on that waits for people", func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error) {
			return s.Mover.Approve(ctx, s.by, id, why)
		}),
		g.rolloutSay("pause", "Hold a rollout where it is", func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error) {
			return s.Mover.Pause(ctx, s.by, id, why)
		}),
		g.rolloutSay("resume", "Let a rollout go on that was paused", func(ctx context.Context, s *shipping, id, _ string) (*record.Rollout, error) {
			return s.Mover.Resume(ctx, s.by, id)
		}),
		g.rolloutSay("promote", "End a hold: the rollout goes on at once", func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error) {
			return s.Mover.Promote(ctx, s.by, id, why)
		}),
		g.rolloutSay("abort", "Give a rollout up, and go back to what was there", func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error) {
			return s.Mover.Abort(ctx, s.by, id, why)
		}),
		g.rolloutSay("override", "Pass over the gates of a rollout: an emergency, which everybody sees", func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error) {
			if why == "" {
				return nil, usage("add --why", "an emergency has a reason")
			}
			return s.Mover.Override(ctx, s.by, id, why)
		}),
		g.rolloutSettleCommand(), g.rolloutLiftCommand())
}

// rolloutSay is a verb by which somebody says something to a rollout.
func (g *global) rolloutSay(name, short string, do func(ctx context.Context, s *shipping, id, why string) (*record.Rollout, error)) *cobra.Command {
	var dir, why string
	c := &cobra.Command{Use: name + " ROLLOUT", Short: short, Example: "  fairlead rollout " + name + " shop-staging-1a2b3c-7", Args: args("ROLLOUT")}
	inTree(c, &dir)
	c.Flags().StringVar(&why, "why", "", "`reason`, for the record")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			row, err := do(cmd.Context(), s, a[0], why)
			if err != nil {
				return err
			}
			return s.standing(row)
		})
	}
	return c
}

// standing says how a rollout stands.
func (s *shipping) standing(row *record.Rollout) error {
	if s.g.json() {
		return writeJSON(s.g.Stdout, row)
	}
	fmt.Fprintf(s.g.Stdout, "%s: %s\n", row.ID, standingText(row))
	return nil
}

func standingText(row *record.Rollout) string {
	text := string(row.State)
	if !row.State.Ended() && row.Step < len(row.Plan.Moves) {
		text += fmt.Sprintf(", move %d of %d: %s", row.Step+1, len(row.Plan.Moves), row.Plan.Moves[row.Step].Key)
	}
	if row.Back && !row.State.Ended() {
		text = "goes back, " + text
	}
	if row.Reason != "" {
		text += ": " + row.Reason
	}
	return text
}

func (g *global) rolloutListCommand() *cobra.Command {
	var dir, in string
	c := &cobra.Command{Use: "list [SERVICE]", Short: "List what is, and was, on its way", Example: "  fairlead rollout list\n  fairlead rollout list shop --in production", Args: args("[SERVICE]")}
	inTree(c, &dir)
	c.Flags().StringVar(&in, "in", "", "only those to this `environment`")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			tracks, err := s.Mover.Tracks(cmd.Context(), s.repository)
			if err != nil {
				return err
			}
			all := []record.Rollout{}
			for _, t := range tracks {
				if len(a) > 0 && a[0] != t.Service || in != "" && in != t.Environment {
					continue
				}
				rows, err := s.Mover.Rollouts(cmd.Context(), t.Repository, t.Service, t.Environment)
				if err != nil {
					return err
				}
				all = append(all, rows...)
			}
			var cells [][]string
			for i := range all {
				r := &all[i]
				cells = append(cells, []string{r.ID, r.Service, r.Environment, r.Version, r.Begun.Local().Format(time.DateTime), r.By, standingText(r)})
			}
			return g.rows(all, "nothing was deployed yet", []string{"rollout", "service", "environment", "version", "begun", "by", "state"}, cells)
		})
	}
	return c
}

func (g *global) rolloutReleasesCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "releases SERVICE", Short: "List the releases of a service", Example: "  fairlead rollout releases shop", Args: args("SERVICE")}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			all, err := s.Mover.Releases(cmd.Context(), s.repository, a[0])
			if err != nil {
				return err
			}
			var cells [][]string
			for _, r := range all {
				cells = append(cells, []string{r.ID[:min(19, len(r.ID))], r.Version, r.Commit[:min(12, len(r.Commit))], r.Artifact.Kind + " " + r.Artifact.Name, r.Made.Local().Format(time.DateTime), r.By})
			}
			return g.rows(all, "there is no release of "+a[0]+" yet", []string{"release", "version", "commit", "artifact", "made", "by"}, cells)
		})
	}
	return c
}

func (g *global) rolloutShowCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "show ROLLOUT", Short: "Show a rollout: its moves, and what each found", Example: "  fairlead rollout show shop-staging-1a2b3c-7", Args: args("ROLLOUT")}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			row, err := s.Mover.Rollout(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, row)
			}
			g.rolloutShown(row)
			return nil
		})
	}
	return c
}

func (g *global) rolloutShown(row *record.Rollout) {
	w, st := g.Stdout, g.style(g.Stdout)
	head(w, row, st)
	fmt.Fprintf(w, "  begun %s by %s", row.Begun.Local().Format(time.DateTime), row.By)
	if row.Why != "" {
		fmt.Fprintf(w, ": %s", row.Why)
	}
	fmt.Fprintln(w)
	for i := range row.Plan.Moves {
		m := &row.Plan.Moves[i]
		found, has := row.Evidence[m.Key]
		mark, text := st.dim(st.dot()), moveText(m)
		switch {
		case has && !found.OK:
			mark, text = st.red(st.pick("✗", "x")), found.Text
		case i < row.Step:
			mark = st.green(st.pick("✓", "+"))
			if has && found.Text != "" {
				text = found.Text
			}
		case i == row.Step && !row.State.Ended():
			mark = st.cyan(st.pick("▸", ">"))
		}
		fmt.Fprintf(w, "  %s %-12s %s\n", mark, m.Key, text)
		for _, f := range found.Facts {
			fmt.Fprintf(w, "      %s\n", st.dim(factText(&f)))
		}
	}
	for _, a := range row.Approvals {
		fmt.Fprintf(w, "  approved by %s at %s %s\n", a.By, a.Time.Local().Format(time.DateTime), a.Why)
	}
	fmt.Fprintf(w, "  %s\n", standingText(row))
}

func (g *global) rolloutMoveCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "move ROLLOUT",
		Short: "Go on with a rollout that nobody moves",
		Long: `Go on with a rollout that was left, or whose process was killed. One that is moved
by another process already is waited for.`,
		Example: "  fairlead rollout move shop-staging-1a2b3c-7",
		Args:    args("ROLLOUT"),
	}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.shipping(ctx, dir, func(s *shipping) error {
			row, err := s.Mover.Rollout(ctx, a[0])
			if err != nil {
				return err
			}
			if row.State.Ended() {
				return s.standing(row)
			}
			return s.follow(ctx, row, following{stay: true})
		})
	}
	return c
}

func (g *global) rolloutSettleCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "settle ROLLOUT done|not-done",
		Short: "Say what became of an act that a crash left unknown",
		Long: `Say what became of an act that must not simply be done again, and of which a crash
left unknown whether it was done: a migration, or what a driver applied.`,
		Example: "  fairlead rollout settle shop-production-1a2b3c-7 done",
		Args:    args("ROLLOUT", "done|not-done"),
	}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if a[1] != "done" && a[1] != "not-done" {
			return usage("say done or not-done", "%q says nothing", a[1])
		}
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			row, err := s.Mover.Settle(cmd.Context(), s.by, a[0], a[1] == "done")
			if err != nil {
				return err
			}
			return s.standing(row)
		})
	}
	return c
}

func (g *global) rolloutLiftCommand() *cobra.Command {
	var dir, in, why string
	c := &cobra.Command{
		Use:     "lift SERVICE RELEASE --in ENVIRONMENT",
		Short:   "Let a release that was taken back be deployed there again",
		Example: "  fairlead rollout lift shop 1.5.0 --in production --why \"the cause was the database\"",
		Args:    args("SERVICE", "RELEASE"),
	}
	inTree(c, &dir)
	c.Flags().StringVar(&in, "in", "", "`environment`")
	c.Flags().StringVar(&why, "why", "", "`reason`, for the record")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			if in == "" {
				return usage("add --in, one of "+strings.Join(s.environments(a[0]), ", "), "no environment is named")
			}
			r, err := s.find(cmd.Context(), a[0], a[1])
			if err != nil {
				return err
			}
			if err := s.Mover.Lift(cmd.Context(), s.by, s.repository, a[0], in, r.ID, why); err != nil {
				return err
			}
			fmt.Fprintf(g.Stdout, "%s %s may be deployed to %s again\n", a[0], r.Version, in)
			return nil
		})
	}
	return c
}

// deployedCommand is `fairlead deployed`: which version is where.
func (g *global) deployedCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "deployed", Short: "Show which version is where", Example: "  fairlead deployed", Args: args()}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			m, err := s.Board.Matrix(cmd.Context(), s.repository)
			if err != nil {
				return err
			}
			heads := append([]string{"service"}, m.Environments...)
			heads = append(heads, m.Previews...)
			var cells [][]string
			for _, r := range m.Rows {
				row := []string{r.Service}
				for _, c := range r.Cells {
					text := ""
					if c.Track != nil && c.Release != "" {
						text = c.Version + " " + ago(time.Since(c.Since))
						if c.Behind > 0 {
							text += ", " + count(c.Behind, "commit") + " behind"
						}
						if c.Health != nil && c.Health.Ready < c.Health.Want {
							text += ", " + strconv.Itoa(c.Health.Ready) + " of " + strconv.Itoa(c.Health.Want) + " ready"
						}
						if c.Drift != nil && len(c.Drift.Differences) > 0 {
							text += ", drifted"
						}
					}
					row = append(row, text)
				}
				cells = append(cells, row)
			}
			return g.rows(m, "nothing was deployed yet: `fairlead deploy SERVICE --to ENVIRONMENT` does", heads, cells)
		})
	}
	return c
}

// driftCommand is `fairlead drift`.
func (g *global) driftCommand() *cobra.Command {
	var dir, in string
	var fix bool
	c := &cobra.Command{
		Use:   "drift [SERVICE]",
		Short: "Compare what is deployed with what there is",
		Long: `Compare what was deployed with what there is: what differs, who changed it if that
is known, and since when. Exits with 1 if anything differs.`,
		Example: "  fairlead drift\n  fairlead drift shop --in production --fix",
		Args:    args("[SERVICE]"),
	}
	inTree(c, &dir)
	c.Flags().StringVar(&in, "in", "", "only in this `environment`")
	c.Flags().BoolVar(&fix, "fix", false, "put right what differs")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.shipping(ctx, dir, func(s *shipping) error { return s.drift(ctx, a, in, fix) })
	}
	return c
}

type drifted struct {
	Service     string              `json:"service"`
	Environment string              `json:"environment"`
	Differences []record.Difference `json:"differences"`
	Error       string              `json:"error,omitempty"`
}

func (s *shipping) drift(ctx context.Context, only []string, in string, fix bool) error {
	tracks, err := s.Mover.Tracks(ctx, s.repository)
	if err != nil {
		return err
	}
	found, any := []drifted{}, false
	st := s.g.style(s.g.Stdout)
	for _, t := range tracks {
		if t.Release == "" || len(only) > 0 && only[0] != t.Service || in != "" && in != t.Environment {
			continue
		}
		d, err := s.Mover.Drift(ctx, t.Repository, t.Service, t.Environment)
		if err != nil {
			return err
		}
		found = append(found, drifted{t.Service, t.Environment, d.Differences, d.Error})
		any = any || len(d.Differences) > 0 || d.Error != ""
		if !s.g.json() {
			s.drifted(&found[len(found)-1], st)
		}
		if fix && len(d.Differences) > 0 {
			row, err := s.Mover.Heal(ctx, s.by, t.Repository, t.Service, t.Environment, "drift put right by hand")
			if err != nil {
				return err
			}
			if err := s.follow(ctx, row, following{stay: true}); err != nil {
				return err
			}
		}
	}
	switch {
	case s.g.json():
		if err := writeJSON(s.g.Stdout, found); err != nil {
			return err
		}
	case len(found) == 0:
		fmt.Fprintln(s.g.Stderr, "nothing is deployed there")
	}
	if any && !fix {
		return exit(ExitFailed)
	}
	return nil
}

func (s *shipping) drifted(d *drifted, st style) {
	w := s.g.Stdout
	switch {
	case d.Error != "":
		fmt.Fprintf(w, "%s %s: %s\n", st.bold(d.Service), d.Environment, st.yellow("could not be looked at: "+d.Error))
	case len(d.Differences) == 0:
		fmt.Fprintf(w, "%s %s: %s\n", st.bold(d.Service), d.Environment, st.green("as it was deployed"))
	default:
		fmt.Fprintf(w, "%s %s: %s\n", st.bold(d.Service), d.Environment, st.red(count(len(d.Differences), "difference")))
	}
	for _, x := range d.Differences {
		what := x.Resource
		if x.Field != "" {
			what += " " + x.Field
		}
		line := fmt.Sprintf("  %s: %s, and not %s", what, orNothing(x.Have), orNothing(x.Want))
		if x.Author != "" {
			line += " (" + x.Author + ")"
		}
		fmt.Fprintln(w, line)
	}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// contrastCommand is `fairlead env diff`.
func (g *global) contrastCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "diff ENVIRONMENT ENVIRONMENT", Short: "Compare what is deployed in two environments",
		Long: `Compare what is deployed in two environments: versions, variables, names of secrets,
instances. Exits with 1 if anything differs.`,
		Example: "  fairlead env diff staging production", Args: args("ENVIRONMENT", "ENVIRONMENT"),
	}
	inTree(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shipping(cmd.Context(), dir, func(s *shipping) error {
			x, err := s.Board.Contrast(cmd.Context(), s.repository, a[0], a[1])
			if err != nil {
				return err
			}
			var cells [][]string
			for _, svc := range x.Services {
				for _, d := range svc.Differences {
					cells = append(cells, []string{svc.Service, d.What, orNothing(d.Of), orNothing(d.With)})
				}
			}
			if err := g.rows(x, a[0]+" and "+a[1]+" do not differ", []string{"service", "what", a[0], a[1]}, cells); err != nil {
				return err
			}
			if len(cells) > 0 {
				return exit(ExitFailed)
			}
			return nil
		})
	}
	return c
}
