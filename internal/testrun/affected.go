package testrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Affected leaves out the test processes that can only do what they did before: each has
// passed with the same command, environment and machine, and everything that it read, looked
// for or listed is as it was then. It is the look-up that steps are reused by, with a process
// for each unit of the work (a package, a file) in the place of a step; what bars a step from being
// reused (the network, a change outside) has the process run each time.
//
// With Observe everything runs, and what would have been left out is compared with how it
// ended.
type Affected struct {
	Cache      *cache.Cache
	Class      executor.Class
	Dirs       plan.Dirs // Workspace is the root of the tree
	Repository string
	Label      string // of this time, for people
	Version    string // Fairlead's
	Observe    bool
	History    string // file of what was observed

	mu       sync.Mutex
	choices  []suite.Candidate
	observed []suite.Processed
}

const (
	// maxObserved is how many times are kept of what was observed.
	maxObserved = 200
	// maxHistory is how large the file of it may be, in bytes.
	maxHistory = 256 << 20
)

// query asks for a command of a unit.
func (a *Affected) query(c Command) cache.Query {
	meaning := cache.Meaning{Argv: c.Argv, Env: c.Env, Dir: c.Dir, Dirs: a.Dirs, Class: a.Class.Name, Machine: a.Class.Environ, Version: a.Version}
	return cache.Query{
		Key: meaning.Key(), Stable: cache.Meaning{Argv: append([]string{a.Repository}, c.Argv...)}.Key(), Scopes: cache.Local,
		Vars: map[string]string{}, View: a.Cache.NewView(a.Dirs, nil), Now: time.Now(), InPlace: true,
		Ignored: func() []string { return a.ignored(c) },
	}
}

func (a *Affected) ignored(c Command) []string {
	environ := slices.Clone(a.Class.Environ)
	for name, value := range c.Env {
		environ = append(environ, name+"="+value)
	}
	ignored := cache.Ignored(environ, cache.Rule{}, a.Dirs)
	slices.Sort(ignored)
	return slices.Compact(ignored)
}

// run runs a command of a unit, unless it need not be run.
func (a *Affected) run(ctx context.Context, exec Exec, unit string, c Command, out io.Writer) (res executor.Result, skipped bool, err error) {
	c.Step = true
	q := a.query(c)
	answer := a.Cache.Lookup(ctx, q)
	one := suite.Candidate{Name: unit}
	switch {
	case answer.Unsound != "":
		one.Why = "it was found not to do the same each time: " + answer.Unsound
	case answer.Record != nil:
		one.Passed = answer.Record.Writer.Run
	case answer.Miss != nil:
		one.Why = answer.Miss.Why
	default:
		one.Why = "it has not passed yet so that it may be left out"
	}
	began := time.Now()
	if skipped = one.Passed != "" && !a.Observe; skipped {
		one.Seconds = answer.Record.Took.Seconds()
	} else {
		c.Watch = &trace.Spec{Inside: cache.Inside(a.Dirs), Ignored: a.ignored(c), Digest: a.Cache.Facts().Digest}
		if res, err = exec(ctx, c, out); err != nil {
			return res, false, err
		}
		one.Seconds = time.Since(began).Seconds()
		if res.Exit == 0 && !res.Stopped && answer.Record == nil {
			a.keep(ctx, q, unit, c, res.Observation)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.choices = append(a.choices, one)
	if a.Observe && !res.Stopped {
		how := suite.Passed
		if res.Exit != 0 {
			how = suite.Failed
		}
		a.observed = append(a.observed, suite.Processed{Name: unit, Inputs: inputsOf(q.Key, res.Observation), Outcome: how, Seconds: one.Seconds})
	}
	return res, skipped, nil
}

// keep remembers that a command passed. If that cannot be, the unit runs again next
// time.
func (a *Affected) keep(ctx context.Context, q cache.Query, unit string, c Command, o *record.Observation) {
	if o == nil {
		return
	}
	pending, _, err := a.Cache.Save(ctx, cache.Saving{
		Key: q.Key, Dirs: a.Dirs, Observation: o, Script: strings.Join(c.Argv, " "), Vars: q.Vars,
		Writer: cache.Writer{
			StepRef: record.StepRef{Run: a.Label, Job: "tests", Step: unit}, Name: unit, JobName: "tests",
			Repository: a.Repository, Root: a.Dirs.Workspace, Pipeline: "fairlead split", Scope: cache.Local.Write, Time: time.Now().UTC(),
		},
	})
	if err == nil && pending != nil {
		_ = pending.Commit(ctx)
	}
}

// inputsOf is the digest of all that a process was given and read; "" when not all of it is
// known.
func inputsOf(key cache.Key, o *record.Observation) string {
	if o == nil || o.Mechanism == "" || len(o.Barred) > 0 {
		return ""
	}
	h := sha256.New()
	fmt.Fprintln(h, key)
	for i := range o.Inputs {
		in := &o.Inputs[i]
		if in.Own {
			continue
		}
		fmt.Fprintf(h, "%q %d %d", in.Path, in.Use, in.Kind)
		switch in.Use {
		case record.UseContent, record.UseLink, record.UseListed:
			h.Write(in.Digest[:])
		case record.UseExists:
			if in.Kind == record.Regular {
				fmt.Fprintf(h, " %o %d", in.Perm, in.Size)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Selection is what was left out, and why the rest ran.
func (a *Affected) Selection() suite.Selection {
	a.mu.Lock()
	defer a.mu.Unlock()
	full := ""
	if a.Observe {
		full = "what would be left out is only observed"
	}
	return suite.Select(a.choices, full)
}

// Missed adds what was observed to what was before, and says what selection would have
// missed in all of that.
func (a *Affected) Missed() (suite.Missed, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var runs [][]suite.Processed
	if info, err := os.Stat(a.History); err == nil && info.Size() <= maxHistory {
		data, err := os.ReadFile(a.History)
		if err == nil && json.Unmarshal(data, &runs) != nil {
			runs = nil // it is none of ours: it begins again
		}
	}
	if len(a.observed) > 0 {
		runs = append(runs, a.observed)
		runs = runs[max(len(runs)-maxObserved, 0):]
		data, err := json.Marshal(runs)
		if err == nil {
			err = replace(a.History, data)
		}
		if err != nil {
			return suite.Missed{}, fmt.Errorf("keep what was observed: %w", err)
		}
		a.observed = nil
	}
	return suite.Observe(runs), nil
}

// HistoryFile is where what was observed of a repository's tests is kept, below a directory.
func HistoryFile(below, repository, dir string) string {
	return HuntDir(filepath.Join(below, "observed"), repository, dir) + ".json"
}
