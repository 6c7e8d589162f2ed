package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// RemoteSplits shares tests out by a server.
type RemoteSplits interface {
	// Times is what a repository's tests take, by what the server knows of them.
	Times(ctx context.Context, repository string) ([]testrun.Known, error)
	// OpenSplit makes a queue, unless there is one of that name.
	OpenSplit(ctx context.Context, o testrun.Opening) (made bool, err error)
	// Split is a queue.
	Split(repository, name string, patience time.Duration) testrun.Source
}

// splitting are the flags of `fairlead split`.
type splitting struct {
	index, total int
	runner       string
	timings      []string
	queue        string
	shared       string
	shard        string
	run          bool
	parallel     int
	cut          bool
	start        float64
	patience     time.Duration
	leave        bool
	junit        string
	affected     string
	dir          string
	at           site
	chosen       *testrun.Affected
}

// maxTimings is how many files of times are read.
const maxTimings = 10_000

// splitCommand is `fairlead split`.
func (g *global) splitCommand() *cobra.Command {
	o := new(splitting)
	var names []string
	for _, r := range suite.Runners() {
		names = append(names, r.Name)
	}
	c := &cobra.Command{
		Use:   "split [PATTERNS...] [flags] [-- COMMAND...]",
		Short: "Share tests out among machines",
		Long: `Share tests out among machines, so that all end at about the same time.

Without a COMMAND the share of this machine is printed, an argument a line. It
follows from the tests and their times alone: all machines come to the same plan by
themselves. With a COMMAND its share is run: the tests are put where {} stands in
it, or at its end.

With --queue machines take what is left whenever they are ready, the longest first:
nothing depends on the times being right, and what a machine was lost with goes to
another. Where the queue is kept says --server, or --shared, a directory that
all machines see. With --run the queue is of this machine alone, and -j its
workers.

Which share it is comes from --index and --total, or from the variables of the CI
system: CI_NODE_INDEX and CI_NODE_TOTAL (GitLab; on GitHub set them yourself, from
strategy.job-index and strategy.job-total), SYSTEM_JOBPOSITIONINPHASE (Azure
Pipelines), CIRCLE_NODE_INDEX, BUILDKITE_PARALLEL_JOB, BITBUCKET_PARALLEL_STEP,
SEMAPHORE_JOB_INDEX.

With --affected each package or file is a process of its own, which is watched. It is not
run when it has passed before and everything that it read then is as it was:
files, names that it looked for, variables, programs. Nothing is guessed; what talks to the
network runs each time. What is left out is in no report.

Times come from the record of this machine, from --timings, or from --server.

PATTERNS limit the tests, in the words of the runner: packages, paths, or for files
globs such as 'test/**/*_test.sh'. "-" reads what the runner lists, or names of files,
from standard input.`,
		Example: `  go test $(fairlead split --index 2 --total 4 --runner go)
  fairlead split --index 2 --total 4 -- go test -json {}
  fairlead split --queue "$CI_PIPELINE_ID" --server https://ci.example.org -- pytest --junitxml=report-{n}.xml
  fairlead split --queue "$BUILD" --shared /mnt/builds --total 4 -- npx jest
  fairlead split --run -j 4 --junit all.xml -- go test -json
  fairlead split --run --affected -- go test ./...`,
	}
	f := c.Flags()
	f.SortFlags = false
	f.IntVar(&o.index, "index", 0, "which `share` this machine has, counted from 1")
	f.IntVar(&o.total, "total", 0, "how many `shares` there are")
	f.StringVar(&o.runner, "runner", "", "what runs the tests (default what COMMAND starts): "+strings.Join(names, ", "))
	f.StringArrayVar(&o.timings, "timings", nil, "`FILE` or directory of reports that say how long tests take (JUnit and others)")
	f.StringVar(&o.queue, "queue", "", "take from the queue of this `NAME`: one for each build")
	f.StringVar(&o.shared, "shared", "", "`directory` that all machines see, which keeps the queue")
	f.StringVar(&o.shard, "shard", "", "this machine's `name` in the queue (default its share, or its host and process)")
	f.BoolVar(&o.run, "run", false, "run everything on this machine, -j at a time")
	f.IntVarP(&o.parallel, "parallel", "j", 0, "with --run: how many `workers` (default a core each)")
	f.BoolVar(&o.cut, "cut", false, "divide what takes too long for one machine into its tests")
	f.Float64Var(&o.start, "start", 1, "`seconds` that the runner needs before its first test")
	f.DurationVar(&o.patience, "patience", testrun.Patience, "how long a machine may say nothing before it is taken for lost")
	f.BoolVar(&o.leave, "leave", false, "with --queue: end when the queue is empty, and do not wait for what others may be lost with")
	f.StringVar(&o.junit, "junit", "", "write the results of all batches to this `FILE`")
	f.StringVar(&o.affected, "affected", "", "leave out what passed before with the very same inputs (skip), or run all and say what that would have missed (`observe`)")
	f.Lookup("affected").NoOptDefVal = "skip"
	f.StringVarP(&o.dir, "dir", "C", ".", "`directory` to list and run in")
	o.at.flags(c)
	o.at.repoFlag(c)
	_ = c.RegisterFlagCompletionFunc("runner", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, a []string) error {
		var command []string
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			a, command = a[:n], a[n:]
		}
		ctx, _, done := interruptible(cmd.Context())
		defer done()
		return o.split(ctx, g, a, command)
	}
	return c
}

