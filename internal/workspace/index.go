package workspace

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// index is the list of tracked files (gitformat-index(5)), sorted by path.
type index struct {
	entries []tracked
	tree    string // the tree that the whole index amounts to, where git has noted it
}

// tracked is one file that git tracks, and how it looked when git last did.
type tracked struct {
	path         string
	mtime, ctime int64
	ino          uint32
	size         uint32
	mode         uint32 // 0100644, 0100755, 0120000, 0160000
	flags        uint16
	extended     uint16
	oid          string // raw bytes
}

// Modes and flags of the index.
const (
	modeGitlink = 0o160000
	modeType    = 0o170000

	flagAssumeValid = 0x8000
	flagExtended    = 0x4000
	flagStage       = 0x3000
	flagName        = 0x0fff

	extSkipWorktree = 0x4000
	extIntentToAdd  = 0x2000

	maxPath = 4096 // bytes, as in the kernel
)

// errForeignIndex says that an index uses features that are left to git: a split
// or a sparse index.
var errForeignIndex = errors.New("index needs git to be read")

// readIndex reads .git/index. A repository without one tracks nothing.
func (r *repository) readIndex() (*index, error) {
	path := filepath.Join(r.git, "index")
	data, err := readLimited(path, maxIndexBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	idx, err := parseIndex(data, r.hash)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", path, err)
	}
	return idx, nil
}

// askIndex lets git list the tracked files. How they looked is not told, so
// that their standing is unsure.
func askIndex(ctx context.Context, r *repository) (*index, error) {
	out, err := git{dir: r.work}.output(ctx, "ls-files", "-z", "--cached", "--stage", "-t")
	if err != nil {
		return nil, fmt.Errorf("list tracked files: %w", err)
	}
	idx := &index{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// H 100644 <object> 0<tab>path
		head, path, ok := strings.Cut(line, "\t")
		word := strings.Fields(head)
		if !ok || len(word) != 4 {
			continue
		}
		mode, err := strconv.ParseUint(word[1], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("list tracked files: mode %q", word[1])
		}
		oid, err := hex.DecodeString(word[2])
		if err != nil {
			return nil, fmt.Errorf("list tracked files: object %q", word[2])
		}
		e := tracked{path: path, mode: uint32(mode), oid: string(oid)}
		if word[3] != "0" {
			e.flags |= flagStage
		}
		if word[0] == "S" {
			e.extended |= extSkipWorktree
		}
		idx.entries = append(idx.entries, e)
	}
	return idx, nil
}

func parseIndex(data []byte, hash int) (*index, error) {
	const header, fixed = 12, 40 // bytes; fixed: stat data before the object's name
	if len(data) < header+hash || string(data[:4]) != "DIRC" {
		return nil, errors.New("not an index")
	}
	be := binary.BigEndian
	version, count := be.Uint32(data[4:]), be.Uint32(data[8:])
	if version < 2 || version > 4 {
		return nil, fmt.Errorf("version %d: %w", version, errForeignIndex)
	}
	body := data[:len(data)-hash]
	least := fixed + hash + 2 + 1
	if int64(count)*int64(least) > int64(len(body)) {
		return nil, errors.New("more entries than bytes")
	}
	idx := &index{entries: make([]tracked, 0, count)}
	text := string(body) // paths are cut out of one string
	at, prev := header, ""
	for range count {
		if len(body)-at < least {
			return nil, errors.New("cut short")
		}
		b := body[at:]
		e := tracked{
			ctime: int64(be.Uint32(b))*1e9 + int64(be.Uint32(b[4:])),
			mtime: int64(be.Uint32(b[8:]))*1e9 + int64(be.Uint32(b[12:])),
			ino:   be.Uint32(b[20:]),
			mode:  be.Uint32(b[24:]),
			size:  be.Uint32(b[36:]),
			oid:   text[at+fixed : at+fixed+hash],
			flags: be.Uint16(b[fixed+hash:]),
		}
		name := at + fixed + hash + 2
		if e.flags&flagExtended != 0 {
			if version == 2 || len(body)-name < 3 {
				return nil, errors.New("extended entry cut short")
			}
			e.extended = be.Uint16(body[name:])
			name += 2
		}
		if version == 4 {
			strip, n := offsetVarint(body[name:])
			if n == 0 || strip > uint64(len(prev)) {
				return nil, errors.New("bad path compression")
			}
			name += n
			end := strings.IndexByte(text[name:], 0)
			if end < 0 {
				return nil, errors.New("path without an end")
			}
			if len(prev)-int(strip)+end > maxPath {
				return nil, errors.New("path too long")
			}
			e.path = prev[:len(prev)-int(strip)] + text[name:name+end]
			at = name + end + 1
		} else {
			end := int(e.flags & flagName)
			if end == flagName || name+end > len(text) {
				if end = strings.IndexByte(text[name:], 0); end < 0 {
					return nil, errors.New("path without an end")
				}
			}
			e.path = text[name : name+end]
			// Entries end with one to eight zero bytes, up to a multiple of eight.
			at += (name - at + end + 8) &^ 7
			if at > len(body) {
				return nil, errors.New("cut short")
			}
		}
		if e.mode&modeType == 0o040000 {
			return nil, errForeignIndex
		}
		idx.entries = append(idx.entries, e)
		prev = e.path
	}
	for len(body)-at >= 8 {
		kind, size := string(body[at:at+4]), int64(be.Uint32(body[at+4:]))
		at += 8
		if size > int64(len(body)-at) {
			return nil, errors.New("extension cut short")
		}
		if kind[0] < 'A' || kind[0] > 'Z' { // git must understand it: split, sparse
			return nil, errForeignIndex
		}
		if kind == "TREE" {
			idx.tree = rootTree(body[at:at+int(size)], hash)
		}
		at += int(size)
	}
	return idx, nil
}

