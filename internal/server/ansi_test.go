package server

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestANSI turns what programs print into HTML.
func TestANSI(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, line, want string }{
		{"plain", "ok  \tfast", "ok  \tfast"},
		{"markup", `<script>alert("1" & '2')</script>`, `&lt;script&gt;alert(&#34;1&#34; &amp; &#39;2&#39;)&lt;/script&gt;`},
		{"red and off", "a\x1b[31mb\x1b[0mc", `a<span class="f1">b</span>c`},
		{"empty is off", "\x1b[31mb\x1b[mc", `<span class="f1">b</span>c`},
		{"bold bright on blue", "\x1b[1;93;44mx", `<span class="ab f11 b4">x</span>`},
		{"changes", "\x1b[31ma\x1b[32mb\x1b[39mc", `<span class="f1">a</span><span class="f2">b</span>c`},
		{"nothing between", "\x1b[31m\x1b[0mx", "x"},
		{"256", "\x1b[38;5;208mx\x1b[48;5;17my", `<span class="f208">x</span><span class="f208 b17">y</span>`},
		{"true colour", "\x1b[38;2;255;135;0mx", `<span class="f208">x</span>`},
		{"true grey", "\x1b[38;2;120;121;120mx", `<span class="f243">x</span>`},
		{"true colour with colons", "\x1b[38:2:255:135:0mx", `<span class="f208">x</span>`},
		{"a colour that is none", "\x1b[38;5;999mx\x1b[38mx\x1b[38;7mx", "xxx"},
		{"dim italic underline strike", "\x1b[2;3;4;9mx\x1b[22;23;24;29my", `<span class="ad ai au as">x</span>y`},
		{"inverse", "\x1b[7mx\x1b[27my", `<span class="an">x</span>y`},
		{"inverse of red", "\x1b[31;7mx", `<span class="b1">x</span>`},
		{"hidden text is shown", "\x1b[8msecret?", "secret?"},
		{"a bar that moves", "10%\r50%\r\x1b[32m100%\x1b[0m", `<span class="f2">100%</span>`},
		{"returns at the end", "done\r\r", "done"},
		{"cursor and erasing", "\x1b[2K\x1b[1Ga\x1b[?25lb\x1b[H", "ab"},
		{"a title", "\x1b]0;evil\x07x", "x"},
		{"device control", "\x1bPq#0\x1b\\x", "x"},
		{"character set", "\x1b(Bx", "x"},
		{"a link", "\x1b]8;;https://example.org/a?b=1&c=2\x1b\\here\x1b]8;;\x1b\\.", `<a class="out" rel="noopener noreferrer nofollow" href="https://example.org/a?b=1&amp;c=2">here</a>.`},
		{"a link that is coloured", "\x1b[31m\x1b]8;;https://example.org\x07x\x1b]8;;\x07y", `<a class="out" rel="noopener noreferrer nofollow" href="https://example.org"><span class="f1">x</span></a><span class="f1">y</span>`},
		{"links elsewhere", "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07\x1b]8;;file:///etc/passwd\x07y\x1b]8;;\x07\x1b]8;;https://a:b@example.org\x07z", "xyz"},
		{"a link with quotes", "\x1b]8;;https://example.org/\"onclick=x\x07x", `<a class="out" rel="noopener noreferrer nofollow" href="https://example.org/%22onclick=x">x</a>`},
		{"controls", "a\x00b\x08c\x7fd\u0085e", "abcde"},
		{"what turns text around", "a\u202eb\u2066c\u200b", `a<b class="bidi">U+202E</b>b<b class="bidi">U+2066</b>c<b class="bidi">U+200B</b>`},
		{"not UTF-8", "a\xffb", "a\uFFFDb"},
		{"other letters", "prüfen → ✓ 日本", "prüfen → ✓ 日本"},
		{"an end in the middle", "x\x1b[3", "x"},
		{"an escape alone", "x\x1b", "x"},
		{"an escape before a letter of ours", "\x1b<b>", "b&gt;"},
	} {
		if got := string(appendANSI(nil, test.line)); got != test.want {
			t.Errorf("%s: %q gives\n %s\nwant\n %s", test.name, test.line, got, test.want)
		}
	}
}