func (o *splitting) split(ctx context.Context, g *global, patterns, command []string) error {
	shard, err := o.check(g, command)
	if err != nil {
		return err
	}
	w, err := o.work(ctx, g, patterns, command)
	if err != nil {
		return err
	}
	shares := max(shard.Total, 1)
	if o.run {
		shares = o.parallel
	}
	times, err := o.times(ctx, g, w)
	if err != nil {
		return err
	}
	w.Fill(times, shares, o.cut)
	for _, line := range w.Said() {
		fmt.Fprintf(g.Stderr, "fairlead: %s\n", shown(line))
	}
	if o.affected != "" {
		closeTools, err := o.choose(ctx, g, w)
		if err != nil {
			return err
		}
		defer closeTools()
	}
	if len(w.Items) == 0 {
		return usage("name what to look at, or the directory with -C", "there are no tests of %s here", w.Runner.Name)
	}
	if o.run || o.queue != "" {
		return o.pull(ctx, g, w, shard)
	}
	return o.share(ctx, g, w, shard, len(command) > 0)
}

// check makes sure that the flags belong together, and says which share is meant.
func (o *splitting) check(g *global, command []string) (shard testrun.Shard, err error) {
	queued := o.queue != "" || o.run
	switch {
	case o.queue != "" && o.run:
		return shard, usage("leave one of them out", "--queue shares out among machines, --run among workers of this one")
	case o.queue == "" && o.shared != "":
		return shard, usage("name the queue with --queue", "--shared keeps a queue")
	case o.queue != "" && o.shared == "" && o.at.url == "":
		return shard, usage("name a server with --server, or a directory that all machines see with --shared", "it is not said where queue %q is kept", o.queue)
	case o.queue != "" && o.shared != "" && o.at.url != "":
		return shard, usage("leave one of them out", "--shared and --server both keep the queue")
	case queued && len(command) == 0:
		return shard, usage("put the command that runs the tests after --", "nothing is said to run the tests with")
	case o.start < 0 || o.patience <= 0 || o.parallel < 0:
		return shard, usage("", "--start, --patience and -j count from 0")
	case o.affected != "" && o.affected != "skip" && o.affected != "observe":
		return shard, oneOf("affected", o.affected, "skip", "observe")
	case o.affected != "" && len(command) == 0:
		return shard, usage("put the command that runs the tests after --", "--affected is for tests that are run")
	case o.junit != "" && len(command) == 0:
		return shard, usage("put the command that runs the tests after --", "--junit is for tests that are run")
	}
	if o.parallel == 0 {
		o.parallel = runtime.NumCPU()
	}
	if o.run {
		return shard, nil
	}
	said := false
	switch {
	case o.index != 0 && o.total != 0:
		shard, err = testrun.NewShard(o.index, o.total)
		said = true
	case o.index != 0:
		return shard, usage("say of how many with --total", "--index %d: of how many shares?", o.index)
	default:
		shard, said, err = testrun.ShardOf(g.Getenv)
	}
	if err != nil {
		return shard, usage("shares are counted from 1 with --index", "%v", err)
	}
	if o.total != 0 {
		shard.Total = o.total
	}
	if !said && !queued {
		return shard, usage("give --index and --total, or --run to run everything here", "which share is wanted is not said, and no variable of a CI system says it")
	}
	if o.shard == "" {
		if said {
			o.shard = strconv.Itoa(shard.Index + 1)
		} else {
			host, _ := os.Hostname()
			o.shard = fmt.Sprintf("%s-%d", host, os.Getpid())
		}
	}
	shard.Total = max(shard.Total, 1)
	return shard, nil
}

