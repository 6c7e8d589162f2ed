// Package docker runs jobs in containers of Docker, or of whatever speaks
// Docker's language.
//
// In each container that steps run in, the first process is Fairlead itself:
// the agent. Its program is mounted there, read-only, and it calls back over a
// socket that is mounted beside it. The agent is given an executor for the
// machine that it finds itself on (main gives it that of the host), opens a
// room with it, and runs there what it is sent:
//
//	        this machine                      the container
//	room ──► box ──► link ════ socket ════ agent ──► Room.Run ──► processes
//	         │   output, outcome, observation ◄═══════╛
//	         └─► daemon: create, start, remove
//
// So a step in a container is started, stopped, cleaned up after and watched
// by the very code that does this outside, and what the executor's contract
// promises holds without an interface of the daemon's that could promise it. When
// Fairlead is killed, the socket closes, the agent ends, and with the first
// process the kernel ends all others; the daemon removes the container.
//
// A job's directories have the same paths inside. What a step was seen to use
// of them is what it used of ours; what it used of the image is covered by the
// image's digest, which is part of the place's class; what it changed of the
// container bars it, and all that follow, from being reused.
//
// Files in the job's directories belong to whoever runs Fairlead in the end.
// Containers run as the user that their image or the pipeline names, mostly
// root, since that is what images are made for. An agent that is root gives
// away what its steps made, after each of them; to any other user the
// directories are opened while his container lives.
//
// Containers and networks carry labels that say which process they belong to. The
// next Fairlead removes those whose process is gone.
package docker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// DefaultGrace is how long processes have between TERM and KILL.
const DefaultGrace = 10 * time.Second

// Options say how containers are run. The zero value is sensible.
type Options struct {
	// Getenv reads the environment; nil is os.Getenv.
	Getenv func(string) string
	// Dir is where sockets are made; "" is the system's directory for
	// temporary files. Daemon and containers have to see it at the same path.
	Dir string
	// Shared are directories of this machine that every job's container sees
	// at the same paths, and cannot change.
	Shared []string
	// Agent is the program that runs inside: a Fairlead for Linux that needs
	// no libraries. "" is the one that is running.
	Agent string
	// Grace is the time between TERM and KILL when a step is cancelled; 0
	// means [DefaultGrace].
	Grace time.Duration
	// Limits hold for each container that does not set its own.
	Limits Limits
}

// Limits bound what the processes of one container may use together. Zero
// values do not bound.
type Limits struct {
	Memory int64   // bytes
	PIDs   int64   // processes and threads
	CPUs   float64 // cores
}

func (l Limits) apply(h *container.HostConfig) {
	if h.Memory == 0 {
		h.Memory = l.Memory
	}
	if h.PidsLimit == nil && l.PIDs > 0 {
		h.PidsLimit = &l.PIDs
	}
	if h.NanoCPUs == 0 {
		h.NanoCPUs = int64(l.CPUs * 1e9)
	}
}

// Executor runs jobs in containers. It is made by [New] and used by many
// goroutines.
type Executor struct {
	opts  Options
	owner owner

	mu      sync.Mutex
	daemon  *daemon // once one was found
	reaping sync.WaitGroup

	check   sync.Once
	program string // the agent's
	unfit   error  // why there is none
}

var _ executor.Executor = (*Executor)(nil)

// New makes an executor. It looks for a daemon when it is first asked.
func New(o Options) *Executor {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	return &Executor{opts: o, owner: whoAmI()}
}

// Name is "docker".
func (x *Executor) Name() string { return "docker" }

// engine is the daemon, looked for until one has been found. The first time,
// what killed Fairleads have left with it is removed.
func (x *Executor) engine(ctx context.Context) (*daemon, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.daemon != nil {
		return x.daemon, nil
	}
	d, err := find(ctx, x.opts.Getenv)
	if err != nil {
		return nil, err
	}
	x.daemon = d
	x.reaping.Go(func() { x.reap(context.WithoutCancel(ctx), d) })
	return d, nil
}

// agent is the program that is mounted into containers.
func (x *Executor) agent() (string, error) {
	x.check.Do(func() {
		x.program = x.opts.Agent
		if x.program == "" {
			if x.program, x.unfit = os.Executable(); x.unfit != nil {
				return
			}
		}
		if x.program, x.unfit = filepath.Abs(x.program); x.unfit == nil {
			x.unfit = static(x.program)
		}
	})
	return x.program, x.unfit
}

