package groovy

import (
	"errors"
	"slices"
)

// scope holds the variables of one block. Scopes of a closure go on in the
// scopes around the place where it was written.
type scope struct {
	parent *scope
	frame  *frame
	vars   []*variable
}

type variable struct {
	name  string
	value Value
	typ   *TypeRef // what is assigned is made this
}

// frame is one running body: of a method, a closure or a script.
type frame struct {
	this    Value // *Object, *Class in what is static, or nil
	class   *Class
	closure *Closure // nil in a method
	unit    *unit
	method  *method
	result  Value  // of return
	label   string // of break and continue
}

func (sc *scope) declare(name string, v Value, typ *TypeRef) {
	sc.vars = append(sc.vars, &variable{name, v, typ})
}

// find is the variable of a name, nil for none.
func (sc *scope) find(name string) *variable {
	for ; sc != nil; sc = sc.parent {
		for i := len(sc.vars) - 1; i >= 0; i-- {
			if sc.vars[i].name == name {
				return sc.vars[i]
			}
		}
	}
	return nil
}

func (sc *scope) inner() *scope { return &scope{parent: sc, frame: sc.frame} }

// done says how a statement ended.
type done int

const (
	goOn done = iota
	doBreak
	doContinue
	doReturn
)

// stmts executes statements in a scope; the value is that of the last.
func (t *Thread) stmts(list []Stmt, sc *scope) (v Value, d done, err error) {
	for _, s := range list {
		if v, d, err = t.exec(s, sc); d != goOn || err != nil {
			return v, d, err
		}
	}
	return v, d, nil
}

// block executes a block, in a scope of its own if it declares anything.
func (t *Thread) block(b *Block, sc *scope) (Value, done, error) {
	if b.declares {
		sc = sc.inner()
	}
	return t.stmts(b.Stmts, sc)
}

func (t *Thread) exec(s Stmt, sc *scope) (Value, done, error) {
	t.node = s
	if err := t.tick(1); err != nil {
		return nil, goOn, err
	}
	switch s := s.(type) {
	case *ExprStmt:
		v, err := t.eval(s.X, sc)
		return v, goOn, err
	case *VarDecl:
		v, err := t.varDecl(s, sc)
		return v, goOn, err
	case *Block:
		if err := t.nest(); err != nil {
			return nil, goOn, err
		}
		defer t.unnest()
		return t.block(s, sc)
	case *IfStmt:
		if err := t.nest(); err != nil {
			return nil, goOn, err
		}
		defer t.unnest()
		ok, err := t.condition(s.Cond, sc)
		switch {
		case err != nil:
			return nil, goOn, err
		case ok:
			return t.exec(s.Then, sc)
		case s.Else != nil:
			return t.exec(s.Else, sc)
		}
		return nil, goOn, nil
	case *WhileStmt:
		return t.while(s, sc, "")
	case *ForStmt:
		return t.forLoop(s, sc, "")
	case *ForInStmt:
		return t.forIn(s, sc, "")
	case *SwitchStmt:
		return t.switchOn(s, sc)
	case *TryStmt:
		if err := t.nest(); err != nil {
			return nil, goOn, err
		}
		defer t.unnest()
		return t.try(s, sc)
	case *ThrowStmt:
		v, err := t.eval(s.X, sc)
		if err != nil {
			return nil, goOn, err
		}
		t.node = s
		o, ok := v.(*Object)
		if !ok || !o.class.isThrowable() {
			if v == nil {
				return nil, goOn, t.Throw("java.lang.NullPointerException", "Cannot throw null")
			}
			return nil, goOn, t.castError(v, "java.lang.Throwable")
		}
		return nil, goOn, &Thrown{Object: o, At: t.Position()}
	case *ReturnStmt:
		var v Value
		if s.X != nil {
			var err error
			if v, err = t.eval(s.X, sc); err != nil {
				return nil, goOn, err
			}
		}
		sc.frame.result = v
		return v, doReturn, nil
	case *BreakStmt:
		sc.frame.label = s.Label
		return nil, doBreak, nil
	case *ContinueStmt:
		sc.frame.label = s.Label
		return nil, doContinue, nil
	case *LabeledStmt:
		return t.labeled(s, sc)
	case *AssertStmt:
		return nil, goOn, t.assert(s, sc)
	case *EmptyStmt, *ImportStmt, *PackageStmt, *MethodDecl, *ClassDecl:
		// Declared when the file was loaded.
	}
	return nil, goOn, nil
}

// nest counts how deep evaluation is nested; unnest when it is over.
func (t *Thread) nest() error {
	if t.evals++; t.evals > maxEval {
		t.evals--
		return t.Throw("java.lang.StackOverflowError", "")
	}
	return nil
}

func (t *Thread) unnest() { t.evals-- }

func (t *Thread) condition(x Expr, sc *scope) (bool, error) {
	v, err := t.eval(x, sc)
	if err != nil {
		return false, err
	}
	return t.Truth(v)
}

