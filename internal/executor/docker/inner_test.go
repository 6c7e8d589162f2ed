package docker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	host := func(c plan.Container) string {
		s, p := settle(&c)
		if p != nil {
			return p.String()
		}
		data, err := json.Marshal(map[string]any{"c": s.config, "h": s.host, "n": s.network, "a": s.aliases, "p": s.platform, "pull": s.pull, "v": len(s.volumes)})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, tc := range []struct {
		c    plan.Container
		want []string
	}{
		{plan.Container{Options: "--user 1000:1000 -w /x --hostname h --stop-signal INT"}, []string{`"User":"1000:1000"`, `"WorkingDir":"/x"`, `"Hostname":"h"`, `"StopSignal":"INT"`}},
		{plan.Container{User: "a", Options: "-u b"}, []string{`"User":"b"`}},
		{plan.Container{Env: map[string]string{"B": "2", "A": "1"}, Options: "-e A=3 --env=C='x y'"}, []string{`"Env":["B=2","A=3","C=x y"]`}},
		{plan.Container{Options: "-e TOKEN"}, []string{"write TOKEN=value"}},
		{plan.Container{Options: "-m 512m --memory-swap -1 --cpus=1.5 --shm-size 1g --pids-limit 7 --cpu-shares 3"},
			[]string{`"Memory":536870912`, `"MemorySwap":-1`, `"NanoCpus":1500000000`, `"ShmSize":1073741824`, `"PidsLimit":7`, `"CpuShares":3`}},
		{plan.Container{Options: "--privileged --read-only=false --init --cap-add=SYS_PTRACE --cap-drop ALL --security-opt seccomp=unconfined"},
			[]string{`"Privileged":true`, `"ReadonlyRootfs":false`, `"CapAdd":["SYS_PTRACE"]`, `"CapDrop":["ALL"]`, `"SecurityOpt":["seccomp=unconfined"]`}},
		{plan.Container{Options: `--health-cmd "pg_isready -U 'x'" --health-interval 10s --health-timeout=5s --health-retries 5 --health-start-period 1m`},
			[]string{`"Test":["CMD-SHELL","pg_isready -U 'x'"],"Interval":10000000000,"Timeout":5000000000,"StartPeriod":60000000000,"Retries":5`}},
		{plan.Container{Options: "--no-healthcheck"}, []string{`"Test":["NONE"]`}},
		{plan.Container{Options: "--network host --network-alias a --net-alias b --platform linux/arm64 --pull always"},
			[]string{`"n":"host"`, `"a":["a","b"]`, `"p":"linux/arm64"`, `"pull":"always"`}},
		{plan.Container{Options: "--network name=n,alias=x"}, []string{`"n":"n"`, `"a":["x"]`}},
		{plan.Container{Ports: []string{"80", "8080:80/udp", "0.0.0.0:90:91", "[::1]:1:2", "5000-5001:6000-6001"}},
			[]string{`"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]`, `"80/udp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]`, `"91/tcp":[{"HostIp":"0.0.0.0","HostPort":"90"}]`,
				`"2/tcp":[{"HostIp":"::1","HostPort":"1"}]`, `"6001/tcp":[{"HostIp":"127.0.0.1","HostPort":"5001"}]`}},
		{plan.Container{Volumes: []string{"v:/a", "/b:/c:ro", "/d"}, Options: "-v /e:/f:z --tmpfs /g:size=1m --mount type=bind,source=/h,target=/i,readonly"},
			[]string{`"Binds":["v:/a","/b:/c:ro","/e:/f:z"]`, `"Volumes":{"/d":{}}`, `"Tmpfs":{"/g":"size=1m"}`, `"Source":"/h","Target":"/i","ReadOnly":true`, `"v":6`}},
		{plan.Container{Options: "--ulimit nofile=1:2 --device /dev/fuse --device /dev/a:/dev/b:r --gpus all --add-host a:1.2.3.4 --dns 1.1.1.1 --sysctl a=b --label x=y"},
			[]string{`"Name":"nofile","Hard":2,"Soft":1`, `"PathOnHost":"/dev/fuse","PathInContainer":"/dev/fuse","CgroupPermissions":"rwm"`,
				`"PathInContainer":"/dev/b","CgroupPermissions":"r"`, `"Count":-1`, `"ExtraHosts":["a:1.2.3.4"]`, `"Dns":["1.1.1.1"]`, `"Sysctls":{"a":"b"}`, `"Labels":{"x":"y"}`}},
		{plan.Container{Options: "-d -it -ti --rm --restart always --name x"}, []string{"c"}},
		{plan.Container{Options: "-p80:80 -eA=b"}, []string{`"80/tcp"`, `"A=b"`}},

		{plan.Container{Options: "--frobnicate 1", Source: plan.Source{File: "f", Line: 3}}, []string{"f:3: the option --frobnicate is not known [container]"}},
		{plan.Container{Options: "alpine"}, []string{`"alpine" in the options is no flag`}},
		{plan.Container{Options: "-X"}, []string{"-X is not known"}},
		{plan.Container{Options: "-"}, []string{"is not known"}},
		{plan.Container{Options: "--user"}, []string{"--user has no value"}},
		{plan.Container{Options: "--privileged=perhaps"}, []string{"no value of it"}},
		{plan.Container{Options: "--memory much"}, []string{"no size"}},
		{plan.Container{Options: "--memory 99999999999999t"}, []string{"no size"}},
		{plan.Container{Options: "--cpus -1"}, []string{"no number"}},
		{plan.Container{Options: "--ulimit nofile"}, []string{"a limit is"}},
		{plan.Container{Options: "--device fuse"}, []string{"a device is"}},
		{plan.Container{Ports: []string{"x"}}, []string{`the port "x"`}},
		{plan.Container{Ports: []string{"1-2:3"}}, []string{"different lengths"}},
		{plan.Container{Ports: []string{"a.b:1:2"}}, []string{"no address"}},
		{plan.Container{Volumes: []string{"a:b"}}, []string{"not absolute"}},
		{plan.Container{Volumes: []string{"/a:/b:c"}}, []string{"option c is not known"}},
		{plan.Container{Volumes: []string{":/b"}}, []string{"does not say what"}},
	} {
		got := host(tc.c)
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v:\n%s\nwant %s", tc.c, got, want)
			}
		}
	}
}

