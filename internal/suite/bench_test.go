package suite

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// recorded opens a file of real histories that other people recorded, which
// are not part of the repository.
func recorded(t *testing.T, name string) *gzip.Reader {
	t.Helper()
	dir := os.Getenv("FAIRLEAD_BENCH")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "bench")
	}
	f, err := os.Open(filepath.Join(dir, "testintel", name))
	if err != nil {
		t.Skipf("SKIPPED, NOT MEASURED: %v (FAIRLEAD_BENCH names the folder)", err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// tuning reports whether a name is of the half on which constants were chosen.
func tuning(name string) bool { return sha256.Sum256([]byte(name))[0]%2 == 0 }

func logLoss(p, q float64) float64 {
	q = min(max(q, 1e-9), 1-1e-9)
	return -p*math.Log(q) - (1-p)*math.Log(1-q)
}

// TestBenchRate measures how well the rate of 22,244 tests, known from ten
// thousand runs each, is told from 10, 50 and 200 of them (FlakeFlagger).
func TestBenchRate(t *testing.T) {
	t.Parallel()
	rows, err := csv.NewReader(recorded(t, "flakeflagger_test_results.csv.gz")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rates := map[string][]float64{}
	var projects []string
	for _, r := range rows[1:] {
		bad, _ := strconv.ParseFloat(r[3], 64)
		good, _ := strconv.ParseFloat(r[4], 64)
		if rates[r[0]] == nil {
			projects = append(projects, r[0])
		}
		rates[r[0]] = append(rates[r[0]], bad/(bad+good))
	}
	for _, runs := range []int{10, 50, 200} {
		const ways = 6 // raw, Laplace, a fixed Beta, usual, fitted, perfect knowledge
		var loss, lossTest [ways]float64
		tests, testsTest := 0.0, 0.0
		const repeats = 5
		for repeat := range repeats {
			rng := rand.New(rand.NewPCG(20, uint64(repeat)))
			for _, name := range projects {
				drawn := make([]int, len(rates[name]))
				for i, p := range rates[name] {
					for range runs {
						if rng.Float64() < p {
							drawn[i]++
						}
					}
				}
				prior := Fit(func(yield func(Tally) bool) {
					for _, k := range drawn {
						if !yield(Tally{Results: float64(runs), Flakes: float64(k)}) {
							return
						}
					}
				})
				told := map[int][ways]float64{}
				for i, p := range rates[name] {
					k := drawn[i]
					if _, ok := told[k]; !ok {
						n, k := float64(runs), float64(k)
						told[drawn[i]] = [ways]float64{k / n, (k + 1) / (n + 2), (k + .3) / (n + .8), Usual().Given(n, k, 0).Rate, prior.Given(n, k, 0).Rate}
					}
					for way, q := range told[k] {
						if way == ways-1 {
							q = p
						}
						l := logLoss(p, q)
						loss[way] += l
						if !tuning(name) {
							lossTest[way] += l
						}
					}
					tests++
					if !tuning(name) {
						testsTest++
					}
				}
			}
		}
		t.Logf("log-loss at %3d runs, %.0f tests:    raw %.5f  Laplace %.5f  Beta(.3,.5) %.5f  usual prior %.5f  fitted per repository %.5f  floor %.5f",
			runs, tests/repeats, loss[0]/tests, loss[1]/tests, loss[2]/tests, loss[3]/tests, loss[4]/tests, loss[5]/tests)
		t.Logf("  projects not used for tuning, %.0f: raw %.5f  Laplace %.5f  Beta(.3,.5) %.5f  usual prior %.5f  fitted per repository %.5f  floor %.5f",
			testsTest/repeats, lossTest[0]/testsTest, lossTest[1]/testsTest, lossTest[2]/testsTest, lossTest[3]/testsTest, lossTest[4]/testsTest, lossTest[5]/testsTest)
		if limit := map[int]float64{10: .0085, 50: .0072, 200: .0069}[runs]; loss[4]/tests > limit {
			t.Errorf("at %d runs %.5f, more than %.4f", runs, loss[4]/tests, limit)
		}
	}
}

// TestBenchCoverage measures whether the 90 % interval holds on real runs in
// their order (DeFlaker): from the first fifty, how many of the last fifty
// fail?
func TestBenchCoverage(t *testing.T) {
	t.Parallel()
	var projects map[string]struct {
		Tests  int
		Always []string `json:"always_fail"`
		Flaky  map[string]string
	}
	if err := json.NewDecoder(recorded(t, "deflaker_reruns_sequences.json.gz")).Decode(&projects); err != nil {
		t.Fatal(err)
	}
	feed := func(letters string) *Test {
		var test Test
		for i, c := range letters {
			o := map[rune]Outcome{'.': Passed, 'F': Failed, 's': Skipped}[c]
			test.Add(Result{Run: strconv.Itoa(i + 1), Time: day0.Add(time.Duration(i) * time.Hour), Inputs: 1, Outcome: o})
		}
		return &test
	}
	// independent is what takes no notice of bursts nor of the other tests: a
	// Beta(½, ½) for the rate, results independent of each other.
	independent := func(n, k float64, m int) (low, high int) {
		sum, low := 0.0, -1
		for x := range m + 1 {
			c, _ := math.Lgamma(float64(m + 1))
			d, _ := math.Lgamma(float64(x + 1))
			e, _ := math.Lgamma(float64(m - x + 1))
			sum += math.Exp(c - d - e + lnBeta(.5+k+float64(x), .5+n-k+float64(m-x)) - lnBeta(.5+k, .5+n-k))
			if low < 0 && sum > .05 {
				low = x
			}
			if sum >= .95 {
				return low, x
			}
		}
		return low, m
	}
	type score struct{ in, all, plain float64 }
	var every, seen, distinct score
	count := func(s *score, in, plain bool) {
		s.all++
		if in {
			s.in++
		}
		if plain {
			s.plain++
		}
	}
	tests, known := 0, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(projects)) {
		p := projects[name]
		tests += p.Tests - len(p.Always)
		prior := Fit(func(yield func(Tally) bool) {
			if n := p.Tests - len(p.Always) - len(p.Flaky); n > 0 && !yield(Tally{Results: 50, Tests: n}) {
				return
			}
			for _, letters := range p.Flaky {
				if !yield(feed(letters[:50]).Tally()) {
					return
				}
			}
		})
		for _, letters := range p.Flaky {
			test, then := feed(letters[:50]), letters[50:]
			k, m := strings.Count(then, "F"), len(then)-strings.Count(then, "s")
			e := prior.Of(test)
			low, high := e.Expect(m)
			in := low <= k && k <= high
			low, high = independent(float64(test.runs), float64(test.failures), m)
			plain := low <= k && k <= high
			count(&every, in, plain)
			if test.failures > 0 {
				count(&seen, in, plain)
			}
			if !known[name+letters] {
				known[name+letters] = true
				count(&distinct, in, plain)
			}
		}
	}
	for what, s := range map[string]score{"of the tests that flaked at all": every, "of those that had flaked in the first 50": seen, "of different sequences": distinct} {
		t.Logf("90 %% interval holds for %.0f of %.0f = %.3f %s (independent results, no prior: %.3f)", s.in, s.all, s.in/s.all, what, s.plain/s.all)
	}
	t.Logf("trivial: no failure is ever expected: %.3f of %d tests", 1-every.all/float64(tests), tests)
	if share := every.in / every.all; share < .88 || share > .92 {
		t.Errorf("%.3f, not between .88 and .92", share)
	}
}

// TestBenchClusters measures how well the groups of tests that fail together
// are told from the first 20 and 50 of 100 real runs (DeFlaker): pairs of
// tests, against those whose failures coincide in at least half of all runs.
func TestBenchClusters(t *testing.T) {
	t.Parallel()
	var projects map[string]struct{ Flaky map[string]string }
	if err := json.NewDecoder(recorded(t, "deflaker_reruns_sequences.json.gz")).Decode(&projects); err != nil {
		t.Fatal(err)
	}
	type pair [2]string
	failed := func(letters string) (runs []string) {
		for i, c := range letters {
			if c == 'F' {
				runs = append(runs, strconv.Itoa(i+1))
			}
		}
		return runs
	}
	for given, floor := range map[int]float64{20: .3, 50: .99} {
		var right, told, all, possible, trivial float64
		for _, p := range projects {
			truth, guess := map[pair]bool{}, map[pair]bool{}
			names := slices.Sorted(maps.Keys(p.Flaky))
			var tests []FailedRuns
			seen := 0
			for i, a := range names {
				if early := failed(p.Flaky[a][:given]); len(early) > 0 {
					tests = append(tests, FailedRuns{ID: ID{Key: a}, Runs: early})
					seen++
				}
				of := failed(p.Flaky[a])
				for _, b := range names[i+1:] {
					both := 0
					other := failed(p.Flaky[b])
					for _, run := range of {
						if slices.Contains(other, run) {
							both++
						}
					}
					if 2*both >= len(of)+len(other)-both {
						truth[pair{a, b}] = true
					}
				}
			}
			for _, c := range Clusters(tests) {
				for i, a := range c.Tests {
					for _, b := range c.Tests[i+1:] {
						guess[pair{a.Key, b.Key}] = true
					}
				}
			}
			for x := range truth {
				if guess[x] {
					right++
				}
				if strings.Contains(p.Flaky[x[0]][:given], "F") && strings.Contains(p.Flaky[x[1]][:given], "F") {
					possible++
				}
			}
			told += float64(len(guess))
			all += float64(len(truth))
			trivial += float64(seen * (seen - 1) / 2)
		}
		f1 := 2 * right / (told + all)
		t.Logf("pairs given %d runs: precision %.3f, recall %.3f of all and %.3f of those that had failed by then, F1 %.3f (trivial, all that failed so far are one group: precision %.3f)",
			given, right/told, right/all, right/possible, f1, possible/trivial)
		if f1 < floor {
			t.Errorf("F1 %.3f, less than %.2f", f1, floor)
		}
	}
}
