package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Logged is a commit of a history.
type Logged struct {
	SHA     string
	Parents []string
	Author  string // as .mailmap has it
	Email   string
	Time    time.Time // of the author, UTC
	Message string
	Files   []string // that differ from the parent: slash paths, of a rename both; none of a merge
}

// Log lists the commits in the history of to that are not in that of from, to first,
// no commit before its children. from may be "". They are at most most, or that
// is an error.
func (p Past) Log(ctx context.Context, from, to string, most int) ([]Logged, error) {
	if from != "" && !isSHA(from) || !isSHA(to) {
		return nil, fmt.Errorf("list the commits from %.80q to %.80q: %w", from, to, fs.ErrNotExist)
	}
	span := []string{"--topo-order", "--max-count=" + strconv.Itoa(most+1), "--no-ext-diff", "--no-textconv", "--no-color", "--no-show-signature", "--no-notes", "--encoding=UTF-8", "-z"}
	ends := []string{"--end-of-options", to}
	if from != "" {
		ends = append(ends, "^"+from)
	}
	ask := func(args ...string) ([]byte, error) {
		out, err := p.git().output(ctx, slices.Concat([]string{"log"}, span, args, ends, []string{"--"})...)
		if err != nil {
			return nil, p.absent(ctx, "list commits", err)
		}
		return out, nil
	}
	out, err := ask("--no-patch", "--format=%H%n%P%n%aN%n%aE%n%at%n%B")
	if err != nil {
		return nil, err
	}
	var list []Logged
	place := map[string]int{}
	for _, text := range fields(out) {
		part := strings.SplitN(text, "\n", 6)
		if len(part) < 6 {
			return nil, fmt.Errorf("list commits: git says %.80q of one", text)
		}
		seconds, err := strconv.ParseInt(part[4], 10, 64)
		if err != nil {
			seconds = 0 // a broken commit has a time that is none
		}
		place[part[0]] = len(list)
		list = append(list, Logged{
			SHA: part[0], Parents: strings.Fields(part[1]), Author: part[2], Email: part[3],
			Time: time.Unix(seconds, 0).UTC(), Message: strings.TrimRight(part[5], "\n"),
		})
	}
	if len(list) > most {
		return nil, fmt.Errorf("list commits: there are more than %d", most)
	}
	if out, err = ask("--name-only", "--no-renames", "--format="+commitMark+"%H "); err != nil {
		return nil, err
	}
	for _, b := range parseBetween(out) {
		if i, ok := place[b.SHA]; ok {
			list[i].Files = b.Files
		}
	}
	return list, nil
}

// Tagged is a tag.
type Tagged struct {
	Name   string
	Commit string
	Merged bool // the commit is in the history that was asked about
}

// Tags are the tags of commits, by name; Merged says which are in head's history.
func (p Past) Tags(ctx context.Context, head string) ([]Tagged, error) {
	if !isSHA(head) {
		return nil, fmt.Errorf("list tags before %.80q: %w", head, fs.ErrNotExist)
	}
	ask := func(args ...string) ([]Tagged, error) {
		out, err := p.git().output(ctx, slices.Concat([]string{"for-each-ref", "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"}, args, []string{"refs/tags/"})...)
		if err != nil {
			return nil, p.absent(ctx, "list tags", err)
		}
		var list []Tagged
		for line := range strings.Lines(string(out)) {
			name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			words := strings.Fields(rest)
			if i := slices.Index(words, "commit"); i >= 0 && i+1 < len(words) {
				list = append(list, Tagged{Name: strings.TrimPrefix(name, "refs/tags/"), Commit: words[i+1]})
			}
		}
		return list, nil
	}
	all, err := ask()
	if err != nil {
		return nil, err
	}
	merged, err := ask("--merged=" + head)
	if err != nil {
		return nil, err
	}
	in := map[string]bool{}
	for _, t := range merged {
		in[t.Name] = true
	}
	for i := range all {
		all[i].Merged = in[all[i].Name]
	}
	return all, nil
}

