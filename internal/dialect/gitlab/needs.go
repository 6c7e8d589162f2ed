package gitlab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of parallel jobs and needs; GitLab's own.
const (
	maxParallel = 200
	maxNeeds    = 50
)

// need is one of needs:.
type need struct {
	job      string
	files    bool // its artifacts are wanted
	optional bool
	// matrix are the cells that are meant, each of their entries a list of
	// possible values; nil for all cells.
	matrix []map[string][]string
	// pipeline is set when another pipeline's job is meant; outside says so.
	pipeline string
	outside  bool
	// project and ref say of which other project, when it is one's.
	project, ref string
	source       plan.Source
}

func (p *pipeline) readNeeds(e *entry, n *document.Node) {
	if n.IsNull() {
		return
	}
	if n.Kind == document.Scalar || n.Kind == document.Mapping {
		if e.trigger == nil || n.Kind == document.Scalar {
			p.mistyped(n, "needs", "a list")
			return
		}
		p.bridge(n)
		return
	}
	e.dag = true
	p.flat(n, "needs", 0, func(item *document.Node) {
		if text, ok := item.Text(); ok {
			e.needs = append(e.needs, need{job: text, files: true, source: item.Source})
			return
		}
		if item.IsNull() || !p.keys(item, "an entry of needs", []string{"job", "artifacts", "optional", "parallel", "pipeline", "project", "ref"}) {
			return
		}
		w := need{job: p.text(item.Get("job"), "job"), files: true, source: item.Source, pipeline: p.text(item.Get("pipeline"), "pipeline")}
		if files, given := p.boolean(item.Get("artifacts"), "artifacts"); given {
			w.files = files
		}
		w.optional, _ = p.boolean(item.Get("optional"), "optional")
		w.outside = w.pipeline != "" || item.Get("project") != nil
		w.project, w.ref = p.text(item.Get("project"), "project"), p.text(item.Get("ref"), "ref")
		switch {
		case w.project != "" && (w.job == "" || w.ref == ""):
			p.fail(item.Source, "missing", "an entry of needs that names a project names no job of it, or no ref", "write job: and ref:")
			return
		case w.outside && w.job == "" && e.trigger == nil:
			p.fail(item.Source, "missing", "an entry of needs that names another pipeline names no job of it", "write job: and its name")
			return
		case w.job == "" && w.pipeline == "":
			p.fail(item.Source, "missing", "an entry of needs names no job", "write job: and its name")
			return
		}
		if parallel := item.Get("parallel"); !parallel.IsNull() {
			w.matrix = p.matrixOf(parallel.Get("matrix"), "parallel:matrix of needs")
			if parallel.Kind != document.Mapping || len(w.matrix) == 0 {
				p.fail(parallel.Source, "value", "parallel of needs must have a matrix that names cells", "write parallel: {matrix: [{NAME: value}]}")
			}
		}
		e.needs = append(e.needs, w)
	})
	if len(e.needs) > maxNeeds {
		p.fail(n.Source, "limit", fmt.Sprintf("a job may need %d jobs, and %s needs %d", maxNeeds, plan.Clip(e.name), len(e.needs)), "let it wait for stages instead")
	}
}

// bridge tells of a trigger job that mirrors another pipeline.
func (p *pipeline) bridge(n *document.Node) {
	p.keys(n, "needs", []string{"pipeline", "job", "artifacts", "optional", "project", "ref"})
	p.warn(n.Source, "unsupported", "the status of another pipeline cannot be mirrored here", "")
}

// matrixOf reads the entries of a matrix.
func (p *pipeline) matrixOf(n *document.Node, what string) (out []map[string][]string) {
	if n.IsNull() {
		return nil
	}
	p.flat(n, what, 0, func(item *document.Node) {
		if item.Kind != document.Mapping {
			p.mistyped(item, "an entry of "+what, "a mapping")
			return
		}
		row := map[string][]string{}
		for _, f := range item.Fields {
			row[f.Key] = p.texts(f.Value, what)
		}
		if len(row) > 0 {
			out = append(out, row)
		}
	})
	return out
}

