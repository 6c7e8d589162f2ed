package crew

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestSimulation lets servers and workers die, lines be cut and messages be
// lost, at random, in schedule after schedule, and holds what the record says in the
// end against what must be true of it (see scene.check). A schedule is its seed:
// FAIRLEAD_SEED=n runs that one alone, FAIRLEAD_LONG=1 many more.
func TestSimulation(t *testing.T) {
	t.Parallel()
	from, n := uint64(1), uint64(40)
	if os.Getenv("FAIRLEAD_LONG") != "" {
		n = 5000
	}
	if one := os.Getenv("FAIRLEAD_SEED"); one != "" {
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		from, n = seed, 1
	}
	sum := map[string]int{}
	for seed := from; seed < from+n && !t.Failed(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, sc *scene) { simulate(t, sc, seed, sum) })
		})
	}
	t.Logf("%d schedules: %v", n, sum)
}

// simulate is one schedule.
func simulate(t *testing.T, sc *scene, seed uint64, sum map[string]int) {
	dice := rand.New(rand.NewPCG(seed, 4))
	const runs, jobs, steps = 2, 4, 5
	sc.only = true
	sc.start()
	lose := dice.Float64() * 0.2
	workers := map[string]*hired{}
	hire := func(name string) {
		if old := workers[name]; old != nil {
			old.die()
			synctest.Wait() // a process that was killed does nothing more
		}
		w := &wire{dice: rand.New(rand.NewPCG(dice.Uint64(), 5)), lose: lose, slow: time.Duration(dice.Int64N(int64(2 * time.Second)))}
		workers[name] = sc.hire(name, &doing{steps: steps, each: time.Duration(1 + dice.Int64N(int64(60*time.Second)))}, w)
	}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		hire(name)
	}
	soft, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan plan.Verdict, runs*jobs)
	for run := range runs {
		for job := range jobs {
			go func() { ended <- sc.own(soft, fmt.Sprint(run+1), fmt.Sprint("j", job)) }()
		}
	}
	under := runs * jobs
	for under > 0 {
		wait := time.NewTimer(time.Duration(dice.Int64N(int64(20 * time.Second))))
		select {
		case v := <-ended:
			sum[string(v)]++
			under--
			continue
		case <-wait.C:
		}
		name := names[dice.IntN(len(names))]
		switch dice.IntN(8) {
		case 0:
			sum["servers killed"]++
			sc.kill()
			time.Sleep(time.Duration(dice.Int64N(int64(2 * DefaultLease))))
			sc.start()
		case 1:
			sum["workers killed"]++
			hire(name)
		case 2:
			sum["lines cut"]++
			w := workers[name].wire
			w.set(true)
			time.AfterFunc(time.Duration(dice.Int64N(int64(2*DefaultLease))), func() { w.set(false) })
		case 3:
			if dice.IntN(20) == 0 {
				sum["stops"]++
				stop()
			}
		}
	}
	for run := range runs {
		for job := range jobs {
			if err := sc.check(fmt.Sprint(run+1), fmt.Sprint("j", job), steps); err != nil {
				t.Errorf("seed %d: run %d: %v", seed, run+1, err)
			}
		}
	}
}
