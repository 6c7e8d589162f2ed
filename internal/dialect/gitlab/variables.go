package gitlab

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Variables come in layers, the weakest first; of one name the last counts:
//
//	predefined < deployment < files (global < job < rule < matrix) < dotenv <
//	project (fairlead.yaml, --var, secrets) < given for this run
//
// References in values are followed before a rule is asked or a job begins:
// $NAME, ${NAME} and %NAME%, through as many variables as it takes. $$ is a
// dollar sign, which stays doubled until the very end. Variables that lead
// back to themselves are left as they are, and so are those that are raw.

// Limits of what references come to; what is longer is left as it was written.
const (
	maxExpanded    = 1 << 20 // bytes of a value
	maxAllExpanded = 8 << 20 // of all values together
)

// references finds what can be put in, and the signs that are escaped.
var references = regexp.MustCompile(`\$\$|%%|\$([a-zA-Z_][a-zA-Z0-9_]*)|\$\{([a-zA-Z_][a-zA-Z0-9_]*)\}|%([a-zA-Z_][a-zA-Z0-9_]*)%`)

// layers join lists of variables, weakest first: each name is in it once,
// where it was first, with the value that it was last given.
func layers(lists ...[]variable) []variable {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	out := make([]variable, 0, n)
	index := make(map[string]int, n)
	for _, l := range lists {
		for _, v := range l {
			if i, have := index[v.Name]; have {
				out[i] = v
				continue
			}
			index[v.Name] = len(out)
			out = append(out, v)
		}
	}
	return out
}

// variables are a set whose values have had their references followed.
type variables struct {
	list  []variable
	index map[string]int
}

// expandVariables follows the references among variables. With keep, what is
// not defined is left as it stands: a later layer may define it; without, it
// is nothing.
func expandVariables(list []variable, keep bool) variables {
	v := variables{list: slices.Clone(list), index: make(map[string]int, len(list))}
	for i := range v.list {
		v.index[v.list[i].Name] = i
	}
	e := expander{v: &v, keep: keep, state: make([]visit, len(list)), room: maxAllExpanded}
	for i := range v.list {
		e.visit(i)
	}
	return v
}

// visit is how far a variable has come.
type visit uint8

const (
	unseen visit = iota
	entered
	done
	circular // leads back to itself
)

type expander struct {
	v     *variables
	keep  bool
	state []visit
	path  []int
	room  int // bytes that values may yet grow to
}

func (e *expander) visit(i int) {
	item := &e.v.list[i]
	switch e.state[i] {
	case entered:
		for _, k := range slices.Backward(e.path) {
			e.state[k] = circular
			if k == i {
				break
			}
		}
		return
	case done, circular:
		return
	}
	if item.Raw || !strings.ContainsAny(item.Value, "$%") {
		e.state[i] = done
		return
	}
	e.state[i] = entered
	e.path = append(e.path, i)
	for _, m := range references.FindAllStringSubmatch(item.Value, -1) {
		if k, ok := e.v.index[m[1]+m[2]+m[3]]; ok && m[1]+m[2]+m[3] != "" {
			e.visit(k)
		}
	}
	e.path = e.path[:len(e.path)-1]
	if e.state[i] == circular {
		return
	}
	e.state[i] = done
	if text := e.v.expand(item.Value, e.keep); len(text) <= min(maxExpanded, e.room) {
		e.room -= len(text)
		item.Value = text
	}
}

// expand puts variables into a text. What is not defined is left as it stands
// with keep, and else is nothing. What would make the text longer than
// maxExpanded is left as it stands, too.
func (v *variables) expand(text string, keep bool) string {
	if !strings.ContainsAny(text, "$%") {
		return text
	}
	room := maxExpanded
	return references.ReplaceAllStringFunc(text, func(ref string) string {
		if ref == "$$" || ref == "%%" {
			return ref
		}
		i, ok := v.index[strings.Trim(ref, "${}%")]
		switch {
		case ok && v.list[i].File:
			return ref // the path of the file is known when there is one
		case ok:
			if room -= len(v.list[i].Value); room < 0 {
				return ref
			}
			return v.list[i].Value
		case keep || ref[0] == '%': // of a date's format, as likely as not
			return ref
		}
		return ""
	})
}

