package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// watching are the flags of verbs that run something: how it is shown, and
// what is done after a failure.
type watching struct {
	progress string
	quiet    bool
	verbose  int
	shell    bool
	// after is told which runs have ended, when all have.
	after func(ctx context.Context, tools *Tools, runs []string) error
}

func (o *watching) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.progress, "progress", "auto", "how to show what goes on: auto, tty, plain, quiet, json")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show only what failed")
	f.CountVarP(&o.verbose, "verbose", "v", "show more: steps and their output on a terminal, scripts in plain text")
	f.BoolVar(&o.shell, "shell-on-failure", false, "open a shell in the first job that failed, as its step left it")
	_ = c.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "tty", "plain", "quiet", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// display makes the display that the flags ask for.
func (o *watching) display(g *global, p *progress) error {
	if err := oneOf("progress", o.progress, "auto", "tty", "plain", "quiet", "json"); err != nil {
		return err
	}
	_, isTerminal := terminal(g.Stderr)
	kind := o.progress
	switch {
	case kind == "auto" && o.quiet:
		kind = "quiet"
	case kind == "auto" && isTerminal && g.Getenv("TERM") != "dumb" && g.Getenv("CI") == "":
		kind = "tty"
	case kind == "auto":
		kind = "plain"
	case kind == "tty" && !isTerminal:
		return usage("leave the choice to --progress auto, or take plain", "--progress tty: standard error is not a terminal")
	}
	st := g.style(g.Stderr)
	switch kind {
	case "tty":
		d := &tty{out: g.Stderr, size: func() (int, int) { return size(g.Stderr) }, style: st, verbose: o.verbose, now: time.Now}
		p.display = d
		d.start(&p.mu)
	case "plain":
		d := &plain{out: g.Stderr, style: st, verbose: o.verbose, now: time.Now, folds: foldsOf(g.Getenv), read: readLog}
		p.display = d
		d.start(&p.mu)
	case "quiet":
		p.display = &quiet{out: g.Stderr, style: st, cols: columns(g.Stderr)}
	case "json":
		p.display = &jsonl{out: bufio.NewWriterSize(g.Stderr, flushAt)}
	}
	return nil
}

// ordering are the flags of `fairlead run`.
type ordering struct {
	watching
	secrets
	order    launch.Order
	inputs   []string
	env      []string
	envFiles []string
	vars     []string
	varFiles []string
	matrix   []string
	actions  []string
	labels   []string
	list     bool
	graph    bool
	dry      bool
	watch    bool
	resume   string
	at       site // a server that runs are pushed to
}

