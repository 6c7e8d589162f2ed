package gitlab

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// environment is a job's variables while it runs, every one expanded.
type environment struct {
	*expander
	names []string // sorted
	files []plan.File
	masks []string
}

// volatile are the variables that tell one run from another: a script that
// does not use them does the same in each.
var volatile = []string{
	"CI_PIPELINE_ID", "CI_PIPELINE_IID", "CI_PIPELINE_URL", "CI_PIPELINE_SOURCE", "CI_PIPELINE_CREATED_AT",
	"CI_JOB_ID", "CI_JOB_URL", "CI_JOB_TOKEN", "CI_JOB_STARTED_AT", "CI_BUILD_ID", "CI_BUILD_TOKEN", "CI_JOB_MANUAL", "CI_REGISTRY_PASSWORD",
	"CI_COMMIT_SHA", "CI_COMMIT_SHORT_SHA", "CI_COMMIT_BEFORE_SHA", "CI_COMMIT_REF_NAME", "CI_COMMIT_REF_SLUG", "CI_COMMIT_REF_PROTECTED",
	"CI_COMMIT_BRANCH", "CI_COMMIT_TAG", "CI_COMMIT_MESSAGE", "CI_COMMIT_TITLE", "CI_COMMIT_DESCRIPTION", "CI_COMMIT_AUTHOR", "CI_COMMIT_TIMESTAMP",
	"CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_ID", "CI_MERGE_REQUEST_REF_PATH", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_MERGE_REQUEST_TITLE",
	"CI_MERGE_REQUEST_DESCRIPTION", "CI_MERGE_REQUEST_LABELS", "CI_MERGE_REQUEST_DIFF_BASE_SHA", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
	"CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED", "CI_MERGE_REQUEST_DRAFT", "CI_MERGE_REQUEST_EVENT_TYPE",
	"GITLAB_USER_LOGIN", "GITLAB_USER_NAME", "GITLAB_USER_ID",
}

// variablesDir is where, below the temporary directory, the files of
// file-type variables lie.
const variablesDir = "variables"

// environmentOf makes the variables of a job, the weakest first
// (docs.gitlab.com/ci/variables, "CI/CD variable precedence"): predefined ones
// and the command line's, the files', dotenv reports of other jobs, those of
// the project, its secrets, and what was given for this pipeline.
func environmentOf(s *plan.Scope, spec *jobSpec, about commit) (*environment, error) {
	e := &environment{}
	list := predefined(s.Change, about)
	list = append(list, e.ofJob(s, spec)...)
	list = append(list, texts(s.Context.Env, false)...)
	list = append(list, spec.Variables...)
	reports, err := dotenvOf(s, spec)
	if err != nil {
		return nil, err
	}
	list = append(list, reports...)
	list = append(list, texts(s.Vars, false)...)
	list = append(list, texts(s.Secrets, true)...)
	for _, name := range slices.Sorted(maps.Keys(s.Context.Inputs)) {
		if text, ok := s.Context.Inputs[name].(string); ok {
			list = append(list, variable{Name: name, Value: text})
		}
	}
	list = append(list, secretsOf(s, spec)...)
	list = append(list, e.deployment(list, spec)...)

	for i := range list {
		v := &list[i]
		if v.File && !later(list[i+1:], v.Name) {
			// A reference to it is to the path.
			file := filepath.Join(s.Dirs.Temp, variablesDir, v.Name)
			body := v.Value
			if !v.Raw {
				body = newExpander(list).expand(body)
			}
			e.files = append(e.files, plan.File{Path: file, Mode: 0o600, Body: []byte(body)})
			*v = variable{Name: v.Name, Value: file, Raw: true}
		}
	}
	e.expander = newExpander(list)
	e.names = slices.Sorted(maps.Keys(e.known))
	return e, nil
}

// later reports whether the list has a variable of that name.
func later(list []variable, name string) bool {
	return slices.ContainsFunc(list, func(v variable) bool { return v.Name == name })
}

