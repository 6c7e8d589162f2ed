//go:build amd64 || arm64

package trace

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callCases are little programs, and what a witness is told of the paths in
// their directory, "$". That holds f and d/g, a directory d/e, the links
// lf (to f) and le (to d/e), and prog, a program that does nothing.
var callCases = []struct {
	name string
	run  func(p *try)
	want []string
}{
	{"descriptors", func(p *try) {
		d := p.open("d", unix.O_PATH|unix.O_DIRECTORY)
		p.ok(unix.Fstatat(d, "g", new(unix.Stat_t), 0))
		p.fd(unix.Openat(d, "../f", unix.O_RDONLY, 0))
		p.ok(unix.Faccessat(d, "e", unix.R_OK, 0))
	}, []string{"see $/d", "see $/d/g", "open $/f r", "see $/d/e"}},

	{"working directory", func(p *try) {
		p.ok(unix.Chdir("d"))
		p.open("g", unix.O_RDONLY)
		p.ok(unix.Chdir(".."))
		p.open("f", unix.O_RDONLY)
		p.ok(unix.Fchdir(p.open("d", unix.O_RDONLY)))
		p.open("./g", unix.O_RDONLY)
		p.fails(unix.Chdir("nowhere"))
		p.open("g", unix.O_RDONLY)
	}, []string{"see $/d", "open $/d/g r", "see $", "open $/f r", "open $/d r", "open $/d/g r", "see $/d/nowhere", "open $/d/g r"}},

	{"threads share it", func(p *try) {
		there, moved, back := make(chan bool), make(chan bool), make(chan bool)
		go func() {
			runtime.LockOSThread()
			p.open("f", unix.O_RDONLY)
			there <- true
			<-moved
			p.open("g", unix.O_RDONLY)
			back <- true
		}()
		<-there
		p.ok(unix.Chdir("d"))
		moved <- true
		<-back
	}, []string{"open $/f r", "see $/d", "open $/d/g r"}},

	{"dots after a link", func(p *try) {
		p.open("le/../g", unix.O_RDONLY)
		p.open("d/./e/../../f", unix.O_RDONLY)
		p.open("d//g", unix.O_RDONLY)
	}, []string{"see $/le", "open $/d/g r", "see $/d/e", "open $/f r", "open $/d/g r"}},

	{"links", func(p *try) {
		st := new(unix.Stat_t)
		p.ok(unix.Stat("lf", st))
		p.ok(unix.Lstat("lf", st))
		p.ok(unix.Lstat("le/", st))
		b := make([]byte, 10)
		p.fd(unix.Readlink("lf", b))
		p.fails2(unix.Open("lf", unix.O_RDONLY|unix.O_NOFOLLOW, 0))
		p.ok(unix.Symlink("../f", "d/new"))
		p.ok(unix.Link("lf", "h"))
		p.ok(unix.Linkat(unix.AT_FDCWD, "lf", unix.AT_FDCWD, "h2", unix.AT_SYMLINK_FOLLOW))
	}, []string{"see $/lf", "see $/lf nofollow", "see $/le", "readlink $/lf", "open $/lf r nofollow",
		"symlink ../f $/d/new", "link $/lf $/h nofollow", "link $/lf $/h2"}},

	{"no path", func(p *try) {
		st := new(unix.Stat_t)
		fd := p.open("f", unix.O_RDONLY)
		p.ok(unix.Fstat(fd, st))
		p.ok(unix.Fstatat(fd, "", st, unix.AT_EMPTY_PATH))
		p.ok(unix.Fstatat(unix.AT_FDCWD, "", st, unix.AT_EMPTY_PATH))
		p.fails(unix.Stat("", st))
		p.fails2(unix.Open(strings.Repeat("x", 5000), 0, 0))
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), 16, 0, 0, 0, 0)
		if errno != unix.EFAULT {
			p.ok(errno)
		}
	}, []string{"open $/f r", "see $"}},

	{"end of memory", func(p *try) {
		m, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		p.ok(err)
		p.ok(unix.Mprotect(m[2*page:], unix.PROT_NONE))
		// One path that ends where the memory does, one across two pages.
		for _, at := range []int{2*page - 4, page - 1} {
			copy(m[at:], "d/g\x00")
			cwd := unix.AT_FDCWD
			_, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(cwd), uintptr(unsafe.Pointer(&m[at])), 0, 0, 0, 0)
			if errno != 0 {
				p.ok(errno)
			}
		}
		long := strings.Repeat("./", 2045) + "d/g"
		p.open(long, unix.O_RDONLY)
		p.open(strings.Repeat("./", 2046)+"d/g", unix.O_RDONLY) // 4,095 bytes, the most
		p.fails2(unix.Open(strings.Repeat("./", 2047)+"d/g", unix.O_RDONLY, 0))
	}, []string{"open $/d/g r", "open $/d/g r", "open $/d/g r", "open $/d/g r"}},

	{"openat2", func(p *try) {
		d := p.open("d", unix.O_PATH)
		p.fd(unix.Openat2(d, "g", &unix.OpenHow{Flags: unix.O_RDWR, Resolve: unix.RESOLVE_BENEATH}))
		p.fd(unix.Openat2(d, "/g", &unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_IN_ROOT}))
	}, []string{"see $/d", "open $/d/g rw"}},

	{"openat2 in another root", func(p *try) {
		p.fd(unix.Openat2(p.open("d", unix.O_PATH), "/g", &unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_IN_ROOT}))
	}, []string{"see $/d"}},

	{"a file that gets its name later", func(p *try) {
		fd, err := unix.Open(".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
		p.fd(fd, err)
		p.ok(unix.Fchmod(fd, 0o644))
		p.ok(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "t", unix.AT_SYMLINK_FOLLOW))
	}, []string{"see $", "open $/t wcx nofollow"}},

	{"names", func(p *try) {
		p.ok(unix.Mkdir("m", 0o755))
		p.ok(unix.Rename("f", "m/f"))
		p.ok(unix.Renameat2(unix.AT_FDCWD, "m/f", unix.AT_FDCWD, "d/g", unix.RENAME_EXCHANGE))
		p.ok(unix.Unlink("m/f"))
		p.ok(unix.Unlinkat(p.open(".", unix.O_RDONLY), "m", unix.AT_REMOVEDIR))
		p.ok(unix.Rmdir("d/e"))
		p.ok(unix.Mknod("p", unix.S_IFIFO|0o600, 0))
	}, []string{"mkdir $/m", "rename $/f $/m/f 0", "rename $/m/f $/d/g 2", "remove $/m/f dir=false", "open $ r",
		"remove $/m dir=true", "remove $/d/e dir=true", "mknod $/p 10600"}},

	{"changes", func(p *try) {
		fd := p.open("f", unix.O_RDONLY)
		p.ok(unix.Fchmod(fd, 0o600))
		p.ok(unix.Chmod("lf", 0o644))
		p.ok(unix.Truncate("f", 0))
		p.ok(unix.Lchown("lf", -1, -1))
		p.ok(unix.UtimesNanoAt(unix.AT_FDCWD, "f", make([]unix.Timespec, 2), unix.AT_SYMLINK_NOFOLLOW))
		cwd, times := fd, [2]unix.Timespec{}
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(cwd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		if errno != 0 {
			p.ok(errno)
		}
		_ = unix.Fsetxattr(fd, "user.x", []byte("1"), 0) // not every file system can
	}, []string{"open $/f r", "change $/f nofollow", "change $/lf", "truncate $/f", "change $/lf nofollow",
		"change $/f nofollow", "change $/f nofollow", "change $/f nofollow"}},

	{"ways to write", func(p *try) {
		p.open("n", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
		p.open("n", unix.O_RDWR|unix.O_APPEND)
		p.open("n", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	}, []string{"open $/n wcx nofollow", "open $/n rwa", "open $/n wct"}},

	{"through proc", func(p *try) {
		p.open("/proc/self/cwd/f", unix.O_RDONLY)
		fd := p.open("d/g", unix.O_RDONLY)
		p.open(fmt.Sprintf("/dev/fd/%d", fd), unix.O_RDONLY)
		p.open(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), unix.O_RDONLY)
		d := p.open("d", unix.O_PATH)
		p.ok(unix.Chmod(fmt.Sprintf("/proc/self/fd/%d/g", d), 0o600))
		p.ok(unix.Unlink("f"))
		p.ok(unix.Unlink("d/g"))
		p.open(fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.O_RDONLY) // has no name any more
	}, []string{"open $/f r", "open $/d/g r", "open $/d/g r", "open $/d/g r", "see $/d", "change $/d/g",
		"remove $/f dir=false", "remove $/d/g dir=false"}},

	{"exec", func(p *try) {
		p.fails(unix.Exec("./missing", []string{"missing"}, nil))
		p.ok(unix.Exec("./prog", []string{"prog", strings.Repeat("x", 5000), ""}, nil))
	}, []string{`exec $/missing ["missing"]`, `exec $/prog ["prog" "` + strings.Repeat("x", 5000) + `" ""]`}},

	{"execveat", func(p *try) {
		p.execveat(p.open("d", unix.O_PATH), "../prog", 0)
	}, []string{"see $/d", `exec $/prog ["x"]`}},

	{"exec of a descriptor", func(p *try) {
		p.execveat(p.open("prog", unix.O_RDONLY), "", unix.AT_EMPTY_PATH)
	}, []string{"open $/prog r", `exec $/prog ["x"]`}},

	{"exec of memory", func(p *try) {
		b, err := os.ReadFile("prog")
		p.ok(err)
		fd, err := unix.MemfdCreate("m", 0)
		p.fd(fd, err)
		p.fd(unix.Write(fd, b))
		p.execveat(fd, "", unix.AT_EMPTY_PATH)
	}, []string{"open $/prog r"}},

	{"sockets", func(p *try) {
		c := p.socket(unix.AF_UNIX, unix.SOCK_STREAM)
		p.fails(unix.Connect(c, &unix.SockaddrUnix{Name: "d/sock"}))
		p.ok(unix.Bind(c, &unix.SockaddrUnix{Name: "sock"}))
		p.fails(unix.Connect(p.socket(unix.AF_UNIX, unix.SOCK_STREAM), &unix.SockaddrUnix{Name: "@fairlead$test"}))
	}, []string{"connect unix $/d/sock", "bind unix $/sock"}},
}

// try is what the programs use.
type try struct{}

func (*try) ok(err error) {
	if err != nil {
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintf(os.Stderr, "line %d: %v\n", line, err)
		os.Exit(1)
	}
}
func (p *try) fd(fd int, err error) { p.ok(err) }
func (p *try) fails(err error) {
	if err == nil {
		p.ok(fmt.Errorf("no error"))
	}
}
func (p *try) fails2(_ int, err error) { p.fails(err) }
func (p *try) open(path string, flags int) int {
	fd, err := unix.Open(path, flags, 0o644)
	if err != nil {
		p.ok(fmt.Errorf("open %s: %w", path[max(0, len(path)-100):], err))
	}
	return fd
}
func (p *try) socket(family, kind int) int {
	fd, err := unix.Socket(family, kind, 0)
	p.ok(err)
	return fd
}
func (p *try) execveat(fd int, path string, flags int) {
	name, err := unix.BytePtrFromString(path)
	p.ok(err)
	arg, _ := unix.BytePtrFromString("x")
	argv := []*byte{arg, nil}
	env := []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), uintptr(flags), 0)
	p.ok(errno)
}

