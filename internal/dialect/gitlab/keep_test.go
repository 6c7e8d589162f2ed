package gitlab

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestCaches(t *testing.T) {
	t.Parallel()
	branch := func(name string) func(*stand) {
		return func(st *stand) { st.context.Change.Ref = "refs/heads/" + name }
	}
	lock := func(text string) func(*stand) { return func(st *stand) { st.tree["go.sum"] = text } }
	always := cacheSpec{Key: "k", Paths: []string{"deps"}, When: "always"}
	for _, tt := range []struct {
		name      string
		save      cacheSpec
		saveWhere func(*stand)
		fails     bool // the job that saves
		restore   cacheSpec
		where     func(*stand)
		vars      []variable
		want      bool
	}{
		{name: "the same key", save: cacheSpec{Key: "k"}, restore: cacheSpec{Key: "k"}, want: true},
		{name: "no key is default", save: cacheSpec{}, restore: cacheSpec{Key: "default"}, want: true},
		{name: "another key", save: cacheSpec{Key: "k"}, restore: cacheSpec{Key: "k2"}},
		{name: "no prefixes", save: cacheSpec{Key: "k-1"}, restore: cacheSpec{Key: "k"}},
		{name: "other paths do not matter", save: cacheSpec{Key: "k"}, restore: cacheSpec{Key: "k", Paths: []string{"x"}}, want: true},
		{name: "variables in keys", save: cacheSpec{Key: "main-$V"}, restore: cacheSpec{Key: "$CI_COMMIT_REF_SLUG-1"}, vars: []variable{{Name: "V", Value: "1"}}, want: true},
		{name: "a fallback", save: cacheSpec{Key: "old"}, restore: cacheSpec{Key: "k", Fallback: []string{"none", "$V"}}, vars: []variable{{Name: "V", Value: "old"}}, want: true},
		{name: "a fallback for all", save: cacheSpec{Key: "old"}, restore: cacheSpec{Key: "k"}, vars: []variable{{Name: "CACHE_FALLBACK_KEY", Value: "old"}}, want: true},
		{name: "pull saves nothing", save: cacheSpec{Key: "k", Policy: "pull"}, restore: cacheSpec{Key: "k"}},
		{name: "push restores nothing", save: cacheSpec{Key: "k"}, restore: cacheSpec{Key: "k", Policy: "push"}},
		{name: "a policy in a variable", save: cacheSpec{Key: "k", Policy: "$P"}, restore: cacheSpec{Key: "k"}, vars: []variable{{Name: "P", Value: "pull"}}},
		{name: "a failed job saves nothing", save: cacheSpec{Key: "k"}, fails: true, restore: cacheSpec{Key: "k"}},
		{name: "unless it says always", save: always, fails: true, restore: cacheSpec{Key: "k"}, want: true},
		{name: "or on_failure", save: cacheSpec{Key: "k", When: "on_failure"}, fails: true, restore: cacheSpec{Key: "k"}, want: true},
		{name: "which success is not", save: cacheSpec{Key: "k", When: "on_failure"}, restore: cacheSpec{Key: "k"}},
		{name: "protected branches keep theirs", save: cacheSpec{Key: "k"}, restore: cacheSpec{Key: "k"}, where: branch("topic")},
		{name: "and topics theirs", save: cacheSpec{Key: "k"}, saveWhere: branch("topic"), restore: cacheSpec{Key: "k"}, where: branch("main")},
		{name: "topics share", save: cacheSpec{Key: "k"}, saveWhere: branch("topic"), restore: cacheSpec{Key: "k"}, where: branch("other"), want: true},
		{name: "unprotect", save: cacheSpec{Key: "k", Unprotect: true}, restore: cacheSpec{Key: "k"}, where: branch("topic"), want: true},
		{name: "files", save: cacheSpec{KeyFiles: []string{"go.sum"}}, saveWhere: lock("a"), restore: cacheSpec{KeyFiles: []string{"go.sum"}}, want: true},
		{name: "files that changed", save: cacheSpec{KeyFiles: []string{"go.sum"}}, saveWhere: lock("a"), restore: cacheSpec{KeyFiles: []string{"go.sum"}}, where: lock("b")},
		{name: "files by pattern", save: cacheSpec{KeyFiles: []string{"*.sum"}}, saveWhere: lock("a"), restore: cacheSpec{KeyFiles: []string{"*.sum"}}, where: lock("b")},
		{name: "a prefix", save: cacheSpec{KeyFiles: []string{"go.sum"}, Prefix: "$CI_JOB_STAGE"}, saveWhere: lock("a"), restore: cacheSpec{KeyFiles: []string{"go.sum"}}},
		{name: "files that are not there", save: cacheSpec{KeyFiles: []string{"nope", "../x"}}, restore: cacheSpec{Key: "default"}, want: true},
		{name: "paths by pattern", save: cacheSpec{Key: "k", Paths: []string{"deps/a*"}}, restore: cacheSpec{Key: "k"}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStand(t)
			if tt.saveWhere != nil {
				tt.saveWhere(st)
			}
			if tt.save.Paths == nil {
				tt.save.Paths = []string{"deps/"}
			}
			script := "mkdir -p deps/b; echo one > deps/a; echo two > deps/b/c; chmod 755 deps/b/c"
			if tt.fails {
				script += "; false"
			}
			saved := st.play(&jobSpec{ID: "build", Stage: "build", Cache: []cacheSpec{tt.save}, Variables: tt.vars, Script: []string{script}})
			if (saved.verdict == plan.Failure) != tt.fails {
				t.Fatal(saved.log)
			}
			if tt.where != nil {
				tt.where(st)
			}
			p := st.play(&jobSpec{ID: "test", Stage: "test", Cache: []cacheSpec{tt.restore}, Variables: tt.vars, Script: []string{":"}})
			if got := p.file(t, "deps/a") == "one\n"; got != tt.want {
				t.Errorf("restored: %t, want %t\n%s%s", got, tt.want, saved.log, p.log)
			}
		})
	}
}

