package builtin

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestUploadArtifact(t *testing.T) {
	t.Parallel()
	tree := map[string]string{
		"dist/app": "app", "dist/lib/one.so": "1", "dist/lib/two.so": "2", "dist/.hidden": "h", "dist/.d/x": "x",
		"docs/index.html": "<p>", "link": "-> dist/lib", "broken": "-> nowhere", "a:b": "colon", "README": "read",
	}
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		want   string // names in the artifact
		as     string // its name, when not "artifact"
		fail   string
		log    string
	}{
		{name: "a directory", inputs: map[string]string{"path": "dist"}, want: "app lib/one.so lib/two.so"},
		{name: "a directory with a slash", inputs: map[string]string{"path": "dist/"}, want: "app lib/one.so lib/two.so"},
		{name: "hidden files too", inputs: map[string]string{"path": "dist", "include-hidden-files": "true"}, want: ".d/x .hidden app lib/one.so lib/two.so"},
		{name: "one file by its name", inputs: map[string]string{"path": "dist/lib/one.so"}, want: "one.so"},
		{name: "one file by a pattern", inputs: map[string]string{"path": "dist/**/one.so"}, want: "lib/one.so"},
		{name: "several paths", inputs: map[string]string{"path": "dist/lib/*.so\ndocs"}, want: "dist/lib/one.so dist/lib/two.so docs/index.html"},
		{name: "paths of one directory", inputs: map[string]string{"path": "dist/app\ndist/lib/two.so"}, want: "app lib/two.so"},
		{name: "one path does not exist", inputs: map[string]string{"path": "README\nout/report.xml"}, want: "README"},
		{name: "without some", inputs: map[string]string{"path": "dist\n!dist/**/two.so"}, want: "app lib/one.so"},
		{name: "links are followed", inputs: map[string]string{"path": "link"}, want: "one.so two.so"},
		{name: "a broken link", inputs: map[string]string{"path": "broken"}, log: "no files were found"},
		{name: "none", inputs: map[string]string{"path": "nope"}, log: "Warning: no files were found for the artifact at nope"},
		{name: "none, silently", inputs: map[string]string{"path": "nope", "if-no-files-found": "ignore"}, log: "nothing was saved"},
		{name: "none, an error", inputs: map[string]string{"path": "nope", "if-no-files-found": "error"}, fail: "no files were found"},
		{name: "none that are not hidden", inputs: map[string]string{"path": "dist/.d", "if-no-files-found": "error"}, fail: "include-hidden-files"},
		{name: "another name", inputs: map[string]string{"path": "README", "name": "my docs"}, want: "README", as: "my docs"},
		{name: "a bad name", inputs: map[string]string{"path": "README", "name": "a/b"}, fail: "which names may not have"},
		{name: "a name that goes up", inputs: map[string]string{"path": "README", "name": ".."}, fail: "cannot be the name"},
		{name: "a bad file name", inputs: map[string]string{"path": "a:b"}, fail: `the file "a:b" cannot be part`},
		{name: "not compressed", inputs: map[string]string{"path": "dist", "compression-level": "0"}, want: "app lib/one.so lib/two.so"},
		{name: "kept for a while", inputs: map[string]string{"path": "README", "retention-days": "5"}, want: "README"},
		{name: "as it is", inputs: map[string]string{"path": "docs/index.html", "archive": "false"}, want: "RAW", as: "index.html"},
		{name: "several as they are", inputs: map[string]string{"path": "dist", "archive": "false"}, fail: "takes a single file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			depottest.Plant(t, m.path("ws"), tree)
			r := m.run("actions/upload-artifact", tt.inputs, m.scope())
			if !strings.Contains(r.Fail, tt.fail) || tt.fail == "" && r.Fail != "" {
				t.Fatalf("failed with %q, want %q", r.Fail, tt.fail)
			}
			if !strings.Contains(r.log, tt.log) {
				t.Errorf("log %q, want %q", r.log, tt.log)
			}
			all, err := m.set.depot.Artifacts(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(all) > 0 || len(r.Artifacts) > 0 || len(r.Outputs) > 0 {
					t.Errorf("saved %v, said %v %v", all, r.Artifacts, r.Outputs)
				}
				return
			}
			name := tt.as
			if name == "" {
				name = "artifact"
			}
			if len(all) != 1 || all[0].Name != name {
				t.Fatalf("saved %+v", all)
			}
			e := all[0]
			if want := []plan.Artifact{{Name: name, Digest: string(e.Digest), Size: e.Size}}; !slices.Equal(r.Artifacts, want) {
				t.Errorf("artifacts %v, want %v", r.Artifacts, want)
			}
			if r.output("artifact-id") != fmt.Sprint(e.ID) || r.output("artifact-digest") != e.Digest.Hex() || r.output("artifact-url") != fmt.Sprintf("fairlead://runs/1/artifacts/%d", e.ID) {
				t.Errorf("outputs %v for %+v", r.Outputs, e)
			}
			if days := tt.inputs["retention-days"]; (days != "") != !e.Expires.IsZero() {
				t.Errorf("expires %v", e.Expires)
			}
			d := m.ok(m.run("actions/download-artifact", map[string]string{"name": name, "path": "down"}, m.scope()))
			if d.output("download-path") != m.path("ws/down") {
				t.Errorf("download-path %s", d.output("download-path"))
			}
			got := depottest.List(t, m.path("ws/down"))
			names := slices.Sorted(maps.Keys(got))
			if tt.want == "RAW" {
				tt.want = name
			}
			if strings.Join(names, " ") != tt.want {
				t.Errorf("the artifact has %v, want %s", names, tt.want)
			}
			for n, content := range got {
				if info, err := os.Stat(m.path("ws/down", n)); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s: %v %v", n, info.Mode(), err)
				}
				if content == "" {
					t.Errorf("%s is empty", n)
				}
			}
		})
	}
}

