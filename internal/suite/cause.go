package suite

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Why does a test fail by chance? It passed and it failed on the same code, so
// something else was different, and what a test is given from outside goes
// through the kernel: files, names in directories, addresses, programs, time.
// The difference between the observations of the two attempts is the list of
// suspects. Some differences say much (a file was there once and once not),
// others little (both draw random numbers, as most programs do); the list is
// in that order. What happens inside one process, a race between threads or a
// variable that another test left set, is not seen.

const (
	// maxCauses is how many likely causes are told, maxProof how many lines of
	// evidence for each.
	maxCauses, maxProof = 10, 5
	// slowdown is how many times longer a failing attempt takes when time is
	// the suspect, and slowest the shortest that is looked at.
	slowdown, slowest = 3, 2 * time.Second
)

// CauseKind is a class of causes.
type CauseKind string

// The classes.
const (
	CauseMeddled   CauseKind = "meddled"   // another process touched the same files meanwhile
	CausePolluted  CauseKind = "polluted"  // another test wrote what it read
	CauseMissing   CauseKind = "missing"   // a file was not there
	CauseLeftover  CauseKind = "leftover"  // a file was there that should not have been
	CauseContent   CauseKind = "content"   // a file held something else
	CauseAddress   CauseKind = "address"   // a port or a socket of this machine
	CauseNetwork   CauseKind = "network"   // another machine
	CauseClock     CauseKind = "clock"     // time zone or date
	CauseDirectory CauseKind = "directory" // names in a directory, or their order
	CauseProgram   CauseKind = "program"   // another program was started
	CauseTime      CauseKind = "time"      // it ran into a time limit
	CauseTemporary CauseKind = "temporary" // a fixed name in a shared temporary directory
	CauseRandom    CauseKind = "random"    // random numbers
)

// Cause is why a test may have failed by chance.
type Cause struct {
	Kind CauseKind
	// Weight is how much the difference says, from 0 to 1. It orders causes
	// and is no probability.
	Weight   float64
	Text     string   // a sentence for people
	Evidence []string // paths, addresses: at most five
	More     int      // evidence left out
}

// Causes compares a passing and a failing attempt at a test on the same inputs
// and returns what may have made the difference, the likeliest first. Others
// are processes that ran before or beside it, such as other tests' (see
// [Pollution]); none are needed. When one of the attempts was not watched,
// there is nothing to compare.
func Causes(passed, failed *record.Observation, others ...Process) []Cause {
	if passed == nil || failed == nil || passed.Mechanism == "" || failed.Mechanism == "" {
		return nil
	}
	d := difference{found: map[CauseKind]*Cause{}}
	before, after := views(passed), views(failed)
	d.files(before, after)
	d.addresses(passed, failed)
	d.programs(passed, failed)
	d.bars(failed)
	if len(others) > 0 {
		for _, p := range Pollution(append(slices.Clone(others), Process{Name: "the test", Observation: failed})) {
			if p.Victim == "the test" && !alike(before[plainName(p.Path)], after[plainName(p.Path)]) {
				d.add(CausePolluted, .95, "another test wrote what this one read", p.Polluter+" "+p.How+" "+p.Path)
			}
		}
	}
	if failed.Wall >= slowest && passed.Wall > 0 && failed.Wall >= slowdown*passed.Wall {
		d.add(CauseTime, .5, "it took much longer when it failed: it may have run into a time limit",
			fmt.Sprintf("%s when it passed, %s when it failed", passed.Wall.Round(time.Millisecond), failed.Wall.Round(time.Millisecond)))
	}
	switch {
	case failed.Random && !passed.Random:
		d.add(CauseRandom, .4, "it drew random numbers only when it failed", "/dev/urandom")
	case failed.Random:
		d.add(CauseRandom, .1, "it draws random numbers", "/dev/urandom")
	}
	if len(d.found) == 0 {
		d.order(before, after)
	}
	causes := make([]Cause, 0, len(d.found))
	for _, c := range d.found {
		causes = append(causes, *c)
	}
	slices.SortFunc(causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Kind, b.Kind))
	})
	return causes[:min(len(causes), maxCauses)]
}

type difference struct{ found map[CauseKind]*Cause }

// add notes evidence. Of a kind the heaviest sentence is kept.
func (d *difference) add(kind CauseKind, weight float64, text, evidence string) {
	c := d.found[kind]
	if c == nil {
		c = &Cause{Kind: kind}
		d.found[kind] = c
	}
	if weight > c.Weight {
		c.Weight, c.Text = weight, text
		c.Evidence = slices.Insert(c.Evidence, 0, evidence) // it shows what the sentence says
	} else {
		c.Evidence = append(c.Evidence, evidence)
	}
	if len(c.Evidence) > maxProof {
		c.Evidence = c.Evidence[:maxProof]
		c.More++
	}
}

