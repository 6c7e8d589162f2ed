package azure

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// variable is a variable of a run.
type variable struct {
	name     string
	value    string
	secret   bool // never in an environment of its own accord
	readonly bool
	runtime  *plan.Expr // the value is that of an expression, once somebody asks
}

// variables are those that one place sees, by lower-case name.
type variables struct {
	list map[string]*variable
	e    *evaluator
	busy map[string]bool // whose expressions are being evaluated
}

// How a step's settings tell variables from what is known of them: a name
// behind one of these signs says that of the variable.
const (
	secretSign   = "!"
	readonlySign = "="
)

// outputResult is the output by which a step says how it went, when its exit
// code does not.
const (
	outputResult = "#result"
	resultIssues = "SucceededWithIssues"
)

// variables are those that the place sees: what is stronger comes later.
func (e *evaluator) variables() *variables {
	if e.vars != nil {
		return e.vars
	}
	v := &variables{list: map[string]*variable{}, e: e, busy: map[string]bool{}}
	e.vars = v
	s := e.s
	if s.Context != nil {
		for _, m := range []map[string]string{s.Vars, s.Context.Env} {
			for name, value := range m {
				v.set(variable{name: name, value: value})
			}
		}
		for name, value := range s.Secrets {
			v.set(variable{name: name, value: value, secret: true})
		}
	}
	if token := "System.AccessToken"; v.list[strings.ToLower(token)] == nil {
		v.set(variable{name: token, secret: true}) // there is no service to be let into
	}
	if s.Job != nil {
		for _, b := range s.Job.Env {
			x := variable{name: b.Name, value: b.Value.Text}
			if strings.HasPrefix(strings.TrimSpace(x.value), "$[") {
				x.runtime = &b.Value
			}
			v.set(x)
		}
		cell, _ := s.Job.Values[valueCell].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(cell)) {
			text, _ := cell[name].(string)
			v.set(variable{name: name, value: text})
		}
		for _, name := range anyTexts(s.Job.Values[valueReadonly]) {
			if x := v.list[name]; x != nil {
				x.readonly = true
			}
		}
	}
	for name, value := range predefined(s) {
		if lower := strings.ToLower(name); lower != "system.debug" || v.list[lower] == nil { // the one that is anybody's to set
			v.list[lower] = &variable{name: name, value: value, readonly: true}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) { // signs come before letters
		switch value := s.Env[name]; {
		case strings.HasPrefix(name, secretSign), strings.HasPrefix(name, readonlySign):
		default:
			x := variable{name: name, value: value}
			_, x.secret = s.Env[secretSign+strings.ToLower(name)]
			_, x.readonly = s.Env[readonlySign+strings.ToLower(name)]
			if old := v.list[strings.ToLower(name)]; old != nil {
				x.secret = x.secret || old.secret
			}
			v.set(x)
		}
	}
	for id, o := range s.Steps {
		for name, value := range o.Outputs {
			if !strings.HasPrefix(name, "#") {
				v.set(variable{name: id + "." + name, value: value})
			}
		}
	}
	return v
}

func anyTexts(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (v *variables) set(x variable) { v.list[strings.ToLower(x.name)] = &x }

// get is the value of a variable, with its own macros left as they are.
func (v *variables) get(name string) (string, *variable) {
	lower := strings.ToLower(name)
	x := v.list[lower]
	if x == nil {
		return "", nil
	}
	if x.runtime != nil && !v.busy[lower] {
		v.busy[lower] = true
		value, err := v.e.value(*x.runtime)
		if err != nil {
			value = "" // whoever begins the job is told: see Setup
		}
		delete(v.busy, lower)
		x.value, x.runtime = expression.String(value), nil
		x.secret = x.secret || slices.ContainsFunc(told(v.e.s), func(secret string) bool { return len(secret) >= shortest && strings.Contains(x.value, secret) })
	}
	return x.value, x
}

// object is the context of the name variables: each is computed when it is
// asked for.
func (v *variables) object() *expression.Object {
	return &expression.Object{Look: func(name string) (any, bool) {
		if v.busy[strings.ToLower(name)] {
			return nil, false
		}
		value, x := v.get(name)
		if x == nil {
			return nil, false
		}
		return v.macros(value), true
	}}
}

// Limits of macros.
const (
	maxMacros = 50      // replaced inside one another
	maxFilled = 10_000  // replaced in one text, those inside one another counted
	maxValue  = 1 << 20 // bytes that a text may come to
)

// macros replaces the $(x) of a text by the variables' values, and theirs.
// What there is no variable for stays as it is.
func (v *variables) macros(text string) string {
	filled := 0
	return v.replace(text, &filled, nil)
}

// replace replaces the macros of a text that stands within others.
func (v *variables) replace(text string, filled *int, within []string) string {
	if len(within) > maxMacros || *filled > maxFilled || !strings.Contains(text, "$(") {
		return text
	}
	var b strings.Builder
	for {
		i := strings.Index(text, "$(")
		if i < 0 {
			break
		}
		end := strings.IndexByte(text[i:], ')')
		if end < 0 {
			break
		}
		if again := strings.LastIndex(text[i:i+end], "$("); again > 0 { // $(a $(b)
			b.WriteString(text[:i+again])
			text = text[i+again:]
			continue
		}
		name := text[i+2 : i+end]
		lower := strings.ToLower(name)
		b.WriteString(text[:i])
		value, x := v.get(name)
		switch {
		case x == nil || slices.Contains(within, lower):
			b.WriteString(text[i : i+end+1])
		case *filled > maxFilled, b.Len()+len(value) > maxValue:
			b.WriteString(text[i:])
			return b.String()
		default:
			*filled++
			b.WriteString(v.replace(value, filled, append(within[:len(within):len(within)], lower)))
		}
		text = text[i+end+1:]
	}
	b.WriteString(text)
	return b.String()
}

// variableName is the name of a variable in an environment.
func variableName(name string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r == ' ' || r == '.' {
			return '_'
		}
		return r
	}, name))
}

