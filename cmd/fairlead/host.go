package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/front"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// hostDir is the directory of this machine's host: as given, or in the data directory.
func hostDir(w cli.Wiring, given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	data, err := directory(w.Data, "XDG_STATE_HOME", ".local/state")
	return filepath.Join(data, "host"), err
}

// beHost keeps services running until ctx ends, or another process takes over.
func beHost(ctx context.Context, dir string, log io.Writer) error {
	sockets, err := front.Inherit()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h, err := supervise.Open(supervise.Options{Dir: dir, Version: version(), Sockets: sockets, Successor: supervise.Succeeds(),
		Program: []string{self, "host", "run", "--dir", dir}, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		return err
	}
	return h.Serve(ctx)
}
