package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Repository is a repository that the server runs pipelines of.
type Repository struct {
	Name          string        `json:"name"`                     // unique on this server: "team/app"
	URL           string        `json:"url"`                      // https, ssh, or a path on the server's machine
	Forge         string        `json:"forge,omitempty"`          // "" for plain git
	API           string        `json:"api,omitempty"`            // address of the forge's API; "" for the usual
	DefaultBranch string        `json:"default_branch,omitempty"` // "" for what the repository says
	Poll          time.Duration `json:"poll,omitempty"`           // 0: only hooks tell of changes
	Limit         int           `json:"limit,omitempty"`          // runs at a time; 0: no limit of its own
	Priority      int           `json:"priority,omitempty"`       // greater goes first
	Paused        bool          `json:"paused,omitempty"`
	Protected     []string      `json:"protected,omitempty"` // patterns of branches and refs; none: the default branch and all tags
	Forks         string        `json:"forks,omitempty"`     // what is done with changes from forks: "approve" (the default), "run", "never"
	// InsecureToken lets the token be sent to a URL of http, too.
	InsecureToken bool `json:"insecure_token,omitempty"`
	// The hook's secret and the token for the forge are in the vault, in the
	// repository's scope, as "$HOOK" and "$TOKEN".
}

// What is done with changes from forks.
const (
	ForksApprove = "approve" // their own pipelines, when a maintainer has approved the run
	ForksRun     = "run"     // the pipelines of the base, at once
	ForksNever   = "never"
)

// Limits of repositories.
const (
	maxName     = 200
	maxURL      = 2000
	maxPatterns = 100
	maxRunning  = 1000
	minPoll     = 10 * time.Second
)

// repositoryName is what a repository may be called: words with slashes, none
// of which begins with a dash or a dot, so that a name is no option and no way up.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,4}$`)

// Repositories are all that there are, by name.
func (d *Desk) Repositories(ctx context.Context) ([]Repository, error) {
	list, err := d.Store.Registers(ctx, repositoryKind, "")
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	all := make([]Repository, len(list))
	for i, r := range list {
		if err := json.Unmarshal(r.Body, &all[i]); err != nil {
			return nil, fmt.Errorf("read repository %s: %w", r.ID, err)
		}
	}
	return all, nil
}

// Repository is the one of that name. The error is a [*plan.UsageError] when there is
// none.
func (d *Desk) Repository(ctx context.Context, name string) (Repository, error) {
	r, _, err := d.repository(ctx, name)
	return r, err
}

func (d *Desk) repository(ctx context.Context, name string) (r Repository, version int64, err error) {
	if len(name) > maxName || !repositoryName.MatchString(name) {
		return r, 0, noRepository(name)
	}
	version, err = d.read(ctx, repositoryKind, name, &r)
	if err == nil && version == 0 {
		err = noRepository(name)
	}
	return r, version, err
}

func noRepository(name string) error {
	return &plan.UsageError{Message: fmt.Sprintf("there is no repository %.80q", name), Hint: "fairlead repo add"}
}

// SetRepository adds a repository, or changes one. The error is a [*plan.UsageError]
// when it cannot be as it is given.
func (d *Desk) SetRepository(ctx context.Context, by By, r Repository, create bool) error {
	if err := d.check(ctx, &r); err != nil {
		return err
	}
	verb := access.SetRepo
	var version int64
	var old Repository
	if create {
		verb = access.AddRepo
	} else {
		var err error
		if old, version, err = d.repository(ctx, r.Name); err != nil {
			return err
		}
	}
	detail := map[string]string{"url": r.URL}
	maps.Copy(detail, differences(old, r))
	_, err := d.Store.Change(ctx, []record.Register{register(repositoryKind, r.Name, version, r)}, by.Acted(verb, r.Name, detail))
	switch {
	case errors.Is(err, record.ErrConflict) && create:
		return &plan.UsageError{Message: "there is a repository " + r.Name + " already", Hint: "choose another name, or change that one"}
	case errors.Is(err, record.ErrConflict):
		return &plan.UsageError{Message: "repository " + r.Name + " was changed by somebody else meanwhile", Hint: "look at it, and try again"}
	case err != nil:
		return fmt.Errorf("set repository %s: %w", r.Name, err)
	}
	return nil
}

// differences tells, for the audit trail, what of a repository's settings was
// changed to what.
func differences(old, now Repository) map[string]string {
	fields := func(r Repository) (m map[string]json.RawMessage) {
		text, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			return nil // it is strings and numbers
		}
		return m
	}
	was, is := fields(old), fields(now)
	changed := map[string]string{}
	for name := range is {
		if name != "name" && string(was[name]) != string(is[name]) {
			changed[name] = strings.Trim(string(is[name]), `"`)
		}
	}
	for name := range was {
		if _, still := is[name]; !still {
			changed[name] = "none"
		}
	}
	return changed
}

