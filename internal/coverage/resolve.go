package coverage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Resolve gives the files of a report the paths that they have in a tree. A
// tool names a file as it was on its machine (/home/ci/app/src/a.c), in its
// module (example.org/app/src/a.go) or in its package (org/app/A.java); what
// the names have in common with the tree's is their end. Each file becomes the
// one of the tree that shares the longest end with it, if there is only one:
//
//   - a file that the tree has under the very same path is that file;
//   - one of the two paths must be the whole end of the other, or, where the
//     report's is absolute, they must share at least a directory's name;
//   - where several files would do, or the name alone fits, the way in which
//     most other paths became paths of the tree decides;
//   - what lies under a directory that others showed to be the tree's root,
//     and is not in the tree, is not in the tree (a dependency, a generated
//     file), whatever its end looks like.
//
// The tree's paths are slash paths relative to its root. The second result is
// the paths that are none of the tree's, sorted; the report returned leaves
// them out.
func (r *Report) Resolve(tree []string) (*Report, []string) {
	t := newResolver(tree)
	paths := slices.Sorted(maps.Keys(r.files))
	for _, p := range paths {
		if to, _, sure := t.closest(p); sure {
			t.votes[move(p, to)]++
		}
	}
	t.count()
	out, unknown := &Report{}, []string{}
	for _, p := range paths {
		to := t.resolve(p)
		if to == "" {
			unknown = append(unknown, p)
			continue
		}
		// Two names of one file are one file; the limits held before.
		_ = out.Add(to, slices.Clone(r.files[p].Lines))
		if f := out.files[to]; f != nil {
			f.Carried = cmp.Or(f.Carried, r.files[p].Carried)
		}
	}
	return out, unknown
}

// maxMoves is how many of the moves with the most votes are tried.
const maxMoves = 64

// moved is how a path becomes one of the tree: one beginning is replaced by
// another.
type moved struct{ from, to string }

// resolver finds files in a tree.
type resolver struct {
	in     map[string]bool
	byBase map[string][]string
	votes  map[moved]int
	ranked []moved // those with votes, the most first
}

func newResolver(tree []string) *resolver {
	t := &resolver{in: make(map[string]bool, len(tree)), byBase: map[string][]string{}, votes: map[moved]int{}}
	for _, name := range tree {
		t.in[name] = true
		base := name[strings.LastIndexByte(name, '/')+1:]
		t.byBase[base] = append(t.byBase[base], name)
	}
	return t
}

// count ranks the moves once all paths have voted.
func (t *resolver) count() {
	t.ranked = slices.SortedFunc(maps.Keys(t.votes), func(a, b moved) int {
		return cmp.Or(cmp.Compare(t.votes[b], t.votes[a]), strings.Compare(a.from, b.from), strings.Compare(a.to, b.to))
	})
	t.ranked = t.ranked[:min(len(t.ranked), maxMoves)]
}

// closest is the file of the tree that shares the longest end with a path, ""
// if several do. Sure says that the end is long enough to tell.
func (t *resolver) closest(p string) (best string, several, sure bool) {
	if t.in[p] {
		return p, false, true
	}
	longest := 0
	for _, c := range t.byBase[p[strings.LastIndexByte(p, '/')+1:]] {
		switch n := shared(p, c); {
		case n > longest:
			longest, best, several = n, c, false
		case n == longest:
			several = true
		}
	}
	if best == "" || several {
		return "", several, false
	}
	whole := longest == len(p) || longest == len(best)
	return best, false, strings.Contains(p[len(p)-longest:], "/") && (whole || absolute(p))
}

// shared is the length of the end that two paths have in common, in whole
// names.
func shared(a, b string) int {
	n := 0
	for i := 1; ; i++ {
		switch {
		case i > len(a) || i > len(b):
			if (i > len(a) || a[len(a)-i] == '/') && (i > len(b) || b[len(b)-i] == '/') {
				n = i - 1
			}
			return n
		case a[len(a)-i] != b[len(b)-i]:
			return n
		case a[len(a)-i] == '/':
			n = i - 1
		}
	}
}

// move is what the beginnings of two paths are without the end they share.
func move(p, to string) moved {
	n := shared(p, to)
	return moved{from: p[:len(p)-n], to: to[:len(to)-n]}
}

func absolute(p string) bool {
	return strings.HasPrefix(p, "/") || len(p) > 2 && p[1] == ':' && p[2] == '/'
}

// resolve is the file of the tree that a path is, "" if none.
func (t *resolver) resolve(p string) string {
	best, _, sure := t.closest(p)
	if best == p {
		return p
	}
	votes := 0
	if sure {
		votes = t.votes[move(p, best)]
	}
	for _, m := range t.ranked {
		n := t.votes[m]
		if n <= votes {
			break
		}
		rest, ok := strings.CutPrefix(p, m.from)
		switch {
		case !ok:
		case !sure && t.in[m.to+rest]:
			return m.to + rest
		case n > 1 && m.from != "" && m.to == "" && !t.in[rest]:
			return "" // m.from is where the tree was, and the tree has no such file
		}
	}
	if sure || best != "" && len(t.ranked) == 0 {
		return best // without any other file to learn from, a name is what there is
	}
	return ""
}
