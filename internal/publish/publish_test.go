package publish

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// scene is a repository with a remote, a record, and a code host that keeps what it is
// given. Everything is real but the host.
type scene struct {
	t     *testing.T
	dir   string // the repository
	far   string // its remote
	data  string
	store *sqlite.Store
	blobs blob.Store
	host  *host
	runs  runs
	built int // how often the command was run
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("git", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_AUTHOR_DATE=2026-11-01T10:00:00Z", "GIT_COMMITTER_DATE=2026-11-01T10:00:00Z")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func newScene(t *testing.T, file string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), far: filepath.Join(t.TempDir(), "team", "app.git"), data: t.TempDir(), host: &host{}}
	if err := os.MkdirAll(s.far, 0o755); err != nil {
		t.Fatal(err)
	}
	git(t, s.far, "init", "-q", "--bare", "-b", "main", ".")
	git(t, s.dir, "init", "-qb", "main", ".")
	for _, kv := range [][2]string{{"user.name", "Ann"}, {"user.email", "ann@example.org"}, {"commit.gpgsign", "false"}, {"tag.gpgsign", "false"}} {
		git(t, s.dir, "config", kv[0], kv[1])
	}
	git(t, s.dir, "remote", "add", "origin", s.far)
	s.put("fairlead.yaml", file)
	s.put(".gitignore", "dist/\n")
	s.commit("feat: begin")
	git(t, s.dir, "push", "-qu", "origin", "main")
	var err error
	if s.store, err = sqlite.Open(t.Context(), s.data, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	if s.blobs, err = disk.Open(filepath.Join(s.data, "blobs")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) put(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) commit(message string) string {
	s.t.Helper()
	git(s.t, s.dir, "add", "-A")
	git(s.t, s.dir, "commit", "-q", "--allow-empty", "-m", message)
	return git(s.t, s.dir, "rev-parse", "HEAD")
}

// publisher is one process: what it has in mind dies with it.
func (s *scene) publisher() *Publisher {
	s.t.Helper()
	tree, err := workspace.Open(s.t.Context(), s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { tree.Close() })
	return &Publisher{
		Tree: tree, Store: s.store, Runs: s.runs, Blobs: s.blobs, Version: "1.0.0", By: "ann",
		Forge:  func(kind string) (forge.Forge, bool) { return s.host, kind == "github" },
		Getenv: func(name string) string { return map[string]string{"GITHUB_TOKEN": "t0ken"}[name] },
		Exec: func(_ context.Context, c Command, _ io.Writer) (executor.Result, error) {
			s.built++
			s.put("dist/app-"+c.Env["VERSION"], fmt.Sprint("built ", s.built))
			return executor.Result{Observation: &record.Observation{
				Mechanism: "seccomp", Inputs: []record.Input{{Path: filepath.Join(s.dir, "main.c"), Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: [32]byte{1}}}},
				Outputs: []record.Output{{Path: filepath.Join(s.dir, "dist", "app-"+c.Env["VERSION"])}},
			}}, nil
		},
		Key: func() (*attest.Key, error) { return attest.OpenKey(filepath.Join(s.data, "release.key")) },
		Now: func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) },
		Say: func(format string, args ...any) { s.t.Logf(format, args...) },
	}
}

// host is a code host in memory, which says when it is made to do something twice.
type host struct {
	forge.Forge
	releases map[string]map[string]string
	notes    string
}

func (h *host) Name() string { return "github" }

func (h *host) Release(_ context.Context, r *forge.Remote, rel *forge.Release) (string, error) {
	if r.Token != "t0ken" || r.Repository == "" {
		return "", fmt.Errorf("%+v", r)
	}
	if err := rel.Check(); err != nil {
		return "", err
	}
	files := map[string]string{}
	for _, a := range rel.Assets {
		f, err := a.Open()
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil || int64(len(text)) != a.Size {
			return "", fmt.Errorf("%s: %d bytes, %w", a.Name, len(text), err)
		}
		files[a.Name] = string(text)
	}
	if h.releases == nil {
		h.releases = map[string]map[string]string{}
	}
	if old := h.releases[rel.Tag]; old != nil {
		for name, text := range files {
			if old[name] != text {
				return "", fmt.Errorf("%s is there already and holds something else", name)
			}
		}
	}
	h.releases[rel.Tag], h.notes = files, rel.Notes
	return "https://git.example.org/team/app/releases/" + rel.Tag, nil
}

