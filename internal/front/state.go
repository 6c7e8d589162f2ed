package front

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What lies in the directory of a front:
//
//	table       the table that was applied last
//	previous    the one before it
//	lock        held by a process while it writes
//	*.new       being written; what a killed process left is never read
//
// A table is written beside its name, forced to the disk, and only then renamed;
// previous gets its name by a link before that. So at each instant both names are
// those of whole files, and whatever order the disk makes of it, table is the old or the
// new one. The sum in the first line finds out what else can happen to a file.
const (
	tableName    = "table"
	previousName = "previous"
	lockName     = "lock"
	magic        = "fairlead-front 1 sha256:"
	maxState     = 64 << 20 // bytes of a file of state
)

// files are the changes that a state makes to the disk. Each is a point at which
// tests kill the process.
type files interface {
	create(name string) (file, error)
	link(from, to string) error
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

// disk is the real one.
type disk struct{}

func (disk) create(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}
func (disk) link(from, to string) error   { return os.Link(from, to) }
func (disk) rename(from, to string) error { return os.Rename(from, to) }
func (disk) remove(name string) error     { return os.Remove(name) }

func (disk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// state keeps the table on the disk.
type state struct {
	dir  string
	disk files
}

func openState(dir string, on files) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &state{dir: dir, disk: on}, nil
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// load reads the last table: an empty one if none was ever written. The damage
// says why it is the one before it.
func (s *state) load() (t Table, damage, err error) {
	t, damage = s.read(tableName)
	if damage == nil {
		return t, nil, nil
	}
	t, err = s.read(previousName)
	switch {
	case err == nil:
		return t, damage, nil
	case errors.Is(err, fs.ErrNotExist) && errors.Is(damage, fs.ErrNotExist):
		return Table{}, nil, nil
	}
	return Table{}, nil, fmt.Errorf("neither table can be read; restore one of the files, or move both away to begin without routes: %w", errors.Join(damage, err))
}

func (s *state) read(name string) (Table, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return Table{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return Table{}, err
	}
	t, err := decode(data)
	if err != nil {
		return Table{}, fmt.Errorf("%s: %w", s.path(name), err)
	}
	return t, nil
}

// save makes the table the one that load reads. Once the new name is given, an
// error says that it is unknown which of the two the disk has.
func (s *state) save(ctx context.Context, t Table) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// Another process may have written since we did.
	last, damage := s.read(tableName)
	if damage == nil && t.Fence < last.Fence {
		return fmt.Errorf("its fence is %d, and on the disk it is %d: %w", t.Fence, last.Fence, ErrFenced)
	}
	data, err := encode(t)
	if err != nil {
		return err
	}
	if err := s.write(tableName+".new", data); err != nil {
		return err
	}
	if damage == nil { // else previous is the better one, and stays
		beside := s.path(previousName + ".new")
		if err := s.disk.remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.disk.link(s.path(tableName), beside); err != nil {
			return err
		}
		if err := s.disk.rename(beside, s.path(previousName)); err != nil {
			return err
		}
	}
	if err := s.disk.rename(s.path(tableName+".new"), s.path(tableName)); err != nil {
		return err
	}
	return s.disk.syncDir(s.dir)
}

func (s *state) write(name string, data []byte) error {
	f, err := s.disk.create(s.path(name))
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// lock keeps other processes from writing; the kernel takes it back from one that
// dies.
func (s *state) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(s.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the other process that writes: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
	f.Close()
	return nil, fmt.Errorf("lock %s: %w", s.path(lockName), err)
}

// encode writes the table as a file: a line with the sum of the rest, and JSON.
func encode(t Table) ([]byte, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	data := append([]byte(magic+hex.EncodeToString(sum[:])+"\n"), body...)
	if len(data) > maxState {
		return nil, fmt.Errorf("the table takes %d bytes; at most %d are kept", len(data), maxState)
	}
	return data, nil
}

// decode reads what encode wrote. Fields that it does not know are those of a
// later version of the program, and left out.
func decode(data []byte) (Table, error) {
	if len(data) > maxState {
		return Table{}, fmt.Errorf("larger than %d bytes", maxState)
	}
	first, body, found := bytes.Cut(data, []byte("\n"))
	want, ours := strings.CutPrefix(string(first), magic)
	if !found || !ours {
		return Table{}, errors.New("damaged: it does not begin as a table does")
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
		return Table{}, errors.New("damaged: its sum is another")
	}
	var t Table
	if err := json.Unmarshal(body, &t); err != nil {
		return Table{}, fmt.Errorf("damaged: %w", err)
	}
	if err := t.Check(); err != nil {
		return Table{}, fmt.Errorf("no table that can be used: %w", err)
	}
	return t, nil
}
