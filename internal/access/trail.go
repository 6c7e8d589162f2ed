package access

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Log is the record, in order; package store says what After promises.
type Log interface {
	After(ctx context.Context, seq int64) iter.Seq2[record.Event, error]
}

const (
	// tileHeight is that of the tiles that the tree is kept in: 256 hashes each.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// batch is how many leaves one transaction adds at most.
	batch = 1024
	// farAhead is how many events that are no acts may pass before it is written
	// down that they have been read.
	farAhead = 10_000
	// pace is how often the record is looked at at most, and rest how long
	// after a failure.
	pace = 200 * time.Millisecond
	rest = 5 * time.Second
)

// kindAudit registers hold the tree: "state"; "tile/LEVEL/NUMBER" as in
// c2sp.org/tlog-tiles, the last of a level being partial; "seqs/NUMBER", the Seqs
// of the leaves in a tile of level 0; and "checkpoint/SIZE", a signed checkpoint
// for each full tile.
const kindAudit = "audit"

// state is how far the tree goes.
type state struct {
	Size int64     `json:"size"` // leaves
	Root tlog.Hash `json:"root"`
	Seq  int64     `json:"seq"`  // of the last leaf's event
	Read int64     `json:"read"` // all events up to this one are dealt with
	Note string    `json:"note,omitempty"`
	// Time is that of the last leaf's event.
	Time time.Time `json:"time,omitzero"`
}

func (s state) checkpoint() Checkpoint {
	return Checkpoint{Size: s.Size, Root: s.Root, Seq: s.Seq, Time: s.Time}
}

type tileDoc struct {
	Hashes string `json:"hashes"` // base64, 32 bytes each
}

type seqsDoc struct {
	Seqs []int64 `json:"seqs"`
}

type noteDoc struct {
	Note string `json:"note"`
}

func tileName(level int, n int64) string { return fmt.Sprintf("tile/%d/%012d", level, n) }
func seqsName(n int64) string            { return fmt.Sprintf("seqs/%012d", n) }
func noteName(size int64) string         { return fmt.Sprintf("checkpoint/%015d", size) }

// Trail is the audit trail: it reads the record as it grows and adds each act to
// a Merkle tree, whose root it signs. Several servers may each have one over the
// same store: an act becomes one leaf, because the tree changes in one
// transaction with the mark of how far it was read.
type Trail struct {
	log       Log
	registers Registers
	key       *Key

	mu   sync.Mutex // one Advance at a time
	size int64      // when the events up to read had been looked at
	read int64
}

// NewTrail makes a trail. It reads and writes nothing yet.
func NewTrail(log Log, registers Registers, key *Key) *Trail {
	return &Trail{log: log, registers: registers, key: key}
}

// ForkedError says that the tree in the database does not continue the one that was
// signed here last.
type ForkedError struct {
	Last Checkpoint // what was signed here last
	Now  Checkpoint // what the database holds
	File string     // where Last was kept
}

func (e *ForkedError) Error() string {
	what := fmt.Sprintf("holds other acts than the %d", e.Last.Size)
	if e.Now.Size < e.Last.Size {
		what = fmt.Sprintf("holds %d acts, fewer than the %d", e.Now.Size, e.Last.Size)
	}
	return fmt.Sprintf("the audit trail in the database %s that this server signed last (up to event %d of %s): the database was altered, or is an older copy. "+
		"See what fairlead audit verify says. If you restored an older copy on purpose, keep %s as the proof of it, under another name, and the trail goes on",
		what, e.Last.Seq, e.Last.Time.UTC().Format(time.DateTime), e.File)
}

// Serve adds acts as they happen until ctx ends. watch waits until the record goes
// beyond a Seq, as the stores' Watch does. Failures are reported and tried again.
func (t *Trail) Serve(ctx context.Context, watch func(ctx context.Context, seq int64) (int64, error), report func(error)) {
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	for ctx.Err() == nil {
		_, err := t.Advance(ctx)
		if err == nil {
			t.mu.Lock()
			read := t.read
			t.mu.Unlock()
			_, err = watch(ctx, read)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			report(fmt.Errorf("audit trail: %w", err))
			wait(rest)
		default:
			wait(pace)
		}
	}
}

