package project

import (
	"fmt"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Database is an entry of the section databases: a database that jobs are
// given fresh.
type Database struct {
	Name string
	Kind string // "postgres", "redis" or "sqlite"
	Env  string // the variable that its address is put into
	// URL is the server's; "" for one that Fairlead starts, "$NAME" for what a
	// variable of Fairlead's own environment says.
	URL      string
	Template []string // files, or directories of files, of the tree
	Data     string   // a data set whose files come before those of Template
	Command  string   // run by sh at last
	Inputs   []string // files and directories that Command reads
	Per      string   // "job" or "shard"; "" is "job"
	Shards   int      // how many when Per is "shard"
	Jobs     []string // patterns of the jobs that get one; empty for all
	Source   plan.Source
}

// The kinds of databases, and for whom there is one.
const (
	Postgres = "postgres"
	Redis    = "redis"
	SQLite   = "sqlite"
	PerJob   = "job"
	PerShard = "shard"
)

const (
	maxDatabases = 20
	maxShards    = 64
)

func databases() kind[[]Database] {
	return list("databases", maxDatabases, placed(func(d *Database) *plan.Source { return &d.Source }, mapping("keys of a database",
		at("name", func(d *Database) *string { return &d.Name }, plain("a name", "app"), "Its name, for messages.").required(),
		at("kind", func(d *Database) *string { return &d.Kind }, choice(Postgres, Redis, SQLite), "What it is.").required(),
		at("env", func(d *Database) *string { return &d.Env }, variableName(), "The variable that its address is put into: a URL, or the path of SQLite's file.").required(),
		at("url", func(d *Database) *string { return &d.URL }, plain("an address", "$TEST_POSTGRES"),
			"The server in which databases are made; `$NAME` stands for a variable of Fairlead's own environment, which is where an address with a password belongs. Without it, Fairlead starts a server of its own from what is installed."),
		at("template", func(d *Database) *[]string { return &d.Template }, list("files", maxSteps, plain("a file or a directory", "db/schema.sql")),
			"What a fresh one holds: SQL files (commands for Redis, one a line), or directories of such files, in order of their names; for SQLite also a file that is a database, for Redis a dump (`.rdb`)."),
		at("data", func(d *Database) *string { return &d.Data }, plain("a data set", "customers"), "A data set whose files come before those of `template`."),
		at("command", func(d *Database) *string { return &d.Command }, plain("a command", "./manage.py migrate"), "What is run after that, by sh at the root of the tree, with the address in the variable that `env` names. It needs `inputs`."),
		at("inputs", func(d *Database) *[]string { return &d.Inputs }, list("files", maxSteps, plain("a file or a directory", "migrations")),
			"The files that the command reads: when they change, the template is made again."),
		at("per", func(d *Database) *string { return &d.Per }, choice(PerJob, PerShard), "For whom there is a fresh one: each job, or each of the `shards` that a job runs its tests in.").or(PerJob),
		at("shards", func(d *Database) *int { return &d.Shards }, wholeNumber(2, maxShards), "How many a job gets with `per: shard`. Their addresses are in variables that end in `_1`, `_2` …, too."),
		at("jobs", func(d *Database) *[]string { return &d.Jobs }, list("jobs", maxSteps, plain("a job", "test*")), "The jobs that get one: their IDs or names, `*` is any text. Without it, all."),
	).holds(
		constraint[Database]{
			schema: `{"if": {"required": ["command"]}, "then": {"required": ["inputs"]}}`,
			check: func(r *reader, n *yaml.Node, d *Database) {
				if d.Command != "" && len(d.Inputs) == 0 {
					r.report(keyOf(n, "command"), "a command needs inputs: without them nobody knows when the template has to be made again", "add the files that it reads, such as inputs: [migrations]")
				}
			},
		},
		constraint[Database]{
			schema: `{"if": {"properties": {"per": {"const": "shard"}}, "required": ["per"]}, "then": {"required": ["shards"]}, "else": {"properties": {"shards": false}}}`,
			check: func(r *reader, n *yaml.Node, d *Database) {
				if (d.Per == PerShard) != (d.Shards > 0) {
					r.report(n, "per: shard and shards belong together", "write per: shard and shards: 4, or neither")
				}
			},
		},
		constraint[Database]{
			schema: `{"if": {"properties": {"kind": {"const": "sqlite"}}, "required": ["kind"]}, "then": {"properties": {"url": false}}}`,
			check: func(r *reader, n *yaml.Node, d *Database) {
				if d.Kind == SQLite && d.URL != "" {
					r.report(keyOf(n, "url"), "SQLite has no servers", "remove url")
				}
			},
		},
	)))
}

// variableName is the name of an environment variable.
func variableName() kind[string] {
	const form = `^[A-Za-z_][A-Za-z0-9_]*$`
	re := regexp.MustCompile(form)
	s := &schema{words: "a variable", way: "write a name of letters, digits and _, such as DATABASE_URL", Type: one("string"), Pattern: form, Examples: []any{"DATABASE_URL"}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText || !re.MatchString(text) {
			return "", faulty(text, "cannot be the name of a variable")
		}
		return text, nil
	})
}

// wholeNumber is a number between two.
func wholeNumber(least, most int) kind[int] {
	words := fmt.Sprintf("a number from %d to %d", least, most)
	s := &schema{words: words, way: "write " + words + ", without quotes", Type: one("integer"), Examples: []any{least}}
	return kind[int]{s, func(r *reader, n *yaml.Node, v *int) {
		x, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || x < least || x > most {
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), words, shape(n)), s.way)
			return
		}
		*v = x
	}}
}
