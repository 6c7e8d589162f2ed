package postgres_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/postgres"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// leaseTime is short, since tests kill and wait, and not so short that a process which
// gets little of a busy machine is taken for dead.
const leaseTime = 3 * time.Second

// openDir opens a store for each directory of the suite: a schema of that name.
func openDir(t *testing.T, dir string) store.Store {
	t.Helper()
	sum := sha256.Sum256([]byte(dir))
	return openURL(t, storetest.PostgresSchema(t, "d_"+hex.EncodeToString(sum[:8])))
}

func openURL(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, postgres.Options{LeaseTime: leaseTime})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Postgres(t) // before there are child processes, which share it
	storetest.Run(t, openDir)
}

func BenchmarkStore(b *testing.B) {
	next := durable(b)
	storetest.Bench(b, func(b *testing.B) storetest.Lists { return next(b) })
}

func BenchmarkLedger(b *testing.B) {
	next := durable(b)
	storetest.BenchLedger(b, func(b *testing.B) suite.Ledger { return next(b) })
}

// durable opens stores of their own in a server that is durable, unlike that of the tests.
func durable(b *testing.B) func(b *testing.B) *postgres.Store {
	storetest.Postgres(b) // skips where there is none
	server, err := storetest.StartPostgres()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Remove(); err != nil {
			b.Error(err)
		}
	})
	n := 0
	return func(b *testing.B) *postgres.Store {
		n++
		s := openURL(b, server.URL+"&search_path=b"+strconv.Itoa(n))
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	}
}
