package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Publish publishes what Plan says, after what was begun before and not finished. The
// error is an [ErrNothing] when there is neither, and an [*InvalidError] when it
// cannot be done as things are. What comes with an error was finished.
func (p *Publisher) Publish(ctx context.Context, w Wish) (done []Publication, err error) {
	facts, err := p.Tree.Facts(ctx)
	if err != nil {
		return nil, err
	}
	// Two at once would read each other's half-made tags.
	lease, err := p.Store.Lease(ctx, "publish/"+facts.Repository, p.By)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	begun, err := Publications(ctx, p.Store, facts.Repository)
	if err != nil {
		return nil, err
	}
	for _, one := range begun {
		if one.Done != nil {
			continue
		}
		p.say("%s was begun by %s and is not finished: it goes on", one.Tag, one.By)
		if one, err = p.finish(ctx, one); err != nil {
			return done, err
		}
		done = append(done, one)
	}
	if w.As != "" && slices.ContainsFunc(done, func(one Publication) bool { return one.Version == w.As }) {
		return done, nil
	}
	x, err := p.Plan(ctx, w)
	if err != nil {
		return done, err
	}
	if plan.Errors(x.Problems) {
		return done, &InvalidError{x.Problems}
	}
	if x.Nothing() && len(done) == 0 {
		return nil, ErrNothing
	}
	for i := range x.Releases {
		if x.Releases[i].Version == "" {
			continue
		}
		one, err := p.begin(ctx, x, &x.Releases[i])
		if err == nil {
			one, err = p.finish(ctx, one)
		}
		if err != nil {
			return done, err
		}
		done = append(done, one)
	}
	return done, nil
}

// begin writes down what a release will be, to the last byte.
func (p *Publisher) begin(ctx context.Context, x *Plan, i *Item) (one Publication, err error) {
	p.say("%s: %s", i.Tag, i.Why)
	commit := x.Commit
	if i.Changelog != "" {
		// The release of another component may have put its own commit on top.
		if commit, err = p.git().Head(ctx); err != nil {
			return one, err
		}
	}
	if x.Remote != "" && !x.tagged {
		if err := p.free(ctx, x.Remote, i.Tag); err != nil {
			return one, err
		}
	}
	one.ReleasePublishing = record.ReleasePublishing{
		Key: keyOf(x.Repository, i.Tag), Repository: x.Repository, Component: i.Component, Version: i.Version, Tag: i.Tag, Commit: commit,
		Branch: x.Branch, Since: i.Since, Why: i.Why, At: p.Now().UTC(), By: p.By, Notes: i.Notes, Prerelease: i.Prerelease,
		Remote: x.Remote, Host: x.Host, Message: title(i) + "\n\n" + i.Notes,
	}
	if one.Assets, err = p.gather(ctx, x, i); err != nil {
		return one, err
	}
	if i.Changelog != "" {
		old, err := p.changelog(i.Changelog)
		if err != nil {
			return one, fmt.Errorf("read %s: %w", i.Changelog, err)
		}
		text, changed := i.decision.Insert(old, i.Notes, x.links, one.At)
		if changed {
			d, _, err := p.Blobs.Put(ctx, strings.NewReader(text))
			if err != nil {
				return one, err
			}
			one.Changelog = &record.ReleaseChangelog{Path: i.Changelog, Text: string(d), Message: "chore(release): " + title(i) + "\n"}
		}
	}
	body, err := json.Marshal(one)
	if err != nil {
		return one, err
	}
	_, err = p.Store.Change(ctx, []record.Register{{Kind: register, ID: one.Key, Body: body}}, record.Event{Time: one.At, Body: &one.ReleasePublishing})
	if errors.Is(err, record.ErrConflict) {
		// It was published or given up before, and the tag has gone since.
		return one, &InvalidError{[]plan.Problem{{Severity: plan.Error, Rule: rule, Message: fmt.Sprintf("%s was released before, and its tag is not here", i.Tag), Hint: "fetch it: git fetch --tags; or name a later version with --as"}}}
	}
	return one, err
}

// title is a release in a few words: "api 1.2.0".
func title(i *Item) string { return strings.TrimSpace(i.Component + " " + i.Version) }

