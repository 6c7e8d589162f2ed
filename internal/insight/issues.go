package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

const (
	issuesKind = "known-issues" // by repository: issuesKept
	// maxIssues is how many known issues are set for a repository, besides those in its file.
	maxIssues = 200
	// maxIssueText is the length of a text of one, in bytes.
	maxIssueText = 1000
	// maxClusterRows is how many clusters a page has.
	maxClusterRows = 100
	// sparkDays is how many days are drawn.
	sparkDays = 30
)

// By is who does something, and how they came here.
type By struct{ Name, Via, From string }

// Issue is a trouble that the team knows: an entry of known-issues in fairlead.yaml, or one
// that somebody set.
type Issue struct {
	Name    string      `json:"name"`
	Pattern string      `json:"pattern,omitempty"` // RE2, for one line: of the title, of what the test said, of the log
	Job     string      `json:"job,omitempty"`     // where it counts, with * for anything; "" is everywhere
	Step    string      `json:"step,omitempty"`
	Test    string      `json:"test,omitempty"`
	Branch  string      `json:"branch,omitempty"`
	Note    string      `json:"note,omitempty"` // what people are told
	Link    string      `json:"link,omitempty"` // where it is worked on
	Blame   fault.Blame `json:"verdict,omitempty"`
	Until   time.Time   `json:"until,omitzero"`   // when it no longer counts
	By      string      `json:"by,omitempty"`     // who set it
	At      plan.Source `json:"at,omitzero"`      // the line of the file that declares it
	Recent  int         `json:"recent,omitempty"` // of the failures that are remembered, how many it recognises
}

func (i *Issue) rule() fault.Issue {
	return fault.Issue{
		Name: i.Name, Pattern: i.Pattern, Job: i.Job, Step: i.Step, Test: i.Test, Branch: i.Branch, Note: i.Note, Link: i.Link, Blame: i.Blame, Until: i.Until, Source: i.At,
	}
}

func issueOf(r *fault.Issue, by string) Issue {
	return Issue{
		Name: r.Name, Pattern: r.Pattern, Job: r.Job, Step: r.Step, Test: r.Test, Branch: r.Branch, Note: r.Note, Link: r.Link, Blame: r.Blame, Until: r.Until, At: r.Source, By: by,
	}
}

// issuesKept are the known issues that people set for a repository.
type issuesKept struct {
	Issues []Issue `json:"issues"`
}

// set are those, and the version of their register.
func (f *Faults) set(ctx context.Context, repository string) (issuesKept, int64, error) {
	var k issuesKept
	r, err := f.Store.Register(ctx, issuesKind, repository)
	if err == nil && r.Version > 0 {
		err = json.Unmarshal(r.Body, &k)
	}
	if err != nil {
		return k, 0, fmt.Errorf("read the known issues of %s: %w", repository, err)
	}
	return k, r.Version, nil
}

// issuesOf are all known issues of a repository, as rules.
func (f *Faults) issuesOf(ctx context.Context, repository string, g *gathering) ([]fault.Issue, error) {
	k, _, err := f.set(ctx, repository)
	if err != nil {
		return nil, err
	}
	var list []fault.Issue
	for i := range k.Issues {
		list = append(list, k.Issues[i].rule())
	}
	return merge(list, g.Declared), nil
}

