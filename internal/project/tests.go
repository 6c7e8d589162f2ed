package project

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// Tests is the section tests: how tests are run, and what becomes of those that
// fail.
type Tests struct {
	// Seed gives every step the run's number in FAIRLEAD_SEED, also those that do not name it.
	Seed bool
	// Retry is how often the failed tests of a step are run again.
	Retry      int
	Quarantine Quarantine
	// Affected has tests left out that passed before with the same inputs.
	Affected bool
	// Reports are patterns of reports that are not found by themselves.
	Reports []string
	Budgets Budgets
}

// Budgets are how long a test may take, by what it was seen to do; zero fields leave
// it to Fairlead.
type Budgets struct{ Small, Medium, Large time.Duration }

// Quarantine is what a project says of tests that fail by chance. Zero fields leave
// it to Fairlead.
type Quarantine struct {
	Manual bool     // only people put tests there
	Days   int      // how long it lasts
	Most   int      // tests at a time
	Who    []string // may decide by hand; none: all who may change the project
}

// Limits of the section.
const (
	maxRetry = 5
	maxDays  = 90
	maxMost  = 10_000
	maxWho   = 200

	maxReports = 100
)

func tests() kind[Tests] {
	return mapping("keys of tests",
		at("retry", func(t *Tests) *int { return &t.Retry }, between(0, maxRetry),
			"How often the failed tests of a step are run again: those alone, where it is known how to. A step that passes so is shown as flaky. Known are go test, pytest, unittest, jest, vitest, mocha, node --test, playwright, rspec, cargo nextest, maven, gradle, dotnet and ctest.").
			or("0"),
		at("affected", func(t *Tests) *bool { return &t.Affected }, boolean(),
			"Runs on this machine, and those of changes that are to be merged, leave out the tests that have passed with the same inputs: each package or file of them is a process of its own, which is watched. Runs of a branch run all. Known are go test, pytest, jest, vitest, playwright and rspec.").
			or("false"),
		at("quarantine", func(t *Tests) *Quarantine { return &t.Quarantine }, quarantine(),
			"Tests that fail by chance: they still run, and their failures do not count."),
		at("reports", func(t *Tests) *[]string { return &t.Reports }, list("patterns", maxReports, plain("a pattern", "out/**/results.json")),
			"Reports that are not found by themselves, because of how they are called or where they lie: paths in the workspace, with `*`, `?` and `**`; a directory is all that is in it."),
		at("budgets", func(t *Tests) *Budgets { return &t.Budgets }, budgets(),
			"How long a test may take, by what it was seen to do. Those that take longer are listed; nothing fails for that."),
		at("seed", func(t *Tests) *bool { return &t.Seed }, boolean(),
			"Give every step the variable `FAIRLEAD_SEED`, and not only those that name it: a number that is the run's own, is recorded, and that `fairlead rerun` gives again. It costs reuse: a step whose script or files name the variable runs again under every new seed.").
			or("false"),
	)
}

func quarantine() kind[Quarantine] {
	return mapping("keys of quarantine",
		at("manual", func(q *Quarantine) *bool { return &q.Manual }, boolean(),
			"Only people put tests into quarantine, and not Fairlead by itself.").
			or("false"),
		at("days", func(q *Quarantine) *int { return &q.Days }, between(1, maxDays),
			"How long a quarantine lasts. Then the test counts again.").
			or("14"),
		at("most", func(q *Quarantine) *int { return &q.Most }, between(1, maxMost),
			"How many tests may be in quarantine at a time. Of large projects it is half a percent of the tests, if that is more.").
			or("8"),
		at("who", func(q *Quarantine) *[]string { return &q.Who }, list("names", maxWho, plain("a name", "ann")),
			"Who may put tests into quarantine and take them out of it. Not given, all who may change the project."),
	)
}

func budgets() kind[Budgets] {
	return mapping("keys of budgets",
		at("small", func(b *Budgets) *time.Duration { return &b.Small }, duration(), "Of a test that opens no socket and starts no other process.").or("1s"),
		at("medium", func(b *Budgets) *time.Duration { return &b.Medium }, duration(), "Of one that talks to others on its own machine alone.").or("10s"),
		at("large", func(b *Budgets) *time.Duration { return &b.Large }, duration(), "Of one that talks to other machines.").or("60s"),
	)
}

// between is a whole number within limits.
func between(least, most int) kind[int] {
	words := fmt.Sprintf("a whole number from %d to %d", least, most)
	s := &schema{words: words, way: "write " + words, Type: one("integer"), Minimum: &least, Maximum: &most}
	return kind[int]{s, func(r *reader, n *yaml.Node, v *int) {
		number, err := strconv.Atoi(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int":
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), words, shape(n)), s.way)
		case err != nil || number < least || number > most:
			r.report(n, fmt.Sprintf("%s must be %s", r.subject(), words), s.way)
		default:
			*v = number
		}
	}}
}
