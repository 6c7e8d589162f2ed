package gitlab

// Runtime is the part of Config that running jobs needs.
type Runtime struct{}
