package crew

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// spool is what a job of a worker has to say, on its disk until the server has it: the
// entries in their order. It is the job's record and its log at the same time.
//
//	DIR/errand    a Ref as JSON
//	DIR/entries   each entry after its size and CRC-32C (4 bytes each, little endian)
//
// What is written survives the death of the process. An entry that was cut off by it is
// as if it had never been said.
type spool struct {
	ref  Ref
	dir  string
	file *os.File

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when there are more entries
	ends    []int64       // of each entry, in the file
	firsts  []lineAt      // entries of lines
	needs   map[int64][]blob.Digest
	ended   bool // the last entry is the job's end
	seq     int64

	base    int64  // lines that the log had before
	lines   int64  // that it has, those of pending included
	pending []byte // an entry of lines that is not written yet
	timer   *time.Timer
	err     error // final
}

// lineAt says which line an entry of lines begins with.
type lineAt struct {
	entry, line int64
}

const (
	spoolHeader = 8
	// spoolLines is the size at which lines are written, flushLines how long they wait
	// at most.
	spoolLines = 64 << 10
	flushLines = 50 * time.Millisecond
)

var spoolSum = crc32.MakeTable(crc32.Castagnoli)

// newSpool begins a spool in a directory of its own.
func newSpool(dir string, ref Ref, base int64) (*spool, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("make room for %s: %w", ref, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make room for %s: %w", ref, err)
	}
	data, err := json.Marshal(ref)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "errand"), data, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make room for %s: %w", ref, err)
	}
	return openSpool(dir, ref, base)
}

func openSpool(dir string, ref Ref, base int64) (*spool, error) {
	f, err := os.OpenFile(filepath.Join(dir, "entries"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open what %s has to say: %w", ref, err)
	}
	return &spool{ref: ref, dir: dir, file: f, base: base, lines: base, changed: make(chan struct{}), needs: map[int64][]blob.Digest{}}, nil
}

// spools are those that an earlier process has left below a directory. What cannot be
// read is removed: nobody can say it any more.
func spools(dir string) (left []*spool, err error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for what is still to be said: %w", err)
	}
	for _, e := range list {
		s, err := recoverSpool(filepath.Join(dir, e.Name()))
		if err != nil {
			err = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return nil, fmt.Errorf("look for what is still to be said: %w", err)
		}
		if s != nil {
			left = append(left, s)
		}
	}
	return left, nil
}

// recoverSpool reads a spool of an earlier process.
func recoverSpool(dir string) (*spool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "errand"))
	if err != nil {
		return nil, err
	}
	var ref Ref
	if err := json.Unmarshal(data, &ref); err != nil {
		return nil, err
	}
	s, err := openSpool(dir, ref, 0)
	if err != nil {
		return nil, err
	}
	end, err := s.scan()
	if err == nil {
		err = s.file.Truncate(end)
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// scan reads the entries that are whole.
func (s *spool) scan() (end int64, err error) {
	st, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	for {
		entry, err := readSpooled(s.file, end, st.Size())
		if err != nil {
			return end, nil //nolint:nilerr // what was cut off is not there
		}
		if entry[0] == entryEvents {
			events, err := readEvents(entry[1:], s.ref.Run, s.ref.Job)
			if err != nil {
				return end, nil //nolint:nilerr // as above
			}
			s.need(digestsOf(events)...)
		}
		if entry[0] == entryArtifact || entry[0] == entryCache {
			var a struct{ Digest blob.Digest }
			if json.Unmarshal(entry[1:], &a) != nil {
				return end, nil // as above
			}
			s.need(a.Digest)
		}
		s.ended = entry[0] == entryEnd
		end += spoolHeader + int64(len(entry))
		s.ends = append(s.ends, end)
	}
}

// readSpooled reads the entry at an offset.
func readSpooled(f io.ReaderAt, at, size int64) ([]byte, error) {
	var head [spoolHeader]byte
	if size-at < spoolHeader {
		return nil, io.EOF
	}
	if _, err := f.ReadAt(head[:], at); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n == 0 || n > maxEntry || n > size-at-spoolHeader {
		return nil, io.ErrUnexpectedEOF
	}
	entry := make([]byte, n)
	if _, err := f.ReadAt(entry, at+spoolHeader); err != nil {
		return nil, err
	}
	if crc32.Checksum(entry, spoolSum) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, io.ErrUnexpectedEOF
	}
	return entry, nil
}

// need notes which blobs the server must have before the next entry.
func (s *spool) need(digests ...blob.Digest) {
	if n := int64(len(s.ends)); len(digests) > 0 {
		s.needs[n] = append(s.needs[n], digests...)
	}
}

// needed adds the blobs that the server must have.
func (s *spool) needed(all map[blob.Digest]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, digests := range s.needs {
		for _, d := range digests {
			all[d] = true
		}
	}
}

// digestsOf are the blobs that events speak of.
func digestsOf(events []record.Event) (digests []blob.Digest) {
	for _, e := range events {
		for _, text := range named(e.Body) {
			if d, err := blob.Parse(text); err == nil {
				digests = append(digests, d)
			}
		}
	}
	return digests
}

// named are the blobs that an event names and the server has to have.
func named(body record.Body) (digests []string) {
	switch b := body.(type) {
	case *record.ArtifactSaved:
		if digests = []string{b.Digest}; b.Shown != nil {
			digests = append(digests, b.Shown.Digest)
		}
		for _, e := range b.Earlier {
			digests = append(digests, e.Kept)
		}
	case *record.TestsReported:
		digests = []string{b.Results}
	case *record.CoverageReported:
		digests = []string{b.Report}
	case *record.StepFinished:
		if b.Watched != nil {
			digests = []string{b.Watched.Kept}
			for _, e := range b.Watched.Earlier {
				digests = append(digests, e.Kept)
			}
		}
	}
	return slices.DeleteFunc(digests, func(d string) bool { return d == "" })
}

