package gitlab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// environment is a job's variables while it runs, every one expanded.
type environment struct {
	variables
	files []plan.File // of file-type variables
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
	"GITLAB_USER_LOGIN", "GITLAB_USER_NAME", "GITLAB_USER_ID", "GITLAB_USER_EMAIL", "CI_OPEN_MERGE_REQUESTS", "CI_PIPELINE_TRIGGERED",
}

// maxMessage is how much of a commit's message a job gets, in bytes.
const maxMessage = 100 << 10

// variablesDir is where, below the temporary directory, the files of
// file-type variables lie.
const variablesDir = "variables"

// environmentOf makes the variables of a job: layer upon layer, as variables.go
// has them.
func environmentOf(s *plan.Scope, spec *jobSpec, about []variable) (*environment, error) {
	e := &environment{}
	reports, err := dotenvOf(s, spec)
	if err != nil {
		return nil, err
	}
	file := Files
	if s.Pipeline != nil {
		file = s.Pipeline.File
	}
	list := layers(predefined(s.Change, file), about, e.ofJob(s, spec), texts(s.Context.Env, false),
		spec.Variables, reports, spec.Project, texts(s.Vars, false), texts(s.Secrets, true), given(s), secretsOf(s, spec))
	list = layers(list, deployment(list, spec))

	var files []variable
	for i, v := range list {
		if v.File { // a reference to it is to its path
			files = append(files, v)
			list[i] = variable{Name: v.Name, Value: filepath.Join(s.Dirs.Temp, variablesDir, v.Name), Raw: true}
		}
	}
	e.variables = expandVariables(list, false)
	for _, v := range files {
		body := v.Value
		if !v.Raw {
			body = e.variables.text(body)
		}
		e.files = append(e.files, plan.File{Path: e.value(v.Name), Mode: 0o600, Body: []byte(body)})
	}
	return e, nil
}

// given are the variables that a person gave for this run.
func given(s *plan.Scope) []variable {
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(s.Context.Inputs)) {
		if text, ok := s.Context.Inputs[name].(string); ok {
			list = append(list, variable{Name: name, Value: text})
		}
	}
	return list
}

// texts are the variables of a map, in the order of their names.
func texts(m map[string]string, raw bool) []variable {
	list := make([]variable, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, variable{Name: name, Value: m[name], Raw: raw})
	}
	return list
}

// process is every variable, as a process gets them.
func (e *environment) process() map[string]string {
	env := make(map[string]string, len(e.list)+1)
	for _, v := range e.list {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") {
			continue
		}
		value := v.Value
		if !v.Raw {
			value = dollars(value)
		}
		env[v.Name] = strings.ReplaceAll(value, "\x00", "")
	}
	// The kernel takes no variable of any length.
	for _, name := range []string{"CI_COMMIT_MESSAGE", "CI_COMMIT_DESCRIPTION"} {
		if text, ok := env[name]; ok && len(text) > maxMessage {
			env[name] = strings.ToValidUTF8(text[:maxMessage], "")
			env["CI_COMMIT_MESSAGE_IS_TRUNCATED"] = "true"
		}
	}
	return env
}

