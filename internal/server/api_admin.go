package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Vault keeps secrets; package secret says what its methods promise.
type Vault interface {
	Internal(ctx context.Context, repository, name string) (value string, ok bool, err error)
	List(ctx context.Context, repository string) ([]secret.Named, error)
	Set(ctx context.Context, by secret.By, scope secret.Scope, name string, value []byte) error
	Remove(ctx context.Context, by secret.By, scope secret.Scope, name string) error
	RemoveAll(ctx context.Context, by secret.By, repository string) (int, error)
}

// Workers are the machines that take jobs.
type Workers interface {
	// Workers lists those that are known, by name.
	Workers(ctx context.Context) ([]crew.WorkerInfo, error)
	// SetWorker has a worker pause, drain, or go on, or forgets it: "paused",
	// "draining", "joined", "left".
	SetWorker(ctx context.Context, by launch.By, name, state string) error
	// Demand is how many jobs wait for workers, by the labels that they ask for.
	Demand() []crew.Demand
}

// adminRoutes are the rows about what the server is made of: repositories, secrets,
// accounts, tokens, workers, settings, and the trail of what was done.
func (s *Server) adminRoutes() []route {
	return []route{
		{Method: "GET", Path: "/repositories", Verb: access.SeeRepos, Somewhere: true, Template: "repositories", Do: view(s.repositories), Says: "The repositories whose pipelines run here."},
		{Method: "POST", Path: "/repositories", Verb: access.AddRepo, Form: "/repositories", Do: act(s.addRepository), Status: http.StatusCreated,
			Then: func(_ *request, a any) (string, string) {
				v := a.(RepositoryView)
				return "/repositories/" + escapePath(v.Name), v.Name + " was added."
			}, Says: "Add a repository."},
		{Method: "GET", Path: "/repositories/{repository...}", Verb: access.SeeRepos, Object: inPath, Template: "repository", Do: view(s.repository), Says: "One repository."},
		{Method: "PUT", Path: "/repositories/{repository...}", Verb: access.SetRepo, Object: inPath, Form: "/repositories/{repository...}", Do: act(s.setRepository), Says: "Change a repository's settings: all of them are given."},
		{Method: "DELETE", Path: "/repositories/{repository...}", Verb: access.AddRepo, Form: "/remove-repository/{repository...}", Do: act(s.removeRepository),
			Then: func(r *request, _ any) (string, string) {
				return "/repositories", r.PathValue("repository") + " was removed, its runs were kept."
			}, Says: "Remove a repository and its secrets. Its runs are kept."},

		{Method: "GET", Path: "/queue", Verb: access.SeeQueue, Template: "queue", Do: view(s.queue), Says: "What waits, why, and what runs."},
		{Method: "GET", Path: "/workers", Verb: access.SeeWorkers, Template: "workers", Do: view(s.workers), Says: "The machines that take jobs, and how many jobs wait for them, by labels: what an autoscaler asks."},
		{Method: "POST", Path: "/workers/{worker}", Verb: access.SetWorkers, Form: "/workers/{worker}", Do: act(s.setWorker),
			Then: func(r *request, _ any) (string, string) {
				return "/workers", setWorkerSays(r.PathValue("worker"), r.PostFormValue("state"))
			}, Says: "Have a worker pause, drain or go on, or forget it."},

		{Method: "GET", Path: "/secrets", Verb: access.SeeSecrets, Somewhere: true, Template: "secrets", Do: view(s.secrets), Says: "The names of secrets. Their values nobody is shown.",
			Query: []param{{Name: "repository", Says: `the repository; "" for those of all repositories`}}},
		{Method: "PUT", Path: "/secrets/{name}", Verb: access.SetSecrets, Somewhere: true, Form: "/secrets/{name}", Do: act(s.setSecret), Says: "Set a secret."},
		{Method: "POST", Path: "/secrets", Verb: access.SetSecrets, Somewhere: true, Faces: pageOnly, Form: "/secrets", Do: act(s.newSecret)},
		{Method: "DELETE", Path: "/secrets/{name}", Verb: access.SetSecrets, Somewhere: true, Form: "/remove-secret/{name}", Do: act(s.removeSecret), Says: "Remove a secret.",
			Query: []param{{Name: "repository", Says: "where it holds"}, {Name: "environment", Says: "where it holds"}}},

		{Method: "GET", Path: "/tokens", Verb: access.OwnTokens, Template: "tokens", Do: view(s.tokens), Says: "One's own tokens; an admin's list has all."},
		{Method: "POST", Path: "/tokens", Verb: access.OwnTokens, Form: "/tokens", Template: "issued", Do: act(s.issueToken), Status: http.StatusCreated, Says: "Make a token. It is shown this once."},
		{Method: "DELETE", Path: "/tokens/{token}", Verb: access.OwnTokens, Form: "/revoke-token/{token}", Do: act(s.revokeToken),
			Then: func(*request, any) (string, string) { return "/tokens", "The token is of no use any more." }, Says: "Revoke a token."},

		{Method: "GET", Path: "/accounts", Verb: access.SeeAccounts, Template: "accounts", Do: view(s.accounts), Says: "Who may do what here."},
		{Method: "POST", Path: "/accounts", Verb: access.SetAccounts, Form: "/accounts", Template: "issued", Do: act(s.invite), Status: http.StatusCreated, Says: "Invite somebody. The link is shown this once."},
		{Method: "PUT", Path: "/accounts/{account}", Verb: access.SetAccounts, Form: "/accounts/{account}", Do: act(s.setAccount), Says: "Change an account: all of it is given."},
		{Method: "DELETE", Path: "/accounts/{account}", Verb: access.SetAccounts, Form: "/remove-account/{account}", Do: act(s.removeAccount),
			Then: func(r *request, _ any) (string, string) {
				return "/accounts", r.PathValue("account") + " has no account here any more."
			}, Says: "Remove an account, with its sessions and tokens."},
		{Method: "POST", Path: "/accounts/{account}/link", Verb: access.SetAccounts, Form: "/accounts/{account}/link", Do: act(s.linkAccount),
			Then: func(r *request, _ any) (string, string) {
				return "/accounts", r.PathValue("account") + " signs in otherwise now; its sessions have ended."
			}, Says: "Say who an account is at the OpenID Connect provider. Whoever had that identity before has it no more."},
		{Method: "POST", Path: "/accounts/{account}/sign-out", Verb: access.SetAccounts, Form: "/accounts/{account}/sign-out", Do: act(s.signOutAccount), Says: "End all sessions of an account."},
		{Method: "POST", Path: "/password", Verb: access.OwnTokens, Form: "/password", Do: act(s.setPassword),
			Then: func(*request, any) (string, string) { return "/tokens", "The password was changed." }, Says: "Change one's own password."},
		{Method: "POST", Path: "/sign-out-everywhere", Verb: access.OwnTokens, Form: "/sign-out-everywhere", Do: act(s.signOutMyself),
			Then: func(*request, any) (string, string) { return "/sign-in", "You are signed out everywhere." }, Says: "End all of one's own sessions."},

		{Method: "GET", Path: "/audit", Verb: access.SeeAudit, Template: "audit", Do: view(s.audit), Says: "What people and tokens did, the newest first.",
			Query: []param{{Name: "by", Says: "only what this one did"}, {Name: "verb", Says: "only this"}, {Name: "object", Says: "only to this"}, {Name: "before", Says: "only acts with a smaller number", Kind: "integer"}, {Name: "limit", Says: "at most so many", Kind: "integer"}}},
		{Method: "GET", Path: "/audit/checkpoint", Verb: access.SeeAudit, Do: stream(s.checkpoint), Media: "text/plain", Says: "A signed checkpoint of the audit trail. Keep it elsewhere: it proves that nothing before it was altered."},
		{Method: "GET", Path: "/audit/proof/{seq}", Verb: access.SeeAudit, Do: stream(s.proof), Media: "text/plain", Says: "The proof that an act is in the audit trail."},

		{Method: "GET", Path: "/settings", Verb: access.SeeSettings, Template: "settings", Do: view(s.settings), Says: "The server's settings."},
		{Method: "GET", Path: "/routes", Verb: access.SeeSettings, Do: view(s.routesOfMessages), Says: "Who is told of what. Where messages go is secret."},
		{Method: "PUT", Path: "/routes/{route}", Verb: access.SetRoutes, Form: "/routes/{route}", Do: act(s.setRoute), Then: routed("saved"), Says: "Make a route of messages, or change one: all of it is given, but for its target."},
		{Method: "POST", Path: "/routes", Verb: access.SetRoutes, Faces: pageOnly, Form: "/routes", Do: act(s.newRoute), Then: routed("saved")},
		{Method: "DELETE", Path: "/routes/{route}", Verb: access.SetRoutes, Form: "/remove-route/{route}", Do: act(s.removeRoute), Then: routed("removed"), Says: "Remove a route of messages."},
		{Method: "POST", Path: "/routes/{route}/test", Verb: access.SetRoutes, Form: "/routes/{route}/test", Do: act(s.testRoute), Then: routed("tested: the message was taken"), Says: "Send one message that way. The answer says what came back."},
		{Method: "PUT", Path: "/settings", Verb: access.SetSettings, Form: "/settings", Do: act(s.setSettings), Says: "Change them: all of them are given."},
	}
}

