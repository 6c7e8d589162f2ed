package declarative

import "slices"

// kind is the Java type of a parameter, as messages name it.
type kind string

// The kinds that are checked. A parameter of any other is anything.
const (
	anything kind = ""
	text     kind = "class java.lang.String"
	boolean  kind = "boolean"
	number   kind = "int"
	long     kind = "long"
)

// param is a parameter of a symbol.
type param struct {
	name     string
	kind     kind
	required bool
}

// symbol is something that is called by name: a step, an option, a trigger,
// a condition. Parameters are known for those that the validator of Jenkins
// has at hand in every installation; the others are taken as they are written.
type symbol struct {
	params []param
	open   bool // its parameters are not known
}

// sole is the parameter that is meant when one value has no name: the only
// required one, or the only one.
func (s symbol) sole() (param, bool) {
	var found []param
	for _, p := range s.params {
		if p.required {
			found = append(found, p)
		}
	}
	if len(found) == 0 && len(s.params) == 1 {
		found = s.params
	}
	if len(found) != 1 {
		return param{}, false
	}
	return found[0], true
}

func must(name string, k kind) param { return param{name, k, true} }
func may(name string, k kind) param  { return param{name, k, false} }

func takes(params ...param) symbol { return symbol{params: params} }

// steps are the steps whose parameters are checked.
func steps() map[string]symbol {
	shell := takes(must("script", text), may("encoding", text), may("label", text), may("returnStatus", boolean), may("returnStdout", boolean))
	return map[string]symbol{
		"echo":       takes(must("message", text)),
		"error":      takes(must("message", text)),
		"unstable":   takes(must("message", text)),
		"sh":         shell,
		"bat":        shell,
		"powershell": shell,
		"pwsh":       shell,
		"dir":        takes(must("path", text)),
		"ws":         takes(must("dir", text)),
		"deleteDir":  takes(),
		"fileExists": takes(must("file", text)),
		"isUnix":     takes(),
		"pwd":        takes(may("tmp", boolean)),
		"readFile":   takes(must("file", text), may("encoding", text)),
		"writeFile":  takes(must("file", text), must("text", text), may("encoding", text)),
		"retry":      takes(must("count", number), may("conditions", anything)),
		"sleep":      takes(must("time", number), may("unit", text)),
		"timeout":    takes(must("time", number), may("unit", text), may("activity", boolean)),
		"waitUntil":  takes(may("initialRecurrencePeriod", long), may("quiet", boolean)),
		"stash":      takes(must("name", text), may("allowEmpty", boolean), may("excludes", text), may("includes", text), may("useDefaultExcludes", boolean)),
		"unstash":    takes(must("name", text)),
		"withEnv":    takes(must("overrides", anything)),
		"catchError": takes(may("buildResult", text), may("catchInterruptions", boolean), may("message", text), may("stageResult", text)),
		"warnError":  takes(must("message", text), may("catchInterruptions", boolean)),
		"milestone":  takes(may("ordinal", number), may("label", text), may("unsafe", boolean)),
		"archive":    takes(must("includes", anything), may("excludes", text)),
		"archiveArtifacts": takes(must("artifacts", text), may("allowEmptyArchive", boolean), may("caseSensitive", boolean), may("defaultExcludes", boolean),
			may("excludes", text), may("fingerprint", boolean), may("followSymlinks", boolean), may("onlyIfSuccessful", boolean)),
		"timestamps": takes(),
	}
}

// blocked are the steps that a steps section does not take, and why.
func blocked() map[string]string {
	return map[string]string{
		"stage":      "The stage step cannot be used in Declarative Pipelines",
		"properties": "The properties step cannot be used in Declarative Pipelines",
		"parallel":   "The parallel step can only be used as the only top-level step in a stage's step block",
	}
}

