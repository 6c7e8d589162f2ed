package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// sketch is what is concrete in a plan of a job, as its file says it: with
// macros and runtime expressions.
type sketch struct {
	Name            plan.Expr         `json:"name,omitzero"`
	Pool            plan.Expr         `json:"pool,omitzero"` // labels, one a line
	Container       *image            `json:"container,omitempty"`
	Services        map[string]*image `json:"services,omitempty"`
	Timeout         plan.Expr         `json:"timeout,omitzero"` // minutes
	ContinueOnError plan.Expr         `json:"continue_on_error,omitzero"`

	// Of a matrix: its cells, or an expression that gives them, or a number of
	// jobs alike.
	Cells       []cell    `json:"cells,omitempty"`
	Matrix      plan.Expr `json:"matrix,omitzero"`
	Parallel    plan.Expr `json:"parallel,omitzero"`
	MaxParallel plan.Expr `json:"max_parallel,omitzero"`

	// Of a deployment.
	Hooks      []hook   `json:"hooks,omitempty"`
	Increments []string `json:"increments,omitempty"` // percents of a canary
	Targets    []string `json:"targets,omitempty"`    // resources that a rolling one goes over
}

// cell is a cell of a matrix.
type cell struct {
	Name      string         `json:"name"`
	Variables []plan.Setting `json:"variables,omitempty"`
}

// hook is a lifecycle hook of a deployment.
type hook struct {
	Name  string      `json:"name"` // "deploy", "on.failure"
	Steps []plan.Step `json:"steps,omitempty"`
	Pool  plan.Expr   `json:"pool,omitzero"`
}

// data is the sketch as a plan.Deferred keeps it.
func (s sketch) data() map[string]any {
	m, _ := plain(s).(map[string]any)
	return m
}

// decode reads back what plain made.
func decode(v, to any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	return d.Decode(to)
}

// Expand implements dialect.Dialect.
func (d *Dialect) Expand(_ context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	x := &expansion{job: job, s: s}
	if job.Deferred.Kind == deferStage {
		return x.stage()
	}
	if err := decode(job.Deferred.Data, &x.sketch); err != nil {
		return nil, fmt.Errorf("azure: read what job %s becomes: %w", job.ID, err)
	}
	switch job.Deferred.Kind {
	case deferMatrix:
		return x.matrix()
	case deferFields:
		part, err := x.part("job", nil, nil)
		if err != nil {
			return nil, err
		}
		return &plan.Expansion{Jobs: []plan.Job{part}}, nil
	case deferDeployment:
		return x.deployment()
	}
	return nil, fmt.Errorf("azure: job %s is deferred as %q, which this version does not know", job.ID, job.Deferred.Kind)
}

// Preview is [Dialect.Expand] before a run, for lists and drawings: ok is false
// when what the job becomes hangs on something not known yet.
func (d *Dialect) Preview(job *plan.Job, c *plan.Context) (x *plan.Expansion, ok bool) {
	if job.Deferred == nil {
		return nil, false
	}
	var s sketch
	if err := decode(job.Deferred.Data, &s); err != nil {
		return nil, false
	}
	for _, text := range []string{s.Matrix.Text, s.Parallel.Text, s.Pool.Text} {
		if strings.Contains(text, "$[") {
			return nil, false
		}
	}
	x, err := d.Expand(context.Background(), job, &plan.Scope{Context: c, Job: job})
	return x, err == nil
}

// expansion is one deferred job being expanded.
type expansion struct {
	job    *plan.Job
	s      *plan.Scope
	sketch sketch
}

// stage makes the jobs of a stage.
func (x *expansion) stage() (*plan.Expansion, error) {
	out := &plan.Expansion{Outputs: []plan.Binding{{Name: outputsName, Value: plan.Expr{Text: stageOutputsExpr, Source: x.job.Source}}}, Confided: plan.Expr{Text: stageConfided, Source: x.job.Source}}
	if err := decode(x.job.Deferred.Data["jobs"], &out.Jobs); err != nil {
		return nil, fmt.Errorf("azure: read the jobs of stage %s: %w", x.job.ID, err)
	}
	stages := carried(x.s.Needs)
	for i := range out.Jobs {
		values := clonedValues(&out.Jobs[i])
		values[valueStages] = stages
		out.Jobs[i].Values = values
	}
	return out, nil
}

// carried is how jobs ended, for the values of a job.
func carried(needs map[string]plan.Outcome) map[string]any {
	m := make(map[string]any, len(needs))
	for id, o := range needs {
		m[id] = map[string]any{"verdict": string(o.Verdict), outputsName: o.Outputs[outputsName], confidedName: o.Confided}
	}
	return m
}

