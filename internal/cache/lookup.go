package cache

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Query asks whether a step was done before.
type Query struct {
	Key Key
	// Stable is the step wherever it runs: what a verification finds is kept
	// under it (see [Cache.Condemn]).
	Stable Key
	Scopes Scopes
	// Vars are the volatile variables as they are now: all of them, "" for
	// those that are not set. Secrets are the names among them that hold
	// secrets.
	Vars    map[string]string
	Secrets map[string]bool
	View    *View
	Now     time.Time
	Rule    Rule
	// InPlace says that the step works where it has worked before: what it
	// made then may still be there, and counts as nothing.
	InPlace bool
	// Ignored tells what the step is not watched for (see [Ignored]). It is
	// asked when a listing outside of the job's directories is compared.
	Ignored func() []string
}

// Answer is what a look-up found. Without a Record, Miss says why; when both
// are nil, the step was never seen.
type Answer struct {
	Record *Record
	Miss   *record.Miss
	// Unsound says why a Record is not to be trusted: a verification has found
	// that the step does not do the same each time.
	Unsound string
}

// Lookup finds the first record, of those that the scopes may read and the
// newest first, of which everything holds now. Records whose blobs are gone are
// dropped on the way. The Miss is about the newest record; of all that differs
// it names what people look at first: files of the workspace, then .git, then
// variables, then the machine.
func (c *Cache) Lookup(ctx context.Context, q Query) Answer {
	if q.Rule.Never {
		return Answer{Miss: &record.Miss{Why: "the project says that it is never reused"}}
	}
	unsound := c.Condemned(q.Stable)
	q.View.mu.RLock()
	defer q.View.mu.RUnlock()
	var miss, damage *record.Miss
	for r, err := range c.Each(ctx, q.Key, q.Scopes.Read) {
		if err == nil && (r.Key != q.Key || r.Dirs != q.View.dirs) {
			err = errors.New("it is of another step")
		}
		if err != nil {
			damage = &record.Miss{Why: "what is known of it cannot be read: " + err.Error()}
			continue
		}
		m := c.compare(ctx, &q, r, miss == nil)
		if m == nil {
			err := c.Ready(ctx, r)
			if err == nil {
				return Answer{Record: r, Unsound: unsound}
			}
			m = &record.Miss{Why: err.Error()}
			if errors.Is(err, errBlobGone) {
				if err := c.Drop(r); err != nil {
					m.Why += "; and the record cannot be dropped: " + err.Error()
				}
			}
		}
		if miss == nil {
			miss = m
		}
	}
	if err := ctx.Err(); err != nil {
		return Answer{Miss: &record.Miss{Why: "the look-up was interrupted: " + err.Error()}, Unsound: unsound}
	}
	if miss == nil {
		miss = damage
	}
	return Answer{Miss: miss, Unsound: unsound}
}

// compare says why a record does not hold now, nil when it does. Unless it is
// asked to explain, all answers but nil are the same.
func (c *Cache) compare(ctx context.Context, q *Query, r *Record, explain bool) *record.Miss {
	if m := tooOld(q, r); m != nil {
		return m
	}
	if !explain { // the quickest first
		if m := c.variable(q, r); m != nil {
			return m
		}
	}
	// Inputs are sorted: those of the workspace lie together, and among them
	// those of .git.
	work := q.View.dirs.Workspace
	from := func(path string) int {
		i, _ := slices.BinarySearchFunc(r.Inputs, path, func(in record.Input, path string) int { return strings.Compare(in.Path, path) })
		return i
	}
	lo, hi := from(work+"/"), from(work+"0") // 0 comes after /
	git, gitEnd := from(work+"/.git/"), from(work+"/.git0")

	cmp := comparison{query: q, view: q.View, record: r, prober: prober{view: q.View}, others: func() []*Record {
		all, _ := c.Records(ctx, q.Key, q.Scopes.Read) // damaged ones have been told of
		return all
	}}
	defer cmp.prober.close()
	differs := func(lo, hi int) *record.Miss {
		i := cmp.first(ctx, lo, hi)
		switch {
		case i < 0:
			return nil
		case !explain:
			return &record.Miss{}
		}
		return cmp.explain(&r.Inputs[i])
	}
	if m := differs(lo, git); m != nil {
		return m
	}
	if m := differs(gitEnd, hi); m != nil {
		return m
	}
	if m := differs(git, gitEnd); m != nil {
		return m
	}
	if m := c.variable(q, r); m != nil {
		return m
	}
	if m := differs(0, lo); m != nil {
		return m
	}
	return differs(hi, len(r.Inputs))
}

