package workflow

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// testData is a folder of other projects' cases; the test is skipped when it is
// not on this machine.
func testData(t testing.TB, variable, fallback string, parts ...string) string {
	t.Helper()
	root := os.Getenv(variable)
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", fallback)
	}
	dir := filepath.Join(append([]string{root}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%s is not here; set %s", dir, variable)
	}
	return dir
}

// options is the first document of a case.
type options struct {
	IncludeSource bool           `yaml:"include-source"`
	MaxDepth      int            `yaml:"max-depth"`
	MaxFileSize   int            `yaml:"max-file-size"`
	MaxJobs       int            `yaml:"max-job-limit"`
	MaxCallDepth  int            `yaml:"max-nested-reusable-workflows-depth"`
	MaxResult     int            `yaml:"max-result-size"`
	Policy        string         `yaml:"permissions-policy"`
	SkipCalls     bool           `yaml:"skip-reusable-workflows"`
	Rest          map[string]any `yaml:",inline"`
}

type conformanceCase struct {
	name    string
	options options
	file    string
	text    string
	files   map[string]string
	want    map[string]any
}

func readCase(t *testing.T, path string) conformanceCase {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := conformanceCase{name: strings.TrimSuffix(filepath.Base(path), ".yml"), files: map[string]string{}}
	c.file = ".github/workflows/" + filepath.Base(path)
	docs := regexp.MustCompile(`\r?\n---[ \t]*\r?\n`).Split(string(b), -1)
	if err := yaml.Unmarshal([]byte(docs[0]), &c.options); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	c.text = docs[1]
	last := len(docs) - 1
	for i := 2; i+1 < last; i += 2 {
		c.files[strings.TrimSpace(docs[i])] = docs[i+1]
	}
	if err := json.Unmarshal([]byte(docs[last]), &c.want); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c
}

// knownDifferences are cases in which Fairlead does on purpose what the case does
// not expect.
var knownDifferences = map[string]string{
	"is-partial-rerun":             "the order of the file table after a rerun is a matter of GitHub's server, and the case calls it temporary",
	"yaml-schema-sequence":         "a comment without a space before it, [one]#, is not YAML; the library refuses it",
	"errors-anchor-tag":            "anchors are allowed since 2025",
	"events-single-invalid":        "unknown filters under on: are warnings; GitHub ignores them, see on-workflow_dispatch-unknown-keys-ignored",
	"events-single-invalid-config": "unknown filters under on: are warnings",
}

// TestParserConformance runs GitHub's own parser cases on three levels: whether
// the file is accepted; for a file that is not, that each expected error has an
// error of ours with the same file, line and column, about the same fact by its
// rule, and that there is none elsewhere; for a file that is, that the typed
// tree, written in the form of the case, is the expected plan. Positions in the
// plan are compared wherever the tree keeps them.
func TestParserConformance(t *testing.T) {
	t.Parallel()
	dir := testData(t, "FAIRLEAD_CONFORMANCE", "../shared/conformance", "github", "workflow-parser")
	paths, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	var passed [4]int
	for _, path := range paths {
		c := readCase(t, path)
		var missed []string
		got, problems := c.run()
		expected, _ := c.want["errors"].([]any)
		accept := len(expected) == 0
		if accept == !plan.Errors(problems) {
			passed[1]++
		} else {
			missed = append(missed, fmt.Sprintf("accepted %v, expected %v: %v", !accept, accept, problems))
		}
		if diff := compareErrors(expected, problems); diff == "" {
			passed[2]++
		} else {
			missed = append(missed, diff)
		}
		if diff := comparePlans(c.want, got, accept); diff == "" {
			passed[3]++
		} else {
			missed = append(missed, diff)
		}
		if len(missed) == 0 {
			passed[0]++
		} else if why := knownDifferences[c.name]; why != "" {
			t.Logf("known difference: %s: %s", c.name, why)
			t.Attr("scoreboard-rest", fmt.Sprintf("parser %s: %s", c.name, why))
		} else {
			t.Errorf("%s:\n%s", c.name, strings.Join(missed, "\n"))
		}
	}
	for level, what := range []string{"all levels together", "level 1, accept or reject", "level 2, errors", "level 3, plan"} {
		t.Logf("%s: %d of %d pass", what, passed[level], len(paths))
	}
	t.Attr("scoreboard", fmt.Sprintf("parser %d/%d", passed[0], len(paths)))
	if passed[0] < 185 {
		t.Errorf("%d of %d pass all levels; the bar is 185", passed[0], len(paths))
	}
}

