package workflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// GitHub's limits of calls, and ours of what they may add up to.
const (
	maxCallDepth = 9      // a workflow, and nine levels below it
	maxCalled    = 50     // different files
	maxJobs      = 20_000 // of a workflow and all it calls, a file counted at each call
)

// ErrNotLoaded is what [Linker.Load] returns for a workflow that is not looked at
// here, such as one of another repository when there is no network. The job then
// stays without Called, and that is no problem.
var ErrNotLoaded = errors.New("the called workflow was not loaded")

// Linker joins a workflow and those it calls, and checks each call against what
// the called workflow declares.
type Linker struct {
	// Load reads a called workflow. The name identifies the file, in problems
	// and to tell whether it has been read before; it comes back as
	// from.Source.File when that workflow calls another.
	Load func(from *Workflow, uses Str) (name string, src []byte, err error)

	// Default is what a token may do where no file says. When nil, requests are
	// checked only against permissions that are written down.
	Default *Permissions

	// Limits; zero means GitHub's.
	MaxDepth, MaxJobs, MaxSize int
}

// Link sets Called on every job of w that calls a workflow, and on the jobs of
// those, and reports what is wrong with the calls. Trees are shared: a file
// called twice is one [Workflow]. The problems of the called files themselves
// are among those returned.
func (l Linker) Link(w *Workflow) []plan.Problem {
	if l.MaxDepth == 0 {
		l.MaxDepth = maxCallDepth
	}
	if l.MaxJobs == 0 {
		l.MaxJobs = maxJobs
	}
	if l.MaxSize == 0 {
		l.MaxSize = maxResult
	}
	k := &linking{
		Linker: l,
		file:   &file{name: w.Source.File},
		size:   w.size,
		read:   map[string]*Workflow{w.Source.File: w},
		names:  map[[2]string]string{},
	}
	k.workflow(w, w.Permissions, []*Workflow{w})
	return k.file.problems
}

// linking is one run of a [Linker].
type linking struct {
	Linker
	file  *file                // collects problems
	read  map[string]*Workflow // by name
	names map[[2]string]string // of what a file calls by a reference
	jobs  int
	size  int
}

// workflow links the jobs of one workflow; chain is the way from the top to it.
// It is false when it makes no sense to go on.
func (k *linking) workflow(w *Workflow, granted *Permissions, chain []*Workflow) bool {
	if k.jobs += len(w.Jobs); k.jobs > k.MaxJobs {
		k.file.report(plan.Source{File: chain[0].Source.File}, ruleLimit,
			fmt.Sprintf("the workflow and those it calls have more than %d jobs", k.MaxJobs), "call fewer workflows")
		return false
	}
	for _, j := range w.Jobs {
		if !j.Uses.Given() {
			continue
		}
		if !k.call(w, j, w.PermissionsOf(j, granted), chain) {
			return false
		}
	}
	return true
}

// PermissionsOf is what counts for a job: its own permissions, or those of its
// workflow, or those of the job that called the workflow.
func (w *Workflow) PermissionsOf(j *Job, caller *Permissions) *Permissions {
	switch {
	case j.Permissions != nil:
		return j.Permissions
	case w.Permissions != nil:
		return w.Permissions
	}
	return caller
}

func (k *linking) call(w *Workflow, j *Job, granted *Permissions, chain []*Workflow) bool {
	f := k.file
	if len(chain) > k.MaxDepth {
		f.report(j.Uses.Source, ruleCall, fmt.Sprintf("workflows call each other more than %d levels deep", k.MaxDepth), "call the inner workflow directly")
		return false
	}
	before := len(f.problems)
	called, ok := k.load(w, j)
	if called == nil {
		return ok
	}
	j.Called = called
	if slices.Contains(chain, called) {
		f.report(j.Uses.Source, ruleCall, fmt.Sprintf("%s calls itself", called.Source.File), "remove the call that closes the circle")
		return false
	}
	if k.size += called.size; k.size > k.MaxSize {
		f.report(j.Uses.Source, ruleLimit, fmt.Sprintf("the workflow and those it calls need more than %d bytes when read", k.MaxSize), "call fewer workflows")
		return false
	}
	if called.On.Call == nil {
		f.report(j.Uses.Source, ruleCall, fmt.Sprintf("%s cannot be called", called.Source.File), "add workflow_call to its on:")
		return false
	}
	k.checkInputs(j, called.On.Call)
	k.checkSecrets(j, called.On.Call)
	k.checkPermissions(j, called, granted)
	if plan.Errors(f.problems[before:]) {
		return false
	}
	if called.Permissions != nil {
		granted = called.Permissions
	}
	return k.workflow(called, granted, append(chain, called))
}

