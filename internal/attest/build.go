package attest

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxMaterials is how many files a statement lists; that there are more, it says.
const maxMaterials = 50_000

// Subject is a file that was made.
type Subject struct{ Name, Digest string } // sha256:…

// Seen is what a step was seen to do.
type Seen struct {
	Step        string              // its key; "" for a command that is none
	Observation *record.Observation // nil: nothing is known of it
}

// Build is everything that is known of how some files were made.
type Build struct {
	Type       string // BuildTypeRun, BuildTypeCommand
	Subjects   []Subject
	Source     Source
	Parameters map[string]any // what its caller chose
	Internal   map[string]any // what else decided
	Materials  []record.Material
	Seen       []Seen
	Workspace  string   // paths below it are said from it, others as they are
	Temporary  []string // files below are no materials
	Invocation,
	Builder,
	Version string // Fairlead's own
	Began, Ended time.Time
	Byproducts   []Subject
	Gaps         []string // what is not known besides, each in words
}

// Source is the commit that was built.
type Source struct {
	URL    string // of the repository; "" when it has none
	Ref    string // refs/heads/main
	Commit string
	Dirty  bool // the tree held something else than the commit
}

// resource is the source as a dependency.
func (s Source) resource() (r Resource, ok bool) {
	if s.Commit == "" || strings.Trim(s.Commit, "0") == "" {
		return r, false
	}
	r = Resource{Name: "source", Digest: map[string]string{"gitCommit": s.Commit}}
	if s.URL != "" {
		r.URI = "git+" + s.URL
		if s.Ref != "" {
			r.URI += "@" + s.Ref
		}
	}
	if s.Dirty {
		r.Annotations = map[string]any{"dirty": true}
	}
	return r, true
}

// Workstation is the builder of runs of a command line: somebody's machine, for which
// nobody vouches.
const Workstation = "https://github.com/fairlead-dev/fairlead/builder/workstation"

// OfRun is what the record says of a job of a run and what it made. seen are the steps of
// the job up to the one that kept the files, in order; builder is the address of the server
// that ran it, or [Workstation].
func OfRun(r *record.Run, job *record.JobRun, seen []Seen, builder string, subjects ...Subject) *Build {
	p := r.Planned
	c := p.Change
	b := &Build{
		Type: BuildTypeRun, Subjects: subjects, Materials: job.Materials, Seen: seen,
		Workspace: job.Started.Workspace, Invocation: "run/" + r.ID + "/" + job.ID, Builder: builder, Version: p.Version,
		Began: job.Begun, Ended: job.Ended,
		Source: Source{Ref: c.Ref, Commit: c.SHA, Dirty: c.Dirty},
		Parameters: map[string]any{
			"pipeline": p.Pipeline.File, "dialect": p.Pipeline.Dialect, "job": job.ID, "event": c.Event, "ref": c.Ref,
		},
		Internal: map[string]any{"run": r.ID, "number": p.Number, "attempt": p.Attempt, "place": job.Started.Place, "actor": c.Actor},
	}
	if c.Server != "" && c.Repository != "" && !strings.HasPrefix(c.Repository, "local/") {
		b.Source.URL = c.Server + "/" + c.Repository
	}
	given := func(name string, v any, there bool) {
		if there {
			b.Parameters[name] = v
		}
	}
	given("inputs", p.Settings.Inputs, len(p.Settings.Inputs) > 0)
	given("vars", p.Settings.Vars, len(p.Settings.Vars) > 0)
	given("env", p.Settings.Env, len(p.Settings.Env) > 0)
	if len(p.Settings.Secrets) > 0 {
		names := slices.Sorted(slices.Values(p.Settings.Secrets))
		b.Internal["secrets"] = names // names alone are in the record
	}
	if o := p.Origin; o != nil {
		b.Internal["trust"] = string(o.Trust)
		given("change", o.Change, o.Change != "")
	}
	return b
}

// Statement is the build as a statement.
func (b *Build) Statement() (*Statement, error) {
	s := &Statement{Type: StatementType, PredicateType: PredicateType}
	for _, x := range b.Subjects {
		s.Subject = append(s.Subject, Resource{Name: x.Name, Digest: sha(x.Digest)})
	}
	sortResources(s.Subject)
	d := &s.Predicate.BuildDefinition
	d.BuildType, d.ExternalParameters = b.Type, maps.Clone(b.Parameters)
	if d.ExternalParameters == nil {
		d.ExternalParameters = map[string]any{}
	}
	d.InternalParameters = maps.Clone(b.Internal)
	if d.InternalParameters == nil {
		d.InternalParameters = map[string]any{}
	}
	d.ResolvedDependencies = b.dependencies(d.InternalParameters)
	s.Predicate.RunDetails = RunDetails{
		Builder:  BuilderID{ID: b.Builder},
		Metadata: Metadata{InvocationID: b.Invocation, StartedOn: moment(b.Began), FinishedOn: moment(b.Ended)},
	}
	if b.Version != "" {
		s.Predicate.RunDetails.Builder.Version = map[string]string{"fairlead": b.Version}
	}
	for _, x := range b.Byproducts {
		s.Predicate.RunDetails.Byproducts = append(s.Predicate.RunDetails.Byproducts, Resource{Name: x.Name, Digest: sha(x.Digest)})
	}
	sortResources(s.Predicate.RunDetails.Byproducts)
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("make a statement: %w", err)
	}
	return s, nil
}

