package groovy

import (
	"fmt"
	"strings"
)

// unit is a file that was loaded: its imports and classes.
type unit struct {
	script   *Script
	pkg      string
	imports  map[string]string // plain name -> full name
	stars    []string          // packages, and classes whose inner ones are imported
	statics  map[string]string // name -> class.member
	starred  []string          // classes all of whose static members are imported
	class    *Class            // of the script
	classes  map[string]*Class
	resolved map[string]Value
}

// load makes the unit of a file: reads its imports and declares its classes.
func (t *Thread) load(s *Script) (*unit, error) {
	if u, ok := t.in.units[s]; ok {
		return u, nil
	}
	u := &unit{
		script: s, imports: map[string]string{}, statics: map[string]string{},
		classes: map[string]*Class{}, resolved: map[string]Value{},
	}
	t.in.units[s] = u
	for _, stmt := range s.Stmts {
		switch d := stmt.(type) {
		case *PackageStmt:
			u.pkg = d.Name
		case *ImportStmt:
			u.add(d)
		}
	}
	u.class = &Class{Name: u.full(s.Class), kind: "class", unit: u, script: true, super: t.in.builtin("groovy.lang.Script"), methods: map[string][]*method{}, statics: map[string]*variable{}}
	for _, stmt := range s.Stmts {
		switch d := stmt.(type) {
		case *ClassDecl:
			u.declare(d, nil)
		case *MethodDecl:
			u.class.methods[d.Name] = append(u.class.methods[d.Name], &method{decl: d, class: u.class, static: d.Has("static")})
		case *VarDecl:
			if d.Has("Field") {
				for _, v := range d.Vars {
					u.class.fields = append(u.class.fields, &field{v, &d.Modifiers})
				}
			}
		}
	}
	for _, c := range u.classes {
		if err := t.inherit(c); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *unit) full(name string) string {
	if u.pkg != "" {
		return u.pkg + "." + name
	}
	return name
}

func (u *unit) add(d *ImportStmt) {
	alias := d.Alias
	switch {
	case d.Static && d.Member == "*":
		u.starred = append(u.starred, d.Name)
	case d.Static:
		if alias == "" {
			alias = d.Member
		}
		u.statics[alias] = d.Name + "." + d.Member
	case d.Star:
		u.stars = append(u.stars, d.Name)
	default:
		if alias == "" {
			alias = lastPart(d.Name)
		}
		u.imports[alias] = d.Name
	}
}

// declare makes the class of a declaration and of those inside it.
func (u *unit) declare(d *ClassDecl, outer *Class) *Class {
	c := &Class{Name: u.full(d.Name), kind: d.Kind, unit: u, decl: d, outer: outer, methods: map[string][]*method{}, statics: map[string]*variable{}}
	key := d.Name
	if outer != nil {
		c.Name = outer.Name + "$" + d.Name
		key = strings.TrimPrefix(c.Name, u.full(""))
	}
	if d.Name != "" {
		u.classes[key] = c
	}
	for _, m := range d.Methods {
		name := m.Name
		if m.Constructor {
			name = "<init>"
		}
		c.methods[name] = append(c.methods[name], &method{decl: m, class: c, static: m.Has("static")})
	}
	for _, f := range d.Fields {
		for _, v := range f.Vars {
			c.fields = append(c.fields, &field{v, &f.Modifiers})
		}
	}
	for _, inner := range d.Classes {
		u.declare(inner, c)
	}
	return c
}

// inherit finds the superclass and the interfaces.
func (t *Thread) inherit(c *Class) error {
	var err error
	resolve := func(ref *TypeRef) *Class {
		v, e := t.resolve(c.unit, ref.Name, c)
		if e != nil {
			err = e
		}
		super, ok := v.(*Class)
		if !ok && err == nil {
			err = t.at(c.unit, ref).fail("unable to resolve class %s", ref.Name)
		}
		if ok && (super == c || super.is(c.Name, 0)) {
			err = t.at(c.unit, ref).fail("cyclic inheritance involving %s", c.Name)
			return nil
		}
		return super
	}
	if c.decl.Super != nil {
		c.super = resolve(c.decl.Super)
	}
	if c.super == nil {
		name := "java.lang.Object"
		if c.kind == "enum" {
			name = "java.lang.Enum"
		}
		c.super = t.in.builtin(name)
	}
	for _, ref := range c.decl.Interfaces {
		// An interface nobody knows has nothing to add.
		if v, e := t.resolve(c.unit, ref.Name, c); e != nil {
			return e
		} else if i, ok := v.(*Class); ok && !i.is(c.Name, 0) {
			c.interfaces = append(c.interfaces, i)
		}
	}
	return err
}

// at is the thread at another place, for errors.
func (t *Thread) at(u *unit, n Node) *Thread {
	other := *t
	other.unit, other.node = u, n
	return &other
}

// fail is an error of the compiler: nothing that a script can catch.
func (t *Thread) fail(format string, args ...any) error {
	at := t.Position()
	return &Problem{File: at.File, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)}
}

