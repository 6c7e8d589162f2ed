package task

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// scripts are the tasks that run a script.
func scripts() []*Task {
	cwd := map[string]string{"cwd": "workingdirectory"}
	return []*Task{
		{Name: "CmdLine", Versions: []int{1, 2}, names: cwd, resolve: cmdLine},
		{Name: "Bash", Versions: []int{3}, names: cwd, resolve: bash},
		{Name: "ShellScript", Versions: []int{2}, names: map[string]string{"cwd": "workingdirectory", "scriptpath": "filepath", "args": "arguments", "failonstandarderror": "failonstderr"}, resolve: bash},
		{Name: "PowerShell", Versions: []int{1, 2}, names: cwd, resolve: powershell},
		{Name: "PythonScript", Versions: []int{0}, names: cwd, resolve: python},
	}
}

// script is a script and the shell that runs it.
type script struct {
	shell     []string // {0} stands for the script
	extension string
	text      string
	shown     string // for people; the text when it is empty
	stderr    bool   // anything on standard error is a failure
}

// run makes the command of a script.
func (c *call) run(s script) error {
	if err := c.has(s.shell[0]); err != nil {
		return err
	}
	file := filepath.Join(c.Scope.Dirs.Temp, "step_"+c.Step.Key+s.extension)
	argv := make([]string, len(s.shell))
	for i, a := range s.shell {
		argv[i] = strings.ReplaceAll(a, "{0}", file)
	}
	c.act.Command = &plan.Command{
		Argv: argv, Env: c.Env, Path: c.Path, Dir: c.dir(), Volatile: c.Volatile,
		Files: []plan.File{{Path: file, Mode: 0o755, Body: []byte(s.text)}}, Script: cmp.Or(s.shown, s.text),
	}
	if s.stderr {
		return c.guardStderr(file)
	}
	return nil
}

// guardStderr runs the command so that what it writes to standard error is
// shown, and makes it fail.
func (c *call) guardStderr(file string) error {
	if err := c.has("bash"); err != nil {
		return err
	}
	guard := file + ".guard"
	c.act.Command.Files = append(c.act.Command.Files, plan.File{Path: guard, Mode: 0o755, Body: []byte(`{ "$@" 2>&1 >&3 3>&- | tee "$0.stderr" >&2; code=${PIPESTATUS[0]}; } 3>&1
if [ -s "$0.stderr" ]; then
  echo "##vso[task.logissue type=error]The script wrote one or more lines to the standard error stream."
  exit 1
fi
exit "$code"
`)})
	c.act.Command.Argv = append([]string{"bash", "--noprofile", "--norc", guard}, c.act.Command.Argv...)
	return nil
}

// dir is where a task's command runs.
func (c *call) dir() string { return c.path(c.input("workingDirectory")) }

// shellProgram is bash, or sh where there is none.
func (c *call) shellProgram() []string {
	if c.has("bash") != nil && c.has("sh") == nil {
		return []string{"sh", "{0}"}
	}
	return []string{"bash", "--noprofile", "--norc", "{0}"}
}

func cmdLine(c *call) error {
	text := c.raw("script")
	if text == "" {
		text = strings.TrimSpace(c.input("filename") + " " + c.input("arguments"))
	}
	if strings.TrimSpace(text) == "" {
		return failf("CmdLine: the input \"script\" is required and was not given")
	}
	return c.run(script{shell: c.shellProgram(), extension: ".sh", text: text, stderr: c.flag("failOnStderr", false)})
}

func bash(c *call) error {
	text, shown := c.raw("script"), ""
	if c.task.Name == "ShellScript" || !strings.EqualFold(c.input("targetType"), "inline") {
		file := c.input("filePath")
		if file == "" {
			return failf("%s: the input \"filePath\" is required and was not given", c.task.Name)
		}
		shown = strings.TrimSpace(". " + file + " " + c.input("arguments"))
		text = ". " + quote(c.path(file)) + " " + c.input("arguments") + "\n"
	}
	return c.run(script{shell: c.shellProgram(), extension: ".sh", text: text, shown: shown, stderr: c.flag("failOnStderr", false)})
}

func powershell(c *call) error {
	var b strings.Builder
	preference := strings.ToLower(cmp.Or(c.input("errorActionPreference"), "stop"))
	if preference != "default" {
		if strings.Trim(preference, "abcdefghijklmnopqrstuvwxyz") != "" {
			return failf("PowerShell: errorActionPreference cannot be %.40q", preference)
		}
		fmt.Fprintf(&b, "$ErrorActionPreference = '%s'\n", preference)
	}
	shown := c.raw("script")
	if strings.EqualFold(c.input("targetType"), "inline") {
		b.WriteString(shown)
	} else {
		file := c.input("filePath")
		if file == "" {
			return failf("PowerShell: the input \"filePath\" is required and was not given")
		}
		shown = strings.TrimSpace(file + " " + c.input("arguments"))
		fmt.Fprintf(&b, ". '%s' %s", strings.ReplaceAll(c.path(file), "'", "''"), c.input("arguments"))
	}
	if !c.flag("ignoreLASTEXITCODE", false) {
		b.WriteString("\nif (!(Test-Path -LiteralPath variable:\\LASTEXITCODE)) { } else { exit $LASTEXITCODE }\n")
	}
	return c.run(script{
		shell:     []string{"pwsh", "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-Command", ". '{0}'"},
		extension: ".ps1", text: b.String(), shown: shown, stderr: c.flag("failOnStderr", false),
	})
}

func python(c *call) error {
	program := cmp.Or(c.input("pythonInterpreter"), "python3")
	if program == "python3" && c.has("python3") != nil {
		program = "python"
	}
	s := script{shell: []string{program, "{0}"}, extension: ".py", text: c.raw("script"), stderr: c.flag("failOnStderr", false)}
	if !strings.EqualFold(c.input("scriptSource"), "inline") {
		file := c.input("scriptPath")
		if file == "" {
			return failf("PythonScript: the input \"scriptPath\" is required and was not given")
		}
		s.shell = append([]string{program, c.path(file)}, plan.Words(c.input("arguments"))...)
		s.shown = strings.TrimSpace(program + " " + file + " " + c.input("arguments"))
	} else {
		s.shell = append(s.shell, plan.Words(c.input("arguments"))...)
	}
	return c.run(s)
}

// commands runs one command after another, until one fails.
func (c *call) commands(lines ...string) error {
	return c.run(script{shell: c.shellProgram(), extension: ".sh", text: "set -e\n" + strings.Join(lines, "\n") + "\n", shown: strings.Join(lines, "\n")})
}

// quote writes a text as one word of a shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