// TestKeyIsMadeBeforeTheScript: a script may change the very files.
func TestKeyIsMadeBeforeTheScript(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"pull-push", "push"} {
		st := newStand(t)
		st.tree["lock"] = "1"
		p := st.play(&jobSpec{Cache: []cacheSpec{{KeyFiles: []string{"lock"}, Paths: []string{"deps"}, Policy: policy}}, Script: []string{"echo 2 > lock; echo x > deps"}})
		if next := st.play(&jobSpec{Cache: []cacheSpec{{KeyFiles: []string{"lock"}, Policy: "pull"}}, Script: []string{":"}}); next.file(t, "deps") != "x\n" {
			t.Errorf("%s: not found again\n%s%s", policy, p.log, next.log)
		}
	}
}

func TestCachesAreReplaced(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.tree[".git/config"] = "git's own"
	spec := func(script string) *jobSpec {
		return &jobSpec{Cache: []cacheSpec{{Key: "a", Paths: []string{"a/", "a-b", "."}}, {Key: "b", Paths: []string{"nothing"}}}, Script: []string{script}}
	}
	st.play(spec("mkdir a; echo 1 > a/n; echo x > a-b; ln -s a/n link"))
	p := st.play(spec("cat a/n; echo 2 > a/n"))
	if !strings.Contains(p.log, "\n1\n") || p.file(t, "link") != "2\n" {
		t.Errorf("the second job saw\n%s", p.log)
	}
	p = st.play(spec("cat a/n .git/config"))
	if !strings.Contains(p.log, "\n2\ngit's own") {
		t.Errorf("the third job saw\n%s", p.log)
	}
}

