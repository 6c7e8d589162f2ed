package testrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Source is a queue as one shard sees it: [Splits] of this machine, or a server's.
type Source interface {
	Next(ctx context.Context, shard string) (Turn, error)
	Alive(ctx context.Context, shard string) error
	Done(ctx context.Context, r Report) (counted bool, err error)
}

// Queue is a queue of these splits, for shards of this machine.
func (s *Splits) Queue(repository, name string, patience time.Duration) Source {
	return hereSource{s, repository, name, patience}
}

type hereSource struct {
	*Splits
	repository, name string
	patience         time.Duration
}

func (h hereSource) Next(ctx context.Context, shard string) (Turn, error) {
	return h.Splits.Next(ctx, h.repository, h.name, shard, h.patience)
}

func (h hereSource) Alive(ctx context.Context, shard string) error {
	return h.Splits.Alive(ctx, h.repository, h.name, shard)
}

func (h hereSource) Done(ctx context.Context, r Report) (bool, error) {
	return h.Splits.Done(ctx, h.repository, h.name, r)
}

// Runs runs parts of some work on this machine, and collects what their reports say. One
// of them serves one shard; several may share a Results.
type Runs struct {
	Work    *Work
	Exec    Exec
	Out     io.Writer
	Say     func(format string, args ...any) // of what goes on, for people
	Results *Results
	Env     map[string]string
	// Affected has each unit be a process of its own, and leaves out those that passed
	// before with the same inputs; nil: all run.
	Affected *Affected
}

// Results are those of several batches together, of one tree. The zero Results is ready.
type Results struct {
	mu      sync.Mutex
	all     []record.TestResult
	lost    int
	unread  []string
	units   map[string]float64   // seconds
	reports map[string]time.Time // that were read, or were there before, with when they were written
}

// maxResults is how many results are kept for the merged report.
const maxResults = 500_000

// add takes a result of a unit, "" when it is of none that is known.
func (r *Results) add(one record.TestResult, unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units == nil {
		r.units = map[string]float64{}
	}
	if unit != "" {
		r.units[unit] += max(one.Seconds, 0)
	}
	if len(r.all) == maxResults {
		r.lost++
		return
	}
	r.all = append(r.all, one)
}

// fresh reports whether a report was not read before as it is now, and remembers it.
func (r *Results) fresh(name string, written time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reports == nil {
		r.reports = map[string]time.Time{}
	}
	was, known := r.reports[name]
	r.reports[name] = written
	return !known || !was.Equal(written)
}

// All are the results so far, how many more there were than are kept, and the
// reports that could not be read.
func (r *Results) All() (all []record.TestResult, lost int, unread []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all), r.lost, slices.Clone(r.unread)
}

// Did is what running some items came to.
type Did struct {
	Failed  bool
	Exit    int // of the first command that failed
	Stopped bool
	Seconds float64
	Items   map[string]float64 // seconds, by item
	Tests   int
}

// Run runs items. A command that fails is no error.
func (r *Runs) Run(ctx context.Context, items []suite.Item, batch int) (d Did, err error) {
	begun := time.Now()
	place := r.Work.Runner.Place(r.Work.Listed)
	take := func(result record.TestResult) error {
		d.Tests++
		unit, _, ok := place(&result)
		if !ok || r.Work.Runner.Name == "go" && len(result.Groups) > 0 { // whose time is in that of the test around it
			unit = ""
		}
		r.Results.add(result, unit)
		return nil
	}
	tree, err := os.OpenRoot(r.Work.Root)
	if err != nil {
		return d, err
	}
	defer tree.Close()
	r.read(tree.FS(), begun, nil) // what is there already is of another time
	for _, line := range r.lines(items, batch) {
		since := time.Now()
		listen := &listener{out: r.Out}
		listen.tests.Each = func(t record.TestResult) { _ = take(t) }
		c := Command{Argv: line.argv, Dir: r.Work.Root, Env: r.Env}
		var res executor.Result
		skipped := false
		if r.Affected != nil {
			res, skipped, err = r.Affected.run(ctx, r.Exec, line.unit, c, listen)
		} else {
			res, err = r.Exec(ctx, c, listen)
		}
		switch {
		case err != nil:
			return d, err
		case skipped:
			continue
		}
		listen.end()
		r.read(tree.FS(), since, take)
		if res.Exit != 0 && !d.Failed {
			d.Failed, d.Exit = true, res.Exit
		}
		if d.Stopped = res.Stopped; d.Stopped {
			break
		}
	}
	d.Seconds = time.Since(begun).Seconds()
	d.Items = map[string]float64{}
	r.Results.mu.Lock()
	defer r.Results.mu.Unlock()
	for _, item := range items {
		if s := r.Results.units[item.Name]; s > 0 && len(item.Tests) == 0 {
			d.Items[item.Name] = s
		}
	}
	return d, nil
}

// line is a command, and which unit it runs if it is of one alone.
type line struct {
	argv []string
	unit string
}

// lines are the commands of items: those of each by themselves, if it matters what each
// reads.
func (r *Runs) lines(items []suite.Item, batch int) (list []line) {
	if r.Affected == nil {
		for _, argv := range r.Work.Commands(items, batch) {
			list = append(list, line{argv, ""})
		}
		return list
	}
	for _, item := range items {
		for _, argv := range r.Work.Commands([]suite.Item{item}, 0) { // the number would tell it from the same of another time
			list = append(list, line{argv, item.Name})
		}
	}
	return list
}

