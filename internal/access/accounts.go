package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Account is a person, or a program that is treated as one.
type Account struct {
	Name   string  `json:"name"` // unique; see [Gate.SetAccount]
	Full   string  `json:"full,omitempty"`
	Mail   string  `json:"mail,omitempty"`
	Grants []Grant `json:"grants,omitempty"`
	// Mapped are grants that come from the groups that the account had elsewhere
	// at its last sign-in.
	Mapped   []Grant   `json:"mapped,omitempty"`
	Subject  string    `json:"subject,omitempty"` // who it is elsewhere: "https://id.example.com 4711"; "" for nobody
	Disabled bool      `json:"disabled,omitempty"`
	Password bool      `json:"password,omitempty"` // it has one
	Made     time.Time `json:"made"`
	Seen     time.Time `json:"seen,omitzero"` // its last sign-in
	Version  int64     `json:"version,omitempty"`
}

// All are the grants of the account, wherever they come from.
func (a Account) All() []Grant { return slices.Concat(a.Grants, a.Mapped) }

// stored is an account as its register holds it. Of what an Account shows,
// Password and Version are not in there.
type stored struct {
	Account
	ID   string `json:"id"` // of this account, not of a later one of the same name
	Hash string `json:"hash,omitempty"`
	// Epoch is another with every sign-out everywhere: sessions of an
	// earlier one are void.
	Epoch string `json:"epoch"`
}

// shown is the account as others may see it.
func (s stored) shown(version int64) Account {
	a := s.Account
	a.Password, a.Version = s.Hash != "", version
	return a
}

// saved makes the register of an account.
func (s stored) saved(version int64) record.Register {
	s.Password, s.Version = false, 0
	return document(kindAccount, s.Name, version, s)
}

// holdsServer reports whether somebody can sign in to it and is an admin of
// everything by what was granted here.
func (s stored) holdsServer() bool {
	return !s.Disabled && (s.Hash != "" || s.Subject != "") && roleIn(s.Grants, Object{}) == Admin
}

const (
	maxName    = 64
	maxGrants  = 100
	maxPattern = 200
	maxText    = 200
	// An invitation is for a new account, a reset for one that has lost its
	// password.
	invitationLife = 7 * 24 * time.Hour
	resetLife      = 24 * time.Hour
	// maxFirstLinks is how many first links are good at a time: every server that
	// starts before there is an account prints one.
	maxFirstLinks = 8
)

// AccountName is the name as it is kept, in lower case, or an [*InvalidError]:
// names are up to 64 of a-z, 0-9 and . _ - @ + and begin with a letter or digit.
func AccountName(name string) (string, error) {
	low := strings.ToLower(strings.TrimSpace(name))
	ok := low != "" && len(low) <= maxName
	for i := 0; i < len(low) && ok; i++ {
		c := low[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && strings.IndexByte("._-@+", c) >= 0
	}
	if !ok {
		return "", invalid("the name of an account is up to %d of a-z, 0-9 and . _ - @ + and begins with a letter or digit", maxName)
	}
	return low, nil
}

// checkGrants says what is wrong with grants.
func checkGrants(grants []Grant) error {
	if len(grants) > maxGrants {
		return invalid("more than %d grants", maxGrants)
	}
	for _, g := range grants {
		if !slices.Contains(roles[1:], g.Role) {
			return invalid("%q is no role: it is one of viewer, developer, maintainer, admin", cut(string(g.Role)))
		}
		for _, p := range []string{g.Repository, g.Environment} {
			if len(p) > maxPattern || !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return invalid("%q is no pattern of names", cut(p))
			}
		}
	}
	return nil
}

// said puts grants into words, for the audit trail.
func said(grants []Grant) string {
	words := make([]string, len(grants))
	for i, g := range grants {
		words[i] = string(g.Role) + " in " + where(Object{g.Repository, g.Environment})
	}
	return strings.Join(words, "; ")
}

// Accounts are all accounts, by name.
func (g *Gate) Accounts(ctx context.Context) ([]Account, error) {
	all, err := g.accounts(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Account, len(all))
	for i, a := range all {
		list[i] = a.shown(a.Version)
	}
	return list, nil
}

