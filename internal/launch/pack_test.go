package launch

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// TestPack: the same files are the same release wherever they lie, and what cannot
// be deployed is said before anything is.
func TestPack(t *testing.T) {
	t.Parallel()
	blobs, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	packer := &Packer{Blobs: blobs, Command: func(_ context.Context, dir, script string, _ map[string]string, _ func(string)) (int, error) {
		if script != "make" {
			return 2, nil
		}
		dist := filepath.Join(dir, "dist")
		return 0, errors.Join(os.MkdirAll(filepath.Join(dist, "web"), 0o700), os.WriteFile(filepath.Join(dist, "run"), []byte("#!/bin/sh\n"), 0o755),
			os.WriteFile(filepath.Join(dist, "web", "a"), []byte("hello"), 0o600))
	}}
	pack := func(svc project.Service, prepare func(dir string)) (*string, error) {
		dir := t.TempDir()
		if prepare != nil {
			prepare(dir)
		}
		tree, err := workspace.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		svc.Name = "shop"
		f := &project.File{Services: []project.Service{svc}, Environments: []project.DeployEnvironment{
			{Name: "dev", Variables: map[string]string{"LEVEL": "debug"}}, {Name: "prod", Secrets: map[string]string{"DB": "SHOP_DB"}}}}
		r, err := packer.Pack(t.Context(), Pack{Tree: tree, File: f, Service: "shop", Version: "1.2.0", By: "ada", Log: func(string) {}})
		if err != nil {
			return nil, err
		}
		if r.Config["dev"].Variables["LEVEL"] != "debug" || r.Config["dev"].Variables["REGION"] != "eu" || r.Config["prod"].Secrets["DB"] != "SHOP_DB" {
			t.Errorf("%+v", r.Config)
		}
		return &r.Artifact.Digest, nil
	}
	built := project.Service{Artifact: project.Artifact{Build: "make", Path: "dist"}, Variables: map[string]string{"REGION": "eu"}, Process: &project.Process{}}
	one, err := pack(built, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := pack(built, func(dir string) { _ = os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600) })
	if err != nil || *one != *two {
		t.Errorf("%v, %v: %v", *one, *two, err)
	}
	for _, test := range []struct {
		name    string
		svc     project.Service
		prepare func(dir string)
		want    string
	}{
		{"no artifact", project.Service{Artifact: project.Artifact{Path: "dist"}}, nil, "the artifact of shop is not there: dist; build it first"},
		{"broken build", project.Service{Artifact: project.Artifact{Build: "fail", Path: "dist"}}, nil, "the build of shop ended with exit status 2: fail"},
		{"a link out of it", project.Service{Artifact: project.Artifact{Path: "dist"}}, func(dir string) {
			_ = os.MkdirAll(filepath.Join(dir, "dist"), 0o700)
			_ = os.Symlink("../../secret", filepath.Join(dir, "dist", "x"))
		}, "dist/x leads out of dist"},
		{"an image's tag", project.Service{Artifact: project.Artifact{Image: "registry.example/shop:1"}}, nil, "names none; write --image registry.example/shop:1@sha256:"},
		{"half a digest", project.Service{Artifact: project.Artifact{Image: "registry.example/shop@sha256:12"}}, nil, "is no digest of an image"},
	} {
		_, err := pack(test.svc, test.prepare)
		if usage := new(plan.UsageError); !errors.As(err, &usage) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestWriteTree: what is packed is unpacked as it was.
func TestWriteTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "d/e"), 0o755), os.WriteFile(filepath.Join(dir, "d/e/run"), []byte("x"), 0o755), os.Symlink("e/run", filepath.Join(dir, "d/link"))); err != nil {
		t.Fatal(err)
	}
	tree, err := workspace.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeTree(t.Context(), &b, tree.FS(), "d"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname)
	}
	if want := "drwxr-xr-x e/ |-rwxr-xr-x e/run |Lrwxrwxrwx link e/run"; strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}
