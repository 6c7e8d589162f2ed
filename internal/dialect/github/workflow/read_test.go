package workflow

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// lines is the problems, one a line, without the name of the file.
func lines(problems []plan.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%d:%d %s %s: %s | %s\n", p.Line, p.Col, p.Severity, p.Rule, p.Message, p.Hint)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// matches compares lines; … stands for the rest of one, which is worded elsewhere.
func matches(got, want string) bool {
	if got == "" || want == "" {
		return got == want
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range w {
		head, open := strings.CutSuffix(w[i], "…")
		if i >= len(g) || !strings.HasPrefix(g[i], head) || !open && g[i] != head {
			return false
		}
	}
	return len(g) == len(w)
}

// job wraps the body of one job in a workflow; its first line is line 4.
func job(body string) string { return "on: push\njobs:\n  a:\n" + body }

// steps wraps steps in a workflow; their first line is line 6.
func steps(body string) string { return job("    runs-on: x\n    steps:\n" + body) }

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"nothing wrong": {steps("      - run: echo ${{ github.sha }}\n"), ""},
		"misspelt key": {
			steps("      - name: x\n        runn: echo\n"),
			`7:9 error key: unknown key "runn" | did you mean run?`,
		},
		"keys of two kinds of step": {
			steps("      - run: echo\n        uses: a/b@v1\n"),
			`7:9 error key: "uses" does not go together with the keys before it | here are allowed: name, id, continue-on-error, if, timeout-minutes, env, background, run, working-directory, shell`,
		},
		"neither run nor uses": {
			steps("      - name: x\n"),
			`6:9 error missing: not enough is said here to know what is meant | add one of: run, uses, wait, wait-all, cancel`,
		},
		"no runs-on": {
			job("    timeout-minutes: 3\n"),
			`4:5 error missing: "runs-on" is missing here | add runs-on:`,
		},
		"keys differ only in case": {
			job("    runs-on: x\n    env: {A: 1, a: 2}\n"),
			`5:17 error key: "a" is already defined at line 5 | keys must differ in more than upper and lower case; remove one`,
		},
		"merge key": {
			job("    runs-on: x\n    <<: {timeout-minutes: 1}\n"),
			`5:5 error key: merge keys (<<) are not supported by GitHub | repeat the keys, or put an alias in the place of the whole mapping`,
		},
		"wrong type": {
			job("    runs-on: x\n    timeout-minutes: soon\n    continue-on-error: \"true\"\n    env: [a]\n"),
			`5:22 error value: unexpected value "soon" | give a number
6:24 error value: unexpected value "true" | give true or false
7:10 error value: a list is not allowed here | give a mapping`,
		},
		"expression never closed": {
			steps("      - run: echo ${{ github.sha }\n"),
			`6:14 error expression: …`,
		},
		"context not allowed": {
			job("    runs-on: x\n    concurrency: ${{ secrets.a }}\n"),
			`5:18 error context: the context "secrets" is not available here …`,
		},
		"no expressions here": {
			"name: ${{ github.sha }}\n" + job("    runs-on: x\n"),
			`1:7 error context: no expression is allowed here | write the value itself`,
		},
		"place inside a block": {
			steps("      - run: |\n          echo a\n\n            echo ö ${{ nope }}\n"),
			`9:24 error context: there is no context "nope" …`,
		},
		"condition without braces": {
			job("    runs-on: x\n    if: github.ref = 'x'\n"),
			`5:9 error expression: …`,
		},
		"condition that always holds": {
			job("    runs-on: x\n    if: ${{ github.ref }} == 'x'\n"),
			`5:9 warning expression: this condition always holds: text around ${{ }} makes it a string, and a string that is not empty is true | put all of it inside one pair of braces, or leave the braces out`,
		},
		"IDs": {
			"on: push\njobs:\n  1a: {runs-on: x}\n  __b: {runs-on: x}\n  c:\n    runs-on: x\n    steps: [{run: a, id: s}, {run: a, id: S}]\n",
			`3:3 error id: "1a" cannot be the ID of a job | use letters, digits, - and _ only, begin with a letter or _, and stay below 100 characters
4:3 error id: the ID "__b" begins with two underscores, which are reserved | remove one underscore
7:43 error id: the step ID "S" is already used at line 7 | IDs must differ in more than upper and lower case`,
		},
		"needs": {
			"on: push\njobs:\n  z: {runs-on: x}\n  a: {runs-on: x, needs: b}\n  b: {runs-on: x, needs: [a, z]}\n  c: {runs-on: x, needs: q}\n",
			`4:26 error needs: the jobs "a" and "b" wait for each other | remove one of the needs: that close the circle
5:27 error needs: the jobs "b" and "a" wait for each other | remove one of the needs: that close the circle
6:26 error needs: there is no job "q" to need | jobs of this workflow: z, a, b, c`,
		},
		"matrix": {
			job("    runs-on: x\n    strategy: {matrix: {a: []}}\n") + "  b: {runs-on: x, strategy: {matrix: {exclude: [{a: 1}]}}}\n",
			`5:28 error matrix: the matrix vector "a" is empty, so there is no job to run | give at least one value, or remove the vector
6:38 error matrix: the matrix has no values | add a vector such as os: [ubuntu-latest], or entries under include:
6:50 error matrix: the matrix has no vector "a" to exclude from | name a vector of the matrix; keys that only include: adds cannot be excluded`,
		},
		"empty entries of a matrix": {
			job("    runs-on: x\n    strategy: {matrix: {a: [1], include: [{}], exclude: [{}]}}\n"),
			`5:43 error matrix: this entry of include is empty | name a vector and a value, or remove it
5:58 error matrix: this entry of exclude is empty | name a vector and a value, or remove it`,
		},
		"computed matrix": {
			job("    runs-on: x\n    strategy: {fail-fast: '${{ inputs.x }}', matrix: {a: [1], exclude: [{b: 2}]}}\n"),
			"",
		},
		"uses": {
			steps("      - uses: checkout@v4\n      - uses: actions/checkout\n      - uses: ./here\n      - uses: $/there\n      - uses: docker://x\n"),
			`6:15 error uses: "checkout@v4" does not name an action | the owner is missing: write owner/checkout@v4
7:15 error uses: "actions/checkout" does not name an action | add @ and a tag, branch or commit`,
		},
		"schedule": {
			"on: {schedule: [{cron: '0 25 * * *'}, {cron: '*/5 1-3 1,2 jan MON-FRI'}]}\njobs: {a: {runs-on: x}}\n",
			`1:24 error cron: the schedule "0 25 * * *" cannot be read: "25" is no hour (0 to 23) | write five fields: minute hour day-of-month month day-of-week`,
		},
		"schedules that GitHub slows down": {
			"on: {schedule: [{cron: '*/2 * * * *'}, {cron: '58,2 * * * *'}, {cron: '58,2 3 * * *'}, {cron: '*/5 * * * *'}, {cron: '0/30 0 * * *'}]}\njobs: {a: {runs-on: x}}\n",
			`1:24 warning cron: the schedule "*/2 * * * *" comes every 2 minutes; GitHub runs one every 5 at most | leave more time between runs
1:47 warning cron: the schedule "58,2 * * * *" comes every 4 minutes; GitHub runs one every 5 at most | leave more time between runs`,
		},
		"schedule without times": {
			"on: schedule\njobs: {a: {runs-on: x}}\n",
			`1:5 warning cron: the schedule has no times, so it never comes | add - cron: '0 3 * * *'`,
		},
		"defaults": {
			"on: {workflow_dispatch: {inputs: {a: {type: boolean, default: maybe}, b: {type: choice, options: [x], default: y}, c: {type: number, default: '3'}}}}\njobs: {a: {runs-on: x}}\n",
			`1:63 warning value: the default "maybe" is no value that the boolean input "a" can have | change the default or the type
1:112 warning value: the default "y" is no value that the choice input "b" can have | change the default or the type`,
		},
		"exclude": {
			job("    runs-on: x\n    strategy: {matrix: {a: [1], exclude: [{a: 1, b: 2}]}}\n"),
			`5:50 error matrix: the matrix has no vector "b" to exclude from | name a vector of the matrix; keys that only include: adds cannot be excluded`,
		},
		"alias of itself": {
			"on: push\njobs: &x {a: *x}\n",
			`2:14 error syntax: the alias x stands inside of what it repeats | repeat something that is complete`,
		},
		"filters that exclude each other": {
			"on: {push: {branches: a, branches-ignore: b}}\njobs: {a: {runs-on: x}}\n",
			`1:26 warning value: push has both branches and branches-ignore; GitHub refuses to run such a workflow | keep branches and exclude with patterns that begin with !`,
		},
		"unknown event and filter": {
			"on: {pull: , push: {path: a}}\njobs: {a: {runs-on: x}}\n",
			`1:6 error key: unknown key "pull" | did you mean push?
1:21 warning key: unknown key "path"; GitHub ignores it | did you mean paths?`,
		},
		"background steps": {
			steps("      - {run: a, id: a, background: true}\n      - {run: b, id: b}\n      - wait: [a, b, c]\n      - cancel: a\n"),
			`8:19 warning id: the step "b" is not a background step, so there is nothing to wait for | add background: true to it
8:22 error id: there is no step "c" to wait for | give the step that id:`,
		},
		"two documents": {
			"on: push\njobs: {a: {runs-on: x}}\n---\non: push\n",
			`3:1 error syntax: a second YAML document begins here; the file may hold only one | remove the --- line, or make two files`,
		},
		"tag": {
			"on: push\nname: !!int x\njobs: {a: {runs-on: x}}\n",
			`2:7 error syntax: "x" is not what its tag !!int says | remove the tag, or quote the value to make it a string`,
		},
		"key that is a list": {
			"on: push\n? [a]\n: b\n",
			`2:3 error syntax: a key must be a single value, not a list | quote the key if it is text`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := Read("w.yml", []byte(c.text))
			if got := lines(problems); !matches(got, c.want) {
				t.Errorf("problems of\n%s\ngot:\n%s\nwant:\n%s", c.text, got, c.want)
			}
		})
	}
}

