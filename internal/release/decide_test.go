package release

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// line makes a history without branches of messages, oldest first; what follows a | are the
// files. A message "tag: NAME" puts a tag on the commit before.
func line(messages ...string) (a *Ask) {
	a = &Ask{Component: Component{Tag: "v{version}"}, At: noon()}
	for i, m := range messages {
		if name, ok := strings.CutPrefix(m, "tag: "); ok {
			a.Tags = append(a.Tags, Tag{Name: name, SHA: a.Head, Merged: true})
			continue
		}
		text, files, _ := strings.Cut(m, " | ")
		c := Commit{SHA: fmt.Sprintf("%07d%033d", i+1, 0), Author: "Ann", Email: "ann@example.org", Message: text, Files: strings.Fields(files)}
		if a.Head != "" {
			c.Parents = []string{a.Head}
		}
		a.Head = c.SHA
		a.Commits = append(a.Commits, c)
	}
	return a.cut()
}

// cut brings the commits into the order that git lists them in.
func (a *Ask) cut() *Ask {
	slices.Reverse(a.Commits)
	Attribute(a.Commits)
	return a
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ask  *Ask
		set  func(a *Ask)
		want string // version, "" for none, "!" and a part of a refusal
		why  string
		text string // of the changes, "," between
	}{
		{"the first release", line("init", "feat: a"), nil, "0.1.0", "first", "a"},
		{"the first release has its version", line("fix: a"), func(a *Ask) { a.First = "1.0.0" }, "1.0.0", "first", "a"},
		{"the first release of nothing that says anything", line("init"), nil, "0.1.0", "first", ""},
		{"a fix", line("feat: a", "tag: v1.0.0", "fix: b"), nil, "1.0.1", "fix: 0000003000 (b)", "b"},
		{"a feature beside fixes", line("x", "tag: v1.2.3", "fix: b", "feat: c", "fix: d"), nil, "1.3.0", "feat:", "c,b,d"},
		{"what breaks", line("x", "tag: v1.2.3", "feat!: c", "fix: d"), nil, "2.0.0", "a breaking change", "c,d"},
		{"what breaks before 1.0.0", line("x", "tag: v0.2.3", "feat!: c"), nil, "0.3.0", "before 1.0.0", "c"},
		{"nothing new", line("feat: a", "tag: v1.0.0"), nil, "", "nothing", ""},
		{"nothing that asks for a release", line("feat: a", "tag: v1.0.0", "docs: b", "chore(deps): c"), nil, "", "nothing", "b,c"},
		{"nothing that can be understood", line("feat: a", "tag: v1.0.0", "stuff"), nil, "", "nothing", ""},
		{"a person chooses", line("feat: a", "tag: v1.0.0", "docs: b"), func(a *Ask) { a.As = "4.0.0" }, "4.0.0", "a person", "b"},
		{"a person chooses what is over", line("feat: a", "tag: v1.0.0"), func(a *Ask) { a.As = "0.9.0" }, "!not after", "", ""},
		{"a person chooses no version", line("feat: a"), func(a *Ask) { a.As = "v2" }, "!no semantic version", "", ""},
		{"a pre-release", line("feat: a", "tag: v1.0.0", "feat: b"), func(a *Ask) { a.Pre = "rc" }, "1.1.0-rc.1", "pre-release 1", "b"},
		{"the next pre-release", line("feat: a", "tag: v1.0.0", "feat: b", "tag: v1.1.0-rc.1", "fix: c"), func(a *Ask) { a.Pre = "rc" }, "1.1.0-rc.2", "pre-release 2", "c"},
		{"a pre-release of more", line("feat: a", "tag: v1.0.0", "feat: b", "tag: v1.1.0-rc.1", "fix!: c"), func(a *Ask) { a.Pre = "rc" }, "2.0.0-rc.1", "", "c"},
		{"no new pre-release", line("feat: a", "tag: v1.0.0", "feat: b", "tag: v1.1.0-rc.1", "docs: c"), func(a *Ask) { a.Pre = "rc" }, "", "nothing", "c"},
		{"the release after pre-releases, of the same commit", line("feat: a", "tag: v1.0.0", "feat: b", "tag: v1.1.0-rc.1"), nil, "1.1.0", "feat:", "b"},
		{"a channel that sorts before", line("feat: a", "tag: v1.0.0", "feat: b", "tag: v1.1.0-rc.1", "fix: c"), func(a *Ask) { a.Pre = "beta" }, "!not after", "", "c"},
		{"a channel that is none", line("feat: a"), func(a *Ask) { a.Pre = "1.0" }, "!cannot name", "", ""},
		{"never back", line("feat: a", "tag: v1.0.0", "feat!: b", "tag: v2.0.0-rc.1", "Revert \"feat!: b\"\n\nThis reverts commit 0000003."), func(a *Ask) { a.Commits[0].Message = "fix: c" }, "2.0.0", "", "b,c"},
		{"pre-releases elsewhere count, too", line("feat: a", "tag: v1.0.0", "feat: b"), func(a *Ask) {
			a.Pre, a.Tags = "rc", append(a.Tags, Tag{Name: "v1.1.0-rc.1", SHA: "f"})
		}, "1.1.0-rc.2", "", "b"},
		{"a tag that is taken", line("feat: a", "tag: v1.0.0", "fix: b"), func(a *Ask) { a.Tags = append(a.Tags, Tag{Name: "v1.0.1", SHA: "f"}) }, "!taken by commit f", "", "b"},
		{"what is taken back counts for nothing", line("x", "tag: v1.0.0", "feat!: b", "fix: c", "Revert \"feat!: b\"\n\nThis reverts commit 0000003."), nil, "1.0.1", "", "c"},
		{"what is taken back was released", line("feat: a", "tag: v1.0.0", "Revert \"feat: a\"\n\nThis reverts commit 0000001."), nil, "1.0.1", "revert:", "feat: a"},
		{"what is taken back is put back", line("x", "tag: v1.0.0", "feat: b", "Revert \"feat: b\"\n\nThis reverts commit 0000003.", "Reapply \"feat: b\"\n\nThis reverts commit 0000004."), nil, "1.1.0", "feat:", "b"},
		{"a squash without a title", line("x", "tag: v1.0.0", "Stuff (#3)\n\n* feat: b\n* fix: c"), nil, "1.1.0", "", "b,c"},
		{"the calendar", line("x", "docs: y"), func(a *Ask) { a.Scheme, _ = ParseScheme("YYYY.0M.MICRO") }, "2026.11.0", "calendar", "y"},
		{"the calendar, and nothing new", line("x", "tag: v2026.11.0"), func(a *Ask) {
			a.Scheme, _ = ParseScheme("YYYY.0M.MICRO")
		}, "", "nothing", ""},
		{"the calendar, and a pre-release", line("fix: x"), func(a *Ask) {
			a.Scheme, _ = ParseScheme("YYYY.0M.MICRO")
			a.Pre = "beta"
		}, "2026.11.0-beta.1", "", "x"},
		{"types of one's own", line("x", "tag: v1.0.0", "docs: b"), func(a *Ask) { a.Words = []Meaning{{"docs", Patch, "Documentation"}} }, "1.0.1", "docs:", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.set != nil {
				tt.set(tt.ask)
			}
			d, problems := Decide(tt.ask)
			var texts []string
			for _, c := range d.Changes {
				texts = append(texts, c.Text)
			}
			if want, ok := strings.CutPrefix(tt.want, "!"); ok {
				if !slices.ContainsFunc(problems, func(p plan.Problem) bool { return p.Severity == plan.Error && strings.Contains(p.Message, want) }) || !d.Nothing() {
					t.Errorf("%v: %+v", d.Version, problems)
				}
			} else if d.Version.String() != tt.want || plan.Errors(problems) {
				t.Errorf("%q, not %q: %s %+v", d.Version, tt.want, d.Why, problems)
			}
			if !strings.Contains(d.Why, tt.why) {
				t.Errorf("because %q", d.Why)
			}
			if got := strings.Join(texts, ","); got != tt.text && !strings.HasPrefix(tt.want, "!") {
				t.Errorf("changes %q, not %q", got, tt.text)
			}
		})
	}
}

