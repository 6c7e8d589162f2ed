package protocol

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// command is one parsed workflow command.
type command struct {
	name  string // as written
	props []property
	data  string
}

type property struct{ name, value string }

// get is the last value given for a property; names ignore case.
func (c *command) get(name string) string {
	for i := len(c.props) - 1; i >= 0; i-- {
		if strings.EqualFold(c.props[i].name, name) {
			return c.props[i].value
		}
	}
	return ""
}

// int is a property as a number, and whether it is one.
func (c *command) int(name string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(c.get(name)))
	return n, err == nil && n >= 0
}

var (
	colons       = []byte("::")
	legacyPrefix = []byte("##[")

	dataEscapes     = strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n")
	propertyEscapes = strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",")
	legacyEscapes   = strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n", "%3B", ";", "%5D", "]")
)

// commandName is the known command that a name means, "" for none. Names
// ignore case. Text that is not a command costs no allocation.
func commandName(name []byte) string {
	if len(name) > len("remove-matcher") {
		return ""
	}
	var buf [len("remove-matcher")]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	switch string(buf[:len(name)]) {
	case "add-mask":
		return "add-mask"
	case "add-matcher":
		return "add-matcher"
	case "add-path":
		return "add-path"
	case "debug":
		return "debug"
	case "echo":
		return "echo"
	case "endgroup":
		return "endgroup"
	case "error":
		return "error"
	case "group":
		return "group"
	case "notice":
		return "notice"
	case "remove-matcher":
		return "remove-matcher"
	case "save-state":
		return "save-state"
	case "set-env":
		return "set-env"
	case "set-output":
		return "set-output"
	case "stop-commands":
		return "stop-commands"
	case "warning":
		return "warning"
	}
	return ""
}

// quiet reports whether a command is not echoed: it shows itself, or must not
// be shown.
func quiet(name string) bool {
	switch name {
	case "add-mask", "debug", "error", "warning", "notice", "stop-commands":
		return true
	}
	return false
}

