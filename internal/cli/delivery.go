package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// DeliveryRoom says how delivery goes, and takes what goes wrong, here or on a server; packages insight
// and launch say what its methods promise. A server knows itself who asks.
type DeliveryRoom interface {
	Delivery(ctx context.Context, ask insight.DeliveryAsk) (*insight.DeliveryView, error)
	Incidents(ctx context.Context, repository string, open bool) ([]record.Incident, error)
	Incident(ctx context.Context, id string) (*insight.IncidentStory, error)
	OpenIncident(ctx context.Context, by launch.By, draft record.Incident, text string) (record.Incident, error)
	NoteIncident(ctx context.Context, by launch.By, id, text string) error
	LinkIncident(ctx context.Context, by launch.By, id, rollout, run, text string) error
	ResolveIncident(ctx context.Context, by launch.By, id, text string, at time.Time) error
}

// nearDelivery is the one of this machine.
type nearDelivery struct{ *Tools }

func (n nearDelivery) Delivery(ctx context.Context, ask insight.DeliveryAsk) (*insight.DeliveryView, error) {
	return n.Deliveries.Numbers(ctx, ask, time.Now(), func(string) bool { return true })
}

func (n nearDelivery) Incidents(ctx context.Context, repository string, open bool) ([]record.Incident, error) {
	return n.Troubles.List(ctx, repository, open)
}

func (n nearDelivery) Incident(ctx context.Context, id string) (*insight.IncidentStory, error) {
	s, err := n.Deliveries.Incident(ctx, id, time.Now())
	if err == nil && s == nil {
		_, err = n.Troubles.Incident(ctx, id) // it says that there is none
	}
	return s, err
}

func (n nearDelivery) OpenIncident(ctx context.Context, by launch.By, draft record.Incident, text string) (record.Incident, error) {
	return n.Troubles.Open(ctx, by, draft, text)
}

func (n nearDelivery) NoteIncident(ctx context.Context, by launch.By, id, text string) error {
	return n.Troubles.Note(ctx, by, id, text)
}

func (n nearDelivery) LinkIncident(ctx context.Context, by launch.By, id, rollout, run, text string) error {
	return n.Troubles.Link(ctx, by, id, rollout, run, text)
}

func (n nearDelivery) ResolveIncident(ctx context.Context, by launch.By, id, text string, at time.Time) error {
	return n.Troubles.Resolve(ctx, by, id, text, at)
}

// delivery does something with the delivery of this machine, or of a server.
func (g *global) delivery(ctx context.Context, at *site, do func(d DeliveryRoom) error) error {
	if at.url != "" {
		remote, err := at.dial(g)
		if err != nil {
			return err
		}
		return do(remote)
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(nearDelivery{tools}), tools.Close())
}

// doraCommand is `fairlead dora`.
func (g *global) doraCommand() *cobra.Command {
	var at site
	var ask insight.DeliveryAsk
	var by string
	c := &cobra.Command{
		Use:   "dora",
		Short: "Say how delivery goes: frequency, lead time, failures, recovery, rework",
		Long: `Say how often something is deployed, how long a commit takes to get there, how often a
deployment fails, how long it takes to recover, and how much of it is repair (the numbers
of DORA). They are counted from the record: rollouts, jobs that name an environment, and
incidents. Beside each stand how many things it is made from and a 95 % interval.

Without --environment the one that is called production counts. --of lists the deployments
behind a number: deployment-frequency, lead-time, change-fail-rate, recovery-time, rework-rate.`,
		Example: `  fairlead dora
  fairlead dora --days 90 --by team
  fairlead dora --environment staging --service shop
  fairlead dora --of change-fail-rate
  fairlead dora --server https://ci.example.org --output json`,
		Args: args(),
	}
	f := c.Flags()
	f.IntVar(&ask.Days, "days", 28, "count so many `days` back from now")
	f.StringVar(&ask.Environment, "environment", "", "deployments to this `environment`; * for all (default: production)")
	f.StringVar(&ask.Service, "service", "", "only of this `service`")
	f.StringVar(&ask.Team, "team", "", "only of this `team`")
	f.StringVar(&by, "by", "", "a table by `service or team`")
	f.StringVar(&ask.Of, "of", "", "list the deployments behind this `number`")
	at.flags(c)
	f.StringVar(&at.repo, "repo", "", "only of this `repository`")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		keys := []string{measure.Frequency, measure.LeadTime, measure.ChangeFail, measure.Recovery, measure.ReworkRate}
		switch {
		case ask.Days < 1 || ask.Days > 365:
			return usage("it is a number from 1 to 365", "--days cannot be %d", ask.Days)
		case by != "" && by != "service" && by != "team":
			return usage("it is service or team", "--by cannot be %q", by)
		case ask.Of != "" && !strings.Contains(" "+strings.Join(keys, " ")+" ", " "+ask.Of+" "):
			return usage("it is "+strings.Join(keys, ", "), "--of cannot be %q", ask.Of)
		}
		ask.Repository = at.repo
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			v, err := d.Delivery(cmd.Context(), ask)
			if err != nil {
				return err
			}
			switch {
			case g.json():
				return writeJSON(g.Stdout, v)
			case ask.Of != "":
				return g.showBehind(v)
			case by != "":
				return g.showDeliveryBy(v, by)
			}
			return g.showDelivery(v)
		})
	}
	return c
}

