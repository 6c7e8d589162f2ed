package cli

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// lintCommand is `fairlead lint`.
func (g *global) lintCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "lint [FILES...]",
		Short: "Find what is wrong with the pipeline files",
		Long: `Find every problem of every pipeline file of the repository, of fairlead.yaml and of
the definitions of feature flags, or of the FILES named, without running anything. The exit code is 3 when there are
errors; warnings alone leave it at 0.`,
		Example: "  fairlead lint\n  fairlead lint .github/workflows/ci.yml --output json",
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		ctx := cmd.Context()
		tree, err := workspace.Open(ctx, dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		paths, err := insideOf(tree.Root(), files)
		if err != nil {
			return err
		}
		file, problems, err := project.Read(tree.FS())
		if err != nil {
			return err
		}
		problems = append(problems, launch.LintFlags(tree.FS(), file.Flags)...)
		if paths != nil {
			problems = slices.DeleteFunc(problems, func(p plan.Problem) bool { return !slices.Contains(paths, p.File) })
		}
		if len(problems) == 0 && len(file.Services)+len(file.Environments) == 0 && !slices.Contains(paths, project.Name) && len(launch.FlagFiles(tree.FS(), file.Flags, "")) == 0 && !slices.ContainsFunc(g.Files, func(pattern string) bool {
			found, err := fs.Glob(tree.FS(), pattern)
			return err != nil || len(found) > 0
		}) {
			return g.noPipelines(tree.Root())
		}
		found, err := g.Lint(ctx, tree.FS(), paths)
		if err != nil {
			return err
		}
		problems = append(problems, found...)
		if g.json() {
			if problems == nil {
				problems = []plan.Problem{}
			}
			if err := writeJSON(g.Stdout, problems); err != nil {
				return err
			}
		} else {
			g.linted(problems)
		}
		if plan.Errors(problems) {
			return exit(ExitInvalid)
		}
		return nil
	}
	return c
}

// insideOf are the slash paths of files in the tree.
func insideOf(root string, files []string) ([]string, error) {
	var paths []string
	for _, name := range files {
		abs, err := filepath.Abs(name)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			if os.IsNotExist(err) {
				return nil, usage("", "there is no file %s", name)
			}
			return nil, err
		}
		rel, err := filepath.Rel(root, abs)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return nil, usage("name the repository with -C", "%s is not inside %s", name, root)
		}
		paths = append(paths, filepath.ToSlash(rel))
	}
	return paths, nil
}

func (g *global) linted(problems []plan.Problem) {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	errs := 0
	files := map[string]bool{}
	for _, p := range problems {
		writeProblem(g.Stdout, p, st, cols)
		files[p.File] = true
		if p.Severity == plan.Error {
			errs++
		}
	}
	switch {
	case len(problems) == 0:
		fmt.Fprintf(g.Stderr, "%s no problems\n", g.style(g.Stderr).glyph(plan.Success))
	default:
		fmt.Fprintf(g.Stderr, "\n%s and %s in %s\n", plural(errs, "error"), plural(len(problems)-errs, "warning"), plural(len(files), "file"))
	}
}

// writeProblem shows a problem of a file: where, what, and the way out.
func writeProblem(w io.Writer, p plan.Problem, st style, cols int) {
	paint, word := st.yellow, "warning"
	if p.Severity == plan.Error {
		paint, word = st.red, "error"
	}
	where := shown(p.Source.String())
	if where == "" {
		where = "here"
	}
	// The place is never cut: editors and terminals make links of it.
	fmt.Fprintln(w, st.bold(where)+": "+paint(word)+": "+shown(p.Message)+st.dim(" ["+shown(p.Rule)+"]"))
	if p.Hint != "" {
		wrap(w, "  "+st.arrow()+" ", shown(p.Hint), cols, st.cyan)
	}
}
