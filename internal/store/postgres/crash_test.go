package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/postgres"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

// sql does something to the database behind the stores' backs.
func sql(t testing.TB, url, query string, args ...any) (n int64) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	tag, err := c.Exec(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}

// TestConnectionsCut ends the stores' connections at random instants while they
// write: callers see nothing of it, and nothing is lost or doubled.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	q := strings.SplitAfter(url, "search_path=")
	name := q[1] // of the schema, and of the connections
	url += "&application_name=" + name
	a, b := openURL(t, url), openURL(t, url)
	defer a.Close()
	defer b.Close()

	const writers, each = 16, 30
	var wg sync.WaitGroup
	var running atomic.Int32
	running.Store(writers)
	for w := range writers {
		wg.Go(func() {
			defer running.Add(-1)
			st := []*postgres.Store{a, b}[w%2]
			for n := range each {
				r := record.Register{Kind: "count", ID: strconv.Itoa(w), Version: int64(n), Body: []byte(strconv.Itoa(n))}
				if _, err := st.Change(t.Context(), []record.Register{r}, storetest.Event(strconv.Itoa(w+1), n)); err != nil {
					t.Errorf("writer %d, %d: %v", w, n, err)
					return
				}
			}
		})
	}
	killer, err := pgx.Connect(t.Context(), storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.Background())
	cuts := int64(0)
	for running.Load() > 0 {
		tag, err := killer.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, name)
		if err != nil {
			t.Fatal(err)
		}
		cuts += tag.RowsAffected()
		time.Sleep(rand.N(30 * time.Millisecond)) // the instant is random on purpose
	}
	wg.Wait()
	events := storetest.All(t, a, 0)
	if err := storetest.CheckLog(events); err != nil {
		t.Error(err)
	}
	next := map[string]int{}
	for _, e := range events {
		if e.Step != strconv.Itoa(next[e.Run]) {
			t.Fatalf("run %s: event %s in place of %d", e.Run, e.Step, next[e.Run])
		}
		next[e.Run]++
	}
	if len(events) != writers*each || events[0].Seq != 1 {
		t.Errorf("%d events from %d on, want %d from 1 on", len(events), events[0].Seq, writers*each)
	}
	if cuts == 0 {
		t.Error("no connection was cut")
	}
	t.Logf("%d connections cut", cuts)
}

// TestServerCrash kills the server under writers, and starts it again: what was
// acknowledged is there, and who waits is served.
func TestServerCrash(t *testing.T) {
	t.Parallel()
	storetest.Postgres(t) // skips where there is none
	server, err := storetest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	}()
	st := openURL(t, server.URL)
	defer st.Close()
	const writers = 8
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	var acked [writers]int
	progress, failed := make(chan struct{}, 1), make(chan struct{}, writers)
	await := func() {
		select {
		case <-progress:
		case <-failed: // which has been told
		}
	}
	for w := range writers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := st.Append(t.Context(), storetest.Event(strconv.Itoa(w+1), n)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					failed <- struct{}{}
					return
				}
				acked[w] = n + 1
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range 3 {
		for range 20 + rand.IntN(50) {
			if await(); t.Failed() {
				break
			}
		}
		end := server.Crash
		if i == 1 {
			end = server.Stop
		}
		if err := errors.Join(end(), server.Start()); err != nil {
			t.Error(err)
			break
		}
	}
	await()
	cancel()
	wg.Wait()
	events := storetest.All(t, st, 0)
	if err := storetest.CheckLog(events); err != nil {
		t.Error(err)
	}
	var count [writers]int
	for _, e := range events {
		w, _ := strconv.Atoi(e.Run)
		if e.Step != strconv.Itoa(count[w-1]) {
			t.Fatalf("run %s: event %s in place of %d", e.Run, e.Step, count[w-1])
		}
		count[w-1]++
	}
	if count != acked {
		t.Errorf("there are %v, acknowledged were %v", count, acked)
	}
}

const serverVar = "FAIRLEAD_POSTGRES_PART"

// TestServers is three processes on one database, which take what is to be done by
// leases and are killed in turn. Each piece of work is done to its end once.
func TestServers(t *testing.T) {
	if part := os.Getenv(serverVar); part != "" {
		serve(t, os.Getenv(urlVar), part)
		return
	}
	t.Parallel()
	url := storetest.Postgres(t)
	const work = 40
	start := func(i int) (*exec.Cmd, *bufio.Scanner) {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "-test.run=^TestServers$", "-test.count=1")
		cmd.Env = append(os.Environ(), fmt.Sprint(serverVar, "=", work), urlVar+"="+url)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		return cmd, bufio.NewScanner(out)
	}
	var servers [3]*exec.Cmd
	var outs [3]*bufio.Scanner
	for i := range servers {
		servers[i], outs[i] = start(i)
	}
	for kill := range 4 {
		i := kill % 3
		for range 2 + rand.IntN(8) { // let it get on
			outs[i].Scan()
		}
		_ = servers[i].Process.Kill()
		_ = servers[i].Wait()
		servers[i], outs[i] = start(i)
	}
	for i := range servers {
		for outs[i].Scan() { // to its end
		}
		if err := servers[i].Wait(); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
	}
	st := openURL(t, url)
	defer st.Close()
	events := storetest.All(t, st, 0)
	if err := storetest.CheckLog(events); err != nil {
		t.Error(err)
	}
	runs := map[string][]record.Event{}
	for _, e := range events {
		runs[e.Run] = append(runs[e.Run], e)
	}
	took := 0
	for i := range work {
		run := strconv.Itoa(i + 1)
		finished := 0
		var owner int
		for _, e := range runs[run] {
			switch b := e.Body.(type) {
			case *record.RunStarted:
				owner = b.PID
				took++
			case *record.StepStarted:
				if b.Name != strconv.Itoa(owner) {
					t.Errorf("run %s: event %d of process %s while process %d owned it", run, e.Seq, b.Name, owner)
				}
			case *record.RunFinished:
				finished++
			}
			if finished > 0 && e.Kind() != "run.finished" {
				t.Errorf("run %s: %s after its end", run, e.Kind())
			}
		}
		if finished != 1 {
			t.Errorf("run %s has finished %d times", run, finished)
		}
	}
	t.Logf("%d pieces of work were taken %d times", work, took)
}

