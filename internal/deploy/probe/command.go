package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

const (
	// maxLine is the length of the longest line that is passed on whole, in bytes.
	maxLine = 16 << 10
	// maxLines is how many lines of a command are passed on.
	maxLines = 20_000
	// outlive is how long the output of a command is waited for that has ended itself, while something it
	// started still holds it.
	outlive = 2 * time.Second
)

// kept are the variables of this process that a command sees; what else there is may be a secret
// of the server's.
var kept = [...]string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// Command runs a script with sh, in a process group of its own that is killed as a whole when ctx ends. Output
// lines go to log as they come, errors among them; too many or too long ones are cut.
func (p *Probe) Command(ctx context.Context, dir, script string, env map[string]string, log func(line string)) (exit int, err error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	for _, name := range kept {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	read, write, err := os.Pipe()
	if err != nil {
		return -1, fmt.Errorf("run a command: %w", err)
	}
	defer func() { _ = read.Close() }()
	cmd.Stdout, cmd.Stderr = write, write
	if err := ctx.Err(); err != nil {
		_ = write.Close()
		return -1, context.Cause(ctx)
	}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return -1, fmt.Errorf("run a command: %w", err)
	}
	group := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it may have ended already
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		passOn(read, log)
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		group()
		<-ended
		_ = read.SetReadDeadline(time.Now().Add(outlive))
		<-lines
		return -1, fmt.Errorf("the command was broken off: %w", context.Cause(ctx))
	}
	// What it left behind in its group goes with it, and the pipe with that; what has left the group may
	// hold the pipe for ever.
	select {
	case <-lines:
	case <-time.After(outlive):
	case <-ctx.Done():
	}
	group()
	_ = read.SetReadDeadline(time.Now().Add(outlive))
	<-lines
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		if s, ok := failed.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return failed.ExitCode(), nil
	case err != nil:
		return -1, fmt.Errorf("run a command: %w", err)
	}
	return 0, nil
}

// passOn passes lines on to the end of the output.
func passOn(r io.Reader, log func(line string)) {
	in := bufio.NewReaderSize(r, maxLine)
	n := 0
	for {
		line, err := in.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		text := string(bytes.TrimRight(line, "\r\n"))
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is too long
			_, err = in.ReadSlice('\n')
		}
		if len(line) > 0 {
			if n++; cut {
				text += "…"
			}
			switch {
			case n == maxLines:
				log("… further lines are left out")
			case n < maxLines:
				log(text)
			}
		}
		if err != nil {
			return
		}
	}
}

// command is a check by a command.
func (p *Probe) command(ctx context.Context, script, address string, env map[string]string, dir string) error {
	with := maps.Clone(env)
	if with == nil {
		with = map[string]string{}
	}
	with["FAIRLEAD_ADDRESS"] = address
	last := ""
	exit, err := p.Command(ctx, dir, script, with, func(line string) {
		if line != "" {
			last = line
		}
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the command was not done in time")
	case err != nil:
		return err
	case exit != 0 && last != "":
		return fmt.Errorf("the command exited with %d: %s", exit, clip([]byte(last)))
	case exit != 0:
		return fmt.Errorf("the command exited with %d", exit)
	}
	return nil
}
