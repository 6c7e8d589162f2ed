package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// includeCommand is `fairlead include`.
func (g *global) includeCommand() *cobra.Command {
	return verbs("include", "Look after what pipelines include from elsewhere", `Look after the files that pipelines include from other projects and addresses.`, g.includeLockCommand())
}

func (g *global) includeLockCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "lock",
		Short: "Pin what pipelines include from elsewhere, and keep copies of it",
		Long: `Fetch every file that the pipelines of the repository include from other projects,
templates and addresses, and write copies of them into the repository beside a file
that says where each came from and what its digest is. From then on the copies are
read: the same today and tomorrow, with and without a network. What cannot be
reached is told of, and not locked.`,
		Example: "  fairlead include lock\n  fairlead include lock --mirror https://git.example.org",
		Args:    args(),
	}
	f := c.Flags()
	f.StringVar(&g.wiring.Mirror, "mirror", "", "fetch from this base `URL` instead of the code host")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tree, err := workspace.Open(ctx, dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		facts, err := tree.Facts(ctx)
		if err != nil {
			return err
		}
		files, problems, err := g.Lock(ctx, g.wiring, tree.FS(), launch.PushOf(facts))
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := writeNew(filepath.Join(tree.Root(), filepath.FromSlash(name)), files[name], true); err != nil {
				return err
			}
			fmt.Fprintln(g.Stdout, name)
		}
		g.problems(problems, len(problems))
		if plan.Errors(problems) {
			return exit(ExitInvalid)
		}
		return nil
	}
	return c
}
