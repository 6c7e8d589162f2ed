package postgres_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

// TestAnswerLost cuts the connection at a COMMIT: before the server has read it, or
// before we have read what it says. Either way each event is there once.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	for name, deliver := range map[string]bool{"the question": false, "the answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := storetest.Postgres(t)
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			var cuts atomic.Int32
			q.Set("host", proxy(t, filepath.Join(q.Get("host"), ".s.PGSQL.5432"), deliver, &cuts))
			q.Set("default_query_exec_mode", "cache_describe") // which sends the text of each statement
			u.RawQuery = q.Encode()
			st := openURL(t, u.String())
			defer st.Close()
			const events = 12
			for n := range events {
				r := record.Register{Kind: "count", ID: "x", Version: int64(n), Body: []byte(strconv.Itoa(n))}
				out, err := st.Change(t.Context(), []record.Register{r}, storetest.Event("1", n))
				if err != nil {
					t.Fatalf("event %d: %v", n, err)
				}
				if out[0].Seq != int64(n+1) {
					t.Errorf("event %d has become %d", n, out[0].Seq)
				}
			}
			got := storetest.All(t, st, 0)
			for n, e := range got {
				if e.Step != strconv.Itoa(n) {
					t.Errorf("event %d is %s", e.Seq, e.Step)
				}
			}
			if len(got) != events || cuts.Load() == 0 {
				t.Errorf("%d events, want %d; %d connections were cut", len(got), events, cuts.Load())
			}
		})
	}
}

// proxy stands before a server, and cuts the connection at every third COMMIT. It returns
// the directory of its socket.
func proxy(t *testing.T, server string, deliver bool, cuts *atomic.Int32) string {
	t.Helper()
	if strings.HasPrefix(server, ".s.") {
		t.Skip("the server has no socket in the file system")
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var commits atomic.Int32
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", server)
			if err != nil {
				client.Close()
				continue
			}
			var cutting atomic.Bool
			go func() { // what the server says
				defer client.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := up.Read(buf)
					if err != nil || cutting.Load() {
						up.Close()
						return
					}
					if _, err := client.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
			go func() { // what the client says
				defer up.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := client.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("COMMIT\x00")) && commits.Add(1)%3 == 0 {
						cuts.Add(1)
						cutting.Store(true)
						if !deliver {
							return
						}
					}
					if _, err := up.Write(buf[:n]); err != nil {
						return
					}
					if cutting.Load() { // the server ends the connection's other half when it has answered
						_, _ = io.Copy(io.Discard, client)
						return
					}
				}
			}()
		}
	}()
	return dir
}
