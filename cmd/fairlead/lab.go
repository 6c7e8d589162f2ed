package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/dataset"
	"github.com/fairlead-dev/fairlead/internal/fixture"
	"github.com/fairlead-dev/fairlead/internal/fixture/postgres"
	"github.com/fairlead-dev/fairlead/internal/fixture/redis"
	"github.com/fairlead-dev/fairlead/internal/fixture/sqlite"
	"github.com/fairlead-dev/fairlead/internal/launch"
)

// lab makes data sets.
func lab(w cli.Wiring) (*cli.Lab, error) {
	data, err := directory(w.Data, "XDG_STATE_HOME", ".local/state")
	if err != nil {
		return nil, err
	}
	d, err := databases(data)
	if err != nil {
		return nil, err
	}
	return &cli.Lab{Sets: d.Sets, Close: d.Pool.Close}, nil
}

// databases makes those that projects declare, below the data directory. The
// bytes of data sets lie apart from all others: nothing is collected there, for
// commits of any age may name them.
func databases(data string) (*launch.Databases, error) {
	blobs, err := disk.Open(filepath.Join(data, "datasets"))
	if err != nil {
		return nil, err
	}
	return &launch.Databases{
		Pool:   &fixture.Pool{Dir: filepath.Join(data, "databases"), Kinds: []fixture.Kind{postgres.Kind{}, redis.Kind{}, sqlite.Kind{}}},
		Sets:   func(root string) *dataset.Shelf { return &dataset.Shelf{Root: root, Blobs: blobs} },
		Getenv: os.Getenv,
	}, nil
}

// execute runs a command in our place on the terminal, with our environment and
// some variables more, and returns its exit code. Signals that a terminal does
// not send to it itself are passed on.
func execute(ctx context.Context, argv []string, env map[string]string) (int, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = os.Environ()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run the command: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s != os.Interrupt { // the terminal tells it itself
					_ = cmd.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	if code := new(exec.ExitError); errors.As(err, &code) {
		if s, ok := code.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return code.ExitCode(), nil
	}
	return 0, err
}
