// Package protocol is what a running GitHub Actions step may say back.
//
// A step talks in two ways. In its output it writes commands, one a line:
//
//	::error file=main.go,line=3::undefined: x      a remark about the code
//	::group::Compile                               a fold in the log
//	::add-mask::hunter2                            a value never to be shown
//
// and it appends to files whose names it finds in its environment:
//
//	echo "version=1.2" >> "$GITHUB_OUTPUT"
//
// A third way needs no cooperation: problem matchers, regular expressions that
// turn lines of compilers and linters into remarks.
//
// A [Job] holds what the steps of one job share (problem matchers, declared
// artifacts); [Job.Listen] makes one step's listener, with files of its own
// that no other step knows the names of. The rules are those of the
// actions/runner program, version 2.336; where its behaviour is surprising, a
// comment says so.
//
// # What the log shows
//
//	said                             shown
//	plain text, unknown command      the line as it is
//	::error::x (warning, notice)     Error: x
//	::debug::x                       ##[debug]x, in debug mode; else nothing
//	::group::x, ::endgroup::         ##[group]x, ##[endgroup]
//	::stop-commands::T ... ::T::     these two lines as they are
//	a line that a matcher matched    Error: and the line, without its colours
//	any other command                nothing; the line as it is after ::echo::on
//
// What is shown for one line may be several, separated by newlines: a message
// may hold some, and a trouble is told beside the line that made it.
package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits on what one step may say. The runner keeps ten remarks a level and
// knows no other limit.
const (
	maxNotes      = 100       // annotations of one level; further ones are only shown
	maxMessage    = 4096      // bytes of an annotation's message
	maxSaid       = 16 << 20  // bytes of values said by commands
	maxFile       = 64 << 20  // bytes of an environment file
	maxMasked     = 256 << 10 // bytes of values said by add-mask, each of which is looked for in many forms
	maxSettings   = 1 << 16   // settings in an environment file
	maxSummary    = 1 << 20   // bytes of GITHUB_STEP_SUMMARY
	maxDeclared   = 1 << 20   // bytes of GITHUB_ARTIFACTS
	maxArtifacts  = 500       // artifacts declared by a job
	maxArtifact   = 16 << 30  // bytes of a declared artifact, which is read to know its digest
	settingWeight = 64        // bytes that a value counts beside its own
	maxMatcher    = 1 << 20   // bytes of a problem matcher file
	maxMatchers   = 256       // matchers of a job
	maxPatterns   = 64        // patterns of a matcher
	maxRegexp     = 8 << 10   // bytes of a pattern: its nesting bounds the stack
	maxMatchLine  = 64 << 10  // bytes of a line that matchers look at
)

// Options are what holds for a whole job.
type Options struct {
	// Temp is the directory in which the environment files are made.
	Temp string
	// Workspace is the job's view of the tree: files of remarks are named
	// relative to it, relative names of matchers and artifacts start there.
	Workspace string
	// Debug shows debug messages, and echoes commands until told not to.
	Debug bool
	// AllowUnsecure accepts set-env and add-path, whatever the steps'
	// environments say.
	AllowUnsecure bool
	// RefuseLegacyOutput fails steps that use set-output or save-state. The
	// runner accepts both with a warning, and so does the zero Options.
	RefuseLegacyOutput bool
	// CRLF lets lines of the environment files end in CRLF, as the runner does
	// on Windows; elsewhere the CR is part of the value.
	CRLF bool
}

// Job is what the steps of one job share. It is safe for concurrent use.
type Job struct {
	opt      Options
	matchers atomic.Pointer[[]*matcher] // newest first; copied on write

	mu        sync.Mutex          // guards what follows, and writers of matchers
	dir       string              // of the environment files, absolute; "" until first needed
	idle      []*fileSet          // not used by a step now
	artifacts map[string]declared // by name
	list      []byte              // the text of GITHUB_ARTIFACTS_LIST
}

// NewJob begins a job. It touches nothing until a step is listened to.
func NewJob(opt Options) *Job {
	j := &Job{opt: opt, artifacts: map[string]declared{}, list: []byte(`{"version":1,"subjects":[]}`)}
	j.matchers.Store(new([]*matcher))
	return j
}

// Close removes the job's files. Its listeners must be closed before.
func (j *Job) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == "" {
		return nil
	}
	var errs []error
	for _, s := range j.idle {
		errs = append(errs, s.root.Close())
	}
	errs = append(errs, os.RemoveAll(j.dir))
	j.idle, j.dir = nil, ""
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the job's environment files: %w", err)
	}
	return nil
}

// ListenOptions are what holds for one step.
type ListenOptions struct {
	// Env is the step's environment. It is asked for
	// ACTIONS_ALLOW_UNSECURE_COMMANDS and
	// ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS.
	Env map[string]string
}

// Listen begins to listen to a step, whose environment files are made with
// fresh names. The caller closes the listener when the step has ended.
func (j *Job) Listen(o ListenOptions) (dialect.Listener, error) {
	files, err := j.files()
	if err != nil {
		return nil, fmt.Errorf("make environment files: %w", err)
	}
	return &listener{
		job:         j,
		files:       files,
		echo:        j.opt.Debug,
		allow:       j.opt.AllowUnsecure || parseBool(o.Env["ACTIONS_ALLOW_UNSECURE_COMMANDS"]),
		allowTokens: convertBool(o.Env["ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS"]),
	}, nil
}

// parseBool reads a switch as the runner does with bool.TryParse.
func parseBool(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "true") }