// load reads the workflow that a job calls. It is nil when there is none to go on
// with; ok says whether that is all right.
func (k *linking) load(w *Workflow, j *Job) (called *Workflow, ok bool) {
	ref := [2]string{w.Source.File, j.Uses.Text}
	if name, ok := k.names[ref]; ok {
		return k.read[name], true
	}
	name, src, err := k.Load(w, j.Uses)
	switch {
	case errors.Is(err, ErrNotLoaded):
		return nil, true
	case err != nil:
		k.file.report(j.Uses.Source, ruleCall, fmt.Sprintf("the called workflow %s cannot be read: %v", plan.Clip(j.Uses.Text), err), "check the path and the ref")
		return nil, false
	}
	if called := k.read[name]; called != nil {
		k.names[ref] = name
		return called, true
	}
	if len(k.read) == maxCalled {
		k.file.report(j.Uses.Source, ruleLimit, fmt.Sprintf("more than %d different workflows are called", maxCalled), "put some of their jobs together")
		return nil, false
	}
	called, problems := Read(name, src)
	for _, p := range problems {
		k.file.add(p)
	}
	if called == nil || plan.Errors(problems) {
		k.file.report(j.Uses.Source, ruleCall, fmt.Sprintf("the called workflow %s has errors", name), "mend them first")
		return nil, false
	}
	k.read[name], k.names[ref] = called, name
	return called, true
}

func (k *linking) checkInputs(j *Job, c *Call) {
	f := k.file
	given := byName(j.With)
	for _, in := range c.Inputs {
		if in.Default.Given() {
			k.checkInput(in, in.Default)
		}
		value, ok := given[strings.ToLower(in.Name.Text)]
		switch {
		case ok:
			k.checkInput(in, value)
		case in.Must() && !hasInsert(j.With):
			f.report(j.Uses.Source, ruleCall, fmt.Sprintf("the called workflow requires the input %q", plan.Clip(in.Name.Text)), "give it under with:")
		}
	}
	for _, p := range j.With {
		if !p.Insert && !p.Key.HasExpr() && !slices.ContainsFunc(c.Inputs, func(in Input) bool { return strings.EqualFold(in.Name.Text, p.Key.Text) }) {
			f.report(p.Value.Source, ruleCall, fmt.Sprintf("the called workflow has no input %q", plan.Clip(p.Key.Text)), inputsHint(c))
		}
	}
}

// checkInput compares a value with the type of its input. A string takes any
// scalar.
func (k *linking) checkInput(in Input, value Str) {
	if value.HasExpr() {
		return
	}
	_, isBool := value.Bool()
	_, isNumber := value.Number()
	if kind := in.Kind(); kind == "boolean" && !isBool || kind == "number" && !isNumber {
		k.file.report(value.Source, ruleCall, fmt.Sprintf("%q is no %s, which the input %q must be", plan.Clip(value.Text), kind, plan.Clip(in.Name.Text)),
			"write a "+kind+" without quotes")
	}
}

func inputsHint(c *Call) string {
	if len(c.Inputs) == 0 {
		return "it takes no inputs"
	}
	var all []string
	for _, in := range c.Inputs {
		all = append(all, in.Name.Text)
	}
	return "its inputs: " + strings.Join(all, ", ")
}

func (k *linking) checkSecrets(j *Job, c *Call) {
	if j.InheritSecrets {
		return
	}
	f := k.file
	given := byName(j.Secrets)
	for _, s := range c.Secrets {
		if _, ok := given[strings.ToLower(s.Name.Text)]; !ok && s.Must() && !hasInsert(j.Secrets) {
			f.report(j.Uses.Source, ruleCall, fmt.Sprintf("the called workflow requires the secret %q", plan.Clip(s.Name.Text)),
				"give it under secrets:, or write secrets: inherit")
		}
	}
	for _, p := range j.Secrets {
		if !p.Insert && !p.Key.HasExpr() && !slices.ContainsFunc(c.Secrets, func(s Secret) bool { return strings.EqualFold(s.Name.Text, p.Key.Text) }) {
			f.report(p.Value.Source, ruleCall, fmt.Sprintf("the called workflow has no secret %q", plan.Clip(p.Key.Text)), "declare it under workflow_call: secrets: there")
		}
	}
}

// checkPermissions: a called workflow may ask for less than its caller has, never
// for more.
func (k *linking) checkPermissions(j *Job, called *Workflow, granted *Permissions) {
	if granted == nil {
		granted = k.Default
	}
	if granted == nil {
		return
	}
	check := func(who string, asked *Permissions) {
		if asked == nil {
			return
		}
		if over := asked.beyond(granted); len(over) > 0 {
			for i, scope := range over {
				over[i] = fmt.Sprintf("%s: %s (has %s)", scope, asked.Access(scope), granted.Access(scope))
			}
			k.file.report(j.ID.Source, ruleCall,
				fmt.Sprintf("%s of %s asks for more than this job may give: %s", who, called.Source.File, strings.Join(over, ", ")),
				"grant it with permissions: here, or ask for less there")
		}
	}
	check("the workflow level", called.Permissions)
	for _, inner := range called.Jobs {
		check(fmt.Sprintf("the job %q", plan.Clip(inner.ID.Text)), inner.Permissions)
	}
}

func byName(pairs []Pair) map[string]Str {
	m := make(map[string]Str, len(pairs))
	for _, p := range pairs {
		m[strings.ToLower(p.Key.Text)] = p.Value
	}
	return m
}

// hasInsert reports whether names may come from an expression.
func hasInsert(pairs []Pair) bool {
	return slices.ContainsFunc(pairs, func(p Pair) bool { return p.Insert || p.Key.HasExpr() })
}
