package cache

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Limits of what is kept of one step.
const (
	maxOutputs      = 200_000
	maxOutputBytes  = 4 << 30 // unless Saving.MaxBytes says otherwise
	maxBarsOfOutput = 10      // bars about single outputs that are told of
)

// Saving is a step that ran and may be kept.
type Saving struct {
	Key         Key
	Writer      Writer
	Dirs        plan.Dirs
	Observation *record.Observation
	Effects     plan.Effects
	Masked      bool          // an effect held a secret
	Reports     []record.Body // what was read in what it left
	Log         io.Reader     // the lines it printed, masked, LF after each; nil for none
	Lines       int64
	Script      string // what was run, for people
	// Vars are the volatile variables as the step had them: all of them, ""
	// for those that were not set, since a step may as well ask for one that
	// is not there. Secrets are the names among them that hold secrets.
	Vars     map[string]string
	Secrets  map[string]bool
	Rule     Rule
	MaxBytes int64 // of outputs; 0 is 4 GiB
}

// Pending is a record that does not count yet. Its blobs are stored.
type Pending struct {
	Record *Record
	cache  *Cache
}

// Save reads what a step has left into blobs. The record that it returns
// counts from its Commit on. When the step may not be reused, Pending is nil
// and the bars say why. An error tells that it could not be stored, as when
// the disk is full: the step itself is none the worse for it.
func (c *Cache) Save(ctx context.Context, s Saving) (*Pending, []record.Bar, error) {
	view := c.NewView(s.Dirs, nil)
	if bars := s.bars(view); len(bars) > 0 {
		return nil, bars, nil
	}
	k := keeping{cache: c, saving: &s, view: view, usage: newUsage(s.Vars)}
	r, bars, err := k.keep(ctx)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("cache: keep step %s of job %s: %w", s.Writer.Step, s.Writer.Job, err)
	case len(bars) > 0:
		return nil, sorted(bars), nil
	}
	return &Pending{Record: r, cache: c}, nil, nil
}

// Commit keeps the record: look-ups find it from now on.
func (p *Pending) Commit(ctx context.Context) error { return p.cache.Add(ctx, p.Record) }

// bars are the reasons against keeping the step that can be told without
// looking at what it left.
func (s *Saving) bars(view *View) (bars []record.Bar) {
	bar := func(kind, detail string) { bars = append(bars, record.Bar{Kind: kind, Detail: detail}) }
	if s.Rule.Never {
		bar(record.BarDeclared, "the project says that it is never reused")
	}
	if s.Effects.Fail != "" || s.Effects.Lacking != "" {
		bar(record.BarFailed, s.Effects.Fail+s.Effects.Lacking)
	}
	switch {
	case s.Masked:
		bar(record.BarSecret, "what it said holds a secret")
	case len(s.Effects.Masks) > 0:
		// To say it again, the value would have to be kept.
		bar(record.BarSecret, "it declares a value secret")
	}
	o := s.Observation
	if o == nil {
		bar(record.BarNotWatched, "")
		return sorted(bars)
	}
	for _, b := range o.Barred {
		if lifted := s.Rule.Network != NetworkBars; !lifted || b.Kind != record.BarNetwork && b.Kind != record.BarSocket {
			bars = append(bars, b)
		}
	}
	has := func(kind string) bool {
		return slices.ContainsFunc(o.Barred, func(b record.Bar) bool { return b.Kind == kind })
	}
	if o.Mechanism == "" && !has(record.BarNotWatched) {
		bar(record.BarNotWatched, "")
	}
	if o.LeftOver > 0 && !has(record.BarProcesses) {
		bar(record.BarProcesses, fmt.Sprintf("%d outlive it", o.LeftOver))
	}
	if len(o.Outputs) > maxOutputs {
		bar(record.BarTooMuch, fmt.Sprintf("%d files, of %d at most", len(o.Outputs), maxOutputs))
	}
	size, limit := int64(0), int64(maxOutputBytes)
	if s.MaxBytes > 0 {
		limit = s.MaxBytes
	}
	single := 0
	for i := range o.Outputs {
		out := &o.Outputs[i]
		kind := ""
		switch {
		case view.area(out.Path) == outside:
			kind = record.BarOutside
		case out.Kind > record.Symlink:
			kind = record.BarUnsupported
		case out.Kind == record.Regular:
			size += out.Size
		}
		if kind != "" && single < maxBarsOfOutput {
			single++
			bar(kind, out.Path)
		}
	}
	if size > limit {
		bar(record.BarTooMuch, fmt.Sprintf("%d bytes, of %d at most", size, limit))
	}
	return sorted(bars)
}

