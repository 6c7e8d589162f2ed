package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Delivery is what moves the releases of a tree's services.
type Delivery struct {
	Mover  *rollout.Mover
	Packer *launch.Packer
	Board  *insight.Board
	// Follow goes on with a rollout in a process of its own, which outlives this one.
	Follow func(rollout string) error
}

// shipping is a tree with what moves its services.
type shipping struct {
	*Delivery
	g          *global
	tools      *Tools
	tree       *workspace.Tree
	file       *project.File
	facts      workspace.Facts
	repository string
	by         launch.By
}

// shipping opens the tree that dir lies in, with what moves its services.
func (g *global) shipping(ctx context.Context, dir string, do func(s *shipping) error) (err error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	file, problems, err := project.Read(tree.FS())
	if err != nil {
		return err
	}
	if plan.Errors(problems) {
		return g.invalid(problems)
	}
	facts, err := tree.Facts(ctx)
	if err != nil {
		return err
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	d, err := tools.Delivery(tree.Root())
	if err != nil {
		return err
	}
	err = do(&shipping{Delivery: d, g: g, tools: tools, tree: tree, file: file, facts: facts, repository: facts.Repository, by: launch.By{Name: me(), Via: commandLine}})
	if e := new(rollout.ProblemsError); errors.As(err, &e) {
		return g.invalid(e.Problems)
	}
	return err
}

func inTree(c *cobra.Command, dir *string) {
	c.Flags().StringVarP(dir, "dir", "C", ".", "`directory` of the repository")
}

// following says how far a verb goes on with what it began.
type following struct {
	detach, stay bool
}

func (f *following) flags(c *cobra.Command) {
	c.Flags().BoolVar(&f.detach, "detach", false, "return at once; a process of its own, or the server, goes on with it")
	c.Flags().BoolVar(&f.stay, "stay", false, "stay until the old release is gone, and not only until the new one has proved itself")
}

func (g *global) deployCommand() *cobra.Command {
	var dir, to, version, image, release, why, emergency string
	var only bool
	var follow following
	c := &cobra.Command{
		Use:   "deploy SERVICE --to ENVIRONMENT",
		Short: "Bring a service to an environment",
		Long: `Bring a service of fairlead.yaml to an environment: make a release of the tree as it
is, or take one that there is, and go through the moves of the service's strategy. Each
move is in the record before the next one begins, so a deployment that is broken off, by
whatever, is gone on with. A release that does worse than what is there is taken back by
itself, and not deployed there again until somebody lifts that.`,
		Example: `  fairlead deploy shop --to staging
  fairlead deploy shop --to staging --plan
  fairlead deploy shop --to production --release sha256:1f3a
  fairlead deploy shop --to production --emergency "checkout is down"`,
		Args: args("SERVICE"),
	}
	inTree(c, &dir)
	follow.flags(c)
	f := c.Flags()
	f.StringVar(&to, "to", "", "`environment`")
	f.StringVar(&version, "version", "", "what the release is `called` (default: the tag, or the commit)")
	f.StringVar(&image, "image", "", "`image` in place of what fairlead.yaml names, with its digest")
	f.StringVar(&release, "release", "", "a release that there is: its `ID`, or the beginning of it, or its version")
	f.StringVar(&why, "why", "", "`reason`, for the record")
	f.StringVar(&emergency, "emergency", "", "pass over approvals and windows, for this `reason`; everybody sees it")
	f.BoolVar(&only, "plan", false, "show the moves, and change nothing")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.shipping(ctx, dir, func(s *shipping) error {
			if to == "" {
				return usage("add --to, one of "+strings.Join(s.environments(a[0]), ", "), "no environment is named")
			}
			if only {
				return s.preview(ctx, a[0], to)
			}
			if _, _, err := launch.Destination(s.file, a[0], to); err != nil {
				return err
			}
			r, err := s.release(ctx, a[0], release, version, image)
			if err != nil {
				return err
			}
			return s.begin(ctx, r, to, why, emergency, follow)
		})
	}
	return c
}