// text is what a text comes to where a person or a machine reads it.
func (v *variables) text(text string) string { return dollars(v.expand(text, false)) }

// complete reports whether nothing that a text refers to, directly or not, is
// undefined. The variables must have been expanded with keep.
func (v *variables) complete(text string) bool {
	for _, m := range references.FindAllStringSubmatch(v.expand(text, true), -1) {
		if m[1]+m[2]+m[3] != "" {
			return false
		}
	}
	return true
}

// dollars takes back the escape of dollar signs.
func dollars(text string) string { return strings.ReplaceAll(text, "$$", "$") }

// lookup is the value of a variable, for rules.
func (v *variables) lookup(name string) (string, bool) {
	i, ok := v.index[name]
	if !ok {
		return "", false
	}
	return v.list[i].Value, true
}

// slug is a text as it may stand in a domain name.
func slug(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text)
	return strings.Trim(text[:min(len(text), 63)], "-")
}

// source is CI_PIPELINE_SOURCE for an event.
func source(event string) string {
	switch event {
	case "pull_request", "pull_request_target", "merge_request", "merge_request_event":
		return "merge_request_event"
	case "workflow_dispatch", "web", "":
		return "web"
	case "repository_dispatch":
		return "trigger"
	}
	return event // push, schedule, api, trigger, pipeline, parent_pipeline …
}

// noCommit is the name of the commit before the first.
const noCommit = "0000000000000000000000000000000000000000"

// defaultHost is the server of projects that do not say theirs.
const defaultHost = "gitlab.com"

// predefined are the variables that are known before a pipeline is made. A nil
// change gives those that hang on nothing.
func predefined(c *plan.Change, file string) []variable {
	var list []variable
	set := func(name, value string) { list = append(list, variable{Name: name, Value: value, Raw: true}) }
	set("CI", "true")
	set("GITLAB_CI", "true")
	set("CI_SERVER", "yes")
	set("CI_CONFIG_PATH", file)
	if c == nil {
		return list
	}
	server, err := url.Parse(cmp.Or(c.Server, "https://"+defaultHost))
	if err != nil || server.Host == "" {
		server = &url.URL{Scheme: "https", Host: defaultHost}
	}
	page := server.Scheme + "://" + server.Host
	set("CI_SERVER_URL", page)
	set("CI_SERVER_HOST", server.Hostname())
	set("CI_SERVER_FQDN", server.Host)
	port := server.Port()
	if port == "" {
		port = "443"
		if server.Scheme == "http" {
			port = "80"
		}
	}
	set("CI_SERVER_PORT", port)
	set("CI_SERVER_PROTOCOL", server.Scheme)
	set("CI_SERVER_NAME", "GitLab")
	major, rest, _ := strings.Cut(gitlabVersion, ".")
	minor, patch, _ := strings.Cut(rest, ".")
	set("CI_SERVER_VERSION", gitlabVersion)
	set("CI_SERVER_VERSION_MAJOR", major)
	set("CI_SERVER_VERSION_MINOR", minor)
	set("CI_SERVER_VERSION_PATCH", patch)
	set("CI_SERVER_REVISION", "fairlead")
	set("CI_API_V4_URL", page+"/api/v4")
	set("CI_API_GRAPHQL_URL", page+"/api/graphql")
	set("CI_TEMPLATE_REGISTRY_HOST", "registry."+defaultHost)

	namespace, name := "", c.Repository
	if i := strings.LastIndexByte(c.Repository, '/'); i >= 0 {
		namespace, name = c.Repository[:i], c.Repository[i+1:]
	}
	root, _, _ := strings.Cut(c.Repository, "/")
	set("CI_PROJECT_ID", projectID(c))
	set("CI_PROJECT_NAMESPACE_ID", number("namespace", namespace))
	set("CI_PROJECT_VISIBILITY", "private")
	set("CI_PROJECT_PATH", c.Repository)
	set("CI_PROJECT_PATH_SLUG", slug(c.Repository))
	set("CI_PROJECT_NAME", name)
	set("CI_PROJECT_TITLE", name)
	set("CI_PROJECT_NAMESPACE", namespace)
	set("CI_PROJECT_NAMESPACE_SLUG", slug(namespace))
	set("CI_PROJECT_ROOT_NAMESPACE", root)
	set("CI_PROJECT_URL", page+"/"+c.Repository)
	set("CI_REPOSITORY_URL", page+"/"+c.Repository+".git")
	set("CI_DEFAULT_BRANCH", c.DefaultBranch)
	set("CI_DEFAULT_BRANCH_SLUG", slug(c.DefaultBranch))
	set("CI_REGISTRY", "registry."+server.Hostname())
	set("CI_REGISTRY_IMAGE", "registry."+server.Hostname()+"/"+strings.ToLower(c.Repository))
	set("CI_PAGES_DOMAIN", "pages."+server.Hostname())
	set("GITLAB_USER_LOGIN", c.Actor)
	set("GITLAB_USER_NAME", c.Actor)
	set("GITLAB_USER_ID", number("user", c.Actor))

	from := source(c.Event)
	set("CI_PIPELINE_SOURCE", from)
	if c.Event == "trigger" || c.Event == "repository_dispatch" {
		set("CI_PIPELINE_TRIGGERED", "true")
	}
	ref := refName(c)
	set("CI_COMMIT_SHA", c.SHA)
	set("CI_COMMIT_SHORT_SHA", c.SHA[:min(len(c.SHA), 8)])
	before := cmp.Or(c.Before, noCommit)
	if from == "merge_request_event" {
		before = noCommit
	}
	set("CI_COMMIT_BEFORE_SHA", before)
	set("CI_COMMIT_REF_NAME", ref)
	set("CI_COMMIT_REF_SLUG", slug(ref))
	set("CI_COMMIT_REF_PROTECTED", strconv.FormatBool(ref != "" && ref == c.DefaultBranch))
	switch {
	case from == "merge_request_event":
		list = append(list, mergeRequest(c, page)...)
	case strings.HasPrefix(c.Ref, "refs/tags/"):
		set("CI_COMMIT_TAG", ref)
	default:
		set("CI_COMMIT_BRANCH", ref)
	}
	return append(list, commit(c)...)
}

