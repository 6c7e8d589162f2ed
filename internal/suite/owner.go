package suite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	// maxOwners is the size of a CODEOWNERS file, as GitHub limits it.
	maxOwners = 3 << 20
	// maxOwnerRules is how many of its lines are read as rules.
	maxOwnerRules = 20_000
	// maxSections is how many sections it may have, maxOwnerNames how many
	// owners a line.
	maxSections, maxOwnerNames = 500, 200
	// maxPattern is the length of a pattern, maxPatternParts how many slashes
	// it may hold.
	maxPattern, maxPatternParts = 512, 64
	// maxDepth and maxFileName are how deep a file may lie, and how long each
	// name on the way may be, to have owners.
	maxDepth, maxFileName = 128, 255
	// maxOwnerProblems is how many problems are told of one file.
	maxOwnerProblems = 50
)

// OwnerFiles are the places where a CODEOWNERS file is looked for; the first
// that is there counts. GitHub and GitLab agree on their order but for the
// folder that each has to itself.
func OwnerFiles() []string {
	return []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"}
}

// Owners says who owns which files: a CODEOWNERS file as GitHub and GitLab
// read it. The two differ, and a file is read as GitLab reads it when it lies
// in .gitlab or has a section:
//
//   - to GitHub a pattern is one of gitignore's: "docs/x" is anchored, "x" is
//     not, and both take everything below a directory of that name. To GitLab
//     only a slash in front anchors, and only one at the end takes what is below.
//   - GitLab has sections. In each the last pattern that matches decides, and
//     a file has the owners of all of them. A section may name owners for the
//     lines that name none, and take files out with "!".
//
// The nil Owners own nothing.
type Owners struct {
	sections []ownerSection
	gitlab   bool
}

type ownerSection struct {
	name    string
	rules   []ownerRule
	excepts bool // one of them takes files out: it wins wherever it stands
}

type ownerRule struct {
	pattern ownerPattern
	owners  []string
	except  bool // GitLab: what matches is nobody's in this section
}

// ParseOwners reads a CODEOWNERS file; file is its path in the repository.
// What it cannot read it leaves out, as the code hosts do, and says so.
func ParseOwners(file, text string) (*Owners, []plan.Problem) {
	var problems []plan.Problem
	complain := func(line, col int, hint, format string, args ...any) {
		if len(problems) < maxOwnerProblems {
			problems = append(problems, plan.Problem{
				Source: plan.Source{File: file, Line: line, Col: col}, Severity: plan.Warning, Rule: "owners",
				Message: fmt.Sprintf(format, args...), Hint: hint,
			})
		}
	}
	if len(text) > maxOwners {
		complain(0, 0, "make it smaller: name directories and not files", "the file is larger than %d MB; it is read by no code host", maxOwners>>20)
		return nil, problems
	}
	text = strings.TrimPrefix(text, "\ufeff")
	o := &Owners{gitlab: strings.HasPrefix(file, ".gitlab/") || hasSections(text), sections: []ownerSection{{}}}
	section, fallback, rules := 0, []string(nil), 0
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := ownerWords(strings.TrimRight(line, "\r\n"))
		if len(words) == 0 {
			continue
		}
		if o.gitlab {
			if name, rest, ok := sectionHead(line); ok {
				section = slices.IndexFunc(o.sections, func(s ownerSection) bool { return strings.EqualFold(s.name, name) })
				if section < 0 && len(o.sections) > maxSections {
					complain(number, 1, "join some of them", "more than %d sections: what follows is not read", maxSections)
					break
				}
				if section < 0 {
					o.sections = append(o.sections, ownerSection{name: name})
					section = len(o.sections) - 1
				}
				fallback = o.names(ownerWords(rest), nil)
				continue
			}
		}
		if rules++; rules > maxOwnerRules {
			complain(number, 1, "name directories and not files", "more than %d rules: what follows is not read", maxOwnerRules)
			break
		}
		pattern, rule := words[0].text, ownerRule{}
		if o.gitlab {
			pattern, rule.except = strings.CutPrefix(pattern, "!")
		}
		var why string
		if rule.pattern, why = compilePattern(pattern, o.gitlab); why != "" {
			complain(number, words[0].col, "write a path, with * for a part of a name and ** for any directories", "this pattern %s; the line is left out", why)
			continue
		}
		bad := func(w ownerWord) {
			complain(number, w.col, "owners are @name, @organisation/team or an address of mail", "%q is no owner; it is left out", clip(w.text, maxName))
		}
		rule.owners = o.names(words[1:], bad)
		switch {
		case len(rule.owners) > 0:
		case o.gitlab:
			rule.owners = fallback
		case len(words) > 1:
			continue // GitHub leaves out a line without a single owner that it knows
		}
		s := &o.sections[section]
		s.rules, s.excepts = append(s.rules, rule), s.excepts || rule.except
	}
	return o, problems
}

