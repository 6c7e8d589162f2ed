package expression

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Allowed says which contexts and functions may be used in one place of a
// workflow. The functions of the language itself are allowed everywhere.
type Allowed struct {
	Contexts  []string
	Functions []AllowedFunc
}

// AllowedFunc is a function with the number of arguments it takes.
type AllowedFunc struct {
	Name     string
	Min, Max int
}

// ParseAllowed reads a list as GitHub's workflow schema writes it: contexts by
// name, functions with their argument counts, such as "github", "inputs",
// "success(0,MAX)", "hashFiles(1,255)".
func ParseAllowed(list []string) Allowed {
	var a Allowed
	for _, entry := range list {
		name, counts, isFunc := strings.Cut(entry, "(")
		name = strings.TrimSpace(name)
		if !isFunc {
			a.Contexts = append(a.Contexts, name)
			continue
		}
		least, most, ranged := strings.Cut(strings.TrimSuffix(strings.TrimSpace(counts), ")"), ",")
		f := AllowedFunc{Name: name, Min: count(least)}
		f.Max = f.Min
		if ranged {
			f.Max = count(most)
		}
		a.Functions = append(a.Functions, f)
	}
	return a
}

// count reads an argument count; MAX, like anything else that is no number,
// is no limit.
func count(s string) int {
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		return n
	}
	return math.MaxInt
}

// Check reports every use of a context or function that is not allowed, and
// every call with a wrong number of arguments, in the order in which a reader
// from left to right meets them. It returns nothing for an expression that is
// right.
func (e *Expression) Check(allowed Allowed) []*Error {
	var errs []*Error
	var visit func(n *Node)
	visit = func(n *Node) {
		known := true
		switch n.Op {
		case OpName:
			if !containsFold(allowed.Contexts, n.Name) {
				errs = append(errs, unknownContext(n, allowed.Contexts))
			}
		case OpCall:
			if n.builtin == nil && !slices.ContainsFunc(allowed.Functions, n.names) {
				known = false
				errs = append(errs, unknownFunction(n, allowed))
			}
		}
		for _, a := range n.Args {
			visit(a)
		}
		// How many arguments there are is known only after reading them.
		if n.Op == OpCall && known {
			if err := checkCount(n, allowed); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if e.root != nil {
		visit(e.root)
	}
	return errs
}

// names reports whether a call means the function.
func (n *Node) names(f AllowedFunc) bool { return strings.EqualFold(f.Name, n.Name) }

// checkCount compares the arguments of a call with what the function takes.
// A name may be allowed more than once: a place inherits from those around it.
func checkCount(n *Node, allowed Allowed) *Error {
	if n.builtin != nil {
		return wrongCount(n, n.builtin.min, n.builtin.max)
	}
	var err *Error
	for _, f := range allowed.Functions {
		if n.names(f) {
			if err = wrongCount(n, f.Min, f.Max); err == nil {
				return nil
			}
		}
	}
	return err
}

func wrongCount(n *Node, least, most int) *Error {
	have := len(n.Args)
	switch {
	case n.builtin != nil && n.builtin.odd && have >= least && have%2 == 0:
		return &Error{
			Kind: Syntax, Offset: n.Offset,
			Message: fmt.Sprintf("%s takes an odd number of arguments, and here are %d", n.Name, have),
			Hint:    "write pairs of condition and value, and a default at the end",
		}
	case have >= least && have <= most:
		return nil
	}
	want := fmt.Sprintf("%d to %d arguments", least, most)
	switch {
	case most == 0:
		want = "no arguments"
	case least == most && least == 1:
		want = "1 argument"
	case least == most:
		want = fmt.Sprintf("%d arguments", least)
	case most == math.MaxInt:
		want = fmt.Sprintf("at least %d", least)
	}
	some := "too many"
	if have < least {
		some = "too few"
	}
	return errorAt(Syntax, n.Offset, "%s arguments: %s takes %s, and here are %d", some, n.Name, want, have)
}

func unknownContext(n *Node, allowed []string) *Error {
	err := errorAt(Syntax, n.Offset, "there is no context %q", n.Name)
	if isContext(n.Name) {
		err.Message = fmt.Sprintf("the context %q is not available here", n.Name)
	} else if near := nearest(n.Name, allowed); near != "" {
		err.Hint = fmt.Sprintf("did you mean %q?", near)
		return err
	} else if near := findBuiltin(n.lower); near != nil {
		err.Hint = "a function needs parentheses"
		return err
	}
	if len(allowed) == 0 {
		err.Hint = "no context is available here"
	} else {
		err.Hint = "available are " + strings.Join(allowed, ", ")
	}
	return err
}

// isContext reports whether the name is a context in some place of a workflow.
func isContext(name string) bool {
	switch strings.ToLower(name) {
	case "github", "env", "vars", "job", "jobs", "steps", "runner", "secrets", "strategy", "matrix", "needs", "inputs":
		return true
	}
	return false
}

func unknownFunction(n *Node, allowed Allowed) *Error {
	err := errorAt(Syntax, n.Offset, "there is no function %q", n.Name)
	names := builtinNames()
	for _, f := range allowed.Functions {
		names = append(names, f.Name)
	}
	switch strings.ToLower(n.Name) {
	case "always", "cancelled", "failure", "success", "hashfiles":
		err.Message = fmt.Sprintf("the function %q is not available here", n.Name)
	default:
		if near := nearest(n.Name, names); near != "" {
			err.Hint = fmt.Sprintf("did you mean %q?", near)
			return err
		}
	}
	err.Hint = "available are " + strings.Join(names, ", ")
	return err
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

// nearest is the name that a typing mistake away from word, or "".
func nearest(word string, names []string) string {
	const longest = 32 // no name of the language is longer, and distance is quadratic
	if len(word) > longest {
		return ""
	}
	best, bestDistance := "", 1+len(word)/3
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is how many letters must be added, removed or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