func tooOld(q *Query, r *Record) *record.Miss {
	limit := r.MaxAge
	if limit == 0 || q.Rule.MaxAge != 0 && q.Rule.MaxAge < limit {
		limit = q.Rule.MaxAge
	}
	age := q.Now.Sub(r.Writer.Time)
	if limit == 0 || age <= limit {
		return nil
	}
	return &record.Miss{
		Why: "it ran longer ago than the project lets it be reused for",
		Old: age.Round(time.Second).String(), New: limit.String(),
	}
}

// variable names the first volatile variable that is not what it was.
func (c *Cache) variable(q *Query, r *Record) *record.Miss {
	for _, was := range r.Vars {
		value := q.Vars[was.Name]
		now, err := c.digestVar(was.Name, value, was.Secret)
		if err != nil {
			return &record.Miss{Why: err.Error(), Path: was.Name}
		}
		if now == was.Digest {
			continue
		}
		m := &record.Miss{Why: was.Name + " is another", Path: was.Name, Old: short(was.Digest), New: short(now)}
		if value == "" {
			m.Why, m.New = was.Name+" is not set now", "nothing"
		}
		if was.Where != "" {
			m.Why += " (" + was.Where + ")"
		}
		return m
	}
	return nil
}

// comparison is that of one record with what there is now.
type comparison struct {
	query  *Query
	view   *View
	record *Record
	prober prober           // of the calling goroutine
	others func() []*Record // all of the step, asked for once if at all
	own    sync.Once
	all    []*Record
	zoned  sync.Once
	zones  map[string]bool // what is ignored: paths, and names of directories anywhere
}

const (
	// stretch is how many inputs are looked at under one lock of the memory.
	stretch = 512
	// enough is from how many inputs on two goroutines look at them.
	enough = 2000
)

// first is the index of the first input from lo to hi that does not hold, -1
// when all do.
func (c *comparison) first(ctx context.Context, lo, hi int) int {
	if lo >= hi {
		return -1
	}
	var next, found atomic.Int64
	next.Store(int64(lo))
	found.Store(int64(hi))
	work := func(p *prober) {
		for {
			start := int(next.Add(stretch)) - stretch
			if start >= int(found.Load()) {
				return
			}
			i := c.stretch(p, start, min(start+stretch, hi))
			if i < 0 && ctx.Err() != nil {
				i = start
			}
			for i >= 0 {
				was := found.Load()
				if was <= int64(i) || found.CompareAndSwap(was, int64(i)) {
					break
				}
			}
		}
	}
	if hi-lo > enough {
		var second sync.WaitGroup
		second.Go(func() {
			p := prober{view: c.view}
			defer p.close()
			work(&p)
		})
		work(&c.prober)
		second.Wait()
	} else {
		work(&c.prober)
	}
	if i := int(found.Load()); i < hi {
		return i
	}
	return -1
}

// stretch compares a few inputs; it returns the index of the first that does
// not hold, -1 for none.
func (c *comparison) stretch(p *prober, lo, hi int) int {
	inputs := c.record.Inputs[lo:hi]
	sights, epoch := p.recall(inputs)
	differs := -1
	for i := range inputs {
		s := &sights[i]
		if !s.recalled {
			p.look(&inputs[i], s)
		}
		known := s.held.known
		if !c.holds(&inputs[i], s) {
			differs = lo + i
			break
		}
		if inputs[i].Use != record.UseListed && inputs[i].Path == p.path {
			p.last = s.held // with its digest: often the next input is another use of it
		}
		s.fresh = s.area == outside && (!s.recalled || s.held.known != known)
	}
	p.view.cache.seen.remember(inputs, sights, epoch)
	return differs
}

