package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestSanitize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, plain, colour string }{
		{"text", "go test ./...", "go test ./...", "go test ./..."},
		{"letters of the world", "größer 日本語 ✓ é", "größer 日本語 ✓ é", "größer 日本語 ✓ é"},
		{"colours", "\x1b[1;31mred\x1b[0m", "red", "\x1b[1;31mred\x1b[0m\x1b[0m"},
		{"colours end with the line", "\x1b[38;2;1;2;3mred", "red", "\x1b[38;2;1;2;3mred\x1b[0m"},
		{"cursor and screen", "a\x1b[2J\x1b[1;1H\x1b[10Ab\x1b[?25lc", "abc", "abc"},
		{"a colour in disguise", "a\x1b[?31mb\x1b[>4;1mc", "abc", "abc"},
		{"window title", "a\x1b]0;title\x07b\x1b]2;x\x1b\\c", "abc", "abc"},
		{"a title without end", "a\x1b]0;title", "a", "a"},
		{"other strings", "a\x1bPq#0\x1b\\b\x1b_x\x1b\\c", "abc", "abc"},
		{"two letters", "a\x1bcb\x1b(0c\x1b7d", "abcd", "abcd"},
		{"escape at the end", "a\x1b", "a", "a"},
		{"control characters", "a\x07\x08\x00\x7fb", "ab", "ab"},
		{"upper control characters", "a\u009b31mb\u0085c", "a31mbc", "a31mbc"},
		{"the same as bytes", "a\x9b31mb", "a\ufffd31mb", "a\ufffd31mb"},
		{"turned writing", "a\u202egpj.b\u2066c", "agpj.bc", "agpj.bc"},
		{"progress bars", "10%\r50%\r100%", "100%", "100%"},
		{"line ends", "done\r\n", "done", "done"},
		{"tabs", "a\tb\t\tc", "a       b               c", "a       b               c"},
		{"tabs after wide letters", "日\tb", "日      b", "日      b"},
		{"no text", "a\xff\xfeb", "a\ufffd\ufffdb", "a\ufffd\ufffdb"},
		{"half a colour", "\x1b[31", "", ""},
	} {
		if got := string(sanitize(nil, []byte(c.in), false)); got != c.plain {
			t.Errorf("%s: %q, want %q", c.name, got, c.plain)
		}
		if got := string(sanitize([]byte("> "), []byte(c.in), true)); got != "> "+c.colour {
			t.Errorf("%s, with colours: %q, want %q", c.name, got, c.colour)
		}
	}
}

// FuzzSanitize looks for text that gets through to the terminal with something
// in it that is no text.
func FuzzSanitize(f *testing.F) {
	for _, seed := range []string{"plain", "\x1b[31mred\x1b[0m", "\x1b]0;t\x07", "a\rb", "\t日", "\x1b[", "\xff\x9b", "\x1bP\x1b\\", "\u202e", "\x1b[1;2;3", "\x1b[\x1b[31m"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, colour := range []bool{false, true} {
			out := sanitize(nil, line, colour)
			if !utf8.Valid(out) {
				t.Fatalf("%q became %q, which is not UTF-8", line, out)
			}
			rest := out
			for len(rest) > 0 {
				if rest[0] == 0x1b {
					n, sgr := escape(rest)
					if !colour || !sgr {
						t.Fatalf("%q lets %q through", line, rest[:n])
					}
					rest = rest[n:]
					continue
				}
				r, n := utf8.DecodeRune(rest)
				if r < 0x20 || r == 0x7f || hidden(r) {
					t.Fatalf("%q lets %q through", line, r)
				}
				rest = rest[n:]
			}
			if !colour && !bytes.Equal(sanitize(nil, out, false), out) {
				t.Fatalf("%q is not settled after one time", line)
			}
			for _, n := range []int{0, 1, 2, 5, 40} {
				if got := clip(string(out), n, "…"); width(got) > n {
					t.Fatalf("clip(%q, %d) = %q, which is %d wide", out, n, got, width(got))
				}
			}
		}
	})
}

