// Command fairlead is a release engineer in one binary.
//
// This package is the only one that knows every technology: it makes the
// pieces (a store in SQLite, workspaces on disk, the executor of this host,
// the dialects and what they are given) and hands them to the command line.
// Nothing is opened before a verb asks for it, so that what needs nothing
// touches nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"
	_ "time/tzdata" // windows name zones, and not every machine knows them

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/store/postgres"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

func main() { os.Exit(run()) }

// run is main without the end of the process, so that tests can be it.
func run() int {
	if len(os.Args) > 1 && os.Args[1] == docker.Inside {
		return docker.Serve(os.Args[2:], func(grace time.Duration) executor.Executor { return host.New(host.InContainer(grace)) })
	}
	if os.Getenv("GOGC") == "" {
		// Most commands live for less than a second: collecting garbage that the
		// end of the process takes away costs more than keeping it.
		debug.SetGCPercent(400)
	}
	app := &cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Version: version(),
		Files: pipelineFiles(),
		Open:  open, Dial: dial, Serve: serve, Work: work, Lint: lint, Preview: preview(), Stages: stages, Shell: shell, Convert: convert, Lock: lockIncludes,
		Lab: lab, Execute: execute, Command: command,
		HostDir: hostDir, Host: beHost,
	}
	return app.Main(context.Background(), os.Args[1:])
}

// release is set by the linker in a release.
var release string

// version is the release, or the commit that this was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	if v := info.Main.Version; commit == "" && v != "" && v != "(devel)" {
		return v
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit + dirty
}

// cancelledGrace is how long steps that run even in a cancelled run may: as long
// as GitHub gives them.
const cancelledGrace = 5 * time.Minute

// theRecord is what everybody together asks of the record.
type theRecord interface {
	launch.Store
	launch.Runs
	suite.Ledger
	Close() error
}

// opened is everything that runs and their record need.
type opened struct {
	// identity signs ID tokens of jobs, when this is a server.
	identity     func(ctx context.Context, run string, job *plan.Job, audience string) (string, error)
	data, caches string
	record       theRecord
	blobs        blob.Store
	keeper       blob.Keeper // of blobs
	lent         *crew.Lent  // blobs, and those of a server that this machine works for
	depot        *depot.Depot
	launcher     *launch.Launcher
	desk         *launch.Desk   // of a server; nil elsewhere
	shut         []func() error // in order
}

func (o *opened) close() error {
	var errs []error
	for _, shut := range o.shut {
		errs = append(errs, shut())
	}
	return errors.Join(errs...)
}

// open makes everything that verbs about runs need.
func open(ctx context.Context, w cli.Wiring) (*cli.Tools, error) {
	o, err := wire(ctx, w, sqlite.Normal)
	if err != nil {
		return nil, err
	}
	office := func(r cli.Reach) (*cli.Office, error) {
		var oidc *access.OIDC
		if r.Issuer != "" {
			oidc = &access.OIDC{Issuer: r.Issuer}
		}
		return o.office(forge.Guard{Private: r.Private, Loopback: r.Loopback}, oidc, cli.Serving{}, slog.New(slog.DiscardHandler))
	}
	return &cli.Tools{Publisher: o.publisher, Witness: &publish.Witness{Blobs: o.lent}, History: o.record, ReleaseKey: o.releaseKey, Launcher: o.launcher, Runs: o.record, Blob: o.blobs.Open, Office: office, Close: o.close, Delivery: func(root string) (*cli.Delivery, error) { return o.local(w, root) }, Reports: o.reports(), Histories: o.histories(), Wards: o.wards(),
		Deliveries: &insight.Deliveries{Log: o.record}, Troubles: &launch.Incidents{Store: o.record}}, nil
}

