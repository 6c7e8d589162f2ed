package jenkins

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// stepRow is a step: what the log says of it, and what it does.
type stepRow struct {
	shown string // "" for what is no step of its own
	wraps bool   // it has a block, and may be an option
	do    func(b *build, c *groovy.Call, f *frame) (groovy.Value, error)
}

// table is all steps and all functions of Jenkins that are none.
func (b *build) table() map[string]stepRow {
	if b.rows != nil {
		return b.rows
	}
	b.rows = map[string]stepRow{}
	step := func(name string, do func(*build, *groovy.Call, *frame) (groovy.Value, error)) {
		b.rows[name] = stepRow{shown: name, do: do}
	}
	block := func(name string, do func(*build, *groovy.Call, *frame) (groovy.Value, error)) {
		b.rows[name] = stepRow{shown: name, wraps: true, do: do}
	}
	b.rows["pipeline"] = stepRow{do: pipeline}
	b.rows["stage"] = stepRow{do: stageStep}
	for _, name := range []string{"library", "lib"} {
		b.rows[name] = stepRow{do: libraryStep}
	}
	b.rows["println"], b.rows["print"] = stepRow{do: echo}, stepRow{do: echo}
	step("echo", echo)
	step("error", errorStep)
	step("unstable", unstableStep)
	step("isUnix", func(*build, *groovy.Call, *frame) (groovy.Value, error) { return true, nil })
	step("sleep", sleepStep)
	step("milestone", milestone)
	step("input", inputStep)
	step("build", buildStep)
	step("properties", properties)
	step("load", loadStep)
	b.rows["evaluate"] = stepRow{do: evaluate}
	step("validateDeclarativePipeline", validateStep)
	step("tool", toolStep)
	step("getContext", getContext)
	block("node", nodeStep)
	block("script", run)
	block("parallel", parallelStep)
	block("timeout", timeout)
	block("retry", retry)
	block("waitUntil", waitUntil)
	block("catchError", catchError)
	block("warnError", catchError)
	block("dir", dirStep)
	block("ws", wsStep)
	block("withEnv", withEnv)
	block("withCredentials", withCredentials)
	block("lock", lockStep)
	block("throttle", throttleStep)
	// What they do is for eyes, or for other builds: here the block is all.
	for _, name := range []string{
		"timestamps", "ansiColor", "wrap", "withChecks", "gitlabCommitStatus", "gitlabBuilds", "withContext", "configFileProvider",
		"withFolderProperties", "logstash", "withMaven", "withGradle", "nodejs", "sshagent", "withDockerRegistry", "withSonarQubeEnv", "withAWS",
		"podTemplate", "container", "withVault", "gitStatusWrapper",
	} {
		block(name, plainBlock)
	}
	b.shellSteps(step)
	b.fileSteps(step)
	b.dataSteps(step)
	for _, name := range symbols() {
		b.rows[name] = stepRow{do: symbolCall}
	}
	for _, name := range silent() {
		step(name, tellNobody)
	}
	return b.rows
}

// symbols are functions whose value only says what they were called with: for
// properties, bindings, parameters and the like.
func symbols() []string {
	return []string{
		// Parameters, and bindings of credentials.
		"string", "text", "booleanParam", "choice", "password", "credentials", "file", "run", "stringParam", "extendedChoice", "gitParameter", "activeChoice",
		"usernamePassword", "usernameColonPassword", "sshUserPrivateKey", "gitUsernamePassword", "certificate",
		// What properties and options say.
		"parameters", "pipelineTriggers", "buildDiscarder", "logRotator", "disableConcurrentBuilds", "disableResume", "durabilityHint", "preserveStashes",
		"quietPeriod", "rateLimitBuilds", "rateLimit", "overrideIndexTriggers", "copyArtifactPermission", "githubProjectProperty", "gitLabConnection",
		"throttleJobProperty", "skipDefaultCheckout", "parallelsAlwaysFailFast", "skipStagesAfterUnstable", "checkoutToSubdirectory", "newContainerPerStage",
		"disableRestartFromStage",
		// Triggers.
		"cron", "pollSCM", "upstream", "githubPush", "issueCommentTrigger", "parameterizedCron", "GenericTrigger", "gerrit",
		// What checkout and retry take.
		"scmGit", "gitSCM", "cloneOption", "cleanBeforeCheckout", "cleanAfterCheckout", "submodule", "localBranch", "nonresumable", "agent", "kubernetesAgent",
		// Reports that recordIssues and its like read, and parts of pods.
		"java", "javaDoc", "mavenConsole", "checkStyle", "spotBugs", "pmdParser", "cpd", "taskScanner", "junitParser", "errorProne", "esLint", "pyLint", "gcc",
		"clang", "kotlin", "sourceFiles", "configFile", "sshPublisherDesc", "sshTransfer", "containerTemplate", "envVar", "secretEnvVar", "hostPathVolume", "emptyDirVolume", "lastSuccessful", "specific",
	}
}