// free says that a tag is not taken at the remote.
func (p *Publisher) free(ctx context.Context, remote, tag string) error {
	at, err := p.git().RemoteRefs(ctx, remote, "refs/tags/"+tag)
	if err != nil {
		return err
	}
	if len(at) > 0 {
		return &InvalidError{[]plan.Problem{{Severity: plan.Error, Rule: rule, Message: fmt.Sprintf("%s has the tag %s, and this repository does not", remote, tag), Hint: "fetch it: git fetch --tags " + remote}}}
	}
	return nil
}

// finish does what is missing of a publication. Each step asks first what is there.
func (p *Publisher) finish(ctx context.Context, one Publication) (Publication, error) {
	at := func(doing string, err error) error { return fmt.Errorf("release %s: %s: %w", one.Tag, doing, err) }
	commit, err := p.tagged(ctx, &one)
	if err != nil {
		return one, at("tag it", err)
	}
	if one.Remote != "" {
		if err := p.push(ctx, &one, commit); err != nil {
			return one, at("push it", err)
		}
	}
	done := &record.ReleasePublished{Key: one.Key, Commit: commit, By: p.By}
	if one.Host != nil {
		if done.URL, err = p.tell(ctx, &one, commit); err != nil {
			return one, at("make it at the code host", err)
		}
	}
	return p.close(ctx, one, done)
}

// close writes down that a publication has ended.
func (p *Publisher) close(ctx context.Context, one Publication, done *record.ReleasePublished) (Publication, error) {
	r, err := p.Store.Register(ctx, register, one.Key)
	if err != nil {
		return one, err
	}
	one.Done = done
	body, err := json.Marshal(one)
	if err != nil {
		return one, err
	}
	r.Body = body
	_, err = p.Store.Change(ctx, []record.Register{r}, record.Event{Body: done})
	return one, err
}

