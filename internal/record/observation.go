package record

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// Observation is what a step and all its descendants touched, from the start
// of its first process to its end. Package trace makes it; package cache
// decides by it whether the step would do the same again.
//
// Paths are absolute, as the step saw them, clean, and free of symbolic links
// in their directories: what went through a link depends on the link (an
// Input of its own, UseLink) and on what it leads to. States are those of a
// path's first access: what the step itself changed afterwards does not count
// as something it was given.
type Observation struct {
	// Mechanism is what watched: "seccomp", "ptrace"; "" when nobody did.
	Mechanism string
	// Barred says why the step may not be taken as known by what follows:
	// it did something that cannot be seen, or that reaches out of here.
	// Sorted; each Kind and Detail once.
	Barred []Bar

	Inputs  []Input  // sorted by Path, then Use
	Outputs []Output // sorted by Path; as they were when the step ended

	Programs []string // files that were executed, sorted, each once
	Argv     []byte   // the arguments of all programs, NUL after each, up to a limit
	Peers    []string // addresses and sockets talked to, sorted: "tcp 10.0.0.1:443", "unix /run/docker.sock"
	Random   bool     // a device of randomness was opened; the system call for it is not seen
	LeftOver int      // processes that outlived the step

	Calls    int64         // system calls that were looked at
	Overhead time.Duration // processor time the watching took
	Wall     time.Duration // from start to end
}

// Bar is a reason why a step may not be reused.
type Bar struct {
	Kind   string `json:"kind"`             // one of the Bar constants
	Detail string `json:"detail,omitempty"` // the path, the address …
}

// The kinds of bars. Those that a user can lift by a declaration say so in
// package cache.
const (
	BarNotWatched  = "not-watched"  // nothing watched the step; Detail says why
	BarLost        = "lost"         // the watching broke off, or a limit of it was reached
	BarNetwork     = "network"      // an address that is not the step's own
	BarSocket      = "socket"       // a Unix socket that somebody else serves
	BarOutside     = "outside"      // a change outside the job's directories and temporary ones
	BarVolume      = "volume"       // files on a volume of which only the container engine knows the place
	BarNamespace   = "namespace"    // mount, chroot, unshare, setns, open by handle
	BarIPC         = "ipc"          // shared memory or message queues across the step's border
	BarProcesses   = "processes"    // processes were left behind
	BarMoved       = "moved"        // an input was changed by somebody else meanwhile
	BarDevice      = "device"       // a device that is more than null, zero, random or tty
	BarUnsupported = "unsupported"  // a file of a kind that cannot be kept: a fifo, a device, a socket
	BarTooMuch     = "too-much"     // more outputs than are kept
	BarSecret      = "secret"       // an effect holds a secret
	BarHazard      = "hazard"       // a step at the same time touched the same paths
	BarFailed      = "failed"       // it did not succeed
	BarDeclared    = "declared"     // the project says never
	BarUnstable    = "unstable"     // a verification found another result
	BarOff         = "switched-off" // watching costs more than it saves
	BarParts       = "parts"        // its tests ran one by one, and those that need not run did not
	BarProtocol    = "protocol"     // what it said to the dialect cannot be said again
)

// Use is how a path was used.
type Use uint8

// The uses. One path may be used in several ways, each an Input of its own.
const (
	UseAbsent  Use = iota + 1 // nothing was there
	UseExists                 // its kind, mode, size and time were asked for, not its bytes
	UseContent                // its bytes were read or executed
	UseListed                 // the names in the directory were read
	UseLink                   // it is a symbolic link that was followed or read
	UseDir                    // it is a directory that was gone through or asked for
	UseKind                   // it was overwritten or removed unread: its kind and permissions count, not its bytes
)

// Input is a path and what it held when the step first used it.
type Input struct {
	Path string
	Use  Use
	FileState
	// Own is set when the step itself made the path later: then a version
	// of it made by an earlier run of the same step is as good as nothing.
	Own bool
}

// Output is a path and what the step left there.
type Output struct {
	Path string
	FileState
	// Made is set when there was nothing at the path before the step.
	Made bool
}

// FileState is what a path holds. Which fields count hangs on the Kind; Digest
// is the SHA-256 of a file's bytes, of a link's target, or for [UseListed] the
// [Listing].
type FileState struct {
	Kind   FileKind
	Perm   uint32 // permission bits, 0o7777
	Size   int64
	MTime  int64 // Unix nanoseconds; informational but for UseExists outside the job's directories
	Digest [32]byte
}

// Look is what stat says of a file: enough to tell that it has changed.
type Look struct {
	Kind     FileKind
	Perm     uint32 // 0o7777
	Size     int64
	MTime    int64 // Unix nanoseconds
	CTime    int64
	Dev, Ino uint64
	Links    uint64
}

// FileKind is what a path is.
type FileKind uint8

// The kinds of files.
const (
	Nothing FileKind = iota // also: an output that was removed
	Regular
	Directory
	Symlink
	Other // a device, fifo or socket
)

// Known reports whether the observation stands for all that the step did.
func (o *Observation) Known() bool { return o != nil && o.Mechanism != "" && len(o.Barred) == 0 }

// Entry is a name in a directory.
type Entry struct {
	Name string
	Kind FileKind
}

// Listing is the digest of what a directory lists: SHA-256 over the entries in
// byte order of their names, a byte for the kind before and a NUL after each
// name. Entries that the step itself made are left out by the caller, at
// recording and at look-up alike.
func Listing(entries []Entry) [32]byte {
	if !slices.IsSortedFunc(entries, byName) {
		entries = slices.SortedFunc(slices.Values(entries), byName)
	}
	size := 0
	for _, e := range entries {
		size += len(e.Name) + 2
	}
	b := make([]byte, 0, size)
	for _, e := range entries {
		b = append(b, byte(e.Kind))
		b = append(b, e.Name...)
		b = append(b, 0)
	}
	return sha256.Sum256(b)
}

func byName(a, b Entry) int { return strings.Compare(a.Name, b.Name) }