// sorted brings bars into their order, each once.
func sorted(bars []record.Bar) []record.Bar {
	slices.SortFunc(bars, func(a, b record.Bar) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Detail, b.Detail)
	})
	return slices.Compact(bars)
}

// keeping is one Save.
type keeping struct {
	cache  *Cache
	saving *Saving
	view   *View
	usage  *usage

	finder *finder
	clues  []clue // what the finder's texts are
}

// clue is a text that shows that a step used a variable.
type clue struct {
	name   int // in usage.names
	value  bool
	secret bool // it must not be stored
}

func (k *keeping) keep(ctx context.Context) (*Record, []record.Bar, error) {
	s, o := k.saving, k.saving.Observation
	k.usage.script(s.Script)
	if err := k.usage.inputs(ctx, k.cache, k.view, s.Writer.Root, o.Inputs); err != nil {
		return nil, nil, err
	}
	k.lookFor()
	find := newSearch(k.finder)
	find.Write(o.Argv)
	k.tell(find.found, "the arguments of a program")

	// A secret in what would be stored bars before it is.
	find.next()
	writeEffects(find, &s.Effects)
	if name, ok := k.secretIn(find.found); ok {
		return nil, []record.Bar{{Kind: record.BarSecret, Detail: name + " is in what it said"}}, nil
	}
	k.tell(find.found, "what it said")

	outputs, bars, err := k.outputs(ctx)
	if err != nil || len(bars) > 0 {
		return nil, bars, err
	}
	log, bars, err := k.log(ctx)
	if err != nil || len(bars) > 0 {
		return nil, bars, err
	}
	vars, err := k.vars()
	if err != nil {
		return nil, nil, err
	}
	inputs := o.Inputs
	if !slices.IsSortedFunc(inputs, byPathAndUse) {
		inputs = slices.SortedFunc(slices.Values(inputs), byPathAndUse)
	}
	reports, err := reported(s.Reports)
	if err != nil {
		return nil, nil, err
	}
	return &Record{
		Key: s.Key, Writer: s.Writer, Dirs: s.Dirs,
		Inputs: inputs, Outputs: outputs, Vars: vars,
		Effects: s.Effects, Reports: reports, Log: log, Lines: s.Lines,
		Took: o.Wall, Mechanism: o.Mechanism, Programs: o.Programs, Peers: o.Peers,
		Calls: o.Calls, Overhead: o.Overhead, MaxAge: s.Rule.MaxAge,
	}, nil, nil
}

// lookFor makes the finder for what a step leaves: names and values.
func (k *keeping) lookFor() {
	var texts []string
	for i, name := range k.usage.names {
		texts = append(texts, name)
		k.clues = append(k.clues, clue{name: i})
		if value := k.saving.Vars[name]; len(value) >= shortestValue {
			texts = append(texts, value)
			k.clues = append(k.clues, clue{name: i, value: true, secret: k.saving.Secrets[name]})
		}
	}
	k.finder = newFinder(texts)
}

// tell notes the variables that were found somewhere.
func (k *keeping) tell(found []bool, where string) {
	for i, yes := range found {
		switch {
		case !yes:
		case k.clues[i].value:
			k.usage.add(k.clues[i].name, "its value is in "+where)
		default:
			k.usage.add(k.clues[i].name, "named in "+where)
		}
	}
}

// secretIn is the name of a secret whose value was found.
func (k *keeping) secretIn(found []bool) (string, bool) {
	for i, yes := range found {
		if yes && k.clues[i].secret {
			return k.usage.names[k.clues[i].name], true
		}
	}
	return "", false
}

