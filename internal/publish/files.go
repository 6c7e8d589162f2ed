package publish

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Limits of the files of a release.
const (
	maxFiles   = 900 // fewer than code hosts take
	maxFound   = 200_000
	maxRuns    = 500
	maxArchive = 16 << 30 // bytes of what a run kept, unpacked
)

// The files that a release itself makes.
const (
	SumsName       = "SHA256SUMS"
	ProvenanceName = "provenance.intoto.jsonl"
)

// gathered is a file on its way into a release.
type gathered struct {
	record.ReleaseAsset
	build int // which of the builds made it; -1: nobody saw
}

// preview says which files a release would have. Of what a command makes it says the
// patterns: nothing is run.
func (p *Publisher) preview(ctx context.Context, x *Plan, i *Item) ([]File, error) {
	list := []File{}
	for _, a := range i.artifacts {
		switch {
		case a.Artifact != "":
			kept, err := p.kept(ctx, x, &a)
			if err != nil {
				return nil, err
			}
			for _, k := range kept {
				list = append(list, File{Name: k.saved.Name, From: k.from(), Size: k.saved.Size, Digest: k.saved.Digest})
			}
		case a.Command != "":
			for _, f := range a.Files {
				list = append(list, File{Name: f, From: "command " + a.Command})
			}
		default:
			names, err := p.find(a.Files)
			if err != nil {
				return nil, err
			}
			if len(names) == 0 {
				x.problem(plan.Error, a.Source, "no file of the tree is meant by "+strings.Join(a.Files, ", "), "make them first, or say with command how they are made")
			}
			for _, name := range names {
				info, err := fs.Stat(p.Tree.FS(), name)
				if err != nil {
					return nil, err
				}
				list = append(list, File{Name: path.Base(name), From: "file " + name, Size: info.Size()})
			}
		}
	}
	return list, nil
}

