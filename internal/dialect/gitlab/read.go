package gitlab

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The keys of a job, of default:, and of what stands at the top of a file
// (docs.gitlab.com/ci/yaml).
var (
	jobKeys = []string{
		"after_script", "allow_failure", "artifacts", "before_script", "cache", "coverage", "dast_configuration", "dependencies", "environment",
		"except", "extends", "hooks", "id_tokens", "identity", "image", "inherit", "inputs", "interruptible", "manual_confirmation", "needs",
		"only", "pages", "parallel", "publish", "release", "resource_group", "retry", "rules", "run", "script", "secrets", "services", "stage",
		"start_in", "tags", "timeout", "trigger", "type", "variables", "when",
	}
	defaultKeys = []string{
		"after_script", "artifacts", "before_script", "cache", "hooks", "id_tokens", "identity", "image", "interruptible", "retry", "services",
		"tags", "timeout",
	}
	// olderDefaults may stand at the top of a file, too.
	olderDefaults = []string{"after_script", "before_script", "cache", "image", "services"}
	globalKeys    = []string{"default", "include", "stages", "types", "variables", "workflow", "spec"}
)

// reportKinds are the keys of artifacts:reports.
var reportKinds = []string{
	"accessibility", "annotations", "api_fuzzing", "browser_performance", "cluster_image_scanning", "codequality", "container_scanning",
	"coverage_fuzzing", "coverage_report", "cyclonedx", "dast", "dependency_scanning", "dotenv", "junit", "license_scanning", "load_performance",
	"metrics", "performance", "repository_xray", "requirements", "requirements_v2", "sast", "scip", "secret_detection", "terraform", "sarif",
	"cobertura", "lsif",
}

// settings reads the keys of a job that say what runs and how.
type settings struct {
	*reporter
	job *document.Node
	// value is a key of the job, or what default: says of it.
	value func(key string) *document.Node
}

// fill puts them into the spec.
func (s *settings) fill(spec *jobSpec) {
	inputs := s.inputs()
	spec.BeforeScript = inputs.all(s.commands(s.value("before_script"), "before_script"))
	spec.Script = inputs.all(s.script())
	spec.AfterScript = inputs.all(s.commands(s.value("after_script"), "after_script"))
	if hooks := s.value("hooks"); !hooks.IsNull() && s.keys(hooks, "hooks", []string{"pre_get_sources_script"}) {
		spec.PreGetSources = s.commands(hooks.Get("pre_get_sources_script"), "pre_get_sources_script")
	}
	if image := s.value("image"); !image.IsNull() {
		spec.Image = s.image(image, false)
	}
	if services := s.value("services"); !services.IsNull() {
		s.flat(services, "services", 0, func(n *document.Node) {
			if i := s.image(n, true); i != nil {
				spec.Services = append(spec.Services, *i)
			}
		})
	}
	spec.Tags = s.list(s.value("tags"), "tags")
	spec.Cache = s.caches(s.value("cache"))
	if a := s.value("artifacts"); !a.IsNull() {
		spec.Artifacts = s.artifacts(a)
	}
	spec.Coverage = s.coverage(s.job.Get("coverage"))
	spec.Environment = s.environment(s.job.Get("environment"))
	spec.Release = s.release(s.job.Get("release"))
	spec.ResourceName = s.text(s.job.Get("resource_group"), "resource_group")
	spec.Manual = s.text(s.job.Get("manual_confirmation"), "manual_confirmation")
	spec.Secrets = s.secrets(s.job.Get("secrets"))
	spec.IDTokens = s.idTokens(s.value("id_tokens"))
	spec.Pages = s.pages(spec)
	if d := s.job.Get("dast_configuration"); !d.IsNull() {
		s.keys(d, "dast_configuration", []string{"site_profile", "scanner_profile"})
	}
}

