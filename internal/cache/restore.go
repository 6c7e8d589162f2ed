package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// errBlobGone is wrapped by errors about a record that cannot be restored any
// more.
var errBlobGone = errors.New("it is no longer stored")

// Ready reports whether everything that the record refers to is there: nil
// when it is.
func (c *Cache) Ready(ctx context.Context, r *Record) error {
	needed := slices.Collect(references(r))
	if len(needed) == 0 {
		return nil
	}
	missing, err := c.blobs.Missing(ctx, needed)
	if err != nil {
		return fmt.Errorf("what it left cannot be looked for: %w", err)
	}
	if len(missing) == 0 {
		return c.printedWhole(ctx, r)
	}
	what := "what it left"
	if missing[0] == r.Log {
		what = "what it printed"
	}
	for i := range r.Outputs {
		if o := &r.Outputs[i]; o.Kind != record.Nothing && blob.FromSum(o.Digest[:]) == missing[0] {
			what = o.Path
		}
	}
	return fmt.Errorf("%s: %w", what, errBlobGone)
}

// printedWhole reads what the step printed to its end. Outputs are proved when they are
// restored; what was printed may be asked for long after the run, when
// the step can no longer be run instead.
func (c *Cache) printedWhole(ctx context.Context, r *Record) error {
	if r.Log == "" {
		return nil
	}
	b, err := c.blobs.Open(ctx, r.Log)
	if err == nil {
		_, err = io.Copy(io.Discard, b)
		err = errors.Join(err, b.Close())
	}
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return fmt.Errorf("what it printed: %w: %w", errBlobGone, err)
	case err != nil:
		return fmt.Errorf("what it printed cannot be read: %w", err)
	}
	return nil
}

// Restore makes the outputs of a record real: files, links and directories with
// their modes and times, and removals. It returns how many files and links
// there are of the step then, and how many bytes had to be written for it.
//
// First all files are written, beside where they belong, and proved; only then
// are they put into their places, each in one step. So a blob that is damaged
// or gone changes nothing, and drops the record. No symbolic link is followed:
// what lies behind one is refused, as is what lies outside of the directories
// in which a step may write.
func (c *Cache) Restore(ctx context.Context, r *Record) (files int, bytes int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cache: restore step %s of job %s: %w", r.Writer.Step, r.Writer.Job, err)
			if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
				err = errors.Join(err, c.Drop(r))
			}
		}
	}()
	if err := checkOutputs(r); err != nil {
		return 0, 0, err
	}
	x := restoration{cache: c, outputs: r.Outputs, temp: r.Dirs.Temp}
	defer x.close()
	for _, dir := range places(r) {
		x.roots = append(x.roots, &root{dir: dir, fd: -1, at: -1})
	}
	if err := x.stage(ctx); err != nil {
		return 0, 0, err
	}
	if err := x.put(ctx); err != nil {
		return 0, 0, err
	}
	for i := range r.Outputs {
		if k := r.Outputs[i].Kind; k == record.Regular || k == record.Symlink {
			files++
		}
	}
	return files, x.bytes.Load(), nil
}

