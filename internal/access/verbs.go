package access

import (
	"fmt"
	"slices"
	"strings"
)

// Scope says what a verb is about, and so which grants count for it.
type Scope int

// The scopes.
const (
	// InRepository verbs are done to a repository, or to an environment of it.
	// The grants that match it count.
	InRepository Scope = iota
	// OnServer verbs are done to the whole server. Only grants that hold
	// everywhere count.
	OnServer
	// Somewhere verbs show or do what concerns whoever works with the server
	// at all. The greatest role in any repository counts.
	Somewhere
)

func (s Scope) String() string {
	return [...]string{"repository", "server", "anywhere"}[s]
}

// Rule is what it takes to do something.
type Rule struct {
	Verb  Verb
	Least Role // the least role; None: everybody who has an account
	Scope Scope
	// Token says that a token may carry it. What would let a stolen token
	// outlive its revocation (making accounts, other tokens) none may.
	Token bool
	// Public says that nobody in particular may do it where the server is set
	// to public viewing.
	Public bool
	What   string // for people: "see runs, logs and artifacts"
}

// Verbs returns the table: every verb there is, in the order of the page that
// shows it. [Work] stands for workers alone, whatever the role.
func Verbs() []Rule { return slices.Clone(rules[:]) }

// rules is read only.
var rules = [...]Rule{
	{SeeRuns, Viewer, InRepository, true, true, "see runs, logs and artifacts"},
	{StartRun, Developer, InRepository, true, false, "start runs"},
	{CancelRun, Developer, InRepository, true, false, "cancel runs"},
	{RepeatRun, Developer, InRepository, true, false, "repeat runs"},
	{PushRun, Developer, InRepository, true, false, "push runs of one's own machine"},
	{ApproveRun, Maintainer, InRepository, true, false, "approve runs"},
	{SeeQueue, Viewer, Somewhere, true, true, "see the queue"},
	{SeeWorkers, Developer, Somewhere, true, false, "see workers"},
	{SetWorkers, Admin, OnServer, true, false, "pause, drain and remove workers"},
	{Work, None, OnServer, true, false, "take jobs as a worker"},
	{SeeRepos, Viewer, InRepository, true, true, "see repositories"},
	{SetRepo, Maintainer, InRepository, true, false, "change a repository's settings"},
	{AddRepo, Admin, OnServer, true, false, "add and remove repositories"},
	{SeeSecrets, Maintainer, InRepository, true, false, "see the names of secrets"},
	{SetSecrets, Maintainer, InRepository, true, false, "set and remove secrets"},
	{SeeAccounts, Admin, OnServer, true, false, "see accounts"},
	{SetAccounts, Admin, OnServer, false, false, "add, change and remove accounts"},
	{OwnTokens, None, Somewhere, false, false, "make and revoke one's own tokens"},
	{SeeAudit, Admin, OnServer, true, false, "see the audit trail"},
	{SeeSettings, Admin, OnServer, true, false, "see the server's settings"},
	{SetSettings, Admin, OnServer, false, false, "change the server's settings"},
	{SetRoutes, Admin, OnServer, true, false, "set whom the server tells of what"},
	{DistrustCache, Maintainer, InRepository, true, false, "distrust what was kept for reuse"},
	{SetIssues, Developer, InRepository, true, false, "set and remove known issues of failures"},
	{MuteTests, Maintainer, InRepository, true, false, "put tests into quarantine, and release them"},
	{EvaluateFlags, Viewer, InRepository, true, false, "ask what feature flags are for somebody"},
	{SeeFlags, Viewer, InRepository, true, false, "see feature flags, their rules and their history"},
	{KillFlag, Developer, InRepository, true, false, "pull the kill switch of a feature flag"},
	{SetFlags, Maintainer, InRepository, true, false, "set, revive and remove feature flags"},
	{SetIncidents, Developer, InRepository, true, false, "open, note on, link and resolve incidents, and take alerts for them"},
	{MoveDeploy, Developer, InRepository, true, false, "deploy, and pause, promote, abort and roll back deployments"},
	{ApproveDeploy, Maintainer, InRepository, true, false, "approve deployments, pass over their gates, and lift rejections"},
}

