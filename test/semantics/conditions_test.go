package semantics

import "testing"

// Which jobs and steps run, and what they know of each other.

func TestConditions(t *testing.T) {
	check(t, []probe{
		{name: "a skipped need skips", exit: 0,
			flow: `
on: push
jobs:
  never: { runs-on: ubuntu-latest, if: false, steps: [{ run: exit 1 }] }
  after: { runs-on: ubuntu-latest, needs: never, steps: [{ run: echo ran > $OUTSIDE/after }] }
  after-true: { runs-on: ubuntu-latest, needs: never, if: true, steps: [{ run: echo ran > $OUTSIDE/after-true }] }
  far: { runs-on: ubuntu-latest, needs: after, steps: [{ run: echo ran > $OUTSIDE/far }] }
  always: { runs-on: ubuntu-latest, needs: [never, after], if: always(), steps: [{ run: 'echo ${{ needs.never.result }} ${{ needs.after.result }} > $OUTSIDE/always' }] }
  unless: { runs-on: ubuntu-latest, needs: never, if: "!cancelled()", steps: [{ run: echo ran > $OUTSIDE/unless }] }
  failed: { runs-on: ubuntu-latest, needs: never, if: failure(), steps: [{ run: echo ran > $OUTSIDE/failed }] }
`,
			marks: map[string]string{"after": "", "after-true": "", "far": "", "always": "skipped skipped\n", "unless": "ran\n", "failed": ""}},
		{name: "failure() and success() of a job look at all ancestors", exit: 1,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: exit 1 }] }
  b: { runs-on: ubuntu-latest, needs: a, if: always(), steps: [{ run: echo ran > $OUTSIDE/b }] }
  c: { runs-on: ubuntu-latest, needs: b, steps: [{ run: echo ran > $OUTSIDE/c }] }
  d: { runs-on: ubuntu-latest, needs: b, if: failure(), steps: [{ run: echo ran > $OUTSIDE/d }] }
`,
			marks: map[string]string{"b": "ran\n", "c": "", "d": "ran\n"}},
		{name: "a condition without a status function means success() as well", exit: 1,
			flow: `
on: push
jobs:
  steps:
    runs-on: ubuntu-latest
    steps:
      - run: exit 1
      - run: echo ran > $OUTSIDE/plain
        if: github.event_name == 'push'
      - run: echo ran > $OUTSIDE/failure
        if: failure() && github.event_name == 'push'
      - run: echo ran > $OUTSIDE/inside
        if: ${{ contains('x', 'x') && always() }}
      - run: echo ran > $OUTSIDE/text
        if: "'always()' == 'always()'"
`,
			marks: map[string]string{"plain": "", "failure": "ran\n", "inside": "ran\n", "text": ""}},
		{name: "what steps know of earlier ones", exit: 0,
			flow: `
on: push
jobs:
  steps:
    runs-on: ubuntu-latest
    steps:
      - { id: a, run: exit 1, continue-on-error: true }
      - { id: b, run: exit 0 }
      - { id: c, run: exit 0, if: false }
      - run: echo "${{ steps.a.outcome }} ${{ steps.a.conclusion }} ${{ steps.b.outcome }} ${{ steps.c.outcome }} ${{ steps.c.conclusion }} [${{ steps.d.outcome }}] ${{ job.status }}" > $OUTSIDE/seen
`,
			marks: map[string]string{"seen": "failure success success skipped skipped [] success\n"}},
		{name: "text around an expression makes a condition true", exit: 0,
			flow: `
on: push
jobs:
  steps:
    runs-on: ubuntu-latest
    steps:
      - run: echo ran > $OUTSIDE/text
        if: ${{ false }} == true
      - run: echo ran > $OUTSIDE/negated
        if: ${{ !false }}
`,
			marks: map[string]string{"negated": "ran\n"}},
		{name: "a broken condition fails the workflow before it runs", exit: 3,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: echo ran > $OUTSIDE/a, if: "github.ref = 'x'" }] }
`,
			shown: []string{workflow + ":4:"}, marks: map[string]string{"a": ""}},
		{name: "a status function is not allowed outside of a condition", exit: 3,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: 'echo ${{ always() }}' }] }
`,
			shown: []string{"always"}},
		{name: "case() chooses, and falls back", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ case(github.event_name == 'pull_request', 'request', github.event_name == 'push', 'push', 'other') }} ${{ case(false, 1, 'last') }}" > $OUTSIDE/chosen
`,
			marks: map[string]string{"chosen": "push last\n"}},
		{name: "comparisons coerce as GitHub's do", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ 'ABC' == 'abc' }} ${{ null == 0 }} ${{ '' == 0 }} ${{ '0x10' == 16 }} ${{ true == 1 }} ${{ 'true' == true }} ${{ 1 == '1.0' }} ${{ fromJSON('[1]') == fromJSON('[1]') }}" > $OUTSIDE/seen
`,
			marks: map[string]string{"seen": "true true true true true false true false\n"}},
	})
}

func TestMatrix(t *testing.T) {
	check(t, []probe{
		{name: "include adds to what it fits, overwrites nothing of the original", exit: 0,
			flow: `