func TestPaper(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	spec := &jobSpec{
		Cache:     []cacheSpec{{Key: "k", Paths: []string{"deps"}}},
		Downloads: []download{{Job: "build", Name: "build"}}, Script: []string{"mkdir -p deps; echo > deps/x"},
	}
	aloof := func(spec *jobSpec) map[string]bool {
		s := st.scope(spec)
		s.Paper = true
		session, err := st.d.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		list := map[string]bool{}
		for i := range s.Job.Steps {
			act, err := session.Resolve(t.Context(), &s.Job.Steps[i], s)
			if err != nil {
				t.Fatal(err)
			}
			if act.Builtin != nil {
				list[s.Job.Steps[i].ID] = act.Builtin.Aloof
			}
		}
		return list
	}
	if got, want := aloof(spec), map[string]bool{stepRestore: true, stepDownload: true, stepSave: false}; !maps.Equal(got, want) {
		t.Errorf("with nothing there, aloof are %v, want %v", got, want)
	}
	st.play(spec)
	st.play(&jobSpec{ID: "build", Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess}, Script: []string{"echo > f"}})
	if got, want := aloof(spec), map[string]bool{stepRestore: false, stepDownload: false, stepSave: false}; !maps.Equal(got, want) {
		t.Errorf("with things there, aloof are %v, want %v", got, want)
	}
	spec.Cache[0].Key, spec.Cache[0].KeyFiles = "", []string{"go.sum"}
	if aloof(spec)[stepRestore] {
		t.Error("a key that is made of files was told without them")
	}
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	const script = `mkdir -p out/sub; echo a > out/a; echo b > out/sub/b.o; echo c > out/sub/c; chmod 755 out/sub/c; ln -s sub/c out/link; echo x > x.txt`
	for _, tt := range []struct {
		name  string
		spec  artifactsSpec
		files bool // downloaded
		want  string
		log   string
		fails bool
	}{
		{name: "a directory", spec: artifactsSpec{Paths: []string{"out"}}, files: true, want: "out/a out/link out/sub/b.o out/sub/c"},
		{name: "a pattern", spec: artifactsSpec{Paths: []string{"out/**/*.o", "*.txt"}}, files: true, want: "out/sub/b.o x.txt"},
		{name: "alternatives", spec: artifactsSpec{Paths: []string{"out/{a,sub/c}"}}, files: true, want: "out/a out/sub/c"},
		{name: "variables", spec: artifactsSpec{Paths: []string{"$DIR/a"}}, files: true, want: "out/a"},
		{name: "absolute", spec: artifactsSpec{Paths: []string{"$CI_PROJECT_DIR/out/a"}}, files: true, want: "out/a"},
		{name: "without some", spec: artifactsSpec{Paths: []string{"out"}, Exclude: []string{"out/**/*.o", "out/link"}}, files: true, want: "out/a out/sub/c"},
		{name: "a directory that is excluded holds what it holds", spec: artifactsSpec{Paths: []string{"out"}, Exclude: []string{"out/sub"}}, files: true, want: "out/a out/link out/sub/b.o out/sub/c"},
		{name: "not wanted", spec: artifactsSpec{Paths: []string{"out"}}},
		{name: "nothing", spec: artifactsSpec{Paths: []string{"nope"}}, files: true, log: "WARNING: there are no files to upload"},
		{name: "outside", spec: artifactsSpec{Paths: []string{"../..", "/etc/passwd"}}, files: true, log: "lies outside of the project's directory"},
		{name: "of a failed job", spec: artifactsSpec{Paths: []string{"x.txt"}, When: "on_failure"}, fails: true, files: true, want: "x.txt"},
		{name: "not of a failed job", spec: artifactsSpec{Paths: []string{"x.txt"}}, fails: true, files: true},
		{name: "not of one that went well", spec: artifactsSpec{Paths: []string{"x.txt"}, When: "on_failure"}, files: true},
		{name: "in any case", spec: artifactsSpec{Paths: []string{"x.txt"}, When: "always"}, files: true, want: "x.txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := newStand(t)
			if tt.spec.When == "" {
				tt.spec.When = ifSuccess
			}
			lines := []string{script}
			if tt.fails {
				lines = append(lines, "false")
			}
			made := st.play(&jobSpec{ID: "build", Artifacts: &tt.spec, Variables: []variable{{Name: "DIR", Value: "out"}}, Script: lines})
			if !strings.Contains(made.log, tt.log) {
				t.Errorf("the log is\n%s", made.log)
			}
			var downloads []download
			if tt.files {
				downloads = []download{{Job: "build", Name: "build", Required: true}}
			}
			p := st.play(&jobSpec{ID: "test", Downloads: downloads, Script: []string{"find . ! -type d | sort"}})
			if p.verdict != plan.Success {
				t.Fatal(p.log)
			}
			var got []string
			for line := range strings.Lines(p.log) {
				if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "./"); ok {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s\n%s", got, tt.want, made.log)
			}
			if info, err := os.Lstat(filepath.Join(p.work, "out/sub/c")); err == nil && info.Mode().Perm() != 0o755 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
}

// TestSecondAttempt: what the first attempt left counts no more.
func TestSecondAttempt(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	spec := jobSpec{ID: "build", Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifFailure, Reports: map[string][]string{"junit": {"r.xml"}}}}
	first, second := spec, spec
	first.Script, second.Script = []string{"echo > f; echo > r.xml; false"}, []string{":"}
	if p := st.play(&first); len(p.said.Artifacts) != 2 {
		t.Fatalf("the first attempt left %+v", p.said.Artifacts)
	}
	st.play(&second)
	if all, err := st.d.cfg.Depot.Artifacts(t.Context(), "7"); err != nil || len(all) > 0 {
		t.Errorf("after the second there are %+v, %v", all, err)
	}
}

