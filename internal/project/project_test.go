package project

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

var update = flag.Bool("update", false, "write the schema and the reference instead of comparing them")

func tree(text string) fs.FS { return fstest.MapFS{Name: {Data: []byte(text)}} }

func read(t *testing.T, text string) (*File, []plan.Problem) {
	t.Helper()
	f, problems, err := Read(tree(text))
	if err != nil || f == nil {
		t.Fatalf("Read: %v, %v", f, err)
	}
	return f, problems
}

func spot(line, col int) plan.Source { return plan.Source{File: Name, Line: line, Col: col} }

func TestRead(t *testing.T) {
	t.Parallel()
	const whole = `# what may be reused
reuse:
  size: 20GB
  zones: [~/.cache/mytool, $MYCACHE, "${TOOLS}/x/../cache"]
  steps:
    - match: "build/npm ci"
      network: pinned
    - match: "*/Fetch rates"
      network: ignore
      max-age: 1d12h
    - match: "deploy*/*"
      never: true
    - {match: "*/test", zones: [/var/lib/mydb/, ~/x//y]}
`
	for _, test := range []struct {
		name, text string
		want       File
	}{
		{"all", strings.ReplaceAll(whole, "x/../", ""), File{Reuse: Reuse{
			Size:  20_000_000_000,
			Zones: []string{"~/.cache/mytool", "$MYCACHE", "$TOOLS/cache"},
			Steps: []StepReuse{
				{Match: "build/npm ci", Network: NetworkPinned, Source: spot(6, 7)},
				{Match: "*/Fetch rates", Network: NetworkIgnore, MaxAge: 36 * time.Hour, Source: spot(8, 7)},
				{Match: "deploy*/*", Never: true, Source: spot(11, 7)},
				{Match: "*/test", Zones: []string{"/var/lib/mydb", "~/x/y"}, Source: spot(13, 7)},
			},
		}}},
		{"empty", "", File{}},
		{"comments", "# nothing yet\n", File{}},
		{"nothing", "---\n", File{}},
		{"section without keys", "reuse:\n  # size: 1GB\n", File{}},
		{"empty lists", "reuse: {zones: [], steps: }\n", File{}},
		{"byte order mark", "\ufeffreuse: {size: 1GB}\n", File{Reuse: Reuse{Size: 1e9}}},
		{"binary units", "reuse: {size: 1.5 KiB}\n", File{Reuse: Reuse{Size: 1536}}},
		{"bytes", "reuse: {size: 12B}\n", File{Reuse: Reuse{Size: 12}}},
		{"any age up to", "reuse: {steps: [{match: '*', max-age: 2w}]}\n", File{Reuse: Reuse{Steps: []StepReuse{
			{Match: "*", MaxAge: 14 * 24 * time.Hour, Source: spot(1, 17)}}}}},
		{"never not", "reuse: {steps: [{match: 'a/b', never: false, network: pinned}]}\n", File{Reuse: Reuse{Steps: []StepReuse{
			{Match: "a/b", Network: NetworkPinned, Source: spot(1, 17)}}}}},
		{"job of a called workflow", "reuse: {steps: [{match: release/build/make, never: true}]}\n", File{Reuse: Reuse{Steps: []StepReuse{
			{Match: "release/build/make", Never: true, Source: spot(1, 17)}}}}},
		{"known issues", "known-issues:\n- name: slow registry\n  pattern: 'ETIMEDOUT .*registry'\n  job: e2e*\n  branch: release/*\n  note: run again\n  link: https://example.com/12\n  verdict: infrastructure\n  until: '2026-12-24'\n", File{Known: []KnownIssue{
			{Name: "slow registry", Pattern: "ETIMEDOUT .*registry", Job: "e2e*", Branch: "release/*", Note: "run again", Link: "https://example.com/12", Verdict: "infrastructure",
				Until: time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC), Source: spot(2, 3)}}}},
		{"tests", "tests:\n  retry: 2\n  affected: true\n  quarantine: {manual: true, days: 7, most: 3, who: [ann, bob]}\n  budgets: {small: 2s, large: 5m}\n", File{Tests: Tests{
			Retry: 2, Affected: true, Budgets: Budgets{Small: 2 * time.Second, Large: 5 * time.Minute}, Quarantine: Quarantine{Manual: true, Days: 7, Most: 3, Who: []string{"ann", "bob"}}}}},
		{"alias", "reuse:\n  zones: &z [/a/a, /b/b]\n  steps:\n  - match: a/*\n    zones: *z\n", File{Reuse: Reuse{
			Zones: []string{"/a/a", "/b/b"},
			Steps: []StepReuse{{Match: "a/*", Zones: []string{"/a/a", "/b/b"}, Source: spot(4, 5)}}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, problems := read(t, test.text)
			if len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got  %+v\nwant %+v", *got, test.want)
			}
			if doc, ok := jsonLike(test.text); ok {
				if bad := violates(t, parsedSchema(t), doc, ""); bad != "" {
					t.Errorf("the schema refuses it: %s", bad)
				}
			}
		})
	}
}

