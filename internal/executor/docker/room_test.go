package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// patience bounds every wait. Nothing is measured by it.
const patience = 30 * time.Second

// place is a room with its directories.
type place struct {
	executor.Room
	dirs plan.Dirs
	t    testing.TB
}

func directories(t testing.TB) plan.Dirs {
	root := t.TempDir()
	d := plan.Dirs{Workspace: filepath.Join(root, "work"), Temp: filepath.Join(root, "temp"), Tools: filepath.Join(root, "tools")}
	for _, dir := range []string{d.Workspace, d.Temp, d.Tools} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func room(t testing.TB, x *docker.Executor, p plan.Place) *place {
	t.Helper()
	r, err := tryRoom(t, x, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryRoom(t testing.TB, x *docker.Executor, p plan.Place) (*place, error) {
	t.Helper()
	dirs := directories(t)
	value := func(e plan.Expr) (string, error) { return "value of " + e.Text, nil }
	r, err := x.Open(t.Context(), executor.Spec{Run: "7", Job: "build/linux", Place: p, Dirs: dirs, Value: value})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &place{r, dirs, t}, nil
}

func in(c plan.Container) plan.Place {
	if c.Image == "" && c.Build == nil {
		c.Image = testImage
	}
	return plan.Place{Container: &c}
}

func (p *place) sh(script string) *plan.Command {
	return &plan.Command{Argv: []string{"sh", "-c", script}, Dir: p.dirs.Workspace}
}

// run runs a script that has to end well, and returns what it printed.
func (p *place) run(script string) string {
	p.t.Helper()
	return p.command(p.sh(script))
}

func (p *place) command(c *plan.Command) string {
	p.t.Helper()
	var out bytes.Buffer
	res, err := p.Run(p.t.Context(), c, nil, &out)
	if err != nil || res.Exit != 0 {
		p.t.Fatalf("%q: exit %d, %v\n%s", c.Argv, res.Exit, err, &out)
	}
	return out.String()
}

func TestContainer(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	r := room(t, x, in(plan.Container{
		Env:     map[string]string{"A": "b c"},
		Private: []plan.Binding{{Name: "P", Value: plan.Expr{Text: "secret"}}},
		Options: `--hostname box --env "OPT=x y" --cpus 1 --memory 200m --pids-limit 200 --shm-size 8m --tmpfs /scratch --label l=1 --add-host far:10.1.2.3 --cap-drop NET_RAW --ulimit nofile=300:400 --init -w /usr`,
		Volumes: []string{"/some/volume"},
	}))
	got := r.run(`echo "$A,$P,$OPT,$(hostname),$(ulimit -n),$(stat -f -c %T /scratch)"; pwd; grep -c far /etc/hosts; ls -d /some/volume; cat /proc/1/cmdline | tr '\0' ' '`)
	want := "b c,value of secret,x y,box,300,tmpfs\n" + r.dirs.Workspace + "\n1\n/some/volume\n/.fairlead/agent inside-container /.fairlead/line/s "
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	images := r.Room.(executor.Located).Images()
	if len(images) != 1 || images[0].Name != testImage || !strings.HasPrefix(images[0].Digest, "sha256:") {
		t.Errorf("images %+v", images)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	web := plan.Container{
		Image: testImage, Ports: []string{"8077"}, Aliases: []string{"other"},
		Options: `--health-cmd "test -e /tmp/ready" --health-interval 50ms --health-retries 100`,
		Command: []string{"sh", "-c", "sleep 0.3; touch /tmp/ready; while :; do echo hello | nc -l -p 8077; done"},
	}
	t.Run("beside a container", func(t *testing.T) {
		p := in(plan.Container{})
		p.Services = map[string]plan.Container{"web": web, "two": {Image: testImage, Command: []string{"sleep", "1000"}}}
		r := room(t, x, p)
		for _, name := range []string{"web", "other"} {
			if got := r.run("until nc " + name + " 8077 </dev/null 2>/dev/null; do sleep 0.05; done"); got != "hello\n" {
				t.Errorf("%s says %q", name, got)
			}
		}
		r.run("nslookup two >/dev/null")
		b := r.Room.(executor.Located).Beside()
		if len(b) != 2 || b["web"].Ports["8077"] == "" || b["web"].Network == "" || len(b["two"].Ports) != 0 {
			t.Errorf("%+v", b)
		}
	})
	t.Run("beside the host", func(t *testing.T) {
		r := room(t, x, plan.Place{Services: map[string]plan.Container{"web": web}})
		if port := r.Room.(executor.Located).Beside()["web"].Ports["8077"]; port == "" || port == "8077" {
			t.Errorf("port %q", port)
		}
		// A command with a container of its own is in the services' network.
		c := r.sh("until nc web 8077 </dev/null 2>/dev/null; do sleep 0.05; done")
		c.Container = &plan.Container{Image: testImage}
		if got := r.command(c); got != "hello\n" {
			t.Errorf("%q", got)
		}
		if _, err := r.Run(t.Context(), r.sh("true"), nil, io.Discard); err == nil {
			t.Error("a command runs in a container that the job does not have")
		}
	})
	for name, c := range map[string]plan.Container{
		"it ended with exit code 3":          {Image: testImage, Options: "--health-cmd false --health-interval 10s", Command: []string{"sh", "-c", "echo last words; exit 3"}},
		"it is unhealthy":                    {Image: testImage, Options: "--health-cmd 'echo sick; false' --health-interval 50ms --health-retries 1", Command: []string{"sh", "-c", "echo last words; sleep 1000"}},
		"it is not on this machine":          {Image: "fairlead-test/none:1", Pull: plan.PullNever},
		"the option --nope is not":           {Image: testImage, Options: "--nope"},
		"create a container of " + testImage: {Image: testImage, Options: "--network none --network-alias a --cap-add NONSENSE"},
	} {
		t.Run(name, func(t *testing.T) {
			p := in(plan.Container{})
			p.Services = map[string]plan.Container{"bad": c}
			_, err := tryRoom(t, x, p)
			if name == "it is not on this machine" {
				name = "the image is not on this machine"
			}
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Fatalf("%v", err)
			}
			if len(c.Command) > 0 && !strings.Contains(err.Error(), "last words") {
				t.Errorf("what it printed is not in %v", err)
			}
		})
	}
}

// What containers cannot be made from is said, and leaves nothing behind.
func TestCannotOpen(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	for want, c := range map[string]plan.Container{
		"the image is not on this machine":          {Image: "fairlead-test/none:1", Pull: plan.PullNever},
		"fetch the image localhost:1/none:1":        {Image: "localhost:1/none:1"},
		"does not run what it is given":             {Image: testImage, Entrypoint: []string{"/bin/echo", "hello"}},
		"start a container of":                      {Image: testImage, Entrypoint: []string{"/no/such"}},
		`the option --cpus "many"`:                  {Image: testImage, Options: "--cpus many"},
		"its path in the container is not absolute": {Image: testImage, Volumes: []string{"a:b"}},
	} {
		if _, err := tryRoom(t, x, in(c)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// An image's entrypoint prepares what steps find; an empty one takes it away.
func TestEntrypoint(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	for _, tc := range []struct {
		entry []string
		want  string
	}{
		{nil, ",\n"},
		{[]string{""}, ",\n"},
		{[]string{"/bin/sh", "-c"}, ",\n"},
		{[]string{"/bin/env", "PREPARED=yes"}, "yes,\n"},
		{[]string{"/bin/sh", "-c", `echo noise; echo more noise >&2; export PREPARED=yes; exec "$@"`, "sh"}, "yes,\n"},
		{[]string{"/bin/sh", "-c", `export PREPARED=child; "$@"`, "sh"}, "child,\n"}, // the agent is not the first process
	} {
		r := room(t, x, in(plan.Container{Entrypoint: tc.entry}))
		if got := r.run(`echo "$PREPARED,"`); got != tc.want {
			t.Errorf("%q: %q", tc.entry, got)
		}
	}
}

// Commands with a container of their own.
func TestApart(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	r := room(t, x, plan.Place{})
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile":    "FROM " + testImage + "\nARG WHO=nobody\nCOPY . /copied\nENV WHO=$WHO\nENTRYPOINT [\"/bin/sh\", \"-c\", \"echo $WHO: $0 $@; ls /copied\"]\nCMD [\"default\"]\n",
		".dockerignore": "*.log\nsub\n!keep.log\n",
		"a.log":         "", "keep.log": "", "b.txt": "", "sub/c": "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	build := &plan.Build{Dir: dir, Args: map[string]string{"WHO": "me"}}
	for _, tc := range []struct {
		name string
		c    plan.Command
		want string
	}{
		{"argv", plan.Command{Argv: []string{"echo", "x"}, Container: &plan.Container{Image: testImage}}, "x\n"},
		{"own", plan.Command{Container: &plan.Container{Image: testImage, Entrypoint: []string{"echo"}, Command: []string{"y"}}}, "y\n"},
		{"flag", plan.Command{Container: &plan.Container{Image: testImage, Options: "--entrypoint echo", Command: []string{"z"}}}, "z\n"},
		{"built", plan.Command{Container: &plan.Container{Build: build}}, "me: default\nDockerfile\nb.txt\nkeep.log\n"},
		{"built with arguments", plan.Command{Container: &plan.Container{Build: build, Command: []string{"a", "b"}}}, "me: a b\nDockerfile\nb.txt\nkeep.log\n"},
		{"workspace", plan.Command{Argv: []string{"sh", "-c", "echo made > made; pwd"}, Dir: "/github/workspace",
			Container: &plan.Container{Image: testImage, Volumes: []string{r.dirs.Workspace + ":/github/workspace"}}}, "/github/workspace\n"},
		{"and its files", plan.Command{Argv: []string{"cat", "made"}, Dir: r.dirs.Workspace, Container: &plan.Container{Image: testImage}}, "made\n"},
	} {
		got := r.command(&tc.c)
		if _, after, ok := strings.Cut(got, "Successfully tagged"); ok {
			_, got, _ = strings.Cut(after, "\n")
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	var out bytes.Buffer
	if _, err := r.Run(t.Context(), &plan.Command{Container: &plan.Container{Image: testImage, Entrypoint: []string{"/no/such/program"}}}, nil, &out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	go func() { bufio.NewReader(pr).ReadString('\n'); cancel(); io.Copy(io.Discard, pr) }()
	res, err := r.Run(ctx, &plan.Command{Container: &plan.Container{Image: testImage, Command: []string{"sh", "-c", "trap '' TERM; echo go; while :; do sleep 1; done"}}}, nil, pw)
	if err != nil || !res.Stopped {
		t.Errorf("%+v, %v", res, err)
	}
}

// Files belong to whoever runs Fairlead, and who lives in a container can
// write all the same.
func TestOwnership(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	for _, user := range []string{"", "0", "1234", "1234:1234", "other"} {
		dirs := directories(t)
		r, err := x.Open(t.Context(), executor.Spec{Run: "7", Job: "own", Place: in(plan.Container{User: user}), Dirs: dirs})
		if err != nil {
			t.Fatal(err)
		}
		p := &place{r, dirs, t}
		talk := filepath.Join(dirs.Temp, "talk")
		if err := os.WriteFile(talk, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := p.sh(`umask 077; mkdir -p d/e; echo x > d/e/f; ln -s nowhere l; echo said >> "$TALK"; id -u`)
		c.Env = map[string]string{"TALK": talk}
		got := strings.TrimSpace(p.command(c))
		if want := strings.TrimSuffix(strings.Replace(user, "other", "1234", 1), ":1234"); want != "" && got != want {
			t.Errorf("user %q is %s", user, got)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"d", "d/e", "d/e/f", "l"} {
			info, err := os.Lstat(filepath.Join(dirs.Workspace, name))
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
				t.Errorf("user %q: %s belongs to %d:%d", user, name, st.Uid, st.Gid)
			}
		}
		if said, err := os.ReadFile(talk); err != nil || string(said) != "said\n" {
			t.Errorf("user %q: %q, %v", user, said, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits = docker.Limits{Memory: 60 << 20, PIDs: 50, CPUs: 0.5}
	x := open(t, o)
	r := room(t, x, in(plan.Container{}))
	var out bytes.Buffer
	res, err := r.Run(t.Context(), r.sh("head -c 500m /dev/zero | tail -c 400m | wc -c; exit 0"), nil, &out)
	if err == nil && res.Exit == 0 && strings.Contains(out.String(), "419430400") {
		t.Errorf("a step used 400 MB of 60: %+v, %q", res, &out)
	}
	r = room(t, x, in(plan.Container{}))
	if res, err := r.Run(t.Context(), r.sh("i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; echo all"), nil, &out); err == nil && strings.Contains(out.String(), "all") {
		t.Errorf("100 processes where 50 may be: %+v", res)
	}
}

// The observation of a step in a container is of this machine's files alone.
func TestObservation(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	p := in(plan.Container{})
	p.Container.Volumes = []string{"/some/volume"}
	r := room(t, x, p)
	if err := os.WriteFile(filepath.Join(r.dirs.Workspace, "in"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	watch := &trace.Spec{Inside: []string{r.dirs.Workspace, r.dirs.Temp, "/tmp"}}
	look := func(script string, c *plan.Container) *record.Observation {
		t.Helper()
		command := r.sh(script)
		command.Container = c
		if c != nil {
			command.Dir = "/github/workspace"
		}
		res, err := r.Run(t.Context(), command, watch, io.Discard)
		if err != nil || res.Exit != 0 {
			t.Fatalf("%s: exit %d, %v", script, res.Exit, err)
		}
		if res.Observation == nil || res.Observation.Mechanism == "" {
			t.Skipf("SKIPPED, nothing can be watched in containers here: %+v", res.Observation)
		}
		return res.Observation
	}
	kinds := func(o *record.Observation) (all []string) {
		for _, b := range o.Barred {
			all = append(all, b.Kind)
		}
		return all
	}
	has := func(o *record.Observation, name string, use record.Use) bool {
		return slices.ContainsFunc(o.Inputs, func(i record.Input) bool { return i.Path == filepath.Join(r.dirs.Workspace, name) && i.Use == use })
	}
	wrote := func(o *record.Observation, name string) bool {
		return slices.ContainsFunc(o.Outputs, func(i record.Output) bool { return i.Path == filepath.Join(r.dirs.Workspace, name) })
	}
	o := look("cat in > out; cat /etc/passwd; test -e absent; true; echo x > /tmp/t; rm /tmp/t", nil)
	if len(o.Barred) != 0 || !has(o, "in", record.UseContent) || !has(o, "absent", record.UseAbsent) || !wrote(o, "out") {
		t.Errorf("%+v", o)
	}
	for _, i := range o.Inputs {
		if !strings.HasPrefix(i.Path, filepath.Dir(r.dirs.Workspace)+"/") {
			t.Errorf("%s is an input", i.Path)
		}
	}
	// By another name, in a container of its own.
	o = look("cat in > out2; cat /github/workspace/in", &plan.Container{Image: testImage, Volumes: []string{r.dirs.Workspace + ":/github/workspace"}})
	if len(o.Barred) != 0 || !has(o, "in", record.UseContent) || !wrote(o, "out2") || !slices.IsSortedFunc(o.Inputs, func(a, b record.Input) int { return strings.Compare(a.Path, b.Path) }) {
		t.Errorf("%+v", o)
	}
	if got := kinds(look("cat /some/volume/x 2>/dev/null; true", nil)); !slices.Equal(got, []string{record.BarVolume}) {
		t.Errorf("reading a volume: %v", got)
	}
	if why := r.Room.(executor.Located).Altered(); why != "" {
		t.Errorf("altered: %s", why)
	}
	if got := kinds(look("echo x > /etc/new", nil)); !slices.Equal(got, []string{record.BarOutside}) {
		t.Errorf("changing the container: %v", got)
	}
	if why := r.Room.(executor.Located).Altered(); !strings.Contains(why, "/etc/new") {
		t.Errorf("altered: %q", why)
	}
	if got := kinds(look("cat in", nil)); !slices.Equal(got, []string{record.BarOutside}) {
		t.Errorf("after a change of the container: %v", got)
	}
}

// The class of a place is its image and how it is run.
func TestClass(t *testing.T) {
	t.Parallel()
	x := open(t, options(t))
	p := in(plan.Container{Env: map[string]string{"A": "b"}, Source: plan.Source{Line: 3}})
	a := x.Class(&p)
	if !strings.Contains(a.Name, "sha256:") || !slices.Contains(a.Environ, "A=b") {
		t.Fatalf("%+v", a)
	}
	same := in(plan.Container{Env: map[string]string{"A": "b"}})
	if b := x.Class(&same); b.Name != a.Name {
		t.Errorf("the position changes the class: %s, %s", a.Name, b.Name)
	}
	for _, c := range []plan.Container{
		{}, {Env: map[string]string{"A": "c"}}, {Env: map[string]string{"A": "b"}, Options: "--user 1"}, {Image: "fairlead-test/none:1"},
	} {
		p := in(c)
		if b := x.Class(&p); b.Name == a.Name {
			t.Errorf("%+v: the same class", c)
		}
	}
	// Nobody else has that of an image that is not known.
	for _, c := range []plan.Container{
		{Image: "fairlead-test/none:1"}, {Pull: plan.PullAlways}, {Private: []plan.Binding{{Name: "A"}}}, {Build: &plan.Build{Dir: "x"}},
	} {
		p := in(c)
		if first := x.Class(&p); x.Class(&p).Name == first.Name {
			t.Errorf("%+v: the same class twice", c)
		}
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	place := in(plan.Container{Source: plan.Source{File: "ci.yml", Line: 4}})
	nobody := docker.New(docker.Options{Getenv: func(name string) string {
		return map[string]string{"DOCKER_HOST": "unix:///no/such/socket"}[name]
	}})
	p := nobody.Fits(&place)
	if p == nil || p.Severity != plan.Error || p.Line != 4 || !strings.Contains(p.Message, "/no/such/socket, DOCKER_HOST") || p.Hint == "" {
		t.Errorf("%v", p)
	}
	if p := nobody.Fits(&plan.Place{}); p != nil {
		t.Errorf("%v", p)
	}
	home := t.TempDir()
	lonely := docker.New(docker.Options{Getenv: func(name string) string {
		return map[string]string{"HOME": home, "XDG_RUNTIME_DIR": home}[name]
	}})
	if _, err := os.Stat("/var/run/docker.sock"); err != nil {
		if p := lonely.Fits(&place); p == nil || !strings.Contains(p.Message, "rootless Docker") || !strings.Contains(p.Message, "Podman") {
			t.Errorf("%v", p)
		}
	}
	bad := in(plan.Container{Options: "--frobnicate", Source: plan.Source{File: "ci.yml", Line: 5}})
	if p := nobody.Fits(&bad); p == nil || p.Line != 5 || !strings.Contains(p.Message, "--frobnicate") {
		t.Errorf("%v", p)
	}
	x := open(t, options(t))
	if p := x.Fits(&place); p != nil {
		t.Errorf("%v", p)
	}
	if runtime.GOOS == "linux" {
		o := options(t)
		o.Agent = "/bin/sh"
		if p := docker.New(o).Fits(&place); p == nil || !strings.Contains(p.Message, "libraries") {
			t.Errorf("a program with libraries is the agent: %v", p)
		}
	}
}

// When Fairlead is killed, the container goes at once, and the rest when the
// next one starts.
func TestKilled(t *testing.T) {
	t.Parallel()
	e := need(t)
	if os.Getenv(victim) != "" {
		beVictim(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$", "-test.v")
	cmd.Env = append(os.Environ(), victim+"="+e.agent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	run := ""
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			run = id
			break
		}
	}
	if run == "" {
		t.Fatal("the victim did not get going")
	}
	left := func() (containers, networks int) {
		f := client.Filters{}.Add("label", "dev.fairlead.run="+run)
		c, err := e.client.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: f})
		if err != nil {
			t.Fatal(err)
		}
		n, err := e.client.NetworkList(t.Context(), client.NetworkListOptions{Filters: f})
		if err != nil {
			t.Fatal(err)
		}
		return len(c.Items), len(n.Items)
	}
	if c, n := left(); c != 2 || n != 1 {
		t.Fatalf("%d containers, %d networks", c, n)
	}
	// While its owner lives, nobody else touches it.
	room(t, open(t, options(t)), in(plan.Container{}))
	if c, n := left(); c != 2 || n != 1 {
		t.Fatalf("%d containers, %d networks when another Fairlead has come", c, n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			c, _ := left()
			if c == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d containers are left, want %d", c, want)
			}
		}
	}
	await(1) // the service
	x := docker.New(options(t))
	p := in(plan.Container{})
	if problem := x.Fits(&p); problem != nil {
		t.Fatal(problem)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if c, n := left(); c != 0 || n != 0 {
		t.Errorf("%d containers and %d networks are left", c, n)
	}
}

const victim = "FAIRLEAD_TEST_VICTIM"

// beVictim opens a room, begins a step and waits to be killed.
func beVictim(t *testing.T) {
	x := docker.New(docker.Options{Agent: os.Getenv(victim)})
	p := in(plan.Container{})
	p.Services = map[string]plan.Container{"s": {Image: testImage, Command: []string{"sleep", "1000"}}}
	run := fmt.Sprintf("victim-%d", os.Getpid())
	dirs := directories(t)
	r, err := x.Open(t.Context(), executor.Spec{Run: run, Job: "j", Place: p, Dirs: dirs})
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	go func() {
		bufio.NewReader(pr).ReadString('\n')
		fmt.Println("ready " + run)
	}()
	_, _ = r.Run(t.Context(), &plan.Command{Argv: []string{"sh", "-c", "echo go; sleep 1000"}, Dir: dirs.Workspace}, nil, pw)
}

// A container that somebody removes under a step is said to be gone.
func TestRemoved(t *testing.T) {
	t.Parallel()
	e := need(t)
	r := room(t, open(t, options(t)), in(plan.Container{}))
	pr, pw := io.Pipe()
	go func() {
		bufio.NewReader(pr).ReadString('\n')
		_, _ = e.client.ContainerRemove(context.Background(), docker.ContainerID(r.Room), client.ContainerRemoveOptions{Force: true})
	}()
	_, err := r.Run(t.Context(), r.sh("echo go; sleep 1000"), nil, pw)
	if err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("%v", err)
	}
}
