package builtin

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
)

// Uploads and downloads, as Azure's block blobs
// (https://learn.microsoft.com/rest/api/storageservices/put-blob): a small
// file is put at once; of a larger one the blocks are put in any order, each
// under an ID of the client's, and a list of IDs says at last which blocks
// make the file.

// upload is a cache or an artifact that is being uploaded.
type upload struct {
	id      string
	number  int64 // its name in the older cache service
	grant   *grant
	kind    string // "cache", "cache v1", "artifact"
	version string
	key     string
	media   string
	expires time.Time
	dir     string
	store   blob.Store

	mu     sync.Mutex
	blocks map[string]int64 // sizes, by block ID
	ranges [][2]int64       // written in the older way: first and behind last, sorted, apart
	bytes  int64            // on disk
	done   bool
	ended  bool
	digest blob.Digest
	size   int64
}

// begin makes an upload. A second one for the same key by the same job takes
// the place of the first, which a client gave up.
func (v *Service) begin(g *grant, kind, version, key string) (*upload, error) {
	u := &upload{
		id: randomID(), number: depot.NewID(), grant: g, kind: kind, version: version, key: key,
		store: v.set.cfg.Blobs, blocks: map[string]int64{},
	}
	u.dir = filepath.Join(v.spool, u.id)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.grants[g.id] == nil {
		return nil, &callError{http.StatusUnauthorized, "unauthenticated", "the job has ended"}
	}
	open := 0
	for id, other := range v.uploads {
		if other.grant != g {
			continue
		}
		if open++; other.kind == kind && other.version == version && other.key == key {
			delete(v.uploads, id)
			defer other.discard()
			open--
		}
	}
	if open >= maxOpenUploads {
		return nil, &callError{http.StatusTooManyRequests, "resource_exhausted", "the job has too many unfinished uploads"}
	}
	v.uploads[u.id] = u
	return u, nil
}

// end takes a finished upload out.
func (v *Service) end(g *grant, kind, version, key string) (*upload, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, u := range v.uploads {
		if u.grant != g || u.kind != kind || u.version != version || u.key != key {
			continue
		}
		u.mu.Lock()
		done := u.done
		u.mu.Unlock()
		if !done {
			return nil, &callError{http.StatusPreconditionFailed, "failed_precondition", "the upload of " + key + " is not complete"}
		}
		delete(v.uploads, id)
		return u, nil
	}
	return nil, &callError{http.StatusNotFound, "not_found", "nothing named " + key + " is being uploaded"}
}

// discard forgets what was uploaded.
func (u *upload) discard() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	os.RemoveAll(u.dir) // the spool as a whole is removed at the end
}

func (v *Service) uploadURL(u *upload) string {
	return v.sign("/uploads/"+u.id, url.Values{"grant": {u.grant.id}})
}

// put takes a file, a block or a list of blocks.
func (v *Service) put(w http.ResponseWriter, r *http.Request) {
	g, ok := v.signed(r, "grant")
	v.mu.Lock()
	u := v.uploads[r.PathValue("id")]
	v.mu.Unlock()
	if !ok || u == nil || u.grant != g {
		problem(w, http.StatusForbidden, "permission_denied", "the URL is not one of a running upload")
		return
	}
	var err error
	switch comp := r.URL.Query().Get("comp"); comp {
	case "":
		err = u.putAll(r.Context(), http.MaxBytesReader(w, r.Body, maxUpload))
	case "block":
		err = u.putBlock(r.URL.Query().Get("blockid"), http.MaxBytesReader(w, r.Body, maxBlock))
	case "blocklist":
		var list struct {
			IDs []string `xml:",any"`
		}
		const perBlock = 512 // of the list's text
		d := xml.NewDecoder(http.MaxBytesReader(w, r.Body, maxBlocks*perBlock))
		if err = d.Decode(&list); err != nil {
			err = invalid("the list of blocks cannot be read: %v", err)
		} else {
			err = u.putList(r.Context(), list.IDs)
		}
	default:
		err = invalid("the operation %.40q is not known", comp)
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		err = &callError{http.StatusRequestEntityTooLarge, "out_of_range", "the upload is too large"}
	}
	h := w.Header()
	h.Set("x-ms-request-id", randomID())
	h.Set("x-ms-version", r.Header.Get("x-ms-version"))
	if err != nil {
		refuse(w, err)
		return
	}
	h.Set("ETag", `"`+u.id+`"`)
	h.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	h.Set("x-ms-request-server-encrypted", "false")
	w.WriteHeader(http.StatusCreated)
}