// step is a file with one declaration.
func step(keys string) string { return "reuse:\n  steps:\n  - match: a/b\n    " + keys + "\n" }

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []string // pieces of one problem each, in order
		unseen     bool     // the schema cannot tell
	}{
		{name: "unknown section", text: "reuze:\n  size: 1GB\n", want: []string{`fairlead.yaml:1:1: unknown key "reuze" [fairlead-yaml]: did you mean reuse?`}},
		{name: "unlike any section", text: "observability:\n", want: []string{`1:1: unknown key "observability" [fairlead-yaml]: the sections are pipelines, reuse, tests, gitlab, azure, jenkins, known-issues, databases`}},
		{name: "unknown key", text: "reuse:\n  zone: [/x]\n", want: []string{`2:3: unknown key "zone" [fairlead-yaml]: did you mean zones?`}},
		{name: "underscore", text: step("max_age: 24h"), want: []string{`4:5: unknown key "max_age" [fairlead-yaml]: did you mean max-age?`}},
		{name: "several", text: "reuse:\n  size: big\n  zones: [/]\n  steps:\n  - match: build\n    never: yes\n", want: []string{
			`2:9: "big" is not a size`, `3:11: "/" holds all that a step works with`,
			`5:12: "build" matches nothing: a pattern stands for a job and a step of it [fairlead-yaml]: write build/* for all`,
			`6:12: never must be true or false, not the text "yes"`}},
		{name: "known issues", text: "known-issues:\n- {name: a, pattern: (b}\n- {name: a, pattern: b*, link: example.com, verdict: infra, until: soon}\n- {pattern: b}\n", want: []string{
			`2:22: "(b" is no regular expression: missing closing )`, `3:22: "b*" matches every line`, `3:32: "example.com" is no address of a page`, `3:54: "infra" is not your change or`,
			`3:68: until must be a day, not the text "soon" [fairlead-yaml]: write year, month and day`, `4:3: name is missing`}},
		{name: "twice", text: "reuse:\n  size: 1GB\n  size: 2GB\n", want: []string{`3:3: size is given twice, first at line 2`}, unseen: true},
		{name: "list for mapping", text: "reuse: [a]\n", want: []string{`1:8: reuse must be a mapping, not a list [fairlead-yaml]: the keys of reuse are size, zones, steps`}},
		{name: "text for file", text: "hello\n", want: []string{`1:1: the file must be a mapping, not the text "hello" [fairlead-yaml]: the sections are pipelines, reuse, tests, gitlab, azure, jenkins, known-issues, databases`}},
		{name: "number for size", text: "reuse: {size: 20}\n", want: []string{`1:15: size must be a number and a unit, not the number 20 [fairlead-yaml]: write a number and a unit, such as 500MB`}},
		{name: "nothing for size", text: "reuse:\n  size:\n", want: []string{`2:8: size must be a number and a unit, not nothing`}},
		{name: "no room", text: "reuse: {size: 0.1B}\n", want: []string{`"0.1B" is no room at all`}, unseen: true},
		{name: "too much room", text: "reuse: {size: 99999999999TB}\n", want: []string{`is more than any disk holds`}, unseen: true},
		{name: "far too much room", text: "reuse: {size: " + strings.Repeat("9", 500) + "B}\n", want: []string{`is more than any disk holds`}, unseen: true},
		{name: "unit alone", text: "reuse: {size: GB}\n", want: []string{`"GB" is not a size`}},
		{name: "text for zones", text: "reuse:\n  zones: ~/.cache/x\n", want: []string{`2:10: zones must be a list of directories, not the text "~/.cache/x" [fairlead-yaml]: put it in square brackets`}},
		{name: "tilde is null", text: "reuse: {zones: [~]}\n", want: []string{`1:17: an entry of zones must be a directory, not nothing`}},
		{name: "date for text", text: "reuse: {zones: [2024-01-02]}\n", want: []string{`not the date 2024-01-02`}, unseen: true},
		{name: "tag", text: "reuse: {size: !big 2GB}\n", want: []string{`not a value with the tag !big`}, unseen: true},
		{name: "mapping for text", text: "reuse: {size: {a: b}}\n", want: []string{`1:15: size must be a number and a unit, not a mapping`}},

		{name: "too many retries", text: "tests: {retry: 99}\n", want: []string{`1:16: retry must be a whole number from 0 to 5`}},
		{name: "a budget without a unit", text: "tests:\n  budgets:\n    small: 5\n    tiny: 1s\n", want: []string{`3:12: small must be a length of time`, `4:5: unknown key "tiny"`}},
		{name: "text for a number", text: "tests:\n  quarantine:\n    days: two\n    most: 1.5\n", want: []string{`3:11: days must be a whole number from 1 to 90, not the text "two"`, `4:11: most must be a whole number from 1 to 10000, not the number 1.5`}},
		{name: "far too large a number", text: "tests: {retry: 99999999999999999999}\n", want: []string{`1:16: retry must be`}, unseen: true},
		{name: "no match", text: "reuse: {steps: [{never: true}]}\n", want: []string{`1:17: match is missing [fairlead-yaml]: write job/step`}},
		{name: "entry without keys", text: "reuse: {steps: [null]}\n", want: []string{`1:17: an entry of steps must be a mapping, not nothing [fairlead-yaml]: the keys of a step are match, network`}},
		{name: "nothing declared", text: "reuse: {steps: [{match: a/b}]}\n", want: []string{`1:17: nothing is declared for the steps that match`}},
		{name: "pattern without job", text: "reuse: {steps: [{match: /b, never: true}]}\n", want: []string{`"/b" matches nothing`}},
		{name: "pattern without step", text: "reuse: {steps: [{match: a/, never: true}]}\n", want: []string{`"a/" matches nothing`}},
		{name: "empty pattern", text: "reuse: {steps: [{match: '', never: true}]}\n", want: []string{`"" matches nothing`}},
		{name: "line break", text: "reuse: {steps: [{match: \"a/b\\nc\", never: true}]}\n", want: []string{`holds a line break`}},
		{name: "long pattern", text: "reuse: {steps: [{match: a/" + strings.Repeat("b", maxText) + ", never: true}]}\n", want: []string{`is longer than any step's name`}, unseen: true},
		{name: "unknown network", text: step("network: pined"), want: []string{`4:14: "pined" is not pinned or ignore [fairlead-yaml]: did you mean pinned?`}},
		{name: "boolean network", text: step("network: true"), want: []string{`4:14: network must be pinned or ignore, not the boolean true`}},
		{name: "ignored for ever", text: step("network: ignore"), want: []string{`4:5: network: ignore needs a max-age: without one, an answer that the step was given once would stand for ever [fairlead-yaml]: add how long`}},
		{name: "never and more", text: step("never: true\n    network: pinned\n    zones: [/x/y]"), want: []string{
			`5:5: network says how the step is reused, and never: true says that it is not`, `6:5: zones says how`}},
		{name: "no unit of time", text: step("max-age: 24"), want: []string{`4:14: max-age must be a length of time, not the number 24`}},
		{name: "unknown unit of time", text: step("max-age: 3y"), want: []string{`4:14: "3y" is not a length of time`}},
		{name: "no time", text: step("max-age: 0h"), want: []string{`"0h" is no time at all`}, unseen: true},
		{name: "too long", text: step("max-age: 99999999w"), want: []string{`is longer than can be reckoned with`}, unseen: true},
		{name: "sum too long", text: step("max-age: 15000w15000w"), want: []string{`is longer than can be reckoned with`}, unseen: true},

		{name: "workspace", text: step("zones: [., ./, a/.., '']"), want: []string{`"." holds all`, `"./" holds all`, `"a/.." holds all`, `"" is no directory`}},
		{name: "home", text: step("zones: [~/, $HOME, '${HOME}/', ~/.]"), want: []string{`"~/" holds all`, `"$HOME" holds all`, `"${HOME}/" holds all`, `"~/." holds all`}},
		{name: "workspace by name", text: step("zones: [$GITHUB_WORKSPACE]"), want: []string{`"$GITHUB_WORKSPACE" holds all`}},
		{name: "root in disguise", text: step("zones: [/usr/.., //]"), want: []string{`"/usr/.." holds all`, `"//" holds all`}, unseen: true},
		{name: "in the workspace", text: step("zones: [node_modules/.cache, ./a]"), want: []string{`"node_modules/.cache" lies in the workspace`, `"./a" lies in`}, unseen: true},
		{name: "top directory", text: step("zones: [/usr, /var/]"), want: []string{`"/usr" is a whole top directory`, `"/var/" is a whole`}, unseen: true},
		{name: "temporary directory", text: step("zones: [$RUNNER_TEMP]"), want: []string{`"$RUNNER_TEMP" holds all`}},
		{name: "up", text: step("zones: [../x, $A/../../x, ~/a/../b]"), want: []string{`"../x" goes up`, `"$A/../../x" goes up`, `goes up`}, unseen: true},
		{name: "pattern as zone", text: step("zones: ['**/node_modules']"), want: []string{`is a pattern; a zone is one directory`}, unseen: true},
		{name: "not a variable", text: step("zones: [$1/x, a$B, '${A', '$A/$B']"), want: []string{`"$1/x" holds a $`, `"a$B" holds a $`, `"${A" holds a $`, `"$A/$B" holds a $`}, unseen: true},
		{name: "other's home", text: step("zones: [~bob/x]"), want: []string{`names another user's home directory`}, unseen: true},
		{name: "long path", text: step("zones: [/" + strings.Repeat("b", maxText) + "]"), want: []string{`is too long for a path`}, unseen: true},
		{name: "control character", text: step(`zones: ["/a\e[31m"]`), want: []string{"\"/a\uFFFD[31m\" holds a control character"}, unseen: true},

		{name: "not YAML", text: "reuse:\n  size: [1\n", want: []string{`not valid YAML`}, unseen: true},
		{name: "not YAML later", text: "reuse:\n  size: 1GB\n\tzones: []\n", want: []string{`2:8: not valid YAML: found a tab character`}, unseen: true},
		{name: "two documents", text: "reuse: {}\n---\nreuse: {}\n", want: []string{`2:1: a second YAML document begins here`}, unseen: true},
		{name: "merge", text: "reuse:\n  <<: {size: 1GB}\n", want: []string{`2:3: the merge key << is not understood`}, unseen: true},
		{name: "key that is a list", text: "[a]: b\n", want: []string{`1:1: a key must be a single word, not a list`}, unseen: true},
		{name: "repeated by an alias", text: "reuse:\n  steps: [&a {match: a/b, never: no}, *a, *a]\n", want: []string{`2:34: never must be`}},
		{name: "alias of itself", text: "reuse: &a\n  steps: [*a]\n", want: []string{`2:3: unknown key "steps"`, `match is missing`}, unseen: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, problems := read(t, test.text)
			if len(problems) != len(test.want) {
				t.Fatalf("%d problems, want %d: %v", len(problems), len(test.want), problems)
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), test.want[i]) {
					t.Errorf("problem %d\n is %s\nnot %s", i, p, test.want[i])
				}
				if p.Rule != rule || p.Hint == "" || p.Severity != plan.Error || p.Line == 0 {
					t.Errorf("problem %d has no rule, hint or place: %+v", i, p)
				}
			}
			if doc, ok := jsonLike(test.text); !test.unseen && (!ok || violates(t, parsedSchema(t), doc, "") == "") {
				t.Error("the schema accepts it")
			}
		})
	}
}

