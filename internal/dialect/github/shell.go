package github

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// shell is how a run: text becomes a process.
type shell struct {
	argv      []string // {0} stands for the script's file
	extension string
	before    string // what GitHub writes in front of the script
	after     string
	crlf      bool
}

// shells are those that have a name. What stands for no shell: at all is
// called "".
func shellNamed(name string) (shell, bool) {
	const stop = "$ErrorActionPreference = 'stop'\n"
	const exit = "\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }"
	switch name {
	case "":
		return shell{argv: []string{"bash", "-e", "{0}"}, extension: ".sh"}, true
	case "bash":
		return shell{argv: []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"}, extension: ".sh"}, true
	case "sh":
		return shell{argv: []string{"sh", "-e", "{0}"}, extension: ".sh"}, true
	case "pwsh", "powershell":
		return shell{argv: []string{name, "-command", ". '{0}'"}, extension: ".ps1", before: stop, after: exit}, true
	case "python":
		return shell{argv: []string{"python", "{0}"}, extension: ".py"}, true
	case "cmd":
		return shell{argv: []string{"cmd", "/D", "/E:ON", "/V:OFF", "/S", "/C", `CALL "{0}"`}, extension: ".cmd", before: "@echo off\n", crlf: true}, true
	}
	return shell{}, false
}

// parseShell reads a shell: value: a name, or a command line with {0} in it.
func parseShell(value string) (shell, error) {
	value = strings.TrimSpace(value)
	if sh, ok := shellNamed(strings.ToLower(value)); ok {
		return sh, nil
	}
	if !strings.Contains(value, "{0}") {
		return shell{}, fmt.Errorf("%q is no shell that GitHub knows, and holds no {0} for the script's file", value)
	}
	words, err := splitWords(value)
	if err != nil {
		return shell{}, err
	}
	sh := shell{argv: words}
	// A known program gets the same file name and the same lines around the
	// script as when it is named alone.
	if known, ok := shellNamed(strings.TrimSuffix(strings.ToLower(filepath.Base(words[0])), ".exe")); ok {
		sh.extension, sh.before, sh.after, sh.crlf = known.extension, known.before, known.after, known.crlf
	}
	return sh, nil
}

// splitWords splits a command line at spaces outside of double quotes.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			if any {
				words = append(words, word.String())
				word.Reset()
				any = false
			}
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("the command line %q has an open quote", s)
	}
	if any {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, fmt.Errorf("the command line %q names no program", s)
	}
	return words, nil
}

// script is the file that the shell runs.
func (sh shell) script(text string) []byte {
	text = sh.before + strings.ReplaceAll(text, "\r\n", "\n") + sh.after
	if sh.crlf {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return []byte(text)
}

// command is the argument list for a script's file.
func (sh shell) command(file string) []string {
	argv := make([]string, len(sh.argv))
	for i, a := range sh.argv {
		argv[i] = strings.ReplaceAll(a, "{0}", file)
	}
	return argv
}

// fallbacks are programs that may stand for another where that is missing.
func fallbacks(program string) []string {
	switch program {
	case "python":
		return []string{"python3"}
	case "bash":
		return []string{"sh"} // only without shell:, see session.shell
	}
	return nil
}

// noProgram says that a program is not there, and what to do.
func noProgram(program string, at plan.Source) *plan.Problem {
	return problemAt(at, "shell", fmt.Sprintf("the program %s is not on PATH of this machine", program),
		"install it, or choose another with shell:")
}

// lookPath finds a program on this machine, first in the given directories.
func lookPath(program string, dirs []string) (string, error) {
	for _, dir := range dirs {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p, nil
		}
	}
	p, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrDot) {
		err = os.ErrNotExist
	}
	return p, err
}

// onWindows reports whether an OS name of a scope is that of Windows.
func onWindows(s *plan.Scope) bool {
	return s.OS == "Windows" || s.OS == "" && runtime.GOOS == "windows"
}
