package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

func register(kind, id string, version int64, body string) record.Register {
	r := record.Register{Kind: kind, ID: id, Version: version}
	if body != "" {
		r.Body = json.RawMessage(body)
	}
	return r
}

func change(t *testing.T, st store.Registers, changes ...record.Register) {
	t.Helper()
	if _, err := st.Change(t.Context(), changes); err != nil {
		t.Fatalf("change: %v", err)
	}
}

// look reads a register and says it as "version body".
func look(t *testing.T, st store.Registers, kind, id string) string {
	t.Helper()
	r, err := st.Register(t.Context(), kind, id)
	if err != nil {
		t.Fatalf("register %s %s: %v", kind, id, err)
	}
	if r.Kind != kind || r.ID != id {
		t.Fatalf("register %s %s: got %s %s", kind, id, r.Kind, r.ID)
	}
	return fmt.Sprint(r.Version, " ", string(r.Body))
}

func testRegisters(t *testing.T, s conformance) {
	st, other := s.store(t), s.store(t)
	if got := look(t, st, "account", "ann"); got != "0 " {
		t.Errorf("a register that is not there: %s", got)
	}
	before := time.Now().Add(-time.Second)
	change(t, st, register("account", "ann", 0, `{"a": 1}`), register("account", "bob", 0, `null`))
	change(t, other, register("account", "ann", 1, `"two"`))
	for _, reader := range []store.Store{st, other} {
		if got := look(t, reader, "account", "ann") + ", " + look(t, reader, "account", "bob"); got != `2 "two", 1 null` {
			t.Errorf("got %s", got)
		}
	}
	r, err := st.Register(t.Context(), "account", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if r.Changed.Before(before) || r.Changed.After(time.Now().Add(time.Second)) || r.Changed.Location() != time.UTC || !r.Expires.IsZero() {
		t.Errorf("changed %v, expires %v", r.Changed, r.Expires)
	}

	// Each of these versions is not that of the register.
	for _, wrong := range []record.Register{
		register("account", "ann", 0, `1`), register("account", "ann", 1, `1`), register("account", "ann", 3, `1`),
		register("account", "ann", 1, ""), register("account", "eve", 1, `1`), register("account", "eve", 1, ""),
	} {
		if _, err := st.Change(t.Context(), []record.Register{wrong}); !errors.Is(err, record.ErrConflict) {
			t.Errorf("%s, version %d: %v", wrong.ID, wrong.Version, err)
		}
	}

	// Removed, it begins anew.
	change(t, st, register("account", "ann", 2, ""))
	if got := look(t, st, "account", "ann"); got != "0 " {
		t.Errorf("removed: %s", got)
	}
	change(t, st, register("account", "ann", 0, `3`), register("account", "nobody", 0, ""))
	if got := look(t, st, "account", "ann") + look(t, st, "account", "nobody"); got != "1 30 " {
		t.Errorf("made again: %s", got)
	}
}

func testRegisterNames(t *testing.T, s conformance) {
	st := s.store(t)
	// In the order of bytes.
	ids := []string{"A", "a", "a%2Fb/1", "a%2Fb/2", "a%2Fc/1", "a/b", "a_b", "aXb", "a\xc3\xa9", "a\uE000", "a\U0001F600", "a\U0010FFFFz", "b", "über"}
	ids[5], ids[6], ids[7] = "a/b", "aXb", "a_b"
	for i := len(ids) - 1; i >= 0; i-- {
		change(t, st, register("secret", ids[i], 0, strconv.Itoa(i)), register("secret ", ids[i], 0, `"of another kind"`))
	}
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"", ids},
		{"a", ids[1:12]},
		{"a%2Fb/", ids[2:4]},
		{"a%", ids[2:5]},
		{"a_", ids[7:8]},
		{"a_b", ids[7:8]},
		{"a_bc", nil},
		{"a\xc3", nil},
		{"a\x00", nil},
		{"a\uE000", ids[9:10]},
		{"a\uD7FF", nil},
		{"a\U0010FFFF", ids[11:12]},
		{"z", nil},
	} {
		list, err := st.Registers(t.Context(), "secret", c.prefix)
		if err != nil {
			t.Errorf("%q: %v", c.prefix, err)
		}
		var got []string
		for _, r := range list {
			got = append(got, r.ID)
			if r.Kind != "secret" || r.Version != 1 || string(r.Body) == `"of another kind"` {
				t.Errorf("%q: %+v", c.prefix, r)
			}
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.prefix, got, c.want)
		}
	}
	if got := look(t, st, "secret", "a\x00\xff"); got != "0 " {
		t.Errorf("a name that is no text: %s", got)
	}
}

