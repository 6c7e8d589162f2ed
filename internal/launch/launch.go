// Package launch is the way from a wish to a running plan.
//
// The command line and the server both come through here. An [Order] says
// what somebody wants (this directory, that event, these inputs); [Launcher]
// finds the tree, reads what git knows of it, lets the dialects compile its
// pipelines, and chooses those that the event starts. Running one of them
// gives it an identity (a number, a lease that says who runs it, a directory
// for its logs) and hands it to the engine.
//
//	Order ──► Prepare ──► Prepared{tree, change, pipelines, problems}
//	                          │
//	                          ▼
//	                         Run ──► engine ──► Result
//	Resume, Rerun ────────────▲
//
// What a run needs to be repeated is in the record: Resume goes on with a run
// whose process is gone, Rerun begins a new one from what an old one knew.
package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Launcher starts runs. Its fields are set once.
type Launcher struct {
	Dialects []dialect.Dialect
	Executor executor.Executor
	Store    Store
	Slots    *workspace.Slots
	Cache    *cache.Cache      // of what steps have done before; nil: nothing is reused
	Outputs  blob.Keeper       // of the blobs that Cache refers to
	Results  blob.Store        // keeps all results of tests; nil: only their counts are known
	Tests    *insight.Tests    // learns what runs teach of tests; nil: nobody does, and none is in quarantine
	Faults   *insight.Faults   // learns what fails and why; nil: nobody does
	Coverage *insight.Coverage // sums up what runs covered; nil: nobody does
	Data     string            // directory of logs and kept jobs
	Idle     func() float64
	Version  string // Fairlead's own
	// Actions are local overrides, recorded with a run: owner/name -> directory.
	Actions map[string]string
	// Secrets are those that a job is given besides the run's because it names an
	// environment; nil: none.
	Secrets func(ctx context.Context, run, environment string) (map[string]string, error)
	// Protect says what protects an environment that a job of a run names; nil: nothing.
	Protect func(ctx context.Context, run, environment string) (*engine.Protection, error)
	// Tokens signs the ID tokens that a job asks for; nil: nobody does.
	Tokens func(ctx context.Context, run string, job *plan.Job) (map[string]string, error)
	// Databases makes those that a project declares; nil: its jobs get none.
	Databases *Databases
	// Grace is how long steps may go on in a cancelled run.
	Grace time.Duration
	// Places is how many jobs run here at a time; 0: as many as the machine bears.
	Places int
	// Hands take jobs to other machines; nil: all are done here.
	Hands engine.Hands
	// Inherit gives a run what the jobs of another have left, which it goes on
	// from; nil when jobs leave each other nothing.
	Inherit func(ctx context.Context, run, from string) error
	// Conceal is the engines': see [engine.Engine].
	Conceal func(ctx context.Context, m *secret.Masker, digest string) (*record.Shown, error)

	mu      sync.Mutex
	engines map[string]*engine.Engine // by dialect
}

// Store is what launching asks of the record.
type Store interface {
	store.Store
	// NewRun gives a run its identity.
	NewRun(ctx context.Context, repository, pipeline string) (id string, number int, err error)
	// Run is what is known of a run.
	Run(ctx context.Context, id string) (*record.Run, error)
}

// Order is what somebody wants to run. The zero value of a field leaves the
// choice to Fairlead.
type Order struct {
	Dir       string
	Workflow  string   // a file's path, base name or stem, or a pipeline's name
	Dialects  []string // whose pipelines count; none: see Prepared.Others
	Event     string
	EventFile string // JSON
	Inputs    map[string]string
	Secrets   map[string]string
	Vars      map[string]string
	Env       map[string]string
	Matrix    map[string][]string
	Jobs      []string // only these and what they need
	Play      []string // jobs that wait for a person to ask for them, beside those in Jobs
	Parallel  int
	Retry     int
	InPlace   bool
	NoReuse   bool // run all, and watch none
	// Affected has tests left out that passed before with the same inputs: "on",
	// "off", or "" for what the project says.
	Affected string
	Verify   int // of a hundred steps that could be reused, how many are run all the same

	// Change is what is to be run for; nil: what git says of Dir, and Event.
	Change *plan.Change
	// Overrule, when it is not nil, has the last word on the change, after a
	// dialect has described it from its payload.
	Overrule func(*plan.Change)
	// Files is the directory whose pipeline files count; "" for Dir.
	Files string
	// Since finds the files that differ from another ref, and whether that can be
	// found; nil: git is asked in Dir.
	Since func(ctx context.Context, ref string) (files []string, known bool, err error)
}

