// Package sqlite keeps the record in one SQLite file.
//
// It is the store of a laptop and of a server that one machine is enough for:
// nothing to install, nothing to configure, and several Fairlead processes may
// use the same directory at once.
//
//	record.db       events, marks, registers, and the read model "runs"
//	leases/         one locked file for each lease held
//
// Three decisions make it fast and safe:
//
//   - One writer. A goroutine owns the only writing connection and puts
//     everything that callers ask for at the same time into one transaction,
//     so that sixty-four callers pay for one commit. Callers never see a busy
//     database: waiting for other processes is the writer's work.
//   - The write-ahead log. Readers do not wait for the writer, nor it for them.
//     A commit is in the page cache when it returns, which a process's death
//     cannot take back. With [Full] it is on the disk, which a power cut cannot
//     take back either.
//   - Leases are file locks and not rows. The kernel gives them back when their
//     holder dies, so that nobody has to guess from a time stamp.
//
// Reading connections are opened when something is first read: a short run
// only ever writes.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Sync says what a commit survives.
type Sync int

// The degrees of durability.
const (
	// Normal commits survive the death of the process (kill -9) at any
	// instant. A power cut may take the last ones back, in order, leaving the
	// record shorter and whole.
	Normal Sync = iota
	// Full commits survive a power cut. Each transaction waits for the disk.
	Full
)

// Options are the choices of whoever opens a store.
type Options struct {
	Sync Sync
}

// File is the name of the database in its directory.
const File = "record.db"

const (
	// busyMillis is how long SQLite itself waits for another process's
	// transaction. The writer asks again until busyLimit has passed.
	busyMillis = 5_000
	// readers is the most connections that read at once.
	readers = 4
)

// Store is an open record. Besides the contract it offers what readers with
// narrow interfaces of their own ask for: see its methods.
type Store struct {
	dir  string
	path string

	writer   *writer
	reads    *sql.DB
	watchers watchers
	codec    *store.Codec
}

var _ store.Store = (*Store)(nil)

// Open opens the record in the directory, making both if they do not exist and
// bringing an older database up to date. A database made by a newer Fairlead
// is an error. The caller closes the store.
func Open(ctx context.Context, dir string, opts Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	s := &Store{dir: dir, path: filepath.Join(dir, File)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open record: %w; choose another data directory, or make this one writable", err)
	}
	conn, err := s.connect(ctx, opts)
	if err != nil {
		return nil, s.explain("open", err)
	}
	s.reads, err = sql.Open("sqlite", s.dsn(url.Values{
		"mode":          {"ro"},
		"_busy_timeout": {strconv.Itoa(busyMillis)},
	}))
	if err != nil {
		conn.close()
		return nil, s.explain("open", err)
	}
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	s.watchers.changed = make(chan struct{})
	s.codec = store.NewCodec()
	s.writer = newWriter(s, conn)
	return s, nil
}

// connect opens the writing connection on an up-to-date database.
func (s *Store) connect(ctx context.Context, opts Options) (*conn, error) {
	synchronous := "NORMAL"
	if opts.Sync == Full {
		synchronous = "FULL"
	}
	c, err := openConn(ctx, s.dsn(url.Values{
		"_busy_timeout": {strconv.Itoa(busyMillis)},
		"_synchronous":  {synchronous},
	}))
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dsn is the database's name with parameters, as SQLite wants it: a URI.
func (s *Store) dsn(params url.Values) string {
	params.Set("_error_rc", "1")
	return "file:" + (&url.URL{Path: filepath.ToSlash(s.path)}).EscapedPath() + "?" + params.Encode()
}

// Dir is the directory of the record.
func (s *Store) Dir() string { return s.dir }

// Close ends the store, after everything asked for has been written. Leases
// are not released by it.
func (s *Store) Close() error {
	return errors.Join(s.writer.close(), s.reads.Close())
}

// Error is a failure of the database, with the path and a way out for whoever
// runs Fairlead.
type Error struct {
	Doing string // "append"
	Path  string
	Hint  string // "" when there is no advice to give
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s record %s: %v", e.Doing, e.Path, e.Err)
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// explain makes an error of SQLite one that says where and what to do.
func (s *Store) explain(doing string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) || errors.Is(err, store.ErrClosed) || errors.Is(err, record.ErrConflict) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Doing: doing, Path: s.path, Hint: s.hint(err), Err: err}
}

func (s *Store) hint(err error) string {
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return "the disk or the quota is full: free some space and try again; nothing that was recorded is lost"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return "the record is read-only: make the file and its directory writable for this user, or choose another data directory"
	case sqlite3.SQLITE_CANTOPEN:
		return "the file cannot be opened or made: check that its directory is writable for this user, or choose another data directory"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "the file is damaged or not a record: move it away to begin a new one, and keep it, since most of it can be read with \"sqlite3 FILE .recover\""
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return "another process has kept the record locked for too long: end it, and try again"
	case sqlite3.SQLITE_IOERR:
		return "the disk reported an error: see the system's log; a data directory on a network file system does not work, choose one on a local disk"
	}
	return ""
}

// code is the primary result code of an SQLite error, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
