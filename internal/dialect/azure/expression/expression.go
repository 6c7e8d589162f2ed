// Package expression is the expression language of Azure Pipelines.
//
// The same language is asked three times over, against other names each time:
//
//	${{ }}     when the file is compiled: parameters, variables known by then
//	$[ ]       when a job begins: variables, dependencies, stageDependencies
//	condition  before a stage, a job or a step: the same, and how things went
//
// An expression is calls of functions, names, and literals; there are no
// operators:
//
//	and(succeeded(), eq(variables['Build.Reason'], 'PullRequest'))
//
// Reading ([Parse]) finds what is wrong with its form; only its value
// ([Expr.Eval]) needs to know which names there are ([Scope]). Values are of
// few types, and those of different types are compared by converting the
// right one to the type of the left one.
package expression

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of an expression.
const (
	maxLength = 21_000  // bytes
	maxDepth  = 50      // calls and indexes inside one another
	maxSize   = 1 << 20 // bytes of one text that an expression makes
)

// Error tells the author of an expression what is wrong with it.
type Error struct {
	Message string
	Hint    string // what to do; may be empty
	Offset  int    // byte of the expression; -1 when unknown
}

func (e *Error) Error() string { return e.Message }

func errorf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Offset: -1}
}

// Scope is what an expression may name.
type Scope struct {
	// Names are the named values, by lower-case name. They are asked for when
	// the expression is evaluated, and only if it names them.
	Names map[string]func() (any, error)
	// Functions come on top of those of the language, by lower-case name.
	Functions map[string]Function
}

// Function is a function of an expression.
type Function struct {
	Min, Max int // how many arguments; a negative Max is any number
	Call     func(args []any) (any, error)
}

// Expr is an expression that was read.
type Expr struct {
	text string
	root *node
}

// String is the text that was read.
func (e *Expr) String() string { return e.text }

// Eval is the value of the expression.
func (e *Expr) Eval(s *Scope) (any, error) {
	if err := e.root.check(s); err != nil {
		return nil, err
	}
	v, err := e.root.eval(s)
	if f, ok := v.(*filtered); ok {
		v = &f.Array
	}
	return v, err
}

// Check finds names and functions that there are not.
func (e *Expr) Check(s *Scope) error { return e.root.check(s) }

// check finds names and functions that there are not, and calls with a wrong
// number of arguments, in all of the expression: in parts that are not
// evaluated, too.
func (n *node) check(s *Scope) error {
	var bad error
	n.any(func(n *node) bool {
		switch n.kind {
		case name:
			if _, ok := s.Names[strings.ToLower(n.text)]; !ok {
				bad = &Error{Message: fmt.Sprintf("Unrecognized named-value: '%s'", n.text), Offset: n.at,
					Hint: "the names here are " + strings.Join(slices.Sorted(maps.Keys(s.Names)), ", ")}
			}
		case call:
			f, ok := s.function(n.text)
			switch {
			case !ok:
				bad = &Error{Message: fmt.Sprintf("Unrecognized function: '%s'", n.text), Offset: n.at, Hint: nearFunction(n.text, s)}
			case len(n.args) < f.Min:
				bad = &Error{Message: fmt.Sprintf("Too few parameters supplied: '%s' takes at least %s, and is given %d", n.text, count(f.Min), len(n.args)), Offset: n.at}
			case f.Max >= 0 && len(n.args) > f.Max:
				bad = &Error{Message: fmt.Sprintf("Too many parameters supplied: '%s' takes at most %s, and is given %d", n.text, count(f.Max), len(n.args)), Offset: n.at}
			}
		}
		return bad != nil
	})
	return bad
}

func count(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

func (s *Scope) function(text string) (Function, bool) {
	lower := strings.ToLower(text)
	if f, ok := s.Functions[lower]; ok {
		return f, true
	}
	f, ok := builtin(lower)
	return f, ok
}

// eval is the value of a node whose names were checked.
func (n *node) eval(s *Scope) (any, error) {
	switch n.kind {
	case literal:
		return n.value, nil
	case name:
		return s.Names[strings.ToLower(n.text)]()
	case index:
		return n.look(s)
	case wildcard:
		return nil, errorf("* stands only where a key does")
	}
	f, _ := s.function(n.text)
	if f.Call == nil {
		return n.lazy(s)
	}
	args := make([]any, len(n.args))
	for i, a := range n.args {
		v, err := a.eval(s)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	v, err := f.Call(args)
	if e := new(Error); errors.As(err, &e) && e.Offset < 0 {
		return nil, &Error{Message: n.text + ": " + e.Message, Hint: e.Hint, Offset: n.at}
	}
	return v, err
}

// look is a value of a list or a mapping. What has no such key gives nothing.
func (n *node) look(s *Scope) (any, error) {
	from, err := n.args[0].eval(s)
	if err != nil {
		return nil, err
	}
	if n.args[1].kind == wildcard {
		return &filtered{Array{Items: values(from)}}, nil
	}
	key, err := n.args[1].eval(s)
	if err != nil {
		return nil, err
	}
	if f, ok := from.(*filtered); ok {
		out := &filtered{}
		for _, item := range f.Items {
			if v, err := lookUp(item, key); err == nil && v != nil {
				out.Items = append(out.Items, v)
			}
		}
		return out, nil
	}
	return lookUp(from, key)
}

// filtered is what a * gives: what follows is asked of each of its items.
type filtered struct{ Array }

func values(v any) (items []any) {
	switch v := v.(type) {
	case *filtered:
		for _, item := range v.Items {
			items = append(items, values(item)...)
		}
	case *Array:
		items = slices.Clone(v.Items)
	case *Object:
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			items = append(items, x)
		}
	}
	return items
}

func lookUp(from, key any) (any, error) {
	switch from := from.(type) {
	case *Object:
		k, ok := toString(key)
		if !ok {
			return nil, nil
		}
		v, ok := from.Get(k)
		if !ok && from.Missing != nil {
			return nil, from.Missing(k)
		}
		return v, nil
	case *Array:
		i, ok := toNumber(key)
		if !ok || i < 0 || i >= float64(len(from.Items)) {
			return nil, nil
		}
		return from.Items[int(i)], nil
	}
	return nil, nil
}

// Part is an expression taken apart, for those who say it in another language.
// One of Call, Path and Literal says what it is; a Literal may be nil.
type Part struct {
	Call string   // of a function, with Args; lower case
	Path []string // a named value, lower case, and constant keys into it
	Args []Part

	Literal any
	// Opaque says that it is none of these.
	Opaque bool
}

// Parts takes the expression apart.
func (e *Expr) Parts() Part { return e.root.part() }

func (n *node) part() Part {
	switch n.kind {
	case literal:
		return Part{Literal: n.value}
	case name:
		return Part{Path: []string{strings.ToLower(n.text)}}
	case call:
		p := Part{Call: strings.ToLower(n.text)}
		for _, a := range n.args {
			p.Args = append(p.Args, a.part())
		}
		return p
	case index:
		from := n.args[0].part()
		if key, ok := n.args[1].value.(string); ok && n.args[1].kind == literal && from.Path != nil {
			return Part{Path: append(from.Path, key)}
		}
	}
	return Part{Opaque: true}
}