// accounts reads all accounts, each with its Version.
func (g *Gate) accounts(ctx context.Context) ([]stored, error) {
	registers, err := g.registers.Registers(ctx, kindAccount, "")
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	list := make([]stored, len(registers))
	for i, r := range registers {
		if err := parse(r, &list[i]); err != nil {
			return nil, err
		}
		list[i].Version = r.Version
	}
	return list, nil
}

// Account is one account, or an [ErrNoAccount].
func (g *Gate) Account(ctx context.Context, name string) (Account, error) {
	a, version, err := g.account(ctx, name)
	if err != nil {
		return Account{}, err
	}
	return a.shown(version), nil
}

func (g *Gate) account(ctx context.Context, name string) (a stored, version int64, err error) {
	if name, err = AccountName(name); err != nil {
		return a, 0, fmt.Errorf("%w: %w", ErrNoAccount, err)
	}
	r, err := g.load(ctx, kindAccount, name, &a)
	if err == nil && r.Version == 0 {
		err = fmt.Errorf("%w: %s", ErrNoAccount, name)
	}
	return a, r.Version, err
}

// SetAccount makes an account (version 0) or changes the one that still has the
// version: its full name, mail, grants, and whether it is disabled. A new one has
// no password: [Gate.Invite] asks its owner for one. The last admin stays one.
func (g *Gate) SetAccount(ctx context.Context, by *Principal, a Account, version int64) error {
	name, err := AccountName(a.Name)
	if err != nil {
		return err
	}
	if err := g.may(ctx, by, SetAccounts, "account "+name); err != nil {
		return err
	}
	if err := checkGrants(a.Grants); err != nil {
		return err
	}
	for _, s := range []string{a.Full, a.Mail} {
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") {
			return invalid("%q is not one short line of text", cut(s))
		}
	}
	detail := map[string]string{"full": a.Full, "mail": a.Mail, "grants": said(a.Grants)}
	now, before := stored{}, stored{}
	if version == 0 {
		now = newAccount(name, g.now())
	} else {
		if before, _, err = g.account(ctx, name); err != nil {
			return err
		}
		now = before
		if was := said(before.Grants); was != detail["grants"] {
			detail["before"] = was
		}
	}
	now.Full, now.Mail, now.Grants, now.Disabled = a.Full, a.Mail, a.Grants, a.Disabled
	changes := []record.Register{now.saved(version)}
	if a.Disabled {
		detail["disabled"] = "yes"
	}
	if before.holdsServer() && !now.holdsServer() {
		lock, err := g.anotherAdmin(ctx, name)
		if err != nil {
			return err
		}
		changes = append(changes, lock)
	}
	return g.change(ctx, by, SetAccounts, "account "+name, detail, changes...)
}

func newAccount(name string, now time.Time) stored {
	return stored{Account: Account{Name: name, Made: now.UTC()}, ID: rand.Text(), Epoch: rand.Text()}
}

// anotherAdmin makes sure that somebody other than name can set accounts. The
// register that it returns goes into the same change, so that of two admins who
// remove each other at once one is too late.
func (g *Gate) anotherAdmin(ctx context.Context, name string) (record.Register, error) {
	lock, err := g.load(ctx, kindAccess, "admins", new(any))
	if err != nil {
		return lock, err
	}
	all, err := g.accounts(ctx)
	if err != nil {
		return lock, err
	}
	for _, a := range all {
		if a.Name != name && a.holdsServer() {
			return document(kindAccess, "admins", lock.Version, struct{}{}), nil
		}
	}
	return lock, invalid("%s is the only admin who can sign in: make somebody else one first", name)
}

// RemoveAccount removes an account with its sessions and tokens. Tokens of
// workers that it made stay.
func (g *Gate) RemoveAccount(ctx context.Context, by *Principal, name string) error {
	if err := g.may(ctx, by, SetAccounts, "account "+name); err != nil {
		return err
	}
	a, version, err := g.account(ctx, name)
	if err != nil {
		return err
	}
	changes := []record.Register{{Kind: kindAccount, ID: a.Name, Version: version}}
	if a.holdsServer() {
		lock, err := g.anotherAdmin(ctx, a.Name)
		if err != nil {
			return err
		}
		changes = append(changes, lock)
	}
	if a.Subject != "" {
		r, err := g.registers.Register(ctx, kindSubject, subjectID(a.Subject))
		if err != nil {
			return fmt.Errorf("read subject of %s: %w", a.Name, err)
		}
		if r.Version != 0 {
			changes = append(changes, removal(r))
		}
	}
	err = g.eachTicket(ctx, func(r record.Register, t ticket) {
		if t.Owner == a.Name && !t.Worker {
			changes = append(changes, removal(r))
		}
	})
	if err != nil {
		return err
	}
	return g.change(ctx, by, SetAccounts, "account "+a.Name, map[string]string{"removed": "yes"}, changes...)
}

