package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestBars(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(s *scene, v *Saving)
		want   []string // kind: detail
	}{
		{"none", func(*scene, *Saving) {}, nil},
		{"not watched", func(_ *scene, v *Saving) { v.Observation = nil }, []string{"not-watched: "}},
		{"not watched either", func(_ *scene, v *Saving) { v.Observation = &record.Observation{} }, []string{"not-watched: "}},
		{"not watched, and why", func(_ *scene, v *Saving) {
			v.Observation = &record.Observation{Barred: []record.Bar{{Kind: record.BarNotWatched, Detail: "no seccomp"}}}
		}, []string{"not-watched: no seccomp"}},
		{"network", func(_ *scene, v *Saving) {
			v.Observation.Barred = []record.Bar{{Kind: record.BarNetwork, Detail: "tcp 10.0.0.1:443"}, {Kind: record.BarLost, Detail: "x"}}
		}, []string{"lost: x", "network: tcp 10.0.0.1:443"}},
		{"network pinned", func(_ *scene, v *Saving) {
			v.Observation.Barred = []record.Bar{{Kind: record.BarNetwork, Detail: "tcp 10.0.0.1:443"}, {Kind: record.BarSocket, Detail: "/run/x"}}
			v.Rule.Network = NetworkPinned
		}, nil},
		{"network ignored, lost not", func(_ *scene, v *Saving) {
			v.Observation.Barred = []record.Bar{{Kind: record.BarNetwork}, {Kind: record.BarLost, Detail: "x"}}
			v.Rule.Network = NetworkIgnore
		}, []string{"lost: x"}},
		{"masked", func(_ *scene, v *Saving) { v.Masked = true }, []string{"secret: what it said holds a secret"}},
		{"masks", func(_ *scene, v *Saving) { v.Effects.Masks = []string{"hunter2"} }, []string{"secret: it declares a value secret"}},
		{"failed", func(_ *scene, v *Saving) { v.Effects.Fail = "a disabled command" }, []string{"failed: a disabled command"}},
		{"lacking", func(_ *scene, v *Saving) { v.Effects.Lacking = "no docker" }, []string{"failed: no docker"}},
		{"artifacts", func(_ *scene, v *Saving) { v.Effects.Artifacts = []plan.Artifact{{Name: "a"}} }, nil},
		{"processes", func(_ *scene, v *Saving) { v.Observation.LeftOver = 2 }, []string{"processes: 2 outlive it"}},
		{"never", func(_ *scene, v *Saving) { v.Rule.Never = true }, []string{"declared: the project says that it is never reused"}},
		{"too big", func(s *scene, v *Saving) { v.MaxBytes = 2 }, []string{"too-much: 3 bytes, of 2 at most"}},
		{"outside", func(_ *scene, v *Saving) {
			v.Observation.Outputs = []record.Output{{Path: "/etc/x"}}
		}, []string{"outside: /etc/x"}},
		{"a fifo", func(s *scene, v *Saving) {
			v.Observation.Outputs[0].Kind = record.Other
		}, []string{"unsupported: WORK/out"}},
		{"changed since", func(s *scene, v *Saving) { s.write("out", "xyzzy") }, []string{"moved: WORK/out"}},
		{"changed since, same length", func(s *scene, v *Saving) { s.write("out", "abd") }, []string{"moved: WORK/out"}},
		{"gone since", func(s *scene, v *Saving) { s.remove("out") }, []string{"moved: WORK/out"}},
		{"there again", func(s *scene, v *Saving) {
			v.Observation.Outputs = []record.Output{{Path: s.path("out")}}
		}, []string{"moved: WORK/out"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			v := s.saving(s.observe(func() { s.write("out", "abc") }))
			test.change(s, &v)
			p, bars, err := s.c.Save(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range bars {
				got = append(got, b.Kind+": "+strings.ReplaceAll(b.Detail, s.dirs.Workspace, "WORK"))
			}
			if !slices.Equal(got, test.want) || (p == nil) != (len(test.want) > 0) {
				t.Errorf("bars %q, want %q", got, test.want)
			}
		})
	}
}

