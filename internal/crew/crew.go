// Package crew is the machines that lend a server their hands.
//
// A server's [Hands] are what its engine gives whole jobs to; a [Worker] is
// one machine that does them, with the same engine. Between the two is
// [Master]: the few things a worker asks its server, always the worker, never
// the other way round, so that a worker may sit behind any wall.
//
//	engine ── Do ──► Hands: queue ── Poll ──► Worker ── Engine.Do ──► host
//	   ▲               ▲  └ lease ended: ◄┘     │
//	   └── Ended ◄─────┤    queue again         │ spool (disk)
//	                   └──────── Say ◄──────────┘ events, lines, the end
//
// A worker joins, and from then on polls: a poll says that it lives, which jobs
// it has and how many more it could take; the answer says which of them it
// keeps (their leases are renewed), which it is to stop, and gives it a job.
// What a job says (its events, the lines of its log, and at last its end) is a
// list of entries, numbered from 0, that the worker keeps on its disk until the
// server has them. Saying something again changes nothing.
//
// Each message about a job names the attempt: when the server has given a job
// up for lost and to somebody else, whatever is said of the attempt before is
// refused. The number of entries that are in the record is part of the same
// transaction as the events themselves. So each event is written once, none of
// an attempt that was given up, whoever dies when.
package crew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/engine"
)

// Protocol is the version of these words.
const Protocol = 1

// Ref names an attempt at a job.
type Ref struct {
	Run     string `json:"run"`
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
}

// id is the attempt's job: a register's ID.
func (r Ref) id() string { return r.Run + "/" + r.Job }

func (r Ref) String() string {
	return fmt.Sprintf("job %s of run %s (attempt %d)", r.Job, r.Run, r.Attempt)
}

// Joining is what a worker says of itself.
type Joining struct {
	Name     string   `json:"name"`
	Labels   []string `json:"labels,omitempty"` // patterns of the labels whose jobs it takes
	Places   int      `json:"places"`           // jobs at a time
	Version  string   `json:"version"`
	Protocol int      `json:"protocol"`
	// Finishing are attempts of an earlier process of which something is still to be
	// said.
	Finishing []Ref `json:"finishing,omitempty"`
}

// Joined is the answer.
type Joined struct {
	Session string `json:"session"` // names this process in what it says from now on
	// Lease is how long a job is the worker's after a poll. When two thirds of it are
	// over since it sent the last poll that was answered, a worker kills the job: when the
	// lease ends the server gives it to somebody else.
	Lease time.Duration `json:"lease"`
}

// Told is how much a worker knows of what is to become of a job.
type Told int

// What a worker may know.
const (
	GoOn   Told = iota
	StopIt      // it is cancelled: steps that want to run even then, do
	KillIt      // at once
	DropIt      // it is not this worker's any more
)

// Holding is a job that a worker has.
type Holding struct {
	Ref
	Told Told `json:"told,omitempty"`
}

// Polling is a sign of life.
type Polling struct {
	Session string    `json:"session"`
	N       int64     `json:"n"`     // counts up: of two polls under way only the newer one is answered
	State   string    `json:"state"` // as the worker knows it
	Holding []Holding `json:"holding,omitempty"`
	Free    int       `json:"free"` // jobs that it could take
	Now     time.Time `json:"now"`  // by its clock
}

// Polled is the answer to a poll.
type Polled struct {
	State   string  `json:"state"`             // what the worker is to be: see WorkerInfo
	Renewed []Ref   `json:"renewed,omitempty"` // from when the poll was sent
	Orders  []Word  `json:"orders,omitempty"`
	Errand  *Errand `json:"errand,omitempty"`
}

// Word is what is to become of a job.
type Word struct {
	Ref
	Told Told   `json:"told"`
	Why  string `json:"why,omitempty"`
}

// Errand is a job for a worker. It may hold secrets.
type Errand struct {
	Ref
	Assignment engine.Assignment `json:"assignment"`
	Lines      int64             `json:"lines"`  // that its log has
	Commit     string            `json:"commit"` // of the tree
	Origin     string            `json:"origin"` // names the repository, for copies of it
	// Artifacts are those of the run so far, Caches the newest of its repository:
	// the job's language knows which of them it may see.
	Artifacts []depot.Artifact `json:"artifacts,omitempty"`
	Caches    []depot.Cache    `json:"caches,omitempty"`
}

// Heard is how much of a job's entries the server has.
type Heard struct {
	Next int64 `json:"next"` // number of the first that it does not have
	Done bool  `json:"done,omitempty"`
}

// Master is a worker's way to its server. Its errors are those below, or
// of the way: then the same may be said again.
type Master interface {
	Join(ctx context.Context, j Joining) (Joined, error)
	Poll(ctx context.Context, p Polling) (Polled, error)
	// Say tells the entries from a number on.
	Say(ctx context.Context, session string, ref Ref, from int64, entries []byte) (Heard, error)
	// Missing are those of the digests whose bytes the server does not have.
	Missing(ctx context.Context, session string, ref Ref, digests []blob.Digest) ([]blob.Digest, error)
	Put(ctx context.Context, session string, ref Ref, d blob.Digest, r io.Reader) error
	// Blob are the bytes of an artifact of the job's run.
	Blob(ctx context.Context, session string, ref Ref, d blob.Digest) (io.ReadCloser, error)
	// Bundle is the errand's commit as a git bundle, without what those have who have
	// some commits.
	Bundle(ctx context.Context, session string, ref Ref, have []string) (io.ReadCloser, error)
	Leave(ctx context.Context, session string) error
}

// Why a worker is refused.
var (
	// ErrFenced says that the attempt is over: the job was given up for lost, or has
	// ended.
	ErrFenced = errors.New("the job is not this worker's any more")
	// ErrNotYours says that the job is another worker's.
	ErrNotYours = errors.New("the job is another worker's")
	// ErrNotYet says that the server has just begun, and will go on with the
	// job's run soon: it is to be said again.
	ErrNotYet = errors.New("the server does not go on with the job's run yet")
	// ErrSession says that the worker is not known, or works elsewhere by now: it has been
	// removed, or another process has joined by its name.
	ErrSession = errors.New("the worker is not known by this session")
	// ErrRefused says that the worker may not work at all: its token is of no use.
	ErrRefused = errors.New("the server refuses this worker")
	// ErrUnsound says that what a worker said cannot be read, or may not be said.
	ErrUnsound = errors.New("what the worker said is not sound")
)

const (
	maxEntry   = 16 << 20 // bytes of one entry
	MaxSaid    = 32 << 20 // of entries that are said at once
	maxCaches  = 200      // that a worker is told of
	maxHolding = 4096     // jobs of a worker
	maxLabels  = 100
	maxLabel   = 200 // bytes
)

var workerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