// convertBool reads a switch in the runner's wider sense.
func convertBool(s string) bool {
	return s == "1" || strings.EqualFold(s, "true") || strings.EqualFold(s, "$true")
}

// listener listens to one step.
type listener struct {
	job   *Job
	files *fileSet // nil when closed

	echo               bool
	allow, allowTokens bool
	stopped            bool   // no commands until token
	token              string // may be empty: then never again

	path                   []string // said by add-path, oldest first
	notes                  map[plan.Level]int
	saidBytes, maskedBytes int
	overflowed             bool
	warned                 map[string]bool // commands whose deprecation was told

	seen     *[]*matcher // the job's matchers that tracks was made of
	tracks   []*track
	stripped []byte // buffers of match
	runes    []rune
}

// Line implements [dialect.Listener].
func (l *listener) Line(line []byte) ([]byte, *plan.Effects) {
	if c, ok := l.parse(line); ok {
		return l.obey(c, line)
	}
	return l.text(line)
}

// text is a line that is no command: the matchers look at it.
func (l *listener) text(line []byte) ([]byte, *plan.Effects) {
	if m := l.job.matchers.Load(); m != l.seen {
		l.follow(m)
	}
	if len(l.tracks) > 0 {
		return l.match(line)
	}
	if line == nil {
		return []byte{}, nil // nil would mean that the empty line is not shown
	}
	return line, nil
}

// parse finds the command in a line, if there is one. Text that only looks
// like a command is not: the name must be known, or end a stop-commands.
func (l *listener) parse(line []byte) (command, bool) {
	if i := indexNonSpace(line); len(line)-i >= 4 && line[i] == ':' && line[i+1] == ':' {
		if c, ok := l.parseColons(line[i:]); ok {
			return c, true
		}
	}
	if i := bytes.Index(line, legacyPrefix); i >= 0 {
		return l.parseLegacy(line[i:])
	}
	return command{}, false
}

// known reports whether a name is a command's now.
func (l *listener) known(name []byte) bool {
	if l.stopped && strings.EqualFold(string(name), l.token) {
		return true
	}
	return commandName(name) != ""
}

// obey does what a command says.
func (l *listener) obey(c command, line []byte) ([]byte, *plan.Effects) {
	if l.stopped {
		if l.token != "" && strings.EqualFold(c.name, l.token) {
			l.stopped, l.token = false, ""
			return line, nil
		}
		return l.text(line) // a command, but not now
	}
	var r reply
	name := commandName([]byte(c.name))
	if l.echo && !quiet(name) {
		r.show(string(line))
	}
	l.do(name, c, &r)
	return r.shown, r.effects()
}

// reply gathers the answer to one line.
type reply struct {
	shown []byte
	said  plan.Effects
	any   bool
}

func (r *reply) show(s string) {
	if r.shown != nil {
		r.shown = append(r.shown, '\n')
	}
	r.shown = append(r.shown, s...)
	if r.shown == nil {
		r.shown = []byte{}
	}
}

func (r *reply) effects() *plan.Effects {
	if !r.any {
		return nil
	}
	return &r.said
}

// annotate records a remark, up to the limits.
func (l *listener) annotate(e *plan.Effects, a plan.Annotation) bool {
	if l.notes == nil {
		l.notes = map[plan.Level]int{}
	}
	if l.notes[a.Level]++; l.notes[a.Level] > maxNotes {
		return false
	}
	a.Message = truncate(a.Message, maxMessage)
	a.Title = truncate(a.Title, maxMessage)
	a.File = truncate(a.File, maxMessage)
	e.Notes = append(e.Notes, a)
	return true
}

// remark shows and records a remark of our own.
func (l *listener) remark(r *reply, level plan.Level, message string) {
	r.show(label(level) + message)
	if l.annotate(&r.said, plan.Annotation{Level: level, Message: message}) {
		r.any = true
	}
}

// fail is a remark that fails the step.
func (l *listener) fail(r *reply, message string) {
	l.remark(r, plan.ErrorLevel, message)
	r.said.Fail, r.any = message, true
}

// weigh counts a value that was said, and reports whether it may be kept. What
// is said beyond the limit fails the step: dropping it silently would make the
// run wrong.
func (l *listener) weigh(r *reply, n int) bool {
	l.saidBytes += n + settingWeight
	if l.saidBytes <= maxSaid {
		return true
	}
	if !l.overflowed {
		l.overflowed = true
		l.fail(r, fmt.Sprintf("The step's workflow commands hold more than %d MiB of values; write large values to $GITHUB_OUTPUT, or to a file of your own.", maxSaid>>20))
	}
	return false
}

// mask keeps a value from being shown. Beyond the limit the step fails: masking
// without end would slow down everything that is shown.
func (l *listener) mask(r *reply, value string) {
	l.maskedBytes += len(value)
	if l.maskedBytes > maxMasked {
		if l.maskedBytes-len(value) <= maxMasked {
			l.fail(r, fmt.Sprintf("The step masks more than %d KiB of values; from here on its values are not masked.", maxMasked>>10))
		}
		return
	}
	r.said.Masks, r.any = append(r.said.Masks, value), true
}

// label is what a remark's line in the log begins with.
func label(level plan.Level) string {
	switch level {
	case plan.ErrorLevel:
		return "Error: "
	case plan.WarningLevel:
		return "Warning: "
	}
	return "Notice: "
}

// truncate cuts valid text to at most n bytes, at a rune's border.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
