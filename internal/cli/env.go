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

	"github.com/fairlead-dev/fairlead/internal/dataset"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/fixture"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// envCommand is `fairlead env`.
func (g *global) envCommand() *cobra.Command {
	return verbs("env", "Bring up databases and services for work; compare environments",
		`Bring up what jobs have around them, for work on this machine: the databases that
fairlead.yaml declares, and the services that jobs of the pipeline files declare. They
are fresh, filled, healthy, and there until they are taken down.`,
		g.envUpCommand(), g.envDownCommand(), g.envResetCommand(), g.envListCommand(), g.envExecCommand(), g.contrastCommand())
}

// surroundings are the databases and services of a tree, for work.
type surroundings struct {
	*launch.Databases
	launcher *launch.Launcher
	g        *global
	root     string
	declared []project.Database
}

// keep is the word under which databases stay.
func (s *surroundings) keep() string { return "env " + s.root }

// surround does something with what a tree declares.
func (g *global) surround(ctx context.Context, dir string, do func(s *surroundings) error) (err error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return err
	}
	root := tree.Root()
	file, problems, err := project.Read(os.DirFS(root))
	if err = errors.Join(err, tree.Close()); err != nil {
		return err
	}
	if plan.Errors(problems) {
		return g.invalid(problems)
	}
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	err = do(&surroundings{tools.Launcher.Databases, tools.Launcher, g, root, file.Databases})
	if e := new(dataset.Error); errors.As(err, &e) {
		err = usage(e.Hint, "%s", e.Message)
	}
	return err
}

// invalid shows the problems of files that cannot be acted on.
func (g *global) invalid(problems []plan.Problem) error {
	st, cols := g.style(g.Stderr), columns(g.Stderr)
	for _, p := range problems {
		writeProblem(g.Stderr, p, st, cols)
	}
	return exit(ExitInvalid)
}

// around says what somebody wants to be up.
type around struct {
	dir           string
	job, pipeline string
	secrets       secrets
}

func (o *around) flags(c *cobra.Command) {
	dirFlag(c, &o.dir)
	c.Flags().StringVar(&o.job, "job", "", "bring up the services of this `job` alone, by ID or name")
	c.Flags().StringVar(&o.pipeline, "pipeline", "", "bring up the services of this pipeline alone, by `file` or name")
	o.secrets.flags(c)
}

// bring makes what is not there, and returns the variables that tell of all.
func (s *surroundings) bring(ctx context.Context, o *around) (map[string]string, error) {
	values, err := o.secrets.values(s.g)
	if err != nil {
		return nil, err
	}
	asked := o.job != "" || o.pipeline != ""
	declared, problems, err := s.launcher.Services(ctx, launch.ServiceOrder{Dir: s.root, Pipeline: o.pipeline, Job: o.job, Secrets: values})
	switch {
	case err != nil:
		return nil, err
	case plan.Errors(problems):
		return nil, s.g.invalid(problems)
	case len(declared.All) == 0 && asked:
		return nil, usage("`fairlead env up` without --job and --pipeline brings up all that is declared", "what was named declares no services")
	case len(declared.All) == 0 && len(s.declared) == 0:
		return nil, usage("add services to a job of a pipeline, or a section databases to "+project.Name+", see docs/how-to/databases.md", "nothing is declared that could be brought up")
	}
	for _, note := range declared.Notes {
		fmt.Fprintln(s.g.Stderr, shown(note))
	}
	env := map[string]string{}
	if len(s.declared) > 0 {
		lent, changed, err := s.up(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range changed {
			fmt.Fprintf(s.g.Stderr, "the template of %s has changed since it was made: `fairlead env reset` makes it anew\n", shown(name))
		}
		maps.Copy(env, launch.DatabaseEnv(lent))
	}
	if len(declared.All) > 0 {
		kept, err := s.launcher.KeepServices(ctx, declared, func(text string) { fmt.Fprintln(s.g.Stderr, shown(text)) })
		lost := new(executor.EngineError)
		switch {
		case errors.As(err, &lost) && !asked && len(s.declared) > 0:
			fmt.Fprintf(s.g.Stderr, "the databases are up, and the services of pipelines are not: %s\n", shown(lost.Error()))
		case err != nil:
			return nil, err
		}
		for _, k := range kept {
			if k.Outdated {
				fmt.Fprintf(s.g.Stderr, "the service %s is declared otherwise now: `fairlead env reset` makes it anew\n", shown(k.Name))
			}
		}
		maps.Copy(env, launch.ServiceEnv(kept))
	}
	return env, nil
}

// up makes databases that are not there; those whose templates changed stay as they
// are, and are named.
func (s *surroundings) up(ctx context.Context) (lent []fixture.Lent, changed []string, err error) {
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

// down drops what is there: all services, whatever pipeline they are of.
func (s *surroundings) down(ctx context.Context) error {
	var addresses []string
	for i := range s.declared {
		if a, err := s.Address(&s.declared[i]); err == nil && a != "" {
			addresses = append(addresses, a)
		}
	}
	return errors.Join(s.Pool.Return(ctx, s.keep(), addresses), s.launcher.DropServices(ctx, s.root))
}

// environs shows the variables: as lines for a shell, or as JSON.
func (g *global) environs(env map[string]string, format string) error {
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

func (g *global) envUpCommand() *cobra.Command {
	o, format := &around{}, ""
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring databases and services up",
		Long: `Bring up the databases that fairlead.yaml declares and the services that jobs declare,
wait until all are healthy, and print the variables by which they are found. For the port
5432 of a service "postgres" those are POSTGRES_HOST, POSTGRES_PORT and
POSTGRES_PORT_5432. What is up stays as it is, and what is in it, too.`,
		Example: `  fairlead env up
  fairlead env up --job integration
  eval "$(fairlead env up --format env)"`,
		Args: args(),
	}
	o.flags(c)
	formatFlag(c, &format)
	c.RunE = func(cmd *cobra.Command, _ []string) error { return g.envUp(cmd.Context(), o, format, false) }
	return c
}

// envUp brings up what somebody wants; anew takes down what is up before.
func (g *global) envUp(ctx context.Context, o *around, format string, anew bool) error {
	if err := oneOf("format", format, "text", "env", "json"); err != nil {
		return err
	}
	return g.surround(ctx, o.dir, func(s *surroundings) error {
		if anew {
			if err := s.down(ctx); err != nil {
				return err
			}
		}
		env, err := s.bring(ctx, o)
		if err != nil {
			return err
		}
		return g.environs(env, format)
	})
}

func (g *global) envDownCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "down", Short: "Take databases and services down", Long: `Drop the databases and services that are up, with all that is in them.`, Example: `  fairlead env down`, Args: args()}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.surround(cmd.Context(), dir, func(s *surroundings) error { return s.down(cmd.Context()) })
	}
	return c
}