func TestArtifactsOfSeveralJobs(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	for _, name := range []string{"one", "two"} {
		p := st.play(&jobSpec{ID: name, Artifacts: &artifactsSpec{Name: "$CI_JOB_NAME-bundle", Paths: []string{"f", name}, When: ifSuccess, ExpireIn: "1 week", ExposeAs: "the bundle"},
			Script: []string{"echo " + name + " | tee f > " + name}})
		if len(p.said.Artifacts) != 1 || p.said.Artifacts[0].Name != name+"-bundle" || p.said.Artifacts[0].Digest == "" {
			t.Errorf("saved %+v", p.said.Artifacts)
		}
		a, err := st.d.cfg.Depot.Own("7", name, archiveName)
		if err != nil || a == nil || time.Until(a.Expires) < 6*24*time.Hour || time.Until(a.Expires) > 8*24*time.Hour {
			t.Errorf("%+v, %v", a, err)
		}
	}
	downloads := func(names ...string) (list []download) {
		for _, name := range names {
			list = append(list, download{Job: name, Name: name})
		}
		return list
	}
	if p := st.play(&jobSpec{ID: "a", Downloads: downloads("one", "none", "two"), Script: []string{":"}}); p.file(t, "f") != "two\n" || p.file(t, "one") != "one\n" {
		t.Errorf("in order: %s", p.log)
	}
	// A second attempt makes them again.
	st.play(&jobSpec{ID: "one", Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess}, Script: []string{"echo again > f"}})
	if p := st.play(&jobSpec{ID: "b", Downloads: downloads("two", "one"), Script: []string{":"}}); p.file(t, "f") != "again\n" || p.file(t, "one") != "" {
		t.Errorf("again: %s", p.log)
	}
	if err := os.RemoveAll(filepath.Join(st.dir, "blobs", "sha256")); err != nil {
		t.Fatal(err)
	}
	if p := st.play(&jobSpec{ID: "c", Downloads: downloads("two"), Script: []string{":"}}); p.verdict != plan.Success || !strings.Contains(p.log, "are lost") {
		t.Errorf("lost ones that nobody named: %s\n%s", p.verdict, p.log)
	}
	list := downloads("two")
	list[0].Required = true
	if p := st.play(&jobSpec{ID: "d", Downloads: list, Script: []string{":"}}); p.verdict != plan.Failure || !strings.Contains(p.said.Fail, "artifacts of two are lost") {
		t.Errorf("lost ones that were named: %s\n%s", p.verdict, p.log)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]*jobSpec{
		"alone":          {Pages: &pages{Publish: "public"}},
		"with artifacts": {Pages: &pages{Publish: "public", ExpireIn: "1 day"}, Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess}},
		"said twice":     {Pages: &pages{Publish: "public"}, Artifacts: &artifactsSpec{Paths: []string{"public/"}, When: ifSuccess}},
	} {
		st := newStand(t)
		spec.ID, spec.Script = "pages", []string{"mkdir public; echo hello > public/index.html; echo > f"}
		p := st.play(spec)
		if !strings.Contains(p.log, "not published") || strings.Count(p.log, "public") > 5 {
			t.Errorf("%s: the log is\n%s", name, p.log)
		}
		a, err := st.d.cfg.Depot.Own("7", "pages", archiveName)
		if err != nil || a == nil {
			t.Fatalf("%s: %v, %v", name, a, err)
		}
		if a.Expires.IsZero() != (spec.Pages.ExpireIn == "") {
			t.Errorf("%s: expires %v", name, a.Expires)
		}
		if _, err := st.d.cfg.Depot.ReadFile(t.Context(), a, "public/index.html", st.dir, 100); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{ID: "test", Artifacts: &artifactsSpec{When: ifAlways, CoverageFormat: "cobertura", CoveragePath: "cov.xml", Reports: map[string][]string{
		"junit": {"r1.xml", "reports/*.xml"}, "dotenv": {"build.env", "more.env"}, "sast": {"gl-sast.json"}, "metrics": {"nope"},
	}}, Script: []string{`mkdir reports; echo '<testsuite/>' | tee r1.xml > reports/r2.xml; echo '{}' > gl-sast.json; echo > cov.xml; printf 'A=1\nB=x y\n\nURL=http://h/?a=b\n' > build.env; echo A=2 > more.env; false`}})
	if p.verdict != plan.Failure || p.said.Fail != "" {
		t.Fatalf("%s %q", p.verdict, p.said.Fail)
	}
	var names []string
	for _, a := range p.said.Artifacts {
		names = append(names, a.Name)
	}
	if got := strings.Join(names, " "); got != "cobertura dotenv junit sast" {
		t.Errorf("kept %s\n%s", got, p.log)
	}
	a, err := st.d.cfg.Depot.Own("7", "test", "junit")
	if err != nil || a == nil {
		t.Fatal(a, err)
	}
	if _, err := st.d.cfg.Depot.ReadFile(t.Context(), a, "reports/r2.xml", st.dir, 100); err != nil {
		t.Error(err)
	}
	if got, want := st.needs["test"].Outputs[outputDotenv], `{"A":"2","B":"x y","URL":"http://h/?a=b"}`; got != want {
		t.Errorf("dotenv %s, want %s", got, want)
	}
	next := st.play(&jobSpec{ID: "deploy", Downloads: []download{{Job: "test", Name: "test"}}, Script: []string{`echo "$A|$B|$URL" > got`}})
	if got := next.file(t, "got"); got != "2|x y|http://h/?a=b\n" {
		t.Errorf("the next job saw %q", got)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	many := "[" + strings.Repeat(`{"description":"x"},`, maxFindings+3) + `{"description":"last"}]`
	for _, tt := range []struct {
		kind, body string
		want       []plan.Annotation
		log        string
	}{
		{"codequality", `[{"description":"unused\nvariable","check_name":"unused","severity":"minor","location":{"path":"a.js","lines":{"begin":4}}},
			{"description":"b","severity":"blocker","location":{"path":"b.js","positions":{"begin":{"line":2,"column":3}}}}]`, []plan.Annotation{
			{Level: plan.Notice, Title: "unused", Message: "unused variable", File: "a.js", Line: 4}, {Level: plan.ErrorLevel, Message: "b", File: "b.js", Line: 2, Col: 3}}, ""},
		{"sast", `{"version":"15","vulnerabilities":[{"name":"SQL injection","severity":"High","location":{"file":"q.go","start_line":7,"end_line":8}},{"message":"m","severity":"?"}]}`, []plan.Annotation{
			{Level: plan.ErrorLevel, Title: "High", Message: "SQL injection", File: "q.go", Line: 7, EndLine: 8}, {Level: plan.WarningLevel, Title: "?", Message: "m"}}, ""},
		{"annotations", `{"b":[{"external_link":{"label":"site","url":"https://x"}},{"other":{}}],"a":[]}`, []plan.Annotation{{Level: plan.Notice, Title: "b", Message: "site: https://x"}}, ""},
		{"codequality", `{"not":"a list"}`, nil, "r.json cannot be read"},
		{"sast", ``, nil, "r.json cannot be read"},
		{"codequality", many, nil, "4 findings more are in the report"},
		{"metrics", `anything`, nil, "The report metrics is kept"},
	} {
		st := newStand(t)
		st.tree["r.json"] = tt.body
		p := st.play(&jobSpec{ID: "test", Artifacts: &artifactsSpec{When: ifSuccess, Reports: map[string][]string{tt.kind: {"r.json"}}}, Script: []string{":"}})
		if p.verdict != plan.Success || tt.want != nil && !slices.Equal(p.said.Notes, tt.want) || !strings.Contains(p.log, tt.log) {
			t.Errorf("%s %.40s: %s, notes %+v\n%s", tt.kind, tt.body, p.verdict, p.said.Notes, p.log)
		}
	}
}

