package builtin

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a version of a tool, as its directory or its files tell it, in
// the form of https://semver.org: toolchains write theirs in several ways
// (go1.22rc1, 3.13.0b2, 1.8.0_392, 17.0.13+11), which parseVersion brings
// together. Build metadata is not compared.
type version struct {
	number [3]int
	given  int      // how many of the numbers were written
	pre    []string // identifiers of a pre-release: rc, 1
	text   string   // as it was written, without a leading v
}

// versionText takes a version apart: three numbers, further numbers (of some
// JDKs, and of Java 8), a pre-release, build metadata.
var versionText = regexp.MustCompile(`^(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?((?:[._]\d{1,9})*)(?:-?((?:alpha|beta|a|b|rc|ea|dev|nightly|canary|pre)[0-9A-Za-z.-]*)|-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]*)?$`)

// parseVersion reads a version. It takes what parseRange would take as a
// single version, and the ways in which toolchains write theirs.
func parseVersion(s string) (version, bool) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "v")
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return version{}, false
	}
	v := version{text: text}
	for i := range v.number {
		if m[i+1] == "" {
			break
		}
		v.number[i], _ = strconv.Atoi(m[i+1]) // at most nine digits
		v.given++
	}
	if old := strings.TrimPrefix(m[4], "_"); v.number[0] == 1 && v.number[1] == 8 && old != m[4] {
		// 1.8.0_392 is Java 8, update 392.
		v.number = [3]int{8, v.number[2], 0}
		v.number[2], _ = strconv.Atoi(old)
	}
	if pre := m[5] + m[6]; pre != "" {
		v.pre = preParts.FindAllString(pre, -1)
	}
	return v, true
}

// preParts splits rc1 and rc.1 alike.
var preParts = regexp.MustCompile(`[A-Za-z-]+|\d+`)

// String is the version with all three numbers.
func (v version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.number[0], v.number[1], v.number[2])
	if len(v.pre) > 0 {
		s += "-" + strings.Join(v.pre, ".")
	}
	return s
}

// compare orders versions as semver.org/#spec-item-11 does.
func (v version) compare(o version) int {
	if c := slices.Compare(v.number[:], o.number[:]); c != 0 {
		return c
	}
	switch {
	case len(v.pre) == 0 && len(o.pre) == 0:
		return 0
	case len(v.pre) == 0:
		return 1
	case len(o.pre) == 0:
		return -1
	}
	return slices.CompareFunc(v.pre, o.pre, func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		switch {
		case errX == nil && errY == nil:
			return cmp.Compare(x, y)
		case errX == nil:
			return -1
		case errY == nil:
			return 1
		}
		return strings.Compare(a, b)
	})
}

// versionRange is a set of versions in the notation of npm: alternatives of
// comparators that must all hold.
type versionRange struct {
	any [][]comparator
	// pre lets pre-releases in wherever their numbers fit. Without it they
	// are in only if a comparator names one of the same three numbers.
	pre bool
}

type comparator struct {
	op string // = < <= > >=
	v  version
}

const maxRange = 256 // bytes

var (
	comparatorText = regexp.MustCompile(`^(\^|~>?|>=|<=|>|<|==?|)\s*v?(.+)$`)
	operatorSpace  = regexp.MustCompile(`(\^|~>?|>=|<=|>|<|=)\s+`)
	partialText    = regexp.MustCompile(`^(\d{1,9}|[xX*])(?:\.(\d{1,9}|[xX*]))?(?:\.(\d{1,9}|[xX*]))?$`)
	hyphenText     = regexp.MustCompile(`^\s*(\S+)\s+-\s+(\S+)\s*$`)
)

// parseRange reads a range: 1.22, 1.x, ^20.1, ~3.9, >=1.20 <2, 1.2 - 1.4, a || b.
func parseRange(s string) (versionRange, error) {
	var r versionRange
	if len(s) > maxRange {
		return r, fmt.Errorf("%.40q… is too long for a version", s)
	}
	for alternative := range strings.SplitSeq(s, "||") {
		var all []comparator
		words := strings.Fields(operatorSpace.ReplaceAllString(strings.TrimSpace(alternative), "$1"))
		if m := hyphenText.FindStringSubmatch(alternative); m != nil {
			words = []string{">=" + m[1], "<=" + m[2]}
		}
		for _, word := range words {
			cs, err := parseComparator(word)
			if err != nil {
				return r, fmt.Errorf("%q is not a version or a range of versions", s)
			}
			all = append(all, cs...)
		}
		r.any = append(r.any, all)
	}
	return r, nil
}

var errVersion = errors.New("not a version")

func parseComparator(word string) ([]comparator, error) {
	m := comparatorText.FindStringSubmatch(word)
	if m == nil {
		return nil, errVersion
	}
	op := strings.Replace(strings.Replace(m[1], "==", "=", 1), "~>", "~", 1)
	low, err := partial(m[2])
	if err != nil {
		return nil, err
	}
	if low.given == 0 { // * : everything, or for < and > nothing
		if op == "<" || op == ">" {
			return []comparator{{"<", version{}}}, nil
		}
		return nil, nil
	}
	// after is the first version that no longer has the first n numbers.
	after := func(n int) version {
		v := version{given: 3}
		copy(v.number[:n], low.number[:n])
		v.number[n-1]++
		return v
	}
	between := func(end version) []comparator { return []comparator{{">=", low}, {"<", end}} }
	switch op {
	case "^":
		// Up to the next change of the first number that is not zero.
		for n := 1; n <= low.given; n++ {
			if low.number[n-1] != 0 || n == low.given {
				return between(after(n)), nil
			}
		}
	case "~":
		return between(after(min(low.given, 2))), nil
	case ">":
		if low.given < 3 {
			return []comparator{{">=", after(low.given)}}, nil
		}
	case "<=":
		if low.given < 3 {
			return []comparator{{"<", after(low.given)}}, nil
		}
	case "", "=":
		if low.given < 3 {
			return between(after(low.given)), nil
		}
		op = "="
	}
	return []comparator{{op, low}}, nil
}

// partial reads a version of which the last numbers may be missing or x.
func partial(s string) (version, error) {
	m := partialText.FindStringSubmatch(s)
	if m == nil {
		v, ok := parseVersion(s)
		if !ok {
			return v, errVersion
		}
		if len(v.pre) > 0 {
			v.given = 3
		}
		return v, nil
	}
	v := version{text: s}
	for i := range v.number {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			break
		}
		v.number[i] = n
		v.given++
	}
	return v, nil
}

// has reports whether the version is in the range.
func (r versionRange) has(v version) bool {
	return slices.ContainsFunc(r.any, func(all []comparator) bool {
		named := r.pre || len(v.pre) == 0
		for _, c := range all {
			if !c.has(v) {
				return false
			}
			named = named || len(c.v.pre) > 0 && c.v.number == v.number
		}
		return named
	})
}

func (c comparator) has(v version) bool {
	order := v.compare(c.v)
	switch c.op {
	case "<":
		// The pre-releases of an end that is left out are left out with it.
		return order < 0 && !(len(c.v.pre) == 0 && v.number == c.v.number)
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0 || v.number == c.v.number && len(c.v.pre) == 0
	}
	return order == 0
}
