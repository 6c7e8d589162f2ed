package github

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxCalls is how many workflows may call each other in a row; GitHub's limit.
const maxCalls = 10

// Expand implements [dialect.Dialect].
func (d *Dialect) Expand(ctx context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	w, j, err := d.origin(ctx, job, s)
	if err != nil {
		return nil, err
	}
	x := &expansion{d: d, w: w, j: j, job: job}
	scope := *s
	scope.Job = job
	x.s = &scope
	switch job.Deferred.Kind {
	case deferMatrix:
		return x.matrix()
	case deferFields:
		return x.fields()
	case deferCall:
		return x.call(ctx)
	}
	return nil, fmt.Errorf("github: job %s is deferred as %q, which this version does not know", job.ID, job.Deferred.Kind)
}

// Preview is [Dialect.Expand] before a run, for lists and drawings: ok is false
// when what the job becomes hangs on something not known yet, or would have to
// be fetched.
func (d *Dialect) Preview(job *plan.Job, c *plan.Context) (x *plan.Expansion, ok bool) {
	if job.Deferred == nil {
		return nil, false
	}
	s := &plan.Scope{Context: c, Job: job}
	if file, _ := job.Values[valueFile].(string); !hasText(c.Pipeline, file) {
		return nil, false
	}
	ctx := context.Background() // nothing is fetched
	w, j, err := d.origin(ctx, job, s)
	if err != nil {
		return nil, false
	}
	b := builder{w: w, scope: s, known: func(p expression.Path) bool { return p.Context != "needs" }}
	if !b.knows(j) || !b.knowsStrategy(j.Strategy) {
		return nil, false
	}
	if job.Deferred.Kind == deferCall {
		key, err := (&expansion{w: w, j: j}).callee()
		if err != nil || !hasText(c.Pipeline, key) {
			return nil, false
		}
		for _, p := range j.With {
			if !b.knowsText(p.Value) {
				return nil, false
			}
		}
	}
	x, err = d.Expand(ctx, job, s)
	return x, err == nil
}

func hasText(p *plan.Pipeline, key string) bool {
	return p != nil && slices.ContainsFunc(p.Texts, func(t plan.Text) bool { return t.Path == key })
}

func (b *builder) knowsStrategy(s *workflow.Strategy) bool {
	if s == nil {
		return true
	}
	if !b.knowsText(s.Expr) || !b.knowsText(s.FailFast) || !b.knowsText(s.MaxParallel) {
		return false
	}
	m := s.Matrix
	if m == nil {
		return true
	}
	for _, v := range m.Vectors {
		if !b.knowsNode(v.Value) {
			return false
		}
	}
	return b.knowsText(m.Expr) && b.knowsNode(m.Include) && b.knowsNode(m.Exclude)
}

func (b *builder) knowsNode(n *workflow.Node) bool {
	if n == nil {
		return true
	}
	for _, item := range n.Items {
		if !b.knowsNode(item) {
			return false
		}
	}
	for _, f := range n.Fields {
		if !b.knowsText(f.Key) || !b.knowsNode(f.Value) {
			return false
		}
	}
	return b.knowsText(n.Scalar)
}

// origin finds the entry of a file that a job was made from.
func (d *Dialect) origin(ctx context.Context, job *plan.Job, s *plan.Scope) (*workflow.Workflow, *workflow.Job, error) {
	file, _ := job.Values[valueFile].(string)
	id, _ := job.Values[valueJob].(string)
	if s.Context == nil || s.Pipeline == nil {
		return nil, nil, fmt.Errorf("github: expand %s: there is no pipeline to read", job.ID)
	}
	w, err := d.text(ctx, s.Pipeline, file, job.Source)
	if err != nil {
		return nil, nil, err
	}
	if j := w.Job(id); j != nil {
		return w, j, nil
	}
	return nil, nil, fmt.Errorf("github: expand %s: %s has no job %q", job.ID, file, id)
}

// text is a workflow of the pipeline: one of its texts, or one of another
// repository that was not brought when it was compiled.
func (d *Dialect) text(ctx context.Context, p *plan.Pipeline, key string, at plan.Source) (*workflow.Workflow, error) {
	text := plan.Text{Path: key}
	for _, t := range p.Texts {
		if t.Path == key {
			text = t
		}
	}
	if text.Body == "" {
		ref, err := remoteRef(key)
		if err != nil {
			return nil, wrong(at, "call", fmt.Sprintf("the called workflow %s was not there when the run was planned", key), "check the path")
		}
		body, commit, err := d.fetchText(ctx, ref)
		if err != nil {
			return nil, wrong(at, "call", fmt.Sprintf("the called workflow %s cannot be had: %v", key, err),
				"check its name and ref, or give a local copy with --action "+ref.repository+"=DIR")
		}
		text.Body, text.Commit = string(body), commit
	}
	w, problems := d.read(text)
	if w == nil || plan.Errors(problems) {
		for _, p := range problems {
			if p.Severity == plan.Error {
				return nil, wrong(at, "call", fmt.Sprintf("the workflow %s has errors: %s", key, p.String()), p.Hint)
			}
		}
		return nil, wrong(at, "call", fmt.Sprintf("the workflow %s cannot be read", key), "")
	}
	return w, nil
}