func TestCommitsThatSayNothingAreTold(t *testing.T) {
	t.Parallel()
	_, problems := Decide(line("x", "tag: v1.0.0", "fix: b", "oops", "fix:c"))
	if len(problems) != 2 || plan.Errors(problems) || !strings.Contains(problems[0].Message, `"fix:c" has no space`) || problems[0].Hint == "" {
		t.Errorf("%+v", problems)
	}
	a := line("x", "tag: v1.0.0")
	for i := range 200 {
		a.Commits = append(a.Commits, Commit{SHA: fmt.Sprintf("%040d", i), Message: "work"})
	}
	if _, problems := Decide(a); len(problems) != maxSilent+1 || !strings.HasPrefix(problems[maxSilent].Message, "150 more") {
		t.Errorf("%d problems", len(problems))
	}
	_, problems = Decide(line("x", "tag: v1.0.0", "y", "tag: v1.0", "fix: z", "tag: latest"))
	if len(problems) != 2 || !strings.Contains(problems[0].Message, "tag v1.0 is passed over") {
		t.Errorf("%+v", problems)
	}
}

func TestComponents(t *testing.T) {
	t.Parallel()
	history := []string{"feat: a | api/x web/x", "tag: api/v1.0.0", "tag: web/v2.0.0", "feat: b | api/y", "fix: c | web/y docs/z", "docs: d | README.md"}
	for name, want := range map[string]string{"api": "1.1.0", "web": "2.0.1", "docs": "0.1.0"} {
		a := line(history...)
		a.Component = Component{Name: name, Paths: []string{name}, Tag: TagPattern(name + "/v{version}")}
		if d, problems := Decide(a); d.Version.String() != want || d.Tag != name+"/v"+want || plan.Errors(problems) || len(d.Changes) != 1 && name != "docs" {
			t.Errorf("%s: %q, %s: %+v", name, d.Tag, d.Why, problems)
		}
	}
}