// tree makes what callCases work on.
func tree(t testing.TB) string {
	dir := realDir(t)
	prog, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(dir+"/d/e", 0o755), os.WriteFile(dir+"/f", []byte("f"), 0o644), os.WriteFile(dir+"/d/g", []byte("g"), 0o644),
		os.Symlink("f", dir+"/lf"), os.Symlink("d/e", dir+"/le"), os.WriteFile(dir+"/prog", prog, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCalls(t *testing.T) {
	t.Parallel()
	for _, m := range []Mechanism{Seccomp, Ptrace} {
		for _, c := range callCases {
			t.Run(string(m)+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				dir := tree(t)
				n, _, status := watched(t, m, helping(t, dir, "case", c.name))
				got := n.below(dir)
				if status != 0 || len(got) == 0 || got[0] != "see $" {
					t.Fatalf("status %v, told of %q", status, got)
				}
				if !slices.Equal(got[1:], c.want) {
					t.Errorf("told of\n\t%s\nwant\n\t%s", strings.Join(got[1:], "\n\t"), strings.Join(c.want, "\n\t"))
				}
			})
		}
	}
}

func runCase(args []string) error {
	for _, c := range callCases {
		if c.name == args[0] {
			c.run(new(try))
			return nil
		}
	}
	return fmt.Errorf("no case %q", args[0])
}

// talkToSelf serves and talks to itself, on a port that the kernel chooses.
func talkToSelf([]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	c.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err = u.WriteTo([]byte("x"), u.LocalAddr()); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, []byte("x"), nil, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}, 0); err != nil {
		return err
	}
	_ = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}, Port: 10})
	fmt.Printf("%s %s\n", l.Addr(), u.LocalAddr())
	return nil
}

func TestPortsOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, m := range []Mechanism{Seccomp, Ptrace} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			s := helping(t, realDir(t), "talk")
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			s.out = out
			n, _, status := watched(t, m, s)
			b, _ := os.ReadFile(out.Name())
			addr := strings.Fields(string(b))
			if status != 0 || len(addr) != 2 {
				t.Fatalf("status %v, printed %q, told of %q", status, b, n.all())
			}
			// The port that was chosen is told before it is talked to.
			got := n.all()
			for _, want := range []string{
				"bind tcp 127.0.0.1:0", "bind tcp " + addr[0], "connect tcp " + addr[0],
				"bind udp 127.0.0.1:0", "bind udp " + addr[1], "connect udp " + addr[1],
				"connect udp 127.0.0.1:9", "connect udp 127.0.0.2:10",
			} {
				i := slices.Index(got, want)
				if i < 0 {
					t.Fatalf("not told of %q, or too early: %q", want, n.all())
				}
				got = got[i+1:]
			}
		})
	}
}

// leave asks for what others could share, or for another view of the machine.
func leave([]string) error {
	for _, key := range []uintptr{0, 4711} {
		_, _, _ = unix.Syscall(unix.SYS_SHMGET, key, 4096, 0)
	}
	_, _, _ = unix.Syscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&[8]uint64{unix.CLONE_NEWNS | unix.CLONE_FS})), 64, 0)
	_ = unix.Unshare(unix.CLONE_NEWNS | 1) // not a flag: nothing comes of it
	_ = unix.Setns(-1, 0)
	_ = unix.Mount("a", "/nowhere", "b", 0, "")
	name, _ := unix.BytePtrFromString("q")
	_, _, _ = unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), 0, 0, 0, 0, 0)
	if _, _, errno := unix.Syscall(425, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0); errno != unix.ENOSYS {
		return fmt.Errorf("io_uring_setup: %w", errno)
	}
	return nil
}

