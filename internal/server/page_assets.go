package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// assets are the files that pages refer to. Their addresses hold a digest, so
// that browsers keep them for good and still never mix two versions.
type assets struct {
	files map[string]*asset // by name
}

type asset struct {
	media   string
	digest  string
	plain   []byte
	gzipped []byte
}

// assetMedia are the kinds of files there are.
var assetMedia = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// newAssets reads the folder "static". The style sheet gets the colours of logs.
func newAssets(files fs.FS) (*assets, error) {
	a := &assets{files: map[string]*asset{}}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		media := assetMedia[path.Ext(e.Name())]
		if media == "" {
			continue
		}
		data, err := fs.ReadFile(files, "static/"+e.Name())
		if err != nil {
			return nil, err
		}
		if e.Name() == "style.css" {
			data = append(data, colourRules()...)
		}
		sum := sha256.Sum256(data)
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(data); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		a.files[e.Name()] = &asset{media: media, digest: hex.EncodeToString(sum[:6]), plain: data, gzipped: packed.Bytes()}
	}
	return a, nil
}

// url is the address of a file for a page.
func (a *assets) url(name string) string {
	if f := a.files[name]; f != nil {
		return "/static/" + name + "?v=" + f.digest
	}
	return "/static/" + name
}

// sendAsset sends one of the files.
func (s *Server) sendAsset(w http.ResponseWriter, r *request) error {
	p, ok := s.html.(*pages)
	if !ok {
		return missing("file")
	}
	f := p.assets.files[r.PathValue("file")]
	if f == nil {
		return missing("file")
	}
	h := w.Header()
	h.Set("Content-Type", f.media)
	h.Set("ETag", `"`+f.digest+`"`)
	h.Set("Vary", "Accept-Encoding")
	if r.URL.Query().Get("v") == f.digest {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	body := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Set("ETag", `"`+f.digest+`-gz"`)
		body = f.gzipped
	}
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(body))
	return nil
}