// RemoveRepository removes a repository. Its runs stay in the record; those that
// wait are cancelled.
func (d *Desk) RemoveRepository(ctx context.Context, by By, name string) error {
	_, version, err := d.repository(ctx, name)
	if err != nil {
		return err
	}
	changes := []record.Register{{Kind: repositoryKind, ID: name, Version: version}}
	for _, kind := range []string{seenKind, clockKind} {
		r, err := d.Store.Register(ctx, kind, name)
		if err != nil {
			return fmt.Errorf("remove repository %s: %w", name, err)
		}
		if r.Version > 0 {
			changes = append(changes, record.Register{Kind: kind, ID: name, Version: r.Version})
		}
	}
	_, err = d.Store.Change(ctx, changes, by.Acted(access.SetRepo, name, map[string]string{"removed": "yes"}))
	if errors.Is(err, record.ErrConflict) {
		return &plan.UsageError{Message: "repository " + name + " was changed by somebody else meanwhile", Hint: "try again"}
	}
	if err != nil {
		return fmt.Errorf("remove repository %s: %w", name, err)
	}
	waiting, err := d.Runs.Runs(ctx, store.RunFilter{Origin: name, Unfinished: true, Limit: maxWaiting})
	if err != nil {
		return fmt.Errorf("cancel the runs of %s: %w", name, err)
	}
	for _, h := range waiting {
		if h.Waiting() {
			if _, err := d.end(ctx, h.ID, plan.Cancelled, "the repository was removed"); err != nil {
				return err
			}
		}
	}
	return nil
}

// check says what is wrong with a repository, and brings it into its form.
func (d *Desk) check(ctx context.Context, r *Repository) error {
	bad := func(format string, args ...any) error { return &plan.UsageError{Message: fmt.Sprintf(format, args...)} }
	if len(r.Name) > maxName || !repositoryName.MatchString(r.Name) {
		return bad("%.80q is not a repository's name: letters, digits, _ . - and slashes, as in team/app", r.Name)
	}
	if err := d.checkURL(ctx, r.URL); err != nil {
		return err
	}
	if r.Forge != "" && d.Forges[r.Forge] == nil {
		return &plan.UsageError{Message: fmt.Sprintf("the code host %.40q is not known", r.Forge), Hint: "known are " + strings.Join(sortedKeys(d.Forges), ", ")}
	}
	if r.API != "" {
		u, err := url.Parse(r.API)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(r.API) > maxURL {
			return bad("%.200q is not the address of an API: https://…, without credentials", withoutUser(r.API))
		}
		if err := d.checkHost(ctx, u); err != nil {
			return err
		}
	}
	if r.DefaultBranch = strings.TrimPrefix(r.DefaultBranch, "refs/heads/"); r.DefaultBranch != "" && !workspace.ValidRef(r.DefaultBranch) {
		return bad("%.80q is not a branch", r.DefaultBranch)
	}
	switch {
	case r.Poll != 0 && r.Poll < minPoll:
		return bad("it would be polled every %s; not more often than every %s", r.Poll, minPoll)
	case r.Limit < 0 || r.Limit > maxRunning:
		return bad("the limit is not between 0 and %d", maxRunning)
	case r.Priority < -maxPriority || r.Priority > maxPriority:
		return bad("the priority is not between %d and %d", -maxPriority, maxPriority)
	case r.Forks != "" && r.Forks != ForksApprove && r.Forks != ForksRun && r.Forks != ForksNever:
		return bad("changes from forks: %.40q is none of approve, run, never", r.Forks)
	case len(r.Protected) > maxPatterns:
		return bad("there are more than %d patterns of protected branches", maxPatterns)
	}
	for _, p := range r.Protected {
		if _, err := path.Match(p, ""); err != nil || p == "" || len(p) > maxName || hasControl(p) {
			return bad("%.80q is not a pattern of branches", p)
		}
	}
	return nil
}

// checkURL says what is wrong with the address of a repository.
func (d *Desk) checkURL(ctx context.Context, s string) error {
	bad := func(why string) error {
		return &plan.UsageError{Message: fmt.Sprintf("%.200q is not the address of a repository: %s", withoutUser(s), why),
			Hint: "https://host/owner/name, ssh://git@host/owner/name, git@host:owner/name, or an absolute path on the server"}
	}
	address, err := workspace.ParseAddress(s)
	switch {
	case err != nil:
		return bad(err.Error())
	case len(s) > maxURL:
		return bad("it is too long")
	case address.Path != "":
		if !filepath.IsAbs(address.Path) || filepath.Clean(address.Path) != address.Path {
			return bad("the path is not absolute and clean")
		}
		return nil
	}
	return d.checkHost(ctx, &url.URL{Scheme: address.Scheme, Host: address.Host})
}

// lookFor is how long the name of a host is looked up.
const lookFor = 10 * time.Second

// checkHost refuses what lies where the guard lets nobody go. What the name means is
// looked up again whenever something is fetched: it may change.
func (d *Desk) checkHost(ctx context.Context, u *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	addrs, err := workspace.Lookup(ctx, u.Hostname())
	if err != nil {
		return &plan.UsageError{Message: fmt.Sprintf("the host %s cannot be found: %v", u.Hostname(), err)}
	}
	for _, a := range addrs {
		if err := d.allowed(u.Scheme, a); err != nil {
			return &plan.UsageError{Message: fmt.Sprintf("the host %s may not be used: %v", u.Hostname(), err)}
		}
	}
	return nil
}

// allowed is the guard of an address that is reached by a protocol. What is not
// encrypted stays inside.
func (d *Desk) allowed(scheme string, a netip.Addr) error {
	if err := d.Guard.Check(a); err != nil {
		return err
	}
	if scheme == "http" && (a.Unmap().IsGlobalUnicast() && !a.Unmap().IsPrivate()) {
		return errors.New("http:// is not encrypted; use https://")
	}
	return nil
}

func withoutUser(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if host, path, _ := strings.Cut(rest, "/"); strings.Contains(host, "@") {
			return scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + "/" + path
		}
	}
	return s
}

func hasControl(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}

// plausibleRef reports whether a word may be a branch, a tag, a commit or a full ref.
func plausibleRef(s string) bool { return utf8.ValidString(s) && workspace.ValidRef(s) }

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