// cells are the jobs that an entry becomes.
func (p *pipeline) cells(e *entry, n *document.Node) []*cell {
	if n.IsNull() {
		return []*cell{{entry: e, name: e.name}}
	}
	if n.Kind == document.Scalar {
		total := p.integer(n, "parallel", 1, maxParallel)
		var out []*cell
		for i := 1; i <= total; i++ {
			out = append(out, &cell{entry: e, name: fmt.Sprintf("%s %d/%d", e.name, i, total), index: i, total: total})
		}
		return out
	}
	if !p.keys(n, "parallel", []string{"matrix"}) {
		return nil
	}
	m := n.Get("matrix")
	if m.IsNull() || m.Kind != document.Sequence || len(m.Items) == 0 {
		p.fail(n.Source, "value", "parallel needs a number, or a matrix with at least one entry", "write parallel: 3, or matrix: and a list")
		return nil
	}
	var out []*cell
	p.flat(m, "matrix", 0, func(item *document.Node) {
		if item.Kind != document.Mapping {
			p.mistyped(item, "an entry of matrix", "a mapping from variables to values")
			return
		}
		rows := [][]variable{nil}
		for _, f := range item.Fields {
			values := p.texts(f.Value, "matrix")
			if len(values) == 0 {
				p.fail(f.Source, "value", fmt.Sprintf("the variable %s of the matrix has no values", plan.Clip(f.Key)), "")
				return
			}
			if len(rows)*len(values) > maxParallel {
				p.fail(item.Source, "limit", fmt.Sprintf("the matrix makes more than %d jobs", maxParallel), "leave some combinations out")
				return
			}
			var next [][]variable
			for _, row := range rows {
				for _, v := range values {
					next = append(next, append(slices.Clone(row), variable{Name: f.Key, Value: v}))
				}
			}
			rows = next
		}
		for _, row := range rows {
			values := make([]string, len(row))
			for i, v := range row {
				values[i] = v.Value
			}
			out = append(out, &cell{entry: e, name: e.name + ": [" + strings.Join(values, ", ") + "]", variables: row})
		}
	})
	if len(out) > maxParallel {
		p.fail(m.Source, "limit", fmt.Sprintf("the matrix makes %d jobs, and may make %d", len(out), maxParallel), "leave some combinations out")
		out = out[:maxParallel]
	}
	for i, c := range out {
		c.index, c.total = i+1, len(out)
	}
	return out
}

// identify gives every job its ID: the name, with what would make it a path
// replaced.
func (p *pipeline) identify() {
	taken := map[string]bool{}
	for _, e := range p.entries {
		for _, c := range e.cells {
			base := strings.ReplaceAll(c.name, "/", "-")
			id := base
			for k := 2; taken[id]; k++ {
				id = base + "~" + strconv.Itoa(k)
			}
			taken[id] = true
			c.id = id
		}
	}
}

// link finds what jobs need, and leaves out those that cannot be part of the
// pipeline without it.
func (p *pipeline) link() {
	byCell := map[string]*cell{}
	for _, e := range p.entries {
		for _, c := range e.cells {
			byCell[c.name] = c
		}
	}
	for again := true; again; {
		again = false
		for _, e := range p.entries {
			if !e.in {
				continue
			}
			for _, c := range e.cells {
				if !p.linkCell(e, c, byCell) {
					e.in, again = false, true
					break
				}
			}
		}
	}
	p.breakCircles()
	p.checkDependencies(byCell)
}

