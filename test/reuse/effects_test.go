package reuse

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEffects is about what a step says to its workflow: a reused step says it
// again, and later steps, jobs and people hear it.
func TestEffects(t *testing.T) {
	const one = "file: one\n"
	play(t, []scene{
		{name: "outputs", steps: `
- id: one
  run: 'echo "n=$(cat in)" >> $GITHUB_OUTPUT; printf "m<<E\n1\n2\nE\n" >> $GITHUB_OUTPUT'
- run: 'echo "${{ steps.one.outputs.n }}"; echo "${{ steps.one.outputs.m }}"; echo ${{ steps.one.outcome }} ${{ steps.one.conclusion }}'
- { name: look, run: 'echo "<${{ steps.one.outputs.n }}>"' }`, files: map[string]string{"in": "1"}, acts: []act{
			{want: "ran ran", log: "1\n1\n2\nsuccess success\n<1>"},
			{want: "reused reused", log: "1\n1\n2\nsuccess success\n<1>"},
			{do: write("in", "2"), want: "ran ran", log: "2\n1\n2\nsuccess success\n<2>"},
			{do: write("in", "1"), want: "reused reused", log: "1\n1\n2\nsuccess success\n<1>"},
		}},
		{name: "environment and path", steps: `
- run: 'echo "N=$(cat in)" >> $GITHUB_ENV; mkdir -p bin; printf "#!/bin/sh\necho tool $(cat in)\n" > bin/tool; chmod +x bin/tool; echo "$PWD/bin" >> $GITHUB_PATH'
- run: 'echo N=$N; tool'
- { name: look, run: 'echo $N; tool' }`, files: map[string]string{"in": "1"}, acts: []act{
			{want: "ran ran", log: "N=1\ntool 1\n1\ntool 1"},
			{want: "reused reused", log: "N=1\ntool 1\n1\ntool 1"},
			{do: write("in", "2"), want: "ran ran", log: "N=2\ntool 2\n2\ntool 2"},
		}},
		{name: "annotations and summary", steps: `
- run: 'cat in; echo "::warning file=in,line=1::careful"; echo "::notice::well"; echo "::group::g"; echo inside; echo "::endgroup::"; echo "# Title" >> $GITHUB_STEP_SUMMARY'
- run: echo other`, files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "ran ran", then: told("careful", "well", "# Title")},
			{want: "reused reused", then: told("careful", "well", "# Title"), logs: []string{"inside"}},
		}},
		{name: "test results", steps: "- { run: 'mkdir -p reports; cat results > reports/junit.xml' }\n- { run: cat in }", files: map[string]string{"in": "1\n",
			"results": `<testsuite name="s" tests="3" failures="0" skipped="1"><testcase name="one" time="0.1"/><testcase name="two" time="0.2"/><testcase name="three"><skipped/></testcase></testsuite>`,
		}, acts: []act{
			{want: "ran ran", then: told(`"passed": 2`, `"skipped": 1`)},
			{want: "reused reused", then: told(`"passed": 2`, `"skipped": 1`)},
			{name: "one runs, the other is reused", do: write("in", "2\n"), want: "reused ran", then: told(`"passed": 2`)},
		}},
		{name: "artifacts between jobs", flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir out; cat in > out/x
      - { uses: actions/upload-artifact@v4, with: { name: thing, path: out } }
  b:
    needs: a
    runs-on: ubuntu-latest
    steps:
      - { uses: actions/download-artifact@v4, with: { name: thing, path: got } }
      - run: cat got/x
      - { name: look, run: cat got/x }
`, files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "a: ran; b: ran", logs: []string{"b | 1"}},
			{want: "a: reused; b: reused", logs: []string{"1"}},
			{do: write("in", "2\n"), want: "a: ran; b: ran", logs: []string{"2"}},
			{do: write("in", "1\n"), want: "a: reused; b: reused", logs: []string{"1"}},
		}},
		{name: "outputs of jobs", flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    outputs: { n: '${{ steps.one.outputs.n }}' }
    steps: [ { id: one, run: 'echo "n=$(cat in)" >> $GITHUB_OUTPUT' } ]
  b:
    needs: a
    if: needs.a.outputs.n != '3'
    runs-on: ubuntu-latest
    steps: [ { run: 'echo got ${{ needs.a.outputs.n }}' }, { run: echo fixed } ]
`, files: map[string]string{"in": "1"}, acts: []act{
			{want: "a: ran; b: ran ran", logs: []string{"got 1"}},
			{want: "a: reused; b: reused reused", logs: []string{"got 1"}},
			{do: write("in", "2"), want: "a: ran; b: ran reused", logs: []string{"got 2"}},
			{do: write("in", "3"), want: "ran"},
			{do: write("in", "1"), want: "a: reused; b: reused reused", logs: []string{"got 1"}},
		}},
		{name: "conditions", steps: `
- { id: one, run: 'echo "go=$(cat in)" >> $GITHUB_OUTPUT' }
- { if: "steps.one.outputs.go == 'yes'", run: echo went }
- { if: failure(), run: echo failed }
- { if: always(), run: echo always }`, files: map[string]string{"in": "yes"}, acts: []act{
			{want: "ran ran ran", log: "went\nalways"},
			{want: "reused reused reused", log: "went\nalways"},
			{do: write("in", "no"), want: "ran reused", log: "always"},
			{do: write("in", "yes"), want: "reused reused reused", log: "went\nalways"},
		}},
		{name: "after a failure", steps: `
- { run: mkdir out; cat in > out/x }
- { run: 'grep -q good out/x' }
- { run: echo not here }
- { if: failure(), run: 'echo failed: $(cat out/x)' }
- { if: always(), run: cat out/x }`, files: map[string]string{"in": "bad\n"}, acts: []act{
			{exit: 1, want: "ran barred ran ran", log: "failed: bad\nbad"},
			{exit: 1, want: "reused barred reused reused", log: "failed: bad\nbad"},
			{do: write("in", "good\n"), want: "ran ran ran ran", log: "not here\ngood"},
			{want: "reused reused reused reused", log: "not here\ngood"},
			{do: write("in", "bad\n"), exit: 1, want: "reused barred reused reused", log: "failed: bad\nbad"},
		}},
		{name: "state and post steps", needs: []string{"node"}, steps: "- { uses: ./act, with: { word: hello } }\n- { run: cat said }\n- { name: look, run: cat said }", files: map[string]string{
			"act/action.yml": "name: act\ninputs: { word: { required: true } }\noutputs: { o: { description: o } }\nruns: { using: node20, main: main.js, post: post.js }\n",
			"act/main.js":    "const fs = require('fs');\nfs.writeFileSync('said', process.env.INPUT_WORD + '\\n');\nfs.appendFileSync(process.env.GITHUB_STATE, 'kept=' + process.env.INPUT_WORD + '\\n');\n",
			"act/post.js":    "console.log('post ' + process.env.STATE_kept);\n",
		}, acts: []act{
			{want: "ran ran ran", log: "hello\nhello\npost hello"},
			{want: "reused reused reused", log: "hello\nhello\npost hello"},
			{do: write("act/post.js", "console.log('after ' + process.env.STATE_kept);\n"), want: "reused reused ran", log: "hello\nhello\nafter hello"},
		}},
		{name: "composite action", steps: "- { id: c, uses: ./act, with: { word: hello } }\n- { run: 'echo ${{ steps.c.outputs.o }}' }", files: map[string]string{
			"in": "1\n", "act/part.sh": "echo part $1; cat in\n",
			"act/action.yml": `
name: act
inputs: { word: { required: true } }
outputs: { o: { description: o, value: '${{ steps.two.outputs.o }}' } }
runs:
  using: composite
  steps:
    - { run: 'sh ${{ github.action_path }}/part.sh ${{ inputs.word }}', shell: bash }
    - { id: two, run: 'echo "o=from-two" >> $GITHUB_OUTPUT', shell: bash }
`,
		}, acts: []act{
			{want: "ran ran ran", log: "part hello\n1\nfrom-two"},
			{want: "reused reused reused", log: "part hello\n1\nfrom-two"},
			{do: write("in", "2\n"), want: "ran reused reused", log: "part hello\n2\nfrom-two"},
			{do: write("act/part.sh", "echo PART $1; cat in\n"), want: "ran reused reused", log: "PART hello\n2\nfrom-two"},
		}},
		{name: "hashFiles", steps: "- { run: \"echo ${{ hashFiles('**/*.lock') }} > h\" }\n- { run: 'wc -c < h' }\n- { name: look, run: cat h }", files: map[string]string{"a.lock": "1", "d/b.lock": "2"}, acts: []act{
			{want: "ran ran"}, {want: "reused reused"},
			{do: write("d/b.lock", "3"), want: "ran ran"},
			{do: write("d/b.lock", "2"), want: "reused reused"},
			{do: write("other", "2"), want: "reused reused"},
		}},
		{name: "hashFiles of what a step made", steps: "- { run: 'mkdir -p gen; cat in > gen/x' }\n- { run: \"echo ${{ hashFiles('gen/**') }}\" }", files: map[string]string{"in": "1"}, acts: []act{
			{want: "ran ran"}, {want: "reused reused"}, {do: write("in", "2"), want: "ran ran"}, {do: write("in", "1"), want: "reused reused"},
		}},
		{name: "matrix", flow: `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    strategy: { matrix: { n: [1, 2, 3] } }
    steps: [ { run: 'cat in-${{ matrix.n }}' }, { run: cat common } ]
`, files: map[string]string{"in-1": "one\n", "in-2": "two\n", "in-3": "three\n", "common": "c\n"}, args: []string{"--parallel", "1"}, acts: []act{
			{want: "a/1: ran ran; a/2: ran reused; a/3: ran reused"},
			{want: "a/1: reused reused; a/2: reused reused; a/3: reused reused", logs: []string{"one", "two", "three"}},
			{do: write("in-2", "TWO\n"), want: "a/1: reused reused; a/2: ran reused; a/3: reused reused", logs: []string{"one", "TWO", "three"}},
			{do: write("common", "C\n"), want: "a/1: reused ran; a/2: reused reused; a/3: reused reused", logs: []string{"C"}},
		}},
		{name: "parallel jobs", flow: `
on: push
jobs:
  a: { runs-on: ubuntu-latest, steps: [ { run: cat in; pwd > where }, { name: look, run: cat where > /dev/null } ] }
  b: { runs-on: ubuntu-latest, steps: [ { run: sleep 0.2; cat in; pwd > where }, { name: look, run: cat where > /dev/null } ] }
`, files: map[string]string{"in": one}, args: []string{"--parallel", "2"}, acts: []act{
			{want: "a: ran; b: ran", logs: []string{one}},
			{want: "a: reused; b: reused", logs: []string{one}},
			{do: write("in", "file: two\n"), want: "a: ran; b: ran", logs: []string{"file: two"}},
		}},
		{name: "checkout and setup", steps: "- uses: actions/checkout@v4\n- { run: cat in }\n- { name: look, run: cat in }", files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "ran", logs: []string{"\n1\n1\n"}}, {want: "reused", logs: []string{"\n1\n1\n"}}, {do: write("in", "2\n"), want: "ran", logs: []string{"\n2\n2\n"}},
		}},
		{name: "working directory", steps: "- { run: 'cat in > out', working-directory: d }\n- { name: look, run: cat d/out }", files: map[string]string{"d/in": "1\n", "in": "0\n"}, acts: []act{
			{want: "ran", log: "1"}, {do: write("in", "9\n"), want: "reused", log: "1"}, {do: write("d/in", "2\n"), want: "ran", log: "2"},
		}},
		{name: "in place", args: []string{"--in-place"}, steps: "- { run: cat src > made }\n- { run: cat made }\n- { name: look, run: cat made }", files: map[string]string{"src": "1\n"}, acts: []act{
			{want: "ran ran", log: "1\n1"}, {want: "reused reused", log: "1\n1"},
			{do: write("src", "2\n"), want: "ran ran", log: "2\n2"},
			{do: both(write("src", "1\n"), remove("made")), want: "reused reused", log: "1\n1"},
		}},
		{name: "what a job leaves in its temporary directory", steps: "- { run: 'cat in > $RUNNER_TEMP/x' }\n- { run: cat $RUNNER_TEMP/x }\n- { name: look, run: cat $RUNNER_TEMP/x }", files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "ran ran", log: "1\n1"}, {want: "reused reused", log: "1\n1"}, {do: write("in", "2\n"), want: "ran ran", log: "2\n2"},
		}},
		{name: "no reuse for a run", steps: "- { run: cat in }", files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "ran", log: "1"}, {args: []string{"--no-reuse"}, want: "", log: "1"}, {want: "reused", log: "1"},
		}},
		{name: "steps at the same time that do not meddle", steps: "- parallel:\n    - { run: 'mkdir -p x; cat a > x/out; sleep 0.1' }\n    - { run: 'mkdir -p y; cat b > y/out; sleep 0.1' }\n- { run: cat x/out y/out }", files: map[string]string{"a": "a\n", "b": "b\n"}, acts: []act{
			{want: "ran ran ran", logs: []string{"a\nb"}},
			{want: "reused reused reused", logs: []string{"a\nb"}},
			{do: write("b", "B\n"), want: "reused ran ran", logs: []string{"a\nB"}},
		}},
		{name: "steps at the same time that meddle", steps: "- parallel:\n    - { run: 'sleep 0.1; cat a > out; sleep 0.1' }\n    - { run: 'cat out 2> /dev/null || true; sleep 0.3' }\n- { run: cat out }", files: map[string]string{"a": "a\n"}, acts: []act{
			{want: "ran|barred ran|barred ran"},
			{want: "ran|barred ran|barred reused"},
		}},
		{name: "a step in the background, and one that waits for it", steps: "- { id: bg, run: 'sleep 0.1; cat a > out', background: true }\n- { run: cat b }\n- { wait: bg }\n- { run: cat out }", files: map[string]string{"a": "a\n", "b": "b\n"}, acts: []act{
			{want: "ran ran ran", logs: []string{"a"}},
			{want: "reused reused reused"},
			{do: write("a", "A\n"), want: "ran reused ran", logs: []string{"A"}},
		}},
		{name: "background processes of a step that do not meddle", steps: "- { run: '(cat a > out-a) & (cat b > out-b) & wait' }\n- { name: look, run: cat out-a out-b }", files: map[string]string{"a": "a\n", "b": "b\n"}, acts: []act{
			{want: "ran", log: "a\nb"}, {want: "reused", log: "a\nb"}, {do: write("b", "B\n"), want: "ran", log: "a\nB"},
		}},
	})
}

