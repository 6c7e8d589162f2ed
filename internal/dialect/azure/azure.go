// Package azure is the dialect of Azure Pipelines: it compiles
// azure-pipelines.yml and its templates into plans, and answers, while a run
// goes on, what only the language can say.
//
// The language has expressions of three times, and so has this package:
//
//	${{ }}   when the file is compiled. Package template expands the tree, and
//	         nothing of them is left in a plan.
//	$[ ]     when a job begins, and in conditions: [Dialect.Eval] and
//	         [Dialect.Expand] ask them against how other jobs ended.
//	$( )     just before a step: the session's Resolve replaces them.
//
// What can be known when the file is read becomes a concrete plan.Job; what
// cannot stays a plan.Deferred, of one of four kinds:
//
//	stage       ─► its jobs, once its condition holds
//	matrix      a job with a strategy      ─► a job for each cell
//	deployment  a job with lifecycle hooks ─► a job for each hook
//	fields      a job whose pool, container … hang on variables ─► that job
//
// A deferred job carries what it becomes ([sketch]), so that a stored plan
// expands to the same jobs at any time, without its files.
//
// Outputs go from job to job as one text: the JSON of all output variables
// of a job, and of all jobs of a stage ([outputsOf]).
//
// Package task is the tasks that are done here, protocol what a running step
// may say back, expression and template the language itself.
package azure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/task"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// Name of the dialect.
const Name = "azure"

// Files are the patterns of the files that pipelines are read from; the first
// that there is counts first.
var Files = [...]string{"azure-pipelines.yml", "azure-pipelines.yaml", ".azure-pipelines.yml", ".azure-pipelines.yaml",
	"azure-pipelines-*.yml", "azure-pipelines.*.yml", ".azure-pipelines/*.y*ml", ".azuredevops/*.y*ml", ".azuredevops/pipelines/*.y*ml", ".vsts-ci.yml"}

// Limits of our own; those of the language are where it is read.
const (
	maxPipelines = 500     // files that are read
	maxText      = 1 << 20 // bytes of a file
)

// Config is what a Dialect works with. The zero Config reads pipelines of the
// tree and runs their scripts.
type Config struct {
	// Fetch brings repositories of resources:; nil: none can be had.
	Fetch Fetcher
	// Depot keeps artifacts and caches; nil: there are none.
	Depot *depot.Depot
	// Trees makes working trees for checkout; nil: there is only the one that
	// the job begins with.
	Trees task.Trees
	// LookPath finds a program in the given directories or on PATH; nil looks
	// on this machine.
	LookPath func(program string, dirs []string) (string, error)
}

// Fetcher brings another repository at a ref. The directory holds a
// checked-out tree and stays as it is.
type Fetcher interface {
	Fetch(ctx context.Context, repository, ref string) (dir, commit string, err error)
}

// Dialect implements dialect.Dialect. It is safe for concurrent use.
type Dialect struct {
	cfg   Config
	tasks *task.Set
}

// New makes the dialect.
func New(cfg Config) *Dialect {
	if cfg.LookPath == nil {
		cfg.LookPath = lookPath
	}
	cfg.LookPath = remembering(cfg.LookPath)
	return &Dialect{cfg: cfg, tasks: task.New(task.Config{Depot: cfg.Depot, Trees: cfg.Trees, LookPath: cfg.LookPath})}
}

// Name implements dialect.Dialect.
func (d *Dialect) Name() string { return Name }

// Compile implements dialect.Dialect. Templates of other repositories are
// brought where they can be had; where not, a warning names them, and the
// pipeline is what is known of it.
func (d *Dialect) Compile(ctx context.Context, tree fs.FS, change *plan.Change) ([]plan.Pipeline, []plan.Problem, error) {
	files, err := pipelineFiles(tree)
	if err != nil || len(files) == 0 {
		return nil, nil, err
	}
	settings, _, err := project.Read(tree) // its problems are told by whoever owns the file
	if err != nil {
		return nil, nil, err
	}
	var pipelines []plan.Pipeline
	var problems []plan.Problem
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		body, err := dialect.ReadFile(tree, file, maxText)
		if err != nil {
			return nil, nil, fmt.Errorf("read pipeline %s: %w", file, err)
		}
		c := compiler{d: d, ctx: ctx, tree: tree, change: change, settings: &settings.Azure}
		if p, ok := c.pipeline(file, body); ok {
			pipelines = append(pipelines, p)
			problems = append(problems, c.problems...)
		}
	}
	sortProblems(problems)
	return pipelines, slices.Compact(problems), nil
}

