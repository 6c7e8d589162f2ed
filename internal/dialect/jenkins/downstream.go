package jenkins

import (
	"context"

	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Another job that a pipeline builds is another Jenkinsfile of the same tree, at the same
// commit. It runs as a part of the run, in workspaces of its own; its steps lie below the
// step that asked for it. So it is there on a laptop as on a server, and a run that was
// killed goes on in it.

// maxDownstream is how deep builds may start others.
const maxDownstream = 5

// downstream is what builds a pipeline may start: the files by the names of jobs.
type downstream struct {
	jobs map[string]string // name -> file, as fairlead.yaml says
	own  []string          // Jenkinsfiles of the tree
}

// file is the Jenkinsfile of a job: the one that fairlead.yaml names, or the one that is
// called like it. The job of a branch is that of its repository, for this branch.
func (d *downstream) file(job, repository, branch string) (file string, ok bool) {
	name := strings.Trim(job, "/")
	for strings.HasPrefix(name, "../") || strings.HasPrefix(name, "./") {
		name = name[strings.IndexByte(name, '/')+1:]
	}
	names := []string{name}
	if branch != "" {
		if of, ok := strings.CutSuffix(name, "/"+strings.ReplaceAll(branch, "/", "%2F")); ok {
			names = append(names, of)
		} else if of, ok := strings.CutSuffix(name, "/"+branch); ok {
			names = append(names, of)
		}
	}
	for _, name := range slices.Backward(names) {
		if file, ok := d.jobs[name]; ok {
			return file, true
		}
		last := path.Base(name)
		if file, ok := d.jobs[last]; ok {
			return file, true
		}
		for _, file := range d.own {
			if strings.EqualFold(jobOf(file, repository), last) {
				return file, true
			}
		}
	}
	return "", false
}

// jobOf is the name that a job has by its Jenkinsfile's: Jenkinsfile.deploy and
// deploy.jenkinsfile are deploy, and the one at the root is the repository's.
func jobOf(file, repository string) string {
	base := strings.TrimSuffix(path.Base(file), ".groovy")
	if rest, ok := strings.CutPrefix(base, "Jenkinsfile"); ok {
		if rest = strings.TrimLeft(rest, ".-_"); rest == "" && path.Dir(file) == "." {
			return path.Base(repository)
		}
		return rest
	}
	return strings.TrimSuffix(strings.TrimSuffix(base, ".jenkinsfile"), ".Jenkinsfile")
}

// downstream is which builds this one may start.
func (b *build) downstream() *downstream {
	d := &downstream{jobs: b.settings.Jobs}
	for _, t := range b.scope.Pipeline.Texts {
		if isJenkinsfile(path.Base(t.Path)) {
			d.own = append(d.own, t.Path)
		}
	}
	return d
}

// buildStep is build: another job.
func buildStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "job")
	if err != nil {
		return nil, err
	}
	job := a.text("job")
	wait := a.flag("wait", true)
	f.sayf("Scheduling project: %s", job)
	file, ok := b.downstream().file(job, b.scope.Change.Repository, changeVariables(b.scope.Change)["BRANCH_NAME"])
	switch {
	case !ok && !wait:
		f.sayf("[Fairlead] %s is not started from here: no Jenkinsfile of this tree is its", job)
		return nil, nil
	case !ok:
		return nil, &dialect.ProblemError{Lacking: true, Problem: plan.Problem{Source: source(c.At), Severity: plan.Error, Rule: "build",
			Message: fmt.Sprintf("the pipeline starts the job %q and waits for it; no Jenkinsfile of this tree is its", job),
			Hint:    "name its file in fairlead.yaml (jenkins: jobs), declare a stand-in for build there (jenkins: steps), or pass wait: false"}}
	case slices.Contains(b.above, file):
		f.sayf("[Fairlead] %s is a pipeline that runs, and is not started again from here", job)
		return currentBuild{b}, nil
	case len(b.above) > maxDownstream:
		return nil, &dialect.ProblemError{Problem: plan.Problem{Source: source(c.At), Severity: plan.Error, Rule: "limit", Message: fmt.Sprintf("builds start each other more than %d deep", maxDownstream)}}
	}
	given, err := buildParameters(c, a)
	if err != nil {
		return nil, err
	}
	below, problem := b.below(file, given)
	if problem != nil {
		problem.Source = source(c.At)
		return nil, &dialect.ProblemError{Problem: *problem}
	}
	key := f.keys.next("build-" + job)
	below.nodes = nodes{apart: filepath.Join(b.scope.Dirs.Temp, "builds", fileName(key))}
	out, err := b.step(c.Thread, f, key, "build "+job, c.At, &ask{program: func(_ context.Context, _ *plan.Scope, _ dialect.Doer, log io.Writer) (plan.Effects, error) {
		g := &frame{do: f.do, log: log, ctx: f.ctx, keys: newKeys(key), stage: &stageResult{}, held: f.held}
		fx, err := below.execute(g)
		fx.Outputs = append(fx.Outputs, plan.Setting{Name: "display", Value: below.display})
		for _, name := range sortedKeys(below.overrides) {
			fx.Outputs = append(fx.Outputs, plan.Setting{Name: ofBuild + name, Value: below.overrides[name]})
		}
		if below.result == unstable {
			fx.Fail = "" // it has run to its end
		}
		return fx, err
	}})
	if err != nil {
		return nil, err
	}
	if out.Outputs["result"] == "" {
		return nil, abort(c.Thread, "%s did not come to its end: %s", job, out.Why)
	}
	built := builtBuild{b: b, job: strings.Trim(job, "/"), file: file, out: out.Outputs}
	r := parseResult(out.Outputs["result"])
	f.sayf("%s %s completed: %s", job, out.Outputs["display"], r)
	if wait && r != success && a.flag("propagate", true) {
		return nil, b.interrupt(c.Thread, &interruption{result: r, why: fmt.Sprintf("%s %s completed with status %s (propagate: false to ignore)", job, out.Outputs["display"], r)})
	}
	if !wait {
		return nil, nil
	}
	return built, nil
}