// silent are steps that tell somebody or publish somewhere, which is not done
// from here: Fairlead has its own ways.
func silent() []string {
	return []string{
		"mail", "emailext", "slackSend", "slackUploadFile", "office365ConnectorSend", "telegramSend", "hipchatSend", "mattermostSend", "rocketSend",
		"jiraComment", "githubNotify", "publishChecks", "updateGitlabCommitStatus", "addGitLabMRComment", "bitbucketStatusNotify", "notifyBitbucket",
		"recordIssues", "scanForIssues", "publishIssues", "recordCoverage", "publishCoverage", "cobertura", "jacoco", "perfReport", "cucumber", "allure",
		"fingerprint", "discoverReferenceBuild", "discoverGitReferenceBuild", "mineRepository", "step", "addShortText", "addBadge", "addInfoBadge",
		"addWarningBadge", "addErrorBadge", "createSummary", "xunit", "nunit", "robot", "plot", "copyArtifacts", "dependencyCheck",
		"dependencyCheckPublisher", "sshPublisher",
	}
}

// symbolKey is the key of a map that says what it describes.
const symbolKey = "$class"

func symbolCall(_ *build, c *groovy.Call, _ *frame) (groovy.Value, error) {
	m := groovy.NewMap()
	m.Put(symbolKey, c.Name)
	for i, v := range c.Args {
		if i == 0 {
			if named, ok := v.(*groovy.Map); ok {
				for k, v := range named.All() {
					m.Put(k, v)
				}
				continue
			}
		}
		m.Put("value", v)
	}
	return m, nil
}

func tellNobody(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if c.Name == "step" && len(c.Args) == 1 {
		if m, ok := c.Args[0].(*groovy.Map); ok {
			return b.metaStep(c, f, m)
		}
	}
	f.sayf("[Fairlead] %s has no effect here", c.Name)
	return nil, nil
}

// metaStep is step([$class: …]): the older way to call some of the steps.
func (b *build) metaStep(c *groovy.Call, f *frame, m *groovy.Map) (groovy.Value, error) {
	class, _ := m.Text(symbolKey)
	name, err := c.Text(class)
	if err != nil {
		return nil, err
	}
	names := map[string]string{
		"ArtifactArchiver": "archiveArtifacts", "hudson.tasks.ArtifactArchiver": "archiveArtifacts", "JUnitResultArchiver": "junit",
		"hudson.tasks.junit.JUnitResultArchiver": "junit", "WsCleanup": "cleanWs", "archiveArtifacts": "archiveArtifacts", "junit": "junit",
	}
	to, ok := names[name]
	if !ok {
		f.sayf("[Fairlead] step %s has no effect here", name)
		return nil, nil
	}
	in := *c
	in.Name, in.Named, in.Args = to, true, []groovy.Value{m}
	return b.table()[to].do(b, &in, f)
}

// arguments are those of a step, however they were given.
type arguments struct {
	c      *groovy.Call
	values map[string]groovy.Value
	body   groovy.Value // the block behind the call; nil for none
}

// args reads the arguments of a step; values without a name get the names, in
// order.
func (b *build) args(c *groovy.Call, names ...string) (*arguments, error) {
	a := &arguments{c: c, values: map[string]groovy.Value{}}
	rest := c.Args
	if n := len(rest); n > 0 {
		switch body := rest[n-1].(type) {
		case *groovy.Closure, groovy.Native:
			a.body, rest = body, rest[:n-1]
		}
	}
	for i := 0; len(rest) > 0; rest = rest[1:] {
		if m, ok := rest[0].(*groovy.Map); ok && (c.Named || len(rest) == 1 && i == 0) && len(a.values) == 0 {
			for k, v := range m.All() {
				name, err := c.Text(k)
				if err != nil {
					return nil, err
				}
				a.values[name] = v
			}
			continue
		}
		if i >= len(names) {
			return nil, c.Throw(illegalArgument, "Too many arguments for the step %s", c.Name)
		}
		a.values[names[i]] = rest[0]
		i++
	}
	return a, nil
}