// FirstLink makes the secret of a link by which the first admin makes an account.
// fresh is false, and there is no secret, once there is an account. A link is good
// until one is used.
func (g *Gate) FirstLink(ctx context.Context) (secret string, fresh bool, err error) {
	for {
		f, r, err := g.first(ctx)
		if err != nil || f.Used {
			return "", false, err
		}
		secret = newSecret()
		digest, _ := digestOf(secret)
		f.Links = append(f.Links, digest)
		f.Links = f.Links[max(len(f.Links)-maxFirstLinks, 0):]
		_, err = g.registers.Change(ctx, []record.Register{document(kindAccess, "first", r.Version, f)})
		if err == nil {
			return secret, true, nil
		}
		if !errors.Is(err, record.ErrConflict) { // another server starts, too
			return "", false, fmt.Errorf("make the first link: %w", err)
		}
	}
}

// first are the links to the first account.
type first struct {
	Links []string `json:"links,omitempty"` // digests
	Used  bool     `json:"used,omitempty"`
}

// first reads the links; Used is set when there is an account, however it came.
func (g *Gate) first(ctx context.Context) (f first, r record.Register, err error) {
	if r, err = g.load(ctx, kindAccess, "first", &f); err != nil || f.Used {
		return f, r, err
	}
	all, err := g.registers.Registers(ctx, kindAccount, "")
	if err != nil {
		return f, r, fmt.Errorf("read accounts: %w", err)
	}
	f.Used = len(all) > 0
	return f, r, nil
}

// UseFirst makes the first account, an admin, and signs it in. The error is an
// [ErrNoLink] when the link was used, or an [*InvalidError] that leaves it good.
func (g *Gate) UseFirst(ctx context.Context, secret, name, password, from string) (Session, error) {
	f, r, err := g.first(ctx)
	if err != nil {
		return Session{}, err
	}
	digest, ok := digestOf(secret)
	fits := 0
	for _, link := range f.Links {
		fits |= subtle.ConstantTimeCompare([]byte(link), []byte(digest))
	}
	if !ok || f.Used || fits == 0 {
		return Session{}, errors.Join(ErrNoLink, g.Denied(ctx, &Principal{Via: "first link", From: from}, SetAccounts, "", ErrNoLink.Error()))
	}
	if name, err = AccountName(name); err != nil {
		return Session{}, err
	}
	a := newAccount(name, g.now())
	a.Grants = []Grant{{Role: Admin}}
	if a.Hash, err = g.newHash(ctx, name, password); err != nil {
		return Session{}, err
	}
	s, err := g.enter(ctx, &a, 0, "first link", from, map[string]string{"account": "made", "grants": said(a.Grants)}, document(kindAccess, "first", r.Version, first{Used: true}))
	if errors.Is(err, record.ErrConflict) {
		return Session{}, ErrNoLink
	}
	return s, err
}

// invitation is what a link to a new account, or to a new password, stands for.
type invitation struct {
	Name   string  `json:"name"`
	Grants []Grant `json:"grants,omitempty"`
	// Account is the ID of the account whose password is to be set; "" for a
	// new one.
	Account string `json:"account,omitempty"`
}

// Invite makes the secret of a link by which somebody makes an account of that
// name with those grants. For an account that exists, grants being empty, it lets
// its owner set a new password.
func (g *Gate) Invite(ctx context.Context, by *Principal, name string, grants []Grant) (secret string, err error) {
	if name, err = AccountName(name); err != nil {
		return "", err
	}
	if err := g.may(ctx, by, SetAccounts, "account "+name); err != nil {
		return "", err
	}
	if err := checkGrants(grants); err != nil {
		return "", err
	}
	i, life, what := invitation{Name: name, Grants: grants}, invitationLife, "invited"
	switch a, _, err := g.account(ctx, name); {
	case err == nil && len(grants) > 0:
		return "", invalid("there is an account %s already: change its roles instead", name)
	case err == nil:
		i.Account, life, what = a.ID, resetLife, "may set a new password"
	case !errors.Is(err, ErrNoAccount):
		return "", err
	}
	secret = newSecret()
	digest, _ := digestOf(secret)
	r := document(kindInvitation, digest, 0, i)
	r.Expires = g.now().Add(life)
	detail := map[string]string{"link": what, "grants": said(grants)}
	return secret, g.change(ctx, by, SetAccounts, "account "+name, detail, r)
}