func (t *Thread) varDecl(d *VarDecl, sc *scope) (Value, error) {
	if d.Has("Field") {
		if _, ok := sc.frame.this.(*Object); ok && sc.frame.closure == nil {
			return nil, nil // made with the instance
		}
	}
	if d.Tuple {
		v, err := t.eval(d.Vars[0].Init, sc)
		if err != nil {
			return nil, err
		}
		items, err := t.tupleItems(v, len(d.Vars))
		if err != nil {
			return nil, err
		}
		for i, name := range d.Vars {
			item, err := t.assignable(name.Type, items[i], sc)
			if err != nil {
				return nil, err
			}
			sc.declare(name.Name, item, name.Type)
		}
		return v, nil
	}
	var v Value
	for _, one := range d.Vars {
		v = zero(one.Type)
		if one.Init != nil {
			var err error
			if v, err = t.eval(one.Init, sc); err != nil {
				return nil, err
			}
			t.node = one
			if v, err = t.assignable(one.Type, v, sc); err != nil {
				return nil, err
			}
		}
		sc.declare(one.Name, v, one.Type)
	}
	return v, nil
}

// tupleItems are the first n items of what is assigned to n variables.
func (t *Thread) tupleItems(v Value, n int) ([]Value, error) {
	items, err := t.iterate(v)
	if err != nil {
		return nil, err
	}
	items = items[:min(n, len(items)):min(n, len(items))]
	for len(items) < n {
		items = append(items, nil)
	}
	return items, nil
}

// loop says what is to be done after the body of a loop.
func loop(f *frame, d done, label string) (stop bool, out done) {
	switch d {
	case doReturn:
		return true, d
	case doBreak, doContinue:
		if f.label != "" && f.label != label {
			return true, d
		}
		f.label = ""
		return d == doBreak, goOn
	}
	return false, goOn
}

func (t *Thread) while(s *WhileStmt, sc *scope, label string) (Value, done, error) {
	for first := true; ; first = false {
		if !s.Do || !first {
			ok, err := t.condition(s.Cond, sc)
			if err != nil || !ok {
				return nil, goOn, err
			}
		}
		_, d, err := t.exec(s.Body, sc)
		if err != nil {
			return nil, goOn, err
		}
		if stop, d := loop(sc.frame, d, label); stop {
			return nil, d, nil
		}
	}
}

func (t *Thread) forLoop(s *ForStmt, sc *scope, label string) (Value, done, error) {
	sc = sc.inner()
	if _, d, err := t.stmts(s.Init, sc); err != nil || d != goOn {
		return nil, d, err
	}
	for {
		if s.Cond != nil {
			ok, err := t.condition(s.Cond, sc)
			if err != nil || !ok {
				return nil, goOn, err
			}
		} else if err := t.tick(1); err != nil {
			return nil, goOn, err
		}
		_, d, err := t.exec(s.Body, sc)
		if err != nil {
			return nil, goOn, err
		}
		if stop, d := loop(sc.frame, d, label); stop {
			return nil, d, nil
		}
		for _, x := range s.Post {
			if _, err := t.eval(x, sc); err != nil {
				return nil, goOn, err
			}
		}
	}
}

func (t *Thread) forIn(s *ForInStmt, sc *scope, label string) (Value, done, error) {
	v, err := t.eval(s.X, sc)
	if err != nil {
		return nil, goOn, err
	}
	sc = sc.inner()
	sc.declare(s.Var.Name, nil, s.Var.Type)
	one := sc.vars[0]
	d := goOn
	err = t.each(v, func(item Value) (bool, error) {
		if one.value, err = t.assignable(one.typ, item, sc); err != nil {
			return false, err
		}
		_, ended, err := t.exec(s.Body, sc)
		if err != nil {
			return false, err
		}
		var stop bool
		stop, d = loop(sc.frame, ended, label)
		return !stop, nil
	})
	return nil, d, err
}

func (t *Thread) labeled(s *LabeledStmt, sc *scope) (Value, done, error) {
	switch body := s.Body.(type) {
	case *WhileStmt:
		return t.while(body, sc, s.Label)
	case *ForStmt:
		return t.forLoop(body, sc, s.Label)
	case *ForInStmt:
		return t.forIn(body, sc, s.Label)
	}
	v, d, err := t.exec(s.Body, sc)
	if d == doBreak && sc.frame.label == s.Label {
		sc.frame.label = ""
		return nil, goOn, err
	}
	return v, d, err
}

