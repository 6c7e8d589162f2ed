package depot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Cache is one saved cache.
type Cache struct {
	Key     string      `json:"key"`
	Version string      `json:"version"` // of paths and format: entries of other versions do not fit
	Ref     string      `json:"ref"`     // refs/heads/main
	Digest  blob.Digest `json:"digest"`
	Size    int64       `json:"size"`
	Created time.Time   `json:"created"`
	Run     string      `json:"run"`
	Job     string      `json:"job"`
}

// Scope is what a job may see of the caches: those of its repository,
// saved from certain refs; it saves under the first of them. A ref is any name
// that keeps caches apart: refs/heads/main, "protected".
type Scope struct {
	Repository string   // owner/name, in any case of letters
	Refs       []string // at least one
	Run, Job   string   // who saves
}

func (d *Depot) cacheDir(repository, ref, version string) string {
	return filepath.Join(d.index, "caches", Hash(strings.ToLower(repository), ref, version))
}

// FindCache finds the entry for the keys: for each ref in turn, the first key
// exactly, then the first key and the others as prefixes, the newest entry of
// those that fit. It returns nil when nothing fits. An entry whose bytes are
// gone does not count.
func (d *Depot) FindCache(ctx context.Context, scope Scope, version string, keys []string) (*Cache, error) {
	for _, ref := range scope.Refs {
		dir := d.cacheDir(scope.Repository, ref, version)
		var exact Cache
		err := readEntry(dir, entryName(keys[0]), &exact)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && exact.Key == keys[0] {
			if ok, err := d.alive(ctx, exact.Digest); ok || err != nil {
				return &exact, err
			}
		}
		all, err := entries[Cache](ctx, dir)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b Cache) int {
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
				if ok, err := d.alive(ctx, all[i].Digest); ok || err != nil {
					return &all[i], err
				}
			}
		}
	}
	return nil, nil
}

// Cache finds the entry of exactly this key under the scope's own ref; nil
// when there is none, or its bytes are gone.
func (d *Depot) Cache(ctx context.Context, scope Scope, version, key string) (*Cache, error) {
	var e Cache
	err := readEntry(d.cacheDir(scope.Repository, scope.Refs[0], version), entryName(key), &e)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if ok, err := d.alive(ctx, e.Digest); !ok || err != nil {
		return nil, err
	}
	return &e, nil
}

// AddCache saves an entry for bytes that are stored already, under the scope's
// own ref. Unless it may replace another, it is ErrTaken when the key is saved
// already, with other bytes that are there.
func (d *Depot) AddCache(ctx context.Context, scope Scope, version, key string, digest blob.Digest, size int64, replace bool) error {
	e := Cache{
		Key: key, Version: version, Ref: scope.Refs[0], Digest: digest, Size: size,
		Created: time.Now().UTC(), Run: scope.Run, Job: scope.Job,
	}
	dir := d.cacheDir(scope.Repository, scope.Refs[0], version)
	err := writeEntry(dir, entryName(key), e, replace)
	if !errors.Is(err, ErrTaken) {
		return err
	}
	var old Cache
	switch err := readEntry(dir, entryName(key), &old); {
	case err == nil && old.Digest == digest:
		return nil // the same bytes, perhaps in place of lost ones
	case err == nil:
		if ok, err := d.alive(ctx, old.Digest); ok || err != nil {
			return errors.Join(err, ErrTaken)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeEntry(dir, entryName(key), e, true)
}

// Pack stores the archive of what was found: directories, regular files and
// symbolic links, with their permission bits and times. roots are the
// directories (or files) that names in the archive are relative to, as
// Patterns.Roots has them; what lies in none of them is left out, and so is
// what leave says, which may be nil.
func (d *Depot) Pack(ctx context.Context, roots []string, list []Found, leave func(path string, dir bool) bool) (blob.Digest, int64, Packed, error) {
	var in Packed
	digest, n, err := d.produce(ctx, func(w io.Writer) (err error) {
		in, err = pack(ctx, w, roots, list, leave)
		return err
	})
	return digest, n, in, err
}

// Unpack makes the files of an archive of Pack below the roots, in the same
// order, in place of what is there.
func (d *Depot) Unpack(ctx context.Context, digest blob.Digest, roots []string) (Packed, error) {
	r, err := d.blobs.Open(ctx, digest)
	if err != nil {
		return Packed{}, err
	}
	defer r.Close()
	return unpack(ctx, r, roots)
}
