package workflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

const maxID = 100 // characters

// checkWorkflow reports what the table cannot say. A job that the table already
// found fault with is left alone: what is missing in it would be reported twice.
func (f *file) checkWorkflow(w *Workflow) {
	faulty := slices.Clone(f.problems)
	f.checkTriggers(&w.On)
	f.checkConcurrency(w.Concurrency)
	sound := true
	for i, j := range w.Jobs {
		end := plan.Source{Line: 1 << 30}
		if i+1 < len(w.Jobs) {
			end = w.Jobs[i+1].ID.Source
		}
		if anyBetween(faulty, j.ID.Source, end) {
			sound = false
			continue
		}
		f.checkJob(j)
	}
	if sound && !plan.Errors(faulty) && !plan.Errors(f.problems) {
		f.checkNeeds(w)
	}
}

func anyBetween(problems []plan.Problem, from, to plan.Source) bool {
	return slices.ContainsFunc(problems, func(p plan.Problem) bool {
		return !before(p.Source, from) && before(p.Source, to)
	})
}

func before(a, b plan.Source) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
}

func (f *file) checkTriggers(t *Triggers) {
	for i := range t.Events {
		e := &t.Events[i]
		if e.Event == "schedule" && len(e.Cron) == 0 {
			f.warn(e.Source, ruleCron, "the schedule has no times, so it never comes", "add - cron: '0 3 * * *'")
		}
		for _, c := range e.Cron {
			if c.Line.Given() {
				f.checkCron(c.Line)
			}
		}
	}
	if t.Dispatch != nil {
		for _, in := range t.Dispatch.Inputs {
			f.checkDefault(in)
		}
	}
	if t.Call != nil {
		for _, in := range t.Call.Inputs {
			f.checkDefault(in)
		}
	}
}

func (f *file) checkCron(line Str) {
	if problem := cronProblem(line.Text); problem != "" {
		f.report(line.Source, ruleCron, fmt.Sprintf("the schedule %q cannot be read: %s", plan.Clip(line.Text), problem),
			"write five fields: minute hour day-of-month month day-of-week")
		return
	}
	if gap := shortestGap(line.Text); gap < minCronGap {
		f.warn(line.Source, ruleCron, fmt.Sprintf("the schedule %q comes every %d minutes; GitHub runs one every %d at most", plan.Clip(line.Text), gap, minCronGap),
			"leave more time between runs")
	}
}

// checkDefault warns of a default that the input could not have. It does no harm
// until somebody relies on it.
func (f *file) checkDefault(in Input) {
	if in.Kind() == "choice" && len(in.Options) == 0 {
		f.warn(in.Name.Source, ruleValue, fmt.Sprintf("the choice %q has no options", plan.Clip(in.Name.Text)), "add options:")
		return
	}
	d := in.Default
	if !d.Given() || d.HasExpr() {
		return
	}
	fits := true
	switch in.Kind() {
	case "boolean":
		fits = d.Text == "true" || d.Text == "false"
	case "number":
		_, fits = d.Number()
		_, numeric := float(d.Text)
		fits = fits || numeric
	case "choice":
		fits = slices.ContainsFunc(in.Options, func(o Str) bool { return o.Text == d.Text })
	}
	if !fits {
		f.warn(d.Source, ruleValue, fmt.Sprintf("the default %q is no value that the %s input %q can have", plan.Clip(d.Text), in.Kind(), plan.Clip(in.Name.Text)), "change the default or the type")
	}
}

// checkFilters looks for filters that may not stand together.
func (f *file) checkFilters(on *Node) {
	if on == nil {
		return
	}
	for _, event := range on.Fields {
		for _, field := range event.Value.Fields {
			what, ignoring := strings.CutSuffix(field.Key.Text, "-ignore")
			if ignoring && event.Value.Get(what) != nil {
				f.warn(field.Key.Source, ruleValue,
					fmt.Sprintf("%s has both %s and %s-ignore; GitHub refuses to run such a workflow", plan.Clip(event.Key.Text), what, what),
					fmt.Sprintf("keep %s and exclude with patterns that begin with !", what))
			}
		}
	}
}

func (f *file) checkJob(j *Job) {
	f.checkID(j.ID, "job")
	f.checkConcurrency(j.Concurrency)
	f.checkGroup(j.RunsOn.Group)
	f.checkStrategy(j.Strategy)
	f.checkContainer(j.Container, false)
	if !slices.ContainsFunc(j.Services, Service.computed) {
		for _, s := range j.Services {
			f.checkContainer(s.Container, true)
		}
	}
	f.checkSnapshot(j.Snapshot)
	f.checkSteps(j.Steps)
	if j.Uses.Given() {
		f.checkCallRef(j.Uses)
	}
}

