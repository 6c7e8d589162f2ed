// Command agent is as much of Fairlead as containers need, for the tests.
package main

import (
	"os"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
)

func main() {
	os.Exit(docker.Serve(os.Args[2:], func(grace time.Duration) executor.Executor { return host.New(host.InContainer(grace)) }))
}