// resolve finds a class by the name that is written in a unit: a *Class, a
// Host, or nil.
func (t *Thread) resolve(u *unit, name string, from *Class) (Value, error) {
	for c := from; c != nil; c = c.outer {
		if inner, ok := u.classes[strings.TrimPrefix(c.Name, u.full(""))+"$"+name]; ok {
			return inner, nil
		}
		if c.super != nil && c.super.unit != nil && c.super.unit != u {
			if inner, ok := c.super.unit.classes[c.super.SimpleName()+"$"+name]; ok {
				return inner, nil
			}
		}
	}
	if v, ok := u.resolved[name]; ok {
		return v, nil
	}
	v, err := t.resolveIn(u, name)
	if err == nil {
		u.resolved[name] = v
	}
	return v, err
}

func (t *Thread) resolveIn(u *unit, name string) (Value, error) {
	if c, ok := u.classes[strings.ReplaceAll(name, ".", "$")]; ok {
		return c, nil
	}
	if name == u.script.Class {
		return u.class, nil
	}
	if full, ok := u.imports[name]; ok {
		return t.classNamed(full)
	}
	// Outer.Inner, where Outer is imported or declared.
	first, rest, dotted := strings.Cut(name, ".")
	if full, ok := u.imports[first]; ok && dotted {
		return t.classNamed(full + "." + rest)
	}
	if !dotted {
		if u.pkg != "" {
			if v, err := t.classNamed(u.pkg + "." + name); v != nil || err != nil {
				return v, err
			}
		}
		for _, p := range imported {
			if c := t.in.builtin(p + name); c != nil {
				return c, nil
			}
		}
		switch name {
		case "BigDecimal", "BigInteger":
			return t.in.builtin("java.math." + name), nil
		}
		for _, p := range u.stars {
			if v, err := t.classNamed(p + "." + name); v != nil || err != nil {
				return v, err
			}
		}
		for _, full := range u.starred {
			if v, err := t.classNamed(full + "." + name); v != nil || err != nil {
				return v, err
			}
		}
	} else if first == "Map" {
		return t.in.builtin("java.util." + name), nil
	}
	return t.classNamed(name)
}

// classNamed finds a class by its full name: a *Class, a Host, or nil.
func (t *Thread) classNamed(full string) (Value, error) {
	if c := t.in.builtin(full); c != nil {
		return c, nil
	}
	if t.in.config.Class == nil {
		return nil, nil
	}
	found, err := t.in.config.Class(full)
	if err != nil {
		return nil, fmt.Errorf("finding the class %s: %w", full, err)
	}
	switch v := found.(type) {
	case *Script:
		u, err := t.load(v)
		if err != nil {
			return nil, err
		}
		if c, ok := u.classes[lastPart(full)]; ok {
			return c, nil
		}
		if v.Class == lastPart(full) {
			return u.class, nil
		}
	case Host:
		return v, nil
	case nil:
		// Outer.Inner, where the file is that of Outer.
		if i := strings.LastIndexByte(full, '.'); i > 0 && isType(&TypeRef{Name: full[:i]}) {
			if outer, err := t.classNamed(full[:i]); err != nil {
				return nil, err
			} else if c, ok := outer.(*Class); ok && c.unit != nil {
				if inner, ok := c.unit.classes[c.SimpleName()+"$"+full[i+1:]]; ok {
					return inner, nil
				}
			}
		}
	}
	return nil, nil
}

func (t *Thread) enterUnit(u *unit) func() {
	outer, node := t.unit, t.node
	t.unit = u
	return func() { t.unit, t.node = outer, node }
}
