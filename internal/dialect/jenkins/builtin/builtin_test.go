package builtin

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// place is a job's directories with a set of built-ins.
type place struct {
	t     *testing.T
	set   *Set
	scope *plan.Scope
	log   bytes.Buffer
}

func newPlace(t *testing.T, files ...string) *place {
	t.Helper()
	dir := t.TempDir()
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, set: New(Config{Depot: depot.New(blobs, filepath.Join(dir, "index"))})}
	dirs := plan.Dirs{Workspace: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "temp")}
	for _, d := range []string{dirs.Workspace, dirs.Temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.scope = &plan.Scope{Context: &plan.Context{RunID: "1", Change: &plan.Change{SHA: "abc"}, Secrets: map[string]string{"KEY": "private"}}, Job: &plan.Job{ID: "build"}, Dirs: dirs}
	for i := 0; i < len(files); i += 2 {
		p.write(files[i], files[i+1])
	}
	return p
}

func (p *place) write(name, body string) {
	p.t.Helper()
	file := filepath.Join(p.scope.Dirs.Workspace, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs a step; its outputs, and why it failed.
func (p *place) run(name, dir string, args ...string) (map[string]string, string) {
	p.t.Helper()
	in := map[string]string{}
	for i := 0; i < len(args); i += 2 {
		in[args[i]] = args[i+1]
	}
	fx, err := p.set.Run(context.Background(), Call{Name: name, Dir: filepath.Join(p.scope.Dirs.Workspace, dir), Args: in, Scope: p.scope}, &p.log)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	out := map[string]string{}
	for _, o := range fx.Outputs {
		out[o.Name] = o.Value
	}
	return out, fx.Fail
}

func (p *place) exists(name string) bool {
	_, err := os.Stat(filepath.Join(p.scope.Dirs.Workspace, name))
	return err == nil
}

func TestFiles(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "a.txt", "héllo", "sub/b.bin", "\xff\x00")
	if out, fail := p.run("readFile", "", "file", "a.txt"); out[OutText] != "héllo" || fail != "" {
		t.Errorf("readFile: %q %s", out[OutText], fail)
	}
	if out, _ := p.run("readFile", "sub", "file", "b.bin", "encoding", "Base64"); out[OutText] != "/wA=" {
		t.Errorf("Base64: %q", out[OutText])
	}
	if _, fail := p.run("readFile", "", "file", "none"); !strings.Contains(fail, "NoSuchFileException") {
		t.Errorf("a file that is not there: %q", fail)
	}
	if _, fail := p.run("readFile", "", "file", "sub"); fail == "" {
		t.Error("a directory was read")
	}
	if _, fail := p.run("writeFile", "", "file", "new/dir/c.txt", "text", "c"); fail != "" || !p.exists("new/dir/c.txt") {
		t.Errorf("writeFile: %s", fail)
	}
	for name, want := range map[string]string{"new/dir/c.txt": "true", "nothing": "false", "new": "true"} {
		if out, _ := p.run("fileExists", "", "file", name); out[OutFound] != want {
			t.Errorf("fileExists %s: %s", name, out[OutFound])
		}
	}
	if out, _ := p.run("digest", "new/dir", "file", "c.txt", "algorithm", "sha256"); !strings.HasPrefix(out[OutText], "2e7d2c03a950") {
		t.Errorf("sha256: %s", out[OutText])
	}
	if out, _ := p.run("findFiles", "", "glob", "**/*.txt"); !strings.Contains(out[OutJSON], `"path":"new/dir/c.txt"`) || !strings.Contains(out[OutJSON], `"name":"a.txt"`) {
		t.Errorf("findFiles: %s", out[OutJSON])
	}
	p.run("deleteDir", "new")
	if p.exists("new") {
		t.Error("deleteDir left the directory")
	}
	outside := filepath.Join(t.TempDir(), "keep")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	fx, err := p.set.Run(t.Context(), Call{Name: "deleteDir", Dir: outside, Scope: p.scope}, &p.log)
	if err != nil || fx.Fail == "" {
		t.Error("a directory was deleted that is none of the job's")
	}
}

func TestAntPatterns(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "a.xml", "", "x/a.xml", "", "x/y/b.xml", "", "x/y/c.txt", "", ".git/config", "", "[z].xml", "", "x/.gitignore", "")
	for _, c := range []struct {
		include, exclude string
		want             []string
	}{
		{"*.xml", "", []string{"[z].xml", "a.xml"}},
		{"**/*.xml", "", []string{"[z].xml", "a.xml", "x/a.xml", "x/y/b.xml"}},
		{"**/*.xml", "x/**", []string{"[z].xml", "a.xml"}},
		{"x/", "", []string{"x/a.xml", "x/y/b.xml", "x/y/c.txt"}},
		{"a.xml, x/y/*.txt", "", []string{"a.xml", "x/y/c.txt"}},
		{"[z].xml", "", []string{"[z].xml"}},
		{"**", "**/*.xml", []string{"x/y/c.txt"}},
		{"./a.xml", "", []string{"a.xml"}},
	} {
		k := &call{Call: Call{Scope: p.scope}, ctx: t.Context()}
		got, err := k.selectFiles(p.scope.Dirs.Workspace, c.include, c.exclude, true)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q without %q: %q %v, want %q", c.include, c.exclude, got, err, c.want)
		}
	}
}

