//go:build amd64 || arm64

package trace

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// watcher looks at calls that are stopped and tells the witness what they are.
// It is not safe for concurrent use.
type watcher struct {
	w     witness
	mem   memory
	paths *paths
	ports []port
	self  int    // this process
	lost  string // why nothing more is seen
}

// port is an address that a process of the step has asked for without saying
// which: the kernel chose it when the call was carried out.
type port struct {
	pid int
	fd  int
}

const maxPorts = 1000

func newWatcher(w witness) *watcher {
	return &watcher{w: w, paths: newPaths(w), self: os.Getpid()}
}

// stopped is a call that is stopped.
type stopped struct {
	*call
	*task
	arch  arch
	args  *[6]uint64
	valid func() bool // the process is still in this call
}

// look looks at a call before the kernel carries it out. What cannot be read
// although it is there makes the observation incomplete.
func (w *watcher) look(tid int, a arch, nr int32, args *[6]uint64, valid func() bool) {
	c := find(a, nr)
	if c == nil {
		return
	}
	t, err := w.paths.task(tid)
	if err == nil && t.proc.pid == w.self {
		return // of the thread that starts the first process
	}
	if err == nil {
		err = w.tell(stopped{c, t, a, args, valid})
	}
	if err != nil && !errors.Is(err, errFault) && !errors.Is(err, errGone) && valid() {
		w.lost = fmt.Sprintf("%s: %v", c.name, err)
	}
}

// fd is an argument that is a descriptor.
func (s *stopped) fd(arg int) int32 { return int32(uint32(s.args[arg])) }

// has reports whether the flags of a call have one of those.
func (s *stopped) has(flags uint64) bool { return s.flags >= 0 && s.args[s.flags]&flags != 0 }

// follows reports whether the call follows a link that its path is.
func (s *stopped) follows() bool {
	switch s.follow {
	case ifFlag:
		return s.has(unix.AT_SYMLINK_FOLLOW)
	case unlessFlag:
		return !s.has(unix.AT_SYMLINK_NOFOLLOW)
	}
	return s.follow == always
}

// atFD is the descriptor that the call's path is relative to.
func (s *stopped) atFD() int32 {
	if s.at < 0 {
		return unix.AT_FDCWD
	}
	return s.fd(int(s.at))
}

// name reads a path out of an argument. An empty one, or none, is errFault:
// the kernel refuses it.
func (w *watcher) name(s *stopped, at int32, arg int, follow bool) (named, error) {
	text, ok, err := w.mem.str(s.tid, s.args[arg], pathMax)
	if err != nil {
		return named{}, err
	}
	if !ok || len(text) == 0 {
		return named{}, errFault
	}
	return w.paths.absolute(s.task, at, text, follow)
}

// object is what a call is about: its path, or its descriptor where it has no
// path or, with AT_EMPTY_PATH, an empty one.
func (w *watcher) object(s *stopped, follow bool) (n named, open bool, err error) {
	if s.path < 0 {
		return w.fdObject(s)
	}
	if s.args[s.path] == 0 && s.op == opChange && s.at >= 0 {
		return w.fdObject(s) // utimensat without a path is futimens
	}
	text, ok, err := w.mem.str(s.tid, s.args[s.path], pathMax)
	if err != nil {
		return n, false, err
	}
	if ok && len(text) == 0 && s.has(unix.AT_EMPTY_PATH) {
		return w.fdObject(s)
	}
	if !ok || len(text) == 0 {
		return n, false, errFault
	}
	n, err = w.paths.absolute(s.task, s.atFD(), text, follow)
	return n, false, err
}

func (w *watcher) fdObject(s *stopped) (n named, open bool, err error) {
	path, ok, err := w.paths.opened(s.task, s.fd(int(s.at)))
	return named{path: path, gone: !ok || path == "" || path[0] != '/'}, true, err
}

