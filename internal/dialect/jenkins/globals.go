package jenkins

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// globals are the names that a script finds without declaring them: the
// objects of Jenkins, the variables of the environment, the steps.
type globals struct{ b *build }

func (globals) ClassName() string { return "WorkflowScript" }

func (g globals) Get(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "env":
		return envObject(g), nil
	case "params":
		return g.b.params, nil
	case "currentBuild":
		return currentBuild(g), nil
	case "scm":
		return scmObject(g), nil
	case "docker":
		return dockerObject(g), nil
	case "steps":
		return stepsObject{g}, nil
	}
	f := frameOf(c.Context())
	if v, ok, err := g.b.variable(c.Thread, f, c.Name); err != nil || ok {
		return v, settled(err)
	}
	if f.lazy != nil {
		return nil, nil // in an environment block an unknown name is null
	}
	return nil, groovy.ErrMissing
}

func (globals) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (g globals) Invoke(c *groovy.Call) (groovy.Value, error) {
	f := frameOf(c.Context())
	// What fairlead.yaml says goes first: a plug-in's step may be one that has
	// no effect here.
	if text, ok := g.b.standIn(c.Name); ok {
		v, err := g.b.runStandIn(c, f, text)
		return v, settled(err)
	}
	if run, ok := g.b.table()[c.Name]; ok {
		if run.shown != "" {
			f.say("[Pipeline] " + run.shown)
		}
		v, err := run.do(g.b, c, f)
		return v, settled(err)
	}
	return nil, c.Wrap(noSuchStep, missingStep(c.Name))
}

// missingStep is the error of a step that nobody knows: neither Jenkins, nor a
// library, nor fairlead.yaml.
type missingStep string

func (m missingStep) Error() string {
	return fmt.Sprintf("No such DSL method '%s' found among steps; if it is a plug-in's, say what is to be done for it in fairlead.yaml (jenkins: steps)", string(m))
}

func (missingStep) Unwrap() error { return groovy.ErrMissing }

// stepsObject is the object whose methods are the steps.
type stepsObject struct{ globals }

func (stepsObject) ClassName() string { return "org.jenkinsci.plugins.workflow.cps.DSL" }

// variable is a variable of the environment as a script sees it: those of the
// blocks around it, then those that a script has set, then those of the build.
func (b *build) variable(t *groovy.Thread, f *frame, name string) (string, bool, error) {
	for l := f.lazy; l != nil; l = l.outer {
		v, ok, err := b.lazyValue(t, f, l, name)
		if ok || err != nil {
			return v, ok, err
		}
	}
	if v, ok := f.env.get(name); ok {
		return v, true, nil
	}
	v, ok := b.lookup(f, name)
	return v, ok, nil
}

// lookup is a variable that no block around has set.
func (b *build) lookup(f *frame, name string) (string, bool) {
	if v, ok := b.overrides[name]; ok {
		return v, true
	}
	if v, ok := b.known(f)[name]; ok {
		return v, true
	}
	if f.node == nil {
		return "", false
	}
	switch name {
	case "PATH":
		here := b.d.getenv("PATH")
		return strings.Join(append(append([]string{}, f.path...), here), ":"), true
	case "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR", "HOSTNAME", "TZ", "TERM":
		v := b.d.getenv(name)
		return v, v != ""
	}
	return "", false
}

// known are the variables that Jenkins gives to every build.
func (b *build) known(f *frame) map[string]string {
	s := b.scope
	env := map[string]string{}
	for name, v := range s.Vars {
		env[name] = v
	}
	for name, v := range s.Context.Env {
		env[name] = v
	}
	if b.params != nil {
		for k, v := range b.params.All() {
			name, _ := k.(string)
			switch v := v.(type) {
			case string, bool, int32, int64, float64:
				env[name] = fmt.Sprint(v)
			}
		}
	}
	number := fmt.Sprint(s.Number)
	job := jobName(s.Pipeline, s.Change)
	set := func(name, value string) {
		if _, given := env[name]; !given && value != "" {
			env[name] = value
		}
	}
	for name, v := range map[string]string{
		"BUILD_NUMBER": number, "BUILD_ID": number, "BUILD_DISPLAY_NAME": b.display, "JOB_NAME": job, "JOB_BASE_NAME": path.Base(job),
		"BUILD_TAG": "jenkins-" + strings.ReplaceAll(job, "/", "-") + "-" + number, "CI": "true", "JENKINS_URL": jenkinsURL,
		"JOB_URL": jobURL(job), "BUILD_URL": jobURL(job) + number + "/", "RUN_DISPLAY_URL": jobURL(job) + number + "/display/redirect",
		"HUDSON_URL": jenkinsURL, "JENKINS_SERVER_COOKIE": "", "STAGE_NAME": f.stage.name,
	} {
		set(name, v)
	}
	for name, v := range changeVariables(s.Change) {
		set(name, v)
	}
	if n := f.node; n != nil {
		for name, v := range map[string]string{
			"WORKSPACE": n.dir, "WORKSPACE_TMP": s.Dirs.Temp, "NODE_NAME": "built-in", "NODE_LABELS": n.labels(), "EXECUTOR_NUMBER": "0",
		} {
			env[name] = v
		}
		for name, v := range b.said().Nodes[n.label] {
			env[name] = v
		}
		if f.checks || b.settled {
			for name, v := range gitVariables(s.Change) {
				set(name, v)
			}
		}
	}
	return env
}

