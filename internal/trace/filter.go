//go:build linux

package trace

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// arch is a kind of system calls, as the kernel tells them apart.
type arch uint8

// The arches: columns of the table of calls. A machine has its own and that of
// its 32-bit programs.
const (
	amd64 arch = iota
	i386
	arm64
	arm
	columns
)

// audit is the kernel's name for an arch, AUDIT_ARCH_*.
func (a arch) audit() uint32 {
	return [columns]uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM}[a]
}

// wide reports whether pointers have 64 bits.
func (a arch) wide() bool { return a == amd64 || a == arm64 }

// archOf is the inverse of audit.
func archOf(audit uint32) (arch, bool) {
	for a := range columns {
		if a.audit() == audit {
			return a, true
		}
	}
	return 0, false
}

// op is what a call does, as far as it is of interest.
type op uint8

const (
	opSee op = iota + 1
	opReadlink
	opChdir
	opFchdir
	opOpen
	opOpenat2
	opCreat
	opList
	opExec
	opMkdir
	opMknod
	opSymlink
	opLink
	opUnlink
	opRmdir
	opRename
	opTruncate
	opChange
	opConnect
	opBind
	opSendto
	opSendmsg
	opSendmmsg
	opSocketcall
	opIPC
	opClone
	opClone3
	opUnshare
	opSetns
	opNamespace
	opRefuse // is answered with ENOSYS
)

// following says when a call follows a link that its path is.
type following uint8

const (
	always following = iota
	never
	ifFlag     // AT_SYMLINK_FOLLOW
	unlessFlag // AT_SYMLINK_NOFOLLOW
)

// condition narrows down, by what a filter can see, when a call stops.
type condition uint8

const (
	anyhow condition = iota
	// notFstat2, notFstat3: argument 2 or 3 has no AT_EMPTY_PATH, with which
	// the C library asks for an open file that it has already. A path that is
	// not empty in such a call cannot be told apart; who passes both means
	// the path to be empty sometimes.
	notFstat2
	notFstat3
	hasAddress // sendto with an address
	hasKey0    // argument 0 is not IPC_PRIVATE
	hasKey1
	// oddClone, oddUnshare: another view of the files, or a working directory
	// that is shared by others than just the threads of a process.
	oddClone
	oddUnshare
)

const none = -1

// numbers are those of one call, 0 on an arch that does not have it.
type numbers [columns]uint16

// call is a system call that is of interest, and which of its arguments are.
type call struct {
	name   string
	op     op
	at     int8 // the descriptor that the path is relative to, or that is meant
	path   int8
	flags  int8
	follow following
	when   condition
	nr     numbers
}