// names are the owners among words; bad is told of the others.
func (o *Owners) names(words []ownerWord, bad func(ownerWord)) (owners []string) {
	for _, w := range words {
		name, at := strings.CutPrefix(w.text, "@")
		before, domain, mail := strings.Cut(w.text, "@")
		switch {
		case at && name != "" && !strings.Contains(strings.TrimPrefix(name, "@"), "@"), mail && before != "" && strings.Contains(domain, "."):
			if len(owners) < maxOwnerNames && !slices.Contains(owners, w.text) {
				owners = append(owners, w.text)
			}
		case bad != nil:
			bad(w)
		}
	}
	return owners
}

// Of are the owners of a file, given by its path in the repository with
// slashes; none when nobody owns it.
func (o *Owners) Of(file string) (owners []string) {
	if o == nil || strings.Count(file, "/") > maxDepth {
		return nil
	}
	path := strings.Split(strings.TrimPrefix(strings.TrimPrefix(file, "./"), "/"), "/")
	if slices.ContainsFunc(path, func(name string) bool { return len(name) > maxFileName }) {
		return nil
	}
	for _, s := range o.sections {
		var of []string
		found := false
		for i := len(s.rules) - 1; i >= 0 && (!found || s.excepts); i-- {
			switch r := &s.rules[i]; {
			case found && !r.except || !r.pattern.match(path):
			case r.except:
				of, found = nil, true
			default:
				of, found = r.owners, true
			}
		}
		for _, name := range of {
			if !slices.Contains(owners, name) {
				owners = append(owners, name)
			}
		}
	}
	return owners
}

type ownerWord struct {
	text string
	col  int // from 1, in characters
}

// ownerWords splits a line at blanks that no backslash stands before, up to a
// word that begins with #.
func ownerWords(line string) (words []ownerWord) {
	var word strings.Builder
	start, col, escaped := 0, 0, false
	flush := func() {
		if word.Len() > 0 {
			words = append(words, ownerWord{word.String(), start})
			word.Reset()
		}
	}
	for _, c := range line {
		col++
		switch {
		case !escaped && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			flush()
			continue
		case !escaped && c == '#' && word.Len() == 0:
			return words
		}
		if word.Len() == 0 {
			start = col
		}
		escaped = !escaped && c == '\\'
		word.WriteRune(c)
	}
	flush()
	return words
}

// hasSections reports whether a line of the text is the head of a section.
func hasSections(text string) bool {
	for line := range strings.Lines(text) {
		if _, _, ok := sectionHead(line); ok {
			return true
		}
	}
	return false
}

// sectionHead reads "[Name]", "^[Name]", "[Name][2]", and owners after it.
func sectionHead(line string) (name, rest string, ok bool) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "^")
	if !strings.HasPrefix(line, "[") {
		return "", "", false
	}
	name, rest, ok = strings.Cut(line[1:], "]")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return "", "", false
	}
	if count, ok := strings.CutPrefix(rest, "["); ok {
		number, after, closed := strings.Cut(count, "]")
		if _, err := strconv.Atoi(number); err != nil || !closed {
			return "", "", false
		}
		rest = after
	}
	// What goes on without a blank is a pattern with a class of characters.
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", false
	}
	return name, rest, true
}

// ownerPattern is a pattern, cut at its slashes.
type ownerPattern struct {
	parts   []string // "**" stands for any number of directories
	below   bool     // what lies below a directory that matches is meant, too
	only    bool     // it is meant alone: the pattern ended in a slash
	classes bool     // [a-z] is a class of characters
}

