package coverage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// report makes one of "a.go: 1+ 2- 3~".
func report(t *testing.T, text string) *Report {
	t.Helper()
	r := &Report{}
	for l := range strings.Lines(text) {
		name, states, ok := strings.Cut(strings.TrimSpace(l), ":")
		if !ok {
			continue
		}
		var lines []Line
		for _, s := range strings.Fields(states) {
			var n int
			var state string
			if _, err := fmt.Sscanf(s, "%d%s", &n, &state); err != nil {
				t.Fatal(s, err)
			}
			line := Line{Number: int32(n), State: map[string]State{"+": Hit, "~": Partial, "-": Miss}[state]}
			if line.State > Miss {
				line.Hits = 1
			}
			lines = append(lines, line)
		}
		if err := r.Add(name, lines); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// text is a report as report reads it; "c" stands behind carried lines.
func text(r *Report) string {
	var b strings.Builder
	for _, f := range r.Files() {
		b.WriteString(f.Path + ":")
		for _, l := range f.Lines {
			fmt.Fprintf(&b, " %d%s", l.Number, map[State]string{Hit: "+", Partial: "~", Miss: "-"}[l.State])
			if l.Carried {
				b.WriteString("c")
			}
		}
		if f.Carried != "" {
			b.WriteString(" from " + f.Carried)
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

func TestCounted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		hits            int64
		taken, branches int
		want            State
	}{
		{0, 0, 0, Miss}, {1, 0, 0, Hit}, {1, 1, 2, Partial}, {1, 0, 2, Partial}, {1, 2, 2, Hit},
		{0, 0, 2, Miss}, {0, 1, 2, Partial}, {-3, 0, 0, Miss}, {1 << 60, 1 << 40, 1 << 40, Hit}, {1, 9, 2, Hit},
	} {
		if l := Counted(1, test.hits, test.taken, test.branches); l.State != test.want || l.Taken > l.Branches || l.Hits < 0 {
			t.Errorf("Counted(1, %d, %d, %d) = %+v, want %v", test.hits, test.taken, test.branches, l, test.want)
		}
	}
}

// TestMergeIsTheBest merges what is known of a line in all orders: the best
// state holds, and never are more branches taken than there are.
func TestMergeIsTheBest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		lines := make([]Line, 3)
		for i := range lines {
			lines[i] = Counted(1, random.Int64N(3), random.IntN(4), random.IntN(4))
		}
		var all []Line
		for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			all = append(all, lines[order[0]].merge(lines[order[1]]).merge(lines[order[2]]))
		}
		for _, l := range all {
			if l != all[0] || l.Taken > l.Branches || l.State != max(lines[0].State, lines[1].State, lines[2].State) {
				t.Fatalf("%+v become %+v, and in another order %+v", lines, all[0], l)
			}
		}
	}
}