// holds reports whether an input still is what it was.
func (c *comparison) holds(in *record.Input, s *sight) bool {
	h := &s.held
	switch in.Use {
	case record.UseAbsent:
		return h.kind == record.Nothing || in.Own && c.query.InPlace && c.isOwn(in.Path, h)
	case record.UseDir:
		return h.kind == record.Directory || c.view.above(in.Path)
	case record.UseKind:
		return h.kind == in.Kind && (h.kind != record.Regular || usable(h.perm) == usable(in.Perm))
	case record.UseLink:
		return h.kind == record.Symlink && c.sameBytes(h, in.Digest)
	case record.UseListed:
		if !h.known {
			entries, err := c.names(in.Path)
			if err != nil {
				return false
			}
			h.digest, h.known = record.Listing(entries), true
		}
		return h.digest == in.Digest
	case record.UseExists, record.UseContent:
		if in.Kind == record.Directory && c.view.above(in.Path) {
			return true
		}
		return c.same(&in.FileState, h, in.Use == record.UseExists && s.area == outside)
	}
	return false // a use that this version does not know
}

// same reports whether a path holds what it held: by content, or, where that
// is all that counts, by what stat says.
func (c *comparison) same(was *record.FileState, h *held, stat bool) bool {
	if was.Kind != h.kind {
		return false
	}
	switch h.kind {
	case record.Regular:
		switch {
		case was.Size != h.size:
			return false
		case stat:
			return was.Perm == h.perm && was.MTime == h.mtime
		}
		return usable(was.Perm) == usable(h.perm) && c.sameBytes(h, was.Digest)
	case record.Symlink:
		if was.Digest == [32]byte{} { // it was looked at and not followed
			return was.Size == h.size && (!stat || was.MTime == h.mtime)
		}
		return c.sameBytes(h, was.Digest)
	}
	return !stat || was.Perm == h.perm
}

func (c *comparison) sameBytes(h *held, digest [32]byte) bool {
	return c.view.find(h) == nil && h.digest == digest
}

// usable is that part of a file's mode that a workspace has.
func usable(perm uint32) uint32 { return perm & 0o777 }

// above reports whether a directory of the job lies in the path: then the path
// is a directory, even if that is not made yet.
func (v *View) above(path string) bool {
	return v.tree != nil && (strings.HasPrefix(v.dirs.Workspace, path+"/") || strings.HasPrefix(v.dirs.Temp, path+"/"))
}

// isOwn reports whether what lies at a path is what this step, at some time,
// left there.
func (c *comparison) isOwn(path string, h *held) bool {
	c.own.Do(func() { c.all = append(c.others(), c.record) })
	return slices.ContainsFunc(c.all, func(r *Record) bool {
		o, ok := r.output(path)
		return ok && c.same(&o.FileState, h, false)
	})
}

// output is what a step left at a path.
func (r *Record) output(path string) (*record.Output, bool) {
	i, ok := slices.BinarySearchFunc(r.Outputs, path, func(o record.Output, path string) int { return strings.Compare(o.Path, path) })
	if !ok {
		return nil, false
	}
	return &r.Outputs[i], true
}

// made yields the names in a directory that the step made.
func (r *Record) made(dir string, yield func(name string)) {
	find := func(path string) int {
		i, _ := slices.BinarySearchFunc(r.Outputs, path, func(o record.Output, path string) int { return strings.Compare(o.Path, path) })
		return i
	}
	for i := find(dir + "/"); i < len(r.Outputs); {
		name, in := strings.CutPrefix(r.Outputs[i].Path, dir+"/")
		if !in {
			return
		}
		if slash := strings.IndexByte(name, '/'); slash >= 0 {
			i = find(dir + "/" + name[:slash] + "0") // past all that lies in there
			continue
		}
		if r.Outputs[i].Made {
			yield(name)
		}
		i++
	}
}

