package engine

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// ending finds the test runner whose exit code a command that failed ended with, and
// says nothing of one whose results do not matter. The error says, for people, why it is
// not certain that tests failed and nothing else did.
func (t *thread) ending(act *plan.Act, w *stepWork) (*suite.Ending, error) {
	c := act.Command
	o := w.result.Observation
	end, err := suite.EndOf(c.Script, func(name string) ([]byte, error) {
		if o == nil || o.Mechanism == "" {
			return nil, errors.New("nobody watched what ran")
		}
		return t.wrapper(c, o, name)
	})
	if err != nil {
		return nil, err
	}
	if end.Wrapped() && !end.Ran(o.Argv) {
		return nil, fmt.Errorf("%s was not seen to run", end.Program)
	}
	var tail []string
	if w.tail != nil {
		for _, l := range w.tail.lines() {
			tail = append(tail, l.Text)
		}
	}
	if !end.Failed(w.result.Exit, tail) {
		return nil, fmt.Errorf("exit code %d does not say that tests failed and nothing else did", w.result.Exit)
	}
	return end, nil
}

// maxWrapper is the size of the largest file of a wrapper around a test runner that is read.
const maxWrapper = 1 << 20

// wrapper reads a file that told a command what to run, as it was when it did.
func (t *thread) wrapper(c *plan.Command, o *record.Observation, name string) ([]byte, error) {
	dir := cmp.Or(c.Dir, t.base.Dirs.Workspace)
	if !within(dir, t.base.Dirs.Workspace) {
		return nil, errors.New("it ran outside the workspace")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, suite.ErrNoFile
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxWrapper+1))
	if err != nil {
		return nil, err
	}
	digest, full := sha256.Sum256(text), filepath.Join(dir, filepath.FromSlash(name))
	if !slices.ContainsFunc(o.Inputs, func(in record.Input) bool {
		return in.Path == full && in.Use == record.UseContent && in.Digest == digest
	}) {
		return nil, errors.New("it was not seen to be read as it is now")
	}
	return text, nil
}

// quarantined reports whether a step failed for nothing but tests in quarantine.
// Whatever is not certain is taken for no: its results were read whole, each failed
// test is in quarantine, and how the step ended is how the runner of its tests did.
func (t *thread) quarantined(s *plan.Step, act *plan.Act, w *stepWork) bool {
	if act.Command == nil || w.tests == nil || w.err != nil || w.cause != nil || w.fx.Fail != "" || w.fx.Lacking != "" ||
		w.result.Stopped || w.result.Signal != "" || w.result.Exit == 0 || !w.tests.quarantined(time.Now()) {
		return false
	}
	if _, err := t.ending(act, w); err != nil {
		t.say(s.Key, fmt.Sprintf("%s, and nothing that is not in quarantine; it counts, for it is not certain that nothing else failed: %v", w.tests.count(), err))
		return false
	}
	return true
}

// tested reports whether the step left results of tests, or of what they covered.
func (w *stepWork) tested() bool {
	return slices.ContainsFunc(w.said, func(b record.Body) bool {
		switch b.(type) {
		case *record.TestsReported, *record.CoverageReported:
			return true
		}
		return false
	})
}