on: push
jobs:
  m:
    runs-on: ubuntu-latest
    strategy:
      max-parallel: 1
      matrix:
        fruit: [apple, pear]
        animal: [cat, dog]
        include:
          - color: green
          - color: pink
            animal: cat
          - fruit: apple
            shape: circle
          - fruit: banana
          - fruit: banana
            animal: cat
    steps:
      - run: echo "${{ matrix.fruit }} ${{ matrix.animal }} ${{ matrix.color }} ${{ matrix.shape }}" >> $OUTSIDE/cells
`,
			marks: map[string]string{"cells": "apple cat pink circle\napple dog green circle\npear cat pink \npear dog green \nbanana   \nbanana cat  \n"}},
		{name: "exclude takes away what fits in part", exit: 0,
			flow: `
on: push
jobs:
  m:
    runs-on: ubuntu-latest
    strategy:
      max-parallel: 1
      matrix:
        os: [linux, mac]
        v: [1, 2]
        exclude:
          - { os: mac, v: 1 }
        include:
          - { os: mac, v: 1, again: yes }
    steps:
      - run: echo "${{ matrix.os }} ${{ matrix.v }} ${{ matrix.again }} ${{ strategy.job-index }}/${{ strategy.job-total }}" >> $OUTSIDE/cells
`,
			marks: map[string]string{"cells": "linux 1  0/4\nlinux 2  1/4\nmac 2  2/4\nmac 1 yes 3/4\n"}},
		{name: "a matrix may come from a job's output", exit: 0,
			flow: `
on: push
jobs:
  plan:
    runs-on: ubuntu-latest
    outputs: { cells: "${{ steps.p.outputs.cells }}" }
    steps:
      - { id: p, run: 'echo "cells={\"v\":[1,2],\"include\":[{\"v\":2,\"w\":\"x\"}]}" >> "$GITHUB_OUTPUT"' }
  m:
    needs: plan
    runs-on: ubuntu-latest
    strategy: { max-parallel: 1, matrix: "${{ fromJSON(needs.plan.outputs.cells) }}" }
    steps: [{ run: 'echo "${{ matrix.v }}${{ matrix.w }}" >> $OUTSIDE/cells' }]
  after:
    needs: m
    runs-on: ubuntu-latest
    steps: [{ run: 'echo "${{ needs.m.result }}" > $OUTSIDE/after' }]
`,
			marks: map[string]string{"cells": "1\n2x\n", "after": "success\n"}},
		{name: "an empty matrix is an error, with its line", exit: 1,
			flow: `
on: push
jobs:
  plan:
    runs-on: ubuntu-latest
    outputs: { cells: "${{ steps.p.outputs.cells }}" }
    steps: [{ id: p, run: 'echo "cells=[]" >> "$GITHUB_OUTPUT"' }]
  m:
    needs: plan
    runs-on: ubuntu-latest
    strategy:
      matrix:
        v: ${{ fromJSON(needs.plan.outputs.cells) }}
    steps: [{ run: echo ran > $OUTSIDE/ran }]
`,
			marks: map[string]string{"ran": ""}},
		{name: "outputs of matrix jobs are merged, and cells may be chosen", exit: 0, args: []string{"--matrix", "v=2"},
			flow: `
on: push
jobs:
  m:
    runs-on: ubuntu-latest
    strategy: { matrix: { v: [1, 2, 3] } }
    outputs: { got: "${{ steps.o.outputs.v }}" }
    steps: [{ id: o, run: 'echo "v=${{ matrix.v }}" >> "$GITHUB_OUTPUT"; echo ${{ matrix.v }} >> $OUTSIDE/cells' }]
  after: { needs: m, runs-on: ubuntu-latest, steps: [{ run: 'echo "${{ needs.m.outputs.got }}" > $OUTSIDE/after' }] }
`,
			marks: map[string]string{"cells": "2\n", "after": "2\n"}},
	})
}

func TestCalledWorkflows(t *testing.T) {
	called := `
on:
  workflow_call:
    inputs:
      flag: { type: boolean, default: false }
      count: { type: number, required: true }
      name: { type: string, default: "nobody-${{ github.event_name }}" }
    secrets:
      key: { required: false }
    outputs:
      answer: { value: "${{ jobs.work.outputs.answer }}-${{ inputs.count }}" }
env: { OWN: own }
jobs:
  work:
    runs-on: ubuntu-latest
    outputs: { answer: "${{ steps.s.outputs.answer }}" }
    steps:
      - id: s
        run: |
          echo "${{ inputs.flag == true }} ${{ inputs.count == 3 }} ${{ inputs.name }} [$OUTER] $OWN key:${{ secrets.key == 'k3y-of-the-caller' }} other:${{ secrets.other != '' }}" >> $OUTSIDE/called
          echo "answer=42" >> "$GITHUB_OUTPUT"
