package docker

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// image is one that is there.
type image struct {
	name       string // as the user wrote it; for people
	id         string // sha256:…, which names its bytes and those of all its layers
	digest     string // name@sha256:… in its registry, "" when it came from none
	arch       string
	env        []string
	entrypoint []string
	command    []string
	user       string
	exposed    []string // ports, "5432/tcp"
	tested     bool     // it says how its health is asked for
}

// errMissing is wrapped when an image is not here, and may not be fetched now.
var errMissing = errors.New("the image is not on this machine")

// inspect finds an image that is here already.
func (d *daemon) inspect(ctx context.Context, name string) (*image, error) {
	r, err := d.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, errMissing
	}
	if err != nil {
		return nil, err
	}
	i := &image{name: name, id: r.ID, arch: r.Os + "/" + r.Architecture}
	if len(r.RepoDigests) > 0 {
		i.digest = r.RepoDigests[0]
	}
	if c := r.Config; c != nil {
		i.env, i.entrypoint, i.command, i.user = c.Env, c.Entrypoint, c.Cmd, c.User
		i.exposed = slices.Sorted(maps.Keys(c.ExposedPorts))
		i.tested = c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE"
	}
	return i, nil
}

// obtain has an image here, as the pull policy says.
func (d *daemon) obtain(ctx context.Context, name string, pull plan.Pull, platform string, login *login, note func(string)) (*image, error) {
	if pull != plan.PullAlways {
		i, err := d.inspect(ctx, name)
		if err == nil {
			return i, nil
		}
		if !errors.Is(err, errMissing) {
			return nil, fmt.Errorf("look for the image %s: %w", name, err)
		}
		if pull == plan.PullNever {
			return nil, fmt.Errorf("the image %s: %w, and its pull policy is never", name, errMissing)
		}
	}
	note("fetching the image " + name)
	if err := d.fetch(ctx, name, platform, login); err != nil {
		return nil, fmt.Errorf("fetch the image %s: %w", name, err)
	}
	i, err := d.inspect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at the image %s: %w", name, err)
	}
	return i, nil
}

// login is what a registry wants to see. It goes to the daemon in a header,
// and nowhere else.
type login struct{ username, password string }

func (d *daemon) fetch(ctx context.Context, name, platform string, login *login) error {
	opts := client.ImagePullOptions{}
	if login != nil {
		auth, err := json.Marshal(registry.AuthConfig{Username: login.username, Password: login.password})
		if err != nil {
			return err
		}
		opts.RegistryAuth = base64.URLEncoding.EncodeToString(auth)
	}
	if platform != "" {
		p, err := platformOf(platform)
		if err != nil {
			return err
		}
		opts.Platforms = []ocispec.Platform{*p}
	}
	r, err := d.ImagePull(ctx, name, opts)
	if err != nil {
		return plain(err)
	}
	defer r.Close()
	return plain(r.Wait(ctx))
}

// plain takes from an error the words that the daemon puts in front of all.
func plain(err error) error {
	if err == nil {
		return nil
	}
	if text, ok := strings.CutPrefix(err.Error(), "Error response from daemon: "); ok {
		return &daemonError{text, err}
	}
	return err
}

type daemonError struct {
	text string
	err  error
}

func (e *daemonError) Error() string { return e.text }
func (e *daemonError) Unwrap() error { return e.err }

// platformOf reads linux/arm64/v8.
func platformOf(text string) (*ocispec.Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("the platform %q is not os/architecture", text)
	}
	p := &ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// progress reads the messages of a build, and returns the image that was made.
// What a person may want to read goes to log.
func progress(r io.Reader, log io.Writer) (id string, err error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var m struct {
			Stream string
			Error  string
			Aux    struct{ ID string }
		}
		if err := dec.Decode(&m); err == io.EOF {
			return id, nil
		} else if err != nil {
			return id, err
		}
		if m.Error != "" {
			return id, errors.New(m.Error)
		}
		if m.Aux.ID != "" {
			id = m.Aux.ID
		}
		if _, err := io.WriteString(log, m.Stream); err != nil {
			return id, err
		}
	}
}
