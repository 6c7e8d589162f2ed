package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// scope is what a job's own fields are read against.
func (o *owner) scope(n *node) *plan.Scope {
	s := &plan.Scope{
		Context: o.req.Context, Job: n.job,
		Needs:  make(map[string]plan.Outcome, len(n.needs)),
		Status: o.status(n),
		OS:     systemName(runtime.GOOS), Arch: archName(runtime.GOARCH),
	}
	for _, need := range n.needs {
		s.Needs[lastPart(need.job.ID)] = plan.Outcome{Verdict: need.result, Outputs: need.outputs, Confided: need.confided}
	}
	return s
}

// status is what success() and failure() of a job's condition look at: all
// of its ancestors.
func (o *owner) status(n *node) plan.Verdict {
	if o.soft.Err() != nil {
		return plan.Cancelled
	}
	if n.ancestry != "" {
		return n.ancestry
	}
	status, sure := plan.Success, true
	for _, need := range n.needs {
		for _, v := range []plan.Verdict{need.result, o.status(need)} {
			switch {
			case v.Bad():
				status = plan.Failure
			case v != plan.Success && status == plan.Success:
				status = plan.Skipped
			}
		}
		// A job that was stopped ends before those that it needs.
		sure = sure && need.state == record.Finished && (need.ancestry != "" || len(need.needs) == 0)
	}
	if sure {
		n.ancestry = status
	}
	return status
}

// holds reports whether a job or a step shall run. Without a condition it
// does when all went well so far.
func (e *Engine) holds(cond plan.Expr, s *plan.Scope) (bool, error) {
	if cond.IsZero() {
		return s.Status == plan.Success, nil
	}
	v, err := e.Dialect.Eval(cond, dialect.Condition, s)
	return v == true, err
}

// declined is how a job ends whose condition does not hold, and why.
func (o *owner) declined(n *node) end {
	e := end{verdict: plan.Skipped, at: n.job.If.Source}
	if o.soft.Err() != nil {
		c := causeOf(o.soft)
		e.verdict, e.why = plan.Cancelled, c.why
		return e
	}
	if o.waitsForPerson(n) {
		e.waits, e.why = true, "it waits for a person to ask for it"
		return e
	}
	for _, need := range n.needs {
		switch {
		case need.result.Bad():
			e.why = fmt.Sprintf("needs %s, which ended in %s", need.job.ID, need.result)
		case need.result == plan.Skipped:
			e.why = fmt.Sprintf("needs %s, which was skipped", need.job.ID)
		case need.result == plan.Cancelled:
			e.why = fmt.Sprintf("needs %s, which was cancelled", need.job.ID)
		default:
			continue
		}
		return e
	}
	e.why = "its condition is false: " + n.job.If.Text
	return e
}

// waitsForPerson reports whether a job whose condition does not hold would begin
// if a person asked for it. Only its dialect knows, and conditions are pure: it is
// asked once more, as if somebody had.
func (o *owner) waitsForPerson(n *node) bool {
	if n.job.If.IsZero() || o.played(n.job) {
		return false
	}
	asked, s := *n.scope.Context, *n.scope
	asked.Play = append(slices.Clone(asked.Play), n.job.ID)
	s.Context = &asked
	holds, err := o.holds(n.job.If, &s)
	return err == nil && holds
}

// played reports whether a person asked for the job, who then does not wait.
func (o *owner) played(j *plan.Job) bool {
	return slices.Contains(o.req.Context.Play, j.ID) || slices.Contains(o.req.Context.Play, j.Name)
}

// outputs asks what a job's outputs are. Those that hold a secret are withheld.
func (e *Engine) outputs(req *Request, bindings []plan.Binding, s *plan.Scope) (outputs map[string]string, withheld []string, err error) {
	for _, b := range bindings {
		v, err := e.Dialect.Eval(b.Value, dialect.Text, s)
		if err != nil {
			return outputs, withheld, err
		}
		text, _ := v.(string)
		if req.Masker.Holds(text) {
			withheld = append(withheld, b.Name)
			continue
		}
		if outputs == nil {
			outputs = make(map[string]string, len(bindings))
		}
		outputs[b.Name] = text
	}
	return outputs, withheld, nil
}

// confided asks what a job tells in confidence. Its texts are masked from then on.
func (e *Engine) confided(req *Request, x plan.Expr, s *plan.Scope) (map[string]string, error) {
	if x.IsZero() {
		return nil, nil
	}
	v, err := e.Dialect.Eval(x, dialect.Text, s)
	text, _ := v.(string)
	if err != nil || text == "" {
		return nil, err
	}
	var told map[string]string
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		return nil, fmt.Errorf("read what the job tells in confidence: %w", err)
	}
	req.Masker.Add(slices.Collect(maps.Values(told))...)
	return told, nil
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func systemName(goos string) string {
	switch goos {
	case "darwin":
		return "macOS"
	case "windows":
		return "Windows"
	}
	return "Linux"
}

func archName(goarch string) string {
	switch goarch {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	}
	return strings.ToUpper(goarch)
}
