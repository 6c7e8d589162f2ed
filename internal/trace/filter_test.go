//go:build linux

package trace

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter over a call as the kernel does.
func judge(t *testing.T, program []unix.SockFilter, nr int32, audit uint32, args [6]uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], uint32(nr))
	binary.LittleEndian.PutUint32(data[4:], audit)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = acc == in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = acc&in.K != 0
		default:
			t.Fatalf("instruction %d: the kernel does not know %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

const (
	stops   = unix.SECCOMP_RET_USER_NOTIF
	passes  = unix.SECCOMP_RET_ALLOW
	refuses = refuse
)

var machines = map[string][]arch{"x86-64": {amd64, i386}, "ARM": {arm64, arm}}

// TestFilterNumbers asks the filters of both machines for their verdict on every
// number on every arch.
func TestFilterNumbers(t *testing.T) {
	t.Parallel()
	// Arguments for which each call of the table stops.
	args := [6]uint64{5, 0, 0, 0, 7, 0}
	for name, machine := range machines {
		for _, verdict := range []uint32{stops, passes} {
			program := filter(verdict, machine...)
			if len(program) > unix.BPF_MAXINSNS {
				t.Fatalf("%s: %d instructions are more than the kernel takes", name, len(program))
			}
			for a := range columns {
				mine := a == machine[0] || a == machine[1]
				want := map[int32]uint32{}
				for _, c := range calls {
					nr := int32(c.nr[a])
					switch {
					case nr == 0 || !mine:
					case c.op == opRefuse:
						want[nr] = refuses
					case c.when == oddClone || c.when == oddUnshare || c.name == "ipc":
						// decided below
					default:
						want[nr] = verdict
					}
				}
				for nr := int32(-2); nr < 2000; nr++ {
					w, ok := want[nr]
					switch {
					case mine && a == amd64 && nr < 0:
						w = refuses // it has the bit of x32
					case !ok:
						w = passes
					}
					if got := judge(t, program, nr, a.audit(), args); got != w {
						t.Errorf("%s: call %d of %#x: %#x, want %#x", name, nr, a.audit(), got, w)
					}
				}
				for _, nr := range []int32{0, 2, 59, 1000} {
					want := uint32(passes)
					if mine && a == amd64 {
						want = refuses
					}
					if got := judge(t, program, nr|x32, a.audit(), args); got != want && a == amd64 {
						t.Errorf("%s: x32 call %d: %#x, want %#x", name, nr, got, want)
					}
				}
			}
		}
	}
}

// TestFilterArguments is about calls that stop only with some arguments.
func TestFilterArguments(t *testing.T) {
	t.Parallel()
	cwd := int32(unix.AT_FDCWD)
	here := uint64(uint32(cwd))
	for _, c := range []struct {
		call string
		args [6]uint64
		want uint32
	}{
		{"newfstatat", [6]uint64{3, 1, 1, 0}, stops},
		{"newfstatat", [6]uint64{3, 1, 1, unix.AT_EMPTY_PATH}, passes},
		{"newfstatat", [6]uint64{here, 1, 1, unix.AT_EMPTY_PATH}, stops},
		{"fstatat64", [6]uint64{3, 1, 1, unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW}, passes},
		{"statx", [6]uint64{3, 1, unix.AT_EMPTY_PATH}, passes},
		{"statx", [6]uint64{3, 1, unix.AT_SYMLINK_NOFOLLOW}, stops},
		{"sendto", [6]uint64{3, 1, 1, 0, 0, 16}, passes},
		{"sendto", [6]uint64{3, 1, 1, 0, 1, 16}, stops},
		{"sendto", [6]uint64{3, 1, 1, 0, 1 << 40, 16}, stops},
		{"shmget", [6]uint64{unix.IPC_PRIVATE}, passes},
		{"semget", [6]uint64{1}, stops},
		{"ipc", [6]uint64{1, 5}, passes},
		{"ipc", [6]uint64{2, 5}, stops},
		{"ipc", [6]uint64{13, 5}, stops},
		{"ipc", [6]uint64{23 | 1<<16, 5}, stops},
		{"ipc", [6]uint64{23, 0}, passes},
		{"ipc", [6]uint64{24, 5}, passes},
		{"clone", [6]uint64{17}, passes},
		{"clone", [6]uint64{unix.CLONE_VM | unix.CLONE_VFORK}, passes},
		{"clone", [6]uint64{unix.CLONE_FS | unix.CLONE_THREAD | unix.CLONE_VM}, passes},
		{"clone", [6]uint64{unix.CLONE_FS}, stops},
		{"clone", [6]uint64{unix.CLONE_THREAD}, stops},
		{"clone", [6]uint64{unix.CLONE_NEWNS}, stops},
		{"unshare", [6]uint64{unix.CLONE_NEWUSER}, passes},
		{"unshare", [6]uint64{unix.CLONE_FS}, stops},
		{"unshare", [6]uint64{unix.CLONE_NEWNS}, stops},
	} {
		for name, machine := range machines {
			program := filter(stops, machine...)
			for _, a := range machine {
				nr := number(a, c.call)
				if nr == 0 {
					continue
				}
				if a != amd64 && a != arm64 && c.args[4] > 1<<32 {
					continue
				}
				if got := judge(t, program, nr, a.audit(), c.args); got != c.want {
					t.Errorf("%s: %s%v of %#x: %#x, want %#x", name, c.call, c.args, a.audit(), got, c.want)
				}
			}
		}
	}
}

func number(a arch, name string) int32 {
	for _, c := range calls {
		if c.name == name {
			return int32(c.nr[a])
		}
	}
	return 0
}

// TestTable looks for slips of the pen.
func TestTable(t *testing.T) {
	t.Parallel()
	for a := range columns {
		seen := map[uint16]string{}
		for _, c := range calls {
			nr := c.nr[a]
			if nr == 0 {
				continue
			}
			if seen[nr] != "" || nr >= maxNr {
				t.Errorf("%s and %s of %#x are both %d", c.name, seen[nr], a.audit(), nr)
			}
			seen[nr] = c.name
			if (c.follow == ifFlag || c.follow == unlessFlag) != (c.flags >= 0) && c.op != opOpen && c.op != opOpenat2 && c.op != opUnlink && c.op != opRename {
				t.Errorf("%s: whether it follows links hangs on flags, which it has not", c.name)
			}
		}
	}
	if got, ok := archOf(unix.AUDIT_ARCH_AARCH64); got != arm64 || !ok {
		t.Errorf("AArch64 is %d", got)
	}
	if find(arm64, number(arm64, "openat")).name != "openat" || find(amd64, 425) != nil || find(amd64, 1<<20) != nil {
		t.Error("calls are not found by their numbers")
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		filter(stops, amd64, i386)
	}
}