func TestReportAdd(t *testing.T) {
	t.Parallel()
	r := report(t, "a.go: 5+ 1- 5- 3~ 1+\n./b/../a.go: 2- 3+\nb.go: 1-\nb.go: 1-")
	if got, want := text(r), "a.go: 1+ 2- 3+ 5+\nb.go: 1-"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := r.Add("b.go", []Line{{Number: 0, State: Hit}, {Number: -4, State: Hit}, {Number: MaxLine + 1, State: Hit}, {Number: 7}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", " ", ".", "/", strings.Repeat("x", 5000)} {
		if err := r.Add(name, []Line{{Number: 1, State: Hit}}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := text(r), "a.go: 1+ 2- 3+ 5+\nb.go: 1-"; got != want {
		t.Errorf("what is no line and no file was added: %s", got)
	}
	if l := r.File("a.go").Line(4); l.State != None || r.File("none").Line(1).State != None {
		t.Error("a line that nobody knows has a state")
	}
}

// TestUnion adds lines in random parts and compares with all at once.
func TestUnion(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var all []Line
		parts := &Report{}
		for range random.IntN(6) {
			var part []Line
			for range random.IntN(20) {
				part = append(part, Counted(1+random.IntN(15), random.Int64N(2), random.IntN(3), random.IntN(3)))
			}
			all = append(all, part...)
			if err := parts.Add("a", slices.Clone(part)); err != nil {
				t.Fatal(err)
			}
		}
		whole := &Report{}
		if err := whole.Add("a", slices.Clone(all)); err != nil {
			t.Fatal(err)
		}
		if whole.Totals() != parts.Totals() && len(all) > 0 {
			t.Fatalf("%+v at once, %+v in parts", whole.Totals(), parts.Totals())
		}
		if parts.File("a") != nil && parts.lines != len(parts.File("a").Lines) {
			t.Fatalf("%d lines are counted, there are %d", parts.lines, len(parts.File("a").Lines))
		}
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	r := report(t, "cmd/a.go: 1+ 2- 3~ 4-\ncmd/sub/b.go: 1+\ntop.go: 1-\nREADME.md:")
	if got, want := r.Totals(), (Totals{Files: 4, Hit: 2, Partial: 1, Miss: 3}); got != want {
		t.Errorf("Totals = %+v", got)
	}
	if share, ok := r.Totals().Ratio(); !ok || share != 2.0/6 {
		t.Errorf("Ratio = %v, %v", share, ok)
	}
	if _, ok := (Totals{Files: 3}).Ratio(); ok {
		t.Error("there is a ratio of no lines")
	}
	want := []Part{
		{".", Totals{Files: 2, Miss: 1}}, {"cmd", Totals{Files: 1, Hit: 1, Partial: 1, Miss: 2}}, {"cmd/sub", Totals{Files: 1, Hit: 1}},
	}
	if got := r.Packages(); !reflect.DeepEqual(got, want) {
		t.Errorf("Packages = %+v", got)
	}
}

func TestComponents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		patterns []string
		path     string
		want     bool
	}{
		{[]string{"internal/server"}, "internal/server/page.go", true},
		{[]string{"internal/server/"}, "internal/server/page.go", true},
		{[]string{"internal/server"}, "internal/servers/page.go", false},
		{[]string{"*.go"}, "a.go", true},
		{[]string{"*.go"}, "x/a.go", false},
		{[]string{"**/*.go"}, "x/y/a.go", true},
		{[]string{"**/*.go"}, "a.go", true},
		{[]string{"a/**/b/*.c"}, "a/b/x.c", true},
		{[]string{"a/**/b/*.c"}, "a/x/b/y/b/z.c", true},
		{[]string{"a/**/b/*.c"}, "a/x/b/y/z.c", false},
		{[]string{"a/**"}, "a", true},
		{[]string{"**"}, "any/thing", true},
		{[]string{"src/[ab]?.c"}, "src/b1.c", true},
		{[]string{"src/[.c"}, "src/[.c", false},
		{[]string{"**", "!**/*_test.go"}, "x/a_test.go", false},
		{[]string{"**", "!gen", "gen/keep.go"}, "gen/keep.go", true},
		{nil, "a", false},
	} {
		if got := (Component{Paths: test.patterns}).Has(test.path); got != test.want {
			t.Errorf("%q has %s: %v", test.patterns, test.path, got)
		}
	}
	// A pattern of many stars is no exponential search.
	if (Component{Paths: []string{strings.Repeat("**/x/", 60) + "y"}}).Has(strings.Repeat("x/", 400) + "z") {
		t.Error("it matches")
	}
	r := report(t, "a/x.go: 1+\nb/x.go: 1-")
	got := r.Components([]Component{{"a", []string{"a"}}, {"all", []string{"**"}}, {"none", nil}})
	want := []Part{{"a", Totals{Files: 1, Hit: 1}}, {"all", Totals{Files: 2, Hit: 1, Miss: 1}}, {"none", Totals{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Components = %+v", got)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, tree, in, want, unknown string
	}{
		{"the same paths", "a.go b/a.go", "a.go: 1+\nb/a.go: 1-", "a.go: 1+\nb/a.go: 1-", ""},
		{"another machine", "src/a.c src/sub/b.c main.c", "/home/ci/w/src/a.c: 1+\n/home/ci/w/src/sub/b.c: 1+\n/home/ci/w/main.c: 1+", "main.c: 1+\nsrc/a.c: 1+\nsrc/sub/b.c: 1+", ""},
		{"a module of Go", "a/a.go b/a.go main.go", "example.org/app/a/a.go: 1+\nexample.org/app/b/a.go: 1-\nexample.org/app/main.go: 1+", "a/a.go: 1+\nb/a.go: 1-\nmain.go: 1+", ""},
		{"packages of Java in two modules", "core/src/main/java/org/a/A.java web/src/main/java/org/a/B.java", "org/a/A.java: 1+\norg/a/B.java: 1-\norg/a/C.java: 1-", "core/src/main/java/org/a/A.java: 1+\nweb/src/main/java/org/a/B.java: 1-", "org/a/C.java"},
		{"one name, several files: the way that most went", "x/util.js y/util.js x/a/a.js x/b/b.js", "/w/x/a/a.js: 1+\n/w/x/b/b.js: 1+\n/w/y/util.js: 1-", "x/a/a.js: 1+\nx/b/b.js: 1+\ny/util.js: 1-", ""},
		{"ambiguous without any help", "x/util.js y/util.js", "util.js: 1+", "", "util.js"},
		{"a root that is cut off, decided by the others", "app/src/a.py app/src/index.py lib/src/index.py app/src/b.py", "src/a.py: 1+\nsrc/b.py: 1+\nsrc/index.py: 1-", "app/src/a.py: 1+\napp/src/b.py: 1+\napp/src/index.py: 1-", ""},
		{"dependencies under the root", "src/a.js src/b.js src/index.js", "/w/src/a.js: 1+\n/w/src/b.js: 1+\n/w/node_modules/x/src/index.js: 1-", "src/a.js: 1+\nsrc/b.js: 1+", "/w/node_modules/x/src/index.js"},
		{"a container's root", "web/src/a.ts web/src/b.ts", "/app/src/a.ts: 1+\n/app/src/b.ts: 1-", "web/src/a.ts: 1+\nweb/src/b.ts: 1-", ""},
		{"the only file there is", "main.py setup.py", "/w/main.py: 1+", "main.py: 1+", ""},
		{"Windows", "Src/A.cs", `D:\a\1\Src\A.cs: 1+`, "Src/A.cs: 1+", ""},
		{"two names of one file", "src/a.c", "/w/src/a.c: 1+ 2-\nsrc/a.c: 2+", "src/a.c: 1+ 2+", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := &Report{}
			for l := range strings.Lines(test.in) {
				l = strings.TrimSpace(l)
				i := strings.LastIndex(l, ": ")
				one := report(t, "x:"+l[i+1:])
				if err := in.Add(l[:i], one.File("x").Lines); err != nil {
					t.Fatal(err)
				}
			}
			got, unknown := in.Resolve(strings.Fields(test.tree))
			if text(got) != test.want || strings.Join(unknown, " ") != test.unknown {
				t.Errorf("got\n%s\nunknown %q, want\n%s\nunknown %q", text(got), unknown, test.want, test.unknown)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	r := report(t, "a.go: 1+ 2- 3~ 400000+\nb/ü.go: 7-\nempty.go:")
	if err := r.Add("c.go", []Line{Counted(3, 1<<40, 3, 4), Counted(4, 7, 0, 0), {Number: 5, State: Miss, Hits: 2}}); err != nil {
		t.Fatal(err)
	}
	old := report(t, "d.go: 1+")
	if err := r.Carry(old, "abc", &Diff{}); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := Encode(&first, r); err != nil {
		t.Fatal(err)
	}
	again, err := Decode(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Files(), r.Files()) {
		t.Errorf("got\n%s\nwant\n%s", text(again), text(r))
	}
	if err := Encode(&second, again); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same report has other bytes")
	}
	for n := range first.Len() {
		if _, err := Decode(bytes.NewReader(first.Bytes()[:n])); err == nil {
			t.Fatalf("%d of %d bytes are a report", n, first.Len())
		}
	}
}

func FuzzDecode(f *testing.F) {
	var seed bytes.Buffer
	r := &Report{}
	_ = r.Add("a/b.go", []Line{Counted(1, 3, 1, 2), Counted(9, 0, 0, 0)})
	_ = Encode(&seed, r)
	f.Add(seed.Bytes())
	f.Add([]byte(magic + "\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Decode(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Encode(&out, r); err != nil {
			t.Fatal(err)
		}
		again, err := Decode(&out)
		if err != nil || !reflect.DeepEqual(again.Files(), r.Files()) {
			t.Fatalf("what was read cannot be kept: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	r := &Report{}
	for f := range 1000 {
		lines := make([]Line, 500)
		for i := range lines {
			lines[i] = Counted(i*2+1, int64(i%7), 0, 0)
		}
		_ = r.Add(fmt.Sprintf("internal/package%d/file%d.go", f%50, f), lines)
	}
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if err := Encode(&out, r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(out.Len())/500_000, "bytes/line")
	b.ReportMetric(500_000*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func TestJoin(t *testing.T) {
	t.Parallel()
	unit, e2e := report(t, "a.go: 1+ 2-\nb.go: 1-"), report(t, "a.go: 1- 2+")
	all, flags, err := Join([]Upload{{"unit", unit}, {"e2e", e2e}, {"", report(t, "c.go: 1+")}, {"unit", report(t, "b.go: 1+")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(all), "a.go: 1+ 2+\nb.go: 1+\nc.go: 1+"; got != want {
		t.Errorf("got\n%s", got)
	}
	want := []Part{{"e2e", Totals{Files: 1, Hit: 1, Miss: 1}}, {"unit", Totals{Files: 2, Hit: 2, Miss: 1}}}
	if !reflect.DeepEqual(flags, want) {
		t.Errorf("flags are %+v", flags)
	}
	if got := text(unit); got != "a.go: 1+ 2-\nb.go: 1-" {
		t.Errorf("a report that was merged has changed: %s", got)
	}
	now := report(t, "a.go: 1+")
	if err := now.Carry(report(t, "a.go: 2+"), "0123", &Diff{}); err != nil {
		t.Fatal(err)
	}
	if p := now.Point("4567", time.Time{}, flags...); p.Carried != 1 || p.Hit != 2 || len(p.Parts) != 2 {
		t.Errorf("the point is %+v", p)
	}
}
