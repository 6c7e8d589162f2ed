package task

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// room is a job's directories, and the tasks.
type room struct {
	*testing.T
	set   *Set
	scope *plan.Scope
	lacks []string // programs that are not there
}

func newRoom(t *testing.T, files ...string) *room {
	t.Helper()
	dir := t.TempDir()
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	r := &room{T: t}
	r.set = New(Config{Depot: depot.New(blobs, filepath.Join(dir, "index")), LookPath: func(program string, _ []string) (string, error) {
		if slices.Contains(r.lacks, program) {
			return "", exec.ErrNotFound
		}
		return "/bin/" + program, nil
	}})
	r.scope = &plan.Scope{
		Context: &plan.Context{RunID: "7", Change: &plan.Change{Repository: "team/app", Ref: "refs/heads/main"}}, Job: &plan.Job{ID: "J"},
		Dirs: plan.Dirs{Workspace: filepath.Join(dir, "s"), Temp: filepath.Join(dir, "temp"), Tools: filepath.Join(dir, "tools")},
	}
	for _, d := range []string{r.scope.Dirs.Workspace, filepath.Join(r.scope.Dirs.Temp, "work", "1", "a"), r.scope.Dirs.Tools} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(files); i += 2 {
		r.write(files[i], files[i+1])
	}
	return r
}

func (r *room) path(name string) string { return filepath.Join(r.scope.Dirs.Workspace, name) }

func (r *room) write(name, body string) {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(body), 0o644); err != nil {
		r.Fatal(err)
	}
}

func (r *room) read(name string) string {
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		return "missing"
	}
	return string(b)
}

func (r *room) call(ref string, inputs ...string) Call {
	c := Call{Ref: ref, Inputs: map[string]string{}, Step: &plan.Step{Key: "1", Source: plan.Source{File: "p.yml", Line: 3}}, Scope: r.scope, Work: filepath.Join(r.scope.Dirs.Temp, "work", "1")}
	c.Staging = filepath.Join(c.Work, "a")
	for i := 0; i+1 < len(inputs); i += 2 {
		c.Inputs[inputs[i]] = inputs[i+1]
	}
	return c
}

