package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

const (
	textProbe = 8000 // bytes of a file that are looked at to tell whether it is text
	zipLevel  = 6    // of compression, of entries that are written anew
)

// Conceal makes what people are given of a blob that jobs share: a second blob in
// which the values that the masker knows are masked, in texts, and in the texts
// of a zip. It returns nil when the blob holds none, and people may have it as it
// is. The blob itself stays: jobs want their own bytes.
//
// Files that are no texts (a NUL among their first bytes) are left alone, for
// they would be broken, and counted. What is compressed or packed inside an entry
// is such a file, and its values are not found.
//
// The blob is read as a stream, in constant memory, however large it is; of
// a zip there is a copy on the disk meanwhile.
func (d *Depot) Conceal(ctx context.Context, m *secret.Masker, digest string) (*record.Shown, error) {
	if m.Empty() {
		return nil, nil
	}
	of, err := blob.Parse(digest)
	if err != nil {
		return nil, err
	}
	shown, err := d.conceal(ctx, m, of)
	if err != nil {
		return nil, fmt.Errorf("look for secrets in artifact %s: %w", digest, err)
	}
	return shown, nil
}

func (d *Depot) conceal(ctx context.Context, m *secret.Masker, of blob.Digest) (shown *record.Shown, err error) {
	err = d.reading(ctx, of, func(start []byte, r io.Reader) error {
		if !bytes.HasPrefix(start, []byte("PK")) {
			return ErrHostile
		}
		shown, err = d.concealZip(ctx, m, r)
		return err
	})
	if !errors.Is(err, ErrHostile) {
		return shown, err
	}
	// It is no zip, or one that nobody can read: a file like any other.
	texts, held := false, false
	err = d.reading(ctx, of, func(start []byte, r io.Reader) error {
		texts = text(start)
		held, err = m.Copy(io.Discard, r)
		return err
	})
	switch {
	case err != nil || !held:
		return nil, err
	case !texts:
		return &record.Shown{Holds: 1}, nil
	}
	shown = &record.Shown{Masked: 1}
	err = d.reading(ctx, of, func(_ []byte, r io.Reader) error {
		digest, n, err := d.blobs.Put(ctx, m.Reader(r))
		shown.Digest, shown.Size = string(digest), n
		return err
	})
	return shown, err
}

// reading has a blob read from its beginning, of which start is what comes first.
func (d *Depot) reading(ctx context.Context, of blob.Digest, do func(start []byte, r io.Reader) error) error {
	r, err := d.blobs.Open(ctx, of)
	if err != nil {
		return err
	}
	defer r.Close()
	start, whole, err := probe(&during{ctx, r})
	if err != nil {
		return err
	}
	return do(start, whole)
}

// concealZip does a zip file: it looks through all entries, and writes the file
// anew only if there is something to mask.
func (d *Depot) concealZip(ctx context.Context, m *secret.Masker, r io.Reader) (*record.Shown, error) {
	if err := os.MkdirAll(d.index, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(d.index, ".conceal-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // it goes with us, however we go
		return nil, err
	}
	n, err := io.Copy(f, r)
	if err != nil {
		return nil, err
	}
	z, err := openZip(f, n)
	if err != nil {
		return nil, err
	}
	packed := uint64(n)
	for _, e := range z.File {
		if e.CompressedSize64 > packed { // its entries share bytes: a bomb
			return nil, ErrHostile
		}
		packed -= e.CompressedSize64
	}
	shown, masked, left := record.Shown{}, make([]bool, len(z.File)), int64(maxArtifactBytes)
	for i, e := range z.File {
		texts, held, err := look(ctx, m, e, &left)
		switch {
		case err != nil:
			return nil, err
		case texts && held || m.Holds(e.Name):
			masked[i] = true
			shown.Masked++
		case held:
			shown.Holds++
		}
	}
	switch {
	case shown == record.Shown{}:
		return nil, nil
	case shown.Masked == 0:
		return &shown, nil
	}
	digest, size, err := d.produce(ctx, func(w io.Writer) error { return rewriteZip(ctx, m, z, masked, w) })
	shown.Digest, shown.Size = string(digest), size
	return &shown, err
}

// look reports whether an entry is text, and whether it holds a secret. left is how
// many bytes may still be unpacked.
func look(ctx context.Context, m *secret.Masker, e *zip.File, left *int64) (texts, held bool, err error) {
	if e.Mode().IsDir() {
		return false, false, nil
	}
	body, err := e.Open()
	if err != nil {
		return false, false, fmt.Errorf("%w: %w", ErrHostile, err)
	}
	defer body.Close()
	limited := &io.LimitedReader{R: &during{ctx, body}, N: *left}
	start, whole, err := probe(limited)
	if err == nil {
		held, err = m.Copy(io.Discard, whole)
	}
	if err != nil {
		return false, false, err
	}
	if *left = limited.N; *left == 0 {
		return false, false, fmt.Errorf("it unpacks to more than %d GiB", maxArtifactBytes>>30)
	}
	return text(start), held, nil
}

// rewriteZip writes a zip with some of its entries masked. The others are copied as
// they are, compressed.
func rewriteZip(ctx context.Context, m *secret.Masker, z *zip.Reader, masked []bool, w io.Writer) error {
	out := zip.NewWriter(w)
	out.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, zipLevel) })
	for i, e := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !masked[i] {
			if err := out.Copy(e); err != nil {
				return err
			}
			continue
		}
		if err := rewriteEntry(ctx, m, out, e); err != nil {
			return err
		}
	}
	return out.Close()
}

func rewriteEntry(ctx context.Context, m *secret.Masker, out *zip.Writer, e *zip.File) error {
	body, err := e.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	start, from, err := probe(&during{ctx, body})
	if err != nil {
		return err
	}
	if text(start) { // not so if it is its name that holds one
		from = m.Reader(from)
	}
	h := zip.FileHeader{Name: concealName(m, e.Name), Method: e.Method, Modified: e.Modified, ExternalAttrs: e.ExternalAttrs, CreatorVersion: e.CreatorVersion}
	to, err := out.CreateHeader(&h)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return err
}

// concealName masks an entry's name, which remains one of a directory or of a file.
func concealName(m *secret.Masker, name string) string {
	if !m.Holds(name) {
		return name
	}
	if dir, ok := strings.CutSuffix(name, "/"); ok {
		return m.String(dir) + "/"
	}
	return m.String(name)
}

// probe reads the beginning of a file; whole still has all of it.
func probe(r io.Reader) (start []byte, whole io.Reader, err error) {
	start = make([]byte, textProbe)
	n, err := io.ReadFull(r, start)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	start = start[:n]
	return start, io.MultiReader(bytes.NewReader(start), r), err
}

// text tells by its beginning whether a file is text, as git does.
func text(start []byte) bool { return !bytes.Contains(start, []byte{0}) }

// during is a reader that ends with its context.
type during struct {
	ctx context.Context
	r   io.Reader
}

func (d *during) Read(p []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	return d.r.Read(p)
}
