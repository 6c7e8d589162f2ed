package launch

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Converted is a pipeline in another language.
type Converted struct {
	File, Dialect string // that it was made from
	Target        string // where it belongs in a tree
	Text          []byte
	// Lost is what could not be carried over, in order of position.
	Lost []plan.Problem
}

// Convert says the pipelines of a tree in another language: those of file,
// when it is not "", else those of the one other language that is there.
func Convert(ctx context.Context, dialects []dialect.Dialect, tree fs.FS, file, to string) ([]Converted, error) {
	var composer dialect.Composer
	var targets []string
	for _, d := range dialects {
		if c, ok := d.(dialect.Composer); ok {
			if targets = append(targets, d.Name()); d.Name() == to {
				composer = c
			}
		}
	}
	if composer == nil {
		return nil, &plan.UsageError{Message: fmt.Sprintf("nothing can be converted to %q", to), Hint: "the languages to convert to are " + strings.Join(targets, ", ")}
	}
	var made []Converted
	var from []string
	for _, d := range dialects {
		o, ok := d.(dialect.Outliner)
		if !ok || d.Name() == to && file == "" {
			continue
		}
		pipelines, problems, err := d.Compile(ctx, tree, nil)
		if err != nil {
			return nil, fmt.Errorf("read the %s pipelines: %w", d.Name(), err)
		}
		for i := range pipelines {
			pl := &pipelines[i]
			if file != "" && !answersTo(pl, file) {
				continue
			}
			for _, p := range problems {
				if p.File == pl.File && p.Severity == plan.Error {
					return nil, &dialect.ProblemError{Problem: p}
				}
			}
			outlined, err := o.Outline(pl)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", pl.File, err)
			}
			c := Converted{File: pl.File, Dialect: d.Name(), Target: composer.Target(outlined)}
			var lost []plan.Problem
			c.Text, lost = composer.Compose(outlined)
			c.Lost = slices.Concat(outlined.Lost, lost)
			slices.SortStableFunc(c.Lost, func(a, b plan.Problem) int { return a.Line - b.Line })
			made = append(made, c)
			if !slices.Contains(from, d.Name()) {
				from = append(from, d.Name())
			}
		}
	}
	switch {
	case len(made) == 0 && file != "":
		return nil, &plan.UsageError{Message: fmt.Sprintf("there is no pipeline %q here that could be converted", file), Hint: "fairlead run --list shows what there is"}
	case len(made) == 0:
		return nil, &plan.UsageError{Message: "there is nothing here to convert to " + to}
	case len(from) > 1 && file == "":
		return nil, &plan.UsageError{Message: "there are pipelines in several languages here: " + strings.Join(from, ", "), Hint: "name the file to convert"}
	}
	return made, nil
}
