package docker

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// Labels of what is made for jobs, by which it is found again.
const (
	labelOwner = "dev.fairlead.owner" // see owner
	labelBoot  = "dev.fairlead.boot"
	labelRun   = "dev.fairlead.run"
	labelJob   = "dev.fairlead.job"
	labelBuilt = "dev.fairlead.built"
)

// strange is how old a network of an owner on another machine, or from before
// the last start of this one, has to be to be taken for lost.
const strange = time.Hour

// owner is who containers belong to: this process.
type owner struct {
	boot string // this start of this machine
	self string // the process, as it is told from all others of this boot
}

// whoAmI reads /proc, where there is one. Elsewhere the number has to do.
func whoAmI() owner {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return owner{boot: strings.TrimSpace(string(boot)), self: identity(os.Getpid())}
}

// identity is a process's number, when it began, and the name space in which
// that is its number; "" when there is no such process.
func identity(pid int) string {
	if runtime.GOOS != "linux" {
		if p, err := os.FindProcess(pid); err != nil || !alive(p) {
			return ""
		}
		return fmt.Sprint(pid)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program, in brackets, may hold anything.
	_, rest, _ := strings.Cut(string(stat), ") ")
	if i := strings.LastIndex(string(stat), ") "); i >= 0 {
		rest = string(stat)[i+2:]
	}
	fields := strings.Fields(rest)
	const state, begun = 0, 19
	if len(fields) <= begun || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	space, _ := os.Readlink("/proc/self/ns/pid")
	return fmt.Sprintf("%d %s %s", pid, fields[begun], space)
}

func (o owner) labels(run, job string) map[string]string {
	return map[string]string{labelOwner: o.self, labelBoot: o.boot, labelRun: run, labelJob: job}
}

// gone reports whether whoever has these labels does not exist any more. known
// is false when that cannot be told from here.
func (o owner) gone(labels map[string]string) (gone, known bool) {
	if labels[labelBoot] != o.boot {
		return false, false
	}
	var pid int
	var begun, space string
	self := labels[labelOwner]
	if _, err := fmt.Sscanf(self, "%d %s %s", &pid, &begun, &space); err == nil && !strings.HasSuffix(o.self, space) {
		return false, false // another container's processes
	}
	return identity(pid) != self, true
}

// reap removes what other Fairleads have left that were killed. What cannot be
// removed now is so later, by whoever comes then.
func (x *Executor) reap(ctx context.Context, d *daemon) {
	filter := client.Filters{}.Add("label", labelOwner)
	list, err := d.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return
	}
	for _, c := range list.Items {
		gone, known := x.owner.gone(c.Labels)
		if gone || !known && c.State != "running" && time.Since(time.Unix(c.Created, 0)) > strange {
			_ = d.remove(c.ID)
		}
	}
	networks, err := d.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return
	}
	for _, n := range networks.Items {
		gone, known := x.owner.gone(n.Labels)
		if gone || !known && time.Since(n.Created) > strange {
			_, _ = d.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		}
	}
}
