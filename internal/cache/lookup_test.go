package cache

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// lookedAt is UseExists of a link whose target was not read.
const lookedAt record.Use = 100

// TestInputs changes one thing at a time: each use of a path must see what
// concerns it and nothing else.
func TestInputs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		before func(s *scene)
		use    record.Use
		path   string
		change func(s *scene)
		why    string // "" for a hit
	}{
		{"content, unchanged", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(*scene) {}, ""},
		{"content, touched", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) {
			s.ok(os.Chtimes(s.path("go.sum"), time.Now(), time.Unix(1, 0)))
		}, ""},
		{"content, written again", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) { s.remove("go.sum"); s.write("go.sum", "a") }, ""},
		{"content, other mode for others", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) { s.chmod("go.sum", 0o660) }, "the mode of go.sum has changed"},
		{"content, changed", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) { s.write("go.sum", "b") }, "go.sum has changed"},
		{"content, longer", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) { s.write("go.sum", "ab") }, "go.sum has changed"},
		{"content, gone", func(s *scene) { s.write("go.sum", "a") }, record.UseContent, "go.sum", func(s *scene) { s.remove("go.sum") }, "go.sum is gone"},
		{"content, its directory gone", func(s *scene) { s.write("d/e/f", "a") }, record.UseContent, "d/e/f", func(s *scene) { s.remove("d") }, "d/e/f is gone"},
		{"content, executable", func(s *scene) { s.write("x.sh", "a") }, record.UseContent, "x.sh", func(s *scene) { s.chmod("x.sh", 0o755) }, "the mode of x.sh has changed"},
		{"content, executable for others", func(s *scene) { s.write("x.sh", "a") }, record.UseContent, "x.sh", func(s *scene) { s.chmod("x.sh", 0o654) }, "the mode of x.sh has changed"},
		{"content, not writable", func(s *scene) { s.write("x.sh", "a") }, record.UseContent, "x.sh", func(s *scene) { s.chmod("x.sh", 0o444) }, "the mode of x.sh has changed"},
		{"content, a directory", func(s *scene) { s.write("x", "a") }, record.UseContent, "x", func(s *scene) { s.remove("x"); s.mkdir("x") }, "x is a directory now, and was a file"},
		{"content, a link to the same", func(s *scene) { s.write("x", "a"); s.write("y", "a") }, record.UseContent, "x", func(s *scene) { s.remove("x"); s.link("y", "x") }, "x is a link now, and was a file"},
		{"content outside, touched", func(s *scene) { s.write("out:cc", "a") }, record.UseContent, "out:cc", func(s *scene) {
			s.ok(os.Chtimes(s.path("out:cc"), time.Now(), time.Unix(1, 0)))
		}, ""},
		{"content outside, changed", func(s *scene) { s.write("out:cc", "a") }, record.UseContent, "out:cc", func(s *scene) { s.write("out:cc", "b") }, "OUT/cc has changed"},

		{"exists, touched", func(s *scene) { s.write("a.o", "a") }, record.UseExists, "a.o", func(s *scene) {
			s.ok(os.Chtimes(s.path("a.o"), time.Now(), time.Unix(1, 0)))
		}, ""},
		{"exists, changed", func(s *scene) { s.write("a.o", "a") }, record.UseExists, "a.o", func(s *scene) { s.write("a.o", "b") }, "a.o has changed"},
		{"exists in temp, changed", func(s *scene) { s.write("temp:x", "a") }, record.UseExists, "temp:x", func(s *scene) { s.write("temp:x", "b") }, "TEMP/x has changed"},
		{"exists outside, unchanged", func(s *scene) { s.write("out:x", "a") }, record.UseExists, "out:x", func(*scene) {}, ""},
		{"exists outside, touched", func(s *scene) { s.write("out:x", "a") }, record.UseExists, "out:x", func(s *scene) {
			s.ok(os.Chtimes(s.path("out:x"), time.Now(), time.Unix(1, 0)))
		}, "OUT/x has changed"},
		{"exists outside, other mode", func(s *scene) { s.write("out:x", "a") }, record.UseExists, "out:x", func(s *scene) { s.chmod("out:x", 0o600) }, "the mode of OUT/x has changed"},
		{"exists, a directory", func(s *scene) { s.mkdir("d") }, record.UseExists, "d", func(s *scene) { s.write("d/x", "") }, ""},
		{"exists, a directory no more", func(s *scene) { s.mkdir("d") }, record.UseExists, "d", func(s *scene) { s.remove("d"); s.write("d", "") }, "d is a file now, and was a directory"},
		{"exists, a link", func(s *scene) { s.link("a", "l") }, record.UseExists, "l", func(s *scene) { s.remove("l"); s.link("b", "l") }, "l leads elsewhere"},
		{"exists, a link that was not followed", func(s *scene) { s.link("a", "l") }, lookedAt, "l", func(s *scene) { s.remove("l"); s.link("b", "l") }, ""},
		{"exists, a longer link", func(s *scene) { s.link("a", "l") }, lookedAt, "l", func(s *scene) { s.remove("l"); s.link("bb", "l") }, "l leads elsewhere"},
		{"exists outside, a link that was not followed", func(s *scene) { s.link("a", "out:l") }, lookedAt, "out:l", func(s *scene) { s.write("out:x", "") }, ""},

		{"absent, still", func(s *scene) {}, record.UseAbsent, "a/x.h", func(s *scene) { s.mkdir("a") }, ""},
		{"absent, there", func(s *scene) { s.mkdir("a") }, record.UseAbsent, "a/x.h", func(s *scene) { s.write("a/x.h", "x") }, "a/x.h is there now, and was looked for in vain"},
		{"absent, a dangling link", func(s *scene) {}, record.UseAbsent, "x", func(s *scene) { s.link("nowhere", "x") }, "x is there now, and was looked for in vain"},
		{"absent, below a file", func(s *scene) { s.write("f", "") }, record.UseAbsent, "f/x", func(s *scene) {}, ""},
		{"absent outside, there", func(s *scene) {}, record.UseAbsent, "out:bin/cc", func(s *scene) { s.write("out:bin/cc", "x") }, "OUT/bin/cc is there now, and was looked for in vain"},

		{"directory, still", func(s *scene) { s.mkdir("d") }, record.UseDir, "d", func(s *scene) { s.write("d/x", "x"); s.chmod("d", 0o700) }, ""},
		{"directory, gone", func(s *scene) { s.mkdir("d") }, record.UseDir, "d", func(s *scene) { s.remove("d") }, "d is gone"},
		{"directory, a link to one", func(s *scene) { s.mkdir("d"); s.mkdir("e") }, record.UseDir, "d", func(s *scene) { s.remove("d"); s.link("e", "d") }, "d is a link now, and was a directory"},

		{"link, still", func(s *scene) { s.link("a", "l") }, record.UseLink, "l", func(s *scene) { s.remove("l"); s.link("a", "l") }, ""},
		{"link, retargeted", func(s *scene) { s.link("a", "l") }, record.UseLink, "l", func(s *scene) { s.remove("l"); s.link("b", "l") }, "l leads elsewhere"},
		{"link, a file", func(s *scene) { s.link("a", "l") }, record.UseLink, "l", func(s *scene) { s.remove("l"); s.write("l", "a") }, "l is a file now, and was a link"},

		{"listed, still", func(s *scene) { s.write("src/a.c", "") }, record.UseListed, "src", func(s *scene) { s.write("src/a.c", "other") }, ""},
		{"listed, added", func(s *scene) { s.write("src/a.c", "") }, record.UseListed, "src", func(s *scene) { s.write("src/b.c", "") }, "a file was added to src/: b.c"},
		{"listed, added below", func(s *scene) { s.write("src/d/a.c", "") }, record.UseListed, "src", func(s *scene) { s.write("src/d/b.c", "") }, ""},
		{"listed, two added", func(s *scene) { s.write("src/a.c", "") }, record.UseListed, "src", func(s *scene) { s.write("src/b.c", ""); s.write("src/c.c", "") }, "the names in src/ have changed"},
		{"listed, other kind", func(s *scene) { s.write("src/a", "") }, record.UseListed, "src", func(s *scene) { s.remove("src/a"); s.mkdir("src/a") }, "the names in src/ have changed"},
		{"listed, gone", func(s *scene) { s.mkdir("src") }, record.UseListed, "src", func(s *scene) { s.remove("src") }, "src/ can be listed no more"},
		{"listed, the top", func(s *scene) { s.mkdir("src") }, record.UseListed, "", func(s *scene) { s.mkdir("lib") }, "a directory was added to the top directory: lib"},
		{"listed outside, added", func(s *scene) { s.write("out:lib/a", "") }, record.UseListed, "out:lib", func(s *scene) { s.write("out:lib/b", "") }, "a file was added to OUT/lib/: b"},

		{"git, a commit", func(s *scene) { s.write(".git/refs/heads/main", "1") }, record.UseContent, ".git/refs/heads/main", func(s *scene) { s.write(".git/refs/heads/main", "2") },
			"it reads .git (refs/heads/main), so it is made anew for each commit; -buildvcs=false lets `go build` do without"},
		{"git, configuration", func(s *scene) { s.write(".git/config", "1") }, record.UseContent, ".git/config", func(s *scene) { s.write(".git/config", "2") }, ".git/config has changed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			test.before(s)
			in := s.input(min(test.use, record.UseDir), test.path)
			if in.Use = test.use; test.use == lookedAt {
				in.Use, in.Digest = record.UseExists, [32]byte{}
			}
			o := s.observe(func() {}, in)
			o.Programs = []string{"/usr/lib/go/bin/go", "/usr/bin/git"}
			s.keep(s.saving(o))
			s.wantHit()
			s.wantHit() // from memory
			test.change(s)
			s.view(nil).Changed()
			if test.why == "" {
				s.wantHit()
				return
			}
			why := strings.NewReplacer("OUT", s.elsewhere, "TEMP", s.dirs.Temp).Replace(test.why)
			m := s.wantMiss(why)
			if m.Path == "" && test.path != "" || m.Old == m.New {
				t.Errorf("miss = %+v", m)
			}
		})
	}
}

func TestMissNamesTheFileThatIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write("src/a.c", "")
	s.write("src/b.c", "")
	s.keep(s.saving(s.observe(func() {}, s.input(record.UseListed, "src"), s.input(record.UseContent, "src/b.c"))))
	s.remove("src/b.c")
	s.wantMiss("a file was removed from src/: b.c")
}

// TestWhatMissIsToldOf: of several differences the one in the workspace counts,
// then .git, then variables, then the machine.
func TestWhatMissIsToldOf(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write("zz", "1")
	s.write(".git/HEAD", "1")
	s.write("out:aa", "1")
	s.write("temp:bb", "1")
	saving := s.saving(s.observe(func() {}, s.input(record.UseContent, "zz"), s.input(record.UseContent, ".git/HEAD"),
		s.input(record.UseContent, "out:aa"), s.input(record.UseContent, "temp:bb")))
	saving.Vars = map[string]string{"GITHUB_SHA": "1234567"}
	saving.Script = "echo $GITHUB_SHA"
	s.keep(saving)
	ask := func(sha string) string {
		q := s.query(s.view(nil))
		q.Vars = map[string]string{"GITHUB_SHA": sha}
		a := s.c.Lookup(t.Context(), q)
		if a.Miss == nil {
			return ""
		}
		return a.Miss.Why
	}
	if why := ask("1234567"); why != "" {
		t.Fatal(why)
	}
	s.write("out:aa", "2")
	s.view(nil).Changed()
	if why := ask("1234567"); why != s.elsewhere+"/aa has changed" {
		t.Error(why)
	}
	s.write(".git/HEAD", "2")
	if why := ask("1234567"); why != "it reads .git (HEAD), so it is made anew for each commit" {
		t.Error(why)
	}
	if why := ask("7654321"); why != "it reads .git (HEAD), so it is made anew for each commit" {
		t.Error(why)
	}
	s.write(".git/HEAD", "1")
	if why := ask("7654321"); why != "GITHUB_SHA is another (named in its script)" {
		t.Error(why)
	}
	if why := ask(""); why != "GITHUB_SHA is not set now (named in its script)" {
		t.Error(why)
	}
	s.write("zz", "2")
	if why := ask(""); why != "zz has changed" {
		t.Error(why)
	}
}

