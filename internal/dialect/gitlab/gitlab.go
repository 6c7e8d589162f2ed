// Package gitlab is the dialect of GitLab CI/CD: it compiles .gitlab-ci.yml and
// what it includes into a plan, and runs the jobs of such plans.
package gitlab

import (
	"context"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Name of the dialect.
const Name = "gitlab"

// Files is the file that a repository's pipeline is read from.
const Files = ".gitlab-ci.yml"

// Config is what a Dialect works with. The zero Config reads the files of the
// tree and runs their scripts.
type Config struct {
	// Fetch brings other projects, for includes; nil: none can be had.
	Fetch Fetcher
	// Get reads the file at an address, for include:remote; nil: none can be had.
	Get func(ctx context.Context, url string) ([]byte, error)

	Runtime
}

// Fetcher brings another project at a ref, which may be a branch, a tag, a
// commit or HEAD. The directory holds a checked-out tree and stays as it is.
type Fetcher interface {
	Fetch(ctx context.Context, project, ref string) (dir, commit string, err error)
}

// Dialect implements [dialect.Dialect]. It is safe for concurrent use.
type Dialect struct {
	cfg     Config
	commits commits
}

// New makes the dialect.
func New(cfg Config) *Dialect {
	return &Dialect{cfg: cfg}
}

// Name implements [dialect.Dialect].
func (d *Dialect) Name() string { return Name }

// steps are the steps of a job, see the constants in job.go.
func (s *jobSpec) steps() []plan.Step {
	var steps []plan.Step
	add := func(id, name, cond string) *plan.Step {
		steps = append(steps, plan.Step{Key: id, ID: id, Name: name, Source: s.Source, If: plan.Expr{Text: cond, Source: s.Source}})
		return &steps[len(steps)-1]
	}
	use := func(id, name, cond string) {
		add(id, name, cond).Use = &plan.Use{Ref: id, Source: s.Source}
	}
	run := func(id, name, cond string, lines ...[]string) {
		add(id, name, cond).Run = &plan.Script{Text: plan.Expr{Text: joinLines(lines...), Source: s.Source}}
	}
	if len(s.PreGetSources) > 0 {
		run(stepHook, "pre_get_sources_script", ifSuccess, s.PreGetSources)
	}
	if len(s.Cache) > 0 {
		use(stepRestore, "Restore caches", ifSuccess)
	}
	if len(s.Downloads) > 0 {
		use(stepDownload, "Download artifacts", ifSuccess)
	}
	run(stepScript, "script", ifSuccess, s.BeforeScript, s.Script)
	if s.Release != nil {
		use(stepRelease, "Release", ifSuccess)
	}
	if len(s.AfterScript) > 0 {
		run(stepAfter, "after_script", ifEver, s.AfterScript)
	}
	if len(s.Cache) > 0 {
		use(stepSave, "Save caches", ifAlways)
	}
	if s.Artifacts != nil {
		use(stepUpload, "Upload artifacts", s.Artifacts.When)
	}
	return steps
}

func joinLines(lists ...[]string) string {
	var text []byte
	for _, list := range lists {
		for _, line := range list {
			text = append(text, line...)
			text = append(text, '\n')
		}
	}
	return string(text)
}