`
	check(t, []probe{
		{name: "inputs are typed, env stays behind, outputs come back", exit: 0, args: []string{"ci.yml", "--secret", "KEY"}, env: []string{"KEY=k3y-of-the-caller"},
			files: map[string]string{".github/workflows/called.yml": called},
			flow: `
on: push
env: { OUTER: outer }
jobs:
  call:
    uses: ./.github/workflows/called.yml
    with: { flag: true, count: 3 }
    secrets: { key: "${{ secrets.KEY }}" }
  after: { needs: call, runs-on: ubuntu-latest, steps: [{ run: 'echo "${{ needs.call.outputs.answer }} ${{ needs.call.result }}" > $OUTSIDE/after' }] }
`,
			marks: map[string]string{"called": "true true nobody-push [] own key:true other:false\n", "after": "42-3 success\n"}},
		{name: "secrets are inherited on request, through two levels", exit: 0, args: []string{"ci.yml", "--secret", "key", "--secret", "other"}, env: []string{"key=k3y-of-the-caller", "other=an0ther"},
			files: map[string]string{".github/workflows/called.yml": called, ".github/workflows/middle.yml": `
on:
  workflow_call:
    outputs: { answer: { value: "${{ jobs.inner.outputs.answer }}" } }
jobs:
  inner:
    uses: ./.github/workflows/called.yml
    with: { count: 3, name: "${{ github.workflow }}" }
    secrets: inherit
`},
			flow: `
name: outermost
on: push
jobs:
  call: { uses: ./.github/workflows/middle.yml, secrets: inherit }
  after: { needs: call, runs-on: ubuntu-latest, steps: [{ run: 'echo "${{ needs.call.outputs.answer }}" > $OUTSIDE/after' }] }
`,
			marks: map[string]string{"called": "false true outermost [] own key:true other:true\n", "after": "42-3\n"}},
		{name: "an input that is missing or of another type is a problem with its line", exit: 3, args: []string{"ci.yml"},
			files: map[string]string{".github/workflows/called.yml": called},
			flow: `
on: push
jobs:
  call:
    uses: ./.github/workflows/called.yml
    with: { flag: maybe, nonsense: 1 }
`,
			shown: []string{workflow + ":5:", "count", "nonsense"}},
		{name: "a failure inside fails the caller, and what needs it is skipped", exit: 1, args: []string{"ci.yml"},
			files: map[string]string{".github/workflows/called.yml": `
on: workflow_call
jobs:
  bad: { runs-on: ubuntu-latest, steps: [{ run: exit 1 }] }
`},
			flow: `
on: push
jobs:
  call: { uses: ./.github/workflows/called.yml }
  after: { needs: call, runs-on: ubuntu-latest, steps: [{ run: echo ran > $OUTSIDE/after }] }
  report: { needs: call, if: failure(), runs-on: ubuntu-latest, steps: [{ run: 'echo "${{ needs.call.result }}" > $OUTSIDE/report' }] }
`,
			marks: map[string]string{"after": "", "report": "failure\n"}},
		{name: "workflows that call each other in a circle are a problem", exit: 3, args: []string{"ci.yml"},
			files: map[string]string{".github/workflows/called.yml": `
on: workflow_call
jobs:
  back: { uses: ./.github/workflows/ci.yml }
`},
			flow: `
on: [push, workflow_call]
jobs:
  call: { uses: ./.github/workflows/called.yml }
`},
	})
}

func TestInputs(t *testing.T) {
	flow := `
on:
  workflow_dispatch:
    inputs:
      flag: { type: boolean, default: true }
      count: { type: number, default: 1 }
      size: { type: choice, options: [small, large] }
      note: { type: string, required: true }
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ inputs.flag == true }} ${{ github.event.inputs.flag == 'true' }} ${{ inputs.count == 7 }} ${{ inputs.size }} ${{ inputs.note }}" > $OUTSIDE/seen
      - run: echo ran > $OUTSIDE/off
        if: ${{ !inputs.flag }}
`
	check(t, []probe{
		{name: "of a dispatch are typed in inputs, and strings in the event", exit: 0, flow: flow,
			args:  []string{"ci.yml", "--input", "count=7", "--input", "note=hello there", "--input", "flag=false"},
			marks: map[string]string{"seen": "false false true small hello there\n", "off": "ran\n"}},
		{name: "have defaults", exit: 0, flow: flow,
			args:  []string{"--event", "workflow_dispatch", "--input", "note=x", "--input", "size=large"},
			marks: map[string]string{"seen": "true true false large x\n", "off": ""}},
		{name: "must be there when required", exit: 2, flow: flow, args: []string{"ci.yml"}, shown: []string{"note"}, marks: map[string]string{"seen": ""}},
		{name: "must be one of the options", exit: 2, flow: flow, args: []string{"ci.yml", "--input", "note=x", "--input", "size=huge"}, shown: []string{"huge"}, marks: map[string]string{"seen": ""}},
		{name: "must be declared", exit: 2, flow: flow, args: []string{"ci.yml", "--input", "note=x", "--input", "colour=red"}, shown: []string{"colour"}, marks: map[string]string{"seen": ""}},
	})
}
