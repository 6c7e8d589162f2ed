package gitlab

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		before, lines []string
		want          string // lines of output, without the commands
		verdict       plan.Verdict
	}{
		{name: "one shell for both", before: []string{"x=1", "cd /"}, lines: []string{"echo $x $PWD"}, want: "1 /"},
		{name: "errexit", lines: []string{"false", "echo not here"}, verdict: plan.Failure},
		{name: "errexit in a list", lines: []string{"false || echo caught", "true && false", "echo not here"}, want: "caught", verdict: plan.Failure},
		{name: "a condition is no failure", lines: []string{"if false; then :; fi", "echo on"}, want: "on"},
		{name: "pipefail", lines: []string{"false | true", "echo not here"}, verdict: plan.Failure},
		{name: "standard input is empty", lines: []string{"cat", "echo read"}, want: "read"},
		{name: "an early end that is good", lines: []string{"exit 0", "echo not here"}},
		{name: "several lines", lines: []string{"for i in 1 2; do\n  echo $i\ndone"}, want: "1 2"},
		{name: "quotes", lines: []string{`echo "it's" 'a "b"' \\ '$x' %s`}, want: `it's a "b" \ $x %s`},
		{name: "a here document", lines: []string{"cat <<E\na\n b\nE"}, want: "a  b"},
		{name: "what cannot be parsed", lines: []string{"echo one", "if then"}, want: "one", verdict: plan.Failure},
		{name: "a trap", lines: []string{"trap 'echo bye' EXIT", "false"}, want: "bye", verdict: plan.Failure},
		{name: "functions", before: []string{"f() { echo f $1; }"}, lines: []string{"f 1"}, want: "f 1"},
		{name: "an empty command", lines: []string{"", "echo x"}, want: "x"},
	} {
		for _, shell := range []string{"bash", "sh"} {
			t.Run(tt.name+"/"+shell, func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath(shell); err != nil {
					t.Skip("SKIPPED: there is no " + shell)
				}
				if shell == "sh" && tt.name == "pipefail" && exec.Command("sh", "-c", "set -o pipefail").Run() != nil {
					t.Skip("SKIPPED: this sh has no pipefail")
				}
				st := newStand(t)
				st.d.cfg.LookPath = only(shell)
				p := st.play(&jobSpec{BeforeScript: tt.before, Script: tt.lines})
				if want := tt.verdict; p.verdict != want && (want != "" || p.verdict != plan.Success) {
					t.Errorf("ended in %s, want %s", p.verdict, want)
				}
				var lines []string
				for line := range strings.Lines(p.log) {
					if line = strings.TrimSuffix(line, "\n"); line != "" && !strings.Contains(line, boldGreen) && !strings.Contains(line, "syntax") && !strings.Contains(line, "eval") {
						lines = append(lines, line)
					}
				}
				if got := strings.Join(lines, " "); got != tt.want {
					t.Errorf("printed %q, want %q", got, tt.want)
				}
			})
		}
	}
}

// only finds one program and no other.
func only(name string) func(string) (string, error) {
	return func(program string) (string, error) {
		if program == name {
			return program, nil
		}
		return "", exec.ErrNotFound
	}
}

func TestCommandsArePrinted(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{Script: []string{"echo 'a  b' $CI_JOB_NAME", "echo 1\necho 2\n"}})
	want := "\033[32;1m$ echo 'a  b' $CI_JOB_NAME\033[0;m\na  b job\n" +
		"\033[32;1m$ echo 1 # collapsed multi-line command\033[0;m\n1\n2\n"
	if p.log != want {
		t.Errorf("the log is %q,\n        want %q", p.log, want)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{Script: []string{"x=$CI_JOB_NAME"}, Variables: []variable{{Name: "CI_DEBUG_TRACE", Value: "true"}}})
	if !strings.Contains(p.log, "+ x=job\n") {
		t.Errorf("the log is\n%s", p.log)
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", string(shellText([]string{"exit 42"}, false)))
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("ended with %v", err)
	}
}

func TestAfterScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		spec    jobSpec
		status  plan.Verdict
		want    string
		verdict plan.Verdict
	}{
		{"after success", jobSpec{Script: []string{"export X=1", "cd /"}}, "", "success  app", plan.Success},
		{"after failure", jobSpec{Script: []string{"false"}}, "", "failed  app", plan.Failure},
		{"when cancelled", jobSpec{Script: []string{"touch ran"}}, plan.Cancelled, "canceled  app", plan.Cancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStand(t)
			st.only = tt.status
			tt.spec.AfterScript = []string{`echo "$CI_JOB_STATUS $X ${PWD##*/}" > after`, "false"}
			p := st.play(&tt.spec)
			if got := strings.TrimSpace(p.file(t, "after")); got != tt.want {
				t.Errorf("after_script saw %q, want %q", got, tt.want)
			}
			if p.verdict != tt.verdict {
				t.Errorf("the job ended in %s, want %s: what fails afterwards does not count", p.verdict, tt.verdict)
			}
			if tt.status != "" && p.file(t, "ran") != "" {
				t.Error("the script ran in a cancelled job")
			}
		})
	}
}

