package dialect

import (
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Outliner is a Dialect whose pipelines can be said in other languages.
type Outliner interface {
	// Outline says what a pipeline is in the words that all languages share.
	Outline(p *plan.Pipeline) (*outline.Pipeline, error)
}

// Composer is a Dialect in whose language other pipelines can be said.
type Composer interface {
	// Compose writes a pipeline file, which Compile reads without a problem,
	// and what of the outline it could not carry.
	Compose(p *outline.Pipeline) (text []byte, lost []plan.Problem)
	// Target is where such a file belongs in a tree: a slash path.
	Target(p *outline.Pipeline) string
}
