package access

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestToken(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	admin := g.admin("ada")
	bob, _ := g.member(admin, "bob", Grant{Repository: "team/*", Role: Maintainer})
	plain, token, err := g.IssueToken(ctx, bob, TokenSpec{Name: "deploy", Verbs: []Verb{SeeRuns, StartRun, SetSecrets}, Grants: []Grant{{Repository: "team/app", Role: Developer}}})
	if err != nil {
		t.Fatal(err)
	}
	// The form that docs give to scanners of leaked secrets.
	if !regexp.MustCompile(`^flt_[0-9A-Za-z]{59}$`).MatchString(plain) {
		t.Errorf("%q does not look like a token", plain)
	}
	if strings.Contains(g.store.dump(), plain[len(tokenPrefix)+tokenID:]) {
		t.Error("the database holds the token")
	}
	p, err := g.Token(ctx, plain, here)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "bob" || p.Kind != TokenUser || p.Via != "token deploy" || p.Token != token.ID || p.Session != "" {
		t.Errorf("%+v", p)
	}
	for _, test := range []struct {
		v          Verb
		repository string
		want       bool
	}{
		{SeeRuns, "team/app", true}, {StartRun, "team/app", true},
		{StartRun, "team/lib", false},   // another repository of its owner
		{StartRun, "other/app", false},  // of somebody else
		{StartRun, "", false},           // everywhere
		{CancelRun, "team/app", false},  // not its verb
		{SetSecrets, "team/app", false}, // its verb, and its owner's role, but not its own
	} {
		if d := Decide(p, test.v, Object{Repository: test.repository}); d.Allowed != test.want {
			t.Errorf("%s in %q: %v, %s", test.v, test.repository, d.Allowed, d.Why)
		}
	}
	// It does not outgrow its owner.
	a, err := g.Account(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	a.Grants = []Grant{{Repository: "team/app", Role: Viewer}}
	if err := g.SetAccount(ctx, admin, a, a.Version); err != nil {
		t.Fatal(err)
	}
	if p, err = g.Token(ctx, plain, here); err != nil || Decide(p, StartRun, Object{Repository: "team/app"}).Allowed {
		t.Error("the token kept the role that its owner lost", err)
	}
	a.Disabled = true
	if err := g.SetAccount(ctx, admin, a, a.Version+1); err != nil {
		t.Fatal(err)
	}
	_, err = g.Token(ctx, plain, here)
	want(t, err, ErrNoToken)
}

func TestTokenOfNobody(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	admin := g.admin("ada")
	plain, _, err := g.IssueToken(t.Context(), admin, TokenSpec{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(i int, c byte) string { return plain[:i] + string(c) + plain[i+1:] }
	other := plain[:len(tokenPrefix)+tokenID] + randomWord(tokenSecret)
	bad := []string{
		"", "flt_", plain[:len(plain)-1], plain + "A", " " + plain, strings.ToLower(plain), strings.Repeat("x", 1<<20),
		other + checksum(other), // the right ID and checksum, the wrong secret
		workerPrefix + plain[len(tokenPrefix):],
	}
	worker := workerPrefix + plain[len(tokenPrefix):tokenSize-tokenSum]
	bad = append(bad, worker+checksum(worker))
	for i := range plain {
		for _, c := range []byte("Az-\x00\xff") {
			if plain[i] != c {
				bad = append(bad, swap(i, c))
			}
		}
	}
	for _, s := range bad {
		if _, err := g.Token(t.Context(), s, here); !errors.Is(err, ErrNoToken) {
			t.Errorf("%.80q: %v", s, err)
		}
	}
	if _, err := g.Token(t.Context(), plain, here); err != nil {
		t.Error(err)
	}
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		ctx := t.Context()
		admin := g.admin("ada")
		plain, token, err := g.IssueToken(ctx, admin, TokenSpec{Name: "t", Expires: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		used := func() Token {
			list, err := g.Tokens(ctx, admin)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v %v", list, err)
			}
			return list[0]
		}
		if !used().Used.IsZero() {
			t.Error("it was used before it was")
		}
		changes, first := g.store.changes, time.Now()
		for range 59 {
			if _, err := g.Token(ctx, plain, "203.0.113.9:5"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := g.store.changes - changes; n > 12 {
			t.Errorf("an hour of use wrote %d times", n)
		}
		if u := used(); u.Used.Sub(first) < 50*time.Minute || u.From != "203.0.113.9" || !u.Expires.Equal(token.Expires) {
			t.Errorf("%+v", u)
		}
		time.Sleep(time.Minute)
		_, err = g.Token(ctx, plain, here)
		want(t, err, ErrNoToken)

		plain, token, err = g.IssueToken(ctx, admin, TokenSpec{Name: "u"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * 365 * 24 * time.Hour)
		if _, err := g.Token(ctx, plain, here); err != nil {
			t.Error(err)
		}
		if err := g.RevokeToken(ctx, admin, token.ID); err != nil {
			t.Error(err)
		}
		_, err = g.Token(ctx, plain, here)
		want(t, err, ErrNoToken)
	})
}

func TestTokensOfOthers(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	admin := g.admin("ada")
	bob, _ := g.member(admin, "bob")
	eve, _ := g.member(admin, "eve", Grant{Repository: "*/x", Role: Admin})
	_, bobs, err := g.IssueToken(ctx, bob, TokenSpec{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	_, worker, err := g.IssueToken(ctx, admin, TokenSpec{Name: "build-1", Worker: true})
	if err != nil {
		t.Fatal(err)
	}
	count := func(p *Principal) int {
		list, err := g.Tokens(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if count(eve) != 0 || count(bob) != 1 || count(admin) != 2 || count(nil) != 0 {
		t.Errorf("eve sees %d, bob %d, the admin %d", count(eve), count(bob), count(admin))
	}
	_, _, err = g.IssueToken(ctx, eve, TokenSpec{Name: "mine", Owner: "ada"})
	wantAs[*DeniedError](t, err)
	for _, id := range []string{bobs.ID, worker.ID, "0000000000", "", strings.Repeat("x", 5000)} {
		want(t, g.RevokeToken(ctx, eve, id), ErrNoToken)
	}
	want(t, g.RevokeToken(ctx, admin, "0000000000"), ErrNoToken)
	if err := g.RevokeToken(ctx, bob, bobs.ID); err != nil {
		t.Error(err)
	}
	if err := g.RevokeToken(ctx, admin, worker.ID); err != nil {
		t.Error(err)
	}
	if a := g.store.lastAct(t); a.Object != worker.String() || a.Detail["revoked"] != "yes" {
		t.Errorf("recorded: %+v", a)
	}
	if count(admin) != 0 {
		t.Error("some are left")
	}
}

func TestWorkerToken(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	ada := g.admin("ada")
	other, _ := g.member(ada, "carl", Grant{Role: Admin})
	plain, _, err := g.IssueToken(ctx, ada, TokenSpec{Name: "build-1", Worker: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(plain, "flw_") {
		t.Errorf("%q", plain)
	}
	p, err := g.Token(ctx, plain, here)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "build-1" || p.Kind != Worker || len(p.Grants) != 0 {
		t.Errorf("%+v", p)
	}
	for _, rule := range Verbs() {
		if got := Decide(p, rule.Verb, Object{Repository: "team/app"}).Allowed; got != (rule.Verb == Work) {
			t.Errorf("%s: %v", rule.Verb, got)
		}
	}
	// Two workers of one name could not be told apart.
	_, _, err = g.IssueToken(ctx, other, TokenSpec{Name: "build-1", Worker: true})
	wantAs[*InvalidError](t, err)
	// It goes on working when whoever made it leaves.
	if err := g.RemoveAccount(ctx, other, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Token(ctx, plain, here); err != nil {
		t.Error(err)
	}
}

func TestTokenSpecRefusesNonsense(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	admin := g.admin("ada")
	for _, spec := range []TokenSpec{
		{}, {Name: strings.Repeat("n", 101)}, {Name: "a\nb"}, {Name: "\xff"},
		{Name: "t", Expires: -1}, {Name: "t", Expires: 100 * 365 * 24 * time.Hour},
		{Name: "t", Verbs: []Verb{}}, {Name: "t", Grants: []Grant{}},
		{Name: "t", Verbs: []Verb{"x"}}, {Name: "t", Verbs: []Verb{SetAccounts}}, {Name: "t", Verbs: []Verb{OwnTokens}}, {Name: "t", Verbs: []Verb{Work}},
		{Name: "t", Verbs: []Verb{SeeRuns, SeeRuns}}, {Name: "t", Grants: []Grant{{Role: "king"}}},
		{Name: "t", Worker: true, Verbs: []Verb{SeeRuns}}, {Name: "t", Worker: true, Grants: []Grant{{Role: Viewer}}},
		{Name: "t", Owner: "a b"},
	} {
		_, _, err := g.IssueToken(t.Context(), admin, spec)
		wantAs[*InvalidError](t, err)
	}
	_, _, err := g.IssueToken(t.Context(), Local("root"), TokenSpec{Name: "t"}) // who has no account
	want(t, err, ErrNoAccount)
	if _, _, err := g.IssueToken(t.Context(), Local("root"), TokenSpec{Name: "t", Owner: "ada"}); err != nil {
		t.Error(err)
	}
	_, _, err = g.IssueToken(t.Context(), admin, TokenSpec{Name: "t"})
	wantAs[*InvalidError](t, err) // there is one of that name
}

func TestRandomWord(t *testing.T) {
	t.Parallel()
	seen := map[byte]bool{}
	for range 200 {
		w := randomWord(43)
		if len(w) != 43 {
			t.Fatalf("%q", w)
		}
		for i := range w {
			seen[w[i]] = true
		}
	}
	if len(seen) != 62 {
		t.Errorf("%d signs of 62", len(seen))
	}
}

func TestPasswordHash(t *testing.T) {
	t.Parallel()
	stored := seal(argon2id, goodPassword)
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=32768,t=3,p=1$") {
		t.Errorf("%s", stored)
	}
	if fits, old := unseal(argon2id, stored, goodPassword); !fits || old {
		t.Error("it does not fit itself")
	}
	if fits, _ := unseal(argon2id, stored, goodPassword+" "); fits {
		t.Error("another fits")
	}
	// One that another program made, at another cost.
	salt := []byte("saltsalt")
	weak := encodeHash(cost{8, 1, 1}, salt, argon2.IDKey([]byte("pw"), salt, 1, 8, 1, 32))
	if fits, old := unseal(argon2id, weak, "pw"); !fits || !old {
		t.Errorf("fits %v, old %v", fits, old)
	}
	for _, bad := range []string{
		"", "x", "$2a$10$abc", strings.Replace(stored, "argon2id", "argon2i", 1), strings.Replace(stored, "v=19", "v=16", 1),
		strings.Replace(stored, "m=32768", "m=4294967295", 1), strings.Replace(stored, "t=3", "t=4000000", 1), strings.Replace(stored, "t=3", "t=0", 1),
		strings.Replace(stored, "p=1", "p=0", 1), strings.Replace(stored, "p=1", "p=256", 1), stored[:len(stored)-2], stored + "AA", stored + "$",
	} {
		fits, _ := unseal(func(_, _ []byte, c cost) []byte {
			if c != usual {
				t.Errorf("%q makes us hash at %+v", bad, c)
			}
			return make([]byte, hashSize) // what a damaged hash is compared with
		}, bad, goodPassword)
		if fits {
			t.Errorf("anything fits %q", bad)
		}
	}
}

// TestPasswordHashIsRenewed: who signs in has a hash of today's cost
// afterwards.
func TestPasswordHashIsRenewed(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	var a stored
	r, err := g.load(t.Context(), kindAccount, "ada", &a)
	if err != nil {
		t.Fatal(err)
	}
	weak := cost{8, 1, 1}
	a.Hash = encodeHash(weak, []byte("saltsalt"), g.hash([]byte(goodPassword), []byte("saltsalt"), weak))
	if _, err := g.store.Change(t.Context(), []record.Register{a.saved(r.Version)}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.SignIn(t.Context(), "ada", goodPassword, here); err != nil {
		t.Fatal(err)
	}
	if _, err = g.load(t.Context(), kindAccount, "ada", &a); err != nil {
		t.Fatal(err)
	}
	if c, _, _, err := parseHash(a.Hash); err != nil || c != usual {
		t.Errorf("%+v %v", c, err)
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{
		"": false, "123456789": false, "1234567890": true, "correct horse": true, strings.Repeat("a", 20): false,
		strings.Repeat("ab", 512): true, strings.Repeat("ab", 513): false, "pass\xffword12": false, "ADA@EXAMPLE.ORG": false, "пароль слово": true,
	} {
		if err := checkPassword("ada@example.org", password); (err == nil) != good {
			t.Errorf("%.20q: %v", password, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	plain := tokenPrefix + strings.Repeat("0", tokenID+tokenSecret)
	f.Add(plain + checksum(plain))
	f.Add("flw_")
	f.Fuzz(func(t *testing.T, s string) {
		id, digest, worker, ok := readToken(s)
		if !ok {
			return
		}
		if len(s) != tokenSize || len(id) != tokenID || len(digest) != 64 || worker != strings.HasPrefix(s, "flw_") || !strings.Contains(s, id) {
			t.Errorf("%q: %q %q %v", s, id, digest, worker)
		}
	})
}

func FuzzCookie(f *testing.F) {
	f.Add(newSecret())
	f.Add(newFlow(time.Now(), "/runs?x=1").cookie)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := digestOf(s); ok && len(s) != 43 {
			t.Errorf("%q is no secret", s)
		}
		if flow, ok := readFlow(s); ok && (flow.cookie != s || LocalPath(flow.back) != flow.back) {
			t.Errorf("%q leads to %q", s, flow.back)
		}
	})
}

func FuzzPasswordHash(f *testing.F) {
	f.Add(encodeHash(usual, make([]byte, saltSize), make([]byte, hashSize)))
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		c, salt, sum, err := parseHash(s)
		if err == nil && (c.Memory > maxHashMemory || c.Time > maxHashTime || c.Threads == 0 || len(sum) != hashSize || len(salt) == 0) {
			t.Errorf("%q: %+v", s, c)
		}
	})
}

func BenchmarkPassword(b *testing.B) {
	stored := seal(argon2id, goodPassword)
	for b.Loop() {
		unseal(argon2id, stored, goodPassword)
	}
}

func BenchmarkSession(b *testing.B) {
	g := New(Options{Registers: newMemory()})
	g.hash = func(_, _ []byte, _ cost) []byte { return make([]byte, hashSize) }
	secret, _, err := g.FirstLink(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s, err := g.UseFirst(b.Context(), secret, "ada", goodPassword, here)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := g.Session(b.Context(), s.Cookie, here); err != nil {
			b.Fatal(err)
		}
	}
}
