// Package github is the dialect of GitHub Actions: it compiles the files of
// .github/workflows into plans and answers, while a run goes on, what only
// the language can say.
//
// What can be known when a file is read becomes a concrete plan.Job. What
// hangs on the outcome of other jobs stays a plan.Deferred, of one of three
// kinds, and is expanded when its turn has come:
//
//	matrix   a job with a strategy       ─► a job for each cell
//	call     a job that uses a workflow  ─► the jobs of that workflow
//	fields   a job whose runs-on, name … ─► that one job, made concrete
//	         hold expressions
//
// An expansion may give deferred jobs again: the cells of a matrix of calls.
// Everything a plan needs later is in it: Pipeline.Texts holds the files, and
// a job's Values what its expressions may ask for (matrix, inputs, the way to
// its secrets). So a stored plan expands to the same jobs at any time.
//
// Nothing of GitHub's language is known outside this package and its
// children, each of which knows one part of it: expression the ${{ }}
// language, workflow the files, protocol what a step may say back, builtin
// the actions that are done here without their code, opinion what a second
// reader thinks of a workflow.
//
// The way of a step, in session.go and step.go:
//
//	run:  ─► script file + shell ─► plan.Command
//	uses: ─► built-in            ─► plan.Builtin
//	      ─► composite action    ─► plan.Group
//	      ─► JavaScript action   ─► plan.Command, and a post step
//	      ─► Docker action       ─► plan.Problem
package github

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Name of the dialect.
const Name = "github"

// workflowDir holds a repository's workflows.
const workflowDir = ".github/workflows"

// Files is the pattern of the files that a repository's workflows are read from.
const Files = workflowDir + "/*.y*ml"

// Limits of our own; those of the language are where it is read.
const (
	maxWorkflows = 2000    // files of workflowDir that are read
	maxText      = 1 << 20 // bytes of a workflow or an action.yml
	maxParsed    = 1024    // files kept read, and
	maxKept      = 8 << 20 // bytes of their texts
)

// Config is what a Dialect works with. The zero Config reads workflows of the
// tree and runs their scripts.
type Config struct {
	// Fetch brings other repositories; nil: none can be had.
	Fetch Fetcher
	// Actions are local directories that stand for an action or a repository
	// of actions and workflows: owner/name -> directory.
	Actions map[string]string
	// Builtins are the actions done without their code; nil: none.
	Builtins Builtins
	// Service gives JavaScript actions the variables of a results service
	// for one job, and ends it; nil: there is none.
	Service func(ctx context.Context, s *plan.Scope) (env map[string]string, stop func(), err error)
	// Node is the program that runs JavaScript actions; "" finds node on PATH.
	Node string
	// Opinion is a second reader of workflows, for Lint; nil: none.
	Opinion func(file string, body []byte) []plan.Problem
	// LookPath finds a program in the given directories or on PATH; nil looks
	// on this machine.
	LookPath func(program string, dirs []string) (string, error)
}

// Fetcher brings another repository at a ref, which may be a branch, a tag or
// a commit. The directory holds a checked-out tree and stays as it is.
type Fetcher interface {
	Fetch(ctx context.Context, repository, ref string) (dir, commit string, err error)
}

// Builtins are actions that are done without their code.
type Builtins interface {
	// Aloof reports whether a call can be run before there is a workspace.
	Aloof(builtin.Call) bool
	Lookup(ref string) (*builtin.Action, bool)
	Run(ctx context.Context, c builtin.Call, log io.Writer) (plan.Effects, error)
	// Uploaded are the artifacts that JavaScript actions of the job have
	// uploaded through the service since it was last asked.
	Uploaded(s *plan.Scope) []plan.Artifact
}

// Dialect implements [dialect.Dialect]. It is safe for concurrent use.
type Dialect struct {
	cfg Config

	mu     sync.Mutex
	parsed map[textKey]*workflow.Workflow
	oldest []textKey // of parsed, in order of arrival
	kept   int       // bytes of the texts of parsed

	event    eventText       // of the run that was last asked for
	programs map[string]bool // that were found on PATH
}

