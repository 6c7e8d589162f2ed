package workflow

import "sync"

// The two tables, compiled once.
var (
	workflowGrammar = sync.OnceValue(func() *rule { return compile(workflowTable()) })
	actionGrammar   = sync.OnceValue(func() *rule { return compile(actionTable()) })
)

// workflowTable describes a file of .github/workflows.
func workflowTable() *definition {
	// Where an expression stands decides what is known by then: the event, the
	// outcome of needed jobs, the cell of the matrix, the machine.
	var (
		workflowWide = names("github inputs vars")
		withSecrets  = names("github inputs vars secrets")
		afterNeeds   = names("github inputs vars needs")
		perCell      = names("github inputs vars needs strategy matrix")
		perCellEnv   = names("github inputs vars needs strategy matrix secrets")
		onRunner     = names("github inputs vars needs strategy matrix secrets steps job runner env")
		noSecrets    = names("github inputs vars needs strategy matrix steps job runner env")
		inStep       = names("github inputs vars needs strategy matrix secrets steps job runner env hashFiles(1,255)")
		jobIf        = names("github inputs vars needs always(0,0) failure(0,MAX) cancelled(0,0) success(0,MAX)")
		stepIf       = names("github inputs vars needs strategy matrix steps job runner env always(0,0) failure(0,0) cancelled(0,0) success(0,0) hashFiles(1,255)")
	)
	scalar := either(anyText(), boolean(), number())

	permissions := either(permissionScopes(), word("read-all"), word("write-all"))

	shellAndDir := []key{may("shell", filledText()), may("working-directory", filledText())}

	concurrency := mapping(
		need("group", filledText()),
		may("cancel-in-progress", boolean()),
		may("queue", word("single", "max")),
	)

	credentials := mapping(
		may("username", filledText()),
		may("password", filledText()),
	).in(names("github inputs vars secrets env"))
	container := []key{
		may("image", filledText()),
		may("options", anyText()),
		may("env", dictionary(anyText().in(onRunner))),
		may("ports", list(filledText())),
		may("volumes", list(filledText())),
		may("credentials", credentials),
	}
	service := append(container[:len(container):len(container)],
		may("entrypoint", anyText()), may("command", anyText()))

	matrixFilter := list(dictionary(anything()))
	strategy := mapping(
		may("fail-fast", boolean()),
		may("max-parallel", number()),
		may("matrix", dictionary(list(anything()),
			may("include", matrixFilter),
			may("exclude", matrixFilter))),
	).in(afterNeeds)

	// Steps hold steps.
	step := &definition{}
	steps := list(step)
	named := []key{
		may("name", anyText().in(inStep)),
		may("id", filledText()),
		may("continue-on-error", boolean().in(inStep)),
	}
	full := append(named[:len(named):len(named)],
		may("if", condition(stepIf)),
		may("timeout-minutes", number().in(inStep)),
		may("env", dictionary(anyText()).in(inStep)),
		may("background", boolean()),
	)
	with := func(keys []key, more ...key) *definition {
		return mapping(append(keys[:len(keys):len(keys)], more...)...)
	}
	*step = *either(
		with(full,
			need("run", anyText().in(inStep)),
			may("working-directory", anyText().in(inStep)),
			may("shell", filledText())),
		with(full,
			need("uses", filledText()),
			may("with", dictionary(anyText()).in(inStep))),
		with(named, need("wait", oneOrMore(filledText()))),
		with(named, need("wait-all", either(null(), boolean()))),
		with(named, need("cancel", filledText())),
		mapping(need("parallel", steps)),
	)

	anyJob := []key{
		may("name", anyText().in(perCell)),
		may("needs", oneOrMore(filledText())),
		may("if", condition(jobIf)),
		may("permissions", permissions),
		may("concurrency", either(filledText(), concurrency).in(perCell)),
		may("strategy", strategy),
	}
	ownJob := with(anyJob,
		need("runs-on", either(
			filledText(),
			list(filledText()),
			mapping(may("group", filledText()), may("labels", oneOrMore(filledText()))),
		).in(perCell)),
		may("timeout-minutes", number().in(perCell)),
		may("cancel-timeout-minutes", number().in(perCell)),
		may("continue-on-error", boolean().in(perCell)),
		may("container", either(anyText(), mapping(container...)).in(perCell)),
		may("services", dictionary(either(filledText(), mapping(service...)).in(perCell)).in(perCell)),
		may("env", dictionary(anyText()).in(perCellEnv)),
		may("environment", either(anyText(), mapping(
			need("name", anyText().in(perCell)),
			may("url", anyText().in(noSecrets)),
			may("deployment", boolean()),
		)).in(perCell)),
		may("outputs", dictionary(anyText().in(onRunner))),
		may("defaults", mapping(may("run",
			mapping(shellAndDir...).in(names("github inputs vars strategy matrix needs env"))))),
		may("steps", steps),
		may("snapshot", either(filledText(), mapping(
			need("image-name", filledText()),
			may("if", condition(perCell)),
			may("version", filledText()),
		))),
	)
	callingJob := with(anyJob,
		need("uses", filledText()),
		may("with", dictionary(scalar.in(perCell))),
		may("secrets", either(
			dictionary(scalar.in(names("github inputs vars needs secrets strategy matrix"))),
			word("inherit"))),
	)

	return mapping(
		need("on", triggers()),
		may("name", anyText()),
		may("description", anyText()),
		may("run-name", anyText().in(workflowWide)),
		may("defaults", mapping(may("run", mapping(shellAndDir...)))),
		may("env", dictionary(anyText()).in(withSecrets)),
		may("permissions", permissions),
		may("concurrency", either(anyText(), concurrency).in(workflowWide)),
		need("jobs", dictionary(either(ownJob, callingJob))),
	)
}

