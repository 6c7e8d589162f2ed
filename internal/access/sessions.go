package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Session is a sign-in, as its owner's browser has to know it.
type Session struct {
	Cookie  string    // 256 random bits; nobody else ever sees them
	CSRF    string    // stands in forms; see [Gate.CheckCSRF]
	Account string    // its name
	Expires time.Time // at the latest; earlier when nobody uses it
}

// seat is a session as its register holds it, under the digest of the cookie.
type seat struct {
	Account string    `json:"account"`
	Epoch   string    `json:"epoch"` // of the account; see stored
	Made    time.Time `json:"made"`
	Seen    time.Time `json:"seen"` // coarsely
	Via     string    `json:"via"`
	From    string    `json:"from"`
}

// expires is when the session ends if nobody uses it any more.
func (g *Gate) expires(s seat) time.Time {
	idle, longest := s.Seen.Add(g.idle), s.Made.Add(g.longest)
	if longest.Before(idle) {
		return longest
	}
	return idle
}

// coarse is how exactly it is known when a session or a token was used last, at
// best. Writing at every request would make reading pages as dear as starting
// runs.
const coarse = 5 * time.Minute

// SignIn opens a session for who knows the password. The error is an
// [ErrCredentials], or a [*TooMany] after too many of them.
//
// An unknown name, a wrong password and an account without a password take the
// same time and have the same answer. The cookie is always a new one, so a cookie
// that somebody slipped into the browser before is worth nothing after.
func (g *Gate) SignIn(ctx context.Context, name, password, from string) (Session, error) {
	for {
		a, version, err := g.prove(ctx, name, password, from)
		if err != nil {
			return Session{}, err
		}
		s, err := g.enter(ctx, &a, version, "password", from, nil)
		if !errors.Is(err, record.ErrConflict) {
			return s, err
		}
		// The account was changed meanwhile, perhaps its password.
	}
}

// prove finds the account of a name and a password. What comes back has a hash of
// the usual cost.
func (g *Gate) prove(ctx context.Context, name, password, from string) (a stored, version int64, err error) {
	who := &Principal{Via: "password", From: from}
	id, err := AccountName(name)
	if err != nil {
		id = "?" // no name is like that
	}
	try, err := g.throttle.begin(g.now(), id, from)
	if err != nil {
		return a, 0, err
	}
	if id != "?" {
		r, err := g.load(ctx, kindAccount, id, &a)
		if err != nil {
			return a, 0, err
		}
		version = r.Version
	}
	if version > 0 {
		// Names that are none are not recorded: people type passwords there.
		who.Name = a.Name
	}
	if err := g.takeHasher(ctx); err != nil {
		return a, 0, err
	}
	defer g.freeHasher()
	if len(password) > maxPassword {
		password = "" // takes its time, fits nothing
	}
	fits, old := unseal(g.hash, a.Hash, password)
	if !fits || version == 0 || a.Disabled {
		return stored{}, 0, errors.Join(ErrCredentials, g.Denied(ctx, who, BeginSession, "", ErrCredentials.Error()))
	}
	try.succeeded()
	if old {
		a.Hash = seal(g.hash, password)
	}
	return a, version, nil
}

// takeHasher waits until a password may be hashed. When too many wait already,
// more are sent away: they would wait for longer than a browser does.
func (g *Gate) takeHasher(ctx context.Context) error {
	select {
	case g.waiting <- struct{}{}:
	default:
		return &TooMany{After: hashQueue / hashesAtOnce * 100 * time.Millisecond}
	}
	select {
	case g.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-g.waiting
		return fmt.Errorf("wait for others who sign in: %w", ctx.Err())
	}
}

func (g *Gate) freeHasher() {
	<-g.hashing
	<-g.waiting
}

