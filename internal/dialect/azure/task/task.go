// Package task is the tasks of Azure Pipelines that Fairlead does itself.
//
// On the service a task is a package of JavaScript or PowerShell that is
// downloaded for the job. Nearly all that most pipelines use do one of three
// things, and so does the table here:
//
//	run a script or a tool        Bash@3, Npm@1, Maven@4 ─► plan.Command
//	find an installed toolchain   NodeTool@0, GoTool@0   ─► a directory for PATH
//	move files                    CopyFiles@2, Cache@2   ─► done in this process
//
// A task is known by its documented inputs; names are matched in any case, and
// with the other names that the documentation gives them. Versions of a task
// that read the same inputs are one row of the table.
//
// What a task asks of the service (a connection, a feed, a scan) is not here:
// such a task is a problem that names it, unless the project says what stands
// for it.
package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Config is what a Set works with.
type Config struct {
	Depot *depot.Depot // keeps artifacts and caches; nil: there are none
	Trees Trees        // nil: checkout can only use the tree that is there
	// LookPath finds a program in the given directories or on PATH.
	LookPath func(program string, dirs []string) (string, error)
}

// Trees is what checkout asks of those who know git. An error that wraps
// fs.ErrNotExist means that there is no such repository, branch, tag or
// commit.
type Trees interface {
	// Copy makes dst a copy of the tree that the job's workspace was made from,
	// as it was then: with its .git and with uncommitted changes.
	Copy(ctx context.Context, s *plan.Scope, dst string) error
	// Clone makes dst a working tree of another repository of the server. An
	// empty ref is its default branch, and depth 0 its whole history.
	Clone(ctx context.Context, server, repository, ref, dst string, depth int) (commit string, err error)
	// Submodules fills the submodules of the working tree in dir.
	Submodules(ctx context.Context, s *plan.Scope, dir string, recursive bool) error
}

// Set is the tasks. Its methods may be called from many goroutines.
type Set struct {
	cfg   Config
	tasks map[string]*Task // by lower-case name
	names []string         // with versions, sorted
}

// Task is one row of the table.
type Task struct {
	Name     string
	Versions []int
	// Post reports whether it has work to do after the job's steps.
	Post bool

	required []string
	names    map[string]string // other names of inputs -> the one that is read here; lower case
	// One of these is set: what it comes to, or what is done in this process.
	resolve func(*call) error
	do      func(context.Context, *call) error
	post    func(context.Context, *call) error
}

// New makes the set.
func New(cfg Config) *Set {
	s := &Set{cfg: cfg, tasks: map[string]*Task{}}
	for _, t := range slices.Concat(scripts(), tools(), files(), []*Task{checkoutTask()}) {
		s.tasks[strings.ToLower(t.Name)] = t
		for _, v := range t.Versions {
			s.names = append(s.names, t.Name+"@"+strconv.Itoa(v))
		}
	}
	slices.Sort(s.names)
	return s
}

// Lookup finds the task for a reference, "Bash@3"; nil when it is not here, or
// not in that version.
func (s *Set) Lookup(ref string) *Task {
	name, version, given := strings.Cut(ref, "@")
	t := s.tasks[strings.ToLower(strings.TrimSpace(name))]
	if t == nil || !given {
		return t
	}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(strings.TrimSpace(major))
	if err != nil || !slices.Contains(t.Versions, n) {
		return nil
	}
	return t
}

// Unknown is the problem of a task that is not here.
func (s *Set) Unknown(ref string, at plan.Source, severity plan.Severity) plan.Problem {
	p := plan.Problem{Source: at, Severity: severity, Rule: "task", Message: fmt.Sprintf("the task %.80s is not built in", ref),
		Hint: fmt.Sprintf("say in fairlead.yaml what stands for it: azure: tasks: {%.80s: \"a script for bash\"}", ref)}
	name, _, _ := strings.Cut(ref, "@")
	if t := s.tasks[strings.ToLower(name)]; t != nil {
		p.Message = fmt.Sprintf("the task %s is built in, and not in the version of %.80s", t.Name, ref)
	} else if near := plan.Nearest(ref, s.names); near != "" {
		p.Hint += "; did you mean " + near + "?"
	}
	return p
}

// Call is one use of a task.
type Call struct {
	Ref    string
	Inputs map[string]string
	Step   *plan.Step
	Scope  *plan.Scope
	// Env is the whole environment of the step, Path what is in front of PATH.
	Env      map[string]string
	Path     []string
	Work     string // directory of the job beside its sources: a, b, artifacts
	Staging  string // Build.ArtifactStagingDirectory
	State    map[string]string
	Many     bool                         // the job checks out several repositories
	Remotes  map[string]map[string]string // repositories by alias: name, ref, type
	Volatile []string
}

// call is a Call while it is done.
type call struct {
	Call
	set     *Set
	task    *Task
	in      map[string]string // by lower-case name, trimmed
	act     *plan.Act
	effects *plan.Effects
	log     io.Writer
}