// add writes an entry. The caller holds mu.
func (s *spool) add(entry []byte) error {
	if s.err != nil {
		return s.err
	}
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, spoolHeader+len(entry)), uint32(len(entry)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(entry, spoolSum))
	at := s.size()
	if _, err := s.file.WriteAt(append(head, entry...), at); err != nil {
		s.err = fmt.Errorf("keep what %s has to say: %w", s.ref, err)
		return s.err
	}
	s.ends = append(s.ends, at+spoolHeader+int64(len(entry)))
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *spool) size() int64 {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

// Append implements [engine.Record].
func (s *spool) Append(_ context.Context, events ...record.Event) ([]record.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(); err != nil {
		return nil, err
	}
	told := slices.Clone(events)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range told {
		if told[i].Time.IsZero() {
			told[i].Time = now
		}
		s.seq++
		told[i].Seq = s.seq
	}
	entry, err := eventsEntry(told)
	if err != nil {
		return nil, err
	}
	s.need(digestsOf(told)...)
	return told, s.add(entry)
}

// saved says what the job has saved: an artifact or a cache, as a depot has it.
func (s *spool) saved(kind byte, entry any, d blob.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.Marshal(entry)
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return err
	}
	s.need(d)
	return s.add(append([]byte{kind}, data...))
}

// end says how the attempt ended. Nothing can be said after it.
func (s *spool) end(e ending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := s.add(append([]byte{entryEnd}, data...)); err != nil {
		return err
	}
	s.ended = true
	return nil
}

// Line implements [engine.Log].
func (s *spool) Line(step string, at time.Time, text []byte) (int64, error) {
	switch {
	case len(text) > logs.MaxLine, len(step) > logs.MaxStep:
		return 0, logs.ErrTooLong
	case strings.IndexByte(string(text), '\n') >= 0:
		text = []byte(strings.ReplaceAll(string(text), "\n", " "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if len(s.pending) == 0 {
		s.pending = beginLines(s.pending, s.lines)
		s.firsts = append(s.firsts, lineAt{int64(len(s.ends)), s.lines})
		if s.timer == nil {
			s.timer = time.AfterFunc(flushLines, s.later)
		} else {
			s.timer.Reset(flushLines)
		}
	}
	s.pending = appendLine(s.pending, step, at, text)
	n := s.lines
	s.lines++
	if len(s.pending) >= spoolLines {
		return n, s.flush()
	}
	return n, nil
}

// later writes what has waited for long enough.
func (s *spool) later() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.flush() // the next line, or the end, tells of the error
}

// flush writes pending lines. The caller holds mu.
func (s *spool) flush() error {
	if s.err != nil || len(s.pending) == 0 {
		return s.err
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	entry := s.pending
	s.pending = s.pending[:0]
	return s.add(entry)
}

// Lines implements [engine.Log].
func (s *spool) Lines() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}

// Flush implements [engine.Log].
func (s *spool) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flush()
}

// Close implements [engine.Log]. The log may be opened again: see spool.
func (s *spool) Close() error { return s.Flush() }

// Text implements [engine.Log].
func (s *spool) Text(step string, from, to int64) (io.ReadCloser, error) {
	s.mu.Lock()
	firsts, ends := slices.Clone(s.firsts), slices.Clone(s.ends)
	s.mu.Unlock()
	out, in := io.Pipe()
	go func() {
		var line []byte
		errStop := errors.New("enough")
		for i, at := range firsts {
			if at.line >= to || at.entry >= int64(len(ends)) {
				break
			}
			if i+1 < len(firsts) && firsts[i+1].line <= from {
				continue
			}
			entry, err := s.entry(ends, at.entry)
			if err == nil {
				err = eachLine(entry[1:], func(n int64, of string, _ time.Time, text []byte) error {
					if n < from || n >= to || of != step {
						return nil
					}
					line = append(append(line[:0], text...), '\n')
					if _, err := in.Write(line); err != nil {
						return errStop // whoever reads has enough
					}
					return nil
				})
			}
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				in.CloseWithError(err)
				return
			}
		}
		in.Close()
	}()
	return out, nil
}

// entry reads one entry.
func (s *spool) entry(ends []int64, n int64) ([]byte, error) {
	var at int64
	if n > 0 {
		at = ends[n-1]
	}
	entry, err := readSpooled(s.file, at, ends[n])
	if err != nil {
		return nil, fmt.Errorf("read what %s has to say: %w", s.ref, err)
	}
	return entry, nil
}

// batch is what can be said at once, from an entry on, and which artifacts have to be there
// before. Without entries there is a channel that is closed when there are some.
func (s *spool) batch(from int64, most int) (said []byte, next int64, needs []blob.Digest, more <-chan struct{}, err error) {
	s.mu.Lock()
	ends, changed := s.ends, s.changed
	s.mu.Unlock()
	for next = from; next < int64(len(ends)); next++ {
		entry, err := s.entry(ends, next)
		if err != nil {
			return nil, from, nil, nil, err
		}
		if len(said) > 0 && len(said)+len(entry) > most {
			break
		}
		said = frame(said, entry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := from; n < next; n++ {
		needs = append(needs, s.needs[n]...)
	}
	return said, next, needs, changed, nil
}

// remove forgets all of it.
func (s *spool) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.err == nil {
		s.err = fs.ErrClosed
	}
	return errors.Join(s.file.Close(), os.RemoveAll(s.dir))
}
