package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// maxName is the length of the longest name of an artifact, in bytes, that is
// adopted, maxKey that of a cache's key.
const (
	maxName = 1024
	maxKey  = 4096
)

// Adopt makes an artifact known that was saved in another depot, with its ID and
// its times, so that jobs here find it. Its bytes are whatever the blobs have of
// the digest by the time somebody wants them. It may be repeated; it takes the
// place of an older artifact of the name, not of a newer one.
func (d *Depot) Adopt(_ context.Context, a Artifact) error {
	_, err := blob.Parse(string(a.Digest))
	if err == nil && (a.Name == "" || len(a.Name) > maxName || !utf8.ValidString(a.Name) || a.ID == 0 || a.Size < 0) {
		err = errors.New("it is no whole entry")
	}
	var old *Artifact
	if err == nil {
		old, err = d.artifact(&a)
	}
	if err == nil && (old == nil || old.Created.Before(a.Created)) {
		var dir string
		if dir, err = d.artifactDir(a.Run); err == nil {
			err = writeEntry(dir, a.entry(), a, true)
		}
	}
	if err != nil {
		return fmt.Errorf("take over artifact %.80q of run %.20s: %w", a.Name, a.Run, err)
	}
	return nil
}

// Caches returns the caches of a repository, from whatever ref, the newest
// first.
func (d *Depot) Caches(ctx context.Context, repository string) ([]Cache, error) {
	root := filepath.Join(d.index, "caches")
	dirs, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Cache
	for _, dir := range dirs {
		list, err := entries[Cache](ctx, filepath.Join(root, dir.Name()))
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if filepath.Base(d.cacheDir(repository, c.Ref, c.Version)) == dir.Name() {
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b Cache) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return all, nil
}

// AdoptCache is [Depot.Adopt] for a cache of a repository.
func (d *Depot) AdoptCache(_ context.Context, repository string, c Cache) error {
	_, err := blob.Parse(string(c.Digest))
	if err == nil && (c.Key == "" || len(c.Key) > maxKey || len(c.Ref) > maxName || len(c.Version) > maxName || !utf8.ValidString(c.Key+c.Ref+c.Version) || c.Size < 0) {
		err = errors.New("it is no whole entry")
	}
	dir := d.cacheDir(repository, c.Ref, c.Version)
	var old Cache
	if err == nil {
		if err = readEntry(dir, entryName(c.Key), &old); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil && old.Created.Before(c.Created) {
		err = writeEntry(dir, entryName(c.Key), c, true)
	}
	if err != nil {
		return fmt.Errorf("take over cache %.80q of %.80s: %w", c.Key, repository, err)
	}
	return nil
}