// texts are the variables of a map, in the order of their names.
func texts(m map[string]string, raw bool) []variable {
	list := make([]variable, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, variable{Name: name, Value: m[name], Raw: raw})
	}
	return list
}

// all is every variable, as a process gets them.
func (e *environment) all() map[string]string {
	env := make(map[string]string, len(e.names)+1)
	for _, name := range e.names {
		if !strings.ContainsAny(name, "=\x00") && name != "" {
			value, _ := e.get(name)
			env[name] = strings.ReplaceAll(value, "\x00", "")
		}
	}
	return env
}

// text is the value of a variable, "" when it is not set.
func (e *environment) text(name string) string {
	value, _ := e.get(name)
	return value
}

// ofJob are the variables that GitLab defines for a job, on top of those of
// its pipeline.
func (e *environment) ofJob(s *plan.Scope, spec *jobSpec) []variable {
	var list []variable
	set := func(name, value string) {
		if value != "" {
			list = append(list, variable{Name: name, Value: value, Raw: true})
		}
	}
	c := s.Change
	project := c.Server + "/" + c.Repository
	set("CI_PIPELINE_ID", s.RunID)
	set("CI_PIPELINE_IID", strconv.Itoa(s.Number))
	set("CI_PIPELINE_URL", project+"/-/pipelines/"+s.RunID)
	if spec.Pipeline != "" {
		set("CI_PIPELINE_SOURCE", "parent_pipeline")
	}
	id := number("job", s.RunID, spec.ID)
	token := jobToken(s, spec)
	e.masks = append(e.masks, token)
	set("CI_JOB_ID", id)
	set("CI_JOB_NAME", spec.Name)
	set("CI_JOB_NAME_SLUG", slug(spec.Name))
	set("CI_JOB_STAGE", spec.Stage)
	set("CI_JOB_GROUP_NAME", cmp.Or(spec.Group, spec.Name))
	set("CI_JOB_URL", project+"/-/jobs/"+id)
	set("CI_JOB_TOKEN", token)
	if s.Job != nil && s.Job.Timeout > 0 {
		set("CI_JOB_TIMEOUT", strconv.Itoa(int(s.Job.Timeout.Seconds())))
	}
	if spec.When == "manual" {
		set("CI_JOB_MANUAL", "true")
	}
	set("CI_NODE_TOTAL", strconv.Itoa(max(spec.Total, 1)))
	if spec.Index > 0 {
		set("CI_NODE_INDEX", strconv.Itoa(spec.Index))
	}
	if spec.Image != nil && s.Job != nil && s.Job.Place.Container != nil {
		set("CI_JOB_IMAGE", s.Job.Place.Container.Image)
		set("CI_DISPOSABLE_ENVIRONMENT", "true")
	} else {
		set("CI_SHARED_ENVIRONMENT", "true")
	}
	set("CI_PROJECT_DIR", s.Dirs.Workspace)
	set("CI_BUILDS_DIR", filepath.Dir(s.Dirs.Workspace))
	set("CI_CONCURRENT_ID", "0")
	set("CI_CONCURRENT_PROJECT_ID", "0")
	set("CI_RUNNER_ID", "1")
	set("CI_RUNNER_DESCRIPTION", "fairlead")
	set("CI_RUNNER_SHORT_TOKEN", "fairlead")
	set("CI_RUNNER_VERSION", serverMajor+"."+serverMinor+".0")
	set("CI_RUNNER_REVISION", "fairlead")
	set("CI_RUNNER_EXECUTABLE_ARCH", runtime.GOOS+"/"+runtime.GOARCH)
	if tags, err := json.Marshal(slices.Concat([]string{}, spec.Tags)); err == nil {
		set("CI_RUNNER_TAGS", string(tags))
	}
	return list
}

// jobToken stands for the token that GitLab gives a job. It opens nothing.
func jobToken(s *plan.Scope, spec *jobSpec) string {
	sum := sha256.Sum256([]byte("job token\x00" + s.RunID + "\x00" + spec.ID))
	return "glcbt-" + hex.EncodeToString(sum[:10])
}

