package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Evidence is what [Verify] looks at. Nothing of it needs a server: a copy of the
// database will do.
type Evidence struct {
	Log       Log
	Registers Registers // nil: only the record is compared with Checkpoint
	// Checkpoint was kept elsewhere. Without one the newest that the database
	// itself holds is taken, which an older copy of the database has, too.
	Checkpoint []byte
	Keys       string // public keys, one a line
}

// Verified is what has been found to be in order.
type Verified struct {
	Checkpoint Checkpoint // nothing up to here was removed or altered
	// Own says that the checkpoint was the database's own: that the whole
	// is not an older copy cannot be known.
	Own   bool
	Acts  int64 // in the record
	Later int64 // of them after the checkpoint, of which it says nothing
}

// TamperedError says that the record is not what was signed.
type TamperedError struct {
	Checkpoint Checkpoint // the one that it does not fit
	// From and To are the first and the last event that may be the first bad
	// one; they are the same when it is known. 0 for the end of the record.
	From, To int64
	Why      string
}

func (e *TamperedError) Error() string {
	return fmt.Sprintf("the record is not what was signed at event %d (%s): %s", e.Checkpoint.Seq, e.Checkpoint.Time.UTC().Format(time.DateTime), e.Why)
}

// ErrNoCheckpoint says that there is nothing to verify the record against.
var ErrNoCheckpoint = errors.New("there is no checkpoint: the database holds none, so give one that was kept elsewhere")

// Verify proves that the record holds every act that was there when a checkpoint
// was signed, as it was then and in the same order. What is wrong is a
// [*TamperedError] that names the first bad event, if it can be told: the stored
// hashes tell it as long as they are those that were signed, and otherwise the
// signed checkpoints between them.
//
// It reads the record once and keeps none of it in memory.
func Verify(ctx context.Context, ev Evidence) (Verified, error) {
	known, err := verifiers(ev.Keys)
	if err != nil {
		return Verified{}, err
	}
	v := verification{ev: ev, known: known}
	if err := v.prepare(ctx); err != nil {
		return Verified{}, err
	}
	if err := v.read(ctx); err != nil {
		return Verified{}, err
	}
	return v.judge()
}

// verification is a run of Verify.
type verification struct {
	ev    Evidence
	known note.Verifiers

	aim   Checkpoint // the one that decides
	own   bool
	marks []mark // all checkpoints, by size
	// How many of them the record has reached and passed, and the stored hashes
	// reached.
	reached, passed, stocked int

	stored *storedLeaves // nil: none, or not any more
	record rootOf        // of the record's acts
	kept   rootOf        // of the stored hashes
	last   int64         // Seq of the last act
	first  *mismatch     // between record and stored hashes
	broken error         // why the stored hashes could not be read to the end
}

// mark is a checkpoint and what was found at its size.
type mark struct {
	Checkpoint
	inRecord, inStored tlog.Hash // the roots there
	upTo, after        int64     // Seqs of the acts before and behind it
}

// mismatch is where record and stored hashes part.
type mismatch struct {
	seq int64
	why string
}

// prepare reads the checkpoints.
func (v *verification) prepare(ctx context.Context) error {
	own, err := v.ownCheckpoints(ctx)
	if err != nil {
		return err
	}
	if v.ev.Checkpoint != nil {
		if v.aim, err = openCheckpoint(v.ev.Checkpoint, v.known); err != nil {
			return err
		}
	} else {
		v.own = true
		for _, c := range own {
			if c.Size >= v.aim.Size {
				v.aim = c
			}
		}
		if v.aim.Size == 0 {
			return ErrNoCheckpoint
		}
	}
	for _, c := range append(own, v.aim) {
		v.marks = append(v.marks, mark{Checkpoint: c})
	}
	slices.SortStableFunc(v.marks, func(a, b mark) int { return cmp.Compare(a.Size, b.Size) })
	return nil
}

