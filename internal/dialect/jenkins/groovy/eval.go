package groovy

// eval evaluates an expression.
func (t *Thread) eval(x Expr, sc *scope) (Value, error) {
	switch x := x.(type) {
	case *Literal:
		return x.Value, nil
	case *Ident:
		if v := sc.find(x.Name); v != nil {
			return v.value, nil
		}
		return t.name(x, sc)
	}
	if err := t.tick(1); err != nil {
		return nil, err
	}
	if err := t.nest(); err != nil {
		return nil, err
	}
	defer t.unnest()
	switch x := x.(type) {
	case *GStringExpr:
		return t.gstring(x, sc)
	case *ListExpr:
		items, err := t.values(x.Items, sc)
		if err != nil {
			return nil, err
		}
		return &List{Items: items}, t.alloc(48 + 16*len(items))
	case *MapExpr:
		return t.mapOf(x, sc)
	case *RangeExpr:
		return t.rangeOf(x, sc)
	case *PropertyExpr:
		return t.propertyExpr(x, sc)
	case *IndexExpr:
		v, err := t.eval(x.X, sc)
		if err != nil {
			return nil, err
		}
		index, err := t.values(x.Args, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.getAt(v, index)
	case *CallExpr:
		return t.callExpr(x, sc)
	case *NewExpr:
		return t.newExpr(x, sc)
	case *UnaryExpr:
		return t.unary(x, sc)
	case *StepExpr:
		return t.step(x, sc)
	case *BinaryExpr:
		return t.binary(x, sc)
	case *AssignExpr:
		return t.assign(x, sc)
	case *TernaryExpr:
		v, err := t.eval(x.Cond, sc)
		if err != nil {
			return nil, err
		}
		ok, err := t.Truth(v)
		switch {
		case err != nil:
			return nil, err
		case ok && x.Then == nil:
			return v, nil
		case ok:
			return t.eval(x.Then, sc)
		}
		return t.eval(x.Else, sc)
	case *CastExpr:
		v, err := t.eval(x.X, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.cast(x.Type, v, sc, x.As)
	case *InstanceOfExpr:
		return t.instanceOf(x, sc)
	case *ClosureExpr:
		return t.closure(x, sc), t.alloc(120)
	case *MethodPointerExpr:
		return t.methodPointer(x, sc)
	case *ClassExpr:
		return t.classRef(x, sc)
	case *SpreadExpr:
		t.node = x
		return nil, t.fail("a spread operator stands only in a list or among arguments")
	case *TupleExpr:
		t.node = x
		return nil, t.fail("a tuple stands only left of an assignment")
	}
	return nil, t.fail("cannot evaluate a %T", x)
}

// values evaluates items, spread ones in between.
func (t *Thread) values(list []Expr, sc *scope) ([]Value, error) {
	if len(list) == 0 {
		return nil, nil
	}
	items := make([]Value, 0, len(list))
	for _, x := range list {
		if s, ok := x.(*SpreadExpr); ok {
			v, err := t.eval(s.X, sc)
			if err != nil {
				return nil, err
			}
			if v == nil {
				items = append(items, nil)
				continue
			}
			more, err := t.iterate(v)
			if err != nil {
				return nil, err
			}
			if err := t.alloc(16 * len(more)); err != nil {
				return nil, err
			}
			items = append(items, more...)
			continue
		}
		v, err := t.eval(x, sc)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

func (t *Thread) gstring(x *GStringExpr, sc *scope) (Value, error) {
	g := &GString{Strings: x.Strings, Values: make([]Value, len(x.Holes))}
	for i, h := range x.Holes {
		v, err := t.eval(h, sc)
		if err != nil {
			return nil, err
		}
		g.Values[i] = v
	}
	return g, t.alloc(64 + 16*len(x.Holes))
}

func (t *Thread) mapOf(x *MapExpr, sc *scope) (*Map, error) {
	m := NewMap()
	for _, e := range x.Entries {
		if e.Key == nil {
			v, err := t.eval(e.Value, sc)
			if err != nil {
				return nil, err
			}
			more, ok := v.(*Map)
			if !ok && v != nil {
				t.node = e
				return nil, t.castError(v, "java.util.Map")
			}
			if ok {
				for k, v := range more.All() {
					m.Put(k, v)
				}
			}
			continue
		}
		k, err := t.eval(e.Key, sc)
		if err != nil {
			return nil, err
		}
		v, err := t.eval(e.Value, sc)
		if err != nil {
			return nil, err
		}
		m.Put(k, v)
	}
	return m, t.alloc(64 + 64*m.Len())
}

func (t *Thread) rangeOf(x *RangeExpr, sc *scope) (Value, error) {
	from, err := t.eval(x.From, sc)
	if err != nil {
		return nil, err
	}
	to, err := t.eval(x.To, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if s, ok := from.(*GString); ok {
		if from, err = t.Text(s); err != nil {
			return nil, err
		}
	}
	if s, ok := to.(*GString); ok {
		if to, err = t.Text(s); err != nil {
			return nil, err
		}
	}
	r, ok := newRange(from, to, x.Exclusive)
	if !ok {
		return nil, t.Throw("java.lang.IllegalArgumentException", "Incompatible Argument classes for a range: %s and %s", className(from), className(to))
	}
	return r, nil
}

// spread applies fn to each item and makes a list of the results.
func (t *Thread) spread(v Value, fn func(Value) (Value, error)) (Value, error) {
	if v == nil {
		return nil, nil
	}
	out := &List{}
	err := t.each(v, func(item Value) (bool, error) {
		r, err := fn(item)
		out.Items = append(out.Items, r)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return out, t.alloc(48 + 16*len(out.Items))
}

func (t *Thread) instanceOf(x *InstanceOfExpr, sc *scope) (Value, error) {
	v, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	ok, err := t.isInstance(v, x.Type, sc)
	return ok != x.Not, err
}

// isInstance reports whether a value is of a type that is written.
func (t *Thread) isInstance(v Value, typ *TypeRef, sc *scope) (bool, error) {
	if v == nil {
		return false, nil
	}
	if typ.Dims > 0 {
		l, ok := v.(*List)
		return ok && l.Array, nil
	}
	class, err := t.resolve(sc.frame.unit, typ.Name, sc.frame.class)
	if err != nil {
		return false, err
	}
	switch c := class.(type) {
	case *Class:
		return t.classOf(v).isA(c), nil
	case Host:
		h, ok := v.(Host)
		return ok && (h.ClassName() == c.ClassName() || lastPart(h.ClassName()) == lastPart(typ.Name)), nil
	}
	if h, ok := v.(Host); ok {
		return h.ClassName() == typ.Name || lastPart(h.ClassName()) == lastPart(typ.Name), nil
	}
	return false, nil
}

func (t *Thread) classRef(x *ClassExpr, sc *scope) (Value, error) {
	if box, ok := boxes[x.Type.Name]; ok && x.Type.Dims == 0 {
		return &Class{Name: x.Type.Name, super: t.in.builtin(box)}, nil
	}
	if x.Type.Dims > 0 {
		return &Class{Name: x.Type.Name + "[]", super: t.in.builtin("java.lang.Object")}, nil
	}
	v, err := t.resolve(sc.frame.unit, x.Type.Name, sc.frame.class)
	if v == nil && err == nil {
		t.node = x
		err = t.fail("unable to resolve class %s", x.Type.Name)
	}
	return v, err
}
