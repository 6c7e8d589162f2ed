package trace

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Each story is a small program over a small world, and what is to be known of
// it. What is said of inputs and outputs is compared with the truth besides.
func TestLedgerStories(t *testing.T) {
	t.Parallel()
	const (
		rw     = unix.O_RDWR
		create = unix.O_WRONLY | unix.O_CREAT
		excl   = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
	)
	linux := runtime.GOOS == "linux"
	for name, s := range map[string]struct {
		world world
		do    func(a *actor)
		want  string
		spec  func(dir string) Spec
	}{
		"a file is read": {
			world{"f": text("1")},
			func(a *actor) { a.read("f"); a.see("f"); a.read("f") },
			"content ./f\n", nil,
		},
		"a file is looked at": {
			world{"f": text("1")}, func(a *actor) { a.see("f") }, "exists ./f\n", nil,
		},
		"read, then overwritten": {
			world{"f": text("1")},
			func(a *actor) { a.read("f"); a.must(a.put("f", "2")); a.read("f") },
			"content ./f\nout file ./f\n", nil,
		},
		"overwritten unread": {
			world{"f": text("1")},
			func(a *actor) { a.must(a.put("f", "2")); a.read("f"); a.see("f") },
			"kind ./f\nout file ./f\n", nil,
		},
		"overwritten where it must be": {
			world{"f": text("1")},
			func(a *actor) { a.must(a.write("f", "2", unix.O_WRONLY|unix.O_TRUNC)) },
			"kind ./f\nout file ./f\n", nil,
		},
		"overwritten, then listed and removed": {
			world{"d/f": text("1"), "d": {kind: record.Directory, perm: 0o755}},
			func(a *actor) {
				a.must(a.put("d/f", "2"))
				a.list("d")
				a.must(a.unlink("d/f"))
			},
			"listed ./d\nkind ./d/f\nout nothing ./d/f\n", nil,
		},
		"appended to": {
			world{"f": text("1")},
			func(a *actor) { a.must(a.write("f", "2", create|unix.O_APPEND)) },
			"content ./f\nout file ./f\n", nil,
		},
		"appended to nothing": {
			world{},
			func(a *actor) { a.must(a.write("f", "2", create|unix.O_APPEND)) },
			"dir .\nabsent ./f own\nout file ./f made\n", nil,
		},
		"a counter": {
			world{"n": text("1")},
			func(a *actor) {
				n, _ := a.read("n")
				a.must(a.put("n", n+"1"))
				n, _ = a.read("n")
				a.must(a.put("n", n+"1"))
			},
			"content ./n\nout file ./n\n", nil,
		},
		"a database": {
			world{"db": text("1")},
			func(a *actor) {
				a.open("db", rw|unix.O_CREAT, 0o644, func(f *os.File) {
					a.see("db-journal")
					a.must(a.write("db-journal", "x", excl))
					f.WriteString("22")
					a.must(a.unlink("db-journal"))
				})
			},
			"dir .\ncontent ./db\nabsent ./db-journal own\nout file ./db\n", nil,
		},
		"a database that is only asked": {
			world{"db": text("1")},
			func(a *actor) { a.open("db", rw, 0, nil); a.l.fresh = 1 << 62 },
			"content ./db\n", nil,
		},
		"looked for, then made": {
			world{"d/f": text("1"), "d": {kind: record.Directory, perm: 0o755}},
			func(a *actor) { a.see("d/x"); a.must(a.put("d/x", "1")); a.read("d/x") },
			"dir ./d\nabsent ./d/x own\nout file ./d/x made\n", nil,
		},
		"a header that would shadow another": {
			dirs(world{"b/h": text("1")}, "a", "b"),
			func(a *actor) { a.read("a/h"); a.read("c/d/h"); a.read("b/h") },
			"absent ./a/h\ncontent ./b/h\nabsent ./c\n", nil,
		},
		"a file is in the way": {
			world{"f": text("1")}, func(a *actor) { a.see("f/x/y") }, "exists ./f\n", nil,
		},
		"listed, then made in": {
			world{"a": text("1")},
			func(a *actor) { a.list("."); a.must(a.put("b", "1")); a.list("."); a.must(a.unlink("a")) },
			"listed .\nkind ./a\nabsent ./b own\nout nothing ./a\nout file ./b made\n", nil,
		},
		"made in, then listed": {
			world{"a": text("1"), "c": text("1")},
			func(a *actor) { a.must(a.put("b", "1")); a.must(a.unlink("a")); a.list(".") },
			"listed .\nkind ./a\nabsent ./b own\nout nothing ./a\nout file ./b made\n", nil,
		},
		"only listed": {
			world{"a": text("1")}, func(a *actor) { a.list(".") }, "listed .\n", nil,
		},
		"mktemp": {
			world{},
			func(a *actor) { a.must(a.write("tmp.1", "1", excl)); a.read("tmp.1"); a.must(a.unlink("tmp.1")) },
			"dir .\nabsent ./tmp.1 own\n", nil,
		},
		"made without a look and removed again": {
			world{},
			func(a *actor) { a.must(a.put("f", "1")); a.must(a.unlink("f")) },
			"dir .\nabsent ./f own\n", nil,
		},
		"saved by renaming over it": {
			world{"f": text("1")},
			func(a *actor) {
				a.read("f")
				a.must(a.write("f.new", "2", excl))
				a.must(a.rename("f.new", "f"))
				a.read("f")
				a.see("f.new")
			},
			"dir .\ncontent ./f\nabsent ./f.new own\nout file ./f\n", nil,
		},
		"renamed over unread": {
			world{"f": text("1")},
			func(a *actor) { a.must(a.put("g", "2")); a.must(a.rename("g", "f")); a.read("f") },
			"dir .\nkind ./f\nabsent ./g own\nout file ./f\n", nil,
		},
		"git takes a lock": {
			world{"index": text("1")},
			func(a *actor) {
				a.must(a.write("index.lock", "2", excl))
				a.read("index")
				a.must(a.rename("index.lock", "index"))
				a.must(a.write("index.lock", "3", excl))
				a.must(a.unlink("index.lock"))
			},
			"dir .\ncontent ./index\nabsent ./index.lock own\nout file ./index\n", nil,
		},
		"a file is renamed": {
			world{"f": text("1")},
			func(a *actor) { a.must(a.rename("f", "g")); a.read("g"); a.read("f") },
			"dir .\ncontent ./f\nabsent ./g own\nout nothing ./f\nout file ./g made\n", nil,
		},
		"nothing is renamed": {
			world{}, func(a *actor) { a.rename("f", "g") }, "absent ./f\n", nil,
		},
		"a directory is renamed": {
			dirs(world{"d/f": text("1"), "d/e/g": text("2"), "d/l": linkTo("f")}, "d", "d/e"),
			func(a *actor) {
				a.must(a.rename("d", "n"))
				a.read("n/f")
				a.read("n/l")
				a.see("d/f")
				a.must(a.put("n/e/h", "3"))
			},
			"dir .\nlisted ./d\nlisted ./d/e\ncontent ./d/e/g\ncontent ./d/f\nlink ./d/l\nabsent ./n own\n" +
				"out nothing ./d\nout nothing ./d/e\nout nothing ./d/e/g\nout nothing ./d/f\nout nothing ./d/l\n" +
				"out dir ./n made\nout dir ./n/e made\nout file ./n/e/g made\nout file ./n/e/h made\nout file ./n/f made\nout link ./n/l made\n", nil,
		},
		"an own directory is renamed": {
			world{},
			func(a *actor) {
				a.must(a.mkdir("tmp"))
				a.must(a.put("tmp/f", "1"))
				a.must(a.rename("tmp", "d"))
				a.read("d/f")
				a.see("tmp/f")
			},
			"dir .\nabsent ./d own\nabsent ./tmp own\nout dir ./d made\nout file ./d/f made\n", nil,
		},
		"renaming a directory onto a full one fails": {
			dirs(world{"d/f": text("1"), "e/f": text("2"), "e/g": text("3")}, "d", "e"),
			func(a *actor) {
				if a.rename("d", "e") == nil {
					a.t.Error("it did not fail")
				}
				a.read("e/f")
				a.read("d/f")
			},
			"content ./d/f\nlisted ./e\ncontent ./e/f\n", nil,
		},
		"unlinking fails": {
			dirs(world{"d/f": text("1")}, "d"),
			func(a *actor) {
				a.unlink("d")
				a.rmdir("d")
				a.rmdir("d/f")
				a.read("d/f")
				a.see("d/x")
			},
			"listed ./d\ncontent ./d/f\nabsent ./d/x\n", nil,
		},
		"a write that comes to nothing is none": {
			world{"f": text("1")},
			func(a *actor) {
				a.l.open(a.at("f"), create|unix.O_TRUNC, true) // refused
				a.l.fresh = 1 << 62
				a.read("f")
			},
			"content ./f\n", nil,
		},
		"a removal that comes to nothing is none": {
			world{"f": text("1"), "l": linkTo("f")},
			func(a *actor) {
				a.l.remove(a.at("f"), false)
				a.l.remove(a.at("l"), false)
				a.l.fresh = 1 << 62
				a.read("l")
			},
			"content ./f\nlink ./l\n", nil,
		},
		"files change places": {
			world{"f": text("1"), "g": text("2")},
			func(a *actor) { exchange(a, "f", "g"); a.read("f") },
			"content ./f\ncontent ./g\nout file ./f\nout file ./g\n", nil,
		},
		"a directory and a link change places": {
			dirs(world{"d/f": text("1"), "e/f": text("2"), "l": linkTo("e")}, "d", "e"),
			func(a *actor) { a.read("l/f"); exchange(a, "d", "l"); a.read("l/f"); a.read("d/f") },
			"listed ./d\ncontent ./d/f\ncontent ./e/f\nlink ./l\n" +
				"out link ./d\nout nothing ./d/f\nout dir ./l\nout file ./l/f made\n", nil,
		},
		"a further name, then written through": {
			world{"f": text("1")},
			func(a *actor) {
				a.must(a.link("f", "g"))
				a.must(a.write("g", "2", unix.O_WRONLY|unix.O_APPEND))
				a.read("f")
			},
			"dir .\ncontent ./f\nabsent ./g own\nout file ./f\nout file ./g made\n", nil,
		},
		"a further name in an own directory that moves": {
			world{"f": text("1")},
			func(a *actor) {
				a.must(a.mkdir("d"))
				a.must(a.link("f", "d/g"))
				a.must(a.rename("d", "e"))
				a.must(a.put("e/g", "2"))
			},
			"dir .\nabsent ./d own\nabsent ./e own\ncontent ./f\nout dir ./e made\nout file ./e/g made\nout file ./f\n", nil,
		},
		"a file with two names is changed": {
			world{"f": text("1"), "g": {twin: "f"}},
			func(a *actor) { a.read("f"); a.see("g"); a.must(a.put("g", "2")); a.read("f") },
			"content ./f\nexists ./g\nout file ./f\nout file ./g\n", nil,
		},
		"attributes of a file with an unknown name are changed": {
			world{"f": text("1"), "g": {twin: "f"}},
			func(a *actor) { a.l.change(a.at("f"), true); a.l.fresh = 1 << 62 },
			"exists ./f\nbar unsupported ./f (it has other names, too)\n", nil,
		},
		"a directory is renamed onto an empty one": {
			dirs(world{"d/f": text("1")}, "d", "e"),
			func(a *actor) { a.must(a.rename("d", "e")); a.read("e/f") },
			"dir .\nlisted ./d\ncontent ./d/f\nlisted ./e\nout nothing ./d\nout nothing ./d/f\nout file ./e/f made\n", nil,
		},
		"an empty directory is removed": {
			dirs(world{}, "d"), func(a *actor) { a.must(a.rmdir("d")) }, "listed ./d\nout nothing ./d\n", nil,
		},
		"a file with an unknown name is changed": {
			world{"f": text("1"), "g": {twin: "f"}},
			func(a *actor) { a.l.open(a.at("f"), create|unix.O_TRUNC, true); a.l.fresh = 1 << 62 },
			"kind ./f\nbar unsupported ./f (it has other names, too)\n", nil,
		},
		"one of two names is removed": {
			world{"f": text("1"), "g": {twin: "f"}},
			func(a *actor) { a.read("f"); a.must(a.unlink("g")) },
			"content ./f\nkind ./g\nout nothing ./g\n", nil,
		},
		"a link is followed": {
			dirs(world{"d/f": text("1"), "l": linkTo("d")}, "d"),
			func(a *actor) { a.read("l/f"); a.see("l"); a.read("d/f") },
			"dir ./d\ncontent ./d/f\nlink ./l\n", nil,
		},
		"a link is retargeted after reading": {
			dirs(world{"d/f": text("1"), "e/f": text("2"), "l": linkTo("d")}, "d", "e"),
			func(a *actor) {
				a.read("l/f")
				a.must(a.unlink("l"))
				a.must(a.symlink("e", "l"))
				a.read("l/f")
			},
			"dir .\ncontent ./d/f\ncontent ./e/f\nlink ./l\nout link ./l\n", nil,
		},
		"a link is replaced at once": {
			dirs(world{"d/f": text("1"), "e/f": text("2"), "l": linkTo("d")}, "d", "e"),
			func(a *actor) {
				a.read("l/f")
				a.must(a.symlink("e", "l.new"))
				a.must(a.rename("l.new", "l"))
				a.read("l/f")
			},
			"dir .\ncontent ./d/f\ncontent ./e/f\nlink ./l\nabsent ./l.new own\nout link ./l\n", nil,
		},
		"up from where a link leads": {
			dirs(world{"a/b/x": text("1"), "a/f": text("2"), "f": text("3"), "l": linkTo("a/b")}, "a", "a/b"),
			func(a *actor) { a.read("l/../f") },
			"dir ./a/b\ncontent ./a/f\nlink ./l\n", nil,
		},
		"links in a circle": {
			world{"l": linkTo("m"), "m": linkTo("l")},
			func(a *actor) { a.read("l"); a.lsee("m") },
			"link ./l\nlink ./m\n", nil,
		},
		"a link into nothing": {
			world{"l": linkTo("d/f")},
			func(a *actor) { a.read("l") },
			"absent ./d\nlink ./l\n", nil,
		},
		"made through a link": {
			world{"l": linkTo("f")},
			func(a *actor) { a.must(a.put("l", "1")) },
			"dir .\nabsent ./f own\nlink ./l\nout file ./f made\n", nil,
		},
		"a link is read": {
			world{"l": linkTo("f"), "f": text("1")},
			func(a *actor) { a.readlink("l"); a.readlink("."); a.must(a.put("f", "2")) },
			"dir .\nkind ./f\nlink ./l\nout file ./f\n", nil,
		},
		"a link within an own directory leads out": {
			world{"f": text("1")},
			func(a *actor) {
				a.must(a.mkdir("d"))
				a.must(a.symlink("../f", "d/l"))
				a.must(a.rename("d", "e"))
				a.read("e/l")
			},
			"dir .\nabsent ./d own\nabsent ./e own\ncontent ./f\nout dir ./e made\nout link ./e/l made\n", nil,
		},
		"rm -r": {
			dirs(world{"d/f": text("1"), "d/e/g": text("2")}, "d", "d/e"),
			func(a *actor) {
				a.lsee("d")
				a.list("d")
				a.unlink("d/f")
				a.list("d/e")
				a.unlink("d/e/g")
				a.must(a.rmdir("d/e"))
				a.must(a.rmdir("d"))
			},
			"listed ./d\nlisted ./d/e\nkind ./d/e/g\nkind ./d/f\nout nothing ./d\nout nothing ./d/e\nout nothing ./d/e/g\nout nothing ./d/f\n", nil,
		},
		"rm -r and made again": {
			dirs(world{"d/f": text("1")}, "d"),
			func(a *actor) {
				a.list("d")
				a.unlink("d/f")
				a.must(a.rmdir("d"))
				a.must(a.mkdir("d"))
				a.must(a.put("d/g", "2"))
				a.see("d/f")
			},
			"dir .\nlisted ./d\nkind ./d/f\nout nothing ./d/f\nout file ./d/g made\n", nil,
		},
		"mkdir -p": {
			dirs(world{}, "a"),
			func(a *actor) { a.mkdir("a"); a.mkdir("a/b"); a.mkdir("a/b/c"); a.mkdir("a/b"); a.put("a/b/c/f", "1") },
			"dir ./a\nabsent ./a/b own\nout dir ./a/b made\nout dir ./a/b/c made\nout file ./a/b/c/f made\n", nil,
		},
		"cp -a": {
			dirs(world{"s/f": text("1"), "s/l": linkTo("f")}, "s"),
			func(a *actor) {
				a.see("t")
				a.list("s")
				a.must(a.mkdir("t"))
				a.read("s/f")
				a.must(a.write("t/f", "1", excl))
				a.must(a.chmod("t/f", 0o600))
				a.must(a.touch("t/f"))
				a.readlink("s/l")
				a.must(a.symlink("f", "t/l"))
				a.must(a.chmod("t", 0o700))
			},
			"dir .\nlisted ./s\ncontent ./s/f\nlink ./s/l\nabsent ./t own\nout dir ./t made\nout file ./t/f made\nout link ./t/l made\n", nil,
		},
		"touch": {
			world{"f": text("1")}, func(a *actor) { a.must(a.touch("f")) }, "exists ./f\nout file ./f\n", nil,
		},
		"chmod +x": {
			dirs(world{"f": text("1")}, "d"),
			func(a *actor) { a.must(a.chmod("f", 0o755)); a.must(a.chmod("d", 0o700)); a.chmod("x", 0o700) },
			"dir ./d\nexists ./f\nabsent ./x\nout dir ./d\nout file ./f\n", nil,
		},
		"chmod of what is so already": {
			dirs(world{}, "d"), func(a *actor) { a.must(a.chmod("d", 0o755)) }, "dir ./d\n", nil,
		},
		"truncated by name": {
			world{"f": text("123")}, func(a *actor) { a.must(a.truncate("f", 1)); a.truncate("g", 1) }, "content ./f\nabsent ./g\nout file ./f\n", nil,
		},
		"an unnamed file gets a name": {
			world{},
			func(a *actor) {
				a.l.open(a.dir, oTmpfile|unix.O_DIRECTORY|unix.O_WRONLY, true)
				a.must(os.WriteFile(a.at("f"), []byte("1"), 0o644)) // stands for the kernel's
				os.Remove(a.at("f"))
				a.l.link("/proc/self/fd/0", a.at("f"), true)
				a.must(os.WriteFile(a.at("f"), []byte("1"), 0o644))
				a.read("f")
			},
			"dir .\nabsent ./f own\nout file ./f made\n", nil,
		},
		"ignored": {
			dirs(world{"cache/f": text("1"), "f": text("1")}, "cache"),
			func(a *actor) {
				a.list(".")
				a.read("cache/f")
				a.must(a.put("cache/g", "1"))
				a.must(a.put("env", "1"))
				a.see("cache/d/x")
				a.must(a.unlink("env"))
				a.must(os.RemoveAll(a.at("cache/g")))
			},
			"listed .\n", func(dir string) Spec { return Spec{Ignored: []string{dir + "/cache", dir + "/env"}} },
		},
		"out of an ignored place": {
			dirs(world{"cache/f": text("1")}, "cache"),
			func(a *actor) {
				a.must(a.link("cache/f", "g"))
				a.must(a.put("cache/x", "1"))
				a.must(a.rename("cache/x", "x"))
				a.must(a.unlink("cache/f"))
				a.must(os.WriteFile(a.at("cache/f"), []byte("1"), 0o644))
			},
			"dir .\nabsent ./g own\nabsent ./x own\nout file ./g made\nout file ./x made\n",
			func(dir string) Spec { return Spec{Ignored: []string{dir + "/cache"}} },
		},
		"ignored of any place": {
			dirs(world{"in/__pycache__/f": text("1"), "out/__pycache__/f": text("1")}, "in", "in/__pycache__", "out", "out/__pycache__"),
			func(a *actor) {
				a.read("in/__pycache__/f")
				a.read("out/__pycache__/f")
				a.must(a.put("out/__pycache__/f", "1"))
			},
			"content ./in/__pycache__/f\n",
			func(dir string) Spec {
				return Spec{Inside: []string{dir + "/in"}, Ignored: []string{"**/__pycache__"}}
			},
		},
		"outside": {
			dirs(world{"f": text("1"), "g": text("1")}, "in", "d"),
			func(a *actor) {
				a.read("f")
				a.see("g")
				a.see("f")
				a.see("d")
				a.must(a.put("t", "1")) // what comes and goes is nothing
				a.must(a.unlink("t"))
			},
			"dir .\ndir ./d\nexists ./f\ncontent ./f\nexists ./g\nabsent ./t own\n",
			func(dir string) Spec { return Spec{Inside: []string{dir + "/in"}} },
		},
		"a pipe is left behind": {
			world{},
			func(a *actor) { a.l.mknod(a.at("p"), unix.S_IFIFO); a.must(unix.Mkfifo(a.at("p"), 0o600)) },
			"dir .\nabsent ./p own\nout other ./p made\nbar unsupported ./p\n", nil,
		},
		"a server of its own": {
			world{},
			func(a *actor) {
				a.l.connect("unix", a.at("s"))
				a.l.bind("unix", a.at("s"))
				a.must(unix.Mknod(a.at("s"), unix.S_IFSOCK|0o600, 0))
				a.l.connect("unix", a.at("s"))
				a.must(a.unlink("s"))
			},
			"dir .\nabsent ./s own\n", nil,
		},
		"somebody else's server": {
			dirs(world{}, "d"),
			func(a *actor) {
				a.must(unix.Mknod(a.at("d/docker.sock"), unix.S_IFSOCK|0o600, 0))
				a.l.connect("unix", a.at("d/docker.sock"))
				a.must(os.Remove(a.at("d/docker.sock")))
			},
			"bar socket unix ./d/docker.sock (the Docker daemon)\n", nil,
		},
		"somebody else's pipe": {
			world{},
			func(a *actor) {
				a.must(unix.Mkfifo(a.at("p"), 0o600))
				a.open("p", unix.O_RDONLY, 0, nil)
				a.must(os.Remove(a.at("p")))
			},
			"exists ./p\nbar ipc ./p\n", func(string) Spec { return Spec{} },
		},
		"changed by somebody else": {
			world{"f": text("1"), "g": text("1")},
			func(a *actor) {
				a.read("f")
				a.see("g")
				a.must(os.WriteFile(a.at("f"), []byte("22"), 0o644))
				a.must(os.WriteFile(a.at("g"), []byte("22"), 0o644))
				a.t.Cleanup(func() {})
			},
			"bar moved ./f\nbar moved ./g\n", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "places") && !linux {
				t.Skip("only Linux exchanges")
			}
			dir := realTemp(t)
			plant(t, dir, s.world)
			spec := Spec{}
			if s.spec != nil {
				spec = s.spec(dir)
			}
			a := newActor(t, dir, spec)
			s.do(a)
			o := a.l.finish(0)
			got := tell(dir, o)
			if strings.Contains(s.want, "bar moved") {
				for _, line := range strings.SplitAfter(s.want, "\n") {
					if !strings.Contains(got, line) {
						t.Errorf("got\n%s\nwithout %s", got, line)
					}
				}
				return
			}
			if got != s.want {
				t.Errorf("got\n%s\nwant\n%s", got, s.want)
			}
			if !strings.Contains(s.want, "out other") && s.spec == nil {
				check(t, dir, s.world, o)
			}
		})
	}
}

