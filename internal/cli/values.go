package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// secrets are the flags that give a run its secrets. Values come from the
// environment, from a file or from a person, never from the command line,
// which every process on the machine can read.
type secrets struct {
	names []string
	files []string
}

func (s *secrets) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&s.names, "secret", nil, "give the run the secret `NAME`, its value taken from the environment or asked for")
	f.StringArrayVar(&s.files, "secret-file", nil, "give the run the secrets of a .env or JSON `file`")
	_ = c.RegisterFlagCompletionFunc("secret", cobra.NoFileCompletions)
}

// values are the secrets' values.
func (s *secrets) values(g *global) (map[string]string, error) {
	values := map[string]string{}
	for _, file := range s.files {
		given, problems, err := secret.ReadFile(file)
		if err != nil {
			return nil, usage("", "%v", err)
		}
		for _, p := range problems {
			fmt.Fprintln(g.Stderr, p)
		}
		if plan.Errors(problems) {
			return nil, usage("", "the secrets in %s cannot be read", file)
		}
		for name, value := range given {
			values[name] = value
		}
	}
	for _, name := range s.names {
		if before, _, ok := strings.Cut(name, "="); ok {
			return nil, usage(
				fmt.Sprintf("put it into the environment and say --secret %s, or into a file for --secret-file; and change it: it is in your shell's history now", before),
				"the value of secret %s is on the command line, where every process on this machine can read it", before)
		}
		value := g.Getenv(name)
		if value == "" {
			if !g.asks() {
				return nil, usage("export it, or give it with --secret-file", "secret %s is not in the environment", name)
			}
			fmt.Fprintf(g.Stderr, "secret %s: ", shown(name))
			f, _ := terminal(g.Stdin)
			typed, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(g.Stderr)
			if err != nil {
				return nil, fmt.Errorf("read secret %s: %w", name, err)
			}
			value = string(typed)
		}
		values[name] = value
	}
	return values, nil
}

// pairs reads flags of the form NAME=VALUE, and files of such lines. What the
// flags say wins over what files say.
func pairs(flag string, given, files []string) (map[string]string, error) {
	values := map[string]string{}
	for _, file := range files {
		lines, problems, err := secret.ReadFile(file)
		if err != nil {
			return nil, usage("", "--%s-file: %v", flag, err)
		}
		for _, p := range problems {
			if p.Severity == plan.Error {
				return nil, usage(p.Hint, "--%s-file: %s: %s", flag, p.Source, p.Message)
			}
		}
		for name, value := range lines {
			values[name] = value
		}
	}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Sprintf("write --%s NAME=VALUE", flag), "--%s %q has no NAME=", flag, text)
		}
		values[name] = value
	}
	return values, nil
}

// lists reads flags of the form NAME=VALUE that may be given several times.
func lists(flag string, given []string) (map[string][]string, error) {
	values := map[string][]string{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Sprintf("write --%s NAME=VALUE", flag), "--%s %q has no NAME=", flag, text)
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// actions reads the local overrides of actions.
func actions(given []string) (map[string]string, error) {
	values, err := pairs("action", given, nil)
	if err != nil {
		return nil, err
	}
	for name, dir := range values {
		if strings.Count(name, "/") < 1 {
			return nil, usage("write --action owner/name=DIR", "--action %q names no action", name)
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return nil, usage("it is a directory with the action's action.yml", "--action %s: there is no directory %s", name, dir)
		}
	}
	return values, nil
}

// labels reads which runs-on labels this machine takes.
func labels(given []string) (map[string]bool, error) {
	values := map[string]bool{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		yes := !ok || slices.Contains([]string{"yes", "true", "1"}, value)
		if name == "" || !yes && !slices.Contains([]string{"no", "false", "0"}, value) {
			return nil, usage("write --label NAME=yes or --label NAME=no", "--label %q says neither yes nor no", text)
		}
		values[name] = yes
	}
	return values, nil
}