func (a *arguments) value(name string) groovy.Value { return a.values[name] }

func (a *arguments) has(name string) bool { return a.values[name] != nil }

// text is an argument as a text; "" when it is not given or null.
func (a *arguments) text(name string) string {
	v := a.values[name]
	if v == nil {
		return ""
	}
	s, err := a.c.Text(v)
	if err != nil {
		return ""
	}
	return s
}

func (a *arguments) flag(name string, unset bool) bool {
	switch v := a.values[name].(type) {
	case bool:
		return v
	case nil:
		return unset
	}
	return strings.EqualFold(a.text(name), "true")
}

// number is an argument as a whole number.
func (a *arguments) number(name string, unset int64) int64 {
	switch v := a.values[name].(type) {
	case int32:
		return int64(v)
	case int64:
		return v
	case float64:
		return int64(v)
	case nil:
		return unset
	}
	var n int64
	if _, err := fmt.Sscan(a.text(name), &n); err != nil {
		return unset
	}
	return n
}

// need reports an argument that is missing.
func (a *arguments) need(names ...string) error {
	for _, name := range names {
		if _, given := a.values[name]; !given {
			return a.c.Throw(illegalArgument, "Missing required parameter for the step %s: %s", a.c.Name, name)
		}
	}
	return nil
}

// block runs the block of a step in a frame.
func (b *build) block(c *groovy.Call, f *frame, body groovy.Value) (groovy.Value, error) {
	if body == nil {
		return nil, c.Throw(illegalState, "There is no body to invoke")
	}
	f.say("[Pipeline] {")
	v, err := f.within(c.Thread).Call(body)
	f.say("[Pipeline] }")
	f.say("[Pipeline] // " + c.Name)
	return v, settled(err)
}

// settled is the error of code that a step has called: what is missing there
// does not mean that the step itself is missing.
func settled(err error) error {
	if e, ok := failed(err); ok && errors.Is(err, groovy.ErrMissing) {
		return &groovy.Thrown{Object: e.Object, At: e.At, Trace: e.Trace}
	}
	return err
}

// getContext tells whether there is a node: getContext(hudson.FilePath).
func getContext(_ *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if len(c.Args) == 1 && f.node != nil {
		return c.Args[0], nil
	}
	return nil, nil
}

func run(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c)
	if err != nil {
		return nil, err
	}
	return b.block(c, f, a.body)
}

// plainBlock runs the block of a step that has no effect of its own here.
func plainBlock(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	for i := len(c.Args) - 1; i >= 0; i-- {
		switch c.Args[i].(type) {
		case *groovy.Closure, groovy.Native:
			return b.block(c, f, c.Args[i])
		}
	}
	return nil, nil
}

func echo(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	text := ""
	if len(c.Args) > 0 {
		v := c.Args[0]
		if m, ok := v.(*groovy.Map); ok && c.Named {
			v, _ = m.Text("message")
		}
		var err error
		if text, err = c.Text(v); err != nil {
			return nil, err
		}
	}
	f.say(text)
	return nil, nil
}

func errorStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "message")
	if err != nil {
		return nil, err
	}
	return nil, abort(c.Thread, "%s", a.text("message"))
}

func unstableStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "message")
	if err != nil {
		return nil, err
	}
	f.say("WARNING: " + a.text("message"))
	b.worsen(unstable, a.text("message"))
	f.stage.worsen(unstable, a.text("message"))
	return nil, nil
}

// stageStep is the stage of scripted pipelines.
func stageStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "name", "concurrency")
	if err != nil {
		return nil, err
	}
	name := a.text("name")
	if a.body == nil {
		f.say("[Pipeline] stage")
		f.say("Entering stage " + name)
		return nil, nil
	}
	var v groovy.Value
	err = b.inStage(c, f, name, func(c *groovy.Call, g *frame) error {
		var err error
		v, err = c.Call(a.body)
		return err
	})
	return v, err
}

func nodeStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "label")
	if err != nil {
		return nil, err
	}
	if a.body == nil {
		return nil, c.Throw(illegalState, "There is no body to invoke")
	}
	var v groovy.Value
	err = b.inNode(c, f, a.text("label"), "", false, func(t *groovy.Thread, g *frame) error {
		var err error
		v, err = t.Call(a.body)
		return err
	})
	f.say("[Pipeline] // node")
	return v, err
}

