package logs

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// split splits a text that is written in pieces of n bytes.
func split(t testing.TB, text string, n int) []string {
	t.Helper()
	got := []string{}
	s := NewSplitter(func(line []byte) error {
		got = append(got, string(line))
		return nil
	})
	for p := range slices.Chunk([]byte(text), n) {
		if k, err := s.Write(p); err != nil || k != len(p) {
			t.Fatalf("Write: %d, %v", k, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPinnedStates(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLine)
	for text, want := range map[string][]string{
		"#a\rtitle\n":               {"#a\rtitle"},
		"#a\r10%\r20%\n":            {"#a\r20%"},
		"10%\r#a\r20%\rb\r\n":       {"#a\rb"},
		"#a\r#b\rtitle\nx\ry\n":     {"#a\r#b\rtitle", "y"},
		"#a\r\r\n":                  {"#a"},
		"#a\r":                      {"#a"},
		"#" + long + "\rb\n":        {"b"},
		"#a\r" + long + "\r" + "\n": {"#a\r" + long[3:], "xxx"},
	} {
		for _, n := range []int{1, 2, 3, 7, 4096, 1 << 30} {
			if n < 4096 && len(text) > 1000 {
				continue
			}
			got := []string{}
			s := NewSplitter(func(line []byte) error { got = append(got, string(line)); return nil })
			s.Pin = func(state []byte) bool { return bytes.HasPrefix(state, []byte("#")) }
			for p := range slices.Chunk([]byte(text), n) {
				if _, err := s.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%.40q in pieces of %d: %.80q, want %.80q", text, n, got, want)
			}
		}
	}
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLine)
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{}},
		{"a\nb\n", []string{"a", "b"}},
		{"a\n\nb", []string{"a", "", "b"}},
		{"\n", []string{""}},
		{"a\r\nb\r\n", []string{"a", "b"}},
		{"a\r\r\n", []string{"a"}},
		{"10%\r20%\r100%\ndone\n", []string{"100%", "done"}},
		{"10%\r20%\r\nx", []string{"20%", "x"}},
		{"\r50%\r60%", []string{"60%"}},
		{"50%\r", []string{"50%"}},
		{"a\r\rb\n", []string{"b"}},
		{"\r\n\r", []string{""}},
		{"a\rb\nc\n", []string{"b", "c"}},
		{long + "\n", []string{long}},
		{long + "\r\ny\n", []string{long, "y"}},
		{long + "yz\nw", []string{long, "yz", "w"}},
		{long + long + "\n\n", []string{long, long, ""}},
	} {
		for _, n := range []int{1, 2, 3, 7, 4096, 1 << 30} {
			if n < 4096 && len(c.text) > 1000 {
				continue
			}
			if got := split(t, c.text, n); !slices.Equal(got, c.want) {
				t.Errorf("%.40q in pieces of %d: %.80q, want %.80q", c.text, n, got, c.want)
			}
		}
	}
}

func TestSplitterError(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	s := NewSplitter(func(line []byte) error {
		if string(line) == "b" {
			return bad
		}
		return nil
	})
	if n, err := s.Write([]byte("a\nb\nc\n")); !errors.Is(err, bad) || n != 4 {
		t.Errorf("Write: %d, %v", n, err)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add("a\r\nb\rc\n\r\r", byte(1))
	f.Fuzz(func(t *testing.T, text string, n byte) {
		var want []string
		for line := range strings.Lines(text) {
			body, ended := strings.CutSuffix(line, "\n")
			body = strings.TrimRight(body, "\r")
			body = body[strings.LastIndexByte(body, '\r')+1:]
			if ended || body != "" {
				want = append(want, body)
			}
		}
		if got := split(t, text, int(n)+1); !slices.Equal(got, want) {
			t.Errorf("%q in pieces of %d: %q, want %q", text, n+1, got, want)
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 79)+"\n"), 256<<10/80)
	n := 0
	s := NewSplitter(func(line []byte) error { n += len(line); return nil })
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := s.Write(text); err != nil {
			b.Fatal(err)
		}
	}
}
