package protocol

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// said listens to lines, and gathers what they came to.
func said(l *Listener, lines ...string) (shown []string, fx plan.Effects) {
	for _, line := range lines {
		out, e := l.Line([]byte(line))
		if out != nil {
			shown = append(shown, string(out))
		}
		fx.Merge(e)
	}
	left, _ := l.Close()
	fx.Merge(&left)
	return shown, fx
}

func TestLine(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) (list []plan.Setting) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, plan.Setting{Name: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	for name, c := range map[string]struct {
		line  string
		shown string // "-" for nothing
		want  plan.Effects
	}{
		"text":             {"hello", "hello", plan.Effects{}},
		"empty":            {"", "", plan.Effects{}},
		"marks":            {"# not a command ##", "# not a command ##", plan.Effects{}},
		"error format":     {"##[error]no", "Error: no", plan.Effects{}},
		"warning format":   {"##[warning]hm", "Warning: hm", plan.Effects{}},
		"section":          {"##[section]Now", "Now", plan.Effects{}},
		"debug":            {"##[debug]x", "-", plan.Effects{}},
		"group":            {"##[group]Compile", "##[group]Compile", plan.Effects{}},
		"unknown format":   {"##[x]y", "##[x]y", plan.Effects{}},
		"not closed":       {"##vso[task.setvariable", "##vso[task.setvariable", plan.Effects{}},
		"variable":         {"##vso[task.setvariable variable=My.Var]a b", "-", plan.Effects{Env: env("my.var", "a b")}},
		"inside a line":    {"INFO ##vso[task.setvariable variable=v;]x", "-", plan.Effects{Env: env("v", "x")}},
		"escapes":          {"##vso[task.setvariable variable=a%3Bb;]%0D%0A%AZP25%5D", "-", plan.Effects{Env: env("a;b", "\r\n%]")}},
		"output":           {"##vso[task.setvariable variable=V;isOutput=true]x", "-", plan.Effects{Outputs: env("V", "x")}},
		"secret":           {"##vso[task.setvariable variable=v;issecret=true]x1", "-", plan.Effects{Env: env("v", "x1", "!v", "true"), Masks: []string{"x1"}}},
		"secret output":    {"##vso[task.setvariable variable=v;isOutput=TRUE;isSecret=true]x1", "-", plan.Effects{Env: env("step.v", "x1", "!step.v", SecretOutput), Masks: []string{"x1"}}},
		"read-only":        {"##vso[task.setvariable variable=v;isreadonly=true]x", "-", plan.Effects{Env: env("v", "x", "=v", "true")}},
		"remains a secret": {"##vso[task.setvariable variable=known]x1", "-", plan.Effects{Env: env("known", "x1", "!known", "true"), Masks: []string{"x1"}}},
		"mask":             {"##vso[task.setsecret]hush", "-", plan.Effects{Masks: []string{"hush"}}},
		"path":             {"##vso[task.prependpath]/opt/bin", "-", plan.Effects{Path: []string{"/opt/bin"}}},
		"issue": {"##vso[task.logissue type=error;sourcepath=/w/a/b.c;linenumber=3;columnnumber=7;code=E1]bad", "Error: a/b.c:3: bad",
			plan.Effects{Notes: []plan.Annotation{{Level: plan.ErrorLevel, Title: "E1", Message: "bad", File: "a/b.c", Line: 3, Col: 7}}}},
		"issue without a place": {"##vso[task.logissue type=warning]hm", "Warning: hm", plan.Effects{Notes: []plan.Annotation{{Level: plan.WarningLevel, Message: "hm"}}}},
		"complete":              {"##vso[task.complete result=Succeeded;]done", "done", plan.Effects{}},
		"complete failed":       {"##vso[task.complete result=Failed;]no", "no", plan.Effects{Fail: "no"}},
		"complete with issues":  {"##vso[task.complete result=SucceededWithIssues]", "-", plan.Effects{Outputs: env("#result", "SucceededWithIssues")}},
		"build number":          {"##vso[build.updatebuildnumber]1.2", "Build number: 1.2", plan.Effects{Env: env("build.buildnumber", "1.2")}},
		"lacking":               {"##vso[fairlead.lacking]node 99 is wanted", "Error: node 99 is wanted", plan.Effects{Lacking: "node 99 is wanted"}},
		"task debug":            {"##vso[task.debug]x", "-", plan.Effects{}},
		"progress":              {"##vso[task.setprogress value=75;]x", "-", plan.Effects{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := (&Job{Workspace: "/w"}).Listen(Options{ID: "Step", Secret: func(n string) bool { return n == "known" }})
			shown, fx := said(l, c.line)
			if got := strings.Join(shown, "\n"); c.shown == "-" && shown != nil || c.shown != "-" && (got != c.shown || shown == nil) {
				t.Errorf("shown %q, want %q", shown, c.shown)
			}
			if !reflect.DeepEqual(fx, c.want) {
				t.Errorf("\n got %+v\nwant %+v", fx, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	j := &Job{}
	_, fx := said(j.Listen(Options{Readonly: func(n string) bool { return n == "v" }}), "##vso[task.setvariable variable=V]x")
	if fx.Env != nil || len(fx.Notes) != 1 {
		t.Errorf("a read-only variable was set: %+v", fx)
	}
	_, fx = said(j.Listen(Options{Restricted: true}), "##vso[task.prependpath]/x", "##vso[task.setvariable variable=v]x")
	if fx.Path != nil || len(fx.Env) != 1 {
		t.Errorf("restricted: %+v", fx)
	}
	_, fx = said(j.Listen(Options{Limited: true, Settable: []string{"Ok"}}), "##vso[task.setvariable variable=v]x", "##vso[task.setvariable variable=ok]y")
	if len(fx.Env) != 1 || fx.Env[0].Name != "ok" {
		t.Errorf("settableVariables: %+v", fx)
	}
	for _, line := range []string{"##vso[task.setvariable]x", "##vso[task.setvariable variable=!v]x", "##vso[task.setvariable variable==v]x"} {
		if _, fx = said(j.Listen(Options{}), line); fx.Fail == "" {
			t.Errorf("%s is no failure", line)
		}
	}
	if _, fx = said(j.Listen(Options{}), "##vso[no.such]x"); len(fx.Notes) != 1 {
		t.Errorf("an unknown command is no warning: %+v", fx)
	}
	big := strings.Repeat("x", 1<<20)
	lines := make([]string, 17)
	for i := range lines {
		lines[i] = "##vso[task.setvariable variable=v]" + big
	}
	if _, fx = said(j.Listen(Options{}), lines...); fx.Fail == "" {
		t.Error("values without limit")
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "summary.md")
	if err := os.WriteFile(file, []byte("# Done"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := (&Job{}).Listen(Options{})
	_, fx := said(l, "##vso[task.uploadsummary]"+file, "##vso[artifact.upload artifactname=drop;containerfolder=x]/tmp/y")
	if string(fx.Summary) != "# Done" {
		t.Errorf("summary %q", fx.Summary)
	}
	if want := []Upload{{Artifact: "drop", Path: "/tmp/y"}}; !reflect.DeepEqual(l.Uploads(), want) {
		t.Errorf("uploads %+v", l.Uploads())
	}
	if _, fx := said((&Job{}).Listen(Options{}), "##vso[task.uploadsummary]"+filepath.Dir(file)); fx.Summary != nil || len(fx.Notes) != 1 {
		t.Errorf("a directory as a summary: %+v", fx)
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"##vso[task.setvariable variable=a;isOutput=true]b", "##[error]x", "##vso[task.logissue type=error;linenumber=1]x", "##vso[a.b c=d;e", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		l := (&Job{Workspace: "/w", Debug: true}).Listen(Options{ID: "s"})
		_, fx := said(l, line, line)
		for _, s := range fx.Env {
			if s.Name == "" {
				t.Errorf("%q sets a variable without a name", line)
			}
		}
		if !strings.Contains(line, "##") && fx.Env != nil {
			t.Errorf("%q is no command", line)
		}
	})
}