// TestVolatile: where a variable shows, it counts.
func TestVolatile(t *testing.T) {
	t.Parallel()
	const sha = "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name  string
		set   func(s *scene, v *Saving) // after a step that reads build.sh and writes out
		where string                    // "" when GITHUB_SHA does not count
	}{
		{"nowhere", func(*scene, *Saving) {}, ""},
		{"script", func(_ *scene, v *Saving) { v.Script = "echo ${GITHUB_SHA::7}" }, "named in its script"},
		{"arguments", func(_ *scene, v *Saving) { v.Observation.Argv = []byte("ld\x00-X=" + sha + "\x00") }, "its value is in the arguments of a program"},
		{"name in arguments", func(_ *scene, v *Saving) { v.Observation.Argv = []byte("printenv\x00GITHUB_SHA\x00") }, "named in the arguments of a program"},
		{"log", func(_ *scene, v *Saving) { v.Log = strings.NewReader(strings.Repeat("x", 1<<20) + sha) }, "its value is in what it printed"},
		{"output", func(_ *scene, v *Saving) { v.Effects.Outputs = []plan.Setting{{Name: "version", Value: "v1-" + sha}} }, "its value is in what it said"},
		{"summary", func(_ *scene, v *Saving) { v.Effects.Summary = []byte("# " + sha) }, "its value is in what it said"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("build.sh", "make")
			v := s.saving(s.observe(func() { s.write("out", "x") }, s.input(record.UseContent, "build.sh")))
			v.Vars = map[string]string{"GITHUB_SHA": sha, "GITHUB_REF": "main", "GITHUB_RUN_ID": ""}
			test.set(s, &v)
			s.wantVars(s.keep(v), test.where)
		})
	}
	files := []struct {
		name  string
		read  string
		step  func(s *scene)
		where string
	}{
		{"named in a file that it read", "echo $GITHUB_SHA", func(*scene) {}, "named in build.sh"},
		{"value in a file that it read", sha, func(*scene) {}, ""},
		{"value in a file", "make", func(s *scene) { s.write("dist/app.js", "version="+sha) }, "its value is in dist/app.js"},
		{"name in a file", "make", func(s *scene) { s.write("dist/app.js", "process.env.GITHUB_SHA") }, "named in dist/app.js"},
		{"value in a name", "make", func(s *scene) { s.write("dist/app-"+sha+".js", "") }, "its value is in dist/app-" + sha + ".js"},
		{"value in a link", "make", func(s *scene) { s.link("releases/"+sha, "current") }, "its value is in current"},
		{"value across a border", "make", func(s *scene) { s.write("big", strings.Repeat("x", 256<<10-20)+sha+"y") }, "its value is in big"},
		{"read, then changed", "make", func(s *scene) { s.write("build.sh", "made") }, "build.sh was changed after it was read"},
		{"read, then removed", "make", func(s *scene) { s.remove("build.sh") }, "build.sh was changed after it was read"},
		{"read, then written again", "make", func(s *scene) { s.remove("build.sh"); s.write("build.sh", "make") }, ""},
	}
	for _, test := range files {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("build.sh", test.read)
			v := s.saving(s.observe(func() { test.step(s) }, s.input(record.UseContent, "build.sh")))
			v.Vars = map[string]string{"GITHUB_SHA": sha}
			s.wantVars(s.keep(v), test.where)
		})
	}
}