// runCommand is `fairlead run`.
func (g *global) runCommand() *cobra.Command {
	o := new(ordering)
	c := &cobra.Command{
		Use:   "run [WORKFLOW] [flags] [--watch FILES...]",
		Short: "Run the pipelines of a repository on this machine",
		Long: `Run the pipelines of a repository on this machine.

With nothing else said, everything runs that a push of the tree as it is (with
uncommitted changes) would start; where nothing answers to a push, what a pull
request would start. A WORKFLOW is named by its file, the file's name with or
without its ending, or its display name.

Each job works in a copy of the tree of its own, unless --in-place is given. Steps
are watched while they run; one that would read again what it read before is not
run: what it left and said then stands for it. ` + "`fairlead why`" + ` tells of each.

Progress goes to standard error, the results to standard output. The first
interrupt cancels the run: steps that always run still do. The second one ends
it at once.`,
		Example: `  fairlead run                               what a push would start
  fairlead run ci --job test                 one job, and what it needs
  fairlead run ci --matrix go=1.26           only these cells of a matrix
  fairlead run release --input version=1.2   a workflow that is started by hand
  fairlead run --event pull_request          as if a pull request had been opened
  fairlead run --dry-run                     what would be done, and where it is written
  fairlead run --watch '**/*.go'             again, whenever a file changes
  fairlead run --verify                      check that steps do the same again
  fairlead run --affected                    without the tests that nothing has changed for
  fairlead run --resume 12                   go on with a run that was interrupted
  fairlead run --server https://ci.example.org   and push it there when it has ended`,
		ValidArgsFunction: g.completeWorkflows,
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.order.Jobs, "job", nil, "run only this `job` and what it needs")
	f.StringArrayVar(&o.order.Dialects, "dialect", nil, "whose pipelines count where several languages are in use: a `name`, or all")
	f.StringArrayVar(&o.order.Play, "play", nil, "let this manual `job` run, as --job does, beside all the others")
	f.StringVar(&o.order.Event, "event", "", "the `event` to answer to (default push, then pull_request)")
	f.StringVar(&o.order.EventFile, "event-file", "", "JSON `file` with the event's payload")
	f.StringArrayVar(&o.inputs, "input", nil, "`NAME=VALUE` of an input of the workflow")
	o.secrets.flags(c)
	f.StringArrayVar(&o.env, "env", nil, "`NAME=VALUE` for the environment of the steps")
	f.StringArrayVar(&o.envFiles, "env-file", nil, "`file` of such lines")
	f.StringArrayVar(&o.vars, "var", nil, "`NAME=VALUE` of a configuration variable")
	f.StringArrayVar(&o.varFiles, "var-file", nil, "`file` of such lines")
	f.StringArrayVar(&o.matrix, "matrix", nil, "run only the cells of matrices in which NAME has this VALUE (`NAME=VALUE`)")
	f.IntVarP(&o.order.Parallel, "parallel", "j", 0, "`jobs` at a time (default as many as the machine can bear)")
	f.IntVar(&o.order.Retry, "retry", 0, "try a job that failed again, up to so many `times`")
	f.BoolVar(&o.order.InPlace, "in-place", false, "work in the tree itself, not in copies")
	f.BoolVar(&o.order.NoReuse, "no-reuse", false, "reuse no step, and watch none")
	f.IntVar(&o.order.Verify, "verify", 0, "run steps that could be reused, so many of a hundred (`PERCENT`), and compare")
	f.Lookup("verify").NoOptDefVal = "100"
	f.StringVar(&o.order.Affected, "affected", "", "leave out tests that passed before with the very same inputs, each package or file a process of its own: on, `off` (default as fairlead.yaml says)")
	f.Lookup("affected").NoOptDefVal = "on"
	f.StringArrayVar(&o.actions, "action", nil, "use a local directory for an action (`owner/name=DIR`)")
	f.StringVar(&g.wiring.Mirror, "mirror", "", "fetch actions from this base `URL` instead of their code host")
	f.BoolVar(&g.wiring.Offline, "offline", false, "fetch nothing")
	f.StringArrayVar(&o.labels, "label", nil, "this machine takes jobs that run on this label, or not (`NAME=yes|no`)")
	f.BoolVar(&o.list, "list", false, "list the pipelines, what starts them, and their jobs")
	f.BoolVar(&o.graph, "graph", false, "draw the jobs")
	f.BoolVarP(&o.dry, "dry-run", "n", false, "say what would be done, in order, and do nothing")
	f.BoolVar(&o.watch, "watch", false, "run again when a file changes; patterns may follow, such as '**/*.go'")
	f.StringVar(&o.resume, "resume", "", "go on with the interrupted `RUN`")
	f.StringVar(&o.at.url, "server", "", "when a run has ended, push it to the server at this `URL`; the token is in FAIRLEAD_TOKEN")
	f.StringVar(&o.at.tokenFile, "token-file", "", "`file` with the token, instead of FAIRLEAD_TOKEN")
	o.at.repoFlag(c)
	o.watching.flags(c)
	f.StringVarP(&o.order.Dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd, g, args) }
	return c
}