// script is script:, or run: as far as it is made of scripts.
func (s *settings) script() []string {
	run := s.job.Get("run")
	if run.IsNull() {
		return s.commands(s.job.Get("script"), "script")
	}
	var lines []string
	s.flat(run, "run", 0, func(n *document.Node) {
		if !s.keys(n, "a step", []string{"name", "script", "step", "action", "func", "env", "inputs"}) {
			return
		}
		text := s.text(n.Get("script"), "script")
		if n.Get("script") == nil {
			s.warn(n.Source, "unsupported", "steps of GitLab's own and actions in run: are not done here; the job will fail at this one", "write its commands as script:")
			text = "echo 'this step cannot be done here'; exit 1"
		}
		line := "(\n"
		for _, v := range s.variables(n.Get("env"), "env", false) {
			line += "export " + v.Name + "=" + quote(v.Value) + "\n"
		}
		lines = append(lines, line+text+"\n)")
	})
	return lines
}

// jobInputs are the values of a job's own inputs, which ${{ inputs.NAME }} in
// its scripts asks for.
type jobInputs map[string]string

var jobInput = regexp.MustCompile(`\$\{\{\s*(?:job\.)?inputs\.([A-Za-z0-9_-]+)\s*\}\}`)

// inputs reads the defaults of inputs: of the job.
func (s *settings) inputs() jobInputs {
	n := s.job.Get("inputs")
	if n.IsNull() {
		return nil
	}
	if n.Kind != document.Mapping {
		s.mistyped(n, "inputs", "a mapping")
		return nil
	}
	out := jobInputs{}
	for _, f := range n.Fields {
		if !s.keys(f.Value, "an input", []string{"type", "default", "description", "options", "regex"}) {
			continue
		}
		standard := f.Value.Get("default")
		if standard == nil {
			s.fail(f.Source, "missing", fmt.Sprintf("the input %s of a job needs a default", plan.Clip(f.Key)), "write default: and the value")
			continue
		}
		s.choice(f.Value.Get("type"), "type", "string", "number", "boolean", "array")
		out[f.Key] = document.Plain(standard)
	}
	return out
}

// all puts the values into texts.
func (in jobInputs) all(texts []string) []string {
	for i, text := range texts {
		texts[i] = jobInput.ReplaceAllStringFunc(text, func(ref string) string {
			if value, ok := in[jobInput.FindStringSubmatch(ref)[1]]; ok {
				return value
			}
			return ref
		})
	}
	return texts
}

func (s *settings) image(n *document.Node, service bool) *imageSpec {
	out := &imageSpec{Source: n.Source}
	if n.Kind == document.Scalar {
		out.Name = s.text(n, "image")
		return out
	}
	known := []string{"name", "entrypoint", "docker", "kubernetes", "pull_policy", "ports", "alias", "command", "variables"}
	what := "a service"
	if !service {
		known, what = known[:6], "image"
	}
	if !s.keys(n, what, known) {
		return nil
	}
	out.Name = s.text(n.Get("name"), "name")
	if out.Name == "" {
		s.fail(n.Source, "missing", what+" needs a name", "write name: and the image")
		return nil
	}
	out.Alias = s.text(n.Get("alias"), "alias")
	out.Entrypoint = s.list(n.Get("entrypoint"), "entrypoint")
	out.Command = s.list(n.Get("command"), "command")
	for _, p := range s.texts(n.Get("pull_policy"), "pull_policy") {
		if !slices.Contains([]string{"always", "if-not-present", "never"}, p) {
			s.fail(n.Get("pull_policy").Source, "value", "pull_policy may not be "+plan.Clip(p), "write always, if-not-present or never")
			continue
		}
		out.Pull = append(out.Pull, p)
	}
	if p := n.Get("pull_policy"); p != nil && len(out.Pull) == 0 {
		s.fail(p.Source, "value", "pull_policy names no policy", "write always, if-not-present or never")
	}
	if k := n.Get("kubernetes"); !k.IsNull() && s.keys(k, "kubernetes", []string{"user"}) {
		s.text(k.Get("user"), "user") // there is no cluster
	}
	if d := n.Get("docker"); !d.IsNull() && s.keys(d, "docker", []string{"platform", "user"}) {
		out.Platform, out.User = s.text(d.Get("platform"), "platform"), s.text(d.Get("user"), "user")
	}
	out.Variables = s.variables(n.Get("variables"), "variables of a service", false)
	return out
}