// CompileFile is [Dialect.Compile] for one file of the tree, wherever it lies
// and whatever it looks like.
func (d *Dialect) CompileFile(ctx context.Context, tree fs.FS, file string, change *plan.Change) (*plan.Pipeline, []plan.Problem, error) {
	settings, _, err := project.Read(tree)
	if err != nil {
		return nil, nil, err
	}
	body, err := dialect.ReadFile(tree, file, maxText)
	if err != nil {
		return nil, nil, fmt.Errorf("read pipeline %s: %w", file, err)
	}
	c := compiler{d: d, ctx: ctx, tree: tree, change: change, settings: &settings.Azure, named: true}
	p, _ := c.pipeline(file, body)
	sortProblems(c.problems)
	return &p, slices.Compact(c.problems), nil
}

// pipelineFiles lists the files that may be pipelines, in order.
func pipelineFiles(tree fs.FS) ([]string, error) {
	var files []string
	for _, pattern := range Files {
		found, err := fs.Glob(tree, pattern)
		if err != nil {
			return nil, fmt.Errorf("list pipelines: %w", err)
		}
		for _, name := range found {
			if info, err := fs.Stat(tree, name); err == nil && info.Mode().IsRegular() && !slices.Contains(files, name) && len(files) < maxPipelines {
				files = append(files, name)
			}
		}
	}
	return files, nil
}

// compiler makes one pipeline.
type compiler struct {
	d        *Dialect
	ctx      context.Context
	tree     fs.FS
	change   *plan.Change
	settings *project.Azure

	texts    []plan.Text
	problems []plan.Problem
	missing  bool // a template is out of reach
	named    bool // somebody asked for this very file: it is a pipeline
}

// pipeline makes the pipeline of a file; ok is false when the file is a
// template that lies where pipelines may.
func (c *compiler) pipeline(file string, body []byte) (p plan.Pipeline, ok bool) {
	p = plan.Pipeline{Dialect: Name, Name: file, File: file, Source: plan.Source{File: file, Line: 1, Col: 1}}
	p.Texts = []plan.Text{{Path: file, Body: string(body)}}
	root, problems := template.Parse(file, body)
	c.problems = append(c.problems, problems...)
	if root == nil {
		p.Start = plan.Start{Why: "the file cannot be read", At: p.Source}
		return p, true
	}
	if !c.named && isTemplate(file, root) {
		return p, false
	}
	p.Source = root.Source
	x := template.Expander{Load: c.load, Variables: early(c.change, file)}
	p.Inputs = inputsOf(root)
	if c.change != nil {
		given, _ := inputs(&p, c.change.Inputs) // what is wrong with them is told to whoever starts it
		x.Given = make(map[string]any, len(given))
		for name, v := range given {
			x.Given[strings.ToLower(name)] = expression.FromJSON(v)
		}
	}
	c.texts = p.Texts
	expanded := x.Expand(file, root)
	p.Texts = c.texts
	c.problems = append(c.problems, expanded.Problems...)
	if expanded.Root == nil {
		p.Start = plan.Start{Why: "the file cannot be read", At: p.Source}
		return p, true
	}
	tree := expanded.Root
	modern(tree)
	k := checker{}
	k.check(tree, grammar(), "a pipeline")
	c.problems = append(c.problems, k.problems...)
	p.Events, p.Start = start(tree, c.change, file)
	p.RunName = plan.Expr{Text: runNamePrefix + tree.Get("name").String(), Source: p.Source}
	b := newBuilder(c, tree)
	p.Jobs = b.pipeline()
	c.problems = append(c.problems, b.problems...)
	if len(p.Jobs) == 0 {
		p.Start.Yes = false
		p.Start.Why = "there is nothing to run in it"
	}
	return p, true
}

