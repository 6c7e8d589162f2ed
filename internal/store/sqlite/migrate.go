package sqlite

import (
	"context"
	"embed"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// The migrations: one file for each step of the schema, numbered from 1
// without a gap, run in order, never changed once released.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the file as ours ("FAIR"), so that another program's
// database is not taken for an empty record.
const applicationID = 0x46414952

// migrationPoll is how often a process asks whether another one has finished
// making the schema.
const migrationPoll = 5 * time.Millisecond

// migrate brings the database up to date. On an up-to-date database it costs
// one query.
func (s *Store) migrate(ctx context.Context, c *conn) error {
	steps, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	version, err := s.version(c, len(steps))
	if err != nil || version == len(steps) {
		return err
	}

	// Several processes may find an old database at the same moment: one
	// migrates, the others wait and find it done.
	lock, err := s.migrationLock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	version, err = s.version(c, len(steps))
	if err != nil || version == len(steps) {
		return err
	}
	if version == 0 {
		// The mode is kept in the file. It cannot be changed inside a transaction.
		if _, err := c.c.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
			return err
		}
	}
	for i := version; i < len(steps); i++ {
		text, err := migrations.ReadFile("migrations/" + steps[i].Name())
		if err != nil {
			return err
		}
		if err := c.begin(); err != nil {
			return err
		}
		script := fmt.Sprintf("%s\n; PRAGMA user_version = %d; PRAGMA application_id = %d", text, i+1, applicationID)
		if _, err := c.c.ExecContext(ctx, script); err != nil {
			c.rollback()
			return fmt.Errorf("migration %s: %w", strings.TrimSuffix(steps[i].Name(), ".sql"), err)
		}
		if _, err := c.exec("COMMIT"); err != nil {
			c.rollback()
			return err
		}
	}
	return nil
}

// version is the number of the last migration the database has seen.
func (s *Store) version(c *conn, newest int) (int, error) {
	var version, application, tables int
	err := c.row([]any{&version, &application, &tables},
		`SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
		   FROM pragma_user_version, pragma_application_id`)
	switch {
	case err != nil:
		return 0, err
	case version == 0 && tables == 0:
		return 0, nil
	case application != applicationID || version == 0:
		return 0, &Error{Doing: "open", Path: s.path, Err: fmt.Errorf("the file is another program's database"),
			Hint: "choose another data directory, or move the file away"}
	case version > newest:
		return 0, &Error{Doing: "open", Path: s.path,
			Err:  fmt.Errorf("it was written by a newer Fairlead (schema %d; this one knows %d)", version, newest),
			Hint: "use that Fairlead, or another data directory"}
	}
	return version, nil
}

func (s *Store) migrationLock(ctx context.Context) (*lockedFile, error) {
	tick := time.NewTicker(migrationPoll)
	defer tick.Stop()
	for {
		f, err := lockFile(filepath.Join(s.dir, "migrate.lock"))
		if err != nil {
			return nil, fmt.Errorf("lock for migration: %w", err)
		}
		if f != nil {
			return f, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
