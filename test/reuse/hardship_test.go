package reuse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// hard is a workflow in which jobs and steps hand things on to each other in
// every way, and what is printed in the end tells whether all of it is right.
const hard = `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    outputs: { sum: '${{ steps.sum.outputs.sum }}' }
    steps:
      - run: mkdir -p out/deep; for i in $(seq 20); do echo "$i $(cat in)" > out/deep/$i; done; ln -s deep/1 out/link; cp out/deep/2 out/exec; chmod +x out/exec
      - run: cat out/deep/* > out/all; rm out/deep/3; echo "WORD=$(cat in)" >> $GITHUB_ENV; mkdir -p reports; cat junit > reports/junit.xml
      - { id: sum, run: 'echo "sum=$(cksum < out/all)" >> $GITHUB_OUTPUT; echo $WORD; head -c 200000 /dev/zero | tr "\0" "$(head -c 1 in)" > out/large' }
      - { name: look, run: 'cksum out/deep/* out/link out/exec out/all out/large; test -x out/exec; echo $WORD ${{ steps.sum.outputs.sum }}' }
  b:
    runs-on: ubuntu-latest
    strategy: { matrix: { n: [1, 2] } }
    steps:
      - run: echo ${{ matrix.n }} > made; cat in >> made
      - run: cat made | tee copy
      - { name: look, run: cat made copy }
  c:
    needs: [a, b]
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ needs.a.outputs.sum }} > got; cat got fixed
      - run: cat fixed
`

// versions are what the file "in" of hard may hold.
var versions = []string{"one\n", "two\n", "three\n"}

// newHard makes a stage for it, and what each version comes to.
func newHard(t testing.TB) (*stage, map[string]string) {
	t.Helper()
	s := newStage(t, hard, "", map[string]string{"in": versions[0], "fixed": "fixed\n", "junit": `<testsuite name="s"><testcase name="one"/></testsuite>`})
	clean := &stage{Place: s.On(t, "FAIRLEAD_CACHE="+s.Cache+"-clean", "FAIRLEAD_DATA="+s.Data+"-clean"), t: t}
	truth := map[string]string{}
	for _, v := range versions {
		clean.Write(map[string]string{"in": v})
		if r := clean.perform("--no-reuse"); r.out.Exit != 0 {
			t.Fatal(r.out)
		}
		truth[v] = clean.logs("last")
	}
	s.Write(map[string]string{"in": versions[0]})
	return s, truth
}

// right runs every version, and compares what comes of it with the truth.
func right(s *stage, truth map[string]string, what string) {
	s.t.Helper()
	for _, v := range versions {
		s.Write(map[string]string{"in": v})
		r := s.perform()
		if got := s.logs(r.run); r.out.Exit != 0 || got != truth[v] {
			s.t.Errorf("%s: %q comes to something else, exit code %d, steps %s\n%s%s%s", what, v, r.out.Exit, r.words(), difference(got, truth[v]), r.reasons(), r.brief())
		}
	}
}

// sound checks what lies in the cache: by Fairlead's own means, and that every
// blob is what its name says.
func sound(s *stage, what string) {
	s.t.Helper()
	if out := s.Run("cache", "verify"); out.Exit != 0 {
		s.t.Errorf("%s: %s", what, out)
	}
	blobs := 0
	for _, dir := range []string{filepath.Join(s.Cache, "steps", "blobs", "sha256"), filepath.Join(s.Data, "blobs", "sha256")} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(dir, name)
			want := strings.ReplaceAll(rel, string(filepath.Separator), "")
			if err != nil || len(want) != 2*sha256.Size {
				return err
			}
			body, err := os.ReadFile(name)
			if sum := sha256.Sum256(body); err == nil && hex.EncodeToString(sum[:]) != want {
				s.t.Errorf("%s: the blob %s holds something else", what, name)
			}
			blobs++
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Error(err)
		}
	}
	if blobs == 0 {
		s.t.Errorf("%s: no blob was found", what)
	}
}

// TestReuseKill kills runs, one or several at a time, at random instants, and
// looks whether what they leave ever makes a later run wrong.
func TestReuseKill(t *testing.T) {
	t.Parallel()
	watched(t)
	rounds := 15
	if binary.Long() {
		rounds = 200
	}
	first := seed(t)
	t.Logf("seed %d", first)
	const workers = 2
	t.Run("rounds", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(first, uint64(w)))
				s, truth := newHard(t)
				begun := time.Now()
				right(s, truth, "before")
				length := int64(time.Since(begun)) / int64(len(versions))
				for i := range (rounds + workers - 1 - w) / workers {
					if r.IntN(3) == 0 { // half of what is saved is saved anew
						must(t, os.RemoveAll(filepath.Join(s.Cache, "steps")))
					}
					var all []*binary.Process
					for range 1 + r.IntN(3) {
						s.Write(map[string]string{"in": pick(r, versions)})
						all = append(all, s.Start(s.command()...))
						time.Sleep(time.Duration(r.Int64N(length))) // the instant of the crash
						if r.IntN(2) == 0 {
							all[0].Signal(syscall.SIGKILL)
						}
					}
					for _, p := range all {
						p.Signal(syscall.SIGKILL)
						p.Wait()
					}
					gone(t, s.Place)
					if t.Failed() {
						return
					}
					what := fmt.Sprintf("after round %d", i)
					right(s, truth, what)
					sound(s, what)
					if t.Failed() {
						return
					}
				}
			})
		}
	})
}

