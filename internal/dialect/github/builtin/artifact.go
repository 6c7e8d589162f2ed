package builtin

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/klauspost/compress/flate"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	maxArtifactName    = 255
	maxArtifactEntries = 1_000_000
	maxArtifactBytes   = 64 << 30 // unpacked
	maxRetentionDays   = 400
)

// uploadArtifact is actions/upload-artifact.
func uploadArtifact(ctx context.Context, c *call) error {
	name := c.input("name")
	level, err := c.number("compression-level", 0, 9, 6)
	if err != nil {
		return err
	}
	days, err := c.number("retention-days", 0, maxRetentionDays, 0)
	if err != nil {
		return err
	}
	overwrite, err := c.flag("overwrite")
	if err != nil {
		return err
	}
	hidden, err := c.flag("include-hidden-files")
	if err != nil {
		return err
	}
	zipped, err := c.flag("archive")
	if err != nil {
		return err
	}
	missing := c.input("if-no-files-found")
	if !slices.Contains([]string{"warn", "error", "ignore"}, missing) {
		return failf("upload-artifact: the input \"if-no-files-found\" must be warn, error or ignore, not %.80q", missing)
	}

	ps := parsePatterns(c.lines("path"), c.absolute)
	list, err := ps.glob(search{descend: true, skipHidden: !hidden})
	if errors.Is(err, errTooMany) {
		return failf("upload-artifact: %v", err)
	}
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(f found) bool { return !f.info.Mode().IsRegular() })
	if len(list) == 0 {
		text := "no files were found for the artifact at " + strings.Join(c.lines("path"), ", ")
		if !hidden {
			text += " (files whose names begin with a dot are left out unless include-hidden-files is true)"
		}
		switch missing {
		case "error":
			return failf("upload-artifact: %s", text)
		case "warn":
			c.warn("%s; nothing was saved", text)
		default:
			c.say("There are %s; nothing was saved", text)
		}
		return nil
	}
	if !zipped {
		if len(list) > 1 {
			return failf("upload-artifact: archive is false, which takes a single file, and the path matches %d", len(list))
		}
		name = filepath.Base(list[0].path)
	}
	return c.saveArtifact(ctx, name, list, product{root: artifactRoot(ps.roots(), list), level: level, days: days, raw: !zipped, overwrite: overwrite})
}

// product says how files become an artifact.
type product struct {
	root      string // what names in the artifact are relative to
	level     int    // of compression, 0 to 9
	days      int    // to keep it; 0 for no limit of its own
	raw       bool   // the one file as it is, without a zip around it
	overwrite bool   // in place of one with the same name
}

// saveArtifact makes an artifact of the files.
func (c *call) saveArtifact(ctx context.Context, name string, list []found, p product) error {
	if err := checkArtifactName(name); err != nil {
		return err
	}
	e := &artifactEntry{Name: name, Type: zipType, Run: c.Scope.RunID, Began: c.Scope.Started}
	if c.Scope.Job != nil {
		e.Job = c.Scope.Job.ID
	}
	if p.days > 0 {
		e.Expires = time.Now().UTC().AddDate(0, 0, p.days)
	}
	taken := failf("%s: this run has an artifact named %q already; a name can be used once, unless it is overwritten", path.Base(c.action.Name), name)
	old, err := c.set.artifact(e.Run, name)
	if err != nil {
		return err
	}
	if old != nil && !p.overwrite && !old.replaceable(e.Job, e.Began) {
		return taken
	}
	if p.raw {
		e.Type = mediaType(name)
		e.Digest, e.Size, err = c.set.putFile(ctx, list[0].path)
	} else {
		e.Digest, e.Size, err = c.set.zip(ctx, list, p.root, p.level)
	}
	if err != nil {
		return err
	}
	err = c.set.addArtifact(e, p.overwrite)
	if errors.Is(err, errTaken) {
		return taken
	}
	if err != nil {
		return err
	}
	c.say("Artifact %s saved: %d files, %s, %s", name, len(list), size(e.Size), e.Digest)
	c.effects.Artifacts = append(c.effects.Artifacts, e.product())
	c.output("artifact-id", strconv.FormatInt(e.ID, 10))
	c.output("artifact-url", fmt.Sprintf("fairlead://runs/%s/artifacts/%d", e.Run, e.ID))
	c.output("artifact-digest", e.Digest.Hex())
	return nil
}