// showDelivery writes the numbers.
func (g *global) showDelivery(v *insight.DeliveryView) error {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	fmt.Fprintf(g.Stderr, "deployments to %s in the %s to now\n", cmp.Or(v.Environment, "all environments"), plural(v.Days, "day"))
	cells := [][]string{{"number", "value", "95 % interval", "made from", ""}}
	for i := range v.Numbers {
		n := &v.Numbers[i].Number
		interval := ""
		if n.HasInterval {
			interval = measured(n.Unit, n.Low) + " to " + measured(n.Unit, n.High)
		}
		from := fmt.Sprintf("%d %s", n.N, n.Of)
		if n.Unit == "share" && n.Known {
			from = fmt.Sprintf("%d of %d %s", n.Count, n.N, n.Of)
		}
		say := n.Band
		if n.P90 > 0 {
			say += ", 90 % within " + measured(n.Unit, n.P90)
		}
		if n.Note != "" {
			say = strings.TrimPrefix(say+"; "+n.Note, "; ")
		}
		cells = append(cells, []string{n.Name, valueOf(n), interval, from, shown(say)})
	}
	table(g.Stdout, cells, nil, st, cols)
	if len(v.Open) > 0 {
		fmt.Fprintf(g.Stderr, "%s: `fairlead incident list --open`\n", plural(len(v.Open), "open incident"))
	}
	return nil
}

// showDeliveryBy writes a row for each service or team.
func (g *global) showDeliveryBy(v *insight.DeliveryView, by string) error {
	list, empty := v.Services, "nothing was deployed"
	if by == "team" {
		list, empty = v.Teams, "no service that was deployed says of which team it is: `team:` in fairlead.yaml does"
	}
	heads := []string{by}
	for i := range v.Numbers {
		heads = append(heads, strings.ToLower(v.Numbers[i].Name))
	}
	var cells [][]string
	for _, of := range list {
		row := []string{shown(strings.TrimSpace(of.Name + " " + of.Repository))}
		for i := range of.Numbers {
			row = append(row, valueOf(&of.Numbers[i]))
		}
		cells = append(cells, row)
	}
	return g.rows(list, empty, heads, cells)
}

// showBehind writes the deployments that a number is made from.
func (g *global) showBehind(v *insight.DeliveryView) error {
	var cells [][]string
	for i := range v.Deployments {
		j := &v.Deployments[i]
		what, recovered := string(j.Outcome), ""
		if j.Bad != "" {
			what = fmt.Sprintf("failed: %s (by %s)", j.Bad, j.Evidence)
		}
		if j.Rework != "" {
			what += "; rework: " + j.Rework
		}
		if took, ok := j.Recovery(); ok {
			recovered = measured("seconds", took.Seconds())
		}
		cells = append(cells, []string{shown(cmp.Or(j.Rollout, "run "+j.Run)), shown(j.Service + " " + j.Version), shown(j.Environment), ago(time.Since(j.Ended)), fmt.Sprint(len(j.Commits)), shown(what), recovered})
	}
	return g.rows(v.Deployments, "there are none", []string{"deployment", "release", "environment", "ended", "commits", "what became of it", "recovered in"}, cells)
}

func valueOf(n *measure.Number) string {
	switch {
	case !n.Known:
		return "no data"
	case n.Unit == "a week":
		return measured(n.Unit, n.Value) + " a week"
	}
	return measured(n.Unit, n.Value)
}

