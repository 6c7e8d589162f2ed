//go:build amd64 || arm64

package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pathMax is the kernel's limit for a path, with the NUL at its end.
const pathMax = 4096

// page is a size that the kernel's pages are multiples of.
const page = 4096

var (
	// errFault is that a process named memory that it does not have: the
	// kernel will tell it so.
	errFault = errors.New("no such memory")
	// errGone is that a process ended while its call was looked at.
	errGone = errors.New("no such process")
)

// memory reads that of other processes. It is not safe for concurrent use.
type memory struct {
	refused bool // process_vm_readv is not allowed: containers' profiles do that
	local   [1]unix.Iovec
	remote  [2]unix.RemoteIovec
	buf     [pathMax + page]byte
}

// read fills b from an address on. It reads less where the process's memory
// ends.
func (m *memory) read(tid int, at uint64, b []byte) (int, error) {
	if at == 0 {
		return 0, errFault
	}
	if len(b) == 0 {
		return 0, nil
	}
	total := 0
	for total < len(b) {
		// The kernel gives up at the first of the pieces that it cannot read.
		from := at + uint64(total)
		n, err := m.piece(tid, from, b[total:min(len(b), total+int(page-from%page)+page)])
		total += n
		switch {
		case err == nil && n > 0:
		case total > 0 && (err == nil || err == unix.EFAULT || err == unix.EIO):
			return total, nil
		case err == nil, err == unix.EFAULT, err == unix.EIO:
			return 0, errFault
		case err == unix.ESRCH, err == unix.ENOENT:
			return 0, errGone
		default:
			return 0, fmt.Errorf("read memory of process %d: %w", tid, err)
		}
	}
	return total, nil
}

// piece reads from at most two pages.
func (m *memory) piece(tid int, at uint64, b []byte) (int, error) {
	if !m.refused {
		m.local[0].Base = &b[0]
		m.local[0].SetLen(len(b))
		first := min(len(b), int(page-at%page))
		m.remote[0] = unix.RemoteIovec{Base: uintptr(at), Len: first}
		m.remote[1] = unix.RemoteIovec{Base: uintptr(at) + uintptr(first), Len: len(b) - first}
		pieces := m.remote[:1]
		if first < len(b) {
			pieces = m.remote[:]
		}
		n, err := unix.ProcessVMReadv(tid, m.local[:], pieces, 0)
		if err != unix.EPERM && err != unix.ENOSYS {
			return max(n, 0), err
		}
		m.refused = true
	}
	f, err := os.Open("/proc/" + strconv.Itoa(tid) + "/mem")
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	defer f.Close()
	n, err := unix.Pread(int(f.Fd()), b, int64(at))
	return max(n, 0), err
}

// str reads text up to a NUL, which must come within limit bytes; else ok is
// false. The text is good until the next call.
func (m *memory) str(tid int, at uint64, limit int) (text []byte, ok bool, err error) {
	total := 0
	for total < limit {
		from := at + uint64(total)
		b := m.buf[total : total+min(int(page-from%page), limit-total)]
		n, err := m.read(tid, from, b)
		if err != nil {
			return nil, false, err
		}
		if end := bytes.IndexByte(b[:n], 0); end >= 0 {
			return m.buf[:total+end], true, nil
		}
		if total += n; n < len(b) {
			return nil, false, errFault
		}
	}
	return nil, false, nil
}

// words reads numbers of the size of a pointer, each into one of w.
func (m *memory) words(tid int, a arch, at uint64, w []uint64) error {
	size := 8
	if !a.wide() {
		size = 4
	}
	b := m.buf[:size*len(w)]
	n, err := m.read(tid, at, b)
	if err != nil {
		return err
	}
	if n < len(b) {
		return errFault
	}
	for i := range w {
		if a.wide() {
			w[i] = binary.NativeEndian.Uint64(b[8*i:])
		} else {
			w[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
		}
	}
	return nil
}

// Limits of the arguments of one program; maxArgv is that of their bytes.
const (
	maxArgs    = 1 << 16
	maxArg     = 128 << 10 // the kernel's
	argsAtOnce = 64
)

// argv reads the arguments of an execve, up to the limits.
func (m *memory) argv(tid int, a arch, at uint64) ([]string, error) {
	var args []string
	var pointers [argsAtOnce]uint64
	size := uint64(8)
	if !a.wide() {
		size = 4
	}
	total := 0
	for at != 0 && len(args) < maxArgs {
		// As many as lie on this page, lest the next one is not there.
		n := max(1, min(argsAtOnce, int((page-at%page)/size)))
		if err := m.words(tid, a, at, pointers[:n]); err != nil {
			return args, err
		}
		at += uint64(n) * size
		for _, p := range pointers[:n] {
			if p == 0 || total >= maxArgv {
				return args, nil
			}
			s, err := m.long(tid, p)
			if err != nil {
				return args, err
			}
			args = append(args, s)
			total += len(s) + 1
		}
	}
	return args, nil
}

// long reads a text that may be longer than a path.
func (m *memory) long(tid int, at uint64) (string, error) {
	s, ok, err := m.str(tid, at, pathMax)
	if err != nil || ok {
		return string(s), err
	}
	all := append([]byte(nil), m.buf[:pathMax]...)
	for len(all) < maxArg {
		from := at + uint64(len(all))
		b := m.buf[:page-from%page]
		n, err := m.read(tid, from, b)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(b[:n], 0); end >= 0 {
			return string(append(all, b[:end]...)), nil
		}
		all = append(all, b[:n]...)
	}
	return string(all), nil
}
