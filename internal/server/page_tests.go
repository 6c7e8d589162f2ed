package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Tests answers what is asked of tests; package insight says what its methods promise.
type Tests interface {
	List(ctx context.Context, repositories []string, ask insight.TestsAsk) (insight.TestList, error)
	Grid(ctx context.Context, repository string, ask insight.GridAsk) (insight.TestGrid, error)
	Pyramid(ctx context.Context, repository string) (insight.TestPyramid, error)
	Test(ctx context.Context, id suite.ID) (*insight.TestStory, error)
	Find(ctx context.Context, repository, name, variant string) ([]insight.TestRow, error)
}

// Wards takes people's decisions about tests; package insight says what its methods
// promise.
type Wards interface {
	Quarantine(ctx context.Context, by insight.Person, id suite.ID, q insight.Quarantining) (*record.TestJudged, error)
	Release(ctx context.Context, by insight.Person, id suite.ID, why string) (*record.TestJudged, error)
}

// testRoutes are the rows about tests.
func (s *Server) testRoutes() []route {
	ask := []param{
		{Name: "state", Says: "healthy, suspected, quarantined, broken, or ill: all but the healthy"}, {Name: "text", Says: "in the title"}, {Name: "order", Says: "rate, lost, seconds, failed or title"},
		{Name: "limit", Says: "at most so many", Kind: "integer"}, {Name: "after", Says: "how many are left out", Kind: "integer"},
	}
	variant := param{Name: "variant", Says: "what tells its environments apart"}
	which := []param{{Name: "repository", Says: "the test's repository"}, variant}
	return []route{
		{Method: "GET", Path: "/tests", Verb: access.SeeRuns, Somewhere: true, Template: "tests", Do: view(s.allTests), Query: ask,
			Says: "Tests of all repositories that one may see: what is thought of each, how likely it fails by chance."},
		{Method: "GET", Path: "/tests/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "tests", Do: view(s.tests), Query: append(slices.Clone(ask), param{Name: "name", Says: "only the test of this key or name"}, variant),
			Says: "Tests of a repository: what is thought of each, how likely it fails by chance."},
		{Method: "GET", Path: "/heatmap/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "heatmap", Do: view(s.heatmap),
			Says:  "Tests × runs: the worst tests of a repository in its newest runs.",
			Query: []param{{Name: "branch", Says: "only runs of this branch"}, {Name: "runs", Says: "at most so many", Kind: "integer"}, {Name: "tests", Says: "at most so many", Kind: "integer"}, {Name: "green", Says: "1: also tests that did not fail in any of the runs", Kind: "integer"}}},
		{Method: "GET", Path: "/pyramid/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "pyramid", Do: view(s.pyramid),
			Says: "Tests of a repository by what they were seen to do, and where their time goes."},
		{Method: "GET", Path: "/test/{key}", Verb: access.SeeRuns, Object: ofQuery, Template: "test", Do: view(s.test), Query: which,
			Says: "One test: how it behaved, how likely it fails by chance, what was different when it did."},
		{Method: "POST", Path: "/test/{key}/quarantine", Verb: access.MuteTests, Object: ofQuery, Form: "/test/{key}/quarantine", Do: act(s.quarantine), Query: which,
			Then: func(_ *request, a any) (string, string) {
				return "", "It is in quarantine until " + a.(*record.TestJudged).Until.UTC().Format("2 January 2006") + ": it still runs, and its failures do not count."
			}, Says: "Put a test into quarantine: it still runs, and its failures do not count."},
		{Method: "POST", Path: "/test/{key}/release", Verb: access.MuteTests, Object: ofQuery, Form: "/test/{key}/release", Do: act(s.release), Query: which,
			Then: func(*request, any) (string, string) { return "", "It is released: its failures count again." }, Says: "Let the failures of a test count again."},
	}
}

// ofQuery is the repository that the query names.
func ofQuery(r *request) (access.Object, error) {
	name := r.URL.Query().Get("repository")
	if name == "" {
		return access.Object{}, missing("test")
	}
	return access.Object{Repository: name}, nil
}

// testsOf says under which name a repository's tests are known, which is what its code host
// calls it. A name that means another repository's tests here is none.
func (s *Server) testsOf(ctx context.Context, name string) (string, error) {
	if s.Tests == nil {
		return "", lacking("knowledge of tests")
	}
	heads, err := s.Runs.Runs(ctx, store.RunFilter{Origin: name, Limit: 1})
	if err != nil || len(heads) > 0 {
		if len(heads) > 0 {
			name = heads[0].Repository
		}
		return name, err
	}
	// What the command line ran here has no repository of the server's.
	heads, err = s.Runs.Runs(ctx, store.RunFilter{Repository: name, Limit: 1})
	if err != nil || len(heads) > 0 && repositoryOf(&heads[0]) != name {
		return "", cmp.Or(err, error(missing("repository")))
	}
	return name, nil
}

// testedRuns is how many of the newest runs are looked at for repositories that have
// tests, and mostTested how many of these are asked.
const testedRuns, mostTested = 500, 200

// tested are the repositories that who asks may see: what their tests are known by, and
// what they are called here.
func (s *Server) tested(r *request) (known []string, names map[string]string, err error) {
	names = map[string]string{}
	add := func(known1, name string) {
		if _, there := names[known1]; !there && len(known) < mostTested && r.May(access.SeeRuns, access.Object{Repository: name}) {
			names[known1], known = name, append(known, known1)
		}
	}
	heads, err := s.Runs.Runs(r.Context(), store.RunFilter{Limit: testedRuns})
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for i := range heads {
		name := repositoryOf(&heads[i])
		seen[name] = true
		add(heads[i].Repository, name)
	}
	if s.Desk == nil {
		return known, names, nil
	}
	repos, err := s.Desk.Repositories(r.Context())
	if err != nil {
		return nil, nil, err
	}
	for _, repo := range repos {
		if seen[repo.Name] {
			continue
		}
		at, err := s.testsOf(r.Context(), repo.Name)
		if err != nil {
			return nil, nil, err
		}
		add(at, repo.Name)
	}
	return known, names, nil
}