func (w *watcher) tell(s stopped) error {
	switch s.op {
	case opOpen, opOpenat2, opCreat:
		return w.open(&s)
	case opExec:
		return w.exec(&s)
	case opSymlink:
		return w.symlink(&s)
	case opLink, opRename:
		return w.pair(&s)
	case opConnect, opBind, opSendto, opSendmsg, opSendmmsg, opSocketcall:
		return w.talk(&s)
	case opIPC, opClone, opClone3, opUnshare, opSetns, opNamespace:
		return w.border(&s)
	case opFchdir:
		w.paths.moves(s.task)
		return nil
	}
	follow := s.follows()
	n, open, err := w.object(&s, follow)
	if s.op == opChdir {
		w.paths.moves(s.task)
	}
	if err != nil || n.gone || !s.valid() {
		return err
	}
	follow = follow || n.dir
	switch s.op {
	case opSee, opChdir:
		if !open || s.atFD() == unix.AT_FDCWD { // else it was seen when it was opened
			w.w.see(n.path, follow)
		}
	case opReadlink:
		w.w.readlink(n.path)
	case opList:
		w.w.list(n.path)
	case opMkdir:
		w.paths.turned()
		w.w.mkdir(n.path)
	case opMknod:
		w.w.mknod(n.path, uint32(s.args[s.path+1]))
	case opUnlink:
		w.paths.turned()
		w.w.remove(n.path, s.has(unix.AT_REMOVEDIR))
	case opRmdir:
		w.paths.turned()
		w.w.remove(n.path, true)
	case opTruncate:
		w.w.truncate(n.path)
	case opChange:
		w.w.change(n.path, follow && !open) // a descriptor of a link is of the link itself
	}
	return nil
}

// open tells of a file that is opened.
func (w *watcher) open(s *stopped) error {
	flags := unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	switch s.op {
	case opOpen:
		flags = int(uint32(s.args[s.flags]))
	case opOpenat2:
		b := make([]byte, unix.SizeofOpenHow)
		if n, err := w.mem.read(s.tid, s.args[s.flags], b); err != nil || n < len(b) {
			return cmp.Or(err, errFault)
		}
		flags = int(binary.NativeEndian.Uint64(b))
		if binary.NativeEndian.Uint64(b[16:])&unix.RESOLVE_IN_ROOT != 0 {
			if s.valid() {
				w.w.bar(record.BarNamespace, "openat2 in another root")
			}
			return nil
		}
	}
	follow := flags&unix.O_NOFOLLOW == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
	n, err := w.name(s, s.atFD(), int(s.path), follow)
	if err != nil || n.gone || !s.valid() {
		return err
	}
	follow = follow || n.dir
	// An O_TMPFILE has no name yet; linkat gives it one.
	if flags&unix.O_PATH != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		w.w.see(n.path, follow)
		return nil
	}
	w.w.open(n.path, flags, follow)
	return nil
}

// exec tells of a program that is run. One without a path, in memory, was
// put there from somewhere else.
func (w *watcher) exec(s *stopped) error {
	n, _, err := w.object(s, s.follows())
	if err != nil || n.gone {
		return err
	}
	argv, err := w.mem.argv(s.tid, s.arch, s.args[s.path+1])
	if err != nil || !s.valid() {
		return err
	}
	w.w.exec(n.path, argv)
	return nil
}

func (w *watcher) symlink(s *stopped) error {
	text, ok, err := w.mem.str(s.tid, s.args[0], pathMax)
	if err != nil || !ok {
		return cmp.Or(err, errFault)
	}
	target := string(text)
	n, err := w.name(s, s.atFD(), int(s.path), false)
	if err != nil || n.gone || !s.valid() {
		return err
	}
	w.paths.turned()
	w.w.symlink(target, n.path)
	return nil
}

