// Package access says who may do what, and keeps the proof of what was done.
//
// A [Principal] is who asks: a person with a session, a token, a worker, or
// nobody. A [Verb] is what is asked for, an [Object] what it is done to. [Decide]
// is the one place where the answer is found, from one table ([Verbs]), and it is
// a pure function: a test walks every route of the server and every verb with
// every role. What is not in the table may nobody do.
//
// [Gate] keeps accounts, sessions and tokens as registers, none of them in a form
// that could be used by who reads the database: passwords are argon2id hashes,
// sessions and tokens SHA-256 digests of random values. Every change is written
// together with the event that tells of it ([record.Acted]).
//
// [Trail] is the audit trail: the digests of those events as leaves of a Merkle
// tree (RFC 6962), with signed checkpoints, so that whoever has kept a
// checkpoint can prove that nothing before it was removed or altered.
package access

import (
	"context"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Role is what somebody is in a repository, or everywhere. Each includes the
// ones before it.
type Role string

// The roles.
const (
	None       Role = ""
	Viewer     Role = "viewer"     // sees runs, logs, artifacts
	Developer  Role = "developer"  // starts, cancels, repeats runs
	Maintainer Role = "maintainer" // approves, sets secrets and repositories' settings
	Admin      Role = "admin"      // accounts, workers, repositories, audit
)

// Verb is what somebody wants to do.
type Verb string

// The verbs.
const (
	SeeRuns       Verb = "runs.see" // runs, logs, artifacts, why
	StartRun      Verb = "runs.start"
	CancelRun     Verb = "runs.cancel"
	RepeatRun     Verb = "runs.repeat"
	PushRun       Verb = "runs.push" // a run of one's own machine
	ApproveRun    Verb = "runs.approve"
	SeeQueue      Verb = "queue.see"
	SeeWorkers    Verb = "workers.see"
	SetWorkers    Verb = "workers.set" // pause, drain, remove
	Work          Verb = "workers.work"
	SeeRepos      Verb = "repositories.see"
	SetRepo       Verb = "repositories.set"
	AddRepo       Verb = "repositories.add"
	SeeSecrets    Verb = "secrets.see" // names only; values nobody sees
	SetSecrets    Verb = "secrets.set"
	SeeAccounts   Verb = "accounts.see"
	SetAccounts   Verb = "accounts.set"
	OwnTokens     Verb = "tokens.own" // see, make and revoke one's own
	SeeAudit      Verb = "audit.see"
	SeeSettings   Verb = "settings.see"
	SetSettings   Verb = "settings.set"
	SetRoutes     Verb = "routes.set"
	DistrustCache Verb = "cache.distrust"
	SetIssues     Verb = "known-issue.set"
	MuteTests     Verb = "tests.quarantine" // and release
	EvaluateFlags Verb = "flags.evaluate"   // all that a program's token needs
	SeeFlags      Verb = "flags.see"
	KillFlag      Verb = "flags.kill"
	SetFlags      Verb = "flags.set"
	SetIncidents  Verb = "incidents.set"       // open, note, link, resolve; what an alert's token needs
	MoveDeploy    Verb = "deployments.move"    // begin, pause, go on, abort, roll back
	ApproveDeploy Verb = "deployments.approve" // let a gate go on, pass it over, lift a rejection
)

// The verbs of acts that need no right: they are not in [Verbs], only in the
// audit trail.
const (
	BeginSession Verb = "session.begin"
	EndSession   Verb = "session.end"
)

// Object is what something is done to. Zero fields mean the whole server.
type Object struct {
	Repository  string
	Environment string
}

// Grant is a role where it holds. Repository is a name, or a pattern in which
// * stands for any text; "" is everywhere. Environment likewise.
type Grant struct {
	Repository  string `json:"repository,omitempty"`
	Environment string `json:"environment,omitempty"`
	Role        Role   `json:"role"`
}

// The kinds of a [Principal]. The zero kind is nobody.
const (
	Person    = "person"
	TokenUser = "token"
	Worker    = "worker"
)

// Principal is who asks.
type Principal struct {
	Name   string // "ada"; "" for nobody
	Kind   string // [Person], [TokenUser], [Worker]; "" for nobody
	Via    string // "session", "token deploy", "command line"
	From   string // address
	Grants []Grant
	// Verbs, when not nil, are all that a token may be used for, within what
	// its owner may do.
	Verbs []Verb
	// Within, when not nil, narrows a token: its roles are at most these.
	Within []Grant
	// Session is the ID of the session's register, Token that of the token's;
	// "" for none. Only the Gate sets them, from what it has checked.
	Session string
	Token   string
}

// Registers is where accounts, sessions and tokens are kept; package store says
// what its methods promise.
type Registers interface {
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

// Decision is the answer to whether somebody may do something.
type Decision struct {
	Allowed bool
	Why     string // for people: "needs role maintainer in team/app; ada is developer there"
}