// run reads the workflow and what it calls; the plan is in the form of the case.
func (c conformanceCase) run() (map[string]any, []plan.Problem) {
	l := githubLimits()
	set := func(limit *int, value int) {
		if value > 0 {
			*limit = value
		}
	}
	set(&l.depth, c.options.MaxDepth)
	set(&l.size, c.options.MaxFileSize)
	set(&l.result, c.options.MaxResult)
	w, problems := read(c.file, []byte(c.text), l)
	if plan.Errors(problems) {
		return nil, problems
	}
	linker := Linker{
		MaxDepth: c.options.MaxCallDepth, MaxJobs: c.options.MaxJobs, MaxSize: c.options.MaxResult,
		Load: func(_ *Workflow, uses Str) (string, []byte, error) {
			text, ok := c.files[uses.Text]
			if !ok || c.options.SkipCalls {
				return "", nil, ErrNotLoaded
			}
			return uses.Text, []byte(text), nil
		},
	}
	switch c.options.Policy {
	case "LimitedRead":
		linker.Default = LimitedRead()
	case "Write":
		linker.Default = WriteAll()
	}
	problems = append(problems, linker.Link(w)...)
	e := &exporter{places: c.options.IncludeSource, files: []string{c.file}}
	return e.workflow(w), problems
}

var officialError = regexp.MustCompile(`^(?:In )?(?:(\S+?):? ?)?\(Line: (\d+), Col: (\d+)\): (?s:(.*))$`)

// facts maps the beginnings of the official messages to the rules that may say the
// same.
var facts = []struct {
	prefix string
	rules  []string
}{
	{"Unexpected value", []string{ruleKey, ruleValue, ruleExpression, ruleCall}},
	{"A template expression is not allowed", []string{ruleContext}},
	{"An expression was expected", []string{ruleExpression}},
	{"The expression is not closed", []string{ruleExpression}},
	{"Unrecognized named-value", []string{ruleContext}},
	{"Unrecognized function", []string{ruleContext}},
	{"Unexpected symbol", []string{ruleExpression}},
	{"Unexpected end of expression", []string{ruleExpression}},
	{"The directive", []string{ruleExpression}},
	{"Exceeded max expression length", []string{ruleExpression}},
	{"Required property is missing", []string{ruleMissing}},
	{"There's not enough info", []string{ruleMissing, ruleKey}},
	{"The identifier", []string{ruleID}},
	{"A mapping was not expected", []string{ruleValue}},
	{"A sequence was not expected", []string{ruleValue}},
	{"Job '", []string{ruleNeeds}},
	{"The workflow must contain at least one job", []string{ruleNeeds}},
	{"Matrix", []string{ruleMatrix}},
	{"Expected format", []string{ruleUses, ruleValue}},
	{"Concurrency group name", []string{ruleValue}},
	{"workflow_call key is not defined", []string{ruleCall}},
	{"Invalid runs-on group", []string{ruleValue}},
	{"Container image cannot be empty", []string{ruleValue}},
	{"Input ", []string{ruleCall}},
	{"Invalid input", []string{ruleCall}},
	{"Secret ", []string{ruleCall}},
	{"Invalid secret", []string{ruleCall}},
	{"Error calling workflow", []string{ruleCall}},
	{"Error from called workflow", []string{ruleCall, ruleLimit}},
	{"'", []string{ruleKey}}, // 'x' is already defined
}

