package notify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Route says who is told of what. Empty lists choose all, but for Edges: without
// any, those for people are meant.
type Route struct {
	Name    string `json:"name"`    // unique
	Channel string `json:"channel"` // a Channel's name
	// Secret names the secret of the organisation that holds the target. Those of routes begin
	// with $, so that no job can be given them.
	Secret string `json:"secret"`
	// Repositories and Branches are names, or patterns in which * stands for any
	// text. A run of a pull or merge request has the change's branch.
	Repositories []string `json:"repositories,omitempty"`
	Branches     []string `json:"branches,omitempty"`
	Edges        []Edge   `json:"edges,omitempty"`
}

// TargetSecret is what the secret with a route's target is called unless somebody
// chose otherwise: no two routes have the same, and no job can name it.
func TargetSecret(route string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, route)
	return fmt.Sprintf("$ROUTE_%.40s_%.8s", name, digest("route", route))
}

// Limits of a route.
const (
	maxPatterns = 100
	maxPattern  = 500
)

// Check says what is wrong with a route; channels are the names of those there are.
func (r Route) Check(channels []string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("route %.40q: "+format, append([]any{r.Name}, args...)...)
	}
	switch {
	case r.Name == "" || len(r.Name) > maxPattern:
		return errors.New("the route has no name, or a very long one")
	case !slices.Contains(channels, r.Channel):
		return fail("there is no channel %.40q; there are %s", r.Channel, strings.Join(channels, ", "))
	case r.Secret == "":
		return fail("it does not say which secret holds the target")
	case len(r.Repositories) > maxPatterns || len(r.Branches) > maxPatterns || len(r.Edges) > maxPatterns:
		return fail("it has more than %d patterns", maxPatterns)
	}
	for _, p := range slices.Concat(r.Repositories, r.Branches) {
		if p == "" || len(p) > maxPattern {
			return fail("a pattern is empty or longer than %d bytes", maxPattern)
		}
	}
	for _, e := range r.Edges {
		if !slices.Contains(Edges(), e) {
			return fail("there is no edge %.40q", string(e))
		}
	}
	return nil
}

// Takes reports whether the message goes this way.
func (r Route) Takes(m *Message) bool {
	if len(r.Edges) == 0 && !m.Edge.ForPeople() || len(r.Edges) > 0 && !slices.Contains(r.Edges, m.Edge) {
		return false
	}
	return among(r.Repositories, m.Repository) && among(r.Branches, m.Branch)
}

func among(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matches(p, s) })
}

// matches reports whether the pattern, in which * stands for any text, is of s.
func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	rest, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// Envelope is a message on its way to one target.
type Envelope struct {
	// Key is the same whoever plans the sending, and other for every other one: the key
	// of its record.EffectPlanned.
	Key     string  `json:"key"`
	Route   string  `json:"route"` // its name
	Channel string  `json:"channel"`
	Secret  string  `json:"secret"` // names the target
	Message Message `json:"message"`
}

// Plan says where a message goes. Routes that mean the same target send it once.
func Plan(m Message, routes []Route) []Envelope {
	var out []Envelope
	for _, r := range routes {
		if !r.Takes(&m) {
			continue
		}
		e := Envelope{Key: "message/" + r.Channel + "/" + r.Secret + "/" + m.ID(), Route: r.Name, Channel: r.Channel, Secret: r.Secret, Message: m}
		if !slices.ContainsFunc(out, func(o Envelope) bool { return o.Key == e.Key }) {
			out = append(out, e)
		}
	}
	return out
}
