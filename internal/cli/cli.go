// Package cli is the command line: one file a verb.
//
// A verb asks, shows and returns; rules live below. It is made of three
// layers, each of which can be read alone:
//
//	verbs     run.go, runs.go, show.go, logs.go, why.go, cache.go, lint.go …
//	displays  progress.go, tty.go (while a run goes on), report.go (after it)
//	words     reused.go (what reuse came to), values.go, suggest.go
//	drawing   text.go (widths, colours, hostile text), graph.go
//
// The contract with those who type, and with those who write scripts: results
// go to standard output; everything about the way there (progress, messages,
// problems) to standard error. What is shown does not depend on who looks but
// for colours and widths. Text that comes from outside never reaches a
// terminal unsanitized. Errors say what, why, and what to type next. The exit
// code says whose turn it is, see [ExitCodes]. Secrets are never arguments.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/testrun"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// App is what the verbs work with. Main fills it.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Version        string

	// Files are the patterns of the files that pipelines are read from.
	Files []string

	// Open makes a launcher. It is called by verbs that need one, once.
	Open func(ctx context.Context, w Wiring) (*Tools, error)
	// Dial makes ready to ask a team's server; the token may be "".
	Dial func(address, token string) (Remote, error)
	// Serve is a team's server, until ctx ends.
	Serve func(ctx context.Context, w Wiring, s Serving) error
	// Work does jobs for a server, until ctx ends.
	Work func(ctx context.Context, w Wiring, o Working) error
	// Lint finds what is wrong with the pipeline files of a tree: all of them,
	// or those named by their slash paths in the tree.
	Lint func(ctx context.Context, tree fs.FS, files []string) ([]plan.Problem, error)
	// Convert says pipelines of a tree in another language.
	Convert func(ctx context.Context, tree fs.FS, file, to string) ([]launch.Converted, error)
	// Lock says what pins the files that a tree's pipelines include from
	// elsewhere: slash paths in the tree and what they are to hold.
	Lock func(ctx context.Context, w Wiring, tree fs.FS, change *plan.Change) (map[string][]byte, []plan.Problem, error)
	// Preview says what a deferred job will become, if that can be known
	// before a run.
	Preview func(job *plan.Job, c *plan.Context) (x *plan.Expansion, ok bool)
	// Stages are what is known of a pipeline that is a program, before it runs:
	// their ID, Name, Needs and Source; none of any other pipeline.
	Stages func(p *plan.Pipeline) []plan.Job
	// Shell runs a command with a step's environment, in its directory, on this
	// process's own terminal, and returns its exit code.
	Shell func(ctx context.Context, dirs plan.Dirs, c *plan.Command) (int, error)
	// Lab makes what tests have around them.
	Lab func(w Wiring) (*Lab, error)
	// Execute runs a command with further variables, on this process's own
	// terminal, and returns its exit code.
	Execute func(ctx context.Context, argv []string, env map[string]string) (int, error)
	// Command runs a command to its end with this process's environment.
	Command testrun.Exec
	// HostDir is the directory of this machine's host: as given, or the default.
	HostDir func(w Wiring, given string) (string, error)
	// Host keeps services running on this machine, until ctx ends.
	Host func(ctx context.Context, dir string, log io.Writer) error
}

// Wiring are the flags that decide what a launcher is made of.
type Wiring struct {
	Data     string            // data directory; "" for the default
	Cache    string            // workspaces and fetched actions; "" for the default
	Database string            // URL of a PostgreSQL database that keeps the record; "" for a file in Data
	Actions  map[string]string // local overrides of actions: owner/name[@ref] -> directory
	Mirror   string            // where actions come from, instead of the code host
	Offline  bool
	Labels   map[string]bool // runs-on labels that this machine takes, or not
	InPlace  bool
}

