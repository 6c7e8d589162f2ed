package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hostVar tells in every instance's environment which host started it, instanceVar
// which one it is.
const (
	hostVar     = "FAIRLEAD_HOST"
	instanceVar = "FAIRLEAD_INSTANCE"
	printVar    = "FAIRLEAD_PRINT"
)

// adoptedEvery is how often it is looked whether a process still runs that is not our
// child.
const adoptedEvery = 100 * time.Millisecond

// identity is a process, and no other one that gets its number later.
type identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// alive reports whether it runs.
func (id identity) alive() bool {
	now, _, ok := look(id.PID)
	return ok && now == id
}

// process is what runs of an instance: a session, whose leader it is.
type process struct {
	identity
	ended chan struct{} // closed when the leader has ended
	how   string        // after that: "exit status 3"
	cage  *cage
}

// command says how an instance is started.
type command struct {
	argv []string
	dir  string
	env  map[string]string
	user string
	log  *os.File
	cage *cage
}

// start begins a session with the command.
func start(c command) (*process, error) {
	cmd, err := c.prepare()
	if err != nil {
		return nil, err
	}
	if err := c.cage.enter(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.cage.take(cmd.Process.Pid)
	p := &process{ended: make(chan struct{}), cage: c.cage}
	p.identity, _, _ = look(cmd.Process.Pid)
	p.PID = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		p.how = cmd.ProcessState.String()
		if c.cage.exceeded() {
			p.how = "it needed more memory than its limit of " + bytesText(c.cage.limit)
		}
		close(p.ended)
	}()
	return p, nil
}

func (c *command) prepare() (*exec.Cmd, error) {
	program := c.argv[0]
	if !filepath.IsAbs(program) {
		if strings.Contains(program, "/") {
			program = filepath.Join(c.dir, program)
		} else if found, err := lookUp(program, c.env["PATH"]); err != nil {
			return nil, err
		} else {
			program = found
		}
	}
	cmd := exec.Command(program)
	cmd.Args = c.argv
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = c.log, c.log
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		cmd.Env = append(cmd.Env, name+"="+c.env[name])
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.user != "" {
		who, err := credential(c.user)
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = who
	}
	return cmd, nil
}

// lookUp finds a program in the PATH that the instance has.
func lookUp(name, path string) (string, error) {
	for dir := range strings.SplitSeq(path, ":") {
		at := filepath.Join(dir, name)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(at) {
			return at, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in PATH (%s); a file of the release is named ./%s", name, path, name)
}

// credential is that of a user; nil if this process has it already.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uerr, gerr); err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("user %s: only a host that runs as root can start processes of others", name)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(n))
		}
	}
	return c, nil
}

// adopt takes up a process that was started by another one than this. How it ends will
// not be known.
func adopt(id identity, c *cage) *process {
	p := &process{identity: id, ended: make(chan struct{}), cage: c}
	go func() {
		for id.alive() {
			time.Sleep(adoptedEvery)
		}
		p.how = "it ended, and nobody saw how: an earlier process of the host had started it"
		close(p.ended)
	}()
	return p
}

// end asks the session to end, and ends it when it has not after the time. It
// returns when nothing of it is left.
func (p *process) end(within time.Duration) {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.PID, syscall.SIGTERM) // never 0 or 1: what has no number has ended
		late := time.NewTimer(within)
		select {
		case <-p.ended:
		case <-late.C:
		}
		late.Stop()
	}
	p.kill()
	<-p.ended
	p.cage.remove()
}

// kill ends all of the session at once.
func (p *process) kill() {
	if p.PID <= 1 { // it ended before it was known; session 0 is the kernel's
		return
	}
	select {
	case <-p.ended: // its number may be another's by now, but no session's while any of it is left
	default:
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	}
	for _, pid := range inSession(p.PID) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// end ends a process that no document asks for.
func (s *stray) end() {
	if !s.alive() {
		return
	}
	adopt(s.identity, nil).end(DefaultStop)
}

// lastLine is the last line of an instance's log that has anything in it.
func lastLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 2048
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, tail)
	n, _ := f.ReadAt(buf, max(info.Size()-tail, 0))
	lines := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	const most = 300
	if len(line) > most {
		line = line[:most]
	}
	return strings.ToValidUTF8(line, "?")
}

// freeBytes is how much room there is for us where a directory is, or will be.
func freeBytes(dir string) (int64, error) {
	for {
		var stat syscall.Statfs_t
		err := syscall.Statfs(dir, &stat)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		return int64(stat.Bavail) * int64(stat.Bsize), nil
	}
}