func (g *global) promoteCommand() *cobra.Command {
	var dir, from, to, why, emergency string
	var follow following
	c := &cobra.Command{
		Use:   "promote SERVICE --from ENVIRONMENT --to ENVIRONMENT",
		Short: "Bring the release of one environment to another",
		Long: `Bring the release that serves in one environment to another: the same bytes and
migrations, with the configuration that the release has for the other one.`,
		Example: `  fairlead promote shop --from staging --to production`,
		Args:    args("SERVICE"),
	}
	inTree(c, &dir)
	follow.flags(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "`environment` that has the release (default: the one that comes before)")
	f.StringVar(&to, "to", "", "`environment` that is to have it")
	f.StringVar(&why, "why", "", "`reason`, for the record")
	f.StringVar(&emergency, "emergency", "", "pass over approvals and windows, for this `reason`; everybody sees it")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.shipping(ctx, dir, func(s *shipping) error {
			if to == "" {
				return usage("add --to, one of "+strings.Join(s.environments(a[0]), ", "), "no environment is named")
			}
			if from == "" {
				if from = s.before(a[0], to); from == "" {
					return usage("add --from", "no environment comes before %s", to)
				}
			}
			t, err := s.Mover.Track(ctx, s.repository, a[0], from)
			if err != nil {
				return err
			}
			if t.Release == "" {
				return usage("`fairlead deploy "+a[0]+" --to "+from+"` brings it there", "no release of %s serves in %s", a[0], from)
			}
			r, err := s.Mover.Release(ctx, t.Release)
			if err != nil {
				return err
			}
			return s.begin(ctx, r, to, cmp.Or(why, "promoted from "+from), emergency, follow)
		})
	}
	return c
}

func (g *global) rollbackCommand() *cobra.Command {
	var dir, in, to, why string
	var follow following
	c := &cobra.Command{
		Use:   "rollback SERVICE --in ENVIRONMENT",
		Short: "Go back to the release before",
		Long: `Go back: a rollout that is under way is taken back, else the last release that was
whole there is brought back, with its configuration. The release that is left is not
deployed there again until somebody lifts that (fairlead rollout lift).`,
		Example: `  fairlead rollback shop --in production --why "orders are lost"
  fairlead rollback shop --in production --to 1.4.2`,
		Args: args("SERVICE"),
	}
	inTree(c, &dir)
	follow.flags(c)
	f := c.Flags()
	f.StringVar(&in, "in", "", "`environment`")
	f.StringVar(&to, "to", "", "`release` to go back to: its ID or version (default: the last one that was whole)")
	f.StringVar(&why, "why", "", "`reason`, for the record")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.shipping(ctx, dir, func(s *shipping) error {
			if in == "" {
				return usage("add --in, one of "+strings.Join(s.environments(a[0]), ", "), "no environment is named")
			}
			id := ""
			if to != "" {
				r, err := s.find(ctx, a[0], to)
				if err != nil {
					return err
				}
				id = r.ID
			}
			row, err := s.Mover.Rollback(ctx, s.by, s.repository, a[0], in, id, why)
			if err != nil {
				return err
			}
			return s.follow(ctx, row, follow)
		})
	}
	return c
}

// environments are the names of those that a service goes to.
func (s *shipping) environments(service string) (names []string) {
	for i := range s.file.Services {
		if svc := &s.file.Services[i]; svc.Name == service && len(svc.Environments) > 0 {
			return svc.Environments
		}
	}
	for _, e := range s.file.Environments {
		names = append(names, e.Name)
	}
	return names
}

// before is the environment that a release goes through before another; "" for none.
func (s *shipping) before(service, environment string) string {
	for _, e := range s.file.Environments {
		if e.Name == environment && e.Gate.After != "" {
			return e.Gate.After
		}
	}
	names := s.environments(service)
	if i := slices.Index(names, environment); i > 0 {
		return names[i-1]
	}
	return ""
}