// New makes the dialect.
func New(cfg Config) *Dialect {
	if cfg.LookPath == nil {
		cfg.LookPath = lookPath
	}
	return &Dialect{cfg: cfg, parsed: map[textKey]*workflow.Workflow{}, programs: map[string]bool{}}
}

// Name implements [dialect.Dialect].
func (d *Dialect) Name() string { return Name }

// textKey tells texts apart by what they say, not only by where they are.
type textKey struct {
	path   string
	size   int
	digest [sha256.Size]byte
}

func keyOf(t plan.Text) textKey {
	return textKey{t.Path, len(t.Body), sha256.Sum256([]byte(t.Body))}
}

// keep remembers a workflow that was read.
func (d *Dialect) keep(t plan.Text, w *workflow.Workflow) {
	key := keyOf(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, have := d.parsed[key]; have {
		return
	}
	for len(d.oldest) > 0 && (len(d.oldest) >= maxParsed || d.kept+key.size > maxKept) {
		d.kept -= d.oldest[0].size
		delete(d.parsed, d.oldest[0])
		d.oldest = d.oldest[1:]
	}
	d.parsed[key] = w
	d.oldest = append(d.oldest, key)
	d.kept += key.size
}

// read is the workflow of a text, which is read at most once.
func (d *Dialect) read(t plan.Text) (*workflow.Workflow, []plan.Problem) {
	key := keyOf(t)
	d.mu.Lock()
	w := d.parsed[key]
	d.mu.Unlock()
	if w != nil {
		return w, nil
	}
	w, problems := workflow.Read(t.Path, []byte(t.Body))
	if w != nil && !plan.Errors(problems) {
		d.keep(t, w)
	}
	return w, problems
}

// Compile implements [dialect.Dialect]. Called workflows of other repositories
// are brought only for pipelines that the change starts.
func (d *Dialect) Compile(ctx context.Context, tree fs.FS, change *plan.Change) ([]plan.Pipeline, []plan.Problem, error) {
	files, problems, err := workflowFiles(tree)
	if err != nil {
		return nil, nil, err
	}
	pipelines := make([]plan.Pipeline, 0, len(files))
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		body, err := dialect.ReadFile(tree, file, maxText)
		if err != nil {
			return nil, nil, fmt.Errorf("read workflow %s: %w", file, err)
		}
		c := compiler{d: d, ctx: ctx, tree: tree, change: change}
		pipelines = append(pipelines, c.pipeline(file, body))
		problems = append(problems, c.problems...)
	}
	sortProblems(problems)
	return pipelines, slices.CompactFunc(problems, func(a, b plan.Problem) bool { return a == b }), nil
}

// workflowFiles lists the files of workflowDir in order.
func workflowFiles(tree fs.FS) ([]string, []plan.Problem, error) {
	entries, err := fs.ReadDir(tree, workflowDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list workflows: %w", err)
	}
	var files []string
	for _, e := range entries {
		if ext := path.Ext(e.Name()); e.IsDir() || ext != ".yml" && ext != ".yaml" {
			continue
		}
		if len(files) == maxWorkflows {
			return files, []plan.Problem{*problemAt(plan.Source{File: workflowDir}, "limit",
				fmt.Sprintf("the directory holds more than %d workflows; the rest is not read", maxWorkflows), "")}, nil
		}
		files = append(files, path.Join(workflowDir, e.Name()))
	}
	return files, nil, nil
}

// compiler makes one pipeline.
type compiler struct {
	d      *Dialect
	ctx    context.Context
	tree   fs.FS
	change *plan.Change

	texts    []plan.Text
	starts   bool
	problems []plan.Problem
}