// Tools are what an opened App works with.
type Tools struct {
	*launch.Launcher
	Runs Runs
	// Histories answers about tests, Wards takes decisions about them.
	Histories *insight.Histories
	Wards     *insight.Wards
	// Blob opens the bytes of an artifact.
	Blob func(ctx context.Context, d blob.Digest) (io.ReadCloser, error)
	// Reports takes in what other systems' runs reported.
	Reports *insight.Reports
	// Publisher makes what publishes releases of a tree.
	Publisher func(tree *workspace.Tree) *publish.Publisher
	// Witness says how files were made, of runs of History; ReleaseKey signs that.
	Witness    *publish.Witness
	History    publish.Runs
	ReleaseKey func() (*attest.Key, error)
	// Deliveries says how delivery goes, Troubles takes what goes wrong.
	Deliveries *insight.Deliveries
	Troubles   *launch.Incidents
	// Office makes what verbs about a team's server need, on its own machine.
	Office func(r Reach) (*Office, error)
	// Delivery makes what moves the services of the tree in a directory.
	Delivery func(root string) (*Delivery, error)
	Close    func() error
}

// Runs lists runs, and their events.
type Runs interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
}

// Exit codes.
const (
	ExitOK          = 0
	ExitFailed      = 1   // the pipeline or its tests failed: your code
	ExitUsage       = 2   // the command line cannot be understood or fulfilled
	ExitInvalid     = 3   // a pipeline file or fairlead.yaml has errors
	ExitError       = 4   // Fairlead, the machine, the network or a tool failed
	ExitTimeout     = 124 // a time limit was reached
	ExitInterrupted = 130 // cancelled
)

// ExitCodes is the table of exit codes, for help and documentation.
const ExitCodes = `  0    all went well
  1    the pipeline or its tests failed: your code
  2    the command line cannot be understood or fulfilled
  3    a pipeline file or fairlead.yaml has errors
  4    Fairlead, this machine, the network or a tool failed
  124  a time limit was reached
  130  cancelled`

// exit is an error that only carries an exit code: everything was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// verdictExit is the exit code of a verdict.
func verdictExit(v plan.Verdict) int {
	switch v {
	case plan.Success, plan.Skipped:
		return ExitOK
	case plan.Fault:
		return ExitError
	case plan.Timeout:
		return ExitTimeout
	case plan.Cancelled:
		return ExitInterrupted
	}
	return ExitFailed
}

