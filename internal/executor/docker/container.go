package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Where a container finds what is ours.
const (
	agentFile = "/.fairlead/agent"
	lineDir   = "/.fairlead/line"
	lineName  = "s"
)

// Patience with containers and daemons.
const (
	startTime = 2 * time.Minute  // from the start of a container until its agent is heard of
	closeTime = 30 * time.Second // for all that is left in one to end
	goneTime  = 10 * time.Second // for a container that is being removed
)

// box is a container with our agent in it.
type box struct {
	room    *room
	id      string
	image   *image
	set     *settings
	entry   []string // that was asked for, instead of the image's
	link    *link
	said    *lastLines // what was printed by others than commands
	quiet   chan struct{}
	stream  client.HijackedResponse
	dir     string               // of the sockets
	routes  map[int]net.Listener // by port: see route
	ready   ready                // who lives there
	altered string
}

// prepare is what all containers of a room have in common.
func (r *room) prepare(c *plan.Container, set *settings, img *image, what string) (client.ContainerCreateOptions, error) {
	set.config.Image = img.id
	if set.config.Labels == nil {
		set.config.Labels = map[string]string{}
	}
	name := containerName(r.spec.Run, r.spec.Job, what)
	if r.keep != nil {
		name = r.keep.name(what)
		if err := r.keep.label(set.config.Labels, c, what, img.name); err != nil {
			return client.ContainerCreateOptions{}, err
		}
		atHome(set, img)
	} else {
		delete(set.config.Labels, labelKeep) // nobody makes himself somebody's service
		maps.Copy(set.config.Labels, r.x.owner.labels(r.spec.Run, r.spec.Job))
	}
	for _, b := range c.Private {
		value, err := r.value(b.Value)
		if err != nil {
			return client.ContainerCreateOptions{}, err
		}
		set.config.Env = append(set.config.Env, b.Name+"="+value)
	}
	// The directories are the daemon's user's business: labels of SELinux
	// would have to be changed on each of their files.
	set.host.SecurityOpt = append(set.host.SecurityOpt, "label=disable")
	if set.host.UsernsMode == "" {
		set.host.UsernsMode = "host" // users are who they are outside, as far as that goes
	}
	r.x.opts.Limits.apply(&set.host)
	opts := client.ContainerCreateOptions{Config: &set.config, HostConfig: &set.host, Name: name}
	if set.platform != "" {
		p, err := platformOf(set.platform)
		if err != nil {
			return opts, err
		}
		opts.Platform = p
	}
	switch {
	case set.network != "":
		set.host.NetworkMode = container.NetworkMode(set.network)
	case r.network != "":
		set.host.NetworkMode = container.NetworkMode(r.network)
		opts.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			r.network: {Aliases: set.aliases},
		}}
	}
	return opts, nil
}

// containerName is a name by which a person knows whose it is.
func containerName(run, job, what string) string {
	name := "fairlead-" + run + "-" + job
	if what != "" {
		name += "-" + what
	}
	return cleanName(name) + "-" + strings.ToLower(rand.Text()[:8])
}

// cleanName is what the engine takes of a name.
func cleanName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '-'
	}, name)
	return clean[:min(len(clean), 100)]
}

// image has the image of a container here: fetched, or built.
func (r *room) image(ctx context.Context, c *plan.Container, set *settings, log io.Writer) (*image, error) {
	if c.Build != nil {
		rec, err := readRecipe(c.Build, r.spec.Dirs.Workspace)
		if err != nil {
			return nil, err
		}
		return r.d.build(ctx, rec, log)
	}
	var l *login
	if !c.Username.IsZero() || !c.Password.IsZero() {
		user, err := r.value(c.Username)
		if err != nil {
			return nil, err
		}
		password, err := r.value(c.Password)
		if err != nil {
			return nil, err
		}
		l = &login{user, password}
	}
	return r.d.obtain(ctx, c.Image, set.pull, set.platform, l, r.tell)
}

// tell tells a person what is waited for.
func (r *room) tell(text string) {
	if r.spec.Note != nil {
		r.spec.Note(text)
	}
}

// value is what an expression over secrets comes to.
func (r *room) value(e plan.Expr) (string, error) {
	switch {
	case e.IsZero():
		return "", nil
	case r.spec.Value == nil:
		return "", fmt.Errorf("%s: the value of %q is not known here", e.Source, e.Text)
	}
	return r.spec.Value(e)
}