// environment is the environment of a step: all variables that are no
// secrets, and what its own env: says.
func (v *variables) environment() map[string]string {
	env := make(map[string]string, len(v.list))
	for lower, x := range v.list {
		if strings.ContainsAny(lower, "=\x00") || lower == "" {
			continue
		}
		value, _ := v.get(lower)
		if x.secret {
			continue
		}
		if value = v.macros(value); !strings.ContainsRune(value, 0) {
			env[variableName(x.name)] = value
		}
	}
	return env
}

// early are the variables that are known when a file is compiled.
func early(c *plan.Change, file string) *expression.Object {
	o := &expression.Object{}
	s := &plan.Scope{Context: &plan.Context{Change: c, Pipeline: &plan.Pipeline{File: file}}}
	known := predefined(s)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if _, late := lateVariables[name]; !late && known[name] != "" {
			o.Set(name, known[name])
		}
	}
	return o
}

// lateVariables are not known before a run begins.
var lateVariables = map[string]bool{
	"Build.BuildId": true, "Build.BuildNumber": true, "Build.BuildUri": true, "System.JobAttempt": true, "Agent.JobStatus": true, "Agent.OS": true, "Agent.OSArchitecture": true,
	"System.JobName": true, "System.JobDisplayName": true, "System.StageName": true, "System.StageDisplayName": true, "Agent.JobName": true, "System.StageAttempt": true, "System.PhaseName": true,
}

// reasons are the events in the language's words.
var reasons = map[string]string{"push": "IndividualCI", "pull_request": "PullRequest", "workflow_dispatch": "Manual", "schedule": "Schedule"}

