package gitlab

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// afterLimit is how long an after_script may take, unless
// RUNNER_AFTER_SCRIPT_TIMEOUT says otherwise.
const afterLimit = 5 * time.Minute

// script makes a command of the lines of a script. As with GitLab's runner all
// lines are one text, which a shell is given to evaluate with errexit, and
// pipefail where there is such a thing; each command is printed before it is
// done; standard input is empty.
func (n *session) script(act *plan.Act, step *plan.Step, s *plan.Scope, env *environment) error {
	vars := env.process()
	var lines []string
	var limit string
	switch step.ID {
	case stepHook:
		lines = n.spec.PreGetSources
	case stepAfter:
		lines = n.spec.AfterScript
		act.ContinueOnError = env.value("AFTER_SCRIPT_IGNORE_ERRORS") != "false"
		act.Timeout, limit = afterLimit, "RUNNER_AFTER_SCRIPT_TIMEOUT"
	default:
		lines = append(append(lines, n.spec.BeforeScript...), n.spec.Script...)
		limit = "RUNNER_SCRIPT_TIMEOUT"
	}
	vars["CI_JOB_STATUS"] = "running"
	if step.ID == stepAfter {
		vars["CI_JOB_STATUS"] = jobStatus(s.Status)
	}
	if d, err := time.ParseDuration(env.value(limit)); limit != "" && err == nil && d > 0 {
		act.Timeout = d
	}
	file := filepath.Join(s.Dirs.Temp, "step_"+step.Key+".sh")
	argv, problem := n.shell(s, file)
	if problem != nil {
		problem.Source = step.Source
		act.Problem = problem
		return nil
	}
	act.Command = &plan.Command{
		Argv: argv, Env: vars, Path: s.Path, Dir: s.Dirs.Workspace,
		Files:  []plan.File{{Path: file, Mode: 0o755, Body: shellText(lines, env.value("CI_DEBUG_TRACE") == "true")}},
		Script: joinLines(lines), Volatile: slices.AppendSeq(slices.Clone(volatile), maps.Keys(n.spec.IDTokens)),
	}
	return nil
}

// jobStatus is CI_JOB_STATUS for after_script.
func jobStatus(v plan.Verdict) string {
	switch {
	case v == plan.Cancelled:
		return "canceled"
	case v.Bad():
		return "failed"
	}
	return "success"
}

// chooseShell looks for bash in a container, as nobody outside can.
const chooseShell = `if command -v bash >/dev/null 2>&1; then exec bash "$0"; else exec sh "$0"; fi`

// shell is the command that runs the script in a file: bash, or sh where there
// is none.
func (n *session) shell(s *plan.Scope, file string) ([]string, *plan.Problem) {
	if s.Job.Place.Container != nil {
		return []string{"sh", "-c", chooseShell, file}, nil
	}
	look := n.d.cfg.LookPath
	if look == nil {
		look = exec.LookPath
	}
	for _, shell := range []string{"bash", "sh"} {
		if _, err := look(shell); err == nil {
			return []string{shell, file}, nil
		}
	}
	return nil, &plan.Problem{Severity: plan.Error, Rule: "shell", Message: "neither bash nor sh is on PATH of this machine", Hint: "install one of them"}
}

// Escape sequences around a command that is printed.
const (
	boldGreen = "\033[32;1m"
	plain     = "\033[0;m"
)

// shellText is the script that a shell runs for the lines. With trace the shell
// prints what each of them comes to.
func shellText(lines []string, trace bool) []byte {
	var inner strings.Builder
	if trace {
		inner.WriteString("set -o xtrace\n")
	}
	for _, line := range lines {
		shown, rest, several := strings.Cut(strings.TrimSpace(line), "\n")
		if several && strings.TrimSpace(rest) != "" {
			shown = strings.TrimSuffix(shown, "\r") + " # collapsed multi-line command"
		}
		if shown != "" {
			fmt.Fprintf(&inner, "printf '%%s\\n' %s\n", quote(boldGreen+"$ "+shown+plain))
		}
		inner.WriteString(line)
		inner.WriteByte('\n')
	}
	return fmt.Appendf(nil, `if [ -n "${BASH_VERSION-}" ] || (set -o pipefail) 2>/dev/null; then set -o pipefail; fi
set -o errexit
set +o noclobber
exec </dev/null
eval %s
exit 0
`, quote(inner.String()))
}

// quote makes a text one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
