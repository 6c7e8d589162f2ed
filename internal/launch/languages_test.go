package launch

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

func TestWhichLanguageCounts(t *testing.T) {
	t.Parallel()
	all := []string{"github", "gitlab", "azure", "jenkins"}
	for _, c := range []struct {
		name, there, server string
		order, file         []string
		workflow            string
		want, others        string
	}{
		{name: "one is there", there: "jenkins", server: "https://github.com", want: "jenkins"},
		{name: "the host's own", there: "github gitlab", server: "https://gitlab.example.org", want: "gitlab", others: "github"},
		{name: "a host that runs GitHub's", there: "jenkins github", server: "https://codeberg.org", want: "github", others: "jenkins"},
		{name: "no host: the first", there: "gitlab jenkins", want: "gitlab", others: "jenkins"},
		{name: "a host whose language is not there", there: "gitlab jenkins", server: "https://dev.azure.com/x", want: "gitlab", others: "jenkins"},
		{name: "the project says", there: "github gitlab jenkins", server: "https://github.com", file: []string{"gitlab", "jenkins"}, want: "gitlab jenkins", others: "github"},
		{name: "the order says", there: "github gitlab", file: []string{"gitlab"}, order: []string{"github"}, want: "github", others: "gitlab"},
		{name: "the order says all", there: "github gitlab", file: []string{"gitlab"}, order: []string{AllDialects}, want: "github gitlab"},
		{name: "asked for by name", there: "github gitlab", file: []string{"gitlab"}, workflow: "ci", want: "github gitlab"},
		{name: "the project leaves none", there: "github", file: []string{"gitlab"}, want: "", others: "github"},
	} {
		p := &Prepared{Order: Order{Dialects: c.order, Workflow: c.workflow}, Change: &plan.Change{Server: c.server},
			Project: &project.File{Pipelines: project.Pipelines{Dialects: c.file}}}
		for _, d := range strings.Fields(c.there) {
			p.Chosen = append(p.Chosen, &plan.Pipeline{Dialect: d})
		}
		if err := p.prefer(all); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, pl := range p.Chosen {
			got = append(got, pl.Dialect)
		}
		if !slices.Equal(got, strings.Fields(c.want)) || !slices.Equal(p.Others, strings.Fields(c.others)) {
			t.Errorf("%s: %q and left out %q, want %q and %q", c.name, got, p.Others, c.want, c.others)
		}
	}
	p := &Prepared{Order: Order{Dialects: []string{"gitlub"}}, Change: new(plan.Change), Project: new(project.File)}
	if err := p.prefer(all); err == nil || !strings.Contains(err.Error(), "github, gitlab, azure, jenkins, or all") {
		t.Errorf("an unknown dialect: %v", err)
	}
}
