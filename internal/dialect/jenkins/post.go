package jenkins

import (
	"context"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// holds reports whether a condition of post is met by a result, and that of the
// build before; nil when there was none: then everything is a change, nothing is fixed or
// worse.
func holds(condition string, r result, before *plan.Previous) bool {
	switch condition {
	case "always", "cleanup":
		return true
	case "changed":
		return before == nil || previousResult(before) != r
	case "fixed":
		return before != nil && r == success && (previousResult(before) == failure || previousResult(before) == unstable)
	case "regression":
		return before != nil && r > previousResult(before)
	case "aborted":
		return r == aborted
	case "success":
		return r == success
	case "unsuccessful":
		return r != success
	case "unstable":
		return r == unstable
	case "failure":
		return r == failure
	case "notBuilt":
		return r == notBuilt
	}
	return false
}

// previousResult is how the build before ended.
func previousResult(p *plan.Previous) result {
	switch said := p.Outputs["result"]; {
	case said != "":
		return parseResult(said)
	case p.Verdict == plan.Success:
		return success
	case p.Verdict == plan.Cancelled:
		return aborted
	case p.Verdict == plan.Skipped:
		return notBuilt
	}
	return failure
}

// postStage runs the post section of a stage whose work ended with err, and
// gives the error that the stage ends with.
func (m *model) postStage(c *groovy.Call, f *frame, list []declarative.Condition, err error) error {
	if e, ok := failed(err); ok {
		f.stage.worsen(resultOf(e), told(e))
	}
	return m.post(c, f, list, err, func() result { return f.stage.result }, func(e *groovy.Thrown) { f.stage.worsen(resultOf(e), told(e)) })
}

// postPipeline runs the post section of the pipeline.
func (m *model) postPipeline(c *groovy.Call, f *frame, list []declarative.Condition, err error) error {
	if e, ok := failed(err); ok {
		m.worsen(resultOf(e), told(e))
	}
	if len(list) == 0 {
		return err
	}
	m.given = true
	body := func(c *groovy.Call, f *frame) error {
		return m.post(c, f, list, err, func() result { return m.result }, func(e *groovy.Thrown) { m.worsen(resultOf(e), told(e)) })
	}
	any := false
	for _, p := range list {
		any = any || holds(p.Name, m.result, m.scope.Previous)
	}
	if !any {
		return err
	}
	return m.inStage(c, f, "Declarative: Post Actions", body)
}

// post runs the conditions that are met, in the order of the language. What
// one of them does to the result counts for the next.
func (m *model) post(c *groovy.Call, f *frame, list []declarative.Condition, err error, now func() result, worsen func(*groovy.Thrown)) error {
	if len(list) == 0 {
		return err
	}
	if f.ctx.Err() != nil {
		// What was interrupted still tidies up.
		f = f.inner()
		f.ctx = context.WithoutCancel(f.ctx)
	}
	first := err
	for _, name := range declarative.Post() {
		for _, p := range list {
			if p.Name != name || !holds(name, now(), m.scope.Previous) {
				continue
			}
			f.say("Post stage")
			_, err := f.within(c.Thread).Exec(m.where, p.Body.Body, nil)
			if err == nil {
				continue
			}
			e, ok := failed(err)
			if !ok {
				return err
			}
			f.sayf("Error when executing %s post condition:", name)
			f.say(printed(c.Thread, e))
			worsen(e)
			if first == nil {
				first = err
			}
		}
	}
	return first
}
