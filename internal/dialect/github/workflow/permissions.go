package workflow

import (
	"slices"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Permissions are what the token of a job may do.
type Permissions struct {
	All    Str    // read-all or write-all; not given: see Scopes
	Scopes []Pair // in file order; what is not named is not granted
	Source plan.Source
}

// Access is how much of a scope is granted.
type Access int

// The levels of access, least first.
const (
	NoAccess Access = iota
	ReadAccess
	WriteAccess
)

// String is the word for the access in a file.
func (a Access) String() string { return [...]string{"none", "read", "write"}[a] }

func accessOf(word string) Access {
	switch word {
	case "read", "read-all":
		return ReadAccess
	case "write", "write-all":
		return WriteAccess
	}
	return NoAccess
}

// Access is what is granted for a scope, such as contents.
func (p *Permissions) Access(scope string) Access {
	if p.All.Given() {
		return accessOf(p.All.Text)
	}
	for _, s := range p.Scopes {
		if s.Key.Text == scope {
			return accessOf(s.Value.Text)
		}
	}
	return NoAccess
}

// LimitedRead is what a token may do where nobody says otherwise and the
// repository keeps GitHub's default: read the code and the packages.
func LimitedRead() *Permissions {
	scope := func(name string) Pair {
		return Pair{Key: Str{Text: name, Value: name}, Value: Str{Text: "read", Value: "read"}}
	}
	return &Permissions{Scopes: []Pair{scope("contents"), scope("packages")}}
}

// WriteAll is what a token may do where the repository is set to the permissive
// default.
func WriteAll() *Permissions {
	return &Permissions{All: Str{Text: "write-all", Value: "write-all", Source: plan.Source{Line: 1}}}
}

// scopes are the names of all scopes.
func scopes() []string {
	var all []string
	for _, k := range permissionScopes().objects[0].keys {
		all = append(all, k.name)
	}
	return all
}

// beyond names the scopes for which p asks more than the ceiling grants.
func (p *Permissions) beyond(ceiling *Permissions) []string {
	return slices.DeleteFunc(scopes(), func(scope string) bool {
		return p.Access(scope) <= ceiling.Access(scope)
	})
}

func readPermissions(n *Node) *Permissions {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar:
		return &Permissions{All: n.Scalar, Source: n.Source}
	}
	return &Permissions{Scopes: n.pairs(), Source: n.Source}
}
