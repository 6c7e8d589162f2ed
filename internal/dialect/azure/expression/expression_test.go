package expression

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// names is a scope for tests.
func names() *Scope {
	lazily := func(v any) func() (any, error) { return func() (any, error) { return v, nil } }
	strict := NewObject("list", &Array{Items: []any{"a", "b"}}, "flag", true, "o", NewObject("One", 1.0, "two", "2"),
		"people", &Array{Items: []any{NewObject("name", "Ada"), NewObject("name", "Bob"), NewObject("age", 3.0)}})
	strict.Missing = func(key string) error { return errorf("no parameter %s", key) }
	return &Scope{
		Names: map[string]func() (any, error){
			"variables":  lazily(NewObject("a", "x", "Build.Reason", "Manual", "empty", "")),
			"parameters": lazily(strict),
		},
		Functions: map[string]Function{"boom": {0, 0, func([]any) (any, error) { return nil, errors.New("boom") }}},
	}
}

func TestEval(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"true": "True", "null": "", "1.50": "1.5", "-0": "0", "'it''s'": "it's", "1.2.03": "1.2.3", "45700000000000000000000000000": "45700000000000000000000000000",
		"variables.a": "x", "variables['A']": "x", "VARIABLES.build": "", "variables['build.reason']": "Manual",
		"parameters.list[1]": "b", "parameters.o.ONE": "1", "parameters.list[7]": "", "join(',', parameters.people.*.name)": "Ada,Bob",
		"eq('A', 'a')": "True", "eq(1, '1')": "True", "eq('1', 1)": "True", "eq(true, 'False')": "True", "eq('True', true)": "True", "eq(false, '')": "True",
		"eq(null, '')": "True", "eq('', null)": "True", "eq(1.2.3, '1.2.3')": "True", "ne(1.2, 1.2.0)": "True", "eq(parameters.o, parameters.o)": "True",
		"gt(2, 10)": "False", "gt('2', '10')": "True", "lt(0.9.9.9, 1.0.0)": "True", "ge('b', 'A')": "True",
		"and(true, 1, 'x')": "True", "and(false, boom())": "False", "or(true, boom())": "True", "or(0, '')": "False", "xor(true, false)": "True", "not('')": "True",
		"in('B', 'a', 'b')": "True", "notIn('c', 'a', 'b')": "True", "coalesce(null, '', variables.empty, 'd')": "d",
		"contains('Hello', 'ELL')": "True", "startsWith('abc', 'AB')": "True", "endsWith('abc', 'bc')": "True", "containsValue(parameters.list, 'B')": "True",
		"containsValue(parameters.o, 2)": "True", "length('häh')": "3", "length(parameters.list)": "2", "length(parameters.o)": "2", "length(12)": "2",
		"format('{0}-{{{1}}}', 'a', 2)": "a-{2}", "format('{0:000}', 7)": "007", "iif(eq(1, 1), 'y', 'n')": "y", "lower('Aß')": "aß", "upper('a')": "A", "trim('  a ')": "a",
		"replace('a-b-c', '-', '')": "abc", "split('a,b;c', ',;')[2]": "c", "substring('Hello small World', 6, 5)": "small", "substring('abc', 1)": "bc",
		"convertToJson(parameters.list)": "[\n  \"a\",\n  \"b\"\n]", "convertToJson(true)": "true", "convertToJson('a')": `"a"`,
		"join('-', split('1 2', ' '))": "1-2", " \n eq ( 1 , 1 ) ": "True", "format(True)": "True", "iif(true, parameters.o, null).two": "2",
	} {
		x, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		v, err := x.Eval(names())
		if got := String(v); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "expected", "3 + 4": "Unexpected symbol: '+'", "replace h(a)": "Unexpected symbol: 'h'", "a-b": "Unexpected symbol: 'a-b'", "parameters.param-minus": "'param-minus'",
		"0.9.o.9": "'0.9.o.9'", "'open": "Unexpected symbol", "eq(1": "Unexpected end", "eq(1,)": "Unexpected symbol: ')'", "a b": "'b'", "nothing": "Unrecognized named-value: 'nothing'",
		"nothing()": "Unrecognized function: 'nothing'", "eq(1)": "at least 2", "eq(1, 2, 3)": "at most 2", "parameters.nope": "no parameter nope", "or(true, nothing)": "Unrecognized named-value",
		"gt(1, 'x')": "Unable to convert from String to Number. Value: 'x'", "format('{1}', 1)": "asks for argument", "format('{0', 1)": "not closed", "substring('abc', 9)": "3 characters", "*": "Unexpected symbol: '*'",
		"boom()": "boom", "contains(parameters.o, 1)": "a text is wanted", "1 == 1": "'=='", strings.Repeat("not(", 60) + "1" + strings.Repeat(")", 60): "more than 50 deep",
		"1.2.3.4.5": "Unexpected symbol", "variables[": "Unexpected end",
	} {
		x, err := Parse(text)
		if err == nil {
			_, err = x.Eval(names())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v; want %q", text, err, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"plain": "plain", "": "", "${{ 1 }}": 1.0, "a${{ 1 }}b${{ 'x}}' }}": "a1bx}}", "${{ true }} ": "True ", "${{parameters.flag}}": true,
	} {
		x, err := ParseText(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if v, err := x.Eval(names()); err != nil || v != want {
			t.Errorf("%s = %v, %v; want %v", text, v, err, want)
		}
	}
	for text, want := range map[string]string{"${{ 1": "not closed", "${{ ' }}": "not closed", "a ${{ }}": "expected", "a ${{ parameters.list }}": "a list"} {
		x, err := ParseText(text)
		if err == nil {
			_, err = x.Eval(names())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	x, err := Parse("and(eq(dependencies.A.outputs['s.v'], 'x'), parameters.list[variables.n])")
	if err != nil {
		t.Fatal(err)
	}
	p := x.Parts()
	if p.Call != "and" || len(p.Args) != 2 || p.Args[0].Call != "eq" || !slices.Equal(p.Args[0].Args[0].Path, []string{"dependencies", "A", "outputs", "s.v"}) ||
		p.Args[0].Args[1].Literal != "x" || !p.Args[1].Opaque {
		t.Errorf("%+v", p)
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"eq(1, 'a')", "variables['a.b'].c.*[1]", "1.2.3", "a ${{ b }} c", "format('{0:00}', 1)", "split('a', '')[0]", "convertToJson(parameters.o)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, text := range []string{s, "${{" + s + "}}"} {
			if x, err := ParseText(text); err == nil {
				v, err := x.Eval(names())
				if err == nil {
					_ = String(v)
				}
			}
		}
		x, err := Parse(s)
		if err != nil {
			return
		}
		a, errA := x.Eval(names())
		b, errB := x.Eval(names())
		if (errA == nil) != (errB == nil) || errA == nil && String(a) != String(b) {
			t.Errorf("%q has two values: %v, %v", s, a, b)
		}
		x.Parts()
	})
}