func TestLedgerOutside(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	a := newActor(t, dir, Spec{Inside: []string{dir + "/in"}})
	a.must(a.mkdir("d"))
	a.must(a.put("d/f", "1"))
	for i := range 25 {
		a.must(a.put("f"+string(rune('a'+i)), "1"))
	}
	o := a.l.finish(2)
	if n := len(o.Barred); n != maxOutside+2 {
		t.Errorf("%d bars: %v", n, o.Barred)
	}
	got := tell(dir, o)
	for _, want := range []string{"bar outside ./d\n", "bar outside ./fa\n", "bar outside and 6 more\n", "bar processes 2 processes\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q:\n%s", want, got)
		}
	}
	if len(o.Outputs) > 0 || o.LeftOver != 2 {
		t.Errorf("%+v", o)
	}
}

// What stands for the machine is no input.
func TestLedgerMachine(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Linux's devices")
	}
	l := newLedger(Spec{})
	for _, path := range []string{"/proc/self/maps", "/sys/fs/cgroup/cpu.max", "/dev/null", "/dev/pts/3", "/dev/fd/1", "/dev/stdin"} {
		l.open(path, unix.O_RDWR, true)
		l.see(path, true)
	}
	if o := l.finish(0); len(o.Inputs)+len(o.Barred)+len(o.Outputs) != 0 || o.Random {
		t.Errorf("%+v", o)
	}
	l = newLedger(Spec{})
	l.see("/dev/urandom", true)
	l.open("/dev/urandom", unix.O_RDONLY, true)
	if o := l.finish(0); !o.Random || len(o.Inputs)+len(o.Barred) != 0 {
		t.Errorf("%+v", o)
	}
	l = newLedger(Spec{})
	l.see("/dev/console", true)
	l.open("/dev/kmsg", unix.O_RDONLY, true)
	for _, b := range l.finish(0).Barred {
		if b.Kind != record.BarDevice || b.Detail != "/dev/kmsg" {
			t.Errorf("%v", b)
		}
	}
}

