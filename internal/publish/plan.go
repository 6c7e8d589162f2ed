package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Limits of what is looked at.
const (
	maxCommits   = 50_000
	maxChangelog = 16 << 20 // bytes
)

// rule is the name of problems with a release.
const rule = "release"

// Plan is what a release would be. Nothing of it is done.
type Plan struct {
	Repository string `json:"repository"`
	Branch     string `json:"branch,omitempty"`
	Commit     string `json:"commit"`
	Remote     string `json:"remote,omitempty"` // tags are pushed there
	// Host is the code host that is told; nil for none, and then NoHost says why.
	Host     *record.ReleaseHost `json:"host,omitempty"`
	NoHost   string              `json:"no_host,omitempty"`
	Releases []Item              `json:"releases"` // of each component, also those with nothing new
	Problems []plan.Problem      `json:"problems,omitempty"`

	facts workspace.Facts
	links release.Links
	pre   string
	asks  *record.ReleaseHost // the code host that can be asked; nil for none
	blind bool                // labels count, and cannot be read

	tagged bool // the tag is there already
}

// Item is the next release of one component.
type Item struct {
	Component  string `json:"component,omitempty"`
	Version    string `json:"version,omitempty"` // "": nothing is to be released
	Tag        string `json:"tag,omitempty"`
	Since      string `json:"since,omitempty"` // the tag of the release before
	Bump       string `json:"bump"`
	Why        string `json:"why"`
	Prerelease bool   `json:"prerelease,omitempty"`
	Notes      string `json:"notes,omitempty"` // Markdown
	Changelog  string `json:"changelog,omitempty"`
	Commits    []Line `json:"commits"` // that are in it
	Silent     int    `json:"silent"`  // of them ask for no release
	Files      []File `json:"files"`

	decision  *release.Decision
	artifacts []project.ReleaseArtifact
}

// Line is a commit in a plan.
type Line struct {
	Commit   string `json:"commit"`
	Section  string `json:"section,omitempty"` // "": it is not in the notes
	Text     string `json:"text"`
	Number   string `json:"number,omitempty"`
	Author   string `json:"author,omitempty"`
	Breaking bool   `json:"breaking,omitempty"`
}

