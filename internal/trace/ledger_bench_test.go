package trace

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// many makes files in a tree as deep as source trees are.
func many(b *testing.B, count int) (dir string, paths []string) {
	dir = realTemp(b)
	for i := range count {
		sub := fmt.Sprintf("%s/src/package%d/internal", dir, i/50)
		if i%50 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		path := fmt.Sprintf("%s/file%d.go", sub, i)
		if err := os.WriteFile(path, fmt.Appendf(nil, "package p // %d\n", i), 0o644); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, path)
	}
	return dir, paths
}

// A call that says nothing new: 95 of 100 are.
func BenchmarkLedgerRepeat(b *testing.B) {
	dir, paths := many(b, 1000)
	l := newLedger(Spec{Inside: []string{dir}})
	round := func() {
		for _, p := range paths {
			l.see(p, true)
		}
	}
	round()
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(paths)), "ns/call")
}

// A file of the step's own, written and read again.
func BenchmarkLedgerOwn(b *testing.B) {
	dir := realTemp(b)
	l := newLedger(Spec{Inside: []string{dir}})
	path := dir + "/build/out.o"
	l.mkdir(dir + "/build")
	b.ReportAllocs()
	for b.Loop() {
		l.open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, true)
		l.open(path, unix.O_RDONLY, true)
	}
}

// A header that is looked for in vain.
func BenchmarkLedgerAbsent(b *testing.B) {
	dir := realTemp(b)
	l := newLedger(Spec{Inside: []string{dir}})
	path := dir + "/include/sys/header.h"
	b.ReportAllocs()
	for b.Loop() {
		l.open(path, unix.O_RDONLY, true)
	}
}

func BenchmarkLedgerFirstSight(b *testing.B) {
	dir, paths := many(b, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		l := newLedger(Spec{Inside: []string{dir}})
		for _, p := range paths {
			l.open(p, unix.O_RDONLY, true)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(paths)), "ns/call")
}

// What a lstat costs here, for comparison.
func BenchmarkLookAt(b *testing.B) {
	_, paths := many(b, 20_000)
	for b.Loop() {
		for _, p := range paths {
			lookAt(p)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(paths)), "ns/call")
}

func BenchmarkLedgerFinish(b *testing.B) {
	dir, paths := many(b, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		l := newLedger(Spec{Inside: []string{dir}})
		for _, p := range paths {
			l.open(p, unix.O_RDONLY, true)
		}
		b.StartTimer()
		if o := l.finish(0); len(o.Inputs) != len(paths) {
			b.Fatal(len(o.Inputs))
		}
	}
}
