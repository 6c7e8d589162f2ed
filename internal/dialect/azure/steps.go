package azure

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Entries of a step's Data.
const (
	dataTarget   = "target"   // where it runs and what it may set: {container, commands, settable}
	dataRetry    = "retry"    // retryCountOnTaskFailure, as written
	dataCheckout = "checkout" // the repository that is checked out
	dataMany     = "many"     // the job checks out several repositories
	dataSettings = "settings" // of a script: failOnStderr and the like
)

// References of the steps that are no tasks of their own.
const (
	refCheckout = "checkout"
	refPublish  = "PublishPipelineArtifact@1"
	refDownload = "DownloadPipelineArtifact@2"
)

// shells are the kinds of steps that are a script, and the task that each is
// short for.
var shells = map[string]string{"script": "CmdLine@2", "bash": "Bash@3", "pwsh": "PowerShell@2", "powershell": "PowerShell@2"}

// isManual reports whether a step asks a person to go on.
func isManual(s plan.Step) bool {
	if s.Use == nil {
		return false
	}
	name, _, _ := strings.Cut(s.Use.Ref, "@")
	return strings.EqualFold(name, "ManualValidation") || strings.EqualFold(name, "ManualIntervention")
}

// steps makes the steps of a job.
func (b *builder) steps(n *node) []plan.Step {
	list := slices.DeleteFunc(slices.Clone(items(n)), func(n *node) bool { return n.Kind != template.Mapping })
	if len(list) > maxSteps {
		b.report(list[maxSteps].Source, "limit", fmt.Sprintf("the job has more than %d steps", maxSteps), "split it")
		list = list[:maxSteps]
	}
	checkouts := 0
	for _, s := range list {
		if c := s.Get("checkout").String(); c != "" && c != "none" {
			checkouts++
		}
	}
	taken := map[string]bool{}
	for _, s := range list {
		name := s.Get("name")
		if name.IsNull() {
			continue
		}
		if lower := strings.ToLower(name.Text); taken[lower] {
			b.report(name.Source, "name", fmt.Sprintf("another step of the job has the name %s", plan.Clip(name.Text)), "names must differ in each job")
		} else {
			taken[lower] = true
		}
		if !expression.Identifier(name.Text) {
			b.report(name.Source, "name", fmt.Sprintf("%s cannot be the name of a step", plan.Clip(name.Text)), "names are made of letters, digits and _; use displayName for more")
		}
	}
	var out []plan.Step
	for i, s := range list {
		if step, ok := b.step(s, strconv.Itoa(i+1), taken, checkouts > 1); ok {
			out = append(out, step)
		}
	}
	return out
}

func (b *builder) step(n *node, key string, taken map[string]bool, many bool) (plan.Step, bool) {
	i := slices.IndexFunc(n.Fields, func(f template.Field) bool { return slices.Contains(kinds, f.Key.Text) })
	if i < 0 {
		return plan.Step{}, false // the grammar has spoken
	}
	kind, value := n.Fields[i].Key.Text, n.Fields[i].Value
	step := plan.Step{
		Key: key, ID: n.Get("name").String(), Name: n.Get("displayName").String(), Source: n.Source, If: b.condition(n),
		Timeout: expr(n.Get("timeoutInMinutes")), ContinueOnError: expr(n.Get("continueOnError")), Env: bindings(n.Get("env")), Data: map[string]any{},
	}
	if enabled := n.Get("enabled"); !enabled.IsNull() {
		if yes, ok := boolean(enabled.Text); ok && !yes {
			step.If = plan.Expr{Text: "false", Source: enabled.Source}
		}
	}
	if retry := n.Get("retryCountOnTaskFailure"); !retry.IsNull() {
		step.Data[dataRetry] = retry.Text
	}
	b.target(n.Get("target"), &step)
	ref := kind
	switch task, script := shells[kind]; {
	case script:
		ref = task
		step.Run = &plan.Script{Text: plan.Expr{Text: value.String(), Source: value.Source}, Shell: plan.Expr{Text: kind, Source: n.Fields[i].Key.Source}, Dir: expr(n.Get("workingDirectory"))}
		settings := map[string]any{}
		for _, f := range n.Fields {
			if f.Key.Text != kind && f.Value.Kind == template.Scalar && slices.Contains([]string{"failOnStderr", "errorActionPreference", "ignoreLASTEXITCODE"}, f.Key.Text) {
				settings[f.Key.Text] = f.Value.Text
			}
		}
		if len(settings) > 0 {
			step.Data[dataSettings] = settings
		}
		step.Name = cmp.Or(step.Name, firstLine(value.String()), kind)
	case kind == "task":
		ref = value.String()
		step.Use = &plan.Use{Ref: ref, With: bindings(n.Get("inputs")), Source: value.Source}
		if b.d.tasks.Lookup(ref) == nil && b.standIns[strings.ToLower(ref)] == nil {
			b.problems = append(b.problems, b.d.tasks.Unknown(ref, value.Source, plan.Warning))
		} else {
			b.connections(ref, n.Get("inputs"))
		}
		step.Name = cmp.Or(step.Name, ref)
	default:
		step.Use = &plan.Use{Ref: b.short(kind, &step, value, many), Source: value.Source}
		ref = step.Use.Ref
		for _, f := range n.Fields {
			if slices.Contains(stepKeys, f.Key.Text) || f.Value.Kind != template.Scalar {
				continue
			}
			step.Use.With = append(step.Use.With, plan.Binding{Name: f.Key.Text, Value: expr(f.Value)})
		}
		step.Name = cmp.Or(step.Name, strings.TrimSpace(kind+" "+value.String()))
	}
	if step.ID == "" {
		name, _, _ := strings.Cut(ref, "@")
		step.ID = name
		for k := 1; taken[strings.ToLower(step.ID)]; k++ {
			step.ID = name + strconv.Itoa(k)
		}
		taken[strings.ToLower(step.ID)] = true
	}
	if len(step.Data) == 0 {
		step.Data = nil
	}
	return step, true
}

