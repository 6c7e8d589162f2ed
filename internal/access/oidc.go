package access

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// OIDC is where people sign in instead: an OpenID Connect provider, such as
// Keycloak, Entra, Okta, Google, GitLab.
type OIDC struct {
	Name         string // for people, on the button; "" for the issuer's host
	Issuer       string // "https://id.example.com/realms/team"
	ClientID     string
	ClientSecret string   // "" for a public client: PKCE is used in any case
	Redirect     string   // this server's own address for [Gate.Finish], as registered there
	Scopes       []string // beside openid; none: profile, email
	NameClaim    string   // becomes the account's name; "": preferred_username
	// GroupsClaim holds the groups that Groups maps; "": groups. Where there is
	// no claim of that name, dots lead into it: realm_access.roles.
	GroupsClaim string
	// Groups are the grants that a member has, read anew at each sign-in.
	Groups map[string][]Grant
	// Client asks the provider; nil: one that gives up after oidcTimeout.
	Client *http.Client
}

const (
	oidcTimeout = 15 * time.Second
	// oidcLife is how long somebody may take to sign in there.
	oidcLife = 15 * time.Minute
	// maxAnswer is the size of the largest answer of a provider that is read.
	maxAnswer = 1 << 20
	maxBack   = 2048
	maxGroups = 1000
)

// ErrFlow says that what came back from the provider is no answer to what this
// browser asked, or not any more.
var ErrFlow = errors.New("the sign-in took too long, or was begun in another browser: try again")

// Check says what is wrong with the settings, as far as can be seen from here.
func (o OIDC) Check() error {
	for name, text := range map[string]string{"issuer": o.Issuer, "redirect": o.Redirect} {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
			return invalid("sign-in by OIDC: the %s %q is no address such as https://id.example.com", name, cut(text))
		}
	}
	if o.ClientID == "" {
		return invalid("sign-in by OIDC: there is no client ID")
	}
	for _, group := range slices.Sorted(maps.Keys(o.Groups)) {
		if err := checkGrants(o.Groups[group]); err != nil {
			return fmt.Errorf("sign-in by OIDC: group %s: %w", group, err)
		}
	}
	return nil
}

// provider is an OIDC provider that is asked who it is when it is first needed:
// it may be down when we start.
type provider struct {
	OIDC
	now    func() time.Time
	client *http.Client

	mu    sync.Mutex
	found *oidc.Provider
}

func newProvider(o OIDC, now func() time.Time) *provider {
	client := http.Client{Timeout: oidcTimeout}
	if o.Client != nil {
		client = *o.Client
	}
	client.Transport = limited{client.Transport}
	o.NameClaim = cmp.Or(o.NameClaim, "preferred_username")
	o.GroupsClaim = cmp.Or(o.GroupsClaim, "groups")
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"profile", "email"}
	}
	return &provider{OIDC: o, now: now, client: &client}
}

// limited cuts the answers of a server, so that it cannot fill our memory.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	next := l.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// discover asks the provider for its addresses, once. It has to call itself by
// the name that we know.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask %s how to sign in: %w", p.Issuer, err)
		}
		p.found = found
	}
	return p.found, &oauth2.Config{
		ClientID:     p.ClientID,
		ClientSecret: p.ClientSecret,
		Endpoint:     p.found.Endpoint(),
		RedirectURL:  p.Redirect,
		Scopes:       append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, nil
}

// flow is a sign-in under way. Nothing of it is stored: it is a random value in a
// cookie of the browser that began it, and everything else is derived from that.
// So strangers cannot fill the database, and any of several servers can finish
// it.
type flow struct {
	cookie string // "random.expiry.back"
	until  time.Time
	back   string
}

func newFlow(now time.Time, back string) flow {
	f := flow{until: now.Add(oidcLife), back: LocalPath(back)}
	f.cookie = newSecret() + "." + strconv.FormatInt(f.until.Unix(), 10) + "." + base64.RawURLEncoding.EncodeToString([]byte(f.back))
	return f
}

// readFlow reads the cookie of a flow. What it says of itself is not believed
// but for a state that was derived from all of it.
func readFlow(cookie string) (flow, bool) {
	secret, rest, _ := strings.Cut(cookie, ".")
	until, back, ok := strings.Cut(rest, ".")
	if _, isSecret := digestOf(secret); !ok || !isSecret || len(back) > 2*maxBack {
		return flow{}, false
	}
	seconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return flow{}, false
	}
	path, err := base64.RawURLEncoding.DecodeString(back)
	if err != nil {
		return flow{}, false
	}
	return flow{cookie: cookie, until: time.Unix(seconds, 0), back: LocalPath(string(path))}, true
}

