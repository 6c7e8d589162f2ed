package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// files are the tasks that move files, artifacts and caches.
func files() []*Task {
	return []*Task{
		{Name: "CopyFiles", Versions: []int{1, 2}, required: []string{"targetfolder"}, do: copyFiles},
		{Name: "DeleteFiles", Versions: []int{1}, do: deleteFiles},
		{Name: "ArchiveFiles", Versions: []int{1, 2}, names: map[string]string{"rootfolder": "rootfolderorfile"}, do: archiveFiles},
		{Name: "ExtractFiles", Versions: []int{1}, required: []string{"destinationfolder"}, do: extractFiles},
		{Name: "PublishPipelineArtifact", Versions: []int{0, 1}, names: map[string]string{"path": "targetpath", "publish": "targetpath", "artifactname": "artifact"}, do: publishArtifact},
		{Name: "PublishBuildArtifacts", Versions: []int{1}, names: map[string]string{"pathtopublish": "targetpath", "artifactname": "artifact"}, do: publishArtifact},
		{Name: "DownloadPipelineArtifact", Versions: []int{0, 1, 2}, names: map[string]string{"artifactname": "artifact", "targetpath": "path", "downloadpath": "path", "itempattern": "patterns", "source": "buildtype"}, do: downloadArtifact},
		{Name: "DownloadBuildArtifacts", Versions: []int{0, 1}, names: map[string]string{"artifactname": "artifact", "downloadpath": "path", "itempattern": "patterns"}, do: downloadArtifact},
		{Name: "Cache", Versions: []int{2}, Post: true, required: []string{"key", "path"}, do: restoreCache, post: saveCache},
		{Name: "CacheBeta", Versions: []int{0, 1}, Post: true, required: []string{"key", "path"}, do: restoreCache, post: saveCache},
		{Name: "PublishTestResults", Versions: []int{1, 2}, do: publishTests},
		{Name: "PublishCodeCoverageResults", Versions: []int{1, 2}, do: publishCoverage},
		{Name: "Delay", Versions: []int{1}, do: delay},
		{Name: "ManualValidation", Versions: []int{0, 1}, do: validated},
		{Name: "ManualIntervention", Versions: []int{8}, do: validated},
	}
}

