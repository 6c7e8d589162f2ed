package suite

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Changed is a file that a change touches.
type Changed struct {
	Path string // from the root of the repository, with slashes
	Made bool   // it was not there before, or is there no longer
}

// Scene is all that could have carried a change to a failing step.
type Scene struct {
	Root      string    // of the job's copy of the repository, absolute
	Changed   []Changed // a file that was moved is two: one gone, one new
	Pipelines []string  // the files that say what the step does, from the root
	Step      *record.Observation
	// Earlier are the steps that ran before it in the same workspace, or left
	// it something: what they wrote may be made of the change. Nil for one that
	// was not watched.
	Earlier []*record.Observation
	// Told are the numbers in Earlier of those that set variables or outputs, which
	// no file carries.
	Told []int
}

// Innocence is whether a failure can come from a change.
type Innocence struct {
	Proven bool
	// Why is for people: "nothing that the test read has changed: it used 412
	// files, none of the 14 that the change touches", or why that cannot be
	// said.
	Why string
	// Touched are the changed files that the step read, itself or by what was
	// made of them, sorted; at most twenty.
	Touched []string
}

// maxTouched is how many changed files are told.
const maxTouched = 20

// Innocent decides whether a failure can come from a change: it cannot, when
// all that the failing step used is known, and nothing of it is of the change,
// nor made by an earlier step that used something of the change. In doubt
// nothing is proven.
func Innocent(s Scene) Innocence {
	switch {
	case len(s.Changed) == 0:
		return Innocence{Why: "it is not known which files the change touches"}
	case !path.IsAbs(s.Root):
		return Innocence{Why: "it is not known where the repository was"}
	case s.Step == nil || s.Step.Mechanism == "":
		return Innocence{Why: "nobody watched what the test read"}
	}
	for _, p := range s.Pipelines {
		if slices.ContainsFunc(s.Changed, func(c Changed) bool { return c.Path == p }) {
			return Innocence{Why: "the change touches " + p + ", which says what the step does", Touched: []string{p}}
		}
	}
	if why := blind(s.Step); why != "" {
		return Innocence{Why: "what the test read is not all known: " + why}
	}
	changed := s.names()
	// What earlier steps made of the change is of the change, too.
	for i, o := range s.Earlier {
		why := ""
		if o == nil || o.Mechanism == "" {
			why = "nobody watched it"
		} else {
			why = blind(o)
		}
		if why != "" {
			return Innocence{Why: fmt.Sprintf("an earlier step (number %d) may have carried the change to the test: %s", i+1, why)}
		}
		if from := touches(o, changed, s.Root); len(from) > 0 {
			if slices.Contains(s.Told, i) {
				return Innocence{Why: fmt.Sprintf("an earlier step (number %d) that used %s set values that later steps see", i+1, from[0])}
			}
			for _, out := range o.Outputs {
				if _, ok := changed[out.Path]; !ok {
					changed[out.Path] = from[0]
				}
				if dir := "list " + path.Dir(out.Path); out.Made || out.Kind == record.Nothing {
					if _, ok := changed[dir]; !ok {
						changed[dir] = from[0]
					}
				}
			}
		}
	}
	if touched := touches(s.Step, changed, s.Root); len(touched) > 0 {
		if touched[0] == history {
			return Innocence{Why: "the test read the repository's history, in which the change is"}
		}
		return Innocence{Why: fmt.Sprintf("the test used %s of the change", files(len(touched))), Touched: touched[:min(len(touched), maxTouched)]}
	}
	used := 0
	for i, in := range s.Step.Inputs {
		if i == 0 || in.Path != s.Step.Inputs[i-1].Path {
			used++
		}
	}
	return Innocence{Proven: true, Why: fmt.Sprintf("nothing that the test read has changed: it used %s, none of the %d that the change touches", files(used), len(s.Changed))}
}

