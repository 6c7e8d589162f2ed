package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// hunting are the flags of `fairlead culprit`.
type hunting struct {
	test, good, bad string
	build           string
	machines        int
	confidence      float64
	anew            bool
	verbose         bool
	dir             string
}

// culpritCommand is `fairlead culprit`.
func (g *global) culpritCommand() *cobra.Command {
	o := new(hunting)
	c := &cobra.Command{
		Use:   "culprit --good REF [flags] [-- COMMAND...]",
		Short: "Find the commit that broke a test, even one that also fails by chance",
		Long: `Find the commit that broke a test, by running it at one commit after another.

Halving goes wrong at the first failure by chance. Here every commit has a
probability, and "no commit: it fails by chance" has one, too; each run corrects them, and the
next run is where most is to be learned. It ends when the answer is as sure as
--confidence says. The test is run first at the last commit, and watched: commits that
changed nothing that it read are suspected less.

Commits are checked out in working trees of their own, which are kept: what you have
changed here is not touched. Of merges only the branch that was merged into
is gone through. When it is interrupted, the same command goes on.

COMMAND runs the test. Whether it passed is read from its report where there is one
(go test, or report files), else from the exit code; 125 says that a commit cannot be
tried. A commit that does not build, or does not have the test, is told apart.`,
		Example: `  fairlead culprit --test TestLogin --good v1.4 -- go test ./internal/auth
  fairlead culprit --good HEAD~40 -j 4 --build 'npm ci' -- npx jest login.test.js
  fairlead culprit --test TestLogin --good main~100 --bad main --confidence .99`,
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&o.test, "test", "", "`name` of the test: as it stands in reports, or its full title")
	f.StringVar(&o.good, "good", "", "a `ref` at which the test was well (default the last commit at which the record has it pass)")
	f.StringVar(&o.bad, "bad", "HEAD", "a `ref` at which it is broken")
	f.IntVarP(&o.machines, "parallel", "j", 1, "how many `commits` to try at a time")
	f.Float64Var(&o.confidence, "confidence", .999, "how `sure` the answer has to be")
	f.StringVar(&o.build, "build", "", "shell `command` that makes a fresh checkout ready")
	f.BoolVar(&o.anew, "anew", false, "forget what an earlier hunt for the same has shown")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show what the commands print")
	f.StringVarP(&o.dir, "dir", "C", ".", "`directory` to run in, in each commit")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if n := cmd.ArgsLenAtDash(); n > 0 || n < 0 && len(a) > 0 {
			return usage("put the command that runs the test after --", "`fairlead culprit` does not know what to do with %q", a[0])
		}
		ctx, _, done := interruptible(cmd.Context())
		defer done()
		return o.hunt(ctx, g, a)
	}
	return c
}

