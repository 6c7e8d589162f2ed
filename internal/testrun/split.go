package testrun

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Split is some work that is shared out by a queue, and what has come of it: the
// plan that could be made of it beside what happened.
type Split struct {
	Repository string       `json:"repository"`
	Name       string       `json:"name"`
	Runner     string       `json:"runner"`
	Begun      time.Time    `json:"begun"`
	Ended      time.Time    `json:"ended,omitzero"`
	Queue      *suite.Queue `json:"queue"`
	// Asked is of which items the queue was made, so that a shard that sees other
	// tests can be told.
	Asked string `json:"asked"`
	// Items is what there was to do, in the order in which it was handed out first.
	Items []suite.Item `json:"items"`
	// Heard is when each shard was heard of last.
	Heard map[string]time.Time `json:"heard"`
	Ran   []Ran                `json:"ran,omitempty"` // batches that are over
	Gone  []string             `json:"gone,omitempty"`
}

// Ran is a batch that is over.
type Ran struct {
	Batch   int       `json:"batch"`
	Shard   string    `json:"shard"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Planned float64   `json:"planned"` // seconds
	Failed  bool      `json:"failed,omitempty"`
	Items   []Took    `json:"items"`
}

// Took is how long an item took, as far as its report says so.
type Took struct {
	Name    string  `json:"name"`
	Planned float64 `json:"planned"`           // seconds
	Seconds float64 `json:"seconds,omitempty"` // 0: that is not known
}

const (
	splitKind = "split" // of registers
	// maxSplit is how many items a queue has at most, and maxItemTests how many of
	// their tests are named.
	maxSplit, maxItemTests = 50_000, 500_000
	// keepSplit is how long what came of a queue is kept.
	keepSplit = 14 * 24 * time.Hour
	// heardEvery is how often a shard that works says so, and Patience after how long
	// without a word it is believed lost, if nobody says otherwise.
	heardEvery = 20 * time.Second
	Patience   = 3 * time.Minute
	// shelfTries is how often a change is tried that others come before.
	shelfTries = 1000
	// maxShardName and maxSplitName are in bytes.
	maxShardName, maxSplitName = 200, 200
)

// Shelf keeps documents, each with a version that a change must name.
type Shelf interface {
	// Read is a document and its version: 0 when there is none.
	Read(ctx context.Context, id string) (body []byte, version int64, err error)
	// Write puts a document in the place of the one of that version. The error is a
	// record.ErrConflict when somebody else came before.
	Write(ctx context.Context, id string, version int64, body []byte) error
}

// Registers is what keeping splits takes of the store.
type Registers interface {
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

// InRecord is a shelf in the record.
func InRecord(r Registers, now func() time.Time) Shelf { return recordShelf{r, now} }

type recordShelf struct {
	Registers
	now func() time.Time
}

func (s recordShelf) Read(ctx context.Context, id string) ([]byte, int64, error) {
	r, err := s.Register(ctx, splitKind, id)
	return r.Body, r.Version, err
}

func (s recordShelf) Write(ctx context.Context, id string, version int64, body []byte) error {
	_, err := s.Change(ctx, []record.Register{{Kind: splitKind, ID: id, Version: version, Body: body, Expires: s.now().Add(keepSplit)}})
	return err
}

// InDirectory is a shelf in a directory that several machines may share:
//
//	DIR/<digest of the name>/<version>.json
//
// A version is a file that is linked into place, which one of several does first, also on
// network file systems. So nobody needs a lock, and nobody who dies leaves one. Versions that
// were replaced are emptied and stay: who is late finds their names taken.
func InDirectory(dir string) Shelf { return directoryShelf(dir) }

type directoryShelf string

func (d directoryShelf) place(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(string(d), "fairlead-split-"+hex.EncodeToString(sum[:8]))
}

func (d directoryShelf) Read(_ context.Context, id string) ([]byte, int64, error) {
	for try := 0; ; try++ {
		version, err := d.newest(id)
		if err != nil || version == 0 {
			return nil, 0, err
		}
		body, err := os.ReadFile(d.file(id, version))
		if err == nil && len(body) == 0 && try < shelfTries {
			continue // it was replaced meanwhile
		}
		return body, version, err
	}
}

func (d directoryShelf) file(id string, version int64) string {
	return filepath.Join(d.place(id), strconv.FormatInt(version, 10)+".json")
}

// newest is the newest version there is.
func (d directoryShelf) newest(id string) (newest int64, err error) {
	list, err := os.ReadDir(d.place(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range list {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if n, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			newest = max(newest, n)
		}
	}
	return newest, err
}

func (d directoryShelf) Write(_ context.Context, id string, version int64, body []byte) (err error) {
	dir := d.place(id)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".next-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), d.file(id, version+1)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("write %s: %w", d.file(id, version+1), record.ErrConflict)
		}
		return err
	}
	if version > 0 {
		_ = os.Truncate(d.file(id, version), 0) // it only takes room
	}
	return nil
}

// Splits hands work out by queues that are kept on a shelf. Its methods may be called by
// several machines at once.
type Splits struct {
	Shelf Shelf
	Now   func() time.Time
}

// Opening is work that a shard would have shared out. Of all that ask for a
// queue of a name, the first makes it.
type Opening struct {
	Repository string       `json:"repository"`
	Name       string       `json:"name"`
	Runner     string       `json:"runner"`
	Shards     int          `json:"shards"` // how many are expected
	Start      float64      `json:"start"`  // seconds that it costs to begin a batch
	Items      []suite.Item `json:"items"`
}

// Turn is what a shard is to do next.
type Turn struct {
	Batch *suite.Batch `json:"batch,omitempty"` // nil: nothing now
	// Over says that all has been done, or cannot be. Until then a shard that has nothing to do
	// may be given what another was lost with.
	Over bool `json:"over"`
	// Deadly are items that are not handed out any more: too many shards were lost with
	// them.
	Deadly []string `json:"deadly,omitempty"`
	// Lost are the shards that were found lost just now.
	Lost []string `json:"lost,omitempty"`
}

// Report says how a batch ended.
type Report struct {
	Shard   string             `json:"shard"`
	Batch   int                `json:"batch"`
	Seconds float64            `json:"seconds"`
	Failed  bool               `json:"failed"`
	Items   map[string]float64 `json:"items"` // seconds, by the names of items
}

// ErrOtherTests says that a queue is of other tests than the shard's.
var ErrOtherTests = errors.New("the queue is of other tests")

// ErrBadSplit says what of an opening makes no sense.
var ErrBadSplit = errors.New("it cannot be shared out")

func splitID(repository, name string) string { return repository + "\x1f" + name }

// asked is the digest of what there is to do.
func asked(items []suite.Item) string {
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = fmt.Sprintf("%q %q", item.Name, item.Tests)
	}
	slices.Sort(list)
	sum := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return hex.EncodeToString(sum[:16])
}

// Open makes a queue, unless there is one of that name. made says whether there was
// none. The error is an [ErrOtherTests] when there is one of other tests.
func (s *Splits) Open(ctx context.Context, o Opening) (made bool, err error) {
	tests := 0
	for _, item := range o.Items {
		tests += len(item.Tests)
	}
	switch {
	case o.Name == "" || len(o.Name) > maxSplitName || strings.ContainsFunc(o.Name, func(r rune) bool { return r < ' ' }):
		return false, fmt.Errorf("%w: a queue has a name of at most %d bytes, without control characters", ErrBadSplit, maxSplitName)
	case o.Shards < 1 || o.Shards > maxShards:
		return false, fmt.Errorf("%w: %d shards: there are 1 to %d", ErrBadSplit, o.Shards, maxShards)
	case len(o.Items) > maxSplit || tests > maxItemTests:
		return false, fmt.Errorf("%w: %d items with %d tests: there may be %d with %d", ErrBadSplit, len(o.Items), tests, maxSplit, maxItemTests)
	}
	now := s.Now().UTC()
	err = s.change(ctx, o.Repository, o.Name, func(old *Split) (*Split, error) {
		digest := asked(o.Items)
		if old != nil {
			if old.Asked != digest {
				return nil, fmt.Errorf("queue %s: %w: it has %d, and this shard sees %d", o.Name, ErrOtherTests, len(old.Items), len(o.Items))
			}
			made = false
			return nil, nil
		}
		made = true
		q := suite.NewQueue(o.Items, o.Shards, o.Start)
		return &Split{
			Repository: o.Repository, Name: o.Name, Runner: o.Runner, Begun: now, Queue: q, Asked: digest,
			Items: slices.Clone(q.Waiting), Heard: map[string]time.Time{},
		}, nil
	})
	return made, err
}

// Next gives a shard its next batch. Shards that have said nothing for longer than
// patience (0: [Patience]) are lost: what they had is handed out again.
func (s *Splits) Next(ctx context.Context, repository, name, shard string, patience time.Duration) (turn Turn, err error) {
	if err := shardName(shard); err != nil {
		return turn, err
	}
	patience = cmp.Or(patience, Patience)
	now := s.Now().UTC()
	err = s.change(ctx, repository, name, func(x *Split) (*Split, error) {
		if x == nil {
			return nil, fmt.Errorf("queue %s: %w", name, fs.ErrNotExist)
		}
		turn = Turn{}
		x.Heard[shard] = now
		for _, other := range x.Queue.Silent(now, patience) {
			if other == shard || now.Sub(x.Heard[other]) <= patience {
				continue
			}
			x.Queue.Lose(other)
			turn.Lost = append(turn.Lost, other)
			x.Gone = append(x.Gone, other)
		}
		if b, ok := x.Queue.Next(shard, now); ok {
			turn.Batch = &b
		}
		turn.Over = x.Queue.Over()
		for _, item := range x.Queue.Deadly {
			turn.Deadly = append(turn.Deadly, item.Name)
		}
		if turn.Over && x.Ended.IsZero() {
			x.Ended = now
		}
		return x, nil
	})
	return turn, err
}

// Alive says that a shard still works at its batch.
func (s *Splits) Alive(ctx context.Context, repository, name, shard string) error {
	if err := shardName(shard); err != nil {
		return err
	}
	now := s.Now().UTC()
	return s.change(ctx, repository, name, func(x *Split) (*Split, error) {
		if x == nil {
			return nil, fmt.Errorf("queue %s: %w", name, fs.ErrNotExist)
		}
		x.Heard[shard] = now
		return x, nil
	})
}

func shardName(shard string) error {
	if shard == "" || len(shard) > maxShardName || strings.ContainsFunc(shard, func(r rune) bool { return r < ' ' }) {
		return fmt.Errorf("%w: a shard has a name of at most %d bytes, without control characters", ErrBadSplit, maxShardName)
	}
	return nil
}

// Done says that a batch is over. counted is false when it was not under way: the shard had been
// believed lost, and another does it again.
func (s *Splits) Done(ctx context.Context, repository, name string, r Report) (counted bool, err error) {
	now := s.Now().UTC()
	err = s.change(ctx, repository, name, func(x *Split) (*Split, error) {
		if x == nil {
			return nil, fmt.Errorf("queue %s: %w", name, fs.ErrNotExist)
		}
		i := slices.IndexFunc(x.Queue.Out, func(b suite.Batch) bool { return b.ID == r.Batch && b.Shard == r.Shard })
		if counted = i >= 0; !counted {
			return nil, nil
		}
		b := x.Queue.Out[i]
		x.Queue.Done(r.Batch)
		x.Heard[r.Shard] = now
		ran := Ran{Batch: b.ID, Shard: b.Shard, From: b.Since, To: now, Planned: b.Seconds, Failed: r.Failed}
		for _, item := range b.Items {
			took := Took{Name: item.Name, Planned: item.Seconds, Seconds: r.Items[item.Name]}
			if took.Seconds == 0 && len(b.Items) == 1 {
				took.Seconds = max(r.Seconds, 0)
			}
			ran.Items = append(ran.Items, took)
		}
		x.Ran = append(x.Ran, ran)
		if x.Queue.Over() {
			x.Ended = now
		}
		return x, nil
	})
	return counted, err
}

// Look is a queue and what has come of it. The error is an fs.ErrNotExist when there is
// none of that name.
func (s *Splits) Look(ctx context.Context, repository, name string) (*Split, error) {
	body, version, err := s.Shelf.Read(ctx, splitID(repository, name))
	if err != nil {
		return nil, fmt.Errorf("read queue %s: %w", name, err)
	}
	if version == 0 {
		return nil, fmt.Errorf("queue %s: %w", name, fs.ErrNotExist)
	}
	x := new(Split)
	if err := json.Unmarshal(body, x); err != nil || x.Queue == nil {
		return nil, fmt.Errorf("read queue %s: it is none of ours: %w", name, cmp.Or(err, ErrBadSplit))
	}
	return x, nil
}

// SplitsOf are the queues of a repository in the record, the newest first, at most
// limit.
func SplitsOf(ctx context.Context, r Registers, repository string, limit int) ([]Split, error) {
	list, err := r.Registers(ctx, splitKind, splitID(repository, ""))
	if err != nil {
		return nil, fmt.Errorf("list the queues of %s: %w", repository, err)
	}
	slices.SortFunc(list, func(a, b record.Register) int { return b.Changed.Compare(a.Changed) })
	var all []Split
	for _, reg := range list[:min(len(list), limit)] {
		var x Split
		if json.Unmarshal(reg.Body, &x) == nil && x.Queue != nil {
			all = append(all, x)
		}
	}
	slices.SortStableFunc(all, func(a, b Split) int { return b.Begun.Compare(a.Begun) })
	return all, nil
}

// change changes a queue, as often as others come before. Nothing is written when do
// returns nil.
func (s *Splits) change(ctx context.Context, repository, name string, do func(*Split) (*Split, error)) error {
	id := splitID(repository, name)
	for range shelfTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, version, err := s.Shelf.Read(ctx, id)
		if err != nil {
			return fmt.Errorf("read queue %s: %w", name, err)
		}
		var x *Split
		if version > 0 {
			x = new(Split)
			if err := json.Unmarshal(body, x); err != nil || x.Queue == nil {
				return fmt.Errorf("read queue %s: it is none of ours: %w", name, cmp.Or(err, ErrBadSplit))
			}
			if x.Heard == nil {
				x.Heard = map[string]time.Time{}
			}
		}
		next, err := do(x)
		if err != nil || next == nil {
			return err
		}
		if body, err = json.Marshal(next); err != nil {
			return fmt.Errorf("write queue %s: %w", name, err)
		}
		if err = s.Shelf.Write(ctx, id, version, body); err == nil {
			return nil
		}
		if !errors.Is(err, record.ErrConflict) {
			return fmt.Errorf("write queue %s: %w", name, err)
		}
	}
	return fmt.Errorf("write queue %s: others came before %d times: %w", name, shelfTries, record.ErrConflict)
}

// Lane is what one shard did, or what a plan would have it do.
type Lane struct {
	Shard   string  `json:"shard"`
	Seconds float64 `json:"seconds"` // when its last batch was over, from the beginning
	Busy    float64 `json:"busy"`    // of these, seconds that it worked
	Parts   []Part  `json:"parts"`
	Lost    bool    `json:"lost,omitempty"`
}

// Part is a batch on its shard's time, in seconds from the beginning.
type Part struct {
	From    float64  `json:"from"`
	To      float64  `json:"to"`
	Planned float64  `json:"planned"`
	Names   []string `json:"names"`
	Failed  bool     `json:"failed,omitempty"`
	Running bool     `json:"running,omitempty"`
}

// Picture is a split as it is shown: what a plan made beforehand would have done with the
// times that were known then, and what happened.
type Picture struct {
	Planned  []Lane  `json:"planned"`
	Happened []Lane  `json:"happened"`
	Plan     float64 `json:"plan"` // seconds until the plan's last shard ends
	Took     float64 `json:"took"` // seconds until the last batch that is over ended
	// Bound is a time in which nobody can be done, by what the items really took, and, as far as
	// that is not known, are expected to take.
	Bound   float64 `json:"bound"`
	Done    int     `json:"done"` // items
	Items   int     `json:"items"`
	Unknown int     `json:"unknown"` // items that had no time
	Assumed float64 `json:"assumed"` // seconds that each of them was taken for
	// Surprises are the items whose time was expected most wrongly, the worst first.
	Surprises []Took   `json:"surprises"`
	New       []string `json:"new"` // items without a time, the first ones
}

const (
	maxSurprises = 10
	maxNew       = 20
)

// Picture draws a split as it was at a time.
func (x *Split) Picture(now time.Time) Picture {
	p := Picture{Items: len(x.Items), Unknown: x.Queue.Unknown, Assumed: x.Queue.Assumed}
	at := func(t time.Time) float64 { return max(t.Sub(x.Begun).Seconds(), 0) }
	plan := suite.NewPlan(x.Items, x.Queue.Shards)
	for i, share := range plan.Shares {
		lane := Lane{Shard: strconv.Itoa(i + 1), Seconds: share.Seconds, Busy: share.Seconds, Parts: []Part{}}
		var from float64
		for _, item := range share.Items {
			lane.Parts = append(lane.Parts, Part{From: from, To: from + item.Seconds, Planned: item.Seconds, Names: []string{item.Name}})
			from += item.Seconds
		}
		p.Planned = append(p.Planned, lane)
		p.Plan = max(p.Plan, share.Seconds)
	}
	lanes := map[string]*Lane{}
	lane := func(shard string) *Lane {
		if lanes[shard] == nil {
			lanes[shard] = &Lane{Shard: shard, Lost: slices.Contains(x.Gone, shard), Parts: []Part{}}
		}
		return lanes[shard]
	}
	for shard := range x.Heard {
		lane(shard)
	}
	// Of a name that was cut into its tests, each part counts as it was planned.
	type identity struct {
		name  string
		tests int
	}
	took := map[identity]float64{}
	for _, r := range x.Ran {
		l := lane(r.Shard)
		part := Part{From: at(r.From), To: at(r.To), Planned: r.Planned, Failed: r.Failed}
		for _, item := range r.Items {
			part.Names = append(part.Names, item.Name)
			p.Done++
			if item.Seconds > 0 {
				took[identity{name: item.Name}] = item.Seconds
				p.Surprises = append(p.Surprises, item)
			}
		}
		l.Parts = append(l.Parts, part)
		l.Busy += part.To - part.From
		l.Seconds = max(l.Seconds, part.To)
		p.Took = max(p.Took, part.To)
	}
	for _, b := range x.Queue.Out {
		l := lane(b.Shard)
		part := Part{From: at(b.Since), To: max(at(now), at(b.Since)), Planned: b.Seconds, Running: true}
		for _, item := range b.Items {
			part.Names = append(part.Names, item.Name)
		}
		l.Parts = append(l.Parts, part)
	}
	for _, l := range lanes {
		p.Happened = append(p.Happened, *l)
	}
	slices.SortFunc(p.Happened, func(a, b Lane) int {
		return cmp.Or(cmp.Compare(len(a.Shard), len(b.Shard)), cmp.Compare(a.Shard, b.Shard))
	})
	seconds := make([]float64, 0, len(x.Items))
	for _, item := range x.Items {
		s, known := took[identity{item.Name, len(item.Tests)}]
		if !known {
			s = item.Seconds
		}
		seconds = append(seconds, s)
	}
	p.Bound = suite.Bound(seconds, x.Queue.Shards)
	slices.SortFunc(p.Surprises, func(a, b Took) int {
		off := func(t Took) float64 { return max(t.Seconds-t.Planned, t.Planned-t.Seconds) }
		return cmp.Or(cmp.Compare(off(b), off(a)), cmp.Compare(a.Name, b.Name))
	})
	p.Surprises = slices.Clip(p.Surprises[:min(len(p.Surprises), maxSurprises)])
	for _, item := range x.Items {
		if x.Queue.Unknown > 0 && item.Seconds == x.Queue.Assumed && len(p.New) < min(maxNew, x.Queue.Unknown) {
			p.New = append(p.New, item.Name)
		}
	}
	return p
}
