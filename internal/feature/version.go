package feature

import (
	"cmp"
	"strconv"
	"strings"
)

// version is a semantic version. What comes after a + does not count.
type version struct {
	major, minor, patch uint64
	before              []string // identifiers of a pre-release
}

// maxVersion is the length of the longest version that is read.
const maxVersion = 256

// readVersion reads a version as the specification of semantic versions has it.
func readVersion(s string) (v version, ok bool) {
	if len(s) > maxVersion {
		return v, false
	}
	s, build, built := strings.Cut(s, "+")
	if built && !identifiers(build, false) {
		return v, false
	}
	s, before, is := strings.Cut(s, "-")
	if is {
		if !identifiers(before, true) {
			return v, false
		}
		v.before = strings.Split(before, ".")
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return v, false
	}
	for i, to := range []*uint64{&v.major, &v.minor, &v.patch} {
		n, err := strconv.ParseUint(parts[i], 10, 53)
		if err != nil || len(parts[i]) > 1 && parts[i][0] == '0' || parts[i][0] == '+' {
			return v, false
		}
		*to = n
	}
	return v, true
}

func identifiers(s string, strict bool) bool {
	for _, id := range strings.Split(s, ".") {
		digits := id != ""
		for i := range len(id) {
			c := id[i]
			digit := c >= '0' && c <= '9'
			if !digit && c != '-' && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
			digits = digits && digit
		}
		if id == "" || strict && digits && len(id) > 1 && id[0] == '0' {
			return false
		}
	}
	return true
}

// lenientVersion reads what flagd's sem_ver takes: with a v before it, or with its
// last parts left away.
func lenientVersion(s string) (version, bool) {
	s = strings.TrimSpace(s)
	if s != "" && s[0]|0x20 == 'v' {
		s = strings.TrimSpace(s[1:])
	}
	if v, ok := readVersion(s); ok {
		return v, true
	}
	major, minor, both := strings.Cut(s, ".")
	if !digitsOnly(major) || both && !digitsOnly(minor) || len(s) > maxVersion {
		return version{}, false
	}
	var v version
	var err error
	// Sixteen digits are as many as the reference takes for one number.
	if len(major) > 16 || len(minor) > 16 {
		return v, false
	}
	if v.major, err = strconv.ParseUint(major, 10, 53); err != nil {
		return v, false
	}
	if both {
		if v.minor, err = strconv.ParseUint(minor, 10, 53); err != nil {
			return v, false
		}
	}
	return v, true
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// compare orders versions: negative when v is older than w.
func (v version) compare(w version) int {
	if c := cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor), cmp.Compare(v.patch, w.patch)); c != 0 {
		return c
	}
	switch {
	case len(v.before) == 0 || len(w.before) == 0:
		return cmp.Compare(len(w.before), len(v.before)) // a release is newer than what came before it
	}
	for i, a := range v.before {
		if i == len(w.before) {
			return 1
		}
		b := w.before[i]
		x, y := digitsOnly(a), digitsOnly(b)
		c := 0
		switch {
		case x && y:
			c = cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // no leading zeros
		case x:
			c = -1
		case y:
			c = 1
		default:
			c = cmp.Compare(a, b)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.before), len(w.before))
}
