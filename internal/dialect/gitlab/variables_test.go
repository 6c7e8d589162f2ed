package gitlab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestReferences(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list string // NAME=VALUE, NAME!=VALUE raw, NAME@=VALUE a file
		keep bool
		want string
	}{
		"three ways":               {"A=1 B=$A,${A},%A%", false, "1 1,1,1"},
		"through others":           {"A=$B B=${C} C=x$D D=4", false, "x4 x4 x4 4"},
		"a later one":              {"A=$B B=1", false, "1 1"},
		"not defined":              {"A=a$NOb", false, "a"},
		"not defined, kept":        {"A=a$NO.b,${NO},%NO%", true, "a$NO.b,${NO},%NO%"},
		"a dollar sign":            {"A=$$B B=1", false, "$$B 1"},
		"a circle":                 {"A=$B B=$A C=$A", false, "$B $A $B"},
		"itself":                   {"A=$A:x", false, "$A:x"},
		"a circle, and one beside": {"A=$B-$C B=$A C=3", false, "$B-$C $A 3"},
		"raw":                      {"A!=$B B=$A", false, "$B $B"},
		"a file is not put in":     {"F@=body A=$F/x", false, "body $F/x"},
		"no name":                  {"A=$ B=50% C=$1 D=${} E=${A", false, "$ 50% $1 ${} ${A"},
		"longest name":             {"A=1 AB=2 C=$AB", false, "1 2 2"},
	} {
		var list []variable
		for _, word := range strings.Fields(c.list) {
			name, value, _ := strings.Cut(word, "=")
			v := variable{Name: strings.TrimRight(name, "!@"), Value: value, Raw: strings.HasSuffix(name, "!"), File: strings.HasSuffix(name, "@")}
			list = append(list, v)
		}
		vars := expandVariables(list, c.keep)
		var got []string
		for _, v := range vars.list {
			got = append(got, v.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s comes to %q, want %q", name, c.list, strings.Join(got, " "), c.want)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	got := layers([]variable{{Name: "A", Value: "1"}, {Name: "B", Value: "1"}}, nil, []variable{{Name: "B", Value: "2", Raw: true}, {Name: "C", Value: "2"}}, []variable{{Name: "A", Value: "3"}})
	if fmt.Sprint(got) != "[{A 3 false false} {B 2 true false} {C 2 false false}]" {
		t.Errorf("%v", got)
	}
}

func TestPredefined(t *testing.T) {
	t.Parallel()
	value := func(c *plan.Change, name string) string {
		for _, v := range predefined(c, Files) {
			if v.Name == name {
				return v.Value
			}
		}
		return "-"
	}
	main, release, merge := branch("feature/Größe_1"), tag("v1.0"), mergeRequestOf("fix")
	schedule := push()
	schedule.Event = "schedule"
	for _, c := range []struct {
		change     *plan.Change
		name, want string
	}{
		{main, "CI_COMMIT_BRANCH", "feature/Größe_1"}, {main, "CI_COMMIT_REF_SLUG", "feature-gr--e-1"}, {main, "CI_COMMIT_TAG", "-"}, {main, "CI_COMMIT_REF_PROTECTED", "false"},
		{main, "CI_PIPELINE_SOURCE", "push"}, {main, "CI_COMMIT_SHORT_SHA", "aaaaaaaa"}, {main, "CI_PROJECT_NAMESPACE", "group/sub"}, {main, "CI_PROJECT_ROOT_NAMESPACE", "group"},
		{main, "CI_PROJECT_NAME", "app"}, {main, "CI_SERVER_HOST", "gitlab.example"}, {main, "CI_PROJECT_URL", "https://gitlab.example/group/sub/app"}, {main, "CI_API_V4_URL", "https://gitlab.example/api/v4"},
		{release, "CI_COMMIT_TAG", "v1.0"}, {release, "CI_COMMIT_BRANCH", "-"}, {release, "CI_COMMIT_REF_NAME", "v1.0"},
		{merge, "CI_COMMIT_BRANCH", "-"}, {merge, "CI_COMMIT_REF_NAME", "fix"}, {merge, "CI_MERGE_REQUEST_IID", "7"}, {merge, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"}, {merge, "CI_PIPELINE_SOURCE", "merge_request_event"},
		{schedule, "CI_PIPELINE_SOURCE", "schedule"}, {push(), "CI_COMMIT_REF_PROTECTED", "true"}, {push(), "CI_JOB_ID", "-"}, {push(), "CI_PIPELINE_ID", "-"},
	} {
		if got := value(c.change, c.name); got != c.want {
			t.Errorf("%s is %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$B ${C} %D%", "$A", "$$A", true)
	f.Add("%%A%%", "${", "$A$A$A", false)
	f.Fuzz(func(t *testing.T, a, b, c string, keep bool) {
		list := []variable{{Name: "A", Value: a}, {Name: "B", Value: b}, {Name: "C", Value: c}, {Name: "D", Value: a + b, Raw: true}}
		vars := expandVariables(list, keep)
		for i, v := range vars.list {
			if v.Name != list[i].Name || list[i].Raw && v.Value != list[i].Value || len(v.Value) > maxExpanded+len(a)+len(b)+len(c) {
				t.Fatalf("%+v became %+v", list[i], v)
			}
		}
		if vars.complete(a) && strings.Contains(vars.expand(a, true), "${UNKNOWN}") {
			t.Fatal("what is not defined counts as known")
		}
	})
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for pattern, paths := range map[string]string{ // ! before what does not match
		"a.txt":             "a.txt !b/a.txt !a.tx !a.txt/b",
		"*.txt":             "a.txt .txt !b/a.txt",
		"*":                 "a .hidden !a/b",
		"src/*":             "src/a !src/a/b !src",
		"src/**/*":          "src/a src/a/b src/.a/b/c !src !srcs/a",
		"src/**":            "src/a !src/a/b",
		"**/*.go":           "a.go a/b/c.go !a.goo !a/b.go/c",
		"**/test/**/*.go":   "test/a.go x/test/y/z/a.go !x/tests/a.go",
		"a/**/b":            "a/b a/x/b a/x/y/b !a/bb !b",
		"{a,b}/c":           "a/c b/c !c/c",
		"*.{js,ts{,x}}":     "a.js a.ts a.tsx !a.tsxx",
		"a?c":               "abc aüc !ac !a/c",
		"[a-c]x":            "ax cx !dx !x",
		"[^a]x":             "bx !ax",
		"[!a-c]x":           "dx !bx",
		`\*`:                "* !a",
		"[":                 "[ !a",
		"a/":                "!a !a/b",
		"Dockerfile*":       "Dockerfile Dockerfile.dev !x/Dockerfile",
		"**/**/**/*":        "a a/b a/b/c/d",
		"":                  "!a",
		"a*b*c":             "abc axbxc aabbcc !abcd",
		"**/a*a*a*a*a*a*b":  "!x/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		".gitlab/**/*.yml":  ".gitlab/a.yml .gitlab/a/b.yml !gitlab/a.yml",
		"{a,b":              "{a,b !a",
		"docs/**/{a,b}*.md": "docs/a.md docs/x/bc.md !docs/c.md",
	} {
		g := newGlob(pattern)
		for p := range strings.FieldsSeq(paths) {
			path, not := strings.CutPrefix(p, "!")
			if g.match(path) == not {
				t.Errorf("%q matches %q: %t", pattern, path, !not)
			}
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("**/{a,b}[c-d]?*", "x/acq")
	f.Add("[", `\`)
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g := newGlob(pattern)
		if len(g) > maxBraces+1 {
			t.Fatalf("%q stands for %d patterns", pattern, len(g))
		}
		g.match(name)
	})
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "90s": 90 * time.Second, "1h": time.Hour, "1h 30m": 90 * time.Minute, "1 hour 30 minutes": 90 * time.Minute, "2 hrs, 5 mins and 1 sec": 2*time.Hour + 5*time.Minute + time.Second,
		"1.5 hours": 90 * time.Minute, "3 days": 72 * time.Hour, "1 week": 168 * time.Hour, "1 month": 720 * time.Hour, "1 mo": 720 * time.Hour, "1 yr": 8760 * time.Hour, "1d12h": 36 * time.Hour, "1:30": 90 * time.Second, "1:00:00": time.Hour,
		"3600 seconds": time.Hour, "10 Minutes": 10 * time.Minute,
		"": -1, "soon": -1, "1 fortnight": -1, "-1": -1, "1h x": -1, "1000000000 years": -1, "1::2": -1,
	} {
		got, err := parseDuration(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}