func (s *scene) wantVars(r *Record, where string) {
	s.t.Helper()
	i := slices.IndexFunc(r.Vars, func(v Var) bool { return v.Name == "GITHUB_SHA" })
	switch {
	case where == "" && i >= 0:
		s.t.Errorf("GITHUB_SHA counts, since %s", r.Vars[i].Where)
	case where != "" && i < 0:
		s.t.Errorf("GITHUB_SHA does not count, although %s", where)
	case where != "" && r.Vars[i].Where != where:
		s.t.Errorf("GITHUB_SHA counts since %s, want %s", r.Vars[i].Where, where)
	}
}

// TestSecretsAreNeverStored: nothing under the directories of cache and blobs
// holds a secret, and yet a step that uses one is known by it.
func TestSecretsAreNeverStored(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	search := func(s *scene) {
		s.t.Helper()
		for _, top := range []string{filepath.Join(s.dir, "cache"), s.blobs} {
			s.ok(filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
				if os.IsNotExist(err) {
					return nil // nothing was ever kept
				}
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				b, err := os.ReadFile(path)
				if bytes.Contains(b, []byte(secret)) {
					s.t.Errorf("%s holds the secret", path)
				}
				return err
			}))
		}
	}
	prepare := func(t *testing.T, step func(s *scene)) (*scene, Saving) {
		s := newScene(t)
		v := s.saving(s.observe(func() { step(s) }))
		v.Vars, v.Secrets = map[string]string{"TOKEN": secret}, map[string]bool{"TOKEN": true}
		return s, v
	}
	for name, test := range map[string]struct {
		step   func(s *scene)
		change func(v *Saving)
		detail string
	}{
		"file":     {func(s *scene) { s.write(".npmrc", "//registry/:_authToken="+secret) }, func(*Saving) {}, "WORK/.npmrc holds TOKEN"},
		"big file": {func(s *scene) { s.write("big", strings.Repeat("x", 3<<20)+secret) }, func(*Saving) {}, "WORK/big holds TOKEN"},
		"link":     {func(s *scene) { s.link(secret, "l") }, func(*Saving) {}, "WORK/l holds TOKEN"},
		"log":      {func(*scene) {}, func(v *Saving) { v.Log = strings.NewReader("token: " + secret + "\n") }, "TOKEN is in what it printed"},
		"effects":  {func(*scene) {}, func(v *Saving) { v.Effects.Env = []plan.Setting{{Name: "X", Value: secret}} }, "TOKEN is in what it said"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, v := prepare(t, test.step)
			test.change(&v)
			p, bars, err := s.c.Save(t.Context(), v)
			s.ok(err)
			detail := strings.ReplaceAll(test.detail, "WORK", s.dirs.Workspace)
			if p != nil || len(bars) != 1 || bars[0] != (record.Bar{Kind: record.BarSecret, Detail: detail}) {
				t.Errorf("bars %v, want %q", bars, detail)
			}
			search(s)
		})
	}
	t.Run("used", func(t *testing.T) {
		t.Parallel()
		s, v := prepare(t, func(s *scene) { s.write("out", "x") })
		v.Script = "deploy --token $TOKEN"
		v.Observation.Argv = []byte("deploy\x00--token\x00" + secret + "\x00")
		r := s.keep(v)
		search(s)
		if len(r.Vars) != 1 || !r.Vars[0].Secret || r.Vars[0].Digest == [32]byte(blobSum(secret)) {
			t.Errorf("vars = %+v", r.Vars)
		}
		info, err := os.Stat(filepath.Join(s.dir, "cache", "key"))
		s.ok(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the key's mode is %v", info.Mode())
		}
		ask := func(c *Cache, value string) *record.Miss {
			v := c.NewView(s.dirs, nil)
			q := s.query(v)
			q.Vars, q.Secrets = map[string]string{"TOKEN": value}, map[string]bool{"TOKEN": true}
			return c.Lookup(t.Context(), q).Miss
		}
		if m := ask(s.c, secret); m != nil {
			t.Errorf("the same secret: %+v", m)
		}
		if m := ask(s.c, "other"); m == nil || m.Why != "TOKEN is another (named in its script)" {
			t.Errorf("another secret: %+v", m)
		}
		again, err := Open(Options{Dir: filepath.Join(s.dir, "cache"), Blobs: s.c.Blobs()})
		s.ok(err)
		if m := ask(again, secret); m != nil {
			t.Errorf("in another process: %+v", m)
		}
		s.ok(os.WriteFile(filepath.Join(s.dir, "cache", "key"), []byte("short"), 0o600))
		damaged, err := Open(Options{Dir: filepath.Join(s.dir, "cache"), Blobs: s.c.Blobs()})
		s.ok(err)
		if m := ask(damaged, secret); m == nil || !strings.Contains(m.Why, "damaged") {
			t.Errorf("with a damaged key: %+v", m)
		}
	})
}

