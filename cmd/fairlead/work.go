package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/server/client"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// hands are the workers of a server.
func (o *opened) hands(ctx context.Context, w cli.Wiring, s cli.Serving, log *slog.Logger) (*crew.Hands, error) {
	at := "" // the only server there is
	if w.Database != "" {
		host, _ := os.Hostname()
		at = host + " " + s.Listen
	}
	return crew.NewHands(ctx, crew.HandsOptions{
		Store: o.record, At: at, Data: o.data, Blobs: o.blobs, Depot: o.depot, Trees: crew.GitTrees{}, Only: s.Elsewhere,
		Log: func(doing string, err error) { log.Warn(doing, "error", err) },
	})
}

// workerRoom is how many bytes of artifacts and caches a worker keeps at least.
const workerRoom = 20 << 30

// work does jobs for a server, until ctx ends.
func work(ctx context.Context, w cli.Wiring, k cli.Working) (err error) {
	for _, l := range k.Labels {
		if !strings.ContainsAny(l, "*?[") {
			if w.Labels == nil {
				w.Labels = map[string]bool{}
			}
			w.Labels[l] = true
		}
	}
	w.Database = "" // the record is the server's
	o, err := wire(ctx, w, sqlite.Normal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	// Two workers in one directory would each take what the other has to say for
	// its own.
	lease, err := o.record.Lease(ctx, "worker", "another worker in "+o.data)
	if err != nil {
		return fmt.Errorf("work here: %w", err)
	}
	defer func() { _ = lease.Release() }()
	to, err := client.New(k.Server, k.Token)
	if err != nil {
		return &plan.UsageError{Message: err.Error(), Hint: "see --server and --token-file"}
	}
	if k.Name == "" {
		if k.Name, err = os.Hostname(); err != nil {
			return &plan.UsageError{Message: "this machine has no name", Hint: "give one with --name"}
		}
	}
	if u, err := url.Parse(k.Server); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		k.Tell("the way to the server is not encrypted: whoever is on it reads the token, and the secrets of jobs")
	}
	labels := k.Labels
	if len(labels) == 0 {
		labels = ownLabels()
	}
	if o.launcher.Executor.Fits(&plan.Place{Container: &plan.Container{Image: "any"}}) == nil {
		labels = append(labels, crew.ContainersLabel)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	worker := &crew.Worker{
		Master: to.Master(),
		Doer:   &crew.Local{Launcher: o.launcher, Dir: filepath.Join(o.caches, "repositories")},
		Joining: crew.Joining{
			Name: k.Name, Labels: labels, Places: cmp.Or(k.Jobs, runtime.NumCPU()), Version: version(), Protocol: crew.Protocol,
		},
		Dir: filepath.Join(o.data, "worker"), Blobs: o.lent, Depot: o.depot, Keeper: o.keeper, Room: workerRoom,
		Log: func(doing string, err error) { log.Warn(doing, "error", err) }, Tell: k.Tell,
	}
	return worker.Run(ctx, k.Abort)
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// ownLabels are those that stand for machines of this kind.
func ownLabels() []string {
	system := map[string][]string{"linux": {"linux"}, "darwin": {"macos", "macos-*"}, "windows": {"windows", "windows-*"}}[runtime.GOOS]
	arch := map[string]string{"amd64": "x64", "386": "x86"}[runtime.GOARCH]
	labels := append([]string{"self-hosted", cmp.Or(arch, runtime.GOARCH)}, system...)
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64":
		labels = append(labels, "ubuntu-latest", "ubuntu-[0-9][0-9].[0-9][0-9]")
	case "linux/arm64":
		labels = append(labels, "ubuntu-*-arm")
	}
	return labels
}
