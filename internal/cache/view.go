package cache

import (
	"crypto/sha256"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Tree is a workspace that was not made: what one made now would hold. Paths
// have slashes and are relative to the workspace, "" is the workspace itself.
// A *workspace.Paper is one.
type Tree interface {
	// Look tells what is at a path; false when nothing is.
	Look(rel string) (workspace.Thing, bool)
	// Names lists a directory, sorted by name; false when there is none.
	Names(rel string) ([]record.Entry, bool)
}

// View tells what paths hold now, as one job sees them: its workspace and
// temporary directory, and the machine around them.
//
// A paper view takes the workspace from a [Tree], the temporary directory for
// empty, and lays the outputs of reused steps over both. A real one, and a
// paper one once it is materialised, asks the file system.
//
// Its methods may be called by several goroutines.
type View struct {
	cache  *Cache
	dirs   plan.Dirs
	shared []string // temporary directories that are not the job's alone

	mu      sync.RWMutex
	tree    Tree // nil: everything is real
	applied []*Record
	laid    map[string]*record.Output             // what reused steps left, by path
	names   map[string]map[string]record.FileKind // and by directory: Nothing for a name that is gone
	cuts    int                                   // how many of laid are no directories and hide one
}

// NewView returns the view of a job. With a tree it is a paper view, with a
// nil one everything is real.
func (c *Cache) NewView(dirs plan.Dirs, tree Tree) *View {
	return &View{cache: c, dirs: dirs, shared: sharedTemp(), tree: tree}
}

// Paper reports whether the view is still a paper one.
func (v *View) Paper() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.tree != nil
}

// Apply lays the outputs of a reused step over a paper view. In a real view
// it is [Cache.Restore] that does so.
func (v *View) Apply(r *Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tree == nil {
		return
	}
	v.applied = append(v.applied, r)
	if v.laid == nil {
		v.laid = map[string]*record.Output{}
		v.names = map[string]map[string]record.FileKind{}
	}
	for i := range r.Outputs {
		v.lay(&r.Outputs[i])
	}
}

// lay puts one output over what there is.
func (v *View) lay(o *record.Output) {
	dir, _ := filepath.Split(o.Path)
	if dir = strings.TrimSuffix(dir, "/"); o.Kind != record.Nothing && dir != "" && v.at(dir).kind == record.Nothing {
		// Restoring makes the directories that a file needs.
		v.lay(&record.Output{Path: dir, FileState: record.FileState{Kind: record.Directory, Perm: 0o755}})
	}
	if o.Kind != record.Directory {
		if v.at(o.Path).kind == record.Directory {
			below := o.Path + "/"
			for p := range v.laid {
				if strings.HasPrefix(p, below) {
					v.unlay(p)
				}
			}
			maps.DeleteFunc(v.names, func(dir string, _ map[string]record.FileKind) bool {
				return dir == o.Path || strings.HasPrefix(dir, below)
			})
		}
		v.cuts++
	}
	if _, ok := v.laid[o.Path]; ok {
		v.unlay(o.Path)
	}
	v.laid[o.Path] = o
	in := v.names[dir]
	if in == nil {
		in = map[string]record.FileKind{}
		v.names[dir] = in
	}
	in[filepath.Base(o.Path)] = o.Kind
}

func (v *View) unlay(path string) {
	if v.laid[path].Kind != record.Directory {
		v.cuts--
	}
	delete(v.laid, path)
}

// Materialise makes the view a real one and returns the records that were
// applied to it, the oldest first: they are to be restored, in this order.
func (v *View) Materialise() []*Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	applied := v.applied
	v.tree, v.applied, v.laid, v.names, v.cuts = nil, nil, nil, nil, 0
	return applied
}

// Changed says that a step ran for real: nothing that any view of the cache
// has seen of the machine is believed any longer.
func (v *View) Changed() { v.cache.seen.forget() }

// name is what people call a path: in the workspace without it.
func (v *View) name(path string) string {
	if path != v.dirs.Workspace && below(path, v.dirs.Workspace) {
		return rel(path, v.dirs.Workspace)
	}
	return path
}

// area is a part of the machine, by how its paths are compared.
type area uint8

const (
	inWorkspace area = iota // the job's own, content counts
	inTemp                  // likewise; emptied for every job
	inShared                // a temporary directory of the machine's: content counts
	outside                 // everything else
)

