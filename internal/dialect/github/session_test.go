package github

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// runText compiles and runs a workflow, and returns how it ended and its log.
func runText(t *testing.T, body string, files ...string) (plan.Verdict, string) {
	t.Helper()
	d := New(Config{})
	p := compile(t, d, body, push())
	w := newWorld(t, d, p, push())
	for i := 0; i < len(files); i += 2 {
		w.write(files[i], files[i+1])
	}
	v := w.run(p.Jobs)
	return v, w.log.String()
}

func TestRunSteps(t *testing.T) {
	t.Parallel()
	v, log := runText(t, `
on: push
env: {A: workflow, B: workflow, C: workflow}
jobs:
  build:
    runs-on: ubuntu-latest
    env: {B: job, C: job}
    outputs:
      v: ${{ steps.one.outputs.v }}
    steps:
      - id: one
        run: |
          echo "A=$A B=$B C=$C D=$D job=$GITHUB_JOB action=$GITHUB_ACTION ci=$CI"
          echo "v=42" >> "$GITHUB_OUTPUT"
          echo "C=set" >> "$GITHUB_ENV"
        env: {C: step, D: "${{ env.B }}-${{ github.ref_name }}"}
      - run: echo "v=${{ steps.one.outputs.v }} C=$C ${{ env.C }}"
      - run: exit 3
        if: env.X == 'yes'
        env: {X: yes}
        continue-on-error: true
        id: bad
      - run: echo "outcome=${{ steps.bad.outcome }} conclusion=${{ steps.bad.conclusion }}"
      - run: "false | true; echo unreached is fine"
        shell: sh
      - run: "false | true"
        shell: bash
      - run: echo not reached
      - if: failure()
        name: at ${{ job.status }}
        run: echo cleanup
  after:
    needs: build
    runs-on: ubuntu-latest
    steps: [{run: echo skipped}]
  always:
    needs: build
    if: always()
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ needs.build.result }} ${{ needs.build.outputs.v }}"
`)
	if v != plan.Failure {
		t.Errorf("verdict %s", v)
	}
	for _, want := range []string{
		"A=workflow B=job C=step D=job-main job=build action=one ci=true", "v=42 C=set set",
		"outcome=failure conclusion=success", "unreached is fine", "at failure", "cleanup", "[after skipped]", "failure 42",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log", want)
		}
	}
	if strings.Contains(log, "not reached") {
		t.Error("a step after a failed one ran")
	}
	if t.Failed() {
		t.Log(log)
	}
}

// expectLog checks that the log holds the texts, in order.
func expectLog(t *testing.T, log string, want ...string) {
	t.Helper()
	rest := log
	for _, w := range want {
		i := strings.Index(rest, w)
		if i < 0 {
			t.Errorf("no %q (in this order) in the log:\n%s", w, log)
			return
		}
		rest = rest[i+len(w):]
	}
}