// inPath is the repository that the path names.
func inPath(r *request) (access.Object, error) {
	return access.Object{Repository: r.PathValue("repository")}, nil
}

// escapePath writes a name with slashes as a part of a path.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// Span is a time as people write it: "5m", "720h".
type Span time.Duration

// String is the span as people write it.
func (s Span) String() string { return time.Duration(s).String() }

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%.40q is no time like 5m or 24h", text)
	}
	*s = Span(d)
	return nil
}

// RepositorySettings are what can be set of a repository.
type RepositorySettings struct {
	Name          string   `json:"name"`                     // unique here: "team/app"
	URL           string   `json:"url"`                      // https, ssh, or a path on the server's machine
	Forge         string   `json:"forge,omitempty"`          // "github", "gitlab", "gitea", "bitbucket", "azure"; "" for plain git
	API           string   `json:"api,omitempty"`            // address of the code host's API; "" for the usual
	DefaultBranch string   `json:"default_branch,omitempty"` // "" for the host's own
	Poll          Span     `json:"poll,omitzero"`            // how often it is looked for changes; none: only hooks tell
	Limit         int      `json:"limit,omitempty"`          // runs at a time; 0: no limit of its own
	Priority      int      `json:"priority,omitempty"`       // greater goes first
	Paused        bool     `json:"paused,omitempty"`
	Protected     []string `json:"protected,omitempty"` // patterns of refs; none: the default branch and all tags
	Forks         string   `json:"forks,omitempty"`     // changes from forks: "approve" (the default), "run", "never"
	// InsecureToken lets the token be sent over http, where anybody on the way can read it.
	InsecureToken bool `json:"insecure_token,omitempty"`
}

