// Package trace watches a process tree and says what it touched.
//
// A step is traced from its first instruction: every system call by which it
// or a descendant names a file, runs a program or talks to somebody stops for
// some microseconds until the supervisor, a thread of this process, has seen
// it. Calls that only move bytes are not stopped. What was seen becomes a
// [record.Observation].
//
// There are two mechanisms, tried in this order:
//
//   - seccomp user notification: a filter, inherited by all descendants,
//     hands the chosen calls to the supervisor, which lets each go on. The
//     filter is put on a thread that then starts the step's first process
//     and ends, so that no helper program is needed.
//   - ptrace, where another supervisor has taken the first way already (the
//     kernel allows one). It stops every call, and so costs more. A filter that asks
//     for stops would not do: the other supervisor's takes precedence.
//
// Inside, the work is divided:
//
//	filter          which calls stop: a table for each kind of processor, as BPF
//	notify, ptrace  the mechanisms: they stop a call
//	calls           read its arguments out of the process (memory) and resolve
//	                them to absolute paths (paths)
//	ledger          what the calls mean: what a path was when it was first used,
//	                what the step made of it
//
// An executor makes a [Tracer] for each step: Attr before the first process is
// started, Start around its start, Wait instead of waiting for it, and Finish
// for the observation.
//
// Tracing is for steps that do not fight it: it is not a security boundary. It
// never breaks a step: what goes wrong in the supervisor ends the observation,
// which then says so, and the step goes on without it.
package trace

import (
	"errors"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Spec says what is of interest.
type Spec struct {
	// Inside are the directories in which the step may change what it likes:
	// its workspace, its temporary directories. A change elsewhere bars reuse.
	Inside []string
	// Ignored are directories and files that are neither inputs nor outputs:
	// tool caches, the files by which a step talks to its dialect. A pattern
	// is an absolute path, and stands for all below; "**/" in front of a name
	// stands for any directory of that name outside of Inside.
	Ignored []string
	// Digest is asked for the SHA-256 of a regular file that was looked at as
	// given and has not changed since; nil reads the file. Several goroutines
	// may call it.
	Digest func(path string, look record.Look) ([32]byte, error)
}

// Mechanism is a way to watch.
type Mechanism string

// The mechanisms.
const (
	Seccomp Mechanism = "seccomp"
	Ptrace  Mechanism = "ptrace"
)

// ErrUnsupported is wrapped by the errors of [Probe] and [New] on machines
// where nothing can be watched.
var ErrUnsupported = errors.New("processes cannot be watched here")

// Ability is what a machine offers.
type Ability struct {
	Mechanism Mechanism
	// NoNewPrivs is set when watched processes cannot gain privileges: sudo
	// and other set-user-ID programs do not work in them.
	NoNewPrivs bool
	// Missing says, for each mechanism that cannot be had, why.
	Missing map[Mechanism]string
}

// Limits of one observation. What is beyond them ends it ([record.BarLost]).
const (
	maxPaths = 2_000_000
	maxArgv  = 1 << 20 // bytes of arguments that are kept
	maxPeers = 1000
)

// ended is how long the supervisor waits, once the step's first process has
// ended, for calls that are being looked at.
const ended = time.Second

// witness is told of calls, each before the kernel carries it out, by one
// goroutine: the mechanisms talk to the ledger through it. Paths are absolute
// and lexically clean, relative to the root of the machine; links in them
// have not been resolved. follow says whether the call follows a link that
// the path itself is. What a call will come to is not known yet: it may fail.
type witness interface {
	// see is asking for what is there: stat, access, chdir, O_PATH.
	see(path string, follow bool)
	readlink(path string)
	// open is open, openat, openat2, creat, with the flags of open(2).
	open(path string, flags int, follow bool)
	// list is reading the names in a directory.
	list(path string)
	// exec is execve and execveat of a file; interpreters named in it are
	// the witness's to find.
	exec(path string, argv []string)
	mkdir(path string)
	remove(path string, dir bool)
	// rename is rename, renameat, renameat2 with its flags.
	rename(from, to string, flags int)
	link(from, to string, follow bool)
	symlink(target, path string)
	mknod(path string, mode uint32)
	// truncate changes a file's length by its name.
	truncate(path string)
	// change is any other change to a file: mode, owner, times, attributes.
	change(path string, follow bool)
	// connect and bind tell of addresses: network is "tcp", "udp", "unix", or
	// another word for what it is; address a path for unix ("@name" when abstract), else host:port. listening
	// ports of the step's own are the witness's to remember; a port that was
	// 0 is told again once the kernel has chosen it.
	connect(network, address string)
	bind(network, address string)
	bar(kind, detail string)
}
