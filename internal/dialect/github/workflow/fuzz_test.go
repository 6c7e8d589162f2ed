package workflow

import (
	"os"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// hostile texts: each must be refused or read within the limits. The larger the
// scale, the more they hurt; 1000 is as much as a file may hold.
func hostile(scale int) map[string]string {
	many := func(s string, thousandth int) string { return strings.Repeat(s, thousandth*scale) }
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		p := "*" + string(c-1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat(p+", ", 8) + p + "]\n"
	}
	return map[string]string{
		"anchor bomb":        bomb,
		"anchor of itself":   "on: &a [*a]\n",
		"mapping of itself":  "on: &a {b: *a}\njobs: *a\n",
		"flow depth":         "on: " + many("[", 100),
		"flow mapping depth": "on: " + many("{a: ", 100),
		"block depth":        "on:\n" + many("- ", 100) + "x\n",
		"many scalars":       "on: [" + many("a,", 500) + "]\n",
		"many mappings":      "on: [" + many("{},", 300) + "]\n",
		"many keys":          "on: push\n" + many("a: b\n", 150),
		"long line":          "on: " + many("x", 1000),
		"too large":          many("# comment\n", 200),
		"holes":              "name: a\nrun-name: " + many("${{ a }}", 100),
		"open holes":         "run-name: " + many("${{", 300),
		"expression depth":   "run-name: ${{ " + many("(", 100),
		"question marks":     many("? ", 50),
		"tags":               "on: " + many("!a ", 50),
		"quotes":             "on: \"" + many("\\x41", 200),
		"nul":                "on: \x00\x01\x02",
		"bad utf-8":          "on: \xff\xfe\xfd",
		"utf-16":             "\xff\xfeo\x00n\x00:\x00 \x00x\x00",
		"documents":          many("---\n", 200),
		"control names":      "on: push\njobs:\n  \"a\\e[31m\\0\":\n    runs-on: x\n",
		"empty":              "",
		"list":               "- a\n",
		"scalar":             "hello",
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range hostile(1) {
		f.Add([]byte(text))
	}
	f.Add([]byte("on: push\njobs:\n  a:\n    runs-on: x\n    strategy: {matrix: {a: [1, 2]}}\n    steps:\n      - run: |\n          echo ${{ github.sha }}\n      - parallel: [{run: a}, {uses: a/b@c}]\n"))
	f.Add([]byte("on: {workflow_call: {inputs: {a: {type: string}}}}\njobs:\n  a: {uses: ./.github/workflows/b.yml, with: {a: 1}, secrets: inherit}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		w, problems := Read("w.yml", src)
		sane(t, w == nil, problems)
		if w != nil {
			Linker{Default: LimitedRead(), Load: func(*Workflow, Str) (string, []byte, error) { return "other.yml", src, nil }}.Link(w)
		}
	})
}

func FuzzReadAction(f *testing.F) {
	for _, text := range hostile(1) {
		f.Add([]byte(text))
	}
	f.Add([]byte("name: a\ndescription: b\ninputs: {x: {default: \"${{ github.sha }}\"}}\nruns:\n  using: composite\n  steps:\n    - run: a\n      shell: bash\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		a, problems := ReadAction("action.yml", src)
		sane(t, a == nil, problems)
	})
}

// sane: no tree without a problem, and problems that can be shown.
func sane(t *testing.T, nothing bool, problems []plan.Problem) {
	t.Helper()
	if nothing && !plan.Errors(problems) {
		t.Error("there is no tree, and no problem either")
	}
	if len(problems) > maxProblems+1 {
		t.Errorf("%d problems", len(problems))
	}
	for _, p := range problems {
		if p.File == "" || p.Message == "" || p.Rule == "" {
			t.Errorf("a problem without file, message or rule: %+v", p)
		}
		if len(p.String()) > 2000 {
			t.Errorf("a problem of %d bytes: %.200s", len(p.String()), p)
		}
		if strings.ContainsAny(p.Message+p.Hint, "\x00\x1b\n") {
			t.Errorf("control characters in %q", p)
		}
	}
}

// TestHostile reads what is made to hurt; that it ends is most of the test.
func TestHostile(t *testing.T) {
	t.Parallel()
	scale := 1000
	if testing.Short() {
		scale = 100
	}
	for name, text := range hostile(scale) {
		t.Run(name, func(t *testing.T) {
			w, problems := Read("w.yml", []byte(text))
			sane(t, w == nil, problems)
			if !plan.Errors(problems) {
				t.Error("read without an error")
			}
			a, problems := ReadAction("action.yml", []byte(text))
			sane(t, a == nil, problems)
		})
	}
}

// BenchmarkRead reads every real workflow and every case of act and actionlint
// once.
func BenchmarkRead(b *testing.B) {
	var paths []string
	paths = append(paths, yamlFiles(b, testData(b, "FAIRLEAD_CORPUS", "../shared/corpus", "github"))...)
	conformance := testData(b, "FAIRLEAD_CONFORMANCE", "../shared/conformance", "github")
	paths = append(paths, yamlFiles(b, conformance+"/act/testdata")...)
	var texts [][]byte
	size := 0
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		texts = append(texts, src)
		size += len(src)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ReportMetric(float64(len(paths)), "files")
	for b.Loop() {
		for i, src := range texts {
			readAny(paths[i], src)
		}
	}
}