// names are what a step must not have used: the changed files by their
// absolute paths, and "list " and a directory whose names the change alters;
// with each the changed file that is the reason.
func (s *Scene) names() map[string]string {
	changed := make(map[string]string, 2*len(s.Changed))
	for _, c := range s.Changed {
		changed[path.Join(s.Root, c.Path)] = c.Path
	}
	// A new file is seen by whoever lists its directory; a new directory by
	// whoever lists the one above. Where something else lies that is not of
	// the change, the directory is not new.
	old := map[string]bool{s.Root: true}
	made := map[string]bool{}
	for _, o := range s.Earlier {
		if o != nil {
			for _, out := range o.Outputs {
				made[out.Path] = true
			}
		}
	}
	for _, in := range s.Step.Inputs {
		if _, ok := changed[in.Path]; ok || in.Own || in.Kind == record.Nothing || in.Kind == record.Directory || made[in.Path] {
			continue
		}
		for dir := path.Dir(in.Path); !old[dir] && len(dir) > len(s.Root); dir = path.Dir(dir) {
			old[dir] = true
		}
	}
	for _, c := range s.Changed {
		for dir := path.Dir(path.Join(s.Root, c.Path)); c.Made && len(dir) >= len(s.Root); dir = path.Dir(dir) {
			if changed["list "+dir] == "" {
				changed["list "+dir] = c.Path
			}
			if old[dir] {
				break
			}
		}
	}
	return changed
}

// history stands for the files in which git keeps which commit this is.
const history = ".git"

// touches are the changed files that a step used, sorted, each once.
func touches(o *record.Observation, changed map[string]string, root string) (touched []string) {
	git := path.Join(root, history) + "/"
	for _, in := range o.Inputs {
		key := in.Path
		if in.Use == record.UseListed {
			key = "list " + key
		}
		from, ok := changed[key]
		if !ok && strings.HasPrefix(in.Path, git) && in.Use == record.UseContent && tells(in.Path[len(git):]) {
			from, ok = history, true
		}
		if ok {
			touched = append(touched, from)
		}
	}
	slices.Sort(touched)
	return slices.Compact(touched)
}

// tells reports whether a file of git's says which commit this is.
func tells(file string) bool {
	switch first, _, _ := strings.Cut(file, "/"); first {
	case "HEAD", "ORIG_HEAD", "FETCH_HEAD", "packed-refs", "refs", "index", "logs", "objects", "COMMIT_EDITMSG":
		return true
	}
	return false
}

// blind says why an observation may not hold all that a step was given, ""
// when it does. Not every bar to reuse is one: that a step failed, or reached
// a machine elsewhere, hides no file from view.
func blind(o *record.Observation) string {
	for _, b := range o.Barred {
		switch b.Kind {
		case record.BarNotWatched, record.BarLost:
			return "the watching was not complete" + detail(b)
		case record.BarVolume, record.BarNamespace, record.BarDevice, record.BarUnsupported:
			return "it used what cannot be seen" + detail(b)
		case record.BarSocket, record.BarIPC:
			return "it talked to another process of this machine, which may know the change" + detail(b)
		case record.BarNetwork:
			if !elsewhere(b.Detail) {
				return "it talked to a service that may be made of the change" + detail(b)
			}
		}
	}
	return ""
}

func detail(b record.Bar) string {
	if b.Detail == "" {
		return ""
	}
	return " (" + b.Detail + ")"
}

// elsewhere reports whether an address, as "tcp 203.0.113.7:443", is of a
// machine that belongs to somebody else. To ask for a name is nothing that a
// change could answer.
func elsewhere(peer string) bool {
	return strings.HasSuffix(peer, "(name look-up)") || distance(peer) == far
}

// reach is how far away a peer is.
type reach uint8

const (
	here reach = iota + 1 // on this machine
	near                  // on a network of one's own
	far                   // somewhere else
)

// distance is how far away a peer of an [record.Observation] is: "unix /run/x",
// "tcp 127.0.0.1:5432", "udp [fe80::1]:53".
func distance(peer string) reach {
	network, address, _ := strings.Cut(peer, " ")
	if network == "unix" || address == "" {
		return here
	}
	host := strings.TrimPrefix(address[:max(strings.LastIndexByte(address, ':'), 0)], "[")
	host = strings.TrimSuffix(host, "]")
	starts := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(host, p) })
	}
	var second int
	if parts := strings.Split(host, "."); len(parts) == 4 {
		second, _ = strconv.Atoi(parts[1])
	}
	switch {
	case host == "" || host == "::1" || host == "::" || starts("127.", "0.", "localhost"):
		return here
	case starts("10.", "192.168.", "169.254.", "fe80:", "fc", "fd"),
		starts("172.") && second >= 16 && second < 32, starts("100.") && second >= 64 && second < 128:
		return near
	}
	return far
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}