// Invited is the name that an invitation is for, or an [ErrNoLink].
func (g *Gate) Invited(ctx context.Context, secret string) (name string, err error) {
	i, _, err := g.invitation(ctx, secret)
	return i.Name, err
}

func (g *Gate) invitation(ctx context.Context, secret string) (i invitation, r record.Register, err error) {
	digest, ok := digestOf(secret)
	if !ok {
		return i, r, ErrNoLink
	}
	r, err = g.load(ctx, kindInvitation, digest, &i)
	if err == nil && (r.Version == 0 || !g.now().Before(r.Expires)) {
		err = ErrNoLink
	}
	return i, r, err
}

// Accept makes the account of an invitation, or sets its new password, and
// signs it in. All sessions that the account had end.
func (g *Gate) Accept(ctx context.Context, secret, password, from string) (Session, error) {
	i, r, err := g.invitation(ctx, secret)
	if err != nil {
		return Session{}, err
	}
	a, version, err := g.account(ctx, i.Name)
	switch {
	case i.Account == "" && errors.Is(err, ErrNoAccount):
		a, version = newAccount(i.Name, g.now()), 0
		a.Grants = i.Grants
	case errors.Is(err, ErrNoAccount):
		return Session{}, ErrNoLink
	case err != nil:
		return Session{}, err
	case i.Account != a.ID || a.Disabled:
		return Session{}, ErrNoLink
	}
	if a.Hash, err = g.newHash(ctx, i.Name, password); err != nil {
		return Session{}, err
	}
	a.Epoch = rand.Text()
	s, err := g.enter(ctx, &a, version, "invitation", from, map[string]string{"password": "set", "grants": said(a.Grants)}, removal(r))
	if errors.Is(err, record.ErrConflict) {
		return Session{}, ErrNoLink
	}
	return s, err
}

// SetPassword changes the password of whoever is signed in, who has to know the
// old one. All other sessions of the account end.
func (g *Gate) SetPassword(ctx context.Context, by *Principal, old, password string) error {
	if by == nil || by.Kind != Person || by.Session == "" {
		return &DeniedError{"sign in to change your password"}
	}
	a, version, err := g.prove(ctx, by.Name, old, by.From)
	if err != nil {
		return err
	}
	if a.Hash, err = g.newHash(ctx, a.Name, password); err != nil {
		return err
	}
	a.Epoch = rand.Text()
	var s seat
	r, err := g.load(ctx, kindSession, by.Session, &s)
	if err != nil {
		return err
	}
	if r.Version == 0 || s.Account != a.Name {
		return ErrNoSession
	}
	s.Epoch = a.Epoch
	kept := document(kindSession, r.ID, r.Version, s)
	kept.Expires = r.Expires
	return g.change(ctx, by, BeginSession, "account "+a.Name, map[string]string{"password": "changed"}, a.saved(version), kept)
}

// newHash checks a new password and hashes it.
func (g *Gate) newHash(ctx context.Context, name, password string) (string, error) {
	if err := checkPassword(name, password); err != nil {
		return "", &InvalidError{err.Error()}
	}
	if err := g.takeHasher(ctx); err != nil {
		return "", err
	}
	defer g.freeHasher()
	return seal(g.hash, password), nil
}

// SignOutEverywhere ends all sessions of an account: one's own, or, for who may
// set accounts, anybody's.
func (g *Gate) SignOutEverywhere(ctx context.Context, by *Principal, name string) error {
	if by == nil || by.Kind != Person || by.Name != name || by.Session == "" {
		if err := g.may(ctx, by, SetAccounts, "account "+name); err != nil {
			return err
		}
	}
	a, version, err := g.account(ctx, name)
	if err != nil {
		return err
	}
	a.Epoch = rand.Text()
	return g.change(ctx, by, EndSession, "account "+a.Name, map[string]string{"sessions": "all"}, a.saved(version))
}
