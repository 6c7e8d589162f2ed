package depot

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// maxName is the length of the longest name, in bytes, that is adopted.
const maxName = 1024

// Adopt makes an artifact known that was saved in another depot, with its ID and
// its times, so that jobs here find it. Its bytes are whatever the blobs have of
// the digest by the time somebody wants them. It may be repeated; it takes the
// place of an older artifact of the name, not of a newer one.
func (d *Depot) Adopt(_ context.Context, a Artifact) error {
	_, err := blob.Parse(string(a.Digest))
	if err == nil && (a.Name == "" || len(a.Name) > maxName || !utf8.ValidString(a.Name) || a.ID == 0 || a.Size < 0) {
		err = fmt.Errorf("it is no whole entry")
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
