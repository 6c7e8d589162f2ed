package logs

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"sync"
	"time"
)

// flushAfter is how long a line may wait before it can be read.
const flushAfter = 50 * time.Millisecond

// maxQueue is how many frames may wait to be compressed before a writer has to
// wait, too: one being compressed, one next.
const maxQueue = 2

// Writer writes one log. It may be used by several goroutines; their lines
// are numbered in the order in which they come. An error of a Writer is final:
// all later calls return it.
type Writer struct {
	path string
	f    *os.File

	mu      sync.Mutex
	changed sync.Cond // the queue has become shorter
	err     error
	closed  bool
	now     *lines   // being filled
	spare   []*lines // to be used again
	armed   bool     // timer will flush
	timer   *time.Timer

	// What of now is in the tail already.
	flushedBytes, flushedLines int
	tail                       *os.File // nil until something was flushed
	tailSize                   int64
	tailOld                    bool // all that the tail holds is in frames
	scratch                    []byte

	// queue is compressed and written by the goroutine seal, which is there
	// once there was a first frame; its head stays until it is written.
	queue   []*lines
	sealing bool
	sealed  chan struct{} // closed when seal has returned

	// Of seal alone while the queue is not empty, else of who holds mu.
	off   int64 // where the next block goes
	index []entry
	out   []byte
}

// Create begins a log, or goes on with one that was interrupted, after its
// last whole line. A log has one writer at a time.
func Create(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("logs: create: %w", err)
	}
	w := &Writer{path: path, f: f, now: &lines{}}
	w.changed.L = &w.mu
	if err := w.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("logs: create %s: %w", path, err)
	}
	return w, nil
}

func (w *Writer) open() error {
	if err := lock(w.f); err != nil {
		return err
	}
	info, err := w.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		if _, err := os.Lstat(tailPath(w.path)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return w.recover()
}

func tailPath(path string) string { return path + ".tail" }

// recover cuts what is not whole, and makes a frame of what is in the tail.
func (w *Writer) recover() error {
	r := &Reader{path: w.path, f: w.f}
	if err := r.refresh(); err != nil {
		return err
	}
	w.index, w.off, w.now.first = r.index, r.scanned, r.total
	if err := w.f.Truncate(w.off); err != nil {
		return err
	}
	for _, b := range readTail(w.path) {
		if b.first > w.now.first && w.now.count == 0 {
			w.now.first = b.first // the file has been damaged meanwhile
		}
		next := w.now.first + int64(w.now.count)
		if b.first > next {
			break
		}
		_, err := walk(&b.header, b.raw, next, func(l Line) bool {
			w.now.add(l.Step, l.Time.UnixMicro(), l.Text)
			return true
		})
		if err != nil {
			break
		}
	}
	if w.now.count > 0 {
		if err := w.write(w.now); err != nil {
			return err
		}
		w.now = &lines{first: w.now.first + int64(w.now.count)}
	}
	if err := os.Remove(tailPath(w.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ErrTooLong is the error for a line longer than [MaxLine], or a step's name
// longer than [MaxStep]. Unlike other errors it is not final.
var ErrTooLong = errors.New("logs: line too long")

// Line appends a line, and returns its number. The text is any bytes but should
// hold no end of line. Line returns before the line is in the file; see Flush.
func (w *Writer) Line(step string, t time.Time, text []byte) (n int64, err error) {
	if len(text) > MaxLine || len(step) > MaxStep {
		return 0, ErrTooLong
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.closed {
		return 0, cmp.Or(w.err, fs.ErrClosed)
	}
	n = w.now.first + int64(w.now.count)
	w.now.add(step, t.UnixMicro(), text)
	if len(w.now.raw) >= frameSize {
		w.hand()
	}
	if !w.armed {
		w.armed = true
		if w.timer == nil {
			w.timer = time.AfterFunc(flushAfter, w.ring)
		} else {
			w.timer.Reset(flushAfter)
		}
	}
	return n, w.err
}

// ring is called by the timer.
func (w *Writer) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if w.err == nil {
		w.flush()
	}
}

// hand hands the lines over to be sealed.
func (w *Writer) hand() {
	full := w.now
	w.now = &lines{}
	if n := len(w.spare); n > 0 {
		w.now, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	w.now.first = full.first + int64(full.count)
	w.flushedBytes, w.flushedLines, w.tailOld = 0, 0, true

	w.queue = append(w.queue, full)
	if !w.sealing {
		w.sealing, w.sealed = true, make(chan struct{})
		go w.seal()
	}
	w.changed.Broadcast()
	for len(w.queue) > maxQueue && w.err == nil {
		w.changed.Wait()
	}
}

// seal compresses and writes what is in the queue, until the log is closed or
// something fails.
func (w *Writer) seal() {
	defer close(w.sealed)
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.queue) == 0 && !w.closed && w.err == nil {
			w.changed.Wait()
		}
		if len(w.queue) == 0 || w.err != nil {
			return
		}
		l := w.queue[0]
		w.mu.Unlock()
		err := w.write(l)
		w.mu.Lock()
		w.queue = w.queue[1:]
		if len(w.spare) < maxQueue {
			*l = lines{raw: l.raw[:0]}
			w.spare = append(w.spare, l)
		}
		w.fail(err)
		w.changed.Broadcast()
	}
}

// write appends a block to the file.
func (w *Writer) write(l *lines) error {
	w.out = w.out[:0]
	if w.off == 0 {
		w.out = append(w.out, fileMagic...)
	}
	at := w.off + int64(len(w.out))
	w.out = appendBlock(w.out, l)
	if _, err := w.f.WriteAt(w.out, w.off); err != nil {
		return err
	}
	w.index = append(w.index, entry{off: at, first: l.first, base: l.base})
	w.off += int64(len(w.out))
	return nil
}

func (w *Writer) fail(err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("logs: write %s: %w", w.path, err)
	}
}

// settle waits until the frames with lines before n are written.
func (w *Writer) settle(n int64) {
	for len(w.queue) > 0 && w.queue[0].first < n && w.err == nil {
		w.changed.Wait()
	}
}

// flush writes what is neither in a frame nor in the tail to the tail. By
// then everything before is in the file, so readers never see a gap.
func (w *Writer) flush() {
	w.settle(w.now.first + int64(w.now.count))
	if w.err != nil || w.closed || len(w.queue) > 0 {
		return // in the last case there are frames of newer lines: ours are written
	}
	l := w.now
	if l.count == w.flushedLines {
		return
	}
	if w.tail == nil {
		var err error
		w.tail, err = os.OpenFile(tailPath(w.path), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			w.fail(err)
			return
		}
	} else if w.tailOld {
		if err := w.tail.Truncate(0); err != nil {
			w.fail(err)
			return
		}
		w.tailSize = 0
	}
	w.tailOld = false
	raw := l.raw[w.flushedBytes:]
	h := header{
		kind: plain, first: l.first + int64(w.flushedLines), lines: l.count - w.flushedLines, raw: len(raw), stored: len(raw),
		sum: crc32.Checksum(raw, castagnoli), base: l.cut,
	}
	w.scratch = append(h.append(w.scratch[:0]), raw...)
	if _, err := w.tail.WriteAt(w.scratch, w.tailSize); err != nil {
		w.fail(err)
		return
	}
	w.tailSize += int64(len(w.scratch))
	w.flushedBytes, w.flushedLines = len(l.raw), l.count
	// The next block in the tail must be readable without this one.
	l.stepped, l.cut = false, l.last
}

// Lines is the number of lines so far, those of earlier writers included.
func (w *Writer) Lines() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now.first + int64(w.now.count)
}

// Flush makes all lines so far visible to readers. They then survive the death
// of this process, though not that of the machine; see Sync.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.flush()
	}
	return w.err
}