// stepKeys are the keys that are no inputs of a step.
var stepKeys = []string{"name", "displayName", "condition", "continueOnError", "enabled", "env", "timeoutInMinutes", "retryCountOnTaskFailure", "target"}

// connectionInputs are inputs of tasks that name a service connection or a feed, by
// their lower-case names, and what each is.
var connectionInputs = map[string]string{
	"azuresubscription": "service connection", "connectedservicename": "service connection", "connectedservicenamearm": "service connection",
	"containerregistry": "service connection", "dockerregistryendpoint": "service connection", "dockerregistryconnection": "service connection",
	"azuresubscriptionendpoint": "service connection", "kubernetesserviceconnection": "service connection", "kubernetesserviceendpoint": "service connection",
	"sonarqubeserviceconnection": "service connection", "externalendpoint": "service connection", "externalendpoints": "service connection",
	"customendpoint": "service connection", "publishendpoint": "service connection", "nugetserviceconnections": "service connection", "mavenserviceconnections": "service connection",
	"customfeed": "feed", "publishfeed": "feed", "feedrestore": "feed", "vstsfeed": "feed", "feedpublish": "feed", "vstsfeedpublish": "feed", "artifactsfeeds": "feed", "mavenfeed": "feed",
}

// connections says of a built-in task what it would have from the server of Azure, and
// has not here.
func (b *builder) connections(ref string, inputs *node) {
	if inputs == nil || b.standIns[strings.ToLower(ref)] != nil {
		return
	}
	for _, f := range inputs.Fields {
		what := connectionInputs[strings.ToLower(f.Key.Text)]
		if what == "" || f.Value.String() == "" {
			continue
		}
		b.problems = append(b.problems, plan.Problem{Source: f.Value.Source, Severity: plan.Warning, Rule: "connection",
			Message: fmt.Sprintf("the %s %s is kept on the server of Azure: %s works with what this machine is logged in to", what, plan.Clip(f.Value.String()), ref),
			Hint:    fmt.Sprintf("give its credentials as secrets of the run, and say in fairlead.yaml what logs in with them: azure: tasks: {%s: \"a script for bash\"}", plan.Clip(ref))})
	}
}

// short is the task that a step is short for.
func (b *builder) short(kind string, step *plan.Step, value *node, many bool) string {
	switch kind {
	case "checkout":
		step.Data[dataCheckout] = value.String()
		if many {
			step.Data[dataMany] = true
		}
		if alias := value.String(); alias != "self" && alias != "none" && b.repos[alias] == nil && !strings.Contains(alias, "://") && !runtime(alias) {
			b.report(value.Source, "checkout", fmt.Sprintf("the repository %s is not named in resources:", plan.Clip(alias)), "add it to resources: repositories:, or write checkout: self")
		}
		return refCheckout
	case "publish":
		return refPublish
	case "download":
		return refDownload
	case "downloadBuild":
		return "DownloadBuildArtifacts@0"
	case "getPackage":
		return "DownloadPackage@1"
	case "reviewApp":
		return "ReviewApp@0"
	}
	return kind
}

// target says where a step runs, and what it may say.
func (b *builder) target(n *node, step *plan.Step) {
	if n.IsNull() {
		return
	}
	t := map[string]any{}
	if n.Kind == template.Scalar {
		t["container"] = n.Text
	} else {
		t["container"] = n.Get("container").String()
		t["commands"] = n.Get("commands").String()
		if s := n.Get("settableVariables"); s != nil {
			t["settable"] = plain(texts(s))
		}
	}
	step.Data[dataTarget] = t
}

// bindings are the entries of an env: or inputs:. What is no text is left to
// the task as it is written.
func bindings(n *node) []plan.Binding {
	if n == nil {
		return nil
	}
	var list []plan.Binding
	for _, f := range n.Fields {
		list = append(list, plan.Binding{Name: f.Key.Text, Value: plan.Expr{Text: f.Value.String(), Source: f.Value.Source}})
	}
	return list
}

// firstLine is how people see a script that has no name.
func firstLine(script string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(script), "\n")
	const most = 100
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return strings.TrimSpace(line)
}
