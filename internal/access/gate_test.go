package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	goodPassword = "correct horse battery"
	here         = "192.0.2.7:4711"
)

// testGate is a gate whose hashes are quick and counted.
type testGate struct {
	*Gate
	store  *memory
	hashes atomic.Int64
	t      *testing.T
}

func newTestGate(t *testing.T, o Options) *testGate {
	t.Helper()
	g := &testGate{store: newMemory(), t: t}
	if o.Registers == nil {
		o.Registers = g.store
	}
	g.Gate = New(o)
	g.hash = func(password, salt []byte, c cost) []byte {
		g.hashes.Add(1)
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %x %s", c.Memory, c.Time, c.Threads, salt, password))
		return sum[:]
	}
	return g
}

// admin makes the first account.
func (g *testGate) admin(name string) *Principal {
	g.t.Helper()
	secret, fresh, err := g.FirstLink(g.t.Context())
	if err != nil || !fresh {
		g.t.Fatalf("first link: fresh %v, %v", fresh, err)
	}
	s, err := g.UseFirst(g.t.Context(), secret, name, goodPassword, here)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.who(s)
}

// member makes an account by an invitation.
func (g *testGate) member(by *Principal, name string, grants ...Grant) (*Principal, Session) {
	g.t.Helper()
	secret, err := g.Invite(g.t.Context(), by, name, grants)
	if err != nil {
		g.t.Fatal(err)
	}
	s, err := g.Accept(g.t.Context(), secret, goodPassword, here)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.who(s), s
}

func (g *testGate) who(s Session) *Principal {
	g.t.Helper()
	p, csrf, err := g.Session(g.t.Context(), s.Cookie, here)
	if err != nil {
		g.t.Fatal(err)
	}
	if csrf != s.CSRF || !g.CheckCSRF(s.Cookie, csrf) {
		g.t.Error("the session's form token does not fit")
	}
	return p
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("the error is %v, not %v", err, target)
	}
}

func wantAs[T error](t *testing.T, err error) (as T) {
	t.Helper()
	if !errors.As(err, &as) {
		t.Errorf("the error is %v, not a %T", err, as)
	}
	return as
}

