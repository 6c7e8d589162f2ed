package groovy

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// Pattern is a java.util.regex.Pattern. It is matched by Go's own machine,
// whose time is linear, and only where Java's language goes beyond it, by one
// that backtracks, with a limit.
type Pattern struct {
	source string
	fast   *regexp.Regexp // nil when the language is not Go's
	slow   *regexp2.Regexp
	dollar bool // $ also matches before the last line end, unlike Go's
	names  []string
}

// Matcher is a java.util.regex.Matcher.
type Matcher struct {
	pattern *Pattern
	text    string
	all     [][]int // byte offsets of groups in pairs, -1 for none; nil before the search
	next    int     // which match find() comes to
	current []int
}

const (
	maxPattern     = 10_000          // bytes of a pattern
	maxBacktrack   = 2 * time.Second // of one match of the machine that backtracks
	maxPatternMemo = 1000
)

// patternOf is the pattern that a value is, or whose text it is.
func (t *Thread) patternOf(v Value) (*Pattern, error) {
	if p, ok := v.(*Pattern); ok {
		return p, nil
	}
	s, err := t.Text(v)
	if err != nil {
		return nil, err
	}
	return t.pattern(s)
}

// pattern compiles a pattern.
func (t *Thread) pattern(source string) (*Pattern, error) {
	if p, ok := t.in.regexps[source]; ok {
		return p, nil
	}
	if err := t.alloc(1000 + 100*len(source)); err != nil {
		return nil, err
	}
	if len(source) > maxPattern {
		return nil, t.Throw("java.util.regex.PatternSyntaxException", "a pattern of more than %d bytes", maxPattern)
	}
	p := &Pattern{source: source, dollar: strings.Contains(source, "$") || strings.Contains(source, `\Z`)}
	if fast, err := regexp.Compile(goPattern(source)); err == nil {
		p.fast, p.names = fast, fast.SubexpNames()
	}
	if p.fast == nil || p.dollar {
		slow, err := regexp2.Compile(netPattern(source), regexp2.None)
		if err != nil && p.fast == nil {
			return nil, t.Throw("java.util.regex.PatternSyntaxException", "%s near index 0\n%s", err, source)
		}
		if err == nil {
			slow.MatchTimeout = maxBacktrack
			p.slow = slow
			if p.fast == nil {
				p.names = slow.GetGroupNames()
			}
		}
	}
	if len(t.in.regexps) < maxPatternMemo {
		t.in.regexps[source] = p
	}
	return p, nil
}

// goPattern is a Java pattern in Go's language. The pair of backslashes is
// replaced by itself so that what follows it is not taken for an escape.
func goPattern(s string) string {
	return strings.NewReplacer(`\Z`, `\n?\z`, `\h`, `[ \t]`, `\R`, `(?:\r\n|[\n\r])`, `\p{Alpha}`, `[[:alpha:]]`, `\p{Digit}`, `[[:digit:]]`,
		`\p{Alnum}`, `[[:alnum:]]`, `\p{Upper}`, `[[:upper:]]`, `\p{Lower}`, `[[:lower:]]`, `\p{Punct}`, `[[:punct:]]`, `\p{Space}`, `[[:space:]]`,
		`\p{XDigit}`, `[[:xdigit:]]`, `\\`, `\\`).Replace(s)
}

// netPattern is a Java pattern in the language of the other machine.
func netPattern(s string) string {
	return strings.NewReplacer(`\h`, `[ \t]`, `\R`, `(?:\r\n|[\n\r])`, `\p{Alpha}`, `[a-zA-Z]`, `\p{Digit}`, `[0-9]`, `\p{Alnum}`, `[a-zA-Z0-9]`,
		`\p{Upper}`, `[A-Z]`, `\p{Lower}`, `[a-z]`, `\p{Space}`, `\s`, `\p{XDigit}`, `[0-9a-fA-F]`, `\\`, `\\`).Replace(s)
}

// search finds all matches in a text.
func (t *Thread) search(p *Pattern, text string) ([][]int, error) {
	if err := t.tick(int64(1 + len(text)/32)); err != nil {
		return nil, err
	}
	if p.fast != nil && !(p.dollar && p.slow != nil && strings.HasSuffix(text, "\n")) {
		all := p.fast.FindAllStringSubmatchIndex(text, -1)
		return all, t.alloc(64 * len(all))
	}
	var all [][]int
	if err := t.interrupted(); err != nil {
		return nil, err
	}
	// The other machine counts in characters.
	offsets := byteOffsets(text)
	at := func(i int) int {
		if offsets == nil {
			return i
		}
		return offsets[i]
	}
	m, err := p.slow.FindStringMatch(text)
	for ; m != nil && err == nil; m, err = p.slow.FindNextMatch(m) {
		groups := m.Groups()
		found := make([]int, 0, 2*len(groups))
		for _, g := range groups {
			if len(g.Captures) == 0 {
				found = append(found, -1, -1)
			} else {
				found = append(found, at(g.Index), at(g.Index+g.Length))
			}
		}
		all = append(all, found)
		if err := t.tick(8); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, t.Throw("java.lang.StackOverflowError", "the pattern %s takes too long", shorten(p.source))
	}
	return all, t.alloc(64 * len(all))
}

