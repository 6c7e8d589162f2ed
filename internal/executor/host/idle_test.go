//go:build linux

package host_test

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestIdleCountsWorkNotWaiting: steps that sleep leave all cores, steps that
// compute do not, whatever else the machine is doing.
func TestIdleCountsWorkNotWaiting(t *testing.T) {
	t.Parallel()
	x := host.New(host.Options{})
	t.Cleanup(func() { x.Close() })
	room, err := x.Open(t.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: t.TempDir(), Temp: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { room.Close() })
	spawn := func(script string) {
		go func() { // ended by Close
			_, _ = room.Run(t.Context(), &plan.Command{Argv: []string{"sh", "-c", script}}, nil, io.Discard)
		}()
	}
	cores := float64(runtime.NumCPU())
	until := func(what string, want func(idle float64) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if want(x.Idle()) {
				return
			}
		}
		t.Errorf("%s: %.0f of %.0f cores idle", what, x.Idle(), cores)
	}
	for range 8 {
		spawn("sleep 100")
	}
	until("sleepers", func(idle float64) bool { return idle == cores })
	for range runtime.NumCPU() {
		spawn("while :; do :; done")
	}
	until("workers", func(idle float64) bool { return idle == 0 })
}
