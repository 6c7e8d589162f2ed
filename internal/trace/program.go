package trace

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of program files, the kernel's where it has them.
const (
	maxInterpreters = 5 // one in front of the other
	maxShebang      = 256
	maxSegments     = 1024
	maxSegmentSize  = 1 << 10
)

// run records the execution of a file and of the interpreters that the kernel
// opens for it; false when there is nothing that could be executed.
func (l *ledger) run(n *node, depth int) bool {
	own := l.own(n)
	if !own {
		if n.was.Kind != record.Regular {
			l.useFound(n)
			return false
		}
		l.use(n, record.UseContent)
	} else if l.lstat(n).Kind != record.Regular {
		return false
	}
	if depth == 0 {
		l.programs[n.path] = true
	}
	if depth == maxInterpreters || !own && n.marks&hasHeader != 0 {
		return true
	}
	if !own {
		n.marks |= hasHeader
	}
	path := interpreterOf(n.path)
	if path == "" {
		return true
	}
	if path[0] != '/' { // relative to a directory that only the process knows
		l.bar(record.BarLost, n.path+": its interpreter is a relative path")
		return true
	}
	if next := l.resolve(path, true).node; next != nil && next.marks&void == 0 {
		l.run(next, depth+1)
	}
	return true
}

// interpreterOf is the program that a program file names to be run by: that
// of its #! line, or an ELF file's dynamic linker; "" for none.
func interpreterOf(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	return interpreter(f)
}

func interpreter(f io.ReaderAt) string {
	head := make([]byte, maxShebang)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if fields := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == 0 }); len(fields) > 0 {
			return string(fields[0])
		}
		return ""
	}
	return linker(f, head)
}

// linker is the path in an ELF file's PT_INTERP segment.
func linker(f io.ReaderAt, head []byte) string {
	const (
		class64, bigEndian = 2, 2
		header32, header64 = 52, 64
		segmentInterpreter = 3
	)
	if len(head) < header64 || string(head[:4]) != "\x7fELF" {
		return ""
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == bigEndian {
		order = binary.BigEndian
	}
	wide := head[4] == class64
	var offset int64
	var size, count int
	if wide {
		offset, size, count = int64(order.Uint64(head[32:])), int(order.Uint16(head[54:])), int(order.Uint16(head[56:]))
	} else {
		offset, size, count = int64(order.Uint32(head[28:])), int(order.Uint16(head[42:])), int(order.Uint16(head[44:]))
	}
	if wide && size < 56 || size < 32 || size > maxSegmentSize || count > maxSegments || offset < 0 {
		return ""
	}
	table := make([]byte, size*count)
	if n, err := f.ReadAt(table, offset); n < len(table) && err != nil {
		return ""
	}
	for ; len(table) >= size && size > 0; table = table[size:] {
		if order.Uint32(table) != segmentInterpreter {
			continue
		}
		var at, length uint64
		if wide {
			at, length = order.Uint64(table[8:]), order.Uint64(table[32:])
		} else {
			at, length = uint64(order.Uint32(table[4:])), uint64(order.Uint32(table[16:]))
		}
		if length < 2 || length > maxPath || int64(at) < 0 {
			return ""
		}
		path := make([]byte, length)
		if _, err := f.ReadAt(path, int64(at)); err != nil {
			return ""
		}
		path, _, _ = bytes.Cut(path, []byte{0})
		return string(path)
	}
	return ""
}
