package coverage

import (
	"cmp"
	"maps"
	"slices"
)

// Patch is how much of a change is covered: of the lines that it adds or
// changes, those that hold code.
type Patch struct {
	Totals
	Files []PatchFile `json:"list,omitempty"` // as in the diff, those with such lines
	// Unknown are the changed files of which no report knows anything: other
	// languages, texts, data. Whether tests read them is what [Beyond] says.
	Unknown []string `json:"unknown,omitempty"`
}

// PatchFile is one file of a [Patch].
type PatchFile struct {
	Path string `json:"path"`
	Totals
	// Open are the added lines that were missed or run in part, in runs.
	Open []Range `json:"open,omitempty"`
}

// Range is lines of a file, both ends included.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Patch says how much of a change is covered. The report's paths must be those
// of the tree after the change.
func (r *Report) Patch(d *Diff) Patch {
	var p Patch
	for i := range d.Files {
		f := &d.Files[i]
		if f.New == "" {
			continue
		}
		known := r.File(f.New)
		if known == nil {
			p.Unknown = append(p.Unknown, f.New)
			continue
		}
		pf := PatchFile{Path: f.New}
		last := 0 // the last line of code among those added in one go
		for _, h := range f.Hunks {
			for _, dl := range h.Lines {
				if dl.Kind != '+' {
					if dl.Kind == ' ' {
						last = 0
					}
					continue
				}
				l := known.Line(dl.New)
				pf.count(l)
				switch n := len(pf.Open); {
				case l.State == None: // a comment does not end a run
				case l.State == Hit:
					last = 0
				case last > 0 && n > 0:
					pf.Open[n-1].To = dl.New
				default:
					pf.Open = append(pf.Open, Range{dl.New, dl.New})
					last = dl.New
				}
			}
			last = 0
		}
		if pf.Lines() > 0 {
			pf.Totals.Files = 1
			p.Files = append(p.Files, pf)
			p.Totals = p.Plus(pf.Totals)
		}
	}
	return p
}

// MarkedFile is a file of a diff with its lines marked, for a page.
type MarkedFile struct {
	Path    string       `json:"path"`
	Old     string       `json:"old,omitempty"` // when it was renamed
	Deleted bool         `json:"deleted,omitempty"`
	Binary  bool         `json:"binary,omitempty"`
	Known   bool         `json:"known"` // a report has the file
	Patch   Totals       `json:"patch"` // of its added lines
	Hunks   []MarkedHunk `json:"hunks,omitempty"`
}

// MarkedHunk is a hunk with its lines marked.
type MarkedHunk struct {
	Section string       `json:"section,omitempty"`
	Lines   []MarkedLine `json:"lines"`
}

// MarkedLine is a line of a diff with what is known of it. A deleted line has
// no State.
type MarkedLine struct {
	Kind     string `json:"kind"` // "+", "-" or " "
	Old      int    `json:"old,omitempty"`
	New      int    `json:"new,omitempty"`
	Text     string `json:"text"`
	State    State  `json:"state,omitzero"`
	Hits     int    `json:"hits,omitempty"`
	Taken    int    `json:"taken,omitempty"`
	Branches int    `json:"branches,omitempty"`
	Carried  bool   `json:"carried,omitempty"` // measured on an older commit
}

// Mark marks the lines of a diff. Lines around the change are marked too, but
// only added ones count in Patch.
func (r *Report) Mark(d *Diff) []MarkedFile {
	files := make([]MarkedFile, 0, len(d.Files))
	for i := range d.Files {
		f := &d.Files[i]
		known := r.File(f.New)
		m := MarkedFile{Path: f.Path(), Deleted: f.New == "", Binary: f.Binary, Known: known != nil}
		if f.Old != f.New && f.New != "" {
			m.Old = f.Old
		}
		for _, h := range f.Hunks {
			mh := MarkedHunk{Section: h.Section, Lines: make([]MarkedLine, len(h.Lines))}
			for j, dl := range h.Lines {
				ml := MarkedLine{Kind: string(dl.Kind), Old: dl.Old, New: dl.New, Text: dl.Text}
				if dl.Kind != '-' {
					l := known.Line(dl.New)
					ml.State, ml.Hits, ml.Carried = l.State, int(l.Hits), l.Carried
					ml.Taken, ml.Branches = int(l.Taken), int(l.Branches)
					if dl.Kind == '+' {
						m.Patch.count(l)
					}
				}
				mh.Lines[j] = ml
			}
			m.Hunks = append(m.Hunks, mh)
		}
		files = append(files, m)
	}
	return files
}

