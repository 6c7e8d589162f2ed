package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// A register that has expired is not there for whoever asks. Its row goes when
// its name is written again, or else in a sweep: the first change after a
// minute takes some rows with it that have had their time. Where nothing is
// changed nothing grows, so no clock has to wake anybody.
const (
	sweepEvery = time.Minute
	sweepRows  = 1000
)

// Register is one register. See [store.Registers].
func (s *Store) Register(ctx context.Context, kind, id string) (record.Register, error) {
	r := record.Register{Kind: kind, ID: id}
	var body string
	var changed int64
	var expires sql.NullInt64
	err := s.reads.QueryRowContext(ctx, `SELECT version, body, changed, expires FROM registers
		WHERE kind = ? AND id = ? AND (expires IS NULL OR expires > ?)`, kind, id, time.Now().UnixMicro()).
		Scan(&r.Version, &body, &changed, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return r, nil
	}
	if err != nil {
		return r, s.explain("read", err)
	}
	setRegister(&r, body, changed, expires)
	return r, nil
}

// Registers are those of a kind with a prefix. See [store.Registers].
func (s *Store) Registers(ctx context.Context, kind, prefix string) (list []record.Register, err error) {
	if !store.Plain(prefix) {
		return nil, nil // nothing begins so
	}
	defer func() { err = s.explain("read", err) }()
	query, args := `SELECT id, version, body, changed, expires FROM registers
		WHERE kind = ? AND (expires IS NULL OR expires > ?) AND id >= ?`, []any{kind, time.Now().UnixMicro(), prefix}
	if end := store.PrefixEnd(prefix); end != "" {
		query, args = query+" AND id < ?", append(args, end)
	}
	rows, err := s.reads.QueryContext(ctx, query+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := record.Register{Kind: kind}
		var body string
		var changed int64
		var expires sql.NullInt64
		if err := rows.Scan(&r.ID, &r.Version, &body, &changed, &expires); err != nil {
			return nil, err
		}
		setRegister(&r, body, changed, expires)
		list = append(list, r)
	}
	return list, rows.Err()
}

func setRegister(r *record.Register, body string, changed int64, expires sql.NullInt64) {
	r.Body, r.Changed = json.RawMessage(body), time.UnixMicro(changed).UTC()
	if expires.Valid {
		r.Expires = time.UnixMicro(expires.Int64).UTC()
	}
}

// Change writes registers and appends events. See [store.Registers].
func (s *Store) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	if err := store.CheckChanges(changes); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return s.Append(ctx, events...)
	}
	rows, err := s.codec.EncodeAll(events)
	if err != nil {
		return nil, err
	}
	var out []record.Event
	err = s.writer.write(ctx, "change registers of", func(c *conn) error {
		now := time.Now().UnixMicro()
		for _, r := range changes {
			version, err := c.version(r, now)
			if err != nil {
				return err
			}
			if version != r.Version {
				return &refusal{store.Conflict(r)} // nothing has been written yet
			}
		}
		for _, r := range changes {
			if err := c.change(r, now); err != nil {
				return err
			}
		}
		if err := c.sweep(now); err != nil {
			return err
		}
		var err error
		out, err = insert(c, events, rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// version is the version that a register has, 0 when there is none.
func (c *conn) version(r record.Register, now int64) (version int64, err error) {
	err = c.row([]any{&version}, `SELECT version FROM registers
		WHERE kind = ? AND id = ? AND (expires IS NULL OR expires > ?)`, r.Kind, r.ID, now)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

func (c *conn) change(r record.Register, now int64) error {
	if r.Body == nil {
		_, err := c.exec(`DELETE FROM registers WHERE kind = ? AND id = ?`, r.Kind, r.ID)
		return err
	}
	var expires any
	if !r.Expires.IsZero() {
		expires = r.Expires.UnixMicro()
	}
	_, err := c.exec(`INSERT INTO registers (kind, id, version, body, changed, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (kind, id) DO UPDATE SET version = ?3, body = ?4, changed = ?5, expires = ?6`,
		r.Kind, r.ID, r.Version+1, string(r.Body), now, expires)
	return err
}

// sweep removes registers that have expired, now and then.
func (c *conn) sweep(now int64) error {
	if now-c.swept < sweepEvery.Microseconds() {
		return nil
	}
	c.swept = now
	_, err := c.exec(`DELETE FROM registers WHERE (kind, id) IN
		(SELECT kind, id FROM registers WHERE expires <= ? ORDER BY expires LIMIT ?)`, now, sweepRows)
	return err
}