// permissionScopes is the mapping form of permissions.
func permissionScopes() *definition {
	full := word("read", "write", "none")
	readOnly := word("read", "none")
	writeOnly := word("write", "none")
	return mapping(
		may("actions", full),
		may("artifact-metadata", full),
		may("attestations", full),
		may("checks", full),
		may("code-quality", full),
		may("contents", full),
		may("copilot-requests", writeOnly),
		may("deployments", full),
		may("discussions", full),
		may("drives", full),
		may("id-token", writeOnly),
		may("issues", full),
		may("models", readOnly),
		may("packages", full),
		may("pages", full),
		may("pull-requests", full),
		may("repository-projects", full),
		may("security-events", full),
		may("statuses", full),
		may("vulnerability-alerts", readOnly),
	)
}

// events lists every event that starts workflows: its activity types, and the
// filters it takes. An event with neither takes no mapping at all.
var events = []struct{ name, types, filters string }{
	{"branch_protection_rule", "created edited deleted", ""},
	{"check_run", "completed created rerequested requested_action", ""},
	{"check_suite", "completed", ""},
	{"create", "", ""},
	{"delete", "", ""},
	{"deployment", "", ""},
	{"deployment_status", "", ""},
	{"discussion", "created edited deleted transferred pinned unpinned labeled unlabeled locked unlocked category_changed answered unanswered", ""},
	{"discussion_comment", "created edited deleted", ""},
	{"fork", "", ""},
	{"gollum", "", ""},
	{"image_version", "created ready deleted", "names versions"},
	{"issue_comment", "created edited deleted", ""},
	{"issues", "opened edited deleted transferred pinned unpinned closed reopened assigned unassigned labeled unlabeled locked unlocked milestoned demilestoned field_added field_removed typed untyped", ""},
	{"label", "created edited deleted", ""},
	{"merge_group", "checks_requested", "branches branches-ignore"},
	{"milestone", "created closed opened edited deleted", ""},
	{"page_build", "", ""},
	{"project", "created closed reopened edited deleted", ""},
	{"project_card", "created moved converted edited deleted", ""},
	{"project_column", "created updated moved deleted", ""},
	{"public", "", ""},
	{"pull_request", pullRequestTypes, "branches branches-ignore paths paths-ignore"},
	{"pull_request_comment", "created edited deleted", ""},
	{"pull_request_review", "submitted edited dismissed", ""},
	{"pull_request_review_comment", "created edited deleted", ""},
	{"pull_request_target", pullRequestTypes, "branches branches-ignore paths paths-ignore"},
	{"push", "", "branches branches-ignore tags tags-ignore paths paths-ignore"},
	{"registry_package", "published updated", ""},
	{"release", "published unpublished created edited deleted prereleased released", ""},
	{"repository_dispatch", "*", ""},
	{"schedule", "", ""},
	{"status", "", ""},
	{"watch", "started", ""},
	{"workflow_call", "", ""},
	{"workflow_dispatch", "", ""},
	{"workflow_run", "requested completed in_progress", "workflows branches branches-ignore"},
}

