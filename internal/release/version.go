package release

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxVersion is the length of the longest version that is read, in bytes.
const maxVersion = 256

// Version is a version: by Semantic Versioning 2.0.0, or of a scheme made of
// the calendar. Its zero is no version.
type Version struct {
	Core  []uint64 // three of semantic versions; as many as the scheme has of others
	Pre   []string // identifiers of a pre-release: "rc", "1"
	Build string   // what is after a +; it does not count in comparisons
	text  string
}

// String is the version as it was written: "1.2.0-rc.1".
func (v Version) String() string { return v.text }

// IsZero reports whether it is no version.
func (v Version) IsZero() bool { return v.text == "" }

// Final reports whether it is no pre-release.
func (v Version) Final() bool { return len(v.Pre) == 0 }

// Compare is the order of versions (SemVer, section 11): negative when v comes
// before w.
func (v Version) Compare(w Version) int {
	if c := slices.Compare(v.Core, w.Core); c != 0 {
		return c
	}
	if v.Final() || w.Final() {
		return cmp.Compare(len(w.Pre), len(v.Pre))
	}
	return slices.CompareFunc(v.Pre, w.Pre, compareIdentifiers)
}

// compareIdentifiers is rule 11.4: numbers by their value and before words, words
// by their bytes.
func compareIdentifiers(a, b string) int {
	x, y := digits(a), digits(b)
	switch {
	case x && y:
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // no leading zeros
	case x:
		return -1
	case y:
		return 1
	}
	return strings.Compare(a, b)
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

var semantic = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?$`)

// ParseVersion reads a semantic version, without anything before it ("v1.0.0" is a
// tag). The error says what is wrong with it.
func ParseVersion(text string) (Version, error) {
	bad := func(why string) (Version, error) {
		return Version{}, fmt.Errorf("%.80q is no semantic version: %s", text, why)
	}
	if len(text) > maxVersion {
		return bad("it is too long")
	}
	m := semantic.FindStringSubmatch(text)
	if m == nil {
		return bad("it is three numbers, such as 1.4.0, 1.4.0-rc.1 or 1.4.0+linux")
	}
	v := Version{text: text, Build: m[5]}
	for _, s := range m[1:4] {
		n, err := strconv.ParseUint(s, 10, 63) // so that there is one after it
		if err != nil {
			return bad("a number is too large")
		}
		v.Core = append(v.Core, n)
	}
	if m[4] != "" {
		v.Pre = strings.Split(m[4], ".")
	}
	for _, id := range v.Pre {
		if id == "" {
			return bad("a part of the pre-release is empty")
		}
		if digits(id) && len(id) > 1 && id[0] == '0' {
			return bad("a number of the pre-release begins with 0")
		}
	}
	if slices.Contains(strings.Split(m[5], "."), "") && m[5] != "" {
		return bad("a part of the build is empty")
	}
	return v, nil
}

// Scheme is how versions are made. The zero Scheme is Semantic Versioning.
type Scheme struct {
	format string // "" for SemVer
	parts  []part
	re     *regexp.Regexp
}

// part is one of a calendar version: a token, and the text after it.
type part struct{ token, after string }

// unit tells what a part counts: Y, M, W, D, or O of MICRO.
func (p part) unit() byte { return p.token[len(p.token)-1] }

var calendarToken = regexp.MustCompile(`YYYY|YY|0Y|MM|0M|WW|0W|DD|0D|MICRO`)

// SemVer is the word for the scheme of Semantic Versioning.
const SemVer = "semver"

// ParseScheme reads how versions are made: "semver" or "", or tokens of the
// calendar as calver.org names them: "YYYY.0M.MICRO", "YY.MM.DD.MICRO". MICRO counts
// from 0 the releases of one date.
func ParseScheme(text string) (Scheme, error) {
	if text == "" || text == SemVer {
		return Scheme{}, nil
	}
	bad := func(why string) (Scheme, error) { return Scheme{}, fmt.Errorf("%.80q %s", text, why) }
	if len(text) > maxVersion {
		return bad("is too long")
	}
	s := Scheme{format: text}
	at := calendarToken.FindAllStringIndex(text, -1)
	if len(at) == 0 || at[0][0] != 0 {
		return bad("is neither semver nor made of the calendar's YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D and of MICRO")
	}
	pattern := "^"
	for i, span := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		p := part{text[span[0]:span[1]], text[span[1]:end]}
		switch {
		case i+1 < len(at) && p.after != ".", i+1 == len(at) && p.after != "":
			return bad("has something other than single dots between its parts")
		case slices.ContainsFunc(s.parts, func(q part) bool { return q.unit() == p.unit() }):
			return bad("has two parts that say the same")
		case p.token == "MICRO" && i+1 < len(at):
			return bad("has MICRO before its end")
		}
		s.parts = append(s.parts, p)
		pattern += "([0-9]{1,9})" + regexp.QuoteMeta(p.after)
	}
	if s.parts[len(s.parts)-1].token != "MICRO" {
		return bad("does not end in MICRO: two releases of one date would have one name")
	}
	s.re = regexp.MustCompile(pattern + `(?:-([0-9A-Za-z.-]+))?$`)
	return s, nil
}

// Calendar reports whether versions come from the calendar.
func (s Scheme) Calendar() bool { return s.format != "" }

// Parse reads a version of the scheme.
func (s Scheme) Parse(text string) (Version, error) {
	if !s.Calendar() {
		return ParseVersion(text)
	}
	m := s.re.FindStringSubmatch(text)
	if m == nil || len(text) > maxVersion {
		return Version{}, fmt.Errorf("%.80q is no version of the form %s", text, s.format)
	}
	v := Version{text: text}
	for i, p := range s.parts {
		n, err := strconv.ParseUint(m[i+1], 10, 64)
		if err != nil {
			return Version{}, err
		}
		if p.write(n) != m[i+1] {
			return Version{}, fmt.Errorf("%.80q is no version of the form %s: %s is written %s", text, s.format, p.token, p.write(n))
		}
		v.Core = append(v.Core, n)
	}
	if pre := m[len(s.parts)+1]; pre != "" {
		v.Pre = strings.Split(pre, ".")
		if slices.Contains(v.Pre, "") {
			return Version{}, fmt.Errorf("%.80q: a part of the pre-release is empty", text)
		}
	}
	return v, nil
}

// write is a part's number as its token wants it.
func (p part) write(n uint64) string {
	if p.token[0] == '0' {
		return fmt.Sprintf("%02d", n)
	}
	return strconv.FormatUint(n, 10)
}

// version is that of a core and a pre-release.
func (s Scheme) version(core []uint64, pre ...string) Version {
	v := Version{Core: slices.Clone(core), Pre: slices.Clone(pre)}
	var b strings.Builder
	for i, n := range core {
		if s.Calendar() {
			b.WriteString(s.parts[i].write(n) + s.parts[i].after)
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(n, 10))
	}
	if len(pre) > 0 {
		b.WriteString("-" + strings.Join(pre, "."))
	}
	v.text = b.String()
	return v
}

// today is the core of a calendar's version at a date, the first of that date.
func (s Scheme) today(at time.Time) []uint64 {
	at = at.UTC()
	isoYear, week := at.ISOWeek()
	year := at.Year()
	if strings.Contains(s.format, "W") {
		year = isoYear // the last days of December may be in the first week
	}
	var core []uint64
	for _, p := range s.parts {
		n := 0
		switch p.token {
		case "YYYY":
			n = year
		case "YY", "0Y":
			n = year - 2000
		case "MM", "0M":
			n = int(at.Month())
		case "WW", "0W":
			n = week
		case "DD", "0D":
			n = at.Day()
		}
		core = append(core, uint64(max(n, 0)))
	}
	return core
}

// next is the version after the last final one. A calendar does not ask how much
// was changed.
func (s Scheme) next(last Version, bump Bump, at time.Time) (Version, error) {
	if s.Calendar() {
		core := s.today(at)
		micro := len(core) - 1
		if !last.IsZero() {
			switch c := slices.Compare(core[:micro], last.Core[:micro]); {
			case c < 0:
				return Version{}, fmt.Errorf("the last release is %s, which is after today: name a version yourself", last)
			case c == 0:
				core[micro] = last.Core[micro] + 1
			}
		}
		return s.version(core), nil
	}
	core := slices.Clone(last.Core)
	switch bump {
	case Major:
		core = []uint64{core[0] + 1, 0, 0}
	case Minor:
		core = []uint64{core[0], core[1] + 1, 0}
	case Patch:
		core[2]++
	default:
		return Version{}, errors.New("nothing that was changed asks for a release")
	}
	return s.version(core), nil
}

// Bump is how much a version grows.
type Bump int

// The bumps, from the least.
const (
	None Bump = iota
	Patch
	Minor
	Major
)

// String is its word: "minor".
func (b Bump) String() string { return [...]string{"none", "patch", "minor", "major"}[b] }

// MarshalText writes the word, so that documents hold it.
func (b Bump) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// ParseBump reads the word.
func ParseBump(word string) (Bump, bool) {
	for b := None; b <= Major; b++ {
		if word == b.String() {
			return b, true
		}
	}
	return None, false
}

// TagPattern is what a version's tag looks like: "v{version}", "api/v{version}".
type TagPattern string

// placeholder stands for the version in a pattern.
const placeholder = "{version}"

// Check says what is wrong with the pattern.
func (p TagPattern) Check() error {
	if strings.Count(string(p), placeholder) != 1 {
		return fmt.Errorf("%.80q has to hold %s once", string(p), placeholder)
	}
	name := p.Tag("1.0.0")
	if !refName(name) {
		return fmt.Errorf("%.80q cannot be the name of a tag", name)
	}
	return nil
}

// Tag is a version's tag.
func (p TagPattern) Tag(version string) string {
	return strings.Replace(string(p), placeholder, version, 1)
}

// Version is what stands in a tag for the version; ok says that it is one of the
// pattern's.
func (p TagPattern) Version(tag string) (text string, ok bool) {
	before, after, _ := strings.Cut(string(p), placeholder)
	if len(tag) < len(before)+len(after) || !strings.HasPrefix(tag, before) || !strings.HasSuffix(tag, after) {
		return "", false
	}
	return tag[len(before) : len(tag)-len(after)], true
}

// refName reports whether git takes the name for a tag (git-check-ref-format(1)).
func refName(s string) bool {
	if s == "" || len(s) > maxVersion || s[0] == '-' || s == "@" || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return false
	}
	for p := range strings.SplitSeq(s, "/") {
		if p == "" || p[0] == '.' || strings.HasSuffix(p, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\", r) })
}
