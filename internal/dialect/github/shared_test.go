package github

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestEventIsOfItsRun asks for the event of two runs in turn: what the jobs of
// a run share must not be given to another.
func TestEventIsOfItsRun(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	runs := map[string]*plan.Context{}
	for _, actor := range []string{"ada", "grace"} {
		change := push()
		change.Actor = actor
		runs[actor] = &plan.Context{Change: change}
	}
	for _, actor := range []string{"ada", "grace", "grace", "ada"} {
		for _, temp := range []string{"/a/_temp", "/b/_temp"} {
			f, err := d.eventFile(runs[actor], plan.Dirs{Temp: temp})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(f.Body), `"`+actor+`"`) || !strings.HasPrefix(f.Path, temp) {
				t.Errorf("the event of %s in %s is %s:\n%s", actor, temp, f.Path, f.Body)
			}
		}
	}
}

// TestShellOnPaper looks for a shell in several jobs on paper: one that is
// missing may come, one that was found is not looked for again, and before
// anything is started it is.
func TestShellOnPaper(t *testing.T) {
	t.Parallel()
	var looks int
	there := false
	d := New(Config{LookPath: func(program string, _ []string) (string, error) {
		looks++
		if !there {
			return "", errors.New("not found")
		}
		return "/bin/" + program, nil
	}})
	p := compile(t, d, "on: push\njobs: {a: {runs-on: x, steps: [{run: a, shell: sh}]}}\n", push())
	for _, c := range []struct {
		name         string
		there, paper bool
		found        bool
		looks        int
	}{
		{"missing", false, true, false, 1},
		{"found", true, true, true, 1},
		{"in another job", false, true, true, 0},
		{"in earnest", false, false, false, 1},
	} {
		looks, there = 0, c.there
		s := &plan.Scope{
			Context: &plan.Context{Pipeline: p, Change: push()}, Job: &p.Jobs[0], Paper: c.paper, Status: plan.Success,
			Dirs: plan.Dirs{Workspace: t.TempDir(), Temp: "/t"}, OS: "Linux",
		}
		session, err := d.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		act, err := session.Resolve(t.Context(), &p.Jobs[0].Steps[0], s)
		if err != nil {
			t.Fatal(err)
		}
		if found := act.Problem == nil; found != c.found || looks != c.looks {
			t.Errorf("%s: found %v after %d looks, want %v after %d", c.name, found, looks, c.found, c.looks)
		}
	}
}