func TestComposite(t *testing.T) {
	t.Parallel()
	v, log := runText(t, `
on: push
env: {TOP: top}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - id: outer
        uses: ./actions/outer
        with: {Greeting: hello}
        env: {FROM_STEP: passed}
      - run: echo "out=${{ steps.outer.outputs.said }} inner=[${{ steps.inner.outputs.x }}] leak=[$FROM_STEP] kept=$KEPT"
      - id: failing
        uses: ./actions/fails
        continue-on-error: true
      - run: echo "outcome ${{ steps.failing.outcome }} ${{ steps.failing.conclusion }}"
`,
		"actions/outer/action.yml", `
name: outer
description: d
inputs:
  greeting: {description: d}
  other: {description: d, default: "dflt-${{ github.ref_name }}"}
outputs:
  said: {value: "${{ steps.inner.outputs.x }}/${{ inputs.other }}"}
runs:
  using: composite
  steps:
    - id: inner
      shell: bash
      run: |
        echo "in=${{ inputs.greeting }} env=[$INPUT_GREETING] top=$TOP step=$FROM_STEP path=${{ github.action_path }} own=$GITHUB_ACTION_PATH"
        echo "x=deep" >> $GITHUB_OUTPUT
        echo "KEPT=yes" >> $GITHUB_ENV
    - uses: ./actions/nested
      with: {greeting: "${{ inputs.greeting }}-${{ env.KEPT }}"}
`,
		"actions/nested/action.yaml", `
name: nested
description: d
inputs:
  greeting: {description: d}
runs:
  using: composite
  steps:
    - run: echo "nested=${{ inputs.greeting }} other=[${{ inputs.other }}] step=[$FROM_STEP] steps=[${{ steps.inner.outputs.x }}]"
      shell: sh
`,
		"actions/fails/action.yml", `
name: fails
description: d
runs:
  using: composite
  steps:
    - run: exit 1
      shell: sh
    - run: echo not reached
      shell: sh
    - run: echo "inside status=${{ github.action_status }} job=${{ job.status }}"
      if: failure()
      shell: sh
`)
	if v != plan.Success {
		t.Errorf("verdict %s", v)
	}
	expectLog(t, log, "in=hello env=[] top=top step=passed path=", "/actions/outer own=", "/actions/outer",
		"nested=hello-yes other=[] step=[passed] steps=[]",
		"out=deep/dflt-main inner=[] leak=[] kept=yes",
		"inside status=failure job=success",
		"outcome failure success")
	if strings.Contains(log, "not reached") {
		t.Error("a step of the action ran after a failed one")
	}
}

func TestJavaScriptAction(t *testing.T) {
	t.Parallel()
	needNode(t)
	remote := t.TempDir()
	writeFiles(t, remote,
		"js/action.yml", `
name: js
description: d
inputs:
  who: {description: d, default: "${{ github.actor }}"}
  two words: {description: d, default: 2}
outputs: {got: {description: d}}
runs: {using: node20, pre: pre.js, main: dist/main.js, post: post.js, post-if: "success() || failure()"}
`,
		"js/pre.js", `console.log("pre who=" + process.env.INPUT_WHO + " env=" + process.env.MINE)
require('fs').appendFileSync(process.env.GITHUB_STATE, "early=1\n")`,
		"js/dist/main.js", `
const fs = require('fs')
console.log("main " + [process.env.INPUT_WHO, process.env["INPUT_TWO_WORDS"], process.env.STATE_early, process.env.GITHUB_ACTION_REPOSITORY, process.env.GITHUB_ACTION_REF, process.cwd() == process.env.GITHUB_WORKSPACE, fs.existsSync(process.env.GITHUB_EVENT_PATH), __dirname == process.env.GITHUB_ACTION_PATH + '/dist'])
fs.appendFileSync(process.env.GITHUB_OUTPUT, "got=it\n")
fs.appendFileSync(process.env.GITHUB_STATE, "late=" + process.env.INPUT_WHO + "\n")
`,
		"js/post.js", `console.log("post " + process.env.STATE_late + " " + process.env.STATE_early + " who=" + process.env.INPUT_WHO)`,
		"wrap/action.yml", `
name: wrap
description: d
inputs: {name: {description: d}}
runs:
  using: composite
  steps:
    - uses: $/js
      with: {who: "w-${{ inputs.name }}"}
`)
	d := New(Config{Actions: map[string]string{"octo/tools": remote}})
	p := compile(t, d, `
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo first
      - id: a
        uses: octo/tools/js@v1
        env: {MINE: m}
      - uses: octo/tools/wrap@v1
        with: {name: x}
      - run: echo "got=${{ steps.a.outputs.got }}" && exit 1
`, push())
	w := newWorld(t, d, p, push())
	if v := w.run(p.Jobs); v != plan.Failure {
		t.Errorf("verdict %s", v)
	}
	expectLog(t, w.log.String(), "pre who=mona env=m", "pre who=w-x", "first",
		"main mona,2,1,octo/tools,v1,true,true,true", "main w-x", "got=it", "post w-x 1 who=w-x", "post mona 1 who=mona")
}

