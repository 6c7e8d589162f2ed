package semantics

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// What a step is run with, and what it may say back.

func TestShells(t *testing.T) {
	check(t, []probe{
		{name: "no shell named: bash without pipefail, but it stops at an error", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          false | true
          echo piped > $OUTSIDE/piped
      - run: |
          false
          echo after > $OUTSIDE/after
`,
			marks: map[string]string{"piped": "piped\n", "after": ""}},
		{name: "shell: bash has pipefail", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - shell: bash
        run: |
          false | true
          echo piped > $OUTSIDE/piped
`,
			marks: map[string]string{"piped": ""}},
		{name: "sh, python, and a command line of one's own", exit: 0, needs: []string{"python3", "perl"},
			flow: `
on: push
defaults: { run: { shell: sh } }
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "sh${BASH_VERSION:+ no}" > $OUTSIDE/sh
      - shell: python3 {0}
        run: |
          import os
          open(os.environ["OUTSIDE"] + "/python", "w").write("python %d\n" % (1 + 1))
      - shell: perl -w {0}
        run: |
          open(my $f, ">", "$ENV{OUTSIDE}/perl"); print $f "perl\n"
  b:
    runs-on: ubuntu-latest
    defaults: { run: { shell: bash } }
    steps:
      - run: echo "bash${BASH_VERSION:+ yes}" > $OUTSIDE/bash
`,
			marks: map[string]string{"sh": "sh\n", "python": "python 2\n", "perl": "perl\n", "bash": "bash yes\n"}},
		{name: "an unknown shell fails the step, with its line", exit: 1,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: echo x, shell: fishy }] }
`,
			shown: []string{"fishy", workflow + ":4:"}},
		{name: "working directories: default of the workflow, of the job, of the step", exit: 0,
			files: map[string]string{"one/x": "", "two/x": "", "three/x": ""},
			flow: `
on: push
defaults: { run: { working-directory: one } }
jobs:
  a:
    runs-on: ubuntu-latest
    steps: [{ run: 'basename "$PWD" > $OUTSIDE/a' }]
  b:
    runs-on: ubuntu-latest
    defaults: { run: { working-directory: two } }
    steps:
      - run: basename "$PWD" > $OUTSIDE/b
      - run: basename "$PWD" > $OUTSIDE/c
        working-directory: ./three
      - run: basename "$PWD" > $OUTSIDE/d
        working-directory: ${{ github.workspace }}/one
`,
			marks: map[string]string{"a": "one\n", "b": "two\n", "c": "three\n", "d": "one\n"}},
	})
}

func TestEnvironment(t *testing.T) {
	check(t, []probe{
		{name: "the nearest env wins, and GITHUB_ENV over the job's", exit: 0,
			flow: `
on: push
env: { A: workflow, B: workflow, C: workflow, D: workflow }
jobs:
  a:
    runs-on: ubuntu-latest
    env: { B: job, C: job, D: job }
    steps:
      - run: echo "D=file" >> "$GITHUB_ENV"
      - run: echo "$A $B $C $D ${{ env.A }} ${{ env.B }} ${{ env.C }} ${{ env.D }}" > $OUTSIDE/seen
        env: { C: step }
      - run: echo "$C $D $E" > $OUTSIDE/after
        env: { D: step, E: "${{ env.A }}-${{ env.D }}" }
`,
			marks: map[string]string{"seen": "workflow job step file workflow job step file\n", "after": "job step workflow-file\n"}},
		{name: "PATH: what came last stands first", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          mkdir -p one two
          printf '#!/bin/sh\necho one\n' > one/tool-of-ours; printf '#!/bin/sh\necho two\n' > two/tool-of-ours
          chmod +x one/* two/*
          echo "$PWD/one" >> "$GITHUB_PATH"
          echo "$PWD/two" >> "$GITHUB_PATH"
      - run: tool-of-ours > $OUTSIDE/first; echo "$PWD/one" >> "$GITHUB_PATH"
      - run: tool-of-ours > $OUTSIDE/second
`,
			marks: map[string]string{"first": "two\n", "second": "one\n"}},
		{name: "environment files: many lines, equal signs, delimiters", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - id: o
        run: |
          {
            echo 'many<<END'
            echo 'first=1'
            echo 'second'
            echo 'END'
            echo 'plain=a=b<<c'
            echo ''
            echo 'empty='
          } >> "$GITHUB_OUTPUT"
      - run: printf '%s|%s|%s|' "$MANY" "$PLAIN" "$EMPTY" > $OUTSIDE/seen
        env: { MANY: "${{ steps.o.outputs.many }}", PLAIN: "${{ steps.o.outputs.plain }}", EMPTY: "${{ steps.o.outputs.empty }}" }
`,
			marks: map[string]string{"seen": "first=1\nsecond|a=b<<c||"}},
		{name: "a missing delimiter fails the step", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: printf 'A<<END\nvalue\n' >> "$GITHUB_ENV"
      - run: echo ran > $OUTSIDE/next
`,
			shown: []string{"END"}, marks: map[string]string{"next": ""}},
		{name: "a line without a value fails the step", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo 'no value here' >> "$GITHUB_OUTPUT"
      - run: echo ran > $OUTSIDE/next
`,
			shown: []string{"no value here"}, marks: map[string]string{"next": ""}},
		{name: "NODE_OPTIONS cannot be smuggled in", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo 'NODE_OPTIONS=--require ./evil.js' >> "$GITHUB_ENV"
      - run: echo "[$NODE_OPTIONS]" > $OUTSIDE/options
        if: always()
`,
			marks: map[string]string{"options": "[]\n"},
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				if shown := p.Run("show", "--output", "json", lastRun(t, p)).Stdout; !strings.Contains(shown, "annotations") || !strings.Contains(shown, "NODE_OPTIONS") {
					t.Errorf("nobody is told: %s", shown)
				}
			}},
		{name: "default variables", exit: 0,
			flow: `
name: named
on: push
jobs:
  a-job:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "$CI $GITHUB_ACTIONS $GITHUB_WORKFLOW $GITHUB_JOB $GITHUB_EVENT_NAME $GITHUB_REF $GITHUB_REF_NAME $GITHUB_REF_TYPE $GITHUB_RUN_NUMBER $GITHUB_RUN_ATTEMPT $RUNNER_OS" > $OUTSIDE/seen
          test "$GITHUB_WORKSPACE" = "$PWD"
          test "$GITHUB_SHA" = "${{ github.sha }}"
          test -s "$GITHUB_EVENT_PATH" -a -d "$RUNNER_TEMP" -a -d "$RUNNER_TOOL_CACHE"
`,
			marks: map[string]string{"seen": "true true named a-job push refs/heads/main main branch 1 1 Linux\n"}},
	})
}

