package launch

import (
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestJudge is the first row of the threat table: what a run may do hangs on where its
// commits lie, and on nothing that its sender says.
func TestJudge(t *testing.T) {
	t.Parallel()
	const main, topic, tag = "refs/heads/main", "refs/heads/topic", "refs/tags/v1"
	fork := circumstances{Event: "pull_request", Ref: main, Change: true, Fork: true, Place: nowhere}
	for _, tt := range []struct {
		name string
		repo Repository
		c    circumstances
		want terms
	}{
		{"a push to the default branch", Repository{}, circumstances{Event: "push", Ref: main, Place: inRef}, terms{Trust: record.Protected}},
		{"a tag", Repository{}, circumstances{Event: "push", Ref: tag, Place: inRef}, terms{Trust: record.Protected}},
		{"a branch", Repository{}, circumstances{Event: "push", Ref: topic, Place: inRef}, terms{Trust: record.Contributor}},
		{"a branch that is protected", Repository{Protected: []string{"topic"}}, circumstances{Event: "push", Ref: topic, Place: inRef}, terms{Trust: record.Protected}},
		{"the default branch where others are", Repository{Protected: []string{"release/*"}}, circumstances{Event: "push", Ref: main, Place: inRef}, terms{Trust: record.Contributor}},
		{"said to be on main, and is on a branch", Repository{}, circumstances{Event: "push", Ref: main, Place: inRepository}, terms{Trust: record.Contributor}},
		{"said to be on main, and is nowhere", Repository{}, circumstances{Event: "push", Ref: main, Place: nowhere}, terms{Trust: record.Untrusted, Approval: true}},
		{"a schedule", Repository{}, circumstances{Event: "schedule", Ref: main, Place: inRef}, terms{Trust: record.Protected}},
		{"by hand on a branch", Repository{}, circumstances{Event: "workflow_dispatch", Ref: topic, Place: inRef}, terms{Trust: record.Contributor}},
		{"a change between branches", Repository{}, circumstances{Event: "pull_request", Ref: main, Change: true, Place: inRepository}, terms{Trust: record.Contributor}},
		{"a merged change", Repository{}, circumstances{Event: "pull_request", Ref: main, Change: true, Place: inRef}, terms{Trust: record.Contributor}},
		{"a change whose commits are on no branch, whatever is said", Repository{}, circumstances{Event: "pull_request", Ref: main, Change: true, Place: nowhere}, terms{Trust: record.Untrusted, Approval: true}},
		{"a fork", Repository{}, fork, terms{Trust: record.Untrusted, Approval: true}},
		{"a fork whose commits are on a branch, too", Repository{}, circumstances{Event: "pull_request", Ref: main, Change: true, Fork: true, Place: inRef}, terms{Trust: record.Untrusted, Approval: true}},
		{"forks run", Repository{Forks: ForksRun}, fork, terms{Trust: record.Untrusted, Base: true}},
		{"forks are refused", Repository{Forks: ForksNever}, fork, terms{Trust: record.Untrusted, Refused: "changes from forks are not run here"}},
		{"a setting that nobody knows", Repository{Forks: "yes"}, fork, terms{Trust: record.Untrusted, Approval: true}},
		{"pull_request_target of a fork", Repository{}, circumstances{Event: "pull_request_target", Ref: main, Change: true, Fork: true}, terms{Trust: record.Untrusted, Approval: true, Base: true}},
		{"pull_request_target of a branch", Repository{}, circumstances{Event: "pull_request_target", Ref: main, Change: true, Place: inRepository}, terms{Trust: record.Contributor, Base: true}},
		{"after a trusted run", Repository{}, circumstances{Event: "workflow_run", Ref: main, Place: inRef, Follows: record.Contributor}, terms{Trust: record.Protected}},
		{"after an untrusted run", Repository{}, circumstances{Event: "workflow_run", Ref: main, Place: inRef, Follows: record.Untrusted}, terms{Trust: record.Untrusted, Base: true}},
	} {
		tt.c.Default = "main"
		if got := judge(&tt.repo, tt.c); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestProtected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		patterns []string
		ref      string
		want     bool
	}{
		{nil, "refs/heads/main", true}, {nil, "refs/heads/mainly", false}, {nil, "refs/tags/v1", true}, {nil, "refs/pull/1/head", false}, {nil, "main", false},
		{[]string{"release/*"}, "refs/heads/release/1", true}, {[]string{"release/*"}, "refs/heads/release/1/x", false},
		{[]string{"release/**"}, "refs/heads/release/1/x", true}, {[]string{"release/**"}, "refs/heads/release", false},
		{[]string{"v*"}, "refs/tags/v1", false}, {[]string{"refs/tags/v*"}, "refs/tags/v1", true}, {[]string{"*"}, "refs/heads/a", true},
		{[]string{"*"}, "refs/tags/a", false}, {[]string{"["}, "refs/heads/[", false},
	} {
		if got := protected(&Repository{Protected: tt.patterns}, tt.ref, "main"); got != tt.want {
			t.Errorf("%v %s: %t", tt.patterns, tt.ref, got)
		}
	}
}

// TestScopes: nobody reads what was written by whom he trusts less.
func TestScopes(t *testing.T) {
	t.Parallel()
	origin := func(trust record.Trust, change string) *record.Origin {
		return &record.Origin{Repository: "team/app", Trust: trust, Change: change}
	}
	change := func(ref string) *plan.Change {
		return &plan.Change{Ref: ref, SHA: "4711", BaseRef: "main", DefaultBranch: "main"}
	}
	list := func(own cache.Scope, more ...cache.Scope) cache.Scopes {
		return cache.Scopes{Write: own, Read: append([]cache.Scope{own}, more...)}
	}
	for _, tt := range []struct {
		name string
		o    *record.Origin
		c    *plan.Change
		want cache.Scopes
	}{
		{"of the command line", nil, change("refs/heads/main"), cache.Local},
		{"main", origin(record.Protected, ""), change("refs/heads/main"), list("default@team/app")},
		{"a tag", origin(record.Protected, ""), change("refs/tags/v1"), list("tag/v1@team/app", "default@team/app")},
		{"main that is not protected", origin(record.Contributor, ""), change("refs/heads/main"), list("branch/main@team/app", "default@team/app")},
		{"a branch", origin(record.Contributor, ""), change("refs/heads/x"), list("branch/x@team/app", "default@team/app")},
		{"a change", origin(record.Contributor, "17"), change("refs/pull/17/merge"), list("change/17@team/app", "branch/main@team/app", "default@team/app")},
		{"a fork", origin(record.Untrusted, "17"), change("refs/pull/17/merge"), list("change/17@team/app", "branch/main@team/app", "default@team/app")},
		{"a fork's pull_request_target", origin(record.Untrusted, "17"), change("refs/heads/main"), list("change/17@team/app", "branch/main@team/app", "default@team/app")},
		{"a stranger's commit", origin(record.Untrusted, ""), change("refs/heads/main"), list("untrusted/4711@team/app", "default@team/app")},
	} {
		got := scopes(tt.o, tt.c)
		if got.Write != tt.want.Write || !slices.Equal(got.Read, tt.want.Read) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	other := origin(record.Protected, "")
	other.Repository = "team/other"
	if got := scopes(other, change("refs/heads/main")); slices.Contains(got.Read, "default@team/app") {
		t.Error("a repository reads another's")
	}
}

func TestConfides(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o        record.Origin
		approved bool
		want     bool
	}{
		{record.Origin{Trust: record.Protected}, false, true}, {record.Origin{Trust: record.Contributor}, false, true},
		{record.Origin{Trust: record.Untrusted}, false, false}, {record.Origin{Trust: record.Untrusted}, true, false},
		{record.Origin{Trust: record.Untrusted, Approval: true}, false, false}, {record.Origin{Trust: record.Untrusted, Approval: true}, true, true},
		{record.Origin{Trust: "trusted"}, false, false}, {record.Origin{}, false, false},
	} {
		if got := confides(&tt.o, tt.approved); got != tt.want {
			t.Errorf("%+v approved %t: %t", tt.o, tt.approved, got)
		}
	}
}
