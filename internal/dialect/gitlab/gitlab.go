// Package gitlab is the dialect of GitLab CI/CD: it compiles .gitlab-ci.yml and
// what it includes into a plan, and runs the jobs of such plans.
//
// What GitLab decides when it makes a pipeline is decided when the plan is made:
// which files are part of it, which jobs their rules let in, the cells of
// parallel jobs, the needs and the stages. What hangs on how jobs end is a
// condition (state.go). What hangs on what jobs make stays a plan.Deferred, of
// one of four kinds (trigger.go):
//
//	place    a job whose image or environment holds variables of a dotenv report or a secret
//	child    the pipeline that a trigger starts, of files that are there
//	dynamic  the same, of a file that another job makes
//	outside  a pipeline of another project, which cannot be had
//
// The way of a file:
//
//	document.Load ─► tree ─► workflow:rules ─► jobs: rules, only ─► cells ─► needs ─► plan.Jobs
//	 YAML, includes,          conditions.go    pipeline.go, read.go   needs.go
//	 extends, inputs
//
// An include that cannot be had is no end: it is told of, and the jobs that are
// known without it are planned.
//
// Nothing of GitLab's language is known outside of this package and its
// children: document reads the files as far as their own language goes, rule the
// expressions of rules:if.
package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/rule"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// Name of the dialect.
const Name = "gitlab"

// Files is the file that a repository's pipeline is read from, unless
// fairlead.yaml names another.
const Files = ".gitlab-ci.yml"

// Config is what a Dialect works with. The zero Config reads the files of the
// tree and runs their scripts.
type Config struct {
	// Fetch brings other projects, for includes; nil: none can be had.
	Fetch Fetcher
	// Get reads the file at an address, for include:remote; nil: none can be had.
	// The address is the user's, and may be any.
	Get func(ctx context.Context, url string) ([]byte, error)

	Runtime
}

// Fetcher brings another repository at a ref, which may be a branch, a tag, a
// commit or HEAD. The address is what git can clone: that of a project on the
// server of the one that includes it, or what fairlead.yaml gives as its mirror,
// which may be a directory. That file may be anybody's: a Fetcher that works for
// others reads no directories for it. The directory that is returned holds a
// checked-out tree and stays as it is.
type Fetcher interface {
	Fetch(ctx context.Context, address, ref string) (dir, commit string, err error)
}

// Dialect implements [dialect.Dialect]. It is safe for concurrent use.
type Dialect struct {
	cfg     Config
	commits commits
}

// New makes the dialect.
func New(cfg Config) *Dialect {
	return &Dialect{cfg: cfg}
}

// Name implements [dialect.Dialect].
func (d *Dialect) Name() string { return Name }

// events are what can start a pipeline; which jobs it has, their rules say.
var events = []string{"push", "pull_request", "merge_request_event", "workflow_dispatch", "web", "schedule", "api", "trigger", "pipeline"}

// Compile implements [dialect.Dialect].
func (d *Dialect) Compile(ctx context.Context, tree fs.FS, change *plan.Change) ([]plan.Pipeline, []plan.Problem, error) {
	settings, _, err := project.Read(tree) // what is wrong with it is told by whoever reads it first
	if err != nil {
		return nil, nil, err
	}
	file := cmp.Or(settings.GitLab.File, Files)
	body, err := dialect.ReadFile(tree, file, maxText)
	if errors.Is(err, fs.ErrNotExist) && settings.GitLab.File == "" {
		return nil, nil, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read the pipeline %s: %w", file, err)
	}
	c := newCompiler(ctx, d, tree, change, file, &settings.GitLab)
	p, problems := c.compile(body)
	return []plan.Pipeline{p}, problems, ctx.Err()
}

// Lint finds what is wrong with the pipeline of a tree, whatever change it is
// for.
func (d *Dialect) Lint(ctx context.Context, tree fs.FS) ([]plan.Problem, error) {
	_, problems, err := d.Compile(ctx, tree, nil)
	return problems, err
}

// maxText is how much of a pipeline file is read before its reader is asked.
const maxText = 4 << 20

// compiler makes the pipeline of a tree, and its child pipelines.
type compiler struct {
	ctx      context.Context
	d        *Dialect
	tree     fs.FS
	change   *plan.Change
	file     string
	settings *project.GitLab
	locked   *Lock

	event      string // "" for that of the change
	generation int    // of child pipelines
	children   *int   // made so far
	base       []variable
	project    []variable // of the project
	given      []variable // for this run
	strong     []variable // what overrides the files
	passed     []variable // by a trigger; part of strong

	hang  bool
	since map[string]bool // refs that changes compares with
	texts []plan.Text
}

