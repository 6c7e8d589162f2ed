package protocol

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// newJob is a job with a temporary directory and a workspace of its own.
func newJob(t testing.TB, opt Options) *Job {
	t.Helper()
	if opt.Temp == "" {
		opt.Temp = t.TempDir()
	}
	if opt.Workspace == "" {
		opt.Workspace = t.TempDir()
	}
	j := NewJob(opt)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func listen(t testing.TB, j *Job, env map[string]string) dialect.Listener {
	t.Helper()
	l, err := j.Listen(ListenOptions{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// conversation feeds lines and renders the answers: what is shown, each line
// after "| ", and what was meant, after "= ".
func conversation(l dialect.Listener, in string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(in, "\n"), "\n") {
		shown, said := l.Line([]byte(line))
		if shown != nil {
			for s := range strings.SplitSeq(string(shown), "\n") {
				fmt.Fprintf(&b, "| %s\n", s)
			}
		}
		if said != nil {
			fmt.Fprintf(&b, "= %s\n", meaning(*said))
		}
	}
	return b.String()
}

// meaning renders effects in one line.
func meaning(e plan.Effects) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	for _, s := range e.Env {
		add("env %s=%q", s.Name, s.Value)
	}
	if e.Path != nil {
		add("path %q", e.Path)
	}
	for _, s := range e.Outputs {
		add("output %s=%q", s.Name, s.Value)
	}
	for _, s := range e.State {
		add("state %s=%q", s.Name, s.Value)
	}
	for _, m := range e.Masks {
		add("mask %q", m)
	}
	for _, n := range e.Notes {
		s := string(n.Level)
		if n.File != "" {
			s += " " + n.File
		}
		if n.Line != 0 || n.Col != 0 || n.EndLine != 0 || n.EndCol != 0 {
			s += fmt.Sprintf(" %d:%d-%d:%d", n.Line, n.Col, n.EndLine, n.EndCol)
		}
		if n.Title != "" {
			s += fmt.Sprintf(" [%s]", n.Title)
		}
		add("%s %q", s, n.Message)
	}
	if e.Summary != nil {
		add("summary %q", e.Summary)
	}
	for _, a := range e.Artifacts {
		add("artifact %s %s %d %s", a.Name, a.Digest, a.Size, a.Path)
	}
	if e.Fail != "" {
		add("FAIL")
	}
	return strings.Join(parts, ", ")
}

func TestCommands(t *testing.T) {
	t.Parallel()
	const unsecure = "ACTIONS_ALLOW_UNSECURE_COMMANDS"
	for _, test := range []struct {
		name string
		opt  Options
		env  map[string]string
		in   string
		want string
	}{
		{name: "text", in: "hello\n\n::\n::x\n: :error::x\ncall ::error::x\n::std::vec::Vec\n::unknown::text\n##[section]a\n##[error\n##error]x",
			want: "| hello\n| \n| ::\n| ::x\n| : :error::x\n| call ::error::x\n| ::std::vec::Vec\n| ::unknown::text\n| ##[section]a\n| ##[error\n| ##error]x\n"},
		{name: "remarks", in: "::error::bad\n::warning::hm\n::notice::look",
			want: "| Error: bad\n= error \"bad\"\n| Warning: hm\n= warning \"hm\"\n| Notice: look\n= notice \"look\"\n"},
		{name: "names ignore case, white space may lead, CR may end", in: " \t\u00a0::ERROR::bad\n::eRRor FILE=a.go::x\r",
			want: "| Error: bad\n= error \"bad\"\n| Error: x\n= error a.go \"x\"\n"},
		{name: "places", in: "::error file=a.go,line=1,endLine=1,col=2,endColumn=3,title=T::m",
			want: "| Error: m\n= error a.go 1:2-1:3 [T] \"m\"\n"},
		{name: "an end stands in for a beginning", in: "::error endLine=4,endColumn=3::m", want: "| Error: m\n= error 4:3-4:3 \"m\"\n"},
		{name: "columns need a line", in: "::error col=4,endColumn=5::m", want: "| Error: m\n= error \"m\"\n"},
		{name: "columns need one line", in: "::error line=1,endLine=2,col=4::m", want: "| Error: m\n= error 1:0-2:0 \"m\"\n"},
		{name: "ends before beginnings void both", in: "::error line=5,endLine=2::m\n::error line=5,col=5,endColumn=2::m",
			want: "| Error: m\n= error \"m\"\n| Error: m\n= error 5:0-0:0 \"m\"\n"},
		{name: "bad numbers", in: "::error line=x,col=-1::m", want: "| Error: m\n= error \"m\"\n"},
		{name: "escapes", in: "::error title=a%3Ab%2Cc%25%0A::1%2C%25 %0a %0D%0A%253A", want: "| Error: 1%2C% %0a \r\n| %3A\n= error [a:b,c%\n] \"1%2C% %0a \\r\\n%3A\"\n"},
		{name: "odd properties", in: "::error =x,file==a.go=b,title=,,line::m", want: "| Error: m\n= error a.go=b \"m\"\n"},
		{name: "a space in a property name is part of it", in: "::error file=a.go, line=3::m", want: "| Error: m\n= error a.go \"m\"\n"},
		{name: "data may hold colons", in: "::error::a::b::c", want: "| Error: a::b::c\n= error \"a::b::c\"\n"},
		{name: "legacy", in: "some text ##[error file=a%3Bb.go;line=3]m%5D%3B,\n##[warning]w\n##[x]##[error]no",
			want: "| Error: m];,\n= error a;b.go 3:0-0:0 \"m];,\"\n| Warning: w\n= warning \"w\"\n| ##[x]##[error]no\n"},
		{name: "groups", in: "::group::Compile it\nx\n::endgroup::\n##[group]y\n##[endgroup]z\n::endgroup::ignored",
			want: "| ##[group]Compile it\n| x\n| ##[endgroup]\n| ##[group]y\n| ##[endgroup]\n| ##[endgroup]\n"},
		{name: "debug is not shown", in: "::debug::x"},
		{name: "debug", opt: Options{Debug: true}, in: "::debug::x%0Ay\n::group::g\n::echo::off\n::group::g",
			want: "| ##[debug]x\n| ##[debug]y\n| ::group::g\n| ##[group]g\n| ::echo::off\n| ##[group]g\n"},
		{name: "masks", in: "::add-mask::hunter2\n::add-mask::two%0Alines\n::add-mask::\n::add-mask:: ",
			want: "= mask \"hunter2\"\n= mask \"two\\nlines\"\n| Warning: ::add-mask:: without a value masks nothing.\n= warning \"::add-mask:: without a value masks nothing.\"\n" +
				"| Warning: ::add-mask:: without a value masks nothing.\n= warning \"::add-mask:: without a value masks nothing.\"\n"},
		{name: "echo", in: "::echo::on\n::add-mask::hunter2\n::error::x\n::remove-matcher owner=x::\n::echo::Off  \n::remove-matcher owner=x::",
			want: "| ::add-mask::***\n= mask \"hunter2\"\n| Error: x\n= error \"x\"\n| ::remove-matcher owner=x::\n| ::echo::Off  \n"},
		{name: "echo wants on or off", in: "::echo::maybe", want: "| Error: ::echo:: takes \"on\" or \"off\", not \"maybe\".\n= error \"::echo:: takes \\\"on\\\" or \\\"off\\\", not \\\"maybe\\\".\", FAIL\n"},
		{name: "stop-commands", in: "::stop-commands::tok\n::error::x\n##[error]x\n::other::\n::TOK::\n::error::y",
			want: "| ::stop-commands::tok\n| ::error::x\n| ##[error]x\n| ::other::\n| ::TOK::\n| Error: y\n= error \"y\"\n"},
		{name: "long stop tokens are masked", in: "::stop-commands::0123456\n##[0123456]", want: "| ::stop-commands::0123456\n= mask \"0123456\"\n| ##[0123456]\n"},
		{name: "bad stop tokens fail", in: "::stop-commands::\n::stop-commands::Pause-Logging\n::stop-commands::Error\n::error::x",
			want: strings.Repeat("| Error: ::stop-commands:: needs a token that is not empty, not \"pause-logging\" and not the name of a command: use a random one.\n"+
				"= error \"::stop-commands:: needs a token that is not empty, not \\\"pause-logging\\\" and not the name of a command: use a random one.\", FAIL\n", 3) +
				"| Error: x\n= error \"x\"\n"},
		{name: "bad stop tokens on demand", env: map[string]string{"ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS": "1"}, in: "::stop-commands::error\n::warning::x\n::error::\n::warning::y",
			want: "| ::stop-commands::error\n| ::warning::x\n| ::error::\n| Warning: y\n= warning \"y\"\n"},
		{name: "an empty stop token never ends", env: map[string]string{"ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS": "true"}, in: "::stop-commands::\n::::\n::error::y",
			want: "| ::stop-commands::\n| ::::\n| ::error::y\n"},
		{name: "set-output is deprecated but works", in: "::set-output name=a::1\n::set-output name=b::2%0A3\n::save-state name=c::4",
			want: "| Warning: ::set-output:: is deprecated: write NAME=VALUE to $GITHUB_OUTPUT.\n= output a=\"1\", warning \"::set-output:: is deprecated: write NAME=VALUE to $GITHUB_OUTPUT.\"\n" +
				"= output b=\"2\\n3\"\n" +
				"| Warning: ::save-state:: is deprecated: write NAME=VALUE to $GITHUB_STATE.\n= state c=\"4\", warning \"::save-state:: is deprecated: write NAME=VALUE to $GITHUB_STATE.\"\n"},
		{name: "set-output can be refused", opt: Options{RefuseLegacyOutput: true}, in: "::set-output name=a::1",
			want: "| Error: ::set-output:: is refused here: write NAME=VALUE to $GITHUB_OUTPUT.\n= error \"::set-output:: is refused here: write NAME=VALUE to $GITHUB_OUTPUT.\", FAIL\n"},
		{name: "set-env is disabled", in: "::set-env name=A::1",
			want: "| Error: ::set-env:: is disabled: write to $GITHUB_ENV, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true if nothing untrusted is ever printed.\n" +
				"= error \"::set-env:: is disabled: write to $GITHUB_ENV, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true if nothing untrusted is ever printed.\", FAIL\n"},
		{name: "set-env on demand", env: map[string]string{unsecure: " True "}, in: "::set-env name=A::1\n::set-env name=node_options::--require x\n::set-env::x",
			want: "= env A=\"1\"\n| Error: ::set-env:: may not set node_options.\n= error \"::set-env:: may not set node_options.\"\n" +
				"| Error: ::set-env:: needs a name: ::set-env name=NAME::VALUE.\n= error \"::set-env:: needs a name: ::set-env name=NAME::VALUE.\", FAIL\n"},
		{name: "1 does not allow set-env", env: map[string]string{unsecure: "1"}, in: "::add-path::/x",
			want: "| Error: ::add-path:: is disabled: write to $GITHUB_PATH, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true if nothing untrusted is ever printed.\n" +
				"= error \"::add-path:: is disabled: write to $GITHUB_PATH, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true if nothing untrusted is ever printed.\", FAIL\n"},
		{name: "remove-matcher wants one of two", in: "::remove-matcher::", want: "| Warning: ::remove-matcher:: needs either an owner or the name of a file.\n= warning \"::remove-matcher:: needs either an owner or the name of a file.\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := conversation(listen(t, newJob(t, test.opt), test.env), test.in)
			if got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestRemarkPathsAreRelative(t *testing.T) {
	t.Parallel()
	j := newJob(t, Options{Workspace: "/w/space"})
	l := listen(t, j, nil)
	for file, want := range map[string]string{
		"/w/space/a/b.go": "a/b.go", "/w/spacer/a.go": "/w/spacer/a.go", "a/b.go": "a/b.go",
		"/w/space/../x": "/w/space/../x", "/w/space": "/w/space",
	} {
		_, said := l.Line([]byte("::error file=" + file + "::m"))
		if got := said.Notes[0].File; got != want {
			t.Errorf("%s became %s, want %s", file, got, want)
		}
	}
}

func TestLimitsOfCommands(t *testing.T) {
	t.Parallel()
	l := listen(t, newJob(t, Options{}), nil)
	notes := 0
	for range maxNotes * 2 {
		shown, said := l.Line([]byte("::error::" + strings.Repeat("é", maxMessage)))
		if shown == nil {
			t.Fatal("a remark was not shown")
		}
		if said != nil {
			notes += len(said.Notes)
			if n := len(said.Notes[0].Message); n > maxMessage {
				t.Fatalf("a message of %d bytes", n)
			}
		}
	}
	if notes != maxNotes {
		t.Errorf("%d remarks, want %d", notes, maxNotes)
	}

	for command, limit := range map[string]int{"::add-mask::": maxMasked, "::set-output name=x::": maxSaid} {
		l = listen(t, newJob(t, Options{}), nil)
		value := []byte(command + strings.Repeat("x", 100<<10))
		fails, kept := 0, 0
		for range limit/len(value) + 10 {
			if _, said := l.Line(value); said != nil {
				kept += len(said.Masks) + len(said.Outputs)
				if said.Fail != "" {
					fails++
				}
			}
		}
		if fails != 1 || kept == 0 || kept*len(value) > limit+kept*len(command) {
			t.Errorf("%s: %d values were kept, with %d failures", command, kept, fails)
		}
	}
}

// TestStepsSideBySide listens to several steps of a job at once.
func TestStepsSideBySide(t *testing.T) {
	t.Parallel()
	j, first := withMatchers(t, map[string]string{"m.json": one("m", `{"regexp":"^bad (.+)$","message":1}`)})
	first.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				l, err := j.Listen(ListenOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				l.Line([]byte("::add-matcher::m.json"))
				l.Line([]byte("bad thing"))
				value := fmt.Sprintf("%d.%d", g, i)
				if err := os.WriteFile(l.Env()["GITHUB_OUTPUT"], []byte("v="+value), 0o600); err != nil {
					t.Error(err)
				}
				if e, err := l.Close(); err != nil || len(e.Outputs) != 1 || e.Outputs[0].Value != value {
					t.Errorf("step %s said %v, %v", value, e, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(j.idle); n > 9 {
		t.Errorf("%d sets of files for 8 steps at once", n)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	set := func(kv ...string) (s []plan.Setting) {
		for i := 0; i < len(kv); i += 2 {
			s = append(s, plan.Setting{Name: kv[i], Value: kv[i+1]})
		}
		return s
	}
	for _, test := range []struct {
		text string
		crlf bool
		want []plan.Setting
		err  string
	}{
		{text: ""},
		{text: "\n\n"},
		{text: "A=1", want: set("A", "1")},
		{text: "A=1\n\nB=\nC= x =y\n", want: set("A", "1", "B", "", "C", " x =y")},
		{text: "A==1\nB=x<<y\n", want: set("A", "=1", "B", "x<<y")},
		{text: "A<<EOF\none\n\n two\nEOF\nB=1\n", want: set("A", "one\n\n two", "B", "1")},
		{text: "A<<EOF\nEOF", want: set("A", "")},
		{text: "A<<EOF\n\nEOF", want: set("A", "")},
		{text: "A<<EOF\n\n\nEOF", want: set("A", "\n")},
		{text: "A<<=EOF\nx\n=EOF\nB<<<EOF\ny\n<EOF\nC<<E\n E\nE\n", want: set("A", "x", "B", "y", "C", " E")},
		{text: "A <<E\nx\nE\n", want: set("A ", "x")},
		{text: "A=1\r\n", want: set("A", "1\r")},
		{text: "A=1\r\n", crlf: true, want: set("A", "1")},
		{text: "A<<E\r\nx\r\ny\nE\r\n", crlf: true, want: set("A", "x\r\ny")},
		{text: "A<<E\nx\r\nE\n", want: set("A", "x\r")},
		{text: "A=1\nnonsense\nB=2", want: set("A", "1"), err: `line 2: "nonsense" is neither NAME=VALUE nor NAME<<DELIMITER.`},
		{text: "=1", err: `line 1: "=1" has no name.`},
		{text: "<<E\nE", err: `line 1: "<<E" has no name.`},
		{text: "A<<\n", err: `line 1: "A<<" has no delimiter after the <<.`},
		{text: "\nA<<E\nx\nEE\n E", err: `line 2: the value of A has no end: no line below is exactly "E".`},
		{text: "A<<E x E", err: `line 1: the value of A has no end: no line below is exactly "E x E".`},
		{text: strings.Repeat("A=\n", maxSettings+1), want: nil, err: `line 65537: there are more than 65536 settings.`},
	} {
		got, err := parseSettings(test.text, test.crlf)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != test.err || (test.want != nil || test.err == "") && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%.40q:\n got %.200q %q\nwant %.200q %q", test.text, got, message, test.want, test.err)
		}
	}
}

// TestFiles writes environment files and reads back what they meant.
func TestFiles(t *testing.T) {
	t.Parallel()
	replace := func(f func(path string) error) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := f(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(text string) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	sparse := func(size int64) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name, variable string
		act            func(testing.TB, string)
		want           string
	}{
		{"env", "GITHUB_ENV", write("A=1\nGITHUB_TOKEN=x\n"), `env A="1", env GITHUB_TOKEN="x"`},
		{"env blocked", "GITHUB_ENV", write("A=1\nNode_Options=x\nB=2"), `env A="1", env B="2", error "$GITHUB_ENV may not set Node_Options."`},
		{"env bad", "GITHUB_ENV", write("A=1\nx\nB=2"), `env A="1", error "$GITHUB_ENV line 2: \"x\" is neither NAME=VALUE nor NAME<<DELIMITER.", FAIL`},
		{"env NUL", "GITHUB_ENV", write("A=\x00"), `error "$GITHUB_ENV: \"A\" holds a NUL byte, which no environment can.", FAIL`},
		{"output", "GITHUB_OUTPUT", write("A=1\nA=2\n"), `output A="1", output A="2"`},
		{"output with BOM", "GITHUB_OUTPUT", write("\xef\xbb\xbfA=1"), `output A="1"`},
		{"output in UTF-16", "GITHUB_OUTPUT", write("\xff\xfeA\x00=\x00\xe9\x00\n\x00"), `output A="é"`},
		{"output not UTF-8", "GITHUB_OUTPUT", write("A=\xff"), `output A="` + "\uFFFD" + `"`},
		{"state", "GITHUB_STATE", write("A<<E\n1\nE\n"), `state A="1"`},
		{"path", "GITHUB_PATH", write("/a\r\n\n/b\n/a\n/c d"), `path ["/c d" "/a" "/b"]`},
		{"summary", "GITHUB_STEP_SUMMARY", write("# Hi\n"), `summary "# Hi\n"`},
		{"summary too large", "GITHUB_STEP_SUMMARY", sparse(maxSummary + 1), `error "$GITHUB_STEP_SUMMARY holds 1025 KiB; it may hold at most 1024 KiB"`},
		{"output too large", "GITHUB_OUTPUT", sparse(maxFile + 1), `error "$GITHUB_OUTPUT holds 65537 KiB; it may hold at most 65536 KiB", FAIL`},
		{"removed", "GITHUB_OUTPUT", replace(func(string) error { return nil }), ""},
		{"a directory", "GITHUB_OUTPUT", replace(func(p string) error { return os.MkdirAll(filepath.Join(p, "x"), 0o700) }),
			`error "$GITHUB_OUTPUT was replaced by a directory: append to the file, do not replace it", FAIL`},
		{"a link", "GITHUB_OUTPUT", replace(func(p string) error { return os.Symlink("/etc/hostname", p) }),
			`error "$GITHUB_OUTPUT was replaced by a symbolic link: append to the file, do not replace it", FAIL`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, Options{})
			l := listen(t, j, nil)
			test.act(t, l.Env()[test.variable])
			e, err := l.Close()
			if err != nil {
				t.Error(err)
			}
			if got := meaning(e); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			next := listen(t, j, nil)
			for variable, path := range next.Env() {
				fi, err := os.Lstat(path)
				if err != nil || !fi.Mode().IsRegular() || fi.Size() != 0 && variable != "GITHUB_ARTIFACTS_LIST" {
					t.Errorf("the next step's %s: %v, %v", variable, fi, err)
				}
			}
			if e, err := next.Close(); err != nil || meaning(e) != "" {
				t.Errorf("the next step said %q, %v", meaning(e), err)
			}
		})
	}
}

func TestListenersDoNotShareFiles(t *testing.T) {
	t.Parallel()
	j := newJob(t, Options{})
	a, b := listen(t, j, nil).Env(), listen(t, j, nil).Env()
	for _, f := range environmentFiles {
		if a[f.variable] == b[f.variable] {
			t.Errorf("two steps share %s", f.variable)
		}
		if _, err := os.Stat(a[f.variable]); err != nil {
			t.Error(err)
		}
	}
	l := listen(t, j, nil)
	before := l.Env()
	l.Close()
	after := listen(t, j, nil).Env()
	for variable, path := range before {
		if after[variable] == path {
			t.Errorf("the next step's %s has the same name", variable)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still where it was", variable)
		}
	}
}

func TestListIsMended(t *testing.T) {
	t.Parallel()
	j := newJob(t, Options{})
	for _, text := range []string{"", "nonsense"} {
		l := listen(t, j, nil)
		if err := os.WriteFile(l.Env()["GITHUB_ARTIFACTS_LIST"], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := l.Close(); err != nil || meaning(e) != "" {
			t.Errorf("%v, %v", e, err)
		}
	}
	b, err := os.ReadFile(listen(t, j, nil).Env()["GITHUB_ARTIFACTS_LIST"])
	if err != nil || string(b) != `{"version":1,"subjects":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestEmptiedTemp(t *testing.T) {
	t.Parallel()
	j := newJob(t, Options{})
	l := listen(t, j, nil)
	if err := os.RemoveAll(j.opt.Temp); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Close(); err != nil || meaning(e) != "" {
		t.Errorf("Close: %v, %v", e, err)
	}
	l = listen(t, j, nil)
	if err := os.WriteFile(l.Env()["GITHUB_OUTPUT"], []byte("a=1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Close(); err != nil || meaning(e) != `output a="1"` {
		t.Errorf("Close: %v, %v", e, err)
	}
}

func TestPathOrder(t *testing.T) {
	t.Parallel()
	l := listen(t, newJob(t, Options{AllowUnsecure: true}), nil)
	if got := conversation(l, "::add-path::/a\n::add-path::/b"); got != "" {
		t.Error(got)
	}
	if err := os.WriteFile(l.Env()["GITHUB_PATH"], []byte("/c\n/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := l.Close()
	if err != nil || meaning(e) != `path ["/a" "/c" "/b"]` {
		t.Errorf("%v %v", meaning(e), err)
	}
	if e, err := l.Close(); err != nil || meaning(e) != "" {
		t.Errorf("a second Close said %v %v", meaning(e), err)
	}
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	const sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	hex := strings.Repeat("aB", 32)
	image := "ghcr.io/o/i@sha256:" + hex
	for _, test := range []struct{ name, text, want string }{
		{"file", "# built\n\n  dist/app \nfile://dist/app\n", "artifact app " + sum + " 5 dist/app"},
		{"absolute", "WORKSPACE/dist/app", "artifact app " + sum + " 5 dist/app"},
		{"link to a file", "link", "artifact link " + sum + " 5 link"},
		{"image", image + "\nOCI://" + image, "artifact ghcr.io/o/i sha256:" + strings.ToLower(hex) + " 0 "},
		{"missing", "dist/app\nnope", `error "$GITHUB_ARTIFACTS line 2: \"nope\" does not exist (names are relative to the workspace).", FAIL`},
		{"directory", "dist", `error "$GITHUB_ARTIFACTS line 1: \"dist\" is a directory, not a file.", FAIL`},
		{"device", "/dev/null", `error "$GITHUB_ARTIFACTS line 1: \"/dev/null\" is a device or a socket, not a file.", FAIL`},
		{"reserved", "name=dist/app", `error "$GITHUB_ARTIFACTS line 1: a line may not hold \"=\".", FAIL`},
		{"scheme", "https://x/y", `error "$GITHUB_ARTIFACTS line 1: https:// is not known: a line is a file, or a container image with its digest.", FAIL`},
		{"no digest", "oci://x", `error "$GITHUB_ARTIFACTS line 1: oci:// needs a digest: @sha256:HEX.", FAIL`},
		{"short digest", "oci://x@sha512:ab", `error "$GITHUB_ARTIFACTS line 1: a sha512 digest has 128 hex digits, not 2.", FAIL`},
		{"short digest is a file name", "x@sha512:ab", `error "$GITHUB_ARTIFACTS line 1: \"x@sha512:ab\" does not exist (names are relative to the workspace).", FAIL`},
		{"conflict", "dist/app\nother/app", `error "$GITHUB_ARTIFACTS line 2: \"app\" was declared before with another digest (` + sum + `, now sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855).", artifact app ` + sum + ` 5 dist/app, FAIL`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := t.TempDir()
			for file, text := range map[string]string{"dist/app": "hello", "other/app": ""} {
				os.MkdirAll(filepath.Join(w, filepath.Dir(file)), 0o700)
				if err := os.WriteFile(filepath.Join(w, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("dist/app", filepath.Join(w, "link")); err != nil {
				t.Fatal(err)
			}
			l := listen(t, newJob(t, Options{Workspace: w}), nil)
			if err := os.WriteFile(l.Env()["GITHUB_ARTIFACTS"], []byte(strings.ReplaceAll(test.text, "WORKSPACE", w)), 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := l.Close()
			if err != nil {
				t.Error(err)
			}
			if got := meaning(e); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestArtifactsList(t *testing.T) {
	t.Parallel()
	j := newJob(t, Options{})
	list := func(l dialect.Listener) string {
		b, err := os.ReadFile(l.Env()["GITHUB_ARTIFACTS_LIST"])
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) {
			t.Errorf("not JSON: %s", b)
		}
		return string(b)
	}
	l := listen(t, j, nil)
	if got, want := list(l), `{"version":1,"subjects":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	digest := strings.Repeat("a", 64)
	if err := os.WriteFile(l.Env()["GITHUB_ARTIFACTS"], []byte("z@sha256:"+digest+"\na@sha256:"+digest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"version":1,"subjects":[{"name":"a","digest":"sha256:` + digest + `","kind":"oci"},{"name":"z","digest":"sha256:` + digest + `","kind":"oci"}]}`
	if got := list(listen(t, j, nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
