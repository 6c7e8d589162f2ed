package deploy

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// minutes are looks a minute apart.
func minutes(n int, at func(m int) Look) (looks []Look) {
	for m := range n + 1 {
		l := at(m)
		l.At = noon.Add(time.Duration(m) * time.Minute)
		looks = append(looks, l)
	}
	return looks
}

// served is what was counted after some minutes at so many requests and failures a minute, all of them in one
// bucket of durations.
func served(m, requests, failed, bucket int) *Requests {
	r := &Requests{Count: int64(m * requests), Failed: int64(m * failed), Latency: make([]int64, 60)}
	r.Latency[bucket] = r.Count
	return r
}

func query(q plan.Query, answer func(m int) Answer) (*plan.Analysis, []Look) {
	a := &plan.Analysis{For: 10 * time.Minute, Queries: []plan.Query{q}}
	return a, minutes(10, func(m int) Look { return Look{Answers: map[string]Answer{q.Name: answer(m)}} })
}

func constant(v float64, n int) (x []float64) {
	for i := range n {
		x = append(x, v+float64(i%3)/100)
	}
	return x
}

func TestJudge(t *testing.T) {
	t.Parallel()
	ten := &plan.Analysis{For: 10 * time.Minute, Least: 100}
	limit := 0.8
	counting := func(n, o float64) func(m int) Answer {
		return func(m int) Answer {
			return Answer{New: Asked{OK: true, Failed: n * float64(m), Total: 100 * float64(m)}, Old: Asked{OK: true, Failed: o * float64(m), Total: 900 * float64(m)}}
		}
	}
	type row struct {
		name  string
		a     *plan.Analysis
		looks []Look
		want  Decision
		words []string
	}
	rows := []row{
		{"nothing wrong", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 1, 20), Old: served(m, 900, 9, 20)} }), Pass,
			[]string{"no worse after 10m and 1,000 requests"}},
		{"not yet over", ten, minutes(9, func(m int) Look { return Look{New: served(m, 100, 1, 20), Old: served(m, 900, 9, 20)} }), GoOn,
			[]string{"nothing speaks against"}},
		{"more failures", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 8, 20), Old: served(m, 900, 9, 20)} }), Fail,
			[]string{"8 % of", "failed, 1 % of", "8 times as many, and 1.5 is borne"}},
		{"all fail", ten, minutes(1, func(m int) Look { return Look{New: served(m, 20, 20, 20), Old: served(m, 180, 0, 20)} }), Fail,
			[]string{"100 % of 20 requests"}},
		{"fewer failures", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 20), Old: served(m, 900, 90, 20)} }), Pass, nil},
		{"slower", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 30), Old: served(m, 900, 0, 26)} }), Fail,
			[]string{"2 times as long"}},
		{"slower by less than can be felt", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 6), Old: served(m, 900, 0, 2)} }), Pass, nil},
		{"a few are slow", ten, minutes(10, func(m int) Look {
			l := Look{New: served(m, 100, 0, 20), Old: served(m, 900, 0, 20)}
			l.New.Latency[20], l.New.Latency[40] = int64(92*m), int64(8*m)
			return l
		}), Fail, []string{"8 % of", "were slow"}},
		{"no requests", ten, minutes(10, func(m int) Look { return Look{New: served(0, 0, 0, 20), Old: served(m, 900, 0, 20)} }), Fail,
			[]string{"only 0 requests", "it takes 100"}},
		{"no requests, and none asked for", &plan.Analysis{For: 10 * time.Minute}, minutes(10, func(m int) Look { return Look{New: served(0, 0, 0, 20), Old: served(m, 900, 0, 20)} }), Pass,
			[]string{"nobody asked the new release anything in 10m"}},
		{"nothing to compare with, and sound", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 20)} }), Pass,
			[]string{"there is no old release to compare with: limits alone decide"}},
		{"nothing to compare with, and bad", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 5, 20)} }), Fail,
			[]string{"5 % of", "1 % is borne", "limits alone decide"}},
		{"nothing to compare with, and slow", &plan.Analysis{For: 10 * time.Minute, Latency: 50 * time.Millisecond},
			minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 38)} }), Fail, []string{"took longer than 50ms"}},
		{"what is there is broken", ten, minutes(10, func(m int) Look { return Look{New: served(m, 100, 0, 20), Old: served(m, 900, 890, 20)} }), Pass,
			[]string{"98.9 % fail, so it is no measure"}},
		{"counts began again", ten, minutes(10, func(m int) Look {
			if m < 5 {
				return Look{New: served(m, 100, 1, 20), Old: served(m, 900, 9, 20)}
			}
			return Look{Since: noon, New: served(m-4, 100, 1, 20), Old: served(m-4, 900, 9, 20)}
		}), Pass, []string{"1,000 requests"}},
	}
	add := func(name string, want Decision, words []string, q plan.Query, answer func(m int) Answer) {
		a, looks := query(q, answer)
		rows = append(rows, row{name, a, looks, want, words})
	}
	errors := plan.Query{Name: "checkout", Errors: "e", Total: "t"}
	value := plan.Query{Name: "memory", Value: "v", Max: &limit}
	series := func(n, o float64) func(m int) Answer {
		return func(m int) Answer {
			return Answer{New: Asked{OK: true, Series: constant(n, 3*m)}, Old: Asked{OK: true, Series: constant(o, 3*m)}}
		}
	}
	add("a query's failures", Fail, []string{"checkout: 10 % of"}, errors, counting(10, 9))
	add("a query without failures", Pass, nil, errors, counting(1, 9))
	add("a query that is not answered", Fail, []string{"checkout is not known: connection refused"}, errors, func(int) Answer { return Answer{Why: "connection refused"} })
	add("a value above its limit", Fail, []string{"memory is 0.9", "the limit is 0.8"}, value, series(.9, .9))
	add("a value that is as before", Pass, nil, value, series(.5, .5))
	add("a value that is worse", Fail, []string{"memory: the values of the new release"}, value, series(.7, .5))
	add("a value of which more is better", Fail, nil, plan.Query{Name: "cart", Value: "v", Higher: true}, series(.3, .5))
	add("a value of which there is more, which is better", Pass, nil, plan.Query{Name: "cart", Value: "v", Higher: true}, series(.7, .5))
	add("no numbers", Pass, nil, value, func(m int) Answer {
		x := constant(.5, 3*m)
		for i := range x {
			if i%2 == 0 {
				x[i] = math.NaN()
			}
		}
		return Answer{New: Asked{OK: true, Series: x}}
	})

	for _, test := range rows {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := Judge(test.a, test.looks)
			if v.Decision != test.want {
				t.Errorf("%s, want %s: %s", v.Decision, test.want, v.Words)
			}
			for _, w := range test.words {
				if !strings.Contains(v.Words, w) {
					t.Errorf("it says %q, which lacks %q", v.Words, w)
				}
			}
			// Whoever goes on after a crash, at whichever look, decides the same.
			var s State
			var again Verdict
			for i := range test.looks {
				var resumed State
				text, err := json.Marshal(&s)
				if err == nil {
					err = json.Unmarshal(text, &resumed)
				}
				if err != nil {
					t.Fatal(err)
				}
				s = resumed
				if again = s.Look(test.a, &test.looks[i]); i%3 == 0 { // and one that was not sure that it had looked looks again
					again = s.Look(test.a, &test.looks[i])
				}
				if again.Decision != GoOn {
					break
				}
			}
			if !reflect.DeepEqual(v, again) {
				t.Errorf("after crashes it says\n%+v, without\n%+v", again, v)
			}
		})
	}
}

