package testrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/trace"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// MaxSuspects is among how many commits a culprit is looked for.
const MaxSuspects = 2000

// Hunt looks for the commit that broke a test, by running it at one commit after another,
// in working trees that are kept:
//
//	DIR/<n>/          a working tree for each command that runs at a time
//	DIR/hunt.json     how far it has come
//
// Its first run is of the last commit, watched if that can be: the files that the test
// read there say which commits are suspected. All else package suite decides.
type Hunt struct {
	Tree       *workspace.Tree
	Test       string // "" when the exit code of the command counts
	Good, Bad  string // refs
	Command    []string
	Build      []string // run first in each new working tree; may be none
	Below      string   // directory of the tree to run in, "" for its root
	Machines   int      // commands at a time
	Confidence float64
	// Failures and Runs are of the test's past, before the suspected commits.
	Past func(suspects []string) (failures, runs float64)
	Env  map[string]string
	Dir  string // absolute: of this hunt alone
	Anew bool   // forget how far it had come
	Exec Exec
	// Out gets what the commands print. Say is told what goes on, and Show is called when
	// something was learned.
	Out  io.Writer
	Say  func(format string, args ...any)
	Show func(State)
}

// State is how far a hunt has come.
type State struct {
	Hunt     *suite.Hunt         `json:"hunt"`
	Suspects []workspace.Between `json:"suspects"`
	Good     workspace.Between   `json:"good"`
	// Read is how many files the test was seen to read, 0 when that is not known.
	Read int `json:"read,omitempty"`
	// Unbuilt says of versions why they cannot be run.
	Unbuilt map[string]string `json:"unbuilt,omitempty"`
	Command []string          `json:"command"`
	Resumed int               `json:"-"` // trials of an earlier time
}

// Verdict is what was found out, in words that name commits as people do.
func (s *State) Verdict() suite.Verdict {
	v := s.Hunt.Verdict()
	v.Why = s.Names(v.Why)
	return v
}

// Names shortens the names of commits in a text.
func (s *State) Names(text string) string {
	for _, c := range append([]workspace.Between{s.Good}, s.Suspects...) {
		text = strings.ReplaceAll(text, c.SHA, c.SHA[:min(len(c.SHA), 10)])
	}
	return text
}

// HuntDir is where a hunt for a test is kept below a directory: the same for the same test,
// commits and command.
func HuntDir(below string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return filepath.Join(below, hex.EncodeToString(sum[:8]))
}

// Run hunts until the culprit is known, or more runs would not tell.
func (h *Hunt) Run(ctx context.Context) (s State, err error) {
	if s, err = h.begin(ctx); err != nil {
		return s, err
	}
	places := make([]place, max(h.Machines, 1))
	for i := range places {
		places[i].dir = filepath.Join(h.Dir, strconv.Itoa(i+1))
	}
	if len(s.Hunt.Trials) == 0 && len(s.Hunt.Unbuilt) == 0 {
		if err := h.first(ctx, &s, &places[0]); err != nil {
			return s, err
		}
	}
	for {
		h.Show(s)
		next := s.Hunt.Next(len(places))
		if len(next) == 0 {
			return s, nil
		}
		if err := h.together(ctx, &s, places, next); err != nil {
			return s, err
		}
	}
}

// begin finds out what is suspected, or takes up where the hunt was left.
func (h *Hunt) begin(ctx context.Context) (s State, err error) {
	good, err := h.Tree.Commit(ctx, h.Good)
	if err != nil {
		return s, err
	}
	s.Good = workspace.Between{SHA: good.SHA, Subject: firstOf(good.Message)}
	if s.Suspects, err = h.Tree.Between(ctx, h.Good, h.Bad, MaxSuspects); err != nil {
		return s, err
	}
	if len(s.Suspects) == 0 {
		return s, fmt.Errorf("%w: %s is the same commit as %s", ErrNoSuspects, h.Good, h.Bad)
	}
	if !h.Anew {
		if kept, ok := h.kept(); ok && slices.EqualFunc(kept.Suspects, s.Suspects, func(a, b workspace.Between) bool { return a.SHA == b.SHA }) && slices.Equal(kept.Command, h.Command) {
			kept.Hunt.Confidence = h.Confidence
			kept.Resumed = len(kept.Hunt.Trials)
			return kept, nil
		}
	}
	shas := make([]string, len(s.Suspects))
	for i, c := range s.Suspects {
		shas[i] = c.SHA
	}
	s.Command = h.Command
	s.Hunt = &suite.Hunt{Good: good.SHA, Versions: shas, Confidence: h.Confidence}
	if h.Past != nil {
		s.Hunt.Failures, s.Hunt.Runs = h.Past(shas)
	}
	return s, nil
}

