package workspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// copied is what a manifest remembers of one file: how the source looked when it
// was copied, and how the copy looked right after.
type copied struct {
	name         string
	source, copy look
}

// manifest is what is known of a slot's files, by directory; the records of a
// directory are in order of name. It says only "this copy has the content of
// that source, if both still look so", which stays true whatever happens.
type manifest map[string][]copied

const (
	manifestMagic = "fairlead slot 2\n"
	lookBytes     = 8 + 8 + 8 + 8 + 4
	maxManifest   = 1 << 30
)

func appendLook(b []byte, l look) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(l.size))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.mtime))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.ctime))
	b = binary.LittleEndian.AppendUint64(b, l.ino)
	return binary.LittleEndian.AppendUint32(b, l.mode)
}

func readLook(b []byte) look {
	le := binary.LittleEndian
	return look{
		size: int64(le.Uint64(b)), mtime: int64(le.Uint64(b[8:])), ctime: int64(le.Uint64(b[16:])),
		ino: le.Uint64(b[24:]), mode: le.Uint32(b[32:]),
	}
}

// encode writes: magic, boot, the tree's root, then for each directory its path, the number of
// its records and the records, then a checksum of all.
func (m manifest) encode(boot, root string) []byte {
	size := 0
	for dir, records := range m {
		size += len(dir) + 16
		for i := range records {
			size += len(records[i].name) + 2*lookBytes + 2
		}
	}
	b := make([]byte, 0, size+len(manifestMagic)+len(boot)+len(root)+24)
	b = append(b, manifestMagic...)
	b = appendText(b, boot)
	b = appendText(b, root)
	for dir, records := range m {
		b = appendText(b, dir)
		b = binary.AppendUvarint(b, uint64(len(records)))
		for i := range records {
			r := &records[i]
			b = appendText(b, r.name)
			b = appendLook(b, r.source)
			b = appendLook(b, r.copy)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errManifest = errors.New("malformed manifest")

// decodeManifest reads what encode wrote. A manifest of before the machine's
// last start holds nothing: it may speak of writes that never reached the
// disk. One of another tree holds nothing either: a look tells files apart
// within one file system only.
func decodeManifest(data []byte, boot, root string) (manifest, error) {
	if len(data) < len(manifestMagic)+4 || string(data[:len(manifestMagic)]) != manifestMagic {
		return nil, errManifest
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, errManifest
	}
	all := string(body) // names are cut out of one string
	at := len(manifestMagic)
	number := func() (int, bool) {
		v, n := binary.Uvarint(body[at:])
		if n <= 0 || v > uint64(len(body)) {
			return 0, false
		}
		at += n
		return int(v), true
	}
	text := func() (string, bool) {
		n, ok := number()
		if !ok || n > len(body)-at {
			return "", false
		}
		at += n
		return all[at-n : at], true
	}
	m := manifest{}
	was, ok := text()
	if !ok {
		return nil, errManifest
	}
	of, ok := text()
	if !ok {
		return nil, errManifest
	}
	if was != boot || of != root {
		return m, nil
	}
	for at < len(body) {
		dir, ok := text()
		if !ok {
			return nil, errManifest
		}
		count, ok := number()
		if !ok || count > (len(body)-at)/(2*lookBytes) {
			return nil, errManifest
		}
		records := make([]copied, count)
		for i := range records {
			r := &records[i]
			if r.name, ok = text(); !ok || len(body)-at < 2*lookBytes {
				return nil, errManifest
			}
			r.source = readLook(body[at:])
			r.copy = readLook(body[at+lookBytes:])
			at += 2 * lookBytes
		}
		m[dir] = records
	}
	return m, nil
}

// readManifest reads a slot's manifest. One that is missing or damaged knows
// nothing, and then everything is copied.
func readManifest(path, boot, root string) manifest {
	data, err := readLimited(path, maxManifest)
	if err != nil {
		return manifest{}
	}
	m, err := decodeManifest(data, boot, root)
	if err != nil {
		return manifest{}
	}
	return m
}

// write replaces the manifest in one step.
func (m manifest) write(path, boot, root string) error {
	if err := replaceFile(path, m.encode(boot, root)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// replaceFile writes a file that is never seen half written. The name beside
// it belongs to whoever holds the lock on the directory.
func replaceFile(path string, data []byte) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
