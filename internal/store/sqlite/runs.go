package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
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
	repository, pipelineFile = store.Clean(repository), store.Clean(pipelineFile)
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
// run is its number, 0 when the event belongs to none.
func project(c *conn, e record.Event, run int64) error {
	if run == 0 {
		return nil
	}
	var err error
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		h := store.PlannedHead(b)
		origin, encodeErr := store.OriginText(h.Origin)
		if encodeErr != nil {
			return encodeErr
		}
		var name, change string
		if h.Origin != nil {
			name, change = h.Origin.Repository, h.Origin.Change
		}
		_, err = c.exec(`INSERT INTO runs (id, repository, file, base, number, attempt, of, root, name,
				event, ref, branch, sha, dirty, actor, begun, origin, origin_name, change)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
			ON CONFLICT (id) DO UPDATE SET repository = ?2, file = ?3, base = ?4, number = ?5, attempt = ?6, of = ?7,
				root = ?8, name = ?9, event = ?10, ref = ?11, branch = ?12, sha = ?13, dirty = ?14, actor = ?15,
				begun = ?16, origin = ?17, origin_name = ?18, change = ?19`,
			run, h.Repository, h.File, path.Base(h.File), h.Number, h.Attempt, h.Of, h.Root, h.Name,
			h.Event, h.Ref, h.Branch, h.SHA, h.Dirty, h.Actor, e.Time.UnixMicro(), origin, name, change)
	case *record.RunStarted:
		_, err = c.exec(`UPDATE runs SET started = coalesce(started, ?), ended = NULL, verdict = '', why = '' WHERE id = ?`,
			e.Time.UnixMicro(), run)
	case *record.RunApproved:
		approval, encodeErr := store.ApprovalText(b.By)
		if encodeErr != nil {
			return encodeErr
		}
		_, err = c.exec(`UPDATE runs SET origin = substr(origin, 1, length(origin)-1) || ? WHERE id = ? AND origin <> ''`, approval, run)
	case *record.RunFinished:
		_, err = c.exec(`UPDATE runs SET ended = ?, verdict = ?, why = ? WHERE id = ?`,
			e.Time.UnixMicro(), string(b.Verdict), b.Why, run)
	}
	return err
}

const headColumns = `id, number, attempt, of, repository, root, file, name, event, ref, branch, sha, dirty,
	actor, begun, started, origin, ended, verdict, why`

// Runs lists the runs that the filter chooses, newest first. Whether they are
// alive is asked of their leases, now.
func (s *Store) Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error) {
	query, args, err := choose(f)
	if err != nil {
		return nil, err
	}
	return s.heads(ctx, query, args...)
}

// choose is the query of a filter. The database keeps no statistics of what is
// frequent, so it is told which index to go by: that of the narrowest condition.
// The others are written "+column", which keeps their indexes out of it. Every
// index ends in the id: the newest come first, and a page is all that is read.
func choose(f store.RunFilter) (query string, args []any, err error) {
	where := []string{"begun IS NOT NULL"}
	by := false // an index has been chosen
	and := func(on bool, column string, value any) {
		if !on {
			return
		}
		if by {
			column = "+" + column
		}
		by = true
		where, args = append(where, column+" = ?"), append(args, value)
	}
	if f.Change != "" { // so that the index of changes is that of the condition
		where = append(where, "change <> ''")
	}
	and(f.Change != "", "change", f.Change)
	and(f.Actor != "", "actor", f.Actor)
	if strings.HasPrefix(f.Branch, "refs/") {
		and(true, "ref", f.Branch)
	} else {
		and(f.Branch != "", "branch", f.Branch)
	}
	pipeline := f.Pipeline != "" && !by
	if f.Pipeline != "" && by {
		where, args = append(where, "? IN (file, name, base)"), append(args, f.Pipeline)
	}
	by = by || pipeline
	and(f.Origin != "", "origin_name", f.Origin)
	and(f.Repository != "", "repository", f.Repository)
	and(f.Root != "", "root", f.Root)
	if f.Unfinished {
		where = append(where, "verdict = ''")
	}
	and(f.Verdict != "", "verdict", string(f.Verdict))
	if f.Before != "" {
		id, err := store.RunNumber(f.Before)
		if err != nil {
			return "", nil, err
		}
		where, args = append(where, "id < ?"), append(args, id)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = store.DefaultRuns
	}
	const order = " ORDER BY id DESC LIMIT ?"
	conditions, args := strings.Join(where, " AND "), append(args, limit)
	if !pipeline {
		return "SELECT " + headColumns + " FROM runs WHERE " + conditions + order, args, nil
	}
	// Three ways to name a pipeline: the newest by each, and of these the newest.
	var ways []string
	var all []any
	for _, column := range []string{"file", "base", "name"} {
		ways = append(ways, "SELECT * FROM (SELECT id FROM runs WHERE "+column+" = ? AND "+conditions+order+")")
		all = append(append(all, f.Pipeline), args...)
	}
	return "SELECT " + headColumns + " FROM runs WHERE id IN (" + strings.Join(ways, " UNION ") + ")" + order,
		append(all, limit), nil
}

// Head is one run as in a list; [store.ErrNotFound] when there is no such run.
func (s *Store) Head(ctx context.Context, id string) (store.RunHead, error) {
	n, err := store.RunNumber(id)
	if err != nil {
		return store.RunHead{}, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	heads, err := s.heads(ctx, "SELECT "+headColumns+" FROM runs WHERE begun IS NOT NULL AND id = ?", n)
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
		var started, ended sql.NullInt64
		var origin, verdict string
		if err := rows.Scan(&id, &h.Number, &h.Attempt, &h.Of, &h.Repository, &h.Root, &h.File, &h.Name, &h.Event,
			&h.Ref, &h.Branch, &h.SHA, &h.Dirty, &h.Actor, &begun,
			&started, &origin, &ended, &verdict, &h.Why); err != nil {
			return nil, err
		}
		if h.Origin, h.ApprovedBy, err = store.ParseOrigin(origin); err != nil {
			return nil, err
		}
		h.ID, h.Begun, h.Verdict = strconv.FormatInt(id, 10), time.UnixMicro(begun).UTC(), plan.Verdict(verdict)
		if started.Valid {
			h.Started = time.UnixMicro(started.Int64).UTC()
		}
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
