package expression

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want any // value, or "error: …"
		// whole is the template written as one expression.
		whole string
	}{
		{"", "", "''"},
		{"plain 'text' }}", "plain 'text' }}", "'plain ''text'' }}'"},
		{"${{ matrix.node }}", 20.0, "matrix.node"},
		{" ${{ matrix.node }}", " 20", "format(' {0}', matrix.node)"},
		{"${{ true }}", true, "true"},
		{"a ${{ 1 }} b ${{ null }}c", "a 1 b c", "format('a {0} b {1}c', 1, null)"},
		{"${{ 1 }}${{ 2 }}", "12", "format('{0}{1}', 1, 2)"},
		{"{${{ matrix.list }}} it's", "{Array} it's", "format('{{{0}}} it''s', matrix.list)"},
		{"${{ '}}' }}", "}}", "'}}'"},
		{"${{ 'it''s }}' }}!", "it's }}!", "format('{0}!', 'it''s }}')"},
		{"$${{ 1 }}", "$1", "format('${0}', 1)"},
		{"${ {1} }", "${ {1} }", "'${ {1} }'"},
		{"${{\n  github.ref\n}}", "refs/heads/main", "github.ref"},

		{"${{ }}", "error: parsing at 0", ""},
		{"a ${{}}", "error: parsing at 2", ""},
		{"ab ${{ 1", "error: lexing at 3", ""},
		{"ab ${{ 'x }}", "error: lexing at 3", ""},
		{"ab ${{ 1 2 }}", "error: parsing at 9", ""},
		{"ab ${{ \"x\" }}", "error: lexing at 7", ""},
		{"ab ${{  nope.x }}", "error: evaluation at 8", "format('ab {0}', nope.x)"},
		{"${{ 1 == fromJSON('x') }}", "error: evaluation at 9", "1 == fromJSON('x')"},
	} {
		tmpl, err := ParseTemplate(c.text)
		var got any
		if err == nil {
			whole, err := tmpl.Expression()
			if err != nil || whole.String() != c.whole {
				t.Errorf("%s: as one expression %s, %v, want %s", c.text, whole, err, c.whole)
			}
			got, err = tmpl.Eval(testScope())
			if err == nil {
				if again, err := whole.Eval(testScope()); err != nil || again != got {
					t.Errorf("%s: as one expression %v, %v, want %v", c.text, again, err, got)
				}
			}
			if placed := (*Error)(nil); errors.As(err, &placed) {
				got = fmt.Sprintf("error: %s at %d", placed.Kind, placed.Offset)
			}
		} else if placed := (*Error)(nil); errors.As(err, &placed) {
			got = fmt.Sprintf("error: %s at %d", placed.Kind, placed.Offset)
		}
		if got != c.want {
			t.Errorf("%s: got %#v, want %#v", c.text, got, c.want)
		}
	}
}

func TestTemplateQuestions(t *testing.T) {
	t.Parallel()
	parse := func(text string) *Template {
		t.Helper()
		tmpl, err := ParseTemplate(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return tmpl
	}
	for text, want := range map[string]string{"a": "a", "": "", "${{ '${{' }}": "${{"} {
		if got, ok := parse(text).Literal(); !ok || got != want {
			t.Errorf("%s: literal %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{"${{ 1 }}", "${{ 'a' }} ", "${{ a }}"} {
		if got, ok := parse(text).Literal(); ok {
			t.Errorf("%s: literal %q", text, got)
		}
	}
	if _, ok := parse("${{ a }} ").Single(); ok {
		t.Error("a hole with space behind it is single")
	}
	tmpl := parse("x ${{ github.a }} ${{   secrets.b || always() }}")
	if !tmpl.Calls("always") || tmpl.Calls("failure") {
		t.Error("it calls always() and not failure()")
	}
	for i, h := range tmpl.Holes() {
		if want := []int{6, 24}[i]; h.Offset != want || !strings.HasPrefix(tmpl.String()[h.Offset:], h.String()) {
			t.Errorf("hole %d is at %d: %s", i, h.Offset, h)
		}
	}
	errs := tmpl.Check(ParseAllowed([]string{"github"}))
	if len(errs) != 2 || errs[0].Offset != 24 || errs[1].Offset != 37 {
		t.Errorf("check: %v", errs)
	}
}

func TestTemplateLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLength)
	hole := "${{ 1 }}"
	deep := "${{ " + strings.Repeat("!", 49) + "1 }}"
	for name, c := range map[string]struct {
		text string
		kind ErrorKind
	}{
		"long text":     {strings.Repeat(long, 10), ""},
		"long mixture":  {long + hole, Lexical},
		"just fits":     {long[len("format('{0}', 1)"):] + hole, ""},
		"just does not": {long[len("format('{0}', 1)")-1:] + hole, Lexical},
		"most holes":    {strings.Repeat(hole, maxHoles), ""},
		"too many":      {strings.Repeat(hole, maxHoles+1), Syntax},
		"very many":     {strings.Repeat(hole, 1_000_000), Syntax},
		"deep alone":    {deep, ""},
		"deep in text":  {deep + " ", Syntax},
	} {
		_, err := ParseTemplate(c.text)
		var got ErrorKind
		if placed := (*Error)(nil); errors.As(err, &placed) {
			got = placed.Kind
		}
		if got != c.kind {
			t.Errorf("%s: got %q, want %q: %v", name, got, c.kind, err)
		}
	}
	tmpl, err := ParseTemplate("${{ github }} ${{ github }} ${{ github }}")
	if err != nil {
		t.Fatal(err)
	}
	megabytes := strings.Repeat("x", 3<<20)
	scope := &Scope{Context: func(string) (any, bool) { return megabytes, true }}
	if _, err := tmpl.Eval(scope); err == nil {
		t.Error("a template made 18 MiB of text")
	}
	scope.Memory = 100 << 20
	if v, err := tmpl.Eval(scope); err != nil || len(String(v)) != 9<<20+2 {
		t.Errorf("a larger limit: %v", err)
	}
}