// fill reads what the flags say.
func (o *ordering) fill(g *global) (err error) {
	if o.order.Inputs, err = pairs("input", o.inputs, nil); err != nil {
		return err
	}
	if o.order.Env, err = pairs("env", o.env, o.envFiles); err != nil {
		return err
	}
	if o.order.Vars, err = pairs("var", o.vars, o.varFiles); err != nil {
		return err
	}
	if o.order.Matrix, err = lists("matrix", o.matrix); err != nil {
		return err
	}
	if g.wiring.Actions, err = actions(o.actions); err != nil {
		return err
	}
	if g.wiring.Labels, err = labels(o.labels); err != nil {
		return err
	}
	if o.order.Parallel < 0 || o.order.Retry < 0 {
		return usage("", "--parallel and --retry count from 0")
	}
	if o.order.Verify < 0 || o.order.Verify > 100 {
		return usage("--verify alone means all of them", "--verify=%d is not a percentage", o.order.Verify)
	}
	if o.order.NoReuse && o.order.Verify > 0 {
		return usage("leave one of them out", "--no-reuse leaves nothing to --verify")
	}
	if o.order.Affected != "" {
		if err := oneOf("affected", o.order.Affected, "on", "off"); err != nil {
			return err
		}
	}
	if o.order.NoReuse && o.order.Affected == "on" {
		return usage("leave one of them out", "--no-reuse has every test run")
	}
	g.wiring.InPlace = o.order.InPlace
	return nil
}