// derive makes a value that only who has the cookie can know.
func (f flow) derive(what string) string {
	mac := hmac.New(sha256.New, []byte(f.cookie))
	mac.Write([]byte("fairlead oidc " + what))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (f flow) state() string    { return f.derive("state") }
func (f flow) nonce() string    { return f.derive("nonce") }
func (f flow) verifier() string { return f.derive("pkce") }

// OIDCName is what the button says that begins a sign-in elsewhere, "" when there
// is no such thing.
func (g *Gate) OIDCName() string {
	if g.oidc == nil {
		return ""
	}
	if u, err := url.Parse(g.oidc.Issuer); g.oidc.Name == "" && err == nil {
		return u.Host
	}
	return g.oidc.Name
}

// Begin begins a sign-in elsewhere: the address to send the browser to, and the
// value of a cookie that it has to bring along when it comes back to
// [Gate.Finish], HttpOnly and SameSite=Lax. back is the page to show afterwards.
func (g *Gate) Begin(ctx context.Context, back string) (authURL, cookie string, err error) {
	if g.oidc == nil {
		return "", "", invalid("this server has its own accounts only")
	}
	_, config, err := g.oidc.discover(ctx)
	if err != nil {
		return "", "", err
	}
	f := newFlow(g.now(), back)
	return config.AuthCodeURL(f.state(), oidc.Nonce(f.nonce()), oauth2.S256ChallengeOption(f.verifier())), f.cookie, nil
}

// Finish ends a sign-in that [Gate.Begin] began: query is what the browser brings
// from the provider, cookie what it was given. Whoever is not known yet gets an
// account, with the roles that its groups give it and no others. An account that
// has the same name and did not come from there is somebody else's.
//
// The error is an [ErrFlow], a [*DeniedError], or tells of the provider.
func (g *Gate) Finish(ctx context.Context, query url.Values, cookie, from string) (s Session, back string, err error) {
	if g.oidc == nil {
		return Session{}, "", invalid("this server has its own accounts only")
	}
	f, ok := readFlow(cookie)
	if !ok || !g.now().Before(f.until) || subtle.ConstantTimeCompare([]byte(f.state()), []byte(query.Get("state"))) != 1 {
		return Session{}, "", g.refuse(ctx, from, ErrFlow)
	}
	if word := query.Get("error"); word != "" {
		return Session{}, "", g.refuse(ctx, from, &DeniedError{fmt.Sprintf("%s did not let you in: %q %q", g.OIDCName(), cut(word), cut(query.Get("error_description")))})
	}
	who, err := g.oidc.identify(ctx, query, f)
	if err != nil {
		return Session{}, "", g.refuse(ctx, from, err)
	}
	s, err = g.welcome(ctx, who, from)
	return s, f.back, err
}

// refuse records why a sign-in elsewhere came to nothing.
func (g *Gate) refuse(ctx context.Context, from string, err error) error {
	return errors.Join(err, g.Denied(ctx, &Principal{Via: "oidc", From: from}, BeginSession, "", cut(err.Error())))
}

// identity is what a provider says of somebody.
type identity struct {
	subject    string // "issuer sub"
	name       string // as it is there
	full, mail string
	mapped     []Grant
}

// identify exchanges the code for a token and reads who it is about. Signature,
// issuer, audience and expiry are checked by the oidc package.
func (p *provider) identify(ctx context.Context, query url.Values, f flow) (identity, error) {
	if iss := query.Get("iss"); iss != "" && iss != p.Issuer { // RFC 9207: an answer of another provider
		return identity{}, ErrFlow
	}
	found, config, err := p.discover(ctx)
	if err != nil {
		return identity{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := config.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(f.verifier()))
	if err != nil {
		return identity{}, fmt.Errorf("exchange the code at %s: %w", p.Issuer, exchangeError(err))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return identity{}, fmt.Errorf("%s sent no ID token", p.Issuer)
	}
	id, err := found.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return identity{}, fmt.Errorf("the ID token of %s is not good: %w", p.Issuer, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.nonce())) != 1 {
		return identity{}, fmt.Errorf("the ID token of %s is of another sign-in: its nonce is wrong", p.Issuer)
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return identity{}, fmt.Errorf("read the ID token of %s: %w", p.Issuer, err)
	}
	if azp, ok := c.text("azp"); ok && azp != p.ClientID || !ok && len(id.Audience) > 1 {
		return identity{}, fmt.Errorf("the ID token of %s was made for another client", p.Issuer)
	}
	// Some providers keep what is long, or personal, for those who ask.
	_, named := c.text(p.NameClaim)
	_, grouped := c.list(p.GroupsClaim)
	if (!named || !grouped && len(p.Groups) > 0) && found.UserInfoEndpoint() != "" {
		info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return identity{}, fmt.Errorf("ask %s about the user: %w", p.Issuer, exchangeError(err))
		}
		more := claimsOf(info)
		if info.Subject != id.Subject {
			return identity{}, fmt.Errorf("%s tells of two users at once", p.Issuer)
		}
		for name, value := range more {
			if _, has := c[name]; !has {
				c[name] = value
			}
		}
	}
	return p.identity(id.Subject, c), nil
}