func TestBorders(t *testing.T) {
	t.Parallel()
	for _, m := range []Mechanism{Seccomp, Ptrace} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			n, _, status := watched(t, m, helping(t, realDir(t), "leave"))
			var got []string
			for _, l := range n.all() {
				if strings.HasPrefix(l, "bar ") {
					got = append(got, l)
				}
			}
			want := []string{"bar ipc shmget with key 4711", "bar namespace clone3", "bar namespace unshare", "bar namespace setns",
				"bar namespace mount", "bar ipc message queue q"}
			if status != 0 || !slices.Equal(got, want) {
				t.Errorf("status %v, told of %q, want %q", status, got, want)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	args := slices.Repeat([]string{"argument"}, 3000)
	for _, m := range []Mechanism{Seccomp, Ptrace} {
		n, _, status := watched(t, m, subject{argv: []string{"/bin/sh", "-c", `/bin/true ` + strings.Join(args, " ")}, dir: realDir(t)})
		if want := fmt.Sprintf("exec /bin/true %q", append([]string{"/bin/true"}, args...)); status != 0 || !n.has(want) {
			t.Errorf("%s: status %v, not told of 3,000 arguments", m, status)
		}
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	text := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	text[9000] = 0
	for _, refused := range []bool{false, true} { // the two ways to read
		m := &memory{refused: refused}
		at := uint64(uintptr(unsafe.Pointer(&text[0])))
		if s, err := m.long(os.Getpid(), at); err != nil || s != string(text[:9000]) {
			t.Errorf("refused %t: %d bytes, %v", refused, len(s), err)
		}
		if _, _, err := m.str(os.Getpid(), 8, pathMax); err != errFault {
			t.Errorf("refused %t: of no memory: %v", refused, err)
		}
		if _, _, err := m.str(1<<30, at, pathMax); err != errGone {
			t.Errorf("refused %t: of no process: %v", refused, err)
		}
	}
	runtime.KeepAlive(text)
}

// FuzzClean makes paths of what processes may say.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"a/b", "/a//b/", "../../..", "./a/./../b/..", "/", ".", "a/../../x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" || len(path) > pathMax || strings.IndexByte(path, 0) >= 0 {
			t.Skip()
		}
		// Nothing below this exists, so that no link is in the way.
		const base = "/proc/self/nothing"
		p := newPaths(&notes{})
		got, dir := p.clean(base, []byte(path))
		want := filepath.Join(base, path)
		if path[0] == '/' {
			want = filepath.Clean(path)
		}
		if got[0] != '/' || got != filepath.Clean(got) || !strings.Contains(path, "..") && got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
		if strings.HasSuffix(path, "/") && !dir {
			t.Errorf("%q can be a file", path)
		}
	})
}

