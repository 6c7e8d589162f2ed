package azure

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/protocol"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What this package writes into plans in place of an expression of the user's.
const (
	outputsExpr      = "@outputs"             // of a job: its output variables
	cellOutputsExpr  = "@cell-outputs"        // of an expansion: those of its jobs
	stageOutputsExpr = "@stage-outputs"       // of a stage: those of its jobs, and how they ended
	confidedExpr     = "@confided"            // of a job: its output variables that are secrets
	cellConfidedExpr = "@cell-confided"       // of an expansion, likewise
	stageConfided    = "@stage-confided"      // of a stage, likewise
	runNamePrefix    = "@name "               // then the format of the run's name
	literalPrefix    = "@text "               // then a text
	playedPrefix     = "when a person asks: " // then the condition, once a person asked for the job
)

// outputsName is the one output that jobs have in a plan: a JSON text.
const outputsName = "outputs"

// confidedName is what a job told in confidence, where its end is carried on.
const confidedName = "confided"

// Eval implements dialect.Dialect.
func (d *Dialect) Eval(x plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	e := &evaluator{s: s}
	if as == dialect.Condition {
		return e.condition(x)
	}
	switch {
	case x.Text == outputsExpr:
		return outputsOf(s)
	case x.Text == cellOutputsExpr:
		return cellOutputs(s)
	case x.Text == stageOutputsExpr:
		return stageOutputs(s)
	case x.Text == confidedExpr:
		_, secrets := outputVariables(s)
		return confided(secrets)
	case x.Text == cellConfidedExpr:
		return confided(gathered(s, false))
	case x.Text == stageConfided:
		return confided(gathered(s, true))
	}
	if name, ok := strings.CutPrefix(x.Text, runNamePrefix); ok {
		return e.runName(name)
	}
	if text, ok := strings.CutPrefix(x.Text, literalPrefix); ok {
		return text, nil
	}
	return e.string(x)
}

// evaluator reads the expressions of one place against the facts known there.
// It is used by one goroutine.
type evaluator struct {
	s    *plan.Scope
	vars *variables                                 // nil until somebody asks
	next func(prefix string, seed int) (int, error) // gives counters out; nil once the run is planned
}

// condition is the value of a condition.
func (e *evaluator) condition(x plan.Expr) (bool, error) {
	text, waits := strings.CutPrefix(x.Text, playedPrefix)
	if waits && !e.played() {
		return false, nil
	}
	if inner, ok := wholeRuntime(text); ok {
		text = inner
	}
	switch strings.TrimSpace(text) { // the conditions of nearly all steps
	case "succeeded()", "":
		return e.s.Status == plan.Success, nil
	case "always()":
		return true, nil
	}
	v, err := e.eval(plan.Expr{Text: text, Source: x.Source})
	return expression.Truthy(v), err
}

// played reports whether a person asked for this job.
func (e *evaluator) played() bool {
	if e.s.Context == nil || e.s.Job == nil {
		return false
	}
	return slices.ContainsFunc(e.s.Play, func(name string) bool {
		return strings.EqualFold(name, e.s.Job.ID) || strings.EqualFold(name, e.s.Job.Name)
	})
}

// checkCondition finds what is wrong with the form of a condition.
func checkCondition(text string) error {
	if inner, ok := wholeRuntime(text); ok {
		text = inner
	}
	if strings.Contains(text, "$(") {
		return nil // the service refuses it, and says so better
	}
	x, err := expression.Parse(text)
	if err != nil {
		return err
	}
	e := &evaluator{s: &plan.Scope{}}
	return x.Check(e.scope())
}

// wholeRuntime is the expression in a text that is $[ ] and nothing else.
func wholeRuntime(text string) (inner string, ok bool) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "$[") || !strings.HasSuffix(text, "]") {
		return text, false
	}
	return text[2 : len(text)-1], true
}

// eval is the value of an expression.
func (e *evaluator) eval(x plan.Expr) (any, error) {
	parsed, err := expression.Parse(x.Text)
	var v any
	if err == nil {
		v, err = parsed.Eval(e.scope())
	}
	if err != nil {
		if p, ok := err.(*dialect.ProblemError); ok {
			return nil, p
		}
		return nil, &dialect.ProblemError{Problem: *badExpression(x.Source, x.Text, err)}
	}
	return v, nil
}