// Digests are asked for, in many goroutines, with the look that was seen.
func TestLedgerDigest(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	files := world{}
	for i := range 50 {
		files["f"+string(rune('A'+i))] = text(strings.Repeat("x", i))
	}
	plant(t, dir, files)
	a := newActor(t, dir, Spec{Inside: []string{dir}, Digest: func(path string, look record.Look) (d [32]byte, err error) {
		d[0] = byte(look.Size)
		return d, nil
	}})
	for name := range files {
		a.read(name)
	}
	a.must(a.put("fB", "new"))
	o := a.l.finish(0)
	if len(o.Inputs) != len(files) {
		t.Errorf("%d inputs", len(o.Inputs))
	}
	for _, in := range o.Inputs {
		if want := byte(len(files[filepath.Base(in.Path)].data)); in.Digest[0] != want || in.Use != record.UseContent {
			t.Errorf("%s: %v, want %d", in.Path, in.Digest, want)
		}
	}
}

// A file that the step cannot read is known by what can be seen of it.
func TestLedgerUnreadable(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	plant(t, dir, world{"f": text("1")})
	a := newActor(t, dir, Spec{Inside: []string{dir}, Digest: func(string, record.Look) ([32]byte, error) {
		return [32]byte{}, os.ErrPermission
	}})
	a.read("f")
	o := a.l.finish(0)
	if got := tell(dir, o); got != "exists ./f\n" || o.Inputs[0].Digest != [32]byte{} {
		t.Errorf("%s %+v", got, o.Inputs)
	}
}

