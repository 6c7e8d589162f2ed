//go:build !linux || (!amd64 && !arm64)

package trace

import (
	"fmt"
	"runtime"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Probe finds out how processes can be watched here: in no way.
func Probe() (Ability, error) {
	missing := "only on Linux, on x86-64 and 64-bit ARM"
	return Ability{Missing: map[Mechanism]string{Seccomp: missing, Ptrace: missing}}, unsupported()
}

func unsupported() error {
	return fmt.Errorf("trace: %w: %s on %s is not supported", ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}

// Tracer watches one step; there is none here.
type Tracer struct{}

// New fails: nothing can be watched here.
func New(Spec, Mechanism) (*Tracer, error) { return nil, unsupported() }

// Attr does nothing here.
func (*Tracer) Attr(*syscall.SysProcAttr) {}

// Start calls fork.
func (*Tracer) Start(_, _ string, _ []string, fork func() (int, error)) (pid int, err error) {
	return fork()
}

// Wait fails here.
func (*Tracer) Wait(int, *syscall.WaitStatus) error { return unsupported() }

// Finish says that nobody watched.
func (*Tracer) Finish(int) *record.Observation {
	return &record.Observation{Barred: []record.Bar{{Kind: record.BarNotWatched, Detail: unsupported().Error()}}}
}