func TestReusableWorkflows(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	c := push()
	p := compile(t, d, `
on: push
jobs:
  first:
    runs-on: ubuntu-latest
    outputs: {o: "${{ steps.s.outputs.o }}"}
    steps:
      - id: s
        run: echo "o=fromfirst" >> $GITHUB_OUTPUT
  call:
    needs: first
    strategy: {matrix: {env: [dev, prod]}}
    uses: ./.github/workflows/lib.yml
    with: {target: "${{ matrix.env }}", flag: true}
    secrets: {token: "${{ secrets.DEPLOY }}-${{ matrix.env }}-${{ needs.first.outputs.o }}"}
  single:
    needs: first
    name: One
    uses: ./.github/workflows/lib.yml
    with: {target: "${{ needs.first.outputs.o }}"}
    secrets: inherit
  after:
    needs: [single]
    runs-on: ubuntu-latest
    steps:
      - run: echo "result ${{ needs.single.outputs.result }} ${{ needs.single.result }}"
`, c, ".github/workflows/lib.yml", `
name: Lib
on:
  workflow_call:
    inputs:
      target: {type: string, required: true}
      flag: {type: boolean}
      n: {type: number, default: 5}
    secrets: {token: {required: false}}
    outputs:
      result: {value: "${{ jobs.inner.outputs.v }}+${{ inputs.target }}+${{ inputs.n }}"}
env: {LIB: lib}
jobs:
  prepare:
    runs-on: ubuntu-latest
    steps: [{run: 'echo "prepare $LIB"'}]
  inner:
    needs: prepare
    name: Inner ${{ inputs.target }}
    runs-on: ${{ inputs.flag && 'big' || 'small' }}
    outputs: {v: "${{ steps.s.outputs.v }}"}
    steps:
      - id: s
        run: |
          echo "target=${{ inputs.target }} flag=${{ inputs.flag }} token=${{ secrets.token }} all=[${{ secrets.DEPLOY }}] needs=${{ needs.prepare.result }} needsfirst=[${{ needs.first.result }}] job=$GITHUB_JOB workflow=$GITHUB_WORKFLOW"
          echo "v=${{ inputs.target }}!" >> $GITHUB_OUTPUT
`)
	w := newWorld(t, d, p, c)
	w.context.Secrets["DEPLOY"] = "s3"
	if v := w.run(p.Jobs); v != plan.Success {
		t.Errorf("verdict %s", v)
	}
	expectLog(t, w.log.String(),
		"[call/dev/prepare: call (dev) / prepare]", "prepare lib",
		"[call/dev/inner: call (dev) / Inner dev]",
		"target=dev flag=true token=s3-dev-fromfirst all=[] needs=success needsfirst=[] job=inner workflow=.github/workflows/ci.yml",
		"token=s3-prod-fromfirst",
		"[single/inner: One / Inner fromfirst]",
		"target=fromfirst flag=false token= all=[s3]",
		"result fromfirst!+fromfirst+5 success")
}

func TestCallProblems(t *testing.T) {
	t.Parallel()
	const head = "on: push\njobs:\n  c:\n    uses: "
	const lib = ".github/workflows/lib.yml"
	for _, tc := range []struct{ body, lib, want string }{
		{head + "./.github/workflows/none.yml\n", "", "no such file"},
		{head + "./.github/workflows/../../x.yml\n", "", ""},
		{head + "./" + lib + "\n", "on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n", "cannot be called"},
		{head + "./" + lib + "\n", "on: workflow_call\njobs: {a: {uses: ./" + lib + "}}\n", "calls itself"},
		{head + "./" + lib + "\n    with: {x: 1}\n", "on: workflow_call\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n", "no input"},
	} {
		_, problems, err := New(Config{}).Compile(t.Context(), tree(ciFile, tc.body, lib, tc.lib), push())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, p := range problems {
			found = found || p.File == ciFile && p.Line >= 3 && strings.Contains(p.Message, tc.want) || strings.Contains(p.Message, tc.want) && tc.want == "calls itself"
		}
		if !found {
			t.Errorf("%s: %v, want %q", tc.body, problems, tc.want)
		}
	}
}

