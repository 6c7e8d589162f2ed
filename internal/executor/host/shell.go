package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Shell gives a person a shell with the environment and in the directory of a
// command, on this process's own terminal. In contrast to steps it has the
// terminal's variables and job control, and nobody ends what it starts. The
// shell's own exit code is not an error of ours: it comes back as the int.
func (x *Executor) Shell(ctx context.Context, c *plan.Command) (int, error) {
	base := inherit(x.opts.Env(), x.opts.Inherit)
	var terminal []entry
	for _, name := range []string{"TERM", "COLORTERM", "TERM_PROGRAM", "LS_COLORS", "NO_COLOR"} {
		if value, ok := os.LookupEnv(name); ok {
			terminal = append(terminal, entry{name, name + "=" + value})
		}
	}
	shell := os.Getenv("SHELL")
	if len(c.Argv) > 0 {
		shell = c.Argv[0]
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	env, _ := base.with(c.Env, c.Path, terminal...)
	var args []string
	if len(c.Argv) > 1 {
		args = c.Argv[1:]
	}
	cmd := exec.CommandContext(ctx, shell, args...)
	cmd.Dir, cmd.Env = c.Dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return cmd.ProcessState.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("shell %s in %s: %w", shell, c.Dir, err)
	}
	return 0, nil
}
