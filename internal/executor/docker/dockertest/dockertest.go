// Package dockertest gives tests a container engine with an image in it that
// was made from what this machine has: no registry is asked.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
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
// node with the number 1000, and other with 1234.
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

// Own reports whether the container engine is the tests' own (test.sh has
// started it), in which images may have other projects' names.
func Own() bool { return os.Getenv("FAIRLEAD_TEST_ENGINE") == "own" }

// StandIn makes an image of some of this machine's programs, with the libraries
// that they need. It stands for an image that
// the tests cannot fetch, whose programs of these names it has.
func StandIn(ctx context.Context, c *client.Client, name string, programs ...string) error {
	// Images of languages take flags alone for flags of their program.
	files := map[string]string{}
	var changes []string
	if len(programs) > 0 {
		files["bin/entry"] = "#!/bin/sh\ncase $1 in -*) set -- " + programs[len(programs)-1] + " \"$@\" ;; esac\nexec \"$@\"\n"
		changes = []string{`ENTRYPOINT ["/bin/entry"]`, `CMD ["` + programs[len(programs)-1] + `"]`}
	}
	add := func(file string) error {
		body, err := os.ReadFile(file)
		files[strings.TrimPrefix(file, "/")] = string(body)
		return err
	}
	for _, p := range programs {
		file, err := exec.LookPath(p)
		if err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, "ldd", file).Output()
		if err != nil {
			return fmt.Errorf("the libraries of %s: %w", file, err)
		}
		if err := add(file); err != nil {
			return err
		}
		for word := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(word, "/") {
				if err := add(word); err != nil {
					return err
				}
			}
		}
	}
	return Import(ctx, c, name, files, changes...)
}

// Import makes an image of this machine's static busybox, with further files, by
// slash path, and changes in the words of a Dockerfile.
func Import(ctx context.Context, c *client.Client, name string, files map[string]string, changes ...string) error {
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
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, body)
	for applet := range strings.FieldsSeq(string(list)) {
		if _, given := files["bin/"+applet]; !given && applet != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}, nil)
		}
	}
	all := map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/tmp:/bin/sh\nother:x:1234:1234::/tmp:/bin/sh\n",
		"etc/group":  "root:x:0:\nnode:x:1000:\nother:x:1234:\n",
	}
	maps.Copy(all, files)
	for _, file := range slices.Sorted(maps.Keys(all)) {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o755}, []byte(all[file]))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	r, err := c.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, name, client.ImageImportOptions{Changes: changes})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