// gone waits until no process of the place is there. What does not go is told
// of, and ended.
func gone(t testing.TB, p *binary.Place) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := leftOf(t, p)
		if len(left) == 0 {
			return
		}
		if time.Now().Before(end) {
			continue
		}
		for pid, what := range left {
			t.Errorf("process %d has outlived the run that was killed: %s", pid, what)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone meanwhile
		}
		return
	}
}

// leftOf are the processes of a place, each with its command.
func leftOf(t testing.TB, p *binary.Place) map[int]string {
	t.Helper()
	mark := []byte("OUTSIDE=" + p.Outside + "\x00")
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	must(t, err)
	left := map[int]string{}
	for _, name := range files {
		environ, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(environ, mark) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		must(t, err)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline")) // "" when it is going
		left[pid] = string(bytes.ReplaceAll(command, []byte{0}, []byte(" ")))
	}
	return left
}

// TestDamage harms files of the cache, of every kind, in every way: runs stay
// right.
func TestDamage(t *testing.T) {
	t.Parallel()
	watched(t)
	rounds := 16
	if binary.Long() {
		rounds = 400
	}
	first := seed(t)
	t.Logf("seed %d", first)
	r := rand.New(rand.NewPCG(first, 0))
	s, truth := newHard(t)
	right(s, truth, "before")
	harmed := map[string]int{}
	for i := range rounds {
		what := fmt.Sprintf("round %d", i)
		kinds := kindsOf(t, s)
		for range 1 + r.IntN(3) {
			kind := pick(r, slices.Sorted(maps.Keys(kinds)))
			name := pick(r, kinds[kind])
			what += "; " + harm(t, r, name) + " " + strings.TrimPrefix(name, s.Cache)
			harmed[kind]++
		}
		right(s, truth, what)
		if r.IntN(3) == 0 {
			if out := s.Run("cache", "verify"); out.Exit != 0 && out.Exit != 4 {
				t.Errorf("%s: %s", what, out)
			}
			right(s, truth, what+", verified")
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("harmed: %v", harmed)
}

// kindsOf are the files that Fairlead keeps for itself in its cache directory,
// by kind.
func kindsOf(t testing.TB, s *stage) map[string][]string {
	t.Helper()
	kinds := map[string][]string{}
	err := filepath.WalkDir(s.Cache, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(name, s.Cache+"/")
		if d.IsDir() && filepath.Base(name) == "repo" {
			return filepath.SkipDir // what is in a workspace is a job's
		}
		if d.IsDir() || !d.Type().IsRegular() {
			return nil
		}
		parts := strings.Split(rel, "/")
		kind := strings.Join(parts[:min(2, len(parts))], "/")
		if parts[0] == "workspaces" {
			kind = parts[0] + "/" + parts[len(parts)-1]
		}
		if len(parts) > 3 && parts[1] == "steps" {
			kind += "/" + filepath.Ext(name)
		}
		kinds[kind] = append(kinds[kind], name)
		return nil
	})
	must(t, err)
	return kinds
}

// harm damages a file, and says how.
func harm(t testing.TB, r *rand.Rand, name string) string {
	t.Helper()
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(is gone)"
	}
	must(t, err)
	must(t, os.Chmod(name, 0o600))
	body, err := os.ReadFile(name)
	must(t, err)
	how := "remove"
	switch n := r.IntN(6); {
	case n == 0:
		must(t, os.Remove(name))
		return how
	case n == 1 || len(body) == 0:
		how, body = "append to", append(body, "more"...)
	case n == 2:
		how, body = "empty", nil
	case n == 3:
		how, body = "truncate", body[:r.IntN(len(body))]
	default:
		i := r.IntN(len(body))
		how, body[i] = fmt.Sprintf("flip byte %d of %d of", i, len(body)), body[i]^byte(1+r.IntN(255))
	}
	must(t, os.WriteFile(name, body, 0o600))
	if r.IntN(2) == 0 { // as damage does that nobody has written
		must(t, os.Chtimes(name, st.ModTime(), st.ModTime()))
	}
	must(t, os.Chmod(name, st.Mode()))
	return how
}