func (g *global) envResetCommand() *cobra.Command {
	o, format := &around{}, ""
	c := &cobra.Command{Use: "reset", Short: "Make databases and services anew", Long: `Drop the databases and services that are up, and bring fresh ones up.`, Example: `  fairlead env reset`, Args: args()}
	o.flags(c)
	formatFlag(c, &format)
	c.RunE = func(cmd *cobra.Command, _ []string) error { return g.envUp(cmd.Context(), o, format, true) }
	return c
}

// standing is a line of `fairlead env list`.
type standing struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"` // of a database, or "service"
	Env   string `json:"env"`
	URL   string `json:"url"`
	State string `json:"state"`
}

func (g *global) envListCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "list", Short: "List the databases and services that are up", Example: `  fairlead env list`, Args: args()}
	dirFlag(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.surround(cmd.Context(), dir, func(s *surroundings) error {
			lent, _, err := s.Pool.Kept(s.keep())
			if err != nil {
				return err
			}
			kept, err := s.launcher.KeptServices(cmd.Context(), s.root)
			if err != nil {
				return err
			}
			all := []standing{}
			for _, l := range lent {
				all = append(all, standing{l.Name, l.Kind, l.Env, l.URL, "up"})
			}
			for _, k := range kept {
				env := launch.ServiceEnv([]executor.Kept{k})
				if len(env) == 0 {
					all = append(all, standing{k.Name, "service", "", "", k.State})
				}
				for _, name := range slices.Sorted(maps.Keys(env)) {
					if strings.Contains(name, "_PORT_") {
						all = append(all, standing{k.Name, "service", name, "127.0.0.1:" + env[name], k.State})
					}
				}
			}
			var cells [][]string
			for _, x := range all {
				cells = append(cells, []string{shown(x.Name), x.Kind, x.Env, x.URL, x.State})
			}
			return g.rows(all, "no database and no service is up: `fairlead env up`", []string{"name", "kind", "variable", "address", "state"}, cells)
		})
	}
	return c
}

func (g *global) envExecCommand() *cobra.Command {
	o := &around{}
	c := &cobra.Command{
		Use:     "exec -- COMMAND...",
		Short:   "Run a command with the databases and services",
		Long:    `Bring up what is not up, and run a command that finds the variables in its environment. Its exit code is that of the command.`,
		Example: `  fairlead env exec -- go test ./...`,
		Args: func(c *cobra.Command, a []string) error {
			if len(a) == 0 {
				return usage("usage: "+c.UseLine(), "`%s` needs a COMMAND", c.CommandPath())
			}
			return nil
		},
	}
	o.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.surround(cmd.Context(), o.dir, func(s *surroundings) error {
			env, err := s.bring(cmd.Context(), o)
			if err != nil {
				return err
			}
			code, err := g.Execute(cmd.Context(), a, env)
			if err == nil && code != 0 {
				return exit(code)
			}
			return err
		})
	}
	return c
}