// find finds files by patterns relative to a directory; ! takes out again.
func (c *call) find(dir string, patterns []string, how depot.Search) ([]depot.Found, error) {
	if c.Scope.Paper {
		return nil, dialect.ErrPaper
	}
	var lines []string
	for _, p := range patterns {
		lines = append(lines, depot.Alternatives(strings.ReplaceAll(p, `\`, "/"))...)
	}
	list, err := depot.ParsePatterns(lines, func(p string) string { return c.pathBelow(dir, p) }).Glob(how)
	switch {
	case errors.Is(err, depot.ErrTooMany):
		return nil, failf("%s: the patterns match more files than can be handled", c.task.Name)
	case err != nil:
		return nil, fmt.Errorf("look for %s: %w", strings.Join(patterns, ", "), err)
	}
	if !how.Descend {
		list = slices.DeleteFunc(list, func(f depot.Found) bool { return !f.Info.Mode().IsRegular() })
	}
	return list, nil
}

// allowed refuses places that no step of a job has business with: those that
// are neither the job's own nor below the user's choice of an absolute path.
func (c *call) allowed(dir string) error {
	if d := c.Scope.Dirs; depot.Within(d.Workspace, dir) || depot.Within(d.Temp, dir) {
		return nil
	}
	return failf("%s: %s is neither in the sources nor in the job's other directories", c.task.Name, dir)
}

func copyFiles(ctx context.Context, c *call) error {
	from := c.path(c.input("SourceFolder"))
	to := c.path(c.input("TargetFolder"))
	if err := c.allowed(to); err != nil {
		return err
	}
	patterns := c.lines("Contents")
	if len(patterns) == 0 {
		patterns = []string{"**"}
	}
	list, err := c.find(from, patterns, depot.Search{})
	if err != nil {
		return err
	}
	if c.flag("CleanTargetFolder", false) {
		if err := empty(to); err != nil {
			return err
		}
	}
	over, flat, times := c.flag("OverWrite", false), c.flag("flattenFolders", false), c.flag("preserveTimestamp", false)
	copied := 0
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if to != from && depot.Within(to, f.Path) && !depot.Within(to, from) {
			continue // what was copied is not copied again
		}
		rel, err := filepath.Rel(from, f.Path)
		if err != nil || !filepath.IsLocal(rel) || flat {
			rel = filepath.Base(f.Path)
		}
		dst := filepath.Join(to, rel)
		if dst == f.Path {
			continue
		}
		if _, err := os.Lstat(dst); err == nil && !over {
			c.say("Left as it is: %s", dst)
			continue
		}
		if err := copyFile(f.Path, to, rel, f.Info, times); err != nil {
			return err
		}
		copied++
	}
	c.say("Copied %d files to %s", copied, to)
	return nil
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, e := range entries {
		if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file to rel below a directory, which links must not lead
// out of.
func copyFile(from, dir, rel string, info fs.FileInfo, times bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if parent := filepath.Dir(rel); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := root.RemoveAll(rel); err != nil {
		return err
	}
	out, err := root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Close()
	} else {
		_ = out.Close()
	}
	if err == nil && times {
		err = root.Chtimes(rel, time.Time{}, info.ModTime())
	}
	return err
}

func deleteFiles(ctx context.Context, c *call) error {
	from := c.path(c.input("SourceFolder"))
	if err := c.allowed(from); err != nil {
		return err
	}
	patterns := c.lines("Contents")
	if len(patterns) == 0 {
		patterns = []string{"myFileShare"} // the task's own default
	}
	list, err := c.find(from, patterns, depot.Search{Links: true, Descend: true})
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(from)
	if errors.Is(err, fs.ErrNotExist) {
		c.say("There is no %s", from)
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	gone := 0
	for _, p := range patterns { // a directory that is named goes as a whole
		if rel := filepath.FromSlash(strings.Trim(strings.ReplaceAll(p, `\`, "/"), "/")); filepath.IsLocal(rel) && rel != "." && !strings.ContainsAny(rel, "*?[!{") {
			if _, err := root.Lstat(rel); err == nil {
				gone++
				if err := root.RemoveAll(rel); err != nil {
					return err
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b depot.Found) int { return len(b.Path) - len(a.Path) }) // what is inside goes first
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, f.Path)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			continue
		}
		switch err := root.RemoveAll(rel); {
		case err == nil:
			gone++
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if c.flag("RemoveSourceFolder", false) && from != c.Scope.Dirs.Workspace {
		if err := os.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.warn("the folder %s is not empty, and stays", from)
		}
	}
	c.say("Deleted %d files", gone)
	return nil
}

func publishArtifact(ctx context.Context, c *call) error {
	target := c.path(c.input("targetPath"))
	if c.task.Name == "PublishBuildArtifacts" && c.input("targetPath") == "" {
		target = c.Staging
	}
	name := c.input("artifact")
	if name == "" && c.task.Name == "PublishBuildArtifacts" {
		name = "drop"
	}
	if name == "" && c.Scope.Job != nil {
		name = strings.ReplaceAll(strings.TrimSuffix(c.Scope.Job.ID, "/job"), "/", ".")
	}
	if where := strings.ToLower(c.input("publishLocation", "artifactType")); where == "filepath" {
		return failf("%s: artifacts are kept here and not on a file share", c.task.Name)
	}
	return c.save(ctx, name, target)
}

// save keeps a file or a directory as an artifact of the run.
func (c *call) save(ctx context.Context, name, target string) error {
	store := c.set.cfg.Depot
	if store == nil {
		return lacking{"there is no place for artifacts here", ""}
	}
	if strings.ContainsAny(name, "\"\\/:|<>*?\n\r") || strings.TrimSpace(name) == "" {
		return failf("%s: %.80q cannot be the name of an artifact", c.task.Name, name)
	}
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return failf("%s: there is no %s", c.task.Name, target)
	}
	if err != nil {
		return err
	}
	root := target
	list := []depot.Found{{Path: target, Info: info}}
	if info.IsDir() {
		patterns := []string{"**"}
		if body, err := os.ReadFile(filepath.Join(target, ".artifactignore")); err == nil {
			for line := range strings.SplitSeq(string(body), "\n") {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '!' {
					patterns = append(patterns, "!"+line)
				} else if strings.HasPrefix(line, "!") {
					patterns = append(patterns, line[1:])
				}
			}
		}
		if list, err = c.find(target, patterns, depot.Search{}); err != nil {
			return err
		}
	} else {
		root = filepath.Dir(target)
	}
	if len(list) == 0 {
		c.warn("%s is empty; nothing was saved as %s", target, name)
		return nil
	}
	merges := c.task.Name == "PublishBuildArtifacts" // several jobs may add to one
	if merges {
		dir, err := c.together(ctx, name, root, list)
		if err != nil {
			return err
		}
		if dir != "" {
			defer os.RemoveAll(dir)
			root = dir
			if list, err = c.find(dir, []string{"**"}, depot.Search{}); err != nil {
				return err
			}
		}
	}
	a := &depot.Artifact{Name: name, Type: depot.ZipType, Run: c.Scope.RunID, Began: c.Scope.Started}
	if c.Scope.Job != nil {
		a.Job = c.Scope.Job.ID
	}
	const level = 6
	if a.Digest, a.Size, err = store.Zip(ctx, list, depot.Zip{Root: root, Level: level, Modes: true}); err != nil {
		var unreadable *depot.FileError
		if errors.As(err, &unreadable) {
			return failf("%v", unreadable)
		}
		return err
	}
	err = store.AddArtifact(a, merges)
	if errors.Is(err, depot.ErrTaken) {
		return failf("%s: this run has an artifact named %q already", c.task.Name, name)
	}
	if err != nil {
		return err
	}
	c.say("Artifact %s saved: %d files, %d bytes, %s", name, len(list), a.Size, a.Digest)
	c.effects.Artifacts = append(c.effects.Artifacts, plan.Artifact{Name: a.Name, Digest: string(a.Digest), Size: a.Size})
	return nil
}

// together is a directory with what an artifact holds already and the files of
// the list; "" when there is no such artifact.
func (c *call) together(ctx context.Context, name, root string, list []depot.Found) (dir string, err error) {
	old, err := c.set.cfg.Depot.Artifact(c.Scope.RunID, name)
	if err != nil || old == nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(c.Scope.Dirs.Temp, "publish-*"); err != nil {
		return "", err
	}
	_, err = c.set.cfg.Depot.Fetch(ctx, old, depot.Fetch{Dir: dir, Temp: c.Scope.Dirs.Temp, Modes: true})
	for _, f := range list {
		if err != nil {
			break
		}
		var rel string
		if rel, err = filepath.Rel(root, f.Path); err == nil {
			err = copyFile(f.Path, dir, rel, f.Info, false)
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func downloadArtifact(ctx context.Context, c *call) error {
	what := c.input("download")
	if strings.EqualFold(what, "none") {
		c.say("Nothing is downloaded: download: none")
		return nil
	}
	if other := c.input("buildType"); what != "" && !strings.EqualFold(what, "current") || strings.EqualFold(other, "specific") {
		return lacking{fmt.Sprintf("%s: artifacts of other pipelines (%s) are not here", c.task.Name, c.input("download", "pipeline", "definition")), "download them with a script, or leave the step out of this run"}
	}
	store := c.set.cfg.Depot
	if store == nil {
		return lacking{"there is no place for artifacts here", ""}
	}
	all, err := store.Artifacts(ctx, c.Scope.RunID)
	if err != nil {
		return err
	}
	name := c.input("artifact")
	given := c.input("path") != ""
	base := c.pathBelow(c.Work, c.input("path"))
	if !given && c.task.Name == "DownloadBuildArtifacts" {
		base = c.Staging
	}
	if err := c.allowed(base); err != nil {
		return err
	}
	found := 0
	for i := range all {
		a := &all[i]
		if a.Own || name != "" && !strings.EqualFold(a.Name, name) {
			continue
		}
		dir := base // one artifact is put where it is wanted; several, and those of the step download:, each in its own directory
		if name == "" || !given && what != "" || c.task.Name == "DownloadBuildArtifacts" {
			dir = filepath.Join(base, a.Name)
		}
		n, err := c.fetch(ctx, a, dir)
		if err != nil {
			return err
		}
		found++
		c.say("Artifact %s: %d files in %s", a.Name, n, dir)
	}
	if found == 0 && name != "" {
		return failf("%s: this run has no artifact %q", c.task.Name, name)
	}
	if found == 0 && !c.flag("optional", false) {
		c.say("This run has no artifacts")
	}
	return nil
}

// fetch puts an artifact into a directory: all of it, or what matches.
func (c *call) fetch(ctx context.Context, a *depot.Artifact, dir string) (int, error) {
	how := depot.Fetch{Dir: dir, Temp: c.Scope.Dirs.Temp, Modes: true}
	patterns := c.lines("patterns")
	if len(patterns) == 0 || len(patterns) == 1 && patterns[0] == "**" {
		return c.set.cfg.Depot.Fetch(ctx, a, how)
	}
	whole, err := os.MkdirTemp(c.Scope.Dirs.Temp, "download-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(whole)
	below := filepath.Join(whole, a.Name) // patterns may begin with the artifact's name
	how.Dir = below
	if _, err := c.set.cfg.Depot.Fetch(ctx, a, how); err != nil {
		return 0, err
	}
	var both []string
	for _, p := range patterns {
		not, p := strings.HasPrefix(p, "!"), strings.TrimPrefix(p, "!")
		for _, q := range []string{p, a.Name + "/" + p} {
			if not {
				q = "!" + q
			}
			both = append(both, q)
		}
	}
	list, err := c.find(whole, both, depot.Search{})
	for _, f := range list {
		rel, _ := filepath.Rel(below, f.Path)
		if err := copyFile(f.Path, dir, rel, f.Info, false); err != nil {
			return 0, err
		}
	}
	return len(list), err
}

func publishCoverage(_ context.Context, c *call) error {
	patterns := c.lines("summaryFileLocation")
	list, err := c.find(c.Scope.Dirs.Workspace, patterns, depot.Search{})
	if err != nil {
		return err
	}
	switch {
	case len(list) == 0 && c.flag("failIfCoverageEmpty", false):
		return failf("PublishCodeCoverageResults: no file matches %s", strings.Join(patterns, ", "))
	case len(list) == 0:
		c.warn("no coverage report matches %s", strings.Join(patterns, ", "))
	}
	for _, f := range list {
		c.say("Coverage report: %s", f.Path)
	}
	return nil
}

// delay waits, as long as it says.
func delay(ctx context.Context, c *call) error {
	d, err := time.ParseDuration(c.input("delayForMinutes") + "m")
	if err != nil {
		d = 0
	}
	c.say("Waiting for %s", d)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// validated is what is left of a question to a person: the job only began
// because one let it.
func validated(_ context.Context, c *call) error {
	c.say("A person let this go on")
	return nil
}
