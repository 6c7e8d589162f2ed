package github

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What a job's Values hold: everything about the job that its expressions may
// ask for again and that is not a fact of the run.
const (
	valueFile     = "file"     // of the workflow that the job stands in: key of a plan.Text
	valueJob      = "job"      // the job's ID in that file
	valueMatrix   = "matrix"   // the cell
	valueStrategy = "strategy" // fail-fast and the like
	valueInputs   = "inputs"   // of a called workflow
	valueCaller   = "caller"   // who called: {secrets, values}
	valueSecrets  = "secrets"  // in caller: "inherit", or name -> expression
	valueValues   = "values"   // in caller: the calling job's own Values
	valueTitle    = "title"    // what stands in front of names in a called workflow: "release / "
	// needs and status are those of the job that this one is a part of; the
	// parts have no needs of their own.
	valueNeeds  = "needs"
	valueStatus = "status"
)

// What Values of a group, that is of a composite action, hold.
const (
	valueHome       = "home"              // owner/name@ref that the action comes from; "" for the workspace
	valueSteps      = "steps"             // the group's steps, []plan.Step
	valuePath       = "action_path"       // absolute directory of the action
	valueRepository = "action_repository" // owner/name, "" for a local one
	valueRef        = "action_ref"
)

// scope is what names mean to the expression engine. Contexts are made when
// they are asked for.
func (e *evaluator) scope() *expression.Scope {
	return &expression.Scope{Context: e.context, Function: e.function}
}

func (e *evaluator) context(name string) (any, bool) {
	s := e.s
	switch name {
	case "github":
		return e.github(), true
	case "env":
		if e.env == nil {
			env, err := e.inherited()
			if err != nil {
				e.err = err
			}
			e.env = env
		}
		return exact(e.env), true
	case "vars":
		if s.Context == nil {
			return nil, true
		}
		return s.Vars, true
	case "secrets":
		secrets, err := e.secrets()
		if err != nil {
			e.err = err
		}
		return secrets, true
	case "inputs":
		return e.inputs(), true
	case "matrix":
		return e.ofJob(valueMatrix), true
	case "strategy":
		if strategy := e.ofJob(valueStrategy); strategy != nil {
			return strategy, true
		}
		return map[string]any{"fail-fast": true, "job-index": 0.0, "job-total": 1.0, "max-parallel": 1.0}, true
	case "needs":
		if snapshot := e.ofJob(valueNeeds); snapshot != nil {
			return snapshot, true
		}
		return outcomes(s.Needs), true
	case "jobs":
		return outcomes(s.Jobs), true
	case "job":
		return e.job(), true
	case "runner":
		return e.runner(), true
	case "steps":
		return e.steps(), true
	}
	return nil, false
}

