package project

import (
	"reflect"
	"strings"
	"testing"
)

func TestDatabases(t *testing.T) {
	t.Parallel()
	f, problems := read(t, `tests: {seed: true}
databases:
- name: app
  kind: postgres
  env: DATABASE_URL
  url: $TEST_POSTGRES
  template: [db/schema.sql, db/seed]
  command: ./migrate
  inputs: [migrations]
  per: shard
  shards: 4
  jobs: ["test*"]
`)
	if len(problems) > 0 || !f.Tests.Seed {
		t.Fatal(f.Tests, problems)
	}
	want := Database{
		Name: "app", Kind: Postgres, Env: "DATABASE_URL", URL: "$TEST_POSTGRES", Template: []string{"db/schema.sql", "db/seed"},
		Command: "./migrate", Inputs: []string{"migrations"}, Per: PerShard, Shards: 4, Jobs: []string{"test*"}, Source: spot(3, 3),
	}
	if !reflect.DeepEqual(f.Databases, []Database{want}) {
		t.Errorf("%+v", f.Databases)
	}
	const entry = "databases:\n- {name: a, kind: sqlite, env: A, "
	for text, want := range map[string]string{
		entry + "url: x}\n":                                    "SQLite has no servers",
		entry + "command: x}\n":                                "a command needs inputs",
		entry + "per: shard}\n":                                "belong together",
		entry + "shards: 4}\n":                                 "belong together",
		entry + "per: shard, shards: 1}\n":                     "a number from 2 to 64",
		entry + "per: shard, shards: four}\n":                  "a number from 2 to 64",
		"databases:\n- {name: a, kind: postgre, env: A}\n":     "did you mean postgres?",
		"databases:\n- {name: a, kind: redis, env: \"A B\"}\n": "cannot be the name of a variable",
		"databases:\n- {kind: redis, env: A}\n":                "name is missing",
		"databases: {}\n":                                      "must be a list of databases",
		"tests: {seed: 7}\n":                                   "must be true or false",
	} {
		if _, problems := read(t, text); len(problems) == 0 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v, want %s", text, problems, want)
		}
	}
}