// FuzzAddress reads what processes may pass as addresses.
func FuzzAddress(f *testing.F) {
	f.Add([]byte{unix.AF_INET, 0, 0, 80, 127, 0, 0, 1})
	f.Add(append([]byte{unix.AF_UNIX, 0}, "/run/x.sock"...))
	f.Add([]byte{unix.AF_UNIX, 0, 0, 'a'})
	f.Add(append([]byte{unix.AF_UNIX, 0}, "x/.."...))
	f.Add(append([]byte{unix.AF_INET6, 0, 1, 187}, make([]byte, 24)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			t.Skip()
		}
		n := &notes{}
		w := newWatcher(n)
		c := find(arches()[0], number(arches()[0], "connect"))
		s := stopped{c, &task{tid: os.Getpid(), proc: &process{pid: os.Getpid(), cwd: "/w"}}, arches()[0], new([6]uint64), func() bool { return true }}
		err := w.address(&s, opSendto, -1, uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(len(b)))
		runtime.KeepAlive(b)
		// The way to a socket's file may be told of, too: "x/../socket" looks at x.
		told := slices.DeleteFunc(n.all(), func(s string) bool { return strings.HasPrefix(s, "see ") })
		if len(told) > 1 || err != nil && err != errFault {
			t.Errorf("%v, told of %q", err, told)
		}
	})
}
