package launch

import (
	"path"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// place is where the server found a commit, in its own copy of the repository.
type place int

const (
	nowhere      place = iota // on no branch or tag of the repository
	inRepository              // on some branch or tag
	inRef                     // on the branch or tag that the event is about
)

// circumstances are what the trust in a run hangs on. Of what a code host or a person
// says only the event and its ref count; where the commits lie the server has
// found out itself.
type circumstances struct {
	Event   string // "pull_request"
	Ref     string // the full name of the branch or tag; of a change its target
	Fork    bool   // the host says that the commits come from another repository
	Change  bool   // it is about a pull or merge request
	Place   place
	Follows record.Trust // of a workflow_run: the trust in the run it follows, unless that was approved
	Default string       // the default branch
}

// terms are on what terms a run may go on.
type terms struct {
	Trust    record.Trust
	Refused  string // why it may not at all
	Approval bool   // a maintainer has to approve it first
	// Base says that the pipeline files of the base count, not those of the change.
	Base bool
}

// judge finds the terms of a run. It is a pure function, and the one place where
// trust is decided.
//
//	from                                        trust        files   secrets   approval
//	a fork; forks: approve                      untrusted    its own once approved  yes
//	a fork; forks: run                          untrusted    base    none      no
//	a fork; forks: never                        -            -       -         refused
//	a change between branches                   contributor  its own yes       no
//	an unprotected branch or tag                contributor  its own yes       no
//	a protected branch or tag                   protected    its own yes       no
//	a commit that is not on the ref it came for contributor  its own yes       no
//	a commit that is on no branch or tag        as a fork
//	the end of an untrusted run                 untrusted    base    none      no
func judge(r *Repository, c circumstances) terms {
	// pull_request_target runs what the base says, whoever sent the change.
	target := c.Event == "pull_request_target"
	switch {
	case c.Event == "workflow_run" && c.Follows == record.Untrusted:
		return terms{Trust: record.Untrusted, Base: true}
	case c.Fork || c.Place == nowhere:
		t := terms{Trust: record.Untrusted, Base: target}
		switch r.Forks {
		case ForksNever:
			t.Refused = "changes from forks are not run here"
		case ForksRun:
			t.Base = true
		default: // a setting that is not known must not let anything in
			t.Approval = true
		}
		return t
	case c.Change:
		return terms{Trust: record.Contributor, Base: target}
	case c.Place == inRef && protected(r, c.Ref, c.Default):
		return terms{Trust: record.Protected}
	}
	return terms{Trust: record.Contributor}
}

// protected reports whether only some may write to a ref.
func protected(r *Repository, ref, defaultBranch string) bool {
	if len(r.Protected) == 0 {
		return defaultBranch != "" && ref == "refs/heads/"+defaultBranch || strings.HasPrefix(ref, "refs/tags/")
	}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	for _, p := range r.Protected {
		name := branch
		if strings.HasPrefix(p, "refs/") {
			name = ref
		} else if !isBranch {
			continue
		}
		if below, ok := strings.CutSuffix(p, "/**"); ok {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				if ok, err := path.Match(below, dir); ok && err == nil {
					return true
				}
			}
			continue
		}
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

// confides reports whether a run is given secrets.
func confides(o *record.Origin, approved bool) bool {
	return o.Trust == record.Contributor || o.Trust == record.Protected || o.Approval && approved
}

// scopes says where a run writes what its steps did, and whose it may reuse:
// what a change from a fork wrote, nobody else ever reads. No repository reads another's.
func scopes(o *record.Origin, c *plan.Change) cache.Scopes {
	if o == nil {
		return cache.Local
	}
	of := func(s string) cache.Scope { return cache.Scope(s + "@" + o.Repository) }
	refOf := func(ref string) cache.Scope { return of(refScope(ref)) }
	common := of("default")
	switch {
	case o.Trust == record.Protected && o.Change == "":
		own := refOf(c.Ref)
		if c.Ref == "refs/heads/"+c.DefaultBranch {
			own = common
		}
		return within(own, common)
	case o.Change != "":
		return within(of("change/"+o.Change), refOf("refs/heads/"+c.BaseRef), common)
	case o.Trust == record.Contributor:
		return within(refOf(c.Ref), common)
	}
	// Nobody knows of whose: it is alone with what was done at that commit.
	return within(of("untrusted/"+c.SHA), common)
}

// within are the scopes of a run that writes its own and reads others besides.
func within(own cache.Scope, others ...cache.Scope) cache.Scopes {
	s := cache.Scopes{Write: own, Read: []cache.Scope{own}}
	for _, o := range others {
		if o != own {
			s.Read = append(s.Read, o)
		}
	}
	return s
}

// refScope is the scope of a branch or a tag.
func refScope(ref string) string {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return "branch/" + branch
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return "tag/" + tag
	}
	return "ref/" + ref
}