func TestFaultyEntriesAreLeftOut(t *testing.T) {
	t.Parallel()
	f, problems := read(t, "reuse:\n  zones: [/a/a, /, /b/b]\n  steps: [{match: x/y, never: true}, {match: z}]\n")
	if len(problems) != 2 || len(f.Reuse.Zones) != 2 || len(f.Reuse.Steps) != 1 {
		t.Errorf("%+v\n%v", f, problems)
	}
}

// hostile texts: each must be answered within the limits.
func hostile(scale int) map[string]string {
	many := func(s string, n int) string { return strings.Repeat(s, n*scale) }
	bomb := "reuse:\n  a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += "  " + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 9) + "x]\n"
	}
	return map[string]string{
		"bomb":             bomb + "  zones: *j\n",
		"aliases":          "reuse:\n  zones: &z [" + many("/a/b, ", 100)[:min(400*scale, 400)] + "]\n  steps: [&s {match: a/b, zones: *z}" + many(", *s", 900)[:min(4*900*scale, 4*999)] + "]\n",
		"aliases of lists": "reuse:\n  zones: &z [" + many("*z, ", 50)[:min(200*scale, 200)] + "]\n",
		"flow depth":       many("[", 100),
		"block depth":      "reuse:\n" + many("- ", 100) + "x\n",
		"many keys":        many("a: b\n", 200),
		"many zones":       "reuse: {zones: [" + many("/a,", 200) + "]}\n",
		"many bad steps":   "reuse: {steps: [" + many("{},", 90)[:min(270*scale, 2997)] + "]}\n",
		"long text":        "reuse: {size: " + many("9", 1000) + "}\n",
		"long time":        "reuse: {steps: [{match: a/b, max-age: " + many("9s", 1000) + "}]}\n",
		"long key":         many("reuse", 200) + ": 1\n",
		"too large":        many("# comment\n", 200),
		"question marks":   many("? ", 50),
		"nul":              "reuse: \x00\x01",
		"bad utf-8":        "reuse: {size: \xff\xfe}\n",
		"utf-16":           "\xff\xfer\x00e\x00:\x00 \x00x\x00",
		"documents":        many("---\n", 200),
	}
}

