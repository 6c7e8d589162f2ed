package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// completionCommand is `fairlead completion`.
func (g *global) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands in a shell",
		Example: `  source <(fairlead completion bash)
  fairlead completion zsh > "${fpath[1]}/_fairlead"
  fairlead completion fish > ~/.config/fish/completions/fairlead.fish`,
		Args:      args("SHELL"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	c.RunE = func(cmd *cobra.Command, a []string) error {
		root := cmd.Root()
		switch a[0] {
		case "bash":
			return root.GenBashCompletionV2(g.Stdout, true)
		case "zsh":
			return root.GenZshCompletion(g.Stdout)
		case "fish":
			return root.GenFishCompletion(g.Stdout, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(g.Stdout)
		}
		return usage("known are bash, zsh, fish, powershell", "there is no completion for %q", a[0])
	}
	return c
}

// versionCommand is `fairlead version`.
func (g *global) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: args()}
	c.RunE = func(*cobra.Command, []string) error {
		if g.json() {
			return writeJSON(g.Stdout, map[string]any{
				"version": g.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "schema": jsonSchema,
			})
		}
		_, err := fmt.Fprintf(g.Stdout, "fairlead %s (%s, %s/%s)\n", g.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return c
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: "Exit codes tell whose turn it is:\n\n" + ExitCodes +
		"\n\nWith several runs, the worst one counts. `fairlead lint` ends with 3 when there are\nerrors, and so does `fairlead run` when a pipeline cannot be run because of them."}
}

func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Variables stand for flags that are not given; a flag wins:\n\n")
	for _, e := range environment {
		fmt.Fprintf(&b, "  %-20s --%s\n", e.name, e.flag)
	}
	b.WriteString(`
FAIRLEAD_TOKEN is the token that a server is asked with. With FAIRLEAD_SERVER set,
--server '' asks this machine.

Also heeded are NO_COLOR and CLICOLOR_FORCE (colours), TERM=dumb (no pictures, no
redrawing), CI (no redrawing), GITHUB_ACTIONS and GITLAB_CI (their folds),
COLUMNS (the width of drawings that go to no terminal), XDG_STATE_HOME and
XDG_CACHE_HOME (where runs and caches are).`)
	return &cobra.Command{Use: "variables", Short: "Variables that Fairlead heeds", Long: b.String()}
}

// manCommand is `fairlead man`.
func (g *global) manCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "man", Short: "Write manual pages", Args: args(), GroupID: groupHelp,
		Example: "  fairlead man --dir /usr/local/share/man/man1"}
	c.Flags().StringVar(&dir, "dir", "", "`directory` to write them to")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" {
			return usage("usage: fairlead man --dir DIRECTORY", "`fairlead man` needs --dir")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true
		// Pages that are made twice are the same: they do not say when.
		date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		return doc.GenManTree(root, &doc.GenManHeader{Title: "FAIRLEAD", Section: "1", Source: "Fairlead", Manual: "Fairlead", Date: &date}, dir)
	}
	return c
}

// docsCommand is `fairlead docs`: the reference of the command line, which the
// repository keeps a copy of.
func (g *global) docsCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "docs", Short: "Write the reference of the command line", Args: args(), Hidden: true}
	c.Flags().StringVar(&dir, "dir", "", "`directory` to write it to")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" {
			return usage("usage: fairlead docs --dir DIRECTORY", "`fairlead docs` needs --dir")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true
		old, err := filepath.Glob(filepath.Join(dir, "fairlead*.md"))
		if err != nil {
			return err
		}
		for _, name := range old {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
		if err := doc.GenMarkdownTree(root, dir); err != nil {
			return err
		}
		for _, topic := range []*cobra.Command{exitCodesTopic(), environmentTopic()} {
			text := "## fairlead help " + topic.Name() + "\n\n" + topic.Short + "\n\n```\n" + topic.Long + "\n```\n"
			if err := os.WriteFile(filepath.Join(dir, "fairlead_help_"+topic.Name()+".md"), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// Completion of arguments. What cannot be found out is not completed: nobody
// wants to read an error while typing.

func (g *global) completeWorkflows(c *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(a) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	tools, err := g.open(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer tools.Close()
	dir, _ := c.Flags().GetString("dir")
	p, err := tools.Prepare(c.Context(), launch.Order{Dir: dir})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, pl := range p.Pipelines {
		names = append(names, stem(pl.File)+"\t"+shown(pl.Name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (g *global) completeRuns(c *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(a) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	tools, err := g.open(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer tools.Close()
	dir, _ := c.Flags().GetString("dir")
	f := store.RunFilter{Limit: 20}
	if f.Root, err = root(c.Context(), dir); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := tools.Runs.Runs(c.Context(), f)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := []string{"last"}
	for _, h := range list {
		names = append(names, fmt.Sprintf("%s\t%s %s", h.ID, shown(h.Name), h.Verdict))
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func (g *global) completeJobs(c *cobra.Command, a []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(a) == 0 {
		return g.completeRuns(c, a, word)
	}
	if len(a) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir, _ := c.Flags().GetString("dir")
	run, err := g.openRun(c.Context(), a[0], dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer run.Close()
	var names []string
	for _, id := range run.run.Order {
		if j := run.run.Jobs[id]; !passing(j) {
			names = append(names, id)
			for _, s := range j.Steps {
				if strings.HasPrefix(word, id+"/") {
					names = append(names, id+"/"+s.Key+"\t"+shown(s.Start.Name))
				}
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
