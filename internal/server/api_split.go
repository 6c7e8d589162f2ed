package server

import (
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// Sharing is what sharing tests out takes.
type Sharing struct {
	Registers testrun.Registers
	Ledger    suite.Ledger
}

// maxSplitBody is the size of the largest list of tests.
const maxSplitBody = 32 << 20

// TimesView is how long the tests of a repository take.
type TimesView struct {
	Tests []TestTime `json:"tests"`
}

// TestTime is how long a test is expected to take.
type TestTime struct {
	Key     string  `json:"key"`
	Title   string  `json:"title"`
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Seconds float64 `json:"seconds"`
	Failed  bool    `json:"failed,omitempty"` // when it last ran or lately, and is not in quarantine
	Chance  float64 `json:"chance,omitempty"` // that it fails, and that counts
}

// SplitOpened says that there is a queue.
type SplitOpened struct {
	Made bool `json:"made"` // there was none before
}

// SplitAsk asks for a shard's next batch.
type SplitAsk struct {
	Name  string `json:"name"` // of the queue
	Shard string `json:"shard"`
	// Patience is after how many seconds without a word others are lost.
	Patience float64 `json:"patience,omitempty"`
}

// SplitDone says that a batch is over.
type SplitDone struct {
	Name string `json:"name"`
	testrun.Report
}

// SplitCounted says whether it counted: a batch of a shard that was believed lost does not.
type SplitCounted struct {
	Counted bool `json:"counted"`
}

func (s *Server) splitRoutes() []route {
	return []route{
		{Method: "GET", Path: "/split/{repository...}", Verb: access.SeeRuns, Object: namedRepository, Template: "split", Do: view(s.pageSplit),
			Says:  "How tests were shared out: the plan beside what happened.",
			Query: []param{{Name: "queue", Says: "of this queue, and not the newest"}}},
		{Method: "GET", Path: "/times/{repository...}", Verb: access.SeeRuns, Object: namedRepository, Do: view(s.times), Says: "How long the tests of a repository take."},
		{Method: "POST", Path: "/split-open/{repository...}", Verb: access.PushRun, Object: namedRepository, MaxBody: maxSplitBody, Do: act(s.openSplit), Says: "Make a queue of tests, unless there is one of that name."},
		{Method: "POST", Path: "/split-next/{repository...}", Verb: access.PushRun, Object: namedRepository, Do: act(s.nextSplit), Says: "Take the next batch from a queue."},
		{Method: "POST", Path: "/split-alive/{repository...}", Verb: access.PushRun, Object: namedRepository, Do: act(s.aliveSplit), Status: http.StatusNoContent, Says: "Say that a shard still works at its batch."},
		{Method: "POST", Path: "/split-done/{repository...}", Verb: access.PushRun, Object: namedRepository, MaxBody: maxSplitBody, Do: act(s.doneSplit), Says: "Say that a batch is over."},
	}
}

// namedRepository is the repository that an address names.
func namedRepository(r *request) (access.Object, error) {
	return access.Object{Repository: r.PathValue("repository")}, nil
}

func (s *Server) splits() (*testrun.Splits, error) {
	if s.Sharing == nil {
		return nil, lacking("place for queues of tests")
	}
	return &testrun.Splits{Shelf: testrun.InRecord(s.Sharing.Registers, s.Now), Now: s.Now}, nil
}

// splitError is what an error of a queue is to a client.
func splitError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing("queue")
	case errors.Is(err, testrun.ErrOtherTests):
		return problem(http.StatusConflict, "other_tests", "give each build a queue of its own: --queue with the number of the build", "%v", err)
	case errors.Is(err, testrun.ErrBadSplit):
		return problem(http.StatusUnprocessableEntity, "unusable", "", "%v", err)
	}
	return err
}

func (s *Server) times(r *request) (TimesView, error) {
	v := TimesView{Tests: []TestTime{}}
	if s.Sharing == nil {
		return v, lacking("record of tests")
	}
	rows, err := testrun.Rows(r.Context(), s.Sharing.Ledger, r.PathValue("repository"))
	for i := range rows {
		t := &rows[i]
		v.Tests = append(v.Tests, TestTime{t.Key, t.Title, t.File, t.Line, t.Seconds, t.Early, t.Chance})
	}
	return v, err
}

func (s *Server) openSplit(r *request, in *testrun.Opening) (o SplitOpened, err error) {
	splits, err := s.splits()
	if err != nil {
		return o, err
	}
	in.Repository = r.PathValue("repository")
	if s.Desk != nil {
		if _, err := s.Desk.Repository(r.Context(), in.Repository); err != nil {
			return o, err
		}
	}
	o.Made, err = splits.Open(r.Context(), *in)
	return o, splitError(err)
}

func (s *Server) nextSplit(r *request, in *SplitAsk) (testrun.Turn, error) {
	splits, err := s.splits()
	if err != nil {
		return testrun.Turn{}, err
	}
	patience := time.Duration(clamp(in.Patience, 0, 24*3600) * float64(time.Second))
	turn, err := splits.Next(r.Context(), r.PathValue("repository"), in.Name, in.Shard, patience)
	return turn, splitError(err)
}

func (s *Server) aliveSplit(r *request, in *SplitAsk) (nothing, error) {
	splits, err := s.splits()
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, splitError(splits.Alive(r.Context(), r.PathValue("repository"), in.Name, in.Shard))
}

func (s *Server) doneSplit(r *request, in *SplitDone) (c SplitCounted, err error) {
	splits, err := s.splits()
	if err != nil {
		return c, err
	}
	c.Counted, err = splits.Done(r.Context(), r.PathValue("repository"), in.Name, in.Report)
	return c, splitError(err)
}