const urlVar = "FAIRLEAD_POSTGRES_URL"

// serve does work until there is none.
func serve(t *testing.T, url, part string) {
	work, err := strconv.Atoi(part)
	if err != nil {
		t.Fatal(err)
	}
	st := openURL(t, url)
	defer st.Close()
	me := os.Getpid()
	for {
		left := 0
		for i := range work {
			run := strconv.Itoa(i + 1)
			lease, err := st.Lease(t.Context(), store.RunLease(run), strconv.Itoa(me))
			var held *store.HeldError
			if errors.As(err, &held) {
				left++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := st.Run(t.Context(), run)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			if err != nil || r.Verdict == "" {
				body := []record.Body{&record.RunStarted{PID: me}, &record.StepStarted{Name: strconv.Itoa(me)}, &record.StepStarted{Name: strconv.Itoa(me)}, &record.RunFinished{Verdict: "success"}}
				for _, b := range body {
					if _, err := st.Append(t.Context(), record.Event{Run: run, Body: b}); err != nil {
						t.Fatal(err)
					}
					fmt.Println("on")
					time.Sleep(5 * time.Millisecond) // work
				}
			}
			if err := lease.Release(); err != nil {
				t.Fatal(err)
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestLost takes a store's session away, as happens to a process that slept: it
// is told, what it does to its run is refused, and it may begin anew.
func TestLost(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	a, b := openURL(t, url), openURL(t, url)
	defer a.Close()
	defer b.Close()
	lease, err := a.Lease(t.Context(), "run/1", "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.Lease(t.Context(), "other", "a")
	if err != nil {
		t.Fatal(err)
	}
	append1 := func(st *postgres.Store) error {
		_, err := st.Append(t.Context(), storetest.Event("1", 1))
		return err
	}
	if err := append1(a); err != nil {
		t.Fatal(err)
	}
	if n := sql(t, url, "UPDATE sessions SET until = clock_timestamp() - interval '1 second'"); n != 1 {
		t.Fatalf("%d sessions", n)
	}
	second, err := b.Lease(t.Context(), "run/1", "b")
	if err != nil {
		t.Fatalf("the lease of a process that is out of its time: %v", err)
	}
	// It may not know yet. The record does.
	var lost *postgres.LostError
	if err := append1(a); !errors.As(err, &lost) {
		t.Errorf("append to a run that is another's: %v", err)
	}
	<-lease.Lost()
	<-other.Lost()
	if _, err := a.Append(t.Context(), storetest.Event("2", 1)); err != nil {
		t.Errorf("append to another run: %v", err)
	}
	if err := append1(b); err != nil {
		t.Errorf("append by the new owner: %v", err)
	}
	if err := errors.Join(lease.Release(), lease.Release()); err != nil {
		t.Error(err)
	}
	if holder, held, err := a.Held(t.Context(), "run/1"); !held || holder != "b" || err != nil {
		t.Errorf("after the release by who lost it: %q, %v, %v", holder, held, err)
	}
	select {
	case <-second.Lost():
		t.Error("the new owner's lease is lost too")
	default:
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
	again, err := a.Lease(t.Context(), "run/1", "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(append1(a), again.Release()); err != nil {
		t.Error(err)
	}
}

// TestLasts checks that a lease is prolonged, and that it is given up in time when the
// database is away.
func TestLasts(t *testing.T) {
	t.Parallel()
	storetest.Postgres(t) // skips where there is none
	server, err := storetest.StartPostgres("-c", "fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	}()
	st, err := postgres.Open(t.Context(), server.URL, postgres.Options{LeaseTime: leaseTime})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	lease, err := st.Lease(t.Context(), "x", "me")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Lost():
		t.Fatal("lost, with the database at hand")
	case <-time.After(leaseTime * 3 / 2): // to see it outlive its first time
	}
	if _, held, err := st.Held(t.Context(), "x"); !held || err != nil {
		t.Errorf("held: %v, %v", held, err)
	}
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	<-lease.Lost()
	if err := lease.Release(); err != nil { // waits for no database
		t.Error(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		lease, err := st.Lease(t.Context(), "x", "me again")
		var held *store.HeldError
		if errors.As(err, &held) { // by who we were
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Release(); err != nil {
			t.Error(err)
		}
		return
	}
}