// measured is a value as people read it.
func measured(unit string, v float64) string {
	switch unit {
	case "seconds":
		d := time.Duration(v * float64(time.Second))
		switch {
		case d >= 48*time.Hour:
			return fmt.Sprintf("%.3g days", d.Hours()/24)
		case d >= 2*time.Hour:
			return fmt.Sprintf("%.3g h", d.Hours())
		case d >= 2*time.Minute:
			return fmt.Sprintf("%.3g min", d.Minutes())
		}
		return fmt.Sprintf("%.0f s", v)
	case "share":
		return fmt.Sprintf("%.3g %%", 100*v)
	}
	return fmt.Sprintf("%.3g", v)
}

// incidentCommand is `fairlead incident`.
func (g *global) incidentCommand() *cobra.Command {
	by := launch.By{Name: me(), Via: commandLine}
	var at site
	var dir string
	repository := func(ctx context.Context) (string, error) {
		if at.url != "" {
			return repositoryAt(ctx, at.repo, dir)
		}
		return repositoryHere(ctx, at.repo, dir)
	}

	var draft record.Incident
	var text, began string
	open := &cobra.Command{
		Use: "open TITLE", Short: "Open an incident",
		Long: `Open an incident: what does not work, in a few words. A rollout that is taken back opens
one by itself, and so do alerts that are sent to the server.`,
		Example: `  fairlead incident open 'carts are empty' --service shop --environment production --severity critical
  fairlead incident open 'sign-in is slow' --rollout r42 --began 2026-11-02T09:30:00Z --text 'since the release of this morning'`,
		Args: args("TITLE"),
	}
	f := open.Flags()
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	f.StringVar(&draft.Severity, "severity", "major", strings.Join(launch.Severities(), ", "))
	f.StringVar(&draft.Service, "service", "", "`service` that is in trouble")
	f.StringVar(&draft.Environment, "environment", "", "`environment` in which it is")
	f.StringVar(&draft.Rollout, "rollout", "", "`rollout` that caused it")
	f.StringVar(&draft.Run, "run", "", "`run` that deployed what caused it")
	f.StringVar(&draft.Runbook, "runbook", "", "`address` of what is to be done, or the path of a file")
	f.StringVar(&began, "began", "", "when it began, if that was earlier: 2026-11-02T09:30:00Z")
	f.StringVar(&text, "text", "", "what is known")
	at.repoFlag(open)
	open.RunE = func(cmd *cobra.Command, a []string) error {
		var err error
		if draft.Began, err = moment("--began", began); err != nil {
			return err
		}
		if draft.Repository, err = repository(cmd.Context()); err != nil {
			return err
		}
		draft.Title = a[0]
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			i, err := d.OpenIncident(cmd.Context(), by, draft, text)
			if err != nil {
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, i)
			}
			fmt.Fprintln(g.Stdout, i.ID)
			return nil
		})
	}

	var onlyOpen bool
	list := &cobra.Command{Use: "list", Short: "List incidents, the newest first", Example: "  fairlead incident list --open\n  fairlead incident list --repo team/app", Args: args()}
	list.Flags().BoolVar(&onlyOpen, "open", false, "only those that are not resolved")
	list.Flags().StringVar(&at.repo, "repo", "", "only of this `repository`")
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			all, err := d.Incidents(cmd.Context(), at.repo, onlyOpen)
			if err != nil {
				return err
			}
			var cells [][]string
			for _, i := range all {
				state := "open"
				if !i.Resolved.IsZero() {
					state = "resolved by " + i.ResolvedBy
				}
				cells = append(cells, []string{i.ID, i.Severity, shown(i.Title), shown(strings.TrimSpace(i.Service + " " + i.Environment)), ago(time.Since(i.Opened)), shown(i.OpenedBy), shown(state)})
			}
			return g.rows(all, "there are none", []string{"incident", "severity", "what", "where", "opened", "by", "state"}, cells)
		})
	}

	show := &cobra.Command{Use: "show INCIDENT", Short: "Show an incident with what happened around it", Example: "  fairlead incident show 20261102-k3f7ab", Args: args("INCIDENT")}
	show.RunE = func(cmd *cobra.Command, a []string) error {
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			s, err := d.Incident(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return g.showIncident(s)
		})
	}

	note := &cobra.Command{Use: "note INCIDENT TEXT", Short: "Add a note to an incident", Example: "  fairlead incident note 20261102-k3f7ab 'the cache is cold'", Args: args("INCIDENT", "TEXT")}
	note.RunE = func(cmd *cobra.Command, a []string) error {
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			return d.NoteIncident(cmd.Context(), by, a[0], a[1])
		})
	}

	var rollout, run, why string
	link := &cobra.Command{
		Use: "link INCIDENT", Short: "Say which deployment caused an incident",
		Long: `Say which deployment caused an incident. It counts as failed from then on, and the incident's
end as the end of its repair. Without --rollout and --run the link is taken away.`,
		Example: "  fairlead incident link 20261102-k3f7ab --rollout r42\n  fairlead incident link 20261102-k3f7ab --run 117 --why 'the migration dropped the index'", Args: args("INCIDENT"),
	}
	link.Flags().StringVar(&rollout, "rollout", "", "the `rollout`")
	link.Flags().StringVar(&run, "run", "", "the `run` that deployed")
	link.Flags().StringVar(&why, "why", "", "`reason`, for the record")
	link.RunE = func(cmd *cobra.Command, a []string) error {
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			return d.LinkIncident(cmd.Context(), by, a[0], rollout, run, why)
		})
	}

	var said, when string
	resolve := &cobra.Command{Use: "resolve INCIDENT", Short: "Resolve an incident", Example: "  fairlead incident resolve 20261102-k3f7ab --text 'taken back'\n  fairlead incident resolve 20261102-k3f7ab --at 2026-11-02T10:15:00Z", Args: args("INCIDENT")}
	resolve.Flags().StringVar(&said, "text", "", "what ended it")
	resolve.Flags().StringVar(&when, "at", "", "when service was restored, if that was earlier: 2026-11-02T10:15:00Z")
	resolve.RunE = func(cmd *cobra.Command, a []string) error {
		end, err := moment("--at", when)
		if err != nil {
			return err
		}
		return g.delivery(cmd.Context(), &at, func(d DeliveryRoom) error {
			return d.ResolveIncident(cmd.Context(), by, a[0], said, end)
		})
	}
	for _, c := range []*cobra.Command{open, list, show, note, link, resolve} {
		at.flags(c)
	}
	return verbs("incident", "Troubles of what was deployed: open, note, resolve",
		`Troubles of what was deployed, with what happened around them: deployments, flags, notes.
An incident that names its deployment makes that one count as failed.`, open, list, show, note, link, resolve)
}