// sane: what every answer must be like.
func sane(t *testing.T, f *File, problems []plan.Problem) {
	t.Helper()
	if len(problems) > maxProblems+1 {
		t.Errorf("%d problems", len(problems))
	}
	for _, p := range problems {
		if p.Message == "" || p.Hint == "" || p.Rule != rule || len(p.Message) > 500 || len(p.Hint) > 500 || strings.ContainsAny(p.Message+p.Hint, "\n\x1b\x00") {
			t.Errorf("a problem that cannot be shown: %q %q", p.Message, p.Hint)
		}
	}
	if f.Reuse.Size < 0 || len(f.Reuse.Zones) > maxZones || len(f.Reuse.Steps) > maxSteps {
		t.Errorf("beyond the limits: %d bytes, %d zones, %d steps", f.Reuse.Size, len(f.Reuse.Zones), len(f.Reuse.Steps))
	}
	zones := f.Reuse.Zones
	for _, s := range f.Reuse.Steps {
		zones = append(zones, s.Zones...)
		if s.Match == "" || s.MaxAge < 0 || s.Source.Line == 0 || s.Network == NetworkIgnore && s.MaxAge == 0 || s.Never && (s.Network != "" || s.MaxAge != 0 || len(s.Zones) > 0) {
			t.Errorf("a declaration that must not be: %+v", s)
		}
	}
	for _, z := range zones {
		if z == "" || z == "/" || z == "." || z == "~" || strings.HasPrefix(z, "..") {
			t.Errorf("a zone that must not be: %q", z)
		}
	}
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for name, text := range hostile(1000) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, problems := read(t, text)
			if !plan.Errors(problems) {
				t.Error("no problem is reported")
			}
			sane(t, f, problems)
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range hostile(1) {
		f.Add([]byte(text))
	}
	f.Add([]byte("reuse:\n  size: 1.5GiB\n  zones: [~/a, $B/c, '${D}']\n  steps:\n  - {match: 'a*/b', network: ignore, max-age: 1d2h}\n  - {match: a/b, never: true}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, problems := read(t, string(src))
		sane(t, file, problems)
	})
}

