package suite

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A build is one run of a real history: which tests ran, how long they took,
// which of them failed.
type build []ran

type ran struct {
	test    string
	seconds float64
	failed  bool
}

// openHistory opens a file of ../shared/bench/testintel, beside the
// repository; the test is skipped where there is none.
func openHistory(t testing.TB, name string) io.Reader {
	t.Helper()
	if testing.Short() {
		t.Skip("measuring takes some seconds, and a minute under the race detector")
	}
	path := filepath.Join("..", "..", "..", "shared", "bench", "testintel", name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not here: nothing is measured", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// loadHistory reads the builds of a history in the order of their numbers. A
// test that is named twice in one build counts once: it failed if it did so in
// any of its lines, and takes the time of all of them.
func loadHistory(t testing.TB, name string) []build {
	t.Helper()
	r := csv.NewReader(openHistory(t, name))
	r.ReuseRecord = true
	if !strings.HasPrefix(name, "tcp_") {
		r.Comma = ';'
	}
	head, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range head {
		column[strings.Trim(name, " []")] = i
	}
	number, ok := column["BuildId"]
	if !ok {
		number = column["Cycle"]
	}
	type entry struct {
		number int
		build  build
		at     map[string]int
	}
	builds := map[int]*entry{}
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(row[number])
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseFloat(strings.ReplaceAll(row[column["Duration"]], ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		e := builds[n]
		if e == nil {
			e = &entry{number: n, at: map[string]int{}}
			builds[n] = e
		}
		test := row[column["Name"]]
		failed := strings.HasPrefix(row[column["Verdict"]], "1")
		if i, twice := e.at[test]; twice {
			e.build[i].failed = e.build[i].failed || failed
			e.build[i].seconds += seconds
			continue
		}
		test = strings.Clone(test)
		e.at[test] = len(e.build)
		e.build = append(e.build, ran{test, seconds, failed})
	}
	entries := make([]*entry, 0, len(builds))
	for _, e := range builds {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	history := make([]build, len(entries))
	for i, e := range entries {
		history[i] = e.build
	}
	return history
}

// The histories of builds that the order of tests and their sharing out are measured on.
const (
	druid    = "tcp_alibaba_druid_features-engineered.csv.gz"
	retrofit = "tcp_square_retrofit_features-engineered.csv.gz"
	dune     = "tcp_core_dune-common_dune_total_features-engineered.csv.gz"
	dl4j     = "deeplearning4j.csv.gz"
	iofrol   = "iofrol.csv.gz"
)
