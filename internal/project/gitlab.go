package project

// GitLab is the section gitlab: how .gitlab-ci.yml is run here.
type GitLab struct {
	// Images is what becomes of image: and services:: "" or ImagesUse, or
	// ImagesIgnore.
	Images string
}

// The values of [GitLab].Images that can be written.
const (
	ImagesUse    = "use"
	ImagesIgnore = "ignore"
)

func gitlab() kind[GitLab] {
	return mapping("keys of gitlab",
		at("images", func(g *GitLab) *string { return &g.Images }, choice(ImagesUse, ImagesIgnore),
			"What becomes of `image` and `services`. `use`: jobs run in containers. `ignore`: jobs run on this machine, with what is installed on it, and say so.").
			or(ImagesUse),
	)
}