// TestFullDisk runs on a cache that is full: steps do not mind.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { run: head -c 4000000 /dev/urandom > large }\n- { run: cat in > small }\n- { name: look, run: 'wc -c < large; cat small' }"), "", map[string]string{"in": "1\n"})
	steps := filepath.Join(s.Cache, "steps")
	must(t, os.MkdirAll(steps, 0o700))
	if out, err := run("mount", "-t", "tmpfs", "-o", "size=1m", "none", steps); err != nil {
		t.Skipf("SKIPPED: a small file system cannot be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := run("umount", "-l", steps); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	for i := range 3 {
		r := s.perform()
		if got := s.logs("last", "a"); r.out.Exit != 0 || strings.TrimSpace(got) != "4000000\n1" {
			t.Errorf("run %d: exit code %d\n%s\n%s", i, r.out.Exit, got, r.brief())
		}
		if why := r.reasons(); !strings.Contains(why, "no space left") {
			t.Errorf("run %d does not say that the disk is full: %s", i, why)
		}
	}
	// Full to the last byte.
	f, err := os.Create(filepath.Join(steps, "filler"))
	must(t, err)
	for _, size := range []int{64 << 10, 512, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	must(t, f.Close())
	s.Write(map[string]string{"in": "2\n"})
	r := s.perform()
	if got := s.logs("last", "a"); r.out.Exit != 0 || strings.TrimSpace(got) != "4000000\n2" {
		t.Errorf("with nothing left: exit code %d\n%s\n%s\n%s", r.out.Exit, got, r.reasons(), r.brief())
	}
	must(t, os.Remove(f.Name()))
	if r := s.perform(); r.out.Exit != 0 || strings.TrimSpace(s.logs("last", "a")) != "4000000\n2" {
		t.Errorf("with some space again: exit code %d\n%s", r.out.Exit, r.brief())
	}
}

// TestTogether has many runs at once on one cache, of the same tree and of
// others. With FAIRLEAD_LONG, and in CI, it is done with a binary that looks
// for data races.
func TestTogether(t *testing.T) {
	t.Parallel()
	watched(t)
	s, truth := newHard(t)
	program := ""
	if binary.Long() || os.Getenv("CI") != "" {
		program = racy(t)
	}
	rounds := 2
	if binary.Long() {
		rounds = 20
	}
	// The same repository, in trees of their own, each at another version; and
	// the first tree, at which several work.
	s.Git("remote", "add", "origin", "https://example.invalid/team/hard.git")
	stages := []*stage{s, s, s}
	tree := []string{versions[0], versions[0], versions[0]}
	for i := range 5 {
		p := *s.Place
		p.Root = filepath.Join(filepath.Dir(s.Root), fmt.Sprint("clone", i), filepath.Base(s.Root))
		s.Git("clone", "-q", s.Root, p.Root)
		c := &stage{Place: &p, t: t}
		c.Git("remote", "set-url", "origin", "https://example.invalid/team/hard.git")
		v := versions[i%len(versions)]
		c.Write(map[string]string{"in": v})
		stages, tree = append(stages, c), append(tree, v)
	}
	for round := range rounds {
		results := make([]*result, len(stages))
		outs := make([]binary.Outcome, len(stages))
		var wg sync.WaitGroup
		for i, c := range stages {
			wg.Go(func() {
				if program == "" {
					outs[i] = c.Start(c.command()...).Wait()
					return
				}
				cmd := exec.Command(program, c.command()...)
				cmd.Dir, cmd.Env = c.Root, append(slices.Clip(c.Env), "GORACE=halt_on_error=0 exitcode=66")
				var stdout, stderr bytes.Buffer
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				err := cmd.Run()
				outs[i] = binary.Outcome{Args: cmd.Args, Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
				if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		reused, ran := 0, 0
		for i, c := range stages {
			if strings.Contains(outs[i].All(), "DATA RACE") {
				t.Fatalf("a data race:\n%s", outs[i].Stderr)
			}
			results[i] = c.read(outs[i])
			reused, ran = reused+results[i].count("reused"), ran+results[i].count("ran")
			if got := c.logs(results[i].run); outs[i].Exit != 0 || got != truth[tree[i]] {
				t.Errorf("round %d, run %d: exit code %d, steps %s\n%s\n%s\n%s", round, i, outs[i].Exit, results[i].words(), difference(got, truth[tree[i]]), results[i].reasons(), results[i].brief())
			}
		}
		t.Logf("round %d: %d steps were reused, %d ran", round, reused, ran)
		if t.Failed() {
			return
		}
		if round%2 == 0 { // another version in each tree of its own
			for i, c := range stages[3:] {
				tree[i+3] = versions[(i+round+1)%len(versions)]
				c.Write(map[string]string{"in": tree[i+3]})
			}
		}
	}
	sound(s, "after all of them")
}

// racy is Fairlead built to look for data races.
func racy(t testing.TB) string {
	t.Helper()
	root, err := binary.Root()
	must(t, err)
	program := filepath.Join(t.TempDir(), "fairlead-race")
	c := exec.Command("go", "build", "-race", "-o", program, "./cmd/fairlead")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("SKIPPED: nothing can be built with -race here: %v: %s", err, out)
	}
	return program
}