// work lists the tests.
func (o *splitting) work(ctx context.Context, g *global, patterns, command []string) (*testrun.Work, error) {
	runner, known := suite.Guess(command)
	if o.runner != "" {
		if runner, known = suite.RunnerNamed(o.runner); !known {
			var names []string
			for _, r := range suite.Runners() {
				names = append(names, r.Name)
			}
			return nil, oneOf("runner", o.runner, names...)
		}
	}
	if !known {
		return nil, usage("name it with --runner; files, for one, is for whatever takes names of files", "it is not known what runs the tests")
	}
	at, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	tree, err := os.OpenRoot(at)
	if err != nil {
		return nil, usage("", "--dir: %v", err)
	}
	defer tree.Close()
	if runner.Name == "go" {
		words, packages := testrun.Packages(command)
		command, patterns = words, append(patterns, packages...)
	}
	w := &testrun.Work{Runner: runner, Root: at, Words: command}
	if slices.Contains(patterns, "-") {
		if len(patterns) > 1 {
			return nil, usage("leave the patterns out", "\"-\" reads all tests from standard input")
		}
		listed, err := io.ReadAll(io.LimitReader(g.Stdin, 256<<20))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		w.Listed = runner.Read(listed, at)
		return w, nil
	}
	w.Listed, err = testrun.Listing(ctx, runner, g.Command, at, tree.FS(), patterns)
	if err != nil {
		return nil, usage("`fairlead split -` takes a listing from standard input", "%v", err)
	}
	return w, nil
}

// times are those that the flags name, or what is known here.
func (o *splitting) times(ctx context.Context, g *global, w *testrun.Work) (*testrun.Times, error) {
	t := testrun.NewTimes(w.Runner, w.Listed)
	if len(o.timings) > 0 {
		return t, o.readTimings(g, t)
	}
	if o.at.url != "" {
		remote, err := o.at.dial(g)
		if err != nil {
			return nil, err
		}
		repository, err := repositoryAt(ctx, o.at.repo, o.dir)
		if err != nil {
			return nil, err
		}
		rows, err := remote.Times(ctx, repository)
		if err != nil {
			return nil, err
		}
		t.Rows(rows)
		return t, nil
	}
	tree, err := workspace.Open(ctx, o.dir)
	if err != nil {
		return t, nil // it is in no repository: nothing is known of it
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	if err != nil {
		return nil, err
	}
	tools, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	defer tools.Close()
	rows, err := testrun.Rows(ctx, tools.Tests.Ledger, facts.Repository)
	t.Rows(rows)
	return t, err
}

// readTimings reads reports, and those in directories.
func (o *splitting) readTimings(g *global, t *testrun.Times) error {
	var files []string
	for _, name := range o.timings {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// The first build has none, and is not to fail for that.
			fmt.Fprintf(g.Stderr, "fairlead: there is no %s: no times are taken from it\n", shown(name))
		case err != nil:
			return usage("", "--timings: %v", err)
		case info.IsDir():
			for _, found := range harvest.Find(os.DirFS(name), time.Time{}) {
				files = append(files, filepath.Join(name, filepath.FromSlash(found)))
			}
		default:
			files = append(files, name)
		}
	}
	if len(files) > maxTimings {
		return usage("name those of the last build", "--timings: %d reports, and at most %d are read", len(files), maxTimings)
	}
	slices.Sort(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return usage("", "--timings: %v", err)
		}
		err = t.Report(func(each func(record.TestResult) error) error {
			_, err := harvest.Read(f, name, each)
			return err
		})
		_ = f.Close() // it was only read
		if err != nil {
			fmt.Fprintf(g.Stderr, "fairlead: %s\n", shown(err.Error()))
		}
	}
	return nil
}