// ofBuild begins the outputs that are the environment of a build.
const ofBuild = "env."

// buildParameters are the parameters that build gives, by name.
func buildParameters(c *groovy.Call, a *arguments) (map[string]string, error) {
	given := map[string]string{}
	list, ok := a.value("parameters").(*groovy.List)
	if !ok {
		return given, nil
	}
	for _, item := range list.Items {
		m, ok := item.(*groovy.Map)
		if !ok {
			return nil, c.Throw(illegalArgument, "a parameter of build must be made by string, booleanParam or their like")
		}
		name, _ := m.Text("name")
		value, _ := m.Text("value")
		key, err := c.Text(name)
		if err != nil {
			return nil, err
		}
		text, err := c.Text(value)
		if err != nil {
			return nil, err
		}
		given[key] = text
	}
	return given, nil
}

// below is the build of another file, with what it is given.
func (b *build) below(file string, given map[string]string) (*build, *plan.Problem) {
	if !slices.ContainsFunc(b.scope.Pipeline.Texts, func(t plan.Text) bool { return t.Path == file }) {
		return nil, &plan.Problem{Severity: plan.Error, Rule: "build", Message: fmt.Sprintf("there is no file %s in the tree, which fairlead.yaml names for the job", file), Hint: "correct jenkins: jobs"}
	}
	script, problems := b.d.parse(file, textOf(b.scope.Pipeline, file))
	if len(problems) > 0 {
		return nil, &plan.Problem{Severity: plan.Error, Rule: "build", Message: fmt.Sprintf("%s: %s", problems[0].Source, problems[0].Message)}
	}
	m, problems := read(script, b.knownHere())
	if plan.Errors(problems) {
		return nil, &plan.Problem{Severity: plan.Error, Rule: "build", Message: fmt.Sprintf("%s: %s", problems[0].Source, problems[0].Message)}
	}
	p := *b.scope.Pipeline
	p.File, p.Name = file, file
	if m != nil {
		p.Inputs = inputsOf(m)
	} else {
		p.Inputs = scriptedInputs(script)
	}
	values, problems := b.d.Inputs(&p, given)
	if plan.Errors(problems) {
		return nil, &plan.Problem{Severity: plan.Error, Rule: "build", Message: problems[0].Message, Hint: problems[0].Hint}
	}
	for name, value := range given {
		if _, known := values[name]; !known {
			values[name] = value
		}
	}
	scope, held := *b.scope, *b.scope.Context
	held.Pipeline, held.Inputs, held.Previous = &p, values, nil
	scope.Context = &held
	below := b.session.build(&scope, script)
	below.above = append(slices.Clip(b.above), file)
	return below, nil
}

// builtBuild is a build that a pipeline has started, as scripts see it. It is made of what
// the step left, which a run that goes on finds again.
type builtBuild struct {
	b    *build
	job  string
	file string
	out  map[string]string
}

func (builtBuild) ClassName() string { return currentBuild{}.ClassName() }

func (r builtBuild) Get(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "result", "currentResult":
		return r.out["result"], nil
	case "displayName":
		return r.out["display"], nil
	case "fullDisplayName":
		return strings.ReplaceAll(r.job, "/", " » ") + " " + r.out["display"], nil
	case "projectName":
		return path.Base(r.job), nil
	case "fullProjectName":
		return r.job, nil
	case "absoluteUrl":
		return jobURL(r.job) + fmt.Sprint(r.b.scope.Number) + "/", nil
	case "buildVariables":
		m := groovy.NewMap()
		for _, name := range sortedKeys(r.out) {
			if name, ok := strings.CutPrefix(name, ofBuild); ok {
				m.Put(name, r.out[ofBuild+name])
			}
		}
		return m, nil
	case "building":
		return false, nil
	case "description", "previousBuild", "nextBuild":
		return nil, nil
	}
	return currentBuild{r.b}.Get(c) // of the same run: its number, when it began
}

// Set refuses: what was is not to be changed.
func (builtBuild) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (r builtBuild) Invoke(c *groovy.Call) (groovy.Value, error) {
	result := parseResult(r.out["result"])
	if c.Name == "resultIsWorseOrEqualTo" || c.Name == "resultIsBetterOrEqualTo" {
		if len(c.Args) != 1 {
			return nil, groovy.ErrMissing
		}
		text, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		if c.Name == "resultIsWorseOrEqualTo" {
			return result >= parseResult(text), nil
		}
		return result <= parseResult(text), nil
	}
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		inner := *c
		inner.Name = name
		return r.Get(&inner)
	}
	return nil, groovy.ErrMissing
}
