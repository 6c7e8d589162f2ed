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

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// TestRoom answers about tests and takes decisions about them: this machine's record, or a
// server. Package insight says what its methods promise.
type TestRoom interface {
	ListTests(ctx context.Context, repository string, ask insight.TestsAsk) (insight.TestList, error)
	FindTests(ctx context.Context, repository, name, variant string) ([]insight.TestRow, error)
	Test(ctx context.Context, id suite.ID) (*insight.TestStory, error)
	QuarantineTest(ctx context.Context, id suite.ID, q insight.Quarantining) (*record.TestJudged, error)
	ReleaseTest(ctx context.Context, id suite.ID, why string) (*record.TestJudged, error)
}

// nearTests is the room of this machine.
type nearTests struct{ *Tools }

func (n nearTests) ListTests(ctx context.Context, repository string, ask insight.TestsAsk) (insight.TestList, error) {
	return n.Histories.List(ctx, []string{repository}, ask)
}

func (n nearTests) FindTests(ctx context.Context, repository, name, variant string) ([]insight.TestRow, error) {
	return n.Histories.Find(ctx, repository, name, variant)
}

func (n nearTests) Test(ctx context.Context, id suite.ID) (*insight.TestStory, error) {
	return n.Histories.Test(ctx, id)
}

func (n nearTests) QuarantineTest(ctx context.Context, id suite.ID, q insight.Quarantining) (*record.TestJudged, error) {
	return n.Wards.Quarantine(ctx, insight.Person{Name: me(), Via: commandLine}, id, q)
}

func (n nearTests) ReleaseTest(ctx context.Context, id suite.ID, why string) (*record.TestJudged, error) {
	return n.Wards.Release(ctx, insight.Person{Name: me(), Via: commandLine}, id, why)
}

// testSite says whose tests a verb is about.
type testSite struct {
	site
	dir     string
	variant string
}

func (p *testSite) all(c *cobra.Command) *cobra.Command {
	p.flags(c)
	c.Flags().StringVar(&p.repo, "repo", "", "`repository` as the record, or the server, calls it (default: what its remote says)")
	c.Flags().StringVarP(&p.dir, "dir", "C", ".", "`directory` of the repository")
	return c
}

func (p *testSite) one(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&p.variant, "variant", "", "`variant` of the environment, where a test runs in several: \"windows, node 22\"")
	return p.all(c)
}

// room does something in the room that the flags name, for the repository that they name.
func (g *global) room(ctx context.Context, p *testSite, do func(r TestRoom, repository string) error) error {
	if p.url != "" {
		remote, err := p.dial(g)
		if err != nil {
			return err
		}
		repository, err := repositoryAt(ctx, p.repo, p.dir)
		if err != nil {
			return err
		}
		return do(remote, repository)
	}
	repository, err := repositoryHere(ctx, p.repo, p.dir)
	if err != nil {
		return err
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(nearTests{tools}, repository), tools.Close())
}

// repositoryHere is what the record calls the repository that dir lies in, unless that is
// said.
func repositoryHere(ctx context.Context, said, dir string) (string, error) {
	if said != "" {
		return said, nil
	}
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	return facts.Repository, err
}

// testsCommand is `fairlead tests`.
func (g *global) testsCommand() *cobra.Command {
	var at testSite
	var ask insight.TestsAsk
	c := verbs("tests", "List tests: which can be trusted, and how far",
		`List the tests of a repository: what is thought of each, how likely it fails by chance
(with the interval in which that lies with 90 %), how it ended lately (oldest first: . passed,
F failed, m failed in quarantine, r passed when it was tried again, E did not end, s skipped),
how long it takes, and what its flakes cost in the last 30 days.

Tests are learned of from the reports that steps leave; see also the page Tests of a server.`,
		g.testsShowCommand(), g.testsQuarantineCommand(), g.testsReleaseCommand())
	c.Example = `  fairlead tests
  fairlead tests --state ill --order lost
  fairlead tests --text Parse --output json
  fairlead tests --server https://ci.example.org --repo team/app`
	f := c.Flags()
	f.StringVar(&ask.State, "state", "", "only those in this `state`: "+strings.Join(insight.States(), ", ")+" (all but the healthy)")
	f.StringVar(&ask.Order, "order", "", "`order`: "+strings.Join(insight.Orders(), ", ")+" (default rate)")
	f.StringVar(&ask.Text, "text", "", "only those with this `text` in their name")
	f.IntVarP(&ask.Limit, "limit", "n", 30, "at most so many")
	at.all(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := ask.Check(); err != nil {
			return usage("", "%s", err)
		}
		return g.room(cmd.Context(), &at, func(r TestRoom, repository string) error {
			list, err := r.ListTests(cmd.Context(), repository, ask)
			if err != nil {
				return err
			}
			return g.listTests(repository, list)
		})
	}
	return c
}

