package gitlab

import (
	"encoding/json"
	"fmt"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What a plan.Job of this dialect carries in its Values.
const (
	valueJob  = "job"  // a jobSpec, see specOf
	valueGate = "gate" // what its condition hangs on, see gate
	// valueNeeds are the outcomes that the job a deferred one became takes over
	// from it, see needsOf.
	valueNeeds = "needs"
)

// jobSpec is what a compiled job carries for whoever runs it: every key of
// the language that matters then, with extends, default and inherit applied,
// nested lists of commands flattened, and nothing expanded that is expanded
// at run time. It is stored JSON-like in plan.Job.Values.
type jobSpec struct {
	// ID is that of the job in the plan, also when the plan.Job that runs is
	// the one part of a deferred one. Artifacts are kept under it.
	ID    string `json:"id"`
	Name  string `json:"name"` // CI_JOB_NAME: "test 2/3"
	Stage string `json:"stage"`
	// Pipeline is the ID of the trigger job that a child pipeline belongs to,
	// "" for the pipeline that was started.
	Pipeline string `json:"pipeline,omitempty"`

	BeforeScript []string `json:"before_script,omitempty"`
	Script       []string `json:"script,omitempty"`
	AfterScript  []string `json:"after_script,omitempty"`
	// PreGetSources is hooks:pre_get_sources_script.
	PreGetSources []string `json:"pre_get_sources,omitempty"`

	Image    *imageSpec  `json:"image,omitempty"`
	Services []imageSpec `json:"services,omitempty"`
	Tags     []string    `json:"tags,omitempty"`

	// Variables are those of the files for this job, weakest first, each name
	// once: global ones as far as inherited, the job's, the rule's, its matrix
	// cell's.
	Variables []variable `json:"variables,omitempty"`

	// Project are the variables of the project, which go before those of the
	// files.
	Project []variable `json:"project,omitempty"`
	// OnHost says that image and services are ignored (fairlead.yaml).
	OnHost bool `json:"on_host,omitempty"`

	Cache     []cacheSpec    `json:"cache,omitempty"`
	Artifacts *artifactsSpec `json:"artifacts,omitempty"`
	// Downloads are the jobs whose artifacts and dotenv variables this one
	// gets, in the order in which they are laid over one another.
	Downloads []download `json:"downloads,omitempty"`

	When         string   `json:"when"` // on_success, on_failure, always, manual, delayed
	Manual       string   `json:"manual_confirmation,omitempty"`
	AllowFailure bool     `json:"allow_failure,omitempty"`
	Coverage     string   `json:"coverage,omitempty"` // regular expression, without its slashes
	Index        int      `json:"index,omitempty"`    // CI_NODE_INDEX, from 1; 0: not parallel
	Total        int      `json:"total,omitempty"`    // CI_NODE_TOTAL
	Group        string   `json:"group,omitempty"`    // CI_JOB_GROUP_NAME: the name without " 2/3"
	ResourceName string   `json:"resource_group,omitempty"`
	Pages        *pages   `json:"pages,omitempty"`
	Release      *release `json:"release,omitempty"`

	Environment *environmentSpec       `json:"environment,omitempty"`
	Secrets     map[string]secretSpec  `json:"secrets,omitempty"`
	IDTokens    map[string]idTokenSpec `json:"id_tokens,omitempty"`

	Source plan.Source `json:"source"`
}

// variable is a CI/CD variable.
type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Raw says that references in the value are left alone (expand: false).
	Raw bool `json:"raw,omitempty"`
	// File says that the value is written to a file, whose path the job gets.
	File bool `json:"file,omitempty"`
}

// imageSpec is image: or an entry of services:.
type imageSpec struct {
	Name       string     `json:"name"`
	Alias      string     `json:"alias,omitempty"` // several are separated by commas or spaces
	Entrypoint []string   `json:"entrypoint,omitempty"`
	Command    []string   `json:"command,omitempty"`
	User       string     `json:"user,omitempty"`     // docker:user
	Platform   string     `json:"platform,omitempty"` // docker:platform
	Pull       []string   `json:"pull_policy,omitempty"`
	Variables  []variable `json:"variables,omitempty"` // of a service

	Source plan.Source `json:"source"`
}

