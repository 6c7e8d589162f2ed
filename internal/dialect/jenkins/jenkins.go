// Package jenkins is the dialect of Jenkins: it compiles Jenkinsfiles into
// plans and runs them.
//
// A Jenkinsfile is a program. What it will do can be known only by running it:
// even a declarative pipeline may be half Groovy. So the plan is one job with
// one step, whose program is the whole file (plan.Program); what the program
// wants done — a stage, a script, a file to be read — it asks the engine for,
// as steps of their own, one after another or side by side:
//
//	1 pipeline ─┬─ 1.build ─┬─ 1.build.sh
//	            │           └─ 1.build.junit
//	            └─ 1.test ──┬─ 1.test.linux ── 1.test.linux.sh
//	                        └─ 1.test.mac ──── …
//
// So each script has its own line in the record, its log, its observation; it
// is reused if nothing that it saw has changed; and a run that was interrupted
// goes through the program once more, its steps answered from the record.
//
// All of a build runs in one place. Nodes are workspaces of it (agent.go), and
// a docker agent is a container that single commands run in.
//
// The parts: groovy is the language, declarative reads pipeline { … } and says
// what is wrong with it, builtin does the steps that need no process. Here are
// the rest: compiling (jenkins.go, trigger.go), the program of a build
// (build.go, frame.go), declarative pipelines (stages.go, when.go, post.go,
// environment.go, agent.go), the steps (steps.go, shell.go, files.go, data.go)
// and the objects that scripts find (globals.go, library.go).
//
// Results are mapped to verdicts so: SUCCESS is success, ABORTED of a
// cancelled run is cancelled, and all others are failures whose reason begins
// with the result's name.
package jenkins

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// Name of the dialect.
const Name = "jenkins"

// Files is the pattern of the files that pipelines are read from.
const Files = "Jenkinsfile*"

// Limits of our own.
const (
	maxText   = 1 << 20 // bytes of a Jenkinsfile
	maxFiles  = 50      // Jenkinsfiles that are read
	maxShared = 2000    // files of vars and src of the tree
	maxBytes  = 8 << 20 // of them all together
	maxParsed = 256     // files kept parsed
)

// mainKey is the key of the step that a pipeline is.
const mainKey = "1"

// Config is what a Dialect works with. The zero Config reads pipelines and
// runs their scripts.
type Config struct {
	// Builtins does the steps that need no process; nil: there are none.
	Builtins Builtins
	// Fetch brings the repositories of shared libraries; nil: none can be had.
	Fetch Fetcher
	// Limits bound the scripts of one run.
	Limits groovy.Limits
	// Getenv reads this machine's environment; nil is os.Getenv.
	Getenv func(string) string
}

// Builtins does steps that need no process.
type Builtins interface {
	Run(ctx context.Context, c builtin.Call, log io.Writer) (plan.Effects, error)
}

// Dialect implements [dialect.Dialect]. It is safe for concurrent use.
type Dialect struct {
	cfg Config

	mu     sync.Mutex
	files  map[[sha256.Size]byte]*groovy.Script
	oldest [][sha256.Size]byte
}

// New makes the dialect.
func New(cfg Config) *Dialect {
	return &Dialect{cfg: cfg, files: map[[sha256.Size]byte]*groovy.Script{}}
}

// Remembers reports that pipelines ask how the build before ended.
func (d *Dialect) Remembers() bool { return true }

// Name implements [dialect.Dialect].
func (d *Dialect) Name() string { return Name }

// parse reads a file of Groovy, at most once.
func (d *Dialect) parse(file, text string) (*groovy.Script, []plan.Problem) {
	key := sha256.Sum256([]byte(file + "\x00" + text))
	d.mu.Lock()
	s := d.files[key]
	d.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, wrong := groovy.Parse(file, text)
	if len(wrong) > 0 {
		problems := make([]plan.Problem, len(wrong))
		for i, p := range wrong {
			problems[i] = plan.Problem{Source: plan.Source{File: p.File, Line: p.Line, Col: p.Column}, Severity: plan.Error, Rule: "syntax", Message: p.Message, Hint: p.Hint}
		}
		return s, problems
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[key] == nil {
		if len(d.oldest) >= maxParsed {
			delete(d.files, d.oldest[0])
			d.oldest = d.oldest[1:]
		}
		d.files[key] = s
		d.oldest = append(d.oldest, key)
	}
	return s, nil
}

// Compile implements [dialect.Dialect].
func (d *Dialect) Compile(ctx context.Context, tree fs.FS, change *plan.Change) ([]plan.Pipeline, []plan.Problem, error) {
	names, problems, err := jenkinsfiles(tree)
	if err != nil || len(names) == 0 {
		return nil, problems, err
	}
	said, _, err := project.Read(tree) // its problems are told by who reads it for all
	if err != nil {
		return nil, nil, err
	}
	shared, err := sharedTexts(tree)
	if err != nil {
		return nil, nil, err
	}
	builds, err := buildable(tree, names, &said.Jenkins)
	if err != nil {
		return nil, nil, err
	}
	var pipelines []plan.Pipeline
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		text, err := readText(tree, name)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
		p, found := d.compile(name, text, shared, &said.Jenkins, change)
		if builds != nil && buildsOthers.MatchString(text) {
			p.Texts = append(p.Texts, slices.DeleteFunc(slices.Clone(builds), func(t plan.Text) bool { return t.Path == name })...)
		}
		if name != "Jenkinsfile" && slices.Contains(names, "Jenkinsfile") && p.Start.Yes {
			// Which job has which file is said in Jenkins and not in the tree.
			p.Start = plan.Start{Why: "of several files the one named Jenkinsfile is started; ask for this one by its name", At: p.Start.At}
		}
		pipelines = append(pipelines, p)
		problems = append(problems, found...)
	}
	sortProblems(problems)
	return pipelines, problems, nil
}