func newCompiler(ctx context.Context, d *Dialect, tree fs.FS, change *plan.Change, file string, settings *project.GitLab) *compiler {
	c := &compiler{ctx: ctx, d: d, tree: tree, change: change, file: file, settings: settings, children: new(int), since: map[string]bool{}}
	if change != nil {
		c.base = layers(predefined(change, file), commit(change))
	}
	for _, v := range settings.Variables {
		c.project = append(c.project, variable{Name: v.Name, Value: v.Value})
	}
	c.strong = c.project
	if change != nil {
		c.strong = layers(c.project, texts(change.Vars, false))
	}
	return c
}

// options are how documents are loaded.
func (c *compiler) options() document.Options {
	vars := expandVariables(layers(c.base, c.strong), true)
	tree := document.Origin{FS: c.tree}
	if c.change != nil {
		tree.Project, tree.Commit, tree.Ref = c.change.Repository, c.change.SHA, c.change.SHA
	}
	return document.Options{
		Tree: tree, File: c.file, Loader: &loader{c},
		Expand: func(text string) string { return dollars(vars.expand(text, true)) },
		Admit: func(rules *document.Node) (bool, []plan.Problem) {
			q := c.conditions()
			r := q.rules(rules, "include", includeKeys, &vars)
			c.hang = c.hang || q.hang
			return r.in && r.when != "never", q.problems
		},
		Judge: func(condition string) bool {
			e, err := rule.Parse(condition)
			return err == nil && e.Holds(vars.lookup)
		},
	}
}

func (c *compiler) conditions() *conditions {
	q := &conditions{reporter: &reporter{}, change: c.change, tree: c.tree, since: c.since, open: (&loader{c}).Project, ctx: c.ctx}
	if c.change != nil && c.event != "" {
		change := *c.change
		change.Event = c.event
		q.change = &change
	}
	return q
}

// pipeline reads the jobs of a document.
func (c *compiler) pipeline(doc *document.Document, parent string) (*pipeline, ruling) {
	p := &pipeline{conditions: c.conditions(), doc: doc, root: doc.Root, parent: parent, base: c.base, strong: c.strong, passed: c.passed, given: c.given,
		auto: plan.AutoCancel{OnNewer: plan.Conservative}, project: c.project, onHost: c.settings.Images == project.ImagesIgnore}
	if p.root == nil {
		p.root = &document.Node{Kind: document.Mapping}
	}
	p.child = func(job *plan.Job, t trigger, passed []variable) *plan.Deferred {
		return c.child(job, t, passed, p.reporter)
	}
	r := p.workflow()
	p.read()
	return p, r
}

// compile makes the pipeline of the tree's own file.
func (c *compiler) compile(body []byte) (plan.Pipeline, []plan.Problem) {
	out := plan.Pipeline{Dialect: Name, Name: c.file, File: c.file, Source: plan.Source{File: c.file, Line: 1, Col: 1}, Events: events}
	var lockProblems []plan.Problem
	c.locked, lockProblems = ReadLock(c.tree)
	var inputs *document.Node
	if c.change != nil && len(c.change.Inputs) > 0 {
		inputs = c.take(body)
		c.strong = layers(c.strong, c.given)
	}
	options := c.options()
	options.Inputs = inputs
	doc := document.Load(c.ctx, options)
	out.Texts = doc.Texts
	problems := slices.Concat(lockProblems, doc.Problems)
	if doc.Root == nil {
		out.Start = plan.Start{Why: "the file cannot be read", At: out.Source}
		return out, problems
	}
	p, r := c.pipeline(doc, "")
	if name := p.name(); name != "" {
		out.RunName = plan.Expr{Text: exprLiteral + name, Source: doc.Root.Get("workflow").Get("name").Source}
	}
	out.Inputs, out.AutoCancel = inputsOf(doc, p), p.auto
	out.Jobs = p.jobs()
	out.Texts = append(out.Texts, c.texts...)
	slices.SortStableFunc(out.Texts, func(a, b plan.Text) int { return cmp.Compare(rank(a, c.file), rank(b, c.file)) })
	out.Texts = compact(out.Texts)
	if c.change != nil {
		out.Start = c.start(p, r, out.Jobs)
		out.Start.Files = c.hang || p.hang
		out.Since = slices.Sorted(maps.Keys(c.since))
	}
	problems = slices.Concat(problems, p.problems)
	slices.SortStableFunc(problems, func(a, b plan.Problem) int { return document.Compare(a.Source, b.Source) })
	return out, slices.Compact(problems)
}