func (o *hunting) hunt(ctx context.Context, g *global, command []string) error {
	if !(o.confidence > .5 && o.confidence < 1) || o.machines < 1 {
		return usage("", "--confidence is more than .5 and less than 1, and -j at least 1")
	}
	tree, err := workspace.Open(ctx, o.dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	below, err := placeBelow(tree.Root(), o.dir)
	if err != nil {
		return err
	}
	facts, err := tree.Facts(ctx)
	if err != nil {
		return err
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer tools.Close()
	var row *suite.Row
	if o.test != "" {
		if row, err = testrun.Find(ctx, tools.Tests.Ledger, facts.Repository, o.test); errors.Is(err, testrun.ErrSeveral) {
			return usage("name it by its full title", "%v", err)
		} else if err != nil {
			return err
		}
	}
	if command, err = commandFor(command, row); err != nil {
		return err
	}
	if err := o.wellAt(ctx, tools, row); err != nil {
		return err
	}
	h := &testrun.Hunt{
		Tree: tree, Test: o.test, Good: o.good, Bad: o.bad, Below: below, Machines: o.machines, Confidence: o.confidence,
		Command: testrun.Named(command, o.test), Env: testrun.Fresh(g.Getenv), Anew: o.anew, Exec: g.Command, Out: io.Discard,
		Say:  func(format string, args ...any) { fmt.Fprintf(g.Stderr, "%s\n", shown(fmt.Sprintf(format, args...))) },
		Show: func(s testrun.State) { o.show(g, &s) },
	}
	if o.build != "" {
		h.Build = []string{"sh", "-c", o.build}
	}
	if o.verbose {
		h.Out = &lines{to: g.Stderr}
	}
	// The commits are part of the name: a ref means another one tomorrow.
	good, err := tree.Commit(ctx, o.good)
	if err != nil {
		return usage("name a branch, a tag or a commit of this repository", "--good: nothing is known as %q here", o.good)
	}
	bad, err := tree.Commit(ctx, o.bad)
	if err != nil {
		return usage("name a branch, a tag or a commit of this repository", "--bad: nothing is known as %q here", o.bad)
	}
	h.Good, h.Bad = good.SHA, bad.SHA
	h.Dir = testrun.HuntDir(filepath.Join(filepath.Dir(tools.Slots.Dir), "culprits"), append([]string{tree.Root(), o.test, h.Good, h.Bad, below, o.build}, h.Command...)...)
	if row != nil {
		h.Past = func(suspects []string) (failures, runs float64) {
			failures, runs, err := testrun.Past(ctx, tools.Tests.Ledger, row.ID, suspects)
			if err != nil {
				h.Say("the past of the test does not count: %v", err)
			}
			return failures, runs
		}
	}
	s, err := h.Run(ctx)
	switch {
	case errors.Is(err, testrun.ErrNoSuspects), errors.Is(err, testrun.ErrNoTest):
		return usage("see what it prints with -v", "%v", err)
	case err != nil && ctx.Err() != nil && s.Hunt != nil:
		fmt.Fprintf(g.Stderr, "the same command goes on from here, after %s\n", plural(len(s.Hunt.Trials), "run"))
		return exit(ExitInterrupted)
	case err != nil && s.Hunt == nil:
		return usage("", "%v", err)
	case err != nil:
		return err
	}
	return o.tell(g, &s, h.Dir)
}

// placeBelow is where a directory lies in a tree, with slashes; "" for the root.
func placeBelow(root, dir string) (string, error) {
	at, err := filepath.Abs(dir)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}
	if err != nil {
		return "", usage("", "--dir: %v", err)
	}
	rel, err := filepath.Rel(root, at)
	if err != nil || rel == "." {
		return "", err
	}
	return filepath.ToSlash(rel), nil
}

// commandFor is the command that runs a test: as given, or, of a test of Go that is
// known, what runs its package.
func commandFor(command []string, row *suite.Row) ([]string, error) {
	if len(command) > 0 {
		return command, nil
	}
	if row != nil && strings.HasSuffix(row.File, "_test.go") || row != nil && row.File == "" && strings.Contains(row.Title, "/") {
		pkg, _, _ := strings.Cut(row.Title, " › ")
		return []string{"go", "test", pkg}, nil
	}
	return nil, usage("put it after --, as in: -- go test ./internal/auth", "it is not known what runs the test")
}

// wellAt finds a commit at which the test was well, if none is named.
func (o *hunting) wellAt(ctx context.Context, tools *Tools, row *suite.Row) error {
	if o.good != "" {
		return nil
	}
	if row != nil {
		results, err := tools.Tests.Ledger.Results(ctx, row.ID, "", 500)
		if err != nil {
			return err
		}
		for _, r := range results { // the newest first
			if r.Outcome == suite.Passed && !strings.Contains(r.Commit, "+") && r.Commit != "" {
				o.good = r.Commit
				return nil
			}
		}
	}
	return usage("name one with --good, such as the last release", "no commit is known at which the test was well")
}

// show says where the hunt stands.
func (o *hunting) show(g *global, s *testrun.State) {
	trials := len(s.Hunt.Trials)
	if trials == s.Resumed && s.Resumed > 0 {
		fmt.Fprintf(g.Stderr, "this goes on with a hunt of %s; --anew begins again\n", plural(trials, "run"))
	}
	if trials == 1 {
		how := "which files the test reads is not known: all are suspected alike"
		if s.Read > 0 {
			how = fmt.Sprintf("the test reads %s; %d of the commits changed some of them", plural(s.Read, "file"), suspected(s))
		}
		fmt.Fprintf(g.Stderr, "%s to suspect; %s\n", plural(len(s.Suspects), "commit"), how)
	}
	g.suspects(g.Stderr, s, 4)
}

// suspected counts the commits that changed what the test reads.
func suspected(s *testrun.State) (n int) {
	for _, w := range s.Hunt.Suspicion {
		if w >= 1 {
			n++
		}
	}
	return n
}

// suspects draws the likeliest answers, at most most of them.
func (g *global) suspects(w io.Writer, s *testrun.State, most int) {
	type row struct {
		weight float64
		text   string
	}
	changes, none := s.Hunt.Weights()
	rows := []row{{none, "no commit: it fails by chance"}}
	for i, c := range s.Suspects {
		rows = append(rows, row{changes[i], c.SHA[:min(len(c.SHA), 10)] + " " + c.Subject})
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.weight, a.weight) })
	st := g.style(w)
	const long = 20
	for i, r := range rows[:min(len(rows), most)] {
		if i > 0 && r.weight < .005 {
			break
		}
		full := int(r.weight*long + .5)
		bar := strings.Repeat(st.pick("█", "#"), full) + strings.Repeat(st.pick("░", "."), long-full)
		fmt.Fprintf(w, "  %s %6.2f %%  %s\n", st.cyan(bar), min(100*r.weight, 99.99), clip(shown(r.text), maxListed, st.ellipsis()))
	}
}