// places are the directories in which a record may have outputs, those that
// lie in another one first.
func places(r *Record) []string {
	all := Inside(r.Dirs)
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// checkOutputs refuses what no step can have left: a record may come from
// somebody else.
func checkOutputs(r *Record) error {
	for _, dir := range []string{r.Dirs.Workspace, r.Dirs.Temp} {
		if dir != "" && !(filepath.IsAbs(dir) && filepath.Clean(dir) == dir && dir != "/") {
			return fmt.Errorf("%.200q cannot be a job's directory", dir)
		}
	}
	dirs := places(r)
	for i := range r.Outputs {
		o := &r.Outputs[i]
		in := func(dir string) bool { return below(o.Path, dir) }
		around := func(dir string) bool { return below(dir, o.Path) }
		switch {
		case filepath.Clean(o.Path) != o.Path || strings.IndexByte(o.Path, 0) >= 0 || !slices.ContainsFunc(dirs, in):
			return fmt.Errorf("%.200q is not in a directory of the job", o.Path)
		case o.Kind != record.Directory && slices.ContainsFunc(dirs, around):
			return fmt.Errorf("%.200q is a directory of the job", o.Path)
		case o.Kind > record.Symlink || o.Perm&^0o7777 != 0:
			return fmt.Errorf("%.200q is of a kind that cannot be made", o.Path)
		case i > 0 && r.Outputs[i-1].Path >= o.Path:
			return fmt.Errorf("%.200q is out of order", o.Path)
		}
	}
	return nil
}

// restoration is one Restore.
type restoration struct {
	cache   *Cache
	outputs []record.Output
	temp    string // the job's own
	roots   []*root
	staged  []string // of each output: its name in the staging directory, "" when nothing need be written
	bytes   atomic.Int64
}

// root is a directory below which things are put.
type root struct {
	dir   string
	fd    int    // -1 until needed
	stage string // directory of the same file system in which files are written
	at    int    // it, opened
	walk  []openDir
}

func (x *restoration) rootOf(path string) *root {
	for _, r := range x.roots {
		if below(path, r.dir) {
			return r
		}
	}
	return nil // cannot be: checkOutputs has looked
}

func (x *restoration) close() {
	for _, r := range x.roots {
		r.leave(0)
		if r.fd >= 0 {
			unix.Close(r.fd)
		}
		if r.at >= 0 {
			unix.Close(r.at)
		}
		if r.stage != "" {
			os.RemoveAll(r.stage) // what cannot be removed is in nobody's way
		}
	}
}

// enter opens a root.
func (x *restoration) enter(r *root) error {
	if r.fd >= 0 {
		return nil
	}
	fd, err := openAt(unix.AT_FDCWD, r.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open %s: %w", r.dir, err)
	}
	r.fd = fd
	return nil
}

// prepare makes a place to write in: in the job's temporary directory when
// files can be moved from there into the root, else in the root itself.
func (x *restoration) prepare(r *root) error {
	if r.stage != "" {
		return nil
	}
	if err := x.enter(r); err != nil {
		return err
	}
	beside := r.dir
	var here, there unix.Stat_t
	if x.temp != "" && unix.Fstat(r.fd, &here) == nil && unix.Lstat(x.temp, &there) == nil &&
		here.Dev == there.Dev && there.Mode&unix.S_IFMT == unix.S_IFDIR {
		beside = x.temp
	}
	dir, err := os.MkdirTemp(beside, ".fairlead-restore-")
	if err != nil {
		return fmt.Errorf("make a place for what is written: %w", err)
	}
	r.stage = dir
	if r.at, err = openAt(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return nil
}

func openAt(dir int, name string, flags int) (fd int, err error) {
	err = ignoringEINTR(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// writers is how many goroutines write files.
const writers = 4

// stage writes the files that are not there yet.
func (x *restoration) stage(ctx context.Context) error {
	x.staged = make([]string, len(x.outputs))
	v := View{cache: x.cache}
	p := prober{view: &v}
	var todo []int
	for i := range x.outputs {
		o := &x.outputs[i]
		if o.Kind != record.Regular && o.Kind != record.Symlink {
			continue
		}
		if h := p.onDisk(o.Path); x.same(&v, &h, o) {
			continue
		}
		if err := x.prepare(x.rootOf(o.Path)); err != nil {
			p.close()
			return err
		}
		x.staged[i] = strconv.Itoa(i)
		todo = append(todo, i)
	}
	p.close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(writers, len(todo)) {
		all.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(todo) {
					return
				}
				o := &x.outputs[todo[n]]
				if err := x.write(ctx, x.rootOf(o.Path).at, x.staged[todo[n]], o); err != nil {
					cancel(fmt.Errorf("%s: %w", o.Path, err))
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// same reports whether an output is there already, for sure and without
// reading it.
func (x *restoration) same(v *View, h *held, o *record.Output) bool {
	if h.kind != o.Kind || h.mtime != o.MTime {
		return false
	}
	if h.kind == record.Symlink {
		return v.find(h) == nil && h.digest == o.Digest
	}
	if h.size != o.Size || h.perm != o.Perm || h.look.Links != 1 {
		return false
	}
	d, ok := x.cache.facts.Known(h.from, h.look)
	return ok && d == o.Digest
}

// copier is a blob.Store that knows a better way into a file than reading and
// writing.
type copier interface {
	// CopyTo writes a blob's bytes, proved, into an empty file.
	CopyTo(ctx context.Context, d blob.Digest, dst *os.File) (int64, error)
}

// maxTarget is how long a link's target may be.
const maxTarget = 4095

// write makes one file or link in a staging directory.
func (x *restoration) write(ctx context.Context, dir int, name string, o *record.Output) error {
	digest := blob.FromSum(o.Digest[:])
	if o.Kind == record.Symlink {
		target, err := x.target(ctx, digest)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, dir, name); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		return setTime(dir, name, o.MTime)
	}
	var fd int
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	n, err := x.copy(ctx, digest, f)
	if err != nil {
		return err
	}
	if n != o.Size {
		return fmt.Errorf("the record says %d bytes, and there are %d", o.Size, n)
	}
	x.bytes.Add(n)
	if o.Perm != 0o600 {
		if err := ignoringEINTR(func() error { return unix.Fchmod(fd, o.Perm) }); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	}
	if err := f.Close(); err != nil { // some file systems report a full disk here
		return err
	}
	return setTime(dir, name, o.MTime)
}

func (x *restoration) copy(ctx context.Context, d blob.Digest, dst *os.File) (int64, error) {
	if s, ok := x.cache.blobs.(copier); ok {
		return s.CopyTo(ctx, d, dst)
	}
	r, err := x.cache.blobs.Open(ctx, d)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(dst, r) // to the end: only there it is proved
}

func (x *restoration) target(ctx context.Context, d blob.Digest) (string, error) {
	r, err := x.cache.blobs.Open(ctx, d)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxTarget+1))
	switch {
	case err != nil:
		return "", err
	case len(b) == 0 || len(b) > maxTarget || slices.Contains(b, 0):
		return "", errors.New("its target is none")
	}
	return string(b), nil
}

// setTime sets the time of a file's last change in content.
func setTime(dir int, name string, mtime int64) error {
	t := unix.NsecToTimespec(mtime)
	times := []unix.Timespec{t, t}
	err := ignoringEINTR(func() error { return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

// put brings everything into its place, parents before what lies in them, and
// at last gives directories their modes and times.
func (x *restoration) put(ctx context.Context) error {
	for i := range x.outputs {
		o := &x.outputs[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch o.Kind {
		case record.Nothing:
			err = x.remove(o)
		case record.Directory:
			err = x.directory(o)
		default:
			if x.staged[i] != "" {
				err = x.move(o, x.staged[i])
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.Path, err)
		}
	}
	for _, o := range slices.Backward(x.outputs) {
		if o.Kind != record.Directory {
			continue
		}
		if err := x.finish(&o); err != nil {
			return fmt.Errorf("%s: %w", o.Path, err)
		}
	}
	return nil
}

// parent opens the directory that holds a path. With create, what is missing
// of it is made.
func (x *restoration) parent(path string, create bool) (dir int, name string, err error) {
	r := x.rootOf(path)
	if err := x.enter(r); err != nil {
		return -1, "", err
	}
	slash := strings.LastIndexByte(path, '/')
	at := path[:slash]
	n := len(r.walk)
	for n > 0 && !below(at, r.walk[n-1].path) {
		n--
	}
	r.leave(n)
	here, fd := r.dir, r.fd
	if n > 0 {
		here, fd = r.walk[n-1].path, r.walk[n-1].fd
	}
	for rest := rel(at, here); rest != ""; {
		part, more, _ := strings.Cut(rest, "/")
		next, err := openAt(fd, part, searchOnly|unix.O_DIRECTORY)
		if err == unix.ENOENT && create {
			if err := unix.Mkdirat(fd, part, 0o755); err != nil {
				return -1, "", fmt.Errorf("make %s/%s: %w", here, part, err)
			}
			next, err = openAt(fd, part, searchOnly|unix.O_DIRECTORY)
		}
		if err != nil {
			return -1, "", &os.PathError{Op: "open", Path: here + "/" + part, Err: err}
		}
		here += "/" + part
		r.walk = append(r.walk, openDir{path: here, fd: next})
		fd, rest = next, more
	}
	return fd, path[slash+1:], nil
}

// leave closes all but the first n directories of the way.
func (r *root) leave(n int) {
	for _, d := range r.walk[n:] {
		d.close()
	}
	r.walk = r.walk[:n]
}

func (x *restoration) remove(o *record.Output) error {
	dir, name, err := x.parent(o.Path, false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // gone with a directory
	}
	if err != nil {
		return err
	}
	return removeAt(dir, name)
}

// removeAt removes what is at a name, with all that lies below.
func removeAt(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM { // POSIX has the one, Linux the other
		return fmt.Errorf("remove: %w", err)
	}
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.EACCES {
		if err = unix.Fchmodat(dir, name, 0o700, 0); err == nil {
			fd, err = openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		}
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if len(names) > 0 && unix.Fchmod(fd, 0o700) != nil {
		return errors.New("remove: it is somebody else's")
	}
	for _, n := range names {
		if err := removeAt(fd, n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// directory makes a directory that can be written into.
func (x *restoration) directory(o *record.Output) error {
	if o.Path == x.rootOf(o.Path).dir {
		return nil
	}
	dir, name, err := x.parent(o.Path, true)
	if err != nil {
		return err
	}
	err = unix.Mkdirat(dir, name, 0o700)
	if err != unix.EEXIST {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if st.Mode&0o700 == 0o700 {
			return nil
		}
		return unix.Fchmodat(dir, name, uint32(st.Mode)&0o7777|0o700, 0)
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return err
	}
	return unix.Mkdirat(dir, name, 0o700)
}

// finish gives a directory its mode and time.
func (x *restoration) finish(o *record.Output) error {
	dir, name := unix.AT_FDCWD, o.Path
	if o.Path != x.rootOf(o.Path).dir {
		var err error
		if dir, name, err = x.parent(o.Path, false); err != nil {
			return err
		}
	}
	if err := setTime(dir, name, o.MTime); err != nil {
		return err
	}
	if err := unix.Fchmodat(dir, name, o.Perm, 0); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	return nil
}

// move puts a written file into its place.
func (x *restoration) move(o *record.Output, staged string) error {
	dir, name, err := x.parent(o.Path, true)
	if err != nil {
		return err
	}
	from := x.rootOf(o.Path).at
	err = unix.Renameat(from, staged, dir, name)
	if err == unix.EISDIR || err == unix.ENOTEMPTY || err == unix.EEXIST {
		if err := removeAt(dir, name); err != nil {
			return err
		}
		err = unix.Renameat(from, staged, dir, name)
	}
	if err != nil {
		return fmt.Errorf("put it into its place: %w", err)
	}
	return nil
}