func TestFirstLink(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	one, fresh, err := g.FirstLink(ctx)
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	two, _, err := g.FirstLink(ctx) // another server starts
	if err != nil || one == two {
		t.Fatal("the same link twice", err)
	}
	if strings.Contains(g.store.dump(), one) {
		t.Error("the database holds the link")
	}
	for _, bad := range []string{"", "x", one[1:], one + "A", newSecret(), strings.ToLower(one)} {
		_, err := g.UseFirst(ctx, bad, "eve", goodPassword, here)
		want(t, err, ErrNoLink)
	}
	// What is wrong with the form leaves the link good.
	_, err = g.UseFirst(ctx, one, "a b", goodPassword, here)
	wantAs[*InvalidError](t, err)
	_, err = g.UseFirst(ctx, one, "ada", "short", here)
	wantAs[*InvalidError](t, err)

	s, err := g.UseFirst(ctx, one, "Ada", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	if p := g.who(s); p.Name != "ada" || !Decide(p, SetAccounts, Object{}).Allowed || p.From != here {
		t.Errorf("the first admin is %+v", p)
	}
	for _, used := range []string{one, two} {
		_, err = g.UseFirst(ctx, used, "eve", goodPassword, here)
		want(t, err, ErrNoLink)
	}
	if secret, fresh, err := g.FirstLink(ctx); secret != "" || fresh || err != nil {
		t.Error("there is a first link although there is an account", err)
	}
}

func TestFirstLinkOnce(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	secret, _, err := g.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := g.UseFirst(t.Context(), secret, fmt.Sprintf("admin%d", i), goodPassword, here); err == nil {
				won.Add(1)
			} else {
				want(t, err, ErrNoLink)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d admins by one link", won.Load())
	}
}

func TestFirstLinkIsVoidOnceThereIsAnAccount(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	secret, _, err := g.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.member(Local("root"), "ada", Grant{Role: Admin})
	_, err = g.UseFirst(t.Context(), secret, "eve", goodPassword, here)
	want(t, err, ErrNoLink)
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	s, err := g.SignIn(t.Context(), " ADA ", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	p := g.who(s)
	if p.Name != "ada" || p.Kind != Person || p.Via != "session" {
		t.Errorf("%+v", p)
	}
	if a := g.store.lastAct(t); a.Verb != string(BeginSession) || a.By != "ada" || a.From != "192.0.2.7" || a.Via != "password" {
		t.Errorf("recorded: %+v", a)
	}
	again, err := g.SignIn(t.Context(), "ada", goodPassword, here)
	if err != nil || again.Cookie == s.Cookie || again.CSRF == s.CSRF {
		t.Error("the second session is the first", err)
	}
	if g.CheckCSRF(s.Cookie, again.CSRF) || g.CheckCSRF(s.Cookie, "") || g.CheckCSRF("", s.CSRF) || g.CheckCSRF("", csrfOf("")) {
		t.Error("a form token of another session is taken")
	}
	for _, secret := range []string{s.Cookie, s.CSRF, goodPassword} {
		if strings.Contains(g.store.dump(), secret) {
			t.Error("the database holds a secret")
		}
	}
	if err := g.SignOut(t.Context(), s.Cookie, here); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Session(t.Context(), s.Cookie, here)
	want(t, err, ErrNoSession)
	if err := g.SignOut(t.Context(), s.Cookie, here); err != nil {
		t.Error("to sign out twice is an error:", err)
	}
	g.who(again)
}

// TestSessionFixation: a cookie that somebody else chose never becomes a
// session's, nor does one of before the sign-in.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	planted := newSecret()
	_, _, err := g.Session(t.Context(), planted, here)
	want(t, err, ErrNoSession)
	s, err := g.SignIn(t.Context(), "ada", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	if s.Cookie == planted {
		t.Error("the planted cookie is the session's")
	}
	_, _, err = g.Session(t.Context(), planted, here)
	want(t, err, ErrNoSession)
	// The ID of the register, which whoever reads the database has, is no cookie.
	_, _, err = g.Session(t.Context(), g.who(s).Session, here)
	want(t, err, ErrNoSession)
}

// TestUnknownNameCostsTheSame counts hashes instead of measuring time.
func TestUnknownNameCostsTheSame(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	admin := g.admin("ada")
	if err := g.SetAccount(t.Context(), admin, Account{Name: "nopass"}, 0); err != nil {
		t.Fatal(err)
	}
	bob, _ := g.member(admin, "bob")
	if err := g.SetAccount(t.Context(), admin, Account{Name: "bob", Disabled: true}, 1); err != nil {
		t.Fatal(err)
	}
	_ = bob
	for i, test := range []struct{ name, password string }{
		{"ada", "wrong password"}, {"nobody", goodPassword}, {"nopass", ""}, {"nopass", goodPassword}, {"bob", goodPassword},
		{"no name/at all\x00", goodPassword}, {"", ""}, {strings.Repeat("a", 1<<20), goodPassword}, {"ada", strings.Repeat("x", 1<<20)},
	} {
		before := g.hashes.Load()
		_, err := g.SignIn(t.Context(), test.name, test.password, fmt.Sprintf("198.51.100.%d", i))
		want(t, err, ErrCredentials)
		if err != nil && strings.SplitN(err.Error(), "\n", 2)[0] != ErrCredentials.Error() {
			t.Errorf("the answer for %.20q differs: %v", test.name, err)
		}
		if n := g.hashes.Load() - before; n != 1 {
			t.Errorf("%.20q took %d hashes", test.name, n)
		}
	}
}

// TestMistypedPasswordIsNotRecorded: people type their password where the name
// belongs.
func TestMistypedPasswordIsNotRecorded(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	_, err := g.SignIn(t.Context(), "hunter2hunter2", "ada", here)
	want(t, err, ErrCredentials)
	if strings.Contains(g.store.dump(), "hunter2") {
		t.Error("it stands in the record")
	}
	if a := g.store.lastAct(t); a.Denied == "" || a.By != "" {
		t.Errorf("recorded: %+v", a)
	}
	_, err = g.SignIn(t.Context(), "ada", "hunter2hunter2", here)
	want(t, err, ErrCredentials)
	if a := g.store.lastAct(t); a.Denied == "" || a.By != "ada" {
		t.Errorf("recorded: %+v", a)
	}
}

func TestBruteForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		g.admin("ada")
		tries, began := 0, time.Now()
		var last time.Duration
		for time.Since(began) < 24*time.Hour {
			_, err := g.SignIn(t.Context(), fmt.Sprintf("name%d", tries), "wrong password", "203.0.113.9:1")
			if many := (*TooMany)(nil); errors.As(err, &many) {
				if many.After <= 0 || !strings.Contains(many.Error(), "try again in") {
					t.Fatalf("%+v: %v", many, err)
				}
				last = many.After
				time.Sleep(many.After)
				continue
			}
			want(t, err, ErrCredentials)
			tries++
		}
		if tries > 120 {
			t.Errorf("an address had %d tries a day", tries)
		}
		if last != perAddress.longest {
			t.Errorf("the wait ended at %s", last)
		}
		// Another address is not slowed, and an hour of quiet is forgiven.
		if _, err := g.SignIn(t.Context(), "ada", goodPassword, "203.0.113.10"); err != nil {
			t.Error(err)
		}
		time.Sleep(throttleForget + perAddress.longest)
		for range perAddress.free {
			_, err := g.SignIn(t.Context(), "x", "wrong password", "203.0.113.9")
			want(t, err, ErrCredentials)
		}
	})
}

func TestBruteForceOfOneNameFromManyAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		g.admin("ada")
		tries, began := 0, time.Now()
		for i := 0; time.Since(began) < time.Hour; i++ {
			_, err := g.SignIn(t.Context(), "ada", "wrong password", fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
			if many := (*TooMany)(nil); errors.As(err, &many) {
				time.Sleep(many.After)
				continue
			}
			tries++
		}
		if tries > 80 {
			t.Errorf("a name had %d tries an hour", tries)
		}
		// The owner waits a minute at most.
		time.Sleep(perName.longest)
		if _, err := g.SignIn(t.Context(), "ada", goodPassword, here); err != nil {
			t.Error(err)
		}
		// And is free of it afterwards.
		_, err := g.SignIn(t.Context(), "ada", "wrong password", here)
		want(t, err, ErrCredentials)
	})
}

// TestBruteForceThroughProxy: whoever hides behind the address of a proxy keeps
// nobody out for long.
func TestBruteForceThroughProxy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		g.admin("ada")
		for i := range 100 {
			_, err := g.SignIn(t.Context(), fmt.Sprint("name", i), "wrong password", "127.0.0.1:4711")
			if many := (*TooMany)(nil); errors.As(err, &many) {
				time.Sleep(many.After)
			}
		}
		time.Sleep(perName.longest)
		if _, err := g.SignIn(t.Context(), "ada", goodPassword, "[::ffff:127.0.0.1]:4712"); err != nil {
			t.Error(err)
		}
	})
}

func TestBruteForceAtOnce(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	before := g.hashes.Load()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() { _, _ = g.SignIn(t.Context(), "ada", "wrong password", here) })
	}
	wg.Wait()
	if n := g.hashes.Load() - before; n > int64(perAddress.free)+1 {
		t.Errorf("%d tries at once went through", n)
	}
}

func TestThrottleForgets(t *testing.T) {
	t.Parallel()
	var th throttle
	now := time.Now()
	for range perName.free {
		if _, err := th.begin(now, "victim", "192.0.2.1"); err != nil {
			now = now.Add(perAddress.longest)
		}
	}
	for i := range 3 * throttleKeys {
		_, _ = th.begin(now, fmt.Sprint("n", i), fmt.Sprintf("2001:db8:%x:%x::", i>>16, i&0xffff))
	}
	if len(th.seen) > throttleKeys {
		t.Errorf("%d keys are remembered", len(th.seen))
	}
	if th.seen["name victim"] == nil {
		t.Error("a flood of others made it forget who failed most")
	}
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:80": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64", "[2001:db8:1:2:9::4]:443": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "", "@": "@", strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		if got := addressKey(from); got != want {
			t.Errorf("%q: %q, not %q", from, got, want)
		}
	}
}

func TestSessionExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{Idle: time.Hour, Longest: 6 * time.Hour})
		g.admin("ada")
		sign := func() Session {
			s, err := g.SignIn(t.Context(), "ada", goodPassword, here)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		idle, busy, began := sign(), sign(), time.Now()
		changes := g.store.changes
		for time.Since(began) < 59*time.Minute {
			g.who(busy)
			time.Sleep(time.Minute)
		}
		if n := g.store.changes - changes; n == 0 || n > 12 {
			t.Errorf("an hour of use wrote %d times", n)
		}
		g.who(idle) // used at last
		time.Sleep(time.Hour - time.Second)
		g.who(idle)
		time.Sleep(time.Hour)
		_, _, err := g.Session(t.Context(), idle.Cookie, here)
		want(t, err, ErrNoSession)

		busy, began = sign(), time.Now()
		if !busy.Expires.Equal(began.Add(6 * time.Hour)) {
			t.Errorf("it expires at %v", busy.Expires)
		}
		for time.Since(began) < 6*time.Hour {
			g.who(busy)
			time.Sleep(20 * time.Minute)
		}
		_, _, err = g.Session(t.Context(), busy.Cookie, here)
		want(t, err, ErrNoSession)
	})
}

// TestSessionsOfAnAccount: what happens to an account happens to its sessions
// at once.
func TestSessionsOfAnAccount(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	admin := g.admin("ada")
	bob, s := g.member(admin, "bob", Grant{Repository: "team/*", Role: Maintainer})
	app := Object{Repository: "team/app"}
	if !Decide(bob, SetSecrets, app).Allowed {
		t.Fatal("bob is no maintainer")
	}
	set := func(a Account) {
		t.Helper()
		old, err := g.Account(ctx, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if err := g.SetAccount(ctx, admin, a, old.Version); err != nil {
			t.Fatal(err)
		}
	}
	set(Account{Name: "bob", Grants: []Grant{{Repository: "team/*", Role: Viewer}}})
	if Decide(g.who(s), SetSecrets, app).Allowed {
		t.Error("bob still may")
	}
	if a := g.store.lastAct(t); a.Detail["before"] != "maintainer in team/*" || a.Detail["grants"] != "viewer in team/*" || a.By != "ada" {
		t.Errorf("recorded: %+v", a)
	}
	_, other, err := g.Session(ctx, s.Cookie, here)
	if err != nil || other != s.CSRF {
		t.Error("the form token changed", err)
	}

	// Everywhere, by himself; then by a new password.
	if err := g.SignOutEverywhere(ctx, g.who(s), "bob"); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Session(ctx, s.Cookie, here)
	want(t, err, ErrNoSession)
	one, err := g.SignIn(ctx, "bob", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	two, err := g.SignIn(ctx, "bob", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	err = g.SetPassword(ctx, g.who(one), "wrong password", "another good one")
	want(t, err, ErrCredentials)
	if err := g.SetPassword(ctx, g.who(one), goodPassword, "another good one"); err != nil {
		t.Fatal(err)
	}
	g.who(one) // his own stays
	_, _, err = g.Session(ctx, two.Cookie, here)
	want(t, err, ErrNoSession)
	_, err = g.SignIn(ctx, "bob", goodPassword, here)
	want(t, err, ErrCredentials)

	// Disabled, and enabled again; removed, and made anew.
	set(Account{Name: "bob", Disabled: true})
	_, _, err = g.Session(ctx, one.Cookie, here)
	want(t, err, ErrNoSession)
	set(Account{Name: "bob"})
	plain, _, err := g.IssueToken(ctx, g.who(one), TokenSpec{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveAccount(ctx, admin, "bob"); err != nil {
		t.Fatal(err)
	}
	g.member(admin, "bob")
	_, _, err = g.Session(ctx, one.Cookie, here)
	want(t, err, ErrNoSession)
	_, err = g.Token(ctx, plain, here)
	want(t, err, ErrNoToken)
}

func TestOnlyAdminsSetAccounts(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	admin := g.admin("ada")
	bob, _ := g.member(admin, "bob", Grant{Repository: "team/*", Role: Admin}, Grant{Role: Maintainer})
	token, _, err := g.IssueToken(ctx, admin, TokenSpec{Name: "all"})
	if err != nil {
		t.Fatal(err)
	}
	byToken, err := g.Token(ctx, token, here)
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []*Principal{nil, {}, bob, byToken, {Name: "w", Kind: Worker}} {
		before := len(g.store.acts(t))
		_, inviteErr := g.Invite(ctx, by, "eve", []Grant{{Role: Admin}})
		_, _, workerErr := g.IssueToken(ctx, by, TokenSpec{Name: "w2", Worker: true})
		if by == byToken {
			workerErr = &DeniedError{} // automation may make workers
		}
		for _, err := range []error{
			g.SetAccount(ctx, by, Account{Name: "eve", Grants: []Grant{{Role: Admin}}}, 0),
			g.SetAccount(ctx, by, Account{Name: "bob", Grants: []Grant{{Role: Admin}}}, 1),
			g.RemoveAccount(ctx, by, "ada"),
			g.SignOutEverywhere(ctx, by, "ada"),
			g.SetSettings(ctx, by, Settings{Public: []string{"*"}}),
			inviteErr, workerErr,
		} {
			wantAs[*DeniedError](t, err)
		}
		if n := len(g.store.acts(t)) - before; n < 7 {
			t.Errorf("%d of the denials were recorded", n)
		}
	}
	if a := g.store.acts(t); a[len(a)-1].Denied == "" {
		t.Errorf("recorded: %+v", a[len(a)-1])
	}
}

func TestLastAdminStays(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	ada := g.admin("ada")
	version := func(name string) int64 {
		a, err := g.Account(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return a.Version
	}
	for _, a := range []Account{{Name: "ada"}, {Name: "ada", Disabled: true, Grants: []Grant{{Role: Admin}}}, {Name: "ada", Grants: []Grant{{Repository: "x", Role: Admin}}}} {
		wantAs[*InvalidError](t, g.SetAccount(ctx, ada, a, version("ada")))
	}
	wantAs[*InvalidError](t, g.RemoveAccount(ctx, ada, "ada"))
	// An admin who cannot sign in is none.
	if err := g.SetAccount(ctx, ada, Account{Name: "bob", Grants: []Grant{{Role: Admin}}}, 0); err != nil {
		t.Fatal(err)
	}
	wantAs[*InvalidError](t, g.RemoveAccount(ctx, ada, "ada"))
	secret, err := g.Invite(ctx, ada, "bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.Accept(ctx, secret, goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	bob := g.who(s)
	// Two admins remove each other at once: one stays, whoever is faster.
	var wg sync.WaitGroup
	errs := make([]error, 2)
	wg.Go(func() { errs[0] = g.RemoveAccount(ctx, ada, "bob") })
	wg.Go(func() { errs[1] = g.RemoveAccount(ctx, bob, "ada") })
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("both or none: %v", errs)
	}
	if all, err := g.Accounts(ctx); err != nil || len(all) != 1 {
		t.Errorf("%v are left, %v", all, err)
	}
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		ctx := t.Context()
		admin := g.admin("ada")
		invite := func(name string, grants ...Grant) string {
			t.Helper()
			secret, err := g.Invite(ctx, admin, name, grants)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(g.store.dump(), secret) {
				t.Error("the database holds the link")
			}
			return secret
		}
		secret, twin := invite("bob", Grant{Repository: "team/*", Role: Developer}), invite("bob")
		if name, err := g.Invited(ctx, secret); name != "bob" || err != nil {
			t.Errorf("it is for %q, %v", name, err)
		}
		_, err := g.Accept(ctx, secret, "short", here)
		wantAs[*InvalidError](t, err)
		s, err := g.Accept(ctx, secret, goodPassword, here)
		if err != nil {
			t.Fatal(err)
		}
		if !Decide(g.who(s), StartRun, Object{Repository: "team/app"}).Allowed {
			t.Error("he did not get his role")
		}
		for _, used := range []string{secret, twin, "", newSecret()} {
			_, err = g.Accept(ctx, used, goodPassword, here)
			want(t, err, ErrNoLink)
		}

		// For one who exists it is a new password, and no new role.
		_, err = g.Invite(ctx, admin, "bob", []Grant{{Role: Admin}})
		wantAs[*InvalidError](t, err)
		reset := invite("bob")
		if _, err = g.Accept(ctx, reset, "quite another one", here); err != nil {
			t.Fatal(err)
		}
		_, _, err = g.Session(ctx, s.Cookie, here)
		want(t, err, ErrNoSession)
		if a, err := g.Account(ctx, "bob"); err != nil || len(a.Grants) != 1 {
			t.Errorf("%+v %v", a, err)
		}

		// It expires, and does not outlive the account.
		late, gone := invite("carl"), invite("bob")
		if err := g.RemoveAccount(ctx, admin, "bob"); err != nil {
			t.Fatal(err)
		}
		g.member(admin, "bob")
		_, err = g.Accept(ctx, gone, goodPassword, here)
		want(t, err, ErrNoLink)
		time.Sleep(invitationLife)
		_, err = g.Accept(ctx, late, goodPassword, here)
		want(t, err, ErrNoLink)
	})
}

func TestSetAccountRefusesNonsense(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	admin := g.admin("ada")
	many := make([]Grant, maxGrants+1)
	for i := range many {
		many[i].Role = Viewer
	}
	for _, a := range []Account{
		{Name: ""}, {Name: "-x"}, {Name: "a b"}, {Name: "ä"}, {Name: "a\nb"}, {Name: strings.Repeat("a", 65)}, {Name: "../x"},
		{Name: "x", Grants: []Grant{{Role: "king"}}}, {Name: "x", Grants: []Grant{{}}}, {Name: "x", Grants: many},
		{Name: "x", Grants: []Grant{{Role: Viewer, Repository: strings.Repeat("r", 201)}}}, {Name: "x", Grants: []Grant{{Role: Viewer, Repository: "a\x00"}}},
		{Name: "x", Full: "a\nb"}, {Name: "x", Mail: strings.Repeat("m", 201)}, {Name: "x", Full: "\xff"},
	} {
		wantAs[*InvalidError](t, g.SetAccount(t.Context(), admin, a, 0))
	}
	want(t, g.SetAccount(t.Context(), admin, Account{Name: "ada", Grants: []Grant{{Role: Admin}}}, 99), record.ErrConflict)
	want(t, g.SetAccount(t.Context(), admin, Account{Name: "ada"}, 0), record.ErrConflict)
	want(t, g.SetAccount(t.Context(), admin, Account{Name: "eve"}, 3), ErrNoAccount)
	want(t, g.RemoveAccount(t.Context(), admin, "eve"), ErrNoAccount)
}

func TestNobody(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	admin := g.admin("ada")
	may := func(g *Gate, repository string) bool {
		p, err := g.Nobody(t.Context(), here)
		if err != nil {
			t.Fatal(err)
		}
		if Decide(p, StartRun, Object{Repository: repository}).Allowed || Decide(p, SeeAudit, Object{}).Allowed || Decide(p, OwnTokens, Object{}).Allowed {
			t.Error("nobody may more than see")
		}
		return Decide(p, SeeRuns, Object{Repository: repository}).Allowed
	}
	if may(g.Gate, "open/app") {
		t.Error("a new server is public")
	}
	if err := g.SetSettings(t.Context(), admin, Settings{Public: []string{"open/*"}}); err != nil {
		t.Fatal(err)
	}
	if !may(g.Gate, "open/app") || may(g.Gate, "team/app") || may(g.Gate, "") {
		t.Error("what is public is not what was set")
	}
	if !may(New(Options{Registers: g.store, Public: true}), "team/app") {
		t.Error("a public server is not")
	}
	want(t, g.SetSettings(t.Context(), admin, Settings{}), record.ErrConflict)
	s, err := g.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"a\nb", "", strings.Repeat("x", 1000)} {
		wantAs[*InvalidError](t, g.SetSettings(t.Context(), admin, Settings{Public: []string{pattern}, Version: s.Version}))
	}
}

func TestDeniedIsRecordedInMeasure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		stranger, bob := &Principal{From: "203.0.113.9:1"}, &Principal{Name: "bob", Kind: Person, Via: "session"}
		for range 1000 {
			if err := g.Denied(t.Context(), stranger, SetSecrets, "team/app", "sign in"); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(g.store.acts(t)); n != strangersQuota {
			t.Errorf("%d of a thousand are recorded", n)
		}
		if err := g.Denied(t.Context(), bob, SetSecrets, "team/app", "no"); err != nil {
			t.Fatal(err)
		}
		if a := g.store.lastAct(t); a.By != "bob" || a.Denied != "no" || a.Object != "team/app" {
			t.Errorf("the flood hid %+v", a)
		}
		time.Sleep(time.Minute)
		if err := g.Denied(t.Context(), nil, SetSecrets, strings.Repeat("x", 1<<20), "sign in"); err != nil {
			t.Fatal(err)
		}
		if a := g.store.lastAct(t); a.Detail["unrecorded"] != fmt.Sprint(1000-strangersQuota) || len(a.Object) > 300 {
			t.Errorf("recorded: %+v", a)
		}
	})
}

// broken fails every read after so many.
type broken struct {
	*memory
	left atomic.Int64
}

var errBroken = errors.New("the disk is gone")

func (b *broken) Register(ctx context.Context, kind, id string) (record.Register, error) {
	if b.left.Add(-1) < 0 {
		return record.Register{Kind: kind, ID: id}, errBroken
	}
	return b.memory.Register(ctx, kind, id)
}

// TestStoreFails: who cannot be looked up is not let in.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	b := &broken{memory: newMemory()}
	b.left.Store(1 << 30)
	g := newTestGate(t, Options{Registers: b})
	admin := g.admin("ada")
	s, err := g.SignIn(t.Context(), "ada", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := g.IssueToken(t.Context(), admin, TokenSpec{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for left := range int64(2) {
		b.left.Store(left)
		p, _, err := g.Session(t.Context(), s.Cookie, here)
		want(t, err, errBroken)
		b.left.Store(left)
		q, err := g.Token(t.Context(), plain, here)
		want(t, err, errBroken)
		if p != nil || q != nil {
			t.Error("somebody was let in")
		}
	}
	b.left.Store(0)
	_, err = g.SignIn(t.Context(), "ada", goodPassword, "192.0.2.99")
	want(t, err, errBroken)
	_, err = g.Nobody(t.Context(), here)
	want(t, err, errBroken)
}

func TestConflictOfSignIns(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	g.admin("ada")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			s, err := g.SignIn(t.Context(), "ada", goodPassword, fmt.Sprintf("192.0.2.%d", i))
			if err != nil && !errors.As(err, new(*TooMany)) {
				t.Error(err)
			} else if err == nil {
				g.who(s)
			}
		})
	}
	wg.Wait()
}

func TestTooManySignInsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, Options{})
		g.admin("ada")
		release := make(chan struct{})
		g.hash = func(_, _ []byte, _ cost) []byte {
			<-release
			return make([]byte, hashSize)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		sign := func(i int) error {
			_, err := g.SignIn(ctx, fmt.Sprint("name", i), "wrong password", fmt.Sprintf("2001:db8:0:%x::1", i))
			return err
		}
		for i := range hashQueue {
			wg.Go(func() {
				if err := sign(i); !errors.Is(err, ErrCredentials) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		wantAs[*TooMany](t, sign(hashQueue))
		cancel() // all who wait go
		synctest.Wait()
		if n := len(g.waiting); n != hashesAtOnce {
			t.Errorf("%d are left", n)
		}
		close(release)
		wg.Wait()
		if len(g.waiting) != 0 || len(g.hashing) != 0 {
			t.Error("some never left")
		}
	})
}

// TestDumpHoldsNoSecret is what somebody has who steals the database.
func TestDumpHoldsNoSecret(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, Options{})
	ctx := t.Context()
	first, _, err := g.FirstLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.UseFirst(ctx, first, "ada", goodPassword, here)
	if err != nil {
		t.Fatal(err)
	}
	admin := g.who(s)
	invitation, err := g.Invite(ctx, admin, "bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := g.IssueToken(ctx, admin, TokenSpec{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	worker, _, err := g.IssueToken(ctx, admin, TokenSpec{Name: "w", Worker: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.SignIn(ctx, "ada", "a mistyped password", here); err == nil {
		t.Fatal("it fits")
	}
	if err := g.SetPassword(ctx, admin, goodPassword, "quite another one"); err != nil {
		t.Fatal(err)
	}
	dump := g.store.dump()
	for what, secret := range map[string]string{
		"first link": first, "cookie": s.Cookie, "form token": s.CSRF, "invitation": invitation, "password": goodPassword, "new password": "quite another one",
		"mistyped": "a mistyped password", "token": token[len(tokenPrefix)+tokenID:], "worker's token": worker[len(tokenPrefix)+tokenID:],
	} {
		if strings.Contains(dump, secret) {
			t.Errorf("the database holds the %s", what)
		}
	}
}