// parameterTypes are what parameters may hold.
func parameterTypes() map[string]symbol {
	named, about := must("name", text), may("description", text)
	return map[string]symbol{
		"booleanParam": takes(named, may("defaultValue", boolean), about),
		"choice":       takes(named, may("choices", anything), about),
		"credentials":  takes(named, may("description", text), may("defaultValue", text), may("credentialType", text), may("required", boolean)),
		"file":         takes(named, about),
		"text":         takes(named, may("defaultValue", text), about, may("trim", boolean)),
		"password":     takes(named, may("defaultValue", anything), may("defaultValueAsSecret", anything), about),
		"run":          takes(named, must("projectName", text), may("filter", anything), about),
		"string":       takes(named, may("defaultValue", text), about, may("trim", boolean)),
		"stringParam":  takes(named, may("defaultValue", text), about, may("trim", boolean)),
		// Of plug-ins.
		"activeChoice": {open: true}, "activeChoiceHtml": {open: true}, "reactiveChoice": {open: true}, "base64File": {open: true}, "stashedFile": {open: true},
		"extendedChoice": {open: true}, "gitParameter": {open: true}, "listGitBranches": {open: true}, "validatingString": {open: true}, "imageTag": {open: true},
		"persistentString": {open: true}, "persistentBoolean": {open: true}, "persistentChoice": {open: true}, "persistentText": {open: true},
		"nonStoredPassword": {open: true}, "hidden": {open: true}, "separator": {open: true}, "nodeParameter": {open: true}, "labelParam": {open: true},
	}
}

// triggerTypes are what triggers may hold.
func triggerTypes() map[string]symbol {
	return map[string]symbol{
		"cron":       takes(must("spec", text)),
		"pollSCM":    takes(must("scmpoll_spec", text), may("ignorePostCommitHooks", boolean)),
		"upstream":   takes(must("upstreamProjects", text), may("threshold", anything)),
		"githubPush": takes(),
		// Of plug-ins.
		"GenericTrigger": {open: true}, "gitlab": {open: true}, "bitbucketPush": {open: true}, "bitBucketTrigger": {open: true}, "bitbucketTriggers": {open: true},
		"issueCommentTrigger": {open: true}, "parameterizedCron": {open: true}, "gerrit": {open: true}, "githubPullRequests": {open: true},
		"githubBranches": {open: true}, "URLTrigger": {open: true}, "eventTrigger": {open: true}, "giteaPush": {open: true}, "pullRequestReview": {open: true},
		"snapshotDependencies": {open: true}, "startupTrigger": {open: true}, "dockerHubTrigger": {open: true},
	}
}

// optionTypes are what the options of a pipeline may hold.
func optionTypes() map[string]symbol {
	m := map[string]symbol{
		"buildDiscarder":          takes(must("strategy", anything)),
		"checkoutToSubdirectory":  takes(must("subdirectory", text)),
		"disableConcurrentBuilds": takes(may("abortPrevious", boolean)),
		"disableRestartFromStage": takes(),
		"disableResume":           takes(),
		"durabilityHint":          takes(must("hint", anything)),
		"newContainerPerStage":    takes(),
		"overrideIndexTriggers":   takes(must("enableTriggers", boolean)),
		"parallelsAlwaysFailFast": takes(may("value", boolean)),
		"preserveStashes":         takes(may("buildCount", number)),
		"quietPeriod":             takes(may("quietPeriod", number)),
		"rateLimitBuilds":         takes(must("throttle", anything)),
		"rateLimit":               takes(must("throttle", anything)),
		"skipDefaultCheckout":     takes(may("value", boolean)),
		"skipStagesAfterUnstable": takes(may("value", boolean)),
		"retry":                   steps()["retry"],
		"timeout":                 steps()["timeout"],
		"timestamps":              takes(),
		"catchError":              steps()["catchError"],
		"warnError":               steps()["warnError"],
		"withEnv":                 steps()["withEnv"],
	}
	// Of plug-ins: their parameters are taken as they are.
	for _, name := range []string{
		"ansiColor", "authorizationMatrix", "bitbucketSourceConnection", "buildBlocker", "copyArtifactPermission", "dir", "disableDeferredWipeout",
		"githubProjectProperty", "gitLabConnection", "gitlabBuilds", "gitlabCommitStatus", "giteaConnection", "jiraSite", "lock", "lockableResources",
		"logstash", "office365ConnectorWebhooks", "podTemplate", "rebuild", "sidebarLinks", "skipPublishingChecks", "sshagent", "throttle",
		"throttleJobProperty", "withAWS", "withChecks", "withCredentials", "withDockerRegistry", "withFolderProperties", "withGradle", "withMaven",
		"withSonarQubeEnv", "withVault", "wrap", "ws", "xvfb", "configFileProvider", "datadog", "nodejs", "cache",
	} {
		m[name] = symbol{open: true}
	}
	return m
}