// ErrNoSuspects says that there is nothing to look for.
var ErrNoSuspects = errors.New("there is no commit to suspect")

// firstOf is the first line of a message.
func firstOf(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return line
}

func (h *Hunt) file() string { return filepath.Join(h.Dir, "hunt.json") }

// kept is how far the hunt had come.
func (h *Hunt) kept() (s State, ok bool) {
	data, err := os.ReadFile(h.file())
	return s, err == nil && json.Unmarshal(data, &s) == nil && s.Hunt != nil
}

// keep writes down how far the hunt has come.
func (h *Hunt) keep(s *State) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replace(h.file(), data)
}

// replace puts a file in the place of another, whole or not at all.
func replace(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".next-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// place is a working tree.
type place struct {
	dir, at string // the commit that it holds, "" when that is not known
}

// tried is what running a version came to.
type tried struct {
	version string
	attempt Attempt
	err     error
}

// first runs the last commit, to see what the test reads, and that it can be run at all.
func (h *Hunt) first(ctx context.Context, s *State, p *place) error {
	bad := s.Suspects[len(s.Suspects)-1].SHA
	one := h.try(ctx, p, bad, true)
	if one.err != nil {
		return one.err
	}
	if !one.attempt.Able {
		return fmt.Errorf("%w: at %s %s", ErrNoTest, s.Names(bad), one.attempt.Why)
	}
	s.suspect(p.dir, one.attempt.Run.Observation)
	return h.learn(s, one)
}

// ErrNoTest says that the test cannot be run where it is said to be broken.
var ErrNoTest = errors.New("there is nothing to look for")

// suspect has those commits suspected that changed what the test read.
func (s *State) suspect(dir string, o *record.Observation) {
	if o == nil || o.Mechanism == "" {
		return
	}
	for _, b := range o.Barred {
		if b.Kind == record.BarLost || b.Kind == record.BarNotWatched {
			return // not all that it read is known
		}
	}
	read := map[string]bool{}
	for i := range o.Inputs {
		if file, ok := strings.CutPrefix(o.Inputs[i].Path, dir+"/"); ok && !strings.HasPrefix(file, ".git/") && o.Inputs[i].Use != record.UseListed && o.Inputs[i].Use != record.UseDir {
			read[file] = true
		}
	}
	if len(read) == 0 {
		return
	}
	changed := make([][]string, len(s.Suspects))
	for i, c := range s.Suspects {
		changed[i] = c.Files
	}
	s.Read, s.Hunt.Suspicion = len(read), suite.Suspect(changed, func(file string) bool { return read[file] })
}

// together runs versions at the same time.
func (h *Hunt) together(ctx context.Context, s *State, places []place, versions []string) error {
	// A version goes where it is already.
	free := make([]bool, len(places))
	for i := range free {
		free[i] = true
	}
	at := make([]int, len(versions))
	for v, version := range versions {
		at[v] = -1
		for i := range places {
			if free[i] && places[i].at == version {
				at[v], free[i] = i, false
				break
			}
		}
	}
	for v := range versions {
		if at[v] < 0 {
			at[v] = slices.Index(free, true)
			free[at[v]] = false
		}
	}
	results := make([]tried, len(versions))
	var running sync.WaitGroup
	for v, version := range versions {
		running.Go(func() { results[v] = h.try(ctx, &places[at[v]], version, false) })
	}
	running.Wait()
	for _, one := range results {
		if one.err != nil {
			return one.err
		}
		if err := h.learn(s, one); err != nil {
			return err
		}
	}
	return nil
}

// learn writes down what a run showed.
func (h *Hunt) learn(s *State, one tried) error {
	h.Say("%s %s", s.Names(one.version), one.attempt.Sentence())
	if one.attempt.Able {
		s.Hunt.Saw(one.version, one.attempt.Outcome.Bad())
	} else {
		s.Hunt.CannotRun(one.version)
		if s.Unbuilt == nil {
			s.Unbuilt = map[string]string{}
		}
		s.Unbuilt[one.version] = one.attempt.Why
	}
	return h.keep(s)
}

// try runs the test once at a version.
func (h *Hunt) try(ctx context.Context, p *place, version string, watch bool) (t tried) {
	t.version = version
	fail := func(err error) tried {
		t.err = err
		return t
	}
	dir := filepath.Join(p.dir, filepath.FromSlash(h.Below))
	if p.at != version {
		p.at = ""
		if err := os.MkdirAll(filepath.Dir(p.dir), 0o700); err != nil {
			return fail(err)
		}
		if err := h.Tree.CheckoutRef(ctx, version, p.dir, workspace.CheckoutOptions{}); err != nil {
			return fail(err)
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			t.attempt.Why = "there is no directory " + h.Below
			return t
		}
		if len(h.Build) > 0 {
			end := &tail{}
			began := time.Now()
			res, err := h.Exec(ctx, Command{Argv: h.Build, Dir: dir, Env: h.Env}, io.MultiWriter(h.Out, end))
			switch {
			case err != nil:
				return fail(err)
			case ctx.Err() != nil:
				return fail(ctx.Err())
			case res.Exit != 0:
				t.attempt = Attempt{Why: "it does not build: " + end.last(), Seconds: time.Since(began).Seconds(), Run: res}
				return t
			}
		}
		p.at = version
	} else if _, err := os.Stat(dir); err != nil {
		t.attempt.Why = "there is no directory " + h.Below
		return t
	}
	c := Command{Argv: h.Command, Dir: dir, Env: h.Env}
	if watch {
		c.Watch = &trace.Spec{Inside: []string{p.dir, os.TempDir()}}
	}
	t.attempt, t.err = Try(ctx, h.Exec, c, h.Test, h.Out)
	return t
}

// Past is what is known of a test from before the suspected commits: how often it failed
// by chance.
func Past(ctx context.Context, l suite.Ledger, id suite.ID, suspects []string) (failures, runs float64, err error) {
	results, err := l.Results(ctx, id, "", maxPast)
	if err != nil {
		return 0, 0, fmt.Errorf("read the history of the test: %w", err)
	}
	for _, r := range results {
		if !r.Base || r.Storm || r.Outcome <= suite.Skipped || slices.Contains(suspects, r.Commit) {
			continue
		}
		runs++
		if r.Outcome.Bad() || r.Outcome == suite.Flaked {
			failures++
		}
	}
	return failures, runs, nil
}

// maxPast is how many results of a test are looked at.
const maxPast = 500

// Find finds a test that a person names among those of a repository: by its key, its
// title, or the end of its title. Several are an error that names them.
func Find(ctx context.Context, l suite.Ledger, repository, name string) (*suite.Row, error) {
	q := suite.Query{Repository: repository, Text: lastPart(name), Limit: maxPast}
	if testKey.MatchString(name) {
		q.Text, q.IDs = "", []suite.ID{{Repository: repository, Key: name}}
	}
	rows, _, err := l.Tests(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("look for test %s: %w", name, err)
	}
	var found []*suite.Row
	for i := range rows {
		r := resultOf(&rows[i])
		if rows[i].Key == name || Means(&r, name) {
			found = append(found, &rows[i])
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	for _, r := range found[1:] {
		if r.Key != found[0].Key {
			return nil, fmt.Errorf("%w: %s is %s and %s", ErrSeveral, name, found[0].Title, r.Title)
		}
	}
	return found[0], nil
}

// ErrSeveral says that a name means several tests.
var ErrSeveral = errors.New("several tests are called so")

// testKey is how record.TestResult names a test for programs.
var testKey = regexp.MustCompile(`^[0-9a-f]{16}$`)

// lastPart is what a title surely holds of a name that people write.
func lastPart(name string) string {
	return name[strings.LastIndexAny(name, "./: ")+1:]
}