func (k *keeping) vars() ([]Var, error) {
	var vars []Var
	for i, name := range k.usage.names {
		where := k.usage.where[i]
		if where == "" {
			continue
		}
		secret := k.saving.Secrets[name]
		digest, err := k.cache.digestVar(name, k.saving.Vars[name], secret)
		if err != nil {
			return nil, err
		}
		vars = append(vars, Var{Name: name, Secret: secret, Digest: digest, Where: where})
	}
	return vars, nil
}

// writeEffects writes all texts of effects, NUL after each.
func writeEffects(w io.Writer, e *plan.Effects) {
	text := func(s string) { io.WriteString(w, s+"\x00") }
	for _, settings := range [][]plan.Setting{e.Env, e.Outputs, e.State} {
		for _, s := range settings {
			text(s.Name)
			text(s.Value)
		}
	}
	for _, p := range e.Path {
		text(p)
	}
	for _, n := range e.Notes {
		text(n.Title)
		text(n.Message)
		text(n.File)
	}
	for _, a := range e.Artifacts {
		text(a.Name)
		text(a.Path)
	}
	text(string(e.Summary))
}

// log stores what the step printed.
func (k *keeping) log(ctx context.Context) (blob.Digest, []record.Bar, error) {
	if k.saving.Log == nil {
		return "", nil, nil
	}
	find := newSearch(k.finder)
	secret := ""
	find.check = func() error {
		var found bool
		if secret, found = k.secretIn(find.found); found {
			return errSecret // stops the storing
		}
		return nil
	}
	d, n, err := k.cache.blobs.Put(ctx, io.TeeReader(k.saving.Log, find))
	switch {
	case errors.Is(err, errSecret):
		return "", []record.Bar{{Kind: record.BarSecret, Detail: secret + " is in what it printed"}}, nil
	case err != nil:
		return "", nil, fmt.Errorf("store its log: %w", err)
	case n == 0:
		return "", nil, nil
	}
	k.tell(find.found, "what it printed")
	return d, nil, nil
}

var errSecret = errors.New("it holds a secret")

// filer is a blob.Store that knows a better way from a file than reading it.
type filer interface {
	PutFile(ctx context.Context, f *os.File) (blob.Digest, int64, error)
}

// kept is what became of an output.
type kept struct {
	found []bool // clues
	bar   *record.Bar
}