// jenkinsURL stands for the address of a Jenkins that there is not.
const jenkinsURL = "http://jenkins.invalid/"

func jobURL(job string) string {
	return jenkinsURL + "job/" + strings.ReplaceAll(job, "/", "/job/") + "/"
}

// jobName is what Jenkins would call the job: the repository and the branch.
func jobName(p *plan.Pipeline, c *plan.Change) string {
	name := c.Repository
	if name == "" {
		name = p.Name
	}
	if branch := changeVariables(c)["BRANCH_NAME"]; branch != "" {
		name += "/" + strings.ReplaceAll(branch, "/", "%2F")
	}
	return name
}

// environ is the whole environment of a process.
func (b *build) environ(f *frame) map[string]string {
	env := b.known(f)
	for name, v := range b.overrides {
		env[name] = v
	}
	f.env.into(env)
	return env
}

// volatile are the variables that tell one run from another.
func volatile() []string {
	return []string{
		"BUILD_NUMBER", "BUILD_ID", "BUILD_DISPLAY_NAME", "BUILD_TAG", "BUILD_URL", "RUN_DISPLAY_URL", "GIT_COMMIT", "GIT_PREVIOUS_COMMIT",
		"GIT_PREVIOUS_SUCCESSFUL_COMMIT", "CHANGE_TITLE", "CHANGE_AUTHOR",
	}
}

// envObject is env.
type envObject struct{ b *build }

func (envObject) ClassName() string { return "org.jenkinsci.plugins.workflow.cps.EnvActionImpl" }

func (e envObject) Get(c *groovy.Call) (groovy.Value, error) {
	v, ok, err := e.b.variable(c.Thread, frameOf(c.Context()), c.Name)
	if err != nil || !ok {
		return nil, settled(err)
	}
	return v, nil
}

func (e envObject) Set(c *groovy.Call, v groovy.Value) error {
	text, err := c.Text(v)
	if err != nil {
		return err
	}
	e.b.overrides[c.Name] = text
	return nil
}

func (e envObject) Invoke(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "getEnvironment", "getOverriddenEnvironment":
		m := groovy.NewMap()
		env := e.b.environ(frameOf(c.Context()))
		if c.Name == "getOverriddenEnvironment" {
			env = e.b.overrides
		}
		for _, name := range sortedKeys(env) {
			m.Put(name, env[name])
		}
		return m, nil
	case "getProperty", "get", "getAt", "containsKey":
		if len(c.Args) != 1 {
			break
		}
		name, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		v, ok, err := e.b.variable(c.Thread, frameOf(c.Context()), name)
		if c.Name == "containsKey" {
			return ok, err
		}
		if err != nil || !ok {
			return nil, err
		}
		return v, nil
	case "setProperty", "putAt", "put":
		if len(c.Args) != 2 {
			break
		}
		name, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		inner := *c
		inner.Name = name
		return nil, e.Set(&inner, c.Args[1])
	}
	return nil, groovy.ErrMissing
}

// currentBuild is the build that runs, as scripts see it.
type currentBuild struct{ b *build }

func (currentBuild) ClassName() string {
	return "org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper"
}

