package deploy

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// oracle answers queries by their text.
type oracle map[string]float64

var errDeaf = errors.New("nobody listens")

func (o oracle) Query(_ context.Context, server, expression string) (float64, bool, error) {
	if server == "" {
		return 0, false, errDeaf
	}
	v, ok := o[expression]
	return v, ok, nil
}

func (o oracle) Series(_ context.Context, server, expression string, from, to time.Time, every time.Duration) (list []float64, err error) {
	if server == "" {
		return nil, errDeaf
	}
	if v, ok := o[expression]; ok {
		for t := from; !t.After(to); t = t.Add(every) {
			list = append(list, v)
		}
	}
	return list, nil
}

// meter counts requests.
type meter map[int]Requests

func (m meter) Counts(context.Context, *Target) (*Traffic, error) {
	return &Traffic{Since: noon, Revisions: m}, nil
}

func TestTakeLook(t *testing.T) {
	t.Parallel()
	target := &Target{Service: "shop", Environment: "staging"}
	a := &plan.Analysis{Every: time.Minute, Prometheus: "http://prometheus", Queries: []plan.Query{
		{Name: "checkout", Errors: `errors{r="{{revision}}"}`, Total: `total{s="{{service}}",e="{{environment}}",r="{{revision}}"}`},
		{Name: "memory", Value: `memory{v="{{version}}",id="{{release}}"}`},
	}}
	ask := oracle{
		`errors{r="2"}`: 3, `total{s="shop",e="staging",r="2"}`: 100, `total{s="shop",e="staging",r="1"}`: 900,
		`memory{v="v2\"} or vector(0) #",id="sha256:2"}`: .5,
	}
	l, err := TakeLook(t.Context(), a, target, meter{1: {Count: 90}, 2: {Count: 10}}, ask, noon, noon.Add(2*time.Minute),
		Side{Number: 2, Release: "sha256:2", Version: `v2"} or vector(0) #`}, Side{Number: 1, Release: "sha256:1", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if l.New.Count != 10 || l.Old.Count != 90 || !l.Since.Equal(noon) {
		t.Errorf("counts: %+v", l)
	}
	want := map[string]Answer{
		"checkout": {New: Asked{OK: true, Failed: 3, Total: 100}, Old: Asked{OK: true, Total: 900}},
		"memory":   {New: Asked{OK: true, Series: []float64{.5, .5, .5}}},
	}
	if !reflect.DeepEqual(l.Answers, want) {
		t.Errorf("answers\n%+v, want\n%+v", l.Answers, want)
	}

	a.Prometheus = ""
	l, err = TakeLook(t.Context(), a, target, nil, ask, noon, noon, Side{Number: 1}, Side{})
	if err != nil || l.New != nil || !strings.Contains(l.Answers["memory"].Why, "nobody listens") {
		t.Errorf("with nobody to ask: %+v, %v", l, err)
	}
}