func (v *View) area(path string) area {
	switch {
	case below(path, v.dirs.Workspace):
		return inWorkspace
	case below(path, v.dirs.Temp):
		return inTemp
	}
	for _, dir := range v.shared {
		if below(path, dir) {
			return inShared
		}
	}
	return outside
}

// below reports whether the path is the directory or lies in it.
func below(path, dir string) bool {
	return dir != "" && strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// rel is the path of a file in the directory that it lies in, "" for the
// directory itself.
func rel(path, dir string) string { return strings.TrimPrefix(path[len(dir):], "/") }

// sharedTemp are the directories for temporary files of this machine.
func sharedTemp() []string {
	dirs := []string{"/tmp", "/var/tmp"}
	own := filepath.Clean(os.TempDir())
	if slices.Contains(dirs, own) {
		return dirs
	}
	if real, err := filepath.EvalSymlinks(own); err == nil && filepath.IsAbs(real) && strings.Count(real, "/") > 1 {
		dirs = append(dirs, real)
	}
	return dirs
}

// Inside are the directories in which a job's steps may change what they
// like, absolute: what trace.Spec.Inside wants.
func Inside(dirs plan.Dirs) []string {
	var all []string
	for _, dir := range append([]string{dirs.Workspace, dirs.Temp}, sharedTemp()...) {
		if dir != "" && !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all
}

// held is what a path holds now.
type held struct {
	kind   record.FileKind
	perm   uint32
	size   int64
	mtime  int64
	digest [32]byte // of a file's bytes or a link's target
	known  bool     // digest has been found out

	from string      // else the file or link that holds the bytes
	look record.Look // of it
}

// at tells what is at a path, without the digest of a file of which it is not
// known. The caller holds mu.
func (v *View) at(path string) held {
	if v.tree == nil {
		return onDisk(path)
	}
	if len(v.laid) > 0 {
		if o, ok := v.laid[path]; ok {
			return held{kind: o.Kind, perm: o.Perm, size: o.Size, mtime: o.MTime, digest: o.Digest, known: true}
		}
		if v.cuts > 0 && v.hidden(path) {
			return v.absent(path)
		}
	}
	switch v.area(path) {
	case inWorkspace:
		t, ok := v.tree.Look(rel(path, v.dirs.Workspace))
		if !ok {
			return v.absent(path)
		}
		h := held{kind: t.Kind, perm: t.Perm, size: t.Size, mtime: t.MTime, from: t.From, look: t.Look}
		if t.Made {
			h.digest, h.known = sha256.Sum256(t.Body), true
		}
		return h
	case inTemp:
		if path == v.dirs.Temp {
			return held{kind: record.Directory, perm: 0o755}
		}
		return held{}
	}
	return onDisk(path)
}

// absent is what is at a path that the paper does not have. When a link lies
// in it, it leads elsewhere, and perhaps to something: a record's path has no links,
// so that nothing can be the same there.
func (v *View) absent(path string) held {
	for dir := filepath.Dir(path); len(dir) > len(v.dirs.Workspace); dir = filepath.Dir(dir) {
		kind := record.Nothing
		if o, ok := v.laid[dir]; ok {
			kind = o.Kind
		} else if t, ok := v.tree.Look(rel(dir, v.dirs.Workspace)); ok && !(v.cuts > 0 && v.hidden(dir)) {
			kind = t.Kind
		}
		switch kind {
		case record.Nothing:
		case record.Symlink:
			return held{kind: record.Other}
		default:
			return held{}
		}
	}
	return held{}
}

// hidden reports whether a directory above the path was removed or replaced.
func (v *View) hidden(path string) bool {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if o, ok := v.laid[path[:i]]; ok && o.Kind != record.Directory {
			return true
		}
	}
	return false
}

// find completes what at has told by the digest, of a file or a link.
func (v *View) find(h *held) error {
	if h.known || h.kind != record.Regular && h.kind != record.Symlink {
		return nil
	}
	if h.kind == record.Symlink {
		target, err := os.Readlink(h.from)
		if err != nil {
			return err
		}
		h.digest, h.known = sha256.Sum256([]byte(target)), true
		return nil
	}
	d, ok := v.cache.facts.Known(h.from, h.look)
	if !ok {
		var err error
		if d, err = v.cache.facts.Digest(h.from, h.look); err != nil {
			return err
		}
	}
	h.digest, h.known = d, true
	return nil
}

// errNoDirectory says that a path cannot be listed.
var errNoDirectory = errors.New("there is no directory")

// list lists a directory, in no particular order. The caller holds mu.
func (v *View) list(path string) ([]record.Entry, error) {
	if v.tree == nil {
		return listOnDisk(path)
	}
	if v.at(path).kind != record.Directory {
		return nil, errNoDirectory
	}
	var base []record.Entry
	switch v.area(path) {
	case inWorkspace:
		base, _ = v.tree.Names(rel(path, v.dirs.Workspace)) // none when reused steps made it
	case inTemp:
	default:
		var err error
		if base, err = listOnDisk(path); err != nil && !(errors.Is(err, errNoDirectory) && v.laid[path] != nil) {
			return nil, err
		}
	}
	changed := v.names[path]
	if len(changed) == 0 {
		return base, nil
	}
	all := make([]record.Entry, 0, len(base)+len(changed))
	for _, e := range base {
		if _, ok := changed[e.Name]; !ok {
			all = append(all, e)
		}
	}
	for name, kind := range changed {
		if kind != record.Nothing {
			all = append(all, record.Entry{Name: name, Kind: kind})
		}
	}
	return all, nil
}

// unreadable is the kind of what may or may not be there: it equals nothing.
const unreadable record.FileKind = 255

// onDisk tells what the file system holds at a path.
func onDisk(path string) held {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Lstat(path, &st) })
	return heldOf(path, &st, err)
}

