package groovy

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"sync"
	"time"
)

// ErrMissing is what a [Host] answers when it has no such property or method;
// it may be wrapped, and a [*Thrown] that wraps it is shown as it is when
// nobody else knows the name either.
var ErrMissing = errors.New("no such member")

// Host is an object that the host lends to scripts: env, params, docker, and
// the one of [Config] that all names are looked up in. Its methods are called
// with the turn held: they must not block but inside [Thread.Unlocked]. One
// that is a fmt.Stringer is shown as that says; it is equal to itself alone.
type Host interface {
	// ClassName is what getClass().getName() says.
	ClassName() string
	// Get is the property c.Name.
	Get(c *Call) (Value, error)
	// Set sets the property c.Name.
	Set(c *Call, v Value) error
	// Invoke calls the method c.Name. A class is a Host too: new asks it for
	// a method of the name "new".
	Invoke(c *Call) (Value, error)
}

// Native is a function of the host as a value of scripts.
type Native func(c *Call) (Value, error)

// Call is one call of a host's property or method. Named arguments are a
// *Map that is the first of Args, as everywhere in Groovy; closures come as
// [*Closure], a trailing one last.
type Call struct {
	*Thread
	Name string
	Args []Value
	// Named says that Args[0] was written as named arguments and not as a map.
	Named bool
	// At is where the call is written.
	At Position
}

// Config says what an [Interp] has from its host. All fields may be left out.
type Config struct {
	// Host knows the names that scripts do not declare: variables by Get,
	// functions by Invoke.
	Host Host
	// Class finds a class by its full name, or by its plain name when nothing
	// was imported: a *Script that declares it, a Host, or nil.
	Class func(name string) (any, error)
	// Library finds the script of a global function: vars/NAME.groovy.
	Library func(name string) (*Script, error)
	// Throwables are further classes of exceptions with their superclasses.
	Throwables map[string]string
	// Print is told what println and its like print when Host has no such
	// methods.
	Print func(text string)
	// Now is the time; a fixed one when nil.
	Now func() time.Time
	// Seed makes Random, Math.random and UUID.randomUUID the same each time.
	Seed int64
	// Interrupt makes the error, often a *Thrown, that a script ends with
	// whose context is done. It is thrown once in each context; when nil, the
	// cause of the context is returned and cannot be caught.
	Interrupt func(t *Thread, cause error) error
	Limits    Limits
}

// Limits bound one Interp over its whole life. Zero means the default.
type Limits struct {
	Steps  int64 // evaluated nodes; default 200 million
	Depth  int   // nested calls; default 800
	Memory int64 // bytes allocated in all, by estimate; default 1 GiB
	Output int64 // bytes printed through Config.Print; default 16 MiB
}

// The defaults of [Limits].
const (
	DefaultSteps  = 200_000_000
	DefaultDepth  = 800
	DefaultMemory = 1 << 30
	DefaultOutput = 16 << 20

	// maxEval is how deep expressions may be nested in all calls together.
	maxEval = 60_000
	// maxValue is the size of the largest string or list, in bytes.
	maxValue = 128 << 20
)

// LimitError ends a script that reached a limit. No catch catches it.
type LimitError struct {
	What string // "more than 1000 steps"
	At   Position
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s: the script needs %s", e.At, e.What) }

// Interp runs scripts. Its methods may be called by several goroutines.
type Interp struct {
	config  Config
	turn    turn
	binding *Map               // variables of scripts that were never declared
	classes map[string]*Class  // of the language, and of files loaded
	units   map[*Script]*unit  // files loaded
	vars    map[string]*Object // instances of vars/*.groovy
	regexps map[string]*Pattern
	random  *rand.Rand
	maps    map[mapKey]mapDo  // methods of maps
	lists   map[string]listDo // and those that make collections of lists

	steps, memory, output int64 // left
}

// New makes an Interp.
func New(c Config) *Interp {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.Limits.Steps, DefaultSteps)
	def(&c.Limits.Memory, DefaultMemory)
	def(&c.Limits.Output, DefaultOutput)
	if c.Limits.Depth <= 0 {
		c.Limits.Depth = DefaultDepth
	}
	if c.Now == nil {
		c.Now = func() time.Time { return time.Unix(0, 0).UTC() }
	}
	return &Interp{
		config:  c,
		binding: NewMap(),
		classes: map[string]*Class{},
		units:   map[*Script]*unit{},
		vars:    map[string]*Object{},
		regexps: map[string]*Pattern{},
		random:  rand.New(rand.NewSource(c.Seed)),
		maps:    mapMethods(), lists: listMakers(),
		steps: c.Limits.Steps, memory: c.Limits.Memory, output: c.Limits.Output,
	}
}

// Do waits for the turn and calls fn with it. Values may be read and changed
// only by who has the turn.
func (in *Interp) Do(ctx context.Context, fn func(t *Thread) error) error {
	in.turn.take()
	defer in.turn.give()
	t := &Thread{in: in, ctx: ctx, told: new(bool)}
	return t.guard(fn)
}

