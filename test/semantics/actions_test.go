package semantics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// Actions: composite, JavaScript, and those that are built in.

// phases is a JavaScript action that leaves a mark in each phase, and hands a
// value from main to post.
func phases(dir string) map[string]string {
	phase := func(name string) string {
		return `const fs = require('fs');
const e = process.env;
fs.appendFileSync(e.OUTSIDE + '/phases', '` + name + ` ' + e.INPUT_NAME + ' ' + (e.STATE_kept || '-') + '\n');
` + map[string]string{"main": `fs.appendFileSync(e.GITHUB_STATE, 'kept=' + e.INPUT_NAME + '\n');
fs.appendFileSync(e.GITHUB_OUTPUT, 'out=' + e['INPUT_WITH-DASH'] + '/' + e.INPUT_WITH_SPACE + '\n');
if (e.INPUT_FAIL === 'true') process.exit(3);
`}[name]
	}
	return map[string]string{
		dir + "/action.yml": `
name: phases
description: leaves marks
inputs:
  name: { description: its name, required: true }
  fail: { description: whether to fail, default: false }
  with-dash: { description: a default, default: "d${{ github.job }}" }
  with space: { description: another, default: s }
outputs: { out: { description: what was given } }
runs: { using: node20, pre: pre.js, main: main.js, post: post.js }
`,
		dir + "/pre.js": phase("pre"), dir + "/main.js": phase("main"), dir + "/post.js": phase("post"),
	}
}

