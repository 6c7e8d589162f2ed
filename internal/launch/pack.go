package launch

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Limits of an artifact that is packed.
const (
	maxPackedFiles = 200_000
	maxPackedSize  = 16 << 30 // bytes
	maxCommits     = 1000     // that a rollout is said to bring
)

// Packer makes releases of a tree's services: it builds what they are made of, keeps
// the bytes, and writes down all that belongs to a release.
type Packer struct {
	Blobs blob.Store
	// Command runs a script with sh in a directory, as deploy.Outside does.
	Command func(ctx context.Context, dir, script string, env map[string]string, log func(line string)) (exit int, err error)
	// Image finds the digest of an image, and its size if that is known; nil: images have to be named by digest.
	Image func(ctx context.Context, ref string) (digest string, size int64, err error)
}

// Pack is what a release is to be made of.
type Pack struct {
	Tree    *workspace.Tree
	File    *project.File
	Service string
	Version string // "" is by the commit
	Image   string // with a tag or a digest, in place of what the file says; "" for none
	Run     string // that made the artifact; "" for none
	By      string
	Flags   string            // digest of the flags' state
	Log     func(line string) // told of what the build prints
}

// Pack makes a release, whose ID is not set yet. The error is a [*plan.UsageError] when what was wished cannot be.
func (p *Packer) Pack(ctx context.Context, o Pack) (*record.Release, error) {
	svc, err := serviceOf(o.File, o.Service)
	if err != nil {
		return nil, err
	}
	facts, err := o.Tree.Facts(ctx)
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(svc)
	if err != nil {
		return nil, fmt.Errorf("write down how %s runs: %w", svc.Name, err)
	}
	r := &record.Release{
		Repository: facts.Repository, Service: svc.Name, Version: o.Version, Flags: o.Flags, Migrations: svc.Migrations, Spec: spec,
		Commit: facts.SHA, Ref: facts.Ref, Author: facts.Commit.Author.Name, Run: o.Run, By: o.By, Config: map[string]record.ReleaseConfig{},
	}
	if r.Version == "" {
		r.Version = facts.SHA[:min(12, len(facts.SHA))]
		if facts.Tag != "" {
			r.Version = facts.Tag
		}
		if facts.Dirty || r.Version == "" {
			r.Version = strings.TrimPrefix(r.Version+"+"+time.Now().UTC().Format("20060102T150405Z"), "+")
		}
	}
	if r.Commit != "" {
		if r.Height, err = o.Tree.Height(ctx, r.Commit); err != nil {
			return nil, err
		}
	}
	for _, e := range environmentsOf(o.File, svc) {
		c := record.ReleaseConfig{Variables: map[string]string{}, Secrets: maps.Clone(e.Secrets)}
		maps.Copy(c.Variables, svc.Variables)
		maps.Copy(c.Variables, e.Variables)
		r.Config[e.Name] = c
	}
	if svc.Artifact.Build != "" && o.Image == "" {
		if err := p.build(ctx, o, svc); err != nil {
			return nil, err
		}
	}
	r.Artifact, err = p.artifact(ctx, o, svc)
	return r, err
}

// serviceOf is the service of that name.
func serviceOf(f *project.File, name string) (*project.Service, error) {
	var names []string
	for i := range f.Services {
		if f.Services[i].Name == name {
			return &f.Services[i], nil
		}
		names = append(names, f.Services[i].Name)
	}
	if len(names) == 0 {
		return nil, &plan.UsageError{Message: "fairlead.yaml names no services", Hint: "say there what is deployed, and where: `fairlead help variables` and docs/how-to/deploy.md"}
	}
	hint := "the services are " + strings.Join(names, ", ")
	if near := plan.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, &plan.UsageError{Message: fmt.Sprintf("there is no service %.60q in fairlead.yaml", name), Hint: hint}
}

// environmentsOf are those that a service goes to, in their order.
func environmentsOf(f *project.File, svc *project.Service) (list []project.DeployEnvironment) {
	for _, e := range f.Environments {
		if len(svc.Environments) == 0 || slices.Contains(svc.Environments, e.Name) {
			list = append(list, e)
		}
	}
	return list
}

func (p *Packer) build(ctx context.Context, o Pack, svc *project.Service) error {
	exit, err := p.Command(ctx, o.Tree.Root(), svc.Artifact.Build, svc.Variables, o.Log)
	switch {
	case err != nil:
		return fmt.Errorf("build %s: %w", svc.Name, err)
	case exit != 0:
		return &plan.UsageError{Message: fmt.Sprintf("the build of %s ended with exit status %d: %s", svc.Name, exit, svc.Artifact.Build), Hint: "nothing was deployed; mend the build, and try again"}
	}
	return nil
}

