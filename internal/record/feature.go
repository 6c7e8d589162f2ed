package record

import "encoding/json"

// FlagChanged says that a feature flag of an environment is another one now. What it was and what
// it is are kept whole, so that whoever reads it can undo it.
type FlagChanged struct {
	Repository  string `json:"repository"` // its name on the server
	Environment string `json:"environment"`
	Flag        string `json:"flag"`
	// Act is what was done: "set", "killed", "revived", "share", "removed", "imported".
	Act string `json:"act"`
	By  string `json:"by"`
	Why string `json:"why"`
	// Before and After are the flag as a file of definitions has it; nil where there was none.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Fence is of the rollout that changed a share; 0 for people.
	Fence int64 `json:"fence,omitempty"`
}

func (*FlagChanged) kind() Kind { return "flag.changed" }