// gitlabVersion is the version of GitLab and of its runner whose behaviour is
// followed.
const gitlabVersion = "18.5.0"

// projectID is the number that GitLab knows the project by; one of ours when
// the event does not tell.
func projectID(c *plan.Change) string {
	return cmp.Or(payload(c.Payload).object("project").text("id"), number("project", c.Repository))
}

// refName is the branch or the tag: of a merge request, its source branch.
func refName(c *plan.Change) string {
	if source(c.Event) == "merge_request_event" && c.HeadRef != "" {
		return c.HeadRef
	}
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(c.Ref, prefix); ok {
			return name
		}
	}
	return c.Ref
}

// mergeRequest are the variables of a merge request's pipeline.
func mergeRequest(c *plan.Change, page string) []variable {
	var list []variable
	set := func(name, value string) {
		if value != "" {
			list = append(list, variable{Name: name, Value: value, Raw: true})
		}
	}
	p := payload(c.Payload)
	attributes := p.object("object_attributes")
	iid := attributes.text("iid")
	if iid == "" {
		parts := strings.Split(c.Ref, "/") // refs/merge-requests/7/head, refs/pull/7/merge
		if len(parts) == 4 {
			iid = parts[2]
		}
	}
	set("CI_MERGE_REQUEST_IID", iid)
	set("CI_MERGE_REQUEST_ID", attributes.text("id"))
	set("CI_MERGE_REQUEST_REF_PATH", c.Ref)
	set("CI_MERGE_REQUEST_PROJECT_ID", projectID(c))
	set("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", cmp.Or(attributes.text("source_project_id"), projectID(c)))
	set("CI_MERGE_REQUEST_PROJECT_PATH", c.Repository)
	set("CI_MERGE_REQUEST_PROJECT_URL", page+"/"+c.Repository)
	set("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", c.HeadRef)
	set("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", cmp.Or(attributes.object("source").text("path_with_namespace"), c.Repository))
	set("CI_MERGE_REQUEST_SOURCE_PROJECT_URL", page+"/"+cmp.Or(attributes.object("source").text("path_with_namespace"), c.Repository))
	set("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", c.BaseRef)
	set("CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED", strconv.FormatBool(c.BaseRef == c.DefaultBranch))
	set("CI_MERGE_REQUEST_DIFF_BASE_SHA", c.Before)
	set("CI_MERGE_REQUEST_EVENT_TYPE", "detached")
	set("CI_MERGE_REQUEST_TITLE", attributes.text("title"))
	set("CI_MERGE_REQUEST_DESCRIPTION", attributes.text("description"))
	set("CI_MERGE_REQUEST_DRAFT", attributes.text("draft"))
	set("CI_MERGE_REQUEST_MILESTONE", attributes.object("milestone").text("title"))
	var labels []string
	given, _ := p["labels"].([]any)
	for _, l := range given {
		object, _ := l.(map[string]any)
		labels = append(labels, payload(object).text("title"))
	}
	set("CI_MERGE_REQUEST_LABELS", strings.Join(labels, ","))
	set("CI_OPEN_MERGE_REQUESTS", c.Repository+"!"+iid)
	return list
}