// usage is an error of the command line itself.
func usage(hint, format string, args ...any) error {
	return &plan.UsageError{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Main runs a command line and returns its exit code.
func (a *App) Main(ctx context.Context, args []string) int {
	g := &global{App: a}
	root := g.root()
	root.SetArgs(countedBack(args))
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	return g.told(root.ExecuteContext(ctx))
}

// tell writes a line of JSON about what is no event of a run.
func (g *global) tell(kind string, body any) {
	_ = writeLine(g.Stderr, jsonEvent{Schema: jsonSchema, Kind: kind, Body: body})
}

// told says what is left to be said of an error, and which exit code it is.
func (g *global) told(err error) int {
	say := func(message, hint string, code int) int {
		if g.lines {
			g.tell("error", struct {
				Message string `json:"message"`
				Hint    string `json:"hint,omitempty"`
				Exit    int    `json:"exit"`
			}{message, hint, code})
			return code
		}
		fmt.Fprintf(g.Stderr, "fairlead: %s\n", message)
		if hint != "" {
			fmt.Fprintf(g.Stderr, "  %s\n", hint)
		}
		return code
	}
	var code exit
	var use *plan.UsageError
	var held *store.HeldError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &use):
		return say(use.Message, use.Hint, ExitUsage)
	case errors.Is(err, store.ErrNotFound):
		return say(err.Error(), "`fairlead runs --all` lists them", ExitUsage)
	case errors.As(err, &held):
		return say(err.Error(), "`fairlead logs -f RUN` follows it, `fairlead cancel RUN` ends it", ExitUsage)
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return say(err.Error(), "", ExitError)
}

// global are the flags of all verbs.
type global struct {
	*App
	wiring  Wiring
	colour  string
	output  string
	noInput bool
	lines   bool // standard error is for programs: lines of JSON
}

// The groups of the table of contents.
const (
	groupRun    = "run"
	groupLook   = "look"
	groupTeam   = "team"
	groupDeploy = "deploy"
	groupHelp   = "help"
)

// root is the table of contents.
func (g *global) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "A release engineer in one binary",
		Long: `Fairlead runs the pipelines that a repository already has, on this machine.

  fairlead run          runs what a push would start
  fairlead run --list   says what there is
  fairlead runs         says what was run, with its results
  fairlead why          says what was reused of the last run, and why the rest ran`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "`fairlead help` lists the commands"
			var names []string
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
					names = append(names, sub.Name())
				}
			}
			if near := plan.Nearest(args[0], names); near != "" {
				hint = "did you mean `fairlead " + near + "`?"
			}
			return usage(hint, "there is no command %q", args[0])
		},
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return g.settle(c) }
	f := root.PersistentFlags()
	f.StringVar(&g.wiring.Data, "data", "", "`directory` of runs and logs (default $XDG_STATE_HOME/fairlead)")
	f.StringVar(&g.wiring.Cache, "cache", "", "`directory` of workspaces, actions and caches (default $XDG_CACHE_HOME/fairlead)")
	f.StringVar(&g.wiring.Database, "database", "", "`URL` of a PostgreSQL database that keeps the record, instead of a file in the data directory; better in FAIRLEAD_DATABASE, as it may hold a password")
	f.StringVar(&g.colour, "color", "auto", "colours: auto, always, never")
	f.StringVar(&g.output, "output", "text", "results as text or json")
	f.BoolVar(&g.noInput, "no-input", false, "never ask, fail instead")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommandGroupID(groupHelp)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupLook, Title: "Look:"}, &cobra.Group{ID: groupDeploy, Title: "Deploy:"}, &cobra.Group{ID: groupTeam, Title: "Serve a team:"}, &cobra.Group{ID: groupHelp, Title: "Help:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, g.runCommand(), g.rerunCommand(), g.cancelCommand(), g.shellCommand(), g.splitCommand(), g.culpritCommand(), g.envCommand(), g.dataCommand(), g.mockCommand())
	add(groupLook, g.runsCommand(), g.showCommand(), g.logsCommand(), g.artifactsCommand(), g.whyCommand(), g.failuresCommand(), g.knownIssueCommand(), g.readersCommand(), g.affectedCommand(), g.cacheCommand(), g.lintCommand(), g.convertCommand(), g.includeCommand(), g.testsCommand(), g.coverageCommand(), g.reportCommand())
	add(groupTeam, g.serveCommand(), g.workerCommand(), g.repoCommand(), g.secretCommand(), g.tokenCommand(), g.accountCommand(), g.approveCommand(), g.pushCommand(), g.hookCommand(), g.notifyCommand(), g.auditCommand(), g.environmentCommand())
	add(groupDeploy, g.deployCommand(), g.promoteCommand(), g.rollbackCommand(), g.rolloutCommand(), g.deployedCommand(), g.driftCommand(), g.incidentCommand(), g.doraCommand(), g.releaseCommand(), g.hostCommand(), g.flagCommand())
	add(groupLook, g.provenanceCommand())
	add(groupHelp, g.completionCommand(), g.versionCommand())
	root.AddCommand(exitCodesTopic(), environmentTopic(), g.manCommand(), g.docsCommand())
	return root
}

// environment are the variables that stand for flags that are not given.
var environment = []struct{ flag, name string }{
	{"data", "FAIRLEAD_DATA"},
	{"cache", "FAIRLEAD_CACHE"},
	{"database", "FAIRLEAD_DATABASE"},
	{"server", "FAIRLEAD_SERVER"},
	{"token-file", "FAIRLEAD_TOKEN_FILE"},
	{"color", "FAIRLEAD_COLOR"},
	{"output", "FAIRLEAD_OUTPUT"},
	{"no-input", "FAIRLEAD_NO_INPUT"},
	{"progress", "FAIRLEAD_PROGRESS"},
	{"parallel", "FAIRLEAD_PARALLEL"},
	{"retry", "FAIRLEAD_RETRY"},
	{"mirror", "FAIRLEAD_MIRROR"},
	{"offline", "FAIRLEAD_OFFLINE"},
	{"no-reuse", "FAIRLEAD_NO_REUSE"},
}