func TestArtifactsOfSameFilesAreTheSame(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	depottest.Plant(t, m.path("ws"), map[string]string{"a/1": "x", "a/2": "y", "b/1": "x", "b/2": "y"})
	if err := os.Chtimes(m.path("ws/b/1"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	a := m.ok(m.run("actions/upload-artifact", map[string]string{"name": "a", "path": "a"}, m.scope()))
	b := m.ok(m.run("actions/upload-artifact", map[string]string{"name": "b", "path": "b"}, m.scope()))
	if a.output("artifact-digest") != b.output("artifact-digest") {
		t.Error("the digests differ")
	}
}

func TestArtifactOfWhatIsNoFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	depottest.Plant(t, m.path("ws"), map[string]string{"dir/f": "x"})
	l, err := net.Listen("unix", m.path("ws/dir/socket"))
	if err != nil {
		t.Skip(err) // the path may be too long for a socket
	}
	defer l.Close()
	m.ok(m.run("actions/upload-artifact", map[string]string{"path": "dir"}, m.scope()))
	m.ok(m.run("actions/cache/save", map[string]string{"path": "dir", "key": "k"}, m.scope()))
	m.ok(m.run("actions/download-artifact", map[string]string{"name": "artifact", "path": "down"}, m.scope()))
	if got := depottest.List(t, m.path("ws/down")); len(got) != 1 || got["f"] != "x" {
		t.Errorf("the artifact has %v", got)
	}
}

func TestArtifactNames(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	depottest.Plant(t, m.path("ws"), map[string]string{"f": "one"})
	up := map[string]string{"name": "a", "path": "f"}
	first := m.ok(m.run("actions/upload-artifact", up, m.scope()))
	if r := m.run("actions/upload-artifact", up, m.scope()); !strings.Contains(r.Fail, "can be used once") {
		t.Errorf("the same name again: %q", r.Fail)
	}
	other := m.scope(func(s *plan.Scope) { s.Job = &plan.Job{ID: "other"}; s.Started = time.Unix(2000, 0) })
	if r := m.run("actions/upload-artifact", up, other); !strings.Contains(r.Fail, "can be used once") {
		t.Errorf("the same name by another job: %q", r.Fail)
	}
	depottest.Plant(t, m.path("ws"), map[string]string{"g": "two"})
	up["path"], up["overwrite"] = "g", "true"
	second := m.ok(m.run("actions/upload-artifact", up, other))
	if first.output("artifact-id") == second.output("artifact-id") {
		t.Error("the ID is the same")
	}
	delete(up, "overwrite")
	// The second attempt of a job makes its products again.
	retry := m.scope(func(s *plan.Scope) { s.Job = &plan.Job{ID: "other"}; s.Started = time.Unix(3000, 0) })
	m.ok(m.run("actions/upload-artifact", up, retry))
	// Another run has names of its own.
	m.ok(m.run("actions/upload-artifact", up, m.scope(func(s *plan.Scope) { s.RunID = "2" })))
}

func TestArtifactNameIsTakenByOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	saved := 0
	for i := range 8 {
		depottest.Plant(t, m.path("ws"), map[string]string{fmt.Sprint("f", i): fmt.Sprint(i)})
		s := m.scope(func(s *plan.Scope) { s.Job = &plan.Job{ID: fmt.Sprint(i)} })
		wg.Go(func() {
			effects, err := m.set.Run(t.Context(), Call{Name: "actions/upload-artifact", Inputs: map[string]string{"path": fmt.Sprint("f", i)}, Scope: s}, &bytes.Buffer{})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if effects.Fail == "" {
				saved++
			}
		})
	}
	wg.Wait()
	if saved != 1 {
		t.Errorf("%d jobs saved the artifact", saved)
	}
}