const pullRequestTypes = "assigned unassigned labeled unlabeled opened edited closed reopened synchronize " +
	"converted_to_draft locked unlocked enqueued dequeued milestoned demilestoned ready_for_review " +
	"review_requested review_request_removed auto_merge_enabled auto_merge_disabled stacked"

// triggers is what on: may hold: an event, a list of them, or a mapping from
// events to their filters. GitHub ignores filters it does not know and runs the
// rest, so these are only warned of.
func triggers() *definition {
	var all []string
	var keys []key
	for _, e := range events {
		all = append(all, e.name)
		filters := event(e.name, e.types, e.filters)
		if e.name != "workflow_call" && e.name != "schedule" {
			filters = warnOnly(filters)
		}
		keys = append(keys, may(e.name, filters))
	}
	return either(word(all...), list(word(all...)), mapping(keys...))
}

func event(name, types, filters string) *definition {
	switch name {
	case "schedule":
		return list(mapping(need("cron", filledText()), may("timezone", filledText())))
	case "workflow_call":
		return either(null(), callInterface())
	case "workflow_dispatch":
		return either(null(), dispatchInputs())
	}
	var keys []key
	switch types {
	case "":
	case "*": // names of the sender's own choice
		keys = append(keys, may("types", list(filledText())))
	default:
		keys = append(keys, may("types", oneOrMore(word(names(types)...))))
	}
	for _, f := range names(filters) {
		keys = append(keys, may(f, oneOrMore(filledText())))
	}
	if keys == nil {
		return null()
	}
	return either(null(), mapping(keys...))
}

func callInterface() *definition {
	return mapping(
		may("inputs", dictionary(mapping(
			may("description", anyText()),
			need("type", word("string", "boolean", "number")),
			may("required", boolean()),
			may("default", either(anyText(), boolean(), number()).in(names("github inputs vars"))),
		))),
		may("secrets", dictionary(either(null(), mapping(
			may("description", anyText()),
			may("required", boolean()),
		)))),
		may("outputs", dictionary(mapping(
			may("description", anyText()),
			need("value", anyText().in(names("github inputs vars jobs"))),
		))),
	)
}

// dispatchInputs also takes inputs: and an input with nothing after it, which
// GitHub runs though its published table does not say so.
func dispatchInputs() *definition {
	input := mapping(
		may("description", anyText()),
		may("type", word("string", "boolean", "number", "environment", "choice")),
		may("required", boolean()),
		may("default", either(anyText(), boolean(), number())),
		may("options", list(anyText())),
	)
	return mapping(may("inputs", either(null(), dictionary(either(null(), input)))))
}