var calls = [...]call{
	// looking
	{"stat", opSee, none, 0, none, always, anyhow, numbers{4, 106, 0, 106}},
	{"lstat", opSee, none, 0, none, never, anyhow, numbers{6, 107, 0, 107}},
	{"stat64", opSee, none, 0, none, always, anyhow, numbers{0, 195, 0, 195}},
	{"lstat64", opSee, none, 0, none, never, anyhow, numbers{0, 196, 0, 196}},
	{"oldstat", opSee, none, 0, none, always, anyhow, numbers{0, 18, 0, 0}},
	{"oldlstat", opSee, none, 0, none, never, anyhow, numbers{0, 84, 0, 0}},
	{"newfstatat", opSee, 0, 1, 3, unlessFlag, notFstat3, numbers{262, 0, 79, 0}},
	{"fstatat64", opSee, 0, 1, 3, unlessFlag, notFstat3, numbers{0, 300, 0, 327}},
	{"statx", opSee, 0, 1, 2, unlessFlag, notFstat2, numbers{332, 383, 291, 397}},
	{"access", opSee, none, 0, none, always, anyhow, numbers{21, 33, 0, 33}},
	{"faccessat", opSee, 0, 1, none, always, anyhow, numbers{269, 307, 48, 334}},
	{"faccessat2", opSee, 0, 1, 3, unlessFlag, anyhow, numbers{439, 439, 439, 439}},
	{"statfs", opSee, none, 0, none, always, anyhow, numbers{137, 99, 43, 99}},
	{"statfs64", opSee, none, 0, none, always, anyhow, numbers{0, 268, 0, 266}},
	{"getxattr", opSee, none, 0, none, always, anyhow, numbers{191, 229, 8, 229}},
	{"lgetxattr", opSee, none, 0, none, never, anyhow, numbers{192, 230, 9, 230}},
	{"listxattr", opSee, none, 0, none, always, anyhow, numbers{194, 232, 11, 232}},
	{"llistxattr", opSee, none, 0, none, never, anyhow, numbers{195, 233, 12, 233}},
	{"getxattrat", opSee, 0, 1, 2, unlessFlag, anyhow, numbers{464, 464, 464, 464}},
	{"listxattrat", opSee, 0, 1, 2, unlessFlag, anyhow, numbers{465, 465, 465, 465}},
	{"file_getattr", opSee, 0, 1, 4, unlessFlag, anyhow, numbers{468, 468, 468, 468}},
	{"inotify_add_watch", opSee, none, 1, none, always, anyhow, numbers{254, 292, 27, 317}},
	{"name_to_handle_at", opSee, 0, 1, 4, ifFlag, anyhow, numbers{303, 341, 264, 370}},
	{"readlink", opReadlink, none, 0, none, never, anyhow, numbers{89, 85, 0, 85}},
	{"readlinkat", opReadlink, 0, 1, none, never, anyhow, numbers{267, 305, 78, 332}},
	{"chdir", opChdir, none, 0, none, always, anyhow, numbers{80, 12, 49, 12}},
	{"fchdir", opFchdir, 0, none, none, always, anyhow, numbers{81, 133, 50, 133}},

	// opening and running
	{"open", opOpen, none, 0, 1, always, anyhow, numbers{2, 5, 0, 5}},
	{"openat", opOpen, 0, 1, 2, always, anyhow, numbers{257, 295, 56, 322}},
	{"openat2", opOpenat2, 0, 1, 2, always, anyhow, numbers{437, 437, 437, 437}},
	{"creat", opCreat, none, 0, none, always, anyhow, numbers{85, 8, 0, 8}},
	{"getdents", opList, 0, none, none, always, anyhow, numbers{78, 141, 0, 141}},
	{"getdents64", opList, 0, none, none, always, anyhow, numbers{217, 220, 61, 217}},
	{"execve", opExec, none, 0, none, always, anyhow, numbers{59, 11, 221, 11}},
	{"execveat", opExec, 0, 1, 4, unlessFlag, anyhow, numbers{322, 358, 281, 387}},

	// making and removing
	{"mkdir", opMkdir, none, 0, none, never, anyhow, numbers{83, 39, 0, 39}},
	{"mkdirat", opMkdir, 0, 1, none, never, anyhow, numbers{258, 296, 34, 323}},
	{"mknod", opMknod, none, 0, none, never, anyhow, numbers{133, 14, 0, 14}},
	{"mknodat", opMknod, 0, 1, none, never, anyhow, numbers{259, 297, 33, 324}},
	{"symlink", opSymlink, none, 1, none, never, anyhow, numbers{88, 83, 0, 83}},
	{"symlinkat", opSymlink, 1, 2, none, never, anyhow, numbers{266, 304, 36, 331}},
	{"link", opLink, none, 0, none, never, anyhow, numbers{86, 9, 0, 9}},
	{"linkat", opLink, 0, 1, 4, ifFlag, anyhow, numbers{265, 303, 37, 330}},
	{"unlink", opUnlink, none, 0, none, never, anyhow, numbers{87, 10, 0, 10}},
	{"unlinkat", opUnlink, 0, 1, 2, never, anyhow, numbers{263, 301, 35, 328}},
	{"rmdir", opRmdir, none, 0, none, never, anyhow, numbers{84, 40, 0, 40}},
	{"rename", opRename, none, 0, none, never, anyhow, numbers{82, 38, 0, 38}},
	{"renameat", opRename, 0, 1, none, never, anyhow, numbers{264, 302, 38, 329}},
	{"renameat2", opRename, 0, 1, 4, never, anyhow, numbers{316, 353, 276, 382}},

	// changing
	{"truncate", opTruncate, none, 0, none, always, anyhow, numbers{76, 92, 45, 92}},
	{"truncate64", opTruncate, none, 0, none, always, anyhow, numbers{0, 193, 0, 193}},
	{"chmod", opChange, none, 0, none, always, anyhow, numbers{90, 15, 0, 15}},
	{"fchmod", opChange, 0, none, none, always, anyhow, numbers{91, 94, 52, 94}},
	{"fchmodat", opChange, 0, 1, none, always, anyhow, numbers{268, 306, 53, 333}},
	{"fchmodat2", opChange, 0, 1, 3, unlessFlag, anyhow, numbers{452, 452, 452, 452}},
	{"chown", opChange, none, 0, none, always, anyhow, numbers{92, 182, 0, 182}},
	{"lchown", opChange, none, 0, none, never, anyhow, numbers{94, 16, 0, 16}},
	{"fchown", opChange, 0, none, none, always, anyhow, numbers{93, 95, 55, 95}},
	{"chown32", opChange, none, 0, none, always, anyhow, numbers{0, 212, 0, 212}},
	{"lchown32", opChange, none, 0, none, never, anyhow, numbers{0, 198, 0, 198}},
	{"fchown32", opChange, 0, none, none, always, anyhow, numbers{0, 207, 0, 207}},
	{"fchownat", opChange, 0, 1, 4, unlessFlag, anyhow, numbers{260, 298, 54, 325}},
	{"utime", opChange, none, 0, none, always, anyhow, numbers{132, 30, 0, 0}},
	{"utimes", opChange, none, 0, none, always, anyhow, numbers{235, 271, 0, 269}},
	{"futimesat", opChange, 0, 1, none, always, anyhow, numbers{261, 299, 0, 326}},
	{"utimensat", opChange, 0, 1, 3, unlessFlag, anyhow, numbers{280, 320, 88, 348}},
	{"utimensat_time64", opChange, 0, 1, 3, unlessFlag, anyhow, numbers{0, 412, 0, 412}},
	{"setxattr", opChange, none, 0, none, always, anyhow, numbers{188, 226, 5, 226}},
	{"lsetxattr", opChange, none, 0, none, never, anyhow, numbers{189, 227, 6, 227}},
	{"fsetxattr", opChange, 0, none, none, always, anyhow, numbers{190, 228, 7, 228}},
	{"setxattrat", opChange, 0, 1, 2, unlessFlag, anyhow, numbers{463, 463, 463, 463}},
	{"removexattr", opChange, none, 0, none, always, anyhow, numbers{197, 235, 14, 235}},
	{"lremovexattr", opChange, none, 0, none, never, anyhow, numbers{198, 236, 15, 236}},
	{"fremovexattr", opChange, 0, none, none, always, anyhow, numbers{199, 237, 16, 237}},
	{"removexattrat", opChange, 0, 1, 2, unlessFlag, anyhow, numbers{466, 466, 466, 466}},
	{"file_setattr", opChange, 0, 1, 4, unlessFlag, anyhow, numbers{469, 469, 469, 469}},

	// talking
	{"connect", opConnect, none, none, none, always, anyhow, numbers{42, 362, 203, 283}},
	{"bind", opBind, none, none, none, always, anyhow, numbers{49, 361, 200, 282}},
	{"sendto", opSendto, none, none, none, always, hasAddress, numbers{44, 369, 206, 290}},
	{"sendmsg", opSendmsg, none, none, none, always, anyhow, numbers{46, 370, 211, 296}},
	{"sendmmsg", opSendmmsg, none, none, none, always, anyhow, numbers{307, 345, 269, 374}},
	{"socketcall", opSocketcall, none, none, none, always, anyhow, numbers{0, 102, 0, 0}},
	{"shmget", opIPC, none, none, none, always, hasKey0, numbers{29, 395, 194, 307}},
	{"semget", opIPC, none, none, none, always, hasKey0, numbers{64, 393, 190, 299}},
	{"msgget", opIPC, none, none, none, always, hasKey0, numbers{68, 399, 186, 303}},
	{"ipc", opIPC, none, none, none, always, hasKey1, numbers{0, 117, 0, 0}},
	{"mq_open", opIPC, none, none, none, always, anyhow, numbers{240, 277, 180, 274}},
	{"mq_unlink", opIPC, none, none, none, always, anyhow, numbers{241, 278, 181, 275}},

	// other views of the tree
	{"clone", opClone, none, none, none, always, oddClone, numbers{56, 120, 220, 120}},
	{"clone3", opClone3, none, none, none, always, anyhow, numbers{435, 435, 435, 435}},
	{"unshare", opUnshare, none, none, none, always, oddUnshare, numbers{272, 310, 97, 337}},
	{"setns", opSetns, none, none, none, always, anyhow, numbers{308, 346, 268, 375}},
	{"chroot", opNamespace, none, 0, none, always, anyhow, numbers{161, 61, 51, 61}},
	{"pivot_root", opNamespace, none, 0, none, always, anyhow, numbers{155, 217, 41, 218}},
	{"mount", opNamespace, none, 1, none, always, anyhow, numbers{165, 21, 40, 21}},
	{"umount2", opNamespace, none, 0, none, always, anyhow, numbers{166, 52, 39, 52}},
	{"umount", opNamespace, none, 0, none, always, anyhow, numbers{0, 22, 0, 0}},
	{"open_tree", opNamespace, none, none, none, always, anyhow, numbers{428, 428, 428, 428}},
	{"open_tree_attr", opNamespace, none, none, none, always, anyhow, numbers{467, 467, 467, 467}},
	{"move_mount", opNamespace, none, none, none, always, anyhow, numbers{429, 429, 429, 429}},
	{"mount_setattr", opNamespace, none, none, none, always, anyhow, numbers{442, 442, 442, 442}},
	{"fsmount", opNamespace, none, none, none, always, anyhow, numbers{432, 432, 432, 432}},
	{"fspick", opNamespace, none, none, none, always, anyhow, numbers{433, 433, 433, 433}},
	{"open_by_handle_at", opNamespace, none, none, none, always, anyhow, numbers{304, 342, 265, 371}},

	// a way around
	{"io_uring_setup", opRefuse, none, none, none, always, anyhow, numbers{425, 425, 425, 425}},
}

