package groovy

import (
	"errors"
	"slices"
)

// The strategies of Closure.resolveStrategy.
const (
	OwnerFirst = iota
	DelegateFirst
	OwnerOnly
	DelegateOnly
	ToSelf
)

// Closure is a closure as a value.
type Closure struct {
	// Delegate is asked for names after, or before, the owner; see Strategy.
	// Without one the owner is the delegate.
	Delegate Value
	Strategy int

	expr      *ClosureExpr
	scope     *scope // of the place where it was written
	owner     Value  // *Closure, or what this is
	this      Value
	delegated bool    // Delegate was set, maybe to null
	native    Native  // of a method pointer, or the like, instead of expr
	takes     int     // parameters of native
	before    []Value // curried arguments
	after     []Value // curried from the right
}

// Expr is the closure as it was written; nil for one that was not.
func (c *Closure) Expr() *ClosureExpr { return c.expr }

// Script is the file that it was written in; nil for one that was not.
func (c *Closure) Script() *Script {
	if c.scope == nil {
		return nil
	}
	return c.scope.frame.unit.script
}

func (c *Closure) class() string {
	if c.scope == nil {
		return "groovy.lang.Closure"
	}
	return c.scope.frame.unit.class.Name + "$_run_closure1"
}

func (c *Closure) delegate() Value {
	if c.delegated || c.Delegate != nil {
		return c.Delegate
	}
	return c.owner
}

// targets are whom the code of the closure asks for names, in order.
func (c *Closure) targets() []Value {
	d := c.delegate()
	if d == c.owner || d == nil {
		if c.Strategy == ToSelf || c.Strategy == DelegateOnly && d == nil {
			return nil
		}
		return []Value{c.owner}
	}
	switch c.Strategy {
	case DelegateFirst:
		return []Value{d, c.owner}
	case OwnerOnly:
		return []Value{c.owner}
	case DelegateOnly:
		return []Value{d}
	case ToSelf:
		return nil
	}
	return []Value{c.owner, d}
}

// parameters is how many arguments it takes.
func (c *Closure) parameters() int {
	n := 1
	switch {
	case c.native != nil:
		n = c.takes
	case len(c.expr.Params) > 0:
		n = len(c.expr.Params)
	case c.expr.Arrow:
		n = 0
	}
	return max(0, n-len(c.before)-len(c.after))
}

func (t *Thread) closure(x *ClosureExpr, sc *scope) *Closure {
	c := &Closure{expr: x, scope: sc, this: sc.frame.this, owner: sc.frame.this}
	if sc.frame.closure != nil {
		c.owner = sc.frame.closure
	}
	return c
}

// nativeClosure is a closure of one parameter that calls a function.
func nativeClosure(fn Native) *Closure { return &Closure{native: fn, takes: 1} }

// closureCall calls a function for the code of a closure.
func (t *Thread) closureCall(c *Closure, name string, args []Value, named bool, depth int) (Value, error) {
	if err := t.tick(1); err != nil {
		return nil, err
	}
	err := ErrMissing
	for _, target := range c.targets() {
		var v Value
		var e error
		if outer, ok := target.(*Closure); ok && depth < maxDepthText {
			v, e = t.closureCall(outer, name, args, named, depth+1)
		} else {
			v, e = t.ownCall(target, nil, name, args, named)
		}
		if e == nil || !isMissing(e) {
			return v, e
		}
		if _, told := err.(*Thrown); !told {
			err = e
		}
	}
	switch name {
	case "call", "curry", "setDelegate", "getDelegate", "setResolveStrategy", "getOwner":
		return t.closureMethod(c, name, args)
	}
	return nil, err
}

func (t *Thread) callClosure(c *Closure, args []Value) (Value, error) {
	if err := t.tick(1); err != nil {
		return nil, err
	}
	if c.before != nil || c.after != nil {
		args = slices.Concat(c.before, args, c.after)
	}
	return t.closureBody(c, args)
}

func (t *Thread) closureBody(c *Closure, args []Value) (Value, error) {
	if c.native != nil {
		if err := t.nest(); err != nil {
			return nil, err
		}
		defer t.unnest()
		return c.native(&Call{Thread: t, Args: args, At: t.Position()})
	}
	from, at := t.unit, t.node
	leave, err := t.enter(c.scope.frame.unit)
	if err != nil {
		return nil, err
	}
	defer leave()
	f := &frame{this: c.this, class: c.scope.frame.class, closure: c, unit: c.scope.frame.unit}
	sc := &scope{parent: c.scope, frame: f}
	switch {
	case len(c.expr.Params) > 0:
		// One list for several parameters is spread.
		if l, ok := single(args).(*List); ok && len(c.expr.Params) > 1 && !c.expr.Params[0].Variadic {
			args = l.Items
		} else if e, ok := single(args).(*Entry); ok && len(c.expr.Params) == 2 {
			args = []Value{e.Key, e.Value}
		}
		ok, err := t.bind(c.expr.Params, args, sc)
		if err != nil {
			return nil, err
		}
		if !ok {
			t.unit, t.node = from, at
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
	case c.expr.Arrow:
		if len(args) > 0 && !(len(args) == 1 && args[0] == nil) {
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
	default:
		if len(args) > 1 {
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
		sc.declare("it", single(args), nil)
	}
	v, d, err := t.stmts(c.expr.Body.Stmts, sc)
	if err != nil {
		return nil, called(err, c.scope.frame.unit.script.At(c.expr))
	}
	switch d {
	case doReturn:
		v = f.result
	case doBreak, doContinue:
		return nil, t.fail("break and continue stand only in a loop or a switch, and a closure is neither")
	}
	return v, nil
}

func single(args []Value) Value {
	if len(args) == 1 {
		return args[0]
	}
	return nil
}

// Eval evaluates an expression where a closure was written, with its
// variables, owner and delegate, or at the top of an instance of a script.
// vars are further variables.
func (t *Thread) Eval(where Value, e Expr, vars map[string]Value) (Value, error) {
	sc, leave, err := t.inside(where, vars)
	if err != nil {
		return nil, err
	}
	defer leave()
	return t.eval(e, sc)
}

// Exec executes a block like Eval; the value is that of a closure with this
// body.
func (t *Thread) Exec(where Value, b *Block, vars map[string]Value) (Value, error) {
	sc, leave, err := t.inside(where, vars)
	if err != nil {
		return nil, err
	}
	defer leave()
	v, d, err := t.stmts(b.Stmts, sc.inner())
	if d == doReturn {
		v = sc.frame.result
	}
	return v, err
}

func (t *Thread) inside(where Value, vars map[string]Value) (*scope, func(), error) {
	var sc *scope
	switch w := where.(type) {
	case *Closure:
		if w.scope == nil {
			return nil, nil, errors.New("groovy: a closure that no script has written")
		}
		f := &frame{this: w.this, class: w.scope.frame.class, closure: w, unit: w.scope.frame.unit}
		sc = &scope{parent: w.scope, frame: f}
	case *Object:
		if w.class.unit == nil {
			return nil, nil, errors.New("groovy: an object that no script has declared")
		}
		sc = &scope{frame: &frame{this: w, class: w.class, unit: w.class.unit}}
	default:
		return nil, nil, errors.New("groovy: only closures and scripts have an inside")
	}
	for name, v := range vars {
		sc.declare(name, v, nil)
	}
	leave, err := t.enter(sc.frame.unit)
	return sc, leave, err
}