// share prints one share of a plan, or runs it.
func (o *splitting) share(ctx context.Context, g *global, w *testrun.Work, shard testrun.Shard, run bool) error {
	shares := suite.NewPlan(w.Items, shard.Total)
	share := shares.Shares[shard.Index]
	fmt.Fprintf(g.Stderr, "fairlead: share %s: %s, about %.0f s; %s\n", shard, plural(len(share.Items), w.Runner.Unit), share.Seconds, shares)
	if g.json() {
		return writeJSON(g.Stdout, struct {
			Index int `json:"index"` // from 1
			suite.Plan
		}{shard.Index + 1, shares})
	}
	if len(share.Items) == 0 {
		fmt.Fprintln(g.Stderr, "fairlead: there is nothing to do for this share")
		return nil
	}
	if !run {
		for _, line := range w.Runner.Commands(nil, share.Items, w.Root) {
			for _, arg := range line {
				fmt.Fprintln(g.Stdout, arg)
			}
		}
		return nil
	}
	runs := o.runs(g, w, &testrun.Results{}, g.Stdout)
	did, err := runs.Run(ctx, share.Items, 1)
	if err != nil {
		return err
	}
	if err := o.merged(g, runs.Results); err != nil {
		return err
	}
	switch {
	case did.Stopped:
		return exit(ExitInterrupted)
	case did.Failed:
		return exit(ExitFailed)
	}
	return nil
}

// pull takes from a queue until it is empty.
func (o *splitting) pull(ctx context.Context, g *global, w *testrun.Work, shard testrun.Shard) error {
	repository := o.at.repo
	if repository == "" {
		var err error
		if repository, err = repositoryAt(ctx, "", o.dir); err != nil && o.at.url != "" {
			return err
		}
	}
	opening := testrun.Opening{Repository: repository, Name: o.queue, Runner: w.Runner.Name, Shards: shard.Total, Start: o.start, Items: w.Items}
	results := &testrun.Results{}
	var did testrun.Pulled
	var err error
	begun := time.Now()
	switch {
	case o.run:
		did, err = o.here(ctx, g, w, opening, results)
	default:
		var from testrun.Source
		if from, err = o.source(ctx, g, opening); err == nil {
			did, err = o.runs(g, w, results, g.Stdout).Pull(ctx, from, o.shard, !o.leave)
		}
	}
	if merged := o.merged(g, results); err == nil {
		err = merged
	}
	if err != nil {
		return err
	}
	for _, name := range did.Deadly {
		fmt.Fprintf(g.Stderr, "fairlead: %s was not run to its end: every machine that began it was lost\n", shown(name))
	}
	fmt.Fprintf(g.Stderr, "fairlead: %s in %s, %s of work in %s\n", plural(did.Items, w.Runner.Unit), batches(did.Batches), span(time.Duration(did.Seconds*float64(time.Second))), span(time.Since(begun)))
	switch {
	case did.Failed:
		return exit(ExitFailed)
	case len(did.Deadly) > 0:
		return exit(ExitError)
	}
	return nil
}

// source is the queue of a server or of a directory.
func (o *splitting) source(ctx context.Context, g *global, opening testrun.Opening) (testrun.Source, error) {
	if o.at.url != "" {
		remote, err := o.at.dial(g)
		if err != nil {
			return nil, err
		}
		if _, err := remote.OpenSplit(ctx, opening); err != nil {
			return nil, err
		}
		return remote.Split(opening.Repository, opening.Name, o.patience), nil
	}
	splits := &testrun.Splits{Shelf: testrun.InDirectory(o.shared), Now: time.Now}
	if _, err := splits.Open(ctx, opening); err != nil {
		if errors.Is(err, testrun.ErrOtherTests) {
			return nil, usage("give each build a queue of its own: --queue with the number of the build", "%v", err)
		}
		return nil, err
	}
	return splits.Queue(opening.Repository, opening.Name, o.patience), nil
}