func sha(digest string) map[string]string {
	return map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}
}

// moment is a time as the specification has it, to the second.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// dependencies are the source, what the job was given, and what its steps were seen to
// use, and tells in internal how much of that was seen.
func (b *Build) dependencies(internal map[string]any) []Resource {
	var list []Resource
	if r, ok := b.Source.resource(); ok {
		list = append(list, r)
	}
	for _, m := range b.Materials {
		list = append(list, material(m))
	}
	files, peers, gaps := b.seen()
	gaps = append(gaps, b.Gaps...)
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		list = append(list, Resource{URI: name, Annotations: map[string]any{"kind": "peer"}})
	}
	names := slices.Sorted(maps.Keys(files))
	if len(names) > maxMaterials {
		gaps = append(gaps, fmt.Sprintf("%d more files are not listed", len(names)-maxMaterials))
		names = names[:maxMaterials]
	}
	for _, name := range names {
		r := Resource{URI: name, Digest: map[string]string{"sha256": files[name]}}
		list = append(list, r)
	}
	slices.Sort(gaps)
	internal["observed"] = map[bool]string{true: "whole", false: "in part"}[len(gaps) == 0]
	if len(gaps) > 0 {
		internal["unobserved"] = slices.Compact(gaps)
	}
	// The source stands first; the rest is sorted, so that the same facts make the same bytes.
	first := 0
	if len(list) > 0 && list[0].Name == "source" {
		first = 1
	}
	sortResources(list[first:])
	return slices.CompactFunc(list, func(x, y Resource) bool {
		return x.URI == y.URI && x.Name == y.Name && maps.Equal(x.Digest, y.Digest)
	})
}

// material is something from outside that a job used.
func material(m record.Material) Resource {
	r := Resource{Name: m.Name}
	switch {
	case m.Commit != "":
		r.Digest = map[string]string{"gitCommit": m.Commit}
		if m.URL != "" {
			r.URI = "git+" + m.URL
		}
	case m.Digest != "":
		algorithm, hex, ok := strings.Cut(m.Digest, ":")
		if ok {
			r.Digest = map[string]string{algorithm: hex}
		}
		r.URI = m.URL
	default:
		r.URI = m.URL
	}
	if m.Local != "" {
		r.Annotations = map[string]any{"overridden": true}
	}
	return r
}

// seen is what the steps read that they did not make themselves: the digests of files by
// their URIs, and whom they talked to. gaps say what was not seen.
func (b *Build) seen() (files map[string]string, peers map[string]bool, gaps []string) {
	files, peers = map[string]string{}, map[string]bool{}
	made := map[string]bool{} // by steps before
	if len(b.Seen) == 0 {
		gaps = append(gaps, "no step was watched")
	}
	for _, s := range b.Seen {
		o := s.Observation
		who := "step " + s.Step
		if s.Step == "" {
			who = "the command"
		}
		if o == nil || o.Mechanism == "" {
			gaps = append(gaps, who+" was not watched")
			continue
		}
		for _, bar := range o.Barred {
			if blind(bar.Kind) {
				gaps = append(gaps, who+": "+strings.TrimSuffix(bar.Kind+" "+bar.Detail, " "))
			}
		}
		for i := range o.Inputs {
			in := &o.Inputs[i]
			if in.Use != record.UseContent || in.Kind != record.Regular || in.Own || made[in.Path] || in.Digest == [32]byte{} || b.temporary(in.Path) {
				continue
			}
			// What was read first counts: a later step may have found it changed by one before.
			if name := b.uri(in.Path); files[name] == "" {
				files[name] = hex.EncodeToString(in.Digest[:])
			}
		}
		for i := range o.Outputs {
			made[o.Outputs[i].Path] = true
		}
		for _, p := range o.Peers {
			if name, ok := peer(p); ok {
				peers[name] = true
			}
		}
	}
	return files, peers, gaps
}

// blind reports whether a bar says that something was not seen. Others say only that it
// cannot be done again.
func blind(kind string) bool {
	switch kind {
	case record.BarNotWatched, record.BarLost, record.BarNamespace, record.BarVolume, record.BarMoved:
		return true
	}
	return false
}

func (b *Build) temporary(file string) bool {
	return !below(file, b.Workspace) && slices.ContainsFunc(b.Temporary, func(dir string) bool { return below(file, dir) })
}

func below(file, dir string) bool {
	return dir != "" && strings.HasPrefix(file, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// uri is a file's: a path in the workspace, or of the machine.
func (b *Build) uri(file string) string {
	if below(file, b.Workspace) {
		rel := strings.TrimPrefix(strings.TrimPrefix(file, strings.TrimSuffix(b.Workspace, "/")), "/")
		return "file:" + (&url.URL{Path: path.Clean(rel)}).EscapedPath()
	}
	return (&url.URL{Scheme: "file", Path: file}).String()
}

// peer is an address that was talked to, as a URI. Sockets of this machine are
// none: whom a socket serves is not known by its path.
func peer(p string) (string, bool) {
	network, address, ok := strings.Cut(p, " ")
	if !ok || network == "unix" {
		return "", false
	}
	return network + "://" + address, true
}

func sortResources(list []Resource) {
	slices.SortStableFunc(list, func(x, y Resource) int {
		return cmp.Or(strings.Compare(x.URI, y.URI), strings.Compare(x.Name, y.Name), strings.Compare(x.Digest["sha256"], y.Digest["sha256"]))
	})
}