// enter writes an account that has just proved who it is, opens a session for it,
// and records that, with other changes in the same transaction.
func (g *Gate) enter(ctx context.Context, a *stored, version int64, via, from string, detail map[string]string, more ...record.Register) (Session, error) {
	now := g.now().UTC()
	a.Seen = now
	cookie := newSecret()
	digest, _ := digestOf(cookie)
	s := seat{Account: a.Name, Epoch: a.Epoch, Made: now, Seen: now, Via: via, From: host(from)}
	r := document(kindSession, digest, 0, s)
	r.Expires = g.expires(s)
	by := &Principal{Name: a.Name, Via: via, From: from}
	if err := g.change(ctx, by, BeginSession, "account "+a.Name, detail, append(more, a.saved(version), r)...); err != nil {
		return Session{}, err
	}
	return Session{Cookie: cookie, CSRF: csrfOf(cookie), Account: a.Name, Expires: now.Add(g.longest)}, nil
}

// Session finds who holds the cookie, and the token that their forms have to carry.
// The error is an [ErrNoSession] when it is nobody.
//
// What they may do is read anew each time: who loses a role, or the account,
// loses it at once.
func (g *Gate) Session(ctx context.Context, cookie, from string) (p *Principal, csrf string, err error) {
	digest, ok := digestOf(cookie)
	if !ok {
		return nil, "", ErrNoSession
	}
	var s seat
	r, err := g.load(ctx, kindSession, digest, &s)
	if err != nil {
		return nil, "", err
	}
	now := g.now()
	if r.Version == 0 || !now.Before(g.expires(s)) {
		return nil, "", ErrNoSession
	}
	var a stored
	ar, err := g.load(ctx, kindAccount, s.Account, &a)
	if err != nil {
		return nil, "", err
	}
	if ar.Version == 0 || a.Disabled || subtle.ConstantTimeCompare([]byte(a.Epoch), []byte(s.Epoch)) != 1 {
		return nil, "", ErrNoSession
	}
	if now.Sub(s.Seen) >= min(coarse, g.idle/4) {
		s.Seen = now.UTC()
		touched := document(kindSession, digest, r.Version, s)
		touched.Expires = g.expires(s)
		if err := g.touch(ctx, touched); err != nil {
			return nil, "", err
		}
	}
	return &Principal{Name: a.Name, Kind: Person, Via: "session", From: from, Grants: a.All(), Session: digest}, csrfOf(cookie), nil
}

// touch writes when something was used last. Whoever is faster, as one who
// removes it, is right.
func (g *Gate) touch(ctx context.Context, r record.Register) error {
	_, err := g.registers.Change(ctx, []record.Register{r})
	if err != nil && !errors.Is(err, record.ErrConflict) {
		return fmt.Errorf("note the use of a %s: %w", r.Kind, err)
	}
	return nil
}

// SignOut ends the session of a cookie. A session that has ended is no error.
func (g *Gate) SignOut(ctx context.Context, cookie, from string) error {
	digest, ok := digestOf(cookie)
	if !ok {
		return nil
	}
	for {
		var s seat
		r, err := g.load(ctx, kindSession, digest, &s)
		if err != nil || r.Version == 0 {
			return err
		}
		by := &Principal{Name: s.Account, Via: "session", From: from}
		err = g.change(ctx, by, EndSession, "account "+s.Account, nil, removal(r))
		if !errors.Is(err, record.ErrConflict) { // used meanwhile, elsewhere
			return err
		}
	}
}

// csrfOf derives the token of a session's forms: of no use without the cookie,
// and telling nothing of it.
func csrfOf(cookie string) string {
	mac := hmac.New(sha256.New, []byte(cookie))
	mac.Write([]byte("fairlead csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// CheckCSRF reports whether a form's token belongs to the session of the
// cookie. It does not say whether there is such a session.
func (g *Gate) CheckCSRF(cookie, given string) bool {
	_, ok := digestOf(cookie)
	return ok && subtle.ConstantTimeCompare([]byte(csrfOf(cookie)), []byte(given)) == 1
}