// Limits of caches; GitLab's own.
const (
	maxCaches     = 4  // of a job
	maxKeyFiles   = 10 // of a key
	maxKeyCommits = 2  // of a key that is made of their commits
)

func (s *settings) caches(n *document.Node) (out []cacheSpec) {
	if n.IsNull() {
		return nil
	}
	items := []*document.Node{n}
	if n.Kind == document.Sequence {
		items = nil
		s.flat(n, "cache", 0, func(item *document.Node) { items = append(items, item) })
	}
	if len(items) > maxCaches {
		s.fail(n.Source, "limit", fmt.Sprintf("a job may have %d caches, and this one has %d", maxCaches, len(items)), "join some of them")
		items = items[:maxCaches]
	}
	for _, item := range items {
		if !s.keys(item, "cache", []string{"key", "paths", "untracked", "when", "policy", "fallback_keys", "unprotect"}) || len(item.Fields) == 0 {
			continue
		}
		c := cacheSpec{Source: item.Source, Key: "default"}
		switch key := item.Get("key"); {
		case key.IsNull():
		case key.Kind == document.Mapping:
			s.keys(key, "key", []string{"files", "files_commits", "prefix"})
			c.Key, c.Prefix = "", s.text(key.Get("prefix"), "prefix")
			files := key.Get("files")
			if files.IsNull() {
				files, c.Commits = key.Get("files_commits"), true
			}
			c.KeyFiles = s.list(files, "files")
			most := maxKeyFiles
			if c.Commits {
				most = maxKeyCommits
			}
			if len(c.KeyFiles) == 0 || len(c.KeyFiles) > most {
				s.fail(key.Source, "value", fmt.Sprintf("a cache key needs from 1 to %d files", most), "")
			}
		default:
			c.Key = s.text(key, "key")
			if c.Key == "." || c.Key == ".." || strings.Contains(c.Key, "/") || strings.Contains(c.Key, "%2F") || strings.Trim(c.Key, ".") == "" && c.Key != "" {
				s.fail(key.Source, "value", "a cache key may hold no slash and be more than dots", "use - instead")
			}
		}
		c.Paths = s.list(item.Get("paths"), "paths")
		c.Untracked, _ = s.boolean(item.Get("untracked"), "untracked")
		c.Unprotect, _ = s.boolean(item.Get("unprotect"), "unprotect")
		c.When = cmp.Or(s.choice(item.Get("when"), "when", "on_success", "on_failure", "always"), "on_success")
		c.Policy = "pull-push"
		if policy := item.Get("policy"); !policy.IsNull() {
			if c.Policy = s.text(policy, "policy"); !strings.Contains(c.Policy, "$") {
				c.Policy = cmp.Or(s.choice(policy, "policy", "pull-push", "pull", "push"), "pull-push")
			}
		}
		c.Fallback = s.list(item.Get("fallback_keys"), "fallback_keys")
		out = append(out, c)
	}
	return out
}