func (g *global) listTests(repository string, list insight.TestList) error {
	st := g.style(g.Stdout)
	var cells [][]string
	for i := range list.Tests {
		t := &list.Tests[i]
		chance := "no sign of it"
		switch {
		case t.High > 0:
			chance = insight.RateText(t.Rate) + " (" + insight.RateText(t.Low) + " to " + insight.RateText(t.High) + ")"
		case t.Runs == 0:
			chance = "not known"
		}
		cells = append(cells, []string{
			stateText(t.State, st), clip(shown(t.Title+variantText(t.Variant)), maxTestName, st.ellipsis()), chance, cellsText(t.Strip, listedCells, st),
			secondsText(t.Seconds), secondsText(t.Lost), shown(t.Owner),
		})
	}
	empty := "nothing is known of any test of " + repository + " yet: run what leaves a report"
	if list.Count.All > 0 {
		empty = fmt.Sprintf("none of the %d tests of %s fits", list.Count.All, repository)
	}
	if err := g.rows(list, empty, []string{"state", "test", "fails by chance", "lately", "takes", "lost", "owner"}, cells); err != nil || g.json() {
		return err
	}
	if more := list.Total - len(list.Tests); more > 0 {
		fmt.Fprintf(g.Stderr, "%s more; --limit shows more of them\n", plural(more, "test"))
	}
	return nil
}

const (
	listedCells, shownCells = 20, 60
	maxTestName             = 60 // columns
	maxShownFaults          = 3
)

func variantText(v string) string {
	if v == "" {
		return ""
	}
	return " [" + v + "]"
}

func secondsText(s float64) string {
	if s <= 0 {
		return ""
	}
	return duration(time.Duration(s * float64(time.Second)))
}

func stateText(s record.TestState, st style) string {
	switch s {
	case record.TestSuspected:
		return st.yellow(string(s))
	case record.TestQuarantined:
		return st.blue(string(s))
	case record.TestBroken:
		return st.red(string(s))
	}
	return st.green(string(cmp.Or(s, record.TestHealthy)))
}

// cellsText is how a test ended lately, the newest last.
func cellsText(cells []insight.TestCell, most int, st style) string {
	var b strings.Builder
	cells = cells[:min(len(cells), most)]
	for i := len(cells) - 1; i >= 0; i-- {
		switch c := &cells[i]; {
		case c.Outcome == "passed":
			b.WriteString(st.green("."))
		case c.Outcome == "skipped":
			b.WriteString(st.dim("s"))
		case c.Outcome == "flaked":
			b.WriteString(st.yellow("r"))
		case c.Muted:
			b.WriteString(st.blue("m"))
		case c.Outcome == "errored":
			b.WriteString(st.red("E"))
		default:
			b.WriteString(st.red("F"))
		}
	}
	return b.String()
}

