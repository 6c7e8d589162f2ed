package access

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; when that is meant, run the test with -update and look at the difference:\n%s", path, got)
	}
}

// TestRights writes down the whole of who may do what: it is a page of
// documentation, too.
func TestRights(t *testing.T) {
	t.Parallel()
	app := Object{Repository: "team/app"}
	who := []struct {
		name string
		p    *Principal
		o    Object
	}{
		{"nobody", &Principal{}, app},
		{"public", &Principal{Grants: []Grant{{Role: Viewer}}}, app},
		{"account", &Principal{Name: "x", Kind: Person}, app},
	}
	for _, role := range roles[1:] {
		grant := []Grant{{Repository: "team/*", Role: role}}
		who = append(who, struct {
			name string
			p    *Principal
			o    Object
		}{string(role) + " here", &Principal{Name: "x", Kind: Person, Grants: grant}, app})
	}
	grant := []Grant{{Repository: "other/*", Role: Admin}}
	everywhere := []Grant{{Role: Admin}}
	who = append(who, []struct {
		name string
		p    *Principal
		o    Object
	}{
		{"admin elsewhere", &Principal{Name: "x", Kind: Person, Grants: grant}, app},
		{"maintainer everywhere", &Principal{Name: "x", Kind: Person, Grants: []Grant{{Role: Maintainer}}}, app},
		{"admin everywhere", &Principal{Name: "x", Kind: Person, Grants: everywhere}, app},
		{"admin's token", &Principal{Name: "x", Kind: TokenUser, Grants: everywhere}, app},
		{"admin's token for team/*", &Principal{Name: "x", Kind: TokenUser, Grants: everywhere, Within: []Grant{{Repository: "team/*", Role: Developer}}}, app},
		{"worker", &Principal{Name: "x", Kind: Worker, Grants: everywhere}, app},
	}...)
	var b bytes.Buffer
	b.WriteString("Who may do what to the repository team/app. \"here\" is a role granted in team/*, \"elsewhere\" one in other/*.\n\n| verb |")
	for _, w := range who {
		b.WriteString(" " + w.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(who)) + "\n")
	for _, rule := range Verbs() {
		fmt.Fprintf(&b, "| %s: %s |", rule.Verb, rule.What)
		for _, w := range who {
			sign := " – |"
			if d := Decide(w.p, rule.Verb, w.o); d.Allowed {
				sign = " yes |"
			} else if d.Why == "" {
				t.Errorf("%s may not %s, and is not told why", w.name, rule.Verb)
			}
			b.WriteString(sign)
		}
		b.WriteString("\n")
	}
	golden(t, "rights.md", b.Bytes())
}

// TestDecide walks every verb with every role, in the repository, elsewhere
// and everywhere, against the rule written down once more.
func TestDecide(t *testing.T) {
	t.Parallel()
	o := Object{Repository: "team/app", Environment: "production"}
	for _, rule := range Verbs() {
		for _, kind := range []string{"", Person, TokenUser, Worker, "ghost"} {
			for _, role := range append(Roles(), "king") {
				for _, place := range []string{"team/app", "team/*", "team/ap", "*", "", "team/app2"} {
					for _, environment := range []string{"", "production", "prod*", "staging"} {
						p := &Principal{Name: "x", Kind: kind, Grants: []Grant{{place, environment, role}}}
						here := (place == "team/app" || place == "team/*" || place == "*" || place == "") && environment != "staging"
						everywhere := (place == "*" || place == "") && environment == ""
						has := None
						switch {
						case role == "king":
						case rule.Scope == InRepository && here, rule.Scope == OnServer && everywhere, rule.Scope == Somewhere:
							has = role
						}
						want := rank(has) >= rank(rule.Least)
						switch kind {
						case "":
							want = want && rule.Public
						case TokenUser:
							want = want && rule.Token && rule.Verb != Work
						case Person:
							want = want && rule.Verb != Work
						case Worker:
							want = rule.Verb == Work
						case "ghost":
							want = false
						}
						d := Decide(p, rule.Verb, o)
						if d.Allowed != want {
							t.Errorf("%s %q, %s in %q %q: allowed %v (%s)", rule.Verb, kind, role, place, environment, d.Allowed, d.Why)
						}
						if d.Allowed && !Anywhere(p, rule.Verb).Allowed {
							t.Errorf("%s %q, %s in %q %q: allowed here and not anywhere", rule.Verb, kind, role, place, environment)
						}
						if kind == TokenUser && d.Allowed {
							narrow := *p
							narrow.Verbs = []Verb{}
							if Decide(&narrow, rule.Verb, o).Allowed {
								t.Errorf("%s: a token for nothing may", rule.Verb)
							}
							narrow.Verbs, narrow.Within = nil, []Grant{}
							if rule.Least != None && Decide(&narrow, rule.Verb, o).Allowed {
								t.Errorf("%s: a token for no place may", rule.Verb)
							}
						}
					}
				}
			}
		}
	}
}