// compareErrors pairs expected messages with problems. An official message
// without a position is matched by any one problem.
func compareErrors(expected []any, problems []plan.Problem) string {
	var diff []string
	covered := make([]bool, len(problems))
	free := false
	for _, x := range expected {
		message, _ := x.(map[string]any)["Message"].(string)
		m := officialError.FindStringSubmatch(message)
		if m == nil {
			free = true
			continue
		}
		at := m[1] + ":" + m[2] + ":" + m[3]
		found := false
		for i, p := range problems {
			if p.Severity == plan.Error && p.Source.String() == at && sameFact(m[4], p.Rule) {
				found, covered[i] = true, true
			}
		}
		if !found {
			diff = append(diff, "missing: "+message)
		}
	}
	for i, p := range problems {
		if p.Severity == plan.Error && !covered[i] && !free {
			diff = append(diff, "not expected: "+p.String())
		}
	}
	if free && !plan.Errors(problems) {
		diff = append(diff, "no problem at all")
	}
	return strings.Join(diff, "\n")
}

func sameFact(official, rule string) bool {
	for _, f := range facts {
		if strings.HasPrefix(official, f.prefix) {
			return slices.Contains(f.rules, rule)
		}
	}
	return false
}

func comparePlans(want, got map[string]any, accept bool) string {
	if !accept {
		return ""
	}
	b, err := json.Marshal(got)
	if err != nil {
		return err.Error()
	}
	var back map[string]any
	if err := json.Unmarshal(b, &back); err != nil {
		return err.Error()
	}
	for _, optional := range []string{"events", "input-types", "file-table"} {
		if want[optional] == nil {
			delete(back, optional)
		}
	}
	return difference("plan", want, back)
}

// difference describes the first few places in which two JSON values differ. The
// entries of a mapping may come in any order, and a plain value of ours matches
// one that has a place.
func difference(path string, want, got any) string {
	w, isMap := want.(map[string]any)
	if isMap {
		g, ok := got.(map[string]any)
		if !ok {
			for _, key := range []string{"lit", "bool", "num"} {
				if v, has := w[key]; has && w["line"] != nil {
					return difference(path, v, got)
				}
			}
			return fmt.Sprintf("%s: want %v, got %v", path, want, got)
		}
		var diff []string
		for k, v := range w {
			if _, ok := g[k]; !ok {
				if g["line"] == nil && (k == "line" || k == "col" || k == "file") {
					continue // the tree does not keep this place
				}
				diff = append(diff, fmt.Sprintf("%s.%s: missing, want %v", path, k, v))
				continue
			}
			if d := difference(path+"."+k, v, g[k]); d != "" {
				diff = append(diff, d)
			}
		}
		for k, v := range g {
			if _, ok := w[k]; !ok {
				diff = append(diff, fmt.Sprintf("%s.%s: not expected: %v", path, k, v))
			}
		}
		return strings.Join(diff[:min(len(diff), 4)], "\n")
	}
	if w, ok := want.([]any); ok {
		g, ok := got.([]any)
		if !ok || len(w) != len(g) {
			return fmt.Sprintf("%s: want %v, got %v", path, want, got)
		}
		if strings.HasSuffix(path, ".map") {
			w, g = byKey(w), byKey(g)
		}
		for i := range w {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s: want %v, got %v", path, want, got)
	}
	return ""
}

func byKey(entries []any) []any {
	name := func(e any) string {
		k := e.(map[string]any)["Key"]
		if m, ok := k.(map[string]any); ok {
			return fmt.Sprint(m["lit"], m["expr"], m["directive"])
		}
		return fmt.Sprint(k) + "<nil><nil>"
	}
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b any) int { return strings.Compare(name(a), name(b)) })
	return entries
}

// exporter writes a typed tree in the form of the cases.
type exporter struct {
	places bool
	files  []string
}

type dict = map[string]any