// expansion is one deferred job being expanded.
type expansion struct {
	d   *Dialect
	w   *workflow.Workflow
	j   *workflow.Job
	job *plan.Job
	s   *plan.Scope // with Job set to job
}

// part is what a job made of the deferred one begins as: it has no needs of
// its own, so it carries how those of the deferred job ended.
func (x *expansion) part(id string) plan.Job {
	values := maps.Clone(x.job.Values)
	if values[valueNeeds] == nil {
		values[valueNeeds] = outcomes(x.s.Needs)
		if st := x.s.Status; st != "" && st != plan.Success && st != plan.Cancelled {
			values[valueStatus] = string(st)
		}
	}
	return plan.Job{ID: x.job.ID + "/" + id, Name: x.job.Name, Source: x.job.Source, If: x.job.If, Values: values}
}

func (x *expansion) builder() *builder {
	title, _ := x.job.Values[valueTitle].(string)
	return &builder{w: x.w, title: title}
}

// fields makes the one job concrete.
func (x *expansion) fields() (*plan.Expansion, error) {
	job := x.part(wholeID)
	if err := x.builder().complete(&job, x.j, x.s); err != nil {
		return nil, err
	}
	return &plan.Expansion{Jobs: []plan.Job{job}}, nil
}

// wholeID is the last part of the ID of a job that is all that another became.
const wholeID = "1"

// matrix makes a job for each cell.
func (x *expansion) matrix() (*plan.Expansion, error) {
	e := &evaluator{s: x.s}
	strategy := x.j.Strategy
	var m *matrix
	failFast, maxParallel := true, 0.0
	var err error
	if strategy.Expr.Given() {
		m, failFast, maxParallel, err = e.strategy(strategy.Expr)
	} else {
		if m, err = e.matrix(strategy.Matrix); err == nil {
			failFast, err = e.boolean(strategy.FailFast, "fail-fast", true)
		}
		if err == nil {
			maxParallel, err = e.number(strategy.MaxParallel, "max-parallel", 0)
		}
	}
	if err != nil {
		return nil, err
	}
	cells, problem := m.cells()
	if problem != nil {
		problem.Source = cmp.Or(problem.Source, strategy.Source)
		return nil, wrong(problem.Source, problem.Rule, problem.Message, problem.Hint)
	}
	out := &plan.Expansion{FailFast: failFast, MaxParallel: int(max(0, min(maxParallel, maxCells)))}
	b := x.builder()
	shared := b.parts(x.j)
	taken := names{}
	base := b.title + cmp.Or(x.j.Name.Text, x.j.ID.Text)
	for i, c := range cells {
		id := taken.add(c)
		if !c.keep(x.s.Only) {
			continue
		}
		job := x.part(id)
		job.Values[valueMatrix] = c.values()
		job.Values[valueStrategy] = map[string]any{
			"fail-fast":    failFast,
			"job-index":    float64(i),
			"job-total":    float64(len(cells)),
			"max-parallel": cmp.Or(maxParallel, float64(len(cells))),
		}
		job.Name = c.title(base)
		job.Concurrency = shared.concurrency
		if x.j.Uses.Given() {
			if x.j.Name.HasExpr() {
				s := *x.s
				s.Job = &job
				name, err := (&evaluator{s: &s}).text(x.j.Name)
				if err != nil {
					return nil, err
				}
				job.Name = b.title + name
			}
			job.Deferred = &plan.Deferred{Kind: deferCall, Source: x.j.Uses.Source}
		} else {
			job.Env, job.Steps, job.Outputs, job.Permissions = shared.env, shared.steps, shared.outputs, shared.permissions
			name := job.Name
			if err := b.place(&job, x.j, x.s); err != nil {
				return nil, err
			}
			if !x.j.Name.HasExpr() {
				job.Name = name
			}
		}
		out.Jobs = append(out.Jobs, job)
	}
	return out, nil
}