// predefined are the variables that the service gives to every job, as far as
// they mean something here.
func predefined(s *plan.Scope) map[string]string {
	m := map[string]string{
		"System": "build", "TF_BUILD": "True", "System.Culture": "en-US", "System.HostType": "build", "System.EnableAccessToken": "SecretVariable",
		"Agent.Name": "fairlead", "Agent.MachineName": "fairlead", "Agent.Id": "1", "Agent.Version": "4.255.0",
	}
	if c := s.Context; c != nil {
		if c.Change != nil {
			changed(m, c.Change)
		}
		m["Build.BuildId"], m["System.JobAttempt"], m["System.StageAttempt"], m["System.PhaseAttempt"] = c.RunID, strconv.Itoa(max(c.Attempt, 1)), "1", "1"
		m["Build.BuildUri"] = "vstfs:///Build/Build/" + c.RunID
		if c.Pipeline != nil {
			m["Build.DefinitionName"], m["System.DefinitionName"] = definition(c.Pipeline), definition(c.Pipeline)
			m["Build.DefinitionVersion"], m["System.DefinitionId"] = "1", "1"
			m["Build.BuildNumber"] = buildNumber(s)
		}
		m["System.Debug"] = strconv.FormatBool(c.Debug)
	}
	if s.Job != nil {
		job, _ := s.Job.Values[valueJob].(string)
		stage, _ := s.Job.Values[valueStage].(string)
		m["System.JobName"], m["System.PhaseName"], m["System.JobDisplayName"], m["Agent.JobName"] = job, job, s.Job.Name, s.Job.Name
		m["System.StageName"], m["System.StageDisplayName"] = cmp.Or(stage, "__default"), cmp.Or(s.Job.Stage, stage, "__default")
		m["System.PhaseDisplayName"], m["System.JobId"] = s.Job.Name, s.Job.ID
		parts, _ := s.Job.Values[valueParts].(map[string]any)
		for key, name := range map[string]string{"environment": "Environment.Name", "resource": "Environment.ResourceName", "strategy": "strategy.name", "action": "strategy.action",
			"increment": "strategy.increment", "position": "System.JobPositionInPhase", "total": "System.TotalJobsInPhase"} {
			switch x := parts[key].(type) {
			case string:
				m[name] = x
			case float64:
				m[name] = strconv.Itoa(int(x))
			case int:
				m[name] = strconv.Itoa(x)
			}
		}
		if m["System.TotalJobsInPhase"] == "" {
			m["System.JobPositionInPhase"], m["System.TotalJobsInPhase"] = "1", "1"
		}
		if cell, ok := parts["cell"].(string); ok {
			m["System.JobName"] = cell
		}
	}
	if s.Job != nil {
		for name, service := range s.Job.Place.Services {
			for _, port := range service.Ports {
				if outside, inside, ok := strings.Cut(port, ":"); ok {
					inside, _, _ = strings.Cut(inside, "/")
					m["Agent.Services."+name+".Ports."+inside] = outside
				}
			}
		}
	}
	m["Agent.JobStatus"] = jobStatus(s)
	m["Agent.OS"] = cmp.Or(map[string]string{"Windows": "Windows_NT", "macOS": "Darwin"}[s.OS], "Linux")
	m["Agent.OSArchitecture"] = cmp.Or(s.Arch, "X64")
	places(m, s.Dirs)
	return m
}

// places are the directories of a job.
func places(m map[string]string, d plan.Dirs) {
	if d.Workspace == "" {
		return
	}
	work := workDir(d)
	m["Agent.TempDirectory"], m["Agent.ToolsDirectory"], m["Agent.HomeDirectory"] = d.Temp, d.Tools, filepath.Dir(d.Tools)
	m["Agent.WorkFolder"], m["System.WorkFolder"] = filepath.Dir(work), filepath.Dir(work)
	m["Pipeline.Workspace"], m["Agent.BuildDirectory"] = work, work
	m["Build.SourcesDirectory"], m["System.DefaultWorkingDirectory"], m["Build.Repository.LocalPath"] = d.Workspace, d.Workspace, d.Workspace
	m["Build.ArtifactStagingDirectory"], m["Build.StagingDirectory"], m["System.ArtifactsDirectory"] = filepath.Join(work, "a"), filepath.Join(work, "a"), filepath.Join(work, "a")
	m["Build.BinariesDirectory"], m["Common.TestResultsDirectory"] = filepath.Join(work, "b"), filepath.Join(work, "TestResults")
}

// workDir is where a job finds a, b and what it downloads. It is emptied for
// every job.
func workDir(d plan.Dirs) string { return filepath.Join(d.Temp, "work", "1") }

// changed is what is known of the change.
func changed(m map[string]string, c *plan.Change) {
	name := strings.TrimPrefix(strings.TrimPrefix(c.Ref, "refs/heads/"), "refs/tags/")
	reason := cmp.Or(reasons[c.Event], "Manual")
	m["Build.Reason"] = reason
	m["Build.SourceBranch"], m["Build.SourceBranchName"], m["Build.SourceVersion"] = c.Ref, path.Base(name), c.SHA
	m["Build.Repository.Name"], m["Build.Repository.ID"] = c.Repository, c.Repository
	m["Build.Repository.Uri"] = strings.TrimSuffix(c.Server, "/") + "/" + c.Repository
	m["Build.Repository.Provider"] = "TfsGit"
	if strings.Contains(c.Server, "github") {
		m["Build.Repository.Provider"] = "GitHub"
	}
	m["Build.RequestedFor"], m["Build.QueuedBy"], m["Build.SourceVersionAuthor"] = c.Actor, c.Actor, c.Actor
	m["Build.Repository.Clean"], m["Build.Repository.Git.SubmoduleCheckout"] = "False", "False"
	owner, _, _ := strings.Cut(c.Repository, "/")
	m["System.TeamProject"], m["System.CollectionUri"], m["System.TeamFoundationCollectionUri"] = owner, strings.TrimSuffix(c.Server, "/")+"/", strings.TrimSuffix(c.Server, "/")+"/"
	if reason == "PullRequest" {
		m["System.PullRequest.SourceBranch"], m["System.PullRequest.TargetBranch"] = branch(c.HeadRef), branch(c.BaseRef)
		m["System.PullRequest.TargetBranchName"] = strings.TrimPrefix(c.BaseRef, "refs/heads/")
		m["System.PullRequest.SourceRepositoryURI"], m["System.PullRequest.SourceCommitId"] = m["Build.Repository.Uri"], c.SHA
		m["System.PullRequest.IsFork"] = "False"
		if rest, ok := strings.CutPrefix(c.Ref, "refs/pull/"); ok {
			number, _, _ := strings.Cut(rest, "/")
			m["System.PullRequest.PullRequestId"], m["System.PullRequest.PullRequestNumber"] = number, number
		}
	}
}

