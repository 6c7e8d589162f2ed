package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// A token is one word:
//
//	flt_ 0123456789 0123456789012345678901234567890123456789012 012345   (without the spaces)
//	     ID         secret: 256 random bits                     checksum
//
// The prefix says what it is to people and to scanners of leaked secrets; the
// checksum tells a token from what looks like one, so that neither a scanner nor
// we have to ask the database. The ID is public: lists show it. Of the secret only
// the digest is stored.
const (
	tokenPrefix  = "flt_" // of people's tokens
	workerPrefix = "flw_" // of workers' tokens

	tokenID     = 10
	tokenSecret = 43
	tokenSum    = 6
	tokenSize   = len(tokenPrefix) + tokenID + tokenSecret + tokenSum
)

const (
	maxTokenName = 100
	// maxTokens is how many tokens an account has at most, and the workers
	// together ten times as many.
	maxTokens = 200
	maxLife   = 10 * 365 * 24 * time.Hour
)

// base62 are the signs of a token: double-clicking one takes all of it.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Token is a token as lists show it.
type Token struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Owner string `json:"owner"` // whose rights it has; of a worker's: who made it
	// Worker says that it is for a worker, and for nothing else. It does not
	// go away with its owner.
	Worker  bool      `json:"worker,omitempty"`
	Verbs   []Verb    `json:"verbs,omitempty"`  // all that it is for; none: whatever tokens may
	Grants  []Grant   `json:"grants,omitempty"` // its roles are at most these; none: its owner's
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires,omitzero"`
	Used    time.Time `json:"used,omitzero"` // to a few minutes
	From    string    `json:"from,omitempty"`
}

// TokenSpec is what a token is to be.
type TokenSpec struct {
	Name   string  `json:"name"`
	Owner  string  `json:"owner,omitempty"` // "" for who makes it; others only admins may name
	Worker bool    `json:"worker,omitempty"`
	Verbs  []Verb  `json:"verbs,omitempty"`
	Grants []Grant `json:"grants,omitempty"`
	// Expires is how long it is good; 0: until it is revoked.
	Expires time.Duration `json:"expires,omitempty"`
}

// ticket is a token as its register holds it, under its ID.
type ticket struct {
	Token
	Account string `json:"account,omitempty"` // stored.ID of its owner
	Digest  string `json:"digest"`            // of the whole token
}

// String names a token for the audit trail.
func (t Token) String() string { return fmt.Sprintf("token %s (%s) of %s", t.Name, t.ID, t.Owner) }

// randomWord makes a word of n random signs.
func randomWord(n int) string {
	word, b := make([]byte, 0, n), make([]byte, n)
	for {
		rand.Read(b) // never fails
		for _, c := range b {
			if c < 4*62 { // else the first signs would be likelier
				if word = append(word, base62[c%62]); len(word) == n {
					return string(word)
				}
			}
		}
	}
}