func (c *compiler) pipeline(file string, body []byte) plan.Pipeline {
	p := plan.Pipeline{Dialect: Name, Name: file, File: file, Source: plan.Source{File: file, Line: 1, Col: 1}}
	w, problems := workflow.Read(file, body)
	c.problems = append(c.problems, problems...)
	if w == nil {
		p.Start = plan.Start{Why: "the file cannot be read", At: p.Source}
		return p
	}
	broken := plan.Errors(problems)
	if w.Name.Text != "" {
		p.Name = w.Name.Text
	}
	p.RunName = expr(w.RunName)
	p.Source = w.Source
	for _, t := range w.On.Events {
		p.Events = append(p.Events, t.Event)
	}
	p.Inputs = declared(w)
	p.Concurrency = concurrency(w.Concurrency)
	start, problems := start(w, c.change)
	p.Start, c.starts = start, start.Yes
	c.problems = append(c.problems, problems...)

	c.texts = []plan.Text{{Path: file, Body: string(body)}}
	if !broken {
		c.problems = append(c.problems, workflow.Linker{Load: c.load}.Link(w)...)
	}
	c.problems = append(c.problems, undone(w)...)
	if !broken {
		c.problems = append(c.problems, literalMatrices(w)...)
	}
	p.Texts = c.texts
	b := builder{w: w, values: map[string]any{}}
	if c.change != nil {
		context := &plan.Context{Pipeline: &p, Change: c.change}
		if c.change.Event == "workflow_dispatch" {
			// What is wrong with them is told to whoever starts this pipeline.
			context.Inputs, _ = inputs(&p, c.change.Inputs)
		}
		b.scope = &plan.Scope{Context: context}
		b.known = knownEarly
	}
	p.Jobs = b.jobs()
	if !broken {
		c.d.keep(c.texts[0], w)
	}
	return p
}

// undone are the parts of a workflow that are understood and make no difference
// here. What keeps a job from running is told by the executor, or by the step.
func undone(w *workflow.Workflow) []plan.Problem {
	var problems []plan.Problem
	warn := func(at plan.Source, message, hint string) {
		problems = append(problems, plan.Problem{Source: at, Severity: plan.Warning, Rule: "unsupported", Message: message, Hint: hint})
	}
	for _, j := range w.Jobs {
		if j.Snapshot != nil {
			warn(j.Snapshot.Source, fmt.Sprintf("no image is made of the machine after job %s; its steps run as they are", j.ID.Text), "run it on GitHub to make the image")
		}
		if j.CancelTimeout.Given() {
			warn(j.CancelTimeout.Source, "cancel-timeout-minutes is not looked at: all jobs have the same time to end when they are cancelled", "")
		}
	}
	return problems
}

// load brings a called workflow for the linker, and keeps its text.
func (c *compiler) load(from *workflow.Workflow, uses workflow.Str) (string, []byte, error) {
	ref, err := callRef(uses.Text, home(from.Source.File))
	if err != nil {
		return "", nil, err
	}
	key := ref.key()
	for _, t := range c.texts {
		if t.Path == key {
			return key, []byte(t.Body), nil
		}
	}
	t := plan.Text{Path: key}
	var body []byte
	if ref.repository == "" {
		if body, err = dialect.ReadFile(c.tree, ref.path, maxText); errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such file")
		}
	} else {
		if !c.starts || !c.d.canFetch(ref) {
			return "", nil, workflow.ErrNotLoaded
		}
		body, t.Commit, err = c.d.fetchText(c.ctx, ref)
		if err != nil && c.ctx.Err() == nil {
			// Perhaps it is there when its turn has come; if not, the job says so.
			return "", nil, workflow.ErrNotLoaded
		}
	}
	if err != nil {
		return "", nil, err
	}
	t.Body = string(body)
	c.texts = append(c.texts, t)
	return key, body, nil
}

// reference is a uses: value that names something outside of the file.
type reference struct {
	repository string // owner/name; "" for the tree that is being run
	path       string // inside the repository; "" or . for its root
	ref        string // branch, tag or commit; "" in the tree that is being run
}

// home names the repository that a text of Pipeline.Texts comes from: the key's
// owner/name@ref, or "" for the tree that is being run.
func home(key string) string {
	i := strings.Index(key, "/.github/")
	at := strings.LastIndexByte(key, '@')
	if i <= 0 || at < i {
		return ""
	}
	return key[:i] + key[at:]
}

// callRef reads the uses: of a job. Paths in it are those of the repository
// that the calling file comes from.
func callRef(uses, home string) (reference, error) {
	rest, local := strings.CutPrefix(uses, "./")
	if !local {
		rest, local = strings.CutPrefix(uses, "$/")
	}
	if !local {
		return remoteRef(uses)
	}
	return homeRef(rest, home)
}