// value is what a text comes to: a whole runtime expression of any type, and
// otherwise the text with its macros replaced.
func (e *evaluator) value(x plan.Expr) (any, error) {
	if inner, ok := wholeRuntime(x.Text); ok {
		return e.eval(plan.Expr{Text: inner, Source: x.Source})
	}
	return e.variables().macros(x.Text), nil
}

// string is what a text comes to, as a text.
func (e *evaluator) string(x plan.Expr) (string, error) {
	if !runtime(x.Text) {
		return x.Text, nil
	}
	v, err := e.value(x)
	return expression.String(v), err
}

func (e *evaluator) integer(x plan.Expr, key string) (int, error) {
	text, err := e.string(x)
	if err != nil || strings.TrimSpace(text) == "" {
		return 0, err
	}
	n, ok := expression.Number(text)
	if !ok || n < 0 || n > 1<<20 {
		return 0, wrong(x.Source, "type", fmt.Sprintf("%s comes to %s and must be a number", key, plan.Clip(text)), "")
	}
	return int(n), nil
}

// scope is what runtime expressions and conditions may name.
func (e *evaluator) scope() *expression.Scope {
	return &expression.Scope{
		Names: map[string]func() (any, error){
			"variables":         func() (any, error) { return e.variables().object(), nil },
			"dependencies":      func() (any, error) { return e.dependencies(), nil },
			"stagedependencies": func() (any, error) { return e.stageDependencies(), nil },
			"resources":         func() (any, error) { return &expression.Object{}, nil },
			"pipeline":          func() (any, error) { return e.pipelineContext(), nil },
		},
		Functions: map[string]expression.Function{
			"always":            {Min: 0, Max: 0, Call: func([]any) (any, error) { return true, nil }},
			"canceled":          {Min: 0, Max: 0, Call: func([]any) (any, error) { return e.s.Status == plan.Cancelled, nil }},
			"succeeded":         {Min: 0, Max: -1, Call: e.went(plan.Success)},
			"failed":            {Min: 0, Max: -1, Call: e.went(plan.Failure)},
			"succeededorfailed": {Min: 0, Max: -1, Call: e.went("")},
			"counter":           {Min: 0, Max: 2, Call: e.counter},
		},
	}
}

// went is a function about how things went: all of those named, or all before.
func (e *evaluator) went(want plan.Verdict) func([]any) (any, error) {
	return func(names []any) (any, error) {
		status := e.s.Status
		if len(names) == 0 || status == plan.Cancelled {
			switch want {
			case plan.Success:
				return status == plan.Success, nil
			case plan.Failure:
				return status == plan.Failure, nil
			}
			return status != plan.Cancelled, nil
		}
		some := false
		for _, n := range names {
			o, ok := e.need(expression.String(n))
			switch {
			case !ok:
				return nil, &expression.Error{Message: fmt.Sprintf("'%s' is not among the dependencies", plan.Clip(expression.String(n))), Hint: "add it to dependsOn:", Offset: -1}
			case want == plan.Failure:
				some = some || o.Verdict.Bad()
				continue
			case want == "" && o.Verdict != plan.Success && !o.Verdict.Bad(), want == plan.Success && o.Verdict != plan.Success:
				return false, nil
			}
			some = true
		}
		return some, nil
	}
}

// needs are how the needs of this job ended: of its own, or of the job that
// it was expanded from.
func (e *evaluator) needs() map[string]plan.Outcome {
	if e.s.Job != nil {
		if m, ok := e.s.Job.Values[valueNeeds].(map[string]any); ok {
			return carriedOutcomes(m)
		}
	}
	return e.s.Needs
}

func carriedOutcomes(m map[string]any) map[string]plan.Outcome {
	out := make(map[string]plan.Outcome, len(m))
	for id, v := range m {
		o, _ := v.(map[string]any)
		verdict, _ := o["verdict"].(string)
		outputs, _ := o[outputsName].(string)
		told, _ := o[confidedName].(map[string]string)
		if list, ok := o[confidedName].(map[string]any); ok { // it went to another machine as JSON
			told = make(map[string]string, len(list))
			for name, v := range list {
				told[name], _ = v.(string)
			}
		}
		out[id] = plan.Outcome{Verdict: plan.Verdict(verdict), Outputs: map[string]string{outputsName: outputs}, Confided: told}
	}
	return out
}

func (e *evaluator) need(name string) (plan.Outcome, bool) {
	for id, o := range e.needs() {
		if strings.EqualFold(id, name) {
			return o, true
		}
	}
	return plan.Outcome{}, false
}

