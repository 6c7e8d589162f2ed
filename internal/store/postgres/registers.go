package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// What has had its time goes in a sweep: the first transaction after a minute
// takes some rows with it. A register that has expired is not there for whoever asks,
// swept or not.
const (
	sweepEvery = time.Minute
	sweepRows  = 1000
)

func sweep(b *pgx.Batch) {
	b.Queue(`DELETE FROM registers WHERE (kind, id) IN
		(SELECT kind, id FROM registers WHERE expires <= clock_timestamp() ORDER BY expires LIMIT $1)`, sweepRows)
	// Long enough for whoever slept to find its row.
	b.Queue(`DELETE FROM writers WHERE at < clock_timestamp() - interval '1 day'`)
	b.Queue(`DELETE FROM sessions WHERE until < clock_timestamp() - interval '1 day'`)
}

const registerColumns = `id, version, body, changed, expires`

// Register is one register. See [store.Registers].
func (s *Store) Register(ctx context.Context, kind, id string) (record.Register, error) {
	if !store.Plain(kind) || !store.Plain(id) {
		return record.Register{Kind: kind, ID: id}, ctx.Err()
	}
	r, err := scanRegister(s.reads.QueryRow(ctx, `SELECT `+registerColumns+` FROM registers
		WHERE kind = $1 AND id = $2 AND (expires IS NULL OR expires > clock_timestamp())`, kind, id), kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return record.Register{Kind: kind, ID: id}, nil
	}
	return r, s.explain("read", err)
}

// Registers are those of a kind with a prefix. See [store.Registers].
func (s *Store) Registers(ctx context.Context, kind, prefix string) ([]record.Register, error) {
	if !store.Plain(kind) || !store.Plain(prefix) {
		return nil, ctx.Err() // nothing is called so
	}
	query, args := `SELECT `+registerColumns+` FROM registers
		WHERE kind = $1 AND (expires IS NULL OR expires > clock_timestamp()) AND id >= $2`, []any{kind, prefix}
	if end := store.PrefixEnd(prefix); end != "" {
		query, args = query+" AND id < $3", append(args, end)
	}
	rows, err := s.reads.Query(ctx, query+" ORDER BY id", args...)
	if err != nil {
		return nil, s.explain("read", err)
	}
	list, err := pgx.AppendRows([]record.Register(nil), rows, func(row pgx.CollectableRow) (record.Register, error) {
		return scanRegister(row, kind)
	})
	if err != nil {
		return nil, s.explain("read", err)
	}
	return list, nil
}

func scanRegister(row pgx.Row, kind string) (record.Register, error) {
	r := record.Register{Kind: kind}
	var body string
	var expires *time.Time
	if err := row.Scan(&r.ID, &r.Version, &body, &r.Changed, &expires); err != nil {
		return r, err
	}
	r.Body, r.Changed = json.RawMessage(body), r.Changed.UTC()
	if expires != nil {
		r.Expires = expires.UTC()
	}
	return r, nil
}

// Change writes registers and appends events. See [store.Registers].
func (s *Store) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	if err := store.CheckChanges(changes); err != nil {
		return nil, err
	}
	if len(changes) == 0 && len(events) == 0 {
		return nil, nil
	}
	rows, err := s.codec.EncodeAll(events)
	if err != nil {
		return nil, err
	}
	op := &operation{changes: changes, events: events, rows: rows}
	doing := "append to"
	if len(changes) > 0 {
		doing = "change registers of"
	}
	if err := s.writer.write(ctx, doing, op); err != nil {
		return nil, err
	}
	return op.out, nil
}

// queueRegisters writes registers as they are to be; those without a body go.
func queueRegisters(b *pgx.Batch, registers map[[2]string]record.Register, now time.Time) {
	var kinds, ids, bodies, goneKinds, goneIDs []string
	var versions []int64
	var expires []*time.Time
	for _, r := range registers {
		if r.Body == nil {
			goneKinds, goneIDs = append(goneKinds, r.Kind), append(goneIDs, r.ID)
			continue
		}
		kinds, ids, bodies, versions = append(kinds, r.Kind), append(ids, r.ID), append(bodies, string(r.Body)), append(versions, r.Version)
		var at *time.Time
		if !r.Expires.IsZero() {
			cut := store.Cut(r.Expires)
			at = &cut
		}
		expires = append(expires, at)
	}
	if len(goneKinds) > 0 {
		b.Queue(`DELETE FROM registers WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))`, goneKinds, goneIDs)
	}
	if len(kinds) > 0 {
		b.Queue(`INSERT INTO registers (kind, id, version, body, expires, changed)
			SELECT *, $6::timestamptz FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
			ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body,
				expires = excluded.expires, changed = excluded.changed`, kinds, ids, versions, bodies, expires, now)
	}
}
