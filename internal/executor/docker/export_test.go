package docker

import "github.com/fairlead-dev/fairlead/internal/executor"

// ContainerID is the daemon's name of the container that a room is in.
func ContainerID(r executor.Room) string { return r.(*room).box.id }
