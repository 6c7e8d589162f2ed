package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// The names of the images, which no registry has.
const (
	pauseImage = "fairlead.test/pause:1"
	appImage   = "fairlead.test/app"
)

// archive is an image layout of the Open Container Initiative, in a tar.
type archive struct {
	to    *tar.Writer
	index []descriptor
	has   map[string]bool
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// writeImages writes the images that tests run, and returns the references of the app's
// versions by digest.
func writeImages(file, pause, app string) ([]string, error) {
	out, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	a := &archive{to: tar.NewWriter(out), has: map[string]bool{}}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return nil, err
	}
	if _, err := a.image(pauseImage, pause); err != nil {
		return nil, err
	}
	var names []string
	for _, version := range []string{"v1", "v2"} {
		d, err := a.image(appImage+":"+version, app, "VERSION="+version)
		if err != nil {
			return nil, err
		}
		name := appImage + "@" + d.Digest
		d.Annotations = map[string]string{"io.containerd.image.name": name}
		a.index = append(a.index, d)
		names = append(names, name)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": a.index})
	if err != nil {
		return nil, err
	}
	if err := a.file("index.json", index); err != nil {
		return nil, err
	}
	if err := a.to.Close(); err != nil {
		return nil, err
	}
	return names, out.Close()
}

// image adds an image that holds one program and some variables.
func (a *archive) image(name, program string, env ...string) (descriptor, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return descriptor{}, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "run", Mode: 0o755, Size: int64(len(data))}); err != nil {
		return descriptor{}, err
	}
	if _, err := w.Write(data); err != nil {
		return descriptor{}, err
	}
	if err := w.Close(); err != nil {
		return descriptor{}, err
	}
	l, err := a.blob("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	if err != nil {
		return descriptor{}, err
	}
	config, err := a.json("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/run"}, "Env": env},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{l.Digest}},
	})
	if err != nil {
		return descriptor{}, err
	}
	manifest, err := a.json("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []descriptor{l},
	})
	if err != nil {
		return descriptor{}, err
	}
	manifest.Annotations = map[string]string{"io.containerd.image.name": name}
	a.index = append(a.index, manifest)
	return manifest, nil
}

func (a *archive) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, data)
}

func (a *archive) blob(mediaType string, data []byte) (descriptor, error) {
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(data)}
	if a.has[digest] {
		return d, nil
	}
	a.has[digest] = true
	return d, a.file("blobs/sha256/"+digest, data)
}

func (a *archive) file(name string, data []byte) error {
	if err := a.to.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err := a.to.Write(data)
	return err
}