// pair tells of calls with two paths.
func (w *watcher) pair(s *stopped) error {
	follow := s.follows()
	from, _, err := w.object(s, follow)
	if err != nil {
		return err
	}
	at, arg := int32(unix.AT_FDCWD), 1
	if s.at >= 0 {
		at, arg = s.fd(2), 3
	}
	to, err := w.name(s, at, arg, false)
	if err != nil || to.gone || !s.valid() {
		return err
	}
	switch {
	case s.op == opRename:
		flags := 0
		if s.flags >= 0 {
			flags = int(uint32(s.args[s.flags]))
		}
		w.paths.turned()
		w.w.rename(from.path, to.path, flags)
	case from.gone: // a file that had no name gets one
		w.w.open(to.path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, false)
	default:
		w.w.link(from.path, to.path, follow)
	}
	return nil
}

// border tells of what leads out of the step's own view of the machine.
func (w *watcher) border(s *stopped) error {
	flags := s.args[0]
	switch s.op {
	case opIPC:
		return w.ipc(s)
	case opNamespace:
		if s.valid() {
			w.w.bar(record.BarNamespace, s.name)
		}
		return nil
	case opSetns:
		if flags = uint64(uint32(s.args[1])); flags == 0 {
			flags = unix.CLONE_NEWNS
		}
	case opClone3:
		b := make([]byte, 8)
		if n, err := w.mem.read(s.tid, s.args[0], b); err != nil || n < len(b) {
			return cmp.Or(err, errFault)
		}
		flags = binary.NativeEndian.Uint64(b)
	}
	if !s.valid() {
		return nil
	}
	if flags&unix.CLONE_NEWNS != 0 {
		w.w.bar(record.BarNamespace, s.name)
	}
	const threads = unix.CLONE_FS | unix.CLONE_THREAD
	switch s.op {
	case opClone, opClone3:
		if shared := flags & threads; shared != 0 && shared != threads {
			w.paths.share()
		}
	case opUnshare:
		if flags&(unix.CLONE_FS|unix.CLONE_NEWNS) != 0 {
			w.paths.share()
		}
	}
	return nil
}

// ipc tells of shared memory, semaphores and queues that others can find.
func (w *watcher) ipc(s *stopped) error {
	key := uint32(s.args[0])
	switch s.name {
	case "mq_open", "mq_unlink":
		text, ok, err := w.mem.str(s.tid, s.args[0], pathMax)
		if err != nil || !ok {
			return cmp.Or(err, errFault)
		}
		if s.valid() {
			w.w.bar(record.BarIPC, "message queue "+string(text))
		}
		return nil
	case "ipc":
		if sub := key & 0xffff; sub != 2 && sub != 13 && sub != 23 {
			return nil
		}
		key = uint32(s.args[1])
	}
	if key != unix.IPC_PRIVATE && s.valid() {
		w.w.bar(record.BarIPC, s.name+" with key "+strconv.FormatUint(uint64(key), 10))
	}
	return nil
}

// Calls within socketcall(2).
const (
	socketcallBind     = 2
	socketcallConnect  = 3
	socketcallSendto   = 11
	socketcallSendmsg  = 16
	socketcallSendmmsg = 20
)

// talk tells of addresses.
func (w *watcher) talk(s *stopped) error {
	what, args := s.op, s.args
	if what == opSocketcall {
		var inner [6]uint64
		what = map[uint32]op{
			socketcallBind: opBind, socketcallConnect: opConnect, socketcallSendto: opSendto,
			socketcallSendmsg: opSendmsg, socketcallSendmmsg: opSendmmsg,
		}[uint32(s.args[0])]
		count := map[op]int{opBind: 3, opConnect: 3, opSendto: 6, opSendmsg: 3, opSendmmsg: 4}[what]
		if count == 0 {
			return nil
		}
		if err := w.mem.words(s.tid, s.arch, s.args[1], inner[:count]); err != nil {
			return err
		}
		args = &inner
	}
	fd := int(int32(uint32(args[0])))
	switch what {
	case opConnect, opBind:
		return w.address(s, what, fd, args[1], args[2])
	case opSendto:
		return w.address(s, what, fd, args[4], args[5])
	case opSendmsg:
		return w.message(s, fd, args[1])
	}
	size := uint64(64) // struct mmsghdr
	if !s.arch.wide() {
		size = 32
	}
	for i := range min(uint64(uint32(args[2])), 1024) { // the kernel takes no more
		if err := w.message(s, fd, args[1]+i*size); err != nil {
			return err
		}
	}
	return nil
}

