package launch

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// AllDialects, as the only name in Order.Dialects, lets the pipelines of all
// languages run.
const AllDialects = "all"

// prefer settles which languages count, when pipelines of several would run:
// those that the order names, or the project's file, or the one of the code
// host that the tree comes from, or the first of those that Fairlead knows.
// The others are in p.Others.
func (p *Prepared) prefer(known []string) error {
	for _, name := range p.Order.Dialects {
		if name != AllDialects && !slices.Contains(known, name) {
			return &plan.UsageError{Message: fmt.Sprintf("there is no dialect %q", name), Hint: "there are " + strings.Join(known, ", ") + ", or " + AllDialects}
		}
	}
	p.Others = nil
	var found []string
	for _, pl := range p.Chosen {
		if !slices.Contains(found, pl.Dialect) {
			found = append(found, pl.Dialect)
		}
	}
	wanted := p.Order.Dialects
	if len(wanted) == 0 && p.Order.Workflow == "" {
		wanted = p.Project.Pipelines.Dialects
	}
	switch {
	case slices.Contains(wanted, AllDialects):
		return nil
	case len(wanted) == 0 && (len(found) < 2 || p.Order.Workflow != ""):
		return nil
	case len(wanted) == 0:
		wanted = found[:1]
		if own := spokenAt(p.Change.Server); slices.Contains(found, own) {
			wanted = []string{own}
		}
	}
	p.Chosen = slices.DeleteFunc(p.Chosen, func(pl *plan.Pipeline) bool { return !slices.Contains(wanted, pl.Dialect) })
	p.Others = slices.DeleteFunc(found, func(d string) bool { return slices.Contains(wanted, d) })
	return nil
}

// spokenAt is the language of the pipelines that a code host runs itself, as
// far as its address tells.
func spokenAt(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	for _, h := range []struct{ part, dialect string }{
		{"github", "github"}, {"gitea", "github"}, {"codeberg", "github"}, {"forgejo", "github"}, // they run its workflows
		{"gitlab", "gitlab"}, {"dev.azure.com", "azure"}, {"visualstudio.com", "azure"},
	} {
		if strings.Contains(host, h.part) {
			return h.dialect
		}
	}
	return ""
}
