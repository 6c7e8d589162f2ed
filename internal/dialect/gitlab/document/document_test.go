package document

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestScalars(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"a": "a", `"1"`: "1", "'yes'": "yes", "~": nil, "": nil, "null": nil, "NULL": nil, "nullify": "nullify",
		"yes": true, "On": true, "no": false, "OFF": false, "true": true, "y": "y",
		"1": int64(1), "-12": int64(-12), "+3": int64(3), "1_000": int64(1000), "1,000": int64(1000), "010": int64(8), "0o17": int64(15), "0x1F": int64(31), "0b101": int64(5), "09": "09",
		"12345678901234567890123": "12345678901234567890123", "1.5": 1.5, "1.": 1.0, ".5": 0.5, "1e3": 1000.0, "1.2.3": "1.2.3", "1.10": 1.1, ".": ".", "3.14rc1": "3.14rc1",
		"12:30": int64(750), "1:02:03": int64(3723), "12:75": "12:75", "2024-01-02": "2024-01-02",
		"!!str 1": "1", "!!int 1": int64(1),
	} {
		_, body, problems := Parse("f", []byte("v: "+text+"\n"))
		if len(problems) > 0 {
			t.Errorf("%q: %v", text, problems)
			continue
		}
		if got := body.Get("v").Value; got != want {
			t.Errorf("%q is %#v, want %#v", text, got, want)
		}
	}
	for text, want := range map[string]string{"1.10": "1.1", "1.0": "1.0", "1e20": "1.0e+20", "1.5e-7": "1.5e-07", ".inf": "Infinity", "yes": "true", "010": "8", "3": "3"} {
		_, body, _ := Parse("f", []byte("v: "+text+"\n"))
		if got, _ := body.Get("v").Text(); got != want {
			t.Errorf("%q reads as %q, want %q", text, got, want)
		}
	}
}

// load loads .gitlab-ci.yml of a tree of files, and gives what came of it as
// JSON and the problems as lines.
func load(t *testing.T, files map[string]string, o Options) (string, []string, *Document) {
	t.Helper()
	tree := fstest.MapFS{}
	for name, body := range files {
		tree[name] = &fstest.MapFile{Data: []byte(body)}
	}
	o.Tree.FS, o.File = tree, "ci.yml"
	d := Load(t.Context(), o)
	var problems []string
	for _, p := range d.Problems {
		problems = append(problems, fmt.Sprintf("%s:%d:%d %s: %s", p.File, p.Line, p.Col, p.Rule, p.Message))
	}
	return Plain(d.Root), problems, d
}