func heldOf(path string, st *unix.Stat_t, err error) held {
	if err != nil {
		if isNothing(err) {
			return held{}
		}
		return held{kind: unreadable}
	}
	l := trace.LookOf(st)
	return held{kind: l.Kind, perm: l.Perm, size: l.Size, mtime: l.MTime, from: path, look: l}
}

// isNothing reports whether an error of stat or open tells that nothing is
// there. What cannot be reached is not there for a step either.
func isNothing(err error) bool {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EACCES, unix.ENAMETOOLONG:
		return true
	}
	return false
}

func listOnDisk(path string) ([]record.Entry, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return nil, errNoDirectory
		}
		return nil, err
	}
	all := make([]record.Entry, len(entries))
	for i, e := range entries {
		all[i] = record.Entry{Name: e.Name(), Kind: record.Other}
		switch t := e.Type(); {
		case t.IsRegular():
			all[i].Kind = record.Regular
		case t.IsDir():
			all[i].Kind = record.Directory
		case t&os.ModeSymlink != 0:
			all[i].Kind = record.Symlink
		}
	}
	return all, nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// memory is what has been seen of paths outside of jobs' directories since a
// step last ran: they are the same for all jobs, and asked for again and
// again. The zero memory has seen nothing.
type memory struct {
	mu    sync.RWMutex
	epoch uint64
	paths map[place]held

	scanned scanned // see volatile.go
	hmac    hmacKey // likewise
}

// place is what a memory knows about: a path, or the names in it.
type place struct {
	path  string
	names bool
}

// maxRemembered is how many places a memory holds: what comes after is looked
// at every time.
const maxRemembered = 1 << 20

func (m *memory) forget() {
	m.mu.Lock()
	m.epoch++
	m.paths = nil
	m.mu.Unlock()
}

// recall fills in what was seen of the inputs outside, and returns the epoch
// to remember new things under.
func (m *memory) recall(inputs []record.Input, sights []sight) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.paths) > 0 {
		for i := range inputs {
			if s := &sights[i]; s.area == outside {
				s.held, s.recalled = m.paths[place{inputs[i].Path, inputs[i].Use == record.UseListed}]
			}
		}
	}
	return m.epoch
}

// remember keeps what is fresh, unless a step has run since.
func (m *memory) remember(inputs []record.Input, sights []sight, epoch uint64) {
	if !slices.ContainsFunc(sights, func(s sight) bool { return s.fresh }) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch != epoch {
		return
	}
	if m.paths == nil {
		m.paths = map[place]held{}
	}
	for i := range sights {
		if s := &sights[i]; s.fresh && len(m.paths) < maxRemembered {
			m.paths[place{inputs[i].Path, inputs[i].Use == record.UseListed}] = s.held
		}
	}
}
