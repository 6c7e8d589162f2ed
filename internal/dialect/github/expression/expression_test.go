package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// testScope has a few contexts and functions of a workflow.
func testScope() *Scope {
	contexts := NewObject()
	read := func(name, text string) {
		v, err := ParseJSON(text)
		if err != nil {
			panic(err)
		}
		contexts.Set(name, v)
	}
	read("github", `{"ref": "refs/heads/main", "event": {"labels": [{"name": "bug"}, {"name": "docs"}, {"id": 3}], "number": 12, "body": null}}`)
	read("needs", `{"build": {"result": "success", "outputs": {"v": "1"}}, "lint": {"result": "failure", "outputs": {}}}`)
	contexts.Set("matrix", map[string]any{"os": "linux", "Node": 20, "list": []any{1, 2}, "tags": []string{"a", "b"}})
	contexts.Set("inputs", nil)
	return &Scope{
		Context: contexts.Get,
		Function: func(name string) (Func, bool) {
			switch name {
			case "success":
				return Func{Call: func([]any) (any, error) { return true, nil }}, true
			case "hashfiles":
				return Func{Min: 1, Max: 255, Call: func(args []any) (any, error) {
					if String(args[0]) == "" {
						return nil, errNoPattern
					}
					return fmt.Sprintf("hash of %v", args), nil
				}}, true
			}
			return Func{}, false
		},
	}
}

var errNoPattern = errors.New("no pattern given")

// TestEval shows the language at work; the result is written as toJSON writes
// it, on one line.
func TestEval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "null"},
		{"  ", "null"},
		{"'it''s'", `"it's"`},
		{"GITHUB.Ref", `"refs/heads/main"`},
		{"github['ref']", `"refs/heads/main"`},
		{"github.nothing.at.all", "null"},
		{"github.event.labels[1].name", `"docs"`},
		{"github.event.labels['1'].name", `"docs"`},
		{"github.event.labels[1.9].name", `"docs"`},
		{"github.event.labels[-1]", "null"},
		{"github.event.labels.*.name", `["bug","docs"]`},
		{"github.event.labels[*]['name'][0]", `[]`},
		{"needs.*.result", `["success","failure"]`},
		{"needs.*.outputs.v", `["1"]`},
		{"contains(needs.*.result, 'FAILURE')", "true"},
		{"github.event.number.*", "[]"},
		{"matrix.node", "20"},
		{"matrix.node == '20'", "true"},
		{"matrix.NODE > 18 && 'new' || 'old'", `"new"`},
		{"matrix.list == matrix.list", "true"},
		{"matrix.tags[1]", `"b"`},
		{"join(matrix.tags)", `"a,b"`},
		{"toJSON(matrix)", `"{\n  \"Node\": 20,\n  \"list\": [\n    1,\n    2\n  ],\n  \"os\": \"linux\",\n  \"tags\": [\n    \"a\",\n    \"b\"\n  ]\n}"`},
		{"matrix.*", `[20,[1,2],"linux",["a","b"]]`},
		{"inputs.anything || 'default'", `"default"`},
		{"startsWith(github.ref, 'REFS/') && success()", "true"},
		{"hashFiles('a', matrix.list.*)", `"hash of [a [1 2]]"`},
		{"format('{0}-{1}-{0}', 'a', 'b')", `"a-b-a"`},
		{"format('unused', fromJSON('bad'))", `"unused"`},
		{"format('{0:}', 1)", "error: evaluation at 7"},
		{"format('{256}', 1)", "error: evaluation at 7"},
		{"case(true, 1, fromJSON('bad'))", "1"},
		{"join(github.event.labels.*.name, ' ')", `"bug docs"`},
		{"join('alone', fromJSON('bad'))", `"alone"`},
		{"false && fromJSON('bad')", "false"},
		{"true || fromJSON('bad')", "true"},
		{"(github.event.labels.* || 1).name", `["bug","docs"]`},
		{"case(true, needs.*, 0).result", `["success","failure"]`},
		{"fromJSON('[1,2,]')[1]", "2"},
		{"toJSON(fromJSON('{\"b\":1,\"a\":[]}'))", `"{\n  \"b\": 1,\n  \"a\": []\n}"`},
		{"toJSON('\u2028\x01')", `"\"\\u2028\\u0001\""`},
		{"(((1)))", "1"},
		{"!(1 == 1)", "false"},
		{"1 < 2 == true", "true"},
		{"'10' > '9'", "false"},
		{"'10' > 9", "true"},
		{"'a' < 1", "false"},
		{"null <= null", "true"},
		{"null < 1", "true"},
		{"NaN != NaN", "true"},
		{"true\u00a0&&\u2003false", "false"},

		{"fromJSON('')", "error: evaluation at 0"},
		{"1 == fromJSON('{')", "error: evaluation at 5"},
		{"case(1, 2, 3)", "error: evaluation at 5"},
		{"hashFiles('')", "error: evaluation at 0"},
		{"true || nothing", "error: evaluation at 8"},
		{"true || nope()", "error: evaluation at 8"},
		{"true || success(1)", "error: evaluation at 8"},
		{"true || join()", "error: evaluation at 8"},
	} {
		got := ""
		e, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		v, err := e.Eval(testScope())
		if placed := (*Error)(nil); errors.As(err, &placed) {
			got = fmt.Sprintf("error: %s at %d", placed.Kind, placed.Offset)
		} else if raw, err := appendCompact(nil, v, 0); err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else {
			got = string(raw)
		}
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestSyntaxErrors: kind and place of what cannot be parsed.
func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		kind   ErrorKind
		offset int
	}{
		{`github.ref == "main"`, Lexical, 14},
		{"a = b", Lexical, 2},
		{"'open", Lexical, 0},
		{"a + b", Lexical, 2},
		{"1 2 @", Lexical, 4}, // words come before their order
		{"1.2.3", Lexical, 0},
		{"'a'.length", Lexical, 3},
		{"é", Lexical, 0},
		{"a b", Syntax, 2},
		{"a.b(1)", Syntax, 3},
		{"a.", Syntax, 1},
		{"a..b", Lexical, 2}, // a dot that takes no property begins a number
		{"'a'[0]", Syntax, 3},
		{"a[*].b[* ]]", Syntax, 10},
		{"a[* || 1]", Syntax, 4},
		{"*", Syntax, 0},
		{"(a", Syntax, 1},
		{"a)", Syntax, 1},
		{"()", Syntax, 1},
		{"a[]", Syntax, 2},
		{"a[1", Syntax, 2},
		{"f(", Syntax, 1},
		{"f(1,)", Syntax, 4},
		{"f(,1)", Syntax, 2},
		{"f(1 2)", Syntax, 4},
		{"true()", Syntax, 4},
		{"a &&", Syntax, 2},
		{"&& a", Syntax, 0},
		{"!", Syntax, 0},
		{"a ! b", Syntax, 2},
	} {
		e, err := Parse(c.text)
		var got *Error
		if !errors.As(err, &got) {
			t.Errorf("%s: parsed as %v, error %v", c.text, e, err)
			continue
		}
		if got.Kind != c.kind || got.Offset != c.offset {
			t.Errorf("%s: %s error at %d, want %s at %d: %v", c.text, got.Kind, got.Offset, c.kind, c.offset, got)
		}
	}
}

