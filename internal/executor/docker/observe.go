package docker

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// seen is a record.Observation on its way through the line: paths are bytes,
// since names of files are.
type seen struct {
	record.Observation
	Inputs   []seenInput
	Outputs  []seenOutput
	Programs [][]byte
}

type seenInput struct {
	record.Input
	Path   []byte
	Digest []byte
}

type seenOutput struct {
	record.Output
	Path   []byte
	Digest []byte
}

// seenOf is what is to be told of an observation inside: what was used of the
// directories that are mounted there, and all that was changed.
func seenOf(o *record.Observation, mounted []string) *seen {
	s := &seen{Observation: *o}
	for i := range o.Inputs {
		if in := o.Inputs[i]; below(in.Path, mounted) {
			s.Inputs = append(s.Inputs, seenInput{in, []byte(in.Path), o.Inputs[i].Digest[:]})
		}
	}
	for i := range o.Outputs {
		s.Outputs = append(s.Outputs, seenOutput{o.Outputs[i], []byte(o.Outputs[i].Path), o.Outputs[i].Digest[:]})
	}
	for _, p := range o.Programs {
		s.Programs = append(s.Programs, []byte(p))
	}
	return s
}

// observation is the same after the line; nil when nothing was seen.
func (s *seen) observation() *record.Observation {
	if s == nil {
		return nil
	}
	o := s.Observation
	o.Inputs, o.Outputs, o.Programs = make([]record.Input, len(s.Inputs)), make([]record.Output, len(s.Outputs)), nil
	for i, in := range s.Inputs {
		o.Inputs[i] = in.Input
		o.Inputs[i].Path = string(in.Path)
		copy(o.Inputs[i].Digest[:], in.Digest)
	}
	for i, out := range s.Outputs {
		o.Outputs[i] = out.Output
		o.Outputs[i].Path = string(out.Path)
		copy(o.Outputs[i].Digest[:], out.Digest)
	}
	for _, p := range s.Programs {
		o.Programs = append(o.Programs, string(p))
	}
	return &o
}

// table says what of a container's files lies outside of it: which directory
// of this machine a directory inside is. What is not in the table is the
// image's, which the class of the place names, or the container's own.
type table []volume // the deepest targets first

// table is that of the container.
func (b *box) table() table {
	var t table
	for _, dir := range jobDirs(b.room.spec.Dirs) {
		t = append(t, volume{dir, dir})
	}
	for _, dir := range b.room.x.opts.Shared {
		t = append(t, volume{dir, dir})
	}
	t = append(t, b.set.volumes...)
	slices.SortStableFunc(t, func(a, b volume) int { return cmp.Compare(len(b.target), len(a.target)) })
	return t
}

// find says where a path inside lies on this machine: outside is "" when only
// the daemon knows. in is false for what is of the image, or the container.
func (t table) find(p string) (outside string, in bool) {
	for _, v := range t {
		if rest, ok := under(p, v.target); ok {
			if v.source == "" {
				return "", true
			}
			return v.source + rest, true
		}
	}
	return "", false
}

// under is what follows dir in a path that is dir, or below it.
func under(p, dir string) (rest string, ok bool) {
	if dir == "/" {
		return p, true
	}
	rest, ok = strings.CutPrefix(p, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

func below(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { _, ok := under(p, dir); return ok })
}

// sight is a trace.Spec for inside: of the directories in which a step may
// change what it likes those that lie outside, under all of their names.
func (t table) sight(s *trace.Spec) *sight {
	in := &sight{Ignored: slices.Clone(s.Ignored)}
	for _, v := range t {
		in.Mounted = append(in.Mounted, v.target)
		if v.source != "" && below(v.source, s.Inside) {
			in.Inside = append(in.Inside, v.target)
		}
		for _, dir := range s.Ignored {
			if rest, ok := under(dir, v.source); ok && v.source != "" && v.source != v.target {
				in.Ignored = append(in.Ignored, v.target+rest)
			}
		}
	}
	slices.Sort(in.Ignored)
	in.Ignored = slices.Compact(in.Ignored)
	return in
}

// translate is what an observation inside says to those outside. Files of the
// image are no inputs: they are as the image's digest says. inside are the
// directories in which the step may change what it likes; what it says of
// changes elsewhere is not believed to be in order.
func (t table) translate(o *record.Observation, inside []string) *record.Observation {
	if o == nil {
		return &record.Observation{Barred: []record.Bar{{Kind: record.BarLost, Detail: "nothing was heard of it from inside the container"}}}
	}
	bar := func(kind, detail string) {
		b := record.Bar{Kind: kind, Detail: detail}
		if !slices.Contains(o.Barred, b) {
			o.Barred = append(o.Barred, b)
		}
	}
	inputs := o.Inputs[:0]
	for _, in := range o.Inputs {
		outside, ok := t.find(path.Clean(in.Path))
		switch {
		case !ok:
		case outside == "":
			bar(record.BarVolume, in.Path)
		default:
			in.Path = outside
			inputs = append(inputs, in)
		}
	}
	slices.SortStableFunc(inputs, func(a, b record.Input) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Use, b.Use))
	})
	o.Inputs = slices.CompactFunc(inputs, func(a, b record.Input) bool { return a.Path == b.Path && a.Use == b.Use })

	outputs := o.Outputs[:0]
	for _, out := range o.Outputs {
		outside, _ := t.find(path.Clean(out.Path))
		if outside == "" || !below(outside, inside) {
			bar(record.BarOutside, out.Path)
			continue
		}
		out.Path = outside
		outputs = append(outputs, out)
	}
	slices.SortStableFunc(outputs, func(a, b record.Output) int { return strings.Compare(a.Path, b.Path) })
	o.Outputs = slices.CompactFunc(outputs, func(a, b record.Output) bool { return a.Path == b.Path })

	programs := o.Programs[:0]
	for _, p := range o.Programs {
		if outside, ok := t.find(p); ok && outside != "" {
			p = outside
		}
		programs = append(programs, p)
	}
	slices.Sort(programs)
	o.Programs = slices.Compact(programs)
	slices.SortFunc(o.Barred, func(a, b record.Bar) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Detail, b.Detail))
	})
	return o
}

// alters says what a command has changed of the container that later ones
// find there, or may have changed; "" for nothing.
func alters(o *record.Observation) string {
	if o == nil || o.Mechanism == "" {
		return "an earlier step in the container was not watched"
	}
	for _, b := range o.Barred {
		switch b.Kind {
		case record.BarOutside:
			return "an earlier step changed the container: " + b.Detail
		case record.BarLost, record.BarNotWatched, record.BarNamespace:
			return "an earlier step in the container was not watched to its end"
		}
	}
	return ""
}