// parallelStep is the parallel of scripts: a map of blocks.
func parallelStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if len(c.Args) == 0 {
		return nil, c.Throw(illegalArgument, "parallel needs branches")
	}
	m, ok := c.Args[0].(*groovy.Map)
	if !ok {
		return nil, c.Throw(illegalArgument, "parallel needs a map of branches")
	}
	failFast := false
	var list []branch
	values := groovy.NewMap()
	for k, v := range m.All() {
		name, err := c.Text(k)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case *groovy.Closure:
			list = append(list, branch{name, func(c *groovy.Call, g *frame) error {
				out, err := c.Call(v)
				values.Put(name, out)
				return err
			}})
		case bool:
			if name != "failFast" {
				return nil, c.Throw(illegalArgument, "Expected a closure for the branch %s", name)
			}
			failFast = v
		default:
			return nil, c.Throw(illegalArgument, "Expected a closure for the branch %s", name)
		}
	}
	err := b.parallel(c, f, list, failFast || b.failFast, true)
	f.say("[Pipeline] // parallel")
	return values, err
}

// duration is a number of Java's units of time, with its words for the log.
func duration(n int64, unit string) (time.Duration, string, bool) {
	d, words := time.Minute, "min"
	switch strings.ToUpper(unit) {
	case "NANOSECONDS":
		d, words = time.Nanosecond, "ns"
	case "MICROSECONDS":
		d, words = time.Microsecond, "us"
	case "MILLISECONDS":
		d, words = time.Millisecond, "ms"
	case "SECONDS":
		d, words = time.Second, "sec"
	case "", "MINUTES":
	case "HOURS":
		d, words = time.Hour, "hr"
	case "DAYS":
		d, words = 24*time.Hour, "days"
	default:
		return 0, "", false
	}
	const most = 365 * 24 * time.Hour
	if n < 0 || n > int64(most/d) {
		n = int64(most / d)
	}
	return time.Duration(n) * d, fmt.Sprintf("%d %s", n, words), true
}

func timeout(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "time", "unit")
	if err != nil {
		return nil, err
	}
	if err := a.need("time"); err != nil {
		return nil, err
	}
	limit, words, ok := duration(a.number("time", 0), a.text("unit"))
	if !ok {
		return nil, c.Throw(illegalArgument, "No enum constant java.util.concurrent.TimeUnit.%s", a.text("unit"))
	}
	var v groovy.Value
	err = b.timed(c, f, limit, words, func(c *groovy.Call, g *frame) error {
		var err error
		v, err = b.block(c, g, a.body)
		return err
	})
	return v, err
}

// maxRetries bounds the count of retry.
const maxRetries = 1000

func retry(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "count")
	if err != nil {
		return nil, err
	}
	count := min(max(a.number("count", 1), 1), maxRetries)
	for i := int64(1); ; i++ {
		v, err := b.block(c, f, a.body)
		e, ok := failed(err)
		if err == nil || !ok || i >= count || f.ctx.Err() != nil || e.InstanceOf(interruptedException) && resultOf(e) == aborted {
			return v, err
		}
		f.say(printed(c.Thread, e))
		f.say("Retrying")
	}
}

// waits are those of waitUntil between two looks.
const (
	firstWait = 250 * time.Millisecond
	maxWait   = 15 * time.Second
)

func waitUntil(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "initialRecurrencePeriod")
	if err != nil {
		return nil, err
	}
	wait := max(time.Duration(a.number("initialRecurrencePeriod", int64(firstWait/time.Millisecond)))*time.Millisecond, time.Millisecond)
	for {
		v, err := b.block(c, f, a.body)
		if err != nil {
			return nil, err
		}
		done, err := c.Truth(v)
		if err != nil || done {
			return nil, err
		}
		if !a.flag("quiet", false) {
			f.sayf("Will try again after %s", wait)
		}
		if err := b.pause(c, f, wait); err != nil {
			return nil, err
		}
		wait = min(wait+wait/5, maxWait)
	}
}

// pause waits without a step of its own.
func (b *build) pause(c *groovy.Call, f *frame, d time.Duration) error {
	c.Unlocked(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-f.ctx.Done():
		}
	})
	if f.ctx.Err() != nil {
		return b.interrupt(c.Thread, context.Cause(f.ctx))
	}
	return nil
}

func sleepStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "time", "unit")
	if err != nil {
		return nil, err
	}
	unit := a.text("unit")
	if unit == "" {
		unit = "SECONDS"
	}
	d, words, ok := duration(a.number("time", 0), unit)
	if !ok {
		return nil, c.Throw(illegalArgument, "No enum constant java.util.concurrent.TimeUnit.%s", unit)
	}
	_, err = b.builtin(c, f, "sleep", "sleep "+words, map[string]string{"duration": d.String(), "words": words})
	return nil, err
}

