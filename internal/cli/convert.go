package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// convertCommand is `fairlead convert`.
func (g *global) convertCommand() *cobra.Command {
	var dir, to string
	var write, force bool
	c := &cobra.Command{
		Use:   "convert [FILE]",
		Short: "Say a pipeline in another pipeline language",
		Long: `Write the pipelines of a repository in another pipeline language. What that language
has no words for is listed, with its place, and not dropped in silence: the list
is what is left to do by hand.

The text goes to standard output, or with --write to where such files belong.`,
		Example: `  fairlead convert --to gitlab > .gitlab-ci.yml
  fairlead convert Jenkinsfile --to github --write`,
	}
	f := c.Flags()
	f.StringVar(&to, "to", "", "the `language` to write: github, gitlab, azure")
	f.BoolVar(&write, "write", false, "write files where they belong in the tree")
	f.BoolVar(&force, "force", false, "with --write, replace files that are there")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.Args = args("[FILE]")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if to == "" {
			return usage("--to github, --to gitlab or --to azure", "the language to convert to is not given")
		}
		ctx := cmd.Context()
		tree, err := workspace.Open(ctx, dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		file := ""
		if len(a) > 0 {
			file = a[0]
		}
		made, err := g.Convert(ctx, tree.FS(), file, to)
		if err != nil {
			return err
		}
		if g.json() {
			type converted struct {
				launch.Converted
				Text string `json:"text"`
			}
			all := make([]converted, len(made))
			for i, m := range made {
				all[i] = converted{m, string(m.Text)}
			}
			return writeJSON(g.Stdout, all)
		}
		for i, m := range made {
			if write {
				if err := writeNew(filepath.Join(tree.Root(), filepath.FromSlash(m.Target)), m.Text, force); err != nil {
					return err
				}
				fmt.Fprintf(g.Stdout, "%s written from %s\n", m.Target, m.File)
			} else {
				if i > 0 {
					fmt.Fprintln(g.Stdout, "---")
				}
				if _, err := g.Stdout.Write(m.Text); err != nil {
					return err
				}
			}
			g.problems(m.Lost, len(m.Lost))
		}
		return nil
	}
	return c
}

// writeNew writes a file that is not there yet, and its directory.
func writeNew(name string, text []byte, force bool) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	flag := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if force {
		flag = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	f, err := os.OpenFile(name, flag, 0o644)
	if os.IsExist(err) {
		return usage("--force replaces it", "%s is there already", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if shut := f.Close(); err == nil {
		err = shut
	}
	return err
}
