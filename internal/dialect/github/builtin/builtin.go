// Package builtin is the part of GitHub's own actions that Fairlead does
// itself: checkout, cache, artifacts and the setup of toolchains.
//
// Nearly every workflow uses them, and nearly all of what they do on GitHub
// is moving bytes between a fresh machine and GitHub's servers. Here the tree
// is already in the workspace, the toolchains are installed, and caches and
// artifacts are blobs on this machine. So each action is its contract
// (inputs, outputs, what fails and with which words) over a local store, with
// no network, no node and no process:
//
//	Lookup("actions/cache@v4") ─► Action (inputs, outputs, has it a post step)
//	Run(Call)                  ─► Effects (outputs, environment, PATH, notes)
//
// Other JavaScript actions bring the real clients of GitHub's cache and
// artifact services in their bundles. For them [Set.Service] speaks the
// services' protocols on a loopback address, over the same indexes: an artifact
// that a built-in saved, a real client finds, and the other way round. (Caches
// of the two do not meet: their archives differ, and so do their versions.)
//
// A problem of the user's (an input that is wrong, a version that is not
// known, an artifact that nobody uploaded) is told by Effects.Fail in one
// sentence; Go errors are for failures of our own.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Config is what a Set works with.
type Config struct {
	Blobs blob.Store // the bytes of caches and artifacts
	Index string     // directory of the indexes that name them; made when first needed
	Tools string     // tool cache, when a call's scope names none
	Trees Trees      // nil: checkout can only use the tree that is there

	// InPlace says that jobs work in the user's own tree, which checkout
	// must then not replace.
	InPlace bool

	// Listen opens the loopback address of the service; nil: no service.
	Listen func() (net.Listener, error)
	// Identity signs the OIDC token of a job for an audience; nil: there are none.
	Identity func(ctx context.Context, run string, job *plan.Job, audience string) (string, error)
	// LookupEnv reads this machine's environment; nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Root is put in front of the absolute directories in which installed
	// toolchains are looked for ("/usr/local/go"); "" means "/".
	Root string
}

// Set is the built-in actions. Its methods may be called from many
// goroutines.
type Set struct {
	cfg     Config
	depot   *depot.Depot
	actions map[string]*Action

	mu       sync.Mutex
	service  *Service
	uploaded map[jobKey][]plan.Artifact // by clients of the service, not yet asked for
}

// jobKey is a job of a run.
type jobKey struct{ run, job string }

// New makes the set. Close frees it.
func New(cfg Config) *Set {
	if cfg.LookupEnv == nil {
		cfg.LookupEnv = os.LookupEnv
	}
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	s := &Set{cfg: cfg, depot: depot.New(cfg.Blobs, cfg.Index), actions: map[string]*Action{}, uploaded: map[jobKey][]plan.Artifact{}}
	for _, a := range s.table() {
		s.actions[a.Name] = a
	}
	return s
}

// Close stops the service, if it was started.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service == nil {
		return nil
	}
	err := s.service.close()
	s.service = nil
	return err
}

