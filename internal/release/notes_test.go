package release

import (
	"strings"
	"testing"
)

func noted(t *testing.T) *Decision {
	t.Helper()
	d, problems := Decide(line("x", "tag: v1.0.0", "fix(api): a `<b>` & <c> (#7)", "feat: new [thing](x)", "perf!: faster\n\nBREAKING CHANGE: the old way\nis gone", "docs: nothing"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return d
}

func TestNotes(t *testing.T) {
	t.Parallel()
	const want = "Read this first.\n\n" +
		"### Breaking changes\n\n- faster ([0000005000](https://github.com/team/app/commit/0000005000000000000000000000000000000000))\n  - the old way\n    is gone\n\n" +
		"### Added\n\n- new \\[thing\\](x) ([0000004000](https://github.com/team/app/commit/0000004000000000000000000000000000000000))\n\n" +
		"### Fixed\n\n- **api:** a `<b>` & \\<c\\> ([#7](https://github.com/team/app/pull/7)) ([0000003000](https://github.com/team/app/commit/0000003000000000000000000000000000000000))\n\n" +
		"Made by Ann.\n"
	if got := noted(t).Notes(Links{"github", "https://github.com/team/app"}, "\nRead this first.\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := new(Decision).Notes(Links{}, ""); !strings.HasPrefix(got, "No changes") {
		t.Errorf("%q", got)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for forge, want := range map[string]string{
		"github": "p/commit/abc p/pull/1 p/compare/api%2Fv1...v2", "gitlab": "p/-/commit/abc p/-/merge_requests/1 p/-/compare/api%2Fv1...v2",
		"gitea": "p/commit/abc p/pulls/1 p/compare/api%2Fv1...v2", "bitbucket": "p/commits/abc p/pull-requests/1 p/branches/compare/v2%0Dapi%2Fv1",
		"azure": "p/commit/abc p/pullrequest/1 p/branchCompare?baseVersion=GTapi%2Fv1&targetVersion=GTv2", "": "  ",
	} {
		l := Links{forge, "p"}
		if got := l.Commit("abc") + " " + l.Change("1") + " " + l.Compare("api/v1", "v2"); got != want {
			t.Errorf("%s: %q", forge, got)
		}
	}
}

func TestInsert(t *testing.T) {
	t.Parallel()
	d, l, at := noted(t), Links{"gitlab", "https://git.example.org/team/app"}, noon()
	const title = "## [2.0.0](https://git.example.org/team/app/-/compare/v1.0.0...v2.0.0) - 2026-11-23\n\nNOTES\n"
	for name, tt := range map[string]struct{ old, hand, want string }{
		"none":       {"", "", strings.TrimSpace(newChangelog) + "\n\n" + title},
		"kept":       {"# Log\n\n## [Unreleased]\n\nBy hand.\n\n```\n## no\n```\n\n## [1.0.0] - 2026-01-01\n\n- old\n", "By hand.\n\n```\n## no\n```", "# Log\n\n## [Unreleased]\n\n" + title + "\n## [1.0.0] - 2026-01-01\n\n- old\n"},
		"plain":      {"# Log\r\n\r\n## 1.0.0\r\n\r\n- old\r\n", "", "# Log\n\n" + title + "\n## 1.0.0\n\n- old\n"},
		"no heading": {"# Log\n\nText.\n", "", "# Log\n\nText.\n\n" + title},
		"only that":  {"## Unreleased\n- a\n", "- a", "## Unreleased\n\n" + title},
	} {
		if hand := Hand(tt.old); hand != tt.hand {
			t.Errorf("%s: by hand %q", name, hand)
		}
		got, changed := d.Insert(tt.old, "NOTES\n", l, at)
		if !changed || got != tt.want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", name, got, tt.want)
		}
		if again, changed := d.Insert(got, "NOTES\n", l, at); changed || again != got {
			t.Errorf("%s: inserted twice:\n%s", name, again)
		}
	}
}
