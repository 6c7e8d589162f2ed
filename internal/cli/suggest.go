package cli

import (
	"errors"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

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
		if near := plan.Nearest(name, names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return usage(hint, "%s", message)
}