// compilePattern reads a pattern; why says what is wrong with it.
func compilePattern(text string, gitlab bool) (p ownerPattern, why string) {
	switch {
	case text == "" || text == "/":
		return p, "names nothing"
	case len(text) > maxPattern:
		return p, fmt.Sprintf("is longer than %d bytes", maxPattern)
	case !utf8.ValidString(text):
		return p, "is not UTF-8"
	case !gitlab && strings.HasPrefix(text, "!"):
		return p, "begins with !, which CODEOWNERS does not know"
	}
	body, anchored := strings.CutPrefix(text, "/")
	body, dir := strings.CutSuffix(body, "/")
	if body == "" {
		return p, "names nothing"
	}
	if p.parts = strings.Split(body, "/"); len(p.parts) > maxPatternParts {
		return p, fmt.Sprintf("has more than %d slashes", maxPatternParts)
	}
	last := p.parts[len(p.parts)-1]
	if gitlab {
		p.classes = true
		if dir {
			p.parts = append(p.parts, "**", "*")
		} else if last == "**" {
			p.parts[len(p.parts)-1] = "*" // to GitLab, ** means more only before a slash
		}
	} else {
		anchored = anchored || len(p.parts) > 1
		p.below = last != "*" || len(p.parts) == 1
		p.only = dir
	}
	if !anchored {
		p.parts = append([]string{"**"}, p.parts...)
	}
	return p, ""
}

// match reports whether a path, cut at its slashes, is meant.
func (p *ownerPattern) match(path []string) bool {
	if p.only && len(path) > 0 {
		// The directory itself is no file: something must be left below it.
		return p.walk(path[:len(path)-1], true)
	}
	return p.walk(path, p.below)
}

// walk matches part by part. A ** takes nothing at first, and one directory
// more each time what follows does not match; going back to the newest one is
// enough, as with stars in names.
func (p *ownerPattern) walk(path []string, below bool) bool {
	i, j, star, mark := 0, 0, -1, 0
	for {
		switch {
		case i == len(p.parts) && (j == len(path) || below):
			return true
		case i < len(p.parts) && p.parts[i] == "**":
			if i == len(p.parts)-1 {
				return j < len(path)
			}
			star, mark = i, j
			i++
		case i < len(p.parts) && j < len(path) && glob(p.parts[i], path[j], p.classes):
			i, j = i+1, j+1
		case star >= 0 && mark < len(path):
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
}

// glob matches a name: * for anything, ? for one character, [a-z] if classes
// are known, and \ before a character that means itself.
func glob(pattern, name string, classes bool) bool {
	i, j, star, mark := 0, 0, -1, 0
	for {
		if i < len(pattern) && pattern[i] == '*' {
			star, mark = i, j
			i++
			continue
		}
		if i == len(pattern) && j == len(name) {
			return true
		}
		if i < len(pattern) && j < len(name) {
			c, size := utf8.DecodeRuneInString(name[j:])
			if width, ok := one(pattern[i:], c, classes); ok {
				i, j = i+width, j+size
				continue
			}
		}
		if star < 0 || mark >= len(name) {
			return false
		}
		_, size := utf8.DecodeRuneInString(name[mark:])
		mark += size
		i, j = star+1, mark
	}
}

// one matches a single character with the beginning of a pattern, and says how
// much of the pattern that was.
func one(pattern string, c rune, classes bool) (width int, ok bool) {
	switch {
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '\\' && len(pattern) > 1:
		p, size := utf8.DecodeRuneInString(pattern[1:])
		return 1 + size, p == c
	case pattern[0] == '[' && classes:
		if end := strings.IndexByte(pattern[1:], ']'); end > 0 {
			return end + 2, inClass(pattern[1:1+end], c)
		}
	}
	p, size := utf8.DecodeRuneInString(pattern)
	return size, p == c
}

func inClass(class string, c rune) bool {
	not := class[0] == '!' || class[0] == '^'
	set := []rune(strings.TrimLeft(class[:1], "!^") + class[1:])
	for i := 0; i < len(set); i++ {
		low, high := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			high = set[i+2]
			i += 2
		}
		if low <= c && c <= high {
			return !not
		}
	}
	return not
}