// told checks that `fairlead show` and the record tell of something.
func told(texts ...string) func(*stage, *result) {
	return func(s *stage, r *result) {
		s.t.Helper()
		out := s.Run("show", "last", "--output", "json")
		if !json.Valid([]byte(out.Stdout)) {
			s.t.Errorf("not JSON: %s", out)
		}
		for _, text := range texts {
			if !strings.Contains(out.Stdout, text) {
				s.t.Errorf("%q is not told of by %.4000s", text, out)
			}
		}
	}
}

// TestPolicy is about what a project declares in fairlead.yaml.
func TestPolicy(t *testing.T) {
	const refused = "- { name: fetch, run: 'echo > /dev/tcp/127.0.0.1/1 || cat in' }"
	in := map[string]string{"in": "1\n"}
	play(t, []scene{
		{name: "never", steps: "- { name: deploy, run: cat in }\n- { run: echo }", rules: "    - { match: 'a/deploy', never: true }\n", files: in, acts: []act{
			{want: "barred ran", why: "bar: declared"}, {want: "barred reused", why: "never"},
		}},
		{name: "network pinned", steps: refused, rules: "    - { match: 'a/fetch', network: pinned }\n", files: in, acts: []act{
			{want: "ran", logs: []string{"1"}}, {want: "reused", logs: []string{"1"}}, {do: write("in", "2\n"), want: "ran"},
		}},
		{name: "network ignored for a while", steps: refused, rules: "    - { match: '*/fetch', network: ignore, max-age: 1h }\n", files: in, acts: []act{
			{want: "ran"}, {want: "reused"},
			{name: "the rule changes", do: write(project, "reuse:\n  steps:\n    - { match: '*/fetch', network: ignore, max-age: 2h }\n"), want: "ran"},
			{name: "the rule goes", do: write(project, "reuse: {}\n"), want: "barred", why: "network"},
		}},
		{name: "max age", steps: "- { name: brief, run: cat in }", rules: "    - { match: '*/brief', max-age: 1s }\n", files: in, acts: []act{
			{want: "ran"},
			{do: func(s *stage) { sleep(1200) }, want: "ran", why: "longer ago"},
		}},
		{name: "zone", set: outside, steps: "- { run: 'cat in; echo $$ >> $FAR/counter' }", files: in, acts: []act{
			{want: "barred", why: "outside"},
			{do: func(s *stage) {
				s.Write(map[string]string{project: fmt.Sprintf("reuse:\n  zones: [%q]\n", s.far())})
			}, want: "ran", log: "1"},
			{want: "reused", log: "1"},
			{do: write("in", "2\n"), want: "ran", log: "2"},
		}},
		{name: "zone by a variable", set: outside, steps: "- { name: z, run: 'cat in; echo $$ >> $FAR/counter' }", rules: "    - { match: 'a/z', zones: ['$FAR'] }\n", files: in, acts: []act{
			{want: "ran", log: "1"}, {want: "reused", log: "1"},
		}},
		{name: "a verification that finds nothing", steps: "- { run: cat in > out }\n- { run: cat out }", files: in, acts: []act{
			{want: "ran ran"},
			{args: []string{"--verify"}, want: "ran ran", then: func(s *stage, r *result) {
				for _, x := range r.jobs["a"] {
					if u := x.fin.Reuse; u == nil || !u.Verified || len(u.Differs) > 0 {
						s.t.Errorf("step %s: %+v", x.key, u)
					}
				}
			}},
			{want: "reused reused", log: "1"},
		}},
		{name: "a verification that finds a difference", steps: "- { run: mkdir out; date +%N > out/when; cat in > out/what }\n- { run: cat in }", files: in, acts: []act{
			{want: "ran ran"},
			{want: "reused reused"},
			{args: []string{"--verify=100"}, want: "barred ran", why: "out/when"},
			{name: "from then on it runs", want: "barred reused", why: "out/when differs"},
			{name: "another script has a new start", do: write(workflow, job("- { run: mkdir -p out; cat in > out/what }\n- { run: cat in }")), want: "ran reused"},
			{want: "reused reused"},
		}},
		{name: "a verification of what is said", steps: "- { id: one, run: 'echo at=$(date +%N) >> $GITHUB_OUTPUT; cat in' }", files: in, acts: []act{
			{want: "ran"}, {args: []string{"--verify"}, want: "barred", why: "output at differs"}, {want: "barred", why: "output at differs"},
		}},
	})
}

