package project

// Pipelines is the section pipelines: which pipeline files count.
type Pipelines struct {
	// Dialects are the languages that count when files of several are there,
	// by their short names; empty leaves the choice to Fairlead.
	Dialects []string
}

// dialects are the names that may be written.
var dialects = []string{"github", "gitlab", "azure", "jenkins"}

func pipelines() kind[Pipelines] {
	return mapping("keys of pipelines",
		at("dialects", func(p *Pipelines) *[]string { return &p.Dialects }, list("names", len(dialects), choice(dialects...)),
			"Which languages count when pipeline files of several are there. Not given, it is the language of the code host that the repository comes from, or the first that is found of github, gitlab, azure and jenkins."),
	)
}
