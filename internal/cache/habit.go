package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Habit is what watching a step was worth of late.
type Habit struct {
	Runs   int // how often the step came up, reused or not
	Hits   int // how often it was reused, of late
	Misses int // how often it ran and was watched, of late
	// Took is what the step takes to run, Overhead what watching it costs
	// each time: averages of late.
	Took     time.Duration
	Overhead time.Duration
	// OffUntil is the number of Runs from which on it is watched again.
	OffUntil int
}

// Turn is one time that a step came up.
type Turn struct {
	Hit     bool // it was reused
	Watched bool // it ran and was watched
	// Took is how long it ran; of a step that was reused, how long then.
	Took     time.Duration
	Overhead time.Duration // what the watching cost
}

// The rule of when watching is not worth it.
const (
	offFor       = 10                     // turns that a step is not watched
	firstRuns    = 3                      // watched runs before anything is decided
	window       = 20                     // turns that count; older ones fade
	smallShare   = 10                     // percent of a step that watching may always cost
	smallExpense = 200 * time.Millisecond // that it may always cost in all
	averaged     = 8                      // turns that an average is over
)

// Off reports whether the step is not to be watched when it next runs.
func (h Habit) Off() bool { return h.Runs < h.OffUntil }

// After is the habit when one more turn is over. Watching is switched off for
// the next ten turns when its cost, the overhead of all runs, was more than its
// gain, the time of all runs that were spared: never before the third watched
// run, and never for little. Then the step gets another chance.
func (h Habit) After(t Turn) Habit {
	h.Runs++
	switch {
	case t.Hit:
		h.Hits++
		h.Took = average(h.Took, t.Took, h.Hits+h.Misses)
	case t.Watched:
		h.Misses++
		h.Took = average(h.Took, t.Took, h.Hits+h.Misses)
		h.Overhead = average(h.Overhead, t.Overhead, h.Misses)
	default:
		return h
	}
	if !h.Off() && h.dear() {
		h.OffUntil = h.Runs + offFor
		h.Hits, h.Misses = 0, 0
	}
	if h.Hits+h.Misses > window {
		h.Hits, h.Misses = h.Hits/2, h.Misses/2
	}
	return h
}

// dear reports whether watching has cost more than it has saved.
func (h Habit) dear() bool {
	cost := h.Overhead * time.Duration(h.Misses)
	gain := h.Took * time.Duration(h.Hits)
	return h.Misses >= firstRuns && h.Overhead*100 >= h.Took*smallShare && cost >= smallExpense && cost > gain
}

func average(old, new time.Duration, n int) time.Duration {
	return old + (new-old)/time.Duration(max(1, min(n, averaged)))
}

// Habit is that of a step, "repository/pipeline/job/step". Of a step that was
// never noted it is zero.
func (c *Cache) Habit(step string) Habit { return c.habits.of(step) }

// Note tells how a step's turn went. It is written when the cache is saved.
func (c *Cache) Note(step string, t Turn) { c.habits.note(step, t) }

// habits are those of all steps. They are read when first asked for.
type habits struct {
	path string

	mu    sync.Mutex
	known map[string]Habit // nil before they are read
	noted map[string]bool  // since they were saved
}

// storedHabit is a habit on the disk.
type storedHabit struct {
	step string
	Habit
	day int64 // on which it was last noted
}

const (
	habitsMagic = "FLhabt\x00\x01"
	maxHabits   = 16 << 20 // bytes of the file
	habitsAge   = 90       // days after which one that was not noted is dropped
)

func (h *habits) of(step string) Habit {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.load()
	return h.known[step]
}

func (h *habits) note(step string, t Turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.load()
	h.known[step] = h.known[step].After(t)
	h.noted[step] = true
}

func (h *habits) load() {
	if h.known != nil {
		return
	}
	h.known, h.noted = map[string]Habit{}, map[string]bool{}
	stored, _ := h.read() // what cannot be read is learned anew
	for _, s := range stored {
		h.known[s.step] = s.Habit
	}
}

func (h *habits) read() ([]storedHabit, error) {
	b, err := readFile(h.path, maxHabits)
	if err != nil {
		return nil, err
	}
	return decodeHabits(b)
}

func decodeHabits(b []byte) ([]storedHabit, error) {
	end := len(b) - sha256.Size
	if end < len(habitsMagic) || string(b[:len(habitsMagic)]) != habitsMagic || sha256.Sum256(b[:end]) != sumOf(b) {
		return nil, errors.New("the habits are damaged")
	}
	x := coder{b: b[len(habitsMagic):end]}
	var all []storedHabit
	list(&x, &all, codeHabit)
	return all, x.err
}

func codeHabit(x *coder, s *storedHabit) {
	text(x, &s.step)
	number(x, &s.Runs)
	number(x, &s.Hits)
	number(x, &s.Misses)
	number(x, &s.Took)
	number(x, &s.Overhead)
	number(x, &s.OffUntil)
	number(x, &s.day)
}

// save writes the habits that were noted, together with what others have
// saved meanwhile. Of two processes that save at once, the turns of one may be
// lost.
func (h *habits) save(now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.noted) == 0 {
		return nil
	}
	stored, err := h.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		stored = nil // damaged: what is known here is all there is
	}
	today := dayOf(now)
	stored = slices.DeleteFunc(stored, func(s storedHabit) bool { return h.noted[s.step] || s.day < today-habitsAge })
	for _, step := range slices.Sorted(maps.Keys(h.noted)) {
		stored = append(stored, storedHabit{step, h.known[step], today})
	}
	if n := len(stored) - maxList; n > 0 {
		slices.SortStableFunc(stored, func(a, b storedHabit) int { return int(a.day - b.day) })
		stored = stored[n:]
	}
	x := coder{b: []byte(habitsMagic), writing: true}
	list(&x, &stored, codeHabit)
	sum := sha256.Sum256(x.b)
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	if err := replaceFile(h.path, x.b, sum[:]); err != nil {
		return fmt.Errorf("habits: %w", err)
	}
	clear(h.noted)
	return nil
}