func (f *file) checkID(id Str, of string) bool {
	valid := id.Text != "" && len(id.Text) < maxID
	for i, r := range id.Text {
		valid = valid && isIDRune(r) && (i > 0 || r != '-' && (r < '0' || r > '9'))
	}
	switch {
	case !valid:
		f.report(id.Source, ruleID, fmt.Sprintf("%q cannot be the ID of a %s", plan.Clip(id.Text), of),
			fmt.Sprintf("use letters, digits, - and _ only, begin with a letter or _, and stay below %d characters", maxID))
	case strings.HasPrefix(id.Text, "__"):
		f.report(id.Source, ruleID, fmt.Sprintf("the ID %q begins with two underscores, which are reserved", plan.Clip(id.Text)), "remove one underscore")
	default:
		return true
	}
	return false
}

// maxGroup is the longest name of a concurrency group.
const maxGroup = 400

func (f *file) checkConcurrency(c *Concurrency) {
	if c != nil && !c.Group.HasExpr() && len(c.Group.Text) > maxGroup {
		f.report(c.Source, ruleValue, fmt.Sprintf("the name of the concurrency group has more than %d characters", maxGroup), "shorten it")
	}
}

func (f *file) checkGroup(group Str) {
	if !group.Given() || group.HasExpr() {
		return
	}
	prefix, name, ok := strings.Cut(group.Text, "/")
	switch {
	case !ok:
	case name == "":
		f.report(group.Source, ruleValue, fmt.Sprintf("the runner group %q has no name after the slash", plan.Clip(group.Text)), "name a group")
	case strings.Contains(name, "/"), !slices.Contains([]string{"org", "organization", "ent", "enterprise"}, prefix):
		f.report(group.Source, ruleValue, fmt.Sprintf("%q is not the name of a runner group", plan.Clip(group.Text)),
			"write the name alone, or organization/NAME or enterprise/NAME")
	}
}

func (f *file) checkStrategy(s *Strategy) {
	if s == nil || s.Matrix == nil || s.Matrix.Expr.Given() {
		return
	}
	m := s.Matrix
	for _, v := range m.Vectors {
		if !v.Insert && v.Value.Kind == Sequence && len(v.Value.Items) == 0 {
			f.report(v.Value.Source, ruleMatrix, fmt.Sprintf("the matrix vector %q is empty, so there is no job to run", plan.Clip(v.Key.Text)),
				"give at least one value, or remove the vector")
		}
	}
	if len(m.Vectors) == 0 && (m.Include == nil || len(m.Include.Items) == 0 && !m.Include.HasExpr()) {
		f.report(m.Source, ruleMatrix, "the matrix has no values", "add a vector such as os: [ubuntu-latest], or entries under include:")
	}
	if !s.FailFast.HasExpr() && !s.MaxParallel.HasExpr() && !m.hasExpr() {
		f.checkCells(m)
	}
}

// hasExpr reports whether any cell of the matrix is known only at run time.
func (m *Matrix) hasExpr() bool {
	return m.Include != nil && m.Include.HasExpr() || m.Exclude != nil && m.Exclude.HasExpr() ||
		slices.ContainsFunc(m.Vectors, func(v Field) bool { return v.Insert || v.Key.HasExpr() || v.Value.HasExpr() })
}

// checkCells checks the entries of include and exclude, as GitHub does at once
// when nothing in the matrix is computed.
func (f *file) checkCells(m *Matrix) {
	each := func(n *Node, of string, visit func(Field)) {
		if n == nil {
			return
		}
		for _, item := range n.Items {
			if len(item.Fields) == 0 {
				f.report(item.Source, ruleMatrix, "this entry of "+of+" is empty", "name a vector and a value, or remove it")
			}
			for _, field := range item.Fields {
				visit(field)
			}
		}
	}
	each(m.Include, "include", func(Field) {})
	each(m.Exclude, "exclude", func(field Field) {
		name := field.Key.Text
		if !slices.ContainsFunc(m.Vectors, func(v Field) bool { return strings.EqualFold(v.Key.Text, name) }) {
			f.report(field.Key.Source, ruleMatrix, fmt.Sprintf("the matrix has no vector %q to exclude from", plan.Clip(name)),
				"name a vector of the matrix; keys that only include: adds cannot be excluded")
		}
	})
}