func TestAfterScriptLimits(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	spec := &jobSpec{Script: []string{":"}, AfterScript: []string{":"}, Variables: []variable{
		{Name: "RUNNER_AFTER_SCRIPT_TIMEOUT", Value: "90s"}, {Name: "AFTER_SCRIPT_IGNORE_ERRORS", Value: "false"}, {Name: "RUNNER_SCRIPT_TIMEOUT", Value: "2h"},
	}}
	for _, tt := range []struct {
		step, limit string
		ignored     bool
		spec        *jobSpec
	}{
		{stepScript, "2h0m0s", false, spec}, {stepAfter, "1m30s", false, spec},
		{stepScript, "0s", false, &jobSpec{Script: []string{":"}, AfterScript: []string{":"}}}, {stepAfter, "5m0s", true, &jobSpec{Script: []string{":"}, AfterScript: []string{":"}}},
	} {
		s := st.scope(tt.spec)
		session, err := st.d.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Job.Steps {
			if s.Job.Steps[i].ID != tt.step {
				continue
			}
			act, err := session.Resolve(t.Context(), &s.Job.Steps[i], s)
			if err != nil || act.Timeout.String() != tt.limit || act.ContinueOnError != tt.ignored {
				t.Errorf("%s: limit %s, ignored %t, %v; want %s, %t", tt.step, act.Timeout, act.ContinueOnError, err, tt.limit, tt.ignored)
			}
		}
	}
}

func TestNoShell(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.d.cfg.LookPath = only("pwsh")
	s := st.scope(&jobSpec{Script: []string{":"}, Source: plan.Source{File: Files, Line: 3}})
	session, err := st.d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	act, err := session.Resolve(t.Context(), &s.Job.Steps[0], s)
	if err != nil || act.Problem == nil || act.Problem.Line != 3 {
		t.Errorf("resolved to %+v, %v", act, err)
	}
	// In a container nobody can look from outside.
	s.Job.Place.Container = &plan.Container{Image: "alpine"}
	if act, err := session.Resolve(t.Context(), &s.Job.Steps[0], s); err != nil || act.Command == nil || act.Command.Argv[0] != "sh" {
		t.Errorf("in a container: %+v, %v", act, err)
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, line, shown string }{
		{"nothing", "plain text", "plain text"},
		{"a word that looks like one", "the section_start: is here", "the section_start: is here"},
		{"begins", "section_start:1718000000:my_section\r\x1b[0KMy section", "##[group]My section"},
		{"begins, folded", "section_start:1718000000:s[collapsed=true,x=y]\r\x1b[0K\x1b[1mBold\x1b[0m", "##[group]\x1b[1mBold\x1b[0m"},
		{"without a title", "section_start:1:s\r\x1b[0K", "##[group]s"},
		{"ends", "section_end:1718000000:my_section\r\x1b[0K", "##[endgroup]"},
		{"ends without anything", "section_end:1:s", "##[endgroup]"},
		{"ends after text", "last wordssection_end:1:s\r\x1b[0K", "last words\n##[endgroup]"},
		{"one after another", "section_end:1:a\r\x1b[0Ksection_start:1:b\r\x1b[0KB", "##[endgroup]\n##[group]B"},
		{"one in another", "section_start:1:a\r\x1b[0KAsection_start:1:b\r\x1b[0KB", "##[group]A\n##[group]B"},
		{"no time", "section_start:x:s\r\x1b[0KT", "section_start:x:s\r\x1b[0KT"},
	} {
		l := &listener{cover: newCoverage("")}
		if shown, said := l.Line([]byte(tt.line)); string(shown) != tt.shown || said != nil {
			t.Errorf("%s: shows %q, want %q", tt.name, shown, tt.shown)
		}
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pattern, log, want string }{
		{`TOTAL.*\s+(\d+%)$`, "TOTAL 10 3 70%\nTOTAL 10 1 90%\nmore", "90"},
		{`(\d+.\d+)% covered`, "12.5% covered, 13.25% covered", "13.25"},
		{`coverage: \d+\.\d+`, "coverage: 81.20% of statements", "81.20"},
		{`^never$`, "coverage 100", ""},
		{`covered`, "all covered", ""},
		{`(`, "100", ""},
		{``, "100", ""},
		{`(?i)code coverage: \d+`, "Code Coverage: 55\nCODE COVERAGE: none", "55"},
	} {
		st := newStand(t)
		var lines []string
		for line := range strings.SplitSeq(tt.log, "\n") {
			lines = append(lines, "echo "+quote(line))
		}
		st.d.cfg.LookPath = only("sh")
		p := st.play(&jobSpec{Coverage: tt.pattern, Script: []string{": quiet", strings.Join(lines, ";")}})
		if got := p.steps[stepScript].Outputs[outputCoverage]; got != tt.want {
			t.Errorf("%s in %q: %q, want %q", tt.pattern, tt.log, got, tt.want)
		}
		if notes := len(p.said.Notes); (notes == 1) != (tt.want != "") {
			t.Errorf("%s: %d notes", tt.pattern, notes)
		}
	}
}

func FuzzListener(f *testing.F) {
	f.Add("section_start:1:a\r\x1b[0KAsection_end:2:a\r\x1b[0K", `(\d+)%`)
	f.Add("section_start:1:[[[]", `a*`)
	f.Fuzz(func(t *testing.T, line, pattern string) {
		l := &listener{cover: newCoverage(pattern)}
		shown, _ := l.Line([]byte(line))
		if strings.Contains(line, "\n") {
			return
		}
		if strings.Count(string(shown), "##[group]")-strings.Count(line, "##[group]") > strings.Count(line, "section_start:") {
			t.Errorf("%q opens more folds than it says: %q", line, shown)
		}
		if _, err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

var _ dialect.Listener = (*listener)(nil)
