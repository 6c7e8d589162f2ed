package cache

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestIgnored(t *testing.T) {
	t.Parallel()
	dirs := plan.Dirs{Workspace: "/work/slots/repo/1/repo", Temp: "/work/slots/repo/1/_temp"}
	tests := []struct {
		name    string
		environ []string
		zones   []string
		in, out []string
	}{
		{"defaults", []string{"HOME=/home/u"}, nil,
			[]string{"/home/u/.cache/go-build", "/home/u/go/pkg/mod", "/home/u/.npm/_cacache", "/home/u/.cargo/registry", "/home/u/.config/go/telemetry", "**/__pycache__"},
			[]string{"/home/u/.m2/repository", "/home/u/.npm", "/home/u/.cache", "/home/u", "/home/u/.cache/pypoetry", "/home/u/.cache/bazel"}},
		{"variables", []string{"HOME=/home/u", "GOCACHE=/fast/go", "GOPATH=/gp:/other", "npm_config_cache=/fast/npm/", "XDG_CACHE_HOME=/fast/xdg"}, nil,
			[]string{"/fast/go", "/gp/pkg/mod", "/gp/pkg/sumdb", "/fast/npm/_cacache", "/fast/xdg/pip"},
			[]string{"/home/u/.cache/go-build", "/home/u/go/pkg/mod", "/other/pkg/mod", "/home/u/.cache/pip"}},
		{"the more precise variable", []string{"HOME=/home/u", "GOPATH=/gp", "GOMODCACHE=/mods/x"}, nil, []string{"/mods/x"}, []string{"/gp/pkg/mod"}},
		{"a cache in the workspace", []string{"HOME=/home/u", "GOCACHE=" + dirs.Workspace + "/.cache/go"}, nil, []string{dirs.Workspace + "/.cache/go"}, nil},
		{"relative", []string{"HOME=/home/u", "GOCACHE=off", "CCACHE_DIR=.ccache"}, nil, nil, []string{"off", ".ccache"}},
		{"the rule's own", []string{"HOME=/home/u", "DATA=/data/sets"}, []string{"~/models", "$DATA/x", "${DATA}/y", "/opt/tools/", "**/.mypy_cache"},
			[]string{"/home/u/models", "/data/sets/x", "/data/sets/y", "/opt/tools", "**/.mypy_cache"}, nil},
		{"variables that are not set", []string{"HOME=/home/u"}, []string{"$NOTHING/x", "/x$NOTHING"}, nil, []string{"/x"}},
		{"too much", []string{"HOME=/home/u", "GOCACHE=/", "GOMODCACHE=" + dirs.Workspace, "PIP_CACHE_DIR=/work/slots", "UV_CACHE_DIR=/usr"},
			[]string{"~", "/home", "$HOME/..", "/tmp", "**/", "**/*", "**/..", ""},
			nil, []string{"/", dirs.Workspace, "/work/slots", "/usr", "/home/u", "/home", "/tmp", "**/", "**/*", "**/..", ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := Ignored(test.environ, Rule{Zones: test.zones}, dirs)
			for _, want := range test.in {
				if !slices.Contains(got, want) {
					t.Errorf("%s is missing", want)
				}
			}
			for _, not := range test.out {
				if slices.Contains(got, not) {
					t.Errorf("%s is ignored", not)
				}
			}
			if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("not sorted, each once: %q", got)
			}
		})
	}
}

func TestZonesTellWhy(t *testing.T) {
	t.Parallel()
	for _, z := range Zones() {
		if z.Tool == "" || z.Why == "" || z.Path == "" || strings.ContainsAny(z.Why, "\n|") || len(z.Why) > 100 {
			t.Errorf("%+v", z)
		}
		if !strings.HasPrefix(z.Path, "~/") && !strings.HasPrefix(z.Path, "$XDG_") && !strings.HasPrefix(z.Path, "**/") && !filepath.IsAbs(z.Path) {
			t.Errorf("%s of %s is nowhere", z.Path, z.Tool)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	p := &Policy{
		Zones: []string{"~/everywhere"},
		Rules: []MatchedRule{
			{Match: "*/npm ci", Rule: Rule{Network: NetworkPinned}},
			{Match: "deploy*", Rule: Rule{Never: true}},
			{Match: "build/*", Rule: Rule{Network: NetworkIgnore, MaxAge: time.Hour, Zones: []string{"/a/b"}}},
			{Match: "build/3", Rule: Rule{MaxAge: 2 * time.Hour, Zones: []string{"/c/d"}}},
			{Match: "a*b*c/x", Rule: Rule{Never: true}},
		},
	}
	everywhere := []string{"~/everywhere"}
	tests := []struct {
		job   string
		names []string
		want  Rule
	}{
		{"test", []string{"go test", "test", "2"}, Rule{Zones: everywhere}},
		{"test", []string{"npm ci", "", "2"}, Rule{Zones: everywhere, Network: NetworkPinned}},
		{"build", []string{"npm ci", "", "2"}, Rule{Zones: []string{"~/everywhere", "/a/b"}, Network: NetworkIgnore, MaxAge: time.Hour}},
		{"build", []string{"make", "", "3"}, Rule{Zones: []string{"~/everywhere", "/a/b", "/c/d"}, Network: NetworkIgnore, MaxAge: 2 * time.Hour}},
		{"deploy/eu", []string{"push", "", "3"}, Rule{Zones: everywhere, Never: true}},
		{"a-b-b-c", []string{"x"}, Rule{Zones: everywhere, Never: true}},
		{"a-c-b", []string{"x"}, Rule{Zones: everywhere}},
		{"abc", []string{"xx"}, Rule{Zones: everywhere}},
	}
	for _, test := range tests {
		got := p.For(test.job, test.names...)
		if got.Never != test.want.Never || got.Network != test.want.Network || got.MaxAge != test.want.MaxAge || !slices.Equal(got.Zones, test.want.Zones) {
			t.Errorf("%s %q: %+v, want %+v", test.job, test.names, got, test.want)
		}
	}
	if got := (*Policy)(nil).For("a", "b"); got.Never || got.Zones != nil {
		t.Errorf("no policy: %+v", got)
	}
}
