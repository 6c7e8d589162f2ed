package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/dataset"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Lab is what verbs about data sets need.
type Lab struct {
	// Sets are the data sets of a tree.
	Sets  func(root string) *dataset.Shelf
	Close func() error
}

// lab does something with a lab, for the tree at a directory.
func (g *global) lab(ctx context.Context, dir string, do func(l *Lab, root string) error) error {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	l, err := g.Lab(g.wiring)
	if err != nil {
		return err
	}
	err = do(l, tree.Root())
	if e := new(dataset.Error); errors.As(err, &e) {
		err = usage(e.Hint, "%s", e.Message)
	}
	return errors.Join(err, l.Close())
}

// shelf does something with the data sets of the tree at a directory.
func (g *global) shelf(ctx context.Context, dir string, do func(s *dataset.Shelf) error) error {
	return g.lab(ctx, dir, func(l *Lab, root string) error { return do(l.Sets(root)) })
}

// dataCommand is `fairlead data`.
func (g *global) dataCommand() *cobra.Command {
	return verbs("data", "Keep versioned files that tests need out of the repository",
		`Keep files that tests need, and that a repository should not hold, in versions. The
file `+dataset.Name+` in the repository names each set's version and digest, so that a
commit has exactly its data; the bytes lie in the data directory.`,
		g.dataAddCommand(), g.dataGetCommand(), g.dataVerifyCommand(), g.dataListCommand(), g.dataRemoveCommand())
}

func dirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVarP(dir, "dir", "C", ".", "`directory` of the repository")
}

func (g *global) dataAddCommand() *cobra.Command {
	var dir, version string
	c := &cobra.Command{
		Use:   "add NAME PATH...",
		Short: "Keep files as a version of a set",
		Long: `Keep the files and directories at the PATHs, which lie in the repository, as a version
of the set NAME. Let git ignore them: what the repository has of them is the line in
` + dataset.Name + `, which you commit.`,
		Example: `  fairlead data add customers testdata/customers
  fairlead data add model models/model.bin --version 3`,
		Args: func(c *cobra.Command, a []string) error {
			if len(a) < 2 {
				return usage("usage: "+c.UseLine(), "`%s` needs NAME and PATH", c.CommandPath())
			}
			return nil
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVar(&version, "version", "", "`version`; without one, the beginning of the digest")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shelf(cmd.Context(), dir, func(s *dataset.Shelf) error {
			p, err := s.Add(cmd.Context(), a[0], version, a[1:])
			if err != nil {
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, p)
			}
			fmt.Fprintf(g.Stdout, "%s  %s, %s\n", p.Title(), plural(p.Files, "file"), bytesText(p.Size))
			fmt.Fprintf(g.Stderr, "commit %s, and let git ignore the files\n", dataset.Name)
			return nil
		})
	}
	return c
}

func (g *global) dataGetCommand() *cobra.Command {
	var dir, to string
	c := &cobra.Command{
		Use:   "get [NAME[@VERSION]...]",
		Short: "Put sets into their places",
		Long: `Put sets into their places in the repository, in the versions that it names; all sets,
when none is named. A set is put there as a whole or not at all, and replaces what is
there. Where the file system can, the files share their blocks with what is kept.`,
		Example: `  fairlead data get
  fairlead data get customers@2
  fairlead data get model --to /tmp/model`,
	}
	dirFlag(c, &dir)
	c.Flags().StringVar(&to, "to", "", "`directory` to put them below, instead of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shelf(cmd.Context(), dir, func(s *dataset.Shelf) error {
			names, err := setNames(s, a)
			if err != nil {
				return err
			}
			for _, name := range names {
				p, changed, err := s.Get(cmd.Context(), name, to)
				if err != nil {
					return err
				}
				what := "is there already"
				if changed {
					what = "is in its place"
				}
				fmt.Fprintf(g.Stderr, "%s %s: %s, %s\n", p.Title(), what, plural(p.Files, "file"), bytesText(p.Size))
			}
			return nil
		})
	}
	return c
}

// setNames are the sets that are named, or all, each once: what a name alone
// means is its newest version.
func setNames(s *dataset.Shelf, given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	pins, problems, err := s.Pins()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &dataset.Error{Message: problems[0].String(), Hint: problems[0].Hint}
	}
	var names []string
	for i, p := range pins {
		if i+1 == len(pins) || pins[i+1].Name != p.Name {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

func (g *global) dataVerifyCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "verify [NAME[@VERSION]...]",
		Short: "Compare sets with their digests",
		Long: `Read all bytes of the sets, as kept and in the repository, and compare them with
their digests. The exit code is 1 when something differs.`,
		Example: `  fairlead data verify`,
	}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shelf(cmd.Context(), dir, func(s *dataset.Shelf) error {
			names, err := setNames(s, a)
			if err != nil {
				return err
			}
			all, good := []dataset.Verified{}, true
			for _, name := range names {
				v, err := s.Verify(cmd.Context(), name)
				if err != nil {
					return err
				}
				all, good = append(all, v), good && v.Good()
			}
			if g.json() {
				err = writeJSON(g.Stdout, all)
			} else {
				g.compared(all)
			}
			if err == nil && !good {
				return exit(ExitFailed)
			}
			return err
		})
	}
	return c
}

// compared says what differs.
func (g *global) compared(all []dataset.Verified) {
	const most = 20 // of a set's files
	for _, v := range all {
		what := "whole"
		switch {
		case !v.Good():
			what = "differs"
		case v.Absent:
			what = "whole, and not in the repository: `fairlead data get " + v.Name + "`"
		}
		fmt.Fprintf(g.Stdout, "%s %s\n", v.Title(), what)
		for i, d := range v.Tree {
			if i == most {
				fmt.Fprintf(g.Stdout, "  and %d more\n", len(v.Tree)-most)
				break
			}
			fmt.Fprintf(g.Stdout, "  %s: %s\n", shown(d.Path), d.What)
		}
		if v.Missing > 0 {
			fmt.Fprintf(g.Stdout, "  the bytes of %s are not on this machine\n", plural(v.Missing, "file"))
		}
		for _, path := range v.Damaged {
			fmt.Fprintf(g.Stdout, "  %s: what is kept of it is damaged\n", shown(path))
		}
	}
}

func (g *global) dataListCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "list", Short: "List the sets", Example: `  fairlead data list`, Args: args()}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.shelf(cmd.Context(), dir, func(s *dataset.Shelf) error {
			pins, problems, err := s.Pins()
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				g.linted(problems)
				return exit(ExitInvalid)
			}
			if pins == nil {
				pins = []dataset.Pin{}
			}
			var cells [][]string
			for _, p := range pins {
				cells = append(cells, []string{p.Name, p.Version, plural(p.Files, "file"), bytesText(p.Size), p.Digest.Hex()[:12]})
			}
			return g.rows(pins, "there are no data sets: `fairlead data add` makes one", []string{"name", "version", "files", "size", "digest"}, cells)
		})
	}
	return c
}

func (g *global) dataRemoveCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:     "remove NAME[@VERSION]",
		Short:   "Name a set no more",
		Long:    `Take a version of a set, or all, out of ` + dataset.Name + `. The bytes stay: other commits name them.`,
		Example: `  fairlead data remove customers@1`,
		Args:    args("NAME"),
	}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.shelf(cmd.Context(), dir, func(s *dataset.Shelf) error {
			gone, err := s.Remove(a[0])
			for _, p := range gone {
				fmt.Fprintf(g.Stderr, "%s is named no more\n", p.Title())
			}
			return err
		})
	}
	return c
}
