package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/postgres"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

// recordStore is what of a store is measured.
type recordStore interface {
	store.Store
	NewRun(ctx context.Context, repository, file string) (id string, number int, err error)
	Close() error
}

// stores opens a fresh record in SQLite, with a disk that is waited for, and one in
// PostgreSQL where that is installed, and calls fn with each.
func (b *serving) stores(name string, fn func(kind string, st recordStore) error) error {
	ctx := context.Background()
	lite, err := sqlite.Open(ctx, filepath.Join(b.tmp, name), sqlite.Options{Sync: sqlite.Full})
	if err != nil {
		return err
	}
	if err := errors.Join(fn("SQLite", lite), lite.Close()); err != nil {
		return err
	}
	server, err := storetest.StartPostgres()
	if err != nil {
		b.row(name+" on PostgreSQL", "not measured", err.Error())
		return nil
	}
	defer func() { _ = server.Remove() }()
	pg, err := postgres.Open(ctx, server.URL, postgres.Options{})
	if err != nil {
		return err
	}
	return errors.Join(fn("PostgreSQL", pg), pg.Close())
}

// events are appended one by one by many callers, each waiting until its own is
// durable.
func (b *serving) events() error {
	return b.stores("events", func(kind string, st recordStore) error {
		const callers, long = 256, 3 * time.Second
		ctx := context.Background()
		run, _, err := st.NewRun(ctx, "team/app", "ci.yml")
		if err != nil {
			return err
		}
		if _, err := st.Append(ctx, record.Event{Run: run, Body: &record.RunPlanned{Pipeline: &plan.Pipeline{}, Change: &plan.Change{}}}, record.Event{Run: run, Body: &record.RunStarted{}}); err != nil {
			return err
		}
		var n atomic.Int64
		var first atomic.Pointer[error]
		var wg sync.WaitGroup
		begin := time.Now()
		for range callers {
			wg.Go(func() {
				for time.Since(begin) < long {
					if _, err := st.Append(ctx, record.Event{Run: run, Job: "build", Body: &record.JobQueued{Why: "waits for a place"}}); err != nil {
						first.Store(&err)
						return
					}
					n.Add(1)
				}
			})
		}
		wg.Wait()
		if err := first.Load(); err != nil {
			return *err
		}
		b.row("durable events a second, 256 callers: "+kind, fmt.Sprintf("%.0f", float64(n.Load())/time.Since(begin).Seconds()), "20,000")
		return nil
	})
}

// dagJobs is how many jobs the large plan has; dagAtOnce how many go on at a time.
const dagJobs, dagAtOnce = 10_000, 64

// dag runs a plan of many jobs through the engine. Each job's work is to say that
// it began and ended; everything else is as in any run.
func (b *serving) dag() error {
	return b.stores("dag", func(kind string, st recordStore) error {
		p := &plan.Pipeline{Dialect: "none", Name: "large", File: "ci.yml"}
		for i := range dagJobs {
			j := plan.Job{ID: fmt.Sprintf("p%05d", i), Name: fmt.Sprintf("p%05d", i), Steps: []plan.Step{{Key: "1", Name: "build", Run: &plan.Script{Text: plan.Expr{Text: "make"}}}}}
			if i > 0 {
				j.Needs = []string{fmt.Sprintf("p%05d", (i-1)/2)}
			}
			p.Jobs = append(p.Jobs, j)
		}
		ctx := context.Background()
		run, number, err := st.NewRun(ctx, "team/app", "ci.yml")
		if err != nil {
			return err
		}
		change := &plan.Change{Repository: "team/app", Event: "push"}
		e := &engine.Engine{Dialect: plain{}, Executor: anywhere{}, Leases: st, Idle: func() float64 { return 1 }, Hands: doing{st}}
		begin := time.Now()
		verdict, _, err := e.Run(ctx, engine.Request{
			Context: &plan.Context{Pipeline: p, Change: change, RunID: run, Number: number, Attempt: 1},
			Record:  st, Planned: &record.RunPlanned{Number: number, Attempt: 1, Pipeline: p, Change: change},
			Masker: new(secret.Masker), Observer: unseen{}, Parallel: dagAtOnce,
		})
		if err != nil || verdict != plan.Success {
			return fmt.Errorf("the run ended in %q: %w", verdict, err)
		}
		b.row("a DAG of 10,000 jobs through the scheduler, durable: "+kind, fmt.Sprintf("%.2f s", time.Since(begin).Seconds()), "2 s")
		return nil
	})
}