// read reads the reports that were written since a time; take may be nil: then they are
// only remembered.
func (r *Runs) read(tree fs.FS, since time.Time, take func(record.TestResult) error) {
	for _, name := range harvest.Find(tree, since) {
		f, err := tree.Open(name)
		if err != nil {
			r.Results.spoilt(name, err)
			continue
		}
		if info, err := f.Stat(); err == nil && r.Results.fresh(name, info.ModTime()) && take != nil {
			if _, err := harvest.Read(f, name, take); err != nil {
				r.Results.spoilt(name, err)
			}
		}
		_ = f.Close() // it was only read
	}
}

func (r *Results) spoilt(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread = append(r.unread, fmt.Sprintf("%s: %v", name, err))
}

// listener passes an output on and listens for the results of go test in it.
type listener struct {
	out   io.Writer
	line  []byte
	tests harvest.GoTest
}

// maxHeard is how long a line may be that is listened to.
const maxHeard = 1 << 20

func (l *listener) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			if len(l.line)+len(rest) <= maxHeard {
				l.line = append(l.line, rest...)
			}
			break
		}
		line := rest[:i]
		if len(l.line) > 0 {
			l.line = append(l.line, line...)
			line = l.line
		}
		l.tests.Line(bytes.TrimSuffix(line, []byte("\r")))
		l.line, rest = l.line[:0], rest[i+1:]
	}
	return l.out.Write(p)
}

func (l *listener) end() {
	if len(l.line) > 0 {
		l.tests.Line(l.line)
	}
	l.tests.End()
}

// pollEvery is how often a shard without work asks whether there is some again.
const pollEvery = 2 * time.Second

// Pulled is what a shard did.
type Pulled struct {
	Batches, Items, Tests int
	Failed                bool
	Exit                  int // of the first command that failed
	Seconds               float64
	Deadly                []string // items that nobody may run any more
}

// Pull has a shard do batches until the queue is empty. With wait it stays until the
// work of the others is done, too, for they may be lost.
func (r *Runs) Pull(ctx context.Context, from Source, shard string, wait bool) (p Pulled, err error) {
	for {
		turn, err := from.Next(ctx, shard)
		if err != nil {
			return p, err
		}
		for _, lost := range turn.Lost {
			r.Say("shard %s has not been heard of for too long: what it had is handed out again", lost)
		}
		p.Deadly = turn.Deadly
		switch {
		case turn.Batch == nil && (turn.Over || !wait):
			return p, nil
		case turn.Batch == nil:
			select {
			case <-ctx.Done():
				return p, ctx.Err()
			case <-time.After(pollEvery):
			}
			continue
		}
		b := turn.Batch
		r.Say("batch %d: %s", b.ID, batchText(b))
		d, err := r.lively(ctx, from, shard, b)
		if err != nil {
			return p, err
		}
		if d.Stopped || ctx.Err() != nil {
			// Nobody is told that it is done: it is handed out again.
			return p, errors.Join(ctx.Err(), errors.New("the batch was stopped"))
		}
		p.Batches++
		p.Items += len(b.Items)
		p.Tests += d.Tests
		p.Seconds += d.Seconds
		if d.Failed && !p.Failed {
			p.Failed, p.Exit = true, d.Exit
		}
		counted, err := from.Done(ctx, Report{Shard: shard, Batch: b.ID, Seconds: d.Seconds, Failed: d.Failed, Items: d.Items})
		if err != nil {
			return p, err
		}
		if !counted {
			r.Say("batch %d took so long that it was handed out again: what was done here counts all the same", b.ID)
		}
	}
}

// lively runs a batch, and says now and then that the shard is alive. That this cannot be
// said is no reason to stop.
func (r *Runs) lively(ctx context.Context, from Source, shard string, b *suite.Batch) (Did, error) {
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		beat := time.NewTicker(heardEvery)
		defer beat.Stop()
		for {
			select {
			case <-done:
				return
			case <-beat.C:
				_ = from.Alive(ctx, shard)
			}
		}
	})
	d, err := r.Run(ctx, b.Items, b.ID)
	close(done)
	beating.Wait()
	return d, err
}

// batchText says what is in a batch.
func batchText(b *suite.Batch) string {
	name := b.Items[0].Name
	if n := len(b.Items); n > 1 {
		name = fmt.Sprintf("%s and %d more", name, n-1)
	} else if n := len(b.Items[0].Tests); n > 0 {
		name = fmt.Sprintf("%d tests of %s", n, name)
	}
	return fmt.Sprintf("%s, about %.0f s", name, math.Ceil(b.Seconds))
}

// Together has several shards of this machine do what a queue holds, and returns what
// all of them did.
func Together(ctx context.Context, from Source, runs []*Runs) (p Pulled, err error) {
	all, errs := make([]Pulled, len(runs)), make([]error, len(runs))
	var working sync.WaitGroup
	for i, r := range runs {
		working.Go(func() { all[i], errs[i] = r.Pull(ctx, from, fmt.Sprint(i+1), false) })
	}
	working.Wait()
	deadly := map[string]bool{}
	for _, one := range all {
		p.Batches, p.Items, p.Tests, p.Seconds = p.Batches+one.Batches, p.Items+one.Items, p.Tests+one.Tests, p.Seconds+one.Seconds
		if one.Failed && !p.Failed {
			p.Failed, p.Exit = true, one.Exit
		}
		for _, name := range one.Deadly {
			deadly[name] = true
		}
	}
	p.Deadly = slices.Sorted(maps.Keys(deadly))
	return p, errors.Join(errs...)
}