func (r *room) do(ref string, inputs ...string) (plan.Effects, string) {
	r.Helper()
	var log bytes.Buffer
	fx, err := r.set.Run(r.Context(), r.call(ref, inputs...), false, &log)
	if err != nil {
		r.Fatalf("%s: %v", ref, err)
	}
	return fx, log.String()
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ref    string
		inputs []string
		want   string // in the script's text
		argv   string // in the command line
	}{
		"command line": {"CmdLine@2", []string{"script", "echo 1"}, "echo 1", "bash --noprofile --norc"},
		"bash file":    {"Bash@3", []string{"filePath", "a b.sh", "arguments", "x y"}, "/s/a b.sh' x y", "bash"},
		"bash inline":  {"bash@3", []string{"TargetType", "Inline", "Script", " echo"}, " echo", "bash"},
		"powershell":   {"PowerShell@2", []string{"targetType", "inline", "script", "Write-Host hi"}, "$ErrorActionPreference = 'stop'\nWrite-Host hi", "pwsh -NoLogo"},
		"python":       {"PythonScript@0", []string{"scriptSource", "inline", "script", "print(1)", "arguments", "a 'b c'"}, "print(1)", ".py a b c"},
		"npm":          {"Npm@1", []string{"command", "ci", "workingDir", "web"}, "npm ci", ""},
		"npm custom":   {"Npm@1", []string{"command", "custom", "customCommand", "run build"}, "npm run build", ""},
		"go":           {"Go@0", []string{"command", "test", "arguments", "./..."}, "go test ./...", ""},
		"dotnet":       {"DotNetCoreCLI@2", []string{"command", "build", "projects", "**/*.csproj", "arguments", "-c Release"}, "src/a.csproj -c Release", ""},
		"maven":        {"Maven@4", []string{"goals", "verify", "options", "-B"}, "/s/pom.xml -B verify", ""},
		"gradle":       {"Gradle@3", []string{"tasks", "check"}, "/s/gradlew check", ""},
		"docker":       {"Docker@2", []string{"command", "build", "repository", "team/app", "tags", "1\n2"}, "-t team/app:1 -t team/app:2 ", ""},
		"node":         {"NodeTool@0", []string{"versionSpec", "18.x"}, "18.*) ;;", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, "src/a.csproj", "", "img/Dockerfile", "FROM x")
			var act plan.Act
			if err := r.set.Resolve(r.call(c.ref, c.inputs...), &act); err != nil {
				t.Fatal(err)
			}
			if act.Command == nil {
				t.Fatalf("no command: %+v", act.Problem)
			}
			text := string(act.Command.Files[0].Body)
			if !strings.Contains(text, c.want) {
				t.Errorf("the script is %q, want %q in it", text, c.want)
			}
			if line := strings.Join(act.Command.Argv, " "); !strings.Contains(line, c.argv) {
				t.Errorf("the command is %s, want %q in it", line, c.argv)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.lacks = []string{"pwsh", "npm"}
	for name, c := range map[string]struct {
		call Call
		want string
	}{
		"no program":     {r.call("PowerShell@2", "targetType", "inline", "script", "x"), "needs pwsh"},
		"no npm":         {r.call("Npm@1"), "needs npm"},
		"no script":      {r.call("CmdLine@2"), `"script" is required`},
		"no file":        {r.call("Bash@3", "script", "ignored"), `"filePath" is required`},
		"no project":     {r.call("DotNetCoreCLI@2", "projects", "*.x"), "no project matches"},
		"required input": {r.call("CopyFiles@2"), `"targetfolder" is required`},
	} {
		var act plan.Act
		if err := r.set.Resolve(c.call, &act); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if act.Problem == nil || !strings.Contains(act.Problem.Message, c.want) || act.Problem.Line != 3 {
			t.Errorf("%s: %+v", name, act.Problem)
		}
	}
	p := r.set.Unknown("Npn@1", plan.Source{}, plan.Error)
	if !strings.Contains(p.Hint, "did you mean Npm@1?") {
		t.Errorf("%+v", p)
	}
	r.scope.Paper = true
	if err := r.set.Resolve(r.call("DotNetCoreCLI@2", "projects", "*.x"), &plan.Act{}); !errors.Is(err, dialect.ErrPaper) {
		t.Errorf("on paper: %v", err)
	}
}

func TestCopyAndDelete(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "a/x.txt", "1", "a/b/y.txt", "2", "a/b/z.log", "3", "out/old", "o")
	r.do("CopyFiles@2", "SourceFolder", "a", "Contents", "**\n!**/*.log", "TargetFolder", "out", "CleanTargetFolder", "true")
	if r.read("out/x.txt") != "1" || r.read("out/b/y.txt") != "2" || r.read("out/b/z.log") != "missing" || r.read("out/old") != "missing" {
		t.Error("copied", r.read("out/x.txt"), r.read("out/b/y.txt"), r.read("out/b/z.log"), r.read("out/old"))
	}
	r.do("CopyFiles@2", "SourceFolder", "a", "Contents", "**/{y,z}.*", "TargetFolder", "flat", "flattenFolders", "true")
	if r.read("flat/y.txt") != "2" || r.read("flat/z.log") != "3" {
		t.Error("flattened")
	}
	r.write("out/x.txt", "kept")
	r.do("CopyFiles@2", "SourceFolder", "a", "TargetFolder", "out")
	if r.read("out/x.txt") != "kept" {
		t.Error("overwritten without being asked")
	}
	if fx, _ := r.do("CopyFiles@2", "SourceFolder", "a", "TargetFolder", "/etc/fairlead-test"); fx.Fail == "" {
		t.Error("copied out of the job")
	}
	r.do("DeleteFiles@1", "SourceFolder", "a", "Contents", "b\n*.txt")
	if r.read("a/x.txt") != "missing" || r.read("a/b/y.txt") != "missing" {
		t.Error("not deleted")
	}
}