// outputs stores what the step left, several files at once: the disk is slow
// to promise.
func (k *keeping) outputs(ctx context.Context) ([]record.Output, []record.Bar, error) {
	outputs := slices.Clone(k.saving.Observation.Outputs)
	results := make([]kept, len(outputs))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var barred atomic.Bool
	var all sync.WaitGroup
	for range min(writers, len(outputs)) {
		all.Go(func() {
			find, buf := newSearch(k.finder), make([]byte, 256<<10)
			for ctx.Err() == nil && !barred.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(outputs) {
					return
				}
				find.next()
				io.WriteString(find, outputs[i].Path)
				bar, err := k.output(ctx, &outputs[i], find, buf)
				if err != nil {
					cancel(fmt.Errorf("store %s: %w", outputs[i].Path, err))
				}
				if bar != nil {
					barred.Store(true)
				}
				results[i] = kept{bar: bar}
				if slices.Contains(find.found, true) {
					results[i].found = slices.Clone(find.found)
				}
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	var bars []record.Bar
	for i, r := range results {
		if r.bar != nil {
			bars = append(bars, *r.bar)
		}
		k.tell(r.found, k.view.name(outputs[i].Path))
	}
	return outputs, bars, nil
}

// output stores one output and completes it by its digest. What is there must
// be what the step has left, before and after.
func (k *keeping) output(ctx context.Context, o *record.Output, find *search, buf []byte) (*record.Bar, error) {
	bar := func(kind, why string) (*record.Bar, error) {
		return &record.Bar{Kind: kind, Detail: o.Path + why}, nil
	}
	h := onDisk(o.Path)
	switch {
	case h.kind != o.Kind:
		return bar(record.BarMoved, "")
	case h.kind == record.Directory && h.perm != o.Perm:
		return bar(record.BarMoved, "")
	case h.kind == record.Nothing:
		return nil, nil
	case h.kind == record.Directory:
		o.MTime = h.mtime
		return nil, nil
	case h.kind == record.Symlink:
		o.Perm, o.Size, o.MTime = h.perm, h.size, h.mtime
		target, err := os.Readlink(o.Path)
		if err != nil {
			return bar(record.BarMoved, "")
		}
		io.WriteString(find, "\x00"+target)
		if name, ok := k.secretIn(find.found); ok {
			return bar(record.BarSecret, " holds "+name)
		}
		return k.store(o, func() (blob.Digest, int64, error) {
			return k.cache.blobs.Put(ctx, strings.NewReader(target))
		})
	}
	f, err := os.OpenFile(o.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrPermission):
		return bar(record.BarUnsupported, " cannot be read")
	case err != nil:
		return bar(record.BarMoved, "")
	}
	defer f.Close()
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return nil, err
	}
	before := trace.LookOf(&st)
	switch {
	case before != h.look, before.Size != o.Size, before.Perm != o.Perm, o.MTime != 0 && before.MTime != o.MTime:
		return bar(record.BarMoved, "")
	case int(st.Uid) != os.Geteuid():
		return bar(record.BarUnsupported, " belongs to somebody else")
	case hasAttributes(int(f.Fd())):
		return bar(record.BarUnsupported, " has extended attributes")
	}
	o.MTime = before.MTime
	io.WriteString(find, "\x00")
	if _, err := io.CopyBuffer(find, struct{ io.Reader }{f}, buf); err != nil {
		return nil, err
	}
	if name, ok := k.secretIn(find.found); ok {
		return bar(record.BarSecret, " holds "+name)
	}
	barred, err := k.store(o, func() (blob.Digest, int64, error) {
		if s, ok := k.cache.blobs.(filer); ok {
			return s.PutFile(ctx, f)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", 0, err
		}
		return k.cache.blobs.Put(ctx, f)
	})
	if err != nil || barred != nil {
		return barred, err
	}
	if err := ignoringEINTR(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return nil, err
	}
	if trace.LookOf(&st) != before {
		return bar(record.BarMoved, "")
	}
	return nil, nil
}

// store puts an output and compares it with what the observation says of it.
func (k *keeping) store(o *record.Output, put func() (blob.Digest, int64, error)) (*record.Bar, error) {
	d, n, err := put()
	if err != nil {
		return nil, err
	}
	digest, err := sum(d)
	if err != nil {
		return nil, err
	}
	if o.Digest != [32]byte{} && digest != o.Digest || o.Kind == record.Regular && n != o.Size {
		return &record.Bar{Kind: record.BarMoved, Detail: o.Path}, nil
	}
	o.Digest = digest
	return nil, nil
}

// sum is the digest of a blob in the form that records have.
func sum(d blob.Digest) (s [32]byte, err error) {
	if _, err := hex.Decode(s[:], []byte(d.Hex())); err != nil || !d.Valid() {
		return s, fmt.Errorf("the store calls it %.80q", string(d))
	}
	return s, nil
}

// hasAttributes reports whether a file has attributes that a copy of it would
// lack and that programs act by.
func hasAttributes(fd int) bool {
	var buf [4 << 10]byte
	n, err := unix.Flistxattr(fd, buf[:])
	if err != nil {
		return err == unix.ERANGE // else there are none here
	}
	for name := range bytes.SplitSeq(buf[:n], []byte{0}) {
		if string(name) == "security.capability" || bytes.HasPrefix(name, []byte("user.")) {
			return true
		}
	}
	return false
}

// Compare says in what the results of a step that ran again differ from those
// of the record by which it could have been reused, a line each. Nil means
// that it did the same. Times, the log, and what lies in temporary directories
// of the machine are not compared. A step that was barred this time, now is
// nil, differs.
func Compare(old *Record, now *Pending) []string {
	if now == nil {
		return []string{"it cannot be reused as it ran now"}
	}
	view := View{dirs: old.Dirs, shared: sharedTemp()}
	var lines []string
	a, b := old.Outputs, now.Record.Outputs
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Path < b[0].Path:
			lines = append(lines, view.differs(&a[0], nil)...)
			a = a[1:]
		case len(a) == 0 || b[0].Path < a[0].Path:
			lines = append(lines, view.differs(nil, &b[0])...)
			b = b[1:]
		default:
			lines = append(lines, view.differs(&a[0], &b[0])...)
			a, b = a[1:], b[1:]
		}
	}
	return append(lines, compareEffects(old, now.Record)...)
}