// TestAgain is about runs that go on, or are done again: what had been reused
// is there for the steps that follow.
func TestAgain(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { run: mkdir -p out; cat in > out/x }\n- { run: cat out/x gate; test \"$(cat gate)\" = open }\n- { run: cat out/x }"), "", map[string]string{"in": "1\n", "gate": "open\n"})
	steps := func(want string, r *result, exit int) {
		t.Helper()
		if r.words() != want || r.out.Exit != exit {
			t.Errorf("exit code %d, steps %q, want %d, %q\n%s\n%s", r.out.Exit, r.words(), exit, want, r.reasons(), r.brief())
		}
	}
	steps("ran ran ran", s.perform(), 0)
	s.Write(map[string]string{"gate": "shut\n"})
	steps("reused barred", s.perform(), 1)
	// From the step that failed: the workspace was kept, with what was restored.
	again := s.read(s.Run("rerun", "last", "--from", "a/2", "--progress", "json"))
	if again.out.Exit != 1 || !strings.Contains(s.logs("last", "a"), "1\nshut") {
		t.Errorf("rerun from the step that failed: %s\n%s", again.brief(), s.logs("last", "a"))
	}
	s.Write(map[string]string{"gate": "open\n"})
	steps("reused reused reused", s.perform(), 0)
	whole := s.read(s.Run("rerun", "last", "--progress", "json"))
	if whole.out.Exit != 0 || strings.TrimSpace(s.logs("last", "a")) != "1\nopen\n1" {
		t.Errorf("rerun of the whole: %s", whole.brief())
	}
}

