package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// writeJSON writes a result as one JSON document.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// preview is what a job will become, as far as that is known before the run:
// its cells, or the jobs of the workflow that it calls.
func (g *global) preview(p *launch.Prepared, pl *plan.Pipeline, j *plan.Job) (*plan.Expansion, bool) {
	if j.Deferred == nil || g.Preview == nil {
		return nil, false
	}
	c := &plan.Context{Pipeline: pl, Change: p.ChangeFor(pl), Vars: p.Order.Vars, Only: p.Order.Matrix, Inputs: map[string]any{}}
	for name, value := range p.Order.Inputs {
		c.Inputs[name] = value
	}
	return g.Preview(j, c)
}

// listed is a pipeline in a list.
type listed struct {
	File    string      `json:"file"`
	Dialect string      `json:"dialect"`
	Name    string      `json:"name"`
	Events  []string    `json:"events"`
	Starts  bool        `json:"starts"`
	Why     string      `json:"why"`
	At      plan.Source `json:"at,omitzero"`
	Errors  int         `json:"errors,omitempty"`
	Jobs    []listedJob `json:"jobs"`
}

type listedJob struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Stage  string      `json:"stage,omitempty"`
	Needs  []string    `json:"needs,omitempty"`
	If     string      `json:"if,omitempty"`
	RunsOn []string    `json:"runs_on,omitempty"`
	Kind   string      `json:"kind,omitempty"` // matrix, call: what it becomes is in Cells, if known; program: its stages are
	Cells  []listedJob `json:"cells,omitempty"`
	At     plan.Source `json:"at,omitzero"`
}

func (g *global) listedJob(p *launch.Prepared, pl *plan.Pipeline, j *plan.Job, depth int) listedJob {
	l := listedJob{ID: j.ID, Name: j.Name, Stage: j.Stage, Needs: j.Needs, If: j.If.Text, RunsOn: j.Place.Labels, At: j.Source}
	if j.Deferred != nil {
		l.Kind = j.Deferred.Kind
	}
	if j.Deferred == nil && depth == 0 && g.Stages != nil {
		for _, s := range g.Stages(pl) {
			l.Kind = "program"
			l.Cells = append(l.Cells, listedJob{ID: s.ID, Name: s.Name, Needs: s.Needs, At: s.Source})
		}
	}
	if x, ok := g.preview(p, pl, j); ok && depth < maxPreview {
		if l.Kind == "fields" && len(x.Jobs) == 1 { // the job itself, made concrete
			return g.listedJob(p, pl, &x.Jobs[0], depth+1)
		}
		for i := range x.Jobs {
			l.Cells = append(l.Cells, g.listedJob(p, pl, &x.Jobs[i], depth+1))
		}
	}
	return l
}

// maxPreview is how deep jobs of called workflows are looked into.
const maxPreview = 6

// list is `fairlead run --list`.
func (g *global) list(p *launch.Prepared) error {
	all := []listed{}
	for i := range p.Pipelines {
		pl := &p.Pipelines[i]
		if p.Order.Workflow != "" && !slices.Contains(p.Chosen, pl) && !slices.ContainsFunc(p.Chosen, func(c *plan.Pipeline) bool { return c.File == pl.File }) {
			continue
		}
		l := listed{File: pl.File, Dialect: pl.Dialect, Name: pl.Name, Events: pl.Events, Starts: pl.Start.Yes, Why: pl.Start.Why, At: pl.Start.At}
		for _, problem := range p.ProblemsOf(pl) {
			if problem.Severity == plan.Error {
				l.Errors++
			}
		}
		for k := range pl.Jobs {
			l.Jobs = append(l.Jobs, g.listedJob(p, pl, &pl.Jobs[k], 0))
		}
		all = append(all, l)
	}
	if g.json() {
		return writeJSON(g.Stdout, all)
	}
	if len(all) == 0 {
		return g.nothing(p)
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	out := bufio.NewWriterSize(g.Stdout, flushAt)
	defer out.Flush()
	put := func(text string) { fmt.Fprintln(out, clip(text, cols, st.ellipsis())) }
	several := slices.ContainsFunc(all, func(l listed) bool { return l.Dialect != all[0].Dialect })
	for i, l := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		head := st.bold(shown(l.Name))
		if l.Name != l.File {
			head += "  " + st.dim(shown(l.File))
		}
		if several {
			head += "  " + st.dim(l.Dialect)
		}
		put(head)
		put("  on " + shown(strings.Join(l.Events, ", ")))
		verb := st.green("starts")
		if !l.Starts {
			verb = st.dim("does not start")
		}
		put("  " + verb + st.dim(": "+shown(l.Why)+at(l.At)))
		if l.Errors > 0 {
			put("  " + st.red(plural(l.Errors, "error")) + st.dim(": fairlead lint "+l.File))
		}
		widest := 0
		for _, j := range l.Jobs {
			widest = max(widest, min(width(j.title(st)), maxGraphLabel))
		}
		for _, j := range l.Jobs {
			text := "    " + pad(clip(j.title(st), maxGraphLabel, st.ellipsis()), widest)
			var more []string
			if j.Stage != "" && j.Stage != j.ID && j.Stage != j.Name {
				more = append(more, "stage "+shown(j.Stage))
			}
			if j.Name != "" && j.Name != j.ID && !strings.Contains(j.Name, "${{") {
				more = append(more, shown(j.Name))
			}
			if len(j.Needs) > 0 {
				more = append(more, "after "+shown(strings.Join(j.Needs, ", ")))
			}
			if c := condition(j.If); c != "" {
				if !strings.HasPrefix(c, "when") { // as some languages have it themselves
					c = "if " + c
				}
				more = append(more, c)
			}
			if len(more) > 0 {
				text += "  " + st.dim(strings.Join(more, " "+st.dot()+" "))
			}
			put(strings.TrimRight(text, " "))
			for k, c := range j.Cells {
				if k == maxCells {
					put("      " + st.dim(fmt.Sprintf("%s and %d more", st.ellipsis(), len(j.Cells)-k)))
					break
				}
				name := c.ID
				if j.Kind == "program" {
					name = c.Name
				}
				put("      " + st.dim(shown(name)))
			}
		}
	}
	return nil
}