// static fails when a program does not run in every container.
func static(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%s cannot be the agent in containers: it is no program for Linux: %w", program, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s cannot be the agent in containers: it needs libraries that an image may not have; build it with CGO_ENABLED=0", program)
		}
	}
	return nil
}

// Fits says whether the place's containers can be had here.
func (x *Executor) Fits(place *plan.Place) *plan.Problem {
	if place == nil {
		return nil
	}
	type named struct {
		what string
		c    plan.Container
	}
	var all []named
	if c := place.Container; c != nil {
		all = append(all, named{"the job runs in the container image " + quoted(c), *c})
	}
	for name, c := range place.Services {
		all = append(all, named{fmt.Sprintf("the service %q runs the container image %s", name, quoted(&c)), c})
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.what, b.what) })
	for _, n := range all {
		if _, p := settle(&n.c); p != nil {
			if p.IsZero() {
				p.Source = place.Source
			}
			return p
		}
	}
	at := all[0].c.Source
	if at.IsZero() {
		at = place.Source
	}
	lacks := func(why error, hint string) *plan.Problem {
		return &plan.Problem{Source: at, Severity: plan.Error, Rule: "container", Message: all[0].what + ", and " + why.Error(), Hint: hint}
	}
	d, err := x.engine(context.Background())
	if err != nil {
		return lacks(err, "install Docker or Podman and start it, or name its socket in DOCKER_HOST")
	}
	if d.os != "linux" {
		return lacks(fmt.Errorf("the engine at %s runs containers of %s only", d.at, d.os), "switch it to Linux containers")
	}
	if place.Container != nil {
		if _, err := x.agent(); err != nil {
			return lacks(err, "use a released Fairlead for Linux")
		}
	}
	return nil
}

func quoted(c *plan.Container) string {
	if c.Build != nil {
		return fmt.Sprintf("built in %q", c.Build.Dir)
	}
	return fmt.Sprintf("%q", c.Image)
}

// Class is the image, by its digest, how it is run, and the kernel below it.
// For an image that is not here, or whose variables nobody may know, it is one
// that no other place has.
func (x *Executor) Class(place *plan.Place) executor.Class {
	unique := executor.Class{Name: "docker, not known: " + rand.Text()}
	if place == nil || place.Container == nil || len(place.Container.Private) > 0 {
		return unique
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	c := *place.Container
	d, err := x.engine(ctx)
	if err != nil {
		return unique
	}
	set, p := settle(&c)
	if p != nil || set.pull == plan.PullAlways {
		return unique
	}
	name := c.Image
	if c.Build != nil {
		// Below the workspace it is not known when: steps may change it.
		if !filepath.IsAbs(c.Build.Dir) {
			return unique
		}
		r, err := readRecipe(c.Build, "")
		if err != nil || r.fresh || r.parent {
			return unique
		}
		if name, err = r.tag(); err != nil {
			return unique
		}
		c.Build = nil
	}
	img, err := d.inspect(ctx, name)
	if err != nil {
		return unique
	}
	c.Image, c.Source, c.Pull = "", plan.Source{}, ""
	c.Username, c.Password = plan.Expr{}, plan.Expr{}
	how, err := json.Marshal(struct {
		Container *plan.Container
		Limits    Limits
	}{&c, x.opts.Limits})
	if err != nil {
		return unique
	}
	cores := 1
	for cores < runtime.NumCPU() {
		cores *= 2
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease") // elsewhere it is the engine's own affair
	kernel, _, _ := strings.Cut(string(release), ".")
	return executor.Class{
		Name:    fmt.Sprintf("docker %s %s, up to %d cores, image %s, run %x", img.arch, kernel, cores, img.id, sha256.Sum256(how)),
		Environ: slices.Concat(img.env, set.config.Env),
	}
}

// Open makes a room: the network, the services and the container that the
// place asks for. Of a place that asks for none, only commands that have a
// container of their own can be run.
func (x *Executor) Open(ctx context.Context, spec executor.Spec) (executor.Room, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p := x.Fits(&spec.Place); p != nil {
		return nil, fmt.Errorf("docker: open room: %s", p)
	}
	d, err := x.engine(ctx)
	if err != nil {
		return nil, fmt.Errorf("docker: open room: %w", err)
	}
	r := &room{x: x, d: d, spec: spec}
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("docker: open room: %w", err)
	}
	return r, nil
}

// Close gives back what the executor holds. All rooms are closed by then.
func (x *Executor) Close() error {
	x.reaping.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.daemon == nil {
		return nil
	}
	err := x.daemon.Close()
	x.daemon = nil
	return errors.Join(err)
}