func TestWidthAndClip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "abc": 3, "日本": 4, "e\u0301": 1, "\x1b[31mab\x1b[0m": 2, "🚀": 2, "✓ ok": 4, "한": 2, "ｆ": 2, "a\u200db": 2,
	} {
		if got := width(text); got != want {
			t.Errorf("width(%q) = %d, want %d", text, got, want)
		}
	}
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"abcdef", 6, "abcdef"}, {"abcdef", 5, "abcd…"}, {"abcdef", 1, "…"}, {"abcdef", 0, ""},
		{"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"\x1b[31mabcdef\x1b[0m", 3, "\x1b[31mab…\x1b[0m"},
	} {
		if got := clip(c.in, c.n, "…"); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0.0s", 49 * time.Millisecond: "0.0s", 50 * time.Millisecond: "0.1s", 12340 * time.Millisecond: "12.3s", 59949 * time.Millisecond: "59.9s",
		59950 * time.Millisecond: "1m00s", 125 * time.Second: "2m05s", 3725 * time.Second: "1h02m", -time.Second: "0.0s",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%s) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 2_000_000: "2.0 MB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestGlyphsAreOneColumnWide(t *testing.T) {
	t.Parallel()
	for _, s := range []style{{}, {ascii: true}, {colour: true}} {
		for _, v := range []plan.Verdict{plan.Success, plan.Failure, plan.Fault, plan.Timeout, plan.Cancelled, plan.Skipped, ""} {
			if g := s.glyph(v); width(g) != 1 {
				t.Errorf("the glyph of %q is %q, %d wide", v, g, width(g))
			}
		}
	}
}

func TestQuoted(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"test/3": "test/3", "a b": "'a b'", "": "''", "it's": `'it'\''s'`, "a\x1b[2Jb c": "'ab c'", "$(rm)": "'$(rm)'"} {
		if got := quoted(in); got != want {
			t.Errorf("quoted(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.go", "a.go", true}, {"*.go", "x/a.go", false}, {"**/*.go", "a.go", true}, {"**/*.go", "x/y/a.go", true},
		{"src/**", "src/a/b", true}, {"src/**", "srcs/a", false}, {"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"[", "[", false}, {"**", "a/b", true},
	} {
		if got := globs(strings.Split(c.pattern, "/"), strings.Split(c.name, "/")); got != c.want {
			t.Errorf("globs(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestCountedBack(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"logs -1": "logs last~1", "logs -f -2 test": "logs -f last~2 test", "run -j 2": "run -j 2", "--data x show -3": "--data x show -3",
		"shell -1 -- head -1": "shell last~1 -- head -1", "rerun -12 --failed": "rerun last~12 --failed",
	} {
		if got := strings.Join(countedBack(strings.Fields(in)), " "); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestPairs(t *testing.T) {
	t.Parallel()
	got, err := pairs("env", []string{"A=1", "B=x=y", "C="}, nil)
	if err != nil || got["A"] != "1" || got["B"] != "x=y" || got["C"] != "" || len(got) != 3 {
		t.Errorf("pairs: %v, %v", got, err)
	}
	for _, bad := range []string{"A", "=1", ""} {
		if _, err := pairs("env", []string{bad}, nil); err == nil {
			t.Errorf("--env %q was taken", bad)
		}
	}
}

func BenchmarkSanitize(b *testing.B) {
	for name, line := range map[string][]byte{
		"text":    []byte("this is a typical log line of a build, about eighty bytes long, nothing special."),
		"colours": []byte("\x1b[32mok\x1b[0m  \tgithub.com/fairlead-dev/fairlead/internal/cli\t0.123s coverage: 80.1%"),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = sanitize(dst[:0], line, false)
			}
		})
	}
}