// Prepared is an order, understood.
type Prepared struct {
	Order     Order
	Tree      *workspace.Tree
	Change    *plan.Change    // as no dialect has described it yet
	Project   *project.File   // fairlead.yaml
	Pipelines []plan.Pipeline // all that were found
	Chosen    []*plan.Pipeline
	// Others are the dialects whose pipelines would run, too, and do not:
	// one language was chosen of several.
	Others   []string
	Problems []plan.Problem

	files   fs.FS                   // that pipelines are read from
	project []plan.Problem          // of fairlead.yaml
	changes map[string]*plan.Change // by dialect, in its own terms
}

// ChangeFor is the change in the terms of the pipeline's dialect.
func (p *Prepared) ChangeFor(pl *plan.Pipeline) *plan.Change { return p.changes[pl.Dialect] }

// guesses are the events that are tried when none is named, in order.
var guesses = []string{"push", "pull_request"}

// named are the further events tried for a workflow that was asked for by name.
var named = []string{"workflow_dispatch", "schedule", "workflow_call", "pull_request_target", "repository_dispatch", "release", "workflow_run"}

// Prepare understands an order. Problems of the user's files are in the
// result; a *plan.UsageError says that the order itself cannot be fulfilled.
func (l *Launcher) Prepare(ctx context.Context, o Order) (*Prepared, error) {
	tree, err := workspace.Open(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	facts, err := tree.Facts(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Order: o, Tree: tree, files: tree.FS()}
	if o.Files != "" {
		p.files = os.DirFS(o.Files)
	}
	if o.Change != nil {
		o.Event = o.Change.Event
	}
	if p.Project, p.project, err = project.Read(p.files); err != nil {
		return nil, fmt.Errorf("read the project's file: %w", err)
	}
	events := []string{o.Event}
	if o.Event == "" {
		events = guesses
		if o.Workflow != "" {
			events = slices.Concat(guesses, named)
		}
	}
	for _, event := range events {
		if err := p.change(facts, event); err != nil {
			return nil, err
		}
		if p.Change.Commit == nil && p.Change.SHA == facts.SHA && facts.SHA != "" {
			p.Change.Commit = commitOf(facts.Commit)
		}
		if err := l.compile(ctx, p, facts); err != nil {
			return nil, err
		}
		if err := p.choose(); err != nil {
			return nil, err
		}
		if err := p.prefer(l.dialectNames()); err != nil {
			return nil, err
		}
		if len(p.Chosen) > 0 {
			break
		}
	}
	return p, p.narrow()
}

// change makes the change that the order is about.
func (p *Prepared) change(f workspace.Facts, event string) error {
	if p.Order.Change != nil {
		c := *p.Order.Change
		p.Change = &c
		return nil
	}
	c := PushOf(f)
	c.Event, c.Inputs, c.Vars = event, p.Order.Inputs, p.Order.Vars
	if strings.HasPrefix(event, "pull_request") {
		c.HeadRef, c.BaseRef = f.Branch, f.DefaultBranch
	}
	if file := p.Order.EventFile; file != "" {
		data, err := readLimited(file, maxEvent)
		if err != nil {
			return &plan.UsageError{Message: fmt.Sprintf("the event file cannot be read: %v", err)}
		}
		if err := json.Unmarshal(data, &c.Payload); err != nil {
			return &plan.UsageError{Message: fmt.Sprintf("the event file %s is not a JSON object: %v", file, err)}
		}
	}
	p.Change = c
	return nil
}

// PushOf is the push of a tree as it is.
func PushOf(f workspace.Facts) *plan.Change {
	c := &plan.Change{
		Event: "push", Ref: f.Ref, SHA: f.SHA, Dirty: f.Dirty, Before: f.Before,
		Repository: f.Repository, Server: f.Server, DefaultBranch: f.DefaultBranch, Actor: f.Actor,
	}
	if c.SHA == "" {
		c.SHA = strings.Repeat("0", 40)
	}
	return c
}

// maxMessage is how much of a commit's message conditions see.
const maxMessage = 64 << 10

// commitOf is what a commit says of itself, without more bytes than a plan should have.
func commitOf(c workspace.CommitInfo) *plan.Commit {
	message := strings.ToValidUTF8(c.Message[:min(len(c.Message), maxMessage)], "")
	return &plan.Commit{Message: message, Author: c.Author.Name, Email: c.Author.Email, Time: c.Committer.When}
}

// maxEvent is the size of the largest event file.
const maxEvent = 25 << 20

func readLimited(name string, limit int64) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, st.Size(), limit)
	}
	return os.ReadFile(name)
}

