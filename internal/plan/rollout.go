package plan

import "time"

// Rollout is the way of one service in one environment from the release that is
// there to another one: a list of moves. Every strategy is such a list, so all of
// them are printed, stored, resumed and taken back by the same engine.
type Rollout struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Strategy    string `json:"strategy"` // "canary"
	Driver      string `json:"driver"`   // "process"
	Instances   int    `json:"instances,omitempty"`
	Moves       []Move `json:"moves"`
}

// Move is one step of a rollout. It says how the world is to be when it is done
// ("25 % of the requests go to the new release"), so that doing it twice is
// harmless; the few kinds that cannot be repeated say so ([MoveKind.Once]).
type Move struct {
	Key  string   `json:"key"` // unique in the rollout: "shift-25"
	Kind MoveKind `json:"kind"`
	// Within is how long it may take, waiting for people excluded for a gate
	// whose Within is zero. No other move is without it.
	Within time.Duration `json:"within,omitempty"`

	Gate      *DeployGate   `json:"gate,omitempty"`      // of MoveGate
	Migration *Migration    `json:"migration,omitempty"` // of MoveMigrate
	Instances int           `json:"instances,omitempty"` // of the new release: MoveUp; of the old: MoveDown
	Percent   int           `json:"percent,omitempty"`   // of the requests that go to the new release: MoveShift
	Checks    []Check       `json:"checks,omitempty"`    // of MoveVerify; of MoveHold, what keeps holding meanwhile
	Analysis  *Analysis     `json:"analysis,omitempty"`  // of MoveAnalyze
	For       time.Duration `json:"for,omitempty"`       // of MoveHold and MoveRetire; zero holds until somebody promotes
}

// MoveKind says what a move brings about.
type MoveKind string

// The kinds of moves.
const (
	MoveReset   MoveKind = "reset"   // what a rollout left that was broken off is put back: all requests to the old release, the rest gone
	MoveGate    MoveKind = "gate"    // people, windows and the environment before it let it go on
	MovePropose MoveKind = "propose" // the driver says what it would change, and that is what will be applied
	MoveMigrate MoveKind = "migrate" // data are made ready for both releases, or freed of what only the old one needed
	MoveUp      MoveKind = "up"      // so many instances of the new release are there and ready, without requests
	MoveDown    MoveKind = "down"    // no more than so many instances of the old release are left
	MoveVerify  MoveKind = "verify"  // the new release passes checks
	MoveShift   MoveKind = "shift"   // that share of the requests goes to the new release
	MoveAnalyze MoveKind = "analyze" // the new release does no worse than the old one
	MoveHold    MoveKind = "hold"    // time passes, or a person says that it goes on
	MoveRetire  MoveKind = "retire"  // the old release is kept for a while as the way back, then goes
)

// Once reports whether a move of this kind must not simply be done again when it is
// not known what became of it.
func (k MoveKind) Once() bool { return k == MoveMigrate }

// DeployGate is what has to be so before a rollout goes on.
type DeployGate struct {
	Approvals int      `json:"approvals,omitempty"` // how many people
	Approvers []string `json:"approvers,omitempty"` // who counts; none: whoever may approve there
	NotAuthor bool     `json:"not_author,omitempty"`
	// Freezes are when nothing is deployed, or with Allow when alone something is.
	Freezes []Window      `json:"freezes,omitempty"`
	Wait    time.Duration `json:"wait,omitempty"`  // since the rollout began
	After   string        `json:"after,omitempty"` // the environment in which the release has to be whole before
	Soak    time.Duration `json:"soak,omitempty"`  // and for how long
}

// Window is a span of time that comes again.
type Window struct {
	Name   string        `json:"name,omitempty"` // "weekend"
	Cron   string        `json:"cron"`           // its beginning, in Zone
	For    time.Duration `json:"for"`
	Zone   string        `json:"zone,omitempty"` // "Europe/Berlin"; "" is UTC
	Allow  bool          `json:"allow,omitempty"`
	Source Source        `json:"-"` // no part of what a release is
}

// Migration is a command that changes data.
type Migration struct {
	Phase   string `json:"phase"`           // "expand" or "contract"
	Command string `json:"command"`         // run by sh
	Probe   string `json:"probe,omitempty"` // exits with 0 if the migration has been done
}

// Check is one question to the instances of a release. Exactly one of the kinds is
// set.
type Check struct {
	Name    string        `json:"name"`
	HTTP    *HTTPCheck    `json:"http,omitempty"`
	GRPC    *GRPCCheck    `json:"grpc,omitempty"`
	TCP     bool          `json:"tcp,omitempty"`
	Command string        `json:"command,omitempty"` // run by sh, with FAIRLEAD_ADDRESS
	Load    *LoadCheck    `json:"load,omitempty"`
	Within  time.Duration `json:"within,omitempty"` // until it first holds
	Source  Source        `json:"-"`                // no part of what a release is
}

// HTTPCheck asks for a page.
type HTTPCheck struct {
	Path   string            `json:"path"`
	Method string            `json:"method,omitempty"` // "" is GET
	Header map[string]string `json:"header,omitempty"`
	Status int               `json:"status,omitempty"` // 0: 200 to 399
	Body   string            `json:"body,omitempty"`   // a regular expression that the answer matches
}

// GRPCCheck asks grpc.health.v1.Health/Check.
type GRPCCheck struct {
	Service string `json:"service,omitempty"`
}

// LoadCheck sends requests for a while.
type LoadCheck struct {
	Path    string        `json:"path"`
	Rate    int           `json:"rate"` // a second
	For     time.Duration `json:"for"`
	Latency time.Duration `json:"latency,omitempty"` // 99 % are answered within; zero: not asked
	Errors  float64       `json:"errors,omitempty"`  // share of failed requests that is borne
}

// Analysis compares the new release with the old one while both serve.
type Analysis struct {
	For        time.Duration `json:"for"`                  // the longest that it looks
	Every      time.Duration `json:"every"`                // between two looks
	Alpha      float64       `json:"alpha"`                // share of false alarms that is borne, however often it looks
	Tolerance  float64       `json:"tolerance"`            // how many times the errors of the old release are no fault
	Least      int           `json:"least,omitempty"`      // requests of the new release before it passes
	Errors     float64       `json:"errors,omitempty"`     // share of failed requests that is borne when there is nothing to compare with
	Latency    time.Duration `json:"latency,omitempty"`    // 99th percentile that is borne then
	Prometheus string        `json:"prometheus,omitempty"` // address of the server that Queries are asked of
	Queries    []Query       `json:"queries,omitempty"`
}

// Query is a number that is asked of Prometheus. In its text {{release}}, {{revision}},
// {{service}} and {{environment}} stand for those of the side that is meant.
type Query struct {
	Name   string   `json:"name"`
	Errors string   `json:"errors,omitempty"` // counts of failed requests, with Total
	Total  string   `json:"total,omitempty"`
	Value  string   `json:"value,omitempty"` // a series: compared by rank
	Higher bool     `json:"higher_is_better,omitempty"`
	Max    *float64 `json:"max,omitempty"` // limits of Value
	Min    *float64 `json:"min,omitempty"`
	Source Source   `json:"-"` // no part of what a release is
}