// RepositoryView is a repository as it is set up.
type RepositoryView struct {
	RepositorySettings
	Hook   string   `json:"hook"` // the address that its code host has to call
	Signed bool     `json:"signed"`
	Token  bool     `json:"token"` // there is a token to tell the code host how runs stand
	Forges []string `json:"forges,omitempty"`
}

// RepositoriesView lists repositories.
type RepositoriesView struct {
	Repositories []RepositoryView `json:"repositories"`
	Forges       []string         `json:"forges"` // kinds of code hosts that are known here
}

// NewRepository is a repository to be added.
type NewRepository struct {
	RepositorySettings
	// Secret is what its code host signs hooks with, Token what it is told with how runs
	// stand. Both are kept in the vault and never shown.
	Secret string `json:"secret,omitempty"`
	Token  string `json:"token,omitempty"`
}

// tokenSecret is the name in the vault of a repository's token for its code host.
const tokenSecret = "$TOKEN"

func (s *Server) forges() []string {
	names := []string{}
	for name := range s.Forges {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func settingsOf(r launch.Repository) RepositorySettings {
	return RepositorySettings{Name: r.Name, URL: r.URL, Forge: r.Forge, API: r.API, DefaultBranch: r.DefaultBranch, Poll: Span(r.Poll), Limit: r.Limit, Priority: r.Priority, Paused: r.Paused, Protected: r.Protected, Forks: r.Forks, InsecureToken: r.InsecureToken}
}

func (in *RepositorySettings) repository() launch.Repository {
	return launch.Repository{Name: in.Name, URL: in.URL, Forge: in.Forge, API: in.API, DefaultBranch: in.DefaultBranch, Poll: time.Duration(in.Poll), Limit: in.Limit, Priority: in.Priority, Paused: in.Paused, Protected: in.Protected, Forks: in.Forks, InsecureToken: in.InsecureToken}
}

// hookURL is where a repository's code host has to call.
func (s *Server) hookURL(name string) string {
	path := "/hooks/" + escapePath(name)
	if s.url == nil {
		return path
	}
	return s.url.Scheme + "://" + s.url.Host + path
}

func (s *Server) repositories(r *request) (v RepositoriesView, err error) {
	all, err := s.Desk.Repositories(r.Context())
	if err != nil {
		return v, err
	}
	v.Repositories, v.Forges = []RepositoryView{}, s.forges()
	for _, repo := range all {
		if r.May(access.SeeRepos, access.Object{Repository: repo.Name}) {
			v.Repositories = append(v.Repositories, RepositoryView{RepositorySettings: settingsOf(repo), Hook: s.hookURL(repo.Name)})
		}
	}
	return v, nil
}

// repositoryIn is the repository that the path names.
func (s *Server) repositoryIn(r *request) (launch.Repository, error) {
	repo, err := s.Desk.Repository(r.Context(), r.PathValue("repository"))
	var use *plan.UsageError
	if errors.As(err, &use) { // of an address it is said otherwise than of a wish
		err = &Problem{Status: http.StatusNotFound, Code: "not_found", Message: use.Message, Hint: use.Hint}
	}
	return repo, err
}

func (s *Server) repository(r *request) (v RepositoryView, err error) {
	repo, err := s.repositoryIn(r)
	if err != nil {
		return v, err
	}
	v = RepositoryView{RepositorySettings: settingsOf(repo), Hook: s.hookURL(repo.Name), Forges: s.forges()}
	if s.Vault == nil || !r.May(access.SeeSecrets, access.Object{Repository: repo.Name}) {
		return v, nil
	}
	named, err := s.Vault.List(r.Context(), repo.Name)
	for _, n := range named {
		v.Signed = v.Signed || n.Name == hookSecret
		v.Token = v.Token || n.Name == tokenSecret
	}
	return v, err
}

func (s *Server) addRepository(r *request, in *NewRepository) (v RepositoryView, err error) {
	if s.Vault == nil && in.Secret+in.Token != "" {
		return v, lacking("vault")
	}
	if err := s.Desk.SetRepository(r.Context(), r.by(), in.repository(), true); err != nil {
		return v, err
	}
	for name, value := range map[string]string{hookSecret: in.Secret, tokenSecret: in.Token} {
		if value == "" {
			continue
		}
		if err := s.Vault.Set(r.Context(), secret.By(r.by()), secret.Scope{Repository: in.Name}, name, []byte(value)); err != nil {
			return v, err
		}
	}
	return RepositoryView{RepositorySettings: in.RepositorySettings, Hook: s.hookURL(in.Name), Signed: in.Secret != "", Token: in.Token != ""}, nil
}

func (s *Server) setRepository(r *request, in *RepositorySettings) (v RepositoryView, err error) {
	name := r.PathValue("repository")
	if in.Name != "" && in.Name != name {
		return v, problem(http.StatusUnprocessableEntity, "unusable", "add it under the new name, then remove the old one", "a repository cannot be renamed")
	}
	in.Name = name
	// Where code comes from, and what of it is trusted, decides what runs on this server's
	// machines: that takes more than a repository's maintainer.
	old, err := s.repositoryIn(r)
	if err != nil {
		return v, err
	}
	if old.URL != in.URL || old.API != in.API || old.Forge != in.Forge {
		if err := r.may(access.AddRepo, access.Object{}); err != nil {
			return v, err
		}
	}
	if err := s.Desk.SetRepository(r.Context(), r.by(), in.repository(), false); err != nil {
		return v, err
	}
	return RepositoryView{RepositorySettings: *in, Hook: s.hookURL(name)}, nil
}

func (s *Server) removeRepository(r *request, _ *nothing) (nothing, error) {
	name := r.PathValue("repository")
	if err := s.Desk.RemoveRepository(r.Context(), r.by(), name); err != nil {
		return nothing{}, err
	}
	if s.Vault == nil {
		return nothing{}, nil
	}
	_, err := s.Vault.RemoveAll(r.Context(), secret.By(r.by()), name)
	return nothing{}, err
}

func (s *Server) queue(r *request) (q launch.Queue, err error) {
	if q, err = s.Desk.Queue(r.Context()); err != nil {
		return q, err
	}
	hidden := func(w launch.Waiting) bool { return !r.May(access.SeeRuns, access.Object{Repository: w.Repository}) }
	seen := func(all []launch.Waiting) []launch.Waiting {
		if all = slices.DeleteFunc(slices.Clone(all), hidden); all == nil {
			return []launch.Waiting{}
		}
		return all
	}
	q.Waiting, q.Running = seen(q.Waiting), seen(q.Running)
	return q, nil
}

// WorkersView lists workers, and what waits for them: an autoscaler makes as
// many of a kind as Waiting exceeds Free.
type WorkersView struct {
	Workers []WorkerRow `json:"workers"`
	Waiting []DemandRow `json:"waiting"` // jobs, by the labels that they ask for
}

// DemandRow is what waits for workers of certain labels.
type DemandRow struct {
	Labels []string `json:"labels"` // of the jobs' place, sorted
	Jobs   int      `json:"jobs"`
	Oldest float64  `json:"oldest"` // seconds that the first of them has waited
	Fit    int      `json:"fit"`    // workers that take such jobs
	Free   int      `json:"free"`   // jobs that they could take at once
}

// WorkerRow is a worker.
type WorkerRow struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // joined, paused, draining, lost
	Labels  []string  `json:"labels,omitempty"`
	Version string    `json:"version,omitempty"`
	Seen    time.Time `json:"seen,omitzero"`
	Places  int       `json:"places,omitempty"`
	Busy    int       `json:"busy,omitempty"` // places that it has jobs for
	// Jobs are what it works at, "12/test", as far as who asks may see them.
	Jobs []string `json:"jobs,omitempty"`
}

func (s *Server) workers(r *request) (WorkersView, error) {
	v := WorkersView{Workers: []WorkerRow{}, Waiting: []DemandRow{}}
	if s.Workers == nil {
		return v, nil
	}
	list, err := s.Workers.Workers(r.Context())
	for _, w := range list {
		row := WorkerRow{Name: w.Name, State: w.State, Labels: w.Labels, Version: w.Version, Seen: w.Seen, Places: w.Places, Busy: len(w.Jobs)}
		for _, job := range w.Jobs {
			run, _, _ := strings.Cut(job, "/")
			if h, err := s.Runs.Head(r.Context(), run); err == nil && r.May(access.SeeRuns, access.Object{Repository: repositoryOf(&h)}) {
				row.Jobs = append(row.Jobs, job)
			}
		}
		v.Workers = append(v.Workers, row)
	}
	for _, d := range s.Workers.Demand() {
		v.Waiting = append(v.Waiting, DemandRow{Labels: d.Labels, Jobs: d.Jobs, Oldest: d.Oldest.Seconds(), Fit: d.Fit, Free: d.Free})
	}
	return v, err
}

// setWorkerSays tells people what comes of having a worker do something.
func setWorkerSays(name, state string) string {
	switch state {
	case "paused":
		return name + " takes no more jobs until it is told to go on."
	case "draining":
		return name + " finishes its jobs, then leaves."
	case "left":
		return name + " is forgotten."
	}
	return name + " takes jobs again."
}

// SettingWorker is what a worker is to do.
type SettingWorker struct {
	State string `json:"state"` // paused, draining, joined, left
}

func (s *Server) setWorker(r *request, in *SettingWorker) (nothing, error) {
	if s.Workers == nil {
		return nothing{}, lacking("workers")
	}
	if !slices.Contains([]string{"paused", "draining", "joined", "left"}, in.State) {
		return nothing{}, problem(http.StatusUnprocessableEntity, "unusable", "it can be paused, draining, joined or left", "a worker cannot be %q", in.State)
	}
	return nothing{}, s.Workers.SetWorker(r.Context(), r.by(), r.PathValue("worker"), in.State)
}

// SecretsView lists the names of secrets.
type SecretsView struct {
	Repository string         `json:"repository"` // "" for those of all repositories
	Secrets    []secret.Named `json:"secrets"`
}

func (s *Server) secrets(r *request) (v SecretsView, err error) {
	v.Repository = r.URL.Query().Get("repository")
	r.Object = access.Object{Repository: v.Repository}
	if d := access.Decide(r.Who, access.SeeSecrets, r.Object); !d.Allowed {
		return v, s.deny(r, &route{Verb: access.SeeSecrets}, false, d)
	}
	if s.Vault == nil {
		return v, lacking("vault")
	}
	if v.Secrets, err = s.Vault.List(r.Context(), v.Repository); v.Secrets == nil {
		v.Secrets = []secret.Named{}
	}
	return v, err
}

// SettingSecret is a secret's value, and where it holds.
type SettingSecret struct {
	Repository  string `json:"repository,omitempty"`
	Environment string `json:"environment,omitempty"`
	Value       string `json:"value"`
}

// NamedSecret is a secret whose name comes from a form.
type NamedSecret struct {
	SettingSecret
	Name string `json:"name"`
}

func (s *Server) newSecret(r *request, in *NamedSecret) (nothing, error) {
	return nothing{}, s.putSecret(r, in.Name, &in.SettingSecret)
}

func (s *Server) setSecret(r *request, in *SettingSecret) (nothing, error) {
	return nothing{}, s.putSecret(r, r.PathValue("name"), in)
}

func (s *Server) putSecret(r *request, name string, in *SettingSecret) error {
	scope := secret.Scope{Repository: in.Repository, Environment: in.Environment}
	if err := r.may(access.SetSecrets, access.Object(scope)); err != nil {
		return err
	}
	if s.Vault == nil {
		return lacking("vault")
	}
	if err := secret.CheckName(name); err != nil {
		return problem(http.StatusUnprocessableEntity, "unusable", "", "%s", err)
	}
	if in.Value == "" || len(in.Value) > secret.MaxValue {
		return problem(http.StatusUnprocessableEntity, "unusable", "", "a secret has 1 to %d bytes, this one has %d", secret.MaxValue, len(in.Value))
	}
	if in.Repository != "" {
		if _, err := s.Desk.Repository(r.Context(), in.Repository); err != nil {
			return err
		}
	}
	return s.Vault.Set(r.Context(), secret.By(r.by()), scope, name, []byte(in.Value))
}

// RemovingSecret says where a secret holds that is to be removed. It may stand in
// the query as well.
type RemovingSecret struct {
	Repository  string `json:"repository,omitempty"`
	Environment string `json:"environment,omitempty"`
}

func (s *Server) removeSecret(r *request, in *RemovingSecret) (nothing, error) {
	q := r.URL.Query()
	scope := secret.Scope{Repository: cmp.Or(in.Repository, q.Get("repository")), Environment: cmp.Or(in.Environment, q.Get("environment"))}
	if err := r.may(access.SetSecrets, access.Object(scope)); err != nil {
		return nothing{}, err
	}
	if s.Vault == nil {
		return nothing{}, lacking("vault")
	}
	err := s.Vault.Remove(r.Context(), secret.By(r.by()), scope, r.PathValue("name"))
	if errors.Is(err, secret.ErrNotThere) {
		err = missing("secret")
	}
	return nothing{}, err
}

// TokensView lists tokens, without what they are.
type TokensView struct {
	Tokens []access.Token `json:"tokens"`
	// Verbs are what a token may be made for.
	Verbs []VerbRow `json:"verbs"`
}

// VerbRow is a verb for people.
type VerbRow struct {
	Verb access.Verb `json:"verb"`
	What string      `json:"what"`
	Role access.Role `json:"role"` // the least that it takes
}

func verbRows(which func(access.Rule) bool) (rows []VerbRow) {
	for _, rule := range access.Verbs() {
		if which(rule) {
			rows = append(rows, VerbRow{rule.Verb, rule.What, rule.Least})
		}
	}
	return rows
}

func (s *Server) tokens(r *request) (v TokensView, err error) {
	if v.Tokens, err = s.Gate.Tokens(r.Context(), r.Who); v.Tokens == nil {
		v.Tokens = []access.Token{}
	}
	v.Verbs = verbRows(func(rule access.Rule) bool { return rule.Token && rule.Verb != access.Work })
	return v, err
}

// NewToken is what a token is to be.
type NewToken struct {
	Name    string         `json:"name"`
	Owner   string         `json:"owner,omitempty"`
	Worker  bool           `json:"worker,omitempty"` // for `fairlead worker`, and nothing else
	Verbs   []access.Verb  `json:"verbs,omitempty"`  // none: whatever tokens may
	Grants  []access.Grant `json:"grants,omitempty"` // its roles are at most these; none: its owner's
	Expires Span           `json:"expires,omitzero"` // how long it is good; none: until it is revoked
}

// Issued is something that is shown this once.
type Issued struct {
	Token  *access.Token `json:"token,omitempty"`
	Secret string        `json:"secret,omitempty"` // the token itself
	Name   string        `json:"name,omitempty"`   // of somebody invited
	Link   string        `json:"link,omitempty"`   // where they choose a password
	Code   string        `json:"code,omitempty"`   // the same for who types it in at /join
}

func (s *Server) issueToken(r *request, in *NewToken) (Issued, error) {
	spec := access.TokenSpec{Name: in.Name, Owner: in.Owner, Worker: in.Worker, Verbs: in.Verbs, Grants: in.Grants, Expires: time.Duration(in.Expires)}
	plain, token, err := s.Gate.IssueToken(r.Context(), r.Who, spec)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Token: &token, Secret: plain}, nil
}