func blobSum(s string) []byte { d, _ := sum(blob.Of([]byte(s))); return d[:] }

// TestSaveOnFullDisk: what cannot be stored is an error, and no record.
func TestSaveOnFullDisk(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	v := s.saving(s.observe(func() { s.write("out", "x"); s.link("out", "l") }))
	s.open(fullDisk{s.c.Blobs()})
	p, bars, err := s.c.Save(t.Context(), v)
	if p != nil || len(bars) > 0 || err == nil || !strings.Contains(err.Error(), errFull.Error()) || !strings.Contains(err.Error(), "keep step 2 of job build") {
		t.Errorf("Save = %v, %v, %v", p, bars, err)
	}
	if a := s.lookup(); a != (Answer{}) {
		t.Errorf("there is a record: %+v", a)
	}
}

func (fullDisk) Put(context.Context, io.Reader) (blob.Digest, int64, error) { return "", 0, errFull }

// plainStore knows nothing but the contract.
type plainStore struct{ blob.Store }

// TestPlainStore keeps and restores by the contract of blob stores alone.
func TestPlainStore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.open(plainStore{s.c.Blobs()})
	r := s.keep(s.saving(s.observe(func() { s.write("a", strings.Repeat("x", 1<<20)); s.write("b", "y") })))
	want := s.snapshot()
	s.remove("a")
	s.remove("b")
	s.restore(r)
	s.sameFiles(s.snapshot(), want)
}

func TestCompare(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write("gone", "x")
	run := func(body string, effects plan.Effects) *Pending {
		for _, name := range []string{"out", "mode", "once", "twice", "l", "k"} {
			s.remove(name)
		}
		v := s.saving(s.observe(func() {
			s.write("out", body)
			s.write("mode", "x")
			s.link(body, "l")
			if body == "1" {
				s.write("once", "x")
				s.write("k", "x")
			} else {
				s.chmod("mode", 0o755)
				s.write("twice", "x")
				s.link("x", "k")
			}
		}))
		v.Effects, v.Log = effects, strings.NewReader(body)
		p, bars, err := s.c.Save(t.Context(), v)
		if err != nil || bars != nil {
			t.Fatal(err, bars)
		}
		return p
	}
	first := run("1", plan.Effects{Outputs: []plan.Setting{{Name: "a", Value: "1"}, {Name: "b", Value: "1"}}, Path: []string{"/x"}})
	if got := Compare(first.Record, run("1", first.Record.Effects)); got != nil {
		t.Errorf("the same: %q", got)
	}
	one, two := state(t, s.path("out")).Digest, [32]byte(blobSum("2"))
	got := Compare(first.Record, run("2", plan.Effects{Outputs: []plan.Setting{{Name: "a", Value: "2"}, {Name: "b", Value: "1"}}, Summary: []byte("x")}))
	want := []string{
		"k was a file before, and is a link now",
		fmt.Sprintf("l differs: %s before, %s now", short(one), short(two)),
		"the mode of mode differs: 0644 before, 0755 now",
		"once was written before, and is not now",
		fmt.Sprintf("out differs: %s before, %s now", short(one), short(two)),
		"twice is written now, and was not before",
		"output a differs",
		"what it puts in front of PATH differs",
		"its summary differs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(Compare(first.Record, nil)) != 1 {
		t.Error("a step that is barred now does not differ")
	}
}