// maxNr is above all numbers of the table.
const maxNr = 512

// index holds, for each arch and number, one more than the place in calls.
var index = sync.OnceValue(func() *[columns][maxNr]uint8 {
	var x [columns][maxNr]uint8
	for i := range calls {
		for a, nr := range calls[i].nr {
			if nr != 0 && calls[i].op != opRefuse {
				x[a][nr] = uint8(i + 1)
			}
		}
	}
	return &x
})

// find finds a call by its number; nil if there is nothing to tell of it.
func find(a arch, nr int32) *call {
	if nr < 0 || nr >= maxNr || index()[a][nr] == 0 {
		return nil
	}
	return &calls[index()[a][nr]-1]
}

// What a filter reads, struct seccomp_data: the call's number, its arch, the
// instruction, and six arguments of which each is two words, the low one first.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// x32 is a bit in the numbers of calls by which programs for 64-bit machines
// with short pointers are known. They are so rare that they are sent away, as
// kernels without them do.
const x32 = 0x40000000

const refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// filter is a program for the kernel that says what becomes of each call of
// the given arches: those of interest get the verdict, all others pass. A
// verdict of SECCOMP_RET_ALLOW makes a filter that only refuses.
func filter(verdict uint32, arches ...arch) []unix.SockFilter {
	program := []unix.SockFilter{load(dataArch)}
	for _, a := range arches {
		branch := []unix.SockFilter{load(dataNr)}
		if a == amd64 {
			branch = append(branch, jump(unix.BPF_JGE, x32, 0, 1), ret(refuse))
		}
		branch = append(branch, search(leaves(a, verdict))...)
		// Past a branch this far only a jump by itself leads.
		program = append(program, jump(unix.BPF_JEQ, a.audit(), 1, 0), far(len(branch)))
		program = append(program, branch...)
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

// leaf is what is done from one call number on, up to the next leaf's.
type leaf struct {
	from uint32
	code []unix.SockFilter
}

func leaves(a arch, verdict uint32) []leaf {
	pass := []unix.SockFilter{ret(unix.SECCOMP_RET_ALLOW)}
	var stops []leaf
	for i := range calls {
		c := &calls[i]
		if nr := c.nr[a]; nr == 0 {
			continue
		} else if c.op == opRefuse {
			stops = append(stops, leaf{uint32(nr), []unix.SockFilter{ret(refuse)}})
		} else if verdict != unix.SECCOMP_RET_ALLOW {
			stops = append(stops, leaf{uint32(nr), c.when.code(a, verdict)})
		}
	}
	slices.SortFunc(stops, func(a, b leaf) int { return int(a.from) - int(b.from) })
	all := []leaf{{0, pass}}
	for _, s := range stops {
		if last := &all[len(all)-1]; last.from == s.from {
			*last = s
		} else {
			all = append(all, s)
		}
		all = append(all, leaf{s.from + 1, pass})
	}
	return all
}

// search is a binary search for the leaf of the number that has been loaded.
func search(l []leaf) []unix.SockFilter {
	if len(l) == 1 {
		return l[0].code
	}
	low, high := search(l[:len(l)/2]), search(l[len(l)/2:])
	at := l[len(l)/2].from
	var code []unix.SockFilter
	if len(low) <= 255 {
		code = append(code, jump(unix.BPF_JGE, at, uint8(len(low)), 0))
	} else {
		code = append(code, jump(unix.BPF_JGE, at, 0, 1), far(len(low)))
	}
	return append(append(code, low...), high...)
}

// code is a condition as a program that ends with a verdict.
func (c condition) code(a arch, verdict uint32) []unix.SockFilter {
	stop, pass := ret(verdict), ret(unix.SECCOMP_RET_ALLOW)
	const threads = unix.CLONE_FS | unix.CLONE_THREAD
	switch c {
	case notFstat2, notFstat3:
		flags := 2
		if c == notFstat3 {
			flags = 3
		}
		atCwd := int32(unix.AT_FDCWD)
		return []unix.SockFilter{
			load(low(flags)), jump(unix.BPF_JSET, unix.AT_EMPTY_PATH, 0, 2),
			load(low(0)), jump(unix.BPF_JEQ, uint32(atCwd), 0, 1), stop, pass,
		}
	case hasAddress:
		return []unix.SockFilter{
			load(low(4)), jump(unix.BPF_JEQ, 0, 0, 2),
			load(low(4) + 4), jump(unix.BPF_JEQ, 0, 1, 0), stop, pass,
		}
	case hasKey0:
		return []unix.SockFilter{load(low(0)), jump(unix.BPF_JEQ, 0, 1, 0), stop, pass}
	case hasKey1: // ipc(2): a call within a call; SEMGET, MSGGET, SHMGET take keys
		return []unix.SockFilter{
			load(low(0)), and(0xffff),
			jump(unix.BPF_JEQ, 2, 2, 0), jump(unix.BPF_JEQ, 13, 1, 0), jump(unix.BPF_JEQ, 23, 0, 3),
			load(low(1)), jump(unix.BPF_JEQ, 0, 1, 0), stop, pass,
		}
	case oddClone:
		return []unix.SockFilter{
			load(low(0)), jump(unix.BPF_JSET, unix.CLONE_NEWNS, 3, 0), and(threads),
			jump(unix.BPF_JEQ, 0, 2, 0), jump(unix.BPF_JEQ, threads, 1, 0), stop, pass,
		}
	case oddUnshare:
		return []unix.SockFilter{load(low(0)), jump(unix.BPF_JSET, unix.CLONE_NEWNS|unix.CLONE_FS, 0, 1), stop, pass}
	}
	return []unix.SockFilter{stop}
}

// low is where the low word of an argument lies.
func low(arg int) uint32 { return dataArgs + 8*uint32(arg) }

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

// jump compares what was loaded; yes and no are how many instructions to skip.
func jump(how uint16, with uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, Jt: yes, Jf: no, K: with}
}

func far(skip int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(skip)}
}

func and(with uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: with}
}

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}
