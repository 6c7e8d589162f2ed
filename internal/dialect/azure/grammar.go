package azure

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// node is a value of an expanded pipeline.
type node = template.Node

// shape is what may stand in one place of a pipeline, once its templates are
// expanded: one table for the reader and for lint.
type shape struct {
	text  bool             // a scalar
	list  *shape           // a list of these
	keys  map[string]shape // a mapping with these keys
	open  *shape           // a mapping with any keys, or those beyond keys
	first []string         // a mapping that has one of these keys, which says what it is
	check func(text string) string
}

// grammar is the shape of a whole pipeline.
var grammar = sync.OnceValue(func() shape {
	text := shape{text: true}
	anything := shape{text: true}
	anything.list, anything.open = &anything, &anything
	texts := shape{text: true, list: &text}
	settings := shape{open: &text}
	boolean := shape{text: true, check: isBoolean}
	with := func(base map[string]shape, more map[string]shape) map[string]shape {
		m := maps.Clone(base)
		maps.Copy(m, more)
		return m
	}
	some := func(s shape, keys ...string) map[string]shape {
		m := make(map[string]shape, len(keys))
		for _, k := range keys {
			m[k] = s
		}
		return m
	}
	list := func(s shape) shape { return shape{list: &s} }

	filter := shape{text: true, list: &text, keys: some(texts, "include", "exclude")}
	trigger := shape{text: true, list: &text, keys: with(some(filter, "branches", "paths", "tags"), map[string]shape{"batch": boolean})}
	pr := shape{text: true, list: &text, keys: with(some(filter, "branches", "paths"), map[string]shape{"autoCancel": boolean, "drafts": boolean})}
	schedules := list(shape{keys: map[string]shape{"cron": text, "displayName": text, "branches": filter, "batch": boolean, "always": boolean}})

	mounts := shape{keys: some(boolean, "work", "externals", "tools", "tasks")}
	image := map[string]shape{"image": text, "endpoint": text, "env": settings, "mapDockerSocket": boolean, "options": text, "ports": texts, "volumes": texts, "mountReadOnly": mounts}
	container := shape{text: true, keys: with(image, some(text, "alias", "container", "localImage", "registry", "type"))}
	services := shape{open: &shape{text: true, keys: with(image, some(text, "alias"))}}
	pool := shape{text: true, keys: map[string]shape{"name": text, "vmImage": text, "demands": texts}, open: &anything}
	variables := list(shape{first: []string{"name", "group"}, keys: map[string]shape{"name": text, "value": text, "readonly": boolean, "group": text}})

	step := some(text, "name", "displayName", "condition", "continueOnError", "enabled", "timeoutInMinutes", "retryCountOnTaskFailure")
	step["continueOnError"], step["enabled"] = boolean, boolean
	step["env"] = settings
	step["target"] = shape{text: true, keys: map[string]shape{"container": text, "commands": text, "settableVariables": texts}}
	step["inputs"] = shape{open: &anything}
	shell := some(text, "failOnStderr", "workingDirectory", "errorActionPreference", "warningPreference", "informationPreference", "verbosePreference", "debugPreference", "progressPreference", "ignoreLASTEXITCODE", "runScriptInSeparateScope", "showWarnings", "reportWarnings", "bashEnvValue")
	checkout := some(text, "checkout", "clean", "fetchDepth", "fetchFilter", "fetchTags", "lfs", "path", "persistCredentials", "submodules", "sparseCheckoutDirectories", "sparseCheckoutPatterns", "workspaceRepo")
	move := some(text, "artifact", "patterns", "path", "publishLocation", "allowEmpty", "artifactName", "project", "pipeline", "branch", "definition", "itemPattern")
	steps := list(shape{first: kinds, keys: with(with(with(step, shell), with(checkout, move)),
		with(some(text, kinds...), map[string]shape{"properties": settings}))})

	hook := shape{keys: map[string]shape{"steps": steps, "pool": pool}}
	hooks := some(hook, "preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
	hooks["on"] = shape{keys: some(hook, "failure", "success")}
	rolling := shape{text: true, keys: with(hooks, some(text, "maxParallel"))}
	canary := shape{text: true, keys: with(hooks, map[string]shape{"increments": texts})}
	strategy := shape{text: true, keys: map[string]shape{
		"matrix": {text: true, open: &shape{text: true, open: &text}}, "maxParallel": text, "parallel": text,
		"runOnce": {text: true, keys: hooks}, "rolling": rolling, "canary": canary,
	}}
	job := some(text, "displayName", "condition", "timeoutInMinutes", "cancelTimeoutInMinutes", "continueOnError")
	job["dependsOn"], job["variables"], job["strategy"], job["pool"], job["container"] = texts, variables, strategy, pool, container
	job["services"], job["steps"], job["workspace"] = services, steps, shape{keys: some(text, "clean")}
	job["uses"], job["templateContext"] = shape{keys: some(texts, "repositories", "pools")}, anything
	job["environment"] = shape{text: true, keys: with(some(text, "name", "resourceName", "resourceId", "resourceType"), map[string]shape{"tags": texts})}
	jobs := list(shape{first: []string{"job", "deployment"}, keys: with(job, some(text, "job", "deployment"))})
	stage := some(text, "stage", "group", "displayName", "condition", "lockBehavior", "trigger")
	stage["isSkippable"], stage["dependsOn"], stage["variables"], stage["pool"], stage["jobs"] = boolean, texts, variables, pool, jobs
	stage["templateContext"], stage["checks"] = anything, anything
	stages := list(shape{first: []string{"stage"}, keys: stage})

	event := shape{text: true, list: &text, keys: with(some(filter, "branches", "tags"), map[string]shape{"enabled": boolean, "stages": texts})}
	resource := func(name string, keys ...string) shape {
		return list(shape{first: []string{name}, keys: with(some(text, keys...), map[string]shape{name: text, "trigger": event, "tags": texts})})
	}
	repository := shape{first: []string{"repository"}, keys: with(some(text, "repository", "endpoint", "name", "ref", "type"), map[string]shape{
		"trigger": trigger, "checkoutOptions": anything}), open: &anything}
	resources := shape{keys: map[string]shape{
		"repositories": list(repository),
		"containers": list(shape{first: []string{"container"}, open: &anything, keys: with(image, map[string]shape{
			"container": text, "type": text, "trigger": event, "azureSubscription": text, "resourceGroup": text, "registry": text, "repository": text, "localImage": text})}),
		"pipelines": resource("pipeline", "project", "source", "version", "branch"),
		"builds":    resource("build", "type", "connection", "source", "version", "branch"),
		"packages":  resource("package", "type", "connection", "name", "version", "tag"),
		"webhooks":  list(shape{first: []string{"webhook"}, keys: map[string]shape{"webhook": text, "connection": text, "type": text, "filters": anything}}),
	}}
	root := with(job, map[string]shape{
		"name": text, "appendCommitMessageToRunName": boolean, "trigger": trigger, "pr": pr, "schedules": schedules, "resources": resources,
		"lockBehavior": text, "stages": stages, "jobs": jobs,
	})
	delete(root, "templateContext")
	delete(root, "environment")
	return shape{keys: root}
})

// kinds are the keys that say what a step is.
var kinds = []string{"task", "script", "bash", "pwsh", "powershell", "checkout", "publish", "download", "downloadBuild", "upload", "getPackage", "reviewApp"}

// isBoolean says why a text is no boolean. What is known only at run time is
// not asked.
func isBoolean(text string) string {
	if _, ok := boolean(text); ok || runtime(text) {
		return ""
	}
	return fmt.Sprintf("Unexpected value '%s': true or false is wanted", plan.Clip(text))
}

// boolean reads a boolean as the service does.
func boolean(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "y", "on":
		return true, true
	case "false", "no", "n", "off", "":
		return false, true
	}
	return false, false
}

