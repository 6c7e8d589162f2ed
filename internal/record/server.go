package record

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Trust is how far those who made a change are trusted. It is found by the
// server from who sent what to which branch, never from what a payload says of
// itself.
type Trust string

// The levels, from the least.
const (
	Untrusted   Trust = "untrusted"   // a change from a fork: no secrets, a reuse scope that nobody trusted reads
	Contributor Trust = "contributor" // a branch of the repository itself
	Protected   Trust = "protected"   // a branch or tag that only some may write
)

// Origin says where a server's run comes from. Runs of the command line have
// none.
type Origin struct {
	Repository string `json:"repository"`        // its name on the server
	Request    int64  `json:"request,omitempty"` // Seq of the HookReceived or RunRequested
	Trust      Trust  `json:"trust"`
	Change     string `json:"change,omitempty"` // number of the pull or merge request
	Title      string `json:"title,omitempty"`  // of the change, or the commit's subject
	Priority   int    `json:"priority,omitempty"`
	// Approval says that a maintainer has to approve the run before it starts.
	Approval bool `json:"approval,omitempty"`
	// Pushed says that it ran on a developer's machine, whose word it is.
	Pushed bool `json:"pushed,omitempty"`
	// Key is the same for runs of which a newer one supersedes an older: the
	// pipeline and the branch or change. "" for none.
	Key string `json:"key,omitempty"`
}

// Again says how a run goes on from the one it repeats.
type Again struct {
	Failed bool   `json:"failed,omitempty"` // only jobs that did not succeed
	From   string `json:"from,omitempty"`   // "JOB" or "JOB/STEP"
	// Play are jobs that waited for a person to ask for them; what succeeded
	// is kept.
	Play []string `json:"play,omitempty"`
}

// HookReceived says that a code host told of something. It is appended before
// the host gets its answer.
type HookReceived struct {
	Repository string            `json:"repository"` // its name on the server
	Forge      string            `json:"forge"`
	Delivery   string            `json:"delivery"`         // unique, the host's or a digest of the body
	Header     map[string]string `json:"header,omitempty"` // what the forge needs to read the body; no signatures
	Body       []byte            `json:"body"`             // as it came
	From       string            `json:"from,omitempty"`   // address of the sender
}

// RunRequested says that somebody, or a clock, wants something run.
type RunRequested struct {
	Repository string       `json:"repository"`
	By         string       `json:"by"`
	Cause      string       `json:"cause"` // "manual", "schedule", "poll", "dispatch", "workflow_run", "pipeline"
	Workflow   string       `json:"workflow,omitempty"`
	Change     *plan.Change `json:"change"`
	Priority   int          `json:"priority,omitempty"`
}

// RequestSettled says what came of a HookReceived or a RunRequested.
type RequestSettled struct {
	Request  int64          `json:"request"` // its Seq
	Runs     []string       `json:"runs,omitempty"`
	Why      string         `json:"why,omitempty"` // there are none: "no workflow is started by a push to docs"
	Fault    bool           `json:"fault,omitempty"`
	Problems []plan.Problem `json:"problems,omitempty"`
}

// RunApproved says that a run may start.
type RunApproved struct {
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
}

// Environment is where jobs of a repository deploy to, and what protects it: a register of
// the server's.
type Environment struct {
	Repository string `json:"repository"` // its name on the server
	Name       string `json:"name"`
	// Approvals is how many people have to approve a deployment, Approvers who may: names
	// of accounts; none: whoever may approve runs there.
	Approvals int      `json:"approvals,omitempty"`
	Approvers []string `json:"approvers,omitempty"`
	// NotAuthor says that who made the change, or asked for the run, does not count.
	NotAuthor bool `json:"not_author,omitempty"`
	// Branches are patterns of the branches and tags that may be deployed; none: all.
	Branches []string `json:"branches,omitempty"`
	// Wait is how many seconds every deployment waits.
	Wait int `json:"wait,omitempty"`
}

// EnvironmentAsked says that a run wants to deploy to an environment that is protected,
// and when it may at the earliest. It is asked once a run, however many jobs deploy.
type EnvironmentAsked struct {
	Environment string    `json:"environment"`
	Approvals   int       `json:"approvals,omitempty"` // that it takes
	Until       time.Time `json:"until,omitzero"`
}

// EnvironmentApproved says that somebody lets a run deploy to an environment.
type EnvironmentApproved struct {
	Environment string `json:"environment"`
	By          string `json:"by"`
	Why         string `json:"why,omitempty"`
}

// Acted is an act of a person or a token, for the audit trail.
type Acted struct {
	By     string            `json:"by"`
	Via    string            `json:"via"`            // "session", "token deploy", "command line", "hook"
	From   string            `json:"from,omitempty"` // address
	Verb   string            `json:"verb"`           // an access.Verb
	Object string            `json:"object,omitempty"`
	Denied string            `json:"denied,omitempty"` // why it was not allowed
	Detail map[string]string `json:"detail,omitempty"` // never a secret
}

// EffectPlanned says that something is about to be done outside: a commit status, a
// comment, a message. Keys are unique; whoever finds one planned and not done
// finds out what became of it before doing it again.
type EffectPlanned struct {
	Key    string          `json:"key"`
	What   string          `json:"what"`   // "status", "comment", "message"
	Target string          `json:"target"` // for people: "github team/app 4711abc"
	Body   json.RawMessage `json:"body"`   // what its doer needs
}

// EffectDone ends an effect.
type EffectDone struct {
	Key     string `json:"key"`
	Ref     string `json:"ref,omitempty"`   // what the other side calls it
	Error   string `json:"error,omitempty"` // it was given up
	Unknown bool   `json:"unknown,omitempty"`
	Tries   int    `json:"tries"`
}

// WorkerSeen says that a worker came, changed, or is no more.
type WorkerSeen struct {
	Worker  string `json:"worker"`
	State   string `json:"state"` // "joined", "draining", "paused", "left", "lost"
	Version string `json:"version,omitempty"`
}

func (*HookReceived) kind() Kind   { return "hook.received" }
func (*RunRequested) kind() Kind   { return "run.requested" }
func (*RequestSettled) kind() Kind { return "request.settled" }
func (*RunApproved) kind() Kind    { return "run.approved" }
func (*Acted) kind() Kind          { return "acted" }

func (*EnvironmentAsked) kind() Kind    { return "environment.asked" }
func (*EnvironmentApproved) kind() Kind { return "environment.approved" }

func (*EffectPlanned) kind() Kind { return "effect.planned" }
func (*EffectDone) kind() Kind    { return "effect.done" }
func (*WorkerSeen) kind() Kind    { return "worker.seen" }

// Register is a small document that holds now, beside the events that tell how
// it came to: an account, a repository, a token's digest. The record says what
// happened; a register saves asking it.
type Register struct {
	Kind string // "account"
	ID   string
	// Version counts its changes from 1. In a change it is the version that
	// was read: 0 when there must not be one yet.
	Version int64
	Body    json.RawMessage // nil in a change: remove it
	Changed time.Time       // UTC
	Expires time.Time       // from then on it is as if it were not there; zero: never
}

// ErrConflict says that a register is not of the version that was to be changed:
// somebody was faster. Read it again.
var ErrConflict = errors.New("it was changed meanwhile")