// Uploaded returns the artifacts that JavaScript actions of the job have
// uploaded by themselves since it was last asked: what their steps have for
// Effects.Artifacts.
func (s *Set) Uploaded(scope *plan.Scope) []plan.Artifact {
	key := jobKey{run: scope.RunID}
	if scope.Job != nil {
		key.job = scope.Job.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.uploaded[key]
	delete(s.uploaded, key)
	return list
}

// Action is the contract of one built-in action.
type Action struct {
	Name    string // "actions/cache/save"
	Inputs  []Input
	Outputs []string
	Post    bool   // it has work to do after the job's steps
	PostIf  string // the condition of that work: "success()"

	main, post func(context.Context, *call) error
	// aloof says that the main work, as it is called, neither reads nor
	// changes the workspace and the temporary directory; nil: never.
	aloof func(*call) bool
}

// Input is one input of an action, as its action.yml declares it. Defaults
// that GitHub writes as expressions (the repository, the token) are empty
// here: the empty value means them.
type Input struct {
	Name     string
	Default  string
	Required bool
}

// Lookup finds the built-in for a "uses:" value, whatever its version:
// "actions/checkout@v4", "Actions/Cache/restore@abc123".
func (s *Set) Lookup(ref string) (*Action, bool) {
	name, _, _ := strings.Cut(ref, "@")
	a, ok := s.actions[strings.ToLower(strings.TrimSuffix(name, "/"))]
	return a, ok
}

// Call is one use of an action.
type Call struct {
	Name   string // Action.Name
	Post   bool   // the work after the job's steps
	Inputs map[string]string
	Env    map[string]string // the step's environment, as its workflow writes it
	State  map[string]string // what the main step saved, for its post step
	Scope  *plan.Scope
}

// Aloof reports whether the call can be run before there is a workspace.
func (s *Set) Aloof(c Call) bool {
	a, ok := s.Lookup(c.Name)
	if !ok || a.aloof == nil || c.Post || c.Scope == nil || c.Scope.Change == nil {
		return false
	}
	k := &call{Call: c, set: s, action: a, in: map[string]string{}, effects: new(plan.Effects), log: io.Discard}
	return k.readInputs() == nil && a.aloof(k)
}

// Run does what the call asks, telling people about it in log.
func (s *Set) Run(ctx context.Context, c Call, log io.Writer) (plan.Effects, error) {
	var effects plan.Effects
	a, ok := s.Lookup(c.Name)
	if !ok {
		return effects, fmt.Errorf("builtin: there is no action %q", c.Name)
	}
	if c.Scope == nil || c.Scope.Context == nil || c.Scope.Change == nil {
		return effects, fmt.Errorf("builtin: %s needs the scope of a running job", a.Name)
	}
	run := a.main
	if c.Post {
		run = a.post
	}
	if run == nil {
		return effects, nil
	}
	k := &call{Call: c, set: s, action: a, in: map[string]string{}, effects: &effects, log: log}
	err := k.readInputs()
	if err == nil {
		err = run(ctx, k)
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
	}
	if err != nil {
		return effects, fmt.Errorf("%s: %w", a.Name, err)
	}
	return effects, nil
}

// failure is a problem of the user's, on its way up to Effects.Fail.
type failure string

func (f failure) Error() string { return string(f) }

// failf makes a failure. It does not wrap.
func failf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

// lacking is what this machine does not have, on its way up to
// Effects.Lacking.
type lacking string

func (l lacking) Error() string { return string(l) }

func lackf(format string, args ...any) error { return lacking(fmt.Sprintf(format, args...)) }

// call is a Call while it is done.
type call struct {
	Call
	set     *Set
	action  *Action
	in      map[string]string // by lower-case name, trimmed, with defaults
	effects *plan.Effects
	log     io.Writer
}

func (c *call) readInputs() error {
	var unknown []string
	for name, value := range c.Inputs {
		lower := strings.ToLower(name)
		if !slices.ContainsFunc(c.action.Inputs, func(i Input) bool { return strings.ToLower(i.Name) == lower }) {
			unknown = append(unknown, name)
		}
		c.in[lower] = strings.TrimSpace(value)
	}
	if len(unknown) > 0 && !c.Post {
		slices.Sort(unknown)
		c.warn("%s has no input named %s", c.action.Name, strings.Join(unknown, ", "))
	}
	for _, i := range c.action.Inputs {
		lower := strings.ToLower(i.Name)
		if _, ok := c.in[lower]; !ok {
			c.in[lower] = i.Default
		}
		if i.Required && c.in[lower] == "" {
			return failf("%s: the input %q is required and was not given", c.action.Name, i.Name)
		}
	}
	return nil
}

// input is the value of an input, or its default.
func (c *call) input(name string) string { return c.in[strings.ToLower(name)] }

// flag is the value of a boolean input. The empty value is the default, or
// false when there is none.
func (c *call) flag(name string) (bool, error) {
	v := c.input(name)
	if v == "" {
		if i := slices.IndexFunc(c.action.Inputs, func(i Input) bool { return i.Name == name }); i >= 0 {
			v = c.action.Inputs[i].Default
		}
	}
	switch strings.ToLower(v) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	default:
		return false, failf("%s: the input %q must be true or false, not %.80q", c.action.Name, name, v)
	}
}

// number is the value of a numeric input between min and max; "" gives none.
func (c *call) number(name string, min, max, none int) (int, error) {
	v := c.input(name)
	if v == "" {
		return none, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < min || n > max {
		return 0, failf("%s: the input %q must be a number from %d to %d, not %.80q", c.action.Name, name, min, max, v)
	}
	return n, nil
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

func (c *call) output(name, value string) {
	c.effects.Outputs = append(c.effects.Outputs, plan.Setting{Name: name, Value: value})
}

func (c *call) state(name, value string) {
	c.effects.State = append(c.effects.State, plan.Setting{Name: name, Value: value})
}

func (c *call) setenv(name, value string) {
	c.effects.Env = append(c.effects.Env, plan.Setting{Name: name, Value: value})
}

// say writes one line to the log. Values from outside cannot begin a line of
// their own, and so cannot be taken for workflow commands.
func (c *call) say(format string, args ...any) {
	fmt.Fprintln(c.log, clean(fmt.Sprintf(format, args...)))
}

// warn writes a line to the log and makes it an annotation.
func (c *call) warn(format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	fmt.Fprintln(c.log, "Warning: "+text)
	c.effects.Notes = append(c.effects.Notes, plan.Annotation{Level: plan.WarningLevel, Message: text})
}

// workspace is the job's view of the tree.
func (c *call) workspace() string { return c.Scope.Dirs.Workspace }

// getenv is a variable as the step sees it: of the workflow, set by an earlier
// step, or this machine's.
func (c *call) getenv(name string) string {
	for _, env := range []map[string]string{c.Env, c.Scope.Env} {
		if v, ok := env[name]; ok {
			return v
		}
	}
	v, _ := c.set.cfg.LookupEnv(name)
	return v
}

// home is the directory that ~ means.
func (c *call) home() string {
	if c.Scope.Dirs.Home != "" {
		return c.Scope.Dirs.Home
	}
	return c.getenv("HOME")
}

// absolute is a path as the user wrote it (relative to the workspace, or
// beginning with ~) made absolute and clean.
func (c *call) absolute(path string) string {
	switch {
	case path == "~" || strings.HasPrefix(path, "~/"):
		path = filepath.Join(c.home(), path[1:])
	case !filepath.IsAbs(path):
		path = filepath.Join(c.workspace(), path)
	}
	return filepath.Clean(path)
}

// clean makes a text one line without control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n), -1
	for f >= unit && i < 3 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", f, "kMGT"[i])
}