// TestDistrust drops what a run has written, and looks after the cache.
func TestDistrust(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { run: cat in > out }\n- { run: cat out }\n- { name: look, run: cat out }"), "", map[string]string{"in": "1\n"})
	expect := func(what, want string) *result {
		t.Helper()
		r := s.perform()
		if r.words() != want || r.out.Exit != 0 {
			t.Errorf("%s: exit code %d, steps %q, want %q\n%s\n%s", what, r.out.Exit, r.words(), want, r.reasons(), r.brief())
		}
		return r
	}
	ok := func(args ...string) string {
		t.Helper()
		out := s.Run(args...)
		if out.Exit != 0 {
			t.Error(out)
		}
		return out.Stdout
	}
	bad := expect("first", "ran ran")
	s.Write(map[string]string{"in": "2\n"})
	good := expect("second", "ran ran")
	ok("cache", "distrust", bad.run)
	expect("what the other run wrote stands", "reused reused")
	s.Write(map[string]string{"in": "1\n"})
	expect("what was distrusted is done again", "ran ran")
	ok("cache", "du")
	ok("cache", "verify")
	ok("cache", "distrust", good.run)
	ok("cache", "gc", "--size", "0B")
	// What was used just now stays for some minutes; whatever went, nothing breaks.
	s.perform()
	expect("after everything was collected", "reused reused")
	if got := strings.TrimSpace(s.logs("last", "a")); got != "1\n1" {
		t.Errorf("the log is %q", got)
	}
	if entries, err := os.ReadDir(filepath.Join(s.Cache, "steps")); err != nil || len(entries) == 0 {
		t.Errorf("the cache is not where it was thought to be: %v", err)
	}
}

