package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// The property that everything hangs on: what a program was given is all that
// it depends on. Random programs run over random trees. What they read, which
// calls failed and what they listed goes into what they do next and into what
// they write. Then
//
//   - the inputs are what was there before, and the outputs, replayed over the
//     tree, give the tree that the program left;
//   - for random edits of the tree under which all inputs still hold, the
//     program run again gives what the outputs give when replayed.
func TestLedgerProperty(t *testing.T) {
	t.Parallel()
	programs, edits := 200, 4
	if os.Getenv("FAIRLEAD_LONG") != "" {
		programs, edits = 10_000, 8
	}
	const shards = 4
	var all [shards]tally
	t.Cleanup(func() {
		var sum tally
		for _, s := range all {
			sum.inputs += s.inputs
			sum.outputs += s.outputs
			sum.barred += s.barred
			sum.hits += s.hits
			sum.misses += s.misses
		}
		t.Logf("%d programs, %+v, 0 false hits", programs, sum)
		if !t.Failed() && (sum.hits < programs || sum.barred > programs/4) {
			t.Error("too few hits to mean anything")
		}
	})
	for i := range shards {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(realTemp(t), "w")
			fine := fineClock(t, filepath.Dir(dir))
			for seed := i; seed < programs; seed += shards {
				all[i].try(t, dir, uint64(seed), edits, fine && seed/shards%2 == 0)
			}
		})
	}
}

// tally counts what became of programs and edits.
type tally struct{ inputs, outputs, barred, hits, misses int }

// try runs one random program. fine is set when the ledger may rely on the
// times of files.
func (c *tally) try(t *testing.T, dir string, seed uint64, edits int, fine bool) {
	r := rand.New(rand.NewPCG(seed, 1))
	before, p := randomWorld(r), randomProgram(r)
	plant(t, dir, before)
	a := newActor(t, dir, Spec{})
	if fine {
		a.l.fresh = math.MaxInt64
	}
	said := p.run(a)
	o := a.l.finish(0)
	c.inputs += len(o.Inputs)
	c.outputs += len(o.Outputs)
	if len(o.Barred) > 0 {
		c.barred++
		return
	}
	left := harvestTree(t, dir)
	check(t, dir, before, o)
	if t.Failed() {
		t.Fatalf("seed %d\n%s\nover %v\n%s", seed, p, before, tell(dir, o))
	}
	for range edits {
		edited, what := randomEdit(r, before)
		if !holds(dir, edited, o) {
			c.misses++
			continue
		}
		c.hits++
		plant(t, dir, edited)
		again := p.run(newActor(t, dir, Spec{}))
		want := edited.replay(dir, o.Outputs, left)
		if got := harvestTree(t, dir); again != said || !maps.Equal(got, want) {
			t.Fatalf("seed %d: a false hit after: %s\n%s\nover %v\n%s\nsaid %q, then %q\nreused %v\nran    %v",
				seed, what, p, before, tell(dir, o), said, again, want, got)
		}
	}
}

// fineClock reports whether the file system shows each change of a file that
// was looked at before.
func fineClock(t *testing.T, dir string) bool {
	f := filepath.Join(dir, "clock")
	var last record.Look
	for range 20 {
		if err := os.WriteFile(f, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		look, _ := lookAt(f)
		if look == last {
			return false
		}
		last = look
	}
	return true
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// randomPath is a path of up to three names.
func randomPath(r *rand.Rand) string {
	p := pick(r, "a", "b", "c", "f", "g", "l")
	for range r.IntN(3) {
		p += "/" + pick(r, "a", "b", "f", "g", "l")
	}
	if r.IntN(12) == 0 {
		p += "/../" + pick(r, "f", "g", "a")
	}
	return p
}

func randomWorld(r *rand.Rand) world {
	w := world{}
	for range 4 + r.IntN(10) {
		name := path.Clean(randomPath(r))
		if strings.HasPrefix(name, "..") || name == "." {
			continue
		}
		var f file
		switch r.IntN(8) {
		case 0, 1:
			f = file{kind: record.Directory, perm: 0o755}
		case 2:
			f = linkTo(pick(r, "f", "a", "../f", "b/g", "l", "../a", "b"))
		default:
			f = text(name)
		}
		w.add(name, f)
	}
	if r.IntN(6) == 0 {
		for name, f := range w {
			if f.kind == record.Regular && w["twin"].kind == record.Nothing {
				w["twin"] = file{twin: name}
			}
		}
	}
	return w
}

// add puts a file where there is room for one.
func (w world) add(name string, f file) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if k := w[dir].kind; k != record.Nothing && k != record.Directory || w[dir].twin != "" {
			return false
		}
	}
	if _, ok := w[name]; ok {
		return false
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		w[dir] = file{kind: record.Directory, perm: 0o755}
	}
	w[name] = f
	return true
}

// program is a sequence of calls.
type program []deed

type deed struct {
	op       int
	from, to string
}

var ops = [...]string{"see", "lsee", "read", "list", "readlink", "put", "append", "create", "excl", "rdwr", "mkdir", "unlink", "rmdir", "rename",
	"link", "symlink", "chmod", "touch", "truncate", "exchange", "save", "rm -r"}