func FuzzSettle(f *testing.F) {
	for _, s := range []string{"--cpus 1 -v /a:/b:ro -p 1:2/udp", `--health-cmd "a b"`, "--mount type=tmpfs,target=/x,tmpfs-size=1m", "--device a:b:c -", "--gpus 2 --ulimit a=1:2 -p 65535-65535"} {
		f.Add(s, "/a:/b", "80-90:80-90")
	}
	f.Fuzz(func(t *testing.T, options, volume, port string) {
		s, p := settle(&plan.Container{Options: options, Volumes: []string{volume}, Ports: []string{port}})
		if (s == nil) == (p == nil) {
			t.Errorf("%v, %v", s, p)
		}
	})
}

// pipeLine is a line whose other end is fed by hand.
type pipeLine struct {
	io.Reader
	io.Writer
}

func (pipeLine) Close() error { return nil }

func FuzzLine(f *testing.F) {
	var b bytes.Buffer
	l := newLine(pipeLine{&b, &b})
	_ = l.answer(kindDone, 7, &outcome{Exit: 3, Seen: seenOf(&record.Observation{Inputs: []record.Input{{Path: "/x"}}}, []string{"/"})})
	_ = l.send(kindOutput, 7, bytes.Repeat([]byte("x"), 3*maxFrame))
	f.Add(b.Bytes()[:2000])
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLine(pipeLine{bytes.NewReader(data), io.Discard})
		for {
			k, _, body, err := l.receive()
			if err != nil {
				return
			}
			switch k {
			case kindDone:
				var o outcome
				if answered(body, &o) == nil {
					table{{"/here", "/there"}, {"", "/volume"}}.translate(o.Seen.observation(), []string{"/here"})
				}
			case kindReady:
				_ = answered(body, &ready{})
			}
		}
	})
}