// view is what an attempt found at a path.
type view struct {
	there, absent, own bool
	content, names     *record.Input
}

func views(o *record.Observation) map[string]*view {
	m := make(map[string]*view, len(o.Inputs))
	for i := range o.Inputs {
		in := &o.Inputs[i]
		if ignored(in.Path) {
			continue
		}
		name := plainName(in.Path)
		v := m[name]
		if v == nil {
			v = &view{}
			m[name] = v
		}
		v.own = v.own || in.Own
		switch in.Use {
		case record.UseAbsent:
			v.absent = true
		case record.UseContent:
			v.content, v.there = in, true
		case record.UseListed:
			v.names, v.there = in, true
		default:
			v.there = v.there || in.Kind != record.Nothing
		}
	}
	return m
}

// alike reports whether two attempts found the same at a path: then it is not
// to blame.
func alike(a, b *view) bool {
	if a == nil || b == nil {
		return false
	}
	same := func(x, y *record.Input) bool { return (x == nil) == (y == nil) && (x == nil || x.Digest == y.Digest) }
	return a.there == b.there && a.absent == b.absent && same(a.content, b.content) && same(a.names, b.names)
}

func (d *difference) files(before, after map[string]*view) {
	names := make([]string, 0, len(after))
	for name := range after {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, p := after[name], before[name]
		switch {
		case zone(name) && f.there && (p == nil || p.content == nil || f.content == nil || p.content.Digest != f.content.Digest):
			d.add(CauseClock, .7, "it read another time zone when it failed", name)
			continue
		case zone(name):
			d.add(CauseClock, .15, "it reads the time zone", name)
			continue
		case f.own || p != nil && p.own:
			// It makes the file itself: what lay there is as good as nothing,
			// unless the name is one that others make, too.
			if p != nil && f.content != nil && shared(name) {
				d.add(CauseTemporary, .3, "it uses a fixed name in a directory that others use, too", name)
			}
			continue
		case p == nil:
			continue // it went another way; that is a consequence
		case f.absent && !f.there && p.there:
			d.add(CauseMissing, .9, "a file was not there when it failed", name)
		case p.absent && !p.there && f.there:
			d.add(CauseLeftover, .9, "a file was there when it failed that was not when it passed", name)
		case p.content != nil && f.content != nil && p.content.Digest != f.content.Digest:
			weight := .8
			if shared(name) {
				weight = .85
			}
			d.add(CauseContent, weight, "a file held something else when it failed", name)
		case p.names != nil && f.names != nil && p.names.Digest != f.names.Digest:
			d.add(CauseDirectory, .6, "a directory held other names when it failed", name)
		}
	}
}

