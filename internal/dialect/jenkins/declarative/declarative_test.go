package declarative_test

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
)

// inStage is a pipeline with one stage that holds text.
func inStage(text string) string {
	return "pipeline {\n  agent any\n  stages {\n    stage('a') {\n" + text + "\n    }\n  }\n}\n"
}

func inSteps(text string) string { return inStage("steps {\n" + text + "\n}") }

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"fine", inSteps("sh 'make'"), ""},
		{"script takes all of Groovy", inSteps("script { def x = 1; if (x) { foo.bar(x) } }"), ""},
		{"a variable in steps", inSteps("def x = 1"), "6:1: Expected a step"},
		{"parallel among other steps", inSteps("parallel(a: { echo 'a' })\necho 'b'"), `Invalid step "parallel" used - not allowed in this context - The parallel step can only be used`},
		{"parallel alone", inSteps("parallel(a: { echo 'a' }, b: { echo 'b' }, failFast: true)"), ""},
		{"parallel with another key", inSteps("parallel(a: { echo 'a' }, b: 'x')"), "Expected closure or failFast"},
		{"a step's slip", inSteps("timeout(time: 1, units: 'HOURS') { echo 'a' }"), `Invalid parameter "units", did you mean "unit"?`},
		{"a step's type", inSteps("timeout(time: 'x') { echo 'a' }"), `Expecting "int" for parameter "time" but got "x" of type class java.lang.String instead`},
		{"a step without its argument", inSteps("sh returnStdout: true"), `Missing required parameter: "script"`},
		{"an unknown step may be a library's", inSteps("deployTo 'prod', region: 'eu'"), ""},
		{"the older way to archive", inSteps("step([$class: 'ArtifactArchiver', artifacts: 'x', someRandomField: 1])"), `Invalid parameter "someRandomField", did you mean "caseSensitive"?`},
		{"nested in a step", inSteps("dir('x') { foo.bar() }"), `Method calls on objects not allowed outside "script" blocks.`},
		{"children with arguments", inStage("when { allOf('x') { branch 'main' } }\nsteps { echo 'a' }"), `No additional arguments are allowed for children when condition "allOf".`},
		{"children where none are", inStage("when { branch { tag 'x' } }\nsteps { echo 'a' }"), `No children when conditions are allowed for when condition "branch".`},
		{"an unknown condition", inStage("when { brunch 'main' }\nsteps { echo 'a' }"), "Unknown conditional brunch. Valid conditionals are: allOf, anyOf, branch,"},
		{"beforeAgent", inStage("when { beforeAgent true\n branch 'main' }\nsteps { echo 'a' }"), ""},
		{"beforeAgent of no boolean", inStage("when { beforeAgent 'x'\n branch 'main' }\nsteps { echo 'a' }"), "Expected a boolean with beforeAgent"},
		{"post", inStage("steps { echo 'a' }\npost { sometimes { echo 'b' } }"), "Invalid condition \"sometimes\" - valid conditions are [always, changed, fixed, regression, aborted, success, unsuccessful, unstable, failure, notBuilt, cleanup]"},
		{"post without a block", inStage("steps { echo 'a' }\npost { always 'x' }"), "The 'post' section can only contain build condition names with code blocks."},
		{"input without a message", inStage("input { ok 'x' }\nsteps { echo 'a' }"), "No message specified for input"},
		{"a stage's name that hangs on a variable", "pipeline { agent any\n stages { stage(\"a ${b}\") { steps { echo 'a' } } } }", "Expected string literal but got"},
		{"a stage without a block", "pipeline { agent any\n stages { stage('a') } }", "Stage doesn't have a block"},
		{"no agent", "pipeline { stages { stage('a') { steps { echo 'a' } } } }", `Missing required section "agent"`},
		{"docker agent", "pipeline { agent { docker { image 'x'; args '-v /a:/b'; reuseNode true } }\n stages { stage('a') { steps { echo 'a' } } } }", ""},
		{"docker agent with a slip", "pipeline { agent { docker { imge 'x' } }\n stages { stage('a') { steps { echo 'a' } } } }", `Invalid config option "imge" for agent type "docker".`},
		{"docker agent without an image", "pipeline { agent { docker { args 'x' } }\n stages { stage('a') { steps { echo 'a' } } } }", `Missing required parameter for agent type "docker": image`},
		{"dockerfile agent", "pipeline { agent { dockerfile true }\n stages { stage('a') { steps { echo 'a' } } } }", ""},
		{"dockerfile in a directory", "pipeline { agent { dockerfile { filename 'a/Dockerfile' } }\n stages { stage('a') { steps { echo 'a' } } } }", "Dockerfile filename cannot contain directory separators."},
		{"an option of a plug-in", "pipeline { agent any\n options { somethingNew(1) }\n stages { stage('a') { steps { echo 'a' } } } }", `Invalid option type "somethingNew"`},
		{"an unknown section", "pipeline { agent any\n stagez { }\n stages { stage('a') { steps { echo 'a' } } } }", `Undefined section "stagez"`},
		{"environment", "pipeline { agent any\n environment { A = 'x'\n B = \"${A}\"\n C = credentials('c')\n D = A ?: 'x' }\n stages { stage('a') { steps { echo 'a' } } } }", "Environment variable values must either be single quoted, double quoted, or function calls."},
		{"in a block", "node { pipeline { agent any\n stages { stage('a') { steps { echo 'a' } } } } }", "pipeline block must be at the top-level, not within another block."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, problems := read(t, "Jenkinsfile", c.text, declarative.Known{})
			var all strings.Builder
			for _, p := range problems {
				if p.Line == 0 || p.Rule == "" {
					t.Errorf("a problem without place or rule: %+v", p)
				}
				all.WriteString(p.String() + "\n")
			}
			if c.want == "" && all.Len() > 0 || !strings.Contains(all.String(), c.want) {
				t.Errorf("got %q, want %q", all.String(), c.want)
			}
		})
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	m := &declarative.Matrix{
		Axes: []declarative.Axis{{Name: "OS", Values: []string{"linux", "mac", "win"}}, {Name: "B", Values: []string{"x", "y"}}},
		Excludes: [][]declarative.Axis{
			{{Name: "OS", Values: []string{"linux"}}, {Name: "B", Values: []string{"y"}}},
			{{Name: "OS", Values: []string{"linux", "mac"}, Not: true}, {Name: "B", Values: []string{"x"}}},
		},
	}
	var got []string
	for _, c := range m.Cells() {
		got = append(got, c[0].Value+c[1].Value)
	}
	if s := strings.Join(got, " "); s != "linuxx macx macy winy" {
		t.Errorf("cells: %s", s)
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	p, problems := read(t, "Jenkinsfile", `pipeline {
  agent { label 'linux' }
  options { timeout(time: 1, unit: 'HOURS') }
  parameters { string(name: 'X', defaultValue: 'y') }
  stages {
    stage('one') {
      failFast true
      parallel {
        stage('a') { steps { sh 'a' } }
        stage('b') { stages { stage('b1') { steps { sh 'b' } } } }
      }
    }
    stage('two') {
      matrix {
        axes { axis { name 'OS'; values 'linux', 'mac' } }
        excludes { exclude { axis { name 'OS'; notValues 'linux' } } }
        stages { stage('c') { steps { sh 'c' } } }
      }
    }
  }
  post { cleanup { echo "x" }
 always { echo "y" } }
}`, declarative.Known{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	one, two := p.Stages[0], p.Stages[1]
	switch {
	case p.Agent.Type != "label", p.Option("timeout") == nil, len(p.Parameters) != 1, len(p.Post) != 2:
		t.Errorf("directives: %+v", p.Directives)
	case !one.FailFast || len(one.Parallel) != 2 || one.Parallel[1].Stages[0].Name != "b1":
		t.Errorf("parallel: %+v", one)
	case len(two.Matrix.Cells()) != 1 || two.Matrix.Cell.Stages[0].Name != "c":
		t.Errorf("matrix: %+v", two.Matrix)
	}
}

// FuzzRead reads whatever parses: problems have places, and nothing panics.
func FuzzRead(f *testing.F) {
	f.Add(inSteps("sh 'make'"))
	f.Add(inStage("matrix { axes { axis { name 'A'; values '1', '2' } } }"))
	f.Add("pipeline { agent { docker 'x' }\n environment { A = 1 + 2 }\n when { not { branch 'a' } } }")
	f.Fuzz(func(t *testing.T, text string) {
		s, wrong := groovy.Parse("Jenkinsfile", text)
		if len(wrong) > 0 {
			return
		}
		call, problem := declarative.Find(s)
		if call == nil {
			if problem != nil && problem.Line == 0 {
				t.Errorf("%+v", problem)
			}
			return
		}
		_, problems := declarative.Read(s, call, declarative.Known{})
		for _, p := range problems {
			if p.Line == 0 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
