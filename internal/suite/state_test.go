package suite

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// life feeds a test letter by letter as [course] does, judges it after each
// result, and writes down every change of its state.
func life(letters string, w Ward, p Policy, with ...func(*Result)) (*Test, []string) {
	var test Test
	var changes []string
	now := day0
	judge := func() {
		if j := Judge(&test, Usual().Of(&test), w, p, now); j != nil {
			test.Apply(j, now)
			changes = append(changes, fmt.Sprintf("%s > %s: %s", j.From, j.To, j.Why))
		}
	}
	inputs := "1"
	for _, letter := range letters {
		switch {
		case letter >= '0' && letter <= '9':
			inputs = string(letter)
			continue
		case letter == 'w': // a week goes by
			now = now.AddDate(0, 0, 7)
			judge()
			continue
		}
		now = now.Add(time.Hour)
		at := now
		course(&test, inputs+string(letter), append(with, func(r *Result) { r.Time = at })...)
		judge()
	}
	return &test, changes
}

func TestStates(t *testing.T) {
	t.Parallel()
	owned := Ward{Tests: 100, Owner: "@team"}
	pass := func(n int) string { return strings.Repeat(".", n) }
	for _, tt := range []struct {
		name, course string
		ward         Ward
		policy       Policy
		with         func(*Result)
		want         []string // beginnings
		end          record.TestState
	}{
		{name: "never fails", course: pass(50), ward: owned, end: record.TestHealthy},
		{name: "a change breaks it and a change mends it", course: pass(20) + "2FF3" + pass(5), ward: owned, end: record.TestHealthy},
		{
			name: "one flake, then fixed", course: pass(5) + "F2" + pass(150), ward: owned,
			want: []string{"healthy > suspected: it failed by chance, at a rate of ", "suspected > healthy: fixed: its inputs changed, and it passed "}, end: record.TestHealthy,
		},
		{
			name: "the same inputs do not acquit, unless it is rare", course: pass(5) + "F" + pass(30), ward: owned,
			want: []string{"healthy > suspected"}, end: record.TestSuspected,
		},
		{
			name: "flakes into quarantine", course: "..F...F..", ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined: it fails by chance, at a rate of "}, end: record.TestQuarantined,
		},
		{
			name: "the same commit on other inputs is not enough", course: "1..2F3...4F", ward: owned, with: func(r *Result) { r.Commit = "c" },
			want: []string{"healthy > suspected"}, end: record.TestSuspected,
		},
		{
			name: "the same commit on other inputs, again and again", course: "1..2F3...4F5..6F7..8F", ward: owned, with: func(r *Result) { r.Commit = "c" },
			want: []string{"healthy > suspected", "suspected > quarantined"}, end: record.TestQuarantined,
		},
		{
			name: "nobody owns it", course: "..F...F...F", ward: Ward{Tests: 100},
			want: []string{"healthy > suspected"}, end: record.TestSuspected,
		},
		{
			name: "no place left", course: "..F...F...F", ward: Ward{Tests: 100, Owner: "@team", Quarantined: 8},
			want: []string{"healthy > suspected"}, end: record.TestSuspected,
		},
		{
			name: "left to people", course: "..F...F...F", ward: owned, policy: Policy{Off: true},
			want: []string{"healthy > suspected"}, end: record.TestSuspected,
		},
		{
			name: "out of quarantine, fixed", course: "..F...F..2" + pass(40), ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined", "quarantined > healthy: fixed: its inputs changed"}, end: record.TestHealthy,
		},
		{
			name: "passes on the same inputs do not end a quarantine", course: "..F...F.." + pass(200), ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined"}, end: record.TestQuarantined,
		},
		{
			name: "a quarantine lapses, and takes other evidence to come back", course: "..F...F..ww....F..F", ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined", "quarantined > suspected: its quarantine lapsed", "suspected > quarantined"}, end: record.TestQuarantined,
		},
		{
			name: "not for ever", course: "..F...F..ww.F.F.ww.F.F.ww.F.F.F.", ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined", "quarantined > suspected", "suspected > quarantined", "quarantined > suspected", "suspected > quarantined", "quarantined > suspected"}, end: record.TestSuspected,
		},
		{
			name: "broken and mended", course: pass(20) + "2FFF3FF4..", ward: owned,
			want: []string{"healthy > broken: it failed 3 times in a row on the base branch", "broken > healthy: it passes again, 2 times in a row"}, end: record.TestHealthy,
		},
		{
			name: "failures of other branches break nothing", course: pass(20) + "2FFFFFF", ward: owned, with: func(r *Result) { r.Base = false },
			end: record.TestHealthy,
		},
		{
			name: "in quarantine, and then it only fails", course: "..F...F..2FFFFFFFFFFF3...", ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined", "quarantined > broken", "broken > suspected: it passes again, 2 times in a row; before it broke it had flaked", "suspected > quarantined"}, end: record.TestQuarantined,
		},
		{
			name: "retries count as flakes", course: "..f....f..", ward: owned,
			want: []string{"healthy > suspected", "suspected > quarantined"}, end: record.TestQuarantined,
		},
		{
			name: "storms do not", course: "..F...F..F..", ward: owned, with: func(r *Result) { r.Storm = r.Outcome == Failed },
			end: record.TestHealthy,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.with == nil {
				tt.with = func(*Result) {}
			}
			test, changes := life(tt.course, tt.ward, tt.policy, tt.with)
			ok := len(changes) == len(tt.want)
			for i := range min(len(changes), len(tt.want)) {
				ok = ok && strings.HasPrefix(changes[i], tt.want[i])
			}
			if state, _ := test.State(); !ok || state != tt.end {
				t.Errorf("ends %s after:\n%s\nwant %s after:\n%s", state, strings.Join(changes, "\n"), tt.end, strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestQuarantineHolds lives through random histories of a project and looks at
// what must never be: more tests in quarantine than there are places, or one
// without an owner or an end.
func TestQuarantineHolds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		policy := Policy{Cap: 1 + rng.IntN(4), Days: 1 + rng.IntN(20)}
		tests := make([]Test, 12)
		rates := make([]float64, len(tests))
		for i := range rates {
			rates[i] = rng.Float64() * .4
		}
		now := day0
		muted := func() (n int) {
			for i := range tests {
				if tests[i].Muted(now) {
					n++
				}
			}
			return n
		}
		for run := range 100 {
			now = now.Add(time.Duration(rng.Int64N(int64(20 * time.Hour))))
			for i := range tests {
				r := Result{Run: strconv.Itoa(run + 1), Time: now, Commit: strconv.Itoa(run / 3), Base: true, Outcome: Passed}
				if rng.Float64() < rates[i] {
					r.Outcome = []Outcome{Flaked, Failed, Errored}[rng.IntN(3)]
				}
				test := &tests[i]
				test.Add(r)
				w := Ward{Tests: len(tests), Owner: []string{"", "@a"}[rng.IntN(2)]}
				for k := range tests {
					if state, _ := tests[k].State(); k != i && state == record.TestQuarantined {
						w.Quarantined++
					}
				}
				was, _ := test.State()
				var j *record.TestJudged
				if rng.IntN(20) == 0 {
					wish := Decision{To: record.TestState([]string{"healthy", "suspected", "quarantined", "broken", "x"}[rng.IntN(5)]), By: "ann", Why: "so", Owner: w.Owner, Until: now.AddDate(0, 0, rng.IntN(200)-50)}
					j, _ = Decide(test, wish, w, policy, now)
				} else {
					j = Judge(test, Usual().Of(test), w, policy, now)
				}
				if j == nil {
					continue
				}
				if j.From != was || j.Why == "" {
					t.Fatalf("%+v from %s", j, was)
				}
				if j.To == record.TestQuarantined && (j.Owner == "" || !j.Until.After(now) || j.Until.After(now.AddDate(0, 0, 90))) {
					t.Fatalf("a quarantine without owner or end: %+v", j)
				}
				test.Apply(j, now)
			}
			if n := muted(); n > policy.Places(len(tests)) {
				t.Fatalf("seed %d, run %d: %d tests are muted, %d places", seed, run, n, policy.Places(len(tests)))
			}
		}
		now = now.AddDate(0, 0, 91)
		if n := muted(); n > 0 {
			t.Fatalf("seed %d: %d tests are muted after the longest quarantine", seed, n)
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	policy := Policy{Who: []string{"ann"}}
	full, owned := Ward{Quarantined: 8, Owner: "@team"}, Ward{Owner: "@team"}
	for _, tt := range []struct {
		wish Decision
		ward Ward
		want string // of the error, "" for none
	}{
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known"}, owned, ""},
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known", Owner: "@me", Until: day0.AddDate(0, 1, 0)}, Ward{}, ""},
		{Decision{To: record.TestHealthy, By: "ann", Why: "fixed it"}, full, ""},
		{Decision{To: record.TestHealthy, By: "bob", Why: "fixed it"}, owned, "bob may not change the state of tests here"},
		{Decision{To: record.TestHealthy, Why: "fixed it"}, owned, "somebody without a name may not"},
		{Decision{To: record.TestHealthy, By: "ann"}, owned, "a test's state is changed for a reason: say which"},
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known"}, Ward{}, "a quarantine needs an owner"},
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known"}, full, "all 8 places in quarantine are taken"},
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known", Until: day0.AddDate(0, 0, -1)}, owned, "a quarantine ends in the future, not on 2026-03-01"},
		{Decision{To: record.TestQuarantined, By: "ann", Why: "known", Until: day0.AddDate(1, 0, 0)}, owned, "a quarantine lasts 90 days at most: until 2026-05-31"},
		{Decision{To: "muted", By: "ann", Why: "known"}, owned, `there is no state "muted"`},
	} {
		var test Test
		course(&test, "..F")
		j, err := Decide(&test, tt.wish, tt.ward, policy, day0)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.wish, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%+v: %v, want %q", tt.wish, err, tt.want)
		case err == nil:
			test.Apply(j, day0)
			if state, why := test.State(); state != tt.wish.To || why != tt.wish.Why || test.Muted(day0) != (state == record.TestQuarantined) || len(j.Evidence) != 1 {
				t.Errorf("%+v led to %s, %q", j, state, why)
			}
		}
	}
}

// TestMutedFailsClosed looks at quarantines that lack something.
func TestMutedFailsClosed(t *testing.T) {
	t.Parallel()
	for _, j := range []*record.TestJudged{
		{To: record.TestQuarantined, Owner: "@team"},
		{To: record.TestQuarantined, Until: day0.AddDate(0, 0, 9)},
		{To: record.TestQuarantined, Owner: "@team", Until: day0.AddDate(0, 0, -9)},
		{To: "nonsense", Owner: "@team", Until: day0.AddDate(0, 0, 9)},
	} {
		var test Test
		test.Apply(j, day0)
		if state, _ := test.State(); test.Muted(day0.Add(time.Minute)) || state != record.TestSuspected {
			t.Errorf("%+v: %s", j, state)
		}
	}
}

func TestObstacle(t *testing.T) {
	t.Parallel()
	var healthy, once, often Test
	course(&healthy, "...")
	course(&once, strings.Repeat(".", 20)+"F")
	course(&often, "..F..F..F")
	for _, tt := range []struct {
		test   *Test
		ward   Ward
		policy Policy
		want   string
	}{
		{&healthy, Ward{}, Policy{}, ""},
		{&once, Ward{Owner: "@a"}, Policy{}, "it takes flakes in 2 runs"},
		{&often, Ward{}, Policy{}, "nobody owns it: name an owner in CODEOWNERS"},
		{&often, Ward{Owner: "@a", Quarantined: 8}, Policy{}, "all 8 places in quarantine are taken: fix one of those tests first"},
		{&often, Ward{Owner: "@a"}, Policy{Off: true}, "the project leaves quarantine to people"},
		{&often, Ward{Owner: "@a"}, Policy{Rate: .9}, "it is not sure that its rate is above 90 %"},
		{&often, Ward{Owner: "@a"}, Policy{}, ""},
	} {
		test := *tt.test
		if test.flakes > 0 {
			test.Apply(&record.TestJudged{To: record.TestSuspected}, day0)
		}
		if got := Obstacle(&test, Usual().Of(&test), tt.ward, tt.policy); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