func TestActionProblems(t *testing.T) {
	t.Parallel()
	remote := t.TempDir()
	writeFiles(t, remote,
		"docker/action.yml", "name: d\ndescription: d\nruns: {using: docker, image: Dockerfile}\n",
		"escape/action.yml", "name: d\ndescription: d\nruns: {using: node20, main: ../../../../etc/passwd}\n",
		"gone/action.yml", "name: d\ndescription: d\nruns: {using: node20, main: dist/index.js}\n",
		"bad/action.yml", "name: d\ndescription: d\nruns: {using: composite, steps: [{run: a}]}\n",
		"self/action.yml", "name: d\ndescription: d\nruns: {using: composite, steps: [{uses: $/self}]}\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(remote, "link.js")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, remote, "link/action.yml", "name: d\ndescription: d\nruns: {using: node20, main: ../link.js}\n")
	for uses, want := range map[string]string{
		"octo/tools/docker@v1":  "has no file Dockerfile",
		"octo/tools/escape@v1":  "leads out of the action's repository",
		"octo/tools/link@v1":    "leads out of the action's repository",
		"octo/tools/gone@v1":    "has no file dist/index.js",
		"octo/tools/bad@v1":     "has an error",
		"octo/tools/none@v1":    "no action.yml",
		"octo/tools/self@v1":    "nested more than 10 deep",
		"octo/other@v1":         "cannot be had",
		"octo/tools/../x@v1":    "",
		"./nowhere":             "no action.yml",
		"./../out":              "leads out",
		"octo/tools/docker@-up": "no ref",
	} {
		d := New(Config{Actions: map[string]string{"octo/tools": remote}, Node: "node"})
		ps, _, err := d.Compile(t.Context(), tree(ciFile, "on: push\njobs: {a: {runs-on: x, steps: [{uses: \""+uses+"\"}]}}\n"), push())
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, d, &ps[0], push())
		if v := w.run(ps[0].Jobs); !v.Bad() || !strings.Contains(w.log.String(), want) {
			t.Errorf("%s: %s\n%s", uses, v, w.log.String())
		}
	}
}