// rank puts the pipeline's own file first.
func rank(t plan.Text, file string) int {
	if t.Path == file {
		return 0
	}
	return 1
}

// compact leaves out texts that are there already.
func compact(texts []plan.Text) []plan.Text {
	seen := map[string]bool{}
	return slices.DeleteFunc(texts, func(t plan.Text) bool {
		again := seen[t.Path]
		seen[t.Path] = true
		return again
	})
}

// skipWords in the message of a commit keep its pipeline from starting.
var skipWords = []string{"[ci skip]", "[skip ci]", "[ci-skip]", "[skip-ci]"}

// start says whether the change starts the pipeline.
func (c *compiler) start(p *pipeline, r ruling, jobs []plan.Job) plan.Start {
	at := cmp.Or(r.at, plan.Source{File: c.file, Line: 1, Col: 1})
	if !r.in {
		return plan.Start{Why: r.why, At: at}
	}
	for _, v := range c.base {
		if v.Name != "CI_COMMIT_MESSAGE" || source(c.change.Event) != "push" || c.change.Dirty { // what is not committed has no message
			continue
		}
		for _, word := range skipWords {
			if strings.Contains(strings.ToLower(v.Value), word) {
				return plan.Start{Why: "the message of the commit says " + word, At: at}
			}
		}
	}
	if len(jobs) > 0 && slices.ContainsFunc(jobs, func(j plan.Job) bool { return j.Stage != stagePre && j.Stage != stagePost }) {
		return plan.Start{Yes: true, Why: r.why, At: at}
	}
	why := "the file has no jobs"
	if len(p.entries) > 0 {
		why = "no job is part of this pipeline; " + p.entries[0].name + " is not: " + p.entries[0].why
		if len(jobs) > 0 {
			why = "a pipeline of .pre and .post alone is none"
		}
	}
	return plan.Start{Why: why, At: at}
}

// take tells the inputs of the file from the variables that were given for this
// run.
func (c *compiler) take(body []byte) *document.Node {
	header, _, _ := document.Parse(c.file, body)
	spec, _ := document.ReadSpec(header)
	var fields []document.Field
	for _, name := range slices.Sorted(maps.Keys(c.change.Inputs)) {
		text := c.change.Inputs[name]
		if in := inputNamed(spec, name); in != nil {
			at := plan.Source{File: c.file}
			fields = append(fields, document.Field{Key: name, Source: at, Value: in.Typed(text, at)})
			continue
		}
		c.given = append(c.given, variable{Name: name, Value: text})
	}
	return document.NewMapping(fields, plan.Source{File: c.file, Line: 1})
}

func inputNamed(spec *document.Spec, name string) *document.Input {
	if spec == nil {
		return nil
	}
	for i := range spec.Inputs {
		if spec.Inputs[i].Name == name {
			return &spec.Inputs[i]
		}
	}
	return nil
}

// inputsOf are what a person may give: the inputs of the file, and the variables
// that say what they are for.
func inputsOf(doc *document.Document, p *pipeline) (out []plan.Input) {
	if doc.Spec != nil {
		for i := range doc.Spec.Inputs {
			in := &doc.Spec.Inputs[i]
			x := plan.Input{Name: in.Name, Description: in.Description, Type: in.Type, Required: in.Default == nil, Source: in.Source}
			if in.Default != nil {
				x.Default = in.Default.Value
			}
			for _, o := range in.Options {
				text, _ := o.Text()
				x.Options = append(x.Options, text)
			}
			if len(x.Options) > 0 && in.Type == "string" {
				x.Type = "choice"
			}
			out = append(out, x)
		}
	}
	vars := p.root.Get("variables")
	if vars == nil || vars.Kind != document.Mapping {
		return out
	}
	for _, f := range vars.Fields {
		description := f.Value.Get("description")
		if description == nil {
			continue
		}
		x := plan.Input{Name: f.Key, Type: "string", Source: f.Source}
		x.Description, _ = description.Text()
		if text, ok := f.Value.Get("value").Text(); ok {
			x.Default = text
		}
		if options := f.Value.Get("options"); options != nil && len(options.Items) > 0 {
			x.Type = "choice"
			for _, o := range options.Items {
				text, _ := o.Text()
				x.Options = append(x.Options, text)
			}
		}
		out = append(out, x)
	}
	return out
}

