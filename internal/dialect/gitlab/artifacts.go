package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A job leaves an archive of files, and a report of each kind that it names.
// The depot has them under names that are the job's own: "archive", and the
// kind of the report.
const archiveName = "archive"

// zipLevel is how hard artifacts are compressed.
const zipLevel = 5

// artifacts is what the job leaves: what it says, and its site, if it makes one.
// It is nil when that is nothing.
func (s *jobSpec) artifacts() *artifactsSpec {
	if s.Pages == nil {
		return s.Artifacts
	}
	a := artifactsSpec{When: ifSuccess}
	if s.Artifacts != nil {
		a = *s.Artifacts
	}
	if a.ExpireIn == "" {
		a.ExpireIn = s.Pages.ExpireIn
	}
	if !slices.Contains(a.Paths, s.Pages.Publish) && !slices.Contains(a.Paths, s.Pages.Publish+"/") {
		a.Paths = append(slices.Clip(a.Paths), s.Pages.Publish)
	}
	return &a
}

// forget takes away what an earlier attempt at the job has left: that attempt
// counts no more.
func (n *session) forget(s *plan.Scope) error {
	a := n.spec.artifacts()
	if a == nil || n.d.cfg.Depot == nil {
		return nil
	}
	for _, name := range append(slices.Collect(maps.Keys(a.reports())), archiveName) {
		old, err := n.d.cfg.Depot.Own(s.RunID, n.spec.ID, name)
		if err == nil && old != nil {
			err = n.d.cfg.Depot.RemoveArtifact(old)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reports are the paths by the kind of report, coverage reports among them.
func (a *artifactsSpec) reports() map[string][]string {
	if a.CoveragePath == "" {
		return a.Reports
	}
	all := map[string][]string{cmp.Or(a.CoverageFormat, "cobertura"): {a.CoveragePath}}
	maps.Copy(all, a.Reports)
	return all
}

// nothingToDownload reports whether none of the jobs has left files, so that
// the workspace is not needed for that.
func (n *session) nothingToDownload(s *plan.Scope) (bool, error) {
	if n.d.cfg.Depot == nil {
		return true, nil
	}
	for _, d := range n.spec.Downloads {
		if d.Project != "" {
			return false, nil // which of its runs is the newest is found out in earnest
		}
		if a, err := n.d.cfg.Depot.Own(s.RunID, d.Job, archiveName); a != nil || err != nil {
			return false, err
		}
	}
	return true, nil
}

// download lays the artifacts of other jobs over the workspace.
func (w *work) download(ctx context.Context) error {
	if w.d.cfg.Depot == nil {
		w.warn("artifacts are not kept here")
		return nil
	}
	for _, d := range w.spec.Downloads {
		run, job := w.s.RunID, d.Job
		if d.Project != "" {
			if run, job = w.upstream(ctx, &d); run == "" {
				return nil
			}
			d.Name = fmt.Sprintf("%s of %s, run %s", job, w.env.text(d.Project), run)
		}
		a, err := w.d.cfg.Depot.Own(run, job, archiveName)
		if err != nil {
			return err
		}
		if a == nil && d.Project != "" {
			w.fail("%s has left no artifacts", d.Name)
			return nil
		}
		if a == nil {
			continue // the job had none to leave, which is nobody's failure
		}
		var n int
		if err = errExpired; a.Expires.IsZero() || time.Now().Before(a.Expires) {
			n, err = w.d.cfg.Depot.Fetch(ctx, a, depot.Fetch{Dir: w.s.Dirs.Workspace, Temp: w.s.Dirs.Temp, Modes: true})
		}
		lost := errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, errExpired)
		switch {
		case lost && d.Required:
			w.fail("the artifacts of %s are lost: %v", d.Name, err)
			return nil
		case lost:
			w.warn("the artifacts of %s are lost: %v", d.Name, err)
		case errors.Is(err, depot.ErrHostile):
			w.fail("the artifacts of %s are not unpacked: %v", d.Name, err)
			return nil
		case err != nil:
			return err
		default:
			w.say("Downloaded artifacts of %s: %d files", d.Name, n)
		}
	}
	return nil
}

// upstream is the newest run of another project whose job went well; "" when it
// cannot be had, which ends the step in error.
func (w *work) upstream(ctx context.Context, d *download) (run, job string) {
	project, ref, name := w.env.text(d.Project), w.env.text(d.Ref), w.env.text(d.Job)
	err := errors.New("the runs of other projects are not known here")
	if w.d.cfg.Upstream != nil {
		run, job, err = w.d.cfg.Upstream(ctx, w.s.RunID, project, ref, name)
	}
	if err != nil {
		w.fx.Lacking = oneLine(fmt.Sprintf("the artifacts of %s in project %s at %s cannot be had: %v; run that project here first, on that ref, or write artifacts: false", name, project, ref, err))
		fmt.Fprintln(w.log, "ERROR: "+w.fx.Lacking)
		return "", ""
	}
	return run, job
}

var errExpired = errors.New("they have expired")

// upload keeps what the job leaves. It is asked for the archive and for the
// reports; what was not found is told and harms nobody.
func (w *work) upload(ctx context.Context) error {
	spec := w.spec.artifacts()
	if w.d.cfg.Depot == nil {
		w.warn("artifacts are not kept here")
	} else if (len(spec.Paths) > 0 || spec.Untracked) && ends(spec.When, w.s.Status) {
		if err := w.archive(ctx, spec); err != nil || w.fx.Fail != "" {
			return err
		}
		if w.spec.Pages != nil {
			w.say("The site in %s is kept with the artifacts, and not published.", w.env.text(w.spec.Pages.Publish))
		}
	}
	reports := spec.reports()
	for _, kind := range slices.Sorted(maps.Keys(reports)) {
		if err := w.report(ctx, kind, reports[kind]); err != nil || w.fx.Fail != "" {
			return err
		}
	}
	return nil
}

// archive keeps the files that later jobs get.
func (w *work) archive(ctx context.Context, spec *artifactsSpec) error {
	w.say("Uploading artifacts...")
	list, err := w.collect(ctx, selection{paths: spec.Paths, exclude: spec.Exclude, untracked: spec.Untracked})
	if errors.Is(err, depot.ErrTooMany) {
		w.fail("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if len(list) == 0 {
		w.warn("there are no files to upload: nothing matches %s", strings.Join(spec.Paths, ", "))
		return nil
	}
	name := cmp.Or(w.env.text(spec.Name), "artifacts")
	a, err := w.keep(ctx, archiveName, list, spec.ExpireIn)
	if a == nil || err != nil {
		return err
	}
	w.fx.Artifacts = append(w.fx.Artifacts, plan.Artifact{Name: name, Digest: string(a.Digest), Size: a.Size})
	w.say("Artifacts of %s are kept as %s: %d bytes, %s", w.spec.Name, name, a.Size, a.Digest)
	if spec.ExposeAs != "" {
		w.fx.Notes = append(w.fx.Notes, plan.Annotation{Level: plan.Notice, Title: spec.ExposeAs, Message: "artifact " + name})
	}
	return nil
}

// keep makes an artifact of files. It is nil when the user's files cannot be
// kept, which fails the step.
func (w *work) keep(ctx context.Context, name string, list []depot.Found, expire string) (*depot.Artifact, error) {
	a := &depot.Artifact{Name: name, Type: depot.ZipType, Run: w.s.RunID, Job: w.spec.ID, Began: w.s.Started, Own: true}
	// What is no duration means for ever: "never", or a text whose author was
	// told so.
	if d, err := parseDuration(w.env.text(expire)); err == nil && d > 0 {
		a.Expires = time.Now().UTC().Add(d)
	}
	var err error
	a.Digest, a.Size, err = w.d.cfg.Depot.Zip(ctx, list, depot.Zip{Root: w.s.Dirs.Workspace, Level: zipLevel, Modes: true})
	if unreadable := new(depot.FileError); errors.As(err, &unreadable) {
		w.fail("%v", unreadable)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return a, w.d.cfg.Depot.AddArtifact(a, true)
}

// release tells of a release that GitLab would make. Here the forge's own
// people make them.
func (w *work) release() {
	r := w.spec.Release
	text := func(s string) string { return w.env.text(s) }
	tag := text(r.TagName)
	name := cmp.Or(text(r.Name), tag)
	w.say("Release %s of tag %s is recorded, and not made: no code host is asked from here.", name, tag)
	var b strings.Builder
	fmt.Fprintf(&b, "### Release %s\n\nTag `%s`", oneLine(name), oneLine(tag))
	if ref := text(r.Ref); ref != "" {
		fmt.Fprintf(&b, " at `%s`", oneLine(ref))
	}
	b.WriteString("\n")
	if d := text(r.Description); d != "" {
		fmt.Fprintf(&b, "\n%s\n", w.descriptionOf(d))
	}
	for _, l := range r.Links {
		fmt.Fprintf(&b, "\n- [%s](%s)", oneLine(text(l.Name)), oneLine(text(l.URL)))
	}
	w.fx.Summary = append(w.fx.Summary, b.String()...)
	w.fx.Notes = append(w.fx.Notes, plan.Annotation{
		Level: plan.Notice, Title: "Release", Message: fmt.Sprintf("release %s of tag %s was not made on the code host", oneLine(name), oneLine(tag)),
		File: r.Source.File, Line: r.Source.Line,
	})
	w.fx.Outputs = append(w.fx.Outputs, plan.Setting{Name: "tag_name", Value: tag}, plan.Setting{Name: "name", Value: name})
}

// descriptionOf is a release's description: the text, or what is in the file of
// that name.
func (w *work) descriptionOf(text string) string {
	const longest = 1 << 20
	if strings.Contains(text, "\n") || len(text) > 255 {
		return text
	}
	root, err := os.OpenRoot(w.s.Dirs.Workspace)
	if err != nil {
		return text
	}
	defer root.Close()
	f, err := root.Open(filepath.Clean(text))
	if err != nil {
		return text
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil || len(body) == 0 {
		return text
	}
	return string(body)
}

// maxPipelineFile bounds a pipeline file that a job has made.
const maxPipelineFile = 1 << 20

// artifactFile reads a file from the artifacts of a job of this run: what a
// trigger's include:artifact names. A *dialect.ProblemError says that it is
// not there.
func (d *Dialect) artifactFile(ctx context.Context, s *plan.Scope, job, name string, at plan.Source) ([]byte, error) {
	lost := func(lacking bool, message, hint string) error {
		return &dialect.ProblemError{Lacking: lacking, Problem: plan.Problem{Source: at, Severity: plan.Error, Rule: "include", Message: message, Hint: hint}}
	}
	if d.cfg.Depot == nil {
		return nil, lost(true, "artifacts are not kept here, so there is no "+name, "")
	}
	a, err := d.cfg.Depot.Own(s.RunID, job, archiveName)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, lost(false, fmt.Sprintf("job %s has left no artifacts, and %s was to be among them", job, name), "add it to the job's artifacts:paths")
	}
	body, err := d.cfg.Depot.ReadFile(ctx, a, name, os.TempDir(), maxPipelineFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, lost(false, fmt.Sprintf("the artifacts of job %s hold no %s", job, name), "add it to the job's artifacts:paths")
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return nil, lost(true, fmt.Sprintf("the artifacts of job %s are lost: %v", job, err), "run the job again")
	}
	return body, err
}
