package gitlab

import (
	"strings"
)

// Variables refer to one another in three ways of writing: $NAME, ${NAME} and
// %NAME%. GitLab expands them from the innermost outwards, leaves those of a
// circle as they are written, and what is not known; the runner then expands
// what is left once more, where an unknown name comes to nothing. $$ stands
// for a dollar sign.

// maxExpanded bounds what one value may come to: variables that double each
// other grow fast.
const maxExpanded = 1 << 20

// expander expands references among variables. The later of two of the same
// name counts.
type expander struct {
	known map[string]*variable
	done  map[string]string
	busy  map[string]bool
}

func newExpander(list []variable) *expander {
	x := &expander{known: make(map[string]*variable, len(list)), done: map[string]string{}, busy: map[string]bool{}}
	for i := range list {
		x.known[list[i].Name] = &list[i]
	}
	return x
}

// get is the value of a variable, expanded unless it is raw.
func (x *expander) get(name string) (value string, ok bool) {
	v, ok := x.known[name]
	if !ok {
		return "", false
	}
	if v.Raw || !strings.ContainsAny(v.Value, "$%") {
		return v.Value, true
	}
	if value, ok := x.done[name]; ok {
		return value, true
	}
	if x.busy[name] {
		return v.Value, true // a circle
	}
	x.busy[name] = true
	value = x.expand(v.Value)
	delete(x.busy, name)
	if len(x.busy) == 0 {
		x.done[name] = value
	}
	return value, true
}

// expand replaces the references of a text.
func (x *expander) expand(text string) string {
	if !strings.ContainsAny(text, "$%") {
		return text
	}
	var b strings.Builder
	for text != "" && b.Len() < maxExpanded {
		i := strings.IndexAny(text, "$%")
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		name, n := reference(text)
		switch value, ok := x.get(name); {
		case n == 0: // a sign that begins nothing
			b.WriteByte(text[0])
			n = 1
		case name == "$":
			b.WriteByte('$')
		case ok:
			b.WriteString(value)
		case text[0] == '%':
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	if b.Len() < maxExpanded {
		b.WriteString(text)
	}
	return b.String()
}

// reference reads the reference that a text begins with: its name ("$" for
// $$) and how long it is; 0 when there is none.
func reference(text string) (name string, n int) {
	switch {
	case strings.HasPrefix(text, "$$"):
		return "$", 2
	case strings.HasPrefix(text, "${"):
		if end := strings.IndexByte(text, '}'); end > 0 && identifier(text[2:end]) == end-2 && end > 2 {
			return text[2:end], end + 1
		}
	case text[0] == '$':
		if n := identifier(text[1:]); n > 0 {
			return text[1 : n+1], n + 1
		}
	case text[0] == '%':
		if n := identifier(text[1:]); n > 0 && strings.HasPrefix(text[n+1:], "%") {
			return text[1 : n+1], n + 2
		}
	}
	return "", 0
}

// identifier is the length of the name that a text begins with.
func identifier(text string) int {
	for i := range len(text) {
		c := text[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}