func (e *exporter) workflow(w *Workflow) dict {
	o := dict{"jobs": e.jobs(w, nil), "events": e.events(&w.On)}
	if w.On.Dispatch != nil && len(w.On.Dispatch.Inputs) > 0 {
		types := dict{}
		for _, in := range w.On.Dispatch.Inputs {
			types[in.Name.Text] = in.Kind()
		}
		o["input-types"] = types
	}
	e.put(o, "env", e.pairs(w.Env))
	e.put(o, "defaults", e.defaults(w.Defaults))
	e.put(o, "permissions", e.permissions(w.Permissions))
	e.put(o, "concurrency", e.concurrency(w.Concurrency))
	if e.places {
		o["file-table"] = e.files
	}
	return o
}

func (e *exporter) put(o dict, key string, value any) {
	if value != nil {
		o[key] = value
	}
}

func (e *exporter) putStr(o dict, key string, s Str) {
	if s.Given() {
		o[key] = e.str(s)
	}
}

func (e *exporter) place(o dict, at plan.Source) dict {
	if e.places && at.Line > 0 {
		i := slices.Index(e.files, at.File)
		if i < 0 {
			i = len(e.files)
			e.files = append(e.files, at.File)
		}
		o["file"], o["line"], o["col"] = i+1, at.Line, at.Col
	}
	return o
}

func (e *exporter) str(s Str) any {
	text := s.Text
	if t, err := expression.ParseTemplate(text); err == nil {
		if lit, ok := t.Literal(); ok { // an escaped ${{
			text = lit
		}
	}
	if s.HasExpr() && text == s.Text {
		if s.ExprText() == "insert" {
			return e.place(dict{"type": 4, "directive": "insert"}, s.Source)
		}
		return e.place(dict{"type": 3, "expr": s.ExprText()}, s.Source)
	}
	value := s.Value
	if _, ok := value.(string); ok {
		value = text
	}
	if f, ok := value.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
		value = s.Text
	}
	if !e.places {
		return value
	}
	switch value.(type) {
	case nil:
		return e.place(dict{"type": 7}, s.Source)
	case bool:
		return e.place(dict{"type": 5, "bool": value}, s.Source)
	case float64:
		return e.place(dict{"type": 6, "num": value}, s.Source)
	}
	return e.place(dict{"type": 0, "lit": text}, s.Source)
}

func (e *exporter) node(n *Node) any {
	switch n.Kind {
	case Sequence:
		seq := []any{}
		for _, item := range n.Items {
			seq = append(seq, e.node(item))
		}
		return e.place(dict{"type": 1, "seq": seq}, n.Source)
	case Mapping:
		var entries []any
		for _, f := range n.Fields {
			entries = append(entries, dict{"Key": e.str(f.Key), "Value": e.node(f.Value)})
		}
		return e.mapping(entries, n.Source)
	}
	return e.str(n.Scalar)
}

func (e *exporter) mapping(entries []any, at plan.Source) any {
	o := dict{"type": 2}
	if len(entries) > 0 {
		o["map"] = entries
	}
	return e.place(o, at)
}

// entry is a key whose place the tree does not keep.
func entry(key string, value any) any { return dict{"Key": key, "Value": value} }

func (e *exporter) pairs(pairs []Pair) any {
	if pairs == nil {
		return nil
	}
	if len(pairs) == 1 && pairs[0].Insert && pairs[0].Key == pairs[0].Value {
		return e.str(pairs[0].Value)
	}
	var entries []any
	for _, p := range pairs {
		entries = append(entries, dict{"Key": e.str(p.Key), "Value": e.str(p.Value)})
	}
	return e.mapping(entries, plan.Source{})
}

func (e *exporter) list(all []Str) any {
	seq := []any{}
	for _, s := range all {
		seq = append(seq, e.str(s))
	}
	return dict{"type": 1, "seq": seq}
}

// settings is a mapping of known keys; what is not given is left out.
func (e *exporter) settings(at plan.Source, list ...any) any {
	var entries []any
	for i := 0; i < len(list); i += 2 {
		switch v := list[i+1].(type) {
		case nil:
		case Str:
			if v.Given() {
				entries = append(entries, entry(list[i].(string), e.str(v)))
			}
		default:
			entries = append(entries, entry(list[i].(string), v))
		}
	}
	return e.mapping(entries, at)
}

