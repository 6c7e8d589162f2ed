package workflow

import (
	"strings"
)

// The functions of this file turn a checked node tree into types. They take
// what fits and leave out the rest, which has been reported.

// str is the scalar under a key.
func (n *Node) str(key string) Str { return n.Get(key).scalar() }

func (n *Node) scalar() Str {
	if n == nil || n.Kind != Scalar {
		return Str{}
	}
	return n.Scalar
}

// strs is a list of scalars, or one scalar as a list of it.
func (n *Node) strs() []Str {
	if n == nil {
		return nil
	}
	switch {
	case n.Kind == Sequence:
		all := make([]Str, 0, len(n.Items))
		for _, item := range n.Items {
			if item.Kind == Scalar {
				all = append(all, item.Scalar)
			}
		}
		return all
	case n.Kind == Scalar && !n.IsNull():
		return []Str{n.Scalar}
	}
	return nil
}

// fields are the entries of a mapping; a scalar expression in its place is one
// entry to be inserted.
func (n *Node) fields() []Field {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar && n.Scalar.HasExpr():
		return []Field{{Key: n.Scalar, Value: n, Insert: true}}
	}
	return n.Fields
}

func (n *Node) pairs() []Pair {
	fields := n.fields()
	if fields == nil {
		return nil
	}
	pairs := make([]Pair, 0, len(fields))
	for _, f := range fields {
		if f.Value.Kind == Scalar {
			pairs = append(pairs, Pair{Key: f.Key, Value: f.Value.Scalar, Insert: f.Insert})
		}
	}
	return pairs
}

func (f *file) workflow(n *Node) *Workflow {
	w := &Workflow{
		Name:        n.str("name"),
		Description: n.str("description"),
		RunName:     n.str("run-name"),
		On:          readTriggers(n),
		Env:         n.Get("env").pairs(),
		Defaults:    readDefaults(n.Get("defaults")),
		Permissions: readPermissions(n.Get("permissions")),
		Concurrency: readConcurrency(n.Get("concurrency")),
		Source:      n.Source,
	}
	if jobs := n.Get("jobs"); jobs != nil {
		w.jobsAt = jobs.Source
		w.Jobs = make([]*Job, 0, len(jobs.Fields))
		w.byID = make(map[string]*Job, len(jobs.Fields))
		for i := range jobs.Fields {
			field := &jobs.Fields[i]
			if field.Value.Kind == Mapping && w.Job(field.Key.Text) == nil {
				j := readJob(field.Key, field.Value)
				w.Jobs = append(w.Jobs, j)
				w.byID[strings.ToLower(j.ID.Text)] = j
			}
		}
	}
	return w
}

func readTriggers(root *Node) Triggers {
	on := root.Get("on")
	t := Triggers{}
	if on == nil {
		return t
	}
	t.Source = on.Source
	add := func(name Str, filters *Node) {
		e := Trigger{Event: name.Text, Source: name.Source}
		switch name.Text {
		case "schedule":
			if filters != nil && filters.Kind == Sequence {
				for _, item := range filters.Items {
					e.Cron = append(e.Cron, Cron{Line: item.str("cron"), Timezone: item.str("timezone")})
				}
			}
		case "workflow_dispatch":
			t.Dispatch = &Dispatch{}
			if inputs := filters.Get("inputs"); inputs != nil {
				t.Dispatch.Inputs = readInputs(inputs)
			}
		case "workflow_call":
			t.Call = readCall(name, filters)
		default:
			e.Types = filters.Get("types").strs()
			e.Branches = filters.Get("branches").strs()
			e.BranchesIgnore = filters.Get("branches-ignore").strs()
			e.Tags = filters.Get("tags").strs()
			e.TagsIgnore = filters.Get("tags-ignore").strs()
			e.Paths = filters.Get("paths").strs()
			e.PathsIgnore = filters.Get("paths-ignore").strs()
			e.Workflows = filters.Get("workflows").strs()
			e.Names = filters.Get("names").strs()
			e.Versions = filters.Get("versions").strs()
		}
		t.Events = append(t.Events, e)
	}
	switch on.Kind {
	case Scalar:
		add(on.Scalar, nil)
	case Sequence:
		for _, item := range on.Items {
			if item.Kind == Scalar {
				add(item.Scalar, nil)
			}
		}
	case Mapping:
		for _, f := range on.Fields {
			add(f.Key, f.Value)
		}
	}
	return t
}

func readInputs(n *Node) []Input {
	inputs := make([]Input, 0, len(n.Fields))
	for _, f := range n.Fields {
		inputs = append(inputs, Input{
			Name:        f.Key,
			Description: f.Value.str("description"),
			Type:        f.Value.str("type"),
			Required:    f.Value.str("required"),
			Default:     f.Value.str("default"),
			Options:     f.Value.Get("options").strs(),
			Deprecation: f.Value.str("deprecationMessage"),
		})
	}
	return inputs
}

func readOutputs(n *Node) []Output {
	var outputs []Output
	if n == nil {
		return nil
	}
	for _, f := range n.Fields {
		outputs = append(outputs, Output{Name: f.Key, Description: f.Value.str("description"), Value: f.Value.str("value")})
	}
	return outputs
}