// part is a job that the deferred one becomes. It has no needs of its own, so
// it carries how those of the deferred job ended.
func (x *expansion) part(id string, values map[string]any, change func(*plan.Job)) (plan.Job, error) {
	p := *x.job
	p.ID, p.Needs, p.Deferred, p.Concurrency = x.job.ID+"/"+id, nil, nil, nil
	p.Values = clonedValues(x.job)
	p.Values[valueNeeds] = carried(x.s.Needs)
	p.If = plan.Expr{}
	maps.Copy(p.Values, values)
	if change != nil {
		change(&p)
	}
	scope := *x.s
	scope.Job = &p
	e := &evaluator{s: &scope}
	return p, x.sketch.fill(&p, e.string)
}

// matrix makes the cells of a strategy.
func (x *expansion) matrix() (*plan.Expansion, error) {
	scope := *x.s
	scope.Job = x.job
	e := &evaluator{s: &scope}
	cells, err := x.cells(e)
	if err != nil {
		return nil, err
	}
	if len(cells) > maxCells {
		return nil, wrong(x.job.Deferred.Source, "limit", fmt.Sprintf("the matrix has %d cells; at most %d are run", len(cells), maxCells), "")
	}
	out := &plan.Expansion{Outputs: []plan.Binding{{Name: outputsName, Value: plan.Expr{Text: cellOutputsExpr, Source: x.job.Source}}}, Confided: plan.Expr{Text: cellConfidedExpr, Source: x.job.Source}}
	if out.MaxParallel, err = e.integer(x.sketch.MaxParallel, "maxParallel"); err != nil {
		return nil, err
	}
	for i, c := range cells {
		values := map[string]any{valueOutputs: c.Name + ".", valueParts: map[string]any{"position": i + 1, "total": len(cells), "cell": c.Name}}
		variables := make(map[string]any, len(c.Variables))
		for _, v := range c.Variables {
			variables[v.Name] = v.Value
		}
		values[valueCell] = variables
		p, err := x.part(c.Name, values, nil)
		if err != nil {
			return nil, err
		}
		p.Name += " " + c.Name
		out.Jobs = append(out.Jobs, p)
	}
	return out, nil
}

// cells are the cells of the strategy, computed.
func (x *expansion) cells(e *evaluator) ([]cell, error) {
	if !x.sketch.Parallel.IsZero() {
		n, err := e.integer(x.sketch.Parallel, "parallel")
		if err != nil {
			return nil, err
		}
		var list []cell
		for i := range min(max(n, 1), maxCells) {
			list = append(list, cell{Name: "job" + strconv.Itoa(i+1)})
		}
		return list, nil
	}
	if x.sketch.Matrix.IsZero() {
		return x.sketch.Cells, nil
	}
	at := x.sketch.Matrix.Source
	v, err := e.value(x.sketch.Matrix)
	if err != nil {
		return nil, err
	}
	if text, ok := v.(string); ok {
		if v, err = fromJSON(text); err != nil {
			return nil, wrong(at, "matrix", fmt.Sprintf("the matrix comes to %s, which is no JSON: %v", plan.Clip(text), err), `give it as {"name": {"variable": "value"}}`)
		}
	}
	o, ok := v.(*expression.Object)
	if !ok {
		return nil, wrong(at, "matrix", fmt.Sprintf("the matrix comes to %s and must be a mapping", expression.KindName(v)), `give it as {"name": {"variable": "value"}}`)
	}
	var list []cell
	for _, name := range o.Keys() {
		c := cell{Name: pathPart(name)}
		inner, _ := o.Get(name)
		variables, ok := inner.(*expression.Object)
		if !ok {
			return nil, wrong(at, "matrix", fmt.Sprintf("the cell %s of the matrix is %s and must be a mapping", plan.Clip(name), expression.KindName(inner)), "")
		}
		for _, k := range variables.Keys() {
			value, _ := variables.Get(k)
			c.Variables = append(c.Variables, plan.Setting{Name: k, Value: expression.String(value)})
		}
		list = append(list, c)
	}
	return list, nil
}

