package project

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Coverage is the section coverage: how what tests covered is shown.
type Coverage struct {
	Components []Component // by name
}

// Component is a part of the project that the team has given a name.
type Component struct {
	Name string
	// Paths are patterns: "*" and "?" stand for anything but a slash, "**" for any
	// directories; "!" before one takes out what those before it have taken in.
	Paths []string
}

// Limits of the section.
const (
	maxComponents = 100
	maxPaths      = 100
)

func coverage() kind[Coverage] {
	return mapping("keys of coverage",
		at("components", func(c *Coverage) *[]Component { return &c.Components }, components(),
			"Parts of the project whose coverage is shown for itself: a name, and patterns of paths with `*`, `?` and `**`. `!` before a pattern takes out what those before it have taken in."),
	)
}

func components() kind[[]Component] {
	of := named("components", maxComponents, list("patterns", maxPaths, plain("a pattern", "server/**")))
	return kind[[]Component]{of.schema, func(r *reader, n *yaml.Node, v *[]Component) {
		var byName map[string][]string
		of.read(r, n, &byName)
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			*v = append(*v, Component{Name: name, Paths: byName[name]})
		}
	}}
}
