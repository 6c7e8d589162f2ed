package groovy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

var seeds = []string{
	"", "1", "'a'", `"${a}"`, `"$a.b"`, "/a/", "$/a/$", "[a: 1]", "[1, *l]", "a.b c, d: 1", "foo { it -> 1 }", "a ? b : c", "a ?: b",
	"def (a, b) = [1, 2]", "class A extends B { int x; def f() { super.f() } }", "enum E { A, B }", "@Field def x = 1", "import a.b.C as D",
	"for (int i = 0; i < 3; i++) { }", "for (x in 1..3) println x", "switch (x) { case 1: break; default: 2 }",
	"try { throw new Exception('x') } catch (A | B e) { } finally { }", "x = { a, b = 1 -> a }", "a.b.c*.d?.e[1..2] += 3", "(String) x as List",
	"l: while (true) { break l }", "new int[3]", "new A(b: 1) { def f() { } }", "'a' =~ /b/", "x in [1] && y instanceof Z", "a << b >>> c ** d",
	"pipeline { agent any\nstages { stage('x') { steps { sh 'y' } } } }", "1.5e3 + 0xFFL - 017", "\"\"\"a${b}\"\"\"", "'''x'''", "a.\"$b\"()", "this.&f",
	"def f(Map m = [:], String... s) { return m }", "assert a : b", "do { } while (x)", "a++ + ++b", "!a == ~b", "-1 ** 2", "a..<b", "x.@y", "{ -> }",
	"[1, 2, 3].collect { it * 2 }.findAll { it > 2 }.inject(0) { a, b -> a + b }", "'abc'.replaceAll(/(.)/, '$1$1')", "def f(n) { f(n - 1) }; f(3)",
	"(1..20).collectEntries { [it, it.toString().padLeft(3)] }.sort { -it.value.size() }", "String.format('%5d|%-3s', 1, 'a')", "[[1, 2], [3]].flatten().toString()",
	"new groovy.json.JsonSlurper().parseText('{\"a\": [1]}').a[0]", "1/3 + 2.50 % 3", "new Date().format('yyyy')", "def l = []; l << l; l.toString() + l.hashCode()",
}

// checkTree promises that spans are in order and inside the text.
func checkTree(t *testing.T, s *Script) {
	t.Helper()
	Walk(s, func(n Node) bool {
		at := n.At()
		if at.Start < 0 || at.End < at.Start || at.End > len(s.Source()) {
			t.Fatalf("%q: %T at %v", s.Source(), n, at)
		}
		_ = s.Text(n)
		if p := s.At(n); p.Line < 1 || p.Column < 1 {
			t.Fatalf("%q: %T at %v", s.Source(), n, p)
		}
		return true
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		s, problems := Parse("f.groovy", src)
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("%q: %#v", src, p)
			}
		}
		checkTree(t, s)
	})
}

func FuzzRun(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		s, problems := Parse("f.groovy", src)
		if len(problems) > 0 {
			return
		}
		in := New(Config{Limits: Limits{Steps: 50_000, Depth: 50, Memory: 8 << 20, Output: 1000}})
		err := in.Do(context.Background(), func(th *Thread) error {
			v, err := th.Run(s)
			if err != nil {
				return err
			}
			_, err = th.Text(v)
			return err
		})
		if err != nil && strings.Contains(err.Error(), "a fault of the interpreter") {
			t.Fatalf("%q: %v", src, err)
		}
		var e *Thrown
		if errors.As(err, &e) && e.Object == nil {
			t.Fatalf("%q: an exception without an object", src)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var src strings.Builder
	src.WriteString("pipeline {\n  agent any\n  stages {\n")
	for i := range 50 {
		fmt.Fprintf(&src, "    stage('s%d') {\n      when { branch 'main' }\n      steps {\n        script {\n          def v = sh(script: \"make ${target} -j%d\", returnStdout: true).trim()\n"+
			"          if (v.size() > 3) { echo \"got $v\" } else { error 'no' }\n        }\n        archiveArtifacts artifacts: 'out/**', fingerprint: true\n      }\n    }\n", i, i)
	}
	src.WriteString("  }\n}\n")
	text := src.String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := Parse("Jenkinsfile", text); len(problems) > 0 {
			b.Fatal(problems[0])
		}
	}
}

func BenchmarkLoop(b *testing.B) {
	s := mustParse(b, "Jenkinsfile", "int sum = 0\nfor (int i = 0; i < 1000000; i++) { sum += i % 7 }\nsum")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Config{}).Run(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClosures(b *testing.B) {
	s := mustParse(b, "Jenkinsfile", "(1..100000).collect { it * 2 }.findAll { it % 3 == 0 }.inject(0) { a, b -> a + b }")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Config{}).Run(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCorpusParse(b *testing.B) {
	var texts []string
	size := 0
	for _, file := range corpusFiles(b) {
		src, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		texts = append(texts, string(src))
		size += len(src)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, src := range texts {
			Parse("Jenkinsfile", src)
		}
	}
}