func milestone(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "ordinal")
	if err != nil {
		return nil, err
	}
	n := a.number("ordinal", b.milestone)
	f.sayf("Trying to pass milestone %d", n)
	b.milestone = n + 1
	return nil, nil
}

// catchError is catchError and warnError: what fails inside makes the results
// worse and nothing else.
func catchError(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "message")
	if err != nil {
		return nil, err
	}
	build, stage := failure, success
	if c.Name == "warnError" {
		build, stage = unstable, unstable
	}
	pick := func(name string, to *result) {
		if a.has(name) {
			*to = success
			if text := a.text(name); text != "null" {
				*to = parseResult(text)
			}
		}
	}
	pick("buildResult", &build)
	pick("stageResult", &stage)
	v, err := b.block(c, f, a.body)
	if err == nil {
		return v, nil
	}
	e, ok := failed(err)
	if !ok {
		return nil, err
	}
	if e.InstanceOf(interruptedException) {
		if !a.flag("catchInterruptions", true) || f.ctx.Err() != nil {
			return nil, err
		}
		// An interruption has a result of its own.
		build = max(build, resultOf(e))
	}
	if message := a.text("message"); message != "" {
		f.say(message)
	}
	if text := printed(c.Thread, e); text != "" {
		f.say(text)
	}
	if build > success {
		b.worsen(build, told(e))
	}
	// What post asks of the stage is the worse of both.
	f.stage.worsen(max(build, stage), told(e))
	return nil, nil
}

func dirStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "path")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, "dir"); err != nil {
		return nil, err
	}
	g := f.inner()
	g.dir = f.at(a.text("path"))
	f.sayf("Running in %s", g.dir)
	return b.block(c, g, a.body)
}

func wsStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "dir")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, "ws"); err != nil {
		return nil, err
	}
	dir := a.text("dir")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(b.scope.Dirs.Temp, "ws", dir)
	}
	n := *f.node
	n.dir, n.fetched = dir, false
	g := f.inner()
	g.node, g.dir = &n, dir
	f.sayf("Running in %s", dir)
	return b.block(c, g, a.body)
}

func withEnv(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "overrides")
	if err != nil {
		return nil, err
	}
	var vars []plan.Setting
	list, ok := a.value("overrides").(*groovy.List)
	if !ok {
		return nil, c.Throw(illegalArgument, "withEnv needs a list of NAME=value")
	}
	for _, item := range list.Items {
		text, err := c.Text(item)
		if err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, c.Throw(illegalArgument, "%s", text)
		}
		vars = append(vars, plan.Setting{Name: name, Value: value})
	}
	g := f.inner()
	g.set(b, vars)
	return b.block(c, g, a.body)
}

func toolStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "name")
	if err != nil {
		return nil, err
	}
	kind := a.text("type")
	if i := strings.LastIndexByte(kind, '.'); i >= 0 {
		kind = strings.ToLower(kind[i+1:])
	}
	home := b.toolHome(kind, a.text("name"))
	if home == "" && kind != "" {
		home = b.toolHome("", a.text("name"))
	}
	if home == "" {
		return nil, abort(c.Thread, "Tool type \"%s\" has no install of \"%s\" here; say where it is in fairlead.yaml (jenkins: tools)", kind, a.text("name"))
	}
	return home, nil
}

// loadStep runs a file of the workspace as a script.
func loadStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "path")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, "load"); err != nil {
		return nil, err
	}
	out, err := b.builtin(c, f, "readFile", "load "+a.text("path"), map[string]string{"file": a.text("path")})
	if err != nil {
		return nil, err
	}
	s, err := b.parsed(c.Thread, a.text("path"), out["text"])
	if err != nil {
		return nil, err
	}
	f.say("[Pipeline] {")
	v, err := f.within(c.Thread).Run(s)
	f.say("[Pipeline] }")
	f.say("[Pipeline] // load")
	return v, err
}

// evaluate runs a text as a script.
func evaluate(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if len(c.Args) != 1 {
		return nil, groovy.ErrMissing
	}
	text, err := c.Text(c.Args[0])
	if err != nil {
		return nil, err
	}
	s, err := b.parsed(c.Thread, "evaluated", text)
	if err != nil {
		return nil, err
	}
	return c.Run(s)
}

