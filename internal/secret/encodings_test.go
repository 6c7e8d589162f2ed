package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// encoding is what a step may do to a value before it prints it. It returns the text
// and what of it the value alone decides: none of that may be shown.
type encoding struct {
	name   string
	encode func(r *rand.Rand, value string) (text, core string)
}

// beside is text of up to n letters.
func beside(r *rand.Rand, n int) string {
	b := make([]byte, r.IntN(n+1))
	for i := range b {
		b[i] = "abcdefgh ;"[r.IntN(10)]
	}
	return string(b)
}

func plainly(f func(string) string) func(*rand.Rand, string) (string, string) {
	return func(_ *rand.Rand, value string) (string, string) { return f(value), f(value) }
}

// within encodes a value with other text around it.
func within(e *base64.Encoding) func(*rand.Rand, string) (string, string) {
	return func(r *rand.Rand, value string) (string, string) {
		before, after := beside(r, 5), beside(r, 5)
		return e.EncodeToString([]byte(before + value + after)), shifted(e.WithPadding(base64.NoPadding), value, len(before)%3)
	}
}

func waysOut() []encoding {
	return []encoding{
		{"as it is", plainly(func(s string) string { return s })},
		{"base64", plainly(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},
		{"base64 for URLs", plainly(func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) })},
		{"base64 within", within(base64.StdEncoding)},
		{"base64 for URLs within", within(base64.RawURLEncoding)},
		{"base64 twice", func(r *rand.Rand, value string) (string, string) {
			before := beside(r, 5)
			once := base64.StdEncoding.EncodeToString([]byte(before + value + beside(r, 5)))
			core := shifted(base64.RawStdEncoding, value, len(before)%3)
			return base64.StdEncoding.EncodeToString([]byte(once)), shifted(base64.RawStdEncoding, core, strings.Index(once, core)%3)
		}},
		{"hexadecimal", plainly(func(s string) string { return hex.EncodeToString([]byte(s)) })},
		{"HEXADECIMAL", plainly(func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) })},
		{"query", plainly(url.QueryEscape)},
		{"path", plainly(url.PathEscape)},
		{"user", func(_ *rand.Rand, s string) (string, string) {
			u := url.UserPassword("git", s).String()
			return "https://" + u + "@example.org/x", u[len("git:"):]
		}},
		{"JSON", func(_ *rand.Rand, s string) (string, string) {
			b, _ := json.Marshal(s)
			return string(b), string(b[1 : len(b)-1])
		}},
		{"JSON in ASCII", func(_ *rand.Rand, s string) (string, string) {
			var b strings.Builder
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.Encode(s)
			q := strings.TrimSpace(b.String())
			if a := asciiJSON([]byte(q)); a != "" {
				q = a
			}
			return q, q[1 : len(q)-1]
		}},
		{"HTML", plainly(html.EscapeString)},
		{"shell", func(_ *rand.Rand, s string) (string, string) {
			q := strings.ReplaceAll(s, "'", `'\''`)
			return "'" + q + "'", q
		}},
	}
}

// value is a secret as people have them.
func value(r *rand.Rand) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	alphabets := []string{letters, letters + "-_=+/.", letters + " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", letters + "äß€🛥"}
	alphabet := []rune(alphabets[r.IntN(len(alphabets))])
	runes := make([]rune, 8+r.IntN(80))
	for i := range runes {
		runes[i] = alphabet[r.IntN(len(alphabet))]
	}
	runes[0], runes[len(runes)-1] = 'K', 'z' // what is trimmed is another test's
	return string(runes)
}

// shown is what becomes of a text that is written in pieces.
func shown(t *testing.T, r *rand.Rand, m *Masker, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := m.Writer(&b)
	for rest := text; rest != ""; {
		n := min(len(rest), 1+r.IntN(1+r.IntN(40)))
		if _, err := io.WriteString(w, rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEveryEncoding is row 3 of the threat table: no encoding of a secret is
// shown, wherever it stands and however it is cut into writes.
func TestEveryEncoding(t *testing.T) {
	t.Parallel()
	for _, e := range waysOut() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(7, uint64(len(e.name))))
			for range 100 {
				secrets := []string{value(r), value(r), value(r)}
				m := masker(secrets...)
				v := secrets[r.IntN(len(secrets))]
				text, core := e.encode(r, v)
				text = beside(r, 30) + text + beside(r, 30) + "\n" + beside(r, 30)
				if got := shown(t, r, m, text); strings.Contains(got, core) || len(core) > 16 && strings.Contains(got, core[4:len(core)-4]) {
					t.Fatalf("%q: %q is shown as %q", v, text, got)
				}
				if got := m.String(text); strings.Contains(got, core) {
					t.Fatalf("%q: %q is shown as %q", v, text, got)
				}
			}
		})
	}
}

