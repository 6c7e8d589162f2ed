package template

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// files are templates by key.
type files map[string]string

func (f files) load(r Reference) ([]byte, *plan.Problem) {
	if body, ok := f[r.Key()]; ok {
		return []byte(body), nil
	}
	return nil, &plan.Problem{Severity: plan.Error, Rule: "template", Message: "there is no " + r.Key()}
}

// expand expands a pipeline, and writes what it came to in one line.
func expand(f files, body string) (string, []plan.Problem) {
	root, problems := Parse("azure-pipelines.yml", []byte(body))
	if root == nil {
		return "", problems
	}
	x := Expander{Load: f.load, Variables: expression.NewObject("Build.Reason", "Manual")}
	out := x.Expand("azure-pipelines.yml", root)
	return write(out.Root), append(problems, out.Problems...)
}

func write(n *Node) string {
	switch {
	case n == nil:
		return "nil"
	case n.Kind == Sequence:
		var list []string
		for _, item := range n.Items {
			list = append(list, write(item))
		}
		return "[" + strings.Join(list, ", ") + "]"
	case n.Kind == Mapping:
		var list []string
		for _, f := range n.Fields {
			list = append(list, f.Key.Text+": "+write(f.Value))
		}
		return "{" + strings.Join(list, ", ") + "}"
	case n.Null:
		return "~"
	}
	return n.Text
}