func TestCommands(t *testing.T) {
	check(t, []probe{
		{name: "::set-env:: fails the step", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "::set-env name=A::b"
      - run: echo "[$A]" > $OUTSIDE/a
        if: always()
`,
			marks: map[string]string{"a": "[]\n"}},
		{name: "::add-path:: fails the step", exit: 1,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "::add-path::/tmp"
      - run: echo ran > $OUTSIDE/next
`,
			marks: map[string]string{"next": ""}},
		{name: "both count when the user allows them", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    env: { ACTIONS_ALLOW_UNSECURE_COMMANDS: true }
    steps:
      - run: echo "::set-env name=A::b"
      - run: echo "[$A]" > $OUTSIDE/a
`,
			marks: map[string]string{"a": "[b]\n"}},
		{name: "stop-commands stops them, its token starts them", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - id: s
        run: |
          echo "::stop-commands::t0ken-of-ours"
          echo "::set-output name=a::no"
          echo "::add-mask::visible-word"
          echo "::t0ken-of-ours::"
          echo "::set-output name=b::yes%25%0Aand more"
      - run: echo "[${{ steps.s.outputs.a }}] $B" > $OUTSIDE/seen; echo a visible-word
        env: { B: "${{ steps.s.outputs.b }}" }
`,
			shown: []string{"a visible-word"}, marks: map[string]string{"seen": "[] yes%\nand more\n"}},
		{name: "problem matchers make annotations", exit: 1, args: []string{"--output", "json"},
			files: map[string]string{"main.c": "", "matcher.json": `{"problemMatcher":[{"owner":"cc","pattern":[{"regexp":"^(.+):(\\d+):(\\d+): (error|warning): (.*)$","file":1,"line":2,"column":3,"severity":4,"message":5}]}]}`},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "::add-matcher::matcher.json"
      - run: |
          echo "main.c:3:7: error: a semicolon is missing"
          echo "main.c:9:1: warning: never used"
          exit 1
`,
			then: func(t *testing.T, p *binary.Place, out binary.Outcome) {
				shown := p.Run("show", "--output", "json", lastRun(t, p)).Stdout
				for _, want := range []string{`"message":"a semicolon is missing"`, `"file":"main.c"`, `"line":3`, `"level":"warning"`} {
					if !strings.Contains(strings.ReplaceAll(shown, `": `, `":`), want) {
						t.Errorf("no %s in what is known of the run:\n%s", want, shown)
					}
				}
			}},
		{name: "a step summary is kept", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "## all is well" >> "$GITHUB_STEP_SUMMARY"
`,
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				if shown := p.Run("show", "--output", "json", lastRun(t, p)); !strings.Contains(shown.Stdout, "all is well") {
					t.Errorf("the summary is not shown: %s", shown)
				}
			}},
	})
}

