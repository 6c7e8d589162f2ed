package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/testrun"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// publisher makes what publishes releases of a tree. It talks to the code host that the
// person's own repository names, wherever that is.
func (o *opened) publisher(tree *workspace.Tree) *publish.Publisher {
	hosts := forges(forge.NewClient(forge.ClientOptions{Guard: forge.Guard{Private: true, Loopback: true}, Proxy: http.ProxyFromEnvironment}))
	return &publish.Publisher{
		Tree: tree, Store: o.record, Runs: o.record, Blobs: o.lent, Version: version(), Getenv: os.Getenv, Now: time.Now, Key: o.releaseKey,
		Forge: func(kind string) (forge.Forge, bool) {
			f, ok := hosts[kind]
			return f, ok
		},
		Exec: func(ctx context.Context, c publish.Command, out io.Writer) (executor.Result, error) {
			return command(ctx, testrun.Command{Argv: []string{"sh", "-euc", c.Script}, Dir: c.Dir, Env: c.Env, Watch: c.Watch}, out)
		},
	}
}

// releaseKey is the key that statements about releases are signed with.
func (o *opened) releaseKey() (*attest.Key, error) {
	dir := filepath.Join(o.data, "keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return attest.OpenKey(filepath.Join(dir, "release.key"))
}