// oneTest finds the test that is meant.
func oneTest(ctx context.Context, r TestRoom, p *testSite, repository, name string) (suite.ID, error) {
	found, err := r.FindTests(ctx, repository, name, p.variant)
	if err != nil {
		return suite.ID{}, err
	}
	switch len(found) {
	case 1:
		return suite.ID{Repository: repository, Key: found[0].Key, Variant: found[0].Variant}, nil
	case 0:
		return suite.ID{}, usage("`fairlead tests` lists them", "there is no test %q in %s", name, repository)
	}
	var names []string
	same := true
	for i, t := range found {
		same = same && t.Key == found[0].Key
		if i < 5 {
			names = append(names, fmt.Sprintf("%s  %s%s", t.Key, shown(t.Title), variantText(t.Variant)))
		}
	}
	hint := "say which by its key:\n  "
	if same {
		hint = "say which with --variant:\n  "
	}
	if more := len(found) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return suite.ID{}, usage(hint+strings.Join(names, "\n  "), "%q may be %s", name, plural(len(found), "test"))
}

func (g *global) testsShowCommand() *cobra.Command {
	var at testSite
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what is known of a test",
		Long: `Show what is known of a test: how likely it fails by chance, how sure that is, the runs
that prove it, what was different when it failed, how it failed, and who decided what about it.

NAME is the test's name, its full name as the list has it, or its key.`,
		Example: `  fairlead tests show TestParse
  fairlead tests show 'pay › TestRefund' --variant 'windows' --output json`,
		Args: args("NAME"),
	}
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.room(cmd.Context(), &at, func(r TestRoom, repository string) error {
			id, err := oneTest(cmd.Context(), r, &at, repository, a[0])
			if err != nil {
				return err
			}
			story, err := r.Test(cmd.Context(), id)
			if err != nil {
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, story)
			}
			writeTest(g.Stdout, story, g.style(g.Stdout), columns(g.Stdout))
			return nil
		})
	}
	return at.one(c)
}

// writeTest shows a test: a headline, then what it rests on.
func writeTest(w io.Writer, t *insight.TestStory, st style, cols int) {
	plain := func(s string) string { return s }
	fmt.Fprintln(w, clip(stateText(t.State, st)+"  "+st.bold(shown(t.Title))+st.dim(variantText(shown(t.Variant))), cols, st.ellipsis()))
	wrap(w, "  ", shown(t.Sentence)+".", cols, plain)
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintln(w, clip("  "+st.dim(pad(name, 8))+" "+text, cols, st.ellipsis()))
		}
	}
	field("key", t.Key)
	where := shown(t.File)
	if where != "" && t.Line > 0 {
		where += fmt.Sprintf(":%d", t.Line)
	}
	field("where", where)
	field("owner", shown(t.Owner))
	field("runs", fmt.Sprintf("%s, %d failed, %d of them by chance", plural(int(t.Runs), "run"), t.Failures, t.Flakes))
	field("lately", cellsText(t.History, shownCells, st))
	field("takes", secondsText(t.Seconds))
	field("lost", secondsText(t.Lost))
	wrap(w, "  "+st.dim(pad("sure", 8))+" ", t.Decision.Text+".", cols, plain)
	if t.Decision.Obstacle != "" {
		wrap(w, "  "+st.dim(pad("", 8))+" ", "It is not in quarantine, because "+shown(t.Decision.Obstacle)+".", cols, plain)
	}
	section := func(title string, n int) {
		if n > 0 {
			fmt.Fprintf(w, "\n%s\n", st.bold(title))
		}
	}
	section("Why it is chance", len(t.Evidence))
	for _, e := range t.Evidence {
		wrap(w, "  ", e.Text, cols, plain)
	}
	if c := t.Cause; c != nil {
		section("What was different when it failed", 1)
		for i, k := range c.Causes {
			wrap(w, fmt.Sprintf("  %d. ", i+1), shown(k.Text), cols, plain)
			for _, e := range k.Evidence {
				fmt.Fprintln(w, clip("     "+st.dim(shown(e)), cols, st.ellipsis()))
			}
		}
		if c.Why != "" {
			wrap(w, "  ", "Not known: "+c.Why+".", cols, st.dim)
		}
	}
	section("Ways in which it failed", len(t.Faults))
	for i, f := range t.Faults {
		if i == maxShownFaults {
			fmt.Fprintf(w, "  %s\n", st.dim(fmt.Sprintf("and %d more", len(t.Faults)-i)))
			break
		}
		message, _, _ := strings.Cut(strings.TrimSpace(cmp.Or(f.Message, f.Type, "without a word")), "\n")
		fmt.Fprintln(w, clip("  "+st.red(shown(message)), cols, st.ellipsis()))
		fmt.Fprintln(w, clip("    "+st.dim(plural(f.Count, "time")+", in run "+strings.Join(f.Runs, ", ")), cols, st.ellipsis()))
	}
	section("Changes of its state", len(t.Changes))
	for _, c := range t.Changes {
		text := c.Time.Local().Format("2006-01-02 15:04") + "  " + stateText(c.To, st) + "  " + shown(c.Why)
		if c.By != "" {
			text += st.dim(" by " + shown(c.By))
		}
		fmt.Fprintln(w, clip("  "+text, cols, st.ellipsis()))
	}
}