// condition is what the author wrote of a condition, without what is implied:
// that all has gone well so far.
func condition(text string) string {
	const implied = "success()"
	if slices.Contains([]string{implied, "succeeded()", "when: on_success", "always"}, text) || strings.HasPrefix(text, "{") { // not written by a person
		return ""
	}
	if own, ok := strings.CutPrefix(text, implied+" && ("); ok && strings.HasSuffix(own, ")") {
		text = strings.TrimSuffix(own, ")")
	}
	return shown(text)
}

// maxCells is how many cells of a matrix are listed.
const maxCells = 12

// title is what a job is called in lists and drawings: "test ×12".
func (j listedJob) title(st style) string {
	text := shown(j.ID)
	switch {
	case j.Kind == "matrix" && j.Cells != nil:
		text += fmt.Sprintf(" %s%d", st.times(), len(j.Cells))
	case j.Kind == "matrix":
		text += " " + st.times() + "?"
	case j.Kind == "program":
		text += " (" + plural(len(j.Cells), "stage") + ")"
	case j.Kind == "call" && j.Cells != nil:
		text += " (" + plural(len(j.Cells), "job") + ")"
	case j.Kind == "call":
		text += " (call)"
	}
	return text
}

// graph is `fairlead run --graph`.
func (g *global) graph(p *launch.Prepared) error {
	st := g.style(g.Stdout)
	cols := g.lineColumns(g.Stdout)
	for i, pl := range p.Chosen {
		if i > 0 {
			fmt.Fprintln(g.Stdout)
		}
		jobs, what := make([]graphJob, 0, len(pl.Jobs)), "job"
		for k := range pl.Jobs {
			l := g.listedJob(p, pl, &pl.Jobs[k], 0)
			if l.Kind == "program" && len(pl.Jobs) == 1 { // what there is to see is inside
				for _, s := range l.Cells {
					jobs = append(jobs, graphJob{ID: s.ID, Label: shown(s.Name), Needs: s.Needs})
				}
				what = "stage"
				break
			}
			jobs = append(jobs, graphJob{ID: pl.Jobs[k].ID, Label: l.title(st), Needs: pl.Jobs[k].Needs})
		}
		head := st.bold(shown(pl.Name))
		if pl.Name != pl.File {
			head += "  " + st.dim(pl.File)
		}
		fmt.Fprintf(g.Stdout, "%s  %s\n", head, st.dim(plural(len(jobs), what)))
		drawing := drawGraph(jobs, cols, st)
		if drawing == "" {
			drawing = listGraph(jobs, st)
		}
		fmt.Fprint(g.Stdout, drawing)
	}
	return nil
}

// dryRun is `fairlead run --dry-run`: the plan in the order in which its jobs
// get their turn, with conditions, commands and where each is written.
func (g *global) dryRun(p *launch.Prepared) error {
	invalid := false
	var documents []listed
	for i, pl := range p.Chosen {
		problems := p.ProblemsOf(pl)
		g.problems(problems, maxWarnings)
		invalid = invalid || plan.Errors(problems)
		if g.json() {
			l := listed{File: pl.File, Name: pl.Name, Events: pl.Events, Starts: pl.Start.Yes, Why: pl.Start.Why, At: pl.Start.At}
			for _, j := range inOrder(pl.Jobs) {
				l.Jobs = append(l.Jobs, g.listedJob(p, pl, j, 0))
			}
			documents = append(documents, l)
			continue
		}
		if i > 0 {
			fmt.Fprintln(g.Stdout)
		}
		g.dryPipeline(p, pl)
	}
	if g.json() {
		if err := writeJSON(g.Stdout, documents); err != nil {
			return err
		}
	}
	if invalid {
		return exit(ExitInvalid)
	}
	return nil
}

