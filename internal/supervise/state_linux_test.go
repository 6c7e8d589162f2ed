package supervise

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dying is a disk on which this process is killed at a point.
type dying struct {
	disk
	at  int // of the points that are passed
	now *int
}

func (d dying) point() {
	if *d.now++; *d.now == d.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (d dying) write(name string, data []byte) error {
	d.point()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	d.point()
	if err := os.WriteFile(name, data[:len(data)/2], 0o600); err != nil {
		return err
	}
	d.point()
	err := d.disk.write(name, data)
	d.point()
	return err
}

func (d dying) rename(from, to string) error {
	d.point()
	err := d.disk.rename(from, to)
	d.point()
	return err
}

func (d dying) syncDir(dir string) error {
	d.point()
	err := d.disk.syncDir(dir)
	d.point()
	return err
}

// points is how many points one save has.
const points = 8

func sample(generation int64) *state {
	return &state{Generation: generation, Epoch: 3, Targets: []Target{{Name: "shop-test", Repository: "o/r", Service: "shop", Environment: "test", Fence: generation,
		Revisions: []Revision{{Number: int(generation), Release: "sha256:x", Run: Run{Command: []string{"./shop"}}, Instances: 2, Percent: 100}}}}}
}

// TestKilledWhileSaving kills a real process at every point of a save, and looks what the
// next one finds: what was there before or what was to be, whole, and never nothing.
func TestKilledWhileSaving(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("SUPERVISE_TEST_SAVE"); dir != "" {
		var at int
		fmt.Sscan(os.Getenv("SUPERVISE_TEST_AT"), &at)
		s, _, err := loadState(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := saveState(dying{at: at, now: new(int)}, dir, sample(s.Generation+1)); err != nil {
			t.Fatal(err)
		}
		return
	}
	for first := range int64(3) { // generations before it
		for at := 1; at <= points+1; at++ {
			dir := t.TempDir()
			for g := int64(1); g <= first; g++ {
				if err := saveState(disk{}, dir, sample(g)); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileSaving$")
			cmd.Env = append(os.Environ(), "SUPERVISE_TEST_SAVE="+dir, fmt.Sprintf("SUPERVISE_TEST_AT=%d", at))
			out, err := cmd.CombinedOutput()
			if killed := err != nil && strings.Contains(err.Error(), "killed"); killed != (at <= points) {
				t.Fatalf("point %d: %v\n%s", at, err, out)
			}
			s, damage, err := loadState(dir)
			if err != nil || damage != nil || s.Generation != first && s.Generation != first+1 {
				t.Errorf("killed at point %d after %d generations: %+v, damage %v, %v", at, first, s, damage, err)
				continue
			}
			if at > points-2 && s.Generation != first+1 {
				t.Errorf("killed at point %d, when it had been renamed, and generation %d is there", at, s.Generation)
			}
			if s.Generation > 0 && (len(s.Targets) != 1 || s.Targets[0].Revisions[0].Number != int(s.Generation)) {
				t.Errorf("killed at point %d: generation %d is not whole: %+v", at, s.Generation, s)
			}
		}
	}
}

// TestTornState damages the newest file in every way that comes to mind.
func TestTornState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for g := range int64(2) {
		if err := saveState(disk{}, dir, sample(g+1)); err != nil {
			t.Fatal(err)
		}
	}
	name := stateFile(dir, 2)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"empty": nil, "half": whole[:len(whole)/2], "zeros": make([]byte, len(whole)), "one byte": bytes.Replace(whole, []byte(`"shop"`), []byte(`"shoq"`), 1), "more": append(bytes.Clone(whole), '\n'),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, damage, err := loadState(dir)
		if err != nil || damage == nil || s.Generation != 1 {
			t.Errorf("%s: %+v, damage %v, %v", what, s, damage, err)
		}
	}
	if err := os.Remove(stateFile(dir, 1)); err != nil {
		t.Fatal(err)
	}
	if s, _, err := loadState(dir); err == nil {
		t.Errorf("nothing can be read, and a host would begin with %+v and end what runs", s)
	}
}

func FuzzState(f *testing.F) {
	dir := f.TempDir()
	if err := saveState(disk{}, dir, sample(1)); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(stateFile(dir, 1))
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(whole, []byte("\n"))
	f.Add(body)
	f.Add([]byte(`{"targets":[{"name":"../../etc"}]}`))
	f.Add([]byte(`{"targets":[{"name":"a","revisions":[{"number":1,"instances":100000}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		s, err := decodeState(append([]byte(stateMagic+hex.EncodeToString(sum[:])+"\n"), body...))
		if err != nil {
			return
		}
		for i := range s.Targets {
			for k := range s.Targets[i].Revisions {
				if r := &s.Targets[i].Revisions[k]; len(check(&s.Targets[i], r, r.Instances)) > 0 {
					t.Errorf("a revision was read that would be refused: %+v", r)
				}
			}
		}
	})
}

type entry struct {
	name string
	kind byte
	text string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o4755, Linkname: e.text}
		if e.kind == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(e.text))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := io.WriteString(w, e.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func artifactOf(data []byte, kind, name string) Artifact {
	sum := sha256.Sum256(data)
	return Artifact{Kind: kind, Name: name, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}
}

func TestPut(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	for name, c := range map[string]struct {
		entries []entry
		refused string
	}{
		"sound":               {[]entry{{"./", tar.TypeDir, ""}, {"./bin/", tar.TypeDir, ""}, {"./bin/shop", tar.TypeReg, "#!"}, {"shop", tar.TypeSymlink, "bin/shop"}, {"hard", tar.TypeLink, "bin/shop"}, {"deep/er/file", tar.TypeReg, "x"}}, ""},
		"up":                  {[]entry{{"../evil", tar.TypeReg, "x"}}, "no path within"},
		"up later":            {[]entry{{"a/../../evil", tar.TypeReg, "x"}}, "no path within"},
		"absolute":            {[]entry{{"/etc/evil", tar.TypeReg, "x"}}, "no path within"},
		"link out":            {[]entry{{"a", tar.TypeSymlink, ".."}}, "leads out"},
		"through a link":      {[]entry{{"a", tar.TypeSymlink, "b"}, {"b", tar.TypeSymlink, outside}}, "leads out"},
		"hard link out":       {[]entry{{"a", tar.TypeLink, "../../x"}}, "leads out"},
		"twice":               {[]entry{{"a", tar.TypeReg, "x"}, {"a", tar.TypeReg, "y"}}, "twice"},
		"file as a directory": {[]entry{{"a", tar.TypeReg, "x"}, {"a/b", tar.TypeReg, "y"}}, "a/b"},
		"device":              {[]entry{{"a", tar.TypeBlock, ""}}, "device"},
		"pipe":                {[]entry{{"a", tar.TypeFifo, ""}}, "device"},
		"long":                {[]entry{{strings.Repeat("a/", 600), tar.TypeDir, ""}}, "no path within"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rs, err := openReleases(filepath.Join(t.TempDir(), "releases"))
			if err != nil {
				t.Fatal(err)
			}
			data := archive(t, c.entries...)
			a := artifactOf(data, KindTree, "")
			_, troubles, ierr := Inspect(a, "", bytes.NewReader(data))
			err = rs.put(t.Context(), a, bytes.NewReader(data))
			if c.refused != "" {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("put: %v", err)
				}
				if name != "twice" && name != "file as a directory" && (len(troubles) == 0 || ierr != nil) {
					t.Errorf("inspect: %v, %v", troubles, ierr)
				}
				if left, _ := os.ReadDir(rs.dir); len(left) > 0 {
					t.Errorf("it left %v", left)
				}
				return
			}
			if err != nil || len(troubles) > 0 || ierr != nil {
				t.Fatal(err, troubles, ierr)
			}
			info, err := os.Stat(filepath.Join(rs.files(a), "bin/shop"))
			if err != nil || info.Mode() != 0o755 {
				t.Errorf("bin/shop is %v, %v: special bits are to go", info.Mode(), err)
			}
			if found, err := rs.differences(a, true); err != nil || len(found) > 0 {
				t.Errorf("just unpacked, and different: %v, %v", found, err)
			}
			if err := rs.put(t.Context(), a, strings.NewReader("never read")); err != nil {
				t.Errorf("it is there already: %v", err)
			}
		})
	}
}

func TestPutWrongBytes(t *testing.T) {
	t.Parallel()
	rs, err := openReleases(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good := artifactOf([]byte("#!/bin/sh\n"), KindFile, "shop")
	for name, c := range map[string]struct {
		a    Artifact
		data string
	}{
		"other bytes": {good, "#!/bin/ss\n"},
		"more":        {good, "#!/bin/sh\nrm"},
		"fewer":       {good, "#!/bin"},
		"no digest":   {Artifact{Kind: KindFile, Name: "shop", Digest: "sha256:../../x"}, ""},
		"name":        {Artifact{Kind: KindFile, Name: "../shop", Digest: good.Digest, Size: good.Size}, "#!/bin/sh\n"},
		"kind":        {Artifact{Kind: "image", Digest: good.Digest}, ""},
		"negative":    {Artifact{Kind: KindFile, Name: "shop", Digest: good.Digest, Size: -1}, ""},
		"huge":        {Artifact{Kind: KindFile, Name: "shop", Digest: good.Digest, Size: 1 << 50}, ""},
	} {
		if err := rs.put(t.Context(), c.a, strings.NewReader(c.data)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := os.ReadDir(rs.dir); len(left) > 0 {
		t.Errorf("refused, and left: %v", left)
	}
	// Half of a release, from a client that has gone.
	ctx, cancel := context.WithCancel(t.Context())
	data := archive(t, entry{"a", tar.TypeReg, "x"}, entry{"b", tar.TypeReg, "y"})
	cancel()
	if err := rs.put(ctx, artifactOf(data, KindTree, ""), bytes.NewReader(data)); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
	if err := rs.put(t.Context(), good, strings.NewReader("#!/bin/sh\n")); err != nil {
		t.Error(err)
	}
}

// TestDiskFull brings a release to a disk that is too small: refused before, with how much
// is missing; and when the size was a lie, refused in the middle, with nothing left.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"); err != nil {
		t.Skipf("SKIPPED: a small disk can only be made as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	rs, err := openReleases(filepath.Join(dir, "releases"))
	if err != nil {
		t.Fatal(err)
	}
	data := archive(t, entry{"big", tar.TypeReg, strings.Repeat("x", 30<<20)})
	if err := rs.put(t.Context(), artifactOf(data, KindTree, ""), bytes.NewReader(data)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "30.0 MiB") {
		t.Errorf("30 MiB were put onto a disk that has room for 16: %v", err)
	}
	if trouble := room(rs.dir, 30<<20); trouble == nil || trouble.Rule != "disk" || trouble.Hint == "" {
		t.Errorf("%+v", trouble)
	}
	if left, _ := os.ReadDir(rs.dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func FuzzPut(f *testing.F) {
	f.Add(archive(f, entry{"a", tar.TypeReg, "x"}, entry{"b", tar.TypeSymlink, "a"}))
	f.Add(archive(f, entry{"../a", tar.TypeReg, "x"}))
	f.Add([]byte("no archive"))
	dir, err := os.MkdirTemp("/dev/shm", "fairlead-") // where it costs nothing to force a file to the disk
	if err != nil {
		dir = f.TempDir()
	}
	f.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			f.Error(err)
		}
	})
	rs, err := openReleases(filepath.Join(dir, "releases"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := artifactOf(data, KindTree, "")
		_, troubles, ierr := Inspect(a, "", bytes.NewReader(data))
		err := rs.put(t.Context(), a, bytes.NewReader(data))
		if err == nil && (len(troubles) > 0 || ierr != nil) {
			t.Errorf("it was unpacked, and was not to be: %v, %v", troubles, ierr)
		}
		if err == nil {
			remove, err := rs.discard(a.dir())
			if err = errors.Join(err, remove()); err != nil {
				t.Error(err)
			}
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("it wrote outside: %v, %v", all, err)
		}
	})
}

// TestRotate writes to a log while its older part is taken off, and misses no line.
func TestRotate(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "shop.log")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const lines = 40_000
	written := make(chan error, 1)
	go func() {
		for i := range lines {
			if _, err := fmt.Fprintf(f, "line %06d\n", i); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	var all strings.Builder
	for done := false; !done; {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		if err := os.Remove(name + ".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := rotate(name, 16<<10); err != nil {
			t.Fatal(err)
		}
		older, err := os.ReadFile(name + ".1")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all.Write(older)
	}
	rest, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	if _, err := rest.Seek(firstByte(rest), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&all, rest); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(all.String()), "\n")
	if len(got) != lines {
		t.Fatalf("%d lines were written, and %d are there", lines, len(got))
	}
	for i, line := range got {
		if line != fmt.Sprintf("line %06d", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

// TestMemoryGroup reads how the first, the second and both versions of control groups
// show themselves.
func TestMemoryGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		groups, mounts, dir string
		old                 bool
	}{
		"second":         {"0::/system.slice/host.service\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/system.slice/host.service", false},
		"moved":          {"0::/system.slice/host.service/fairlead-self\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/system.slice/host.service", false},
		"first and both": {"4:memory:/a/b\n0::/\n", "31 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n39 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/memory/a/b", true},
		"none":           {"0::/\n", "22 1 0:20 / / rw - ext4 /dev/a rw\n", "", false},
	} {
		dir, old, err := memoryGroup(c.groups, c.mounts)
		if dir != c.dir || old != c.old || (err == nil) != (c.dir != "") {
			t.Errorf("%s: %q %v %v", name, dir, old, err)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	got := string(environmentFile(map[string]string{"B": "x $HOME \"q\" \\ `", "A": "two\nlines"}))
	if want := "A=\"two\nlines\"\nB=\"x \\$HOME \\\"q\\\" \\\\ \\`\"\n"; got != want {
		t.Errorf("%q, and not %q", got, want)
	}
}

func TestSocketName(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{":8080": "front-8080", "127.0.0.1:80": "front-127.0.0.1-80", "[::1]:443": "front-..1-443", "8080": ""} {
		if got := socketName(address); got != want {
			t.Errorf("%s: %q, and not %q", address, got, want)
		}
	}
}

// TestBackoff has how long it is waited between starts of an instance that ends.
func TestBackoff(t *testing.T) {
	t.Parallel()
	in := &instance{h: &Host{}}
	var got []time.Duration
	for in.tries = range 14 {
		got = append(got, in.pause())
	}
	want := []time.Duration{0, 0, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("after %d ends it waits %s, and not %s", i, got[i], want[i])
		}
	}
	if last := got[len(got)-1]; last != backoffMax {
		t.Errorf("at last it waits %s, and not %s", last, backoffMax)
	}
}