// A message of any length arrives as it was.
func TestLine(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	out, in := newLine(a), newLine(b)
	sizes := []int{0, 1, maxFrame - 1, maxFrame, maxFrame + 1, 3*maxFrame + 5}
	go func() {
		for i, n := range sizes {
			if err := out.send(kindDone, uint32(i), bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				t.Error(err)
			}
		}
		a.Close()
	}()
	for i, n := range sizes {
		k, id, body, err := in.receive()
		if err != nil || k != kindDone || int(id) != i || !bytes.Equal(body, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Errorf("%d bytes: %d, %d, %d bytes, %v", n, k, id, len(body), err)
		}
	}
	if _, _, _, err := in.receive(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// What was seen is the same at the other end, whatever files are called.
func TestSeen(t *testing.T) {
	t.Parallel()
	state := record.FileState{Kind: record.Regular, Perm: 0o644, Size: 3, MTime: 5, Digest: [32]byte{1, 2, 3}}
	o := &record.Observation{
		Mechanism: "seccomp", Barred: []record.Bar{{Kind: record.BarNetwork, Detail: "x"}}, Argv: []byte("a\x00\xff"), Calls: 7,
		Inputs:   []record.Input{{Path: "/w/a\xff", Use: record.UseContent, FileState: state, Own: true}, {Path: "/w/b", Use: record.UseAbsent}},
		Outputs:  []record.Output{{Path: "/w/c\xfe", FileState: state, Made: true}},
		Programs: []string{"/bin/\xfd"},
	}
	body, err := json.Marshal(&outcome{Seen: seenOf(o, []string{"/w"})})
	if err != nil {
		t.Fatal(err)
	}
	var back outcome
	if err := answered(body, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Seen.observation(); !reflect.DeepEqual(got, o) {
		t.Errorf("%+v\nwant %+v", got, o)
	}
	o.Inputs = append(o.Inputs, record.Input{Path: "/usr/lib/x", Use: record.UseContent})
	if n := len(seenOf(o, []string{"/w"}).Inputs); n != 2 {
		t.Errorf("%d inputs are told of", n)
	}
}

// An agent that does not keep to the rules is not listened to any more.
func TestHostileAgent(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(l *line){
		"prints too much": func(l *line) {
			for range window/maxFrame + 4 {
				if l.send(kindOutput, 1, make([]byte, maxFrame)) != nil {
					return
				}
			}
		},
		"talks nonsense": func(l *line) { _, _ = l.conn.Write(bytes.Repeat([]byte{0xff}, 100)) },
		"goes away":      func(l *line) { l.conn.Close() },
		"lies":           func(l *line) { _ = l.send(kindDone, 1, []byte("no outcome")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := net.Pipe()
			go func() {
				l := newLine(theirs)
				_, _, _, _ = l.receive() // the beginning
				_ = l.answer(kindReady, 0, ready{})
				if k, _, _, _ := l.receive(); k == kindRun {
					go io.Copy(io.Discard, theirs)
					say(l)
					theirs.Close()
				}
			}()
			l, _, err := greet(ours, beginning{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.run(t.Context(), &order{}, writerFunc(func(p []byte) (int, error) { <-l.gone; return len(p), nil })); err == nil {
				t.Error("nothing was noticed")
			}
			ours.Close()
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Errors keep their meaning on their way through the line.
func TestProblem(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}, fs.ErrPermission, io.ErrUnexpectedEOF, nil} {
		got := problemOf(err).error()
		if (got == nil) != (err == nil) || err != nil && got.Error() != err.Error() ||
			errors.Is(got, fs.ErrNotExist) != errors.Is(err, fs.ErrNotExist) || errors.Is(got, fs.ErrPermission) != errors.Is(err, fs.ErrPermission) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestInsideNumber(t *testing.T) {
	t.Parallel()
	const plain, rootless = "         0          0 4294967295\n", "0 1000 1\n1 100000 65536\n"
	for _, tc := range []struct {
		outside int
		table   string
		want    int
		known   bool
	}{{1000, plain, 1000, true}, {0, plain, 0, true}, {1000, rootless, 0, true}, {100005, rootless, 6, true}, {0, rootless, 0, false}, {5, "", 0, false}} {
		if n, known, err := insideNumber(tc.outside, tc.table); n != tc.want || known != tc.known || err != nil {
			t.Errorf("%d: %d, %t, %v", tc.outside, n, known, err)
		}
	}
	if _, _, err := insideNumber(1, "nonsense\n"); err == nil {
		t.Error("nonsense is read")
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("# all\n*.log\n/build\n**/tmp\n!keep.log\ndocs/*.md\n!docs/README.md\na?b\n[xy].c\nsp\\*ce\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g, err := readIgnore(dir, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for path, out := range map[string]bool{
		"a.log": true, "keep.log": false, "sub/a.log": false, "build": true, "build/x/y": true, "sub/build": false,
		"tmp": true, "x/y/tmp": true, "x/tmp/z": true, "tmpx": false, "docs/a.md": true, "docs/README.md": false, "docs/x/a.md": false,
		"axb": true, "a/b": false, "x.c": true, "z.c": false, "sp*ce": true, "space": false,
	} {
		if g.out(path) != out {
			t.Errorf("%s: left out %t", path, !out)
		}
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("**/a[b-c]*?\\*\n!x\n", "a/b/c")
	f.Fuzz(func(t *testing.T, text, path string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(text), 0o644); err != nil {
			t.Skip()
		}
		if g, err := readIgnore(dir, "Dockerfile"); err == nil {
			g.out(path)
		}
	})
}

func TestRecipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("Dockerfile", "FROM x\nCOPY . .\n")
	write("a", "1")
	tag := func(b plan.Build) string {
		t.Helper()
		b.Dir = dir
		r, err := readRecipe(&b, "")
		if err != nil {
			t.Fatal(err)
		}
		name, err := r.tag()
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := tag(plan.Build{})
	if again := tag(plan.Build{File: "Dockerfile"}); again != first {
		t.Error("the same files have another name")
	}
	names := []string{first, tag(plan.Build{Args: map[string]string{"A": "b"}}), tag(plan.Build{Options: "--target t"})}
	if got := tag(plan.Build{Options: "--build-arg A=b"}); got != names[1] {
		t.Error("an argument is not the same as one in the options")
	}
	write("a", "2")
	names = append(names, tag(plan.Build{}))
	if slices.Sort(names); len(slices.Compact(names)) != 4 {
		t.Errorf("different builds have the same name: %q", names)
	}
	write("new", "FROM x\nRUN --mount=type=cache,target=/x true\n")
	for want, b := range map[string]plan.Build{
		"needs BuildKit (--mount=type=cache,target=/x)": {Dir: dir, File: "new"},
		"is outside of":                      {Dir: dir, File: "../Dockerfile"},
		"no such file":                       {Dir: dir, File: "none"},
		"--ssh of docker build is not known": {Dir: dir, Options: "--ssh default"},
	} {
		if _, err := readRecipe(&b, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", b, err, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	env := func(kv ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == name {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	hosts := func(getenv func(string) string) string {
		all, err := addresses(getenv)
		if err != nil {
			return err.Error()
		}
		var list []string
		for _, a := range all {
			list = append(list, a.host)
		}
		return strings.Join(list, " ")
	}
	if got := hosts(env("DOCKER_HOST", "tcp://x:1", "HOME", home)); got != "tcp://x:1" {
		t.Error(got)
	}
	want := "unix:///var/run/docker.sock unix:///run/user/1/docker.sock unix://" + home + "/.docker/run/docker.sock unix:///run/user/1/podman/podman.sock unix:///run/podman/podman.sock"
	if got := hosts(env("HOME", home, "XDG_RUNTIME_DIR", "/run/user/1")); got != want {
		t.Error(got)
	}
	id := sha256.Sum256([]byte("far"))
	meta := filepath.Join(home, ".docker", "contexts", "meta", hex.EncodeToString(id[:]))
	if err := errors.Join(os.MkdirAll(meta, 0o755), os.WriteFile(filepath.Join(meta, "meta.json"), []byte(`{"Endpoints":{"docker":{"Host":"unix:///far"}}}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := hosts(env("HOME", home, "DOCKER_CONTEXT", "far")); got != "unix:///far" {
		t.Error(got)
	}
	if got := hosts(env("HOME", home, "DOCKER_CONTEXT", "gone")); !strings.Contains(got, `"gone" cannot be read`) {
		t.Error(got)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(home, ".docker"), 0o755), os.WriteFile(filepath.Join(home, ".docker/config.json"), []byte(`{"currentContext":"default"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := hosts(env("HOME", home, "XDG_RUNTIME_DIR", "/run/user/1")); got != want {
		t.Error(got)
	}
	for v, old := range map[string]bool{"1.41": false, "1.9": true, "1.100": false, "2.0": false, "": true} {
		if older(v, oldest) != old {
			t.Errorf("%q", v)
		}
	}
}

// Whoever is gone is told from whoever lives, and both from those of whom
// nothing can be known.
func TestOwnerGone(t *testing.T) {
	t.Parallel()
	me := whoAmI()
	for name, tc := range map[string]struct {
		labels      map[string]string
		gone, known bool
	}{
		"me":            {me.labels("1", "a"), false, true},
		"nobody":        {map[string]string{labelBoot: me.boot, labelOwner: strings.Replace(me.self, strings.Fields(me.self)[0], "4999999", 1)}, true, true},
		"my number":     {map[string]string{labelBoot: me.boot, labelOwner: strings.Join(append([]string{strings.Fields(me.self)[0], "1"}, strings.Fields(me.self)[2:]...), " ")}, true, true},
		"another space": {map[string]string{labelBoot: me.boot, labelOwner: "1 2 pid:[99]"}, false, false},
		"another boot":  {map[string]string{labelBoot: "x", labelOwner: "1 2 pid:[99]"}, false, false},
	} {
		if gone, known := me.gone(tc.labels); gone != tc.gone || known != tc.known {
			t.Errorf("%s: gone %t, known %t", name, gone, known)
		}
	}
}