func FuzzFindings(f *testing.F) {
	f.Add([]byte(`[{"description":"x","location":{"lines":{"begin":1}}}]`))
	f.Add([]byte(`{"vulnerabilities":[{"severity":"High"}],"a":[{"external_link":{}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func([]byte) ([]plan.Annotation, error){readCodeQuality, readSecurity, readAnnotations} {
			if notes, err := read(body); err != nil && notes != nil {
				t.Error(notes, err)
			}
		}
	})
}

// TestReportsAreAlwaysKept: when: is for the archive.
func TestReportsAreAlwaysKept(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{ID: "test", Artifacts: &artifactsSpec{Paths: []string{"r.xml"}, When: ifSuccess, Reports: map[string][]string{"junit": {"r.xml"}}},
		Script: []string{"echo '<testsuite/>' > r.xml", "false"}})
	if len(p.said.Artifacts) != 1 || p.said.Artifacts[0].Name != "junit" {
		t.Errorf("kept %+v\n%s", p.said.Artifacts, p.log)
	}
}

func TestDotenv(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, want, fail string }{
		{"", "", ""},
		{"A=1", "A=1", ""},
		{"A=1\r\nB=\r\n", "A=1 B=", ""},
		{"\ufeffA=1", "A=1", ""},
		{" A = b c ", "A=b c", ""},
		{`A="quoted"`, `A="quoted"`, ""},
		{"A==", "A==", ""},
		{"A=1\nA=2", "A=2", ""},
		{"A=\xff", "A=\ufffd", ""},
		{"# comment=1", "", "1: a dotenv report may hold no comments"},
		{"A=1\nnothing", "", `2: "nothing" is not NAME=VALUE`},
		{"a-b=1", "", "cannot be the name of a variable"},
		{"=1", "", "cannot be the name of a variable"},
		{"A=" + strings.Repeat("x", maxDotenv), "", "longer than"},
	} {
		st := newStand(t)
		st.tree["report.env"] = tt.body
		p := st.play(&jobSpec{ID: "a", Artifacts: &artifactsSpec{When: ifSuccess, Reports: map[string][]string{"dotenv": {"report.env"}}}, Script: []string{":"}})
		if tt.fail != "" {
			if p.verdict != plan.Failure || !strings.Contains(p.said.Fail, tt.fail) {
				t.Errorf("%.20q: failed with %q, want %q", tt.body, p.said.Fail, tt.fail)
			}
			continue
		}
		var got []string
		for _, o := range p.said.Outputs {
			got = append(got, o.Name+"="+o.Value)
		}
		if strings.Join(got, " ") != tt.want || p.said.Fail != "" {
			t.Errorf("%q: %v, want %s; %s", tt.body, got, tt.want, p.said.Fail)
		}
	}
}

func FuzzDotenv(f *testing.F) {
	f.Add([]byte("A=1\n#x\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		vars := map[string]string{}
		line, err := parseDotenv(body, vars)
		if (err != nil) != (line > 0) {
			t.Errorf("line %d, %v", line, err)
		}
		for name, value := range vars {
			if !dotenvName.MatchString(name) || strings.ContainsAny(value, "\n") {
				t.Errorf("%q=%q", name, value)
			}
		}
	})
}

func TestRelease(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.tree["NOTES.md"] = "what is new\n"
	p := st.play(&jobSpec{Script: []string{":"}, Release: &release{TagName: "v$N", Description: "NOTES.md", Links: []link{{Name: "bin", URL: "https://x/$N"}}, Source: plan.Source{File: Files, Line: 5}},
		Variables: []variable{{Name: "N", Value: "1.0"}}})
	summary := string(p.said.Summary)
	for _, want := range []string{"Release v1.0", "what is new", "[bin](https://x/1.0)"} {
		if !strings.Contains(summary, want) {
			t.Errorf("the summary lacks %q: %s", want, summary)
		}
	}
	if len(p.said.Notes) != 1 || p.said.Notes[0].Line != 5 || p.steps[stepRelease].Outputs["tag_name"] != "v1.0" {
		t.Errorf("%+v", p.said)
	}
}

func TestArtifactFile(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.play(&jobSpec{ID: "generate", Artifacts: &artifactsSpec{Paths: []string{"child.yml"}, When: ifSuccess}, Script: []string{"echo 'a: {script: x}' > child.yml"}})
	s := &plan.Scope{Context: st.context}
	if body, err := st.d.artifactFile(t.Context(), s, "generate", "child.yml", plan.Source{}); err != nil || string(body) != "a: {script: x}\n" {
		t.Errorf("%q, %v", body, err)
	}
	for job, file := range map[string]string{"generate": "nope.yml", "nobody": "child.yml"} {
		_, err := st.d.artifactFile(t.Context(), s, job, file, plan.Source{File: Files, Line: 2})
		var problem *dialect.ProblemError
		if !errors.As(err, &problem) || problem.Lacking || problem.Line != 2 || !strings.Contains(problem.Message, file) {
			t.Errorf("%s of %s: %v", file, job, err)
		}
	}
}

func TestWithoutADepot(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.d = New(Config{})
	p := st.play(&jobSpec{Cache: []cacheSpec{{Key: "k", Paths: []string{"f"}}}, Downloads: []download{{Job: "x"}},
		Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess, Reports: map[string][]string{"dotenv": {"f"}}}, Script: []string{"echo A=1 > f"}})
	if p.verdict != plan.Success || strings.Count(p.log, "not kept here") != 3 || p.steps[stepUpload].Outputs["A"] != "1" {
		t.Errorf("%s\n%s", p.verdict, p.log)
	}
}

func TestOrderOfPaths(t *testing.T) {
	t.Parallel()
	paths := []string{"/w/a-b", "/w/a/x", "/w/a", "/w/a/x/y", "/w/a.b", "/w/b"}
	slices.SortFunc(paths, comparePaths)
	if got := strings.Join(paths, " "); got != "/w/a /w/a/x /w/a/x/y /w/a-b /w/a.b /w/b" {
		t.Errorf("sorted: %s", got)
	}
}

func TestCancelledDownload(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.play(&jobSpec{ID: "build", Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess}, Script: []string{"echo > f"}})
	spec := &jobSpec{ID: "test", Downloads: []download{{Job: "build"}}, Script: []string{":"}}
	s := st.scope(spec)
	session, err := st.d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := session.Do(ctx, &plan.Builtin{Name: stepDownload}, s, &strings.Builder{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Artifacts of another project's job are those of its newest run that went well.
func TestUpstream(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	var asked []string
	st.d.cfg.Upstream = func(_ context.Context, on, project, ref, job string) (string, string, error) {
		asked = []string{on, project, ref, job}
		if ref != "main" {
			return "", "", errors.New("there is none")
		}
		return "5", "make", nil
	}
	st.context.RunID = "5"
	st.play(&jobSpec{ID: "make", Artifacts: &artifactsSpec{Paths: []string{"f"}, When: ifSuccess}, Script: []string{"echo made > f"}})
	st.context.RunID = "7"
	want := func(ref string) *jobSpec {
		return &jobSpec{ID: "use", Variables: []variable{{Name: "GROUP", Value: "team"}}, Script: []string{"cat f"},
			Downloads: []download{{Job: "make it", Name: "make it", Project: "$GROUP/lib", Ref: ref, Required: true}}}
	}
	if p := st.play(want("main")); p.verdict != plan.Success || !strings.Contains(p.log, "\nmade\n") || !slices.Equal(asked, []string{"7", "team/lib", "main", "make it"}) {
		t.Errorf("%s, asked for %q\n%s", p.verdict, asked, p.log)
	}
	if p := st.play(want("other")); !strings.Contains(p.said.Lacking, "make it in project team/lib at other cannot be had: there is none") {
		t.Errorf("no run of the kind: %q\n%s", p.said.Lacking, p.log)
	}
	st.context.RunID = "8"
	st.d.cfg.Upstream = nil
	if p := st.play(want("main")); !strings.Contains(p.said.Lacking, "are not known here") {
		t.Errorf("nobody to ask: %q", p.said.Lacking)
	}
}