// find are the files of the tree that patterns mean, sorted. Links are no files: they
// may lead anywhere.
func (p *Publisher) find(patterns []string) ([]string, error) {
	all := release.Component{Paths: patterns}
	var names []string
	seen := 0
	err := fs.WalkDir(p.Tree.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if seen++; seen > maxFound {
			return fmt.Errorf("the tree has more than %d files to look at: name directories in the patterns", maxFound)
		}
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || name != "." && !leads(patterns, name)):
			return fs.SkipDir
		case d.Type().IsRegular() && all.Owns(name):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for the files of the release: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// leads reports whether files below a directory may be meant by one of the patterns.
func leads(patterns []string, dir string) bool {
	parts := strings.Split(dir, "/")
	for _, p := range patterns {
		if strings.HasPrefix(p, "!") {
			continue
		}
		want := strings.Split(path.Clean(p), "/")
		fits := true
		for i, part := range parts {
			if i >= len(want) || want[i] == "**" {
				break
			}
			if ok, err := path.Match(want[i], part); err != nil || !ok {
				fits = false
				break
			}
		}
		if fits {
			return true
		}
	}
	return false
}

// keptFile is a file that a run kept.
type keptFile struct {
	run   *record.Run
	job   *record.JobRun
	saved *record.ArtifactSaved
}

func (k keptFile) from() string { return "run " + k.run.ID + ", job " + k.job.ID }

// kept are the artifacts that the newest successful run of the commit kept under a name.
func (p *Publisher) kept(ctx context.Context, x *Plan, a *project.ReleaseArtifact) ([]keptFile, error) {
	heads, err := p.Runs.Runs(ctx, store.RunFilter{Repository: x.Repository, Pipeline: a.Pipeline, Verdict: plan.Success, Limit: maxRuns})
	if err != nil {
		return nil, err
	}
	seen := false
	for _, h := range heads {
		if h.SHA != x.Commit || h.Dirty {
			continue
		}
		seen = true
		run, err := p.Runs.Run(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		newest := map[string]keptFile{}
		for _, id := range run.Order {
			j := run.Jobs[id]
			for k := range j.Artifacts {
				s := &j.Artifacts[k]
				if wild(a.Artifact, s.Name) && s.Digest != "" {
					newest[s.Name] = keptFile{run, j, s}
				}
			}
		}
		if len(newest) == 0 {
			continue
		}
		var list []keptFile
		for _, name := range slices.Sorted(maps.Keys(newest)) {
			k := newest[name]
			if s := k.saved.Shown; s != nil && (s.Masked > 0 || s.Holds > 0) {
				x.problem(plan.Error, a.Source, fmt.Sprintf("the artifact %s of run %s holds values of secrets", name, run.ID), "take them out of it: what is released, everybody has")
			}
			list = append(list, k)
		}
		return list, nil
	}
	why := "no successful run of commit " + x.Commit[:10] + " is in the record"
	if seen {
		why = "no successful run of commit " + x.Commit[:10] + " kept a " + a.Artifact
	}
	x.problem(plan.Error, a.Source, why, "run it: fairlead run; what has changed in the tree must be committed")
	return nil, nil
}

// gather brings the files of a release into the store of blobs, with their checksums
// and what is known of how they were made.
func (p *Publisher) gather(ctx context.Context, x *Plan, i *Item) ([]record.ReleaseAsset, error) {
	var list []gathered
	var builds []*attest.Build
	for k := range i.artifacts {
		a := &i.artifacts[k]
		var more []gathered
		var err error
		if a.Artifact != "" {
			more, builds, err = p.gatherKept(ctx, x, a, builds)
		} else {
			more, builds, err = p.gatherFiles(ctx, x, i, a, builds)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	slices.SortFunc(list, func(a, b gathered) int { return strings.Compare(a.Name, b.Name) })
	for k := range list {
		if k > 0 && list[k].Name == list[k-1].Name {
			return nil, &InvalidError{[]plan.Problem{{Severity: plan.Error, Rule: rule, Message: fmt.Sprintf("two files of the release are called %s: %s and %s", list[k].Name, list[k-1].From, list[k].From), Hint: "give one of them another name"}}}
		}
	}
	if len(list) > maxFiles {
		return nil, fmt.Errorf("the release has %d files, and at most %d are taken", len(list), maxFiles)
	}
	if len(list) == 0 {
		return nil, nil
	}
	assets, err := p.attested(ctx, list, builds)
	if err != nil {
		return nil, err
	}
	var sums bytes.Buffer
	for _, a := range assets {
		fmt.Fprintf(&sums, "%s  %s\n", strings.TrimPrefix(a.Digest, "sha256:"), a.Name)
	}
	d, n, err := p.Blobs.Put(ctx, &sums)
	if err != nil {
		return nil, err
	}
	return append(assets, record.ReleaseAsset{Name: SumsName, Digest: string(d), Size: n, Type: "text/plain"}), nil
}

// attested makes the statements about the files: one for all that one build made.
func (p *Publisher) attested(ctx context.Context, list []gathered, builds []*attest.Build) ([]record.ReleaseAsset, error) {
	var key *attest.Key
	if p.Key != nil && len(builds) > 0 {
		var err error
		if key, err = p.Key(); err != nil {
			return nil, err
		}
	}
	var lines bytes.Buffer
	made := make([]string, len(builds))
	for k, b := range builds {
		for _, g := range list {
			if g.build == k {
				b.Subjects = append(b.Subjects, attest.Subject{Name: g.Name, Digest: g.Digest})
			}
		}
		if len(b.Subjects) == 0 {
			continue
		}
		s, err := b.Statement()
		if err != nil {
			return nil, err
		}
		sealed, err := attest.Seal(s, key)
		if err != nil {
			return nil, err
		}
		text, err := sealed.JSON()
		if err != nil {
			return nil, err
		}
		d, _, err := p.Blobs.Put(ctx, bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		made[k] = string(d)
		lines.Write(text)
	}
	var assets []record.ReleaseAsset
	for _, g := range list {
		if g.build >= 0 {
			g.Provenance = made[g.build]
		} else {
			p.say("%s: nobody saw how it was made, so nothing can be said of it", g.Name)
		}
		assets = append(assets, g.ReleaseAsset)
	}
	if lines.Len() == 0 {
		return assets, nil
	}
	d, n, err := p.Blobs.Put(ctx, &lines)
	if err != nil {
		return nil, err
	}
	return append(assets, record.ReleaseAsset{Name: ProvenanceName, Digest: string(d), Size: n, Type: "application/jsonl"}), nil
}

// gatherFiles takes files of the tree, after their command was run.
func (p *Publisher) gatherFiles(ctx context.Context, x *Plan, i *Item, a *project.ReleaseArtifact, builds []*attest.Build) ([]gathered, []*attest.Build, error) {
	build := -1
	var made map[string]bool
	if a.Command != "" {
		b, outputs, err := p.execute(ctx, x, i, a)
		if err != nil {
			return nil, nil, err
		}
		made = outputs
		build, builds = len(builds), append(builds, b)
	}
	names, err := p.find(a.Files)
	if err != nil {
		return nil, nil, err
	}
	if len(names) == 0 {
		return nil, nil, &InvalidError{[]plan.Problem{{Source: a.Source, Severity: plan.Error, Rule: rule, Message: "no file of the tree is meant by " + strings.Join(a.Files, ", "), Hint: "look at what the command writes, and where to"}}}
	}
	var list []gathered
	for _, name := range names {
		f, err := p.Tree.FS().Open(name)
		if err != nil {
			return nil, nil, err
		}
		d, n, err := p.Blobs.Put(ctx, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, nil, fmt.Errorf("take %s into the release: %w", name, err)
		}
		g := gathered{record.ReleaseAsset{Name: path.Base(name), Digest: string(d), Size: n, Type: mediaType(name), From: "file " + name}, build}
		if a.Command != "" {
			g.From = "command " + a.Command
			if made != nil && !made[name] {
				// It may be of yesterday.
				builds[build].Gaps = append(builds[build].Gaps, name+" was there before the command, which did not write it")
			}
		}
		list = append(list, g)
	}
	if a.Command != "" {
		return list, builds, nil
	}
	return p.recognise(ctx, x, list, builds)
}

// execute runs a command that makes files, watched, and says what it wrote; nil when that
// is not known.
func (p *Publisher) execute(ctx context.Context, x *Plan, i *Item, a *project.ReleaseArtifact) (*attest.Build, map[string]bool, error) {
	root := p.Tree.Root()
	p.say("run %s", a.Command)
	temp := os.TempDir()
	began := p.Now()
	res, err := p.Exec(ctx, Command{
		Script: a.Command, Dir: root, Env: map[string]string{"VERSION": i.Version, "TAG": i.Tag},
		Watch: &trace.Spec{Inside: []string{root, temp}},
	}, cmp.Or[io.Writer](p.Out, io.Discard))
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", a.Command, err)
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if res.Exit != 0 {
		return nil, nil, &InvalidError{[]plan.Problem{{Source: a.Source, Severity: plan.Error, Rule: rule, Message: fmt.Sprintf("the command %q ended with exit code %d", a.Command, res.Exit), Hint: "nothing was released; mend it and publish again"}}}
	}
	b := &attest.Build{
		Type: attest.BuildTypeCommand, Workspace: root, Temporary: []string{temp}, Builder: attest.Workstation, Version: p.Version,
		Source:     attest.Source{Ref: x.facts.Ref, Commit: x.Commit, Dirty: x.facts.Dirty},
		Parameters: map[string]any{"command": a.Command, "version": i.Version, "tag": i.Tag},
		Internal:   map[string]any{"actor": p.By},
		Seen:       []attest.Seen{{Observation: res.Observation}},
		Invocation: "release/" + keyOf(x.Repository, i.Tag), Began: began, Ended: p.Now(),
	}
	if x.facts.Remote != "" && !strings.HasPrefix(x.Repository, "local/") {
		b.Source.URL = x.facts.Server + "/" + x.Repository
	}
	if res.Observation == nil || res.Observation.Mechanism == "" {
		return b, nil, nil
	}
	made := map[string]bool{}
	for k := range res.Observation.Outputs {
		if rel, err := filepath.Rel(root, res.Observation.Outputs[k].Path); err == nil {
			made[filepath.ToSlash(rel)] = true
		}
	}
	return b, made, nil
}

// recognise finds the runs that kept files of the tree, by their digests: then it is known how
// they were made, whoever put them there.
func (p *Publisher) recognise(ctx context.Context, x *Plan, list []gathered, builds []*attest.Build) ([]gathered, []*attest.Build, error) {
	heads, err := p.Runs.Runs(ctx, store.RunFilter{Repository: x.Repository, Verdict: plan.Success, Limit: maxRuns})
	if err != nil {
		return nil, nil, err
	}
	for _, h := range heads {
		if h.SHA != x.Commit || h.Dirty {
			continue
		}
		run, err := p.Runs.Run(ctx, h.ID)
		if err != nil {
			return nil, nil, err
		}
		for _, id := range run.Order {
			j := run.Jobs[id]
			for k := range j.Artifacts {
				s := &j.Artifacts[k]
				b := -1
				for g := range list {
					if list[g].build >= 0 || list[g].Digest != s.Digest {
						continue
					}
					if b < 0 {
						b, builds = len(builds), append(builds, (&Witness{p.Blobs}).Build(ctx, run, j, s))
					}
					list[g].build = b
				}
			}
		}
	}
	return list, builds, nil
}

// gatherKept takes what a run kept. An archive is unpacked: its files are the release's.
func (p *Publisher) gatherKept(ctx context.Context, x *Plan, a *project.ReleaseArtifact, builds []*attest.Build) ([]gathered, []*attest.Build, error) {
	kept, err := p.kept(ctx, x, a)
	if err != nil {
		return nil, nil, err
	}
	if plan.Errors(x.Problems) {
		return nil, nil, &InvalidError{x.Problems}
	}
	var list []gathered
	for _, k := range kept {
		build := len(builds)
		builds = append(builds, (&Witness{p.Blobs}).Build(ctx, k.run, k.job, k.saved))
		files, err := p.unpack(ctx, k)
		if err != nil {
			return nil, nil, fmt.Errorf("take the artifact %s of run %s into the release: %w", k.saved.Name, k.run.ID, err)
		}
		for _, f := range files {
			f.build = build
			list = append(list, f)
		}
	}
	return list, builds, nil
}

// unpack brings the files of an artifact into the store of blobs: those of a zip, or
// itself.
func (p *Publisher) unpack(ctx context.Context, k keptFile) ([]gathered, error) {
	body, err := p.Blobs.Open(ctx, blob.Digest(k.saved.Digest))
	if err != nil {
		return nil, err
	}
	defer body.Close()
	temp, err := os.CreateTemp("", "fairlead-release-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	n, err := io.Copy(temp, body)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(temp, n)
	if err != nil {
		return []gathered{{ReleaseAsset: record.ReleaseAsset{Name: path.Base(k.saved.Name), Digest: k.saved.Digest, Size: n, Type: mediaType(k.saved.Name), From: k.from(), Run: k.run.ID, Job: k.job.ID}}}, nil
	}
	var list []gathered
	left := int64(maxArchive)
	for _, f := range z.File {
		if !f.Mode().IsRegular() {
			continue
		}
		if len(list) == maxFiles {
			return nil, fmt.Errorf("it holds more than %d files", maxFiles)
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		d, size, err := p.Blobs.Put(ctx, io.LimitReader(r, left+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		if left -= size; left < 0 {
			return nil, fmt.Errorf("it holds more than %d GiB", maxArchive>>30)
		}
		name := path.Base(strings.ReplaceAll(f.Name, `\`, "/"))
		list = append(list, gathered{ReleaseAsset: record.ReleaseAsset{Name: name, Digest: string(d), Size: size, Type: mediaType(name), From: k.from(), Run: k.run.ID, Job: k.job.ID}})
	}
	return list, nil
}

// mediaType is that of a file by its name.
func mediaType(name string) string {
	for suffix, kind := range map[string]string{".gz": "application/gzip", ".tgz": "application/gzip", ".zip": "application/zip", ".json": "application/json", ".txt": "text/plain", ".jar": "application/java-archive", ".deb": "application/vnd.debian.binary-package", ".zst": "application/zstd"} {
		if strings.HasSuffix(name, suffix) {
			return kind
		}
	}
	return "application/octet-stream"
}

// DigestOf is the digest of a file's bytes: sha256:…
func DigestOf(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
