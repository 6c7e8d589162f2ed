package cli

import (
	"errors"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// distance is the Levenshtein distance of two texts, with a swap of two
// neighbours counting as one change.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, row := make([]int, len(y)+1), make([]int, len(y)+1)
	var two []int
	for j := range row {
		row[j] = j
	}
	for i := range x {
		two, before, row = before, row, make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, before[j+1]+1, before[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
	}
	return row[len(y)]
}

// nearest is the name that was probably meant, "" when none is near.
func nearest(name string, names []string) string {
	best, least := "", max(len(name)/3, 1)+1
	for _, n := range names {
		d := distance(strings.ToLower(name), strings.ToLower(n))
		if d < least {
			best, least = n, d
		}
		if len(name) > 2 && strings.HasPrefix(strings.ToLower(n), strings.ToLower(name)) && least > 1 {
			best, least = n, 1
		}
	}
	return best
}

// flagName finds the long flags in a usage text.
var flagName = regexp.MustCompile(`(?m)^ +(?:-\S, )?--([a-z][a-z0-9-]*)`)

// flagError tells of a flag that cannot be understood, and which one was
// probably meant.
func flagError(c *cobra.Command, err error) error {
	hint := "`" + c.CommandPath() + " --help` lists the flags"
	message := err.Error()
	var unknown interface {
		error
		GetSpecifiedName() string
	}
	if errors.As(err, &unknown) && strings.HasPrefix(message, "unknown flag") {
		name := unknown.GetSpecifiedName()
		message = "`" + c.CommandPath() + "` has no flag --" + name
		var names []string
		for _, m := range flagName.FindAllStringSubmatch(c.Flags().FlagUsages(), -1) {
			names = append(names, m[1])
		}
		if near := nearest(name, names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return usage(hint, "%s", message)
}