// wire makes the pieces and puts them together. sync says what of the record
// survives a power cut.
func wire(ctx context.Context, w cli.Wiring, sync sqlite.Sync) (_ *opened, err error) {
	o := new(opened)
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.data, err = directory(w.Data, "XDG_STATE_HOME", ".local/state"); err != nil {
		return nil, err
	}
	if o.caches, err = directory(w.Cache, "XDG_CACHE_HOME", ".cache"); err != nil {
		return nil, err
	}
	if w.Database != "" {
		o.record, err = postgres.Open(ctx, w.Database, postgres.Options{})
	} else {
		o.record, err = sqlite.Open(ctx, o.data, sqlite.Options{Sync: sync})
	}
	if err != nil {
		return nil, err
	}
	o.shut = append(o.shut, o.record.Close)
	blobs, err := disk.Open(filepath.Join(o.data, "blobs"))
	if err != nil {
		return nil, err
	}
	o.blobs, o.keeper, o.lent = blobs, blobs, &crew.Lent{Store: blobs}
	index := filepath.Join(o.data, "index")
	o.depot = depot.New(o.lent, index)
	outputs, err := disk.OpenRelaxed(filepath.Join(o.caches, "steps", "blobs"))
	if err != nil {
		return nil, err
	}
	steps, err := cache.Open(cache.Options{Dir: filepath.Join(o.caches, "steps"), Blobs: outputs})
	if err != nil {
		return nil, err
	}
	sources := &workspace.Sources{
		Dir: filepath.Join(o.caches, "sources"), Mirror: w.Mirror, Offline: w.Offline,
		Local: w.Actions, Token: os.Getenv("GITHUB_TOKEN"),
	}
	trees := &trees{sources: sources}
	actions := builtin.New(builtin.Config{
		Blobs: o.lent, Index: index, Trees: trees, InPlace: w.InPlace,
		Listen: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		Identity: func(ctx context.Context, run string, job *plan.Job, audience string) (string, error) {
			if o.identity == nil {
				return "", errors.New("OIDC tokens are not available in a run on this machine: no provider would trust them; skip the step that logs in, or log in by other means")
			}
			return o.identity(ctx, run, job, audience)
		},
	})
	here := host.New(host.Options{Labels: w.Labels})
	lent, err := databases(o.data)
	if err != nil {
		return nil, err
	}
	// What an action is made of has to be there for its steps.
	shared := append(slices.Collect(maps.Values(w.Actions)), sources.Dir)
	boxes := docker.New(docker.Options{Dir: filepath.Join(o.caches, "containers"), Shared: shared})
	o.launcher = &launch.Launcher{
		Dialects: o.languages(w, actions, sources, trees),
		Executor: executor.Machine{Host: here, Containers: boxes},
		Store:    o.record,
		Cache:    steps,
		Outputs:  outputs,
		Results:  o.lent,
		Tests:    &insight.Tests{Store: o.record, Runs: o.record, Ledger: o.record, Blobs: o.lent},
		Coverage: &insight.Coverage{Store: o.record, Runs: o.record, Blobs: o.lent},
		Faults:   &insight.Faults{Store: o.record, Runs: o.record, Ledger: o.record, Blobs: o.lent},
		Slots:    &workspace.Slots{Dir: filepath.Join(o.caches, "workspaces")},
		Data:     o.data, Idle: here.Idle, Version: version(),
		Actions: w.Actions, Grace: cancelledGrace, Inherit: o.depot.Inherit, Databases: lent, Conceal: o.depot.Conceal,
	}
	o.launcher.Faults.Logs = o.launcher
	o.shut = slices.Concat([]func() error{lent.Pool.Close, here.Close, boxes.Close, actions.Close, trees.Close, steps.Close}, o.shut)
	return o, nil
}

// histories answers about tests.
func (o *opened) histories() *insight.Histories {
	return &insight.Histories{Ledger: o.record, Record: o.record, Blobs: o.lent}
}

// wards takes what people decide about tests.
func (o *opened) wards() *insight.Wards {
	return &insight.Wards{Tests: o.launcher.Tests}
}

// reports takes in what other systems' runs reported.
func (o *opened) reports() *insight.Reports {
	return &insight.Reports{Store: o.record, Runs: o.record, Blobs: o.lent, Version: version()}
}

// directory is where something is kept: as given, or below the user's own. It is
// made if it is not there, for its owner alone: it will hold copies of
// private code.
func directory(given, variable, fallback string) (string, error) {
	switch {
	case given != "":
	case filepath.IsAbs(os.Getenv(variable)): // relative ones are to be ignored, says the standard
		given = filepath.Join(os.Getenv(variable), "fairlead")
	default:
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a directory to keep runs in: %w; set %s, or use --data and --cache", err, variable)
		}
		given = filepath.Join(home, fallback, "fairlead")
	}
	given, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	return given, os.MkdirAll(given, 0o700)
}

// shell gives a person a shell where a step stood.
func shell(ctx context.Context, dirs plan.Dirs, c *plan.Command) (code int, err error) {
	if c.Container == nil {
		return host.New(host.Options{}).Shell(ctx, c)
	}
	boxes := docker.New(docker.Options{})
	defer func() { err = errors.Join(err, boxes.Close()) }()
	return boxes.Shell(ctx, dirs, c)
}
