package postgres

import (
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

// raw is a store that is not open, and a connection for it.
func raw(t *testing.T, address string) (*Store, *pgx.Conn) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{where: where(config), config: config}
	c, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(c) })
	return s, c
}

// TestMigrations brings databases of every earlier schema up to date, with what
// was written in them, and one more step than there is yet.
func TestMigrations(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for k := range len(files) + 1 {
		address := storetest.Postgres(t)
		s, c := raw(t, address)
		some := fstest.MapFS{}
		for _, name := range files[:k] {
			text, err := fs.ReadFile(migrations(), name)
			if err != nil {
				t.Fatal(err)
			}
			some[name] = &fstest.MapFile{Data: text}
		}
		if err := s.prepare(t.Context(), c, some); err != nil {
			t.Fatalf("the first %d: %v", k, err)
		}
		if k > 0 { // the record has been there since the first
			for _, query := range []string{
				`INSERT INTO events (seq, time, run, job, step, kind, body) VALUES (1, now(), NULL, 'j', '', 'job.queued', '{}')`,
				`UPDATE head SET seq = 1`,
				`INSERT INTO marks VALUES ('r', 1)`,
			} {
				if _, err := c.Exec(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
		}
		st, err := Open(t.Context(), address, Options{})
		if err != nil {
			t.Fatalf("from %d: %v", k, err)
		}
		out, err := st.Append(t.Context(), storetest.Event("1", 1))
		if want := int64(min(k, 1) + 1); err != nil || out[0].Seq != want {
			t.Errorf("from %d: appended %+v, %v", k, out, err)
		}
		if events := storetest.All(t, st, 0); len(events) != min(k, 1)+1 {
			t.Errorf("from %d: %d events", k, len(events))
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMigrationSteps checks the machinery with steps of its own: many at once, a
// step that fails, a schema from the future.
func TestMigrationSteps(t *testing.T) {
	t.Parallel()
	address := storetest.Postgres(t)
	step := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	steps := fstest.MapFS{"0001_a.sql": step("CREATE TABLE a (x int)")}
	prepare := func() error {
		s, c := raw(t, address)
		return s.prepare(t.Context(), c, steps)
	}
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
	steps["0002_b.sql"] = step("INSERT INTO a VALUES (1); SELECT no_such_function()")
	if err := prepare(); err == nil || !strings.Contains(err.Error(), "0002_b") {
		t.Errorf("a step that fails: %v", err)
	}
	steps["0002_b.sql"] = step("INSERT INTO a VALUES (2)")
	steps["0003_c.sql"] = step("ALTER TABLE a ADD COLUMN y int NOT NULL DEFAULT 7")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := prepare(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, c := raw(t, address)
	var n, x, y int
	if err := c.QueryRow(t.Context(), "SELECT count(*), min(x), min(y) FROM a").Scan(&n, &x, &y); err != nil || n != 1 || x != 2 || y != 7 {
		t.Errorf("%d rows, x %d, y %d, %v", n, x, y, err)
	}
	delete(steps, "0003_c.sql")
	if err := prepare(); err == nil || !strings.Contains(err.Error(), "newer Fairlead (schema 3; this one knows 2)") {
		t.Errorf("a schema from the future: %v", err)
	}
}

// TestBadURLs checks that whoever gave a wrong URL reads what is wrong and what to
// do, and nobody reads the password.
func TestBadURLs(t *testing.T) {
	t.Parallel()
	good := storetest.Postgres(t)
	set := func(key, value string) string {
		u, err := url.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(key, value)
		u.RawQuery, u.User = q.Encode(), url.UserPassword("fairlead", "sesame")
		return u.String()
	}
	foreign := storetest.Postgres(t)
	_, c := raw(t, foreign)
	schema, err := url.Parse(foreign)
	if err != nil {
		t.Fatal(err)
	}
	name := schema.Query().Get("search_path")
	for _, query := range []string{"CREATE SCHEMA " + name, "CREATE TABLE events (theirs int)", "CREATE SCHEMA of_another", "CREATE ROLE guest LOGIN"} {
		if _, err := c.Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	other, err := url.Parse(set("search_path", "not_there"))
	if err != nil {
		t.Fatal(err)
	}
	other.Path = "/no_such_database"
	guest, err := url.Parse(set("search_path", "not_there"))
	if err != nil {
		t.Fatal(err)
	}
	guest.User = url.UserPassword("guest", "sesame")
	for what, c := range map[string]struct {
		url  string
		want []string
	}{
		"no URL":              {"postgres://ann:sesame@[::1/x", []string{"cannot be read", "postgres://USER"}},
		"a bad port":          {"postgres://ann:sesame@h:port/x", []string{"cannot be read"}},
		"no such socket":      {set("host", "/no/such/dir"), []string{"/no/such/dir:5432", "whether PostgreSQL runs there"}},
		"nobody listens":      {set("host", "127.0.0.1") + "&port=1", []string{"127.0.0.1:1", "whether PostgreSQL runs there"}},
		"no such database":    {other.String(), []string{"no_such_database", "createdb"}},
		"may not":             {guest.String(), []string{"permission denied", "let it own"}},
		"another's tables":    {foreign, []string{"another program's tables", "?search_path=fairlead"}},
		"an empty path":       {set("search_path", `""`), []string{"no schema", "?search_path=fairlead"}},
		"a parameter unknown": {set("no_such_parameter", "1"), []string{"no_such_parameter"}},
	} {
		st, err := Open(t.Context(), c.url, Options{})
		if err == nil {
			st.Close()
			t.Errorf("%s: opened", what)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", what, want, err)
			}
		}
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: the error says the password: %v", what, err)
		}
	}
}

// TestShared checks that one caller's failure is its own, though it shared a
// transaction with others.
func TestShared(t *testing.T) {
	t.Parallel()
	st, err := Open(t.Context(), storetest.Postgres(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	far := storetest.Event("1", 0)
	rows, err := st.codec.EncodeAll([]record.Event{far, far, far, far})
	if err != nil {
		t.Fatal(err)
	}
	rows[1].Text = "no text \xff" // which the server refuses
	var ops []*operation
	for i := range rows {
		ops = append(ops, &operation{ctx: t.Context(), events: []record.Event{far}, rows: rows[i : i+1], done: make(chan struct{})})
	}
	ops[3].state.Store(withdrawn)
	st.writer.mu.Lock()
	st.writer.waiting = append(st.writer.waiting, ops...)
	st.writer.mu.Unlock()
	st.writer.poke()
	for i, op := range ops[:3] {
		<-op.done
		if failed := op.err != nil; failed != (i == 1) {
			t.Errorf("operation %d: %v", i, op.err)
		}
	}
	if events := storetest.All(t, st, 0); len(events) != 2 {
		t.Errorf("%d events, want 2", len(events))
	}
}

// TestQuiet checks that the index of kinds is that which queries ask for.
func TestQuiet(t *testing.T) {
	t.Parallel()
	address := storetest.Postgres(t)
	st, err := Open(t.Context(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_, c := raw(t, address)
	if _, err := c.Exec(t.Context(), "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	query, args, err := chooseEvents(store.EventFilter{Kinds: []record.Kind{"acted", "effect.done"}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := c.Query(t.Context(), "EXPLAIN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if text := strings.Join(lines, "\n"); err != nil || strings.Count(text, "using events_by_kind") != 2 {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestSweep checks that what has had its time does not stay for good.
func TestSweep(t *testing.T) {
	t.Parallel()
	address := storetest.Postgres(t)
	st, err := Open(t.Context(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"x", "y"} {
		r := record.Register{Kind: "session", ID: id, Body: []byte("1"), Expires: time.Now().Add(-time.Second)}
		if _, err := st.Change(t.Context(), []record.Register{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_, c := raw(t, address)
	var left string // the first change has swept, and the second need not
	err = c.QueryRow(t.Context(), `SELECT string_agg(id, ',') || (SELECT count(*) FROM writers) || (SELECT count(*) FROM sessions) FROM registers`).Scan(&left)
	if err != nil || left != "y00" {
		t.Errorf("%q are left, %v", left, err)
	}
}
