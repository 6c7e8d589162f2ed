package groovy

// step is ++ and --.
func (t *Thread) step(x *StepExpr, sc *scope) (Value, error) {
	old, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	var v Value
	switch s := old.(type) {
	case int32:
		if x.Op == "++" {
			v = s + 1
		} else {
			v = s - 1
		}
	case string:
		if s == "" {
			return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "String index out of range: -1")
		}
		r := []rune(s)
		if x.Op == "++" {
			r[len(r)-1]++
		} else {
			r[len(r)-1]--
		}
		v = string(r)
	default:
		switch {
		case rankOf(old) != notNumber:
			op := byte('+')
			if x.Op == "--" {
				op = '-'
			}
			v, _ = arithmetic(op, old, int32(1))
		case x.Op == "++":
			v, err = t.Invoke(old, "next")
		default:
			v, err = t.Invoke(old, "previous")
		}
	}
	if err != nil {
		return nil, err
	}
	if err := t.store(x.X, v, sc); err != nil {
		return nil, err
	}
	if x.Prefix {
		return v, nil
	}
	return old, nil
}

func (t *Thread) assign(x *AssignExpr, sc *scope) (Value, error) {
	if tuple, ok := x.Target.(*TupleExpr); ok {
		v, err := t.eval(x.Value, sc)
		if err != nil {
			return nil, err
		}
		items, err := t.tupleItems(v, len(tuple.Items))
		if err != nil {
			return nil, err
		}
		for i, target := range tuple.Items {
			if err := t.store(target, items[i], sc); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	if x.Op == "=" {
		v, err := t.eval(x.Value, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return v, t.store(x.Target, v, sc)
	}
	old, err := t.eval(x.Target, sc)
	if err != nil {
		return nil, err
	}
	v, err := t.eval(x.Value, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if v, err = t.operate(x.Op[:len(x.Op)-1], old, v); err != nil {
		return nil, err
	}
	return v, t.store(x.Target, v, sc)
}

// store assigns to a variable, a property or an element.
func (t *Thread) store(target Expr, v Value, sc *scope) error {
	switch x := target.(type) {
	case *Ident:
		if local := sc.find(x.Name); local != nil {
			if local.typ != nil {
				var err error
				if v, err = t.assignable(local.typ, v, sc); err != nil {
					return err
				}
			}
			local.value = v
			return nil
		}
		return t.setName(sc.frame, x.Name, v)
	case *PropertyExpr:
		o, err := t.eval(x.X, sc)
		if err != nil {
			return err
		}
		name, err := t.propertyName(x.Name, x.Dynamic, sc)
		if err != nil {
			return err
		}
		t.node = x
		if x.Safe && o == nil {
			return nil
		}
		if x.Spread {
			return t.each(o, func(item Value) (bool, error) { return true, t.setProperty(item, name, v) })
		}
		if id, ok := x.X.(*Ident); ok && id.Name == "this" {
			if this, ok := o.(*Object); ok {
				return t.setOwn(this, sc.frame.class, name, v)
			}
		}
		if x.Direct {
			if this, ok := o.(*Object); ok {
				this.fields[name] = v
				return nil
			}
		}
		return t.setProperty(o, name, v)
	case *IndexExpr:
		o, err := t.eval(x.X, sc)
		if err != nil {
			return err
		}
		index, err := t.values(x.Args, sc)
		if err != nil {
			return err
		}
		t.node = x
		return t.putAt(o, index, v)
	}
	t.node = target
	kind := "binary"
	text := shorten(t.unit.script.Text(target))
	switch x := target.(type) {
	case *Literal:
		kind, text = "constant", plain(x.Value)
		return t.fail("[%s] is a constant expression, but it should be a variable expression", text)
	case *CallExpr:
		kind = "method call"
	case *GStringExpr:
		kind = "gstring"
	}
	return t.fail("(%s) is a %s expression, but it should be a variable expression", text, kind)
}

// setName assigns to a name that is no local variable.
func (t *Thread) setName(f *frame, name string, v Value) error {
	if f.closure != nil {
		if name == "delegate" {
			f.closure.Delegate, f.closure.delegated = v, true
			return nil
		}
		if name == "resolveStrategy" {
			f.closure.Strategy = int(asInt64(v))
			return nil
		}
		return t.setClosureProperty(f.closure, name, v, 0)
	}
	return t.setOwnName(f.this, f.class, name, v)
}

func (t *Thread) setClosureProperty(c *Closure, name string, v Value, depth int) error {
	if err := t.tick(1); err != nil {
		return err
	}
	err := ErrMissing
	for _, target := range c.targets() {
		if outer, ok := target.(*Closure); ok && depth < maxDepthText {
			err = t.setClosureProperty(outer, name, v, depth+1)
		} else {
			err = t.setOwnName(target, nil, name, v)
		}
		if err == nil || !isMissing(err) {
			if e, ok := asThrown(err); !ok || !e.InstanceOf("groovy.lang.MissingPropertyException") {
				return err
			}
		}
	}
	if isMissing(err) {
		return t.missingProperty(err, c.this, name)
	}
	return err
}

func (t *Thread) setOwnName(this Value, class *Class, name string, v Value) error {
	if o, ok := this.(*Object); ok {
		return t.setOwn(o, class, name, v)
	}
	if c, ok := this.(*Class); ok {
		for k := c; k != nil; k = k.outer {
			if s, err := t.staticVariable(k, name); err != nil {
				return err
			} else if s != nil {
				return t.setStatic(s, k, v)
			}
		}
		if c.script {
			t.in.binding.Put(name, v)
			return nil
		}
		return t.missingProperty(ErrMissing, this, name)
	}
	if this == nil {
		return ErrMissing
	}
	return t.setProperty(this, name, v)
}

// setOwn assigns to a property of the object that the code belongs to.
func (t *Thread) setOwn(o *Object, class *Class, name string, v Value) error {
	if fd := o.class.field(name); fd != nil && !fd.mods.Has("static") {
		v, err := t.assignable(fd.decl.Type, v, &scope{frame: &frame{this: o, class: o.class, unit: o.class.unit}})
		if err != nil {
			return err
		}
		o.fields[name] = v
		return nil
	}
	if o.class.find(setter(name)) != nil {
		return t.setProperty(o, name, v)
	}
	for c := o.class; c != nil; c = c.outer {
		if s, err := t.staticVariable(c, name); err != nil {
			return err
		} else if s != nil {
			return t.setStatic(s, c, v)
		}
	}
	if o.class.script {
		t.in.binding.Put(name, v)
		return nil
	}
	if o.outer != nil {
		if local := o.outer.find(name); local != nil {
			local.value = v
			return nil
		}
		return t.setName(o.outer.frame, name, v)
	}
	return t.setProperty(o, name, v)
}

func (t *Thread) setStatic(s *variable, c *Class, v Value) error {
	v, err := t.assignable(s.typ, v, &scope{frame: &frame{this: c, class: c, unit: c.unit}})
	s.value = v
	return err
}