func (s *Server) revokeToken(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Gate.RevokeToken(r.Context(), r.Who, r.PathValue("token"))
}

// AccountsView lists accounts.
type AccountsView struct {
	Accounts []access.Account `json:"accounts"`
	Roles    []access.Role    `json:"roles"`          // from the least
	OIDC     string           `json:"oidc,omitempty"` // the provider that people may sign in with
}

func (s *Server) accounts(r *request) (v AccountsView, err error) {
	if v.Accounts, err = s.Gate.Accounts(r.Context()); v.Accounts == nil {
		v.Accounts = []access.Account{}
	}
	v.Roles, v.OIDC = access.Roles()[1:], s.OIDC
	return v, err
}

// Invitation is who is invited.
type Invitation struct {
	Name   string         `json:"name"`
	Grants []access.Grant `json:"grants,omitempty"`
}

func (s *Server) invite(r *request, in *Invitation) (Issued, error) {
	code, err := s.Gate.Invite(r.Context(), r.Who, in.Name, in.Grants)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Name: in.Name, Link: s.JoinLink(code, false), Code: code}, nil
}

// JoinLink is the link where an account gets its password: that of the first admin, or
// of somebody invited. The secret is in its fragment, which browsers do not
// send.
func (s *Server) JoinLink(secret string, first bool) string {
	link := &url.URL{Path: "/join", Fragment: secret}
	if s.url != nil {
		link.Scheme, link.Host = s.url.Scheme, s.url.Host
	}
	if first {
		link.RawQuery = "first=1"
	}
	return link.String()
}