// computed reports whether any part of the service is an expression: GitHub
// then looks at none of the services before the job begins.
func (s Service) computed() bool { return s.Insert || s.Name.HasExpr() || s.Container.computed() }

func (c *Container) computed() bool {
	if c == nil {
		return false
	}
	expr := c.Expr.Given() || c.Image.HasExpr() || c.Options.HasExpr() || c.Entrypoint.HasExpr() || c.Command.HasExpr()
	for _, p := range c.Env {
		expr = expr || p.Insert || p.Key.HasExpr() || p.Value.HasExpr()
	}
	expr = expr || slices.ContainsFunc(c.Ports, Str.HasExpr) || slices.ContainsFunc(c.Volumes, Str.HasExpr)
	if c.Credentials != nil {
		expr = expr || c.Credentials.Username.HasExpr() || c.Credentials.Password.HasExpr()
	}
	return expr
}

// checkContainer: a container may be empty, which means none; but one that says
// docker:// and then nothing, or has options and no image, is a slip.
func (f *file) checkContainer(c *Container, service bool) {
	if c == nil || c.computed() {
		return
	}
	image, prefixed := strings.CutPrefix(c.Image.Text, "docker://")
	if image == "" && (prefixed || service || !c.Short) {
		f.report(c.Source, ruleValue, "the container has no image", "add image:")
	}
}

func (f *file) checkSnapshot(s *Snapshot) {
	if s == nil || !s.Version.Given() || s.Version.HasExpr() {
		return
	}
	major, rest, _ := strings.Cut(s.Version.Text, ".")
	if _, err := strconv.ParseUint(major, 10, 31); err != nil || rest != "*" {
		f.report(s.Source, ruleValue, fmt.Sprintf("the image version %q is not of the form 1.*", plan.Clip(s.Version.Text)), "write a major number and .*")
	}
}

func (f *file) checkSteps(steps []*Step) {
	ids := map[string]*Step{}
	eachStep(steps, func(s *Step) {
		if s.ID.Given() && s.ID.Text != "" && f.checkID(s.ID, "step") {
			id := strings.ToLower(s.ID.Text)
			if other := ids[id]; other != nil {
				f.report(s.ID.Source, ruleID, fmt.Sprintf("the step ID %q is already used at line %d", plan.Clip(s.ID.Text), other.ID.Source.Line),
					"IDs must differ in more than upper and lower case")
			} else {
				ids[id] = s
			}
		}
		if s.Uses.Given() {
			f.checkUses(s.Uses)
		}
	})
	eachStep(steps, func(s *Step) {
		for _, id := range s.Wait {
			f.checkBackground(id, "wait for", ids)
		}
		if s.Cancel.Given() {
			f.checkBackground(s.Cancel, "cancel", ids)
		}
	})
}

// checkBackground: only steps that run in the background, before this one, can be
// waited for or cancelled.
func (f *file) checkBackground(id Str, what string, ids map[string]*Step) {
	s := ids[strings.ToLower(id.Text)]
	switch {
	case s == nil:
		f.report(id.Source, ruleID, fmt.Sprintf("there is no step %q to %s", plan.Clip(id.Text), what), "give the step that id:")
	case before(id.Source, s.ID.Source):
		f.warn(id.Source, ruleID, fmt.Sprintf("the step %q to %s comes only later", plan.Clip(id.Text), what), "move it before this step")
	default:
		if background, literal := s.Background.Bool(); !literal || !background {
			f.warn(id.Source, ruleID, fmt.Sprintf("the step %q is not a background step, so there is nothing to %s", plan.Clip(id.Text), what),
				"add background: true to it")
		}
	}
}

// checkUses checks the reference of an action.
func (f *file) checkUses(uses Str) {
	text := uses.Text
	if image, ok := strings.CutPrefix(text, "docker://"); ok {
		if image == "" {
			f.warn(uses.Source, ruleUses, "docker:// is not followed by an image", "name one, such as docker://alpine:3")
		}
		return
	}
	if isLocal(text) {
		return
	}
	name, ref, ok := strings.Cut(text, "@")
	parts := splitPath(name)
	if !ok || ref == "" || strings.Contains(ref, "@") || len(parts) < 2 {
		hint := "write owner/repository@ref, owner/repository/path@ref, ./path or docker://image"
		if ok && ref != "" && len(parts) < 2 {
			hint = "the owner is missing: write owner/" + plan.Clip(text)
		} else if !ok && len(parts) >= 2 {
			hint = "add @ and a tag, branch or commit"
		}
		f.report(uses.Source, ruleUses, fmt.Sprintf("%q does not name an action", plan.Clip(text)), hint)
	}
}