func randomProgram(r *rand.Rand) program {
	p := make(program, 2+r.IntN(14))
	for i := range p {
		p[i] = deed{r.IntN(len(ops)), randomPath(r), randomPath(r)}
	}
	return p
}

func (p program) String() string {
	var b strings.Builder
	for _, c := range p {
		fmt.Fprintf(&b, "%s %s %s\n", ops[c.op], c.from, c.to)
	}
	return b.String()
}

// run does what a program says and returns what it learned. What must not
// matter, as whether what is overwritten or removed was there, it does not
// ask.
func (p program) run(a *actor) string {
	said := ""
	learn := func(what string, err error) {
		sum := sha256.Sum256([]byte(fmt.Sprint(said, what, err != nil)))
		said = hex.EncodeToString(sum[:8])
	}
	for i, c := range p {
		from := c.from
		if said != "" && said[0] < '4' { // what was learned decides
			from = c.to
		}
		var err error
		what := ""
		switch ops[c.op] {
		case "see":
			err = a.see(from)
		case "lsee":
			err = a.lsee(from)
		case "read":
			what, err = a.read(from)
		case "list":
			var names []string
			names, err = a.list(from)
			what = strings.Join(names, " ")
		case "readlink":
			what, err = a.readlink(from)
		case "put":
			a.put(from, fmt.Sprint(i, said))
			continue
		case "append":
			err = a.write(from, fmt.Sprint(i, said), unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND)
		case "create":
			err = a.write(from, fmt.Sprint(i, said), unix.O_WRONLY|unix.O_CREAT)
		case "excl":
			err = a.write(from, fmt.Sprint(i, said), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
		case "rdwr":
			err = a.open(from, unix.O_RDWR, 0, func(f *os.File) {
				b := make([]byte, 4)
				n, _ := f.Read(b)
				what = string(b[:n])
				f.WriteString(fmt.Sprint(i, said))
			})
		case "mkdir":
			err = a.mkdir(from)
		case "unlink":
			a.unlink(from)
			continue
		case "rmdir":
			err = a.rmdir(from)
		case "rename":
			a.rename(from, c.to)
			continue
		case "link":
			err = a.link(from, c.to)
		case "symlink":
			err = a.symlink(pick(rand.New(rand.NewPCG(uint64(i), 1)), "f", "../g", "a", "b/f"), from)
		case "chmod":
			err = a.chmod(from, 0o755)
		case "touch":
			err = a.touch(from)
		case "truncate":
			err = a.truncate(from, 1)
		case "exchange":
			exchange(a, from, c.to)
			continue
		case "save":
			if a.write(from+".new", fmt.Sprint(i, said), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL) == nil {
				a.rename(from+".new", from)
			}
			continue
		case "rm -r":
			removeAll(a, from)
			continue
		}
		learn(what, err)
	}
	return said
}

func removeAll(a *actor, name string) {
	if a.lsee(name) != nil {
		return
	}
	if look, _ := lookAt(a.at(name)); look.Kind != record.Directory {
		a.unlink(name)
		return
	}
	names, _ := a.list(name)
	for _, n := range names {
		n, _, _ = strings.Cut(n, ":")
		removeAll(a, name+"/"+n)
	}
	a.rmdir(name)
}

// randomEdit changes something.
func randomEdit(r *rand.Rand, before world) (world, string) {
	w := maps.Clone(before)
	names := slices.Sorted(maps.Keys(w))
	what := ""
	for range 1 + r.IntN(2) {
		name := path.Clean(randomPath(r))
		if len(names) > 0 && r.IntN(2) == 0 {
			name = names[r.IntN(len(names))]
		}
		f, ok := w[name]
		if strings.HasPrefix(name, "..") || name == "." || f.twin != "" || w["twin"].twin == name {
			continue
		}
		verb := ""
		switch {
		case !ok:
			if f = text("new"); r.IntN(3) == 0 {
				f = linkTo("f")
			}
			if w.add(name, f) {
				verb = "add"
			}
		case f.kind == record.Directory:
			if r.IntN(2) == 0 {
				f.perm ^= 0o022
				w[name], verb = f, "chmod"
				break
			}
			for other := range w {
				if other == name || strings.HasPrefix(other, name+"/") {
					delete(w, other)
				}
			}
			verb = "remove"
		case f.kind == record.Symlink:
			f.data = "b"
			w[name], verb = f, "retarget"
		default:
			switch r.IntN(4) {
			case 0:
				delete(w, name)
				verb = "remove"
			case 1:
				f.perm ^= 0o111
				w[name], verb = f, "chmod"
			default:
				f.data = "edited"
				w[name], verb = f, "edit"
			}
		}
		what += verb + " " + name + "; "
	}
	if t := w["twin"].twin; t != "" && w[t].kind != record.Regular {
		delete(w, "twin")
	}
	return w, what
}

// holds reports whether all inputs are in a tree as they were observed.
func holds(dir string, w world, o *record.Observation) bool {
	w = maps.Clone(w)
	w["."] = file{kind: record.Directory, perm: 0o755}
	for _, in := range o.Inputs {
		name, _ := filepath.Rel(dir, in.Path)
		if strings.HasPrefix(name, "..") {
			continue
		}
		got := in.FileState
		got.MTime = 0
		if want, ok := w.state(name, in.Use); !ok || got != want {
			return false
		}
	}
	return true
}
