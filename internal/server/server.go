// Package server is Fairlead as a team's release server: the addresses that code
// hosts call, the API, the pages, live logs, and the endpoint of workers.
//
// Every address is a row of one table ([Server.routes]): method, pattern, the
// verb that it takes (package access decides), what it reads, what it
// answers. From that table come the router, the access checks, the OpenAPI
// document and the test that walks every route with every role. A row's view is a plain
// struct; a page is that struct in a template, the API the same struct
// as JSON. So whatever a page shows, a program can have.
//
// Handlers hold no rule: they ask the desk, the record, the gate, and show.
package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Runs is what pages and the API ask of the record.
type Runs interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Run(ctx context.Context, id string) (*record.Run, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
}

// Feed is the record as it grows.
type Feed interface {
	// After yields the events whose Seq is greater, in order.
	After(ctx context.Context, seq int64) iter.Seq2[record.Event, error]
	// Watch waits until the record goes beyond seq, and returns the newest Seq.
	Watch(ctx context.Context, seq int64) (int64, error)
}

// Desk is where work comes in and is given out; package launch says what its
// methods promise.
type Desk interface {
	Deliver(ctx context.Context, repository string, d *forge.Delivery, from string) (seq int64, fresh bool, err error)
	Ask(ctx context.Context, by launch.By, w launch.Wish) (seq int64, err error)
	Await(ctx context.Context, seq int64) (*record.RequestSettled, error)
	Repeat(ctx context.Context, by launch.By, run string, a record.Again) (newRun string, err error)
	Approve(ctx context.Context, by launch.By, run string) error
	Cancel(ctx context.Context, by launch.By, run, job string) error
	Queue(ctx context.Context) (launch.Queue, error)
	Metrics() launch.Metrics
	Repositories(ctx context.Context) ([]launch.Repository, error)
	Repository(ctx context.Context, name string) (launch.Repository, error)
	SetRepository(ctx context.Context, by launch.By, r launch.Repository, create bool) error
	RemoveRepository(ctx context.Context, by launch.By, name string) error
	Replay(ctx context.Context, by launch.By, seq int64) (int64, error)
	Routes(ctx context.Context) ([]notify.Route, error)
	SetRoute(ctx context.Context, by launch.By, r notify.Route) error
	RemoveRoute(ctx context.Context, by launch.By, name string) error
	CheckTarget(channel, target string) error
	TestRoute(ctx context.Context, by launch.By, name string) error
	Environments
}

// Gate says who asks, and keeps accounts, sessions and tokens; package access
// says what its methods promise.
type Gate interface {
	Session(ctx context.Context, cookie, from string) (p *access.Principal, csrf string, err error)
	CheckCSRF(cookie, given string) bool
	Token(ctx context.Context, plain, from string) (*access.Principal, error)
	Nobody(ctx context.Context, from string) (*access.Principal, error)
	Denied(ctx context.Context, p *access.Principal, v access.Verb, object, why string) error

	SignIn(ctx context.Context, name, password, from string) (access.Session, error)
	SignOut(ctx context.Context, cookie, from string) error
	SignOutEverywhere(ctx context.Context, by *access.Principal, name string) error
	UseFirst(ctx context.Context, secret, name, password, from string) (access.Session, error)
	Invite(ctx context.Context, by *access.Principal, name string, grants []access.Grant) (secret string, err error)
	Accept(ctx context.Context, secret, password, from string) (access.Session, error)
	Begin(ctx context.Context, back string) (authURL, cookie string, err error)
	Finish(ctx context.Context, query url.Values, cookie, from string) (s access.Session, back string, err error)

	Accounts(ctx context.Context) ([]access.Account, error)
	Account(ctx context.Context, name string) (access.Account, error)
	SetAccount(ctx context.Context, by *access.Principal, a access.Account, version int64) error
	RemoveAccount(ctx context.Context, by *access.Principal, name string) error
	Link(ctx context.Context, by *access.Principal, name, subject string) error
	SetPassword(ctx context.Context, by *access.Principal, old, password string) error
	Tokens(ctx context.Context, by *access.Principal) ([]access.Token, error)
	IssueToken(ctx context.Context, by *access.Principal, spec access.TokenSpec) (plain string, t access.Token, err error)
	RevokeToken(ctx context.Context, by *access.Principal, id string) error
	Settings(ctx context.Context) (access.Settings, error)
	SetSettings(ctx context.Context, by *access.Principal, s access.Settings) error
}

