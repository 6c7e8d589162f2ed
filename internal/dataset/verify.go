package dataset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Difference is a file of the tree that is not what a set says.
type Difference struct {
	Path string `json:"path"`
	What string `json:"what"` // "missing", "changed", "not of the set", "mode"
}

// Verified is what a look at a set found.
type Verified struct {
	Pin
	// Absent says that nothing of the set is in the tree: it was not got yet.
	Absent  bool         `json:"absent,omitempty"`
	Tree    []Difference `json:"tree,omitempty"`    // what differs in the tree
	Missing int          `json:"missing,omitempty"` // files whose bytes are not on this machine
	Damaged []string     `json:"damaged,omitempty"` // files whose kept bytes are not theirs
}

// Good reports whether the set is whole, and what is in the tree is it.
func (v Verified) Good() bool { return len(v.Tree)+v.Missing+len(v.Damaged) == 0 }

// Verify reads all bytes of the set, in the tree and as kept, and compares them
// with their digests.
func (s *Shelf) Verify(ctx context.Context, title string) (v Verified, err error) {
	if v.Pin, err = s.Find(title); err != nil {
		return v, err
	}
	m, err := s.manifest(ctx, v.Pin)
	if errors.As(err, new(*Error)) {
		v.Missing = v.Files
		return v, nil
	}
	if err != nil {
		return v, err
	}
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return v, err
	}
	defer root.Close()
	there := 0
	for _, r := range m.Roots {
		if _, err := root.Lstat(filepath.FromSlash(r)); err == nil {
			there++
		}
	}
	if v.Absent = there == 0; !v.Absent {
		for _, r := range m.Roots {
			v.Tree = append(v.Tree, differences(root, r, within(m.Files, r))...)
		}
	}
	for _, f := range m.Files {
		r, err := s.Blobs.Open(ctx, f.Digest)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			err = errors.Join(err, r.Close())
		}
		switch {
		case errors.Is(err, blob.ErrNotFound):
			v.Missing++
		case errors.Is(err, blob.ErrCorrupt):
			v.Damaged = append(v.Damaged, f.Path)
		case err != nil:
			return v, fmt.Errorf("verify %s: %w", f.Path, err)
		}
	}
	return v, nil
}

// Remove takes a pin out of the file: all versions of NAME, or NAME@VERSION. The
// bytes stay, for other commits name them.
func (s *Shelf) Remove(title string) (gone []Pin, err error) {
	p, err := s.Find(title)
	if err != nil {
		return nil, err
	}
	pins, err := s.pins()
	if err != nil {
		return nil, err
	}
	pins = slices.DeleteFunc(pins, func(q Pin) bool {
		drop := q.Name == p.Name && (title == p.Name || q.Version == p.Version)
		if drop {
			gone = append(gone, q)
		}
		return drop
	})
	return gone, s.save(pins)
}

// within are the files at or below a root.
func within(files []File, root string) (in []File) {
	for _, f := range files {
		if f.Path == root || len(f.Path) > len(root) && f.Path[:len(root)+1] == root+"/" {
			in = append(in, f)
		}
	}
	return in
}

// differences compares what is at a root with what should be.
func differences(root *os.Root, at string, files []File) (all []Difference) {
	want := map[string]File{}
	for _, f := range files {
		want[f.Path] = f
	}
	_ = fs.WalkDir(root.FS(), at, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // what cannot be read shows as missing
		}
		f, known := want[p]
		delete(want, p)
		switch {
		case !known:
			all = append(all, Difference{p, "not of the set"})
		case !d.Type().IsRegular():
			all = append(all, Difference{p, "changed"})
		default:
			if what := compare(root, f); what != "" {
				all = append(all, Difference{p, what})
			}
		}
		return nil
	})
	for _, f := range files {
		if _, left := want[f.Path]; left {
			all = append(all, Difference{f.Path, "missing"})
		}
	}
	return all
}

// compare says how a file of the tree differs; "" if it does not.
func compare(root *os.Root, want File) string {
	f, err := root.Open(filepath.FromSlash(want.Path))
	if err != nil {
		return "missing"
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() != want.Size {
		return "changed"
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil || blob.FromSum(h.Sum(nil)) != want.Digest {
		return "changed"
	}
	if (st.Mode()&0o111 != 0) != want.Exec {
		return "mode"
	}
	return ""
}
