package groovy

// Declarations whose bodies come next: this file goes away.

// Thrown is an exception on its way up.
type Thrown struct {
	Object *Object
	At     Position   // where it was thrown
	Trace  []Position // the calls that led there, innermost first
}

func (e *Thrown) Error() string { return "" }

// Throw makes an exception of a class known by its full or plain name.
func (t *Thread) Throw(class, format string, args ...any) *Thrown { return nil }

// InstanceOf reports whether it is an instance of the class or of one below it.
func (e *Thrown) InstanceOf(class string) bool { return false }

// Message is the message, "" for null.
func (e *Thrown) Message() string { return "" }

// Object is an instance of a class: of a script's classes, a script itself,
// or an exception.
type Object struct{}

// ClassName is the full name of its class.
func (o *Object) ClassName() string { return "" }

// Get is a field, Set sets one (fields of exceptions made by the host too).
func (o *Object) Get(name string) Value    { return nil }
func (o *Object) Set(name string, v Value) {}

// Class is a class as a value.
type Class struct{ Name string }

// Closure is a closure as a value.
type Closure struct {
	Delegate Value
	Strategy int // of Closure.OWNER_FIRST and so on
}

// Expr is the closure as it was written; Script the file it stands in.
func (c *Closure) Expr() *ClosureExpr { return nil }
func (c *Closure) Script() *Script    { return nil }

// Map is a LinkedHashMap.
type Map struct{}

// Entry is a Map.Entry.
type Entry struct {
	Key, Value Value
}

func NewMap() *Map                                    { return nil }
func (m *Map) Put(k, v Value)                         {}
func (m *Map) Get(k Value) (Value, bool)              { return nil, false }
func (m *Map) Text(name string) (Value, bool)         { return nil, false } // a key that is this text, GString or String
func (m *Map) Remove(k Value)                         {}
func (m *Map) Keys() []Value                          { return nil }
func (m *Map) Len() int                               { return 0 }
func (m *Map) All() func(yield func(k, v Value) bool) { return nil }

// Pattern and Matcher are those of java.util.regex.
type Pattern struct{}
type Matcher struct{}

type unit struct{ script *Script }

// Instance makes an instance of a script without running it: its methods,
// classes and fields are there.
func (t *Thread) Instance(s *Script) (*Object, error) { return nil, nil }

// Call calls a closure (or a Native).
func (t *Thread) Call(fn Value, args ...Value) (Value, error) { return nil, nil }

// Invoke calls a method of a value, as value.name(args) does.
func (t *Thread) Invoke(recv Value, name string, args ...Value) (Value, error) { return nil, nil }

// Eval evaluates an expression where a closure was written (its variables,
// owner and delegate) or at the top of a script instance; vars are further
// local variables.
func (t *Thread) Eval(where Value, e Expr, vars map[string]Value) (Value, error) { return nil, nil }

// Exec executes statements like Eval; the value is that of a closure with
// this body.
func (t *Thread) Exec(where Value, b *Block, vars map[string]Value) (Value, error) { return nil, nil }

// Text is what toString says; Truth what if says; Equal what == says.
func (t *Thread) Text(v Value) (string, error)       { return "", nil }
func (t *Thread) Truth(v Value) (bool, error)        { return false, nil }
func (t *Thread) Equal(a, b Value) (bool, error)     { return false, nil }
func (t *Thread) runScript(o *Object) (Value, error) { return nil, nil }

// FromGo makes a value of what encoding/json and YAML readers give (map[string]any
// by sorted keys, []any, numbers, strings); ToGo the way back, with GStrings
// as strings and maps as [*Map]-ordered pairs left to the caller.
func FromGo(v any) Value { return nil }

// ParseJSON reads JSON as JsonSlurper does; FormatJSON writes it as JsonOutput.
func ParseJSON(text string) (Value, error)                        { return nil, nil }
func (t *Thread) FormatJSON(v Value, pretty bool) (string, error) { return "", nil }