func (e *exporter) defaults(d *Defaults) any {
	if d == nil {
		return nil
	}
	return e.settings(plan.Source{}, "run", e.settings(d.Source, "shell", d.Shell, "working-directory", d.WorkingDirectory))
}

// permissions are written by scope; the cases know thirteen of them when all are
// meant.
func (e *exporter) permissions(p *Permissions) any {
	if p == nil {
		return nil
	}
	o := dict{}
	if p.All.Given() {
		for _, scope := range strings.Fields("actions checks contents deployments discussions id-token issues packages pages pull-requests repository-projects security-events statuses") {
			o[scope] = p.Access(scope).String()
		}
		return o
	}
	for _, s := range p.Scopes {
		if p.Access(s.Key.Text) != NoAccess {
			o[s.Key.Text] = p.Access(s.Key.Text).String()
		}
	}
	return o
}

func (e *exporter) concurrency(c *Concurrency) any {
	switch {
	case c == nil:
		return nil
	case c.Source == c.Group.Source:
		return e.str(c.Group)
	}
	return e.settings(c.Source, "group", c.Group, "cancel-in-progress", c.CancelInProgress, "queue", c.Queue)
}

func (e *exporter) jobs(w *Workflow, caller *Permissions) []any {
	all := []any{}
	for _, j := range w.Jobs {
		all = append(all, e.job(w, j, caller))
	}
	return all
}

func (e *exporter) condition(s Str, condition string) any {
	at := s.Source
	if !s.Given() {
		at = plan.Source{}
	}
	return e.place(dict{"type": 3, "expr": condition}, at)
}

func (e *exporter) job(w *Workflow, j *Job, caller *Permissions) any {
	o := dict{"type": "job", "id": e.str(j.ID), "name": e.str(j.ID), "if": e.condition(j.If, j.Condition)}
	if j.Name.Text != "" {
		o["name"] = e.str(j.Name)
	}
	needs := []any{}
	for _, n := range j.Needs {
		needs = append(needs, e.str(n))
	}
	if len(needs) > 0 || j.Uses.Given() {
		o["needs"] = needs
	}
	granted := w.PermissionsOf(j, caller)
	e.put(o, "concurrency", e.concurrency(j.Concurrency))
	e.put(o, "strategy", e.strategy(j.Strategy))
	if j.Uses.Given() {
		e.call(o, j, granted)
		return o
	}
	e.put(o, "permissions", e.permissions(granted))
	e.put(o, "runs-on", e.runsOn(j.RunsOn))
	e.put(o, "env", e.pairs(j.Env))
	e.put(o, "outputs", e.pairs(j.Outputs))
	e.put(o, "container", e.container(j.Container))
	e.put(o, "services", e.services(j.Services))
	e.put(o, "defaults", e.defaults(j.Defaults))
	e.put(o, "environment", e.environment(j.Environment))
	e.put(o, "snapshot", e.snapshot(j.Snapshot))
	e.putStr(o, "timeout-minutes", j.Timeout)
	e.putStr(o, "cancel-timeout-minutes", j.CancelTimeout)
	e.putStr(o, "continue-on-error", j.ContinueOnError)
	if len(j.Steps) > 0 {
		o["steps"] = e.steps(j.Steps)
	}
	return o
}

