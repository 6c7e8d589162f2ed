package release

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is when tests release.
func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func version(t *testing.T, text string) Version {
	t.Helper()
	v, err := ParseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersionsAreOrdered(t *testing.T) {
	t.Parallel()
	// SemVer 2.0.0, section 11, and numbers that are larger than a machine's.
	order := strings.Fields(`0.0.1-alpha 0.0.1 0.9.9 1.0.0-0 1.0.0-9 1.0.0-10 1.0.0-99999999999999999999 1.0.0-- 1.0.0-A 1.0.0-alpha 1.0.0-alpha.1
		1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1 1.1.0 2.0.0 2.1.0 2.1.1 10.0.0`)
	for i, a := range order {
		for k, b := range order {
			if got := version(t, a).Compare(version(t, b)); got < 0 != (i < k) || got > 0 != (i > k) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	if version(t, "1.0.0+a").Compare(version(t, "1.0.0+b")) != 0 {
		t.Error("a build counts")
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for _, s := range strings.Fields(`0.0.4 1.2.3 10.20.30 1.1.2-prerelease+meta 1.1.2+meta-valid 1.0.0-alpha.0valid 1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay 1.0.0-0A.is.legal 1.2.3----RC-SNAPSHOT.12.9.1--.12+788 1.0.0+0.build.1-rc.10000aaa-kk-0.1 1.2.3-SNAPSHOT-123`) {
		if v, err := ParseVersion(s); err != nil || v.String() != s {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range strings.Fields(`1 1.2 v1.2.3 1.2.3-0123 1.2.3-0123.0123 1.1.2+.123 +invalid -invalid alpha 1.0.0-alpha_beta 1.0.0-alpha.. 01.1.1 1.01.1 1.1.01 1.2.3.DEV 1.2-SNAPSHOT -1.0.3-gamma+b7718 1.0.0-+ 1.0.0- 99999999999999999999.0.0 ---RC--1.2.3`) {
		if v, err := ParseVersion(s); err == nil {
			t.Errorf("%s is %+v", s, v)
		}
	}
	if _, err := ParseVersion("1.0.0-" + strings.Repeat("a", maxVersion)); err == nil {
		t.Error("there is no limit")
	}
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)
	tests := []struct{ scheme, last, want string }{
		{"YYYY.0M.MICRO", "", "2026.12.0"},
		{"YYYY.0M.MICRO", "2026.12.4", "2026.12.5"},
		{"YYYY.0M.MICRO", "2026.11.4", "2026.12.0"},
		{"YY.MM.DD.MICRO", "26.12.31.9", "26.12.31.10"},
		{"YYYY.0W.MICRO", "", "2026.53.0"},
		{"YYYY.MICRO", "2025.7", "2026.0"},
		{"YYYY.0M.MICRO", "2027.01.0", ""},
	}
	for _, tt := range tests {
		s, err := ParseScheme(tt.scheme)
		if err != nil {
			t.Fatal(err)
		}
		var last Version
		if tt.last != "" {
			if last, err = s.Parse(tt.last); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := s.next(last, None, day); got.String() != tt.want {
			t.Errorf("%s after %q: %q, not %q", tt.scheme, tt.last, got, tt.want)
		}
	}
	for _, bad := range []string{"YYYY.MM", "MICRO.YYYY", "YYYY-MM-MICRO", "YYYY.YY.MICRO", "vYYYY.MICRO", "years", "MM.0M.MICRO", "YYYY.MICRO.x"} {
		if _, err := ParseScheme(bad); err == nil {
			t.Errorf("%s is a scheme", bad)
		}
	}
	s, _ := ParseScheme("YYYY.0M.MICRO")
	for _, bad := range []string{"2026.1.0", "2026.011.0", "2026.01", "2026.01.0-", "x"} {
		if v, err := s.Parse(bad); err == nil {
			t.Errorf("%s is %v", bad, v)
		}
	}
}

func TestTagPattern(t *testing.T) {
	t.Parallel()
	for p, ok := range map[TagPattern]bool{"v{version}": true, "api/v{version}": true, "{version}": true, "v": false, "{version}{version}": false, "a..{version}": false, "-{version}": false, "a b{version}": false, "/{version}": false, "{version}.lock": false} {
		if err := p.Check(); (err == nil) != ok {
			t.Errorf("%s: %v", p, err)
		}
	}
	p := TagPattern("api/v{version}-x")
	if got, ok := p.Version(p.Tag("1.0.0")); !ok || got != "1.0.0" {
		t.Error(got, ok)
	}
	for _, tag := range []string{"v1.0.0", "api/v1.0.0", "api/v-", "x"} {
		if got, ok := p.Version(tag); ok {
			t.Errorf("%s holds %q", tag, got)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"api", []string{"api", "api/a", "api/a/b.go"}, []string{"apis", "web/api"}},
		{"api/**", []string{"api/a", "api/a/b"}, []string{"web/a"}},
		{"**/*.go", []string{"a.go", "x/y/a.go"}, []string{"a.c", "x/a.c"}},
		{"api/*.go", []string{"api/a.go"}, []string{"api/x/a.go"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/x/y/b/z/c/d"}, []string{"a/b", "a/c/b"}},
		{".", []string{"a", "a/b"}, nil},
		{"./api/", []string{"api/x"}, []string{"x"}},
	}
	for _, tt := range tests {
		for _, f := range slices.Concat(tt.yes, tt.no) {
			if Match(tt.pattern, f) != slices.Contains(tt.yes, f) {
				t.Errorf("%s and %s", tt.pattern, f)
			}
		}
	}
	c := Component{Paths: []string{"api", "lib/**", "!**/*.md"}}
	for f, want := range map[string]bool{"api/a.go": true, "api/README.md": false, "lib/x/y": true, "web/a": false} {
		if c.Owns(f) != want {
			t.Errorf("%s: %v", f, !want)
		}
	}
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{"1.0.0", "1.0.0-rc.1+b", "2026.01.3", "26.1.2.3-beta.2", "v1", "01.0.0", "1.0.0-01"} {
		f.Add(s, "1.0.0-alpha.1")
	}
	calendar, err := ParseScheme("YYYY.0M.MICRO")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []Scheme{{}, calendar} {
			v, err := s.Parse(a)
			if err != nil {
				continue
			}
			if again, err := s.Parse(v.String()); err != nil || v.Compare(again) != 0 || v.String() != a {
				t.Fatalf("%q reads as %q: %v", a, again, err)
			}
			if !s.Calendar() {
				for _, bump := range []Bump{Patch, Minor, Major} {
					if n, err := s.next(v, bump, noon()); err != nil || n.Compare(v) <= 0 && v.Final() {
						t.Fatalf("after %q comes %q: %v", v, n, err)
					}
				}
			}
			if w, err := s.Parse(b); err == nil && v.Compare(w) != -w.Compare(v) {
				t.Fatalf("%q and %q", v, w)
			}
		}
		_, _ = ParseScheme(a)
		p := TagPattern(a)
		if text, ok := p.Version(b); ok && p.Check() == nil && p.Tag(text) != b {
			t.Fatalf("%q in %q", a, b)
		}
	})
}