// tagged commits the changelog and makes the tag, unless they are there, and returns the
// commit that it names.
func (p *Publisher) tagged(ctx context.Context, one *Publication) (commit string, err error) {
	commit, err = p.git().TagAt(ctx, one.Tag)
	if err == nil {
		if ours, err := p.ours(ctx, one, commit); err != nil || ours {
			return commit, err
		}
		return "", fmt.Errorf("there is a tag %s already, at commit %.10s, and it is not this release's", one.Tag, commit)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	commit = one.Commit
	if one.Changelog != nil {
		if commit, err = p.committed(ctx, one); err != nil {
			return "", err
		}
	}
	p.say("tag %s at %.10s", one.Tag, commit)
	return commit, p.git().Tag(ctx, one.Tag, commit, one.Message)
}

// ours reports whether a commit is the one that the release's tag has to name.
func (p *Publisher) ours(ctx context.Context, one *Publication, commit string) (bool, error) {
	if one.Changelog == nil {
		return commit == one.Commit, nil
	}
	past := workspace.Past{Dir: p.Tree.Root()}
	before, err := past.Before(ctx, commit)
	if err != nil || before != one.Commit {
		return false, err
	}
	list, err := past.Log(ctx, before, commit, 1)
	return err == nil && len(list) == 1 && list[0].Message == strings.TrimSpace(one.Changelog.Message), err
}

// committed commits the changelog, unless that is what is checked out.
func (p *Publisher) committed(ctx context.Context, one *Publication) (string, error) {
	head, err := p.git().Head(ctx)
	if err != nil {
		return "", err
	}
	if head != one.Commit {
		if ours, err := p.ours(ctx, one, head); err != nil || ours {
			return head, err
		}
		return "", fmt.Errorf("%s has moved on since: it was to be released at %.10s and is at %.10s; check that commit out on %s and publish again, or give the release up: fairlead release abandon %s", one.Branch, one.Commit, head, one.Branch, one.Tag)
	}
	body, err := p.Blobs.Open(ctx, blob.Digest(one.Changelog.Text))
	if err != nil {
		return "", fmt.Errorf("open the changelog: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(body, 2*maxChangelog))
	if err = errors.Join(err, body.Close()); err != nil {
		return "", fmt.Errorf("read the changelog: %w", err)
	}
	p.say("commit %s", one.Changelog.Path)
	if err := p.replace(one.Changelog.Path, text); err != nil {
		return "", fmt.Errorf("write %s: %w", one.Changelog.Path, err)
	}
	return p.git().CommitFile(ctx, one.Changelog.Path, one.Changelog.Message)
}

// push brings the tag, and the commit of the changelog, to the remote.
func (p *Publisher) push(ctx context.Context, one *Publication, commit string) error {
	tag := "refs/tags/" + one.Tag
	at, err := p.git().RemoteRefs(ctx, one.Remote, tag)
	if err != nil {
		return err
	}
	there := cmp.Or(at[tag+"^{}"], at[tag]) // a tag that is not annotated has no ^{}
	switch there {
	case commit:
		return nil
	case "":
	default:
		return fmt.Errorf("%s has a tag %s already, at commit %.10s, and it is not this release's", one.Remote, one.Tag, there)
	}
	refs := []string{tag}
	if one.Changelog != nil {
		refs = append(refs, commit+":refs/heads/"+one.Branch)
	}
	p.say("push %s to %s", one.Tag, one.Remote)
	err = p.git().Push(ctx, one.Remote, refs...)
	if errors.Is(err, workspace.ErrRejected) && one.Changelog != nil {
		return fmt.Errorf("%w\nsomebody has pushed to %s meanwhile: give the release up (fairlead release abandon %s), take the tag and the commit back (git tag -d %s; git reset --keep HEAD~1), pull, and publish again", err, one.Branch, one.Tag, one.Tag)
	}
	return err
}

// tell makes the release at the code host. What is there of it already is not made again.
func (p *Publisher) tell(ctx context.Context, one *Publication, commit string) (url string, err error) {
	f, remote, err := p.reach(one.Host)
	if err != nil {
		return "", err
	}
	rel := &forge.Release{
		Tag: one.Tag, SHA: commit, Title: strings.TrimSpace(one.Component + " " + one.Version), Notes: one.Notes, Draft: one.Host.Draft, Prerelease: one.Prerelease,
	}
	for _, a := range one.Assets {
		rel.Assets = append(rel.Assets, forge.Asset{Name: a.Name, Size: a.Size, Type: a.Type, Open: func() (io.ReadCloser, error) {
			return p.Blobs.Open(ctx, blob.Digest(a.Digest))
		}})
	}
	p.say("make release %s at %s", one.Tag, one.Host.Forge)
	return f.Release(ctx, remote, rel)
}

// Abandon gives up a publication that was begun: nothing more is done of it, and what was
// done stays.
func (p *Publisher) Abandon(ctx context.Context, tag string) (Publication, error) {
	facts, err := p.Tree.Facts(ctx)
	if err != nil {
		return Publication{}, err
	}
	lease, err := p.Store.Lease(ctx, "publish/"+facts.Repository, p.By)
	if err != nil {
		return Publication{}, err
	}
	defer lease.Release()
	r, err := p.Store.Register(ctx, register, keyOf(facts.Repository, tag))
	if err != nil {
		return Publication{}, err
	}
	var one Publication
	if r.Version > 0 {
		if err := json.Unmarshal(r.Body, &one); err != nil {
			return one, fmt.Errorf("read the release %s: %w", tag, err)
		}
	}
	if r.Version == 0 || one.Done != nil {
		return one, &plan.UsageError{Message: fmt.Sprintf("no release %s was begun here that is not finished", tag), Hint: "`fairlead release list` lists them"}
	}
	one.Done = &record.ReleasePublished{Key: one.Key, Error: "given up by " + p.By, By: p.By}
	body, err := json.Marshal(one)
	if err != nil {
		return one, err
	}
	// The key is free again: the next one of this tag is another release.
	gone := record.Register{Kind: register, ID: one.Key, Version: r.Version}
	kept := record.Register{Kind: abandoned, ID: fmt.Sprintf("%s#%d", one.Key, one.At.UnixNano()), Body: body}
	_, err = p.Store.Change(ctx, []record.Register{gone, kept}, record.Event{Body: one.Done})
	return one, err
}

// abandoned is the kind of registers that hold publications that were given up.
const abandoned = "publication-abandoned"

// Find is the publication of a tag of this repository.
func (p *Publisher) Find(ctx context.Context, tag string) (one Publication, err error) {
	facts, err := p.Tree.Facts(ctx)
	if err != nil {
		return one, err
	}
	r, err := p.Store.Register(ctx, register, keyOf(facts.Repository, tag))
	if err != nil {
		return one, err
	}
	if r.Version == 0 {
		return one, &plan.UsageError{Message: fmt.Sprintf("no release %s was published from here", tag), Hint: "`fairlead release list` lists them"}
	}
	if err := json.Unmarshal(r.Body, &one); err != nil {
		return one, fmt.Errorf("read the release %s: %w", tag, err)
	}
	return one, nil
}