// TestNoBetOnNothing holds counts that say nothing, or that cannot be, against the arithmetic.
func TestNoBetOnNothing(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]counts{{{0, 0}, {0, 0}}, {{5, 5}, {0, 0}}, {{0, 0}, {5, 5}}, {{0, 1e12}, {1e12, 1e12}}, {{1e12, 1e12}, {0, 1e12}}, {{3, 1}, {0, 1}}} {
		var x comparing
		for range 100 {
			x.look(1.5, .01, .01, c[0], c[1], true, false)
		}
		for _, r := range []*race{&x.Any, &x.More, &x.Fixed} {
			if e := r.evidence(); math.IsNaN(e) || math.IsInf(e, 0) || e < 0 {
				t.Errorf("%v: evidence %v", c, e)
			}
		}
	}
	if e := (&race{}).evidence(); e != 1 {
		t.Errorf("before the first look the evidence is %v", e)
	}
}

// TestBetsAreFair counts that wealth does not grow on average where the bound holds, to the last
// failure that may come (Poisson, summed up and not drawn).
func TestBetsAreFair(t *testing.T) {
	t.Parallel()
	pmf := func(k int, mean float64) float64 {
		l, _ := math.Lgamma(float64(k + 1))
		return math.Exp(float64(k)*math.Log(mean) - mean - l)
	}
	for _, bound := range []float64{1, 1.5, 3} {
		for _, rate := range []float64{.001, .01, .2} {
			var mean float64
			const n, m = 40.0, 360.0
			for a := range 120 {
				for b := range 250 {
					var r race
					r.bet(bound, counts{float64(a), n * 1000}, counts{float64(b), m * 1000}, true, math.Inf(1))
					mean += pmf(a, rate*bound*n) * pmf(b, rate*m) * r.evidence()
				}
			}
			if mean > 1+1e-9 {
				t.Errorf("bound %v, rate %v: the wealth is %v on average", bound, rate, mean)
			}
		}
	}
}