// File is a file of a release to be.
type File struct {
	Name   string `json:"name"` // of a command's files, the pattern
	From   string `json:"from"` // "file dist/app", "run 12, job build", "command make dist"
	Size   int64  `json:"size,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// Nothing reports whether no component has anything to be released.
func (p *Plan) Nothing() bool {
	return !slices.ContainsFunc(p.Releases, func(i Item) bool { return i.Version != "" })
}

// Plan finds out what would be released. It changes nothing and, unless labels are the
// source of versions, talks to nobody. Problems of severity [plan.Error] in the
// result say why it cannot be.
func (p *Publisher) Plan(ctx context.Context, w Wish) (*Plan, error) {
	file, problems, err := project.Read(p.Tree.FS())
	if err != nil {
		return nil, err
	}
	x := &Plan{Releases: []Item{}, Problems: problems}
	if plan.Errors(problems) {
		return x, nil
	}
	cfg := &file.Release
	if x.facts, err = p.Tree.Facts(ctx); err != nil {
		return nil, err
	}
	x.Repository, x.Branch, x.Commit = x.facts.Repository, x.facts.Branch, x.facts.SHA
	past := workspace.Past{Dir: p.Tree.Root()}
	if refused := p.releasable(ctx, x, past); refused != nil || x.Commit == "" {
		return x, refused
	}
	if w.Tag == "" {
		if err := p.channel(ctx, x, past, cfg, w); err != nil {
			return nil, err
		}
	}
	p.where(ctx, x, cfg, w)
	known, err := past.Tags(ctx, x.Commit)
	if err != nil {
		return nil, err
	}
	tags := make([]release.Tag, len(known))
	for i, t := range known {
		tags[i] = release.Tag{Name: t.Name, SHA: t.Commit, Merged: t.Merged}
	}
	logs := map[string][]release.Commit{}
	all := components(cfg)
	if w.Tag != "" {
		all, tags, w.As = p.tagNamed(x, cfg, all, tags, w.Tag)
	}
	for _, c := range all {
		if len(w.Components) > 0 && !slices.Contains(w.Components, c.Name) {
			continue
		}
		if err := p.item(ctx, x, cfg, &c, tags, logs, past, w); err != nil {
			return nil, err
		}
	}
	p.unknown(x, cfg, w)
	return x, nil
}

// releasable says what of the repository stands against any release.
func (p *Publisher) releasable(ctx context.Context, x *Plan, past workspace.Past) error {
	switch {
	case !p.Tree.HasGit():
		x.refuse("this is no git repository", "run it inside of one")
	case x.Commit == "":
		x.refuse("the repository has no commit", "commit something")
	default:
		shallow, err := past.Shallow(ctx)
		if err != nil {
			return err
		}
		if shallow {
			x.refuse("the history is cut off (a shallow clone): it cannot be known what is new", "do: git fetch --unshallow --tags; in a pipeline, check out with the whole history (fetch-depth: 0)")
		}
		if x.facts.Dirty {
			x.warn("the tree holds changes that are not committed: they are not part of the release, and files that were built with them are", "commit or remove them first")
		}
	}
	return nil
}

func (x *Plan) refuse(message, hint string) { x.problem(plan.Error, plan.Source{}, message, hint) }
func (x *Plan) warn(message, hint string)   { x.problem(plan.Warning, plan.Source{}, message, hint) }

func (x *Plan) problem(severity plan.Severity, at plan.Source, message, hint string) {
	x.Problems = append(x.Problems, plan.Problem{Source: at, Severity: severity, Rule: rule, Message: message, Hint: hint})
}

// channel finds the branch that is released from, and what it says of pre-releases.
func (p *Publisher) channel(ctx context.Context, x *Plan, past workspace.Past, cfg *project.Release, w Wish) error {
	allowed := cfg.Branches
	if len(allowed) == 0 {
		allowed = []project.ReleaseBranch{{Name: x.facts.DefaultBranch}}
	}
	here := []string{x.Branch}
	if x.Branch == "" {
		// Pipelines check out a commit and no branch.
		var err error
		if here, err = past.Branches(ctx, x.Commit); err != nil {
			return err
		}
	}
	for _, b := range allowed {
		for _, name := range here {
			if wild(b.Name, name) {
				x.Branch, x.pre = name, cmp.Or(w.Pre, b.Pre)
				return nil
			}
		}
	}
	var names []string
	for _, b := range allowed {
		names = append(names, b.Name)
	}
	from := "from branch " + x.Branch
	if x.Branch == "" {
		from = "from a commit that is on none of its branches"
	}
	x.problem(plan.Error, cfg.Source, fmt.Sprintf("nothing is released %s", from), "check out "+strings.Join(names, " or ")+", or name the branch under release: branches: in fairlead.yaml")
	return nil
}

// wild reports whether a name is meant by a pattern in which * is any text.
func wild(pattern, name string) bool {
	first, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	for name = name[len(first):]; ; name = name[1:] {
		if wild(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
	}
}

// components are what has versions of its own.
func components(cfg *project.Release) []project.ReleaseComponent {
	if len(cfg.Components) == 0 {
		return []project.ReleaseComponent{{Tag: cmp.Or(cfg.Tag, "v{version}"), First: cfg.First, Changelog: cfg.Changelog, Paths: cfg.Paths, Artifacts: cfg.Artifacts, Source: cfg.Source}}
	}
	list := slices.Clone(cfg.Components)
	for i := range list {
		c := &list[i]
		c.Tag = cmp.Or(c.Tag, c.Name+"/v{version}")
		if len(c.Paths) == 0 {
			c.Paths = []string{c.Name}
		}
	}
	return list
}

// unknown tells of components that are wished for and are none.
func (p *Publisher) unknown(x *Plan, cfg *project.Release, w Wish) {
	var names []string
	for _, c := range cfg.Components {
		names = append(names, c.Name)
	}
	for _, name := range w.Components {
		if !slices.Contains(names, name) {
			hint := "fairlead.yaml names no components under release"
			if near := plan.Nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			} else if len(names) > 0 {
				hint = "there are " + strings.Join(names, ", ")
			}
			x.refuse(fmt.Sprintf("there is no component %q", name), hint)
		}
	}
}

// tagNamed finds the component and the version that a tag of the commit means. What is told
// of it then is what it would be if it were made now: without it, and without those that came
// after it.
func (p *Publisher) tagNamed(x *Plan, cfg *project.Release, all []project.ReleaseComponent, tags []release.Tag, name string) (one []project.ReleaseComponent, before []release.Tag, version string) {
	at := slices.IndexFunc(tags, func(t release.Tag) bool { return t.Name == name })
	switch {
	case at < 0:
		x.refuse("there is no tag "+name+" here", "fetch it: git fetch --tags")
		return nil, nil, ""
	case tags[at].SHA != x.Commit:
		x.refuse(fmt.Sprintf("tag %s is at commit %.10s, and %.10s is checked out", name, tags[at].SHA, x.Commit), "do: git checkout "+name)
		return nil, nil, ""
	}
	scheme, err := release.ParseScheme(cfg.Scheme)
	for k, c := range all {
		text, ok := release.TagPattern(c.Tag).Version(name)
		if !ok || err != nil {
			continue
		}
		v, bad := scheme.Parse(text)
		if bad != nil {
			continue
		}
		for _, t := range tags {
			other, ok := release.TagPattern(c.Tag).Version(t.Name)
			if w, err := scheme.Parse(other); ok && err == nil && w.Compare(v) >= 0 {
				continue
			}
			before = append(before, t)
		}
		x.tagged = true
		all[k].Changelog = "" // what the tag names is what it is
		return all[k : k+1], before, v.String()
	}
	x.refuse("tag "+name+" is of no release: it does not look like those that fairlead.yaml names", "give one that does")
	return nil, nil, ""
}

// item finds out what is to be released of a component.
func (p *Publisher) item(ctx context.Context, x *Plan, cfg *project.Release, c *project.ReleaseComponent, tags []release.Tag, logs map[string][]release.Commit, past workspace.Past, w Wish) error {
	scheme, err := release.ParseScheme(cfg.Scheme)
	if err != nil {
		return err // the file was checked
	}
	component := release.Component{Name: c.Name, Paths: c.Paths, Tag: release.TagPattern(c.Tag), Scheme: scheme, First: c.First}
	bases, _ := component.Find(tags)
	log, ok := logs[bases.Final.SHA]
	if !ok {
		if log, err = p.log(ctx, x, cfg, past, bases.Final.SHA); err != nil {
			return err
		}
		logs[bases.Final.SHA] = log
	}
	if x.blind {
		x.Releases = append(x.Releases, Item{Component: c.Name, Bump: release.None.String(), Why: "the labels cannot be read", Commits: []Line{}, Files: []File{}})
		return nil
	}
	d, problems := release.Decide(&release.Ask{
		Component: component, Source: release.Source(cfg.From), Words: words(cfg.Words), Head: x.Commit, Tags: tags, Commits: log,
		Pre: x.pre, As: w.As, At: p.Now(),
	})
	for _, problem := range problems {
		if c.Name != "" {
			problem.Message = c.Name + ": " + problem.Message
		}
		if !slices.Contains(x.Problems, problem) {
			x.Problems = append(x.Problems, problem)
		}
	}
	i := Item{
		Component: c.Name, Version: d.Version.String(), Tag: d.Tag, Since: d.From.Tag, Bump: d.Bump.String(), Why: d.Why, Silent: d.Silent,
		Commits: []Line{}, Files: []File{}, decision: d, artifacts: c.Artifacts,
	}
	for _, k := range d.Changes {
		i.Commits = append(i.Commits, Line{k.SHA, k.Section, k.Text, k.Number, k.Author, len(k.Breaking) > 0})
	}
	if d.Nothing() {
		i.Tag = ""
		x.Releases = append(x.Releases, i)
		return nil
	}
	i.Prerelease = !d.Version.Final()
	hand := ""
	if c.Changelog != "" {
		i.Changelog = c.Changelog
		text, err := p.changelog(c.Changelog)
		if err != nil {
			x.problem(plan.Error, c.Source, fmt.Sprintf("the changelog %s cannot be read: %v", c.Changelog, err), "make it a plain file, or name another")
		}
		hand = release.Hand(text)
		if x.facts.Branch == "" {
			x.problem(plan.Error, c.Source, "a changelog is committed to a branch, and none is checked out", "check out the branch (in a pipeline, by its name), or remove changelog from fairlead.yaml")
		}
	}
	i.Notes = d.Notes(x.links, hand)
	if i.Files, err = p.preview(ctx, x, &i); err != nil {
		return err
	}
	x.Releases = append(x.Releases, i)
	return nil
}

func words(list []project.ReleaseWord) (means []release.Meaning) {
	for _, w := range list {
		b, _ := release.ParseBump(w.Bump)
		m := release.Meaning{Word: strings.ToLower(w.Word), Bump: b, Section: w.Section}
		if b == release.Major {
			m.Section = release.Breaking
		}
		means = append(means, m)
	}
	return means
}

// log are the commits since one, with their pull requests and, if they count, the
// labels of those.
func (p *Publisher) log(ctx context.Context, x *Plan, cfg *project.Release, past workspace.Past, since string) ([]release.Commit, error) {
	logged, err := past.Log(ctx, since, x.Commit, maxCommits)
	if err != nil {
		return nil, err
	}
	list := make([]release.Commit, len(logged))
	for i, c := range logged {
		list[i] = release.Commit{SHA: c.SHA, Parents: c.Parents, Author: c.Author, Email: c.Email, Time: c.Time, Message: c.Message, Files: c.Files}
	}
	release.Attribute(list)
	if release.Source(cfg.From) == release.FromLabels {
		p.label(ctx, x, list)
	}
	return list, nil
}

// maxLabelled is how many pull requests the code host is asked about.
const maxLabelled = 1000

// label asks the code host for the labels of pull and merge requests.
func (p *Publisher) label(ctx context.Context, x *Plan, list []release.Commit) {
	if x.asks == nil {
		x.blind = true
		x.refuse("labels say what a version is, and no code host can be asked for them: none is known, or there is no token", "name it under release: host: in fairlead.yaml, or take from: commits")
		return
	}
	f, remote, err := p.reach(x.asks)
	var labeller forge.Labeller
	if err == nil {
		var ok bool
		if labeller, ok = f.(forge.Labeller); !ok {
			err = forge.ErrUnsupported
		}
	}
	labels := map[string][]string{}
	for i := range list {
		n := list[i].Number
		if _, known := labels[n]; !known && n != "" && err == nil {
			if len(labels) == maxLabelled {
				err = fmt.Errorf("there are more than %d pull requests", maxLabelled)
				break
			}
			labels[n], err = labeller.Labels(ctx, remote, n)
			if forge.Code(err) == 404 {
				err = nil // an issue's number, or another repository's
			}
		}
		list[i].Labels = labels[n]
	}
	if err != nil {
		x.blind = true
		x.refuse(fmt.Sprintf("labels say what a version is, and cannot be read: %v", err), "repeat it later, or take from: commits in fairlead.yaml")
	}
}

// changelog is the text of the file; "" when there is none.
func (p *Publisher) changelog(name string) (string, error) {
	f, err := p.Tree.FS().Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("it is no plain file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxChangelog+1))
	if err == nil && len(text) > maxChangelog {
		err = fmt.Errorf("it is larger than %d MiB", maxChangelog>>20)
	}
	return string(text), err
}

// where finds the remote and the code host.
func (p *Publisher) where(ctx context.Context, x *Plan, cfg *project.Release, w Wish) {
	if !w.NoPush && cfg.Remote != "none" {
		x.Remote = cfg.Remote
		if x.Remote == "" {
			remote, err := p.Tree.Upstream(ctx, x.Branch)
			if err != nil {
				x.refuse(fmt.Sprintf("the remote cannot be found: %v", err), "name it under release: remote: in fairlead.yaml, or write none there")
			}
			x.Remote = remote
		}
	}
	h := &record.ReleaseHost{Forge: cfg.Host.Forge, API: cfg.Host.API, Repository: cfg.Host.Repository, URL: x.facts.Remote, Draft: w.Draft || cfg.Host.Release == "draft"}
	page, name := (&forge.Remote{URL: h.URL}).Locate()
	h.Repository = cmp.Or(h.Repository, name)
	h.Forge = cmp.Or(h.Forge, kindOf(page))
	if h.Forge != "" && page != "" && name != "" {
		x.links = release.Links{Forge: h.Forge, Page: page + "/" + forge.Escape(name)}
	}
	if h.Forge != "" && h.Repository != "" && p.token(cfg, h) != "" {
		x.asks = h
	}
	switch {
	case w.NoPush || w.NoHost:
		x.NoHost = "it was not wished"
	case cfg.Host.Release == "none":
		x.NoHost = "fairlead.yaml says so"
	case x.Remote == "":
		x.NoHost = "the tag is not pushed"
	case h.Forge == "" || h.Repository == "":
		x.NoHost = "the remote's address names no code host that is known; fairlead.yaml can, under release: host"
	default:
		x.Host = h
	}
	if x.Host != nil && p.token(cfg, h) == "" {
		if cfg.Host.Forge != "" || cfg.Host.Token != "" {
			x.problem(plan.Error, cfg.Source, fmt.Sprintf("there is no token for %s: the variable %s is not set", h.Forge, variableOf(cfg, h)), "set it, or write release: none under host")
			return
		}
		x.Host, x.NoHost = nil, "there is no token: "+variableOf(cfg, h)+" is not set"
	}
	if x.Host != nil {
		if f, ok := p.Forge(h.Forge); ok {
			if r, ok := f.(forge.Releaseless); ok {
				if why := r.NoReleases(p.remote(cfg, h)); why != "" {
					x.Host, x.NoHost = nil, why
				}
			}
		}
	}
}

// kindOf guesses the kind of a code host from the address of its pages; "" when it
// cannot be known.
func kindOf(page string) string {
	_, host, _ := strings.Cut(page, "://")
	for name, kind := range map[string]string{"github.com": "github", "gitlab.com": "gitlab", "bitbucket.org": "bitbucket", "codeberg.org": "gitea", "dev.azure.com": "azure"} {
		if host == name {
			return kind
		}
	}
	for _, kind := range []string{"github", "gitlab", "gitea", "bitbucket"} {
		if strings.HasPrefix(host, kind+".") {
			return kind
		}
	}
	return ""
}

// variableOf names the variable that holds the token of a host.
func variableOf(cfg *project.Release, h *record.ReleaseHost) string {
	if v := strings.TrimPrefix(cfg.Host.Token, "$"); v != "" {
		return v
	}
	return map[string]string{"github": "GITHUB_TOKEN", "gitlab": "GITLAB_TOKEN", "gitea": "GITEA_TOKEN", "bitbucket": "BITBUCKET_TOKEN", "azure": "AZURE_DEVOPS_TOKEN"}[h.Forge]
}

func (p *Publisher) token(cfg *project.Release, h *record.ReleaseHost) string {
	if v := variableOf(cfg, h); v != "" {
		return p.Getenv(v)
	}
	return ""
}

func (p *Publisher) remote(cfg *project.Release, h *record.ReleaseHost) *forge.Remote {
	return &forge.Remote{API: h.API, Repository: h.Repository, URL: h.URL, Token: p.token(cfg, h)}
}

// reach is the code host that a publication names, and the right to write to it. The
// token is looked for anew: none is ever written down.
func (p *Publisher) reach(h *record.ReleaseHost) (forge.Forge, *forge.Remote, error) {
	f, ok := p.Forge(h.Forge)
	if !ok {
		return nil, nil, fmt.Errorf("code hosts of kind %s are not known to this Fairlead", h.Forge)
	}
	file, _, err := project.Read(p.Tree.FS())
	if err != nil {
		return nil, nil, err
	}
	r := p.remote(&file.Release, h)
	if r.Token == "" {
		return nil, nil, fmt.Errorf("there is no token for %s: set %s", h.Forge, variableOf(&file.Release, h))
	}
	return f, r, nil
}

// replace replaces a file of the tree as a whole, also when the power goes. It leads nowhere
// outside of the tree, whatever links lie in it.
func (p *Publisher) replace(name string, text []byte) error {
	root, err := os.OpenRoot(p.Tree.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	dir, last := path.Split(name)
	if dir != "" {
		if err := root.MkdirAll(strings.TrimSuffix(dir, "/"), 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if info, err := root.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	draft := dir + "." + last + ".fairlead"
	f, err := root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(draft, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(draft))
	}
	return nil
}
