package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

// sample is line n of the logs that the tests write.
func sample(n int64) Line {
	text := fmt.Appendf(nil, "%d: %s", n, strings.Repeat("compiling the world ", int(n*7%9)))
	if n%50 == 3 {
		text = nil
	}
	if n%1000 == 7 {
		text = bytes.Repeat([]byte{0, 0xff, '\n', byte(n)}, 2000)
	}
	return Line{N: n, Step: fmt.Sprintf("%d", 1+n/700), Time: epoch.Add(time.Duration(n*n%977) * time.Millisecond), Text: text}
}

func put(t testing.TB, w *Writer, from, to int64) {
	t.Helper()
	if err := tryPut(w, from, to); err != nil {
		t.Fatal(err)
	}
}

func tryPut(w *Writer, from, to int64) error {
	for n := from; n < to; n++ {
		l := sample(n)
		got, err := w.Line(l.Step, l.Time, l.Text)
		if err != nil || got != n {
			return fmt.Errorf("line: number %d, %v; want %d", got, err, n)
		}
	}
	return nil
}

func same(a, b Line) bool {
	return a.N == b.N && a.Step == b.Step && a.Time.Equal(b.Time) && bytes.Equal(a.Text, b.Text)
}

// check reads a log and fails if it does not hold exactly the samples.
func check(t testing.TB, r *Reader, from, to int64) {
	t.Helper()
	n := from
	err := r.Read(from, func(l Line) bool {
		if !same(l, sample(n)) {
			t.Fatalf("line %d: got %d, %q, %s, %.40q", n, l.N, l.Step, l.Time, l.Text)
		}
		n++
		return true
	})
	if err != nil || n != to {
		t.Fatalf("read to line %d, %v; want %d", n, err, to)
	}
}