// cacheSpec is one entry of cache:.
type cacheSpec struct {
	Key       string   `json:"key,omitempty"`       // "" when KeyFiles is given, else "default" if not said
	KeyFiles  []string `json:"key_files,omitempty"` // cache:key:files, or files_commits
	Commits   bool     `json:"commits,omitempty"`   // the key is made of the commits that last changed KeyFiles
	Prefix    string   `json:"prefix,omitempty"`    // cache:key:prefix
	Paths     []string `json:"paths,omitempty"`
	Untracked bool     `json:"untracked,omitempty"`
	When      string   `json:"when"`   // on_success, on_failure, always
	Policy    string   `json:"policy"` // pull-push, pull, push; may hold a variable
	Fallback  []string `json:"fallback_keys,omitempty"`
	Unprotect bool     `json:"unprotect,omitempty"`

	Source plan.Source `json:"source"`
}

// artifactsSpec is artifacts:.
type artifactsSpec struct {
	Name      string   `json:"name,omitempty"`
	Paths     []string `json:"paths,omitempty"`
	Exclude   []string `json:"exclude,omitempty"`
	Untracked bool     `json:"untracked,omitempty"`
	When      string   `json:"when"` // on_success, on_failure, always
	ExpireIn  string   `json:"expire_in,omitempty"`
	ExposeAs  string   `json:"expose_as,omitempty"`
	Public    *bool    `json:"public,omitempty"`
	Access    string   `json:"access,omitempty"`
	// Reports are the paths or globs by the kind of report: junit, dotenv …
	Reports map[string][]string `json:"reports,omitempty"`
	// Coverage is reports:coverage_report.
	CoverageFormat string `json:"coverage_format,omitempty"` // cobertura, jacoco
	CoveragePath   string `json:"coverage_path,omitempty"`

	Source plan.Source `json:"source"`
}

// download is a job whose artifacts and dotenv variables another one gets.
type download struct {
	Job  string `json:"job"`  // the ID in the plan
	Name string `json:"name"` // for people
	// Required says that it was named: artifacts that are not there fail the job.
	Required bool `json:"required,omitempty"`
	// Project is another project that the job is of, and Ref the branch or tag there;
	// both may hold variables, and so may Job then. "" for this pipeline's.
	Project string      `json:"project,omitempty"`
	Ref     string      `json:"ref,omitempty"`
	Source  plan.Source `json:"source,omitzero"`
}

// environmentSpec is environment:. Name and the rest may hold variables.
type environmentSpec struct {
	Name       string `json:"name"`
	URL        string `json:"url,omitempty"`
	Action     string `json:"action,omitempty"` // start (default), prepare, stop, verify, access
	OnStop     string `json:"on_stop,omitempty"`
	AutoStopIn string `json:"auto_stop_in,omitempty"`
	Tier       string `json:"deployment_tier,omitempty"`

	Source plan.Source `json:"source"`
}

// release is release:. Its texts may hold variables.
type release struct {
	TagName     string   `json:"tag_name"`
	TagMessage  string   `json:"tag_message,omitempty"`
	Name        string   `json:"name,omitempty"`
	Description string   `json:"description,omitempty"` // or the path of a file that holds it
	Ref         string   `json:"ref,omitempty"`
	Milestones  []string `json:"milestones,omitempty"`
	ReleasedAt  string   `json:"released_at,omitempty"`
	Links       []link   `json:"links,omitempty"`

	Source plan.Source `json:"source"`
}

// link is one of release:assets:links.
type link struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Filepath string `json:"filepath,omitempty"`
	Type     string `json:"link_type,omitempty"`
}

// pages is pages:, or the job of that name.
type pages struct {
	Publish    string `json:"publish"` // directory; "public" when nothing was said
	PathPrefix string `json:"path_prefix,omitempty"`
	ExpireIn   string `json:"expire_in,omitempty"`
}

// secretSpec is one of secrets:, which an outside keeper holds.
type secretSpec struct {
	Provider string      `json:"provider"` // vault, azure_key_vault, gcp_secret_manager, aws_secrets_manager, akeyless, gitlab_secrets_manager
	Name     string      `json:"name,omitempty"`
	File     bool        `json:"file"` // default true
	Token    string      `json:"token,omitempty"`
	Source   plan.Source `json:"source"`
}

// idTokenSpec is one of id_tokens:.
type idTokenSpec struct {
	Audience []string    `json:"aud"`
	Source   plan.Source `json:"source"`
}