// claimsOf are the claims of a user info; what cannot be read are none.
func claimsOf(info *oidc.UserInfo) claims {
	var c claims
	if info.Claims(&c) != nil {
		return nil
	}
	return c
}

// exchangeError leaves out what a provider's answer holds beside its error: we
// do not know what it would tell to whom.
func exchangeError(err error) error {
	if r := (*oauth2.RetrieveError)(nil); errors.As(err, &r) {
		return fmt.Errorf("it answers %q %q", cut(cmp.Or(r.ErrorCode, r.Response.Status)), cut(r.ErrorDescription))
	}
	return err
}

func (p *provider) identity(subject string, c claims) identity {
	who := identity{subject: p.Issuer + " " + subject}
	who.full, _ = c.text("name")
	who.full = oneLine(who.full)
	mail, _ := c.text("email")
	if string(c["email_verified"]) != "false" {
		who.mail = oneLine(mail)
	}
	who.name, _ = c.text(p.NameClaim)
	who.name = cmp.Or(who.name, mail, subject)
	groups, _ := c.list(p.GroupsClaim)
	for _, group := range slices.Sorted(maps.Keys(p.Groups)) {
		if slices.Contains(groups, group) {
			who.mapped = append(who.mapped, p.Groups[group]...)
		}
	}
	return who
}

// oneLine is a text from outside, fit to be shown as a name.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	for len(s) > maxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// claims are what a token says.
type claims map[string]json.RawMessage

// text is a claim that is a text.
func (c claims) text(name string) (s string, ok bool) {
	ok = json.Unmarshal(c[name], &s) == nil && s != ""
	return s, ok
}

// list is a claim that is a list of texts, one text, or an object whose keys
// are meant.
func (c claims) list(name string) (list []string, ok bool) {
	raw, ok := c[name]
	if !ok {
		head, rest, dotted := strings.Cut(name, ".")
		var inner claims
		if !dotted || json.Unmarshal(c[head], &inner) != nil {
			return nil, false
		}
		return inner.list(rest)
	}
	var one string
	var object map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &list) == nil:
	case json.Unmarshal(raw, &one) == nil:
		list = []string{one}
	case json.Unmarshal(raw, &object) == nil:
		list = slices.Sorted(maps.Keys(object))
	default:
		return nil, false
	}
	return list[:min(len(list), maxGroups)], true
}

// subjectID is the ID of the register that says which account a subject has.
func subjectID(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return hex.EncodeToString(sum[:])
}

// owner is whose account a subject's is.
type owner struct {
	Name string `json:"name"`
	ID   string `json:"id"` // stored.ID
}

// welcome opens a session for somebody whom a provider has identified.
func (g *Gate) welcome(ctx context.Context, who identity, from string) (Session, error) {
	for {
		var o owner
		subject, err := g.load(ctx, kindSubject, subjectID(who.subject), &o)
		if err != nil {
			return Session{}, err
		}
		a, version, err := stored{}, int64(0), ErrNoAccount
		if subject.Version > 0 {
			a, version, err = g.account(ctx, o.Name)
		}
		var more []record.Register
		switch {
		case errors.Is(err, ErrNoAccount) || err == nil && a.ID != o.ID:
			name, err := g.freeName(ctx, who.name)
			if err != nil {
				return Session{}, err
			}
			a, version = newAccount(name, g.now()), 0
			a.Subject = who.subject
			more = append(more, document(kindSubject, subject.ID, subject.Version, owner{name, a.ID}))
		case err != nil:
			return Session{}, err
		case a.Disabled:
			return Session{}, g.refuse(ctx, from, &DeniedError{"the account " + a.Name + " is disabled"})
		}
		a.Full, a.Mail, a.Mapped = who.full, who.mail, who.mapped
		detail := map[string]string{"mapped": said(a.Mapped)}
		if version == 0 {
			detail["account"], detail["subject"] = "made", cut(a.Subject)
		}
		s, err := g.enter(ctx, &a, version, "oidc", from, detail, more...)
		if !errors.Is(err, record.ErrConflict) {
			return s, err
		}
	}
}

