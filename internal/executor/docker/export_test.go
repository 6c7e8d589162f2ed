package docker

import (
	"context"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor"
)

// FirstProcess is the number, on this machine, of the first process of the
// container that a room is in; 0 when there is none.
func FirstProcess(r executor.Room) int {
	b := r.(*room).box
	i, err := b.room.d.ContainerInspect(context.Background(), b.id, client.ContainerInspectOptions{})
	if err != nil || i.Container.State == nil {
		return 0
	}
	return i.Container.State.Pid
}

// ContainerID is the daemon's name of the container that a room is in.
func ContainerID(r executor.Room) string { return r.(*room).box.id }