// compile lets every dialect read the tree.
func (l *Launcher) compile(ctx context.Context, p *Prepared, facts workspace.Facts) error {
	p.Pipelines, p.Problems, p.changes = nil, slices.Clone(p.project), map[string]*plan.Change{}
	for _, d := range l.Dialects {
		change := *p.Change
		p.changes[d.Name()] = &change
		d.Describe(&change)
		if p.Order.Overrule != nil {
			p.Order.Overrule(&change)
		}
		pipelines, problems, err := d.Compile(ctx, p.files, &change)
		if err != nil {
			return fmt.Errorf("read the %s pipelines: %w", d.Name(), err)
		}
		hangs := func(pl plan.Pipeline) bool { return pl.Start.Files }
		if !change.FilesKnown && slices.ContainsFunc(pipelines, hangs) {
			base := change.Before
			if change.BaseRef != "" {
				base = change.BaseRef
			}
			files, known, err := p.Tree.Changed(ctx, base)
			if err != nil {
				return fmt.Errorf("find what the change touches: %w", err)
			}
			if change.Files, change.FilesKnown = files, known; known {
				if pipelines, problems, err = d.Compile(ctx, p.files, &change); err != nil {
					return fmt.Errorf("read the %s pipelines: %w", d.Name(), err)
				}
			}
		}
		// What is compared with one ref may decide whether another is compared with.
		for range maxSince {
			more, err := p.compare(ctx, &change, pipelines)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if pipelines, problems, err = d.Compile(ctx, p.files, &change); err != nil {
				return fmt.Errorf("read the %s pipelines: %w", d.Name(), err)
			}
		}
		p.Pipelines, p.Problems = append(p.Pipelines, pipelines...), append(p.Problems, problems...)
	}
	return l.compileNamed(ctx, p)
}

// maxSince is how many refs a change is compared with because pipelines name them.
const maxSince = 20

// compare finds the files that differ from the refs that pipelines name, and
// reports whether there were any that it had not looked at.
func (p *Prepared) compare(ctx context.Context, c *plan.Change, pipelines []plan.Pipeline) (more bool, err error) {
	since := p.Order.Since
	if since == nil {
		since = p.Tree.Changed
	}
	for _, pl := range pipelines {
		for _, ref := range pl.Since {
			if _, known := c.Since[ref]; known || len(c.Since) == maxSince {
				continue
			}
			files, known, err := since(ctx, ref)
			if err != nil {
				return false, fmt.Errorf("find what differs from %s: %w", ref, err)
			}
			if known && files == nil {
				files = []string{}
			}
			if c.Since == nil {
				c.Since = map[string][]string{}
			}
			c.Since[ref], more = files, true
		}
	}
	return more, nil
}

// fileCompiler is a dialect that reads a pipeline wherever it lies, when it is
// asked for by its path.
type fileCompiler interface {
	CompileFile(ctx context.Context, tree fs.FS, file string, change *plan.Change) (*plan.Pipeline, []plan.Problem, error)
}

