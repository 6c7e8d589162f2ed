package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// FlagFiles are the files of definitions of an environment, those that count least first. An
// environment that is not named has those of all. Without a section flags in fairlead.yaml it
// is flags.json or flags.yaml at the root, if there is one.
func FlagFiles(tree fs.FS, section project.Flags, environment string) []string {
	files := slices.Concat(section.Files, section.Environments[environment])
	if len(section.Files) > 0 || len(section.Environments) > 0 {
		return files
	}
	for _, name := range []string{feature.Name, "flags.yaml", "flags.yml"} {
		if info, err := fs.Stat(tree, name); err == nil && info.Mode().IsRegular() {
			return []string{name}
		}
	}
	return nil
}

// ReadFlags reads the definitions of an environment out of a tree.
func ReadFlags(tree fs.FS, section project.Flags, environment string) (*feature.Definitions, []plan.Problem) {
	all := &feature.Definitions{}
	var problems []plan.Problem
	for _, name := range FlagFiles(tree, section, environment) {
		src, err := readFlagFile(tree, name)
		if err != nil {
			problems = append(problems, plan.Problem{Source: plan.Source{File: name}, Severity: plan.Error, Rule: "flags", Message: err.Error(), Hint: "name files of the repository in the section flags of " + project.Name})
			continue
		}
		d, found := feature.Read(name, src)
		problems = append(problems, found...)
		all = d.Over(all)
	}
	_, found := feature.Compile(all)
	return all, append(problems, found...)
}

func readFlagFile(tree fs.FS, name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, errors.New("this is no path inside of the repository")
	}
	info, err := fs.Stat(tree, name) // opening a fifo would wait for a writer
	switch {
	case err != nil:
		return nil, fmt.Errorf("the file of definitions cannot be read: %w", err)
	case !info.Mode().IsRegular():
		return nil, errors.New("the file of definitions is not a plain file")
	}
	f, err := tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the file of definitions cannot be read: %w", err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, feature.MaxFile+1))
}

// LintFlags finds what is wrong with the definitions of all environments, each thing once.
func LintFlags(tree fs.FS, section project.Flags) []plan.Problem {
	var problems []plan.Problem
	for _, environment := range append([]string{""}, slices.Sorted(maps.Keys(section.Environments))...) {
		_, found := ReadFlags(tree, section, environment)
		for _, p := range found {
			if !slices.Contains(problems, p) {
				problems = append(problems, p)
			}
		}
	}
	return problems
}