// actionTable describes an action.yml.
func actionTable() *definition {
	var (
		always   = names("always(0,0) success(0,0) failure(0,0) cancelled(0,0)")
		onRunner = names("github inputs strategy matrix steps job runner env")
		inStep   = append(onRunner[:len(onRunner):len(onRunner)], "hashFiles(1,255)")
		stepIf   = append(inStep[:len(inStep):len(inStep)], always...)
		phaseIf  = append(names("runner github job strategy matrix env inputs hashFiles(1,255)"), always...)
		inputs   = names("inputs")
	)
	using := word("docker", "node12", "node16", "node20", "node24", "composite")
	step := []key{
		may("name", anyText().in(inStep)),
		may("id", filledText()),
		may("if", condition(stepIf)),
		may("env", dictionary(anyText()).in(inStep)),
		may("continue-on-error", boolean().in(inStep)),
	}
	with := func(more ...key) *definition {
		return mapping(append(step[:len(step):len(step)], more...)...)
	}
	// The runner reads inputs, outputs and runs; the rest is for publishing.
	root := mapping(
		wish("name", warnOnly(filledText())),
		wish("description", warnOnly(anyText())),
		may("author", warnOnly(anyText())),
		may("inputs", dictionary(dictionary(anything(),
			may("description", anyText()),
			may("required", boolean()),
			may("default", anyText().in(names("github strategy matrix job runner hashFiles(1,255)"))),
			may("deprecationMessage", anyText()),
		))),
		may("outputs", dictionary(mapping(
			may("description", anyText()),
			may("value", anyText().in(onRunner)),
		))),
		need("runs", either(
			mapping(
				need("using", using),
				need("image", filledText()),
				may("entrypoint", filledText()),
				may("args", list(anyText().in(inputs))),
				may("env", dictionary(anyText()).in(inputs)),
				may("pre-entrypoint", filledText()),
				may("pre-if", condition(phaseIf)),
				may("post-entrypoint", filledText()),
				may("post-if", condition(phaseIf)),
			),
			mapping(
				need("using", using),
				need("main", filledText()),
				may("pre", filledText()),
				may("pre-if", condition(phaseIf)),
				may("post", filledText()),
				may("post-if", condition(phaseIf)),
			),
			mapping(
				need("using", using),
				need("steps", list(either(
					with(
						need("run", anyText().in(inStep)),
						need("shell", anyText().in(inStep)),
						may("working-directory", anyText().in(inStep))),
					with(
						need("uses", filledText()),
						may("with", dictionary(anyText()).in(inStep))),
				))),
			),
		)),
		may("branding", warnOnly(mapping(
			may("icon", word(names(icons)...)),
			may("color", word("white", "yellow", "blue", "green", "orange", "red", "purple", "gray-dark")),
		))),
	)
	root.objects[0].lax = true
	return root
}

// icons are the names a marketplace entry may show.
const icons = "activity airplay alert-circle alert-octagon alert-triangle align-center align-justify align-left " +
	"align-right anchor aperture archive arrow-down-circle arrow-down-left arrow-down-right arrow-down " +
	"arrow-left-circle arrow-left arrow-right-circle arrow-right arrow-up-circle arrow-up-left " +
	"arrow-up-right arrow-up at-sign award bar-chart-2 bar-chart battery-charging battery bell-off bell " +
	"bluetooth bold book-open book bookmark box briefcase calendar camera-off camera cast check-circle " +
	"check-square check chevron-down chevron-left chevron-right chevron-up chevrons-down chevrons-left " +
	"chevrons-right chevrons-up circle clipboard clock cloud-drizzle cloud-lightning cloud-off cloud-rain " +
	"cloud-snow cloud code command compass copy corner-down-left corner-down-right corner-left-down " +
	"corner-left-up corner-right-down corner-right-up corner-up-left corner-up-right cpu credit-card crop " +
	"crosshair database delete disc dollar-sign download-cloud download droplet edit-2 edit-3 edit " +
	"external-link eye-off eye fast-forward feather file-minus file-plus file-text file film filter flag " +
	"folder-minus folder-plus folder gift git-branch git-commit git-merge git-pull-request globe grid " +
	"hard-drive hash headphones heart help-circle home image inbox info italic layers layout life-buoy " +
	"link-2 link list loader lock log-in log-out mail map-pin map maximize-2 maximize menu message-circle " +
	"message-square mic-off mic minimize-2 minimize minus-circle minus-square minus monitor moon " +
	"more-horizontal more-vertical move music navigation-2 navigation octagon package paperclip " +
	"pause-circle pause percent phone-call phone-forwarded phone-incoming phone-missed phone-off " +
	"phone-outgoing phone pie-chart play-circle play plus-circle plus-square plus pocket power printer " +
	"radio refresh-ccw refresh-cw repeat rewind rotate-ccw rotate-cw rss save scissors search send server " +
	"settings share-2 share shield-off shield shopping-bag shopping-cart shuffle sidebar skip-back " +
	"skip-forward slash sliders smartphone speaker square star stop-circle sun sunrise sunset tablet tag " +
	"target terminal thermometer thumbs-down thumbs-up toggle-left toggle-right trash-2 trash " +
	"trending-down trending-up triangle truck tv type umbrella underline unlock upload-cloud upload " +
	"user-check user-minus user-plus user-x user users video-off video voicemail volume-1 volume-2 " +
	"volume-x volume watch wifi-off wifi wind x-circle x-square x zap-off zap zoom-in zoom-out"
