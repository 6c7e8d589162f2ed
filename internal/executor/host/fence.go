//go:build unix

package host

import "syscall"

// yard is this machine's way of making fences.
type yard interface {
	pen() (pen, error)
	close() error
}

// pen is the part of the yard that belongs to one room.
type pen interface {
	// fence gives a fence with nothing inside.
	fence() (fence, error)
	// oom reports whether the kernel has killed something for want of memory
	// since it was last asked: in the room if it has limits, else anywhere on
	// the machine, and then only if the step was killed.
	oom(killed bool) bool
	// close ends what still lives in the pen, at once.
	close()
}

// fence is around one step. It is used by one step at a time.
type fence interface {
	// prepare changes how the step's first process is started, so that it is
	// born inside. The entry, when not empty, goes into its environment.
	prepare(*syscall.SysProcAttr) entry
	// start starts it by calling fork; reaped says that it has been waited for.
	start(fork func() (pid int, err error)) (pid int, err error)
	reaped()
	// alive counts the processes inside; zombies are not alive.
	alive() int
	// signal sends a signal to each process inside.
	signal(syscall.Signal)
	// free takes the fence back. Nothing is alive inside.
	free()
}
