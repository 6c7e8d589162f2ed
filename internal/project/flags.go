package project

// Flags is the section flags: where the definitions of feature flags stand.
type Flags struct {
	// Files are those that count everywhere; a later one overrides flags of an earlier one.
	Files []string
	// Environments are files that count in one environment, over the others.
	Environments map[string][]string
}

// maxFlagFiles bounds each list of files of the section flags.
const maxFlagFiles = 100

func flags() kind[Flags] {
	files := func() kind[[]string] {
		return list("files", maxFlagFiles, plain("a file", "flags/flags.json"))
	}
	return mapping("keys of flags",
		at("files", func(f *Flags) *[]string { return &f.Files }, files(), "Files of definitions (JSON or YAML, in flagd's format) that count in every environment. A later file overrides flags of an earlier one."),
		at("environments", func(f *Flags) *map[string][]string { return &f.Environments }, named("files of definitions, by environment", maxEnvironments, files()),
			"Files that count in one environment, over those of `files`."),
	)
}