func (e *exporter) call(o dict, j *Job, granted *Permissions) {
	o["type"] = "reusableWorkflowJob"
	o["ref"] = e.str(j.Uses)
	e.put(o, "input-values", e.pairs(j.With))
	e.put(o, "secret-values", e.pairs(j.Secrets))
	if j.InheritSecrets {
		o["inherit-secrets"] = true
	}
	o["jobs"] = []any{}
	w := j.Called
	if w == nil {
		e.put(o, "permissions", e.permissions(granted))
		return
	}
	if c := w.On.Call; c != nil {
		var inputs, outputs, secrets []any
		for _, in := range c.Inputs {
			inputs = append(inputs, dict{"Key": e.str(in.Name), "Value": e.settings(plan.Source{},
				"description", in.Description, "required", in.Required, "type", in.Type, "default", in.Default)})
		}
		for _, out := range c.Outputs {
			outputs = append(outputs, dict{"Key": e.str(out.Name), "Value": e.settings(plan.Source{},
				"description", out.Description, "value", out.Value)})
		}
		for _, s := range c.Secrets {
			var settings any
			if s.Description.Given() || s.Required.Given() {
				settings = e.settings(plan.Source{}, "description", s.Description, "required", s.Required)
			}
			secrets = append(secrets, dict{"Key": e.str(s.Name), "Value": settings})
		}
		for key, entries := range map[string][]any{"input-definitions": inputs, "outputs": outputs, "secret-definitions": secrets} {
			if entries != nil {
				o[key] = e.mapping(entries, plan.Source{})
			}
		}
	}
	if w.Permissions != nil {
		granted = w.Permissions
	}
	e.put(o, "permissions", e.permissions(granted))
	e.put(o, "env", e.pairs(w.Env))
	e.put(o, "defaults", e.defaults(w.Defaults))
	e.put(o, "embedded-concurrency", e.concurrency(w.Concurrency))
	o["jobs"] = e.jobs(w, granted)
}

func (e *exporter) runsOn(r RunsOn) any {
	labels := func() any {
		switch {
		case r.Labels == nil:
			return nil
		case r.List:
			return e.list(r.Labels)
		}
		return e.str(r.Labels[0])
	}
	if r.Group.Given() || len(r.Labels) == 1 && !r.List && r.Labels[0].Source != r.Source {
		return e.settings(r.Source, "group", r.Group, "labels", labels())
	}
	return labels()
}

func (e *exporter) strategy(s *Strategy) any {
	switch {
	case s == nil:
		return nil
	case s.Expr.Given():
		return e.str(s.Expr)
	}
	var matrix any
	if m := s.Matrix; m != nil {
		var entries []any
		for _, v := range m.Vectors {
			entries = append(entries, dict{"Key": e.str(v.Key), "Value": e.node(v.Value)})
		}
		if m.Include != nil {
			entries = append(entries, entry("include", e.node(m.Include)))
		}
		if m.Exclude != nil {
			entries = append(entries, entry("exclude", e.node(m.Exclude)))
		}
		matrix = e.mapping(entries, m.Source)
		if m.Expr.Given() {
			matrix = e.str(m.Expr)
		}
	}
	return e.settings(s.Source, "fail-fast", s.FailFast, "max-parallel", s.MaxParallel, "matrix", matrix)
}

func (e *exporter) container(c *Container) any {
	switch {
	case c == nil:
		return nil
	case c.Expr.Given():
		return e.str(c.Expr)
	case c.Short:
		return e.str(c.Image)
	}
	list := func(all []Str) any {
		if all == nil {
			return nil
		}
		return e.list(all)
	}
	var login any
	if c.Credentials != nil {
		login = e.settings(c.Credentials.Source, "username", c.Credentials.Username, "password", c.Credentials.Password)
	}
	return e.settings(c.Source, "image", c.Image, "env", e.pairs(c.Env), "ports", list(c.Ports), "volumes", list(c.Volumes),
		"options", c.Options, "entrypoint", c.Entrypoint, "command", c.Command, "credentials", login)
}

func (e *exporter) services(services []Service) any {
	if services == nil {
		return nil
	}
	var entries []any
	for _, s := range services {
		entries = append(entries, dict{"Key": e.str(s.Name), "Value": e.container(s.Container)})
	}
	return e.mapping(entries, plan.Source{})
}

func (e *exporter) environment(v *Environment) any {
	switch {
	case v == nil:
		return nil
	case v.Source == v.Name.Source:
		return e.str(v.Name)
	}
	return e.settings(v.Source, "name", v.Name, "url", v.URL, "deployment", v.Deployment)
}

