// Package protocol is what a running step of Azure Pipelines may say back.
//
// A step writes commands into its output, one a line, anywhere in the line:
//
//	##vso[task.setvariable variable=v;isOutput=true]x   a variable for later steps
//	##vso[task.logissue type=error;sourcepath=a.c]x     a remark about the code
//	##vso[task.complete result=SucceededWithIssues]     how it went, whatever its exit code
//	##[group]Compile                                    a fold in the log
//
// A [Job] is what the steps of one job share; [Job.Listen] makes one step's
// listener. What a variable is beside its value is told by further settings
// of Effects.Env: a ! before the name says that it is a secret, a = that
// nobody may set it again. Names are in lower case, since case does not matter.
//
// # What the log shows
//
//	said                               shown
//	plain text, unknown ##[x]          the line as it is
//	##vso[task.logissue type=error]x   Error: x
//	##[error]x, ##[warning]x           Error: x, Warning: x
//	##[section]x, ##[command]x         x
//	##[debug]x, ##vso[task.debug]x     ##[debug]x, in debug mode; else nothing
//	##[group]x, ##[endgroup]           as they are
//	any other command                  nothing; an unknown one is a warning
package protocol

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits on what one step may say.
const (
	maxNotes      = 100       // annotations of one level; further ones are only shown
	maxMessage    = 4096      // bytes of an annotation's message
	maxSaid       = 16 << 20  // bytes of values
	maxMasked     = 256 << 10 // bytes of values that are not to be shown
	maxUploads    = 1000      // files
	maxSummary    = 1 << 20   // bytes of a summary file
	settingWeight = 64        // bytes that a value counts beside its own
)

// Upload is a file or directory that a step asked to keep.
type Upload struct {
	Artifact string // name; "" for a log or another attachment
	Path     string // absolute
}

// Job is what the steps of one job share.
type Job struct {
	Workspace string // files of remarks are named relative to it
	Debug     bool   // shows debug messages
}

// Options are what holds for one step.
type Options struct {
	// ID is in front of the names of the step's output variables.
	ID string
	// Restricted obeys only commands that cannot change what other steps do.
	Restricted bool
	// Settable are the variables that the step may set, when it may not set
	// all.
	Settable []string
	Limited  bool // only those of Settable
	// Readonly reports whether nobody may set a variable, by lower-case name.
	Readonly func(name string) bool
	// Secret reports whether a variable is a secret and remains one.
	Secret func(name string) bool
}

// Listener listens to one step.
type Listener struct {
	job     *Job
	o       Options
	notes   map[plan.Level]int
	said    int
	masked  int
	over    bool
	uploads []Upload
}

// Listen begins to listen to a step.
func (j *Job) Listen(o Options) *Listener {
	return &Listener{job: j, o: o, notes: map[plan.Level]int{}}
}

// Env implements dialect.Listener.
func (l *Listener) Env() map[string]string { return nil }

// Close implements dialect.Listener.
func (l *Listener) Close() (plan.Effects, error) { return plan.Effects{}, nil }

// Uploads are the files that the step asked to keep.
func (l *Listener) Uploads() []Upload { return l.uploads }

var (
	vsoPrefix    = []byte("##vso[")
	formatPrefix = []byte("##[")
)

// Line implements dialect.Listener.
func (l *Listener) Line(line []byte) ([]byte, *plan.Effects) {
	if i := bytes.Index(line, formatPrefix[:2]); i < 0 {
		return shown(line), nil
	}
	if i := bytes.Index(line, vsoPrefix); i >= 0 {
		if c, ok := parse(string(line[i:])); ok {
			return l.obey(c)
		}
	}
	if rest, ok := bytes.CutPrefix(line, formatPrefix); ok {
		return l.format(line, rest), nil
	}
	return shown(line), nil
}

// shown is a line that is shown: an empty one too.
func shown(line []byte) []byte {
	if line == nil {
		return []byte{}
	}
	return line
}

// format is a line with a mark in front.
func (l *Listener) format(line, rest []byte) []byte {
	mark, text, ok := bytes.Cut(rest, []byte("]"))
	if !ok {
		return line
	}
	switch string(mark) {
	case "error":
		return append([]byte("Error: "), text...)
	case "warning":
		return append([]byte("Warning: "), text...)
	case "section", "command":
		return shown(text)
	case "debug":
		if !l.job.Debug {
			return nil
		}
	}
	return line
}

// command is a ##vso command.
type command struct {
	name string // area.event, lower case
	prop map[string]string
	data string
}

// parse reads ##vso[area.event key=value;key=value]data.
func parse(line string) (c command, ok bool) {
	body, data, ok := strings.Cut(strings.TrimPrefix(line, string(vsoPrefix)), "]")
	if !ok {
		return c, false
	}
	name, props, _ := strings.Cut(strings.TrimSpace(body), " ")
	area, event, dotted := strings.Cut(name, ".")
	if !dotted || area == "" || event == "" {
		return c, false
	}
	c = command{name: strings.ToLower(name), prop: map[string]string{}, data: unescape(data)}
	for p := range strings.SplitSeq(props, ";") {
		if key, value, found := strings.Cut(p, "="); found {
			c.prop[strings.ToLower(strings.TrimSpace(key))] = unescape(value)
		}
	}
	return c, true
}