// SettingAccount is what an account is to be.
type SettingAccount struct {
	Full     string         `json:"full,omitempty"`
	Mail     string         `json:"mail,omitempty"`
	Grants   []access.Grant `json:"grants,omitempty"`
	Disabled bool           `json:"disabled,omitempty"`
	Version  int64          `json:"version"` // that was read: nobody's change is lost
}

func (s *Server) setAccount(r *request, in *SettingAccount) (nothing, error) {
	a, err := s.Gate.Account(r.Context(), r.PathValue("account"))
	if err != nil {
		return nothing{}, err
	}
	a.Full, a.Mail, a.Disabled = in.Full, in.Mail, in.Disabled
	// A form has an empty row for one more.
	a.Grants = slices.DeleteFunc(in.Grants, func(g access.Grant) bool { return g.Role == access.None })
	return nothing{}, s.Gate.SetAccount(r.Context(), r.Who, a, in.Version)
}

func (s *Server) removeAccount(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Gate.RemoveAccount(r.Context(), r.Who, r.PathValue("account"))
}

// Linking says who an account is at the provider.
type Linking struct {
	Subject string `json:"subject"` // "issuer subject", as an account shows it; "" for nobody
}

func (s *Server) linkAccount(r *request, in *Linking) (nothing, error) {
	return nothing{}, s.Gate.Link(r.Context(), r.Who, r.PathValue("account"), strings.TrimSpace(in.Subject))
}