// The steps of a job, by plan.Step.ID and, for those that are no script, by
// plan.Use.Ref.
const (
	stepHook     = "pre_get_sources"    // Run, hooks:pre_get_sources_script
	stepRestore  = "cache"              // Use: restores the caches
	stepDownload = "artifacts:download" // Use: Downloads
	stepScript   = "script"             // Run: before_script and script, one shell
	stepRelease  = "release"            // Use
	stepAfter    = "after_script"       // Run: a shell of its own
	stepSave     = "cache:save"         // Use
	stepUpload   = "artifacts:upload"   // Use: artifacts and reports; its outputs are the dotenv variables
)

// The conditions of steps: what Dialect.Eval reads of Scope.Status.
const (
	ifSuccess = "on_success"
	ifFailure = "on_failure" // not when the job was cancelled
	ifAlways  = "always"     // not when the job was cancelled
	ifEver    = "ever"       // even then
)

// outputDotenv is the one output of a job: the variables of its dotenv report,
// a JSON object of strings. They are those of Scope.Steps[stepUpload].Outputs.
const outputDotenv = "dotenv"

// encode is the spec as plans hold it.
func (s *jobSpec) encode() map[string]any {
	kept, _ := jsonLike(s).(map[string]any)
	return kept
}

// size is about how many bytes of a plan the spec takes.
func (s *jobSpec) size() int {
	n := 0
	for _, v := range s.Variables {
		n += len(v.Name) + len(v.Value)
	}
	for _, list := range [][]string{s.BeforeScript, s.Script, s.AfterScript, s.PreGetSources} {
		for _, line := range list {
			n += len(line)
		}
	}
	return n + 64*(len(s.Downloads)+len(s.Services)+len(s.Cache))
}

// jsonLike is a value of ours as plans hold it.
func jsonLike(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic("gitlab: a struct of strings cannot be written: " + err.Error())
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic("gitlab: a struct of strings cannot be read: " + err.Error())
	}
	return out
}

// specOf reads the spec of a job back.
func specOf(j *plan.Job) (*jobSpec, error) {
	s := &jobSpec{}
	if err := fromJSONLike(j.Values[valueJob], s); err != nil {
		return nil, fmt.Errorf("gitlab: read job %s of the plan: %w", j.ID, err)
	}
	return s, nil
}

func fromJSONLike(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// steps are the steps of a job, see the constants in job.go.
func (s *jobSpec) steps() []plan.Step {
	var steps []plan.Step
	add := func(id, name, cond string) *plan.Step {
		steps = append(steps, plan.Step{Key: id, ID: id, Name: name, Source: s.Source, If: plan.Expr{Text: cond, Source: s.Source}})
		return &steps[len(steps)-1]
	}
	use := func(id, name, cond string) {
		add(id, name, cond).Use = &plan.Use{Ref: id, Source: s.Source}
	}
	run := func(id, name, cond string, lines ...[]string) {
		add(id, name, cond).Run = &plan.Script{Text: plan.Expr{Text: joinLines(lines...), Source: s.Source}}
	}
	if len(s.PreGetSources) > 0 {
		run(stepHook, "pre_get_sources_script", ifSuccess, s.PreGetSources)
	}
	if len(s.Cache) > 0 {
		use(stepRestore, "Restore caches", ifSuccess)
	}
	if len(s.Downloads) > 0 {
		use(stepDownload, "Download artifacts", ifSuccess)
	}
	run(stepScript, "script", ifSuccess, s.BeforeScript, s.Script)
	if s.Release != nil {
		use(stepRelease, "Release", ifSuccess)
	}
	if len(s.AfterScript) > 0 {
		run(stepAfter, "after_script", ifEver, s.AfterScript)
	}
	if len(s.Cache) > 0 {
		use(stepSave, "Save caches", ifAlways)
	}
	if a := s.artifacts(); a != nil {
		when := a.When
		if len(a.reports()) > 0 {
			when = ifAlways // reports are kept however the job ended
		}
		use(stepUpload, "Upload artifacts", when)
	}
	return steps
}

func joinLines(lists ...[]string) string {
	var text []byte
	for _, list := range lists {
		for _, line := range list {
			text = append(text, line...)
			text = append(text, '\n')
		}
	}
	return string(text)
}