func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]", "%AZP25", "%", "%3b", ";", "%0d", "\r", "%0a", "\n", "%5d", "]").Replace(s)
}

// unrestricted are the commands that restricted steps may give.
var unrestricted = []string{"task.complete", "task.logissue", "task.logdetail", "task.setprogress", "task.setsecret", "task.setvariable", "task.debug", "task.settaskvariable"}

// reply gathers the answer to one line.
type reply struct {
	shown []byte
	said  plan.Effects
	any   bool
}

func (r *reply) show(text string) {
	if r.shown != nil {
		r.shown = append(r.shown, '\n')
	}
	r.shown = append(r.shown, text...)
	if r.shown == nil {
		r.shown = []byte{}
	}
}

// obey does what a command says.
func (l *Listener) obey(c command) ([]byte, *plan.Effects) {
	var r reply
	if l.o.Restricted && !slices.Contains(unrestricted, c.name) {
		l.remark(&r, plan.WarningLevel, fmt.Sprintf("the command ##vso[%s] is not for steps with restricted commands", clip(c.name)))
	} else {
		l.do(c, &r)
	}
	if !r.any {
		return r.shown, nil
	}
	return r.shown, &r.said
}

func (l *Listener) do(c command, r *reply) {
	switch c.name {
	case "task.setvariable":
		l.setVariable(c, r)
	case "task.settaskvariable":
		if name := c.prop["variable"]; name != "" && l.weigh(r, len(name)+len(c.data)) {
			r.said.State, r.any = append(r.said.State, plan.Setting{Name: name, Value: c.data}), true
		}
	case "task.setsecret":
		l.mask(r, c.data)
	case "task.prependpath":
		if c.data == "" {
			l.remark(r, plan.WarningLevel, "##vso[task.prependpath] names no directory")
			return
		}
		r.said.Path, r.any = []string{c.data}, true
	case "task.logissue":
		l.issue(c, r)
	case "task.complete":
		l.complete(c, r)
	case "fairlead.lacking": // our own: a task found that this machine lacks something
		r.show("Error: " + c.data)
		r.said.Lacking, r.any = c.data, true
	case "task.debug":
		if l.job.Debug {
			r.show("##[debug]" + c.data)
		}
	case "task.uploadsummary":
		l.summary(c, r)
	case "artifact.upload":
		l.upload(r, Upload{Artifact: cmp.Or(c.prop["artifactname"], c.prop["containerfolder"]), Path: c.data})
	case "task.uploadfile", "task.addattachment", "build.uploadlog":
		if c.data != "" {
			r.show("Kept beside the log: " + c.data)
		}
	case "build.updatebuildnumber":
		r.show("Build number: " + c.data)
		l.env(r, "build.buildnumber", c.data)
	case "build.addbuildtag", "release.updatereleasename":
		r.show("Tag: " + c.data)
	case "task.setendpoint", "task.setprogress", "task.logdetail", "results.publish", "artifact.associate", "codecoverage.publish", "codecoverage.enable",
		"build.addartifact", "telemetry.publish", "plugininternal.updaterepositorypath":
		// Of use to the service alone.
	default:
		l.remark(r, plan.WarningLevel, fmt.Sprintf("##vso[%s] is no command that is known here", clip(c.name)))
	}
}

// SecretOutput is what the sign of a secret variable says, when other jobs are to have it.
const SecretOutput = "output"

// setVariable gives later steps a variable, and other jobs if it is an output.
func (l *Listener) setVariable(c command, r *reply) {
	name := strings.ToLower(strings.TrimSpace(c.prop["variable"]))
	isTrue := func(key string) bool { return strings.EqualFold(c.prop[key], "true") }
	if name == "" || strings.ContainsAny(name, "\x00\n") || strings.HasPrefix(name, "!") || strings.HasPrefix(name, "=") || strings.HasPrefix(name, "#") {
		l.fail(r, fmt.Sprintf("##vso[task.setvariable] names no variable that can be set: %q", clip(name)))
		return
	}
	if l.o.Limited && !slices.ContainsFunc(l.o.Settable, func(s string) bool { return strings.EqualFold(s, name) }) {
		l.remark(r, plan.WarningLevel, fmt.Sprintf("the step may not set the variable %s: its target's settableVariables does not name it", clip(name)))
		return
	}
	secret := isTrue("issecret") || l.o.Secret != nil && l.o.Secret(name)
	if secret && c.data != "" {
		l.mask(r, c.data)
	}
	full := name
	if isTrue("isoutput") {
		full = strings.ToLower(l.o.ID) + "." + name
	}
	if l.o.Readonly != nil && l.o.Readonly(full) {
		l.remark(r, plan.WarningLevel, fmt.Sprintf("the variable %s is read-only, and keeps its value", clip(full)))
		return
	}
	if !l.weigh(r, len(full)+len(c.data)) {
		return
	}
	r.any = true
	if isTrue("isoutput") && !secret {
		r.said.Outputs = append(r.said.Outputs, plan.Setting{Name: c.prop["variable"], Value: c.data})
	} else {
		l.env(r, full, c.data)
	}
	if secret && isTrue("isoutput") {
		l.env(r, "!"+full, SecretOutput)
	} else if secret {
		l.env(r, "!"+full, "true")
	}
	if isTrue("isreadonly") {
		l.env(r, "="+full, "true")
	}
}