// Inputs implements [dialect.Dialect]. What is no input of the file is a
// variable, and any may be given; the inputs of the file have done their work when the
// plan is made, and only what is wrong with them is told here.
func (d *Dialect) Inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	var spec *document.Spec
	for _, t := range p.Texts {
		if t.Path == p.File {
			header, _, _ := document.Parse(t.Path, []byte(t.Body))
			spec, _ = document.ReadSpec(header)
		}
	}
	values := map[string]any{}
	var fields []document.Field
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if in := inputNamed(spec, name); in != nil {
			fields = append(fields, document.Field{Key: name, Source: p.Source, Value: in.Typed(given[name], p.Source)})
			continue
		}
		values[name] = given[name]
	}
	if spec == nil {
		return values, nil
	}
	_, problems := spec.Take(document.NewMapping(fields, p.Source), p.Source, nil)
	return values, problems
}

// The texts of a plan.Expr, beside those of steps (job.go).
const (
	ifWhen      = "when: "   // and on_success, manual …: the gate of the job
	ifBegun     = "begun"    // the job is what became of one whose gate has opened
	exprDotenv  = "dotenv"   // the variables of the job's dotenv report
	exprLiteral = "text: "   // and the text
	exprText    = "expand: " // and a text with variables
)

// Eval implements [dialect.Dialect].
func (d *Dialect) Eval(e plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	if as == dialect.Condition {
		switch text := e.Text; {
		case strings.HasPrefix(text, ifWhen):
			return d.begins(s)
		case text == ifSuccess:
			return s.Status == plan.Success, nil
		case text == ifFailure:
			return s.Status.Bad(), nil
		case text == ifAlways, text == ifBegun:
			return s.Status != plan.Cancelled, nil
		case text == ifEver:
			return true, nil
		}
		return nil, fmt.Errorf("gitlab: %q is no condition", e.Text)
	}
	if text, ok := strings.CutPrefix(e.Text, exprLiteral); ok {
		return text, nil
	}
	if e.Text == exprDotenv {
		return dotenvOutputs(s)
	}
	text, ok := strings.CutPrefix(e.Text, exprText)
	if !ok {
		return nil, fmt.Errorf("gitlab: %q is no expression", e.Text)
	}
	spec, err := specOf(s.Job)
	if err != nil {
		return nil, err
	}
	env, err := environmentOf(s, spec, commit(s.Change))
	if err != nil {
		return nil, err
	}
	list := env.list
	for _, name := range slices.Sorted(maps.Keys(s.Steps[stepUpload].Outputs)) { // an address that the job found out
		list = layers(list, []variable{{Name: name, Value: s.Steps[stepUpload].Outputs[name], Raw: true}})
	}
	vars := expandVariables(list, false)
	return vars.text(text), nil
}

// late is a compiler for a pipeline that is made while another one runs.
func (d *Dialect) late(ctx context.Context, s *plan.Scope) (*compiler, error) {
	var tree fs.FS = document.Nowhere{}
	if s.Root != "" {
		root, err := os.OpenRoot(s.Root)
		if err != nil {
			return nil, fmt.Errorf("gitlab: open the tree of the run: %w", err)
		}
		context.AfterFunc(ctx, func() { root.Close() })
		tree = root.FS()
	}
	settings, _, err := project.Read(tree)
	if err != nil {
		return nil, err
	}
	file := cmp.Or(settings.GitLab.File, Files)
	c := newCompiler(ctx, d, tree, s.Change, file, &settings.GitLab)
	c.since = nil // the plan has been made
	c.locked, _ = ReadLock(tree)
	for _, name := range slices.Sorted(maps.Keys(s.Vars)) {
		c.strong = layers(c.strong, []variable{{Name: name, Value: s.Vars[name]}})
	}
	return c, nil
}

// Preview is [Dialect.Expand] before a run, for lists and drawings: ok is false
// when what the job becomes hangs on something not known yet.
func (d *Dialect) Preview(job *plan.Job, c *plan.Context) (x *plan.Expansion, ok bool) {
	if job.Deferred == nil || job.Deferred.Kind != deferChild && job.Deferred.Kind != deferPlace {
		return nil, false
	}
	x, err := d.Expand(context.Background(), job, &plan.Scope{Context: c, Job: job})
	return x, err == nil
}