// linkCell finds the needs of a cell. It is false when the job cannot be part of
// the pipeline.
func (p *pipeline) linkCell(e *entry, c *cell, byCell map[string]*cell) bool {
	c.needs = nil
	for _, w := range e.needs {
		if w.outside {
			continue
		}
		found, other := p.find(w, c, byCell)
		if other == nil {
			if w.optional {
				continue
			}
			hint := "check the name"
			if near := plan.Nearest(w.job, slices.Sorted(maps.Keys(p.byName))); near != "" {
				hint = "did you mean " + near + "?"
			}
			p.blame(w.source, "needs", fmt.Sprintf("%s needs %s, which is not there", plan.Clip(e.name), plan.Clip(w.job)), hint)
			if p.degraded() {
				p.warn(e.source, "needs", plan.Clip(e.name)+" is left out", "an include that could not be had may define what it needs")
				return false
			}
			continue
		}
		if other.stage > e.stage {
			p.fail(w.source, "needs", fmt.Sprintf("%s needs %s, whose stage %s comes later", plan.Clip(e.name), plan.Clip(w.job), p.stages[other.stage]), "move one of the two to another stage")
			continue
		}
		present := slices.DeleteFunc(slices.Clone(found), func(f *cell) bool { return !f.entry.in })
		if len(present) == 0 && len(found) > 0 {
			if w.optional {
				continue
			}
			p.blame(w.source, "needs", fmt.Sprintf("%s needs %s, which is not part of this pipeline: %s", plan.Clip(e.name), plan.Clip(w.job), found[0].entry.why),
				"give both the same rules, or write optional: true")
			return false
		}
		found = present
		for _, f := range found {
			if !slices.Contains(c.needs, f) {
				c.needs = append(c.needs, f)
			}
		}
	}
	return true
}

// find are the cells that a need names, and an entry of that name; nil when there
// is none.
func (p *pipeline) find(w need, c *cell, byCell map[string]*cell) (found []*cell, of *entry) {
	entries := p.byName[w.job]
	if len(entries) == 0 {
		if one := byCell[w.job]; one != nil {
			return []*cell{one}, one.entry
		}
		return nil, nil
	}
	var all []*cell
	for _, e := range entries {
		all = append(all, e.cells...)
	}
	if w.matrix == nil {
		return all, entries[0]
	}
	if entries[0].node.Get("parallel").Get("matrix") == nil {
		p.fail(w.source, "needs", fmt.Sprintf("%s has no matrix, and so no cells to need", plan.Clip(w.job)), "remove parallel: from the entry of needs")
		return nil, entries[0]
	}
	for _, row := range w.matrix {
		hit := false
		for _, other := range all {
			if p.meets(other, row, c, w.source) {
				hit = true
				found = append(found, other)
			}
		}
		if !hit && !w.optional {
			p.fail(w.source, "needs", fmt.Sprintf("no cell of %s is what %s needs of it", plan.Clip(w.job), plan.Clip(c.name)), "write values that its matrix has")
		}
	}
	return found, entries[0]
}

// meets reports whether a cell has one of the values wanted for every variable
// that is named.
func (p *pipeline) meets(other *cell, row map[string][]string, c *cell, at plan.Source) bool {
	for name, values := range row {
		i := slices.IndexFunc(other.variables, func(v variable) bool { return v.Name == name })
		if i < 0 {
			return false
		}
		if !slices.ContainsFunc(values, func(v string) bool { return p.ofMatrix(v, c, at) == other.variables[i].Value }) {
			return false
		}
	}
	return true
}

// ofMatrix puts the variables of a cell's own matrix into a text.
func (p *pipeline) ofMatrix(text string, c *cell, at plan.Source) string {
	for {
		start := strings.Index(text, "$[[")
		end := strings.Index(text, "]]")
		if start < 0 || end < start {
			return text
		}
		name, ok := strings.CutPrefix(strings.TrimSpace(text[start+3:end]), "matrix.")
		i := slices.IndexFunc(c.variables, func(v variable) bool { return v.Name == name })
		if !ok || i < 0 {
			p.fail(at, "needs", fmt.Sprintf("the job %s has no variable %s in a matrix of its own", plan.Clip(c.entry.name), plan.Clip(name)), "name one of its parallel:matrix")
			return ""
		}
		text = text[:start] + c.variables[i].Value + text[end+2:]
	}
}

// breakCircles reports jobs that need themselves, and takes the need that
// closes the circle away.
func (p *pipeline) breakCircles() {
	const (
		entered = 1
		left    = 2
	)
	state := map[*cell]int{}
	var visit func(c *cell)
	visit = func(c *cell) {
		state[c] = entered
		c.needs = slices.DeleteFunc(c.needs, func(n *cell) bool {
			if state[n] == 0 {
				visit(n)
			}
			if state[n] == entered {
				p.fail(c.entry.source, "needs", fmt.Sprintf("%s needs itself, by way of %s", plan.Clip(c.name), plan.Clip(n.name)), "remove the need that closes the circle")
				return true
			}
			return false
		})
		state[c] = left
	}
	for _, c := range p.present() {
		if state[c] == 0 {
			visit(c)
		}
	}
}

