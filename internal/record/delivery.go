package record

import (
	"encoding/json"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Release is what is deployed, whole and unchangeable: bytes, configuration of every
// environment, state of the flags, migrations, and how it is to run. To go back to
// a release brings all of that back. A register of kind "release" by ID.
type Release struct {
	ID         string `json:"id"` // "sha256:…" over all fields but Version, Made, By and the ones that say where it comes from
	Repository string `json:"repository"`
	Service    string `json:"service"`
	Version    string `json:"version"` // for people; "" is the first 12 digits of the commit
	Artifact   Packed `json:"artifact"`
	// Config is by environment.
	Config     map[string]ReleaseConfig `json:"config,omitempty"`
	Flags      string                   `json:"flags,omitempty"` // digest of the flags' state; "" if it has none
	Migrations []plan.Migration         `json:"migrations,omitempty"`
	// Spec is the service as fairlead.yaml says it, a project.Service.
	Spec json.RawMessage `json:"spec"`

	Commit string `json:"commit,omitempty"`
	Ref    string `json:"ref,omitempty"`
	Author string `json:"author,omitempty"` // of the commit
	// Height is how many commits led to Commit, of merges only what was merged into: the
	// difference of two is how far one is behind. 0: not known.
	Height int       `json:"height,omitempty"`
	Run    string    `json:"run,omitempty"` // that made the artifact
	Made   time.Time `json:"made"`
	By     string    `json:"by"`
}

// ReleaseConfig is a release's configuration in one environment.
type ReleaseConfig struct {
	Variables map[string]string `json:"variables,omitempty"`
	Secrets   map[string]string `json:"secrets,omitempty"` // variable -> name of a secret; never its value
}

// Packed is the artifact of a release.
type Packed struct {
	Kind   string `json:"kind"`             // "file", "tree" (a tar), "image", or "none": the driver's own files are all
	Name   string `json:"name,omitempty"`   // "shop.tar", "registry.example/shop"
	Digest string `json:"digest,omitempty"` // "sha256:…", of a blob or an image
	Size   int64  `json:"size,omitempty"`   // bytes
}

// Rollout is the one row that a rollout is: a register of kind "rollout" by ID. It
// changes only in one transaction with the event that tells of the change.
type Rollout struct {
	ID          string       `json:"id"`
	Repository  string       `json:"repository"`
	Service     string       `json:"service"`
	Environment string       `json:"environment"`
	Number      int          `json:"number"`                // counts the rollouts of the service there; names its revision
	From        string       `json:"from,omitempty"`        // release that was there when it began; "" for none
	FromNumber  int          `json:"from_number,omitempty"` // revision of From
	To          string       `json:"to"`
	Version     string       `json:"version"` // of To
	Plan        plan.Rollout `json:"plan"`
	By          string       `json:"by"`
	Why         string       `json:"why,omitempty"`
	Emergency   string       `json:"emergency,omitempty"` // why gates were passed over; "" if they were not
	Commits     []Commit     `json:"commits,omitempty"`   // what To has and From has not, newest first

	State   RolloutState `json:"state"`
	Step    int          `json:"step"`             // index of the move under way; len(Plan.Moves) when all are done
	Back    bool         `json:"back,omitempty"`   // it is being taken back
	Target  int          `json:"target,omitempty"` // number of the revision that Back aims at; 0: none
	Reason  string       `json:"reason,omitempty"` // why it goes back, waits, or ended so
	Fence   int64        `json:"fence"`            // rises with each process that takes it on
	Begun   time.Time    `json:"begun"`
	Entered time.Time    `json:"entered"`      // when Step, Back or State last changed
	Moved   time.Time    `json:"moved"`        // when the move under way was begun, pauses left out: what its times count from
	Due     time.Time    `json:"due,omitzero"` // when the move under way is late
	Ended   time.Time    `json:"ended,omitzero"`
	// Intents are the acts that cannot be repeated, by the key of their move.
	Intents   map[string]Intent   `json:"intents,omitempty"`
	Approvals []Approval          `json:"approvals,omitempty"`
	Paused    string              `json:"paused,omitempty"`   // who
	Promoted  string              `json:"promoted,omitempty"` // key of the hold that somebody ended
	Proposal  *Proposal           `json:"proposal,omitempty"`
	Evidence  map[string]Evidence `json:"evidence,omitempty"` // by key of move
	// Judged is what the analysis under way has seen so far, in the judge's own words.
	Judged json.RawMessage `json:"judged,omitempty"`
	// Served says that some requests have gone to To.
	Served bool `json:"served,omitempty"`
	// Group are the rollouts that were begun together, in their order, this one among them:
	// one after the other goes out, and when one is taken back so are those before it.
	Group []string `json:"group,omitempty"`
	// Asked is what nobody knows but a person, while State is RolloutAttention: the key of an intent,
	// or "" if it is only to be tried again or left.
	Asked string `json:"asked,omitempty"`
}

// RolloutState is how a rollout stands.
type RolloutState string

// The states of a rollout. Those from RolloutDone on are ends.
const (
	RolloutRunning   RolloutState = "running"
	RolloutWaiting   RolloutState = "waiting" // for people, a window, or time
	RolloutPaused    RolloutState = "paused"
	RolloutAttention RolloutState = "needs-attention" // it is not known what became of an act; a person has to say

	RolloutDone       RolloutState = "done"
	RolloutRolledBack RolloutState = "rolled-back"
	RolloutAborted    RolloutState = "aborted"    // before anything was changed
	RolloutSuperseded RolloutState = "superseded" // by a newer one, which goes on from what it left
	RolloutFailed     RolloutState = "failed"     // it could not be brought to an end: nothing healthy to go back to
)

// Ended reports whether the state is an end.
func (s RolloutState) Ended() bool {
	switch s {
	case RolloutRunning, RolloutWaiting, RolloutPaused, RolloutAttention:
		return false
	}
	return true
}

// Intent is an act that cannot be repeated: it is written down before it is begun.
type Intent struct {
	Begun time.Time `json:"begun"`
	Done  time.Time `json:"done,omitzero"`
	Error string    `json:"error,omitempty"`
}

// Approval is somebody's word that a rollout may go on.
type Approval struct {
	By   string    `json:"by"`
	Why  string    `json:"why,omitempty"`
	Time time.Time `json:"time"`
}

// Proposal is what a driver would change.
type Proposal struct {
	Digest  string   `json:"digest"`            // of exactly what will be applied
	Summary string   `json:"summary"`           // "2 to add, 1 to change, 0 to destroy"
	Changes []string `json:"changes,omitempty"` // a line each
	Ref     string   `json:"ref,omitempty"`     // where the driver keeps it
}

// Evidence is what a move found.
type Evidence struct {
	OK    bool      `json:"ok"`
	Text  string    `json:"text"` // for people
	Facts []Fact    `json:"facts,omitempty"`
	Time  time.Time `json:"time"`
}

// Fact is one thing that was measured.
type Fact struct {
	Name    string  `json:"name"`
	New     float64 `json:"new"`
	Old     float64 `json:"old,omitempty"`
	Limit   float64 `json:"limit,omitempty"`
	Unit    string  `json:"unit,omitempty"` // "share", "ms", "requests"
	Verdict string  `json:"verdict"`        // "ok", "worse", "unknown"
}

// Commit is a commit that a deployment brings.
type Commit struct {
	SHA     string    `json:"sha"`
	Time    time.Time `json:"time"`
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
}

// Track is a service in an environment as it holds now: a register of kind "track" by
// repository, environment and service.
type Track struct {
	Repository  string    `json:"repository"`
	Service     string    `json:"service"`
	Environment string    `json:"environment"`
	Number      int       `json:"number"`             // of the newest rollout
	Fence       int64     `json:"fence,omitempty"`    // the highest that was given to anybody who acts there
	Rollout     string    `json:"rollout,omitempty"`  // the one under way; "" for none
	Release     string    `json:"release,omitempty"`  // that serves; "" for none
	Run         string    `json:"run,omitempty"`      // whose job deployed it, when a pipeline did that by itself: then there is no release
	Revision    int       `json:"revision,omitempty"` // number of the rollout that brought it
	Version     string    `json:"version,omitempty"`
	Commit      string    `json:"commit,omitempty"`
	Height      int       `json:"height,omitempty"` // of Commit, see [Release]
	Since       time.Time `json:"since,omitzero"`
	Order       int       `json:"order,omitempty"` // of the environment on a release's way, from 1
	Driver      string    `json:"driver,omitempty"`
	Team        string    `json:"team,omitempty"`
	// Rejected are releases that were taken back here; nothing deploys them until
	// somebody lifts that.
	Rejected map[string]Rejection `json:"rejected,omitempty"`
	Health   *Health              `json:"health,omitempty"`
	Drift    *Drifted             `json:"drift,omitempty"`
	// Expires is when a preview goes.
	Expires time.Time `json:"expires,omitzero"`
	URL     string    `json:"url,omitempty"`
}

// Rejection is why a release is not deployed to an environment again.
type Rejection struct {
	Why     string    `json:"why"`
	Rollout string    `json:"rollout"`
	Time    time.Time `json:"time"`
}

// Health is how the instances of a service were last seen.
type Health struct {
	Ready, Want int
	Why         string `json:",omitempty"`
	Time        time.Time
}

// Drifted is what was found to differ from what was deployed.
type Drifted struct {
	Time        time.Time    `json:"time"`
	Differences []Difference `json:"differences,omitempty"` // none: nothing differs
	Error       string       `json:"error,omitempty"`       // it could not be looked at
}

// Difference is one thing that is not as it was declared.
type Difference struct {
	Resource string    `json:"resource"`
	Field    string    `json:"field,omitempty"` // "" for the resource as a whole
	Want     string    `json:"want"`            // "" for nothing: it is not declared
	Have     string    `json:"have"`            // "" for nothing: it is gone
	Author   string    `json:"author,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// ReleaseMade says that there is a release.
type ReleaseMade struct {
	Release Release `json:"release"`
}

// RolloutMoved says that a rollout began, went on, waits, turned back, or ended: it
// has the row as it is from then on, without what never changes.
type RolloutMoved struct {
	Rollout     string       `json:"rollout"` // ID
	Repository  string       `json:"repository"`
	Service     string       `json:"service"`
	Environment string       `json:"environment"`
	Number      int          `json:"number"`
	Release     string       `json:"release"`
	Version     string       `json:"version,omitempty"`
	From        string       `json:"from,omitempty"`    // release
	Commits     []Commit     `json:"commits,omitempty"` // of the first event
	Begun       time.Time    `json:"begun"`
	State       RolloutState `json:"state"`
	Step        int          `json:"step"`
	Move        string       `json:"move,omitempty"` // key of the move that Step names
	Back        bool         `json:"back,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	Evidence    *Evidence    `json:"evidence,omitempty"` // of the move before
	By          string       `json:"by,omitempty"`       // the person who brought it about
	Emergency   string       `json:"emergency,omitempty"`
}

// ReleaseRejected says that a release is not deployed to an environment again, or with
// Lifted that it may be.
type ReleaseRejected struct {
	Repository  string `json:"repository"`
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Release     string `json:"release"`
	Why         string `json:"why"`
	Lifted      bool   `json:"lifted,omitempty"`
	By          string `json:"by,omitempty"`
}

// DriftFound says that something is not as it was deployed, or with no differences
// that it is so again.
type DriftFound struct {
	Repository  string       `json:"repository"`
	Service     string       `json:"service"`
	Environment string       `json:"environment"`
	Differences []Difference `json:"differences,omitempty"`
}

// Incident is a trouble in an environment: a register of kind "incident" by ID.
type Incident struct {
	ID          string    `json:"id"`
	Repository  string    `json:"repository"`
	Title       string    `json:"title"`
	Severity    string    `json:"severity"` // "critical", "major", "minor"
	Service     string    `json:"service,omitempty"`
	Environment string    `json:"environment,omitempty"`
	Rollout     string    `json:"rollout,omitempty"` // the deployment that caused it
	Run         string    `json:"run,omitempty"`     // or the run that deployed
	Runbook     string    `json:"runbook,omitempty"` // a link, or the path of a file
	Opened      time.Time `json:"opened"`
	OpenedBy    string    `json:"opened_by"`      // a person, "rollback", or "alert NAME"
	Began       time.Time `json:"began,omitzero"` // when the trouble itself did, if that is known to be earlier
	Resolved    time.Time `json:"resolved,omitzero"`
	ResolvedBy  string    `json:"resolved_by,omitempty"`
}

// IncidentChanged says that an incident was opened, noted on, or resolved.
type IncidentChanged struct {
	Incident Incident `json:"incident"` // as it is from then on
	What     string   `json:"what"`     // "opened", "noted", "linked", "resolved"
	Text     string   `json:"text,omitempty"`
	By       string   `json:"by"`
}

func (*ReleaseMade) kind() Kind     { return "release.made" }
func (*RolloutMoved) kind() Kind    { return "rollout.moved" }
func (*ReleaseRejected) kind() Kind { return "release.rejected" }
func (*DriftFound) kind() Kind      { return "drift.found" }
func (*IncidentChanged) kind() Kind { return "incident.changed" }