// testsAsk reads what a list of tests is asked for.
func (r *request) testsAsk() (ask insight.TestsAsk, err error) {
	q := r.URL.Query()
	ask = insight.TestsAsk{State: q.Get("state"), Text: q.Get("text"), Order: q.Get("order")}
	if err := ask.Check(); err != nil {
		return ask, problem(http.StatusBadRequest, "parameter", "", "%s", err)
	}
	for name, n := range map[string]*int{"limit": &ask.Limit, "after": &ask.After} {
		v, err := r.whole(name, 0, 1<<30)
		if err != nil {
			return ask, err
		}
		*n = int(v)
	}
	return ask, nil
}

func (s *Server) allTests(r *request) (insight.TestList, error) {
	if s.Tests == nil {
		return insight.TestList{}, lacking("knowledge of tests")
	}
	ask, err := r.testsAsk()
	if err != nil {
		return insight.TestList{}, err
	}
	known, names, err := s.tested(r)
	if err != nil {
		return insight.TestList{}, err
	}
	if len(known) == 1 {
		known = append(known, "") // a list of several, though there is but one
	}
	v, err := s.Tests.List(r.Context(), known, ask)
	for i := range v.Tests {
		v.Tests[i].Repository = names[v.Tests[i].Repository]
	}
	for i := range v.Each {
		v.Each[i].Repository = names[v.Each[i].Repository]
	}
	return v, err
}

func (s *Server) tests(r *request) (v insight.TestList, err error) {
	name := r.PathValue("repository")
	at, err := s.testsOf(r.Context(), name)
	if err != nil {
		return v, err
	}
	ask, err := r.testsAsk()
	if err != nil {
		return v, err
	}
	if q := r.URL.Query(); q.Get("name") != "" {
		rows, err := s.Tests.Find(r.Context(), at, q.Get("name"), q.Get("variant"))
		v.Tests, v.Total, v.Ask = append([]insight.TestRow{}, rows...), len(rows), ask
		v.Repository = name
		renamed(v.Tests, name)
		return v, err
	}
	if v, err = s.Tests.List(r.Context(), []string{at}, ask); err != nil {
		return v, err
	}
	v.Repository, v.Count.Repository = name, name
	renamed(v.Tests, name)
	return v, nil
}

// renamed has tests be of the repository as it is called here.
func renamed(tests []insight.TestRow, name string) {
	for i := range tests {
		tests[i].Repository = name
	}
}

func (s *Server) heatmap(r *request) (v insight.TestGrid, err error) {
	name := r.PathValue("repository")
	at, err := s.testsOf(r.Context(), name)
	if err != nil {
		return v, err
	}
	ask := insight.GridAsk{Branch: r.URL.Query().Get("branch"), Green: r.URL.Query().Get("green") == "1"}
	for param, n := range map[string]*int{"runs": &ask.Runs, "tests": &ask.Tests} {
		given, err := r.whole(param, 0, 1<<30)
		if err != nil {
			return v, err
		}
		*n = int(given)
	}
	if v, err = s.Tests.Grid(r.Context(), at, ask); err != nil {
		return v, err
	}
	v.Repository = name
	for i := range v.Tests {
		v.Tests[i].Repository = name
	}
	return v, nil
}

func (s *Server) pyramid(r *request) (v insight.TestPyramid, err error) {
	name := r.PathValue("repository")
	at, err := s.testsOf(r.Context(), name)
	if err != nil {
		return v, err
	}
	if v, err = s.Tests.Pyramid(r.Context(), at); err != nil {
		return v, err
	}
	v.Repository = name
	for _, list := range [][]insight.TestRow{v.Leaders, v.Slowest, v.Over, v.Idle, v.NeverRan} {
		renamed(list, name)
	}
	for i := range v.Ranks {
		renamed(v.Ranks[i].Tests, name)
	}
	return v, nil
}

// testID is the test that a request is about.
func (s *Server) testID(r *request) (suite.ID, error) {
	at, err := s.testsOf(r.Context(), r.Object.Repository)
	return suite.ID{Repository: at, Key: r.PathValue("key"), Variant: r.URL.Query().Get("variant")}, err
}

func (s *Server) test(r *request) (*insight.TestStory, error) {
	id, err := s.testID(r)
	if err != nil {
		return nil, err
	}
	v, err := s.Tests.Test(r.Context(), id)
	if err != nil {
		return nil, err
	}
	v.Repository = r.Object.Repository
	return v, nil
}

// Releasing says why a test is released.
type Releasing struct {
	Why string `json:"why"`
}

func (s *Server) quarantine(r *request, in *insight.Quarantining) (*record.TestJudged, error) {
	id, err := s.decides(r)
	if err != nil {
		return nil, err
	}
	return s.Wards.Quarantine(r.Context(), insight.Person(r.by()), id, *in)
}

func (s *Server) release(r *request, in *Releasing) (*record.TestJudged, error) {
	id, err := s.decides(r)
	if err != nil {
		return nil, err
	}
	return s.Wards.Release(r.Context(), insight.Person(r.by()), id, in.Why)
}

// decides is the test that somebody decides about.
func (s *Server) decides(r *request) (suite.ID, error) {
	if s.Wards == nil {
		return suite.ID{}, lacking("quarantine")
	}
	return s.testID(r)
}
