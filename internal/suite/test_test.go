package suite

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

var day0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// course feeds a test one result for each letter: . passed, F failed,
// f failed and passed at a retry, E errored, s skipped. Every result is an
// hour after the one before. A digit before a letter says which inputs.
func course(t *Test, letters string, with ...func(*Result)) {
	inputs := uint64(1)
	for i := 0; i < len(letters); i++ {
		if c := letters[i]; c >= '0' && c <= '9' {
			inputs = uint64(c-'0') + 1
			continue
		}
		run := t.lastRun + 1
		r := Result{Run: strconv.FormatUint(run, 10), Time: day0.Add(time.Duration(run) * time.Hour), Commit: fmt.Sprintf("c%d", inputs), Inputs: inputs, Base: true, Seconds: 2}
		r.Outcome = map[byte]Outcome{'.': Passed, 'F': Failed, 'f': Flaked, 'E': Errored, 's': Skipped}[letters[i]]
		for _, change := range with {
			change(&r)
		}
		t.Add(r)
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	noInputs := func(r *Result) { r.Inputs = 0 }
	sameCommit := func(r *Result) { r.Commit = "c" }
	for _, tt := range []struct {
		name, course string
		with         func(*Result)
		failures     int64
		flakes       int64
		last         string
	}{
		{name: "never failed", course: "1....."},
		{name: "passed before on the same inputs", course: "1..F", failures: 1, flakes: 1, last: "run 3 failed, run 2 passed: the same inputs"},
		{name: "passed afterwards on the same inputs", course: "1F.", failures: 1, flakes: 1, last: "run 1 failed, run 2 passed: the same inputs"},
		{name: "fixed by other inputs", course: "1F2...", failures: 1},
		{name: "broken by other inputs", course: "1..2FF3..", failures: 2},
		{name: "other inputs, then the first again", course: "1F2.1.", failures: 1, flakes: 1, last: "run 1 failed, run 3 passed: the same inputs"},
		{name: "several failures, one pass", course: "1FFF.", failures: 3, flakes: 3, last: "run 3 failed, run 4 passed: the same inputs"},
		{name: "a retry", course: "1f", failures: 1, flakes: 1, last: "run 1 failed, and passed when it was tried again"},
		{name: "a failure after a retry", course: "1fF", failures: 2, flakes: 2, last: "run 2 failed, run 1 passed: the same inputs"},
		{name: "did not end", course: "1.E", failures: 1, flakes: 1, last: "run 2 failed, run 1 passed: the same inputs"},
		{name: "the commit stands in for inputs", course: "1.F", with: noInputs, failures: 1, flakes: 1, last: "run 2 failed, run 1 passed: the same inputs"},
		{name: "another commit", course: "1.2F3.", with: noInputs, failures: 1},
		{name: "the same commit in another job", course: "1.F", with: func(r *Result) { r.Inputs, r.Job = 0, r.Run }, failures: 1},
		{name: "the same commit on other inputs", course: "1.2F", with: sameCommit, failures: 1, flakes: 1, last: "run 2 failed, run 1 passed: the same commit, though not all that they read was the same"},
		{name: "the same commit on other inputs, the pass later", course: "1F1F2.", with: sameCommit, failures: 2, flakes: 2, last: "run 2 failed, run 3 passed: the same commit, though not all that they read was the same"},
		{name: "a stronger contradiction goes first", course: "1F1.2.", with: sameCommit, failures: 1, flakes: 1, last: "run 1 failed, run 2 passed: the same inputs"},
		{name: "the same commit and other inputs in another job", course: "1.2F", with: func(r *Result) { r.Commit, r.Job = "c", r.Run }, failures: 1},
		{name: "unreachable by the change", course: "1.2F", with: func(r *Result) { r.Base = r.Outcome == Passed; r.Unreachable = !r.Base }, failures: 1, flakes: 1, last: "run 2 failed, and nothing that the test read was of the change"},
		{name: "unreachable by the change, but broken before", course: "1F2F", with: func(r *Result) { r.Base = r.Inputs == 2; r.Unreachable = !r.Base }, failures: 2},
		{name: "a storm says nothing", course: "1.F", with: func(r *Result) { r.Storm = r.Outcome == Failed }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var test Test
			if tt.with == nil {
				tt.with = func(*Result) {}
			}
			course(&test, tt.course, tt.with)
			c, last := test.Counts(), ""
			if ev := test.Evidence(); len(ev) > 0 {
				last = ev[len(ev)-1].String()
			}
			if c.Failures != tt.failures || c.Flakes != tt.flakes || last != tt.last {
				t.Errorf("failures %d, flakes %d, %q; want %d, %d, %q", c.Failures, c.Flakes, last, tt.failures, tt.flakes, tt.last)
			}
		})
	}
}