// parsed is a script that was found while the build runs.
func (b *build) parsed(t *groovy.Thread, file, text string) (*groovy.Script, error) {
	s, problems := b.d.parse(file, text)
	if len(problems) > 0 {
		return nil, t.Throw("org.codehaus.groovy.control.MultipleCompilationErrorsException", "startup failed:\n%s", problems[0])
	}
	return s, nil
}

// inputStep asks a person. The answer comes with the order for the run; there
// is nobody to be asked while it runs.
func inputStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "message")
	if err != nil {
		return nil, err
	}
	var params []*groovy.Map
	if list, ok := a.value("parameters").(*groovy.List); ok {
		for _, item := range list.Items {
			if m, ok := item.(*groovy.Map); ok {
				params = append(params, m)
			}
		}
	}
	answers, err := b.answer(c, f, a.text("id"), a.text("message"), a.text("ok"), params)
	if err != nil {
		return nil, err
	}
	by := a.text("submitterParameter")
	if by != "" {
		answers.Put(by, b.scope.Change.Actor)
	}
	switch {
	case len(params) == 0 && by == "":
		return nil, nil
	case answers.Len() == 1:
		v, _ := answers.Get(answers.Keys()[0])
		return v, nil
	}
	return answers, nil
}

// answer is the answer to a question, by parameter. A question is answered yes
// when a person asked for it by name (--play), and its parameters by --input.
func (b *build) answer(c *groovy.Call, f *frame, id, message, ok string, params []*groovy.Map) (*groovy.Map, error) {
	f.say(message)
	if ok == "" {
		ok = "Proceed"
	}
	name := id
	if name == "" {
		name = slug(message)
	}
	agreed := false
	for _, played := range b.scope.Play {
		agreed = agreed || strings.EqualFold(played, name) || played == message || b.scope.Job != nil && (played == b.scope.Job.ID || played == b.scope.Job.Name)
	}
	given := b.scope.Change.Inputs
	if v, said := given[name]; said {
		agreed = !strings.EqualFold(v, "abort") && !strings.EqualFold(v, "false") && !strings.EqualFold(v, "no")
		if !agreed {
			return nil, b.interrupt(c.Thread, &interruption{result: aborted, why: "Rejected by " + b.scope.Change.Actor})
		}
	}
	if !agreed {
		return nil, &dialect.ProblemError{Lacking: true, Problem: plan.Problem{Source: source(c.At), Severity: plan.Error, Rule: "input",
			Message: fmt.Sprintf("the pipeline asks %q (%s), and nobody can answer while it runs here", message, ok),
			Hint:    fmt.Sprintf("answer when you start it: --input %s=yes, and --input NAME=VALUE for what it wants to know", name)}}
	}
	answers := groovy.NewMap()
	for _, p := range params {
		v, _ := p.Text("name")
		name, err := c.Text(v)
		if err != nil {
			return nil, err
		}
		value, _ := p.Text("defaultValue")
		if choices, ok := p.Text("choices"); ok && value == nil {
			value = firstChoice(choices)
		}
		if text, said := given[name]; said {
			value = text
			if _, is := p.Text("defaultValue"); is {
				if was, _ := p.Text("defaultValue"); was == true || was == false {
					value = strings.EqualFold(text, "true")
				}
			}
		}
		answers.Put(name, value)
	}
	f.sayf("Approved by %s", b.scope.Change.Actor)
	return answers, nil
}

// firstChoice is the default of a choice: its first line or element.
func firstChoice(v groovy.Value) groovy.Value {
	switch v := v.(type) {
	case *groovy.List:
		if len(v.Items) > 0 {
			return v.Items[0]
		}
	case string:
		first, _, _ := strings.Cut(v, "\n")
		return first
	}
	return nil
}

// validateStep is the validator as a step.
func validateStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "path")
	if err != nil {
		return nil, err
	}
	out, err := b.builtin(c, f, "readFile", "read "+a.text("path"), map[string]string{"file": a.text("path")})
	if err != nil {
		return nil, err
	}
	problems := b.d.check(a.text("path"), out["text"], b.knownHere())
	if !plan.Errors(problems) {
		f.sayf("Declarative Pipeline file '%s' is valid.", a.text("path"))
		return true, nil
	}
	f.sayf("Error(s) validating Declarative Pipeline file '%s' - org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:", a.text("path"))
	for _, p := range problems {
		f.sayf("WorkflowScript: %d: %s @ line %d, column %d.", p.Line, p.Message, p.Line, p.Col)
	}
	return false, nil
}