// lastRun is the ID of the only run.
func lastRun(t *testing.T, p *binary.Place) string {
	t.Helper()
	ids := runs(t, p)
	if len(ids) != 1 {
		t.Fatalf("%d runs, want one", len(ids))
	}
	return ids[0]
}

func TestMasking(t *testing.T) {
	const key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7VJTU\n-----END KEY-----"
	check(t, []probe{
		{name: "a secret of many lines is seen nowhere, not in part, not encoded", exit: 1, args: []string{"--secret", "KEY"}, env: []string{"KEY=" + key},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    outputs:
      leak: ${{ steps.o.outputs.leak }}
      fine: ${{ steps.o.outputs.fine }}
    steps:
      - id: o
        env: { KEY: "${{ secrets.KEY }}" }
        run: |
          echo "$KEY"
          printf '%s' "$KEY" | base64 -w0; echo
          part=$(echo "$KEY" | sed -n 2p); other=$(echo "$KEY" | sed -n 3p)
          echo "part: $part."
          echo '${{ toJSON(secrets.KEY) }}'
          { echo 'leak<<END'; echo "$KEY"; echo END; echo fine=ok; } >> "$GITHUB_OUTPUT"
          { echo 'ENV_LEAK<<END'; echo "$KEY"; echo END; } >> "$GITHUB_ENV"
          echo "summary $KEY" >> "$GITHUB_STEP_SUMMARY"
          echo "::error title=$part::$other"
      - name: ${{ secrets.KEY == '' && 'x' || env.ENV_LEAK }}
        run: test "$ENV_LEAK" = "$KEY" && echo same > $OUTSIDE/same
        env: { KEY: "${{ secrets.KEY }}" }
      - run: exit 1
  b:
    needs: a
    if: always()
    runs-on: ubuntu-latest
    steps:
      - run: echo "[${{ needs.a.outputs.leak }}] ${{ needs.a.outputs.fine }}" > $OUTSIDE/b
`,
			shown: []string{"***"},
			marks: map[string]string{"same": "same\n", "b": "[] ok\n"},
			hidden: []string{"MIIEvQIBADANBgkqhkiG9w0BAQEF", "AASCBKcwggSjAgEAAoIBAQC7VJTU",
				"LS0tLS1CRUdJTiBLRVktLS0tLQpNSUlFdlFJQkFEQU5CZ2txaGtpRzl3MEJBUUVG"}},
		{name: "in the results as JSON neither", exit: 1, args: []string{"--secret", "TOKEN", "--output", "json", "--progress", "json"}, env: []string{"TOKEN=tok3n-that-nobody-sees"},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "with ${{ secrets.TOKEN }}"; echo "::notice::${{ secrets.TOKEN }}"; exit 1
        env: { T: "${{ secrets.TOKEN }}" }
`,
			hidden: []string{"tok3n-that-nobody-sees"}},
		{name: "what a step masks is masked from then on", exit: 0,
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          v=$(printf 'hid%s' den-word-17)
          echo "::add-mask::$v"
          echo "now $v is gone"
      - run: printf 'again %s%s\n' hid den-word-17
`,
			shown: []string{"now *** is gone", "again ***"}, hidden: []string{"hidden-word-17"}},
	})
}