// stageOptions are the options of a stage that are no steps with a body.
func stageOptions() []string {
	return []string{"skipDefaultCheckout", "timeout", "retry", "timestamps", "catchError", "warnError", "withEnv", "withCredentials", "ansiColor", "lock", "checkoutToSubdirectory"}
}

// jobOnly are the options that tell of the whole job, which a stage cannot have.
func jobOnly() []string {
	return []string{
		"buildDiscarder", "disableConcurrentBuilds", "disableRestartFromStage", "disableResume", "durabilityHint", "overrideIndexTriggers", "parallelsAlwaysFailFast",
		"preserveStashes", "quietPeriod", "rateLimitBuilds", "rateLimit", "skipStagesAfterUnstable", "copyArtifactPermission", "githubProjectProperty", "newContainerPerStage",
		"gitLabConnection", "authorizationMatrix", "buildBlocker",
	}
}

// toolTypes are what tools may hold.
func toolTypes() []string {
	return []string{
		"allure", "ant", "cmakeinstallation", "custom", "dockerTool", "dotnetsdk", "git", "go", "gradle", "groovy", "jdk", "jgit", "jgitapache", "maven", "msbuild",
		"nodejs", "oc", "sbt", "scala", "snyk", "terraform",
	}
}

// agentType is a kind of agent with the options of its block.
type agentType struct {
	required []string // of the options, those without which there is no agent
	options  []string
	// single says that one value without a name is its first required option.
	single bool
}

// agentTypes are the kinds of agents beside any and none.
func agentTypes() map[string]agentType {
	container := []string{"args", "alwaysPull", "containerPerStageRoot", "customWorkspace", "label", "registryCredentialsId", "registryUrl", "reuseNode"}
	return map[string]agentType{
		"label":      {required: []string{"label"}, options: []string{"label", "customWorkspace", "retries"}, single: true},
		"node":       {required: []string{"label"}, options: []string{"label", "customWorkspace", "retries"}},
		"docker":     {required: []string{"image"}, options: append([]string{"image"}, container...), single: true},
		"dockerfile": {options: append([]string{"filename", "dir", "additionalBuildArgs"}, container...), single: true},
		"kubernetes": {options: []string{"activeDeadlineSeconds", "agentContainer", "agentInjection", "cloud", "containerTemplate", "containerTemplates", "customWorkspace",
			"defaultContainer", "hostNetwork", "idleMinutes", "inheritFrom", "inheritYamlMergeStrategy", "instanceCap", "label", "namespace", "nodeSelector", "podRetention",
			"retries", "schedulerName", "serviceAccount", "showRawYaml", "slaveConnectTimeout", "supplementalGroups", "workingDir", "workspaceVolume", "yaml", "yamlFile",
			"yamlMergeStrategy"}, single: true},
	}
}

// conditions are the conditions of when that hold no others.
func conditions() map[string]symbol {
	compare := may("comparator", text)
	return map[string]symbol{
		"branch":         takes(must("pattern", text), compare),
		"buildingTag":    takes(),
		"changelog":      takes(must("pattern", text), may("multiline", boolean), may("caseSensitive", boolean)),
		"changeRequest":  takes(may("id", text), may("target", text), may("branch", text), may("fork", text), may("url", text), may("title", text), may("author", text), may("authorDisplayName", text), may("authorEmail", text), compare),
		"changeset":      takes(must("pattern", text), compare, may("caseSensitive", boolean)),
		"environment":    takes(must("name", text), must("value", text), may("ignoreCase", boolean)),
		"equals":         takes(must("expected", anything), must("actual", anything)),
		"expression":     {open: true},
		"isRestartedRun": takes(),
		"tag":            takes(must("pattern", text), compare),
		"triggeredBy":    takes(must("cause", anything), may("detail", anything)),
	}
}

// nested are the conditions that hold others, and how many; 0 is at least one.
func nested() map[string]int { return map[string]int{"allOf": 0, "anyOf": 0, "not": 1} }

// conditionNames are all conditions of when, in order.
func conditionNames() []string {
	names := []string{"allOf", "anyOf", "not"}
	for name := range conditions() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Post lists the conditions of post in the order in which they are asked.
func Post() []string {
	return []string{"always", "changed", "fixed", "regression", "aborted", "success", "unsuccessful", "unstable", "failure", "notBuilt", "cleanup"}
}
