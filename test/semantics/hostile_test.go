package semantics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// What cannot run here, and what was not written in good faith.

// noEngine lets no container engine answer, whatever this machine has.
var noEngine = []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}

func TestWhatCannotRunHere(t *testing.T) {
	check(t, []probe{
		{name: "another operating system", exit: 4, shown: []string{"windows-latest"},
			flow: `
on: push
jobs:
  a: { runs-on: windows-latest, steps: [{ run: echo ran > $OUTSIDE/a }] }
`,
			marks: map[string]string{"a": ""}},
		{name: "unless the user says that this machine takes it", exit: 0, args: []string{"--label", "windows-latest=yes"},
			flow: `
on: push
jobs:
  a: { runs-on: windows-latest, steps: [{ run: echo ran > $OUTSIDE/a, shell: bash }] }
`,
			marks: map[string]string{"a": "ran\n"}},
		{name: "a cell that does not fit does not hold the others up", exit: 0,
			flow: `
on: push
jobs:
  a:
    strategy: { matrix: { os: [ubuntu-latest, windows-latest] } }
    runs-on: ${{ matrix.os }}
    steps: [{ run: 'echo ran >> $OUTSIDE/a' }]
`,
			shown: []string{"windows-latest"}, marks: map[string]string{"a": "ran\n"}},
		{name: "a container", exit: 4, env: noEngine, shown: []string{"no container engine answers"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, container: "alpine:3", steps: [{ run: echo ran > $OUTSIDE/a }] }
`,
			marks: map[string]string{"a": ""}},
		{name: "a container action", exit: 4, env: noEngine, shown: []string{"no container engine answers"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ uses: "docker://alpine:3" }, { run: echo ran > $OUTSIDE/a }] }
`,
			marks: map[string]string{"a": ""}},
		{name: "a command that is not there is no failure of the code", exit: 1, shown: []string{"no-such-command-here"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: no-such-command-here }] }
`},
		{name: "nothing that the event starts", exit: 2, shown: []string{"ci.yml"},
			flow: `
on: { push: { branches: [release] } }
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: echo ran > $OUTSIDE/a }] }
`,
			marks: map[string]string{"a": ""}},
	})
}

func TestBrokenWorkflows(t *testing.T) {
	check(t, []probe{
		{name: "a circle of needs", exit: 3, shown: []string{workflow + ":"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, needs: b, steps: [{ run: "true" }] }
  b: { runs-on: ubuntu-latest, needs: a, steps: [{ run: "true" }] }
`},
		{name: "a need that is not there", exit: 3, shown: []string{workflow + ":4:", "nobody"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, needs: nobody, steps: [{ run: "true" }] }
`},
		{name: "an unknown key, with the one that was meant", exit: 3, shown: []string{workflow + ":6:", "step", "steps"},
			flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    step: [{ run: "true" }]
`},
		{name: "the same key twice", exit: 3, shown: []string{workflow + ":"},
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: "true" }] }
  a: { runs-on: ubuntu-latest, steps: [{ run: "true" }] }
`},
		{name: "no YAML at all", exit: 3, shown: []string{workflow + ":"}, flow: "on: push\njobs:\n\t- {{{ nonsense\n"},
		{name: "an anchor bomb", exit: 3, shown: []string{workflow}, flow: bomb()},
		{name: "very deep nesting", exit: 3, shown: []string{workflow}, flow: "on: push\njobs: " + strings.Repeat("[", 100_000) + "\n"},
		{name: "an expression that is too long", exit: 3, shown: []string{workflow + ":5:"},
			flow: "\non: push\njobs:\n  a: { runs-on: ubuntu-latest, steps: [\n    { run: \"echo ${{ '" + strings.Repeat("x", 30_000) + "' }}\" }] }\n"},
		{name: "an expression that is too deep", exit: 3, shown: []string{workflow + ":5:"},
			flow: "\non: push\njobs:\n  a: { runs-on: ubuntu-latest, steps: [\n    { run: \"echo ${{ " + strings.Repeat("!(", 60) + "1" + strings.Repeat(")", 60) + " }}\" }] }\n"},
		{name: "a matrix of millions", exit: 3, shown: []string{"1000000 jobs", "256"}, flow: wide()},
	})
}

// bomb doubles itself thirty times by anchors.
func bomb() string {
	var b strings.Builder
	b.WriteString("on: push\nenv:\n  a0: &a0 [x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	b.WriteString("jobs:\n  a: { runs-on: ubuntu-latest, steps: [{ run: 'true' }] }\n")
	return b.String()
}

// wide is a matrix of a million cells.
func wide() string {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy:\n      matrix:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "        v%d: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n", i)
	}
	b.WriteString("    steps: [{ run: 'true' }]\n")
	return b.String()
}

// TestControlCharacters: what a terminal would obey must not reach it from a
// name, a title or a log line that an attacker chose. Colours of log lines are
// the users' own and may stay.
func TestControlCharacters(t *testing.T) {
	const clear, title, bell = "\x1b[2J", "\x1b]0;owned\a", "\a"
	flow := "\nname: \"flow \\e[2J\\e]0;owned\\a\"\non: push\njobs:\n  a:\n    name: \"job \\e[2J\\a\"\n    runs-on: ubuntu-latest\n" +
		"    steps:\n      - name: \"step \\e]0;owned\\a \\e[2J\"\n        run: |\n          printf 'before\\033[2J\\033]0;owned\\007after\\n'\n          printf '::error title=t\\033[2J::m\\033]0;owned\\007\\n'\n          exit 1\n"
	none := func(t *testing.T, p *binary.Place, out binary.Outcome) {
		id := lastRun(t, p)
		outs := []binary.Outcome{out, p.Run("runs", "--all"), p.Run("show", id), p.Run("logs", id), p.Run("run", "--list"), p.Run("run", "--graph"), p.Run("run", "--dry-run")}
		for _, o := range outs {
			for _, raw := range []string{clear, title, bell, "\x1b"} {
				if strings.Contains(o.All(), raw) {
					t.Errorf("%q reaches the terminal: %q", raw, o.All())
					break
				}
			}
		}
	}
	check(t, []probe{
		{name: "do not reach the terminal", exit: 1, flow: flow, then: none},
		{name: "an attacker's branch name is a text", exit: 0,
			flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [{ run: 'echo "$GITHUB_REF_NAME" > $OUTSIDE/ref', env: { REF: "${{ github.ref_name }}" } }] }
`,
			then: func(t *testing.T, p *binary.Place, _ binary.Outcome) {
				p.Git("checkout", "-q", "-b", "x;touch${IFS}$OUTSIDE/owned")
				if out := p.Run("run"); out.Exit != 0 {
					t.Fatal(out)
				}
				if p.Mark("ref") != "x;touch${IFS}$OUTSIDE/owned\n" {
					t.Errorf("the branch is %q", p.Mark("ref"))
				}
			}},
	})
}
