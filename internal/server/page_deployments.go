package server

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxDeployed is how many services the page of deployments has; a filter finds the others. Programs get all.
const maxDeployed = 1000

// deploymentRoutes are the rows of what is deployed where.
func (s *Server) deploymentRoutes() []route {
	environment := param{Name: "environment", Says: "its name"}
	return []route{
		{Method: "GET", Path: "/deployments", Verb: access.SeeRuns, Somewhere: true, Template: "deployments", Do: view(s.deployments), Says: "Which version of which service is in which environment.",
			Query: []param{{Name: "repository", Says: "only its services"}, {Name: "text", Says: "only services whose name, repository or team has this text"}, {Name: "show", Says: "ill, drifted, behind or moving: only services of which that is so somewhere"}}},
		{Method: "GET", Path: "/environment/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "environment", Do: view(s.environment), Says: "One environment: what is there, its newest rollouts, what protects it, and how it differs from another one.",
			Query: []param{environment, {Name: "with", Says: "the environment that it is compared with"}}},
		{Method: "GET", Path: "/contrast/{repository...}", Verb: access.SeeRuns, Object: inPath, Faces: apiOnly, Do: view(s.contrast), Says: "How two environments of a repository differ.",
			Query: []param{{Name: "of", Says: "an environment"}, {Name: "with", Says: "another one"}}},
		{Method: "GET", Path: "/release/{release}", Verb: access.SeeRuns, Object: s.releaseObject, Template: "release", Do: view(s.deployedRelease), Says: "One release of a service: what it is made of, where it is, and where it was rejected."},
		{Method: "GET", Path: "/service-releases/{repository...}", Verb: access.SeeRuns, Object: inPath, Faces: apiOnly, Do: view(s.serviceReleases), Says: "The releases of a service, the newest first.",
			Query: []param{{Name: "service", Says: "its name"}}},
	}
}

// DeploymentsView is services by environments.
type DeploymentsView struct {
	Environments []string        `json:"environments"` // those of the columns: first those on a release's way, then previews
	Previews     int             `json:"previews"`     // how many of them, at the end, are previews
	Services     []DeploymentRow `json:"services"`
	Of           int             `json:"of"` // services, chosen or not
	Moving       int             `json:"moving"`
	Ill          int             `json:"ill"`
	Drifted      int             `json:"drifted"`
	Repository   string          `json:"-"`
	Text         string          `json:"-"`
	Show         string          `json:"-"`
	More         int             `json:"-"` // services that the page does not have
}

// DeploymentRow is a service.
type DeploymentRow struct {
	Repository string           `json:"repository"`
	Service    string           `json:"service"`
	Team       string           `json:"team,omitempty"`
	Cells      []DeploymentCell `json:"cells"` // by environment
}