func (s *settings) artifacts(n *document.Node) *artifactsSpec {
	if !s.keys(n, "artifacts", []string{"name", "paths", "exclude", "untracked", "when", "expire_in", "expose_as", "public", "access", "reports"}) {
		return nil
	}
	a := &artifactsSpec{
		Name: s.text(n.Get("name"), "name"), Paths: s.list(n.Get("paths"), "paths"), Exclude: s.list(n.Get("exclude"), "exclude"),
		When:     cmp.Or(s.choice(n.Get("when"), "when", "on_success", "on_failure", "always"), "on_success"),
		ExposeAs: s.text(n.Get("expose_as"), "expose_as"), Access: s.choice(n.Get("access"), "access", "all", "developer", "maintainer", "none"),
		Source: n.Source,
	}
	a.Untracked, _ = s.boolean(n.Get("untracked"), "untracked")
	if public, given := s.boolean(n.Get("public"), "public"); given {
		a.Public = &public
	}
	if e := n.Get("expire_in"); !e.IsNull() {
		a.ExpireIn = s.text(e, "expire_in")
		if !strings.EqualFold(a.ExpireIn, "never") && !strings.Contains(a.ExpireIn, "$") {
			s.duration(e, "expire_in")
		}
	}
	reports := n.Get("reports")
	if reports.IsNull() || !s.keys(reports, "reports", reportKinds) {
		return a
	}
	a.Reports = map[string][]string{}
	for _, f := range reports.Fields {
		if f.Value.IsNull() {
			s.warn(f.Value.Source, "missing", "the report "+plan.Clip(f.Key)+" names no files", "name them, or remove the key")
			continue
		}
		if f.Key != "coverage_report" {
			if paths := s.texts(f.Value, f.Key); len(paths) > 0 {
				a.Reports[f.Key] = paths
			}
			continue
		}
		if !f.Value.IsNull() && s.keys(f.Value, "coverage_report", []string{"coverage_format", "path"}) {
			a.CoverageFormat = s.choice(f.Value.Get("coverage_format"), "coverage_format", "cobertura", "jacoco")
			a.CoveragePath = s.text(f.Value.Get("path"), "path")
		}
	}
	return a
}

func (s *settings) coverage(n *document.Node) string {
	text := s.text(n, "coverage")
	if text == "" {
		return ""
	}
	if len(text) < 2 || text[0] != '/' || text[len(text)-1] != '/' {
		s.fail(n.Source, "value", "coverage must be a regular expression between slashes", `write it like /Coverage: \d+\.\d+%/`)
		return ""
	}
	text = text[1 : len(text)-1]
	if _, err := regexp.Compile(text); err != nil {
		s.fail(n.Source, "regex", fmt.Sprintf("the regular expression of coverage cannot be read: %v", err), "it is read as RE2")
		return ""
	}
	return text
}

func (s *settings) environment(n *document.Node) *environmentSpec {
	if n.IsNull() {
		return nil
	}
	e := &environmentSpec{Source: n.Source}
	if n.Kind == document.Scalar {
		e.Name = s.text(n, "environment")
		return e
	}
	if !s.keys(n, "environment", []string{"name", "url", "on_stop", "action", "auto_stop_in", "kubernetes", "deployment_tier"}) {
		return nil
	}
	e.Name, e.URL, e.OnStop = s.text(n.Get("name"), "name"), s.text(n.Get("url"), "url"), s.text(n.Get("on_stop"), "on_stop")
	e.Action = s.choice(n.Get("action"), "action", "start", "prepare", "stop", "verify", "access")
	e.Tier = s.choice(n.Get("deployment_tier"), "deployment_tier", "production", "staging", "testing", "development", "other")
	e.AutoStopIn = s.text(n.Get("auto_stop_in"), "auto_stop_in")
	if e.Name == "" {
		s.fail(n.Source, "missing", "environment needs a name", "write name: and the environment")
		return nil
	}
	return e
}

func (s *settings) release(n *document.Node) *release {
	if n.IsNull() || !s.keys(n, "release", []string{"tag_name", "tag_message", "name", "description", "ref", "milestones", "released_at", "assets"}) {
		return nil
	}
	r := &release{
		TagName: s.text(n.Get("tag_name"), "tag_name"), TagMessage: s.text(n.Get("tag_message"), "tag_message"), Name: s.text(n.Get("name"), "name"),
		Description: s.text(n.Get("description"), "description"), Ref: s.text(n.Get("ref"), "ref"),
		Milestones: s.texts(n.Get("milestones"), "milestones"), ReleasedAt: s.text(n.Get("released_at"), "released_at"), Source: n.Source,
	}
	if r.TagName == "" {
		s.fail(n.Source, "missing", "release needs tag_name", "write tag_name: $CI_COMMIT_TAG, or the name of a new tag")
	}
	links := n.Get("assets").Get("links")
	if !links.IsNull() {
		s.flat(links, "links", 0, func(l *document.Node) {
			if s.keys(l, "a link", []string{"name", "url", "filepath", "link_type"}) {
				r.Links = append(r.Links, link{Name: s.text(l.Get("name"), "name"), URL: s.text(l.Get("url"), "url"),
					Filepath: s.text(l.Get("filepath"), "filepath"), Type: s.text(l.Get("link_type"), "link_type")})
			}
		})
	}
	return r
}