func (o *ordering) run(cmd *cobra.Command, g *global, args []string) error {
	patterns := o.arguments(args)
	g.lines = o.progress == "json"
	if len(args) > 1 && !o.watch {
		return usage("files to watch follow --watch", "one workflow at a time: what is %q?", args[1])
	}
	if err := o.fill(g); err != nil {
		return err
	}
	if !o.list && !o.graph && !o.dry {
		var err error
		if o.order.Secrets, err = o.secrets.values(g); err != nil {
			return err
		}
	}
	if o.at.url != "" && !o.list && !o.graph && !o.dry {
		remote, err := o.at.dial(g)
		if err != nil {
			return err
		}
		o.after = func(ctx context.Context, tools *Tools, runs []string) error {
			return g.pushAll(ctx, tools, remote, o.at.repo, runs)
		}
	}
	ctx, abort, done := interruptible(cmd.Context())
	defer done()
	if o.resume != "" {
		run, err := g.openAgain(ctx, o.resume, o.order.Dir)
		if err != nil {
			return err
		}
		defer run.Close()
		return o.show(ctx, g, run.Tools, abort, []start{{prior: run.run, run: func(ctx context.Context, w launch.Watcher) (launch.Result, error) {
			return run.Resume(ctx, run.id, o.order.Secrets, w)
		}}})
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer tools.Close()
	if o.watch {
		return o.again(ctx, g, tools, abort, patterns)
	}
	return o.once(ctx, g, tools, abort)
}

// arguments tells the workflow from the files to watch.
func (o *ordering) arguments(args []string) (patterns []string) {
	for i, arg := range args {
		isFile := strings.ContainsAny(arg, "*?[") || strings.HasSuffix(arg, "/")
		if !isFile && !strings.HasSuffix(arg, ".yml") && !strings.HasSuffix(arg, ".yaml") {
			_, err := os.Stat(arg)
			isFile = err == nil
		}
		if i == 0 && !(o.watch && isFile) {
			o.order.Workflow = arg
			continue
		}
		patterns = append(patterns, arg)
	}
	return patterns
}

// once prepares the order, and shows or runs it.
func (o *ordering) once(ctx context.Context, g *global, tools *Tools, abort <-chan struct{}) error {
	p, err := tools.Prepare(ctx, o.order)
	if err == nil && len(p.Chosen) == 0 && o.order.Event == "" {
		push := o.order // what else was tried need not be told
		push.Event = "push"
		p.Tree.Close()
		p, err = tools.Prepare(ctx, push)
	}
	if err != nil {
		return o.meant(ctx, tools, err)
	}
	defer p.Tree.Close()
	switch {
	case o.list:
		return g.list(p)
	case len(p.Chosen) == 0 && g.unreadable(p) > 0:
		return exit(ExitInvalid)
	case len(p.Chosen) == 0:
		return g.nothing(p)
	case o.graph:
		return g.graph(p)
	case o.dry:
		return g.dryRun(p)
	}
	if err := g.declared(p); err != nil {
		return err
	}
	g.offer(p)
	var starts []start
	invalid := g.unreadable(p)
	for _, pl := range p.Chosen {
		problems := p.ProblemsOf(pl)
		g.problems(problems, maxWarnings)
		if plan.Errors(problems) {
			invalid++
			continue
		}
		starts = append(starts, start{pipeline: pl, run: func(ctx context.Context, w launch.Watcher) (launch.Result, error) {
			return tools.Run(ctx, p, pl, w)
		}})
	}
	if invalid > 0 && !g.lines {
		fmt.Fprintf(g.Stderr, "fairlead: %s cannot be run because of the errors above; `fairlead lint` shows all there are\n", plural(invalid, "pipeline"))
	}
	err = o.show(ctx, g, tools, abort, starts)
	if err == nil && invalid > 0 {
		return exit(ExitInvalid)
	}
	return err
}

// offer tells of the languages whose pipelines would run here, too.
func (g *global) offer(p *launch.Prepared) {
	if len(p.Others) == 0 || g.lines {
		return
	}
	flags := make([]string, len(p.Others))
	for i, name := range p.Others {
		flags[i] = "--dialect " + name
	}
	st := g.style(g.Stderr)
	fmt.Fprintf(g.Stderr, "%s\n", st.dim(fmt.Sprintf("this runs the %s pipelines; there are others, too: %s, or --dialect %s", p.Chosen[0].Dialect, strings.Join(flags, ", "), launch.AllDialects)))
}

// declared tells of problems of fairlead.yaml. Nothing runs while it has errors:
// what was declared could be missing.
func (g *global) declared(p *launch.Prepared) error {
	_, problems, err := project.Read(p.Tree.FS())
	if err != nil {
		return err
	}
	g.problems(problems, maxWarnings)
	if !plan.Errors(problems) {
		return nil
	}
	if !g.lines {
		fmt.Fprintf(g.Stderr, "fairlead: nothing is run because of the errors above\n")
	}
	return exit(ExitInvalid)
}

// unreadable tells of the pipelines of which it cannot even be said what would
// start them, and counts them. They are not asked for by name, or they would
// have been chosen.
func (g *global) unreadable(p *launch.Prepared) (n int) {
	for i := range p.Pipelines {
		pl := &p.Pipelines[i]
		if len(pl.Events) > 0 || pl.Start.Yes || p.Order.Workflow != "" && len(p.Chosen) > 0 {
			continue
		}
		if problems := p.ProblemsOf(pl); plan.Errors(problems) {
			g.problems(problems, maxWarnings)
			n++
		}
	}
	return n
}

// meant adds to an error about a workflow or a job the name that was probably
// meant.
func (o *ordering) meant(ctx context.Context, tools *Tools, err error) error {
	var use *plan.UsageError
	if !errors.As(err, &use) || o.order.Workflow == "" && len(o.order.Jobs) == 0 {
		return err
	}
	p, perr := tools.Prepare(ctx, launch.Order{Dir: o.order.Dir})
	if perr != nil {
		return err
	}
	var workflows, jobs []string
	for _, pl := range p.Pipelines {
		workflows = append(workflows, stem(pl.File))
		for _, j := range pl.Jobs {
			jobs = append(jobs, j.ID)
		}
	}
	near := ""
	if w := o.order.Workflow; strings.Contains(use.Message, strconv.Quote(w)) {
		near = plan.Nearest(w, workflows)
	}
	for _, j := range o.order.Jobs {
		if near == "" && strings.Contains(use.Message, strconv.Quote(j)) {
			near = plan.Nearest(j, jobs)
		}
	}
	if near == "" {
		return err
	}
	return &plan.UsageError{Message: use.Message, Hint: "did you mean " + near + "? " + use.Hint}
}

// maxWarnings is how many warnings are shown before a run.
const maxWarnings = 5

// problems tells of problems of the user's files: all errors, and some warnings.
func (g *global) problems(list []plan.Problem, warnings int) {
	st := g.style(g.Stderr)
	left := 0
	for _, p := range list {
		if g.lines {
			g.tell("problem", p)
			continue
		}
		if p.Severity != plan.Error {
			if warnings == 0 {
				left++
				continue
			}
			warnings--
		}
		writeProblem(g.Stderr, p, st, columns(g.Stderr))
	}
	if left > 0 {
		fmt.Fprintf(g.Stderr, "%s\n", st.dim(plural(left, "more warning")+": fairlead lint"))
	}
}

// start is one run that shall be begun.
type start struct {
	pipeline *plan.Pipeline
	prior    *record.Run // the run that goes on, nil for a new one
	run      func(ctx context.Context, w launch.Watcher) (launch.Result, error)
}

// show begins the runs, all at the same time, shows them to their end, and says
// what came of them.
func (o *watching) show(ctx context.Context, g *global, tools *Tools, abort <-chan struct{}, starts []start) error {
	if len(starts) == 0 {
		return nil
	}
	p := new(progress)
	if err := o.display(g, p); err != nil {
		return err
	}
	stages := make([]*stage, len(starts))
	results := make([]launch.Result, len(starts))
	errs := make([]error, len(starts))
	var wg sync.WaitGroup
	for i, s := range starts {
		stages[i] = &stage{
			progress: p, pipeline: s.pipeline, several: len(starts) > 1, logPath: tools.LogPath,
			tail: func(run, job string, from, to int64, n int) []string {
				return readTail(tools.LogPath(run, job), from, to, n)
			},
		}
		stages[i].run = s.prior
		// One begins after the other, so that runs are numbered in order.
		begun := make(chan struct{})
		begin := sync.OnceFunc(func() { close(begun) })
		wg.Go(func() {
			defer begin()
			results[i], errs[i] = s.run(ctx, launch.Watcher{Observer: stages[i], Abort: abort, Begun: func(run string, p *plan.Pipeline) {
				stages[i].begun(run, p)
				begin()
			}})
		})
		<-begun
	}
	wg.Wait()
	p.close()
	err := o.conclude(ctx, g, tools, stages, results, errs)
	if o.after == nil {
		return err
	}
	var ended []string
	for i, res := range results {
		if errs[i] == nil && res.Run != "" {
			ended = append(ended, res.Run)
		}
	}
	if failed := o.after(ctx, tools, ended); err == nil {
		err = failed // that the code is wrong is more than that nobody sees it
	}
	return err
}

// conclude writes the final blocks and finds the exit code.
func (o *watching) conclude(ctx context.Context, g *global, tools *Tools, stages []*stage, results []launch.Result, errs []error) error {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	verdict := plan.Verdict("")
	invalid := false
	var documents []any
	var failed []int
	for i, res := range results {
		if errs[i] != nil {
			continue
		}
		if len(res.Problems) > 0 {
			g.problems(res.Problems, maxWarnings)
			invalid = true
			continue
		}
		verdict = plan.Worse(verdict, res.Verdict)
		r := stages[i].run
		if g.json() {
			d := runJSON(r, stages[i].tail)
			d.Explained = tools.explained(ctx, r)
			documents = append(documents, d)
			continue
		}
		list := failures(r, stages[i].tail)
		if len(list) > 0 {
			failed = append(failed, i)
		}
		if d, ok := stages[i].display.(*tty); ok && cols < plainColumns { // both on the same screen
			for k := range list {
				if d.insight(r.ID, list[k]) {
					list[k].Lines, list[k].More, list[k].Notes = nil, 0, nil
				}
			}
		}
		report(g.Stdout, r, list, st, cols)
		if x := tools.explained(ctx, r); x != nil && x.Known > 0 {
			fmt.Fprintf(g.Stdout, "\n%s: fairlead show %s\n", upper(x.Sentence()), r.ID)
		}
	}
	if g.json() {
		var v any = documents
		if len(documents) == 1 {
			v = documents[0]
		}
		if err := writeJSON(g.Stdout, v); err != nil {
			return err
		}
	} else if len(results) > 1 {
		bad := 0
		for _, res := range results {
			if verdictExit(res.Verdict) != ExitOK {
				bad++
			}
		}
		text := st.green(fmt.Sprintf("all %d pipelines went well", len(results)))
		if bad > 0 {
			text = st.red(fmt.Sprintf("%d of %d pipelines did not go well", bad, len(results)))
		}
		fmt.Fprintf(g.Stdout, "\n%s\n", text)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.shell && len(failed) > 0 {
		r := stages[failed[0]].run
		f := failures(r, nil)[0]
		if err := g.shellIn(ctx, tools, r, f.Job, f.Step); err != nil {
			fmt.Fprintf(g.Stderr, "fairlead: no shell: %v\n", err)
		}
	}
	if code := verdictExit(verdict); verdict != "" && code != ExitOK {
		return exit(code)
	}
	if invalid { // what was said on the command line does not fit the inputs
		return exit(ExitUsage)
	}
	return nil
}

// begunWhy names why a watched run is cancelled.
const begunWhy = "a file changed"

// again runs the order whenever a file changes that matches a pattern, until it
// is interrupted.
func (o *ordering) again(ctx context.Context, g *global, tools *Tools, abort <-chan struct{}, patterns []string) error {
	st := g.style(g.Stderr)
	w, err := newFileWatch(o.order.Dir, patterns)
	if err != nil {
		return err
	}
	var last error
	for {
		changed, stop := context.WithCancelCause(ctx)
		found := make(chan []string, 1)
		wait := func() {
			files := w.wait(changed)
			if len(files) > 0 {
				stop(engine.Cancel(begunWhy + ": " + files[0]))
			}
			found <- files
		}
		if !o.order.InPlace {
			go wait()
		}
		last = o.once(changed, g, tools, abort)
		if o.order.InPlace { // what the run itself has changed is no news
			w.look()
			go wait()
		}
		var code exit
		if last != nil && !errors.As(last, &code) && ctx.Err() == nil && changed.Err() == nil {
			g.told(last) // a workflow that cannot be read now may be mended next
		}
		if ctx.Err() == nil && changed.Err() == nil {
			fmt.Fprintf(g.Stderr, "\n%s\n", st.dim("watching "+w.what()+" "+st.dot()+" interrupt to end"))
		}
		files := <-found
		stop(nil)
		if ctx.Err() != nil {
			if last != nil {
				return last
			}
			return exit(ExitInterrupted)
		}
		slices.Sort(files)
		text := files[0]
		if len(files) > 1 {
			text += fmt.Sprintf(" and %d more", len(files)-1)
		}
		fmt.Fprintf(g.Stderr, "\n%s %s\n\n", st.cyan(st.pick("↻", "*")), shown(text)+st.dim(" changed"))
	}
}

// noPipelines says that there is nothing to run or to look at.
func (g *global) noPipelines(root string) error {
	return usage("pipelines are read from "+strings.Join(g.Files, ", "), "no pipeline files were found in %s", root)
}

// nothing says for each pipeline why it did not start, and what to type.
func (g *global) nothing(p *launch.Prepared) error {
	if len(p.Pipelines) == 0 {
		return g.noPipelines(p.Tree.Root())
	}
	st := g.style(g.Stderr)
	fmt.Fprintf(g.Stderr, "fairlead: nothing answers to %s here\n\n", describe(p.Change))
	var byHand, event string
	for i := range p.Pipelines {
		pl := &p.Pipelines[i]
		fmt.Fprintf(g.Stderr, "  %s  %s\n", st.bold(shown(pl.File)), shown(pl.Start.Why)+st.dim(at(pl.Start.At)))
		for _, e := range pl.Events {
			if e == "workflow_dispatch" && byHand == "" {
				byHand = stem(pl.File)
			}
			if event == "" && e != p.Change.Event && e != "workflow_call" {
				event = e
			}
		}
	}
	fmt.Fprintln(g.Stderr)
	if byHand == "" {
		byHand = stem(p.Pipelines[0].File)
	}
	fmt.Fprintf(g.Stderr, "  %-38s runs one all the same\n", "fairlead run "+quoted(byHand))
	if event != "" {
		fmt.Fprintf(g.Stderr, "  %-38s answers to another event\n", "fairlead run --event "+quoted(event))
	}
	fmt.Fprintf(g.Stderr, "  %-38s shows what there is\n", "fairlead run --list")
	return exit(ExitUsage)
}

// describe is what happened, in words.
func describe(c *plan.Change) string {
	if c == nil {
		return "nothing"
	}
	text := c.Event
	if ref := strings.TrimPrefix(strings.TrimPrefix(c.Ref, "refs/heads/"), "refs/"); ref != "" {
		text += " on " + shown(ref)
	}
	return text
}

// at is a place in brackets, if it is known.
func at(s plan.Source) string {
	if s.IsZero() {
		return ""
	}
	return " (" + s.String() + ")"
}
