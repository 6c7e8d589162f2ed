package forge

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Told is what a host told, in words that fit all of them. A child fills it
// from its host's payload; [Told.Hook] checks every name in it and makes the
// Hook, so that no child can forget to.
type Told struct {
	Delivery   *Delivery
	Kind       Kind
	Event      string // the host's own word
	Action     string // in GitHub's words: "opened", "synchronize"
	Repository Repository
	Sender     Person

	// Of a push.
	Ref           string
	Before, After string // "" is all zeros: the ref was not there, or is gone
	SHA           string // of the commit, where After is an annotated tag
	Commits       []Commit
	Complete      bool // Commits are all, and their files are all
	Forced        bool

	// Of a change.
	Number         string
	Title, Text    string
	URL            string
	Author         Person
	Head, Base     Tip
	Fetch          string // ref of the repository that leads to the head; "" for none
	Draft, Merged  bool
	State          string // "open", "closed"
	MergeCommitSHA string
	Labels         []string

	// Of a release.
	Tag          string
	Name         string
	Target       string // branch or commit it was made of
	DraftRelease bool
	Prerelease   bool

	// As is the payload where the host speaks GitHub's dialect itself; nil: it is
	// made of what stands above.
	As Object
	// As is the event in that dialect when it is not the Kind's usual.
	AsEvent string
}

// Repository is a repository as a payload tells of it.
type Repository struct {
	ID            string // the host's; what it never reuses
	Name          string // "team/app"
	URL           string // of its page
	CloneURL      string
	SSHURL        string
	DefaultBranch string
	Private       bool
}

// Person is somebody as a payload tells of them.
type Person struct {
	ID, Login, Name, Email string
}

// Tip is one side of a change.
type Tip struct {
	Ref        string // short: "main"
	SHA        string
	Repository Repository // its ID is "" when it is not known or gone
}

// Commit is a commit of a push.
type Commit struct {
	SHA, Message, Time, URL  string
	Author                   Person
	Added, Modified, Removed []string
}

// Ignored is the Hook of an event that we have no use for.
func Ignored(d *Delivery, kind Kind, event string) *Hook {
	return &Hook{ID: d.ID(), Kind: kind, Event: line(event, maxName)}
}

// zeros is the commit that is none.
const zeros = "0000000000000000000000000000000000000000"

// Hook checks what was told and makes the Hook of it. The error says what is
// wrong in words for people; no text of the payload stands in it unquoted.
func (t *Told) Hook() (*Hook, error) {
	h := &Hook{
		ID:         t.Delivery.ID(),
		Kind:       t.Kind,
		Event:      line(t.Event, maxName),
		Repository: t.Repository.Name,
		Author:     t.Author.shown(),
		Change: &plan.Change{
			Repository:    t.Repository.Name,
			Server:        t.server(),
			DefaultBranch: t.Repository.DefaultBranch,
			Actor:         t.Sender.shown(),
		},
	}
	c := h.Change
	check := []error{checkRepository(t.Repository.Name)}
	if c.DefaultBranch != "" {
		check = append(check, CheckName("default branch", c.DefaultBranch))
	}
	switch t.Kind {
	case Push:
		check = append(check, t.push(h)...)
	case Change, Closed:
		check = append(check, t.change(h)...)
	case Released:
		c.Event = "release"
		c.Ref, c.SHA = "refs/tags/"+t.Tag, t.SHA
		h.Fetch = c.Ref
		h.Title = line(cmp.Or(t.Name, t.Tag), maxTitle)
		check = append(check, CheckName("tag", t.Tag))
		if t.SHA != "" {
			check = append(check, CheckSHA("commit", t.SHA))
		}
	case Dispatch:
		c.Event = "repository_dispatch"
		c.Ref = "refs/heads/" + c.DefaultBranch
		h.Fetch = c.Ref
		h.Title = line(t.Action, maxTitle)
		check = append(check, CheckName("default branch", c.DefaultBranch))
	default:
		return nil, fmt.Errorf("a %s is nothing to launch", t.Kind)
	}
	c.Event = cmp.Or(t.AsEvent, c.Event)
	if err := errors.Join(check...); err != nil {
		return nil, fmt.Errorf("read a delivery of kind %q: %w", h.Event, err)
	}
	if c.Payload = t.As; c.Payload == nil {
		c.Payload = t.payload()
	}
	return h, nil
}