// merged is: base, tag v1.0.0, two commits on a branch, one on main, the merge.
func merged(merge string, branch ...string) *Ask {
	a := &Ask{Component: Component{Tag: "v{version}"}, At: noon(), Tags: []Tag{{"v1.0.0", "base", true}}, Head: "m"}
	a.Commits = []Commit{{SHA: "base", Message: "x"}, {SHA: "trunk", Parents: []string{"base"}, Message: "docs: y (#5)"}}
	last := "base"
	for i, m := range branch {
		sha := fmt.Sprintf("b%d", i)
		a.Commits = append(a.Commits, Commit{SHA: sha, Parents: []string{last}, Message: m, Author: "Bob"})
		last = sha
	}
	a.Commits = append(a.Commits, Commit{SHA: "m", Parents: []string{"trunk", last}, Message: merge, Author: "Ann"})
	return a.cut()
}

func TestMerges(t *testing.T) {
	t.Parallel()
	for _, merge := range []string{
		"Merge pull request #12 from bob/branch\n\nfeat: all of it", "Merge branch 'b' into 'main'\n\nfeat: all of it\n\nSee merge request team/app!12",
		"Merge pull request 'feat: all of it' (#12) from b into main", "Merged in b (pull request #12)\n\nfeat: all of it", "Merged PR 12: feat: all of it", "Pull request #12: feat: all of it",
	} {
		// What it brought speaks for itself.
		d, problems := Decide(merged(merge, "fix: a", "fix: b"))
		if d.Version.String() != "1.0.1" || len(problems) > 0 || len(d.Changes) != 3 || d.Changes[0].Number != "12" || d.Changes[1].Number != "12" || d.Changes[2].Number != "5" {
			t.Errorf("%q: %v, %+v, %+v", merge, d.Version, d.Changes, problems)
		}
		// None of it does: the title may.
		d, problems = Decide(merged(merge, "work", "more work"))
		if d.Version.String() != "1.1.0" || len(problems) > 0 || len(d.Changes) != 2 || d.Changes[0].Text != "all of it" || d.Changes[0].Number != "12" {
			t.Errorf("%q: %v, %+v, %+v", merge, d.Version, d.Changes, problems)
		}
		// Labels: one change each.
		a := merged(merge, "work", "more work")
		a.Source = FromLabels
		for i := range a.Commits {
			if a.Commits[i].Number == "12" {
				a.Commits[i].Labels = []string{"area/api", "Enhancement"}
			}
		}
		d, problems = Decide(a)
		if d.Version.String() != "1.1.0" || len(d.Changes) != 2 || d.Changes[0].Text != "feat: all of it" || d.Changes[0].Author != "Bob" || len(problems) != 1 || !strings.Contains(problems[0].Message, "pull request 5") {
			t.Errorf("%q: %v, %+v, %+v", merge, d.Version, d.Changes, problems)
		}
	}
	if d, problems := Decide(merged("Merge branch 'b'", "work")); !d.Nothing() || len(problems) != 1 {
		t.Errorf("%v, %+v", d.Version, problems)
	}
}

func TestLabelsThatBreak(t *testing.T) {
	t.Parallel()
	a := line("x", "tag: v1.0.0", "Drop it (#3)", "no request")
	a.Source = FromLabels
	a.Commits[1].Labels = []string{"bug", "breaking"}
	d, problems := Decide(a)
	if d.Version.String() != "2.0.0" || d.Changes[0].Section != Breaking || len(problems) != 1 || !strings.Contains(d.Why, "breaking change") {
		t.Errorf("%v %+v %+v", d.Version, d, problems)
	}
}
