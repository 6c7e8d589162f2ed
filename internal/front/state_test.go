package front

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// generation is a table that differs from others in all its parts.
func generation(n int) Table {
	t := Table{Fence: uint64(n)}
	for i := range 50 {
		t.Routes = append(t.Routes, Route{Service: fmt.Sprintf("service-%d", i), Hosts: []string{fmt.Sprintf("g%d-%d.example.com", n, i)},
			Backends: []Backend{{Name: fmt.Sprintf("s%d-g%d", i, n), Release: fmt.Sprintf("g%d", n), Address: "127.0.0.1:80", Weight: 1}}})
	}
	return t
}

// dying is a disk on which the process kills itself at a point: before one of its
// changes, in the midst of a write, or after the last.
type dying struct {
	disk
	at, point int
}

func (d *dying) here() {
	if d.point == d.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it has taken effect
	}
	d.point++
}

func (d *dying) create(name string) (file, error) {
	d.here()
	f, err := d.disk.create(name)
	d.here()
	return &dyingFile{f, d}, err
}
func (d *dying) link(from, to string) error {
	d.here()
	return d.disk.link(from, to)
}
func (d *dying) rename(from, to string) error {
	d.here()
	return d.disk.rename(from, to)
}
func (d *dying) remove(name string) error {
	d.here()
	return d.disk.remove(name)
}
func (d *dying) syncDir(dir string) error {
	d.here()
	err := d.disk.syncDir(dir)
	d.here()
	return err
}

type dyingFile struct {
	file
	d *dying
}

func (f *dyingFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	f.d.here()
	m, err := f.file.Write(p[n:])
	f.d.here()
	return n + m, err
}
func (f *dyingFile) Sync() error {
	err := f.file.Sync()
	f.d.here()
	return err
}

// playWriter is the process that applies a table and dies on the way.
func playWriter() {
	f, err := Open(os.Getenv("FRONT_TEST_DIR"), Options{})
	if err == nil {
		at, _ := strconv.Atoi(os.Getenv("FRONT_TEST_AT"))
		f.state.disk = &dying{at: at}
		err = f.Apply(testContext(), generation(int(f.Table().Fence)+1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestKilledAtEveryWrite kills a process at each of its changes to the disk. What
// one leaves behind is what the next begins with.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, generation(1))
	last, at := 1, 0
	for ; ; at++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FRONT_TEST_ROLE=writer", "FRONT_TEST_DIR="+dir, "FRONT_TEST_AT="+strconv.Itoa(at))
		out, err := cmd.CombinedOutput()
		whole := err == nil
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !whole && (!ok || status.Signal() != syscall.SIGKILL) {
			t.Fatalf("at %d: %v\n%s", at, err, out)
		}
		f, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("killed at %d: %v", at, err)
		}
		got := f.Table()
		n := int(got.Fence)
		if n != last+1 && (n != last || whole) || !reflect.DeepEqual(got, generation(n)) {
			t.Fatalf("killed at %d: the table is number %d, after %d", at, n, last)
		}
		last = n
		if whole {
			break
		}
	}
	if at < 10 {
		t.Errorf("only %d points were tried", at)
	}
	t.Logf("killed at %d points", at)
}

// volatile is a disk as a power cut finds it: what was not forced to it may be
// there or not, in any combination.
type volatile struct {
	real    map[string]*inode // names that are on the disk for sure
	pending []change          // of names, since the directory was synced
	after   func()            // called after each change
}

type inode struct{ data, synced []byte }

type change struct {
	from, to string // from "": a new name; to "": removed
	i        *inode
}

func (v *volatile) names() map[string]*inode {
	now := maps.Clone(v.real)
	for _, c := range v.pending {
		c.on(now)
	}
	return now
}

func (c change) on(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.i
	}
}

func (v *volatile) do(c change) error {
	v.pending = append(v.pending, c)
	v.after()
	return nil
}

func (v *volatile) create(name string) (file, error) {
	name = filepath.Base(name)
	if i, known := v.names()[name]; known {
		i.data = nil
		v.after()
		return volatileFile{v, i}, nil
	}
	i := &inode{}
	return volatileFile{v, i}, v.do(change{to: name, i: i})
}
func (v *volatile) link(from, to string) error {
	return v.do(change{to: filepath.Base(to), i: v.names()[filepath.Base(from)]})
}
func (v *volatile) rename(from, to string) error {
	return v.do(change{from: filepath.Base(from), to: filepath.Base(to), i: v.names()[filepath.Base(from)]})
}
func (v *volatile) remove(name string) error {
	name = filepath.Base(name)
	if v.names()[name] == nil {
		return os.ErrNotExist
	}
	return v.do(change{from: name})
}
func (v *volatile) syncDir(string) error {
	v.real, v.pending = v.names(), nil
	v.after()
	return nil
}

type volatileFile struct {
	v *volatile
	i *inode
}

func (f volatileFile) Write(p []byte) (int, error) {
	f.i.data = append(slices.Clone(f.i.data), p...)
	f.v.after()
	return len(p), nil
}
func (f volatileFile) Sync() error {
	f.i.synced = f.i.data
	f.v.after()
	return nil
}
func (f volatileFile) Close() error { return nil }

