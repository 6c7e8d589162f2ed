package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Remote is a team's server, asked by its API. What it refuses is a
// [*plan.UsageError].
type Remote interface {
	RemoteRuns
	RemoteActs
	RemoteFiles
	TestRoom
	RemoteReports
	RemoteRoutes
	Faults
	RemoteSplits
	RemoteEnvironments
	Flags
	DeliveryRoom
}

// RemoteEnvironments sets what protects the environments of a server's repositories.
type RemoteEnvironments interface {
	Environments(ctx context.Context, repository string) ([]record.Environment, error)
	SetEnvironment(ctx context.Context, e record.Environment) error
	RemoveEnvironment(ctx context.Context, repository, name string) error
	ApproveEnvironment(ctx context.Context, run, name, why string) error
}

// RemoteRoutes sets whom a server tells of what.
type RemoteRoutes interface {
	Routes(ctx context.Context) ([]notify.Route, error)
	// SetRoute makes a route or changes one; target is where messages go, "" leaves it.
	SetRoute(ctx context.Context, r notify.Route, target string) error
	RemoveRoute(ctx context.Context, name string) error
	// TestRoute sends one message.
	TestRoute(ctx context.Context, name string) error
}

// RemoteRuns looks at the runs of a server.
type RemoteRuns interface {
	// Runs lists runs. The filter's Repository is what the server calls it.
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Run(ctx context.Context, run string) (*record.Run, error)
	// Length is how many lines the log of a job has. The error is an fs.ErrNotExist
	// when there is no log.
	Length(ctx context.Context, run, job string) (int64, error)
	// Lines gives the lines of a log to fn, from one on (counted from 0), until fn
	// returns false; with follow also those still to come.
	Lines(ctx context.Context, run, job string, from int64, follow bool, fn func(logs.Line) bool) error
}

// RemoteActs does something to the runs of a server.
type RemoteActs interface {
	// Start asks for runs and says what came of it, unless that takes long.
	Start(ctx context.Context, w launch.Wish) (request int64, settled *record.RequestSettled, err error)
	Rerun(ctx context.Context, run string, a record.Again) (newRun string, err error)
	Cancel(ctx context.Context, run, job string) error
	Approve(ctx context.Context, run string) error
	Replay(ctx context.Context, request int64) (int64, error)
	// Requests lists what was delivered or asked for, the newest first; repository may be "".
	Requests(ctx context.Context, repository string, limit int) ([]Request, error)
}

// Request is what a code host delivered or somebody asked for, and what came of it.
type Request struct {
	Request    int64     `json:"request"` // its number
	Repository string    `json:"repository"`
	Time       time.Time `json:"time"`
	What       string    `json:"what"` // "github delivery 72d3", "manual ci.yml on refs/heads/main"
	By         string    `json:"by,omitempty"`
	Settled    bool      `json:"settled"`
	Runs       []string  `json:"runs,omitempty"`
	Why        string    `json:"why,omitempty"` // there are none
}

// RemoteFiles brings files from a server and runs to it.
type RemoteFiles interface {
	// Download writes a file that a job kept, and makes sure that it is the one.
	Download(ctx context.Context, run, job string, a plan.Artifact, w io.Writer) error
	// Push brings a run of this machine to the server, and returns its page there.
	Push(ctx context.Context, p Pushing) (page string, err error)
}

// Pushing is a run of this machine that has ended.
type Pushing struct {
	Repository string         // as the server calls it
	Events     []record.Event // all of the run's, in order
	Log        func(ctx context.Context, job string) (*logs.Reader, error)
	Blob       func(ctx context.Context, d blob.Digest) (io.ReadCloser, error)
}

// site are the flags that say whose runs a verb is about.
type site struct {
	url       string // of a server; "" for this machine
	tokenFile string
	repo      string // as the server calls it
}