// commit are the variables that say what the commit says of itself, as far as
// the event tells or else git.
func commit(c *plan.Change) []variable {
	p := payload(c.Payload)
	last := p.object("object_attributes").object("last_commit")
	if len(last) == 0 {
		last = p.object("commit")
	}
	commits, _ := p["commits"].([]any)
	for _, entry := range commits {
		if object, _ := entry.(map[string]any); payload(object).text("id") == c.SHA {
			last = object
		}
	}
	message, stamp, author := last.text("message"), last.text("timestamp"), last.object("author").text("name")+" <"+last.object("author").text("email")+">"
	if message == "" && c.Commit != nil {
		message, stamp, author = c.Commit.Message, c.Commit.Time.Format(time.RFC3339), c.Commit.Author+" <"+c.Commit.Email+">"
	}
	if message == "" {
		return nil
	}
	title, rest, _ := strings.Cut(message, "\n")
	var list []variable
	for _, v := range [][2]string{
		{"CI_COMMIT_MESSAGE", message},
		{"CI_COMMIT_TITLE", title},
		{"CI_COMMIT_DESCRIPTION", strings.TrimLeft(rest, "\n")},
		{"CI_COMMIT_TIMESTAMP", stamp},
		{"CI_COMMIT_AUTHOR", author},
	} {
		list = append(list, variable{Name: v[0], Value: v[1], Raw: true})
	}
	return list
}

// payload is an event, or an object in one. It comes from outside: nothing in
// it need be there or of the right type.
type payload map[string]any

func (p payload) object(key string) payload {
	object, _ := p[key].(map[string]any)
	return object
}

func (p payload) text(key string) string {
	switch v := p[key].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// Describe implements [dialect.Dialect]: it reads the payload of GitLab's own
// hooks, and leaves a change that another host's event made as it is.
func (d *Dialect) Describe(c *plan.Change) {
	p := payload(c.Payload)
	kind := p.text("object_kind")
	if kind == "" {
		return
	}
	take := func(to *string, from string) {
		if from != "" {
			*to = from
		}
	}
	project := p.object("project")
	take(&c.Repository, project.text("path_with_namespace"))
	take(&c.DefaultBranch, project.text("default_branch"))
	take(&c.Actor, cmp.Or(p.text("user_username"), p.object("user").text("username")))
	if address, err := url.Parse(project.text("web_url")); err == nil && address.Host != "" {
		c.Server = address.Scheme + "://" + address.Host
	}
	switch kind {
	case "push", "tag_push":
		take(&c.Ref, p.text("ref"))
		take(&c.SHA, p.text("after"))
		take(&c.Before, p.text("before"))
	case "merge_request":
		attributes := p.object("object_attributes")
		take(&c.HeadRef, attributes.text("source_branch"))
		take(&c.BaseRef, attributes.text("target_branch"))
		take(&c.SHA, attributes.object("last_commit").text("id"))
		if iid := attributes.text("iid"); iid != "" {
			c.Ref = "refs/merge-requests/" + iid + "/head"
		}
	}
}