func TestDownloadArtifact(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	depottest.Plant(t, m.path("ws"), map[string]string{"f": "one", "g": "two", "raw.txt": "raw"})
	ids := map[string]string{}
	for _, up := range []map[string]string{
		{"name": "bin-linux", "path": "f"}, {"name": "bin-mac", "path": "g"}, {"name": "docs", "path": "f\ng"}, {"path": "raw.txt", "archive": "false"},
	} {
		r := m.ok(m.run("actions/upload-artifact", up, m.scope()))
		ids[r.Artifacts[0].Name] = r.output("artifact-id")
	}
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		run    string
		want   string
		fail   string
	}{
		{name: "all", want: "bin-linux/f bin-mac/g docs/f docs/g raw.txt/raw.txt"},
		{name: "all into one", inputs: map[string]string{"merge-multiple": "true"}, want: "f g raw.txt"},
		{name: "one", inputs: map[string]string{"name": "docs"}, want: "f g"},
		{name: "a pattern", inputs: map[string]string{"pattern": "bin-*"}, want: "bin-linux/f bin-mac/g"},
		{name: "a pattern with braces", inputs: map[string]string{"pattern": "{docs,bin-mac}", "merge-multiple": "true"}, want: "f g"},
		{name: "a pattern of one", inputs: map[string]string{"pattern": "doc?"}, want: "docs/f docs/g"},
		{name: "a pattern of nothing", inputs: map[string]string{"pattern": "x*"}, want: ""},
		{name: "a bad pattern", inputs: map[string]string{"pattern": "[a"}, fail: "not a pattern"},
		{name: "the name wins over the pattern", inputs: map[string]string{"name": "docs", "pattern": "x"}, want: "f g"},
		{name: "by ID", inputs: map[string]string{"artifact-ids": ids["bin-mac"]}, want: "g"},
		{name: "by IDs", inputs: map[string]string{"artifact-ids": ids["bin-mac"] + " , " + ids["docs"]}, want: "bin-mac/g docs/f docs/g"},
		{name: "by a bad ID", inputs: map[string]string{"artifact-ids": "x"}, fail: "not the ID"},
		{name: "by another ID", inputs: map[string]string{"artifact-ids": "12"}, fail: "no artifact with the ID 12"},
		{name: "without unpacking", inputs: map[string]string{"name": "docs", "skip-decompress": "true"}, want: "docs.zip"},
		{name: "a name that is not there", inputs: map[string]string{"name": "bins"}, fail: "no artifact named bins; the run has bin-linux, bin-mac, docs, raw.txt"},
		{name: "of an earlier run", inputs: map[string]string{"name": "docs", "run-id": "1", "github-token": "x"}, run: "9", want: "f g"},
		{name: "of this run, which has none", run: "9", want: ""},
		{name: "of a run that is none", inputs: map[string]string{"run-id": "../1"}, fail: "not the number of a run"},
		{name: "of another repository", inputs: map[string]string{"repository": "octo/dog"}, fail: "only artifacts of this repository"},
		{name: "of this repository", inputs: map[string]string{"repository": "octo/cat", "name": "docs"}, want: "f g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			inputs := map[string]string{"path": dir}
			maps.Copy(inputs, tt.inputs)
			r := m.run("actions/download-artifact", inputs, m.scope(func(s *plan.Scope) {
				if tt.run != "" {
					s.RunID = tt.run
				}
			}))
			if !strings.Contains(r.Fail, tt.fail) || tt.fail == "" && r.Fail != "" {
				t.Fatalf("failed with %q, want %q", r.Fail, tt.fail)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(depottest.List(t, dir))), " "); got != tt.want {
				t.Errorf("downloaded %s, want %s", got, tt.want)
			}
			if tt.fail == "" && r.output("download-path") != dir {
				t.Errorf("download-path %q", r.output("download-path"))
			}
		})
	}
	// The default is the workspace, and ~ the home directory.
	m.ok(m.run("actions/download-artifact", map[string]string{"name": "docs", "path": "~/x"}, m.scope()))
	if got := depottest.List(t, m.path("home")); got["x/f"] != "one" {
		t.Errorf("in the home directory: %v", got)
	}
	m.empty("ws")
	m.ok(m.run("actions/download-artifact", map[string]string{"name": "docs"}, m.scope()))
	if got := depottest.List(t, m.path("ws")); got["f"] != "one" {
		t.Errorf("in the workspace: %v", got)
	}
}