func (s *Server) signOutAccount(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Gate.SignOutEverywhere(r.Context(), r.Who, r.PathValue("account"))
}

func (s *Server) signOutMyself(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Gate.SignOutEverywhere(r.Context(), r.Who, r.Who.Name)
}

// ChangingPassword is one's own password, before and after.
type ChangingPassword struct {
	Old string `json:"old"`
	New string `json:"new"`
}

func (s *Server) setPassword(r *request, in *ChangingPassword) (nothing, error) {
	err := s.Gate.SetPassword(r.Context(), r.Who, in.Old, in.New)
	if errors.Is(err, access.ErrCredentials) {
		err = problem(http.StatusForbidden, "credentials", "", "the old password is wrong")
	}
	return nothing{}, err
}

// AuditView is a part of the audit trail.
type AuditView struct {
	Entries []access.Entry `json:"entries"`
	Next    int64          `json:"next,omitempty"` // the `before` of the page that follows
}

func (s *Server) audit(r *request) (v AuditView, err error) {
	v.Entries = []access.Entry{}
	limit, err := r.whole("limit", fewRows, mostRows)
	if err != nil {
		return v, err
	}
	before, err := r.whole("before", 0, 1<<62)
	if err != nil {
		return v, err
	}
	q := r.URL.Query()
	fits := func(want, got string) bool { return want == "" || want == got }
	f := store.EventFilter{Kinds: access.Audited(), Before: before, Limit: mostRows}
	var telling access.Telling
	for read := 0; read < mostRead; {
		batch, err := s.Runs.Events(r.Context(), f)
		if err != nil {
			return v, err
		}
		for _, e := range batch {
			f.Before = e.Seq
			entry, ok := telling.Entry(e)
			if !ok || !fits(q.Get("by"), entry.By) || !fits(q.Get("verb"), entry.Verb) || !fits(q.Get("object"), entry.Object) {
				continue
			}
			if int64(len(v.Entries)) == limit {
				v.Next = v.Entries[limit-1].Seq
				return v, nil
			}
			v.Entries = append(v.Entries, entry)
		}
		if read += len(batch); len(batch) < mostRows {
			return v, nil
		}
	}
	v.Next = f.Before
	return v, nil
}