// found is the answer, for programs.
type found struct {
	suite.Verdict
	Suspects []suspect         `json:"suspects"`
	Unbuilt  map[string]string `json:"unbuilt,omitempty"`
}

type suspect struct {
	Commit      string  `json:"commit"`
	Subject     string  `json:"subject"`
	Probability float64 `json:"probability"`
}

// tell says what was found.
func (o *hunting) tell(g *global, s *testrun.State, dir string) error {
	v := s.Verdict()
	if g.json() {
		f := found{Verdict: v, Suspects: []suspect{}, Unbuilt: s.Unbuilt}
		changes, _ := s.Hunt.Weights()
		for i, c := range s.Suspects {
			f.Suspects = append(f.Suspects, suspect{c.SHA, c.Subject, changes[i]})
		}
		if err := writeJSON(g.Stdout, f); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(g.Stdout, "%s\n", shown(v.Why))
		for _, c := range s.Suspects {
			if slices.Contains(v.Culprits, c.SHA) {
				fmt.Fprintf(g.Stdout, "  %s %s\n", c.SHA, shown(c.Subject))
			}
		}
		for _, c := range s.Suspects {
			if why := s.Unbuilt[c.SHA]; why != "" {
				fmt.Fprintf(g.Stdout, "  %s could not be run: %s\n", c.SHA[:10], shown(why))
			}
		}
	}
	fmt.Fprintf(g.Stderr, "%s; the working trees are in %s\n", plural(v.Trials, "run"), dir)
	if !v.Sure {
		return exit(ExitError)
	}
	return nil
}

// lines writes what commands print, made harmless for a terminal.
type lines struct{ to io.Writer }

func (l *lines) Write(p []byte) (int, error) {
	if _, err := l.to.Write(sanitizeText(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sanitizeText is a text of several lines, made harmless line by line.
func sanitizeText(p []byte) []byte {
	var out []byte
	for line := range strings.Lines(string(p)) {
		body := strings.TrimRight(line, "\r\n")
		out = append(sanitize(out, []byte(body), false), line[len(body):]...)
	}
	return out
}