// compileNamed reads the file that the order names, when it is none of those
// that are found by themselves.
func (l *Launcher) compileNamed(ctx context.Context, p *Prepared) error {
	file := path.Clean(filepath.ToSlash(p.Order.Workflow))
	if p.Order.Workflow == "" || slices.ContainsFunc(p.Pipelines, func(pl plan.Pipeline) bool { return answersTo(&pl, p.Order.Workflow) }) {
		return nil
	}
	if info, err := fs.Stat(p.files, file); err != nil || !info.Mode().IsRegular() {
		return nil // choose says that there is no such workflow
	}
	for _, d := range l.Dialects {
		c, ok := d.(fileCompiler)
		if !ok || len(p.Order.Dialects) > 0 && !slices.Contains(p.Order.Dialects, d.Name()) {
			continue
		}
		pl, problems, err := c.CompileFile(ctx, p.files, file, p.changes[d.Name()])
		if err != nil {
			return fmt.Errorf("read %s as a pipeline of %s: %w", file, d.Name(), err)
		}
		if pl != nil {
			p.Pipelines, p.Problems = append(p.Pipelines, *pl), append(p.Problems, problems...)
		}
	}
	return nil
}

// choose finds the pipelines to run: those that the event starts, or those
// that were asked for by name.
func (p *Prepared) choose() error {
	p.Chosen = nil
	found := false
	for i := range p.Pipelines {
		pl := &p.Pipelines[i]
		if p.Order.Workflow != "" {
			if !answersTo(pl, p.Order.Workflow) {
				continue
			}
			found = true
			if !pl.Start.Yes && !(p.Order.Event == "" && slices.Contains(pl.Events, p.Change.Event)) {
				continue
			}
		} else if !pl.Start.Yes {
			continue
		}
		p.Chosen = append(p.Chosen, pl)
	}
	if p.Order.Workflow != "" && !found {
		return &plan.UsageError{Message: fmt.Sprintf("there is no workflow %q here", p.Order.Workflow), Hint: p.known()}
	}
	return nil
}

func answersTo(p *plan.Pipeline, name string) bool {
	base := path.Base(p.File)
	return name == p.Name || name == p.File || name == base || name == strings.TrimSuffix(base, path.Ext(base)) ||
		filepath.ToSlash(filepath.Clean(name)) == p.File
}

// known lists the names of what was found, for people.
func (p *Prepared) known() string {
	if len(p.Pipelines) == 0 {
		return "no pipeline files were found"
	}
	names := make([]string, len(p.Pipelines))
	for i, pl := range p.Pipelines {
		names[i] = path.Base(pl.File)
	}
	return "known are " + strings.Join(names, ", ")
}

// narrow keeps only the jobs that were asked for and what they need.
func (p *Prepared) narrow() error {
	for _, name := range p.Order.Play {
		if !slices.ContainsFunc(p.Chosen, func(pl *plan.Pipeline) bool {
			return slices.ContainsFunc(pl.Jobs, func(j plan.Job) bool { return j.ID == name || j.Name == name })
		}) {
			return p.noJob(name)
		}
	}
	if len(p.Order.Jobs) == 0 {
		return nil
	}
	missing := slices.Clone(p.Order.Jobs)
	chosen := p.Chosen[:0]
	for _, pl := range p.Chosen {
		byID := map[string]*plan.Job{}
		for i := range pl.Jobs {
			byID[pl.Jobs[i].ID] = &pl.Jobs[i]
		}
		keep := map[string]bool{}
		var want func(id string)
		want = func(id string) {
			if j := byID[id]; j != nil && !keep[id] {
				keep[id] = true
				for _, need := range j.Needs {
					want(need)
				}
			}
		}
		for _, name := range p.Order.Jobs {
			for i := range pl.Jobs {
				if j := &pl.Jobs[i]; j.ID == name || j.Name == name {
					want(j.ID)
					missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
				}
			}
		}
		if len(keep) == 0 {
			continue
		}
		narrowed := *pl
		narrowed.Jobs = nil
		for _, j := range pl.Jobs {
			if keep[j.ID] {
				narrowed.Jobs = append(narrowed.Jobs, j)
			}
		}
		chosen = append(chosen, &narrowed)
	}
	p.Chosen = chosen
	if len(missing) > 0 {
		return p.noJob(missing[0])
	}
	return nil
}

