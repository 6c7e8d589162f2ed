package github

import (
	"maps"
	"strings"
	"sync"
)

// exported are the properties of the github context that steps find in their
// environment as GITHUB_ variables, as the runner does; ref_protected, which
// is no text, aside.
var exported = [...]string{
	"action", "action_path", "action_ref", "action_repository", "actor", "actor_id", "api_url", "base_ref",
	"event_name", "event_path", "graphql_url", "head_ref", "job", "ref", "ref_name", "ref_type",
	"repository", "repository_id", "repository_owner", "repository_owner_id", "retention_days", "run_attempt",
	"run_id", "run_number", "server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha",
	"workspace",
}

// environment is the whole environment of a step: its own variables, and over
// them those that GitHub gives to every step, which nobody can change.
func (e *evaluator) environment() map[string]string {
	names := variables()
	env := make(map[string]string, len(e.env)+len(names)+maxRunner)
	maps.Copy(env, e.env)
	if _, given := env["CI"]; !given {
		env["CI"] = "true"
	}
	env["GITHUB_ACTIONS"] = "true"
	e.properties(func(name, value string) {
		if variable, ok := names[name]; ok {
			env[variable] = value
		}
	})
	if e.hasChange() {
		env["GITHUB_REF_PROTECTED"] = "false"
	}
	e.machine(func(name, value string) { env["RUNNER_"+strings.ToUpper(name)] = value })
	return env
}

// maxRunner is about how many variables of a step tell of other things than
// the run.
const maxRunner = 10

// variables are the names of the exported properties as variables.
var variables = sync.OnceValue(func() map[string]string {
	m := make(map[string]string, len(exported))
	for _, name := range exported {
		m[name] = "GITHUB_" + strings.ToUpper(name)
	}
	return m
})

// inputName is the variable in which an action finds an input.
func inputName(name string) string {
	return "INPUT_" + strings.ToUpper(strings.ReplaceAll(name, " ", "_"))
}
