package protocol

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
)

// withMatchers writes matcher files into a new job's workspace.
func withMatchers(t testing.TB, files map[string]string) (*Job, dialect.Listener) {
	t.Helper()
	j := newJob(t, Options{})
	for name, text := range files {
		path := filepath.Join(j.opt.Workspace, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return j, listen(t, j, nil)
}

// one is a file with one matcher of these patterns.
func one(owner string, patterns ...string) string {
	return `{"problemMatcher":[{"owner":"` + owner + `","pattern":[` + strings.Join(patterns, ",") + `]}]}`
}

func TestMatchers(t *testing.T) {
	t.Parallel()
	const goMatcher = `{"regexp":"^\\s*(.+\\.go):(?:(\\d+):(\\d+):)? (.*)$","file":1,"line":2,"column":3,"message":4}`
	for _, test := range []struct {
		name  string
		files map[string]string
		in    string
		want  string
	}{
		{"a line becomes a remark", map[string]string{"m.json": one("go", goMatcher), "a/b.go": ""},
			"a/b.go:1:2: x\n::add-matcher::m.json\na/b.go:1:2: undefined: x\nok",
			"| a/b.go:1:2: x\n| Error: a/b.go:1:2: undefined: x\n= error a/b.go 1:2-0:0 \"undefined: x\"\n| ok\n"},
		{"legacy command", map[string]string{"m.json": one("go", goMatcher)},
			"##[add-matcher]m.json\nb.go:1:2: x", "| Error: b.go:1:2: x\n= error 1:2-0:0 \"x\"\n"},
		{"files outside the workspace do not count", map[string]string{"m.json": one("go", goMatcher), "a.go": "", "d.go/x": ""},
			"::add-matcher::m.json\n../a.go:1:2: x\n/etc/passwd.go:1:2: x\nd.go:1:2: x\n./sub/../a.go:1:2: x",
			"| Error: ../a.go:1:2: x\n= error 1:2-0:0 \"x\"\n| Error: /etc/passwd.go:1:2: x\n= error 1:2-0:0 \"x\"\n| Error: d.go:1:2: x\n= error 1:2-0:0 \"x\"\n| Error: ./sub/../a.go:1:2: x\n= error a.go 1:2-0:0 \"x\"\n"},
		{"fromPath", map[string]string{"m.json": one("cs", `{"regexp":"^(.+)\\((.+),(.+)\\): (.+) \\[(.+)\\]$","file":1,"line":2,"column":3,"message":4,"fromPath":5}`), "proj/a.cs": ""},
			"::add-matcher::m.json\na.cs(1,2): bad [proj/p.csproj]", "| Error: a.cs(1,2): bad [proj/p.csproj]\n= error proj/a.cs 1:2-0:0 \"bad\"\n"},
		{"severity, code, bad numbers", map[string]string{"m.json": one("s", `{"regexp":"^(.*): (.+) ([0-9a-z]+) (\\w*)$","severity":1,"message":2,"line":3,"code":4}`)},
			"::add-matcher::m.json\nERRor: bad 1 \nWARNing: hm 2 W3\nnotice: n x \ninfo: hey 4 \n: none 5 ",
			"| Error: ERRor: bad 1 \n= error 1:0-0:0 \"bad\"\n| Warning: WARNing: hm 2 W3\n= warning 2:0-0:0 [W3] \"hm\"\n| Notice: notice: n x \n= notice \"n\"\n| info: hey 4 \n| Error: : none 5 \n= error 5:0-0:0 \"none\"\n"},
		{"default severity", map[string]string{"m.json": `{"problemMatcher":[{"owner":"w","severity":"Warning","pattern":[{"regexp":"^w: (.+)$","message":1}]}]}`},
			"::add-matcher::m.json\nw: x", "| Warning: w: x\n= warning \"x\"\n"},
		{"colours are taken out", map[string]string{"m.json": one("c", `{"regexp":"^the error: (.+)$","message":1}`)},
			"::add-matcher::m.json\nthe \x1b[1;31merror\x1b[m: \x1b[31mred\x1b[0m, reset\n\x1b[31mother",
			"| Error: the error: red, reset\n= error \"red, reset\"\n| \x1b[31mother\n"},
		{"several lines", map[string]string{"m.json": one("m", `{"regexp":"^file: (.+)$","file":1}`, `{"regexp":"^at (\\d+)$","line":1}`, `{"regexp":"^(.+)$","message":1}`), "a": ""},
			"::add-matcher::m.json\nfile: a\nat 3\nbad\nfile: a\nnope\nat 3\nbad",
			"| file: a\n| at 3\n| Error: bad\n= error a 3:0-0:0 \"bad\"\n| file: a\n| nope\n| at 3\n| bad\n"},
		{"a loop keeps what came before", map[string]string{"m.json": one("m", `{"regexp":"^(\\S+)$","code":1}`, `{"regexp":"^  (\\d+) (.+)$","line":1,"message":2,"loop":true}`)},
			"::add-matcher::m.json\nabc\n  1 x\n  2 y\n\n  3 z\nd\n  4 w",
			"| abc\n| Error:   1 x\n= error 1:0-0:0 [abc] \"x\"\n| Error:   2 y\n= error 2:0-0:0 [abc] \"y\"\n| \n|   3 z\n| d\n| Error:   4 w\n= error 4:0-0:0 [d] \"w\"\n"},
		{"a line that breaks a loop begins anew", map[string]string{"m.json": one("m", `{"regexp":"^(.+)$","code":1}`, `{"regexp":"^(.+)$","severity":1}`, `{"regexp":"^message:(.+)$","message":1,"loop":true}`)},
			"::add-matcher::m.json\none\nerror\nmessage:a\nmessage:b\ntwo\nwarning\nmessage:c",
			"| one\n| error\n| Error: message:a\n= error [one] \"a\"\n| Error: message:b\n= error [one] \"b\"\n| two\n| warning\n| Warning: message:c\n= warning [two] \"c\"\n"},
		{"a match resets the other matchers", map[string]string{
			"1.json": one("m1", `{"regexp":"^both: .+"}`, `{"regexp":"^only 1: (.+)","message":1}`),
			"2.json": one("m2", `{"regexp":"^both: .+"}`, `{"regexp":"(.+)","message":1}`)},
			"::add-matcher::2.json\n::add-matcher::1.json\nboth: x\nonly 1: broke\nplain\nboth: y\nother",
			"| both: x\n| Error: only 1: broke\n= error \"broke\"\n| plain\n| both: y\n| Error: other\n= error \"other\"\n"},
		{"the newest comes first and replaces its owner", map[string]string{
			"1.json": one("m1", `{"regexp":"ERR: (.+)","message":1}`),
			"2.json": one("m2", `{"regexp":"ERR: (.+) END","message":1}`),
			"3.json": one("M1", `{"regexp":"BAD: (.+)","message":1}`)},
			"::add-matcher::1.json\n::add-matcher::2.json\nERR: a END\nERR: b\n::add-matcher::3.json\nERR: c\nBAD: d",
			"| Error: ERR: a END\n= error \"a\"\n| Error: ERR: b\n= error \"b\"\n| ERR: c\n| Error: BAD: d\n= error \"d\"\n"},
		{"removed", map[string]string{"1.json": one("m1", `{"regexp":"ERR: (.+)","message":1}`), "2.json": one("m2", `{"regexp":"BAD: (.+)","message":1}`)},
			"::add-matcher::1.json\n::add-matcher::2.json\n::remove-matcher owner=M1::\nERR: a\nBAD: b\n::remove-matcher::2.json\nBAD: c",
			"| ERR: a\n| Error: BAD: b\n= error \"b\"\n| BAD: c\n"},
		{"a message of white space is none", map[string]string{"m.json": one("m", `{"regexp":"^a(.*)$","message":1}`)}, "::add-matcher::m.json\na \nab", "| a \n| Error: ab\n= error \"b\"\n"},
		{"commands are not matched, text that looks like them is", map[string]string{"m.json": one("m", `{"regexp":"BAD(.+)","message":1}`)},
			"::add-matcher::m.json\n::debug::BAD1\n::foo::BAD2\n::stop-commands::t\n::debug::BAD3\n::t::",
			"| Error: ::foo::BAD2\n= error \"2\"\n| ::stop-commands::t\n| Error: ::debug::BAD3\n= error \"3\"\n| ::t::\n"},
		{"comments, commas, byte order mark", map[string]string{"m.json": "\ufeff// a // b\n{/* \n */ \"problemMatcher\": [{\"owner\": \"//m\", \"PATTERN\": [{\"regexp\": \"^a,]\\\"(.+)\", \"message\": \"1\", },],},],}"},
			"::add-matcher::m.json\na,]\"b", "| Error: a,]\"b\n= error \"b\"\n"},
		{"end of the place", map[string]string{"m.json": one("m", `{"regexp":"^(\\d+):(\\d+)-(\\d+):(\\d+) (.+)","line":1,"column":2,"endLine":3,"endColumn":4,"message":5}`)},
			"::add-matcher::m.json\n1:2-3:4 x", "| Error: 1:2-3:4 x\n= error 1:2-3:4 \"x\"\n"},
		{"an empty file adds nothing", map[string]string{"m.json": "{}"}, "::add-matcher::m.json\nx", "| x\n"},
		{"no name", nil, "::add-matcher::", "| Warning: ::add-matcher:: needs the name of a file.\n= warning \"::add-matcher:: needs the name of a file.\"\n"},
		{"missing", nil, "::add-matcher::no.json", "| Error: ::add-matcher:: no.json does not exist\n= error \"::add-matcher:: no.json does not exist\", FAIL\n"},
		{"not a file", map[string]string{"d/x": ""}, "::add-matcher::d", "| Error: ::add-matcher:: d is not a file\n= error \"::add-matcher:: d is not a file\", FAIL\n"},
		{"broken", map[string]string{"m.json": "{\n  \"problemMatcher\": [}]\n}"}, "::add-matcher::m.json",
			"| Error: ::add-matcher:: m.json:2:22: invalid character '}' looking for beginning of value\n= error \"::add-matcher:: m.json:2:22: invalid character '}' looking for beginning of value\", FAIL\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, l := withMatchers(t, test.files)
			if got := conversation(l, test.in); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestMatcherFiles(t *testing.T) {
	t.Parallel()
	const message = `{"regexp":"(.+)","message":1}`
	for _, test := range []struct{ text, err string }{
		{one("m", message), ""},
		{one("m", `{"regexp":"(.+)"}`, message), ""},
		{one("m", `{"regexp":"(.+)","file":1}`, `{"regexp":"(.+)","message":1,"loop":true}`), ""},
		{one("m", `{"regexp":"(.+)","message":0}`), ""},
		{one("", message), `: matcher 1 (""): it has no owner`},
		{one("m"), `: matcher 1 ("m"): it has no pattern`},
		{`{"problemMatcher":[{"owner":"m","severity":"bad","pattern":[` + message + `]}]}`, `: matcher 1 ("m"): the severity "bad" is not error, warning or notice`},
		{`{"problemMatcher":[{"owner":"m","pattern":[` + message + `]},{"owner":"M","pattern":[` + message + `]}]}`, `: matcher 2: the owner "M" is there twice`},
		{one("m", `{"regexp":"(.+)","file":1}`), `: matcher 1 ("m"): no pattern has a message`},
		{one("m", `{"regexp":"(.+)","message":1,"loop":true}`), `: matcher 1 ("m"): pattern 1: only the last of several patterns may loop`},
		{one("m", `{"regexp":"(.+)"}`, `{"regexp":"(.+)","message":1,"loop":true}`, `{"regexp":"x"}`), `: matcher 1 ("m"): pattern 2: only the last of several patterns may loop`},
		{one("m", message, `{"regexp":"(.+)","file":1,"loop":true}`), `: matcher 1 ("m"): pattern 2: a pattern that loops must have the message`},
		{one("m", `{"regexp":"(.+)","file":1}`, `{"regexp":"(.+)","file":1,"message":1}`), `: matcher 1 ("m"): pattern 2: "file" is there twice`},
		{one("m", `{"regexp":"(.+)","message":2}`), `: matcher 1 ("m"): pattern 1: "message" is group 2, but the regexp has the groups 0 to 1`},
		{one("m", `{"regexp":"(.+)","message":-1}`), `: matcher 1 ("m"): pattern 1: "message" is group -1, but the regexp has the groups 0 to 1`},
		{one("m", `{"regexp":"(","message":0}`), ": matcher 1 (\"m\"): pattern 1: regexp: error parsing regexp: missing closing ) in `(`"},
		{one("m", `{"regexp":"`+strings.Repeat("a", maxRegexp+1)+`","message":0}`), `: matcher 1 ("m"): pattern 1: the regexp is longer than 8192 bytes`},
		{one("m", strings.TrimSuffix(strings.Repeat(`{"regexp":"x"},`, maxPatterns+1), ",")), `: matcher 1 ("m"): it has more than 64 patterns`},
		{"{\n\"problemMatcher\": [\n {\"owner\": 3}]}", ":3:12: json: cannot unmarshal number into Go struct field matcherConfig.problemMatcher.owner of type string"},
		{`{"problemMatcher":[{"owner":"m","pattern":[{"line":"x"}]}]}`, `: "x" is not a whole number`},
		{"", ":1:1: unexpected end of JSON input"},
	} {
		_, err := parseMatchers([]byte(test.text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.err {
			t.Errorf("%.200s\n got %s\nwant %s", test.text, got, test.err)
		}
	}
}

// TestNeeded checks what is looked for before a pattern is tried.
func TestNeeded(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		`^\s*(\.{0,2}[\/\\].+\.go):(?:(\d+):(\d+):)? (.*)$`: ".go:",
		`(error|warning)\s+TS(\d+)`:                         "TS",
		`^(a|b)$`:                                           "",
		`abc|abd`:                                           "ab", // Go factors it: ab[cd]
		`(?i)abc`:                                           "",
		`x(ab)+y`:                                           "ab",
		`x(ab)*yz`:                                          "yz",
		`x(?=y)`:                                            "",
		`^über: (.+)$`:                                      "über: ",
		``:                                                  "",
	} {
		if got := string(needed(expr)); got != want {
			t.Errorf("%s needs %q, want %q", expr, got, want)
		}
	}
}

func TestMatchersBelongToTheJob(t *testing.T) {
	t.Parallel()
	j, a := withMatchers(t, map[string]string{"m.json": one("m", `{"regexp":"^begin$"}`, `{"regexp":"^bad (.+)$","message":1}`)})
	conversation(a, "::add-matcher::m.json\nbegin")
	b := listen(t, j, nil) // a later step knows the matcher, but not the line before
	if got, want := conversation(b, "bad 1\nbegin\nbad 2"), "| bad 1\n| begin\n| Error: bad 2\n= error \"2\"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	conversation(b, "::remove-matcher owner=m::")
	if got, want := conversation(a, "begin\nbad 3"), "| begin\n| bad 3\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTooManyMatchers(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range maxMatchers + 1 {
		list = append(list, fmt.Sprintf(`{"owner":"m%d","pattern":[{"regexp":"x","message":0}]}`, i))
	}
	_, l := withMatchers(t, map[string]string{"m.json": `{"problemMatcher":[` + strings.Join(list, ",") + `]}`})
	if _, said := l.Line([]byte("::add-matcher::m.json")); said == nil || said.Fail == "" {
		t.Error("too many matchers were taken")
	}
	if got := conversation(l, "x"); got != "| x\n" {
		t.Error(got)
	}
}

// TestHostileMatcher: a pattern that needs exponential time is dropped, and
// the others go on.
func TestHostileMatcher(t *testing.T) {
	t.Parallel()
	j, l := withMatchers(t, nil)
	list, err := parseMatchers([]byte(`{"problemMatcher":[{"owner":"slow","pattern":[{"regexp":"^(a+)+$","message":1}]},{"owner":"m","pattern":[{"regexp":"a!(.*)","message":1}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	list[0].patterns[0].re.MatchTimeout = 10 * time.Millisecond
	j.add(list)
	got := conversation(l, strings.Repeat("a", 100)+"!x\naaa\na!y")
	want := "| Warning: The problem matcher \"slow\" is not used any more: it took longer than 1s to look at one line.\n| Error: " + strings.Repeat("a", 100) +
		"!x\n= warning \"The problem matcher \\\"slow\\\" is not used any more: it took longer than 1s to look at one line.\", error \"x\"\n| aaa\n| Error: a!y\n= error \"y\"\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