// Advance adds the acts that the record has beyond the tree, and says how many
// they were. The error is a [*ForkedError] when the tree is not that which it was.
func (t *Trail) Advance(ctx context.Context) (added int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		old, r, err := readState(ctx, t.registers)
		if err != nil {
			return added, err
		}
		n, more, err := t.step(ctx, old, r.Version)
		added += n
		if err == nil {
			if !more {
				return added, nil
			}
			continue
		}
		// Another server may have been faster: then what we read was a bit of both.
		now, nowErr := t.registers.Register(ctx, kindAudit, "state")
		if nowErr != nil || now.Version == r.Version || n > 0 {
			return added, err
		}
	}
}

// leaf is a leaf to be added.
type leaf struct {
	seq  int64
	time time.Time
	hash tlog.Hash
}

// step adds one batch to the tree that has that state in that version.
func (t *Trail) step(ctx context.Context, old state, version int64) (added int, more bool, err error) {
	tree := newTree(ctx, t.registers, old)
	if err := t.check(old, tree); err != nil {
		return 0, false, err
	}
	from := old.Read
	if t.size == old.Size {
		from = max(from, t.read)
	}
	leaves, read, err := t.collect(ctx, from)
	if err != nil {
		return 0, false, err
	}
	if len(leaves) == 0 && read < old.Read+farAhead {
		t.size, t.read = old.Size, read
		return 0, false, nil
	}
	now, whole, changes, err := tree.grow(leaves)
	if err != nil {
		return 0, false, err
	}
	for _, c := range whole {
		text, err := t.key.sign(c)
		if err != nil {
			return 0, false, err
		}
		old, err := tree.register(noteName(c.Size))
		if err != nil {
			return 0, false, err
		}
		changes = append(changes, document(kindAudit, old.ID, old.Version, noteDoc{string(text)}))
	}
	if len(leaves) > 0 {
		text, err := t.key.sign(now.checkpoint())
		if err != nil {
			return 0, false, err
		}
		now.Note = string(text)
	}
	now.Read = read
	changes = append(changes, document(kindAudit, "state", version, now))
	if _, err := t.registers.Change(ctx, changes); err != nil {
		return 0, false, fmt.Errorf("add %d acts to the audit trail: %w", len(leaves), err)
	}
	t.size, t.read = now.Size, read
	if len(leaves) > 0 {
		if err := t.key.remember([]byte(now.Note)); err != nil {
			return len(leaves), false, err
		}
	}
	return len(leaves), len(leaves) == batch, nil
}

// collect reads the acts after an event, a batch at most, and how far it has come.
func (t *Trail) collect(ctx context.Context, seq int64) (leaves []leaf, read int64, err error) {
	read = seq
	for e, err := range t.log.After(ctx, seq) {
		if err != nil && e.Seq == 0 {
			return nil, 0, fmt.Errorf("read the record after event %d: %w", read, err)
		}
		if err == nil { // else a newer Fairlead's, which is no act that we know
			text, err := Leaf(e)
			if err != nil {
				return nil, 0, err
			}
			if text != nil {
				leaves = append(leaves, leaf{e.Seq, e.Time, tlog.RecordHash(text)})
			}
		}
		if read = e.Seq; len(leaves) == batch {
			break
		}
	}
	return leaves, read, nil
}

// check makes sure that the tree continues the one that was signed here last:
// nobody's work but ours is signed.
func (t *Trail) check(now state, tree *tree) error {
	last, err := t.key.last()
	if err != nil || last.Size == 0 {
		return err
	}
	forked := &ForkedError{Last: last, Now: now.checkpoint(), File: t.key.lastPath()}
	if now.Size == last.Size && now.Root == last.Root {
		return nil // as it mostly is, and nothing need be read
	}
	if now.Size <= last.Size {
		return forked
	}
	proof, err := tlog.ProveTree(now.Size, last.Size, tree)
	if err != nil {
		return errors.Join(forked, err)
	}
	if tlog.CheckTree(proof, now.Size, now.Root, last.Size, last.Root) != nil {
		return forked
	}
	return nil
}

