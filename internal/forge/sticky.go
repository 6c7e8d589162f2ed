package forge

import (
	"net/http"
	"slices"
)

const maxStrange = 20

// Sticky keeps one comment: it edits the one that ref names, or else the first
// of those that find returns and that can be edited, or else makes one. It returns
// what the comment is called.
//
// A comment that is gone, or is somebody else's, is not an error: another is
// looked for.
//
// Where a host lets nobody edit what others wrote, find need not look at who wrote a
// comment: it is found out here. At most maxStrange comments are tried so.
func Sticky(ref string, find func() ([]string, error), edit func(ref string) error, create func() (string, error)) (string, error) {
	lost := func(err error) bool {
		code := Code(err)
		_, after := Temporary(err)
		return (code == http.StatusNotFound || code == http.StatusGone || code == http.StatusForbidden) && after == 0
	}
	if ref != "" {
		if err := edit(ref); err == nil || !lost(err) {
			return ref, err
		}
	}
	refs, err := find()
	if err != nil {
		return "", err
	}
	refs = slices.DeleteFunc(refs, func(r string) bool { return r == ref })
	for _, r := range refs[:min(len(refs), maxStrange)] {
		if err := edit(r); err == nil || !lost(err) {
			return r, err
		}
	}
	return create()
}