// ownCheckpoints are the checkpoints in the database that a key has signed. Others
// prove nothing.
func (v *verification) ownCheckpoints(ctx context.Context) (own []Checkpoint, err error) {
	if v.ev.Registers == nil {
		return nil, nil
	}
	s, r, err := readState(ctx, v.ev.Registers)
	if err != nil {
		return nil, err
	}
	if r.Version > 0 {
		v.stored = &storedLeaves{tree: newTree(ctx, v.ev.Registers, s)}
	}
	list, err := v.ev.Registers.Registers(ctx, kindAudit, "checkpoint/")
	if err != nil {
		return nil, fmt.Errorf("read the checkpoints in the database: %w", err)
	}
	notes := []string{s.Note}
	for _, r := range list {
		var doc noteDoc
		if parse(r, &doc) == nil {
			notes = append(notes, doc.Note)
		}
	}
	for _, text := range notes {
		if c, err := openCheckpoint([]byte(text), v.known); err == nil && c.Size > 0 {
			own = append(own, c)
		}
	}
	return own, nil
}

// read goes through the record and the stored hashes side by side.
func (v *verification) read(ctx context.Context) error {
	v.reach()
	var at int64
	for e, err := range v.ev.Log.After(ctx, 0) {
		if err != nil && e.Seq == 0 {
			return fmt.Errorf("read the record after event %d: %w", at, err)
		}
		at = e.Seq
		if err != nil {
			continue // cannot be read: if it was an act, it is missing now
		}
		text, err := Leaf(e)
		if err != nil {
			return err
		}
		if text == nil {
			continue
		}
		h := tlog.RecordHash(text)
		if err := v.compare(e.Seq, h); err != nil {
			return err
		}
		for ; v.passed < v.reached; v.passed++ {
			v.marks[v.passed].after = e.Seq
		}
		v.last = e.Seq
		v.record.add(h)
		v.reach()
	}
	return v.drain()
}

// reach notes what the record is at the marks of its present size.
func (v *verification) reach() {
	for ; v.reached < len(v.marks) && v.marks[v.reached].Size == v.record.n; v.reached++ {
		m := &v.marks[v.reached]
		m.inRecord, m.upTo = v.record.root(), v.last
	}
}

// compare looks for an act among the stored hashes.
func (v *verification) compare(seq int64, h tlog.Hash) error {
	for v.stored != nil {
		kept, ok, err := v.stored.peek()
		switch {
		case err != nil:
			return v.lose(err)
		case !ok: // it came after the tree was last written
			return nil
		case kept.seq > seq:
			v.found(seq, "event %d was not there: it was put in afterwards", seq)
			return nil
		case kept.seq < seq:
			v.found(kept.seq, "event %d is missing", kept.seq)
			v.keep(kept.hash)
		default:
			if kept.hash != h {
				v.found(seq, "event %d was altered", seq)
			}
			v.keep(kept.hash)
			return nil
		}
	}
	return nil
}

// drain takes the stored hashes for which the record has no act any more.
func (v *verification) drain() error {
	for v.stored != nil {
		kept, ok, err := v.stored.peek()
		if err != nil {
			return v.lose(err)
		}
		if !ok {
			return nil
		}
		v.found(kept.seq, "event %d is missing, and so is what came after", kept.seq)
		v.keep(kept.hash)
	}
	return nil
}

// keep takes a stored hash.
func (v *verification) keep(h tlog.Hash) {
	v.stored.at++
	v.kept.add(h)
	for ; v.stocked < len(v.marks) && v.marks[v.stocked].Size <= v.kept.n; v.stocked++ {
		if m := &v.marks[v.stocked]; m.Size == v.kept.n { // not of size 0
			m.inStored = v.kept.root()
		}
	}
}

// lose goes on without the stored hashes when they are damaged: the record itself
// may be sound. Only a store that cannot be read ends it all.
func (v *verification) lose(err error) error {
	if damaged := (*damagedError)(nil); !errors.As(err, &damaged) {
		return err
	}
	v.broken, v.stored = err, nil
	return nil
}

func (v *verification) found(seq int64, format string, args ...any) {
	if v.first == nil {
		v.first = &mismatch{seq, fmt.Sprintf(format, args...)}
	}
}