// Checkpoint brings the trail up to date and returns its checkpoint, signed.
// Whoever keeps it, elsewhere, can tell later whether anything before it was
// changed.
func (t *Trail) Checkpoint(ctx context.Context) ([]byte, error) {
	if _, err := t.Advance(ctx); err != nil {
		return nil, err
	}
	s, _, err := readState(ctx, t.registers)
	if err != nil {
		return nil, err
	}
	if s.Size == 0 {
		return t.key.sign(Checkpoint{Root: emptyRoot()})
	}
	return t.key.sign(s.checkpoint())
}

// emptyRoot is the root of the tree without leaves.
func emptyRoot() tlog.Hash {
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		panic(err) // it reads nothing
	}
	return root
}

func readState(ctx context.Context, registers Registers) (s state, r record.Register, err error) {
	if r, err = registers.Register(ctx, kindAudit, "state"); err != nil {
		return s, r, fmt.Errorf("read the state of the audit trail: %w", err)
	}
	if r.Version > 0 {
		err = parse(r, &s)
	}
	if err == nil && (s.Size < 0 || s.Size > 1<<48) {
		err = fmt.Errorf("read the state of the audit trail: its size is %d", s.Size)
	}
	return s, r, err
}

// tree reads the hashes of a tree that is kept in registers, and adds to it. What
// it reads is checked against the root; what it added is in memory until it is
// written.
type tree struct {
	ctx       context.Context // of the one call that it lives for: tlog's interfaces take none
	registers Registers
	state     state
	stored    tlog.HashReader
	tiles     map[string]record.Register // read already
	added     map[int64]tlog.Hash
}

func newTree(ctx context.Context, registers Registers, s state) *tree {
	t := &tree{ctx: ctx, registers: registers, state: s, tiles: map[string]record.Register{}, added: map[int64]tlog.Hash{}}
	t.stored = tlog.TileHashReader(tlog.Tree{N: s.Size, Hash: s.Root}, t)
	return t
}

// ReadHashes implements [tlog.HashReader].
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	var want []int64
	var at []int
	for i, index := range indexes {
		if h, ok := t.added[index]; ok {
			hashes[i] = h
		} else {
			want, at = append(want, index), append(at, i)
		}
	}
	if len(want) == 0 {
		return hashes, nil
	}
	stored, err := t.stored.ReadHashes(want)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	for i, h := range stored {
		hashes[at[i]] = h
	}
	return hashes, nil
}

// Height implements [tlog.TileReader].
func (t *tree) Height() int { return tileHeight }

// SaveTiles implements [tlog.TileReader].
func (t *tree) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements [tlog.TileReader].
func (t *tree) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	list := make([][]byte, len(tiles))
	for i, tile := range tiles {
		r, err := t.register(tileName(tile.L, tile.N))
		if err != nil {
			return nil, err
		}
		data, err := tileBytes(r)
		if err != nil {
			return nil, err
		}
		size := tile.W * tlog.HashSize
		if len(data) < size {
			return nil, fmt.Errorf("%s %s holds %d bytes, not %d", kindAudit, r.ID, len(data), size)
		}
		list[i] = data[:size]
	}
	return list, nil
}

func tileBytes(r record.Register) ([]byte, error) {
	var doc tileDoc
	if r.Version > 0 {
		if err := parse(r, &doc); err != nil {
			return nil, err
		}
	}
	data, err := base64.StdEncoding.DecodeString(doc.Hashes)
	if err != nil || len(data) > tileWidth*tlog.HashSize || len(data)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("%s %s is damaged", r.Kind, r.ID)
	}
	return data, nil
}