// rootTree reads the first entry of the cache-tree extension: the name of the
// tree that the whole index would be written as, "" when it is out of date.
func rootTree(ext []byte, hash int) string {
	counts, oid, ok := bytes.Cut(bytes.TrimPrefix(ext, []byte{0}), []byte("\n"))
	if !ok || len(oid) < hash {
		return ""
	}
	entries, _, _ := strings.Cut(string(counts), " ")
	if n, err := strconv.Atoi(entries); err != nil || n < 0 {
		return ""
	}
	return hex.EncodeToString(oid[:hash])
}

// offsetVarint reads the variable-width number of pack files and version 4
// indexes; n is 0 when there is none.
func offsetVarint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i > 8 {
			return 0, 0
		}
		v = v<<7 | uint64(c&0x7f)
		if c&0x80 == 0 {
			return v, i + 1
		}
		v++
	}
	return 0, 0
}

// within is a directory's part of the index: what is tracked directly in it,
// and which of its directories hold tracked files.
type within struct {
	files []*tracked // by name
	dirs  []trackedDir
}

type trackedDir struct {
	name    string
	entries []tracked
}

// list sorts out entries that all begin with the same directory of n bytes (its
// slash counted).
func list(entries []tracked, n int) within {
	var w within
	for i := 0; i < len(entries); {
		e := &entries[i]
		if len(e.path) <= n {
			i++
			continue
		}
		slash := strings.IndexByte(e.path[n:], '/')
		if slash < 0 {
			w.files = append(w.files, e)
			i++
			continue
		}
		prefix := e.path[:n+slash+1]
		// The directory's files follow one another: find their end by leaps.
		lo, hi := i+1, i+1
		for step := 1; hi < len(entries) && strings.HasPrefix(entries[hi].path, prefix); step *= 2 {
			lo, hi = hi+1, hi+step
		}
		hi = min(hi, len(entries))
		for lo < hi {
			mid := (lo + hi) / 2
			if strings.HasPrefix(entries[mid].path, prefix) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		w.dirs = append(w.dirs, trackedDir{e.path[n : n+slash], entries[i:lo]})
		i = lo
	}
	return w
}

// file finds the entry of a name in a directory whose path has n bytes.
func (w *within) file(name string, n int) *tracked {
	lo, hi := 0, len(w.files)
	for lo < hi {
		mid := (lo + hi) / 2
		if c := strings.Compare(w.files[mid].path[n:], name); c == 0 {
			return w.files[mid]
		} else if c < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return nil
}

// dir finds the tracked files below a directory.
func (w *within) dir(name string) []tracked {
	// Directories are sorted as if their names ended with a slash.
	lo, hi := 0, len(w.dirs)
	for lo < hi {
		mid := (lo + hi) / 2
		d := w.dirs[mid].name
		if d == name {
			return w.dirs[mid].entries
		}
		if slashLess(d, name) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return nil
}

func slashLess(a, b string) bool {
	n := min(len(a), len(b))
	if a[:n] != b[:n] {
		return a < b
	}
	if len(a) == len(b) {
		return false
	}
	if len(a) > n {
		return a[n] < '/'
	}
	return '/' < b[n]
}
