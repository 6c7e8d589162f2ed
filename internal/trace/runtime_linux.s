//go:build amd64 || arm64

// The functions that are linked to ones of the runtime have no bodies here; the
// compiler takes that only from packages with an assembly file.