// settle fills the flags that were not given from the environment, and checks
// those that all verbs share.
func (g *global) settle(c *cobra.Command) error {
	for _, e := range environment {
		f := c.Flags().Lookup(e.flag)
		value := g.Getenv(e.name)
		if f == nil || f.Changed || value == "" {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			return usage("unset it or set it to what --"+e.flag+" takes", "%s=%s: %v", e.name, value, err)
		}
	}
	if err := oneOf("color", g.colour, "auto", "always", "never"); err != nil {
		return err
	}
	return oneOf("output", g.output, "text", "json")
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	hint := "it is one of " + strings.Join(allowed, ", ")
	if near := plan.Nearest(value, allowed); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return usage(hint, "--%s cannot be %q", flag, value)
}

// json reports whether results are wanted as JSON.
func (g *global) json() bool { return g.output == "json" }

// open makes the launcher.
func (g *global) open(ctx context.Context) (*Tools, error) {
	return g.Open(ctx, g.wiring)
}

// terminal is the file behind a stream that is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// style is how a stream is written to.
func (g *global) style(w io.Writer) style {
	_, tty := terminal(w)
	dumb := g.Getenv("TERM") == "dumb"
	s := style{ascii: dumb}
	switch {
	case g.colour != "auto":
		s.colour = g.colour == "always"
	case g.Getenv("NO_COLOR") != "":
	case g.Getenv("CLICOLOR_FORCE") != "" && g.Getenv("CLICOLOR_FORCE") != "0":
		s.colour = true
	default:
		s.colour = tty && !dumb
	}
	return s
}

// columns is how wide the stream is: without a terminal, as wide as the text.
func columns(w io.Writer) int {
	cols, _ := size(w)
	return cols
}

// size are the columns and rows of a stream.
func size(w io.Writer) (cols, rows int) {
	if f, ok := terminal(w); ok {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 {
			return cols, rows
		}
		return 80, 24
	}
	return plainColumns, plainColumns
}

// lineColumns is [columns] for drawings, which must end somewhere.
func (g *global) lineColumns(w io.Writer) int {
	if _, ok := terminal(w); ok {
		return columns(w)
	}
	if n, err := strconv.Atoi(g.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 120
}

// asks reports whether a person can be asked.
func (g *global) asks() bool {
	_, tty := terminal(g.Stdin)
	return tty && !g.noInput
}

// args checks how many arguments a verb has, and names what is missing.
func args(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		need := 0
		for _, n := range names {
			if !strings.HasPrefix(n, "[") {
				need++
			}
		}
		switch {
		case len(args) < need:
			return usage("usage: "+c.UseLine(), "`%s` needs %s", c.CommandPath(), names[len(args)])
		case len(args) > len(names):
			return usage("usage: "+c.UseLine(), "`%s` does not know what to do with %q", c.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// countedBack lets runs be counted back from the last: -1 is the last run, and
// no flag.
func countedBack(args []string) []string {
	verb := ""
	for i, arg := range args {
		switch {
		case arg == "--":
			return args
		case verb == "" && !strings.HasPrefix(arg, "-"):
			verb = arg
		}
		if len(arg) < 2 || arg[0] != '-' || strings.Trim(arg[1:], "0123456789") != "" {
			continue
		}
		switch verb {
		case "logs", "show", "why", "rerun", "cancel", "shell", "cache", "artifacts", "provenance", "push":
			args = append([]string(nil), args...)
			args[i] = "last~" + arg[1:]
		}
	}
	return args
}

// interruptible returns a context that the first interrupt cancels, and a
// channel that the second one closes.
func interruptible(ctx context.Context) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	abort := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				if n == 0 {
					cancel(engine.Cancel("cancelled by " + s.String()))
					continue
				}
				close(abort)
				signal.Stop(signals) // a third one ends this process, whatever it does
				return
			case <-done:
				return
			}
		}
	}()
	return ctx, abort, func() { signal.Stop(signals); close(done); cancel(nil) }
}
