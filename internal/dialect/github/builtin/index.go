package builtin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// The indexes say which blob a cache key or an artifact's name means. One
// entry is one small file, written aside, forced to the disk and then linked
// to its name: a name shows a whole entry or none, and of several processes
// that save the same name one wins and the others are told. Nothing is
// locked, and nothing is left half done by kill -9.
//
//	INDEX/caches/SCOPE/KEY.json      SCOPE: repository, ref and version; names are hashes
//	INDEX/artifacts/RUN/NAME.json
const maxEntryBytes = 64 << 10

// errTaken is the error of saving under a name that is taken.
var errTaken = errors.New("the name is taken")

// writeEntry stores v as dir/name. If the name is taken, the result is
// errTaken, unless replace is set.
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
		return errTaken
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
func entryName(key string) string { return hashed(key) + ".json" }

// hashed is a file name for any list of texts.
func hashed(parts ...string) string {
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

// cacheEntry is one saved cache. It never changes.
type cacheEntry struct {
	Key     string      `json:"key"`
	Version string      `json:"version"` // of paths and format: entries of other versions do not fit
	Ref     string      `json:"ref"`     // refs/heads/main
	Digest  blob.Digest `json:"digest"`
	Size    int64       `json:"size"`
	Created time.Time   `json:"created"`
	Run     string      `json:"run"`
	Job     string      `json:"job"`
}

// cacheScope is what a job may see of the caches: those of its repository,
// saved from certain refs; it saves under the first of them.
type cacheScope struct {
	repository string
	refs       []string
	run, job   string
}

func (s *Set) cacheDir(repository, ref, version string) string {
	return filepath.Join(s.cfg.Index, "caches", hashed(strings.ToLower(repository), ref, version))
}

// findCache finds the entry for the keys: for each ref in turn, the first key
// exactly, then the first key and the others as prefixes, the newest entry of
// those that fit. It returns nil when nothing fits. An entry whose bytes are
// gone does not count.
func (s *Set) findCache(ctx context.Context, scope cacheScope, version string, keys []string) (*cacheEntry, error) {
	for _, ref := range scope.refs {
		dir := s.cacheDir(scope.repository, ref, version)
		var exact cacheEntry
		err := readEntry(dir, entryName(keys[0]), &exact)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && exact.Key == keys[0] {
			if ok, err := s.alive(ctx, exact.Digest); ok || err != nil {
				return &exact, err
			}
		}
		all, err := entries[cacheEntry](ctx, dir)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b cacheEntry) int {
			if c := b.Created.Compare(a.Created); c != 0 {
				return c
			}
			return strings.Compare(a.Key, b.Key)
		})
		for _, key := range keys {
			for i := range all {
				if !strings.HasPrefix(all[i].Key, key) {
					continue
				}
				if ok, err := s.alive(ctx, all[i].Digest); ok || err != nil {
					return &all[i], err
				}
			}
		}
	}
	return nil, nil
}

// alive reports whether the blob is there.
func (s *Set) alive(ctx context.Context, d blob.Digest) (bool, error) {
	missing, err := s.cfg.Blobs.Missing(ctx, []blob.Digest{d})
	return err == nil && len(missing) == 0, err
}

// hasCache reports whether exactly this key is saved under the scope's own ref.
func (s *Set) hasCache(ctx context.Context, scope cacheScope, version, key string) (bool, error) {
	var e cacheEntry
	err := readEntry(s.cacheDir(scope.repository, scope.refs[0], version), entryName(key), &e)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.alive(ctx, e.Digest)
}

// addCache saves an entry under the scope's own ref. It is errTaken when the
// key is saved already, with other bytes that are there.
func (s *Set) addCache(ctx context.Context, scope cacheScope, version, key string, d blob.Digest, size int64) error {
	e := cacheEntry{
		Key: key, Version: version, Ref: scope.refs[0], Digest: d, Size: size,
		Created: time.Now().UTC(), Run: scope.run, Job: scope.job,
	}
	dir := s.cacheDir(scope.repository, scope.refs[0], version)
	err := writeEntry(dir, entryName(key), e, false)
	if !errors.Is(err, errTaken) {
		return err
	}
	var old cacheEntry
	switch err := readEntry(dir, entryName(key), &old); {
	case err == nil && old.Digest == d:
		return nil // the same bytes, perhaps in place of lost ones
	case err == nil:
		if ok, err := s.alive(ctx, old.Digest); ok || err != nil {
			return errors.Join(err, errTaken)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeEntry(dir, entryName(key), e, true)
}

// artifactEntry is one artifact of a run.
type artifactEntry struct {
	ID      int64       `json:"id"`
	Name    string      `json:"name"`
	Digest  blob.Digest `json:"digest"` // of the blob: the zip file, or the file itself
	Size    int64       `json:"size"`
	Type    string      `json:"type"` // media type of the blob
	Created time.Time   `json:"created"`
	Expires time.Time   `json:"expires,omitzero"`
	Run     string      `json:"run"`
	Job     string      `json:"job"`
	Began   time.Time   `json:"began,omitzero"` // when the job that saved it was started
}

const zipType = "application/zip"

func (s *Set) artifactDir(run string) (string, error) {
	if run == "" || strings.ContainsFunc(run, func(r rune) bool { return r < '0' || r > '9' }) {
		return "", failf("%.80q is not the number of a run", run)
	}
	return filepath.Join(s.cfg.Index, "artifacts", run), nil
}

// artifact returns the artifact of the run with the name, or nil.
func (s *Set) artifact(run, name string) (*artifactEntry, error) {
	dir, err := s.artifactDir(run)
	if err != nil {
		return nil, err
	}
	var e artifactEntry
	err = readEntry(dir, entryName(name), &e)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &e, err
}

// artifacts returns all artifacts of the run, sorted by name.
func (s *Set) artifacts(ctx context.Context, run string) ([]artifactEntry, error) {
	dir, err := s.artifactDir(run)
	if err != nil {
		return nil, err
	}
	list, err := entries[artifactEntry](ctx, dir)
	slices.SortFunc(list, func(a, b artifactEntry) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// replaceable reports whether an artifact may give way to one of the same
// name: it was saved by an earlier attempt of the same job, whose products
// this attempt makes again.
func (e *artifactEntry) replaceable(job string, began time.Time) bool {
	return e.Job == job && !e.Began.IsZero() && !began.IsZero() && !e.Began.Equal(began)
}

// addArtifact gives the entry an ID and saves it. It is errTaken when the run
// has an artifact of that name that may not be replaced.
func (s *Set) addArtifact(e *artifactEntry, overwrite bool) error {
	dir, err := s.artifactDir(e.Run)
	if err != nil {
		return err
	}
	e.ID, e.Created = newID(), time.Now().UTC()
	err = writeEntry(dir, entryName(e.Name), e, overwrite)
	if !errors.Is(err, errTaken) {
		return err
	}
	old, err := s.artifact(e.Run, e.Name)
	if err != nil {
		return err
	}
	if old != nil && !old.replaceable(e.Job, e.Began) {
		return errTaken
	}
	return writeEntry(dir, entryName(e.Name), e, true)
}

// removeArtifact removes a name; there is nothing to do when it is not there.
func (s *Set) removeArtifact(run, name string) error {
	dir, err := s.artifactDir(run)
	if err != nil {
		return err
	}
	err = os.Remove(filepath.Join(dir, entryName(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// newID is a number that no other artifact has, small enough for the clients,
// which read it as a floating-point number.
func newID() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	const bits = 48
	return int64(binary.LittleEndian.Uint64(b[:])>>(64-bits)) | 1
}