func (p *site) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.url, "server", "", "ask the server at this `URL` instead of this machine; the token is in FAIRLEAD_TOKEN")
	c.Flags().StringVar(&p.tokenFile, "token-file", "", "`file` with the token, instead of FAIRLEAD_TOKEN")
}

func (p *site) repoFlag(c *cobra.Command) {
	c.Flags().StringVar(&p.repo, "repo", "", "`repository`, as the server calls it (default: what the remote says)")
}

// dial makes ready to ask the server. Nothing is sent yet. Without a token it is asked
// as nobody.
func (p *site) dial(g *global) (_ Remote, err error) {
	var token string
	if p.tokenFile != "" || g.Getenv("FAIRLEAD_TOKEN") != "" {
		if token, err = g.token(p.tokenFile); err != nil {
			return nil, err
		}
	}
	return g.Dial(p.url, token)
}

// archive is where runs are looked at: the record of this machine, or a server's.
type archive interface {
	Heads(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Run(ctx context.Context, run string) (*record.Run, error)
	Log(ctx context.Context, run string, j *record.JobRun) (jobLog, error)
	// here has the filter choose the runs of the repository that dir lies in.
	here(ctx context.Context, f *store.RunFilter, dir string) error
	faults() Faults
	Close() error
}

// jobLog is what a job printed; [logs.Reader] says what its methods promise.
type jobLog interface {
	Lines() int64
	Read(from int64, fn func(logs.Line) bool) error
	Tail(n int64, fn func(logs.Line) bool) error
	Follow(ctx context.Context, from int64, fn func(logs.Line) bool) error
	Search(ctx context.Context, q logs.Query, fn func(logs.Line) bool) (logs.Found, error)
	Close() error
}

// archive opens the one that the flags name.
func (g *global) archive(ctx context.Context, p *site) (archive, error) {
	if p.url == "" {
		tools, err := g.open(ctx)
		return near{tools}, err
	}
	remote, err := p.dial(g)
	return far{remote, p.repo}, err
}

// near is the archive of this machine.
type near struct{ *Tools }

func (n near) Heads(ctx context.Context, f store.RunFilter) ([]store.RunHead, error) {
	return n.Runs.Runs(ctx, f)
}

func (n near) Head(ctx context.Context, run string) (store.RunHead, error) {
	return n.Runs.Head(ctx, run)
}

func (n near) Run(ctx context.Context, run string) (*record.Run, error) { return n.Store.Run(ctx, run) }

func (n near) Log(ctx context.Context, run string, j *record.JobRun) (jobLog, error) {
	return n.OpenLog(ctx, run, j)
}

func (n near) here(ctx context.Context, f *store.RunFilter, dir string) (err error) {
	f.Root, err = root(ctx, dir)
	return err
}

func (n near) faults() Faults { return n.Faults }

func (n near) Close() error { return n.Tools.Close() }

// far is the archive of a server.
type far struct {
	Remote
	repo string
}

func (f far) Heads(ctx context.Context, filter store.RunFilter) ([]store.RunHead, error) {
	if filter.Repository == "" {
		filter.Repository = f.repo
	}
	return f.Runs(ctx, filter)
}

func (f far) here(ctx context.Context, filter *store.RunFilter, dir string) (err error) {
	filter.Repository, err = repositoryAt(ctx, f.repo, dir)
	return err
}

func (f far) faults() Faults { return f.Remote }

func (f far) Close() error { return nil }

func (f far) Log(ctx context.Context, run string, j *record.JobRun) (jobLog, error) {
	if _, err := f.Length(ctx, run, j.ID); err != nil {
		return nil, err
	}
	return farLog{ctx, f.Remote, run, j.ID}, nil
}

// repositoryAt is what a server probably calls the repository that dir lies in,
// unless that is said.
func repositoryAt(ctx context.Context, said, dir string) (string, error) {
	if said != "" {
		return said, nil
	}
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	if err != nil {
		return "", err
	}
	if facts.Remote == "" {
		return "", usage("name it with --repo", "no remote of %s says what the server calls this repository", tree.Root())
	}
	return facts.Repository, nil
}

// farLog is a log on a server. It lives as long as ctx.
type farLog struct {
	ctx      context.Context
	remote   RemoteRuns
	run, job string
}

func (l farLog) Lines() int64 {
	n, err := l.remote.Length(l.ctx, l.run, l.job)
	if err != nil {
		return 0 // reading will fail, too, and say why
	}
	return n
}

func (l farLog) Read(from int64, fn func(logs.Line) bool) error {
	return l.remote.Lines(l.ctx, l.run, l.job, max(from, 0), false, fn)
}

func (l farLog) Tail(n int64, fn func(logs.Line) bool) error { return l.Read(l.Lines()-n, fn) }

func (l farLog) Follow(ctx context.Context, from int64, fn func(logs.Line) bool) error {
	return l.remote.Lines(ctx, l.run, l.job, max(from, 0), true, fn)
}

func (l farLog) Search(ctx context.Context, q logs.Query, fn func(logs.Line) bool) (found logs.Found, err error) {
	telling, count := true, q.Counter()
	err = l.remote.Lines(ctx, l.run, l.job, q.From, false, func(line logs.Line) bool {
		if q.Step != "" && line.Step != q.Step {
			return true
		}
		if n := count(line.Text); n > 0 {
			found.Lines, found.Matches = found.Lines+1, found.Matches+int64(n)
			telling = telling && fn(line)
		}
		return true
	})
	return found, err
}

func (l farLog) Close() error { return nil }

// looked is a run that is looked at.
type looked struct {
	archive
	id  string
	run *record.Run
	far bool
}

// look finds a run, here or on a server. The caller closes it.
func (g *global) look(ctx context.Context, p *site, name, dir string) (*looked, error) {
	from, err := g.archive(ctx, p)
	if err != nil {
		return nil, err
	}
	id, err := g.runID(ctx, from, name, dir)
	if err == nil {
		var r *record.Run
		if r, err = from.Run(ctx, id); err == nil && r.Planned == nil {
			err = fmt.Errorf("run %s: %w", id, store.ErrNotFound)
		}
		if err == nil {
			return &looked{from, id, r, p.url != ""}, nil
		}
	}
	return nil, errors.Join(err, from.Close())
}

// every is how often the record is asked for news of the run.
func (o *looked) every() time.Duration {
	if o.far {
		return followFarEvery
	}
	return followEvery
}

// tail is the end of what a step printed: at most n of the lines from..to.
func (o *looked) tail(ctx context.Context, job string, from, to int64, n int) (list []string) {
	l, err := reader(ctx, o, job)
	if err != nil || l == nil {
		return nil
	}
	defer l.Close()
	_ = l.Read(max(from, to-int64(n)), func(line logs.Line) bool { // what can be read is shown
		if line.N < to {
			list = append(list, string(line.Text[:min(len(line.Text), maxShownLine)]))
		}
		return line.N+1 < to
	})
	return list
}

// unfit refuses flags that only mean something on this machine.
func unfit(c *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := c.Flags().Lookup(name); f != nil && f.Changed {
			return usage("leave it out, or leave out --server", "--%s is for runs of this machine: a server decides that by itself", name)
		}
	}
	return nil
}