func create(t testing.TB, path string) *Writer {
	t.Helper()
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func closeLog(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, lines := range []int64{0, 1, 5, 100, 30_000} {
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			w := create(t, path)
			put(t, w, 0, lines)
			if w.Lines() != lines {
				t.Errorf("writer: %d lines", w.Lines())
			}
			closeLog(t, w)
			r := open(t, path)
			if r.Lines() != lines || !r.Closed() {
				t.Errorf("%d lines, closed %t; want %d, closed", r.Lines(), r.Closed(), lines)
			}
			check(t, r, 0, lines)
			check(t, r, lines/2, lines)
			check(t, r, max(lines-3, 0), lines)
			got := int64(0)
			if err := r.Tail(10, func(Line) bool { got++; return true }); err != nil || got != min(10, lines) {
				t.Errorf("Tail: %d lines, %v", got, err)
			}
			if lines > 0 {
				var last Line
				if err := r.Read(lines/3, func(l Line) bool { last = l; return false }); err != nil || last.N != lines/3 {
					t.Errorf("the first line read is %d, %v", last.N, err)
				}
			}
			if _, err := os.Stat(path + ".tail"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a closed log has a tail: %v", err)
			}
			if _, err := w.Line("x", epoch, nil); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Line after Close: %v", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	longest := bytes.Repeat([]byte("x"), MaxLine)
	for range 3 {
		if _, err := w.Line(strings.Repeat("s", MaxStep), epoch, longest); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Line("s", epoch, append(longest, 'x')); !errors.Is(err, ErrTooLong) {
		t.Errorf("a line too long: %v", err)
	}
	if _, err := w.Line(strings.Repeat("s", MaxStep+1), epoch, nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("a step too long: %v", err)
	}
	closeLog(t, w)
	n := 0
	if err := open(t, path).Read(0, func(l Line) bool { n += len(l.Text); return true }); err != nil || n != 3*MaxLine {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A line is seen although nothing follows it and nobody flushes.
func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	r := open(t, path)
	seen := make(chan Line)
	done := make(chan error)
	go func() {
		done <- r.Follow(t.Context(), 0, func(l Line) bool {
			l.Text = bytes.Clone(l.Text)
			seen <- l
			return true
		})
	}()
	at := int64(0)
	for _, burst := range []int64{1, 1, 20, 1, 6000, 1, 12_000, 2} {
		go func(from int64) {
			if err := tryPut(w, from, from+burst); err != nil {
				t.Error(err)
			}
		}(at)
		for range burst {
			if l := <-seen; !same(l, sample(at)) {
				t.Fatalf("line %d: got %d", at, l.N)
			}
			at++
		}
	}
	put(t, w, at, at+3)
	go w.Close()
	for range 3 {
		if l := <-seen; l.N != at {
			t.Fatalf("line %d: got %d", at, l.N)
		}
		at++
	}
	if err := <-done; err != nil {
		t.Errorf("Follow: %v", err)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	put(t, w, 0, 3)
	ctx, cancel := context.WithCancel(t.Context())
	err := open(t, path).Follow(ctx, 0, func(l Line) bool {
		if l.N == 2 {
			cancel()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: %v", err)
	}
	if err := open(t, path).Follow(t.Context(), 0, func(l Line) bool { return l.N < 1 }); err != nil {
		t.Errorf("fn returned false: %v", err)
	}
}

// Readers never see a gap or a line twice, whatever the writer is doing.
func TestReadWhileWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	const lines = 40_000
	var wg sync.WaitGroup
	for range 2 {
		r := open(t, path)
		wg.Go(func() {
			for {
				closed := r.Closed()
				n := int64(0)
				err := r.Read(0, func(l Line) bool {
					if l.N != n {
						t.Errorf("line %d comes after %d", l.N, n-1)
						return false
					}
					n++
					return true
				})
				if err != nil {
					t.Error(err)
				}
				if closed || t.Failed() {
					if n != lines {
						t.Errorf("%d lines in the end", n)
					}
					return
				}
			}
		})
	}
	for n := int64(0); n < lines; n += 500 {
		put(t, w, n, n+500)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, w)
	wg.Wait()
}

func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	const steps, each = 8, 4000
	var wg sync.WaitGroup
	for s := range steps {
		wg.Go(func() {
			for i := range each {
				if _, err := w.Line(fmt.Sprint(s), epoch, fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 100))); err != nil {
					t.Error(err)
				}
				if i%1000 == 0 {
					if err := w.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	closeLog(t, w)
	var next [steps]int
	err := open(t, path).Read(0, func(l Line) bool {
		var s, i int
		fmt.Sscan(l.Step, &s)
		fmt.Sscan(string(l.Text), &i)
		if next[s] != i {
			t.Fatalf("step %d: line %d comes before %d", s, i, next[s])
		}
		next[s]++
		return true
	})
	if err != nil {
		t.Error(err)
	}
	for s, n := range next {
		if n != each {
			t.Errorf("step %d has %d lines", s, n)
		}
	}
}

func TestContinue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	at := int64(0)
	for _, n := range []int64{3, 0, 9000, 1} { // each time closed and opened again
		w := create(t, path)
		if w.Lines() != at {
			t.Fatalf("continued at %d, want %d", w.Lines(), at)
		}
		put(t, w, at, at+n)
		at += n
		closeLog(t, w)
		check(t, open(t, path), 0, at)
	}
}

func TestOneWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	create(t, path)
	if _, err := Create(path); err == nil {
		t.Error("a second writer is let in")
	}
}

func TestNotALog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	text := []byte("this is something of the user's\n")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrFormat) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Create(path); !errors.Is(err, ErrFormat) {
		t.Errorf("Create: %v", err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, text) {
		t.Error("it was changed")
	}
	if _, err := Open(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
}

// abandoned is a log as a killed writer leaves it: some lines in frames, some
// in the tail.
func abandoned(t testing.TB, lines int64, flushes ...int64) (file, tail []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	at := int64(0)
	for _, n := range append(flushes, lines) {
		put(t, w, at, n)
		at = n
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tail, err = os.ReadFile(path + ".tail")
	if err != nil {
		t.Fatal(err)
	}
	return file, tail
}

// leave writes files as if somebody had left them.
func leave(t testing.TB, file, tail []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	if tail != nil {
		if err := os.WriteFile(path+".tail", tail, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// Wherever the last write was torn, the whole lines before are there, and the
// log goes on behind them.
func TestTorn(t *testing.T) {
	t.Parallel()
	file, tail := abandoned(t, 6100, 6000, 6020, 6050)
	whole := open(t, leave(t, file, nil)).Lines()
	if whole == 0 || whole > 6000 {
		t.Fatalf("%d lines in frames", whole)
	}
	atLeast := map[int]int64{len(file): whole}
	for _, c := range []struct{ file, tail int }{
		{len(file), len(tail)}, {len(file), len(tail) - 1}, {len(file), 60}, {len(file), 0},
		{len(file) - 1, 0}, {len(file) - 100, 0}, {headerSize + 20, 0}, {headerSize, 0}, {8, 0}, {5, 0}, {0, 0},
	} {
		path := leave(t, file[:c.file], tail[:c.tail])
		r := open(t, path)
		n := r.Lines()
		if n < atLeast[c.file] {
			t.Errorf("cut at %v: %d lines", c, n)
		}
		check(t, r, 0, n)
		w := create(t, path)
		if w.Lines() != n {
			t.Errorf("cut at %v: continued at %d, readers see %d", c, w.Lines(), n)
		}
		put(t, w, n, n+50)
		closeLog(t, w)
		check(t, open(t, path), 0, n+50)
	}
	if n := open(t, leave(t, file, tail)).Lines(); n != 6100 {
		t.Errorf("%d lines in frames and tail", n)
	}
}

// A damaged byte costs its frame, and no more; and it is told.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	const lines = 30_000
	put(t, w, 0, lines)
	closeLog(t, w)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ref := open(t, path)
	if len(ref.index) < 4 {
		t.Fatalf("only %d frames", len(ref.index))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	spots := []int{len(whole) - 1, len(whole) - 14, len(whole) - 30, 9, 12, 40, 60, int(ref.index[1].off), int(ref.index[2].off) + 30}
	for range 60 {
		spots = append(spots, 8+rng.IntN(len(whole)-8))
	}
	for _, at := range spots {
		data := bytes.Clone(whole)
		data[at] ^= 0x41
		r := open(t, leave(t, data, nil))
		got := make(map[int64]bool)
		err := r.Read(0, func(l Line) bool {
			if !same(l, sample(l.N)) {
				t.Fatalf("byte %d: line %d is wrong", at, l.N)
			}
			got[l.N] = true
			return true
		})
		var d *Damage
		if err != nil && !errors.As(err, &d) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if d != nil {
			for _, g := range d.Ranges {
				for n := g.From; n < g.To; n++ {
					if got[n] {
						t.Fatalf("byte %d: line %d was read and is told as damaged", at, n)
					}
					got[n] = true
				}
			}
		}
		// The last frame has no successor from whose header one could know
		// that it is missing, when the index is gone, too.
		if len(got) != lines {
			t.Errorf("byte %d: %d lines were read or told as damaged, %v", at, len(got), err)
		}
	}
}

// FuzzFolded compares what is found in either case with a search of copies in lower
// case, whichever letter is looked for first.
func FuzzFolded(f *testing.F) {
	f.Add([]byte("Needle neeDLE nneedle"), "needle")
	f.Add([]byte("aAaAa"), "aa")
	f.Add([]byte("[[x[["), "[[")
	f.Fuzz(func(t *testing.T, line []byte, query string) {
		x := newFolded([]byte(query))
		if x == nil {
			return
		}
		low := make([]byte, len(line))
		for i, c := range line {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			low[i] = c
		}
		x.choose(line)
		for _, x.at = range []int{x.at, 0, len(query) - 1} {
			if got, want := x.count(line), bytes.Count(low, x.lower); got != want {
				t.Errorf("%q is in %q %d times, found %d by letter %d", query, line, want, got, x.at)
			}
			if got, want := x.index(line), bytes.Index(low, x.lower); got != want {
				t.Errorf("%q is in %q at %d, found at %d by letter %d", query, line, want, got, x.at)
			}
		}
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	for i := range 20_000 {
		text := "nothing to see here, move along, there is plenty of it"
		if i%1000 == 0 {
			text = "Error: an error"
		}
		if i == 19_999 {
			text = "ÄRGER"
		}
		if _, err := w.Line(fmt.Sprint(i%2), epoch, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // live, then closed
		r := open(t, path)
		for _, c := range []struct {
			q    Query
			want Found
		}{
			{Query{Text: "error"}, Found{20, 20}},
			{Query{Text: "error", Fold: true}, Found{20, 40}},
			{Query{Text: "error", Step: "1"}, Found{}},
			{Query{Text: "Error", From: 18_500}, Found{1, 1}},
			{Query{Text: "ärger", Fold: true}, Found{1, 1}},
			{Query{Text: "absent"}, Found{}},
			{Query{Pattern: regexp.MustCompile(`Error: (an|no) e[r]{2}or$`)}, Found{20, 20}},
			{Query{Pattern: regexp.MustCompile(`(?i)error`), Fold: true}, Found{20, 40}},
			{Query{Pattern: regexp.MustCompile(`^error`), Text: "Error"}, Found{}},
			{Query{Pattern: regexp.MustCompile(`x*`)}, Found{}},
			{Query{Pattern: regexp.MustCompile(`(?i)^ärg`), Step: "1"}, Found{1, 1}},
			{Query{Step: "0"}, Found{10_000, 10_000}},
		} {
			told := 0
			got, err := r.Search(t.Context(), c.q, func(l Line) bool { told++; return told < 5 })
			if err != nil || got != c.want || told != int(min(c.want.Lines, 5)) {
				t.Errorf("%+v: %+v, %d told, %v; want %+v", c.q, got, told, err, c.want)
			}
		}
		closeLog(t, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, path).Search(ctx, Query{Text: "x"}, func(Line) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: %v", err)
	}
}

// writerEnv makes the test binary a writer that is going to be killed.
const writerEnv = "LOGS_TEST_WRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeUntilKilled(path)
	}
	os.Exit(m.Run())
}

// writeUntilKilled says on standard output how many lines it has flushed.
func writeUntilKilled(path string) {
	w, err := Create(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := w.Lines(); ; n++ {
		l := sample(n)
		if _, err := w.Line(l.Step, l.Time, l.Text); err != nil {
			os.Exit(1)
		}
		if n%37 == 0 {
			if w.Flush() != nil {
				os.Exit(1)
			}
			fmt.Println(n + 1)
		}
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range 12 {
		c := exec.Command(self)
		c.Env = append(os.Environ(), writerEnv+"="+path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		var flushed int64
		for stop := rng.IntN(300); stop >= 0 && in.Scan(); stop-- {
			if _, err := fmt.Sscan(in.Text(), &flushed); err != nil {
				t.Fatalf("the writer says %q", in.Text())
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for in.Scan() { // what it said before it died
			fmt.Sscan(in.Text(), &flushed)
		}
		_ = c.Wait()
		r := open(t, path)
		n := r.Lines()
		if n < flushed || r.Closed() {
			t.Fatalf("%d lines were flushed, %d are there, closed %t", flushed, n, r.Closed())
		}
		check(t, r, 0, n)
	}
	w := create(t, path)
	n := w.Lines()
	put(t, w, n, n+10)
	closeLog(t, w)
	check(t, open(t, path), 0, n+10)
}

// FuzzReader opens any two files as a log: nothing may panic or take much
// memory, and what is read must be in order.
func FuzzReader(f *testing.F) {
	file, tail := abandoned(f, 30, 10)
	f.Add(file, tail)
	path := filepath.Join(f.TempDir(), "log")
	for n := int64(0); n < 100; n += 25 { // several small blocks
		w := create(f, path)
		put(f, w, n, n+25)
		closeLog(f, w)
	}
	closed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(closed, []byte{})
	f.Add(closed[:len(closed)-100], tail)
	f.Add([]byte(fileMagic), []byte(blockMagic))
	f.Fuzz(func(t *testing.T, file, tail []byte) {
		path := leave(t, fixSums(file), fixSums(tail))
		r, err := Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		last := int64(-1)
		_ = r.Read(0, func(l Line) bool {
			if l.N <= last {
				t.Fatalf("line %d after %d", l.N, last)
			}
			last = l.N
			return true
		})
		_, _ = r.Search(t.Context(), Query{Text: "1"}, func(Line) bool { return true })
		if n := r.Lines(); n <= last {
			t.Fatalf("%d lines, but line %d was read", n, last)
		}
		w, err := Create(path)
		if err != nil {
			return
		}
		n := w.Lines()
		if _, err := w.Line("s", epoch, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		found := false
		r2, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r2.Close()
		_ = r2.Read(n, func(l Line) bool { found = string(l.Text) == "x" && l.N == n; return true })
		if !found {
			t.Fatal("a line that was written to a continued log is lost")
		}
	})
}

// fixSums makes the checksums of headers right, so that fuzzing reaches what
// is behind them.
func fixSums(data []byte) []byte {
	data = bytes.Clone(data)
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(blockMagic))
		if i < 0 || len(data)-at-i < headerSize {
			return data
		}
		at += i
		h := data[at : at+headerSize]
		if stored := int(binary.LittleEndian.Uint32(h[24:])); stored >= 0 && stored <= len(data)-at-headerSize {
			binary.LittleEndian.PutUint32(h[28:], crc32.Checksum(data[at+headerSize:at+headerSize+stored], castagnoli))
		}
		binary.LittleEndian.PutUint32(h[40:], crc32.Checksum(h[:40], castagnoli))
		at += headerSize
	}
}

// benchLines are lines as builds print them: 80 bytes, alike but not the same.
func benchLines() [][]byte {
	rng := rand.New(rand.NewPCG(1, 1))
	lines := make([][]byte, 4096)
	for i := range lines {
		lines[i] = fmt.Appendf(nil, "[%6d/99999] compile src/module%03d/file%05d.go -> build/obj/%08x.o ok %4d ms     ", i, rng.IntN(300), rng.IntN(99999), rng.Uint32(), rng.IntN(5000))[:80]
	}
	return lines
}

func BenchmarkWriter(b *testing.B) {
	lines := benchLines()
	w := create(b, filepath.Join(b.TempDir(), "log"))
	now := time.Now()
	b.SetBytes(80 * 4096)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		for _, l := range lines {
			if _, err := w.Line("1", now, l); err != nil {
				b.Fatal(err)
			}
		}
	}
	closeLog(b, w)
}

func BenchmarkTiny(b *testing.B) {
	dir := b.TempDir()
	lines := benchLines()
	i := 0
	for b.Loop() {
		i++
		w, err := Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		for n := range 5 {
			if _, err := w.Line("1", epoch, lines[n]); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWindow opens a log of 200,000 lines and reads 150 of them.
func BenchmarkWindow(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w := create(b, path)
	lines := benchLines()
	for i := range 200_000 {
		if _, err := w.Line("1", epoch, lines[i%len(lines)]); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, w)
	for b.Loop() {
		r, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if err := r.Read(123_456, func(Line) bool { n++; return n < 150 }); err != nil || n != 150 {
			b.Fatal(n, err)
		}
		r.Close()
	}
}

func BenchmarkSearch(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w := create(b, path)
	lines := benchLines()
	for i := range 200_000 {
		if _, err := w.Line("1", epoch, lines[i%len(lines)]); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, w)
	r := open(b, path)
	b.SetBytes(200_000 * 80)
	for b.Loop() {
		if _, err := r.Search(b.Context(), Query{Text: "absent"}, func(Line) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}

// An error is final, for all who use the writer, and nobody waits for ever.
func TestWriteError(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"frame", "flush", "close"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			w := create(t, filepath.Join(t.TempDir(), "log"))
			put(t, w, 0, 10)
			if when == "flush" {
				w.path = "/no/such/directory/log" // for the tail
			} else {
				w.f.Close()
			}
			var err error
			switch when {
			case "frame":
				for i := 0; i < 100_000 && err == nil; i++ {
					_, err = w.Line("1", epoch, make([]byte, 1000))
				}
			case "flush":
				err = w.Flush()
			case "close":
				err = w.Close()
			}
			if err == nil {
				t.Fatal("no error")
			}
			if _, err := w.Line("1", epoch, nil); err == nil {
				t.Error("the next line is taken")
			}
			if when != "close" && w.Close() == nil {
				t.Error("closed without an error")
			}
		})
	}
}
