package github

import (
	"fmt"
	"regexp"
	"strings"
)

// maxPattern is the length of the longest filter pattern that is read. The
// longest in any real workflow seen is below 200 bytes.
const maxPattern = 1024

// pattern is one line of a branches, tags or paths filter. GitHub's patterns
// are a language of their own, neither globs nor regular expressions:
//
//	"*"   any characters but a slash
//	"**"  any characters; as a whole path element also none at all
//	"?"   the character before, or not
//	"+"   the character before, once or more
//	"[]"  one of the characters or ranges inside
//	"!"   in front: what matches is taken out again
//	"\"   in front of one of these: that character itself
type pattern struct {
	text   string
	negate bool
	re     *regexp.Regexp
}

// parsePattern reads one filter pattern. The error is for the author of it.
func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if len(text) > maxPattern {
		return p, fmt.Errorf("a pattern of %d bytes is longer than the %d that are read", len(text), maxPattern)
	}
	rest, negate := strings.CutPrefix(text, "!")
	p.negate = negate
	if rest == "" {
		return p, fmt.Errorf("the pattern %q is empty", text)
	}
	expr, err := translate(rest)
	if err != nil {
		return p, fmt.Errorf("pattern %q: %w", text, err)
	}
	if p.re, err = regexp.Compile(expr); err != nil {
		return p, fmt.Errorf("pattern %q is not one that GitHub can read", text)
	}
	return p, nil
}

// translate writes a pattern as an anchored RE2 expression, so that matching
// takes linear time whatever the pattern.
func translate(s string) (string, error) {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	quantifiable := false // whether something stands before that ? and + can repeat
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '*':
			n := len(s[i:]) - len(strings.TrimLeft(s[i:], "*"))
			element := (i == 0 || s[i-1] == '/') && n == 2
			switch {
			case n == 1:
				b.WriteString(`[^/]*`)
			case element && strings.HasPrefix(s[i+n:], "/"):
				b.WriteString(`(?:.*/)?`) // **/ stands for no directory, too
				n++
			default:
				b.WriteString(`.*`)
			}
			i += n
			quantifiable = false
			continue
		case '?', '+':
			if !quantifiable {
				return "", fmt.Errorf("%q at byte %d has no character before it to repeat", c, i+1)
			}
			b.WriteByte(c)
			quantifiable = false
		case '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return "", fmt.Errorf("the [ at byte %d is never closed", i+1)
			}
			set := s[i+1 : i+end]
			if set == "" {
				return "", fmt.Errorf("the [] at byte %d holds no character", i+1)
			}
			b.WriteByte('[')
			for j := 0; j < len(set); j++ {
				if c := set[j]; c == '-' && j > 0 && j < len(set)-1 {
					if set[j-1] > set[j+1] {
						return "", fmt.Errorf("the range %c-%c runs backwards", set[j-1], set[j+1])
					}
					b.WriteByte('-')
				} else if c < 0x80 && !isAlnum(c) {
					fmt.Fprintf(&b, `\x%02x`, c)
				} else {
					b.WriteByte(c)
				}
			}
			b.WriteByte(']')
			i += end + 1
			quantifiable = true
			continue
		case '\\':
			if i+1 == len(s) {
				return "", fmt.Errorf(`the \ at the end escapes nothing`)
			}
			i++
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
			quantifiable = true
		default:
			size := 1
			for i+size < len(s) && s[i+size]&0xC0 == 0x80 { // the rest of a rune
				size++
			}
			b.WriteString(regexp.QuoteMeta(s[i : i+size]))
			i += size
			quantifiable = true
			continue
		}
		i++
	}
	b.WriteString(`)$`)
	return b.String(), nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// filter is a list of patterns in the order of the file: of those that match
// a name, the last decides.
type filter []pattern

// match reports whether the filter lets a name through, and which of its
// patterns decided (-1: none matched).
func (f filter) match(name string) (bool, int) {
	for i := len(f) - 1; i >= 0; i-- {
		if f[i].re.MatchString(name) {
			return !f[i].negate, i
		}
	}
	return false, -1
}
