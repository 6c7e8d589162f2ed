package plan

import (
	"strings"
	"unicode"
)

// maxClip is how many bytes of somebody's file [Clip] keeps.
const maxClip = 120

// Clip keeps a piece of somebody's file short enough, and plain enough, for the
// message of a [Problem].
func Clip(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*maxClip)], "�")
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = s[:i] + "…"
	}
	if len(s) > maxClip {
		s = strings.ToValidUTF8(s[:maxClip], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) { // Cf: what hides or reverses text
			return '�'
		}
		return r
	}, s)
}