// Link says who an account is at the provider: subject is "issuer subject", as the
// account shows that was made when they signed in from there; "" for nobody. It is taken
// from the account that had it. Only an admin can say that two are the same person: names
// and mail addresses can be chosen there by whoever likes, so nothing follows from them.
func (g *Gate) Link(ctx context.Context, by *Principal, name, subject string) error {
	if err := g.may(ctx, by, SetAccounts, "account "+name); err != nil {
		return err
	}
	issuer, id, _ := strings.Cut(subject, " ")
	switch {
	case subject == "":
	case g.oidc == nil:
		return invalid("this server has its own accounts only")
	case issuer != g.oidc.Issuer || id == "" || len(subject) > 2*maxText || !utf8.ValidString(subject) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("%q is nobody at %s: it is the provider's address, a blank, and what it calls somebody", cut(subject), g.oidc.Issuer)
	}
	a, version, err := g.account(ctx, name)
	if err != nil || a.Subject == subject {
		return err
	}
	detail := map[string]string{"subject": cut(subject), "before": cut(a.Subject)}
	// What was open by the old identity ends with it.
	was := a.Subject
	a.Subject, a.Epoch, a.Mapped = subject, rand.Text(), nil
	changes := []record.Register{a.saved(version)}
	if was != "" {
		old, err := g.registers.Register(ctx, kindSubject, subjectID(was))
		if err != nil {
			return fmt.Errorf("link %s: %w", a.Name, err)
		}
		if old.Version > 0 {
			changes = append(changes, removal(old))
		}
	}
	if subject != "" {
		var o owner
		r, err := g.load(ctx, kindSubject, subjectID(subject), &o)
		if err != nil {
			return err
		}
		changes = append(changes, document(kindSubject, subjectID(subject), r.Version, owner{a.Name, a.ID}))
		if other, version, err := g.account(ctx, o.Name); err == nil && other.ID == o.ID && other.Name != a.Name {
			if other.holdsServer() && other.Hash == "" {
				return invalid("%s is an admin and could not sign in any more: give it a password or another role first", other.Name)
			}
			detail["from"] = other.Name
			other.Subject, other.Epoch, other.Mapped = "", rand.Text(), nil
			changes = append(changes, other.saved(version))
		} else if err != nil && !errors.Is(err, ErrNoAccount) && r.Version > 0 {
			return err
		}
	}
	if a.Hash == "" && subject == "" && roleIn(a.Grants, Object{}) == Admin {
		lock, err := g.anotherAdmin(ctx, a.Name)
		if err != nil {
			return err
		}
		changes = append(changes, lock)
	}
	return g.change(ctx, by, SetAccounts, "account "+a.Name, detail, changes...)
}

// freeName makes a name for a new account out of what somebody is called
// elsewhere. It is never that of an account that exists: whoever may choose a
// name there must not become somebody else here.
func (g *Gate) freeName(ctx context.Context, wanted string) (string, error) {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', strings.ContainsRune("._-@+", r):
			return r
		}
		return '-'
	}, wanted)
	name = strings.TrimLeft(name[:min(len(name), maxName-5)], "._-@+")
	if name == "" {
		name = "user"
	}
	taken, err := g.registers.Registers(ctx, kindAccount, name)
	if err != nil {
		return "", fmt.Errorf("read accounts: %w", err)
	}
	for i := 1; ; i++ {
		free := name
		if i > 1 {
			free = fmt.Sprintf("%s-%d", name, i)
		}
		if !slices.ContainsFunc(taken, func(r record.Register) bool { return r.ID == free }) {
			return free, nil
		}
	}
}

// LocalPath is where to go after a sign-in: s when it is a path on this server,
// else "/". What browsers take for another server's address (//host, /\host, a
// scheme) is none.
func LocalPath(s string) string {
	if len(s) > maxBack || !strings.HasPrefix(s, "/") || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "/"
	}
	u, err := url.Parse(s)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.Contains(u.Path, "//") || strings.Contains(u.Path, `\`) {
		return "/"
	}
	return s
}