// runtime reports whether a text has a value only at run time.
func runtime(text string) bool { return strings.Contains(text, "$(") || strings.Contains(text, "$[") }

// checker compares an expanded pipeline with the grammar.
type checker struct{ problems []plan.Problem }

func (k *checker) report(at plan.Source, rule, message, hint string) {
	k.problems = append(k.problems, *problemAt(at, rule, message, hint))
}

// check compares a node with a shape. what is the key it belongs to.
func (k *checker) check(n *node, s shape, what string) {
	switch {
	case n.IsNull():
		return // nothing at all says nothing, everywhere
	case n.Kind == template.Scalar:
		if !s.text {
			k.report(n.Source, "type", fmt.Sprintf("Unexpected value '%s': %s is %s", plan.Clip(n.Text), what, s.words()), "")
		} else if s.check != nil {
			if bad := s.check(n.Text); bad != "" {
				k.report(n.Source, "value", bad, "")
			}
		}
	case n.Kind == template.Sequence:
		if s.list == nil {
			k.report(n.Source, "type", fmt.Sprintf("A sequence was not expected: %s is %s", what, s.words()), "")
			return
		}
		for _, item := range n.Items {
			k.check(item, *s.list, "an entry of "+what)
		}
	default:
		k.mapping(n, s, what)
	}
}

