package github

import (
	"maps"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
)

// exported are the properties of the github context that steps find in their
// environment as GITHUB_ variables, as the runner does.
var exported = [...]string{
	"action", "action_path", "action_ref", "action_repository", "actor", "actor_id", "api_url", "base_ref",
	"event_name", "event_path", "graphql_url", "head_ref", "job", "ref", "ref_name", "ref_protected", "ref_type",
	"repository", "repository_id", "repository_owner", "repository_owner_id", "retention_days", "run_attempt",
	"run_id", "run_number", "server_url", "sha", "triggering_actor", "workflow", "workflow_ref", "workflow_sha",
	"workspace",
}

// environment is the whole environment of a step: its own variables, and over
// them those that GitHub gives to every step, which nobody can change.
func (e *evaluator) environment() map[string]string {
	env := maps.Clone(e.env)
	if env == nil {
		env = map[string]string{}
	}
	if _, given := env["CI"]; !given {
		env["CI"] = "true"
	}
	env["GITHUB_ACTIONS"] = "true"
	github := e.github()
	for _, name := range exported {
		if v, ok := github.Get(name); ok {
			env["GITHUB_"+strings.ToUpper(name)] = expression.String(v)
		}
	}
	runner := e.runner()
	for _, name := range runner.Keys() {
		v, _ := runner.Get(name)
		env["RUNNER_"+strings.ToUpper(name)] = expression.String(v)
	}
	return env
}

// inputName is the variable in which an action finds an input.
func inputName(name string) string {
	return "INPUT_" + strings.ToUpper(strings.ReplaceAll(name, " ", "_"))
}
