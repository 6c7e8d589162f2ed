package depot

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Artifact is a product of a run.
type Artifact struct {
	ID      int64       `json:"id"`
	Name    string      `json:"name"`
	Digest  blob.Digest `json:"digest"` // of the blob: the zip file, or the file itself
	Size    int64       `json:"size"`
	Type    string      `json:"type"` // media type of the blob
	Created time.Time   `json:"created"`
	Expires time.Time   `json:"expires,omitzero"`
	Run     string      `json:"run"` // decimal digits
	Job     string      `json:"job"`
	Began   time.Time   `json:"began,omitzero"` // when the job that saved it was started
	// Own says that the name is one of the job's own, which other jobs of the
	// run may use too. Else it is the run's, and there is one of it.
	Own bool `json:"own,omitempty"`
	// Kind is what it is for, in the words of its pipeline language.
	Kind string `json:"kind,omitempty"`
}

// ZipType is the media type of an artifact that holds files, as Zip makes it.
const ZipType = "application/zip"

func (d *Depot) artifactDir(run string) (string, error) {
	if run == "" || strings.ContainsFunc(run, func(r rune) bool { return r < '0' || r > '9' }) {
		return "", fmt.Errorf("%.80q is not the number of a run", run)
	}
	return filepath.Join(d.index, "artifacts", run), nil
}

func (a *Artifact) entry() string {
	if a.Own {
		return Hash(a.Job, a.Name) + ".json"
	}
	return entryName(a.Name)
}

// Artifact returns the run's artifact with the name, or nil.
func (d *Depot) Artifact(run, name string) (*Artifact, error) {
	return d.artifact(&Artifact{Run: run, Name: name})
}

// Own returns the artifact that the job has under a name of its own, or nil.
func (d *Depot) Own(run, job, name string) (*Artifact, error) {
	return d.artifact(&Artifact{Run: run, Job: job, Name: name, Own: true})
}

func (d *Depot) artifact(like *Artifact) (*Artifact, error) {
	dir, err := d.artifactDir(like.Run)
	if err != nil {
		return nil, err
	}
	var a Artifact
	err = readEntry(dir, like.entry(), &a)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &a, err
}

// Artifacts returns all artifacts of the run, sorted by name and job.
func (d *Depot) Artifacts(ctx context.Context, run string) ([]Artifact, error) {
	dir, err := d.artifactDir(run)
	if err != nil {
		return nil, err
	}
	list, err := entries[Artifact](ctx, dir)
	slices.SortFunc(list, func(a, b Artifact) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Job, b.Job)
	})
	return list, err
}

// Replaceable reports whether an artifact may give way to one of the same
// name: it was saved by an earlier attempt of the same job, whose products
// this attempt makes again.
func (a *Artifact) Replaceable(job string, began time.Time) bool {
	return a.Job == job && !a.Began.IsZero() && !began.IsZero() && !a.Began.Equal(began)
}

// AddArtifact gives the artifact an ID and a time, and saves it. Unless it may
// overwrite another, it is ErrTaken when there is one of that name that is
// not Replaceable.
func (d *Depot) AddArtifact(a *Artifact, overwrite bool) error {
	dir, err := d.artifactDir(a.Run)
	if err != nil {
		return err
	}
	a.ID, a.Created = NewID(), time.Now().UTC()
	err = writeEntry(dir, a.entry(), a, overwrite)
	if !errors.Is(err, ErrTaken) {
		return err
	}
	old, err := d.artifact(a)
	if err != nil {
		return err
	}
	if old != nil && !old.Replaceable(a.Job, a.Began) {
		return ErrTaken
	}
	return writeEntry(dir, a.entry(), a, true)
}

// RemoveArtifact removes an artifact's name; there is nothing to do when it is
// not there. Its bytes go when the store evicts them.
func (d *Depot) RemoveArtifact(a *Artifact) error {
	dir, err := d.artifactDir(a.Run)
	if err != nil {
		return err
	}
	err = os.Remove(filepath.Join(dir, a.entry()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Inherit gives a run the artifacts of another, which it goes on from: those of
// jobs that are not run again. A job that is makes its own anew in their place.
func (d *Depot) Inherit(ctx context.Context, run, from string) error {
	list, err := d.Artifacts(ctx, from)
	if err != nil {
		return err
	}
	dir, err := d.artifactDir(run)
	if err != nil {
		return err
	}
	for i := range list {
		a := &list[i]
		a.Run = run
		if err := writeEntry(dir, a.entry(), a, false); err != nil && !errors.Is(err, ErrTaken) {
			return err
		}
	}
	return nil
}

// NewID is a number that no other artifact has, small enough for clients that
// read it as a floating-point number.
func NewID() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	const bits = 48
	return int64(binary.LittleEndian.Uint64(b[:])>>(64-bits)) | 1
}

// Fetch says how an artifact is unpacked.
type Fetch struct {
	Dir  string // where to; made if need be
	Temp string // directory for a copy of its bytes
	// Raw leaves a zip file as it is.
	Raw bool
	// Modes gives files the permissions that the zip says, and makes its
	// symbolic links. Without it, a link in it is ErrHostile.
	Modes bool
}

// Fetch puts an artifact into a directory and returns the number of files.
func (d *Depot) Fetch(ctx context.Context, a *Artifact, how Fetch) (int, error) {
	f, n, err := d.copy(ctx, a, how.Temp)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	root, err := openRoot(how.Dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	if how.Raw || a.Type != ZipType {
		name := a.Name
		if a.Type == ZipType {
			name += ".zip"
		}
		if !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\\x00") {
			return 0, fmt.Errorf("%.200q cannot be the name of a file: %w", name, ErrHostile)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return 1, replaceFile(root, name, 0o644, f)
	}
	return unzip(ctx, root, f, n, how.Modes)
}

// copy copies an artifact's blob to temp: it has proved itself when it was
// read to its end, and only then anything is made of it.
func (d *Depot) copy(ctx context.Context, a *Artifact, temp string) (*os.File, int64, error) {
	r, err := d.blobs.Open(ctx, a.Digest)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	f, err := os.CreateTemp(temp, "artifact-*")
	if err != nil {
		return nil, 0, err
	}
	n, err := io.Copy(f, r)
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, 0, err
	}
	return f, n, nil
}

// ReadFile returns one file of a zipped artifact, by its name in it, up to
// limit bytes. The error is an fs.ErrNotExist when it holds no such file.
func (d *Depot) ReadFile(ctx context.Context, a *Artifact, name, temp string, limit int64) ([]byte, error) {
	f, n, err := d.copy(ctx, a, temp)
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return readZipped(f, n, name, limit)
}