// here runs everything on this machine. What comes of it is kept in the record, for the
// page that shows it.
func (o *splitting) here(ctx context.Context, g *global, w *testrun.Work, opening testrun.Opening, results *testrun.Results) (did testrun.Pulled, err error) {
	tools, err := g.open(ctx)
	if err != nil {
		return did, err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	opening.Shards, opening.Name = o.parallel, "run "+time.Now().UTC().Format("2006-01-02 15:04:05.000")
	splits := &testrun.Splits{Shelf: testrun.InRecord(tools.Store, time.Now), Now: time.Now}
	if _, err := splits.Open(ctx, opening); err != nil {
		return did, err
	}
	workers := make([]*testrun.Runs, min(o.parallel, len(w.Items)))
	out := &sharedOut{to: g.Stdout}
	for i := range workers {
		lines := out.writer()
		defer func() { err = errors.Join(err, lines.Close()) }()
		workers[i] = o.runs(g, w, results, lines)
	}
	return testrun.Together(ctx, splits.Queue(opening.Repository, opening.Name, o.patience), workers)
}

func (o *splitting) runs(g *global, w *testrun.Work, results *testrun.Results, out io.Writer) *testrun.Runs {
	var env map[string]string
	if o.chosen != nil {
		env = testrun.Fresh(g.Getenv) // what a runner remembers by itself was not watched
	}
	return &testrun.Runs{
		Work: w, Exec: g.Command, Out: out, Results: results, Affected: o.chosen, Env: env,
		Say: func(format string, args ...any) {
			fmt.Fprintf(g.Stderr, "fairlead: %s\n", shown(fmt.Sprintf(format, args...)))
		},
	}
}

// choose makes ready to leave out what need not be run.
func (o *splitting) choose(ctx context.Context, g *global, w *testrun.Work) (done func(), err error) {
	tree, err := workspace.Open(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	if err != nil {
		return nil, err
	}
	tools, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	temp := filepath.Join(filepath.Dir(tools.Slots.Dir), "affected")
	if err := os.MkdirAll(temp, 0o700); err != nil {
		return nil, errors.Join(err, tools.Close())
	}
	o.chosen = &testrun.Affected{
		Cache: tools.Cache, Class: tools.Executor.Class(&plan.Place{}), Dirs: plan.Dirs{Workspace: tree.Root(), Temp: temp},
		Repository: facts.Repository, Label: time.Now().UTC().Format("2006-01-02 15:04:05"), Version: g.Version,
		Observe: o.affected == "observe", History: testrun.HistoryFile(tools.Data, facts.Repository, w.Root),
	}
	return func() {
		o.told(g)
		if err := tools.Close(); err != nil {
			fmt.Fprintf(g.Stderr, "fairlead: %s\n", shown(err.Error()))
		}
	}, nil
}

// told says what was left out, or would have been.
func (o *splitting) told(g *global) {
	if !o.chosen.Observe {
		s := o.chosen.Selection()
		for _, c := range s.Run {
			fmt.Fprintf(g.Stderr, "fairlead: %s ran: %s\n", shown(c.Name), shown(c.Because))
		}
		fmt.Fprintf(g.Stderr, "fairlead: %s\n", s)
		return
	}
	m, err := o.chosen.Missed()
	if err != nil {
		fmt.Fprintf(g.Stderr, "fairlead: %s\n", shown(err.Error()))
		return
	}
	fmt.Fprintf(g.Stderr, "fairlead: %s\n", m)
	for _, x := range m.Overlooked {
		fmt.Fprintf(g.Stderr, "fairlead: it would not have seen a failure of %s, which had passed with the same inputs\n", shown(x.Name))
	}
}

// merged writes what all reports say as one.
func (o *splitting) merged(g *global, results *testrun.Results) (err error) {
	all, lost, unread := results.All()
	for _, why := range unread {
		fmt.Fprintf(g.Stderr, "fairlead: a report could not be read: %s\n", shown(why))
	}
	if o.junit == "" {
		return nil
	}
	if len(all) == 0 {
		fmt.Fprintln(g.Stderr, "fairlead: no results were found: have the runner write a report (go test -json, pytest --junitxml, a reporter for jest)")
	}
	if lost > 0 {
		fmt.Fprintf(g.Stderr, "fairlead: %d results are more than %s holds\n", lost, shown(o.junit))
	}
	next, err := os.CreateTemp(filepath.Dir(o.junit), ".fairlead-junit-")
	if err != nil {
		return fmt.Errorf("write %s: %w", o.junit, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name())
		}
	}()
	err = testrun.WriteJUnit(next, all)
	if err = errors.Join(err, next.Chmod(0o644), next.Close()); err == nil {
		err = os.Rename(next.Name(), o.junit)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.junit, err)
	}
	return nil
}

func batches(n int) string {
	if n == 1 {
		return "1 batch"
	}
	return thousands(int64(n)) + " batches"
}