// plain is a dialect of jobs without conditions.
type plain struct{ dialect.Dialect }

func (plain) Eval(e plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	if as == dialect.Condition {
		return !s.Status.Bad(), nil
	}
	return e.Text, nil
}

// anywhere is a place that all jobs fit.
type anywhere struct{ executor.Executor }

func (anywhere) Fits(*plan.Place) *plan.Problem { return nil }

// doing does jobs at once.
type doing struct{ record engine.Record }

func (doing) Fits(*plan.Place) bool                    { return true }
func (doing) Has(context.Context, string, string) bool { return false }

func (d doing) Do(ctx, _ context.Context, a engine.Assignment) (engine.Ended, error) {
	event := func(step string, body record.Body) record.Event {
		return record.Event{Run: a.Run, Job: a.Job, Step: step, Body: body}
	}
	_, err := d.record.Append(ctx, event("", &record.JobStarted{Attempt: a.Try, Place: "worker w"}), event("1", &record.StepStarted{Name: "build"}))
	if err == nil {
		_, err = d.record.Append(ctx, event("1", &record.StepFinished{Name: "build", Outcome: plan.Success, Conclusion: plan.Success}))
	}
	return engine.Ended{Verdict: plan.Success}, err
}

// unseen watches nothing.
type unseen struct{}

func (unseen) Event(record.Event)                 {}
func (unseen) Line(string, string, int64, []byte) {}

// largeLog writes, indexes and compresses a gigabyte of lines as a step's, and
// reads it.
func (b *serving) largeLog() error {
	rng := rand.New(rand.NewPCG(1, 2))
	lines := make([][]byte, 4096)
	for i := range lines {
		lines[i] = fmt.Appendf(nil, "[%6d/99999] compile src/module%03d/file%05d.go -> build/obj/%08x.o ok %4d ms     ", i, rng.IntN(300), rng.IntN(99999), rng.Uint32(), rng.IntN(5000))[:80]
	}
	name := filepath.Join(b.tmp, "large.log")
	const total = 1_000_000_000 / 80
	begin := time.Now()
	w, err := logs.Create(name)
	if err != nil {
		return err
	}
	for i := range total {
		if _, err := w.Line("1", begin.Add(time.Duration(i)*time.Microsecond), lines[i%len(lines)]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	b.row("a log of 1 GB: written, indexed, compressed", fmt.Sprintf("%.1f s", time.Since(begin).Seconds()), "6 s")
	var took []time.Duration
	for range 200 {
		begin := time.Now()
		r, err := logs.Open(name)
		if err != nil {
			return err
		}
		n := 0
		err = r.Read(rng.Int64N(total-1), func(logs.Line) bool { n++; return false })
		if err := errors.Join(err, r.Close()); err != nil || n != 1 {
			return fmt.Errorf("%d lines: %w", n, err)
		}
		took = append(took, time.Since(begin))
	}
	b.row("the same: opened, any line: median / 95 %", millis(median(took))+" / "+millis(quantile(took, 0.95)), "5 ms")
	r, err := logs.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, c := range []struct {
		what string
		q    logs.Query
	}{
		{"a text that is nowhere", logs.Query{Text: "absent"}},
		{"a text that is in one line of 4,096", logs.Query{Text: "[  1234/99999]"}},
		{"upper and lower case alike", logs.Query{Text: "ABSENT", Fold: true}},
	} {
		begin := time.Now()
		if _, err := r.Search(context.Background(), c.q, func(logs.Line) bool { return true }); err != nil {
			return err
		}
		b.row("the same: all of it searched for "+c.what, fmt.Sprintf("%.2f s", time.Since(begin).Seconds()), "1.5 s")
	}
	return nil
}
