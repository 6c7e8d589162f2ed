package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
)

func masker(values ...string) *Masker {
	m := new(Masker)
	m.Add(values...)
	return m
}

func TestMask(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		secrets  []string
		in, want string
	}{
		{nil, "nothing secret", "nothing secret"},
		{[]string{"hunter2"}, "", ""},
		{[]string{"hunter2"}, "hunter", "hunter"},
		{[]string{"hunter2"}, "hunter2", "***"},
		{[]string{"hunter2"}, "a hunter2, hunter2hunter2; hunter22", "a ***, ***; ***2"},
		{[]string{"abcd", "cdef"}, "abcdef", "***"},                 // overlapping
		{[]string{"abcd", "bc"}, "abcabcd bcabcbc", "a*** ***a***"}, // one in the other
		{[]string{"abcd", "abcdefgh"}, "abcdefgx abcdefgh", "***efgx ***"},
		{[]string{"", " ", "\n\t"}, "a b\n\tc", "a b\n\tc"}, // white space is no secret
		{[]string{"x"}, "axxb", "a***b"},                    // short ones are
		{[]string{"é"}, "éa", "***a"},
		{[]string{" padded\n"}, "it is:padded here", "it is:*** here"},
		{[]string{`"quoted"`}, `a quoted value`, "a *** value"},
		{[]string{"one\ntwo\n}\n"}, "one and two and } and one\r\ntwo\r\n}", "*** and *** and } and ***"},
		{[]string{"one\r\ntwo"}, "one two one\ntwo", "*** *** ***"},
		{[]string{"abc\nab\nx"}, "abc ab x", "*** ab x"}, // lines of one or two characters are not
		{[]string{`pa"ss\w`}, `{"p":"pa\"ss\\w"}`, `{"p":"***"}`},
		{[]string{"p<a&b"}, `p\u003ca\u0026b p&lt;a&amp;b`, "*** ***"},
		{[]string{"tab\tnew\nline"}, `tab\tnew\nline`, "***"},
		{[]string{"p@ss w/rd"}, "p%40ss+w%2Frd p%40ss%20w%2frd p@ss%20w%2Frd", "*** *** ***"},
		{[]string{"it's"}, `it'\''s it''s it'"'"'s it&apos;s it&#39;s it\'s`, "*** *** *** *** *** ***"},
		{[]string{`a"b$c`}, `"a\"b\$c"`, `"***"`},
		{[]string{"first&+second"}, "first second", "first ***"}, // PowerShell; five characters are too few
	} {
		m := masker(test.secrets...)
		in := []byte(test.in)
		got := m.Mask(in)
		if string(got) != test.want || string(in) != test.in {
			t.Errorf("%q: %q became %q, want %q", test.secrets, test.in, got, test.want)
		}
		if s := m.String(test.in); s != test.want {
			t.Errorf("%q: String(%q) = %q, want %q", test.secrets, test.in, s, test.want)
		}
		if holds := m.Holds(test.in); holds != (test.in != test.want) {
			t.Errorf("%q: Holds(%q) = %v", test.secrets, test.in, holds)
		}
		var b bytes.Buffer
		w := m.Writer(&b)
		for i := range len(in) {
			if _, err := w.Write(in[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil || b.String() != test.want {
			t.Errorf("%q: written byte by byte, %q became %q, %v, want %q", test.secrets, test.in, b.String(), err, test.want)
		}
	}
}

func TestMaskReturnsTheLine(t *testing.T) {
	t.Parallel()
	line := []byte("nothing secret")
	if got := masker("hunter2").Mask(line); &got[0] != &line[0] || len(got) != len(line) {
		t.Error("a line without secrets was copied")
	}
	if got := new(Masker).Mask(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
}

// TestBase64 encodes a secret with other bytes around it.
func TestBase64(t *testing.T) {
	t.Parallel()
	const value = "s3cr3t/Value?"
	m := masker(value)
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if got := m.String(e.EncodeToString([]byte(value))); got != mask {
			t.Errorf("alone: %q", got)
		}
		for _, user := range []string{"", "u", "us", "use", "user:"} {
			for _, after := range []string{"", "x", "xy", "xyz"} {
				digits := e.EncodeToString([]byte(user + value + after))
				if got := m.String(digits); !strings.Contains(got, mask) || len(got) > len(mask)+len(user+after)*4/3+8 {
					t.Errorf("between %q and %q: %q became %q", user, after, digits, got)
				}
			}
		}
	}
}

// random makes texts and secrets of few letters, so that they overlap.
func random(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "aab\nc"[r.IntN(5)]
	}
	return string(b)
}

// naive is what Mask must do, done simply.
func naive(list []*automaton, text string) string {
	covered := make([]bool, len(text))
	for _, a := range list {
		for _, p := range a.patterns {
			for i := 0; i+len(p) <= len(text); i++ {
				if text[i:i+len(p)] == p {
					for j := range len(p) {
						covered[i+j] = true
					}
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			b.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			b.WriteString(mask)
		}
	}
	return b.String()
}

func check(t *testing.T, secrets []string, text string, cuts *rand.Rand) {
	t.Helper()
	m := new(Masker)
	for _, s := range secrets {
		m.Add(s)
	}
	want := naive(m.list(), text)
	got := m.String(text)
	if got != want {
		t.Fatalf("%q: %q became %q, want %q", secrets, text, got, want)
	}
	for _, s := range secrets {
		if strings.TrimSpace(s) != "" && strings.Contains(got, s) && !strings.Contains(s, "*") {
			t.Fatalf("%q remains in %q", s, got)
		}
	}
	var b bytes.Buffer
	w := m.Writer(&b)
	for rest := text; rest != ""; {
		n := 1 + cuts.IntN(len(rest))
		if n2, err := io.WriteString(w, rest[:n]); err != nil || n2 != n {
			t.Fatal(n2, err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Fatalf("%q: %q was written as %q, want %q", secrets, text, b.String(), want)
	}
}

func TestNoSecretRemains(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		var secrets []string
		for range 1 + r.IntN(5) {
			secrets = append(secrets, random(r, 1+r.IntN(12)))
		}
		text := random(r, r.IntN(60))
		if r.IntN(2) == 0 {
			text += secrets[r.IntN(len(secrets))] + random(r, r.IntN(10))
		}
		check(t, secrets, text, r)
	}
	for range 50 { // long ones are looked for in pieces
		secret := random(r, 200+r.IntN(500))
		check(t, []string{secret, "bacab"}, random(r, 100)+secret+random(r, 100)+secret[r.IntN(50):], r)
	}
}

func TestLongSecrets(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 400 {
		lines = append(lines, fmt.Sprintf("%064d", i*i*7919))
	}
	for _, value := range []string{strings.Join(lines, "\n"), strings.Join(lines, ""), strings.Join(lines, "\n") + strings.Repeat("z", maxForms)} {
		m := masker(value)
		if got := m.String("a " + value + " b"); got != "a *** b" {
			t.Errorf("%d bytes: %.100q", len(value), got)
		}
		if got := m.String(value[:len(value)/2]); !strings.HasPrefix(got, mask) || len(got) > 2*piece {
			t.Errorf("half of %d bytes: %.100q", len(value), got)
		}
		if len(value) <= maxForms {
			j, _ := json.Marshal(map[string]string{"k": value})
			if got := m.String(string(j)); got != `{"k":"***"}` {
				t.Errorf("JSON of %d bytes: %.100q", len(value), got)
			}
			if got := m.String(base64.StdEncoding.EncodeToString([]byte(value))); got != mask {
				t.Errorf("base64 of %d bytes: %.100q", len(value), got)
			}
			if got := m.String(url.QueryEscape(value)); got != mask {
				t.Errorf("URL of %d bytes: %.100q", len(value), got)
			}
		}
	}
}

// TestWriterKeepsBackLittle: a line is shown when it ends, unless it may be
// the beginning of a secret.
func TestWriterKeepsBackLittle(t *testing.T) {
	t.Parallel()
	m := masker("hunter2", "{\n  \"k\": 1\n}")
	var b bytes.Buffer
	w := m.Writer(&b)
	for _, step := range []struct{ write, shown string }{
		{"plain\n", "plain\n"},
		{"no end.", "no end."},
		{" hun", " "},
		{"ting hunt", "hunting "},
		{"er2\n", "***\n"},
		{"{\n", ""},
		{"x\n", "{\nx\n"},
		{"{\n", ""},
		{"  \"k\": 1\n", ""},
		{"}\n", "***\n"},
	} {
		b.Reset()
		if _, err := io.WriteString(w, step.write); err != nil {
			t.Fatal(err)
		}
		if b.String() != step.shown {
			t.Errorf("after %q: %q, want %q", step.write, b.String(), step.shown)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterError(t *testing.T) {
	t.Parallel()
	w := masker("hunter2").Writer(failing{})
	if _, err := io.WriteString(w, "plain"); err != io.ErrShortWrite {
		t.Error(err)
	}
}

// TestAddWhileMasking adds secrets under way, from several goroutines.
func TestAddWhileMasking(t *testing.T) {
	t.Parallel()
	m := new(Masker)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				s := fmt.Sprintf("secret-%d-%d", g, i)
				m.Add(s)
				if got := m.String("a " + s + " b"); strings.Contains(got, s) {
					t.Errorf("%s was not masked: %s", s, got)
				}
			}
		})
	}
	wg.Wait()
	for g := range 4 {
		for i := range 50 {
			if !m.Holds(fmt.Sprintf("secret-%d-%d", g, i)) {
				t.Fatal("a secret was forgotten")
			}
		}
	}
}

func TestManyAdds(t *testing.T) {
	t.Parallel()
	m := new(Masker)
	for i := range 1000 {
		m.Add(fmt.Sprintf("value %d of many", i*i))
	}
	if n := len(m.list()); n > 10 {
		t.Errorf("%d automata", n)
	}
	for i := range 1000 {
		if s := fmt.Sprintf("value %d of many", i*i); m.String(s) != mask {
			t.Fatal(s)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("hunter2", "abc\nab\n}", "say hunter2 and\nabc\nab\n}", uint64(1))
	f.Add("aab", "abaab", "aaabaabaabab", uint64(2))
	f.Add("a&b<\"'", "\n \n", "a\\u0026b a&amp;b", uint64(3))
	f.Fuzz(func(t *testing.T, a, b, text string, seed uint64) {
		if len(a)+len(b)+len(text) > 2000 {
			return
		}
		check(t, []string{a, b}, text, rand.New(rand.NewPCG(seed, 0)))
	})
}

// logText is text like a build's log, and twenty secrets that are not in it.
func logText() ([][]byte, *Masker) {
	r := rand.New(rand.NewPCG(3, 4))
	m := new(Masker)
	for i := range 20 {
		b := make([]byte, 20+r.IntN(30))
		for j := range b {
			b[j] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[r.IntN(64)]
		}
		switch i {
		case 0:
			b = append([]byte("ghp_"), b...)
		case 1:
			b = append([]byte("https://user:"), append(b, "@example.com/"...)...)
		case 2:
			b = []byte("hunter2")
		}
		m.Add(string(b))
	}
	return bytes.SplitAfter(bytes.Repeat([]byte(
		"go: downloading github.com/spf13/cobra v1.10.2\n"+
			"ok  \tgithub.com/fairlead-dev/fairlead/internal/plan\t0.012s\tcoverage: 81.2% of statements in ./internal/plan and its children\n"+
			"    --- PASS: TestSomething/with_a_name_that_is_long_enough (0.00s)\n"+
			"   Compiling serde v1.0.210 [features: std, derive] ######## 73% std::vec::Vec<alloc::string::String>\n"+
			"2026-11-23T03:37:32.123456Z INFO request{method=GET path=/api/v1/runs}: handled status=200 in 3.2ms\n"+
			"fetching https://proxy.example.org/github.com/user/repo/@v/v1.2.3.zip\n"), 200), []byte("\n")), m
}

func BenchmarkMask(b *testing.B) {
	lines, m := logText()
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, l := range lines {
			if got := m.Mask(l); len(got) != len(l) {
				b.Fatalf("%s", got)
			}
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	lines, m := logText()
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	w := m.Writer(io.Discard)
	for b.Loop() {
		for _, l := range lines {
			w.Write(l)
		}
	}
}

// BenchmarkAutomaton is the second pass alone: what texts cost that share
// bytes with secrets everywhere.
func BenchmarkAutomaton(b *testing.B) {
	m := masker("https://user:pass@example.com/", strings.Repeat("a", 60)+"b")
	text := bytes.Repeat([]byte("https://user:pass@example.org/ aaaaaaaaaaaaaaaaaaaaaaaaaaaaa "), 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		m.Mask(text)
	}
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		m := new(Masker)
		for i := range 20 {
			m.Add(fmt.Sprintf("a-secret-of-usual-length-%06d", i))
		}
	}
}