// judge says what it all means.
func (v *verification) judge() (Verified, error) {
	for i, m := range v.marks {
		if m.Size > v.record.n || m.inRecord != m.Root {
			return Verified{}, v.blame(i)
		}
	}
	e := &TamperedError{Checkpoint: v.aim, Why: "the acts are those that were signed, but the hashes that the database keeps of them are not: "}
	switch {
	case v.broken != nil:
		e.Why += v.broken.Error()
		return Verified{}, e
	case v.first != nil:
		e.From, e.To = v.first.seq, v.first.seq
		e.Why += v.first.why
		return Verified{}, e
	}
	return Verified{Checkpoint: v.aim, Own: v.own, Acts: v.record.n, Later: v.record.n - v.aim.Size}, nil
}

// blame says what is wrong before a mark, the first that the record does not
// fit.
func (v *verification) blame(bad int) error {
	m := v.marks[bad]
	e := &TamperedError{Checkpoint: m.Checkpoint}
	if v.first != nil && m.inStored == m.Root {
		// The stored hashes are those that were signed: they tell which event it
		// is.
		e.From, e.To, e.Why = v.first.seq, v.first.seq, v.first.why
		return e
	}
	if bad > 0 {
		e.From = v.marks[bad-1].after
	}
	if m.Size > v.record.n {
		e.Why = fmt.Sprintf("%d acts were signed, and the record holds %d, the last being event %d: its end was cut off, it is an older copy, or acts were removed", m.Size, v.record.n, v.last)
		return e
	}
	e.To = m.upTo
	switch {
	case e.From == e.To:
		e.Why = fmt.Sprintf("event %d was altered", e.From)
	case e.From == 0:
		e.Why = fmt.Sprintf("an event up to %d was altered, removed or put in", e.To)
	default:
		e.Why = fmt.Sprintf("an event from %d to %d was altered, removed or put in", e.From, e.To)
	}
	e.Why += "; the hashes that the database keeps do not tell which, as they are not those that were signed either"
	return e
}

// rootOf computes the root of a tree whose leaves come one by one, in the memory
// of its height.
type rootOf struct {
	n     int64
	peaks []tlog.Hash // of the perfect trees that it consists of, the largest first
}

func (r *rootOf) add(h tlog.Hash) {
	for n := r.n; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(r.peaks[len(r.peaks)-1], h)
		r.peaks = r.peaks[:len(r.peaks)-1]
	}
	r.peaks = append(r.peaks, h)
	r.n++
}

func (r *rootOf) root() tlog.Hash {
	if r.n == 0 {
		return emptyRoot()
	}
	h := r.peaks[len(r.peaks)-1]
	for i := len(r.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(r.peaks[i], h)
	}
	return h
}

// storedLeaves reads the leaves that a tree keeps, one by one, unchecked.
type storedLeaves struct {
	tree   *tree
	at     int64
	number int64 // of the tile that is loaded, +1
	hashes []byte
	seqs   []int64
}

type keptLeaf struct {
	seq  int64
	hash tlog.Hash
}

// damagedError says that what is stored cannot be what was written.
type damagedError struct{ error }

// peek is the next leaf; ok is false after the last.
func (s *storedLeaves) peek() (l keptLeaf, ok bool, err error) {
	if s.at >= s.tree.state.Size {
		return l, false, nil
	}
	if n := s.at / tileWidth; s.number != n+1 {
		clear(s.tree.tiles) // of those that came before
		r, err := s.tree.register(tileName(0, n))
		if err != nil {
			return l, false, err
		}
		if s.hashes, err = tileBytes(r); err != nil {
			return l, false, &damagedError{err}
		}
		if r, err = s.tree.register(seqsName(n)); err != nil {
			return l, false, err
		}
		var doc seqsDoc
		if r.Version > 0 {
			if err := parse(r, &doc); err != nil {
				return l, false, &damagedError{err}
			}
		}
		s.seqs, s.number = doc.Seqs, n+1
	}
	i := int(s.at % tileWidth)
	if i >= len(s.seqs) || (i+1)*tlog.HashSize > len(s.hashes) {
		return l, false, &damagedError{fmt.Errorf("leaf %d is missing", s.at)}
	}
	if i > 0 && s.seqs[i] <= s.seqs[i-1] {
		return l, false, &damagedError{fmt.Errorf("event %d stands in the wrong place", s.seqs[i])}
	}
	l.seq = s.seqs[i]
	copy(l.hash[:], s.hashes[i*tlog.HashSize:])
	return l, true, nil
}