func TestLedgerExec(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	script := func(line string) file { return file{kind: record.Regular, perm: 0o755, data: line + "\n"} }
	plant(t, dir, world{
		"run":      script("#! " + dir + "/sh -e"),
		"sh":       script("#!" + dir + "/bin/real"),
		"bin":      linkTo("usr"),
		"usr/real": script("binary"),
		"usr":      {kind: record.Directory, perm: 0o755},
		"plain":    script("echo"),
		"rel":      script("#!bin/real"),
	})
	a := newActor(t, dir, Spec{})
	for range 2 {
		a.l.exec(a.at("run"), []string{"run", "-x"})
		a.l.exec(a.at("no/run"), []string{"run"})
		a.l.exec(a.at("plain"), []string{"plain"})
		a.l.exec(a.at("usr"), []string{"usr"})
	}
	a.must(a.put("own", "#!"+dir+"/bin/real\n"))
	a.l.exec(a.at("own"), nil)
	a.l.exec(a.at("rel"), []string{"rel"})
	o := a.l.finish(0)
	want := "dir .\nlink ./bin\nabsent ./no\nabsent ./own own\ncontent ./plain\ncontent ./rel\ncontent ./run\ncontent ./sh\ndir ./usr\ncontent ./usr/real\n" +
		"out file ./own made\nbar lost ./rel: its interpreter is a relative path\n"
	if got := tell(dir, o); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.ReplaceAll(strings.Join(o.Programs, " "), dir, ""); got != "/own /plain /rel /run" {
		t.Errorf("programs: %s", got)
	}
	if got := string(o.Argv); got != "run\x00-x\x00plain\x00rel\x00" {
		t.Errorf("arguments: %q", got)
	}
}