func (l *Listener) env(r *reply, name, value string) {
	r.said.Env, r.any = append(r.said.Env, plan.Setting{Name: name, Value: value}), true
}

// issue is a remark about a place in the code.
func (l *Listener) issue(c command, r *reply) {
	level := plan.WarningLevel
	if strings.EqualFold(c.prop["type"], "error") {
		level = plan.ErrorLevel
	}
	a := plan.Annotation{Level: level, Title: c.prop["code"], Message: c.data, File: l.relative(c.prop["sourcepath"])}
	a.Line, _ = strconv.Atoi(c.prop["linenumber"])
	a.Col, _ = strconv.Atoi(c.prop["columnnumber"])
	where := ""
	if a.File != "" {
		where = a.File
		if a.Line > 0 {
			where += ":" + strconv.Itoa(a.Line)
		}
		where += ": "
	}
	r.show(label(level) + where + c.data)
	l.annotate(r, a)
}

// relative names a file of the workspace by its slash path there.
func (l *Listener) relative(name string) string {
	if name == "" || !filepath.IsAbs(name) || l.job.Workspace == "" {
		return filepath.ToSlash(name)
	}
	if rel, err := filepath.Rel(l.job.Workspace, name); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return name
}

// complete is how the step went, whatever its exit code.
func (l *Listener) complete(c command, r *reply) {
	switch strings.ToLower(c.prop["result"]) {
	case "failed", "canceled", "cancelled":
		r.said.Fail, r.any = cmp.Or(c.data, "the step said that it failed"), true
	case "succeededwithissues":
		r.said.Outputs, r.any = append(r.said.Outputs, plan.Setting{Name: "#result", Value: "SucceededWithIssues"}), true
	}
	if c.data != "" {
		r.show(c.data)
	}
}

// summary is a file in Markdown.
func (l *Listener) summary(c command, r *reply) {
	body, err := readFile(c.data, maxSummary)
	if err != nil {
		l.remark(r, plan.WarningLevel, fmt.Sprintf("the summary %s cannot be read: %v", clip(c.data), err))
		return
	}
	r.said.Summary, r.any = body, true
}

func readFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name) // looking first: opening a fifo would wait for a writer
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fs.ErrInvalid
	case info.Size() > most:
		return nil, errors.New("it is too large")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func (l *Listener) upload(r *reply, u Upload) {
	switch {
	case u.Path == "" || u.Artifact == "":
		l.remark(r, plan.WarningLevel, "##vso[artifact.upload] needs artifactname and a path")
	case len(l.uploads) >= maxUploads:
		l.fail(r, fmt.Sprintf("the step uploads more than %d files", maxUploads))
	default:
		l.uploads = append(l.uploads, u)
	}
}

// annotate records a remark, up to the limits.
func (l *Listener) annotate(r *reply, a plan.Annotation) {
	if l.notes[a.Level]++; l.notes[a.Level] > maxNotes {
		return
	}
	a.Message, a.Title, a.File = truncate(a.Message), truncate(a.Title), truncate(a.File)
	r.said.Notes, r.any = append(r.said.Notes, a), true
}

// remark shows and records a remark of our own.
func (l *Listener) remark(r *reply, level plan.Level, message string) {
	r.show(label(level) + message)
	l.annotate(r, plan.Annotation{Level: level, Message: message})
}

// fail is a remark that fails the step.
func (l *Listener) fail(r *reply, message string) {
	l.remark(r, plan.ErrorLevel, message)
	r.said.Fail, r.any = message, true
}

// weigh counts a value that was said, and reports whether it may be kept. What
// is said beyond the limit fails the step: dropping it silently would make the
// run wrong.
func (l *Listener) weigh(r *reply, n int) bool {
	if l.said += n + settingWeight; l.said <= maxSaid {
		return true
	}
	if !l.over {
		l.over = true
		l.fail(r, fmt.Sprintf("the step's commands hold more than %d MiB of values; write large values to a file", maxSaid>>20))
	}
	return false
}

// mask keeps a value from being shown. Beyond the limit the step fails: masking
// without end would slow down everything that is shown.
func (l *Listener) mask(r *reply, value string) {
	if value == "" {
		return
	}
	if l.masked += len(value); l.masked > maxMasked {
		if l.masked-len(value) <= maxMasked {
			l.fail(r, fmt.Sprintf("the step masks more than %d KiB of values; from here on its values are not masked", maxMasked>>10))
		}
		return
	}
	r.said.Masks, r.any = append(r.said.Masks, value), true
}

// label is what a remark's line in the log begins with.
func label(level plan.Level) string {
	if level == plan.ErrorLevel {
		return "Error: "
	}
	return "Warning: "
}

func truncate(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "")
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