func TestMergeArtifacts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		want   string // in the merged one
		left   string // artifacts of the run
		fail   string
	}{
		{name: "all", want: "f g", left: "bin-linux bin-mac docs merged-artifacts"},
		{name: "some, in directories", inputs: map[string]string{"pattern": "bin-*", "separate-directories": "true", "name": "bin"}, want: "bin-linux/f bin-mac/g", left: "bin bin-linux bin-mac docs"},
		{name: "hidden ones", inputs: map[string]string{"pattern": "docs", "include-hidden-files": "true"}, want: ".h f", left: "bin-linux bin-mac docs merged-artifacts"},
		{name: "instead of them", inputs: map[string]string{"delete-merged": "true"}, want: "f g", left: "merged-artifacts"},
		{name: "none", inputs: map[string]string{"pattern": "x"}, fail: "no artifact that matches x", left: "bin-linux bin-mac docs"},
		{name: "a name that is taken", inputs: map[string]string{"name": "docs"}, fail: "can be used once", left: "bin-linux bin-mac docs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			depottest.Plant(t, m.path("ws"), map[string]string{"f": "one", "g": "two", ".h": "hidden"})
			for name, path := range map[string]string{"bin-linux": "f", "bin-mac": "g", "docs": "f\n.h"} {
				m.ok(m.run("actions/upload-artifact", map[string]string{"name": name, "path": path, "include-hidden-files": "true"}, m.scope()))
			}
			r := m.run("actions/upload-artifact/merge", tt.inputs, m.scope())
			if !strings.Contains(r.Fail, tt.fail) || tt.fail == "" && r.Fail != "" {
				t.Fatalf("failed with %q, want %q", r.Fail, tt.fail)
			}
			all, err := m.set.depot.Artifacts(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range all {
				names = append(names, e.Name)
			}
			if got := strings.Join(names, " "); got != tt.left {
				t.Errorf("the run has %s, want %s", got, tt.left)
			}
			if tt.fail != "" {
				return
			}
			m.ok(m.run("actions/download-artifact", map[string]string{"name": r.Artifacts[0].Name, "path": "down"}, m.scope()))
			if got := strings.Join(slices.Sorted(maps.Keys(depottest.List(t, m.path("ws/down")))), " "); got != tt.want {
				t.Errorf("merged %s, want %s", got, tt.want)
			}
		})
	}
}