// providers are the keepers of secrets:, by their keys: what each is told, and
// what it must be told.
var providers = map[string]struct{ keys, must []string }{
	"vault":                  {[]string{"engine", "path", "field"}, []string{"engine", "path", "field"}},
	"azure_key_vault":        {[]string{"name", "version"}, []string{"name"}},
	"gcp_secret_manager":     {[]string{"name", "version"}, []string{"name"}},
	"aws_secrets_manager":    {[]string{"secret_id", "version_id", "version_stage", "region", "role_arn", "role_session_name", "field"}, []string{"secret_id"}},
	"akeyless":               {[]string{"name", "data_key", "cert_user_name", "public_key_data", "csr_data", "akeyless_api_url", "akeyless_access_type", "akeyless_token", "uid_token", "azure_object_id", "gcp_audience", "gateway_ca_certificate", "k8s_service_account_token", "k8s_auth_config_name", "access_id"}, nil},
	"gitlab_secrets_manager": {[]string{"name", "source"}, []string{"name"}},
}

func (s *settings) secrets(n *document.Node) map[string]secretSpec {
	if n.IsNull() {
		return nil
	}
	if n.Kind != document.Mapping {
		s.mistyped(n, "secrets", "a mapping")
		return nil
	}
	out := map[string]secretSpec{}
	names := slices.Sorted(maps.Keys(providers))
	for _, f := range n.Fields {
		if !s.keys(f.Value, "a secret", append([]string{"file", "token"}, names...)) {
			continue
		}
		spec := secretSpec{File: true, Token: s.text(f.Value.Get("token"), "token"), Source: f.Source}
		if file, given := s.boolean(f.Value.Get("file"), "file"); given {
			spec.File = file
		}
		for _, name := range names {
			if held := f.Value.Get(name); !held.IsNull() {
				spec.Provider, spec.Name = name, s.held(held, name)
			}
		}
		if spec.Provider == "" {
			s.fail(f.Source, "missing", fmt.Sprintf("the secret %s does not say who holds it", plan.Clip(f.Key)), "write one of "+strings.Join(names, ", "))
		}
		out[f.Key] = spec
	}
	return out
}

// held is what a keeper is asked for.
func (s *settings) held(n *document.Node, provider string) string {
	if n.Kind == document.Scalar {
		return s.text(n, provider)
	}
	p := providers[provider]
	if !s.keys(n, provider, p.keys) {
		return ""
	}
	for _, key := range p.must {
		if n.Get(key).IsNull() {
			s.fail(n.Source, "missing", provider+" needs "+key, "")
		}
	}
	if e := n.Get("engine"); !e.IsNull() && e.Kind == document.Mapping && s.keys(e, "engine", []string{"name", "path"}) && (e.Get("name").IsNull() || e.Get("path").IsNull()) {
		s.fail(e.Source, "missing", "engine needs a name and a path", "")
	}
	name := ""
	for _, key := range []string{"name", "secret_id", "path", "field"} {
		if text, ok := n.Get(key).Text(); ok {
			name = strings.TrimPrefix(name+"/"+text, "/")
		}
	}
	return name
}

func (s *settings) idTokens(n *document.Node) map[string]idTokenSpec {
	if n.IsNull() {
		return nil
	}
	if n.Kind != document.Mapping {
		s.mistyped(n, "id_tokens", "a mapping")
		return nil
	}
	out := map[string]idTokenSpec{}
	for _, f := range n.Fields {
		if s.keys(f.Value, "an ID token", []string{"aud"}) {
			out[f.Key] = idTokenSpec{Audience: s.texts(f.Value.Get("aud"), "aud"), Source: f.Source}
		}
	}
	return out
}