// artifact keeps the bytes of what the service is made of.
func (p *Packer) artifact(ctx context.Context, o Pack, svc *project.Service) (record.Packed, error) {
	if image := o.Image; image != "" || svc.Artifact.Image != "" {
		if image == "" {
			image = svc.Artifact.Image
		}
		return p.image(ctx, image)
	}
	name := svc.Artifact.Path
	if name == "" {
		return record.Packed{Kind: "none"}, nil
	}
	missing := &plan.UsageError{Message: fmt.Sprintf("the artifact of %s is not there: %s", svc.Name, name), Hint: "build it first, or say under artifact: how it is built"}
	files := o.Tree.FS()
	info, err := fs.Stat(files, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return record.Packed{}, missing
	case err != nil:
		return record.Packed{}, fmt.Errorf("look at %s: %w", name, err)
	}
	kind, write := "file", func(w io.Writer) error { return copyFile(w, files, name) }
	if info.IsDir() {
		kind, write = "tree", func(w io.Writer) error { return writeTree(ctx, w, files, name) }
	} else if !info.Mode().IsRegular() {
		return record.Packed{}, &plan.UsageError{Message: name + " is neither a file nor a directory", Hint: "name what the build makes"}
	}
	out, in := io.Pipe()
	go func() { in.CloseWithError(write(in)) }()
	digest, size, err := p.Blobs.Put(ctx, out)
	out.CloseWithError(errors.New("nobody keeps it")) // ends the writer, if it has not ended
	if err != nil {
		return record.Packed{}, fmt.Errorf("keep %s: %w", name, err)
	}
	return record.Packed{Kind: kind, Name: path.Base(name), Digest: string(digest), Size: size}, nil
}

func (p *Packer) image(ctx context.Context, ref string) (record.Packed, error) {
	name, digest, pinned := strings.Cut(ref, "@")
	if pinned {
		if d, err := blob.Parse(digest); err != nil || !d.Valid() {
			return record.Packed{}, &plan.UsageError{Message: fmt.Sprintf("%.100q is no digest of an image", digest), Hint: "it is sha256: and 64 hexadecimal digits"}
		}
		return record.Packed{Kind: "image", Name: name, Digest: digest}, nil
	}
	if p.Image == nil {
		return record.Packed{}, &plan.UsageError{Message: "what is deployed is a digest, and " + ref + " names none", Hint: "write --image " + ref + "@sha256:…"}
	}
	digest, size, err := p.Image(ctx, ref)
	if err != nil {
		return record.Packed{}, fmt.Errorf("find the digest of %s: %w", ref, err)
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return record.Packed{Kind: "image", Name: name, Digest: digest, Size: size}, nil
}

func copyFile(w io.Writer, files fs.FS, name string) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, io.LimitReader(f, maxPackedSize))
	return err
}

// writeTree writes a directory as a tar of which the bytes depend on names, bytes and
// executable bits alone: the same directory has the same digest on every machine.
func writeTree(ctx context.Context, w io.Writer, files fs.FS, root string) error {
	t := tar.NewWriter(w)
	count, size := 0, int64(0)
	err := fs.WalkDir(files, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if count++; count > maxPackedFiles {
			return &plan.UsageError{Message: fmt.Sprintf("%s holds more than %d files", root, maxPackedFiles), Hint: "deploy what is needed to run, and not what it was built from"}
		}
		below := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		if below == "" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: below, Mode: 0o644, Format: tar.FormatPAX}
		switch mode := info.Mode(); {
		case mode.IsDir():
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, below+"/", 0o755
			return t.WriteHeader(h)
		case mode&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(files, name)
			if err != nil {
				return err
			}
			if path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(name), target)) || !inside(root, path.Join(path.Dir(name), target)) {
				return &plan.UsageError{Message: fmt.Sprintf("%s leads out of %s, to %.100q", name, root, target), Hint: "put what it leads to into the directory"}
			}
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, target, 0o777
			return t.WriteHeader(h)
		case !mode.IsRegular():
			return &plan.UsageError{Message: name + " is no plain file", Hint: "remove it from " + root}
		}
		if h.Size = info.Size(); info.Mode()&0o100 != 0 {
			h.Mode = 0o755
		}
		if size += h.Size; size > maxPackedSize {
			return &plan.UsageError{Message: fmt.Sprintf("%s holds more than %d bytes", root, int64(maxPackedSize)), Hint: "deploy what is needed to run, and not what it was built from"}
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if err := copyFile(t, files, name); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.Close()
}

func inside(root, name string) bool {
	return root == "." || name == root || strings.HasPrefix(name, root+"/")
}

// Commits are those that lead from one commit to another, newest first; none when it is not
// known how they hang together.
func Commits(ctx context.Context, tree *workspace.Tree, from, to string) []record.Commit {
	if to == "" || !tree.HasGit() {
		return nil
	}
	var list []record.Commit
	shas := []string{to}
	if from != "" && from != to {
		if way, err := tree.Between(ctx, from, to, maxCommits); err == nil {
			shas = nil
			for _, c := range slices.Backward(way) {
				shas = append(shas, c.SHA)
			}
		}
	}
	for _, sha := range shas {
		c, err := tree.Commit(ctx, sha)
		if err != nil {
			return list
		}
		subject, _, _ := strings.Cut(c.Message, "\n")
		list = append(list, record.Commit{SHA: sha, Time: c.Committer.When.UTC(), Author: c.Author.Name, Subject: subject})
	}
	return list
}

// Destination is a service and an environment that it goes to. The error is a
// [*plan.UsageError] when there is none of that name, or it does not go there.
func Destination(f *project.File, service, environment string) (*project.Service, *project.DeployEnvironment, error) {
	svc, err := serviceOf(f, service)
	if err != nil {
		return nil, nil, err
	}
	env, err := environmentOf(f, environment)
	if err != nil {
		return nil, nil, err
	}
	if len(svc.Environments) > 0 && !slices.Contains(svc.Environments, environment) && !env.Preview {
		return nil, nil, &plan.UsageError{Message: fmt.Sprintf("%s does not go to %s", service, environment), Hint: "it goes to " + strings.Join(svc.Environments, ", ")}
	}
	return svc, env, nil
}