func TestDecideIsDeniedByDefault(t *testing.T) {
	t.Parallel()
	admin := Local("root")
	for _, v := range []Verb{"", "runs.destroy", BeginSession, EndSession, "Runs.see"} {
		if d := Decide(admin, v, Object{}); d.Allowed {
			t.Errorf("%q is not in the table, and allowed", v)
		}
	}
	for _, rule := range Verbs() {
		if Decide(nil, rule.Verb, Object{}).Allowed || Decide(&Principal{}, rule.Verb, Object{}).Allowed {
			t.Errorf("%s: nobody may", rule.Verb)
		}
	}
}

func TestDecideSaysWhy(t *testing.T) {
	t.Parallel()
	app := Object{Repository: "team/app"}
	ada := &Principal{Name: "ada", Kind: Person, Grants: []Grant{{Repository: "team/*", Role: Developer}}}
	token := &Principal{Name: "ada", Kind: TokenUser, Grants: []Grant{{Role: Maintainer}}, Within: []Grant{{Repository: "team/*", Role: Viewer}}, Verbs: []Verb{SeeRuns, StartRun}}
	for _, test := range []struct {
		p    *Principal
		v    Verb
		o    Object
		want string
	}{
		{ada, SetSecrets, app, "needs role maintainer in team/app; ada has developer there"},
		{ada, SetSecrets, Object{Repository: "team/app", Environment: "production"}, "needs role maintainer in team/app, environment production; ada has developer there"},
		{ada, StartRun, Object{Repository: "other/app"}, "needs role developer in other/app; ada has no role there"},
		{ada, StartRun, app, "ada is developer in team/app"},
		{ada, SetAccounts, Object{}, "needs role admin in the whole server; ada has no role there"},
		{ada, SetAccounts, app, "needs role admin in the whole server; ada has no role there"},
		{ada, Work, Object{}, "only a worker's token may be used to take jobs as a worker"},
		{token, StartRun, app, "needs role developer in team/app; this token has viewer there"},
		{token, CancelRun, app, "this token is not for runs.cancel"},
		{token, SetAccounts, app, "no token may be used to add, change and remove accounts: sign in"},
		{&Principal{Kind: Worker, Name: "w"}, SeeRuns, app, "a worker's token is only for work, not to see runs, logs and artifacts"},
		{nil, StartRun, app, "sign in to start runs"},
		{nil, SeeRuns, app, "sign in to see runs, logs and artifacts in team/app"},
	} {
		if d := Decide(test.p, test.v, test.o); d.Why != test.want {
			t.Errorf("%s in %v:\n got %s\nwant %s", test.v, test.o, d.Why, test.want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", true}, {"*", "", true}, {"*", "a/b", true},
		{"a", "a", true}, {"a", "A", false}, {"a", "", false}, {"a", "ab", false},
		{"team/*", "team/app", true}, {"team/*", "team/a/b", true}, {"team/*", "team", false}, {"team/*", "xteam/app", false},
		{"*/app", "team/app", true}, {"*/app", "team/app2", false}, {"*/app", "a/app/app", true},
		{"a*b*c", "abc", true}, {"a*b*c", "aXbXbXc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"a*a", "aa", true},
		{"**", "x", true}, {"a**b", "ab", true}, {"?", "x", false}, {"[a]", "a", false},
	} {
		if got := match(test.pattern, test.name); got != test.want {
			t.Errorf("%q and %q: %v", test.pattern, test.name, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b*c", "aXbXc")
	f.Add("**a", "ba")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 12 {
			return
		}
		if got, want := match(pattern, name), pattern == "" || slowMatch(pattern, name); got != want {
			t.Errorf("%q and %q: %v", pattern, name, got)
		}
	})
}

// slowMatch is match by its definition.
func slowMatch(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*':
		return slowMatch(pattern[1:], name) || name != "" && slowMatch(pattern, name[1:])
	}
	return name != "" && name[0] == pattern[0] && slowMatch(pattern[1:], name[1:])
}

func BenchmarkDecide(b *testing.B) {
	p := &Principal{Name: "ada", Kind: Person}
	for i := range 20 {
		p.Grants = append(p.Grants, Grant{Repository: fmt.Sprintf("team%d/*", i), Role: Developer})
	}
	o := Object{Repository: "team19/app"}
	b.ReportAllocs()
	for b.Loop() {
		if !Decide(p, StartRun, o).Allowed {
			b.Fatal("denied")
		}
	}
}
