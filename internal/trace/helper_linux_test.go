//go:build amd64 || arm64

package trace

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// helpers are programs of which the test binary plays the part in steps.
var helpers = map[string]func(args []string) error{
	"access": func(args []string) error {
		n, err := strconv.Atoi(args[0])
		for range n {
			_ = unix.Access(args[1], unix.F_OK)
		}
		return err
	},
	"talk":  talkToSelf,
	"leave": leave,
	"watch": watchAndPrint,
}

func TestMain(m *testing.M) {
	helpers["case"] = runCase // refers to the table that refers to it
	if name := os.Getenv("TRACE_HELPER"); name != "" {
		runtime.LockOSThread()
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helping is a step in which the test binary plays a part.
func helping(t testing.TB, dir, name string, args ...string) subject {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return subject{argv: append([]string{self}, args...), dir: dir, env: []string{"TRACE_HELPER=" + name}}
}

// BenchmarkCall is one call that is looked at, as the step sees it, and the
// supervisor's part of the processor time.
func BenchmarkCall(b *testing.B) {
	dir := realDir(b)
	for _, m := range []Mechanism{"", Seccomp, Ptrace} {
		b.Run(string("by "+m), func(b *testing.B) {
			s := helping(b, dir, "access", strconv.Itoa(b.N), dir)
			if m == "" {
				pid, err := syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{Dir: dir, Env: s.env})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
					b.Fatal(err)
				}
				return
			}
			tr, err := New(Spec{Inside: []string{dir}}, m)
			if err != nil {
				b.Fatal(err)
			}
			pid := startStep(b, tr, s)
			var status syscall.WaitStatus
			if err := tr.Wait(pid, &status); err != nil || status != 0 {
				b.Fatal(err, status)
			}
			o := tr.Finish(0)
			if o.Mechanism != string(m) {
				b.Fatal(o.Barred)
			}
			b.ReportMetric(float64(o.Overhead.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