func (s *Set) begin(c Call) (*call, error) {
	t := s.Lookup(c.Ref)
	if t == nil {
		return nil, fmt.Errorf("task: %s is not here", c.Ref)
	}
	k := &call{Call: c, set: s, task: t, in: map[string]string{}, act: &plan.Act{}, effects: &plan.Effects{}, log: io.Discard}
	for name, value := range c.Inputs {
		lower := strings.ToLower(name)
		if other, ok := t.names[lower]; ok {
			lower = other
		}
		if value = strings.TrimSpace(value); value != "" || k.in[lower] == "" {
			k.in[lower] = value
		}
	}
	for _, name := range t.required {
		if k.input(name) == "" {
			return nil, failf("%s: the input %q is required and was not given", t.Name, name)
		}
	}
	return k, nil
}

// Resolve says what a use of a task comes to: a command, a built-in or a
// problem.
func (s *Set) Resolve(c Call, act *plan.Act) error {
	k, err := s.begin(c)
	if err == nil && k.task.resolve == nil {
		act.Builtin = &plan.Builtin{Name: c.Ref, Inputs: c.Inputs, Env: c.Env, Aloof: k.task.Name == checkoutName && k.idle()}
		return nil
	}
	if err == nil {
		k.act = act
		err = k.task.resolve(k)
	}
	return told(err, act, c.Step.Source)
}

// told turns what the user has to know into the act's problem.
func told(err error, act *plan.Act, at plan.Source) error {
	var fail failure
	var lack lacking
	switch {
	case errors.As(err, &fail):
		act.Problem = &plan.Problem{Source: at, Severity: plan.Error, Rule: "task", Message: clean(err.Error())}
		return nil
	case errors.As(err, &lack):
		act.Problem = &plan.Problem{Source: at, Severity: plan.Error, Rule: "not-here", Message: clean(err.Error()), Hint: lack.hint}
		return nil
	}
	return err
}

// Run does what the call asks, telling people about it in log.
func (s *Set) Run(ctx context.Context, c Call, post bool, log io.Writer) (plan.Effects, error) {
	k, err := s.begin(c)
	if err == nil {
		k.log = log
		run := k.task.do
		if post {
			run = k.task.post
		}
		if run != nil {
			err = run(ctx, k)
		}
	}
	effects := plan.Effects{}
	if k != nil {
		effects = *k.effects
	}
	var fail failure
	var lack lacking
	switch {
	case errors.As(err, &fail):
		effects.Fail = clean(err.Error())
		return effects, nil
	case errors.As(err, &lack):
		effects.Lacking = clean(err.Error())
		return effects, nil
	case err != nil:
		return effects, fmt.Errorf("%s: %w", c.Ref, err)
	}
	return effects, nil
}

// failure is a problem of the user's.
type failure string

func (f failure) Error() string { return string(f) }

// failf makes a failure. It does not wrap.
func failf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

// lacking is what this machine does not have.
type lacking struct{ message, hint string }

func (l lacking) Error() string { return l.message }

// input is the value of an input; the first of the names that was given.
func (c *call) input(names ...string) string {
	for _, name := range names {
		if v := c.in[strings.ToLower(name)]; v != "" {
			return v
		}
	}
	return ""
}

// raw is the value of an input as it was written.
func (c *call) raw(name string) string {
	for k, v := range c.Inputs {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// flag is the value of a boolean input.
func (c *call) flag(name string, otherwise bool) bool {
	switch strings.ToLower(c.input(name)) {
	case "true", "yes", "y", "on":
		return true
	case "false", "no", "n", "off":
		return false
	}
	return otherwise
}

// lines is the value of an input that is a list, one item a line.
func (c *call) lines(name string) []string {
	var list []string
	for line := range strings.SplitSeq(c.input(name), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// path is a path as the user wrote it, made absolute: below the workspace.
func (c *call) path(p string) string { return c.pathBelow(c.Scope.Dirs.Workspace, p) }

func (c *call) pathBelow(dir, p string) string {
	if p = filepath.FromSlash(strings.ReplaceAll(p, `\`, "/")); !filepath.IsAbs(p) {
		p = filepath.Join(dir, p)
	}
	return filepath.Clean(p)
}

// has finds a program, or says that it is not here.
func (c *call) has(program string) error {
	if _, err := c.set.cfg.LookPath(program, c.Path); err != nil {
		return lacking{fmt.Sprintf("%s needs %s, which is not on this machine's PATH", c.task.Name, program), "install " + program + ", or leave the step out of this run"}
	}
	return nil
}

// say writes one line to the log. Values from outside cannot begin a line of
// their own, and so cannot be taken for commands.
func (c *call) say(format string, args ...any) {
	fmt.Fprintln(c.log, clean(fmt.Sprintf(format, args...)))
}

// warn writes a line to the log and makes it an annotation.
func (c *call) warn(format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	fmt.Fprintln(c.log, "Warning: "+text)
	c.effects.Notes = append(c.effects.Notes, plan.Annotation{Level: plan.WarningLevel, Message: text})
}

func (c *call) variable(name, value string) {
	c.effects.Env = append(c.effects.Env, plan.Setting{Name: strings.ToLower(name), Value: value})
}

func (c *call) state(name, value string) {
	c.effects.State = append(c.effects.State, plan.Setting{Name: name, Value: value})
}

// clean makes a text one line without control characters and commands.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.ReplaceAll(s, "##vso[", "##-vso[")
}
