package host

import "time"

// InContainer are the options for a host that is a container, with this
// process as the first in it: all of its environment is for the steps, and
// control groups are not ours to make.
func InContainer(grace time.Duration) Options {
	return Options{Grace: grace, Inherit: []string{"*"}, NoCgroups: true, Sealed: true}
}
