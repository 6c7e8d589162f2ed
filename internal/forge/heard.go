package forge

import (
	"cmp"
	"slices"
	"strings"
)

// Heard reads a payload in the dialect that GitHub began and Gitea and Forgejo
// speak too. The action and the ref that leads to a change are as GitHub has
// them; a child that knows better sets them afterwards. It returns nil for an
// event that it has no use for.
func Heard(d *Delivery, event string, o Object) *Told {
	t := &Told{
		Delivery:   d,
		Event:      event,
		Action:     o.Text("action"),
		Repository: heardRepository(o.Object("repository")),
		Sender:     heardPerson(o.Object("sender")),
		As:         o,
	}
	switch event {
	case "push":
		t.Kind = Push
		t.Ref, t.Before, t.After = o.Text("ref"), o.Text("before"), o.Text("after")
		t.Forced = o.Bool("forced")
		if t.Sender.Login == "" {
			t.Sender = heardPerson(o.Object("pusher"))
		}
		for _, c := range o.List("commits") {
			t.Commits = append(t.Commits, heardCommit(c))
		}
		t.Complete = complete(t.Commits, o.Integer("total_commits"))
		newest := heardCommit(o.Object("head_commit"))
		if strings.HasPrefix(t.Ref, "refs/tags/") {
			t.SHA = newest.SHA
		}
		if newest.SHA != "" && newest.SHA == cmp.Or(t.SHA, t.After) && t.newest() == nil {
			t.Commits = append(t.Commits, newest)
			t.Complete = false
		}
	case "merge_group":
		if t.Action != "checks_requested" {
			return nil
		}
		t.Kind, t.AsEvent = Push, event
		t.Ref, t.Before, t.After = o.Text("merge_group", "head_ref"), o.Text("merge_group", "base_sha"), o.Text("merge_group", "head_sha")
		if c := heardCommit(o.Object("merge_group", "head_commit")); c.SHA == t.After {
			t.Commits = []Commit{c}
		}
	case "pull_request":
		t.Kind = Change
		if t.Action == "closed" {
			t.Kind = Closed
		}
		p := o.Object("pull_request")
		if t.Number = o.ID("number"); t.Number == "" {
			t.Number = p.ID("number")
		}
		t.Title, t.Text, t.URL, t.State = p.Text("title"), p.Text("body"), p.Text("html_url"), p.Text("state")
		t.Author = heardPerson(p.Object("user"))
		t.Head, t.Base = heardTip(p.Object("head")), heardTip(p.Object("base"))
		if t.Base.Repository.ID != t.Repository.ID {
			return nil // of another repository, in which a fork of it takes part
		}
		t.Draft, t.Merged = p.Bool("draft"), p.Bool("merged")
		t.Fetch = "refs/pull/" + t.Number + "/head"
	case "release":
		t.Kind = Released
		r := o.Object("release")
		t.Tag, t.Name, t.Target = r.Text("tag_name"), r.Text("name"), r.Text("target_commitish")
	case "repository_dispatch":
		t.Kind = Dispatch
	default:
		return nil
	}
	return t
}

// Where GitHub cuts its lists short: commits of a push (20 in older versions
// of its server), files of a commit.
const (
	fullPush   = 2048
	fullPush20 = 20
	fullCommit = 3000
)

// complete reports whether the commits and their files are all there are. A host
// that tells how many there are is believed.
func complete(commits []Commit, total int) bool {
	n := len(commits)
	if n == 0 || total != 0 && n != total || total == 0 && (n >= fullPush || n == fullPush20) {
		return false
	}
	return !slices.ContainsFunc(commits, func(c Commit) bool {
		return len(c.Added)+len(c.Modified)+len(c.Removed) >= fullCommit
	})
}

func heardRepository(o Object) Repository {
	return Repository{
		ID: o.ID("id"), Name: o.Text("full_name"), URL: o.Text("html_url"), CloneURL: o.Text("clone_url"),
		SSHURL: o.Text("ssh_url"), DefaultBranch: o.Text("default_branch"), Private: o.Bool("private"),
	}
}

func heardPerson(o Object) Person {
	p := Person{ID: o.ID("id"), Login: o.Text("login"), Name: o.Text("name"), Email: o.Text("email")}
	if p.Login == "" {
		p.Login = o.Text("username")
	}
	return p
}

func heardTip(o Object) Tip {
	return Tip{Ref: o.Text("ref"), SHA: o.Text("sha"), Repository: heardRepository(o.Object("repo"))}
}

func heardCommit(o Object) Commit {
	return Commit{
		SHA: o.Text("id"), Message: o.Text("message"), Time: o.Text("timestamp"), URL: o.Text("url"),
		Author: heardPerson(o.Object("author")),
		Added:  o.Texts("added"), Modified: o.Texts("modified"), Removed: o.Texts("removed"),
	}
}
