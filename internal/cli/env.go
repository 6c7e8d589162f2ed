package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/fixture"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// envCommand is `fairlead env`.
func (g *global) envCommand() *cobra.Command {
	return verbs("env", "Bring up the databases of a project for work",
		`Bring up the databases that fairlead.yaml declares, for work on this machine: fresh,
filled, and there until they are taken down.`,
		g.envUpCommand(), g.envDownCommand(), g.envResetCommand(), g.envListCommand(), g.envExecCommand())
}

// surroundings are the databases of a tree, for work.
type surroundings struct {
	*launch.Databases
	root     string
	declared []project.Database
}

// keep is the word under which they stay.
func (s *surroundings) keep() string { return "env " + s.root }

// surround does something with what a tree declares.
func (g *global) surround(ctx context.Context, dir string, do func(s *surroundings) error) error {
	return g.lab(ctx, dir, func(l *Lab, root string) error {
		file, problems, err := project.Read(os.DirFS(root))
		if err != nil {
			return err
		}
		if plan.Errors(problems) {
			st, cols := g.style(g.Stderr), columns(g.Stderr)
			for _, p := range problems {
				writeProblem(g.Stderr, p, st, cols)
			}
			return exit(ExitInvalid)
		}
		return do(&surroundings{l.Databases, root, file.Databases})
	})
}

// up makes what is not there; databases whose templates changed stay as they
// are, and are named.
func (s *surroundings) up(ctx context.Context) (lent []fixture.Lent, changed []string, err error) {
	if len(s.declared) == 0 {
		return nil, nil, usage("add a section databases, see docs/how-to/databases.md", "%s declares no databases", project.Name)
	}
	kept, digests, err := s.Pool.Kept(s.keep())
	if err != nil {
		return nil, nil, err
	}
	wants, clean, err := s.Wants(ctx, s.root, s.declared)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, clean()) }()
	var missing []fixture.Want
	for _, w := range wants {
		i := slices.IndexFunc(kept, func(l fixture.Lent) bool { return l.Name == w.Name && strings.HasPrefix(l.Env, w.Env) })
		switch {
		case i < 0:
			missing = append(missing, w)
		case digests[i] != w.Template.Digest:
			changed = append(changed, w.Name)
		}
	}
	if len(missing) > 0 {
		loan, err := s.Pool.Lend(ctx, missing, s.keep())
		if err != nil {
			return nil, nil, err
		}
		kept = append(kept, loan.Lent...)
	}
	for _, w := range wants {
		has := func(env string) bool {
			return slices.ContainsFunc(kept, func(l fixture.Lent) bool { return l.Env == env })
		}
		if i := slices.IndexFunc(kept, func(l fixture.Lent) bool { return l.Env == w.Env+"_1" }); i >= 0 && !has(w.Env) {
			first := kept[i]
			first.Env = w.Env
			kept = append(kept, first)
		}
	}
	return kept, changed, nil
}

// down drops what is there.
func (s *surroundings) down(ctx context.Context) error {
	var addresses []string
	for i := range s.declared {
		if a, err := s.Address(&s.declared[i]); err == nil && a != "" {
			addresses = append(addresses, a)
		}
	}
	return s.Pool.Return(ctx, s.keep(), addresses)
}

// environs shows the variables: as lines for a shell, or as JSON.
func (g *global) environs(lent []fixture.Lent, format string) error {
	env := launch.DatabaseEnv(lent)
	if format == "json" || g.json() {
		return writeJSON(g.Stdout, env)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if format == "env" {
			fmt.Fprintf(g.Stdout, "export %s='%s'\n", name, strings.ReplaceAll(env[name], "'", `'\''`))
		} else {
			fmt.Fprintf(g.Stdout, "%s=%s\n", name, env[name])
		}
	}
	return nil
}

func formatFlag(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", "text", "how the variables are printed: text, env (for a shell to read) or json")
}

// outdated names databases whose templates are not what they were.
func (g *global) outdated(changed []string) {
	for _, name := range changed {
		fmt.Fprintf(g.Stderr, "the template of %s has changed since it was made: `fairlead env reset` makes it anew\n", shown(name))
	}
}

func (g *global) envUpCommand() *cobra.Command {
	var dir, format string
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring databases up",
		Long: `Bring up the databases that fairlead.yaml declares, and print the variables that hold
their addresses. Those that are up stay as they are, and what is in them, too.`,
		Example: `  fairlead env up
  eval "$(fairlead env up --format env)"`,
		Args: args(),
	}
	dirFlag(c, &dir)
	formatFlag(c, &format)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := oneOf("format", format, "text", "env", "json"); err != nil {
			return err
		}
		return g.surround(cmd.Context(), dir, func(s *surroundings) error {
			lent, changed, err := s.up(cmd.Context())
			if err != nil {
				return err
			}
			g.outdated(changed)
			return g.environs(lent, format)
		})
	}
	return c
}

func (g *global) envDownCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "down", Short: "Take databases down", Long: `Drop the databases that are up, with all that is in them.`, Example: `  fairlead env down`, Args: args()}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.surround(cmd.Context(), dir, func(s *surroundings) error { return s.down(cmd.Context()) })
	}
	return c
}

func (g *global) envResetCommand() *cobra.Command {
	var dir, format string
	c := &cobra.Command{Use: "reset", Short: "Make databases anew", Long: `Drop the databases that are up, and bring fresh ones up.`, Example: `  fairlead env reset`, Args: args()}
	dirFlag(c, &dir)
	formatFlag(c, &format)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := oneOf("format", format, "text", "env", "json"); err != nil {
			return err
		}
		return g.surround(cmd.Context(), dir, func(s *surroundings) error {
			if err := s.down(cmd.Context()); err != nil {
				return err
			}
			lent, _, err := s.up(cmd.Context())
			if err != nil {
				return err
			}
			return g.environs(lent, format)
		})
	}
	return c
}

func (g *global) envListCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "list", Short: "List the databases that are up", Example: `  fairlead env list`, Args: args()}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.surround(cmd.Context(), dir, func(s *surroundings) error {
			kept, _, err := s.Pool.Kept(s.keep())
			if err != nil {
				return err
			}
			if kept == nil {
				kept = []fixture.Lent{}
			}
			var cells [][]string
			for _, l := range kept {
				cells = append(cells, []string{shown(l.Name), l.Kind, l.Env, l.URL})
			}
			return g.rows(kept, "no database is up: `fairlead env up`", []string{"name", "kind", "variable", "address"}, cells)
		})
	}
	return c
}

func (g *global) envExecCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:     "exec -- COMMAND...",
		Short:   "Run a command with the databases",
		Long:    `Bring up what is not up, and run a command that finds the addresses in its environment. Its exit code is that of the command.`,
		Example: `  fairlead env exec -- go test ./...`,
		Args: func(c *cobra.Command, a []string) error {
			if len(a) == 0 {
				return usage("usage: "+c.UseLine(), "`%s` needs a COMMAND", c.CommandPath())
			}
			return nil
		},
	}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.surround(cmd.Context(), dir, func(s *surroundings) error {
			lent, changed, err := s.up(cmd.Context())
			if err != nil {
				return err
			}
			g.outdated(changed)
			code, err := g.Execute(cmd.Context(), a, launch.DatabaseEnv(lent))
			if err == nil && code != 0 {
				return exit(code)
			}
			return err
		})
	}
	return c
}