// moment reads a time that a flag may give.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("write it like 2026-11-02T09:30:00Z", "%s cannot be %q", flag, text)
	}
	return t.UTC(), nil
}

// showIncident writes an incident with its timeline.
func (g *global) showIncident(s *insight.IncidentStory) error {
	if g.json() {
		return writeJSON(g.Stdout, s)
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	put := func(text string) { fmt.Fprintln(g.Stdout, clip(text, cols, st.ellipsis())) }
	put(st.bold(shown(s.Title)))
	state := st.red("open")
	if !s.Resolved.IsZero() {
		state = st.green("resolved") + " by " + shown(s.ResolvedBy)
	}
	put("  " + s.Severity + ", " + state + ", opened " + ago(time.Since(s.Opened)) + " ago by " + shown(s.OpenedBy))
	if where := strings.TrimSpace(s.Service + " " + s.Environment); where != "" {
		put("  " + shown(where) + st.dim("  "+shown(s.Repository)))
	}
	if s.Runbook != "" {
		put("  runbook: " + st.cyan(shown(s.Runbook)))
	}
	switch {
	case s.Cause != nil:
		put("  caused by " + shown(s.Cause.Service+" "+s.Cause.Version+" to "+s.Cause.Environment) + st.dim("  "+string(s.Cause.Outcome)))
	case s.Rollout != "" || s.Run != "":
		put("  caused by " + shown(cmp.Or(s.Rollout, "run "+s.Run)))
	default:
		for i := range s.Near {
			put(st.dim("  shortly before: " + shown(s.Near[i].Service+" "+s.Near[i].Version+" to "+s.Near[i].Environment) + ", which alone proves nothing"))
		}
	}
	fmt.Fprintln(g.Stdout)
	for _, m := range s.Timeline {
		line := st.dim(m.Time.UTC().Format("2006-01-02 15:04:05")) + "  " + shown(m.What)
		if m.By != "" {
			line += st.dim(" by " + shown(m.By))
		}
		if m.Cause {
			line += st.yellow("  the cause")
		}
		put(line)
		if m.Text != "" {
			wrap(g.Stdout, strings.Repeat(" ", 21), shown(m.Text), cols, st.dim)
		}
	}
	return nil
}
