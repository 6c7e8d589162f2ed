package gitlab

import (
	"strings"
	"unicode/utf8"
)

// maxBraces is how many patterns one with braces may stand for.
const maxBraces = 1000

// glob is a pattern of rules:changes and rules:exists, read as Ruby's
// File.fnmatch does with paths, hidden files and braces:
//
//   - any part of a name, names that begin with a dot included
//     **/    any number of directories; ** elsewhere is no more than *
//     ?      one character; [a-z] [^a-z] [!a-z] one of a set
//     {a,b}  alternatives, which may be nested
//     \x     x itself
type glob []string

func newGlob(pattern string) glob {
	return braces(pattern, nil)
}

// braces writes alternatives out.
func braces(pattern string, into []string) []string {
	start, depth := -1, 0
	var commas []int
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '{':
			if depth++; depth == 1 {
				start, commas = i, nil
			}
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth == 0 {
				continue
			}
			if depth--; depth > 0 {
				continue
			}
			from := start + 1
			for _, end := range append(commas, i) {
				if len(into) >= maxBraces {
					return into
				}
				into = braces(pattern[:start]+pattern[from:end]+pattern[i+1:], into)
				from = end + 1
			}
			return into
		}
	}
	return append(into, pattern)
}

// match reports whether a slash path is meant.
func (g glob) match(name string) bool {
	for _, pattern := range g {
		if matchPath(pattern, name) {
			return true
		}
	}
	return false
}

// matchPath matches directory by directory, so that what **/ takes is the only
// thing that has to be tried again.
func matchPath(pattern, name string) bool {
	var backPattern, backName string
	back := false
	for {
		for strings.HasPrefix(pattern, "**/") {
			pattern = strings.TrimLeft(pattern[3:], "/")
			backPattern, backName, back = pattern, name, true
		}
		head, restPattern, moreP := strings.Cut(pattern, "/")
		part, restName, moreN := strings.Cut(name, "/")
		if matchName(head, part) && moreP == moreN {
			if !moreP {
				return true
			}
			pattern, name = restPattern, restName
			continue
		}
		if !back {
			return false
		}
		i := strings.IndexByte(backName, '/')
		if i < 0 {
			return false
		}
		backName = backName[i+1:]
		pattern, name = backPattern, backName
	}
}

// matchName matches one part of a path.
func matchName(pattern, name string) bool {
	var backPattern, backName string
	back := false
	for {
		ok := false
		switch {
		case pattern == "":
			if name == "" {
				return true
			}
		case pattern[0] == '*':
			pattern = strings.TrimLeft(pattern, "*")
			backPattern, backName, back = pattern, name, true
			continue
		case name == "":
		case pattern[0] == '?':
			_, n := utf8.DecodeRuneInString(name)
			pattern, name, ok = pattern[1:], name[n:], true
		case pattern[0] == '[':
			if in, rest, valid := class(pattern[1:], name); valid {
				if in {
					_, n := utf8.DecodeRuneInString(name)
					pattern, name, ok = rest, name[n:], true
				}
				break
			}
			ok = name[0] == '['
			if ok {
				pattern, name = pattern[1:], name[1:]
			}
		default:
			if pattern[0] == '\\' && len(pattern) > 1 {
				pattern = pattern[1:]
			}
			if pattern[0] == name[0] {
				pattern, name, ok = pattern[1:], name[1:], true
			}
		}
		if ok {
			continue
		}
		if !back || backName == "" {
			return false
		}
		backName = backName[1:]
		pattern, name = backPattern, backName
	}
}

// class matches the first character of name against a [set], of which the
// pattern begins after the bracket.
func class(pattern, name string) (in bool, rest string, valid bool) {
	c, _ := utf8.DecodeRuneInString(name)
	not := false
	if pattern != "" && (pattern[0] == '!' || pattern[0] == '^') {
		not, pattern = true, pattern[1:]
	}
	for first := true; pattern != ""; first = false {
		if pattern[0] == ']' && !first {
			return in != not, pattern[1:], true
		}
		lo, n := member(pattern)
		pattern = pattern[n:]
		hi := lo
		if len(pattern) > 1 && pattern[0] == '-' && pattern[1] != ']' {
			hi, n = member(pattern[1:])
			pattern = pattern[1+n:]
		}
		in = in || lo <= c && c <= hi
	}
	return false, "", false
}

func member(pattern string) (rune, int) {
	escape := 0
	if pattern[0] == '\\' && len(pattern) > 1 {
		escape = 1
	}
	r, n := utf8.DecodeRuneInString(pattern[escape:])
	return r, n + escape
}