func (g *global) testsQuarantineCommand() *cobra.Command {
	var at testSite
	var q insight.Quarantining
	c := &cobra.Command{
		Use:   "quarantine NAME --reason TEXT",
		Short: "Have the failures of a test not count for a while",
		Long: `Put a test into quarantine: it still runs, and its failures do not count, until the days are
over. Somebody owns it meanwhile: the owner in CODEOWNERS unless another is named.

Which runs that concerns is decided when they are planned.`,
		Example: `  fairlead tests quarantine TestRefund --reason 'races with the ledger, issue 12' --days 14
  fairlead tests quarantine TestRefund --reason 'issue 12' --owner @team/pay --server https://ci.example.org --repo team/app`,
		Args: args("NAME"),
	}
	c.Flags().StringVar(&q.Why, "reason", "", "`why`, and where it is being mended")
	c.Flags().IntVar(&q.Days, "days", 0, "how many `days` (default: 14, or what the project says)")
	c.Flags().StringVar(&q.Owner, "owner", "", "`who` answers for the test meanwhile")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if q.Why == "" {
			return usage("say it with --reason", "a quarantine has a reason")
		}
		if q.Days < 0 {
			return usage("it is a number from 1", "--days cannot be %d", q.Days)
		}
		return g.decide(cmd.Context(), &at, a[0], func(r TestRoom, id suite.ID) (*record.TestJudged, error) {
			return r.QuarantineTest(cmd.Context(), id, q)
		})
	}
	return at.one(c)
}

func (g *global) testsReleaseCommand() *cobra.Command {
	var at testSite
	why := "released by hand"
	c := &cobra.Command{
		Use:     "release NAME",
		Short:   "Have the failures of a test count again",
		Long:    `Let a test out of quarantine: its failures count again in runs that are planned from now on.`,
		Example: `  fairlead tests release TestRefund --reason 'mended in 4711'`,
		Args:    args("NAME"),
	}
	c.Flags().StringVar(&why, "reason", why, "`why`")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.decide(cmd.Context(), &at, a[0], func(r TestRoom, id suite.ID) (*record.TestJudged, error) {
			return r.ReleaseTest(cmd.Context(), id, why)
		})
	}
	return at.one(c)
}

// decide decides about a test, and says what came of it.
func (g *global) decide(ctx context.Context, p *testSite, name string, do func(r TestRoom, id suite.ID) (*record.TestJudged, error)) error {
	return g.room(ctx, p, func(r TestRoom, repository string) error {
		id, err := oneTest(ctx, r, p, repository, name)
		if err != nil {
			return err
		}
		j, err := do(r, id)
		switch {
		case err != nil:
			return err
		case g.json():
			return writeJSON(g.Stdout, j)
		case j.To == record.TestQuarantined:
			fmt.Fprintf(g.Stderr, "%s is in quarantine until %s; %s answers for it. It still runs, its failures do not count.\n", shown(j.Title), j.Until.Local().Format("2 January 2006"), shown(j.Owner))
		default:
			fmt.Fprintf(g.Stderr, "%s is released: its failures count again.\n", shown(j.Title))
		}
		return nil
	})
}