// names lists a directory but for what the step itself made there when it
// last worked in this place, and for what it is not watched for.
func (c *comparison) names(dir string) ([]record.Entry, error) {
	entries, err := c.view.list(dir)
	if err != nil {
		return nil, err
	}
	made := map[string]bool{}
	if c.query.InPlace {
		c.record.made(dir, func(name string) { made[name] = true })
	}
	away := c.view.area(dir) == outside
	if len(made) == 0 && !away {
		return entries, nil
	}
	// What a Tree lists is the tree's: it is not to be changed in place.
	kept := make([]record.Entry, 0, len(entries))
	for _, e := range entries {
		if !made[e.Name] && !(away && c.ignored(dir, e)) {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// ignored reports whether what lies outside of the job's directories is not
// watched for, as package trace decides it.
func (c *comparison) ignored(dir string, e record.Entry) bool {
	c.zoned.Do(func() {
		c.zones = map[string]bool{}
		if c.query.Ignored == nil {
			return
		}
		for _, zone := range c.query.Ignored() {
			c.zones[zone] = true
		}
	})
	return c.zones[path.Join(dir, e.Name)] || e.Kind != record.Regular && c.zones["**/"+e.Name]
}

// prober looks at paths one after another, in order: real ones relative to
// open directories, which is two to three times as fast as by whole paths,
// and those outside of the job's directories only once for all jobs.
type prober struct {
	view   *View
	sights []sight
	open   []openDir // each lies in the one before
	path   string    // that was looked at last
	last   held      // what it holds
}

// sight is what was seen of an input: what the path holds or, for UseListed,
// the digest of its names.
type sight struct {
	area     area
	recalled bool // from the memory
	fresh    bool // worth being remembered
	held     held
}

// openDir is an open directory, or why there is none.
type openDir struct {
	path string
	fd   int
	err  error
}

func (p *prober) close() {
	for _, d := range p.open {
		d.close()
	}
}

func (d openDir) close() {
	if d.err == nil {
		unix.Close(d.fd)
	}
}

// recall returns a sight for each input, filled in where the memory can.
func (p *prober) recall(inputs []record.Input) ([]sight, uint64) {
	if cap(p.sights) < len(inputs) {
		p.sights = make([]sight, len(inputs))
	}
	sights := p.sights[:len(inputs)]
	clear(sights)
	some := false
	for i := range inputs {
		sights[i].area = p.view.area(inputs[i].Path)
		some = some || sights[i].area == outside
	}
	if !some {
		return sights, 0
	}
	return sights, p.view.cache.seen.recall(inputs, sights)
}

// look fills a sight in.
func (p *prober) look(in *record.Input, s *sight) {
	if in.Use == record.UseListed {
		return // names are asked for only by those that need them
	}
	if in.Path != p.path {
		p.path = in.Path
		if p.view.tree != nil && (s.area != outside || len(p.view.laid) > 0) {
			p.last = p.view.at(in.Path)
		} else {
			p.last = p.onDisk(in.Path)
		}
	}
	s.held = p.last
}

// onDisk tells what the file system holds at a path.
func (p *prober) onDisk(path string) held {
	slash := strings.LastIndexByte(path, '/')
	if slash <= 0 || slash == len(path)-1 {
		return onDisk(path)
	}
	fd, err := p.dir(path[:slash])
	if err != nil {
		if isNothing(err) {
			return held{}
		}
		return onDisk(path) // too many open files, perhaps
	}
	var st unix.Stat_t
	err = ignoringEINTR(func() error { return unix.Fstatat(fd, path[slash+1:], &st, unix.AT_SYMLINK_NOFOLLOW) })
	return heldOf(path, &st, err)
}

// dir opens a directory, or finds it open: paths come in order, so that those
// above the last one are the only ones worth keeping.
func (p *prober) dir(path string) (int, error) {
	n := len(p.open)
	for n > 0 && !below(path, p.open[n-1].path) {
		n--
		p.open[n].close()
	}
	p.open = p.open[:n]
	at, name := unix.AT_FDCWD, path
	if n > 0 {
		top := p.open[n-1]
		if top.path == path || top.err != nil {
			return top.fd, top.err
		}
		at, name = top.fd, rel(path, top.path)
	}
	d := openDir{path: path, fd: -1}
	d.err = ignoringEINTR(func() (err error) {
		d.fd, err = unix.Openat(at, name, searchOnly|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if d.err == nil || isNothing(d.err) {
		p.open = append(p.open, d)
	}
	return d.fd, d.err
}
