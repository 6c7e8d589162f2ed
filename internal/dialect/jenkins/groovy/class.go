package groovy

import (
	"strings"
)

// Class is a class: one of the language, or one that a file declares.
type Class struct {
	Name string // with its package

	kind       string // class, interface, enum, trait; "" for one of the language
	super      *Class
	interfaces []*Class
	outer      *Class
	unit       *unit
	decl       *ClassDecl // nil for a script
	script     bool
	methods    map[string][]*method
	fields     []*field
	statics    map[string]*variable
	constants  []Value // of an enum
	begun      bool    // static initialisation
}

type method struct {
	decl   *MethodDecl
	class  *Class
	static bool
}

type field struct {
	decl *Var
	mods *Modifiers
}

// SimpleName is the name without its package.
func (c *Class) SimpleName() string {
	name := lastPart(c.Name)
	return name[strings.LastIndexByte(name, '$')+1:]
}

// Object is an instance of a class that a file declares, a script, or an
// exception.
type Object struct {
	class  *Class
	fields map[string]Value
	outer  *scope // where an anonymous class was made
	trace  []Position
}

// ClassName is the full name of its class.
func (o *Object) ClassName() string { return o.class.Name }

// Field is the value of a field.
func (o *Object) Field(name string) (Value, bool) {
	v, ok := o.fields[name]
	return v, ok
}

// SetField sets a field. The host may give exceptions any.
func (o *Object) SetField(name string, v Value) { o.fields[name] = v }

// begin initialises the static fields and the constants of a class once.
func (t *Thread) begin(c *Class) error {
	if c.begun || c.kind == "" {
		return nil
	}
	c.begun = true
	if c.super != nil {
		if err := t.begin(c.super); err != nil {
			return err
		}
	}
	f := &frame{this: c, class: c, unit: c.unit}
	sc := &scope{frame: f}
	if c.decl != nil {
		for i, k := range c.decl.Constants {
			class := c
			if k.Body != nil {
				class = c.unit.declare(k.Body, c)
				class.super = c
			}
			o, err := t.construct(class, k, k.Args, k.Named, sc, func(o *Object) {
				o.fields["name"], o.fields["ordinal"] = k.Name, int32(i)
			})
			if err != nil {
				return err
			}
			c.constants = append(c.constants, o)
			c.statics[k.Name] = &variable{name: k.Name, value: o}
		}
	}
	for _, fd := range c.fields {
		if !fd.mods.Has("static") && c.kind != "interface" {
			continue
		}
		v, err := t.initial(fd, sc)
		if err != nil {
			return err
		}
		c.statics[fd.decl.Name] = &variable{name: fd.decl.Name, value: v, typ: fd.decl.Type}
	}
	if c.decl != nil {
		for _, b := range c.decl.StaticInit {
			if _, _, err := t.block(b, sc); err != nil {
				return err
			}
		}
	}
	return nil
}

// initial is the value that a field begins with.
func (t *Thread) initial(fd *field, sc *scope) (Value, error) {
	if fd.decl.Init == nil {
		return zero(fd.decl.Type), nil
	}
	v, err := t.eval(fd.decl.Init, sc)
	if err != nil {
		return nil, err
	}
	return t.assignable(fd.decl.Type, v, sc)
}

// zero is what a variable of a type holds that was given nothing.
func zero(typ *TypeRef) Value {
	if typ == nil || typ.Dims > 0 {
		return nil
	}
	switch typ.Name {
	case "boolean":
		return false
	case "int", "short", "byte":
		return int32(0)
	case "long":
		return int64(0)
	case "double", "float":
		return float64(0)
	}
	return nil
}

// Instance makes an instance of a script without running it: its methods,
// classes and fields are there.
func (t *Thread) Instance(s *Script) (*Object, error) {
	u, err := t.load(s)
	if err != nil {
		return nil, err
	}
	if err := t.begin(u.class); err != nil {
		return nil, err
	}
	o := &Object{class: u.class, fields: map[string]Value{}}
	sc := &scope{frame: &frame{this: o, class: u.class, unit: u}}
	defer t.enterUnit(u)()
	for _, fd := range u.class.fields {
		if fd.mods.Has("static") {
			continue
		}
		v, err := t.initial(fd, sc)
		if err != nil {
			return nil, err
		}
		o.fields[fd.decl.Name] = v
	}
	return o, nil
}

// runScript executes the statements of a script.
func (t *Thread) runScript(o *Object) (Value, error) {
	defer t.enterUnit(o.class.unit)()
	f := &frame{this: o, class: o.class, unit: o.class.unit}
	v, c, err := t.stmts(o.class.unit.script.Stmts, &scope{frame: f})
	if c == doReturn {
		v = f.result
	}
	return v, err
}
