package builtin

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// stashKind tells stashes, which live as long as their run, from artifacts.
const stashKind = "stash"

// archiveKind is what archiveArtifacts leaves.
const archiveKind = "archive"

// level is how hard archives are compressed.
const level = 6

// maxUnzipped bounds what the unzip step unpacks.
const maxUnzipped = 8 << 30

// stash keeps files under a name, for this run.
func stash(k *call) error {
	name := k.arg("name")
	if name == "" {
		return failf("the step stash needs a name")
	}
	include := k.arg("includes")
	if include == "" {
		include = "**"
	}
	names, err := k.selectFiles(k.Dir, include, k.arg("excludes"), k.flag("useDefaultExcludes", true))
	if err != nil {
		return err
	}
	if len(names) == 0 && !k.flag("allowEmpty", false) {
		return failf("No files included in stash ‘%s’", name)
	}
	if _, err := k.keep("stash "+name, stashKind, names); err != nil {
		return err
	}
	k.say("Stashed %d file(s)", len(names))
	return nil
}

// unstash puts the files of a stash into the current directory.
func unstash(k *call) error {
	name := k.arg("name")
	if k.set.cfg.Depot == nil {
		return errNoDepot
	}
	a, err := k.set.cfg.Depot.Artifact(k.Scope.RunID, "stash "+name)
	if err != nil {
		return err
	}
	if a == nil {
		return failf("No such saved stash ‘%s’", name)
	}
	_, err = k.set.cfg.Depot.Fetch(k.ctx, a, depot.Fetch{Dir: k.Dir, Temp: k.Scope.Dirs.Temp, Modes: true})
	return err
}

// errNoDepot is the error of an archive when there is no place for it.
var errNoDepot = errors.New("there is no place for artifacts here")

// keep stores files below the current directory as one artifact of the run. A
// later one of the same name takes its place, as in Jenkins.
func (k *call) keep(name, kind string, names []string) (*depot.Artifact, error) {
	d := k.set.cfg.Depot
	if d == nil {
		return nil, errNoDepot
	}
	list := make([]depot.Found, 0, len(names))
	for _, n := range names {
		file := filepath.Join(k.Dir, n)
		info, err := os.Lstat(file)
		if err != nil {
			return nil, blame("read "+n, err)
		}
		list = append(list, depot.Found{Path: file, Info: info})
	}
	digest, size, err := d.Zip(k.ctx, list, depot.Zip{Root: k.Dir, Level: level, Modes: true})
	var unread *depot.FileError
	if errors.As(err, &unread) {
		return nil, failf("%v", err)
	}
	if err != nil {
		return nil, err
	}
	a := &depot.Artifact{Name: name, Kind: kind, Digest: digest, Size: size, Type: depot.ZipType, Run: k.Scope.RunID, Began: k.Scope.Started}
	if k.Scope.Job != nil {
		a.Job = k.Scope.Job.ID
	}
	return a, d.AddArtifact(a, true)
}

// archiveArtifacts keeps files as the products of the run. All calls of a run
// fill one archive, which in Jenkins has no name either.
func archiveArtifacts(k *call) error {
	k.say("Archiving artifacts")
	include := k.arg("artifacts")
	if include == "" {
		return failf("No artifacts are configured for archiving.")
	}
	names, err := k.selectFiles(k.Dir, include, k.arg("excludes"), k.flag("defaultExcludes", true))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if k.flag("allowEmptyArchive", false) {
			k.say("No artifacts found that match the file pattern \"%s\". Configuration error?", include)
			return nil
		}
		return failf("No artifacts found that match the file pattern \"%s\". Configuration error?", include)
	}
	return k.product(k.arg("as"), names)
}

// publish keeps a directory of pages (publishHTML) as an artifact.
func publish(k *call) error {
	dir := k.arg("reportDir")
	at := *k
	at.Dir = k.path(dir)
	k.say("[htmlpublisher] Archiving HTML reports...")
	names, err := at.selectFiles(at.Dir, "**", "", false)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if k.flag("allowMissing", false) {
			return nil
		}
		return failf("Specified HTML directory '%s' does not exist.", dir)
	}
	err = at.product(k.arg("as"), names)
	k.effects = at.effects
	return err
}

// product keeps files as an artifact and tells of each.
func (k *call) product(name string, names []string) error {
	a, err := k.keep(name, archiveKind, names)
	if err != nil {
		return err
	}
	k.effects.Artifacts = append(k.effects.Artifacts, plan.Artifact{Name: a.Name, Digest: string(a.Digest), Size: a.Size})
	for i, n := range names {
		if i == 20 {
			k.say("  … and %d more", len(names)-i)
			break
		}
		k.say("  %s", n)
	}
	return nil
}

// Tests is what junit tells the pipeline of.
type Tests struct {
	Total   int `json:"totalCount"`
	Failed  int `json:"failCount"`
	Skipped int `json:"skipCount"`
	Passed  int `json:"passCount"`
}

