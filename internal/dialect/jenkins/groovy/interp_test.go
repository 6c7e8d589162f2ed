package groovy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a host with a few steps, which writes down what it is asked.
type recorder struct {
	mu    sync.Mutex
	calls []string
	steps map[string]Native
	vars  map[string]Value
}

func (r *recorder) ClassName() string { return "Recorder" }

func (r *recorder) Get(c *Call) (Value, error) {
	if v, ok := r.vars[c.Name]; ok {
		return v, nil
	}
	return nil, ErrMissing
}

func (r *recorder) Set(*Call, Value) error { return ErrMissing }

func (r *recorder) Invoke(c *Call) (Value, error) {
	step, ok := r.steps[c.Name]
	if !ok {
		return nil, ErrMissing
	}
	text := c.Name
	for _, a := range c.Args {
		if _, ok := a.(*Closure); ok {
			text += " {}"
			continue
		}
		s, err := c.inspect(a)
		if err != nil {
			return nil, err
		}
		text += " " + s
	}
	if c.Named {
		text += " named"
	}
	r.mu.Lock()
	r.calls = append(r.calls, fmt.Sprintf("%s @%d:%d", text, c.At.Line, c.At.Column))
	r.mu.Unlock()
	return step(c)
}

func nothing(*Call) (Value, error) { return nil, nil }

// body runs the closure that is the last argument.
func body(c *Call) (Value, error) { return c.Call(c.Args[len(c.Args)-1]) }

func mustParse(t testing.TB, file, src string) *Script {
	t.Helper()
	s, problems := Parse(file, src)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	return s
}

func TestHost(t *testing.T) {
	t.Parallel()
	r := &recorder{
		steps: map[string]Native{"echo": nothing, "sh": func(c *Call) (Value, error) { return "out\n", nil }, "node": body, "stage": body, "git": nothing},
		vars:  map[string]Value{"params": MapOf("name", "x")},
	}
	src := `
node('linux') {
  stage('Build') {
    def v = sh(script: "make ${params.name}", returnStdout: true).trim()
    echo "got $v"
    git url: 'u', branch: 'b'
    ['a', 'b'].each { echo it }
    sh 'x' + 'y'
  }
}`
	in := New(Config{Host: r})
	if _, err := in.Run(context.Background(), mustParse(t, "Jenkinsfile", src)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"node 'linux' {} @2:1",
		"stage 'Build' {} @3:3",
		"sh ['script':'make x', 'returnStdout':true] named @4:13",
		"echo 'got out' @5:5",
		"git ['url':'u', 'branch':'b'] named @6:5",
		"echo 'a' @7:23",
		"echo 'b' @7:23",
		"sh 'xy' @8:5",
	}
	if !slices.Equal(r.calls, want) {
		t.Errorf("got  %q\nwant %q", r.calls, want)
	}
}

