package expression

import (
	"errors"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	"", "1", "-0x1F", "'it''s'", "github.event.*.a['b'][0]", "a && b || !c", "(1 < 2) == true",
	"format('{0}{{}}', toJSON(github))", "join(github.event.labels.*.name, ', ')", "case(true, 1, 2)",
	"fromJSON('{\"a\": [1, 2.5e3, null]}').a[1]", "contains(needs.*.result, 'failure')", "hashFiles('**')",
	"!!!!", "a[", "f(1,", "'", "..", "𝕏 == 'ſ'", "1 = 2",
}

// fuzzError is the promise about every error: it has a place in the text.
func fuzzError(t *testing.T, text string, err error) {
	t.Helper()
	var placed *Error
	if err == nil || !errors.As(err, &placed) {
		if err != nil {
			t.Fatalf("%q: not an *Error: %v", text, err)
		}
		return
	}
	if placed.Offset < 0 || placed.Offset > len(text) || placed.Message == "" || placed.Kind == "" {
		t.Fatalf("%q: error %#v", text, placed)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	allowed := ParseAllowed([]string{"github", "hashFiles(1,255)"})
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		fuzzError(t, text, err)
		if err != nil {
			return
		}
		for _, err := range e.Check(allowed) {
			fuzzError(t, text, err)
		}
		for _, p := range e.Paths() {
			if p.Offset >= len(text) {
				t.Fatalf("%q: path %v", text, p)
			}
		}
		e.Walk(func(n *Node) bool {
			if n.Offset >= len(text) || n.depth > MaxDepth {
				t.Fatalf("%q: node %v", text, n)
			}
			return true
		})
	})
}

func FuzzEval(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, `{"ref": "a", "labels": [{"name": "x"}, [1, [2]]]}`)
	}
	f.Fuzz(func(t *testing.T, text, data string) {
		value, err := ParseJSON(data)
		if err == nil {
			if raw, err := appendCompact(nil, value, 0); err != nil {
				t.Fatalf("%q: read but not written: %v", data, err)
			} else if _, err := ParseJSON(string(raw)); err != nil {
				t.Fatalf("%q: written as %s, which cannot be read: %v", data, raw, err)
			}
		}
		e, err := Parse(text)
		if err != nil {
			return
		}
		scope := &Scope{
			Context: func(string) (any, bool) { return value, true },
			Function: func(string) (Func, bool) {
				return Func{Max: 9, Call: func(args []any) (any, error) { return args, nil }}, true
			},
		}
		v, err := e.Eval(scope)
		fuzzError(t, text, err)
		if err == nil && len(String(v)) > ConditionMemory+len(data) {
			t.Fatalf("%q: the result has %d bytes", text, len(String(v)))
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range seeds {
		f.Add("a ${{ " + s + " }} }} b ${{" + s + "}}")
		f.Add("${{ " + s + " }}")
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := ParseTemplate(text)
		fuzzError(t, text, err)
		if err != nil {
			return
		}
		scope := &Scope{Context: func(name string) (any, bool) { return name, true }}
		v, err := tmpl.Eval(scope)
		fuzzError(t, text, err)
		whole, wholeErr := tmpl.Expression()
		if wholeErr != nil {
			if _, ok := tmpl.Literal(); !ok {
				t.Fatalf("%q: not an expression: %v", text, wholeErr)
			}
			return
		}
		again, wholeErr := whole.Eval(&Scope{Context: scope.Context, Memory: TemplateMemory})
		if (err == nil) != (wholeErr == nil) {
			t.Fatalf("%q: %v, but as one expression %v", text, err, wholeErr)
		}
		if err == nil && utf8.ValidString(text) && String(v) != String(again) {
			t.Fatalf("%q: %q, but as one expression %q", text, String(v), String(again))
		}
	})
}

const usual = "github.event_name == 'push' && (startsWith(github.ref, 'refs/tags/v') || contains(needs.*.result, 'failure'))"

func usualScope() *Scope {
	contexts := NewObject()
	contexts.Set("github", map[string]any{"event_name": "push", "ref": "refs/heads/main"})
	contexts.Set("needs", map[string]any{"a": map[string]any{"result": "success"}, "b": map[string]any{"result": "failure"}})
	return &Scope{Context: contexts.Get}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(usual); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	b.ReportAllocs()
	e, err := Parse(usual)
	if err != nil {
		b.Fatal(err)
	}
	scope := usualScope()
	for b.Loop() {
		if v, err := e.Eval(scope); err != nil || v != true {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	b.ReportAllocs()
	tmpl, err := ParseTemplate("build of ${{ github.ref }} by ${{ github.event_name }}")
	if err != nil {
		b.Fatal(err)
	}
	scope := usualScope()
	for b.Loop() {
		if _, err := tmpl.Eval(scope); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToJSON(b *testing.B) {
	b.ReportAllocs()
	e, err := Parse("toJSON(github)")
	if err != nil {
		b.Fatal(err)
	}
	list := newArray(1000)
	for i := range 1000 {
		list = append(list, map[string]any{"id": i, "name": "label", "color": "ffffff"})
	}
	scope := &Scope{Context: func(string) (any, bool) { return list, true }}
	for b.Loop() {
		if _, err := e.Eval(scope); err != nil {
			b.Fatal(err)
		}
	}
}