// Branches are the branches, here and at remotes, whose history has the commit:
// their short names, each once.
func (p Past) Branches(ctx context.Context, commit string) ([]string, error) {
	if !isSHA(commit) {
		return nil, fmt.Errorf("list the branches of %.80q: %w", commit, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "for-each-ref", "--format=%(refname)", "--contains="+commit, "refs/heads/", "refs/remotes/")
	if err != nil {
		return nil, p.absent(ctx, "list branches", err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		if local, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			list = append(list, local)
		} else if _, far, ok := strings.Cut(strings.TrimPrefix(name, "refs/remotes/"), "/"); ok && far != "HEAD" {
			list = append(list, far)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// Shallow reports whether the history is cut off somewhere, as it is in most clones that
// CI systems make.
func (p Past) Shallow(ctx context.Context) (bool, error) {
	out, err := p.git().output(ctx, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return false, p.absent(ctx, "look at the repository", err)
	}
	return strings.TrimSpace(string(out)) == "true", nil
}

// pushTime bounds what talks to a remote.
const pushTime = 5 * time.Minute

// writing is git for what changes the repository as its owner would: with their
// identity, their hooks and their signing key.
func (t *Tree) writing() git {
	g := git{dir: t.root}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "GIT_AUTHOR_") || strings.HasPrefix(kv, "GIT_COMMITTER_") {
			g.env = append(g.env, kv)
		}
	}
	return g
}

// TagAt is the commit that a tag of this repository names; fs.ErrNotExist when there
// is no such tag.
func (t *Tree) TagAt(ctx context.Context, name string) (string, error) {
	if t.repo == nil || !validRef("refs/tags/"+name) {
		return "", fmt.Errorf("tag %.80q: %w", name, fs.ErrNotExist)
	}
	out, err := t.writing().output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", "refs/tags/"+name+"^{commit}")
	if err != nil {
		return "", Past{Dir: t.root}.absent(ctx, "tag "+name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Tag makes an annotated tag of a commit, signed if the owner's git signs tags. It is
// an error if there is one of that name.
func (t *Tree) Tag(ctx context.Context, name, commit, message string) error {
	if !isSHA(commit) || !validRef("refs/tags/"+name) || strings.HasPrefix(name, "-") {
		return fmt.Errorf("tag %.80q cannot be made at %.80q", name, commit)
	}
	// The notes are Markdown: a line that begins with # is no comment.
	if _, err := t.writing().pipe(ctx, strings.NewReader(message), "tag", "--annotate", "--cleanup=verbatim", "--file=-", "--", name, commit); err != nil {
		return fmt.Errorf("make tag %s: %w", name, err)
	}
	return t.signed(ctx, name)
}

// signed takes a tag away that was to be signed and is not: some versions of git make it all
// the same when the key cannot be read.
func (t *Tree) signed(ctx context.Context, name string) error {
	wanted, err := t.writing().output(ctx, "config", "--type=bool", "--get", "tag.gpgSign")
	if exitCode(err) == 1 || err == nil && strings.TrimSpace(string(wanted)) != "true" {
		return nil
	}
	var text []byte
	if err == nil {
		text, err = t.writing().output(ctx, "cat-file", "tag", "refs/tags/"+name)
	}
	if err == nil && strings.Contains(string(text), "\n-----BEGIN ") {
		return nil
	}
	if err == nil {
		err = errors.New("git was to sign it (tag.gpgSign) and could not: look at user.signingKey")
	}
	return fmt.Errorf("make tag %s: %w", name, errors.Join(err, t.writing().run(context.WithoutCancel(ctx), "tag", "--delete", name)))
}

// CommitFile commits one file of the tree, as it lies there, on what is checked out,
// and returns the commit. What else was changed or staged stays as it is.
func (t *Tree) CommitFile(ctx context.Context, name, message string) (string, error) {
	if t.repo == nil || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("commit %.80q: %w", name, fs.ErrNotExist)
	}
	g := t.writing()
	if err := g.run(ctx, "add", "--force", "--", name); err != nil {
		return "", fmt.Errorf("commit %s: %w", name, err)
	}
	if _, err := g.pipe(ctx, strings.NewReader(message), "commit", "--quiet", "--cleanup=verbatim", "--file=-", "--only", "--", name); err != nil {
		return "", fmt.Errorf("commit %s: %w", name, err)
	}
	return t.Head(ctx)
}

// Upstream is the remote that the branch is pushed to, "" for none.
func (t *Tree) Upstream(ctx context.Context, branch string) (string, error) {
	if t.repo == nil {
		return "", nil
	}
	cfg, err := t.repo.config(ctx)
	if err != nil {
		return "", err
	}
	name, _, ok := t.repo.remoteOf(cfg, branch)
	if !ok {
		return "", nil
	}
	return name, nil
}

// ErrRejected says that a remote did not take what was pushed: it has something else
// there, or does not allow it.
var ErrRejected = errors.New("the remote refused it")

// Push brings refs to a remote, all of them or none, and forces nothing. Each is
// "SHA:refs/heads/main", or "refs/tags/v1" for that ref itself.
func (t *Tree) Push(ctx context.Context, remote string, refs ...string) error {
	if !plainWord(remote) || strings.HasPrefix(remote, "-") {
		return fmt.Errorf("push to %.80q: there is no such remote", remote)
	}
	ctx, cancel := context.WithTimeout(ctx, pushTime)
	defer cancel()
	err := t.writing().run(ctx, slices.Concat([]string{"push", "--quiet", "--atomic", "--no-follow-tags", "--", remote}, refs)...)
	var said *gitError
	if errors.As(err, &said) && strings.Contains(said.stderr, "rejected]") {
		return fmt.Errorf("push to %s: %w: %s", remote, ErrRejected, withoutCredentials(strings.TrimSpace(said.stderr)))
	}
	if err != nil {
		return fmt.Errorf("push to %s: %w", remote, err)
	}
	return nil
}

// RemoteRefs are those of the named refs that a remote has, and what they are at; a tag
// also under its name and ^{}, which is the commit.
func (t *Tree) RemoteRefs(ctx context.Context, remote string, refs ...string) (map[string]string, error) {
	if !plainWord(remote) || strings.HasPrefix(remote, "-") {
		return nil, fmt.Errorf("ask %.80q: there is no such remote", remote)
	}
	ctx, cancel := context.WithTimeout(ctx, pushTime)
	defer cancel()
	args := []string{"ls-remote", "--quiet", "--", remote}
	for _, r := range refs {
		args = append(args, r, r+"^{}")
	}
	out, err := t.writing().output(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its refs: %w", remote, err)
	}
	at := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			at[name] = sha
		}
	}
	return at, nil
}