// exact is a set of names that are told apart by case.
func exact(m map[string]string) *expression.Object {
	o := expression.NewExactObject()
	for _, k := range sortedKeys(m) {
		o.Set(k, m[k])
	}
	return o
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ofJob is one of the job's Values; nil when it has none.
func (e *evaluator) ofJob(key string) any {
	if e.s.Job == nil {
		return nil
	}
	return e.s.Job.Values[key]
}

// word is GitHub's word for a verdict: it has four.
func word(v plan.Verdict) string {
	switch v {
	case plan.Success, plan.Cancelled, plan.Skipped:
		return string(v)
	case "":
		return ""
	}
	return string(plan.Failure)
}

// outcomes is needs or jobs.
func outcomes(m map[string]plan.Outcome) map[string]any {
	out := make(map[string]any, len(m))
	for id, o := range m {
		outputs := make(map[string]any, len(o.Outputs))
		for k, v := range o.Outputs {
			outputs[k] = v
		}
		out[id] = map[string]any{"result": word(o.Verdict), "outputs": outputs}
	}
	return out
}

func (e *evaluator) steps() any {
	out := expression.NewObject()
	for _, id := range sortedKeys(e.s.Steps) {
		o := e.s.Steps[id]
		out.Set(id, map[string]any{
			"outputs":    o.Outputs,
			"outcome":    word(o.Outcome),
			"conclusion": word(o.Conclusion),
		})
	}
	return out
}

func (e *evaluator) inputs() any {
	s := e.s
	if s.Group != nil {
		return s.Group.Inputs
	}
	if s.Jobs != nil && s.Job != nil && s.Job.Deferred != nil && e.d != nil {
		inputs, err := e.calledInputs()
		if err != nil {
			e.err = err
		}
		return inputs
	}
	if given := e.ofJob(valueInputs); given != nil {
		return given
	}
	if s.Context == nil {
		return nil
	}
	return s.Inputs
}

// secrets are those of the run or, in a called workflow, those that the
// caller passes on.
func (e *evaluator) secrets() (map[string]string, error) {
	s := e.s
	if s.Context == nil {
		return nil, nil
	}
	caller, called := e.ofJob(valueCaller).(map[string]any)
	if !called || caller[valueSecrets] == nil {
		if !called {
			return s.Secrets, nil
		}
		return justToken(s.Secrets), nil
	}
	values, _ := caller[valueValues].(map[string]any)
	above := *s
	above.Job = &plan.Job{Values: values}
	above.Group = nil
	ev := &evaluator{s: &above}
	passed, listed := caller[valueSecrets].(map[string]any)
	if !listed {
		return ev.secrets() // inherit
	}
	out := justToken(s.Secrets)
	for _, name := range sortedKeys(passed) {
		text, _ := passed[name].(string)
		v, err := ev.string(plan.Expr{Text: text, Source: e.s.Job.Source})
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

// justToken is what a called workflow has even when nothing is passed on.
func justToken(secrets map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range secrets {
		if strings.EqualFold(name, tokenName) {
			out[name] = v
		}
	}
	return out
}

const tokenName = "GITHUB_TOKEN"

func (e *evaluator) token() string {
	if e.s.Context != nil {
		for name, v := range e.s.Secrets {
			if strings.EqualFold(name, tokenName) {
				return v
			}
		}
	}
	return ""
}

func (e *evaluator) job() any {
	s := e.s
	out := expression.NewObject()
	out.Set("status", word(cmp.Or(s.Status, plan.Success)))
	e.placed(out)
	if s.Context != nil && s.Change != nil && s.Pipeline != nil {
		file, _ := e.ofJob(valueFile).(string)
		file = cmp.Or(file, s.Pipeline.File)
		repository, _, _ := strings.Cut(file, "/.github/")
		local := strings.HasPrefix(file, ".github/")
		if local {
			repository = s.Change.Repository
			out.Set("workflow_ref", repository+"/"+file+"@"+s.Change.Ref)
			out.Set("workflow_sha", s.Change.SHA)
		} else {
			out.Set("workflow_ref", file)
		}
		out.Set("workflow_repository", repository)
		out.Set("workflow_file_path", workflowPath(file))
	}
	return out
}

// workflowPath is the path inside its repository of the text with the key.
func workflowPath(file string) string {
	if i := strings.Index(file, ".github/"); i > 0 {
		file, _, _ = strings.Cut(file[i:], "@")
	}
	return file
}

func (e *evaluator) runner() *expression.Object {
	out := expression.NewObject()
	e.machine(func(name, value string) { out.Set(name, value) })
	return out
}

// machine says what is known of the machine, the properties of the runner
// context.
func (e *evaluator) machine(set func(name, value string)) {
	s := e.s
	for _, p := range [...]struct{ name, value string }{
		{"os", s.OS}, {"arch", s.Arch}, {"name", runnerName}, {"environment", "self-hosted"},
		{"tool_cache", s.Dirs.Tools}, {"temp", s.Dirs.Temp},
	} {
		if p.value != "" {
			set(p.name, p.value)
		}
	}
	if s.Dirs.Workspace != "" {
		set("workspace", path.Dir(s.Dirs.Workspace))
	}
	if s.Context != nil && s.Debug {
		set("debug", "1")
	}
}

const runnerName = "fairlead"

// github makes the github context.
func (e *evaluator) github() *expression.Object {
	if e.made != nil {
		return e.made
	}
	out := expression.NewObject()
	e.made = out
	e.properties(func(name, value string) { out.Set(name, value) })
	if e.hasChange() {
		out.Set("ref_protected", false)
		out.Set("event", payload(e.s.Context))
	}
	return out
}

// hasChange reports whether it is known what the run is about.
func (e *evaluator) hasChange() bool { return e.s.Context != nil && e.s.Change != nil }

// properties says the properties of the github context that are texts. But for
// those that are also secret or only of use inside expressions, they are the
// GITHUB_ variables of steps too: see environment.
func (e *evaluator) properties(set func(name, value string)) {
	s := e.s
	if e.hasChange() {
		c := s.Change
		owner, _, _ := strings.Cut(c.Repository, "/")
		server, api, graphql := servers(c.Server)
		set("token", e.token())
		if id, ok := e.ofJob(valueJob).(string); ok {
			set("job", id)
		}
		set("ref", c.Ref)
		set("sha", c.SHA)
		set("repository", c.Repository)
		set("repository_owner", owner)
		set("repositoryUrl", "git://"+strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")+"/"+c.Repository+".git")
		set("run_id", s.RunID)
		set("run_number", strconv.Itoa(s.Number))
		set("run_attempt", strconv.Itoa(max(1, s.Attempt)))
		set("retention_days", "90")
		set("actor", c.Actor)
		set("triggering_actor", c.Actor)
		set("head_ref", c.HeadRef)
		set("base_ref", c.BaseRef)
		set("event_name", c.Event)
		set("server_url", server)
		set("api_url", api)
		set("graphql_url", graphql)
		name, kind := shortRef(c.Ref)
		set("ref_name", name)
		set("ref_type", kind)
		set("secret_source", "Actions")
		identities(c.Payload, set)
		if p := s.Pipeline; p != nil {
			set("workflow", p.Name)
			set("workflow_ref", c.Repository+"/"+p.File+"@"+c.Ref)
			set("workflow_sha", c.SHA)
		}
	}
	if s.Dirs.Workspace != "" {
		set("workspace", s.Dirs.Workspace)
		set("event_path", eventPath(s.Dirs))
	}
	if g := s.Group; g != nil {
		for _, k := range []string{valuePath, valueRepository, valueRef} {
			v, _ := g.Values[k].(string)
			set(k, v)
		}
		set("action_status", word(e.status()))
	}
	for _, k := range sortedKeys(e.self) {
		set(k, e.self[k])
	}
}

// identities says what the event tells of the repository and of who acted.
// Where it does not speak of them at all, payload does, and knows no IDs.
func identities(p event, set func(name, value string)) {
	object := func(key string) (o event, ok bool) {
		v, given := p[key]
		if !given {
			return nil, true
		}
		o, ok = v.(map[string]any)
		return o, ok
	}
	if repository, ok := object("repository"); ok {
		set("repository_id", idText(repository["id"]))
		if owner, ok := repository["owner"].(map[string]any); ok || repository == nil {
			set("repository_owner_id", idText(owner["id"]))
		}
		if v, ok := repository["visibility"].(string); ok {
			set("repository_visibility", v)
		}
	}
	if sender, ok := object("sender"); ok {
		set("actor_id", idText(sender["id"]))
	}
}

// idText is a number of the event as text; IDs that nobody knows are empty.
func idText(v any) string { return expression.String(v) }

// servers are the addresses of a code host: pages, REST and GraphQL.
func servers(server string) (page, api, graphql string) {
	const public = "https://github.com"
	page = strings.TrimSuffix(cmp.Or(server, public), "/")
	if page == public {
		return page, "https://api.github.com", "https://api.github.com/graphql"
	}
	u, err := url.Parse(page)
	switch {
	case err != nil:
	case u.Host == "github.com" || strings.HasSuffix(u.Host, ".ghe.com"):
		u.Host = "api." + u.Host
		return page, u.String(), u.JoinPath("graphql").String()
	}
	return page, page + "/api/v3", page + "/api/graphql"
}

// shortRef is a ref as people write it, and whether it is a branch or a tag.
func shortRef(ref string) (name, kind string) {
	if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return name, "branch"
	}
	if name, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return name, "tag"
	}
	return strings.TrimPrefix(ref, "refs/pull/"), "branch"
}

// inherited are the variables that a step sees before its own env: in rising
// order those of the command line, of the workflow and the job, those that
// earlier steps set, and those of the composite actions around it.
func (e *evaluator) inherited() (map[string]string, error) {
	s := e.s
	env := map[string]string{}
	if s.Context != nil {
		maps.Copy(env, s.Context.Env)
	}
	if s.Job != nil && len(s.Job.Env) > 0 {
		above := *s
		above.Group = nil // the job's variables know nothing of an action
		ev := &evaluator{s: &above, env: map[string]string{}}
		list, err := ev.bindings(s.Job.Env)
		for _, b := range list {
			env[b.Name] = b.Value
		}
		if err != nil {
			return env, err
		}
	}
	maps.Copy(env, s.Env)
	var groups []*plan.GroupScope
	for g := s.Group; g != nil; g = g.Parent {
		groups = append(groups, g)
	}
	for _, g := range slices.Backward(groups) {
		maps.Copy(env, g.Env)
	}
	return env, nil
}

// inside reports whether the scope is that of a job that runs, and not of one
// that may run later.
func (e *evaluator) inside() bool { return e.s.Dirs.Workspace != "" }

// status is what success() and failure() look at. While a job has not begun,
// that is all of its ancestors, also those of the job that it is a part of.
func (e *evaluator) status() plan.Verdict {
	s := e.s
	if e.inside() {
		if s.Group != nil && !e.ofWholeJob && s.Status != plan.Cancelled {
			return cmp.Or(s.Group.Status, plan.Success)
		}
		return cmp.Or(s.Status, plan.Success)
	}
	status := cmp.Or(s.Status, plan.Success)
	before, _ := e.ofJob(valueStatus).(string)
	if before := plan.Verdict(before); before != "" && before != plan.Success && status != plan.Cancelled {
		if status == plan.Success || before.Bad() {
			status = before
		}
	}
	return status
}

// function finds the functions that ask about the run.
func (e *evaluator) function(name string) (expression.Func, bool) {
	test := func(f func() bool) (expression.Func, bool) {
		return expression.Func{Call: func([]any) (any, error) { return f(), nil }}, true
	}
	switch name {
	case "always":
		return test(func() bool { return true })
	case "cancelled":
		return test(func() bool { return e.s.Status == plan.Cancelled })
	case "success", "failure":
		f := expression.Func{Max: len(e.s.Needs) + maxNeeds, Call: func(args []any) (any, error) { return e.all(name, args), nil }}
		return f, true
	case "hashfiles":
		return expression.Func{Min: 1, Max: 255, Call: e.hashFiles}, true
	}
	return expression.Func{}, false
}

// maxNeeds is how many jobs success() and failure() may name.
const maxNeeds = 1000

// all is success() or failure(), of everything before or of the needs named.
func (e *evaluator) all(name string, args []any) bool {
	status := e.status()
	if len(args) > 0 {
		status = plan.Success
		for _, a := range args {
			id := expression.String(a)
			for need, o := range e.s.Needs {
				if !strings.EqualFold(need, id) {
					continue
				}
				if o.Verdict.Bad() {
					status = plan.Failure
				} else if o.Verdict != plan.Success && status == plan.Success {
					status = plan.Skipped
				}
			}
		}
	}
	if name == "failure" {
		return status.Bad()
	}
	return status == plan.Success
}
