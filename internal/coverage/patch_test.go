package coverage

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// change is what git diff -U0 prints, with all that may stand in it.
const change = `commit 0123
Author: A <a@example.org>

    diff of the message

diff --git a/a.go b/a.go
index 1..2 100644
--- a/a.go
+++ b/a.go
@@ -2 +2,2 @@ func a() {
-	old()
+	new()
+	// a comment
@@ -10,0 +12,3 @@ func b() {
+	one()
+	two()
+	three()
@@ -20,2 +24,0 @@
-	gone()
-	gone()
diff --git a/old name.go b/new name.go
similarity index 90%
rename from old name.go
rename to new name.go
--- a/old name.go	
+++ b/new name.go	
@@ -1 +1 @@
-x
+y
\ No newline at end of file
diff --git "a/\303\244\t.go" "b/\303\244\t.go"
new file mode 100644
--- /dev/null
+++ "b/\303\244\t.go"
@@ -0,0 +1 @@
+package a
diff --git a/gone.go b/gone.go
deleted file mode 100644
--- a/gone.go
+++ /dev/null
@@ -1 +0,0 @@
-package gone
diff --git a/logo.png b/logo.png
new file mode 100644
index 0..1
Binary files /dev/null and b/logo.png differ
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
`

func parse(t *testing.T, text string) *Diff {
	t.Helper()
	d, err := ParseDiff(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lines is a diff in short.
func diffText(d *Diff) string {
	var b strings.Builder
	for _, f := range d.Files {
		fmt.Fprintf(&b, "%q>%q", f.Old, f.New)
		if f.Binary {
			b.WriteString(" binary")
		}
		if f.Combined {
			b.WriteString(" combined")
		}
		for _, h := range f.Hunks {
			for _, l := range h.Lines {
				fmt.Fprintf(&b, " %c%d/%d", l.Kind, l.Old, l.New)
			}
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

func TestParseDiff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"all that git prints", change, `"a.go">"a.go" -2/0 +0/2 +0/3 +0/12 +0/13 +0/14 -20/0 -21/0
"old name.go">"new name.go" -1/0 +0/1
"">"ä\t.go" +0/1
"gone.go">"" -1/0
"">"logo.png" binary
"run.sh">"run.sh"`},
		{"with context, and lines that look like heads", "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n--- b\n+++ c\n\n", "\"x\">\"x\"  1/1 -2/0 +0/2  3/3"},
		{"diff -u", "--- x/a.c\t2020-01-01 10:00:00\n+++ y/a.c\t2020-01-01 10:00:01\n@@ -1 +1 @@\n-a\n+b\n--- /dev/null\n+++ n.c\n@@ -0,0 +1 @@\n+b\n", "\"x/a.c\">\"y/a.c\" -1/0 +0/1\n\"\">\"n.c\" +0/1"},
		{"without a/ and b/", "diff --git b/a.c b/a.c\n--- b/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-a\n+b\n", `"b/a.c">"b/a.c" -1/0 +0/1`},
		{"mnemonic", "diff --git i/a.c w/a.c\n--- i/a.c\n+++ w/a.c\n@@ -1 +1 @@\n-a\n+b\n", `"a.c">"a.c" -1/0 +0/1`},
		{"a merge", "diff --cc a.c\nindex 1,2..3\n--- a/a.c\n+++ b/a.c\n@@@ -1,2 -1,2 +1,3 @@@\n  x\n++y\ndiff --git a/b.c b/b.c\n--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-a\n+b\n", "\"a.c\">\"a.c\" combined\n\"b.c\">\"b.c\" -1/0 +0/1"},
		{"windows' ends", "diff --git a/a b/a\r\n--- a/a\r\n+++ b/a\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n", `"a">"a" -1/0 +0/1`},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := diffText(parse(t, test.in)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestParseDiffSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	head := "--- a/x\n+++ b/x\n"
	for _, test := range []struct{ in, want string }{
		{head + "@@ -1,2 +1 @@\n-a\n", "line 4: it ends in the middle of a hunk"},
		{head + "@@ nonsense @@\n", "line 3: this is no beginning of a hunk"},
		{head + "@@ -1 +1,99999999999 @@\n", "line 3: this is no beginning of a hunk"},
		{head + "@@ -1 +1 @@\n?\n", "line 4: a line of a hunk begins with '?'"},
		{head + "@@ -1 +1,2 @@\n-a\n-a\n", "line 5: the hunk has more old lines than it says"},
	} {
		d, err := ParseDiff(strings.NewReader(test.in))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.in, err, test.want)
		}
		if d == nil || len(d.Files) != 1 {
			t.Errorf("%q: what was read until then is lost", test.in)
		}
	}
	long := parse(t, head+"@@ -0,0 +1 @@\n+"+strings.Repeat("ä", 1<<20)+"\n")
	if l := long.Files[0].Hunks[0].Lines[0]; len(l.Text) > maxDiffText {
		t.Errorf("%d bytes of a line are kept", len(l.Text))
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	r := report(t, "a.go: 1+ 2+ 12- 13~ 14+ 99-\nnew name.go: 1-\nother.go: 1-")
	got := r.Patch(parse(t, change))
	want := Patch{
		Totals: Totals{Files: 2, Hit: 2, Partial: 1, Miss: 2},
		Files: []PatchFile{
			{Path: "a.go", Totals: Totals{Files: 1, Hit: 2, Partial: 1, Miss: 1}, Open: []Range{{12, 13}}},
			{Path: "new name.go", Totals: Totals{Files: 1, Miss: 1}, Open: []Range{{1, 1}}},
		},
		Unknown: []string{"ä\t.go", "logo.png", "run.sh"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if share, ok := got.Ratio(); !ok || share != 2.0/5 {
		t.Errorf("the ratio is %v", share)
	}
	if _, ok := r.Patch(&Diff{}).Ratio(); ok {
		t.Error("a change of nothing has a ratio")
	}
}

func TestPatchRuns(t *testing.T) {
	t.Parallel()
	d := parse(t, "--- a/x\n+++ b/x\n@@ -0,0 +1,6 @@\n+1\n+2\n+3\n+4\n+5\n+6\n@@ -10,3 +20,4 @@\n+20\n 21\n 22\n 23\n")
	// Line 2 is a comment between two missed ones; line 4 is covered.
	got := report(t, "x: 1- 3- 4+ 5- 20- 21-").Patch(d)
	if want := []Range{{1, 3}, {5, 5}, {20, 20}}; !reflect.DeepEqual(got.Files[0].Open, want) {
		t.Errorf("open lines are %v, want %v", got.Files[0].Open, want)
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	r := report(t, "a.go: 2+ 12- 13~")
	marked := r.Mark(parse(t, change))
	if len(marked) != 6 || !marked[0].Known || marked[1].Old != "old name.go" || !marked[3].Deleted || !marked[4].Binary {
		t.Fatalf("%+v", marked)
	}
	if marked[0].Patch != (Totals{Hit: 1, Partial: 1, Miss: 1}) {
		t.Errorf("the file's patch is %+v", marked[0].Patch)
	}
	lines := marked[0].Hunks[0].Lines
	want := []MarkedLine{
		{Kind: "-", Old: 2, Text: "\told()"},
		{Kind: "+", New: 2, Text: "\tnew()", State: Hit, Hits: 1},
		{Kind: "+", New: 3, Text: "\t// a comment"},
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %+v", lines)
	}
}

func TestCarry(t *testing.T) {
	t.Parallel()
	// Of the old commit: a.go loses line 2 and 20, 21, and gets five lines.
	old := report(t, "a.go: 1+ 2+ 5~ 10+ 11+ 20+ 22+\nold name.go: 1+ 3+\ngone.go: 1+\nsame.go: 4+ 5-")
	now := report(t, "a.go: 1+ 6-\nsame.go: 5+")
	if err := now.Carry(old, "0123abc", parse(t, change)); err != nil {
		t.Fatal(err)
	}
	want := `a.go: 1+ 6~c 11+c 15+c 24+c from 0123abc
new name.go: 3+c from 0123abc
same.go: 4+c 5+ from 0123abc`
	if got := text(now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBeyond(t *testing.T) {
	t.Parallel()
	r := report(t, "a.go: 1+\nidle.go: 1- 2-\nempty.go:")
	got := r.Beyond([]string{"schema.sql", "a.go", "idle.go", "empty.go", "testdata/x.json", "schema.sql"})
	want := Unseen{Data: []string{"schema.sql", "testdata/x.json"}, Idle: []string{"idle.go"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	old := report(t, "a.go: 1+ 2+\nfar.go: 1+ 2+ 3+\nold name.go: 1+\nsame.go: 1+\ngone.go: 1-")
	now := report(t, "a.go: 1+ 2-\nfar.go: 1- 2- 3+\nnew name.go: 1+\nsame.go: 1+\nnew.go: 1+")
	got := now.Compare(old, parse(t, change))
	want := []FileChange{
		{"far.go", Totals{Files: 1, Hit: 3}, Totals{Files: 1, Hit: 1, Miss: 2}, true},
		{"a.go", Totals{Files: 1, Hit: 2}, Totals{Files: 1, Hit: 1, Miss: 1}, false},
		{"gone.go", Totals{Files: 1, Miss: 1}, Totals{}, false},
		{"new.go", Totals{}, Totals{Files: 1, Hit: 1}, true},
	}
	if !reflect.DeepEqual(got.Files, want) || got.Before != old.Totals() || got.After != now.Totals() {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseDiff(f *testing.F) {
	f.Add([]byte(change))
	f.Add([]byte("--- a\n+++ b\n@@ -1,3 +1 @@\n-a\n-b\n c\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		d, _ := ParseDiff(bytes.NewReader(in))
		r := &Report{}
		for _, file := range d.Files {
			_ = r.Add(file.New, []Line{Counted(1, 1, 0, 0), Counted(2, 0, 0, 0)})
			for _, h := range file.Hunks {
				old, next := h.Old, h.New
				for _, l := range h.Lines {
					if l.Old != 0 && l.Old != old || l.New != 0 && l.New != next {
						t.Fatalf("%+v, expected at %d/%d", l, old, next)
					}
					if l.Kind != '+' {
						old++
					}
					if l.Kind != '-' {
						next++
					}
				}
			}
		}
		p := r.Patch(d)
		sum := 0
		for _, m := range r.Mark(d) {
			sum += m.Patch.Lines()
		}
		if p.Lines() > sum {
			t.Fatalf("%d lines in the patch, %d are marked", p.Lines(), sum)
		}
		_ = r.Carry(r, "x", d)
	})
}
