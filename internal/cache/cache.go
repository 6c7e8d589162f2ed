// Package cache answers one question: have we done this before?
//
// It knows a step by two levels. The first is what the step means: its
// script, shell, environment, directories, the kind of machine. That is a
// [Key]. Under a key lie the newest few [Record]s: what the step read, looked
// for and listed when it ran, and what came of it. The second level compares:
// if every path of a record's inputs holds now what it held then, the step
// would do the same again, and its outputs, its log and all that it said are
// taken from the record.
//
//	Meaning ──digest──► Key ──► records, newest first ──compare with View──► hit
//	                                                        │
//	                                                        └─► [record.Miss]: what has changed
//
// What paths hold now is asked of a [View]. Before a job has a workspace, the
// view is a paper one: the user's tree as the job would see it, and over it
// what the steps reused so far would have written. So a job of which nothing
// has changed ends without its workspace ever being made.
//
// Stat makes it fast and content decides: digests are remembered with the
// stat of their file ([Facts]), and taken only if that is the same and old
// enough to be trusted.
//
// Nothing here is relied on: a record that is damaged, a blob that was
// evicted, a disk that is full are misses with a reason. Each record says who
// wrote it and in which scope; a look-up reads only the scopes it may.
package cache

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Key is the digest of what a step means: 64 hexadecimal digits.
type Key string

// Meaning is what a step means, whoever runs it and whenever.
type Meaning struct {
	Argv  []string
	Path  []string          // in front of the machine's PATH
	Files []plan.File       // its script
	Env   map[string]string // without volatile variables, without those that hold a secret
	Dir   string
	// Dirs are part of the meaning, because outputs may hold them.
	Dirs plan.Dirs
	// Class is the kind of machine, Machine the environment that every step
	// has there.
	Class   string
	Machine []string
	// Rules is what was declared for the step.
	Rules   Rule
	Version string // Fairlead's own
}

// Scope says for whom a record counts: "local", "change/17", "branch/x",
// "default".
type Scope string

// Scopes are where a run writes its records, and where it reads: in order,
// its own first.
type Scopes struct {
	Write Scope
	Read  []Scope
}

// Local is the scope of runs on a developer's own machine.
var Local = Scopes{Write: "local", Read: []Scope{"local", "default"}}

// Writer says who wrote a record.
type Writer struct {
	record.StepRef
	Name       string    `json:"name"`     // of the step
	JobName    string    `json:"job_name"` // of its job
	Repository string    `json:"repository"`
	Root       string    `json:"root"` // the user's tree
	Pipeline   string    `json:"pipeline"`
	Scope      Scope     `json:"scope"`
	Time       time.Time `json:"time"`
}

// Report is something that was read in what the step left: results of tests,
// coverage, findings.
type Report struct {
	Kind record.Kind
	Body []byte // of the event that tells of it, as JSON
}

// Record is one time that a step ran: what it was given and what came of it.
type Record struct {
	Key     Key
	Writer  Writer
	Dirs    plan.Dirs
	Inputs  []record.Input  // sorted by Path, then Use
	Outputs []record.Output // sorted by Path; Digest names the blob of a file's bytes or a link's target
	Vars    []Var           // volatile variables that it used, sorted by name

	Effects plan.Effects // never holds a secret
	Reports []Report
	Log     blob.Digest // the lines it printed, masked, each with LF; "" for none
	Lines   int64

	Took      time.Duration // when it ran
	Mechanism string
	Programs  []string
	Peers     []string
	Calls     int64
	Overhead  time.Duration
	// MaxAge ends the record's life, when the project's declaration does; 0
	// for none.
	MaxAge time.Duration
}

// Var is a volatile variable that a step used, and the digest of its value: an
// HMAC with a key of this cache's when it is a secret.
type Var struct {
	Name   string
	Secret bool
	Digest [32]byte
	Where  string // why it counts: "named in build.sh", "its value is in dist/app.js"
}