// merge adds the rules that have other names.
func merge(list, more []fault.Issue) []fault.Issue {
	list = slices.Clone(list)
	for _, m := range more {
		if !slices.ContainsFunc(list, func(i fault.Issue) bool { return i.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list
}

// Issues lists the known issues of a repository: those that people set, then those of its
// file.
func (f *Faults) Issues(ctx context.Context, repository string) ([]Issue, error) {
	g, _, err := f.gathered(ctx, repository)
	if err != nil {
		return nil, err
	}
	return f.issues(ctx, repository, g)
}

func (f *Faults) issues(ctx context.Context, repository string, g *gathering) ([]Issue, error) {
	k, _, err := f.set(ctx, repository)
	if err != nil {
		return nil, err
	}
	list := append([]Issue{}, k.Issues...)
	for i := range g.Declared {
		list = append(list, issueOf(&g.Declared[i], ""))
	}
	rules := make([]fault.Issue, len(list))
	for i := range list {
		rules[i] = list[i].rule()
		rules[i].Name = fmt.Sprint(i) // two may have the same name: the one that was set counts
	}
	compiled, _ := fault.Compile(rules)
	for i := range g.Recent {
		past := g.Recent[i].past()
		for _, r := range compiled.Find(past.Failure, slices.Values(past.Log)) {
			n := slices.IndexFunc(rules, func(x fault.Issue) bool { return x.Name == r.Issue.Name })
			list[n].Recent++
		}
	}
	return list, nil
}

// SetIssue sets a known issue of a repository, or changes the one of that name. The error
// is a [*plan.UsageError] when it makes no sense.
func (f *Faults) SetIssue(ctx context.Context, by By, repository string, i Issue) error {
	i.Name = strings.TrimSpace(i.Name)
	for _, text := range []string{i.Name, i.Job, i.Step, i.Test, i.Branch, i.Note, i.Link} {
		if len(text) > maxIssueText || strings.ContainsAny(text, "\x00\r\n") {
			return &plan.UsageError{Message: fmt.Sprintf("a text of a known issue is one line of at most %d bytes", maxIssueText)}
		}
	}
	if i.Link != "" && !strings.HasPrefix(i.Link, "https://") && !strings.HasPrefix(i.Link, "http://") {
		return &plan.UsageError{Message: "the link of a known issue is no address of a page", Hint: "write it with https://"}
	}
	if _, problems := fault.Compile([]fault.Issue{i.rule()}); len(problems) > 0 {
		return &plan.UsageError{Message: problems[0].Message, Hint: problems[0].Hint}
	}
	k, version, err := f.set(ctx, repository)
	if err != nil {
		return err
	}
	i.By, i.At, i.Recent = by.Name, plan.Source{}, 0
	if at := slices.IndexFunc(k.Issues, func(o Issue) bool { return o.Name == i.Name }); at >= 0 {
		k.Issues[at] = i
	} else if k.Issues = append(k.Issues, i); len(k.Issues) > maxIssues {
		return &plan.UsageError{Message: fmt.Sprintf("there are more than %d known issues", maxIssues), Hint: "remove those that are mended"}
	}
	return f.change(ctx, by, repository, version, k, map[string]string{"known issue": i.Name, "pattern": i.Pattern})
}

// RemoveIssue removes a known issue that was set.
func (f *Faults) RemoveIssue(ctx context.Context, by By, repository, name string) error {
	k, version, err := f.set(ctx, repository)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(k.Issues, func(o Issue) bool { return o.Name == name })
	if at < 0 {
		return &plan.UsageError{Message: fmt.Sprintf("no known issue %.80q was set for %s", name, repository), Hint: "one of fairlead.yaml is removed there"}
	}
	k.Issues = slices.Delete(k.Issues, at, at+1)
	return f.change(ctx, by, repository, version, k, map[string]string{"known issue": name, "removed": "yes"})
}

func (f *Faults) change(ctx context.Context, by By, repository string, version int64, k issuesKept, detail map[string]string) error {
	body, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("change the known issues of %s: %w", repository, err)
	}
	acted := record.Event{Body: &record.Acted{By: by.Name, Via: by.Via, From: by.From, Verb: string(access.SetIssues), Object: repository, Detail: detail}}
	_, err = f.Store.Change(ctx, []record.Register{{Kind: issuesKind, ID: repository, Version: version, Body: body}}, acted)
	if errors.Is(err, record.ErrConflict) {
		return &plan.UsageError{Message: "the known issues of " + repository + " were changed by somebody else meanwhile", Hint: "try again"}
	}
	if err != nil {
		return fmt.Errorf("change the known issues of %s: %w", repository, err)
	}
	return nil
}

// Trial is what a known issue would have recognised among the failures that are remembered.
type Trial struct {
	Of       int    `json:"of"` // failures
	Hits     int    `json:"hits"`
	Branches int    `json:"branches"`
	Shown    []Hit  `json:"shown,omitempty"` // the newest
	Problem  string `json:"problem,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

// Hit is a failure that a known issue recognises.
type Hit struct {
	Run    string    `json:"run"`
	Job    string    `json:"job"`
	Step   string    `json:"step,omitempty"`
	Test   string    `json:"test,omitempty"`
	Branch string    `json:"branch,omitempty"`
	Time   time.Time `json:"time"`
	// Before, Match and After are the line that it recognises it by.
	Before string `json:"before,omitempty"`
	Match  string `json:"match"`
	After  string `json:"after,omitempty"`
}

// Try says which of the failures of a repository that are remembered a known issue
// recognises. What is wrong with it is in the answer.
func (f *Faults) Try(ctx context.Context, repository string, i Issue) (Trial, error) {
	g, _, err := f.gathered(ctx, repository)
	if err != nil {
		return Trial{}, err
	}
	found, problems := fault.Preview(i.rule(), func(yield func(fault.Past) bool) {
		for n := len(g.Recent) - 1; n >= 0; n-- {
			if !yield(g.Recent[n].past()) {
				return
			}
		}
	})
	if len(problems) > 0 {
		return Trial{Of: len(g.Recent), Problem: problems[0].Message, Hint: problems[0].Hint}, nil
	}
	t := Trial{Of: found.Of, Hits: found.Hits, Branches: found.Branches}
	for n, r := range found.Shown {
		x := found.Failures[n]
		text := r.Line.Text
		t.Shown = append(t.Shown, Hit{
			Run: x.Run, Job: x.Job, Step: x.Step, Test: x.Test, Branch: x.Branch, Time: x.Time,
			Before: cut(text[:r.From]), Match: cut(text[r.From:r.To]), After: cut(text[r.To:]),
		})
	}
	return t, nil
}

// Overview is what fails in a repository.
type Overview struct {
	Repository string       `json:"repository"`
	Days       int          `json:"days"` // of Clusters
	Clusters   []ClusterRow `json:"clusters"`
	Total      int          `json:"total"` // that are known, also older ones
	Issues     []Issue      `json:"known_issues"`
}

// ClusterRow is failures that are one trouble.
type ClusterRow struct {
	ID       string        `json:"id"`
	Title    string        `json:"title"`
	Rule     string        `json:"rule,omitempty"`
	Count    int64         `json:"count"`
	Lately   int64         `json:"lately"` // of Count, in the days of the overview
	OnBase   int64         `json:"on_base,omitempty"`
	First    time.Time     `json:"first"`
	Last     time.Time     `json:"last"`
	FirstRun string        `json:"first_run"`
	LastRun  string        `json:"last_run"`
	Seen     string        `json:"seen"` // "seen 14 times since Tuesday, in 3 branches"
	Days     []int64       `json:"days"` // the failures of each day, the last one is today
	Branches []fault.Named `json:"branches,omitempty"`
	Jobs     []fault.Named `json:"jobs,omitempty"`
	Tests    int           `json:"tests,omitempty"`
	Example  string        `json:"example,omitempty"` // a line of the newest
	Test     string        `json:"test,omitempty"`    // the title of the newest's, if it is a test's
	Key      string        `json:"key,omitempty"`     // of that test
	Variant  string        `json:"variant,omitempty"` // of its environment
	Owner    string        `json:"owner,omitempty"`   // of that test
	Known    []Issue       `json:"known_issues,omitempty"`
}

// Overview lists the clusters of failures of a repository by how often they were seen in
// the last days.
func (f *Faults) Overview(ctx context.Context, repository string, days int, now time.Time) (*Overview, error) {
	g, _, err := f.gathered(ctx, repository)
	if err != nil {
		return nil, err
	}
	o := &Overview{Repository: repository, Days: days, Total: g.Clusters.Len(), Clusters: []ClusterRow{}}
	if o.Issues, err = f.issues(ctx, repository, g); err != nil {
		return nil, err
	}
	rules, err := f.issuesOf(ctx, repository, g)
	if err != nil {
		return nil, err
	}
	compiled, _ := fault.Compile(rules)
	for _, k := range g.Clusters.Top(now.AddDate(0, 0, -days+1), maxClusterRows) {
		o.Clusters = append(o.Clusters, f.row(ctx, repository, g, &k, compiled, days, now))
	}
	return o, nil
}

func (f *Faults) row(ctx context.Context, repository string, g *gathering, k *fault.Cluster, issues *fault.Issues, days int, now time.Time) ClusterRow {
	r := ClusterRow{
		ID: k.ID, Title: k.Title, Rule: k.Rule, Count: k.Count, Lately: k.Since(now.AddDate(0, 0, -days+1)), OnBase: k.OnBase, First: k.First, Last: k.Last,
		FirstRun: k.FirstRun, LastRun: k.LastRun, Seen: k.Say(now), Branches: k.Branches, Jobs: k.Jobs, Tests: len(k.Tests), Days: make([]int64, sparkDays),
	}
	for _, d := range k.Days {
		day, err := time.Parse(time.DateOnly, d.Day)
		if err != nil {
			continue
		}
		y, m, dd := now.UTC().Date()
		if at := sparkDays - 1 - int(time.Date(y, m, dd, 0, 0, 0, 0, time.UTC).Sub(day).Hours()/24); at >= 0 && at < sparkDays {
			r.Days[at] += d.Count
		}
	}
	for i := len(g.Recent) - 1; i >= 0; i-- {
		s := &g.Recent[i]
		if s.Cluster != k.ID {
			continue
		}
		r.Example, r.Test, r.Key, r.Variant = s.Title, s.TestTitle, s.Test, s.Variant
		past := s.past()
		for _, found := range issues.Find(past.Failure, slices.Values(past.Log)) {
			r.Known = append(r.Known, issueOf(&found.Issue, ""))
		}
		if s.Test != "" && f.Ledger != nil {
			rows, _, err := f.Ledger.Tests(ctx, suite.Query{Repository: repository, IDs: []suite.ID{{Repository: repository, Key: s.Test, Variant: s.Variant}}})
			if err == nil && len(rows) > 0 {
				r.Owner = rows[0].Owner
			}
		}
		break
	}
	return r
}

// ClusterView is a cluster with what is remembered of it.
type ClusterView struct {
	Repository string `json:"repository"`
	ClusterRow
	Failures []FailureRow `json:"failures"` // the newest first, as far as they are remembered
	Together []ClusterRow `json:"together,omitempty"`
	Runs     []string     `json:"runs,omitempty"` // the newest first
}

// FailureRow is one failure of a cluster.
type FailureRow struct {
	Run     string    `json:"run"`
	Time    time.Time `json:"time"`
	Branch  string    `json:"branch,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Job     string    `json:"job"`
	Step    string    `json:"step,omitempty"`
	Test    string    `json:"test,omitempty"`
	Key     string    `json:"key,omitempty"`
	Variant string    `json:"variant,omitempty"` // of the test's environment
	Title   string    `json:"title"`
	Line    int64     `json:"line,omitempty"` // of the job's log, from 1
	Said    []string  `json:"said,omitempty"`
}

// Cluster is a cluster of a repository; the error is nil and the answer, too, when there
// is none of that ID.
func (f *Faults) Cluster(ctx context.Context, repository, id string, now time.Time) (*ClusterView, error) {
	g, _, err := f.gathered(ctx, repository)
	if err != nil {
		return nil, err
	}
	k, ok := g.Clusters.Get(id)
	if !ok {
		return nil, nil
	}
	rules, err := f.issuesOf(ctx, repository, g)
	if err != nil {
		return nil, err
	}
	compiled, _ := fault.Compile(rules)
	v := &ClusterView{Repository: repository, ClusterRow: f.row(ctx, repository, g, &k, compiled, sparkDays, now), Failures: []FailureRow{}}
	v.Runs = slices.Clone(k.Runs)
	slices.Reverse(v.Runs)
	for i := len(g.Recent) - 1; i >= 0; i-- {
		s := &g.Recent[i]
		if s.Cluster != id {
			continue
		}
		row := FailureRow{
			Run: s.Run, Time: s.Time, Branch: s.Branch, Commit: s.Commit, Job: s.Job, Step: cmp.Or(s.StepName, s.Step), Test: s.TestTitle, Key: s.Test, Variant: s.Variant, Title: s.Title, Said: s.Said,
		}
		if s.Test == "" {
			row.Line = s.Line + 1
		}
		v.Failures = append(v.Failures, row)
	}
	for _, other := range g.Clusters.Together(id) {
		if o, ok := g.Clusters.Get(other); ok && len(v.Together) < 10 {
			v.Together = append(v.Together, f.row(ctx, repository, g, &o, compiled, sparkDays, now))
		}
	}
	return v, nil
}