// byteOffsets are the offsets of characters, nil when each has one byte.
func byteOffsets(s string) []int {
	if isASCII(s) {
		return nil
	}
	out := make([]int, 0, len(s)+1)
	for i := range s {
		out = append(out, i)
	}
	return append(out, len(s))
}

// matches reports whether the whole text matches.
func (t *Thread) matches(p *Pattern, text string) (bool, error) {
	groups, err := t.matchWhole(p, text)
	return groups != nil, err
}

// matchWhole are the groups when the whole text matches, else nil.
func (t *Thread) matchWhole(p *Pattern, text string) ([]int, error) {
	whole, err := t.pattern(`^(?:` + p.source + `)\z`)
	if err != nil {
		return nil, err
	}
	all, err := t.search(whole, text)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

func (t *Thread) matcher(a, b Value) (Value, error) {
	p, err := t.patternOf(b)
	if err != nil {
		return nil, err
	}
	s, err := t.Text(a)
	if err != nil {
		return nil, err
	}
	return &Matcher{pattern: p, text: s}, nil
}

// found makes sure that the search is done.
func (t *Thread) found(m *Matcher) error {
	if m.all != nil {
		return nil
	}
	all, err := t.search(m.pattern, m.text)
	if all == nil {
		all = [][]int{}
	}
	m.all = all
	return err
}

// find goes on to the next match.
func (t *Thread) find(m *Matcher) (bool, error) {
	if err := t.found(m); err != nil {
		return false, err
	}
	if m.next >= len(m.all) {
		m.current = nil
		return false, nil
	}
	m.current = m.all[m.next]
	m.next++
	return true, nil
}

// group is the text of a group, nil when it took no part.
func group(text string, groups []int, i int) Value {
	if groups[2*i] < 0 {
		return nil
	}
	return text[groups[2*i]:groups[2*i+1]]
}

// matchItem is a match as Groovy shows it: its text, or with groups a list.
func matchItem(text string, groups []int) Value {
	if len(groups) == 2 {
		return group(text, groups, 0)
	}
	l := &List{}
	for i := range len(groups) / 2 {
		l.Items = append(l.Items, group(text, groups, i))
	}
	return l
}

func (t *Thread) allMatches(m *Matcher) ([]Value, error) {
	if err := t.found(m); err != nil {
		return nil, err
	}
	out := make([]Value, len(m.all))
	for i, g := range m.all {
		out[i] = matchItem(m.text, g)
	}
	return out, t.alloc(64 * len(out))
}

// matchAt is matcher[i].
func (t *Thread) matchAt(m *Matcher, key Value) (Value, error) {
	items, err := t.allMatches(m)
	if err != nil {
		return nil, err
	}
	if rankOf(key) != notNumber {
		i, ok := index(asInt64(key), len(items))
		if !ok {
			return nil, t.Throw("java.lang.IndexOutOfBoundsException", "index is out of range %d..%d (index = %d)", -len(items), len(items)-1, asInt64(key))
		}
		return items[i], nil
	}
	return t.listAt(items, key, m, true)
}

// groupIndex is the number of a group given by number or name, -1 for none.
func (m *Matcher) groupIndex(v Value) int {
	if name, ok := v.(string); ok {
		return slices.Index(m.pattern.names, name)
	}
	n := int(asInt64(v))
	if n < 0 || 2*n >= len(m.current) {
		return -1
	}
	return n
}

func (t *Thread) matcherMethod(m *Matcher, name string, args []Value) (Value, error) {
	switch name {
	case "matches", "lookingAt":
		source := m.pattern
		var groups []int
		var err error
		if name == "matches" {
			groups, err = t.matchWhole(source, m.text)
		} else if all, e := t.search(source, m.text); e != nil {
			err = e
		} else if len(all) > 0 && all[0][0] == 0 {
			groups = all[0]
		}
		m.current = groups
		return groups != nil, err
	case "find":
		if len(args) == 1 {
			m.next = 0
			if err := t.found(m); err != nil {
				return nil, err
			}
			for m.next < len(m.all) && m.all[m.next][0] < int(asInt64(args[0])) {
				m.next++
			}
		}
		return t.find(m)
	case "hitEnd":
		return m.current == nil, nil
	case "group", "start", "end":
		if m.current == nil {
			return nil, t.Throw("java.lang.IllegalStateException", "No match found")
		}
		i := 0
		if len(args) == 1 {
			key := args[0]
			if g, ok := key.(*GString); ok {
				key = plain(g)
			}
			if i = m.groupIndex(key); i < 0 {
				if _, named := key.(string); named {
					return nil, t.Throw("java.lang.IllegalArgumentException", "No group with name <%s>", plain(key))
				}
				return nil, t.Throw("java.lang.IndexOutOfBoundsException", "No group %s", plain(key))
			}
		}
		switch name {
		case "start":
			return int32(newRunes(m.text).position(m.current[2*i])), nil
		case "end":
			return int32(newRunes(m.text).position(m.current[2*i+1])), nil
		}
		return group(m.text, m.current, i), nil
	case "groupCount":
		return int32(len(m.pattern.names) - 1), nil
	case "hasGroup":
		return len(m.pattern.names) > 1, nil
	case "getCount", "size", "count":
		if len(args) == 0 {
			err := t.found(m)
			return int32(len(m.all)), err
		}
	case "reset":
		m.next, m.current = 0, nil
		if len(args) == 1 {
			s, err := t.Text(args[0])
			if err != nil {
				return nil, err
			}
			m.text, m.all = s, nil
		}
		return m, nil
	case "replaceAll", "replaceFirst":
		if len(args) == 1 {
			return t.regexText(m.text, name, []Value{m.pattern, args[0]})
		}
	case "pattern":
		return m.pattern, nil
	case "getAt":
		return t.matchAt(m, single(args))
	case "asBoolean":
		return t.Truth(m)
	case "iterator":
		items, err := t.allMatches(m)
		return &iterator{items: items}, err
	case "toString", "equals", "hashCode", "getClass", "is", "with":
		return nil, ErrMissing
	}
	items, err := t.allMatches(m)
	if err != nil {
		return nil, err
	}
	return t.listMethod(&List{Items: items}, name, args)
}

func (t *Thread) patternMethod(p *Pattern, name string, args []Value) (Value, error) {
	switch name {
	case "matcher":
		return t.matcher(single(args), p)
	case "pattern", "toString":
		return p.source, nil
	case "split":
		s, err := t.Text(single(args))
		if err != nil {
			return nil, err
		}
		return t.regexText(s, "split", []Value{p})
	case "matches", "isCase":
		s, err := t.Text(single(args))
		if err != nil {
			return nil, err
		}
		return t.matches(p, s)
	case "flags":
		return int32(0), nil
	}
	return nil, ErrMissing
}

// regexText are the methods of strings that take a pattern.
func (t *Thread) regexText(s, name string, args []Value) (Value, error) {
	if name == "getAt" {
		return nil, ErrMissing
	}
	if name == "minus" {
		if p, ok := args[0].(*Pattern); ok {
			return t.regexText(s, "replaceFirst", []Value{p, ""})
		}
		part, err := t.Text(args[0])
		return strings.Replace(s, part, "", 1), err
	}
	if name == "find" || name == "findAll" {
		return t.matchesOf(s, name, args[0], nil)
	}
	p, err := t.patternOf(args[0])
	if err != nil {
		return nil, err
	}
	all, err := t.search(p, s)
	if err != nil {
		return nil, err
	}
	if name == "split" {
		return t.split(s, all, args)
	}
	if len(args) != 2 {
		return nil, ErrMissing
	}
	with, err := t.Text(args[1])
	if err != nil {
		return nil, err
	}
	if name == "replaceFirst" {
		all = all[:min(1, len(all))]
	}
	return t.replaceMatches(s, all, func(groups []int) (string, error) { return t.expand(p, s, groups, with) })
}

func (t *Thread) replaceMatches(s string, all [][]int, with func([]int) (string, error)) (string, error) {
	var b strings.Builder
	last := 0
	for _, g := range all {
		r, err := with(g)
		if err != nil {
			return "", err
		}
		if err := t.alloc(len(r) + g[0] - last); err != nil {
			return "", err
		}
		b.WriteString(s[last:g[0]])
		b.WriteString(r)
		last = g[1]
	}
	b.WriteString(s[last:])
	return b.String(), nil
}

// expand fills in the groups of a replacement: $1, ${name}, \$.
func (t *Thread) expand(p *Pattern, s string, groups []int, with string) (string, error) {
	if !strings.ContainsAny(with, `$\`) {
		return with, nil
	}
	var b strings.Builder
	for i := 0; i < len(with); i++ {
		switch c := with[i]; {
		case c == '\\':
			if i++; i >= len(with) {
				return "", t.Throw("java.lang.IllegalArgumentException", "character to be escaped is missing")
			}
			b.WriteByte(with[i])
		case c == '$' && strings.HasPrefix(with[i:], "${"):
			name, _, ok := strings.Cut(with[i+2:], "}")
			n := slices.Index(p.names, name)
			if !ok || n < 0 {
				return "", t.Throw("java.lang.IllegalArgumentException", "No group with name {%s}", name)
			}
			b.WriteString(plainOrEmpty(group(s, groups, n)))
			i += len(name) + 2
		case c == '$':
			if i+1 >= len(with) || with[i+1] < '0' || with[i+1] > '9' {
				return "", t.Throw("java.lang.IllegalArgumentException", "Illegal group reference")
			}
			i++
			n := int(with[i] - '0')
			if 2*n >= len(groups) {
				return "", t.Throw("java.lang.IndexOutOfBoundsException", "No group %d", n)
			}
			// More digits belong to it as long as there is such a group.
			for i+1 < len(with) && with[i+1] >= '0' && with[i+1] <= '9' && 2*(10*n+int(with[i+1]-'0')) < len(groups) {
				i++
				n = 10*n + int(with[i]-'0')
			}
			b.WriteString(plainOrEmpty(group(s, groups, n)))
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func plainOrEmpty(v Value) string {
	if v == nil {
		return ""
	}
	return plain(v)
}

// split is Java's: empty parts at the end are left out, unless a limit says
// otherwise.
func (t *Thread) split(s string, all [][]int, args []Value) (Value, error) {
	limit := 0
	if len(args) == 2 {
		limit = int(asInt64(args[1]))
	}
	l := &List{Array: true}
	last := 0
	for _, g := range all {
		if limit > 0 && len(l.Items) == limit-1 {
			break
		}
		if g[1] == 0 || g[0] == g[1] && g[0] >= len(s) {
			continue // an empty match at the beginning or the end parts nothing
		}
		l.Items = append(l.Items, s[last:g[0]])
		last = g[1]
	}
	l.Items = append(l.Items, s[last:])
	if limit == 0 {
		for len(l.Items) > 1 && l.Items[len(l.Items)-1] == Value("") {
			l.Items = l.Items[:len(l.Items)-1]
		}
		if len(l.Items) == 1 && l.Items[0] == Value("") && s != "" {
			l.Items = nil
		}
	}
	return l, t.alloc(32 * len(l.Items))
}

// callMatch calls a closure with a match: its text, and its groups if it
// wants them.
func (t *Thread) callMatch(c *Closure, s string, groups []int) (Value, error) {
	if len(groups) == 2 {
		return t.Call(c, group(s, groups, 0))
	}
	l := matchItem(s, groups).(*List)
	if c.parameters() > 1 {
		return t.Call(c, l.Items...)
	}
	return t.Call(c, l)
}

func (t *Thread) replaceWith(s string, pattern Value, c *Closure, first bool) (Value, error) {
	p, err := t.patternOf(pattern)
	if err != nil {
		return nil, err
	}
	all, err := t.search(p, s)
	if err != nil {
		return nil, err
	}
	if first {
		all = all[:min(1, len(all))]
	}
	return t.replaceMatches(s, all, func(groups []int) (string, error) {
		v, err := t.callMatch(c, s, groups)
		if err != nil {
			return "", err
		}
		return t.Text(v)
	})
}

// matchesOf are find, findAll and eachMatch of a string; c may be nil.
func (t *Thread) matchesOf(s, name string, pattern Value, c *Closure) (Value, error) {
	p, err := t.patternOf(pattern)
	if err != nil {
		return nil, err
	}
	all, err := t.search(p, s)
	if err != nil {
		return nil, err
	}
	out := &List{}
	for _, g := range all {
		var v Value
		if c != nil {
			if v, err = t.callMatch(c, s, g); err != nil {
				return nil, err
			}
		} else {
			v = group(s, g, 0)
		}
		if name == "find" {
			return v, nil
		}
		out.Items = append(out.Items, v)
	}
	switch name {
	case "find":
		return nil, nil
	case "eachMatch":
		return s, nil
	}
	return out, nil
}

// quotePattern makes text a pattern that matches it alone.
func quotePattern(s string) string {
	if !utf8.ValidString(s) {
		return s
	}
	return regexp.QuoteMeta(s)
}
