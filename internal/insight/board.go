package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Board answers which version is where. It reads the registers that room rollout
// keeps: what holds now, and no history.
type Board struct {
	Store Registers
}

// Registers are what the board reads.
type Registers interface {
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
}

// Matrix is services by environments.
type Matrix struct {
	Environments []string    `json:"environments"` // in the order of a release's way
	Previews     []string    `json:"previews,omitempty"`
	Rows         []MatrixRow `json:"rows"`
}

// MatrixRow is a service.
type MatrixRow struct {
	Repository string       `json:"repository"`
	Service    string       `json:"service"`
	Team       string       `json:"team,omitempty"`
	Cells      []MatrixCell `json:"cells"` // by environment, then by preview; zero where it is not
}

// MatrixCell is a service in an environment.
type MatrixCell struct {
	*record.Track
	// Behind is how many commits more the newest version of the row has; -1: not known.
	Behind int `json:"behind"`
}

// Matrix is that of a repository, or with "" that of all.
func (b *Board) Matrix(ctx context.Context, repository string) (*Matrix, error) {
	prefix := ""
	if repository != "" {
		prefix = repository + "\n"
	}
	list, err := b.Store.Registers(ctx, "track", prefix)
	if err != nil {
		return nil, fmt.Errorf("list what is deployed: %w", err)
	}
	tracks := make([]record.Track, len(list))
	order, previews := map[string]int{}, map[string]bool{}
	for i := range list {
		t := &tracks[i]
		if err := json.Unmarshal(list[i].Body, t); err != nil {
			return nil, fmt.Errorf("read what is deployed (%q): %w", list[i].ID, err)
		}
		switch at, known := order[t.Environment]; {
		case !t.Expires.IsZero():
			previews[t.Environment] = true
		case !known || at == 0 || t.Order != 0 && t.Order < at: // 0: only a pipeline knows it
			order[t.Environment] = t.Order
		}
	}
	m := &Matrix{Previews: slices.Sorted(maps.Keys(previews))}
	m.Environments = slices.SortedFunc(maps.Keys(order), func(a, b string) int {
		return cmp.Or(cmp.Compare(rankOf(a, order[a]), rankOf(b, order[b])), cmp.Compare(a, b))
	})
	column := map[string]int{}
	for i, name := range slices.Concat(m.Environments, m.Previews) {
		column[name] = i
	}
	rows := map[[2]string]int{}
	for i := range tracks {
		t := &tracks[i]
		key := [2]string{t.Repository, t.Service}
		row, ok := rows[key]
		if !ok {
			row = len(m.Rows)
			rows[key] = row
			m.Rows = append(m.Rows, MatrixRow{Repository: t.Repository, Service: t.Service, Team: t.Team, Cells: make([]MatrixCell, len(column))})
		}
		m.Rows[row].Cells[column[t.Environment]].Track = t
	}
	for i := range m.Rows {
		m.Rows[i].compare()
	}
	slices.SortFunc(m.Rows, func(a, b MatrixRow) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Service, b.Service))
	})
	return m, nil
}

// rankOf is the place of an environment among the others: those of which no file says it come after the others, and
// of them what looks like production last.
func rankOf(name string, order int) int {
	const unknown = 1 << 20
	switch {
	case order > 0:
		return order
	case strings.HasPrefix(strings.ToLower(name), "prod"), strings.EqualFold(name, "live"):
		return unknown + 1
	}
	return unknown
}

// compare says how far each version of the service is behind the newest of them.
func (r *MatrixRow) compare() {
	newest := 0
	for _, c := range r.Cells {
		if c.Track != nil {
			newest = max(newest, c.Height)
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		switch {
		case c.Track == nil:
		case c.Height == 0 || c.Release == "":
			c.Behind = -1
		default:
			c.Behind = newest - c.Height
		}
	}
}

// Contrast is how two environments differ.
type Contrast struct {
	Repository string         `json:"repository"`
	Of         string         `json:"of"` // an environment
	With       string         `json:"with"`
	Services   []ServicesDiff `json:"services"`
}

// ServicesDiff is how a service differs between two environments.
type ServicesDiff struct {
	Service     string           `json:"service"`
	Differences []EnvironmentGap `json:"differences,omitempty"`
}

// EnvironmentGap is one thing that is not the same.
type EnvironmentGap struct {
	What string        `json:"what"` // "version", "variable LEVEL", "secret DB", "instances"
	Of   string        `json:"of"`   // "" where it is not
	With string        `json:"with"`
	Age  time.Duration `json:"age,omitempty"` // of a version: how much older one is
}

// Contrast compares what is deployed in two environments of a repository. Values of
// secrets are not known here: their names are compared.
func (b *Board) Contrast(ctx context.Context, repository, of, with string) (*Contrast, error) {
	m, err := b.Matrix(ctx, repository)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(m.Environments, m.Previews)
	left, right := slices.Index(all, of), slices.Index(all, with)
	for i, name := range []string{of, with} {
		if []int{left, right}[i] < 0 {
			return nil, unknownEnvironment(name, all)
		}
	}
	c := &Contrast{Repository: repository, Of: of, With: with}
	for _, row := range m.Rows {
		x, y := row.Cells[left].Track, row.Cells[right].Track
		if x == nil && y == nil {
			continue
		}
		d, err := b.differences(ctx, x, y)
		if err != nil {
			return nil, err
		}
		c.Services = append(c.Services, ServicesDiff{Service: row.Service, Differences: d})
	}
	return c, nil
}

func unknownEnvironment(name string, all []string) error {
	hint := "nothing was deployed yet"
	if len(all) > 0 {
		hint = "there are " + strings.Join(all, ", ")
	}
	if near := plan.Nearest(name, all); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &plan.UsageError{Message: fmt.Sprintf("nothing was deployed to an environment %.60q", name), Hint: hint}
}

func (b *Board) differences(ctx context.Context, x, y *record.Track) (gaps []EnvironmentGap, err error) {
	var at [2]map[string]string
	for i, t := range []*record.Track{x, y} {
		if at[i], err = b.traits(ctx, t); err != nil {
			return nil, err
		}
	}
	names := map[string]bool{}
	for _, m := range at {
		for name := range m {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if at[0][name] == at[1][name] {
			continue
		}
		gap := EnvironmentGap{What: name, Of: at[0][name], With: at[1][name]}
		if name == "version" && x != nil && y != nil {
			gap.Age = x.Since.Sub(y.Since).Abs()
		}
		gaps = append(gaps, gap)
	}
	return gaps, nil
}

// traits are what can be compared of a service in an environment.
func (b *Board) traits(ctx context.Context, t *record.Track) (map[string]string, error) {
	if t == nil || t.Release == "" {
		return nil, nil
	}
	reg, err := b.Store.Register(ctx, "release", t.Release)
	if err != nil {
		return nil, fmt.Errorf("read release %s: %w", t.Release, err)
	}
	traits := map[string]string{"version": t.Version, "commit": t.Commit}
	if reg.Version == 0 {
		return traits, nil
	}
	var r record.Release
	if err := json.Unmarshal(reg.Body, &r); err != nil {
		return nil, fmt.Errorf("read release %s: %w", t.Release, err)
	}
	traits["artifact"] = r.Artifact.Digest
	traits["flags"] = r.Flags
	for name, value := range r.Config[t.Environment].Variables {
		traits["variable "+name] = value
	}
	for name, secret := range r.Config[t.Environment].Secrets {
		traits["secret "+name] = secret
	}
	if t.Health != nil {
		traits["instances"] = fmt.Sprint(t.Health.Want)
	}
	return traits, nil
}