func TestTrees(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		says  []string // parts of the problems, in order
	}{
		"anchors and merge keys": {
			files: map[string]string{"ci.yml": "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {b: 3, <<: *x}\nl: {<<: [*x, {b: 4, c: 5}]}\n"},
			want:  `{"l":{"a":1,"b":2,"c":5},"x":{"a":1,"b":2},"y":{"a":1,"b":3},"z":{"a":1,"b":2}}`,
		},
		"a key twice": {
			files: map[string]string{"ci.yml": "a: 1\nb: 2\na: 3\n"}, want: `{"a":3,"b":2}`, says: []string{"ci.yml:3:1 duplicate: the key a stands here a second time; what line 1"},
		},
		"an empty file": {files: map[string]string{"ci.yml": "# nothing\n"}, want: `{}`},
		"a list":        {files: map[string]string{"ci.yml": "- a\n"}, want: "", says: []string{"ci.yml:1:1 syntax: the file holds a list"}},
		"bad YAML":      {files: map[string]string{"ci.yml": "a: [\n"}, want: "", says: []string{"syntax: not valid YAML"}},
		"an alias inside itself": {
			files: map[string]string{"ci.yml": "a: &a [*a]\n"}, want: "", says: []string{"ci.yml:1:8 syntax: the alias a stands inside"},
		},
		"extends": {
			files: map[string]string{"ci.yml": ".a: {script: [a], variables: {A: 1, B: 1}}\n.b: {extends: .a, script: [b], variables: {B: 2}}\nj: {extends: .b, variables: {C: 3}, image: null}\n"},
			want:  `{".a":{"script":["a"],"variables":{"A":1,"B":1}},".b":{"extends":".a","script":["b"],"variables":{"A":1,"B":2}},"j":{"extends":".b","image":null,"script":["b"],"variables":{"A":1,"B":2,"C":3}}}`,
		},
		"extends several": {
			files: map[string]string{"ci.yml": ".a: {x: 1, y: 1}\n.b: {y: 2, z: 2}\nj: {extends: [.a, .b], z: 3}\n"},
			want:  `{".a":{"x":1,"y":1},".b":{"y":2,"z":2},"j":{"extends":[".a",".b"],"x":1,"y":2,"z":3}}`,
		},
		"extends itself": {
			files: map[string]string{"ci.yml": "a: {extends: b}\nb: {extends: a}\n"}, want: `{"a":{"extends":"b"},"b":{"extends":"a"}}`,
			says: []string{"ci.yml:1:14 extends: a extends itself: a → b → a"},
		},
		"extends what is not there": {
			files: map[string]string{"ci.yml": ".base: {x: 1}\nj: {extends: .bas}\n"}, want: `{".base":{"x":1},"j":{"extends":".bas"}}`,
			says: []string{"ci.yml:2:14 extends: j extends .bas, which is not there"},
		},
		"references": {
			files: map[string]string{"ci.yml": ".s: {script: [a, b], rules: [{if: x}], variables: {V: 1}}\nj:\n  script: [!reference [.s, script], c]\n  rules: !reference [.s, rules]\n  variables: {W: !reference [.s, variables, V]}\n"},
			want:  `{".s":{"rules":[{"if":"x"}],"script":["a","b"],"variables":{"V":1}},"j":{"rules":[{"if":"x"}],"script":[["a","b"],"c"],"variables":{"W":1}}}`,
		},
		"references to references, and past extends": {
			files: map[string]string{"ci.yml": ".a: {script: [a]}\n.b: {extends: .a, after: !reference [.a, script]}\nj: {script: !reference [.b, script], after: !reference [.b, after]}\n"},
			want:  `{".a":{"script":["a"]},".b":{"after":["a"],"extends":".a","script":["a"]},"j":{"after":["a"],"script":["a"]}}`,
		},
		"a reference to itself": {
			files: map[string]string{"ci.yml": "a: {s: [!reference [a, s]]}\n"}, want: `{"a":{"s":[[null]]}}`, says: []string{"ci.yml:1:9 reference: !reference [a, s] leads back to itself"},
		},
		"a reference to nothing": {
			files: map[string]string{"ci.yml": "a: {s: !reference [b, s]}\n"}, want: `{"a":{"s":null}}`, says: []string{"ci.yml:1:8 reference: !reference [b, s] leads to nothing: there is no b"},
		},
		"includes in order": {
			files: map[string]string{"ci.yml": "include: [one.yml, {local: /two.yml}]\nj: {c: main}\n", "one.yml": "j: {a: one, b: one, c: one}\nl: [1]\n", "two.yml": "j: {b: two}\nl: [2]\n"},
			want:  `{"j":{"a":"one","b":"two","c":"main"},"l":[2]}`,
		},
		"includes of includes": {
			files: map[string]string{"ci.yml": "include: a/one.yml\n", "a/one.yml": "include: {local: two.yml}\nx: 1\n", "two.yml": "x: 2\ny: 2\n"}, want: `{"x":1,"y":2}`,
		},
		"includes by pattern": {
			files: map[string]string{"ci.yml": "include: {local: 'ci/**/*.yml'}\n", "ci/a.yml": "a: 1\n", "ci/b/c.yml": "c: 1\n", "ci/b/d.txt": "d: 1\n", "e.yml": "e: 1\n"}, want: `{"a":1,"c":1}`,
		},
		"includes one level by pattern": {
			files: map[string]string{"ci.yml": "include: 'ci/*.yml'\n", "ci/a.yml": "a: 1\n", "ci/b/c.yml": "c: 1\n"}, want: `{"a":1}`,
		},
		"an include that is not there": {
			files: map[string]string{"ci.yml": "include: no.yml\nj: {extends: .there}\n"}, want: `{"j":{"extends":".there"}}`,
			says: []string{"ci.yml:1:10 include: the included file no.yml cannot be read: there is no such file", "ci.yml:2:14 extends: j extends .there, which is not there; an include that could not be had may define it"},
		},
		"an include that leads out":   {files: map[string]string{"ci.yml": "include: ../x.yml\n"}, want: `{}`, says: []string{"leads out of the repository"}},
		"an include of no YAML":       {files: map[string]string{"ci.yml": "include: x.txt\n", "x.txt": ""}, want: `{}`, says: []string{"does not end in .yml"}},
		"an include with another key": {files: map[string]string{"ci.yml": "include: {locla: x.yml}\n"}, want: `{}`, says: []string{"needs exactly one of", "an include has no key locla"}},
		"includes in a circle":        {files: map[string]string{"ci.yml": "include: a.yml\nx: 1\n", "a.yml": "include: a.yml\n"}, want: `{"x":1}`, says: []string{"more than 150 files"}},
		"inputs": {
			files: map[string]string{
				"ci.yml": "include: {local: t.yml, inputs: {name: test, list: [1, 2], on: true, n: 3}}\n",
				"t.yml":  "spec: {inputs: {name: {}, list: {type: array}, on: {type: boolean}, n: {type: number}, d: {default: 'a b'}}}\n---\n$[[ inputs.name ]]-job:\n  l: $[[ inputs.list ]]\n  on: $[[inputs.on]]\n  t: '$[[ inputs.n ]] of $[[ inputs.d ]]'\n  f: $[[ inputs.d | posix_escape ]]\n  u: $[[ inputs.d | truncate(0,1) ]]\n  s: \"$[[ inputs.d | split(' ') ]]\"\n  i: $[[ inputs.list[1] ]]\n",
			},
			want: `{"test-job":{"f":"a\\ b","i":2,"l":[1,2],"on":true,"s":["a","b"],"t":"3 of a b","u":"a"}}`,
		},
		"an input that must be given": {
			files: map[string]string{"ci.yml": "include: t.yml\n", "t.yml": "spec: {inputs: {a: }}\n---\nx: $[[ inputs.a ]]\n"}, want: `{"x":"$[[ inputs.a ]]"}`,
			says: []string{"ci.yml:1:10 inputs: the input a has no default and must be given"},
		},
		"inputs that do not fit": {
			files: map[string]string{"ci.yml": "include: {local: t.yml, inputs: {a: 1, b: x, c: z, d: q, e: 1}}\n", "t.yml": "spec: {inputs: {a: {}, b: {type: number}, c: {options: [x, y]}, d: {regex: '^p'}}}\n---\nx: 1\n"}, want: `{"x":1}`,
			says: []string{"the input a must be of type string, and is a number", "the input b must be of type number", "the input c may not be z", "the input d is q and does not match", "there is no input e"},
		},
		"inputs without a header": {
			files: map[string]string{"ci.yml": "include: {local: t.yml, inputs: {a: 1}}\n", "t.yml": "x: $[[ inputs.a ]]\n"}, want: `{"x":"$[[ inputs.a ]]"}`, says: []string{"has no spec:inputs"},
		},
		"an unknown input": {
			files: map[string]string{"ci.yml": "include: t.yml\n", "t.yml": "spec: {inputs: {name: {default: x}}}\n---\nx: $[[ inputs.nam ]]\ny: $[[ inputs.name | shout ]]\n"}, want: `{"x":"$[[ inputs.nam ]]","y":"$[[ inputs.name | shout ]]"}`,
			says: []string{"t.yml:3:4 inputs: there is no input nam", "t.yml:4:4 inputs: there is no function shout"},
		},
		"inputs whose rules decide": {
			files: map[string]string{"ci.yml": "include: {local: t.yml, inputs: {env: prod}}\n", "t.yml": "spec:\n  inputs:\n    env: {default: dev}\n    size:\n      rules:\n        - {if: '$[[ inputs.env ]] == \"prod\"', default: big, options: [big, huge]}\n        - {default: small, options: [small]}\n---\nx: $[[ inputs.size ]]\n"},
			want:  `{"x":"big"}`,
		},
		"an input put in is not read again": {
			files: map[string]string{"ci.yml": "include: {local: t.yml, inputs: {a: '$[[ inputs.b ]]'}}\n", "t.yml": "spec: {inputs: {a: , b: {default: secret}}}\n---\nx: $[[ inputs.a ]]\n"}, want: `{"x":"$[[ inputs.b ]]"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems, _ := load(t, c.files, Options{Judge: func(cond string) bool { return cond == `"prod" == "prod"` }})
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if len(problems) != len(c.says) {
				t.Fatalf("problems %q, want %d", problems, len(c.says))
			}
			for i, part := range c.says {
				if !strings.Contains(problems[i], part) {
					t.Errorf("problem %q does not say %q", problems[i], part)
				}
			}
		})
	}
}

// elsewhere has one project, one remote file and the templates.
type elsewhere struct{ files fstest.MapFS }

func (e elsewhere) Project(_ context.Context, project, ref string) (Origin, error) {
	if project != "group/ci" {
		return Origin{}, errors.New("the server cannot be reached")
	}
	return Origin{FS: e.files, Name: project + "@" + ref + ":", Project: project, Ref: ref, Commit: "c0ffee"}, nil
}

func (e elsewhere) Component(ctx context.Context, project, version string) (Origin, error) {
	return e.Project(ctx, project, version)
}

func (e elsewhere) Remote(_ context.Context, url string) ([]byte, error) {
	if url != "https://host/x.yml" {
		return nil, errors.New("the server cannot be reached")
	}
	return []byte("remote: 1\n"), nil
}

func (e elsewhere) Template(context.Context) (Origin, error) {
	return Origin{FS: e.files, Name: "template:"}, nil
}

func TestElsewhere(t *testing.T) {
	t.Parallel()
	other := elsewhere{fstest.MapFS{
		"a.yml":                    {Data: []byte("include: {local: /inner.yml}\na: 1\n")},
		"inner.yml":                {Data: []byte("inner: 1\n")},
		"templates/lint.yml":       {Data: []byte("spec: {inputs: {n: {default: l}}, component: [name, version]}\n---\n$[[ inputs.n ]]: $[[ component.name ]] $[[ component.version ]]\n")},
		"templates/t/template.yml": {Data: []byte("t: 1\n")},
		"Auto.gitlab-ci.yml":       {Data: []byte("auto: 1\n")},
	}}
	for name, c := range map[string]struct {
		include, want string
		gone          []string
	}{
		"a project":                {"{project: group/ci, ref: v1, file: [/a.yml]}", `{"a":1,"inner":1}`, nil},
		"with a variable":          {"{project: $WHERE, ref: v1, file: inner.yml}", `{"inner":1}`, nil},
		"a file it has not":        {"{project: group/ci, ref: v1, file: [inner.yml, b.yml]}", `{"inner":1}`, []string{"group/ci@v1:b.yml"}},
		"a project out of reach":   {"{project: group/secret, file: [x.yml, y.yml]}", `{}`, []string{"group/secret:x.yml", "group/secret:y.yml"}},
		"a remote file":            {"https://host/x.yml", `{"remote":1}`, nil},
		"one out of reach":         {"{remote: 'https://host/y.yml'}", `{}`, []string{"https://host/y.yml"}},
		"a template":               {"{template: Auto.gitlab-ci.yml}", `{"auto":1}`, nil},
		"a template it has not":    {"{template: Other.gitlab-ci.yml}", `{}`, []string{"template:Other.gitlab-ci.yml"}},
		"a component":              {"{component: host/group/ci/lint@1.2, inputs: {n: x}}", `{"x":"lint 1.2"}`, nil},
		"a component's directory":  {"{component: host/group/ci/t@1.2}", `{"t":1}`, nil},
		"a component out of reach": {"{component: host/other/ci/lint@1.2}", `{}`, []string{"host/other/ci/lint@1.2"}},
		"the digest fits":          {"{remote: 'https://host/x.yml', integrity: 'sha256-CWY5QP/J5Zr/O/CXUKV52N21ocGQXaBtLcUiEYAphAI='}", `{"remote":1}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems, d := load(t, map[string]string{"ci.yml": "include: " + c.include + "\n"}, Options{Loader: other, Expand: func(s string) string { return strings.ReplaceAll(s, "$WHERE", "group/ci") }})
			if got != c.want {
				t.Errorf("got %s, want %s (%q)", got, c.want, problems)
			}
			if fmt.Sprint(d.Gone) != fmt.Sprint(c.gone) {
				t.Errorf("gone %q, want %q", d.Gone, c.gone)
			}
			if plan.Errors(d.Problems) {
				t.Errorf("errors: %q", problems)
			}
			if len(c.gone) != len(problems) {
				t.Errorf("problems %q, want one for each include that is gone", problems)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for _, c := range "bcdefgh" {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	var doubling strings.Builder
	doubling.WriteString(".a0: {v: [x]}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&doubling, ".a%d: {v: [!reference [.a%d, v], !reference [.a%d, v]]}\n", i, i-1, i-1)
	}
	for name, text := range map[string]string{
		"aliases":    bomb,
		"depth":      strings.Repeat("[", 500),
		"size":       strings.Repeat("#", maxFileSize+1),
		"references": doubling.String(),
		"blocks":     "spec: {inputs: {a: {default: x}}}\n---\nv: '" + strings.Repeat("$[[ inputs.a ]]", maxBlocks+10) + "'\n",
	} {
		_, problems, _ := load(t, map[string]string{"ci.yml": text}, Options{})
		if len(problems) == 0 || len(problems) > maxProblems {
			t.Errorf("%s: %d problems", name, len(problems))
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("a: &a {b: [1]}\nc: {<<: *a, d: !reference [a, b]}\ne: {extends: [a, c]}\n", "x: 1\n")
	f.Add("include: [o.yml, {local: '*.yml', inputs: {a: 1}}]\n", "spec: {inputs: {a: {type: number}}}\n---\nb: $[[ inputs.a | truncate(0,1) ]]\n")
	f.Add("a: !reference [a]\n", "---\n---\n---\n")
	f.Fuzz(func(t *testing.T, one, two string) {
		tree := fstest.MapFS{"ci.yml": {Data: []byte(one)}, "o.yml": {Data: []byte(two)}}
		d := Load(context.Background(), Options{Tree: Origin{FS: tree}, File: "ci.yml", Judge: func(string) bool { return true }})
		if d.Root == nil && len(d.Problems) == 0 {
			t.Fatal("nothing came of it, and nobody says why")
		}
		for _, p := range d.Problems {
			if p.Message == "" || p.Rule == "" || p.File == "" {
				t.Fatalf("a problem that says nothing: %#v", p)
			}
		}
	})
}

func FuzzInterpolate(f *testing.F) {
	f.Add("$[[ inputs.a | split(',') ]]", "x,y")
	f.Add("a $[[inputs.a[0].b|truncate(1,2)|posix_escape]] b", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		n, problems := Interpolate(NewText(text, plan.Source{File: "f"}), Values{Inputs: map[string]*Node{"a": NewText(value, plan.Source{File: "f"})}})
		if n == nil || len(problems) > maxProblems {
			t.Fatalf("%q: %v", text, problems)
		}
	})
}

var _ fs.FS = Nowhere{}
