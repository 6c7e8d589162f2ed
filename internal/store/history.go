package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// What the SQL stores have in common of a [suite.Ledger]: how results lie in
// columns. There are tens of millions of them, and each is written once and read
// rarely, so a row for each would cost more than all the rest. Instead:
//
//	reports    one row for all that results of one job have in common
//	tests      one row a test, as lists show it
//	histories  the results of a test, packed: a chunk that grows, and full ones
//
// A result is packed as about twelve bytes that name its report. Writing one is
// adding these to the chunk of its test, and a page of a test's history is a chunk
// or two.

// FullChunk is the size in bytes from which on a chunk of results is full.
const FullChunk = 1024

// maxMicros is the longest time of a test that is kept, in microseconds: a year.
const maxMicros = 365 * 24 * 3600 * 1e6

// Report is what results of one job have in common.
type Report struct {
	ID         int64
	Repository string
	Run        int64
	Job        string
	Time       time.Time
	Commit     string
	Branch     string
	Base       bool
	Inputs     uint64
	Storm      bool
}

// key is the report without what tells it from one that says the same.
func (r Report) key() Report { r.ID = 0; return r }

// Lesson is what was learned about one test at once.
type Lesson struct {
	Row   suite.Row
	State []byte
	Pack  []byte // its results, packed, oldest first
	Top   int64  // the greatest of their runs, 0 when there are none
}

// Lessons puts what was learned into columns: a lesson for each test, in the
// order in which the tests come first, and the reports, which have IDs from first
// on. Texts are as a database takes them.
func Lessons(learned []suite.Learned, first int64) ([]Lesson, []Report, error) {
	lessons := make([]Lesson, 0, len(learned))
	index := make(map[suite.ID]int, len(learned))
	var reports []Report
	ids := map[Report]int64{}
	var last Report // nearly always that of the result before
	for i := range learned {
		l := &learned[i]
		row := cleanRow(l.Row)
		at, known := index[row.ID]
		if !known {
			at = len(lessons)
			index[row.ID] = at
			lessons = append(lessons, Lesson{})
		}
		lesson := &lessons[at]
		lesson.Row, lesson.State = row, l.State
		if l.Result.Outcome == 0 {
			continue // the row alone
		}
		run, err := RunNumber(l.Result.Run)
		if err != nil {
			return nil, nil, fmt.Errorf("learn a result: %w", err)
		}
		rep := Report{
			Repository: row.Repository, Run: run, Job: Clean(l.Result.Job), Time: Cut(l.Result.Time), Commit: Clean(l.Result.Commit),
			Branch: Clean(l.Result.Branch), Base: l.Result.Base, Inputs: l.Result.Inputs, Storm: l.Result.Storm,
		}
		if last.ID == 0 || rep != last.key() {
			id, known := ids[rep]
			last = rep
			if last.ID = id; !known {
				last.ID = first + int64(len(reports))
				ids[rep], reports = last.ID, append(reports, last)
			}
		}
		lesson.Pack = packResult(lesson.Pack, last.ID, run, &l.Result)
		lesson.Top = max(lesson.Top, run)
	}
	return lessons, reports, nil
}

func cleanRow(r suite.Row) suite.Row {
	r.Repository, r.Key, r.Variant = Clean(r.Repository), Clean(r.Key), Clean(r.Variant)
	r.Title, r.File, r.Owner, r.Why = Clean(r.Title), Clean(r.File), Clean(r.Owner), Clean(r.Why)
	for _, f := range []*float64{&r.Rate, &r.Low, &r.High, &r.Seconds, &r.Lost} {
		if math.IsNaN(*f) || math.IsInf(*f, 0) {
			*f = 0
		}
	}
	return r
}

// The outcome of a packed result has bits beside it.
const (
	packedFault       = 1 << iota // its fault follows
	packedUnreachable             // it is Unreachable
	packedOutcome     = iota      // the outcome begins at this bit
)

// packResult adds a result: its report, its run, its outcome, its time in
// microseconds, its fault if it has one.
func packResult(b []byte, report, run int64, r *suite.Result) []byte {
	b = binary.AppendUvarint(b, uint64(report))
	b = binary.AppendUvarint(b, uint64(run))
	kind := byte(r.Outcome) << packedOutcome
	if r.Fault != 0 {
		kind |= packedFault
	}
	if r.Unreachable {
		kind |= packedUnreachable
	}
	b = append(b, kind)
	micros := r.Seconds * 1e6
	if !(micros > 0) { // also when it is no number
		micros = 0
	}
	b = binary.AppendUvarint(b, uint64(min(micros, maxMicros)+0.5))
	if r.Fault != 0 {
		b = binary.LittleEndian.AppendUint64(b, r.Fault)
	}
	return b
}