// Trail is the audit trail; package access says what its methods promise.
type Trail interface {
	Checkpoint(ctx context.Context) ([]byte, error)
	Prove(ctx context.Context, seq int64) ([]byte, error)
}

// Logs opens what jobs printed. The error is an fs.ErrNotExist when a job has
// no log.
type Logs interface {
	OpenLog(ctx context.Context, run string, j *record.JobRun) (*logs.Reader, error)
}

// Config is what a server is made of. Nil parts are missing: what needs them
// answers that this server has no such thing.
type Config struct {
	Desk     Desk
	Runs     Runs
	Feed     Feed
	Gate     Gate
	Trail    Trail
	Vault    Vault
	Pushes   Pushes
	LogPath  func(run, job string) string // where a pushed run's logs go
	Coverage *insight.Coverage            // what runs covered
	Reports  *insight.Reports             // takes in what other systems' runs reported
	// Publications are the releases that were published from this record.
	Publications publish.Reader
	// Workers are the machines that take jobs; nil: jobs run here.
	Workers Workers
	Crew    Crew // what those machines ask for
	Logs    Logs
	Faults  Faults
	Blobs   blob.Store
	Sharing *Sharing // of tests
	Forges  map[string]forge.Forge
	Flags   *launch.Flags  // feature flags
	Tests   Tests          // what is known of tests
	Wards   Wards          // takes what people decide about them
	Mover   *rollout.Mover // moves what is deployed
	Board   *insight.Board // knows which version is where
	// Channels are the names of the kinds of places that messages go to.
	Channels []string
	Log      *slog.Logger
	// Issuer signs the ID tokens of jobs; nil: nobody does.
	Issuer *access.Issuer
	// OIDC is what the button for signing in with somebody else says; "" for none.
	OIDC string

	// Deliveries says how delivery goes, Incidents takes what goes wrong; nil: nobody does.
	Deliveries Deliveries
	Incidents  Incidents

	Version string
	// URL is the address that people and code hosts know the server by:
	// "https://ci.example.org". With https, cookies are for TLS only.
	URL string
	// Proxies are the addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	Now     func() time.Time
}

// Server answers requests. It is made by [New].
type Server struct {
	Config
	html renderer
	mux  *http.ServeMux
	rows []route
	url  *url.URL // of Config.URL; nil for none

	hub      hub
	tally    tally
	programs programs // that ask for flags
	// streamKey signs the tickets of their streams.
	streamKey [32]byte
	hooks     struct {
		rates rates
		big   chan struct{}
	}
	described func() ([]byte, error) // the document of the API
	// How long clients may take: readWithin and writeWithin.
	reading, writing time.Duration

	leaving atomic.Bool // it stops soon: see Leave

	life context.Context // of streams and what serves them: until Close
	end  context.CancelFunc
}

// renderer makes HTML of what a template is given.
type renderer interface {
	Render(w io.Writer, template string, p *Page) error
}

// New makes a server. It starts nothing: see [Server.Serve].
func New(c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Config: c, reading: readWithin, writing: writeWithin}
	s.life, s.end = context.WithCancel(context.Background())
	s.hooks.rates.every, s.hooks.rates.burst = hookEvery, hookBurst
	s.hooks.big = make(chan struct{}, bigHooks)
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("the server's address %q is not like https://ci.example.org", c.URL)
		}
		s.url = u
	}
	rand.Read(s.streamKey[:]) // never fails
	html, err := newPages()
	if err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	s.html = html
	s.rows = s.routes()
	if err := check(s.rows); err != nil {
		return nil, err
	}
	s.described = describer(s.rows)
	s.mux = http.NewServeMux()
	for _, a := range addresses(s.rows) {
		s.mux.Handle(a.Method+" "+a.Pattern, s.answer(a))
	}
	return s, nil
}

// tls reports whether people come here with https.
func (s *Server) tls() bool { return s.url != nil && s.url.Scheme == "https" }