// ours are the tags that the HTML of a line may have.
var ours = regexp.MustCompile(`^(?:<span class="[a-z0-9 ]+">|</span>|<b class="bidi">|</b>|<a class="out" rel="noopener noreferrer nofollow" href="https?://[^"<> ]*">|</a>)`)

// alien says what is in the HTML of a line that we did not write.
func alien(out string) string {
	if !utf8.ValidString(out) {
		return "not UTF-8"
	}
	var open []string
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '<':
			tag := ours.FindString(out[i:])
			if tag == "" {
				return "a tag of its own: " + out[i:]
			}
			if name, closing := strings.CutPrefix(tag, "</"); closing {
				if len(open) == 0 || open[len(open)-1] != strings.TrimSuffix(name, ">") {
					return "tags that cross"
				}
				open = open[:len(open)-1]
			} else {
				name, _, _ := strings.Cut(tag[1:], " ")
				open = append(open, name)
			}
			i += len(tag) - 1
		case c == '>' || c == '"' || c == '\'' || c < ' ' && c != '\t' || c == 0x7f:
			return fmt.Sprintf("%q", c)
		}
	}
	if len(open) > 0 {
		return "tags that are not closed"
	}
	return ""
}

func FuzzANSI(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Add("\x1b[1;31mx\x1b]8;;https://example.org\x1b\\y\x1b[0m\r\x1b[38;2;1;2;3mz")
	f.Fuzz(func(t *testing.T, s string) {
		if why := alien(string(appendANSI(nil, s))); why != "" {
			t.Errorf("%q gives %s", s, why)
		}
	})
}

// TestColours can all be read, on light and on dark.
func TestColours(t *testing.T) {
	t.Parallel()
	for n := range 256 {
		for _, ground := range []rgb{lightGround, darkGround} {
			c := readable(colour(n), ground, map[bool]rgb{true: {}, false: {1, 1, 1}}[ground == lightGround])
			if contrast(c, ground) < 4.5 {
				t.Errorf("colour %d on %s: %.1f", n, ground, contrast(c, ground))
			}
		}
	}
}

func BenchmarkANSI(b *testing.B) {
	lines := make([]string, 200_000)
	size := 0
	for i := range lines {
		lines[i] = fmt.Sprintf("\x1b[2m%06d\x1b[0m \x1b[32mok\x1b[0m  \tgithub.com/team/app/internal/part%02d\t\x1b[1;33m0.%03ds\x1b[0m  <%d> cached & done with it", i, i%97, i%1000, i)
		size += len(lines[i])
	}
	b.SetBytes(int64(size))
	var dst []byte
	for b.Loop() {
		dst = dst[:0]
		for _, l := range lines {
			dst = appendANSI(dst, l)
		}
	}
}

// TestMarks finds what runners say about their logs.
func TestMarks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string
		mark mark
		rest string
	}{
		{"plain", noMark, "plain"},
		{"::group::Set up", foldBegins, "Set up"},
		{"##[group]Run make", foldBegins, "Run make"},
		{"::endgroup::", foldEnds, ""},
		{"##[endgroup]", foldEnds, ""},
		{"##[error]Process completed with exit code 1.", isError, "Process completed with exit code 1."},
		{"::error file=a.go,line=3::it is wrong", isError, "it is wrong"},
		{"::error::it is wrong", isError, "it is wrong"},
		{"::errors are many", noMark, "::errors are many"},
		{"::warning::careful", isWarning, "careful"},
		{"section_start:1560896352:prepare\r\x1b[0KPreparing", foldBegins, "\x1b[0KPreparing"},
		{"section_end:1560896353:prepare\r\x1b[0K", foldEnds, ""},
		{"section_ending is no mark", noMark, "section_ending is no mark"},
	} {
		if m, rest := markOf(test.line); m != test.mark || rest != test.rest {
			t.Errorf("%q: %d %q", test.line, m, rest)
		}
	}
}