// TestLimits: what a hostile text meets.
func TestLimits(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 600_000)
	scope := &Scope{Context: func(string) (any, bool) { return big, true }}
	for name, c := range map[string]struct {
		text string
		kind ErrorKind
	}{
		"longest":       {"'" + strings.Repeat("😀", MaxLength/2-1) + "'", ""},
		"too long":      {"'" + strings.Repeat("😀", MaxLength/2) + "'", Lexical},
		"deepest":       {strings.Repeat("!", 49) + "1", ""},
		"too deep":      {strings.Repeat("!", 50) + "1", Syntax},
		"parentheses":   {strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), ""},
		"too many":      {strings.Repeat("(", 10000) + "1" + strings.Repeat(")", 10000), Syntax},
		"open forever":  {strings.Repeat("a[", 10000), Syntax},
		"long chain":    {strings.Repeat("1 && ", 4000) + "1", ""},
		"long sum":      {strings.Repeat("1 == ", 50) + "1", Syntax},
		"memory":        {"format('{0}{0}', big)", Evaluation},
		"memory freed":  {"contains(format('{0}', 'a'), 'b') || contains(format('{0}', 'a'), 'b')", ""},
		"work":          {strings.Repeat("contains(small, 'a') || ", 800) + "1", Evaluation},
		"json growth":   {strings.Repeat("toJSON(", 30) + "'\\\\'" + strings.Repeat(")", 30), Evaluation},
		"format growth": {strings.Repeat("format('{0}{0}{0}{0}', ", 12) + "'0123456789'" + strings.Repeat(")", 12), Evaluation},
		"join growth":   {"join(fromJSON(format('[{0}1]', format('{0}{0}{0}{0}{0}{0}{0}{0}', '1,1,1,1,1,1,1,1,1,1,'))), '" + strings.Repeat("x", 10000) + "')", Evaluation},
	} {
		e, err := Parse(c.text)
		if err == nil {
			s := scope
			if name == "work" {
				s = &Scope{Context: func(string) (any, bool) { return big[:400_000], true }}
			}
			_, err = e.Eval(s)
		}
		var got ErrorKind
		if placed := (*Error)(nil); errors.As(err, &placed) {
			got = placed.Kind
		}
		if got != c.kind {
			t.Errorf("%s: got %q, want %q: %v", name, got, c.kind, err)
		}
	}
}

func TestFuncError(t *testing.T) {
	t.Parallel()
	e, err := Parse("hashFiles('')")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = e.Eval(testScope()); !errors.Is(err, errNoPattern) {
		t.Errorf("the cause is lost: %v", err)
	}
	if _, err = e.Eval(nil); err == nil {
		t.Error("a function was found in no scope")
	}
}