// TestOutputsAreNoInputs: where a step has worked before, what it made is as
// good as nothing; in a place that is made for it, it is what somebody put there.
func TestOutputsAreNoInputs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.inPlace = true
	s.write("src/a.c", "a")
	build := func() { s.write("src/a.o", "object"); s.mkdir("out/deep"); s.write("out/deep/log", "x") }
	inputs := []record.Input{s.input(record.UseListed, "src"), s.input(record.UseListed, ""), s.input(record.UseAbsent, "src/a.o"), s.input(record.UseAbsent, "out")}
	r := s.keep(s.saving(s.observe(build, inputs...)))
	s.wantHit() // in the tree as the step left it
	s.inPlace = false
	s.wantMiss("out is there now, and was looked for in vain")
	s.inPlace = true

	s.remove("src/a.o")
	s.wantHit()
	s.remove("out")
	s.wantHit() // and in a clean one
	if _, _, err := s.c.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.wantHit()

	s.write("src/a.o", "somebody else's")
	s.wantMiss("src/a.o is there now, and was looked for in vain")
	s.write("src/a.o", "object")
	s.write("out/deep/other", "x") // where the step has not looked
	s.wantHit()
	s.write("other", "x")
	s.wantMiss("a file was added to the top directory: other")
}

// TestOutputOfAnotherTime: in a tree that is not cleaned, what the step left
// there for other inputs is as good as nothing.
func TestOutputOfAnotherTime(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.inPlace = true
	for _, version := range []string{"one", "two"} {
		s.write("in", version)
		s.remove("out")
		in := []record.Input{s.input(record.UseContent, "in"), s.input(record.UseAbsent, "out")}
		s.keep(s.saving(s.observe(func() { s.write("out", version) }, in...)))
	}
	s.write("in", "one") // and out is still "two"
	r := s.wantHit()
	if _, _, err := s.c.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(s.path("out")); string(b) != "one" {
		t.Errorf("out = %q", b)
	}
}