// Packed is a result in a chunk.
type Packed struct {
	Report, Run int64
	Outcome     suite.Outcome
	Unreachable bool
	Seconds     float64
	Fault       uint64
}

var errChunk = errors.New("a chunk of test results is damaged")

// Unpack reads a chunk of results, oldest first.
func Unpack(chunk []byte) (list []Packed, err error) {
	number := func() (v uint64) {
		v, n := binary.Uvarint(chunk)
		if n <= 0 || v > math.MaxInt64 {
			chunk, err = nil, errChunk
			return 0
		}
		chunk = chunk[n:]
		return v
	}
	for len(chunk) > 0 {
		p := Packed{Report: int64(number()), Run: int64(number())}
		if len(chunk) == 0 {
			return nil, errChunk
		}
		kind := chunk[0]
		chunk = chunk[1:]
		p.Outcome, p.Unreachable, p.Seconds = suite.Outcome(kind>>packedOutcome), kind&packedUnreachable != 0, float64(number())/1e6
		if err != nil {
			return nil, err
		}
		if p.Outcome == 0 || p.Outcome > suite.Errored {
			return nil, errChunk
		}
		if kind&packedFault != 0 {
			if len(chunk) < 8 {
				return nil, errChunk
			}
			p.Fault, chunk = binary.LittleEndian.Uint64(chunk), chunk[8:]
		}
		list = append(list, p)
	}
	return list, nil
}

// NewestFirst sorts packed results by run, and of one run by report, the newest
// first.
func NewestFirst(list []Packed) {
	slices.SortStableFunc(list, func(a, b Packed) int {
		return cmp.Or(cmp.Compare(b.Run, a.Run), cmp.Compare(b.Report, a.Report))
	})
}

// Result is the packed result with what its report knows.
func (p Packed) Result(r *Report) suite.Result {
	out := suite.Result{Run: strconv.FormatInt(p.Run, 10), Outcome: p.Outcome, Unreachable: p.Unreachable, Seconds: p.Seconds, Fault: p.Fault}
	if r != nil {
		out.Job, out.Time, out.Commit, out.Branch, out.Base, out.Inputs, out.Storm = r.Job, r.Time, r.Commit, r.Branch, r.Base, r.Inputs, r.Storm
	}
	return out
}

// Chunk is the chunk of a test in a list of its chunks.
type Chunk struct {
	N   int64 // counts up from 0; the one that grows is the last
	Top int64 // the greatest run in it
}

// Page is the newest results of a test before a run (0 for all), newest first, at
// most limit. The chunks are those of the test, and read gives one's results.
func Page(chunks []Chunk, before int64, limit int, read func(n int64) ([]byte, error)) ([]Packed, error) {
	chunks = slices.SortedFunc(slices.Values(chunks), func(a, b Chunk) int {
		return cmp.Or(cmp.Compare(b.Top, a.Top), cmp.Compare(b.N, a.N))
	})
	var list []Packed
	for _, c := range chunks {
		// Runs overlap: a chunk counts until all that is asked for is newer than it.
		if len(list) >= limit && list[limit-1].Run > c.Top {
			break
		}
		data, err := read(c.N)
		if err != nil {
			return nil, err
		}
		some, err := Unpack(data)
		if err != nil {
			return nil, err
		}
		for _, p := range some {
			if before == 0 || p.Run < before {
				list = append(list, p)
			}
		}
		NewestFirst(list)
	}
	return list[:min(limit, len(list))], nil
}

// The most rows and columns that one question is answered with.
const (
	defaultTests = 100
	maxTests     = 10_000
)

// TestLimit is how many of something about tests are given to whoever asks for n.
func TestLimit(n int) int {
	if n <= 0 {
		return defaultTests
	}
	return min(n, maxTests)
}

// TestOrder is an order of tests, as SQL. The column key makes it a whole one.
func TestOrder(order string) string {
	switch order {
	case "rate", "lost", "seconds":
		return order + " DESC, title, key, variant"
	case "failed":
		return "failed IS NULL, failed DESC, title, key, variant"
	}
	return "title, key, variant"
}

// Learnt is the error of learning what was learned before.
func Learnt(reader string, seq, at int64) error {
	return fmt.Errorf("reader %s has come to event %d, which is not before %d: %w", reader, at, seq, record.ErrConflict)
}

// Names are the variants and keys of tests.
func Names(ids []suite.ID) [][2]string {
	names := make([][2]string, len(ids))
	for i, id := range ids {
		names[i] = [2]string{id.Variant, id.Key}
	}
	return names
}
