package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// inputs is the digest of all that a command was given and has read, the same for
// the same whichever workspace it ran in; "" when not all is known. Temporary files are left
// out, whose names are made up, and what it wrote itself.
func (t *thread) inputs(a *asked, c *plan.Command, o *record.Observation) string {
	if o == nil || o.Mechanism == "" || slices.ContainsFunc(o.Barred, blinds) {
		return ""
	}
	dirs := t.base.Dirs
	plain := strings.NewReplacer(pairs(dirs)...)
	temporary := []string{dirs.Temp, os.TempDir(), "/tmp", "/var/tmp"}
	h := sha256.New()
	text := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	text("inputs 1", a.class.Name, plain.Replace(c.Script))
	for _, arg := range c.Argv {
		text(plain.Replace(arg))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if _, volatile := a.vars[name]; !volatile {
			text(name, plain.Replace(c.Env[name]))
		}
	}
	for i := range o.Inputs {
		in := &o.Inputs[i]
		workspace := within(in.Path, dirs.Workspace)
		if in.Own || !workspace && slices.ContainsFunc(temporary, func(dir string) bool { return within(in.Path, dir) }) {
			continue
		}
		text(plain.Replace(in.Path))
		state := []byte{byte(in.Use), byte(in.Kind)}
		switch in.Use {
		case record.UseContent, record.UseLink, record.UseListed:
			state = append(state, in.Digest[:]...)
		case record.UseExists:
			if in.Kind == record.Regular {
				state = fmt.Appendf(state, "%o %d", in.Perm, in.Size)
			}
		}
		h.Write(state)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// blinds reports whether a bar says that not all was seen. Others are about what may
// be done again: that a step talks to the network changes nothing of what it read.
func blinds(b record.Bar) bool {
	switch b.Kind {
	case record.BarNotWatched, record.BarLost, record.BarNamespace, record.BarVolume, record.BarMoved:
		return true
	}
	return false
}

// pairs are the directories of a job and what stands for them, the longest first.
func pairs(d plan.Dirs) []string {
	dirs := [][2]string{{d.Workspace, "$workspace"}, {d.Temp, "$temp"}, {d.Tools, "$tools"}, {d.Home, "$home"}}
	slices.SortFunc(dirs[:], func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	var list []string
	for _, x := range dirs {
		if x[0] != "" {
			list = append(list, x[0], x[1])
		}
	}
	return list
}

func within(path, dir string) bool {
	return dir != "" && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator)))
}

// keepSeen keeps what a command with test results has touched, "" when that
// cannot be.
func (t *thread) keepSeen(o *record.Observation) string {
	if o == nil || o.Mechanism == "" || t.req.Tests.Blobs == nil {
		return ""
	}
	seen := *o
	m := t.req.Masker
	seen.Argv, seen.Programs, seen.Peers = m.Mask(o.Argv), masked(t.job, o.Programs), masked(t.job, o.Peers)
	seen.Inputs, seen.Outputs = slices.Clone(o.Inputs), slices.Clone(o.Outputs)
	for i := range seen.Inputs {
		seen.Inputs[i].Path = m.String(seen.Inputs[i].Path)
	}
	for i := range seen.Outputs {
		seen.Outputs[i].Path = m.String(seen.Outputs[i].Path)
	}
	out, in := io.Pipe()
	go func() { in.CloseWithError(harvest.KeepObservation(in, &seen)) }()
	digest, _, err := t.req.Tests.Blobs.Put(context.WithoutCancel(t.hard), out)
	out.CloseWithError(err)
	if err != nil {
		return "" // what cannot be kept explains nothing later
	}
	return string(digest)
}

// declared reads the reports that a built-in named, unless they were read before.
func (t *thread) declared(w *stepWork) []record.Body {
	root, err := os.OpenRoot(t.base.Dirs.Workspace)
	if err != nil {
		return nil // the built-in has said so
	}
	defer root.Close()
	return t.read(root, w.fx.Reports, w.tests)
}