func (p *pipeline) checkDependencies(byCell map[string]*cell) {
	for _, e := range p.entries {
		if !e.in || e.dependencies == nil {
			continue
		}
		at := e.node.Get("dependencies").Source
		for _, name := range *e.dependencies {
			var other *entry
			if entries := p.byName[name]; len(entries) > 0 {
				other = entries[0]
			} else if byCell[name] != nil {
				other = byCell[name].entry
			}
			switch {
			case other == nil:
				hint := "check the name"
				if near := plan.Nearest(name, slices.Sorted(maps.Keys(p.byName))); near != "" {
					hint = "did you mean " + near + "?"
				}
				p.blame(at, "dependencies", fmt.Sprintf("%s depends on %s, which is not there", plan.Clip(e.name), plan.Clip(name)), hint)
			case !e.dag && other.stage >= e.stage:
				p.fail(at, "dependencies", fmt.Sprintf("%s depends on %s, which is not in an earlier stage", plan.Clip(e.name), plan.Clip(name)), "move one of the two to another stage")
			case e.dag && len(e.needs) > 0 && !slices.ContainsFunc(e.needs, func(n need) bool { return n.job == other.name || n.job == name }):
				p.fail(at, "dependencies", fmt.Sprintf("%s depends on %s and does not need it", plan.Clip(e.name), plan.Clip(name)), "add it to needs")
			}
		}
	}
}

// closure are the cells that others hang on, directly or not, by needs or by
// stages.
func (p *pipeline) closure(of []*cell) (out []*cell) {
	seen := map[*cell]bool{}
	var stage int
	var visit func(c *cell)
	visit = func(c *cell) {
		if seen[c] {
			return
		}
		seen[c] = true
		out = append(out, c)
		if c.entry.dag {
			for _, n := range c.needs {
				visit(n)
			}
			return
		}
		stage = max(stage, c.entry.stage)
	}
	for _, c := range of {
		visit(c)
	}
	for had := -1; had != len(out); { // jobs of stages bring those of all stages before
		had = len(out)
		for _, c := range p.present() {
			if c.entry.stage < stage {
				visit(c)
			}
		}
	}
	return out
}

// downloads are the jobs whose artifacts and variables a cell gets.
func (p *pipeline) downloads(c *cell, before []*cell, prefix string) (out []download) {
	e := c.entry
	from := before
	if e.dag {
		from = c.needs
	}
	wants := func(other *cell) bool {
		if e.dependencies != nil {
			return slices.Contains(*e.dependencies, other.entry.name) || slices.Contains(*e.dependencies, other.name)
		}
		if !e.dag {
			return true
		}
		for _, w := range e.needs {
			if !w.outside && (w.job == other.entry.name || w.job == other.name) {
				return w.files
			}
		}
		return false
	}
	from = slices.Clone(from)
	slices.SortStableFunc(from, func(a, b *cell) int { return a.entry.stage - b.entry.stage })
	for _, other := range from {
		if other.entry.spec.artifacts() != nil && wants(other) {
			out = append(out, download{Job: prefix + other.id, Name: other.name, Required: e.dag || e.dependencies != nil})
		}
	}
	for _, w := range e.needs {
		if w.project != "" && w.files {
			out = append(out, download{Job: w.job, Name: w.job, Required: true, Project: w.project, Ref: w.ref, Source: w.source})
			continue
		}
		// A child pipeline may ask for what its parent made.
		if w.outside && w.files && w.pipeline != "" && w.job != "" && p.parent != "" && strings.Contains(w.pipeline, "PARENT_PIPELINE_ID") {
			outer := ""
			if i := strings.LastIndexByte(p.parent, '/'); i >= 0 {
				outer = p.parent[:i+1]
			}
			out = append(out, download{Job: outer + strings.ReplaceAll(w.job, "/", "-"), Name: w.job, Required: true})
		}
	}
	return out
}