// order is what is left when nothing differs: a directory gives its names in
// an order of its own, and which one is not seen.
func (d *difference) order(before, after map[string]*view) {
	names := make([]string, 0, len(after))
	for name, v := range after {
		if p := before[name]; p != nil && v.names != nil && p.names != nil && !v.own {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		d.add(CauseDirectory, .05, "nothing that was seen differs; it lists directories, and their order is not fixed", name)
	}
}

func (d *difference) addresses(passed, failed *record.Observation) {
	differ := func(peer, when string) {
		switch _, where, _ := strings.Cut(peer, " "); {
		case strings.HasSuffix(where, ":53"):
			d.add(CauseNetwork, .55, "it asked for names in another way", peer+", only when it "+when)
		case distance(peer) == here:
			d.add(CauseAddress, .75, "it talked to other services of this machine", peer+", only when it "+when)
		default:
			d.add(CauseNetwork, .7, "it talked to other machines", peer+", only when it "+when)
		}
	}
	for _, peer := range failed.Peers {
		if !slices.Contains(passed.Peers, peer) {
			differ(peer, "failed")
		} else if distance(peer) == far {
			d.add(CauseNetwork, .35, "it hangs on another machine", peer)
		} else {
			d.add(CauseAddress, .3, "it hangs on a service beside it", peer)
		}
	}
	for _, peer := range passed.Peers {
		if !slices.Contains(failed.Peers, peer) {
			differ(peer, "passed")
		}
	}
}

func (d *difference) programs(passed, failed *record.Observation) {
	differ := func(a, b *record.Observation, when string) {
		var names []string
		for _, p := range b.Programs {
			names = append(names, plainName(p))
		}
		for _, p := range a.Programs {
			if !slices.Contains(names, plainName(p)) {
				d.add(CauseProgram, .5, "it started other programs", p+", only when it "+when)
			}
		}
	}
	differ(failed, passed, "failed")
	differ(passed, failed, "passed")
}

// bars are what the watching itself noticed of others.
func (d *difference) bars(failed *record.Observation) {
	for _, b := range failed.Barred {
		switch b.Kind {
		case record.BarMoved:
			d.add(CauseMeddled, 1, "somebody else changed a file while it ran", b.Detail)
		case record.BarHazard:
			d.add(CauseMeddled, .9, "a step at the same time touched the same files", b.Detail)
		}
	}
}

// ignored are paths that differ always and say nothing.
func ignored(name string) bool {
	for _, dir := range []string{"/proc/", "/sys/", "/dev/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// shared reports whether a path lies where programs that know nothing of each
// other write.
func shared(name string) bool {
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/run/", "/var/run/"} {
		if rest, ok := strings.CutPrefix(name, dir); ok {
			return !strings.Contains(rest, "#") // a name made anew each time
		}
	}
	return false
}

// zone reports whether a file says which time zone it is.
func zone(name string) bool {
	return name == "/etc/localtime" || name == "/etc/timezone" || name == "/etc/adjtime" || strings.Contains(name, "/zoneinfo/")
}

// plainName writes a path without the numbers that are drawn anew each time:
// four digits or more in a temporary directory become #.
func plainName(name string) string {
	if !strings.HasPrefix(name, "/tmp/") && !strings.HasPrefix(name, "/var/tmp/") && !strings.HasPrefix(name, "/private/") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		n := i
		for n < len(name) && name[n] >= '0' && name[n] <= '9' {
			n++
		}
		if n-i >= 4 {
			b.WriteByte('#')
			i = n
			continue
		}
		n = max(n, i+1)
		b.WriteString(name[i:n])
		i = n
	}
	return b.String()
}

// Process is what one process tree of a run touched: a test, or a step.
type Process struct {
	Name        string
	Observation *record.Observation
}

// Polluted says that a process read what another one wrote.
type Polluted struct {
	Polluter, Victim string
	Path             string
	How              string // "wrote", "made", "removed", "put a name into"
	Sure             bool   // what was read is what was written, byte by byte
}

const (
	// maxPolluted is how many pairs are told.
	maxPolluted = 200
	// maxWritten is how many files that were written are remembered.
	maxWritten = 200_000
)

// Pollution finds processes that read what others wrote, among those that were
// watched: polluter and victim, in the order of the victims. Processes are
// given in the order in which they started; one that started later pollutes
// nobody. Programs are left out: to build first and run then is no pollution.
func Pollution(processes []Process) (pairs []Polluted) {
	type write struct {
		by  int
		out *record.Output
	}
	written, names := map[string]write{}, map[string]write{}
	told := map[[3]string]bool{}
	for i, p := range processes {
		o := p.Observation
		if o == nil || o.Mechanism == "" {
			continue
		}
		for _, in := range o.Inputs {
			if in.Own || ignored(in.Path) || len(pairs) >= maxPolluted {
				continue
			}
			w, ok := written[in.Path]
			how := "wrote"
			switch in.Use {
			case record.UseListed:
				if w, ok = names[in.Path]; ok {
					how = "put a name into"
				}
			case record.UseContent, record.UseExists, record.UseLink, record.UseAbsent:
			default:
				continue
			}
			if !ok || slices.Contains(o.Programs, in.Path) {
				continue
			}
			same := in.Use == record.UseContent && in.Digest == w.out.Digest
			switch {
			case w.out.Kind == record.Nothing:
				if how == "wrote" {
					how = "removed"
				}
				same = in.Use == record.UseAbsent
			case in.Use == record.UseAbsent:
				continue // it was gone again: somebody else cleaned up
			case w.out.Made && how == "wrote":
				how = "made"
			}
			key := [3]string{processes[w.by].Name, p.Name, in.Path}
			if processes[w.by].Name == p.Name || told[key] {
				continue
			}
			told[key] = true
			pairs = append(pairs, Polluted{Polluter: processes[w.by].Name, Victim: p.Name, Path: in.Path, How: how, Sure: same})
		}
		for j := range o.Outputs {
			out := &o.Outputs[j]
			if len(written) >= maxWritten || ignored(out.Path) {
				continue
			}
			written[out.Path] = write{i, out}
			if out.Made || out.Kind == record.Nothing {
				names[path.Dir(out.Path)] = write{i, out}
			}
		}
	}
	return pairs
}