// What is ignored is left out of listings.
func TestLedgerListingIgnored(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	plant(t, dir, dirs(world{"cache/f": text("1"), "f": text("1")}, "cache"))
	a := newActor(t, dir, Spec{Ignored: []string{dir + "/cache", dir + "/env"}})
	a.list(".")
	a.must(a.put("env", "1"))
	want := record.Listing([]record.Entry{{Name: "f", Kind: record.Regular}})
	if o := a.l.finish(0); len(o.Inputs) != 1 || o.Inputs[0].Digest != want || o.Barred != nil {
		t.Errorf("%+v", o)
	}
}

func TestLedgerArgvLimit(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	plant(t, dir, world{"p": text("x")})
	a := newActor(t, dir, Spec{})
	for i := range 10 {
		a.l.exec(a.at("p"), []string{strings.Repeat(string(rune('a'+i)), maxArgv/4)})
	}
	if n := len(a.l.finish(0).Argv); n > maxArgv || n < maxArgv/2 {
		t.Errorf("%d bytes", n)
	}
}

// Inside and Ignored are given through links, the step goes without, and the
// other way round.
func TestLedgerPlacesThroughLinks(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	plant(t, dir, dirs(world{"real/cache/f": text("1"), "real/f": text("1"), "l": linkTo("real")}, "real", "real/cache"))
	a := newActor(t, dir, Spec{Inside: []string{dir + "/l"}, Ignored: []string{dir + "/l/cache/", dir + "/l/cache/not/there", "relative"}})
	a.read("real/cache/f")
	a.read("l/cache/f")
	a.must(a.put("real/cache/g", "1"))
	a.must(a.put("l/h", "1"))
	if got, want := tell(dir, a.l.finish(0)), "link ./l\ndir ./real\nabsent ./real/h own\nout file ./real/h made\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Strange paths come to nothing and break nothing.
func TestLedgerStrangePaths(t *testing.T) {
	t.Parallel()
	dir := realTemp(t)
	a := newActor(t, dir, Spec{})
	for _, path := range []string{"", "relative", "/", "//", "/..", "/../..", dir + "//x//", dir + "/./x/.", dir + "/" + strings.Repeat("n", 300),
		dir + strings.Repeat("/d", 3000), dir + "/a\x00b", dir + "/\xff\n"} {
		a.l.see(path, true)
		a.l.open(path, unix.O_RDONLY, true)
		a.l.open(path, unix.O_WRONLY|unix.O_CREAT, true)
		a.l.mkdir(path)
		a.l.remove(path, false)
		a.l.remove(path, true)
		a.l.rename(path, dir+"/y", 0)
		a.l.rename(dir+"/y", path, 0)
		a.l.link(path, dir+"/y", true)
		a.l.symlink(path, dir+"/z")
		a.l.exec(path, []string{path})
		a.l.change(path, true)
		a.l.truncate(path)
		a.l.connect("unix", path)
		a.l.bind("unix", path)
	}
	a.l.finish(0)
}