func TestShells(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ shell, want, extension string }{
		{"", "bash -e F", ".sh"},
		{"bash", "bash --noprofile --norc -e -o pipefail F", ".sh"},
		{"sh", "sh -e F", ".sh"},
		{"pwsh", "pwsh -command . 'F'", ".ps1"},
		{"powershell", "powershell -command . 'F'", ".ps1"},
		{"python", "python F", ".py"},
		{"cmd", `cmd /D /E:ON /V:OFF /S /C CALL "F"`, ".cmd"},
		{"perl {0}", "perl F", ""},
		{"bash -lx {0}", "bash -lx F", ".sh"},
		{`"my shell" "a b" {0}x`, "my shell a b Fx", ""},
	} {
		sh, err := parseShell(tc.shell)
		if err != nil {
			t.Errorf("%q: %v", tc.shell, err)
			continue
		}
		if got := strings.Join(sh.command("F"), " "); got != tc.want || sh.extension != tc.extension {
			t.Errorf("%q: %s %s, want %s %s", tc.shell, got, sh.extension, tc.want, tc.extension)
		}
	}
	for _, bad := range []string{"fish", `"open {0}`, "{0} \""} {
		if _, err := parseShell(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	sh, _ := parseShell("pwsh")
	if got := string(sh.script("a\r\nb")); !strings.HasPrefix(got, "$ErrorActionPreference = 'stop'\na\nb\n") || !strings.HasSuffix(got, "exit $LASTEXITCODE }") {
		t.Errorf("%q", got)
	}
	sh, _ = parseShell("cmd")
	if got := string(sh.script("a\nb")); got != "@echo off\r\na\r\nb" {
		t.Errorf("%q", got)
	}
}

func TestShellsRun(t *testing.T) {
	t.Parallel()
	v, log := runText(t, `
on: push
defaults: {run: {shell: sh, working-directory: sub}}
jobs:
  a:
    runs-on: x
    defaults: {run: {shell: "bash -e {0}"}}
    steps:
      - run: echo "$(basename "$PWD") ${BASH_VERSION:+bash}"
      - run: pwd
        working-directory: /
      - run: echo never
        shell: no-such-shell {0}
        continue-on-error: true
      - run: echo never
        working-directory: nowhere
`, "sub/x", "")
	if v != plan.Failure {
		t.Errorf("verdict %s", v)
	}
	expectLog(t, log, "sub bash", "/\n", "the program no-such-shell is not on PATH", "nowhere does not exist")
}

func TestSkipRules(t *testing.T) {
	t.Parallel()
	_, log := runText(t, `
on: push
jobs:
  ok: {runs-on: x, steps: [{run: "true"}]}
  bad: {runs-on: x, steps: [{run: "false"}]}
  skipped: {runs-on: x, if: false, steps: [{run: a}]}
  needs-ok: {needs: ok, runs-on: x, steps: [{run: echo RAN needs-ok}]}
  needs-bad: {needs: bad, runs-on: x, steps: [{run: echo RAN needs-bad}]}
  needs-skipped: {needs: skipped, runs-on: x, steps: [{run: echo RAN needs-skipped}]}
  on-failure: {needs: [ok, bad], if: failure(), runs-on: x, steps: [{run: echo RAN on-failure}]}
  on-failure-of-ok: {needs: ok, if: failure(), runs-on: x, steps: [{run: echo RAN on-failure-of-ok}]}
  not-cancelled: {needs: [bad, skipped], if: "!cancelled()", runs-on: x, steps: [{run: echo RAN not-cancelled}]}
  guarded: {needs: bad, if: "needs.bad.result == 'failure'", runs-on: x, steps: [{run: echo RAN guarded}]}
  open: {needs: bad, if: "always() && needs.bad.result == 'failure'", runs-on: x, steps: [{run: echo RAN open}]}
  matrix-failure:
    needs: bad
    if: failure()
    runs-on: x
    strategy: {matrix: {a: [1]}}
    steps: [{run: "echo RAN matrix-failure ${{ needs.bad.result }} ${{ matrix.a }}"}]
`)
	for _, want := range []string{"needs-ok", "on-failure", "not-cancelled", "open", "matrix-failure failure 1"} {
		if !strings.Contains(log, "RAN "+want+"\n") {
			t.Errorf("%s did not run", want)
		}
	}
	for _, not := range []string{"needs-bad", "needs-skipped", "on-failure-of-ok", "guarded"} {
		if strings.Contains(log, "RAN "+not+"\n") {
			t.Errorf("%s ran", not)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
}

func writeFiles(t *testing.T, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	d := New(Config{})
	ps, _, err := d.Compile(b.Context(), tree(ciFile, "on: push\nenv: {A: b}\njobs: {a: {runs-on: x, steps: [{run: 'echo ${{ github.sha }}', if: success(), env: {X: \"${{ env.A }}\"}}]}}\n"), push())
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	s := &plan.Scope{
		Context: &plan.Context{Pipeline: &ps[0], Change: push()}, Job: &ps[0].Jobs[0],
		Dirs: plan.Dirs{Workspace: dir, Temp: dir, Tools: dir}, OS: "Linux", Arch: "X64",
	}
	session, err := d.Open(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	step := &ps[0].Jobs[0].Steps[0]
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := d.Eval(step.If, dialect.Condition, s); ok != true || err != nil {
			b.Fatal(err)
		}
		if _, err := session.Resolve(b.Context(), step, s); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPostOfComposite(t *testing.T) {
	t.Parallel()
	needNode(t)
	remote := t.TempDir()
	writeFiles(t, remote,
		"ok/action.yml", "name: a\ndescription: d\nruns: {using: node20, main: m.js, post: p.js, post-if: success()}\n",
		"bad/action.yml", "name: a\ndescription: d\nruns: {using: node20, main: m.js, post: p.js, post-if: failure()}\n",
		"wrap/action.yml", "name: a\ndescription: d\ninputs: {x: {description: d}}\nruns: {using: composite, steps: [{uses: $/ok}, {uses: $/bad}]}\n",
		"ok/m.js", "", "bad/m.js", "", "ok/p.js", "console.log('POST of success')", "bad/p.js", "console.log('POST of failure')")
	d := New(Config{Actions: map[string]string{"octo/tools": remote}})
	for end, want := range map[string]string{"true": "POST of success", "false": "POST of failure"} {
		p := compile(t, d, "on: push\njobs: {a: {runs-on: x, steps: [{uses: octo/tools/wrap@v1}, {run: '"+end+"'}]}}\n", push())
		w := newWorld(t, d, p, push())
		w.run(p.Jobs)
		if log := w.log.String(); strings.Count(log, "POST") != 1 || !strings.Contains(log, want) {
			t.Errorf("%s: want %s in\n%s", end, want, log)
		}
	}
}

// TestSideBySide resolves steps from many goroutines, as background steps are.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	needNode(t)
	remote := t.TempDir()
	writeFiles(t, remote, "action.yml", "name: a\ndescription: d\nruns: {using: node20, main: m.js, post: m.js}\n", "m.js", "")
	d := New(Config{Actions: map[string]string{"octo/js": remote}, Builtins: fakeBuiltins{}})
	p := compile(t, d, "on: push\nenv: {A: b}\njobs: {a: {runs-on: x, steps: [{run: 'echo ${{ env.A }}'}, {uses: octo/js@v1}, {uses: actions/checkout@v4}]}}\n", push())
	w := newWorld(t, d, p, push())
	s := &plan.Scope{Context: w.context, Job: &p.Jobs[0], Dirs: w.dirs, Status: plan.Success}
	session, err := d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Setup(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		for i := range p.Jobs[0].Steps {
			all.Go(func() {
				step := &p.Jobs[0].Steps[i]
				act, err := session.Resolve(t.Context(), step, s)
				if err != nil || act.Command == nil && act.Builtin == nil {
					t.Errorf("%s: %+v %v", step.Key, act, err)
					return
				}
				if act.Post != nil {
					if post, err := session.Resolve(t.Context(), act.Post, s); err != nil || post.Command == nil && post.Builtin == nil {
						t.Errorf("%s: %+v %v", act.Post.Key, post, err)
					}
				}
				if _, err := d.Eval(step.If, dialect.Condition, s); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
}

// fakeBuiltins have one action with a post step.
type fakeBuiltins struct{}

func (fakeBuiltins) Aloof(builtin.Call) bool { return false }

func (fakeBuiltins) Lookup(ref string) (*builtin.Action, bool) {
	if name, _, _ := strings.Cut(ref, "@"); name != "actions/checkout" {
		return nil, false
	}
	return &builtin.Action{Name: "actions/checkout", Post: true, PostIf: "success()"}, true
}

func (fakeBuiltins) Run(_ context.Context, c builtin.Call, log io.Writer) (plan.Effects, error) {
	fmt.Fprintf(log, "built in: %s post=%v path=%s state=%s\n", c.Name, c.Post, c.Inputs["path"], c.State["s"])
	return plan.Effects{State: []plan.Setting{{Name: "s", Value: "kept"}}, Outputs: []plan.Setting{{Name: "ref", Value: "r1"}}}, nil
}

func TestBuiltins(t *testing.T) {
	t.Parallel()
	remote := t.TempDir()
	writeFiles(t, remote, "action.yml", "name: a\ndescription: d\nruns: {using: composite, steps: [{run: echo the override, shell: sh}]}\n")
	const body = `
on: push
jobs:
  a:
    runs-on: x
    steps:
      - {id: c, uses: actions/checkout@v4, with: {path: "p-${{ github.ref_name }}"}}
      - run: echo "ref=${{ steps.c.outputs.ref }}"
`
	d := New(Config{Builtins: fakeBuiltins{}})
	p := compile(t, d, body, push())
	w := newWorld(t, d, p, push())
	w.run(p.Jobs)
	expectLog(t, w.log.String(), "built in: actions/checkout post=false path=p-main", "ref=r1", "[step 1.post: Post actions/checkout@v4]", "post=true path=p-main state=kept")

	d = New(Config{Builtins: fakeBuiltins{}, Actions: map[string]string{"actions/checkout": remote}})
	w = newWorld(t, d, p, push())
	w.run(p.Jobs)
	expectLog(t, w.log.String(), "the override")
}

// TestStatusInside looks at what conditions inside a job see.
func TestStatusInside(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	for _, tc := range []struct {
		job, group plan.Verdict // group "": not inside of one
		text       string
		want       bool
	}{
		{plan.Success, "", "success()", true},
		{plan.Success, "", "failure()", false},
		{plan.Failure, "", "success()", false},
		{plan.Failure, "", "failure()", true},
		{plan.Cancelled, "", "success() || failure()", false},
		{plan.Cancelled, "", "cancelled() && always()", true},
		{plan.Failure, plan.Success, "success()", true},
		{plan.Failure, plan.Success, "failure()", false},
		{plan.Failure, plan.Success, ofJob + "failure()", true},
		{plan.Success, plan.Failure, "failure()", true},
		{plan.Success, plan.Failure, ofJob + "failure()", false},
		{plan.Cancelled, plan.Success, "success()", false},
		{plan.Cancelled, plan.Success, "cancelled() && github.action_status == 'cancelled'", true},
		{plan.Success, "", "strategy.job-total == 1 && strategy.job-index == 0", true},
		{plan.Timeout, "", "failure() && job.status == 'failure'", true},
	} {
		s := &plan.Scope{Context: &plan.Context{}, Job: &plan.Job{}, Status: tc.job, Dirs: plan.Dirs{Workspace: "/w"}}
		if tc.group != "" {
			s.Group = &plan.GroupScope{Status: tc.group}
		}
		if got, err := d.Eval(plan.Expr{Text: tc.text}, dialect.Condition, s); got != tc.want || err != nil {
			t.Errorf("%s in a job in %s, group %q: %v %v", tc.text, tc.job, tc.group, got, err)
		}
	}
}

func FuzzShell(f *testing.F) {
	for _, s := range []string{"", "bash", "pwsh", "perl -x {0}", `"a b" {0}`, "\"{0}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		sh, err := parseShell(value)
		if err == nil && (len(sh.argv) == 0 || sh.argv[0] == "") {
			t.Errorf("%q names no program", value)
		}
	})
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"a/b@v1", "a/b/c/d@refs/heads/x", "./x/../y", "$/x", "a/../b@c", "././.."} {
		f.Add(s, "o/r@v1")
	}
	f.Fuzz(func(t *testing.T, uses, home string) {
		r, err := actionRef(uses, home)
		if err == nil && r.path != "" && !fs.ValidPath(r.path) {
			t.Errorf("%q leads to %q", uses, r.path)
		}
	})
}

func (fakeBuiltins) Uploaded(*plan.Scope) []plan.Artifact { return nil }
