//go:build unix

package storetest

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// nobody is whom the server runs as when we are the superuser, as whom it refuses to.
const nobody = 65534

// own gives the server's directory to whom it runs as.
func (s *PostgresServer) own() error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Chown(s.dir, nobody, nobody)
}

func (s *PostgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

func pause() { time.Sleep(10 * time.Millisecond) }
