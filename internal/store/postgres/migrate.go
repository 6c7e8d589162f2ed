package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The migrations: one file for each step of the schema, numbered from 1
// without a gap, run in order, never changed once released.
//
//go:embed migrations/*.sql
var steps embed.FS

func migrations() fs.FS {
	sub, err := fs.Sub(steps, "migrations")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}

// oldest is the oldest version of the server, as server_version_num, that has all
// that is used here.
const oldest = 130000

// prepare finds the schema and brings it up to date. When it is, that costs
// two queries.
func (s *Store) prepare(ctx context.Context, c *pgx.Conn, steps fs.FS) error {
	names, err := fs.Glob(steps, "*.sql")
	if err != nil {
		return err
	}
	var version int
	var encoding, name string
	var schema *string
	err = c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding'), current_schema()`).Scan(&version, &name, &encoding, &schema)
	switch {
	case err != nil:
		return err
	case version < oldest:
		return &Error{Doing: "open", Where: s.where, Err: fmt.Errorf("the server is PostgreSQL %s", name), Hint: "version 13 is the oldest that will do"}
	case encoding != "UTF8":
		return &Error{Doing: "open", Where: s.where, Err: fmt.Errorf("the database's encoding is %s", encoding),
			Hint: "make one with \"createdb --encoding UTF8 --template template0 NAME\""}
	}
	if schema == nil {
		first, _, _ := strings.Cut(s.config.RuntimeParams["search_path"], ",")
		if first = strings.Trim(strings.TrimSpace(first), `"`); first == "" {
			return &Error{Doing: "open", Where: s.where, Err: errors.New("there is no schema in the search path"),
				Hint: "name one in the URL of the database: ?search_path=fairlead"}
		}
		schema = &first
	}
	s.schema = *schema
	if done, err := s.version(ctx, c, len(names)); err != nil || done == len(names) {
		return err
	}

	// Several processes may find an old database at the same moment: one
	// migrates, the others wait and find it done. A death in the middle leaves
	// nothing.
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // of a committed transaction that does nothing
	for _, query := range []string{
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockKey(s.schema)),
		"CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{s.schema}.Sanitize(),
		"CREATE TABLE IF NOT EXISTS fairlead_schema (version int NOT NULL)",
	} {
		if err := s.exists(ctx, tx, query); err != nil {
			return err
		}
	}
	done, err := s.version(ctx, tx.Conn(), len(names))
	if err != nil {
		return err
	}
	for i := done; i < len(names); i++ {
		text, err := fs.ReadFile(steps, names[i])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(text)); err != nil {
			err = fmt.Errorf("migration %s: %w", strings.TrimSuffix(path.Base(names[i]), ".sql"), err)
			if sqlState(err) == "42P07" { // duplicate_table
				return &Error{Doing: "open", Where: s.where, Err: err,
					Hint: "the schema " + s.schema + " holds another program's tables: name another one in the URL of the database, ?search_path=fairlead"}
			}
			return err
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM fairlead_schema"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "INSERT INTO fairlead_schema (version) VALUES ($1)", len(names)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// exists has something made that may be there already. To make a schema takes a
// right that whoever uses one need not have.
func (s *Store) exists(ctx context.Context, tx pgx.Tx, query string) error {
	if strings.HasPrefix(query, "CREATE SCHEMA") {
		var there bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", s.schema).Scan(&there)
		if err != nil || there {
			return err
		}
	}
	_, err := tx.Exec(ctx, query)
	return err
}

// version is the number of the last migration that the schema has seen.
func (s *Store) version(ctx context.Context, c *pgx.Conn, newest int) (version int, err error) {
	err = c.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+pgx.Identifier{s.schema, "fairlead_schema"}.Sanitize()).Scan(&version)
	switch state := sqlState(err); {
	case state == "42P01" || state == "3F000": // there is no such table, no such schema
		return 0, nil
	case err != nil:
		return 0, err
	case version > newest:
		return 0, &Error{Doing: "open", Where: s.where,
			Err:  fmt.Errorf("it was written by a newer Fairlead (schema %d; this one knows %d)", version, newest),
			Hint: "use that Fairlead, or another database"}
	}
	return version, nil
}

// lockKey is the advisory lock of a schema's migrations.
func lockKey(schema string) int64 {
	h := fnv.New64a()
	h.Write([]byte("fairlead migrate " + schema))
	return int64(h.Sum64())
}