// said is the JSON text that jobs and stages have for their output.
type said struct {
	Issues  bool              `json:"issues,omitempty"` // it succeeded, with issues
	Failed  bool              `json:"failed,omitempty"` // it failed, whatever that meant to others
	Outputs map[string]string `json:"outputs,omitempty"`
	Hidden  []string          `json:"hidden,omitempty"` // further outputs, which are secrets: see plan.Job.Confided
	Jobs    map[string]ended  `json:"jobs,omitempty"`   // of a stage
}

type ended struct {
	Result  string            `json:"result"`
	Outputs map[string]string `json:"outputs,omitempty"`
	Hidden  []string          `json:"hidden,omitempty"`
}

func saidBy(o plan.Outcome) (s said) {
	_ = json.Unmarshal([]byte(o.Outputs[outputsName]), &s) // a job that was skipped said nothing
	return s
}

func (s said) text() (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

// result is how a job ended, in the language's words.
func result(o plan.Outcome, s said) string {
	switch {
	case o.Verdict == plan.Success && (s.Issues || s.Failed):
		return "SucceededWithIssues"
	case o.Verdict == plan.Success:
		return "Succeeded"
	case o.Verdict == plan.Skipped:
		return "Skipped"
	case o.Verdict == plan.Cancelled:
		return "Canceled"
	}
	return "Failed"
}

// outputsOf are the output variables of a job that ends: step.variable.
func outputsOf(s *plan.Scope) (string, error) {
	out := said{Failed: s.Status.Bad(), Issues: issues(s)}
	var secrets map[string]string
	out.Outputs, secrets = outputVariables(s)
	out.Hidden = slices.Sorted(maps.Keys(secrets))
	return out.text()
}

// outputVariables are those of a job that may be shown, and those that hold a secret.
func outputVariables(s *plan.Scope) (open, secrets map[string]string) {
	open, secrets = map[string]string{}, map[string]string{}
	prefix, hook := "", false
	if s.Job != nil {
		prefix, _ = s.Job.Values[valueOutputs].(string)
		hook = prefix != "" && s.Job.Values[valueHook] != nil
	}
	put := func(list map[string]string, name, value string) {
		list[prefix+name] = value
		if hook {
			list[name] = value
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Steps)) {
		for name, value := range s.Steps[id].Outputs {
			switch {
			case strings.HasPrefix(name, "#"):
			case holdsSecret(s, value):
				put(secrets, id+"."+name, value)
			default:
				put(open, id+"."+name, value)
			}
		}
	}
	for name, sign := range s.Env {
		if full, secret := strings.CutPrefix(name, secretSign); secret && sign == protocol.SecretOutput {
			put(secrets, full, s.Env[full])
		}
	}
	return open, secrets
}

// confided is what is told in confidence, as the engine wants it.
func confided(secrets map[string]string) (string, error) {
	if len(secrets) == 0 {
		return "", nil
	}
	b, err := json.Marshal(secrets)
	return string(b), err
}

// gathered is what the jobs that one job became have told in confidence; of a
// stage each under its job's name, too.
func gathered(s *plan.Scope, stage bool) map[string]string {
	all := map[string]string{}
	for id, o := range s.Jobs {
		for name, value := range o.Confided {
			if stage {
				name = id + "." + name
			}
			all[name] = value
		}
	}
	return all
}

// issues reports whether a step of the job went wrong and was forgiven.
func issues(s *plan.Scope) bool {
	for _, o := range s.Steps {
		if o.Outcome.Bad() && o.Conclusion == plan.Success || o.Outputs[outputResult] == resultIssues {
			return true
		}
	}
	return false
}

// shortest is how long a secret is at least that is looked for in other texts.
const shortest = 4

// holdsSecret reports whether a text holds the value of a secret, of the run, of
// another job, or of a step before.
func holdsSecret(s *plan.Scope, text string) bool {
	within := func(v string) bool { return len(v) >= shortest && strings.Contains(text, v) }
	if s.Context != nil {
		for _, v := range s.Secrets {
			if within(v) {
				return true
			}
		}
	}
	for name := range s.Env {
		if full, secret := strings.CutPrefix(name, secretSign); secret && within(s.Env[full]) {
			return true
		}
	}
	return slices.ContainsFunc(told(s), within)
}

// told are the texts that other jobs have told this one in confidence.
func told(s *plan.Scope) (list []string) {
	for _, needs := range []map[string]plan.Outcome{(&evaluator{s: s}).needs(), stagesOf(s)} {
		for _, o := range needs {
			list = slices.AppendSeq(list, maps.Values(o.Confided))
		}
	}
	return list
}

// cellOutputs are the outputs of the jobs that one job became.
func cellOutputs(s *plan.Scope) (string, error) {
	var out said
	for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
		one := saidBy(s.Jobs[id])
		out.Issues, out.Failed = out.Issues || one.Issues, out.Failed || one.Failed
		out.Hidden = append(out.Hidden, one.Hidden...)
		if out.Outputs == nil && len(one.Outputs) > 0 {
			out.Outputs = map[string]string{}
		}
		maps.Copy(out.Outputs, one.Outputs)
	}
	return out.text()
}

