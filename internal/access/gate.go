package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Options are what a [Gate] is made of.
type Options struct {
	Registers Registers
	Now       func() time.Time // nil: time.Now
	// Public makes everybody a viewer of all repositories, whatever the
	// [Settings] say.
	Public bool
	// OIDC signs people in elsewhere; nil: with passwords alone.
	OIDC *OIDC
	// Idle is how long a session lasts that nobody uses, Longest how long any
	// lasts. Zero: 3 and 14 days.
	Idle, Longest time.Duration
}

const (
	defaultIdle    = 3 * 24 * time.Hour
	defaultLongest = 14 * 24 * time.Hour
)

// Gate keeps accounts, sessions, tokens and settings, and says who somebody is.
// Whoever calls a method that changes something is named by a [Principal];
// the Gate asks [Decide] itself, so a caller that forgot to does no harm. It may
// be used by several goroutines, and by several servers over one store.
type Gate struct {
	registers     Registers
	now           func() time.Time
	public        bool
	idle, longest time.Duration
	oidc          *provider // nil: none

	hash     hasher
	hashing  chan struct{} // holds who hashes a password now
	waiting  chan struct{} // holds them and who waits for it
	throttle throttle
	// Denials are written down, but whoever knocks day and night must not
	// fill the record: so many a minute, of strangers and of others.
	strangers, known quota
}

const (
	strangersQuota = 60
	knownQuota     = 600
)

// New makes a Gate. It reads and writes nothing yet.
func New(o Options) *Gate {
	g := &Gate{
		registers: o.Registers,
		now:       o.Now,
		public:    o.Public,
		idle:      o.Idle,
		longest:   o.Longest,
		hash:      argon2id,
		hashing:   make(chan struct{}, hashesAtOnce),
		waiting:   make(chan struct{}, hashQueue),
		strangers: quota{most: strangersQuota},
		known:     quota{most: knownQuota},
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.idle <= 0 {
		g.idle = defaultIdle
	}
	if g.longest <= 0 {
		g.longest = defaultLongest
	}
	if o.OIDC != nil {
		g.oidc = newProvider(*o.OIDC, g.now)
	}
	return g
}

// The kinds of registers that the Gate keeps.
const (
	kindAccount    = "account"    // by name: stored
	kindSession    = "session"    // by digest of the cookie: seat
	kindToken      = "token"      // by ID: ticket
	kindInvitation = "invitation" // by digest of the secret: invitation
	kindSubject    = "subject"    // by digest of issuer and subject: name of the account
	kindAccess     = "access"     // "first", "admins", "settings"
)

// What goes wrong for reasons that have nothing to do with the store.
var (
	// ErrCredentials is the same for an unknown name and a wrong password.
	ErrCredentials = errors.New("the name or the password is wrong")
	// ErrNoSession says that a cookie is of no session, or of one that has ended.
	ErrNoSession = errors.New("the session has ended: sign in again")
	// ErrNoToken says that a token is unknown, revoked or expired.
	ErrNoToken = errors.New("the token is not valid: it is mistyped, revoked or expired")
	// ErrNoAccount says that there is no such account.
	ErrNoAccount = errors.New("there is no such account")
	// ErrNoLink says that a first link or an invitation is not valid.
	ErrNoLink = errors.New("the link is not valid: it was used before, or has expired")
)

// DeniedError says that somebody may not do what was asked for. It has been
// recorded.
type DeniedError struct {
	Why string // for people
}

func (e *DeniedError) Error() string { return e.Why }

// InvalidError says what is wrong with what was given, for whoever gave it.
type InvalidError struct {
	Why string
}

func (e *InvalidError) Error() string { return e.Why }

func invalid(format string, args ...any) error {
	return &InvalidError{Why: fmt.Sprintf(format, args...)}
}

// Settings are what admins set of the server as to access.
type Settings struct {
	// Public are patterns of repositories whose runs everybody may see, signed
	// in or not: "*" for all.
	Public  []string `json:"public,omitempty"`
	Version int64    `json:"version,omitempty"` // the register's; see [Gate.SetSettings]
}

// Settings reads the settings.
func (g *Gate) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	r, err := g.load(ctx, kindAccess, "settings", &s)
	s.Version = r.Version
	return s, err
}

// SetSettings changes the settings, when they still have the version of s.
func (g *Gate) SetSettings(ctx context.Context, by *Principal, s Settings) error {
	if err := g.may(ctx, by, SetSettings, "settings"); err != nil {
		return err
	}
	var grants []Grant
	for _, p := range s.Public {
		if p == "" {
			return invalid("a pattern of public repositories is empty: * stands for all")
		}
		grants = append(grants, Grant{Repository: p, Role: Viewer})
	}
	if err := checkGrants(grants); err != nil {
		return err
	}
	r := document(kindAccess, "settings", s.Version, Settings{Public: s.Public})
	return g.change(ctx, by, SetSettings, "settings", map[string]string{"public": strings.Join(s.Public, " ")}, r)
}