func TestStash(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "out/a", "1", "out/b.log", "2")
	if err := os.Chmod(filepath.Join(p.scope.Dirs.Workspace, "out/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, fail := p.run("stash", "", "name", "s", "includes", "out/**", "excludes", "**/*.log"); fail != "" {
		t.Fatal(fail)
	}
	if _, fail := p.run("stash", "", "name", "none", "includes", "*.nothing"); !strings.Contains(fail, "No files included in stash") {
		t.Errorf("an empty stash: %q", fail)
	}
	if _, fail := p.run("stash", "", "name", "empty", "includes", "*.nothing", "allowEmpty", "true"); fail != "" {
		t.Errorf("allowEmpty: %s", fail)
	}
	if _, fail := p.run("unstash", "elsewhere", "name", "s"); fail != "" {
		t.Fatal(fail)
	}
	info, err := os.Stat(filepath.Join(p.scope.Dirs.Workspace, "elsewhere/out/a"))
	if err != nil || info.Mode().Perm()&0o100 == 0 || p.exists("elsewhere/out/b.log") {
		t.Errorf("unstash: %v %v", info, err)
	}
	if _, fail := p.run("unstash", "", "name", "unknown"); !strings.Contains(fail, "No such saved stash") {
		t.Errorf("an unknown stash: %q", fail)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "out/a.jar", "jar")
	fx, err := p.set.Run(t.Context(), Call{Name: "archiveArtifacts", Dir: p.scope.Dirs.Workspace, Args: map[string]string{"artifacts": "out/*.jar", "as": "archive"}, Scope: p.scope}, &p.log)
	if err != nil || len(fx.Artifacts) != 1 || fx.Artifacts[0].Name != "archive" {
		t.Fatalf("%+v %v", fx, err)
	}
	if _, fail := p.run("archiveArtifacts", "", "artifacts", "*.none", "as", "x"); !strings.Contains(fail, "No artifacts found") {
		t.Errorf("nothing to archive: %q", fail)
	}
	if _, fail := p.run("archiveArtifacts", "", "artifacts", "*.none", "as", "x", "allowEmptyArchive", "true"); fail != "" {
		t.Errorf("allowEmptyArchive: %q", fail)
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "r/a.xml", `<testsuite><testcase name="a"/><testcase name="b"><failure message="no"/></testcase><testcase name="c"><skipped/></testcase></testsuite>`)
	out, fail := p.run("junit", "", "testResults", "r/*.xml")
	if fail != "" || out[OutWorse] != "UNSTABLE" || out[OutJSON] != `{"totalCount":3,"failCount":1,"skipCount":1,"passCount":1}` {
		t.Errorf("%v %s", out, fail)
	}
	fx, err := p.set.Run(t.Context(), Call{Name: "junit", Dir: filepath.Join(p.scope.Dirs.Workspace, "r"), Args: map[string]string{"testResults": "*.xml"}, Scope: p.scope}, &p.log)
	if err != nil || !slices.Equal(fx.Reports, []string{"r/a.xml"}) {
		t.Errorf("reports %q, %v", fx.Reports, err)
	}
	if _, fail := p.run("junit", "", "testResults", "none/*.xml"); !strings.Contains(fail, "No test report files were found") {
		t.Errorf("no reports: %q", fail)
	}
	if _, fail := p.run("junit", "", "testResults", "none/*.xml", "allowEmptyResults", "true"); fail != "" {
		t.Errorf("allowEmptyResults: %q", fail)
	}
}

func TestZip(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "in/a.txt", "a", "in/b/c.txt", "c")
	if _, fail := p.run("zip", "", "zipFile", "x.zip", "dir", "in"); fail != "" {
		t.Fatal(fail)
	}
	if _, fail := p.run("zip", "", "zipFile", "x.zip", "dir", "in"); fail == "" {
		t.Error("a zip file was overwritten without being asked")
	}
	if _, fail := p.run("unzip", "", "zipFile", "x.zip", "dir", "out"); fail != "" || !p.exists("out/b/c.txt") {
		t.Errorf("unzip: %s", fail)
	}
	var hostile bytes.Buffer
	z := zip.NewWriter(&hostile)
	if _, err := z.Create("../../evil"); err != nil {
		t.Fatal(err)
	}
	z.Close()
	p.write("evil.zip", hostile.String())
	if _, fail := p.run("unzip", "", "zipFile", "evil.zip", "dir", "out"); !strings.Contains(fail, "leads out") {
		t.Errorf("a name that leads out: %q", fail)
	}
	p.write("no.zip", "no zip")
	if _, fail := p.run("unzip", "", "zipFile", "no.zip"); fail == "" {
		t.Error("what is no zip file was unpacked")
	}
}

func TestCredentialFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	file := filepath.Join(p.scope.Dirs.Temp, "credentials", "1", "key")
	if _, fail := p.run("credential", "", "file", file, "secret", "KEY", "line", "true"); fail != "" {
		t.Fatal(fail)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if body, _ := os.ReadFile(file); string(body) != "private\n" {
		t.Errorf("%q", body)
	}
	p.run("credential", "", "file", file, "remove", "true")
	if _, err := os.Stat(file); err == nil {
		t.Error("the credential is still there")
	}
	if _, fail := p.run("credential", "", "file", file, "secret", "NONE"); fail == "" {
		t.Error("a secret that is not there")
	}
}
