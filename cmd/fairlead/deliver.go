package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes"
	"github.com/fairlead-dev/fairlead/internal/deploy/probe"
	"github.com/fairlead-dev/fairlead/internal/deploy/process"
	"github.com/fairlead-dev/fairlead/internal/deploy/ssh"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// delivery is what moves releases: with places, that of this machine's tree, or
// of a server's repositories; with flags, the guarded ones too.
func (o *opened) delivery(w cli.Wiring, places rollout.Projects, secrets rollout.Secrets, flags *launch.Flags) (*rollout.Mover, *launch.Packer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := hostDir(w, "")
	if err != nil {
		return nil, nil, err
	}
	outside := probe.New(os.Getenv)
	processes := process.New(process.Options{Directory: dir, Program: []string{self, "host", "run"}})
	machines := ssh.New(ssh.Options{Program: self, Args: []string{"host", "run"}})
	o.shut = append([]func() error{processes.Close, machines.Close}, o.shut...)
	name, err := os.Hostname()
	if err != nil {
		name = "this machine"
	}
	return &rollout.Mover{
		Store: o.record, Outside: outside, Projects: places, Artifacts: o.blobs, Secrets: secrets,
		Holder: fmt.Sprintf("pid %d on %s", os.Getpid(), name),
		Drivers: map[string]deploy.Driver{
			"process": processes, "ssh": machines, "kubernetes": kubernetes.New(kubernetes.Options{}),
			rollout.FlagDriver: &rollout.FlagMover{Shares: launch.FlagShares{Flags: flags, By: launch.By{Name: "fairlead", Via: "rollout"}}},
		},
	}, &launch.Packer{Blobs: o.blobs, Command: outside.Command}, nil
}

// local is the delivery of the tree that is worked in.
func (o *opened) local(w cli.Wiring, root string) (*cli.Delivery, error) {
	m, packer, err := o.delivery(w, o.places(root), environmentSecrets{}, &launch.Flags{Store: o.record, Log: o.record, Dir: filepath.Join(o.data, "flags")})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	follow := func(rollout string) error {
		var env []string
		if w.Database != "" { // it may hold a password
			env = []string{"FAIRLEAD_DATABASE=" + w.Database}
		}
		return process.Detach(filepath.Join(o.data, "rollouts.log"), env, self, "rollout", "move", rollout, "--dir", root, "--output", "json", "--data", o.data, "--cache", o.caches)
	}
	return &cli.Delivery{Mover: m, Packer: packer, Board: &insight.Board{Store: o.record}, Follow: follow}, nil
}

// places are those of the tree that is worked in.
func (o *opened) places(root string) *launch.Places {
	return &launch.Places{Root: root, Dir: filepath.Join(o.caches, "commits")}
}

// environmentSecrets are secrets as a rollout without a server has them: in variables of
// Fairlead's own environment, FAIRLEAD_SECRET_NAME or NAME.
type environmentSecrets struct{}

// Open gives the values of secrets.
func (environmentSecrets) Open(_ context.Context, _, _ string, names []string) (map[string]string, error) {
	values := map[string]string{}
	var missing []string
	for _, name := range names {
		value, ok := os.LookupEnv("FAIRLEAD_SECRET_" + name)
		if !ok {
			value, ok = os.LookupEnv(name)
		}
		if !ok {
			missing = append(missing, name)
		}
		values[name] = value
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no value is known of the secrets %s: set FAIRLEAD_SECRET_%s", strings.Join(missing, ", "), missing[0])
	}
	return values, nil
}

// vaultSecrets are those of a server.
type vaultSecrets struct{ vault *secret.Vault }

// Open gives the values of secrets.
func (v vaultSecrets) Open(ctx context.Context, repository, environment string, names []string) (map[string]string, error) {
	values, err := v.vault.Resolve(ctx, repository, environment, names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("there is no secret %s for %s of %s: set it with `fairlead secret set`", name, environment, repository)
		}
	}
	return values, nil
}