// TestEveryLine: each line of a value of several lines, in every encoding.
func TestEveryLine(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(8, 8))
	for range 30 {
		lines := []string{"-----BEGIN KEY-----", value(r), value(r), value(r), "-----END KEY-----"}
		m := masker(strings.Join(lines, []string{"\n", "\r\n"}[r.IntN(2)]))
		for _, e := range waysOut() {
			for _, line := range lines {
				text, core := e.encode(r, line)
				if got := shown(t, r, m, beside(r, 20)+text+beside(r, 20)); strings.Contains(got, core) {
					t.Fatalf("%s: %q is shown as %q", e.name, text, got)
				}
			}
		}
	}
}

// TestBrokenIntoLines: base64 and xxd break their lines anywhere in a secret.
func TestBrokenIntoLines(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 9))
	for range 200 {
		v := value(r)
		m := masker(v)
		before := beside(r, 200)
		text, core := base64.StdEncoding.EncodeToString([]byte(before+v+beside(r, 100))), shifted(base64.RawStdEncoding, v, len(before)%3)
		if r.IntN(3) == 0 {
			text, core = hex.EncodeToString([]byte(before+v+beside(r, 100))), hex.EncodeToString([]byte(v))
		}
		width := []int{60, 64, 76, 80}[r.IntN(4)]
		end := []string{"\n", "\r\n"}[r.IntN(2)]
		var b strings.Builder
		for rest := text; rest != ""; {
			n := min(width, len(rest))
			b.WriteString(rest[:n] + end)
			rest = rest[n:]
		}
		joined := strings.NewReplacer("\r", "", "\n", "").Replace(shown(t, r, m, b.String()))
		for i := 0; i+2*(window+step) <= len(core); i++ {
			if part := core[i : i+2*(window+step)]; strings.Contains(joined, part) {
				t.Fatalf("%q of %q is shown in\n%s", part, core, joined)
			}
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(10, 10))
	for range 30 {
		v := value(r)
		m := masker(v)
		text := strings.Repeat(beside(r, 50)+v+beside(r, 50)+"\n", 1+r.IntN(1000)) + v[:len(v)/2]
		want := m.String(text)
		for _, from := range []io.Reader{strings.NewReader(text), iotest.HalfReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			got, err := io.ReadAll(m.Reader(from))
			if err != nil || string(got) != want {
				t.Fatalf("%d bytes became %d, want %d: %v", len(text), len(got), len(want), err)
			}
		}
	}
	m := masker("hunter2")
	if err := iotest.TestReader(m.Reader(strings.NewReader("say hunter2, twice: hunter2, hunt")), []byte("say ***, twice: ***, hunt")); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if got, err := io.ReadAll(m.Reader(io.MultiReader(strings.NewReader("a hunt"), iotest.ErrReader(broken)))); err != broken || string(got) != "a hunt" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPatternsStayFew bounds what the forms of one secret cost.
func TestPatternsStayFew(t *testing.T) {
	t.Parallel()
	for _, n := range []int{40, 512, 4 << 10, 64 << 10} {
		patterns, size := 0, 0
		var b strings.Builder
		for i := range n / 8 {
			b.WriteString(fmt.Sprintf("%08s", strconv.FormatInt(int64(i)*7919*7919*7919%99999989, 36)))
		}
		forms(b.String(), func(p string) { patterns++; size += len(p) })
		if patterns > 1000+4*n || size > 20_000+60*n {
			t.Errorf("%d bytes: %d patterns of %d bytes", n, patterns, size)
		}
		t.Logf("%d bytes: %d patterns of %d bytes", n, patterns, size)
	}
	var pem strings.Builder
	r := rand.New(rand.NewPCG(11, 11))
	for range 50 {
		for range 64 {
			pem.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[r.IntN(64)])
		}
		pem.WriteByte('\n')
	}
	m := masker(pem.String())
	patterns, nodes := 0, 0
	for _, a := range m.list() {
		patterns += len(a.patterns)
		nodes += len(a.label)
	}
	if nodes > 500_000 {
		t.Errorf("a private key: %d patterns, %d nodes", patterns, nodes)
	}
	t.Logf("a private key: %d patterns, %d nodes", patterns, nodes)
}
