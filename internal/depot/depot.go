// Package depot keeps what jobs leave for other jobs: the artifacts of a run,
// and the caches of a repository.
//
// The two differ in what a name means. An artifact's name means something
// within its run, or within the job that made it; it is made once, and those
// who ask for it want exactly that one. A cache's key means something within a
// repository, as seen from a branch; it lives from run to run, any of a list
// of keys will do, and to find none is no failure.
//
//	files ── Patterns.Glob ──► list ── Zip  ──► blob ── AddArtifact ──► INDEX/artifacts/RUN/NAME.json
//	                              └─── Pack ──► blob ── AddCache ─────► INDEX/caches/SCOPE/KEY.json
//
// The bytes are in a blob.Store, under their digest. The depot adds the index
// that says which digest a name means, the two archive formats, and the
// patterns by which pipeline files choose what goes in. What a key is made of,
// who may use a name again, and with which words a person is told, is the
// business of the pipeline languages that use it.
//
// Whoever unpacks an archive trusts it as little as a download: names stay
// within the directories they are meant for, links are made but not followed
// out of them, and everything has a limit.
package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Depot keeps artifacts and caches. Its methods may be called from many
// goroutines, and by many processes with the same directories.
type Depot struct {
	blobs blob.Store
	index string
}

// New makes the depot that keeps bytes in blobs, and their names below the
// directory index, which is made when first needed.
func New(blobs blob.Store, index string) *Depot { return &Depot{blobs: blobs, index: index} }

// The errors that callers tell apart, with errors.Is.
var (
	// ErrTaken is the error of saving under a name that is taken.
	ErrTaken = errors.New("the name is taken")
	// ErrHostile is the error of an archive that cannot have been made here.
	ErrHostile = errors.New("the archive is not one that could have been saved")
	// ErrTooMany is the error of a search that finds more than MaxMatches.
	ErrTooMany = errors.New("the paths match more files than can be handled")
)

// FileError tells of a file of the user's that could not be read.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("the file %s cannot be read: %v", e.Path, e.Err)
}
func (e *FileError) Unwrap() error { return e.Err }

// Put stores one file as it is.
func (d *Depot) Put(ctx context.Context, file string) (blob.Digest, int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return d.blobs.Put(ctx, f)
}

// alive reports whether the blob is there.
func (d *Depot) alive(ctx context.Context, digest blob.Digest) (bool, error) {
	missing, err := d.blobs.Missing(ctx, []blob.Digest{digest})
	return err == nil && len(missing) == 0, err
}

// produce stores what write writes.
func (d *Depot) produce(ctx context.Context, write func(io.Writer) error) (blob.Digest, int64, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		done <- err
	}()
	digest, n, err := d.blobs.Put(ctx, r)
	r.CloseWithError(errors.New("the store takes no more"))
	writeErr := <-done
	if writeErr != nil && (err == nil || errors.As(writeErr, new(*FileError))) {
		err = writeErr
	}
	return digest, n, err
}

// The index says which blob a cache key or an artifact's name means. One
// entry is one small file, written aside, forced to the disk and then linked
// to its name: a name shows a whole entry or none, and of several processes
// that save the same name one wins and the others are told. Nothing is
// locked, and nothing is left half done by kill -9.
const maxEntryBytes = 64 << 10

// writeEntry stores v as dir/name. If the name is taken, the result is
// ErrTaken, unless replace is set.
func writeEntry(dir, name string, v any, replace bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(data) > maxEntryBytes {
		return fmt.Errorf("an index entry of %d bytes is too long", len(data))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if replace {
		err = os.Rename(f.Name(), path)
	} else {
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return ErrTaken
	}
	if err != nil {
		return err
	}
	return syncDirs(dir)
}

// syncDirs makes a new name in the directory, and the directory's own name,
// outlive a crash.
func syncDirs(dir string) error {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		f, err := os.Open(d)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// readEntry reads dir/name into v. A file that is not an entry is as good as
// none: fs.ErrNotExist.
func readEntry(dir, name string, v any) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEntryBytes+1))
	if err != nil {
		return err
	}
	if len(data) > maxEntryBytes || json.Unmarshal(data, v) != nil {
		return fmt.Errorf("%s is damaged: %w", f.Name(), fs.ErrNotExist)
	}
	return nil
}

// entryName is the file name for a key or an artifact's name.
func entryName(key string) string { return Hash(key) + ".json" }

// Hash is a name for a list of texts: 64 hexadecimal digits, others for every
// other list.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// entries reads all entries of a directory, in no particular order; none when
// there is no such directory.
func entries[T any](ctx context.Context, dir string) ([]T, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []T
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var v T
		switch err := readEntry(dir, f.Name(), &v); {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or damaged
		case err != nil:
			return nil, err
		default:
			list = append(list, v)
		}
	}
	return list, nil
}