func TestForgetting(t *testing.T) {
	t.Parallel()
	add := func(test *Test, n int, o Outcome, from time.Time, step time.Duration, commits bool) time.Time {
		for i := range n {
			r := Result{Run: "1", Time: from, Commit: "c", Outcome: o, Inputs: 1}
			if commits {
				r.Commit = strconv.Itoa(i)
			}
			test.Add(r)
			from = from.Add(step)
		}
		return from
	}
	var busy, idle Test
	add(&busy, 300, Passed, day0, time.Minute, true)
	if got := busy.Tally().Results; math.Abs(got-300) > 1 {
		t.Errorf("300 commits in a day weigh %.1f, want all", got)
	}
	at := add(&idle, 2, Passed, day0, 300*24*time.Hour, true)
	if got := idle.Tally().Results; got < 1.99 {
		t.Errorf("a commit after 300 days: %.3f, want almost all", got)
	}
	add(&idle, 151, Passed, at, 24*time.Hour, true)
	if got := idle.Tally().Results; math.Abs(got-109) > 1 {
		t.Errorf("150 commits, one a day, weigh %.1f, want about 109", got)
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	var test Test
	if test.Seconds() != 0 {
		t.Error("a test never seen is expected to take time")
	}
	course(&test, "1..........")
	if got := test.Seconds(); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
	for _, s := range []float64{math.NaN(), math.Inf(1), -3} {
		course(&test, "1.", func(r *Result) { r.Seconds = s })
	}
	if got := test.Seconds(); got != 2 {
		t.Errorf("after nonsense: %v, want 2", got)
	}
	course(&test, "1........................................", func(r *Result) { r.Seconds = 10 })
	if got := test.Seconds(); got < 9.9 || got > 10 {
		t.Errorf("after a change: %v, want about 10", got)
	}
}

func TestLost(t *testing.T) {
	t.Parallel()
	var test Test
	for day := range 40 {
		test.Add(Result{Run: strconv.Itoa(day + 1), Time: day0.AddDate(0, 0, day), Inputs: 1, Outcome: Flaked})
	}
	for ago, want := range map[int]float64{0: 30, 10: 20, 29: 1, 30: 0, 400: 0} {
		if got := test.Lost(day0.AddDate(0, 0, 39+ago), 1); got != want {
			t.Errorf("%d days later: %v, want %v", ago, got, want)
		}
	}
}

// wild is a test fed with anything.
func wild(rng *rand.Rand, n int) *Test {
	var test Test
	at := day0
	for range n {
		at = at.Add(time.Duration(rng.Int64N(int64(72 * time.Hour))))
		test.Add(Result{
			Run: strconv.FormatUint(rng.Uint64()>>16, 10), Time: at, Commit: strconv.Itoa(rng.IntN(50)), Inputs: rng.Uint64N(8) * 0x1234567890abcdef,
			Outcome: Outcome(rng.IntN(7)), Seconds: rng.NormFloat64() * 100, Base: rng.IntN(2) == 0, Storm: rng.IntN(9) == 0, Unreachable: rng.IntN(5) == 0,
		})
	}
	test.Apply(&record.TestJudged{To: record.TestQuarantined, Owner: strings.Repeat("ö", 200), Why: strings.Repeat("why ", 99), By: strings.Repeat("b", 99), Until: at.AddDate(0, 0, 9)}, at)
	return &test
}

func TestMarshal(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	largest := 0
	for n := range 400 {
		was := wild(rng, n)
		b, err := was.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, len(b))
		var is Test
		if err := is.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		again, _ := is.MarshalBinary()
		if !bytes.Equal(b, again) {
			t.Fatalf("after %d results, reading and writing changes the bytes", n)
		}
		if a, b := was.Tally(), is.Tally(); math.Abs(a.Results-b.Results) > 1e-4*(1+a.Results) {
			t.Fatalf("tally %v became %v", a, b)
		}
	}
	t.Logf("largest: %d bytes", largest)
	if largest > maxTest {
		t.Errorf("a test takes %d bytes, more than %d", largest, maxTest)
	}
	var plain Test
	course(&plain, "1........................2..............3..........")
	b, _ := plain.MarshalBinary()
	t.Logf("a test that never failed: %d bytes", len(b))
}

func FuzzUnmarshal(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 10, 200} {
		b, _ := wild(rng, n).MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var test Test
		if test.UnmarshalBinary(b) != nil {
			return
		}
		course(&test, "1.F.2FfEs.")
		e := Usual().Of(&test)
		if math.IsNaN(e.Rate) || e.Rate < 0 || e.Rate > 1 {
			t.Errorf("rate %v", e.Rate)
		}
		Judge(&test, e, Ward{}, Policy{}, day0)
		if b, _ := test.MarshalBinary(); len(b) > maxTest {
			t.Errorf("%d bytes", len(b))
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var test Test
	at := day0
	r := Result{Run: "12345", Commit: "6f1ed002ab5595859014ebf0951522d9", Branch: "main", Base: true, Seconds: 1.5}
	b.ReportAllocs()
	for i := range b.N {
		at = at.Add(time.Minute)
		r.Time, r.Inputs, r.Outcome = at, uint64(i/20)+1, Passed
		if i%37 == 0 {
			r.Outcome = Failed
		}
		test.Add(r)
	}
}

func BenchmarkEstimate(b *testing.B) {
	for name, letters := range map[string]string{"never failed": strings.Repeat(".", 100), "flaky": strings.Repeat("....F...", 20)} {
		b.Run(name, func(b *testing.B) {
			var test Test
			course(&test, letters)
			prior := Usual()
			for b.Loop() {
				prior.Of(&test)
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	var test, again Test
	course(&test, strings.Repeat("....F...", 20))
	b.ReportAllocs()
	for b.Loop() {
		data, _ := test.MarshalBinary()
		if err := again.UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
	}
}