// stageOutputs are those of the jobs of a stage, by job: J.step.variable for
// stages, and each with its result for jobs of later stages.
func stageOutputs(s *plan.Scope) (string, error) {
	out := said{Outputs: map[string]string{}, Jobs: map[string]ended{}}
	for id, o := range s.Jobs {
		one := saidBy(o)
		out.Issues, out.Failed = out.Issues || one.Issues || one.Failed && o.Verdict == plan.Success, out.Failed || o.Verdict.Bad()
		out.Jobs[id] = ended{Result: result(o, one), Outputs: one.Outputs, Hidden: one.Hidden}
		for _, name := range one.Hidden {
			out.Hidden = append(out.Hidden, id+"."+name)
		}
		for name, value := range one.Outputs {
			out.Outputs[id+"."+name] = value
		}
	}
	slices.Sort(out.Hidden)
	return out.text()
}

// dependencies is the context of that name: jobs for a job, stages for a
// stage.
func (e *evaluator) dependencies() *expression.Object {
	out := &expression.Object{}
	needs := e.needs()
	for _, id := range slices.Sorted(maps.Keys(needs)) {
		s := saidBy(needs[id])
		out.Set(id, dependency(id, result(needs[id], s), s.Outputs, s.Hidden, needs[id].Confided, ""))
	}
	return out
}

// dependency is a job or stage as others see it. Its secrets were told in
// confidence, with the prefix in front of their names; what was told before the
// run was resumed nobody knows any more.
func dependency(id, result string, outputs map[string]string, hidden []string, secrets map[string]string, prefix string) *expression.Object {
	list := &expression.Object{}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		list.Set(name, outputs[name])
	}
	for _, name := range hidden {
		if value, known := secrets[prefix+name]; known {
			list.Set(name, value)
		}
	}
	list.Missing = func(key string) error {
		if !slices.ContainsFunc(hidden, func(name string) bool { return strings.EqualFold(name, key) }) {
			return nil
		}
		return &expression.Error{Message: fmt.Sprintf("the output %s of %s is a secret, whose value is not kept: it ended before this run went on", plan.Clip(key), id),
			Hint: "run it again: fairlead rerun begins a run that does it all", Offset: -1}
	}
	return expression.NewObject("result", result, "outputs", list)
}

// stageDependencies is the context of that name: stages, and the jobs in them.
func (e *evaluator) stageDependencies() *expression.Object {
	out := &expression.Object{}
	stages := stagesOf(e.s)
	for _, id := range slices.Sorted(maps.Keys(stages)) {
		s := saidBy(stages[id])
		stage := expression.NewObject("result", result(stages[id], s))
		for _, job := range slices.Sorted(maps.Keys(s.Jobs)) {
			stage.Set(job, dependency(id+"."+job, s.Jobs[job].Result, s.Jobs[job].Outputs, s.Jobs[job].Hidden, stages[id].Confided, job+"."))
		}
		out.Set(id, stage)
	}
	return out
}

// stagesOf are how the stages ended that the place may ask for.
func stagesOf(s *plan.Scope) map[string]plan.Outcome {
	if s.Job != nil {
		if m, ok := s.Job.Values[valueStages].(map[string]any); ok {
			return carriedOutcomes(m)
		}
	}
	return s.Needs
}

func (e *evaluator) pipelineContext() *expression.Object {
	if e.s.Context == nil {
		return &expression.Object{}
	}
	at := e.s.Started
	if c := e.s.Counted; c != nil {
		at = c.At // what a counter counts by does not change while its run waits
	}
	return expression.NewObject("startTime", at.UTC().Format(expression.DateForm))
}

func fromJSON(text string) (any, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	return expression.FromJSON(v), nil
}