func testExpiry(t *testing.T, s conformance) {
	st := s.store(t)
	expiring := func(id string, version int64, in time.Duration) record.Register {
		r := register("session", id, version, `1`)
		r.Expires = time.Now().Add(in)
		return r
	}
	change(t, st, expiring("over", 0, -time.Second), expiring("lasts", 0, time.Hour))
	if got := look(t, st, "session", "over"); got != "0 " {
		t.Errorf("expired: %s", got)
	}
	list, err := st.Registers(t.Context(), "session", "")
	if err != nil || len(list) != 1 || list[0].ID != "lasts" {
		t.Errorf("list: %+v, %v", list, err)
	}
	r, err := st.Register(t.Context(), "session", "lasts")
	if left := time.Until(r.Expires); err != nil || left < 50*time.Minute || left > time.Hour || r.Expires.Location() != time.UTC {
		t.Errorf("expires %v, %v", r.Expires, err)
	}
	// As if it were not there.
	if _, err := st.Change(t.Context(), []record.Register{expiring("over", 1, time.Hour)}); !errors.Is(err, record.ErrConflict) {
		t.Errorf("change of an expired register: %v", err)
	}
	change(t, st, expiring("over", 0, time.Hour))
	if got := look(t, st, "session", "over"); got != "1 1" {
		t.Errorf("made again: %s", got)
	}
	// What does not expire any more.
	change(t, st, register("session", "over", 1, `2`))
	if r, err := st.Register(t.Context(), "session", "over"); err != nil || !r.Expires.IsZero() || r.Version != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// testChanges checks that registers and events are written together or not at
// all, and that those who share a transaction with a conflict do not suffer.
func testChanges(t *testing.T, s conformance) {
	st := s.store(t)
	out, err := st.Change(t.Context(), []record.Register{register("a", "1", 0, `1`)}, Event("1", 0), Event("1", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := All(t, st, 0); !reflect.DeepEqual(got, out) || len(got) != 2 {
		t.Errorf("returned %+v, read %+v", out, got)
	}
	out, err = st.Change(t.Context(), []record.Register{register("b", "1", 0, `1`), register("a", "1", 0, `2`), register("c", "1", 0, `1`)}, Event("1", 2))
	if !errors.Is(err, record.ErrConflict) || out != nil || !strings.Contains(err.Error(), "a 1") {
		t.Errorf("conflict: %+v, %v", out, err)
	}
	if got := look(t, st, "a", "1") + look(t, st, "b", "1") + look(t, st, "c", "1"); got != "1 10 0 " {
		t.Errorf("after the conflict: %s", got)
	}
	if got := All(t, st, 2); len(got) != 0 {
		t.Errorf("events of a change that was refused: %+v", got)
	}
	if out, err := st.Change(t.Context(), nil, Event("1", 2)); err != nil || out[0].Seq != 3 {
		t.Errorf("a change of nothing: %+v, %v", out, err)
	}
	if out, err := st.Change(t.Context(), nil); err != nil || out != nil {
		t.Errorf("nothing at all: %+v, %v", out, err)
	}

	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for n := range 20 {
				_, err := st.Change(t.Context(), []record.Register{register("w", fmt.Sprint(w, "/", n), int64(w%2), `1`)}, Event(strconv.Itoa(w+2), n))
				if want := w%2 == 1; errors.Is(err, record.ErrConflict) != want || err != nil != want {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	events := All(t, st, 3)
	list, err := st.Registers(t.Context(), "w", "")
	if err != nil || len(list) != 16*20 || len(events) != 16*20 {
		t.Errorf("%d registers and %d events, %v; want 320 of each", len(list), len(events), err)
	}
	if err := CheckLog(events); err != nil {
		t.Error(err)
	}
}

// testOnce has many make the same register: one does, with its event.
func testOnce(t *testing.T, s conformance) {
	a, b := s.store(t), s.store(t)
	const names, callers = 20, 24
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]string{}
	for w := range callers {
		wg.Go(func() {
			for n := range names {
				id, body := strconv.Itoa(n), strconv.Itoa(w)
				_, err := []store.Store{a, b}[w%2].Change(t.Context(), []record.Register{register("once", id, 0, body)}, Event(strconv.Itoa(n+1), w))
				switch {
				case errors.Is(err, record.ErrConflict):
				case err != nil:
					t.Errorf("change: %v", err)
				default:
					mu.Lock()
					if won[id] != "" {
						t.Errorf("%s was made by %s and by %s", id, won[id], body)
					}
					won[id] = body
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for n := range names {
		id := strconv.Itoa(n)
		if got := look(t, a, "once", id); got != "1 "+won[id] || won[id] == "" {
			t.Errorf("%s: got %s, made by %q", id, got, won[id])
		}
	}
	events := All(t, b, 0)
	if len(events) != names {
		t.Errorf("%d events, want %d", len(events), names)
	}
	for _, e := range events {
		n, _ := strconv.Atoi(e.Run)
		if won[strconv.Itoa(n-1)] != e.Step {
			t.Errorf("event of a loser: %+v", e)
		}
	}
}

// testCounting has many count in one register: no count is lost.
func testCounting(t *testing.T, s conformance) {
	a, b := s.store(t), s.store(t)
	const callers, each = 8, 15
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			st := []store.Store{a, b}[w%2]
			for done := 0; done < each; {
				r, err := st.Register(t.Context(), "count", "x")
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(r.Body))
				r.Body = json.RawMessage(strconv.Itoa(n + 1))
				switch _, err = st.Change(t.Context(), []record.Register{r}); {
				case err == nil:
					done++
				case !errors.Is(err, record.ErrConflict):
					t.Errorf("change: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, want := look(t, a, "count", "x"), fmt.Sprint(callers*each, " ", callers*each); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func testRefusedChanges(t *testing.T, s conformance) {
	st := s.store(t)
	for name, changes := range map[string][]record.Register{
		"no kind":        {register("", "x", 0, `1`)},
		"no ID":          {register("x", "", 0, `1`)},
		"long":           {register("x", strings.Repeat("x", 2000), 0, `1`)},
		"no text":        {register("x", "a\xff", 0, `1`)},
		"NUL":            {register("x", "a\x00", 0, `1`)},
		"negative":       {register("x", "x", -1, `1`)},
		"no JSON":        {register("x", "x", 0, `{`)},
		"empty":          {{Kind: "x", ID: "x", Body: json.RawMessage{}}},
		"twice":          {register("x", "x", 0, `1`), register("x", "x", 0, `2`)},
		"large":          {register("x", "x", 0, `"`+strings.Repeat("x", 5<<20)+`"`)},
		"no UTF-8":       {register("x", "x", 0, "\"\xff\"")},
		"one of several": {register("x", "x", 0, `1`), register("x", "y", 0, `nonsense`)},
	} {
		if _, err := st.Change(t.Context(), changes, Event("1", 1)); err == nil || errors.Is(err, record.ErrConflict) || len(err.Error()) > 4000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := st.Change(t.Context(), []record.Register{register("x", "x", 0, `1`)}, record.Event{Run: "no run", Body: &record.JobQueued{}}); err == nil {
		t.Error("an event of a run that cannot be was taken")
	}
	if list, err := st.Registers(t.Context(), "x", ""); err != nil || len(list) != 0 || len(All(t, st, 0)) != 0 {
		t.Errorf("refused changes left %+v, %v", list, err)
	}
	change(t, st, register("x", "x", 0, `"\u0000 ü \ud83d\ude00"`))
	if got := look(t, st, "x", "x"); got != `1 "\u0000 ü \ud83d\ude00"` {
		t.Errorf("got %s", got)
	}
}