// product is the artifact as the record has it.
func (e *artifactEntry) product() plan.Artifact {
	return plan.Artifact{Name: e.Name, Digest: string(e.Digest), Size: e.Size}
}

// mergeArtifacts is actions/upload-artifact/merge: several artifacts of the
// run become one.
func mergeArtifacts(ctx context.Context, c *call) error {
	level, err := c.number("compression-level", 0, 9, 6)
	if err != nil {
		return err
	}
	days, err := c.number("retention-days", 0, maxRetentionDays, 0)
	if err != nil {
		return err
	}
	separate, err := c.flag("separate-directories")
	if err != nil {
		return err
	}
	remove, err := c.flag("delete-merged")
	if err != nil {
		return err
	}
	hidden, err := c.flag("include-hidden-files")
	if err != nil {
		return err
	}
	all, err := c.set.artifacts(ctx, c.Scope.RunID)
	if err != nil {
		return err
	}
	parts, _, err := choose(all, c.Scope.RunID, "", "", c.input("pattern"))
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return failf("merge: run %s has no artifact that matches %s", c.Scope.RunID, c.input("pattern"))
	}
	dir, err := os.MkdirTemp(c.Scope.Dirs.Temp, "merge-*")
	if err != nil {
		return fmt.Errorf("merge artifacts: %w", err)
	}
	defer os.RemoveAll(dir)
	for _, e := range parts {
		to := dir
		if separate {
			to = filepath.Join(dir, e.Name)
		}
		if _, err := c.set.fetchArtifact(ctx, &e, to, c.Scope.Dirs.Temp, false); err != nil {
			return err
		}
	}
	ps := parsePatterns([]string{escapeGlob(dir) + "/*"}, filepath.Clean)
	list, err := ps.glob(search{descend: true, skipHidden: !hidden})
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(f found) bool { return !f.info.Mode().IsRegular() })
	if len(list) == 0 {
		return failf("merge: the artifacts that match %s hold no file to keep", c.input("pattern"))
	}
	if err := c.saveArtifact(ctx, c.input("name"), list, product{root: dir, level: level, days: days}); err != nil || !remove {
		return err
	}
	for _, e := range parts {
		if err := c.set.removeArtifact(e.Run, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// checkArtifactName refuses the names that GitHub refuses, because some file
// system cannot hold them.
func checkArtifactName(name string) error {
	const refused = "\":<>|*?\r\n\\/"
	switch {
	case name == "" || name == "." || name == "..":
		return failf("%q cannot be the name of an artifact", name)
	case len(name) > maxArtifactName:
		return failf("the artifact's name %.60q… is longer than %d bytes", name, maxArtifactName)
	case strings.ContainsAny(name, refused):
		return failf("the artifact's name %q holds one of the characters %q, which names may not have", name, refused)
	}
	return nil
}

// artifactRoot is the directory that the names in the artifact are relative
// to: the least common ancestor of the search roots; for a single file given
// by its name, the directory it is in.
func artifactRoot(roots []string, list []found) string {
	if len(roots) == 1 {
		if len(list) == 1 && list[0].path == roots[0] {
			return filepath.Dir(roots[0])
		}
		return roots[0]
	}
	common := split(roots[0])
	for _, root := range roots[1:] {
		other, n := split(root), 0
		for n < min(len(common), len(other)) && common[n] == other[n] {
			n++
		}
		common = common[:n]
	}
	return join(common)
}

// zip makes a zip file of the list and stores it. It holds names and bytes
// and nothing that differs from machine to machine, so that the same files
// give the same digest.
func (s *Set) zip(ctx context.Context, list []found, root string, level int) (blob.Digest, int64, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := writeZip(ctx, w, list, root, level)
		w.CloseWithError(err)
		done <- err
	}()
	digest, n, err := s.cfg.Blobs.Put(ctx, r)
	r.CloseWithError(errors.New("the store takes no more"))
	if zipErr := <-done; zipErr != nil && (err == nil || errors.As(zipErr, new(failure))) {
		err = zipErr
	}
	return digest, n, err
}

func writeZip(ctx context.Context, w io.Writer, list []found, root string, level int) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	method := zip.Deflate
	if level == 0 {
		method = zip.Store
	}
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, f.path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if strings.ContainsAny(name, "\":<>|*?\r\n") {
			return failf("the file %q cannot be part of an artifact: its name holds one of the characters %q", name, "\":<>|*?\r\n")
		}
		if err := zipFile(z, &zip.FileHeader{Name: name, Method: method}, f.path); err != nil {
			return err
		}
	}
	return z.Close()
}