// actionRef reads the uses: of a step: ./path is the workspace's, $/path that of
// the repository that the file comes from.
func actionRef(uses, home string) (reference, error) {
	if rest, ok := strings.CutPrefix(uses, "./"); ok || uses == "." {
		return reference{path: path.Clean(rest)}, inside(rest)
	}
	if rest, ok := strings.CutPrefix(uses, "$/"); ok {
		return homeRef(rest, home)
	}
	return remoteRef(uses)
}

func homeRef(rest, home string) (reference, error) {
	r := reference{path: path.Clean(rest)}
	r.repository, r.ref, _ = strings.Cut(home, "@")
	return r, inside(rest)
}

func remoteRef(uses string) (reference, error) {
	name, ref, ok := strings.Cut(uses, "@")
	parts := strings.SplitN(name, "/", 3)
	if !ok || ref == "" || len(parts) < 2 || !repositoryPart(parts[0]) || !repositoryPart(parts[1]) {
		return reference{}, fmt.Errorf("%q is neither owner/name@ref nor owner/name/path@ref nor ./path", uses)
	}
	if strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, "\x00 \n\\~^:?*[") || strings.Contains(ref, "..") {
		return reference{}, fmt.Errorf("%q is no ref that git could have", ref)
	}
	r := reference{repository: parts[0] + "/" + parts[1], ref: ref}
	if len(parts) == 3 {
		r.path = path.Clean(parts[2])
		return r, inside(parts[2])
	}
	return r, nil
}

// repositoryPart reports whether s can be the owner or the name of a repository.
func repositoryPart(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != "" && s != "." && s != ".." && s[0] != '-'
}

// inside reports a path that leads out of where it starts.
func inside(p string) error {
	clean := path.Clean(p)
	if p == "" {
		clean = "."
	}
	if !fs.ValidPath(clean) || strings.ContainsRune(p, '\\') || strings.ContainsRune(p, 0) {
		return fmt.Errorf("the path %q leads out of the repository", p)
	}
	return nil
}

// key names the text of a called workflow in Pipeline.Texts.
func (r reference) key() string {
	if r.repository == "" {
		return r.path
	}
	key := r.repository
	if r.path != "" && r.path != "." {
		key += "/" + r.path
	}
	return key + "@" + r.ref
}

// override is the local directory that stands for the repository or for the
// path in it, and what is left of the path.
func (d *Dialect) override(r reference) (dir, rest string, ok bool) {
	for name, dir := range d.cfg.Actions {
		switch {
		case r.repository == "":
		case strings.EqualFold(name, r.repository+"/"+r.path), strings.EqualFold(name, r.repository+"/"+r.path+"@"+r.ref),
			r.path == "" && strings.EqualFold(name, r.key()):
			return dir, "", true
		}
	}
	for name, dir := range d.cfg.Actions {
		if strings.EqualFold(name, r.repository) || strings.EqualFold(name, r.repository+"@"+r.ref) {
			return dir, r.path, true
		}
	}
	return "", "", false
}

func (d *Dialect) canFetch(r reference) bool {
	_, _, ok := d.override(r)
	return ok || d.cfg.Fetch != nil
}

// fetch brings another repository. commit is "" for a local override, whose
// directory may already be that of the path: rest is what is left of it.
func (d *Dialect) fetch(ctx context.Context, r reference) (dir, rest, commit string, err error) {
	if dir, rest, ok := d.override(r); ok {
		return dir, rest, "", nil
	}
	if d.cfg.Fetch == nil {
		return "", "", "", errors.New("other repositories cannot be had here")
	}
	dir, commit, err = d.cfg.Fetch.Fetch(ctx, r.repository, r.ref)
	return dir, r.path, commit, err
}

// fetchText reads one file of another repository.
func (d *Dialect) fetchText(ctx context.Context, r reference) (body []byte, commit string, err error) {
	dir, rest, commit, err := d.fetch(ctx, r)
	if err != nil {
		return nil, "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	body, err = dialect.ReadFile(root.FS(), rest, maxText)
	return body, commit, err
}
