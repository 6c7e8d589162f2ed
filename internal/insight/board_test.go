package insight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// registers are kept in memory.
type registers []record.Register

func (r registers) Register(_ context.Context, kind, id string) (record.Register, error) {
	for _, x := range r {
		if x.Kind == kind && x.ID == id {
			return x, nil
		}
	}
	return record.Register{Kind: kind, ID: id}, nil
}

func (r registers) Registers(_ context.Context, kind, prefix string) (list []record.Register, _ error) {
	for _, x := range r {
		if x.Kind == kind && strings.HasPrefix(x.ID, prefix) {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b record.Register) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

func (r *registers) put(kind, id string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // of the test's own values
	}
	*r = append(*r, record.Register{Kind: kind, ID: id, Version: 1, Body: body})
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	var kept registers
	track := func(service, environment string, order, height int, release string, more func(*record.Track)) {
		x := record.Track{Repository: "team/shop", Service: service, Environment: environment, Order: order, Height: height, Release: release, Version: fmt.Sprintf("1.%d", height),
			Commit: fmt.Sprint("c", height), Since: time.Date(2026, 11, 1, height, 0, 0, 0, time.UTC)}
		if more != nil {
			more(&x)
		}
		kept.put("track", "team/shop\n"+environment+"\n"+service, x)
	}
	track("shop", "production", 3, 10, "r10", nil)
	track("shop", "dev", 1, 14, "r14", nil)
	track("shop", "staging", 2, 12, "r12", nil)
	track("mail", "dev", 1, 0, "rx", nil)
	track("shop", "pr-7", 0, 15, "r15", func(x *record.Track) { x.Expires = x.Since.Add(time.Hour) })
	kept.put("release", "r10", record.Release{ID: "r10", Config: map[string]record.ReleaseConfig{"production": {Variables: map[string]string{"LEVEL": "warn", "REGION": "eu"}}}})
	kept.put("release", "r14", record.Release{ID: "r14", Artifact: record.Packed{Digest: "sha256:1"}, Config: map[string]record.ReleaseConfig{"dev": {Variables: map[string]string{"LEVEL": "debug", "REGION": "eu"}, Secrets: map[string]string{"DB": "DEV_DB"}}}})
	b := &Board{Store: kept}
	m, err := b.Matrix(t.Context(), "team/shop")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Environments, []string{"dev", "staging", "production"}) || !slices.Equal(m.Previews, []string{"pr-7"}) || len(m.Rows) != 2 || m.Rows[0].Service != "mail" {
		t.Fatalf("%+v", m)
	}
	var behind []int
	for _, c := range m.Rows[1].Cells {
		behind = append(behind, c.Behind)
	}
	if !slices.Equal(behind, []int{1, 3, 5, 0}) || m.Rows[0].Cells[0].Behind != -1 || m.Rows[0].Cells[1].Track != nil {
		t.Errorf("%v, %+v", behind, m.Rows[0].Cells)
	}

	c, err := b.Contrast(t.Context(), "team/shop", "dev", "production")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range c.Services[1].Differences {
		got = append(got, d.What+" "+d.Of+" "+d.With)
	}
	if want := []string{"artifact sha256:1 ", "commit c14 c10", "secret DB DEV_DB ", "variable LEVEL debug warn", "version 1.14 1.10"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	_, err = b.Contrast(t.Context(), "team/shop", "dev", "prodution")
	if usage := new(plan.UsageError); !errors.As(err, &usage) || usage.Hint != "did you mean production?" {
		t.Errorf("%v", err)
	}
}

// BenchmarkMatrix: a thousand services in five environments.
func BenchmarkMatrix(b *testing.B) {
	var kept registers
	for i := range 5000 {
		kept.put("track", fmt.Sprintf("team/shop\n%d\ns%04d", i%5, i/5), record.Track{Repository: "team/shop", Service: fmt.Sprintf("s%04d", i/5), Environment: fmt.Sprint(i % 5), Order: i % 5, Height: i, Release: "sha256:" + strings.Repeat("a", 64),
			Version: "1.2.3", Commit: strings.Repeat("c", 40), Since: time.Now(), Health: &record.Health{Ready: 2, Want: 2}})
	}
	board := &Board{Store: kept}
	for b.Loop() {
		if _, err := board.Matrix(context.Background(), ""); err != nil {
			b.Fatal(err)
		}
	}
}