// release is the one that is wished: one that there is, or one that is made.
func (s *shipping) release(ctx context.Context, service, given, version, image string) (*record.Release, error) {
	if given != "" {
		return s.find(ctx, service, given)
	}
	r, err := s.Packer.Pack(ctx, launch.Pack{Tree: s.tree, File: s.file, Service: service, Version: version, Image: image, By: s.by.Name,
		Log: func(line string) { fmt.Fprintln(s.g.Stderr, line) }})
	if err != nil {
		return nil, err
	}
	made, err := s.Mover.Make(ctx, s.by, *r)
	if err == nil && version != "" && made.Version != version {
		fmt.Fprintf(s.g.Stderr, "the same bytes and configuration are release %s already, and are called so\n", made.Version)
	}
	return made, err
}

// find is the release of a service with that version, ID, or beginning of an ID.
func (s *shipping) find(ctx context.Context, service, text string) (*record.Release, error) {
	all, err := s.Mover.Releases(ctx, s.repository, service)
	if err != nil {
		return nil, err
	}
	var found []record.Release
	for _, r := range all {
		hex := strings.TrimPrefix(r.ID, "sha256:")
		if r.Version == text || r.ID == text || len(text) >= 4 && strings.HasPrefix(hex, strings.TrimPrefix(text, "sha256:")) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, usage("`fairlead rollout releases "+service+"` lists them", "there is no release %.80q of %s", text, service)
	case 1:
		return &found[0], nil
	}
	return nil, usage("name it by its ID", "%d releases of %s are called %.80q", len(found), service, text)
}

// begin brings a release to an environment.
func (s *shipping) begin(ctx context.Context, r *record.Release, environment, why, emergency string, f following) error {
	t, err := s.Mover.Track(ctx, s.repository, r.Service, environment)
	if err != nil {
		return err
	}
	row, err := s.Mover.Begin(ctx, s.by, rollout.Wish{Repository: s.repository, Service: r.Service, Environment: environment, Release: r.ID, Why: why, Emergency: emergency,
		Commits: launch.Commits(ctx, s.tree, t.Commit, r.Commit)})
	if err != nil {
		return err
	}
	return s.follow(ctx, row, f)
}

// preview shows the moves of a strategy.
func (s *shipping) preview(ctx context.Context, service, environment string) error {
	svc, env, err := launch.Destination(s.file, service, environment)
	if err != nil {
		return err
	}
	driver := s.Mover.Drivers[svc.Driver()]
	if driver == nil {
		return usage("", "%s is deployed by %s, which this Fairlead does not know", service, svc.Driver())
	}
	t, err := s.Mover.Track(ctx, s.repository, service, environment)
	if err != nil {
		return err
	}
	caps := driver.Capabilities(&deploy.Target{Repository: s.repository, Service: service, Environment: environment, Root: s.tree.Root(), Spec: svc, Log: func(string) {}})
	p, problems := deploy.Compile(svc, env, caps, t.Release != "")
	if plan.Errors(problems) {
		return s.g.invalid(problems)
	}
	if s.g.json() {
		return writeJSON(s.g.Stdout, p)
	}
	st := s.g.style(s.g.Stdout)
	fmt.Fprintf(s.g.Stdout, "%s %s %s: %s by %s, %d moves\n", st.bold(service), st.arrow(), st.bold(environment), p.Strategy, p.Driver, len(p.Moves))
	for i := range p.Moves {
		fmt.Fprintf(s.g.Stdout, "  %2d  %-12s %s\n", i+1, p.Moves[i].Key, st.dim(moveText(&p.Moves[i])))
	}
	return nil
}

// moveText says what a move brings about.
func moveText(m *plan.Move) string {
	switch m.Kind {
	case plan.MoveGate:
		return gateText(m.Gate)
	case plan.MovePropose:
		return "find out what would change"
	case plan.MoveMigrate:
		return m.Migration.Phase + ": " + m.Migration.Command
	case plan.MoveUp:
		return fmt.Sprintf("%s of the new release, ready, without requests", count(m.Instances, "instance"))
	case plan.MoveDown:
		return fmt.Sprintf("%s of the old release left", count(m.Instances, "instance"))
	case plan.MoveVerify:
		var names []string
		for _, c := range m.Checks {
			names = append(names, c.Name)
		}
		return cmp.Or(strings.Join(names, ", "), "all instances are ready")
	case plan.MoveShift:
		return fmt.Sprintf("%d %% of the requests to the new release", m.Percent)
	case plan.MoveAnalyze:
		return "no worse than the old release, looked at for " + duration(m.Analysis.For)
	case plan.MoveHold:
		if m.For == 0 {
			return "until somebody says that it goes on"
		}
		return "for " + duration(m.For)
	case plan.MoveRetire:
		if m.For == 0 {
			return "the old release goes"
		}
		return "the old release goes after " + duration(m.For)
	}
	return ""
}