func branch(name string) string {
	if name == "" || strings.HasPrefix(name, "refs/") {
		return name
	}
	return "refs/heads/" + name
}

// definition is the pipeline's name: what its file is called, without its
// ending.
func definition(p *plan.Pipeline) string {
	base := path.Base(cmp.Or(p.File, p.Name))
	return strings.TrimSuffix(base, path.Ext(base))
}

// jobStatus is how the job went so far.
func jobStatus(s *plan.Scope) string {
	switch {
	case s.Status == plan.Cancelled:
		return "Canceled"
	case s.Status.Bad():
		return "Failed"
	case issues(s):
		return "SucceededWithIssues"
	}
	return "Succeeded"
}

// buildNumber is the run's name, which all its jobs know.
func buildNumber(s *plan.Scope) string {
	name := ""
	if s.Context != nil && s.Pipeline != nil {
		name, _ = strings.CutPrefix(s.Pipeline.RunName.Text, runNamePrefix)
	}
	return number(name, s, map[string]string{})
}

// runName is the name of a run: its name:, or the date and how often it ran.
func (e *evaluator) runName(format string) (string, error) {
	m := map[string]string{}
	if e.s.Context != nil && e.s.Change != nil {
		changed(m, e.s.Change)
		if e.s.Pipeline != nil {
			m["Build.DefinitionName"] = definition(e.s.Pipeline)
			for _, j := range e.s.Pipeline.Jobs[:min(len(e.s.Pipeline.Jobs), 1)] { // the pipeline's own variables are in each
				for _, b := range j.Env {
					m[b.Name] = b.Value.Text
				}
			}
		}
		maps.Copy(m, e.s.Vars)
	}
	return number(format, e.s, m), nil
}

var token = regexp.MustCompile(`\$\(([^()]*)\)`)

// digits are those of a number in the layout of $(Rev:.rr).
var digits = regexp.MustCompile(`[rR]+`)

// usualName is the name of a run that its pipeline gives none.
const usualName = "$(Date:yyyyMMdd)." + revision

// number fills the tokens of a run's name. The date is that of the beginning,
// when it is known.
func number(format string, s *plan.Scope, known map[string]string) string {
	at := s.Started
	run := 1
	id := ""
	if s.Context != nil {
		run, id = max(s.Number, 1), s.RunID
		if c := s.Counted; c != nil { // all jobs have the same name, whenever they begin
			at, run = c.At, cmp.Or(c.Numbers[revision], run)
		}
		if s.Change != nil {
			changed(known, s.Change)
		}
		if s.Pipeline != nil {
			known["Build.DefinitionName"] = definition(s.Pipeline)
		}
	}
	if at.IsZero() {
		at = time.Now()
	}
	return token.ReplaceAllStringFunc(cmp.Or(format, usualName), func(t string) string {
		name, layout, _ := strings.Cut(t[2:len(t)-1], ":")
		switch strings.ToLower(name) {
		case "date":
			return expression.Lay(at, cmp.Or(layout, "yyyyMMdd"))
		case "year":
			return expression.Lay(at, cmp.Or(layout, "yyyy"))
		case "month":
			return strconv.Itoa(int(at.Month()))
		case "dayofmonth":
			return strconv.Itoa(at.Day())
		case "dayofyear":
			return strconv.Itoa(at.YearDay())
		case "hours":
			return at.Format("15")
		case "minutes":
			return at.Format("04")
		case "seconds":
			return at.Format("05")
		case "rev":
			return digits.ReplaceAllStringFunc(cmp.Or(layout, "r"), func(r string) string { return fmt.Sprintf("%0*d", len(r), run) })
		case "builddefinitionname":
			return known["Build.DefinitionName"]
		case "sourcebranchname":
			return known["Build.SourceBranchName"]
		case "teamproject":
			return known["System.TeamProject"]
		case "buildid", "build.buildid":
			return id
		}
		for k, v := range known {
			if strings.EqualFold(k, name) {
				return v
			}
		}
		return t
	})
}
