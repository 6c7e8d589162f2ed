package postgres

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// NewRun gives out the ID of a run that is about to be planned, and its number
// among the runs of that pipeline file in that repository. IDs grow and are
// never given out twice. The run is in no list before its RunPlanned has been
// appended.
func (s *Store) NewRun(ctx context.Context, repository, pipelineFile string) (id string, number int, err error) {
	g := &beginning{repository: store.Clean(repository), file: store.Clean(pipelineFile)}
	if err := s.writer.write(ctx, "begin a run in", &operation{begin: g}); err != nil {
		return "", 0, err
	}
	return strconv.FormatInt(g.id, 10), int(g.number), nil
}

// project keeps the read model: it does to the table runs what the event says.
// run is its number, 0 when the event belongs to none.
func project(b *pgx.Batch, e record.Event, run int64) error {
	if run == 0 {
		return nil
	}
	switch body := e.Body.(type) {
	case *record.RunPlanned:
		h := store.PlannedHead(body)
		origin, err := store.OriginText(h.Origin)
		if err != nil {
			return err
		}
		var name, change string
		if h.Origin != nil {
			name, change = store.Clean(h.Origin.Repository), store.Clean(h.Origin.Change)
		}
		b.Queue(`INSERT INTO runs (id, repository, file, base, number, attempt, of, root, name,
				event, ref, branch, sha, dirty, actor, begun, origin, origin_name, change)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
			ON CONFLICT (id) DO UPDATE SET repository = $2, file = $3, base = $4, number = $5, attempt = $6, of = $7,
				root = $8, name = $9, event = $10, ref = $11, branch = $12, sha = $13, dirty = $14, actor = $15,
				begun = $16, origin = $17, origin_name = $18, change = $19`,
			run, h.Repository, h.File, path.Base(h.File), h.Number, h.Attempt, h.Of, h.Root, h.Name,
			h.Event, h.Ref, h.Branch, h.SHA, h.Dirty, h.Actor, e.Time, origin, name, change)
	case *record.RunStarted:
		b.Queue(`UPDATE runs SET started = coalesce(started, $2), ended = NULL, verdict = '', why = '' WHERE id = $1`, run, e.Time)
	case *record.RunApproved:
		approval, err := store.ApprovalText(body.By)
		if err != nil {
			return err
		}
		b.Queue(`UPDATE runs SET origin = left(origin, -1) || $2 WHERE id = $1 AND origin <> ''`, run, approval)
	case *record.RunFinished:
		b.Queue(`UPDATE runs SET ended = $2, verdict = $3, why = $4 WHERE id = $1`,
			run, e.Time, store.Clean(string(body.Verdict)), store.Clean(body.Why))
	}
	return nil
}

// headColumns end in whether the run is alive: one statement sees one instant, so
// that a run that has just ended well is never shown as interrupted.
const headColumns = `id, number, attempt, of, repository, root, file, name, event, ref, branch, sha, dirty,
	actor, begun, started, origin, ended, verdict, why,
	verdict = '' AND EXISTS (SELECT FROM leases l JOIN sessions s ON s.id = l.session
		WHERE l.name = 'run/' || runs.id AND s.until > clock_timestamp())`

// Runs lists the runs that the filter chooses, newest first.
func (s *Store) Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error) {
	query, args, err := choose(f)
	if err != nil {
		return nil, err
	}
	return s.heads(ctx, query, args...)
}

// choose is the query of a filter. Every index ends in the id: the newest come
// first, and a page is all that is read.
func choose(f store.RunFilter) (query string, args []any, err error) {
	where := []string{"begun IS NOT NULL"}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	equal := func(column, value string) {
		if value != "" {
			where = append(where, column+" = "+arg(store.Clean(value)))
		}
	}
	if f.Change != "" { // so that the index of changes is that of the condition
		where = append(where, "change <> ''")
	}
	equal("change", f.Change)
	equal("origin_name", f.Origin)
	equal("repository", f.Repository)
	equal("root", f.Root)
	equal("actor", f.Actor)
	equal("verdict", string(f.Verdict))
	if strings.HasPrefix(f.Branch, "refs/") {
		equal("ref", f.Branch)
	} else {
		equal("branch", f.Branch)
	}
	if f.Unfinished {
		where = append(where, "verdict = ''")
	}
	if f.Before != "" {
		id, err := store.RunNumber(f.Before)
		if err != nil {
			return "", nil, err
		}
		where = append(where, "id < "+arg(id))
	}
	limit := f.Limit
	if limit <= 0 {
		limit = store.DefaultRuns
	}
	order := " ORDER BY id DESC LIMIT " + arg(limit)
	conditions := strings.Join(where, " AND ")
	if f.Pipeline == "" {
		return "SELECT " + headColumns + " FROM runs WHERE " + conditions + order, args, nil
	}
	// Three ways to name a pipeline: the newest by each, and of these the newest.
	var ways []string
	name := arg(store.Clean(f.Pipeline))
	for _, column := range []string{"file", "base", "name"} {
		ways = append(ways, "(SELECT id FROM runs WHERE "+column+" = "+name+" AND "+conditions+order+")")
	}
	return "SELECT " + headColumns + " FROM runs WHERE id IN (" + strings.Join(ways, " UNION ") + ")" + order, args, nil
}

// Head is one run as in a list; [store.ErrNotFound] when there is no such run.
func (s *Store) Head(ctx context.Context, id string) (store.RunHead, error) {
	n, err := store.RunNumber(id)
	if err != nil {
		return store.RunHead{}, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	heads, err := s.heads(ctx, "SELECT "+headColumns+" FROM runs WHERE begun IS NOT NULL AND id = $1", n)
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

func (s *Store) heads(ctx context.Context, query string, args ...any) ([]store.RunHead, error) {
	rows, err := s.reads.Query(ctx, query, args...)
	if err != nil {
		return nil, s.explain("read", err)
	}
	heads, err := pgx.AppendRows([]store.RunHead(nil), rows, func(row pgx.CollectableRow) (store.RunHead, error) {
		var h store.RunHead
		var id int64
		var started, ended *time.Time
		var origin, verdict string
		err := row.Scan(&id, &h.Number, &h.Attempt, &h.Of, &h.Repository, &h.Root, &h.File, &h.Name, &h.Event,
			&h.Ref, &h.Branch, &h.SHA, &h.Dirty, &h.Actor, &h.Begun,
			&started, &origin, &ended, &verdict, &h.Why, &h.Alive)
		if err != nil {
			return h, err
		}
		h.ID, h.Begun, h.Verdict = strconv.FormatInt(id, 10), h.Begun.UTC(), plan.Verdict(verdict)
		if started != nil {
			h.Started = started.UTC()
		}
		if ended != nil {
			h.Ended = ended.UTC()
		}
		h.Origin, h.ApprovedBy, err = store.ParseOrigin(origin)
		return h, err
	})
	return heads, s.explain("read", err)
}