func (r currentBuild) Get(c *groovy.Call) (groovy.Value, error) {
	b := r.b
	s := b.scope
	job := jobName(s.Pipeline, s.Change)
	switch c.Name {
	case "result":
		if !b.given {
			return nil, nil
		}
		return b.result.String(), nil
	case "currentResult":
		return b.result.String(), nil
	case "resultIsWorseOrEqualTo", "resultIsBetterOrEqualTo":
		return nil, groovy.ErrMissing
	case "number":
		return int32(s.Number), nil
	case "id":
		return fmt.Sprint(s.Number), nil
	case "displayName":
		return b.display, nil
	case "fullDisplayName":
		return strings.ReplaceAll(job, "/", " » ") + " " + b.display, nil
	case "description":
		if b.about == "" {
			return nil, nil
		}
		return b.about, nil
	case "projectName":
		return path.Base(job), nil
	case "fullProjectName":
		return job, nil
	case "absoluteUrl":
		return jobURL(job) + fmt.Sprint(s.Number) + "/", nil
	case "startTimeInMillis", "timeInMillis":
		return s.Started.UnixMilli(), nil
	case "duration":
		return int64(0), nil
	case "durationString":
		return "0 ms and counting", nil
	case "keepLog":
		return false, nil
	case "buildVariables":
		m := groovy.NewMap()
		for _, name := range sortedKeys(b.overrides) {
			m.Put(name, b.overrides[name])
		}
		return m, nil
	case "changeSets", "upstreamBuilds", "buildCauses":
		if c.Name == "buildCauses" {
			return b.causes(""), nil
		}
		return groovy.NewList(), nil
	case "previousBuild", "nextBuild", "previousSuccessfulBuild", "previousCompletedBuild", "previousFailedBuild", "previousNotFailedBuild", "previousBuildInProgress", "previousBuiltBuild", "rawBuild":
		if c.Name == "rawBuild" {
			return nil, c.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use method org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper getRawBuild")
		}
		return earlier(c.Name, b), nil
	}
	return nil, groovy.ErrMissing
}

// earlier is the build that a name of currentBuild means, as far as that is the one
// before; nil for others, of which pipelines are told nothing.
func earlier(name string, b *build) groovy.Value {
	before := b.scope.Previous
	if before == nil {
		return nil
	}
	r := previousResult(before)
	switch name {
	case "previousBuild", "previousCompletedBuild", "previousBuiltBuild":
	case "previousSuccessfulBuild":
		if r > unstable { // a stable or an unstable one
			return nil
		}
	case "previousFailedBuild":
		if r != failure {
			return nil
		}
	case "previousNotFailedBuild":
		if r == failure {
			return nil
		}
	default:
		return nil
	}
	return previousBuild{b}
}

// previousBuild is the build before, as scripts see it.
type previousBuild struct{ b *build }

func (previousBuild) ClassName() string { return currentBuild{}.ClassName() }

func (r previousBuild) Get(c *groovy.Call) (groovy.Value, error) {
	p, s := r.b.scope.Previous, r.b.scope
	job := jobName(s.Pipeline, s.Change)
	switch c.Name {
	case "result", "currentResult":
		return previousResult(p).String(), nil
	case "number":
		return int32(p.Number), nil
	case "id":
		return fmt.Sprint(p.Number), nil
	case "displayName":
		return fmt.Sprintf("#%d", p.Number), nil
	case "fullDisplayName":
		return fmt.Sprintf("%s #%d", strings.ReplaceAll(job, "/", " » "), p.Number), nil
	case "projectName":
		return path.Base(job), nil
	case "fullProjectName":
		return job, nil
	case "absoluteUrl":
		return jobURL(job) + fmt.Sprint(p.Number) + "/", nil
	case "startTimeInMillis", "timeInMillis":
		return p.Begun.UnixMilli(), nil
	case "duration":
		return p.Ended.Sub(p.Begun).Milliseconds(), nil
	case "durationString":
		return p.Ended.Sub(p.Begun).Round(time.Millisecond).String(), nil
	case "keepLog":
		return false, nil
	case "building":
		return false, nil
	case "changeSets", "upstreamBuilds", "buildCauses":
		return groovy.NewList(), nil
	case "buildVariables":
		return groovy.NewMap(), nil
	case "description", "previousBuild", "nextBuild", "previousSuccessfulBuild", "previousCompletedBuild", "previousFailedBuild", "previousNotFailedBuild", "previousBuildInProgress", "previousBuiltBuild":
		return nil, nil
	}
	return nil, groovy.ErrMissing
}

// Set refuses: what was is not to be changed.
func (previousBuild) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (r previousBuild) Invoke(c *groovy.Call) (groovy.Value, error) {
	result := previousResult(r.b.scope.Previous)
	if c.Name == "resultIsWorseOrEqualTo" || c.Name == "resultIsBetterOrEqualTo" {
		if len(c.Args) != 1 {
			return nil, groovy.ErrMissing
		}
		text, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		if c.Name == "resultIsWorseOrEqualTo" {
			return result >= parseResult(text), nil
		}
		return result <= parseResult(text), nil
	}
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		inner := *c
		inner.Name = name
		return r.Get(&inner)
	}
	return nil, groovy.ErrMissing
}

