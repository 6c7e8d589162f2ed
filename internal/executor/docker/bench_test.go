package docker_test

import (
	"io"
	"os/exec"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A job of one step in a container, from nothing to nothing.
func BenchmarkJob(b *testing.B) {
	x := open(b, options(b))
	place := in(plan.Container{})
	for b.Loop() {
		r := room(b, x, place)
		r.run("true")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// A step in a container of its own.
func BenchmarkApart(b *testing.B) {
	r := room(b, open(b, options(b)), plan.Place{})
	c := r.sh("true")
	c.Container = &plan.Container{Image: testImage}
	for b.Loop() {
		r.command(c)
	}
}

// A step in a container that is there.
func BenchmarkStep(b *testing.B) {
	r := room(b, open(b, options(b)), in(plan.Container{}))
	for b.Loop() {
		r.run("true")
	}
}

// 64 MB of output.
func BenchmarkOutput(b *testing.B) {
	r := room(b, open(b, options(b)), in(plan.Container{}))
	b.SetBytes(64 << 20)
	for b.Loop() {
		if res, err := r.Run(b.Context(), r.sh("head -c 67108864 /dev/zero"), nil, io.Discard); err != nil || res.Exit != 0 {
			b.Fatal(res, err)
		}
	}
}

// What the others are measured by.
func BenchmarkDockerRun(b *testing.B) {
	need(b)
	for b.Loop() {
		if out, err := exec.Command("docker", "run", "--rm", testImage, "true").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}
