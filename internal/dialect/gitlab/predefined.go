package gitlab

import (
	"cmp"
	"hash/fnv"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The version of GitLab whose behaviour is followed, for CI_SERVER_VERSION.
const (
	serverMajor = "18"
	serverMinor = "5"
)

// Limits of predefined variables.
const (
	maxSlug    = 63
	shortSHA   = 8
	maxMessage = 100 << 10 // bytes of CI_COMMIT_MESSAGE
)

// noCommit stands for a commit that is not there.
const noCommit = "0000000000000000000000000000000000000000"

// commit is what is known of the commit of a change; the zero commit when
// nothing is.
type commit struct {
	Message string
	Author  string // "Name <mail>"
	When    time.Time
}

// predefined are the variables that hold for a whole pipeline and are known
// before it runs: those that rules and include may use
// (docs.gitlab.com/ci/variables/predefined_variables). Variables that GitLab
// sets to nothing are left out.
func predefined(c *plan.Change, about commit) []variable {
	var list []variable
	set := func(name, value string) {
		if value != "" {
			list = append(list, variable{Name: name, Value: value, Raw: true})
		}
	}
	set("CI", "true")
	set("GITLAB_CI", "true")
	setServer(set, c)
	setProject(set, c)

	kind, ref := refOf(c)
	set("CI_PIPELINE_SOURCE", pipelineSource(c))
	set("CI_CONFIG_PATH", Files)
	set("CI_COMMIT_SHA", c.SHA)
	set("CI_COMMIT_SHORT_SHA", c.SHA[:min(len(c.SHA), shortSHA)])
	set("CI_COMMIT_BEFORE_SHA", cmp.Or(c.Before, noCommit))
	set("CI_COMMIT_REF_NAME", ref)
	set("CI_COMMIT_REF_SLUG", slug(ref))
	set("CI_COMMIT_REF_PROTECTED", strconv.FormatBool(protected(c)))
	switch kind {
	case branchRef:
		set("CI_COMMIT_BRANCH", ref)
	case tagRef:
		set("CI_COMMIT_TAG", ref)
	case mergeRef:
		setMergeRequest(set, c)
	}
	title, description, _ := strings.Cut(strings.TrimSpace(about.Message), "\n")
	set("CI_COMMIT_MESSAGE", about.Message[:min(len(about.Message), maxMessage)])
	if len(about.Message) > maxMessage {
		set("CI_COMMIT_MESSAGE_IS_TRUNCATED", "true")
	}
	set("CI_COMMIT_TITLE", strings.TrimSpace(title))
	set("CI_COMMIT_DESCRIPTION", strings.TrimSpace(description))
	set("CI_COMMIT_AUTHOR", about.Author)
	if !about.When.IsZero() {
		set("CI_COMMIT_TIMESTAMP", about.When.Format(time.RFC3339))
	}
	set("GITLAB_USER_LOGIN", c.Actor)
	set("GITLAB_USER_NAME", c.Actor)
	set("GITLAB_USER_ID", number("user", c.Actor))
	return list
}

func setServer(set func(name, value string), c *plan.Change) {
	set("CI_SERVER", "yes")
	set("CI_SERVER_NAME", "GitLab")
	set("CI_SERVER_VERSION", serverMajor+"."+serverMinor+".0")
	set("CI_SERVER_VERSION_MAJOR", serverMajor)
	set("CI_SERVER_VERSION_MINOR", serverMinor)
	set("CI_SERVER_VERSION_PATCH", "0")
	set("CI_SERVER_REVISION", "fairlead")
	set("CI_DEBUG_TRACE", "false")
	set("CI_DEBUG_SERVICES", "false")
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" {
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	set("CI_SERVER_URL", c.Server)
	set("CI_SERVER_HOST", u.Hostname())
	set("CI_SERVER_FQDN", u.Host)
	set("CI_SERVER_PORT", port)
	set("CI_SERVER_PROTOCOL", u.Scheme)
	set("CI_API_V4_URL", c.Server+"/api/v4")
	set("CI_API_GRAPHQL_URL", c.Server+"/api/graphql")
}

func setProject(set func(name, value string), c *plan.Change) {
	project := c.Repository
	namespace, name := path.Split(project)
	namespace = strings.TrimSuffix(namespace, "/")
	root, _, _ := strings.Cut(namespace, "/")
	set("CI_PROJECT_ID", number("project", project))
	set("CI_PROJECT_NAME", name)
	set("CI_PROJECT_TITLE", name)
	set("CI_PROJECT_PATH", project)
	set("CI_PROJECT_PATH_SLUG", slug(project))
	set("CI_PROJECT_NAMESPACE", namespace)
	set("CI_PROJECT_NAMESPACE_ID", number("namespace", namespace))
	set("CI_PROJECT_NAMESPACE_SLUG", slug(namespace))
	set("CI_PROJECT_ROOT_NAMESPACE", root)
	set("CI_PROJECT_VISIBILITY", "private")
	if c.Server != "" {
		set("CI_PROJECT_URL", c.Server+"/"+project)
	}
	set("CI_DEFAULT_BRANCH", c.DefaultBranch)
	set("CI_DEFAULT_BRANCH_SLUG", slug(c.DefaultBranch))
}

func setMergeRequest(set func(name, value string), c *plan.Change) {
	set("CI_MERGE_REQUEST_IID", mergeNumber(c))
	set("CI_MERGE_REQUEST_ID", number("merge request", c.Repository, mergeNumber(c)))
	set("CI_MERGE_REQUEST_EVENT_TYPE", "detached")
	set("CI_MERGE_REQUEST_REF_PATH", c.Ref)
	set("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", c.HeadRef)
	set("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", c.Repository)
	set("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", number("project", c.Repository))
	set("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", c.BaseRef)
	set("CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED", strconv.FormatBool(c.BaseRef != "" && c.BaseRef == c.DefaultBranch))
	set("CI_MERGE_REQUEST_PROJECT_PATH", c.Repository)
	set("CI_MERGE_REQUEST_PROJECT_ID", number("project", c.Repository))
	if c.Before != noCommit {
		set("CI_MERGE_REQUEST_DIFF_BASE_SHA", c.Before)
	}
	if c.Server != "" {
		set("CI_MERGE_REQUEST_PROJECT_URL", c.Server+"/"+c.Repository)
		set("CI_MERGE_REQUEST_SOURCE_PROJECT_URL", c.Server+"/"+c.Repository)
	}
	// As a hook has it: of GitLab itself, or of a host that calls it a pull
	// request.
	for _, key := range []string{"object_attributes", "pull_request"} {
		about, _ := c.Payload[key].(map[string]any)
		if text, ok := about["title"].(string); ok {
			set("CI_MERGE_REQUEST_TITLE", text)
		}
		for _, key := range []string{"description", "body"} {
			if text, ok := about[key].(string); ok {
				set("CI_MERGE_REQUEST_DESCRIPTION", text)
			}
		}
		if labels := labelsOf(about["labels"]); labels != "" {
			set("CI_MERGE_REQUEST_LABELS", labels)
		}
		if draft, ok := about["draft"].(bool); ok {
			set("CI_MERGE_REQUEST_DRAFT", strconv.FormatBool(draft))
		}
	}
}

// labelsOf are the titles of a hook's labels, with commas between them.
func labelsOf(v any) string {
	list, _ := v.([]any)
	var names []string
	for _, item := range list {
		label, _ := item.(map[string]any)
		for _, key := range []string{"title", "name"} {
			if text, ok := label[key].(string); ok {
				names = append(names, text)
				break
			}
		}
	}
	return strings.Join(names, ",")
}

// refKind is what the ref of a change names.
type refKind int

const (
	branchRef refKind = iota
	tagRef
	mergeRef // of a merge request's pipeline
)

// refOf is what the change's ref names, and the name: that of the source
// branch for a merge request.
func refOf(c *plan.Change) (refKind, string) {
	switch {
	case pipelineSource(c) == "merge_request_event":
		return mergeRef, cmp.Or(c.HeadRef, strings.TrimPrefix(c.Ref, "refs/heads/"))
	case strings.HasPrefix(c.Ref, "refs/tags/"):
		return tagRef, strings.TrimPrefix(c.Ref, "refs/tags/")
	}
	return branchRef, strings.TrimPrefix(c.Ref, "refs/heads/")
}

// sources are GitLab's words for events that the code hosts call otherwise.
var sources = map[string]string{
	"pull_request": "merge_request_event", "pull_request_target": "merge_request_event", "merge_request": "merge_request_event",
	"workflow_dispatch": "web", "repository_dispatch": "trigger", "release": "push", "create": "push", "tag_push": "push",
}

// pipelineSource is CI_PIPELINE_SOURCE: why the pipeline runs.
func pipelineSource(c *plan.Change) string {
	return cmp.Or(sources[c.Event], c.Event)
}

var mergePath = regexp.MustCompile(`^refs/(?:pull|merge-requests)/([0-9]+)/`)

// mergeNumber is the number of the merge request within its project, as far as
// it is known.
func mergeNumber(c *plan.Change) string {
	if m := mergePath.FindStringSubmatch(c.Ref); m != nil {
		return m[1]
	}
	about, _ := c.Payload["object_attributes"].(map[string]any)
	for _, v := range []any{about["iid"], c.Payload["number"]} {
		if n, ok := v.(float64); ok {
			return strconv.FormatFloat(n, 'f', -1, 64)
		}
	}
	return ""
}

// protected reports whether the change is to a protected ref: the default
// branch, which is the one that GitLab protects unasked.
func protected(c *plan.Change) bool {
	kind, ref := refOf(c)
	return kind == branchRef && ref != "" && ref == c.DefaultBranch
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes a name fit for hosts: lower case, at most 63 bytes, letters,
// digits and single hyphens inside.
func slug(s string) string {
	s = notSlug.ReplaceAllString(strings.ToLower(s), "-")
	s = strings.TrimLeft(s, "-")
	return strings.TrimRight(s[:min(len(s), maxSlug)], "-")
}

// number is a number for what has none here: the same for the same names, and
// hardly ever that of others.
func number(names ...string) string {
	h := fnv.New32a()
	for _, name := range names {
		if name == "" {
			return ""
		}
		h.Write([]byte(name + "\x00"))
	}
	return strconv.FormatUint(uint64(h.Sum32())|1, 10)
}