// Labels says what pull requests are called.
func (h *host) Labels(_ context.Context, _ *forge.Remote, number string) ([]string, error) {
	if number == "500" {
		return nil, errors.New("the host is not well")
	}
	return map[string][]string{"7": {"enhancement"}, "8": {"bug"}}[number], nil
}

// runs are runs in memory.
type runs []*record.Run

func (r runs) Runs(_ context.Context, f store.RunFilter) (list []store.RunHead, err error) {
	for _, run := range slices.Backward(r) {
		list = append(list, store.RunHead{ID: run.ID, SHA: run.Planned.Change.SHA, Verdict: run.Verdict})
	}
	return list, nil
}

func (r runs) Run(_ context.Context, id string) (*record.Run, error) {
	for _, run := range r {
		if run.ID == id {
			return run, nil
		}
	}
	return nil, store.ErrNotFound
}

const everything = `release:
  changelog: CHANGELOG.md
  host: {forge: github, repository: team/app}
  artifacts: [{files: [dist/*], command: make dist}]
`

func (s *scene) publish(w Wish) []Publication {
	s.t.Helper()
	done, err := s.publisher().Publish(s.t.Context(), w)
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// whole checks that a release is there, once, everywhere and the same.
func (s *scene) whole(tag, since string) {
	s.t.Helper()
	t := s.t
	here, there := git(t, s.dir, "rev-parse", tag+"^{commit}"), git(t, s.far, "rev-parse", tag+"^{commit}")
	if here != there || git(t, s.far, "rev-parse", "main") != there || git(t, s.dir, "rev-parse", "HEAD") != here {
		t.Errorf("the tag is at %s here and %s there", here, there)
	}
	if got := git(t, s.dir, "rev-list", "--count", since+".."+tag); got != "1" {
		t.Errorf("%s commits were made", got)
	}
	if got := git(t, s.dir, "cat-file", "-t", tag); got != "tag" {
		t.Errorf("the tag is a %s", got)
	}
	if got := git(t, s.dir, "status", "--porcelain"); got != "" {
		t.Errorf("the tree is left with %q", got)
	}
	version := strings.TrimPrefix(tag, "v")
	log := git(t, s.dir, "show", tag+":CHANGELOG.md")
	if strings.Count(log, "## ["+version+"]") != 1 {
		t.Errorf("the changelog holds:\n%s", log)
	}
	files := s.host.releases[tag]
	if len(s.host.releases) != 1 || len(files) != 3 || files["app-"+version] == "" || files[ProvenanceName] == "" {
		t.Fatalf("the host has %q", s.host.releases)
	}
	want := ""
	for _, name := range []string{"app-" + version, ProvenanceName} {
		d, _ := DigestOf(strings.NewReader(files[name]))
		want += strings.TrimPrefix(d, "sha256:") + "  " + name + "\n"
	}
	if files[SumsName] != want {
		t.Errorf("the sums are\n%s\nnot\n%s", files[SumsName], want)
	}
	all, err := Publications(t.Context(), s.store, "")
	if err != nil || len(all) != 1 || all[0].Done == nil || all[0].Done.Commit != here || all[0].Done.URL == "" {
		t.Errorf("%+v, %v", all, err)
	}
	begun, ended := 0, 0
	for e, err := range s.store.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Body.(type) {
		case *record.ReleasePublishing:
			begun++
		case *record.ReleasePublished:
			ended++
		}
	}
	if begun != 1 || ended != 1 {
		t.Errorf("%d were begun, %d ended", begun, ended)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s := newScene(t, everything)
	git(t, s.dir, "tag", "v1.0.0")
	s.put("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\nBy hand.\n")
	head := s.commit("fix(api): a bolt (#7)")
	x, err := s.publisher().Plan(t.Context(), Wish{})
	if err != nil || len(x.Problems) > 0 || len(x.Releases) != 1 {
		t.Fatalf("%+v, %v", x, err)
	}
	i := x.Releases[0]
	if i.Version != "1.0.1" || i.Tag != "v1.0.1" || i.Since != "v1.0.0" || i.Bump != "patch" || len(i.Commits) != 1 || i.Commits[0].Number != "7" || len(i.Files) != 1 || i.Files[0].From != "command make dist" || x.Remote != "origin" || x.Host == nil || !strings.HasPrefix(i.Notes, "By hand.\n\n### Fixed\n\n- **api:** a bolt") {
		t.Errorf("%+v", i)
	}
	if text, err := json.Marshal(x); err != nil || bytes.Contains(text, []byte("t0ken")) || s.built > 0 {
		t.Errorf("%s, %v", text, err)
	}
	done := s.publish(Wish{})
	if len(done) != 1 || done[0].Tag != "v1.0.1" {
		t.Fatalf("%+v", done)
	}
	s.whole("v1.0.1", head)
	if got := git(t, s.dir, "cat-file", "-p", "v1.0.1"); !strings.Contains(got, "\n\n1.0.1\n\nBy hand.\n\n### Fixed\n") {
		t.Errorf("%q", got)
	}
	if _, err := s.publisher().Publish(t.Context(), Wish{}); !errors.Is(err, ErrNothing) {
		t.Errorf("again: %v", err)
	}
	// What is said of how it was made holds, offline.
	pub, err := os.ReadFile(filepath.Join(s.data, "release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := attest.ParseKeys(pub)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := attest.Open([]byte(s.host.releases["v1.0.1"][ProvenanceName]), keys)
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := DigestOf(strings.NewReader(s.host.releases["v1.0.1"]["app-1.0.1"]))
	definition := statement.Predicate.BuildDefinition
	if !statement.Has(digest) || definition.ExternalParameters["command"] != "make dist" || definition.ResolvedDependencies[0].Digest["gitCommit"] != head || definition.ResolvedDependencies[1].URI != "file:main.c" || definition.InternalParameters["observed"] != "whole" {
		t.Errorf("%+v", statement)
	}
	found, err := (&Witness{s.blobs}).Published(t.Context(), s.store, digest)
	if err != nil || len(found) != 1 {
		t.Errorf("%d statements, %v", len(found), err)
	}
}

// errKilled is what a killed process says: nothing.
var errKilled = errors.New("killed")

// reaper kills a process before or after the nth thing that it does to the world.
type reaper struct {
	left  int
	after bool
	dead  bool
}

// do does something, or dies.
func (r *reaper) do(what func() error) error {
	if r.dead {
		return errKilled
	}
	if r.left--; r.left == 0 {
		r.dead = true
		if r.after {
			_ = what()
		}
		return errKilled
	}
	return what()
}

type mortalGit struct {
	*workspace.Tree
	*reaper
}

func (m mortalGit) Tag(ctx context.Context, name, commit, message string) error {
	return m.do(func() error { return m.Tree.Tag(ctx, name, commit, message) })
}

func (m mortalGit) CommitFile(ctx context.Context, name, message string) (sha string, err error) {
	return sha, m.do(func() error { sha, err = m.Tree.CommitFile(ctx, name, message); return err })
}

func (m mortalGit) Push(ctx context.Context, remote string, refs ...string) error {
	return m.do(func() error { return m.Tree.Push(ctx, remote, refs...) })
}

type mortalStore struct {
	*sqlite.Store
	*reaper
}

func (m mortalStore) Change(ctx context.Context, changes []record.Register, events ...record.Event) (list []record.Event, err error) {
	return list, m.do(func() error { list, err = m.Store.Change(ctx, changes, events...); return err })
}

type mortalBlobs struct {
	blob.Store
	*reaper
}

func (m mortalBlobs) Put(ctx context.Context, r io.Reader) (d blob.Digest, n int64, err error) {
	return d, n, m.do(func() error { d, n, err = m.Store.Put(ctx, r); return err })
}

type mortalHost struct {
	*host
	*reaper
}

func (m mortalHost) Release(ctx context.Context, r *forge.Remote, rel *forge.Release) (url string, err error) {
	return url, m.do(func() error { url, err = m.host.Release(ctx, r, rel); return err })
}

// mortal is a process that will be killed.
func (s *scene) mortal(n int, after bool) (*Publisher, *reaper) {
	r := &reaper{left: n, after: after}
	p := s.publisher()
	p.Git, p.Store, p.Blobs = mortalGit{p.Tree, r}, mortalStore{s.store, r}, mortalBlobs{s.blobs, r}
	p.Forge = func(string) (forge.Forge, bool) { return mortalHost{s.host, r}, true }
	exec := p.Exec
	p.Exec = func(ctx context.Context, c Command, w io.Writer) (res executor.Result, err error) {
		return res, r.do(func() error { res, err = exec(ctx, c, w); return err })
	}
	return p, r
}

// TestKilledAnywhere kills a publication before and after everything that it does, once and
// twice, and goes on: what is there at last is one release.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	const acts = 12 // of the release of [everything]; the loop below finds out if that is wrong
	for n := 1; n <= acts+1; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %v", n, after), func(t *testing.T) {
				t.Parallel()
				s := newScene(t, everything)
				head := s.commit("feat: bolts")
				p, r := s.mortal(n, after)
				_, err := p.Publish(t.Context(), Wish{})
				if r.dead != (n <= acts) || r.dead && !errors.Is(err, errKilled) || !r.dead && err != nil {
					t.Fatalf("dead %v: %v", r.dead, err)
				}
				// Killed again, at the first thing that is done then.
				if p, r := s.mortal(1, after); r != nil {
					if _, err := p.Publish(t.Context(), Wish{}); err != nil && !errors.Is(err, errKilled) && !errors.Is(err, ErrNothing) {
						t.Fatal(err)
					}
				}
				if _, err := s.publisher().Publish(t.Context(), Wish{}); err != nil && !errors.Is(err, ErrNothing) {
					t.Fatal(err)
				}
				s.whole("v0.1.0", head)
			})
		}
	}
}