func TestSeveralRecords(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, version := range []string{"one", "two", "three"} {
		s.write("in", version)
		s.keep(s.saving(s.observe(func() { s.write("temp:out", version) }, s.input(record.UseContent, "in"))))
	}
	for _, version := range []string{"two", "three", "one"} { // a revert hits
		s.write("in", version)
		r := s.wantHit()
		if o, ok := r.output(s.path("temp:out")); !ok || o.Digest != state(t, s.path("temp:out")).Digest && version == "three" {
			t.Errorf("%s: %+v", version, o)
		}
	}
	s.write("in", "four")
	m := s.wantMiss("in has changed")
	s.write("in", "three")
	if three := state(t, s.path("in")); m.Old != short(three.Digest) {
		t.Errorf("the miss is not about the newest record: %+v", m)
	}
}

func TestNoReuse(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if a := s.lookup(); a != (Answer{}) {
		t.Errorf("never seen: %+v", a)
	}
	saving := s.saving(s.observe(func() {}))
	saving.Rule.MaxAge = 90 * time.Minute
	s.keep(saving)
	s.wantHit()

	q := s.query(s.view(nil))
	q.Now = s.now.Add(2 * time.Hour)
	want := record.Miss{Why: "it ran longer ago than the project lets it be reused for", Old: "2h0m0s", New: "1h30m0s"}
	if a := s.c.Lookup(t.Context(), q); a.Miss == nil || *a.Miss != want {
		t.Errorf("old: %+v", a.Miss)
	}
	q = s.query(s.view(nil))
	q.Rule.Never = true
	if a := s.c.Lookup(t.Context(), q); a.Miss == nil || a.Miss.Why != "the project says that it is never reused" {
		t.Errorf("never: %+v", a)
	}
	q = s.query(s.view(nil))
	q.Scopes = Scopes{Write: "change/1", Read: []Scope{"change/1", "default"}}
	if a := s.c.Lookup(t.Context(), q); a != (Answer{}) {
		t.Errorf("another scope: %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := s.c.Lookup(ctx, s.query(s.view(nil))); a.Record != nil || a.Miss == nil {
		t.Errorf("cancelled: %+v", a)
	}
	q = s.query(s.view(nil))
	q.Stable = keyFor(7)
	s.ok(s.c.Condemn(q.Stable, "dist/app.js differs each time"))
	if a := s.c.Lookup(t.Context(), q); a.Unsound != "dist/app.js differs each time" || a.Record == nil {
		t.Errorf("condemned: %+v", a)
	}
}

func TestBlobsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	saving := s.saving(s.observe(func() { s.write("out", "x") }))
	saving.Log, saving.Lines = strings.NewReader("hello\n"), 1
	s.keep(saving)
	s.wantHit()
	s.ok(os.RemoveAll(s.blobs))
	if a := s.lookup(); a.Record != nil || a.Miss == nil || !strings.HasSuffix(a.Miss.Why, "it is no longer stored") {
		t.Fatalf("look-up = %+v", a)
	}
	if a := s.lookup(); a != (Answer{}) {
		t.Errorf("the record was not dropped: %+v", a)
	}
}