func TestManyProblems(t *testing.T) {
	t.Parallel()
	_, problems := Read("w.yml", []byte(steps(strings.Repeat("      - x: y\n", 1000))))
	if len(problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if last := problems[0]; !strings.Contains(last.Message, "the rest are not shown") {
		t.Errorf("nothing says that there are more: %s", last)
	}
}

// A tree comes back even from a file with faults, and says what it could.
func TestFaultyTree(t *testing.T) {
	t.Parallel()
	w, problems := Read("w.yml", []byte("name: x\non: push\njobs:\n  a: {runs-on: x, stepz: []}\n  b: 3\n  c: {runs-on: [y]}\n"))
	if len(problems) != 2 {
		t.Errorf("problems: %v", problems)
	}
	if w.Name.Text != "x" || w.Job("A") == nil || w.Job("c") == nil || w.Job("b") != nil {
		t.Errorf("tree: %+v", w)
	}
}

func TestScalars(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Str{
		"yes":                  {Text: "yes", Value: "yes"},
		"on":                   {Text: "on", Value: "on"},
		"True":                 {Text: "true", Value: true},
		"'true'":               {Text: "true", Value: "true", Style: Quoted},
		"~":                    {},
		"Null":                 {},
		"010":                  {Text: "10", Value: 10.0},
		"0o17":                 {Text: "15", Value: 15.0},
		"0xFF":                 {Text: "255", Value: 255.0},
		"0xffffffff":           {Text: "-1", Value: -1.0},
		"0b11":                 {Text: "0b11", Value: "0b11"},
		"1_000":                {Text: "1_000", Value: "1_000"},
		"1.10":                 {Text: "1.1", Value: 1.1},
		"1.":                   {Text: "1", Value: 1.0},
		".5":                   {Text: "0.5", Value: 0.5},
		"1e3":                  {Text: "1000", Value: 1000.0},
		"1e":                   {Text: "1e", Value: "1e"},
		"-.inf":                {Text: "-Infinity", Value: math.Inf(-1)},
		"1:30":                 {Text: "1:30", Value: "1:30"},
		"2001-12-14":           {Text: "2001-12-14", Value: "2001-12-14"},
		"!!str 1":              {Text: "1", Value: "1"},
		"!!float 1":            {Text: "1", Value: 1.0},
		"12345678901234567890": {Text: "1.23456789012346E+19", Value: 12345678901234567890.0},
		"&x 5":                 {Text: "5", Value: 5.0},
	} {
		f := &file{name: "w.yml", limits: githubLimits()}
		n := f.parse([]byte("a: " + text + "\n"))
		if n == nil {
			t.Errorf("%s: %v", text, f.problems)
			continue
		}
		got := n.Fields[0].Value.Scalar
		got.Source = plan.Source{}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	w, problems := Read("w.yml", []byte("on: push\njobs:\n  a: &job\n    runs-on: x\n    env: &env {A: 1}\n    steps: [{run: echo, env: *env}]\n  b: *job\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := w.Job("b")
	if b.RunsOn.Labels[0].Text != "x" || b.Steps[0].Env[0].Key.Text != "A" {
		t.Errorf("alias not followed: %+v", b)
	}
	if at := b.Steps[0].Env[0].Key.Source; at.Line != 5 {
		t.Errorf("a value repeated by an alias stands where it was written, got %v", at)
	}
}

func TestStepKeysAndConditions(t *testing.T) {
	t.Parallel()
	w, problems := Read("w.yml", []byte(steps(`      - run: a
      - run: b
        if: always() && matrix.x
      - uses: actions/checkout@v4
        if: matrix.x
      - uses: Actions/Checkout@v4
        if: ${{ matrix.x }}
      - uses: ./local
      - uses: docker://a:b
      - id: Mine
        run: c
        background: true
      - parallel:
          - run: d
          - run: e
      - wait: mine
      - wait-all:
      - cancel: mine
`)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	eachStep(w.Jobs[0].Steps, func(s *Step) { got = append(got, s.Key+" "+s.Kind()+" "+s.Condition) })
	want := `__run run success()
__run_2 run always() && matrix.x
__actions_checkout uses success() && (matrix.x)
__Actions_Checkout_2 uses success() && (matrix.x)
__self uses success()
__a_b uses success()
Mine run success()
__parallel parallel 
__run_3 run success()
__run_4 run success()
__wait wait 
__wait-all wait-all 
__cancel cancel `
	if strings.Join(got, "\n") != want {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

func TestComputedMappings(t *testing.T) {
	t.Parallel()
	w, problems := Read("w.yml", []byte(job(`    runs-on: ${{ fromJSON(needs.x.outputs.y) }}
    env: ${{ fromJSON(needs.x.outputs.y) }}
    strategy:
      matrix: ${{ fromJSON(needs.x.outputs.y) }}
    services: ${{ fromJSON(needs.x.outputs.y) }}
    container: ${{ matrix.image }}
    steps:
      - uses: a/b@c
        with:
          ${{ insert }}: ${{ matrix.with }}
          a: b
`)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	j := w.Jobs[0]
	switch {
	case !j.RunsOn.Whole:
		t.Error("runs-on")
	case len(j.Env) != 1 || !j.Env[0].Insert:
		t.Error("env", j.Env)
	case !j.Strategy.Matrix.Expr.Given() || j.Strategy.Expr.Given():
		t.Error("matrix", j.Strategy)
	case len(j.Services) != 1 || !j.Services[0].Insert:
		t.Error("services", j.Services)
	case !j.Container.Expr.Given():
		t.Error("container", j.Container)
	case len(j.Steps[0].With) != 2 || !j.Steps[0].With[0].Insert || j.Steps[0].With[1].Insert:
		t.Error("with", j.Steps[0].With)
	}
}

func TestReadAction(t *testing.T) {
	t.Parallel()
	a, problems := ReadAction("action.yml", []byte(`nam: x
description: d
inputs:
  who:
    default: ${{ github.actor }}
    required: true
    type: string
outputs:
  o: {value: "${{ steps.s.outputs.v }}"}
runs:
  using: composite
  steps:
    - id: s
      run: echo
      shell: bash
    - run: echo
`))
	want := `1:1 warning key: unknown key "nam"; GitHub ignores it | did you mean name?
1:1 warning missing: "name" is missing here | add name:
16:7 error missing: "shell" is missing here | add shell:`
	if got := lines(problems); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if a.Inputs[0].Name.Text != "who" || !a.Inputs[0].Must() || a.Runs.Steps[0].Key != "s" || a.Outputs[0].Name.Text != "o" {
		t.Errorf("%+v", a)
	}
}

func TestReadNodeAndDockerActions(t *testing.T) {
	t.Parallel()
	node, problems := ReadAction("action.yml", []byte("name: a\ndescription: b\nruns: {using: node20, main: m.js, post: p.js, post-if: \"failure()\"}\n"))
	if len(problems) > 0 || node.Runs.Post.Text != "p.js" || node.Runs.PostIf.Text != "failure()" {
		t.Errorf("%v %+v", problems, node)
	}
	docker, problems := ReadAction("action.yml", []byte("name: a\ndescription: b\nruns: {using: docker, image: Dockerfile, args: ['${{ inputs.a }}', b], env: {C: d}}\n"))
	if len(problems) > 0 || len(docker.Runs.Args) != 2 || docker.Runs.Env[0].Key.Text != "C" {
		t.Errorf("%v %+v", problems, docker)
	}
	_, problems = ReadAction("action.yml", []byte("name: a\ndescription: b\nruns: {using: node18, main: m.js}\n"))
	if got := lines(problems); !strings.HasPrefix(got, `3:15 error value: unexpected value "node18"`) {
		t.Error(got)
	}
}

func TestLinkProblems(t *testing.T) {
	t.Parallel()
	const called = "on: {workflow_call: {inputs: {n: {type: number, required: true}, s: {type: string}}, secrets: {k: {required: true}}}}\n" +
		"permissions: {contents: write}\njobs: {i: {runs-on: x}}\n"
	files := map[string]string{
		"./.github/workflows/called.yml":   called,
		"./.github/workflows/plain.yml":    "on: push\njobs: {i: {runs-on: x}}\n",
		"./.github/workflows/broken.yml":   "on: workflow_call\njobs: {i: {}}\n",
		"./.github/workflows/circle.yml":   "on: workflow_call\njobs: {i: {uses: ./.github/workflows/circle.yml}}\n",
		"./.github/workflows/circle-2.yml": "on: workflow_call\njobs: {i: {uses: ./.github/workflows/main.yml}}\n",
	}
	linker := Linker{Default: LimitedRead(), Load: func(_ *Workflow, uses Str) (string, []byte, error) {
		if strings.HasPrefix(uses.Text, "far/") {
			return "", nil, ErrNotLoaded
		}
		text, ok := files[uses.Text]
		if !ok {
			return "", nil, errors.New("no such file")
		}
		return strings.TrimPrefix(uses.Text, "./"), []byte(text), nil
	}}
	for name, c := range map[string]struct{ body, want string }{
		"right":      {"uses: ./.github/workflows/called.yml, permissions: write-all, secrets: inherit, with: {n: 1}", ""},
		"not loaded": {"uses: far/away/.github/workflows/x.yml@v1", ""},
		"computed": {
			"uses: ./.github/workflows/called.yml, permissions: write-all, secrets: inherit, with: {n: '${{ github.run_id }}'}", "",
		},
		"missing": {"uses: ./.github/workflows/called.yml, permissions: write-all", `3:13 error call: the called workflow requires the input "n" | give it under with:
3:13 error call: the called workflow requires the secret "k" | give it under secrets:, or write secrets: inherit`},
		"unknown": {"uses: ./.github/workflows/called.yml, permissions: write-all, with: {n: 1, q: 2}, secrets: {K: a, z: b}", `3:85 error call: the called workflow has no input "q" | its inputs: n, s
3:108 error call: the called workflow has no secret "z" | declare it under workflow_call: secrets: there`},
		"type":        {"uses: ./.github/workflows/called.yml, permissions: write-all, secrets: inherit, with: {n: x, s: 3}", `3:97 error call: "x" is no number, which the input "n" must be | write a number without quotes`},
		"permissions": {"uses: ./.github/workflows/called.yml, secrets: inherit, with: {n: 1}", `3:3 error call: the workflow level of .github/workflows/called.yml asks for more than this job may give: contents: write (has read) | grant it with permissions: here, or ask for less there`},
		"no such":     {"uses: ./.github/workflows/none.yml", `3:13 error call: the called workflow ./.github/workflows/none.yml cannot be read: no such file | check the path and the ref`},
		"not called":  {"uses: ./.github/workflows/plain.yml", `3:13 error call: .github/workflows/plain.yml cannot be called | add workflow_call to its on:`},
		"broken": {"uses: ./.github/workflows/broken.yml", `2:11 error missing: not enough is said here to know what is meant | add one of: runs-on, uses
3:13 error call: the called workflow .github/workflows/broken.yml has errors | mend them first`},
		"circle": {"uses: ./.github/workflows/circle.yml", `2:18 error call: .github/workflows/circle.yml calls itself | remove the call that closes the circle`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, problems := Read(".github/workflows/main.yml", []byte("on: push\njobs:\n  a: {"+c.body+"}\n"))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := lines(linker.Link(w)); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
			if c.want == "" && !strings.HasPrefix(w.Jobs[0].Uses.Text, "far/") && w.Jobs[0].Called == nil {
				t.Error("the job was not joined with what it calls")
			}
		})
	}
}

// A wide and deep tree of calls ends at the limit of jobs.
func TestLinkIsBounded(t *testing.T) {
	t.Parallel()
	level := func(n int) string {
		var b strings.Builder
		b.WriteString("on: workflow_call\njobs:\n")
		for i := range 20 {
			fmt.Fprintf(&b, "  j%d: {uses: ./.github/workflows/%d.yml}\n", i, n+1)
		}
		return b.String()
	}
	w, problems := Read(".github/workflows/0.yml", []byte(level(0)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	linker := Linker{Load: func(from *Workflow, uses Str) (string, []byte, error) {
		var n int
		if _, err := fmt.Sscanf(uses.Text, "./.github/workflows/%d.yml", &n); err != nil {
			return "", nil, err
		}
		return uses.Text, []byte(level(n)), nil
	}}
	problems = linker.Link(w)
	if len(problems) != 1 || problems[0].Rule != ruleLimit && problems[0].Rule != ruleCall {
		t.Errorf("%v", problems)
	}
}