func with(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func TestActions(t *testing.T) {
	nest := map[string]string{
		"outer/action.yml": `
name: outer
description: uses another
inputs: { name: { description: n, default: outer-default } }
outputs:
  sum: { description: s, value: "${{ steps.in.outputs.out }}+${{ steps.own.outputs.own }}" }
runs:
  using: composite
  steps:
    - id: in
      uses: ./phases
      with: { name: "inner-${{ inputs.name }}" }
    - id: own
      shell: bash
      env: { STEP: step }
      run: |
        echo "own=$STEP" >> "$GITHUB_OUTPUT"
        echo "[$INPUT_NAME] ${{ inputs.name }} $(basename "$GITHUB_ACTION_PATH") $(basename "${{ github.action_path }}")" > $OUTSIDE/inside
        echo "LEFT=from-inside" >> "$GITHUB_ENV"
    - shell: bash
      run: echo "[$STEP] [$CALLER]" > $OUTSIDE/inside-env
`,
	}
	check(t, []probe{
		{name: "post steps run last in, first out, with their own state, even after a failure", exit: 1, needs: []string{"node"},
			files: phases("phases"),
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: ./phases
        with: { name: one }
      - uses: ./phases
        with: { name: two }
      - run: exit 1
      - uses: ./phases
        with: { name: never }
`,
			marks: map[string]string{"phases": "main one -\nmain two -\npost two two\npost one one\n"}},
		{name: "composite: inputs, outputs, environment, nested post steps", exit: 0, needs: []string{"node"},
			files: with(phases("phases"), nest),
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - id: c
        uses: ./outer
        with: { name: given }
        env: { CALLER: caller }
      - run: echo "${{ steps.c.outputs.sum }} [${{ steps.own.outputs.own }}] $LEFT" > $OUTSIDE/after
      - uses: ./outer
`,
			marks: map[string]string{
				"phases":     "main inner-given -\nmain inner-outer-default -\npost inner-outer-default inner-outer-default\npost inner-given inner-given\n",
				"inside":     "[] outer-default outer outer\n",
				"inside-env": "[] []\n",
				"after":      "da/s+step [] from-inside\n"}},
		{name: "composite: a failure inside stops the rest inside, if not allowed", exit: 1,
			files: map[string]string{"c/action.yml": `
name: c
description: fails
runs:
  using: composite
  steps:
    - { run: exit 1, shell: bash, continue-on-error: true, id: soft }
    - { run: 'echo ${{ steps.soft.outcome }} > $OUTSIDE/soft', shell: bash }
    - { run: exit 1, shell: bash }
    - { run: echo ran > $OUTSIDE/rest, shell: bash }
    - { run: echo ran > $OUTSIDE/failed, shell: bash, if: failure() }
    - { run: echo ran > $OUTSIDE/always, shell: bash, if: always() }
`},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: ./c
      - run: echo ran > $OUTSIDE/next
      - run: echo ran > $OUTSIDE/outer-failed
        if: failure()
`,
			marks: map[string]string{"soft": "failure\n", "rest": "", "failed": "ran\n", "always": "ran\n", "next": "", "outer-failed": "ran\n"}},
		{name: "an action in another repository may be overridden, and has a pre step", exit: 0, needs: []string{"node"}, args: []string{"--offline", "--action", "acme/tools=tools"},
			files: phases("tools/phases"),
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "step" >> $OUTSIDE/phases
      - id: p
        uses: acme/tools/phases@v1
        with: { name: far, with-dash: x }
      - run: echo "${{ steps.p.outputs.out }}" > $OUTSIDE/out
`,
			marks: map[string]string{"phases": "pre far -\nstep\nmain far -\npost far far\n", "out": "x/s\n"}},
		{name: "an action that is not there fails with its line", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: ./nowhere
`,
			shown: []string{"nowhere"}},
		{name: "an action may not lie outside of the workspace", exit: 1,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ uses: ./../../outside }] }
`,
			shown: []string{workflow + ":4:", "leads out"}},
		{name: "hashFiles knows the workspace", exit: 0,
			files: map[string]string{"a/x.lock": "one", "b/y.lock": "two"},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo three > c.lock
      - run: |
          test -n "${{ hashFiles('**/*.lock') }}"
          test "${{ hashFiles('**/*.lock') }}" != "${{ hashFiles('a/*.lock', 'b/*.lock') }}"
          test "${{ hashFiles('a/*.lock', 'b/*.lock') }}" = "${{ hashFiles('**/*.lock', '!c.lock') }}"
          test -z "${{ hashFiles('none/*') }}"
          want=$( (sha256sum < a/x.lock | cut -d' ' -f1 | xxd -r -p) | sha256sum | cut -d' ' -f1)
          test "${{ hashFiles('a/x.lock') }}" = "$want"
`, needs: []string{"xxd"}},
	})
}

func TestBuiltins(t *testing.T) {
	check(t, []probe{
		{name: "checkout gives the tree as it is, uncommitted changes and all", exit: 0,
			files: map[string]string{"kept.txt": "committed\n", "gone.txt": "x", ".gitignore": "ignored.txt\n"},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: { fetch-depth: 0 }
      - run: cat kept.txt new.txt > $OUTSIDE/seen; ls > $OUTSIDE/files; git rev-parse --abbrev-ref HEAD; git log --oneline | wc -l
      - uses: actions/checkout@v4
        with: { path: below/here }
      - run: cat below/here/new.txt > $OUTSIDE/below
      - run: echo changed > kept.txt
`,
			before: func(t *testing.T, p *binary.Place) {
				p.Write(map[string]string{"kept.txt": "changed\n", "new.txt": "new\n", "ignored.txt": "no"})
				if err := os.Remove(filepath.Join(p.Root, "gone.txt")); err != nil {
					t.Fatal(err)
				}
			},
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				if got := p.Mark("seen") + p.Mark("below"); got != "changed\nnew\nnew\n" {
					t.Errorf("the job saw %q", got)
				}
				if strings.Contains(p.Mark("files"), "ignored") || strings.Contains(p.Mark("files"), "gone") {
					t.Errorf("the job sees files that are ignored or gone: %s", p.Mark("files"))
				}
				if got := p.Git("diff", "--name-only"); got != "gone.txt\nkept.txt" {
					t.Errorf("the job touched the user's own files: %s", got)
				}
			}},
		{name: "artifacts go from job to job", exit: 0,
			flow: `
on: push
jobs:
  make:
    runs-on: ubuntu-latest
    strategy: { matrix: { v: [1, 2] } }
    steps:
      - run: mkdir -p out/sub; echo "made ${{ matrix.v }}" > out/sub/file-${{ matrix.v }}; ln -s file-${{ matrix.v }} out/sub/link; printf '#!/bin/sh\n' > out/tool; chmod +x out/tool
      - uses: actions/upload-artifact@v4
        with: { name: "out-${{ matrix.v }}", path: "out/", if-no-files-found: error }
  use:
    needs: make
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
        with: { pattern: out-*, path: all }
      - uses: actions/download-artifact@v4
        with: { name: out-1, path: one }
      - run: cat all/out-1/sub/file-1 all/out-2/sub/file-2 one/sub/file-1 > $OUTSIDE/seen
  missing:
    runs-on: ubuntu-latest
    continue-on-error: true
    steps:
      - uses: actions/upload-artifact@v4
        with: { name: none, path: nothing-here, if-no-files-found: error }
      - run: echo ran > $OUTSIDE/missing
`,
			marks: map[string]string{"seen": "made 1\nmade 2\nmade 1\n", "missing": ""}},
		{name: "a cache that one run saves is restored in the next", exit: 0,
			files: map[string]string{"key.txt": "1"},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - id: c
        uses: actions/cache@v4
        with: { path: deps, key: "deps-${{ hashFiles('key.txt') }}", restore-keys: deps- }
      - run: echo "hit=[${{ steps.c.outputs.cache-hit }}] $(cat deps/file 2>/dev/null)" >> $OUTSIDE/seen; mkdir -p deps; echo "of $(cat key.txt)" > deps/file
`,
			marks: map[string]string{"seen": "hit=[] \n"},
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				p.Run("run")
				p.Write(map[string]string{"key.txt": "2"})
				p.Run("run")
				p.Run("run")
				want := "hit=[] \nhit=[true] of 1\nhit=[false] of 1\nhit=[true] of 2\n"
				if got := p.Mark("seen"); got != want {
					t.Errorf("the runs saw %q, want %q", got, want)
				}
			}},
	})
}

func TestBackgroundSteps(t *testing.T) {
	check(t, []probe{
		{name: "run beside the others, and speak when they are waited for", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - id: server
        background: true
        run: |
          echo "port=80" >> "$GITHUB_OUTPUT"; echo "LATE=late" >> "$GITHUB_ENV"
          while [ ! -e $OUTSIDE/go ]; do sleep 0.02; done
      - run: echo "[${{ steps.server.outputs.port }}] [$LATE]" > $OUTSIDE/before; touch $OUTSIDE/go
      - wait: server
      - run: echo "${{ steps.server.outputs.port }} $LATE ${{ steps.server.outcome }}" > $OUTSIDE/after
`,
			marks: map[string]string{"before": "[] []\n", "after": "80 late success\n"}},
		{name: "cancelled on purpose, it fails nothing", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - { id: server, background: true, run: 'echo $$ > $OUTSIDE/pid; exec sleep 100' }
      - run: while [ ! -s $OUTSIDE/pid ]; do sleep 0.02; done
      - cancel: server
      - run: echo ran > $OUTSIDE/next
`,
			marks: map[string]string{"next": "ran\n"},
			then:  func(t *testing.T, p *binary.Place, _ binary.Outcome) { gone(t, p, "pid") }},
		{name: "a failure counts when it is waited for, and at the end at the latest", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - { id: bad, background: true, run: exit 1 }
      - run: echo ran > $OUTSIDE/next
      - wait-all: true
      - run: echo ran > $OUTSIDE/after
`,
			marks: map[string]string{"next": "ran\n", "after": ""}},
		{name: "a group of parallel steps waits for all of them", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - parallel:
          - run: touch $OUTSIDE/one; while [ ! -e $OUTSIDE/two ]; do sleep 0.02; done
          - run: touch $OUTSIDE/two; while [ ! -e $OUTSIDE/one ]; do sleep 0.02; done; echo done > $OUTSIDE/done
      - run: cat $OUTSIDE/done > $OUTSIDE/after
`,
			marks: map[string]string{"after": "done\n"}},
	})
}
