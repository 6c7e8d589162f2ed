package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeper is a small process that outlives Fairlead if Fairlead is killed, and
// then kills what Fairlead was running. It waits at the read end of a pipe
// whose write end only Fairlead has; the kernel closes that, whatever way
// Fairlead ends. It is a shell, as one starts in under a millisecond and is
// everywhere.
type keeper struct {
	pid  int
	pipe *os.File
}

// startKeeper starts a shell script with arguments. It reads its end of the
// pipe to wait. It ignores the signals that are meant for Fairlead's terminal.
func startKeeper(attr *syscall.SysProcAttr, script string, args ...string) (*keeper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		w.Close()
		return nil, err
	}
	defer null.Close()
	argv := append([]string{"sh", "-c", "trap '' HUP INT QUIT TERM\n" + script, "fairlead-keeper"}, args...)
	pid, err := syscall.ForkExec("/bin/sh", argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"},
		Files: []uintptr{r.Fd(), null.Fd(), null.Fd()},
		Sys:   attr,
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	return &keeper{pid: pid, pipe: w}, nil
}

// is reports whether the keeper has that number. No keeper has none.
func (k *keeper) is(pid int) bool { return k != nil && k.pid == pid }

// dismiss lets the keeper go: at once if there is nothing left to look after,
// else when it has done what it is there for.
func (k *keeper) dismiss(quiet bool) error {
	var err error
	if quiet {
		_, err = k.pipe.Write([]byte("\n"))
	}
	return errors.Join(err, k.pipe.Close(), wait(k.pid, nil))
}

// wait waits for a child of ours.
func wait(pid int, status *syscall.WaitStatus) error {
	for {
		_, err := syscall.Wait4(pid, status, 0, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
