package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
)

// The results service: one POST a call, JSON in and out, field names in
// snake_case, 64-bit numbers as strings, fields with zero values left out
// (https://twitchtv.github.io/twirp/docs/spec_v7.html).

// twirpCall is one of its calls: a request's body in, an answer out.
type twirpCall func(ctx context.Context, g *grant, body json.RawMessage) (any, error)

// callError is an error that the caller is told.
type callError struct {
	status        int
	code, message string
}

func (e *callError) Error() string { return e.message }

func invalid(format string, args ...any) error {
	return &callError{http.StatusBadRequest, "invalid_argument", fmt.Sprintf(format, args...)}
}

func (v *Service) twirp(call twirpCall) http.HandlerFunc {
	return v.authorized(func(w http.ResponseWriter, r *http.Request, g *grant) {
		var body json.RawMessage
		if err := readJSON(w, r, &body); err != nil {
			problem(w, http.StatusBadRequest, "malformed", "the request is not JSON, or too long")
			return
		}
		result, err := call(r.Context(), g, body)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, result)
	})
}

// refuse answers with an error: the caller's, or ours.
func refuse(w http.ResponseWriter, err error) {
	var e *callError
	var fail failure
	switch {
	case errors.As(err, &e):
		problem(w, e.status, e.code, e.message)
	case errors.As(err, &fail):
		problem(w, http.StatusBadRequest, "invalid_argument", err.Error())
	case errors.Is(err, depot.ErrTaken):
		problem(w, http.StatusConflict, "already_exists", err.Error())
	default:
		problem(w, http.StatusInternalServerError, "internal", err.Error())
	}
}

// parse reads a request. Fields that are not known are passed over: newer
// clients send more.
func parse[T any](body json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, &callError{http.StatusBadRequest, "malformed", "the request has not the form of this call: " + err.Error()}
	}
	return v, nil
}

// int64s is a 64-bit number, written as a string or a number.
type int64s int64

func (n *int64s) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		*n = 0
		return nil
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil || i < 0 {
		return fmt.Errorf("%.40q is not a number", text)
	}
	*n = int64s(i)
	return nil
}

func (n int64s) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatInt(int64(n), 10) + `"`), nil
}

// Caches.

type cacheRequest struct {
	Key         string   `json:"key"`
	RestoreKeys []string `json:"restore_keys"`
	Version     string   `json:"version"`
	SizeBytes   int64s   `json:"size_bytes"`
}

func (q *cacheRequest) check() error {
	if q.Key == "" || q.Version == "" || len(q.Version) > maxCacheKeyLength {
		return invalid("a cache needs a key and a version")
	}
	if len(q.RestoreKeys) >= maxCacheKeys {
		return invalid("at most %d keys are allowed", maxCacheKeys)
	}
	for _, key := range append([]string{q.Key}, q.RestoreKeys...) {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	return nil
}

func (v *Service) getCacheEntryDownloadURL(ctx context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := parse[cacheRequest](body)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, err
	}
	type result struct {
		OK      bool   `json:"ok"`
		URL     string `json:"signed_download_url,omitempty"`
		Matched string `json:"matched_key,omitempty"`
	}
	e, err := v.set.depot.FindCache(ctx, g.cache, q.Version, append([]string{q.Key}, q.RestoreKeys...))
	if err != nil || e == nil {
		return result{}, err
	}
	return result{true, v.blobURL(g, e.Digest, e.Size, "cache", "application/octet-stream"), e.Key}, nil
}

func (v *Service) createCacheEntry(ctx context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := parse[cacheRequest](body)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, err
	}
	type result struct {
		OK      bool   `json:"ok"`
		URL     string `json:"signed_upload_url,omitempty"`
		Message string `json:"message,omitempty"`
	}
	taken, err := v.set.depot.Cache(ctx, g.cache, q.Version, q.Key)
	if err != nil {
		return nil, err
	}
	if taken != nil {
		return result{Message: "a cache with the key " + q.Key + " exists already"}, nil
	}
	u, err := v.begin(g, "cache", q.Version, q.Key)
	if err != nil {
		return nil, err
	}
	return result{OK: true, URL: v.uploadURL(u)}, nil
}

func (v *Service) finalizeCacheEntryUpload(ctx context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := parse[cacheRequest](body)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, err
	}
	u, err := v.end(g, "cache", q.Version, q.Key)
	if err != nil {
		return nil, err
	}
	if int64(q.SizeBytes) != u.size {
		return nil, invalid("%d bytes were announced and %d were uploaded", q.SizeBytes, u.size)
	}
	type result struct {
		OK      bool   `json:"ok"`
		ID      int64s `json:"entry_id,omitempty"`
		Message string `json:"message,omitempty"`
	}
	err = v.set.depot.AddCache(ctx, g.cache, q.Version, q.Key, u.digest, u.size, false)
	if errors.Is(err, depot.ErrTaken) {
		return result{Message: "a cache with the key " + q.Key + " was saved meanwhile"}, nil
	}
	return result{OK: true, ID: int64s(depot.NewID())}, err
}

