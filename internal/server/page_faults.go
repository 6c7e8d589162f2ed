package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Faults knows why runs failed, and what fails in a repository; package insight says what
// its methods promise.
type Faults interface {
	Explain(ctx context.Context, r *record.Run) (*insight.Explanation, error)
	Overview(ctx context.Context, repository string, days int, now time.Time) (*insight.Overview, error)
	Cluster(ctx context.Context, repository, id string, now time.Time) (*insight.ClusterView, error)
	Issues(ctx context.Context, repository string) ([]insight.Issue, error)
	Try(ctx context.Context, repository string, i insight.Issue) (insight.Trial, error)
	SetIssue(ctx context.Context, by insight.By, repository string, i insight.Issue) error
	RemoveIssue(ctx context.Context, by insight.By, repository, name string) error
}

// faultRoutes are the rows of what fails, and of the troubles that a team knows.
func (s *Server) faultRoutes() []route {
	draft := []param{
		{Name: "name", Says: "what people call it"}, {Name: "pattern", Says: "try this regular expression on the failures that are remembered"}, {Name: "job", Says: "only in these jobs, with * for anything"},
		{Name: "step", Says: "only in these steps"}, {Name: "test", Says: "only in these tests"}, {Name: "branch", Says: "only on these branches"}, {Name: "note", Says: "what people are told"}, {Name: "link", Says: "where it is worked on"},
		{Name: "verdict", Says: "your change, flaky, infrastructure or already broken"}, {Name: "until", Says: "the day from which it no longer counts, 2026-12-24"},
	}
	changed := func(what string) func(*request, any) (string, string) {
		return func(r *request, _ any) (string, string) {
			return "/known-issues/" + escapePath(r.PathValue("repository")), "The known issue was " + what + "."
		}
	}
	return []route{
		{Method: "GET", Path: "/failures", Verb: access.SeeRuns, Somewhere: true, Template: "failing", Do: view(s.failing), Says: "The repositories of which one may see what fails."},
		{Method: "GET", Path: "/failures/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "failures", Do: view(s.failures),
			Says: "What fails in a repository: clusters of failures that are one trouble.", Query: []param{{Name: "days", Says: "only what was seen in so many days", Kind: "integer"}}},
		{Method: "GET", Path: "/failure/{cluster}/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "failure", Do: view(s.cluster), Says: "One of them, with its failures."},
		{Method: "GET", Path: "/known-issues/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "known-issues", Do: view(s.knownIssues),
			Says: "The known issues of a repository; and, for a pattern, which of its failures it would recognise.", Query: draft},
		{Method: "PUT", Path: "/known-issues/{repository...}", Verb: access.SetIssues, Object: inPath, Form: "/known-issues/{repository...}", Do: act(s.setIssue), Then: changed("set"), Says: "Set a known issue, or change the one of that name."},
		{Method: "DELETE", Path: "/known-issues/{repository...}", Verb: access.SetIssues, Object: inPath, Form: "/remove-known-issue/{repository...}", Do: act(s.removeIssue), Then: changed("removed"),
			Says: "Remove a known issue that was set.", Query: []param{{Name: "name", Says: "which"}}},
	}
}

// FailingView lists repositories.
type FailingView struct {
	Repositories []string `json:"repositories"`
}

func (s *Server) failing(r *request) (FailingView, error) {
	v := FailingView{Repositories: []string{}}
	names := map[string]bool{}
	if s.Desk != nil {
		list, err := s.Desk.Repositories(r.Context())
		if err != nil {
			return v, err
		}
		for _, repo := range list {
			names[repo.Name] = true
		}
	}
	heads, err := s.Runs.Runs(r.Context(), store.RunFilter{Limit: mostLists}) // those of machines, too
	if err != nil {
		return v, err
	}
	for i := range heads {
		names[repositoryOf(&heads[i])] = true
	}
	for name := range names {
		if name != "" && r.May(access.SeeRuns, access.Object{Repository: name}) {
			v.Repositories = append(v.Repositories, name)
		}
	}
	slices.Sort(v.Repositories)
	return v, nil
}

// mostDays is how many days clusters are counted over at most.
const mostDays = 60

func (s *Server) failures(r *request) (insight.Overview, error) {
	if s.Faults == nil {
		return insight.Overview{}, lacking("memory of failures")
	}
	days, err := r.whole("days", 30, mostDays)
	if err != nil {
		return insight.Overview{}, err
	}
	o, err := s.Faults.Overview(r.Context(), r.PathValue("repository"), int(max(days, 1)), s.Now())
	if err != nil {
		return insight.Overview{}, err
	}
	return *o, nil
}

func (s *Server) cluster(r *request) (insight.ClusterView, error) {
	if s.Faults == nil {
		return insight.ClusterView{}, lacking("memory of failures")
	}
	v, err := s.Faults.Cluster(r.Context(), r.PathValue("repository"), r.PathValue("cluster"), s.Now())
	if err != nil || v == nil {
		return insight.ClusterView{}, cmp.Or(err, error(missing("cluster of failures")))
	}
	return *v, nil
}

// IssuesView is the troubles that a team knows, and what one that is being written would
// recognise.
type IssuesView struct {
	Repository string          `json:"repository"`
	Issues     []insight.Issue `json:"known_issues"`
	Draft      SettingIssue    `json:"draft,omitzero"`
	Trial      *insight.Trial  `json:"trial,omitempty"`
}

// SettingIssue is a known issue as it is set.
type SettingIssue struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"`
	Job     string `json:"job,omitempty"`
	Step    string `json:"step,omitempty"`
	Test    string `json:"test,omitempty"`
	Branch  string `json:"branch,omitempty"`
	Note    string `json:"note,omitempty"`
	Link    string `json:"link,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Until   string `json:"until,omitempty"` // a day: 2026-12-24
}

// issue is it as package insight knows it.
func (in *SettingIssue) issue() (i insight.Issue, err error) {
	i = insight.Issue{Name: in.Name, Pattern: in.Pattern, Job: in.Job, Step: in.Step, Test: in.Test, Branch: in.Branch, Note: in.Note, Link: in.Link, Blame: fault.Blame(in.Verdict)}
	if in.Until != "" {
		if i.Until, err = time.Parse(time.DateOnly, in.Until); err != nil {
			err = problem(http.StatusUnprocessableEntity, "unusable", "write it like 2026-12-24", "%.40q is no day", in.Until)
		}
	}
	return i, err
}

func (s *Server) knownIssues(r *request) (v IssuesView, err error) {
	if s.Faults == nil {
		return v, lacking("memory of failures")
	}
	q := r.URL.Query()
	v.Repository = r.PathValue("repository")
	v.Draft = SettingIssue{
		Name: q.Get("name"), Pattern: q.Get("pattern"), Job: q.Get("job"), Step: q.Get("step"), Test: q.Get("test"), Branch: q.Get("branch"), Note: q.Get("note"), Link: q.Get("link"),
		Verdict: q.Get("verdict"), Until: q.Get("until"),
	}
	if v.Issues, err = s.Faults.Issues(r.Context(), v.Repository); err != nil || v.Draft.Pattern == "" {
		return v, err
	}
	i, err := v.Draft.issue()
	if err != nil {
		return v, err
	}
	t, err := s.Faults.Try(r.Context(), v.Repository, i)
	v.Trial = &t
	return v, err
}

func (s *Server) setIssue(r *request, in *SettingIssue) (nothing, error) {
	if s.Faults == nil {
		return nothing{}, lacking("memory of failures")
	}
	i, err := in.issue()
	if err == nil {
		err = refused(s.Faults.SetIssue(r.Context(), insight.By(r.by()), r.PathValue("repository"), i))
	}
	return nothing{}, err
}

// RemovingIssue says which known issue is to be removed. It may stand in the query as well.
type RemovingIssue struct {
	Name string `json:"name"`
}

func (s *Server) removeIssue(r *request, in *RemovingIssue) (nothing, error) {
	if s.Faults == nil {
		return nothing{}, lacking("memory of failures")
	}
	name := cmp.Or(in.Name, r.URL.Query().Get("name"))
	return nothing{}, refused(s.Faults.RemoveIssue(r.Context(), insight.By(r.by()), r.PathValue("repository"), name))
}

// refused says what cannot be done as it was said.
func refused(err error) error {
	var no *plan.UsageError
	if errors.As(err, &no) {
		return problem(http.StatusUnprocessableEntity, "unusable", no.Hint, "%s", no.Message)
	}
	return err
}

// troubleRow is a failure on a run's page.
type troubleRow struct {
	insight.Trouble
	Href    string
	Cluster string // its page
	History string // the test's page
	Facts   []insight.Fact
	Told    bool // Why says how often it was seen
	Proof   bool // Why says why it is innocent
}

// troubles are the new failures of a run, or those that were known.
func troubles(v RunView, fresh bool) (list []troubleRow) {
	if v.Explained == nil {
		return nil
	}
	for _, t := range v.Explained.Troubles {
		if t.New != fresh {
			continue
		}
		row := troubleRow{Trouble: t, Href: logPath(v.ID, t.Job), Told: t.Seen != "" && strings.HasPrefix(t.Why, t.Seen)}
		row.Proof = t.Innocent && strings.Contains(t.Why, t.Innocence)
		from := t.Line
		if from == 0 {
			for _, j := range v.Jobs {
				if at := slices.IndexFunc(j.Steps, func(s StepRow) bool { return s.Key == t.Step }); j.ID == t.Job && at >= 0 {
					from = j.Steps[at].From
				}
			}
		}
		if from > 0 {
			row.Href = fmt.Sprintf("%s?at=%d#L%d", row.Href, from, from)
		}
		if t.Cluster != "" {
			row.Cluster = clusterPath(v.Repository, t.Cluster)
		}
		if t.Key != "" && v.Repository != "" {
			row.History = testPath(v.Repository, t.Key, t.Variant)
		}
		for _, f := range t.Evidence {
			if f.Say != t.Why && !(row.Proof && strings.HasPrefix(f.Say, "it cannot come from the change")) {
				row.Facts = append(row.Facts, f)
			}
		}
		list = append(list, row)
	}
	return list
}

func clusterPath(repository, id string) string {
	return "/failure/" + escapePath(strings.ReplaceAll(id, "/", "")) + "/" + escapePath(repository)
}

// clusterLine is a cluster in a table.
type clusterLine struct {
	Row        insight.ClusterRow
	Repository string
	Href       string
}

func clusterIn(row insight.ClusterRow, repository string) clusterLine {
	return clusterLine{row, repository, clusterPath(repository, row.ID)}
}

// blameClass is the chip of a verdict.
func blameClass(b fault.Blame) string {
	switch b {
	case fault.Yours:
		return "bad"
	case fault.Flaky:
		return "wait"
	case fault.Infrastructure:
		return "warn"
	}
	return ""
}

// spark is the failures of days as bars in a box of 100 × 100.
func spark(days []int64) (list []column) {
	var most int64
	for _, n := range days {
		most = max(most, n)
	}
	if len(days) == 0 || most == 0 {
		return nil
	}
	w := 100.0 / float64(len(days))
	for i, n := range days {
		if n > 0 {
			h := 15 + 85*float64(n)/float64(most)
			list = append(list, column{X: w * float64(i), Y: 100 - h, W: w * 0.8, H: h})
		}
	}
	return list
}

// sparkSays is the same for those who do not see it.
func sparkSays(days []int64) string {
	var sum, most int64
	for _, n := range days {
		sum, most = sum+n, max(most, n)
	}
	return fmt.Sprintf("%s in the last %d days, at most %d on one day", plural(sum, "failure"), len(days), most)
}