// deployment makes a job for each lifecycle hook: one after the other, and at
// the end the one for how it went. A canary goes through them for each increment, a
// rolling deployment for each resource, as many side by side as it says.
func (x *expansion) deployment() (*plan.Expansion, error) {
	out := &plan.Expansion{Outputs: []plan.Binding{{Name: outputsName, Value: plan.Expr{Text: cellOutputsExpr, Source: x.job.Source}}}, Confided: plan.Expr{Text: cellConfidedExpr, Source: x.job.Source}}
	batches, err := x.batches()
	if err != nil {
		return nil, err
	}
	var last []string
	for round, batch := range batches {
		var ends []string
		for _, w := range batch {
			needs := last
			for i := range x.sketch.Hooks {
				h := &x.sketch.Hooks[i]
				switch {
				case strings.HasPrefix(h.Name, "on."):
					continue
				case h.Name == "preDeploy" && w.target == "" && round > 0:
					continue
				}
				of := w
				if h.Name == "preDeploy" {
					of.increment = ""
				}
				p, err := x.hook(h, of, needs, "")
				if err != nil {
					return nil, err
				}
				out.Jobs = append(out.Jobs, p)
				needs = []string{lastPart(p.ID)}
			}
			ends = append(ends, needs...)
		}
		slices.Sort(ends)
		last = slices.Compact(ends)
	}
	for i := range x.sketch.Hooks {
		condition := ""
		switch x.sketch.Hooks[i].Name {
		case "on.success":
		case "on.failure":
			condition = "failed()"
		default:
			continue
		}
		p, err := x.hook(&x.sketch.Hooks[i], wave{}, last, condition)
		if err != nil {
			return nil, err
		}
		out.Jobs = append(out.Jobs, p)
	}
	return out, nil
}

// wave is one way through the hooks of a deployment.
type wave struct {
	increment string // percent of a canary
	target    string // resource of a rolling deployment
}

// batches are the ways through the hooks: those of a batch side by side, one batch
// after another.
func (x *expansion) batches() (list [][]wave, err error) {
	switch targets := x.sketch.Targets; {
	case len(targets) > 0:
		size, err := x.batchSize(len(targets))
		if err != nil {
			return nil, err
		}
		for batch := range slices.Chunk(targets, size) {
			var waves []wave
			for _, t := range batch {
				waves = append(waves, wave{target: t})
			}
			list = append(list, waves)
		}
	case len(x.sketch.Increments) > 0:
		for _, increment := range x.sketch.Increments {
			list = append(list, []wave{{increment: increment}})
		}
	default:
		list = [][]wave{{{}}}
	}
	return list, nil
}

// batchSize is how many of so many resources are deployed to side by side:
// maxParallel, a number or a percentage; without one, all.
func (x *expansion) batchSize(targets int) (int, error) {
	scope := *x.s
	scope.Job = x.job
	e := &evaluator{s: &scope}
	text, err := e.string(x.sketch.MaxParallel)
	if text = strings.TrimSpace(text); err != nil || text == "" || text == "0" {
		return targets, err
	}
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percent && n > 100 {
		return 0, wrong(x.sketch.MaxParallel.Source, "type", fmt.Sprintf("maxParallel comes to %s and must be a number of resources, or a percentage of them", plan.Clip(text)), "write it as 2, or as 50%")
	}
	if percent {
		n = max(targets*n/100, 1)
	}
	return n, nil
}

// hook is the job of a lifecycle hook.
func (x *expansion) hook(h *hook, w wave, needs []string, condition string) (plan.Job, error) {
	parts, _ := x.job.Values[valueParts].(map[string]any)
	resource, _ := parts["resource"].(string)
	strategy, _ := parts["strategy"].(string)
	job, _ := x.job.Values[valueJob].(string)
	id, prefix := strings.ReplaceAll(h.Name, ".", ""), job+"."
	switch {
	case w.target != "":
		id += "_" + pathPart(w.target)
		prefix = h.Name + "_" + w.target + "."
	case w.increment != "":
		id += "_" + w.increment
		prefix = id + "."
	case strategy != "runOnce" && resource != "":
		prefix = h.Name + "_" + resource + "."
	}
	more := maps.Clone(parts)
	more["increment"] = w.increment
	if w.target != "" {
		more["resource"] = w.target
	}
	switch h.Name {
	case "on.success":
		more["action"] = "promote"
	case "on.failure":
		more["action"] = "reject"
	default:
		more["action"] = "deploy"
	}
	p, err := x.part(id, map[string]any{valueOutputs: prefix, valueHook: h.Name, valueParts: more}, func(p *plan.Job) {
		p.Steps, p.Needs = h.Steps, needs
		if p.If.Text = condition; condition != "" {
			p.If.Source = x.job.Source
		}
	})
	if err != nil {
		return p, err
	}
	switch {
	case h.Pool.Text != "":
		p.Place.Labels = strings.Fields(h.Pool.Text)
	case w.target != "" && len(p.Place.Labels) == 0:
		p.Place.Labels = []string{w.target} // a resource does its own deployment
	}
	p.Name += ": " + strings.ReplaceAll(id, "_", " ")
	return p, nil
}

// pathPart is a name as a part of a job's ID.
func pathPart(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, name)
}

// wrong is a problem on its way up as a Go error.
func wrong(at plan.Source, rule, message, hint string) error {
	return &dialect.ProblemError{Problem: *problemAt(at, rule, message, hint)}
}

// asProblem is the problem inside an error, if there is one.
func asProblem(err error) (*plan.Problem, bool) {
	if p, ok := err.(*dialect.ProblemError); ok {
		return &p.Problem, true
	}
	return nil, false
}