// checkCallRef warns of references that GitHub cannot follow. They are errors only
// when somebody tries.
func (f *file) checkCallRef(uses Str) {
	path, ref, hasRef := strings.Cut(uses.Text, "@")
	local := isLocal(uses.Text)
	folder := 2 // where .github stands in the path
	if local {
		folder = 1
	}
	parts := strings.Split(path, "/")
	const hint = "write ./.github/workflows/FILE.yml, or owner/repository/.github/workflows/FILE.yml@ref"
	switch {
	case local && hasRef:
		f.warn(uses.Source, ruleUses, fmt.Sprintf("%q is in this repository and takes no @ref: it is read from the same commit", plan.Clip(uses.Text)), "remove @"+plan.Clip(ref))
	case !local && ref == "":
		f.warn(uses.Source, ruleUses, fmt.Sprintf("%q names no workflow: @ref is missing", plan.Clip(uses.Text)), hint)
	case len(parts) != folder+3, parts[folder] != ".github", parts[folder+1] != "workflows",
		!strings.HasSuffix(path, ".yml") && !strings.HasSuffix(path, ".yaml"):
		f.warn(uses.Source, ruleUses, fmt.Sprintf("%q is not a file in .github/workflows", plan.Clip(uses.Text)), hint)
	}
}

// checkNeeds checks the graph of jobs.
func (f *file) checkNeeds(w *Workflow) {
	if !slices.ContainsFunc(w.Jobs, func(j *Job) bool { return len(j.Needs) == 0 }) {
		unknown := false
		for _, j := range w.Jobs {
			for _, n := range j.Needs {
				if w.Job(n.Text) == nil {
					unknown = true
					f.report(n.Source, ruleNeeds, fmt.Sprintf("there is no job %q to need", plan.Clip(n.Text)), jobsHint(w))
				}
			}
		}
		if unknown {
			return // which is why none can begin
		}
		message, hint := "every job needs another one, so none can begin", "let at least one job have no needs:"
		if len(w.Jobs) == 0 {
			message, hint = "the workflow has no jobs", "add one"
		}
		f.report(w.jobsAt, ruleNeeds, message, hint)
		return
	}
	waiting := map[string]int{}    // how many needs of a job are not done
	waiters := map[string][]*Job{} // who needs a job
	done := map[string]bool{}      // by lower-case ID
	var ready []*Job               // jobs that could run now
	id := func(s Str) string { return strings.ToLower(s.Text) }
	for _, j := range w.Jobs {
		waiting[id(j.ID)] = len(j.Needs)
		if len(j.Needs) == 0 {
			ready = append(ready, j)
		}
		for _, n := range j.Needs {
			waiters[id(n)] = append(waiters[id(n)], j)
		}
	}
	for len(ready) > 0 {
		j := ready[0]
		ready = ready[1:]
		done[id(j.ID)] = true
		for _, waiter := range waiters[id(j.ID)] {
			if waiting[id(waiter.ID)]--; waiting[id(waiter.ID)] == 0 {
				ready = append(ready, waiter)
			}
		}
	}
	for _, j := range w.Jobs {
		if done[id(j.ID)] {
			continue
		}
		for _, n := range j.Needs {
			switch {
			case done[id(n)]:
			case w.Job(n.Text) != nil:
				f.report(n.Source, ruleNeeds, fmt.Sprintf("the jobs %q and %q wait for each other", plan.Clip(j.ID.Text), plan.Clip(n.Text)),
					"remove one of the needs: that close the circle")
			default:
				f.report(n.Source, ruleNeeds, fmt.Sprintf("there is no job %q to need", plan.Clip(n.Text)), jobsHint(w))
			}
		}
	}
}

func jobsHint(w *Workflow) string {
	const most = 10
	var all []string
	for _, j := range w.Jobs {
		if len(all) == most {
			all = append(all, "…")
			break
		}
		all = append(all, j.ID.Text)
	}
	return "jobs of this workflow: " + strings.Join(all, ", ")
}

func (f *file) checkAction(a *Action) {
	if !plan.Errors(f.problems) {
		f.checkSteps(a.Runs.Steps)
	}
}

// uniqueKey adds a number to a key that is taken, as GitHub does.
func uniqueKey(base string, taken map[string]bool) string {
	for n := 1; ; n++ {
		suffix := ""
		if n > 1 {
			suffix = "_" + strconv.Itoa(n)
		}
		k := base[:min(len(base), maxID-len(suffix))] + suffix
		if id := strings.ToLower(k); !taken[id] {
			taken[id] = true
			return k
		}
	}
}