func (s *Server) checkpoint(w http.ResponseWriter, r *request) error {
	if s.Trail == nil {
		return lacking("audit trail")
	}
	note, err := s.Trail.Checkpoint(r.Context())
	return writeText(w, note, err)
}

func (s *Server) proof(w http.ResponseWriter, r *request) error {
	seq, err := strconv.ParseInt(r.PathValue("seq"), 10, 64)
	if err != nil {
		return missing("act")
	}
	if s.Trail == nil {
		return lacking("audit trail")
	}
	proof, err := s.Trail.Prove(r.Context(), seq)
	return writeText(w, proof, err)
}

func writeText(w http.ResponseWriter, text []byte, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // whoever asked may be gone
	return nil
}

// SettingsView are the server's settings, and what it is.
type SettingsView struct {
	access.Settings
	URL      string    `json:"url,omitempty"`
	Fairlead string    `json:"fairlead"` // its version
	OIDC     string    `json:"oidc,omitempty"`
	Forges   []string  `json:"forges"`
	Rights   []VerbRow `json:"rights"` // the table of who may do what
	RoutesView
}

func (s *Server) settings(r *request) (v SettingsView, err error) {
	v = SettingsView{URL: s.URL, Fairlead: s.Version, OIDC: s.OIDC, Forges: s.forges(), Rights: verbRows(func(access.Rule) bool { return true })}
	if v.Settings, err = s.Gate.Settings(r.Context()); err != nil {
		return v, err
	}
	v.RoutesView, err = s.routesOfMessages(r)
	return v, err
}

func (s *Server) setSettings(r *request, in *access.Settings) (nothing, error) {
	return nothing{}, s.Gate.SetSettings(r.Context(), r.Who, *in)
}
