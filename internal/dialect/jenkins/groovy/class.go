package groovy

import (
	"errors"
	"fmt"
	"slices"
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

// hierarchy has the classes of the language: name, superclass and interfaces.
var hierarchy = map[string]string{
	"java.lang.Object":                          "",
	"java.lang.CharSequence":                    "",
	"java.lang.Comparable":                      "",
	"java.lang.Iterable":                        "",
	"java.lang.Runnable":                        "",
	"java.lang.Cloneable":                       "",
	"java.io.Serializable":                      "",
	"java.util.concurrent.Callable":             "",
	"java.lang.String":                          "java.lang.Object java.lang.CharSequence java.lang.Comparable java.io.Serializable",
	"groovy.lang.GString":                       "java.lang.Object java.lang.CharSequence java.lang.Comparable java.io.Serializable",
	"org.codehaus.groovy.runtime.GStringImpl":   "groovy.lang.GString",
	"java.lang.StringBuilder":                   "java.lang.Object java.lang.CharSequence java.io.Serializable",
	"java.lang.StringBuffer":                    "java.lang.Object java.lang.CharSequence java.io.Serializable",
	"java.lang.Boolean":                         "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Character":                       "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Number":                          "java.lang.Object java.io.Serializable",
	"java.lang.Integer":                         "java.lang.Number java.lang.Comparable",
	"java.lang.Long":                            "java.lang.Number java.lang.Comparable",
	"java.lang.Short":                           "java.lang.Number java.lang.Comparable",
	"java.lang.Byte":                            "java.lang.Number java.lang.Comparable",
	"java.lang.Double":                          "java.lang.Number java.lang.Comparable",
	"java.lang.Float":                           "java.lang.Number java.lang.Comparable",
	"java.math.BigDecimal":                      "java.lang.Number java.lang.Comparable",
	"java.math.BigInteger":                      "java.lang.Number java.lang.Comparable",
	"java.lang.Class":                           "java.lang.Object java.io.Serializable",
	"java.lang.Enum":                            "java.lang.Object java.lang.Comparable java.io.Serializable",
	"java.lang.Math":                            "java.lang.Object",
	"java.lang.System":                          "java.lang.Object",
	"java.lang.Thread":                          "java.lang.Object",
	"java.lang.StackTraceElement":               "java.lang.Object",
	"java.util.Collection":                      "java.lang.Iterable",
	"java.util.List":                            "java.util.Collection",
	"java.util.Set":                             "java.util.Collection",
	"java.util.SortedSet":                       "java.util.Set",
	"java.util.Queue":                           "java.util.Collection",
	"java.util.Deque":                           "java.util.Queue",
	"java.util.Map":                             "",
	"java.util.SortedMap":                       "java.util.Map",
	"java.util.Map.Entry":                       "",
	"java.util.Iterator":                        "",
	"java.util.ArrayList":                       "java.lang.Object java.util.List java.util.RandomAccess java.lang.Cloneable java.io.Serializable",
	"java.util.LinkedList":                      "java.lang.Object java.util.List java.util.Deque",
	"java.util.Vector":                          "java.lang.Object java.util.List",
	"java.util.Stack":                           "java.util.Vector",
	"java.util.RandomAccess":                    "",
	"java.util.HashSet":                         "java.lang.Object java.util.Set",
	"java.util.LinkedHashSet":                   "java.util.HashSet",
	"java.util.TreeSet":                         "java.lang.Object java.util.SortedSet",
	"java.util.HashMap":                         "java.lang.Object java.util.Map java.lang.Cloneable java.io.Serializable",
	"java.util.LinkedHashMap":                   "java.util.HashMap",
	"java.util.TreeMap":                         "java.lang.Object java.util.SortedMap",
	"java.util.Hashtable":                       "java.lang.Object java.util.Map",
	"java.util.Properties":                      "java.util.Hashtable",
	"java.util.concurrent.ConcurrentHashMap":    "java.lang.Object java.util.Map",
	"java.util.concurrent.CopyOnWriteArrayList": "java.lang.Object java.util.List",
	"java.util.concurrent.TimeUnit":             "java.lang.Enum",
	"java.util.concurrent.atomic.AtomicInteger": "java.lang.Number",
	"java.util.Arrays":                          "java.lang.Object",
	"java.util.Collections":                     "java.lang.Object",
	"java.util.Objects":                         "java.lang.Object",
	"java.util.Date":                            "java.lang.Object java.lang.Comparable",
	"java.util.TimeZone":                        "java.lang.Object",
	"java.util.Calendar":                        "java.lang.Object",
	"java.util.Locale":                          "java.lang.Object",
	"java.util.Random":                          "java.lang.Object",
	"java.util.UUID":                            "java.lang.Object java.lang.Comparable",
	"java.util.Base64":                          "java.lang.Object",
	"java.util.regex.Pattern":                   "java.lang.Object java.io.Serializable",
	"java.util.regex.Matcher":                   "java.lang.Object",
	"java.text.SimpleDateFormat":                "java.lang.Object",
	"java.net.URLEncoder":                       "java.lang.Object",
	"java.net.URLDecoder":                       "java.lang.Object",
	"java.nio.charset.StandardCharsets":         "java.lang.Object",
	"groovy.lang.Closure":                       "java.lang.Object java.lang.Runnable java.lang.Cloneable java.io.Serializable",
	"groovy.lang.Range":                         "java.util.List",
	"groovy.lang.IntRange":                      "java.lang.Object groovy.lang.Range",
	"groovy.lang.ObjectRange":                   "java.lang.Object groovy.lang.Range",
	"groovy.lang.Script":                        "java.lang.Object",
	"groovy.lang.Binding":                       "java.lang.Object",
	"groovy.json.JsonSlurper":                   "java.lang.Object",
	"groovy.json.JsonSlurperClassic":            "java.lang.Object",
	"groovy.json.JsonOutput":                    "java.lang.Object",
	"groovy.json.JsonBuilder":                   "java.lang.Object",
	"groovy.transform.Field":                    "",
	"com.cloudbees.groovy.cps.NonCPS":           "",

	"java.lang.Throwable":                                                  "java.lang.Object java.io.Serializable",
	"java.lang.Exception":                                                  "java.lang.Throwable",
	"java.lang.Error":                                                      "java.lang.Throwable",
	"java.lang.RuntimeException":                                           "java.lang.Exception",
	"java.lang.IllegalArgumentException":                                   "java.lang.RuntimeException",
	"java.lang.NumberFormatException":                                      "java.lang.IllegalArgumentException",
	"java.util.IllegalFormatException":                                     "java.lang.IllegalArgumentException",
	"java.lang.IllegalStateException":                                      "java.lang.RuntimeException",
	"java.lang.UnsupportedOperationException":                              "java.lang.RuntimeException",
	"java.lang.NullPointerException":                                       "java.lang.RuntimeException",
	"java.lang.ArithmeticException":                                        "java.lang.RuntimeException",
	"java.lang.ClassCastException":                                         "java.lang.RuntimeException",
	"java.lang.SecurityException":                                          "java.lang.RuntimeException",
	"java.lang.IndexOutOfBoundsException":                                  "java.lang.RuntimeException",
	"java.lang.ArrayIndexOutOfBoundsException":                             "java.lang.IndexOutOfBoundsException",
	"java.lang.StringIndexOutOfBoundsException":                            "java.lang.IndexOutOfBoundsException",
	"java.lang.NegativeArraySizeException":                                 "java.lang.RuntimeException",
	"java.util.NoSuchElementException":                                     "java.lang.RuntimeException",
	"java.util.ConcurrentModificationException":                            "java.lang.RuntimeException",
	"java.util.regex.PatternSyntaxException":                               "java.lang.IllegalArgumentException",
	"java.lang.CloneNotSupportedException":                                 "java.lang.Exception",
	"java.lang.InterruptedException":                                       "java.lang.Exception",
	"java.lang.ReflectiveOperationException":                               "java.lang.Exception",
	"java.lang.ClassNotFoundException":                                     "java.lang.ReflectiveOperationException",
	"java.lang.InstantiationException":                                     "java.lang.ReflectiveOperationException",
	"java.lang.LinkageError":                                               "java.lang.Error",
	"java.lang.NoClassDefFoundError":                                       "java.lang.LinkageError",
	"java.lang.IncompatibleClassChangeError":                               "java.lang.LinkageError",
	"java.lang.NoSuchMethodError":                                          "java.lang.IncompatibleClassChangeError",
	"java.lang.NoSuchFieldError":                                           "java.lang.IncompatibleClassChangeError",
	"java.lang.VirtualMachineError":                                        "java.lang.Error",
	"java.lang.StackOverflowError":                                         "java.lang.VirtualMachineError",
	"java.lang.OutOfMemoryError":                                           "java.lang.VirtualMachineError",
	"java.lang.AssertionError":                                             "java.lang.Error",
	"java.io.IOException":                                                  "java.lang.Exception",
	"java.io.FileNotFoundException":                                        "java.io.IOException",
	"java.io.UncheckedIOException":                                         "java.lang.RuntimeException",
	"java.net.MalformedURLException":                                       "java.io.IOException",
	"java.net.UnknownHostException":                                        "java.io.IOException",
	"java.net.SocketException":                                             "java.io.IOException",
	"java.net.ConnectException":                                            "java.net.SocketException",
	"java.net.SocketTimeoutException":                                      "java.io.IOException",
	"java.nio.file.FileSystemException":                                    "java.io.IOException",
	"java.nio.file.NoSuchFileException":                                    "java.nio.file.FileSystemException",
	"java.text.ParseException":                                             "java.lang.Exception",
	"java.util.concurrent.TimeoutException":                                "java.lang.Exception",
	"java.util.concurrent.ExecutionException":                              "java.lang.Exception",
	"java.util.concurrent.CancellationException":                           "java.lang.IllegalStateException",
	"groovy.lang.GroovyRuntimeException":                                   "java.lang.RuntimeException",
	"groovy.lang.MissingPropertyException":                                 "groovy.lang.GroovyRuntimeException",
	"groovy.lang.MissingMethodException":                                   "groovy.lang.GroovyRuntimeException",
	"groovy.lang.ReadOnlyPropertyException":                                "groovy.lang.MissingPropertyException",
	"groovy.json.JsonException":                                            "groovy.lang.GroovyRuntimeException",
	"org.codehaus.groovy.runtime.typehandling.GroovyCastException":         "java.lang.ClassCastException",
	"org.codehaus.groovy.runtime.powerassert.PowerAssertionError":          "java.lang.AssertionError",
	"hudson.AbortException":                                                "java.io.IOException",
	"org.jenkinsci.plugins.workflow.steps.FlowInterruptedException":        "java.lang.InterruptedException",
	"org.jenkinsci.plugins.workflow.steps.MissingContextVariableException": "java.lang.Exception",
	"org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException": "java.lang.SecurityException",
}

// imported are the packages whose classes need no import.
var imported = []string{"java.lang.", "java.util.", "java.io.", "java.net.", "groovy.lang.", "groovy.util."}

const castException = "org.codehaus.groovy.runtime.typehandling.GroovyCastException"

// supers are the superclass and the interfaces of a class of the language;
// ok is false when there is no such class.
func (in *Interp) supers(name string) (list []string, ok bool) {
	s, ok := hierarchy[name]
	if !ok {
		s, ok = in.config.Throwables[name]
	}
	return strings.Fields(s), ok
}

// builtin is a class of the language by its full name, nil for none.
func (in *Interp) builtin(name string) *Class {
	if c, ok := in.classes[name]; ok {
		return c
	}
	supers, ok := in.supers(name)
	if !ok {
		return nil
	}
	c := &Class{Name: name}
	in.classes[name] = c
	for i, s := range supers {
		super := in.builtin(s)
		if super == nil {
			continue
		}
		if i == 0 && name != "java.lang.Object" {
			c.super = super
		} else {
			c.interfaces = append(c.interfaces, super)
		}
	}
	return c
}

// isA reports whether a class is another or below it.
func (c *Class) isA(other *Class) bool { return c.is(other.Name, 0) }

func (c *Class) is(name string, depth int) bool {
	if c == nil || depth > 100 {
		return false
	}
	if c.Name == name || name == "java.lang.Object" {
		return true
	}
	if c.super.is(name, depth+1) {
		return true
	}
	return slices.ContainsFunc(c.interfaces, func(i *Class) bool { return i.is(name, depth+1) })
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

func (t *Thread) enterUnit(u *unit) func() {
	outer, node := t.unit, t.node
	t.unit = u
	return func() { t.unit, t.node = outer, node }
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

// construct makes an instance of a class that a file declares.
func (t *Thread) construct(c *Class, at Node, args []Expr, named *MapExpr, sc *scope, prepare func(*Object)) (*Object, error) {
	values, err := t.arguments(args, named, sc)
	if err != nil {
		return nil, err
	}
	t.node = at
	return t.instantiate(c, values, named != nil, sc, prepare)
}

// instantiate makes an instance from values.
func (t *Thread) instantiate(c *Class, args []Value, named bool, outer *scope, prepare func(*Object)) (*Object, error) {
	if c.kind == "interface" || c.decl != nil && c.decl.Has("abstract") {
		return nil, t.Throw("java.lang.InstantiationException", "%s", c.Name)
	}
	if err := t.begin(c); err != nil {
		return nil, err
	}
	if err := t.alloc(200); err != nil {
		return nil, err
	}
	if c.script {
		o, err := t.Instance(c.unit.script)
		return o, err
	}
	o := &Object{class: c, fields: map[string]Value{}}
	if c.decl != nil && c.decl.Name == "" {
		o.outer = outer
	}
	if prepare != nil {
		prepare(o)
	}
	if err := t.initialise(o, c); err != nil {
		return nil, err
	}
	return o, t.constructor(o, c, args, named)
}

// initialise gives the fields of a class, and of those above it, what they
// begin with.
func (t *Thread) initialise(o *Object, c *Class) error {
	if c == nil || c.kind == "" {
		return nil
	}
	if err := t.initialise(o, c.super); err != nil {
		return err
	}
	for _, i := range c.interfaces {
		if i.kind == "trait" {
			if err := t.initialise(o, i); err != nil {
				return err
			}
		}
	}
	defer t.enterUnit(c.unit)()
	sc := &scope{frame: &frame{this: o, class: c, unit: c.unit}, parent: o.outer}
	for _, fd := range c.fields {
		if fd.mods.Has("static") {
			continue
		}
		v, err := t.initial(fd, sc)
		if err != nil {
			return err
		}
		o.fields[fd.decl.Name] = v
	}
	for _, b := range c.decl.Init {
		if _, _, err := t.block(b, sc); err != nil {
			return err
		}
	}
	return nil
}

// constructor calls the constructor that fits; without one, a map sets the
// properties.
func (t *Thread) constructor(o *Object, c *Class, args []Value, named bool) error {
	if c.kind == "" {
		return t.throwableInit(o, args)
	}
	if list := c.methods["<init>"]; len(list) > 0 {
		m, err := t.choose(list, args)
		if err != nil {
			return err
		}
		if m != nil {
			_, err := t.callMethod(m, o, args)
			return err
		}
	}
	if len(args) == 0 {
		if c.super != nil && c.super.kind != "" {
			return t.constructor(o, c.super, nil, false)
		}
		return nil
	}
	if m, ok := args[0].(*Map); ok && len(args) == 1 && (named || len(c.methods["<init>"]) == 0) {
		if len(c.methods["<init>"]) > 0 {
			// The constructor without parameters comes first.
			if err := t.constructor(o, c, nil, false); err != nil {
				return err
			}
		}
		for k, v := range m.All() {
			name, err := t.Text(k)
			if err != nil {
				return err
			}
			if err := t.setProperty(o, name, v); err != nil {
				return err
			}
		}
		return nil
	}
	// Classes without constructors of their own: those of exceptions, of
	// anonymous classes and of @InheritConstructors are those above.
	if len(c.methods["<init>"]) == 0 && c.super != nil && (c.super.kind == "" && c.isThrowable() || c.decl.Name == "" || c.decl.Has("InheritConstructors") || c.kind == "class" && c.super.kind == "enum") {
		return t.constructor(o, c.super, args, named)
	}
	if c.decl.Has("TupleConstructor") || c.decl.Has("Immutable") || c.decl.Has("Canonical") {
		i := 0
		for _, fd := range c.fields {
			if i < len(args) && !fd.mods.Has("static") {
				v, err := t.assignable(fd.decl.Type, args[i], &scope{frame: &frame{this: o, class: c, unit: c.unit}})
				if err != nil {
					return err
				}
				o.fields[fd.decl.Name] = v
				i++
			}
		}
		return nil
	}
	types, values := t.describe(args)
	return t.Throw("groovy.lang.GroovyRuntimeException", "Could not find matching constructor for: %s(%s) values: %s", c.Name, types, values)
}

func (c *Class) isThrowable() bool { return c.is("java.lang.Throwable", 0) }

// throwableInit is the constructor of the exceptions of the language: message
// and cause in any order.
func (t *Thread) throwableInit(o *Object, args []Value) error {
	for _, a := range args {
		if cause, ok := a.(*Object); ok && cause.class.isThrowable() {
			o.fields["cause"] = cause
			if _, ok := o.fields["message"]; !ok {
				s, err := t.Text(cause)
				if err != nil {
					return err
				}
				o.fields["message"] = s
			}
			continue
		}
		if a == nil {
			continue
		}
		s, err := t.Text(a)
		if err != nil {
			return err
		}
		o.fields["message"] = s
	}
	return nil
}

// Thrown is an exception on its way up, as a Go error.
type Thrown struct {
	Object *Object
	At     Position   // where it was thrown
	Trace  []Position // the calls that led there, innermost first

	cause error
}

// maxTrace is how many calls a Thrown remembers.
const maxTrace = 50

func (e *Thrown) Error() string {
	s := e.String()
	if e.At.File != "" {
		s += " (" + e.At.String() + ")"
	}
	return s
}

// Unwrap is the Go error that the exception was made of, if any.
func (e *Thrown) Unwrap() error { return e.cause }

// String is the class and the message, as toString says.
func (e *Thrown) String() string {
	if m := e.Message(); m != "" {
		return e.Object.class.Name + ": " + m
	}
	return e.Object.class.Name
}

// Message is the message, "" for none.
func (e *Thrown) Message() string {
	if m := e.Object.fields["message"]; m != nil {
		return plain(m)
	}
	return ""
}

// InstanceOf reports whether it is an instance of a class, given by its full
// name, or of one below it.
func (e *Thrown) InstanceOf(class string) bool { return e.Object.class.is(class, 0) }

// Throw makes an exception of a class of the language or of
// [Config.Throwables], by its full name.
func (t *Thread) Throw(class, format string, args ...any) *Thrown {
	c := t.in.builtin(class)
	if c == nil {
		c = t.in.builtin("java.lang.RuntimeException")
	}
	o := &Object{class: c, fields: map[string]Value{}}
	if format != "" {
		o.fields["message"] = fmt.Sprintf(format, args...)
	}
	return &Thrown{Object: o, At: t.Position()}
}

// Wrap makes an exception of a class of a Go error that errors.Is and
// errors.As still find.
func (t *Thread) Wrap(class string, err error) *Thrown {
	e := t.Throw(class, "%s", err)
	e.cause = err
	return e
}

// Rethrow makes a Go error of an exception that a script holds as a value.
func (t *Thread) Rethrow(o *Object) *Thrown { return &Thrown{Object: o, At: t.Position()} }

// called adds a call to the trace of an exception that comes out of it.
func called(err error, at Position) error {
	if e, ok := err.(*Thrown); ok && len(e.Trace) < maxTrace {
		e.Trace = append(e.Trace, at)
	}
	return err
}

// isMissing reports whether an error only says that there is no such member.
func isMissing(err error) bool { return errors.Is(err, ErrMissing) }