func TestComponentsAreReleasedTogether(t *testing.T) {
	t.Parallel()
	s := newScene(t, "release:\n  components:\n  - {name: api, changelog: api/CHANGELOG.md, first: 1.0.0}\n  - {name: web, changelog: web/CHANGELOG.md}\n  - {name: docs}\n")
	s.put("api/a", "1")
	s.put("web/w", "1")
	s.commit("feat: both")
	git(t, s.dir, "tag", "docs/v1.0.0")
	x, err := s.publisher().Plan(t.Context(), Wish{})
	if err != nil || plan.Errors(x.Problems) || len(x.Releases) != 3 || x.Releases[2].Version != "" || x.NoHost == "" {
		t.Fatalf("%+v, %v", x, err)
	}
	done := s.publish(Wish{})
	if len(done) != 2 || done[0].Tag != "api/v1.0.0" || done[1].Tag != "web/v0.1.0" {
		t.Fatalf("%+v", done)
	}
	if a, w := git(t, s.far, "rev-parse", "api/v1.0.0^{commit}"), git(t, s.far, "rev-parse", "web/v0.1.0^{commit}~1"); a != w {
		t.Errorf("api is at %s, before web is %s", a, w)
	}
	if _, err := s.publisher().Publish(t.Context(), Wish{}); !errors.Is(err, ErrNothing) {
		t.Errorf("%v", err)
	}
	if x, err := s.publisher().Plan(t.Context(), Wish{Components: []string{"apo"}}); err != nil || !plan.Errors(x.Problems) || !strings.Contains(x.Problems[0].Hint, "api") {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestWhatARunKept releases the bytes that were tested, and says how they were made.
func TestWhatARunKept(t *testing.T) {
	t.Parallel()
	s := newScene(t, "release:\n  host: {forge: github, repository: team/app}\n  artifacts: [{artifact: dist}, {files: [LICENSE]}]\n")
	s.put("LICENSE", "free")
	head := s.commit("feat: bolts")
	if x, err := s.publisher().Plan(t.Context(), Wish{}); err != nil || !plan.Errors(x.Problems) || !strings.Contains(x.Problems[0].Message, "no successful run of commit") {
		t.Fatalf("%+v, %v", x, err)
	}
	var kept, archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, name := range []string{"bin/app", "bin/app.sig"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), harvest.KeepObservation(&kept, &record.Observation{Mechanism: "seccomp", Inputs: []record.Input{{Path: "/w/main.c", Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: [32]byte{7}}}}})); err != nil {
		t.Fatal(err)
	}
	observation, _, err := s.blobs.Put(t.Context(), &kept)
	if err != nil {
		t.Fatal(err)
	}
	digest, size, err := s.blobs.Put(t.Context(), &archive)
	if err != nil {
		t.Fatal(err)
	}
	run := record.NewRun("12")
	run.Verdict = plan.Success
	run.Planned = &record.RunPlanned{Change: &plan.Change{SHA: head, Event: "push", Ref: "refs/heads/main"}, Pipeline: &plan.Pipeline{File: "ci.yml"}}
	job := run.Job("build")
	job.Started.Workspace = "/w"
	job.Artifacts = []record.ArtifactSaved{{Artifact: plan.Artifact{Name: "dist", Digest: string(digest), Size: size}, Earlier: []record.Earlier{{Step: "1", Kept: string(observation)}}}}
	s.runs = runs{run}
	s.publish(Wish{})
	files := s.host.releases["v0.1.0"]
	if len(files) != 5 || files["app"] != "bin/app" || files["LICENSE"] != "free" {
		t.Fatalf("%q", files)
	}
	statement, err := attest.Open([]byte(files[ProvenanceName]), nil)
	if !errors.Is(err, attest.ErrStranger) {
		t.Fatal(err)
	}
	if p := statement.Predicate; len(statement.Subject) != 2 || p.BuildDefinition.ExternalParameters["job"] != "build" || p.BuildDefinition.ResolvedDependencies[1].URI != "file:main.c" || p.RunDetails.Metadata.InvocationID != "run/12/build" {
		t.Errorf("%+v", statement)
	}
	if all, err := Publications(t.Context(), s.store, ""); err != nil || all[0].Assets[0].Name != "LICENSE" || all[0].Assets[0].Provenance != "" || all[0].Assets[1].Provenance == "" {
		t.Errorf("%+v, %v", all, err)
	}
	// What holds a secret is not released.
	job.Artifacts[0].Shown = &record.Shown{Holds: 1}
	s.commit("fix: y")
	run.Planned.Change.SHA = git(t, s.dir, "rev-parse", "HEAD")
	if _, err := s.publisher().Publish(t.Context(), Wish{}); err == nil || !strings.Contains(err.Error(), "values of secrets") {
		t.Errorf("%v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, s *scene, w Wish, want string) {
		t.Helper()
		before := git(t, s.dir, "for-each-ref")
		_, err := s.publisher().Publish(t.Context(), w)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
		if now := git(t, s.dir, "for-each-ref"); now != before {
			t.Errorf("something was changed:\n%s", now)
		}
		if all, err := Publications(t.Context(), s.store, ""); err != nil || len(all) != 0 {
			t.Errorf("%+v, %v", all, err)
		}
	}
	for name, tt := range map[string]struct {
		file string
		set  func(s *scene)
		wish Wish
		want string
	}{
		"another branch": {"", func(s *scene) { git(s.t, s.dir, "checkout", "-qb", "topic") }, Wish{}, "nothing is released from branch topic"},
		"no file":        {"release: {artifacts: [{files: [dist/*]}]}", nil, Wish{}, "no file of the tree is meant by dist/*"},
		"a tag there":    {"", func(s *scene) { git(s.t, s.dir, "push", "-q", "origin", "HEAD:refs/tags/v0.1.0") }, Wish{}, "origin has the tag v0.1.0"},
		"a tag elsewhere": {"", func(s *scene) {
			git(s.t, s.dir, "tag", "v0.1.0", git(s.t, s.dir, "commit-tree", "-m", "x", "HEAD^{tree}"))
		}, Wish{}, "tag v0.1.0 is taken"},
		"no token":           {"release: {host: {forge: github, repository: team/app, token: $NONE}}", nil, Wish{}, "the variable NONE is not set"},
		"a bad file":         {"release: {tag: v1}", nil, Wish{}, "cannot be the name of a tag"},
		"a version that was": {"", func(s *scene) { git(s.t, s.dir, "tag", "v2.0.0"); s.commit("fix: x") }, Wish{As: "1.0.0"}, "is not after 2.0.0"},
		"two of a name":      {"release: {artifacts: [{files: [a/x, b/x]}]}", func(s *scene) { s.put("a/x", "1"); s.put("b/x", "2"); s.commit("fix: x") }, Wish{}, "two files of the release are called x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, tt.file)
			if tt.set != nil {
				tt.set(s)
			}
			refused(t, s, tt.wish, tt.want)
		})
	}
	t.Run("a shallow clone", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, "")
		s.commit("fix: x")
		git(t, s.dir, "push", "-q", "origin", "main")
		clone := t.TempDir()
		git(t, clone, "clone", "-q", "--depth", "1", "file://"+s.far, ".")
		s.dir = clone
		refused(t, s, Wish{}, "a shallow clone")
	})
}