// deployment are the variables of the job's environment, whose name and
// address may hold others.
func (e *environment) deployment(list []variable, spec *jobSpec) []variable {
	if spec.Environment == nil {
		return nil
	}
	x := newExpander(list)
	name := x.expand(spec.Environment.Name)
	out := []variable{
		{Name: "CI_ENVIRONMENT_NAME", Value: name, Raw: true},
		{Name: "CI_ENVIRONMENT_SLUG", Value: environmentSlug(name), Raw: true},
		{Name: "CI_ENVIRONMENT_ACTION", Value: cmp.Or(spec.Environment.Action, "start"), Raw: true},
		{Name: "CI_ENVIRONMENT_TIER", Value: cmp.Or(spec.Environment.Tier, tierOf(name)), Raw: true},
		{Name: "CI_ENVIRONMENT_ID", Value: number("environment", name), Raw: true},
	}
	if spec.Environment.URL != "" {
		x = newExpander(slices.Concat(list, out))
		out = append(out, variable{Name: "CI_ENVIRONMENT_URL", Value: x.expand(spec.Environment.URL), Raw: true})
	}
	return out
}

// environmentSlug is a name for hosts: at most 24 bytes, beginning with a
// letter; a name that does not come through unchanged gets a tail of its own.
func environmentSlug(name string) string {
	const longest, tail = 24, 6
	s := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	s = notSlug.ReplaceAllString(s, "-")
	s = strings.Trim(s, "-")
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		s = "env-" + s
	}
	if s == name && len(s) <= longest {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	s = strings.TrimRight(s[:min(len(s), longest-tail-1)], "-")
	return s + "-" + hex.EncodeToString(sum[:tail/2])
}

// tiers are words that tell the tier of an environment by its name
// (docs.gitlab.com/ci/environments, "Deployment tier of environments").
var tiers = []struct {
	tier  string
	words []string
}{
	{"development", []string{"dev", "review", "trunk"}},
	{"testing", []string{"test", "tst", "int", "ac", "acceptance", "qa", "quality", "control"}},
	{"staging", []string{"stg", "stag", "mdl", "model", "pre", "demo", "non"}},
	{"production", []string{"prod", "live"}},
}

func tierOf(name string) string {
	first, _, _ := strings.Cut(strings.ToLower(name), "/")
	for _, t := range tiers {
		for _, w := range t.words {
			if strings.HasPrefix(first, w) || strings.HasSuffix(first, "-"+w) {
				return t.tier
			}
		}
	}
	return "other"
}

// outcomeOf is how a job ended that this one needs.
func outcomeOf(s *plan.Scope, id string) (plan.Outcome, bool) {
	o, ok := s.Needs[path.Base(id)]
	return o, ok
}

// dotenvOf are the variables that needed jobs have left in dotenv reports, in
// the order in which the reports are laid over one another.
func dotenvOf(s *plan.Scope, spec *jobSpec) ([]variable, error) {
	var list []variable
	for _, d := range spec.Downloads {
		o, ok := outcomeOf(s, d.Job)
		if !ok || o.Outputs[outputDotenv] == "" {
			continue
		}
		var report map[string]string
		if err := json.Unmarshal([]byte(o.Outputs[outputDotenv]), &report); err != nil {
			return nil, fmt.Errorf("gitlab: read the dotenv variables of job %s: %w", d.Job, err)
		}
		list = append(list, texts(report, false)...)
	}
	return list, nil
}

// secretsOf are those of secrets: that the run was given, by the name of the
// variable they are to be in.
func secretsOf(s *plan.Scope, spec *jobSpec) []variable {
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(spec.Secrets)) {
		if value, ok := s.Secrets[name]; ok {
			list = append(list, variable{Name: name, Value: value, Raw: true, File: spec.Secrets[name].File})
		}
	}
	return list
}