// TestReaders asks which steps use a path, and which a change would run, and
// compares with which do run.
func TestReaders(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { name: one, run: cat a }\n- { name: two, run: cat a b }\n- { name: three, run: 'cat d/*' }"), "", map[string]string{"a": "a\n", "b": "b\n", "d/x": "x\n"})
	s.perform()
	for _, c := range []struct {
		path string
		want []string
		not  []string
	}{
		{"a", []string{"one", "two"}, []string{"three"}}, {"b", []string{"two"}, []string{"one", "three"}},
		{"d", []string{"three"}, []string{"one", "two"}}, {"none", nil, []string{"one", "two", "three"}},
	} {
		out := s.Run("readers", c.path)
		for _, name := range c.want {
			if !strings.Contains(out.Stdout, name) {
				t.Errorf("%s does not read %s, says %s", name, c.path, out)
			}
		}
		for _, name := range c.not {
			if strings.Contains(out.Stdout, name) {
				t.Errorf("%s reads %s, says %s", name, c.path, out)
			}
		}
	}
	s.Write(map[string]string{"b": "B\n", "d/y": "y\n"})
	out := s.Run("affected", "--output", "json")
	var told map[string]any
	if err := json.Unmarshal([]byte(out.Stdout), &told); err != nil && !json.Valid([]byte(out.Stdout)) {
		t.Errorf("%v: %s", err, out)
	}
	if r := s.perform(); r.words() != "reused ran ran" {
		t.Errorf("steps are %s; affected said %s", r.words(), out)
	}
}
