package builtin

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	maxArtifactName  = 255
	maxRetentionDays = 400
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

	ps := depot.ParsePatterns(c.lines("path"), c.absolute)
	list, err := ps.Glob(depot.Search{Descend: true, SkipHidden: !hidden})
	if errors.Is(err, depot.ErrTooMany) {
		return failf("upload-artifact: %v", err)
	}
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(f depot.Found) bool { return !f.Info.Mode().IsRegular() })
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
		name = filepath.Base(list[0].Path)
	}
	return c.saveArtifact(ctx, name, list, product{root: artifactRoot(ps, list), level: level, days: days, raw: !zipped, overwrite: overwrite})
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
func (c *call) saveArtifact(ctx context.Context, name string, list []depot.Found, p product) error {
	if err := checkArtifactName(name); err != nil {
		return err
	}
	e := &depot.Artifact{Name: name, Type: depot.ZipType, Run: c.Scope.RunID, Began: c.Scope.Started}
	if c.Scope.Job != nil {
		e.Job = c.Scope.Job.ID
	}
	if p.days > 0 {
		e.Expires = time.Now().UTC().AddDate(0, 0, p.days)
	}
	taken := failf("%s: this run has an artifact named %q already; a name can be used once, unless it is overwritten", path.Base(c.action.Name), name)
	old, err := c.set.depot.Artifact(e.Run, name)
	if err != nil {
		return err
	}
	if old != nil && !p.overwrite && !old.Replaceable(e.Job, e.Began) {
		return taken
	}
	if p.raw {
		e.Type = mediaType(name)
		e.Digest, e.Size, err = c.set.depot.Put(ctx, list[0].Path)
	} else {
		if err := checkFileNames(list, p.root); err != nil {
			return err
		}
		e.Digest, e.Size, err = c.set.depot.Zip(ctx, list, depot.Zip{Root: p.root, Level: p.level})
	}
	var unreadable *depot.FileError
	if errors.As(err, &unreadable) {
		return failf("%v", unreadable)
	}
	if err != nil {
		return err
	}
	err = c.set.depot.AddArtifact(e, p.overwrite)
	if errors.Is(err, depot.ErrTaken) {
		return taken
	}
	if err != nil {
		return err
	}
	c.say("Artifact %s saved: %d files, %s, %s", name, len(list), size(e.Size), e.Digest)
	c.effects.Artifacts = append(c.effects.Artifacts, recorded(e))
	c.output("artifact-id", strconv.FormatInt(e.ID, 10))
	c.output("artifact-url", fmt.Sprintf("fairlead://runs/%s/artifacts/%d", e.Run, e.ID))
	c.output("artifact-digest", e.Digest.Hex())
	return nil
}

// recorded is the artifact as the record has it.
func recorded(e *depot.Artifact) plan.Artifact {
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
	all, err := c.set.depot.Artifacts(ctx, c.Scope.RunID)
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
		if _, err := c.set.depot.Fetch(ctx, &e, depot.Fetch{Dir: to, Temp: c.Scope.Dirs.Temp}); err != nil {
			return err
		}
	}
	ps := depot.ParsePatterns([]string{escapeGlob(dir) + "/*"}, filepath.Clean)
	list, err := ps.Glob(depot.Search{Descend: true, SkipHidden: !hidden})
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(f depot.Found) bool { return !f.Info.Mode().IsRegular() })
	if len(list) == 0 {
		return failf("merge: the artifacts that match %s hold no file to keep", c.input("pattern"))
	}
	if err := c.saveArtifact(ctx, c.input("name"), list, product{root: dir, level: level, days: days}); err != nil || !remove {
		return err
	}
	for _, e := range parts {
		if err := c.set.depot.RemoveArtifact(&e); err != nil {
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
func artifactRoot(paths depot.Patterns, list []depot.Found) string {
	root := paths.Ancestor()
	if len(list) == 1 && list[0].Path == root {
		return filepath.Dir(root)
	}
	return root
}

// checkFileNames refuses the names that GitHub refuses in artifacts.
func checkFileNames(list []depot.Found, root string) error {
	const refused = "\":<>|*?\r\n"
	for _, f := range list {
		rel, err := filepath.Rel(root, f.Path)
		if err != nil {
			return err
		}
		if name := filepath.ToSlash(rel); strings.ContainsAny(name, refused) {
			return failf("the file %q cannot be part of an artifact: its name holds one of the characters %q", name, refused)
		}
	}
	return nil
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
	if strings.Trim(run, "0123456789") != "" {
		return failf("download-artifact: %.80q is not the number of a run", run)
	}
	all, err := c.set.depot.Artifacts(ctx, run)
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
		n, err := c.set.depot.Fetch(ctx, &e, depot.Fetch{Dir: to, Temp: c.Scope.Dirs.Temp, Raw: raw})
		switch {
		case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
			return failf("download-artifact: the bytes of %s are lost: %v", e.Name, err)
		case errors.Is(err, depot.ErrHostile):
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
func choose(all []depot.Artifact, run, name, ids, pattern string) (list []depot.Artifact, single bool, err error) {
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
		i := slices.IndexFunc(all, func(e depot.Artifact) bool { return e.Name == name })
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
			i := slices.IndexFunc(all, func(e depot.Artifact) bool { return e.ID == id })
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