// TestMemoryIsShared: what is outside is looked at once for all jobs, until a
// step runs.
func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write("out:cc", "1")
	s.keep(s.saving(s.observe(func() {}, s.input(record.UseContent, "out:cc"))))
	one, two := s.view(nil), s.view(nil)
	ask := func(v *View) bool { return s.c.Lookup(t.Context(), s.query(v)).Record != nil }
	if !ask(one) {
		t.Fatal("no hit")
	}
	s.write("out:cc", "2")
	if !ask(two) {
		t.Error("what was seen is not remembered")
	}
	one.Changed()
	if ask(two) {
		t.Error("what was seen before a step ran is believed")
	}
}

// TestManyInputs compares on two goroutines; the first difference is told of.
func TestManyInputs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var inputs []record.Input
	for i := range 3 * enough {
		name := fmt.Sprintf("d%02d/f%04d", i%40, i)
		s.write(name, fmt.Sprint(i))
		inputs = append(inputs, s.input(record.UseContent, name))
	}
	s.keep(s.saving(s.observe(func() {}, inputs...)))
	s.wantHit()
	for _, i := range []int{5 * enough / 2, enough, enough / 40 * 40} {
		s.write(fmt.Sprintf("d%02d/f%04d", i%40, i), "other")
	}
	s.wantMiss(fmt.Sprintf("d00/f%04d has changed", enough/40*40))
}

// BenchmarkLookup compares real paths: half of them in the workspace, half of
// them outside, twenty in a directory; with 18 outputs.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{5_000, 20_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newScene(b)
			var inputs []record.Input
			for i := range n {
				name := fmt.Sprintf("pkg%04d/src/lib/f%02d.go", i/20, i%20)
				if i%2 == 1 {
					name = "out:" + name
				}
				s.write(name, fmt.Sprint(i))
				inputs = append(inputs, s.input(record.UseContent, name))
			}
			o := s.observe(func() {}, inputs...)
			for i := range 18 {
				s.write(fmt.Sprintf("temp:out/f%d", i), fmt.Sprint(i))
				path := s.path(fmt.Sprintf("temp:out/f%d", i))
				o.Outputs = append(o.Outputs, record.Output{Path: path, FileState: state(b, path), Made: true})
			}
			slices.SortFunc(o.Outputs, func(a, b record.Output) int { return strings.Compare(a.Path, b.Path) })
			s.keep(s.saving(o))
			settle()
			if a := s.lookup(); a.Record == nil { // learns the digests
				b.Fatal(a.Miss)
			}
			s.ok(s.c.Close())
			s.open(s.c.Blobs())
			for _, warm := range []bool{false, true} {
				b.Run(map[bool]string{false: "cold", true: "warm"}[warm], func(b *testing.B) {
					for b.Loop() {
						if !warm { // as a new process has it
							b.StopTimer()
							s.ok(s.c.Close())
							s.open(s.c.Blobs())
							b.StartTimer()
						}
						if a := s.lookup(); a.Record == nil {
							b.Fatal(a.Miss)
						}
					}
				})
			}
		})
	}
}