// noJob says that nothing that is to run has a job of this name.
func (p *Prepared) noJob(name string) error {
	var known []string
	for _, pl := range p.Pipelines {
		for _, j := range pl.Jobs {
			known = append(known, j.ID)
		}
	}
	slices.Sort(known)
	return &plan.UsageError{Message: fmt.Sprintf("no workflow that is to run has a job %q", name),
		Hint: "known jobs are " + strings.Join(slices.Compact(known), ", ")}
}

func (l *Launcher) dialectNames() []string {
	names := make([]string, len(l.Dialects))
	for i, d := range l.Dialects {
		names[i] = d.Name()
	}
	return names
}

// ProblemsOf are the problems of one pipeline's files.
func (p *Prepared) ProblemsOf(pl *plan.Pipeline) []plan.Problem {
	var own []plan.Problem
	for _, problem := range p.Problems {
		for _, t := range pl.Texts {
			if problem.File == t.Path {
				own = append(own, problem)
				break
			}
		}
		if len(pl.Texts) == 0 && problem.File == pl.File {
			own = append(own, problem)
		}
	}
	return own
}

// settings are what is kept of an order so that it can be repeated.
func (l *Launcher) settings(o Order, inputs map[string]any) record.Settings {
	return record.Settings{
		Jobs: o.Jobs, Play: o.Play, Matrix: o.Matrix, Inputs: inputs, Vars: o.Vars, Env: o.Env,
		Secrets: slices.Sorted(maps.Keys(o.Secrets)), Parallel: o.Parallel, Retry: o.Retry,
		InPlace: o.InPlace, NoReuse: o.NoReuse, Verify: o.Verify, Actions: l.Actions,
	}
}

// LogPath is where the log of a job lies.
func (l *Launcher) LogPath(run, job string) string { return LogPath(l.Data, run, job) }

// LogPath is where, below the data directory, the log of a job lies.
func LogPath(data, run, job string) string {
	return filepath.Join(data, "runs", run, "logs", fileName(job)+".log")
}

// keptPath is where the commands of a kept job lie.
func keptPath(data, run, job string) string {
	return filepath.Join(data, "runs", run, "kept", fileName(job)+".json")
}

// fileName makes one path element of a job's ID: "test/20" is "test+20".
func fileName(job string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '+'
		case r < ' ' || r == os.PathSeparator || r == 0x7f:
			return '_'
		}
		return r
	}, job)
}

// Kept is a job whose workspace was kept: what its steps ran, and where.
type Kept struct {
	Dirs     plan.Dirs
	Commands map[string]*plan.Command // by step key; secrets' values are masked
}

// Entered is a kept workspace, back where its job ran, for a person to be in.
type Entered struct {
	Kept
	slot *workspace.Slot
}

// Leave keeps what is there now: a rerun goes on from it.
func (e *Entered) Leave() error { return e.slot.Keep() }

// Enter puts the kept workspace of a job back where the job ran.
func (l *Launcher) Enter(ctx context.Context, r *record.Run, job string) (*Entered, error) {
	gone := &plan.UsageError{Message: fmt.Sprintf("run %s keeps no workspace of job %s", r.ID, job), Hint: "workspaces are kept of jobs that did not succeed, the last few of them"}
	data, err := os.ReadFile(keptPath(l.Data, r.ID, job))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	e := new(Entered)
	if err := json.Unmarshal(data, &e.Kept); err != nil {
		return nil, fmt.Errorf("read kept job %s of run %s: %w", job, r.ID, err)
	}
	tree, err := workspace.Open(ctx, r.Planned.Root)
	if err != nil {
		return nil, fmt.Errorf("the tree of run %s: %w", r.ID, err)
	}
	defer tree.Close()
	e.slot, err = l.Slots.Reclaim(ctx, tree, r.ID, job, r.ID)
	switch {
	case errors.Is(err, workspace.ErrNotKept):
		return nil, gone
	case errors.Is(err, workspace.ErrInUse):
		return nil, &plan.UsageError{Message: fmt.Sprintf("another run is working where job %s ran", job), Hint: "wait for it, or cancel it: fairlead runs shows it"}
	case err != nil:
		return nil, err
	}
	e.Dirs = e.slot.Dirs
	return e, nil
}