// maxRefs bounds the refs of one push.
const maxRefs = 1000

// Several is the Hook of a push of several refs: the first one, with the others
// in Also. There must be one.
func Several(all []*Told) (*Hook, error) {
	if len(all) > maxRefs {
		return nil, fmt.Errorf("read a delivery: it tells of %d refs, more than %d", len(all), maxRefs)
	}
	var first *Hook
	for _, t := range all {
		h, err := t.Hook()
		switch {
		case err != nil:
			return nil, err
		case first == nil:
			first = h
		default:
			first.Also = append(first.Also, h)
		}
	}
	return first, nil
}

func (t *Told) push(h *Hook) []error {
	t.Before, t.After = cmp.Or(t.Before, zeros), cmp.Or(t.After, zeros)
	c := h.Change
	c.Event, c.Ref, c.SHA, c.Before = "push", t.Ref, cmp.Or(t.SHA, t.After), t.Before
	h.Fetch = t.Ref
	h.Deleted = strings.Trim(t.After, "0") == ""
	if newest := t.newest(); newest != nil {
		h.Title = line(newest.Message, maxTitle)
		h.Author = newest.Author.shown()
	}
	if t.Complete && !t.Forced && !h.Deleted && strings.Trim(t.Before, "0") != "" {
		c.Files, c.FilesKnown = files(t.Commits)
	}
	return []error{CheckRef(t.Ref), CheckSHA("commit", c.SHA), CheckSHA("commit", t.After), CheckSHA("commit before", t.Before)}
}

// newest is the commit that the ref is now at, when it is listed.
func (t *Told) newest() *Commit {
	sha := cmp.Or(t.SHA, t.After)
	if i := slices.IndexFunc(t.Commits, func(c Commit) bool { return c.SHA == sha }); i >= 0 {
		return &t.Commits[i]
	}
	return nil
}

func (t *Told) change(h *Hook) []error {
	c := h.Change
	c.Event = "pull_request"
	c.Ref = "refs/pull/" + t.Number + "/merge"
	c.SHA, c.Before = t.Head.SHA, t.Base.SHA
	c.HeadRef, c.BaseRef = t.Head.Ref, t.Base.Ref
	h.Number, h.Title = t.Number, line(t.Title, maxTitle)
	// What is not known to be the repository itself is somebody else's: the
	// repository of a fork may be gone, too.
	h.Fork = t.Head.Repository.ID == "" || t.Head.Repository.ID != t.Repository.ID
	h.Fetch = t.Fetch
	if h.Fork {
		h.HeadURL = webAddress(t.Head.Repository.CloneURL)
	} else if h.Fetch == "" {
		h.Fetch = "refs/heads/" + t.Head.Ref
	}
	check := []error{
		checkNumber(t.Number), CheckName("branch", t.Head.Ref), CheckName("branch", t.Base.Ref), checkAbbreviated(t.Head.SHA),
	}
	if t.Base.SHA != "" {
		check = append(check, checkAbbreviated(t.Base.SHA))
	}
	return check
}

// maxFiles bounds a list of changed files.
const maxFiles = 20_000

// files are those that commits touch, and whether that is all of them.
func files(commits []Commit) (touched []string, known bool) {
	seen := map[string]bool{}
	for _, c := range commits {
		for _, list := range [][]string{c.Added, c.Modified, c.Removed} {
			for _, name := range list {
				if !seen[name] && (name == "" || name != path.Clean(name) || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0)) {
					return nil, false
				}
				seen[name] = true
			}
		}
		if len(seen) > maxFiles {
			return nil, false
		}
	}
	touched = make([]string, 0, len(seen))
	for name := range seen {
		touched = append(touched, name)
	}
	slices.Sort(touched)
	return touched, true
}

// server is the address of the host's pages: that of the repository's page
// without its name.
func (t *Told) server() string {
	u, err := url.Parse(webAddress(t.Repository.URL))
	if err != nil || u.Host == "" {
		return ""
	}
	prefix, _ := strings.CutSuffix(strings.TrimSuffix(u.Path, "/"), "/"+t.Repository.Name)
	if prefix == strings.TrimSuffix(u.Path, "/") {
		prefix = ""
	}
	return u.Scheme + "://" + u.Host + prefix
}