// Artifacts.

type artifactRequest struct {
	Run        string    `json:"workflow_run_backend_id"`
	Job        string    `json:"workflow_job_run_backend_id"`
	Name       string    `json:"name"`
	Expires    time.Time `json:"expires_at"`
	Type       string    `json:"mime_type"`
	Size       int64s    `json:"size"`
	Hash       string    `json:"hash"`
	NameFilter string    `json:"name_filter"`
	IDFilter   int64s    `json:"id_filter"`
}

// artifactOf reads a request and checks that it is about the caller's own run.
func artifactOf(g *grant, body json.RawMessage) (artifactRequest, error) {
	q, err := parse[artifactRequest](body)
	if err == nil && q.Run != g.run {
		err = &callError{http.StatusForbidden, "permission_denied", "the token is for another run"}
	}
	return q, err
}

func (v *Service) createArtifact(_ context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := artifactOf(g, body)
	if err == nil {
		err = checkArtifactName(q.Name)
	}
	if err != nil {
		return nil, err
	}
	old, err := v.set.depot.Artifact(g.run, q.Name)
	if err != nil {
		return nil, err
	}
	if old != nil && !old.Replaceable(g.name, g.began) {
		return nil, &callError{http.StatusConflict, "already_exists", "an artifact with this name already exists on the workflow run"}
	}
	u, err := v.begin(g, "artifact", "", q.Name)
	if err != nil {
		return nil, err
	}
	u.media, u.expires = q.Type, q.Expires
	if u.media == "" {
		u.media = depot.ZipType // clients before version 7 of the protocol send only these
	}
	return map[string]any{"ok": true, "signed_upload_url": v.uploadURL(u)}, nil
}

func (v *Service) finalizeArtifact(_ context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := artifactOf(g, body)
	if err != nil {
		return nil, err
	}
	u, err := v.end(g, "artifact", "", q.Name)
	if err != nil {
		return nil, err
	}
	if int64(q.Size) != u.size {
		return nil, invalid("%d bytes were announced and %d were uploaded", q.Size, u.size)
	}
	if q.Hash != "" {
		if d, err := blob.Parse(q.Hash); err != nil || d != u.digest {
			return nil, invalid("the digest %.80s was announced and the bytes have %s", q.Hash, u.digest)
		}
	}
	e := &depot.Artifact{
		Name: q.Name, Digest: u.digest, Size: u.size, Type: u.media, Expires: u.expires,
		Run: g.run, Job: g.name, Began: g.began,
	}
	if err := v.set.depot.AddArtifact(e, false); err != nil {
		if errors.Is(err, depot.ErrTaken) {
			err = &callError{http.StatusConflict, "already_exists", "an artifact with this name already exists on the workflow run"}
		}
		return nil, err
	}
	v.set.mu.Lock()
	key := jobKey{g.run, g.name}
	v.set.uploaded[key] = append(v.set.uploaded[key], recorded(e))
	v.set.mu.Unlock()
	return map[string]any{"ok": true, "artifact_id": int64s(e.ID)}, nil
}

func (v *Service) listArtifacts(ctx context.Context, g *grant, body json.RawMessage) (any, error) {
	q, err := artifactOf(g, body)
	if err != nil {
		return nil, err
	}
	all, err := v.set.depot.Artifacts(ctx, g.run)
	if err != nil {
		return nil, err
	}
	type item struct {
		Run     string    `json:"workflow_run_backend_id"`
		Job     string    `json:"workflow_job_run_backend_id"`
		ID      int64s    `json:"database_id"`
		Name    string    `json:"name"`
		Size    int64s    `json:"size"`
		Created time.Time `json:"created_at"`
		Digest  string    `json:"digest"`
	}
	list := []item{}
	for _, e := range all {
		if q.NameFilter != "" && e.Name != q.NameFilter || q.IDFilter != 0 && e.ID != int64(q.IDFilter) {
			continue
		}
		list = append(list, item{g.run, depot.Hash(e.Job)[:32], int64s(e.ID), e.Name, int64s(e.Size), e.Created, string(e.Digest)})
	}
	return map[string]any{"artifacts": list}, nil
}

// named finds the artifact that a request names.
func (v *Service) named(g *grant, body json.RawMessage) (*depot.Artifact, error) {
	q, err := artifactOf(g, body)
	if err != nil {
		return nil, err
	}
	e, err := v.set.depot.Artifact(g.run, q.Name)
	if err == nil && e == nil {
		err = &callError{http.StatusNotFound, "not_found", "the run has no artifact named " + q.Name}
	}
	return e, err
}

