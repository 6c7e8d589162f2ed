// Package dockertest gives tests a container engine with an image in it that
// was made from what this machine has: no registry is asked.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// Image is the name of a static busybox and nothing else. Its users are root,
// and other with the number 1234.
const Image = "fairlead-test/busybox:2"

// Engine is a client of the container engine that the environment names, which
// has [Image]. The error says why there is none.
func Engine() (*client.Client, error) {
	c, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, err
	}
	if _, err := c.ImageInspect(ctx, Image); err == nil {
		return c, nil
	}
	return c, Import(ctx, c, Image, nil)
}

// Import makes an image of this machine's static busybox, with further files, by
// slash path.
func Import(ctx context.Context, c *client.Client, name string, files map[string]string) error {
	var box string
	for _, file := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		if _, err := os.Stat(file); err == nil {
			box = file
		}
	}
	if box == "" {
		return errors.New("there is no busybox to make an image of (package busybox-static)")
	}
	body, err := os.ReadFile(box)
	if err != nil {
		return err
	}
	list, err := exec.CommandContext(ctx, box, "--list").Output()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		err = errors.Join(err, w.WriteHeader(h))
		_, werr := w.Write(body)
		err = errors.Join(err, werr)
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "tmp/", "usr/", "usr/bin/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\nother:x:1234:1234::/tmp:/bin/sh\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nother:x:1234:\n"))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, body)
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}, nil)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o755}, []byte(files[file]))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	r, err := c.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, name, client.ImageImportOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