// junit reads test reports: a failed test makes the build unstable.
func junit(k *call) error {
	k.say("Recording test results")
	include := k.arg("testResults")
	names, err := k.selectFiles(k.Dir, include, "", true)
	if err != nil {
		return err
	}
	var sum Tests
	if len(names) == 0 && !k.flag("allowEmptyResults", false) {
		return failf("No test report files were found. Configuration error?")
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(k.Dir, name))
		if err != nil {
			return blame("read "+name, err)
		}
		if below, err := filepath.Rel(k.Scope.Dirs.Workspace, filepath.Join(k.Dir, name)); err == nil && filepath.IsLocal(below) {
			k.effects.Reports = append(k.effects.Reports, filepath.ToSlash(below))
		}
		r, err := harvest.JUnit(f, name)
		f.Close()
		if err != nil {
			return failf("Failed to read test report file %s: %v", name, err)
		}
		sum.Passed += r.Passed
		sum.Failed += r.Failed
		sum.Skipped += r.Skipped
		for _, bad := range r.Bad {
			k.effects.Notes = append(k.effects.Notes, plan.Annotation{Level: plan.ErrorLevel, Title: bad.Name, Message: bad.Message, File: bad.File, Line: bad.Line})
		}
	}
	sum.Total = sum.Passed + sum.Failed + sum.Skipped
	if sum.Total == 0 && !k.flag("allowEmptyResults", false) {
		return failf("None of the test reports contained any result")
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	k.output(OutJSON, string(text))
	if sum.Failed > 0 && !k.flag("skipMarkingBuildUnstable", false) {
		k.output(OutWorse, "UNSTABLE")
	}
	return nil
}

// checkout puts the run's tree into a directory. The job's workspace holds it
// from the beginning.
func checkout(k *call) error {
	change := k.Scope.Change
	if k.Dir == k.Scope.Dirs.Workspace && !k.flag("again", false) {
		k.say("The workspace holds your tree as it is: %s", change.SHA)
		return nil
	}
	if k.set.cfg.Trees == nil {
		return failf("the tree cannot be put into %s here: there is no git", k.Dir)
	}
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		return blame("checkout", err)
	}
	entries, err := os.ReadDir(k.Dir)
	switch {
	case err != nil:
		return blame("checkout", err)
	case len(entries) > 0:
		// What else is there stays, as with git.
		err = k.copyOver()
	default:
		err = k.set.cfg.Trees.Copy(k.ctx, k.Scope, k.Dir)
	}
	if err != nil {
		return err
	}
	k.say("Your tree as it is (%s) is in %s", change.SHA, k.Dir)
	return nil
}

// copyOver puts the tree over what is in the directory.
func (k *call) copyOver() error {
	aside, err := os.MkdirTemp(k.Scope.Dirs.Temp, "checkout-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	from := filepath.Join(aside, "tree")
	if err := k.set.cfg.Trees.Copy(k.ctx, k.Scope, from); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == from {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		to := filepath.Join(k.Dir, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return move(file, to, d)
	})
}

// move gives a file another name, on another disk if need be.
func move(from, to string, d fs.DirEntry) error {
	if os.Rename(from, to) == nil {
		return nil
	}
	if d.Type()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	info, err := d.Info()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// zipFiles packs files of a directory into a zip file of the workspace.
func zipFiles(k *call) error {
	from := k.path(k.arg("dir"))
	include := k.arg("glob")
	if include == "" {
		include = "**"
	}
	names, err := k.selectFiles(from, include, k.arg("exclude"), k.flag("defaultExcludes", true))
	if err != nil {
		return err
	}
	target := k.path(k.arg("zipFile"))
	if _, err := os.Stat(target); err == nil && !k.flag("overwrite", false) {
		return failf("%s exists.", target)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return blame("write "+target, err)
	}
	out, err := os.Create(target)
	if err != nil {
		return blame("write "+target, err)
	}
	defer out.Close()
	w := zip.NewWriter(out)
	for _, name := range names {
		file := filepath.Join(from, name)
		if file == target {
			continue
		}
		if err := zipOne(w, file, name); err != nil {
			return blame("zip "+name, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	k.say("Zipped %d entries.", len(names))
	return out.Close()
}

func zipOne(w *zip.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Time{}}
	h.SetMode(info.Mode().Perm())
	to, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return err
}

// unzip unpacks a zip file of the workspace, and nothing of it outside of the
// directory.
func unzip(k *call) error {
	name := k.arg("zipFile")
	r, err := zip.OpenReader(k.path(name))
	if err != nil {
		if errors.Is(err, zip.ErrFormat) {
			return failf("%s is not a zip file", name)
		}
		return blame("read "+name, err)
	}
	defer r.Close()
	dir := k.path(k.arg("dir"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return blame("unzip "+name, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return blame("unzip "+name, err)
	}
	defer root.Close()
	left := int64(maxUnzipped)
	for _, f := range r.File {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		inside := strings.TrimSuffix(filepath.FromSlash(f.Name), string(filepath.Separator))
		if !filepath.IsLocal(inside) {
			return failf("%s holds the name %.80q, which leads out of the directory", name, f.Name)
		}
		if f.FileInfo().IsDir() {
			if err := root.MkdirAll(inside, 0o755); err != nil {
				return blame("unzip "+f.Name, err)
			}
			continue
		}
		n, err := unzipOne(root, f, inside, left)
		if err != nil {
			return blame("unzip "+f.Name, err)
		}
		if left -= n; left < 0 {
			return failf("%s unpacks to more than %d bytes", name, maxUnzipped)
		}
	}
	k.say("Extracted: %d files", len(r.File))
	return nil
}

func unzipOne(root *os.Root, f *zip.File, name string, limit int64) (int64, error) {
	if !f.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no plain file: %w", f.Name, fs.ErrInvalid)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	in, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, f.Mode().Perm()|0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	if err != nil {
		return n, err
	}
	return n, out.Close()
}
