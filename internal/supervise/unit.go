package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// systemdRuns reports whether systemd is this machine's first process.
func systemdRuns() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// startUnit starts an instance as a transient unit of systemd, which then owns its
// processes, its limits and its journal entry. It is restarted by the host, as all
// others are.
func (h *Host) startUnit(in *instance, c command) (*process, error) {
	cmd, err := c.prepare() // finds the program, and what is wrong
	if err != nil {
		return nil, err
	}
	unit := "fairlead-" + in.name + ".service"
	// Arguments can be read by everybody on the machine, this file by nobody else.
	variables := filepath.Join(h.dir, "run", "."+in.name+".env")
	if err := os.WriteFile(variables, environmentFile(c.env), 0o600); err != nil {
		return nil, err
	}
	_ = exec.Command("systemctl", "reset-failed", unit).Run() // of the process before
	args := []string{"--quiet", "--unit=" + unit, "--service-type=exec", "--description=" + in.name + " of Fairlead",
		"--property=EnvironmentFile=" + variables, "--property=WorkingDirectory=" + c.dir, "--property=KillMode=control-group",
		"--property=StandardOutput=append:" + h.logFile(in.name), "--property=StandardError=append:" + h.logFile(in.name)}
	if c.user != "" {
		args = append(args, "--property=User="+c.user)
	}
	if limit := in.rev.Run.Memory; limit > 0 {
		args = append(args, "--property=MemoryMax="+strconv.FormatInt(limit, 10), "--property=MemorySwapMax=0")
	}
	args = append(append(args, "--", cmd.Path), c.argv[1:]...)
	out, err := exec.Command("systemd-run", args...).CombinedOutput()
	shown := unitSays(unit, "MainPID", "Result", "ExecMainStatus", "LoadState")
	if err != nil && (shown["LoadState"] != "loaded" || shown["Result"] == "success" || shown["Result"] == "") {
		return nil, fmt.Errorf("systemd-run: %w: %s", err, bytes.TrimSpace(out))
	}
	pid, err := strconv.Atoi(shown["MainPID"])
	var id identity
	if err == nil && pid > 0 {
		id, _, _ = look(pid)
	}
	if id.PID == 0 { // it has ended already
		p := &process{ended: make(chan struct{}), how: unitEnd(unitSays(unit, "Result", "ExecMainStatus")).Error()}
		close(p.ended)
		return p, nil
	}
	p := &process{identity: id, ended: make(chan struct{})}
	adopted := adopt(id, nil)
	go func() {
		<-adopted.ended
		p.how = unitEnd(unitSays(unit, "Result", "ExecMainStatus")).Error()
		_ = exec.Command("systemctl", "stop", unit).Run() // whatever else is in it
		_ = exec.Command("systemctl", "reset-failed", unit).Run()
		close(p.ended)
	}()
	return p, nil
}

// unitSays asks systemd for properties of a unit.
func unitSays(unit string, properties ...string) map[string]string {
	out, err := exec.Command("systemctl", "show", "--property="+strings.Join(properties, ","), unit).Output()
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all[name] = value
		}
	}
	return all
}

// unitEnd is how a unit's process has ended.
func unitEnd(shown map[string]string) error {
	if shown["Result"] == "oom-kill" {
		return errors.New("it needed more memory than its limit")
	}
	return fmt.Errorf("exit status %s (%s)", shown["ExecMainStatus"], shown["Result"])
}

// environmentFile is an environment in the words of systemd.exec(5).
func environmentFile(env map[string]string) []byte {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`)
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=\"%s\"\n", name, quote.Replace(env[name]))
	}
	return b.Bytes()
}
