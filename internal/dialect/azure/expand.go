package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
		c := cell{Name: strings.Map(func(r rune) rune {
			if r == '/' || r < ' ' {
				return '_'
			}
			return r
		}, name)}
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
// the end the one for how it went.
func (x *expansion) deployment() (*plan.Expansion, error) {
	out := &plan.Expansion{Outputs: []plan.Binding{{Name: outputsName, Value: plan.Expr{Text: cellOutputsExpr, Source: x.job.Source}}}, Confided: plan.Expr{Text: cellConfidedExpr, Source: x.job.Source}}
	parts, _ := x.job.Values[valueParts].(map[string]any)
	resource, _ := parts["resource"].(string)
	strategy, _ := parts["strategy"].(string)
	var last []string
	add := func(h *hook, increment, condition string) error {
		id, prefix := strings.ReplaceAll(h.Name, ".", ""), x.job.Values[valueJob].(string)+"."
		switch {
		case increment != "":
			id += "_" + increment
			prefix = id + "."
		case strategy != "runOnce" && resource != "":
			prefix = h.Name + "_" + resource + "."
		}
		more := maps.Clone(parts)
		more["increment"] = increment
		more["action"] = map[string]string{"on.success": "promote", "on.failure": "reject"}[h.Name]
		if more["action"] == "" {
			more["action"] = "deploy"
		}
		p, err := x.part(id, map[string]any{valueOutputs: prefix, valueHook: h.Name, valueParts: more}, func(p *plan.Job) {
			p.Steps, p.Needs = h.Steps, last
			if p.If.Text = condition; condition != "" {
				p.If.Source = x.job.Source
			}
		})
		if err != nil {
			return err
		}
		if h.Pool.Text != "" {
			p.Place.Labels = strings.Fields(h.Pool.Text)
		}
		p.Name += ": " + strings.ReplaceAll(id, "_", " ")
		out.Jobs = append(out.Jobs, p)
		if !strings.HasPrefix(h.Name, "on.") {
			last = []string{id}
		}
		return nil
	}
	increments := x.sketch.Increments
	if len(increments) == 0 {
		increments = []string{""}
	}
	for round, increment := range increments {
		for i := range x.sketch.Hooks {
			h := &x.sketch.Hooks[i]
			switch {
			case strings.HasPrefix(h.Name, "on."):
				continue
			case h.Name == "preDeploy" && round > 0:
				continue
			case h.Name == "preDeploy":
				if err := add(h, "", ""); err != nil {
					return nil, err
				}
				continue
			}
			if err := add(h, increment, ""); err != nil {
				return nil, err
			}
		}
	}
	for i := range x.sketch.Hooks {
		var err error
		switch h := &x.sketch.Hooks[i]; h.Name {
		case "on.success":
			err = add(h, "", "")
		case "on.failure":
			err = add(h, "", "failed()")
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
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