// cuts writes each state into the directory that a power cut may leave at this
// moment, and has it looked at.
func (v *volatile) cuts(t *testing.T, dir string, look func()) (n int) {
	for set := range 1 << len(v.pending) {
		names := maps.Clone(v.real)
		for i, c := range v.pending {
			if set>>i&1 == 1 {
				c.on(names)
			}
		}
		for part := range 3 { // of what was written and not forced to the disk: nothing, half, all
			for _, name := range []string{tableName, previousName, tableName + ".new", previousName + ".new"} {
				path := filepath.Join(dir, name)
				i := names[name]
				if i == nil {
					_ = os.Remove(path)
					continue
				}
				data := i.synced
				if !bytes.Equal(i.data, i.synced) && part > 0 {
					data = i.data[:len(i.data)*part/2]
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			look()
			n++
		}
	}
	return n
}

// TestPowerCutAtEveryWrite tries every state that a power cut may leave after each
// change to the disk, in three generations of tables.
func TestPowerCutAtEveryWrite(t *testing.T) {
	t.Parallel()
	dir, copied := t.TempDir(), t.TempDir()
	seen := &state{dir: copied}
	tried, last := 0, 0
	v := &volatile{real: map[string]*inode{}}
	look := func(least, most int) func() {
		return func() {
			got, _, err := seen.load()
			if err != nil || int(got.Fence) < least || int(got.Fence) > most || got.Fence > 0 && !reflect.DeepEqual(got, generation(int(got.Fence))) {
				t.Fatalf("a cut after table %d: number %d, %v", last, got.Fence, err)
			}
		}
	}
	v.after = func() {
		tried += v.cuts(t, copied, look(last, last+1))
		// What the process reads is what it has written.
		for name, i := range v.names() {
			if err := os.WriteFile(filepath.Join(dir, name), i.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := &state{dir: dir, disk: v}
	for n := 1; n <= 3; n++ {
		if err := s.save(t.Context(), generation(n)); err != nil {
			t.Fatal(err)
		}
		last = n
		tried += v.cuts(t, copied, look(n, n))
	}
	t.Logf("%d states", tried)
}

func TestDamagedState(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string, whole []byte) error{
		"empty": func(dir string, _ []byte) error { return os.WriteFile(filepath.Join(dir, tableName), nil, 0o600) },
		"torn": func(dir string, whole []byte) error {
			return os.WriteFile(filepath.Join(dir, tableName), whole[:len(whole)/2], 0o600)
		},
		"zeroes": func(dir string, whole []byte) error {
			return os.WriteFile(filepath.Join(dir, tableName), make([]byte, len(whole)), 0o600)
		},
		"one bit": func(dir string, whole []byte) error {
			whole = slices.Clone(whole)
			whole[len(whole)-3] ^= 4
			return os.WriteFile(filepath.Join(dir, tableName), whole, 0o600)
		},
		"gone":        func(dir string, _ []byte) error { return os.Remove(filepath.Join(dir, tableName)) },
		"a directory": func(dir string, _ []byte) error { return replaceByDir(filepath.Join(dir, tableName)) },
		"hostile": func(dir string, _ []byte) error {
			return os.WriteFile(filepath.Join(dir, tableName), sealed([]byte(`{"routes":[{"service":"a b"}]}`)), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			apply(t, f, generation(1))
			apply(t, f, generation(2))
			whole, err := os.ReadFile(filepath.Join(dir, tableName))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(dir, whole); err != nil {
				t.Fatal(err)
			}
			f, err = Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Table(); !reflect.DeepEqual(got, generation(1)) {
				t.Errorf("the table is number %d", got.Fence)
			}
			if name == "a directory" {
				return // a person has to remove it
			}
			// The damaged one does not take the place of the good one.
			apply(t, f, generation(3))
			if err := os.WriteFile(filepath.Join(dir, tableName), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if f, err = Open(dir, Options{}); err != nil || f.Table().Fence != 1 {
				t.Errorf("after a second damage: %v", err)
			}
			if err := os.WriteFile(filepath.Join(dir, previousName), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err = Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "restore one of the files") {
				t.Errorf("with both damaged: %v", err)
			}
		})
	}
}

func replaceByDir(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.Mkdir(name, 0o700)
}

// sealed is a file of state with the right sum.
func sealed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append([]byte(magic+hex.EncodeToString(sum[:])+"\n"), body...)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	f := opened(t, generation(1))
	f.state.disk = full{}
	if err := f.Apply(t.Context(), generation(2)); err == nil {
		t.Fatal("nothing was written, and nothing said")
	}
	if got := f.Table().Fence; got != 1 {
		t.Errorf("the table is number %d", got)
	}
	again, err := Open(f.state.dir, Options{})
	if err != nil || again.Table().Fence != 1 {
		t.Errorf("on the disk: %v", err)
	}
}

// full is a disk on which no byte finds room.
type full struct{ disk }

func (full) create(name string) (file, error) {
	f, err := disk{}.create(name)
	return fullFile{f}, err
}

type fullFile struct{ file }

func (fullFile) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// FuzzState reads hostile files of state, as they are and with a sum that fits.
func FuzzState(f *testing.F) {
	whole, err := encode(generation(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"fence":3,"routes":[{"service":"a","hosts":["*.x"],"path":"/a","backends":[{"name":"n","release":"r","address":"/run/s","weight":1}],"sticky":{"cookie":"c"}}]}`))
	f.Add([]byte(`{"routes":[{"service":"a","hosts":["*."],"path":"/../"}],"trusted":["::/0"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, sealed(data)} {
			table, err := decode(file)
			if err != nil {
				continue
			}
			if err := table.Check(); err != nil {
				t.Errorf("a table with faults was read: %v", err)
			}
			written, err := encode(table)
			if err != nil {
				t.Fatal(err)
			}
			again, err := decode(written)
			if err != nil || !bytes.Equal(sealedOf(t, again), written) {
				t.Errorf("what was written is read as another: %v", err)
			}
			front := &Front{certs: newCertificates(quiet()), services: map[string]*service{}}
			next := make(chan struct{})
			front.change.Store(&next)
			front.adopt(table)
		}
	})
}

func sealedOf(t *testing.T, table Table) []byte {
	data, err := encode(table)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
