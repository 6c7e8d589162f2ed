package workspace

import (
	"errors"
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
		{"group/name", "HEAD", flat, "group/name"},
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

// TestTagsOfProjects: versions are tags, of a clone on this machine, too, which is given as it is
// for all that it does not have.
func TestTagsOfProjects(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	dir := filepath.Join(host, "group", "ci")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"1.0.0", "1.2.0"} {
		write(v)
		git("add", "-A")
		git("commit", "-qm", v)
		git("tag", "-a", "-m", v, v)
	}
	write("not committed")
	p := &Projects{Dir: t.TempDir(), Server: "file://" + host}
	for _, where := range []string{dir, "group/ci", "file://" + host + "/group/ci"} {
		tags, err := p.Tags(t.Context(), where)
		if err != nil || strings.Join(tags, " ") != "1.0.0 1.2.0" {
			t.Errorf("%s has the tags %v, %v", where, tags, err)
		}
	}
	for ref, want := range map[string]string{"1.0.0": "1.0.0", "1.2.0": "not committed", "none": "not committed", "HEAD": "not committed"} {
		for range 2 {
			at, commit, err := p.Fetch(t.Context(), dir, ref)
			body, rerr := os.ReadFile(filepath.Join(at, "file"))
			if err != nil || rerr != nil || string(body) != want || commit == "" {
				t.Errorf("at %s it holds %q, %v, %v", ref, body, err, rerr)
			}
		}
	}
	if tags, err := p.Tags(t.Context(), t.TempDir()); err != nil || len(tags) > 0 {
		t.Errorf("no clone: %v, %v", tags, err)
	}
	if _, err := p.Tags(t.Context(), "group/none"); err == nil {
		t.Error("tags of nothing")
	}
	p.Offline = true
	if _, err := p.Tags(t.Context(), "group/ci"); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}
