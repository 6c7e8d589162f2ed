package engine

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestSeeded: every command that names the seed is given it, the others only when all
// are, and nobody who has his own.
func TestSeeded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		c    plan.Command
		all  bool
		want string
	}{
		{"plain", plan.Command{Argv: []string{"make"}, Script: "make"}, false, ""},
		{"all", plan.Command{Argv: []string{"make"}}, true, "7"},
		{"script", plan.Command{Argv: []string{"sh", "/x"}, Script: "test --seed $FAIRLEAD_SEED"}, false, "7"},
		{"argv", plan.Command{Argv: []string{"sh", "-c", "echo $FAIRLEAD_SEED"}}, false, "7"},
		{"file", plan.Command{Argv: []string{"sh", "/x"}, Files: []plan.File{{Body: []byte("echo $FAIRLEAD_SEED")}}}, false, "7"},
		{"own", plan.Command{Script: "$FAIRLEAD_SEED", Env: map[string]string{seedVar: "1"}}, true, "1"},
	} {
		shared := tt.c.Env
		before := maps.Clone(shared)
		th := &thread{job: &job{plan: &plan.Job{ID: "a"}, req: &Request{Seed: "7", SeedAll: tt.all}}}
		if err := th.give(&tt.c); err != nil {
			t.Fatal(err)
		}
		if tt.c.Env[seedVar] != tt.want || slices.Contains(tt.c.Volatile, seedVar) != (tt.want == "7") {
			t.Errorf("%s: %q, volatile %v", tt.name, tt.c.Env[seedVar], tt.c.Volatile)
		}
		if !maps.Equal(shared, before) {
			t.Errorf("%s: the dialect's own map was changed", tt.name)
		}
	}
}

// TestLent: what a job is lent is made once, reaches commands in containers, and is taken
// back once.
func TestLent(t *testing.T) {
	t.Parallel()
	made, back := 0, 0
	lending := &Lending{Names: []string{"DB"}, Lend: func(_ context.Context, temp string) (*Lent, error) {
		made++
		return &Lent{Env: map[string]string{"DB": temp + "/x"}, Loopback: []int{5433}, Back: func() error { back++; return nil }}, nil
	}}
	j := &job{plan: &plan.Job{ID: "a"}, req: &Request{Lending: func(*plan.Job) *Lending { return lending }}, base: &plan.Scope{Dirs: plan.Dirs{Temp: "/temp"}}}
	for _, c := range []plan.Command{{}, {Container: &plan.Container{Image: "x"}}} {
		if err := (&thread{job: j}).give(&c); err != nil || c.Env["DB"] != "/temp/x" || !slices.Equal(c.Loopback, []int{5433}) || !slices.Contains(c.Volatile, "DB") {
			t.Errorf("%+v, %v", c, err)
		}
	}
	j.takeBack()
	j.takeBack()
	if made != 1 || back != 1 {
		t.Errorf("made %d times, taken back %d times", made, back)
	}
}

// TestGivenElsewhere: seed and loans go with a job that is done on another machine.
func TestGivenElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	h.fits = func(*plan.Place) bool { return true }
	b.request.Seed, b.request.SeedAll = "7", true
	b.request.Lending = func(j *plan.Job) *Lending {
		return map[string]*Lending{"a": {Names: []string{"DB"}}, "b": {Refused: "no"}}[j.ID]
	}
	b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("say x")}, plan.Job{ID: "b", Steps: steps("say x")}, plan.Job{ID: "c", Steps: steps("say x")})
	if len(h.given) != 3 {
		t.Fatal(h.jobs())
	}
	for _, a := range h.given {
		if a.Seed != "7" || !a.SeedAll || a.Lend != (a.Job == "a") {
			t.Errorf("%s: seed %q, %v; lend %v", a.Job, a.Seed, a.SeedAll, a.Lend)
		}
	}
}
