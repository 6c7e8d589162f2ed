package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// maxHolder is how much of a holder's description is kept.
	maxHolder = 1024
	// A holder writes its description just after it has locked the file.
	// Whoever looks in between looks again, this often and so many times.
	holderPoll  = time.Millisecond
	holderTries = 20
)

// lease is a locked file. The lock belongs to the open file, so that two
// holders in one process exclude each other as two processes do.
type lease struct {
	once sync.Once
	f    *lockedFile
	err  error
}

// Lease takes the name. See [store.Leases].
func (s *Store) Lease(ctx context.Context, name, holder string) (store.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := s.leaseFile(name)
	f, err := lockFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			f, err = lockFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", name, err)
	}
	if f == nil {
		who, _, err := s.Held(ctx, name)
		if err != nil {
			return nil, err
		}
		return nil, &store.HeldError{Name: name, Holder: who}
	}
	text := clip(name, maxHolder) + "\n" + clip(holder, maxHolder)
	if _, err = f.WriteAt([]byte(text), 0); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lease %s: %w", name, err), f.remove())
	}
	return &lease{f: f}, nil
}

// Release gives the name back.
func (l *lease) Release() error {
	l.once.Do(func() {
		if err := l.f.remove(); err != nil {
			l.err = fmt.Errorf("release lease: %w", err)
		}
	})
	return l.err
}

// Lost is never closed: a lock on an open file goes with the process, not
// before it.
func (l *lease) Lost() <-chan struct{} { return nil }

// Held says whether somebody living has the name. See [store.Leases].
func (s *Store) Held(ctx context.Context, name string) (string, bool, error) {
	path := s.leaseFile(name)
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return "", false, err
		}
		locked, err := isLocked(path)
		if err != nil || !locked {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return "", false, err
		}
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", false, fmt.Errorf("who holds %s: %w", name, err)
		}
		if _, holder, ok := strings.Cut(string(text), "\n"); ok || try == holderTries {
			return holder, true, nil
		}
		time.Sleep(holderPoll)
	}
}

// leaseFile is where a name's lock is: names hold slashes, and may be long.
func (s *Store) leaseFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, "leases", hex.EncodeToString(sum[:12]))
}

func clip(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// lockedFile is an open file that nobody else has locked.
type lockedFile struct{ *os.File }

// lockFile opens the file, making it if need be, and locks it; nil when
// somebody else has it locked.
func lockFile(path string) (*lockedFile, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		ok, err := tryLock(f)
		if err != nil || !ok {
			return nil, errors.Join(err, f.Close())
		}
		// The last holder may have removed the file between our opening and
		// our locking it: then our lock is on a file that nobody else sees.
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return &lockedFile{f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// remove removes the file while its lock is still held, and then lets go.
func (f *lockedFile) remove() error {
	err := os.Remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