func (k *checker) mapping(n *node, s shape, what string) {
	if s.keys == nil && s.open == nil {
		k.report(n.Source, "type", fmt.Sprintf("A mapping was not expected: %s is %s", what, s.words()), "")
		return
	}
	if len(s.first) > 0 && !slices.ContainsFunc(s.first, func(key string) bool { return n.Get(key) != nil }) {
		key := n.Fields[0].Key
		hint := "it has one of " + strings.Join(s.first, ", ")
		if near := plan.Nearest(key.Text, s.first); near != "" {
			hint = "did you mean " + near + "?"
		}
		k.report(key.Source, "key", fmt.Sprintf("Unexpected value '%s': it does not say what %s is", plan.Clip(key.Text), what), hint)
		return
	}
	for _, f := range n.Fields {
		inner, known := s.keys[f.Key.Text]
		switch {
		case known:
			k.check(f.Value, inner, f.Key.Text)
		case s.open != nil:
			k.check(f.Value, *s.open, f.Key.Text)
		default:
			names := slices.Sorted(maps.Keys(s.keys))
			hint := "the keys here are " + strings.Join(names, ", ")
			if near := plan.Nearest(f.Key.Text, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			k.report(f.Key.Source, "key", fmt.Sprintf("Unexpected value '%s'", plan.Clip(f.Key.Text)), hint)
		}
	}
}

// words says what may stand in a place.
func (s shape) words() string {
	var list []string
	if s.text {
		list = append(list, "a text")
	}
	if s.list != nil {
		list = append(list, "a list")
	}
	if s.keys != nil || s.open != nil {
		list = append(list, "a mapping")
	}
	return strings.Join(list, " or ")
}

// modern rewrites the words that the language had first into those that it
// has now: phases with queue and server, and resources in a list.
func modern(root *node) {
	for i, f := range root.Fields {
		if f.Key.Text == "phases" && root.Get("jobs") == nil {
			root.Fields[i].Key = renamed(f.Key, "jobs")
			for _, phase := range f.Value.Items {
				modernJob(phase)
			}
		}
		if f.Key.Text == "resources" && f.Value.Kind == template.Sequence {
			root.Fields[i].Value = &node{Kind: template.Mapping, Source: f.Value.Source}
		}
	}
	modernJob(root)
}

func renamed(key *node, to string) *node {
	k := *key
	k.Text = to
	return &k
}

func modernJob(n *node) {
	if n.Kind != template.Mapping {
		return
	}
	var fields []template.Field
	for _, f := range n.Fields {
		switch f.Key.Text {
		case "phase":
			fields = append(fields, template.Field{Key: renamed(f.Key, "job"), Value: f.Value})
		case "server":
			fields = append(fields, template.Field{Key: renamed(f.Key, "pool"), Value: &node{Text: "server", Source: f.Value.Source}})
			fields = append(fields, target(f.Value, nil)...)
		case "queue":
			pool := &node{Kind: template.Mapping, Source: f.Value.Source}
			more := target(f.Value, pool)
			if f.Value.Kind == template.Scalar {
				pool = f.Value
			}
			fields = append(append(fields, template.Field{Key: renamed(f.Key, "pool"), Value: pool}), more...)
		default:
			fields = append(fields, f)
		}
	}
	n.Fields = fields
}

// target is what a queue or server said of its job; what it said of the pool
// goes there.
func target(n, pool *node) (fields []template.Field) {
	strategy := &node{Kind: template.Mapping, Source: n.Source}
	for _, f := range n.Fields {
		switch key := f.Key.Text; {
		case pool != nil && (key == "name" || key == "demands"):
			pool.Fields = append(pool.Fields, f)
		case key == "matrix":
			strategy.Fields = append(strategy.Fields, f)
		case key == "parallel" && n.Get("matrix") != nil:
			strategy.Fields = append(strategy.Fields, template.Field{Key: renamed(f.Key, "maxParallel"), Value: f.Value})
		case key == "parallel":
			strategy.Fields = append(strategy.Fields, f)
		default:
			fields = append(fields, f)
		}
	}
	if len(strategy.Fields) > 0 {
		fields = append(fields, template.Field{Key: &node{Text: "strategy", Source: n.Source}, Value: strategy})
	}
	return fields
}

// problemAt is an error in a file of the user's.
func problemAt(at plan.Source, rule, message, hint string) *plan.Problem {
	return &plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
}

// badExpression tells of an expression in a text that has no value.
func badExpression(at plan.Source, text string, err error) *plan.Problem {
	return template.Problem(&node{Text: text, Source: at}, err)
}