// buildsOthers finds who may build other jobs.
var buildsOthers = regexp.MustCompile(`\bbuild\b\s*[( ]\s*(job\b|['"(])`)

// buildable are the texts of the Jenkinsfiles that a job may be of; nil when there is but
// one.
func buildable(tree fs.FS, names []string, said *project.Jenkins) ([]plan.Text, error) {
	files := slices.Clone(names)
	for _, j := range said.Jobs {
		if file := path.Clean(j.File); fs.ValidPath(file) && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	if len(files) < 2 {
		return nil, nil
	}
	var texts []plan.Text
	for _, name := range files {
		text, err := readText(tree, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // who builds it is told
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if len(text) <= maxText {
			texts = append(texts, plan.Text{Path: name, Body: text})
		}
	}
	return texts, nil
}

// Lint finds what is wrong with the pipelines of a tree, and with the scripts
// of its own shared library.
func (d *Dialect) Lint(ctx context.Context, tree fs.FS) ([]plan.Problem, error) {
	_, problems, err := d.Compile(ctx, tree, nil)
	if err != nil {
		return nil, err
	}
	shared, err := sharedTexts(tree)
	if err != nil {
		return nil, err
	}
	for _, t := range shared {
		if strings.HasSuffix(t.Path, ".groovy") {
			_, wrong := d.parse(t.Path, t.Body)
			problems = append(problems, wrong...)
		}
	}
	sortProblems(problems)
	return problems, nil
}

// jenkinsfiles lists the pipeline files: Jenkinsfile, Jenkinsfile.name at the
// root and in the directories where they are usually kept.
func jenkinsfiles(tree fs.FS) ([]string, []plan.Problem, error) {
	var names []string
	for _, dir := range []string{".", ".jenkins", "jenkins", "ci", ".ci"} {
		entries, err := fs.ReadDir(tree, dir)
		if errors.Is(err, fs.ErrNotExist) || err != nil && dir != "." {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look for Jenkinsfiles: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() || !isJenkinsfile(e.Name()) {
				continue
			}
			if len(names) == maxFiles {
				return names, []plan.Problem{{Source: plan.Source{File: dir}, Severity: plan.Error, Rule: "limit",
					Message: fmt.Sprintf("there are more than %d Jenkinsfiles; the rest is not read", maxFiles)}}, nil
			}
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names, nil, nil
}

func isJenkinsfile(name string) bool {
	if strings.HasSuffix(name, ".jenkinsfile") || strings.HasSuffix(name, ".Jenkinsfile") {
		return true
	}
	rest, ok := strings.CutPrefix(name, "Jenkinsfile")
	return ok && (rest == "" || strings.ContainsRune(".-_", rune(rest[0]))) && !strings.HasSuffix(rest, ".gdsl") && !strings.HasSuffix(rest, ".md") && !strings.HasSuffix(rest, "~")
}

// readText reads a file, and no more of it than could be right.
func readText(tree fs.FS, name string) (string, error) {
	f, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	return string(text), err
}

// sharedTexts are the files of the tree if it is itself a shared library.
func sharedTexts(tree fs.FS) ([]plan.Text, error) {
	var texts []plan.Text
	size := 0
	for _, dir := range []string{"vars", "src", "resources"} {
		err := fs.WalkDir(tree, dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return fs.SkipAll // it is not there, or not for us
			}
			if e.IsDir() || dir != "resources" && path.Ext(name) != ".groovy" {
				return nil
			}
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || info.Size() > maxText {
				return nil
			}
			if size += int(info.Size()); len(texts) >= maxShared || size > maxBytes {
				return fs.SkipAll
			}
			text, err := readText(tree, name)
			if err != nil {
				return err
			}
			texts = append(texts, plan.Text{Path: name, Body: text})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the shared library: %w", err)
		}
		if dir != "resources" && dir == "vars" && len(texts) == 0 {
			// Without global functions, src is the source of something else.
			break
		}
	}
	return texts, nil
}

// compile makes the plan of one Jenkinsfile.
func (d *Dialect) compile(file, text string, shared []plan.Text, said *project.Jenkins, change *plan.Change) (plan.Pipeline, []plan.Problem) {
	at := plan.Source{File: file, Line: 1, Col: 1}
	p := plan.Pipeline{Dialect: Name, Name: file, File: file, Source: at}
	if len(text) > maxText {
		p.Start = plan.Start{Why: "the file cannot be read", At: at}
		return p, []plan.Problem{{Source: at, Severity: plan.Error, Rule: "limit", Message: fmt.Sprintf("the file has more than %d bytes", maxText)}}
	}
	p.Texts = append([]plan.Text{{Path: file, Body: text}}, shared...)
	values := settingsOf(said)
	known := (&settings{Agents: values.Agents, Tools: values.Tools}).known()
	s, problems := d.parse(file, text)
	var m *declarative.Pipeline
	if len(problems) == 0 {
		m, problems = read(s, known)
		problems = append(problems, values.missing(s)...)
		problems = append(problems, unknownSteps(m, values, shared)...)
	}
	p.Start = start(m, s, change, plan.Errors(problems))
	p.Events = []string{"push", "pull_request", "workflow_dispatch"}
	name := "pipeline"
	job := plan.Job{
		ID: "build", Name: name, Source: at, If: plan.Expr{Text: always, Source: at},
		Place:   plan.Place{Source: at},
		Steps:   []plan.Step{{Key: mainKey, Name: name, Source: at}},
		Outputs: []plan.Binding{{Name: "result", Value: plan.Expr{Text: "result", Source: at}}},
		Values:  values.encode(),
	}
	job.Steps[0].ID = "pipeline"
	if m != nil {
		p.Source = m.Source
		p.Inputs = inputsOf(m)
		if m.Agent != nil && m.Agent.Source.Line > 0 {
			job.Place.Source = m.Agent.Source
		}
		if cron := triggersOf(m); len(cron) > 0 {
			p.Events = append(p.Events, "schedule")
		}
		if o := m.Option("disableConcurrentBuilds"); o != nil {
			p.Concurrency = &plan.Concurrency{Group: plan.Expr{Text: "concurrency", Source: o.Source}, Queue: true, Source: o.Source}
			if abortsPrevious(o.Expr) {
				p.Concurrency.CancelInProgress = plan.Expr{Text: always, Source: o.Source}
				p.Concurrency.Queue = false
			}
		}
	} else if s != nil && len(problems) == 0 {
		p.Inputs = scriptedInputs(s)
	}
	p.Jobs = []plan.Job{job}
	return p, problems
}

// read is the model of a parsed Jenkinsfile; nil when it is scripted.
func read(s *groovy.Script, known declarative.Known) (*declarative.Pipeline, []plan.Problem) {
	call, problem := declarative.Find(s)
	if problem != nil {
		return nil, []plan.Problem{*problem}
	}
	if call == nil {
		return nil, nil
	}
	return declarative.Read(s, call, known)
}

// check is what is wrong with a Jenkinsfile.
func (d *Dialect) check(file, text string, known declarative.Known) []plan.Problem {
	s, problems := d.parse(file, text)
	if len(problems) > 0 {
		return problems
	}
	_, problems = read(s, known)
	return problems
}

// The texts of expressions.
const always = "always"

// Eval implements [dialect.Dialect].
func (d *Dialect) Eval(e plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	if as == dialect.Condition {
		return e.IsZero() || e.Text == always, nil
	}
	switch e.Text {
	case "result":
		return s.Steps["pipeline"].Outputs["result"], nil
	case "concurrency":
		return jobName(s.Pipeline, s.Change), nil
	}
	// The user and the password of a registry.
	for name, v := range s.Secrets {
		if strings.EqualFold(name, e.Text) {
			return v, nil
		}
	}
	return "", &dialect.ProblemError{Lacking: true, Problem: plan.Problem{Source: e.Source, Severity: plan.Error, Rule: "credentials",
		Message: fmt.Sprintf("there is no secret %s", e.Text), Hint: fmt.Sprintf("give it with --secret %s or fairlead secret set %s", e.Text, e.Text)}}
}

// Expand implements [dialect.Dialect]. Nothing of a Jenkins pipeline is
// deferred: what is not known yet is in its program.
func (d *Dialect) Expand(_ context.Context, job *plan.Job, _ *plan.Scope) (*plan.Expansion, error) {
	return nil, fmt.Errorf("jenkins: job %s is not deferred", job.ID)
}

// sortProblems puts problems in the order in which a reader meets them.
func sortProblems(list []plan.Problem) {
	slices.SortStableFunc(list, func(a, b plan.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
