package jenkins

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// frame is what holds where a script is: the blocks around it. Each block
// (node, dir, withEnv, stage, a branch of parallel) makes a frame from the one
// around it, which it leaves as it is. The frame of running code is in the
// context of its thread.
type frame struct {
	do       dialect.Doer
	log      io.Writer
	ctx      context.Context // ends with a timeout, a failed sibling, the run
	keys     *keys
	env      *layer
	lazy     *lazyEnv // of the environment block that is being evaluated
	path     []string // in front of PATH, newest first
	node     *node    // nil outside of a node
	dir      string   // absolute; where relative names begin
	place    *plan.Container
	stage    *stageResult
	registry string
	branch   string // in front of lines of a branch of a scripted parallel
	quiet    bool   // what is printed was printed before: the run is resumed
	checks   bool   // a checkout was done in this node
	masks    []string
	held     []string // by lock and throttle around
}

type frameKey struct{}

// frameOf is the frame of the code that runs.
func frameOf(ctx context.Context) *frame {
	f, _ := ctx.Value(frameKey{}).(*frame)
	return f
}

// within is a thread inside of a frame.
func (f *frame) within(t *groovy.Thread) *groovy.Thread {
	return t.With(context.WithValue(f.ctx, frameKey{}, f))
}

// inner is a copy of the frame, to be changed by the block that it is for.
func (f *frame) inner() *frame {
	g := *f
	return &g
}

// say prints a line as Jenkins prints it.
func (f *frame) say(text string) {
	if f.quiet {
		return
	}
	if f.branch != "" {
		text = "[" + f.branch + "] " + strings.ReplaceAll(text, "\n", "\n["+f.branch+"] ")
	}
	// The log of the step has its own way to tell that it cannot be written.
	_, _ = io.WriteString(f.log, text+"\n")
}

func (f *frame) sayf(format string, args ...any) { f.say(fmt.Sprintf(format, args...)) }

// keys names the steps of one block. Equal programs give equal names, which is
// what lets a run that was interrupted find what it has done.
type keys struct {
	prefix string
	used   map[string]int
}

func newKeys(prefix string) *keys { return &keys{prefix, map[string]int{}} }

// next is the key of a step: its name made short and plain, and a number when
// the name was there before.
func (k *keys) next(name string) string {
	slug := slug(name)
	k.used[slug]++
	if n := k.used[slug]; n > 1 {
		slug += "-" + strconv.Itoa(n)
	}
	return k.prefix + "." + slug
}

// maxSlug is the length of a step's own part of its key.
const maxSlug = 40

// slug is a name of small letters, digits and dashes.
func slug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		} else {
			dash = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	if b.Len() == 0 {
		return "step"
	}
	return b.String()
}

// layer is a list of variables over those around it.
type layer struct {
	outer *layer
	vars  []plan.Setting
}

func (l *layer) get(name string) (string, bool) {
	for ; l != nil; l = l.outer {
		for _, v := range slices.Backward(l.vars) {
			if v.Name == name {
				return v.Value, true
			}
		}
	}
	return "", false
}

// into writes all variables to a map, the innermost winning.
func (l *layer) into(env map[string]string) {
	if l == nil {
		return
	}
	l.outer.into(env)
	for _, v := range l.vars {
		env[v.Name] = v.Value
	}
}

// set puts variables over those of the frame. NAME+X=value is put in front of
// NAME's own value, with a colon between.
func (f *frame) set(b *build, vars []plan.Setting) {
	l := &layer{outer: f.env}
	for _, v := range vars {
		name, _, more := strings.Cut(v.Name, "+")
		switch {
		case more && name == "PATH":
			f.path = append([]string{v.Value}, f.path...)
			continue
		case more:
			before := v.Value
			old, ok := l.get(name)
			if !ok {
				old, ok = b.lookup(f, name)
			}
			if ok && old != "" {
				before += ":" + old
			}
			v = plan.Setting{Name: name, Value: before}
		case name == "PATH":
			f.path = nil // it was part of what the value was made from
		}
		l.vars = append(l.vars, v)
	}
	f.env = l
}

// at is a name that a pipeline gave, as a path from where the frame is.
func (f *frame) at(name string) string {
	if name == "" {
		return f.dir
	}
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(f.dir, filepath.FromSlash(name))
}

// lazyEnv is an environment block whose values are made when they are asked
// for: they may refer to each other in any order.
type lazyEnv struct {
	outer  *lazyEnv
	vars   []declarative.Variable
	values map[string]string
	making map[string]bool
	where  *groovy.Closure
}

// stageResult is how a stage goes. Results of stages inside it count for it
// too.
type stageResult struct {
	outer  *stageResult
	name   string
	result result
	why    string
}

// worsen makes the result of the stage, and of those around it, worse.
func (s *stageResult) worsen(r result, why string) {
	for ; s != nil; s = s.outer {
		if r > s.result {
			s.result, s.why = r, why
		}
	}
}

// result is how a build went. Results only get worse.
type result int

// The results, the best first.
const (
	success result = iota
	unstable
	failure
	notBuilt
	aborted
)

func (r result) String() string {
	return [...]string{"SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED"}[r]
}

// parseResult reads a result in any case. What is none is a failure, as in
// Jenkins.
func parseResult(s string) result {
	for r := success; r <= aborted; r++ {
		if strings.EqualFold(s, r.String()) {
			return r
		}
	}
	return failure
}