// Nobody is who asks without a session and without a token. What they may see
// depends on the settings.
func (g *Gate) Nobody(ctx context.Context, from string) (*Principal, error) {
	p := &Principal{From: from}
	if g.public {
		p.Grants = []Grant{{Role: Viewer}}
		return p, nil
	}
	s, err := g.Settings(ctx)
	if err != nil {
		return p, err
	}
	for _, pattern := range s.Public {
		p.Grants = append(p.Grants, Grant{Repository: pattern, Role: Viewer})
	}
	return p, nil
}

// Local is who works on the server's own machine, with the database at hand: an
// admin. The name is that of the account on the machine.
func Local(name string) *Principal {
	return &Principal{Name: name, Kind: Person, Via: "command line", Grants: []Grant{{Role: Admin}}}
}

// Denied records that somebody was not allowed to do something. What strangers
// are denied is recorded so many times a minute, and beyond that counted.
func (g *Gate) Denied(ctx context.Context, p *Principal, v Verb, object, why string) error {
	if p == nil {
		p = &Principal{}
	}
	q := &g.known
	if p.Name == "" {
		q = &g.strangers
	}
	missed, ok := q.take(g.now())
	if !ok {
		return nil
	}
	a := acted(p, v, object, nil)
	a.Denied = why
	if missed > 0 {
		a.Detail = map[string]string{"unrecorded": fmt.Sprint(missed)}
	}
	if _, err := g.registers.Change(ctx, nil, record.Event{Body: a}); err != nil {
		return fmt.Errorf("record a denied %s: %w", v, err)
	}
	return nil
}

// may asks [Decide] about the whole server, and records a no.
func (g *Gate) may(ctx context.Context, by *Principal, v Verb, object string) error {
	d := Decide(by, v, Object{})
	if d.Allowed {
		return nil
	}
	return errors.Join(&DeniedError{d.Why}, g.Denied(ctx, by, v, object, d.Why))
}

// change writes registers together with the event that tells who did it.
func (g *Gate) change(ctx context.Context, by *Principal, v Verb, object string, detail map[string]string, changes ...record.Register) error {
	_, err := g.registers.Change(ctx, changes, record.Event{Body: acted(by, v, object, detail)})
	if err != nil {
		return fmt.Errorf("%s %s: %w", v, object, err)
	}
	return nil
}

// maxSaid is how much is recorded of what somebody outside has chosen.
const maxSaid = 256

func acted(by *Principal, v Verb, object string, detail map[string]string) *record.Acted {
	for k, s := range detail {
		if s == "" {
			delete(detail, k)
		}
	}
	return &record.Acted{By: by.Name, Via: by.Via, From: host(by.From), Verb: string(v), Object: cut(object), Detail: detail}
}

// host is an address without its port.
func host(from string) string {
	if ap, err := netip.ParseAddrPort(from); err == nil {
		return ap.Addr().Unmap().String()
	}
	return cut(from)
}

func cut(s string) string {
	if len(s) <= maxSaid {
		return s
	}
	return strings.ToValidUTF8(s[:maxSaid], "") + "…"
}

// load reads a register into a document. Its Version is 0, and the document
// untouched, when there is none.
func (g *Gate) load(ctx context.Context, kind, id string, into any) (record.Register, error) {
	r, err := g.registers.Register(ctx, kind, id)
	if err != nil {
		return r, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	if r.Version == 0 {
		return r, nil
	}
	return r, parse(r, into)
}

func parse(r record.Register, into any) error {
	if err := json.Unmarshal(r.Body, into); err != nil {
		return fmt.Errorf("read %s %s: %w", r.Kind, r.ID, err)
	}
	return nil
}

// document makes the register of a document.
func document(kind, id string, version int64, v any) record.Register {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of strings, numbers and times in this century
	}
	return record.Register{Kind: kind, ID: id, Version: version, Body: body}
}

// removal makes the change that removes a register.
func removal(r record.Register) record.Register {
	return record.Register{Kind: r.Kind, ID: r.ID, Version: r.Version}
}

// secretSize is the size of the random values that stand for somebody, in bytes.
const secretSize = 32

// secretText is the form of session cookies and of links: 43 characters.
var secretText = base64.RawURLEncoding.Strict()

// newSecret makes a random value that nobody can guess.
func newSecret() string {
	b := make([]byte, secretSize)
	rand.Read(b) // never fails
	return secretText.EncodeToString(b)
}

// digestOf is what is stored of a secret that newSecret made: enough to know it
// again, nothing to use it. ok is false for a text that cannot be one.
func digestOf(secret string) (digest string, ok bool) {
	if len(secret) != secretText.EncodedLen(secretSize) {
		return "", false
	}
	if _, err := secretText.DecodeString(secret); err != nil {
		return "", false
	}
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:]), true
}

// quota lets so many through a minute and counts the others.
type quota struct {
	most int

	mu     sync.Mutex
	began  time.Time
	n      int
	missed int
}

// take reports whether one more fits, and how many have not since the last
// that did.
func (q *quota) take(now time.Time) (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.began) >= time.Minute || now.Before(q.began) {
		q.began, q.n = now, 0
	}
	if q.n == q.most {
		q.missed++
		return 0, false
	}
	q.n++
	missed, q.missed = q.missed, 0
	return missed, true
}