func gateText(g *plan.DeployGate) string {
	var parts []string
	if g.Approvals > 0 {
		parts = append(parts, count(g.Approvals, "approval"))
	}
	if g.After != "" {
		parts = append(parts, "serves in "+g.After)
	}
	if g.Soak > 0 {
		parts = append(parts, "for "+duration(g.Soak))
	}
	if g.Wait > 0 {
		parts = append(parts, "waits "+duration(g.Wait))
	}
	if n := len(g.Freezes); n > 0 {
		parts = append(parts, count(n, "window"))
	}
	return cmp.Or(strings.Join(parts, ", "), "open")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// follow goes on with a rollout and says what becomes of it, as far as that is wanted.
func (s *shipping) follow(ctx context.Context, row *record.Rollout, f following) error {
	g := s.g
	st := g.style(g.Stderr)
	if f.detach {
		if err := s.Follow(row.ID); err != nil {
			return err
		}
		if g.json() {
			return writeJSON(g.Stdout, row)
		}
		fmt.Fprintf(g.Stdout, "rollout %s: `fairlead rollout show %s` says how it stands\n", row.ID, row.ID)
		return nil
	}
	if !g.json() {
		head(g.Stderr, row, st)
	}
	moving, cancel := context.WithCancel(ctx)
	defer cancel()
	moved := make(chan error, 1)
	var mover sync.WaitGroup
	mover.Go(func() { moved <- s.Mover.Move(moving, row.ID) })
	err := s.tell(ctx, row.ID, f, moved)
	cancel()
	mover.Wait() // whoever goes on with it needs its lease
	if err != nil && ctx.Err() == nil {
		return err
	}
	now, err := s.Mover.Rollout(context.WithoutCancel(ctx), row.ID)
	if err != nil {
		return err
	}
	return s.concluded(ctx, now)
}

func head(w io.Writer, row *record.Rollout, st style) {
	what := row.Version
	if row.To == "" {
		what = "nothing"
	}
	fmt.Fprintf(w, "%s %s %s %s  %s\n", st.bold(row.Service), what, st.arrow(), st.bold(row.Environment),
		st.dim(fmt.Sprintf("%s by %s, %d moves, rollout %s", row.Plan.Strategy, row.Plan.Driver, len(row.Plan.Moves), row.ID)))
	if row.Emergency != "" {
		fmt.Fprintln(w, st.red("  emergency: gates are passed over: "+row.Emergency))
	}
}

// tell says what happens to a rollout until it has ended, nobody moves it any more, or it has
// come as far as the verb wants to see.
func (s *shipping) tell(ctx context.Context, id string, f following, moved <-chan error) error {
	log := s.Mover.Store
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seq := int64(0)
	st := s.g.style(s.g.Stderr)
	var last *record.RolloutMoved
	row, err := s.Mover.Rollout(ctx, id)
	if err != nil {
		return err
	}
	type news struct {
		seq int64
		err error
	}
	ended := false
	for {
		for e, err := range log.AfterKinds(ctx, seq, "rollout.moved") {
			if err != nil {
				return err
			}
			seq = e.Seq
			b, ok := e.Body.(*record.RolloutMoved)
			if !ok || b.Rollout != id {
				continue
			}
			if !s.g.json() {
				movement(s.g.Stderr, row, last, b, e.Time, st)
			}
			last = b
			if b.State.Ended() || !f.stay && proven(row, b) {
				return nil
			}
		}
		if ended {
			return nil
		}
		wake := make(chan news, 1)
		go func() {
			newest, err := log.Watch(ctx, seq)
			wake <- news{newest, err}
		}()
		select {
		case err := <-moved:
			if err != nil {
				return err
			}
			ended = true
		case n := <-wake:
			if n.err != nil {
				return n.err
			}
		}
	}
}

// proven reports whether a rollout has all behind it but to let the old release go.
func proven(row *record.Rollout, b *record.RolloutMoved) bool {
	return !b.Back && b.Step < len(row.Plan.Moves) && row.Plan.Moves[b.Step].Kind == plan.MoveRetire && row.Plan.Moves[b.Step].For > 0 && row.FromNumber > 0
}

// movement says one event of a rollout.
func movement(w io.Writer, row *record.Rollout, last, b *record.RolloutMoved, at time.Time, st style) {
	switch {
	case last == nil:
		return
	case b.Back && !last.Back:
		fmt.Fprintf(w, "  %s %s\n", st.red(st.pick("↩", "<-")), st.red("back: "+b.Reason))
		return
	case b.State != last.State && !b.State.Ended() && b.State != record.RolloutRunning:
		fmt.Fprintf(w, "  %s %s\n", st.yellow(st.pick("⏸", "||")), st.yellow(string(b.State)+": "+b.Reason))
		return
	}
	if b.Step > last.Step || b.Evidence != nil {
		text := ""
		if b.Evidence != nil {
			text = b.Evidence.Text
		}
		key := last.Move
		if key == "" && last.Step < len(row.Plan.Moves) {
			key = row.Plan.Moves[last.Step].Key
		}
		mark := st.green(st.pick("✓", "+"))
		if b.Evidence != nil && !b.Evidence.OK {
			mark = st.red(st.pick("✗", "x"))
		}
		fmt.Fprintf(w, "  %s %-12s %s\n", mark, key, st.dim(text))
		if b.Evidence != nil {
			for _, f := range b.Evidence.Facts {
				fmt.Fprintf(w, "      %s\n", st.dim(factText(&f)))
			}
		}
	}
}

func factText(f *record.Fact) string {
	line := fmt.Sprintf("%s: %.4g", f.Name, f.New)
	if f.Old != 0 {
		line += fmt.Sprintf(", before %.4g", f.Old)
	}
	if f.Limit != 0 {
		line += fmt.Sprintf(", limit %.4g", f.Limit)
	}
	return strings.TrimSpace(line+" "+f.Unit) + ": " + f.Verdict
}

// concluded says how a rollout stands when a verb leaves it.
func (s *shipping) concluded(ctx context.Context, row *record.Rollout) error {
	g, st := s.g, s.g.style(s.g.Stderr)
	if g.json() {
		if err := writeJSON(g.Stdout, row); err != nil {
			return err
		}
	}
	say := func(format string, args ...any) {
		if !g.json() {
			fmt.Fprintf(g.Stderr, format+"\n", args...)
		}
	}
	switch {
	case row.State == record.RolloutDone:
		say("%s", st.green(fmt.Sprintf("%s %s serves in %s", row.Service, cmp.Or(row.Version, "no longer"), row.Environment)))
		return nil
	case row.State.Ended():
		say("%s", st.red(fmt.Sprintf("%s: %s", row.State, row.Reason)))
		return exit(ExitFailed)
	case row.State == record.RolloutAttention:
		say("%s\n  `fairlead rollout settle %s done` says that it was done, `… not-done` that it was not", st.yellow("a person has to say: "+row.Reason), row.ID)
		return exit(ExitError)
	case ctx.Err() != nil:
		say("left as it is, at move %d of %d; `fairlead rollout move %s` goes on with it", row.Step+1, len(row.Plan.Moves), row.ID)
		return exit(ExitInterrupted)
	}
	// Only the old release is still to go; somebody has to be there for that.
	if err := s.Follow(row.ID); err != nil {
		return err
	}
	until := ""
	if row.Step < len(row.Plan.Moves) {
		until = " for " + duration(row.Plan.Moves[row.Step].For)
	}
	say("%s", st.green(fmt.Sprintf("%s %s serves in %s", row.Service, row.Version, row.Environment)))
	say("%s", st.dim("the release before is kept"+until+": `fairlead rollback "+row.Service+" --in "+row.Environment+"` goes back to it at once"))
	return nil
}