func readCall(name Str, n *Node) *Call {
	c := &Call{Source: name.Source, Outputs: readOutputs(n.Get("outputs"))}
	if inputs := n.Get("inputs"); inputs != nil {
		c.Inputs = readInputs(inputs)
	}
	if secrets := n.Get("secrets"); secrets != nil {
		for _, f := range secrets.Fields {
			c.Secrets = append(c.Secrets, Secret{Name: f.Key, Description: f.Value.str("description"), Required: f.Value.str("required")})
		}
	}
	return c
}

func readDefaults(n *Node) *Defaults {
	run := n.Get("run")
	if run == nil {
		return nil
	}
	return &Defaults{Shell: run.str("shell"), WorkingDirectory: run.str("working-directory"), Source: run.Source}
}

func readConcurrency(n *Node) *Concurrency {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar:
		return &Concurrency{Group: n.Scalar, Source: n.Source}
	}
	return &Concurrency{
		Group:            n.str("group"),
		CancelInProgress: n.str("cancel-in-progress"),
		Queue:            n.str("queue"),
		Source:           n.Source,
	}
}

func readJob(id Str, n *Node) *Job {
	j := &Job{
		ID:              id,
		Name:            n.str("name"),
		Needs:           n.Get("needs").strs(),
		If:              n.str("if"),
		RunsOn:          readRunsOn(n.Get("runs-on")),
		Strategy:        readStrategy(n.Get("strategy")),
		Env:             n.Get("env").pairs(),
		Container:       readContainer(n.Get("container")),
		Services:        readServices(n.Get("services")),
		Outputs:         n.Get("outputs").pairs(),
		Timeout:         n.str("timeout-minutes"),
		CancelTimeout:   n.str("cancel-timeout-minutes"),
		ContinueOnError: n.str("continue-on-error"),
		Concurrency:     readConcurrency(n.Get("concurrency")),
		Defaults:        readDefaults(n.Get("defaults")),
		Environment:     readEnvironment(n.Get("environment")),
		Permissions:     readPermissions(n.Get("permissions")),
		Snapshot:        readSnapshot(n.Get("snapshot")),
		Uses:            n.str("uses"),
		With:            n.Get("with").pairs(),
		Source:          n.Source,
	}
	j.Condition = guarded(j.If)
	if steps := n.Get("steps"); steps != nil {
		j.Steps = readSteps(steps)
		nameSteps(j.Steps)
	}
	if secrets := n.Get("secrets"); secrets != nil {
		if secrets.Kind == Mapping {
			j.Secrets = secrets.pairs()
		} else {
			j.InheritSecrets = secrets.Scalar.Text == "inherit"
		}
	}
	return j
}

func readRunsOn(n *Node) RunsOn {
	if n == nil {
		return RunsOn{}
	}
	r := RunsOn{Source: n.Source}
	labels := n
	if n.Kind == Mapping {
		r.Group = n.str("group")
		labels = n.Get("labels")
	}
	r.Labels = labels.strs()
	r.List = labels != nil && labels.Kind == Sequence
	r.Whole = n.Kind == Scalar && n.Scalar.wholeExpr()
	return r
}

func readStrategy(n *Node) *Strategy {
	if n == nil {
		return nil
	}
	s := &Strategy{
		Expr:        n.scalar(),
		FailFast:    n.str("fail-fast"),
		MaxParallel: n.str("max-parallel"),
		Source:      n.Source,
	}
	m := n.Get("matrix")
	if m == nil {
		return s
	}
	s.Matrix = &Matrix{Expr: m.scalar(), Source: m.Source}
	for _, f := range m.Fields {
		switch {
		case f.Insert:
			s.Matrix.Vectors = append(s.Matrix.Vectors, f)
		case f.Key.Text == "include":
			s.Matrix.Include = f.Value
		case f.Key.Text == "exclude":
			s.Matrix.Exclude = f.Value
		default:
			s.Matrix.Vectors = append(s.Matrix.Vectors, f)
		}
	}
	return s
}

func readContainer(n *Node) *Container {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar && n.Scalar.wholeExpr():
		return &Container{Expr: n.Scalar, Source: n.Source}
	case n.Kind == Scalar:
		return &Container{Image: n.Scalar, Short: true, Source: n.Source}
	}
	c := &Container{
		Image:      n.str("image"),
		Env:        n.Get("env").pairs(),
		Ports:      n.Get("ports").strs(),
		Volumes:    n.Get("volumes").strs(),
		Options:    n.str("options"),
		Entrypoint: n.str("entrypoint"),
		Command:    n.str("command"),
		Source:     n.Source,
	}
	if login := n.Get("credentials"); login != nil {
		c.Credentials = &Credentials{Username: login.str("username"), Password: login.str("password"), Source: login.Source}
	}
	return c
}

func readServices(n *Node) []Service {
	var services []Service
	for _, f := range n.fields() {
		services = append(services, Service{Name: f.Key, Container: readContainer(f.Value), Insert: f.Insert})
	}
	return services
}