func (t *tree) register(id string) (record.Register, error) {
	if r, ok := t.tiles[id]; ok {
		return r, nil
	}
	r, err := t.registers.Register(t.ctx, kindAudit, id)
	if err != nil {
		return r, fmt.Errorf("read %s %s: %w", kindAudit, id, err)
	}
	t.tiles[id] = r
	return r, nil
}

// grow adds leaves: the new state, the checkpoints to sign where tiles are full,
// and the registers that hold the leaves.
func (t *tree) grow(leaves []leaf) (now state, whole []Checkpoint, changes []record.Register, err error) {
	now = t.state
	fail := func(err error) (state, []Checkpoint, []record.Register, error) { return t.state, nil, nil, err }
	if len(leaves) == 0 {
		return now, nil, nil, nil
	}
	for _, l := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(now.Size, l.hash, t)
		if err != nil {
			return fail(err)
		}
		first := tlog.StoredHashIndex(0, now.Size)
		for i, h := range hashes {
			t.added[first+int64(i)] = h
		}
		now.Size++
		now.Seq, now.Time = l.seq, l.time
		if now.Size%tileWidth == 0 {
			if now.Root, err = tlog.TreeHash(now.Size, t); err != nil {
				return fail(err)
			}
			whole = append(whole, now.checkpoint())
		}
	}
	if now.Root, err = tlog.TreeHash(now.Size, t); err != nil {
		return fail(err)
	}
	for _, tile := range tlog.NewTiles(tileHeight, t.state.Size, now.Size) {
		data, err := tlog.ReadTileData(tile, t)
		if err != nil {
			return fail(err)
		}
		old, err := t.register(tileName(tile.L, tile.N))
		if err != nil {
			return fail(err)
		}
		changes = append(changes, document(kindAudit, old.ID, old.Version, tileDoc{base64.StdEncoding.EncodeToString(data)}))
	}
	more, err := t.growSeqs(leaves)
	if err != nil {
		return fail(err)
	}
	return now, whole, append(changes, more...), nil
}

// growSeqs makes the registers of the Seqs of new leaves.
func (t *tree) growSeqs(leaves []leaf) (changes []record.Register, err error) {
	for at := t.state.Size; len(leaves) > 0; {
		old, err := t.register(seqsName(at / tileWidth))
		if err != nil {
			return nil, err
		}
		var doc seqsDoc
		if old.Version > 0 {
			if err := parse(old, &doc); err != nil {
				return nil, err
			}
		}
		if int64(len(doc.Seqs)) != at%tileWidth {
			return nil, fmt.Errorf("%s %s is damaged: it holds %d numbers, not %d", kindAudit, old.ID, len(doc.Seqs), at%tileWidth)
		}
		n := min(len(leaves), tileWidth-len(doc.Seqs))
		for _, l := range leaves[:n] {
			doc.Seqs = append(doc.Seqs, l.seq)
		}
		changes = append(changes, document(kindAudit, old.ID, old.Version, doc))
		leaves, at = leaves[n:], at+int64(n)
	}
	return changes, nil
}

// seqs are the Seqs of the leaves in a tile.
func (t *tree) seqs(n int64) ([]int64, error) {
	r, err := t.register(seqsName(n))
	if err != nil {
		return nil, err
	}
	var doc seqsDoc
	if r.Version == 0 {
		return nil, fmt.Errorf("%s %s is missing", kindAudit, r.ID)
	}
	return doc.Seqs, parse(r, &doc)
}

// proofHead begins a proof; see c2sp.org/tlog-proof.
const proofHead = "c2sp.org/tlog-proof@v1\n"

// ErrNoLeaf says that an event is no act, or is not there.
var ErrNoLeaf = errors.New("the audit trail has no such event")

