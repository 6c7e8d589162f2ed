package executor

import "context"

// Keeper keeps the services of a place up for a person's work: beyond the
// process that asked for them, until they are dropped. They are found again by
// the word that they were brought up under. Of those who bring up and
// drop services under one word, the callers see to it that they take turns.
type Keeper interface {
	// Keep brings up the services of the spec's place that are not up, and
	// returns when all of them are healthy. Those that are up stay as they are,
	// also those that the place says otherwise now: see [Kept.Outdated]. The
	// ports that a service's image or its place names are published on the
	// loopback address of this machine and nowhere else.
	Keep(ctx context.Context, word string, spec Spec) ([]Kept, error)
	// Kept are the services under a word, in order of their names. The error is
	// an [EngineError] when nobody can be asked.
	Kept(ctx context.Context, word string) ([]Kept, error)
	// Drop removes the services under a word, with all that is in them. None is
	// no error; an [EngineError] says that nobody can be asked.
	Drop(ctx context.Context, word string) error
}

// Kept is a service that is kept up.
type Kept struct {
	Name  string            `json:"name"`
	Image string            `json:"image"`
	State string            `json:"state"` // "healthy", "running", "starting", "unhealthy" or "stopped"
	Ports map[string]string `json:"ports"` // of this machine, by those inside: "5432", "53/udp"
	// Outdated says that it was brought up as something else than what the
	// place says now.
	Outdated bool `json:"outdated,omitempty"`
}

// EngineError says that no container engine answers, and where it was looked for.
type EngineError struct{ Err error }

func (e *EngineError) Error() string { return e.Err.Error() }
func (e *EngineError) Unwrap() error { return e.Err }