// DeploymentCell is a service in an environment.
type DeploymentCell struct {
	Environment string    `json:"environment"`
	There       bool      `json:"there"` // something is, or was, or is on its way
	Version     string    `json:"version,omitempty"`
	Commit      string    `json:"commit,omitempty"`
	Release     string    `json:"release,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	Behind      int       `json:"behind"`            // commits; -1: not known
	Rollout     string    `json:"rollout,omitempty"` // under way
	Brought     string    `json:"brought,omitempty"` // the rollout that brought the version
	Run         string    `json:"run,omitempty"`     // or the run, when a pipeline deploys by itself
	Driver      string    `json:"driver,omitempty"`
	Ready       int       `json:"ready"`
	Want        int       `json:"want"` // instances; 0: not known
	Ill         string    `json:"ill,omitempty"`
	Drift       int       `json:"drift"`
	DriftError  string    `json:"drift_error,omitempty"`
	Rejected    int       `json:"rejected"` // releases
	Expires     time.Time `json:"expires,omitzero"`
	URL         string    `json:"url,omitempty"`
}

func (s *Server) deployments(r *request) (v DeploymentsView, err error) {
	if s.Board == nil {
		return v, lacking("deployments")
	}
	q := r.URL.Query()
	v = DeploymentsView{Environments: []string{}, Services: []DeploymentRow{}, Repository: q.Get("repository"), Text: q.Get("text"), Show: q.Get("show")}
	m, err := s.Board.Matrix(r.Context(), v.Repository)
	if err != nil {
		return v, err
	}
	v.Environments, v.Previews = slices.Concat(v.Environments, m.Environments, m.Previews), len(m.Previews)
	used := make([]bool, len(v.Environments))
	may := map[string]bool{}
	for i := range m.Rows {
		row := &m.Rows[i]
		seen, asked := may[row.Repository]
		if !asked {
			seen = r.May(access.SeeRuns, access.Object{Repository: row.Repository})
			may[row.Repository] = seen
		}
		if !seen {
			continue
		}
		d := deploymentRow(row, v.Environments)
		v.Of++
		moving, ill, drifted := d.count()
		v.Moving, v.Ill, v.Drifted = v.Moving+moving, v.Ill+ill, v.Drifted+drifted
		if !d.fits(v.Text, v.Show) {
			continue
		}
		if !r.API && len(v.Services) == maxDeployed {
			v.More++
			continue
		}
		for k := range d.Cells {
			used[k] = used[k] || d.Cells[k].There
		}
		v.Services = append(v.Services, d)
	}
	v.drop(used)
	return v, nil
}

// drop leaves out the columns of environments that no service shown is in.
func (v *DeploymentsView) drop(used []bool) {
	if !slices.Contains(used, false) {
		return
	}
	for i := range v.Services {
		kept := v.Services[i].Cells[:0]
		for k, c := range v.Services[i].Cells {
			if used[k] {
				kept = append(kept, c)
			}
		}
		v.Services[i].Cells = kept
	}
	normal := len(v.Environments) - v.Previews
	kept, previews := []string{}, 0
	for k, name := range v.Environments {
		if used[k] {
			kept = append(kept, name)
			if k >= normal {
				previews++
			}
		}
	}
	v.Environments, v.Previews = kept, previews
}

func deploymentRow(row *insight.MatrixRow, environments []string) DeploymentRow {
	d := DeploymentRow{Repository: row.Repository, Service: row.Service, Team: row.Team, Cells: make([]DeploymentCell, len(row.Cells))}
	for i, c := range row.Cells {
		d.Cells[i].Environment = environments[i]
		if c.Track != nil {
			d.Cells[i] = deploymentCell(c.Track, c.Behind)
		}
	}
	return d
}

func deploymentCell(t *record.Track, behind int) DeploymentCell {
	c := DeploymentCell{Environment: t.Environment, There: true, Version: t.Version, Commit: t.Commit, Release: t.Release, Since: t.Since, Behind: behind, Rollout: t.Rollout, Run: t.Run,
		Driver: t.Driver, Rejected: len(t.Rejected), Expires: t.Expires, URL: t.URL}
	if t.Revision > 0 {
		c.Brought = broughtBy(t)
	}
	if h := t.Health; h != nil && t.Release != "" {
		if c.Ready, c.Want = h.Ready, h.Want; h.Ready < h.Want {
			c.Ill = cmp.Or(h.Why, "instances are missing")
		}
	}
	if d := t.Drift; d != nil {
		c.Drift, c.DriftError = len(d.Differences), d.Error
	}
	return c
}

func (d *DeploymentRow) count() (moving, ill, drifted int) {
	for i := range d.Cells {
		c := &d.Cells[i]
		if c.Rollout != "" {
			moving++
		}
		if c.Ill != "" {
			ill++
		}
		if c.Drift > 0 {
			drifted++
		}
	}
	return moving, ill, drifted
}

func (d *DeploymentRow) fits(text, show string) bool {
	if text = strings.ToLower(text); text != "" && !strings.Contains(strings.ToLower(d.Service+"\n"+d.Repository+"\n"+d.Team), text) {
		return false
	}
	if show == "" {
		return true
	}
	return slices.ContainsFunc(d.Cells, func(c DeploymentCell) bool {
		switch show {
		case "ill":
			return c.Ill != ""
		case "drifted":
			return c.Drift > 0
		case "behind":
			return c.Behind > 0
		case "moving":
			return c.Rollout != ""
		}
		return false
	})
}

// deploymentShows are the choices of the page of deployments.
var deploymentShows = []choice{{"", "all"}, {"moving", "under way"}, {"ill", "not healthy"}, {"drifted", "drifted"}, {"behind", "behind"}}

// deploymentCells are the cells of a row. They are put together here and not by a template: the page may have
// thousands of them.
func deploymentCells(row DeploymentRow, now time.Time) template.HTML {
	var b strings.Builder
	esc := html.EscapeString
	for i := range row.Cells {
		c := &row.Cells[i]
		if !c.There || c.Version == "" && c.Rollout == "" {
			b.WriteString(`<td class="muted">–</td>`)
			continue
		}
		b.WriteString(`<td>`)
		version := cmp.Or(c.Version, "nothing yet")
		switch {
		case c.Brought != "":
			fmt.Fprintf(&b, `<a href="/rollout/%s">%s</a>`, esc(escapePath(c.Brought)), esc(version))
		case c.Run != "":
			fmt.Fprintf(&b, `<a href="/runs/%s">%s</a>`, esc(escapePath(c.Run)), esc(version))
		default:
			b.WriteString(esc(version))
		}
		if c.Rollout != "" {
			fmt.Fprintf(&b, ` <a class="chip wait" href="/rollout/%s">rollout</a>`, esc(escapePath(c.Rollout)))
		}
		if c.Ill != "" {
			fmt.Fprintf(&b, ` <span class="chip bad" title="%s">%d of %d ready</span>`, esc(c.Ill), c.Ready, c.Want)
		}
		if c.Drift > 0 {
			b.WriteString(` <span class="chip warn">drifted</span>`)
		}
		b.WriteString(`<span class="sub small muted">`)
		if !c.Since.IsZero() {
			fmt.Fprintf(&b, `<time datetime="%s" data-ago>%s</time>`, c.Since.UTC().Format(time.RFC3339), ago(now.Sub(c.Since)))
		}
		if c.Behind > 0 {
			fmt.Fprintf(&b, ` <span>%s behind</span>`, plural(int64(c.Behind), "commit"))
		}
		if c.Want > 0 && c.Ill == "" {
			b.WriteString(` <span>healthy</span>`)
		}
		b.WriteString(`</span></td>`)
	}
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped above
}

func (s *Server) contrast(r *request) (*insight.Contrast, error) {
	if s.Board == nil {
		return nil, lacking("deployments")
	}
	q := r.URL.Query()
	return s.Board.Contrast(r.Context(), r.PathValue("repository"), q.Get("of"), q.Get("with"))
}