// Prove makes the proof that an event is in the trail, in the form of
// c2sp.org/tlog-proof with the leaf as its extra data: a text that can be checked
// anywhere with the public key alone, by [CheckProof].
func (t *Trail) Prove(ctx context.Context, seq int64) ([]byte, error) {
	checkpoint, err := t.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	// What the checkpoint says, not the state, which may have moved on.
	c, err := openCheckpoint(checkpoint, t.key.known)
	if err != nil {
		return nil, err
	}
	tree := newTree(ctx, t.registers, state{Size: c.Size, Root: c.Root})
	index, err := tree.find(seq)
	if err != nil {
		return nil, err
	}
	var text []byte
	for e, err := range t.log.After(ctx, seq-1) {
		if err != nil {
			return nil, fmt.Errorf("read event %d: %w", seq, err)
		}
		if e.Seq == seq {
			text, err = Leaf(e)
		}
		if err != nil {
			return nil, err
		}
		break
	}
	if text == nil {
		return nil, fmt.Errorf("%w: %d", ErrNoLeaf, seq)
	}
	proof, err := tlog.ProveRecord(c.Size, index, tree)
	if err != nil {
		return nil, fmt.Errorf("prove event %d: %w", seq, err)
	}
	var b strings.Builder
	b.WriteString(proofHead)
	fmt.Fprintf(&b, "extra %s\nindex %d\n", base64.StdEncoding.EncodeToString(text), index)
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n" + string(checkpoint))
	if _, _, err := CheckProof([]byte(b.String()), t.key.public); err != nil {
		return nil, fmt.Errorf("prove event %d: the record is not what was signed: %w", seq, err)
	}
	return []byte(b.String()), nil
}

// find is the index of the leaf of an event.
func (t *tree) find(seq int64) (int64, error) {
	var failed error
	tiles := (t.state.Size + tileWidth - 1) / tileWidth
	// The first tile that ends at or after it.
	n := int64(sort.Search(int(tiles), func(i int) bool {
		seqs, err := t.seqs(int64(i))
		failed = errors.Join(failed, err)
		return len(seqs) > 0 && seqs[len(seqs)-1] >= seq
	}))
	if failed == nil && n < tiles {
		var seqs []int64
		if seqs, failed = t.seqs(n); failed == nil {
			if i := sort.Search(len(seqs), func(i int) bool { return seqs[i] >= seq }); i < len(seqs) && seqs[i] == seq {
				if index := n*tileWidth + int64(i); index < t.state.Size {
					return index, nil
				}
			}
		}
	}
	if failed != nil {
		return 0, failed
	}
	return 0, fmt.Errorf("%w: %d", ErrNoLeaf, seq)
}

// CheckProof checks what [Trail.Prove] made, with nothing but the public key: the
// leaf (see [Leaf]) was in the log when the checkpoint was signed.
func CheckProof(proof []byte, keys string) (leaf []byte, c Checkpoint, err error) {
	bad := func(what string) ([]byte, Checkpoint, error) {
		return nil, Checkpoint{}, fmt.Errorf("the proof is not good: %s", what)
	}
	if len(proof) > maxNote {
		return bad("it is too long")
	}
	rest, ok := strings.CutPrefix(string(proof), proofHead)
	if !ok {
		return bad("it does not begin with " + strings.TrimSpace(proofHead))
	}
	head, checkpoint, ok := strings.Cut(rest, "\n\n")
	if !ok {
		return bad("there is no checkpoint in it")
	}
	lines := strings.Split(head, "\n")
	extra, isExtra := strings.CutPrefix(lines[0], "extra ")
	if !isExtra || len(lines) < 2 {
		return bad("the act itself is not in it")
	}
	if leaf, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil {
		return bad("the act is not base64")
	}
	number, _ := strings.CutPrefix(lines[1], "index ")
	index, err := strconv.ParseInt(number, 10, 64)
	if err != nil || lines[1] != fmt.Sprintf("index %d", index) {
		return bad("there is no index in it")
	}
	if c, err = ParseCheckpoint([]byte(checkpoint), keys); err != nil {
		return nil, Checkpoint{}, err
	}
	var hashes tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return bad("a line of it is no hash")
		}
		hashes = append(hashes, h)
	}
	if index < 0 || index >= c.Size || tlog.CheckRecord(hashes, c.Size, c.Root, index, tlog.RecordHash(leaf)) != nil {
		return bad("the act is not in the tree that was signed")
	}
	return leaf, c, nil
}
