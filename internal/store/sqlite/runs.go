package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// NewRun gives out the ID of a run that is about to be planned, and its number
// among the runs of that pipeline file in that repository. IDs grow and are
// never given out twice. The run is in no list before its RunPlanned has been
// appended.
func (s *Store) NewRun(ctx context.Context, repository, pipelineFile string) (id string, number int, err error) {
	err = s.writer.write(ctx, "begin a run in", func(c *conn) error {
		var n int64
		err := c.row([]any{&n, &number},
			`INSERT INTO runs (repository, file, number)
			 SELECT ?1, ?2, coalesce(max(number), 0) + 1 FROM runs WHERE repository = ?1 AND file = ?2
			 RETURNING id, number`, repository, pipelineFile)
		id = strconv.FormatInt(n, 10)
		return err
	})
	if err != nil {
		return "", 0, err
	}
	return id, number, nil
}

// project keeps the read model: it does to the table runs what the event says.
// run is its number, nil when the event belongs to none.
func project(c *conn, e record.Event, run any) error {
	if run == nil {
		return nil
	}
	var err error
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		h := head(b)
		_, err = c.exec(`INSERT INTO runs (id, repository, file, number, attempt, of, root, name,
				event, ref, branch, sha, dirty, actor, begun)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
			ON CONFLICT (id) DO UPDATE SET repository = ?2, file = ?3, number = ?4, attempt = ?5, of = ?6,
				root = ?7, name = ?8, event = ?9, ref = ?10, branch = ?11, sha = ?12, dirty = ?13, actor = ?14,
				begun = ?15`,
			run, h.Repository, h.File, h.Number, h.Attempt, h.Of, h.Root, h.Name,
			h.Event, h.Ref, h.Branch, h.SHA, h.Dirty, h.Actor, e.Time.UnixMicro())
	case *record.RunStarted:
		_, err = c.exec(`UPDATE runs SET ended = NULL, verdict = '', why = '' WHERE id = ?`, run)
	case *record.RunFinished:
		_, err = c.exec(`UPDATE runs SET ended = ?, verdict = ?, why = ? WHERE id = ?`,
			e.Time.UnixMicro(), string(b.Verdict), b.Why, run)
	}
	return err
}

// head is what a list shows of a planned run.
func head(b *record.RunPlanned) store.RunHead {
	h := store.RunHead{Number: b.Number, Attempt: b.Attempt, Of: b.Of, Root: b.Root}
	if p := b.Pipeline; p != nil {
		h.File, h.Name = p.File, p.Name
	}
	if c := b.Change; c != nil {
		h.Repository, h.Event, h.Ref, h.SHA, h.Dirty, h.Actor = c.Repository, c.Event, c.Ref, c.SHA, c.Dirty, c.Actor
		if branch, ok := strings.CutPrefix(c.Ref, "refs/heads/"); ok {
			h.Branch = branch
		}
		if c.HeadRef != "" {
			h.Branch = c.HeadRef
		}
	}
	return h
}

const headColumns = `SELECT id, number, attempt, of, repository, root, file, name, event, ref, branch, sha, dirty,
	actor, begun, ended, verdict, why FROM runs WHERE begun IS NOT NULL`

// Runs lists the runs that the filter chooses, newest first. Whether they are
// alive is asked of their leases, now.
func (s *Store) Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error) {
	query, args := []string{headColumns}, []any(nil)
	where := func(on bool, cond string, values ...any) {
		if on {
			query = append(query, "AND "+cond)
			args = append(args, values...)
		}
	}
	where(f.Repository != "", "repository = ?", f.Repository)
	where(f.Root != "", "root = ?", f.Root)
	where(f.Pipeline != "", `(file = ? OR name = ? OR file LIKE ? ESCAPE '\')`,
		f.Pipeline, f.Pipeline, `%/`+likeEscaper.Replace(f.Pipeline))
	where(f.Branch != "", "(branch = ? OR ref = ?)", f.Branch, f.Branch)
	where(f.Verdict != "", "verdict = ?", string(f.Verdict))
	where(f.Unfinished, "verdict = ''")
	if f.Before != "" {
		id, err := parseRun(f.Before)
		if err != nil {
			return nil, err
		}
		where(true, "id < ?", id)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = store.DefaultRuns
	}
	query = append(query, "ORDER BY id DESC LIMIT ?")
	return s.heads(ctx, strings.Join(query, " "), append(args, limit)...)
}

// Head is one run as in a list; [store.ErrNotFound] when there is no such run.
func (s *Store) Head(ctx context.Context, id string) (store.RunHead, error) {
	n, err := parseRun(id)
	if err != nil {
		return store.RunHead{}, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	heads, err := s.heads(ctx, headColumns+" AND id = ?", n)
	switch {
	case err != nil:
		return store.RunHead{}, err
	case len(heads) == 0:
		return store.RunHead{}, fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	}
	return heads[0], nil
}

// Alive reports whether somebody holds the run's lease.
func (s *Store) Alive(ctx context.Context, run string) (bool, error) {
	_, held, err := s.Held(ctx, store.RunLease(run))
	return held, err
}

func (s *Store) heads(ctx context.Context, query string, args ...any) (heads []store.RunHead, err error) {
	defer func() { err = s.explain("read", err) }()
	rows, err := s.reads.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h store.RunHead
		var id, begun int64
		var ended sql.NullInt64
		var verdict string
		if err := rows.Scan(&id, &h.Number, &h.Attempt, &h.Of, &h.Repository, &h.Root, &h.File, &h.Name, &h.Event,
			&h.Ref, &h.Branch, &h.SHA, &h.Dirty, &h.Actor, &begun, &ended, &verdict, &h.Why); err != nil {
			return nil, err
		}
		h.ID, h.Begun, h.Verdict = strconv.FormatInt(id, 10), time.UnixMicro(begun).UTC(), plan.Verdict(verdict)
		if ended.Valid {
			h.Ended = time.UnixMicro(ended.Int64).UTC()
		}
		heads = append(heads, h)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	return s.revive(ctx, heads)
}

// revive says of each unfinished run whether it is alive. A run may end
// between the reading of its row and the question after its lease: a run that
// looks dead is read again, so that one that has just ended well is never
// shown as interrupted.
func (s *Store) revive(ctx context.Context, heads []store.RunHead) ([]store.RunHead, error) {
	for i := range heads {
		h := &heads[i]
		if h.Verdict != "" {
			continue
		}
		var err error
		if h.Alive, err = s.Alive(ctx, h.ID); err != nil {
			return nil, err
		}
		if h.Alive {
			continue
		}
		var ended sql.NullInt64
		var verdict string
		err = s.reads.QueryRowContext(ctx, `SELECT ended, verdict, why FROM runs WHERE id = ?`, h.ID).
			Scan(&ended, &verdict, &h.Why)
		if err != nil {
			return nil, err
		}
		if h.Verdict = plan.Verdict(verdict); ended.Valid {
			h.Ended = time.UnixMicro(ended.Int64).UTC()
		}
	}
	return heads, nil
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