// guard turns a mistake of the interpreter's own into an error: a stranger's
// script must not end the process.
func (t *Thread) guard(fn func(t *Thread) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(runtime.Error); ok {
				err = fmt.Errorf("%s: a fault of the interpreter: %w", t.Position(), e)
				return
			}
			panic(r)
		}
	}()
	return fn(t)
}

// Run runs a script from its beginning to its end and returns its value.
func (in *Interp) Run(ctx context.Context, s *Script) (Value, error) {
	var v Value
	err := in.Do(ctx, func(t *Thread) (err error) {
		v, err = t.Run(s)
		return err
	})
	return v, err
}

// Thread is one line of execution that has the turn.
type Thread struct {
	in    *Interp
	ctx   context.Context
	told  *bool // the context was done and the script has been told
	depth int   // of calls
	evals int   // of nested expressions
	unit  *unit // the file of the code that runs
	node  Node  // the call or statement that runs, for positions
}

// Context is the context of the code that runs. Natives that run closures may
// put into it what holds inside them ([Thread.With]).
func (t *Thread) Context() context.Context { return t.ctx }

// Interp is the interpreter.
func (t *Thread) Interp() *Interp { return t.in }

// With is the same thread with another context.
func (t *Thread) With(ctx context.Context) *Thread {
	other := *t
	other.ctx = ctx
	if ctx.Done() != t.ctx.Done() {
		other.told = new(bool)
	}
	return &other
}

// Position is where the code that runs stands.
func (t *Thread) Position() Position {
	if t.unit == nil || t.node == nil {
		return Position{}
	}
	return t.unit.script.At(t.node)
}

// Unlocked gives the turn away while fn runs, which may wait and must not
// touch values.
func (t *Thread) Unlocked(fn func()) {
	t.in.turn.give()
	defer t.in.turn.take()
	fn()
}

// Parallel runs fns side by side, each on its own thread with the turn held,
// and returns their errors when all have ended. They begin in order: each
// runs until it waits before the next one begins.
func (t *Thread) Parallel(fns ...func(t *Thread) error) []error {
	errs := make([]error, len(fns))
	var done sync.WaitGroup
	for i, fn := range fns {
		branch := *t
		place := t.in.turn.queue()
		done.Go(func() {
			<-place
			defer t.in.turn.give()
			errs[i] = branch.guard(fn)
		})
	}
	t.Unlocked(done.Wait)
	return errs
}

// Run makes an instance of a script, runs it and returns its value.
func (t *Thread) Run(s *Script) (Value, error) {
	o, err := t.Instance(s)
	if err != nil {
		return nil, err
	}
	return t.runScript(o)
}

// Binding is the map of variables that scripts set without declaring them.
func (t *Thread) Binding() *Map { return t.in.binding }

// Print prints as println does when the host has no such method, without
// adding anything.
func (t *Thread) Print(text string) error {
	if t.in.output -= int64(len(text)); t.in.output < 0 {
		return t.limit(fmt.Sprintf("more than %d bytes of output", t.in.config.Limits.Output))
	}
	if t.in.config.Print != nil {
		t.in.config.Print(text)
	}
	return nil
}

func (t *Thread) limit(what string) error { return &LimitError{What: what, At: t.Position()} }

// tick counts steps; now and then it asks whether the script is to end.
func (t *Thread) tick(n int64) error {
	before := t.in.steps
	t.in.steps -= n
	if t.in.steps < 0 {
		t.in.steps = 0
		return t.limit(fmt.Sprintf("more than %d steps", t.in.config.Limits.Steps))
	}
	if before>>10 != t.in.steps>>10 {
		return t.interrupted()
	}
	return nil
}

// interrupted is the error to end with when the context is done.
func (t *Thread) interrupted() error {
	if t.ctx.Err() == nil || *t.told {
		return nil
	}
	cause := context.Cause(t.ctx)
	if t.in.config.Interrupt == nil {
		return fmt.Errorf("%s: %w", t.Position(), cause)
	}
	*t.told = true
	return t.in.config.Interrupt(t, cause)
}

// alloc counts bytes that are about to be allocated.
func (t *Thread) alloc(n int) error {
	if n > maxValue {
		return t.limit(fmt.Sprintf("a value larger than %d bytes", maxValue))
	}
	if t.in.memory -= int64(n); t.in.memory < 0 {
		t.in.memory = 0
		return t.limit(fmt.Sprintf("more than %d bytes of memory", t.in.config.Limits.Memory))
	}
	return nil
}

// turn is a lock that is handed over in the order in which it was asked for,
// so that which thread goes on does not hang on the scheduler.
type turn struct {
	mu      sync.Mutex
	held    bool
	waiting []chan struct{}
}

// queue asks for the turn; the channel is closed when it has come.
func (l *turn) queue() <-chan struct{} {
	place := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		l.waiting = append(l.waiting, place)
	} else {
		l.held = true
		close(place)
	}
	return place
}

func (l *turn) take() { <-l.queue() }

func (l *turn) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.held = false
		return
	}
	close(l.waiting[0])
	l.waiting = slices.Delete(l.waiting, 0, 1)
}