// Sync flushes, and has the system bring everything to the disk.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.flush()
	if w.err == nil && w.off > 0 {
		w.fail(w.f.Sync())
	}
	if w.err == nil && w.tail != nil {
		w.fail(w.tail.Sync())
	}
	return w.err
}

// Close ends the log. A log that shall be continued later (a job that was
// interrupted) is closed all the same: Create opens it again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.settle(math.MaxInt64)
	w.closed = true
	w.changed.Broadcast()
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.sealing {
		w.mu.Unlock()
		<-w.sealed
		w.mu.Lock()
	}
	if w.err == nil {
		w.fail(w.finish())
	}
	err := w.err
	if w.tail != nil {
		err = errors.Join(err, w.tail.Close())
	}
	err = errors.Join(err, unlock(w.f), w.f.Close())
	if w.err == nil {
		w.err = fmt.Errorf("logs: write %s: %w", w.path, fs.ErrClosed)
	}
	return err
}

// finish writes the last lines and the end with one call, and removes the
// tail.
func (w *Writer) finish() error {
	w.out = w.out[:0]
	if w.off == 0 {
		w.out = append(w.out, fileMagic...)
	}
	if l := w.now; l.count > 0 {
		w.index = append(w.index, entry{off: w.off + int64(len(w.out)), first: l.first, base: l.base})
		w.out = appendBlock(w.out, l)
	}
	w.out = appendEnd(w.out, w.index, w.now.first+int64(w.now.count), w.off+int64(len(w.out)))
	if _, err := w.f.WriteAt(w.out, w.off); err != nil {
		return err
	}
	if w.tail == nil {
		return nil
	}
	return os.Remove(tailPath(w.path))
}
