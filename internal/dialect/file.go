package dialect

import (
	"io"
	"io/fs"
)

// ReadFile reads a regular file of a tree, and no more of it than could be
// right: one byte beyond most, by which its reader knows that it is too large.
// What else has that name is [fs.ErrInvalid]: opening a pipe would wait for a
// writer.
func ReadFile(tree fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}