// value is what a variable holds, "" when it is not set.
func (e *environment) value(name string) string {
	i, ok := e.index[name]
	switch {
	case !ok:
		return ""
	case e.list[i].Raw:
		return e.list[i].Value
	}
	return dollars(e.list[i].Value)
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
	if !s.Started.IsZero() {
		set("CI_JOB_STARTED_AT", s.Started.UTC().Format(time.RFC3339))
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
	set("CI_RUNNER_VERSION", gitlabVersion)
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
func deployment(list []variable, spec *jobSpec) []variable {
	if spec.Environment == nil {
		return nil
	}
	v := expandVariables(list, false)
	name := v.text(spec.Environment.Name)
	out := []variable{
		{Name: "CI_ENVIRONMENT_NAME", Value: name, Raw: true},
		{Name: "CI_ENVIRONMENT_SLUG", Value: environmentSlug(name), Raw: true},
		{Name: "CI_ENVIRONMENT_ACTION", Value: cmp.Or(spec.Environment.Action, "start"), Raw: true},
		{Name: "CI_ENVIRONMENT_TIER", Value: cmp.Or(spec.Environment.Tier, tierOf(name)), Raw: true},
		{Name: "CI_ENVIRONMENT_ID", Value: number("environment", name), Raw: true},
	}
	if spec.Environment.URL != "" {
		v = expandVariables(layers(list, out), false)
		out = append(out, variable{Name: "CI_ENVIRONMENT_URL", Value: v.text(spec.Environment.URL), Raw: true})
	}
	return out
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

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
	o, ok := needsOf(s)[path.Base(id)]
	return o, ok
}

// dotenvOf are the variables that needed jobs have left in dotenv reports, in
// the order in which the reports are laid over one another.
func dotenvOf(s *plan.Scope, spec *jobSpec) ([]variable, error) {
	var list []variable
	for _, d := range spec.Downloads {
		o, ok := outcomeOf(s, d.Job)
		if !ok || d.Project != "" || o.Outputs[outputDotenv] == "" {
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
// variable they are to be in, and those of id_tokens:.
func secretsOf(s *plan.Scope, spec *jobSpec) []variable {
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(spec.Secrets)) {
		if value, ok := s.Secrets[name]; ok {
			list = append(list, variable{Name: name, Value: value, Raw: true, File: spec.Secrets[name].File})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.IDTokens)) {
		list = append(list, variable{Name: name, Value: s.Secrets[name], Raw: true})
	}
	return list
}

// number is a number for what has none here: the same for the same names, and
// hardly ever that of others.
func number(names ...string) string {
	h := fnv.New32a()
	for _, name := range names {
		h.Write([]byte(name + "\x00"))
	}
	return strconv.FormatUint(uint64(h.Sum32())|1, 10)
}

// commits remembers what commits tell of themselves: all jobs of a run ask for
// the same one, and to read it may take a process of git.
type commits struct {
	mu    sync.Mutex
	known map[[2]string][]variable // by directory and name
}

// maxCommits is how many are remembered.
const maxCommits = 64

// of are the variables that the commit itself tells, for a change whose event
// does not. There are none for a tree without git.
func (k *commits) of(ctx context.Context, s *plan.Scope) []variable {
	if len(commit(s.Change)) > 0 || s.Root == "" {
		return nil
	}
	key := [2]string{s.Root, s.Change.SHA}
	k.mu.Lock()
	defer k.mu.Unlock()
	list, ok := k.known[key]
	if !ok {
		if list = readCommit(ctx, s.Root, s.Change.SHA); ctx.Err() != nil {
			return nil
		}
		if k.known == nil || len(k.known) >= maxCommits {
			k.known = map[[2]string][]variable{}
		}
		k.known[key] = list
	}
	return list
}

func readCommit(ctx context.Context, dir, sha string) []variable {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return nil // it is gone, and with it what it could tell
	}
	defer tree.Close()
	c, err := tree.Commit(ctx, sha)
	if err != nil {
		return nil
	}
	title, rest, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return []variable{
		{Name: "CI_COMMIT_MESSAGE", Value: c.Message, Raw: true},
		{Name: "CI_COMMIT_TITLE", Value: title, Raw: true},
		{Name: "CI_COMMIT_DESCRIPTION", Value: strings.TrimLeft(rest, "\n"), Raw: true},
		{Name: "CI_COMMIT_TIMESTAMP", Value: c.Committer.When.Format(time.RFC3339), Raw: true},
		{Name: "CI_COMMIT_AUTHOR", Value: c.Author.Name + " <" + c.Author.Email + ">", Raw: true},
		{Name: "GITLAB_USER_EMAIL", Value: c.Author.Email, Raw: true},
	}
}