// message tells of the address in a struct msghdr.
func (w *watcher) message(s *stopped, fd int, at uint64) error {
	var head [2]uint64
	if err := w.mem.words(s.tid, s.arch, at, head[:]); err != nil {
		return err
	}
	if head[0] == 0 {
		return nil
	}
	return w.address(s, opSendmsg, fd, head[0], head[1])
}

// address tells of one address.
func (w *watcher) address(s *stopped, what op, fd int, at, size uint64) error {
	if at == 0 {
		return nil
	}
	b := make([]byte, min(uint64(uint32(size)), unix.SizeofSockaddrAny))
	if n, err := w.mem.read(s.tid, at, b); err != nil || n < len(b) || n < 2 {
		return cmp.Or(err, errFault)
	}
	tell := w.w.connect
	if what == opBind {
		tell = w.w.bind
	}
	var to netip.AddrPort
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_UNIX:
		return w.local(s, tell, b[2:])
	case family == unix.AF_INET && len(b) >= 8:
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[2:]))
	case family == unix.AF_INET6 && len(b) >= 24:
		to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])).Unmap(), binary.BigEndian.Uint16(b[2:]))
	case family == unix.AF_UNSPEC, family == unix.AF_INET, family == unix.AF_INET6,
		family == unix.AF_NETLINK, family == unix.AF_ALG:
		return nil // nowhere, or the kernel itself
	default:
		if s.valid() {
			tell("family-"+strconv.Itoa(int(family)), "")
		}
		return nil
	}
	network := "udp"
	if what == opConnect || what == opBind {
		network = w.network(s.proc.pid, fd)
	}
	if !s.valid() {
		return nil
	}
	if asked := (port{s.proc.pid, fd}); what == opBind && to.Port() == 0 && len(w.ports) < maxPorts && !slices.Contains(w.ports, asked) {
		w.ports = append(w.ports, asked)
	}
	if what != opBind && (to.Addr().IsLoopback() || to.Addr().IsUnspecified()) {
		w.chosen()
	}
	tell(network, to.String())
	return nil
}

// local tells of the address of a Unix socket.
func (w *watcher) local(s *stopped, tell func(network, address string), name []byte) error {
	if len(name) == 0 {
		return nil
	}
	if name[0] == 0 { // abstract
		if s.valid() {
			tell("unix", "@"+string(name[1:]))
		}
		return nil
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	n, err := w.paths.absolute(s.task, unix.AT_FDCWD, name, true)
	if err == nil && !n.gone && s.valid() {
		tell("unix", n.path)
	}
	return err
}

// network says what a socket speaks; where it cannot be asked, the likely.
func (w *watcher) network(pid, fd int) string {
	network := "tcp"
	borrow(pid, fd, func(fd int) {
		switch kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); {
		case err != nil:
		case kind == unix.SOCK_DGRAM:
			network = "udp"
		case kind == unix.SOCK_RAW:
			network = "ip"
		}
	})
	return network
}

// chosen tells of the ports that the kernel chose since.
func (w *watcher) chosen() {
	w.ports = slices.DeleteFunc(w.ports, func(p port) bool {
		yet := false // the call has not been carried out yet
		borrow(p.pid, p.fd, func(fd int) {
			name, err := unix.Getsockname(fd)
			if err != nil {
				return
			}
			var to netip.AddrPort
			switch a := name.(type) {
			case *unix.SockaddrInet4:
				to = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
			case *unix.SockaddrInet6:
				to = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
			}
			if yet = to.Port() == 0; !yet {
				w.w.bind(w.network(p.pid, p.fd), to.String())
			}
		})
		return !yet
	})
}

// borrow lends a descriptor of another process. It is not kept: that could
// hold an address longer than the process wants it.
func borrow(pid, fd int, use func(fd int)) {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(p)
	own, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return
	}
	defer unix.Close(own)
	use(own)
}