// TestDay: YAML takes a day that is not quoted for one of its own.
func TestDay(t *testing.T) {
	t.Parallel()
	f, problems := read(t, "known-issues: [{name: a, pattern: b, until: 2026-12-24}]\n")
	if len(problems) > 0 || len(f.Known) != 1 || f.Known[0].Until.Format(time.DateOnly) != "2026-12-24" {
		t.Errorf("%+v, %v", f.Known, problems)
	}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	f, problems, err := Read(fstest.MapFS{"go.mod": {}})
	if err != nil || len(problems) > 0 || !reflect.DeepEqual(f, &File{}) {
		t.Errorf("%+v, %v, %v", f, problems, err)
	}
	_, problems, err = Read(fstest.MapFS{"fairlead.yml": {Data: []byte("nonsense: [")}})
	if err != nil || len(problems) != 1 || problems[0].Severity != plan.Warning || !strings.Contains(problems[0].String(), "fairlead.yml: a file of this name is not read") {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	name := filepath.Join(root, Name)
	check := func(want string) {
		t.Helper()
		_, problems, err := Read(dir.FS())
		if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, want) || problems[0].Hint == "" {
			t.Errorf("%v, %v; want %s", problems, err, want)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	check("not a plain file")
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), name); err != nil {
		t.Fatal(err)
	}
	check("cannot be read")
	if err := os.WriteFile(name, bytes.Repeat([]byte("#"), maxFileSize+1), 0o644); err != nil {
		t.Fatal(err)
	}
	check("more than 1048576 bytes")
}

// broken is a file whose reading fails.
type broken struct{ fs.File }

func (broken) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

type brokenTree struct{ fstest.MapFS }

func (b brokenTree) Open(name string) (fs.File, error) {
	f, err := b.MapFS.Open(name)
	return broken{f}, err
}

func TestReadError(t *testing.T) {
	t.Parallel()
	_, _, err := Read(brokenTree{fstest.MapFS{Name: {Data: []byte("x")}}})
	if err == nil || !strings.Contains(err.Error(), "read fairlead.yaml: input/output error") {
		t.Errorf("%v", err)
	}
}
