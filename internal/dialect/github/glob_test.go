package github

import (
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern string
		yes, no string // space-separated names
	}{
		{"main", "main", "mainline amain feature/main"},
		{"*", "main releases", "all/the/branches"},
		{"**", "main all/the/branches every/tag", ""},
		{"feature/*", "feature/my-branch feature/", "feature feature/a/b"},
		{"feature/**", "feature/beta-a/my-branch feature/x", "feature"},
		{"*feature", "mona-feature feature ver-10-feature", "features a/feature"},
		{"v2*", "v2 v2.0 v2.9", "v1 v2/x"},
		{"v[12].[0-9]+.[0-9]+", "v1.10.1 v2.0.0", "v3.1.1 v1..1 v1.1"},
		{"*.jsx?", "page.js page.jsx", "page.jsxx a/page.js"},
		{"*.js", "app.js index.js", "js/index.js"},
		{"**.js", "index.js js/index.js src/js/app.js", "index.ts"},
		{"docs/*", "docs/README.md docs/file.txt", "docs/a/b.md"},
		{"docs/**", "docs/README.md docs/mona/octocat.txt", "src/docs/a"},
		{"docs/**/*.md", "docs/README.md docs/mona/hello-world.md docs/a/markdown/file.md", "docs/a.txt"},
		{"**/docs/**", "docs/hello.md dir/docs/my-file.txt space/docs/plan/space.doc", "mydocs/a"},
		{"**/README.md", "README.md js/README.md", "js/XREADME.md"},
		{"**/*src/**", "a/src/app.js my-src/code/js/app.js", "src2/app.js"},
		{"**/*-post.md", "my-post.md path/their-post.md", "post.md"},
		{"**/migrate-*.sql", "migrate-10909.sql db/migrate-v1.0.sql db/sept/migrate-v1.sql", "migrate.sql"},
		{"sub-project/**", "sub-project/index.js", "sub-project"},
		{`a\*b`, "a*b", "axb"},
		{`v1.0`, "v1.0", "v1x0"},
		{"é+", "é éé", "e"},
		{"release-(x)", "release-(x)", "release-x"},
		{"[a-cx-]", "a b x -", "d"},
		{"***", "a a/b", ""},
	} {
		p, err := parsePattern(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		for _, name := range strings.Fields(tc.yes) {
			if !p.re.MatchString(name) {
				t.Errorf("%q does not match %q", tc.pattern, name)
			}
		}
		for _, name := range strings.Fields(tc.no) {
			if p.re.MatchString(name) {
				t.Errorf("%q matches %q", tc.pattern, name)
			}
		}
	}
	for _, bad := range []string{"", "!", "+a", "a**?", "[", "[]", "[z-a]", `a\`, strings.Repeat("a", maxPattern+1)} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestFilterOrder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patterns, name string
		want           bool
		by             int
	}{
		{"releases/** !releases/**-alpha", "releases/10", true, 0},
		{"releases/** !releases/**-alpha", "releases/beta/3-alpha", false, 1},
		{"*.md !README.md README*", "README.md", true, 2},
		{"*.md !README.md", "hello.md", true, 0},
		{"main", "other", false, -1},
		{"!main", "other", false, -1},
	} {
		var f filter
		for _, s := range strings.Fields(tc.patterns) {
			p, err := parsePattern(s)
			if err != nil {
				t.Fatal(err)
			}
			f = append(f, p)
		}
		if got, by := f.match(tc.name); got != tc.want || by != tc.by {
			t.Errorf("%s on %s: %v by %d, want %v by %d", tc.patterns, tc.name, got, by, tc.want, tc.by)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"main", "!a/**", "v[0-9]+.*", `\[x?`, "**/*.md", "é?", "[^a]"} {
		f.Add(s, "v1.0/x.md")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		p.re.MatchString(name)
		if !strings.ContainsAny(text, `*?+[]\!`) && !p.re.MatchString(text) && len(text) > 0 && strings.ToValidUTF8(text, "") == text {
			t.Errorf("%q does not match itself", text)
		}
	})
}