// TestContextsAskedOnce: a scope that makes its contexts on demand makes each
// of them once, so that it is equal to itself.
func TestContextsAskedOnce(t *testing.T) {
	t.Parallel()
	asked := 0
	scope := &Scope{Context: func(string) (any, bool) { asked++; return map[string]any{"a": asked}, true }}
	for _, text := range []string{"github == GitHub && github.a == 1", "${{ github == github }}${{ github.a == 1 && '' }}"} {
		asked = 0
		tmpl, err := ParseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		if tmpl.holes == 0 {
			tmpl, err = ParseTemplate("${{ " + text + " }}")
			if err != nil {
				t.Fatal(err)
			}
		}
		v, err := tmpl.Eval(scope)
		if err != nil || String(v) != "true" || asked != 1 {
			t.Errorf("%s: %v, %v, asked %d times", text, v, err, asked)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	allowed := ParseAllowed([]string{"github", "needs", "inputs", "success(0,MAX)", "failure(0,0)", "hashFiles(1,255)"})
	for _, c := range []struct {
		text string
		want []string // offset and a part of the message
	}{
		{"github.ref && success('a', 'b') && hashFiles('x')", nil},
		{"GITHUB.ref && SUCCESS()", nil},
		{"secrets.TOKEN", []string{`0 the context "secrets" is not available here: available are github, needs, inputs`}},
		{"1 && gihub.ref", []string{`5 there is no context "gihub": did you mean "github"?`}},
		{"xyz", []string{`0 there is no context "xyz": available are`}},
		{"contains", []string{`0 there is no context "contains": a function needs parentheses`}},
		{"always()", []string{`0 the function "always" is not available here`}},
		{"toJson(1) && fromYaml('')", []string{`13 there is no function "fromYaml"`}},
		{"containz(1, 2)", []string{`0 there is no function "containz": did you mean "contains"?`}},
		{"failure('job')", []string{"0 too many arguments: failure takes no arguments, and here are 1"}},
		{"hashFiles()", []string{"0 too few arguments"}},
		{"contains(env.A)", []string{`9 the context "env"`, "0 too few arguments: contains takes 2 arguments, and here are 1"}},
		{"case(true, 1, false, 2)", []string{"0 case takes an odd number of arguments, and here are 4"}},
		{"false && nope(vars.x)", []string{`9 there is no function "nope"`, `14 the context "vars"`}},
	} {
		e, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		errs := e.Check(allowed)
		if len(errs) != len(c.want) {
			t.Errorf("%s: %v, want %q", c.text, errs, c.want)
			continue
		}
		for i, err := range errs {
			if got := fmt.Sprintf("%d %v", err.Offset, err); !strings.HasPrefix(got, c.want[i]) || err.Kind != Syntax {
				t.Errorf("%s: %s error %q, want %q", c.text, err.Kind, got, c.want[i])
			}
		}
	}
	if errs := mustParse(t, "github").Check(Allowed{}); len(errs) != 1 || errs[0].Hint != "no context is available here" {
		t.Errorf("nothing allowed: %v", errs)
	}
}

func mustParse(t *testing.T, text string) *Expression {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func TestParseAllowed(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(ParseAllowed([]string{"github", "always(0,0)", "f(2)", "hashFiles(1,255)"}))
	if want := "{[github] [{always 0 0} {f 2 2} {hashFiles 1 255}]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// A place may inherit a function with other counts from the one around it.
	twice := ParseAllowed([]string{"failure(0,0)", "failure(0,MAX)"})
	if errs := mustParse(t, "failure('a')").Check(twice); errs != nil {
		t.Errorf("%v", errs)
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	e := mustParse(t, "steps.a.outputs[env.x].y && !Always() || needs['b c'].*.r == github && Steps[0] || fromJSON(vars.j).k")
	if got, want := strings.Join(e.Contexts(), " "), "steps env needs github vars"; got != want {
		t.Errorf("contexts %s, want %s", got, want)
	}
	if !e.Calls("success", "always") || e.Calls("success") || e.Calls() {
		t.Error("it calls always() and not success()")
	}
	var paths []string
	for _, p := range e.Paths() {
		paths = append(paths, fmt.Sprintf("%d:%s", p.Offset, p))
	}
	want := []string{"0:steps.a.outputs.?.y", "16:env.x", "41:needs.b c.*.r", "61:github", "71:steps.?", "92:vars.j"}
	if !slices.Equal(paths, want) {
		t.Errorf("paths %q\nwant  %q", paths, want)
	}
	nodes := 0
	e.Walk(func(n *Node) bool { nodes++; return n.Op != OpIndex })
	if nodes != 11 {
		t.Errorf("walked %d nodes", nodes)
	}
	if mustParse(t, " ").Paths() != nil {
		t.Error("blank text reads something")
	}
}
