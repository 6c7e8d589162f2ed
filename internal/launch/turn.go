package launch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// run brings one run to its end, or finds that somebody else does.
func (d *Desk) run(ctx context.Context, runner *Launcher, u *unfinished, stop <-chan struct{}) {
	err := d.turn(ctx, runner, u.run, u.repo)
	var held *store.HeldError
	var full *fullError
	now := time.Now()
	switch {
	case err == nil:
		d.queue.drop(u.run)
		return
	case errors.As(err, &held):
		d.queue.edit(u.run, func(u *unfinished) { u.mine, u.elsewhere, u.next = false, u.under, now.Add(lookEvery) })
		return
	case errors.As(err, &full):
		d.queue.edit(u.run, func(u *unfinished) { u.mine, u.why, u.next = false, full.Error(), now.Add(lookEvery) })
		return
	}
	select {
	case <-stop: // it is left as it is
		return
	default:
	}
	d.complain("run "+u.run, err)
	d.queue.edit(u.run, func(u *unfinished) {
		u.mine, u.why = false, "it could not be started: "+err.Error()
		u.next = now.Add(startPause << min(u.tries, 5))
		if !errors.Is(err, engine.ErrRecord) { // that is told by nobody's fault, and written down nowhere
			u.tries++
		}
	})
	if u.tries >= startTries {
		if err := d.fail(context.WithoutCancel(ctx), u.run, err); err != nil {
			d.complain("end run "+u.run, err)
		} else {
			d.queue.drop(u.run)
		}
	}
}

// fullError says that a repository has as many runs as it may.
type fullError struct {
	repo  string
	limit int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("%s of %s under way, its limit", areRuns(e.limit), e.repo)
}

// turn starts a run, or goes on with it, and returns when it has ended. nil means that
// the run has ended.
func (d *Desk) turn(ctx context.Context, runner *Launcher, run, repository string) error {
	lease, err := d.Store.Lease(ctx, turnLease(run), "run "+run)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release() }()
	known, err := d.Store.Run(ctx, run)
	if err != nil || known.Verdict != "" {
		return err
	}
	repo, err := d.Repository(ctx, repository)
	if err != nil {
		return err
	}
	place, err := d.placeOf(ctx, &repo, run)
	if err != nil {
		return err
	}
	if place != nil {
		defer func() { _ = place.Release() }()
	}
	approved, err := d.approved(ctx, run)
	if err != nil {
		return err
	}
	o := known.Planned.Origin
	if o == nil || o.Approval && !approved {
		return &plan.UsageError{Message: "run " + run + " is not approved"}
	}
	if err := d.ready(ctx, &repo, known); err != nil {
		return err
	}
	secrets, err := d.secrets(ctx, known.Planned, "", approved)
	if err != nil {
		return err
	}
	// The end of ctx is not that of the run: it is given time, and left when that is over.
	under := context.WithoutCancel(ctx)
	w := Watcher{Observer: &starting{desk: d, ctx: under, run: run}}
	_, err = runner.Start(under, run, secrets, w)
	return err
}

// placeOf takes one of the places that a repository with a limit has, on all desks
// together.
func (d *Desk) placeOf(ctx context.Context, repo *Repository, run string) (store.Lease, error) {
	for i := range repo.Limit {
		lease, err := d.Store.Lease(ctx, fmt.Sprintf("place/%s/%d", repo.Name, i), "run "+run)
		var held *store.HeldError
		if !errors.As(err, &held) {
			return lease, err
		}
	}
	if repo.Limit > 0 {
		return nil, &fullError{repo: repo.Name, limit: repo.Limit}
	}
	return nil, nil
}

// ready brings the tree of a run back, if it is not there any more.
func (d *Desk) ready(ctx context.Context, repo *Repository, r *record.Run) error {
	m, err := d.mirror(ctx, repo)
	if err != nil {
		return err
	}
	sha := r.Planned.Change.SHA
	dir, err := m.Checkout(ctx, sha)
	if err != nil && !m.Has(ctx, sha) {
		if _, _, err = m.Commit(ctx, sha); err == nil {
			dir, err = m.Checkout(ctx, sha)
		}
	}
	if err != nil {
		return err
	}
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	if tree.Root() != r.Planned.Root {
		return fmt.Errorf("run %s was planned for %s, which is %s here: all servers of one record need the same data directory, "+
			"and a repository that was given another address needs a new run", r.ID, r.Planned.Root, tree.Root())
	}
	return nil
}

// fail ends a run that cannot be started.
func (d *Desk) fail(ctx context.Context, run string, why error) error {
	lease, err := d.Store.Lease(ctx, turnLease(run), "the end of run "+run)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release() }()
	h, err := d.Runs.Head(ctx, run)
	if err != nil || h.Verdict != "" || h.Alive {
		return err
	}
	_, err = d.Store.Append(ctx, record.Event{Run: run, Body: &record.RunFinished{Verdict: plan.Fault, Why: why.Error()}})
	return err
}

const debugSecret = "ACTIONS_STEP_DEBUG" // it need not be named

var (
	secretName = regexp.MustCompile(`(?i)\bsecrets\s*(?:\.\s*|\[\s*['"])([a-z_][a-z0-9_]{0,199})`)
	ownToken   = regexp.MustCompile(`(?i)\bGITHUB_TOKEN\b|\bgithub\s*(?:\.\s*token\b|\[\s*['"]token['"])`)
)

// ofEnvironment are the values that a job of a run is given because it names an
// environment.
func (d *Desk) ofEnvironment(ctx context.Context, run, environment string) (map[string]string, error) {
	r, err := d.Store.Run(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("the secrets of the environment %s: %w", environment, err)
	}
	approved, err := d.approved(ctx, run)
	if err != nil {
		return nil, err
	}
	return d.secrets(ctx, r.Planned, environment, approved)
}