// strategy reads one that is a single expression.
func (e *evaluator) strategy(s workflow.Str) (m *matrix, failFast bool, maxParallel float64, err error) {
	v, err := e.value(s)
	if err != nil {
		return nil, false, 0, err
	}
	fields := objectFields(v, s.Source)
	if fields == nil {
		return nil, false, 0, wrong(s.Source, "matrix", fmt.Sprintf("the strategy comes to %s and must be a mapping", kindOf(v)), "")
	}
	m, failFast = &matrix{at: s.Source}, true
	for _, f := range fields {
		switch f.key {
		case "matrix":
			err = e.matrixFields(m, objectFields(f.value, s.Source), s.Source, f.value)
		case "fail-fast":
			failFast = expression.Truthy(f.value)
		case "max-parallel":
			maxParallel, err = toNumber(f.value, s.Source, "max-parallel", 0)
		}
		if err != nil {
			return nil, false, 0, err
		}
	}
	return m, failFast, maxParallel, nil
}

// call makes the jobs of the workflow that the job calls.
func (x *expansion) call(ctx context.Context) (*plan.Expansion, error) {
	uses := x.j.Uses
	key, err := x.callee()
	if err != nil {
		return nil, err
	}
	depth := 2
	for v := x.job.Values; v != nil; depth++ {
		if v[valueFile] == key {
			return nil, wrong(uses.Source, "call", fmt.Sprintf("%s calls itself", key), "remove the call that closes the circle")
		}
		caller, _ := v[valueCaller].(map[string]any)
		v, _ = caller[valueValues].(map[string]any)
	}
	if depth-1 > maxCalls {
		return nil, wrong(uses.Source, "call", fmt.Sprintf("more than %d workflows call each other in a row", maxCalls), "call the inner workflow directly")
	}
	w, err := x.d.text(ctx, x.s.Pipeline, key, uses.Source)
	if err != nil {
		return nil, err
	}
	call := w.On.Call
	if call == nil {
		return nil, wrong(uses.Source, "call", fmt.Sprintf("%s cannot be called", key), "add workflow_call to its on:")
	}
	e := &evaluator{s: x.s, d: x.d}
	inputs, err := callInputs(e, call, x.j.With, uses.Source)
	if err != nil {
		return nil, err
	}
	name := x.job.Name
	if x.j.Name.HasExpr() && x.job.Values[valueMatrix] == nil {
		if name, err = e.text(x.j.Name); err != nil {
			return nil, err
		}
	}
	b := builder{w: w, prefix: x.job.ID + "/", title: name + " / "}
	b.values = map[string]any{
		valueInputs: inputs,
		valueCaller: x.caller(),
		valueTitle:  b.title,
	}
	b.scope = &plan.Scope{Context: x.s.Context}
	b.known = knownLate
	out := &plan.Expansion{Jobs: b.jobs()}
	for _, o := range call.Outputs {
		out.Outputs = append(out.Outputs, plan.Binding{Name: o.Name.Text, Value: expr(o.Value)})
	}
	return out, nil
}

// callee is the key of the text that the job calls.
func (x *expansion) callee() (string, error) {
	ref, err := callRef(x.j.Uses.Text, home(x.w.Source.File))
	if err != nil {
		return "", wrong(x.j.Uses.Source, "call", err.Error(), "write ./.github/workflows/FILE or owner/name/.github/workflows/FILE@REF")
	}
	return ref.key(), nil
}

// caller is what the called jobs need to know of this one: how to come by
// their secrets.
func (x *expansion) caller() map[string]any {
	values := maps.Clone(x.job.Values)
	var secrets any
	if x.j.InheritSecrets {
		secrets = "inherit"
	} else {
		passed := make(map[string]any, len(x.j.Secrets))
		for _, p := range x.j.Secrets {
			passed[p.Key.Text] = p.Value.Text
			if strings.Contains(p.Value.Text, "needs") && values[valueNeeds] == nil {
				values[valueNeeds] = outcomes(x.s.Needs)
			}
		}
		secrets = passed
	}
	return map[string]any{valueSecrets: secrets, valueValues: values}
}

// calledInputs are the inputs that a called workflow's outputs see: the job is
// still the calling one when they are asked for.
func (e *evaluator) calledInputs() (map[string]any, error) {
	w, j, err := e.d.origin(context.Background(), e.s.Job, e.s)
	if err != nil {
		return nil, err
	}
	x := &expansion{d: e.d, w: w, j: j, job: e.s.Job, s: e.s}
	key, err := x.callee()
	if err != nil {
		return nil, err
	}
	called, err := e.d.text(context.Background(), e.s.Pipeline, key, j.Uses.Source)
	if err != nil || called.On.Call == nil {
		return nil, err
	}
	caller := *e.s
	caller.Jobs = nil
	return callInputs(&evaluator{s: &caller, d: e.d}, called.On.Call, j.With, j.Uses.Source)
}