// indexNonSpace is the length of the white space that s begins with.
func indexNonSpace(s []byte) int {
	i := 0
	for i < len(s) {
		if s[i] < utf8.RuneSelf {
			if s[i] != ' ' && (s[i] < '\t' || s[i] > '\r') {
				break
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		if !unicode.IsSpace(r) {
			break
		}
		i += n
	}
	return i
}

// parseColons reads ::name k=v,k=v::data. s begins with the first colons.
func (l *listener) parseColons(s []byte) (command, bool) {
	head, data, ok := bytes.Cut(s[len(colons):], colons)
	if !ok {
		return command{}, false
	}
	name, props, _ := bytes.Cut(head, []byte(" "))
	if !l.known(name) {
		return command{}, false
	}
	return command{
		name:  string(name),
		props: properties(strings.TrimSpace(string(props)), ",", propertyEscapes),
		data:  dataEscapes.Replace(trimCR(data)),
	}, true
}

// parseLegacy reads ##[name k=v;k=v]data, which may begin anywhere in a line.
func (l *listener) parseLegacy(s []byte) (command, bool) {
	head, data, ok := bytes.Cut(s[len(legacyPrefix):], []byte("]"))
	if !ok {
		return command{}, false
	}
	name, props, _ := bytes.Cut(head, []byte(" "))
	if !l.known(name) {
		return command{}, false
	}
	return command{
		name:  string(name),
		props: properties(string(props), ";", legacyEscapes),
		data:  legacyEscapes.Replace(trimCR(data)),
	}, true
}

// trimCR drops the CR of a line that ended in CRLF.
func trimCR(s []byte) string { return strings.TrimSuffix(string(s), "\r") }

// properties splits k=v pairs. Pairs without a name or a value do not count.
func properties(s, sep string, escapes *strings.Replacer) []property {
	if s == "" {
		return nil
	}
	var props []property
	for pair := range strings.SplitSeq(s, sep) {
		name, value, _ := strings.Cut(strings.TrimLeft(pair, "="), "=")
		if value = strings.TrimLeft(value, "="); name != "" && value != "" {
			props = append(props, property{name, escapes.Replace(value)})
		}
	}
	return props
}

// do carries out a known command.
func (l *listener) do(name string, c command, r *reply) {
	switch name {
	case "debug":
		if l.job.opt.Debug {
			for line := range strings.SplitSeq(c.data, "\n") {
				r.show("##[debug]" + strings.TrimSuffix(line, "\r"))
			}
		}
	case "error":
		l.issue(plan.ErrorLevel, &c, r)
	case "warning":
		l.issue(plan.WarningLevel, &c, r)
	case "notice":
		l.issue(plan.Notice, &c, r)
	case "group":
		r.show("##[group]" + c.data)
	case "endgroup":
		r.show("##[endgroup]")
	case "echo":
		switch strings.ToLower(strings.TrimSpace(c.data)) {
		case "on":
			l.echo = true
		case "off":
			l.echo = false
		default:
			l.fail(r, "::echo:: takes \"on\" or \"off\", not "+strconv.Quote(truncate(c.data, 100))+".")
		}
	case "add-mask":
		if strings.TrimSpace(c.data) == "" {
			l.remark(r, plan.WarningLevel, "::add-mask:: without a value masks nothing.")
			return
		}
		if l.echo {
			r.show("::add-mask::***")
		}
		l.mask(r, c.data)
	case "add-matcher":
		l.addMatcher(c.data, r)
	case "remove-matcher":
		l.removeMatcher(&c, r)
	case "stop-commands":
		l.stopCommands(c.data, r)
	case "set-output", "save-state":
		l.legacyOutput(name, &c, r)
	case "set-env", "add-path":
		l.unsecure(name, &c, r)
	}
}

// issue is ::error::, ::warning:: and ::notice::.
func (l *listener) issue(level plan.Level, c *command, r *reply) {
	r.show(label(level) + c.data)
	a := plan.Annotation{
		Level:   level,
		Message: c.data,
		Title:   c.get("title"),
		File:    l.job.relative(c.get("file")),
	}
	a.Line, a.EndLine, a.Col, a.EndCol = span(c)
	if l.annotate(&r.said, a) {
		r.any = true
	}
}

// span is the place inside a file that a command names, mended as the runner
// does: an end stands in for a missing beginning; columns make no sense
// without a line or over several; an end before the beginning voids both.
func span(c *command) (line, endLine, col, endCol int) {
	line, hasLine := c.int("line")
	endLine, hasEnd := c.int("endLine")
	col, hasCol := c.int("col")
	endCol, hasEndCol := c.int("endColumn")
	if hasEnd && !hasLine {
		line, hasLine = endLine, true
	}
	if hasEndCol && !hasCol {
		col, hasCol = endCol, true
	}
	if !hasLine || hasEnd && endLine != line || hasEndCol && endCol < col {
		col, endCol, hasCol, hasEndCol = 0, 0, false, false
	}
	if hasEnd && endLine < line {
		line, endLine, hasLine, hasEnd = 0, 0, false, false
	}
	pick := func(n int, has bool) int {
		if !has {
			return 0
		}
		return n
	}
	return pick(line, hasLine), pick(endLine, hasEnd), pick(col, hasCol), pick(endCol, hasEndCol)
}

// relative names a file as seen from the workspace, with slashes, when it is
// in it; other names are left alone.
func (j *Job) relative(file string) string {
	if rel, ok := j.inside(file); ok {
		return rel
	}
	return filepath.ToSlash(file)
}

// inside is the slash path of an absolute file under the workspace.
func (j *Job) inside(file string) (string, bool) {
	if j.opt.Workspace == "" || !filepath.IsAbs(file) {
		return "", false
	}
	rel, err := filepath.Rel(j.opt.Workspace, file)
	if err != nil || rel == "." || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// stopCommands makes everything text until the token comes. A token that
// somebody else might print by accident, or on purpose, is refused.
func (l *listener) stopCommands(token string, r *reply) {
	bad := token == "" || strings.EqualFold(token, "pause-logging") || commandName([]byte(token)) != ""
	if bad && !l.allowTokens {
		l.fail(r, "::stop-commands:: needs a token that is not empty, not \"pause-logging\" and not the name of a command: use a random one.")
		return
	}
	l.stopped, l.token = true, token
	r.show("::stop-commands::" + token)
	if utf8.RuneCountInString(token) > 6 {
		l.mask(r, token)
	}
}

// legacyOutput is set-output and save-state: deprecated since 2022, yet still
// obeyed by the runner, with a warning.
func (l *listener) legacyOutput(command string, c *command, r *reply) {
	file := "GITHUB_OUTPUT"
	if command == "save-state" {
		file = "GITHUB_STATE"
	}
	if l.job.opt.RefuseLegacyOutput {
		l.fail(r, "::"+command+":: is refused here: write NAME=VALUE to $"+file+".")
		return
	}
	if !l.warned[command] {
		if l.warned == nil {
			l.warned = map[string]bool{}
		}
		l.warned[command] = true
		l.remark(r, plan.WarningLevel, "::"+command+":: is deprecated: write NAME=VALUE to $"+file+".")
	}
	name := c.get("name")
	if name == "" {
		l.fail(r, "::"+command+":: needs a name: ::"+command+" name=NAME::VALUE.")
		return
	}
	if !l.weigh(r, len(name)+len(c.data)) {
		return
	}
	r.any = true
	s := plan.Setting{Name: name, Value: c.data}
	if command == "save-state" {
		r.said.State = append(r.said.State, s)
	} else {
		r.said.Outputs = append(r.said.Outputs, s)
	}
}

// unsecure is set-env and add-path, which let anything that a step prints take
// over the steps after it: they fail the step unless it asked for them.
func (l *listener) unsecure(command string, c *command, r *reply) {
	file := "GITHUB_ENV"
	if command == "add-path" {
		file = "GITHUB_PATH"
	}
	if !l.allow {
		l.fail(r, "::"+command+":: is disabled: write to $"+file+", or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true if nothing untrusted is ever printed.")
		return
	}
	if command == "add-path" {
		if c.data == "" {
			l.fail(r, "::add-path:: needs a directory.")
		} else if l.weigh(r, len(c.data)) {
			l.path = append(l.path, c.data) // told by Close, in the right order
		}
		return
	}
	name := c.get("name")
	switch {
	case name == "":
		l.fail(r, "::set-env:: needs a name: ::set-env name=NAME::VALUE.")
	case blocked(name):
		l.remark(r, plan.ErrorLevel, "::set-env:: may not set "+name+".")
	case l.weigh(r, len(name)+len(c.data)):
		r.said.Env, r.any = append(r.said.Env, plan.Setting{Name: name, Value: c.data}), true
	}
}

// blocked reports whether a variable may not be set for later steps: node
// would run code that it names.
func blocked(name string) bool { return strings.EqualFold(name, "NODE_OPTIONS") }
