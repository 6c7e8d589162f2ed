package workspace

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestProjects(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	make := func(name string) (commit string) {
		dir := filepath.Join(host, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "x"}} {
			c := exec.Command("git", args...)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v: %s", args, err, out)
			}
		}
		out, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	flat, deep := make("group/name"), make("group/below/deeper/name")
	p := &Projects{Dir: t.TempDir(), Server: "file://" + host}
	for _, c := range []struct{ where, ref, commit, holds string }{
		{"group/name", "main", flat, "group/name"},
		{"group/below/deeper/name", "main", deep, "group/below/deeper/name"},
		{"group/below/deeper/name", deep, deep, "group/below/deeper/name"},
		{"file://" + host + "/group/name", "main", flat, "group/name"},
		{filepath.Join(host, "group/name"), "main", flat, "group/name"},
	} {
		dir, commit, err := p.Fetch(t.Context(), c.where, c.ref)
		if err != nil {
			t.Errorf("%s@%s: %v", c.where, c.ref, err)
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || string(body) != c.holds || commit != c.commit {
			t.Errorf("%s@%s: %q at %s, %v", c.where, c.ref, body, commit, err)
		}
	}
	for _, where := range []string{"", "name", "../x/y", "group/../name", "-x/-y", "group/nothing", "git@example.invalid:"} {
		if _, _, err := p.Fetch(t.Context(), where, "main"); err == nil {
			t.Errorf("%q was fetched", where)
		}
	}
	p.Offline = true
	if _, _, err := p.Fetch(t.Context(), "other/name", "main"); err == nil || !strings.Contains(err.Error(), "offline") {
		t.Errorf("offline: %v", err)
	}
}