func TestExpand(t *testing.T) {
	t.Parallel()
	templates := files{
		"t/steps.yml":     "parameters:\n- name: who\n  type: string\n- name: times\n  type: number\n  default: 2\nsteps:\n- script: hi ${{ parameters.who }} ${{ parameters.times }}\n- template: inner/two.yml\n",
		"t/inner/two.yml": "steps:\n- script: two\n- template: /root.yml\n",
		"root.yml":        "steps:\n- script: root\n",
		"old.yml":         "parameters:\n  a: 1\n  b: []\nsteps:\n- script: ${{ parameters.a }}${{ parameters.more }}\n- ${{ parameters.b }}\n",
		"vars.yml":        "variables:\n- name: v\n  value: from-template\n",
		"wrap.yml":        "parameters:\n- name: steps\n  type: stepList\n  default: []\njobs:\n- job: J\n  steps:\n  - script: before\n  - ${{ each s in parameters.steps }}:\n    - ${{ each pair in s }}:\n        ${{ pair.key }}: ${{ pair.value }}\n",
		"extend.yml":      "parameters:\n- name: on\n  type: boolean\nstages:\n- ${{ if parameters.on }}:\n  - stage: S\n",
		"far.yml@lib":     "steps:\n- script: far\n- template: near.yml\n",
		"near.yml@lib":    "steps:\n- script: near\n",
	}
	for name, c := range map[string]struct{ body, want string }{
		"nothing to do":        {"steps:\n- script: a", "{steps: [{script: a}]}"},
		"if in a list":         {"steps:\n- ${{ if eq(1, 1) }}:\n  - a: 1\n- ${{ else }}:\n  - a: 2", "{steps: [{a: 1}]}"},
		"elseif":               {"steps:\n- ${{ if false }}:\n  - a: 1\n- ${{ elseif true }}:\n  - a: 2\n- ${{ else }}:\n  - a: 3", "{steps: [{a: 2}]}"},
		"if in a mapping":      {"pool:\n  ${{ if false }}:\n    a: 1\n  ${{ else }}:\n    b: 2\n  c: 3\nsteps: []", "{pool: {b: 2, c: 3}, steps: []}"},
		"each over a list":     {"steps:\n- ${{ each x in split('a,b', ',') }}:\n  - script: ${{ x }}", "{steps: [{script: a}, {script: b}]}"},
		"each over a mapping":  {"parameters:\n- name: m\n  type: object\n  default: {a: 1, b: 2}\npool:\n  ${{ each p in parameters.m }}:\n    ${{ p.key }}-x: ${{ p.value }}", "{pool: {a-x: 1, b-x: 2}}"},
		"each over nothing":    {"parameters:\n- name: m\n  type: object\n  default: null\nsteps:\n- ${{ each p in parameters.m }}:\n  - a: 1", "{steps: []}"},
		"insert":               {"parameters:\n- name: m\n  type: object\n  default: {a: 1}\npool:\n  b: 2\n  ${{ insert }}: ${{ parameters.m }}", "{pool: {b: 2, a: 1}}"},
		"key":                  {"pool:\n  a${{ 'b' }}: ${{ true }}", "{pool: {ab: True}}"},
		"variables in order":   {"variables:\n  a: 1\n  b: ${{ variables.a }}${{ variables.c }}\n  c: 3\nsteps:\n- script: ${{ variables.c }}", "{variables: [{name: a, value: 1}, {name: b, value: 1}, {name: c, value: 3}], steps: [{script: 3}]}"},
		"variables by level":   {"variables:\n  a: 1\njobs:\n- job: J\n  steps:\n  - script: ${{ variables.a }}\n  variables:\n    a: 2\n- job: K\n  steps:\n  - script: ${{ variables.a }}", "{variables: [{name: a, value: 1}], jobs: [{job: J, steps: [{script: 2}], variables: [{name: a, value: 2}]}, {job: K, steps: [{script: 1}]}]}"},
		"template":             {"steps:\n- template: t/steps.yml\n  parameters:\n    who: Ada\n- script: end", "{steps: [{script: hi Ada 2}, {script: two}, {script: root}, {script: end}]}"},
		"old template":         {"steps:\n- template: old.yml\n  parameters:\n    more: x\n    b:\n    - script: b", "{steps: [{script: 1x}, {script: b}]}"},
		"variables template":   {"variables:\n- template: vars.yml\nsteps:\n- script: ${{ variables.v }}", "{variables: [{name: v, value: from-template}], steps: [{script: from-template}]}"},
		"steps as parameters":  {"jobs:\n- template: wrap.yml\n  parameters:\n    steps:\n    - bash: mine\n      displayName: x", "{jobs: [{job: J, steps: [{script: before}, {task: Bash@3, displayName: x, inputs: {script: mine, targetType: inline}}]}]}"},
		"extends":              {"extends:\n  template: extend.yml\n  parameters:\n    on: true", "{stages: [{stage: S}]}"},
		"another repository":   {"resources:\n  repositories:\n  - repository: lib\n    name: a/lib\nsteps:\n- template: /far.yml@lib\n- template: root.yml@self", "{resources: {repositories: [{repository: lib, name: a/lib}]}, steps: [{script: far}, {script: near}, {script: root}]}"},
		"what data holds":      {"parameters:\n- name: s\n  type: string\n  default: a\nsteps:\n- script: ${{ format('{0}{1}', '$', '{{ x }}') }}", "{steps: [{script: ${{ x }}}]}"},
		"nested item":          {"steps:\n- ${{ if true }}:\n    script: a\n    ${{ if true }}:\n      name: b", "{steps: [{script: a, name: b}]}"},
		"predefined variables": {"steps:\n- ${{ if eq(variables['build.reason'], 'Manual') }}:\n  - a: 1", "{steps: [{a: 1}]}"},
		"deployment hooks":     {"jobs:\n- deployment: D\n  strategy:\n    runOnce:\n      deploy:\n        steps:\n        - template: root.yml", "{jobs: [{deployment: D, strategy: {runOnce: {deploy: {steps: [{script: root}]}}}}]}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems := expand(templates, c.body)
			for _, p := range problems {
				t.Errorf("problem: %s", p)
			}
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	templates := files{
		"typed.yml": "parameters:\n- name: n\n  type: number\n- name: l\n  type: stepList\n  default: []\n- name: c\n  type: string\n  default: a\n  values: [a, b]\nsteps:\n- script: x\n",
		"self.yml":  "steps:\n- template: self.yml\n",
		"jobs.yml":  "jobs: []\n",
		"odd.yml":   "steps: []\nother: 1\n",
		"def.yml":   "parameters:\n- name: a\n  type: stepList\n  default:\n  - template: def.yml\n  - template: def.yml\nsteps: []\n",
	}
	for name, c := range map[string]struct {
		body, want string
		line       int
	}{
		"else alone":            {"steps:\n- ${{ else }}:\n  - a: 1", "else without an if", 2},
		"syntax where not used": {"steps:\n- ${{ if false }}:\n  - a: ${{ 1 + 2 }}", "Unexpected symbol: '+'", 3},
		"unknown name":          {"steps:\n- a: ${{ nope }}", "Unrecognized named-value: 'nope'", 2},
		"undeclared parameter":  {"parameters:\n- name: a\n  default: 1\nsteps:\n- a: ${{ parameters.b }}", "there is no parameter 'b'", 5},
		"missing template":      {"steps:\n- template: gone.yml", "there is no gone.yml", 2},
		"outside":               {"steps:\n- template: ../x.yml", "leads out", 2},
		"unknown repository":    {"steps:\n- template: x.yml@lib", "repository lib", 2},
		"not a number":          {"steps:\n- template: typed.yml\n  parameters:\n    n: x", "Unexpected value 'x'", 4},
		"missing parameter":     {"steps:\n- template: typed.yml", "A value for the 'n' parameter must be provided", 2},
		"unexpected parameter":  {"steps:\n- template: typed.yml\n  parameters:\n    n: 1\n    m: 2", "Unexpected parameter 'm'", 5},
		"mapping for a list":    {"steps:\n- template: typed.yml\n  parameters:\n    n: 1\n    l: {a: 1}", "A mapping was not expected", 5},
		"not among":             {"steps:\n- template: typed.yml\n  parameters:\n    n: 1\n    c: z", "value 'z' is not an allowed value", 5},
		"round and round":       {"steps:\n- template: self.yml", "more than 100 templates", 2},
		"round in a default":    {"steps:\n- template: def.yml", "more than 100 templates", 5},
		"wrong kind":            {"steps:\n- template: jobs.yml", "Unexpected value 'jobs'", 1},
		"more in a template":    {"steps:\n- template: odd.yml", "Unexpected value 'other'", 2},
		"twice":                 {"a: 1\na: 2\nsteps: []", "'a' is already defined", 2},
		"twice after all":       {"pool:\n  a: 1\n  ${{ if true }}:\n    a: 2", "'a' is already defined", 4},
		"not closed":            {"steps:\n- a: ${{ 1", "not closed", 2},
		"each what":             {"steps:\n- ${{ each in x }}:\n  - a: 1", "each needs", 2},
		"a list below a key":    {"pool:\n  ${{ if true }}:\n  - a", "a mapping is wanted", 3},
		"text in the middle":    {"parameters:\n- name: o\n  type: object\n  default: {}\nsteps:\n- a: x${{ parameters.o }}", "a mapping", 6},
		"alias bomb": {"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
			"more than 50000 values", 0},
		"loop bomb": {"parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("1,", 99) + "1]\nsteps:\n- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - ${{ each c in parameters.l }}:\n      - ${{ each d in parameters.l }}:\n        - a: 1",
			"comes to more than", 0},
		"not a mapping": {"- a", "a pipeline is a mapping", 1},
		"two documents": {"a: 1\n---\nb: 1", "second YAML document", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := expand(templates, c.body)
			for _, p := range problems {
				if strings.Contains(p.Message, c.want) {
					if c.line > 0 && p.Line != c.line {
						t.Errorf("at line %d, want %d: %s", p.Line, c.line, p)
					}
					return
				}
			}
			t.Errorf("no problem says %q: %v", c.want, problems)
		})
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{
		"steps:\n- ${{ if true }}:\n  - a: 1\n- ${{ else }}:\n  - b: ${{ variables.x }}\n", "parameters:\n- name: a\n  type: stepList\n  default: []\nsteps:\n- template: t.yml\n",
		"variables:\n- ${{ each v in split('a b', ' ') }}:\n  - name: ${{ v }}\n    value: 1\n", "extends:\n  template: t.yml\n", "pool:\n  ${{ insert }}: {a: 1}\n", "a: &a\n- *a\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		templates := files{"t.yml": body}
		one, problems := expand(templates, body)
		two, again := expand(templates, body)
		if one != two || fmt.Sprint(problems) != fmt.Sprint(again) {
			t.Errorf("two answers for %q", body)
		}
	})
}