func (r currentBuild) Set(c *groovy.Call, v groovy.Value) error {
	text, err := c.Text(v)
	if err != nil {
		return err
	}
	switch c.Name {
	case "result":
		if v == nil {
			return nil
		}
		to := parseResult(text)
		r.b.given = true
		r.b.worsen(to, "the script set the result to "+to.String())
		frameOf(c.Context()).stage.worsen(to, "")
	case "displayName":
		r.b.display = text
	case "description":
		r.b.about = text
	case "keepLog":
	default:
		return groovy.ErrMissing
	}
	return nil
}

func (r currentBuild) Invoke(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "resultIsWorseOrEqualTo", "resultIsBetterOrEqualTo":
		if len(c.Args) != 1 {
			break
		}
		text, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		other := parseResult(text)
		if c.Name == "resultIsWorseOrEqualTo" {
			return r.b.result >= other, nil
		}
		return r.b.result <= other, nil
	case "getBuildCauses":
		class := ""
		if len(c.Args) == 1 {
			var err error
			if class, err = c.Text(c.Args[0]); err != nil {
				return nil, err
			}
		}
		return r.b.causes(class), nil
	}
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		inner := *c
		inner.Name = name
		return r.Get(&inner)
	}
	if name, ok := strings.CutPrefix(c.Name, "set"); ok && len(c.Args) == 1 && name != "" {
		inner := *c
		inner.Name = strings.ToLower(name[:1]) + name[1:]
		return nil, r.Set(&inner, c.Args[0])
	}
	return nil, groovy.ErrMissing
}

// property is the property that a getter is of.
func property(method string) (string, bool) {
	name, ok := strings.CutPrefix(method, "get")
	if !ok || name == "" {
		if name, ok = strings.CutPrefix(method, "is"); !ok || name == "" {
			return "", false
		}
	}
	return strings.ToLower(name[:1]) + name[1:], true
}

// causes are why the build was started, those of a class when it is given.
func (b *build) causes(class string) *groovy.List {
	cause := b.cause()
	if class != "" && !strings.HasSuffix(cause[0], class) {
		return groovy.NewList()
	}
	m := groovy.NewMap()
	m.Put("_class", cause[0])
	m.Put("shortDescription", cause[1])
	m.Put("userId", b.scope.Change.Actor)
	m.Put("userName", b.scope.Change.Actor)
	return groovy.NewList(m)
}

// cause is the class of why the build was started, and the words for it.
func (b *build) cause() [2]string {
	switch b.scope.Change.Event {
	case "schedule":
		return [2]string{"hudson.triggers.TimerTrigger$TimerTriggerCause", "Started by timer"}
	case "workflow_dispatch":
		return [2]string{"hudson.model.Cause$UserIdCause", "Started by user " + b.scope.Change.Actor}
	case "pull_request":
		return [2]string{"jenkins.branch.BranchEventCause", "Pull request event"}
	}
	return [2]string{"jenkins.branch.BranchEventCause", "Push event to branch " + changeVariables(b.scope.Change)["BRANCH_NAME"]}
}

// causeValue is why a build was interrupted.
type causeValue struct {
	why     string
	timeout bool
}

func (v *causeValue) ClassName() string {
	if v.timeout {
		return "org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution$ExceededTimeout"
	}
	return "jenkins.model.CauseOfInterruption"
}
func (v *causeValue) Get(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "shortDescription":
		return v.why, nil
	case "user":
		return nil, nil
	}
	return nil, groovy.ErrMissing
}
func (*causeValue) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }
func (v *causeValue) String() string                     { return v.why }
func (v *causeValue) Invoke(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "getShortDescription", "toString":
		return v.why, nil
	case "getUser":
		return nil, nil
	}
	return nil, groovy.ErrMissing
}

// resultValue is hudson.model.Result.SUCCESS and its like.
type resultValue struct{ result result }

