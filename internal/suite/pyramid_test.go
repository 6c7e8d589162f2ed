package suite

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestSizeOf(t *testing.T) {
	t.Parallel()
	long := seen()
	long.Wall = 6 * time.Minute
	for _, tt := range []struct {
		name string
		seen *record.Observation
		want Size
		why  string
	}{
		{"files only", seen("read /w/a", "ran /bin/sh", "ran /usr/local/go/bin/go", "ran /tmp/go-build12/b001/x.test", "ran /usr/bin/python3.12"), Small, "no socket and no other process"},
		{"another process", seen("ran /bin/sh", "ran /usr/sbin/nginx"), Medium, "it started /usr/sbin/nginx"},
		{"a service beside it", seen("peer tcp 127.0.0.1:5432"), Medium, "it talked to tcp 127.0.0.1:5432"},
		{"a daemon", seen("peer unix /run/docker.sock", "bar socket unix /run/docker.sock (docker)"), Medium, "it talked to unix /run/docker.sock"},
		{"who users are", seen("peer unix /run/nscd/socket"), Small, "no socket and no other process"},
		{"another machine", seen("ran /usr/sbin/nginx", "peer tcp 127.0.0.1:80", "peer tcp 203.0.113.9:443"), Large, "it talked to tcp 203.0.113.9:443"},
		{"a machine of one's own", seen("peer tcp 10.0.0.9:443"), Large, "it talked to tcp 10.0.0.9:443"},
		{"too long", long, Large, "it took 6m0s"},
		{"lost", seen("bar lost too much"), SizeUnknown, "it was not watched to its end"},
		{"lost, but far away", seen("bar lost too much", "peer tcp 203.0.113.9:443"), Large, "it talked to tcp 203.0.113.9:443"},
		{"nobody", nil, SizeUnknown, "nobody watched it"},
	} {
		if size, why := SizeOf(tt.seen); size != tt.want || why != tt.why {
			t.Errorf("%s: %s, %q; want %s, %q", tt.name, size, why, tt.want, tt.why)
		}
	}
}

func TestStack(t *testing.T) {
	t.Parallel()
	var rows []Row
	for i := range 100 {
		rows = append(rows, Row{ID: ID{Key: fmt.Sprintf("%03d", i)}, Size: Small, Seconds: float64(i) / 50, Rate: .01, Runs: int64(i * 5), Failures: int64(i % 2)})
	}
	rows = append(rows, Row{ID: ID{Key: "m"}, Size: Medium, Seconds: 11, Runs: 9}, Row{ID: ID{Key: "l"}, Size: Large, Seconds: 50, Runs: 9}, Row{ID: ID{Key: "odd"}, Size: 77})
	p := Stack(slices.Values(rows), Budgets{}, 3)
	names := func(rows []Row) string {
		var keys []string
		for _, r := range rows {
			keys = append(keys, r.Key)
		}
		return strings.Join(keys, " ")
	}
	for what, pair := range map[string][2]string{
		"slowest":   {names(p.Slowest), "l m 099"},
		"over":      {names(p.Over), "099 098 097"},
		"idle":      {names(p.Idle), "098 096 094"},
		"never ran": {names(p.NeverRan), "000 odd"},
		"small":     {fmt.Sprintf("%d %.0f %.2f %d", p.Layers[Small].Tests, p.Layers[Small].Seconds, p.Layers[Small].Chance, p.Layers[Small].Over), "100 99 1.00 49"},
		"shape":     {p.Shape(), "a pyramid: many small tests, few large ones"},
		"failing":   {fmt.Sprint(p.NeverFailed), "30"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if empty := Stack(slices.Values([]Row(nil)), Budgets{}, 0); !strings.HasPrefix(empty.Shape(), "not known") || len(empty.Slowest) > 0 {
		t.Errorf("%+v", empty)
	}
}

func TestDormant(t *testing.T) {
	t.Parallel()
	skips := slices.Repeat([]Result{{Outcome: Skipped}}, 5)
	if !Dormant(skips, 5) || Dormant(skips, 6) || Dormant(append([]Result{{Outcome: Passed}}, skips...), 5) || Dormant(nil, 0) {
		t.Error("a test is dormant when its newest results are skips, all of them")
	}
}
