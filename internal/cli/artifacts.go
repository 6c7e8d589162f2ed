package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// keptFile is an artifact of a job.
type keptFile struct {
	Job string `json:"job"`
	plan.Artifact
	Remark string `json:"remark,omitempty"`
}

// artifactsCommand is `fairlead artifacts`.
func (g *global) artifactsCommand() *cobra.Command {
	var at site
	var dir, job, out string
	c := &cobra.Command{
		Use:   "artifacts RUN [NAME]",
		Short: "List the files that a run kept, or fetch one",
		Long: `List the files that a run kept. With a NAME, fetch that one: into a file of its name
in this directory, or where --out says. What is there already is not overwritten.

RUN is a number, or counted back: last or -1, -2 …`,
		Example: `  fairlead artifacts last
  fairlead artifacts 12 coverage --out coverage.zip
  fairlead artifacts 12 notes --out - --server https://ci.example.org`,
		Args:              args("RUN", "[NAME]"),
		ValidArgsFunction: g.completeRuns,
	}
	f := c.Flags()
	f.StringVar(&job, "job", "", "the `job` that kept it, where several kept one of that name")
	f.StringVarP(&out, "out", "o", "", "`file` to write to; - for standard output")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		o, err := g.look(cmd.Context(), &at, a[0], dir)
		if err != nil {
			return err
		}
		defer o.Close()
		list := keptBy(o.run)
		if len(a) == 1 {
			return g.listKept(list)
		}
		one, err := chosen(list, o.id, a[1], job)
		if err != nil {
			return err
		}
		return g.fetch(cmd.Context(), o, one, out)
	}
	return c
}

// keptBy are the artifacts of a run that have bytes.
func keptBy(r *record.Run) []keptFile {
	list := []keptFile{}
	for _, id := range r.Order {
		for _, a := range r.Jobs[id].Artifacts {
			if a.Digest != "" {
				k := keptFile{id, a.Artifact, a.Remark()}
				k.Digest, k.Size = a.Given()
				list = append(list, k)
			}
		}
	}
	return list
}

func (g *global) listKept(list []keptFile) error {
	var cells [][]string
	for _, k := range list {
		cells = append(cells, []string{shown(k.Name), bytesText(k.Size), shown(k.Job), shown(k.Digest), shown(k.Remark)})
	}
	return g.rows(list, "the run kept no files", []string{"name", "size", "job", "digest", ""}, cells)
}

// chosen is the artifact that a person names.
func chosen(list []keptFile, run, name, job string) (keptFile, error) {
	var found []keptFile
	var names []string
	for _, k := range list {
		names = append(names, k.Name)
		if k.Name == name && (job == "" || k.Job == job) {
			found = append(found, k)
		}
	}
	switch {
	case len(found) == 0:
		hint := "`fairlead artifacts " + run + "` lists them"
		if near := plan.Nearest(name, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		return keptFile{}, usage(hint, "run %s kept no %q", run, name)
	case len(found) > 1 && found[0].Job != found[len(found)-1].Job:
		return keptFile{}, usage("say which with --job", "jobs %s and %s both kept %q", found[0].Job, found[1].Job, name)
	}
	return found[len(found)-1], nil // of one job the newest
}

// fetch writes an artifact to a file that is not there yet, or to standard output.
func (g *global) fetch(ctx context.Context, o *looked, k keptFile, out string) (err error) {
	copied := func(w io.Writer) error {
		if at, ok := o.archive.(far); ok {
			return at.Download(ctx, o.id, k.Job, k.Artifact, w)
		}
		b, err := o.archive.(near).Blob(ctx, blob.Digest(k.Digest))
		if errors.Is(err, blob.ErrNotFound) {
			return usage("repeat the run to make it again", "%s is not kept any more", k.Name)
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(w, b)
		return errors.Join(err, b.Close())
	}
	if out == "-" {
		return copied(g.Stdout)
	}
	if out == "" {
		// Its name is somebody else's word: it names a file here, and nothing above.
		out = path.Base(path.Clean("/" + strings.ReplaceAll(k.Name, "\\", "/")))
		if out == "/" || strings.HasPrefix(out, ".") || out != string(sanitize(nil, []byte(out), false)) {
			return usage("say where to with --out", "%q is no name for a file", shown(k.Name))
		}
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return usage("remove it, or say where to with --out", "%s is there already", out)
	}
	if err != nil {
		return err
	}
	if err = errors.Join(copied(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(out)) // half of it is worth nothing
	}
	fmt.Fprintf(g.Stderr, "%s: %s\n", out, bytesText(k.Size))
	return nil
}