// start starts a container with our agent in it, and waits until that has
// opened its room. Unless it is to be bare, the agent is what the container's
// entrypoint is given to run.
func (r *room) start(ctx context.Context, c *plan.Container, what string, bare bool, log io.Writer) (_ *box, err error) {
	set, p := settle(c)
	if p != nil {
		return nil, errors.New(p.String())
	}
	agent, err := r.x.agent()
	if err != nil {
		return nil, err
	}
	img, err := r.image(ctx, c, set, log)
	if err != nil {
		return nil, err
	}
	b := &box{room: r, image: img, set: set, said: &lastLines{}, quiet: make(chan struct{})}
	dir, listener, err := r.x.listen()
	if err != nil {
		return nil, err
	}
	b.dir = dir
	defer listener.Close()
	defer func() {
		if err != nil {
			b.discard()
		}
	}()

	argv := []string{agentFile, Inside, lineDir + "/" + lineName}
	entry := set.config.Entrypoint
	if c.Entrypoint != nil {
		entry = c.Entrypoint
	}
	b.entry = entry
	if bare {
		entry = []string{""}
	}
	wrapper := entry
	if entry == nil {
		wrapper = img.entrypoint
	}
	if n := len(wrapper); n > 0 && wrapper[n-1] == "-c" {
		argv = []string{"exec " + strings.Join(argv, " ")} // a shell, which wants a text
	}
	// A list with one empty text takes the image's entrypoint away; an empty
	// list would leave it.
	set.config.Entrypoint, set.config.Cmd = entry, argv
	if set.config.Hostname == "" && set.network == "" && set.host.UTSMode == "" {
		set.config.Hostname = "fairlead" // a random one would be another input each time
	}
	set.config.AttachStdout, set.config.AttachStderr = true, true
	set.host.AutoRemove = true // when the agent has lost us, it ends
	set.host.Init = nil        // that is the agent's part
	opts, err := r.prepare(c, set, img, what)
	if err != nil {
		return nil, err
	}
	bind := func(source, target string, ro bool) {
		set.host.Mounts = append(set.host.Mounts, mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: ro})
	}
	for _, dir := range jobDirs(r.spec.Dirs) {
		bind(dir, dir, false)
	}
	for _, dir := range r.x.opts.Shared {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("share a directory with the container: %w", err)
		}
		bind(dir, dir, true)
	}
	for _, v := range set.volumes {
		// What the daemon makes belongs to root.
		if below(v.source, jobDirs(r.spec.Dirs)) {
			if err := os.MkdirAll(v.source, 0o755); err != nil {
				return nil, fmt.Errorf("make a directory for a volume: %w", err)
			}
		}
	}
	bind(agent, agentFile, true)
	bind(b.dir, lineDir, true)

	made, err := r.d.ContainerCreate(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("create a container of %s: %w", img.name, plain(err))
	}
	b.id = made.ID
	if err := b.attach(ctx); err != nil {
		return nil, fmt.Errorf("listen to the container of %s: %w", img.name, plain(err))
	}
	if _, err := r.d.ContainerStart(ctx, b.id, client.ContainerStartOptions{}); err != nil {
		return nil, fmt.Errorf("start a container of %s: %w", img.name, plain(err))
	}
	conn, err := b.accept(ctx, listener)
	if err != nil {
		return nil, err
	}
	b.link, b.ready, err = greet(conn, beginning{Dirs: r.spec.Dirs, Grace: r.x.opts.Grace, Owner: [2]int{os.Getuid(), os.Getgid()}})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a room in the container of %s: %w%s", img.name, err, b.said.told())
	}
	return b, b.lend()
}

