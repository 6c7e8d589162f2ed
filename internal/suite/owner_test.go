package suite

import (
	"slices"
	"strings"
	"testing"
)

func TestOwners(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, text string
		want             map[string]string // path: owners
		problems         string
	}{
		{
			name: "the last that matches", file: "CODEOWNERS",
			text: "# all\n* @all @more\n*.js @js # and why\n/build/logs/ @logs\ndocs/* mail@example.org\napps/ @apps\n/scripts/ @doctor @octocat\n**/deep @deep\n/apps/github\n",
			want: map[string]string{
				"a.go": "@all @more", "x/y.js": "@js", "build/logs/a/b": "@logs", "x/build/logs/a": "@all @more",
				"docs/a.md": "mail@example.org", "docs/more/a.md": "@all @more", "x/docs/a.md": "@all @more",
				"apps/a": "@apps", "x/apps/a/b": "@apps", "scripts/x": "@doctor @octocat", "a/b/deep/c": "@deep", "deep": "@deep",
				"apps/github/x": "", "apps/github": "",
			},
		},
		{
			name: "anchors as gitignore has them", file: ".github/CODEOWNERS",
			text: "foo @foo\nsrc/foo @anchored\n/bar @bar\nqux/**/end @qux\nall/** @below\na?c @one\nwith\\ blank @blank\n",
			want: map[string]string{
				"foo": "@foo", "x/foo": "@foo", "x/foo/y": "@foo", "src/foo/y": "@anchored", "x/src/foo/y": "@foo", "bar/y": "@bar", "x/bar": "",
				"qux/end": "@qux", "qux/a/b/end/c": "@qux", "all/x/y": "@below", "all": "", "abc": "@one", "abbc": "", "with blank/x": "@blank",
			},
		},
		{
			name: "lines that are left out", file: "CODEOWNERS",
			text: "* @a\n!x @b\n/ @c\ny nobody\nz nobody @d\n",
			want: map[string]string{"x": "@a", "y": "@a", "z": "@d"},
			problems: `CODEOWNERS:2:1: this pattern begins with !, which CODEOWNERS does not know; the line is left out
CODEOWNERS:3:1: this pattern names nothing; the line is left out
CODEOWNERS:4:3: "nobody" is no owner; it is left out
CODEOWNERS:5:3: "nobody" is no owner; it is left out`,
		},
		{
			name: "sections", file: "CODEOWNERS",
			text: "* @all\n[Docs] @docs\n*.md\n/x/*.md @x\n^[Code][2] @code @more\n*.go\n/gen/ @gen\n[DOCS]\nREADME.md @readme\n",
			want: map[string]string{"a.md": "@all @docs", "x/a.md": "@all @x", "y/a.go": "@all @code @more", "gen/a/b.go": "@all @gen", "gen": "@all", "README.md": "@all @readme"},
		},
		{
			name: "as GitLab has patterns", file: ".gitlab/CODEOWNERS",
			text: "docs/x @any\n/top @top\n/dir/ @dir\n/rec/**/* @rec\n/flat/** @flat\n[ab]*.rb @class\n[!a-c]z @not\n",
			want: map[string]string{
				"docs/x": "@any", "y/docs/x": "@any", "docs/x/below": "", "top": "@top", "top/below": "", "dir/a/b": "@dir",
				"rec/a": "@rec", "rec/a/b": "@rec", "flat/a": "@flat", "flat/a/b": "", "y/ax.rb": "@class", "cx.rb": "", "dz": "@not", "bz": "",
			},
		},
		{
			name: "taken out of a section", file: "CODEOWNERS",
			text: "[Ruby]\n*.rb @ruby\n!/config/**/*.rb\n/config/a.rb @again\n[All]\n* @all\n",
			want: map[string]string{"a.rb": "@ruby @all", "config/a.rb": "@all", "config/x/a.rb": "@all"},
		},
		{name: "nothing", file: "CODEOWNERS", want: map[string]string{"a": ""}},
		{name: "many stars", file: "CODEOWNERS", text: strings.Repeat(strings.Repeat("**/a*a*/", 30)+"z @a\n", 500), want: map[string]string{strings.Repeat("aaaaaaaaaaaa/", 120) + "y": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, problems := ParseOwners(tt.file, tt.text)
			var lines []string
			for _, p := range problems {
				lines = append(lines, strings.TrimSuffix(strings.Split(p.String(), " [owners]")[0], ":"))
			}
			if got := strings.Join(lines, "\n"); got != tt.problems {
				t.Errorf("problems:\n%s\nwant:\n%s", got, tt.problems)
			}
			for path, want := range tt.want {
				if got := strings.Join(o.Of(path), " "); got != want {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
		})
	}
	var none *Owners
	if none.Of("a") != nil {
		t.Error("no file owns something")
	}
	if o, problems := ParseOwners("CODEOWNERS", strings.Repeat("x", maxOwners+1)); o != nil || len(problems) != 1 {
		t.Error("a file that is too large is read")
	}
}

func FuzzOwners(f *testing.F) {
	f.Add("CODEOWNERS", "* @a\n[S][2] @b\n!x\n/a/**/b*/ c@d.e", "a/x/b1/z")
	f.Add(".gitlab/CODEOWNERS", "^[A b] @c\n[!a-]x\\ y @d\n\\#z", "#z")
	f.Add("CODEOWNERS", "**/** @a\n* \\", "a")
	f.Fuzz(func(t *testing.T, file, text, path string) {
		o, problems := ParseOwners(file, text)
		for _, p := range problems {
			if p.Message == "" || p.Line < 0 {
				t.Errorf("problem %v", p)
			}
		}
		got := o.Of(path)
		if len(got) > 0 && slices.Contains(got, "") {
			t.Errorf("%q", got)
		}
	})
}