// FuzzSearch looks for texts in bytes that come in pieces of any length.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("echo $GITHUB_SHA"), "GITHUB_SHA\nGITHUB_RUN_ID\nCI", uint8(3))
	f.Add([]byte("aaaaab"), "aab\naaaab\n\nb", uint8(1))
	f.Add([]byte("abcabcabcd"), "abcabcd\nbcab\nabc", uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, texts string, piece uint8) {
		list := strings.Split(texts, "\n")
		find := newSearch(newFinder(list))
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			find.Write(rest[:n])
			rest = rest[n:]
		}
		for i, text := range list {
			want := text != "" && bytes.Contains(data, []byte(text[:min(len(text), longestText)]))
			if find.found[i] != want {
				t.Errorf("%q in %q: found %v", text, data, find.found[i])
			}
		}
	})
}

func TestSearchRandom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "AB_"[r.IntN(3)]
		}
		return string(b)
	}
	for range 2000 {
		var texts []string
		for range 1 + r.IntN(6) {
			texts = append(texts, word(1+r.IntN(9)))
		}
		data := word(r.IntN(200))
		find := newSearch(newFinder(texts))
		for rest := data; rest != ""; {
			n := 1 + r.IntN(len(rest))
			io.WriteString(find, rest[:n])
			rest = rest[n:]
		}
		for i, text := range texts {
			if find.found[i] != strings.Contains(data, text) {
				t.Fatalf("%q in %q: found %v", text, data, find.found[i])
			}
		}
	}
}

// BenchmarkSearch looks for twenty names in what looks like source text.
func BenchmarkSearch(b *testing.B) {
	names := []string{
		"GITHUB_ACTION", "GITHUB_ACTOR", "GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_HEAD_REF", "GITHUB_JOB",
		"GITHUB_REF", "GITHUB_REF_NAME", "GITHUB_RUN_ATTEMPT", "GITHUB_RUN_ID", "GITHUB_RUN_NUMBER", "GITHUB_SHA",
		"GITHUB_TOKEN", "GITHUB_WORKFLOW_REF", "GITHUB_WORKFLOW_SHA", "RUNNER_NAME", "NPM_TOKEN", "DEPLOY_KEY", "SENTRY_AUTH", "CI_COMMIT",
	}
	var text []byte
	for _, file := range []string{"save.go", "view.go", "zones.go", "cache.go"} {
		body, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		text = append(text, body...)
	}
	text = bytes.Repeat(text, 20)
	f := newFinder(names)
	found := make([]bool, len(names))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		f.in(text, found)
	}
}

// BenchmarkSearchFiles is the search as Save does it, file by file.
func BenchmarkSearchFiles(b *testing.B) {
	s := newScene(b)
	body, err := os.ReadFile("save.go")
	s.ok(err)
	var inputs []record.Input
	size := 0
	for i := range 5000 {
		name := fmt.Sprintf("d%d/f%d.go", i/20, i)
		s.write(name, fmt.Sprint(i)+string(body[:4<<10]))
		inputs = append(inputs, s.input(record.UseContent, name))
		size += 4 << 10
	}
	vars := map[string]string{}
	for i := range 20 {
		vars[fmt.Sprintf("GITHUB_VAR%d", i)] = ""
	}
	b.SetBytes(int64(size))
	view := s.c.NewView(s.dirs, nil)
	for i := 0; b.Loop(); i++ {
		delete(vars, fmt.Sprint("OTHER", i-1))
		vars[fmt.Sprint("OTHER", i)] = "" // so that nothing is remembered
		if err := newUsage(vars).inputs(b.Context(), s.c, view, "", inputs); err != nil {
			b.Fatal(err)
		}
	}
}