// jobDirs are the directories that a job has, each once.
func jobDirs(d plan.Dirs) []string {
	all := slices.DeleteFunc([]string{d.Workspace, d.Temp, d.Tools, d.Home}, func(s string) bool { return s == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// attach begins to read what the container prints: its entrypoint, and, when
// something goes wrong, the agent.
func (b *box) attach(ctx context.Context) error {
	r, err := b.room.d.ContainerAttach(ctx, b.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	b.stream = r.HijackedResponse
	go func() {
		defer close(b.quiet)
		// It ends with the container, however that ends.
		_, _ = stdcopy.StdCopy(b.said, b.said, b.stream.Reader)
	}()
	return nil
}

// accept waits for the agent.
func (b *box) accept(ctx context.Context, l *net.UnixListener) (net.Conn, error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	ch := make(chan accepted, 1)
	_ = l.SetDeadline(time.Now().Add(startTime))
	go func() {
		conn, err := l.Accept()
		ch <- accepted{conn, err}
	}()
	drop := func() {
		l.Close()
		if a := <-ch; a.err == nil {
			a.conn.Close()
		}
	}
	select {
	case a := <-ch:
		if a.err != nil {
			return nil, fmt.Errorf("the agent in the container of %s is not heard of: %w", b.image.name, a.err)
		}
		return a.conn, nil
	case <-b.quiet:
		drop()
		why := "the container of %s ended at once%s"
		if entry := cmp.Or(strings.Join(b.set.config.Entrypoint, " "), strings.Join(b.image.entrypoint, " ")); entry != "" {
			why = "the container of %s ended at once: its entrypoint, " + strings.ReplaceAll(entry, "%", "%%") +
				", does not run what it is given; an empty entrypoint takes it away%s"
		}
		return nil, fmt.Errorf(why, b.image.name, b.said.told())
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	}
}

// give has root in the container give the job's directories to somebody.
func (b *box) give(ctx context.Context, to [2]int) error {
	for _, dir := range jobDirs(b.room.spec.Dirs) {
		made, err := b.room.d.ExecCreate(ctx, b.id, client.ExecCreateOptions{
			User: "0:0", AttachStderr: true, AttachStdout: true, WorkingDir: "/",
			Cmd: []string{agentFile, Inside, giveVerb, fmt.Sprint(to[0]), fmt.Sprint(to[1]), dir},
		})
		if err != nil {
			return plain(err)
		}
		stream, err := b.room.d.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
		if err != nil {
			return plain(err)
		}
		said := &lastLines{}
		_, _ = stdcopy.StdCopy(said, said, stream.Reader)
		stream.Close()
		end, err := b.room.d.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
		if err != nil {
			return plain(err)
		}
		if end.ExitCode != 0 {
			return fmt.Errorf("give %s to user %d%s", dir, to[0], said.told())
		}
	}
	return nil
}

// foreign reports whether the container's user is neither root nor ours, and
// so can neither write our files, nor we his.
func (b *box) foreign() bool { return b.ready.User[0] != 0 && b.ready.User[0] != b.ready.Owner[0] }

// lend opens the job's directories to a foreign user.
func (b *box) lend() error {
	if !b.foreign() {
		return nil
	}
	for _, dir := range jobDirs(b.room.spec.Dirs) {
		err := each(dir, unlock)
		if err != nil {
			return fmt.Errorf("lend the job's directories to user %d of the container: %w", b.ready.User[0], err)
		}
	}
	return nil
}

// unlock lets everybody do with a file or directory what its owner may. Nobody
// else gets at it: the directories of a job lie below one that is ours alone.
// What is not ours to open is left.
func unlock(path string, d fs.DirEntry) error {
	if d.Type()&^fs.ModeDir != 0 {
		return nil // a link or the like
	}
	info, err := d.Info()
	if err != nil {
		return nil // it has just gone
	}
	if opened(info.Mode().Perm()) == info.Mode().Perm() {
		return nil
	}
	if err := os.Chmod(path, opened(info.Mode().Perm())); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// opened are permissions with those of the owner for everybody.
func opened(perm fs.FileMode) fs.FileMode { return perm | perm>>3&0o070 | perm>>6 }

// reclaim makes all files in the job's directories ours again.
func (b *box) reclaim(ctx context.Context) error {
	if !b.foreign() {
		return nil // the agent has done it, or they always were
	}
	if err := b.give(ctx, b.ready.Owner); err != nil {
		return fmt.Errorf("take back the job's directories: %w", err)
	}
	return nil
}

// close ends everything in the container and removes it.
func (b *box) close() error {
	// Whatever ended the job: this is done to its end.
	ctx, cancel := context.WithTimeout(context.Background(), closeTime+goneTime)
	defer cancel()
	err := b.link.end(closeTime)
	select {
	case <-b.link.gone: // it had ended by itself, and has been removed
	default:
		err = errors.Join(err, b.reclaim(ctx))
	}
	return errors.Join(err, b.discard())
}

// discard removes the container, whatever became of it.
func (b *box) discard() error {
	var err error
	if b.link != nil {
		b.link.line.conn.Close()
	}
	if b.id != "" {
		err = b.room.d.remove(b.id)
	}
	if b.stream.Conn != nil {
		b.stream.Close()
	}
	err = errors.Join(err, b.closeRoutes())
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// remove removes a container and its anonymous volumes.
func (d *daemon) remove(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	end := time.Now().Add(goneTime)
	for {
		_, err := d.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case errdefs.IsConflict(err): // the daemon is at it already
			if _, err := d.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); errdefs.IsNotFound(err) {
				return nil
			}
		case !errdefs.IsInternal(err):
			return fmt.Errorf("remove container %.12s: %w", id, plain(err))
		}
		// Podman fails at a container that is just ending by itself.
		if time.Now().After(end) {
			return fmt.Errorf("remove container %.12s: %w", id, plain(err))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// listen makes a socket for an agent to call, in a directory of its own.
func (x *Executor) listen() (dir string, l *net.UnixListener, err error) {
	if x.opts.Dir != "" {
		err = os.MkdirAll(x.opts.Dir, 0o700)
	}
	if err == nil {
		dir, err = os.MkdirTemp(x.opts.Dir, "line-")
	}
	if err != nil {
		return "", nil, fmt.Errorf("make a line into the container: %w", err)
	}
	l, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, lineName), Net: "unix"})
	if err == nil {
		// Whoever the container's user is has to be able to call; nobody else
		// reaches the directory, whose parent is ours alone.
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, lineName), 0o666))
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, fmt.Errorf("make a line into the container: %w", err)
	}
	return dir, l, nil
}