func (resultValue) ClassName() string                          { return "hudson.model.Result" }
func (resultValue) Set(*groovy.Call, groovy.Value) error       { return groovy.ErrMissing }
func (v resultValue) Get(c *groovy.Call) (groovy.Value, error) { return nil, groovy.ErrMissing }
func (v resultValue) String() string                           { return v.result.String() }
func (v resultValue) Invoke(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "toString", "name":
		return v.result.String(), nil
	}
	if len(c.Args) == 1 {
		text, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		other := parseResult(text)
		switch c.Name {
		case "isWorseThan":
			return v.result > other, nil
		case "isWorseOrEqualTo":
			return v.result >= other, nil
		case "isBetterThan":
			return v.result < other, nil
		case "isBetterOrEqualTo":
			return v.result <= other, nil
		case "equals":
			return v.result == other, nil
		}
	}
	return nil, groovy.ErrMissing
}

// results is the class hudson.model.Result.
type results struct{}

func (results) ClassName() string                    { return "hudson.model.Result" }
func (results) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }
func (results) Get(c *groovy.Call) (groovy.Value, error) {
	for r := success; r <= aborted; r++ {
		if r.String() == c.Name {
			return resultValue{r}, nil
		}
	}
	return nil, groovy.ErrMissing
}
func (results) Invoke(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "fromString" && len(c.Args) == 1 {
		text, err := c.Text(c.Args[0])
		return resultValue{parseResult(text)}, err
	}
	return nil, groovy.ErrMissing
}

// class finds the classes that pipelines name and that are not Groovy's own.
func (b *build) class(name string) (any, error) {
	switch name {
	case "hudson.model.Result", "Result":
		return results{}, nil
	}
	if s, err := b.sourceClass(name); s != nil || err != nil {
		return s, err
	}
	if name == "java.net.URL" || name == "URL" {
		return urlClass{}, nil
	}
	for _, of := range []string{"hudson.", "jenkins.", "org.jenkinsci.", "com.cloudbees."} {
		if strings.HasPrefix(name, of) && plainClass(name) {
			return javaClass(name), nil
		}
	}
	return nil, nil
}

// plainClass reports whether the last part of a name is that of a class.
func plainClass(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return last != "" && last[0] >= 'A' && last[0] <= 'Z'
}

// javaClass is a class of Jenkins itself: it can be named, and nothing of it
// can be used.
type javaClass string

func (j javaClass) ClassName() string { return string(j) }
func (j javaClass) reject(c *groovy.Call, what string) error {
	return c.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use %s %s %s", what, string(j), c.Name)
}
func (j javaClass) Get(c *groovy.Call) (groovy.Value, error) { return nil, j.reject(c, "staticField") }
func (j javaClass) Set(c *groovy.Call, _ groovy.Value) error { return j.reject(c, "staticField") }
func (j javaClass) Invoke(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "new" {
		return nil, j.reject(c, "new")
	}
	return nil, j.reject(c, "staticMethod")
}

// urlClass is java.net.URL, of which only the parts of a name are used here.
type urlClass struct{}

func (urlClass) ClassName() string                      { return "java.net.URL" }
func (urlClass) Get(*groovy.Call) (groovy.Value, error) { return nil, groovy.ErrMissing }
func (urlClass) Set(*groovy.Call, groovy.Value) error   { return groovy.ErrMissing }
func (urlClass) Invoke(c *groovy.Call) (groovy.Value, error) {
	if c.Name != "new" || len(c.Args) != 1 {
		return nil, groovy.ErrMissing
	}
	text, err := c.Text(c.Args[0])
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return nil, c.Throw("java.net.MalformedURLException", "no protocol: %s", text)
	}
	return urlObject{text, u}, nil
}

// urlObject is an address, taken apart.
type urlObject struct {
	text string
	of   *url.URL
}

func (urlObject) ClassName() string                    { return "java.net.URL" }
func (urlObject) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }
func (u urlObject) String() string                     { return u.text }
func (u urlObject) Get(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "protocol":
		return u.of.Scheme, nil
	case "host":
		return u.of.Hostname(), nil
	case "path":
		return u.of.Path, nil
	case "query":
		return u.of.RawQuery, nil
	case "port":
		n, err := strconv.ParseInt(u.of.Port(), 10, 32)
		if err != nil {
			return int32(-1), nil
		}
		return int32(n), nil
	case "text":
		return nil, c.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use method java.net.URL getText")
	}
	return nil, groovy.ErrMissing
}
func (u urlObject) Invoke(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "toString" || c.Name == "toExternalForm" {
		return u.text, nil
	}
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		inner := *c
		inner.Name = name
		return u.Get(&inner)
	}
	return nil, groovy.ErrMissing
}

// getenv reads this machine's environment.
func (d *Dialect) getenv(name string) string {
	if d.cfg.Getenv != nil {
		return d.cfg.Getenv(name)
	}
	return os.Getenv(name)
}