// ruleOf finds a verb's row.
func ruleOf(v Verb) (Rule, bool) {
	i := slices.IndexFunc(rules[:], func(r Rule) bool { return r.Verb == v })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

// roles are the roles from the least; a role's rank is its place.
var roles = [...]Role{None, Viewer, Developer, Maintainer, Admin}

// Roles returns the roles from the least to the greatest, None first.
func Roles() []Role { return slices.Clone(roles[:]) }

// rank is a role's place, 0 for None and for what is no role.
func rank(r Role) int { return max(slices.Index(roles[:], r), 0) }

// lesser is the smaller of two roles.
func lesser(a, b Role) Role { return roles[min(rank(a), rank(b))] }

// greater is the larger of two roles.
func greater(a, b Role) Role { return roles[max(rank(a), rank(b))] }

// Decide says whether p may do v to o. It is a pure function of its arguments and
// of the table [Verbs]; what neither allows is denied.
func Decide(p *Principal, v Verb, o Object) Decision {
	return decide(p, v, where(o), func(grants []Grant, r Rule) Role {
		switch r.Scope {
		case InRepository:
			return roleIn(grants, o)
		case OnServer:
			return roleIn(grants, Object{})
		default:
			return roleSomewhere(grants)
		}
	})
}

// Anywhere says whether there may be an object to which p may do v. It is the
// question for a list, each row of which is then decided by [Decide], and for
// whether to show a link at all.
func Anywhere(p *Principal, v Verb) Decision {
	return decide(p, v, "any repository", func(grants []Grant, r Rule) Role {
		if r.Scope == OnServer {
			return roleIn(grants, Object{})
		}
		return roleSomewhere(grants)
	})
}

// decide walks the conditions in the order in which people should be told of
// them. roleOf finds the role that some grants give.
func decide(p *Principal, v Verb, place string, roleOf func([]Grant, Rule) Role) Decision {
	rule, known := ruleOf(v)
	if !known {
		return denied("nobody may %q: it is not in the table of verbs", v)
	}
	if rule.Scope == OnServer {
		place = "the whole server"
	}
	if p == nil {
		p = &Principal{}
	}
	switch p.Kind {
	case Worker:
		if v != Work {
			return denied("a worker's token is only for work, not to %s", rule.What)
		}
		return Decision{true, p.Name + " is a worker"}
	case Person, TokenUser:
		if v == Work {
			return denied("only a worker's token may be used to %s", rule.What)
		}
	case "":
		if !rule.Public {
			return denied("sign in to %s", rule.What)
		}
	default:
		return denied("%q is no kind of principal", p.Kind)
	}
	if p.Kind == TokenUser {
		if !rule.Token {
			return denied("no token may be used to %s: sign in", rule.What)
		}
		if p.Verbs != nil && !slices.Contains(p.Verbs, v) {
			return denied("this token is not for %s", v)
		}
	}
	role := roleOf(p.Grants, rule)
	narrowed := false
	if p.Within != nil {
		within := lesser(role, roleOf(p.Within, rule))
		narrowed, role = within != role, within
	}
	if rank(role) >= rank(rule.Least) {
		switch {
		case rule.Least == None:
			return Decision{true, "everybody who has an account may " + rule.What}
		case p.Kind == "":
			return Decision{true, "everybody may " + rule.What + " in " + place}
		}
		return Decision{true, fmt.Sprintf("%s is %s in %s", p.Name, role, place)}
	}
	switch {
	case p.Kind == "":
		return denied("sign in to %s in %s", rule.What, place)
	case narrowed:
		return denied("needs role %s in %s; this token has %s there", rule.Least, place, roleName(role))
	}
	return denied("needs role %s in %s; %s has %s there", rule.Least, place, p.Name, roleName(role))
}

func denied(format string, args ...any) Decision {
	return Decision{Why: fmt.Sprintf(format, args...)}
}

func roleName(r Role) string {
	if r == None {
		return "no role"
	}
	return string(r)
}

// where names an object for people.
func where(o Object) string {
	switch {
	case o.Repository == "" && o.Environment == "":
		return "every repository"
	case o.Repository == "":
		return "environment " + o.Environment + " of every repository"
	case o.Environment == "":
		return o.Repository
	}
	return o.Repository + ", environment " + o.Environment
}

// RoleIn is the role that p has in a place, without regard to what a token is
// narrowed to do there.
func RoleIn(p *Principal, o Object) Role {
	if p == nil {
		return None
	}
	role := roleIn(p.Grants, o)
	if p.Within != nil {
		role = lesser(role, roleIn(p.Within, o))
	}
	return role
}

// roleIn is the greatest role that the grants give in a place.
func roleIn(grants []Grant, o Object) (role Role) {
	for _, g := range grants {
		if match(g.Repository, o.Repository) && match(g.Environment, o.Environment) {
			role = greater(role, g.Role)
		}
	}
	return role
}

// roleSomewhere is the greatest role that the grants give in any place.
func roleSomewhere(grants []Grant) (role Role) {
	for _, g := range grants {
		role = greater(role, g.Role)
	}
	return role
}

// match reports whether the name fits the pattern of a grant: "" fits all, * any
// text, all else only itself. It takes time in proportion to the product of
// their lengths at worst.
func match(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, rest)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], next
	}
}