func (e *exporter) snapshot(s *Snapshot) any {
	switch {
	case s == nil:
		return nil
	case s.Short:
		return e.str(s.Image)
	}
	return e.settings(s.Source, "image-name", s.Image, "version", s.Version, "if", s.If)
}

func (e *exporter) steps(steps []*Step) []any {
	all := []any{}
	for _, s := range steps {
		o := dict{"id": s.Key}
		if s.Condition != "" {
			o["if"] = e.condition(s.If, s.Condition)
		}
		e.putStr(o, "name", s.Name)
		e.putStr(o, "run", s.Run)
		e.putStr(o, "uses", s.Uses)
		e.put(o, "with", e.pairs(s.With))
		e.put(o, "env", e.pairs(s.Env))
		e.putStr(o, "shell", s.Shell)
		e.putStr(o, "working-directory", s.WorkingDirectory)
		e.putStr(o, "timeout-minutes", s.Timeout)
		e.putStr(o, "continue-on-error", s.ContinueOnError)
		e.putStr(o, "background", s.Background)
		title := ""
		switch s.Kind() {
		case "wait":
			var ids []any
			for _, id := range s.Wait {
				ids = append(ids, e.str(id))
			}
			o["wait"], title = ids, "Wait"
		case "wait-all":
			o["wait-all"], title = true, "Wait for all"
		case "cancel":
			o["cancel"], title = e.str(s.Cancel), "Cancel"
		}
		if title != "" && !s.Name.Given() {
			o["name"] = title
		}
		all = append(all, o)
	}
	return all
}

func (e *exporter) events(t *Triggers) any {
	all := dict{}
	texts := func(o dict, key string, list []Str) {
		if list == nil {
			return
		}
		var values []any
		for _, s := range list {
			values = append(values, s.Text)
		}
		o[key] = values
	}
	for _, ev := range t.Events {
		o := dict{}
		texts(o, "types", ev.Types)
		texts(o, "branches", ev.Branches)
		texts(o, "branches-ignore", ev.BranchesIgnore)
		texts(o, "tags", ev.Tags)
		texts(o, "tags-ignore", ev.TagsIgnore)
		texts(o, "paths", ev.Paths)
		texts(o, "paths-ignore", ev.PathsIgnore)
		texts(o, "workflows", ev.Workflows)
		texts(o, "names", ev.Names)
		texts(o, "versions", ev.Versions)
		switch ev.Event {
		case "workflow_dispatch":
			if inputs := e.inputs(t.Dispatch.Inputs); len(inputs) > 0 {
				o["inputs"] = inputs
			}
		case "workflow_call":
			if inputs := e.inputs(t.Call.Inputs); len(inputs) > 0 {
				o["inputs"] = inputs
			}
			if len(t.Call.Secrets) > 0 {
				secrets := dict{}
				for _, s := range t.Call.Secrets {
					v := dict{}
					if s.Description.Given() {
						v["description"] = s.Description.Text
					}
					if s.Required.Given() {
						v["required"] = s.Must()
					}
					secrets[s.Name.Text] = v
				}
				o["secrets"] = secrets
			}
		case "schedule":
			var lines []any
			for _, c := range ev.Cron {
				lines = append(lines, dict{"cron": c.Line.Text})
			}
			all[ev.Event] = lines
			continue
		}
		all[ev.Event] = o
	}
	return all
}

func (e *exporter) inputs(inputs []Input) dict {
	all := dict{}
	for _, in := range inputs {
		v := dict{}
		for key, s := range map[string]Str{"type": in.Type, "description": in.Description, "default": in.Default, "required": in.Required} {
			if s.Given() {
				v[key] = s.Value
			}
		}
		if in.Options != nil {
			var options []any
			for _, o := range in.Options {
				options = append(options, o.Text)
			}
			v["options"] = options
		}
		all[in.Name.Text] = v
	}
	return all
}
