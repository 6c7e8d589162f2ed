package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// git runs git in a directory, with an environment that nothing around us has
// shaped, and with its questions answered by "no".
type git struct {
	dir string
	env []string // besides what every git process gets
}

// Limits of one git process.
const (
	maxGitOutput = 256 << 20
	maxGitStderr = 64 << 10
	gitGrace     = 2 * time.Second // for pipes to close after git was killed
)

// gitError is a git process that failed.
type gitError struct {
	args   []string
	stderr string
	err    error
}

func (e *gitError) Error() string {
	said := strings.TrimSpace(e.stderr)
	if said == "" {
		said = e.err.Error()
	}
	return fmt.Sprintf("git %s: %s", e.args[0], withoutCredentials(said))
}

func (e *gitError) Unwrap() error { return e.err }

var credentials = regexp.MustCompile(`://[^/@\s]+@`)

// withoutCredentials takes user names and passwords out of addresses in a text.
func withoutCredentials(s string) string { return credentials.ReplaceAllString(s, "://") }

// exitCode is git's exit code, -1 when it is not one.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// output runs git and returns its standard output.
func (g git) output(ctx context.Context, args ...string) ([]byte, error) {
	return g.pipe(ctx, nil, args...)
}

func (g git) run(ctx context.Context, args ...string) error {
	_, err := g.pipe(ctx, nil, args...)
	return err
}

func (g git) pipe(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	// The repository's own file system monitor is a command that it chooses.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(gitEnviron(os.Environ()), g.env...)
	cmd.Stdin = stdin
	out, said := &limited{max: maxGitOutput}, &limited{max: maxGitStderr, drop: true}
	cmd.Stdout, cmd.Stderr = out, said
	// Its own group, so that the helpers that it starts end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = gitGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if out.full {
		err = fmt.Errorf("more than %d bytes of output", maxGitOutput)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("git is not installed, or not on PATH: %w", err)
	}
	if err != nil {
		return nil, &gitError{args: args, stderr: said.String(), err: err}
	}
	return out.Bytes(), nil
}

// gitEnviron is the environment for git: nothing that points it at another
// repository or gives it other configuration, and no way to ask a person.
func gitEnviron(environ []string) []string {
	env := make([]string, 0, len(environ)+8)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "LC_ALL", name == "LANGUAGE", name == "SSH_ASKPASS":
			continue
		case strings.HasPrefix(name, "GIT_"):
			// What says how to reach hosts, and where configuration is, stays.
			if !strings.HasPrefix(name, "GIT_SSL_") && !strings.HasPrefix(name, "GIT_SSH") && !strings.HasPrefix(name, "GIT_PROXY") &&
				name != "GIT_CONFIG_GLOBAL" && name != "GIT_CONFIG_SYSTEM" && name != "GIT_CONFIG_NOSYSTEM" && name != "GIT_EXEC_PATH" {
				continue
			}
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat", "GIT_EDITOR=false")
}

// limited keeps what is written to it up to a limit. Beyond it, it either
// drops or refuses.
type limited struct {
	bytes.Buffer
	max  int
	drop bool
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := l.max - l.Len()
	if len(p) <= room {
		return l.Buffer.Write(p)
	}
	l.Buffer.Write(p[:room])
	if l.drop {
		return len(p), nil
	}
	l.full = true
	return room, io.ErrShortWrite
}