// webAddress is the address when it is one of the web's, without a name or
// password in it; else "".
func webAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(s) > maxAddress {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// payload is what was told in GitHub's dialect.
func (t *Told) payload() Object {
	o := Object{"repository": t.Repository.object(), "sender": t.Sender.object()}
	if t.Action != "" {
		o["action"] = t.Action
	}
	switch t.Kind {
	case Push:
		commits := make([]any, 0, len(t.Commits))
		for _, c := range t.Commits {
			commits = append(commits, c.object())
		}
		o["ref"], o["before"], o["after"] = t.Ref, t.Before, t.After
		gone := strings.Trim(t.After, "0") == ""
		o["deleted"] = gone
		o["created"] = !gone && strings.Trim(t.Before, "0") == ""
		o["forced"] = t.Forced
		o["commits"] = commits
		o["head_commit"] = any(nil)
		if c := t.newest(); c != nil {
			o["head_commit"] = c.object()
		} else if !gone {
			o["head_commit"] = map[string]any{"id": cmp.Or(t.SHA, t.After)}
		}
		o["pusher"] = map[string]any{"name": cmp.Or(t.Sender.Login, t.Sender.Name), "email": t.Sender.Email}
	case Change, Closed:
		number, _ := strconv.ParseFloat(t.Number, 64)
		labels := make([]any, 0, len(t.Labels))
		for _, l := range t.Labels {
			labels = append(labels, map[string]any{"name": l})
		}
		o["number"] = number
		change := map[string]any{
			"number":   number,
			"title":    t.Title,
			"body":     t.Text,
			"html_url": t.URL,
			"state":    cmp.Or(t.State, "open"),
			"draft":    t.Draft,
			"merged":   t.Merged,
			"user":     t.Author.object(),
			"labels":   labels,
			"head":     t.Head.object(t.Repository.ID),
			"base":     t.Base.object(t.Repository.ID),
		}
		if t.MergeCommitSHA != "" {
			change["merge_commit_sha"] = t.MergeCommitSHA
		}
		o["pull_request"] = change
	case Released:
		o["release"] = map[string]any{
			"tag_name":         t.Tag,
			"name":             t.Name,
			"body":             t.Text,
			"target_commitish": t.Target,
			"draft":            t.DraftRelease,
			"prerelease":       t.Prerelease,
			"html_url":         t.URL,
			"author":           t.Sender.object(),
		}
	}
	return o
}

func (r *Repository) object() map[string]any {
	owner, name := path.Split(r.Name)
	owner = strings.TrimSuffix(owner, "/")
	return map[string]any{
		"id":             number(r.ID),
		"name":           name,
		"full_name":      r.Name,
		"owner":          map[string]any{"login": owner, "name": owner},
		"html_url":       r.URL,
		"clone_url":      r.CloneURL,
		"ssh_url":        r.SSHURL,
		"default_branch": r.DefaultBranch,
		"private":        r.Private,
	}
}

// number is an ID as GitHub gives it: a number where it is one.
func number(id string) any {
	if n, err := strconv.ParseUint(id, 10, 53); err == nil {
		return float64(n)
	}
	return id
}

func (p *Person) object() map[string]any {
	login := cmp.Or(p.Login, p.Name)
	return map[string]any{"login": login, "name": cmp.Or(p.Name, login), "email": p.Email, "id": number(p.ID), "type": "User"}
}

func (t *Tip) object(home string) map[string]any {
	o := map[string]any{"ref": t.Ref, "sha": t.SHA, "repo": any(nil)}
	if t.Repository.ID != "" {
		repo := t.Repository.object()
		repo["fork"] = t.Repository.ID != home
		o["repo"] = repo
		owner := repo["owner"].(map[string]any)["login"].(string)
		o["user"], o["label"] = map[string]any{"login": owner}, owner+":"+t.Ref
	}
	return o
}

func (c *Commit) object() map[string]any {
	person := map[string]any{"name": c.Author.Name, "email": c.Author.Email, "username": c.Author.Login}
	return map[string]any{
		"id": c.SHA, "message": c.Message, "timestamp": c.Time, "url": c.URL, "distinct": true,
		"author": person, "committer": person,
		"added": anys(c.Added), "modified": anys(c.Modified), "removed": anys(c.Removed),
	}
}

func anys(texts []string) []any {
	list := make([]any, len(texts))
	for i, s := range texts {
		list[i] = s
	}
	return list
}

// Limits of names.
const (
	maxName    = 255
	maxRef     = 1000
	maxTitle   = 200
	maxAddress = 2000
)

// CheckRef says what is wrong with a ref: whole, "refs/heads/main", by git's
// rules (git-check-ref-format(1)), and none whose short name could be
// taken for an option.
func CheckRef(ref string) error {
	rest, ok := strings.CutPrefix(ref, "refs/")
	if !ok {
		return fmt.Errorf("ref %.80q does not begin with refs/", ref)
	}
	kind, name, ok := strings.Cut(rest, "/")
	if !ok || kind == "" {
		return fmt.Errorf("ref %.80q has no name", ref)
	}
	if strings.ContainsFunc(kind, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' && r != '_' }) || kind[0] == '-' {
		return fmt.Errorf("ref %.80q is of no kind that git has", ref)
	}
	return CheckName("ref", name)
}

// CheckName says what is wrong with the short name of a branch or tag, by the same
// rules.
func CheckName(what, name string) error {
	wrong := func(why string) error { return fmt.Errorf("%s %.80q %s", what, name, why) }
	switch {
	case name == "":
		return wrong("is empty")
	case len(name) > maxRef:
		return wrong("is too long")
	case !utf8.ValidString(name):
		return wrong("is not UTF-8")
	case name[0] == '-':
		return wrong("begins with a dash")
	case name == "@", strings.Contains(name, "@{"), strings.Contains(name, ".."), name[len(name)-1] == '.':
		return wrong("is not a name that git allows")
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\", r) }):
		return wrong("holds a character that git does not allow")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return wrong("is not a name that git allows")
		}
	}
	return nil
}