// startThere asks a server for runs, and says what came of it.
func (g *global) startThere(ctx context.Context, remote Remote, w launch.Wish) error {
	request, settled, err := remote.Start(ctx, w)
	if err != nil {
		return err
	}
	if g.json() {
		return writeJSON(g.Stdout, struct {
			Request int64    `json:"request"`
			Runs    []string `json:"runs,omitempty"`
			Why     string   `json:"why,omitempty"`
		}{request, settled.Runs, settled.Why})
	}
	switch {
	case len(settled.Runs) > 0:
		fmt.Fprintln(g.Stdout, strings.Join(settled.Runs, "\n"))
		fmt.Fprintf(g.Stderr, "`fairlead logs -f %s` follows it\n", settled.Runs[0])
	case settled.Why != "":
		g.problems(settled.Problems, maxWarnings)
		return usage("", "nothing was started: %s", settled.Why)
	default:
		fmt.Fprintf(g.Stderr, "asked for; it is request %d\n", request)
	}
	return nil
}

// pushCommand is `fairlead push`.
func (g *global) pushCommand() *cobra.Command {
	var at site
	var dir string
	c := &cobra.Command{
		Use:   "push RUN",
		Short: "Bring a run of this machine to a server",
		Long: `Bring a run of this machine that has ended to a team's server, with its logs and
artifacts, so that others can look at it there. What is there already is not sent again.

Values of secrets are in no run. RUN is a number, or counted back: last or -1, -2 …`,
		Example:           "  fairlead push last --server https://ci.example.org\n  fairlead push 12 --server https://ci.example.org --repo team/app",
		Args:              args("RUN"),
		ValidArgsFunction: g.completeRuns,
	}
	at.flags(c)
	at.repoFlag(c)
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if at.url == "" {
			return usage("name it with --server, or FAIRLEAD_SERVER", "it is not said which server to push to")
		}
		remote, err := at.dial(g)
		if err != nil {
			return err
		}
		run, err := g.openRun(cmd.Context(), a[0], dir)
		if err != nil {
			return err
		}
		defer run.Close()
		return g.push(cmd.Context(), run.Tools, remote, at.repo, run.id)
	}
	return c
}

