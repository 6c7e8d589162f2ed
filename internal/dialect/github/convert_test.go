package github

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What is composed of an outline reads as the pipeline that it was made from.
func TestOutlineAndBack(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/convert/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := New(Config{})
		compile := func(body []byte) *plan.Pipeline {
			ps, problems, err := d.Compile(t.Context(), fstest.MapFS{".github/workflows/x.yml": {Data: body}, ".github/workflows/other.yml": {Data: []byte("on: workflow_call\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n")}}, nil)
			if err != nil || plan.Errors(problems) || len(ps) != 2 {
				t.Fatalf("%s: %v %v\n%s", file, err, problems, body)
			}
			return &ps[1]
		}
		o, err := d.Outline(compile(body))
		if err != nil {
			t.Fatal(err)
		}
		again, lost := d.Compose(o)
		var told string
		for _, p := range append(o.Lost, lost...) {
			told += p.String() + "\n"
		}
		golden(t, file+".golden", append(again, told...))
		twice, err := d.Outline(compile(again))
		if err != nil {
			t.Fatal(err)
		}
		if third, _ := d.Compose(twice); string(third) != string(again) {
			t.Errorf("%s: composed once\n%s\ntwice\n%s", file, again, third)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s", name, got)
	}
}
