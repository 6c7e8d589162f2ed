// Package semantics shows, from outside and with the real binary, that
// Fairlead keeps the rules of GitHub's language that are easy to get wrong.
//
// Each rule is a [probe]: a small workflow, the exit code, and what must and
// must not be seen. Steps leave marks, files below $OUTSIDE that no workspace
// owns, so that a probe tells what really ran and not only what was said.
package semantics

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

// probe is one rule.
type probe struct {
	name   string
	flow   string            // .github/workflows/ci.yml
	files  map[string]string // besides it
	args   []string          // after run
	env    []string          // of Fairlead
	exit   int
	shown  []string          // in what is printed
	not    []string          // not in what is printed
	marks  map[string]string // files below $OUTSIDE, by name; "" for one that must not be
	hidden []string          // nowhere in what is printed or kept
	needs  []string          // commands
	before func(t *testing.T, p *binary.Place)
	then   func(t *testing.T, p *binary.Place, out binary.Outcome)
}

const workflow = ".github/workflows/ci.yml"

// places bounds how many probes run at a time: each starts processes itself.
var places = make(chan struct{}, 3)

// check runs probes, side by side.
func check(t *testing.T, probes []probe) {
	t.Parallel()
	for _, pr := range probes {
		t.Run(pr.name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			pr.run(t)
		})
	}
}

func (pr *probe) place(t *testing.T) *binary.Place {
	t.Helper()
	binary.Need(t, append(pr.needs, "bash")...)
	files := map[string]string{workflow: pr.flow}
	for name, body := range pr.files {
		files[name] = body
	}
	p := binary.NewPlace(t, files)
	p.Env = append(p.Env, pr.env...)
	return p
}

func (pr *probe) run(t *testing.T) {
	p := pr.place(t)
	if pr.before != nil {
		pr.before(t, p)
	}
	out := p.Run(append([]string{"run"}, pr.args...)...)
	pr.judge(t, p, out)
	if pr.then != nil && !t.Failed() {
		pr.then(t, p, out)
	}
}

// judge compares what happened with what must have.
func (pr *probe) judge(t *testing.T, p *binary.Place, out binary.Outcome) {
	t.Helper()
	if out.Exit != pr.exit {
		t.Errorf("exit code %d, want %d", out.Exit, pr.exit)
	}
	all := out.All()
	for _, want := range pr.shown {
		if !strings.Contains(all, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	for _, bad := range pr.not {
		if strings.Contains(all, bad) {
			t.Errorf("shown, and must not be: %q", bad)
		}
	}
	for name, want := range pr.marks {
		if got := p.Mark(name); got != want {
			t.Errorf("mark %s is %q, want %q", name, got, want)
		}
	}
	if len(pr.hidden) > 0 { // what is kept may be compressed: ask for it too
		for _, e := range runs(t, p) {
			all += p.Run("logs", e).All() + p.Run("show", "--output", "json", e).All()
		}
	}
	for _, value := range pr.hidden {
		if strings.Contains(all, value) {
			t.Errorf("shown, and must be masked: %q", value)
		}
		for _, file := range holding(t, p.Data, value) {
			t.Errorf("%s holds %q", file, value)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// runs are the IDs of the runs of a place.
func runs(t *testing.T, p *binary.Place) (ids []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.Data, "runs"))
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// holding names the files below dir that hold the text.
func holding(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(body), text) {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return files
}
