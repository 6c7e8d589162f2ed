// Package postgres keeps the record in PostgreSQL (13 or newer).
//
// It is the store of a team that needs more than one server: any number of
// Fairlead processes, on any machines, share one database. What is promised is
// what package sqlite promises, and the same suite says so; how it is kept
// differs where there is no common file system to lean on:
//
//   - One row orders everything. Whoever writes locks the table "head" for its
//     one transaction, so that Seqs have no gap and nobody sees an event before
//     all earlier ones. A process puts everything that its callers ask for at
//     the same time into one transaction of two round trips, so that the row is
//     locked seldom and not for long.
//   - A commit whose answer was lost is not guessed at. Each transaction writes
//     the number of its attempt into the table "writers"; after reconnecting the
//     process reads it there, and either has its answer or writes again. Callers
//     see a database that restarts as a slow one.
//   - Leases belong to a session, which lasts until a time of the database's own
//     clock and is prolonged while the process lives. They are taken under the
//     same lock that orders events, and a process whose session is over can no
//     longer append to the runs that it held: the record never has two owners of
//     a run, not even when one of them was asleep and does not know yet.
//
// The schema is that of the search path ("?search_path=fairlead" in the URL), and
// is made when it is not there. Durability is the server's synchronous_commit.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Options are the choices of whoever opens a store.
type Options struct {
	// LeaseTime is how long the leases of a process outlive it when it dies;
	// 0: [DefaultLeaseTime]. A process that cannot reach the database for two thirds
	// of it gives them up by itself.
	LeaseTime time.Duration
}

// DefaultLeaseTime is how long leases last when nothing else is asked for.
const DefaultLeaseTime = 15 * time.Second

const (
	// connectLimit is how long one attempt to connect may take.
	connectLimit = 10 * time.Second
	// statementLimit is how long a round trip of the writer may take. It is longer
	// than the server lets a process that has stopped keep the record locked.
	statementLimit = 30 * time.Second
	idleLimit      = "10s"
	// outage is how long a writer waits for a database that has gone away.
	outage = 20 * time.Second
	// It looks whether the database is there again after outagePause, and then
	// more and more seldom, down to every outagePoll.
	outagePause = 2 * time.Millisecond
	outagePoll  = 200 * time.Millisecond
)

// Store is an open record. Besides the contract it offers what readers with
// narrow interfaces of their own ask for: see its methods.
type Store struct {
	where  string // for people: host and database, no password
	schema string
	config *pgx.ConnConfig
	reads  *pgxpool.Pool
	codec  *store.Codec

	writer   *writer
	tenure   *tenure
	watchers watchers
}

var _ store.Store = (*Store)(nil)

// Open opens the record in the database that the URL names, and brings its schema
// up to date: "postgres://user:password@host/name", or "host=… dbname=…", with
// PostgreSQL's own parameters and environment variables. A schema made by a
// newer Fairlead is an error. The caller closes the store.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The error quotes the URL, and hides in it only what it takes for the password.
		return nil, errors.New("open record: the URL of the database cannot be read; it is like postgres://USER:PASSWORD@HOST:5432/DATABASE, " +
			"with characters such as @ and / in the password written %40 and %2F")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectLimit
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "fairlead"
	}
	s := &Store{where: where(config.ConnConfig), config: config.ConnConfig.Copy(), codec: store.NewCodec()}
	// A process that stops in the middle of a transaction must not stop the others.
	s.config.RuntimeParams["idle_in_transaction_session_timeout"] = idleLimit

	conn, err := s.connect(ctx)
	if err != nil {
		return nil, s.explain("open", err)
	}
	if err := s.prepare(ctx, conn, migrations()); err != nil {
		return nil, errors.Join(s.explain("open", err), closeConn(conn))
	}
	if s.reads, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, errors.Join(s.explain("open", err), closeConn(conn))
	}
	if opts.LeaseTime <= 0 {
		opts.LeaseTime = DefaultLeaseTime
	}
	s.watchers.changed = make(chan struct{})
	s.tenure = newTenure(s, opts.LeaseTime)
	s.writer = newWriter(s, conn)
	return s, nil
}

// where is the database for people.
func where(c *pgx.ConnConfig) string {
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + "/" + c.Database
}

func (s *Store) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	return pgx.ConnectConfig(ctx, s.config)
}

// closeConn says goodbye, if the other side listens.
func closeConn(c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.Close(ctx)
}

// LeaseTime is how long the leases of a process that died are still held.
func (s *Store) LeaseTime() time.Duration { return s.tenure.time }

// Close ends the store, after everything asked for has been written. What leases
// there still are it gives back.
func (s *Store) Close() error {
	s.writer.close()
	s.tenure.end()
	s.watchers.close()
	s.reads.Close()
	return nil
}

// Error is a failure of the database, with where it is and a way out for whoever
// runs Fairlead. It never holds the password.
type Error struct {
	Doing string // "append to"
	Where string // host:port/database
	Hint  string // "" when there is no advice to give
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s record %s: %v", e.Doing, e.Where, e.Err)
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// UnknownError says that the database went away while it committed, and did not
// come back in time to say what became of it.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("the database went away, and it is not known whether this was recorded: %v", e.Err)
}

func (e *UnknownError) Unwrap() error { return e.Err }

// explain makes an error of the database one that says where and what to do.
func (s *Store) explain(doing string, err error) error {
	var known *Error
	var held *store.HeldError
	if err == nil || errors.As(err, &known) || errors.As(err, &held) || errors.Is(err, store.ErrClosed) || errors.Is(err, record.ErrConflict) ||
		errors.Is(err, store.ErrNotFound) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !unreachable(err) {
		return err
	}
	return &Error{Doing: doing, Where: s.where, Hint: hint(err), Err: err}
}

func unreachable(err error) bool {
	var c *pgconn.ConnectError
	return errors.As(err, &c)
}

func hint(err error) string {
	switch state := sqlState(err); state {
	case "28P01", "28000":
		return "check the user and the password in the URL of the database, and the server's pg_hba.conf"
	case "3D000":
		return "make it first, with \"createdb NAME\", or name another one in the URL"
	case "42501":
		return "the user of the URL may not do that: let it own the database or the schema"
	case "53100":
		return "the server's disk is full: free some space and try again; nothing that was recorded is lost"
	case "53300":
		return "raise max_connections on the server, or lower pool_max_conns in the URL"
	case "25006":
		return "that server takes no writes, as a standby does: name the primary in the URL, or both and target_session_attrs=read-write"
	case "55P03", "57014":
		return "another process has kept the record locked for too long: see pg_stat_activity"
	case "":
	default:
		if strings.HasPrefix(state, "XX") {
			return "the server reports damaged data: see its log before anything else"
		}
		return ""
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "check the host in the URL of the database"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "see whether PostgreSQL runs there and listens on that address"
	case errors.Is(err, errSlow):
		return "another process may keep the record locked: see pg_stat_activity"
	case unreachable(err), errors.Is(err, context.DeadlineExceeded):
		return "see whether PostgreSQL runs there and can be reached from this machine"
	}
	return ""
}

// sqlState is the code of an error of the server, or "".
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// newID is a name that nobody else has.
func newID() string { return rand.Text() }