// push brings a run to a server, and says where it is.
func (g *global) push(ctx context.Context, tools *Tools, remote Remote, repository, id string) error {
	run, err := tools.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case run.Planned == nil:
		return fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	case run.Planned.Origin != nil:
		return usage("its page is there", "run %s is a server's own", id)
	case run.Verdict == "":
		return usage("push it when it has", "run %s has not ended", id)
	}
	events, err := eventsOf(ctx, tools, id)
	if err != nil {
		return err
	}
	page, err := remote.Push(ctx, Pushing{
		Repository: cmp.Or(repository, run.Planned.Change.Repository), Events: events, Blob: tools.Blob,
		Log: func(ctx context.Context, job string) (*logs.Reader, error) {
			return tools.OpenLog(ctx, id, run.Jobs[job])
		},
	})
	if err != nil {
		return fmt.Errorf("push run %s: %w", id, err)
	}
	if g.lines {
		g.tell("pushed", struct {
			Run string `json:"run"`
			URL string `json:"url"`
		}{id, page})
		return nil
	}
	fmt.Fprintf(g.Stderr, "run %s is at %s\n", id, page)
	return nil
}

// pushAll brings runs that have just ended to a server. What cannot be pushed now
// can be later.
func (g *global) pushAll(ctx context.Context, tools *Tools, remote Remote, repository string, runs []string) error {
	failed := false
	for _, id := range runs {
		err := ctx.Err()
		if err == nil {
			err = g.push(ctx, tools, remote, repository, id)
		}
		if err != nil {
			failed = true
			g.told(&plan.UsageError{Message: fmt.Sprintf("run %s is not on the server: %v", id, err), Hint: "`fairlead push " + id + "` tries again"})
		}
	}
	if failed {
		return exit(ExitError)
	}
	return nil
}

// eventsOf are all events of a run, in order.
func eventsOf(ctx context.Context, tools *Tools, id string) (all []record.Event, err error) {
	f := store.EventFilter{Run: id, Limit: 1000}
	for {
		batch, err := tools.Runs.Events(ctx, f) // the newest first
		if err != nil {
			return nil, fmt.Errorf("read run %s: %w", id, err)
		}
		all = append(all, batch...)
		if len(batch) < f.Limit {
			slices.Reverse(all)
			return all, nil
		}
		f.Before = batch[len(batch)-1].Seq
	}
}
