package cache

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// answering is a cache in which three steps have used some paths.
func answering(t *testing.T) *Cache {
	t.Helper()
	c := openCache(t)
	keep := func(repository, step string, key, at int, inputs map[string]record.Use) {
		r := sample(keyFor(key), 0)
		r.Writer.Repository, r.Writer.Step = repository, step
		r.Writer.Time = time.Unix(int64(at), 0).UTC()
		r.Dirs.Workspace = "/slots/" + repository
		r.Took = time.Duration(at) * time.Second
		for name, use := range inputs {
			if !strings.HasPrefix(name, "/") {
				name = strings.TrimSuffix(r.Dirs.Workspace+"/"+name, "/")
			}
			r.Inputs = append(r.Inputs, record.Input{Path: name, Use: use})
		}
		slices.SortFunc(r.Inputs, byPathAndUse)
		add(t, c, r)
	}
	// What the step did some time ago does not count any more.
	keep("one", "build", 1, 10, map[string]record.Use{"old.c": record.UseContent})
	keep("one", "build", 2, 20, map[string]record.Use{
		"": record.UseListed, "src": record.UseListed, "src/main.c": record.UseContent, "src-old/x": record.UseContent, "src/util/a.h": record.UseAbsent,
		"include/a.h": record.UseContent, "/usr/bin/cc": record.UseContent, "config": record.UseAbsent,
	})
	keep("one", "test", 3, 30, map[string]record.Use{"src/main.c": record.UseExists, "tests": record.UseDir, "current": record.UseLink})
	keep("two", "build", 4, 40, map[string]record.Use{"src/main.c": record.UseContent, "/usr/bin/cc": record.UseContent})
	return c
}

func TestReaders(t *testing.T) {
	t.Parallel()
	c := answering(t)
	for _, test := range []struct{ path, want string }{
		{"src/main.c", "one/build[3]x1 one/test[2]x1 two/build[3]x1"},
		{"./src/../src/main.c", "one/build[3]x1 one/test[2]x1 two/build[3]x1"},
		{"src", "one/build[1 3 4]x3 one/test[2]x1 two/build[3]x1"},
		{"/slots/one/src", "one/build[1 3 4]x3 one/test[2]x1"},
		{"/usr/bin/cc", "one/build[3]x1 two/build[3]x1"},
		{"/usr", "one/build[3]x1 two/build[3]x1"},
		{"/", "one/build[1 3 4]x8 one/test[2 5 6]x3 two/build[3]x2"},
		{".", "one/build[1 3 4]x7 one/test[2 5 6]x3 two/build[3]x1"},
		{"config", "one/build[1]x1"},
		{"old.c", ""},
		{"sr", ""},
		{"zzz", ""},
	} {
		readings, err := c.Readers(t.Context(), test.path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range readings {
			got = append(got, fmt.Sprintf("%s/%s%dx%d", r.Writer.Repository, r.Writer.Step, r.Uses, r.Paths))
			if !r.Last.Equal(r.Writer.Time) || r.Path == "" {
				t.Errorf("%s: %+v", test.path, r)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.path, got, test.want)
		}
	}
}

func TestAffected(t *testing.T) {
	t.Parallel()
	c := answering(t)
	for _, test := range []struct {
		name    string
		changed []Changed
		want    string // step, path and use
		rest    int
	}{
		{"nothing", nil, "", 2},
		{"a file that both use", []Changed{{Path: "src/main.c"}}, "build src/main.c 3, test src/main.c 2", 0},
		{"the first that decides", []Changed{{Path: "README"}, {Path: "include/a.h"}, {Path: "src/main.c"}}, "build include/a.h 3, test src/main.c 2", 0},
		{"nobody reads it", []Changed{{Path: "README"}}, "", 2},
		{"a new name in a listed directory", []Changed{{Path: "src/new.c", Added: true}}, "build src/new.c 4", 1},
		{"and one that is gone", []Changed{{Path: "src/other.c", Removed: true}}, "build src/other.c 4", 1},
		{"a change of content is no news to a listing", []Changed{{Path: "src/other.c"}}, "", 2},
		{"a new name in the root", []Changed{{Path: "Makefile", Added: true}}, "build Makefile 4", 1},
		{"looked for in vain", []Changed{{Path: "src/util/a.h", Added: true}}, "build src/util/a.h 1", 1},
		{"a parent looked for in vain", []Changed{{Path: "config/x/y", Added: true}}, "build config/x/y 1", 1},
		{"absent, and gone", []Changed{{Path: "config/y", Removed: true}}, "", 2},
		{"a link", []Changed{{Path: "current"}}, "test current 5", 1},
		{"a beginning of a name", []Changed{{Path: "src-old", Removed: true}}, "build src-old 4", 1},
		{"outside", []Changed{{Path: "usr/bin/cc"}}, "", 2},
		{"what was read long ago", []Changed{{Path: "old.c"}}, "", 2},
	} {
		touched, rest, err := c.Affected(t.Context(), "one", test.changed)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range touched {
			got = append(got, fmt.Sprintf("%s %s %d", x.Writer.Step, x.Path, x.Use))
			if x.Took == 0 {
				t.Errorf("%s: %+v", test.name, x)
			}
		}
		if got := strings.Join(got, ", "); got != test.want || len(rest) != test.rest {
			t.Errorf("%s: %q and %d more, want %q and %d", test.name, got, len(rest), test.want, test.rest)
		}
		for _, x := range rest {
			if x.Path != "" || x.Took == 0 {
				t.Errorf("%s: %+v", test.name, x)
			}
		}
	}
	if touched, _, err := c.Affected(t.Context(), "", []Changed{{Path: "src/main.c"}}); err != nil || len(touched) != 3 {
		t.Errorf("in all repositories: %v, %v", touched, err)
	}
}