var errEnded = &callError{http.StatusConflict, "aborted", "the upload was given up or is complete"}

// finish keeps what store yields. The caller holds u.mu.
func (u *upload) finish(ctx context.Context, r io.Reader) error {
	d, n, err := u.store.Put(ctx, r)
	if err != nil {
		return err
	}
	u.digest, u.size, u.done, u.blocks, u.ranges = d, n, true, nil, nil
	return os.RemoveAll(u.dir)
}

func (u *upload) putAll(ctx context.Context, body io.Reader) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return errEnded
	}
	return u.finish(ctx, body)
}

func (u *upload) blockFile(id string) string { return filepath.Join(u.dir, depot.Hash(id)) }

func (u *upload) putBlock(id string, body io.Reader) error {
	const longest = 256
	if id == "" || len(id) > longest {
		return invalid("%.40q is not the ID of a block", id)
	}
	if err := u.reserve(func() error {
		if len(u.blocks) >= maxBlocks {
			return invalid("there are more than %d blocks", maxBlocks)
		}
		return nil
	}); err != nil {
		return err
	}
	// Several blocks arrive at once; each goes to a file of its own first.
	f, err := os.CreateTemp(u.dir, "block-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name by then
	defer f.Close()
	n, err := io.Copy(f, body)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || u.done {
		return errEnded
	}
	if u.bytes += n - u.blocks[id]; u.bytes > maxUpload {
		return &http.MaxBytesError{Limit: maxUpload}
	}
	if err := os.Rename(f.Name(), u.blockFile(id)); err != nil {
		return err
	}
	u.blocks[id] = n
	return nil
}

// reserve makes sure that the upload's directory is there, if the check agrees.
func (u *upload) reserve(check func() error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || u.done {
		return errEnded
	}
	if err := check(); err != nil {
		return err
	}
	return os.MkdirAll(u.dir, 0o700)
}

func (u *upload) putList(ctx context.Context, ids []string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || u.done {
		return errEnded
	}
	if len(ids) > maxBlocks {
		return invalid("there are more than %d blocks", maxBlocks)
	}
	files := make([]string, len(ids))
	for i, id := range ids {
		id = strings.TrimSpace(id)
		if _, ok := u.blocks[id]; !ok {
			return invalid("the block %.80q was not uploaded", id)
		}
		files[i] = u.blockFile(id)
	}
	r := &chain{files: files}
	defer r.close()
	return u.finish(ctx, r)
}

// chain reads files one after another, with one of them open at a time.
type chain struct {
	files []string
	open  *os.File
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.open == nil {
			if len(c.files) == 0 {
				return 0, io.EOF
			}
			f, err := os.Open(c.files[0])
			if err != nil {
				return 0, err
			}
			c.open, c.files = f, c.files[1:]
		}
		n, err := c.open.Read(p)
		if err == io.EOF {
			c.close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *chain) close() {
	if c.open != nil {
		c.open.Close()
		c.open = nil
	}
}

// write takes a range of the file, as the older cache service has it.
func (u *upload) write(body io.Reader, first, last int64) error {
	const maxRanges = 10_000 // that do not touch
	if err := u.reserve(func() error {
		if len(u.ranges) >= maxRanges {
			return invalid("there are more than %d pieces", maxRanges)
		}
		return nil
	}); err != nil {
		return err
	}
	f, err := os.OpenFile(u.file(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(io.NewOffsetWriter(f, first), io.LimitReader(body, last-first+1))
	if err != nil {
		return err
	}
	if n != last-first+1 {
		return invalid("the range has %d bytes, the body %d", last-first+1, n)
	}
	if err := f.Close(); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ranges = merge(append(u.ranges, [2]int64{first, last + 1}))
	return nil
}

func (u *upload) file() string { return filepath.Join(u.dir, "file") }

// merge sorts ranges and joins those that touch.
func merge(ranges [][2]int64) [][2]int64 {
	slices.SortFunc(ranges, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && r[0] <= merged[n-1][1] {
			merged[n-1][1] = max(merged[n-1][1], r[1])
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// join ends an upload of the older cache service.
func (u *upload) join(ctx context.Context, size int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || u.done {
		return errEnded
	}
	if len(u.ranges) != 1 || u.ranges[0] != [2]int64{0, size} {
		return invalid("not all of the %d bytes were uploaded", size)
	}
	f, err := os.Open(u.file())
	if err != nil {
		return err
	}
	defer f.Close()
	return u.finish(ctx, f)
}

// get gives the bytes of a blob, or a range of them.
func (v *Service) get(w http.ResponseWriter, r *http.Request) {
	if _, ok := v.signed(r, "grant", "size", "type"); !ok {
		problem(w, http.StatusForbidden, "permission_denied", "the URL is not one that was given to a running job")
		return
	}
	d, err := blob.Parse(r.PathValue("digest"))
	total, errSize := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	if err != nil || errSize != nil {
		problem(w, http.StatusBadRequest, "invalid_argument", "the URL is damaged")
		return
	}
	body, err := v.set.cfg.Blobs.Open(r.Context(), d)
	if errors.Is(err, blob.ErrNotFound) {
		problem(w, http.StatusNotFound, "not_found", err.Error())
		return
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer body.Close()
	first, last, status := int64(0), total-1, http.StatusOK
	h := w.Header()
	asked := r.Header.Get("Range")
	if asked == "" {
		asked = r.Header.Get("x-ms-range")
	}
	if a, b, ok := byteRange(asked, total); ok {
		first, last, status = a, b, http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, total))
	}
	h.Set("Content-Type", r.URL.Query().Get("type"))
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(r.PathValue("name")))
	h.Set("Accept-Ranges", "bytes")
	h.Set("ETag", `"`+d.Hex()+`"`)
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.CopyN(io.Discard, body, first); err != nil {
		panic(http.ErrAbortHandler)
	}
	if err := send(w, body, last-first+1, last == total-1); err != nil {
		panic(http.ErrAbortHandler) // the only way to say so, so late
	}
}

// send copies n bytes. If they go to the end of the blob, the last of them
// are held back until the blob has proved itself, so that a client never has
// the whole of a damaged one.
func send(w io.Writer, body io.Reader, n int64, toEnd bool) error {
	const held = 32 << 10
	buf := make([]byte, min(n, held)+1)
	tail := buf[:len(buf)-1]
	if _, err := io.CopyN(w, body, n-int64(len(tail))); err != nil {
		return err
	}
	if !toEnd {
		_, err := io.CopyN(w, body, int64(len(tail)))
		return err
	}
	read, err := io.ReadFull(body, buf)
	if err == nil || read != len(tail) || err != io.ErrUnexpectedEOF && err != io.EOF {
		return fmt.Errorf("the blob does not end where it should: %w", errors.Join(err, blob.ErrCorrupt))
	}
	_, err = w.Write(tail)
	return err
}

// byteRange reads "bytes=0-99" and "bytes=100-"; what it cannot read is no
// range, and everything is sent.
func byteRange(s string, total int64) (first, last int64, ok bool) {
	text, found := strings.CutPrefix(s, "bytes=")
	a, b, dash := strings.Cut(text, "-")
	first, err := strconv.ParseInt(a, 10, 64)
	if !found || !dash || err != nil || first < 0 || first >= total {
		return 0, 0, false
	}
	last = total - 1
	if b != "" {
		n, err := strconv.ParseInt(b, 10, 64)
		if err != nil || n < first {
			return 0, 0, false
		}
		last = min(n, last)
	}
	return first, last, true
}
