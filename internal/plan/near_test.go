package plan

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	flags := []string{"job", "event", "event-file", "dry-run", "list", "graph", "parallel"}
	for name, want := range map[string]string{
		"jbo": "job", "jobs": "job", "evnt": "event", "dryrun": "dry-run", "lsit": "list", "para": "parallel", "grap": "graph", "frobnicate": "", "x": "",
	} {
		if got := Nearest(name, flags); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "abd", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
