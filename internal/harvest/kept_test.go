package harvest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func keep(t testing.TB, results ...record.TestResult) []byte {
	t.Helper()
	var b bytes.Buffer
	k, err := harvest.NewKeeper(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		if err := k.Add(&results[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func kept(data []byte) (results []record.TestResult, err error) {
	err = harvest.ReadKept(bytes.NewReader(data), func(r record.TestResult) error {
		results = append(results, r)
		return nil
	})
	return results, err
}

func TestKept(t *testing.T) {
	t.Parallel()
	results := []record.TestResult{
		{Name: "a", Status: record.TestPassed},
		{Suite: "s", Groups: []string{"g", "h"}, Name: "b\n\u2028<&", Params: "1", Status: record.TestFailed, Attempt: 2, Seconds: 1.5, Message: "m", Type: "T",
			Stack: strings.Repeat("\x01", 16<<10), Output: strings.Repeat("long ", 3000), File: "f", Line: 7, Owner: "o", Tags: []string{"t"}, Attachments: []string{"x.png"}},
	}
	for n := range len(results) + 1 {
		if got, err := kept(keep(t, results[:n]...)); err != nil || len(got) != n || n > 0 && !reflect.DeepEqual(got, results[:n]) {
			t.Errorf("%d results: got %+v, %v", n, got, err)
		}
	}
	whole := keep(t, results...)
	for _, n := range []int{0, 5, len(whole) / 2, len(whole) - 1} {
		if _, err := kept(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were read without an error", n, len(whole))
		}
	}
	stop := errors.New("enough")
	if err := harvest.ReadKept(bytes.NewReader(whole), func(record.TestResult) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of each is %v", err)
	}
	if _, err := harvest.ReadObservation(bytes.NewReader(whole)); err == nil {
		t.Error("results were read as an observation")
	}
}

func TestKeptObservation(t *testing.T) {
	t.Parallel()
	full := &record.Observation{
		Mechanism: "seccomp", Barred: []record.Bar{{Kind: record.BarNetwork, Detail: "tcp 10.0.0.1:443"}},
		Inputs: []record.Input{
			{Path: "/w/a b\n", Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Perm: 0o644, Size: 3, MTime: 5, Digest: [32]byte{1, 31: 2}}},
			{Path: "/w/none", Use: record.UseAbsent, Own: true},
		},
		Outputs:  []record.Output{{Path: "/w/out", FileState: record.FileState{Kind: record.Directory}, Made: true}, {Path: "/w/gone"}},
		Programs: []string{"/bin/sh"}, Argv: []byte("sh\x00-c\x00\xff"), Peers: []string{"tcp 10.0.0.1:443"}, Random: true, LeftOver: 1, Calls: 9, Overhead: 7, Wall: 8,
	}
	for _, o := range []*record.Observation{full, {}} {
		var b bytes.Buffer
		if err := harvest.KeepObservation(&b, o); err != nil {
			t.Fatal(err)
		}
		got, err := harvest.ReadObservation(bytes.NewReader(b.Bytes()))
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%v\n got %+v\nwant %+v", err, got, o)
		}
		if _, err := harvest.ReadObservation(bytes.NewReader(b.Bytes()[:b.Len()-3])); err == nil {
			t.Error("half of it was read without an error")
		}
	}
}

func FuzzReadKept(f *testing.F) {
	f.Add(keep(f, record.TestResult{Name: "a", Status: record.TestPassed}))
	var b bytes.Buffer
	if err := harvest.KeepObservation(&b, &record.Observation{Inputs: []record.Input{{Path: "/a", Use: record.UseListed}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("junk"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = kept(data)
		if o, err := harvest.ReadObservation(bytes.NewReader(data)); (o == nil) == (err == nil) {
			t.Errorf("got %v, %v", o, err)
		}
	})
}

func BenchmarkKept(b *testing.B) {
	const results = 100_000
	write := func(w io.Writer) {
		k, err := harvest.NewKeeper(w)
		if err != nil {
			b.Fatal(err)
		}
		for n := range results {
			r := record.TestResult{Suite: "example.com/app/pkg" + fmt.Sprint(n%50), Name: fmt.Sprint("TestThing", n), Status: record.TestPassed, Seconds: .01, File: "x_test.go", Line: n}
			if err := k.Add(&r); err != nil {
				b.Fatal(err)
			}
		}
		if err := k.Close(); err != nil {
			b.Fatal(err)
		}
	}
	var data bytes.Buffer
	write(&data)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			write(io.Discard)
		}
		b.ReportMetric(float64(results*b.N)/b.Elapsed().Seconds(), "results/s")
		b.ReportMetric(float64(data.Len())/results, "bytes/result")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if err := harvest.ReadKept(bytes.NewReader(data.Bytes()), func(record.TestResult) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(results*b.N)/b.Elapsed().Seconds(), "results/s")
	})
}
