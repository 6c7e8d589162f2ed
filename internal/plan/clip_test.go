package plan

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 100)
	for text, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"first\nsecond":              "first…",
		"first\rsecond":              "first…",
		"a\x1b[2Jb":                  "a�[2Jb",
		"a\u202eb":                   "a�b",
		"\xff":                       "�",
		long:                         long[:maxClip] + "…",
		"x" + long:                   "x" + long[:maxClip-2] + "…",
		strings.Repeat("x", maxClip): strings.Repeat("x", maxClip),
	} {
		if got := Clip(text); got != want || !utf8.ValidString(got) {
			t.Errorf("Clip(%q) = %q, want %q", text, got, want)
		}
	}
}