// checksum is that of a token's other signs.
func checksum(s string) string {
	sum, b := crc32.ChecksumIEEE([]byte(s)), [tokenSum]byte{}
	for i := range b {
		b[tokenSum-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(b[:])
}

// readToken takes a token apart. It does not say whether there is such a one.
func readToken(plain string) (id, digest string, worker, ok bool) {
	worker = strings.HasPrefix(plain, workerPrefix)
	if len(plain) != tokenSize || !worker && !strings.HasPrefix(plain, tokenPrefix) {
		return "", "", false, false
	}
	for i := len(tokenPrefix); i < tokenSize; i++ {
		if strings.IndexByte(base62, plain[i]) < 0 {
			return "", "", false, false
		}
	}
	body, sum := plain[:tokenSize-tokenSum], plain[tokenSize-tokenSum:]
	if checksum(body) != sum {
		return "", "", false, false
	}
	return body[len(tokenPrefix):][:tokenID], digestOfToken(plain), worker, true
}

func digestOfToken(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// IssueToken makes a token. The plain text is not kept: it is shown once. Everybody
// who has an account makes tokens of their own, admins for others and for workers.
func (g *Gate) IssueToken(ctx context.Context, by *Principal, spec TokenSpec) (plain string, t Token, err error) {
	if spec.Owner == "" && by != nil {
		spec.Owner = by.Name
	}
	if !spec.Worker {
		if spec.Owner, err = AccountName(spec.Owner); err != nil {
			return "", Token{}, err
		}
	}
	verb := OwnTokens
	switch {
	case spec.Worker:
		verb = SetWorkers
	case by == nil || spec.Owner != by.Name:
		verb = SetAccounts
	}
	if err := g.may(ctx, by, verb, "token "+spec.Name); err != nil {
		return "", Token{}, err
	}
	if err := spec.check(); err != nil {
		return "", Token{}, err
	}
	now := g.now().UTC()
	made := ticket{Token: Token{
		ID: randomWord(tokenID), Name: spec.Name, Owner: spec.Owner, Worker: spec.Worker,
		Verbs: spec.Verbs, Grants: spec.Grants, Made: now,
	}}
	if spec.Expires > 0 {
		made.Expires = now.Add(spec.Expires)
	}
	if !spec.Worker {
		a, _, err := g.account(ctx, spec.Owner)
		if err != nil {
			return "", Token{}, err
		}
		made.Account = a.ID
	}
	if err := g.checkRoom(ctx, made.Token); err != nil {
		return "", Token{}, err
	}
	prefix := tokenPrefix
	if spec.Worker {
		prefix = workerPrefix
	}
	plain = prefix + made.ID + randomWord(tokenSecret)
	plain += checksum(plain)
	made.Digest = digestOfToken(plain)
	r := document(kindToken, made.ID, 0, made)
	r.Expires = made.Expires
	detail := map[string]string{"issued": "yes", "grants": said(spec.Grants)}
	for i, v := range spec.Verbs {
		detail["verbs"] += strings.Repeat(" ", min(i, 1)) + string(v)
	}
	if !made.Expires.IsZero() {
		detail["expires"] = made.Expires.Format(time.RFC3339)
	}
	if err := g.change(ctx, by, verb, made.String(), detail, r); err != nil {
		return "", Token{}, err
	}
	return plain, made.Token, nil
}

func (spec TokenSpec) check() error {
	if spec.Name == "" || len(spec.Name) > maxTokenName || !utf8.ValidString(spec.Name) || strings.ContainsFunc(spec.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return invalid("a token's name is one line of up to %d characters that says what it is for", maxTokenName)
	}
	if spec.Expires < 0 || spec.Expires > maxLife {
		return invalid("a token is good for ten years at most, or until it is revoked")
	}
	if spec.Worker {
		if len(spec.Verbs)+len(spec.Grants) > 0 {
			return invalid("a worker's token has neither verbs nor grants: it is for work alone")
		}
		return nil
	}
	// An empty list would be stored like none, which means everything.
	if spec.Verbs != nil && len(spec.Verbs) == 0 || spec.Grants != nil && len(spec.Grants) == 0 {
		return invalid("the list of what the token is for is empty: leave it out, or name something")
	}
	for i, v := range spec.Verbs {
		rule, known := ruleOf(v)
		switch {
		case !known:
			return invalid("%q is no verb", cut(string(v)))
		case !rule.Token || v == Work:
			return invalid("no token of a person may be used to %s", rule.What)
		case slices.Contains(spec.Verbs[:i], v):
			return invalid("%s is named twice", v)
		}
	}
	return checkGrants(spec.Grants)
}

// checkRoom says why there may not be one more token.
func (g *Gate) checkRoom(ctx context.Context, made Token) error {
	n, most, twin := 0, maxTokens, false
	if made.Worker {
		most = 10 * maxTokens
	}
	err := g.eachTicket(ctx, func(_ record.Register, t ticket) {
		if t.Worker == made.Worker && (t.Worker || t.Owner == made.Owner) {
			n++
			twin = twin || t.Name == made.Name
		}
	})
	switch {
	case err != nil:
		return err
	case twin:
		return invalid("there is a token %s already: choose another name, or revoke it", made.Name)
	case n >= most:
		return invalid("there are %d tokens: revoke one", n)
	}
	return nil
}

// eachTicket calls f with all tokens, by ID.
func (g *Gate) eachTicket(ctx context.Context, f func(record.Register, ticket)) error {
	registers, err := g.registers.Registers(ctx, kindToken, "")
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	for _, r := range registers {
		var t ticket
		if err := parse(r, &t); err != nil {
			return err
		}
		f(r, t)
	}
	return nil
}

// Token finds whose token it is. The error is an [ErrNoToken] when it is
// nobody's. A token has the roles that its owner has now, narrowed to what it was
// made for.
func (g *Gate) Token(ctx context.Context, plain, from string) (*Principal, error) {
	id, digest, worker, ok := readToken(plain)
	if !ok {
		return nil, ErrNoToken
	}
	var t ticket
	r, err := g.load(ctx, kindToken, id, &t)
	if err != nil {
		return nil, err
	}
	now := g.now()
	if subtle.ConstantTimeCompare([]byte(digest), []byte(t.Digest)) != 1 || t.Worker != worker ||
		!t.Expires.IsZero() && !now.Before(t.Expires) {
		return nil, ErrNoToken
	}
	p := &Principal{Name: t.Owner, Kind: TokenUser, Via: "token " + t.Name, From: from, Verbs: t.Verbs, Within: t.Grants, Token: t.ID}
	if worker {
		p.Name, p.Kind = t.Name, Worker
	} else {
		var a stored
		ar, err := g.load(ctx, kindAccount, t.Owner, &a)
		if err != nil {
			return nil, err
		}
		if ar.Version == 0 || a.Disabled || a.ID != t.Account {
			return nil, ErrNoToken
		}
		p.Grants = a.All()
	}
	if now.Sub(t.Used) >= coarse {
		t.Used, t.From = now.UTC(), host(from)
		touched := document(kindToken, id, r.Version, t)
		touched.Expires = t.Expires
		if err := g.touch(ctx, touched); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Tokens are the tokens that by may see: their own, all people's for who may see
// accounts, workers' for who may set workers; the newest first.
func (g *Gate) Tokens(ctx context.Context, by *Principal) ([]Token, error) {
	own := Decide(by, OwnTokens, Object{}).Allowed
	people := Decide(by, SeeAccounts, Object{}).Allowed
	workers := Decide(by, SetWorkers, Object{}).Allowed
	list := []Token{}
	err := g.eachTicket(ctx, func(_ record.Register, t ticket) {
		if t.Worker && workers || !t.Worker && (people || own && t.Owner == by.Name) {
			list = append(list, t.Token)
		}
	})
	slices.SortStableFunc(list, func(a, b Token) int { return b.Made.Compare(a.Made) })
	return list, err
}

// RevokeToken ends a token at once: one's own, or, for admins, any. The error is an
// [ErrNoToken] when there is none with the ID, or none that by may know of.
func (g *Gate) RevokeToken(ctx context.Context, by *Principal, id string) error {
	for {
		var t ticket
		r, err := g.load(ctx, kindToken, cut(id), &t)
		if err != nil {
			return err
		}
		verb := SetAccounts
		switch {
		case t.Worker:
			verb = SetWorkers
		case by != nil && t.Owner == by.Name:
			verb = OwnTokens
		}
		if err := g.may(ctx, by, verb, "token "+id); err != nil {
			if r.Version == 0 || verb != OwnTokens {
				return errors.Join(ErrNoToken, err)
			}
			return err
		}
		if r.Version == 0 {
			return ErrNoToken
		}
		err = g.change(ctx, by, verb, t.String(), map[string]string{"revoked": "yes"}, removal(r))
		if !errors.Is(err, record.ErrConflict) { // used meanwhile
			return err
		}
	}
}