func (s *settings) pages(spec *jobSpec) *pages {
	n := s.job.Get("pages")
	publish := s.text(s.job.Get("publish"), "publish")
	if n.IsNull() && spec.Name != "pages" {
		return nil
	}
	p := &pages{Publish: cmp.Or(publish, "public")}
	if n.IsNull() {
		return p
	}
	if n.Kind == document.Scalar {
		if yes, _ := s.boolean(n, "pages"); !yes {
			return nil
		}
		return p
	}
	if s.keys(n, "pages", []string{"path_prefix", "expire_in", "publish"}) {
		p.Publish = cmp.Or(s.text(n.Get("publish"), "publish"), p.Publish)
		p.PathPrefix, p.ExpireIn = s.text(n.Get("path_prefix"), "path_prefix"), s.text(n.Get("expire_in"), "expire_in")
	}
	return p
}

// retryReasons are what retry:when may name, and the verdicts that mean it
// here.
var retryReasons = map[string][]plan.Verdict{
	"always":                           nil,
	"unknown_failure":                  {plan.Fault},
	"script_failure":                   {plan.Failure},
	"api_failure":                      {plan.Fault},
	"stuck_or_timeout_failure":         {plan.Timeout},
	"runner_system_failure":            {plan.Fault},
	"runner_unsupported":               {plan.Fault},
	"stale_schedule":                   {plan.Fault},
	"job_execution_timeout":            {plan.Timeout},
	"archived_failure":                 {plan.Fault},
	"unmet_prerequisites":              {plan.Fault},
	"scheduler_failure":                {plan.Fault},
	"data_integrity_failure":           {plan.Fault},
	"runner_provisioning_timeout":      {plan.Timeout},
	"runner_configuration_error":       {plan.Fault},
	"runner_external_dependency_error": {plan.Fault},
}

// maxRetries is how often a job may be tried again; GitLab's limit.
const maxRetries = 2

func (s *settings) retry(n *document.Node) *plan.Retry {
	if n.IsNull() {
		return nil
	}
	r := &plan.Retry{}
	if n.Kind == document.Scalar {
		r.Max = s.integer(n, "retry", 0, maxRetries)
		return nonZero(r)
	}
	if !s.keys(n, "retry", []string{"max", "when", "exit_codes"}) {
		return nil
	}
	r.Max = maxRetries
	if most := n.Get("max"); !most.IsNull() {
		r.Max = s.integer(most, "max", 0, maxRetries)
	}
	always := false
	when := n.Get("when")
	for _, reason := range s.texts(when, "when") {
		verdicts, known := retryReasons[reason]
		if !known {
			hint := ""
			if near := plan.Nearest(reason, slices.Sorted(maps.Keys(retryReasons))); near != "" {
				hint = "did you mean " + near + "?"
			}
			s.fail(when.Source, "value", "there is no reason "+plan.Clip(reason)+" to try again", hint)
		}
		always = always || reason == "always"
		for _, v := range verdicts {
			if !slices.Contains(r.On, v) {
				r.On = append(r.On, v)
			}
		}
	}
	if always {
		r.On = nil
	}
	r.Exit = s.exitCodes(n.Get("exit_codes"))
	return nonZero(r)
}

func nonZero(r *plan.Retry) *plan.Retry {
	if r.Max == 0 {
		return nil
	}
	return r
}

func (r *reporter) exitCodes(n *document.Node) (codes []int) {
	if n.IsNull() {
		return nil
	}
	one := func(item *document.Node) { codes = append(codes, r.integer(item, "an exit code", -1<<31, 1<<31-1)) }
	if n.Kind == document.Sequence {
		r.flat(n, "exit_codes", 0, one)
	} else {
		one(n)
	}
	return codes
}

// allowFailure reads allow_failure: whether the job may fail at all, or with
// some exit codes only.
func (r *reporter) allowFailure(n *document.Node) (allow, given bool, codes []int) {
	if n.IsNull() {
		return false, false, nil
	}
	if n.Kind != document.Mapping {
		allow, given = r.boolean(n, "allow_failure")
		return allow, given, nil
	}
	r.keys(n, "allow_failure", []string{"exit_codes"})
	return false, true, r.exitCodes(n.Get("exit_codes"))
}