func (g *global) dryPipeline(p *launch.Prepared, pl *plan.Pipeline) {
	st := g.style(g.Stdout)
	out := bufio.NewWriterSize(g.Stdout, flushAt)
	defer out.Flush()
	put := func(indent int, text string, from plan.Source) {
		if !from.IsZero() {
			text += "  " + st.dim(path.Base(from.File)+strings.TrimPrefix(from.String(), from.File))
		}
		fmt.Fprintln(out, strings.Repeat(" ", indent)+text)
	}
	head := st.bold(shown(pl.Name))
	if pl.Name != pl.File {
		head += "  " + st.dim(pl.File)
	}
	fmt.Fprintf(out, "%s\n%s\n", head, st.dim("  starts: "+shown(pl.Start.Why)+at(pl.Start.At)))
	var job func(j *plan.Job, indent, depth int)
	job = func(j *plan.Job, indent, depth int) {
		x, known := g.preview(p, pl, j)
		if known && j.Deferred.Kind == "fields" && len(x.Jobs) == 1 && depth < maxPreview {
			job(&x.Jobs[0], indent, depth+1)
			return
		}
		title := shown(j.ID)
		if j.Name != "" && j.Name != j.ID && !strings.Contains(j.Name, "${{") {
			title += st.dim(" (" + shown(j.Name) + ")")
		}
		put(indent, st.bold(title), j.Source)
		indent += 2
		if len(j.Needs) > 0 {
			put(indent, st.dim("after ")+shown(strings.Join(j.Needs, ", ")), plan.Source{})
		}
		if c := condition(j.If.Text); c != "" {
			put(indent, st.dim("if ")+c, j.If.Source)
		}
		switch {
		case j.Deferred != nil && known && depth < maxPreview:
			for i := range x.Jobs {
				if i > 0 && j.Deferred.Kind == "matrix" { // cells differ in values only
					put(indent, st.bold(shown(x.Jobs[i].ID))+st.dim("  the same steps"), plan.Source{})
					continue
				}
				job(&x.Jobs[i], indent, depth+1)
			}
			return
		case j.Deferred != nil:
			put(indent, st.dim("what it becomes is known only when its needs are done"), j.Deferred.Source)
		}
		if len(j.Place.Labels) > 0 {
			put(indent, st.dim("on ")+shown(strings.Join(j.Place.Labels, ", ")), plan.Source{})
		}
		drySteps(j.Steps, indent, st, put)
	}
	for _, j := range inOrder(pl.Jobs) {
		fmt.Fprintln(out)
		job(j, 2, 0)
	}
}

func drySteps(steps []plan.Step, indent int, st style, put func(int, string, plan.Source)) {
	for i := range steps {
		s := &steps[i]
		script := ""
		if s.Run != nil {
			script = strings.TrimRight(s.Run.Text.Text, "\n")
		}
		name, in := shown(s.Name), indent+1+len(s.Key)
		switch first, more, _ := strings.Cut(script, "\n"); {
		case s.Run != nil && more == "" && name == "Run "+shown(first): // it says it itself
			name, script = st.cyan("$ ")+shown(first), ""
		case s.Run != nil && name == "Run "+shown(first):
			name = st.dim("run")
		case s.Use != nil && (name == "" || name == "Run "+shown(s.Use.Ref)):
			name = st.dim("uses ") + shown(s.Use.Ref)
		case s.Use != nil:
			name += st.dim("  uses ") + shown(s.Use.Ref)
		}
		put(indent, st.dim(s.Key)+" "+name, s.Source)
		if c := condition(s.If.Text); c != "" {
			put(in, st.dim("if ")+c, plan.Source{})
		}
		switch {
		case script != "":
			for l := range strings.SplitSeq(script, "\n") {
				put(in, st.cyan("$ ")+string(sanitize(nil, []byte(l), false)), plan.Source{})
			}
		case s.Use != nil:
			for _, w := range s.Use.With {
				put(in, st.dim("with ")+shown(w.Name)+": "+shown(w.Value.Text), plan.Source{})
			}
		case s.Wait != nil && s.Wait.All:
			put(in, st.dim("waits for all background steps"), plan.Source{})
		case s.Wait != nil:
			put(in, st.dim("waits for ")+shown(strings.Join(s.Wait.IDs, ", ")), plan.Source{})
		case s.Cancel != "":
			put(in, st.dim("cancels ")+shown(s.Cancel), plan.Source{})
		case len(s.Parallel) > 0:
			put(in, st.dim("at the same time:"), plan.Source{})
			drySteps(s.Parallel, in, st, put)
		}
		if s.Background {
			put(in, st.dim("in the background"), plan.Source{})
		}
	}
}

// inOrder are the jobs such that each comes after all that it needs, and in
// the file's order otherwise.
func inOrder(jobs []plan.Job) []*plan.Job {
	byID := make(map[string]*plan.Job, len(jobs))
	for i := range jobs {
		byID[jobs[i].ID] = &jobs[i]
	}
	var list []*plan.Job
	seen := map[string]bool{}
	var visit func(j *plan.Job)
	visit = func(j *plan.Job) {
		if seen[j.ID] {
			return
		}
		seen[j.ID] = true
		for _, n := range j.Needs {
			if need := byID[n]; need != nil {
				visit(need)
			}
		}
		list = append(list, j)
	}
	for i := range jobs {
		visit(&jobs[i])
	}
	return list
}