// TestParallelOrder: branches begin in order, take turns where they wait, and
// what they share needs no lock. Run with -race.
func TestParallelOrder(t *testing.T) {
	t.Parallel()
	for range 20 {
		gates := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		r := &recorder{}
		r.steps = map[string]Native{
			"wait": func(c *Call) (Value, error) {
				gate := gates[c.Args[0].(string)]
				c.Unlocked(func() { <-gate })
				return nil, nil
			},
			"open": func(c *Call) (Value, error) {
				close(gates[c.Args[0].(string)])
				return nil, nil
			},
			"parallel": func(c *Call) (Value, error) {
				var fns []func(*Thread) error
				for _, fn := range c.Args[0].(*Map).All() {
					fns = append(fns, func(th *Thread) error {
						_, err := th.Call(fn)
						return err
					})
				}
				return nil, errors.Join(c.Parallel(fns...)...)
			},
		}
		src := `
def log = []
parallel a: { log << 'a1'; wait 'a'; log << 'a2'; open 'b' },
         b: { log << 'b1'; open 'a'; wait 'b'; log << 'b2' },
         c: { for (i in 1..100) { n = (binding.hasVariable('n') ? n : 0) + 1 }; log << 'c' + n }
log.join(' ')`
		in := New(Config{Host: r})
		v, err := in.Run(context.Background(), mustParse(t, "Jenkinsfile", src))
		if err != nil {
			t.Fatal(err)
		}
		if got := v.(string); got != "a1 b1 c100 a2 b2" {
			t.Fatalf("order %q", got)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	small := Limits{Steps: 100_000, Memory: 4 << 20, Output: 1000, Depth: 100}
	for src, want := range map[string]string{
		"while (true) { }": "steps",
		"for (;;) { }":     "steps",
		"def f = { -> while (true) { x = 1 } }; f()":           "steps",
		"try { while (true) { } } catch (Throwable t) { }":     "steps",
		"try { while (true) { } } finally { while (true) {} }": "steps",
		"def s = 'x'; while (true) { s = s + s }":              "memory",
		"def s = 'x' * 1000000000":                             "larger than",
		"def l = []; while (true) { l << l.toString() }":       "memory",
		"[1] * 100000000":                                                     "larger than",
		"(1..100000000).toList()":                                             "ten million",
		"(1..100000000).each { }":                                             "steps",
		"new int[100000000]":                                                  "larger than",
		"def l = [1]; l[100000000] = 1":                                       "larger than",
		"''.padLeft(1000000000)":                                              "larger than",
		"while (true) { println 'xxxxxxxxxxxxxxxxxxxxxxxx' }":                 "output",
		"def l = [1]; 30.times { l = [l, l] }; l.toString()":                  "memory",
		"def l = [1]; 30.times { l = [l, l] }; l == l.clone().collect { it }": "steps",
		"def s = 'a' * 1000; s.replaceAll('a', 'b' * 1000).replaceAll('b', 'c' * 1000)": "memory",
		"(1..100).permutations()":                                 "memory",
		"def x = 2; while (true) { x = x ** 2 }":                  "overflow",
		"(1..30).collect { [1, 2] }.combinations()":               "memory",
		"'a'.multiply(100000).tokenize('b').collect { it * 100 }": "memory",
	} {
		in := New(Config{Limits: small})
		start := time.Now()
		_, err := in.Run(context.Background(), mustParse(t, "Jenkinsfile", src))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: took %v", src, d)
		}
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	cause := errors.New("stop it")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	src := "try { while (true) { } } catch (InterruptedException e) { return e.message }"
	in := New(Config{})
	if _, err := in.Run(ctx, mustParse(t, "Jenkinsfile", src)); !errors.Is(err, cause) {
		t.Errorf("without Interrupt: %v", err)
	}
	in = New(Config{Interrupt: func(t *Thread, cause error) error { return t.Wrap("java.lang.InterruptedException", cause) }})
	v, err := in.Run(ctx, mustParse(t, "Jenkinsfile", src))
	if err != nil || v != Value("stop it") {
		t.Errorf("with Interrupt: %v, %v", v, err)
	}
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"vars/greet.groovy": `
def call(Map args = [:], String name) { echo "hello $name ${args.loud ?: ''}"; helper(name) }
def helper(x) { x.toUpperCase() }
def setting = 'x'`,
		"vars/withThing.groovy": `def call(Closure body) { echo 'before'; try { body() } finally { echo 'after' } }`,
		"vars/state.groovy": `
import groovy.transform.Field
@Field int n = 0
def inc() { n++; n }`,
		"src/org/acme/Tool.groovy": `
package org.acme
import org.acme.sub.Other
class Tool implements Serializable {
  private final def script
  static final String NAME = 'tool'
  Tool(script) { this.script = script }
  def build(Closure c = null) { script.echo "building ${NAME}"; c?.call(); new Other(n: 2).twice() }
  enum Kind { A, B }
}`,
		"src/org/acme/sub/Other.groovy": `
package org.acme.sub
class Other { int n; def twice() { n * 2 } }`,
	}
	parsed := map[string]*Script{}
	for name, src := range files {
		parsed[name] = mustParse(t, name, src)
	}
	r := &recorder{steps: map[string]Native{"echo": nothing}}
	in := New(Config{
		Host: r,
		Class: func(name string) (any, error) {
			if s := parsed["src/"+strings.ReplaceAll(name, ".", "/")+".groovy"]; s != nil {
				return s, nil
			}
			return nil, nil
		},
		Library: func(name string) (*Script, error) { return parsed["vars/"+name+".groovy"], nil },
	})
	src := `
import org.acme.Tool
import org.acme.Tool.Kind
def up = greet('bob', loud: true)
withThing { echo up }
state.inc(); def n = state.inc()
def t = new Tool(this)
def four = t.build { echo 'inside' }
[up, n, four, Tool.NAME, Tool.Kind.B.name(), Kind.A.ordinal(), greet.helper('z'), new org.acme.sub.Other(n: 4).twice()]`
	var got string
	err := in.Do(context.Background(), func(th *Thread) error {
		v, err := th.Run(mustParse(t, "Jenkinsfile", src))
		if err != nil {
			return err
		}
		got, err = th.Text(v)
		return err
	})
	if want := "[BOB, 2, 4, tool, B, 0, Z, 8]"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	want := []string{"echo 'hello bob true'", "echo 'before'", "echo 'BOB'", "echo 'after'", "echo 'building tool'", "echo 'inside'"}
	for i, w := range want {
		if i >= len(r.calls) || !strings.HasPrefix(r.calls[i], w) {
			t.Errorf("calls %q", r.calls)
			break
		}
	}
}

// TestEval evaluates parts of a closure that is held as a value, as the
// declarative front end does with pipeline { … }.
func TestEval(t *testing.T) {
	t.Parallel()
	src := `
def local = 'l'
def method() { 'm' }
glob = 'g'
pipeline { "$local ${method()} $glob $extra" }`
	var got string
	r := &recorder{steps: map[string]Native{"pipeline": func(c *Call) (Value, error) {
		closure := c.Args[0].(*Closure)
		e := closure.Expr().Body.Stmts[0].(*ExprStmt).X
		if text := closure.Script().Text(e); text != `"$local ${method()} $glob $extra"` {
			t.Errorf("text %s", text)
		}
		if at := closure.Script().At(e); at.Line != 5 || at.Column != 12 {
			t.Errorf("at %v", at)
		}
		v, err := c.Eval(closure, e, map[string]Value{"extra": "x"})
		if err != nil {
			return nil, err
		}
		got, err = c.Text(v)
		if err != nil {
			return nil, err
		}
		w, err := c.Exec(closure, closure.Expr().Body, map[string]Value{"extra": "y"})
		if err != nil {
			return nil, err
		}
		again, err := c.Text(w)
		got += "|" + again
		return nil, err
	}}}
	if _, err := New(Config{Host: r}).Run(context.Background(), mustParse(t, "Jenkinsfile", src)); err != nil {
		t.Fatal(err)
	}
	if got != "l m g x|l m g y" {
		t.Errorf("got %q", got)
	}
}

func TestErrorsTellWhere(t *testing.T) {
	t.Parallel()
	src := `def a() {
  b(1)
}
def b(x) {
  throw new IllegalStateException("x is $x")
}
a()`
	_, err := New(Config{}).Run(context.Background(), mustParse(t, "Jenkinsfile", src))
	var e *Thrown
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e.At.Line != 5 || e.At.Column != 3 || e.Message() != "x is 1" || !e.InstanceOf("java.lang.RuntimeException") {
		t.Errorf("%v at %v", e, e.At)
	}
	if len(e.Trace) != 2 {
		t.Errorf("trace %v", e.Trace)
	}
	// A Go error of the host's can be thrown, caught by its class, and found again.
	inner := errors.New("inner")
	r := &recorder{steps: map[string]Native{"fail": func(c *Call) (Value, error) { return nil, c.Wrap("hudson.AbortException", inner) }}}
	if _, err := New(Config{Host: r}).Run(context.Background(), mustParse(t, "Jenkinsfile", "fail()")); !errors.Is(err, inner) {
		t.Error(err)
	}
	v, err := New(Config{Host: r}).Run(context.Background(), mustParse(t, "Jenkinsfile", "import hudson.AbortException\ntry { fail() } catch (AbortException e) { e.message }"))
	if err != nil || v != Value("inner") {
		t.Error(v, err)
	}
}
