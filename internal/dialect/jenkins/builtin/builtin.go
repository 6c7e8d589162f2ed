// Package builtin is the part of Jenkins' steps that needs no process: files
// that are read and written, reports, archives, stashes, the tree itself.
//
// A pipeline's program asks for such a step as it asks for a shell script,
// through the engine, and learns what came of it from the step's outputs. So
// what a step said is in the record, and a run that was interrupted goes the
// same way again without touching a file.
//
//	Run(Call{"readFile", …}) ─► Effects{Outputs: text}
//
// A problem of the user's is told by Effects.Fail with the words that Jenkins
// has for it; Go errors are for failures of our own.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The names of the outputs that steps give.
const (
	OutText  = "text"  // of readFile, pwd …
	OutFound = "found" // "true" or "false"
	OutJSON  = "json"  // a list or a mapping
	OutWorse = "worse" // the result that the step sets: UNSTABLE
)

// Limits of what one step reads or lists.
const (
	maxText  = 4 << 20 // bytes of a file that a pipeline reads
	maxFiles = 100_000 // files that a pattern selects
)

// Trees is what checkout asks of those who know git.
type Trees interface {
	// Copy makes dst, which is empty or does not exist, a copy of the tree
	// that the job's workspace was made from, as it was then.
	Copy(ctx context.Context, s *plan.Scope, dst string) error
}

// Config is what a Set works with.
type Config struct {
	Depot *depot.Depot // artifacts and stashes; nil: there is no place for them
	Trees Trees        // nil: checkout can only use the tree that is there
}

// Set is the built-in steps. Its methods may be called from many goroutines.
type Set struct{ cfg Config }

// New makes the set.
func New(cfg Config) *Set { return &Set{cfg} }

// Call is one use of a step.
type Call struct {
	Name  string
	Dir   string // where relative names begin; absolute
	Args  map[string]string
	Scope *plan.Scope
}

// step is one built-in.
type step func(*call) error

// call is a Call while it is done.
type call struct {
	Call
	ctx     context.Context
	set     *Set
	log     io.Writer
	effects plan.Effects
}

// steps is the table of all built-ins.
func (s *Set) lookup(name string) (step, bool) {
	f, ok := map[string]step{
		"readFile":         readFile,
		"writeFile":        writeFile,
		"fileExists":       fileExists,
		"findFiles":        findFiles,
		"touch":            touch,
		"digest":           digest,
		"deleteDir":        deleteDir,
		"cleanWs":          cleanWs,
		"checkout":         checkout,
		"stash":            stash,
		"unstash":          unstash,
		"archiveArtifacts": archiveArtifacts,
		"publish":          publish,
		"junit":            junit,
		"zip":              zipFiles,
		"unzip":            unzip,
		"credential":       credentialFile,
		"sleep":            sleep,
		"answer":           answer,
		"mask":             func(*call) error { return nil }, // the engine has done it
	}[name]
	return f, ok
}

// Run does what the call asks, telling people about it in log.
func (s *Set) Run(ctx context.Context, c Call, log io.Writer) (plan.Effects, error) {
	f, ok := s.lookup(c.Name)
	if !ok {
		return plan.Effects{}, fmt.Errorf("builtin: there is no step %q", c.Name)
	}
	k := &call{Call: c, ctx: ctx, set: s, log: log}
	err := f(k)
	var fail failure
	if errors.As(err, &fail) {
		k.effects.Fail = strings.ToValidUTF8(fail.Error(), "\uFFFD")
		return k.effects, nil
	}
	return k.effects, err
}

// answer keeps what was found out, so that a run that goes on finds the same.
func answer(k *call) error {
	k.effects.Outputs = append(k.effects.Outputs, plan.Setting{Name: "answer", Value: k.arg("answer")})
	return nil
}

// failure is a problem of the user's.
type failure string

func (f failure) Error() string { return string(f) }

func failf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

// blame makes an error of the file system, which the user's names led to, the
// user's.
func blame(what string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return failf("%s: %v", what, path.Err)
	}
	return err
}

func (k *call) arg(name string) string { return k.Args[name] }

func (k *call) flag(name string, unset bool) bool {
	v, err := strconv.ParseBool(k.Args[name])
	if err != nil {
		return unset
	}
	return v
}

func (k *call) say(format string, args ...any) { fmt.Fprintf(k.log, format+"\n", args...) }

func (k *call) output(name, value string) {
	k.effects.Outputs = append(k.effects.Outputs, plan.Setting{Name: name, Value: value})
}

// path is a name that the pipeline gave, absolute.
func (k *call) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(k.Dir, filepath.FromSlash(name))
}

// roots are the directories that a job may empty.
func (k *call) roots() []string {
	return slices.DeleteFunc([]string{k.Scope.Dirs.Workspace, k.Scope.Dirs.Temp}, func(s string) bool { return s == "" })
}

// own reports whether the path is below one of the job's directories, or is
// the workspace itself.
func (k *call) own(path string) bool {
	for _, root := range k.roots() {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) && (rel != "." || root == k.Scope.Dirs.Workspace) {
			return true
		}
	}
	return false
}
