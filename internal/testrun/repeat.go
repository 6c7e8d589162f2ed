package testrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Repeat runs a test again and again, until it can be said whether it is to be trusted, or
// often enough.
type Repeat struct {
	Test    string // "" when the exit code of the command counts
	Command Command
	Copies  int // at a time; more than one, or Stress, is load
	// Stress has the copies compete: half of them on one processor, with fewer threads,
	// and more copies than there are processors.
	Stress bool
	Count  suite.Repeat
	Exec   Exec
	Out    io.Writer
	// Show is called after each run, by one at a time.
	Show func(n int, a Attempt, c *suite.Repeat)
}

// Run repeats the test, and returns what was counted and the results of the runs. The
// error is ours, or an [ErrNoTest].
func (r *Repeat) Run(ctx context.Context) (suite.Repeat, []record.TestResult, error) {
	count := r.Count
	copies := max(r.Copies, 1)
	if r.Stress && r.Copies == 0 {
		copies = 2 * runtime.NumCPU()
	}
	temp, err := os.MkdirTemp("", "fairlead-repeat-")
	if err != nil {
		return count, nil, err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what is left of it is in the way of nobody
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mu      sync.Mutex
		begun   int
		results []record.TestResult
		failed  error
		working sync.WaitGroup
	)
	turn := func() (n int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || count.Stop() || count.Times > 0 && begun >= count.Times || ctx.Err() != nil {
			return 0, false
		}
		begun++
		return begun, true
	}
	for copy := range copies {
		working.Go(func() {
			for {
				n, ok := turn()
				if !ok {
					return
				}
				c, err := r.copied(temp, copy)
				var a Attempt
				if err == nil {
					a, err = Try(ctx, r.Exec, c, r.Test, r.Out)
				}
				mu.Lock()
				switch {
				case errors.Is(err, context.Canceled) && count.Stop(): // it was decided meanwhile
				case err != nil:
					failed = firstError(failed, err)
				case !a.Able:
					failed = firstError(failed, fmt.Errorf("%w: %s", ErrNoTest, a.Why))
				case !count.Stop():
					count.Add(a.Outcome)
					results = append(results, resultFor(r.Test, &a))
					r.Show(n, a, &count)
				}
				if failed != nil || count.Stop() {
					stop()
				}
				mu.Unlock()
			}
		})
	}
	working.Wait()
	return count, results, failed
}

// firstError is the first of two errors, if there is one.
func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// copied is the command of one of the copies: with a temporary directory of its own, and
// under stress with less of the machine than the others.
func (r *Repeat) copied(temp string, copy int) (Command, error) {
	c := r.Command
	own := filepath.Join(temp, strconv.Itoa(copy))
	if err := os.MkdirAll(own, 0o700); err != nil {
		return c, err
	}
	c.Env = maps.Clone(c.Env)
	if c.Env == nil {
		c.Env = map[string]string{}
	}
	c.Env["TMPDIR"] = own
	if !r.Stress {
		return c, nil
	}
	if threads := copy % 3; threads > 0 { // one thread, two threads, as many as there are
		c.Env["GOMAXPROCS"] = strconv.Itoa(threads)
	}
	if copy%2 == 1 {
		if tool := onPath("taskset"); tool != "" {
			c.Argv = append([]string{tool, "-c", "0"}, c.Argv...)
		}
	}
	return c, nil
}

// onPath finds a program; "" when there is none.
func onPath(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		at := filepath.Join(dir, name)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(at) {
			return at
		}
	}
	return ""
}

// resultFor is the result of an attempt, as a report would have it.
func resultFor(test string, a *Attempt) record.TestResult {
	r := a.Result
	if r.Name == "" {
		r.Name = test
	}
	switch {
	case a.Outcome == suite.Errored:
		r.Status = record.TestError
	case a.Outcome.Bad():
		r.Status = record.TestFailed
	default:
		r.Status = record.TestPassed
	}
	if r.Seconds == 0 {
		r.Seconds = a.Seconds
	}
	return r
}

// maxTaught is how many runs of a test are told of.
const maxTaught = 200

// Taught is what repeated runs of a test teach, as a report of one step: attempts at the
// test, those that failed first. variant is that of the job whose test it is; under stress it is a
// variant of its own, for what happens then is no sign of what happens else.
func Taught(ctx context.Context, blobs blob.Store, id record.TestResult, results []record.TestResult, variant string, stress bool) (*record.TestsReported, error) {
	report := &record.TestsReported{Source: "fairlead rerun", Variant: variant}
	if stress {
		report.Variant = strings.TrimPrefix(variant+", under load", ", ")
	}
	var kept bytes.Buffer
	k, err := harvest.NewKeeper(&kept)
	if err != nil {
		return nil, err
	}
	attempt := 0
	for _, bad := range []bool{true, false} {
		for i := range results {
			r := results[i]
			if is := r.Status != record.TestPassed; is != bad || attempt == maxTaught {
				continue
			}
			attempt++
			r.Suite, r.Groups, r.Name, r.Params, r.File, r.Line, r.Attempt = id.Suite, id.Groups, id.Name, id.Params, id.File, id.Line, attempt
			report.Seconds += r.Seconds
			if err := k.Add(&r); err != nil {
				return nil, err
			}
		}
	}
	if err := k.Close(); err != nil {
		return nil, err
	}
	digest, _, err := blobs.Put(ctx, &kept)
	if err != nil {
		return nil, fmt.Errorf("keep the results: %w", err)
	}
	failures := 0
	for i := range results {
		if results[i].Status != record.TestPassed {
			failures++
		}
	}
	// It is one test, however often it was run.
	switch {
	case failures == len(results):
		report.Failed = 1
	case failures > 0:
		report.Passed, report.Flaky = 1, 1
	default:
		report.Passed = 1
	}
	report.Results = string(digest)
	return report, nil
}

// Only is the script that runs some of the tests that a step's script runs; ok is false when
// it is not known how to. What the script starts the runner by (npm, make) is read in dir.
func Only(script, dir string, tests []record.TestResult) (only string, ok bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", false
	}
	defer root.Close()
	end, err := suite.EndOf(script, func(name string) ([]byte, error) {
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxWrapper))
	})
	if err != nil {
		return "", false
	}
	more := end.Again(tests)
	at := strings.LastIndex(script, end.Line()) // before it a script may show what it is about to run
	if more == "" || at < 0 {
		return "", false
	}
	return script[:at] + more + script[at+len(end.Line()):], true
}

// maxWrapper is how much of a file is read that starts a runner.
const maxWrapper = 1 << 20
