// Package blob is the door to the stores that keep bytes under their own
// digest: logs, artifacts, cached outputs.
//
// A blob's name is the SHA-256 of its bytes, so a name never changes its
// meaning, the same bytes are kept once, and whoever reads can prove that
// what was read is what was written. That leaves a store with three duties:
// take bytes and say their name, give the bytes of a name, and say which
// names it does not have. What a name is for is written elsewhere.
//
// Every store promises, and package blobtest checks:
//
//   - a blob is there as a whole or not at all, whenever the writer dies;
//   - when Put has returned, the blob survives the death of its writer, and a
//     power cut too unless the store says otherwise;
//   - what Open yields, read to its end without an error, has the digest;
//   - all methods may be called from many goroutines and processes at once.
//
// A store may lose blobs: one that is bounded removes what was not used for
// long. So a blob that was there a moment ago may be an ErrNotFound, which is
// a miss and no failure to whoever can make the bytes again.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Store keeps blobs.
type Store interface {
	// Put stores all bytes of r and returns their digest and count. Bytes
	// that are there already are not stored again. An error of r is returned
	// as it is, wrapped, and nothing is stored.
	Put(ctx context.Context, r io.Reader) (Digest, int64, error)

	// Open returns a blob's bytes. The error is an ErrNotFound when there is
	// no such blob. The reader ends with io.EOF only if the bytes had the
	// digest, else with an ErrCorrupt; a reader closed earlier has proved
	// nothing.
	Open(ctx context.Context, d Digest) (io.ReadCloser, error)

	// Missing returns those of the digests that the store does not have, in
	// the order given, each once.
	Missing(ctx context.Context, digests []Digest) ([]Digest, error)
}

// The errors that callers tell apart, with errors.Is.
var (
	ErrNotFound = errors.New("no such blob")
	ErrCorrupt  = errors.New("the stored bytes are not those that were put in")
	ErrFull     = errors.New("the file system is full") // nothing was stored
)

// Keeper looks after a store whose blobs may be evicted: what they come to,
// which of them go, whether they are whole.
type Keeper interface {
	// Usage says what the store holds.
	Usage(ctx context.Context) (Usage, error)
	// Collect removes the blobs that were not used for longest, if there are
	// more than limit bytes, but none for which keep says true; keep may be nil.
	Collect(ctx context.Context, keep func(Digest) bool, limit int64) (Collected, error)
	// Verify reads all blobs and sets the damaged ones aside. It calls
	// progress, unless that is nil, with the bytes read and those there are.
	Verify(ctx context.Context, progress func(done, total int64)) (Verified, error)
}

// Usage is what some blobs come to.
type Usage struct {
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"` // of space: sizes rounded up to blocks of 4 KiB
	// Oldest is a time before which none was last used; zero when there are
	// none. Uses after the blobs were listed may not be in it yet.
	Oldest time.Time `json:"oldest,omitzero"`
}

// Collected is what a Collect did.
type Collected struct {
	Removed Usage `json:"removed"`
	Left    Usage `json:"left"`
	// Held is that part of Left which the limit asked to remove, but which
	// was used just now or is kept.
	Held Usage `json:"held"`
}

// Verified is what a Verify found.
type Verified struct {
	Blobs   int64    `json:"blobs"`
	Bytes   int64    `json:"bytes"`             // read
	Corrupt []Digest `json:"corrupt,omitempty"` // sorted; they were set aside
}

// Digest names a blob: "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

const algorithm = "sha256:"

// Parse reads a digest, with or without its algorithm, in any case of letters.
func Parse(s string) (Digest, error) {
	text := strings.ToLower(s)
	text = strings.TrimPrefix(text, algorithm)
	if !isHex(text) {
		return "", fmt.Errorf("blob: %.80q is not a SHA-256 digest", s)
	}
	return Digest(algorithm + text), nil
}

// isHex reports whether the text is a digest's digits.
func isHex(text string) bool {
	if len(text) != sha256.Size*2 {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// FromSum is the digest with the given SHA-256 sum, as hash.Hash.Sum(nil)
// returns it.
func FromSum(sum []byte) Digest { return Digest(algorithm + hex.EncodeToString(sum)) }

// Of is the digest of the bytes.
func Of(data []byte) Digest {
	sum := sha256.Sum256(data)
	return FromSum(sum[:])
}

// Valid reports whether the digest is written as Parse writes it.
func (d Digest) Valid() bool {
	hex, ok := strings.CutPrefix(string(d), algorithm)
	return ok && isHex(hex)
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), algorithm) }
