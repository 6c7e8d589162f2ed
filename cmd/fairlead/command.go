package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// command runs a person's own command as they would: with the whole environment of this
// process, unless it is a step's. It and its descendants end when ctx does.
func command(ctx context.Context, c testrun.Command, out io.Writer) (res executor.Result, err error) {
	var options host.Options
	if !c.Step {
		options.Inherit = []string{"*"}
	}
	here := host.New(options)
	defer func() { err = errors.Join(err, here.Close()) }()
	temp := os.TempDir()
	room, err := here.Open(ctx, executor.Spec{Run: "-", Job: "-", Dirs: plan.Dirs{Workspace: c.Dir, Temp: temp}})
	if err != nil {
		return res, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	defer func() { err = errors.Join(err, room.Close()) }()
	return room.Run(ctx, &plan.Command{Argv: c.Argv, Dir: c.Dir, Env: c.Env, Path: c.Path}, c.Watch, out)
}
