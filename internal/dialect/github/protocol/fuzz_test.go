package protocol

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// FuzzLine feeds whole outputs, line by line.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		"::error file=a,line=1::x\nplain", "##[error]x", "::stop-commands::t\n::error::x\n::t::\n::error::y",
		"::add-mask::a%0Ab", "::echo::on\n::group::x\n::endgroup::", "::set-output name=a::b", "::set-env name=NODE_OPTIONS::x",
		"::remove-matcher owner=m::", "::add-matcher::nope.json", "bad: file.go:3 \x1b[31mred\x1b[m", "\xff::error::\xfe",
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, output []byte, allow bool) {
		j := NewJob(Options{Workspace: "/nowhere"})
		list, err := parseMatchers([]byte(`{"problemMatcher":[{"owner":"m","pattern":[{"regexp":"^(bad): (\\S+):(\\d+) ?(.*)$","severity":1,"file":2,"line":3,"message":4}]}]}`))
		if err != nil || !j.add(list) {
			t.Fatal(err)
		}
		l := &listener{job: j, allow: allow} // making files would be all that is measured
		for line := range bytes.SplitSeq(output, []byte("\n")) {
			before := string(line)
			shown, said := l.Line(line)
			if string(line) != before {
				t.Fatalf("the line %q was changed to %q", before, line)
			}
			if !bytes.Contains(line, []byte(":")) && !bytes.Contains(line, legacyPrefix) && (string(shown) != before || said != nil) {
				t.Fatalf("plain text %q was shown as %q and meant %v", before, shown, said)
			}
			if said != nil && meaning(*said) == "" {
				t.Fatalf("%q meant nothing, yet said something", before)
			}
		}
	})
}

// FuzzEnvFile checks that settings survive being written again as heredocs.
func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB<<E\nx\nE\n", "A==", "A<<\n", "<<E\nE", "A<<E\n\r\nE\r\n", "A<<=\n=", "\r\n"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, crlf bool) {
		settings, _ := parseSettings(text, crlf)
		var b strings.Builder
		for _, s := range settings {
			if s.Name == "" || strings.Contains(s.Name, "\n") {
				t.Fatalf("a setting has the name %q", s.Name)
			}
			if strings.Contains(s.Name, "<<") || strings.Contains(s.Name, "=") {
				t.Fatalf("the name %q holds what ends names", s.Name)
			}
			if strings.HasSuffix(s.Name, "<") {
				return // NAME<=x has no other form
			}
			delimiter := "E"
			for strings.Contains(s.Value, delimiter) {
				delimiter += "E"
			}
			b.WriteString(s.Name + "<<" + delimiter + "\n" + s.Value + "\n" + delimiter + "\n")
		}
		again, err := parseSettings(b.String(), false)
		if err != nil || len(again) != len(settings) {
			t.Fatalf("%q: %v", b.String(), err)
		}
		for i := range again {
			if again[i] != settings[i] {
				t.Fatalf("%q became %q", settings[i], again[i])
			}
		}
	})
}

// FuzzMatcherFile compiles any matcher file and shows its matchers lines.
func FuzzMatcherFile(f *testing.F) {
	f.Add([]byte(`{"problemMatcher":[{"owner":"m","severity":"warning","pattern":[{"regexp":"^(.+)$","file":1},{"regexp":"^ (.+)$","message":"1","loop":true}]}]}`), "a\n b\n c")
	f.Add([]byte("// c\n{\"problemMatcher\":[{\"owner\":\"m\",\"pattern\":[{\"regexp\":\"(?<x>a)|\\\\d*\",\"message\":0,},]}]}"), "a")
	f.Add([]byte(`{"problemMatcher":[{}]}`), "")
	f.Add([]byte(`[/*`), "")
	f.Fuzz(func(t *testing.T, file []byte, output string) {
		if len(file) > 1<<12 || len(output) > 1<<10 {
			return
		}
		list, err := parseMatchers(file)
		if err != nil {
			if err.Error()[0] != ':' {
				t.Fatalf("the error %q does not continue a file's name", err)
			}
			return
		}
		j := NewJob(Options{Workspace: "/nowhere"})
		if !j.add(list) {
			return
		}
		for _, m := range list { // a fuzzed pattern may be slow: that is not what is tested here
			for i := range m.patterns {
				m.patterns[i].re.MatchTimeout = matchTimeout / 100
			}
		}
		l := &listener{job: j}
		for line := range strings.SplitSeq(output, "\n") {
			_, said := l.Line([]byte(line))
			if said != nil {
				for _, n := range said.Notes {
					if n.Level != plan.ErrorLevel && n.Level != plan.WarningLevel && n.Level != plan.Notice {
						t.Fatalf("a remark of level %q", n.Level)
					}
				}
			}
		}
	})
}