func zipFile(z *zip.Writer, h *zip.FileHeader, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrPermission) {
		return failf("the file %s cannot be read: %v", file, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func (s *Set) putFile(ctx context.Context, file string) (blob.Digest, int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return s.cfg.Blobs.Put(ctx, f)
}

func mediaType(name string) string {
	if t := mime.TypeByExtension(filepath.Ext(name)); t != "" {
		t, _, _ = strings.Cut(t, ";")
		return t
	}
	return "application/octet-stream"
}

// downloadArtifact is actions/download-artifact.
func downloadArtifact(ctx context.Context, c *call) error {
	merge, err := c.flag("merge-multiple")
	if err != nil {
		return err
	}
	raw, err := c.flag("skip-decompress")
	if err != nil {
		return err
	}
	switch v := c.input("digest-mismatch"); v {
	case "", "error":
	case "ignore", "info", "warn":
		c.warn("the input \"digest-mismatch\" is not used here: an artifact whose bytes are damaged is always an error")
	default:
		return failf("download-artifact: the input \"digest-mismatch\" must be ignore, info, warn or error, not %.80q", v)
	}
	name, ids := c.input("name"), c.input("artifact-ids")
	if name != "" && ids != "" {
		return failf("download-artifact: name and artifact-ids cannot be given both")
	}
	if r := c.input("repository"); r != "" && !strings.EqualFold(r, c.Scope.Change.Repository) {
		return failf("download-artifact: only artifacts of this repository's runs on this machine can be had, not those of %s", r)
	}
	run := c.input("run-id")
	if run == "" {
		run = c.Scope.RunID
	}
	all, err := c.set.artifacts(ctx, run)
	if err != nil {
		return err
	}
	list, single, err := choose(all, run, name, ids, c.input("pattern"))
	if err != nil {
		return err
	}
	dst := c.workspace()
	if p := c.input("path"); p != "" {
		dst = c.absolute(p)
	}
	for _, e := range list {
		to := dst
		if !single && !merge {
			to = filepath.Join(dst, e.Name)
		}
		n, err := c.set.fetchArtifact(ctx, &e, to, c.Scope.Dirs.Temp, raw)
		switch {
		case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
			return failf("download-artifact: the bytes of %s are lost: %v", e.Name, err)
		case errors.Is(err, errHostile):
			return failf("download-artifact: %s is not unpacked: %v", e.Name, err)
		case err != nil:
			return err
		}
		c.say("Artifact %s (%s) is in %s: %d files", e.Name, size(e.Size), to, n)
	}
	if len(list) == 0 {
		c.say("Run %s has no artifact to download.", run)
	}
	c.output("download-path", dst)
	return nil
}

// choose picks the artifacts that the inputs ask for. single says that one is
// meant, which is unpacked without a directory of its own.
func choose(all []artifactEntry, run, name, ids, pattern string) (list []artifactEntry, single bool, err error) {
	have := func() string {
		names := make([]string, len(all))
		for i := range all {
			names[i] = all[i].Name
		}
		if len(names) == 0 {
			return "the run has none"
		}
		return "the run has " + strings.Join(names, ", ")
	}
	switch {
	case name != "":
		i := slices.IndexFunc(all, func(e artifactEntry) bool { return e.Name == name })
		if i < 0 {
			return nil, false, failf("download-artifact: run %s has no artifact named %s; %s", run, name, have())
		}
		return all[i : i+1], true, nil
	case ids != "":
		for text := range strings.SplitSeq(ids, ",") {
			text = strings.TrimSpace(text)
			if text == "" {
				continue
			}
			id, err := strconv.ParseInt(text, 10, 64)
			if err != nil || id <= 0 {
				return nil, false, failf("download-artifact: %.80q is not the ID of an artifact", text)
			}
			i := slices.IndexFunc(all, func(e artifactEntry) bool { return e.ID == id })
			if i < 0 {
				return nil, false, failf("download-artifact: run %s has no artifact with the ID %d; %s", run, id, have())
			}
			list = append(list, all[i])
		}
		if len(list) == 0 {
			return nil, false, failf("download-artifact: artifact-ids names no artifact")
		}
		return list, len(list) == 1, nil
	case pattern != "":
		if !doublestar.ValidatePattern(pattern) {
			return nil, false, failf("download-artifact: %.80q is not a pattern", pattern)
		}
		for _, e := range all {
			// As in a shell, a star does not stand for a leading dot.
			if ok, err := doublestar.Match(pattern, e.Name); err == nil && ok && strings.HasPrefix(e.Name, ".") == strings.HasPrefix(pattern, ".") {
				list = append(list, e)
			}
		}
		return list, false, nil
	}
	return all, false, nil
}

// fetchArtifact puts an artifact into the directory and returns the number of
// files. The blob is copied to temp first: it has proved itself when it was
// read to its end, and only then anything is made of it.
func (s *Set) fetchArtifact(ctx context.Context, e *artifactEntry, dst, temp string, raw bool) (int, error) {
	r, err := s.cfg.Blobs.Open(ctx, e.Digest)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := os.CreateTemp(temp, "artifact-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, r)
	if err != nil {
		return 0, err
	}
	root, err := openRoot(dst)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	if raw || e.Type != zipType {
		name := e.Name
		if e.Type == zipType {
			name += ".zip"
		}
		if err := checkArtifactName(name); err != nil {
			return 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return 1, replaceFile(root, name, f)
	}
	return unzip(ctx, root, f, n)
}

// unzip makes the files of a zip below root. As with the real action
// permissions are not kept.
func unzip(ctx context.Context, root *os.Root, r io.ReaderAt, n int64) (int, error) {
	z, err := zip.NewReader(r, n)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errHostile, err)
	}
	if len(z.File) > maxArtifactEntries {
		return 0, fmt.Errorf("it has more than %d entries: %w", maxArtifactEntries, errHostile)
	}
	files, left := 0, int64(maxArtifactBytes)
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return files, err
		}
		name := strings.TrimSuffix(f.Name, "/")
		if len(name) > maxArchiveName || strings.ContainsAny(name, "\x00\\") || !filepath.IsLocal(name) || path.Clean(name) != name {
			return files, fmt.Errorf("an entry is named %.200q: %w", f.Name, errHostile)
		}
		if name == "." {
			continue
		}
		if f.Mode().IsDir() || strings.HasSuffix(f.Name, "/") {
			if err := root.MkdirAll(name, 0o755); err != nil {
				return files, err
			}
			continue
		}
		if !f.Mode().IsRegular() {
			return files, fmt.Errorf("%.200q is neither a file nor a directory: %w", f.Name, errHostile)
		}
		body, err := f.Open()
		if err != nil {
			return files, fmt.Errorf("%w: %w", errHostile, err)
		}
		limited := &io.LimitedReader{R: body, N: left}
		err = replaceFile(root, name, limited)
		body.Close()
		if err != nil {
			return files, err
		}
		if left = limited.N; left == 0 {
			return files, fmt.Errorf("it unpacks to more than %s: %w", size(maxArtifactBytes), errHostile)
		}
		files++
	}
	return files, nil
}

// replaceFile makes a file below root, in place of one that is there.
func replaceFile(root *os.Root, name string, body io.Reader) error {
	const create = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := root.OpenFile(name, create, 0o644)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = root.MkdirAll(path.Dir(name), 0o755); err == nil {
			f, err = root.OpenFile(name, create, 0o644)
		}
	case errors.Is(err, fs.ErrExist):
		if err = unlink(root, name); err == nil {
			f, err = root.OpenFile(name, create, 0o644)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	return f.Close()
}
