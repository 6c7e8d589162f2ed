package coverage

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Upload is one report of a commit, as it was handed in.
type Upload struct {
	Flag   string // what part of the tests it is of, as the team names it; "" for none in particular
	Report *Report
}

// Join merges the reports of a commit, and counts each flag for itself, by
// name. The reports stay as they are.
func Join(uploads []Upload) (*Report, []Part, error) {
	all, flags := &Report{}, map[string]*Report{}
	for _, u := range uploads {
		if err := all.Merge(u.Report); err != nil {
			return nil, nil, fmt.Errorf("merge coverage: %w", err)
		}
		if u.Flag == "" {
			continue
		}
		if flags[u.Flag] == nil {
			flags[u.Flag] = &Report{}
		}
		if err := flags[u.Flag].Merge(u.Report); err != nil {
			return nil, nil, fmt.Errorf("merge coverage of %s: %w", u.Flag, err)
		}
	}
	parts := make([]Part, 0, len(flags))
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		parts = append(parts, Part{Name: name, Totals: flags[name].Totals()})
	}
	return all, parts, nil
}

// Point is a commit in a project's trend.
type Point struct {
	Commit string    `json:"commit"`
	Time   time.Time `json:"time"`
	Totals
	// Parts are flags and components, by name.
	Parts []Part `json:"parts,omitempty"`
	// Carried is how many of the lines were not measured on this commit.
	Carried int `json:"carried,omitempty"`
}

// Point is the report in a trend.
func (r *Report) Point(commit string, at time.Time, parts ...Part) Point {
	p := Point{Commit: commit, Time: at, Totals: r.Totals(), Parts: parts}
	for _, f := range r.files {
		for _, l := range f.Lines {
			if l.Carried {
				p.Carried++
			}
		}
	}
	return p
}