// A link in the target must not lead a copy out of it.
func TestCopyStays(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "a/d/x", "new")
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.path("out"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, r.path("out/d")); err != nil {
		t.Fatal(err)
	}
	_, err := r.set.Run(t.Context(), r.call("CopyFiles@2", "SourceFolder", "a", "TargetFolder", "out", "OverWrite", "true"), false, io.Discard)
	if _, stat := os.Stat(filepath.Join(outside, "x")); stat == nil {
		t.Errorf("written outside, %v", err)
	}
}

func TestArchives(t *testing.T) {
	t.Parallel()
	for _, c := range [][]string{{"zip", "all.zip"}, {"tar", "all.tar.gz"}} {
		r := newRoom(t, "a/x.txt", "1", "a/b/y.txt", "2")
		r.do("ArchiveFiles@2", "rootFolderOrFile", "a", "archiveType", c[0], "archiveFile", c[1])
		r.do("ExtractFiles@1", "archiveFilePatterns", c[1], "destinationFolder", "out")
		if r.read("out/a/x.txt") != "1" || r.read("out/a/b/y.txt") != "2" {
			t.Errorf("%s: %s %s", c[0], r.read("out/a/x.txt"), r.read("out/a/b/y.txt"))
		}
		if fx, _ := r.do("ExtractFiles@1", "archiveFilePatterns", c[1], "destinationFolder", "out", "cleanDestinationFolder", "false"); !strings.Contains(fx.Fail, "is there already") {
			t.Errorf("%s: %+v", c[0], fx)
		}
	}
	r := newRoom(t, "x", "1")
	if fx, _ := r.do("ExtractFiles@1", "archiveFilePatterns", "x", "destinationFolder", "."); !strings.Contains(fx.Fail, "would remove the sources") {
		t.Errorf("%+v", fx)
	}
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	f, _ := w.Create("../../evil")
	_, _ = f.Write([]byte("x"))
	_ = w.Close()
	r.write("evil.zip", z.String())
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	_ = tw.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"})
	_ = tw.WriteHeader(&tar.Header{Name: "link/x", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644})
	_, _ = tw.Write([]byte("x"))
	_ = tw.Close()
	r.write("link.tar", b.String())
	if fx, _ := r.do("ExtractFiles@1", "archiveFilePatterns", "evil.zip", "destinationFolder", "out"); !strings.Contains(fx.Fail, "leads out") {
		t.Errorf("%+v", fx)
	}
	r.do("ExtractFiles@1", "archiveFilePatterns", "link.tar", "destinationFolder", "out")
	if info, err := os.Lstat(r.path("out/link")); err != nil || !info.IsDir() {
		t.Errorf("a link was made: %v %v", info, err)
	}
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "dist/x.txt", "1", "dist/skip.log", "2", "dist/.artifactignore", "*.log\n")
	if fx, log := r.do("PublishPipelineArtifact@1", "targetPath", "dist", "artifact", "drop"); fx.Fail != "" || len(fx.Artifacts) != 1 {
		t.Fatalf("%+v %s", fx, log)
	}
	r.do("DownloadPipelineArtifact@2", "artifact", "drop", "path", r.path("back"))
	if r.read("back/x.txt") != "1" || r.read("back/skip.log") != "missing" {
		t.Error("downloaded", r.read("back/x.txt"), r.read("back/skip.log"))
	}
	r.do("DownloadPipelineArtifact@2", "artifact", "drop", "path", r.path("some"), "patterns", "drop/*.nothing")
	if r.read("some/x.txt") != "missing" {
		t.Error("patterns")
	}
	r.write("one/a", "1")
	r.write("two/b", "2")
	r.do("PublishBuildArtifacts@1", "PathtoPublish", "one", "ArtifactName", "both")
	r.do("PublishBuildArtifacts@1", "PathtoPublish", "two", "ArtifactName", "both")
	r.do("DownloadPipelineArtifact@2", "artifact", "both", "path", r.path("both"))
	if r.read("both/a") != "1" || r.read("both/b") != "2" {
		t.Error("added to an artifact", r.read("both/a"), r.read("both/b"))
	}
	for name, inputs := range map[string][]string{
		"no artifact": {"artifact", "nope"}, "out of the job": {"artifact", "drop", "path", "/etc/x"},
	} {
		if fx, _ := r.do("DownloadPipelineArtifact@2", inputs...); fx.Fail == "" {
			t.Errorf("%s: %+v", name, fx)
		}
	}
	if fx, _ := r.do("DownloadPipelineArtifact@2", "buildType", "specific", "pipeline", "3"); fx.Lacking == "" {
		t.Errorf("another pipeline's: %+v", fx)
	}
	if fx, _ := r.do("PublishPipelineArtifact@1", "targetPath", "dist", "artifact", "a/b"); fx.Fail == "" {
		t.Errorf("a bad name: %+v", fx)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec, version string
		want          bool
	}{
		{"", "20.1.0", true}, {"20.x", "20.1.0", true}, {"20", "20.1.0", true}, {"20.2", "20.1.0", false}, {">=18", "20.1.0", true}, {">=18 <20", "20.1.0", false},
		{"^20.0.0", "20.1.0", true}, {"~20.1", "20.1.9", true}, {"~20.1", "20.2.0", false}, {"18.x || 20.x", "20.1.0", true}, {"*", "1.0", true}, {"v20.1.0", "20.1.0", true}, {"lts", "20", false},
	} {
		if got := fits(c.spec, c.version); got != c.want {
			t.Errorf("fits(%q, %q) = %v", c.spec, c.version, got)
		}
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	arch := filepath.Join(r.scope.Dirs.Tools, "node", "20.1.0", "x64")
	if err := os.MkdirAll(filepath.Join(arch, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(arch+".complete", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := installed(r.scope.Dirs.Tools, "node", "20.x"); got != arch && got != "" { // on other kinds of machines there is none
		t.Errorf("%s", got)
	}
	if got := installed(r.scope.Dirs.Tools, "node", "18.x"); got != "" {
		t.Errorf("%s", got)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "package-lock.json", "1")
	k, err := r.set.begin(r.call("Cache@2", "key", "x", "path", "y"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := k.fingerprint(`npm | "a.b" | package-lock.json | v1`)
	if err != nil || !strings.HasPrefix(one, "npm|a.b|") || !strings.HasSuffix(one, "|v1") || strings.Contains(one, "package") {
		t.Errorf("%q %v", one, err)
	}
	r.write("package-lock.json", "2")
	if two, _ := k.fingerprint(`npm | "a.b" | package-lock.json | v1`); two == one {
		t.Error("another file, the same key")
	}
	if _, err := k.fingerprint("npm | no.such"); err == nil || !strings.Contains(err.Error(), "no file matches") {
		t.Errorf("%v", err)
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "TEST-a.xml", `<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite></testsuites>`, "r.trx",
		`<TestRun><Results><UnitTestResult outcome="Failed"/><UnitTestResult outcome="Passed"/></Results></TestRun>`, "TEST-bad.xml", "<a")
	fx, log := r.do("PublishTestResults@2", "testResultsFiles", "**/*.xml\n**/*.trx", "failTaskOnFailedTests", "true")
	if !strings.Contains(fx.Fail, "2 tests failed") || !strings.Contains(log, "cannot be read") {
		t.Errorf("%+v\n%s", fx, log)
	}
	if fx, _ := r.do("PublishTestResults@2", "testResultsFiles", "none"); fx.Fail != "" || len(fx.Notes) != 1 {
		t.Errorf("%+v", fx)
	}
}
