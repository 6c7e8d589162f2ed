package project

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Reuse is the section reuse: what may be reused, beyond what Fairlead sees
// for itself.
type Reuse struct {
	// Size is how many bytes the kept outputs of steps may take; 0 when not
	// given, which means [DefaultSize].
	Size int64
	// Zones are directories that are neither inputs nor outputs, for all
	// steps: clean slash paths, each absolute, or below "~", or a variable
	// and what is below it ("$NAME", "$NAME/x").
	Zones []string
	// Steps are declarations for some steps, in file order.
	Steps []StepReuse
}

// DefaultSize is the size of the cache of a project that does not say, in
// bytes.
const DefaultSize = 10_000_000_000

// StepReuse is what is declared for the steps that Match: a pattern over
// "job/step", where step is the step's name, ID or number, and * any text.
type StepReuse struct {
	Match string
	// Network is "", "pinned" or "ignore".
	Network string
	// MaxAge is how old a result may be to be reused; 0 for any age.
	MaxAge time.Duration
	// Never excludes all the rest.
	Never  bool
	Zones  []string // like those of Reuse
	Source plan.Source
}

// The values of [StepReuse].Network that can be written.
const (
	NetworkPinned = "pinned"
	NetworkIgnore = "ignore"
)

// Limits of the section.
const (
	maxZones = 100
	maxSteps = 1000
)

func reuse() kind[Reuse] {
	return mapping("keys of reuse",
		at("size", func(r *Reuse) *int64 { return &r.Size }, size(),
			"How much the kept outputs of steps may take on disk. Those that were not used for longest go first.").
			or("10GB"),
		at("zones", func(r *Reuse) *[]string { return &r.Zones }, list("directories", maxZones, zone()),
			"Directories that are neither inputs nor outputs, for all steps: caches that tools keep for themselves and check themselves. They come on top of those that Fairlead knows."),
		at("steps", func(r *Reuse) *[]StepReuse { return &r.Steps }, list("declarations", maxSteps, stepReuse()),
			"What is declared for some steps. All entries that match a step count: `never` wins, zones add up, and of the rest a later entry goes before an earlier one."),
	)
}

// reuses are the keys that say how a step is reused.
var reuses = []string{"network", "max-age", "zones"}

func stepReuse() kind[StepReuse] {
	return placed(func(s *StepReuse) *plan.Source { return &s.Source }, mapping("keys of a step",
		at("match", func(s *StepReuse) *string { return &s.Match }, match(),
			"The steps it is for: a pattern over `job/step`. The job is its ID, the step its name, its ID or its number in the job; `*` is any text, slashes included, and all else stands for itself.").
			required(),
		at("network", func(s *StepReuse) *string { return &s.Network }, choice(NetworkPinned, NetworkIgnore),
			"What it means that the step talks to others. `pinned`: what comes back is determined by the step's inputs (a lock file). `ignore`: what others say does not matter for as long as `max-age`."),
		at("max-age", func(s *StepReuse) *time.Duration { return &s.MaxAge }, duration(),
			"How old a result may be to be reused. Needed with `network: ignore`."),
		at("never", func(s *StepReuse) *bool { return &s.Never }, boolean(),
			"Never reuse these steps. Stands alone.").
			or("false"),
		at("zones", func(s *StepReuse) *[]string { return &s.Zones }, list("directories", maxZones, zone()),
			"Directories that are neither inputs nor outputs of these steps."),
	).holds(
		constraint[StepReuse]{
			schema: `{"if": {"properties": {"network": {"const": "ignore"}}, "required": ["network"]}, "then": {"required": ["max-age"]}}`,
			check: func(r *reader, n *yaml.Node, s *StepReuse) {
				if s.Network == NetworkIgnore && s.MaxAge == 0 {
					r.report(keyOf(n, "network"), "network: ignore needs a max-age: without one, an answer that the step was given once would stand for ever",
						"add how long an old answer will do, such as max-age: 24h")
				}
			},
		},
		constraint[StepReuse]{
			schema: `{"if": {"properties": {"never": {"const": true}}, "required": ["never"]}, "then": {"properties": {"network": false, "max-age": false, "zones": false}}}`,
			check: func(r *reader, n *yaml.Node, s *StepReuse) {
				for _, other := range reuses {
					if k := keyOf(n, other); s.Never && k != nil {
						r.report(k, fmt.Sprintf("%s says how the step is reused, and never: true says that it is not", other),
							"remove one of the two")
					}
				}
			},
		},
		constraint[StepReuse]{
			schema: `{"anyOf": [{"required": ["network"]}, {"required": ["max-age"]}, {"required": ["never"]}, {"required": ["zones"]}]}`,
			check: func(r *reader, n *yaml.Node, s *StepReuse) {
				says := func(key string) bool { return keyOf(n, key) != nil }
				if !slices.ContainsFunc(reuses, says) && !says("never") {
					r.report(n, "nothing is declared for the steps that match", "add network, max-age, never or zones, or remove the entry")
				}
			},
		},
	))
}