func (t *Thread) switchOn(s *SwitchStmt, sc *scope) (Value, done, error) {
	v, err := t.eval(s.X, sc)
	if err != nil {
		return nil, goOn, err
	}
	from := -1
	for i, c := range s.Cases {
		if c.Match == nil {
			continue
		}
		m, err := t.eval(c.Match, sc)
		if err != nil {
			return nil, goOn, err
		}
		ok, err := t.isCase(m, v)
		if err != nil {
			return nil, goOn, err
		}
		if ok {
			from = i
			break
		}
	}
	if from < 0 {
		from = slices.IndexFunc(s.Cases, func(c *Case) bool { return c.Match == nil })
		if from < 0 {
			return nil, goOn, nil
		}
	}
	sc = sc.inner()
	var last Value
	for _, c := range s.Cases[from:] {
		// break ends it with the value of the statement before.
		for _, stmt := range c.Body {
			v, d, err := t.exec(stmt, sc)
			switch {
			case err != nil:
				return nil, goOn, err
			case d == doBreak && sc.frame.label == "":
				return last, goOn, nil
			case d != goOn:
				return v, d, nil
			}
			last = v
		}
	}
	return last, goOn, nil
}

// isCase reports whether a case matches: by class, range, pattern, list,
// closure, or by being equal.
func (t *Thread) isCase(m, v Value) (bool, error) {
	switch m := m.(type) {
	case *Class:
		return t.classOf(v).isA(m) && v != nil || v == nil && m.Name == "java.lang.Object", nil
	case *Pattern:
		s, err := t.Text(v)
		if err != nil || v == nil {
			return false, err
		}
		return t.matches(m, s)
	case *List:
		return t.contains(m.Items, v)
	case *Set:
		_, ok := m.m.Get(v)
		return ok, nil
	case *Map:
		x, _ := m.Get(v)
		return t.Truth(x)
	case *Range:
		return t.inRange(m, v)
	case *Closure:
		x, err := t.Call(m, v)
		if err != nil {
			return false, err
		}
		return t.Truth(x)
	case *Object:
		if f := m.class.find("isCase"); f != nil {
			x, err := t.Invoke(m, "isCase", v)
			if err != nil {
				return false, err
			}
			return t.Truth(x)
		}
	}
	return t.Equal(m, v)
}

func (t *Thread) try(s *TryStmt, sc *scope) (Value, done, error) {
	inner := sc
	if len(s.Resources) > 0 {
		inner = sc.inner()
	}
	v, d, err := t.stmts(s.Resources, inner)
	if err == nil {
		v, d, err = t.block(s.Body, inner)
	}
	for _, r := range inner.vars {
		if inner == sc || r.value == nil {
			break
		}
		if _, cerr := t.Invoke(r.value, "close"); cerr != nil && err == nil {
			err = cerr
		}
	}
	if thrown, ok := asThrown(err); ok {
		for _, c := range s.Catches {
			fits, cerr := t.catches(c, thrown, sc)
			if cerr != nil {
				return nil, goOn, cerr
			}
			if fits {
				inner := sc.inner()
				inner.declare(c.Name, thrown.Object, nil)
				if thrown.Object.trace == nil {
					thrown.Object.trace = append([]Position{thrown.At}, thrown.Trace...)
				}
				v, d, err = t.block(c.Body, inner)
				break
			}
		}
	}
	if s.Finally == nil || err != nil && !catchable(err) {
		return v, d, err
	}
	result, label := sc.frame.result, sc.frame.label
	if _, fd, ferr := t.block(s.Finally, sc); ferr != nil || fd != goOn {
		return nil, fd, ferr
	}
	sc.frame.result, sc.frame.label = result, label
	return v, d, err
}

func asThrown(err error) (*Thrown, bool) {
	var thrown *Thrown
	ok := errors.As(err, &thrown)
	return thrown, ok
}

// catchable reports whether finally is run for an error: for everything that
// is thrown, and not for limits and for what the host ends the script with.
func catchable(err error) bool {
	_, ok := asThrown(err)
	return ok
}

func (t *Thread) catches(c *Catch, e *Thrown, sc *scope) (bool, error) {
	if len(c.Types) == 0 {
		return e.Object.class.is("java.lang.Exception", 0), nil
	}
	for _, typ := range c.Types {
		v, err := t.resolve(sc.frame.unit, typ.Name, sc.frame.class)
		if err != nil {
			return false, err
		}
		if class, ok := v.(*Class); ok && e.Object.class.isA(class) {
			return true, nil
		}
	}
	return false, nil
}

func (t *Thread) assert(s *AssertStmt, sc *scope) error {
	ok, err := t.condition(s.Cond, sc)
	if err != nil || ok {
		return err
	}
	t.node = s
	source := shorten(t.unit.script.Text(s.Cond))
	if s.Message == nil {
		return t.Throw("org.codehaus.groovy.runtime.powerassert.PowerAssertionError", "assert %s", source)
	}
	m, err := t.eval(s.Message, sc)
	if err != nil {
		return err
	}
	text, err := t.Text(m)
	if err != nil {
		return err
	}
	return t.Throw("java.lang.AssertionError", "%s. Expression: %s", text, source)
}