// differs compares an output; nil stands for one that was not left.
func (v *View) differs(old, now *record.Output) []string {
	some := old
	if some == nil {
		some = now
	}
	if v.area(some.Path) == inShared {
		return nil
	}
	name := v.name(some.Path)
	switch {
	case old == nil && now.Kind == record.Nothing:
		return []string{name + " is removed now, and was not before"}
	case old == nil:
		return []string{name + " is written now, and was not before"}
	case now == nil && old.Kind == record.Nothing:
		return []string{name + " was removed before, and is not now"}
	case now == nil:
		return []string{name + " was written before, and is not now"}
	case old.Kind != now.Kind:
		return []string{fmt.Sprintf("%s was %s before, and is %s now", name, article(old.Kind), article(now.Kind))}
	case old.Digest != now.Digest && (now.Kind == record.Regular || now.Kind == record.Symlink):
		return []string{fmt.Sprintf("%s differs: %s before, %s now", name, short(old.Digest), short(now.Digest))}
	case old.Perm != now.Perm && now.Kind != record.Symlink && now.Kind != record.Nothing:
		return []string{fmt.Sprintf("the mode of %s differs: %04o before, %04o now", name, old.Perm, now.Perm)}
	}
	return nil
}

func compareEffects(old, now *Record) (lines []string) {
	for _, s := range []struct {
		what     string
		old, now []plan.Setting
	}{
		{"variable", old.Effects.Env, now.Effects.Env},
		{"output", old.Effects.Outputs, now.Effects.Outputs},
		{"state", old.Effects.State, now.Effects.State},
	} {
		a, b := lastOf(s.old), lastOf(s.now)
		for _, set := range slices.Concat(s.old, s.now) {
			x, inA := a[set.Name]
			y, inB := b[set.Name]
			if inA != inB || x != y {
				lines = append(lines, fmt.Sprintf("%s %s differs", s.what, set.Name))
			}
			delete(a, set.Name)
			delete(b, set.Name)
		}
	}
	if !slices.Equal(old.Effects.Path, now.Effects.Path) {
		lines = append(lines, "what it puts in front of PATH differs")
	}
	if !bytes.Equal(old.Effects.Summary, now.Effects.Summary) {
		lines = append(lines, "its summary differs")
	}
	if !slices.Equal(old.Effects.Notes, now.Effects.Notes) {
		lines = append(lines, "its annotations differ")
	}
	if !slices.Equal(old.Effects.Artifacts, now.Effects.Artifacts) {
		lines = append(lines, "its artifacts differ")
	}
	if !maps.Equal(counts(old.Reports), counts(now.Reports)) {
		lines = append(lines, "its test results differ")
	}
	return lines
}

func lastOf(settings []plan.Setting) map[string]string {
	last := make(map[string]string, len(settings))
	for _, s := range settings {
		last[s.Name] = s.Value
	}
	return last
}

// counts are how many tests of each source ended how.
func counts(reports []Report) map[string][3]int {
	all := make(map[string][3]int, len(reports))
	for _, r := range reports {
		body, err := record.Decode(r.Kind, r.Body)
		if t, ok := body.(*record.TestsReported); ok && err == nil {
			n := all[t.Source]
			all[t.Source] = [3]int{n[0] + t.Passed, n[1] + t.Failed, n[2] + t.Skipped}
		}
	}
	return all
}

// reported is what was read, to be kept.
func reported(bodies []record.Body) ([]Report, error) {
	reports := make([]Report, 0, len(bodies))
	for _, b := range bodies {
		text, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encode what was reported: %w", err)
		}
		reports = append(reports, Report{Kind: record.Event{Body: b}.Kind(), Body: text})
	}
	return reports, nil
}
