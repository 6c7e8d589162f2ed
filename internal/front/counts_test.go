package front

import (
	"net/http"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	var last time.Duration
	for i := range buckets {
		from, to := Bounds(i)
		if from != last || to <= from || i > 1<<octave && float64(to-from) > float64(from)/8+1 {
			t.Errorf("bucket %d is from %s to %s, after %s", i, from, to, last)
		}
		if Bucket(from) != i || Bucket(to-1) != i {
			t.Errorf("bucket %d has %d and %d", i, Bucket(from), Bucket(to-1))
		}
		last = to
	}
	if last < time.Hour || Bucket(1000*time.Hour) != buckets-1 || Bucket(-1) != 0 {
		t.Errorf("the last bucket ends at %s", last)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	h := make(Histogram, buckets)
	for i := range 1000 {
		h[Bucket(time.Duration(i)*time.Millisecond)]++
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: 999 * time.Millisecond} {
		if got := h.Quantile(q); got < want || got > want+want/7 {
			t.Errorf("quantile %v is %s, want %s", q, got, want)
		}
	}
	if h.Total() != 1000 || (Histogram{}).Quantile(0.5) != 0 {
		t.Errorf("%d", h.Total())
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	table := one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/none":
			panic(http.ErrAbortHandler)
		}
	}))
	f := opened(t, table)
	addr := serving(t, f)
	get(t, addr)
	before := f.Counts().Services[0].Releases[0]
	get(t, addr+"/missing")
	get(t, addr+"/broken")
	get(t, addr+"/none") // tried twice: the connection, which had been kept, might have been at fault
	after := f.Counts().Services[0].Releases[0]
	if len(after.Instances) != 1 || after.Instances[0].Requests != after.Requests {
		t.Errorf("%+v", after)
	}
	if c := after.Sub(before.Count); c.Requests != 4 || c.Status != [5]uint64{0, 0, 0, 1, 1} || c.Broken != 2 || c.Errors() != 3 || c.Latency.Total() != 2 || c.Cancelled != 0 || c.InFlight != 0 {
		t.Errorf("%+v", c)
	}
	// What has gone still counts for its release.
	apply(t, f, one(instance(t, "v2-0", 1, named("v2"))))
	if s := f.Counts().Services[0]; len(s.Releases) != 2 || s.Releases[0].Requests != 5 || len(s.Releases[0].Instances) != 0 || s.Releases[1].Requests != 0 {
		t.Errorf("%+v", s)
	}
	apply(t, f, table)
	get(t, addr)
	if s := f.Counts().Services[0]; s.Releases[0].Requests != 6 || s.Releases[0].Instances[0].Requests != 1 {
		t.Errorf("back again: %+v", s)
	}
}

func TestCountsKeepToTheLatestReleases(t *testing.T) {
	t.Parallel()
	f := opened(t, Table{})
	for i := range keptReleases + 5 {
		apply(t, f, one(Backend{Name: "i", Release: string(rune('A' + i)), Address: "127.0.0.1:1", Weight: 1}))
	}
	if n := len(f.Counts().Services[0].Releases); n != keptReleases+1 {
		t.Errorf("%d releases are counted", n)
	}
}