// match is a pattern over "job/step".
func match() kind[string] {
	s := &schema{words: "a pattern over job/step", way: "write job/step, such as build/test, or build/* for all steps of a job",
		Type: one("string"), Pattern: `^[^/]*[*][^/]*$|^[^/]+/.*[^/]$`, Examples: []any{"build/npm ci", "*/test", "deploy*/*"}}
	return scalar(s, func(text string) (string, *fault) {
		job, step, slash := strings.Cut(text, "/")
		switch {
		case len(text) > maxText:
			return "", faulty(text, "is longer than any step's name")
		case strings.ContainsFunc(text, unicode.IsControl):
			return "", faulty(text, "holds a line break or another control character, and no step's name does")
		case slash && (job == "" || step == "" || strings.HasSuffix(step, "/")):
			return "", faulty(text, "matches nothing: a job and a step both have names")
		case !slash && !strings.Contains(text, "*"):
			bad := faulty(text, "matches nothing: a pattern stands for a job and a step of it")
			bad.hint = fmt.Sprintf("write %s/* for all steps of a job, */%[1]s for a step of any job", clip(text))
			return "", bad
		}
		return text, nil
	})
}

// whole are zones that would hold all that a step works with.
var whole = []string{
	"/", ".", "~", "$HOME", "$PWD", "$TMPDIR", "$RUNNER_TEMP",
	"$GITHUB_WORKSPACE", "$RUNNER_WORKSPACE", "$CI_PROJECT_DIR", "$BUILD_SOURCESDIRECTORY", "$WORKSPACE",
}

// variable is what a zone may begin with, in either spelling.
var variable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})(?:/|$)`)

// zone is a directory, not necessarily one that is there.
func zone() kind[string] {
	s := &schema{words: "a directory", way: "write /an/absolute/path, ~/in/the/home/directory or $VARIABLE/in/it",
		Type: one("string"), MinLength: 1, Not: &schema{Enum: whole}, Examples: []any{"~/.cache/mytool", "$MYCACHE", "/var/lib/mydb"}}
	return scalar(s, func(text string) (string, *fault) {
		switch {
		case text == "":
			return "", faulty(text, "is no directory")
		case len(text) > maxText:
			return "", faulty(text, "is too long for a path")
		case strings.ContainsFunc(text, unicode.IsControl):
			return "", faulty(text, "holds a control character")
		case strings.ContainsAny(text, "*?"):
			return "", &fault{quote(text) + " is a pattern; a zone is one directory with all that is below it", "name the directory"}
		}
		root, rest := "", text
		if m := variable.FindStringSubmatch(text); m != nil {
			root, rest = "$"+m[1]+m[2], "/"+text[len(m[0]):]
		}
		clean := path.Clean(root + rest)
		switch {
		case strings.Contains(rest, "$"):
			return "", &fault{quote(text) + " holds a $ that cannot be understood", "begin with the variable: $NAME/… or ${NAME}/…"}
		case strings.HasPrefix(rest, "~") && rest != "~" && !strings.HasPrefix(rest, "~/"):
			return "", faulty(text, "names another user's home directory, which is not looked up")
		case slices.Contains(whole, clean):
			return "", &fault{quote(text) + " holds all that a step works with: nothing in it would be seen to change", "name the one directory in it that is a cache"}
		case slices.Contains(strings.Split(rest, "/"), ".."):
			return "", faulty(text, "goes up with ..")
		case root == "" && rest[0] != '/' && rest[0] != '~':
			return "", faulty(text, "lies in the workspace, and everything there is input or output: a workspace holds nothing of earlier runs")
		case strings.LastIndexByte(clean, '/') == 0:
			return "", &fault{quote(text) + " is a whole top directory of the machine: too much in it would not be seen to change", "name the one directory in it that is a cache"}
		}
		return clean, nil
	})
}