// Carry adds what an older report knew, of the files that tests which did not
// run this time would have covered. Lines move as the diff from the old commit
// to this one moves them; changed and deleted ones are left out, for nothing
// is known of them. What is added is marked: the lines as Carried, and the
// files with the old commit, unless what this run says of them is as good.
func (r *Report) Carry(old *Report, commit string, d *Diff) error {
	changed := map[string]*FileDiff{}
	for i := range d.Files {
		if f := &d.Files[i]; f.Old != "" {
			changed[f.Old] = f
		}
	}
	for _, f := range old.Files() {
		name, lines := f.Path, make([]Line, 0, len(f.Lines))
		diff := changed[name]
		if diff != nil {
			if name = diff.New; name == "" || diff.Combined {
				continue
			}
		}
		for _, l := range f.Lines {
			if diff != nil {
				number, ok := diff.after(int(l.Number))
				if !ok {
					continue
				}
				l.Number = int32(number)
			}
			l.Carried = true
			lines = append(lines, l)
		}
		if err := r.Add(name, lines); err != nil {
			return err
		}
		into := r.files[Clean(name)]
		if into != nil && slices.ContainsFunc(into.Lines, func(l Line) bool { return l.Carried }) {
			into.Carried = cmp.Or(f.Carried, commit)
		}
	}
	return nil
}

// Unseen are the files that tests read and that line coverage says nothing
// good of.
type Unseen struct {
	// Data are files that no report has: configuration, queries, templates,
	// fixtures. A test may well depend on them.
	Data []string `json:"data,omitempty"`
	// Idle are files with code of which not one line was run, although the
	// tests read them: compiled, and not called.
	Idle []string `json:"idle,omitempty"`
}

// Beyond says which of the files that tests read no line covers. The paths
// must be those of the tree, as the report's; the answers are sorted.
func (r *Report) Beyond(read []string) Unseen {
	var u Unseen
	for _, name := range read {
		f := r.files[name]
		switch {
		case f == nil:
			u.Data = append(u.Data, name)
		case !slices.ContainsFunc(f.Lines, func(l Line) bool { return l.State > Miss }) && len(f.Lines) > 0:
			u.Idle = append(u.Idle, name)
		}
	}
	slices.Sort(u.Data)
	slices.Sort(u.Idle)
	u.Data, u.Idle = slices.Compact(u.Data), slices.Compact(u.Idle)
	return u
}

// Change is how the coverage of a project differs between two commits.
type Change struct {
	Before Totals `json:"before"`
	After  Totals `json:"after"`
	// Files are those whose numbers differ, the greatest loss of hit lines
	// first.
	Files []FileChange `json:"files,omitempty"`
}

// FileChange is a file of a [Change].
type FileChange struct {
	Path   string `json:"path"`
	Before Totals `json:"before"`
	After  Totals `json:"after"`
	// Indirect says that the change does not touch the file: other tests ran,
	// or tests ran otherwise.
	Indirect bool `json:"indirect,omitempty"`
}

// Lost is how many lines fewer are hit.
func (c FileChange) Lost() int { return c.Before.Hit - c.After.Hit }

// Compare says how coverage changed from an older report. The diff is that
// from the old commit to the new one.
func (r *Report) Compare(old *Report, d *Diff) Change {
	c := Change{Before: old.Totals(), After: r.Totals()}
	was, touched := map[string]string{}, map[string]bool{} // by new path
	for _, f := range d.Files {
		if f.New != "" {
			was[f.New], touched[f.New] = f.Old, true
		}
		if f.Old != "" {
			touched[f.Old] = true
		}
	}
	names := map[string]bool{}
	for name := range r.files {
		names[name] = true
	}
	for name := range old.files {
		names[name] = true
	}
	for _, f := range d.Files {
		if f.Old != f.New && r.files[f.New] != nil {
			delete(names, f.Old) // it is counted under its new name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fc := FileChange{Path: name, Indirect: !touched[name]}
		before := name
		if o, renamed := was[name]; renamed {
			before = o
		}
		if f := old.files[before]; f != nil {
			fc.Before = f.Totals()
		}
		if f := r.files[name]; f != nil {
			fc.After = f.Totals()
		}
		if fc.Before != fc.After {
			c.Files = append(c.Files, fc)
		}
	}
	slices.SortStableFunc(c.Files, func(a, b FileChange) int { return cmp.Compare(b.Lost(), a.Lost()) })
	return c
}