func (v *Service) getSignedArtifactURL(_ context.Context, g *grant, body json.RawMessage) (any, error) {
	e, err := v.named(g, body)
	if err != nil {
		return nil, err
	}
	name := e.Name
	if e.Type == depot.ZipType && !strings.HasSuffix(name, ".zip") {
		name += ".zip"
	}
	return map[string]any{"signed_url": v.blobURL(g, e.Digest, e.Size, name, e.Type)}, nil
}

func (v *Service) deleteArtifact(_ context.Context, g *grant, body json.RawMessage) (any, error) {
	e, err := v.named(g, body)
	if err != nil {
		return nil, err
	}
	if err := v.set.depot.RemoveArtifact(e); err != nil {
		return nil, err
	}
	return map[string]any{"ok": true, "artifact_id": int64s(e.ID)}, nil
}

// The older cache service: look up, reserve a number, send chunks in any
// order, commit.

func (v *Service) v1Find(w http.ResponseWriter, r *http.Request, g *grant) {
	keys := strings.FieldsFunc(r.URL.Query().Get("keys"), func(r rune) bool { return r == ',' })
	version := r.URL.Query().Get("version")
	if len(keys) == 0 || len(keys) > maxCacheKeys || version == "" || slices.ContainsFunc(keys, func(k string) bool { return checkKey(k) != nil }) {
		problem(w, http.StatusBadRequest, "invalid_argument", "keys and version must be given")
		return
	}
	e, err := v.set.depot.FindCache(r.Context(), g.cache, version, keys)
	switch {
	case err != nil:
		refuse(w, err)
	case e == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, map[string]any{
			"cacheKey": e.Key, "cacheVersion": version, "scope": e.Ref, "creationTime": e.Created,
			"archiveLocation": v.blobURL(g, e.Digest, e.Size, "cache", "application/octet-stream"),
		})
	}
}

func (v *Service) v1Reserve(w http.ResponseWriter, r *http.Request, g *grant) {
	var q cacheRequest
	if err := readJSON(w, r, &q); err != nil {
		problem(w, http.StatusBadRequest, "malformed", "the request is not JSON of this call, or too long")
		return
	}
	err := q.check()
	if err == nil {
		var taken *depot.Cache
		if taken, err = v.set.depot.Cache(r.Context(), g.cache, q.Version, q.Key); taken != nil {
			err = fmt.Errorf("the cache %s: %w", q.Key, depot.ErrTaken)
		}
	}
	var u *upload
	if err == nil {
		u, err = v.begin(g, "cache v1", q.Version, q.Key)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusCreated, map[string]any{"cacheId": u.number})
}

// v1Of finds the upload that a request of the older service means.
func (v *Service) v1Of(r *http.Request, g *grant) (*upload, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	number, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	for _, u := range v.uploads {
		if err == nil && u.number == number && u.grant == g && u.kind == "cache v1" {
			return u, nil
		}
	}
	return nil, &callError{http.StatusNotFound, "not_found", "no such cache was reserved"}
}

func (v *Service) v1Upload(w http.ResponseWriter, r *http.Request, g *grant) {
	u, err := v.v1Of(r, g)
	if err == nil {
		var first, last int64
		first, last, err = contentRange(r.Header.Get("Content-Range"))
		if err == nil {
			err = u.write(http.MaxBytesReader(w, r.Body, maxBlock), first, last)
		}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// contentRange reads "bytes 0-99/*".
func contentRange(s string) (first, last int64, err error) {
	text, _, _ := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	a, b, _ := strings.Cut(text, "-")
	first, errA := strconv.ParseInt(a, 10, 64)
	last, errB := strconv.ParseInt(b, 10, 64)
	if errA != nil || errB != nil || first < 0 || last < first || last >= maxUpload {
		return 0, 0, invalid("%.80q is not a range of bytes", s)
	}
	return first, last, nil
}

func (v *Service) v1Commit(w http.ResponseWriter, r *http.Request, g *grant) {
	u, err := v.v1Of(r, g)
	if err != nil {
		refuse(w, err)
		return
	}
	var q struct {
		Size int64s `json:"size"`
	}
	if err := readJSON(w, r, &q); err != nil {
		problem(w, http.StatusBadRequest, "malformed", "the request is not JSON of this call, or too long")
		return
	}
	if err := u.join(r.Context(), int64(q.Size)); err != nil {
		refuse(w, err)
		return
	}
	if _, err := v.end(g, u.kind, u.version, u.key); err != nil {
		refuse(w, err)
		return
	}
	if err := v.set.depot.AddCache(r.Context(), g.cache, u.version, u.key, u.digest, u.size, false); err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// blobURL is where the bytes of a blob can be had.
func (v *Service) blobURL(g *grant, d blob.Digest, size int64, name, media string) string {
	path := "/blobs/" + d.Hex() + "/" + url.PathEscape(name)
	return v.sign(path, url.Values{"grant": {g.id}, "size": {strconv.FormatInt(size, 10)}, "type": {media}})
}
