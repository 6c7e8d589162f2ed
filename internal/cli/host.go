package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// hostLog is how much of an instance's log is shown, in KiB, if nothing else is asked
// for.
const hostLog = 64

// hostCommand is `fairlead host`.
func (g *global) hostCommand() *cobra.Command {
	return verbs("host", "Keep services running on this machine",
		`Keep the instances of services running on this machine, behind a front proxy that
leads requests to them. Deployments with the driver process, and over SSH, are made by
such a host; it is started by the first of them if it does not run.`,
		g.hostRunCommand(), g.hostStatusCommand(), g.hostLogsCommand(), g.hostUpgradeCommand(), g.hostStopCommand())
}

// hostDir is the flag that says which host is meant.
func hostDir(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", "", "`directory` of the host (default: host in the data directory)")
}

// host does something with a client of the host.
func (g *global) host(dir string, do func(c *supervise.Client, dir string) error) error {
	dir, err := g.HostDir(g.wiring, dir)
	if err != nil {
		return err
	}
	c := supervise.Local(dir)
	defer c.Close()
	if err = do(c, dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return usage("`fairlead host run` starts one; the first deployment does, too", "no host answers in %s", dir)
	}
	return err
}

func (g *global) hostRunCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "run",
		Short: "Be the host of this machine",
		Long: `Be the host of this machine, until it is told to end (TERM, or interrupt). The
instances live on when the host ends or is killed; the next one takes them up.

Sockets of systemd are used where they are named after the address: a socket unit with
FileDescriptorName=front-8080 is the front's :8080. Then nothing is refused even while no
host runs.`,
		Example: `  fairlead host run
  fairlead host run --dir /var/lib/fairlead/host`,
		Args: args(),
	}
	hostDir(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := g.HostDir(g.wiring, dir)
		if err != nil {
			return err
		}
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		err = g.Host(ctx, dir, g.Stderr)
		if errors.Is(err, supervise.ErrRefused) {
			return usage("", "%v", err)
		}
		return err
	}
	return c
}

func (g *global) hostStatusCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show what runs on this machine",
		Example: `  fairlead host status`,
		Args:    args(),
	}
	hostDir(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.host(dir, func(c *supervise.Client, _ string) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, s)
			}
			g.hostStatus(&s)
			return nil
		})
	}
	return c
}

func (g *global) hostStatus(s *supervise.Status) {
	fmt.Fprintf(g.Stdout, "host %s  process %d, for %s\n", shown(s.Version), s.PID, ago(time.Since(s.Since)))
	fmt.Fprintf(g.Stdout, "  in %s, %s\n", shown(s.Directory), plural(len(s.Releases), "release"))
	for _, address := range s.Listening {
		fmt.Fprintf(g.Stdout, "  listens at %s\n", shown(address))
	}
	if s.Damage != "" {
		fmt.Fprintf(g.Stdout, "  damage: %s\n", shown(s.Damage))
	}
	rows := [][]string{{"instance", "share", "state", "for", "starts", "memory", "address"}}
	for _, t := range s.Targets {
		for _, r := range t.Revisions {
			for _, in := range r.Instances {
				since, memory := "", ""
				if in.PID != 0 {
					since = ago(time.Since(in.Started))
				}
				if in.Memory > 0 {
					memory = bytesText(in.Memory)
				}
				rows = append(rows, []string{shown(in.Name), strconv.Itoa(r.Percent) + " %", shown(instanceState(&in)), since, strconv.Itoa(in.Restarts + 1), memory, in.Address})
			}
			if len(r.Instances) == 0 {
				rows = append(rows, []string{fmt.Sprintf("%s-r%d", shown(t.Name), r.Number), strconv.Itoa(r.Percent) + " %", "no instances", "", "", "", ""})
			}
		}
	}
	if len(rows) == 1 {
		fmt.Fprintln(g.Stdout, "nothing is deployed here")
		return
	}
	fmt.Fprintln(g.Stdout)
	table(g.Stdout, rows, map[int]bool{1: true, 4: true, 5: true}, g.style(g.Stdout), columns(g.Stdout))
}

// instanceState is how an instance is, in a few words.
func instanceState(in *supervise.SeenInstance) string {
	switch {
	case in.Leaving:
		return "leaves"
	case in.Ready:
		return "ready"
	case in.Failed:
		return "fails: " + in.Why
	}
	return "not ready: " + in.Why
}

func (g *global) hostLogsCommand() *cobra.Command {
	var dir string
	var last int64
	c := &cobra.Command{
		Use:     "logs INSTANCE",
		Short:   "Show what an instance has printed",
		Example: `  fairlead host logs shop-staging-r42-0`,
		Args:    args("INSTANCE"),
	}
	hostDir(c, &dir)
	c.Flags().Int64Var(&last, "last", hostLog, "show the last `KiB`")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.host(dir, func(c *supervise.Client, _ string) error {
			r, err := c.Logs(cmd.Context(), a[0], max(last, 1)<<10)
			if errors.Is(err, supervise.ErrRefused) {
				return usage("`fairlead host status` lists the instances", "there is no log of %s", a[0])
			}
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(g.Stdout, r)
			return err
		})
	}
	return c
}

func (g *global) hostUpgradeCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "upgrade",
		Short: "Let this program take over from the host that runs",
		Long: `Let this program become the host in the place of the one that runs. It takes the
sockets and the instances over; the old one ends when the requests have that it has
begun. No request fails. If this program does not come up, the old one goes on.`,
		Example: `  ./fairlead-2.0 host upgrade`,
		Args:    args(),
	}
	hostDir(c, &dir)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		return g.host(dir, func(c *supervise.Client, dir string) error {
			if err := c.Upgrade(cmd.Context(), []string{program, "host", "run", "--dir", dir}); err != nil {
				return err
			}
			c.Close()
			s, err := hostAfter(cmd.Context(), c)
			if err == nil {
				fmt.Fprintf(g.Stderr, "process %d, version %s, is the host\n", s.PID, shown(s.Version))
			}
			return err
		})
	}
	return c
}

// hostAfter asks the host that has taken over.
func hostAfter(ctx context.Context, c *supervise.Client) (supervise.Status, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return s, fmt.Errorf("ask the new host: %w", err)
	}
	return s, nil
}

func (g *global) hostStopCommand() *cobra.Command {
	var dir string
	var instances bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "End the host",
		Long: `End the host when the requests have ended that are under way. The instances live on, but
nobody leads requests to them. With --instances they end as well; the next host starts
them again, since what is deployed is not changed by this.`,
		Example: `  fairlead host stop
  fairlead host stop --instances`,
		Args: args(),
	}
	hostDir(c, &dir)
	c.Flags().BoolVar(&instances, "instances", false, "end the instances, too")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.host(dir, func(c *supervise.Client, _ string) error { return c.Stop(cmd.Context(), instances) })
	}
	return c
}