// isTemplate reports whether a file can only be part of another: it says
// nothing that only a pipeline says, and has parameters that only another file
// can give it, or nothing but variables.
func isTemplate(file string, root *node) bool {
	if root.Kind != template.Mapping || slices.Contains(Files[:2], file) {
		return false
	}
	for _, key := range []string{"trigger", "pr", "schedules", "pool", "extends", "name"} {
		if root.Get(key) != nil {
			return false
		}
	}
	switch parameters := root.Get("parameters"); {
	case parameters == nil:
		return root.Get("variables") != nil && len(root.Fields) == 1
	case parameters.Kind == template.Mapping:
		return true
	default:
		return slices.ContainsFunc(parameters.Items, func(n *node) bool { return n.Get("default") == nil })
	}
}

// load brings a template, and keeps its text.
func (c *compiler) load(r template.Reference) ([]byte, *plan.Problem) {
	t := plan.Text{Path: r.Key()}
	var body []byte
	var err error
	if r.Repository == nil {
		if body, err = dialect.ReadFile(c.tree, r.Path, maxText); err != nil {
			p := &plan.Problem{Severity: plan.Error, Rule: ruleMissing, Message: fmt.Sprintf("the template %s is not there", r.Path), Hint: "check the path: it is relative to this file, or to the root of the repository with a / in front"}
			if !errors.Is(err, fs.ErrNotExist) {
				p.Message = fmt.Sprintf("the template %s cannot be read: %v", r.Path, err)
			}
			return nil, p
		}
	} else {
		name, ref := c.repository(r.Repository)
		if body, t.Commit, err = c.d.fetchText(c.ctx, name, ref, r.Path); err != nil {
			c.missing = true
			return nil, &plan.Problem{Severity: plan.Warning, Rule: ruleUnreachable,
				Message: fmt.Sprintf("the template %s of the repository %s cannot be had: %v; what it would add is left out", r.Path, name, err),
				Hint:    fmt.Sprintf("give a local copy with --action %s=DIR, or see that the repository can be reached", name)}
		}
	}
	t.Body = string(body)
	c.texts = append(c.texts, t)
	return body, nil
}

// The rules of problems about templates that are not there.
const (
	ruleMissing     = "template-missing"
	ruleUnreachable = "template-unreachable"
)

// repository is the name and ref of an entry of resources.repositories. A name
// without a project is of the pipeline's own.
func (c *compiler) repository(n *node) (name, ref string) {
	name, ref = n.Get("name").String(), n.Get("ref").String()
	if name == "" {
		name = n.Get("repository").String()
	}
	if owner, _, ok := strings.Cut(repositoryOf(c.change), "/"); ok && !strings.Contains(name, "/") {
		name = owner + "/" + name
	}
	return name, strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
}

func repositoryOf(c *plan.Change) string {
	if c == nil {
		return ""
	}
	return c.Repository
}

// fetchText reads one file of another repository.
func (d *Dialect) fetchText(ctx context.Context, name, ref, file string) (body []byte, commit string, err error) {
	if d.cfg.Fetch == nil {
		return nil, "", errors.New("other repositories cannot be had here")
	}
	dir, commit, err := d.cfg.Fetch.Fetch(ctx, name, ref)
	if err != nil {
		return nil, "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	body, err = dialect.ReadFile(root.FS(), file, maxText)
	return body, commit, err
}

// sortProblems puts problems in the order in which a reader meets them.
func sortProblems(list []plan.Problem) {
	slices.SortStableFunc(list, func(a, b plan.Problem) int {
		switch {
		case a.File != b.File:
			return strings.Compare(a.File, b.File)
		case a.Line != b.Line:
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// minutes bounds timeouts: what is longer is a mistake, and would overflow.
const maxMinutes = 60 * 24 * 365

func minutes(n float64) time.Duration {
	return time.Duration(min(max(n, 0), maxMinutes) * float64(time.Minute))
}