// CheckSHA says what is wrong with the whole name of a commit.
func CheckSHA(what, sha string) error {
	if len(sha) != 40 && len(sha) != 64 || !digits(sha) {
		return fmt.Errorf("%s %.80q is not 40 or 64 hexadecimal digits", what, sha)
	}
	return nil
}

// minAbbreviated is how many digits git shortens a commit to at least.
const minAbbreviated = 7

func checkAbbreviated(sha string) error {
	if len(sha) < minAbbreviated || len(sha) > 64 || !digits(sha) {
		return fmt.Errorf("commit %.80q is not %d or more hexadecimal digits", sha, minAbbreviated)
	}
	return nil
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

func checkNumber(n string) error {
	if _, err := strconv.ParseUint(n, 10, 53); err != nil || n[0] == '0' {
		return fmt.Errorf("the change has no number but %.80q", n)
	}
	return nil
}

// checkRepository says what is wrong with the name of a repository: parts with
// slashes between them, two at least, that could all be names of files.
func checkRepository(name string) error {
	parts := strings.Split(name, "/")
	bad := len(parts) < 2 || len(name) > maxRef || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) ||
		slices.ContainsFunc(parts, func(p string) bool {
			return p == "" || p == "." || p == ".." || p[0] == '-' || strings.ContainsAny(p, "\\?#%")
		})
	if bad {
		return fmt.Errorf("%.80q is not the name of a repository", name)
	}
	return nil
}

// shown is the person's name on one line. What nobody can see in it is
// replaced and not removed, so that no two names become the same.
func (p *Person) shown() string {
	name := strings.Map(func(r rune) rune {
		if odd(r) {
			return utf8.RuneError
		}
		return r
	}, cmp.Or(p.Login, p.Name))
	return Cut(strings.ToValidUTF8(name, string(utf8.RuneError)), maxName)
}

// odd are the characters that no name has: they are not seen, or change how
// others are.
func odd(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// line is the first line of a text, without what cannot be seen, at most so many
// bytes of it.
func line(s string, most int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(r rune) rune {
		if odd(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	return Cut(strings.TrimSpace(s), most)
}

// Cut is a text of at most so many bytes: its beginning and an ellipsis, when it
// is longer. It cuts between characters.
func Cut(s string, most int) string {
	const ellipsis = "…"
	if len(s) <= most {
		return s
	}
	if most < len(ellipsis) {
		return ""
	}
	end := most - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
