package access

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// trailTest is a trail over a store in memory.
type trailTest struct {
	*Trail
	store *memory
	key   *Key
	t     *testing.T
}

func newTrailTest(t *testing.T) *trailTest {
	t.Helper()
	key, err := OpenKey(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	return &trailTest{NewTrail(m, m, key), m, key, t}
}

// happen appends n events, every second an act, and every tenth one of a run.
func (tt *trailTest) happen(n int) {
	tt.t.Helper()
	for range n {
		var e record.Event
		tt.store.mu.Lock()
		i := len(tt.store.events)
		tt.store.mu.Unlock()
		switch {
		case i%10 == 0:
			e = record.Event{Run: "7", Body: &record.RunApproved{By: "ada", Why: fmt.Sprint("because ", i)}}
		case i%2 == 0:
			e.Body = &record.Acted{By: "ada", Via: "session", Verb: "secrets.set", Object: fmt.Sprint("secret ", i)}
		default:
			e.Body = &record.WorkerSeen{Worker: fmt.Sprint(i), State: "joined"}
		}
		if _, err := tt.store.Change(tt.t.Context(), nil, e); err != nil {
			tt.t.Fatal(err)
		}
	}
}

func (tt *trailTest) checkpoint() []byte {
	tt.t.Helper()
	c, err := tt.Checkpoint(tt.t.Context())
	if err != nil {
		tt.t.Fatal(err)
	}
	return c
}

// verify verifies a store against a checkpoint; nil: its own.
func (tt *trailTest) verify(m *memory, checkpoint []byte) (Verified, error) {
	return Verify(tt.t.Context(), Evidence{Log: m, Registers: m, Checkpoint: checkpoint, Keys: tt.key.Public()})
}

func TestTrail(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	var checkpoints [][]byte
	for _, n := range []int{0, 1, 1, 3, 500, 12, 1, 600, 3000} {
		tt.happen(n)
		checkpoints = append(checkpoints, tt.checkpoint())
	}
	if last, err := tt.key.Last(); err != nil || !bytes.Equal(last, checkpoints[len(checkpoints)-1]) {
		t.Errorf("%s %v", last, err)
	}
	for i, c := range checkpoints {
		v, err := tt.verify(tt.store, c)
		if err != nil {
			t.Fatalf("checkpoint %d: %v", i, err)
		}
		if v.Own || v.Later != v.Acts-v.Checkpoint.Size || v.Acts != int64(len(tt.store.acts(t))) {
			t.Errorf("%+v", v)
		}
		// The record alone is enough.
		if _, err := Verify(t.Context(), Evidence{Log: tt.store, Checkpoint: c, Keys: tt.key.Public()}); err != nil {
			t.Error(err)
		}
	}
	v, err := tt.verify(tt.store, nil)
	if err != nil || !v.Own || v.Later != 0 || v.Checkpoint.Seq == 0 || v.Checkpoint.Time.IsZero() {
		t.Errorf("%+v %v", v, err)
	}
	// What the tree is, computed from the definition.
	var hashes []tlog.Hash
	for e := range tt.store.After(t.Context(), 0) {
		leaf, err := Leaf(e)
		if err != nil {
			t.Fatal(err)
		}
		if leaf != nil {
			hashes = append(hashes, tlog.RecordHash(leaf))
		}
	}
	if root := slowRoot(hashes); root != v.Checkpoint.Root || int64(len(hashes)) != v.Checkpoint.Size {
		t.Errorf("the root is %v, not %v", v.Checkpoint.Root, root)
	}
	// Nothing is left to do, and nothing is done.
	changes := tt.store.changes
	if n, err := tt.Advance(t.Context()); n != 0 || err != nil || tt.store.changes != changes {
		t.Errorf("%d more, %v", n, err)
	}
}

// slowRoot is the definition of RFC 6962, section 2.1.
func slowRoot(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return tlog.NodeHash(slowRoot(leaves[:k]), slowRoot(leaves[k:]))
}

// TestTreeOfManyTiles grows a tree beyond a full tile of hashes of tiles, by
// hashes alone: so many events would take long.
func TestTreeOfManyTiles(t *testing.T) {
	t.Parallel()
	m := newMemory()
	var s state
	var hashes []tlog.Hash
	for n := range 5 {
		var leaves []leaf
		for range 13_500 + n {
			h := tlog.RecordHash(fmt.Append(nil, len(hashes)))
			hashes = append(hashes, h)
			leaves = append(leaves, leaf{seq: int64(2 * len(hashes)), hash: h})
		}
		tree := newTree(t.Context(), m, s)
		now, whole, changes, err := tree.grow(leaves)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Change(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if s = now; s.Size != int64(len(hashes)) || s.Root != slowRoot(hashes) {
			t.Fatalf("the root at %d is wrong", s.Size)
		}
		for _, c := range whole {
			if c.Size%tileWidth != 0 || c.Size%(20*tileWidth) == 0 && c.Root != slowRoot(hashes[:c.Size]) {
				t.Errorf("the checkpoint at %d is wrong", c.Size)
			}
		}
	}
	if s.Size < tileWidth*tileWidth {
		t.Fatalf("%d leaves are too few", s.Size)
	}
	tree := newTree(t.Context(), m, s)
	for _, i := range []int64{0, 255, 256, 65_535, 65_536, s.Size - 1} {
		if at, err := tree.find(2 * (i + 1)); at != i || err != nil {
			t.Errorf("leaf %d is found at %d, %v", i, at, err)
		}
		proof, err := tlog.ProveRecord(s.Size, i, tree)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, s.Size, s.Root, i, hashes[i]); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	proof, err := tlog.ProveTree(s.Size, 20_000, tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, s.Size, s.Root, 20_000, slowRoot(hashes[:20_000])); err != nil {
		t.Error(err)
	}
}

// TestTrailFindsMutations does to a database all that somebody with a SQL
// prompt might, and looks at what verifying says.
func TestTrailFindsMutations(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	tt.happen(400)
	early := tt.store.copy()
	mid := tt.checkpoint()
	tt.happen(2400) // 1400 acts: two full batches of tiles and more
	end := tt.checkpoint()
	act := func(m *memory, seq int64) *row { return &m.events[seq-1] }
	remove := func(m *memory, from, to int64) { m.events = slices.Delete(m.events, int(from-1), int(to)) }
	const bad = 1001 // an act: 1000 is even
	for name, test := range map[string]struct {
		mutate func(m *memory)
		event  int64  // that is named; 0: none
		says   string // in the error
	}{
		"nothing":                {func(m *memory) {}, 0, ""},
		"other events":           {func(m *memory) { act(m, 1000).body = `{"worker":"x","state":"left"}` }, 0, ""},
		"alter who":              {func(m *memory) { r := act(m, bad); r.body = strings.Replace(r.body, "ada", "bob", 1) }, bad, "event 1001 was altered"},
		"alter what":             {func(m *memory) { r := act(m, 1003); r.body = strings.Replace(r.body, "secret 1002", "secret 1", 1) }, 1003, "event 1003 was altered"},
		"alter when":             {func(m *memory) { r := act(m, bad); r.time = r.time.Add(time.Microsecond) }, bad, "altered"},
		"alter which run":        {func(m *memory) { act(m, bad).run = "8" }, bad, "altered"},
		"add a word":             {func(m *memory) { r := act(m, 1003); r.body = strings.Replace(r.body, "{", `{"detail":{"a":"b"},`, 1) }, 1003, "altered"},
		"change the kind":        {func(m *memory) { act(m, bad).kind = "worker.seen" }, bad, "event 1001 is missing"},
		"make it unreadable":     {func(m *memory) { act(m, bad).body = "{" }, bad, "event 1001 is missing"},
		"an unknown kind":        {func(m *memory) { act(m, bad).kind = "x" }, bad, "event 1001 is missing"},
		"make an act of another": {func(m *memory) { r := act(m, 1000); r.kind, r.body = "acted", "{}" }, 1000, "event 1000 was not there"},
		"alter the first":        {func(m *memory) { act(m, 1).body = "{}" }, 1, "event 1 was altered"},
		"delete one":             {func(m *memory) { remove(m, bad, bad) }, bad, "event 1001 is missing"},
		"delete the first":       {func(m *memory) { remove(m, 1, 1) }, 1, "event 1 is missing"},
		"delete and renumber":    {func(m *memory) { remove(m, bad, bad); renumber(m) }, 1000, ""}, // 1002, no act, is 1001 now; see below
		"delete many":            {func(m *memory) { remove(m, bad, 2000) }, bad, "event 1001 is missing"},
		"delete the last":        {func(m *memory) { remove(m, 2799, 2800) }, 2799, "event 2799 is missing, and so is what came after"},
		"delete all":             {func(m *memory) { m.events = nil }, 1, "event 1 is missing"},
		"swap": {func(m *memory) {
			a, b := act(m, bad), act(m, 1003)
			a.body, b.body = b.body, a.body
			a.run, b.run = b.run, a.run
			a.kind, b.kind = b.kind, a.kind
		}, bad, "event 1001 was altered"},
		"put in at the end": {func(m *memory) { m.events = append(m.events, row{2801, time.Now(), "", "", "acted", "{}"}) }, 0, ""}, // after the checkpoint
		"put in before": {func(m *memory) {
			r := *act(m, bad)
			r.seq, r.body = 1000, `{"by":"eve"}`
			m.events[999] = r
		}, 1000, "put in afterwards"},
		"empty the hashes":   {func(m *memory) { each(m, "tile/0/", nil) }, 0, "the hashes that the database keeps of them are not"},
		"alter a hash":       {func(m *memory) { flip(m, tileName(0, 1)) }, 513, "the hashes that the database keeps of them are not"},
		"forget the state":   {func(m *memory) { delete(m.registers, [2]string{kindAudit, "state"}) }, 0, ""}, // nothing of it is needed
		"an older copy":      {func(m *memory) { *m = memory{registers: early.registers, events: early.events} }, 0, "1400 acts were signed, and the record holds 200"},
		"alter and forget":   {func(m *memory) { act(m, bad).body = "{}"; forget(m) }, 0, "an event up to 2799 was altered"},
		"alter, rehash":      {func(m *memory) { act(m, bad).body = "{}"; tt.rehash(m, false) }, 0, "an event from "},
		"alter, rehash, own": {func(m *memory) { act(m, bad).body = "{}"; tt.rehash(m, true) }, 0, "an event up to 2799 was altered"},
		"delete, rehash":     {func(m *memory) { remove(m, bad, bad); tt.rehash(m, false) }, 0, "an event from "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := tt.store.copy()
			test.mutate(m)
			_, err := tt.verify(m, end)
			if test.says == "" && test.event == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var tampered *TamperedError
			if !errors.As(err, &tampered) {
				t.Fatalf("verifying says %v", err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("it says: %v", err)
			}
			if name == "delete and renumber" {
				if tampered.From > bad+1 {
					t.Errorf("it names event %d", tampered.From)
				}
				return
			}
			if test.event != 0 && (tampered.From != test.event || tampered.To != test.event) {
				t.Errorf("it names events %d to %d: %v", tampered.From, tampered.To, err)
			}
			if strings.HasPrefix(test.says, "an event from") && (tampered.From > bad || tampered.To < bad || tampered.To-tampered.From > 2*tileWidth) {
				t.Errorf("event %d is not between %d and %d", bad, tampered.From, tampered.To)
			}
			// The record before it is as sound as it was.
			if test.event > 400 || strings.HasPrefix(name, "alter") && test.event == 0 {
				if v, err := Verify(t.Context(), Evidence{Log: m, Checkpoint: mid, Keys: tt.key.Public()}); err != nil || v.Checkpoint.Size != 200 {
					t.Errorf("the checkpoint before it: %v", err)
				}
			}
		})
	}
}

func renumber(m *memory) {
	for i := range m.events {
		m.events[i].seq = int64(i + 1)
	}
}

func each(m *memory, prefix string, body []byte) {
	for k, r := range m.registers {
		if k[0] == kindAudit && strings.HasPrefix(k[1], prefix) {
			if r.Body = body; body == nil {
				delete(m.registers, k)
				continue
			}
			m.registers[k] = r
		}
	}
}

func forget(m *memory) { each(m, "", nil) }

// flip changes the first bit of a stored tile.
func flip(m *memory, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := [2]string{kindAudit, id}
	r := m.registers[k]
	data, err := tileBytes(r)
	if err != nil {
		panic(err)
	}
	data[0] ^= 1
	r = document(kindAudit, id, r.Version, tileDoc{base64.StdEncoding.EncodeToString(data)})
	m.registers[k] = r
}

// rehash makes the stored tree that of the record as it is now, as somebody would who has the
// database and the source of this package, but not the key. The signed checkpoints stay, or
// are removed.
func (tt *trailTest) rehash(m *memory, checkpoints bool) {
	fake := newTrailTest(tt.t)
	fake.store.events = m.events
	if _, err := fake.Advance(tt.t.Context()); err != nil {
		panic(err)
	}
	each(m, "tile/", nil)
	each(m, "seqs/", nil)
	if checkpoints {
		each(m, "checkpoint/", nil)
	}
	for k, r := range fake.store.registers {
		if !strings.HasPrefix(k[1], "checkpoint/") {
			m.registers[k] = r
		}
	}
}

func TestVerifyNeedsTheRightThings(t *testing.T) {
	t.Parallel()
	tt, other := newTrailTest(t), newTrailTest(t)
	_, err := tt.verify(tt.store, nil)
	want(t, err, ErrNoCheckpoint)
	tt.happen(20)
	other.happen(20)
	c, theirs := tt.checkpoint(), other.checkpoint()
	for what, ev := range map[string]Evidence{
		"no key":                 {Checkpoint: c},
		"a bad key":              {Checkpoint: c, Keys: "x"},
		"a secret key":           {Checkpoint: c, Keys: "PRIVATE+KEY+x+y+z"},
		"somebody else's key":    {Checkpoint: c, Keys: other.key.Public()},
		"somebody else's":        {Checkpoint: theirs, Keys: tt.key.Public()},
		"an empty checkpoint":    {Checkpoint: []byte{}, Keys: tt.key.Public()},
		"a checkpoint cut short": {Checkpoint: c[:len(c)-3], Keys: tt.key.Public()},
		"an altered checkpoint":  {Checkpoint: bytes.Replace(c, []byte("\n10\n"), []byte("\n11\n"), 1), Keys: tt.key.Public()},
		"a large file":           {Checkpoint: make([]byte, maxNote+1), Keys: tt.key.Public()},
	} {
		ev.Log, ev.Registers = tt.store, tt.store
		if _, err := Verify(t.Context(), ev); err == nil || errors.As(err, new(*TamperedError)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Two keys, as after a change of keys, and remarks.
	if _, err := Verify(t.Context(), Evidence{Log: tt.store, Checkpoint: c, Keys: "# old\n" + other.key.Public() + "\n\n" + tt.key.Public()}); err != nil {
		t.Error(err)
	}
	// Somebody else's record is not ours, whoever signed it.
	if _, err := Verify(t.Context(), Evidence{Log: other.store, Checkpoint: c, Keys: tt.key.Public()}); !errors.As(err, new(*TamperedError)) {
		t.Errorf("%v", err)
	}
}

// TestTrailForked: an older copy of the database is put back behind the server's
// back.
func TestTrailForked(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	tt.happen(100)
	tt.checkpoint()
	backup := tt.store.copy()
	tt.happen(100)
	tt.checkpoint()

	tt2 := &trailTest{NewTrail(backup, backup, tt.key), backup, tt.key, t}
	_, err := tt2.Advance(t.Context())
	forked := wantAs[*ForkedError](t, err)
	if forked.Last.Size != 100 || forked.Now.Size != 50 || !strings.Contains(err.Error(), "fewer") {
		t.Errorf("%+v", forked)
	}
	// It is not signed over either, when it has grown beyond.
	tt2.happen(500)
	if _, err = tt2.Advance(t.Context()); !errors.As(err, &forked) {
		t.Errorf("%v", err)
	}
	key, err := OpenKey(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewTrail(backup, backup, key).Advance(t.Context()); err != nil { // by another server, unaware
		t.Fatal(err)
	}
	_, err = tt2.Advance(t.Context())
	if forked := wantAs[*ForkedError](t, err); !strings.Contains(err.Error(), "holds other acts than the 100") {
		t.Errorf("%+v", forked)
	}
	if _, err := tt2.Checkpoint(t.Context()); !errors.As(err, &forked) {
		t.Errorf("it is signed all the same: %v", err)
	}
	// Until somebody says that it is meant.
	if err := os.Rename(forked.File, forked.File+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := tt2.Advance(t.Context()); err != nil {
		t.Error(err)
	}
	// A file that is not ours is no excuse.
	if err := os.WriteFile(forked.File, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tt2.happen(2)
	if _, err := tt2.Advance(t.Context()); err == nil {
		t.Error("a damaged last checkpoint is taken for none")
	}
}

func TestTrailStopsAtDamagedTiles(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	tt.happen(100)
	tt.checkpoint()
	flip(tt.store, tileName(0, 0))
	tt.happen(10)
	if _, err := tt.Advance(t.Context()); err == nil {
		t.Error("it goes on over damaged hashes")
	}
}

// TestTrailOfManyServers: each act becomes one leaf, whoever is faster.
func TestTrailOfManyServers(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	secret, err := os.ReadFile(tt.key.path)
	if err != nil {
		t.Fatal(err)
	}
	var trails []*Trail
	for range 4 {
		path := filepath.Join(t.TempDir(), "audit.key")
		if err := os.WriteFile(path, secret, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := OpenKey(path)
		if err != nil {
			t.Fatal(err)
		}
		trails = append(trails, NewTrail(tt.store, tt.store, key))
	}
	var wg sync.WaitGroup
	for range 30 {
		tt.happen(40)
		for _, trail := range trails {
			wg.Go(func() {
				if _, err := trail.Advance(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if _, err := tt.verify(tt.store, tt.checkpoint()); err != nil {
		t.Error(err)
	}
	if v, err := tt.verify(tt.store, nil); err != nil || v.Acts != 600 || v.Checkpoint.Size != 600 {
		t.Errorf("%+v %v", v, err)
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	tt.happen(1500)
	for _, seq := range []int64{1, 3, 509, 511, 513, 1024, 1025, 1499} {
		proof, err := tt.Prove(t.Context(), seq)
		if seq == 1024 {
			want(t, err, ErrNoLeaf) // no act
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		leaf, c, err := CheckProof(proof, tt.key.Public())
		if err != nil || c.Size != 750 || !strings.Contains(string(leaf), fmt.Sprintf(`"seq":%d,`, seq)) {
			t.Fatalf("%s %+v %v", leaf, c, err)
		}
		// No byte of it can be changed.
		for i := range proof {
			forged := bytes.Clone(proof)
			forged[i] ^= 4
			if other, _, err := CheckProof(forged, tt.key.Public()); err == nil && !bytes.Equal(other, leaf) {
				t.Fatalf("byte %d of the proof of event %d may be anything", i, seq)
			}
		}
	}
	for _, seq := range []int64{-1, 0, 2, 1500, 1501, 1 << 60} {
		_, err := tt.Prove(t.Context(), seq)
		want(t, err, ErrNoLeaf)
	}
	// An act that was altered since has no proof.
	tt.store.events[10].body = `{"by":"eve"}`
	if _, err := tt.Prove(t.Context(), 11); err == nil || !strings.Contains(err.Error(), "not what was signed") {
		t.Errorf("%v", err)
	}
	empty := newTrailTest(t)
	_, err := empty.Prove(t.Context(), 1)
	want(t, err, ErrNoLeaf)
}

// TestLeaf fixes the form of leaves for good: when it fails, old trails
// no longer verify.
func TestLeaf(t *testing.T) {
	t.Parallel()
	at := time.UnixMicro(1795428308123456)
	var b strings.Builder
	for i, e := range []record.Event{
		{Body: &record.Acted{By: "ada", Via: "session", From: "192.0.2.7", Verb: "secrets.set", Object: "<team/app> & \u2028 \"ä\"", Detail: map[string]string{"b": "2", "a": ""}}},
		{Body: &record.Acted{}},
		{Run: "7", Body: &record.RunApproved{By: "ada"}},
		{Run: "7", Job: "build", Body: &record.CancelRequested{By: "ada", Why: "no"}},
		{Body: &record.RunRequested{Repository: "team/app", By: "ada", Cause: "manual", Change: &plan.Change{
			Event: "workflow_dispatch", Ref: "refs/heads/main", SHA: "4711", Inputs: map[string]string{"x": ""}, FilesKnown: true,
			Payload: map[string]any{"n": json.Number("12345678901234567890"), "null": nil, "zero": 0, "f": 1.5, "list": []any{}, "no": false},
		}}},
		{Run: "7", Body: &record.RunFinished{Verdict: plan.Success}},
		{},
	} {
		e.Seq, e.Time = int64(i+1), at
		leaf, err := Leaf(e)
		if err != nil {
			t.Fatal(err)
		}
		if leaf == nil {
			b.WriteString("none\n")
			continue
		}
		fmt.Fprintf(&b, "%s\n  %s\n", leaf, tlog.RecordHash(leaf))
	}
	golden(t, "leaves.txt", []byte(b.String()))
}

func TestEntryOf(t *testing.T) {
	t.Parallel()
	for _, kind := range Audited() {
		body, err := record.Decode(kind, []byte(`{"by":"ada","change":{"event":"push","ref":"refs/heads/main"},"cause":"manual","repository":"team/app"}`))
		if err != nil {
			t.Fatal(err)
		}
		e, ok := EntryOf(record.Event{Seq: 5, Run: "7", Job: "build", Body: body})
		if !ok || e.By != "ada" || e.Seq != 5 || kind != "acted" && (e.Verb == "" || e.Object == "") {
			t.Errorf("%s: %+v", kind, e)
		}
		if leaf, err := Leaf(record.Event{Seq: 5, Body: body}); leaf == nil || err != nil {
			t.Errorf("%s is no leaf, %v", kind, err)
		}
	}
	for _, e := range []record.Event{{}, {Body: &record.RunFinished{}}, {Body: &record.HookReceived{}}} {
		if _, ok := EntryOf(e); ok {
			t.Errorf("%v is an act", e)
		}
	}
}

// TestTelling: an act that is two events is told once.
func TestTelling(t *testing.T) {
	t.Parallel()
	act := func(seq int64, by string, verb Verb) record.Event {
		return record.Event{Seq: seq, Body: &record.Acted{By: by, Verb: string(verb), Object: "team/app"}}
	}
	var telling Telling
	var told []int64
	for _, e := range []record.Event{ // newest first
		act(9, "ada", CancelRun), {Seq: 8, Run: "3", Body: &record.CancelRequested{By: "ada"}},
		{Seq: 7, Run: "2", Body: &record.CancelRequested{By: "ada"}}, // of the command line
		act(6, "bob", ApproveRun), {Seq: 5, Run: "3", Body: &record.RunApproved{By: "bob"}},
		act(4, "bob", RepeatRun), {Seq: 3, Run: "3", Body: &record.RunApproved{By: "eve"}},
		act(2, "bob", CancelRun), {Seq: 1, Run: "3", Body: &record.CancelRequested{By: "run 2"}},
	} {
		if entry, ok := telling.Entry(e); ok {
			told = append(told, entry.Seq)
		}
	}
	if want := []int64{9, 7, 6, 4, 3, 2, 1}; !slices.Equal(told, want) {
		t.Errorf("told are %v, want %v", told, want)
	}
}

func TestTrailServes(t *testing.T) {
	t.Parallel()
	tt := newTrailTest(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var failures atomic.Int64
		watch := func(ctx context.Context, seq int64) (int64, error) {
			for {
				tt.store.mu.Lock()
				newest := int64(len(tt.store.events))
				tt.store.mu.Unlock()
				if newest > seq {
					return newest, nil
				}
				select {
				case <-ctx.Done():
					return 0, ctx.Err()
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			tt.Serve(ctx, watch, func(error) { failures.Add(1) })
		}()
		for range 5 {
			tt.happen(10)
			time.Sleep(time.Second)
		}
		if v, err := tt.verify(tt.store, nil); err != nil || v.Checkpoint.Size != 25 {
			t.Errorf("%+v %v", v, err)
		}
		flip(tt.store, tileName(0, 0))
		tt.happen(10)
		time.Sleep(time.Minute)
		if n := failures.Load(); n < 2 || n > 13 {
			t.Errorf("a minute of failure was reported %d times", n)
		}
		flip(tt.store, tileName(0, 0))
		time.Sleep(time.Minute)
		if v, err := tt.verify(tt.store, nil); err != nil || v.Checkpoint.Size != 30 {
			t.Errorf("%+v %v", v, err)
		}
		cancel()
		<-done
	})
}

func TestKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.key")
	k, err := OpenKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if last, err := k.Last(); last != nil || err != nil {
		t.Errorf("%s %v", last, err)
	}
	if pub, err := os.ReadFile(filepath.Join(dir, "audit.pub")); err != nil || string(pub) != k.Public()+"\n" {
		t.Errorf("%q %v", pub, err)
	}
	again, err := OpenKey(path)
	if err != nil || again.Public() != k.Public() {
		t.Error("another key", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v", err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, bad := range []string{"", "x", string(good[:len(good)-9]), strings.Replace(string(good), "PRIVATE", "PUBLIC", 1), k.Public()} {
		path := filepath.Join(dir, fmt.Sprint(i, ".key"))
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKey(path); err == nil || bad != "" && len(bad) > 20 && strings.Contains(err.Error(), bad[len(bad)-20:]) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := OpenKey(filepath.Join(dir, "none", "audit.key")); err == nil {
		t.Error("a key in a directory that is not there")
	}
	if entries, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
		t.Errorf("%v is left, %v", entries, err)
	}
	// Two servers start at once, and agree.
	path = filepath.Join(dir, "two.key")
	keys := make([]*Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = OpenKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != nil && k.Public() != keys[0].Public() {
			t.Error("two keys")
		}
	}
}

// TestWithSQLite runs the gate and the trail over the store that a server has.
func TestWithSQLite(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	g := newTestGate(t, Options{Registers: store})
	admin := g.admin("ada")
	bob, _ := g.member(admin, "bob", Grant{Repository: "team/*", Role: Developer})
	plain, token, err := g.IssueToken(t.Context(), bob, TokenSpec{Name: "t", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Token(t.Context(), plain, here); err != nil {
		t.Error(err)
	}
	if err := g.RevokeToken(t.Context(), bob, token.ID); err != nil {
		t.Error(err)
	}
	wantAs[*DeniedError](t, g.RemoveAccount(t.Context(), bob, "ada"))

	key, err := OpenKey(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	trail := NewTrail(store, store, key)
	checkpoint, err := trail.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(t.Context(), Evidence{Log: store, Registers: store, Checkpoint: checkpoint, Keys: key.Public()})
	if err != nil || v.Acts < 5 || v.Later != 0 {
		t.Errorf("%+v %v", v, err)
	}
	if _, err := trail.Prove(t.Context(), v.Checkpoint.Seq); err != nil {
		t.Error(err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	k, err := OpenKey(filepath.Join(f.TempDir(), "audit.key"))
	if err != nil {
		f.Fatal(err)
	}
	c, err := k.sign(Checkpoint{Size: 5, Seq: 9, Time: time.Unix(1795428308, 5).UTC()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c, true)
	f.Add([]byte("x\n1\nAAAA\n"), true)
	f.Add([]byte(proofHead+"extra AA==\nindex 0\n\n"+string(c)), false)
	f.Fuzz(func(t *testing.T, text []byte, raw bool) {
		if raw { // what a key that was stolen might sign
			signed, err := k.sign(Checkpoint{Origin: string(text), Size: int64(len(text))})
			if err == nil {
				_, _ = openCheckpoint(signed, k.known)
			}
		}
		if got, err := ParseCheckpoint(text, k.Public()); err == nil && got.Size < 0 {
			t.Errorf("%+v", got)
		}
		if leaf, _, err := CheckProof(text, k.Public()); err == nil && leaf == nil {
			t.Error("a proof of nothing")
		}
		_, _ = verifiers(string(text))
		if _, err := parseKey(string(text)); err == nil {
			t.Error("anything is a key")
		}
	})
}

func BenchmarkAdvance(b *testing.B) {
	key, err := OpenKey(filepath.Join(b.TempDir(), "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMemory()
			key.path = filepath.Join(b.TempDir(), "audit.key")
			trail := NewTrail(m, m, key)
			events := make([]record.Event, n)
			for i := range events {
				events[i].Body = &record.Acted{By: "ada", Verb: "secrets.set", Object: fmt.Sprint(i)}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Change(b.Context(), nil, events...); err != nil {
					b.Fatal(err)
				}
				if added, err := trail.Advance(b.Context()); err != nil || added != n {
					b.Fatal(added, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/act")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	key, err := OpenKey(filepath.Join(b.TempDir(), "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	m := newMemory()
	events := make([]record.Event, 20_000)
	for i := range events {
		events[i].Body = &record.Acted{By: "ada", Via: "session", From: "192.0.2.7", Verb: "secrets.set", Object: fmt.Sprint("secret ", i)}
	}
	if _, err := m.Change(b.Context(), nil, events...); err != nil {
		b.Fatal(err)
	}
	c, err := NewTrail(m, m, key).Checkpoint(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Verify(b.Context(), Evidence{Log: m, Registers: m, Checkpoint: c, Keys: key.Public()}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/act")
}