func readEnvironment(n *Node) *Environment {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar:
		return &Environment{Name: n.Scalar, Source: n.Source}
	}
	return &Environment{Name: n.str("name"), URL: n.str("url"), Deployment: n.str("deployment"), Source: n.Source}
}

func readSnapshot(n *Node) *Snapshot {
	switch {
	case n == nil:
		return nil
	case n.Kind == Scalar:
		return &Snapshot{Image: n.Scalar, Condition: guarded(Str{}), Short: true, Source: n.Source}
	}
	s := &Snapshot{Image: n.str("image-name"), Version: n.str("version"), If: n.str("if"), Source: n.Source}
	s.Condition = guarded(s.If)
	return s
}

func readSteps(n *Node) []*Step {
	steps := make([]*Step, 0, len(n.Items))
	for _, item := range n.Items {
		if item.Kind == Mapping {
			steps = append(steps, readStep(item))
		}
	}
	return steps
}

func readStep(n *Node) *Step {
	s := &Step{
		ID:               n.str("id"),
		Name:             n.str("name"),
		If:               n.str("if"),
		Run:              n.str("run"),
		Shell:            n.str("shell"),
		WorkingDirectory: n.str("working-directory"),
		Uses:             n.str("uses"),
		With:             n.Get("with").pairs(),
		Env:              n.Get("env").pairs(),
		Timeout:          n.str("timeout-minutes"),
		ContinueOnError:  n.str("continue-on-error"),
		Background:       n.str("background"),
		Wait:             n.Get("wait").strs(),
		WaitAll:          n.str("wait-all"),
		Cancel:           n.str("cancel"),
		Source:           n.Source,
	}
	if group := n.Get("parallel"); group != nil {
		s.Parallel = readSteps(group)
	}
	if kind := s.Kind(); kind == "run" || kind == "uses" {
		s.Condition = guarded(s.If)
	}
	return s
}

func (f *file) action(n *Node) *Action {
	a := &Action{
		Name:        n.str("name"),
		Description: n.str("description"),
		Author:      n.str("author"),
		Outputs:     readOutputs(n.Get("outputs")),
		Source:      n.Source,
	}
	if inputs := n.Get("inputs"); inputs != nil {
		a.Inputs = readInputs(inputs)
	}
	r := n.Get("runs")
	if r == nil {
		return a
	}
	a.Runs = Runs{
		Using:          r.str("using"),
		Main:           r.str("main"),
		Pre:            r.str("pre"),
		PreIf:          r.str("pre-if"),
		Post:           r.str("post"),
		PostIf:         r.str("post-if"),
		Image:          r.str("image"),
		Entrypoint:     r.str("entrypoint"),
		PreEntrypoint:  r.str("pre-entrypoint"),
		PostEntrypoint: r.str("post-entrypoint"),
		Args:           r.Get("args").strs(),
		Env:            r.Get("env").pairs(),
		Source:         r.Source,
	}
	if steps := r.Get("steps"); steps != nil {
		a.Runs.Steps = readSteps(steps)
		nameSteps(a.Runs.Steps)
	}
	return a
}

// nameSteps gives every step a key of its own: its ID, or what GitHub makes up
// for a step without one. Names of the authors come first.
func nameSteps(steps []*Step) {
	taken := map[string]bool{}
	eachStep(steps, func(s *Step) {
		id := strings.ToLower(s.ID.Text)
		if id != "" && !taken[id] {
			taken[id] = true
			s.Key = s.ID.Text
		}
	})
	eachStep(steps, func(s *Step) {
		if s.Key == "" {
			s.Key = uniqueKey("__"+legalID(stepWord(s)), taken)
		}
	})
}

// eachStep visits steps and those inside parallel groups, in file order.
func eachStep(steps []*Step, visit func(*Step)) {
	for _, s := range steps {
		visit(s)
		eachStep(s.Parallel, visit)
	}
}

// stepWord is what the key of a nameless step is made of.
func stepWord(s *Step) string {
	kind := s.Kind()
	if kind != "uses" {
		if kind == "" {
			return "run"
		}
		return kind
	}
	uses := s.Uses.Text
	if image, ok := strings.CutPrefix(uses, "docker://"); ok && image != "" {
		return image
	}
	if isLocal(uses) {
		return "self"
	}
	name, ref, ok := strings.Cut(uses, "@")
	parts := splitPath(name)
	if !ok || ref == "" || strings.Contains(ref, "@") || len(parts) < 2 {
		return "run"
	}
	return parts[0] + "/" + parts[1]
}

// isLocal reports whether an action is part of the calling repository.
func isLocal(uses string) bool {
	return strings.HasPrefix(uses, "./") || strings.HasPrefix(uses, `.\`) || strings.HasPrefix(uses, "$/")
}

func splitPath(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '\\' })
}

func legalID(s string) string {
	return strings.Map(func(r rune) rune {
		if isIDRune(r) {
			return r
		}
		return '_'
	}, s)
}

func isIDRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}