// TestMoved is what a crash and a person make together: the branch has moved on between.
func TestMoved(t *testing.T) {
	t.Parallel()
	s := newScene(t, everything)
	p, _ := s.mortal(7, true) // it is written down, and the changelog is not committed
	if _, err := p.Publish(t.Context(), Wish{}); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	s.commit("fix: more")
	if _, err := s.publisher().Publish(t.Context(), Wish{}); err == nil || !strings.Contains(err.Error(), "has moved on since") {
		t.Fatalf("%v", err)
	}
	if _, err := s.publisher().Abandon(t.Context(), "v9"); err == nil {
		t.Error("what is none was given up")
	}
	one, err := s.publisher().Abandon(t.Context(), "v0.1.0")
	if err != nil || one.Done == nil || one.Done.Error == "" {
		t.Fatalf("%+v, %v", one, err)
	}
	if done := s.publish(Wish{}); len(done) != 1 || done[0].Commit != git(t, s.dir, "rev-parse", "HEAD~1") {
		t.Errorf("%+v", done)
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, "")
	facts, err := s.publisher().Tree.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lease, err := s.store.Lease(t.Context(), "publish/"+facts.Repository, "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	var held *store.HeldError
	if _, err := s.publisher().Publish(t.Context(), Wish{}); !errors.As(err, &held) || held.Holder != "bob" {
		t.Errorf("%v", err)
	}
}

func TestPreReleaseOfABranch(t *testing.T) {
	t.Parallel()
	s := newScene(t, "release: {branches: [{name: main}, {name: 'next*', pre: beta}]}\n")
	git(t, s.dir, "tag", "v1.0.0")
	git(t, s.dir, "checkout", "-qb", "next-2")
	s.commit("feat: b")
	if done := s.publish(Wish{}); done[0].Tag != "v1.1.0-beta.1" || !done[0].Prerelease {
		t.Errorf("%+v", done)
	}
	s.commit("fix: c")
	if done := s.publish(Wish{}); done[0].Tag != "v1.1.0-beta.2" || done[0].Since != "v1.1.0-beta.1" {
		t.Errorf("%+v", done)
	}
	// Pipelines check out no branch.
	git(t, s.dir, "checkout", "-q", "--detach")
	s.commit("docs: no branch")
	if x, err := s.publisher().Plan(t.Context(), Wish{}); err != nil || !plan.Errors(x.Problems) {
		t.Errorf("%+v, %v", x, err)
	}
	git(t, s.dir, "branch", "-qf", "next-2")
	if x, err := s.publisher().Plan(t.Context(), Wish{}); err != nil || plan.Errors(x.Problems) || x.Branch != "next-2" {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestTagThatIsThere is a pipeline that a tag has started, and a machine that has lost its memory.
func TestTagThatIsThere(t *testing.T) {
	t.Parallel()
	s := newScene(t, everything)
	git(t, s.dir, "tag", "v1.0.0")
	s.commit("feat: a")
	git(t, s.dir, "tag", "v1.1.0")
	git(t, s.dir, "push", "-q", "origin", "main", "v1.0.0", "v1.1.0")
	s.commit("feat: b")
	git(t, s.dir, "tag", "v1.2.0")
	if x, err := s.publisher().Plan(t.Context(), Wish{Tag: "v1.1.0"}); err != nil || !plan.Errors(x.Problems) || !strings.Contains(x.Problems[0].Hint, "git checkout v1.1.0") {
		t.Errorf("%+v, %v", x, err)
	}
	git(t, s.dir, "checkout", "-q", "v1.1.0")
	for _, bad := range []string{"v9", "../x"} {
		if x, err := s.publisher().Plan(t.Context(), Wish{Tag: bad}); err != nil || !plan.Errors(x.Problems) {
			t.Errorf("%s: %+v, %v", bad, x, err)
		}
	}
	before := git(t, s.dir, "for-each-ref")
	for try := range 2 {
		// The second machine knows nothing of the first.
		done := s.publish(Wish{Tag: "v1.1.0"})
		if len(done) != 1 || done[0].Since != "v1.0.0" || !strings.Contains(done[0].Notes, "- a (") || strings.Contains(done[0].Notes, "- b (") || len(s.host.releases["v1.1.0"]) != 3 {
			t.Fatalf("%d: %+v", try, done)
		}
		r, err := s.store.Register(t.Context(), register, done[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Change(t.Context(), []record.Register{{Kind: register, ID: r.ID, Version: r.Version}}); err != nil {
			t.Fatal(err)
		}
		s.built = 0
	}
	if now := git(t, s.dir, "for-each-ref"); now != before {
		t.Errorf("refs were changed:\n%s", now)
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	s := newScene(t, "release: {from: labels, host: {forge: github, repository: team/app}}\n")
	git(t, s.dir, "tag", "v1.0.0")
	s.commit("Mend it (#8)")
	s.commit("Grow (#7)")
	s.commit("Alone")
	x, err := s.publisher().Plan(t.Context(), Wish{})
	if err != nil || plan.Errors(x.Problems) || len(x.Problems) != 1 || x.Releases[0].Version != "1.1.0" || len(x.Releases[0].Commits) != 2 {
		t.Errorf("%+v, %v", x, err)
	}
	s.commit("Fail (#500)")
	if x, err := s.publisher().Plan(t.Context(), Wish{}); err != nil || !plan.Errors(x.Problems) {
		t.Errorf("%+v, %v", x, err)
	}
	s.put("fairlead.yaml", "release: {from: labels}")
	if x, err := s.publisher().Plan(t.Context(), Wish{NoHost: true}); err != nil || !plan.Errors(x.Problems) || len(x.Problems) != 2 || !strings.Contains(x.Problems[1].Message, "no code host can be asked") {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestWild(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{{"main", "main", true}, {"main", "mains", false}, {"release/*", "release/1.x", true}, {"*", "", true}, {"a*b*c", "axxbyyc", true}, {"a*b", "ac", false}} {
		if wild(tt.pattern, tt.name) != tt.want {
			t.Errorf("%s, %s", tt.pattern, tt.name)
		}
	}
}