// secrets are the values that a run is given, or a job of it in an environment: of what
// its pipeline's text names, and nothing to whom nobody trusts.
func (d *Desk) secrets(ctx context.Context, p *record.RunPlanned, environment string, approved bool) (map[string]string, error) {
	values := map[string]string{}
	if !confides(p.Origin, approved) || d.Vault == nil {
		return values, nil
	}
	named := map[string]bool{debugSecret: true}
	token := false
	for _, t := range p.Pipeline.Texts {
		for _, m := range secretName.FindAllStringSubmatch(t.Body, -1) {
			named[strings.ToUpper(m[1])] = true
		}
		token = token || ownToken.MatchString(t.Body)
	}
	if p.Pipeline.Dialect != "github" {
		if err := d.mentioned(ctx, p, named); err != nil {
			return nil, fmt.Errorf("the secrets of the run: %w", err)
		}
	}
	got, err := d.Vault.Resolve(ctx, p.Origin.Repository, environment, sortedKeys(named))
	if err != nil {
		return nil, fmt.Errorf("the secrets of the run: %w", err)
	}
	for name, value := range got {
		values[name] = value
	}
	if token && values["GITHUB_TOKEN"] == "" {
		value, ok, err := d.Vault.Internal(ctx, p.Origin.Repository, tokenSecret)
		if err != nil {
			return nil, fmt.Errorf("the secrets of the run: %w", err)
		}
		if ok {
			values["GITHUB_TOKEN"] = value
		}
	}
	return values, nil
}

// words finds what may be the name of a secret in a language in which they have
// no place of their own: $NAME, $(NAME), credentials('my-name').
var words = regexp.MustCompile(`[A-Za-z0-9_.-]+`)

// partsOf are the secrets that one name of a credential may stand for.
var partsOf = []string{"_USR", "_PSW", "_FILE", "_KEY", "_PASSPHRASE"}

// mentioned adds the secrets that there are whose names are words of the
// pipeline's text.
func (d *Desk) mentioned(ctx context.Context, p *record.RunPlanned, named map[string]bool) error {
	said := map[string]bool{}
	say := func(word string) { said[strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(word))] = true }
	for _, t := range p.Pipeline.Texts {
		for _, word := range words.FindAllString(t.Body, -1) {
			say(word)
			for _, part := range strings.FieldsFunc(word, func(r rune) bool { return r == '.' || r == '-' }) {
				say(part)
			}
		}
	}
	for _, repository := range []string{p.Origin.Repository, ""} {
		list, err := d.Vault.List(ctx, repository)
		if err != nil {
			return err
		}
		for _, s := range list {
			name := strings.ToUpper(s.Name)
			known := said[name]
			for _, part := range partsOf {
				if whole, ok := strings.CutSuffix(name, part); ok {
					known = known || said[whole]
				}
			}
			if known {
				named[s.Name] = true
			}
		}
	}
	return nil
}

// starting watches a run begin: who asked to cancel it before it had begun is not
// heard by the engine, and is repeated.
type starting struct {
	desk *Desk
	ctx  context.Context
	run  string
}

func (s *starting) Event(e record.Event) {
	if _, ok := e.Body.(*record.RunStarted); !ok || e.Run != s.run {
		return
	}
	go func() { // the engine does not wait for us
		r, err := s.desk.Store.Run(s.ctx, s.run)
		if err == nil && r.CancelledBy != "" && r.Verdict == "" {
			_, err = s.desk.Store.Append(s.ctx, record.Event{Run: s.run, Body: &record.CancelRequested{By: r.CancelledBy}})
		}
		s.desk.complain("cancel run "+s.run, err)
	}()
}

func (s *starting) Line(string, string, int64, []byte) {}

// runner is the launcher whose runs are left, to be gone on with by another process, when stop
// is closed.
func (d *Desk) runner(stop <-chan struct{}) *Launcher {
	l := d.Launcher
	return &Launcher{
		Dialects: l.Dialects, Executor: l.Executor, Store: &leaving{Store: l.Store, stop: stop}, Slots: l.Slots,
		Cache: l.Cache, Outputs: l.Outputs, Data: l.Data, Idle: l.Idle, Version: l.Version, Actions: l.Actions, Grace: l.Grace, Secrets: d.ofEnvironment, Tokens: d.identities, Protect: d.protection,
		Places: l.Places, Hands: l.Hands, Inherit: l.Inherit, Results: l.Results, Tests: l.Tests, Coverage: l.Coverage, Faults: l.Faults, Databases: l.Databases, Conceal: l.Conceal,
	}
}

// leaving is a store whose leases are lost when stop is closed.
type leaving struct {
	Store
	stop <-chan struct{}
}

func (s *leaving) Lease(ctx context.Context, name, holder string) (store.Lease, error) {
	l, err := s.Store.Lease(ctx, name, holder)
	if err != nil {
		return nil, err
	}
	lost := make(chan struct{})
	over := make(chan struct{})
	go func() {
		select {
		case <-l.Lost():
			close(lost)
		case <-s.stop:
			close(lost)
		case <-over:
		}
	}()
	return &left{Lease: l, lost: lost, over: over}, nil
}

type left struct {
	store.Lease
	lost, over chan struct{}
	once       sync.Once
}

func (l *left) Lost() <-chan struct{} { return l.lost }

func (l *left) Release() error {
	l.once.Do(func() { close(l.over) })
	return l.Lease.Release()
}
